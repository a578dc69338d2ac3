//! The description of a command: the rows of the command table.

use std::ops::Range;

use bailiwick_frame::{Args, Encoder};

use super::parse::int32;
use super::{Outcome, ReadContext, WriteContext, is_option, lookup_logged};

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

/// Where the keys are among the arguments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keys {
    /// There are none.
    None,
    /// From `first` to `last` (negative: from the end, -1 is the last argument) each `step`.
    Range {
        /// Index of the first key; the command's name is 0.
        first: u8,
        /// Index of the last key.
        last: i8,
        /// Distance between keys.
        step: u8,
    },
    /// As many as the argument at `count` says, right behind it; before them the key at `target`,
    /// unless that is 0.
    Counted {
        /// Index of a key that stands apart, or 0.
        target: u8,
        /// Index of the number of keys.
        count: u8,
    },
    /// The first argument, and what stands behind STORE among the options of SORT; besides, keys
    /// that are known only when the command runs.
    Sorted {
        /// Whether STORE is an option.
        stores: bool,
    },
    /// The first argument, and what stands behind STORE or STOREDIST.
    Stored {
        /// Index from which on these words are options.
        from: u8,
    },
    /// Those of the request that begins at `at`.
    Inner {
        /// Index of the request's command.
        at: u8,
    },
    /// The first half of what stands behind STREAMS.
    Streams {
        /// Index at or behind which the word stands.
        from: u8,
    },
}

impl Keys {
    /// A single key as first argument.
    pub const FIRST: Self = Self::Range {
        first: 1,
        last: 1,
        step: 1,
    };
    /// All arguments are keys.
    pub const ALL: Self = Self::Range {
        first: 1,
        last: -1,
        step: 1,
    };

    /// As many keys as the argument at `count` says, right behind it.
    pub const fn counted(count: u8) -> Self {
        Self::Counted { target: 0, count }
    }

    /// Indexes of the keys in a request; none if it cannot have as many as it says.
    pub fn indexes(self, args: Args<'_>) -> impl Iterator<Item = usize> + use<> {
        let (apart, range, step) = self.find(args);
        apart.into_iter().chain(range.step_by(step))
    }

    /// The index of a key that stands apart, those of the others, and their distance.
    fn find(self, args: Args<'_>) -> (Option<usize>, Range<usize>, usize) {
        match self {
            Self::None => (None, 0..0, 1),
            Self::Stored { from } => {
                let stored = stored_key(args, from.into());
                (Some(1), stored.map_or(0..0, |at| at..at + 1), 1)
            }
            Self::Sorted { stores } => {
                let stored = sorted_into(args).filter(|_| stores);
                (Some(1), stored.map_or(0..0, |at| at..at + 1), 1)
            }
            Self::Streams { .. } => (None, stream_keys(args), 1),
            Self::Range { first, last, step } => {
                let last = if last < 0 {
                    args.len() as isize + last as isize
                } else {
                    last as isize
                };
                let end = ((last + 1).max(0) as usize).min(args.len());
                (None, first as usize..end, step as usize)
            }
            Self::Counted { target, count } => {
                let behind = args.len().saturating_sub(count as usize + 1);
                let keys = args.get(count as usize).and_then(|arg| int32(arg).ok());
                let keys = keys.and_then(|keys| usize::try_from(keys).ok());
                let first = count as usize + 1;
                match keys.filter(|keys| (1..=behind).contains(keys)) {
                    None => (None, 0..0, 1),
                    Some(keys) => (
                        (target > 0).then_some(target as usize),
                        first..first + keys,
                        1,
                    ),
                }
            }
            Self::Inner { at } => {
                let (inner, at) = (args.from(at.into()), usize::from(at));
                let found = Some(inner).filter(|inner| !inner.is_empty());
                match found.map(lookup_logged) {
                    Some(Ok(command)) => {
                        let (apart, range, step) = command.keys.find(inner);
                        let range = range.start + at..range.end + at;
                        (apart.map(|apart| apart + at), range, step)
                    }
                    _ => (None, 0..0, 1),
                }
            }
        }
    }
}

/// The key behind STORE or STOREDIST among the options from argument `at` on. The last one counts.
fn stored_key(args: Args<'_>, mut at: usize) -> Option<usize> {
    let mut found = None;
    while at + 1 < args.len() {
        if is_option(args, at, "store") || is_option(args, at, "storedist") {
            found = Some(at + 1);
            at += 1;
        }
        at += 1;
    }
    found
}

/// The key behind STORE among the options of SORT, which are passed over together with what belongs
/// to them. The last one counts.
fn sorted_into(args: Args<'_>) -> Option<usize> {
    let (mut found, mut at) = (None, 2);
    while at < args.len() {
        if is_option(args, at, "limit") {
            at += 2;
        } else if is_option(args, at, "by") || is_option(args, at, "get") {
            at += 1;
        } else if is_option(args, at, "store") && at + 1 < args.len() {
            found = Some(at + 1);
            at += 1;
        }
        at += 1;
    }
    found
}

/// The keys of XREAD and XREADGROUP; none if there is not one ID for each.
fn stream_keys(args: Args<'_>) -> Range<usize> {
    let mut at = 1;
    while at < args.len() {
        at += match () {
            () if is_option(args, at, "block") || is_option(args, at, "count") => 2,
            () if is_option(args, at, "group") => 3,
            () if is_option(args, at, "noack") => 1,
            () if is_option(args, at, "streams") => {
                let words = args.len() - at - 1;
                let keys = if words % 2 == 1 { 0 } else { words / 2 };
                return at + 1..at + 1 + keys;
            }
            () => return 0..0,
        };
    }
    0..0
}

/// What becomes of a command that reads or writes the keyspace and concerns several groups: its keys
/// belong to several, or it has none and is about all keys there are.
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
};

impl Command {
    /// Whether the command has this property.
    #[must_use]
    pub fn has(&self, flag: Flag) -> bool {
        self.flags & flag as u32 != 0
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

/// The commands that concern the connection or the node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "each is the command of its name")]
pub enum NodeCommand {
    // Connection.
    Ping,
    Echo,
    Hello,
    Auth,
    Select,
    Quit,
    Reset,
    Readonly,
    Readwrite,
    Asking,
    ClientId,
    ClientInfo,
    ClientList,
    ClientSetname,
    ClientGetname,
    ClientSetinfo,
    ClientKill,
    ClientPause,
    ClientUnpause,
    ClientNoEvict,
    ClientNoTouch,
    ClientReply,
    ClientUnblock,
    ClientGetredir,
    ClientTrackinginfo,
    ClientTracking,
    ClientCaching,
    // Transactions.
    Multi,
    Exec,
    Discard,
    Watch,
    Unwatch,
    // Channels.
    Subscribe,
    Unsubscribe,
    Psubscribe,
    Punsubscribe,
    Ssubscribe,
    Sunsubscribe,
    Publish,
    Spublish,
    PubsubChannels,
    PubsubNumpat,
    PubsubNumsub,
    PubsubShardchannels,
    PubsubShardnumsub,
    // Cluster.
    ClusterLinks,
    ClusterMembers,
    ClusterInfo,
    ClusterMyid,
    ClusterMyshardid,
    ClusterNodes,
    ClusterReplicas,
    ClusterSlots,
    ClusterShards,
    ClusterKeyslot,
    ClusterCountkeysinslot,
    ClusterGetkeysinslot,
    ClusterCountfailurereports,
    /// What Redis's administrators do to slots and nodes.
    ClusterRefused,
    RouteExplain,
    RouteMode,
    GroupList,
    GroupInfo,
    GroupAdd,
    GroupCreate,
    GroupRemove,
    GroupReplace,
    GroupTransfer,
    PrefixCreate,
    PrefixDrop,
    PrefixInfo,
    PrefixList,
    PrefixMove,
    PrefixOwner,
    // Server.
    Info,
    Command,
    CommandCount,
    CommandList,
    CommandInfo,
    CommandDocs,
    CommandGetkeys,
    CommandGetkeysandflags,
    ConfigGet,
    ConfigSet,
    ConfigResetstat,
    ConfigRewrite,
    Time,
    Lastsave,
    Save,
    Bgsave,
    Bgrewriteaof,
    Shutdown,
    MemoryStats,
    MemoryDoctor,
    MemoryPurge,
    MemoryMallocStats,
    SlowlogGet,
    SlowlogLen,
    SlowlogReset,
    LatencyLatest,
    LatencyHistory,
    LatencyReset,
    LatencyDoctor,
    LatencyGraph,
    LatencyHistogram,
    Debug,
    Monitor,
    Role,
    Lolwut,
    ScriptKill,
    Pfselftest,
    /// HELP of any container.
    Help,
}
