//! Rules of the server to break.

pub use bailiwick::group::planted::Planted as Bug;

/// The bugs that these checkers are to find, with their names.
pub const BUGS: [(&str, Bug); 14] = [
    ("served-after-freeze", Bug::ServedAfterFreeze),
    ("served-before-commit", Bug::ServedBeforeCommit),
    ("epoch-not-raised", Bug::EpochNotRaised),
    ("digest-not-compared", Bug::DigestNotCompared),
    ("changes-not-copied", Bug::ChangesNotCopied),
    ("parcel-executed-twice", Bug::ParcelExecutedTwice),
    ("thawed-without-asking", Bug::ThawedWithoutAsking),
    ("abort-forgotten", Bug::AbortForgotten),
    ("held-answered-by-old", Bug::HeldAnsweredByOld),
    ("shares-not-compared", Bug::SharesNotCompared),
    ("served-at-time-out", Bug::ServedAtTimeOut),
    ("last-served-first", Bug::LastServedFirst),
    ("strays-not-dismissed", Bug::StraysNotDismissed),
    ("flush-forgotten", Bug::FlushForgotten),
];

/// The bug of this name.
#[must_use]
pub fn bug_named(name: &str) -> Option<Bug> {
    let found = BUGS.iter().find(|(known, _)| *known == name);
    found.map(|(_, bug)| *bug)
}
