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
//!   log it has. So no message of consensus ever carries more than `CATCH_UP_BYTES`, and a
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
mod engine;
mod entry;
mod leadership;
mod lease;
mod log;
mod message;
mod meta;
mod options;
mod outbox;
mod planted;
mod reads;
mod receive;
mod sessions;
#[cfg(test)]
mod simulation;
mod view;

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;

pub use log::{LogSource, LogWrite};
pub use message::{MessageError, Status};
pub use meta::{Configuration, Member, Meta, MetaError};
pub use options::{Options, Timing};

use crate::link::Class;
use crate::{ConfigurationId, LogIndex, NodeId};
use catch_up::CatchUp;
use engine::Engine;
use entry::Slot;
use leadership::Epoch;
use lease::Lease;
use log::{Log, SharedLog};
use message::Message;
use planted::Planted;
use reads::Reads;
use sessions::Peer;

/// A member whose decided log is behind by more than this catches up outside of consensus.
const CATCH_UP_BYTES: usize = 4 << 20;
/// Entries proposed and not decided, in number.
const MAX_UNDECIDED: u64 = 4096;
/// Entries proposed and not decided, in bytes.
const MAX_UNDECIDED_BYTES: usize = 256 << 20;
/// Decided entries kept in memory for members that are a little behind. In tests few, so that they
/// are read back.
const RESIDENT_BYTES: usize = if cfg!(test) { 2400 } else { 64 << 20 };
/// [`CATCH_UP_BYTES`], but in tests little, so that catching up is common there.
const FAR_BEHIND_BYTES: usize = if cfg!(test) { 1200 } else { CATCH_UP_BYTES };
/// Ticks between two tellings of one's status.
const STATUS_TICKS: u64 = 8;
/// Ticks after which something unanswered is asked for again.
const RETRY_TICKS: u64 = 20;
/// Ticks for which a member that waits for decisions is told of them at once.
const HURRY_TICKS: u64 = 8;
/// The crate's outgoing buffer, in messages.
const BUFFER_MESSAGES: usize = 64;

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
    /// Who led at the last tick.
    last_leader: Option<NodeId>,
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
            last_leader: None,
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
        // The applied state may be ahead of what was stored as decided: that goes to disk lazily,
        // or a checkpoint was received and the crash came before the log took note. In the latter
        // case the log may hold, below the checkpoint, entries that never were decided; so it has
        // to begin behind it. One cannot tell the cases apart.
        {
            let mut log = replica.log.lock();
            let is_trusting = planted::is_on(Planted::TrustsLogBelowCheckpoint);
            if is_trusting && applied.0 > log.decided() && applied.0 <= log.end() {
                log.note_decided(applied.0);
            } else if applied.0 > log.decided() {
                log.install_checkpoint(applied.0);
            }
        }
        replica.start_engine();
        replica
    }

    /// Notes what there is to tell of this node; indexes of the log are filled in here. That its
    /// disk is full, or has room again, is told at once: a leader has to know before it proposes.
    pub fn set_status(&mut self, checkpoint: LogIndex, is_full: bool) {
        self.status.checkpoint = checkpoint;
        let was_full = std::mem::replace(&mut self.status.is_full, is_full);
        if was_full != is_full {
            self.tell_status();
        }
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
        let leader = self.leader();
        if leader != self.last_leader {
            self.last_leader = leader;
            self.reads.ask_again();
        }
        self.ask_reads(now);
        self.repeat_round();
        self.tick_sessions();
        self.tick_catch_up();
        self.urge_leader(now);
        if self.ticks.is_multiple_of(STATUS_TICKS) {
            self.tell_status();
        }
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
        let entries = log.read_step(self.applied..log.decided(), max_bytes);
        self.applied += entries.len() as u64;
        log.shed(RESIDENT_BYTES, self.applied);
        (first, entries)
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
}
