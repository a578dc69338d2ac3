//! What a connection remembers between requests.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bailiwick_frame::Protocol;

use crate::group::Arguments;
use crate::node::clients::{Client, ClientFlag};
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

/// A transaction that is being queued.
#[derive(Default)]
pub struct Queued {
    /// The steps so far; node commands wait in `arguments` like the others.
    pub steps: Vec<QueuedStep>,
    /// Their arguments.
    pub arguments: Arguments,
    /// A request was refused, so EXEC will be, too.
    pub is_broken: bool,
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
    /// Which replies are sent.
    pub reply_mode: ReplyMode,
    /// Reads leave no trace: `CLIENT NO-TOUCH`.
    pub no_touch: bool,
}

impl Session {
    /// A new connection.
    #[must_use]
    pub fn new(client: Arc<Client>, is_authenticated: bool) -> Self {
        Self {
            client,
            protocol: Protocol::Resp2,
            database: 0,
            is_authenticated,
            queued: None,
            watched: Vec::new(),
            reply_mode: ReplyMode::On,
            no_touch: false,
        }
    }

    /// Whether requests need more than to be run: the fast path is not for this connection now.
    #[must_use]
    pub fn needs_attention(&self) -> bool {
        !self.is_authenticated || self.queued.is_some() || self.reply_mode != ReplyMode::On
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
        self.client.watched.store(0, Ordering::Relaxed);
        self.client.set(ClientFlag::Watching, false);
    }
}
