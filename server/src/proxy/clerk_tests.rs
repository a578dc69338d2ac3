//! The clerk with more to answer than an answer holds.

use bailiwick_replication::GroupId;

use super::*;
use crate::group::put_request;
use crate::state::decode_replies;
use bailiwick_frame::{ArgRange, Args};

const PARCEL: Parcel = Parcel {
    group: GroupId(3),
    reads: true,
    id: 7,
};

/// A section of the same request, so many times.
fn section(count: usize, words: &[&[u8]]) -> Vec<u8> {
    let bytes = words.concat();
    let mut at = 0_u32;
    let ranges: Vec<ArgRange> = words
        .iter()
        .map(|word| {
            let start = at;
            at += word.len() as u32;
            ArgRange { start, end: at }
        })
        .collect();
    let mut resp = Vec::new();
    (0..count).for_each(|_| put_request(&mut resp, Args::new(&bytes, &ranges)));
    let section = Section {
        protocol: Protocol::Resp2,
        database: 0,
        count,
        resp: resp.into(),
    };
    let mut body = Vec::new();
    section.put(&mut body);
    body
}

/// Has the group answer each request of a proposal with a string of so many bytes.
fn answer(proposal: &mut Proposal, bytes: usize) {
    for _ in 0..proposal.items.len() {
        Encoder::new(&mut proposal.replies, Protocol::Resp2).bulk(&vec![b'v'; bytes]);
        proposal.ends.push(proposal.replies.len());
    }
}

#[test]
fn an_answer_that_is_long_enough_leaves_the_later_requests_out() {
    // The first section has two of the three that make a long answer; the other is cut by itself.
    let third = ANSWER_TARGET_BYTES / 3 + 1;
    for (bytes, expected) in [(3, 8), (third, 5), (2 * ANSWER_TARGET_BYTES, 1)] {
        let get: [&[u8]; 2] = [b"GET", b"k"];
        let body = [section(2, &get), section(6, &get)].concat();
        let mut proposals = unpack(&body.into()).unwrap();
        let mut clerk = Clerk::default();
        clerk.defer((NodeId(2), PARCEL), &mut proposals, &Arc::default());
        let mut served = None;
        for proposal in proposals.iter_mut().rev() {
            assert_eq!(served, None, "one section is not answered");
            answer(proposal, bytes);
            served = clerk.note_answered(proposal);
        }
        let served = served.unwrap();
        let outcomes = decode_replies(&served.outcomes).unwrap();
        assert_eq!(outcomes.len(), expected, "replies of {bytes} bytes");
    }
}

#[test]
fn a_reply_too_long_to_travel_is_an_error_and_one_at_the_bound_is_not() {
    let mut outcomes = Vec::new();
    for reply in [&b"$1\r\nA\r\n"[..], b"$2\r\nAA\r\n"] {
        put_reply(reply, Protocol::Resp2, 7, &mut outcomes);
    }
    let replies = decode_replies(&outcomes).unwrap();
    assert_eq!(replies[0], ProxiedReply::Done(b"$1\r\nA\r\n"));
    assert!(matches!(replies[1], ProxiedReply::Failed(text) if text.starts_with(b"-ERR ")));
}

#[test]
fn a_request_of_more_words_than_a_client_may_send_by_default_is_understood() {
    let mut words: Vec<&[u8]> = vec![b"k"; Limits::default().max_args + 1];
    words[0] = b"MGET";
    let proposals = unpack(&section(1, &words).into()).unwrap();
    assert_eq!(proposals[0].items.len(), 1);
}

#[test]
fn a_parcel_that_waits_is_known_until_it_is_answered() {
    let mut proposals = unpack(&section(1, &[b"GET", b"k"]).into()).unwrap();
    let mut clerk = Clerk::default();
    clerk.defer((NodeId(2), PARCEL), &mut proposals, &Arc::default());
    assert!(clerk.serves(NodeId(2), PARCEL));
    assert!(!clerk.serves(NodeId(1), PARCEL));
    answer(&mut proposals[0], 1);
    assert!(clerk.note_answered(&proposals[0]).is_some());
    assert!(!clerk.serves(NodeId(2), PARCEL));
}
