//! The registry: the thread that keeps the directory.
//!
//! It drives the herald (`herald`): carries messages between it and the links, shows it the groups
//! of this node, and takes the seats that it says are this node's. It also carries gossip, and
//! knows what to say in it of this node.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bailiwick_replication::link::{Class, Frame, Hello};
use bailiwick_replication::{ConfigurationId, GroupId, NodeId};
use bytes::Bytes;
use parking_lot::{Condvar, Mutex};

use super::census::Census;
use super::herald::{Herald, first_members};
use super::{DIRECTORY_SERVICE, GOSSIP_SERVICE};
use crate::directory::Directory;
use crate::directory::keys::NodeKey;
use crate::directory::membership::{NodeFacts, Seat};
use crate::directory::record::GroupRecord;
use crate::group::{Charter, Founding, Group, Host, NODE_SERVICES, clock};
use crate::node::Node;
use crate::run;

/// From look to look at most.
const TICK: Duration = Duration::from_millis(50);
/// How many times as long as a look took the group is left alone after it: a look can go over all
/// of its prefixes, and commits of a group with very many should not wait for looks most of the
/// time.
const REST: u64 = 4;
/// From turn to turn of the gossip, in nanoseconds at least.
const GOSSIP_NS: u64 = 50_000_000;
/// How often others are told that the directory has changed, in nanoseconds at least.
const DIGEST_NS: u64 = 1_000_000_000;

/// What the links' thread leaves for the registry.
pub(super) enum Event {
    Up(Hello),
    Down(NodeId),
    Records(NodeId, Vec<Bytes>),
    Gossip(NodeId, Vec<Bytes>),
    CalledFor(GroupId),
}

/// The registry, as others see it.
pub(super) struct Registry {
    host: Arc<Host>,
    directory: Arc<Directory>,
    census: Arc<Census>,
    key: Arc<NodeKey>,
    queue: Mutex<Queue>,
    filled: Condvar,
}

#[derive(Default)]
struct Queue {
    events: Vec<Event>,
    closed: bool,
}

/// What the thread owns.
struct Keeper<'a> {
    registry: &'a Registry,
    node: &'a Arc<Node>,
    herald: Herald,
    /// Until when groups are left alone, in nanoseconds.
    rests_until: BTreeMap<GroupId, u64>,
    /// When others were told of the directory's digest, and what.
    digest: (u64, u64),
    /// When gossip had its turn last.
    gossiped_at: u64,
}

impl Registry {
    pub(super) fn new(
        host: Arc<Host>,
        directory: Arc<Directory>,
        census: Arc<Census>,
        key: NodeKey,
    ) -> Self {
        Self {
            host,
            directory,
            census,
            key: Arc::new(key),
            queue: Mutex::default(),
            filled: Condvar::new(),
        }
    }

    pub(super) fn push(&self, event: Event) {
        self.queue.lock().events.push(event);
        self.filled.notify_one();
    }

    pub(super) fn close(&self) {
        self.queue.lock().closed = true;
        self.filled.notify_one();
    }

    /// The thread.
    pub(super) fn run(&self, node: &Arc<Node>) {
        let mut keeper = Keeper {
            registry: self,
            node,
            herald: Herald::new(
                self.host.me(),
                self.key.clone(),
                self.directory.clone(),
                clock::boot_ns(),
            ),
            rests_until: BTreeMap::new(),
            digest: (0, 0),
            gossiped_at: 0,
        };
        keeper.herald.introduce();
        loop {
            let events = {
                let mut queue = self.queue.lock();
                if queue.events.is_empty() && !queue.closed {
                    self.filled.wait_for(&mut queue, TICK);
                }
                if queue.closed {
                    return;
                }
                std::mem::take(&mut queue.events)
            };
            keeper.turn(events);
        }
    }
}

impl Keeper<'_> {
    fn turn(&mut self, events: Vec<Event>) {
        let now = clock::boot_ns();
        for event in events {
            self.handle(event);
        }
        let seats = self.node.seats.all();
        for group in seats.values() {
            self.look_at(group, clock::boot_ns());
        }
        drop(seats);
        self.herald.tick(now, fastrand::u64(..));
        self.send();
        self.gossip(now);
        if self.herald.has_news() {
            self.take_seats();
            // Requests may wait for a group to become known.
            if let Some(estate) = self.node.estate() {
                estate.proxy.look();
            }
        }
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Up(hello) => {
                self.herald.link_up(hello.node);
                self.registry.census.link_up(hello.node);
            }
            Event::Down(node) => {
                self.herald.link_down(node);
                self.registry.census.link_down(node);
            }
            Event::Gossip(from, payloads) => self.registry.census.receive(from, &payloads),
            Event::Records(from, payloads) => {
                for payload in &payloads {
                    self.herald.receive(from, payload);
                }
            }
            Event::CalledFor(group) => self.herald.note_called(group),
        }
    }

    fn send(&mut self) {
        for (to, payload) in self.herald.take_messages() {
            self.send_as(DIRECTORY_SERVICE, to, payload);
        }
    }

    /// What is lost with the link is found missing later.
    fn send_as(&self, service: ConfigurationId, to: NodeId, payload: Bytes) {
        let frame = Frame {
            class: Class::Ordered,
            group: NODE_SERVICES,
            configuration: service,
            payload,
        };
        self.registry.host.links().send(to, frame);
    }

    /// Tells other nodes of this one, and of what it heard.
    fn gossip(&mut self, now: u64) {
        if now < self.gossiped_at + GOSSIP_NS {
            return;
        }
        self.gossiped_at = now;
        let facts = self.facts(now);
        for (to, payload) in self.registry.census.turn(facts, now, fastrand::u64(..)) {
            self.send_as(GOSSIP_SERVICE, to, payload);
        }
    }

    /// What there is to say of this node.
    fn facts(&mut self, now: u64) -> NodeFacts {
        if now >= self.digest.0 + DIGEST_NS {
            let directory = &self.registry.directory;
            self.digest = (now, directory.with_store(|store| store.digest().root()));
        }
        let seats = self.node.seats.all();
        let seats = seats.values().filter(|group| group.standing().takes_part());
        let seats = seats.map(|group| Seat {
            group: group.id(),
            leads_since: group.standing().leadership(),
        });
        let mut facts = super::first_facts(&self.registry.host, &self.registry.key);
        facts.seats = seats.collect();
        facts.directory = self.digest.1;
        // A port that only a flag gives is not in the cluster's file.
        if facts.cluster.is_empty()
            && let Some(own) = self.node.own_cluster_address()
        {
            facts.cluster = own.to_string();
        }
        facts
    }

    fn look_at(&mut self, group: &Group, now: u64) {
        let rests_until = self.rests_until.get(&group.id());
        if rests_until.is_some_and(|&until| now < until) {
            return;
        }
        let leads = group.standing().leads();
        // Other groups do not wait for a script of this one.
        let Some(state) = group.state_unless_held() else {
            return;
        };
        let began = clock::boot_ns();
        let records = self.herald.survey(group.id(), leads, &state);
        // Let go of before anything is signed.
        drop(state);
        let ended = clock::boot_ns();
        let rests_until = ended + REST * ended.saturating_sub(began);
        self.rests_until.insert(group.id(), rests_until);
        self.herald.proclaim(records);
    }

    /// Takes the seats that this node should have and has not.
    fn take_seats(&mut self) {
        let view = self.registry.directory.snapshot();
        for record in view.groups() {
            if let Some(group) = self.node.seats.get(record.id)
                && let Some(seat) = group.seat()
            {
                seat.learn(&record.name, record.databases as usize, record.hash_seed);
                seat.note_published(record.configuration);
            }
        }
        let seats = &self.node.seats;
        for record in self.herald.vacancies(|id| seats.get(id).is_some()) {
            self.take_seat(&record);
        }
    }

    fn take_seat(&mut self, record: &GroupRecord) {
        let host = &self.registry.host;
        let priority = host.cluster().group(&record.name);
        let charter = Charter {
            id: record.id,
            name: record.name.clone(),
            // Later ones come with the group's log.
            founding: Founding::Fixed(first_members(record)),
            priority: priority.map_or(0, |group| group.priority_of(host.me().node)),
            hash_seed: record.hash_seed,
            databases: record.databases as usize,
        };
        let tuning = run::tuning(&self.node.settings.load());
        match Group::join(host, charter, tuning, &self.node.loading) {
            Ok(group) => {
                tracing::info!(group = record.name, "took a seat");
                self.node.seats.add(group, || {});
            }
            Err(error) => tracing::error!(group = record.name, %error, "no seat can be taken"),
        }
    }
}
