//! What a script does is the same on every replica, whatever ran on its thread before.

use super::tests::{call, eval, eval_new};
use crate::commands::testing::{Fixture, check};

/// What replicas compare: the keys, and what counts.
pub(super) fn state(fixture: &Fixture) -> String {
    let entries = fixture.keyspace.iter(0);
    let mut all: Vec<String> = entries.map(|entry| format!("{entry:?}")).collect();
    all.sort();
    let counters = fixture.keyspace.watch_counters();
    format!("{all:?} {counters:?} {}", fixture.keyspace.fence())
}

const NO_ORDER: &str = "no order that replicas agree on";

#[test]
fn a_second_attempt_leaves_no_trace_of_the_first() {
    let work = "redis.call('incr', 'a') redis.call('rpush', 'l', 1, 2) redis.call('del', 'old')
        redis.call('set', 'f', 1, 'fence') ";
    let more = "local t = {} for i = 1, 60 do t[i] = string.rep('x', 1e6) .. i end ";
    let after = "for i = 1, 20 do redis.call('sadd', 's', i) end return redis.call('spop', 's', 5)";
    let (mut once, mut twice) = (Fixture::default(), Fixture::default());
    for (fixture, script) in [
        (&mut once, work.to_owned()),
        (&mut twice, work.to_owned() + more),
    ] {
        check(fixture, &[("SET old 1", "+OK")]);
        let reply = eval(fixture, &script);
        assert_eq!(reply, "nil");
    }
    assert_eq!(state(&once), state(&twice));
    assert_eq!(eval(&mut once, after), eval(&mut twice, after));
    assert_eq!(state(&once), state(&twice));
}

#[test]
fn a_function_sees_the_same_wherever_its_library_was_compiled() {
    let library = "#!lua name=a
        redis.register_function('f', function(keys, args) return redis.call('incr', 'a') end)";
    let (mut warm, mut cold) = (Fixture::default(), Fixture::default());
    call(&mut warm, &["FUNCTION", "LOAD", library]).expect("a library");
    call(&mut warm, &["FCALL", "f", "0"]).expect("a call");
    std::thread::scope(|scope| {
        let cold = &mut cold;
        let run = move || {
            call(cold, &["FUNCTION", "LOAD", library]).expect("a library");
            call(cold, &["FCALL", "f", "0"]).expect("a call");
        };
        scope.spawn(run).join().expect("an end");
    });
    assert_eq!(state(&warm), state(&cold));
}

#[test]
fn the_order_of_addresses_is_never_seen() {
    for script in [
        "local t = {} for i = 1, 20 do t[{}] = i end table.foreach(t, function() end)",
        "return cmsgpack.pack({[{}] = 1, [{}] = 2})",
        "return next({a = 1, b = 2, [{}] = 3}, 'a')",
        "return {map = {[{}] = 1, [{}] = 2}}",
        "return {set = {[{}] = 1, [{}] = 2}}",
        "local t = {1} for k in pairs(t) do t[{}] = 1 t[1] = nil end",
    ] {
        let reply = eval_new(script);
        assert!(reply.contains(NO_ORDER), "{script}: {reply}");
    }
    let encoded = "local ok, e = pcall(cjson.encode, {[{}] = 1, [redis.call] = 2}) return e";
    assert_eq!(
        eval_new(encoded),
        "\"Cannot serialise function: table key must be a number or string\""
    );
    let walked = "local s = '' table.foreach({a = 1}, function(k, v) s = s .. k .. v end)
        local found = table.foreach({5, 6}, function(k, v) if v == 6 then return k end end)
        local k = next({1, 2}, 1)
        return {s, found, k}";
    assert_eq!(eval_new(walked), "[\"a1\" 2 2]");
}

#[test]
fn calls_nest_as_deeply_after_an_overflow_as_before() {
    let mut fixture = Fixture::default();
    let script = "local d = 0 local function f() d = d + 1 return 1 + f() end pcall(f)
        local first = d d = 0 pcall(f) return {first, d}";
    let first = eval(&mut fixture, script);
    assert_eq!(eval(&mut fixture, script), first);
    assert_eq!(eval(&mut fixture, script), first);
    let library = "#!lua name=deep\n redis.register_function('deep', function() ".to_owned()
        + script
        + " end)";
    call(&mut fixture, &["FUNCTION", "LOAD", &library]).expect("a library");
    let deep = call(&mut fixture, &["FCALL", "deep", "0"]);
    assert_eq!(call(&mut fixture, &["FCALL", "deep", "0"]), deep);
}

#[test]
fn the_coroutine_of_a_script_is_not_seen() {
    assert_eq!(
        eval_new("return tostring(coroutine.running())"),
        "\"nil\"",
        "as outside of any"
    );
    let inside = "return coroutine.wrap(function() return type(coroutine.running()) end)()";
    assert_eq!(eval_new(inside), "\"thread\"");
    let reply = eval_new("coroutine.yield(1) return 2");
    assert!(
        reply.contains("attempt to yield across metamethod/C-call boundary"),
        "{reply}"
    );
    let passed = "local c = coroutine.wrap(function(a) local b = coroutine.yield(a + 1)
        return a, b end) return {c(1), c(5)}";
    assert_eq!(eval_new(passed), "[2 1 5]");
    let raised = "local c = coroutine.wrap(function() error('boom') end)
        local d = coroutine.wrap(function() error({err='E x'}) end)
        return {select(2, pcall(c)), select(2, pcall(d)),
          tostring(coroutine.resume(coroutine.create(function() error('x') end)))}";
    let reply = eval_new(raised);
    assert!(reply.contains("user_script:1: boom"), "{reply}");
}

#[test]
fn functions_of_numbers_give_the_bits_that_libm_gives() {
    let script = "local s = {} for i, x in ipairs({1e22, 0.7, 3}) do
        for _, f in ipairs({math.sin, math.exp, math.log, math.tanh, math.log10}) do
          s[#s + 1] = string.format('%.17g', f(x)) end
        s[#s + 1] = string.format('%.17g', math.pow(x, 0.3)) end return table.concat(s, ' ')";
    let functions: [fn(f64) -> f64; 6] = [
        libm::sin,
        libm::exp,
        libm::log,
        libm::tanh,
        libm::log10,
        |x| libm::pow(x, 0.3),
    ];
    let reply = eval_new(script);
    let numbers = reply.trim_matches('"').split(' ').map(str::parse::<f64>);
    let given: Vec<u64> = numbers.map(|number| number.unwrap().to_bits()).collect();
    let expected: Vec<u64> = [1e22, 0.7, 3.0]
        .into_iter()
        .flat_map(|x| functions.map(|function| function(x).to_bits()))
        .collect();
    assert_eq!(given, expected);
    let error = eval_new("return math.sin('x')");
    assert!(
        error.contains("user_script:1: bad argument #1 to 'sin' (number expected, got string)"),
        "{error}"
    );
}
