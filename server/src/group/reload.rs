//! Loads the group's data back from disk while the node runs: what a restart would do, compared
//! with the state that is there. For tests, by way of `DEBUG RELOAD` and `DEBUG LOADAOF`.
//!
//! Writes wait meanwhile, reads go on until the loaded state takes the place of the old one. If the
//! two differ in anything but access times, the old one stays and the difference is reported: then
//! either the disk lost something or apply is not the pure function that it has to be.

use super::recovery::{LoadProgress, RecoverError, load_checkpoint, replay};
use super::{Engine, Group, stop_process};
use crate::keyspace::Keyspace;
use crate::state::State;

/// Why the data was not loaded back; the state is as it was.
#[derive(Debug, thiserror::Error)]
pub enum ReloadError {
    /// Other nodes would not wait.
    #[error("a member of a group of several nodes is not reloaded while it runs; restart it")]
    Replicated,
    /// The checkpoint to load could not be written.
    #[error("the checkpoint failed: {0}")]
    Checkpoint(String),
    /// The data on disk cannot be read.
    #[error(transparent)]
    Recover(#[from] RecoverError),
    /// The data on disk adds up to something else.
    #[error("the data on disk differs from the data in memory: {0}")]
    Different(String),
}

impl Group {
    /// Replaces the state by what is on disk, after writing a checkpoint if `save`. Takes as long
    /// as a restart: not for a thread that serves connections.
    pub fn reload(&self, save: bool) -> Result<(), ReloadError> {
        if save {
            let (ticket, _) = self.checkpoints.request();
            self.checkpoints
                .wait(ticket)
                .map_err(ReloadError::Checkpoint)?;
        }
        let Engine::Alone(alone) = &self.engine else {
            return Err(ReloadError::Replicated);
        };
        let committer = alone.committer.lock();
        if let Err(error) = self.wal.sync() {
            stop_process(&error.to_string());
        }
        let progress = LoadProgress::default();
        let (loaded, _, refused) = load_checkpoint(&self.data, self.id, &progress)?;
        let policy = self.tuning().access;
        let loaded = replay(&self.data, &self.wal, loaded, &refused, policy, &progress)?;
        if let Some(difference) = difference(&self.shared.state.read(), &loaded) {
            return Err(ReloadError::Different(difference));
        }
        let old = std::mem::replace(&mut *self.shared.state.write(), loaded);
        drop(committer);
        drop(old);
        Ok(())
    }
}

/// In what the two states differ.
fn difference(live: &State, loaded: &State) -> Option<String> {
    if (live.applied, live.time_ms) != (loaded.applied, loaded.time_ms) {
        return Some(format!(
            "memory stands at entry {} of {} ms, the disk at entry {} of {} ms",
            live.applied.0, live.time_ms, loaded.applied.0, loaded.time_ms
        ));
    }
    if live.authority.digest() != loaded.authority.digest() {
        return Some("the prefixes that the group serves".to_owned());
    }
    if live.origins != loaded.origins || live.configuration != loaded.configuration {
        return Some("the applied proposals or the members of the group".to_owned());
    }
    let (live, loaded): (&Keyspace, &Keyspace) = (&live.keyspace, &loaded.keyspace);
    if live.databases() != loaded.databases() || live.watch_counters() != loaded.watch_counters() {
        return Some("the number of databases or the write counters".to_owned());
    }
    let mut databases = 0..live.databases();
    databases.find_map(|database| {
        let difference = database_difference(live, loaded, database);
        difference.map(|what| format!("database {database}, {what}"))
    })
}

fn database_difference(live: &Keyspace, loaded: &Keyspace, database: usize) -> Option<String> {
    let (live_len, loaded_len) = (live.len_of(database), loaded.len_of(database));
    if live_len != loaded_len {
        return Some(format!("{live_len} keys in memory, {loaded_len} on disk"));
    }
    let differs = live.iter(database).find(|entry| {
        loaded.entry(database, entry.key()).is_none_or(|other| {
            other.value() != entry.value()
                || other.expires_at_ms() != entry.expires_at_ms()
                || other.version() != entry.version()
        })
    });
    differs.map(|entry| format!("key \"{}\"", entry.key().escape_ascii()))
}
