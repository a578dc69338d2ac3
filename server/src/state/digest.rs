//! What a part of the state adds up to, so that replicas can find out that they differ.
//!
//! Every [`DIGEST_EVERY`] entries each replica digests one *slice* of its keyspace: the keys of all
//! databases whose hashes begin with certain bits, and some small tables. Slices take turns, so a
//! difference anywhere is found when its slice comes round. A slice has a few thousand keys however
//! large the keyspace is, which bounds the cost. What belongs to no key (counts, counters, time,
//! origins, membership) is part of every digest.
//!
//! The leader puts its digest into a later entry; a replica that remembers another one for the same
//! index has a state that the log did not make, and must stop. A replica that no longer (or, fresh
//! from a checkpoint, not yet) remembers that index learns nothing and goes on.
//!
//! Keys are added up without order, so it does not matter how a table grew. Access times are left
//! out: they are no part of the replicated state. Of a very long value, and of one with many
//! elements, one stretch is looked at, another one each time.

use std::collections::VecDeque;

use bailiwick_replication::LogIndex;
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use super::State;
use super::codec::put_varint;
use super::configuration::put_members;
use crate::keyspace::{Elements, Entry, Object, ValueRef};

/// A digest is taken after every entry whose index is a multiple of this.
pub const DIGEST_EVERY: u64 = 1024;

/// How many digests are remembered: the leader's must arrive within so many times
/// [`DIGEST_EVERY`] entries to be compared.
pub const REMEMBERED_DIGESTS: usize = 16;

/// Keys that a slice has at least, unless the whole keyspace has fewer. It has less than about
/// twice as many.
const SLICE_KEYS: usize = 2048;

/// A table with fewer keys belongs to one slice as a whole: to find the keys of a slice in it would
/// mean to look at all of them each time, and there can be very many such tables.
const SMALL_TABLE_KEYS: usize = 128;

/// Of a longer value only a stretch of this length is digested at a time.
const STRETCH_BYTES: usize = 8 * 1024;

/// Of a value with more elements only so many are digested at a time.
const STRETCH_ELEMENTS: usize = 128;

/// The latest digests of a state.
///
/// Invariants: `latest.len() <= REMEMBERED_DIGESTS`; indexes rise.
#[derive(Debug, Default)]
pub(super) struct Digests {
    latest: VecDeque<(LogIndex, u64)>,
}

impl Digests {
    pub(super) fn last(&self) -> Option<(LogIndex, u64)> {
        self.latest.back().copied()
    }

    /// The digest after the entry at `index`, if it is remembered.
    pub(super) fn at(&self, index: LogIndex) -> Option<u64> {
        let found = self.latest.iter().find(|&&(at, _)| at == index);
        found.map(|&(_, digest)| digest)
    }

    pub(super) fn remember(&mut self, index: LogIndex, digest: u64) {
        if self.latest.len() == REMEMBERED_DIGESTS {
            self.latest.pop_front();
        }
        self.latest.push_back((index, digest));
    }
}

/// The digest of the slice whose turn it is at the state's index.
pub(super) fn digest(state: &State) -> u64 {
    let round = state.applied.0 / DIGEST_EVERY;
    let bits = slice_bits(state.keyspace.len());
    let slice = round & ((1 << bits) - 1);
    let mut keys = 0u64;
    let mut record = Vec::with_capacity(256);
    for (prefix, database, table) in state.keyspace.all_tables() {
        let mut add = |entry| {
            record.clear();
            put_entry(&mut record, database, entry, round);
            keys = keys.wrapping_add(xxh3_64(&record));
        };
        if table.len() >= SMALL_TABLE_KEYS {
            table.iter_slice(slice, bits).for_each(add);
        } else if is_turn_of(prefix, database, slice, bits) {
            table.iter().for_each(&mut add);
        }
    }
    let mut frame = Vec::new();
    put_frame(&mut frame, state);
    xxh3_64_with_seed(&frame, keys)
}

/// Whether a small table belongs to a slice.
fn is_turn_of(prefix: &[u8], database: usize, slice: u64, bits: u32) -> bool {
    bits == 0 || xxh3_64_with_seed(prefix, database as u64) >> (64 - bits) == slice
}

/// The base-2 logarithm of the number of slices.
fn slice_bits(keys: usize) -> u32 {
    (keys / SLICE_KEYS).max(1).ilog2()
}

/// What belongs to no key.
fn put_frame(out: &mut Vec<u8>, state: &State) {
    out.extend_from_slice(&state.applied.0.to_le_bytes());
    out.extend_from_slice(&state.time_ms.to_le_bytes());
    out.extend_from_slice(&state.keyspace.seed().to_le_bytes());
    put_varint(out, state.keyspace.databases() as u64);
    for database in 0..state.keyspace.databases() {
        put_varint(out, state.keyspace.len_of(database) as u64);
        put_varint(out, state.keyspace.expiring_len_of(database) as u64);
    }
    out.extend_from_slice(&state.authority.digest().to_le_bytes());
    out.extend_from_slice(&state.scripts.digest().to_le_bytes());
    let (version, creations) = state.keyspace.watch_counters();
    out.extend_from_slice(&version.to_le_bytes());
    out.extend_from_slice(&state.keyspace.fence().to_le_bytes());
    for slot in creations {
        out.extend_from_slice(&slot.to_le_bytes());
    }
    state.origins.put(out);
    // Without waiters a digest is what it was before there could be any.
    if !state.waiters.is_empty() {
        state.waiters.put(out);
    }
    if let Some(configuration) = &state.configuration {
        put_members(out, configuration.id, &configuration.members);
        put_varint(out, configuration.sealed_at.0);
    }
}

fn put_entry(out: &mut Vec<u8>, database: usize, entry: &Entry, round: u64) {
    put_varint(out, database as u64);
    out.extend_from_slice(&entry.version().to_le_bytes());
    let expires_at_ms = entry.expires_at_ms();
    out.push(u8::from(expires_at_ms.is_some()));
    out.extend_from_slice(&expires_at_ms.unwrap_or(0).to_le_bytes());
    put_varint(out, entry.key().len() as u64);
    out.extend_from_slice(entry.key());
    let (kind, value) = match entry.value() {
        ValueRef::Int(number) => (0, number as u64),
        ValueRef::String(bytes) => (1, string(bytes, round)),
        ValueRef::Object(Object::String(bytes)) => (2, string(bytes, round)),
        ValueRef::Object(Object::Fenced(fenced)) => (16, string(&fenced.value, fenced.token)),
        ValueRef::Object(Object::List(list)) => (3, elements(list, round)),
        ValueRef::Object(Object::Set(set)) => (4, elements(set, round)),
        ValueRef::Object(Object::Hash(hash)) => (5, elements(hash, round)),
        ValueRef::Object(Object::SortedSet(set)) => (6, elements(set, round)),
        ValueRef::Object(Object::Stream(stream)) => (7, elements(stream, round)),
    };
    out.push(kind);
    out.extend_from_slice(&value.to_le_bytes());
}

fn string(bytes: &[u8], round: u64) -> u64 {
    let start = stretch_of(bytes.len(), STRETCH_BYTES, round);
    let end = bytes.len().min(start + STRETCH_BYTES);
    xxh3_64_with_seed(&bytes[start..end], bytes.len() as u64)
}

fn elements(value: &dyn Elements, round: u64) -> u64 {
    let mut sum = value.len() as u64 ^ u64::from(value.representation()) << 56;
    let start = stretch_of(value.len(), STRETCH_ELEMENTS, round);
    value.visit(start, STRETCH_ELEMENTS, &mut |part| {
        sum = xxh3_64_with_seed(&string(part, round).to_le_bytes(), sum);
    });
    sum
}

/// Where the stretch begins whose turn it is, in a value of length `len`.
fn stretch_of(len: usize, stretch: usize, round: u64) -> usize {
    let stretches = len.div_ceil(stretch).max(1) as u64;
    // Rounds that look at the same slice are a power of two apart; mixing keeps every stretch
    // within their reach.
    (xxh3_64(&round.to_le_bytes()) % stretches) as usize * stretch
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keyspace::{Expiry, Keyspace, NewValue, Stamp};
    use crate::state::testing::restored;
    use crate::state::{ConfigurationId, Member};
    use bailiwick_replication::NodeId;
    use proptest::prelude::*;

    const SEED: u64 = 5;

    fn state(index: u64) -> State {
        let mut state = State::empty();
        state.keyspace = Keyspace::new(3, SEED);
        state.applied = LogIndex(index);
        state.time_ms = 1_700_000_000_000;
        state
    }

    fn put(state: &mut State, number: usize, value: &[u8], version: u32) {
        let key = format!("key:{number}");
        let expiry = match number % 5 {
            0 => Expiry::At(number as i64),
            _ => Expiry::None,
        };
        let stamp = Stamp { version, access: 0 };
        let value = NewValue::String(value);
        state
            .keyspace
            .restore(number % 3, key.as_bytes(), value, expiry, stamp)
            .then_some(())
            .expect("a realm");
    }

    #[test]
    fn equal_states_have_equal_digests_however_their_tables_grew() {
        for (keys, index) in [(0, 1024), (10, 2048), (9000, 3 << 10), (20_000, 77 << 10)] {
            let (mut up, mut down) = (state(index), state(index));
            // Three times as many keys made the one table deeper than the other ever was.
            for number in 0..keys * 3 {
                put(&mut up, number, b"value", number as u32);
            }
            for number in keys..keys * 3 {
                let key = format!("key:{number}");
                up.keyspace.remove(number % 3, key.as_bytes());
            }
            for number in (0..keys).rev() {
                put(&mut down, number, b"value", number as u32);
            }
            assert_eq!(digest(&up), digest(&down), "{keys} keys");
            assert_eq!(digest(&restored(&up)), digest(&up), "{keys} keys");
        }
    }

    #[test]
    fn slices_divide_the_keyspace_and_stay_small() {
        let mut state = state(0);
        for number in 0..50_000 {
            put(&mut state, number, b"v", 0);
        }
        let bits = slice_bits(50_000);
        assert_eq!(bits, 4);
        let mut total = 0;
        for slice in 0..1 << bits {
            let tables = state.keyspace.all_tables();
            let keys: usize = tables
                .map(|(_, _, table)| table.iter_slice(slice, bits).count())
                .sum();
            assert!((SLICE_KEYS..3 * SLICE_KEYS).contains(&keys), "{keys}");
            total += keys;
        }
        assert_eq!(total, 50_000);
        assert_eq!(
            [0, 1, 2047, 2048, 4095, 4096, 1 << 20].map(slice_bits),
            [0, 0, 0, 0, 0, 1, 9]
        );
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]
        #[test]
        fn any_changed_key_of_the_slice_changes_the_digest(
            keys in 1..6000usize,
            chosen in any::<proptest::sample::Index>(),
            change in 0..5,
        ) {
            let chosen = chosen.index(keys);
            let key = format!("key:{chosen}");
            let mut left = state(0);
            for number in 0..keys {
                put(&mut left, number, b"value", 7);
            }
            let mut right = restored(&left);
            let bits = slice_bits(keys);
            let hash = left.keyspace.hash(key.as_bytes()).0;
            let slice = if bits == 0 { 0 } else { hash >> (64 - bits) };
            left.applied = LogIndex(slice * DIGEST_EVERY);
            right.applied = left.applied;
            prop_assert_eq!(digest(&left), digest(&right));
            let stamp = Stamp { version: 7, access: 0 };
            let (old, new) = (NewValue::String(b"value"), NewValue::String(b"vaLue"));
            let database = chosen % 3;
            let keyspace = &mut right.keyspace;
            match change {
                0 => prop_assert!(
                    keyspace.restore(database, key.as_bytes(), new, Expiry::Keep, stamp)
                ),
                1 => put(&mut right, chosen, b"value", 8),
                2 => prop_assert!(
                    keyspace.restore(database, key.as_bytes(), old, Expiry::At(-9), stamp)
                ),
                3 => drop(keyspace.remove(database, key.as_bytes())),
                _ => {
                    let entry = keyspace.remove(database, key.as_bytes()).expect("it is there");
                    let other = (database + 1) % 3;
                    prop_assert!(keyspace.restore(other, entry.key(), old, Expiry::Keep, stamp));
                }
            }
            prop_assert_ne!(digest(&left), digest(&right));
        }
    }

    #[test]
    fn what_belongs_to_no_key_is_in_every_digest() {
        let origin = crate::state::Origin {
            node: 1,
            incarnation: 1,
        };
        let plain = digest(&state(1024));
        let changes: [fn(&mut State); 5] = [
            |state| state.time_ms += 1,
            |state| state.applied.0 += 1,
            |state| assert!(!state.keyspace.set_expiry(0, b"absent", None)),
            |state| state.keyspace.swap(0, 1),
            |state| {
                state.configuration = Some(crate::state::Configuration {
                    id: ConfigurationId(1),
                    members: vec![Member {
                        node: NodeId(1),
                        disk: 2,
                    }],
                    sealed_at: LogIndex(3),
                });
            },
        ];
        for change in changes {
            let mut state = state(1024);
            change(&mut state);
            assert_ne!(digest(&state), plain);
        }
        let mut admitted = state(1024);
        let _ = admitted.origins.admit(origin, 1, 0);
        assert_ne!(digest(&admitted), plain);
    }

    #[test]
    fn every_stretch_of_a_long_value_gets_its_turn() {
        let mut values = vec![vec![0; 5 * STRETCH_BYTES + 1]; 6];
        for (at, value) in values.iter_mut().enumerate() {
            value[at * STRETCH_BYTES] = 1;
        }
        let plain = vec![0; 5 * STRETCH_BYTES + 1];
        for (at, value) in values.iter().enumerate() {
            let found = (0..256).any(|round| string(value, round * 8) != string(&plain, round * 8));
            assert!(found, "stretch {at}");
        }
        assert_ne!(string(&plain, 1), string(&plain[1..], 1));
    }

    #[test]
    fn only_the_latest_digests_are_remembered() {
        let mut digests = Digests::default();
        assert_eq!(digests.last(), None);
        for number in 1..=20 {
            digests.remember(LogIndex(number * DIGEST_EVERY), number);
        }
        assert_eq!(digests.last(), Some((LogIndex(20 * DIGEST_EVERY), 20)));
        assert_eq!(digests.at(LogIndex(4 * DIGEST_EVERY)), None);
        assert_eq!(digests.at(LogIndex(5 * DIGEST_EVERY)), Some(5));
        assert_eq!(digests.at(LogIndex(5 * DIGEST_EVERY + 1)), None);
    }
}
