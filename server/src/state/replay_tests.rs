//! Entries are written, applied and compared here as replicas would.

use bailiwick_frame::ArgRange;
use bailiwick_replication::{GroupId, NodeId};

use super::super::testing::with_words;
use super::super::{
    DIGEST_EVERY, EntryHead, EntryWriter, FrozenState, ProposalWriter, Restorer, State,
};
use super::*;
use crate::routing::spread::Words;

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
    apply(
        &mut state,
        &entry(&[1], |out| out.genesis(2, 9, GroupId(0))),
    )
    .expect("a beginning");
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
    assert!(follower.keyspace.restore(1, b"stray", value, expiry, stamp));
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
        |out| out.genesis(2, 9, GroupId(0)),
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
        &entry(&[1], |out| out.genesis(1 << 40, 0, GroupId(0))),
    );
    assert!(matches!(error, Err(ReplayError::Unfit { .. })));
    let error = apply(
        &mut begun(),
        &entry(&[2], |out| command(out, 0, "NOSUCH k")),
    );
    assert!(matches!(error, Err(ReplayError::UnknownCommand { .. })));
}

/// A client whose node is no member.
const OUTSIDE: Origin = Origin {
    node: super::super::PROXIED | 5,
    incarnation: 3,
};

fn proxied(sequence: u64, floor: u64, fill: impl FnOnce(&mut ProposalWriter<'_>)) -> Vec<u8> {
    let mut out = Vec::new();
    let head = EntryHead {
        time_ms: 1_700_000_000_000,
        seed: 3,
    };
    let mut writer = EntryWriter::new(&mut out, head);
    let mut proposal = writer.proposal(OUTSIDE, sequence, floor);
    fill(&mut proposal);
    proposal.finish();
    out
}

fn apply_proxied(state: &mut State, entry: &[u8]) -> Vec<(Origin, u64)> {
    let (index, counters) = (state.applied.next(), Counters::default());
    let mut replay = Replay::default();
    let mut nobody = |_: &mut Applier<'_>, _: Origin, _: u64| panic!("it is nobody's to take over");
    let policy = AccessPolicy::default();
    replay
        .apply_with(state, index, entry, policy, &counters, &mut nobody)
        .expect("applies");
    state.check_invariants();
    replay.take_proxied()
}

fn replies(state: &State, sequence: u64) -> Vec<String> {
    let kept = state.origins.reply(OUTSIDE, sequence).expect("kept");
    let replies = super::super::decode_replies(kept).expect("well formed");
    replies.iter().map(|reply| format!("{reply:?}")).collect()
}

fn shown(status: &str, reply: &str) -> String {
    format!("{status}({:?})", reply.as_bytes())
}

#[test]
fn a_proxied_proposal_runs_once_and_its_replies_are_kept() {
    let mut state = begun();
    let fill = |out: &mut ProposalWriter<'_>| {
        with_words("INCR n", |args| out.proxied(Protocol::Resp2, 0, args));
        with_words("GET n", |args| out.proxied(Protocol::Resp3, 0, args));
        with_words("GET none", |args| out.proxied(Protocol::Resp3, 1, args));
        with_words("SETRANGE n -1 x", |args| {
            out.proxied(Protocol::Resp2, 0, args)
        });
    };
    let seen = apply_proxied(&mut state, &proxied(1, 0, fill));
    assert_eq!(seen, [(OUTSIDE, 1)]);
    let expected = [
        shown("Done", ":1\r\n"),
        shown("Done", "$1\r\n1\r\n"),
        shown("Done", "_\r\n"),
        shown("Failed", "-ERR offset is out of range\r\n"),
    ];
    assert_eq!(replies(&state, 1), expected);
    // A retry through another leader finds what the first execution found.
    let seen = apply_proxied(&mut state, &proxied(1, 0, fill));
    assert_eq!(seen, [(OUTSIDE, 1)]);
    assert_eq!(replies(&state, 1), expected);
    assert_eq!(number(&state), Some(1));
    apply_proxied(&mut state, &proxied(2, 1, |_| {}));
    assert!(state.origins.reply(OUTSIDE, 1).is_none());
    assert_eq!(replies(&state, 2), [""; 0]);
}

#[test]
fn a_leader_short_of_memory_has_growing_proxied_commands_refused_by_every_replica() {
    use super::super::ProxiedStep;
    let mut state = begun();
    let entry = proxied(1, 0, |out| {
        out.refuse_growth();
        with_words("SET n 1", |args| out.proxied(Protocol::Resp2, 0, args));
        with_words("DEL n", |args| out.proxied(Protocol::Resp2, 0, args));
        with_words("INCR n", |args| {
            let steps = [ProxiedStep::Command(0, args)];
            out.proxied_transaction(Protocol::Resp2, &[], steps.into_iter());
        });
    });
    apply_proxied(&mut state, &entry);
    let refusal = "OOM command not allowed when used memory > 'maxmemory'.";
    let aborted = format!("-EXECABORT Transaction discarded because of: {refusal}\r\n");
    let expected = [
        shown("Failed", &format!("-{refusal}\r\n")),
        shown("Done", ":0\r\n"),
        shown("Discarded", &aborted),
    ];
    assert_eq!(replies(&state, 1), expected);
    // It holds for that entry alone.
    apply_proxied(
        &mut state,
        &proxied(2, 0, |out| {
            with_words("INCR n", |args| out.proxied(Protocol::Resp2, 0, args));
        }),
    );
    assert_eq!(replies(&state, 2), [shown("Done", ":1\r\n")]);
}

#[test]
fn when_memory_is_short_a_script_may_do_what_needs_none() {
    let mut state = begun();
    let script = |out: &mut ProposalWriter<'_>, text: &str| {
        let words = Words::of([&b"EVAL"[..], text.as_bytes(), b"1", b"n"]);
        out.proxied(Protocol::Resp2, 0, words.args());
    };
    let entry = proxied(1, 0, |out| {
        with_words("SET n 1", |args| out.proxied(Protocol::Resp2, 0, args));
        out.refuse_growth();
        script(out, "return redis.call('incr', KEYS[1])");
        script(out, "return redis.call('del', KEYS[1])");
        script(
            out,
            "redis.call('del', KEYS[1]) return redis.call('incr', KEYS[1])",
        );
    });
    apply_proxied(&mut state, &entry);
    let replies = replies(&state, 1);
    assert!(replies[1].starts_with("Failed"), "{replies:?}");
    let done = [shown("Done", ":1\r\n"), shown("Done", ":1\r\n")];
    assert_eq!(replies[2..], done, "who has begun to write goes on");
}

#[test]
fn of_many_long_replies_to_a_node_outside_the_first_ones_are_kept() {
    use super::super::ProxiedStep;
    use super::super::proxied::KEPT_BYTES;
    let mut state = begun();
    let entry = proxied(1, 0, |out| {
        let long = format!("SETRANGE long {} x", KEPT_BYTES / 2);
        with_words(&long, |args| out.proxied(Protocol::Resp2, 0, args));
        for _ in 0..3 {
            with_words("GET long", |args| out.proxied(Protocol::Resp2, 0, args));
        }
        with_words("GET long", |get| {
            with_words("INCR n", |incr| {
                let steps = [get, incr].map(|args| ProxiedStep::Command(0, args));
                out.proxied_transaction(Protocol::Resp2, &[], steps.into_iter());
            });
        });
        with_words("INCR n", |args| out.proxied(Protocol::Resp2, 0, args));
    });
    apply_proxied(&mut state, &entry);
    let kept = state.origins.reply(OUTSIDE, 1).expect("kept");
    assert!(kept.len() < 2 * KEPT_BYTES, "{} bytes", kept.len());
    let replies = replies(&state, 1);
    assert!(replies[2].starts_with("Done"));
    assert!(replies[3].starts_with("Failed"), "not even read");
    assert!(replies[4].starts_with("Done"), "a transaction has a reply");
    assert!(replies[5].starts_with("Failed"), "done and not told");
    // What was asked to be done is done all the same: lengths of replies are no part of the state.
    assert_eq!(number(&state), Some(2));
}

#[test]
fn a_proxied_transaction_runs_as_a_whole_or_not_at_all() {
    use super::super::ProxiedStep;
    let mut state = begun();
    let watched = |state: &State| Watched {
        database: 0,
        key: b"n".to_vec(),
        state: state.keyspace.watch_state(0, b"n", state.time_ms),
    };
    let run = |state: &mut State, sequence, watched: &[Watched], key: &str| {
        let entry = proxied(sequence, 0, |out| {
            with_words("INCR n", |incr| {
                with_words(&format!("GET {key}"), |get| {
                    let steps = [
                        ProxiedStep::Command(0, incr),
                        ProxiedStep::Answered(b"+PONG\r\n"),
                        ProxiedStep::Command(0, get),
                    ];
                    out.proxied_transaction(Protocol::Resp2, watched, steps.into_iter());
                });
            });
        });
        apply_proxied(state, &entry);
        replies(state, sequence)
    };
    let before = watched(&state);
    let done = run(&mut state, 1, std::slice::from_ref(&before), "n");
    let expected = "*3\r\n:1\r\n+PONG\r\n$1\r\n1\r\n";
    assert_eq!(done, [shown("Done", expected)]);
    let discarded = run(&mut state, 2, &[before], "n");
    assert_eq!(discarded, [shown("Discarded", "*-1\r\n")]);
    // A read alone can be the reason why nothing of it runs.
    for line in ["_DELEGATE x 1", "_FREEZE x 2"] {
        let next = state.applied.0 + 1;
        apply(&mut state, &entry(&[next], |out| command(out, 0, line))).expect("applies");
    }
    let strayed = run(&mut state, 3, &[], "xy");
    assert!(strayed[0].starts_with("Stray(Held"), "{strayed:?}");
    let next = state.applied.0 + 1;
    apply(
        &mut state,
        &entry(&[next], |out| command(out, 0, "_DEPART x 2 1")),
    )
    .expect("applies");
    let strayed = run(&mut state, 4, &[], "xy");
    let gone = "Stray(Gone { prefix: [120], group: Some(GroupId(1)), epoch: 2 })";
    assert_eq!(strayed, [gone]);
    assert_eq!(number(&state), Some(1));
}

#[test]
fn internal_commands_are_hidden_from_clients() {
    let lookup = |words| with_words(words, |args| commands::lookup(args).map(|known| known.name));
    let refused = lookup("_DROP x").expect_err("clients have no such command");
    assert_eq!(
        refused.to_string(),
        "ERR unknown command '_DROP', with args beginning with: 'x' "
    );
    with_words("_DROP x", |args| {
        assert!(commands::lookup_logged(args).is_ok());
    });
    assert!(commands::all().all(|command| !command.name.starts_with('_')));
}

#[test]
fn nothing_that_concerns_all_keys_runs_while_some_are_frozen() {
    let mut state = begun();
    let lines = [
        "SET a 1",
        "SET xa 1 PX 1000",
        "_DELEGATE x 1",
        "_FREEZE x 2",
    ];
    for line in lines {
        let next = state.applied.0 + 1;
        apply(&mut state, &entry(&[next], |out| command(out, 0, line))).expect("applies");
    }
    let keys = |state: &State| state.keyspace.len();
    for line in [
        "FLUSHALL",
        "FLUSHDB",
        "SWAPDB 0 1",
        "DBSIZE",
        "DEL xa",
        "MSET b 1 xb 2",
    ] {
        let next = state.applied.0 + 1;
        let fill = |out: &mut ProposalWriter<'_>| {
            command(out, 0, line);
            out.evict(0, b"xa");
        };
        apply(&mut state, &entry(&[next], fill)).expect("applies");
        assert_eq!(keys(&state), 2, "{line}");
    }
    let mut late = Vec::new();
    let head = EntryHead {
        time_ms: 1_700_000_009_000,
        seed: 3,
    };
    let mut writer = EntryWriter::new(&mut late, head);
    let mut proposal = writer.proposal(NODE, state.applied.0 + 1, 0);
    proposal.expire(100);
    proposal.finish();
    apply(&mut state, &late).expect("applies");
    assert_eq!(keys(&state), 2, "what is frozen does not expire");
    state.check_invariants();
}
