//! The checkpoints of a group as its replica sees them: files that come and go, in pieces.
//!
//! Owns the boundary, so that the simulator can replace the disk. What a checkpoint holds is the
//! business of `state`, its format that of `replication::checkpoint`, how pieces travel that of
//! `transfer`.

use std::io;

use bailiwick_replication::LogIndex;
use bytes::Bytes;

use crate::state::State;

/// A piece of a checkpoint file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// How long the whole file is.
    pub total_bytes: u64,
    /// The bytes from the offset asked for, at most as many as asked for; empty at the end.
    pub bytes: Bytes,
}

/// The checkpoints on a node's disk, and one that is being received.
pub trait Vault: Send {
    /// The newest checkpoint of this node.
    fn newest(&self) -> Option<LogIndex>;

    /// Reads from the checkpoint at `index`; `None` if there is none (any more).
    ///
    /// # Errors
    /// The file cannot be read.
    fn read(&mut self, index: LogIndex, offset: u64, max_bytes: usize)
    -> io::Result<Option<Piece>>;

    /// How many bytes of the checkpoint at `index` have been received, by an earlier life included.
    /// What was received of another one is removed.
    ///
    /// # Errors
    /// The disk.
    fn received(&mut self, index: LogIndex) -> io::Result<u64>;

    /// Appends what was received of the checkpoint at `index`.
    ///
    /// # Errors
    /// The disk, which may be full: the piece is to be asked for again later.
    fn append(&mut self, index: LogIndex, offset: u64, bytes: &[u8]) -> io::Result<()>;

    /// All of the checkpoint at `index` is there: checks it, keeps it durably under its name, and
    /// loads it, which may take long and happens elsewhere. The outcome comes from
    /// [`Vault::loaded`].
    fn load(&mut self, index: LogIndex);

    /// The outcome of [`Vault::load`], once. A checkpoint that is not what it should be is removed
    /// and gives an error.
    fn loaded(&mut self) -> Option<Result<State, String>>;
}
