//! The node's write-ahead log: the entries of all its groups, in one sequence of files.
//!
//! Owns the engine (raft-engine) and everything that makes its behaviour ours. A region of the
//! engine is a (group, configuration); one append is one record and one write, and one sync serves
//! whatever all groups have written before it. Logs of replicated groups are written through
//! [`group_log`].
//!
//! How it fails:
//! - No room, or less than the reserve ([`space`]): [`WalError::Full`]. Nothing of that append is
//!   in the log, reads go on, and the next append may succeed.
//! - A failed sync, write or truncation: [`WalError::Fatal`], for this call and all later ones
//!   ([`files`]). What is on disk is unknown then, so the node stops and starts again from it.
//! - A torn tail or damage found at a start: [`scan`].
//! - An index that leaves a hole, or that was compacted: a bug of the caller, which asserts.
//!
//! Not done here: recycling of old files (their stale records could not be told from a torn tail),
//! compression, and deciding when to compact.

mod batch;
mod files;
mod group_log;
mod record;
mod scan;
mod space;
#[cfg(test)]
mod tests;

use std::cell::Cell;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use raft_engine::{Config, Engine, ReadableSize, RecoveryMode};

use crate::data_dir::{DataDir, Lock};
use crate::ids::{region_id, region_parts};
use crate::{ConfigurationId, Error, GroupId, LogIndex, WalError};
use batch::Scratch;
use files::{Current, Health, LogFiles};
pub use group_log::WalSource;
use record::{Extension, Mark, Record};
pub use scan::{CutTail, Recovery};
use space::Space;

/// How much space appends leave free unless told otherwise.
pub const DEFAULT_RESERVE_BYTES: u64 = 64 << 20;
/// The most that one append may carry, all entries together.
pub const MAX_APPEND_BYTES: usize = 1 << 30;
/// The most entries one read step looks at.
const MAX_READ_ENTRIES: u64 = 65_536;
/// Scratch buffers kept for later appends.
const MAX_POOL: usize = 16;

/// What [`Wal::read`] gives each entry to; its error ends the read.
pub type Visit<'a, E> = dyn FnMut(LogIndex, &[u8]) -> Result<(), E> + 'a;

/// How a log is kept. None of it is part of the disk format.
#[derive(Clone, Debug)]
pub struct WalOptions {
    /// Appends are refused while less than this is free on the file system; 0 switches it off.
    pub reserve_bytes: u64,
    /// A file that has reached this size is followed by a new one.
    pub file_bytes: u64,
    /// Above this size [`Wal::purge`] removes old files; at least `file_bytes`.
    pub purge_bytes: u64,
}

impl Default for WalOptions {
    fn default() -> WalOptions {
        WalOptions {
            reserve_bytes: DEFAULT_RESERVE_BYTES,
            file_bytes: 32 << 20,
            purge_bytes: 96 << 20,
        }
    }
}

/// The write-ahead log of a node. All methods may be called from several threads, but appends to
/// one (group, configuration) from one thread at a time.
pub struct Wal {
    engine: Engine<LogFiles>,
    health: Arc<Health>,
    current: Current,
    space: Space,
    pool: Mutex<Vec<Scratch>>,
    dir: PathBuf,
    tag: u64,
    /// Different for every log this process has opened.
    id: u64,
    _lock: Lock,
}

impl Wal {
    /// Opens the log of a data directory, creating an empty one, after checking every record. The
    /// directory stays locked for as long as the log lives.
    pub fn open(dir: &DataDir, options: WalOptions) -> Result<(Wal, Recovery), Error> {
        let path = dir.log_path();
        let tag = dir.identity().log_tag;
        let Some(name) = path.to_str() else {
            let text = format!("the path {} is not valid UTF-8", path.display());
            return Err(Error::Option(text));
        };
        if options.file_bytes == 0 || options.purge_bytes < options.file_bytes {
            let text = "the log's purge_bytes must be at least its file_bytes, and both above 0";
            return Err(Error::Option(text.to_owned()));
        }
        let recovery = scan::recover(&path, tag)?;
        let files = LogFiles::default();
        let (health, current) = (files.health.clone(), files.current.clone());
        let config = engine_config(name, &options);
        let engine_error = |reason: String| Error::Engine {
            path: path.clone(),
            reason,
        };
        let engine = Engine::open_with_file_system(config, Arc::new(files))
            .map_err(|error| engine_error(error.to_string()))?;
        if let Some(reason) = health.failure() {
            return Err(engine_error(reason));
        }
        static NEXT_ID: AtomicU64 = AtomicU64::new(1);
        let wal = Wal {
            engine,
            health,
            current,
            space: Space::new(&path, options.reserve_bytes),
            pool: Mutex::new(Vec::new()),
            dir: path,
            tag,
            id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
            _lock: dir.lock(),
        };
        Ok((wal, recovery))
    }

    /// Appends entries from index `first` on, in one write. Entries that the log has at or behind
    /// `first` are replaced. With `sync` they, and all that any group appended before, are durable
    /// on return.
    ///
    /// `Full` leaves the log as it was. Asserts that `first` leaves no hole, is not compacted, and
    /// that the entries are within [`MAX_APPEND_BYTES`].
    pub fn append<E: AsRef<[u8]>>(
        &self,
        group: GroupId,
        configuration: ConfigurationId,
        first: LogIndex,
        entries: &[E],
        sync: bool,
    ) -> Result<(), WalError> {
        let region = region_id(group, configuration);
        self.check_failure()?;
        if entries.is_empty() {
            return if sync { self.sync() } else { Ok(()) };
        }
        let floor = self.floor(region);
        self.assert_follows(region, floor, first);
        self.admit(group, entries)?;
        let mut scratch = self.take_scratch();
        if self.begins_at_or_below(region, floor) {
            scratch.put_compact(region, floor);
        }
        scratch.put_entries(region, self.mark(), first, entries);
        self.write(scratch, sync)
    }

    /// Makes durable everything that was appended before this call.
    pub fn sync(&self) -> Result<(), WalError> {
        self.check_failure()?;
        // A file is synced when it is left for the next, so only the current one can be behind.
        if let Some(file) = self.current.lock().clone() {
            file.sync_data();
        }
        self.check_failure()
    }

    /// The last index of a log; `None` if it has no entries, also when all were compacted.
    pub fn last_index(&self, group: GroupId, configuration: ConfigurationId) -> Option<LogIndex> {
        let region = region_id(group, configuration);
        let (_, last) = self.present(region, self.floor(region))?;
        Some(last)
    }

    /// The first index of a log that is still there; `None` if it has no entries.
    pub fn first_index(&self, group: GroupId, configuration: ConfigurationId) -> Option<LogIndex> {
        let region = region_id(group, configuration);
        let (first, _) = self.present(region, self.floor(region))?;
        Some(first)
    }

    /// Every (group, configuration) that has anything in the log, in order.
    pub fn regions(&self) -> Vec<(GroupId, ConfigurationId)> {
        let mut regions = self.engine.raft_groups();
        regions.sort_unstable();
        regions.into_iter().map(region_parts).collect()
    }

    /// Reads entries from `from` on, about `max_bytes` of them but at least one, and gives each to
    /// `f`. Returns the index to go on with: behind the last entry there is nothing more, and a
    /// read from there calls nothing.
    ///
    /// `Missing` if the log does not reach back to `from`; damage is `Fatal` and names its place.
    pub fn read<E: From<WalError>>(
        &self,
        group: GroupId,
        configuration: ConfigurationId,
        from: LogIndex,
        max_bytes: usize,
        f: &mut Visit<'_, E>,
    ) -> Result<LogIndex, E> {
        self.check_failure()?;
        let region = region_id(group, configuration);
        let present = self.present(region, self.floor(region));
        let Some((first, last)) = present.filter(|(_, last)| from <= *last) else {
            return Ok(from);
        };
        if from < first {
            let missing = WalError::Missing {
                index: from,
                first,
                last,
            };
            return Err(missing.into());
        }
        let end = last.next().0.min(from.0 + MAX_READ_ENTRIES);
        let records = self.fetch(region, from.0, end, Some(max_bytes))?;
        let mut next = from;
        for record in &records {
            f(record.index(), record.payload())?;
            next = record.index().next();
        }
        Ok(next)
    }

    /// Entries up to and including `up_to` are no longer needed. Then does what [`Wal::purge`]
    /// does, and returns the same.
    ///
    /// Works below the reserve. After a crash some compacted entries may be there again, but none
    /// of a compaction that reached the disk.
    pub fn compact(
        &self,
        group: GroupId,
        configuration: ConfigurationId,
        up_to: LogIndex,
    ) -> Result<Vec<(GroupId, ConfigurationId)>, WalError> {
        self.check_failure()?;
        let region = region_id(group, configuration);
        if self
            .first_index(group, configuration)
            .is_some_and(|first| first <= up_to)
        {
            let mut scratch = self.take_scratch();
            scratch.put_mark(region, self.mark());
            scratch.put_compact(region, up_to);
            scratch.put_floor(region, up_to);
            self.write(scratch, false)?;
        }
        self.purge()
    }

    /// Removes files that hold nothing but entries that were compacted, once the log is above its
    /// purge size, which may rewrite a few old entries of other groups. Returns the logs that keep
    /// old files alive and should be compacted as well.
    pub fn purge(&self) -> Result<Vec<(GroupId, ConfigurationId)>, WalError> {
        self.check_failure()?;
        let regions = self
            .with_block_cache(|| self.engine.purge_expired_files())
            .map_err(|error| self.refusal(&error))?;
        self.check_failure()?;
        Ok(regions.into_iter().map(region_parts).collect())
    }

    /// What the log takes on disk, reserved space included. Looks at every file.
    pub fn size_bytes(&self) -> u64 {
        let Ok(entries) = fs::read_dir(&self.dir) else {
            return 0;
        };
        entries
            .filter_map(|entry| entry.ok()?.metadata().ok())
            .map(|metadata| metadata.blocks() * 512)
            .sum()
    }

    /// Whether the log has failed for good, and why.
    pub fn failure(&self) -> Option<String> {
        self.health.failure()
    }
}

impl Wal {
    fn check_failure(&self) -> Result<(), WalError> {
        match self.health.failure() {
            Some(reason) => Err(WalError::Fatal { reason }),
            None => Ok(()),
        }
    }

    /// Whether entries may be appended now. Asserts that they fit into one record.
    fn admit<E: AsRef<[u8]>>(&self, group: GroupId, entries: &[E]) -> Result<(), WalError> {
        let bytes: usize = entries.iter().map(|entry| entry.as_ref().len()).sum();
        assert!(
            bytes <= MAX_APPEND_BYTES,
            "an append of {bytes} bytes to group {group}"
        );
        self.space.admit(bytes as u64)
    }

    fn mark(&self) -> Mark {
        let file = self.current.lock().clone();
        Mark {
            tag: self.tag,
            seq: file.as_ref().map_or(0, |file| file.seq() as u32),
            durable: file.map_or(0, |file| file.durable()),
        }
    }

    /// One write of a filled batch. Whatever went wrong, it is either known that nothing of it is
    /// in the log, or the log has failed.
    fn write(&self, mut scratch: Scratch, sync: bool) -> Result<(), WalError> {
        let result = self.engine.write(&mut scratch.batch, sync);
        self.check_failure()?;
        match result {
            Ok(_) => {
                self.put_back(scratch);
                Ok(())
            }
            Err(error) => Err(self.refusal(&error)),
        }
    }

    /// An error of the engine after which the log has not failed: what was asked did not happen,
    /// because there was no room, or no file could be created.
    fn refusal(&self, error: &raft_engine::Error) -> WalError {
        if let raft_engine::Error::Corruption(_) = error {
            return self.damage(&error.to_string());
        }
        match self.check_failure() {
            Err(fatal) => fatal,
            Ok(()) => WalError::Full {
                reason: error.to_string(),
            },
        }
    }

    /// Damage found by a read: named by file and offset if the scan finds it as well.
    fn damage(&self, reason: &str) -> WalError {
        let place = scan::locate_damage(&self.dir, self.tag);
        let reason = place.map_or(reason.to_owned(), |place| place.to_string());
        self.health.fail(reason.clone());
        WalError::Fatal { reason }
    }

    fn take_scratch(&self) -> Scratch {
        self.pool.lock().pop().unwrap_or_else(Scratch::new)
    }

    fn put_back(&self, mut scratch: Scratch) {
        scratch.shrink();
        let mut pool = self.pool.lock();
        if pool.len() < MAX_POOL {
            pool.push(scratch);
        }
    }

    fn fetch(
        &self,
        region: u64,
        begin: u64,
        end: u64,
        max_bytes: Option<usize>,
    ) -> Result<Vec<Record>, WalError> {
        let mut records = Vec::new();
        self.with_block_cache(|| {
            self.engine
                .fetch_entries_to::<Extension>(region, begin, end, max_bytes, &mut records)
        })
        .map_err(|error| self.damage(&error.to_string()))?;
        Ok(records)
    }

    /// Runs something that reads blocks through the engine. It caches the last block per thread,
    /// under a key that is the same for every log of the process: a thread that has read another
    /// log, as in a simulation of several nodes, would be given that log's bytes.
    fn with_block_cache<T: Send>(&self, read: impl FnOnce() -> T + Send) -> T {
        thread_local! {
            static READ_BEFORE: Cell<u64> = const { Cell::new(0) };
        }
        let other = READ_BEFORE.get();
        if other == 0 || other == self.id {
            READ_BEFORE.set(self.id);
            return read();
        }
        std::thread::scope(|scope| match scope.spawn(read).join() {
            Ok(value) => value,
            Err(panic) => std::panic::resume_unwind(panic),
        })
    }
}

fn engine_config(dir: &str, options: &WalOptions) -> Config {
    Config {
        dir: dir.to_owned(),
        recovery_mode: RecoveryMode::AbsoluteConsistency,
        recovery_threads: 2,
        batch_compression_threshold: ReadableSize(0),
        target_file_size: ReadableSize(options.file_bytes),
        purge_threshold: ReadableSize(options.purge_bytes),
        enable_log_recycle: false,
        ..Config::default()
    }
}
