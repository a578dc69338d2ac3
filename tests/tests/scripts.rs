//! Lua scripts and functions: the replies that Redis gives, in both protocols, and what is
//! Bailiwick's own in clusters: all replicas do the same, and no script is done by half.

#![allow(
    clippy::unwrap_used,
    reason = "a test that fails by panicking fails as it should"
)]

use bailiwick_frame::Protocol;
use bailiwick_tests::client::{Client, Value};
use bailiwick_tests::cluster::{Cluster, Options};
use bailiwick_tests::regions::{Layout, World};
use bailiwick_tests::server::{Launch, Server};

/// Scripts that get the same replies from both servers, byte for byte.
const SCRIPTS: &str = include_str!("scripts.lua");

/// The same for libraries: each is loaded, and its functions `f1` to `f3` are called.
const LIBRARIES: &[&str] = &[
    "foo",
    "#!lua name=a",
    "#!lua nam=b\nx",
    "#!lua\nx",
    "#!py name=b\nx",
    "#!lua name=b-\nx",
    "#!lua name=b name=c\nx",
    "#!lua name=a\nredis.register_function('f1', function(k, a) return {k, a} end)",
    "#!lua name=b\nredis.register_function('f1', function(k, a) return {k, a} end)",
    "#!lua name=b\nredis.register_function('f2', function() error('boo') end)
redis.register_function{function_name='f3', callback=function(keys, args)
  redis.setresp(3)
  return redis.call('set', keys[1], args[1])
end, description='sets'}",
    "#!lua name=c\nredis.register_function{function_name='f3', callback=function() x = 1 end}",
    "#!lua name=d\nredis.register_function('f4', function() return redis.register_function end)",
    "#!lua name=e\nredis.call('get','x')",
    "#!lua name=e\nerror('x')",
    "#!lua name=e\nlocal x = =",
    "#!lua name=e\nredis.register_function('f-', function() end)",
    "#!lua name=e\nredis.register_function('g1')",
    "#!lua name=e\nredis.register_function('g1', 'x')",
    "#!lua name=e\nredis.register_function{function_name='g1', callback=function() end, flags={'foo'}}",
    "#!lua name=e\nredis.register_function{function_name='g1'}",
    "#!lua name=e\nredis.register_function{callback=function() end}",
    "#!lua name=e\nredis.register_function{function_name='g1', callback=function() end, flags=1}",
    "#!lua name=e\nredis.register_function('g1', function() end) redis.register_function('g1', function() end)",
    "#!lua name=e\nx = 1",
    "#!lua name=e\n",
    "#!lua name=f\nredis.register_function{function_name='g1', callback=function() return redis.call('set', 'x', 1) end, flags={'no-writes'}}",
];

/// Requests about scripts that are no scripts.
const REQUESTS: &[&[&str]] = &[
    &["EVAL", "return 1", "-1"],
    &["EVAL", "return 1", "1"],
    &["EVAL", "return 1", "a"],
    &["EVAL", "return 1"],
    &["EVALSHA", "abc", "0"],
    &["EVALSHA", "e0e1f9fabfc9d4800c877a703b823ac0578ff8db", "0"],
    &["SCRIPT", "LOAD", "return 1"],
    &["EVALSHA", "E0E1F9FABFC9D4800C877A703B823AC0578FF8DB", "0"],
    &[
        "EVALSHA_RO",
        "e0e1f9fabfc9d4800c877a703b823ac0578ff8db",
        "0",
    ],
    &[
        "SCRIPT",
        "EXISTS",
        "e0e1f9fabfc9d4800c877a703b823ac0578ff8db",
        "x",
    ],
    &["SCRIPT", "LOAD", "return ="],
    &["SCRIPT", "FLUSH", "XX"],
    &["SCRIPT", "FLUSH", "ASYNC", "X"],
    &["SCRIPT", "FLUSH", "SYNC"],
    &[
        "SCRIPT",
        "EXISTS",
        "e0e1f9fabfc9d4800c877a703b823ac0578ff8db",
    ],
    &["SCRIPT", "KILL"],
    &["FUNCTION", "KILL"],
    &["SCRIPT", "NONE"],
    &["EVAL_RO", "return redis.call('set','a',1)", "0"],
    &[
        "EVAL",
        "#!lua flags=no-writes\nreturn redis.call('set','a',1)",
        "0",
    ],
    &["EVAL", "#!lua flags=foo\nreturn 1", "0"],
    &["EVAL", "#!lua name=foo\nreturn 1", "0"],
    &["EVAL", "#!python\nreturn 1", "0"],
    &["EVAL", "#!lua\nerror('x')", "0"],
    &["EVAL", "#!lua", "0"],
    &["FCALL", "nosuch", "0"],
    &["FUNCTION", "DELETE", "zz"],
    &["FUNCTION", "FLUSH", "ZZ"],
    &["FUNCTION", "RESTORE", "foo"],
    &["FUNCTION", "RESTORE", "foo", "BAR"],
    &["FUNCTION", "LIST", "WITHCODE", "LIBRARYNAME"],
    &["FUNCTION", "LIST", "x"],
    &["FUNCTION", "STATS"],
];

struct Pair {
    ours: Client,
    theirs: Client,
    _servers: [Server; 2],
}

impl Pair {
    fn start(protocol: Protocol) -> Self {
        let ours = Launch::bailiwick().unwrap();
        let ours = ours.args(["--fsync", "never", "--threads", "1"]);
        let servers = [
            ours.start().unwrap(),
            Launch::redis().unwrap().start().unwrap(),
        ];
        let [ours, theirs] = servers.each_ref().map(|server| {
            let mut client = server.connect().unwrap();
            client.hello(protocol).unwrap();
            client
        });
        Self {
            ours,
            theirs,
            _servers: servers,
        }
    }

    /// The differences that a request makes.
    fn compare(&mut self, words: &[&str], differences: &mut Vec<String>) {
        let raw = |client: &mut Client| {
            let bytes = bailiwick_tests::client::request(words);
            client.send(&bytes).unwrap();
            client.read_raw().unwrap().escape_ascii().to_string()
        };
        let (ours, theirs) = (raw(&mut self.ours), raw(&mut self.theirs));
        if ours != theirs {
            differences.push(format!(
                "{words:?}\n  Redis:     {theirs}\n  Bailiwick: {ours}"
            ));
        }
    }
}

fn compare_all(protocol: Protocol) {
    let mut pair = Pair::start(protocol);
    let mut differences = Vec::new();
    for script in SCRIPTS.split("\n\n").map(str::trim) {
        if script.is_empty() || script.starts_with("-- #") {
            continue;
        }
        pair.compare(&["FLUSHALL"], &mut differences);
        let words = ["EVAL", script, "2", "k1", "k2", "a1", "17"];
        pair.compare(&words, &mut differences);
        pair.compare(&["DEBUG", "DIGEST"], &mut Vec::new());
    }
    for request in REQUESTS {
        pair.compare(request, &mut differences);
    }
    for library in LIBRARIES {
        pair.compare(&["FUNCTION", "LOAD", library], &mut differences);
        for function in ["f1", "f2", "f3", "f4", "g1"] {
            pair.compare(&["FCALL", function, "1", "k", "x"], &mut differences);
            pair.compare(&["FCALL_RO", function, "1", "k", "x"], &mut differences);
        }
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

#[test]
fn scripts_get_the_replies_that_redis_gives_in_resp2() {
    compare_all(Protocol::Resp2);
}

#[test]
fn scripts_get_the_replies_that_redis_gives_in_resp3() {
    compare_all(Protocol::Resp3);
}

#[test]
fn functions_move_from_redis_and_back() {
    let mut pair = Pair::start(Protocol::Resp2);
    let padding = "-- this is a long comment, so that Redis packs it\n".repeat(20);
    let library = format!(
        "#!lua name=moved\n{padding}redis.register_function('f', function(k, a) return a[1] .. 'x' end)"
    );
    pair.theirs.call(["FUNCTION", "LOAD", &library]).unwrap();
    let Value::Bytes(dump) = pair.theirs.run("FUNCTION DUMP").unwrap() else {
        panic!("a dump")
    };
    let words = [&b"FUNCTION"[..], b"RESTORE", &dump];
    assert_eq!(pair.ours.call(words).unwrap(), Value::ok());
    assert_eq!(pair.ours.run("FCALL f 0 1").unwrap(), Value::bytes("1x"));
    let Value::Bytes(dump) = pair.ours.run("FUNCTION DUMP").unwrap() else {
        panic!("a dump")
    };
    pair.theirs.run("FUNCTION FLUSH").unwrap();
    let words = [&b"FUNCTION"[..], b"RESTORE", &dump];
    assert_eq!(pair.theirs.call(words).unwrap(), Value::ok());
    assert_eq!(pair.theirs.run("FCALL f 0 2").unwrap(), Value::bytes("2x"));
}

#[test]
fn scripts_and_functions_survive_a_restart() {
    let directory = bailiwick_tests::server::directory().unwrap();
    let launch = Launch::bailiwick_in(&directory);
    let mut server = launch.start().unwrap();
    let mut client = server.connect().unwrap();
    let sha = client
        .call(["SCRIPT", "LOAD", "return 'kept'"])
        .unwrap()
        .text();
    client.call(["EVAL", "return 'used'", "0"]).unwrap();
    // Part of this is in the checkpoint, and part behind it in the log.
    assert_eq!(client.run("SAVE").unwrap(), Value::ok());
    let library = "#!lua name=a\nredis.register_function('f', function() return 'called' end)";
    client.call(["FUNCTION", "LOAD", library]).unwrap();
    server.kill().unwrap();
    let server = launch.start().unwrap();
    let mut client = server.connect().unwrap();
    let kept = client.call(["EVALSHA", &sha, "0"]).unwrap();
    assert_eq!(kept, Value::bytes("kept"));
    assert_eq!(client.run("FCALL f 0").unwrap(), Value::bytes("called"));
}

/// Draws, walks over tables, time: what could differ between replicas.
const VARIED: &str = "
local seed = tonumber(ARGV[1])
for i = 1, 20 do
  local key = 'k' .. math.random(40)
  local kind = math.random(5)
  if kind == 1 then redis.pcall('set', key, math.random()) end
  if kind == 2 then redis.pcall('sadd', key, math.random(100), tostring({}), seed) end
  if kind == 3 then redis.pcall('zadd', key, math.random(), 'm' .. math.random(30)) end
  if kind == 4 then redis.pcall('hset', key, cjson.encode({a=i, b={i, seed}, c=redis.call('time')}), i) end
  if kind == 5 then redis.pcall('del', redis.call('randomkey') or 'none') end
end
local drawn = redis.pcall('spop', 'k' .. math.random(40))
local all = {}
for key in pairs({a=1, b=2, [1]=3, [2.5]=4, [true]=5, c=drawn}) do all[#all + 1] = tostring(key) end
redis.call('rpush', 'order', table.concat(all), table.concat(redis.call('keys', '*'), ','))
if seed % 7 == 0 then error('ended') end
return redis.call('scan', 0, 'count', 5)";

#[test]
fn all_replicas_do_the_same_whatever_scripts_draw() {
    let cluster = Cluster::start(&Options::direct(3)).unwrap();
    let nodes: Vec<u32> = cluster.nodes().collect();
    for round in 0..300 {
        let node = nodes[round % nodes.len()];
        let mut client = cluster.connect(node).unwrap();
        client
            .call(["EVAL", VARIED, "0", &round.to_string()])
            .unwrap();
    }
    cluster.wait_for_agreement().unwrap();
}

#[test]
fn a_group_survives_a_script_without_end() {
    let cluster = Cluster::start(&Options::direct(3)).unwrap();
    let leader = cluster.wait_for_leader().unwrap();
    let mut client = cluster.connect(leader).unwrap();
    assert_eq!(client.run("SET a 1").unwrap(), Value::ok());
    // Large replies are counted as steps, so that the test does not take as long as an empty loop.
    let script = "redis.call('set', 'a', string.rep('x', 1000000))
        while true do redis.call('get', 'a') end";
    let reply = client.call(["EVAL", script, "1", "a"]).unwrap();
    let Value::Error(text) = reply else {
        panic!("{reply:?}")
    };
    let is_end = text.starts_with("ERR the script was ended") || text.starts_with("UNCERTAIN");
    assert!(is_end, "{text}");
    for node in cluster.nodes() {
        let mut client = cluster.connect(node).unwrap();
        assert_eq!(client.run("GET a").unwrap(), Value::bytes("1"));
    }
    cluster.wait_for_agreement().unwrap();
}

#[test]
fn scripts_run_where_their_keys_are_or_not_at_all() {
    let world = World::start(&Layout::three(1)).unwrap();
    let mut client = world.connect("us").unwrap();
    let set = "return redis.call('set', KEYS[1], ARGV[1])";
    for prefix in ["eu:", "us:", "ap:", ""] {
        let key = format!("{prefix}a");
        let reply = client.call(["EVAL", set, "1", &key, prefix]).unwrap();
        assert_eq!(reply, Value::ok());
        assert_eq!(client.call(["GET", &key]).unwrap(), Value::bytes(prefix));
        // Not declared, and found all the same.
        let script = format!("return redis.call('get', '{key}')");
        let reply = client.call(["EVAL", &script, "0"]).unwrap();
        assert_eq!(reply, Value::bytes(prefix));
    }
    let mixed = "redis.call('set', KEYS[1], 'x') return redis.call('get', 'eu:a')";
    let refused = client.call(["EVAL", mixed, "1", "us:a"]).unwrap();
    assert!(
        matches!(&refused, Value::Error(text) if text.starts_with("CROSSSLOT")),
        "{refused:?}"
    );
    assert_eq!(client.run("GET us:a").unwrap(), Value::bytes("us:"));

    // A script that was loaded anywhere is known everywhere.
    let sha = client.call(["SCRIPT", "LOAD", set]).unwrap().text();
    for region in ["eu", "us", "ap"] {
        let mut client = world.connect(region).unwrap();
        let known = client.call(["SCRIPT", "EXISTS", &sha]).unwrap();
        assert_eq!(known, Value::List(vec![Value::Integer(1)]));
        for prefix in ["eu:", "us:", "ap:", ""] {
            let words = ["EVALSHA", &sha, "1", &format!("{prefix}b"), "1"];
            assert_eq!(client.call(words).unwrap(), Value::ok());
        }
    }
    let library = "#!lua name=a\nredis.register_function('f', function(keys) return redis.call('incr', keys[1]) end)";
    client.call(["FUNCTION", "LOAD", library]).unwrap();
    for prefix in ["eu:", "us:", "ap:", ""] {
        let mut client = world.connect("ap").unwrap();
        let words = ["FCALL", "f", "1", &format!("{prefix}b")];
        assert_eq!(client.call(words).unwrap(), Value::Integer(2));
    }
    assert_eq!(client.run("SCRIPT FLUSH").unwrap(), Value::ok());
    let known = client.call(["SCRIPT", "EXISTS", &sha]).unwrap();
    assert_eq!(known, Value::List(vec![Value::Integer(0)]));
}
