//! How each link is doing, for operators.
//!
//! Owns the counters and the reasons for which connections end. Nothing here can fail.

use std::time::{Duration, Instant};

use crate::NodeId;

use super::types::Class;

/// Whether a link works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkState {
    /// A connection is being opened, or one direction stands and the other is awaited.
    Connecting,
    /// Both directions stand.
    Up,
    /// One of the two nodes does not admit the other; the attempts go on.
    Refused,
    /// The last attempt failed or the link was lost; the next attempt is waited for.
    Down,
}

/// Why a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    Closed,
    Timeout,
    Malformed,
    Oversized,
    Overflow,
    Refused,
    Requested,
}

/// The end of a connection, in numbers and in words.
#[derive(Clone, Debug)]
pub(super) struct Ended {
    pub(super) cause: Cause,
    pub(super) reason: String,
}

impl Ended {
    pub(super) fn new(cause: Cause, reason: impl ToString) -> Ended {
        let reason = reason.to_string();
        Ended { cause, reason }
    }
}

/// How often connections ended, by cause.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cuts {
    /// The peer or the network closed it.
    pub closed: u64,
    /// Nothing arrived any more.
    pub timeout: u64,
    /// Bytes that are no frame, wrong checksums included.
    pub malformed: u64,
    /// A frame or message beyond its bound.
    pub oversized: u64,
    /// A send queue was full.
    pub overflow: u64,
    /// A handshake in which one side did not admit the other.
    pub refused: u64,
    /// This node's own wish.
    pub requested: u64,
}

impl Cuts {
    pub(super) fn count(&mut self, cause: Cause) {
        let counter = match cause {
            Cause::Closed => &mut self.closed,
            Cause::Timeout => &mut self.timeout,
            Cause::Malformed => &mut self.malformed,
            Cause::Oversized => &mut self.oversized,
            Cause::Overflow => &mut self.overflow,
            Cause::Refused => &mut self.refused,
            Cause::Requested => &mut self.requested,
        };
        *counter += 1;
    }
}

/// Frames and their payload bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// How many.
    pub frames: u64,
    /// Their payloads together.
    pub bytes: u64,
}

impl Traffic {
    pub(super) fn add(&mut self, frames: usize, bytes: usize) {
        self.frames += frames as u64;
        self.bytes += bytes as u64;
    }
}

/// One link as it is now. Counters start with the links thread.
#[derive(Clone, Debug)]
pub struct LinkStatus {
    /// The peer.
    pub node: NodeId,
    /// Where it is connected to.
    pub address: String,
    /// Whether it works.
    pub state: LinkState,
    /// Since when it is in this state.
    pub since: Instant,
    /// The peer's incarnation, as last seen.
    pub incarnation: Option<u64>,
    /// Handed to the network, for each of [`Class::ALL`].
    pub sent: [Traffic; Class::ALL.len()],
    /// Delivered, for each of [`Class::ALL`].
    pub received: [Traffic; Class::ALL.len()],
    /// Frames not yet handed to the network.
    pub queued_frames: usize,
    /// Their bytes.
    pub queued_bytes: usize,
    /// How often the link came up.
    pub connects: u64,
    /// How often a connection ended or was refused.
    pub cuts: Cuts,
    /// The last failure, in words.
    pub last_error: Option<String>,
    /// From the last probe to its answer.
    pub round_trip: Option<Duration>,
}
