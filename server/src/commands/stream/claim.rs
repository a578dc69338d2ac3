//! XCLAIM and XAUTOCLAIM: pending entries change hands.

use bailiwick_frame::{Args, Encoder};

use super::super::parse::integer;
use super::super::{Command, CommandError, Handler, Outcome, WriteContext, is_option};
use super::group::{CONSUMER_CREATED, announce};
use super::reply::{write_entry, write_id};
use super::{FAST, ROW, WRITE, id, no_group};
use crate::keyspace::StreamId;
use crate::keyspace::stream::{Entries, Group, Pending, Slot, Stream};

/// How many pending entries XAUTOCLAIM looks at for each that is asked for.
const ATTEMPTS_FACTOR: u64 = 10;

/// How many entries XAUTOCLAIM claims at most if nobody says.
const DEFAULT_COUNT: u64 = 100;

/// What Redis takes for a number of entries that memory could hold.
const MAX_COUNT: u64 = i64::MAX as u64 / 16;

/// The rows of this module.
pub(in crate::commands) static COMMANDS: &[Command] = &[
    Command {
        name: "xclaim",
        arity: -6,
        flags: WRITE | FAST,
        complexity: "O(log N) for each entry, N being the number of pending ones.",
        summary: "Makes a consumer the owner of pending entries.",
        syntax: "key group consumer min-idle-time id [id ...] [IDLE ms] \
                 [TIME unix-time-milliseconds] [RETRYCOUNT count] [FORCE] [JUSTID] \
                 [LASTID lastid]",
        handler: Handler::Write(xclaim),
        ..ROW
    },
    Command {
        name: "xautoclaim",
        arity: -6,
        flags: WRITE | FAST,
        since: "6.2.0",
        complexity: "O(N), N being COUNT.",
        summary: "Makes a consumer the owner of entries that have been pending for long.",
        syntax: "key group consumer min-idle-time start [COUNT count] [JUSTID]",
        handler: Handler::Write(xautoclaim),
        ..ROW
    },
];

/// How entries are claimed.
struct Claim {
    min_idle_ms: i64,
    delivered_ms: i64,
    /// The number of deliveries to be set.
    deliveries: Option<u64>,
    force: bool,
    just_id: bool,
    now_ms: i64,
}

impl Claim {
    /// Makes the consumer the owner of an entry that is there and has been idle for long enough.
    fn take(
        &self,
        group: &mut Group,
        entries: &Entries<'_>,
        slot: Slot,
        id: StreamId,
        out: &mut Encoder<'_>,
    ) -> bool {
        let deliveries = match group.pending(id) {
            Some(held) => {
                let idle_ms = self.now_ms.wrapping_sub(held.delivered_ms);
                if self.min_idle_ms != 0 && idle_ms < self.min_idle_ms {
                    return false;
                }
                held.deliveries
            }
            None if self.force => 1,
            None => return false,
        };
        let counted = deliveries.wrapping_add(u64::from(!self.just_id));
        let pending = Pending {
            consumer: slot,
            delivered_ms: self.delivered_ms,
            deliveries: self.deliveries.unwrap_or(counted),
        };
        group.set_pending(id, pending);
        group.note_active(slot, self.now_ms);
        match entries.get(id) {
            Some(entry) if !self.just_id => write_entry(entry, out),
            _ => write_id(id, out),
        }
        true
    }
}

/// What XCLAIM is told besides the consumer.
struct Options {
    ids: Vec<StreamId>,
    last_id: StreamId,
    claim: Claim,
}

impl Options {
    fn parse(args: Args<'_>, now_ms: i64) -> Result<Self, CommandError> {
        let words = args.iter().skip(5);
        let ids: Vec<_> = words.map_while(|arg| id::strict(arg, 0).ok()).collect();
        let mut options = Self {
            last_id: StreamId::MIN,
            claim: Claim {
                min_idle_ms: min_idle(args, "XCLAIM")?,
                delivered_ms: now_ms,
                deliveries: None,
                force: false,
                just_id: false,
                now_ms,
            },
            ids,
        };
        let mut at = 5 + options.ids.len();
        while at < args.len() {
            at += options.take_option(args, at)?;
        }
        Ok(options)
    }

    /// Reads an option; how many arguments it has.
    fn take_option(&mut self, args: Args<'_>, at: usize) -> Result<usize, CommandError> {
        let claim = &mut self.claim;
        let number = |option: &str| {
            integer(args.arg(at + 1)).map_err(|_| {
                CommandError::composed(format!("ERR Invalid {option} option argument for XCLAIM"))
            })
        };
        let has_value = at + 1 < args.len();
        match () {
            () if is_option(args, at, "force") => claim.force = true,
            () if is_option(args, at, "justid") => claim.just_id = true,
            () if has_value && is_option(args, at, "idle") => {
                let delivered_ms = claim.now_ms.wrapping_sub(number("IDLE")?);
                claim.delivered_ms = sane(delivered_ms, claim.now_ms);
            }
            () if has_value && is_option(args, at, "time") => {
                claim.delivered_ms = sane(number("TIME")?, claim.now_ms);
            }
            () if has_value && is_option(args, at, "retrycount") => {
                claim.deliveries = u64::try_from(number("RETRYCOUNT")?).ok();
            }
            () if has_value && is_option(args, at, "lastid") => {
                self.last_id = id::strict(args.arg(at + 1), 0)?;
            }
            () => {
                let option = super::text(args.arg(at));
                return Err(CommandError::composed(format!(
                    "ERR Unrecognized XCLAIM option '{option}'"
                )));
            }
        }
        let is_flag = is_option(args, at, "force") || is_option(args, at, "justid");
        Ok(if is_flag { 1 } else { 2 })
    }
}

/// A time of delivery that lies in the past, or else now.
fn sane(delivered_ms: i64, now_ms: i64) -> i64 {
    match (0..=now_ms).contains(&delivered_ms) {
        true => delivered_ms,
        false => now_ms,
    }
}

fn min_idle(args: Args<'_>, command: &str) -> Result<i64, CommandError> {
    let idle_ms = integer(args.arg(4)).map_err(|_| {
        CommandError::composed(format!("ERR Invalid min-idle-time argument for {command}"))
    })?;
    Ok(idle_ms.max(0))
}

/// Refuses a group that is not there.
fn check_group(ctx: &WriteContext<'_>, key: &[u8], name: &[u8]) -> Outcome {
    let stream = ctx.object::<Stream>(key)?;
    match stream.and_then(|stream| stream.group(name)) {
        Some(_) => Ok(()),
        None => Err(no_group(key, name, "")),
    }
}

fn xclaim(ctx: &mut WriteContext<'_>, args: Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let (key, name, consumer) = (args.arg(1), args.arg(2), args.arg(3));
    check_group(ctx, key, name)?;
    let options = Options::parse(args, ctx.now_ms)?;
    let claim = &options.claim;
    let mut is_new = false;
    let run = |group: &mut Group, entries: &Entries<'_>| {
        group.last_id = group.last_id.max(options.last_id);
        is_new = group.slot(consumer).is_none();
        let slot = group.see_consumer(consumer, claim.now_ms);
        let (list, mut claimed, mut changes) = (out.deferred_array(), 0, 0);
        for &id in &options.ids {
            if !entries.has(id) {
                changes += u64::from(group.remove_pending(id));
            } else if claim.take(group, entries, slot, id, out) {
                claimed += 1;
            }
        }
        out.finish_array(list, claimed);
        changes + claimed as u64
    };
    // As in Redis, WATCH does not notice what a group does.
    let changes = ctx.edit(key, |stream: &mut Stream| (stream.edit_group(name, run), 0))?;
    if is_new {
        announce(ctx, key, CONSUMER_CREATED);
    }
    ctx.note_changes(changes.flatten().unwrap_or(0));
    Ok(())
}

fn xautoclaim(ctx: &mut WriteContext<'_>, args: Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let (key, name, consumer) = (args.arg(1), args.arg(2), args.arg(3));
    let mut claim = Claim {
        min_idle_ms: min_idle(args, "XAUTOCLAIM")?,
        delivered_ms: ctx.now_ms,
        deliveries: None,
        force: false,
        just_id: false,
        now_ms: ctx.now_ms,
    };
    let start = id::start(args.arg(5))?;
    let mut count = DEFAULT_COUNT;
    let mut at = 6;
    while at < args.len() {
        if is_option(args, at, "count") && at + 1 < args.len() {
            count = parse_count(args.arg(at + 1))?;
            at += 2;
        } else if is_option(args, at, "justid") {
            claim.just_id = true;
            at += 1;
        } else {
            return Err(CommandError::Syntax);
        }
    }
    check_group(ctx, key, name)?;
    let mut is_new = false;
    let run = |group: &mut Group, entries: &Entries<'_>| {
        is_new = group.slot(consumer).is_none();
        let slot = group.see_consumer(consumer, claim.now_ms);
        sweep(&claim, group, entries, slot, (start, count), out)
    };
    // As in Redis, WATCH does not notice what a group does.
    let changes = ctx.edit(key, |stream: &mut Stream| (stream.edit_group(name, run), 0))?;
    if is_new {
        announce(ctx, key, CONSUMER_CREATED);
    }
    ctx.note_changes(changes.flatten().unwrap_or(0));
    Ok(())
}

fn parse_count(arg: &[u8]) -> Result<u64, CommandError> {
    let count = integer(arg)
        .ok()
        .and_then(|count| u64::try_from(count).ok());
    let count = count.filter(|count| (1..=MAX_COUNT).contains(count));
    count.ok_or(CommandError::text("ERR COUNT must be > 0"))
}

/// Claims what is idle from an ID on; replies with where to go on, what was claimed, and what was
/// pending and is no longer there. Returns the number of changes.
fn sweep(
    claim: &Claim,
    group: &mut Group,
    entries: &Entries<'_>,
    slot: Slot,
    (start, mut count): (StreamId, u64),
    out: &mut Encoder<'_>,
) -> u64 {
    let mut attempts = count * ATTEMPTS_FACTOR;
    let (mut gone, mut claimed, mut next) = (Vec::new(), 0, Some(start));
    let mut body = Vec::new();
    let mut list = Encoder::new(&mut body, out.protocol());
    let cursor = loop {
        let found = next.and_then(|next| group.pending_from(next).next());
        let Some((id, _)) = found else {
            break StreamId::MIN;
        };
        if attempts == 0 || count == 0 {
            break id;
        }
        attempts -= 1;
        next = id.next();
        if !entries.has(id) {
            group.remove_pending(id);
            gone.push(id);
            count -= 1;
        } else if claim.take(group, entries, slot, id, &mut list) {
            claimed += 1;
            count -= 1;
        }
    };
    out.array(3);
    write_id(cursor, out);
    out.array(claimed);
    out.buffer().extend_from_slice(&body);
    out.array(gone.len());
    gone.iter().for_each(|&id| write_id(id, out));
    (claimed + gone.len()) as u64
}
