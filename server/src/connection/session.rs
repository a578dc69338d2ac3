//! What a connection remembers between requests.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bailiwick_frame::{ArgRange, Args, Protocol};
use bailiwick_replication::GroupId;

use super::Weights;
use crate::group::Arguments;
use crate::node::clients::{Client, ClientFlag};
use crate::node::commands::Publication;
use crate::notices::Mode;
use crate::pubsub::Subscriptions;
use crate::routing::redirect::Port;
use crate::state::Watched;

/// Which replies are sent: `CLIENT REPLY`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ReplyMode {
    /// All.
    #[default]
    On,
    /// None.
    Off,
    /// All but the next one.
    SkipNext,
    /// All but this one.
    SkipThis,
}

/// What a queued request takes besides its bytes, as it counts towards the bound.
const STEP_BYTES: usize = 64;

/// A transaction that is being queued.
///
/// Invariant: what it holds takes no more than the bound that [`Queued::push`] was given.
#[derive(Default)]
pub struct Queued {
    /// The steps so far; node commands wait in `arguments` like the others.
    pub steps: Vec<QueuedStep>,
    /// Their arguments.
    pub arguments: Arguments,
    /// A request was refused, so EXEC will be, too.
    pub is_broken: bool,
}

impl Queued {
    /// Adds a request, unless the transaction is broken: it will not run. If all of them would take
    /// more than `max_bytes`, it is broken, holds nothing any more, and the answer is false.
    #[must_use]
    pub fn push(
        &mut self,
        command: crate::commands::Known,
        args: Args<'_>,
        max_bytes: usize,
    ) -> bool {
        if self.is_broken {
            return true;
        }
        let bytes =
            args.iter().map(<[u8]>::len).sum::<usize>() + args.len() * size_of::<ArgRange>();
        if self.held_bytes() + STEP_BYTES + bytes > max_bytes {
            *self = Self {
                is_broken: true,
                ..Self::default()
            };
            return false;
        }
        let request = self.arguments.push(args);
        self.steps.push(QueuedStep { command, request });
        true
    }

    fn held_bytes(&self) -> usize {
        let ranges = self.arguments.args() * size_of::<ArgRange>();
        self.arguments.bytes() + ranges + self.steps.len() * STEP_BYTES
    }
}

/// A request between MULTI and EXEC.
pub struct QueuedStep {
    /// What it is.
    pub command: crate::commands::Known,
    /// Index into the arguments.
    pub request: usize,
}

/// The state of one connection.
pub struct Session {
    /// The connection as others see it.
    pub client: Arc<Client>,
    /// The version in which replies are written.
    pub protocol: Protocol,
    /// The selected database.
    pub database: usize,
    /// Whether the client may run commands.
    pub is_authenticated: bool,
    /// The transaction between MULTI and EXEC.
    pub queued: Option<Queued>,
    /// What WATCH watches.
    pub watched: Vec<Watched>,
    /// The group that said what the watched keys are like.
    pub watched_in: Option<GroupId>,
    /// Which replies are sent.
    pub reply_mode: ReplyMode,
    /// Reads leave no trace: `CLIENT NO-TOUCH`.
    pub no_touch: bool,
    /// Which port the client came in by.
    pub port: Port,
    /// The client is sent to where keys belong: `ROUTE MODE redirect`.
    pub redirects_all: bool,
    /// How many keys groups said to have when this client last listed keys.
    pub weights: Weights,
    /// What the client listens to.
    pub subscriptions: Subscriptions,
    /// How the client keeps track of what it reads, if it does.
    pub tracking: Option<Mode>,
    /// The commands that run now were queued by MULTI.
    pub runs_transaction: bool,
    /// What the transaction says when it has been applied.
    pub publications: Vec<Publication>,
}

impl Session {
    /// A new connection.
    #[must_use]
    pub fn new(client: Arc<Client>, port: Port, is_authenticated: bool) -> Self {
        Self {
            client,
            protocol: Protocol::Resp2,
            database: 0,
            is_authenticated,
            queued: None,
            watched: Vec::new(),
            watched_in: None,
            reply_mode: ReplyMode::On,
            no_touch: false,
            port,
            redirects_all: false,
            weights: Weights::new(),
            subscriptions: Subscriptions::default(),
            tracking: None,
            runs_transaction: false,
            publications: Vec::new(),
        }
    }

    /// Whether requests need more than to be run: the fast path is not for this connection now.
    #[must_use]
    pub fn needs_attention(&self) -> bool {
        !self.is_authenticated
            || self.queued.is_some()
            || self.reply_mode != ReplyMode::On
            || self.only_listens()
    }

    /// Whether the client has subscribed, and its protocol cannot tell messages from replies.
    #[must_use]
    pub fn only_listens(&self) -> bool {
        self.protocol == Protocol::Resp2 && self.client.has(ClientFlag::Pubsub)
    }

    /// Whether keys are looked at for a redirect.
    #[must_use]
    pub fn redirects(&self) -> bool {
        self.redirects_all || self.port == Port::Cluster
    }

    /// Changes the protocol version.
    pub fn set_protocol(&mut self, protocol: Protocol) {
        self.protocol = protocol;
        let number = if protocol == Protocol::Resp3 { 3 } else { 2 };
        self.client.protocol.store(number, Ordering::Relaxed);
    }

    /// Selects a database.
    pub fn set_database(&mut self, database: usize) {
        self.database = database;
        self.client
            .database
            .store(database as u32, Ordering::Relaxed);
    }

    /// Forgets a transaction and what is watched.
    pub fn discard(&mut self) {
        self.queued = None;
        self.client.set(ClientFlag::Multi, false);
        self.client.queued.store(0, Ordering::Relaxed);
        self.client.queued_bytes.store(0, Ordering::Relaxed);
        self.unwatch();
    }

    /// Forgets what is watched.
    pub fn unwatch(&mut self) {
        self.watched.clear();
        self.watched_in = None;
        self.client.watched.store(0, Ordering::Relaxed);
        self.client.set(ClientFlag::Watching, false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands;

    #[test]
    fn a_transaction_above_its_bound_is_broken_and_lets_go_of_what_it_holds() {
        let bytes = b"SETk0123456789";
        let ranges = [(0, 3), (3, 4), (4, 14)].map(|(start, end)| ArgRange { start, end });
        let args = Args::new(bytes, &ranges);
        let set = commands::lookup(args).unwrap();
        let each = STEP_BYTES + bytes.len() + ranges.len() * size_of::<ArgRange>();
        let mut queued = Queued::default();
        for _ in 0..3 {
            assert!(queued.push(set, args, 3 * each));
        }
        assert!(!queued.push(set, args, 3 * each));
        assert!(queued.is_broken && queued.steps.is_empty());
        assert_eq!(queued.held_bytes(), 0);
        // What follows is small enough, and does not make it whole.
        assert!(queued.push(set, args, 3 * each));
        assert!(queued.is_broken && queued.steps.is_empty());
    }
}
