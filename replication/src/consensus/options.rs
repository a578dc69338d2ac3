//! Who a replica is, and its times.

use super::meta::Member;

/// Times of consensus.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// From tick to tick, in nanoseconds.
    pub tick_ns: u64,
    /// Ticks of an election period, which must be longer than any round trip in the group.
    pub election_ticks: u64,
    /// Ticks after which the crate repeats what was not answered: a few round trips.
    pub resend_ticks: u64,
    /// How long a follower keeps still for its leader, in nanoseconds.
    pub lease_ns: u64,
    /// How much clocks may differ in speed, in thousandths.
    pub drift_permille: u64,
}

impl Timing {
    pub(super) fn election_ns(&self) -> u64 {
        self.tick_ns * self.election_ticks
    }
}

impl Default for Timing {
    fn default() -> Timing {
        Timing {
            tick_ns: 25_000_000,
            election_ticks: 5,
            resend_ticks: 20,
            lease_ns: 200_000_000,
            drift_permille: 20,
        }
    }
}

/// Who a replica is.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// This node with its data directory.
    pub member: Member,
    /// Which start of the node this is; rises with each.
    pub incarnation: u64,
    /// The higher, the rather it leads when several could.
    pub priority: u32,
    /// Times.
    pub timing: Timing,
}
