//! Three groups of two replicas each, and all that acts on them.
//!
//! A group's log is applied to its replicas at once; what is left to chance is who drives what and
//! for how long, and what becomes of the orders between groups: an order can be executed without an
//! answer, executed much later, twice, or never.

use std::collections::{BTreeMap, VecDeque};

use bailiwick_frame::{ArgRange, Args, Protocol};
use bailiwick_replication::{GroupId, NodeId};

use super::chance::Chance;
use crate::authority::Place;
use crate::commands::{self, CommandError, Counters};
use crate::handoff::{Answer, Duty, Parent, Source, Step, duties};
use crate::keyspace::{AccessClock, AccessPolicy};
use crate::routing::errand::{self, Failure};
use crate::state::{EntryHead, FrozenState, State};

const GROUPS: usize = 3;
const REPLICAS: usize = 2;
const PREFIXES: [&[u8]; 6] = [b"a", b"a:", b"a:b", b"b", b"\xff", b"a:b:c:d"];
/// Rounds after which everything must have come to rest.
const MAX_ROUNDS: usize = 20_000;
const NOW_MS: i64 = 1_700_000_000_000;

/// What can go wrong, in percent of the cases.
#[derive(Clone, Copy, Debug)]
pub struct Faults {
    kill: u64,
    lose_order: u64,
    lose_answer: u64,
    delay: u64,
    repeat: u64,
    flush: u64,
}

impl Faults {
    pub const NONE: Self = Self {
        kill: 0,
        lose_order: 0,
        lose_answer: 0,
        delay: 0,
        repeat: 0,
        flush: 0,
    };
    pub const ALL: Self = Self {
        kill: 8,
        lose_order: 4,
        lose_answer: 4,
        delay: 4,
        repeat: 4,
        flush: 1,
    };
}

pub struct World {
    chance: Chance,
    faults: Faults,
    groups: Vec<Vec<State>>,
    drivers: Vec<Driver>,
    /// Orders that were given up as lost and come after all.
    late: Vec<(GroupId, Vec<Vec<u8>>)>,
    /// What clients were told: a value for each key, with its expiry.
    expected: BTreeMap<Vec<u8>, (String, i64)>,
    writes: u64,
    attempts: usize,
    /// How drivers ended, for people.
    ends: Vec<String>,
}

/// Something that runs on a node.
struct Driver {
    group: usize,
    replica: usize,
    prefix: Vec<u8>,
    job: Job,
    /// Answers on their way back, the oldest first.
    answers: VecDeque<Answer>,
}

enum Job {
    Source(Box<Source>),
    Parent(Parent),
}

impl World {
    pub fn new(chance: Chance, faults: Faults) -> Self {
        let group = |id| (0..REPLICAS).map(|_| begun(GroupId(id))).collect();
        Self {
            chance,
            faults,
            groups: (0..GROUPS as u32).map(group).collect(),
            drivers: Vec::new(),
            late: Vec::new(),
            expected: BTreeMap::new(),
            writes: 0,
            attempts: 0,
            ends: Vec::new(),
        }
    }

    /// Something happens.
    pub fn step(&mut self) {
        match self.chance.below(10) {
            0 => self.decide_something(),
            1..4 => {
                let key = self.some_key();
                self.write_or_delete(&key);
            }
            4 if !self.late.is_empty() => {
                let at = self.chance.below(self.late.len());
                let (group, order) = self.late.swap_remove(at);
                let _ = self.execute(group, &order);
            }
            5 if self.chance.percent(self.faults.flush) => self.flush_all(),
            _ => self.drive(),
        }
    }

    /// Lets all come to rest: nothing is lost any more, and no operator wants anything.
    pub fn settle(&mut self) {
        for (group, order) in std::mem::take(&mut self.late) {
            let _ = self.execute(group, &order);
        }
        self.faults = Faults::NONE;
        for _ in 0..MAX_ROUNDS {
            if self.is_settled() {
                return;
            }
            self.drive();
            self.check();
        }
        panic!("nothing comes to rest: {}", self.describe());
    }

    fn describe(&self) -> String {
        let mut lines = String::new();
        for (number, group) in self.groups.iter().enumerate() {
            for (prefix, domain) in group[0].authority.domains() {
                let line = format!("\n{number} {} {domain:?}", prefix.escape_ascii());
                lines.push_str(&line);
            }
        }
        for end in self.ends.iter().rev().take(6) {
            lines.push_str(&format!("\n{end}"));
        }
        lines
    }

    fn is_settled(&self) -> bool {
        self.groups
            .iter()
            .all(|group| unsettled(&group[0]).is_empty())
    }

    /// One driver takes one step, or begins.
    pub fn drive(&mut self) {
        self.begin_driver();
        if self.drivers.is_empty() {
            return;
        }
        let at = self.chance.below(self.drivers.len());
        if self.chance.percent(self.faults.kill) {
            let killed = self.drivers.swap_remove(at);
            self.untrack(&killed);
            return;
        }
        let driver = &mut self.drivers[at];
        let state = &self.groups[driver.group][driver.replica];
        let step = match &mut driver.job {
            Job::Source(source) if source.sends_ahead() => source.next(state, None),
            Job::Source(source) => source.next(state, driver.answers.pop_front()),
            Job::Parent(parent) => parent.next(state, driver.answers.pop_front()),
        };
        match step {
            Step::Ask { group, command } => {
                let answer = self.ask(group, &command);
                self.drivers[at].answers = VecDeque::from([answer]);
            }
            Step::Send { group, command } => {
                let answer = self.ask(group, &command);
                self.drivers[at].answers.push_back(answer);
            }
            Step::Await => {}
            Step::End(end) => {
                let ended = self.drivers.swap_remove(at);
                let prefix = ended.prefix.escape_ascii();
                self.ends.push(format!("{} {prefix} {end:?}", ended.group));
                self.untrack(&ended);
            }
        }
    }

    fn untrack(&self, driver: &Driver) {
        if matches!(driver.job, Job::Source(_)) {
            let state = &self.groups[driver.group][driver.replica];
            state.keyspace.untrack_changes(&driver.prefix);
        }
    }

    /// A replica, be it that it only believes to lead, finds something to do.
    fn begin_driver(&mut self) {
        let (group, replica) = (self.chance.below(GROUPS), self.chance.below(REPLICAS));
        let found = unsettled(&self.groups[group][replica]);
        if found.is_empty() {
            return;
        }
        let (prefix, is_source) = self.chance.pick(&found).clone();
        let is_same = |driver: &Driver| {
            (driver.group, driver.replica, &driver.prefix) == (group, replica, &prefix)
                && matches!(driver.job, Job::Source(_)) == is_source
        };
        // Without faults only one replica leads.
        let is_deposed = replica > 0 && self.faults.kill == 0;
        if is_deposed || self.drivers.iter().any(is_same) {
            return;
        }
        let id = GroupId(group as u32);
        let job = if is_source {
            let node = NodeId((10 * group + replica) as u64);
            Job::Source(Box::new(Source::new(id, node, &prefix)))
        } else {
            Job::Parent(Parent::new(id, &prefix, false))
        };
        self.drivers.push(Driver {
            group,
            replica,
            prefix,
            job,
            answers: VecDeque::new(),
        });
    }

    /// An order on its way to a group and back.
    fn ask(&mut self, group: GroupId, order: &[Vec<u8>]) -> Answer {
        self.attempts += usize::from(order[0] == b"_ARRIVE");
        let lost = || Err(Failure::Refused("UNCERTAIN nobody knows".to_owned()));
        if self.chance.percent(self.faults.lose_order) {
            return lost();
        }
        if self.chance.percent(self.faults.delay) {
            self.late.push((group, order.to_vec()));
            return lost();
        }
        let answer = self.execute(group, order);
        if self.chance.percent(self.faults.repeat) {
            self.late.push((group, order.to_vec()));
        }
        if self.chance.percent(self.faults.lose_answer) {
            return lost();
        }
        answer
    }

    fn execute(&mut self, group: GroupId, command: &[Vec<u8>]) -> Answer {
        let replicas = &mut self.groups[group.0 as usize];
        let mut answers: Vec<Answer> = Vec::new();
        for state in replicas {
            answers.push(apply(state, command));
        }
        assert!(
            answers.windows(2).all(|pair| pair[0] == pair[1]),
            "{answers:?}"
        );
        answers.swap_remove(0)
    }

    fn decide_something(&mut self) {
        let prefix = *self.chance.pick(&PREFIXES);
        let to = self.chance.below(GROUPS) as u32;
        match self.chance.below(5) {
            0 | 1 => self.decide("_DELEGATE", prefix, Some(to)),
            2 | 3 => self.decide("_MOVE", prefix, Some(to)),
            _ => self.decide("_DROP", prefix, None),
        }
    }

    /// An operator orders something of every group; those that must not decide refuse.
    pub fn decide(&mut self, what: &str, prefix: &[u8], to: Option<u32>) {
        let mut command = vec![what.as_bytes().to_vec(), prefix.to_vec()];
        command.extend(to.map(|to| to.to_string().into_bytes()));
        for group in 0..GROUPS as u32 {
            let _ = self.execute(GroupId(group), &command);
        }
    }

    fn some_key(&mut self) -> Vec<u8> {
        let mut key = self.chance.pick(&PREFIXES).to_vec();
        key.extend_from_slice(self.chance.below(30).to_string().as_bytes());
        key
    }

    pub fn write(&mut self, key: &[u8]) {
        self.writes += 1;
        let value = format!("value {}", self.writes);
        let expiry = NOW_MS + 1_000_000 + self.writes as i64;
        let command = [
            &b"SET"[..],
            key,
            value.as_bytes(),
            b"PXAT",
            expiry.to_string().as_bytes(),
        ]
        .map(<[u8]>::to_vec);
        if self.request(key, &command) {
            self.expected.insert(key.to_vec(), (value, expiry));
        }
    }

    fn write_or_delete(&mut self, key: &[u8]) {
        if self.chance.percent(75) {
            return self.write(key);
        }
        if self.request(key, &[b"DEL".to_vec(), key.to_vec()]) {
            self.expected.remove(key);
        }
    }

    /// A client asks all groups until one serves it; true if one has.
    fn request(&mut self, key: &[u8], command: &[Vec<u8>]) -> bool {
        for group in 0..GROUPS as u32 {
            match self.execute(GroupId(group), command) {
                Ok(_) => return true,
                Err(Failure::Stray(_)) => {}
                Err(failure) => panic!("{} {failure}", key.escape_ascii()),
            }
        }
        false
    }

    /// Every group that is not held clears all that it serves.
    pub fn flush_all(&mut self) {
        for group in 0..GROUPS {
            let served: Vec<Vec<u8>> = self.expected.keys().cloned().collect();
            let state = &self.groups[group][0];
            let is_here = |key: &Vec<u8>| state.authority.place(key) == Place::Here;
            let served: Vec<_> = served.into_iter().filter(is_here).collect();
            if self
                .execute(GroupId(group as u32), &[b"FLUSHALL".to_vec()])
                .is_ok()
            {
                for key in served {
                    self.expected.remove(&key);
                }
            }
        }
    }

    /// The group that serves a key.
    pub fn owner_of(&self, key: &[u8]) -> Option<usize> {
        let mut groups = self.groups.iter();
        groups.position(|group| group[0].authority.place(key) == Place::Here)
    }

    /// How often copying began.
    pub fn attempts(&self) -> usize {
        self.attempts
    }

    /// No key has two servers, and a group's replicas agree.
    pub fn check(&self) {
        for prefix in PREFIXES {
            for tail in ["", ":", "b", "1", "zz"] {
                let key = [prefix, tail.as_bytes()].concat();
                let serves = |group: &&Vec<State>| group[0].authority.place(&key) == Place::Here;
                let servers = self.groups.iter().filter(serves).count();
                assert!(servers <= 1, "{} has {servers} servers", key.escape_ascii());
            }
        }
        for group in &self.groups {
            for state in group {
                state.authority.check_invariants();
            }
            assert_eq!(group[0].authority.digest(), group[1].authority.digest());
        }
    }

    /// Every key has a server, which has what clients were told, and there is nothing else.
    pub fn check_all_keys(&self) {
        for (key, (value, expiry)) in &self.expected {
            let shown = key.escape_ascii();
            let owner = self
                .owner_of(key)
                .unwrap_or_else(|| panic!("nobody serves {shown}"));
            let state = &self.groups[owner][0];
            let entry = state.keyspace.get(0, key, NOW_MS);
            let entry = entry.unwrap_or_else(|| panic!("{shown} is lost"));
            let found = commands::StringRef::of(entry).expect("a string").to_vec();
            assert_eq!(String::from_utf8_lossy(&found), *value, "{shown}");
            assert_eq!(entry.expires_at_ms(), Some(*expiry), "{shown}");
        }
        for group in &self.groups {
            assert_eq!(content(&group[0]), content(&group[1]));
        }
        let present: usize = self
            .groups
            .iter()
            .map(|group| group[0].keyspace.len())
            .sum();
        assert_eq!(present, self.expected.len());
    }
}

/// What a group has to do: prefixes, and whether they leave it.
fn unsettled(state: &State) -> Vec<(Vec<u8>, bool)> {
    let duties = duties(&state.authority).into_iter();
    duties
        .map(|(duty, prefix)| (prefix, duty == Duty::Source))
        .collect()
}

fn begun(group: GroupId) -> State {
    let mut state = State::empty();
    with_applier(&mut state, |applier| applier.genesis(2, 9, group));
    state
}

fn with_applier<R>(state: &mut State, act: impl FnOnce(&mut crate::state::Applier<'_>) -> R) -> R {
    let clock = AccessClock::new(AccessPolicy::default(), NOW_MS, 1);
    let counters = Counters::default();
    let head = EntryHead {
        time_ms: NOW_MS,
        seed: 5,
    };
    let index = state.applied.next();
    let mut applier = state.begin(index, head, &clock, &counters);
    let done = act(&mut applier);
    applier.finish();
    done
}

fn apply(state: &mut State, command: &[Vec<u8>]) -> Answer {
    let (mut bytes, mut ranges) = (Vec::new(), Vec::new());
    for arg in command {
        let start = bytes.len() as u32;
        bytes.extend_from_slice(arg);
        let end = bytes.len() as u32;
        ranges.push(ArgRange { start, end });
    }
    let args = Args::new(&bytes, &ranges);
    let found = commands::lookup_logged(args).expect("a command");
    let mut reply = Vec::new();
    let outcome = with_applier(state, |applier| {
        applier.command(&found, 0, args, Protocol::Resp2, &mut reply)
    });
    match outcome {
        Ok(()) => errand::parse(&reply),
        Err(CommandError::Stray(stray)) => Err(Failure::Stray(*stray)),
        Err(error) => Err(Failure::Refused(error.to_string())),
    }
}

/// All that a checkpoint would hold.
fn content(state: &State) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut writer = FrozenState::of(state).into_writer();
    let mut sink = |block: &[u8]| {
        bytes.extend_from_slice(block);
        Ok(())
    };
    while writer.step(1 << 16, &mut sink).expect("the sink takes all") {}
    bytes
}
