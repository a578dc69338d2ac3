//! Who waits is served in order, at the end of what wrote, alike on every replica.

use bailiwick_frame::{Args, Limits, Parser, Protocol, Requests};
use bailiwick_replication::{ConfigurationId, GroupId, NodeId};

use super::super::testing::restored;
use super::super::{
    EntryHead, EntryWriter, Member, Origin, PROXIED, ProposalWriter, Replay, State, WaiterId,
    Woken, decode_replies,
};
use crate::commands::Counters;
use crate::commands::touch::Touch;
use crate::keyspace::AccessPolicy;

/// A replica, and another one that is restored from a checkpoint before each step.
struct Replicas {
    state: State,
    restored: State,
    sequence: u64,
    time_ms: i64,
    /// By the last entry.
    touches: Vec<Touch>,
}

fn with_args<R>(line: &str, f: impl FnOnce(Args<'_>) -> R) -> R {
    let mut buffer = format!("{line}\r\n").into_bytes();
    let mut requests = Requests::default();
    Parser::default()
        .parse(&mut buffer, &Limits::default(), 1, &mut requests)
        .expect("well formed");
    f(requests.args(0, &buffer))
}

fn origin(node: u32, incarnation: u64) -> Origin {
    Origin { node, incarnation }
}

impl Replicas {
    fn new() -> Self {
        let mut replicas = Self {
            state: State::empty(),
            restored: State::empty(),
            sequence: 0,
            time_ms: 1000,
            touches: Vec::new(),
        };
        replicas.propose(origin(1, 1), |proposal| proposal.genesis(2, 9, GroupId(0)));
        replicas
    }

    /// Applies an entry with one proposal to both and returns who was woken.
    fn propose(
        &mut self,
        origin: Origin,
        fill: impl FnOnce(&mut ProposalWriter<'_>),
    ) -> Vec<(WaiterId, Woken)> {
        self.sequence += 1;
        let head = EntryHead {
            time_ms: self.time_ms,
            seed: self.sequence,
        };
        let mut entry = Vec::new();
        let mut writer = EntryWriter::new(&mut entry, head);
        let mut proposal = writer.proposal(origin, self.sequence, 0);
        fill(&mut proposal);
        proposal.finish();
        self.restored = restored(&self.state);
        let index = self.state.applied.next();
        let policy = AccessPolicy::default();
        for state in [&mut self.state, &mut self.restored] {
            let counters = Counters::default();
            counters.touches.switch_on();
            Replay::default()
                .apply(state, index, &entry, policy, &counters)
                .expect("applies");
            state.check_invariants();
            self.touches = counters.touches.take();
        }
        let content = |state: &State| {
            let mut waiters = Vec::new();
            state.waiters.put(&mut waiters);
            (waiters, super::super::digest::digest(state))
        };
        assert_eq!(content(&self.state), content(&self.restored));
        let woken = self.state.waiters.take_woken();
        assert_eq!(self.restored.waiters.take_woken(), woken);
        woken
    }

    /// Runs commands of node 1, each an item of its own; returns the replies of those who were
    /// served, with their numbers.
    fn run(&mut self, lines: &[&str]) -> Vec<(u64, String)> {
        let woken = self.propose(origin(1, 1), |proposal| {
            for line in lines {
                with_args(line, |args| proposal.command(0, args));
            }
        });
        woken.into_iter().map(shown).collect()
    }

    fn transaction(&mut self, lines: &[&str]) -> Vec<(u64, String)> {
        let woken = self.propose(origin(1, 1), |proposal| {
            proposal.transaction(&[], lines.len());
            for line in lines {
                with_args(line, |args| proposal.transaction_command(0, args));
            }
        });
        woken.into_iter().map(shown).collect()
    }

    /// Runs a command of a client of another node and returns the reply.
    fn proxied(&mut self, line: &str) -> (String, Vec<(WaiterId, Woken)>) {
        let origin = origin(7 | PROXIED, 5);
        let woken = self.propose(origin, |proposal| {
            with_args(line, |args| proposal.proxied(Protocol::Resp2, 0, args));
        });
        let reply = self.state.origins.reply(origin, self.sequence);
        let reply = reply.expect("it is kept");
        let replies = decode_replies(reply).expect("well formed");
        (format!("{:?}", replies[0]), woken)
    }

    /// Has client `number` of node 1 wait.
    fn wait(&mut self, number: u64, request: &str) {
        let woken = self.run(&[&format!("_BLOCK 1 1 {number} 2 0 {request}")]);
        assert_eq!(woken, []);
    }
}

fn shown((id, woken): (WaiterId, Woken)) -> (u64, String) {
    let shown = match woken {
        Woken::Done(reply) => {
            let reply = String::from_utf8_lossy(&reply).replace("\r\n", " ");
            reply.trim_end().to_owned()
        }
        other => format!("{other:?}"),
    };
    (id.number, shown)
}

fn popped(number: u64, key: &str, element: &str) -> (u64, String) {
    let (key_len, len) = (key.len(), element.len());
    (number, format!("*2 ${key_len} {key} ${len} {element}"))
}

#[test]
fn what_is_done_for_a_waiter_is_its_own_doing() {
    let mut replicas = Replicas::new();
    let waiter = WaiterId::number_of(5, 1);
    let wait = format!("_BLOCK 7 3 {waiter} 2 0 BLPOP l 0");
    replicas.proxied(&wait);
    replicas.propose(origin(9 | PROXIED, 4), |proposal| {
        proposal.author(6);
        for line in ["RPUSH l x", "SET k 1"] {
            with_args(line, |args| proposal.proxied(Protocol::Resp2, 0, args));
        }
        proposal.author(0);
        with_args("SET k 2", |args| {
            proposal.proxied(Protocol::Resp2, 0, args);
        });
    });
    let authors: Vec<_> = replicas
        .touches
        .iter()
        .map(|touch| {
            let author = touch.author;
            (&*touch.key, author.node, author.life, author.number)
        })
        .collect();
    // An element was taken, and then the list was removed.
    let expected: [(&[u8], u32, u64, u64); 5] = [
        (b"l", 9, 4, 6),
        (b"l", 7, 3, 5),
        (b"l", 7, 3, 5),
        (b"k", 9, 4, 6),
        (b"k", 9, 4, 0),
    ];
    assert_eq!(authors, expected);
}

#[test]
fn what_a_client_finds_that_came_to_wait_is_its_own_doing() {
    let mut replicas = Replicas::new();
    let number = WaiterId::number_of(5, 1);
    replicas.run(&["RPUSH l x"]);
    replicas.run(&[&format!("_BLOCK 1 1 {number} 2 0 BLPOP l 0"), "SET k 1"]);
    let numbers = replicas.touches.iter().map(|touch| touch.author.number);
    assert_eq!(numbers.collect::<Vec<_>>(), [5, 5, 0]);
}

#[test]
fn several_elements_serve_several_clients_in_the_order_of_their_arrival() {
    let mut replicas = Replicas::new();
    for number in 1..=4 {
        replicas.wait(number, "BLPOP other l 0");
    }
    let served = replicas.run(&["RPUSH l a b c", "RPUSH l d e"]);
    let expected = ["a", "b", "c", "d"].into_iter().zip(1..);
    let expected: Vec<_> = expected.map(|(e, number)| popped(number, "l", e)).collect();
    assert_eq!(served, expected);
    assert!(replicas.state.waiters.is_empty());
    assert_eq!(replicas.state.keyspace.len(), 1);
}

#[test]
fn who_finds_something_does_not_wait() {
    let mut replicas = Replicas::new();
    replicas.run(&["RPUSH l a", "_BLOCK 1 1 1 2 0 BLPOP l 0"]);
    assert!(replicas.state.waiters.is_empty());
    assert!(replicas.state.keyspace.is_empty());
}

#[test]
fn a_plain_blocking_command_never_waits() {
    let mut replicas = Replicas::new();
    replicas.run(&["BLPOP l 0", "BLMOVE l m LEFT LEFT 0", "BZPOPMIN z 0"]);
    replicas.transaction(&["BLPOP l 0", "BZMPOP 0 1 z MIN"]);
    assert!(replicas.state.waiters.is_empty());
}

#[test]
fn a_served_client_that_moves_its_element_on_serves_the_next() {
    let mut replicas = Replicas::new();
    replicas.wait(1, "BLMOVE b c LEFT LEFT 0");
    replicas.wait(2, "BLPOP c 0");
    replicas.wait(3, "BLMOVE a b RIGHT RIGHT 0");
    let served = replicas.run(&["RPUSH a x"]);
    let moved = |number| (number, "$1 x".to_owned());
    assert_eq!(served, [moved(3), moved(1), popped(2, "c", "x")]);
}

#[test]
fn a_list_that_is_turned_round_serves_all_who_wait_for_it() {
    let mut replicas = Replicas::new();
    for number in 1..=3 {
        replicas.wait(number, "BLMOVE a a LEFT RIGHT 0");
    }
    let served = replicas.run(&["RPUSH a x y"]);
    let turned = |number, element: &str| (number, format!("$1 {element}"));
    assert_eq!(served, [turned(1, "x"), turned(2, "y"), turned(3, "x")]);
}

#[test]
fn a_transaction_serves_when_it_is_over() {
    let mut replicas = Replicas::new();
    replicas.wait(1, "BLPOP a b 0");
    assert_eq!(replicas.transaction(&["RPUSH a x", "DEL a"]), []);
    let served = replicas.transaction(&["RPUSH b x", "RPUSH a y", "LPUSH a z"]);
    assert_eq!(served, [popped(1, "a", "z")]);
}

#[test]
fn lists_that_come_by_other_ways_serve_too() {
    for (before, line) in [
        ("RPUSH k x", "RENAME k l"),
        ("RPUSH k x", "COPY k l"),
        ("RPUSH k x", "LMOVE k l LEFT LEFT"),
        ("RPUSH k x", "RENAMENX k l"),
    ] {
        let mut replicas = Replicas::new();
        replicas.run(&[before]);
        replicas.wait(1, "BRPOP l 0");
        assert_eq!(replicas.run(&[line]), [popped(1, "l", "x")], "{line}");
    }
    let mut replicas = Replicas::new();
    replicas.wait(1, "BRPOP l 0");
    let served = replicas.propose(origin(1, 1), |proposal| {
        with_args("RPUSH l x", |args| proposal.command(1, args));
        with_args("SWAPDB 0 1", |args| proposal.command(0, args));
    });
    let served: Vec<_> = served.into_iter().map(shown).collect();
    assert_eq!(served, [popped(1, "l", "x")]);
}

#[test]
fn a_value_of_another_type_wakes_nobody() {
    let mut replicas = Replicas::new();
    replicas.wait(1, "BLPOP k 0");
    replicas.wait(2, "BZPOPMIN k 0");
    assert_eq!(replicas.run(&["SET k x", "DEL k"]), []);
    let served = replicas.run(&["ZADD k 1 m"]);
    assert_eq!(served, [(2, "*3 $1 k $1 m $1 1".to_owned())]);
    assert_eq!(replicas.run(&["RPUSH k x"]), [popped(1, "k", "x")]);
}

#[test]
fn a_destination_of_another_type_is_found_at_the_wakening() {
    let mut replicas = Replicas::new();
    replicas.run(&["SET d x"]);
    replicas.wait(1, "BLMOVE s d LEFT LEFT 0");
    let served = replicas.run(&["RPUSH s e"]);
    assert!(served[0].1.starts_with("-WRONGTYPE"), "{served:?}");
    assert_eq!(replicas.state.keyspace.len(), 2);
}

#[test]
fn who_was_given_up_is_not_served() {
    let mut replicas = Replicas::new();
    replicas.wait(1, "BLPOP l 0");
    replicas.wait(2, "BLPOP l 0");
    let served = replicas.run(&["_UNBLOCK 1 1 1", "RPUSH l a b"]);
    assert_eq!(served, [popped(2, "l", "a")]);
    let (reply, _) = replicas.proxied("_UNBLOCK 1 1 1");
    assert_eq!(reply, "Done([43, 71, 79, 78, 69, 13, 10])", "GONE");
}

#[test]
fn a_reply_waits_for_a_client_of_another_node() {
    let mut replicas = Replicas::new();
    let request = "_BLOCK 7 5 3 3 0 BZPOPMIN eu:z 0";
    let (blocked, _) = replicas.proxied(request);
    assert_eq!(replicas.proxied(request).0, blocked, "a repetition");
    assert_eq!(replicas.proxied("_LOOK 7 5 3").0, blocked);
    assert_eq!(replicas.run(&["ZADD eu:z 1 m"]), [(3, "Look".to_owned())]);
    // The reply is there even if the key is not any more.
    replicas.run(&["_DELEGATE eu: 1", "_FREEZE eu: 2", "_DEPART eu: 2 1"]);
    let (reply, woken) = replicas.proxied("_LOOK 7 5 3");
    assert_eq!(woken, []);
    let expected = b"*3\r\n$4\r\neu:z\r\n$1\r\nm\r\n,1\r\n".to_vec();
    assert_eq!(reply, format!("Done({expected:?})"));
    assert!(replicas.state.waiters.is_empty());
}

#[test]
fn a_later_life_of_a_node_ends_the_waiting_of_the_one_before() {
    let mut replicas = Replicas::new();
    replicas.wait(1, "BLPOP l 0");
    replicas.proxied("_BLOCK 7 5 1 2 0 BLPOP l 0");
    let woken = replicas.propose(origin(7, 6), |proposal| proposal.expire(1));
    assert_eq!(woken.len(), 1);
    assert_eq!(replicas.state.waiters.len(), 1);
    let woken = replicas.propose(origin(1 | PROXIED, 2), |proposal| {
        with_args("RPUSH l x", |args| {
            proposal.proxied(Protocol::Resp2, 0, args);
        });
    });
    assert_eq!(
        woken.into_iter().map(shown).collect::<Vec<_>>(),
        [(1, "Again".to_owned())]
    );
    assert_eq!(replicas.state.keyspace.len(), 1);
}

#[test]
fn who_comes_from_another_group_brings_its_place_along() {
    let mut replicas = Replicas::new();
    replicas.wait(1, "BLPOP l 0");
    replicas.time_ms += 10;
    replicas.wait(2, "BLPOP l 0");
    replicas.run(&["_BLOCK 1 1 3 2 1005 BLPOP l 0"]);
    let served = replicas.run(&["RPUSH l a b c"]);
    let expected = [
        popped(1, "l", "a"),
        popped(3, "l", "b"),
        popped(2, "l", "c"),
    ];
    assert_eq!(served, expected);
}

#[test]
fn who_waits_for_a_prefix_that_goes_away_is_sent_after_it() {
    let mut replicas = Replicas::new();
    replicas.wait(1, "BLPOP eu:l 0");
    replicas.wait(2, "BLPOP l 0");
    // An empty prefix is handed out in one step and frozen; its keys may come back until it
    // departs.
    assert_eq!(replicas.run(&["_DELEGATE eu: 1"]), []);
    assert_eq!(replicas.run(&["_FREEZE eu: 2"]), []);
    let (pushed, woken) = replicas.proxied("RPUSH eu:l x");
    assert!(pushed.starts_with("Stray"), "{pushed}");
    assert_eq!(woken, []);
    let gone = replicas.run(&["_DEPART eu: 2 1"]);
    assert_eq!(gone, [(1, "Again".to_owned())]);
    assert_eq!(replicas.run(&["RPUSH l x"]), [popped(2, "l", "x")]);
}

#[test]
fn a_prefix_that_is_thawed_serves_who_has_waited_meanwhile() {
    let mut replicas = Replicas::new();
    replicas.wait(1, "BLPOP eu:l 0");
    replicas.run(&["_DELEGATE eu: 1", "_FREEZE eu: 2", "_THAW eu: 2"]);
    assert_eq!(replicas.run(&["RPUSH eu:l x"]), [popped(1, "eu:l", "x")]);
}

#[test]
fn a_node_that_is_no_member_any_more_has_its_replies_kept() {
    let mut replicas = Replicas::new();
    replicas.wait(1, "BLPOP l 0");
    let member = |node| Member {
        node: NodeId(node),
        disk: node,
    };
    let woken = replicas.propose(origin(2, 1), |proposal| {
        proposal.seal(ConfigurationId(1), &[member(2), member(3)]);
    });
    assert_eq!(woken.len(), 1);
    let woken = replicas.run(&["RPUSH l x"]);
    assert_eq!(woken, [(1, "Look".to_owned())]);
    assert_eq!(replicas.state.waiters.served().count(), 1);
}

#[path = "serve_stream_tests.rs"]
mod streams;
