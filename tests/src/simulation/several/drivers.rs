//! The jobs by which prefixes change hands, on one node: the drivers that nodes run, with what
//! their threads do around them.
//!
//! A driver asks groups and waits; between any two of its steps the node may crash, be deposed or
//! stand still, and go on as if nothing had happened. So there may be several drivers of one prefix
//! on several nodes, each of which believes that it is the only one.

use std::collections::{BTreeMap, VecDeque};

use bailiwick::handoff::{Answer, Duty, End, Parent, Source, Step, duties};
use bailiwick_replication::{GroupId, NodeId};

use crate::simulation::node::Running;
use crate::simulation::{MS, SECOND};

/// The pause after the first failure; it doubles with each further one.
const FIRST_REST_NS: u64 = 50 * MS;
/// The most doublings.
const MAX_DOUBLINGS: u32 = 6;
/// The pause before a job is looked at again that could not go on.
const LATER_NS: u64 = 20 * MS;
/// How often a destination is asked whether it serves, and for how long in a row.
const POLL_NS: u64 = 10 * MS;
const TURN_NS: u64 = 2 * SECOND;

/// Chunks are small, so that there are several.
const CHUNK_BYTES: usize = 600;

/// A job: of which group, what, for which prefix.
pub(super) type Key = (GroupId, Duty, Vec<u8>);

/// Something that a driver asks of a group.
pub(super) struct Request {
    pub(super) ticket: usize,
    pub(super) key: Key,
    pub(super) group: GroupId,
    pub(super) command: Vec<Vec<u8>>,
}

/// What a look at the drivers is made with.
pub(super) struct Look<'a> {
    pub(super) own: NodeId,
    pub(super) seats: &'a BTreeMap<GroupId, Running>,
    pub(super) now: u64,
    /// The last number of a request.
    pub(super) last_ticket: &'a mut usize,
}

/// All jobs of a node.
#[derive(Default)]
pub(super) struct Drivers {
    running: BTreeMap<Key, Driver>,
    /// Until when, after how many failures.
    resting: BTreeMap<Key, (u64, u32)>,
    /// Prefixes that left a group.
    pub(super) done: u64,
    /// Attempts that failed, with why.
    pub(super) failures: Vec<String>,
}

struct Driver {
    job: Job,
    began: u64,
    /// It goes on at this time, with this answer.
    goes_on: Option<(u64, Option<Answer>)>,
    /// The request whose answer it waits for.
    awaits: Option<usize>,
    /// Requests on their way whose answers come later, the oldest first.
    sent: VecDeque<usize>,
    /// Answers that it does not wait for yet.
    early: BTreeMap<usize, Answer>,
}

enum Job {
    Source(Box<Source>),
    Parent { parent: Parent, leaves: bool },
}

impl Drivers {
    /// Starts what there is to do, and lets those go on that can.
    pub(super) fn advance(&mut self, mut look: Look<'_>) -> Vec<Request> {
        self.begin(&look);
        let mut requests = Vec::new();
        let is_due = |driver: &Driver| {
            let goes_on = driver.goes_on.as_ref();
            goes_on.is_some_and(|(at, _)| *at <= look.now)
        };
        let due = self.running.iter().filter(|(_, driver)| is_due(driver));
        let due: Vec<Key> = due.map(|(key, _)| key.clone()).collect();
        for key in due {
            let Some(mut driver) = self.running.remove(&key) else {
                continue;
            };
            match driver.run(&key, &mut look, &mut requests) {
                None => {
                    self.running.insert(key, driver);
                }
                Some(end) => self.end(key, driver, end, &look),
            }
        }
        requests
    }

    /// An answer has come, which the driver gets at this time.
    pub(super) fn answer(&mut self, key: &Key, ticket: usize, answer: Answer, at: u64) {
        let Some(driver) = self.running.get_mut(key) else {
            return;
        };
        if driver.awaits == Some(ticket) {
            driver.awaits = None;
            driver.goes_on = Some((at, Some(answer)));
        } else if driver.sent.contains(&ticket) {
            driver.early.insert(ticket, answer);
        }
    }

    /// What runs and rests, for people.
    pub(super) fn describe(&self) -> String {
        let mut text = String::new();
        for ((group, duty, prefix), driver) in &self.running {
            let prefix = prefix.escape_ascii();
            let stage = match &driver.job {
                Job::Source(source) => source.stage().name(),
                Job::Parent { .. } => "looking",
            };
            text += &format!(" [{duty:?} of '{prefix}' in {group}: {stage}]");
        }
        for failure in self.failures.iter().rev().take(2) {
            text += &format!(" ({failure})");
        }
        text
    }

    fn begin(&mut self, look: &Look<'_>) {
        for (&group, seat) in look.seats {
            if !seat.shared.standing().leads() {
                continue;
            }
            for (duty, prefix) in duties(&seat.shared.state().authority) {
                let key = (group, duty, prefix);
                let rests = self.resting.get(&key).is_some_and(|rest| rest.0 > look.now);
                if rests || self.running.contains_key(&key) {
                    continue;
                }
                let job = match duty {
                    Duty::Source => {
                        let source = Source::new(group, look.own, &key.2);
                        Job::Source(Box::new(source.with_chunks_of(CHUNK_BYTES)))
                    }
                    Duty::Parent => Job::Parent {
                        parent: Parent::new(group, &key.2, false),
                        leaves: false,
                    },
                };
                let driver = Driver {
                    job,
                    began: look.now,
                    goes_on: Some((look.now, None)),
                    awaits: None,
                    sent: VecDeque::new(),
                    early: BTreeMap::new(),
                };
                self.running.insert(key, driver);
            }
        }
    }

    fn end(&mut self, key: Key, mut driver: Driver, end: End, look: &Look<'_>) {
        let is_source = match &mut driver.job {
            Job::Source(_) => {
                if let Some(seat) = look.seats.get(&key.0) {
                    seat.shared.state().keyspace.untrack_changes(&key.2);
                }
                true
            }
            Job::Parent { parent, leaves } => {
                *leaves |= parent.source_leaves();
                if end == End::Later && look.now < driver.began + TURN_NS {
                    *parent = Parent::new(key.0, &key.2, *leaves);
                    driver.goes_on = Some((look.now + POLL_NS, None));
                    self.running.insert(key, driver);
                    return;
                }
                false
            }
        };
        let failures = self.resting.remove(&key).map_or(0, |rest| rest.1);
        match end {
            End::Done => self.done += u64::from(is_source),
            End::Later => {
                self.resting.insert(key, (look.now + LATER_NS, failures));
            }
            End::Failed(reason) => {
                self.failures.push(reason);
                let rest = FIRST_REST_NS << failures.min(MAX_DOUBLINGS);
                self.resting.insert(key, (look.now + rest, failures + 1));
            }
        }
    }
}

impl Driver {
    /// Goes on until it waits or ends.
    fn run(&mut self, key: &Key, look: &mut Look<'_>, out: &mut Vec<Request>) -> Option<End> {
        let (_, mut answer) = self.goes_on.take()?;
        loop {
            let seat = look.seats.get(&key.0);
            let Some(seat) = seat.filter(|seat| seat.shared.standing().leads()) else {
                return Some(End::Later);
            };
            let step = {
                let state = seat.shared.state();
                match &mut self.job {
                    Job::Source(source) => source.next(&state, answer.take()),
                    Job::Parent { parent, .. } => parent.next(&state, answer.take()),
                }
            };
            match step {
                Step::Ask { group, command } => {
                    self.sent.clear();
                    self.early.clear();
                    self.awaits = Some(request(key, group, command, look, out));
                    return None;
                }
                Step::Send { group, command } => {
                    self.sent.push_back(request(key, group, command, look, out));
                    if matches!(&self.job, Job::Source(source) if source.sends_ahead()) {
                        continue;
                    }
                }
                Step::Await => {}
                Step::End(end) => return Some(end),
            }
            let oldest = self.sent.pop_front();
            answer = oldest.and_then(|ticket| self.early.remove(&ticket));
            if oldest.is_some() && answer.is_none() {
                self.awaits = oldest;
                return None;
            }
        }
    }
}

fn request(
    key: &Key,
    group: GroupId,
    command: Vec<Vec<u8>>,
    look: &mut Look<'_>,
    out: &mut Vec<Request>,
) -> usize {
    *look.last_ticket += 1;
    out.push(Request {
        ticket: *look.last_ticket,
        key: key.clone(),
        group,
        command,
    });
    *look.last_ticket
}
