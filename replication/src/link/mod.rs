//! The links between nodes: opaque payloads, tagged with a group and a configuration.
//!
//! Each node has one listener, and opens one connection to each peer for its own messages; the
//! peer's come on the connection that the peer opened. Big transfers have a further connection
//! each way, opened on first need. A thread of its own does all the work on sockets; [`Links`] is
//! a handle to it that any thread may use without ever waiting.
//!
//! **Sessions.** A link is *up* while the connection there and the connection back stand; the time
//! between is a session. Within one, every frame sent is delivered once and in the order of its
//! class; when anything is lost, the session ends for both sides and a new one begins (`session`
//! tells how both sides agree on it). Nothing is dropped from a session that goes on, which is
//! what the consensus above relies on.
//!
//! **Map.** `codec` frames and `handshake` messages as bytes, `session` which connections
//! belong together, `queue` what waits, `peer` one peer's state and events, `connection` a
//! connection's traffic, `dial` and `accept` how connections come to be, `hub` the thread.
//!
//! **How it fails.** A peer that is silent, sends what is not a frame, or cannot take what is sent
//! to it loses its link, which is counted by cause and rebuilt. Strangers are refused. Only a
//! listener that cannot be bound is an error for the caller.
//!
//! Not done here: encryption and proof of identity, compression, knowing what a payload means, and
//! deciding who the peers are.

mod accept;
mod codec;
mod connection;
mod dial;
mod handshake;
mod hub;
mod peer;
mod queue;
mod session;
mod status;
#[cfg(test)]
mod tests;
mod types;

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::Mutex;

use crate::NodeId;
use hub::Hub;
pub use status::{Cuts, LinkState, LinkStatus, Traffic};
pub use types::{Class, Frame, Hello, LinkConfig, LinkEvents, LinkLimits, Peer};

/// A handle to the links thread, for any thread. No call waits for the network. The thread ends
/// with [`close`](Self::close) or with the last handle; a [`LinkEvents`] that holds a handle keeps
/// it alive until `close`.
#[derive(Clone)]
pub struct Links {
    inner: Arc<Inner>,
}

struct Inner {
    hub: Arc<Hub>,
    address: SocketAddr,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Links {
    /// Binds the listener and starts the thread.
    ///
    /// # Errors
    /// The address cannot be bound, or the system has no thread for us.
    pub fn start(config: LinkConfig, events: Arc<dyn LinkEvents>) -> io::Result<Links> {
        let listener = TcpListener::bind(config.listen)?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let hub = Arc::new(Hub::new(config, events));
        let thread = std::thread::Builder::new()
            .name("links".to_owned())
            .spawn({
                let hub = hub.clone();
                move || {
                    runtime.block_on(work(&hub, listener));
                    // A name that is being resolved must not hold up the end.
                    runtime.shutdown_timeout(Duration::ZERO);
                }
            })?;
        let thread = Mutex::new(Some(thread));
        let inner = Inner {
            hub,
            address,
            thread,
        };
        Ok(Links {
            inner: Arc::new(inner),
        })
    }

    /// Sends a frame in the current session. `false` if there is none, or if the queue is full: the
    /// link is then cut, and [`LinkEvents::down`] follows.
    pub fn send(&self, to: NodeId, frame: Frame) -> bool {
        self.inner.hub.send(to, None, frame)
    }

    /// Sends a frame unless the session is over that [`LinkEvents::up`] announced with this number
    /// in its [`Hello`]. A caller that handles events in another thread needs this: until it has
    /// handled the end of a session, what it sends belongs to that session and not to the next.
    pub fn send_in(&self, session: u64, to: NodeId, frame: Frame) -> bool {
        self.inner.hub.send(to, Some(session), frame)
    }

    /// Replaces the list of peers. Those that are gone lose their link; a changed address counts
    /// from the next attempt to connect.
    pub fn set_peers(&self, peers: Vec<Peer>) {
        self.inner.hub.set_peers(peers);
    }

    /// Ends the session with a peer; a new one follows.
    pub fn cut(&self, peer: NodeId) {
        self.inner.hub.cut(peer);
    }

    /// Where the listener is, with the port that the system chose if none was given.
    pub fn local_address(&self) -> SocketAddr {
        self.inner.address
    }

    /// How each link is doing, by rising node number.
    pub fn status(&self) -> Vec<LinkStatus> {
        let peers = self.inner.hub.peers();
        peers.iter().map(|peer| peer.status()).collect()
    }

    /// How many incoming connections did not get past the handshake: strangers, refused peers,
    /// bytes of another protocol.
    pub fn rejected(&self) -> u64 {
        self.inner.hub.rejected.load(Ordering::Relaxed)
    }

    /// Closes all connections and ends the thread; no event follows. From the links thread itself
    /// it returns before the thread has ended.
    pub fn close(&self) {
        self.inner.close();
    }
}

impl Inner {
    fn close(&self) {
        let thread = self.thread.lock().take();
        self.hub.close();
        if let Some(thread) = thread
            && thread.thread().id() != std::thread::current().id()
        {
            thread.join().expect("the links thread does not panic");
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.close();
    }
}

async fn work(hub: &Arc<Hub>, listener: TcpListener) {
    let listener = tokio::net::TcpListener::from_std(listener);
    let listener = listener.expect("a bound listener can be registered with a running runtime");
    tokio::spawn(accept::run(hub.clone(), listener));
    tokio::select! {
        biased;
        () = hub.closing.notified() => {}
        () = hub.serve() => {}
    }
}
