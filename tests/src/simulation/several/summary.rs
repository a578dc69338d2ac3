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
    /// Commits that were held up while their source changed its leader.
    held_up: "commits held up",
    /// Entries that were applied, over all groups.
    entries: "entries",
    /// Messages that arrived.
    messages: "messages",
    /// Changes of members and leaders that were asked for.
    changes: "changes of members and leaders",
    /// Requests that a node passed on when it left the group.
    passed_on: "requests passed on",
    /// Checkpoints that were taken over from another node.
    transfers: "checkpoints moved",
    /// Records that were forged or replayed.
    forgeries: "forgeries",
}
