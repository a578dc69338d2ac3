//! Reading a checkpoint, block by block, checking each before it is handed out.
//!
//! Owns the position in the file. Every failure is an [`Error`] with the file, the offset and the
//! reason; after one the reader is of no use, and what it has handed out must not be kept, since
//! only the end shows that nothing is missing.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use super::{
    BLOCK_HEAD_BYTES, CheckpointHeader, END, END_BYTES, FORMAT_VERSION, HEAD_BYTES, MAGIC,
    MAX_BLOCK_BYTES, block_crc, u32_at, u64_at,
};
use crate::Error;

const BUFFER_BYTES: usize = 256 << 10;
const ADVICE: &str = "restore it from a copy, or remove it if an older checkpoint and the log \
                      behind it are complete";

/// A checkpoint being read.
#[derive(Debug)]
pub struct CheckpointReader {
    path: PathBuf,
    file: BufReader<File>,
    header_crc: u32,
    blocks: u64,
    position: u64,
    total: u64,
    ended: bool,
}

impl CheckpointReader {
    /// Opens a checkpoint and reads its header.
    pub fn open(path: &Path) -> Result<(CheckpointHeader, CheckpointReader), Error> {
        let file = File::open(path).map_err(Error::io("cannot open", path))?;
        let metadata = file.metadata().map_err(Error::io("cannot open", path))?;
        let mut reader = CheckpointReader {
            path: path.to_owned(),
            file: BufReader::with_capacity(BUFFER_BYTES, file),
            header_crc: 0,
            blocks: 0,
            position: 0,
            total: metadata.len(),
            ended: false,
        };
        let header = reader.read_head()?;
        Ok((header, reader))
    }

    /// Reads the next block into `payload`. `false` says that the checkpoint is complete: its end
    /// was there and counts what was read; `payload` is then empty.
    pub fn next_block(&mut self, payload: &mut Vec<u8>) -> Result<bool, Error> {
        payload.clear();
        if self.ended {
            return Ok(false);
        }
        let start = self.position;
        let mut head = [0; BLOCK_HEAD_BYTES];
        self.fill(&mut head, "it ends inside the head of a block")?;
        let (len, crc) = (u32_at(&head, 0), u32_at(&head, 4));
        if len == END {
            self.read_end(start, crc)?;
            return Ok(false);
        }
        if len as usize > MAX_BLOCK_BYTES {
            return Err(self.damaged(start, format!("a block of {len} bytes is too large")));
        }
        if u64::from(len) > self.total - self.position {
            return Err(self.damaged(start, format!("it ends inside a block of {len} bytes")));
        }
        payload.resize(len as usize, 0);
        self.fill(payload, "it ends inside a block")?;
        if block_crc(self.header_crc, self.blocks, len, payload) != crc {
            payload.clear();
            return Err(self.damaged(start, "the checksum of a block does not match".to_owned()));
        }
        self.blocks += 1;
        Ok(true)
    }

    /// How many bytes have been read.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// The size of the file.
    pub fn total(&self) -> u64 {
        self.total
    }

    fn read_head(&mut self) -> Result<CheckpointHeader, Error> {
        let mut head = [0; HEAD_BYTES + CheckpointHeader::BYTES + 4];
        let (fixed, rest) = head.split_at_mut(HEAD_BYTES);
        self.fill(fixed, "it ends inside its head")?;
        if !fixed.starts_with(MAGIC) {
            let reason = "it does not start as a checkpoint does".to_owned();
            return Err(self.damaged(0, reason));
        }
        let (version, len) = (u32_at(fixed, 8), u32_at(fixed, 12));
        if version != FORMAT_VERSION {
            return Err(Error::Version {
                path: self.path.clone(),
                found: version,
                supported: FORMAT_VERSION,
            });
        }
        if len as usize != CheckpointHeader::BYTES {
            return Err(self.damaged(12, format!("its header has {len} bytes")));
        }
        self.fill(rest, "it ends inside its header")?;
        let (covered, crc) = head.split_at(HEAD_BYTES + CheckpointHeader::BYTES);
        self.header_crc = crc32fast::hash(covered);
        if self.header_crc != u32_at(crc, 0) {
            let reason = "the checksum of its header does not match".to_owned();
            return Err(self.damaged(HEAD_BYTES as u64, reason));
        }
        let header = covered[HEAD_BYTES..].try_into();
        Ok(CheckpointHeader::decode(
            header.expect("the length has been checked"),
        ))
    }

    fn read_end(&mut self, start: u64, crc: u32) -> Result<(), Error> {
        let mut end = [0; END_BYTES];
        self.fill(&mut end, "it ends inside its end")?;
        if block_crc(self.header_crc, self.blocks, END, &end) != crc {
            return Err(self.damaged(start, "the checksum of its end does not match".to_owned()));
        }
        let (blocks, bytes) = (u64_at(&end, 0), u64_at(&end, 8));
        if (blocks, bytes) != (self.blocks, start) {
            let read = self.blocks;
            let reason = format!("it counts {blocks} blocks in {bytes} bytes, {read} are there");
            return Err(self.damaged(start, reason));
        }
        if self.position != self.total {
            return Err(self.damaged(self.position, "something follows its end".to_owned()));
        }
        self.ended = true;
        Ok(())
    }

    fn fill(&mut self, buf: &mut [u8], reason: &str) -> Result<(), Error> {
        if buf.len() as u64 > self.total - self.position {
            return Err(self.damaged(self.position, reason.to_owned()));
        }
        self.file
            .read_exact(buf)
            .map_err(Error::io("cannot read", &self.path))?;
        self.position += buf.len() as u64;
        Ok(())
    }

    fn damaged(&self, offset: u64, reason: String) -> Error {
        Error::Damaged {
            path: self.path.clone(),
            offset,
            reason,
            advice: ADVICE,
        }
    }
}
