//! What Redis calls the things that happen to keys.
//!
//! Most commands are called what they are; this module knows the others, and the order in which
//! Redis tells of several events of one command where it is not that of what was done.

use std::borrow::Cow;

use bailiwick_frame::Args;

use super::touch::{Touch, Touches, What, class};
use super::{Category, Command, is_option};

/// Names what a command did, which begins at touch number `from`. What has a name keeps it.
pub fn name(command: &Command, args: Args<'_>, touches: &Touches, from: usize) {
    touches.with_list(|list| name_all(command, args, list, from));
}

/// The events of a touch in the order in which they are told.
pub fn of(touch: &Touch) -> impl Iterator<Item = (u32, &str)> {
    let (is_new, expires) = match touch.what {
        What::Changed { is_new, expires } => (is_new, expires),
        _ => (false, false),
    };
    let event = touch.event.as_ref();
    let event = event.map(|(class, name)| (*class, &**name));
    let created = is_new.then_some((class::NEW, "new"));
    let expiry = expires.then_some((class::GENERIC, "expire"));
    created.into_iter().chain(event).chain(expiry)
}

fn name_all(command: &Command, args: Args<'_>, list: &mut Vec<Touch>, from: usize) {
    if list.len() <= from {
        return;
    }
    let full_name = command.full_name();
    let name = &*full_name;
    for touch in &mut list[from..] {
        if touch.event.is_none() {
            touch.event = Some(event_of(command, name, args, touch));
            adjust(name, &mut touch.what);
        }
    }
    match name {
        "lmove" | "rpoplpush" | "blmove" | "brpoplpush" => reorder_move(name, args, list, from),
        "rename" | "renamenx" | "move" => announce_target(list, from),
        _ => {}
    }
}

fn event_of(
    command: &Command,
    name: &str,
    args: Args<'_>,
    touch: &Touch,
) -> (u32, Cow<'static, str>) {
    let known = |class, name| (class, Cow::Borrowed(name));
    match touch.what {
        What::Left if name == "move" => known(class::GENERIC, "move_from"),
        What::Left => known(class::GENERIC, "rename_from"),
        // All others were named when they were noted.
        _ => {
            let (class, own) = changed(command, name, args, touch);
            match own {
                Some(own) => known(class, own),
                None => (class, Cow::Owned(name.replace('|', "-"))),
            }
        }
    }
}

/// The class of a change, and its name unless it is the command's.
fn changed(
    command: &Command,
    name: &str,
    args: Args<'_>,
    touch: &Touch,
) -> (u32, Option<&'static str>) {
    let has = |option| (1..args.len()).any(|index| is_option(args, index, option));
    let is_source = || args.get(1) == Some(&*touch.key);
    let own = match name {
        "setnx" | "setex" | "psetex" | "getset" | "mset" | "msetnx" | "bitop" => Some("set"),
        "incr" | "decr" | "decrby" => Some("incrby"),
        "bitfield" => Some("setbit"),
        "pfmerge" => Some("pfadd"),
        "lpushx" => Some("lpush"),
        "rpushx" => Some("rpush"),
        "blpop" => Some("lpop"),
        "brpop" => Some("rpop"),
        "lmpop" | "blmpop" if has("left") => Some("lpop"),
        "lmpop" | "blmpop" => Some("rpop"),
        "rpoplpush" | "brpoplpush" if is_source() => Some("rpop"),
        "rpoplpush" | "brpoplpush" => Some("lpush"),
        "lmove" | "blmove" => Some(moved(args, is_source())),
        "smove" if is_source() => Some("srem"),
        "smove" => Some("sadd"),
        "hmset" | "hsetnx" => Some("hset"),
        "zadd" if incremented(args) => Some("zincr"),
        "zincrby" => Some("zincr"),
        "geoadd" => Some("zadd"),
        "zmpop" | "bzmpop" if has("min") => Some("zpopmin"),
        "zmpop" | "bzmpop" => Some("zpopmax"),
        "bzpopmin" => Some("zpopmin"),
        "bzpopmax" => Some("zpopmax"),
        "georadius" | "georadiusbymember" => Some("georadiusstore"),
        "rename" | "renamenx" => Some("rename_to"),
        "move" => Some("move_to"),
        "copy" => Some("copy_to"),
        "sort" => Some("sortstore"),
        _ => None,
    };
    let class = match name {
        "sort" => class::LIST,
        _ => class_of(command),
    };
    (class, own)
}

/// The end of a list that LMOVE takes from or adds to.
fn moved(args: Args<'_>, is_source: bool) -> &'static str {
    let is_left = is_option(args, if is_source { 3 } else { 4 }, "left");
    match (is_source, is_left) {
        (true, true) => "lpop",
        (true, false) => "rpop",
        (false, true) => "lpush",
        (false, false) => "rpush",
    }
}

/// Whether ZADD was told INCR, which stands before the first score.
fn incremented(args: Args<'_>) -> bool {
    let options = ["nx", "xx", "gt", "lt", "ch", "incr"];
    let is_any = |index: &usize| options.iter().any(|option| is_option(args, *index, option));
    (2..args.len())
        .take_while(is_any)
        .any(|index| is_option(args, index, "incr"))
}

fn class_of(command: &Command) -> u32 {
    let classes = [
        (Category::List, class::LIST),
        (Category::Set, class::SET),
        (Category::Hash, class::HASH),
        (Category::Sortedset, class::SORTED_SET),
        (Category::Geo, class::SORTED_SET),
        (Category::Stream, class::STREAM),
        (Category::String, class::STRING),
        (Category::Bitmap, class::STRING),
        (Category::Hyperloglog, class::STRING),
    ];
    let is_of = |category: Category| command.categories & category as u32 != 0;
    let found = classes.iter().find(|(category, _)| is_of(*category));
    found.map_or(class::GENERIC, |(_, class)| *class)
}

/// Which of a change's side effects Redis tells of.
fn adjust(name: &str, what: &mut What) {
    if let What::Changed { is_new, expires } = what {
        // Only these set a value and an expiry in two steps.
        *expires &= matches!(name, "set" | "setex" | "psetex");
        // These remove what is in their way first.
        *is_new |= matches!(name, "copy" | "restore");
    }
}

/// Redis tells of an element's arrival before it tells of its departure.
fn reorder_move(name: &str, args: Args<'_>, list: &mut Vec<Touch>, from: usize) {
    if args.get(1) == args.get(2) {
        let rotates = |touch: &Touch| matches!(touch.what, What::Changed { .. });
        let Some(at) = list[from..].iter().position(rotates) else {
            return;
        };
        let mut arrival = list[from + at].clone();
        arrival.what = What::Announced;
        let pushed = match name {
            "lmove" | "blmove" => moved(args, false),
            _ => "lpush",
        };
        arrival.event = Some((class::LIST, Cow::Borrowed(pushed)));
        list.insert(from + at, arrival);
        return;
    }
    let is_arrival = |touch: &Touch| {
        matches!(touch.what, What::Changed { .. }) && args.get(1) != Some(&*touch.key)
    };
    if let Some(at) = list[from..].iter().position(is_arrival) {
        list[from..=from + at].rotate_right(1);
    }
}

/// The new name is always a new key, which is told first.
fn announce_target(list: &mut Vec<Touch>, from: usize) {
    let is_target = |touch: &Touch| matches!(touch.what, What::Changed { .. });
    let Some(at) = list[from..].iter().position(is_target) else {
        return;
    };
    let target = &mut list[from + at];
    target.what = What::Changed {
        is_new: false,
        expires: false,
    };
    let mut created = target.clone();
    created.what = What::Announced;
    created.event = Some((class::NEW, Cow::Borrowed("new")));
    let departure = list[from..]
        .iter()
        .position(|touch| touch.what == What::Left);
    list.insert(from + departure.unwrap_or(at), created);
}

#[cfg(test)]
mod tests {
    use crate::commands::testing::{Fixture, run};

    use super::of;

    /// The events of the commands so far, with their keys.
    fn events(fixture: &Fixture) -> String {
        let touches = fixture.counters.touches.take();
        let told = touches.iter().flat_map(|touch| {
            of(touch).map(|(_, name)| format!("{name}:{}", touch.key.escape_ascii()))
        });
        told.filter(|event| event != ":")
            .collect::<Vec<_>>()
            .join(" ")
    }

    #[test]
    fn events_have_the_names_and_the_order_of_redis() {
        let mut fixture = Fixture::default();
        fixture.counters.touches.switch_on();
        for (line, expected) in [
            ("SET a 1 EX 10", "new:a set:a expire:a"),
            ("SET a 2", "set:a"),
            ("MSET a 1 b 2", "set:a new:b set:b"),
            ("DEL a zzz", "del:a"),
            ("DECR b", "incrby:b"),
            ("RENAME b c", "new:c rename_from:b rename_to:c"),
            ("EXPIRE c 10", "expire:c"),
            ("PERSIST c", "persist:c"),
            ("EXPIRE c -1", "del:c"),
            ("RPUSH l x", "new:l rpush:l"),
            ("LMOVE l m LEFT RIGHT", "new:m rpush:m lpop:l del:l"),
            ("RPOPLPUSH m m", "lpush:m rpop:m"),
            ("SADD s x", "new:s sadd:s"),
            ("SADD s x", ""),
            ("SMOVE s t x", "srem:s del:s new:t sadd:t"),
            ("ZADD z 1 x", "new:z zadd:z"),
            ("ZADD z INCR 1 x", "zincr:z"),
            ("ZMPOP 1 z MIN", "zpopmin:z del:z"),
            ("GET nope", "keymiss:nope"),
        ] {
            run(&mut fixture, line);
            assert_eq!(events(&fixture), expected, "{line}");
        }
    }

    #[test]
    fn nothing_is_noted_unless_it_is_asked_for() {
        let mut fixture = Fixture::default();
        run(&mut fixture, "SET a 1");
        assert!(fixture.counters.touches.is_empty());
    }
}
