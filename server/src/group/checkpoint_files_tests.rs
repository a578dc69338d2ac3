//! Checkpoints that are read while newer ones come, received in pieces, mixed, and loaded.

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
