//! Bugs that a test can plant, to show that the checkers of the simulation find them.
//!
//! Only in the tests of this crate; otherwise [`is_on`] is a constant and the compiler removes what
//! it guards. Chosen per thread, so that simulations side by side do not meet.

/// A rule to break.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Planted {
    /// Accepted leaves before the entries are on disk.
    AcceptedBeforeSync,
    /// Promise leaves before it is on disk.
    PromiseBeforeSync,
    /// A leader counts its own log before it is on disk.
    LeaderNotSynced,
    /// A leader counts its own log before it is on disk that it was accepted in its round.
    RoundNotSynced,
    /// A grantor's own Prepare leaves while its grant runs.
    LeaseWithoutOutgoingHold,
    /// Prepares of others are handled while a grant runs.
    LeaseWithoutIncomingHold,
    /// A new leader serves reads before what it found is decided.
    NoBarrier,
    /// A leader without lease serves reads without asking.
    NoConfirmation,
    /// A restarted node takes part at once, forgetting what it granted.
    NoWaitAfterRestart,
    /// A restarted node takes over when asked to, forgetting what it granted.
    LeadsInQuarantine,
    /// Entries are handed to the crate beyond the decided index.
    NoClamp,
    /// Messages from before a reconnection are handled after it.
    NoSessions,
    /// Decided entries are taken from a node in an earlier configuration, which does not know yet
    /// that they are void.
    EntriesOfEarlierConfiguration,
    /// After a restart the log's entries below a received checkpoint count as decided.
    TrustsLogBelowCheckpoint,
    /// A replica whose log would have to begin behind a checkpoint starts without having loaded it.
    StartedWithoutCheckpoint,
}

#[cfg(test)]
std::thread_local! {
    static PLANTED: std::cell::Cell<Option<Planted>> = const { std::cell::Cell::new(None) };
}

/// Plants a bug for this thread, or removes it.
#[cfg(test)]
pub(crate) fn plant(bug: Option<Planted>) {
    PLANTED.set(bug);
}

/// Whether this bug is planted.
#[cfg(test)]
pub(crate) fn is_on(bug: Planted) -> bool {
    PLANTED.get() == Some(bug)
}

/// Whether this bug is planted: outside of tests, never.
#[cfg(not(test))]
pub(crate) const fn is_on(_: Planted) -> bool {
    false
}
