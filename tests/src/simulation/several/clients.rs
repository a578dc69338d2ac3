//! Clients: they ask any node for any key, and the node takes requests where the keys are, as its
//! connections do.
//!
//! A client stays with one node and has one thing under way, beside a listing. What single requests
//! and transactions of two keys find goes into the history. Not judged by it are commands of all
//! kinds on keys of their own (`mixed`), which have to leave all replicas alike, and keys that are
//! written once, which listings have to return.

use bailiwick::authority::Place;
use bailiwick::group::Proposal;
use bailiwick::keyspace::WatchState;
use bailiwick::routing::errand;
use bailiwick::routing::pursuit::Pursuit;
use bailiwick::routing::{Route, Routes};
use bailiwick::state::Watched;
use bailiwick_replication::GroupId;

use super::listings::Listing;
use super::node::{Node, Process};
use super::office::Delivery;
use super::places::{self, HOMES};
use super::spreads::Spreading;
use super::waiting::Wait;
use super::{Event, World};
use crate::history::{Begun, Operation};
use crate::simulation::requests::{self, Words};
use crate::simulation::subject::Subject;
use crate::simulation::{MS, mixed, scripts};

/// Keys of each home that are written once, at least.
pub(super) const LEAST_STAYS: u32 = 3;

/// The most that a client waits between two requests in haste, in nanoseconds.
const HASTE_NS: u64 = MS;

/// A client.
pub(super) struct Client {
    pub(super) node: u64,
    /// What is under way.
    pub(super) asked: Option<Asked>,
    pub(super) listing: Option<Listing>,
    /// Counts what it wrote, so that no value comes twice.
    pub(super) values: u64,
    /// Counts what it asked.
    pub(super) asks: u64,
    pub(super) watched: Option<Watch>,
    /// A request about keys of several homes.
    pub(super) spreading: Option<Box<Spreading>>,
    /// It waits for keys.
    pub(super) wait: Option<Box<Wait>>,
    /// It does nothing but push, take and wait.
    pub(super) is_waiting: bool,
}

/// What WATCH saw of a home's counter, and what the counter was after that.
pub(super) struct Watch {
    pub(super) home: usize,
    pub(super) group: GroupId,
    pub(super) state: WatchState,
    pub(super) number: Option<i64>,
}

/// Something under way.
pub(super) struct Asked {
    pub(super) since: u64,
    pub(super) serial: u64,
    pub(super) parts: Vec<(Begun, String, Operation)>,
    pub(super) kind: Kind,
    /// Who was asked last.
    pub(super) group: GroupId,
    /// On its way from group to group, until when at most.
    pub(super) pursuit: Option<(Pursuit, u64)>,
    /// It is asked for again after a pause.
    pub(super) waits: Option<Box<Proposal>>,
}

#[derive(Clone, Debug)]
pub(super) enum Kind {
    /// One answer for the only part.
    Single,
    /// One answer with one for each part in it.
    Transaction,
    /// WATCH of a home's counter.
    Watch(usize),
    /// The counter that was watched.
    Look,
    /// The watched counter is set to this.
    Swap(i64),
    /// Nobody cares.
    Aside,
    /// A home's keys that stay.
    Stays(usize),
    /// A push that is in the book.
    Push(usize),
    /// A take that is in the book.
    Take(usize),
    /// What this key holds when all is over.
    Remains(String),
}

impl Client {
    pub(super) fn new(node: u64, is_waiting: bool) -> Self {
        Self {
            node,
            asked: None,
            listing: None,
            values: 0,
            asks: 0,
            watched: None,
            spreading: None,
            wait: None,
            is_waiting,
        }
    }

    /// Whether nothing of it is under way, so that it may as well talk to another node.
    pub(super) fn is_free(&self) -> bool {
        let is_idle = self.asked.is_none() && self.listing.is_none() && self.spreading.is_none();
        is_idle && self.watched.is_none() && self.wait.is_none()
    }

    /// The node that it talks to is gone: what became of its requests is unknown.
    pub(super) fn disconnect(&mut self) {
        self.asked = None;
        self.listing = None;
        self.watched = None;
        self.spreading = None;
        self.wait = None;
    }
}

impl World {
    /// A client does something, if nothing is under way.
    pub(super) fn act(&mut self, client: usize) {
        let node = self.clients[client].node;
        let rush = self.rush_of(client);
        let think_ns = rush.map_or(self.plan.think_ns, |_| HASTE_NS);
        let pause = MS / 10 + self.rng.u64(..think_ns);
        self.agenda.at(self.now + pause, Event::Client(client));
        if !self.faults || !self.is_awake(node) || self.clients[client].asked.is_some() {
            return;
        }
        if self.clients[client].wait.is_some() {
            // Most have the patience.
            if self.rng.u32(..100) == 0 {
                self.walk_away(client);
            }
            return;
        }
        if self.clients[client].is_waiting {
            return self.handle_elements(client);
        }
        if self.clients[client].listing.is_none() && self.rng.u32(..12) == 0 {
            self.list(client);
        }
        if let Some(watch) = self.clients[client].watched.take() {
            return match watch.number {
                Some(number) => self.swap(client, &watch, number),
                None => self.look_at_watched(client, watch),
            };
        }
        if let Some(group) = rush {
            return self.ask_in_haste(client, group);
        }
        if self.clients[client].spreading.is_none() && self.rng.u32(..10) == 0 {
            self.spread(client);
        }
        let home = self.rng.usize(..HOMES.len());
        let may_stay = !self.has_stays[home] && !self.plan.flushes;
        match self.rng.u32(..100) {
            0..=15 if may_stay => self.write_stays(client, home),
            0..=9 => self.write_pair(client, home),
            10..=15 => self.read_pair(client, home),
            16..=24 => self.watch(client, home),
            25..=36 => self.aside(client, home),
            37..=46 => self.handle_elements(client),
            _ => self.ask_one(client),
        }
    }

    fn ask_one(&mut self, client: usize) {
        let name = places::draw(&mut self.rng);
        self.ask_something(client, &name);
    }

    /// Asks for a key of a group, if it serves one.
    fn ask_in_haste(&mut self, client: usize, group: GroupId) {
        let name = places::draw(&mut self.rng);
        let node = &self.nodes[&self.clients[client].node];
        let routes = node.running.as_ref().and_then(Process::routes);
        if group_of(routes.as_ref(), Subject::of(&name).key) == group {
            self.ask_something(client, &name);
        }
    }

    fn ask_something(&mut self, client: usize, name: &str) {
        let piece = self.piece(client);
        let subject = Subject::of(name);
        let mut operations = if name.contains("count:") {
            vec![Operation::Get, Operation::Increment, Operation::Increment]
        } else {
            let mut operations = subject.operations(piece);
            // Deleting seldom, so that something grows.
            if self.rng.u32(..4) > 0 {
                operations.pop();
            }
            operations
        };
        let operation = operations.swap_remove(self.rng.usize(..operations.len()));
        self.ask_for(client, name, operation);
    }

    /// One operation.
    pub(super) fn ask_for(&mut self, client: usize, name: &str, operation: Operation) {
        if operation == Operation::Get {
            return self.read(client, name);
        }
        let words = requests::words(name, &operation);
        let proposal = requests::pipeline(&[words], client);
        self.record(client, vec![(name.to_owned(), operation)], Kind::Single);
        self.propose(client, Subject::of(name).key, proposal);
    }

    /// A read: on the node itself if it may, otherwise by way of the group.
    pub(super) fn read(&mut self, client: usize, name: &str) {
        self.read_as(client, name, Kind::Single);
    }

    fn read_as(&mut self, client: usize, name: &str, kind: Kind) {
        let key = Subject::of(name).key;
        let parts = vec![(name.to_owned(), Operation::Get)];
        if let Some(bytes) = self.read_here(self.clients[client].node, name, key) {
            self.counts.reads_under_lease += 1;
            self.record(client, parts, kind);
            return self.take_reply(client, &bytes);
        }
        let words = requests::words(name, &Operation::Get);
        let proposal = requests::pipeline(&[words], client);
        self.record(client, parts, kind);
        self.propose(client, key, proposal);
    }

    /// The reply of a node that is a member of the key's group and knows that it has the latest.
    fn read_here(&mut self, node: u64, name: &str, key: &str) -> Option<Vec<u8>> {
        let node = &self.nodes[&node];
        let process = node.running.as_ref()?;
        let group = group_of(process.routes().as_ref(), key);
        let seat = process.seats.get(&group)?;
        let clock = node.clocks.clock(self.now);
        let state = seat.shared.linearizable(|| clock)?;
        if state.authority.place(key.as_bytes()) != Place::Here {
            return None;
        }
        let bytes = requests::get(&state, name, node.clocks.wall_ms(self.now));
        drop(state);
        self.check_reader(group, key);
        Some(bytes)
    }

    fn write_pair(&mut self, client: usize, home: usize) {
        let piece = self.piece(client);
        let parts = places::pair(HOMES[home]).map(|key| (key, Operation::Set(piece.clone())));
        self.transact(client, parts.to_vec(), Vec::new(), Kind::Transaction);
    }

    fn read_pair(&mut self, client: usize, home: usize) {
        let parts = places::pair(HOMES[home]).map(|key| (key, Operation::Get));
        self.transact(client, parts.to_vec(), Vec::new(), Kind::Transaction);
    }

    fn transact(
        &mut self,
        client: usize,
        parts: Vec<(String, Operation)>,
        watched: Vec<Watched>,
        kind: Kind,
    ) {
        let words = parts
            .iter()
            .map(|(key, operation)| requests::words(key, operation));
        let words: Vec<Words> = words.collect();
        let proposal = requests::transaction(&words, watched, client);
        let key = parts[0].0.clone();
        self.record(client, parts, kind);
        self.propose(client, &key, proposal);
    }

    fn watch(&mut self, client: usize, home: usize) {
        let key = places::counter(HOMES[home]);
        let Some(process) = &self.nodes[&self.clients[client].node].running else {
            return;
        };
        let mail = process.mail.clients.clone();
        let words = [&b"_WATCH"[..], key.as_bytes()];
        let proposal = errand::proposal(GroupId(0), &words, mail, client);
        self.record(client, Vec::new(), Kind::Watch(home));
        self.propose(client, &key, proposal.expect("the command exists"));
    }

    fn look_at_watched(&mut self, client: usize, watch: Watch) {
        let name = places::counter(HOMES[watch.home]);
        self.clients[client].watched = Some(watch);
        self.read_as(client, &name, Kind::Look);
    }

    /// MULTI, SET, EXEC of a watched counter, as a connection composes it.
    fn swap(&mut self, client: usize, watch: &Watch, number: i64) {
        let key = places::counter(HOMES[watch.home]);
        let Some(process) = &self.nodes[&self.clients[client].node].running else {
            return;
        };
        let state = if group_of(process.routes().as_ref(), &key) == watch.group {
            watch.state
        } else {
            WatchState::CHANGED
        };
        let next = number + 1;
        let words: Words = vec![
            b"SET".to_vec(),
            key.clone().into_bytes(),
            next.to_string().into(),
        ];
        let watched = Watched {
            database: 0,
            key: key.clone().into_bytes(),
            state,
        };
        let proposal = requests::transaction(&[words], vec![watched], client);
        let parts = vec![(key.clone(), Operation::Increment)];
        self.record(client, parts, Kind::Swap(next));
        self.propose(client, &key, proposal);
    }

    fn aside(&mut self, client: usize, home: usize) {
        let words = mixed::command(&mut self.rng, HOMES[home]);
        self.counts.scripts += u64::from(scripts::is_script(&words));
        let proposal = requests::pipeline(&[words], client);
        self.record(client, Vec::new(), Kind::Aside);
        self.propose(client, &format!("{}mixed:", HOMES[home]), proposal);
    }

    fn write_stays(&mut self, client: usize, home: usize) {
        let mut words: Words = vec![b"MSET".to_vec()];
        for key in self.stays_of(home) {
            words.push(key);
            words.push(b"here".to_vec());
        }
        let proposal = requests::pipeline(&[words], client);
        self.record(client, Vec::new(), Kind::Stays(home));
        self.propose(client, &places::lasting(HOMES[home], 0), proposal);
    }

    pub(super) fn stays_of(&self, home: usize) -> Vec<Vec<u8>> {
        let keys = (0..self.plan.ballast + LEAST_STAYS).map(|n| places::lasting(HOMES[home], n));
        keys.map(String::into_bytes).collect()
    }

    pub(super) fn piece(&mut self, client: usize) -> Vec<u8> {
        let values = &mut self.clients[client].values;
        *values += 1;
        format!("{client:02}-{values:05};").into_bytes()
    }

    pub(super) fn record(&mut self, client: usize, parts: Vec<(String, Operation)>, kind: Kind) {
        let now = self.now;
        let parts = parts.into_iter().map(|(name, operation)| {
            let begun = self
                .history
                .begin(client as u32, &name, operation.clone(), now);
            (begun, name, operation)
        });
        let parts = parts.collect();
        let client = &mut self.clients[client];
        client.asks += 1;
        client.asked = Some(Asked {
            since: now,
            serial: client.asks,
            parts,
            kind,
            group: GroupId(0),
            pursuit: None,
            waits: None,
        });
        self.counts.operations += 1;
    }

    /// Gives a request to the group of its key, as far as the client's node knows.
    pub(super) fn propose(&mut self, client: usize, key: &str, mut proposal: Box<Proposal>) {
        let node = self.clients[client].node;
        let Some(process) = &self.nodes[&node].running else {
            return;
        };
        proposal.group = group_of(process.routes().as_ref(), key);
        proposal.mailbox = process.mail.clients.clone();
        if let Some(asked) = &mut self.clients[client].asked {
            asked.group = proposal.group;
        }
        self.submit(node, proposal);
    }

    /// Gives a proposal to its group: to the seat here, or to the courier.
    pub(super) fn submit(&mut self, node: u64, proposal: Box<Proposal>) {
        let running = self.nodes.get_mut(&node);
        let Some(process) = running.and_then(Node::process_mut) else {
            return;
        };
        let group = proposal.group;
        let seat = process.seats.get_mut(&group);
        match seat.filter(|seat| seat.shared.standing().takes_part()) {
            Some(seat) => {
                seat.proposals.push(proposal);
                self.wake(node, group, 200);
            }
            None => self.deliver_to_office(node, Delivery::Proposal(proposal)),
        }
    }
}

/// Where a key's requests go, as a node knows.
pub(super) fn group_of(routes: Option<&Routes>, key: &str) -> GroupId {
    match routes.map(|routes| routes.of_keys([key.as_bytes()])) {
        Some(Route::Group(group)) => group,
        _ => GroupId(0),
    }
}
