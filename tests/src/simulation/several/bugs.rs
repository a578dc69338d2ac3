//! Rules of the server to break.

pub use bailiwick::group::planted::Planted as Bug;

/// The bugs that these checkers are to find, with their names.
///
/// [`Bug::AbortForgotten`] is not among them: a commit has to be on its way for as long as another
/// leader takes to have it aborted, which takes more luck.
pub const BUGS: [(&str, Bug); 9] = [
    ("served-after-freeze", Bug::ServedAfterFreeze),
    ("served-before-commit", Bug::ServedBeforeCommit),
    ("epoch-not-raised", Bug::EpochNotRaised),
    ("digest-not-compared", Bug::DigestNotCompared),
    ("changes-not-copied", Bug::ChangesNotCopied),
    ("parcel-executed-twice", Bug::ParcelExecutedTwice),
    ("thawed-without-asking", Bug::ThawedWithoutAsking),
    ("held-answered-by-old", Bug::HeldAnsweredByOld),
    ("shares-not-compared", Bug::SharesNotCompared),
];

/// The bug of this name.
#[must_use]
pub fn bug_named(name: &str) -> Option<Bug> {
    let rare = [("abort-forgotten", Bug::AbortForgotten)];
    let found = BUGS.iter().chain(&rare).find(|(known, _)| *known == name);
    found.map(|(_, bug)| *bug)
}
