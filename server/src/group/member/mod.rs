//! A member of a replicated group, without I/O: consensus, the state machine and the clients'
//! proposals, joined.
//!
//! **Life of a write.** What clients of this node submit becomes a *flight*, one proposal of the
//! log (`flights`, `forwarding`). The leader puts its own flights and those that others forwarded
//! into one entry (`leading`); everybody applies the entry when it is decided (`applying`); the node
//! whose clients it came from answers them then, from the requests that it still holds. A flight is
//! sent again when the leader changes, and applied once.
//!
//! **Reads** that could not be answered by their connection (no lease here) wait for an index
//! (`reads`), without an entry in the log.
//!
//! Beside that: checkpoints for those who lag behind (`transfer`, `catching_up`), the founding of
//! the group (`bootstrap`), changes of members and leader (`changes`), full disks (`room`), and
//! what becomes of clients' requests when nobody answers (`giving_up`), or when this node is a
//! member no longer (`leaving`).
//!
//! The thread around it (`runtime`), or the simulator, calls in this order: what came in
//! ([`submit`](Member::submit), [`receive`](Member::receive), links), [`advance`](Member::advance),
//! [`ready`](Member::ready) and sends its messages, [`apply`](Member::apply) and answers, writes
//! what `ready` gave and calls [`persisted`](Member::persisted).
//!
//! Invariants: the replica's applied index is the state's whenever no method runs; the standing is
//! published before messages that depend on it leave; an entry's time is not before the last one's.

mod applying;
mod bootstrap;
mod catching_up;
mod changes;
mod contacts;
mod describe;
mod flights;
mod forwarding;
mod giving_up;
mod leading;
mod leaving;
mod message;
mod parked;
mod proxied;
mod reads;
mod room;
mod transfer;

use std::collections::{BTreeMap, VecDeque};
use std::mem;
use std::sync::Arc;

use bailiwick_replication::consensus::{LogWrite, Member as MemberId, Outgoing, Replica};
use bailiwick_replication::link::Class;
use bailiwick_replication::{ConfigurationId, GroupId, LogIndex, NodeId};
use bytes::Bytes;

pub use changes::Change;
pub use describe::{Description, MemberDescription};
pub(super) use parked::Parked;
pub use transfer::TransferProgress;

use super::proposal::{Item, Proposal};
use super::shared::Shared;
use super::vault::Vault;
use crate::commands::CommandError;
use crate::keyspace::Garbage;
use crate::state::{Origin, Replay};
use bootstrap::Bootstrap;
use catching_up::adopt;
use changes::{ActiveChange, Order};
use contacts::Contacts;
use flights::Flights;
use forwarding::Forwarded;
use leading::Leading;
use message::Message;
use proxied::Proxied;
use reads::Reads;
use transfer::{Arrival, Transfer};

/// The most bytes of one client's requests that go into the log together: a value of the largest
/// size, and room to spare. Below what one write of the log may hold, with all else in an entry.
const MAX_PROPOSAL_BYTES: usize = 600 << 20;

/// What a member is set up with.
pub struct MemberOptions {
    /// The group.
    pub group: GroupId,
    /// Who this node is in proposals; differs in each life.
    pub origin: Origin,
    /// The seed of what the leader draws at random.
    pub seed: u64,
    /// Who forms the group at first; empty if this node is to join later.
    pub founders: Vec<NodeId>,
    /// All other nodes of the cluster: a group is founded only when none of them knows of it.
    pub others: Vec<NodeId>,
    /// The members of a new group whose founding is no matter of theirs; empty if they have to
    /// find each other.
    pub first_members: Vec<MemberId>,
    /// The databases of a new group; 0 if this node does not know of them, so that it is not this
    /// one that begins its log.
    pub databases: usize,
    /// The seed of a new group's tables.
    pub hash_seed: u64,
    /// How long a command waits for a leader, in nanoseconds.
    pub request_timeout_ns: u64,
    /// How long an answer of the leader takes at most unless something was lost, in nanoseconds.
    pub resend_after_ns: u64,
}

/// Another node, as long as its link is up.
struct Peer {
    disk: u64,
    /// How far it is, if it is to join: entries, and bytes of a checkpoint.
    progress: Option<(LogIndex, u64)>,
}

/// What is to be done: send, then write.
pub struct Work {
    /// To be sent at once.
    pub messages: Vec<Outgoing>,
    /// To be written durably, followed by [`Member::persisted`].
    pub write: Option<LogWrite>,
}

/// A member of a group.
pub struct Member {
    replica: Replica,
    shared: Arc<Shared>,
    options: MemberOptions,
    /// Submitted, with the time by which somebody must have taken them.
    waiting: VecDeque<(u64, Box<Proposal>)>,
    flights: Flights,
    reads: Reads,
    leading: Leading,
    /// Proposals of other nodes, for the next entry.
    forwarded: Vec<Forwarded>,
    answered: Vec<Box<Proposal>>,
    /// What the remaining members have to be asked for, as this node is none of them any more.
    passed_on: Vec<Box<Proposal>>,
    proxied: Proxied,
    garbage: Vec<Garbage>,
    replay: Replay,
    transfer: Transfer,
    bootstrap: Bootstrap,
    peers: BTreeMap<NodeId, Peer>,
    contacts: Contacts,
    orders: Vec<Order>,
    last_request: u64,
    change: Option<ActiveChange>,
    /// No room on this node's disk.
    is_full: bool,
    /// What waits would fit onto it.
    fits: bool,
    progress_told_at: u64,
}

impl Member {
    /// A member whose state stands where the replica does.
    pub fn new(
        mut replica: Replica,
        shared: Arc<Shared>,
        vault: Box<dyn Vault>,
        options: MemberOptions,
    ) -> Self {
        adopt(&mut replica, &shared.state.read());
        let mut member = Self {
            replica,
            shared,
            waiting: VecDeque::new(),
            flights: Flights::new(options.origin, options.resend_after_ns),
            reads: Reads::new(options.origin.incarnation << 20),
            leading: Leading::new(options.seed),
            forwarded: Vec::new(),
            answered: Vec::new(),
            passed_on: Vec::new(),
            proxied: Proxied::default(),
            garbage: Vec::new(),
            replay: Replay::default(),
            transfer: Transfer::new(vault),
            bootstrap: Bootstrap::new(options.founders.clone(), options.others.clone()),
            peers: BTreeMap::new(),
            contacts: Contacts::default(),
            orders: Vec::new(),
            // Answers to an earlier life's orders must not be taken for answers to this one's.
            last_request: options.origin.incarnation << 20,
            change: None,
            is_full: false,
            fits: true,
            progress_told_at: 0,
            options,
        };
        member.begin();
        member
    }

    /// Takes proposals of this node's clients; they come back from [`Member::take_answered`].
    pub fn submit(&mut self, proposals: &mut Vec<Box<Proposal>>, now: u64) {
        let deadline = now + self.options.request_timeout_ns;
        let leads = self.replica.is_leader();
        for proposal in proposals.drain(..) {
            if !leads && is_background(&proposal) {
                self.answered.push(proposal);
            } else if proposal.bytes() > MAX_PROPOSAL_BYTES {
                let error = CommandError::text("ERR the request is too large for the log");
                self.fail_all(vec![proposal], &error);
            } else {
                self.waiting.push_back((deadline, proposal));
            }
        }
    }

    /// A link to another node, with this data directory, is up.
    pub fn link_up(&mut self, node: NodeId, disk: u64) {
        let peer = Peer {
            disk,
            progress: None,
        };
        self.peers.insert(node, peer);
        self.flights.forget_sent_to(node);
        self.replica.link_up(node);
        self.introduce(node);
    }

    /// A link is down.
    pub fn link_down(&mut self, node: NodeId) {
        self.peers.remove(&node);
        self.bootstrap.forget(node);
        self.proxied.forget(node);
        self.note_silence(node);
    }

    /// Handles what another node sent. An error means that it makes no sense: the link is to be
    /// cut.
    pub fn receive(
        &mut self,
        from: NodeId,
        configuration: ConfigurationId,
        payload: &Bytes,
        now: u64,
    ) -> Result<(), String> {
        self.replica
            .receive(from, configuration, payload, now)
            .map_err(|error| error.to_string())?;
        while let Some((from, payload)) = self.replica.take_received() {
            let message = Message::decode(&payload).map_err(|error| error.to_string())?;
            self.handle((from, configuration), message, now)?;
        }
        Ok(())
    }

    /// Does what there is to do at this time: proposes, forwards, asks, gives up.
    pub fn advance(&mut self, now: u64, clock_ms: i64) {
        self.replica.tick(now);
        self.note_leadership();
        self.pass_on();
        self.give_up(now);
        self.advance_transfer(now);
        self.advance_change(now);
        if self.replica.is_leader() {
            self.lead(now, clock_ms);
        } else {
            self.forward(now);
        }
        self.advance_orders(now);
        self.start_reads(now, clock_ms);
        self.tell_progress(now);
        self.say_whom_it_waits_for(now);
    }

    /// What is to be sent and written now. Publishes the standing.
    pub fn ready(&mut self, now: u64) -> Work {
        let checkpoint = self.transfer.newest().unwrap_or(LogIndex::ZERO);
        self.replica.set_status(checkpoint, self.is_full);
        for (to, class, message) in self.transfer.take_messages() {
            self.send(to, class, &message);
        }
        let ready = self.replica.ready(now);
        self.publish();
        Work {
            messages: ready.messages,
            write: ready.write,
        }
    }

    /// The write that [`Member::ready`] gave is on disk; gives what waited for it.
    pub fn persisted(&mut self, now: u64) -> Vec<Outgoing> {
        let messages = self.replica.persisted(now);
        self.publish();
        messages
    }

    /// Answered proposals, to be delivered.
    pub fn take_answered(&mut self) -> &mut Vec<Box<Proposal>> {
        &mut self.answered
    }

    /// What was cleared or removed, to be dropped where it holds nobody up.
    pub fn take_garbage(&mut self) -> Vec<Garbage> {
        mem::take(&mut self.garbage)
    }

    /// Entries up to `index` are in checkpoints on disk.
    pub fn trim(&mut self, index: LogIndex) {
        self.replica.trim(index);
    }

    /// Until when it is better to wait for more proposals than to act on those that are there, and
    /// how many more would be enough.
    pub fn lingers(&self) -> Option<(u64, usize)> {
        let waiting = self.waiting.len() + self.forwarded.len();
        let (until, enough) = self.leading.lingers(waiting)?;
        Some((until, enough - waiting))
    }

    /// Hands leadership to whoever is most fit, if this node leads; false if it does not (any
    /// more).
    pub fn hand_over(&mut self, now: u64) -> bool {
        if !self.replica.is_leader() {
            return false;
        }
        let Some(successor) = self.best_successor() else {
            return false;
        };
        self.replica.transfer(successor, now);
        true
    }

    /// What a new group is to be like has become known, of which this node knew only that it is a
    /// member.
    pub fn learn_shape(&mut self, databases: usize, hash_seed: u64) {
        if self.options.databases == 0 {
            self.options.databases = databases;
            self.options.hash_seed = hash_seed;
        }
    }

    /// Asserts the invariants of this type. For tests and simulation.
    pub fn check_invariants(&self) {
        self.replica.check_invariants();
        let state = self.shared.state.read();
        assert_eq!(self.replica.applied(), state.applied);
        state.origins.check_invariants();
    }

    /// The replica, for whoever looks on.
    pub fn replica(&self) -> &Replica {
        &self.replica
    }
}

impl Member {
    fn send(&mut self, to: NodeId, class: Class, message: &Message) {
        self.replica.send(to, class, message.encode());
    }

    fn publish(&self) {
        let replica = &self.replica;
        let standing = &self.shared.standing;
        standing.publish(replica.decided(), replica.lease_until());
        standing.set_leader(replica.leader(), replica.leadership(), replica.is_member());
    }

    /// Handles what a node sent in a configuration.
    fn handle(
        &mut self,
        (from, sent_in): (NodeId, ConfigurationId),
        message: Message,
        now: u64,
    ) -> Result<(), String> {
        match message {
            Message::Introduction {
                configuration,
                members,
            } => self.note_introduction(from, configuration, members),
            Message::Forward { proposal } => self.take_forwarded(from, sent_in, proposal)?,
            Message::Refused { sequence, reason } => self.note_refused(sequence, reason),
            Message::Progress { decided, received } => {
                if let Some(peer) = self.peers.get_mut(&from) {
                    peer.progress = Some((decided, received));
                }
            }
            Message::PieceWanted { index, offset } => self.transfer.serve(from, index, offset),
            Message::Piece {
                index,
                offset,
                total_bytes,
                bytes,
            } => {
                let place = (index, offset, total_bytes);
                self.transfer.piece(from, place, &bytes, now);
            }
            Message::PieceGone { index } => {
                if let Some(Arrival::Failed) = self.transfer.gone(from, index) {
                    self.replica.checkpoint_failed();
                }
            }
            Message::Ask { request, change } => self.handle_ask(Some(from), request, change, now),
            Message::Answered { request, error } => self.finish_order(request, &error),
        }
        Ok(())
    }
}

/// Whether a proposal only does what the leader does in the background.
fn is_background(proposal: &Proposal) -> bool {
    let is_expiry = |item: &Item| matches!(item, Item::Expire(_));
    !proposal.items.is_empty() && proposal.items.iter().all(is_expiry)
}
