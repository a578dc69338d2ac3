//! What the tests of the state machine share.

use bailiwick_frame::{ArgRange, Args};

use super::{FrozenState, Restorer, State};

/// Hands over a command's arguments, which are separated by single spaces.
pub(crate) fn with_words<R>(words: &str, f: impl FnOnce(Args<'_>) -> R) -> R {
    let mut ranges = Vec::new();
    let mut start = 0;
    for word in words.split(' ') {
        let end = start + word.len() as u32;
        ranges.push(ArgRange { start, end });
        start = end + 1;
    }
    f(Args::new(words.as_bytes(), &ranges))
}

/// The same state by way of a checkpoint.
pub(super) fn restored(state: &State) -> State {
    let mut writer = FrozenState::of(state).into_writer();
    let mut restorer = Restorer::new();
    let mut sink = |block: &[u8]| {
        restorer.block(block).expect("well formed");
        Ok(())
    };
    while writer.step(3, &mut sink).expect("taken") {}
    let restored = restorer.finish().expect("complete");
    restored.check_invariants();
    restored
}
