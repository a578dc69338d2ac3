//! Sessions between two replicas.
//!
//! Each side numbers its sessions with the other, rising over restarts as well, and says the
//! number in a Hello. A message of consensus carries both sides' numbers and is dropped unless
//! they are the present ones: so nothing of before a break is handled after it, in either
//! direction, whatever the links deliver late.

use omnipaxos::ballot_leader_election::Ballot;
use omnipaxos::messages::Message as CrateMessage;

use super::engine::Engine;
use super::entry::Slot;
use super::message::{Message, Status};
use super::planted::{self, Planted};
use super::{RETRY_TICKS, Replica};
use crate::NodeId;
use crate::link::Class;

/// Sessions of one life are counted in this many bits; the incarnation, which may be a time in
/// milliseconds, stands above them.
const SESSION_BITS: u32 = 20;

/// What a replica knows of another member.
#[derive(Debug, Default)]
pub(crate) struct Peer {
    /// Our session with it.
    pub(crate) session: u64,
    /// Its session with us; 0 until it has told.
    pub(crate) theirs: u64,
    /// How far its log is decided, as it said in this session.
    pub(crate) decided: u64,
    /// The ballot it promised to us last.
    pub(crate) promised: Option<Ballot>,
    /// Prepares that came although we accept under this very ballot.
    pub(crate) odd_prepares: u32,
    /// A Prepare that waits for the end of a grant.
    pub(crate) held_prepare: Option<(Ballot, CrateMessage<Slot>)>,
    /// An Accepted that waits for our own disk, with its ballot and index.
    pub(crate) held_accepted: Option<(Ballot, u64, CrateMessage<Slot>)>,
    /// The ballot under which it said that it leads, and when.
    pub(crate) claim: Option<(Ballot, u64)>,
    /// What it told of itself.
    pub(crate) status: Status,
    /// When it was heard last; 0 if never.
    pub(crate) heard_at: u64,
    /// The tick at which it was told of a later configuration.
    pub(crate) told_sealed: u64,
    /// Until this tick it is told at once of what is decided.
    pub(crate) hurried_until: u64,
}

impl Peer {
    /// Both numbers of the session, once it is open.
    pub(crate) fn open(&self) -> Option<(u64, u64)> {
        (self.theirs != 0).then_some((self.session, self.theirs))
    }

    /// Drops what waits of the session so far.
    pub(crate) fn forget_messages(&mut self) {
        self.held_prepare = None;
        self.held_accepted = None;
        self.promised = None;
        self.odd_prepares = 0;
    }
}

impl Replica {
    /// The connection to a node is there, anew: what was sent before may be lost.
    pub fn link_up(&mut self, node: NodeId) {
        if matches!(self.engine, Engine::Paxos(_)) && self.number_of(node).is_some() {
            self.open_session(node);
        }
        self.reads.ask_again();
    }

    /// Begins a session of ours with another member.
    pub(super) fn open_session(&mut self, node: NodeId) {
        self.sessions += 1;
        let session = (self.options.incarnation << SESSION_BITS) + self.sessions;
        let peer = self.peers.entry(node).or_default();
        peer.session = session;
        if !planted::is_on(Planted::NoSessions) {
            peer.theirs = 0;
            peer.forget_messages();
        }
        self.drop_waiting(node);
        self.push(node, Class::Ordered, &Message::Hello { session, echo: 0 });
    }

    /// The other side tells its session.
    pub(super) fn handle_hello(&mut self, from: NodeId, session: u64, echo: u64) {
        let Engine::Paxos(_) = self.engine else {
            return;
        };
        let peer = self.peers.entry(from).or_default();
        if session < peer.theirs {
            return;
        }
        let own = peer.session;
        if session != peer.theirs {
            peer.theirs = session;
            peer.forget_messages();
            self.drop_waiting(from);
            let number = self.number_of(from);
            if let (Engine::Paxos(instance), Some(number)) = (&mut self.engine, number) {
                instance.reconnected(number);
            }
        }
        if echo != own {
            let hello = Message::Hello {
                session: own,
                echo: session,
            };
            self.push(from, Class::Ordered, &hello);
        }
    }

    /// Whether this is the present session with a node: our number and theirs.
    pub(super) fn is_open(&self, node: NodeId, ours: u64, theirs: u64) -> bool {
        let open = self.peers.get(&node).and_then(Peer::open);
        open == Some((ours, theirs)) || planted::is_on(Planted::NoSessions)
    }

    /// Whether sessions without an answer are to be asked for again.
    pub(super) fn tick_sessions(&mut self) {
        if !matches!(self.engine, Engine::Paxos(_)) || !self.ticks.is_multiple_of(RETRY_TICKS) {
            return;
        }
        for node in self.others() {
            let silent = self.peers.get(&node).filter(|peer| peer.theirs == 0);
            if let Some(session) = silent.map(|peer| peer.session) {
                self.push(node, Class::Ordered, &Message::Hello { session, echo: 0 });
            }
        }
    }

    fn drop_waiting(&mut self, node: NodeId) {
        self.late.retain(|(to, _)| *to != node);
        self.in_write.retain(|(to, _)| *to != node);
        self.held_prepares.retain(|(to, _)| *to != node);
    }
}
