//! States survive being written and read; content of version 1 restores; nothing hostile panics.

use super::*;
use crate::keyspace::stream::{Group, Pending};
use crate::keyspace::{
    Aggregate, Expiry, Fenced, Hash, Member, NewValue, Object, Set, SortedSet, Stream, StreamId,
    ValueRef,
};
use crate::state::{ConfigurationId, Origin, PROXIED};
use bailiwick_replication::NodeId;
use bytes::Bytes;
use proptest::prelude::*;

fn hash(fields: u32) -> Hash {
    let mut hash = Hash::default();
    for number in 0..fields {
        hash.set(&number.to_le_bytes(), &vec![1; (number % 50) as usize], 77);
    }
    hash
}

fn set(members: u32) -> Set {
    let mut set = Set::default();
    for number in 0..members {
        set.add(Member::Bytes(number.to_string().as_bytes()), 77);
    }
    set
}

fn state(keys: u32) -> State {
    let mut state = State::empty();
    state.applied = LogIndex(42);
    state.time_ms = 1_700_000_000_123;
    state.keyspace = Keyspace::new(3, 77);
    for (node, sequence) in [(1, 1), (1, 2), (1, 9), (1, 300), (2, u64::MAX)] {
        let origin = Origin {
            node,
            incarnation: 1 << 40,
        };
        let _ = state.origins.admit(origin, sequence, 0);
    }
    state.configuration = Some(Configuration {
        id: ConfigurationId(3),
        members: (1..4)
            .map(|number| crate::state::Member {
                node: NodeId(number),
                disk: u64::MAX / number,
            })
            .collect(),
        sealed_at: LogIndex(40),
    });
    for number in 0..keys {
        let key = format!("key:{number}");
        let expiry = if number % 3 == 0 {
            Expiry::At(i64::from(number))
        } else {
            Expiry::None
        };
        let text = vec![b'v'; (number % 100) as usize];
        let value = match number % 6 {
            0 => NewValue::Int(i64::from(number)),
            1 => NewValue::Object(Object::String(text.clone())),
            2 => NewValue::Object(hash(1 + number * 7 % 700).into_object()),
            3 => NewValue::Object(
                set(if number == 9 {
                    9000
                } else {
                    1 + number * 13 % 600
                })
                .into_object(),
            ),
            _ => NewValue::String(&text),
        };
        let database = (number % 2) as usize;
        state
            .keyspace
            .set(database, key.as_bytes(), value, expiry, number);
    }
    state
}

fn content(state: &State) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut writer = FrozenState::of(state).into_writer();
    let mut sink = |block: &[u8]| {
        bytes.extend_from_slice(block);
        Ok(())
    };
    while writer
        .step(1, &mut sink)
        .expect("a vector takes everything")
    {}
    bytes
}

fn listing(state: &State) -> Vec<String> {
    let mut lines = Vec::new();
    for (_, database, table) in state.keyspace.all_tables() {
        for entry in table.iter() {
            let (version, access) = (entry.version(), entry.access());
            let (key, expires) = (entry.key().escape_ascii(), entry.expires_at_ms());
            let value = match entry.value().elements() {
                None => format!("{:?}", entry.value()),
                Some(elements) => {
                    let mut parts = Vec::new();
                    let visit = &mut |part: &[u8]| parts.push(part.to_vec());
                    elements.visit(0, elements.len(), visit);
                    format!("{} {parts:?}", elements.encoding())
                }
            };
            lines.push(format!(
                "{database} {key} {version} {access} {expires:?} {value}"
            ));
        }
    }
    lines.sort();
    lines
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20))]
    #[test]
    fn a_state_survives_any_division_into_blocks(
        keys in 0..500u32,
        cuts in proptest::collection::vec(1..5000usize, 1..20),
    ) {
        let state = state(keys);
        let bytes = content(&state);
        let mut restorer = Restorer::new();
        let (mut rest, mut cuts) = (&bytes[..], cuts.iter().cycle());
        while !rest.is_empty() {
            let cut = (*cuts.next().expect("cycles")).min(rest.len());
            restorer.block(&rest[..cut]).expect("well formed");
            rest = &rest[cut..];
        }
        let restored = restorer.finish().expect("complete");
        prop_assert_eq!(restored.applied, state.applied);
        prop_assert_eq!(restored.time_ms, state.time_ms);
        prop_assert_eq!(&restored.origins, &state.origins);
        prop_assert_eq!(&restored.configuration, &state.configuration);
        prop_assert_eq!(listing(&restored), listing(&state));
        prop_assert_eq!(
            restored.keyspace.watch_counters(),
            state.keyspace.watch_counters()
        );
    }

    #[test]
    fn arbitrary_content_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let mut restorer = Restorer::new();
        let mut content = content(&state(2));
        let keep = content.len() - bytes.len().min(60);
        content.truncate(keep);
        content.extend(bytes);
        let _ = restorer.block(&content);
        let _ = restorer.finish();
    }
}

#[test]
fn content_that_ends_early_is_refused() {
    let bytes = content(&state(5));
    for len in [0, 10, 100, bytes.len() - 1] {
        let mut restorer = Restorer::new();
        restorer
            .block(&bytes[..len])
            .expect("nothing malformed yet");
        assert!(
            matches!(restorer.finish(), Err(RestoreError::Truncated(_))),
            "{len}"
        );
    }
}

#[test]
fn no_flipped_bit_and_no_hostile_head_panics() {
    let bytes = content(&state(5));
    let behind_slots = 36 + 4 * 4096;
    for at in (0..36).chain(behind_slots..bytes.len()) {
        for bit in 0..8 {
            let mut flipped = bytes.clone();
            flipped[at] ^= 1 << bit;
            let mut restorer = Restorer::new();
            if restorer.block(&flipped).is_ok()
                && let Ok(state) = restorer.finish()
            {
                state.origins.check_invariants();
            }
        }
    }
}

fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text
        .chars()
        .filter_map(|digit| digit.to_digit(16))
        .map(|digit| digit as u8)
        .collect();
    digits
        .chunks(2)
        .map(|pair| pair[0] << 4 | pair[1])
        .collect()
}

/// What the last release before version 2 wrote: all creation slots were `0x11223344`.
fn content_of_version_1() -> Vec<u8> {
    let mut bytes =
        unhex("2a00000000000000 7b68e5cf8b010000 4d00000000000000 04030201 03000000 00100000");
    bytes.extend(unhex("44332211").repeat(4096));
    bytes.extend(unhex(
        "00 00 01000000 09000000 03 696e74 fdffffffffffffff
         81 01 02000000 09000000 e86be5cf8b010000 04 74657874 05 76616c7565
         02 02 03000000 09000000 03 726177 06 656469746564",
    ));
    bytes
}

#[test]
fn content_of_version_1_restores() {
    let mut restorer = Restorer::of_version(1).expect("a known version");
    for block in content_of_version_1().chunks(1000) {
        restorer.block(block).expect("well formed");
    }
    let state = restorer.finish().expect("complete");
    assert_eq!(
        (state.applied, state.time_ms),
        (LogIndex(42), 1_700_000_000_123)
    );
    assert_eq!(state.origins, Origins::default());
    assert_eq!(state.configuration, None);
    let (version, creations) = state.keyspace.watch_counters();
    assert_eq!(
        (version, creations),
        (0x0102_0304, &[0x1122_3344; 4096][..])
    );
    let get = |database, key: &[u8]| state.keyspace.entry(database, key).expect("restored");
    assert_eq!(get(0, b"int").value(), ValueRef::Int(-3));
    assert_eq!(get(1, b"text").value(), ValueRef::String(b"value"));
    assert_eq!(get(1, b"text").expires_at_ms(), Some(1_700_000_001_000));
    let raw = Object::String(b"edited".to_vec());
    assert_eq!(get(2, b"raw").value(), ValueRef::Object(&raw));
    assert_eq!(get(2, b"raw").version(), 3);
}

#[test]
fn content_of_version_4_restores_without_waiters_tokens_and_scripts() {
    const FENCE_AT: usize = 8 + 8 + 8 + 4 + 4 + 4 + 4 * CREATION_SLOTS;
    const FENCE_BYTES: usize = 8;
    const NO_WAITERS: [u8; 3] = [0; 3];
    let state = state(10);
    let mut bytes = content(&state);
    let length = |bytes: &[u8], at: usize| {
        u32::from_le_bytes(*bytes[at..].first_chunk().expect("a length")) as usize
    };
    let group_at = FENCE_AT;
    bytes.drain(FENCE_AT..FENCE_AT + FENCE_BYTES);
    let group_end = group_at + 4 + length(&bytes, group_at);
    let waiters_at = group_end - NO_WAITERS.len();
    assert_eq!(bytes[waiters_at..group_end], NO_WAITERS);
    bytes.drain(waiters_at..group_end);
    let group_bytes = (waiters_at - group_at - 4) as u32;
    bytes[group_at..group_at + 4].copy_from_slice(&group_bytes.to_le_bytes());
    let scripts_at = waiters_at + 4 + length(&bytes, waiters_at);
    bytes.drain(scripts_at..scripts_at + 4 + length(&bytes, scripts_at));
    let mut restorer = Restorer::of_version(4).expect("a known version");
    restorer.block(&bytes).expect("well formed");
    let restored = restorer.finish().expect("complete");
    assert!(restored.waiters.is_empty());
    assert_eq!(listing(&restored), listing(&state));
    assert_eq!(restored.origins, state.origins);
}

#[test]
fn content_of_unknown_versions_is_refused() {
    assert!(Restorer::of_version(0).is_none());
    assert!(Restorer::of_version(CONTENT_VERSION + 1).is_none());
}

#[test]
fn tokens_of_locks_and_their_counter_come_back() {
    let mut state = state(0);
    let token = (0..3).map(|_| state.keyspace.next_fence()).last();
    let token = token.expect("three were given");
    let value = Box::from(&b"holder"[..]);
    let fenced = Object::Fenced(Box::new(Fenced { value, token }));
    let keyspace = &mut state.keyspace;
    keyspace.set(
        1,
        b"lock",
        NewValue::Object(fenced.clone()),
        Expiry::None,
        0,
    );
    let mut restorer = Restorer::new();
    restorer.block(&content(&state)).expect("well formed");
    let mut restored = restorer.finish().expect("complete");
    let entry = restored.keyspace.entry(1, b"lock").expect("restored");
    assert_eq!(entry.value(), ValueRef::Object(&fenced));
    assert_eq!(restored.keyspace.next_fence(), token + 1);
}

#[test]
fn sorted_sets_keep_scores_and_representation() {
    let mut state = state(0);
    let seed = state.keyspace.seed();
    let filled = |count: u32| {
        let mut set = SortedSet::default();
        for number in 0..count {
            let score = f64::from(number.wrapping_mul(2_654_435_761)) / 7.0;
            set.set(format!("member:{number}").as_bytes(), score, seed);
        }
        set
    };
    let mut thinned = filled(1000);
    thinned.remove_ranks(3..990);
    thinned.set(b"zero", -0.0, seed);
    thinned.set(b"infinite", f64::NEG_INFINITY, seed);
    for (key, set) in [
        ("small", filled(100)),
        ("large", filled(5000)),
        ("thinned", thinned),
    ] {
        let value = NewValue::Object(set.into_object());
        state
            .keyspace
            .set(1, key.as_bytes(), value, Expiry::None, 0);
    }
    let mut restorer = Restorer::new();
    restorer.block(&content(&state)).expect("well formed");
    let restored = restorer.finish().expect("complete");
    assert_eq!(listing(&restored), listing(&state));
    let encoding = |key: &str| {
        let entry = restored.keyspace.get(1, key.as_bytes(), 0).expect("there");
        entry.value().encoding()
    };
    assert_eq!(
        ["small", "large", "thinned"].map(encoding),
        ["listpack", "skiplist", "skiplist"]
    );
}

#[test]
fn a_list_comes_back_divided_as_it_was() {
    use crate::keyspace::list::{End, List, Side};

    let mut list = List::new();
    let mut state = state(0);
    // Each with the list as it is then: one pack, several, several of odd sizes, a single one that
    // has shrunk but not enough, and one that has.
    for (count, kept) in [(3, 3), (1000, 1000), (50, 1040), (0, 60), (0, 2)] {
        for number in 0..count {
            let word = format!("{number:0>90}").into_bytes();
            list.expect(word.len());
            match (list.len() > 1000, number) {
                (true, _) => list.insert(500, Side::After, &word),
                (_, 0..500) => list.push(End::Front, &word),
                (_, 500..600) => list.push(End::Back, number.to_string().as_bytes()),
                _ => list.push(End::Back, &word),
            }
        }
        list.remove(0, list.len() - kept);
        list.settle();
        let key = format!("list:{count}:{kept}");
        let value = NewValue::Object(Object::List(list.clone()));
        state
            .keyspace
            .set(1, key.as_bytes(), value, Expiry::None, 0);
    }
    let mut restorer = Restorer::new();
    restorer.block(&content(&state)).expect("well formed");
    let restored = restorer.finish().expect("complete");
    assert_eq!(listing(&restored), listing(&state));
    let mut encodings = Vec::new();
    for entry in state.keyspace.iter(1) {
        let again = restored.keyspace.entry(1, entry.key());
        // Lists are equal only if they are divided alike.
        assert_eq!(again.expect("restored").value(), entry.value());
        encodings.push(entry.value().encoding());
    }
    encodings.sort_unstable();
    assert_eq!(
        encodings,
        [
            "listpack",
            "listpack",
            "quicklist",
            "quicklist",
            "quicklist"
        ]
    );
}

#[test]
fn streams_keep_their_nodes_their_past_and_their_groups() {
    let mut state = state(0);
    let mut stream = Stream::default();
    let id = |ms| StreamId { ms, seq: 1 };
    for number in 1..=2000 {
        let value = vec![b'v'; number as usize % 300];
        stream.append(id(number), &[(b"name", &value)]);
    }
    assert!(stream.delete(id(1500)));
    let mut group = Group::new(id(900), Some(900));
    let consumer = group.see_consumer(b"consumer", 7);
    for number in 1..=900 {
        let pending = Pending {
            consumer,
            delivered_ms: 5,
            deliveries: 1,
        };
        group.set_pending(id(number), pending);
    }
    assert!(stream.add_group(b"group", group));
    for (key, stream) in [(&b"stream"[..], stream), (b"empty", Stream::default())] {
        let value = NewValue::Object(Object::Stream(stream));
        state.keyspace.set(1, key, value, Expiry::None, 0);
    }
    let mut restorer = Restorer::new();
    restorer.block(&content(&state)).expect("well formed");
    let restored = restorer.finish().expect("complete");
    assert_eq!(listing(&restored), listing(&state));
    for entry in state.keyspace.iter(1) {
        let again = restored.keyspace.entry(1, entry.key()).expect("restored");
        assert_eq!(again.value(), entry.value());
    }
}

#[test]
fn a_list_that_nobody_wrote_is_malformed() {
    let key = state(0);
    let head = content(&key);
    for (value, expected) in [
        // One element, "a"; with a pack too many; a length behind it that is wrong; no pack; an
        // empty one; a form that does not exist.
        (&b"\x00\x04\x03\x81a\x02\x00"[..], true),
        (b"\x00\x04\x03\x81a\x02\x04\x03\x81a\x02\x00", false),
        (b"\x00\x04\x03\x81a\x03\x00", false),
        (b"\x00\x00", false),
        (b"\x00\x01\x00\x00", false),
        (b"\x02\x04\x03\x81a\x02\x00", false),
    ] {
        let mut bytes = head.clone();
        bytes.extend_from_slice(&[
            crate::state::record::KIND_LIST,
            0,
            0,
            0,
            0,
            0,
            0,
            0,
            0,
            0,
            1,
            b'k',
        ]);
        bytes.extend_from_slice(value);
        let mut restorer = Restorer::new();
        let outcome = restorer.block(&bytes);
        assert_eq!(outcome.is_ok(), expected, "{}", value.escape_ascii());
    }
}

#[test]
fn a_state_without_keys_is_written_in_blocks_too() {
    let mut state = state(0);
    let origin = Origin {
        node: PROXIED | 7,
        incarnation: 1,
    };
    state.origins.admit(origin, 1, 0);
    let long = Bytes::from(vec![b'r'; 3 << 20]);
    state.origins.keep_reply(origin, 1, long);
    let (mut blocks, mut bytes) = (Vec::new(), Vec::new());
    let mut writer = FrozenState::of(&state).into_writer();
    while writer
        .step(1, |block| {
            blocks.push(block.len());
            bytes.extend_from_slice(block);
            Ok(())
        })
        .expect("a vector takes everything")
    {}
    assert!(blocks.len() > 1 && blocks.iter().all(|len| *len <= 1 << 20));
    let mut restorer = Restorer::new();
    restorer.block(&bytes).expect("well formed");
    let restored = restorer.finish().expect("complete");
    assert_eq!(restored.origins, state.origins);
}
