//! What `COMMAND INFO` tells clients that spread commands over several servers: how to route a
//! command and merge its replies (tips), and what it does with its keys.
//!
//! A table by full name, apart from the rows, because the server itself makes no use of it.

use bailiwick_frame::Args;

use crate::commands::{Command, Flag, Keys};

/// The hints about one command.
#[derive(Clone, Copy)]
pub(super) struct Hints {
    /// Routing, merging and determinism.
    pub(super) tips: &'static [&'static str],
    /// For each key specification, its flags. All but the last specify one key each.
    pub(super) uses: &'static [&'static [&'static str]],
}

/// The hints about a command.
pub(super) fn of(command: &Command) -> Hints {
    let full_name = command.full_name();
    let uses: &'static [&'static [&'static str]] = match command.keys {
        Keys::None => &[],
        Keys::Counted { target: 1.., .. } => &[OVERWRITE, READ],
        _ if command.has(Flag::Readonly) => &[READ],
        _ => &[CHANGE],
    };
    TABLE
        .binary_search_by(|row| row.0.cmp(&full_name))
        .map_or(Hints { tips: &[], uses }, |at| Hints {
            tips: TABLE[at].1,
            uses: TABLE[at].2,
        })
}

/// The flags of the keys in a command whose options decide them; `uses` otherwise.
pub(super) fn actual_uses(command: &Command, args: Args<'_>) -> &'static [&'static [&'static str]] {
    let reads = match command.name {
        "set" => args
            .iter()
            .skip(3)
            .any(|arg| arg.eq_ignore_ascii_case(b"get")),
        "sort" => return &[READ, OVERWRITE],
        "bitfield" => {
            return if bitfield_only_reads(args) {
                &[READ]
            } else {
                &[CHANGE]
            };
        }
        _ => return of(command).uses,
    };
    if reads { &[CHANGE] } else { &[OVERWRITE] }
}

fn bitfield_only_reads(args: Args<'_>) -> bool {
    let mut at = 2;
    while let Some(operation) = args.get(at) {
        let behind = args.len() - at - 1;
        if operation.eq_ignore_ascii_case(b"get") && behind >= 2 {
            at += 3;
        } else if operation.eq_ignore_ascii_case(b"overflow") && behind >= 1 {
            at += 2;
        } else {
            return false;
        }
    }
    true
}

const READ: &[&str] = &["RO", "access"];
const CHANGE: &[&str] = &["RW", "access", "update"];
/// What is kept beside the data may change.
const CHANGE_CACHE: &[&str] = &["RW", "access"];
const COMBINE: &[&str] = &["RW", "access", "insert"];
const OVERWRITE: &[&str] = &["OW", "update"];
const INSPECT: &[&str] = &["RO"];
const REMOVE: &[&str] = &["RW", "access", "delete"];
const TRIM: &[&str] = &["RW", "delete"];
const DELETE: &[&str] = &["RM", "delete"];
const UPDATE: &[&str] = &["RW", "update"];
const INSERT: &[&str] = &["OW", "insert"];
const EXTEND: &[&str] = &["RW", "insert"];
const SHORTEN: &[&str] = &["RW", "delete"];
/// It is routed like a key and is none.
const CHANNEL: &[&str] = &["not_key"];
const DEPENDS: &[&str] = &["RW", "access", "update", "variable_flags"];

type Row = (
    &'static str,
    &'static [&'static str],
    &'static [&'static [&'static str]],
);

/// Sorted by full name.
static TABLE: &[Row] = &[
    ("append", &[], &[EXTEND]),
    ("bitcount", &[], &[READ]),
    ("bitfield", &[], &[DEPENDS]),
    ("bitfield_ro", &[], &[READ]),
    ("bitop", &[], &[OVERWRITE, READ]),
    ("bitpos", &[], &[READ]),
    ("blmove", &[], &[REMOVE, EXTEND]),
    ("blmpop", &[], &[REMOVE]),
    ("blpop", &[], &[REMOVE]),
    ("brpop", &[], &[REMOVE]),
    ("brpoplpush", &[], &[REMOVE, EXTEND]),
    ("bzmpop", &[], &[REMOVE]),
    ("bzpopmax", &[], &[REMOVE]),
    ("bzpopmin", &[], &[REMOVE]),
    ("client|info", &["nondeterministic_output"], &[]),
    ("client|list", &["nondeterministic_output"], &[]),
    (
        "client|setinfo",
        &["request_policy:all_nodes", "response_policy:all_succeeded"],
        &[],
    ),
    ("cluster|bumpepoch", &["nondeterministic_output"], &[]),
    (
        "cluster|count-failure-reports",
        &["nondeterministic_output"],
        &[],
    ),
    ("cluster|getkeysinslot", &["nondeterministic_output"], &[]),
    ("cluster|info", &["nondeterministic_output"], &[]),
    ("cluster|links", &["nondeterministic_output"], &[]),
    ("cluster|myshardid", &["nondeterministic_output"], &[]),
    ("cluster|nodes", &["nondeterministic_output"], &[]),
    ("cluster|replicas", &["nondeterministic_output"], &[]),
    ("cluster|shards", &["nondeterministic_output"], &[]),
    ("cluster|slaves", &["nondeterministic_output"], &[]),
    ("cluster|slots", &["nondeterministic_output"], &[]),
    ("command", &["nondeterministic_output_order"], &[]),
    ("command|docs", &["nondeterministic_output_order"], &[]),
    ("command|info", &["nondeterministic_output_order"], &[]),
    ("command|list", &["nondeterministic_output_order"], &[]),
    (
        "config|set",
        &["request_policy:all_nodes", "response_policy:all_succeeded"],
        &[],
    ),
    ("copy", &[], &[READ, OVERWRITE]),
    (
        "dbsize",
        &["request_policy:all_shards", "response_policy:agg_sum"],
        &[],
    ),
    ("decr", &[], &[CHANGE]),
    ("decrby", &[], &[CHANGE]),
    (
        "del",
        &["request_policy:multi_shard", "response_policy:agg_sum"],
        &[DELETE],
    ),
    ("dump", &["nondeterministic_output"], &[READ]),
    (
        "exists",
        &["request_policy:multi_shard", "response_policy:agg_sum"],
        &[INSPECT],
    ),
    ("expire", &[], &[UPDATE]),
    ("expireat", &[], &[UPDATE]),
    ("expiretime", &[], &[READ]),
    (
        "flushall",
        &["request_policy:all_shards", "response_policy:all_succeeded"],
        &[],
    ),
    (
        "flushdb",
        &["request_policy:all_shards", "response_policy:all_succeeded"],
        &[],
    ),
    (
        "function|delete",
        &["request_policy:all_shards", "response_policy:all_succeeded"],
        &[],
    ),
    (
        "function|flush",
        &["request_policy:all_shards", "response_policy:all_succeeded"],
        &[],
    ),
    (
        "function|kill",
        &["request_policy:all_shards", "response_policy:one_succeeded"],
        &[],
    ),
    ("function|list", &["nondeterministic_output_order"], &[]),
    (
        "function|load",
        &["request_policy:all_shards", "response_policy:all_succeeded"],
        &[],
    ),
    (
        "function|restore",
        &["request_policy:all_shards", "response_policy:all_succeeded"],
        &[],
    ),
    (
        "function|stats",
        &[
            "nondeterministic_output",
            "request_policy:all_shards",
            "response_policy:special",
        ],
        &[],
    ),
    ("geoadd", &[], &[UPDATE]),
    ("geodist", &[], &[READ]),
    ("geohash", &[], &[READ]),
    ("geopos", &[], &[READ]),
    ("georadius", &[], &[READ, OVERWRITE, OVERWRITE]),
    ("georadius_ro", &[], &[READ]),
    ("georadiusbymember", &[], &[READ, OVERWRITE, OVERWRITE]),
    ("georadiusbymember_ro", &[], &[READ]),
    ("geosearch", &[], &[READ]),
    ("geosearchstore", &[], &[OVERWRITE, READ]),
    ("get", &[], &[READ]),
    ("getbit", &[], &[READ]),
    ("getdel", &[], &[REMOVE]),
    ("getex", &[], &[CHANGE]),
    ("getrange", &[], &[READ]),
    ("getset", &[], &[CHANGE]),
    ("group|info", &["nondeterministic_output"], &[]),
    ("group|list", &["nondeterministic_output"], &[]),
    ("hdel", &[], &[TRIM]),
    ("hexists", &[], &[INSPECT]),
    ("hget", &[], &[READ]),
    ("hgetall", &["nondeterministic_output_order"], &[READ]),
    ("hincrby", &[], &[CHANGE]),
    ("hincrbyfloat", &[], &[CHANGE]),
    ("hkeys", &["nondeterministic_output_order"], &[READ]),
    ("hlen", &[], &[INSPECT]),
    ("hmget", &[], &[READ]),
    ("hmset", &[], &[UPDATE]),
    ("hrandfield", &["nondeterministic_output"], &[READ]),
    ("hscan", &["nondeterministic_output"], &[READ]),
    ("hset", &[], &[UPDATE]),
    ("hsetnx", &[], &[EXTEND]),
    ("hstrlen", &[], &[INSPECT]),
    ("hvals", &["nondeterministic_output_order"], &[READ]),
    ("incr", &[], &[CHANGE]),
    ("incrby", &[], &[CHANGE]),
    ("incrbyfloat", &[], &[CHANGE]),
    (
        "info",
        &[
            "nondeterministic_output",
            "request_policy:all_shards",
            "response_policy:special",
        ],
        &[],
    ),
    (
        "keys",
        &["request_policy:all_shards", "nondeterministic_output_order"],
        &[],
    ),
    ("lastsave", &["nondeterministic_output"], &[]),
    (
        "latency|doctor",
        &[
            "nondeterministic_output",
            "request_policy:all_nodes",
            "response_policy:special",
        ],
        &[],
    ),
    (
        "latency|graph",
        &[
            "nondeterministic_output",
            "request_policy:all_nodes",
            "response_policy:special",
        ],
        &[],
    ),
    (
        "latency|histogram",
        &[
            "nondeterministic_output",
            "request_policy:all_nodes",
            "response_policy:special",
        ],
        &[],
    ),
    (
        "latency|history",
        &[
            "nondeterministic_output",
            "request_policy:all_nodes",
            "response_policy:special",
        ],
        &[],
    ),
    (
        "latency|latest",
        &[
            "nondeterministic_output",
            "request_policy:all_nodes",
            "response_policy:special",
        ],
        &[],
    ),
    (
        "latency|reset",
        &["request_policy:all_nodes", "response_policy:all_succeeded"],
        &[],
    ),
    ("lcs", &[], &[READ]),
    ("lindex", &[], &[READ]),
    ("linsert", &[], &[EXTEND]),
    ("llen", &[], &[INSPECT]),
    ("lmove", &[], &[REMOVE, EXTEND]),
    ("lmpop", &[], &[REMOVE]),
    ("lpop", &[], &[REMOVE]),
    ("lpos", &[], &[READ]),
    ("lpush", &[], &[EXTEND]),
    ("lpushx", &[], &[EXTEND]),
    ("lrange", &[], &[READ]),
    ("lrem", &[], &[SHORTEN]),
    ("lset", &[], &[UPDATE]),
    ("ltrim", &[], &[SHORTEN]),
    (
        "memory|doctor",
        &[
            "nondeterministic_output",
            "request_policy:all_shards",
            "response_policy:special",
        ],
        &[],
    ),
    (
        "memory|malloc-stats",
        &[
            "nondeterministic_output",
            "request_policy:all_shards",
            "response_policy:special",
        ],
        &[],
    ),
    (
        "memory|purge",
        &["request_policy:all_shards", "response_policy:all_succeeded"],
        &[],
    ),
    (
        "memory|stats",
        &[
            "nondeterministic_output",
            "request_policy:all_shards",
            "response_policy:special",
        ],
        &[],
    ),
    ("memory|usage", &[], &[INSPECT]),
    ("mget", &["request_policy:multi_shard"], &[READ]),
    ("migrate", &["nondeterministic_output"], &[REMOVE]),
    ("move", &[], &[CHANGE]),
    (
        "mset",
        &[
            "request_policy:multi_shard",
            "response_policy:all_succeeded",
        ],
        &[OVERWRITE],
    ),
    (
        "msetnx",
        &["request_policy:multi_shard", "response_policy:agg_min"],
        &[INSERT],
    ),
    ("object|encoding", &["nondeterministic_output"], &[INSPECT]),
    ("object|freq", &["nondeterministic_output"], &[INSPECT]),
    ("object|idletime", &["nondeterministic_output"], &[INSPECT]),
    ("object|refcount", &["nondeterministic_output"], &[INSPECT]),
    ("persist", &[], &[UPDATE]),
    ("pexpire", &[], &[UPDATE]),
    ("pexpireat", &[], &[UPDATE]),
    ("pexpiretime", &[], &[READ]),
    ("pfadd", &[], &[EXTEND]),
    ("pfcount", &[], &[CHANGE_CACHE]),
    ("pfdebug", &[], &[CHANGE_CACHE]),
    ("pfmerge", &[], &[COMBINE, READ]),
    (
        "ping",
        &["request_policy:all_shards", "response_policy:all_succeeded"],
        &[],
    ),
    ("prefix|info", &["nondeterministic_output"], &[]),
    ("prefix|list", &["nondeterministic_output"], &[]),
    ("prefix|owner", &["nondeterministic_output"], &[]),
    ("psetex", &[], &[OVERWRITE]),
    ("pttl", &["nondeterministic_output"], &[READ]),
    (
        "randomkey",
        &["request_policy:all_shards", "nondeterministic_output"],
        &[],
    ),
    ("rename", &[], &[REMOVE, OVERWRITE]),
    ("renamenx", &[], &[REMOVE, INSERT]),
    ("restore", &[], &[OVERWRITE]),
    ("rpop", &[], &[REMOVE]),
    ("rpoplpush", &[], &[REMOVE, EXTEND]),
    ("rpush", &[], &[EXTEND]),
    ("rpushx", &[], &[EXTEND]),
    ("sadd", &[], &[EXTEND]),
    (
        "scan",
        &["nondeterministic_output", "request_policy:special"],
        &[],
    ),
    ("scard", &[], &[INSPECT]),
    (
        "script|exists",
        &[
            "request_policy:all_shards",
            "response_policy:agg_logical_and",
        ],
        &[],
    ),
    (
        "script|flush",
        &["request_policy:all_nodes", "response_policy:all_succeeded"],
        &[],
    ),
    (
        "script|kill",
        &["request_policy:all_shards", "response_policy:one_succeeded"],
        &[],
    ),
    (
        "script|load",
        &["request_policy:all_nodes", "response_policy:all_succeeded"],
        &[],
    ),
    ("sdiff", &["nondeterministic_output_order"], &[READ]),
    ("sdiffstore", &[], &[OVERWRITE, READ]),
    ("set", &[], &[DEPENDS]),
    ("setbit", &[], &[CHANGE]),
    ("setex", &[], &[OVERWRITE]),
    ("setnx", &[], &[INSERT]),
    ("setrange", &[], &[UPDATE]),
    ("sinter", &["nondeterministic_output_order"], &[READ]),
    ("sintercard", &[], &[READ]),
    ("sinterstore", &[], &[UPDATE, READ]),
    ("sismember", &[], &[INSPECT]),
    (
        "slowlog|get",
        &["request_policy:all_nodes", "nondeterministic_output"],
        &[],
    ),
    (
        "slowlog|len",
        &[
            "request_policy:all_nodes",
            "response_policy:agg_sum",
            "nondeterministic_output",
        ],
        &[],
    ),
    (
        "slowlog|reset",
        &["request_policy:all_nodes", "response_policy:all_succeeded"],
        &[],
    ),
    ("smembers", &["nondeterministic_output_order"], &[READ]),
    ("smismember", &[], &[READ]),
    ("smove", &[], &[REMOVE, EXTEND]),
    ("sort", &[], &[READ, READ, OVERWRITE]),
    ("sort_ro", &[], &[READ, READ]),
    ("spop", &["nondeterministic_output"], &[REMOVE]),
    ("spublish", &[], &[CHANNEL]),
    ("srandmember", &["nondeterministic_output"], &[READ]),
    ("srem", &[], &[TRIM]),
    ("sscan", &["nondeterministic_output"], &[READ]),
    ("ssubscribe", &[], &[CHANNEL]),
    ("strlen", &[], &[INSPECT]),
    ("substr", &[], &[READ]),
    ("sunion", &["nondeterministic_output_order"], &[READ]),
    ("sunionstore", &[], &[OVERWRITE, READ]),
    ("sunsubscribe", &[], &[CHANNEL]),
    ("time", &["nondeterministic_output"], &[]),
    (
        "touch",
        &["request_policy:multi_shard", "response_policy:agg_sum"],
        &[INSPECT],
    ),
    ("ttl", &["nondeterministic_output"], &[READ]),
    ("type", &[], &[INSPECT]),
    (
        "unlink",
        &["request_policy:multi_shard", "response_policy:agg_sum"],
        &[DELETE],
    ),
    ("watch", &[], &[INSPECT]),
    ("xack", &[], &[UPDATE]),
    ("xadd", &["nondeterministic_output"], &[UPDATE]),
    ("xautoclaim", &["nondeterministic_output"], &[TRIM]),
    ("xclaim", &["nondeterministic_output"], &[UPDATE]),
    ("xdel", &[], &[TRIM]),
    ("xgroup|create", &[], &[EXTEND]),
    ("xgroup|createconsumer", &[], &[EXTEND]),
    ("xgroup|delconsumer", &[], &[TRIM]),
    ("xgroup|destroy", &[], &[TRIM]),
    ("xgroup|setid", &[], &[UPDATE]),
    ("xinfo|consumers", &["nondeterministic_output"], &[READ]),
    ("xinfo|groups", &[], &[READ]),
    ("xinfo|stream", &[], &[READ]),
    ("xlen", &[], &[INSPECT]),
    ("xpending", &["nondeterministic_output"], &[READ]),
    ("xrange", &[], &[READ]),
    ("xread", &[], &[READ]),
    ("xreadgroup", &[], &[READ]),
    ("xrevrange", &[], &[READ]),
    ("xsetid", &[], &[UPDATE]),
    ("xtrim", &["nondeterministic_output"], &[TRIM]),
    ("zadd", &[], &[UPDATE]),
    ("zcard", &[], &[INSPECT]),
    ("zcount", &[], &[READ]),
    ("zdiff", &[], &[READ]),
    ("zdiffstore", &[], &[OVERWRITE, READ]),
    ("zincrby", &[], &[CHANGE]),
    ("zinter", &[], &[READ]),
    ("zintercard", &[], &[READ]),
    ("zinterstore", &[], &[OVERWRITE, READ]),
    ("zlexcount", &[], &[READ]),
    ("zmpop", &[], &[REMOVE]),
    ("zmscore", &[], &[READ]),
    ("zpopmax", &[], &[REMOVE]),
    ("zpopmin", &[], &[REMOVE]),
    ("zrandmember", &["nondeterministic_output"], &[READ]),
    ("zrange", &[], &[READ]),
    ("zrangebylex", &[], &[READ]),
    ("zrangebyscore", &[], &[READ]),
    ("zrangestore", &[], &[OVERWRITE, READ]),
    ("zrank", &[], &[READ]),
    ("zrem", &[], &[TRIM]),
    ("zremrangebylex", &[], &[TRIM]),
    ("zremrangebyrank", &[], &[TRIM]),
    ("zremrangebyscore", &[], &[TRIM]),
    ("zrevrange", &[], &[READ]),
    ("zrevrangebylex", &[], &[READ]),
    ("zrevrangebyscore", &[], &[READ]),
    ("zrevrank", &[], &[READ]),
    ("zscan", &["nondeterministic_output"], &[READ]),
    ("zscore", &[], &[READ]),
    ("zunion", &[], &[READ]),
    ("zunionstore", &[], &[OVERWRITE, READ]),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::all;
    use crate::commands::docs::with_named;

    #[test]
    fn the_table_is_sorted_and_names_commands_that_exist() {
        assert!(TABLE.is_sorted_by(|one, next| one.0 < next.0));
        for (name, ..) in TABLE {
            assert!(with_named(name.as_bytes(), |_| ()).is_some(), "{name}");
        }
    }

    #[test]
    fn a_command_has_key_specifications_exactly_when_it_has_keys() {
        for command in all().flat_map(|command| std::iter::once(command).chain(command.subcommands))
        {
            let has_keys = command.keys != Keys::None;
            assert_eq!(
                has_keys,
                !of(command).uses.is_empty(),
                "{}",
                command.full_name()
            );
        }
    }
}
