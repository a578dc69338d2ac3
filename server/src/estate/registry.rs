//! The registry: the thread that keeps the directory.
//!
//! It carries records between the flood and the links, tells the directory what this node's own
//! replicas know, publishes records for the groups that this node leads, and takes the seats that
//! records give to this node. It also carries gossip, and knows what to say in it of this node.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bailiwick_replication::consensus::Member as MemberId;
use bailiwick_replication::link::{Class, Frame, Hello};
use bailiwick_replication::{ConfigurationId, GroupId, NodeId};
use bytes::Bytes;
use parking_lot::{Condvar, Mutex};

use super::census::Census;
use super::{DIRECTORY_SERVICE, GOSSIP_SERVICE};
use crate::directory::flood::Flood;
use crate::directory::keys::NodeKey;
use crate::directory::membership::{NodeFacts, Seat};
use crate::directory::record::{GroupRecord, Member, PrefixRecord, Record};
use crate::directory::{Directory, ROOT_GROUP};
use crate::group::{Charter, Founding, Group, Host, NODE_SERVICES, clock};
use crate::node::Node;
use crate::run;
use crate::state::State;

/// From look to look at most.
const TICK: Duration = Duration::from_millis(50);
/// How many times as long as a look took the group is left alone after it: a look goes over all of its
/// prefixes, and commits of a group with very many should not wait for looks most of the time.
const REST: u64 = 4;
/// Records signed in one look; the next ones follow in the next.
const MAX_PUBLISHED: usize = 4096;
/// From turn to turn of the gossip, in nanoseconds at least.
const GOSSIP_NS: u64 = 50_000_000;
/// How often others are told that the directory has changed, in nanoseconds at least.
const DIGEST_NS: u64 = 1_000_000_000;
/// From look to look for records whose authors have left, in nanoseconds.
const ORPHANS_NS: u64 = 1_000_000_000;

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
    key: NodeKey,
    queue: Mutex<Queue>,
    filled: Condvar,
}

#[derive(Default)]
struct Queue {
    events: Vec<Event>,
    closed: bool,
}

/// What was last seen of a group's authority.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Seen {
    changes: u64,
    leads: bool,
    /// Something is still to be published.
    is_behind: bool,
    /// Not to be looked at before, in nanoseconds.
    rests_until: u64,
}

/// What the thread owns.
struct Keeper<'a> {
    registry: &'a Registry,
    node: &'a Arc<Node>,
    flood: Flood,
    seen: BTreeMap<GroupId, Seen>,
    /// Groups for which this node was taken for a member.
    called_for: BTreeSet<GroupId>,
    generation: u64,
    /// When others were told of the directory's digest, and what.
    digest: (u64, u64),
    /// When to look for orphans next.
    orphans_at: u64,
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
            key,
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
            flood: Flood::new(self.directory.clone(), clock::boot_ns()),
            seen: BTreeMap::new(),
            called_for: BTreeSet::new(),
            generation: u64::MAX,
            digest: (0, 0),
            orphans_at: 0,
            gossiped_at: 0,
        };
        keeper.introduce();
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

    fn me(&self) -> Member {
        member(self.host.me())
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
        self.look_for_orphans(now);
        self.flood.tick(now, fastrand::u64(..));
        self.send();
        self.gossip(now);
        let generation = self.registry.directory.view().generation();
        if generation != self.generation || !self.called_for.is_empty() {
            self.generation = generation;
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
                self.flood.link_up(hello.node);
                self.registry.census.link_up(hello.node);
            }
            Event::Down(node) => {
                self.flood.link_down(node);
                self.registry.census.link_down(node);
            }
            Event::Gossip(from, payloads) => self.registry.census.receive(from, &payloads),
            Event::Records(from, payloads) => {
                for payload in &payloads {
                    self.flood.receive(from, payload);
                }
            }
            Event::CalledFor(group) => {
                self.called_for.insert(group);
            }
        }
    }

    fn send(&mut self) {
        for (to, payload) in self.flood.take_messages() {
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

    /// Makes this node's key known.
    fn introduce(&mut self) {
        let key = self.registry.key.public();
        self.publish(Record::Key(key));
    }

    fn publish(&mut self, record: Record) {
        let (me, key) = (self.registry.me(), &self.registry.key);
        match record.sign(me, key) {
            Ok(signed) => {
                self.flood.publish(&signed);
            }
            Err(error) => tracing::error!(%error, "a record cannot be published"),
        }
    }

    /// Learns from a group's state what it says of prefixes, and makes known what it has decided, if
    /// this node leads it.
    fn look_at(&mut self, group: &Group, now: u64) {
        let leads = group.standing().leads();
        let state = group.state();
        let changes = state.authority.changes();
        let before = self.seen.get(&group.id()).copied();
        let is_same = |seen: &Seen| {
            let is_known = seen.changes == changes && seen.leads == leads && !seen.is_behind;
            is_known || now < seen.rests_until
        };
        if before.as_ref().is_some_and(is_same) || state.keyspace.databases() == 0 {
            return;
        }
        let directory = &self.registry.directory;
        for (prefix, owned) in state.authority.owned() {
            directory.learn_prefix(prefix, owned.epoch, Some(group.id()));
        }
        let records = if leads {
            self.unpublished(group.id(), &state)
        } else {
            Vec::new()
        };
        drop(state);
        let is_behind = records.len() >= MAX_PUBLISHED;
        let ended = clock::boot_ns();
        let seen = Seen {
            changes,
            leads,
            is_behind,
            rests_until: ended + REST * ended.saturating_sub(now),
        };
        self.seen.insert(group.id(), seen);
        for record in records {
            self.publish(record);
        }
    }

    /// What a group has decided and the directory does not know yet.
    fn unpublished(&self, id: GroupId, state: &State) -> Vec<Record> {
        let authority = &state.authority;
        let delegated = authority
            .delegated()
            .map(|(prefix, delegated)| PrefixRecord {
                prefix: prefix.to_vec(),
                epoch: delegated.epoch,
                group: Some(delegated.group),
            });
        let retired = authority.retired().map(|(prefix, epoch)| PrefixRecord {
            prefix: prefix.to_vec(),
            epoch,
            group: None,
        });
        let prefixes = delegated.chain(retired).map(Record::Prefix);
        let groups = authority
            .groups()
            .filter(|(_, group)| !group.members.is_empty());
        let groups = groups.map(|(id, group)| {
            Record::Group(GroupRecord {
                id,
                name: String::from_utf8_lossy(&group.name).into_owned(),
                configuration: u64::from(group.configuration),
                members: group.members.iter().copied().map(member).collect(),
                hash_seed: state.keyspace.seed(),
                databases: state.keyspace.databases() as u32,
            })
        });
        // Groups first: nobody can go to one that is not known.
        let groups = groups.filter(|_| id == ROOT_GROUP);
        let me = self.registry.me();
        self.registry.directory.with_store(|store| {
            let is_new = |record: &Record| {
                let known = store.record(&record.topic(me));
                known.is_none_or(|known| known.record().sequence() < record.sequence())
            };
            groups
                .chain(prefixes)
                .filter(is_new)
                .take(MAX_PUBLISHED)
                .collect()
        })
    }

    /// Signs anew what members of groups that this node leads had signed and are none any more. Their
    /// leaving changes nothing in the group's authority, so it has to be looked for.
    fn look_for_orphans(&mut self, now: u64) {
        if now < self.orphans_at {
            return;
        }
        self.orphans_at = now + ORPHANS_NS;
        if self.registry.directory.counters().orphans == 0 {
            return;
        }
        let seats = self.node.seats.all();
        let led = seats.values().filter(|group| group.standing().leads());
        let led: Vec<GroupId> = led.map(|group| group.id()).collect();
        let (me, key) = (self.registry.me(), &self.registry.key);
        match self.flood.adopt_orphans(me, key, &led) {
            Ok(0) => {}
            Ok(adopted) => {
                tracing::info!(adopted, "signed records anew whose authors have left");
                // There may be more than are signed at a time.
                self.orphans_at = now;
            }
            Err(error) => tracing::error!(%error, "a record cannot be signed anew"),
        }
    }

    /// Takes the seats that this node should have and has not.
    fn take_seats(&mut self) {
        let me = self.registry.me();
        let view = self.registry.directory.snapshot();
        for record in view.groups() {
            if let Some(group) = self.node.seats.get(record.id) {
                if let Some(seat) = group.seat() {
                    seat.set_group_name(&record.name);
                }
                self.called_for.remove(&record.id);
                continue;
            }
            let is_member = record.members.contains(&me);
            if is_member || self.called_for.remove(&record.id) {
                self.take_seat(record);
            }
        }
    }

    fn take_seat(&mut self, record: &GroupRecord) {
        let host = &self.registry.host;
        let members = record.members.iter().map(|member| MemberId {
            node: member.node,
            disk: member.disk,
        });
        let is_first = record.configuration == 1;
        let priority = host.cluster().group(&record.name);
        let charter = Charter {
            id: record.id,
            name: record.name.clone(),
            // Later ones come with the group's log.
            founding: Founding::Fixed(if is_first {
                members.collect()
            } else {
                Vec::new()
            }),
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

fn member(id: MemberId) -> Member {
    Member {
        node: id.node,
        disk: id.disk,
    }
}
