//! Messages that clients send to each other by way of channels.
//!
//! [`PubSub`] is a node's part: its [`Board`] knows which of the node's clients listen to what, its
//! [`Exchange`] which other nodes have listeners. A message goes at once into the [`Feed`]s of the
//! node's own listeners and, over the links, to the nodes that want it. It is logged nowhere and
//! repeated never: who is not connected when it passes does not get it.
//!
//! **Interest.** Each node tells all others the names that it has listeners for, so that a message
//! travels only where it is wanted. A subscription is acknowledged when every linked node has heard
//! of it (or after [`HEARD_WITHIN`]), because a client may tell others of its subscription and they
//! may publish anywhere. Sending everything everywhere would save that round trip and cost each
//! message the links to all nodes.
//!
//! **Order.** What one connection publishes arrives in its order, at each listener. Messages of
//! different publishers have no order.
//!
//! **How it fails.** Nobody ever waits for a slow listener: a client whose feed grows beyond its
//! limit is disconnected, and messages for a node that is further behind than
//! `exchange::WINDOW_BYTES` are dropped and counted. What was on its way when a link broke is lost.
//!
//! Invariant: a node's board and what it has announced change under one lock, so that others learn
//! of changes in their order.

mod board;
mod exchange;
mod feed;
mod message;
mod wants;
mod wire;

use std::sync::Arc;
use std::time::Duration;

use bailiwick_replication::NodeId;
use bailiwick_replication::link::{Frame, Hello, Links};

pub use board::{Board, Kind, Subscriptions};
pub use exchange::{Exchange, Heard};
pub use feed::Feed;
pub use message::{Message, Push, limit_of};
pub use wire::{Note, PUBSUB_SERVICE};

use crate::config::OutputBufferLimits;
use crate::node::clients::Client;

/// How long a subscription waits at most for other nodes to hear of it.
pub const HEARD_WITHIN: Duration = Duration::from_secs(1);

/// Who does what is not the exchange's own business. Called by its thread, and must not wait.
pub trait Listener {
    /// How much may wait for clients.
    fn limits(&self) -> OutputBufferLimits;
    /// Another node says something about keys.
    fn hear(&self, from: NodeId, note: Note);
    /// A link is down.
    fn down(&self, node: NodeId);
    /// Some time has passed.
    fn tick(&self);
}

/// A node's part in publishing.
#[derive(Default)]
pub struct PubSub {
    board: Board,
    exchange: Exchange,
}

impl PubSub {
    /// Who listens to what.
    #[must_use]
    pub fn board(&self) -> &Board {
        &self.board
    }

    /// Sends a message to everybody who listens. Returns the number of this node's receivers, a
    /// client counting once for each subscription that matches.
    pub fn publish(&self, message: &Message<'_>, limits: &OutputBufferLimits) -> usize {
        let received = self.board.deliver(message, limits);
        self.exchange.forward(message);
        received
    }

    /// Subscribes a client. Tells when all nodes that are linked have heard of it; `None` if they
    /// have.
    pub fn subscribe(&self, kind: Kind, name: &[u8], client: &Arc<Client>) -> Option<Heard> {
        let mut tables = self.board.write();
        if tables.add(kind, name, client) {
            self.exchange.announce(&tables, kind, name, true);
        }
        self.exchange.heard()
    }

    /// Takes a subscription back.
    pub fn unsubscribe(&self, kind: Kind, name: &[u8], client: u64) {
        let mut tables = self.board.write();
        if tables.remove(kind, name, client) {
            self.exchange.announce(&tables, kind, name, false);
        }
    }

    /// Takes back all subscriptions of a client.
    pub fn leave(&self, subscriptions: &mut Subscriptions, client: u64) {
        for (kind, name) in subscriptions.take_all() {
            self.unsubscribe(kind, &name, client);
        }
    }

    /// The node has links to others.
    pub fn connect(&self, links: Links) {
        self.exchange.connect(links);
    }

    /// A link is up.
    pub fn up(&self, hello: &Hello) {
        self.exchange.up(*hello);
    }

    /// A link is down.
    pub fn down(&self, node: NodeId) {
        self.exchange.down(node);
    }

    /// Frames of [`PUBSUB_SERVICE`] have come.
    pub fn received(&self, from: NodeId, frames: Vec<Frame>) {
        self.exchange.received(from, frames);
    }

    /// Handles what other nodes send, until [`PubSub::close`]. Runs on a thread of its own, because
    /// the links' thread has no time to give a message to thousands of clients.
    pub fn run(&self, listener: &dyn Listener) {
        while let Some(events) = self.exchange.wait() {
            for event in events {
                self.exchange.handle(event, &self.board, listener);
            }
            listener.tick();
        }
    }

    /// This node wants to hear of these classes of events of groups of which it is no member.
    pub fn set_classes(&self, classes: u32) {
        self.exchange.set_classes(classes);
    }

    /// The classes of events that any other node wants.
    #[must_use]
    pub fn classes_wanted(&self) -> u32 {
        self.exchange.classes_wanted()
    }

    /// Sends the message about an event of these classes to the nodes that want it, of those for
    /// which `is_meant` holds.
    pub fn forward_event(
        &self,
        message: &Message<'_>,
        classes: u32,
        is_meant: impl Fn(NodeId) -> bool,
    ) {
        self.exchange.forward_event(message, classes, is_meant);
    }

    /// Tells a node something about keys; false if it does not get it.
    pub fn send_note(&self, to: NodeId, note: &Note) -> bool {
        self.exchange.send_note(to, note)
    }

    /// Ends [`PubSub::run`].
    pub fn close(&self) {
        self.exchange.close();
    }

    /// Messages that were not sent to nodes too far behind.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.exchange.dropped()
    }
}
