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
    /// Changes of members and leaders that were asked for.
    changes,
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
             {} of {} listings complete, {} orders, {} handoffs, {} entries, {} messages, \
             {} changes of members and leaders, {} checkpoints moved, {} forgeries",
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
            self.entries,
            self.messages,
            self.changes,
            self.transfers,
            self.forgeries,
        )
    }
}
