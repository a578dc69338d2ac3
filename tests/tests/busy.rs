//! Scripts that take long: who needs their group is told so, everybody else is served, and what
//! only reads can be ended. On single nodes, in groups, and through nodes that are no members.
//!
//! No script runs for ever: it is over when its steps are used up. Those that others look at count
//! few steps in much time, because a search is one step however long it takes: what only reads goes
//! on until it is ended, and what is logged until its node is killed behind the test.

#![allow(
    clippy::unwrap_used,
    reason = "a test that fails by panicking fails as it should"
)]

use std::thread;

use bailiwick_tests::client::{Client, Value, request};
use bailiwick_tests::cluster::{Cluster, Options};
use bailiwick_tests::regions::{Layout, World};
use bailiwick_tests::server::{Launch, POLL, Server, wait_until};

/// Takes a good part of a second, and stands in the log.
const LOGGED: &str = "for i=1,1e8 do end return redis.call('set', KEYS[1], 'done')";
/// Takes longer than anything that is looked at meanwhile, and stands in the log.
const LOGGED_LONG: &str = "local s = string.rep('a', 20) for i=1,4e6 do s:find('a-b') end \
                           return redis.call('set', KEYS[1], 'done')";
/// Goes on until it is ended. It takes up a connection's thread only for a moment.
const ENDLESS: &str = "for i=1,1e6 do end \
                       local s = string.rep('a', 20) while true do s:find('a-b') end";
/// Takes longer than a connection's thread has time for.
const LENGTHY: &str = "for i=1,2e6 do end return redis.call('get', KEYS[1])";

/// From this on others are told, in milliseconds.
const THRESHOLD: &str = "20";

const BUSY: &str =
    "BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.";
const BUSY_FUNCTION: &str =
    "BUSY Redis is busy running a script. You can only call FUNCTION KILL or SHUTDOWN NOSAVE.";

fn error(text: &str) -> Value {
    Value::Error(text.to_owned())
}

fn call(client: &mut Client, line: &str) -> Value {
    client.run(line).unwrap()
}

/// Waits until the group of a key says that it is busy.
#[track_caller]
fn wait_until_busy(client: &mut Client, key: &str) {
    let line = format!("GET {key}");
    let is_busy = || call(client, &line).text().starts_with("BUSY ");
    wait_until("the group is busy", is_busy).unwrap();
}

/// Waits until a key's group serves clients.
#[track_caller]
fn wait_until_free(client: &mut Client, key: &str) {
    let line = format!("GET {key}");
    let is_free = || !call(client, &line).text().starts_with("BUSY ");
    wait_until("the group is free", is_free).unwrap();
}

/// Runs a script of the log to its end while another client asks for its key.
fn run_to_its_end((runner, other): (&mut Client, &mut Client), key: &str) {
    let script = request(["EVAL", LOGGED, "1", key]);
    runner.send(&script).unwrap();
    let line = format!("GET {key}");
    let is_done = || call(other, &line) == Value::bytes("done");
    wait_until("the script is done", is_done).unwrap();
    assert_eq!(runner.read().unwrap(), Value::ok());
}

/// The answers to these while a script of the log runs, which is not over when this returns.
fn while_logged(
    (runner, other): (&mut Client, &mut Client),
    key: &str,
    lines: &[&str],
) -> Vec<Value> {
    let script = request(["EVAL", LOGGED_LONG, "1", key]);
    runner.send(&script).unwrap();
    wait_until_busy(other, key);
    let answers = lines.iter().map(|line| call(other, line)).collect();
    assert_eq!(call(other, &format!("GET {key}")), error(BUSY));
    answers
}

/// Ends an endless script that only reads, and gives what its client hears.
fn end_reading(
    (runner, other): (&mut Client, &mut Client),
    (words, key): (&[&str], &str),
    kill: &str,
) -> Value {
    runner.send(&request(words)).unwrap();
    wait_until_busy(other, key);
    assert_eq!(call(other, kill), Value::ok());
    let heard = runner.read().unwrap();
    wait_until_free(other, key);
    heard
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
    run_to_its_end((&mut runner, &mut other), "j");
    for kill in ["SCRIPT KILL", "FUNCTION KILL"] {
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
    let kills = ["SCRIPT KILL", "FUNCTION KILL"];
    let asked: Vec<&str> = lines.iter().map(|(line, _)| *line).chain(kills).collect();
    let answers = while_logged((&mut runner, &mut other), "k", &asked);
    let (answers, killed) = answers.split_at(lines.len());
    for ((line, wanted), answer) in lines.iter().zip(answers) {
        assert_eq!(answer, wanted, "{line}");
    }
    let is_refused = |answer: &Value| answer.text().starts_with("UNKILLABLE ");
    assert!(killed.iter().all(is_refused), "{killed:?}");
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
    let library = format!(
        "#!lua name=l\nredis.register_function{{function_name='f', callback=function() {ENDLESS} end, \
         flags={{'no-writes'}}}}"
    );
    let loaded = other.call(["FUNCTION", "LOAD", &library]).unwrap();
    assert_eq!(loaded, Value::bytes("l"));
    let words = ["FCALL_RO", "f", "1", "a", "bb"];
    runner.send(&request(words)).unwrap();
    wait_until_busy(&mut other, "a");
    let lines = ["GET a", "FUNCTION STATS", "SCRIPT KILL", "FUNCTION KILL"];
    let [get, stats, wrong, right] = lines.map(|line| call(&mut other, line));
    let heard = runner.read().unwrap();
    assert_eq!(get, error(BUSY_FUNCTION));
    assert_eq!(wrong, error(BUSY_FUNCTION));
    assert_eq!(right, Value::ok());
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
    for is_leader in [false, true] {
        let options = Options::direct(3).with("--busy-reply-threshold", THRESHOLD);
        let cluster = Cluster::start(&options.with("--threads", "1")).unwrap();
        let leader = cluster.wait_for_leader().unwrap();
        let mut nodes = cluster.nodes();
        let node = nodes.find(|node| (*node == leader) == is_leader).unwrap();
        let [mut runner, mut other] = [(); 2].map(|()| cluster.connect(node).unwrap());
        let killed = end_reading(
            (&mut runner, &mut other),
            (&["EVAL_RO", ENDLESS, "0"], "a"),
            "SCRIPT KILL",
        );
        let text = killed.text();
        assert!(text.starts_with("ERR Script killed by user "), "{text}");
        keeps_order(&mut other);
        run_to_its_end((&mut runner, &mut other), "j");
        cluster.wait_for_agreement().unwrap();
        let lines = ["GET a", "SET a 1", "PING", "SCRIPT KILL"];
        let answers = while_logged((&mut runner, &mut other), "k", &lines);
        assert_eq!(answers[..2], [error(BUSY), error(BUSY)], "node {node}");
        assert_eq!(answers[2], Value::Status("PONG".to_owned()));
        assert!(answers[3].text().starts_with("UNKILLABLE "), "{answers:?}");
    }
}

#[test]
fn a_busy_group_says_so_to_clients_of_other_nodes_and_holds_up_no_other_group() {
    let layout = Layout::three(1).with("--busy-reply-threshold", THRESHOLD);
    let world = World::start(&layout).unwrap();
    let [mut runner, mut near, mut far] =
        ["eu", "eu", "us"].map(|region| world.connect(region).unwrap());
    // It is ended where it runs.
    let heard = end_reading(
        (&mut far, &mut near),
        (&["EVAL_RO", ENDLESS, "1", "eu:a"], "eu:a"),
        "SCRIPT KILL",
    );
    let text = heard.text();
    assert!(text.starts_with("ERR Script killed by user "), "{text}");
    assert_eq!(call(&mut far, "SET eu:a 2"), Value::ok());
    runner
        .send(&request(["EVAL", LOGGED_LONG, "1", "eu:k"]))
        .unwrap();
    wait_until_busy(&mut far, "eu:k");
    let here = ["SET us:a 1", "GET us:a"].map(|line| call(&mut near, line));
    assert_eq!(here, [Value::ok(), Value::bytes("1")]);
    let there = ["SET eu:a 1", "GET eu:a", "SCRIPT KILL"].map(|line| call(&mut far, line));
    assert_eq!(there[..2], [error(BUSY), error(BUSY)]);
    assert!(there[2].text().starts_with("NOTBUSY "), "{there:?}");
    assert_eq!(call(&mut near, "GET eu:k"), error(BUSY));
}
