//! A node: a disk, clocks, and, while it runs, a member with the thread around it.
//!
//! The thread does in a turn what the real one does, in the same order (`group::runtime` of the
//! server), but each step is one of its own: between two of them the thread may be held up, and
//! connections read the state meanwhile.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use bailiwick::group::{Member, MemberOptions, Proposal, Shared, Standing, Tuning, Work};
use bailiwick::state::{Origin, State};
use bailiwick_replication::consensus::{
    Configuration, LogWrite, Member as MemberId, Meta, Options, Outgoing, Replica, Timing,
};
use bailiwick_replication::{ConfigurationId, GroupId, LogIndex, NodeId};
use bytes::Bytes;

use super::clocks::Clocks;
use super::disk::{Disk, SimVault};
use super::plan::Plan;
use super::planted::Planted;
use super::{MS, SECOND};

/// From tick to tick.
pub(super) const TICK_NS: u64 = 10 * MS;
/// How long a command waits for a leader.
pub(super) const REQUEST_TIMEOUT_NS: u64 = 2 * SECOND;
/// The databases of the group.
pub(super) const DATABASES: usize = 2;

/// A write that found no room is tried again after this.
const RETRY_NS: u64 = 100 * MS;
/// Writes that a disk that lies has not done yet.
const LIES: usize = 3;

/// The record and the entries of a log.
type LogFiles = (Option<Vec<u8>>, BTreeMap<u64, Bytes>);

/// What comes in for a replica's thread.
pub(super) enum Input {
    Up {
        peer: u64,
        disk: u64,
        /// Which life of the peer.
        life: u64,
        session: u64,
    },
    Down {
        peer: u64,
        session: u64,
    },
    Frame {
        from: u64,
        configuration: ConfigurationId,
        payload: Bytes,
    },
    /// Another node's clients want something of the group.
    Proxied {
        from: u64,
        proposal: Bytes,
    },
    /// Entries up to this one are covered by two checkpoints.
    Covered(LogIndex),
}

/// Where in its turn the thread is.
pub(super) enum Phase {
    /// It waits.
    Idle,
    /// It has decided what to do, and nobody knows yet.
    Decided(Work),
    /// It has sent.
    Sent(Option<LogWrite>),
    /// It waits for the disk.
    Writing(LogWrite),
    /// What waited for the disk is to be sent.
    Written(Vec<Outgoing>),
}

/// A node, whether it runs or not.
pub(super) struct Node {
    pub(super) id: u64,
    pub(super) disk: Disk,
    pub(super) clocks: Clocks,
    /// The process is stopped until then.
    pub(super) stalled_until: u64,
    pub(super) life: u64,
    pub(super) running: Option<Running>,
    /// What a disk that lies goes back to in a crash.
    synced: VecDeque<LogFiles>,
}

/// A node's process.
pub(super) struct Running {
    pub(super) member: Member,
    pub(super) shared: Arc<Shared>,
    pub(super) sessions: BTreeMap<u64, u64>,
    pub(super) inputs: Vec<Input>,
    pub(super) proposals: Vec<Box<Proposal>>,
    pub(super) phase: Phase,
    /// A write that found no room, and when to try again.
    pub(super) stuck: Option<(LogWrite, u64)>,
    /// When the thread runs on.
    pub(super) wakes_at: u64,
    /// A checkpoint that is being written.
    pub(super) checkpoint: Option<(LogIndex, Bytes)>,
    /// Up to here what it applied was compared.
    pub(super) compared: u64,
    /// Up to here the entries themselves were.
    pub(super) compared_entries: u64,
    /// The highest that sessions on this node saw the counter at that is only counted up.
    pub(super) seen: i64,
}

impl Node {
    pub(super) fn new(id: u64, disk: Disk, plan: &Plan, rng: &mut fastrand::Rng) -> Self {
        let mut clocks = Clocks::draw(rng);
        if plan.planted == Some(Planted::Drift) {
            clocks.speed_permille = if id == plan.founders { 400 } else { 2000 };
        }
        Self {
            id,
            disk,
            clocks,
            stalled_until: 0,
            life: 0,
            running: None,
            synced: VecDeque::new(),
        }
    }

    /// This node with the directory that it has now.
    pub(super) fn member_id(&self) -> MemberId {
        MemberId {
            node: NodeId(self.id),
            disk: self.disk.files().id,
        }
    }

    /// Starts the process on what the disk holds, as the real one does.
    pub(super) fn start(&mut self, plan: &Plan, now: u64, seed: u64) {
        let incarnation = {
            let mut files = self.disk.files();
            files.incarnation += 1;
            files.incarnation
        };
        self.life += 1;
        let clock = self.clocks.clock(now);
        let vault = SimVault::new(self.disk.clone(), plan.planted);
        let options = self.member_options(plan, incarnation, seed);
        let amnesia = plan.planted == Some(Planted::StartWithoutCheckpoint);
        let me = self.member_id();
        self.running = Some(Running::open(
            me, &self.disk, vault, options, clock, amnesia,
        ));
    }

    fn member_options(&self, plan: &Plan, incarnation: u64, seed: u64) -> MemberOptions {
        let founders = if self.id <= plan.founders {
            (1..=plan.founders).map(NodeId).collect()
        } else {
            Vec::new()
        };
        let timing = timing();
        MemberOptions {
            group: GroupId(0),
            origin: Origin {
                node: self.id as u32,
                incarnation,
            },
            seed,
            founders,
            others: (1..=plan.nodes)
                .filter(|node| *node != self.id)
                .map(NodeId)
                .collect(),
            first_members: Vec::new(),
            databases: DATABASES,
            hash_seed: 7,
            request_timeout_ns: REQUEST_TIMEOUT_NS,
            resend_after_ns: 4 * timing.tick_ns * timing.election_ticks,
        }
    }

    /// A write is done.
    pub(super) fn write(&mut self, write: &LogWrite, planted: Option<Planted>) {
        if planted == Some(Planted::LyingDisk) {
            let files = self.disk.files();
            let before = (files.meta.clone(), files.entries.clone());
            drop(files);
            self.synced.push_back(before);
            if self.synced.len() > LIES {
                self.synced.pop_front();
            }
        }
        self.disk.write(write);
    }

    /// Ends the process at once. A write that was under way may have come through.
    pub(super) fn crash(&mut self, survives: bool) {
        let Some(running) = self.running.take() else {
            return;
        };
        if survives && let Phase::Writing(write) = running.phase {
            self.disk.write(&write);
        }
        if let Some((meta, entries)) = self.synced.pop_front() {
            let mut files = self.disk.files();
            (files.meta, files.entries) = (meta, entries);
        }
        self.synced.clear();
    }
}

/// A moment, as one node sees it.
#[derive(Clone, Copy)]
pub(super) struct Moment {
    /// The clock that never jumps, in nanoseconds.
    pub(super) clock: u64,
    /// The clock on the wall.
    pub(super) wall_ms: i64,
    /// Nothing can be written.
    pub(super) is_full: bool,
    /// The most that a write takes, in nanoseconds.
    pub(super) write_ns: u64,
}

/// What came of a step of a turn.
#[derive(Default)]
pub(super) struct Stepped {
    /// To be sent now.
    pub(super) messages: Vec<Outgoing>,
    /// Something may have been applied.
    pub(super) has_applied: bool,
    /// How long the thread waits; if it does not, the next step follows.
    pub(super) sleep_ns: Option<u64>,
}

impl Running {
    /// A member on what the disk holds, as the real one comes up.
    pub(super) fn open(
        me: MemberId,
        disk: &Disk,
        vault: SimVault,
        options: MemberOptions,
        clock: u64,
        amnesia: bool,
    ) -> Self {
        let found = disk.files().meta.clone();
        let meta = match found {
            Some(bytes) => Meta::decode(&bytes).expect("the record is read as it was written"),
            None => Meta::new(Configuration::default()),
        };
        let mut state = disk.newest_state();
        if amnesia {
            state = State::empty();
            state.applied = meta.trimmed();
        }
        assert!(
            state.applied >= meta.trimmed(),
            "{me:?}: its log begins behind {}, its checkpoint is of {}",
            meta.trimmed(),
            state.applied
        );
        let replica_options = Options {
            member: me,
            incarnation: options.origin.incarnation,
            priority: 0,
            timing: timing(),
        };
        let applied = state.applied;
        let source = Box::new(disk.clone());
        let replica = Replica::open(replica_options, meta, source, applied, clock);
        let shared = Arc::new(Shared::new(state, Tuning::default(), Standing::default()));
        let member = Member::new(replica, shared.clone(), Box::new(vault), options);
        Self {
            member,
            shared,
            sessions: BTreeMap::new(),
            inputs: Vec::new(),
            proposals: Vec::new(),
            phase: Phase::Idle,
            stuck: None,
            wakes_at: 0,
            checkpoint: None,
            compared: applied.0,
            compared_entries: applied.0,
            seen: 0,
        }
    }

    /// One step of a turn. `write` writes to the disk what it is given.
    pub(super) fn step(
        &mut self,
        moment: Moment,
        rng: &mut fastrand::Rng,
        write: impl FnOnce(&LogWrite),
    ) -> Result<Stepped, String> {
        let mut stepped = Stepped::default();
        match std::mem::replace(&mut self.phase, Phase::Idle) {
            Phase::Idle => self.decide(moment)?,
            Phase::Decided(work) => {
                self.phase = Phase::Sent(work.write);
                stepped.messages = work.messages;
            }
            Phase::Sent(write) => {
                self.apply(moment)?;
                stepped.has_applied = true;
                stepped.sleep_ns = Some(self.begin_write(write, moment, rng));
            }
            Phase::Writing(log_write) => {
                write(&log_write);
                self.phase = Phase::Written(self.member.persisted(moment.clock));
            }
            Phase::Written(messages) => {
                stepped.messages = messages;
                self.apply(moment)?;
                stepped.has_applied = true;
                stepped.sleep_ns = Some(0);
            }
        }
        Ok(stepped)
    }

    /// The first half of a turn: takes what came in, and decides what to do.
    fn decide(&mut self, moment: Moment) -> Result<(), String> {
        for input in std::mem::take(&mut self.inputs) {
            self.take(input, moment.clock)?;
        }
        let member = &mut self.member;
        if !self.proposals.is_empty() {
            member.submit(&mut self.proposals, moment.clock);
        }
        if self.stuck.is_none() {
            member.set_full(moment.is_full);
        }
        member.advance(moment.clock, moment.wall_ms);
        self.phase = Phase::Decided(member.ready(moment.clock));
        Ok(())
    }

    fn apply(&mut self, moment: Moment) -> Result<(), String> {
        let applied = self.member.apply(moment.wall_ms);
        applied.map_err(|error| format!("it stops: {error}"))
    }

    /// Begins to write, or waits for something to do; how long that takes.
    fn begin_write(
        &mut self,
        write: Option<LogWrite>,
        moment: Moment,
        rng: &mut fastrand::Rng,
    ) -> u64 {
        let clock = moment.clock;
        let stuck = self.stuck.take_if(|(_, retry_at)| clock >= *retry_at);
        let Some(write) = write.or(stuck.map(|(write, _)| write)) else {
            let waits = self.inputs.is_empty() && self.proposals.is_empty();
            let lingers = self
                .member
                .lingers()
                .map(|(until, _)| until.saturating_sub(clock).max(1));
            return if waits {
                lingers.unwrap_or(TICK_NS)
            } else {
                MS / 20
            };
        };
        if moment.is_full {
            self.member.set_full(true);
            self.stuck = Some((write, clock + RETRY_NS));
            return TICK_NS;
        }
        if !write.entries.is_empty() {
            self.member.set_full(false);
        }
        self.phase = Phase::Writing(write);
        let slowness = if rng.u32(..40) == 0 { 30 } else { 1 };
        rng.u64(..moment.write_ns) * slowness
    }

    fn take(&mut self, input: Input, clock: u64) -> Result<(), String> {
        match input {
            Input::Up {
                peer,
                disk,
                life,
                session,
            } => {
                self.sessions.insert(peer, session);
                self.member.link_up(NodeId(peer), disk);
                self.member.note_life(NodeId(peer), life);
            }
            Input::Down { peer, session } => {
                if self.sessions.get(&peer) == Some(&session) {
                    self.sessions.remove(&peer);
                    self.member.link_down(NodeId(peer));
                }
            }
            Input::Frame {
                from,
                configuration,
                payload,
            } => self
                .member
                .receive(NodeId(from), configuration, &payload, clock)
                .map_err(|error| format!("a message of node {from} makes no sense: {error}"))?,
            Input::Proxied { from, proposal } => self
                .member
                .receive_proxied(NodeId(from), proposal)
                .map_err(|error| format!("a parcel of node {from} makes no sense: {error}"))?,
            Input::Covered(index) => self.member.trim(index),
        }
        Ok(())
    }
}

/// The pace of all groups.
pub(super) fn timing() -> Timing {
    Timing {
        tick_ns: TICK_NS,
        ..Timing::default()
    }
}
