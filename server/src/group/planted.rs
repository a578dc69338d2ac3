//! Bugs that a test can plant, to show that the checkers of the whole-cluster simulation find them.
//!
//! Only in builds with debug assertions; in others `is_on` is a constant and the compiler removes
//! what it guards. Chosen per thread, so that simulations side by side do not meet.

use super::{Item, Proposal};

/// A rule to break.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Planted {
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
    /// A source serves a prefix that it has frozen.
    ServedAfterFreeze,
    /// A destination serves what it has of a prefix before it has committed.
    ServedBeforeCommit,
    /// A destination serves at the epoch at which the source did.
    EpochNotRaised,
    /// A chunk is lost on its way, and nobody compares what has come with what was sent.
    DigestNotCompared,
    /// What is written while a prefix is copied is not copied again.
    ChangesNotCopied,
    /// A parcel of another node that comes twice is executed twice.
    ParcelExecutedTwice,
    /// A source serves on after a failure without asking whether the destination has committed.
    ThawedWithoutAsking,
    /// A destination that is told to forget an attempt can still be made to commit it.
    AbortForgotten,
    /// What was held is answered by the group from which the prefix has departed.
    HeldAnsweredByOld,
    /// A listing is accepted although the shares do not fit.
    SharesNotCompared,
    /// A client whose time is over is told so although it was served.
    ServedAtTimeOut,
    /// Whoever comes last to wait for a key is served first.
    LastServedFirst,
    /// Whoever waits for keys of a prefix that departs goes on waiting there.
    StraysNotDismissed,
    /// What a script draws at random depends on the replica.
    ScriptsDrawForThemselves,
    /// A part of FLUSHALL is not done, and nobody notices.
    FlushForgotten,
}

#[cfg(debug_assertions)]
std::thread_local! {
    static PLANTED: std::cell::Cell<Option<Planted>> = const { std::cell::Cell::new(None) };
    static DRAWN: std::cell::Cell<u64> = const { std::cell::Cell::new(0) };
}

/// Plants a bug for this thread, or removes it. Without debug assertions nothing is planted.
pub fn plant(bug: Option<Planted>) {
    #[cfg(debug_assertions)]
    {
        PLANTED.set(bug);
        DRAWN.set(0);
    }
    #[cfg(not(debug_assertions))]
    let _ = bug;
}

/// Whether this bug is planted.
#[cfg(debug_assertions)]
pub(crate) fn is_on(bug: Planted) -> bool {
    PLANTED.get() == Some(bug)
}

/// Whether this bug is planted: in builds for use, never.
#[cfg(not(debug_assertions))]
pub(crate) const fn is_on(_: Planted) -> bool {
    false
}

/// The chance that a script is given: the entry's, unless replicas draw for themselves.
pub(crate) fn chance_of_script(seed: u64) -> u64 {
    #[cfg(debug_assertions)]
    if is_on(Planted::ScriptsDrawForThemselves) {
        return DRAWN.replace(DRAWN.get() + (1 << 20));
    }
    seed
}

/// Whether the proposals hold nothing but writes that are answered with OK.
pub(super) fn is_plain(proposals: &[Box<Proposal>]) -> bool {
    let is_plain = |proposal: &Proposal, item: &Item| match item {
        Item::Command {
            request, command, ..
        } => {
            let args = proposal.requests.args(*request, &proposal.buffer);
            command.name.eq_ignore_ascii_case("set") && args.len() == 3
        }
        _ => false,
    };
    let mut proposals = proposals.iter();
    proposals.all(|proposal| proposal.items.iter().all(|item| is_plain(proposal, item)))
}

/// Answers all of it with OK.
pub(super) fn say_done(proposals: &mut [Box<Proposal>]) {
    for proposal in proposals {
        for _ in &proposal.items {
            proposal.replies.extend_from_slice(b"+OK\r\n");
        }
    }
}
