//! XADD and XTRIM: new entries, and how many old ones are kept.

use bailiwick_frame::{Args, Encoder};

use super::super::parse::integer;
use super::super::{Command, CommandError, Handler, Outcome, WriteContext, is_option};
use super::group::announce;
use super::id::{self, NewId};
use super::reply::write_id;
use super::{DENYOOM, FAST, ROW, WRITE};
use crate::keyspace::StreamId;
use crate::keyspace::stream::{Kept, NODE_MAX_ENTRIES, Stream, Trim};

const TOO_SMALL: CommandError = CommandError::text(
    "ERR The ID specified in XADD is equal or smaller than the target stream top item",
);
const ZERO: CommandError =
    CommandError::text("ERR The ID specified in XADD must be greater than 0-0");
const EXHAUSTED: CommandError = CommandError::text(
    "ERR The stream has exhausted the last possible ID, unable to add more items",
);
const TOO_LARGE: CommandError = CommandError::text("ERR Elements are too large to be stored");
const TWO_STRATEGIES: CommandError = CommandError::text(
    "ERR syntax error, MAXLEN and MINID options at the same time are not compatible",
);
const NO_STRATEGY: CommandError = CommandError::text(
    "ERR syntax error, LIMIT cannot be used without specifying a trimming strategy",
);
const EXACT_LIMIT: CommandError =
    CommandError::text("ERR syntax error, LIMIT cannot be used without the special ~ option");
const NO_TRIM: CommandError =
    CommandError::text("ERR syntax error, XTRIM must be called with a trimming strategy");

/// The most that an entry's names and values may have in total, in bytes.
const ENTRY_MAX_BYTES: usize = 1 << 30;

/// How many entries an approximate trim removes at most if nobody says.
const DEFAULT_LIMIT: u64 = 100 * NODE_MAX_ENTRIES as u64;

/// The rows of this module.
pub(in crate::commands) static COMMANDS: &[Command] = &[
    Command {
        name: "xadd",
        arity: -5,
        flags: WRITE | DENYOOM | FAST,
        complexity: "O(1), and O(N) where entries are trimmed, N being how many.",
        summary: "Adds an entry to the end of a stream.",
        syntax: "key [NOMKSTREAM] [<MAXLEN | MINID> [= | ~] threshold [LIMIT count]] <* | id> \
                 field value [field value ...]",
        handler: Handler::Write(xadd),
        ..ROW
    },
    Command {
        name: "xtrim",
        arity: -4,
        flags: WRITE,
        complexity: "O(N), N being the number of entries removed, most of them by whole nodes.",
        summary: "Removes entries from the beginning of a stream.",
        syntax: "key <MAXLEN | MINID> [= | ~] threshold [LIMIT count]",
        handler: Handler::Write(xtrim),
        ..ROW
    },
];

/// What XADD and XTRIM are told.
struct Options {
    trim: Option<Trim>,
    create: bool,
    /// Of XADD.
    id: NewId,
    /// The argument behind the options; behind the ID for XADD.
    end: usize,
}

impl Options {
    fn parse(args: Args<'_>, is_add: bool) -> Result<Self, CommandError> {
        let mut options = Self {
            trim: None,
            create: true,
            id: NewId::Auto,
            end: 2,
        };
        let mut limit = None;
        while options.end < args.len() {
            let at = options.end;
            let has_value = at + 1 < args.len();
            options.end += 1;
            if is_add && args.arg(at) == b"*" {
                break;
            } else if has_value && (is_option(args, at, "maxlen") || is_option(args, at, "minid")) {
                if options.trim.is_some() {
                    return Err(TWO_STRATEGIES);
                }
                options.take_trim(args, is_option(args, at, "maxlen"))?;
            } else if has_value && is_option(args, at, "limit") {
                let value = u64::try_from(integer(args.arg(at + 1))?);
                let refusal = CommandError::text("ERR The LIMIT argument must be >= 0.");
                limit = Some(value.map_err(|_| refusal)?);
                options.end += 1;
            } else if is_add && is_option(args, at, "nomkstream") {
                options.create = false;
            } else if is_add {
                options.id = id::new_id(args.arg(at))?;
                break;
            } else {
                return Err(CommandError::Syntax);
            }
        }
        options.apply_limit(limit, is_add)?;
        Ok(options)
    }

    /// Reads what stands behind MAXLEN or MINID.
    fn take_trim(&mut self, args: Args<'_>, is_maxlen: bool) -> Result<(), CommandError> {
        let has_two = self.end + 1 < args.len();
        let whole_nodes = has_two && args.arg(self.end) == b"~";
        if whole_nodes || has_two && args.arg(self.end) == b"=" {
            self.end += 1;
        }
        let threshold = args.arg(self.end);
        self.end += 1;
        let kept = if is_maxlen {
            let refusal = CommandError::text("ERR The MAXLEN argument must be >= 0.");
            Kept::Latest(u64::try_from(integer(threshold)?).map_err(|_| refusal)?)
        } else {
            Kept::From(id::strict(threshold, 0)?)
        };
        self.trim = Some(Trim {
            kept,
            whole_nodes,
            limit: if whole_nodes { DEFAULT_LIMIT } else { 0 },
        });
        Ok(())
    }

    fn apply_limit(&mut self, limit: Option<u64>, is_add: bool) -> Result<(), CommandError> {
        match (&mut self.trim, limit) {
            (None, Some(1..)) => Err(NO_STRATEGY),
            (None, _) if !is_add => Err(NO_TRIM),
            (Some(trim), Some(_)) if !trim.whole_nodes => Err(EXACT_LIMIT),
            // LIMIT is looked at even where nothing is trimmed.
            (None, Some(_)) => Err(EXACT_LIMIT),
            (Some(trim), Some(limit)) => {
                trim.limit = limit;
                Ok(())
            }
            (_, None) => Ok(()),
        }
    }
}

fn xadd(ctx: &mut WriteContext<'_>, args: Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let options = Options::parse(args, true)?;
    let fields = args.len().saturating_sub(options.end);
    if fields < 2 || fields % 2 == 1 {
        return Err(CommandError::arity("xadd"));
    }
    if options.id == NewId::Full(StreamId::MIN) {
        return Err(ZERO);
    }
    let key = args.arg(1);
    let stream = ctx.peek_object::<Stream>(key)?;
    if stream.is_none() && !options.create {
        out.null();
        return Ok(());
    }
    let last_id = stream.map_or(StreamId::MIN, Stream::last_id);
    let id = choose_id(options.id, last_id, ctx.now_ms)?;
    let words = args.from(options.end);
    let pairs: Vec<(&[u8], &[u8])> = (0..words.len())
        .step_by(2)
        .map(|at| (words.arg(at), words.arg(at + 1)))
        .collect();
    if words.iter().map(<[u8]>::len).sum::<usize>() > ENTRY_MAX_BYTES {
        return Err(TOO_LARGE);
    }
    let trimmed = ctx.edit_or_create(key, |stream: &mut Stream| {
        stream.append(id, &pairs);
        let trimmed = options.trim.map_or(0, |trim| stream.trim(trim));
        (trimmed, 1 + trimmed)
    })?;
    if trimmed > 0 {
        announce(ctx, key, "xtrim");
    }
    write_id(id, out);
    Ok(())
}

/// The ID of an entry behind `last_id`.
fn choose_id(wanted: NewId, last_id: StreamId, now_ms: i64) -> Result<StreamId, CommandError> {
    if last_id == StreamId::MAX {
        return Err(EXHAUSTED);
    }
    let id = match wanted {
        NewId::Full(id) => Some(id),
        NewId::AutoSeq(ms) if ms == last_id.ms => last_id.next().filter(|next| next.ms == ms),
        NewId::AutoSeq(ms) => Some(StreamId { ms, seq: 0 }),
        NewId::Auto => {
            let ms = u64::try_from(now_ms).unwrap_or(0);
            if ms > last_id.ms {
                Some(StreamId { ms, seq: 0 })
            } else {
                last_id.next()
            }
        }
    };
    id.filter(|&id| id > last_id).ok_or(TOO_SMALL)
}

fn xtrim(ctx: &mut WriteContext<'_>, args: Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let options = Options::parse(args, false)?;
    let trim = options
        .trim
        .expect("options without a strategy were refused");
    let removed = ctx.edit(args.arg(1), |stream: &mut Stream| {
        let removed = stream.trim(trim);
        (removed, removed)
    })?;
    out.integer(removed.unwrap_or(0) as i64);
    Ok(())
}
