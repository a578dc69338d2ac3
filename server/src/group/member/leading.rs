//! What a member does as leader: it makes entries.
//!
//! An entry holds, in this order, the leader's own *chores* (the first item of a new log, keys that
//! must go for room, nodes whose clients are not waited for any more, a digest of the state; sent
//! once, and answered to nobody), the flights of the leader's own clients, and what others
//! forwarded. Its time is the leader's clock, or the last entry's time if that is later.

use bailiwick_replication::consensus::Member as MemberId;
use bailiwick_replication::link::Class;
use bailiwick_replication::{ConfigurationId, LogIndex, NodeId};
use bytes::Bytes;

use super::Member;
use super::contacts::Forsaken;
use super::flights::Flight;
use super::message::Message;
use crate::commands::CommandError;
use crate::group::eviction::{Room, make_room};
use crate::group::refusal::Refusals;
use crate::keyspace::AccessClock;
use crate::state::{
    EntryHead, EntryWriter, MAX_DATABASES, ProposalHead, ProposalWriter, examine_proposal,
};

/// After an entry is decided, its clients are given time to come back with their next commands and
/// share the next entry with those that wait already. Otherwise clients fall into groups that take
/// turns, and each pays for an entry of its own. The wait ends when most are back, or when nobody
/// came for so long: the more clients, the longer a thread is busy with others before it submits.
const LINGER_NS: u64 = 200_000;
/// The part of it that grows with each client, in nanoseconds.
const LINGER_NS_PER_CLIENT: u64 = 4_000;
/// The longest such wait, in nanoseconds.
const MAX_LINGER_NS: u64 = 4_000_000;
/// Proposals beyond this many bytes go into the next entry.
const ENTRY_TARGET_BYTES: usize = 32 << 20;

/// What a member knows as leader.
pub(super) struct Leading {
    /// State of the generator of entries' seeds.
    random: u64,
    /// The ballot in which this node leads, and the end of the log when it began.
    since: Option<(u32, LogIndex)>,
    /// The time of the last entry that this leader proposed.
    time_ms: i64,
    /// The entry of the last digest that was logged.
    digest: LogIndex,
    /// The last entry, which is not decided yet, and how many proposals went into it.
    proposed: Option<(LogIndex, usize)>,
    linger: Option<Linger>,
    /// How many proposals are about, waiting or in the last entry.
    population: usize,
}

/// A wait for more proposals.
#[derive(Clone, Copy)]
struct Linger {
    /// How long nobody may come.
    patience: u64,
    until: u64,
    /// It ends then, whoever comes.
    end: u64,
    /// How many are enough to end it.
    enough: usize,
    /// How many there were when `until` was set.
    seen: usize,
}

impl Leading {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            random: seed,
            since: None,
            time_ms: 0,
            digest: LogIndex::ZERO,
            proposed: None,
            linger: None,
            population: 0,
        }
    }

    /// The wait under way, if this many are not enough to end it.
    pub(super) fn lingers(&self, waiting: usize) -> Option<(u64, usize)> {
        let linger = self.linger.filter(|linger| waiting < linger.enough)?;
        Some((linger.until, linger.enough))
    }

    /// Goes on with the wait, or ends it.
    fn linger_on(&mut self, waiting: usize, now: u64) {
        let Some(linger) = &mut self.linger else {
            return;
        };
        if waiting >= linger.enough || now >= linger.end {
            self.linger = None;
        } else if now >= linger.until {
            if waiting == linger.seen {
                self.linger = None;
            } else {
                linger.seen = waiting;
                linger.until = (now + linger.patience).min(linger.end);
            }
        }
    }

    /// An entry was decided: begins the wait for those that it answers.
    fn note_decided(&mut self, decided: LogIndex, waiting: usize, now: u64) {
        if let Some((index, count)) = self.proposed
            && index <= decided
        {
            self.proposed = None;
            // Clients whose answer is still on its way are not seen, so the highest number of late
            // counts.
            self.population = (waiting + count).max(self.population * 15 / 16);
            let patience = LINGER_NS + self.population as u64 * LINGER_NS_PER_CLIENT;
            self.linger = Some(Linger {
                patience,
                until: now + patience,
                end: now + MAX_LINGER_NS,
                enough: self.population * 4 / 5,
                seen: waiting,
            });
        }
    }

    pub(super) fn next_random(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.random ^ (self.random >> 32)).wrapping_mul(0xd6e8_feb8_6659_fd93);
        mixed ^ (mixed >> 32)
    }
}

impl Member {
    /// Notices the beginning and the end of a leadership.
    pub(super) fn note_leadership(&mut self) {
        let ballot = self.replica.ballot();
        if !self.replica.is_leader() {
            self.leading.since = None;
            self.leading.linger = None;
        } else if self.leading.since.is_none_or(|(of, _)| of != ballot) {
            self.leading.since = Some((ballot, self.replica.end()));
            self.leading.proposed = None;
            self.leading.linger = None;
            tracing::info!(ballot, "this node leads the group");
            // The last leader may have died before it could call them.
            self.call_served(|_| true);
        }
    }

    /// Proposes an entry if there is something to propose and room for it.
    pub(super) fn lead(&mut self, now: u64, clock_ms: i64) {
        let Some((ballot, end)) = self.leading.since else {
            return;
        };
        let waiting = self.waiting.len() + self.forwarded.len();
        let decided = self.replica.decided();
        self.leading.linger_on(waiting, now);
        self.leading.note_decided(decided, waiting, now);
        // Before anything else: an entry that cannot be decided for want of room stands in the way.
        if self.refuse_if_full(now) || self.leading.proposed.is_some() || !self.replica.has_room() {
            return;
        }
        // Before the old end is applied, the time of the last entry is not known.
        if self.replica.applied() < end {
            return;
        }
        // A log begins with what the group is like.
        if end == LogIndex::ZERO && self.options.databases == 0 {
            return;
        }
        if self.leading.lingers(waiting).is_some() {
            return;
        }
        self.board(now);
        self.forget_forwarded_before_the_seal();
        self.examine_forwarded();
        let own = self.replica.member().node;
        let post = self.post(own, ballot);
        let due = self.flights.due(post, now);
        let head = self.next_head(clock_ms);
        let forsaken = self.forsaken(now);
        let chores = self.chores(head, &forsaken);
        if due.is_empty() && self.forwarded.is_empty() && chores.is_none() {
            return;
        }
        let mut entry = Vec::new();
        let mut writer = EntryWriter::new(&mut entry, head);
        if let Some(chores) = &chores {
            writer.append_encoded(chores);
        }
        let mut count = 0;
        for sequence in due {
            if writer.bytes() >= ENTRY_TARGET_BYTES {
                break;
            }
            count += self.flights.get(sequence).map_or(0, Flight::len);
            let floor = self.flights.floor_below(sequence);
            let mut proposal = writer.proposal(self.options.origin, sequence, floor);
            self.flights.fill(sequence, &mut proposal);
            proposal.finish();
            self.flights.note_sent(sequence, post, now);
        }
        let mut taken = 0;
        for forwarded in &self.forwarded {
            if writer.bytes() >= ENTRY_TARGET_BYTES {
                break;
            }
            writer.append_encoded(&forwarded.proposal);
            taken += 1;
        }
        self.forwarded.drain(..taken);
        self.propose(entry, head, count + taken);
    }

    /// Ends the configuration with an entry that names the next members.
    pub(super) fn seal(&mut self, next: ConfigurationId, members: &[MemberId]) {
        let Some((_, end)) = self.leading.since else {
            return;
        };
        // No digest in between, and nothing of ours that would have to be proposed again.
        if self.replica.applied() < end || !self.replica.has_room() {
            return;
        }
        let head = EntryHead {
            time_ms: self.leading.time_ms.max(self.shared.state.read().time_ms),
            seed: self.leading.next_random(),
        };
        let mut entry = Vec::new();
        let mut writer = EntryWriter::new(&mut entry, head);
        writer.append_encoded(&self.chore(|writer| writer.seal(next, members)));
        if self.replica.propose_seal(entry.into()).is_some() {
            self.leading.time_ms = head.time_ms;
        }
    }

    /// What is refused of what is about to be logged.
    pub(super) fn refusals(&mut self) -> Refusals {
        let tuning = self.shared.tuning.load_full();
        let mut refusals = Refusals::default();
        if tuning.max_memory_bytes > 0 {
            let state = self.shared.state.read();
            let seed = self.leading.next_random();
            let clock = AccessClock::new(tuning.access, state.time_ms, seed);
            let random = || self.leading.next_random();
            refusals.growth = make_room(&state.keyspace, &tuning, &clock, random).short;
        }
        refusals
    }

    /// The leader did not log a proposal. That it was never logged is known only if it was sent
    /// once.
    pub(super) fn note_refused(&mut self, sequence: u64, reason: String) {
        let is_certain = self
            .flights
            .get(sequence)
            .is_some_and(|flight| flight.times_sent == 1);
        if is_certain && let Some(flight) = self.flights.take(sequence) {
            self.fail_all(flight.proposals, &CommandError::composed(reason));
        }
    }

    /// The member that should lead when this one does not: of those that are up and have room, the
    /// one with the most of the log.
    pub(super) fn best_successor(&self) -> Option<NodeId> {
        let members = self.replica.configuration().members;
        let candidates = members.iter().filter_map(|member| {
            let (status, _) = self.replica.status_of(member.node)?;
            let is_fit =
                self.peers.contains_key(&member.node) && !status.is_idle && !status.is_full;
            is_fit.then_some((status.durable, member.node))
        });
        candidates.max().map(|(_, node)| node)
    }

    fn propose(&mut self, entry: Vec<u8>, head: EntryHead, count: usize) {
        let proposed = self.replica.propose(Bytes::from(entry));
        debug_assert!(proposed.is_some(), "there was room");
        self.leading.proposed = proposed.map(|index| (index, count));
        self.leading.time_ms = head.time_ms;
    }

    fn next_head(&mut self, clock_ms: i64) -> EntryHead {
        let applied_ms = self.shared.state.read().time_ms;
        EntryHead {
            time_ms: clock_ms.max(self.leading.time_ms).max(applied_ms),
            seed: self.leading.next_random(),
        }
    }

    /// The leader's own items for the next entry, as an encoded proposal.
    fn chores(&mut self, head: EntryHead, forsaken: &[Forsaken]) -> Option<Vec<u8>> {
        let (databases, hash_seed) = (self.options.databases, self.options.hash_seed);
        let group = self.options.group;
        let begins = self.replica.end() == LogIndex::ZERO;
        let Room {
            victims,
            short: refuses_growth,
        } = self.room(head);
        let digest = self.shared.state.read().last_digest();
        let digest = digest.filter(|(index, _)| *index > self.leading.digest);
        let is_idle = victims.is_empty() && digest.is_none() && forsaken.is_empty();
        if !begins && is_idle && !refuses_growth {
            return None;
        }
        if let Some((index, _)) = digest {
            self.leading.digest = index;
        }
        Some(self.chore(|writer| {
            if begins {
                writer.genesis(databases.min(MAX_DATABASES), hash_seed, group);
            }
            forsaken.iter().for_each(|forsaken| forsaken.put(writer));
            for victim in &victims {
                writer.evict(victim.database, &victim.key);
            }
            if refuses_growth {
                writer.refuse_growth();
            }
            if let Some((index, digest)) = digest {
                writer.digest(index, digest);
            }
        }))
    }

    fn chore(&mut self, fill: impl FnOnce(&mut ProposalWriter<'_>)) -> Vec<u8> {
        let sequence = self.flights.next_sequence();
        let floor = self.flights.floor_below(sequence);
        let mut out = Vec::new();
        let mut writer = ProposalWriter::new(&mut out, self.options.origin, sequence, floor);
        fill(&mut writer);
        writer.finish();
        out
    }

    /// Keys that have to go before something new comes.
    fn room(&mut self, head: EntryHead) -> Room {
        let tuning = self.shared.tuning.load_full();
        let brings_something = !self.forwarded.is_empty() || self.flights.len() > 0;
        if tuning.max_memory_bytes == 0 || !brings_something {
            return Room::default();
        }
        let state = self.shared.state.read();
        let clock = AccessClock::new(tuning.access, head.time_ms, head.seed);
        let random = || self.leading.next_random();
        make_room(&state.keyspace, &tuning, &clock, random)
    }

    /// Refuses what replicas could not run: whatever the log holds, every one has to be able to.
    /// Not before the log's old end is applied, because a node that was started again need not know
    /// any sooner how many databases the group has.
    fn examine_forwarded(&mut self) {
        if self.forwarded.iter().all(|forwarded| forwarded.is_fit) {
            return;
        }
        let databases = match self.shared.state.read().keyspace.databases() {
            // The entry that creates them comes before what was forwarded, or is not applied yet.
            0 => self.options.databases.min(MAX_DATABASES),
            present => present,
        };
        let mut unfit: Vec<(ProposalHead, String)> = Vec::new();
        self.forwarded.retain_mut(|forwarded| {
            if !forwarded.is_fit {
                match examine_proposal(&forwarded.proposal, databases) {
                    Ok(()) => forwarded.is_fit = true,
                    Err(reason) => unfit.push((forwarded.head, reason)),
                }
            }
            forwarded.is_fit
        });
        for (head, reason) in unfit {
            self.refuse_forwarded(&head, &reason);
        }
    }

    /// Another node leads, or nobody does: nothing that was forwarded is logged by this one.
    pub(super) fn turn_away_forwarded(&mut self, leader: Option<NodeId>) {
        for forwarded in std::mem::take(&mut self.forwarded) {
            self.turn_away_proxied(&forwarded.head, leader);
        }
    }

    /// Tells who has forwarded a proposal that it will not be logged.
    pub(super) fn refuse_forwarded(&mut self, head: &ProposalHead, reason: &str) {
        let sequence = head.sequence;
        if !self.refuse_proxied(head.origin, sequence, reason) {
            let to = NodeId(u64::from(head.origin.node));
            let reason = reason.to_owned();
            self.send(to, Class::Ordered, &Message::Refused { sequence, reason });
        }
    }
}
