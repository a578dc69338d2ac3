//! The checkpoints of a group on the real disk: read by peers, received from them, loaded.
//!
//! Owns the open files of a [`Vault`] and the thread that loads. The files' format and their names
//! are the business of `replication::checkpoint`; when to fetch which checkpoint, and what becomes
//! of the loaded state and of the log, that of the replica.
//!
//! **Reading.** A file that peers read stays open, so that they can read it to its end although
//! newer checkpoints have taken its place meanwhile.
//!
//! **Receiving.** Pieces go to a partial file, which survives a restart. Checkpoints at the same
//! index need not be the same bytes on all nodes: who goes on with another peer's may end up with a
//! mixture, which the checksums find.
//!
//! **Loading** checks while it builds the state, and only a file that was good to its end gets its
//! name. A failure of any kind removes what was received, so that the next attempt begins anew. A
//! load that is given up, because this is dropped, loses nothing. A crash may leave a checkpoint
//! that is ahead of the log: it was decided, but the log does not know it yet.

use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use bailiwick_replication::checkpoint::{self, PartialCheckpoint};
use bailiwick_replication::{GroupId, LogIndex};
use bytes::Bytes;
use parking_lot::Mutex;

use super::recovery::{LoadProgress, RecoverError, read_checkpoint};
use super::vault::{Piece, Vault};
use crate::state::State;

/// A file that nobody has read for so long is closed, which frees its space if it is gone.
const IDLE: Duration = Duration::from_secs(60);
/// More files are not held open for peers; the one that was read longest ago goes.
const MAX_OPEN: usize = 8;

/// Called when a load has finished.
type Wake = dyn Fn() + Send + Sync;

/// The checkpoints of one group in one directory.
pub struct CheckpointFiles {
    directory: PathBuf,
    group: GroupId,
    newest: Arc<AtomicU64>,
    wake: Arc<Wake>,
    open: Vec<OpenFile>,
    /// What is being received; never what is being loaded.
    partial: Option<PartialCheckpoint>,
    /// Until its outcome has been taken.
    load: Option<Load>,
}

/// A checkpoint that peers read.
struct OpenFile {
    index: LogIndex,
    file: std::fs::File,
    total_bytes: u64,
    used: Instant,
}

/// A load as the replica's thread sees it.
struct Load {
    index: LogIndex,
    bytes: u64,
    stop: Arc<AtomicBool>,
    outcome: Arc<Mutex<Option<Outcome>>>,
    thread: Option<thread::JoinHandle<()>>,
}

type Outcome = Result<State, String>;

impl CheckpointFiles {
    /// The checkpoints of `group` in `directory`, which need not exist yet. `newest` is the index
    /// of the newest usable one, 0 for none, shared with whoever else writes checkpoints there: it
    /// may only grow. `wake` is called on another thread when a load has finished; it must not
    /// wait for the thread that owns this.
    #[must_use]
    pub fn new(
        directory: PathBuf,
        group: GroupId,
        newest: Arc<AtomicU64>,
        wake: Box<Wake>,
    ) -> Self {
        Self {
            directory,
            group,
            newest,
            wake: Arc::from(wake),
            open: Vec::new(),
            partial: None,
            load: None,
        }
    }

    /// The position in `open` of the checkpoint at `index`, which is opened if need be.
    fn open_at(&mut self, index: LogIndex) -> io::Result<Option<usize>> {
        let found = self.open.iter().position(|open| open.index == index);
        if found.is_some() {
            return Ok(found);
        }
        let Some(file) = checkpoint::open_raw(&self.directory, index)? else {
            return Ok(None);
        };
        if self.open.len() >= MAX_OPEN {
            let oldest = self.open.iter().map(|open| open.used).min();
            self.open.retain(|open| Some(open.used) != oldest);
        }
        self.open.push(OpenFile {
            index,
            total_bytes: file.metadata()?.len(),
            file,
            used: Instant::now(),
        });
        Ok(Some(self.open.len() - 1))
    }

    fn close_idle(&mut self, now: Instant) {
        self.open
            .retain(|open| now.saturating_duration_since(open.used) < IDLE);
    }

    fn is_loading(&self, index: LogIndex) -> bool {
        self.load.as_ref().is_some_and(|load| load.index == index)
    }
}

impl Vault for CheckpointFiles {
    fn newest(&self) -> Option<LogIndex> {
        let newest = self.newest.load(Ordering::Acquire);
        (newest > 0).then_some(LogIndex(newest))
    }

    fn read(
        &mut self,
        index: LogIndex,
        offset: u64,
        max_bytes: usize,
    ) -> io::Result<Option<Piece>> {
        let now = Instant::now();
        self.close_idle(now);
        let Some(at) = self.open_at(index)? else {
            return Ok(None);
        };
        let open = &mut self.open[at];
        open.used = now;
        let left = open.total_bytes.saturating_sub(offset);
        let len = usize::try_from(left).map_or(max_bytes, |left| left.min(max_bytes));
        let mut bytes = vec![0; len];
        open.file.read_exact_at(&mut bytes, offset)?;
        Ok(Some(Piece {
            total_bytes: open.total_bytes,
            bytes: Bytes::from(bytes),
        }))
    }

    fn received(&mut self, index: LogIndex) -> io::Result<u64> {
        self.close_idle(Instant::now());
        if let Some(load) = self.load.as_ref().filter(|load| load.index == index) {
            return Ok(load.bytes);
        }
        if self.partial.as_ref().map(PartialCheckpoint::index) != Some(index) {
            self.partial = None;
            let mut keep = vec![index];
            // The file of a load that goes on belongs to its thread.
            keep.extend(self.load.as_ref().map(|load| load.index));
            checkpoint::remove_partials(&self.directory, &keep)?;
            self.partial = PartialCheckpoint::resume(&self.directory, index)?;
        }
        Ok(self.partial.as_ref().map_or(0, PartialCheckpoint::len))
    }

    fn append(&mut self, index: LogIndex, offset: u64, bytes: &[u8]) -> io::Result<()> {
        if self.is_loading(index) {
            let text = format!("the checkpoint at entry {index} is being loaded");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        let partial = match self.partial.take() {
            Some(partial) if partial.index() == index => partial,
            _ => PartialCheckpoint::create(&self.directory, index)?,
        };
        self.partial.insert(partial).append(offset, bytes)
    }

    /// A load of the same checkpoint that is under way goes on; one of another is given up.
    fn load(&mut self, index: LogIndex) {
        if self.is_loading(index) {
            return;
        }
        let found = self.received(index);
        let before = self.load.take().and_then(Load::give_up);
        let (stop, outcome) = (Arc::new(AtomicBool::new(false)), Arc::default());
        let job = Job {
            directory: self.directory.clone(),
            group: self.group,
            index,
            newest: self.newest.clone(),
            wake: self.wake.clone(),
            stop: Arc::clone(&stop),
            outcome: Arc::clone(&outcome),
        };
        let partial = found.as_ref().ok().and_then(|_| self.partial.take());
        let thread = thread::Builder::new()
            .name("load".to_owned())
            .spawn(move || job.run(partial, before));
        if let Err(error) = &thread {
            *outcome.lock() = Some(Err(format!("the load cannot be started: {error}")));
            (self.wake)();
        }
        self.load = Some(Load {
            index,
            bytes: found.unwrap_or(0),
            stop,
            outcome,
            thread: thread.ok(),
        });
    }

    fn loaded(&mut self) -> Option<Result<State, String>> {
        self.close_idle(Instant::now());
        let outcome = self.load.as_ref()?.outcome.lock().take();
        if outcome.is_some() {
            // Its thread is left with no more than the call to wake us.
            self.load = None;
        }
        outcome
    }
}

impl Drop for CheckpointFiles {
    /// Ends a load, so that whoever opens the directory next has it for itself. May wait for a sync
    /// of the checkpoint.
    fn drop(&mut self) {
        if let Some(thread) = self.load.take().and_then(Load::give_up) {
            // A panic aborts the process, or has been printed, and there is nobody to tell.
            let _ = thread.join();
        }
    }
}

impl Load {
    fn give_up(self) -> Option<thread::JoinHandle<()>> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread
    }
}

/// A load as its own thread sees it.
struct Job {
    directory: PathBuf,
    group: GroupId,
    index: LogIndex,
    newest: Arc<AtomicU64>,
    wake: Arc<Wake>,
    stop: Arc<AtomicBool>,
    outcome: Arc<Mutex<Option<Outcome>>>,
}

impl Job {
    /// Runs when the load before this one has ended, so that never two states are being built.
    fn run(&self, partial: Option<PartialCheckpoint>, before: Option<thread::JoinHandle<()>>) {
        if let Some(before) = before {
            let _ = before.join();
        }
        let outcome = match partial {
            Some(partial) => self.load(partial),
            None => Err(Failure::Refused(
                "nothing of it has been received".to_owned(),
            )),
        };
        let outcome = match outcome {
            Ok(state) => Ok(state),
            Err(Failure::Stopped) => return,
            Err(Failure::Refused(reason)) => Err(format!(
                "the received checkpoint at entry {} cannot be used: {reason}",
                self.index
            )),
        };
        *self.outcome.lock() = Some(outcome);
        (self.wake)();
    }

    fn load(&self, partial: PartialCheckpoint) -> Result<State, Failure> {
        let started = Instant::now();
        let bytes = partial.len();
        let state = match self.read(partial.path()) {
            Ok(state) => state,
            Err(Failure::Stopped) => return Err(Failure::Stopped),
            Err(refused) => {
                if let Err(error) = partial.discard() {
                    tracing::warn!(%error, "a useless checkpoint could not be removed");
                }
                return Err(refused);
            }
        };
        self.keep(partial)?;
        tracing::info!(
            index = self.index.0,
            keys = state.keyspace.len(),
            bytes,
            duration_ms = started.elapsed().as_millis() as u64,
            "checkpoint of another node loaded"
        );
        Ok(state)
    }

    /// The state in the file, if it is the checkpoint that was asked for.
    fn read(&self, path: &Path) -> Result<State, Failure> {
        let (header, state) = read_checkpoint(path, &LoadProgress::default(), &self.stop)?;
        let (index, group) = (self.index, self.group);
        if (header.group, header.index, state.applied) != (group, index, index) {
            return Err(Failure::Refused(format!(
                "it is of group {} at entry {} with a state at entry {}, not of group {group}",
                header.group, header.index, state.applied
            )));
        }
        Ok(state)
    }

    /// Gives a good file its name, durably, and lets older ones go.
    fn keep(&self, partial: PartialCheckpoint) -> Result<(), Failure> {
        if self.stop.load(Ordering::Relaxed) {
            return Err(Failure::Stopped);
        }
        let temporary = partial.path().to_owned();
        if let Err(error) = partial.finish() {
            // After a sync that failed nobody knows what is on the disk, whatever can be read.
            let _ = std::fs::remove_file(temporary);
            return Err(Failure::Refused(format!("it cannot be kept: {error}")));
        }
        self.newest.fetch_max(self.index.0, Ordering::AcqRel);
        if let Err(error) = checkpoint::remove_old(&self.directory, self.index) {
            tracing::warn!(%error, "an old checkpoint could not be removed");
        }
        Ok(())
    }
}

/// Why a load has no state to show.
enum Failure {
    /// Nobody wants it; what was received is still there.
    Stopped,
    /// What was received is of no use, and gone.
    Refused(String),
}

impl From<RecoverError> for Failure {
    fn from(error: RecoverError) -> Self {
        match error {
            RecoverError::Stopped => Self::Stopped,
            error => Self::Refused(error.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::sync::mpsc::{Receiver, channel};

    use bailiwick_replication::{CheckpointHeader, CheckpointWriter};
    use tempfile::TempDir;

    use super::*;
    use crate::keyspace::{Expiry, Keyspace, NewValue};
    use crate::state::{CONTENT_VERSION, FrozenState};

    const GROUP: GroupId = GroupId(4);

    /// A node's directory and its files.
    struct Node {
        temp: TempDir,
        files: CheckpointFiles,
        woken: Receiver<()>,
    }

    impl Node {
        fn new() -> Self {
            Self::at(tempfile::tempdir().unwrap())
        }

        fn at(temp: TempDir) -> Self {
            let (wake, woken) = channel();
            let wake = Box::new(move || {
                let _ = wake.send(());
            });
            let newest = Arc::new(AtomicU64::new(0));
            let files = CheckpointFiles::new(temp.path().join("group-4"), GROUP, newest, wake);
            Self { temp, files, woken }
        }

        fn restart(self) -> Self {
            let Self { temp, files, .. } = self;
            drop(files);
            Self::at(temp)
        }

        /// What the group's own checkpointer does.
        fn write(&self, index: u64, keys: u32) {
            self.write_as(index, keys, GROUP);
        }

        fn write_as(&self, index: u64, keys: u32, group: GroupId) {
            let header = CheckpointHeader {
                index: LogIndex(index),
                group,
                content_version: CONTENT_VERSION,
                ..CheckpointHeader::default()
            };
            let mut writer = CheckpointWriter::create(&self.files.directory, header).unwrap();
            let mut content = FrozenState::of(&state(index, keys)).into_writer();
            while content.step(1, |block| writer.block(block)).unwrap() {}
            writer.finish().unwrap();
            self.files.newest.fetch_max(index, Ordering::AcqRel);
        }

        /// A whole checkpoint as a peer reads it.
        fn bytes(&mut self, index: u64) -> Vec<u8> {
            let mut bytes = Vec::new();
            loop {
                let offset = bytes.len() as u64;
                let piece = self.files.read(LogIndex(index), offset, 4099).unwrap();
                let piece = piece.unwrap();
                if piece.bytes.is_empty() {
                    assert_eq!(piece.total_bytes, offset);
                    return bytes;
                }
                bytes.extend_from_slice(&piece.bytes);
            }
        }

        fn receive(&mut self, index: u64, bytes: &[u8]) {
            let index = LogIndex(index);
            for piece in bytes.chunks(5003) {
                let offset = self.files.received(index).unwrap();
                self.files.append(index, offset, piece).unwrap();
            }
        }

        fn load(&mut self, index: u64) -> Outcome {
            self.files.load(LogIndex(index));
            self.outcome()
        }

        fn outcome(&mut self) -> Outcome {
            loop {
                self.woken.recv().unwrap();
                if let Some(outcome) = self.files.loaded() {
                    assert!(self.files.loaded().is_none(), "an outcome comes once");
                    return outcome;
                }
            }
        }

        fn error(&mut self, index: u64) -> String {
            match self.load(index) {
                Err(error) => error,
                Ok(_) => panic!("the checkpoint at {index} was loaded"),
            }
        }

        fn names(&self) -> Vec<String> {
            let Ok(entries) = fs::read_dir(&self.files.directory) else {
                return Vec::new();
            };
            let name = |entry: io::Result<fs::DirEntry>| entry.unwrap().file_name();
            let mut names: Vec<String> = entries
                .map(|entry| name(entry).into_string().unwrap())
                .collect();
            names.sort();
            names
        }
    }

    fn state(index: u64, keys: u32) -> State {
        let mut state = State::empty();
        state.applied = LogIndex(index);
        state.keyspace = Keyspace::new(2, 77);
        for number in 0..keys {
            let key = format!("key:{number}");
            let value = NewValue::String(key.as_bytes());
            state
                .keyspace
                .set(1, key.as_bytes(), value, Expiry::None, number);
        }
        state
    }

    fn final_name(index: u64) -> String {
        format!("checkpoint-{index:020}")
    }

    fn partial_name(index: u64) -> String {
        format!("checkpoint-{index:020}.partial")
    }

    #[test]
    fn a_checkpoint_travels_in_pieces_with_a_restart_on_the_way() {
        let mut source = Node::new();
        source.write(42, 5000);
        assert_eq!(source.files.newest(), Some(LogIndex(42)));
        let bytes = source.bytes(42);
        let mut target = Node::new();
        assert_eq!(target.files.newest(), None);
        let index = LogIndex(42);
        assert_eq!(target.files.received(index).unwrap(), 0);
        let sizes = [1, 7, 1021, 4096, 30_011].into_iter().cycle();
        for (step, size) in sizes.enumerate() {
            let offset = target.files.received(index).unwrap();
            let end = bytes.len().min(offset as usize + size);
            target
                .files
                .append(index, offset, &bytes[offset as usize..end])
                .unwrap();
            if end == bytes.len() {
                break;
            }
            if step % 3 == 1 {
                target = target.restart();
                assert_eq!(target.files.received(index).unwrap(), end as u64);
            }
        }
        let loaded = target.load(42).unwrap();
        let expected = state(42, 5000);
        assert_eq!(loaded.applied, index);
        assert_eq!(loaded.keyspace.len(), 5000);
        for entry in expected.keyspace.iter(1) {
            let found = loaded.keyspace.entry(1, entry.key());
            assert_eq!(found.unwrap().value(), entry.value());
        }
        assert_eq!(target.files.newest(), Some(index));
        assert_eq!(target.names(), [final_name(42)]);
        assert_eq!(target.bytes(42), bytes, "it can be passed on");
        let (progress, stop) = (LoadProgress::default(), AtomicBool::new(false));
        let path = target.files.directory.join(final_name(42));
        read_checkpoint(&path, &progress, &stop).unwrap();
        let loaded = progress.loaded_bytes.load(Ordering::Relaxed);
        assert_eq!(loaded, bytes.len() as u64);
        assert_eq!(loaded, progress.total_bytes.load(Ordering::Relaxed));
        assert_eq!(progress.loaded_keys.load(Ordering::Relaxed), 5000);
    }

    #[test]
    fn a_damaged_checkpoint_is_removed_and_can_be_fetched_again() {
        let mut source = Node::new();
        source.write(9, 1000);
        let bytes = source.bytes(9);
        let mut target = Node::new();
        for at in [0, 30, bytes.len() / 2, bytes.len() - 1] {
            let mut damaged = bytes.clone();
            damaged[at] ^= 0x10;
            target.receive(9, &damaged);
            let error = target.error(9);
            assert!(error.contains("entry 9"), "{error}");
            assert_eq!(target.names(), [""; 0]);
            assert_eq!(target.files.newest(), None);
            assert_eq!(target.files.received(LogIndex(9)).unwrap(), 0);
        }
        target.receive(9, &bytes[..bytes.len() - 1]);
        target.error(9);
        target.receive(9, &bytes);
        assert_eq!(target.load(9).unwrap().keyspace.len(), 1000);
    }

    #[test]
    fn a_checkpoint_of_another_group_or_index_is_refused() {
        let mut source = Node::new();
        source.write_as(5, 10, GroupId(3));
        source.write(6, 10);
        let (foreign, other) = (source.bytes(5), source.bytes(6));
        let mut target = Node::new();
        target.receive(5, &foreign);
        let error = target.error(5);
        assert!(error.contains("group 3"), "{error}");
        target.receive(7, &other);
        let error = target.error(7);
        assert!(error.contains("entry 6"), "{error}");
        assert_eq!(target.names(), [""; 0]);
    }

    #[test]
    fn a_load_without_anything_received_fails() {
        let mut target = Node::new();
        let error = target.error(3);
        assert!(error.contains("nothing"), "{error}");
    }

    #[test]
    fn a_file_can_be_read_to_its_end_although_newer_ones_replaced_it() {
        let mut source = Node::new();
        source.write(1, 2000);
        let bytes = source.bytes(1);
        // A peer that has begun to read one, and then others that replace it under its name as well.
        source.write(1, 10);
        source.write(2, 10);
        source.write(3, 10);
        assert_eq!(source.names(), [final_name(2), final_name(3)]);
        assert_eq!(source.bytes(1), bytes);
        assert_ne!(source.bytes(2), bytes);
        source.files.close_idle(Instant::now() + IDLE / 2);
        assert_eq!(source.bytes(1), bytes);
        source.files.close_idle(Instant::now() + IDLE);
        assert!(source.files.open.is_empty());
        assert!(source.files.read(LogIndex(1), 0, 10).unwrap().is_none());
        assert!(source.files.read(LogIndex(3), 0, 10).unwrap().is_some());
    }

    #[test]
    fn a_read_is_bounded_by_what_was_asked_for_and_by_the_file() {
        let mut source = Node::new();
        source.write(1, 100);
        let bytes = source.bytes(1);
        let total_bytes = bytes.len() as u64;
        let mut read = |offset, max| {
            let piece = source.files.read(LogIndex(1), offset, max).unwrap();
            let piece = piece.unwrap();
            assert_eq!(piece.total_bytes, total_bytes);
            piece.bytes.len() as u64
        };
        assert_eq!(read(0, 10), 10);
        assert_eq!(read(0, 0), 0);
        assert_eq!(read(3, usize::MAX), total_bytes - 3);
        assert_eq!(read(total_bytes, 10), 0);
        assert_eq!(read(u64::MAX, 10), 0);
    }

    #[test]
    fn no_more_files_stay_open_than_the_bound() {
        let mut source = Node::new();
        for index in 1..=2 * MAX_OPEN as u64 {
            source.write(index, 1);
            source.bytes(index);
            assert!(source.files.open.len() <= MAX_OPEN);
        }
        let oldest = source.files.open.iter().map(|open| open.index.0).min();
        assert_eq!(oldest, Some(MAX_OPEN as u64 + 1));
    }

    #[test]
    fn what_was_received_of_another_checkpoint_goes() {
        let mut source = Node::new();
        source.write(8, 100);
        let bytes = source.bytes(8);
        let mut target = Node::new();
        target.receive(5, b"the beginning of another one");
        assert_eq!(target.files.received(LogIndex(8)).unwrap(), 0);
        assert_eq!(target.names(), [""; 0]);
        target.receive(5, b"once more");
        target = target.restart();
        assert_eq!(target.names(), [partial_name(5)]);
        target.receive(8, &bytes[..50]);
        assert_eq!(target.names(), [partial_name(8)]);
        target.receive(8, &bytes[50..]);
        assert_eq!(target.load(8).unwrap().applied, LogIndex(8));
    }

    #[test]
    fn a_piece_at_the_wrong_offset_is_refused() {
        let mut target = Node::new();
        let index = LogIndex(5);
        target.files.append(index, 0, b"abc").unwrap();
        for offset in [0, 2, 4] {
            let error = target.files.append(index, offset, b"x").unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
        }
        assert_eq!(target.files.received(index).unwrap(), 3);
        target.files.append(index, 3, b"d").unwrap();
        assert_eq!(target.files.received(index).unwrap(), 4);
    }

    #[test]
    fn one_older_checkpoint_stays_and_the_newest_never_falls_back() {
        let mut source = Node::new();
        source.write(30, 10);
        let bytes = source.bytes(30);
        let mut target = Node::new();
        target.write(10, 1);
        target.write(20, 1);
        target.receive(30, &bytes);
        target.load(30).unwrap();
        assert_eq!(target.names(), [final_name(20), final_name(30)]);
        assert_eq!(target.files.newest(), Some(LogIndex(30)));
        target.files.newest.store(40, Ordering::Release);
        target.receive(30, &bytes);
        target.load(30).unwrap();
        assert_eq!(target.files.newest(), Some(LogIndex(40)));
    }

    #[test]
    fn what_is_being_loaded_is_not_appended_to_and_not_removed() {
        let mut source = Node::new();
        source.write(30, 1000);
        let bytes = source.bytes(30);
        let mut target = Node::new();
        target.receive(30, &bytes);
        let index = LogIndex(30);
        target.files.load(index);
        target.files.load(index);
        let offset = target.files.received(index).unwrap();
        assert_eq!(offset, bytes.len() as u64);
        assert!(target.files.append(index, offset, b"x").is_err());
        assert_eq!(target.files.received(LogIndex(31)).unwrap(), 0);
        assert_eq!(target.outcome().unwrap().applied, index);
        assert_eq!(target.names(), [final_name(30)]);
    }

    #[test]
    fn only_the_last_load_has_an_outcome() {
        let mut source = Node::new();
        source.write(30, 1000);
        source.write(31, 1001);
        let (first, second) = (source.bytes(30), source.bytes(31));
        let mut target = Node::new();
        target.receive(30, &first);
        target.files.load(LogIndex(30));
        target.receive(31, &second);
        assert_eq!(target.load(31).unwrap().applied, LogIndex(31));
        assert_eq!(target.files.newest(), Some(LogIndex(31)));
    }

    #[test]
    fn a_load_that_is_dropped_loses_nothing() {
        let mut source = Node::new();
        source.write(30, 3000);
        let bytes = source.bytes(30);
        let mut target = Node::new();
        target.receive(30, &bytes);
        target.files.load(LogIndex(30));
        target = target.restart();
        let names = target.names();
        if names == [partial_name(30)] {
            assert_eq!(target.load(30).unwrap().applied, LogIndex(30));
        }
        assert_eq!(target.names(), [final_name(30)]);
        assert_eq!(target.bytes(30), bytes);
    }

    #[test]
    fn a_load_that_is_given_up_keeps_what_was_received() {
        let mut source = Node::new();
        source.write(30, 1000);
        let bytes = source.bytes(30);
        let mut target = Node::new();
        target.receive(30, &bytes);
        let files = &mut target.files;
        let job = Job {
            directory: files.directory.clone(),
            group: GROUP,
            index: LogIndex(30),
            newest: files.newest.clone(),
            wake: files.wake.clone(),
            stop: Arc::new(AtomicBool::new(true)),
            outcome: Arc::default(),
        };
        job.run(files.partial.take(), None);
        assert!(job.outcome.lock().is_none());
        assert!(target.woken.try_recv().is_err());
        assert_eq!(target.names(), [partial_name(30)]);
        assert_eq!(target.load(30).unwrap().applied, LogIndex(30));
    }
}
