//! A network between nodes that can be made to fail while it runs.
//!
//! Owns one listening port for each ordered pair of nodes: what node *a* opens towards node *b*
//! goes through the port (*a*, *b*) to *b*'s real peer port, and so each connection of a pair can
//! be hurt by itself. A link's outgoing connection carries data one way and mere signs of life the
//! other, so holding the port (*a*, *b*) keeps *a*'s messages from *b* while *b*'s still reach *a*.
//!
//! What a [`Rule`] can do: *cut* resets connections and refuses new ones, as a host does whose
//! process is gone; *held* bytes wait, with the sockets open, as packets do that a network loses
//! and TCP sends again until the network is back; *delay* makes each byte late, in order. A
//! connection that is opened while something is held reaches the other side only if its opener is
//! still there when nothing is held any more, since a real one would not have been established.
//!
//! One thread does all of it. How it fails: a target that does not listen resets the connection.

use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result};
use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

/// How many chunks may be under way in one direction; more make the sender wait.
const QUEUE_CHUNKS: usize = 256;

/// Bytes of one chunk.
const CHUNK_BYTES: usize = 32 * 1024;

/// What happens to bytes in one direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flow {
    /// Nothing gets through; nobody is told.
    pub held: bool,
    /// How late each byte is.
    pub delay_ms: u64,
    /// Up to so much is added at random; order is kept.
    pub jitter_ms: u64,
}

/// What happens to the connections that one node opens towards another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rule {
    /// Connections are reset, new ones, too.
    pub cut: bool,
    /// From the opener to the other.
    pub there: Flow,
    /// From the other to the opener.
    pub back: Flow,
}

impl Rule {
    /// Connections are reset and refused.
    pub const CUT: Self = Self {
        cut: true,
        ..Self::OPEN
    };
    /// Nothing gets through either way.
    pub const HELD: Self = Self {
        cut: false,
        there: Flow::HELD,
        back: Flow::HELD,
    };
    /// All gets through at once.
    pub const OPEN: Self = Self {
        cut: false,
        there: Flow::OPEN,
        back: Flow::OPEN,
    };

    /// All gets through, late.
    #[must_use]
    pub const fn slow(delay_ms: u64, jitter_ms: u64) -> Self {
        let flow = Flow {
            held: false,
            delay_ms,
            jitter_ms,
        };
        Self {
            cut: false,
            there: flow,
            back: flow,
        }
    }

    fn is_held(&self) -> bool {
        self.there.held || self.back.held
    }
}

impl Flow {
    const OPEN: Self = Self {
        held: false,
        delay_ms: 0,
        jitter_ms: 0,
    };
    const HELD: Self = Self {
        held: true,
        ..Self::OPEN
    };
}

/// A running relay; dropping it resets all its connections.
pub struct Relay {
    links: BTreeMap<(u32, u32), Link>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

struct Link {
    address: SocketAddr,
    rule: watch::Sender<Rule>,
}

impl Relay {
    /// Listens for every ordered pair of these nodes. Nobody needs to listen at their addresses
    /// yet.
    ///
    /// # Errors
    /// There is no port or no thread to be had.
    pub fn start(nodes: &BTreeMap<u32, SocketAddr>) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let mut links = BTreeMap::new();
        for from in nodes.keys() {
            for (to, target) in nodes.iter().filter(|(to, _)| *to != from) {
                let (rule, rules) = watch::channel(Rule::OPEN);
                let any_port = (Ipv4Addr::LOCALHOST, 0);
                let listener = runtime.block_on(TcpListener::bind(any_port))?;
                let address = listener.local_addr()?;
                links.insert((*from, *to), Link { address, rule });
                runtime.spawn(accept(listener, *target, rules));
            }
        }
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::Builder::new()
            .name("relay".to_owned())
            .spawn(move || {
                // Either way the relay is over, and so are its tasks.
                let _ = runtime.block_on(stopped);
            })
            .context("cannot start the relay's thread")?;
        Ok(Self {
            links,
            stop: Some(stop),
            thread: Some(thread),
        })
    }

    /// Where node `from` finds node `to`.
    ///
    /// # Panics
    /// If there is no such pair.
    #[must_use]
    pub fn address(&self, from: u32, to: u32) -> SocketAddr {
        self.link(from, to).address
    }

    /// Sets what happens to connections that node `from` opens towards node `to`.
    ///
    /// # Panics
    /// If there is no such pair.
    pub fn set(&self, from: u32, to: u32, rule: Rule) {
        self.link(from, to).rule.send_replace(rule);
    }

    /// Sets what happens to connections between two nodes, whoever opens them.
    ///
    /// # Panics
    /// If there is no such pair.
    pub fn set_both(&self, a: u32, b: u32, rule: Rule) {
        self.set(a, b, rule);
        self.set(b, a, rule);
    }

    /// Sets what happens to all connections of one node.
    pub fn set_all_of(&self, node: u32, rule: Rule) {
        for (from, to) in self.links.keys() {
            if *from == node || *to == node {
                self.set(*from, *to, rule);
            }
        }
    }

    /// Loses every byte from node `from` to node `to`, of whosever connection; those from `to` to
    /// `from` get through.
    ///
    /// # Panics
    /// If there is no such pair.
    pub fn hold_one_way(&self, from: u32, to: u32) {
        self.link(from, to)
            .rule
            .send_modify(|rule| rule.there.held = true);
        self.link(to, from)
            .rule
            .send_modify(|rule| rule.back.held = true);
    }

    /// All gets through again.
    pub fn heal(&self) {
        for link in self.links.values() {
            link.rule.send_replace(Rule::OPEN);
        }
    }

    fn link(&self, from: u32, to: u32) -> &Link {
        self.links
            .get(&(from, to))
            .unwrap_or_else(|| panic!("there is no link from node {from} to node {to}"))
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

async fn accept(listener: TcpListener, target: SocketAddr, rules: watch::Receiver<Rule>) {
    loop {
        match listener.accept().await {
            Ok((opener, _)) => drop(tokio::spawn(connection(opener, target, rules.clone()))),
            // Out of descriptors, most likely; some connection will end.
            Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    }
}

async fn connection(mut opener: TcpStream, target: SocketAddr, mut rules: watch::Receiver<Rule>) {
    let Some(early) = wait_for_way(&mut opener, &mut rules).await else {
        return reset(&opener);
    };
    let Ok(mut other) = TcpStream::connect(target).await else {
        return reset(&opener);
    };
    let both = [opener.set_nodelay(true), other.set_nodelay(true)];
    if both.iter().any(Result::is_err) || other.write_all(&early).await.is_err() {
        return reset(&opener);
    }
    let mut cut = rules.clone();
    let done = {
        let (opener_read, opener_write) = opener.split();
        let (other_read, other_write) = other.split();
        let there = pump(opener_read, other_write, rules.clone(), |rule| rule.there);
        let back = pump(other_read, opener_write, rules.clone(), |rule| rule.back);
        tokio::select! {
            done = async { tokio::try_join!(there, back) } => done.is_ok(),
            _ = cut.wait_for(|rule| rule.cut) => false,
        }
    };
    if !done {
        // That one side is gone does not get through while something is held.
        let _ = rules.wait_for(|rule| rule.cut || !rule.is_held()).await;
        reset(&opener);
        reset(&other);
    }
}

/// Waits until nothing is held, and returns what has arrived until then; nothing if the opener is
/// gone by then or the link is cut.
async fn wait_for_way(
    opener: &mut TcpStream,
    rules: &mut watch::Receiver<Rule>,
) -> Option<Vec<u8>> {
    let mut early = Vec::new();
    loop {
        let rule = *rules.borrow_and_update();
        if rule.cut {
            return None;
        }
        if !rule.is_held() {
            return Some(early);
        }
        let has_room = early.len() < CHUNK_BYTES;
        tokio::select! {
            changed = rules.changed() => changed.ok()?,
            read = opener.read_buf(&mut early), if has_room => {
                if read.ok()? == 0 {
                    return None;
                }
            }
        }
    }
}

/// Moves bytes one way until their end.
async fn pump(
    mut from: ReadHalf<'_>,
    mut to: WriteHalf<'_>,
    rules: watch::Receiver<Rule>,
    flow: fn(&Rule) -> Flow,
) -> io::Result<()> {
    let (sender, mut receiver) = mpsc::channel::<(Instant, Vec<u8>)>(QUEUE_CHUNKS);
    let (mut reader_rules, mut writer_rules) = (rules.clone(), rules);
    let take = async move {
        let mut due = Instant::now();
        loop {
            until_open(&mut reader_rules, flow).await?;
            let mut chunk = Vec::with_capacity(CHUNK_BYTES);
            let read = tokio::select! {
                read = from.read_buf(&mut chunk) => read?,
                _ = reader_rules.wait_for(|rule| flow(rule).held) => continue,
            };
            let flow = flow(&reader_rules.borrow());
            let late_ms = flow.delay_ms + fastrand::u64(..=flow.jitter_ms);
            due = due.max(Instant::now() + Duration::from_millis(late_ms));
            if sender.send((due, chunk)).await.is_err() || read == 0 {
                return io::Result::Ok(());
            }
        }
    };
    let give = async move {
        while let Some((due, chunk)) = receiver.recv().await {
            tokio::time::sleep_until(due).await;
            until_open(&mut writer_rules, flow).await?;
            to.write_all(&chunk).await?;
        }
        to.shutdown().await
    };
    tokio::try_join!(take, give).map(|_| ())
}

async fn until_open(rules: &mut watch::Receiver<Rule>, flow: fn(&Rule) -> Flow) -> io::Result<()> {
    let open = rules.wait_for(|rule| !flow(rule).held).await;
    open.map(|_| ()).map_err(io::Error::other)
}

/// Has the close that follows be a reset.
fn reset(stream: &TcpStream) {
    // If it fails the connection is gone already.
    let _ = SockRef::from(stream).set_linger(Some(Duration::ZERO));
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};

    use super::*;
    use crate::server::DEADLINE;

    /// Node 2 sends back what it gets; node 1 does not listen.
    fn echo() -> Relay {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                std::thread::spawn(move || {
                    let mut copy = stream.try_clone().unwrap();
                    let _ = std::io::copy(&mut stream, &mut copy);
                });
            }
        });
        let nowhere = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap();
        Relay::start(&BTreeMap::from([(1, nowhere), (2, address)])).unwrap()
    }

    fn connect(relay: &Relay) -> TcpStream {
        let stream = TcpStream::connect(relay.address(1, 2)).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream
    }

    fn ask(stream: &mut TcpStream, bytes: &[u8]) {
        stream.write_all(bytes).unwrap();
        answered(stream, bytes);
    }

    fn answered(stream: &mut TcpStream, bytes: &[u8]) {
        let mut answer = vec![0; bytes.len()];
        stream.read_exact(&mut answer).unwrap();
        assert_eq!(answer, bytes);
    }

    fn is_silent(stream: &mut TcpStream) -> bool {
        stream
            .set_read_timeout(Some(Duration::from_millis(50)))
            .unwrap();
        let silent = matches!(stream.read(&mut [0]), Err(error)
            if error.kind() == io::ErrorKind::WouldBlock);
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        silent
    }

    fn is_closed(stream: &mut TcpStream) -> bool {
        match stream.read(&mut [0]) {
            Ok(count) => count == 0,
            Err(error) => error.kind() == io::ErrorKind::ConnectionReset,
        }
    }

    #[test]
    fn bytes_pass_in_order_and_an_end_passes_too() {
        let relay = echo();
        let mut stream = connect(&relay);
        let bytes: Vec<u8> = (0..3_000_000_u32).map(|n| (n / 7) as u8).collect();
        let mut writer = stream.try_clone().unwrap();
        let sent = bytes.clone();
        let thread = std::thread::spawn(move || writer.write_all(&sent).unwrap());
        answered(&mut stream, &bytes);
        thread.join().unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        assert_eq!(stream.read(&mut [0]).unwrap(), 0);
    }

    #[test]
    fn held_bytes_arrive_when_the_link_is_healed() {
        let relay = echo();
        let mut stream = connect(&relay);
        ask(&mut stream, b"before");
        for way in [
            |relay: &Relay| relay.hold_one_way(1, 2),
            |relay: &Relay| {
                relay.hold_one_way(2, 1);
            },
        ] {
            way(&relay);
            stream.write_all(b"during").unwrap();
            // A side that holds nothing takes it; it is its echo that is held then.
            let back = Rule {
                back: Flow::HELD,
                ..Rule::OPEN
            };
            relay.set(1, 2, back);
            assert!(is_silent(&mut stream));
            relay.heal();
            answered(&mut stream, b"during");
        }
    }

    #[test]
    fn a_cut_resets_and_refuses_until_it_is_healed() {
        let relay = echo();
        let mut stream = connect(&relay);
        ask(&mut stream, b"before");
        relay.set_both(1, 2, Rule::CUT);
        assert!(is_closed(&mut stream));
        assert!(is_closed(&mut connect(&relay)));
        relay.heal();
        ask(&mut connect(&relay), b"after");
    }

    #[test]
    fn a_connection_opened_into_a_hole_arrives_only_if_its_opener_stays() {
        let relay = echo();
        relay.set_all_of(2, Rule::HELD);
        let mut stays = connect(&relay);
        stays.write_all(b"still here").unwrap();
        assert!(is_silent(&mut stays));
        drop(connect(&relay));
        relay.heal();
        answered(&mut stays, b"still here");
    }

    #[test]
    fn delayed_bytes_are_late_and_in_order() {
        let relay = echo();
        let mut stream = connect(&relay);
        relay.set(1, 2, Rule::slow(20, 20));
        let start = std::time::Instant::now();
        for n in 0..5_u8 {
            ask(&mut stream, &[n; 100]);
        }
        // There and back, at least.
        assert!(start.elapsed() >= Duration::from_millis(5 * 40));
    }

    #[test]
    fn a_target_that_does_not_listen_closes_the_connection() {
        let relay = echo();
        let mut stream = TcpStream::connect(relay.address(2, 1)).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        assert!(is_closed(&mut stream));
    }
}
