//! The description of a command: the rows of the command table.

use bailiwick_frame::{Args, Encoder};

use super::{Keys, NodeCommand, Outcome, ReadContext, WriteContext};
use crate::keyspace::Entry;

/// Runs a command that changes nothing.
pub type ReadHandler = fn(&ReadContext<'_>, Args<'_>, &mut Encoder<'_>) -> Outcome;
/// Runs a command that may change the keyspace. Deterministic in (state, entry, arguments).
pub type WriteHandler = fn(&mut WriteContext<'_>, Args<'_>, &mut Encoder<'_>) -> Outcome;

/// Number of arguments, the command's name included, as Redis writes it: `-n` is "at least n".
pub type Arity = i16;

/// Where and how a command runs.
#[derive(Clone, Copy)]
pub enum Handler {
    /// Reads the keyspace; runs on the connection's thread, or at its place in a proposal.
    Read(ReadHandler),
    /// Changes the keyspace; goes through the log.
    Write(WriteHandler),
    /// Concerns the connection or the node.
    Node(NodeCommand),
    /// Only its subcommands do something.
    Container,
}

/// Properties of a command, with Redis's names in `COMMAND INFO`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
#[allow(missing_docs, reason = "each is the flag of its name in Redis")]
pub enum Flag {
    Write = 1 << 0,
    Readonly = 1 << 1,
    Denyoom = 1 << 2,
    Admin = 1 << 3,
    Noscript = 1 << 4,
    Loading = 1 << 5,
    Stale = 1 << 6,
    SkipMonitor = 1 << 7,
    SkipSlowlog = 1 << 8,
    Fast = 1 << 9,
    NoAuth = 1 << 10,
    MayReplicate = 1 << 11,
    NoMulti = 1 << 12,
    AllowBusy = 1 << 13,
    Blocking = 1 << 14,
    Pubsub = 1 << 15,
    Movablekeys = 1 << 16,
    NoAsyncLoading = 1 << 17,
    NoMandatoryKeys = 1 << 18,
    /// Stands in logs only: a node submits it by itself, and clients are told that there is no such
    /// command.
    Internal = 1 << 31,
}

/// ACL categories that do not follow from the flags.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
#[allow(missing_docs, reason = "each is the category of its name in Redis")]
pub enum Category {
    Keyspace = 1 << 0,
    Set = 1 << 1,
    Sortedset = 1 << 2,
    List = 1 << 3,
    Hash = 1 << 4,
    String = 1 << 5,
    Bitmap = 1 << 6,
    Hyperloglog = 1 << 7,
    Geo = 1 << 8,
    Stream = 1 << 9,
    Pubsub = 1 << 10,
    Dangerous = 1 << 11,
    Connection = 1 << 12,
    Transaction = 1 << 13,
    Scripting = 1 << 14,
    /// For commands of this category that lack the flag of the same name.
    Admin = 1 << 15,
}

/// The group under which the documentation lists a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "each is the group of its name in Redis")]
pub enum Group {
    Generic,
    String,
    List,
    Set,
    SortedSet,
    Hash,
    Geo,
    Bitmap,
    HyperLogLog,
    Stream,
    Transactions,
    Connection,
    Server,
    Cluster,
    Scripting,
    Pubsub,
}

/// What becomes of a command that reads or writes the keyspace and concerns several groups: its
/// keys belong to several, or it has none and is about all keys there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spread {
    /// It is refused: it would have to be done everywhere at one moment, or nowhere.
    Refused,
    /// Each group does it for its keys, and the numbers that they reply are added up.
    Sum,
    /// Each group does it for its keys, and replies with a list of one element for each.
    Each,
    /// A step through the keys of all groups.
    Scan,
    /// All keys of all groups.
    Keys,
    /// The number of keys of all groups.
    Count,
    /// A key of any group.
    Random,
    /// Each group removes its keys.
    Flush,
    /// Without keys, any group can do it, and what it needs decides which one should have.
    Anywhere,
    /// Each group does the same, so that all know the same.
    Everywhere,
}

/// Where a request says how long it is ready to wait for its keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Timeout {
    /// Nowhere: the command does not wait.
    Never,
    /// In the first argument, in seconds.
    First,
    /// In the last argument, in seconds.
    Last,
    /// Behind the option BLOCK, in milliseconds; without it the request does not wait.
    Option,
}

/// The reply of a command that has changed nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "each is the reply of its name")]
pub enum Nothing {
    Null,
    Zero,
    EmptyArray,
}

impl Nothing {
    /// What gives the reply.
    #[must_use]
    pub fn handler(self) -> ReadHandler {
        match self {
            Nothing::Null => |_, _, out| {
                out.null();
                Ok(())
            },
            Nothing::Zero => |_, _, out| {
                out.integer(0);
                Ok(())
            },
            Nothing::EmptyArray => |_, _, out| {
                out.array(0);
                Ok(())
            },
        }
    }
}

/// When a command that writes changes nothing.
#[derive(Clone, Copy)]
pub struct Idle {
    /// Whether it is worth a look at the key, by what the request says: [`Command::is_shortest`]
    /// for most.
    pub may_be: fn(&Command, Args<'_>) -> bool,
    /// Whether such a request changes nothing if this is what there is at its first key.
    pub when: fn(Option<&Entry>, Args<'_>) -> bool,
    /// What it replies then.
    pub reply: Nothing,
}

impl Idle {
    /// If the key is absent, whatever the arguments are.
    #[must_use]
    pub const fn if_absent(reply: Nothing) -> Option<Self> {
        Some(Self {
            may_be: Command::is_shortest,
            when: |entry, _| entry.is_none(),
            reply,
        })
    }
}

/// One row of the command table, or of a container's table of subcommands.
pub struct Command {
    /// Lower-case name; for a subcommand its own part only.
    pub name: &'static str,
    /// Number of arguments.
    pub arity: Arity,
    /// [`Flag`]s, or-ed.
    pub flags: u32,
    /// [`Category`]s, or-ed.
    pub categories: u32,
    /// Where the keys are.
    pub keys: Keys,
    /// Documentation group.
    pub group: Group,
    /// The Redis version that introduced it; of what Redis does not have, the version of Bailiwick.
    pub since: &'static str,
    /// Time complexity.
    pub complexity: &'static str,
    /// What it does, in one sentence.
    pub summary: &'static str,
    /// Its arguments in the notation of Redis's documentation: `key [NX | XX] [EX seconds]`.
    pub syntax: &'static str,
    /// What follows the name, for a container.
    pub subcommands: &'static [Command],
    /// The container's name for a subcommand, else empty.
    pub parent: &'static str,
    /// What runs.
    pub handler: Handler,
    /// What becomes of it where it concerns several groups.
    pub spread: Spread,
    /// How long it waits for its keys.
    pub timeout: Timeout,
    /// When it changes nothing, so that such a request is a read.
    pub idle: Option<Idle>,
}

/// What most rows have in common, for struct update syntax.
pub const DEFAULT: Command = Command {
    name: "",
    arity: 1,
    flags: 0,
    categories: 0,
    keys: Keys::None,
    group: Group::Generic,
    since: "1.0.0",
    complexity: "O(1)",
    summary: "",
    syntax: "",
    subcommands: &[],
    parent: "",
    handler: Handler::Container,
    spread: Spread::Refused,
    timeout: Timeout::Never,
    idle: None,
};

impl Command {
    /// When this request would change nothing; `None` if that is not known.
    #[must_use]
    #[inline]
    pub fn idle(&self, args: Args<'_>) -> Option<Idle> {
        self.idle.filter(|idle| (idle.may_be)(self, args))
    }

    /// Whether a request has no more arguments than it must have.
    #[must_use]
    pub fn is_shortest(&self, args: Args<'_>) -> bool {
        args.len() == usize::from(self.arity.unsigned_abs())
    }

    /// Whether the command has this property.
    #[must_use]
    pub fn has(&self, flag: Flag) -> bool {
        self.flags & flag as u32 != 0
    }

    /// Whether it may need more memory. What a script will write is not known before it runs, so
    /// its commands are refused one by one (`WriteContext::lacks_memory`).
    #[must_use]
    pub fn may_grow(&self) -> bool {
        self.is_write() && self.has(Flag::Denyoom)
    }

    /// Whether Lua has a part in it.
    #[must_use]
    #[inline]
    pub fn runs_script(&self) -> bool {
        self.group == Group::Scripting
    }

    /// Whether the command goes through the log.
    #[must_use]
    pub fn is_write(&self) -> bool {
        matches!(self.handler, Handler::Write(_))
    }

    /// The name as errors and statistics show it: `get`, `object|encoding`.
    #[must_use]
    pub fn full_name(&self) -> String {
        match self.parent {
            "" => self.name.to_owned(),
            parent => format!("{parent}|{}", self.name),
        }
    }
}

#[cfg(test)]
mod tests {
    use bailiwick_frame::Protocol;

    use super::*;
    use crate::commands::all;
    use crate::commands::testing::{Fixture, run, with_args};

    #[test]
    fn where_a_row_says_that_nothing_changes_nothing_does_and_the_reply_is_the_rows() {
        let values = [
            "GET key",
            "SET key x",
            "SADD key x y",
            "SADD key y",
            "HSET key x 1 y 2",
            "HSET key y 2",
            "ZADD key 1 x 2 y",
            "ZADD key 2 y",
            "RPUSH key x",
        ];
        for command in all() {
            let Some(idle) = command.idle else {
                continue;
            };
            assert!(command.is_write(), "{}", command.name);
            let others = match command.name {
                "set" => " x PX 9 NX".to_owned(),
                _ => " x".repeat(usize::from(command.arity.unsigned_abs()) - 2),
            };
            let request = format!("{} key{others}", command.name);
            let mut times = 0;
            let both = [Protocol::Resp2, Protocol::Resp3];
            let cases = values.iter().flat_map(|value| both.map(|p| (value, p)));
            for (value, protocol) in cases {
                let mut fixture = Fixture {
                    protocol,
                    ..Fixture::default()
                };
                run(&mut fixture, value);
                let changes = fixture.counters.changes.get();
                let is_idle = with_args(&request, |args| {
                    (idle.when)(fixture.keyspace.get(0, b"key", fixture.now_ms), args)
                });
                if !is_idle {
                    continue;
                }
                times += 1;
                let expected = match idle.reply {
                    Nothing::Null => "nil",
                    Nothing::Zero => "0",
                    Nothing::EmptyArray => "[]",
                };
                assert_eq!(
                    run(&mut fixture, &request),
                    expected,
                    "{request} after {value}"
                );
                assert_eq!(
                    fixture.counters.changes.get(),
                    changes,
                    "{request} after {value}"
                );
            }
            assert!(times > 0, "{request} is never idle");
        }
    }
}
