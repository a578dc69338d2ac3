//! The description of a command: the rows of the command table.

use bailiwick_frame::{Args, Encoder};

use super::{Outcome, ReadContext, WriteContext};

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
#[allow(missing_docs)]
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
}

/// ACL categories that do not follow from the flags.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
#[allow(missing_docs)]
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
#[allow(missing_docs)]
pub enum Group {
    Generic,
    String,
    Bitmap,
    Transactions,
    Connection,
    Server,
    Cluster,
    Scripting,
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

    /// Indexes of the keys among `len` arguments.
    pub fn indexes(self, len: usize) -> impl Iterator<Item = usize> {
        let (first, end, step) = match self {
            Self::None => (1, 1, 1),
            Self::Range { first, last, step } => {
                let last = if last < 0 {
                    len as isize + last as isize
                } else {
                    last as isize
                };
                (
                    first as usize,
                    ((last + 1).max(0) as usize).min(len),
                    step as usize,
                )
            }
        };
        (first..end.max(first)).step_by(step)
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
#[allow(missing_docs)]
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
    // Transactions.
    Multi,
    Exec,
    Discard,
    Watch,
    Unwatch,
    // Cluster.
    ClusterLinks,
    GroupList,
    GroupInfo,
    GroupAdd,
    GroupRemove,
    GroupReplace,
    GroupTransfer,
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
    FunctionFlush,
    ScriptFlush,
    /// HELP of any container.
    Help,
}
