//! What this node and others tell each other: who has listeners for what, and the messages for
//! them.
//!
//! Whatever links report is queued and handled by one thread, in order. Interest is counted in
//! *versions*: each change of this node's board is the next one, and others say up to which they
//! have heard. Messages are counted in bytes; more than [`WINDOW_BYTES`] are never on their way to
//! a node, so a stream of messages cannot fill the queue of a link, which consensus needs as well.
//!
//! Invariants, for each peer: `heard <= version`; `received <= sent <= received + WINDOW_BYTES`
//! unless a single message is longer.

use std::collections::BTreeMap;
use std::mem;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use bailiwick_replication::NodeId;
use bailiwick_replication::link::{Frame, Hello, Links};
use bytes::Bytes;
use parking_lot::{Condvar, Mutex};
use tokio::sync::oneshot;

use super::board::{Board, Kind, Tables};
use super::wants::Wants;
use super::wire::{self, Change, Said};
use super::{Listener, Message, Note};
use crate::config::OutputBufferLimits;

/// Bytes of messages that may be on their way to a node.
pub const WINDOW_BYTES: u64 = 8 << 20;
/// A node with listeners for more names asks for all messages instead of naming them.
const NAMES_MAX: usize = 100_000;
/// So does one whose names have more bytes: they are announced anew over each link that comes up,
/// and a link has a bound, which clients must not be able to reach.
const NAMES_MAX_BYTES: usize = 16 << 20;
/// Names announced in one message.
const NAMES_A_MESSAGE: usize = 1000;
/// How often the listener may look around, if nothing happens.
const TICK: Duration = Duration::from_millis(100);

/// Comes when every linked node has heard of a subscription, or its link has ended.
pub type Heard = oneshot::Receiver<()>;

/// A node's end of the exchange.
#[derive(Default)]
pub struct Exchange {
    links: OnceLock<Links>,
    /// Whether another node wants any message.
    is_wanted: AtomicBool,
    /// The classes of events that other nodes want.
    classes_wanted: AtomicU32,
    dropped: AtomicU64,
    state: Mutex<State>,
    inbox: Mutex<Inbox>,
    arrived: Condvar,
}

#[derive(Default)]
struct State {
    /// Of what this node has announced.
    version: u64,
    /// This node has asked for all messages.
    wants_all: bool,
    /// The classes of events that this node wants.
    classes: u32,
    peers: BTreeMap<NodeId, Peer>,
    /// Those who wait until everybody has heard of a version.
    waiting: Vec<(u64, oneshot::Sender<()>)>,
}

/// A node with a link.
struct Peer {
    session: u64,
    /// The version of this node's interest of which it has heard.
    heard: u64,
    /// The version of its interest that was handled here, and the bytes of messages.
    handled: (u64, u64),
    /// What of that it was told.
    confirmed: Option<(u64, u64)>,
    wants: Wants,
    sent: u64,
    received: u64,
}

#[derive(Default)]
struct Inbox {
    events: Vec<Event>,
    is_closed: bool,
}

/// What the links reported.
pub(super) enum Event {
    Up(Hello),
    Down(NodeId),
    Frames(NodeId, Vec<Frame>),
}

/// Called by publishers and subscribers.
impl Exchange {
    /// Sends a message to the nodes that want it.
    pub(super) fn forward(&self, message: &Message<'_>) {
        if !self.is_wanted.load(Ordering::Relaxed) {
            return;
        }
        self.send_where(message, |_, _| true);
    }

    /// Sends a message about an event of these classes to the nodes that want it, of those for
    /// which `is_meant` holds.
    pub(super) fn forward_event(
        &self,
        message: &Message<'_>,
        classes: u32,
        is_meant: impl Fn(NodeId) -> bool,
    ) {
        self.send_where(message, |node, wants| {
            wants.classes & classes == classes && is_meant(node)
        });
    }

    fn send_where(&self, message: &Message<'_>, is_meant: impl Fn(NodeId, &Wants) -> bool) {
        let Some(links) = self.links.get() else {
            return;
        };
        let mut encoded: Option<Bytes> = None;
        for (node, peer) in &mut self.state.lock().peers {
            if !peer.wants.has(message) || !is_meant(*node, &peer.wants) {
                continue;
            }
            let payload = encoded.get_or_insert_with(|| wire::publish(message));
            if !peer.has_room(payload.len() as u64) {
                self.note_dropped(*node);
                continue;
            }
            // With the session what is under way is lost, as it is with the link.
            links.send_in(peer.session, *node, wire::frame(payload.clone()));
        }
    }

    /// Tells a node something; false if it is too far behind to be told of touches.
    pub(super) fn send_note(&self, to: NodeId, note: &Note) -> bool {
        let Some(links) = self.links.get() else {
            return false;
        };
        let payload = wire::note(note);
        let mut state = self.state.lock();
        let Some(peer) = state.peers.get_mut(&to) else {
            return false;
        };
        let is_counted = matches!(note, Note::Touched(..));
        if is_counted && !peer.has_room(payload.len() as u64) {
            return false;
        }
        links.send_in(peer.session, to, wire::frame(payload))
    }

    /// This node wants to hear of these classes of events.
    pub(super) fn set_classes(&self, classes: u32) {
        let mut state = self.state.lock();
        state.classes = classes;
        let Some(links) = self.links.get() else {
            return;
        };
        state.version += 1;
        let payload = wire::interest(state.version, false, [Change::Classes(classes)]);
        for (node, peer) in &state.peers {
            links.send_in(peer.session, *node, wire::frame(payload.clone()));
        }
    }

    /// The classes of events that any other node wants.
    pub(super) fn classes_wanted(&self) -> u32 {
        self.classes_wanted.load(Ordering::Relaxed)
    }

    /// Announces that this node has listeners for a name, or has none any more. To be called under
    /// the board's lock.
    pub(super) fn announce(&self, tables: &Tables, kind: Kind, name: &[u8], is_wanted: bool) {
        let mut state = self.state.lock();
        state.version += 1;
        let version = state.version;
        let was_all = state.wants_all;
        state.wants_all = wants_all(was_all, tables.len(), tables.bytes());
        let (Some(links), false) = (self.links.get(), state.peers.is_empty()) else {
            return;
        };
        let payloads = match (was_all, state.wants_all) {
            (true, true) => vec![wire::interest(version, false, [])],
            (false, true) => vec![wire::interest(version, false, [Change::All])],
            (true, false) => everything(tables, version),
            (false, false) if is_wanted => {
                vec![wire::interest(version, false, [Change::Add(kind, name)])]
            }
            (false, false) => vec![wire::interest(version, false, [Change::Remove(kind, name)])],
        };
        for (node, peer) in &state.peers {
            for payload in &payloads {
                links.send_in(peer.session, *node, wire::frame(payload.clone()));
            }
        }
    }

    /// Tells when everybody has heard of what was announced so far; `None` if everybody has.
    pub(super) fn heard(&self) -> Option<Heard> {
        let mut state = self.state.lock();
        let version = state.version;
        if state.peers.values().all(|peer| peer.heard >= version) {
            return None;
        }
        let (sender, receiver) = oneshot::channel();
        state.waiting.push((version, sender));
        Some(receiver)
    }

    pub(super) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    fn note_dropped(&self, node: NodeId) {
        if self
            .dropped
            .fetch_add(1, Ordering::Relaxed)
            .is_power_of_two()
        {
            tracing::warn!(
                peer = node.0,
                "published messages are dropped: the link is too slow"
            );
        }
    }
}

/// Called by the links.
impl Exchange {
    pub(super) fn connect(&self, links: Links) {
        // A node has its links once.
        let _ = self.links.set(links);
    }

    pub(super) fn up(&self, hello: Hello) {
        self.push(Event::Up(hello));
    }

    pub(super) fn down(&self, node: NodeId) {
        self.push(Event::Down(node));
    }

    pub(super) fn received(&self, from: NodeId, frames: Vec<Frame>) {
        self.push(Event::Frames(from, frames));
    }

    fn push(&self, event: Event) {
        self.inbox.lock().events.push(event);
        self.arrived.notify_one();
    }

    pub(super) fn close(&self) {
        self.inbox.lock().is_closed = true;
        self.arrived.notify_one();
    }
}

/// Called by the thread of the exchange.
impl Exchange {
    /// Waits a while for events; `None` when there will be no more.
    pub(super) fn wait(&self) -> Option<Vec<Event>> {
        let mut inbox = self.inbox.lock();
        if inbox.events.is_empty() && !inbox.is_closed {
            self.arrived.wait_for(&mut inbox, TICK);
        }
        (!inbox.is_closed).then(|| mem::take(&mut inbox.events))
    }

    pub(super) fn handle(&self, event: Event, board: &Board, listener: &dyn Listener) {
        match event {
            Event::Up(hello) => self.greet(&hello, board),
            Event::Down(node) => {
                let mut state = self.state.lock();
                state.peers.remove(&node);
                self.note_interest(&state);
                state.release();
                drop(state);
                listener.down(node);
            }
            Event::Frames(from, frames) => {
                let limits = listener.limits();
                for frame in &frames {
                    if let Err(error) = self.take(from, &frame.payload, (board, &limits), listener)
                    {
                        tracing::error!(peer = from.0, %error, "a node sends nonsense; cutting");
                        self.links.get().inspect(|links| links.cut(from));
                        return;
                    }
                }
                self.confirm(from);
            }
        }
    }

    /// Tells a node that has just been linked all that this node has listeners for.
    fn greet(&self, hello: &Hello, board: &Board) {
        board.with_tables(|tables| {
            let mut state = self.state.lock();
            let mut payloads = match state.wants_all {
                true => vec![wire::interest(state.version, true, [Change::All])],
                false => everything(tables, state.version),
            };
            let classes = Change::Classes(state.classes);
            payloads.push(wire::interest(state.version, false, [classes]));
            let peer = Peer {
                session: hello.session,
                heard: 0,
                handled: (0, 0),
                confirmed: None,
                wants: Wants::default(),
                sent: 0,
                received: 0,
            };
            state.peers.insert(hello.node, peer);
            if let Some(links) = self.links.get() {
                for payload in payloads {
                    links.send_in(hello.session, hello.node, wire::frame(payload));
                }
            }
        });
    }

    fn take(
        &self,
        from: NodeId,
        payload: &Bytes,
        (board, limits): (&Board, &OutputBufferLimits),
        listener: &dyn Listener,
    ) -> Result<(), crate::state::DecodeError> {
        match wire::decode(payload)? {
            Said::Publish(message) => {
                board.deliver(&message, limits);
                self.note_handled(from, payload);
            }
            Said::Note(note) => {
                let is_counted = matches!(note, Note::Touched(..));
                listener.hear(from, note);
                if is_counted {
                    self.note_handled(from, payload);
                }
            }
            Said::Interest {
                version,
                begins,
                changes,
            } => {
                let mut state = self.state.lock();
                if let Some(peer) = state.peers.get_mut(&from) {
                    peer.handled.0 = version;
                    if begins {
                        peer.wants.begin();
                    }
                    changes
                        .into_iter()
                        .for_each(|change| peer.wants.change(change));
                }
                self.note_interest(&state);
            }
            Said::Heard { version, bytes } => {
                let mut state = self.state.lock();
                if let Some(peer) = state.peers.get_mut(&from) {
                    peer.heard = version;
                    peer.received = bytes.min(peer.sent);
                }
                state.release();
            }
        }
        Ok(())
    }

    fn note_handled(&self, from: NodeId, payload: &Bytes) {
        if let Some(peer) = self.state.lock().peers.get_mut(&from) {
            peer.handled.1 += payload.len() as u64;
        }
    }

    /// Tells a node up to where its messages have been handled, if there was any but such news.
    fn confirm(&self, to: NodeId) {
        let mut state = self.state.lock();
        let Some(peer) = state.peers.get_mut(&to) else {
            return;
        };
        let (version, bytes) = peer.handled;
        if peer.confirmed == Some(peer.handled) {
            return;
        }
        peer.confirmed = Some(peer.handled);
        if let Some(links) = self.links.get() {
            links.send_in(peer.session, to, wire::frame(wire::heard(version, bytes)));
        }
    }

    fn note_interest(&self, state: &State) {
        let is_wanted = state.peers.values().any(|peer| !peer.wants.is_empty());
        self.is_wanted.store(is_wanted, Ordering::Relaxed);
        let wanted = state.peers.values();
        let wanted = wanted.fold(0, |classes, peer| classes | peer.wants.classes);
        self.classes_wanted.store(wanted, Ordering::Relaxed);
    }
}

/// Whether a node with so many names, of so many bytes, asks for all messages. One that has done so
/// goes on until it has far fewer, since to name them all is some work.
fn wants_all(was_all: bool, names: usize, bytes: usize) -> bool {
    let (names_max, bytes_max) = match was_all {
        true => (NAMES_MAX / 2, NAMES_MAX_BYTES / 2),
        false => (NAMES_MAX, NAMES_MAX_BYTES),
    };
    names > names_max || bytes > bytes_max
}

/// All that a node has listeners for, in messages of bounded size.
fn everything(tables: &Tables, version: u64) -> Vec<Bytes> {
    let names = Kind::ALL
        .into_iter()
        .flat_map(|kind| tables.names(kind).map(move |name| Change::Add(kind, name)));
    let changes: Vec<Change<'_>> = names.collect();
    // The last one says that the version is complete; what begins anew begins with the first.
    let mut payloads = vec![wire::interest(0, true, [])];
    for chunk in changes.chunks(NAMES_A_MESSAGE) {
        payloads.push(wire::interest(0, false, chunk.iter().copied()));
    }
    payloads.push(wire::interest(version, false, []));
    payloads
}

impl Peer {
    /// Whether so much may be sent; then it counts as sent.
    fn has_room(&mut self, bytes: u64) -> bool {
        let under_way = self.sent - self.received;
        if under_way > 0 && under_way + bytes > WINDOW_BYTES {
            return false;
        }
        self.sent += bytes;
        true
    }
}

impl State {
    /// Lets those go on for whom everybody has heard enough.
    fn release(&mut self) {
        let heard = self.peers.values().map(|peer| peer.heard).min();
        let heard = heard.unwrap_or(u64::MAX);
        for (_, waiting) in self
            .waiting
            .extract_if(.., |(version, _)| *version <= heard)
        {
            // Who has gone does not care.
            let _ = waiting.send(());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::node::clients::Client;

    #[test]
    fn a_node_with_names_too_long_to_announce_asks_for_all_messages_until_they_are_gone() {
        let client = Client::new(1, String::new(), String::new(), 0, 0);
        let (client, board, exchange) = (Arc::new(client), Board::default(), Exchange::default());
        let name = |n: usize| [n.to_string().as_bytes(), &vec![b'x'; 1 << 20]].concat();
        let asks_for_all = || exchange.state.lock().wants_all;
        for n in 0..16 {
            assert!(!asks_for_all(), "with {n} names");
            assert!(board.write().add(Kind::Channel, &name(n), &client));
            board.with_tables(|tables| exchange.announce(tables, Kind::Channel, &name(n), true));
        }
        for n in 0..16 {
            assert_eq!(asks_for_all(), n < 9, "without {n} names");
            assert!(board.write().remove(Kind::Channel, &name(n), client.id));
            board.with_tables(|tables| exchange.announce(tables, Kind::Channel, &name(n), false));
        }
        assert_eq!(board.with_tables(Tables::bytes), 0);
    }
}
