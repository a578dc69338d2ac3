//! The replica of a group: consensus over omnipaxos, made safe, without I/O.
//!
//! The crate `omnipaxos` agrees on the log. Around it stands here what it leaves to its user or
//! gets wrong (the reasons are at the places):
//!
//! * **Durability.** Prepare, Promise and Accepted leave after the write that they depend on, all
//!   else at once ([`Replica::ready`], [`Replica::persisted`]). A leader handles no Accepted for
//!   entries that it has not on disk itself, since the crate counts it from the start.
//! * **Sessions.** The crate needs links without loss, repetition or reordering, and both ends
//!   told of a break. Two replicas agree on a session; whatever was sent in an earlier one is
//!   dropped, and beginning a session tells the crate of a reconnection. A lost connection, a
//!   restarted node and a rebuilt instance all look alike.
//! * **Catching up happens outside of consensus.** A replica that is far behind drops its instance
//!   of the crate, which to everybody else looks like a crash, fetches decided entries (or a
//!   checkpoint and the entries behind it) in small steps, and then starts a new instance on the
//!   log it has. So no message of consensus ever carries more than [`CATCH_UP_BYTES`], and a
//!   replica that lags behind never leads.
//! * **Leases** (`lease`) and read rounds (`reads`).
//! * **Configurations** end with an entry of ours (a Seal), never with the crate's StopSign, which
//!   it counts twice. [`Replica::begin_configuration`] then starts a new instance.
//!
//! A group of one has no instance of the crate, which needs two members: there, what is on disk is
//! decided.
//!
//! Invariants: `applied <= decided <= end`; a message of consensus is handled only within its
//! session, from a member of the same configuration; a lease is valid only while the barrier (the
//! end of the log when this leader began) is applied.
//!
//! Not here: what entries mean, files, sockets, clocks. Time comes in as nanoseconds of a clock
//! that never stands still, suspend included.

mod catch_up;
mod entry;
mod lease;
mod log;
mod message;
mod meta;
mod planted;
mod reads;
mod receive;
mod sessions;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use omnipaxos::ballot_leader_election::Ballot;
use omnipaxos::messages::Message as CrateMessage;
use omnipaxos::messages::ballot_leader_election::HeartbeatMsg;
use omnipaxos::messages::sequence_paxos::PaxosMsg;
use omnipaxos::{ClusterConfig, OmniPaxos, ServerConfig};

pub use log::{LogSource, LogWrite};
pub use message::{MessageError, Status};
pub use meta::{Configuration, Member, Meta, MetaError};

use crate::link::Class;
use crate::{ConfigurationId, LogIndex, NodeId};
use catch_up::CatchUp;
use entry::Slot;
use lease::Lease;
use log::{Log, SharedLog};
use message::Message;
use planted::Planted;
use reads::Reads;
use sessions::Peer;

/// A member whose decided log is behind by more than this catches up outside of consensus.
pub const CATCH_UP_BYTES: usize = 4 << 20;
/// Entries proposed and not decided, in number.
const MAX_UNDECIDED: u64 = 4096;
/// Entries proposed and not decided, in bytes.
const MAX_UNDECIDED_BYTES: usize = 256 << 20;
/// Decided entries kept in memory for members that are a little behind.
const RESIDENT_BYTES: usize = 64 << 20;
/// Ticks between two tellings of one's status.
const STATUS_TICKS: u64 = 8;
/// Ticks after which something unanswered is asked for again.
const RETRY_TICKS: u64 = 20;
/// Ticks for which a member that waits for decisions is told of them at once.
const HURRY_TICKS: u64 = 8;
/// The crate's outgoing buffer, in messages.
const BUFFER_MESSAGES: usize = 64;

/// Times of consensus.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// From tick to tick, in nanoseconds.
    pub tick_ns: u64,
    /// Ticks of an election period, which must be longer than any round trip in the group.
    pub election_ticks: u64,
    /// Ticks after which the crate repeats what was not answered: a few round trips.
    pub resend_ticks: u64,
    /// How long a follower keeps still for its leader, in nanoseconds.
    pub lease_ns: u64,
    /// How much clocks may differ in speed, in thousandths.
    pub drift_permille: u64,
}

impl Timing {
    fn election_ns(&self) -> u64 {
        self.tick_ns * self.election_ticks
    }
}

impl Default for Timing {
    fn default() -> Timing {
        Timing {
            tick_ns: 25_000_000,
            election_ticks: 5,
            resend_ticks: 20,
            lease_ns: 200_000_000,
            drift_permille: 20,
        }
    }
}

/// Who a replica is.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// This node with its data directory.
    pub member: Member,
    /// Which start of the node this is; rises with each.
    pub incarnation: u64,
    /// The higher, the rather it leads when several could.
    pub priority: u32,
    /// Times.
    pub timing: Timing,
}

/// A message to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outgoing {
    /// To whom.
    pub to: NodeId,
    /// How it travels.
    pub class: Class,
    /// The configuration it is tagged with.
    pub configuration: ConfigurationId,
    /// The message.
    pub payload: Bytes,
}

/// What is to be done now: send these, then write this.
#[derive(Debug, Default)]
pub struct Ready {
    /// May leave at once.
    pub messages: Vec<Outgoing>,
    /// To be written; what depends on it comes out of [`Replica::persisted`].
    pub write: Option<LogWrite>,
}

/// A leadership: the ballot, and what has to be applied before reads are served.
#[derive(Clone, Copy, Debug)]
struct Epoch {
    ballot: Ballot,
    barrier: u64,
}

type Instance = OmniPaxos<Slot, SharedLog>;

/// What decides entries.
enum Engine {
    /// Nothing: this node is no member, or is catching up.
    Idle,
    /// The disk alone: this node is the only member.
    Solo,
    /// Consensus.
    Paxos(Box<Instance>),
}

/// A group's replica on one node.
pub struct Replica {
    options: Options,
    log: SharedLog,
    engine: Engine,
    peers: BTreeMap<NodeId, Peer>,
    sessions: u64,
    epoch: Option<Epoch>,
    lease: Lease,
    /// Until then nothing is promised and no tick happens: an earlier life may have granted time.
    quarantined_until: u64,
    reads: Reads,
    catch_up: Option<CatchUp>,
    /// A Seal was proposed by us at this index: no reads any more.
    sealing: Option<u64>,
    /// The crate's present round of heartbeats.
    heartbeat_round: u32,
    /// Since when a leader claims a ballot below the one promised here.
    outdated_since: Option<u64>,
    applied: u64,
    ticks: u64,
    last_tick: u64,
    status: Status,
    is_writing: bool,
    out: Vec<Outgoing>,
    /// Tell members that an entry is decided, who need not know at once: they leave with the next
    /// message to the same member, or at the next tick.
    held_decides: Vec<Outgoing>,
    /// Wait for a write that has not been handed out yet.
    late: Vec<(NodeId, Message)>,
    /// Wait for the write that is under way.
    in_write: Vec<(NodeId, Message)>,
    /// Wait for the end of a grant.
    held_prepares: Vec<(NodeId, Message)>,
    received: VecDeque<(NodeId, Bytes)>,
}

impl Replica {
    /// A replica on a log as it was left. The state machine has applied entries up to `applied`.
    pub fn open(
        options: Options,
        meta: Meta,
        source: Box<dyn LogSource>,
        applied: LogIndex,
        now: u64,
    ) -> Replica {
        assert!(
            applied.0 >= meta.trimmed,
            "applied {applied}, but the log begins behind {}",
            meta.trimmed
        );
        let has_promised = meta.promise.is_some();
        let mut replica = Replica {
            options,
            log: SharedLog::new(Log::open(meta, source)),
            engine: Engine::Idle,
            peers: BTreeMap::new(),
            sessions: 0,
            epoch: None,
            lease: Lease::default(),
            quarantined_until: 0,
            reads: Reads::default(),
            catch_up: None,
            sealing: None,
            heartbeat_round: 0,
            outdated_since: None,
            applied: applied.0,
            ticks: 0,
            last_tick: now,
            status: Status::default(),
            is_writing: false,
            out: Vec::new(),
            held_decides: Vec::new(),
            late: Vec::new(),
            in_write: Vec::new(),
            held_prepares: Vec::new(),
            received: VecDeque::new(),
        };
        if has_promised && !planted::is_on(Planted::NoWaitAfterRestart) {
            replica.quarantined_until = now + options.timing.lease_ns;
        }
        // The applied state may be ahead of what was stored as decided, which goes to disk lazily.
        {
            let mut log = replica.log.lock();
            if applied.0 > log.end() {
                // A checkpoint was received, and the crash came before the log took note of it.
                log.install_checkpoint(applied.0);
            } else if applied.0 > log.decided() {
                log.note_decided(applied.0);
            }
        }
        replica.start_engine();
        replica
    }

    /// The configuration.
    pub fn configuration(&self) -> Configuration {
        self.log.lock().meta.configuration.clone()
    }

    /// This node as a member.
    pub fn member(&self) -> Member {
        self.options.member
    }

    /// Whether this node, with this data directory, is a member.
    pub fn is_member(&self) -> bool {
        let log = self.log.lock();
        log.meta
            .configuration
            .members
            .contains(&self.options.member)
    }

    /// The last decided index.
    pub fn decided(&self) -> LogIndex {
        LogIndex(self.log.lock().decided())
    }

    /// The last index that was handed out by [`Replica::take_decided`].
    pub fn applied(&self) -> LogIndex {
        LogIndex(self.applied)
    }

    /// The last index that is known to be on disk.
    pub fn durable(&self) -> LogIndex {
        LogIndex(self.log.lock().durable())
    }

    /// The last index of the log, decided or not.
    pub fn end(&self) -> LogIndex {
        LogIndex(self.log.lock().end())
    }

    /// Entries up to this one cannot be read from the log any more.
    pub fn trimmed(&self) -> LogIndex {
        LogIndex(self.log.lock().trimmed())
    }

    /// Whether it leads and may propose.
    pub fn is_leader(&self) -> bool {
        match self.engine {
            Engine::Idle => false,
            Engine::Solo => true,
            Engine::Paxos(_) => self.epoch.is_some(),
        }
    }

    /// Whether it takes no part in consensus at present.
    pub fn is_idle(&self) -> bool {
        matches!(self.engine, Engine::Idle)
    }

    /// Who leads, as far as this node knows.
    pub fn leader(&self) -> Option<NodeId> {
        match &self.engine {
            Engine::Idle => self.catch_up.as_ref().map(|catch_up| catch_up.source),
            Engine::Solo => Some(self.options.member.node),
            Engine::Paxos(instance) => {
                let (member, _) = instance.get_current_leader()?;
                self.node_of(member)
            }
        }
    }

    /// Number of the highest ballot that was promised here; for people.
    pub fn ballot(&self) -> u32 {
        let promise = self.log.lock().meta.promise;
        promise.map_or(0, |ballot| ballot.n)
    }

    /// What a member said of itself last, and when.
    pub fn status_of(&self, node: NodeId) -> Option<(Status, u64)> {
        let peer = self.peers.get(&node)?;
        (peer.heard_at > 0).then_some((peer.status, peer.heard_at))
    }

    /// Tells what there is to tell of this node; indexes of the log are filled in here.
    pub fn set_status(&mut self, checkpoint: LogIndex, is_full: bool) {
        self.status.checkpoint = checkpoint;
        self.status.is_full = is_full;
    }

    /// A member waits to hear what is decided: for a while it is told at once, and not only with
    /// the next entry or tick.
    pub fn hurry(&mut self, node: NodeId) {
        let until = self.ticks + HURRY_TICKS;
        self.peers.entry(node).or_default().hurried_until = until;
        let held = self.held_decides.extract_if(.., |held| held.to == node);
        self.out.extend(held);
    }

    /// Appends an entry to the log if this node leads and there is room; gives its index, which is
    /// the entry's own as long as this node leads on.
    pub fn propose(&mut self, entry: Bytes) -> Option<LogIndex> {
        if !self.is_leader() || !self.has_room() {
            return None;
        }
        match &mut self.engine {
            Engine::Idle => None,
            Engine::Solo => Some(LogIndex(self.log.lock().append(entry))),
            Engine::Paxos(instance) => {
                instance
                    .append(Slot(entry))
                    .expect("no StopSign was ever proposed");
                Some(LogIndex(instance.get_accepted_idx() as u64))
            }
        }
    }

    /// As [`Replica::propose`], for the entry that ends the configuration: from here on this
    /// leader serves no reads.
    pub fn propose_seal(&mut self, entry: Bytes) -> Option<LogIndex> {
        if self.sealing.is_some() {
            return None;
        }
        let index = self.propose(entry)?;
        self.sealing = Some(index.0);
        Some(index)
    }

    /// Whether [`Replica::propose`] would take an entry, on a leader.
    pub fn has_room(&self) -> bool {
        let log = self.log.lock();
        let (decided, end) = (log.decided(), log.end());
        !self.is_writing
            && self.sealing.is_none()
            && end - decided < MAX_UNDECIDED
            && !log.is_heavy(decided, end, MAX_UNDECIDED_BYTES)
    }

    /// Asks what must be applied before a read may be answered; the answer comes out of
    /// [`Replica::take_reads`]. The token must be new.
    pub fn read(&mut self, token: u64, now: u64) {
        self.reads.ask(token);
        self.ask_reads(now);
    }

    /// Forgets a read.
    pub fn forget_read(&mut self, token: u64) {
        self.reads.forget(token);
    }

    /// Reads that may be answered once their index is applied.
    pub fn take_reads(&mut self) -> Vec<(u64, LogIndex)> {
        self.reads.take_answered()
    }

    /// Until when reads of the applied state are linearizable without asking anybody, on the clock
    /// whose readings come in as `now`; 0 if they are not.
    ///
    /// To be published *before* the messages of the next [`Replica::ready`] are sent, together with
    /// [`Replica::decided`]: a state that has not applied that much must not be read, because
    /// another member may have answered a client by then.
    pub fn lease_until(&self) -> u64 {
        if self.sealing.is_some() {
            return 0;
        }
        match &self.engine {
            Engine::Idle => 0,
            Engine::Solo => u64::MAX,
            Engine::Paxos(instance) => match self.epoch {
                Some(epoch)
                    if epoch.ballot == instance.get_promise()
                        && (self.applied >= epoch.barrier
                            || planted::is_on(Planted::NoBarrier)) =>
                {
                    self.lease.until(self.majority())
                }
                _ => 0,
            },
        }
    }

    /// A message for the layer above, to another member.
    pub fn send(&mut self, to: NodeId, class: Class, payload: Bytes) {
        self.push(to, class, &Message::Application(payload));
    }

    /// Messages for the layer above.
    pub fn take_received(&mut self) -> Option<(NodeId, Bytes)> {
        self.received.pop_front()
    }

    /// Time passes: to be called often, at least once a tick.
    pub fn tick(&mut self, now: u64) {
        let tick_ns = self.options.timing.tick_ns;
        if now < self.last_tick + tick_ns {
            return;
        }
        // After a stall one tick is enough: what others did meanwhile is in their messages.
        self.last_tick = now;
        self.ticks += 1;
        self.out.append(&mut self.held_decides);
        if now >= self.quarantined_until
            && let Engine::Paxos(instance) = &mut self.engine
        {
            instance.tick();
        }
        self.note_epoch(now);
        self.release_prepares(now);
        self.renew_lease(now);
        self.note_epoch(now);
        self.ask_reads(now);
        self.repeat_round();
        self.tick_sessions();
        self.tick_catch_up();
        self.urge_leader(now);
        if self.ticks.is_multiple_of(STATUS_TICKS) {
            self.tell_status();
        }
    }

    /// What is to be sent and written now. The write, if there is one, must be followed by
    /// [`Replica::persisted`] before the next one comes.
    pub fn ready(&mut self, now: u64) -> Ready {
        self.drain_engine();
        let mut write = None;
        if !self.is_writing {
            write = self.log.lock().take_write();
            self.is_writing = write.is_some();
        }
        let mut messages = std::mem::take(&mut self.out);
        if write.is_some() {
            self.in_write = std::mem::take(&mut self.late);
        } else if !self.is_writing {
            let late = std::mem::take(&mut self.late);
            messages.extend(self.leave(late, now));
        }
        Ready { messages, write }
    }

    /// The write that [`Replica::ready`] handed out is on disk; gives what waited for it.
    pub fn persisted(&mut self, now: u64) -> Vec<Outgoing> {
        assert!(self.is_writing, "nothing was to be written");
        self.is_writing = false;
        {
            let mut log = self.log.lock();
            log.persisted();
            if matches!(self.engine, Engine::Solo) {
                let durable = log.durable();
                log.note_decided(durable);
            }
        }
        let late = std::mem::take(&mut self.in_write);
        let messages = self.leave(late, now);
        self.handle_held_accepted(now);
        messages
    }

    /// The decided entries that no earlier call handed out, at most about `max_bytes` of them but
    /// at least one, with the index of the first.
    pub fn take_decided(&mut self, max_bytes: usize) -> (LogIndex, Vec<Bytes>) {
        let mut log = self.log.lock();
        let first = LogIndex(self.applied + 1);
        // Behind a trim stands a checkpoint that the state machine has to load first.
        if self.applied < log.trimmed() {
            return (first, Vec::new());
        }
        let entries = log.read_step(self.applied, log.decided(), max_bytes);
        self.applied += entries.len() as u64;
        log.shed(RESIDENT_BYTES, self.applied);
        (first, entries)
    }

    /// The state machine stands at this index, because it loaded a checkpoint, or gave entries back
    /// that lie behind a Seal.
    pub fn set_applied(&mut self, index: LogIndex) {
        self.applied = index.0;
    }

    /// Entries up to `index` are covered by checkpoints, the newest of which includes nothing that
    /// is not on disk here: they are not kept any longer.
    pub fn trim(&mut self, index: LogIndex) {
        let upto = {
            let log = self.log.lock();
            index.0.min(log.decided()).min(log.durable())
        };
        if upto <= self.log.lock().trimmed() {
            return;
        }
        match &mut self.engine {
            Engine::Paxos(instance) if instance.get_compacted_idx() < upto as usize => {
                self.log.lock().set_compacting(true);
                let result = instance.snapshot(Some(upto as usize), true);
                self.log.lock().set_compacting(false);
                result.expect("what is decided can be compacted");
            }
            Engine::Paxos(_) => {}
            Engine::Solo | Engine::Idle => self.log.lock().set_compacted(upto),
        }
        self.log.lock().trim(upto);
    }

    /// The entry that ends the present configuration was applied, and `next` begins behind it. The
    /// state machine stands at `applied`: at that entry, or beyond it if it loaded a checkpoint.
    /// What the log has behind is void or will be fetched; proposals in it were not decided.
    ///
    /// A member may only start with the state up to the Seal on its disk, which holds here as the
    /// log up to there is written no later than the first promise in the new configuration.
    pub fn begin_configuration(&mut self, next: Configuration, applied: LogIndex) {
        let present = self.configuration();
        assert!(
            next.id > present.id,
            "configuration {} follows {}",
            next.id.0,
            present.id.0
        );
        self.stop_engine();
        self.lease.forget_all();
        self.catch_up = None;
        self.log.lock().begin_configuration(next, applied.0);
        self.applied = applied.0;
        self.peers.clear();
        self.start_engine();
    }

    /// Makes another member leader: gives the lease up and asks it to take over. It does so within
    /// two election periods, or this node leads on in a new ballot.
    pub fn transfer(&mut self, to: NodeId, now: u64) {
        let Some(epoch) = self.epoch else {
            return;
        };
        self.lease.given_up_at = Some(now);
        self.lease.forget_received();
        let release = Message::LeaseRelease {
            ballot: epoch.ballot,
        };
        for node in self.others() {
            self.push(node, Class::Ordered, &release);
        }
        let above = epoch.ballot.n;
        self.push(to, Class::Ordered, &Message::Lead { above });
    }

    /// Asserts the invariants of this type.
    pub fn check_invariants(&self) {
        let log = self.log.lock();
        log.check_invariants();
        assert!(
            self.applied <= log.decided(),
            "applied {} > decided {}",
            self.applied,
            log.decided()
        );
        if let (Some(epoch), Engine::Paxos(_)) = (&self.epoch, &self.engine) {
            assert!(
                log.meta.promise == Some(epoch.ballot),
                "leads in {:?}, promised {:?}",
                epoch.ballot,
                log.meta.promise
            );
        }
    }
}

impl Replica {
    fn majority(&self) -> usize {
        self.log.lock().meta.configuration.majority()
    }

    /// The crate's number of a node: members count from 1, without gaps.
    fn number_of(&self, node: NodeId) -> Option<u64> {
        let log = self.log.lock();
        let members = &log.meta.configuration.members;
        let at = members.iter().position(|member| member.node == node)?;
        Some(at as u64 + 1)
    }

    fn node_of(&self, number: u64) -> Option<NodeId> {
        let at = usize::try_from(number.checked_sub(1)?).ok()?;
        let log = self.log.lock();
        let member = log.meta.configuration.members.get(at)?;
        Some(member.node)
    }

    /// The other members.
    fn others(&self) -> Vec<NodeId> {
        let own = self.options.member.node;
        let log = self.log.lock();
        let members = log.meta.configuration.members.iter();
        let others = members.map(|member| member.node);
        others.filter(|node| *node != own).collect()
    }

    /// Starts deciding, if this node is a member.
    fn start_engine(&mut self) {
        let configuration = self.configuration();
        if !configuration.members.contains(&self.options.member) {
            return;
        }
        self.log.lock().reset_view();
        let count = configuration.members.len() as u64;
        if count == 1 {
            self.engine = Engine::Solo;
            let mut log = self.log.lock();
            let durable = log.durable();
            log.note_decided(durable);
            return;
        }
        let pid = self
            .number_of(self.options.member.node)
            .expect("it is a member");
        let timing = &self.options.timing;
        let cluster = ClusterConfig {
            configuration_id: configuration.id.0,
            nodes: (1..=count).collect(),
            flexible_quorum: None,
        };
        let server = ServerConfig {
            pid,
            election_tick_timeout: timing.election_ticks,
            resend_message_tick_timeout: timing.resend_ticks,
            buffer_size: BUFFER_MESSAGES,
            batch_size: 1,
            flush_batch_tick_timeout: u64::MAX,
            leader_priority: self.options.priority,
        };
        let instance = cluster
            .build_for_server(server, self.log.clone())
            .expect("two members at least, and all numbers above zero");
        self.engine = Engine::Paxos(Box::new(instance));
        for node in self.others() {
            self.open_session(node);
        }
    }

    /// Drops the instance, which looks like a crash to everybody else.
    fn stop_engine(&mut self) {
        self.engine = Engine::Idle;
        self.epoch = None;
        self.sealing = None;
        self.held_decides.clear();
        self.late.clear();
        self.in_write.clear();
        self.held_prepares.clear();
        self.lease.forget_received();
        self.reads.depose();
        for peer in self.peers.values_mut() {
            peer.forget_messages();
        }
    }

    /// Notices that this node has become leader, or is it no more.
    fn note_epoch(&mut self, now: u64) {
        let Engine::Paxos(instance) = &self.engine else {
            return;
        };
        let ballot = instance.get_promise();
        let leads = instance.get_current_leader() == Some((instance.get_pid(), true));
        match self.epoch {
            Some(epoch) if leads && epoch.ballot == ballot => return,
            None if !leads => return,
            _ => {}
        }
        self.lease.forget_received();
        self.lease.given_up_at = None;
        self.reads.depose();
        self.sealing = None;
        self.epoch = leads.then(|| Epoch {
            ballot,
            barrier: instance.get_accepted_idx() as u64,
        });
        if leads {
            self.renew_lease(now);
        }
    }

    fn renew_lease(&mut self, now: u64) {
        let Some(epoch) = self.epoch else {
            return;
        };
        if self.sealing.is_some() {
            return;
        }
        if let Some(at) = self.lease.given_up_at {
            // Nobody took over: a new ballot may have a lease again.
            if now >= at + 2 * self.options.timing.election_ns() {
                self.lease.given_up_at = Some(now);
                self.lead(epoch.ballot.n);
            }
            return;
        }
        let request = Message::LeaseRequest {
            ballot: epoch.ballot,
            sent_at: now,
        };
        for node in self.others() {
            self.push(node, Class::Urgent, &request);
        }
    }

    /// Answers or passes on our own reads that wait.
    fn ask_reads(&mut self, now: u64) {
        let before = now.saturating_sub(RETRY_TICKS * self.options.timing.tick_ns);
        if self.is_leader() {
            for token in self.reads.due(now, before) {
                self.read_as_leader(None, token, now);
            }
            return;
        }
        if let Some(leader) = self
            .leader()
            .filter(|&node| node != self.options.member.node)
        {
            for token in self.reads.due(now, before) {
                self.push(leader, Class::Ordered, &Message::ReadRequest { token });
            }
        }
    }

    /// A read that came to the leader, from another member or from here.
    fn read_as_leader(&mut self, of: Option<NodeId>, token: u64, now: u64) {
        let decided = self.log.lock().decided();
        let is_ready = match self.epoch {
            _ if self.sealing.is_some() => false,
            Some(epoch) => decided >= epoch.barrier || planted::is_on(Planted::NoBarrier),
            None => matches!(self.engine, Engine::Solo),
        };
        if !is_ready {
            // Asked again when something has changed, or after a while.
            return;
        }
        let holds_lease = match self.engine {
            Engine::Solo => true,
            _ => self.lease.until(self.majority()) > now,
        };
        if holds_lease || planted::is_on(Planted::NoConfirmation) {
            self.answer_read(of, token, LogIndex(decided));
            return;
        }
        self.reads.queue(of, token);
        self.begin_round(decided);
    }

    fn begin_round(&mut self, decided: u64) {
        let Some(epoch) = self.epoch else {
            return;
        };
        if let Some(round) = self.reads.begin_round(decided) {
            self.ask_confirmation(epoch.ballot, round);
        }
    }

    fn repeat_round(&mut self) {
        if let (Some(epoch), Some(round)) = (self.epoch, self.reads.round())
            && self.ticks.is_multiple_of(RETRY_TICKS / 4)
        {
            self.ask_confirmation(epoch.ballot, round);
        }
    }

    fn ask_confirmation(&mut self, ballot: Ballot, round: u64) {
        for node in self.others() {
            self.push(
                node,
                Class::Urgent,
                &Message::ConfirmRequest { ballot, round },
            );
        }
    }

    fn answer_read(&mut self, of: Option<NodeId>, token: u64, index: LogIndex) {
        match of {
            None => self.reads.answer(token, index),
            Some(node) => self.push(node, Class::Ordered, &Message::ReadReply { token, index }),
        }
    }

    fn tell_status(&mut self) {
        {
            let log = self.log.lock();
            self.status.decided = LogIndex(log.decided());
            self.status.durable = LogIndex(log.durable());
        }
        self.status.applied = LogIndex(self.applied);
        self.status.is_idle = self.is_idle();
        let status = Message::Status(self.status);
        for node in self.others() {
            self.push(node, Class::Urgent, &status);
        }
    }

    /// A node that durably promised a ballot above the leader's is ignored until the next election
    /// (the crate's leader does not take it back); it asks the leader for a higher ballot.
    fn urge_leader(&mut self, now: u64) {
        let Engine::Paxos(instance) = &self.engine else {
            return;
        };
        let (promise, timing) = (instance.get_promise(), &self.options.timing);
        let (recent, patience) = (3 * timing.tick_ns, 2 * timing.election_ns());
        let claims = self.peers.iter().filter_map(|(node, peer)| {
            let (ballot, at) = peer.claim?;
            (ballot < promise && now < at + recent).then_some((ballot, *node))
        });
        let Some((_, node)) = claims.max() else {
            self.outdated_since = None;
            return;
        };
        // A leader that is just being replaced claims for a little longer: that is no reason.
        let since = *self.outdated_since.get_or_insert(now);
        if now >= since + patience && now >= self.quarantined_until {
            self.outdated_since = None;
            let above = promise.n;
            self.push(node, Class::Ordered, &Message::Lead { above });
        }
    }

    /// Takes over as leader, above this ballot number.
    fn lead(&mut self, above: u32) {
        /// Ballots are counted up one by one.
        const MAX_STEPS: u32 = 32;
        if let Engine::Paxos(instance) = &mut self.engine {
            let steps = above
                .saturating_add(1)
                .saturating_sub(instance.get_promise().n);
            for _ in 0..steps.clamp(1, MAX_STEPS) {
                instance.try_become_leader();
            }
        }
    }

    fn push(&mut self, to: NodeId, class: Class, message: &Message) {
        if class == Class::Ordered {
            let held = self.held_decides.extract_if(.., |held| held.to == to);
            self.out.extend(held);
        }
        let message = self.outgoing(to, class, message);
        self.out.push(message);
    }

    fn outgoing(&self, to: NodeId, class: Class, message: &Message) -> Outgoing {
        Outgoing {
            to,
            class,
            configuration: self.log.lock().meta.configuration.id,
            payload: message.encode(),
        }
    }

    /// Takes the crate's messages and sorts them by when they may leave.
    fn drain_engine(&mut self) {
        let Engine::Paxos(instance) = &mut self.engine else {
            return;
        };
        let mut messages = Vec::new();
        instance.take_outgoing_messages(&mut messages);
        for message in messages {
            if let CrateMessage::BLE(message) = &message
                && let HeartbeatMsg::Request(request) = &message.msg
            {
                self.heartbeat_round = request.round;
            }
            self.route(message);
        }
    }

    fn route(&mut self, mut message: CrateMessage<Slot>) {
        let Some(to) = self.node_of(message.get_receiver()) else {
            return;
        };
        let Some((from_session, to_session)) = self.peers.get(&to).and_then(Peer::open) else {
            // Before a session is open nothing can arrive; opening it makes the crate begin anew.
            return;
        };
        if !self.complete(&mut message, to) {
            let decided = LogIndex(self.log.lock().decided());
            self.push(to, Class::Ordered, &Message::Behind { decided });
            return;
        }
        let is_early = !waits_for_disk(&message) || planted_early(&message);
        let may_wait = is_decide(&message)
            && self
                .peers
                .get(&to)
                .is_none_or(|peer| self.ticks >= peer.hurried_until);
        let message = Message::Consensus {
            from_session,
            to_session,
            message: Box::new(message),
        };
        if may_wait {
            let message = self.outgoing(to, Class::Ordered, &message);
            self.held_decides.push(message);
        } else if is_early {
            let class = class_of(&message);
            self.push(to, class, &message);
        } else {
            self.late.push((to, message));
        }
    }

    /// Puts the entries that the receiver lacks into a snapshot that only names them. False if they
    /// are not in the log any more.
    fn complete(&self, message: &mut CrateMessage<Slot>, to: NodeId) -> bool {
        use omnipaxos::storage::SnapshotType;
        let CrateMessage::SequencePaxos(message) = message else {
            return true;
        };
        let sync = match &mut message.msg {
            PaxosMsg::AcceptSync(message) => Some(&mut message.log_sync),
            PaxosMsg::Promise(message) => message.log_sync.as_mut(),
            _ => None,
        };
        let Some(Some(SnapshotType::Complete(prefix))) =
            sync.map(|sync| sync.decided_snapshot.as_mut())
        else {
            return true;
        };
        let theirs = self.peers.get(&to).map_or(0, |peer| peer.decided);
        let log = self.log.lock();
        let end = prefix.end();
        if theirs < log.trimmed() && theirs < end {
            return false;
        }
        if theirs < prefix.known {
            let mut tail: Vec<Slot> = log
                .read(theirs..prefix.known)
                .into_iter()
                .map(Slot)
                .collect();
            tail.append(&mut prefix.tail);
            (prefix.known, prefix.tail) = (theirs, tail);
        } else {
            let skip = (theirs.min(end) - prefix.known) as usize;
            prefix.tail.drain(..skip);
            prefix.known += skip as u64;
        }
        true
    }

    /// Lets go of what waited for the disk, except for a Prepare while time is granted to somebody
    /// else; that one leaves when the grant is over.
    fn leave(&mut self, mut late: Vec<(NodeId, Message)>, now: u64) -> Vec<Outgoing> {
        let own = self.number_of(self.options.member.node).unwrap_or(0);
        if self.lease.holds_back_own(own, now) {
            let (prepares, others) = late
                .into_iter()
                .partition(|(_, message)| is_prepare(message));
            self.held_prepares.extend::<Vec<_>>(prepares);
            late = others;
        } else {
            late.splice(0..0, self.held_prepares.drain(..));
        }
        let before = self.out.len();
        for (to, message) in late {
            let Message::Consensus {
                from_session,
                to_session,
                ..
            } = message
            else {
                continue;
            };
            if self.is_open(to, from_session, to_session) {
                self.push(to, class_of(&message), &message);
            }
        }
        self.out.split_off(before)
    }

    /// Prepares of others whose time has come.
    fn release_prepares(&mut self, now: u64) {
        if now < self.quarantined_until {
            return;
        }
        let nodes: Vec<NodeId> = self.peers.keys().copied().collect();
        for node in nodes {
            let ready = self.peers.get_mut(&node).and_then(|peer| {
                let ballot = peer.held_prepare.as_ref().map(|(ballot, _)| *ballot)?;
                if self.lease.holds_back(ballot, now) {
                    return None;
                }
                peer.held_prepare.take()
            });
            if let Some((_, message)) = ready {
                self.handle_consensus(node, message, now);
            }
        }
    }
}

/// Whether a message may leave only once all before it is on disk.
fn waits_for_disk(message: &CrateMessage<Slot>) -> bool {
    let CrateMessage::SequencePaxos(message) = message else {
        return false;
    };
    matches!(
        message.msg,
        PaxosMsg::Prepare(_) | PaxosMsg::Promise(_) | PaxosMsg::Accepted(_)
    )
}

fn is_decide(message: &CrateMessage<Slot>) -> bool {
    let CrateMessage::SequencePaxos(message) = message else {
        return false;
    };
    matches!(message.msg, PaxosMsg::Decide(_))
}

fn is_prepare(message: &Message) -> bool {
    let Message::Consensus { message, .. } = message else {
        return false;
    };
    matches!(&**message, CrateMessage::SequencePaxos(message)
        if matches!(message.msg, PaxosMsg::Prepare(_)))
}

/// Whether a planted bug lets the message go too early.
fn planted_early(message: &CrateMessage<Slot>) -> bool {
    let CrateMessage::SequencePaxos(message) = message else {
        return false;
    };
    match message.msg {
        PaxosMsg::Accepted(_) => planted::is_on(Planted::AcceptedBeforeSync),
        PaxosMsg::Promise(_) => planted::is_on(Planted::PromiseBeforeSync),
        _ => false,
    }
}

fn class_of(message: &Message) -> Class {
    if message.is_urgent() {
        Class::Urgent
    } else if message.is_bulk() {
        Class::Bulk
    } else {
        Class::Ordered
    }
}
