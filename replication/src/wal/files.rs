//! The engine's view of the file system, with the knowledge the engine does not keep.
//!
//! Owns the log's files: which one is being written, how far it is written and durable, and
//! whether anything has failed for good. The engine panics when a sync fails, moves to a new file
//! when a write finds no room, and cannot sync without writing. Standing below it, this module
//! turns the first into a state, the second into a plain refusal, and offers the third:
//!
//! - A failed sync, a write that fails for another reason than room, or a truncation that fails
//!   puts the log into the *failed* state. The engine is told that the sync succeeded, so that it
//!   does not panic, and everything after it is refused: no write, no creation, no removal. The
//!   [`Wal`](super::Wal) looks at the state before it acknowledges anything.
//! - A write without room leaves the file as it was: the engine goes back and truncates.
//!
//! It also makes syncs of small appends cheaper: see `ZERO_AHEAD_BYTES`.
//!
//! One panic of the engine stays: a failed sync of the directory when a new file is started. It
//! ends the process, which is what the failed state asks of the node anyhow.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;
use raft_engine::env::{FileSystem, Handle, Permission, WriteExt};

use super::scan::{FileName, Queue};
use crate::sys;

/// When so much has been written without a sync, the disk is asked to begin with it.
const PUSH_BYTES: u64 = 1 << 20;
/// While syncs come often, this much behind the last record is written with zeros in advance. A
/// sync of bytes that overwrite others need not wait for the file system's own journal, as it must
/// when reserved space is written for the first time: measured, that is nearly half of its time.
const ZERO_AHEAD_BYTES: u64 = 256 << 10;
/// Syncs of more than this gain less than writing everything twice costs.
const SMALL_SYNC_BYTES: u64 = 16 << 10;
static ZEROS: [u8; ZERO_AHEAD_BYTES as usize] = [0; ZERO_AHEAD_BYTES as usize];

/// Whether the files of a log can still be trusted; shared by all of them.
#[derive(Debug, Default)]
pub(crate) struct Health {
    /// The first failure after which nothing can be trusted.
    failure: Mutex<Option<String>>,
    /// Whether there is one, for the path on which there is none.
    failed: AtomicBool,
    #[cfg(test)]
    pub(crate) faults: Faults,
}

/// Failures that a test switches on.
#[cfg(test)]
#[derive(Debug, Default)]
pub(crate) struct Faults {
    pub(crate) sync: AtomicBool,
    pub(crate) write: AtomicBool,
    pub(crate) room: AtomicBool,
    pub(crate) truncate: AtomicBool,
}

impl Health {
    /// The failure that ended this log, if there was one.
    pub(crate) fn failure(&self) -> Option<String> {
        if !self.failed.load(Ordering::Acquire) {
            return None;
        }
        self.failure.lock().clone()
    }

    /// Ends this log; the first reason stays.
    pub(crate) fn fail(&self, reason: String) {
        self.failure.lock().get_or_insert(reason);
        self.failed.store(true, Ordering::Release);
    }

    fn check(&self) -> io::Result<()> {
        match self.failure() {
            Some(reason) => Err(io::Error::other(reason)),
            None => Ok(()),
        }
    }
}

/// One open file of the log.
///
/// Invariant: `durable <= written`, both offsets in this file.
#[derive(Debug)]
pub(crate) struct LogFile {
    file: File,
    path: PathBuf,
    name: Option<FileName>,
    written: AtomicU64,
    durable: AtomicU64,
    /// Everything from `written` up to here has been written with zeros.
    zeroed: AtomicU64,
    /// The end of the space that the engine has reserved.
    reserved: AtomicU64,
    /// Up to where the disk has been asked to begin; above the length after the file was cut.
    pushed: AtomicU64,
    /// Whether the last sync had little to write.
    small_syncs: AtomicBool,
    /// How often the file was cut, so that a sync does not vouch for bytes cut under it.
    cuts: AtomicU64,
    health: Arc<Health>,
}

impl LogFile {
    fn new(file: File, path: &Path, health: &Arc<Health>) -> io::Result<LogFile> {
        let len = file.metadata()?.len();
        Ok(LogFile {
            file,
            path: path.to_owned(),
            name: FileName::parse(path),
            // What a start finds has been synced by the scan before the engine opens it.
            written: AtomicU64::new(len),
            durable: AtomicU64::new(len),
            zeroed: AtomicU64::new(0),
            reserved: AtomicU64::new(len),
            pushed: AtomicU64::new(0),
            small_syncs: AtomicBool::new(false),
            cuts: AtomicU64::new(0),
            health: health.clone(),
        })
    }

    /// The file's sequence number.
    pub(crate) fn seq(&self) -> u64 {
        self.name.map_or(0, |name| name.seq)
    }

    /// Every byte before this offset is durable.
    pub(crate) fn durable(&self) -> u64 {
        self.durable.load(Ordering::Acquire)
    }

    /// Where the next record goes.
    #[cfg(test)]
    pub(crate) fn written(&self) -> u64 {
        self.written.load(Ordering::Acquire)
    }

    /// Makes durable what has been written; after a failure nothing is done and nothing promised.
    pub(crate) fn sync_data(&self) {
        if self.health.failure().is_some() {
            return;
        }
        let cuts = self.cuts.load(Ordering::Acquire);
        let written = self.written.load(Ordering::Acquire);
        match self.try_sync() {
            Ok(()) if cuts == self.cuts.load(Ordering::Acquire) => {
                let before = self.durable.fetch_max(written, Ordering::AcqRel);
                let small = written.saturating_sub(before) <= SMALL_SYNC_BYTES;
                self.small_syncs.store(small, Ordering::Relaxed);
            }
            Ok(()) => {}
            Err(error) => self.fail("sync", &error),
        }
    }

    fn try_sync(&self) -> io::Result<()> {
        #[cfg(test)]
        if self.health.faults.sync.load(Ordering::Relaxed) {
            return Err(io::Error::from_raw_os_error(libc::EIO));
        }
        self.file.sync_data()
    }

    fn try_write(&self, buf: &[u8], offset: u64) -> io::Result<usize> {
        #[cfg(test)]
        if self.health.faults.write.load(Ordering::Relaxed) {
            return Err(io::Error::from_raw_os_error(libc::EIO));
        }
        #[cfg(test)]
        if self.health.faults.room.load(Ordering::Relaxed) {
            // Half a record stays behind, as it does on a disk that runs full.
            self.file.write_all_at(&buf[..buf.len() / 2], offset)?;
            return Err(io::Error::from_raw_os_error(libc::ENOSPC));
        }
        self.file.write_at(buf, offset)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.health.check()?;
        #[cfg(test)]
        if self.health.faults.truncate.load(Ordering::Relaxed) {
            let error = io::Error::from_raw_os_error(libc::EIO);
            self.fail("truncate", &error);
            return Err(error);
        }
        self.file.set_len(len).inspect_err(|error| {
            self.fail("truncate", error);
        })?;
        self.cuts.fetch_add(1, Ordering::AcqRel);
        self.written.fetch_min(len, Ordering::AcqRel);
        self.durable.fetch_min(len, Ordering::AcqRel);
        self.zeroed.fetch_min(len, Ordering::Relaxed);
        self.reserved.fetch_min(len, Ordering::Relaxed);
        Ok(())
    }

    /// Writes zeros behind a record that ends at `end`, within the reserved space, if that makes
    /// the next syncs cheaper. Only the engine's writer calls it, one record at a time. A failure
    /// costs nothing but that.
    fn zero_ahead(&self, end: u64) {
        if end <= self.zeroed.load(Ordering::Relaxed) || !self.small_syncs.load(Ordering::Relaxed) {
            return;
        }
        let room = self.reserved.load(Ordering::Relaxed).saturating_sub(end);
        let zeros = &ZEROS[..room.min(ZERO_AHEAD_BYTES) as usize];
        if self.file.write_all_at(zeros, end).is_ok() {
            let zeroed = end + zeros.len() as u64;
            self.zeroed.store(zeroed, Ordering::Relaxed);
        }
    }

    /// Has the disk begin with what was written long ago. Otherwise, where nobody syncs, all of a
    /// file waits for the sync with which the engine leaves it, and the append that comes to the
    /// file's end stands still for tens of milliseconds.
    fn push_ahead(&self, end: u64) {
        let pushed = self.pushed.load(Ordering::Relaxed).max(self.durable());
        if end.saturating_sub(pushed) >= PUSH_BYTES {
            sys::start_writeback(&self.file, pushed, end - pushed);
            self.pushed.store(end, Ordering::Relaxed);
        }
    }

    fn fail(&self, doing: &str, error: &io::Error) {
        self.health
            .fail(format!("cannot {doing} {}: {error}", self.path.display()));
    }

    fn is(&self, queue: Queue) -> bool {
        self.name.is_some_and(|name| name.queue == queue)
    }
}

impl Handle for LogFile {
    fn truncate(&self, offset: usize) -> io::Result<()> {
        self.set_len(offset as u64)
    }

    fn file_size(&self) -> io::Result<usize> {
        Ok(self.file.metadata()?.len() as usize)
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_data();
        Ok(())
    }
}

/// A position in a log file, for reading or for appending.
pub(crate) struct Cursor {
    file: Arc<LogFile>,
    offset: u64,
}

impl Read for Cursor {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let len = self.file.file.read_at(buf, self.offset)?;
        self.offset += len as u64;
        Ok(len)
    }
}

impl Write for Cursor {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.file.health.check()?;
        // The rewrite file has no sync marks, so at most its last record may be in flight: then a
        // bad record before a good one can only be damage.
        if self.file.is(Queue::Rewrite)
            && self.file.durable() < self.file.written.load(Ordering::Acquire)
        {
            self.file.sync_data();
            self.file.health.check()?;
        }
        let len = self.file.try_write(buf, self.offset).inspect_err(|error| {
            if !sys::is_full(error) && error.kind() != io::ErrorKind::Interrupted {
                self.file.fail("write", error);
            }
        })?;
        self.offset += len as u64;
        self.file.written.fetch_max(self.offset, Ordering::AcqRel);
        if len == buf.len() {
            self.file.zero_ahead(self.offset);
            self.file.push_ahead(self.offset);
        }
        Ok(len)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Seek for Cursor {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let (base, by) = match to {
            SeekFrom::Start(offset) => (offset, 0),
            SeekFrom::Current(by) => (self.offset, by),
            SeekFrom::End(by) => (self.file.file.metadata()?.len(), by),
        };
        self.offset = base
            .checked_add_signed(by)
            .ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.offset)
    }
}

impl WriteExt for Cursor {
    fn truncate(&mut self, offset: usize) -> io::Result<()> {
        self.file.set_len(offset as u64)?;
        self.offset = offset as u64;
        Ok(())
    }

    fn allocate(&mut self, offset: usize, size: usize) -> io::Result<()> {
        sys::allocate(&self.file.file, offset as u64, size as u64)?;
        let end = (offset + size) as u64;
        self.file.reserved.fetch_max(end, Ordering::Relaxed);
        Ok(())
    }
}

/// The file that appends go to, once there is one.
pub(crate) type Current = Arc<Mutex<Option<Arc<LogFile>>>>;

/// The file system that the engine is given.
#[derive(Default)]
pub(crate) struct LogFiles {
    pub(crate) health: Arc<Health>,
    pub(crate) current: Current,
}

impl FileSystem for LogFiles {
    type Handle = LogFile;
    type Reader = Cursor;
    type Writer = Cursor;

    fn create<P: AsRef<Path>>(&self, path: P) -> io::Result<LogFile> {
        self.health.check()?;
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)?;
        LogFile::new(file, path.as_ref(), &self.health)
    }

    fn open<P: AsRef<Path>>(&self, path: P, permission: Permission) -> io::Result<LogFile> {
        let write = permission == Permission::ReadWrite;
        let file = OpenOptions::new().read(true).write(write).open(&path)?;
        LogFile::new(file, path.as_ref(), &self.health)
    }

    fn delete<P: AsRef<Path>>(&self, path: P) -> io::Result<()> {
        self.health.check()?;
        std::fs::remove_file(path)
    }

    fn rename<P: AsRef<Path>>(&self, from: P, to: P) -> io::Result<()> {
        self.health.check()?;
        std::fs::rename(from, to)
    }

    fn new_reader(&self, file: Arc<LogFile>) -> io::Result<Cursor> {
        Ok(Cursor { file, offset: 0 })
    }

    fn new_writer(&self, file: Arc<LogFile>) -> io::Result<Cursor> {
        if file.is(Queue::Append) {
            *self.current.lock() = Some(file.clone());
        }
        Ok(Cursor { file, offset: 0 })
    }
}
