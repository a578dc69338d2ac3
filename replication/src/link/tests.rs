//! Links over loopback, with a relay between them that stops, cuts and damages on demand.
//!
//! Waits have a generous bound that only a defect reaches; nothing here measures time.

mod relay;

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use bytes::Bytes;
use parking_lot::Condvar;

use super::*;
use crate::{ClusterId, ConfigurationId, GroupId};
use relay::Relay;

const PATIENCE: Duration = Duration::from_secs(60);
const CLUSTER: ClusterId = ClusterId([5; 16]);

#[derive(Debug, PartialEq)]
enum Event {
    Up(u64, u64),
    Down(u64, String),
    Received(u64, Class, Bytes),
    Refused(u64, String),
}

#[derive(Default)]
struct Recorder {
    events: Mutex<VecDeque<Event>>,
    changed: Condvar,
    /// Why everybody is refused, if so.
    refuse: Mutex<Option<String>>,
}

impl Recorder {
    fn push(&self, event: Event) {
        self.events.lock().push_back(event);
        self.changed.notify_all();
    }

    /// The next event.
    fn next(&self) -> Event {
        let mut events = self.events.lock();
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(event) = events.pop_front() {
                return event;
            }
            assert!(
                !self.changed.wait_until(&mut events, deadline).timed_out(),
                "no event"
            );
        }
    }

    /// Skips events up to the first that fits.
    fn until(&self, fits: impl Fn(&Event) -> bool) -> Event {
        loop {
            let event = self.next();
            if fits(&event) {
                return event;
            }
        }
    }

    fn until_up(&self, node: u64) -> u64 {
        match self.until(|event| matches!(event, Event::Up(n, _) if *n == node)) {
            Event::Up(_, session) => session,
            _ => unreachable!(),
        }
    }

    fn until_down(&self, node: u64) -> String {
        match self.until(|event| matches!(event, Event::Down(n, _) if *n == node)) {
            Event::Down(_, reason) => reason,
            _ => unreachable!(),
        }
    }
}

impl LinkEvents for Recorder {
    fn admit(&self, _: &Hello) -> Result<(), String> {
        self.refuse.lock().clone().map_or(Ok(()), Err)
    }

    fn up(&self, peer: NodeId, hello: &Hello) {
        assert_eq!(hello.node, peer);
        self.push(Event::Up(peer.0, hello.session));
    }

    fn down(&self, peer: NodeId, reason: &str) {
        self.push(Event::Down(peer.0, reason.to_owned()));
    }

    fn received(&self, from: NodeId, frames: &mut Vec<Frame>) {
        for frame in frames.drain(..) {
            self.push(Event::Received(from.0, frame.class, frame.payload));
        }
    }

    fn refused(&self, peer: NodeId, reason: &str) {
        self.push(Event::Refused(peer.0, reason.to_owned()));
    }
}

struct Node {
    id: u64,
    links: Links,
    recorder: Arc<Recorder>,
}

impl Drop for Node {
    fn drop(&mut self) {
        self.links.close();
    }
}

fn config(id: u64, incarnation: u64) -> LinkConfig {
    LinkConfig {
        cluster: CLUSTER,
        node: NodeId(id),
        disk: id,
        incarnation,
        listen: "127.0.0.1:0".parse().unwrap(),
        peers: Vec::new(),
        limits: LinkLimits::default(),
    }
}

fn node_with(config: LinkConfig) -> Node {
    let recorder = Arc::new(Recorder::default());
    Node {
        id: config.node.0,
        links: Links::start(config, recorder.clone()).unwrap(),
        recorder,
    }
}

fn node(id: u64) -> Node {
    node_with(config(id, 1))
}

fn peer(id: u64, address: SocketAddr) -> Peer {
    Peer {
        node: NodeId(id),
        address: address.to_string(),
    }
}

fn introduce(nodes: &[&Node]) {
    for node in nodes {
        let peers = nodes
            .iter()
            .map(|other| peer(other.id, other.links.local_address()));
        node.links.set_peers(peers.collect());
    }
}

fn pair() -> (Node, Node) {
    let (a, b) = (node(1), node(2));
    introduce(&[&a, &b]);
    a.recorder.until_up(2);
    b.recorder.until_up(1);
    (a, b)
}

fn frame(class: Class, payload: impl Into<Bytes>) -> Frame {
    Frame {
        class,
        group: GroupId(1),
        configuration: ConfigurationId(2),
        payload: payload.into(),
    }
}

fn wait_for(what: &str, holds: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Two nodes, of which the first reaches the second through the relay.
fn relayed() -> (Node, Node, Relay) {
    let (a, b) = (node(1), node(2));
    let relay = Relay::to(b.links.local_address());
    a.links.set_peers(vec![peer(2, relay.address)]);
    b.links.set_peers(vec![peer(1, a.links.local_address())]);
    a.recorder.until_up(2);
    b.recorder.until_up(1);
    (a, b, relay)
}

#[test]
fn frames_arrive_in_order_among_three_nodes() {
    let nodes = [node(1), node(2), node(3)];
    introduce(&[&nodes[0], &nodes[1], &nodes[2]]);
    for node in &nodes {
        let ups = [node.recorder.next(), node.recorder.next()];
        assert!(ups.iter().all(|event| matches!(event, Event::Up(..))));
    }
    for number in 0..10_000u32 {
        for (from, to) in [(0, 2), (1, 3), (2, 1)] {
            let class = Class::ALL[number as usize % 2];
            let payload = number.to_le_bytes().to_vec();
            assert!(nodes[from].links.send(NodeId(to), frame(class, payload)));
        }
    }
    for (from, to) in [(1, 1), (2, 2), (3, 0)] {
        let mut next = [0, 1];
        while next != [10_000, 10_001] {
            let Event::Received(node, class, payload) = nodes[to].recorder.next() else {
                panic!("something else happened");
            };
            assert_eq!(node, from);
            let number = u32::from_le_bytes(payload[..].try_into().unwrap());
            assert_eq!(number, next[class as usize]);
            next[class as usize] += 2;
        }
    }
    // A frame leaves the queue when its write has returned, which the receiver may be ahead of.
    wait_for("frames stay queued", || {
        nodes[0].links.status()[0].queued_frames == 0
    });
    let status = &nodes[0].links.status()[0];
    assert_eq!(status.state, LinkState::Up);
    assert_eq!(status.sent[0].frames + status.sent[1].frames, 10_000);
    let round_trip = || nodes[0].links.status()[0].round_trip.is_some();
    wait_for("no probe was answered", round_trip);
}

#[test]
fn no_frame_is_doubled_or_crosses_a_cut_under_load() {
    let impatient = |id| {
        let mut config = config(id, 1);
        config.limits.backoff_max = Duration::from_millis(40);
        node_with(config)
    };
    let (a, b) = (impatient(1), impatient(2));
    introduce(&[&a, &b]);
    let done = Arc::new(AtomicBool::new(false));
    let sender = std::thread::spawn({
        let (links, recorder, done) = (a.links.clone(), a.recorder.clone(), done.clone());
        move || {
            while !done.load(Ordering::SeqCst) {
                let session = recorder.until_up(2);
                let mut number = 0u64;
                loop {
                    let payload = [session.to_le_bytes(), number.to_le_bytes()].concat();
                    if !links.send_in(session, NodeId(2), frame(Class::Ordered, payload)) {
                        break;
                    }
                    number += 1;
                    if number.is_multiple_of(64) {
                        std::thread::yield_now();
                    }
                    if done.load(Ordering::SeqCst) {
                        return;
                    }
                }
            }
        }
    });
    let (mut sessions, mut frames, mut current) = (0, 0u64, None);
    while sessions < 30 {
        match b.recorder.next() {
            Event::Up(..) => current = None,
            Event::Received(_, _, payload) => {
                let number =
                    |at: usize| u64::from_le_bytes(payload[at..at + 8].try_into().unwrap());
                let (session, number) = (number(0), number(8));
                let (of, next) = current.unwrap_or((session, 0));
                assert_eq!(
                    (session, number),
                    (of, next),
                    "sessions are mixed or frames are lost"
                );
                current = Some((session, number + 1));
                frames += 1;
                if number == 500 {
                    sessions += 1;
                    let cutter = [&a, &b][sessions % 2];
                    cutter.links.cut(NodeId(3 - cutter.id));
                }
            }
            Event::Down(..) | Event::Refused(..) => {}
        }
    }
    done.store(true, Ordering::SeqCst);
    a.links.cut(NodeId(2));
    sender.join().unwrap();
    assert!(frames > 15_000);
    assert!(a.links.status()[0].connects >= 30);
}

#[test]
fn a_frame_for_an_ended_session_is_not_sent_in_the_next() {
    let (a, b) = (node(1), node(2));
    introduce(&[&a, &b]);
    let first = a.recorder.until_up(2);
    a.links.cut(NodeId(2));
    let second = a.recorder.until_up(2);
    assert!(
        !a.links
            .send_in(first, NodeId(2), frame(Class::Urgent, "old"))
    );
    assert!(
        a.links
            .send_in(second, NodeId(2), frame(Class::Urgent, "new"))
    );
    let event = b
        .recorder
        .until(|event| matches!(event, Event::Received(..)));
    assert_eq!(event, Event::Received(1, Class::Urgent, "new".into()));
    assert_eq!(a.links.status()[0].cuts.requested, 1);
}

#[test]
fn either_side_may_refuse_and_the_other_learns_why() {
    for refusing in [0, 1] {
        let nodes = [node(1), node(2)];
        *nodes[refusing].recorder.refuse.lock() = Some("your disk is another".to_owned());
        introduce(&[&nodes[0], &nodes[1]]);
        let (own, other) = (&nodes[refusing], &nodes[1 - refusing]);
        let expected = Event::Refused(own.id, "your disk is another".to_owned());
        assert_eq!(other.recorder.next(), expected);
        let status = &other.links.status()[0];
        assert_eq!(status.last_error.as_deref(), Some("your disk is another"));
        assert_eq!(status.state, LinkState::Refused);
        assert!(status.cuts.refused > 0);
        *own.recorder.refuse.lock() = None;
        other.recorder.until_up(own.id);
        own.recorder.until_up(other.id);
    }
}

#[test]
fn the_dialing_side_may_refuse_too() {
    let (a, b) = (node(1), node(2));
    *a.recorder.refuse.lock() = Some("not you".to_owned());
    // Only the first connects, so its refusal is the third message of a handshake.
    let nowhere = TcpListener::bind("127.0.0.1:0").unwrap();
    b.links
        .set_peers(vec![peer(1, nowhere.local_addr().unwrap())]);
    a.links.set_peers(vec![peer(2, b.links.local_address())]);
    assert_eq!(b.recorder.next(), Event::Refused(1, "not you".to_owned()));
    wait_for("the refusing side does not show it", || {
        a.links.status()[0].last_error.as_deref() == Some("not you")
    });
}

#[test]
fn another_cluster_and_a_stranger_are_refused() {
    let a = node(1);
    let b = node_with(LinkConfig {
        cluster: ClusterId([6; 16]),
        ..config(2, 1)
    });
    let stranger = node(3);
    introduce(&[&a, &b]);
    stranger
        .links
        .set_peers(vec![peer(1, a.links.local_address())]);
    for (node, word) in [(&a, "cluster"), (&b, "cluster"), (&stranger, "not a peer")] {
        let Event::Refused(_, reason) = node.recorder.next() else {
            panic!("not refused");
        };
        assert!(reason.contains(word), "{reason}");
    }
    assert!(a.links.rejected() > 0);
}

#[test]
fn an_older_incarnation_is_refused_and_a_newer_one_replaces_it() {
    let (a, b) = (node(1), node_with(config(2, 7)));
    introduce(&[&a, &b]);
    a.recorder.until_up(2);
    drop(b);
    a.recorder.until_down(2);
    let old = node_with(config(2, 6));
    introduce(&[&a, &old]);
    let Event::Refused(1, reason) = old.recorder.next() else {
        panic!("not refused");
    };
    assert!(reason.contains("incarnation 6"), "{reason}");
    let new = node_with(config(2, 8));
    introduce(&[&a, &new]);
    a.recorder.until_up(2);
    new.recorder.until_up(1);
    assert_eq!(a.links.status()[0].incarnation, Some(8));
}

#[test]
fn a_peer_with_a_new_address_is_found_there() {
    let (a, b) = pair();
    drop(b);
    a.recorder.until_down(2);
    let b = node_with(config(2, 2));
    introduce(&[&a, &b]);
    a.recorder.until_up(2);
    a.links.set_peers(Vec::new());
    a.recorder.until_down(2);
    assert!(a.links.status().is_empty());
    assert!(!a.links.send(NodeId(2), frame(Class::Urgent, "x")));
}

#[test]
fn another_version_is_told_ours() {
    let a = node(1);
    let mut stream = TcpStream::connect(a.links.local_address()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(b"BWLINK\r\n\x63\0\0\0\0\0\0\0").unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    assert_eq!(answer[..12], *b"BWLINK\r\n\x01\0\0\0");
    assert!(String::from_utf8_lossy(&answer).contains("version 99"));
    wait_for("the connection is not counted", || a.links.rejected() == 1);
}

#[test]
fn silent_strangers_do_not_keep_a_peer_out() {
    let mut config = config(1, 1);
    config.limits.max_handshakes = 4;
    config.limits.handshake_timeout = PATIENCE;
    let a = node_with(config);
    let address = a.links.local_address();
    let strangers: Vec<_> = (0..10)
        .map(|_| TcpStream::connect(address).unwrap())
        .collect();
    let b = node(2);
    introduce(&[&a, &b]);
    a.recorder.until_up(2);
    assert!(a.links.rejected() >= 6);
    drop(strangers);
}

#[test]
fn a_flipped_bit_and_an_oversized_frame_close_the_link_and_are_counted() {
    let (a, b, relay) = relayed();
    relay.flip();
    a.links.send(NodeId(2), frame(Class::Ordered, vec![7; 100]));
    assert!(b.recorder.until_down(1).contains("checksum"));
    a.recorder.until_down(2);
    assert_eq!(b.links.status()[0].cuts.malformed, 1);

    let mut config = config(3, 1);
    config.limits.max_message_bytes = 1000;
    let small = node_with(config);
    introduce(&[&a, &small]);
    a.recorder.until_up(3);
    small.recorder.until_up(1);
    a.links
        .send(NodeId(3), frame(Class::Ordered, vec![7; 1001]));
    assert!(small.recorder.until_down(1).contains("1001"));
    assert_eq!(small.links.status()[0].cuts.oversized, 1);
    drop(relay);
}

#[test]
fn a_peer_that_falls_silent_is_given_up_by_both_and_found_again() {
    for (there, back) in [(true, true), (true, false), (false, true)] {
        let (a, b, relay) = relayed();
        relay.swallow(there, back);
        a.recorder.until_down(2);
        b.recorder.until_down(1);
        let timeouts = a.links.status()[0].cuts.timeout + b.links.status()[0].cuts.timeout;
        assert!(timeouts > 0);
        relay.swallow(false, false);
        a.recorder.until_up(2);
        b.recorder.until_up(1);
        drop(relay);
    }
}

#[test]
fn an_urgent_frame_passes_a_big_ordered_one_and_bulk_goes_beside() {
    let (a, b) = pair();
    let big = Bytes::from(vec![9; 16 << 20]);
    assert!(a.links.send(NodeId(2), frame(Class::Ordered, big.clone())));
    assert!(a.links.send(NodeId(2), frame(Class::Urgent, "now")));
    assert_eq!(
        b.recorder.next(),
        Event::Received(1, Class::Urgent, "now".into())
    );
    let event = b.recorder.next();
    assert!(matches!(event, Event::Received(1, Class::Ordered, payload) if payload == big));
    let bulk = big.slice(..10 << 20);
    assert!(a.links.send(NodeId(2), frame(Class::Bulk, bulk.clone())));
    assert!(b.links.send(NodeId(1), frame(Class::Bulk, bulk.clone())));
    for node in [&a, &b] {
        let event = node.recorder.next();
        assert!(matches!(event, Event::Received(_, Class::Bulk, payload) if payload == bulk));
    }
}

#[test]
fn a_full_queue_cuts_the_link() {
    let (a, b, relay) = relayed();
    relay.swallow(true, true);
    let big = Bytes::from(vec![0; 8 << 20]);
    let sends = (0..9).map(|_| a.links.send(NodeId(2), frame(Class::Bulk, big.clone())));
    assert!(sends.collect::<Vec<_>>().contains(&false));
    assert!(a.recorder.until_down(2).contains("queue is full"));
    assert!(a.links.status()[0].cuts.overflow == 1);
    assert_eq!(a.links.status()[0].queued_bytes, 0);
    relay.swallow(false, false);
    a.recorder.until_up(2);
    b.recorder.until_up(1);
    drop(relay);
}

#[test]
fn a_taken_port_is_an_error_and_close_frees_it() {
    let (a, b) = pair();
    let address = a.links.local_address();
    let again = || LinkConfig {
        listen: address,
        ..config(1, 2)
    };
    let error = Links::start(again(), Arc::new(Recorder::default()))
        .err()
        .unwrap();
    assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    a.links.close();
    a.links.close();
    assert!(!a.links.send(NodeId(2), frame(Class::Urgent, "x")));
    b.recorder.until_down(1);
    // The thread holds the events as long as it runs; afterwards only the two here are left.
    assert!(a.links.inner.thread.lock().is_none());
    let a = node_with(again());
    introduce(&[&a, &b]);
    b.recorder.until_up(1);
}
