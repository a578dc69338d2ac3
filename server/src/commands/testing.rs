//! A keyspace to run commands on in unit tests, without node and log.
//!
//! [`run`] takes a line as one would type it into redis-cli and gives the reply in a compact form:
//! see [`show`]. Commands of the node are refused, they have no meaning here.

use bailiwick_frame::{Args, Encoder, Limits, Parser, Protocol, Requests};
use bailiwick_replication::GroupId;

use super::{
    Command, Counters, Handler, Outcome, ReadContext, Scripts, WriteContext, lookup_logged,
};
use crate::authority::Authority;
use crate::keyspace::{AccessClock, Keyspace};
use crate::state::Waiters;

/// Where a test starts: a moment like any other, so that sums with it are noticed.
pub(super) const START_MS: i64 = 1_700_000_000_123;

/// A keyspace, and everything that a command's context depends on.
pub(super) struct Fixture {
    pub(super) keyspace: Keyspace,
    pub(super) authority: Authority,
    pub(super) scripts: Scripts,
    pub(super) database: usize,
    pub(super) now_ms: i64,
    pub(super) random: u64,
    pub(super) protocol: Protocol,
    pub(super) counters: Counters,
    pub(super) waiters: Waiters,
    pub(super) lacks_memory: bool,
}

impl Default for Fixture {
    fn default() -> Self {
        Self {
            keyspace: Keyspace::new(16, 42),
            authority: Authority::new(GroupId(0)),
            scripts: Scripts::default(),
            database: 0,
            now_ms: START_MS,
            random: 7,
            protocol: Protocol::Resp2,
            counters: Counters::default(),
            waiters: Waiters::default(),
            lacks_memory: false,
        }
    }
}

/// Runs a command line, quoted as for redis-cli, and shows its reply.
pub(super) fn run(fixture: &mut Fixture, line: &str) -> String {
    show(&run_raw(fixture, line))
}

/// Cuts a command line into its arguments.
pub(super) fn with_args<T>(line: &str, with: impl FnOnce(Args<'_>) -> T) -> T {
    let mut buf = format!("{line}\r\n").into_bytes();
    let mut requests = Requests::default();
    Parser::default()
        .parse(&mut buf, &Limits::default(), 1, &mut requests)
        .expect("test commands are well-formed");
    with(requests.args(0, &buf))
}

/// Runs a command line and gives its reply's bytes.
pub(super) fn run_raw(fixture: &mut Fixture, line: &str) -> Vec<u8> {
    with_args(line, |args| {
        let mut reply = Vec::new();
        let mut out = Encoder::new(&mut reply, fixture.protocol);
        let from = fixture.counters.touches.len();
        let found = lookup_logged(args);
        let outcome =
            (found.clone()).and_then(|command| execute(fixture, &command, args, &mut out));
        if let Ok(command) = found {
            super::events::name(&command, args, &fixture.counters.touches, from);
        }
        if let Err(error) = outcome {
            reply.clear();
            Encoder::new(&mut reply, fixture.protocol).error(&error.to_string());
        }
        fixture.keyspace.check_invariants();
        reply
    })
}

/// Runs a command of the keyspace.
pub(super) fn execute(
    fixture: &mut Fixture,
    command: &Command,
    args: Args<'_>,
    out: &mut Encoder<'_>,
) -> Outcome {
    let clock = AccessClock::new(Default::default(), fixture.now_ms, 1);
    match command.handler {
        Handler::Read(handler) => {
            let context = ReadContext {
                keyspace: &fixture.keyspace,
                authority: &fixture.authority,
                scripts: &fixture.scripts,
                database: fixture.database,
                now_ms: fixture.now_ms,
                clock: &clock,
                touch: true,
                counters: &fixture.counters,
                may_wait: false,
                chance: None,
            };
            handler(&context, args, out)
        }
        Handler::Write(handler) => {
            let mut context = WriteContext {
                keyspace: &mut fixture.keyspace,
                authority: &mut fixture.authority,
                scripts: &mut fixture.scripts,
                database: fixture.database,
                now_ms: fixture.now_ms,
                random: fixture.random,
                clock: &clock,
                counters: &fixture.counters,
                waiters: &mut fixture.waiters,
                may_wait: false,
                is_proxied: false,
                lacks_memory: fixture.lacks_memory,
            };
            let outcome = handler(&mut context, args, out);
            fixture.random = context.random;
            outcome
        }
        Handler::Node(_) | Handler::Container => panic!("no keyspace command: {}", command.name),
    }
}

/// Runs several lines and compares each reply with the form that [`show`] gives it.
pub(super) fn check(fixture: &mut Fixture, script: &[(&str, &str)]) {
    for (line, expected) in script {
        assert_eq!(run(fixture, line), *expected, "{line}");
    }
}

/// A reply in one line: bulk strings in quotes, integers bare, null as `nil`, errors with `-`,
/// simple strings with `+`, aggregates in brackets (`{}` maps, `~[]` sets), RESP3's other scalars
/// with their type byte.
pub(super) fn show(reply: &[u8]) -> String {
    let mut at = 0;
    let shown = show_from(reply, &mut at);
    assert_eq!(
        at,
        reply.len(),
        "more than one reply: {}",
        reply.escape_ascii()
    );
    shown
}

fn show_from(reply: &[u8], at: &mut usize) -> String {
    let len = reply[*at..]
        .windows(2)
        .position(|pair| pair == b"\r\n")
        .expect("a line end");
    let line = std::str::from_utf8(&reply[*at..*at + len]).expect("a header is text");
    let (kind, text) = line.split_at(1);
    *at += len + 2;
    let mut list = |count: usize| {
        (0..count)
            .map(|_| show_from(reply, at))
            .collect::<Vec<_>>()
            .join(" ")
    };
    let number = || text.parse::<usize>().expect("a length");
    match kind {
        _ if text == "-1" && kind != ":" => "nil".to_owned(),
        "_" => "nil".to_owned(),
        ":" => text.to_owned(),
        "*" => format!("[{}]", list(number())),
        "~" => format!("~[{}]", list(number())),
        "%" => format!("{{{}}}", list(2 * number())),
        "$" | "=" => {
            let bytes = &reply[*at..*at + number()];
            *at += bytes.len() + 2;
            format!("\"{}\"", bytes.escape_ascii())
        }
        _ => line.to_owned(),
    }
}
