//! Tests of vigils.

use std::sync::Arc;

use bailiwick_frame::ArgRange;
use bytes::Bytes;

use super::*;
use crate::commands::lookup;
use crate::group::bells::Bells;
use crate::routing::orphan::GIVE_UP_AGAIN;

const WAITS: &[u8] = b"+BLOCKED 17 0\r\n";
const KEPT: &[u8] = b"+BLOCKED 17 1\r\n";
const NULL: &[u8] = b"*-1\r\n";

/// Everything belongs to a group, and this node is a member or not.
struct Around {
    owner: GroupId,
    is_member: bool,
    waits: bool,
}

impl Surroundings for Around {
    fn owner_of(&self, _: &[u8]) -> GroupId {
        self.owner
    }

    fn waits_in(&self, _: GroupId, _: WaiterId) -> bool {
        self.waits
    }

    fn takes_part(&self, _: GroupId) -> bool {
        self.is_member
    }
}

const MEMBER: Around = Around {
    owner: GroupId(1),
    is_member: true,
    waits: true,
};
const STRANGER: Around = Around {
    owner: GroupId(1),
    is_member: false,
    waits: false,
};

fn vigil(line: &str) -> Vigil {
    let (mut bytes, mut ranges) = (Vec::new(), Vec::new());
    for word in line.split(' ') {
        let start = bytes.len() as u32;
        bytes.extend_from_slice(word.as_bytes());
        let end = bytes.len() as u32;
        ranges.push(ArgRange { start, end });
    }
    let args = Args::new(&bytes, &ranges);
    let bells = Arc::<Bells>::default();
    bells.set_life(3, 9);
    let bell = bells.hang(0).expect("it knows who it is");
    let command = lookup(args).expect("it exists");
    Vigil::new(bell, Protocol::Resp2, command, (args, args.arg(1)))
}

fn shown(step: &Step) -> String {
    let text = |bytes: &[u8]| bytes.escape_ascii().to_string();
    match step {
        Step::Ask { words, group } => {
            let words: Vec<String> = words.get(0).iter().map(text).collect();
            format!("{group:?} {}", words.join(" "))
        }
        Step::Await { .. } => "await".to_owned(),
        Step::Reply(reply) => text(reply),
        Step::Close => "close".to_owned(),
    }
}

#[test]
fn who_was_served_before_its_time_was_over_gets_the_reply() {
    let mut vigil = vigil("BLPOP l 1");
    let first = vigil.begin(false, &STRANGER);
    assert_eq!(shown(&first), "None _BLOCK 3 9 1 2 0 BLPOP l 1");
    assert_eq!(shown(&vigil.answered(GroupId(1), KEPT, &STRANGER)), "await");
    assert!(!vigil.is_looked_after(&STRANGER));
    let leaves = vigil.happened(Event::TimeOut, &STRANGER);
    assert_eq!(shown(&leaves), "Some(GroupId(1)) _UNBLOCK 3 9 1");
    let served = vigil.answered(GroupId(1), b"$1\r\nx\r\n", &STRANGER);
    assert_eq!(shown(&served), "$1\\r\\nx\\r\\n");
    assert!(vigil.left_behind().is_none());
}

#[test]
fn a_bell_that_rings_while_the_waiting_ends_is_heard() {
    let mut vigil = vigil("BLPOP l 1");
    vigil.begin(false, &MEMBER);
    vigil.answered(GroupId(1), WAITS, &MEMBER);
    assert!(vigil.is_looked_after(&MEMBER));
    vigil.happened(Event::TimeOut, &MEMBER);
    let reply = Bytes::from_static(b"$1\r\nx\r\n");
    vigil.bell().ring_if_silent(Call::Done(reply));
    let served = vigil.answered(GroupId(1), b"+GONE\r\n", &MEMBER);
    assert_eq!(shown(&served), "$1\\r\\nx\\r\\n");
}

#[test]
fn a_request_is_made_anew_where_its_keys_are_now_with_the_time_of_its_arrival() {
    let mut vigil = vigil("BLPOP l 0");
    vigil.begin(false, &MEMBER);
    vigil.answered(GroupId(1), WAITS, &MEMBER);
    let again = vigil.happened(Event::Rung(Call::Again), &MEMBER);
    assert_eq!(shown(&again), "None _BLOCK 3 9 1 2 17 BLPOP l 0");
    assert_eq!(vigil.asks(), 2);
}

#[test]
fn who_cannot_be_found_is_looked_for_where_the_key_is() {
    let mut vigil = vigil("BLPOP l 1");
    vigil.begin(false, &STRANGER);
    vigil.answered(GroupId(1), KEPT, &STRANGER);
    vigil.happened(Event::TimeOut, &STRANGER);
    let moved = Around {
        owner: GroupId(2),
        ..STRANGER
    };
    let elsewhere = vigil.answered(GroupId(1), b"+GONE\r\n", &moved);
    assert_eq!(shown(&elsewhere), "Some(GroupId(2)) _UNBLOCK 3 9 1");
    let over = vigil.answered(GroupId(2), b"+REMOVED\r\n", &moved);
    assert_eq!(shown(&over), NULL.escape_ascii().to_string());
    assert!(vigil.left_behind().is_none());
}

#[test]
fn what_nobody_knows_leaves_an_orphan_that_is_given_up_until_it_is_gone() {
    let mut refused = vigil("BLPOP l 0");
    refused.begin(false, &MEMBER);
    refused.answered(GroupId(1), b"-CLUSTERDOWN no\r\n", &MEMBER);
    assert!(refused.left_behind().is_none());
    let mut unknown = vigil("BLPOP l 0");
    unknown.begin(false, &MEMBER);
    let step = unknown.answered(GroupId(1), b"-UNCERTAIN why\r\n", &MEMBER);
    assert!(matches!(step, Step::Reply(_)));
    let mut orphan = unknown.left_behind().expect("it may wait");
    let timeout = Duration::from_secs(5);
    let rest = orphan.rest(b"-CLUSTERDOWN no\r\n", timeout);
    assert_eq!(rest, Some(GIVE_UP_AGAIN));
    let rest = orphan.rest(b"+GONE\r\n", timeout);
    assert_eq!(rest, Some(2 * timeout), "it may be on its way");
    assert_eq!(orphan.rest(b"+GONE\r\n", timeout), None);
}

#[test]
fn what_only_reads_waits_in_the_log_only_if_there_is_nothing() {
    let line = "XREAD BLOCK 0 STREAMS s 5-0";
    let mut vigil = vigil(line);
    let first = vigil.begin(false, &STRANGER);
    assert_eq!(shown(&first), format!("None {line}"));
    assert!(vigil.left_behind().is_none(), "a read leaves nothing");
    let second = vigil.answered(GroupId(1), NULL, &STRANGER);
    assert_eq!(shown(&second), format!("None _BLOCK 3 9 1 2 0 {line}"));
    assert!(vigil.left_behind().is_some());
    assert_eq!(shown(&vigil.answered(GroupId(1), KEPT, &STRANGER)), "await");
}

#[test]
fn what_a_read_finds_at_once_is_the_reply() {
    let mut vigil = vigil("XREAD BLOCK 0 STREAMS s 5-0");
    vigil.begin(false, &STRANGER);
    let reply = b"-CLUSTERDOWN no\r\n";
    assert_eq!(
        shown(&vigil.answered(GroupId(1), reply, &STRANGER)),
        reply.escape_ascii().to_string()
    );
    assert!(vigil.left_behind().is_none());
}

#[test]
fn a_read_that_has_found_nothing_or_cannot_does_not_look_again() {
    let mixed = vigil("XREAD BLOCK 0 STREAMS s t 0 $").begin(false, &MEMBER);
    assert_eq!(shown(&mixed), "None XREAD BLOCK 0 STREAMS s t 0 $");
    for (line, has_looked) in [
        ("XREAD BLOCK 0 STREAMS s 5-0", true),
        ("XREAD BLOCK 0 STREAMS s $", false),
    ] {
        let step = vigil(line).begin(has_looked, &MEMBER);
        assert_eq!(shown(&step), format!("None _BLOCK 3 9 1 2 0 {line}"));
    }
}
