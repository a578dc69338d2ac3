//! Bugs that a run can be given, to show that the checkers find them.
//!
//! Those of the world (a disk that lies, a clock that drifts too far) are simulated; those of the
//! members stand behind a switch in the server that exists in debug builds only.

use bailiwick::group::planted as server;

/// A rule to break.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub enum Planted {
    /// A crash loses what the disk said it had.
    LyingDisk,
    /// A clock runs so slowly that leases overlap.
    Drift,
    /// A checkpoint from elsewhere brings no record of what was applied.
    CheckpointWithoutOrigins,
    /// A node starts without the state that its log begins behind.
    StartWithoutCheckpoint,
    /// A node whose directory was emptied counts its lives from 1 again.
    IncarnationsBeginAnew,
    /// A proposal that the log holds twice is applied twice.
    NoDeduplication,
    /// Reads that asked for an index do not wait until it is applied.
    ReadsDoNotWait,
    /// Reads under the lease are shown a state that lacks what is decided.
    LeaseWithoutDecided,
    /// What is forwarded is answered before it is applied.
    AnsweredBeforeApplied,
    /// A leader logs what members sent to it in an earlier configuration.
    LoggedAfterSeal,
    /// What a script draws at random depends on the replica.
    ScriptsDrawForThemselves,
}

impl Planted {
    /// Those that are found soon. [`Self::Drift`] needs more luck: a leader has to be the slow one
    /// and be cut off while somebody reads.
    pub const ALL: [Self; 10] = [
        Self::LyingDisk,
        Self::CheckpointWithoutOrigins,
        Self::StartWithoutCheckpoint,
        Self::IncarnationsBeginAnew,
        Self::NoDeduplication,
        Self::ReadsDoNotWait,
        Self::LeaseWithoutDecided,
        Self::AnsweredBeforeApplied,
        Self::LoggedAfterSeal,
        Self::ScriptsDrawForThemselves,
    ];
}

/// Plants a bug in the members of this thread, or removes it; those of the world are not its
/// business.
pub(super) fn plant(bug: Option<Planted>) {
    server::plant(match bug {
        Some(Planted::NoDeduplication) => Some(server::Planted::NoDeduplication),
        Some(Planted::ReadsDoNotWait) => Some(server::Planted::ReadsDoNotWait),
        Some(Planted::LeaseWithoutDecided) => Some(server::Planted::LeaseWithoutDecided),
        Some(Planted::AnsweredBeforeApplied) => Some(server::Planted::AnsweredBeforeApplied),
        Some(Planted::LoggedAfterSeal) => Some(server::Planted::LoggedAfterSeal),
        Some(Planted::ScriptsDrawForThemselves) => Some(server::Planted::ScriptsDrawForThemselves),
        _ => None,
    });
}
