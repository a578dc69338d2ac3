//! The commands that concern the connection or the node, by theme.
//!
//! Each gets a [`NodeContext`] and says with a [`Flow`] how the connection goes on. What touches
//! sockets or takes long is not done here but asked for: [`Pending`].

mod basic;
mod client;
mod client_line;
mod cluster;
mod config;
mod debug;
mod debug_digest;
mod debug_populate;
mod debug_protocol;
mod docs;
mod group;
mod info;
mod info_state;
mod info_stats;
mod links;
mod members;
mod memory;
mod monitoring;
mod overview;
mod prefix;
mod prefix_info;
mod pubsub;
mod replication;
mod route;
mod server;
mod tracking;

use std::sync::Arc;

pub use pubsub::Publication;

use bailiwick_frame::{Args, Encoder};
use bailiwick_replication::GroupId;

use super::Node;
use crate::commands::{CommandError, Known, NodeCommand, Outcome, self_test_sketches};
use crate::connection::Session;
use crate::group::{Group, Item};
use crate::pubsub::{Heard, Kind};

/// How a connection goes on after a node command.
pub enum Flow {
    /// With the next request; the reply has been written.
    Continue,
    /// With this item being proposed to a group, which gives the reply.
    Propose(GroupId, Item),
    /// After this.
    Pending(Pending),
    /// Not at all; the reply has been written.
    Close,
}

/// Something that a connection waits for.
pub enum Pending {
    /// The end of `CLIENT PAUSE`; the request is then looked at again.
    Pause {
        /// When it ends by itself, in milliseconds since 1970.
        until_ms: i64,
    },
    /// Work that takes long; it runs on a thread of its own and writes the reply.
    Blocking(Work),
    /// What this group says of the keys, which are watched then.
    Watch(GroupId),
    /// The parts of the request, which go to several groups.
    Spread,
    /// What the request does, or the keys that it waits for.
    Keys {
        /// It was seen just now that they hold nothing.
        has_looked: bool,
    },
    /// Until other nodes have heard of a subscription, which has been answered.
    Heard(Heard),
    /// Nothing; the connection becomes a monitor.
    Monitor,
}

/// Work that takes long: writes the reply, or returns the error that is the reply.
pub type Work = Box<dyn FnOnce(&mut Encoder<'_>) -> Outcome + Send>;

/// What a node command works with.
pub struct NodeContext<'a> {
    /// The node.
    pub node: &'a Arc<Node>,
    /// The connection's state.
    pub session: &'a mut Session,
    /// The command.
    pub command: Known,
    /// Its arguments.
    pub args: Args<'a>,
    /// Where the reply goes.
    pub out: &'a mut Vec<u8>,
}

/// What a node command comes to: an error becomes the reply.
pub type NodeOutcome = Result<Flow, CommandError>;

impl NodeContext<'_> {
    /// Writes in the protocol version that the connection has at this moment.
    pub fn encoder(&mut self) -> Encoder<'_> {
        Encoder::new(self.out, self.session.protocol)
    }

    /// Answers OK.
    pub fn ok(&mut self) -> NodeOutcome {
        self.encoder().ok();
        Ok(Flow::Continue)
    }

    /// Leaves the rest to a thread that may block.
    fn blocking(
        &self,
        work: impl FnOnce(&mut Encoder<'_>) -> Outcome + Send + 'static,
    ) -> NodeOutcome {
        Ok(Flow::Pending(Pending::Blocking(Box::new(work))))
    }

    /// The group, or the error for those who come before it is loaded.
    fn group(&self) -> Result<Arc<Group>, CommandError> {
        self.node.group().cloned().ok_or(CommandError::Loading)
    }

    /// The error for a subcommand that does not exist, or not with so many arguments.
    fn subcommand_error(&self) -> CommandError {
        let shown = self.args.get(1).unwrap_or_default();
        let shown = String::from_utf8_lossy(&shown[..shown.len().min(SHOWN_MAX_BYTES)]);
        let parent = match self.command.parent {
            "" => self.command.name,
            parent => parent,
        };
        CommandError::composed(format!(
            "ERR unknown subcommand or wrong number of arguments for '{shown}'. Try {} HELP.",
            parent.to_ascii_uppercase()
        ))
    }
}

/// Bytes of a client's words that an error repeats.
const SHOWN_MAX_BYTES: usize = 128;

/// Runs a node command. Transactions are the connection's own business and do not come here.
pub fn run(which: NodeCommand, context: &mut NodeContext<'_>) -> NodeOutcome {
    use NodeCommand as C;
    match which {
        C::Ping => basic::ping(context),
        C::Echo => basic::echo(context),
        C::Hello => basic::hello(context),
        C::Auth => basic::auth(context),
        C::Select => basic::select(context),
        C::Quit => basic::quit(context),
        C::Reset => basic::reset(context),
        C::Readonly | C::Readwrite | C::Asking => basic::cluster_mode(which, context),
        C::Monitor => Ok(Flow::Pending(Pending::Monitor)),
        C::ClientId => client::id(context),
        C::ClientInfo => client::info(context),
        C::ClientList => client::list(context),
        C::ClientSetname => client::set_name(context),
        C::ClientGetname => client::get_name(context),
        C::ClientSetinfo => client::set_info(context),
        C::ClientKill => client::kill(context),
        C::ClientPause => client::pause(context),
        C::ClientUnpause => client::unpause(context),
        C::ClientNoEvict => client::no_evict(context),
        C::ClientNoTouch => client::no_touch(context),
        C::ClientReply => client::reply(context),
        C::ClientUnblock => client::unblock(context),
        C::ClientGetredir => tracking::redirection(context),
        C::ClientTrackinginfo => tracking::describe(context),
        C::ClientTracking => tracking::track(context),
        C::ClientCaching => tracking::caching(context),
        C::Multi | C::Exec | C::Discard | C::Watch | C::Unwatch => {
            unreachable!("{which:?} is the connection's own business")
        }
        C::Subscribe => pubsub::subscribe(Kind::Channel, context),
        C::Psubscribe => pubsub::subscribe(Kind::Pattern, context),
        C::Ssubscribe => pubsub::subscribe(Kind::Shard, context),
        C::Unsubscribe => pubsub::unsubscribe(Kind::Channel, context),
        C::Punsubscribe => pubsub::unsubscribe(Kind::Pattern, context),
        C::Sunsubscribe => pubsub::unsubscribe(Kind::Shard, context),
        C::Publish => pubsub::publish(false, context),
        C::Spublish => pubsub::publish(true, context),
        C::PubsubChannels
        | C::PubsubNumpat
        | C::PubsubNumsub
        | C::PubsubShardchannels
        | C::PubsubShardnumsub => pubsub::look(which, context),
        C::ClusterLinks => links::links(context),
        C::ClusterMembers => members::members(context),
        C::ClusterInfo
        | C::ClusterMyid
        | C::ClusterMyshardid
        | C::ClusterNodes
        | C::ClusterReplicas
        | C::ClusterSlots
        | C::ClusterShards
        | C::ClusterKeyslot
        | C::ClusterCountkeysinslot
        | C::ClusterGetkeysinslot
        | C::ClusterCountfailurereports
        | C::ClusterRefused => cluster::cluster(which, context),
        C::RouteExplain => route::explain(context),
        C::RouteMode => route::mode(context),
        C::GroupList => group::list(context),
        C::GroupInfo => group::info(context),
        C::GroupAdd | C::GroupRemove | C::GroupReplace | C::GroupTransfer => {
            group::change(which, context)
        }
        C::GroupCreate => group::create(context),
        C::PrefixCreate => prefix::create(context),
        C::PrefixDrop => prefix::drop(context),
        C::PrefixInfo => prefix::info(context),
        C::PrefixList => prefix::list(context),
        C::PrefixMove => prefix::relocate(context),
        C::PrefixOwner => prefix::owner(context),
        C::Info => info::info(context),
        C::Command
        | C::CommandCount
        | C::CommandList
        | C::CommandInfo
        | C::CommandDocs
        | C::CommandGetkeys
        | C::CommandGetkeysandflags => docs::command(which, context),
        C::ConfigGet => config::get(context),
        C::ConfigSet => config::set(context),
        C::ConfigResetstat => config::reset_statistics(context),
        C::ConfigRewrite => config::rewrite(context),
        C::Time => server::time(context),
        C::Lastsave => server::last_save(context),
        C::Save => server::save(context),
        C::Bgsave => server::background_save(context),
        C::Bgrewriteaof => server::rewrite_log(context),
        C::Shutdown => server::shutdown(context),
        C::MemoryStats => memory::stats(context),
        C::MemoryDoctor => memory::doctor(context),
        C::MemoryPurge => memory::purge(context),
        C::MemoryMallocStats => memory::allocator_stats(context),
        C::SlowlogGet => monitoring::slowlog_get(context),
        C::SlowlogLen => monitoring::slowlog_len(context),
        C::SlowlogReset => monitoring::slowlog_reset(context),
        C::LatencyLatest => monitoring::latest(context),
        C::LatencyHistory => monitoring::history(context),
        C::LatencyReset => monitoring::reset(context),
        C::LatencyDoctor => monitoring::doctor(context),
        C::LatencyGraph => monitoring::graph(context),
        C::LatencyHistogram => monitoring::histogram(context),
        C::Debug => debug::debug(context),
        C::Role => replication::role(context),
        C::Lolwut => server::lolwut(context),
        C::ScriptKill => server::script_kill(context),
        C::Pfselftest => context.blocking(self_test_sketches),
        C::Help => docs::help(context),
    }
}
