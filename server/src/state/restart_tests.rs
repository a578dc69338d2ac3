//! A replica that was restored from checkpoints along the way goes on exactly like one that was
//! not: the same replies, the same choices at random, the same content in the same order.

use bailiwick_frame::{Limits, Parser, Protocol, Requests};
use proptest::prelude::*;

use super::testing::restored;
use super::*;
use crate::commands::lookup;
use crate::keyspace::ValueRef;

/// Commands with two numbers to fill in, the second one in ranges of words too.
const TEMPLATES: &[&str] = &[
    "HSET h f{a} v{b}",
    "HSET h {pairs}",
    "HDEL h f{b} {words}",
    "HINCRBY n f{a} {b}",
    "HSETNX h f{b} v{a}",
    "HGETALL h",
    "SADD s {a} {b}",
    "SADD s m{a} m{b}",
    "SADD s {words}",
    "SADD i {numbers}",
    "SREM s {words}",
    "SREM i {numbers}",
    "SPOP s",
    "SPOP s {b}",
    "SPOP i 3",
    "SMOVE s i {a}",
    "SUNIONSTORE s s i",
    "SINTERSTORE i i s",
    "SMEMBERS s",
    "RPUSH l {words}",
    "LPUSH l {numbers}",
    "LPUSH l word{a}",
    "LINSERT l AFTER m{a} inserted{b}",
    "LSET l {b} set{a}",
    "LREM l 0 m{a}",
    "LTRIM l {b} -1",
    "LPOP l {b}",
    "RPOP l",
    "LMOVE l l LEFT RIGHT",
    "LRANGE l 0 {b}",
    "OBJECT ENCODING l",
    "COPY s t REPLACE",
    "RENAME t i",
    "EXPIRE h 1000",
    "XADD x * {pairs}",
    "XADD x MAXLEN ~ {a} * name v{b} number {a}",
    "XADD x * name {words}",
    "XDEL x {a}-0",
    "XTRIM x MAXLEN {b}",
    "XGROUP CREATE x g 0 MKSTREAM",
    "XREADGROUP GROUP g c{b} COUNT {b} STREAMS x >",
    "XREADGROUP GROUP g c{b} STREAMS x 0",
    "XACK x g {a}-0 {b}-0",
    "XCLAIM x g c{b} 0 {a}-0 {b}-0 FORCE",
    "XAUTOCLAIM x g c{b} 0 0 COUNT 5",
    "XGROUP DELCONSUMER x g c{b}",
    "XINFO STREAM x FULL COUNT 0",
    "COPY x y REPLACE",
    "PFADD p {words}",
    "PFMERGE q p",
    "PFCOUNT q",
    "GET q",
];

fn line(template: usize, a: u16, b: u16) -> String {
    let range = |show: &dyn Fn(u16) -> String| {
        let numbers = (a..a.saturating_add(b)).map(show);
        numbers.chain([show(a)]).collect::<Vec<_>>().join(" ")
    };
    TEMPLATES[template % TEMPLATES.len()]
        .replace("{pairs}", &range(&|number| format!("f{number} {number}")))
        .replace("{words}", &range(&|number| format!("m{number}")))
        .replace("{numbers}", &range(&|number| number.to_string()))
        .replace("{a}", &a.to_string())
        .replace("{b}", &b.to_string())
}

/// Applies an entry with one command and returns the reply.
fn apply(state: &mut State, line: &str) -> Vec<u8> {
    let mut buf = format!("{line}\r\n").into_bytes();
    let (limits, mut requests) = (Limits::default(), Requests::default());
    Parser::default()
        .parse(&mut buf, &limits, 1, &mut requests)
        .expect("the line is well formed");
    let args = requests.args(0, &buf);
    let command = lookup(args).expect("the command exists");
    let index = state.applied.next();
    let head = EntryHead {
        time_ms: state.time_ms + 1,
        seed: index.0 * 77,
    };
    let (clock, counters) = (AccessClock::default(), Counters::default());
    let mut applier = state.begin(index, head, &clock, &counters);
    let mut reply = Vec::new();
    let _ = applier.command(&command, 0, args, Protocol::Resp3, &mut reply);
    applier.finish();
    reply
}

/// Everything that shows of a state, in one text.
fn shown(state: &State) -> String {
    let mut lines: Vec<String> = Vec::new();
    for entry in state.keyspace.iter(0) {
        let value = match entry.value() {
            ValueRef::Object(object) => object.elements().map(|elements| {
                let mut parts = Vec::new();
                elements.visit(0, elements.len(), &mut |part| parts.push(part.to_vec()));
                format!("{} {parts:?}", elements.encoding())
            }),
            _ => None,
        };
        let (key, version) = (entry.key().escape_ascii(), entry.version());
        lines.push(format!(
            "{key} {version} {:?} {value:?}",
            entry.expires_at_ms()
        ));
    }
    lines.sort();
    lines.join("\n")
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn a_restored_replica_goes_on_like_one_that_was_not(
        steps in prop::collection::vec(
            (any::<usize>(), 0..300u16, prop_oneof![3 => 0..20u16, 1 => 100..600u16], 0..8u8),
            1..120,
        ),
    ) {
        let mut straight = State::empty();
        straight.keyspace = Keyspace::new(1, 99);
        let mut restarted = restored(&straight);
        // A third one shares its values with a checkpoint that is being written all the time.
        let mut shared = restored(&straight);
        for (template, a, b, restart) in steps {
            let line = line(template, a, b);
            let reply = apply(&mut straight, &line);
            prop_assert_eq!(&apply(&mut restarted, &line), &reply, "{}", &line);
            let frozen = FrozenState::of(&shared);
            prop_assert_eq!(&apply(&mut shared, &line), &reply, "{}", &line);
            drop(frozen);
            if restart == 0 {
                restarted = restored(&restarted);
            }
        }
        prop_assert_eq!(shown(&restarted), shown(&straight));
        prop_assert_eq!(shown(&shared), shown(&straight));
        for round in 0..4 {
            for state in [&mut straight, &mut restarted, &mut shared] {
                state.applied.0 = round * DIGEST_EVERY;
            }
            prop_assert_eq!(digest::digest(&straight), digest::digest(&restarted));
            prop_assert_eq!(digest::digest(&straight), digest::digest(&shared));
        }
    }
}
