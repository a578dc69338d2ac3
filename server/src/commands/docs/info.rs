//! The ten-element entry of `COMMAND INFO`.

use bailiwick_frame::Encoder;

use super::hints;
use crate::commands::{Command, Flag, Keys, categories_of};

/// Flags in the order in which Redis lists them.
static FLAGS: &[(Flag, &str)] = &[
    (Flag::Write, "write"),
    (Flag::Readonly, "readonly"),
    (Flag::Denyoom, "denyoom"),
    (Flag::Admin, "admin"),
    (Flag::Pubsub, "pubsub"),
    (Flag::Noscript, "noscript"),
    (Flag::Blocking, "blocking"),
    (Flag::Loading, "loading"),
    (Flag::Stale, "stale"),
    (Flag::SkipMonitor, "skip_monitor"),
    (Flag::SkipSlowlog, "skip_slowlog"),
    (Flag::Fast, "fast"),
    (Flag::NoAuth, "no_auth"),
    (Flag::MayReplicate, "may_replicate"),
    (Flag::NoAsyncLoading, "no_async_loading"),
    (Flag::NoMulti, "no_multi"),
    (Flag::NoMandatoryKeys, "no_mandatory_keys"),
    (Flag::Movablekeys, "movablekeys"),
    (Flag::AllowBusy, "allow_busy"),
];

/// Writes the entry of a command, those of its subcommands inside it.
pub(super) fn write_entry(command: &Command, out: &mut Encoder<'_>) {
    let (first, last, step) = match command.keys {
        Keys::None | Keys::Inner { .. } => (0, 0, 0),
        Keys::Range { first, last, step } => (first.into(), last.into(), step.into()),
        // Whoever reads only these three numbers learns of the key that stands apart.
        Keys::Counted { target: 0, .. } | Keys::Streams { .. } => (0, 0, 0),
        Keys::Stored { .. } | Keys::Sorted { .. } => (1, 1, 1),
        Keys::Counted { target, .. } => (target.into(), target.into(), 1),
    };
    let tips = hints::of(command).tips;
    out.array(10);
    out.bulk(command.full_name().as_bytes());
    out.integer(i64::from(command.arity));
    write_flags(command, out);
    out.integer(first);
    out.integer(last);
    out.integer(step);
    write_categories(command, out);
    out.set(tips.len());
    tips.iter().for_each(|tip| out.bulk(tip.as_bytes()));
    write_key_specs(command, out);
    out.set(command.subcommands.len());
    command
        .subcommands
        .iter()
        .for_each(|sub| write_entry(sub, out));
}

fn write_flags(command: &Command, out: &mut Encoder<'_>) {
    let is_moving = !matches!(command.keys, Keys::None | Keys::Range { .. });
    let has = |flag| command.has(flag) || flag == Flag::Movablekeys && is_moving;
    let flags = FLAGS.iter().filter(|(flag, _)| has(*flag));
    out.set(flags.clone().count());
    flags.for_each(|(_, name)| out.simple(name));
}

fn write_categories(command: &Command, out: &mut Encoder<'_>) {
    out.set(categories_of(command).count());
    categories_of(command).for_each(|name| out.simple(&format!("@{name}")));
}

/// All specifications but the last cover one key each, the last one what is left of the range, or
/// the keys that are counted.
fn write_key_specs(command: &Command, out: &mut Encoder<'_>) {
    let uses = hints::of(command).uses;
    out.set(uses.len());
    for (i, flags) in uses.iter().enumerate() {
        let is_last = i + 1 == uses.len();
        let (begin, search) = match command.keys {
            Keys::None | Keys::Inner { .. } => (0, Search::Range { last: 0, step: 0 }),
            Keys::Range { first, last, step } => {
                let begin = i64::from(first) + i as i64;
                let last = match last {
                    _ if !is_last => 0,
                    ..0 => i64::from(last),
                    0.. => i64::from(last) - begin,
                };
                (
                    begin,
                    Search::Range {
                        last,
                        step: step.into(),
                    },
                )
            }
            Keys::Counted { count, .. } if is_last => (count.into(), Search::Counted),
            Keys::Counted { target, .. } => (target.into(), Search::Range { last: 0, step: 1 }),
            // What patterns name, and what follows an option that can stand anywhere.
            Keys::Sorted { .. } if i > 0 => (0, Search::Unknown),
            Keys::Stored { .. } | Keys::Sorted { .. } => (1, Search::Range { last: 0, step: 1 }),
            Keys::Streams { from } => (from.into(), Search::FirstHalf),
        };
        out.map(3);
        out.bulk(b"flags");
        write_uses(flags, out);
        out.bulk(b"begin_search");
        match (command.keys, i) {
            (Keys::Sorted { .. }, 1..) => write_typed("unknown", &[], out),
            (Keys::Stored { from }, 1..) => write_keyword(STORE_OPTIONS[i - 1], from, out),
            (Keys::Streams { from }, _) => write_keyword("STREAMS", from, out),
            _ => write_typed("index", &[("index", begin)], out),
        }
        out.bulk(b"find_keys");
        search.write(out);
    }
}

/// Which arguments are keys, from the one on at which a specification begins.
enum Search {
    Range {
        last: i64,
        step: i64,
    },
    Counted,
    Unknown,
    /// To the middle of what is left.
    FirstHalf,
}

impl Search {
    fn write(&self, out: &mut Encoder<'_>) {
        match *self {
            Self::Range { last, step } => {
                let range = [("lastkey", last), ("keystep", step), ("limit", 0)];
                write_typed("range", &range, out);
            }
            Self::Unknown => write_typed("unknown", &[], out),
            Self::FirstHalf => {
                let range = [("lastkey", -1), ("keystep", 1), ("limit", 2)];
                write_typed("range", &range, out);
            }
            Self::Counted => {
                let keynum = [("keynumidx", 0), ("firstkey", 1), ("keystep", 1)];
                write_typed("keynum", &keynum, out);
            }
        }
    }
}

/// The options that a key stands behind, in the order of the specifications after the first.
const STORE_OPTIONS: [&str; 2] = ["STORE", "STOREDIST"];

fn write_keyword(keyword: &str, from: u8, out: &mut Encoder<'_>) {
    out.map(2);
    out.bulk(b"type");
    out.bulk(b"keyword");
    out.bulk(b"spec");
    out.map(2);
    out.bulk(b"keyword");
    out.bulk(keyword.as_bytes());
    out.bulk(b"startfrom");
    out.integer(from.into());
}

/// Writes what a command does with a key.
pub(super) fn write_uses(uses: &[&str], out: &mut Encoder<'_>) {
    out.set(uses.len());
    uses.iter().for_each(|flag| out.simple(flag));
}

fn write_typed(kind: &str, spec: &[(&str, i64)], out: &mut Encoder<'_>) {
    out.map(2);
    out.bulk(b"type");
    out.bulk(kind.as_bytes());
    out.bulk(b"spec");
    out.map(spec.len());
    for (name, value) in spec {
        out.bulk(name.as_bytes());
        out.integer(*value);
    }
}
