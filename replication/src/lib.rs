//! One ordered, durable log per group, and checkpoint files. Knows nothing of Redis.
//!
//! What is here:
//! - [`DataDir`]: the exclusive lock of a node's directory, its identity and incarnation.
//! - [`Wal`]: the node's write-ahead log; every group's entries share one file and one sync.
//! - [`checkpoint`]: files with a group's whole state at one log index.
//! - [`LocalReplica`]: the order of entries on a node without a cluster, sans I/O.
//! - [`consensus`]: the replica of a group of a cluster, over omnipaxos, sans I/O.
//! - [`link`]: the connections between nodes.
//!
//! How the pieces fit: a caller proposes to a replica, writes what `ready()` hands out with
//! [`Wal::append`] or [`Wal::write_log`], tells the replica that it is persisted and applies what
//! is then decided. Now and then it writes a checkpoint and compacts the log up to it. At a start
//! it loads the newest valid checkpoint and replays the log behind it.
//!
//! Failure, in one line each: a full disk refuses the append and changes nothing
//! ([`WalError::Full`]); a write or sync whose outcome is unknown stops the log for good
//! ([`WalError::Fatal`]); a torn tail is cut and reported ([`Recovery`]); damage anywhere else
//! refuses the start and names file and offset ([`Error`]).
//!
//! Not here: the meaning of entries. Sockets are touched in [`link`] alone, and clocks there and
//! where the log looks now and then how much room the disk has.

#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        reason = "a test that fails by panicking fails as it should"
    )
)]

pub mod checkpoint;
pub mod consensus;
mod data_dir;
mod error;
mod identity;
mod ids;
pub mod link;
mod replica;
mod sys;
mod wal;

pub use checkpoint::{CheckpointHeader, CheckpointReader, CheckpointWriter, MAX_BLOCK_BYTES};
pub use data_dir::DataDir;
pub use error::{Error, WalError};
pub use identity::{ClusterId, Identity, Membership};
pub use ids::{ConfigurationId, GroupId, LogIndex, NodeId};
pub use replica::{LocalReplica, Ready};
pub use wal::{
    CutTail, DEFAULT_RESERVE_BYTES, MAX_APPEND_BYTES, Recovery, Visit, Wal, WalOptions, WalSource,
};
