//! The courier against members that are up, down, slow, or not the ones to ask.

use std::sync::Arc;

use super::*;
use crate::commands;
use crate::group::{Item, Mailbox, put_request};
use crate::state::{PROXIED, ProxiedReply};
use bailiwick_frame::{ArgRange, Args};

const GROUP: GroupId = GroupId(4);
const MS: u64 = 1_000_000;

/// Of three members, this one says that it leads, and since then it is known.
#[derive(Default)]
struct Three {
    claim: Option<(NodeId, u64)>,
}

impl Groups for Three {
    fn members(&self, group: GroupId) -> Vec<NodeId> {
        assert_eq!(group, GROUP);
        vec![NodeId(1), NodeId(2), NodeId(3)]
    }

    fn leader(&self, _: GroupId) -> Option<(NodeId, u64)> {
        self.claim
    }

    fn describe(&self, _: GroupId, key: Option<&[u8]>) -> String {
        format!("Group 'eu' of '{}'", key.unwrap_or_default().escape_ascii())
    }
}

fn courier() -> Courier {
    courier_of(1)
}

fn courier_of(incarnation: u64) -> Courier {
    let origin = Origin {
        node: 9 | PROXIED,
        incarnation,
    };
    let patience = Patience {
        request_ns: 5_000 * MS,
        resend_ns: 400 * MS,
    };
    Courier::new(origin, patience)
}

fn proposal(words: &[&str]) -> Box<Proposal> {
    let mut bytes = Vec::new();
    let ranges: Vec<ArgRange> = words
        .iter()
        .map(|word| {
            let start = bytes.len() as u32;
            bytes.extend_from_slice(word.as_bytes());
            let end = bytes.len() as u32;
            ArgRange { start, end }
        })
        .collect();
    let args = Args::new(&bytes, &ranges);
    let mut proposal = Proposal::new(Arc::new(Mailbox::default()), 0);
    proposal.group = GROUP;
    proposal.set_request(args);
    proposal.items.push(Item::Command {
        request: 0,
        database: 0,
        command: commands::lookup(args).unwrap(),
    });
    proposal
}

fn step(courier: &mut Courier, now: u64) -> Vec<(NodeId, Message)> {
    step_among(courier, &Three::default(), now)
}

fn step_among(courier: &mut Courier, three: &Three, now: u64) -> Vec<(NodeId, Message)> {
    courier.advance(three, now);
    courier.take_messages()
}

fn parcel_of(message: &Message) -> Parcel {
    match message {
        Message::Read { group, id, .. } => Parcel {
            group: *group,
            reads: true,
            id: *id,
        },
        Message::Write { group, body } => Parcel {
            group: *group,
            reads: false,
            id: crate::state::decode_proposal_head(body).unwrap().sequence,
        },
        _ => panic!("{message:?} asks for nothing"),
    }
}

fn done(parcel: Parcel, leader: u64, replies: &[&[u8]]) -> Message {
    let mut body = Vec::new();
    for reply in replies {
        ProxiedReply::of_reply(reply).put(&mut body);
    }
    Message::Done {
        parcel,
        leader: Some(NodeId(leader)),
        body: body.into(),
    }
}

#[test]
fn requests_of_a_kind_travel_together_and_get_their_own_replies() {
    let mut courier = courier();
    courier.link_up(NodeId(2));
    courier.submit(
        [
            proposal(&["GET", "a"]),
            proposal(&["SET", "b", "1"]),
            proposal(&["GET", "c"]),
        ],
        0,
    );
    let sent = step(&mut courier, 0);
    assert_eq!(sent.len(), 2, "one of reads, one of writes");
    for (to, message) in &sent {
        assert_eq!(*to, NodeId(2), "the only one that can be reached");
        let parcel = parcel_of(message);
        let replies: &[&[u8]] = if parcel.reads {
            &[b"$1\r\nA\r\n", b"-WRONGTYPE no\r\n"]
        } else {
            &[b"+OK\r\n"]
        };
        courier.receive(NodeId(2), done(parcel, 2, replies), 1);
    }
    let answered = courier.take_answered();
    let replies: Vec<&[u8]> = answered.iter().map(|one| &one.replies[..]).collect();
    assert_eq!(
        replies,
        [&b"$1\r\nA\r\n"[..], b"-WRONGTYPE no\r\n", b"+OK\r\n"]
    );
    assert_eq!(answered[1].failures.len(), 1);
    assert!(courier.is_idle());
}

#[test]
fn who_answers_names_the_leader_and_the_leader_is_asked_next() {
    let mut courier = courier();
    (1..=3).for_each(|node| courier.link_up(NodeId(node)));
    courier.submit([proposal(&["GET", "a"])], 0);
    let sent = step(&mut courier, 0);
    courier.receive(sent[0].0, done(parcel_of(&sent[0].1), 3, &[b"$-1\r\n"]), 1);
    courier.submit([proposal(&["SET", "a", "1"])], 2);
    assert_eq!(step(&mut courier, 2)[0].0, NodeId(3));
    assert_eq!(courier.leader(GROUP, &Three::default()), Some(NodeId(3)));
}

#[test]
fn who_says_that_it_leads_is_asked_first_until_a_member_says_otherwise() {
    let mut courier = courier();
    let three = |node, at| Three {
        claim: Some((NodeId(node), at)),
    };
    (1..=3).for_each(|node| courier.link_up(NodeId(node)));
    let mut now = 100;
    let mut ask = |courier: &mut Courier, three: &Three| {
        now += MS;
        courier.submit([proposal(&["GET", "a"])], now);
        let sent = step_among(courier, three, now).remove(0);
        (now, sent.0.0, parcel_of(&sent.1))
    };
    // Nobody has been asked yet.
    let gossip = three(2, 50);
    assert_eq!(courier.leader(GROUP, &gossip), Some(NodeId(2)));
    let (at, to, parcel) = ask(&mut courier, &gossip);
    assert_eq!(to, 2);
    // It does not lead any more, and gossip has not heard of that.
    let leader = Some(NodeId(3));
    courier.receive(NodeId(2), Message::Elsewhere { parcel, leader }, at);
    assert_eq!(courier.leader(GROUP, &gossip), Some(NodeId(3)));
    let sent = step_among(&mut courier, &gossip, at).remove(0);
    assert_eq!(sent.0, NodeId(3));
    courier.receive(NodeId(3), done(parcel_of(&sent.1), 3, &[b"$-1\r\n"]), at);
    // Later news counts, but a claim of a node that cannot be asked does not.
    let (at, to, parcel) = ask(&mut courier, &three(1, at + 1));
    assert_eq!(to, 1);
    courier.receive(NodeId(1), done(parcel, 1, &[b"$-1\r\n"]), at);
    courier.link_down(NodeId(2));
    let gone = three(2, at + 1);
    assert_eq!(courier.leader(GROUP, &gone), Some(NodeId(1)));
    assert_eq!(ask(&mut courier, &gone).1, 1);
}

#[test]
fn a_claim_that_turned_out_wrong_is_not_asked_over_and_over() {
    let mut courier = courier();
    (1..=3).for_each(|node| courier.link_up(NodeId(node)));
    let gossip = Three {
        claim: Some((NodeId(2), 50)),
    };
    courier.submit([proposal(&["GET", "a"])], 100);
    let (to, message) = step_among(&mut courier, &gossip, 100).remove(0);
    assert_eq!(to, NodeId(2));
    let (parcel, leader) = (parcel_of(&message), Some(NodeId(2)));
    courier.receive(to, Message::Elsewhere { parcel, leader }, 100);
    assert_eq!(courier.leader(GROUP, &gossip), None);
    let again = step_among(&mut courier, &gossip, 100 + 10 * MS).remove(0);
    assert_eq!(again.0, NodeId(2), "the next in turn");
    let (parcel, leader) = (parcel_of(&again.1), None);
    courier.receive(
        again.0,
        Message::Elsewhere { parcel, leader },
        100 + 10 * MS,
    );
    let third = step_among(&mut courier, &gossip, 100 + 20 * MS).remove(0);
    assert_ne!(third.0, NodeId(2));
}

#[test]
fn a_write_is_repeated_as_it_was_when_its_member_is_lost_and_answered_once() {
    let mut courier = courier();
    courier.link_up(NodeId(1));
    courier.submit([proposal(&["INCR", "a"])], 0);
    let first = step(&mut courier, 0).remove(0);
    courier.link_down(NodeId(1));
    courier.link_up(NodeId(3));
    let second = step(&mut courier, MS).remove(0);
    assert_eq!((first.0, second.0), (NodeId(1), NodeId(3)));
    assert_eq!(first.1, second.1, "the same sequence, the same bytes");
    let answer = done(parcel_of(&second.1), 3, &[b":1\r\n"]);
    courier.receive(NodeId(3), answer.clone(), 2 * MS);
    courier.receive(NodeId(1), answer, 3 * MS);
    assert_eq!(courier.take_answered().len(), 1);
}

#[test]
fn silence_makes_the_courier_ask_others() {
    let mut courier = courier();
    (1..=3).for_each(|node| courier.link_up(NodeId(node)));
    courier.submit([proposal(&["GET", "a"])], 0);
    let mut asked = BTreeSet::new();
    for ms in 0..4_900 {
        asked.extend(step(&mut courier, ms * MS).into_iter().map(|(to, _)| to));
    }
    assert!(asked.len() > 1, "only {asked:?} were asked");
}

#[test]
fn however_often_members_send_it_elsewhere_an_answer_is_not_waited_for_any_longer() {
    let mut courier = courier();
    (1..=3).for_each(|node| courier.link_up(NodeId(node)));
    courier.submit([proposal(&["SET", "a", "x"])], 0);
    let mut now = 0;
    // An election: nobody leads.
    for _ in 0..40 {
        let sent = step(&mut courier, now);
        for (to, message) in sent {
            let parcel = parcel_of(&message);
            let leader = None;
            courier.receive(to, Message::Elsewhere { parcel, leader }, now);
        }
        now += 10 * MS;
    }
    assert_eq!(step(&mut courier, now).len(), 1);
    // That one gets lost, and is sent again as if it had been the first.
    assert!(step(&mut courier, now + 399 * MS).is_empty());
    assert_eq!(step(&mut courier, now + 401 * MS).len(), 1);
}

#[test]
fn a_group_that_cannot_be_reached_is_named_and_nothing_is_in_doubt() {
    let mut courier = courier();
    courier.submit(
        [proposal(&["SET", "eu:1", "x"]), proposal(&["GET", "eu:2"])],
        0,
    );
    assert!(step(&mut courier, 0).is_empty());
    step(&mut courier, 900 * MS);
    assert!(
        courier.take_answered().is_empty(),
        "a link may be about to come up"
    );
    step(&mut courier, 1_100 * MS);
    let answered = courier.take_answered();
    assert_eq!(answered.len(), 2);
    for proposal in answered.iter() {
        let reply = String::from_utf8_lossy(&proposal.replies);
        assert!(
            reply.starts_with("-CLUSTERDOWN Group 'eu' of 'eu:"),
            "{reply}"
        );
    }
}

#[test]
fn a_write_that_every_member_sent_elsewhere_was_not_done() {
    for is_one_lost in [false, true] {
        let mut courier = courier();
        courier.link_up(NodeId(1));
        courier.submit([proposal(&["SET", "a", "x"])], 0);
        for ms in 0..=5_000 {
            for (to, message) in step(&mut courier, ms * MS) {
                let parcel = parcel_of(&message);
                let leader = None;
                if !is_one_lost || ms > 0 {
                    courier.receive(to, Message::Elsewhere { parcel, leader }, ms * MS);
                }
            }
        }
        let reply = courier.take_answered().remove(0).replies;
        let code: &[u8] = if is_one_lost {
            b"-UNCERTAIN "
        } else {
            b"-CLUSTERDOWN "
        };
        assert!(reply.starts_with(code), "{}", reply.escape_ascii());
    }
}

#[test]
fn a_group_that_can_be_reached_again_is_asked_again() {
    let mut courier = courier();
    let write = || proposal(&["SET", "a", "1"]);
    courier.link_up(NodeId(1));
    courier.submit([write()], 0);
    let sent = step(&mut courier, 0).remove(0);
    courier.receive(NodeId(1), done(parcel_of(&sent.1), 1, &[b"+OK\r\n"]), 0);
    courier.link_down(NodeId(1));
    for now in [10 * MS, 2_000 * MS] {
        courier.submit([write()], now);
        assert!(step(&mut courier, now).is_empty());
    }
    assert_eq!(courier.take_answered().drain(..).len(), 3);
    courier.link_up(NodeId(1));
    courier.submit([write()], 60_000 * MS);
    assert_eq!(step(&mut courier, 60_000 * MS).len(), 1);
    assert!(courier.take_answered().is_empty());
}

#[test]
fn a_write_that_may_have_been_done_is_in_doubt_when_time_is_up() {
    let mut courier = courier();
    courier.link_up(NodeId(1));
    courier.submit([proposal(&["SET", "a", "x"])], 0);
    assert_eq!(step(&mut courier, 0).len(), 1);
    courier.link_down(NodeId(1));
    step(&mut courier, 2_000 * MS);
    assert!(courier.take_answered().is_empty());
    step(&mut courier, 5_000 * MS);
    let reply = courier.take_answered().remove(0).replies;
    assert!(
        reply.starts_with(b"-UNCERTAIN "),
        "{}",
        reply.escape_ascii()
    );
}

#[test]
fn an_answer_that_makes_no_sense_gives_no_wrong_reply() {
    let mut courier = courier();
    courier.link_up(NodeId(1));
    let one: &[u8] = b"$1\r\nA\r\n";
    for (word, replies) in [("GET", 0), ("GET", 3), ("INCR", 1), ("INCR", 3)] {
        courier.submit([proposal(&[word, "a"]), proposal(&[word, "b"])], 0);
        let sent = step(&mut courier, 0);
        let answer = done(parcel_of(&sent[0].1), 1, &vec![one; replies]);
        courier.receive(NodeId(1), answer, 1);
        let answered: Vec<_> = courier.take_answered().drain(..).collect();
        assert_eq!(answered.len(), 2, "{replies} answers to two of {word}");
        for proposal in answered {
            assert!(proposal.replies.starts_with(b"-UNCERTAIN "));
        }
    }
}

/// Several requests of one client.
fn pipeline(requests: &[&[&str]]) -> Box<Proposal> {
    let mut all = proposal(requests[0]);
    for words in &requests[1..] {
        let one = proposal(words);
        all.buffer.extend_from_slice(&one.buffer);
        let Item::Command { command, .. } = one.items[0] else {
            unreachable!("it was made of a command");
        };
        all.items.push(Item::Command {
            request: all.items.len(),
            database: 0,
            command,
        });
    }
    all.requests.clear();
    let count = all.items.len();
    let all_of_it = &mut *all;
    let parsed = bailiwick_frame::Parser::default().parse(
        &mut all_of_it.buffer,
        &bailiwick_frame::Limits::default(),
        count,
        &mut all_of_it.requests,
    );
    assert_eq!(parsed, Ok(all_of_it.buffer.len()));
    all
}

fn words_of(message: &Message) -> String {
    let Message::Read { body, .. } = message else {
        panic!("{message:?} reads nothing");
    };
    let sections = crate::proxy::wire::Section::all(body).unwrap();
    let words = sections
        .iter()
        .flat_map(|section| section.resp.split(|byte| *byte == b'\n'));
    let keys = words.filter(|word| word.len() == 2 && word[0].is_ascii_lowercase());
    keys.map(|key| key[0] as char).collect()
}

#[test]
fn what_a_long_answer_leaves_out_is_asked_for_again_and_each_request_is_answered_once() {
    let mut courier = courier();
    courier.link_up(NodeId(1));
    let first = pipeline(&[&["GET", "a"], &["GET", "b"], &["GET", "c"]]);
    courier.submit([first, proposal(&["GET", "d"])], 0);
    let mut asked = Vec::new();
    for replies in [1, 2, 1] {
        // Whoever comes later waits behind.
        let (to, message) = step(&mut courier, 0).remove(0);
        asked.push(words_of(&message));
        let texts: Vec<String> = words_of(&message)
            .chars()
            .map(|key| format!("$1\r\n{key}\r\n"))
            .collect();
        let texts: Vec<&[u8]> = texts[..replies].iter().map(String::as_bytes).collect();
        courier.receive(to, done(parcel_of(&message), 1, &texts), 1);
    }
    assert_eq!(asked, ["abcd", "bcd", "d"]);
    let answered = courier.take_answered();
    let replies: Vec<_> = answered
        .iter()
        .map(|one| one.replies.escape_ascii().to_string())
        .collect();
    assert_eq!(
        replies,
        [r"$1\r\na\r\n$1\r\nb\r\n$1\r\nc\r\n", r"$1\r\nd\r\n"]
    );
    assert!(courier.is_idle());
}

#[test]
fn what_a_long_answer_leaves_out_fails_alone_and_in_its_own_time() {
    let mut courier = courier();
    courier.link_up(NodeId(1));
    courier.submit([pipeline(&[&["GET", "a"], &["GET", "b"]])], 0);
    let (to, message) = step(&mut courier, 0).remove(0);
    let answer = done(parcel_of(&message), 1, &[b"$1\r\nA\r\n"]);
    courier.receive(to, answer, 4_000 * MS);
    courier.link_down(NodeId(1));
    step(&mut courier, 5_000 * MS);
    let reply = courier.take_answered().remove(0).replies;
    let reply = String::from_utf8(reply).unwrap();
    assert!(reply.starts_with("$1\r\nA\r\n-CLUSTERDOWN "), "{reply}");
    assert_eq!(reply.lines().count(), 3, "{reply}");
}

#[test]
fn the_floor_follows_what_is_open() {
    let mut courier = courier();
    courier.link_up(NodeId(1));
    let mut floors = Vec::new();
    // The numbers of its first life begin behind this.
    let first = 1 << 20;
    for _ in 0..3 {
        courier.submit([proposal(&["INCR", "a"])], 0);
        let (_, message) = step(&mut courier, 0).remove(0);
        let Message::Write { body, .. } = &message else {
            panic!("{message:?} is no write");
        };
        floors.push(crate::state::decode_proposal_head(body).unwrap().floor);
        if floors.len() == 2 {
            let mut parcel = parcel_of(&message);
            parcel.id = first + 1;
            courier.receive(NodeId(1), done(parcel, 1, &[b":1\r\n"]), 1);
        }
    }
    assert_eq!(floors, [first, first, first + 1]);
}

#[test]
fn a_request_looks_the_same_when_it_travels() {
    let mut out = Vec::new();
    let bytes = b"GETab";
    let ranges = [(0, 3), (3, 4), (4, 5)].map(|(start, end)| ArgRange { start, end });
    put_request(&mut out, Args::new(bytes, &ranges));
    assert_eq!(out, b"*3\r\n$3\r\nGET\r\n$1\r\na\r\n$1\r\nb\r\n");
}

/// A group that is asked only for reads, and is left alone for a moment.
#[test]
fn a_late_answer_is_not_taken_for_another_parcels_answer() {
    let mut courier = courier();
    (1..=2).for_each(|node| courier.link_up(NodeId(node)));
    courier.submit([proposal(&["GET", "a"])], 0);
    let first = step(&mut courier, 0).remove(0);
    let second = step(&mut courier, 500 * MS).remove(0);
    assert_eq!(
        parcel_of(&first.1),
        parcel_of(&second.1),
        "it was asked twice"
    );
    let answer = done(parcel_of(&first.1), 1, &[b"$1\r\nA\r\n"]);
    courier.receive(second.0, answer.clone(), 501 * MS);
    courier.take_answered().clear();
    assert!(step(&mut courier, 502 * MS).is_empty() && courier.is_idle());
    courier.submit([proposal(&["GET", "b"])], 503 * MS);
    let other = step(&mut courier, 503 * MS).remove(0);
    courier.receive(first.0, answer, 504 * MS);
    assert!(courier.take_answered().is_empty());
    assert_ne!(parcel_of(&other.1), parcel_of(&first.1));
}

#[test]
fn an_answer_to_an_earlier_life_is_not_taken_for_one_to_this() {
    for words in [&["GET", "a"][..], &["SET", "a", "1"]] {
        let parcels = [1, 2].map(|incarnation| {
            let mut courier = courier_of(incarnation);
            courier.link_up(NodeId(1));
            courier.submit([proposal(words)], 0);
            parcel_of(&step(&mut courier, 0)[0].1)
        });
        assert_ne!(parcels[0], parcels[1]);
    }
}

#[test]
fn a_refusal_of_what_was_sent_twice_leaves_the_write_in_doubt() {
    for (wait_ms, error) in [(0, &b"-MISCONF"[..]), (500, &b"-UNCERTAIN"[..])] {
        let mut courier = courier();
        (1..=2).for_each(|node| courier.link_up(NodeId(node)));
        courier.submit([proposal(&["SET", "a", "1"])], 0);
        let (to, message) = step(&mut courier, 0).remove(0);
        step(&mut courier, wait_ms * MS);
        let refused = Message::Refused {
            parcel: parcel_of(&message),
            reason: "MISCONF full".to_owned(),
        };
        courier.receive(to, refused, wait_ms * MS);
        assert!(courier.take_answered()[0].replies.starts_with(error));
    }
}

#[test]
fn a_busy_group_is_believed_when_it_has_refused_every_copy() {
    let mut courier = courier();
    courier.link_up(NodeId(1));
    courier.submit([proposal(&["SET", "a", "1"])], 0);
    let first = step(&mut courier, 0).remove(0);
    let second = step(&mut courier, 500 * MS).remove(0);
    assert_eq!(parcel_of(&first.1), parcel_of(&second.1));
    for (to, message, is_known) in [(first.0, &first.1, false), (second.0, &second.1, true)] {
        let refused = Message::Refused {
            parcel: parcel_of(message),
            reason: "BUSY for the moment".to_owned(),
        };
        courier.receive(to, refused, 501 * MS);
        let answered = std::mem::take(courier.take_answered());
        assert_eq!(answered.len(), usize::from(is_known));
        assert!(
            answered
                .iter()
                .all(|it| it.replies.starts_with(b"-BUSY for"))
        );
    }
    assert!(courier.is_idle());
}
