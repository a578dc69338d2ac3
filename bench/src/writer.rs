//! A client that increments a counter again and again, on a thread of its own, and so knows what
//! each answer must be.
//!
//! It never gives up: an error is counted and the connection opened anew. After an error it cannot
//! know whether the last write was done, so the next answer is taken as it comes.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::admin::Admin;

const RECONNECT_PAUSE: Duration = Duration::from_millis(20);

/// What the client has seen.
#[derive(Clone, Debug, Default)]
pub(crate) struct Progress {
    /// Writes that were answered.
    pub(crate) writes: u64,
    pub(crate) errors: u64,
    pub(crate) first_error: Option<String>,
    /// Answers that do not follow on the one before: a write lost or done twice.
    pub(crate) wrong_answers: u64,
    /// The longest time to an answer.
    pub(crate) longest: Duration,
    /// When the first write that was sent after the watched moment was answered.
    pub(crate) answered: Option<Instant>,
    watched: Option<Instant>,
}

/// A running client. Dropping it stops it.
pub(crate) struct Writer {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    stop: AtomicBool,
    progress: Mutex<Progress>,
}

impl Writer {
    /// Connects and begins to write to a key that does not exist yet, with a pause after each
    /// write.
    ///
    /// # Errors
    /// If the node cannot be reached.
    pub(crate) fn start(address: SocketAddr, key: String, pause: Duration) -> Result<Self> {
        let admin = Admin::connect(address).context("the writing client")?;
        let shared = Arc::new(Shared::default());
        let thread = std::thread::spawn({
            let shared = Arc::clone(&shared);
            move || work(&shared, address, &key, pause, admin)
        });
        Ok(Self {
            shared,
            thread: Some(thread),
        })
    }

    /// What has been seen so far.
    pub(crate) fn progress(&self) -> Progress {
        self.shared.lock().clone()
    }

    /// From now on looks for the first write sent after this moment.
    pub(crate) fn watch(&self, moment: Instant) {
        let mut progress = self.shared.lock();
        progress.watched = Some(moment);
        progress.answered = None;
    }

    /// Forgets the longest time so far.
    pub(crate) fn forget_longest(&self) {
        self.shared.lock().longest = Duration::ZERO;
    }

    /// Waits for the write in flight and returns what has been seen.
    pub(crate) fn stop(self) -> Progress {
        let shared = Arc::clone(&self.shared);
        drop(self);
        shared.lock().clone()
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Progress> {
        // Counts are right whoever panicked in between.
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn work(shared: &Shared, address: SocketAddr, key: &str, pause: Duration, admin: Admin) {
    let mut connection = Some(admin);
    let mut expected = Some(1);
    while !shared.stop.load(Ordering::Relaxed) {
        let sent = Instant::now();
        match write(&mut connection, address, key) {
            Ok(value) => {
                shared.lock().record(sent, expected, value);
                expected = Some(value + 1);
                if !pause.is_zero() {
                    std::thread::sleep(pause);
                }
            }
            Err(error) => {
                shared.lock().record_error(&error);
                connection = None;
                expected = None;
                std::thread::sleep(RECONNECT_PAUSE);
            }
        }
    }
}

fn write(connection: &mut Option<Admin>, address: SocketAddr, key: &str) -> Result<u64> {
    let mut admin = match connection.take() {
        Some(admin) => admin,
        None => Admin::connect(address)?,
    };
    let value = admin.ask(&["INCR", key])?.parse()?;
    *connection = Some(admin);
    Ok(value)
}

impl Progress {
    fn record(&mut self, sent: Instant, expected: Option<u64>, value: u64) {
        self.writes += 1;
        self.longest = self.longest.max(sent.elapsed());
        self.wrong_answers += u64::from(expected.is_some_and(|expected| expected != value));
        let watched = self.watched.is_some_and(|moment| sent >= moment);
        if watched && self.answered.is_none() {
            self.answered = Some(Instant::now());
        }
    }

    fn record_error(&mut self, error: &anyhow::Error) {
        self.errors += 1;
        self.first_error.get_or_insert_with(|| format!("{error:#}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_write_sent_after_the_watched_moment_ends_the_wait() {
        let mut progress = Progress::default();
        let before = Instant::now();
        let moment = before + Duration::from_millis(1);
        progress.watched = Some(moment);
        progress.record(before, Some(1), 1);
        assert_eq!(progress.answered, None);
        progress.record(moment, Some(2), 2);
        assert!(progress.answered.is_some());
    }

    #[test]
    fn a_write_lost_or_done_twice_is_a_wrong_answer() {
        let mut progress = Progress::default();
        let now = Instant::now();
        progress.record(now, Some(1), 1);
        progress.record(now, Some(2), 3);
        progress.record(now, Some(4), 3);
        progress.record(now, None, 77);
        assert_eq!((progress.writes, progress.wrong_answers), (4, 2));
    }

    #[test]
    fn a_lost_connection_is_an_error_and_the_client_goes_on() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let writer =
            Writer::start(listener.local_addr().unwrap(), "k".into(), Duration::ZERO).unwrap();
        for _ in 0..2 {
            drop(listener.accept().unwrap());
        }
        // The second connection is only made after the first was found lost.
        assert!(writer.progress().errors >= 1);
        drop(listener);
        assert!(writer.stop().first_error.is_some());
    }
}
