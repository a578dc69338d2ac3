//! An RDB file, read from front to back in bounded memory.
//!
//! At any time one item and what has been read ahead are in memory, never the file. Where an item
//! is longer than what has been read, the double is read, so that no item is looked at more than a
//! few times.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

use super::Error;
use crate::rdb::Crc;
use crate::rdb::file::{
    CHECKSUM_BYTES, CHECKSUM_VERSION, FileError, HEAD_BYTES, Item, take_item, version,
};

/// How much is read ahead at least, in bytes.
const READ_BYTES: usize = 256 * 1024;

/// A file that is being read.
///
/// Invariant: `buffer[taken..]` is what the file has from `offset` on, as far as it was read.
pub(super) struct Source {
    path: PathBuf,
    file: File,
    buffer: Vec<u8>,
    taken: usize,
    offset: u64,
    len: u64,
    version: u16,
    crc: Crc,
}

impl Source {
    /// Opens a file and reads its head.
    pub(super) fn open(path: &Path) -> Result<Self, Error> {
        let file = File::open(path).map_err(Error::file(path))?;
        let len = file.metadata().map_err(Error::file(path))?.len();
        let mut source = Self {
            path: path.to_owned(),
            file,
            buffer: Vec::new(),
            taken: 0,
            offset: 0,
            len,
            version: 0,
            crc: Crc::default(),
        };
        while source.buffer.len() < HEAD_BYTES && source.read_more()? {}
        source.version = version(&source.buffer).map_err(|what| source.content(what))?;
        source.take(HEAD_BYTES);
        Ok(source)
    }

    /// Calls `visit` with the next item and where it stands; false after the last one.
    pub(super) fn next<R>(
        &mut self,
        visit: impl FnOnce(Item<'_>, u64) -> R,
    ) -> Result<Option<R>, Error> {
        loop {
            let found = take_item(&self.buffer[self.taken..]);
            let found = found.map(|found| found.map(|(item, used)| (item == Item::End, used)));
            let used = match found.map_err(|what| self.content(what))? {
                Some((true, used)) => {
                    self.take(used);
                    self.check_end()?;
                    return Ok(None);
                }
                Some((false, used)) => used,
                None if self.read_more()? => continue,
                None => {
                    return Err(Error::Truncated {
                        file: self.path.clone(),
                        offset: self.offset + (self.buffer.len() - self.taken) as u64,
                    });
                }
            };
            let (from, offset) = (self.taken, self.offset);
            self.take(used);
            let item = take_item(&self.buffer[from..self.taken]);
            let Ok(Some((item, _))) = item else {
                unreachable!("the same bytes have just been an item");
            };
            return Ok(Some(visit(item, offset)));
        }
    }

    /// How far into the file the items went, and how long it is, in bytes.
    pub(super) fn position(&self) -> (u64, u64) {
        (self.offset, self.len)
    }

    /// The version of the file.
    pub(super) fn version(&self) -> u16 {
        self.version
    }

    fn check_end(&mut self) -> Result<(), Error> {
        if self.version < CHECKSUM_VERSION {
            return Ok(());
        }
        let expected = self.crc.value();
        while self.buffer.len() - self.taken < CHECKSUM_BYTES {
            if !self.read_more()? {
                return Err(Error::Truncated {
                    file: self.path.clone(),
                    offset: self.offset,
                });
            }
        }
        let bytes = &self.buffer[self.taken..self.taken + CHECKSUM_BYTES];
        let found = u64::from_le_bytes(bytes.try_into().expect("eight bytes"));
        // Redis writes zero if it was told not to compute checksums.
        if found != expected && found != 0 {
            let file = self.path.clone();
            return Err(Error::Checksum { file });
        }
        Ok(())
    }

    fn take(&mut self, len: usize) {
        self.crc.update(&self.buffer[self.taken..self.taken + len]);
        self.taken += len;
        self.offset += len as u64;
    }

    /// Reads more, as much again as waits already; false at the end of the file.
    fn read_more(&mut self) -> Result<bool, Error> {
        self.buffer.drain(..self.taken);
        self.taken = 0;
        let len = self.buffer.len();
        self.buffer.resize(len + len.max(READ_BYTES), 0);
        let read = loop {
            match self.file.read(&mut self.buffer[len..]) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                read => break read,
            }
        };
        let got = *read.as_ref().unwrap_or(&0);
        self.buffer.truncate(len + got);
        read.map_err(Error::file(&self.path))?;
        Ok(got > 0)
    }

    fn content(&self, what: FileError) -> Error {
        Error::Content {
            file: self.path.clone(),
            offset: self.offset,
            what,
        }
    }
}
