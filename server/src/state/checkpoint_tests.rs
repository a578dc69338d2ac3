//! States survive being written and read; content of version 1 restores; nothing hostile panics.

use super::*;
use crate::state::{ConfigurationId, Member, Origin};
use bailiwick_replication::NodeId;
use proptest::prelude::*;

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
            .map(|number| Member {
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
        let value = match number % 4 {
            0 => NewValue::Int(i64::from(number)),
            1 => NewValue::Object(Object::String(text.clone())),
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
    for (database, table) in state.keyspace.tables().enumerate() {
        for entry in table.iter() {
            let (version, access) = (entry.version(), entry.access());
            lines.push(format!("{database} {entry:?} {version} {access}"));
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
    let table = |database| state.keyspace.table(database);
    let get = |database, key: &[u8]| table(database).get(key).expect("restored");
    assert_eq!(get(0, b"int").value(), ValueRef::Int(-3));
    assert_eq!(get(1, b"text").value(), ValueRef::String(b"value"));
    assert_eq!(get(1, b"text").expires_at_ms(), Some(1_700_000_001_000));
    let raw = Object::String(b"edited".to_vec());
    assert_eq!(get(2, b"raw").value(), ValueRef::Object(&raw));
    assert_eq!(get(2, b"raw").version(), 3);
}

#[test]
fn content_of_unknown_versions_is_refused() {
    assert!(Restorer::of_version(0).is_none());
    assert!(Restorer::of_version(CONTENT_VERSION + 1).is_none());
}
