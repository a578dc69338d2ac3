//! XREAD, the rows of XREAD and XREADGROUP, and the arguments that both take.

use bailiwick_frame::{Args, Encoder, Protocol};

use super::super::block::{milliseconds, nothing_there};
use super::super::parse::integer;
use super::super::{
    Command, CommandError, Flag, Handler, Keys, Outcome, ReadContext, Timeout, is_option,
};
use super::read_group::xreadgroup;
use super::reply::write_entries;
use super::{READONLY, ROW, WRITE, id};
use crate::keyspace::StreamId;
use crate::keyspace::stream::Stream;
use crate::state::{Awaits, Kind};

const NEW_ONLY: CommandError = CommandError::text(
    "ERR The > ID can be specified only when calling XREADGROUP using the GROUP <group> <consumer> \
     option.",
);

const BLOCKING: u32 = Flag::Blocking as u32;

/// The rows of this module and of `read_group`.
pub(in crate::commands) static COMMANDS: &[Command] = &[
    Command {
        name: "xread",
        arity: -4,
        flags: READONLY | BLOCKING,
        keys: Keys::Streams { from: 1 },
        complexity: "O(N), N being the number of entries returned.",
        summary: "Replies with the entries of one stream or several behind given IDs.",
        syntax: "[COUNT count] [BLOCK milliseconds] STREAMS key [key ...] id [id ...]",
        timeout: Timeout::Option,
        handler: Handler::Read(xread),
        ..ROW
    },
    Command {
        name: "xreadgroup",
        arity: -7,
        flags: WRITE | BLOCKING,
        keys: Keys::Streams { from: 4 },
        complexity: "O(N log M), N being the number of entries returned and M that of pending ones.",
        summary: "Delivers new entries to a consumer of a group, or repeats what is pending.",
        syntax: "GROUP group consumer [COUNT count] [BLOCK milliseconds] [NOACK] STREAMS key \
                 [key ...] id [id ...]",
        timeout: Timeout::Option,
        handler: Handler::Write(xreadgroup),
        ..ROW
    },
];

/// What XREAD or XREADGROUP is told.
pub(super) struct Request<'a> {
    args: Args<'a>,
    /// Group and consumer, of XREADGROUP.
    pub(super) group: Option<(&'a [u8], &'a [u8])>,
    pub(super) no_ack: bool,
    /// How many entries of each stream are wanted at most; 0 for all.
    pub(super) count: u64,
    /// Whether it is ready to wait for an entry; for how long is the business of the client's node.
    may_block: bool,
    /// The first key.
    first: usize,
}

impl<'a> Request<'a> {
    pub(super) fn parse(args: Args<'a>, is_group: bool, now_ms: i64) -> Result<Self, CommandError> {
        let mut request = Self {
            args,
            group: None,
            no_ack: false,
            count: 0,
            may_block: false,
            first: 0,
        };
        let mut at = 1;
        while at < args.len() && request.first == 0 {
            let behind = args.len() - at - 1;
            at += match () {
                () if behind > 0 && is_option(args, at, "block") => {
                    milliseconds(args.arg(at + 1), now_ms)?;
                    request.may_block = true;
                    2
                }
                () if behind > 0 && is_option(args, at, "count") => {
                    request.count = u64::try_from(integer(args.arg(at + 1))?).unwrap_or(0);
                    2
                }
                () if behind > 0 && is_option(args, at, "streams") => {
                    if behind % 2 == 1 {
                        return Err(unbalanced(is_group));
                    }
                    request.first = at + 1;
                    1
                }
                () if behind > 1 && is_option(args, at, "group") => {
                    if !is_group {
                        return Err(only_in_group("GROUP"));
                    }
                    request.group = Some((args.arg(at + 1), args.arg(at + 2)));
                    3
                }
                () if is_option(args, at, "noack") => {
                    if !is_group {
                        return Err(only_in_group("NOACK"));
                    }
                    request.no_ack = true;
                    1
                }
                () => return Err(CommandError::Syntax),
            };
        }
        if request.first == 0 {
            return Err(CommandError::Syntax);
        }
        if is_group && request.group.is_none() {
            let text = "ERR Missing GROUP option for XREADGROUP";
            return Err(CommandError::text(text));
        }
        Ok(request)
    }

    /// Each key with the word for its ID.
    pub(super) fn streams(&self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> + use<'a> {
        let (args, first) = (self.args, self.first);
        let count = (args.len() - first) / 2;
        (first..first + count).map(move |at| (args.arg(at), args.arg(at + count)))
    }

    /// What it waits for if nothing lies behind `ids`, in which `$` has been replaced. A consumer
    /// whose stream or group goes away has to hear of it.
    fn awaits(&self, ids: &[StreamId]) -> Awaits {
        Awaits {
            kind: Kind::Stream,
            or_absent: self.group.is_some(),
            keys: self.streams().map(|(key, _)| key.into()).collect(),
            request: self.group.is_none().then(|| self.pinned(ids)),
        }
    }

    /// The same request with the IDs for which `$` stood when it arrived.
    fn pinned(&self, ids: &[StreamId]) -> Vec<Vec<u8>> {
        let first_id = self.args.len() - ids.len();
        let words = self.args.iter().enumerate().map(|(at, word)| match word {
            b"$" if at >= first_id => ids[at - first_id].to_string().into_bytes(),
            word => word.to_vec(),
        });
        words.collect()
    }
}

fn only_in_group(option: &str) -> CommandError {
    CommandError::composed(format!(
        "ERR The {option} option is only supported by XREADGROUP. You called XREAD instead."
    ))
}

fn unbalanced(is_group: bool) -> CommandError {
    let (name, mark) = if is_group {
        ("xreadgroup", '>')
    } else {
        ("xread", '$')
    };
    CommandError::composed(format!(
        "ERR Unbalanced '{name}' list of streams: for each stream key an ID or '{mark}' must be \
         specified."
    ))
}

/// What becomes of a request for which there is nothing: with BLOCK it waits, where it may, until
/// an entry lies behind one of `ids`, in which `$` has been replaced, or, of XREADGROUP, its group
/// is gone.
pub(super) fn nothing_new(
    may_wait: bool,
    request: &Request<'_>,
    ids: &[StreamId],
    out: &mut Encoder<'_>,
) -> Outcome {
    let may_wait = may_wait && request.may_block;
    nothing_there(may_wait, || request.awaits(ids), || out.null_array())
}

/// The header of a reply of `count` streams.
pub(super) fn write_streams_header(count: usize, out: &mut Encoder<'_>) {
    match out.protocol() {
        Protocol::Resp2 => out.array(count),
        Protocol::Resp3 => out.map(count),
    }
}

/// What stands before the entries of a stream.
pub(super) fn write_stream_header(key: &[u8], out: &mut Encoder<'_>) {
    if out.protocol() == Protocol::Resp2 {
        out.array(2);
    }
    out.bulk(key);
}

fn xread(ctx: &ReadContext<'_>, args: Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let request = Request::parse(args, false, ctx.now_ms)?;
    let (mut ids, mut served) = (Vec::new(), Vec::new());
    for (key, word) in request.streams() {
        let stream = ctx.object::<Stream>(key)?;
        let behind = match word {
            b"$" => stream.map_or(StreamId::MIN, Stream::last_id),
            b">" => return Err(NEW_ONLY),
            _ => id::strict(word, 0)?,
        };
        ids.push(behind);
        if let (Some(stream), Some(start)) = (stream, behind.next())
            && stream.top_id() > behind
        {
            served.push((key, stream, start));
        }
    }
    if served.is_empty() {
        return nothing_new(ctx.may_wait, &request, &ids, out);
    }
    write_streams_header(served.len(), out);
    for (key, stream, start) in served {
        write_stream_header(key, out);
        write_entries(stream.entries().from(start), request.count, out);
    }
    Ok(())
}
