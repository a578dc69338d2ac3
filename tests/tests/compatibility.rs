//! What Redis's users would notice and no other test of ours asks for: how random choices are
//! spread, what statistics count, and what happens without a command that asks for it.

#![allow(
    clippy::unwrap_used,
    reason = "a test that fails by panicking fails as it should"
)]

use std::collections::BTreeMap;

use bailiwick_tests::client::{Client, Value};
use bailiwick_tests::server::{Launch, Server, wait_until};

fn start() -> Server {
    Launch::unsynced().unwrap().start().unwrap()
}

fn run(client: &mut Client, line: &str) -> Value {
    client.run(line).unwrap()
}

#[test]
fn reads_that_choose_at_random_give_every_element_its_chance() {
    const ROUNDS: usize = 400;
    let server = start();
    let mut client = server.connect().unwrap();
    run(&mut client, "SADD set a b c d");
    run(&mut client, "HSET hash a 1 b 1 c 1 d 1");
    run(&mut client, "ZADD zset 1 a 1 b 1 c 1 d");
    for command in [
        "SRANDMEMBER set",
        "HRANDFIELD hash",
        "ZRANDMEMBER zset",
        "RANDOMKEY",
    ] {
        let mut times = BTreeMap::new();
        for _ in 0..ROUNDS {
            *times.entry(run(&mut client, command).text()).or_insert(0) += 1;
        }
        let elements = if command == "RANDOMKEY" { 3 } else { 4 };
        assert_eq!(times.len(), elements, "{command}: {times:?}");
        // A hundred or more are expected of each; so few come once in a billion runs.
        assert!(
            times.values().all(|&count| count > 45),
            "{command}: {times:?}"
        );
    }
}

#[test]
fn a_monitor_that_resets_reads_the_reply_next() {
    let server = start();
    let (mut monitor, mut other) = (server.connect().unwrap(), server.connect().unwrap());
    assert_eq!(run(&mut monitor, "MONITOR"), Value::ok());
    run(&mut other, "SET a 1");
    let shown = monitor.read().unwrap().text();
    assert!(shown.ends_with(r#""SET" "a" "1""#), "{shown}");
    assert_eq!(
        run(&mut monitor, "RESET"),
        Value::Status("RESET".to_owned())
    );
    assert_eq!(run(&mut monitor, "GET a"), Value::bytes("1"));
}

#[test]
fn an_error_that_a_script_returns_is_counted() {
    let server = start();
    let mut client = server.connect().unwrap();
    for command in ["EVAL", "EVAL_RO"] {
        let script = "return redis.error_reply('MINE of my own')";
        let failed = client.call([command, script, "0"]).unwrap();
        assert_eq!(failed, Value::Error("MINE of my own".to_owned()));
    }
    let errors = run(&mut client, "INFO errorstats").text();
    assert!(errors.contains("errorstat_MINE:count=2"), "{errors}");
    let commands = run(&mut client, "INFO commandstats").text();
    let counted = commands
        .lines()
        .filter(|line| line.ends_with("failed_calls=1"));
    assert_eq!(counted.count(), 2, "{commands}");
}

#[test]
fn lowering_maxmemory_evicts_although_nobody_writes() {
    let server = start();
    let mut client = server.connect().unwrap();
    for number in 0..100 {
        let value = "x".repeat(1000);
        let set = client.call(["SET", &format!("key:{number}"), &value]);
        assert_eq!(set.unwrap(), Value::ok());
    }
    run(&mut client, "CONFIG SET maxmemory-policy allkeys-lru");
    run(&mut client, "CONFIG SET maxmemory 1");
    // What was evicted is counted a moment after it is gone.
    wait_until("all keys are evicted and counted", || {
        let statistics = run(&mut client, "INFO stats").text();
        statistics.contains("evicted_keys:100\r\n")
    })
    .unwrap();
    assert_eq!(run(&mut client, "DBSIZE"), Value::Integer(0));
}

#[test]
fn a_script_publishes_as_a_client_does() {
    let server = start();
    let (mut listener, mut client) = (server.connect().unwrap(), server.connect().unwrap());
    run(&mut listener, "SUBSCRIBE news");
    let script =
        "redis.call('SET', KEYS[1], 1) redis.call('PUBLISH', 'news', ARGV[1]) return 'done'";
    let done = client.call(["EVAL", script, "1", "key", "set"]).unwrap();
    assert_eq!(done, Value::bytes("done"));
    let words = ["message", "news", "set"].map(Value::bytes);
    assert_eq!(listener.read().unwrap().list(), &words);
    // In a transaction, too, and behind what was published before.
    run(&mut client, "MULTI");
    client.call(["EVAL", script, "1", "key", "twice"]).unwrap();
    run(&mut client, "EXEC");
    assert_eq!(listener.read().unwrap().list()[2], Value::bytes("twice"));
}
