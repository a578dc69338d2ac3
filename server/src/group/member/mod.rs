//! A member of a replicated group, without I/O: consensus, the state machine and the clients'
//! proposals, joined.
//!
//! **Life of a write.** What clients of this node submit becomes a *flight*, one proposal of the
//! log (`flights`). The leader puts its own flights and those that others forwarded into one entry;
//! everybody applies the entry when it is decided; the node whose clients it came from answers them
//! then, from the requests that it still holds. A flight is sent again when the leader changes, and
//! applied once.
//!
//! **Reads** that could not be answered by their connection (no lease here) wait for an index
//! (`reads`), without an entry in the log.
//!
//! Beside that: checkpoints for those who lag behind (`transfer`), the founding of the group
//! (`bootstrap`), changes of members and leader (`changes`), and what becomes of clients' requests
//! when this node is a member no longer (`leaving`).
//!
//! The thread around it (`runtime`), or the simulator, calls in this order: what came in
//! ([`submit`](Member::submit), [`receive`](Member::receive), links), [`advance`](Member::advance),
//! [`ready`](Member::ready) and sends its messages, [`apply`](Member::apply) and answers, writes
//! what `ready` gave and calls [`persisted`](Member::persisted).
//!
//! Invariants: the replica's applied index is the state's whenever no method runs; the standing is
//! published before messages that depend on it leave; an entry's time is not before the last one's.

mod bootstrap;
mod changes;
mod contacts;
mod describe;
mod flights;
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

use super::answer::{answer_all, fail};
use super::planted::{self, Planted};
use super::proposal::{Item, Proposal};
use super::shared::Shared;
use super::vault::Vault;
use crate::commands::CommandError;
use crate::keyspace::Garbage;
use crate::state::{
    Applier, Configuration, Origin, Origins, PROPOSAL_HEAD_BYTES, PROXIED, ProposalHead, Replay,
    ReplayError, State, decode_proposal_head,
};
use bootstrap::Bootstrap;
use changes::{ActiveChange, Order};
use contacts::Contacts;
use flights::{Flight, Flights, Post};
use leading::Leading;
use message::Message;
use proxied::Proxied;
use reads::Reads;
use transfer::{Arrival, Transfer};

/// Entries applied under one lock of the state, in bytes.
const APPLY_BYTES: usize = 1 << 20;
/// Requests of one flight, in bytes, beyond which the next flight begins.
const FLIGHT_TARGET_BYTES: usize = 16 << 20;
/// Flights on their way at once.
const MAX_FLIGHTS: usize = 4;
/// The most bytes of one client's requests that go into the log together: a value of the largest
/// size, and room to spare. Below what one write of the log may hold, with all else in an entry.
const MAX_PROPOSAL_BYTES: usize = 600 << 20;
/// How often a node that is to join says how far it is, in nanoseconds.
const PROGRESS_NS: u64 = 100_000_000;

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

/// An encoded proposal of another node.
struct Forwarded {
    /// In which it was sent.
    configuration: ConfigurationId,
    head: ProposalHead,
    proposal: Bytes,
    /// It was looked at, and every replica can run it.
    is_fit: bool,
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

    /// Applies what is decided, and answers whom it concerns.
    ///
    /// # Errors
    /// The log makes no sense, or this node's state is not what it should be: the node must stop.
    pub fn apply(&mut self, clock_ms: i64) -> Result<(), ReplayError> {
        loop {
            let (first, entries) = self.replica.take_decided(APPLY_BYTES);
            if entries.is_empty() {
                break;
            }
            let is_parked = self.park();
            let applied = self.apply_entries(first, &entries);
            if is_parked {
                self.unpark();
            }
            applied?;
        }
        self.finish_reads(clock_ms);
        Ok(())
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

    /// A leader, or who is about to become it, keeps what others forward; anybody else lets it go,
    /// as it comes again.
    fn take_forwarded(
        &mut self,
        from: NodeId,
        configuration: ConfigurationId,
        proposal: Bytes,
    ) -> Result<(), String> {
        let head = decode_proposal_head(&proposal).map_err(|error| error.to_string())?;
        let bytes = PROPOSAL_HEAD_BYTES + head.items_bytes as usize;
        let is_own = u64::from(head.origin.node) == from.0;
        if !is_own && head.origin.node & PROXIED == 0 || proposal.len() != bytes {
            return Err(format!(
                "node {from} forwards what is not a proposal of its own"
            ));
        }
        let leads = self.replica.leader() == Some(self.replica.member().node);
        let is_known = |known: &Forwarded| {
            (known.head.origin, known.head.sequence) == (head.origin, head.sequence)
        };
        if leads && !self.forwarded.iter().any(is_known) {
            self.forwarded.push(Forwarded {
                configuration,
                head,
                proposal,
                is_fit: false,
            });
            // Its clients are answered when it hears that this is decided.
            self.replica.hurry(from);
        }
        Ok(())
    }

    /// Sends flights to the leader.
    fn forward(&mut self, now: u64) {
        let own = self.replica.member().node;
        let leader = self.replica.leader();
        if !leader.is_some_and(|leader| self.peers.contains_key(&leader)) {
            self.refuse_without_leader(now);
        }
        if leader == Some(own) {
            return;
        }
        self.turn_away_forwarded(leader);
        let Some(leader) = leader else {
            return;
        };
        if !self.peers.contains_key(&leader) || !self.replica.is_member() {
            return;
        }
        self.board(now);
        let post = self.post(leader, self.replica.ballot());
        for sequence in self.flights.due(post, now) {
            let proposal = self.flights.encoded(sequence);
            self.send(leader, Class::Ordered, &Message::Forward { proposal });
            self.flights.note_sent(sequence, post, now);
            if planted::is_on(Planted::AnsweredBeforeApplied) {
                self.answer_early(sequence);
            }
        }
    }

    /// A leadership in the present configuration.
    fn post(&self, leader: NodeId, ballot: u32) -> Post {
        Post {
            leader,
            configuration: self.replica.configuration().id,
            ballot,
        }
    }

    /// What a bug would do that a test plants.
    fn answer_early(&mut self, sequence: u64) {
        let is_plain = |of, flight: &Flight| of == sequence && planted::is_plain(&flight.proposals);
        for mut flight in self.flights.take_if(is_plain) {
            planted::say_done(&mut flight.proposals);
            self.answered.append(&mut flight.proposals);
        }
    }

    /// Makes flights of what waits, reads apart.
    fn board(&mut self, now: u64) {
        self.set_reads_apart(now);
        while !self.waiting.is_empty() && self.flights.len() < MAX_FLIGHTS {
            let mut bytes = 0;
            let mut proposals = Vec::new();
            let mut deadline = u64::MAX;
            while bytes < FLIGHT_TARGET_BYTES
                && let Some((until, proposal)) = self.waiting.pop_front()
            {
                bytes += proposal.bytes();
                deadline = deadline.min(until);
                proposals.push(proposal);
            }
            let refusals = self.refusals();
            self.flights.open(proposals, refusals, deadline);
        }
    }

    fn apply_entries(&mut self, first: LogIndex, entries: &[Bytes]) -> Result<(), ReplayError> {
        let policy = self.shared.tuning.load().access;
        let counters = self.shared.counters();
        let mut state = self.shared.state.write();
        let authority_before = state.authority.changes();
        let (flights, answered) = (&mut self.flights, &mut self.answered);
        let origin = self.options.origin;
        let present = self.replica.configuration().id;
        let (mut sealed, mut proxied) = (None::<Configuration>, Vec::new());
        for (index, entry) in (first.0..).zip(entries) {
            let mut take_over = |applier: &mut Applier<'_>, of: Origin, sequence| {
                let Some(mut flight) = (of == origin).then(|| flights.take(sequence)).flatten()
                else {
                    return false;
                };
                answer_all(applier, &mut flight.proposals, &flight.refusals);
                answered.append(&mut flight.proposals);
                true
            };
            let index = LogIndex(index);
            if planted::is_on(Planted::NoDeduplication) {
                state.origins = Origins::default();
            }
            self.replay
                .apply_with(&mut state, index, entry, policy, &counters, &mut take_over)?;
            proxied.append(&mut self.replay.take_proxied());
            sealed = state.configuration.clone().filter(|next| next.id > present);
            if sealed.is_some() {
                // What stands behind a SEAL was not decided in the configuration that it begins.
                break;
            }
        }
        self.garbage.append(&mut state.keyspace.take_garbage());
        self.shared.totals.add(&counters);
        let has_new_authority = state.authority.changes() != authority_before;
        let to_call = self.shared.ring(&mut state);
        drop(state);
        if has_new_authority {
            self.shared.note_authority();
        }
        if self.replica.is_leader() {
            self.call(to_call);
        }
        self.shared.tell(self.options.group, &counters);
        for (origin, sequence) in proxied {
            self.note_proxied(origin, sequence);
        }
        if let Some(next) = sealed {
            tracing::info!(
                configuration = next.id.0,
                members = ?next.members.iter().map(|member| member.node.0).collect::<Vec<_>>(),
                "the group has new members"
            );
            begin(&mut self.replica, &next, next.sealed_at);
        }
        Ok(())
    }

    /// Fetches a checkpoint if the replica wants one, and takes it over when it is there.
    fn advance_transfer(&mut self, now: u64) {
        let wanted = self.replica.wanted_checkpoint();
        match self.transfer.advance(wanted, now) {
            None => {}
            Some(Arrival::Failed) => self.replica.checkpoint_failed(),
            Some(Arrival::State(state)) => self.install(*state),
        }
    }

    fn install(&mut self, new: State) {
        let index = new.applied;
        let mut state = self.shared.state.write();
        if index <= state.applied {
            drop(state);
            return self.replica.install_checkpoint(index);
        }
        let old = mem::replace(&mut *state, new);
        state.authority.note_installed(index);
        // Whether these were applied shows; with which outcome does not.
        let origin = self.options.origin;
        let is_applied = |sequence, _: &_| state.origins.contains(origin, sequence);
        let lost = self.flights.take_if(is_applied);
        self.shared.note_replaced(self.options.group, &state);
        self.replica.install_checkpoint(index);
        adopt(&mut self.replica, &state);
        drop(state);
        drop(old);
        self.shared.note_authority();
        if let Some(observer) = self.shared.observer.get() {
            observer.replaced(self.options.group);
        }
        for flight in lost {
            self.fail_all(flight.proposals, &CommandError::UNCERTAIN);
        }
        tracing::info!(index = index.0, "checkpoint taken over");
    }

    /// Tells the node it catches up with how far this one is, if it is to join.
    fn tell_progress(&mut self, now: u64) {
        if self.replica.is_member() || now < self.progress_told_at + PROGRESS_NS {
            return;
        }
        self.progress_told_at = now;
        let decided = self.replica.decided();
        let received = self.transfer.progress();
        let received = received.map_or(0, |progress| progress.received_bytes);
        let message = Message::Progress { decided, received };
        let peers: Vec<NodeId> = self.peers.keys().copied().collect();
        for node in peers {
            self.send(node, Class::Ordered, &message);
        }
    }

    /// Answers those that have waited for too long.
    fn give_up(&mut self, now: u64) {
        let late = self.flights.take_if(|_, flight| now >= flight.deadline);
        for flight in late {
            if flight.times_sent == 0 {
                self.fail_for_want_of_leader(flight.proposals);
            } else {
                self.fail_all(flight.proposals, &CommandError::UNCERTAIN);
            }
        }
        while self.waiting.front().is_some_and(|(until, _)| now >= *until) {
            if let Some((_, proposal)) = self.waiting.pop_front() {
                self.fail_for_want_of_leader(vec![proposal]);
            }
        }
        for proposals in self.reads.take_late(now, &mut self.replica) {
            self.fail_for_want_of_leader(proposals);
        }
    }

    fn fail_for_want_of_leader(&mut self, proposals: Vec<Box<Proposal>>) {
        for proposal in proposals {
            let error = self.no_leader(&proposal);
            self.fail_all(vec![proposal], &error);
        }
    }

    fn fail_all(&mut self, mut proposals: Vec<Box<Proposal>>, error: &CommandError) {
        for proposal in &mut proposals {
            fail(proposal, error);
        }
        self.answered.append(&mut proposals);
    }

    fn no_leader(&self, proposal: &Proposal) -> CommandError {
        let (group, configuration) = (self.describe_owner(proposal), self.replica.configuration());
        let own = self.replica.member();
        if self.is_held_up_by_disks() {
            return CommandError::composed(format!(
                "CLUSTERDOWN {group} cannot answer because the disks of too many of its {} members \
                 are full. Nothing was done; make room there",
                configuration.members.len()
            ));
        }
        if configuration.members.contains(&own) {
            return CommandError::composed(format!(
                "CLUSTERDOWN {group} has no leader that this node can reach: a majority of its {} \
                 members must be up and connected. Nothing was done",
                configuration.members.len()
            ));
        }
        CommandError::composed(format!(
            "CLUSTERDOWN {group} has no member on node {}. Nothing was done; connect to a member",
            own.node
        ))
    }

    /// The group and the prefix of a proposal's first key, for people.
    fn describe_owner(&self, proposal: &Proposal) -> String {
        let name = self.shared.name();
        let state = self.shared.state.read();
        let prefix = proposal
            .first_key()
            .and_then(|key| state.authority.owner_of(key));
        match prefix {
            _ if name.is_empty() => "The group of the keys".to_owned(),
            Some((prefix, _)) => {
                let prefix = prefix.escape_ascii();
                format!("Group '{name}', which owns prefix '{prefix}',")
            }
            None => format!("Group '{name}'"),
        }
    }
}

/// The state may know of a later configuration than the replica: from a checkpoint, or because a
/// crash came between applying a SEAL and writing down what followed.
fn adopt(replica: &mut Replica, state: &State) {
    if let Some(next) = &state.configuration
        && next.id > replica.configuration().id
    {
        begin(replica, next, state.applied);
    }
}

fn begin(replica: &mut Replica, next: &Configuration, applied: LogIndex) {
    let next_configuration = bailiwick_replication::consensus::Configuration {
        id: next.id,
        members: next.members.clone(),
        begins_after: next.sealed_at,
    };
    replica.begin_configuration(next_configuration, applied);
}

/// Whether a proposal only does what the leader does in the background.
fn is_background(proposal: &Proposal) -> bool {
    let is_expiry = |item: &Item| matches!(item, Item::Expire(_));
    !proposal.items.is_empty() && proposal.items.iter().all(is_expiry)
}
