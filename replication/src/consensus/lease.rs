//! Time that followers grant a leader, in which nobody else can become leader.
//!
//! A follower grants [`Timing::lease_ns`](super::Timing) to the ballot it accepts under. Until that
//! has passed *on its own clock* it neither handles a Prepare of somebody else's higher ballot nor
//! sends one itself: either could complete a majority behind the leader's back. The leader counts
//! from the time at which it *sent* the request, less what clocks may drift, so its lease ends
//! before any grant does.
//!
//! Clocks need not agree, only run at about the same speed. A node that was restarted has forgotten
//! what it granted and takes no part for one lease time.
//!
//! While a Prepare is held back in either direction no grant is given, or a leader that reaches
//! only some members could renew for ever.

use std::collections::BTreeMap;

use omnipaxos::ballot_leader_election::Ballot;

use super::planted::{self, Planted};

/// Grants given and received.
#[derive(Debug, Default)]
pub(crate) struct Lease {
    granted: Option<(Ballot, u64)>,
    /// Until when each member has promised to keep still, on our clock.
    received: BTreeMap<u64, u64>,
    /// When the leader gave its lease up. In this ballot it has none any more: the release may
    /// reach a follower late, and would take away what was granted after it.
    pub(crate) given_up_at: Option<u64>,
}

impl Lease {
    /// Grants time to a ballot.
    pub(crate) fn grant(&mut self, ballot: Ballot, until: u64) {
        self.granted = Some((ballot, until));
    }

    /// Whether a Prepare of this ballot has to wait.
    pub(crate) fn holds_back(&self, ballot: Ballot, now: u64) -> bool {
        if planted::is_on(Planted::LeaseWithoutIncomingHold) {
            return false;
        }
        self.granted.is_some_and(|(granted, until)| {
            until > now && ballot > granted && ballot.pid != granted.pid
        })
    }

    /// Whether a Prepare of our own has to wait.
    pub(crate) fn holds_back_own(&self, own: u64, now: u64) -> bool {
        if planted::is_on(Planted::LeaseWithoutOutgoingHold) {
            return false;
        }
        self.granted
            .is_some_and(|(granted, until)| until > now && granted.pid != own)
    }

    /// The holder of this ballot gave its lease up.
    pub(crate) fn release(&mut self, ballot: Ballot) {
        if self.granted.is_some_and(|(granted, _)| granted == ballot) {
            self.granted = None;
        }
    }

    /// A member keeps still until then.
    pub(crate) fn receive(&mut self, member: u64, until: u64) {
        let known = self.received.entry(member).or_default();
        *known = until.max(*known);
    }

    /// Forgets what members granted: another ballot leads.
    pub(crate) fn forget_received(&mut self) {
        self.received.clear();
    }

    /// Forgets what was granted as well: the configuration is over.
    pub(crate) fn forget_all(&mut self) {
        *self = Lease::default();
    }

    /// Until when `majority` members, ourselves among them, keep still; 0 if they do not.
    pub(crate) fn until(&self, majority: usize) -> u64 {
        let mut ends: Vec<u64> = self.received.values().copied().collect();
        ends.sort_unstable_by(|a, b| b.cmp(a));
        match majority {
            0 | 1 => u64::MAX,
            _ => ends.get(majority - 2).copied().unwrap_or(0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_lasts_as_long_as_a_majority_keeps_still() {
        let mut lease = Lease::default();
        assert_eq!(lease.until(2), 0);
        lease.receive(2, 100);
        lease.receive(3, 150);
        lease.receive(2, 90);
        assert_eq!(lease.until(2), 150);
        assert_eq!(lease.until(3), 100);
        lease.forget_received();
        assert_eq!(lease.until(2), 0);
    }

    #[test]
    fn a_grant_holds_back_others_and_ourselves_but_not_its_holder() {
        let ballot = |n, pid| Ballot::with(1, n, 0, pid);
        let mut lease = Lease::default();
        lease.grant(ballot(4, 1), 100);
        assert!(lease.holds_back(ballot(5, 2), 99));
        assert!(!lease.holds_back(ballot(5, 2), 100));
        assert!(!lease.holds_back(ballot(5, 1), 99));
        assert!(!lease.holds_back(ballot(3, 2), 99));
        assert!(lease.holds_back_own(3, 99));
        lease.release(ballot(4, 1));
        assert!(!lease.holds_back_own(3, 99));
    }
}
