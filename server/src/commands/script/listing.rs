//! KEYS, SCAN and RANDOMKEY in scripts that run in the log.
//!
//! As clients know them, their replies depend on how the tables have grown, which differs between
//! replicas that have loaded checkpoints. Here keys stand in the order of their positions, which is
//! a matter of their hashes.

use bailiwick_frame::{Args, Encoder};

use crate::commands::glob::Glob;
use crate::commands::scan::{ScanOptions, Walk, parse_cursor, write_head};
use crate::commands::{Outcome, ReadContext, ReadHandler};
use crate::keyspace::Entry;

/// Positions in hash order end here.
const POSITIONS: u64 = 1 << 48;
/// Places to look at for a key that lives, before all are.
const RANDOM_TRIES: usize = 100;

/// What runs instead of the command of this name.
pub(super) fn replacement(name: &str) -> Option<ReadHandler> {
    Some(match name {
        "keys" => keys,
        "scan" => scan,
        "randomkey" => randomkey,
        _ => return None,
    })
}

fn keys(ctx: &ReadContext<'_>, args: Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let glob = Glob::new(args.arg(1));
    let entries = ctx.keyspace.iter(ctx.database);
    let wanted = |entry: &&Entry| glob.matches(entry.key()) && !entry.is_expired(ctx.now_ms);
    let mut found: Vec<&[u8]> = entries.filter(wanted).map(Entry::key).collect();
    found.sort_unstable_by_key(|key| (ctx.keyspace.position_of(key), *key));
    out.array(found.len());
    found.iter().for_each(|key| out.bulk(key));
    Ok(())
}

fn scan(ctx: &ReadContext<'_>, args: Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let from = parse_cursor(args.arg(1))?;
    let options = ScanOptions::parse(args, 2, Walk::Keys)?;
    let (mut next, mut found) = (0, page(ctx, from, options.count));
    if let Some(first) = found.get(options.count) {
        // What shares its position with the last of the page belongs to the page.
        let last = ctx.keyspace.position_of(found[options.count - 1].key());
        let at = ctx.keyspace.position_of(first.key());
        let end = if at == last { last + 1 } else { at };
        found.retain(|entry| ctx.keyspace.position_of(entry.key()) < end);
        next = end;
    }
    found.retain(|entry| options.wants(entry) && !entry.is_expired(ctx.now_ms));
    write_head(next, found.len(), out);
    found.iter().for_each(|entry| out.bulk(entry.key()));
    Ok(())
}

/// More than `count` entries from a position on, in order, or all there are. How many more depends
/// on the table.
fn page<'a>(ctx: &ReadContext<'a>, from: u64, count: usize) -> Vec<&'a Entry> {
    let mut found: Vec<&Entry> = Vec::new();
    let mut next = from;
    loop {
        let wanted = count.saturating_sub(found.len()) + 2;
        next = ctx
            .keyspace
            .scan(ctx.database, next, wanted, b"", |entry| found.push(entry));
        if next == 0 || found.len() > count + 1 {
            break;
        }
    }
    found.sort_unstable_by_key(|entry| (ctx.keyspace.position_of(entry.key()), entry.key()));
    found
}

fn randomkey(ctx: &ReadContext<'_>, _: Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    for _ in 0..RANDOM_TRIES {
        let at = ctx.random() % POSITIONS;
        let mut found = page(ctx, at, 1);
        if found.is_empty() {
            found = page(ctx, 0, 1);
        }
        let Some(entry) = found.first() else {
            break;
        };
        if !entry.is_expired(ctx.now_ms) {
            out.bulk(entry.key());
            return Ok(());
        }
    }
    let entries = ctx.keyspace.iter(ctx.database);
    let living = entries.filter(|entry| !entry.is_expired(ctx.now_ms));
    match living.map(Entry::key).min() {
        Some(key) => out.bulk(key),
        None => out.null(),
    }
    Ok(())
}
