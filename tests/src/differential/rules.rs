//! Where the two servers may differ, and why. Everything else is compared byte for byte.

mod geo;
mod sorted_set;
mod stream;

use bailiwick_frame::Protocol;
use bailiwick_frame::reply::extent;

use crate::client::Value;

/// A command whose replies are compared by their meaning.
struct Rule {
    /// Its name, with the subcommand if it has one.
    command: &'static str,
    /// Why the replies may differ.
    #[allow(dead_code, reason = "documentation that stands where it is needed")]
    reason: &'static str,
    /// Whether two replies to these words mean the same. Errors have been dealt with.
    same: fn(&[Vec<u8>], &Value, &Value) -> bool,
}

/// Two servers look at their clocks one after the other, and the machine may be busy in between.
const CLOCK_TOLERANCE_MS: i64 = 20_000;

const CLOCKS: &str = "relative times are counted from when a server ran the command";
const ORDER: &str = "the keyspace has no order that a client may rely on";
const ELEMENTS: &str = "a hash or a set has no order that a client may rely on";
const CHANCE: &str = "any key will do";
const APPROXIMATE: &str = "how long ago is measured in steps of the server's own clock";

const SHARING: &str = "which objects are shared in memory is the server's own matter";

const NEWER: &str =
    "Redis 7.2 packs small lists and sets of strings, and looks at how many members are coming";

static RULES: &[Rule] = &[
    Rule {
        command: "TTL",
        reason: CLOCKS,
        same: close_seconds,
    },
    Rule {
        command: "EXPIRETIME",
        reason: CLOCKS,
        same: close_seconds,
    },
    Rule {
        command: "PTTL",
        reason: CLOCKS,
        same: close_millis,
    },
    Rule {
        command: "PEXPIRETIME",
        reason: CLOCKS,
        same: close_millis,
    },
    Rule {
        command: "KEYS",
        reason: ORDER,
        same: same_elements,
    },
    Rule {
        command: "SCAN",
        reason: ORDER,
        same: same_scan,
    },
    Rule {
        command: "RANDOMKEY",
        reason: CHANCE,
        same: both_bytes,
    },
    Rule {
        command: "OBJECT IDLETIME",
        reason: APPROXIMATE,
        same: both_integers,
    },
    Rule {
        command: "OBJECT REFCOUNT",
        reason: SHARING,
        same: both_integers,
    },
    Rule {
        command: "OBJECT ENCODING",
        reason: NEWER,
        same: newer_encoding,
    },
    Rule {
        command: "HGETALL",
        reason: ELEMENTS,
        same: same_pairs,
    },
    Rule {
        command: "HKEYS",
        reason: ELEMENTS,
        same: same_elements,
    },
    Rule {
        command: "HVALS",
        reason: ELEMENTS,
        same: same_elements,
    },
    Rule {
        command: "HSCAN",
        reason: ELEMENTS,
        same: same_hscan,
    },
    Rule {
        command: "HRANDFIELD",
        reason: CHANCE,
        same: same_length,
    },
    Rule {
        command: "SMEMBERS",
        reason: ELEMENTS,
        same: same_elements,
    },
    Rule {
        command: "SINTER",
        reason: ELEMENTS,
        same: same_elements,
    },
    Rule {
        command: "SUNION",
        reason: ELEMENTS,
        same: same_elements,
    },
    Rule {
        command: "SDIFF",
        reason: ELEMENTS,
        same: same_elements,
    },
    Rule {
        command: "SPOP",
        reason: ELEMENTS,
        same: same_elements,
    },
    Rule {
        command: "SSCAN",
        reason: ELEMENTS,
        same: same_sscan,
    },
    Rule {
        command: "SRANDMEMBER",
        reason: CHANCE,
        same: same_length,
    },
    Rule {
        command: "OBJECT FREQ",
        reason: APPROXIMATE,
        same: both_integers,
    },
];

/// Errors that Bailiwick words as Redis 7.2 does, and Redis 7.0 in another way: command, 7.0, 7.2.
static REWORDED: &[(&str, &str, &str)] = &[
    (
        "XREAD",
        "ERR Unbalanced XREAD list of streams: for each stream key an ID or '$' must be specified.",
        "ERR Unbalanced 'xread' list of streams: for each stream key an ID or '$' must be specified.",
    ),
    (
        "XREADGROUP",
        "ERR Unbalanced XREAD list of streams: for each stream key an ID or '$' must be specified.",
        "ERR Unbalanced 'xreadgroup' list of streams: for each stream key an ID or '>' must be \
         specified.",
    ),
];

/// Whether two replies to a command that are not the same bytes mean the same.
pub(super) fn equivalent(words: &[Vec<u8>], ours: &Value, theirs: &Value) -> bool {
    let name = words[0].to_ascii_uppercase();
    let name = String::from_utf8_lossy(&name);
    let full = match words.get(1) {
        Some(word) => format!(
            "{name} {}",
            String::from_utf8_lossy(&word.to_ascii_uppercase())
        ),
        None => name.to_string(),
    };
    let rule = RULES
        .iter()
        .chain(sorted_set::RULES)
        .chain(geo::RULES)
        .chain(stream::RULES)
        .find(|rule| rule.command == name || rule.command == full);
    rule.is_some_and(|rule| (rule.same)(words, ours, theirs))
}

/// Whether two different error replies say the same.
///
/// Bailiwick's errors are text: bytes of an argument that are not UTF-8 are shown as U+FFFD, where
/// Redis copies them, and a NUL byte is shown, where Redis drops it and what follows in the quotes.
pub(super) fn same_error(words: &[Vec<u8>], ours: &[u8], theirs: &[u8]) -> bool {
    if !ours.starts_with(b"-") || !theirs.starts_with(b"-") {
        return false;
    }
    let (ours, theirs) = (
        String::from_utf8_lossy(ours),
        String::from_utf8_lossy(theirs),
    );
    let name = String::from_utf8_lossy(&words[0]).to_ascii_uppercase();
    let is_reworded = |(command, old, new): &(&str, &str, &str)| {
        name == *command && theirs[1..].trim_end() == *old && ours[1..].trim_end() == *new
    };
    without_nuls(&ours) == without_nuls(&theirs) || REWORDED.iter().any(is_reworded)
}

/// The text without what lies between a NUL and the quote that follows.
fn without_nuls(text: &str) -> String {
    let mut dropping = false;
    let keep = |c: &char| {
        dropping = match c {
            '\0' => true,
            '\'' => false,
            _ => dropping,
        };
        !dropping
    };
    text.chars().filter(keep).collect()
}

/// The raw elements of an array reply.
pub(super) fn elements(reply: &[u8], protocol: Protocol) -> Option<Vec<&[u8]>> {
    let line = reply.iter().position(|byte| *byte == b'\n')?;
    let count: usize = std::str::from_utf8(&reply[1..line - 1])
        .ok()?
        .parse()
        .ok()?;
    if reply[0] != b'*' {
        return None;
    }
    let mut rest = &reply[line + 1..];
    let mut found = Vec::new();
    for _ in 0..count {
        let (element, behind) = rest.split_at(extent(rest, protocol).ok()??);
        found.push(element);
        rest = behind;
    }
    Some(found)
}

fn close(ours: &Value, theirs: &Value, tolerance: i64) -> bool {
    match (ours.as_integer(), theirs.as_integer()) {
        // Negative and zero have a meaning of their own.
        (Some(ours), Some(theirs)) => ours > 0 && theirs > 0 && (ours - theirs).abs() <= tolerance,
        _ => false,
    }
}

fn close_millis(_: &[Vec<u8>], ours: &Value, theirs: &Value) -> bool {
    close(ours, theirs, CLOCK_TOLERANCE_MS)
}

fn close_seconds(_: &[Vec<u8>], ours: &Value, theirs: &Value) -> bool {
    close(ours, theirs, CLOCK_TOLERANCE_MS / 1000)
}

fn same_elements(_: &[Vec<u8>], ours: &Value, theirs: &Value) -> bool {
    let sorted = |value: &Value| {
        let mut texts: Vec<_> = value.list().iter().map(|key| format!("{key:?}")).collect();
        texts.sort();
        texts
    };
    matches!((ours, theirs), (Value::List(_), Value::List(_))) && sorted(ours) == sorted(theirs)
}

/// A scan that starts at 0 and was over at once has everything; other ones cannot be compared, and
/// a cursor that no server has given out means nothing.
fn same_scan(words: &[Vec<u8>], ours: &Value, theirs: &Value) -> bool {
    let ([our_cursor, our_keys], [their_cursor, their_keys]) = (ours.list(), theirs.list()) else {
        return false;
    };
    let end = Value::bytes("0");
    let is_over = *our_cursor == end && *their_cursor == end;
    words[1] != b"0" || !is_over || same_elements(words, our_keys, their_keys)
}

/// Pairs one behind the other, or in a map.
fn same_pairs(_: &[Vec<u8>], ours: &Value, theirs: &Value) -> bool {
    let sorted = |value: &Value| {
        let mut pairs: Vec<_> = match value {
            Value::Map(pairs) => pairs.iter().map(|pair| format!("{pair:?}")).collect(),
            list => {
                let pairs = list.list().chunks(2);
                pairs.map(|pair| format!("{pair:?}")).collect()
            }
        };
        pairs.sort();
        pairs
    };
    sorted(ours) == sorted(theirs)
}

fn same_hscan(words: &[Vec<u8>], ours: &Value, theirs: &Value) -> bool {
    same_walk(words, ours, theirs, same_pairs)
}

fn same_sscan(words: &[Vec<u8>], ours: &Value, theirs: &Value) -> bool {
    same_walk(words, ours, theirs, same_elements)
}

/// As [`same_scan`], over the elements of a value.
fn same_walk(
    words: &[Vec<u8>],
    ours: &Value,
    theirs: &Value,
    same: fn(&[Vec<u8>], &Value, &Value) -> bool,
) -> bool {
    let ([our_cursor, our_part], [their_cursor, their_part]) = (ours.list(), theirs.list()) else {
        return false;
    };
    let end = Value::bytes("0");
    let is_over = *our_cursor == end && *their_cursor == end;
    words[2] != b"0" || !is_over || same(words, our_part, their_part)
}

fn same_length(_: &[Vec<u8>], ours: &Value, theirs: &Value) -> bool {
    match (ours, theirs) {
        (Value::List(ours), Value::List(theirs)) => ours.len() == theirs.len(),
        _ => both_bytes(&[], ours, theirs),
    }
}

/// Besides, SORT turns a small sorted set into a large one in Redis, though it only reads it; its
/// keys in a sequence begin with `sort:z`.
fn newer_encoding(words: &[Vec<u8>], ours: &Value, theirs: &Value) -> bool {
    let was_sorted = words.last().is_some_and(|key| key.starts_with(b"sort:z"));
    if was_sorted && *ours == Value::bytes("listpack") && *theirs == Value::bytes("skiplist") {
        return true;
    }
    let differ = [
        ("listpack", "hashtable"),
        ("hashtable", "intset"),
        ("listpack", "quicklist"),
    ];
    let is_pair = |(newer, older)| *ours == Value::bytes(newer) && *theirs == Value::bytes(older);
    differ.into_iter().any(is_pair)
}

fn both_bytes(_: &[Vec<u8>], ours: &Value, theirs: &Value) -> bool {
    matches!((ours, theirs), (Value::Bytes(_), Value::Bytes(_)))
}

fn both_integers(_: &[Vec<u8>], ours: &Value, theirs: &Value) -> bool {
    matches!((ours, theirs), (Value::Integer(_), Value::Integer(_)))
}
