//! What runs came across, in numbers: by them a person sees whether the seeds tried anything.

use crate::simulation::summary::summary;

summary! {
    /// Requests of clients.
    operations: "operations",
    /// Of these, answered with what was asked for.
    answered: "answered",
    /// Reads that asked nobody, under a lease.
    reads_under_lease: "under a lease",
    /// Watched values that were set.
    swaps: "swaps",
    /// Answers of groups that do not serve what they were asked for.
    strays: "strays",
    /// Listings that were begun.
    listings: "listings",
    /// Listings that were complete.
    complete_listings: "listings complete",
    /// Orders of operators that were accepted.
    orders: "orders",
    /// Prefixes that left a group.
    handoffs: "handoffs",
    /// Entries that were applied, over all groups.
    entries: "entries",
    /// Messages that arrived.
    messages: "messages",
    /// Changes of members and leaders that were asked for.
    changes: "changes of members and leaders",
    /// Checkpoints that were taken over from another node.
    transfers: "checkpoints moved",
    /// Records that were forged or replayed.
    forgeries: "forgeries",
}
