//! Clients that wait for keys, on one node: the same as on Redis, and what Redis has no word for.

#![allow(
    clippy::unwrap_used,
    reason = "a test that fails by panicking fails as it should"
)]

use std::time::{Duration, Instant};

use bailiwick_frame::Protocol;
use bailiwick_tests::blocking::Pair;
use bailiwick_tests::client::{Client, Value};
use bailiwick_tests::server::{DEADLINE, Launch, POLL, Server, directory};

const STEPS: usize = 120;

fn start() -> Server {
    let launch = Launch::bailiwick().unwrap();
    launch.args(["--fsync", "never"]).start().unwrap()
}

/// Sends a request that waits, and returns when it does.
fn wait_for(server: &Server, client: &mut Client, line: &str, waiting: usize) {
    client.send(format!("{line}\r\n").as_bytes()).unwrap();
    wait_until_blocked(server, waiting);
}

/// Waits until so many clients are shown as blocked.
fn wait_until_blocked(server: &Server, waiting: usize) {
    let (mut observer, started) = (server.connect().unwrap(), Instant::now());
    let wanted = format!("blocked_clients:{waiting}\r\n");
    while !observer
        .run("INFO clients")
        .unwrap()
        .text()
        .contains(&wanted)
    {
        assert!(started.elapsed() < DEADLINE, "not {waiting} clients wait");
        std::thread::sleep(POLL);
    }
}

fn popped(key: &str, element: &str) -> Value {
    Value::List(vec![Value::bytes(key), Value::bytes(element)])
}

#[test]
fn schedules_of_blocking_clients_go_as_on_redis_in_resp2() {
    let pair = Pair::start().unwrap();
    for seed in 1..41 {
        pair.run(seed, STEPS, Protocol::Resp2).unwrap();
    }
}

#[test]
fn schedules_of_blocking_clients_go_as_on_redis_in_resp3() {
    let pair = Pair::start().unwrap();
    for seed in 101..141 {
        pair.run(seed, STEPS, Protocol::Resp3).unwrap();
    }
}

#[test]
fn what_stands_behind_a_blocked_request_waits_for_its_turn() {
    let server = start();
    let (mut client, mut other) = (server.connect().unwrap(), server.connect().unwrap());
    let pipeline = "SET a 1\r\nBLPOP l 0\r\nINCR a\r\nBLPOP m 0.001\r\nGET a";
    wait_for(&server, &mut client, pipeline, 1);
    assert_eq!(client.read().unwrap(), Value::ok());
    client.send(b"ECHO later\r\n").unwrap();
    assert_eq!(other.run("GET a").unwrap(), Value::bytes("1"));
    assert_eq!(other.run("RPUSH l x").unwrap(), Value::Integer(1));
    assert_eq!(client.read().unwrap(), popped("l", "x"));
    assert_eq!(client.read().unwrap(), Value::Integer(2));
    assert_eq!(client.read().unwrap(), Value::Null);
    assert_eq!(client.read().unwrap(), Value::bytes("2"));
    assert_eq!(client.read().unwrap(), Value::bytes("later"));
}

#[test]
fn a_time_out_is_over_neither_before_its_time_nor_never() {
    let server = start();
    let mut client = server.connect().unwrap();
    for (line, at_least) in [("BLPOP l 0.05", 50), ("BZPOPMIN z 0.2", 200)] {
        let started = Instant::now();
        assert_eq!(client.run(line).unwrap(), Value::Null);
        assert!(
            started.elapsed() >= Duration::from_millis(at_least),
            "{line}"
        );
    }
    // Nobody waits any more.
    assert_eq!(client.run("RPUSH l x").unwrap(), Value::Integer(1));
    assert_eq!(client.run("LLEN l").unwrap(), Value::Integer(1));
}

#[test]
fn a_client_that_has_gone_or_was_killed_takes_no_element() {
    let server = start();
    let mut other = server.connect().unwrap();
    let mut gone = server.connect().unwrap();
    wait_for(&server, &mut gone, "BLPOP l 0", 1);
    drop(gone);
    wait_until_blocked(&server, 0);
    let mut killed = server.connect().unwrap();
    let id = killed.run("CLIENT ID").unwrap().as_integer().unwrap();
    wait_for(&server, &mut killed, "BLPOP l 0", 1);
    let kill = format!("CLIENT KILL ID {id}");
    assert_eq!(other.run(&kill).unwrap(), Value::Integer(1));
    wait_until_blocked(&server, 0);
    let mut heir = server.connect().unwrap();
    wait_for(&server, &mut heir, "BLPOP l 0", 1);
    // That the others have gone is said by steps of the log, which may stand behind the first
    // pushes; so at most two elements are handed to nobody.
    heir.set_timeout(Duration::from_millis(20)).unwrap();
    let element = (1..).find_map(|number| {
        other.run(&format!("RPUSH l {number}")).unwrap();
        heir.read().ok()
    });
    let element = element.unwrap().list()[1].text();
    assert!(element.parse::<u32>().unwrap() <= 3, "element {element}");
}

#[test]
fn entries_of_streams_are_waited_for_and_scripts_may_not() {
    let server = start();
    let (mut client, mut other) = (server.connect().unwrap(), server.connect().unwrap());
    other.run("XADD s 1-0 f v").unwrap();
    wait_for(&server, &mut client, "XREAD BLOCK 0 STREAMS s $", 1);
    other.run("XADD s 2-0 f v").unwrap();
    let reply = client.read().unwrap();
    let id = &reply.list()[0].list()[1].list()[0].list()[0];
    assert_eq!(*id, Value::bytes("2-0"));
    let started = Instant::now();
    let none = client.run("XREAD BLOCK 100 STREAMS s $").unwrap();
    assert_eq!(none, Value::Null);
    assert!(started.elapsed() >= Duration::from_millis(100));
    // A script's errors come with the script's name behind them.
    let refused = other.call([
        "EVAL",
        "return redis.pcall('xread','BLOCK','0','STREAMS','s','$')",
        "0",
    ]);
    let refusal = "ERR xread command is not allowed with BLOCK option from scripts";
    assert_eq!(refused.unwrap(), Value::Error(refusal.to_owned()));
}

#[test]
fn a_client_that_waits_is_sent_what_it_listens_to() {
    let server = start();
    let (mut client, mut other) = (server.connect().unwrap(), server.connect().unwrap());
    client.hello(Protocol::Resp3).unwrap();
    client.run("SUBSCRIBE news").unwrap();
    client
        .send(b"CLIENT TRACKING on BCAST PREFIX a\r\n")
        .unwrap();
    assert_eq!(client.read().unwrap(), Value::ok());
    wait_for(&server, &mut client, "BLPOP l 0", 1);
    for text in ["one", "two"] {
        other.run(&format!("PUBLISH news {text}")).unwrap();
        let message = ["message", "news", text].map(Value::bytes);
        assert_eq!(client.read().unwrap(), Value::List(message.to_vec()));
    }
    other.run("SET a 1").unwrap();
    let told = client.read().unwrap();
    assert_eq!(told.list()[0], Value::bytes("invalidate"));
    other.run("RPUSH l x").unwrap();
    assert_eq!(client.read().unwrap(), popped("l", "x"));
}

#[test]
fn clients_are_unblocked_by_their_id() {
    let server = start();
    let mut other = server.connect().unwrap();
    let mut client = server.connect().unwrap();
    let id = client.run("CLIENT ID").unwrap().as_integer().unwrap();
    let unblock = |other: &mut Client, how: &str| {
        let told = other.run(&format!("CLIENT UNBLOCK {id}{how}")).unwrap();
        told.as_integer().unwrap()
    };
    assert_eq!(unblock(&mut other, ""), 0);
    for (how, reply) in [
        ("", Value::Null),
        (" TIMEOUT", Value::Null),
        (
            " ERROR",
            Value::Error("UNBLOCKED client unblocked via CLIENT UNBLOCK".to_owned()),
        ),
    ] {
        wait_for(&server, &mut client, "BLMPOP 0 1 l LEFT", 1);
        assert_eq!(unblock(&mut other, how), 1);
        assert_eq!(client.read().unwrap(), reply);
        assert_eq!(unblock(&mut other, how), 0);
    }
    assert_eq!(
        client.run("PING").unwrap(),
        Value::Status("PONG".to_owned())
    );
}

#[test]
fn a_node_that_is_told_to_end_does_not_wait_for_those_who_wait() {
    let directory = directory().unwrap();
    let launch = Launch::bailiwick_in(&directory).args(["--fsync", "never"]);
    let mut server = launch.start().unwrap();
    let mut client = server.connect().unwrap();
    wait_for(&server, &mut client, "BLPOP l 0", 1);
    let started = Instant::now();
    server.signal(libc::SIGTERM).unwrap();
    assert_eq!(server.wait_for_end().unwrap(), 0);
    assert_eq!(client.read_to_end().unwrap(), b"");
    println!("ended after {:?}", started.elapsed());
    drop(server);
    let server = launch.start().unwrap();
    let mut client = server.connect().unwrap();
    assert_eq!(client.run("RPUSH l x").unwrap(), Value::Integer(1));
    assert_eq!(client.run("LLEN l").unwrap(), Value::Integer(1));
}

#[test]
fn a_node_that_was_killed_serves_nobody_of_its_earlier_life() {
    let directory = directory().unwrap();
    let launch = Launch::bailiwick_in(&directory).args(["--fsync", "always"]);
    let mut server = launch.start().unwrap();
    let mut client = server.connect().unwrap();
    wait_for(&server, &mut client, "BLPOP l 0", 1);
    server.kill().unwrap();
    drop(server);
    let server = launch.start().unwrap();
    let mut client = server.connect().unwrap();
    assert_eq!(client.run("RPUSH l x").unwrap(), Value::Integer(1));
    assert_eq!(client.run("BLPOP l 1").unwrap(), popped("l", "x"));
}

#[test]
fn blocked_commands_are_counted_once_and_their_waiting_is_no_time_spent() {
    let server = start();
    let mut other = server.connect().unwrap();
    let mut client = server.connect().unwrap();
    wait_for(&server, &mut client, "BLPOP l 0", 1);
    let blocked = Instant::now();
    std::thread::sleep(Duration::from_secs(1));
    let waited = blocked.elapsed();
    other.run("RPUSH l x").unwrap();
    client.read().unwrap();
    let stats = other.run("INFO commandstats").unwrap().text();
    let line = stats
        .lines()
        .find(|line| line.starts_with("cmdstat_blpop:"));
    let line = line.unwrap();
    assert!(line.contains("calls=1,"), "{line}");
    let micros = line
        .split("usec=")
        .nth(1)
        .unwrap()
        .split(',')
        .next()
        .unwrap();
    let spent = Duration::from_micros(micros.parse().unwrap());
    assert!(spent < waited / 2, "{line}, of {waited:?}");
    assert!(!stats.contains("_block"), "{stats}");
}
