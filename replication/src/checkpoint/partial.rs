//! A checkpoint that arrives piece by piece from another node.
//!
//! Owns the file `checkpoint-<index>.partial` until it is complete or given up. It stays when it is
//! dropped and over a restart, so that a transfer goes on where it ended. Nothing is durable before
//! [`PartialCheckpoint::finish`], and nothing here looks at what has arrived: a piece that was
//! damaged, lost in a power cut, or belongs to another file fails the checksums when the whole is
//! read, and then the file is to be removed.
//!
//! Errors are the operating system's. A piece that could not be written completely, as on a full
//! disk, is taken back.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::directory;
use crate::{LogIndex, sys};

/// The system is asked to begin writing whenever so much has arrived, so that the sync at the end
/// does not make the log's syncs wait for gigabytes.
const WRITEBACK_BYTES: u64 = 8 << 20;

/// What has arrived of a checkpoint.
///
/// Invariant: `writing <= len <=` the length of the file; they differ only after a failed append.
#[derive(Debug)]
pub struct PartialCheckpoint {
    dir: PathBuf,
    path: PathBuf,
    index: LogIndex,
    file: File,
    len: u64,
    /// Bytes that the system has been asked to write.
    writing: u64,
}

impl PartialCheckpoint {
    /// Goes on with what an earlier life or transfer left in `dir`; `None` if that is nothing.
    pub fn resume(dir: &Path, index: LogIndex) -> io::Result<Option<PartialCheckpoint>> {
        match Self::open(dir, index, false) {
            Ok(partial) => Ok(Some(partial)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The same, or an empty one if there is nothing. `dir` is created if need be.
    pub fn create(dir: &Path, index: LogIndex) -> io::Result<PartialCheckpoint> {
        directory::create(dir)?;
        Self::open(dir, index, true)
    }

    fn open(dir: &Path, index: LogIndex, create: bool) -> io::Result<PartialCheckpoint> {
        let path = directory::partial_path(dir, index);
        let mut options = File::options();
        let file = options.read(true).write(true).create(create).open(&path)?;
        let len = file.metadata()?.len();
        Ok(PartialCheckpoint {
            dir: dir.to_owned(),
            path,
            index,
            file,
            len,
            writing: len,
        })
    }

    /// The log index of the checkpoint.
    pub fn index(&self) -> LogIndex {
        self.index
    }

    /// How many bytes have arrived.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether nothing has arrived.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Where it is, for a [`CheckpointReader`](super::CheckpointReader).
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Adds a piece. An offset that is not the present length is refused as invalid input. After a
    /// failure of the disk what was there before is there still, and the piece may come again.
    pub fn append(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        if offset != self.len {
            let text = format!("a piece for byte {offset}, but {} have arrived", self.len);
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        if let Err(error) = self.file.write_all_at(bytes, offset) {
            // If this fails as well, the file ends with the beginning of this piece: nothing
            // wrong, and overwritten when the piece comes again.
            let _ = self.file.set_len(offset);
            return Err(error);
        }
        self.len += bytes.len() as u64;
        if self.len - self.writing >= WRITEBACK_BYTES {
            sys::start_writeback(&self.file, self.writing, self.len - self.writing);
            self.writing = self.len;
        }
        Ok(())
    }

    /// Makes it durable and gives it its own name, in place of a checkpoint of the same index. For
    /// a file that has been read to its end: this does not check it again. Returns where it is.
    pub fn finish(self) -> io::Result<PathBuf> {
        self.file.sync_all()?;
        let path = directory::path(&self.dir, self.index);
        fs::rename(&self.path, &path)?;
        sys::sync_dir(&self.dir)?;
        Ok(path)
    }

    /// Removes it.
    pub fn discard(self) -> io::Result<()> {
        fs::remove_file(&self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::{CheckpointHeader, CheckpointWriter, list, remove_leftovers, verify};

    /// A directory with a checkpoint, and its bytes.
    fn source(index: u64) -> (tempfile::TempDir, Vec<u8>) {
        let temp = tempfile::tempdir().unwrap();
        let header = CheckpointHeader {
            index: LogIndex(index),
            ..CheckpointHeader::default()
        };
        let mut writer = CheckpointWriter::create(temp.path(), header).unwrap();
        for block in 0..50u8 {
            writer.block(&[block; 777]).unwrap();
        }
        let bytes = fs::read(writer.finish().unwrap()).unwrap();
        (temp, bytes)
    }

    fn partial_names(dir: &Path) -> Vec<u64> {
        let mut found: Vec<u64> = directory::partials(dir)
            .unwrap()
            .iter()
            .map(|index| index.0)
            .collect();
        found.sort_unstable();
        found
    }

    #[test]
    fn pieces_add_up_to_the_checkpoint_also_over_a_restart() {
        let (_source, bytes) = source(9);
        let temp = tempfile::tempdir().unwrap();
        let dir = temp.path().join("group-0");
        assert!(
            PartialCheckpoint::resume(&dir, LogIndex(9))
                .unwrap()
                .is_none()
        );
        for piece in bytes.chunks(1013) {
            let mut partial = PartialCheckpoint::create(&dir, LogIndex(9)).unwrap();
            let at = partial.len();
            partial.append(at, piece).unwrap();
        }
        assert!(list(&dir).unwrap().is_empty(), "it has no name yet");
        let partial = PartialCheckpoint::resume(&dir, LogIndex(9)).unwrap();
        let path = partial.unwrap().finish().unwrap();
        assert_eq!(fs::read(&path).unwrap(), bytes);
        assert_eq!(verify(&path).unwrap().index, LogIndex(9));
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 1);
    }

    #[test]
    fn a_piece_that_does_not_follow_is_refused_and_changes_nothing() {
        let temp = tempfile::tempdir().unwrap();
        let mut partial = PartialCheckpoint::create(temp.path(), LogIndex(1)).unwrap();
        assert!(partial.is_empty());
        partial.append(0, b"abc").unwrap();
        for offset in [0, 2, 4, u64::MAX] {
            let error = partial.append(offset, b"x").unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
        }
        partial.append(3, b"").unwrap();
        partial.append(3, b"d").unwrap();
        assert_eq!(fs::read(partial.path()).unwrap(), b"abcd");
    }

    #[test]
    fn a_failure_of_the_disk_keeps_what_was_there() {
        let temp = tempfile::tempdir().unwrap();
        let mut partial = PartialCheckpoint::create(temp.path(), LogIndex(1)).unwrap();
        partial.append(0, b"abc").unwrap();
        let mut full = PartialCheckpoint {
            file: File::options().write(true).open("/dev/full").unwrap(),
            ..PartialCheckpoint::create(temp.path(), LogIndex(1)).unwrap()
        };
        let error = full.append(3, b"def").unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        assert_eq!(full.len(), 3);
        partial.append(3, b"def").unwrap();
        assert_eq!(fs::read(partial.path()).unwrap(), b"abcdef");
    }

    #[test]
    fn partial_files_of_other_indexes_go_and_other_files_stay() {
        let (source, _) = source(5);
        let dir = source.path();
        fs::write(dir.join("checkpoint-7.partial"), b"not ours").unwrap();
        for index in [3, 5, 6, 8] {
            PartialCheckpoint::create(dir, LogIndex(index)).unwrap();
        }
        directory::remove_partials(dir, &[LogIndex(6), LogIndex(3)]).unwrap();
        assert_eq!(partial_names(dir), [3, 6]);
        assert_eq!(fs::read_dir(dir).unwrap().count(), 4);
        directory::remove_partials(&dir.join("nowhere"), &[]).unwrap();
    }

    #[test]
    fn a_start_keeps_only_partial_files_that_are_ahead() {
        let (source, _) = source(5);
        let dir = source.path();
        for index in [4, 5, 6] {
            PartialCheckpoint::create(dir, LogIndex(index)).unwrap();
        }
        remove_leftovers(dir).unwrap();
        assert_eq!(partial_names(dir), [6]);
        assert_eq!(list(dir).unwrap().len(), 1);
    }
}
