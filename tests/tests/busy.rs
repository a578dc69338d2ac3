//! Scripts that take long: who needs their group is told so, everybody else is served, and what
//! only reads can be ended. On single nodes, in groups, and through nodes that are no members.
//!
//! No script runs for ever: it is over when its steps are used up, or before. So whatever is looked
//! at while one runs is looked at again with another one if that was over too soon.

#![allow(
    clippy::unwrap_used,
    reason = "a test that fails by panicking fails as it should"
)]

use std::thread;
use std::time::Instant;

use bailiwick_tests::client::{Client, Value, request};
use bailiwick_tests::cluster::{Cluster, Options};
use bailiwick_tests::regions::{Layout, World};
use bailiwick_tests::server::{DEADLINE, Launch, POLL, Server};

/// Takes a good part of a second, and stands in the log.
const LOGGED: &str = "for i=1,3e8 do end return redis.call('set', KEYS[1], 'done')";
/// Goes on until it is ended.
const ENDLESS: &str = "while true do end";
/// Takes longer than a connection's thread has time for.
const LENGTHY: &str = "for i=1,2e6 do end return redis.call('get', KEYS[1])";

/// From this on others are told, in milliseconds.
const THRESHOLD: &str = "20";

const BUSY: &str =
    "BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.";
const BUSY_FUNCTION: &str =
    "BUSY Redis is busy running a script. You can only call FUNCTION KILL or SHUTDOWN NOSAVE.";

/// So often a script may be over too soon on a machine that has other things to do.
const ATTEMPTS: usize = 10;

fn error(text: &str) -> Value {
    Value::Error(text.to_owned())
}

/// Looks at something while a script runs, again and again until the script was not over too soon.
#[track_caller]
fn until_seen<R>(mut attempt: impl FnMut() -> Option<R>) -> R {
    let seen = (0..ATTEMPTS).find_map(|_| attempt());
    seen.expect("no script runs for long enough")
}

fn call(client: &mut Client, line: &str) -> Value {
    client.run(line).unwrap()
}

/// Waits until the group of a key says that it is busy; false if it has not said so in time.
fn wait_until_busy(client: &mut Client, key: &str) -> bool {
    let deadline = Instant::now() + DEADLINE / 10;
    while Instant::now() < deadline {
        let answer = call(client, &format!("GET {key}"));
        match &answer {
            Value::Error(text) if text.starts_with("BUSY ") => return true,
            // The script is over.
            Value::Bytes(bytes) if bytes == b"done" => return false,
            _ => thread::sleep(POLL),
        }
    }
    false
}

/// Waits until a key's group serves clients.
fn wait_until_free(client: &mut Client, key: &str) {
    let deadline = Instant::now() + DEADLINE;
    while call(client, &format!("GET {key}"))
        .text()
        .starts_with("BUSY ")
    {
        assert!(Instant::now() < deadline, "the group is busy for good");
        thread::sleep(POLL);
    }
}

/// The answers to these while a script of the log runs that sets `key`; the runner's reply.
fn while_logged(
    (runner, other): (&mut Client, &mut Client),
    key: &str,
    lines: &[&str],
) -> Vec<Value> {
    until_seen(|| {
        wait_until_free(other, key);
        call(other, &format!("DEL {key}"));
        let script = request(["EVAL", LOGGED, "1", key]);
        runner.send(&script).unwrap();
        let mut answers = None;
        if wait_until_busy(other, key) {
            let all = lines.iter().map(|line| call(other, line));
            let all: Vec<Value> = all.collect();
            let is_busy_still = call(other, &format!("GET {key}")) == error(BUSY);
            answers = is_busy_still.then_some(all);
        }
        assert_eq!(runner.read().unwrap(), Value::ok());
        wait_until_free(other, key);
        assert_eq!(call(other, &format!("GET {key}")), Value::bytes("done"));
        answers
    })
}

/// Ends an endless script that only reads, and gives what its client hears.
fn end_reading(
    (runner, other): (&mut Client, &mut Client),
    (words, key): (&[&str], &str),
    kill: &str,
) -> Value {
    until_seen(|| {
        wait_until_free(other, key);
        runner.send(&request(words)).unwrap();
        let mut killed = wait_until_busy(other, key);
        if killed {
            killed = call(other, kill) == Value::ok();
        }
        let heard = runner.read().unwrap();
        wait_until_free(other, key);
        killed.then_some(heard)
    })
}

fn start(fsync: &str) -> Server {
    let launch = Launch::bailiwick().unwrap();
    let launch = launch.args(["--fsync", fsync, "--threads", "1"]);
    let launch = launch.args(["--busy-reply-threshold", THRESHOLD]);
    launch.start().unwrap()
}

/// What there is to see on a node alone, however it writes its log.
fn look_at(server: &Server) {
    let (mut runner, mut other) = (server.connect().unwrap(), server.connect().unwrap());
    assert_eq!(call(&mut other, "SELECT 1"), Value::ok());
    assert_eq!(call(&mut other, "SELECT 0"), Value::ok());
    let lines = [
        ("GET a", error(BUSY)),
        ("SET a 1", error(BUSY)),
        ("INFO", error(BUSY)),
        ("FUNCTION STATS", error(BUSY)),
        ("BLPOP l 0", error(BUSY)),
        ("MGET a b", error(BUSY)),
        ("PING", Value::Status("PONG".to_owned())),
        ("ECHO x", Value::bytes("x")),
        ("SELECT 0", Value::ok()),
        ("WATCH a", Value::ok()),
        ("MULTI", Value::ok()),
        ("SET a 1", error(BUSY)),
        (
            "EXEC",
            error("EXECABORT Transaction discarded because of previous errors."),
        ),
        ("MULTI", Value::ok()),
        ("DISCARD", Value::ok()),
        ("EXEC", error("ERR EXEC without MULTI")),
    ];
    let asked = lines.each_ref().map(|(line, _)| *line);
    let answers = while_logged((&mut runner, &mut other), "k", &asked);
    for ((line, wanted), answer) in lines.iter().zip(&answers) {
        assert_eq!(answer, wanted, "{line}");
    }
    for kill in ["SCRIPT KILL", "FUNCTION KILL"] {
        let answers = while_logged((&mut runner, &mut other), "k", &[kill]);
        assert!(answers[0].text().starts_with("UNKILLABLE "), "{answers:?}");
        assert_eq!(
            call(&mut other, kill),
            error("NOTBUSY No scripts in execution right now.")
        );
    }
    let killed = end_reading(
        (&mut runner, &mut other),
        (&["EVAL_RO", ENDLESS, "0"], "a"),
        "SCRIPT KILL",
    );
    let text = killed.text();
    assert!(
        text.starts_with("ERR Script killed by user with SCRIPT KILL. script: ")
            && text.ends_with(", on @user_script:1."),
        "{text}"
    );
    assert_eq!(call(&mut other, "SET a 2"), Value::ok());
    assert_eq!(call(&mut runner, "GET a"), Value::bytes("2"));
}

#[test]
fn a_node_that_does_not_wait_for_its_disk_says_that_it_is_busy() {
    look_at(&start("never"));
    look_at(&start("interval"));
}

#[test]
fn a_node_that_waits_for_its_disk_says_that_it_is_busy() {
    look_at(&start("always"));
}

#[test]
fn a_function_that_reads_is_shown_and_ended_by_its_own_order() {
    let server = start("never");
    let (mut runner, mut other) = (server.connect().unwrap(), server.connect().unwrap());
    let library = "#!lua name=l\nredis.register_function{function_name='f', \
                   callback=function() while true do end end, flags={'no-writes'}}";
    let loaded = other.call(["FUNCTION", "LOAD", library]).unwrap();
    assert_eq!(loaded, Value::bytes("l"));
    let words = ["FCALL_RO", "f", "1", "a", "bb"];
    let shown = until_seen(|| {
        runner.send(&request(words)).unwrap();
        let mut answers = None;
        if wait_until_busy(&mut other, "a") {
            let lines = ["GET a", "FUNCTION STATS", "SCRIPT KILL", "FUNCTION KILL"];
            answers = Some(lines.map(|line| call(&mut other, line)));
        }
        let heard = runner.read().unwrap();
        wait_until_free(&mut other, "a");
        answers
            .filter(|answers| answers[3] == Value::ok())
            .map(|answers| (answers, heard))
    });
    let ([get, stats, wrong, _], heard) = shown;
    assert_eq!(
        (&get, &wrong),
        (&error(BUSY_FUNCTION), &error(BUSY_FUNCTION))
    );
    let (running, engines) = (&stats.list()[1], &stats.list()[3]);
    assert_eq!(
        running.list()[..3],
        [
            Value::bytes("name"),
            Value::bytes("f"),
            Value::bytes("command")
        ]
    );
    assert_eq!(
        running.list()[3],
        Value::List(words.map(Value::bytes).to_vec())
    );
    assert!(running.list()[5].as_integer().unwrap() >= 20, "{running:?}");
    let counts = [
        Value::bytes("libraries_count"),
        Value::Integer(1),
        Value::bytes("functions_count"),
        Value::Integer(1),
    ];
    assert_eq!(engines.list()[1].list(), counts);
    assert_eq!(
        heard,
        error("ERR Script killed by user with FUNCTION KILL. script: f, on @user_function:2.")
    );
}

#[test]
fn the_threshold_can_be_changed_under_both_names() {
    let server = start("never");
    let (mut runner, mut other) = (server.connect().unwrap(), server.connect().unwrap());
    assert_eq!(
        call(&mut other, "CONFIG SET lua-time-limit 3600000"),
        Value::ok()
    );
    let shown = call(&mut other, "CONFIG GET busy-reply-threshold");
    assert_eq!(shown.list()[1], Value::bytes("3600000"));
    let script = request(["EVAL", LOGGED, "1", "k"]);
    runner.send(&script).unwrap();
    // Whoever comes meanwhile waits.
    while call(&mut other, "GET k") != Value::bytes("done") {
        thread::sleep(POLL);
    }
    assert_eq!(runner.read().unwrap(), Value::ok());
}

/// Scripts that read and are run elsewhere stay in their places.
fn keeps_order(client: &mut Client) {
    let mut pipeline = Vec::new();
    let mut wanted = Vec::new();
    for number in 0..4 {
        let value = number.to_string();
        pipeline.extend(request(["SET", "x", &value]));
        wanted.push(Value::ok());
        for _ in 0..2 {
            pipeline.extend(request(["EVAL_RO", LENGTHY, "1", "x"]));
            pipeline.extend(request(["GET", "x"]));
            wanted.extend([Value::bytes(&value), Value::bytes(&value)]);
        }
    }
    pipeline.extend(request(["EVAL_RO", LENGTHY, "1", "x"]));
    wanted.push(Value::bytes("3"));
    client.send(&pipeline).unwrap();
    for (at, wanted) in wanted.iter().enumerate() {
        assert_eq!(client.read().unwrap(), *wanted, "reply {at}");
    }
    client
        .send(&request(["EVAL_RO", LENGTHY, "1", "x"]))
        .unwrap();
    client.send(&request(["SET", "x", "y"])).unwrap();
    client.send(&request(["GET", "x"])).unwrap();
    let replies = [(); 3].map(|()| client.read().unwrap());
    assert_eq!(replies, [Value::bytes("3"), Value::ok(), Value::bytes("y")]);
}

#[test]
fn replies_stay_in_order_where_scripts_read_for_long() {
    for fsync in ["never", "always"] {
        let server = Launch::bailiwick().unwrap();
        let server = server.args(["--fsync", fsync]).start().unwrap();
        keeps_order(&mut server.connect().unwrap());
    }
}

#[test]
fn a_node_ends_although_a_script_reads() {
    let mut server = start("never");
    let (mut runner, mut other) = (server.connect().unwrap(), server.connect().unwrap());
    runner.send(&request(["EVAL_RO", ENDLESS, "0"])).unwrap();
    wait_until_busy(&mut other, "a");
    other.send(&request(["SHUTDOWN", "NOSAVE"])).unwrap();
    let heard = runner.read().unwrap().text();
    assert!(heard.starts_with("ERR "), "{heard}");
    assert_eq!(server.wait_for_end().unwrap(), 0);
}

#[test]
fn a_group_of_three_says_that_it_is_busy_through_any_node() {
    let options = Options::direct(3).with("--busy-reply-threshold", THRESHOLD);
    let cluster = Cluster::start(&options.with("--threads", "1")).unwrap();
    let leader = cluster.wait_for_leader().unwrap();
    let follower = cluster.nodes().find(|node| *node != leader).unwrap();
    for node in [follower, leader] {
        let (mut runner, mut other) = (
            cluster.connect(node).unwrap(),
            cluster.connect(node).unwrap(),
        );
        let lines = ["GET a", "SET a 1", "PING", "SCRIPT KILL"];
        let answers = while_logged((&mut runner, &mut other), "k", &lines);
        assert_eq!(answers[..2], [error(BUSY), error(BUSY)], "node {node}");
        assert_eq!(answers[2], Value::Status("PONG".to_owned()));
        assert!(answers[3].text().starts_with("UNKILLABLE "), "{answers:?}");
        let killed = end_reading(
            (&mut runner, &mut other),
            (&["EVAL_RO", ENDLESS, "0"], "a"),
            "SCRIPT KILL",
        );
        let text = killed.text();
        assert!(text.starts_with("ERR Script killed by user "), "{text}");
        keeps_order(&mut other);
    }
    cluster.wait_for_agreement().unwrap();
}

#[test]
fn a_busy_group_says_so_to_clients_of_other_nodes_and_holds_up_no_other_group() {
    let layout = Layout::three(1).with("--busy-reply-threshold", THRESHOLD);
    let world = World::start(&layout).unwrap();
    let [mut runner, mut near, mut far] =
        ["eu", "eu", "us"].map(|region| world.connect(region).unwrap());
    until_seen(|| {
        wait_until_free(&mut far, "eu:k");
        call(&mut near, "DEL eu:k");
        runner
            .send(&request(["EVAL", LOGGED, "1", "eu:k"]))
            .unwrap();
        let mut answers = None;
        if wait_until_busy(&mut far, "eu:k") {
            let here = ["SET us:a 1", "GET us:a"].map(|line| call(&mut near, line));
            let there = ["SET eu:a 1", "GET eu:a", "SCRIPT KILL"];
            let there = there.map(|line| call(&mut far, line));
            let is_busy_still = call(&mut near, "GET eu:k") == error(BUSY);
            answers = is_busy_still.then_some((here, there));
        }
        assert_eq!(runner.read().unwrap(), Value::ok());
        let (here, there) = answers?;
        assert_eq!(here, [Value::ok(), Value::bytes("1")]);
        assert_eq!(there[..2], [error(BUSY), error(BUSY)]);
        assert!(there[2].text().starts_with("NOTBUSY "), "{there:?}");
        Some(())
    });
    wait_until_free(&mut far, "eu:k");
    assert_eq!(call(&mut far, "SET eu:a 2"), Value::ok());
    // What reads is ended where it runs.
    let heard = end_reading(
        (&mut far, &mut near),
        (&["EVAL_RO", ENDLESS, "1", "eu:a"], "eu:a"),
        "SCRIPT KILL",
    );
    let text = heard.text();
    assert!(text.starts_with("ERR Script killed by user "), "{text}");
}
