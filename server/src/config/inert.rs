//! Parameters of Redis that are accepted here and do nothing.
//!
//! Clients, configuration tools and test suites read and set them, so refusing them would break
//! users for no gain. Each says in its summary why it has no effect. What was set is checked like
//! any other value, and given back by `CONFIG GET`. A parameter that gets an effect moves from here
//! to the module `table`, and gets a field in [`Settings`].

use super::Settings;
use super::compound::{SAVE_POINTS, save_points};
use super::parameter::{Changes, Parameter, Section};
use super::value::{Invalid, Kind};

const INT_MAX: i64 = i32::MAX as i64;
const COUNT: Kind = Kind::Integer {
    min: 0,
    max: i64::MAX,
};
const SECONDS: Kind = Kind::Integer {
    min: 0,
    max: INT_MAX,
};

const THRESHOLD: &str =
    "Replicas must agree on how values are kept: Redis's defaults hold everywhere";
const LAZY: &str = "What is large is always released on another thread";
const REPLICAS: &str = "Nodes of a group replicate by consensus, not by following a master";
const NODE_FORM: &str = "Follows from what the node is";

/// The rows.
pub(super) static INERT: &[Parameter] = &[
    // Told to whoever asks.
    fixed(
        "appendonly",
        Kind::Switch,
        "yes",
        "Every write goes to the log; --fsync says how",
    ),
    fixed("cluster-enabled", Kind::Switch, "no", NODE_FORM),
    fixed(
        "daemonize",
        Kind::Switch,
        "no",
        "The node stays in the foreground",
    ),
    fixed(
        "io-threads",
        Kind::Integer { min: 1, max: 128 },
        "1",
        "See --threads",
    ),
    fixed(
        "logfile",
        Kind::ANY_TEXT,
        "",
        "The log goes to standard error",
    ),
    fixed(
        "dbfilename",
        Kind::ANY_TEXT,
        "dump.rdb",
        "Checkpoints name themselves by their place in the log",
    ),
    // Persistence.
    Parameter {
        set: |settings, row, text| keep(settings, row, save_points(text)?),
        ..inert(
            "save",
            SAVE_POINTS,
            "",
            "Checkpoints follow the size of the log: see --checkpoint-log-size",
        )
    },
    inert(
        "rdbcompression",
        Kind::Switch,
        "yes",
        "Checkpoints are not compressed",
    ),
    inert(
        "stop-writes-on-bgsave-error",
        Kind::Switch,
        "yes",
        "A failed checkpoint loses nothing: the log stays",
    ),
    inert(
        "auto-aof-rewrite-percentage",
        SECONDS,
        "100",
        "See --checkpoint-log-size",
    ),
    inert(
        "auto-aof-rewrite-min-size",
        Kind::Memory { min: 0 },
        "67108864",
        "See --checkpoint-log-size",
    ),
    // Background work.
    inert(
        "hz",
        Kind::Integer { min: 1, max: 500 },
        "10",
        "Background work has clocks of its own",
    ),
    inert("dynamic-hz", Kind::Switch, "yes", "See hz"),
    inert(
        "active-expire-effort",
        Kind::Integer { min: 1, max: 10 },
        "1",
        "Expiries are ordered by time, so none is searched for",
    ),
    inert(
        "activerehashing",
        Kind::Switch,
        "yes",
        "Tables grow by segments and never rehash as a whole",
    ),
    inert(
        "activedefrag",
        Kind::Switch,
        "no",
        "The allocator returns memory by itself",
    ),
    inert("lazyfree-lazy-eviction", Kind::Switch, "no", LAZY),
    inert("lazyfree-lazy-expire", Kind::Switch, "no", LAZY),
    inert("lazyfree-lazy-server-del", Kind::Switch, "no", LAZY),
    inert("lazyfree-lazy-user-del", Kind::Switch, "no", LAZY),
    inert("lazyfree-lazy-user-flush", Kind::Switch, "no", LAZY),
    // Encodings.
    Parameter {
        aliases: &["list-max-ziplist-size"],
        ..inert(
            "list-max-listpack-size",
            Kind::Integer {
                min: -i32::MAX as i64,
                max: INT_MAX,
            },
            "-2",
            THRESHOLD,
        )
    },
    inert("list-compress-depth", SECONDS, "0", THRESHOLD),
    Parameter {
        aliases: &["hash-max-ziplist-entries"],
        ..inert("hash-max-listpack-entries", COUNT, "512", THRESHOLD)
    },
    Parameter {
        aliases: &["hash-max-ziplist-value"],
        ..inert(
            "hash-max-listpack-value",
            Kind::Memory { min: 0 },
            "64",
            THRESHOLD,
        )
    },
    inert("set-max-intset-entries", COUNT, "512", THRESHOLD),
    inert("set-max-listpack-entries", COUNT, "128", THRESHOLD),
    inert("set-max-listpack-value", COUNT, "64", THRESHOLD),
    Parameter {
        aliases: &["zset-max-ziplist-entries"],
        ..inert("zset-max-listpack-entries", COUNT, "128", THRESHOLD)
    },
    Parameter {
        aliases: &["zset-max-ziplist-value"],
        ..inert(
            "zset-max-listpack-value",
            Kind::Memory { min: 0 },
            "64",
            THRESHOLD,
        )
    },
    inert(
        "stream-node-max-bytes",
        Kind::Memory { min: 0 },
        "4096",
        THRESHOLD,
    ),
    inert("stream-node-max-entries", COUNT, "100", THRESHOLD),
    inert(
        "hll-sparse-max-bytes",
        Kind::Memory { min: 0 },
        "3000",
        THRESHOLD,
    ),
    // Replication.
    Parameter {
        aliases: &["slaveof"],
        ..fixed("replicaof", Kind::ANY_TEXT, "", REPLICAS)
    },
    Parameter {
        aliases: &["slave-serve-stale-data"],
        ..inert("replica-serve-stale-data", Kind::Switch, "yes", REPLICAS)
    },
    Parameter {
        aliases: &["slave-read-only"],
        ..inert("replica-read-only", Kind::Switch, "yes", REPLICAS)
    },
    Parameter {
        aliases: &["slave-priority"],
        ..inert("replica-priority", SECONDS, "100", REPLICAS)
    },
    Parameter {
        aliases: &["min-slaves-to-write"],
        ..inert("min-replicas-to-write", SECONDS, "0", REPLICAS)
    },
    Parameter {
        aliases: &["min-slaves-max-lag"],
        ..inert("min-replicas-max-lag", SECONDS, "10", REPLICAS)
    },
    inert(
        "repl-backlog-size",
        Kind::Memory { min: 1 },
        "1048576",
        REPLICAS,
    ),
    inert(
        "repl-timeout",
        Kind::Integer {
            min: 1,
            max: INT_MAX,
        },
        "60",
        REPLICAS,
    ),
];

/// Gives every inert parameter its default.
pub(super) fn fill(settings: &mut Settings) {
    let defaults = INERT.iter().map(|row| (row.name, row.default.to_owned()));
    settings.inert.extend(defaults);
}

/// A parameter that may be set at any time and does nothing for this reason.
const fn inert(
    name: &'static str,
    kind: Kind,
    default: &'static str,
    reason: &'static str,
) -> Parameter {
    Parameter {
        name,
        aliases: &[],
        view_of: None,
        section: Section::Inert,
        kind,
        default,
        changes: Changes::AtRunTime,
        summary: reason,
        get: |settings, row| settings.inert[row.name].clone(),
        set: |settings, row, text| keep(settings, row, row.kind.canonical(text)?),
    }
}

/// A fact about the node: it takes no value but its own, so that nobody is misled by a setting.
const fn fixed(
    name: &'static str,
    kind: Kind,
    value: &'static str,
    reason: &'static str,
) -> Parameter {
    Parameter {
        changes: Changes::AtStart,
        set: |settings, row, text| {
            let text = row.kind.canonical(text)?;
            if text != row.default {
                return Err(Invalid::Only(row.default));
            }
            keep(settings, row, text)
        },
        ..inert(name, kind, value, reason)
    }
}

fn keep(settings: &mut Settings, row: &Parameter, text: String) -> Result<(), Invalid> {
    settings.inert.insert(row.name, text);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::find;
    use super::*;

    fn set(settings: &mut Settings, name: &str, text: &str) -> Result<String, Invalid> {
        let (row, _) = find(name).expect("a parameter");
        row.apply(settings, text)?;
        Ok(row.value(settings))
    }

    #[test]
    fn an_inert_parameter_gives_back_what_was_set() {
        let mut settings = Settings::default();
        assert_eq!(set(&mut settings, "hz", "50"), Ok("50".to_owned()));
        assert_eq!(
            set(&mut settings, "activedefrag", "YES"),
            Ok("yes".to_owned())
        );
        assert_eq!(
            set(&mut settings, "hash-max-ziplist-value", "1kb"),
            Ok("1024".to_owned())
        );
        assert_eq!(set(&mut settings, "save", "900  1"), Ok("900 1".to_owned()));
    }

    #[test]
    fn an_inert_parameter_still_refuses_nonsense() {
        let mut settings = Settings::default();
        let before = settings.clone();
        for (name, text) in [
            ("hz", "abc"),
            ("hz", "0"),
            ("activedefrag", "1"),
            ("save", "x"),
        ] {
            assert!(set(&mut settings, name, text).is_err(), "{name} {text}");
        }
        assert_eq!(settings, before);
    }

    #[test]
    fn a_fact_about_the_node_takes_no_other_value() {
        let mut settings = Settings::default();
        assert!(set(&mut settings, "appendonly", "yes").is_ok());
        let refused = set(&mut settings, "appendonly", "no").unwrap_err();
        assert_eq!(refused.to_string(), "only 'yes' is supported");
        assert!(set(&mut settings, "cluster-enabled", "yes").is_err());
    }
}
