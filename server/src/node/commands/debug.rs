//! DEBUG: what test suites lean on, if the settings allow it.
//!
//! What concerns representations that do not exist here is accepted and has no effect where a test
//! suite switches it and goes on ([`WITHOUT_EFFECT`]), and is unknown otherwise.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use bailiwick_frame::Encoder;

use super::debug_digest::Digest;
use super::debug_populate::Populate;
use super::{Flow, NodeContext, NodeOutcome, config, debug_protocol};
use crate::commands::{CommandError, Outcome};
use crate::config::DebugAccess;
use crate::group::Group;
use crate::keyspace::{AccessClock, Entry, Object, SEGMENT_MAX_ENTRIES, Table, ValueRef};
use crate::keyspace::{Frozen, parse_canonical_int};
use crate::{node, run};

const NOT_ALLOWED: CommandError = CommandError::text(
    "ERR DEBUG command not allowed. If the enable-debug-command option is set to \"local\", you \
     can run it from a local connection, otherwise you need to set this option in the \
     configuration file, and then restart the server.",
);

/// Subcommands that are answered with OK and do nothing, with their numbers of arguments.
const WITHOUT_EFFECT: &[(&str, usize)] = &[
    ("quicklist-packed-threshold", 3),
    ("set-skip-checksum-validation", 3),
    ("set-disable-deny-scripts", 3),
    ("pause-cron", 3),
    ("replybuffer", 4),
    ("dict-resizing", 3),
];

const HELP: &[&str] = &[
    "DEBUG <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
    "CHANGE-REPL-ID",
    "    Takes a new replication id.",
    "CONFIG-REWRITE-FORCE-ALL",
    "    As CONFIG REWRITE.",
    "DIGEST",
    "    Shows a fingerprint of all data.",
    "DIGEST-VALUE <key> [<key> ...]",
    "    Shows a fingerprint of each key's value.",
    "ERROR <message>",
    "    Answers with this error.",
    "HTSTATS <dbid>",
    "    Describes the hash table of a database.",
    "HTSTATS-KEY <key>",
    "    Describes the hash table that is a key's value.",
    "LOADAOF",
    "    Loads the last checkpoint and the log behind it, and compares with what is in memory.",
    "LOG <message>",
    "    Writes a line to the server's log.",
    "OBJECT <key>",
    "    Describes how a value is kept.",
    "PANIC",
    "    Ends the process at once, without any clean-up.",
    "POPULATE <count> [<prefix>] [<size>]",
    "    Creates the keys <prefix>:0, <prefix>:1 and so on that do not exist.",
    "PROTOCOL <type>",
    "    Answers with a value of this type of the protocol.",
    "RELOAD [option ...]",
    "    As LOADAOF, after writing a checkpoint unless an option is NOSAVE.",
    "SEGFAULT",
    "    As PANIC.",
    "SET-ACTIVE-EXPIRE <0|1>",
    "    Whether expired keys are removed in the background.",
    "SLEEP <seconds>",
    "    Answers after a time, which may be a fraction.",
    "STRUCTSIZE",
    "    Shows the sizes of some structures.",
    "HELP",
    "    Print this help.",
];

pub(super) fn debug(context: &mut NodeContext<'_>) -> NodeOutcome {
    check_access(context)?;
    let args = context.args;
    let name = String::from_utf8_lossy(args.arg(1)).to_ascii_lowercase();
    match (&*name, args.len()) {
        ("help", 2) => {
            let mut encoder = context.encoder();
            encoder.array(HELP.len());
            HELP.iter().for_each(|line| encoder.simple(line));
            Ok(Flow::Continue)
        }
        ("segfault" | "panic" | "assert", 2) => crash(context),
        ("sleep", 3) => sleep(context),
        ("object", 3) => object(context),
        ("digest", 2) => digest(context),
        ("digest-value", 3..) => digest_value(context),
        ("set-active-expire", 3) => set_active_expire(context),
        ("reload", _) => reload(context),
        ("loadaof", 2) => load_back(context, false),
        ("populate", 3..=5) => Populate::parse(args, context.session.database)?.start(context),
        ("protocol", 3) => {
            debug_protocol::write(args.arg(2), &mut context.encoder())?;
            Ok(Flow::Continue)
        }
        ("htstats", 3..=4) => table_stats(context),
        ("htstats-key", 3..=4) => with_key(context, |_, _| Err(CommandError::text(NO_HASH_TABLE))),
        ("listpack", 3) => with_key(context, |_, _| Err(CommandError::text(NO_LISTPACK))),
        ("quicklist", 3..=4) => with_key(context, |_, _| Err(CommandError::text(NO_QUICKLIST))),
        ("change-repl-id", 2) => change_replication_id(context),
        ("config-rewrite-force-all", 2) => config::rewrite(context),
        ("error", 3) => {
            let text = String::from_utf8_lossy(args.arg(2)).into_owned();
            Err(CommandError::composed(text))
        }
        ("log", 3) => {
            tracing::warn!("DEBUG LOG: {}", String::from_utf8_lossy(args.arg(2)));
            context.ok()
        }
        ("structsize", 2) => structure_sizes(context),
        (name, count) if WITHOUT_EFFECT.contains(&(name, count)) => context.ok(),
        _ => Err(context.subcommand_error()),
    }
}

const NO_HASH_TABLE: &str =
    "ERR The value stored at the specified key is not represented using an hash table";
const NO_LISTPACK: &str = "ERR Not a listpack encoded object.";
const NO_QUICKLIST: &str = "ERR Not a quicklist encoded object.";

fn check_access(context: &NodeContext<'_>) -> Outcome {
    let is_allowed = match context.node.settings.load().enable_debug_command {
        DebugAccess::No => false,
        DebugAccess::Yes => true,
        DebugAccess::Local => {
            let address = context
                .session
                .client
                .address
                .parse::<std::net::SocketAddr>();
            address.is_ok_and(|address| address.ip().to_canonical().is_loopback())
        }
    };
    if is_allowed { Ok(()) } else { Err(NOT_ALLOWED) }
}

fn crash(context: &NodeContext<'_>) -> ! {
    let client = &context.session.client.address;
    tracing::error!(client, "ending at once, as DEBUG was told");
    std::process::abort()
}

fn sleep(context: &mut NodeContext<'_>) -> NodeOutcome {
    let seconds: f64 = std::str::from_utf8(context.args.arg(2))
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(0.0);
    let time = Duration::try_from_secs_f64(seconds).unwrap_or_default();
    context.blocking(move |out| {
        thread::sleep(time);
        out.ok();
        Ok(())
    })
}

/// Calls `tell` with the entry of the key in question.
fn with_key(
    context: &mut NodeContext<'_>,
    tell: impl FnOnce(&Entry, &mut Encoder<'_>) -> Outcome,
) -> NodeOutcome {
    let (group, key) = (context.group()?, context.args.arg(2));
    let state = group.glance().ok_or_else(|| group.busy_error())?;
    let now_ms = node::now_ms().max(state.time_ms);
    let entry = state.keyspace.get(context.session.database, key, now_ms);
    tell(
        entry.ok_or(CommandError::NoSuchKey)?,
        &mut context.encoder(),
    )?;
    Ok(Flow::Continue)
}

fn object(context: &mut NodeContext<'_>) -> NodeOutcome {
    let clock = AccessClock::new(Default::default(), node::now_ms(), 1);
    with_key(context, |entry, out| {
        let (address, value) = (entry.key().as_ptr(), entry.value());
        let access = entry.access() & 0xff_ffff;
        out.simple(&format!(
            "Value at:{address:p} refcount:1 encoding:{} serializedlength:{} lru:{access} \
             lru_seconds_idle:{}",
            value.encoding(),
            serialized_len(value),
            clock.idle_s(entry)
        ));
        Ok(())
    })
}

/// The length that the value would have in Redis's dump format, without compression and, for
/// values of several elements, without packing them.
fn serialized_len(value: ValueRef<'_>) -> usize {
    /// A longer string is not looked at for a number.
    const NUMBER_MAX_BYTES: usize = 11;
    let of_bytes = |bytes: &[u8]| match bytes.len() {
        len @ ..64 => len + 1,
        len @ ..16384 => len + 2,
        len => len + 5,
    };
    let of_number = |number: i64| {
        if i8::try_from(number).is_ok() {
            2
        } else if i16::try_from(number).is_ok() {
            3
        } else if i32::try_from(number).is_ok() {
            5
        } else {
            of_bytes(itoa::Buffer::new().format(number).as_bytes())
        }
    };
    let of_text = |bytes: &[u8]| {
        let number = Some(bytes).filter(|bytes| bytes.len() <= NUMBER_MAX_BYTES);
        number
            .and_then(parse_canonical_int)
            .map_or(of_bytes(bytes), of_number)
    };
    match value {
        ValueRef::Int(number) => of_number(number),
        ValueRef::String(bytes) => of_text(bytes),
        ValueRef::Object(Object::String(bytes)) => of_text(bytes),
        ValueRef::Object(Object::Fenced(fenced)) => of_text(&fenced.value),
        ValueRef::Object(object) => object.elements().map_or(0, |elements| {
            let mut len = 1;
            elements.visit(0, elements.len(), &mut |part| len += of_text(part));
            len
        }),
    }
}

fn digest(context: &mut NodeContext<'_>) -> NodeOutcome {
    let group = context.group()?;
    context.blocking(move |out| {
        let (now_ms, tables) = {
            let state = group.state();
            let databases = 0..state.keyspace.databases();
            let freeze = |database| {
                let tables = state.keyspace.tables_of(database).map(Table::freeze);
                tables.collect::<Vec<_>>()
            };
            let tables: Vec<Vec<Frozen>> = databases.map(freeze).collect();
            (node::now_ms().max(state.time_ms), tables)
        };
        let mut digest = Digest::default();
        for (number, tables) in (0..).zip(tables) {
            let mut is_empty = true;
            for segment in tables.into_iter().flat_map(Frozen::into_segments) {
                for entry in segment.iter().filter(|entry| !entry.is_expired(now_ms)) {
                    if std::mem::take(&mut is_empty) {
                        digest.begin_database(number);
                    }
                    digest.add_key(entry);
                }
            }
        }
        out.simple(&digest.to_string());
        Ok(())
    })
}

fn digest_value(context: &mut NodeContext<'_>) -> NodeOutcome {
    let (group, keys) = (context.group()?, context.args.from(2));
    let database = context.session.database;
    let state = group.glance().ok_or_else(|| group.busy_error())?;
    let now_ms = node::now_ms().max(state.time_ms);
    let mut encoder = context.encoder();
    encoder.array(keys.len());
    for key in keys.iter() {
        let digest = Digest::of_value(state.keyspace.get(database, key, now_ms));
        encoder.simple(&digest.to_string());
    }
    Ok(Flow::Continue)
}

fn set_active_expire(context: &mut NodeContext<'_>) -> NodeOutcome {
    let on = parse_canonical_int(context.args.arg(2)).unwrap_or(0) != 0;
    context.node.active_expire.store(on, Ordering::Relaxed);
    context.ok()
}

fn reload(context: &mut NodeContext<'_>) -> NodeOutcome {
    let mut save = true;
    for option in context.args.from(2).iter() {
        if option.eq_ignore_ascii_case(b"nosave") {
            save = false;
        } else if !option.eq_ignore_ascii_case(b"merge") && !option.eq_ignore_ascii_case(b"noflush")
        {
            return Err(CommandError::text(
                "ERR DEBUG RELOAD only supports the MERGE, NOFLUSH and NOSAVE options.",
            ));
        }
    }
    load_back(context, save)
}

fn load_back(context: &mut NodeContext<'_>, save: bool) -> NodeOutcome {
    let group: Arc<Group> = context.group()?;
    context.blocking(move |out| {
        let loaded = group.reload(save);
        loaded.map_err(|error| CommandError::composed(format!("ERR {error}")))?;
        out.ok();
        Ok(())
    })
}

fn table_stats(context: &mut NodeContext<'_>) -> NodeOutcome {
    let group = context.group()?;
    let number = parse_canonical_int(context.args.arg(2)).ok_or(CommandError::NotInteger)?;
    let state = group.glance().ok_or_else(|| group.busy_error())?;
    let table = usize::try_from(number)
        .ok()
        .filter(|&number| number < state.keyspace.databases());
    let table = table.ok_or(CommandError::text("ERR Out of range database"))?;
    let keyspace = &state.keyspace;
    let segments: usize = keyspace.tables_of(table).map(Table::segment_count).sum();
    let text = format!(
        "[Dictionary HT]\nHash table 0 stats (main hash table):\n table size: {}\n \
         number of elements: {}\n segments: {segments}\n bytes without entries: {}\n[Expires HT]\n\
         Ordered by time:\n number of elements: {}\n",
        segments * SEGMENT_MAX_ENTRIES,
        keyspace.len_of(table),
        keyspace.structure_bytes_of(table),
        keyspace.expiring_len_of(table)
    );
    context.encoder().verbatim("txt", text.as_bytes());
    Ok(Flow::Continue)
}

fn change_replication_id(context: &mut NodeContext<'_>) -> NodeOutcome {
    let id = run::random_id();
    let id = id.map_err(|error| CommandError::composed(format!("ERR {error}")))?;
    *context.node.replication_id.lock() = id;
    context.ok()
}

fn structure_sizes(context: &mut NodeContext<'_>) -> NodeOutcome {
    let text = format!(
        "bits:{} entry:{} object:{} table:{}",
        usize::BITS,
        size_of::<Entry>(),
        size_of::<Object>(),
        size_of::<Table>()
    );
    context.encoder().simple(&text);
    Ok(Flow::Continue)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn serialized_lengths_are_those_of_the_dump_format() {
        let lengths = [
            (ValueRef::Int(1), 2),
            (ValueRef::Int(300), 3),
            (ValueRef::Int(70_000), 5),
        ];
        for (value, len) in lengths {
            assert_eq!(serialized_len(value), len);
        }
        assert_eq!(serialized_len(ValueRef::Int(3_000_000_000)), 11);
        assert_eq!(serialized_len(ValueRef::String(b"value:1")), 8);
        assert_eq!(serialized_len(ValueRef::String(&[b'x'; 100])), 102);
    }
}
