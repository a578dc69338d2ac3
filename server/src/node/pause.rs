//! `CLIENT PAUSE`: requests wait until a time, or until `CLIENT UNPAUSE`.

use parking_lot::Mutex;
use tokio::sync::Notify;

/// Whom a pause holds up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum PauseMode {
    /// Commands that may change the keyspace.
    Writes,
    /// All commands.
    All,
}

/// The pause in force, if any.
#[derive(Default)]
pub struct Pause {
    until: Mutex<Option<(PauseMode, i64)>>,
    /// Told when the pause ends early.
    pub ended: Notify,
}

impl Pause {
    /// Pauses until `until_ms`; a pause in force is only ever made longer and stronger.
    pub fn start(&self, mode: PauseMode, until_ms: i64) {
        let mut until = self.until.lock();
        *until = Some(match *until {
            Some((other, at)) => (other.max(mode), at.max(until_ms)),
            None => (mode, until_ms),
        });
    }

    /// Ends the pause.
    pub fn stop(&self) {
        *self.until.lock() = None;
        self.ended.notify_waiters();
    }

    /// Until when requests wait; `None` if they need not, or no longer.
    #[must_use]
    pub fn until_ms(&self, is_write: bool, now_ms: i64) -> Option<i64> {
        let mut until = self.until.lock();
        let (mode, at_ms) = (*until)?;
        if at_ms <= now_ms {
            *until = None;
            return None;
        }
        (mode == PauseMode::All || is_write).then_some(at_ms)
    }

    /// Whether no pause is in force.
    #[must_use]
    pub fn is_over(&self, now_ms: i64) -> bool {
        self.until.lock().is_none_or(|(_, at_ms)| at_ms <= now_ms)
    }
}
