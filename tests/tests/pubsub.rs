//! Channels, byte for byte as Redis has them: scripts for several connections are played to both.

#![allow(
    clippy::unwrap_used,
    reason = "a test that fails by panicking fails as it should"
)]

use std::time::Instant;

use bailiwick_frame::Protocol;
use bailiwick_tests::audience::Audience;
use bailiwick_tests::client::{Value, request};
use bailiwick_tests::server::{Launch, wait_until};

const CONNECTIONS: usize = 3;

/// Plays a script to Redis and here, with these connections in RESP3, and wants the same.
fn compare(resp3: &[usize], script: &[(usize, &str)]) {
    let (redis, ours) = (
        Launch::redis().unwrap().start().unwrap(),
        Launch::unsynced().unwrap().start().unwrap(),
    );
    let audience = |server| Audience::connect(server, CONNECTIONS, resp3).unwrap();
    let (mut theirs, mut own) = (audience(&redis), audience(&ours));
    for (number, lines) in script {
        let wanted = theirs.play(*number, lines).unwrap();
        let received = own.play(*number, lines).unwrap();
        assert_eq!(received, wanted, "{number}: {lines} (RESP3: {resp3:?})");
    }
}

const BASICS: &[(usize, &str)] = &[
    (0, "SUBSCRIBE a b a"),
    (0, "SUBSCRIBE"),
    (1, "PUBLISH a hello"),
    (1, "PUBLISH c nobody"),
    // Of several patterns that match, Redis takes any first.
    (0, "PSUBSCRIBE a* z?"),
    (1, "PUBLISH a twice\nPUBLISH abc once\nPUBLISH b x"),
    (0, "PING\nPING word"),
    // With several names Redis has an order of its own.
    (1, "PUBSUB CHANNELS [b-z]"),
    (1, "PUBSUB CHANNELS nope*"),
    (1, "PUBSUB CHANNELS a b"),
    (1, "PUBSUB NUMSUB a b c\nPUBSUB NUMSUB\nPUBSUB NUMPAT"),
    (1, "PUBSUB NUMPAT x"),
    (1, "PUBSUB\nPUBSUB NOPE\nPUBLISH a\nSPUBLISH a"),
    (2, "SUBSCRIBE a"),
    (1, "PUBSUB NUMSUB a\nPUBLISH a both"),
    (0, "UNSUBSCRIBE a zzz"),
    (0, "UNSUBSCRIBE"),
    (0, "UNSUBSCRIBE"),
    (0, "PUNSUBSCRIBE a*\nPUNSUBSCRIBE"),
    (0, "PUNSUBSCRIBE"),
    (0, "SUNSUBSCRIBE"),
    (0, "GET k\nPING"),
    (1, "PUBLISH a one"),
];

const SHARDS: &[(usize, &str)] = &[
    (0, "SSUBSCRIBE s t"),
    (0, "SUBSCRIBE s"),
    (1, "SPUBLISH s hello\nPUBLISH s hello"),
    (1, "PUBSUB SHARDCHANNELS t*\nPUBSUB SHARDNUMSUB s u"),
    (1, "PUBSUB CHANNELS"),
    (0, "SUNSUBSCRIBE t"),
    (0, "SUNSUBSCRIBE"),
    (0, "UNSUBSCRIBE"),
    (1, "MULTI\nSSUBSCRIBE x\nEXEC"),
];

const TRANSACTIONS: &[(usize, &str)] = &[
    (0, "SUBSCRIBE a"),
    (
        1,
        "MULTI\nSET k 1\nPUBLISH a one\nINCR k\nSPUBLISH a x\nPUBLISH a two\nEXEC",
    ),
    (1, "MULTI\nPUBLISH a never\nDISCARD"),
    (1, "MULTI\nPUBLISH a never\nSET\nEXEC"),
    (1, "WATCH k"),
    (2, "INCR k"),
    (1, "MULTI\nPUBLISH a never\nEXEC"),
    (2, "MULTI\nSUBSCRIBE b\nEXEC"),
    (1, "PUBLISH b hello"),
    (2, "RESET\nPING"),
    (1, "PUBLISH b hello"),
];

#[test]
fn channels_and_patterns_are_those_of_redis() {
    compare(&[], BASICS);
    compare(&[0, 1, 2], BASICS);
    compare(&[0], BASICS);
}

#[test]
fn shard_channels_are_those_of_redis() {
    compare(&[], SHARDS);
    compare(&[0, 1, 2], SHARDS);
}

#[test]
fn transactions_publish_when_they_are_done() {
    compare(&[], TRANSACTIONS);
    compare(&[0, 1, 2], TRANSACTIONS);
}

#[test]
fn a_subscriber_of_the_older_protocol_may_only_listen() {
    compare(
        &[1],
        &[
            (0, "SUBSCRIBE a"),
            (0, "GET k"),
            (0, "PUBLISH a x\nMULTI\nHELLO 3\nCLIENT LIST\nPUBSUB NUMPAT"),
            (0, "NOPE\nGET"),
            (0, "RESET"),
            (0, "GET k"),
            (1, "SUBSCRIBE a"),
            (1, "GET k\nPUBLISH a me\nPUBLISH a again"),
        ],
    );
}

#[test]
fn one_who_publishes_to_oneself_gets_the_reply_first() {
    let server = Launch::unsynced().unwrap().start().unwrap();
    let mut client = server.connect().unwrap();
    client.hello(Protocol::Resp3).unwrap();
    client.run("SUBSCRIBE a").unwrap();
    let requests = [request(["PUBLISH", "a", "x"]), request(["PING"])].concat();
    client.send(&requests).unwrap();
    assert_eq!(client.read_raw().unwrap(), b":1\r\n");
    let message = b">3\r\n$7\r\nmessage\r\n$1\r\na\r\n$1\r\nx\r\n";
    assert_eq!(client.read_raw().unwrap(), message);
    assert_eq!(client.read_raw().unwrap(), b"+PONG\r\n");
    let transaction = ["MULTI", "PUBLISH a y", "EXEC"].map(|line| request(line.split(' ')));
    client.send(&transaction.concat()).unwrap();
    for reply in ["+OK\r\n", "+QUEUED\r\n", "*1\r\n:1\r\n"] {
        assert_eq!(client.read_raw().unwrap(), reply.as_bytes());
    }
    let message = b">3\r\n$7\r\nmessage\r\n$1\r\na\r\n$1\r\ny\r\n";
    assert_eq!(client.read_raw().unwrap(), message);
}

#[test]
fn a_message_behind_a_write_is_heard_after_it() {
    let server = Launch::bailiwick().unwrap().start().unwrap();
    let (mut writer, mut listener) = (server.connect().unwrap(), server.connect().unwrap());
    let mut reader = server.connect().unwrap();
    listener.run("SUBSCRIBE done").unwrap();
    for round in 0..200 {
        let round = round.to_string();
        let pipeline = [
            request(["SET", "k", &round]),
            request(["PUBLISH", "done", &round]),
        ];
        writer.send(&pipeline.concat()).unwrap();
        let message = listener.read().unwrap();
        assert_eq!(message.list()[2], Value::bytes(&round));
        assert_eq!(reader.run("GET k").unwrap(), Value::bytes(&round));
        writer.read().unwrap();
        writer.read().unwrap();
    }
}

#[test]
fn clients_are_listed_and_counted_with_their_subscriptions() {
    let server = Launch::unsynced().unwrap().start().unwrap();
    let (mut listener, mut other) = (server.connect().unwrap(), server.connect().unwrap());
    for names in ["SUBSCRIBE a b", "PSUBSCRIBE c*", "SSUBSCRIBE d e f"] {
        listener.send(&request(names.split(' '))).unwrap();
        for _ in names.split(' ').skip(1) {
            listener.read().unwrap();
        }
    }
    let listed = other.run("CLIENT LIST TYPE pubsub").unwrap().text();
    assert_eq!(listed.lines().count(), 1, "{listed}");
    for part in [" flags=P ", " sub=2 ", " psub=1 ", " ssub=3 "] {
        assert!(listed.contains(part), "{listed}");
    }
    let info = other.run("INFO stats").unwrap().text();
    for part in [
        "pubsub_channels:2\r",
        "pubsub_patterns:1\r",
        "pubsubshard_channels:3\r",
    ] {
        assert!(info.contains(part), "{info}");
    }
    assert_eq!(
        other.run("CLIENT KILL TYPE pubsub").unwrap(),
        Value::Integer(1)
    );
    assert!(listener.read_to_end().is_ok());
    let deadline = Instant::now() + std::time::Duration::from_secs(60);
    while other.run("PUBSUB NUMPAT").unwrap() != Value::Integer(0) {
        assert!(
            Instant::now() < deadline,
            "a killed client is still subscribed"
        );
        std::thread::yield_now();
    }
}

#[test]
fn a_subscriber_that_lags_is_heard_and_then_told_of_nothing_that_came_later() {
    const COUNT: usize = 600;
    let server = Launch::unsynced().unwrap().start().unwrap();
    let (mut listener, mut publisher) = (server.connect().unwrap(), server.connect().unwrap());
    let no_limit = [
        "CONFIG",
        "SET",
        "client-output-buffer-limit",
        "pubsub 0 0 0",
    ];
    assert_eq!(publisher.call(no_limit).unwrap(), Value::ok());
    listener.run("SUBSCRIBE a").unwrap();
    // Far more than the buffers of the system take.
    let message = vec![b'x'; 64 << 10];
    for _ in 0..COUNT {
        let received = publisher.call([&b"PUBLISH"[..], b"a", &message]).unwrap();
        assert_eq!(received, Value::Integer(1));
    }
    listener.send(&request(["UNSUBSCRIBE", "a"])).unwrap();
    for _ in 0..COUNT / 2 {
        assert_eq!(listener.read().unwrap().list()[0].text(), "message");
    }
    // Much of what was published is still to be read.
    let is_heard = || publisher.run("PUBLISH a later").unwrap() == Value::Integer(0);
    wait_until("the subscription is taken back", is_heard).unwrap();
    let mut messages = COUNT / 2;
    let confirmation = loop {
        let told = listener.read().unwrap();
        if told.list()[0].text() != "message" {
            break told;
        }
        messages += 1;
    };
    assert!(messages >= COUNT, "only {messages} messages came");
    assert_eq!(confirmation.list()[0].text(), "unsubscribe");
    assert_eq!(
        listener.run("PING").unwrap(),
        Value::Status("PONG".to_owned())
    );
}

#[test]
fn a_subscriber_that_reads_nothing_is_disconnected_and_holds_nobody_up() {
    let server = Launch::unsynced().unwrap().start().unwrap();
    let (mut listener, mut publisher) = (server.connect().unwrap(), server.connect().unwrap());
    let limit = [
        "CONFIG",
        "SET",
        "client-output-buffer-limit",
        "pubsub 1mb 0 0",
    ];
    assert_eq!(publisher.call(limit).unwrap(), Value::ok());
    listener.run("SUBSCRIBE a").unwrap();
    let message = vec![b'x'; 64 << 10];
    let mut sent = 0;
    // The system's buffers take some of it.
    while publisher.call([&b"PUBLISH"[..], b"a", &message]).unwrap() == Value::Integer(1) {
        sent += 1;
        assert!(
            sent < 10_000,
            "a client that reads nothing is never disconnected"
        );
    }
    assert!(
        sent > 15,
        "disconnected below the limit, after {sent} messages"
    );
}
