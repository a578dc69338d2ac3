//! When the next batch of requests goes out, and when the run is over.
//!
//! Owns the two ways to offer load. *Closed*: a connection that has its replies sends the next
//! batch at once. *Paced*: batch number i is due at start + i x interval whether or not a
//! connection is free, and its latency counts from then, so that a server that stalls is charged
//! for everybody who would have waited.
//!
//! `Schedule` is pure: time is an argument. `Timer` is the one descriptor that wakes the load
//! generator between two due times; the resolution of a poll time-out, 1 ms, would be too coarse.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// What ends a run. Requests already sent are always waited for.
#[derive(Clone, Debug)]
pub(crate) enum Stop {
    /// This many requests were sent.
    Requests(u64),
    /// This much time has passed.
    After(Duration),
    /// The flag was set by somebody else.
    When(Arc<AtomicBool>),
}

/// What to do with a free connection.
#[derive(Debug, PartialEq)]
pub(crate) enum Next {
    /// Send this many requests; their latency counts from `intended`.
    Send { requests: u64, intended: Instant },
    /// Nothing is due before this moment.
    NotBefore(Instant),
    /// Nothing is to be sent any more.
    Finished,
}

/// The plan of one run.
///
/// Invariant: `sent <= limit` where the run is limited by requests, and batches are handed out in
/// the order of their due times.
#[derive(Debug)]
pub(crate) struct Schedule {
    start: Instant,
    pipeline: u64,
    /// Nanoseconds between due times of batches; none if closed.
    interval_ns: Option<f64>,
    limit: u64,
    deadline: Option<Instant>,
    flag: Option<Arc<AtomicBool>>,
    batches: u64,
    sent: u64,
}

impl Schedule {
    /// A plan from `start`; `rate` is requests per second, none for a closed loop.
    pub(crate) fn new(start: Instant, pipeline: u64, rate: Option<f64>, stop: &Stop) -> Self {
        let (limit, deadline, flag) = match stop {
            Stop::Requests(requests) => (*requests, None, None),
            Stop::After(time) => (u64::MAX, Some(start + *time), None),
            Stop::When(flag) => (u64::MAX, None, Some(Arc::clone(flag))),
        };
        let interval_ns = rate.map(|rate| pipeline as f64 * 1e9 / rate);
        Self {
            start,
            pipeline,
            interval_ns,
            limit,
            deadline,
            flag,
            batches: 0,
            sent: 0,
        }
    }

    /// Hands out the next batch, if one is due. What was due before the deadline is handed out
    /// even after it, or the worst delays would go uncounted.
    pub(crate) fn next(&mut self, now: Instant) -> Next {
        self.look_at_flag(now);
        let intended = self.next_due(now);
        let expired = self.deadline.is_some_and(|deadline| intended >= deadline);
        if expired || self.sent >= self.limit {
            return Next::Finished;
        }
        if intended > now {
            return Next::NotBefore(intended);
        }
        let requests = self.pipeline.min(self.limit - self.sent);
        self.batches += 1;
        self.sent += requests;
        Next::Send { requests, intended }
    }

    /// Requests handed out so far.
    pub(crate) fn sent(&self) -> u64 {
        self.sent
    }

    fn next_due(&self, now: Instant) -> Instant {
        match self.interval_ns {
            None => now,
            Some(interval) => {
                self.start + Duration::from_nanos((interval * self.batches as f64) as u64)
            }
        }
    }

    fn look_at_flag(&mut self, now: Instant) {
        let set = self
            .flag
            .as_ref()
            .is_some_and(|flag| flag.load(Ordering::Relaxed));
        if set && self.deadline.is_none() {
            self.deadline = Some(now);
        }
    }
}

/// A timer that is readable once its moment has come.
#[derive(Debug)]
pub(crate) struct Timer(OwnedFd);

impl Timer {
    /// # Errors
    /// If the system has no descriptor left.
    pub(crate) fn new() -> io::Result<Self> {
        let flags = libc::TFD_NONBLOCK | libc::TFD_CLOEXEC;
        // SAFETY: the call takes no pointer.
        let descriptor = unsafe { libc::timerfd_create(libc::CLOCK_MONOTONIC, flags) };
        if descriptor < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the descriptor was just made and belongs to nobody else.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(descriptor) }))
    }

    /// The descriptor, for registration with a poll.
    pub(crate) fn descriptor(&self) -> RawFd {
        self.0.as_raw_fd()
    }

    /// Makes the timer readable after `delay`, and not before.
    ///
    /// # Errors
    /// If the system refuses the time.
    pub(crate) fn set(&self, delay: Duration) -> io::Result<()> {
        // A delay of zero would switch the timer off.
        let delay = delay.max(Duration::from_nanos(1));
        let value = libc::timespec {
            tv_sec: delay.as_secs() as libc::time_t,
            tv_nsec: libc::c_long::from(delay.subsec_nanos() as i32),
        };
        let never = libc::timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        let time = libc::itimerspec {
            it_interval: never,
            it_value: value,
        };
        // SAFETY: the pointer is to a live local; the old value is not asked for.
        let code =
            unsafe { libc::timerfd_settime(self.descriptor(), 0, &time, std::ptr::null_mut()) };
        if code != 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn a_closed_loop_sends_at_once_and_never_more_than_asked() {
        let start = Instant::now();
        let mut schedule = Schedule::new(start, 16, None, &Stop::Requests(40));
        for requests in [16, 16, 8] {
            assert_eq!(
                schedule.next(start),
                Next::Send {
                    requests,
                    intended: start
                }
            );
        }
        assert_eq!(schedule.next(start), Next::Finished);
        assert_eq!(schedule.sent(), 40);
    }

    #[test]
    fn a_closed_loop_ends_at_its_deadline() {
        let start = Instant::now();
        let mut schedule = Schedule::new(start, 1, None, &Stop::After(MS));
        assert!(matches!(schedule.next(start), Next::Send { .. }));
        assert_eq!(schedule.next(start + MS), Next::Finished);
    }

    #[test]
    fn paced_batches_are_due_at_equal_distances() {
        let start = Instant::now();
        let mut schedule = Schedule::new(start, 2, Some(2000.0), &Stop::After(10 * MS));
        assert_eq!(
            schedule.next(start),
            Next::Send {
                requests: 2,
                intended: start
            }
        );
        assert_eq!(schedule.next(start), Next::NotBefore(start + MS));
        let second = Next::Send {
            requests: 2,
            intended: start + MS,
        };
        assert_eq!(schedule.next(start + MS), second);
    }

    #[test]
    fn what_was_due_before_the_deadline_is_sent_after_it() {
        let start = Instant::now();
        let mut schedule = Schedule::new(start, 1, Some(1000.0), &Stop::After(3 * MS));
        let late = start + 100 * MS;
        for due in 0..3 {
            let intended = start + due * MS;
            assert_eq!(
                schedule.next(late),
                Next::Send {
                    requests: 1,
                    intended
                }
            );
        }
        assert_eq!(schedule.next(late), Next::Finished);
    }

    #[test]
    fn a_flag_ends_the_run_at_the_moment_it_is_seen() {
        let start = Instant::now();
        let flag = Arc::new(AtomicBool::new(false));
        let mut schedule = Schedule::new(start, 1, None, &Stop::When(Arc::clone(&flag)));
        assert!(matches!(schedule.next(start), Next::Send { .. }));
        flag.store(true, Ordering::Relaxed);
        assert_eq!(schedule.next(start), Next::Finished);
    }
}
