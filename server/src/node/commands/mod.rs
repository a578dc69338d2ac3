//! The commands that concern the connection or the node, by theme.
//!
//! Each gets a [`NodeContext`] and says with a [`Flow`] how the connection goes on. What touches
//! sockets or takes long is not done here but asked for: [`Pending`].

mod basic;

use std::sync::Arc;

use bailiwick_frame::{Args, Encoder};

use super::Node;
use crate::commands::{CommandError, Known, NodeCommand};
use crate::connection::Session;
use crate::group::Item;

/// How a connection goes on after a node command.
pub enum Flow {
    /// With the next request; the reply has been written.
    Continue,
    /// With this item being proposed, which gives the reply.
    Propose(Item),
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
    Blocking(Box<dyn FnOnce(&mut Encoder<'_>) + Send>),
    /// Nothing; the connection becomes a monitor.
    Monitor,
}

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
}

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
        _ => Err(CommandError::text("ERR not here yet")),
    }
}
