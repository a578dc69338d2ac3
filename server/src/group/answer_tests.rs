//! Who holds the requests and who reads the log must decide alike, whatever has strayed.

use std::sync::Arc;

use bailiwick_frame::{Limits, Parser};
use bailiwick_replication::{GroupId, LogIndex};
use proptest::prelude::*;

use super::super::encode::encode_items;
use super::super::{Arguments, Mailbox};
use super::*;
use crate::commands::{Counters, lookup};
use crate::keyspace::{AccessClock, AccessPolicy};
use crate::state::{Admission, EntryHead, EntryWriter, Origin, Replay, State, Watched};

const NODE: Origin = Origin {
    node: 1,
    incarnation: 1,
};
const COMMANDS: &[&str] = &[
    "SET here:1 x",
    "SET held:1 x",
    "SET gone:1 x",
    "GET here:1",
    "GET held:1",
    "MSET here:2 1 gone:2 2",
    "APPEND here:1 y",
    "DEL here:1 held:1",
    "DBSIZE",
    "SET thawed:1 x",
];

fn head(seed: u64) -> EntryHead {
    EntryHead {
        time_ms: 1_700_000_000_000,
        seed,
    }
}

fn replay(state: &mut State, entry: &[u8]) {
    let (index, counters) = (state.applied.next(), Counters::default());
    Replay::default()
        .apply(state, index, entry, AccessPolicy::default(), &counters)
        .expect("applies");
    state.check_invariants();
}

fn parse(line: &str) -> (Vec<u8>, Requests) {
    let mut buffer = format!("{line}\r\n").into_bytes();
    let mut requests = Requests::default();
    Parser::default()
        .parse(&mut buffer, &Limits::default(), 1, &mut requests)
        .expect("well formed");
    (buffer, requests)
}

/// A group that serves everything but two prefixes, one of which is only held.
fn state(is_fenced: bool) -> State {
    let mut state = State::empty();
    let mut entry = Vec::new();
    let mut writer = EntryWriter::new(&mut entry, head(1));
    let mut proposal = writer.proposal(NODE, 1, 0);
    proposal.genesis(2, 9, GroupId(0));
    let lines: &[&str] = if is_fenced {
        &[
            "_DELEGATE thawed: 1",
            "_DELEGATE held: 1",
            "_FREEZE held: 2",
            "_DELEGATE gone: 1",
            "_FREEZE gone: 2",
            "_DEPART gone: 2 1",
        ]
    } else {
        &[]
    };
    for line in lines {
        let (buffer, requests) = parse(line);
        proposal.command(0, requests.args(0, &buffer));
    }
    proposal.finish();
    replay(&mut state, &entry);
    state
}

fn transaction(lines: &[usize], watched: Vec<Watched>) -> Item {
    let mut transaction = Transaction {
        watched,
        ..Transaction::default()
    };
    for &line in lines {
        let mut arguments = Arguments::default();
        let (buffer, requests) = parse(COMMANDS[line]);
        let args = requests.args(0, &buffer);
        arguments.push(args);
        transaction.steps.push(Step::Command {
            request: transaction.arguments.push(args),
            database: 0,
            command: lookup(args).expect("known"),
        });
    }
    Item::Transaction(Box::new(transaction))
}

/// Runs the items as their proposer does: written to the log and answered.
fn propose(
    state: &mut State,
    items: Vec<Item>,
    buffer: (Vec<u8>, Requests),
) -> (Box<Proposal>, Vec<u8>) {
    let mut proposal = Proposal::new(Arc::new(Mailbox::default()), 0);
    (proposal.buffer, proposal.requests) = buffer;
    proposal.items = items;
    let mut proposals = [proposal];
    let refusals = Refusals::default();
    let head = head(state.applied.0 + 1);
    let mut entry = Vec::new();
    let mut writer = EntryWriter::new(&mut entry, head);
    let sequence = state.applied.0 + 1;
    let mut written = writer.proposal(NODE, sequence, 0);
    encode_items(&mut written, &proposals, &refusals);
    written.finish();
    let (counters, clock) = (
        Counters::default(),
        AccessClock::new(AccessPolicy::default(), 0, 1),
    );
    let mut applier = state.begin(LogIndex(sequence), head, &clock, &counters);
    assert_eq!(applier.admit(NODE, sequence, 0), Admission::New);
    answer_all(&mut applier, &mut proposals, &refusals);
    applier.finish();
    state.check_invariants();
    let [proposal] = proposals;
    (proposal, entry)
}

fn content(state: &State) -> Vec<String> {
    let mut lines: Vec<String> = (0..2)
        .flat_map(|database| {
            let entries = state.keyspace.iter(database);
            entries.map(move |entry| format!("{database} {entry:?} {}", entry.version()))
        })
        .collect();
    lines.sort();
    lines
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn proposer_and_reader_of_the_log_decide_alike(
        is_fenced in any::<bool>(),
        batches in proptest::collection::vec(
            (any::<bool>(), proptest::collection::vec(0..COMMANDS.len(), 1..5), 0..3usize),
            1..12,
        ),
    ) {
        let (mut proposer, mut reader) = (state(is_fenced), state(is_fenced));
        for (is_transaction, lines, watch) in batches {
            let keys: [&[u8]; 3] = [b"here:1", b"held:9", b"none"];
            let watched = Watched {
                database: 0,
                key: keys[watch].to_vec(),
                state: proposer.keyspace.watch_state(0, keys[watch], 0),
            };
            let (items, buffer) = if is_transaction {
                (vec![transaction(&lines, vec![watched])], Default::default())
            } else {
                let all: Vec<_> = lines.iter().map(|&line| COMMANDS[line]).collect();
                let mut buffer = (all.join("\r\n") + "\r\n").into_bytes();
                let mut requests = Requests::default();
                Parser::default()
                    .parse(&mut buffer, &Limits::default(), 9, &mut requests)
                    .expect("well formed");
                let items = (0..lines.len()).map(|request| Item::Command {
                    request,
                    database: 0,
                    command: lookup(requests.args(request, &buffer)).expect("known"),
                });
                (items.collect(), (buffer, requests))
            };
            let count = items.len();
            let (proposal, entry) = propose(&mut proposer, items, buffer);
            replay(&mut reader, &entry);
            prop_assert_eq!(content(&proposer), content(&reader));
            prop_assert_eq!(proposer.keyspace.watch_counters(), reader.keyspace.watch_counters());
            prop_assert!(is_fenced || proposal.strayed.is_empty());
            for strayed in &proposal.strayed {
                prop_assert!(strayed.item < count);
                let reply = &proposal.replies[strayed.reply.clone()];
                let expected = format!("-{}\r\n", strayed.stray);
                prop_assert_eq!(reply, expected.as_bytes());
            }
        }
    }
}

#[test]
fn one_step_that_has_strayed_keeps_the_whole_transaction_from_running() {
    let mut state = state(true);
    let (proposal, _) = propose(
        &mut state,
        vec![transaction(&[0, 4], Vec::new())],
        Default::default(),
    );
    assert_eq!(proposal.strayed.len(), 1);
    assert!(proposal.is_discarded);
    assert!(proposal.replies.starts_with(b"-TRYAGAIN Prefix 'held:'"));
    assert!(content(&state).is_empty());
    let watched = Watched {
        database: 0,
        key: b"gone:1".to_vec(),
        state: state.keyspace.watch_state(0, b"gone:1", 0),
    };
    let items = vec![transaction(&[0], vec![watched])];
    let (proposal, _) = propose(&mut state, items, Default::default());
    assert!(proposal.replies.starts_with(b"-STRAY Prefix 'gone:'"));
    let (proposal, _) = propose(
        &mut state,
        vec![transaction(&[0, 9], Vec::new())],
        Default::default(),
    );
    assert!(proposal.strayed.is_empty() && !proposal.is_discarded);
    assert_eq!(content(&state).len(), 2);
}
