//! Entries are written, applied and compared here as replicas would.

use bailiwick_frame::ArgRange;
use bailiwick_replication::NodeId;

use super::super::{
    DIGEST_EVERY, EntryHead, EntryWriter, FrozenState, ProposalWriter, Restorer, State,
};
use super::*;

const NODE: Origin = Origin {
    node: 1,
    incarnation: 1,
};

fn command(writer: &mut ProposalWriter<'_>, database: usize, words: &str) {
    let mut ranges = Vec::new();
    let mut start = 0;
    for word in words.split(' ') {
        let end = start + word.len() as u32;
        ranges.push(ArgRange { start, end });
        start = end + 1;
    }
    writer.command(database, Args::new(words.as_bytes(), &ranges));
}

/// An entry with one proposal for each sequence, each filled by `fill`.
fn entry(sequences: &[u64], mut fill: impl FnMut(&mut ProposalWriter<'_>)) -> Vec<u8> {
    let mut out = Vec::new();
    let head = EntryHead {
        time_ms: 1_700_000_000_000,
        seed: 3,
    };
    let mut writer = EntryWriter::new(&mut out, head);
    for &sequence in sequences {
        let mut proposal = writer.proposal(NODE, sequence, 0);
        fill(&mut proposal);
        proposal.finish();
    }
    out
}

fn apply(state: &mut State, entry: &[u8]) -> Result<(), ReplayError> {
    let (index, counters) = (state.applied.next(), Counters::default());
    Replay::default().apply(state, index, entry, AccessPolicy::default(), &counters)
}

fn begun() -> State {
    let mut state = State::empty();
    apply(&mut state, &entry(&[1], |out| out.genesis(2, 9))).expect("a beginning");
    state
}

fn number(state: &State) -> Option<i64> {
    let found = state.keyspace.get(0, b"n", state.time_ms)?;
    match found.value() {
        crate::keyspace::ValueRef::Int(number) => Some(number),
        other => panic!("{other:?}"),
    }
}

/// Writes one key an entry until a digest has been taken.
fn advance_to_digest(state: &mut State) {
    let before = state.last_digest();
    while state.last_digest() == before {
        let next = state.applied.0 + 1;
        let entry = entry(&[next], |out| command(out, 0, &format!("SET key:{next} v")));
        apply(state, &entry).expect("applies");
    }
}

#[test]
fn a_proposal_counts_once_however_often_the_log_holds_it() {
    let mut state = begun();
    let add = |out: &mut ProposalWriter<'_>| command(out, 0, "INCR n");
    apply(&mut state, &entry(&[2, 2, 3], add)).expect("applies");
    assert_eq!(number(&state), Some(2));
    apply(&mut state, &entry(&[3, 2, 4], add)).expect("applies");
    assert_eq!(number(&state), Some(3));
}

#[test]
fn a_proposal_that_was_taken_over_is_not_run_again() {
    let mut state = begun();
    let mut offered = Vec::new();
    let mut take_over = |applier: &mut Applier<'_>, origin: Origin, sequence: u64| {
        offered.push((origin, sequence));
        if sequence == 2 {
            applier.evict(0, b"other");
        }
        sequence == 2
    };
    let bytes = entry(&[1, 2, 3, 2], |out| command(out, 0, "INCR n"));
    let counters = Counters::default();
    Replay::default()
        .apply_with(
            &mut state,
            LogIndex(2),
            &bytes,
            AccessPolicy::default(),
            &counters,
            &mut take_over,
        )
        .expect("applies");
    assert_eq!(offered, [(NODE, 2), (NODE, 3)]);
    assert_eq!(number(&state), Some(1));
    assert_eq!(counters.changes.get(), 1);
}

#[test]
fn a_seal_is_remembered_and_the_rest_of_its_entry_applies() {
    let mut state = begun();
    let member = |number| Member {
        node: NodeId(number),
        disk: number << 40,
    };
    let members = [member(1), member(2), member(3)];
    let bytes = entry(&[2], |out| {
        out.seal(ConfigurationId(4), &members[..1]);
        out.seal(ConfigurationId(5), &members);
        command(out, 0, "INCR n");
    });
    apply(&mut state, &bytes).expect("applies");
    let configuration = state.configuration.as_ref().expect("sealed");
    assert_eq!(configuration.id, ConfigurationId(5));
    assert_eq!(configuration.members, members);
    assert_eq!(configuration.sealed_at, LogIndex(2));
    assert_eq!(number(&state), Some(1));
}

#[test]
fn replicas_that_agree_pass_each_others_digests() {
    let (mut leader, mut follower) = (begun(), begun());
    for _ in 0..3 {
        advance_to_digest(&mut leader);
        advance_to_digest(&mut follower);
        let (index, digest) = leader.last_digest().expect("taken");
        assert_eq!(index.0 % DIGEST_EVERY, 0);
        let bytes = entry(&[index.0 + 1], |out| out.digest(index, digest));
        apply(&mut leader, &bytes).expect("the leader agrees with itself");
        apply(&mut follower, &bytes).expect("the follower agrees");
    }
}

#[test]
fn a_replica_that_differs_stops() {
    let (mut leader, mut follower) = (begun(), begun());
    let stamp = Default::default();
    let value = crate::keyspace::NewValue::Int(1);
    let expiry = crate::keyspace::Expiry::None;
    follower.keyspace.restore(1, b"stray", value, expiry, stamp);
    advance_to_digest(&mut leader);
    advance_to_digest(&mut follower);
    let (index, digest) = leader.last_digest().expect("taken");
    let bytes = entry(&[index.0 + 1], |out| out.digest(index, digest));
    apply(&mut leader, &bytes).expect("the leader agrees with itself");
    let error = apply(&mut follower, &bytes).expect_err("it differs");
    assert!(
        matches!(&error, ReplayError::Diverged { index, found_at, .. }
            if (*index, *found_at) == (1024, 1025)),
        "{error}"
    );
}

#[test]
fn a_digest_of_before_the_checkpoint_tells_nothing() {
    let mut leader = begun();
    advance_to_digest(&mut leader);
    let mut writer = FrozenState::of(&leader).into_writer();
    let mut restorer = Restorer::new();
    let mut sink = |block: &[u8]| {
        restorer.block(block).expect("well formed");
        Ok(())
    };
    while writer.step(100, &mut sink).expect("taken") {}
    let mut fresh = restorer.finish().expect("complete");
    assert_eq!(fresh.last_digest(), None);
    let bytes = entry(&[1025], |out| out.digest(LogIndex(1024), 0));
    apply(&mut fresh, &bytes).expect("nothing to compare");
    advance_to_digest(&mut fresh);
    apply(&mut leader, &entry(&[1025], |out| out.expire(0))).expect("applies");
    advance_to_digest(&mut leader);
    assert_eq!(fresh.last_digest(), leader.last_digest());
}

#[test]
fn entries_that_do_not_fit_are_faults_and_no_panics() {
    let unfit: [fn(&mut ProposalWriter<'_>); 6] = [
        |out| command(out, 2, "SET k v"),
        |out| out.evict(usize::MAX, b"k"),
        |out| out.genesis(2, 9),
        |out| out.command(0, Args::new(b"", &[])),
        |out| {
            out.transaction(&[], 1);
            out.transaction_command(7, Args::new(b"GET", &[ArgRange { start: 0, end: 3 }]));
        },
        |out| {
            let watched = Watched {
                database: 99,
                key: b"k".to_vec(),
                state: crate::keyspace::WatchState(0),
            };
            out.transaction(&[watched], 0);
        },
    ];
    for fill in unfit {
        let error = apply(&mut begun(), &entry(&[2], fill)).expect_err("unfit");
        assert!(
            matches!(error, ReplayError::Unfit { index: 2, .. }),
            "{error}"
        );
    }
    let error = apply(
        &mut State::empty(),
        &entry(&[1], |out| out.genesis(1 << 40, 0)),
    );
    assert!(matches!(error, Err(ReplayError::Unfit { .. })));
    let error = apply(
        &mut begun(),
        &entry(&[2], |out| command(out, 0, "NOSUCH k")),
    );
    assert!(matches!(error, Err(ReplayError::UnknownCommand { .. })));
}
