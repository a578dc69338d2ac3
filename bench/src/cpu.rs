//! Processor time of a process, in nanoseconds.
//!
//! The per-process clock of Linux is read, not `/proc/<pid>/stat`: the latter counts in ticks of
//! 10 ms, which is too coarse for runs of a second. The clock covers user and system time of all
//! threads, those that have ended included, but not of child processes: a Redis that forks to
//! save pays for the fork, while the child's work is not counted.

use std::io;
use std::time::Duration;

/// The processor clock of another process.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ProcessClock(libc::clockid_t);

impl ProcessClock {
    /// # Errors
    /// If there is no such process.
    pub(crate) fn of(pid: u32) -> io::Result<Self> {
        let mut clock: libc::clockid_t = 0;
        // SAFETY: the pointer is to a live local of the right type.
        let code = unsafe { libc::clock_getcpuclockid(pid as libc::pid_t, &mut clock) };
        match code {
            0 => Ok(Self(clock)),
            code => Err(io::Error::from_raw_os_error(code)),
        }
    }

    /// The clock of this process.
    pub(crate) fn own() -> Self {
        Self(libc::CLOCK_PROCESS_CPUTIME_ID)
    }

    /// Processor time used since the process began.
    ///
    /// # Errors
    /// If the process has ended.
    pub(crate) fn read(&self) -> io::Result<Duration> {
        let mut time = libc::timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        // SAFETY: the pointer is to a live local of the right type.
        if unsafe { libc::clock_gettime(self.0, &mut time) } != 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(Duration::new(time.tv_sec as u64, time.tv_nsec as u32))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_of_a_pid_is_the_clock_of_that_process() {
        let by_pid = ProcessClock::of(std::process::id()).unwrap();
        let before = ProcessClock::own().read().unwrap();
        let between = by_pid.read().unwrap();
        let after = ProcessClock::own().read().unwrap();
        assert!(
            before <= between && between <= after,
            "{before:?} {between:?} {after:?}"
        );
    }
}
