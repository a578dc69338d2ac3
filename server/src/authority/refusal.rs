//! Why a change of authority was refused. It had no effect then.

use bailiwick_replication::GroupId;

use super::Stray;

/// A refusal; its display form is an error reply without its leading `-`. The code tells a driver
/// how to go on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The prefix has been created before.
    #[error("EXISTS Prefix '{}' belongs to group {}", .0.escape_ascii(), .1)]
    Exists(Vec<u8>, GroupId),
    /// The parent prefix, or the prefix itself, is not served here, or is frozen.
    #[error("{0}")]
    Stray(Stray),
    /// This group did not create the prefix.
    #[error("NOPREFIX Prefix '{}' was not created by this group", .0.escape_ascii())]
    NoPrefix(Vec<u8>),
    /// Another move is under way.
    #[error("MOVING Prefix '{}' is being moved to group {}", .0.escape_ascii(), .1)]
    Moving(Vec<u8>, GroupId),
    /// The command belongs to another move.
    #[error("EPOCH Prefix '{}' is at epoch {} here", .0.escape_ascii(), .1)]
    Epoch(Vec<u8>, u64),
    /// The step does not follow on what has been done so far.
    #[error("PHASE Prefix '{}' {}", .0.escape_ascii(), .1)]
    Phase(Vec<u8>, &'static str),
    /// A later attempt has begun, or this one was aborted or never begun.
    #[error("ATTEMPT Prefix '{}' is at attempt {} here", .0.escape_ascii(), .1)]
    Attempt(Vec<u8>, u64),
    /// Chunks are missing before this one.
    #[error("CHUNK Prefix '{}' waits for chunk {}", .0.escape_ascii(), .1)]
    Chunk(Vec<u8>, u64),
    /// What arrived is not what was sent.
    #[error("DIGEST Prefix '{}' has {count} keys of digest {digest} here", .prefix.escape_ascii())]
    Digest {
        /// The prefix.
        prefix: Vec<u8>,
        /// Keys that arrived.
        count: u64,
        /// What they add up to.
        digest: u64,
    },
    /// The prefix has arrived, so that it cannot be aborted, nor arrive once more.
    #[error("COMMITTED Prefix '{}' has arrived here at epoch {}", .0.escape_ascii(), .1)]
    Committed(Vec<u8>, u64),
    /// The name of a group is taken.
    #[error("EXISTS Group '{}' is group {} and has other members", .0.escape_ascii(), .1)]
    GroupExists(Vec<u8>, GroupId),
    /// Nonsense.
    #[error("ERR {0}")]
    Invalid(&'static str),
}
