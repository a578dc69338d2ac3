//! Scripts on a keyspace without node and log. What Redis replies is compared in the differential
//! tests; here stands what is Bailiwick's own.

use bailiwick_frame::{Args, Encoder, Protocol};

use crate::commands::testing::{Fixture, check, execute, run, show};
use crate::commands::{CommandError, Handler, WriteContext, lookup_logged};
use crate::keyspace::AccessClock;
use crate::routing::spread::Words;

/// Runs a command of these words, and gives the error or the reply.
pub(super) fn call(fixture: &mut Fixture, words: &[&str]) -> Result<String, CommandError> {
    let words = Words::of(words.iter().map(|word| word.as_bytes()));
    let args: Args<'_> = words.args();
    let mut reply = Vec::new();
    let mut out = Encoder::new(&mut reply, fixture.protocol);
    // Each command has the same random numbers, so that what two of them do can be compared.
    let random = fixture.random;
    let outcome = execute(fixture, &*lookup_logged(args)?, args, &mut out);
    fixture.random = random;
    fixture.keyspace.check_invariants();
    outcome.map(|()| show(&reply))
}

pub(super) fn eval(fixture: &mut Fixture, script: &str) -> String {
    call(fixture, &["EVAL", script, "0"]).unwrap_or_else(|error| format!("-{error}"))
}

pub(super) fn eval_new(script: &str) -> String {
    eval(&mut Fixture::default(), script)
}

#[test]
fn a_script_sees_its_keys_and_what_it_has_done() {
    let mut fixture = Fixture::default();
    let script =
        "redis.call('set', KEYS[1], ARGV[1]) return {redis.call('get', KEYS[1]), #KEYS, #ARGV}";
    let reply = call(&mut fixture, &["EVAL", script, "1", "a", "7", "8"]);
    assert_eq!(reply, Ok("[\"7\" 1 2]".to_owned()));
    check(&mut fixture, &[("GET a", "\"7\"")]);
}

#[test]
fn values_have_the_forms_of_both_protocols() {
    for (script, second, third) in [
        ("return true", "1", "1"),
        ("return false", "nil", "nil"),
        (
            "return {1, 2.9, -2.9, 'a', nil, 5}",
            "[1 2 -2 \"a\"]",
            "[1 2 -2 \"a\"]",
        ),
        ("return {ok='a\\nb'}", "+a b", "+a b"),
        ("return {err='E x'}", "-E x", "-E x"),
        ("return {double=3.5}", "\"3.5\"", ",3.5"),
        ("return {map={a=1}}", "[\"a\" 1]", "{\"a\" 1}"),
        ("return {set={a=true}}", "[\"a\"]", "~[\"a\"]"),
        ("return {big_number='123'}", "\"123\"", "(123"),
        ("redis.setresp(3) return true", "1", "#t"),
        (
            "redis.setresp(3) return redis.call('get', 'none')",
            "nil",
            "nil",
        ),
        (
            "redis.setresp(3) redis.call('hset','h','f','v') return redis.call('hgetall','h').map.f",
            "\"v\"",
            "\"v\"",
        ),
        (
            "redis.setresp(3) redis.call('zadd','z','1.5','m') return redis.call('zscore','z','m')",
            "\"1.5\"",
            ",1.5",
        ),
        (
            "redis.call('hset','h','f','v') return redis.call('hgetall','h')",
            "[\"f\" \"v\"]",
            "[\"f\" \"v\"]",
        ),
    ] {
        for (protocol, expected) in [(Protocol::Resp2, second), (Protocol::Resp3, third)] {
            let mut fixture = Fixture {
                protocol,
                ..Fixture::default()
            };
            assert_eq!(
                eval(&mut fixture, script),
                expected,
                "{script} {protocol:?}"
            );
        }
    }
}

#[test]
fn errors_say_where_they_happened() {
    for (script, expected) in [
        (
            "return redis.call('nosuch')",
            "-ERR Unknown Redis command called from script script: ",
        ),
        ("error('boom')", "-ERR user_script:1: boom script: "),
        ("error({err='E1 boom'})", "-E1 boom script: "),
        (
            "return x",
            "-ERR user_script:1: Script attempted to access nonexistent global variable 'x' script: ",
        ),
        (
            "x = 10",
            "-ERR user_script:1: Attempt to modify a readonly table script: ",
        ),
        (
            "redis.x = 10",
            "-ERR user_script:1: Attempt to modify a readonly table script: ",
        ),
        (
            "return cjson.decode('[1,]')",
            "-ERR user_script:1: Expected value but found T_ARR_END at character 4 script: ",
        ),
        (
            "return string.rep()",
            "-ERR user_script:1: bad argument #1 to 'rep' (string expected, got no value) script: ",
        ),
    ] {
        let reply = eval_new(script);
        assert!(reply.starts_with(expected), "{script}: {reply}");
        assert!(reply.ends_with(", on @user_script:1."), "{script}: {reply}");
    }
    let reply = eval_new("local x = = 1");
    assert_eq!(
        reply,
        "-ERR Error compiling script (new function): user_script:1: unexpected symbol near '='"
    );
}

#[test]
fn an_error_leaves_what_was_written_before() {
    let mut fixture = Fixture::default();
    let reply = eval(&mut fixture, "redis.call('set','a',1) error('x')");
    assert!(reply.starts_with("-ERR"), "{reply}");
    check(&mut fixture, &[("GET a", "\"1\"")]);
}

#[test]
fn a_caught_error_is_a_text_or_a_table() {
    assert_eq!(
        eval_new("local r = redis.pcall('incr', 'a', 'b') return r.err"),
        "\"ERR Wrong number of args calling Redis command from script\""
    );
    assert_eq!(
        eval_new("local ok, e = pcall(redis.call, 'nosuch') return {tostring(ok), e}"),
        "[\"false\" \"ERR Unknown Redis command called from script\"]"
    );
}

#[test]
fn a_key_that_strays_undoes_the_script_and_is_named() {
    let mut fixture = Fixture::default();
    check(&mut fixture, &[("SET a 1", "+OK"), ("RPUSH l x y", "2")]);
    // The group hands `eu:` out.
    for line in ["_DELEGATE eu: 1", "_FREEZE eu: 2", "_DEPART eu: 2 1"] {
        let reply = run(&mut fixture, line);
        assert!(!reply.starts_with('-'), "{line}: {reply}");
    }
    let script = "redis.call('set', 'us:a', 2) redis.call('rpush', 'us:l', 'z')
        pcall(redis.call, 'get', 'eu:x') return 'not reached'";
    let stray = call(&mut fixture, &["EVAL", script, "0"]);
    // It has used a key of this group, so no other group can run it either.
    assert!(stray.unwrap_err().to_string().starts_with("CROSSSLOT"));
    let stray = call(
        &mut fixture,
        &["EVAL", "return redis.call('get', 'eu:x')", "0"],
    );
    assert!(matches!(stray, Err(CommandError::Stray(_))), "{stray:?}");
    assert_eq!(
        fixture.scripts.len(),
        1,
        "what has strayed is not known here"
    );
    check(
        &mut fixture,
        &[
            ("GET us:a", "nil"),
            ("EXISTS us:l", "0"),
            ("LRANGE l 0 -1", "[\"x\" \"y\"]"),
        ],
    );
}

#[test]
fn a_script_without_end_is_ended_and_undone() {
    let mut fixture = Fixture::default();
    // Large replies count, so this does not take as long as an empty loop.
    let script = "redis.call('set', 'a', string.rep('x', 1000000))
        while true do pcall(redis.call, 'get', 'a') end";
    let reply = eval(&mut fixture, script);
    assert!(
        reply.starts_with("-ERR the script was ended after"),
        "{reply}"
    );
    check(&mut fixture, &[("EXISTS a", "0")]);
    assert_eq!(eval(&mut fixture, "return 1"), "1");
}

#[test]
fn a_script_with_too_much_memory_is_ended_and_undone() {
    let mut fixture = Fixture::default();
    let script = "redis.call('set', 'a', 1) local t = {}
        for i = 1, 1e9 do
          pcall(function() t[i] = string.rep('x', 1e6) .. i end)
        end";
    let reply = eval(&mut fixture, script);
    assert!(reply.starts_with("-ERR not enough memory"), "{reply}");
    check(&mut fixture, &[("EXISTS a", "0")]);
}

#[test]
fn a_script_that_needs_more_than_a_little_memory_gets_it() {
    let mut fixture = Fixture::default();
    let script = "redis.call('incr', 'a') local t = {}
        for i = 1, 60 do t[i] = string.rep('x', 1e6) .. i end return #t";
    assert_eq!(eval(&mut fixture, script), "60");
    check(&mut fixture, &[("GET a", "\"1\"")]);
}

#[test]
fn nothing_of_a_script_is_left_for_the_next_one() {
    let leave = [
        "cjson.encode_max_depth(1)",
        "table.insert(redis, 5)",
        "math.randomseed(1)",
        "return tostring({})",
        "redis.setresp(3)",
        "redis.call('select', 3)",
        "getmetatable('').__index = nil",
        "string.dump = 5",
        "rawset(_G, 'x', 1)",
    ];
    let look = "local all = {} for k in pairs(_G) do all[#all + 1] = k end
        return {cjson.encode({{{}}}), tostring(redis[1]), tostring(math.random()), tostring({}),
        tostring(all), table.concat(all, ','), ('x'):rep(2), tostring(redis.call)}";
    let mut fixture = Fixture::default();
    let expected = eval(&mut fixture, look);
    assert!(expected.starts_with('['), "{expected}");
    for script in leave {
        eval(&mut fixture, script);
        assert_eq!(eval(&mut fixture, look), expected, "{script}");
    }
}

#[test]
fn a_table_ordered_by_addresses_is_refused() {
    for script in [
        "local t = {[{}]=1} for k in pairs(t) do end",
        "return next({[print or redis.call]=1})",
        "return next({a=1, [function() end]=1})",
    ] {
        let reply = eval_new(script.replace("print or ", "").as_str());
        assert!(reply.contains("no order that replicas agree on"), "{reply}");
    }
    assert_eq!(
        eval_new(
            "local n = 0 for k in pairs({1, a=2, [true]=3, [1.5]=4}) do n = n + 1 end return n"
        ),
        "4"
    );
}

#[test]
fn time_and_chance_are_those_of_the_entry() {
    let mut fixture = Fixture::default();
    let time = eval(&mut fixture, "return redis.call('time')");
    assert_eq!(time, "[\"1700000000\" \"123000\"]");
    let draw = "redis.call('sadd', 's', 1, 2, 3, 4, 5, 6, 7, 8, 9)
        return {math.random(1e6), redis.call('srandmember', 's', 3), redis.call('spop', 's')}";
    let drawn = eval_new(draw);
    assert_eq!(eval_new(draw), drawn);
    fixture.random = 8;
    assert_ne!(eval(&mut fixture, draw), drawn);
}

#[test]
fn listings_in_scripts_have_an_order() {
    let mut fixture = Fixture::default();
    let script = "for i = 1, 300 do redis.call('set', 'k' .. i, i) end
        local seen, cursor, steps = {}, '0', 0
        repeat
          local page = redis.call('scan', cursor, 'count', 7)
          cursor = page[1]
          steps = steps + 1
          for _, key in ipairs(page[2]) do seen[#seen + 1] = key end
        until cursor == '0'
        local keys = redis.call('keys', 'k*')
        return {#seen, steps > 30, table.concat(seen) == table.concat(keys), redis.call('randomkey') ~= false}";
    assert_eq!(eval(&mut fixture, script), "[300 1 1 1]");
}

#[test]
fn what_only_reads_does_not_write() {
    let mut fixture = Fixture::default();
    let read_only = "-ERR Write commands are not allowed from read-only scripts.";
    let reply = call(
        &mut fixture,
        &["EVAL_RO", "return redis.call('set','a',1)", "0"],
    );
    assert!(format!("-{}", reply.unwrap_err()).starts_with(read_only));
    let reply = eval(
        &mut fixture,
        "#!lua flags=no-writes\nreturn redis.call('set','a',1)",
    );
    assert!(reply.starts_with(read_only), "{reply}");
    let reply = call(
        &mut fixture,
        &["EVAL_RO", "return redis.call('get', KEYS[1])", "1", "a"],
    );
    assert_eq!(reply, Ok("nil".to_owned()));
}

#[test]
fn a_script_is_known_by_its_sha() {
    let mut fixture = Fixture::default();
    let sha = "e0e1f9fabfc9d4800c877a703b823ac0578ff8db";
    check(
        &mut fixture,
        &[
            (
                &format!("EVALSHA {sha} 0"),
                "-NOSCRIPT No matching script. Please use EVAL.",
            ),
            (&format!("SCRIPT EXISTS {sha} x"), "[0 0]"),
            ("SCRIPT LOAD \"return 1\"", &format!("\"{sha}\"")),
            (&format!("EVALSHA {} 0", sha.to_uppercase()), "1"),
            (&format!("EVALSHA_RO {sha} 0"), "1"),
            (&format!("SCRIPT EXISTS {sha} x"), "[1 0]"),
            (
                "SCRIPT FLUSH now",
                "-ERR SCRIPT FLUSH only support SYNC|ASYNC option",
            ),
            ("SCRIPT FLUSH", "+OK"),
            (&format!("SCRIPT EXISTS {sha}"), "[0]"),
        ],
    );
    assert_eq!(run(&mut fixture, "EVAL \"return 1\" 0"), "1");
    assert_eq!(run(&mut fixture, &format!("SCRIPT EXISTS {sha}")), "[1]");
}

const LIBRARY: &str = "#!lua name=a
local calls = 0
redis.register_function('f', function(keys, args) calls = calls + 1 return {calls, keys, args} end)
redis.register_function{function_name='g', callback=function(keys) return redis.call('get', keys[1]) end,
  flags={'no-writes'}, description='reads'}";

#[test]
fn a_library_is_loaded_anew_for_each_call() {
    let mut fixture = Fixture::default();
    assert_eq!(
        call(&mut fixture, &["FUNCTION", "LOAD", LIBRARY]),
        Ok("\"a\"".to_owned())
    );
    for _ in 0..2 {
        let reply = call(&mut fixture, &["FCALL", "f", "1", "k", "x"]);
        assert_eq!(reply, Ok("[1 [\"k\"] [\"x\"]]".to_owned()));
    }
    run(&mut fixture, "SET k v");
    let reply = call(&mut fixture, &["FCALL_RO", "g", "1", "k"]);
    assert_eq!(reply, Ok("\"v\"".to_owned()));
    let reply = call(&mut fixture, &["FCALL_RO", "f", "0"]).unwrap_err();
    assert!(
        reply
            .to_string()
            .starts_with("ERR Can not execute a script with write flag")
    );
}

#[test]
fn libraries_are_replaced_restored_and_removed() {
    let mut fixture = Fixture::default();
    call(&mut fixture, &["FUNCTION", "LOAD", LIBRARY]).expect("a library");
    let again = call(&mut fixture, &["FUNCTION", "LOAD", LIBRARY]).unwrap_err();
    assert_eq!(again.to_string(), "ERR Library 'a' already exists");
    let other = LIBRARY.replace("name=a", "name=b");
    let taken = call(&mut fixture, &["FUNCTION", "LOAD", &other]).unwrap_err();
    assert_eq!(taken.to_string(), "ERR Function f already exists");
    let replaced = call(&mut fixture, &["FUNCTION", "LOAD", "REPLACE", LIBRARY]);
    assert_eq!(replaced, Ok("\"a\"".to_owned()));
    let payload = super::payload::write([LIBRARY.as_bytes()].into_iter());
    let restore = |fixture: &mut Fixture, policy: &str| {
        let words = [&b"FUNCTION"[..], b"RESTORE", &payload, policy.as_bytes()];
        let words = Words::of(words);
        let clock = AccessClock::default();
        let mut context = WriteContext {
            keyspace: &mut fixture.keyspace,
            authority: &mut fixture.authority,
            scripts: &mut fixture.scripts,
            database: 0,
            now_ms: 0,
            random: 0,
            clock: &clock,
            counters: &fixture.counters,
            waiters: &mut fixture.waiters,
            may_wait: false,
            is_proxied: false,
            lacks_memory: false,
        };
        let mut reply = Vec::new();
        let command = lookup_logged(words.args()).expect("a command");
        let Handler::Write(handler) = command.handler else {
            panic!("a write")
        };
        let outcome = handler(
            &mut context,
            words.args(),
            &mut Encoder::new(&mut reply, Protocol::Resp2),
        );
        outcome.map_err(|error| error.to_string())
    };
    assert_eq!(
        restore(&mut fixture, "APPEND"),
        Err("ERR Library a already exists".to_owned())
    );
    assert_eq!(restore(&mut fixture, "REPLACE"), Ok(()));
    assert_eq!(restore(&mut fixture, "FLUSH"), Ok(()));
    check(
        &mut fixture,
        &[
            (
                "FUNCTION STATS",
                "[\"running_script\" nil \"engines\" [\"LUA\" [\"libraries_count\" 1 \"functions_count\" 2]]]",
            ),
            ("FUNCTION DELETE a", "+OK"),
            ("FUNCTION DELETE a", "-ERR Library not found"),
            ("FCALL f 0", "-ERR Function not found"),
            ("FUNCTION LIST", "[]"),
        ],
    );
}

#[test]
fn keys_are_told_of_by_what_the_script_called() {
    let mut fixture = Fixture::default();
    fixture.counters.touches.switch_on();
    let names = |fixture: &Fixture| -> Vec<String> {
        let touches = fixture.counters.touches.take();
        let events = touches.iter().flat_map(crate::commands::events::of);
        let named = events.filter(|(_, name)| *name != "new");
        named.map(|(_, name)| name.to_owned()).collect()
    };
    eval(
        &mut fixture,
        "redis.call('set', 'a', 1) redis.call('lpush', 'l', 1) redis.call('del', 'a')",
    );
    assert_eq!(names(&fixture), ["set", "lpush", "del"]);
    let script = "redis.call('set', 'a', string.rep('x', 1000000))
        while true do redis.call('get', 'a') end";
    eval(&mut fixture, script);
    assert!(names(&fixture).is_empty(), "what was undone was told");
}

#[test]
fn what_would_block_does_not_in_a_script() {
    let mut fixture = Fixture::default();
    let refused = eval(&mut fixture, "return redis.call('blpop', 'none', 0)");
    assert!(refused.starts_with("-ERR This Redis command is not allowed"));
    let script = "return redis.call('xread', 'block', 0, 'streams', 'none', '$')";
    let reply = eval(&mut fixture, script);
    assert!(reply == "nil" || reply.starts_with("-ERR"), "{reply}");
    assert_eq!(eval(&mut fixture, "return 1"), "1");
}

#[test]
fn functions_are_found_whatever_the_case_of_their_names() {
    let mut fixture = Fixture::default();
    // A name may stand in quotation marks.
    let greet = "#!lua name=\"a\"\nredis.register_function('Greet', function() return 'hi' end)";
    let loaded = call(&mut fixture, &["FUNCTION", "LOAD", greet]);
    assert_eq!(loaded, Ok("\"a\"".to_owned()));
    for name in ["Greet", "gREET"] {
        let reply = call(&mut fixture, &["FCALL", name, "0"]);
        assert_eq!(reply, Ok("\"hi\"".to_owned()));
    }
    let other = "#!lua name=b\nredis.register_function('greet', function() return 1 end)";
    let refused = call(&mut fixture, &["FUNCTION", "LOAD", other]).unwrap_err();
    assert_eq!(refused.to_string(), "ERR Function greet already exists");
}

#[test]
fn too_many_arguments_for_a_subcommand_of_function_are_named_as_redis_does() {
    let hint = "wrong number of arguments for";
    check(
        &mut Fixture::default(),
        &[
            (
                "FUNCTION FLUSH SYNC twice",
                &format!("-ERR unknown subcommand or {hint} 'flush'. Try FUNCTION HELP."),
            ),
            (
                "FUNCTION RESTORE a b c",
                &format!("-ERR unknown subcommand or {hint} 'restore'. Try FUNCTION HELP."),
            ),
        ],
    );
}

#[test]
fn an_error_that_a_script_returns_is_an_error_of_the_command() {
    let mut fixture = Fixture::default();
    let script = "return redis.error_reply('MINE of my own')";
    let failed = call(&mut fixture, &["EVAL", script, "0"]).unwrap_err();
    assert_eq!(failed.to_string(), "MINE of my own");
    let replied = eval(&mut fixture, "return {1, redis.error_reply('MINE')}");
    assert_eq!(replied, "[1 -ERR MINE]");
}

#[test]
fn what_a_script_publishes_is_collected_unless_it_is_undone() {
    let mut fixture = Fixture::default();
    let published = |fixture: &Fixture| {
        let published = fixture.counters.published.take();
        let texts = published.iter().map(|message| {
            let is_sharded = message.is_sharded;
            let (channel, payload) = (&message.channel, &message.payload);
            format!(
                "{is_sharded} {} {}",
                channel.escape_ascii(),
                payload.escape_ascii()
            )
        });
        texts.collect::<Vec<_>>()
    };
    let script = "return {redis.call('publish', 'c', 'm'), redis.call('spublish', 's', '')}";
    assert_eq!(eval(&mut fixture, script), "[0 0]");
    assert_eq!(published(&fixture), ["false c m", "true s "]);
    // An error leaves what was done before, messages too.
    eval(&mut fixture, "redis.call('publish', 'c', 'm') error('no')");
    assert_eq!(published(&fixture), ["false c m"]);
    eval(
        &mut fixture,
        "redis.call('publish', 'c', 'm') while true do end",
    );
    assert!(
        published(&fixture).is_empty(),
        "what was undone was published"
    );
    let refused = call(
        &mut fixture,
        &["EVAL_RO", "redis.call('publish', 'c', 'm')", "0"],
    );
    let refused = refused.unwrap_err().to_string();
    assert!(refused.starts_with("ERR Write commands are not allowed from read-only scripts."));
}

#[test]
fn when_memory_is_short_flags_decide_and_then_commands() {
    let mut fixture = Fixture {
        lacks_memory: true,
        ..Fixture::default()
    };
    let refused = "OOM allow-oom flag is not set on the script, can not run it when used memory > \
                   'maxmemory'";
    let set = "return redis.call('set', 'k', 'v')";
    for (flags, expected) in [
        ("", Some(refused)),
        (" flags=no-cluster", Some(refused)),
        (" flags=allow-oom", None),
    ] {
        let script = format!("#!lua{flags}\n{set}");
        let reply = call(&mut fixture, &["EVAL", &script, "0"]);
        let error = reply.err().map(|error| error.to_string());
        assert_eq!(error.as_deref(), expected, "{flags}");
    }
    let read = "#!lua flags=no-writes\nreturn redis.call('get', 'k')";
    let reply = call(&mut fixture, &["EVAL", read, "0"]);
    assert_eq!(reply, Ok("\"v\"".to_owned()));
    // A script that says nothing of itself is stopped by its first command that needs memory.
    let error = call(&mut fixture, &["EVAL", set, "0"]).unwrap_err();
    let text = "OOM command not allowed when used memory > 'maxmemory'.";
    assert!(error.to_string().starts_with(text), "{error}");
    let release =
        "if redis.call('get', KEYS[1]) == ARGV[1] then return redis.call('del', KEYS[1]) end";
    let reply = call(&mut fixture, &["EVAL", release, "1", "k", "v"]);
    assert_eq!(reply, Ok("1".to_owned()));
    let library = LIBRARY.replace("name=a", "name=short");
    assert!(call(&mut fixture, &["FUNCTION", "LOAD", &library]).is_ok());
    let error = call(&mut fixture, &["FCALL", "f", "0"]).unwrap_err();
    assert_eq!(error.to_string(), refused);
}
