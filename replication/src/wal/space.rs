//! The reserve: free space that appends leave alone.
//!
//! Owns the decision whether an append may start. A disk that runs full in the middle of a write
//! is survivable, but checkpoints, compaction and the rest of the machine need room as well, so
//! appends stop earlier, at a known point, and go on as soon as there is room again. Looking costs
//! a system call, so it is done once per `CHECK_BYTES` or `CHECK_MS`, and at every append
//! while the disk is full. If looking fails, the append goes on: the write itself will tell.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::{WalError, sys};

/// Look again after this many appended bytes, or a sixteenth of the reserve if that is less.
const CHECK_BYTES: u64 = 4 << 20;
/// Look again after this time.
const CHECK_MS: u64 = 100;

/// Watches the free space of one file system.
#[derive(Debug)]
pub(crate) struct Space {
    dir: PathBuf,
    reserve_bytes: u64,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    unchecked_bytes: u64,
    checked_at: Option<Instant>,
    full: bool,
}

impl Space {
    /// Keeps `reserve_bytes` free on the file system of `dir`; 0 switches the check off.
    pub(crate) fn new(dir: &Path, reserve_bytes: u64) -> Space {
        Space {
            dir: dir.to_owned(),
            reserve_bytes,
            state: Mutex::new(State {
                unchecked_bytes: 0,
                checked_at: None,
                full: false,
            }),
        }
    }

    /// Whether `bytes` more may be appended now; if so, they are counted as appended.
    pub(crate) fn admit(&self, bytes: u64) -> Result<(), WalError> {
        let mut state = self.state.lock();
        state.unchecked_bytes = state.unchecked_bytes.saturating_add(bytes);
        let unchecked = state.unchecked_bytes;
        self.check(&mut state, unchecked, bytes)
    }

    /// As [`Space::admit`], for an append that may follow: nothing is counted.
    pub(crate) fn would_admit(&self, bytes: u64) -> Result<(), WalError> {
        let mut state = self.state.lock();
        let unchecked = state.unchecked_bytes.saturating_add(bytes);
        self.check(&mut state, unchecked, bytes)
    }

    /// Looks at the disk if `unchecked` bytes, of which the last `bytes` are yet to come, or the
    /// time make that necessary.
    fn check(&self, state: &mut State, unchecked: u64, bytes: u64) -> Result<(), WalError> {
        if self.reserve_bytes == 0 {
            return Ok(());
        }
        let fresh = state
            .checked_at
            .is_some_and(|at| at.elapsed() < Duration::from_millis(CHECK_MS));
        if fresh && !state.full && unchecked < CHECK_BYTES.min(self.reserve_bytes / 16) {
            return Ok(());
        }
        let Ok(free) = sys::free_bytes(&self.dir) else {
            return Ok(());
        };
        state.full = free < self.reserve_bytes.saturating_add(bytes);
        state.checked_at = Some(Instant::now());
        state.unchecked_bytes = 0;
        if state.full {
            let reason = format!(
                "{free} bytes are free in {}, {bytes} are needed above the reserve of {}",
                self.dir.display(),
                self.reserve_bytes
            );
            return Err(WalError::Full { reason });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reserve_that_is_never_met_refuses_every_append() {
        let dir = tempfile::tempdir().unwrap();
        let space = Space::new(dir.path(), u64::MAX);
        for _ in 0..3 {
            assert!(matches!(space.admit(1), Err(WalError::Full { .. })));
        }
    }

    #[test]
    fn asking_for_room_counts_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let space = Space::new(dir.path(), 1 << 10);
        space.admit(1).unwrap();
        let before = space.state.lock().unchecked_bytes;
        space.would_admit(1).unwrap();
        assert!(space.state.lock().unchecked_bytes <= before);
        assert!(space.would_admit(u64::MAX).is_err());
        space.admit(1).unwrap();
    }

    #[test]
    fn a_reserve_of_zero_is_off() {
        let space = Space::new(Path::new("/nowhere"), 0);
        assert!(space.admit(u64::MAX).is_ok());
    }
}
