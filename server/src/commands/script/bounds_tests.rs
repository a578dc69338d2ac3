//! What scripts ask for beyond a bound is refused, and ends neither process nor script otherwise.

use super::STACK_BYTES;
use super::tests::{call, eval, eval_new};
use crate::commands::testing::{Fixture, check};

#[track_caller]
fn refused(script: &str, because: &str) {
    let reply = eval_new(script);
    let is_refused = reply.starts_with('-') && reply.contains(because);
    let shown: String = reply.chars().take(300).collect();
    assert!(is_refused, "{script}: {shown}");
}

#[test]
fn a_table_of_any_size_is_packed_and_returned() {
    let fill = "local t = {} for i = 1, 9000 do t['k' .. i] = 'v' .. i end ";
    let packed = "local n = 0 for k, v in pairs(cmsgpack.unpack(cmsgpack.pack(t))) do
        n = n + (t[k] == v and 1 or 0) end return n";
    assert_eq!(eval_new(&format!("{fill}{packed}")), "9000");
    for (kind, items) in [("map", 18000), ("set", 9000)] {
        let reply = eval_new(&format!("{fill}return {{{kind}=t}}"));
        assert_eq!(reply.split(' ').count(), items, "{kind}");
    }
    let fields = "for i = 1, 9000 do redis.call('hset', 'h', i, i) end redis.setresp(3)
        return redis.call('hgetall', 'h')";
    assert_eq!(eval_new(fields).split(' ').count(), 18000);
}

#[test]
fn more_values_than_lua_passes_are_refused() {
    let fill = "local t = {} for i = 1, N do t[i] = 'v' .. i end ";
    let push = "return redis.call('rpush', 'k', unpack(t))";
    let filled = |len: usize, then: &str| fill.replace('N', &len.to_string()) + then;
    assert_eq!(eval_new(&filled(7000, push)), "7000");
    refused(&filled(7900, push), "too many arguments");
    refused(
        &filled(7900, "return bit.bor(unpack(t))"),
        "too many arguments",
    );
    for unpack in [
        "return cmsgpack.unpack(string.rep('\\161a', 9000))",
        "return cmsgpack.unpack(string.rep('\\161a', 7000) .. string.rep('\\145', 900) .. '\\192')",
        "return struct.unpack(string.rep('s', 9000), string.rep('a\\0', 9000))",
    ] {
        refused(unpack, "too many results to unpack");
    }
    refused(
        &filled(
            7000,
            "return cmsgpack.unpack(string.rep('\\161a', 7000), unpack(t))",
        ),
        "too many results to unpack",
    );
}

#[test]
fn what_is_compiled_or_registered_takes_no_room_from_values() {
    let mut fixture = Fixture::default();
    for script in 0..1100 {
        eval(&mut fixture, &format!("return {script}"));
    }
    let push = "local t = {} for i = 1, 7600 do t[i] = 'v' .. i end
        return redis.call('rpush', 'k', unpack(t))";
    assert_eq!(eval(&mut fixture, push), "7600");
    let library = "#!lua name=many
        for i = 1, 9000 do redis.register_function('f' .. i, function() return i end) end";
    let loaded = call(&mut fixture, &["FUNCTION", "LOAD", library]);
    assert_eq!(loaded, Ok("\"many\"".to_owned()));
    let reply = call(&mut fixture, &["FCALL", "f9000", "0"]);
    assert_eq!(reply, Ok("9000".to_owned()));
}

#[test]
fn a_pattern_that_would_take_the_stack_is_refused() {
    let text = "local s, p = string.rep('a', 3e5), string.rep('a?', 3e5) ";
    for matching in [
        "return string.find(s, p)",
        "return s:match(p)",
        "return s:gsub(p, '')",
        "return s:gmatch(p)()",
        "return string.gfind(s, p)()",
    ] {
        refused(&format!("{text}{matching}"), "pattern too complex");
    }
    let plain = "return string.find('x' .. string.rep('a?', 3e5), string.rep('a?', 3e5), 1, true)";
    assert_eq!(eval_new(plain), "2");
    assert_eq!(eval_new("return ('key:1'):match('^(%a+):%d+$')"), "\"key\"");
    refused(
        "return string.find({}, 'a')",
        "user_script:1: bad argument #1 to 'find' (string expected, got table)",
    );
}

#[test]
fn callbacks_nest_as_deeply_as_lua_lets_them() {
    let nested = "local function f(n) return (string.gsub('a', 'a', function()
        return n == 0 and string.find(string.rep('a', 1000), string.rep('a?', 1000)) or f(n - 1)
        end)) end return {f(190), pcall(f, 300)}";
    let thread = std::thread::Builder::new().stack_size(STACK_BYTES);
    let thread = thread.spawn(move || eval_new(nested)).expect("a thread");
    let reply = thread.join().expect("an end");
    assert_eq!(reply, "[\"1\" nil \"C stack overflow\"]");
}

#[test]
fn nothing_is_repeated_in_no_time() {
    assert_eq!(eval_new("return string.rep('', 2e9)"), "\"\"");
    assert_eq!(eval_new("return string.rep('ab', 3)"), "\"ababab\"");
}

#[test]
fn an_output_without_end_is_refused() {
    let doubled = "local t = {} for i = 1, 60 do t = {t, t} end ";
    for output in ["return t", "return cjson.encode(t)"] {
        refused(
            &format!("{doubled}{output}"),
            "the script was ended after 600000000 steps",
        );
    }
    let same = "local t, s = {}, string.rep('x', 1e7) for i = 1, 60 do t[i] = s end ";
    refused(&format!("{same}return t"), "not enough memory");
    refused(
        &format!("{same}return redis.call('rpush', 'k', unpack(t))"),
        "are too long",
    );
    for packed in [
        "cmsgpack.pack(unpack(t))",
        "struct.pack(string.rep('c0', 60), unpack(t))",
    ] {
        refused(&format!("{same}return {packed}"), "not enough memory");
    }
    let control = "local s = string.rep('\\1', 1e8) return #cjson.encode(s)";
    refused(control, "not enough memory");
}

#[test]
fn a_reply_that_memory_is_too_short_for_ends_the_script() {
    let mut fixture = Fixture::default();
    let script = "redis.call('set', 'a', 1) local t = {string.rep('x', 480 * 2^20)}
        while true do t[#t + 1] = redis.error_reply() end";
    let reply = eval(&mut fixture, script);
    assert!(reply.starts_with("-ERR not enough memory"), "{reply}");
    check(&mut fixture, &[("EXISTS a", "0")]);
}

#[test]
fn the_end_of_memory_cannot_be_hidden() {
    let fill = "local function fill() local t = {}
        while true do t[#t + 1] = string.rep('x', 1e6) .. #t end end ";
    for hidden in [
        "xpcall(coroutine.wrap(fill), function() return 1 end)",
        "pcall(coroutine.wrap(fill))",
        "xpcall(function() coroutine.resume(coroutine.create(fill)) end, function() end)",
        "xpcall(fill, function() return 1 end)",
        "local s = 'return \"' .. string.rep('x', 2e8) .. '\"'
         loadstring(s) pcall(loadstring, s)",
        "local t, s = {}, string.rep('x', 1e7) for i = 1, 60 do t[i] = s end
         xpcall(function() return cjson.encode(t) end, function() end)",
    ] {
        let script = format!("{fill}redis.call('set', 'a', 1) {hidden} return 'caught'");
        let mut fixture = Fixture::default();
        let reply = eval(&mut fixture, &script);
        assert!(
            reply.starts_with("-ERR not enough memory"),
            "{hidden}: {reply}"
        );
        check(&mut fixture, &[("EXISTS a", "0")]);
    }
}

#[test]
fn a_start_that_is_no_number_is_refused() {
    refused(
        "return struct.unpack('', 'x', 0/0)",
        "offset must be 1 or greater",
    );
}

#[test]
fn what_coroutines_do_counts() {
    let script = "while true do
        coroutine.wrap(function() for i = 1, 20000 do local x = i end end)() end";
    refused(script, "the script was ended after");
}
