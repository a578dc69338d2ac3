//! What the links thread works on: the peers, the requests of other threads, and the tasks.
//!
//! Owns the set of peers and the wake-up of the thread. Any number of sends between two turns of
//! the thread cost one wake-up.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use parking_lot::{Mutex, RwLock};
use tokio::net::TcpStream;
use tokio::sync::Notify;

use super::connection::Connection;
use super::dial;
use super::handshake::{Identity, Verdict};
use super::peer::PeerLink;
use super::queue::Pushed;
use super::session::{Signal, Slot};
use super::status::{Cause, Ended};
use super::types::{Frame, Hello, LinkConfig, LinkEvents, LinkLimits, Peer};
use crate::NodeId;

/// Unsent bytes that the system may hold for a connection; more would delay urgent frames.
const UNSENT_BYTES: u32 = 256 << 10;

/// A request of another thread.
enum Request {
    Cut(NodeId, Ended),
    SetPeers(Vec<Peer>),
}

/// Shared by the links thread and all handles.
pub(super) struct Hub {
    pub(super) hello: Hello,
    pub(super) limits: Arc<LinkLimits>,
    pub(super) events: Arc<dyn LinkEvents>,
    /// Incoming connections that did not get past the handshake.
    pub(super) rejected: AtomicU64,
    pub(super) closing: Notify,
    first_epoch: u64,
    peers: RwLock<HashMap<NodeId, Arc<PeerLink>>>,
    requests: Mutex<Vec<Request>>,
    pending: AtomicBool,
    wake: Notify,
}

impl Hub {
    pub(super) fn new(config: LinkConfig, events: Arc<dyn LinkEvents>) -> Hub {
        // Links started twice in one incarnation must not repeat an epoch, so it starts with the
        // clock.
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        Hub {
            hello: Hello {
                cluster: config.cluster,
                node: config.node,
                disk: config.disk,
                incarnation: config.incarnation,
                session: 0,
            },
            limits: Arc::new(config.limits),
            events,
            rejected: AtomicU64::new(0),
            closing: Notify::new(),
            first_epoch: now.map_or(1, |now| now.as_micros() as u64),
            peers: RwLock::default(),
            requests: Mutex::new(vec![Request::SetPeers(config.peers)]),
            pending: AtomicBool::new(false),
            wake: Notify::new(),
        }
    }

    pub(super) fn peer(&self, node: NodeId) -> Option<Arc<PeerLink>> {
        self.peers.read().get(&node).cloned()
    }

    pub(super) fn peers(&self) -> Vec<Arc<PeerLink>> {
        let mut peers: Vec<_> = self.peers.read().values().cloned().collect();
        peers.sort_by_key(|peer| peer.node);
        peers
    }

    /// From any thread.
    pub(super) fn send(&self, to: NodeId, session: Option<u64>, frame: Frame) -> bool {
        let peers = self.peers.read();
        let Some(peer) = peers.get(&to) else {
            return false;
        };
        let class = frame.class;
        let pushed = peer.queue.lock().push(frame, session, &self.limits);
        let ended = match pushed {
            Pushed::Queued { wake } => {
                if wake {
                    self.wake();
                }
                return true;
            }
            Pushed::Closed => return false,
            Pushed::Overflow => {
                Ended::new(Cause::Overflow, format!("the {class:?} send queue is full"))
            }
            Pushed::Oversized => Ended::new(Cause::Oversized, "a message too long to send"),
        };
        self.request(Request::Cut(to, ended));
        false
    }

    /// From any thread.
    pub(super) fn cut(&self, node: NodeId) {
        if let Some(peer) = self.peer(node) {
            peer.queue.lock().close();
            let ended = Ended::new(Cause::Requested, "cut on request of this node");
            self.request(Request::Cut(node, ended));
        }
    }

    /// From any thread.
    pub(super) fn set_peers(&self, peers: Vec<Peer>) {
        self.request(Request::SetPeers(peers));
    }

    /// Closes all queues: nothing is sent any more.
    pub(super) fn close(&self) {
        self.peers
            .read()
            .values()
            .for_each(|peer| peer.queue.lock().close());
        self.closing.notify_one();
    }

    /// Serves the other threads, forever.
    pub(super) async fn serve(self: &Arc<Hub>) {
        self.wake();
        loop {
            self.wake.notified().await;
            self.pending.store(false, Ordering::SeqCst);
            let requests = std::mem::take(&mut *self.requests.lock());
            for request in requests {
                match request {
                    Request::Cut(node, ended) => {
                        if let Some(peer) = self.peer(node) {
                            peer.cut(&*self.events, &ended);
                        }
                    }
                    Request::SetPeers(peers) => self.apply_peers(peers),
                }
            }
            for peer in self.peers() {
                if peer.dispatch() {
                    tokio::spawn(dial::bulk(self.clone(), peer));
                }
            }
        }
    }

    /// What this node says of itself to a peer.
    pub(super) fn identity(&self, epoch: u64) -> Identity {
        let hello = self.hello;
        Identity { hello, epoch }
    }

    /// What holds against a peer that has shown its identity.
    pub(super) fn judge(&self, peer: &PeerLink, identity: &Identity) -> Verdict {
        let hello = &identity.hello;
        let judge = || {
            if hello.cluster != self.hello.cluster {
                return Err(format!(
                    "node {} belongs to cluster {}, node {} to {}",
                    hello.node.0, hello.cluster, self.hello.node.0, self.hello.cluster
                ));
            }
            peer.check_incarnation(identity.stamp())?;
            self.events.admit(hello)
        };
        judge().map_or_else(Verdict::Refused, |()| Verdict::Accepted)
    }

    /// A connection whose handshake is complete joins its session; `None` if that is over.
    pub(super) fn enter(
        self: &Arc<Hub>,
        peer: &Arc<PeerLink>,
        slot: Slot,
        epoch: u64,
        identity: &Identity,
    ) -> Option<Connection> {
        let signal: Arc<Signal> = Arc::default();
        let entered = peer.enter(&*self.events, slot, &signal, epoch, identity);
        entered.then(|| Connection {
            peer: peer.clone(),
            events: self.events.clone(),
            limits: self.limits.clone(),
            signal,
            slot,
        })
    }

    fn apply_peers(self: &Arc<Hub>, wanted: Vec<Peer>) {
        let mut added = Vec::new();
        let mut peers = self.peers.write();
        let mut old = std::mem::take(&mut *peers);
        for Peer { node, address } in wanted {
            if node == self.hello.node || peers.contains_key(&node) {
                continue;
            }
            let peer = old.remove(&node);
            if let Some(peer) = &peer {
                peer.set_address(address.clone());
            }
            let peer = peer.unwrap_or_else(|| {
                let peer = Arc::new(PeerLink::new(node, address, self.first_epoch));
                added.push(peer.clone());
                peer
            });
            peers.insert(node, peer);
        }
        drop(peers);
        old.values().for_each(|peer| peer.remove(&*self.events));
        for peer in added {
            tokio::spawn(dial::consensus(self.clone(), peer));
        }
    }

    fn request(&self, request: Request) {
        self.requests.lock().push(request);
        self.wake();
    }

    fn wake(&self) {
        if !self.pending.swap(true, Ordering::SeqCst) {
            self.wake.notify_one();
        }
    }
}

/// Options of every connection.
pub(super) fn tune(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    // Not every system has it, and without it only big transfers delay urgent frames.
    let _ = socket2::SockRef::from(stream).set_tcp_notsent_lowat(UNSENT_BYTES);
    Ok(())
}
