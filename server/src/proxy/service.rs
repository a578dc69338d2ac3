//! Joins the courier and the desk with the links.

use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::Duration;

use bailiwick_replication::link::{Frame, Links};
use bailiwick_replication::{GroupId, NodeId};
use parking_lot::{Condvar, Mutex};

use super::courier::{Courier, Groups, Patience};
use super::desk::Desk;
use super::wire::Message;
use crate::group::bells::{Bells, Call};
use crate::group::{Proposal, clock, deliver};
use crate::node::Node;
use crate::state::{Origin, PROXIED, WaiterId};
use crate::threads::spawn_early;

/// How often it is looked whether something has to be sent again.
const TICK: Duration = Duration::from_millis(5);

/// Has requests executed by groups that this node is no member of, and by this node's groups for
/// others.
pub struct Proxy {
    courier: Mutex<Courier>,
    watch: Mutex<Watch>,
    /// The watch has changed.
    changed: Condvar,
    desk: Arc<Desk>,
    groups: Box<dyn Groups + Send + Sync>,
    links: Links,
    /// This node's number.
    node: u32,
    /// Where its clients wait for keys.
    bells: OnceLock<Arc<Bells>>,
}

/// What the thread goes by that looks after what gets no answer.
#[derive(Default)]
struct Watch {
    /// It waits until there is something to look after. Waking it for each request that is passed
    /// on would cost more than the request.
    is_asleep: bool,
    is_over: bool,
}

impl Proxy {
    /// Over these links. The incarnation must differ in each life of the node.
    #[must_use]
    pub fn new(
        (node, incarnation): (NodeId, u64),
        patience: Patience,
        groups: Box<dyn Groups + Send + Sync>,
        links: Links,
    ) -> Arc<Self> {
        let origin = Origin {
            node: node.0 as u32 | PROXIED,
            incarnation,
        };
        Arc::new(Self {
            courier: Mutex::new(Courier::new(origin, patience)),
            watch: Mutex::default(),
            changed: Condvar::new(),
            desk: Arc::default(),
            groups,
            links,
            node: node.0 as u32,
            bells: OnceLock::new(),
        })
    }

    /// Starts the threads.
    pub fn start(self: &Arc<Self>, node: &Arc<Node>) -> Vec<JoinHandle<()>> {
        let _ = self.bells.set(node.seats.bells.clone());
        let (desk, node, links) = (self.desk.clone(), node.clone(), self.links.clone());
        let proxy = self.clone();
        vec![
            spawn_early("desk", move || desk.run(node, links)),
            spawn_early("courier", move || proxy.run()),
        ]
    }

    /// Ends the threads; what is under way is not finished.
    pub fn close(&self) {
        self.watch.lock().is_over = true;
        self.changed.notify_all();
        self.desk.close();
    }

    /// Has proposals executed by their groups. Answered ones are put into their mailboxes.
    pub fn submit(&self, proposals: impl IntoIterator<Item = Box<Proposal>>) {
        self.work(|courier, now| courier.submit(proposals, now));
        // Between looking at the courier and falling asleep the thread holds this lock.
        if self.watch.lock().is_asleep {
            self.changed.notify_all();
        }
    }

    /// A link is up.
    pub fn up(&self, node: NodeId) {
        self.work(|courier, _| courier.link_up(node));
    }

    /// A link is down.
    pub fn down(&self, node: NodeId) {
        self.work(|courier, _| courier.link_down(node));
    }

    /// Something came from another node's proxy.
    pub fn received(&self, from: NodeId, frames: Vec<Frame>) {
        for frame in frames {
            match Message::decode(&frame.payload) {
                Ok(message @ (Message::Read { .. } | Message::Write { .. })) => {
                    self.desk.push(from, message);
                }
                Ok(Message::Woken { waiters }) => self.wake(&waiters),
                Ok(message) => self.work(|courier, now| courier.receive(from, message, now)),
                Err(error) => {
                    tracing::error!(peer = from.0, %error, "a node sends nonsense; cutting");
                    self.links.cut(from);
                    return;
                }
            }
        }
    }

    /// Lets clients of this node look after their replies.
    fn wake(&self, waiters: &[(u64, u64)]) {
        let Some(bells) = self.bells.get() else {
            return;
        };
        for &(incarnation, number) in waiters {
            let id = WaiterId {
                node: self.node,
                incarnation,
                number,
            };
            bells.ring(id, Call::Look);
        }
    }

    /// Who leads a group, as was heard last: from its members when they were asked for something,
    /// or by gossip.
    #[must_use]
    pub fn leader(&self, group: GroupId) -> Option<NodeId> {
        self.courier.lock().leader(group, &*self.groups)
    }

    /// Looks again: somebody may have become known.
    pub fn look(&self) {
        self.work(|_, _| {});
    }

    /// Does something with the courier, and what follows from it.
    fn work(&self, act: impl FnOnce(&mut Courier, u64)) {
        let now = clock::boot_ns();
        let mut answered = Vec::new();
        {
            let mut courier = self.courier.lock();
            act(&mut courier, now);
            courier.advance(&*self.groups, now);
            for (to, message) in courier.take_messages() {
                // If the link has just ended, that will be reported, and it is sent again.
                self.links.send(to, message.frame());
            }
            answered.append(courier.take_answered());
        }
        deliver(&mut answered);
    }

    /// The thread that looks after what gets no answer.
    fn run(&self) {
        loop {
            {
                let mut watch = self.watch.lock();
                if watch.is_over {
                    return;
                }
                watch.is_asleep = self.courier.lock().is_idle();
                if watch.is_asleep {
                    self.changed.wait(&mut watch);
                    watch.is_asleep = false;
                } else {
                    self.changed.wait_for(&mut watch, TICK);
                }
            }
            self.look();
        }
    }
}
