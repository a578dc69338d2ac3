//! A group's share of what concerns the keys of all groups: `_SCAN`, `_COUNT`, `_RANDOMKEY` and
//! `_FLUSH`.
//!
//! Nodes ask each other this; clients cannot ([`Flag::Internal`]). Replies are bulk strings that
//! begin with the group's [`Share`], by which the asking node sees whether the answers of all
//! groups fit together. The commands name no keys, so the fence lets them pass: what a group does
//! not serve it says in its share.

use bailiwick_frame::{Args, Encoder};

use super::scan::{ScanOptions, Walk, parse_cursor};
use super::{
    Command, CommandError, DEFAULT, Flag, Group, Handler, Outcome, ReadContext, WriteContext,
    listing,
};
use crate::authority::Share;
use crate::group::planted::{self, Planted};
use crate::keyspace::Entry;
use crate::state::{DecodeError, Reader, put_bytes, put_varint};

/// Keys are looked at in steps of so many, so that a page ends soon after it has become large.
const STEP: usize = 512;
/// A page ends when its keys have come to so many bytes.
const PAGE_TARGET_BYTES: usize = 1 << 20;

const ROW: Command = Command {
    arity: 1,
    flags: Flag::Readonly as u32 | Flag::Internal as u32,
    group: Group::Cluster,
    since: "0.1.0",
    ..DEFAULT
};

pub(super) static COMMANDS: &[Command] = &[
    Command {
        name: "_scan",
        arity: -2,
        complexity: "O(N) where N is COUNT",
        summary: "Lists some of the group's keys with their positions.",
        syntax: "position [MATCH pattern] [COUNT count] [TYPE type]",
        handler: Handler::Read(scan),
        ..ROW
    },
    Command {
        name: "_count",
        summary: "Counts the group's keys in the database.",
        handler: Handler::Read(count),
        ..ROW
    },
    Command {
        name: "_randomkey",
        summary: "Picks one of the group's keys at random.",
        handler: Handler::Read(listing::randomkey),
        ..ROW
    },
    Command {
        name: "_flush",
        arity: 2,
        flags: Flag::Write as u32 | Flag::Internal as u32,
        summary: "Removes the group's keys of one database or of all, unless some are frozen.",
        syntax: "DB | ALL",
        handler: Handler::Write(flush),
        ..ROW
    },
];

/// Keys that a group found from a position on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// Where it goes on; 0 if that was all.
    pub next: u64,
    /// The keys with their positions, which are below `next` unless that is 0.
    pub keys: Vec<(u64, Vec<u8>)>,
}

impl Page {
    /// Writes it for the node that asks.
    pub fn put(&self, out: &mut Vec<u8>) {
        put_varint(out, self.next);
        put_varint(out, self.keys.len() as u64);
        for (position, key) in &self.keys {
            put_varint(out, *position);
            put_bytes(out, key);
        }
    }

    /// Reads what [`Page::put`] wrote; what follows is left.
    ///
    /// # Errors
    /// It is nothing that this wrote.
    pub(crate) fn take(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let mut page = Self {
            next: reader.varint()?,
            keys: Vec::new(),
        };
        for _ in 0..reader.length()? {
            let position = reader.varint()?;
            page.keys.push((position, reader.string()?.to_vec()));
        }
        Ok(page)
    }
}

/// What SCAN asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScanRequest<'a> {
    /// The position to begin at.
    pub cursor: u64,
    /// About how many keys are wanted.
    pub count: usize,
    /// What all keys begin with that match; empty if nothing is known.
    pub head: &'a [u8],
}

/// Reads the arguments of SCAN.
///
/// # Errors
/// Those of SCAN.
pub fn scan_request(args: Args<'_>) -> Result<ScanRequest<'_>, CommandError> {
    let cursor = parse_cursor(args.arg(1))?;
    let options = ScanOptions::parse(args, 2, Walk::Keys)?;
    Ok(ScanRequest {
        cursor,
        count: options.count,
        head: options.head(),
    })
}

fn scan(ctx: &ReadContext<'_>, args: Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let options = ScanOptions::parse(args, 2, Walk::Keys)?;
    let mut reply = share_of(ctx, options.head());
    let mut page = Page {
        next: parse_cursor(args.arg(1))?,
        keys: Vec::new(),
    };
    let (mut left, mut bytes) = (options.count, 0);
    loop {
        let step = left.min(STEP);
        let visit = |entry: &Entry| {
            if options.wants(entry) && !entry.is_expired(ctx.now_ms) {
                let key = entry.key();
                bytes += key.len();
                page.keys
                    .push((ctx.keyspace.position_of(key), key.to_vec()));
            }
        };
        let from = page.next;
        page.next = ctx
            .keyspace
            .scan(ctx.database, from, step, options.head(), visit);
        left -= step;
        if page.next == 0 || left == 0 || bytes >= PAGE_TARGET_BYTES {
            break;
        }
    }
    put_varint(&mut reply, ctx.keyspace.len_of(ctx.database) as u64);
    page.put(&mut reply);
    out.bulk(&reply);
    Ok(())
}

fn count(ctx: &ReadContext<'_>, _: Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let mut reply = share_of(ctx, b"");
    put_varint(&mut reply, ctx.keyspace.len_of(ctx.database) as u64);
    out.bulk(&reply);
    Ok(())
}

fn flush(ctx: &mut WriteContext<'_>, args: Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let share = Share::of(ctx.authority, b"");
    if share.frozen.is_none() && !planted::is_on(Planted::FlushForgotten) {
        let databases = match args.arg(1) {
            b"ALL" => 0..ctx.keyspace.databases(),
            _ => ctx.database..ctx.database + 1,
        };
        databases.for_each(|database| super::flush::clear(ctx, database));
    }
    let mut reply = Vec::new();
    share.put(&mut reply);
    out.bulk(&reply);
    Ok(())
}

fn share_of(ctx: &ReadContext<'_>, head: &[u8]) -> Vec<u8> {
    let mut reply = Vec::new();
    Share::of(ctx.authority, head).put(&mut reply);
    reply
}

#[cfg(test)]
mod tests {
    use bailiwick_frame::{Limits, Parser, Requests};
    use proptest::prelude::*;

    use super::*;
    use crate::commands::testing::{Fixture, run, run_raw};
    use crate::routing::spread::bulk_of;

    fn page_of(reply: &[u8]) -> (Share, u64, Page) {
        let mut reader = Reader::new(bulk_of(reply).expect("a bulk string"));
        let share = Share::take(&mut reader).expect("a share");
        let keys = reader.varint().expect("a number");
        let page = Page::take(&mut reader).expect("a page");
        assert!(reader.is_done());
        (share, keys, page)
    }

    #[test]
    fn pages_follow_one_another_in_the_order_of_positions() {
        let mut fixture = Fixture::default();
        for i in 0..500 {
            run(
                &mut fixture,
                &format!("SET {}:{i} x", if i % 5 == 0 { "eu" } else { "us" }),
            );
        }
        let (mut from, mut seen) = (0, Vec::new());
        loop {
            let reply = run_raw(&mut fixture, &format!("_SCAN {from} MATCH eu:* COUNT 9"));
            let (share, keys, page) = page_of(&reply);
            assert_eq!((share.head, keys), (crate::authority::Head::Here, 500));
            let limit = if page.next == 0 { u64::MAX } else { page.next };
            assert!(page.keys.iter().all(|(at, _)| (from..limit).contains(at)));
            seen.extend(page.keys.into_iter().map(|(_, key)| key));
            if page.next == 0 {
                break;
            }
            from = page.next;
        }
        seen.sort();
        seen.dedup();
        assert_eq!(seen.len(), 100);
        assert!(seen.iter().all(|key| key.starts_with(b"eu:")));
    }

    #[test]
    fn a_page_of_long_keys_ends_early() {
        let mut fixture = Fixture::default();
        let long = "x".repeat(4000);
        for i in 0..2000 {
            run(&mut fixture, &format!("SET {long}{i} x"));
        }
        let (_, _, page) = page_of(&run_raw(&mut fixture, "_SCAN 0 COUNT 100000"));
        assert_ne!(page.next, 0);
        assert!(page.keys.len() < 1500, "{} keys", page.keys.len());
    }

    #[test]
    fn a_flush_says_what_was_served() {
        let mut fixture = Fixture::default();
        for database in [0, 1] {
            fixture.database = database;
            run(&mut fixture, "MSET a 1 b 2");
        }
        let reply = run_raw(&mut fixture, "_FLUSH DB");
        let mut reader = Reader::new(bulk_of(&reply).expect("a bulk string"));
        assert!(Share::take(&mut reader).is_ok() && reader.is_done());
        assert_eq!(fixture.keyspace.len(), 2);
        run(&mut fixture, "_FLUSH ALL");
        assert!(fixture.keyspace.is_empty());
    }

    #[test]
    fn the_request_of_a_scan_has_a_head_where_its_pattern_has_one() {
        let heads = [
            ("SCAN 5 COUNT 7", &b""[..], 7),
            ("SCAN 5 MATCH *eu", b"", 10),
            ("SCAN 5 MATCH eu:[ab]*", b"eu:", 10),
            ("SCAN 5 MATCH {eu}* TYPE string", b"{eu}", 10),
        ];
        for (line, head, count) in heads {
            let mut buffer = format!("{line}\r\n").into_bytes();
            let mut requests = Requests::default();
            let limits = Limits::default();
            let parsed = Parser::default().parse(&mut buffer, &limits, 1, &mut requests);
            parsed.expect("a request");
            let cursor = 5;
            let expected = ScanRequest {
                cursor,
                count,
                head,
            };
            assert_eq!(
                scan_request(requests.args(0, &buffer)),
                Ok(expected),
                "{line}"
            );
        }
    }

    proptest! {
        #[test]
        fn a_page_survives_the_way_to_another_node(
            next in any::<u64>(),
            keys in prop::collection::vec((any::<u64>(), prop::collection::vec(any::<u8>(), 0..9)), 0..9),
            cut in any::<usize>(),
        ) {
            let page = Page { next, keys };
            let mut bytes = Vec::new();
            page.put(&mut bytes);
            let mut reader = Reader::new(&bytes);
            prop_assert_eq!(Page::take(&mut reader), Ok(page));
            prop_assert!(reader.is_done());
            prop_assert!(Page::take(&mut Reader::new(&bytes[..cut % bytes.len()])).is_err());
        }

        #[test]
        fn no_bytes_make_the_reader_of_pages_panic(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            let _ = Page::take(&mut Reader::new(&bytes));
        }
    }
}
