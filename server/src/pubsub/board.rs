//! Which of the node's clients listen to what.
//!
//! Owns the node's side of subscriptions; each connection has its own in [`Subscriptions`].
//! Delivering takes the lock for reading, so publishers do not wait for each other.
//!
//! Invariants: a name stands in a table as long as somebody subscribes to it; `names` is the number
//! of names in all tables, and `Tables::bytes` how long they are together.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::{RwLock, RwLockWriteGuard};

use super::message::{self, Message, Push};
use crate::commands::glob_matches;
use crate::config::OutputBufferLimits;
use crate::node::clients::{Client, ClientFlag};

/// What a subscription names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A channel.
    Channel,
    /// A pattern that channels match.
    Pattern,
    /// A channel of those that stand apart, for SPUBLISH.
    Shard,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Channel, Self::Pattern, Self::Shard];
}

/// By client number.
type Listeners = BTreeMap<u64, Arc<Client>>;

/// The node's subscriptions.
#[derive(Default)]
pub struct Board {
    tables: RwLock<Tables>,
    /// So that publishing to nobody takes no lock.
    names: AtomicUsize,
}

/// Who listens to which name.
#[derive(Default)]
pub struct Tables {
    channels: HashMap<Box<[u8]>, Listeners>,
    patterns: BTreeMap<Box<[u8]>, Listeners>,
    shard_channels: HashMap<Box<[u8]>, Listeners>,
    bytes: usize,
}

impl Board {
    /// Gives a message to this node's listeners; returns how often.
    pub fn deliver(&self, message: &Message<'_>, limits: &OutputBufferLimits) -> usize {
        if self.names.load(Ordering::Relaxed) == 0 {
            return 0;
        }
        let tables = self.tables.read();
        let mut received = 0;
        if let Some(listeners) = tables.exact(message.kind()).get(message.channel) {
            let mut push = Push::new(|out| message::write_message(message, out));
            listeners
                .values()
                .for_each(|client| push.send(client, limits));
            received += listeners.len();
        }
        for (pattern, listeners) in tables.matching(message) {
            let mut push = Push::new(|out| message::write_matched(pattern, message, out));
            listeners
                .values()
                .for_each(|client| push.send(client, limits));
            received += listeners.len();
        }
        received
    }

    /// How often a message would be received.
    #[must_use]
    pub fn receivers(&self, message: &Message<'_>) -> usize {
        let tables = self.tables.read();
        let exact = tables.exact(message.kind()).get(message.channel);
        let matching = tables
            .matching(message)
            .map(|(_, listeners)| listeners.len());
        exact.map_or(0, BTreeMap::len) + matching.sum::<usize>()
    }

    /// The names to which somebody subscribes, sorted; with a filter only those that match it.
    #[must_use]
    pub fn names(&self, kind: Kind, filter: Option<&[u8]>) -> Vec<Box<[u8]>> {
        let fits = |name: &&[u8]| filter.is_none_or(|filter| glob_matches(filter, name));
        let tables = self.tables.read();
        let mut names: Vec<Box<[u8]>> = tables.names(kind).filter(fits).map(Box::from).collect();
        names.sort_unstable();
        names
    }

    /// Number of clients that subscribe to a name.
    #[must_use]
    pub fn subscribers(&self, kind: Kind, name: &[u8]) -> usize {
        self.tables
            .read()
            .listeners(kind, name)
            .map_or(0, BTreeMap::len)
    }

    /// Number of names of a kind to which somebody subscribes.
    #[must_use]
    pub fn len(&self, kind: Kind) -> usize {
        self.tables.read().names(kind).count()
    }

    /// Whether somebody subscribes to anything.
    #[must_use]
    pub fn has_listeners(&self) -> bool {
        self.names.load(Ordering::Relaxed) > 0
    }

    pub(super) fn write(&self) -> Writing<'_> {
        Writing {
            tables: self.tables.write(),
            names: &self.names,
        }
    }

    pub(super) fn with_tables<R>(&self, look: impl FnOnce(&Tables) -> R) -> R {
        look(&self.tables.read())
    }
}

/// The tables while they are changed.
pub(super) struct Writing<'a> {
    tables: RwLockWriteGuard<'a, Tables>,
    names: &'a AtomicUsize,
}

impl std::ops::Deref for Writing<'_> {
    type Target = Tables;

    fn deref(&self) -> &Tables {
        &self.tables
    }
}

impl Writing<'_> {
    /// True if nobody subscribed to the name before.
    pub(super) fn add(&mut self, kind: Kind, name: &[u8], client: &Arc<Client>) -> bool {
        let tables = &mut *self.tables;
        if let Some(listeners) = tables.listeners_mut(kind, name) {
            listeners.insert(client.id, client.clone());
            return false;
        }
        let listeners = BTreeMap::from([(client.id, client.clone())]);
        match kind {
            Kind::Channel => tables.channels.insert(name.into(), listeners),
            Kind::Pattern => tables.patterns.insert(name.into(), listeners),
            Kind::Shard => tables.shard_channels.insert(name.into(), listeners),
        };
        tables.bytes += name.len();
        self.names.fetch_add(1, Ordering::Relaxed);
        true
    }

    /// True if nobody subscribes to the name any more.
    pub(super) fn remove(&mut self, kind: Kind, name: &[u8], client: u64) -> bool {
        let tables = &mut *self.tables;
        let Some(listeners) = tables.listeners_mut(kind, name) else {
            return false;
        };
        let was_there = listeners.remove(&client).is_some();
        let is_last = was_there && listeners.is_empty();
        if is_last {
            match kind {
                Kind::Channel => tables.channels.remove(name),
                Kind::Pattern => tables.patterns.remove(name),
                Kind::Shard => tables.shard_channels.remove(name),
            };
            tables.bytes -= name.len();
            self.names.fetch_sub(1, Ordering::Relaxed);
        }
        is_last
    }
}

impl Tables {
    /// Number of names.
    pub(super) fn len(&self) -> usize {
        self.channels.len() + self.patterns.len() + self.shard_channels.len()
    }

    /// The bytes of all names.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The names of a kind.
    pub(super) fn names(&self, kind: Kind) -> Box<dyn Iterator<Item = &[u8]> + '_> {
        match kind {
            Kind::Channel => Box::new(self.channels.keys().map(|name| &**name)),
            Kind::Pattern => Box::new(self.patterns.keys().map(|name| &**name)),
            Kind::Shard => Box::new(self.shard_channels.keys().map(|name| &**name)),
        }
    }

    /// The channels that a message names; patterns are another matter.
    fn exact(&self, kind: Kind) -> &HashMap<Box<[u8]>, Listeners> {
        match kind {
            Kind::Shard => &self.shard_channels,
            Kind::Channel | Kind::Pattern => &self.channels,
        }
    }

    fn matching<'a>(
        &'a self,
        message: &'a Message<'_>,
    ) -> impl Iterator<Item = (&'a [u8], &'a Listeners)> {
        let patterns = self.patterns.iter().filter(|_| !message.is_sharded);
        patterns
            .filter(|(pattern, _)| glob_matches(pattern, message.channel))
            .map(|(pattern, listeners)| (&**pattern, listeners))
    }

    fn listeners(&self, kind: Kind, name: &[u8]) -> Option<&Listeners> {
        match kind {
            Kind::Channel => self.channels.get(name),
            Kind::Pattern => self.patterns.get(name),
            Kind::Shard => self.shard_channels.get(name),
        }
    }

    fn listeners_mut(&mut self, kind: Kind, name: &[u8]) -> Option<&mut Listeners> {
        match kind {
            Kind::Channel => self.channels.get_mut(name),
            Kind::Pattern => self.patterns.get_mut(name),
            Kind::Shard => self.shard_channels.get_mut(name),
        }
    }
}

/// What one connection has subscribed to.
#[derive(Default)]
pub struct Subscriptions {
    names: [BTreeSet<Box<[u8]>>; 3],
}

impl Subscriptions {
    /// Adds a name; false if it was there.
    pub fn add(&mut self, kind: Kind, name: &[u8]) -> bool {
        self.names[kind as usize].insert(name.into())
    }

    /// Removes a name; false if it was not there.
    pub fn remove(&mut self, kind: Kind, name: &[u8]) -> bool {
        self.names[kind as usize].remove(name)
    }

    /// The names of a kind.
    #[must_use]
    pub fn names(&self, kind: Kind) -> Vec<Box<[u8]>> {
        self.names[kind as usize].iter().cloned().collect()
    }

    /// The number that replies to (un)subscribing to this kind show: shard channels count apart.
    #[must_use]
    pub fn count(&self, kind: Kind) -> usize {
        let len = |kind: Kind| self.names[kind as usize].len();
        match kind {
            Kind::Channel | Kind::Pattern => len(Kind::Channel) + len(Kind::Pattern),
            Kind::Shard => len(Kind::Shard),
        }
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.names.iter().all(BTreeSet::is_empty)
    }

    /// Shows the numbers to those who list clients.
    pub fn show(&self, client: &Client) {
        for (names, shown) in self.names.iter().zip(&client.subscriptions) {
            shown.store(names.len() as u32, Ordering::Relaxed);
        }
        client.set(ClientFlag::Pubsub, !self.is_empty());
    }

    pub(super) fn take_all(&mut self) -> Vec<(Kind, Box<[u8]>)> {
        let all = Kind::ALL.into_iter().zip(&mut self.names);
        all.flat_map(|(kind, names)| {
            let names = std::mem::take(names);
            names.into_iter().map(move |name| (kind, name))
        })
        .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(id: u64) -> Arc<Client> {
        Arc::new(Client::new(id, String::new(), String::new(), 0, 0))
    }

    fn to<'a>(channel: &'a [u8]) -> Message<'a> {
        Message {
            is_sharded: false,
            channel,
            payload: b"hello",
        }
    }

    fn taken(client: &Client) -> String {
        let mut out = Vec::new();
        client.feed.take(&mut out, usize::MAX);
        out.escape_ascii().to_string()
    }

    #[test]
    fn a_message_reaches_each_subscription_that_matches() {
        let (board, one, two) = (Board::default(), client(1), client(2));
        two.protocol.store(3, Ordering::Relaxed);
        let limits = OutputBufferLimits::default();
        assert!(board.write().add(Kind::Channel, b"news", &one));
        assert!(!board.write().add(Kind::Channel, b"news", &two));
        assert!(board.write().add(Kind::Pattern, b"n*", &two));
        assert_eq!(board.receivers(&to(b"news")), 3);
        assert_eq!(board.deliver(&to(b"news"), &limits), 3);
        assert_eq!(
            taken(&one),
            r"*3\r\n$7\r\nmessage\r\n$4\r\nnews\r\n$5\r\nhello\r\n"
        );
        assert_eq!(
            taken(&two),
            r">3\r\n$7\r\nmessage\r\n$4\r\nnews\r\n$5\r\nhello\r\n>4\r\n$8\r\npmessage\r\n$2\r\nn*\r\n$4\r\nnews\r\n$5\r\nhello\r\n"
        );
    }

    #[test]
    fn shard_channels_stand_apart() {
        let (board, one) = (Board::default(), client(1));
        let limits = OutputBufferLimits::default();
        board.write().add(Kind::Pattern, b"*", &one);
        board.write().add(Kind::Channel, b"x", &one);
        let sharded = Message {
            is_sharded: true,
            ..to(b"x")
        };
        assert_eq!(board.deliver(&sharded, &limits), 0);
        board.write().add(Kind::Shard, b"x", &one);
        assert_eq!(board.deliver(&sharded, &limits), 1);
        assert!(taken(&one).contains("smessage"));
    }

    #[test]
    fn a_name_goes_with_its_last_subscriber() {
        let (board, one, two) = (Board::default(), client(1), client(2));
        for client in [&one, &two] {
            board.write().add(Kind::Pattern, b"p", client);
        }
        assert_eq!(board.subscribers(Kind::Pattern, b"p"), 2);
        assert!(!board.write().remove(Kind::Pattern, b"p", 1));
        assert!(!board.write().remove(Kind::Pattern, b"p", 1), "twice");
        assert!(board.write().remove(Kind::Pattern, b"p", 2));
        assert_eq!(board.len(Kind::Pattern), 0);
        assert!(!board.has_listeners());
    }
}
