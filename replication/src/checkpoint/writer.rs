//! Writing a checkpoint: under a temporary name, durable, then under its own.
//!
//! Owns the file until it is finished. Errors are the operating system's; after one the writer is
//! of no use and is dropped, which removes what it wrote. Checkpoints already there are untouched
//! until the new one is durable.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::{
    BLOCK_HEAD_BYTES, CheckpointHeader, END, END_BYTES, MAX_BLOCK_BYTES, block_crc, directory,
    encode_head,
};
use crate::sys;

/// Written to the file at once.
const BUFFER_BYTES: usize = 256 << 10;
/// Synced at least this often, so that the log's syncs do not have to wait for gigabytes.
const SYNC_BYTES: u64 = 32 << 20;

/// A checkpoint being written.
#[derive(Debug)]
pub struct CheckpointWriter {
    dir: PathBuf,
    temporary: PathBuf,
    /// `None` once finished.
    file: Option<File>,
    index: crate::LogIndex,
    buffer: Vec<u8>,
    header_crc: u32,
    blocks: u64,
    /// Bytes of the file so far, those in the buffer included.
    bytes: u64,
    synced: u64,
}

impl CheckpointWriter {
    /// Starts a checkpoint in `dir`, which is created if need be. A checkpoint of the same index
    /// is replaced when this one is finished.
    pub fn create(dir: &Path, header: CheckpointHeader) -> io::Result<CheckpointWriter> {
        directory::create(dir)?;
        let temporary = directory::temporary_path(dir, header.index);
        let file = File::create(&temporary)?;
        let (head, header_crc) = encode_head(&header);
        Ok(CheckpointWriter {
            dir: dir.to_owned(),
            temporary,
            file: Some(file),
            index: header.index,
            bytes: head.len() as u64,
            buffer: head,
            header_crc,
            blocks: 0,
            synced: 0,
        })
    }

    /// Adds a block. A payload above [`MAX_BLOCK_BYTES`] is refused as invalid input.
    pub fn block(&mut self, payload: &[u8]) -> io::Result<()> {
        if payload.len() > MAX_BLOCK_BYTES {
            let text = format!("a block of {} bytes is too large", payload.len());
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        self.put(payload.len() as u32, payload)?;
        self.blocks += 1;
        self.bytes += (BLOCK_HEAD_BYTES + payload.len()) as u64;
        Ok(())
    }

    /// The size of the file so far.
    pub fn bytes_written(&self) -> u64 {
        self.bytes
    }

    /// Completes the checkpoint, makes it durable and gives it its name. Of the older ones only
    /// the newest is kept. Returns where the checkpoint is.
    pub fn finish(mut self) -> io::Result<PathBuf> {
        let mut end = [0; END_BYTES];
        end[..8].copy_from_slice(&self.blocks.to_le_bytes());
        end[8..].copy_from_slice(&self.bytes.to_le_bytes());
        self.put(END, &end)?;
        self.flush()?;
        self.file().sync_all()?;
        let path = directory::path(&self.dir, self.index);
        fs::rename(&self.temporary, &path)?;
        self.file = None;
        sys::sync_dir(&self.dir)?;
        directory::remove_old(&self.dir, self.index)?;
        Ok(path)
    }

    fn put(&mut self, len: u32, payload: &[u8]) -> io::Result<()> {
        let crc = block_crc(self.header_crc, self.blocks, len, payload);
        self.buffer.extend_from_slice(&len.to_le_bytes());
        self.buffer.extend_from_slice(&crc.to_le_bytes());
        if payload.len() < BUFFER_BYTES {
            self.buffer.extend_from_slice(payload);
        } else {
            self.flush()?;
            self.file().write_all(payload)?;
        }
        if self.buffer.len() >= BUFFER_BYTES {
            self.flush()?;
        }
        if self.bytes - self.synced >= SYNC_BYTES {
            self.file().sync_data()?;
            self.synced = self.bytes;
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        let buffer = std::mem::take(&mut self.buffer);
        self.file().write_all(&buffer)?;
        self.buffer = buffer;
        self.buffer.clear();
        Ok(())
    }

    fn file(&mut self) -> &mut File {
        self.file
            .as_mut()
            .expect("finish takes the writer, so it still has its file")
    }
}

impl Drop for CheckpointWriter {
    fn drop(&mut self) {
        if self.file.take().is_some() {
            // If this fails, the next start removes the file.
            let _ = fs::remove_file(&self.temporary);
        }
    }
}
