//! Distance between nodes of one process: a relay that passes bytes on late.
//!
//! Owns a listener for each region and each node outside of it; nodes of the region find that node
//! there. Whatever arrives is passed on in order, each byte half a round trip after it came, in
//! either direction and for any number of connections at once. So a request and its answer take a
//! whole round trip, as between places that far apart, and throughput is not limited by it: many
//! chunks are under way at a time.
//!
//! Not here: loss, cuts, limits of bandwidth. A connection whose target does not listen is closed,
//! and one whose either end is gone closes the other.

use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use bailiwick_replication::NodeId;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

/// Chunks under way in one direction of a connection; the sender of more waits.
const QUEUE_CHUNKS: usize = 256;

/// Bytes of a chunk.
const CHUNK_BYTES: usize = 32 * 1024;

/// Between two attempts to accept when the process has no descriptor left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(10);

/// A node as the relay sees it.
#[derive(Clone, Debug)]
pub(super) struct Target {
    pub(super) node: NodeId,
    pub(super) region: String,
    /// Where it listens for other nodes.
    pub(super) peer: SocketAddr,
}

/// A running relay. Dropping it closes all its connections.
pub(super) struct Relay {
    /// By the region of the one who calls, and the node that is called.
    addresses: BTreeMap<(String, NodeId), SocketAddr>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Relay {
    /// Stands between all regions of these nodes, which need not listen yet.
    ///
    /// # Errors
    /// There is no port or no thread to be had.
    pub(super) fn start(targets: &[Target], round_trip: Duration) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let mut addresses = BTreeMap::new();
        for from in targets {
            for to in targets.iter().filter(|to| to.region != from.region) {
                let way = (from.region.clone(), to.node);
                if addresses.contains_key(&way) {
                    continue;
                }
                let listener = runtime.block_on(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))?;
                addresses.insert(way, listener.local_addr()?);
                runtime.spawn(accept(listener, to.peer, round_trip / 2));
            }
        }
        let (stop, stopped) = oneshot::channel();
        let thread = thread::Builder::new()
            .name("distance".to_owned())
            .spawn(move || {
                // Told to stop or forgotten: either way it is over, and its tasks with it.
                let _ = runtime.block_on(stopped);
            })?;
        Ok(Self {
            addresses,
            stop: Some(stop),
            thread: Some(thread),
        })
    }

    /// Where nodes of a region find a node; `None` if it is one of them, and near.
    pub(super) fn address(&self, from_region: &str, to: NodeId) -> Option<SocketAddr> {
        self.addresses.get(&(from_region.to_owned(), to)).copied()
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

async fn accept(listener: TcpListener, target: SocketAddr, delay: Duration) {
    loop {
        match listener.accept().await {
            Ok((caller, _)) => drop(tokio::spawn(connection(caller, target, delay))),
            Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
        }
    }
}

/// Serves one connection until either end is gone; then both are closed, which both notice.
async fn connection(caller: TcpStream, target: SocketAddr, delay: Duration) {
    let Ok(called) = TcpStream::connect(target).await else {
        return;
    };
    if caller.set_nodelay(true).is_err() || called.set_nodelay(true).is_err() {
        return;
    }
    let (from_caller, to_caller) = caller.into_split();
    let (from_called, to_called) = called.into_split();
    tokio::select! {
        () = pump(from_caller, to_called, delay) => {}
        () = pump(from_called, to_caller, delay) => {}
    }
}

/// Passes bytes on until there are no more, and what is under way then, too.
async fn pump(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, delay: Duration) {
    let (sender, mut receiver) = mpsc::channel::<(Instant, Vec<u8>)>(QUEUE_CHUNKS);
    let take = async move {
        loop {
            let mut chunk = Vec::with_capacity(CHUNK_BYTES);
            match from.read_buf(&mut chunk).await {
                Ok(0) | Err(_) => return,
                Ok(_) => {}
            }
            if sender.send((Instant::now() + delay, chunk)).await.is_err() {
                return;
            }
        }
    };
    let give = async move {
        while let Some((due, chunk)) = receiver.recv().await {
            tokio::time::sleep_until(due).await;
            if to.write_all(&chunk).await.is_err() {
                return;
            }
        }
    };
    tokio::join!(take, give);
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(60);

    fn target(node: u64, region: &str, peer: SocketAddr) -> Target {
        Target {
            node: NodeId(node),
            region: region.to_owned(),
            peer,
        }
    }

    /// Node 1 in one place, node 2, which sends back what it gets, in another.
    fn with_echo(round_trip: Duration) -> Relay {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let peer = listener.local_addr().unwrap();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                thread::spawn(move || {
                    let mut copy = stream.try_clone().unwrap();
                    let _ = io::copy(&mut stream, &mut copy);
                });
            }
        });
        let nowhere = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let nowhere = nowhere.local_addr().unwrap();
        Relay::start(&[target(1, "a", nowhere), target(2, "b", peer)], round_trip).unwrap()
    }

    fn connect(address: Option<SocketAddr>) -> std::net::TcpStream {
        let stream = std::net::TcpStream::connect(address.unwrap()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    #[test]
    fn an_answer_takes_at_least_the_round_trip() {
        let round_trip = Duration::from_millis(30);
        let relay = with_echo(round_trip);
        let mut stream = connect(relay.address("a", NodeId(2)));
        for n in 0..3_u8 {
            let asked = std::time::Instant::now();
            stream.write_all(&[n; 10]).unwrap();
            let mut answer = [0; 10];
            stream.read_exact(&mut answer).unwrap();
            assert_eq!(answer, [n; 10]);
            assert!(asked.elapsed() >= round_trip, "{:?}", asked.elapsed());
        }
    }

    #[test]
    fn many_bytes_arrive_in_order() {
        let relay = with_echo(Duration::from_millis(2));
        let mut stream = connect(relay.address("a", NodeId(2)));
        let bytes: Vec<u8> = (0..3_000_000_u32).map(|n| (n / 7) as u8).collect();
        let mut writer = stream.try_clone().unwrap();
        let sent = bytes.clone();
        let writing = thread::spawn(move || writer.write_all(&sent).unwrap());
        let mut answer = vec![0; bytes.len()];
        stream.read_exact(&mut answer).unwrap();
        assert!(answer == bytes, "bytes came in another order");
        writing.join().unwrap();
    }

    #[test]
    fn only_nodes_of_other_regions_are_far() {
        let relay = with_echo(Duration::ZERO);
        assert_eq!(relay.address("a", NodeId(1)), None);
        assert_eq!(relay.address("b", NodeId(2)), None);
        assert!(relay.address("b", NodeId(1)).is_some());
    }

    #[test]
    fn a_node_that_does_not_listen_closes_the_connection() {
        let relay = with_echo(Duration::ZERO);
        let mut stream = connect(relay.address("b", NodeId(1)));
        let read = stream.read(&mut [0]);
        assert!(matches!(read, Ok(0) | Err(_)), "{read:?}");
    }
}
