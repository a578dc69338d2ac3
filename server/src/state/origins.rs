//! Exactly once: which proposals of which origin have been applied.
//!
//! A node that does not learn what became of a proposal proposes it again, with the same origin and
//! sequence, so the log may hold it several times and in any order. The first one counts. Of each
//! origin node the state keeps a [`Window`]: a floor, up to which everything is a repetition, and
//! the applied sequences above it. Origins carry their own floor along and so keep windows small;
//! sequences that were applied without a gap are folded into the floor at once, which changes no
//! answer, so that the window of an undisturbed origin is a single number.
//!
//! **Replies.** A node that has a proposal executed by a group of which it is no member learns the
//! outcome from the group alone. Such an origin is marked ([`Origin::is_proxied`]), and the window
//! keeps its replies, on every replica, until the floor that the origin carries has passed them: so
//! whichever replica leads can answer a retry with what the first execution found.
//!
//! A higher incarnation starts the window anew: the new life knows nothing of the old one's
//! proposals and repeats none. What still arrives from the old life is dropped, because nobody
//! waits for it any more.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use super::codec::{DecodeError, Reader, put_bytes, put_varint};
use super::entry::{MAX_OPEN_PROPOSALS, Origin};

/// Whether a proposal is to be applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// It was not seen before, and is marked as applied now.
    New,
    /// It has been applied, or was given up by its origin: its items are to be skipped.
    Duplicate,
}

/// The windows of all nodes that ever proposed something.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origins {
    windows: BTreeMap<u32, Window>,
}

/// What is known of one node's proposals in its latest life.
///
/// Invariants: every member of `applied` is above `floor + 1`; for proposals that the decoder let
/// pass, `applied.len() < MAX_OPEN_PROPOSALS`; every key of `replies` is above `told` and was
/// applied.
#[derive(Clone, Debug, Default)]
struct Window {
    incarnation: u64,
    floor: u64,
    applied: BTreeSet<u64>,
    /// The highest floor that the origin has carried; `floor` may be above it.
    told: u64,
    /// What was answered, by sequence.
    replies: BTreeMap<u64, Bytes>,
}

/// Replies are left aside: what a read found may differ between replicas in what is no part of the
/// state, such as idle times.
impl PartialEq for Window {
    fn eq(&self, other: &Self) -> bool {
        let all = |window: &Self| (window.incarnation, window.floor, window.told);
        all(self) == all(other) && self.applied == other.applied
    }
}

impl Eq for Window {}

impl Origins {
    /// Decides about a proposal and remembers it. `floor` is the one it carries.
    pub fn admit(&mut self, origin: Origin, sequence: u64, floor: u64) -> Admission {
        let window = self.windows.entry(origin.node).or_default();
        if origin.incarnation < window.incarnation {
            return Admission::Duplicate;
        }
        if origin.incarnation > window.incarnation {
            *window = Window {
                incarnation: origin.incarnation,
                ..Window::default()
            };
        }
        window.raise(floor);
        window.admit(sequence)
    }

    /// Keeps what was answered to a proposal that has just been admitted.
    pub fn keep_reply(&mut self, origin: Origin, sequence: u64, reply: Bytes) {
        let window = self.windows.get_mut(&origin.node);
        let window = window.filter(|window| window.incarnation == origin.incarnation);
        if let Some(window) = window
            && sequence > window.told
        {
            window.replies.insert(sequence, reply);
        }
    }

    /// What was answered to a proposal, as [`ProxiedReply`](super::ProxiedReply) reads it; `None`
    /// if it was not applied, or its origin has finished it.
    #[must_use]
    pub fn reply(&self, origin: Origin, sequence: u64) -> Option<&Bytes> {
        let window = self.windows.get(&origin.node)?;
        let window = Some(window).filter(|window| window.incarnation == origin.incarnation)?;
        window.replies.get(&sequence)
    }

    /// Bytes of the replies that are kept, over all origins.
    #[cfg(test)]
    fn reply_bytes(&self) -> usize {
        let replies = self.windows.values().flat_map(|w| w.replies.values());
        replies.map(Bytes::len).sum()
    }

    /// Whether a proposal of this origin counts as applied: it was, or was given up.
    #[must_use]
    pub fn contains(&self, origin: Origin, sequence: u64) -> bool {
        let Some(window) = self.windows.get(&origin.node) else {
            return false;
        };
        let is_of_this_life = window.incarnation == origin.incarnation;
        window.incarnation > origin.incarnation
            || is_of_this_life && (sequence <= window.floor || window.applied.contains(&sequence))
    }

    /// Number of sequences that are remembered one by one, over all origins.
    #[must_use]
    pub fn remembered(&self) -> usize {
        self.windows
            .values()
            .map(|window| window.applied.len())
            .sum()
    }

    /// Panics if an invariant of the windows does not hold. For tests and simulation.
    pub fn check_invariants(&self) {
        for window in self.windows.values() {
            if let Some(&lowest) = window.applied.first() {
                assert!(lowest > window.floor + 1, "{lowest} in {window:?}");
            }
            for &sequence in window.replies.keys() {
                let is_applied = sequence <= window.floor || window.applied.contains(&sequence);
                assert!(
                    is_applied && sequence > window.told,
                    "{sequence} in {window:?}"
                );
            }
        }
    }

    /// Writes the windows: count, then node, incarnation, floor and the gaps between the sequences.
    pub(super) fn put(&self, out: &mut Vec<u8>) {
        put_varint(out, self.windows.len() as u64);
        for (&node, window) in &self.windows {
            put_varint(out, u64::from(node));
            put_varint(out, window.incarnation);
            put_varint(out, window.floor);
            put_varint(out, window.applied.len() as u64);
            let mut last = window.floor;
            for &sequence in &window.applied {
                put_varint(out, sequence - last);
                last = sequence;
            }
        }
    }

    /// Writes the floors that were told, and the replies: a count of origins that have told one or
    /// have replies, then node, floor, count of replies, and each with the gap to the sequence
    /// before.
    pub(super) fn put_replies(&self, out: &mut Vec<u8>) {
        let windows = self
            .windows
            .iter()
            .filter(|(_, window)| window.told > 0 || !window.replies.is_empty());
        put_varint(out, windows.clone().count() as u64);
        for (&node, window) in windows {
            put_varint(out, u64::from(node));
            put_varint(out, window.told);
            put_varint(out, window.replies.len() as u64);
            let mut last = window.told;
            for (&sequence, reply) in &window.replies {
                put_varint(out, sequence - last);
                put_bytes(out, reply);
                last = sequence;
            }
        }
    }

    /// Reads what [`Origins::put_replies`] wrote, after the windows themselves.
    pub(super) fn take_replies(&mut self, reader: &mut Reader<'_>) -> Result<(), DecodeError> {
        for _ in 0..reader.length()? {
            let malformed = DecodeError::Malformed(reader.at());
            let node = u32::try_from(reader.varint()?).map_err(|_| malformed)?;
            let window = self.windows.get_mut(&node).ok_or(malformed)?;
            window.told = reader.varint()?;
            let mut last = window.told;
            for _ in 0..reader.length()? {
                let gap = reader.varint()?;
                let sequence = last.checked_add(gap).filter(|_| gap > 0).ok_or(malformed)?;
                if sequence > window.floor && !window.applied.contains(&sequence) {
                    return Err(malformed);
                }
                let reply = Bytes::copy_from_slice(reader.string()?);
                window.replies.insert(sequence, reply);
                last = sequence;
            }
        }
        Ok(())
    }

    /// Reads what [`Origins::put`] wrote; refuses windows that break an invariant.
    pub(super) fn take(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let mut origins = Self::default();
        for _ in 0..reader.length()? {
            let malformed = DecodeError::Malformed(reader.at());
            let node = u32::try_from(reader.varint()?).map_err(|_| malformed)?;
            let window = Window::take(reader)?;
            if origins.windows.insert(node, window).is_some() {
                return Err(malformed);
            }
        }
        Ok(origins)
    }
}

impl Window {
    fn raise(&mut self, floor: u64) {
        if floor > self.told {
            self.told = floor;
            match floor.checked_add(1) {
                Some(next) => self.replies = self.replies.split_off(&next),
                None => self.replies.clear(),
            }
        }
        if floor <= self.floor {
            return;
        }
        self.floor = floor;
        while self.applied.first().is_some_and(|&lowest| lowest <= floor) {
            self.applied.pop_first();
        }
        self.fold();
    }

    fn admit(&mut self, sequence: u64) -> Admission {
        if sequence <= self.floor {
            return Admission::Duplicate;
        }
        if sequence == self.floor + 1 {
            self.floor = sequence;
            self.fold();
            return Admission::New;
        }
        if self.applied.insert(sequence) {
            Admission::New
        } else {
            Admission::Duplicate
        }
    }

    /// Lets the floor swallow what stands right above it.
    fn fold(&mut self) {
        while let Some(&lowest) = self.applied.first()
            && lowest - 1 == self.floor
        {
            self.floor = lowest;
            self.applied.pop_first();
        }
    }

    fn take(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let mut window = Self {
            incarnation: reader.varint()?,
            floor: reader.varint()?,
            ..Self::default()
        };
        let malformed = DecodeError::Malformed(reader.at());
        let count = reader.varint()?;
        if count >= MAX_OPEN_PROPOSALS {
            return Err(malformed);
        }
        let mut last = window.floor;
        for at in 0..count {
            let gap = reader.varint()?;
            // A first gap of one would belong into the floor.
            let least = if at == 0 { 2 } else { 1 };
            last = last
                .checked_add(gap)
                .filter(|_| gap >= least)
                .ok_or(malformed)?;
            window.applied.insert(last);
        }
        Ok(window)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashSet;

    fn origin(node: u32, incarnation: u64) -> Origin {
        Origin { node, incarnation }
    }

    /// Remembers everything for ever.
    #[derive(Default)]
    struct Naive {
        latest: u64,
        floor: u64,
        seen: HashSet<u64>,
    }

    impl Naive {
        fn admit(&mut self, incarnation: u64, sequence: u64, floor: u64) -> Admission {
            if incarnation < self.latest {
                return Admission::Duplicate;
            }
            if incarnation > self.latest {
                *self = Self {
                    latest: incarnation,
                    ..Self::default()
                };
            }
            self.floor = self.floor.max(floor);
            if sequence <= self.floor || !self.seen.insert(sequence) {
                return Admission::Duplicate;
            }
            Admission::New
        }
    }

    fn copy(origins: &Origins) -> Origins {
        let mut bytes = Vec::new();
        origins.put(&mut bytes);
        origins.put_replies(&mut bytes);
        let mut reader = Reader::new(&bytes);
        let mut copy = Origins::take(&mut reader).expect("well formed");
        copy.take_replies(&mut reader).expect("well formed");
        assert!(reader.is_done());
        copy
    }

    proptest! {
        #[test]
        fn windows_decide_like_a_set_that_forgets_nothing(
            steps in proptest::collection::vec(
                (0..3u32, 0..3u64, 1..40u64, 0..12u64, any::<bool>()),
                1..300,
            ),
        ) {
            let mut origins = Origins::default();
            let mut naive: [Naive; 3] = Default::default();
            for (at, (node, incarnation, step, below, restart)) in steps.into_iter().enumerate() {
                // Sequences drift upwards, with retries and reorderings in between; now and then
                // an origin begins a new life.
                let incarnation = (at / 100) as u64 + u64::from(restart && incarnation == 2);
                let sequence = step + (at as u64) / 8;
                let floor = sequence.saturating_sub(1 + below * 4);
                let expected = naive[node as usize].admit(incarnation, sequence, floor);
                prop_assert_eq!(
                    origins.admit(origin(node, incarnation), sequence, floor),
                    expected
                );
                prop_assert!(origins.contains(origin(node, incarnation), sequence));
                origins.check_invariants();
                prop_assert_eq!(&copy(&origins), &origins);
            }
        }

        #[test]
        fn arbitrary_windows_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            if let Ok(origins) = Origins::take(&mut Reader::new(&bytes)) {
                origins.check_invariants();
            }
        }
    }

    #[test]
    fn a_proposal_is_admitted_once() {
        let mut origins = Origins::default();
        for sequence in [2, 1, 5, 3] {
            assert_eq!(origins.admit(origin(1, 1), sequence, 0), Admission::New);
            assert_eq!(
                origins.admit(origin(1, 1), sequence, 0),
                Admission::Duplicate
            );
        }
        assert_eq!(origins.admit(origin(2, 1), 5, 4), Admission::New);
    }

    #[test]
    fn replies_are_kept_until_their_origin_has_finished_them() {
        let mut origins = Origins::default();
        let of = origin(1, 7);
        for sequence in [1, 2, 3, 5] {
            assert_eq!(origins.admit(of, sequence, 0), Admission::New);
            let reply = Bytes::from(sequence.to_string());
            origins.keep_reply(of, sequence, reply);
        }
        assert_eq!(origins.reply_bytes(), 4);
        assert_eq!(copy(&origins).reply(of, 2), Some(&Bytes::from("2")));
        assert_eq!(origins.admit(of, 2, 1), Admission::Duplicate);
        assert_eq!(origins.reply(of, 1), None);
        assert_eq!(origins.reply(of, 2), Some(&Bytes::from("2")));
        assert_eq!(origins.admit(of, 6, 5), Admission::New);
        assert_eq!(origins.reply_bytes(), 0);
        // What is finished is not kept any more, and a new life does not see the old one's.
        origins.keep_reply(of, 5, Bytes::from("late"));
        origins.keep_reply(of, 6, Bytes::from("6"));
        origins.check_invariants();
        assert_eq!(copy(&origins).reply_bytes(), 1);
        assert_eq!(origins.reply(origin(1, 8), 6), None);
        assert_eq!(origins.admit(origin(1, 8), 6, 0), Admission::New);
        assert_eq!(origins.reply(of, 6), None);
        assert_eq!(origins.reply(origin(1, 8), 6), None);
    }

    #[test]
    fn an_older_life_is_not_admitted() {
        let mut origins = Origins::default();
        assert_eq!(origins.admit(origin(1, 7), 9, 0), Admission::New);
        assert_eq!(origins.admit(origin(1, 6), 10, 0), Admission::Duplicate);
        assert_eq!(origins.admit(origin(1, 8), 9, 0), Admission::New);
        assert_eq!(origins.admit(origin(1, 7), 11, 0), Admission::Duplicate);
    }

    #[test]
    fn a_sequence_below_the_floor_is_given_up() {
        let mut origins = Origins::default();
        assert_eq!(origins.admit(origin(1, 1), 10, 8), Admission::New);
        assert_eq!(origins.admit(origin(1, 1), 8, 3), Admission::Duplicate);
        assert_eq!(origins.admit(origin(1, 1), 9, 3), Admission::New);
    }

    #[test]
    fn an_undisturbed_origin_takes_no_room() {
        let mut origins = Origins::default();
        for sequence in 1..1000 {
            // Its floor lags behind, yet nothing is remembered one by one.
            let floor = sequence / 2;
            assert_eq!(origins.admit(origin(1, 1), sequence, floor), Admission::New);
            assert_eq!(origins.remembered(), 0);
        }
    }

    #[test]
    fn the_last_sequence_of_all_does_no_harm() {
        let mut origins = Origins::default();
        let last = u64::MAX;
        assert_eq!(origins.admit(origin(1, 1), last, last - 1), Admission::New);
        assert_eq!(
            origins.admit(origin(1, 1), last, last),
            Admission::Duplicate
        );
        origins.check_invariants();
    }
}
