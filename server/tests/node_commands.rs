//! Node commands, asked of a real process: those that concern connections, time, the disk or the
//! process itself, which no unit test has.

#![allow(
    clippy::unwrap_used,
    reason = "a test that fails by panicking fails as it should"
)]

mod node;

use std::thread;
use std::time::{Duration, Instant};

use node::Node;

const DEBUG: &[&str] = &["--enable-debug-command", "yes"];

#[test]
fn a_client_knows_itself_and_is_listed() {
    let node = Node::start(&[]);
    let mut client = node.client();
    let id = client.call("CLIENT ID")[1..].to_owned();
    assert_eq!(client.call("CLIENT GETNAME"), "$-1");
    assert_eq!(client.call("CLIENT SETNAME me"), "+OK");
    assert_eq!(client.call("CLIENT SETINFO LIB-NAME lib"), "+OK");
    assert_eq!(client.call("CLIENT SETINFO lib-ver 1.2"), "+OK");
    let expected = "-ERR lib-ver cannot contain spaces, newlines or special characters.";
    assert_eq!(client.call("CLIENT SETINFO lib-ver \"1 2\""), expected);
    assert_eq!(client.call("CLIENT GETNAME"), "$2|me");
    client.call("SELECT 3");
    let info = client.call("CLIENT INFO");
    for part in [
        "id=",
        " name=me ",
        " db=3 ",
        " flags=N ",
        " cmd=client|info ",
        " lib-name=lib ",
    ] {
        assert!(info.contains(part), "{part} in {info}");
    }
    let mut other = node.client();
    other.call("GET k");
    let list = other.call("CLIENT LIST");
    assert!(
        list.contains(&format!("id={id} ")) && list.contains(" cmd=client|list "),
        "{list}"
    );
    let one = other.call(&format!("CLIENT LIST ID {id} 999999"));
    assert!(
        one.contains(" name=me ") && !one.contains("cmd=client|list"),
        "{one}"
    );
    assert_eq!(other.call("CLIENT LIST TYPE pubsub"), "$0");
}

#[test]
fn replies_are_left_out_as_told() {
    let node = Node::start(&[]);
    let mut client = node.client();
    client.send("CLIENT REPLY SKIP\nPING skipped\nPING shown");
    assert_eq!(client.read(), "$5|shown");
    client.send("CLIENT REPLY SKIP\nCLIENT REPLY SKIP\nPING skipped\nPING shown");
    assert_eq!(client.read(), "$5|shown");
    client.send(
        "CLIENT REPLY OFF\nSET k v\nGET k\nNOSUCH\nCLIENT REPLY SKIP\nCLIENT REPLY ON\nGET k",
    );
    assert_eq!(client.read(), "+OK");
    assert_eq!(client.read(), "$1|v");
    client.send("CLIENT REPLY SKIP\nSET k w\nGET k");
    assert_eq!(client.read(), "$1|w");
    client.send("CLIENT REPLY SKIP\nSAVE\nPING");
    assert_eq!(client.read(), "+PONG");
    client.send("CLIENT REPLY OFF\nRESET\nPING");
    assert_eq!(client.read(), "+RESET");
    assert_eq!(client.read(), "+PONG");
}

#[test]
fn clients_are_killed_by_what_is_known_of_them() {
    let node = Node::start(&[]);
    let (mut client, mut other, mut third) = (node.client(), node.client(), node.client());
    let other_id = other.call("CLIENT ID")[1..].to_owned();
    assert_eq!(
        client.call(&format!("CLIENT KILL ID {other_id} TYPE normal")),
        ":1"
    );
    assert_eq!(other.read_to_end(), "");
    assert_eq!(client.call(&format!("CLIENT KILL ID {other_id}")), ":0");
    third.call("PING");
    assert_eq!(client.call("CLIENT KILL USER default"), ":1");
    assert_eq!(third.read_to_end(), "");
    let info = client.call("CLIENT INFO");
    let address = info
        .split(' ')
        .find_map(|field| field.strip_prefix("addr="))
        .unwrap();
    // Whoever kills itself gets the reply first.
    client.send(&format!("CLIENT KILL {address}\nPING"));
    assert_eq!(client.read_to_end(), "+OK\r\n");
}

#[test]
fn a_client_that_kills_itself_in_a_transaction_gets_the_transactions_reply() {
    let node = Node::start(&[]);
    let mut client = node.client();
    let id = client.call("CLIENT ID")[1..].to_owned();
    client.send(&format!(
        "MULTI\nSET k v\nCLIENT KILL ID {id} SKIPME no\nGET k\nEXEC\nPING"
    ));
    let replies = client.read_to_end();
    assert!(
        replies.ends_with("*3\r\n+OK\r\n:1\r\n$1\r\nv\r\n"),
        "{replies:?}"
    );
}

#[test]
fn a_pause_of_writes_holds_writes_only() {
    let node = Node::start(&[]);
    let (mut client, mut writer) = (node.client(), node.client());
    assert_eq!(client.call("CLIENT PAUSE 100000 WRITE"), "+OK");
    writer.send("GET k\nSET k v\nGET k");
    assert_eq!(writer.read(), "$-1");
    while client.info("clients", "blocked_clients") == "0" {
        thread::yield_now();
    }
    assert_eq!(client.call("GET k"), "$-1");
    assert_eq!(client.call("CLIENT UNPAUSE"), "+OK");
    assert_eq!(writer.read(), "+OK");
    assert_eq!(writer.read(), "$1|v");
}

#[test]
fn a_pause_ends_by_itself() {
    let node = Node::start(&[]);
    let mut client = node.client();
    let started = Instant::now();
    assert_eq!(client.call("CLIENT PAUSE 50 ALL"), "+OK");
    assert_eq!(client.call("PING"), "+PONG");
    assert!(started.elapsed() >= Duration::from_millis(50));
}

#[test]
fn monitors_see_what_runs_but_no_password() {
    let node = Node::start(&[]);
    let (mut monitor, mut client) = (node.client(), node.client());
    assert_eq!(monitor.call("MONITOR"), "+OK");
    client.send("AUTH user secret\nHELLO 2 AUTH default secret\nCONFIG GET port\nSELECT 2");
    client.send("MULTI\nSET k \"a\\x01\"\nEXEC\nPING end");
    let mut seen = Vec::new();
    while seen
        .last()
        .is_none_or(|last: &String| !last.contains("\"end\""))
    {
        let line = monitor.read();
        let (_, request) = line
            .split_once("] ")
            .expect("time, database and address come first");
        seen.push(request.to_owned());
    }
    let expected = [
        r#""AUTH" "(redacted)" "(redacted)""#,
        r#""HELLO" "2" "AUTH" "(redacted)" "(redacted)""#,
        r#""SELECT" "2""#,
        r#""MULTI""#,
        r#""SET" "k" "a\x01""#,
        r#""EXEC""#,
        r#""PING" "end""#,
    ];
    assert_eq!(seen, expected);
}

#[test]
fn monitors_see_what_scripts_call() {
    let node = Node::start(&[]);
    let (mut monitor, mut client) = (node.client(), node.client());
    let script = "redis.call('SELECT', 3) redis.call('SET', KEYS[1], 1) redis.pcall('NOSUCH')";
    let reading = "return redis.call('GET', KEYS[1])";
    assert_eq!(client.call(&format!("EVAL \"{script}\" 1 before")), "$-1");
    assert_eq!(monitor.call("MONITOR"), "+OK");
    client.send(&format!("EVAL \"{script}\" 1 k"));
    client.send(&format!("MULTI\nEVAL \"{reading}\" 1 k\nEXEC"));
    client.send(&format!("EVAL_RO \"{reading}\" 1 k\nPING end"));
    let mut seen = Vec::new();
    while seen
        .last()
        .is_none_or(|last: &String| !last.contains("\"end\""))
    {
        let line = monitor.read();
        let (place, request) = line.split_once("] ").expect("a place comes first");
        let (_, place) = place.split_once('[').expect("behind the time");
        if place.ends_with("lua") {
            seen.push(format!("{place} {request}"));
        } else {
            seen.push(request.split(' ').next().unwrap_or_default().to_owned());
        }
        if request == "\"PING\" \"end\"" {
            seen.push(request.to_owned());
        }
    }
    let expected = [
        r#""EVAL""#,
        r#"0 lua "SELECT" "3""#,
        r#"3 lua "SET" "k" "1""#,
        r#""MULTI""#,
        r#""EVAL""#,
        r#""EXEC""#,
        r#"0 lua "GET" "k""#,
        r#""EVAL_RO""#,
        r#"0 lua "GET" "k""#,
        r#""PING""#,
        r#""PING" "end""#,
    ];
    assert_eq!(seen, expected);
}

#[test]
fn what_scripts_call_is_counted_and_an_error_once() {
    let node = Node::start(&[]);
    let mut client = node.client();
    let counts = |client: &mut node::Client, command: &str| {
        let line = client.info("commandstats", &format!("cmdstat_{command}"));
        let count = |name: &str| {
            let (_, rest) = line.split_once(name)?;
            rest.split(',').next()?.parse::<u64>().ok()
        };
        ["calls=", ",rejected_calls=", ",failed_calls="].map(count)
    };
    client.call("SET text x");
    client.call("EVAL \"redis.call('LPUSH', 'list', 1) redis.pcall('LPUSH', 'text', 1)\" 0");
    client.call("EVAL \"return redis.call('LPUSH', 'text', 1)\" 0");
    client.call("EVAL_RO \"redis.pcall('LPUSH', 'list', 1) return redis.call('GET', 'text')\" 0");
    client.call("EVAL \"redis.pcall('NOSUCH')\" 0");
    assert_eq!(counts(&mut client, "lpush"), [Some(3), Some(1), Some(2)]);
    assert_eq!(counts(&mut client, "get"), [Some(1), Some(0), Some(0)]);
    assert_eq!(counts(&mut client, "eval"), [Some(3), Some(0), Some(1)]);
    assert_eq!(client.info("errorstats", "errorstat_WRONGTYPE"), "count=2");
    assert_eq!(client.info("errorstats", "errorstat_ERR"), "count=2");
}

#[test]
fn counters_count_and_are_reset() {
    let node = Node::start(&[]);
    let mut client = node.client();
    client.send("SET k v\nGET k\nGET k\nGET none\nNOSUCH\nINCR k\nGET");
    (0..7).for_each(|_| drop(client.read()));
    let get = client.info("commandstats", "cmdstat_get");
    assert!(
        get.starts_with("calls=3,") && get.contains("rejected_calls=1,failed_calls=0"),
        "{get}"
    );
    let incr = client.info("commandstats", "cmdstat_incr");
    assert!(
        incr.starts_with("calls=1,") && incr.contains("failed_calls=1"),
        "{incr}"
    );
    assert_eq!(client.info("stats", "keyspace_hits"), "2");
    assert_eq!(client.info("stats", "keyspace_misses"), "1");
    assert_eq!(client.info("errorstats", "errorstat_ERR"), "count=3");
    assert_eq!(client.info("keyspace", "db0"), "keys=1,expires=0,avg_ttl=0");
    assert!(
        client
            .info("latencystats", "latency_percentiles_usec_get")
            .starts_with("p50=")
    );
    let histogram = client.call("LATENCY HISTOGRAM get nosuch");
    assert!(
        histogram.starts_with("*2|$3|get|*4|$5|calls|:3|"),
        "{histogram}"
    );
    assert_eq!(client.call("CONFIG RESETSTAT"), "+OK");
    assert_eq!(client.info("stats", "keyspace_hits"), "0");
    assert!(!client.call("INFO commandstats").contains("cmdstat_get:"));
    assert!(!client.call("INFO errorstats").contains("errorstat_ERR"));
}

#[test]
fn info_shows_the_sections_asked_for() {
    let node = Node::start(&[]);
    let mut client = node.client();
    let some = client.call("INFO keyspace SERVER nosuch");
    let titles: Vec<_> = some
        .split('|')
        .filter(|line| line.starts_with('#'))
        .collect();
    assert_eq!(titles, ["# Server", "# Keyspace"]);
    assert!(!client.call("INFO").contains("# Commandstats"));
    assert!(client.call("INFO all").contains("# Commandstats"));
    assert_eq!(client.call("INFO nosuch"), "$0");
    assert_eq!(client.info("server", "redis_mode"), "standalone");
    assert_eq!(client.info("persistence", "loading"), "0");
    assert!(node.client().resp3().call("INFO server").starts_with('='));
}

#[test]
fn settings_change_at_once() {
    let node = Node::start(&[]);
    let mut client = node.client();
    assert_eq!(
        client.call("CONFIG SET maxmemory 1 maxmemory-policy noeviction"),
        "+OK"
    );
    let refused = client.call("SET k v");
    assert!(refused.starts_with("-OOM "), "{refused}");
    // Of a script only what needs memory is.
    let refused = client.call("EVAL \"redis.call('set', KEYS[1], 1)\" 1 k");
    assert!(refused.starts_with("-OOM "), "{refused}");
    let released = client.call("EVAL \"return redis.call('del', KEYS[1])\" 1 k");
    assert_eq!(released, ":0");
    assert_eq!(client.call("CONFIG SET maxmemory 0"), "+OK");
    assert_eq!(client.call("SET k v"), "+OK");
    assert_eq!(
        client.call("CONFIG GET maxmemory*"),
        client.call("CONFIG GET MaxMemory*")
    );
    assert_eq!(client.call("CONFIG SET requirepass secret"), "+OK");
    let mut other = node.client();
    assert_eq!(other.call("GET k"), "-NOAUTH Authentication required.");
    assert_eq!(client.call("CONFIG SET requirepass \"\""), "+OK");
    assert_eq!(other.call("GET k"), "$1|v");
    let refused = client.call("CONFIG REWRITE");
    assert_eq!(refused, "-ERR The server is running without a config file");
}

#[test]
fn slow_commands_are_kept_with_their_client_but_no_password() {
    let node = Node::start(DEBUG);
    let mut client = node.client();
    client.call("CLIENT SETNAME me");
    client.call("CONFIG SET slowlog-log-slower-than 0 latency-monitor-threshold 1");
    client.call("DEBUG SLEEP 0.01");
    client.call("AUTH default secret");
    client.call("CONFIG SET slowlog-log-slower-than 1000000");
    let slow = client.call("SLOWLOG GET");
    assert!(
        slow.contains("|$5|DEBUG|$5|SLEEP|$4|0.01|") && slow.contains("|me|"),
        "{slow}"
    );
    assert!(
        slow.contains("(redacted)") && !slow.contains("secret"),
        "{slow}"
    );
    assert_eq!(client.call("SLOWLOG RESET"), "+OK");
    assert_eq!(client.call("SLOWLOG LEN"), ":0");
    let latest = client.call("LATENCY LATEST");
    assert!(latest.starts_with("*1|*4|$7|command|:"), "{latest}");
    assert_eq!(client.call("LATENCY RESET"), ":1");
}

#[test]
fn every_command_is_slow_at_a_threshold_of_zero() {
    let node = Node::start(&[]);
    let mut client = node.client();
    client.call("CONFIG SET slowlog-log-slower-than 0");
    client.send(
        "GET a\nGET b\nSTRLEN c\nKEYS *\nSET d 1\nGET d\nCONFIG SET slowlog-log-slower-than -1",
    );
    (0..7).for_each(|_| drop(client.read()));
    let slow = client.call("SLOWLOG GET -1");
    for request in [
        "GET|$1|a",
        "GET|$1|b",
        "STRLEN|$1|c",
        "KEYS|$1|*",
        "SET|$1|d|$1|1",
    ] {
        assert!(slow.contains(request), "{request} in {slow}");
    }
    let address = client.call("CLIENT INFO");
    let address = address
        .split(' ')
        .find_map(|field| field.strip_prefix("addr="))
        .unwrap();
    assert_eq!(
        slow.matches(address).count(),
        client.call("SLOWLOG LEN")[1..].parse().unwrap()
    );
}

#[test]
fn a_save_is_seen_by_those_who_ask() {
    let node = Node::start(&[]);
    let mut client = node.client();
    client.call("SET k v");
    assert_eq!(
        client.info("persistence", "rdb_changes_since_last_save"),
        "1"
    );
    assert_eq!(client.call("SAVE"), "+OK");
    assert_eq!(
        client.info("persistence", "rdb_changes_since_last_save"),
        "0"
    );
    assert_eq!(client.info("persistence", "rdb_saves"), "1");
    let last = client.call("LASTSAVE");
    assert_eq!(client.info("persistence", "rdb_last_save_time"), last[1..]);
    assert_eq!(client.call("BGSAVE later"), "-ERR syntax error");
    assert!(
        client
            .call("BGREWRITEAOF")
            .starts_with("+Background append only file rewriting")
    );
    while client.info("persistence", "rdb_bgsave_in_progress") == "1" {
        thread::yield_now();
    }
    assert_eq!(client.call("BGSAVE"), "+Background saving started");
}

#[test]
fn data_loads_back_from_disk_as_it_was() {
    let node = Node::start(DEBUG);
    let mut client = node.client();
    assert_eq!(client.call("DEBUG POPULATE 2500 p 20"), "+OK");
    assert_eq!(client.call("DBSIZE"), ":2500");
    client.send(
        "SET p:1 other EX 1000\nSELECT 5\nAPPEND raw abc\nSETBIT raw 100 1\nINCR n\nSELECT 0",
    );
    (0..6).for_each(|_| drop(client.read()));
    let digest = client.call("DEBUG DIGEST");
    assert_eq!(client.call("DEBUG RELOAD"), "+OK");
    assert_eq!(client.call("DEBUG DIGEST"), digest);
    client.call("INCR later");
    let later = client.call("DEBUG DIGEST");
    assert_ne!(later, digest);
    assert_eq!(client.call("DEBUG LOADAOF"), "+OK");
    assert_eq!(client.call("DEBUG RELOAD NOSAVE"), "+OK");
    assert_eq!(client.call("DEBUG DIGEST"), later);
    // What was populated is not written over.
    assert_eq!(client.call("DEBUG POPULATE 3 p"), "+OK");
    assert_eq!(client.call("DEBUG DIGEST"), later);
    assert_eq!(client.call("GET p:1"), "$5|other");
}

#[test]
fn watched_keys_survive_a_reload() {
    let node = Node::start(DEBUG);
    let mut client = node.client();
    client.send("SET k v\nWATCH k none\nDEBUG RELOAD\nMULTI\nGET k\nEXEC");
    (0..5).for_each(|_| drop(client.read()));
    assert_eq!(client.read(), "*1|$1|v");
}

#[test]
fn debug_is_refused_unless_allowed() {
    let node = Node::start(&[]);
    let refused = node.client().call("DEBUG SLEEP 0");
    assert!(
        refused.starts_with("-ERR DEBUG command not allowed. If the"),
        "{refused}"
    );
    let local = Node::start(&["--enable-debug-command", "local"]);
    assert_eq!(local.client().call("DEBUG SLEEP 0"), "+OK");
}

#[test]
fn a_sleeping_client_holds_up_nobody_else() {
    let node = Node::start(&["--enable-debug-command", "yes", "--threads", "1"]);
    let (mut sleeper, mut other) = (node.client(), node.client());
    sleeper.send("DEBUG SLEEP 3600");
    while other.info("clients", "blocked_clients") == "0" {
        thread::yield_now();
    }
    assert_eq!(other.call("SET k v"), "+OK");
}

#[test]
fn shutdown_closes_without_a_reply_and_loses_nothing() {
    for order in ["SHUTDOWN", "SHUTDOWN NOSAVE", "SHUTDOWN SAVE NOW FORCE"] {
        let mut node = Node::start(&[]);
        let (mut client, mut idle) = (node.client(), node.client());
        idle.call("PING");
        client.send(&format!("SET k v\n{order}\nPING"));
        assert_eq!(client.read_to_end(), "+OK\r\n", "{order}");
        assert_eq!(idle.read_to_end(), "", "{order}");
        assert!(node.wait().success(), "{order}");
        let node = node.restart(&[]);
        assert_eq!(node.client().call("GET k"), "$1|v", "{order}");
    }
}

#[test]
fn a_crash_on_order_is_a_crash_and_loses_nothing() {
    let mut node = Node::start(DEBUG);
    let mut client = node.client();
    assert_eq!(client.call("SET k v"), "+OK");
    client.send("DEBUG SEGFAULT");
    client.read_to_end();
    assert!(!node.wait().success());
    assert_eq!(node.restart(&[]).client().call("GET k"), "$1|v");
}

#[test]
fn help_and_documentation_are_there() {
    let node = Node::start(DEBUG);
    let mut client = node.client();
    for container in [
        "CLIENT", "CONFIG", "COMMAND", "MEMORY", "SLOWLOG", "LATENCY", "DEBUG",
    ] {
        let help = client.call(&format!("{container} HELP"));
        assert!(
            help.contains(&format!("+{container} <subcommand>")),
            "{help}"
        );
        assert!(help.ends_with("+HELP|+    Print this help."), "{help}");
    }
    assert!(client.call("COMMAND DOCS get").contains("|summary|"));
    assert_eq!(client.call("COMMAND GETKEYS MSET a 1 b 2"), "*2|$1|a|$1|b");
    assert!(client.call("LOLWUT").contains("Redis ver. "));
    assert!(client.call("ROLE").starts_with("*3|$6|master|:"));
    assert_eq!(client.call("SCRIPT FLUSH"), "+OK");
    assert_eq!(client.call("FUNCTION FLUSH SYNC"), "+OK");
    let unknown = client.call("SCRIPT NOSUCH x");
    assert_eq!(
        unknown,
        "-ERR unknown subcommand 'NOSUCH'. Try SCRIPT HELP."
    );
}
