//! Which connections with a peer belong together. No I/O, no clock.
//!
//! A session is one life of a link: the connection there and the connection back, and bulk
//! connections beside them. Both sides must agree on it, or a frame sent before a loss could be
//! delivered after it. So each side has an *epoch*, which it raises whenever it loses or drops a
//! connection that stood, dropping all others with that peer. A handshake tells each side the
//! other's epoch, and a session is the pair of both: whoever sees that the peer's has risen drops
//! what stood under the old one. As a pair never comes back, frames of two sessions never mix.
//!
//! A side that merely follows the other's epoch does not raise its own, so losses end in one new
//! pair instead of a chase.

use std::cmp::Ordering;
use std::sync::Arc;
use std::sync::atomic::{self, AtomicBool};

use tokio::sync::Notify;

/// A peer's place in the order of its sessions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    pub(super) disk: u64,
    pub(super) incarnation: u64,
    pub(super) epoch: u64,
}

/// What a connection is within its session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Slot {
    Out,
    In,
    BulkOut,
    BulkIn,
}

impl Slot {
    pub(super) fn is_bulk(self) -> bool {
        matches!(self, Slot::BulkOut | Slot::BulkIn)
    }

    pub(super) fn is_out(self) -> bool {
        matches!(self, Slot::Out | Slot::BulkOut)
    }
}

/// How the task of a connection is told things.
#[derive(Debug, Default)]
pub(super) struct Signal {
    killed: AtomicBool,
    up: AtomicBool,
    pub(super) nudge: Notify,
}

impl Signal {
    /// The connection no longer belongs to a session: it must end without a further event.
    pub(super) fn kill(&self) {
        self.killed.store(true, atomic::Ordering::Release);
        self.nudge.notify_one();
    }

    pub(super) fn is_killed(&self) -> bool {
        self.killed.load(atomic::Ordering::Acquire)
    }

    /// The session is up: frames may be delivered and sent.
    pub(super) fn go(&self) {
        self.up.store(true, atomic::Ordering::Release);
        self.nudge.notify_one();
    }

    pub(super) fn is_up(&self) -> bool {
        self.up.load(atomic::Ordering::Acquire)
    }
}

/// What a step did.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Change {
    /// The connection in question now belongs to the session.
    pub(super) entered: bool,
    /// A session that was up is over.
    pub(super) went_down: bool,
    /// A session is up.
    pub(super) went_up: bool,
}

/// The connections with one peer.
///
/// `up` exactly when both consensus connections stand, and no bulk connection stands without.
#[derive(Debug)]
pub(super) struct Session {
    epoch: u64,
    peer: Option<Stamp>,
    slots: [Option<Arc<Signal>>; 4],
    up: bool,
}

impl Session {
    /// `epoch` must be above every one this node used with the same incarnation before.
    pub(super) fn new(epoch: u64) -> Session {
        Session {
            epoch,
            peer: None,
            slots: [const { None }; 4],
            up: false,
        }
    }

    pub(super) fn epoch(&self) -> u64 {
        self.epoch
    }

    pub(super) fn is_up(&self) -> bool {
        self.up
    }

    /// The connection in a slot.
    pub(super) fn get(&self, slot: Slot) -> Option<&Arc<Signal>> {
        self.slots[slot as usize].as_ref()
    }

    /// Whether a stamp is older, the same or newer than what was seen of the peer. Another disk is
    /// newer: whether it is wanted has been asked elsewhere.
    pub(super) fn compare(&self, stamp: Stamp) -> Ordering {
        match self.peer {
            Some(peer) if peer.disk == stamp.disk => {
                (stamp.incarnation, stamp.epoch).cmp(&(peer.incarnation, peer.epoch))
            }
            _ => Ordering::Greater,
        }
    }

    /// The newest incarnation seen of a disk.
    pub(super) fn incarnation_of(&self, disk: u64) -> Option<u64> {
        self.peer
            .filter(|peer| peer.disk == disk)
            .map(|peer| peer.incarnation)
    }

    /// A connection has completed its handshake, in which we showed `epoch` and the peer `stamp`.
    pub(super) fn enter(
        &mut self,
        slot: Slot,
        signal: &Arc<Signal>,
        epoch: u64,
        stamp: Stamp,
    ) -> Change {
        let mut change = Change::default();
        let order = self.compare(stamp);
        if epoch != self.epoch || order == Ordering::Less {
            return change;
        }
        if slot.is_bulk() && (order != Ordering::Equal || !self.up) {
            return change;
        }
        if order == Ordering::Greater {
            change.went_down = self.clear();
            self.peer = Some(stamp);
        }
        if self.get(slot).is_some() {
            // The peer has given up a connection that still stands here, and opened another.
            change.went_down |= self.cut();
            return change;
        }
        self.slots[slot as usize] = Some(signal.clone());
        change.entered = true;
        let both = self.get(Slot::Out).is_some() && self.get(Slot::In).is_some();
        change.went_up = both && !self.up;
        self.up = both;
        if self.up && slot.is_bulk() {
            signal.go();
        }
        self.check_invariants();
        change
    }

    /// Tells the consensus connections that the session is up; apart from [`enter`](Self::enter),
    /// so that the event comes first.
    pub(super) fn go(&self) {
        self.slots.iter().flatten().for_each(|signal| signal.go());
    }

    /// A connection has ended by itself.
    pub(super) fn lose(&mut self, signal: &Arc<Signal>) -> Change {
        let ours = |slot: &Arc<Signal>| Arc::ptr_eq(slot, signal);
        let stood = self.slots.iter().flatten().any(ours);
        Change {
            went_down: stood && self.cut(),
            ..Change::default()
        }
    }

    /// Drops all connections; whether the session was up.
    pub(super) fn cut(&mut self) -> bool {
        if self.slots.iter().any(Option::is_some) {
            self.epoch += 1;
        }
        let was_up = self.clear();
        self.check_invariants();
        was_up
    }

    fn clear(&mut self) -> bool {
        let standing = self.slots.iter_mut().filter_map(Option::take);
        standing.for_each(|signal| signal.kill());
        std::mem::take(&mut self.up)
    }

    fn check_invariants(&self) {
        let both = self.get(Slot::Out).is_some() && self.get(Slot::In).is_some();
        let bulk = self.get(Slot::BulkOut).is_some() || self.get(Slot::BulkIn).is_some();
        assert_eq!(self.up, both);
        assert!(both || !bulk);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stamp(incarnation: u64, epoch: u64) -> Stamp {
        Stamp {
            disk: 1,
            incarnation,
            epoch,
        }
    }

    fn up() -> (Session, [Arc<Signal>; 2]) {
        let mut session = Session::new(10);
        let signals = [Arc::default(), Arc::default()];
        let change = session.enter(Slot::Out, &signals[0], 10, stamp(1, 5));
        assert!(change.entered && !change.went_up);
        let change = session.enter(Slot::In, &signals[1], 10, stamp(1, 5));
        assert!(change.entered && change.went_up);
        (session, signals)
    }

    #[test]
    fn a_session_is_up_when_both_directions_stand() {
        assert!(up().0.is_up());
    }

    #[test]
    fn a_lost_connection_takes_all_with_it_and_raises_the_epoch() {
        let (mut session, signals) = up();
        assert!(session.lose(&signals[1]).went_down);
        assert!(signals[0].is_killed());
        assert_eq!(session.epoch(), 11);
        assert!(!session.lose(&signals[0]).went_down);
        assert_eq!(session.epoch(), 11);
    }

    #[test]
    fn a_newer_session_of_the_peer_replaces_the_old_one() {
        let (mut session, signals) = up();
        let change = session.enter(Slot::In, &Arc::default(), 10, stamp(1, 6));
        assert!(change.entered && change.went_down && !change.went_up);
        assert!(signals.iter().all(|signal| signal.is_killed()));
        assert_eq!(session.epoch(), 10);
        assert!(
            session
                .enter(Slot::Out, &Arc::default(), 10, stamp(1, 6))
                .went_up
        );
    }

    #[test]
    fn handshakes_from_an_earlier_session_do_not_count() {
        let (mut session, signals) = up();
        session.lose(&signals[0]);
        let late = Arc::default();
        assert_eq!(
            session.enter(Slot::Out, &late, 10, stamp(1, 5)),
            Change::default()
        );
        assert_eq!(
            session.enter(Slot::Out, &late, 11, stamp(1, 4)),
            Change::default()
        );
        assert_eq!(
            session.enter(Slot::Out, &late, 11, stamp(0, 9)),
            Change::default()
        );
        assert!(session.enter(Slot::Out, &late, 11, stamp(2, 1)).entered);
    }

    #[test]
    fn bulk_connections_stand_only_within_a_session() {
        let bulk = Arc::default();
        let mut session = Session::new(1);
        assert!(!session.enter(Slot::BulkIn, &bulk, 1, stamp(1, 5)).entered);
        let (mut session, _) = up();
        assert!(!session.enter(Slot::BulkIn, &bulk, 10, stamp(1, 6)).entered);
        assert!(session.enter(Slot::BulkIn, &bulk, 10, stamp(1, 5)).entered);
        assert!(session.lose(&bulk).went_down);
    }
}
