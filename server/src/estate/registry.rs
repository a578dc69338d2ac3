//! The registry: the thread that keeps the directory.
//!
//! It drives the herald (`herald`): carries messages between it and the links, shows it the groups of
//! this node, and takes the seats that it says are this node's.

use std::sync::Arc;
use std::time::Duration;

use bailiwick_replication::link::{Class, Frame, Hello};
use bailiwick_replication::{GroupId, NodeId};
use bytes::Bytes;
use parking_lot::{Condvar, Mutex};

use super::DIRECTORY_SERVICE;
use super::herald::{Herald, first_members};
use crate::directory::Directory;
use crate::directory::keys::NodeKey;
use crate::directory::record::GroupRecord;
use crate::group::{Charter, Founding, Group, Host, NODE_SERVICES, clock};
use crate::node::Node;
use crate::run;

/// From look to look at most.
const TICK: Duration = Duration::from_millis(50);

/// What the links' thread leaves for the registry.
pub(super) enum Event {
    Up(Hello),
    Down(NodeId),
    Records(NodeId, Vec<Bytes>),
    CalledFor(GroupId),
}

/// The registry, as others see it.
pub(super) struct Registry {
    host: Arc<Host>,
    directory: Arc<Directory>,
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
}

impl Registry {
    pub(super) fn new(host: Arc<Host>, directory: Arc<Directory>, key: NodeKey) -> Self {
        Self {
            host,
            directory,
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
            self.look_at(group);
        }
        drop(seats);
        self.herald.tick(now, fastrand::u64(..));
        self.send();
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
            Event::Up(hello) => self.herald.link_up(hello.node),
            Event::Down(node) => self.herald.link_down(node),
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
            let frame = Frame {
                class: Class::Ordered,
                group: NODE_SERVICES,
                configuration: DIRECTORY_SERVICE,
                payload,
            };
            // What is lost with the link is found missing later.
            self.registry.host.links().send(to, frame);
        }
    }

    fn look_at(&mut self, group: &Group) {
        let leads = group.standing().leads();
        // In a statement of its own, which lets go of the state before anything is signed.
        let records = self.herald.survey(group.id(), leads, &group.state());
        self.herald.proclaim(records);
    }

    /// Takes the seats that this node should have and has not.
    fn take_seats(&mut self) {
        let view = self.registry.directory.snapshot();
        for record in view.groups() {
            if let Some(group) = self.node.seats.get(record.id)
                && let Some(seat) = group.seat()
            {
                seat.set_group_name(&record.name);
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
