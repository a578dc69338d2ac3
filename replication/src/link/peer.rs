//! One peer: its session, its queue, its counters, and the events about it.
//!
//! Owns the order of events: state changes happen under the lock, on the links thread alone, and
//! the event follows after the lock is released and before any connection acts on the change. A
//! queue can also be closed by a sender, which then asks for a cut.

use std::cmp::Ordering;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::handshake::Identity;
use super::queue::Queue;
use super::session::{Change, Session, Signal, Slot, Stamp};
use super::status::{Cause, Cuts, Ended, LinkState, LinkStatus, Traffic};
use super::types::{Frame, Hello, LinkEvents};
use crate::NodeId;

/// What the links know of one peer.
pub(super) struct PeerLink {
    pub(super) node: NodeId,
    pub(super) queue: Mutex<Queue>,
    /// Ends the wait before the next attempt to connect.
    pub(super) retry: Notify,
    state: Mutex<State>,
}

struct State {
    address: String,
    session: Session,
    /// The peer as the current or last session knew it.
    hello: Option<Hello>,
    label: LinkState,
    since: Instant,
    up_since: Option<Instant>,
    waiting: bool,
    removed: bool,
    bulk_dialing: bool,
    refusal: Option<String>,
    counters: Counters,
}

#[derive(Default)]
struct Counters {
    sent: [Traffic; 3],
    received: [Traffic; 3],
    connects: u64,
    cuts: Cuts,
    last_error: Option<String>,
    round_trip: Option<Duration>,
}

impl PeerLink {
    pub(super) fn new(node: NodeId, address: String, epoch: u64) -> PeerLink {
        PeerLink {
            node,
            queue: Mutex::default(),
            retry: Notify::new(),
            state: Mutex::new(State {
                address,
                session: Session::new(epoch),
                hello: None,
                label: LinkState::Connecting,
                since: Instant::now(),
                up_since: None,
                waiting: false,
                removed: false,
                bulk_dialing: false,
                refusal: None,
                counters: Counters::default(),
            }),
        }
    }

    pub(super) fn address(&self) -> String {
        self.state.lock().address.clone()
    }

    /// Changes where the peer is connected to, from the next attempt on.
    pub(super) fn set_address(&self, address: String) {
        let mut state = self.state.lock();
        if state.address != address {
            state.address = address;
            self.retry_now(&state);
        }
    }

    pub(super) fn epoch(&self) -> u64 {
        self.state.lock().session.epoch()
    }

    pub(super) fn is_up(&self) -> bool {
        self.state.lock().session.is_up()
    }

    pub(super) fn is_removed(&self) -> bool {
        self.state.lock().removed
    }

    /// A refusal if a stamp is of an incarnation before the newest one seen.
    pub(super) fn check_incarnation(&self, stamp: Stamp) -> Result<(), String> {
        match self.state.lock().session.incarnation_of(stamp.disk) {
            Some(newest) if stamp.incarnation < newest => Err(format!(
                "incarnation {} of node {} is over, {newest} has been seen",
                stamp.incarnation, self.node.0
            )),
            _ => Ok(()),
        }
    }

    /// Whether a connection in `slot` could enter the session now.
    pub(super) fn is_timely(&self, slot: Slot, stamp: Stamp) -> bool {
        let session = &self.state.lock().session;
        match session.compare(stamp) {
            Ordering::Less => false,
            Ordering::Equal => session.is_up() || !slot.is_bulk(),
            Ordering::Greater => !slot.is_bulk(),
        }
    }

    /// A connection has completed its handshake; whether it belongs to the session now.
    pub(super) fn enter(
        &self,
        events: &dyn LinkEvents,
        slot: Slot,
        signal: &Arc<Signal>,
        epoch: u64,
        peer: &Identity,
    ) -> bool {
        let mut state = self.state.lock();
        let change = state.session.enter(slot, signal, epoch, peer.stamp());
        if change.went_down {
            drop(state);
            self.down(events, "the peer has begun a new session");
            state = self.state.lock();
        }
        if slot == Slot::In && change.entered && !change.went_up {
            self.retry_now(&state);
        }
        if change.went_up {
            self.up(events, state, peer.hello);
        }
        change.entered
    }

    /// A connection has ended by itself.
    pub(super) fn lost(&self, events: &dyn LinkEvents, signal: &Arc<Signal>, ended: &Ended) {
        let mut state = self.state.lock();
        state.counters.note(ended);
        let change = state.session.lose(signal);
        drop(state);
        self.finish(events, &change, &ended.reason);
    }

    /// Ends all connections.
    pub(super) fn cut(&self, events: &dyn LinkEvents, ended: &Ended) {
        let mut state = self.state.lock();
        state.counters.note(ended);
        let went_down = state.session.cut();
        drop(state);
        let change = Change {
            went_down,
            ..Change::default()
        };
        self.finish(events, &change, &ended.reason);
    }

    /// Ends all connections for good.
    pub(super) fn remove(&self, events: &dyn LinkEvents) {
        self.state.lock().removed = true;
        let reason = "the node is no longer a peer";
        self.cut(events, &Ended::new(Cause::Requested, reason));
        self.retry.notify_one();
    }

    /// An attempt to connect begins.
    pub(super) fn attempt(&self) {
        let mut state = self.state.lock();
        if state.label == LinkState::Down {
            state.label(LinkState::Connecting);
        }
    }

    /// The link waits before its next attempt, or no longer.
    pub(super) fn set_waiting(&self, waiting: bool) {
        let mut state = self.state.lock();
        state.waiting = waiting;
        if waiting && state.label == LinkState::Connecting {
            state.label(LinkState::Down);
        }
    }

    /// An attempt failed before a connection stood.
    pub(super) fn failed(&self, ended: &Ended) {
        let mut state = self.state.lock();
        state.counters.note(ended);
        if state.label == LinkState::Refused {
            state.label(LinkState::Down);
        }
    }

    /// This node does not admit the peer.
    pub(super) fn refuse(&self, reason: &str) {
        let mut state = self.state.lock();
        state.counters.note(&Ended::new(Cause::Refused, reason));
        if !state.session.is_up() {
            state.label(LinkState::Refused);
        }
    }

    /// The peer does not admit this node.
    pub(super) fn refused(&self, events: &dyn LinkEvents, reason: &str) {
        self.refuse(reason);
        let known = self.state.lock().refusal.replace(reason.to_owned());
        if known.as_deref() != Some(reason) {
            events.refused(self.node, reason);
        }
    }

    /// For how long the session has been up.
    pub(super) fn uptime(&self) -> Option<Duration> {
        self.state
            .lock()
            .up_since
            .take()
            .map(|since| since.elapsed())
    }

    /// Wakes the connections for which something waits; whether a bulk connection is missing.
    pub(super) fn dispatch(&self) -> bool {
        let [consensus, bulk] = self.queue.lock().signaled();
        let mut state = self.state.lock();
        let nudge = |slot| {
            state
                .session
                .get(slot)
                .map(|signal| signal.nudge.notify_one())
        };
        if consensus {
            nudge(Slot::Out);
        }
        let missing = bulk && nudge(Slot::BulkOut).is_none();
        let missing = missing && state.session.is_up() && !state.bulk_dialing;
        state.bulk_dialing |= missing;
        missing
    }

    pub(super) fn bulk_dialed(&self) {
        self.state.lock().bulk_dialing = false;
    }

    /// Hands frames over to whom they are for, and counts them.
    pub(super) fn deliver(&self, events: &dyn LinkEvents, frames: &mut Vec<Frame>) {
        let mut state = self.state.lock();
        for frame in frames.iter() {
            state.counters.received[frame.class as usize].add(1, frame.payload.len());
        }
        drop(state);
        events.received(self.node, frames);
        frames.clear();
    }

    pub(super) fn count_sent(&self, sent: [(usize, usize); 3]) {
        if sent.iter().any(|(frames, _)| *frames > 0) {
            let mut state = self.state.lock();
            for (counter, (frames, bytes)) in state.counters.sent.iter_mut().zip(sent) {
                counter.add(frames, bytes);
            }
        }
    }

    pub(super) fn set_round_trip(&self, round_trip: Duration) {
        self.state.lock().counters.round_trip = Some(round_trip);
    }

    pub(super) fn status(&self) -> LinkStatus {
        let (queued_frames, queued_bytes) = self.queue.lock().len();
        let state = self.state.lock();
        let counters = &state.counters;
        LinkStatus {
            node: self.node,
            address: state.address.clone(),
            state: state.label,
            since: state.since,
            incarnation: state.hello.map(|hello| hello.incarnation),
            sent: counters.sent,
            received: counters.received,
            queued_frames,
            queued_bytes,
            connects: counters.connects,
            cuts: counters.cuts,
            last_error: counters.last_error.clone(),
            round_trip: counters.round_trip,
        }
    }

    fn up(
        &self,
        events: &dyn LinkEvents,
        mut state: parking_lot::MutexGuard<'_, State>,
        hello: Hello,
    ) {
        state.counters.connects += 1;
        state.refusal = None;
        state.label(LinkState::Up);
        state.up_since = Some(state.since);
        let session = state.counters.connects;
        let hello = Hello { session, ..hello };
        state.hello = Some(hello);
        drop(state);
        self.queue.lock().open(session);
        events.up(self.node, &hello);
        self.state.lock().session.go();
    }

    fn down(&self, events: &dyn LinkEvents, reason: &str) {
        self.queue.lock().close();
        self.state.lock().label(LinkState::Connecting);
        events.down(self.node, reason);
    }

    fn finish(&self, events: &dyn LinkEvents, change: &Change, reason: &str) {
        if change.went_down {
            self.down(events, reason);
        }
    }

    fn retry_now(&self, state: &State) {
        if state.waiting {
            self.retry.notify_one();
        }
    }
}

impl State {
    fn label(&mut self, label: LinkState) {
        if self.label != label {
            self.label = label;
            self.since = Instant::now();
        }
    }
}

impl Counters {
    fn note(&mut self, ended: &Ended) {
        self.cuts.count(ended.cause);
        self.last_error = Some(ended.reason.clone());
    }
}
