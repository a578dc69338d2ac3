//! Commands of all kinds on keys that no history judges: replicas have to make the same of them.
//!
//! Keys change their types, grow beyond the small representations, expire, and are chosen from at
//! random, which is where replicas could come to differ. A command may well be refused for the type
//! of its key; that, too, must be the same everywhere.

use fastrand::Rng;

use super::requests::Words;
use super::scripts;

/// `K` is a key, `M` a member, `V` a number, `T` a short time in milliseconds.
const COMMANDS: &[&str] = &[
    "SET K V PX T",
    "SET K M",
    "PEXPIRE K T",
    "PEXPIRE K T",
    "PERSIST K",
    "APPEND K y",
    "SETRANGE K 3 V",
    "GETDEL K",
    "INCRBYFLOAT K 1.5",
    "SETBIT K 7 1",
    "BITFIELD K INCRBY u4 2 3",
    "BITOP XOR K K K",
    "HSET K M V",
    "HSET K M V",
    "HINCRBYFLOAT K M 0.5",
    "HDEL K M",
    "LPUSH K V M V",
    "RPUSH K V M",
    "LPOP K",
    "RPOP K 2",
    "LTRIM K 1 4",
    "LINSERT K BEFORE V M",
    "LMOVE K K LEFT RIGHT",
    "LREM K 0 V",
    "LSET K 0 M",
    "SADD K M V",
    "SADD K V",
    "SREM K M",
    "SPOP K",
    "SPOP K 2",
    "SMOVE K K M",
    "SUNIONSTORE K K K",
    "SDIFFSTORE K K K",
    "ZADD K V M",
    "ZADD K GT CH V M",
    "ZINCRBY K 2 M",
    "ZPOPMIN K",
    "ZPOPMAX K 2",
    "ZREMRANGEBYRANK K 0 0",
    "ZREMRANGEBYSCORE K 0 V",
    "ZRANGESTORE K K 0 3",
    "ZUNIONSTORE K 2 K K",
    "GEOADD K 13.4 52.5 M",
    "GEOSEARCHSTORE K K FROMLONLAT 13 52 BYRADIUS 900 km",
    "COPY K K REPLACE",
    "RENAME K K",
    "DEL K",
    "UNLINK K",
];
/// Commands that take so many elements that the value changes its representation.
const LARGE: &[(&str, usize)] = &[
    ("HSET K", 260),
    ("SADD K", 260),
    ("RPUSH K", 300),
    ("ZADD K", 140),
];
/// Keys that a command may choose from, with each beginning.
pub(super) const KEYS: u32 = 4;
/// One in so many commands is a large one.
const LARGE_ONE_IN: u32 = 24;

/// One in so many requests is a script.
const SCRIPT_ONE_IN: u32 = 8;

/// A command on keys with this beginning.
pub(super) fn command(rng: &mut Rng, prefix: &str) -> Words {
    if rng.u32(..SCRIPT_ONE_IN) == 0 {
        return scripts::command(rng, prefix);
    }
    if rng.u32(..LARGE_ONE_IN) == 0 {
        let (command, pairs) = LARGE[rng.usize(..LARGE.len())];
        let mut words = fill(rng, command, prefix);
        for at in 0..pairs {
            words.push(at.to_string().into_bytes());
            words.push(format!("{}", at * 7).into_bytes());
        }
        return words;
    }
    small_command(rng, prefix)
}

/// A command of few words.
pub(super) fn small_command(rng: &mut Rng, prefix: &str) -> Words {
    let command = COMMANDS[rng.usize(..COMMANDS.len())];
    fill(rng, command, prefix)
}

/// One of the keys, as a script writes it that has their beginning in `P`.
pub(super) fn key(rng: &mut Rng) -> String {
    format!("P .. 'mixed:{}'", rng.u32(..KEYS))
}

fn fill(rng: &mut Rng, command: &str, prefix: &str) -> Words {
    let word = |word: &str| match word {
        "K" => format!("{prefix}mixed:{}", rng.u32(..KEYS)),
        "M" => format!("m{}", rng.u32(..5)),
        "V" => rng.u32(..9).to_string(),
        "T" => rng.u32(1..400).to_string(),
        other => other.to_owned(),
    };
    command
        .split(' ')
        .map(word)
        .map(String::into_bytes)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::requests;
    use super::*;

    #[test]
    fn all_commands_exist() {
        let mut rng = Rng::with_seed(1);
        for command in COMMANDS {
            let words = fill(&mut rng, command, "a:");
            // It panics for a command that does not exist.
            requests::pipeline(&[words], 0);
        }
        for _ in 0..LARGE_ONE_IN * 20 {
            let words = super::command(&mut rng, "");
            requests::pipeline(&[words], 0);
        }
    }
}
