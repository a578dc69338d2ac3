//! What runs came across, in numbers: by them a person sees whether the seeds tried anything.

use std::fmt;

use crate::simulation::SECOND;
use crate::simulation::summary::summary;

summary! {
    /// Requests of clients.
    operations,
    /// Of these, answered with what was asked for.
    answered,
    /// Reads that asked nobody, under a lease.
    reads_under_lease,
    /// Watched values that were set.
    swaps,
    /// Answers of groups that do not serve what they were asked for.
    strays,
    /// Listings that were begun.
    listings,
    /// Listings that were complete.
    complete_listings,
    /// Orders of operators that were accepted.
    orders,
    /// Prefixes that left a group.
    handoffs,
    /// Commits that were held up while their source changed its leader.
    held_up,
    /// Changes of members and leaders that were asked for.
    changes,
    /// Requests that a node passed on when it left the group.
    passed_on,
    /// Checkpoints that were taken over from another node.
    transfers,
    /// Records that were forged or replayed.
    forgeries,
    /// Entries that were applied, over all groups.
    entries,
    /// Messages that arrived.
    messages,
    /// How much time was simulated, in nanoseconds.
    simulated_ns,
}

impl fmt::Display for Summary {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            out,
            "{} s simulated, {} operations ({} answered, {} under a lease, {} swaps), {} strays, \
             {} of {} listings complete, {} orders, {} handoffs, {} commits held up, {} entries, \
             {} messages, {} changes of members and leaders, {} requests passed on, {} checkpoints \
             moved, {} forgeries",
            self.simulated_ns / SECOND,
            self.operations,
            self.answered,
            self.reads_under_lease,
            self.swaps,
            self.strays,
            self.complete_listings,
            self.listings,
            self.orders,
            self.handoffs,
            self.held_up,
            self.entries,
            self.messages,
            self.changes,
            self.passed_on,
            self.transfers,
            self.forgeries,
        )
    }
}
