//! Who is told of what happens to keys: listeners of keyspace notifications, clients that keep
//! copies of values, and other nodes on behalf of theirs.
//!
//! [`Notices`] observes the node's groups. What the entries of their logs did is told
//!
//! * as messages, to this node's listeners, if `notify-keyspace-events` of this node says so; and
//!   by a group's leader to the listeners of nodes that are no members, by their settings;
//! * as invalidations, to this node's clients that track keys ([`Tracking`]);
//! * as touches, to nodes that are no members and asked to be told (`watching`).
//!
//! Nothing is collected while nobody listens.
//!
//! **How it fails.** Notifications are as good as messages: sent once, and lost where a link or a
//! leader is lost, or told twice by two leaders. Invalidations are never lost without the copies
//! being given up: see [`Tracking`] and `watching`.

mod invalidation;
mod tracking;
mod watching;

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwap;
use bailiwick_replication::{GroupId, NodeId};

pub use tracking::{Mode, Tracking};
pub use watching::Neighbours;
use watching::Watching;

use crate::commands::touch::{Touch, What, class};
use crate::commands::{Called, Published, events};
use crate::config::{OutputBufferLimits, Settings};
use crate::group::Observer;
use crate::node::clients::Clients;
use crate::node::{Attention, Condition};
use crate::pubsub::{Listener, Message, Note, PubSub};

/// A node's observer of its groups.
pub struct Notices {
    pubsub: Arc<PubSub>,
    /// Clients that keep copies.
    pub tracking: Tracking,
    watching: Watching,
    classes: AtomicU32,
    limits: Arc<ArcSwap<OutputBufferLimits>>,
    neighbours: OnceLock<Arc<dyn Neighbours>>,
    attention: Arc<Attention>,
    on_calls: OnceLock<Box<OnCalls>>,
}

/// Books what scripts called.
type OnCalls = dyn Fn(&Called) + Send + Sync;

impl Notices {
    /// Of a node with these clients.
    #[must_use]
    pub fn new(pubsub: Arc<PubSub>, clients: Arc<Clients>, attention: Arc<Attention>) -> Self {
        let limits = Arc::new(ArcSwap::from_pointee(OutputBufferLimits::default()));
        Self {
            pubsub,
            tracking: Tracking::new(clients, limits.clone()),
            watching: Watching::default(),
            classes: AtomicU32::new(0),
            limits,
            neighbours: OnceLock::new(),
            attention,
            on_calls: OnceLock::new(),
        }
    }

    /// Gives this one what scripts call; the first word counts.
    pub fn on_calls(&self, book: impl Fn(&Called) + Send + Sync + 'static) {
        let _ = self.on_calls.set(Box::new(book));
    }

    /// The settings are these.
    pub fn configure(&self, settings: &Settings) {
        let wanted = class::of_letters(&settings.notify_keyspace_events);
        let wanted = if class::are_any(wanted) { wanted } else { 0 };
        self.limits
            .store(Arc::new(settings.client_output_buffer_limit));
        self.tracking.set_max_keys(settings.tracking_table_max_keys);
        if self.classes.swap(wanted, Ordering::Relaxed) != wanted {
            self.pubsub.set_classes(wanted);
        }
    }

    /// The node is one of a cluster.
    pub fn set_neighbours(&self, neighbours: Arc<dyn Neighbours>) {
        // A node has its neighbours once.
        let _ = self.neighbours.set(neighbours);
    }

    /// Whether look-ups in vain are told of.
    #[must_use]
    pub fn wants_misses(&self) -> bool {
        self.classes.load(Ordering::Relaxed) & class::MISSED != 0
    }

    /// Reads that did not go through the log did this.
    pub fn missed(&self, touches: &[Touch]) {
        self.notify(touches, self.classes.load(Ordering::Relaxed));
    }

    /// Sends this node's listeners the messages that the classes want.
    fn notify(&self, touches: &[Touch], classes: u32) {
        if !self.pubsub.board().has_listeners() {
            return;
        }
        let limits = self.limits.load();
        each_event(touches, classes, |_, message| {
            self.pubsub.board().deliver(message, &limits);
        });
    }

    /// Sends the listeners on nodes that are no members the messages that those want.
    fn notify_others(&self, group: GroupId, touches: &[Touch], classes: u32) {
        let Some(neighbours) = self.neighbours.get() else {
            return;
        };
        let members = neighbours.members(group);
        each_event(touches, classes, |event, message| {
            // Who looked in vain is nobody's business elsewhere.
            if event & class::MISSED == 0 {
                let is_other = |node: NodeId| !members.contains(&node);
                self.pubsub.forward_event(message, event, is_other);
            }
        });
    }

    /// A client of this node is about to read these keys of a group, and keeps what it reads.
    pub fn remember(&self, client: u64, group: GroupId, may_be_stale: bool, keys: &[&[u8]]) {
        self.tracking.remember(client, group, keys);
        let Some(neighbours) = self.neighbours.get() else {
            return;
        };
        if neighbours.takes_part(group) {
            return;
        }
        // Until somebody tells us of this group's writes, nothing of it is to be kept.
        if !self.watching.is_watched(group) || may_be_stale {
            self.tracking.invalidate(client, keys);
        }
    }

    /// Something of a group's writes may have been missed here.
    fn lose(&self, group: GroupId) {
        self.tracking.forget_group(group);
    }
}

impl Listener for Notices {
    fn limits(&self) -> OutputBufferLimits {
        **self.limits.load()
    }

    fn hear(&self, from: NodeId, note: Note) {
        let Some(neighbours) = self.neighbours.get() else {
            return;
        };
        match note {
            Note::Watch(group) => {
                let answer = if self.watching.add_watcher(from, group, &**neighbours) {
                    Note::Watching(group)
                } else {
                    Note::Lost(group)
                };
                self.pubsub.send_note(from, &answer);
            }
            Note::Unwatch(group) => self.watching.remove_watcher(from, group),
            Note::Watching(group) => {
                if self.watching.confirm(from, group) {
                    // What was written before this may have been missed.
                    self.lose(group);
                }
            }
            Note::Lost(group) => {
                if self.watching.lose(from, group) {
                    self.lose(group);
                }
            }
            Note::Touched(group, touches) => self.tracking.touched(group, &touches),
        }
    }

    fn down(&self, node: NodeId) {
        for group in self.watching.down(node) {
            self.lose(group);
        }
    }

    fn tick(&self) {
        let Some(neighbours) = self.neighbours.get() else {
            return;
        };
        for (group, watchers) in self.watching.lost_contact(&**neighbours) {
            self.lose(group);
            for watcher in watchers {
                self.pubsub.send_note(watcher, &Note::Lost(group));
            }
        }
        if self.tracking.broadcasts() {
            for group in neighbours.groups() {
                if !neighbours.takes_part(group) {
                    self.watching.is_watched(group);
                }
            }
        }
        let is_needed = self.tracking.is_active();
        for (node, note) in self.watching.due(&**neighbours, is_needed) {
            self.pubsub.send_note(node, &note);
        }
    }
}

impl Observer for Notices {
    fn set_life(&self, node: u32, incarnation: u64) {
        self.tracking.set_life(node, incarnation);
    }

    fn wants_touches(&self) -> bool {
        self.classes.load(Ordering::Relaxed) != 0
            || self.tracking.is_active()
            || self.watching.has_watchers()
            || self.pubsub.classes_wanted() != 0
    }

    fn shows_calls(&self) -> bool {
        self.attention.has(Condition::Monitored)
    }

    fn called(&self, group: GroupId, called: &Called) {
        for (client, keys) in &called.read {
            match keys {
                Some(keys) => {
                    let keys: Vec<&[u8]> = keys.iter().map(|key| &**key).collect();
                    self.tracking.remember(*client, group, &keys);
                }
                None => self.tracking.invalidate_all_of(*client),
            }
        }
        if let Some(book) = self.on_calls.get() {
            book(called);
        }
    }

    fn touched(&self, group: GroupId, leads: bool, touches: Vec<Touch>) {
        // Copies first: who is told of an event and reads a copy would otherwise read the old
        // value.
        self.tracking.touched(group, &touches);
        let watchers = self.watching.watchers(group);
        if !watchers.is_empty() {
            let note = Note::Touched(group, touches.clone());
            for watcher in watchers {
                if !self.pubsub.send_note(watcher, &note) {
                    self.watching.remove_watcher(watcher, group);
                    self.pubsub.send_note(watcher, &Note::Lost(group));
                }
            }
        }
        let classes = self.classes.load(Ordering::Relaxed);
        if classes != 0 {
            self.notify(&touches, classes);
        }
        let theirs = self.pubsub.classes_wanted();
        if leads && theirs != 0 {
            self.notify_others(group, &touches, theirs);
        }
    }

    fn published(&self, messages: Vec<Published>) {
        let limits = self.limits.load();
        for published in messages {
            let message = Message {
                is_sharded: published.is_sharded,
                channel: &published.channel,
                payload: &published.payload,
            };
            self.pubsub.publish(&message, &limits);
        }
    }

    fn replaced(&self, group: GroupId) {
        self.lose(group);
        for watcher in self.watching.watchers(group) {
            self.watching.remove_watcher(watcher, group);
            self.pubsub.send_note(watcher, &Note::Lost(group));
        }
    }
}

/// Calls `tell` with the messages about touches, each with the classes that must be wanted.
fn each_event(touches: &[Touch], classes: u32, mut tell: impl FnMut(u32, &Message<'_>)) {
    for touch in touches {
        for (class, name) in events::of(touch) {
            if class & classes == 0 || matches!(touch.what, What::Cleared | What::HandedOut) {
                continue;
            }
            let (database, key) = (touch.database, &*touch.key);
            if classes & class::KEYSPACE != 0 {
                let channel = [format!("__keyspace@{database}__:").as_bytes(), key].concat();
                let message = Message {
                    is_sharded: false,
                    channel: &channel,
                    payload: name.as_bytes(),
                };
                tell(class | class::KEYSPACE, &message);
            }
            if classes & class::KEYEVENT != 0 {
                let channel = format!("__keyevent@{database}__:{name}");
                let message = Message {
                    is_sharded: false,
                    channel: channel.as_bytes(),
                    payload: key,
                };
                tell(class | class::KEYEVENT, &message);
            }
        }
    }
}
