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
    /// Scripts, and functions that were loaded.
    scripts: "scripts",
    /// Requests that could wait for keys.
    waits: "waits",
    /// Of these, answered with an element.
    served: "served",
    /// Of these, made anew because the keys had moved, or the node been forsaken.
    asked_anew: "made anew",
    /// Clients that went away while they waited.
    walked_away: "clients gone",
    /// Requests about keys of several homes, which are taken apart.
    spreads: "spread requests",
    /// What they were taken apart into.
    parts: "parts",
    /// Of these requests, those of which no part failed.
    complete_spreads: "spread requests complete",
    /// Times that all keys were removed.
    flushes: "flushes",
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
    /// Directories that were emptied.
    wipes: "directories emptied",
    /// Runs in which a group lost its quorum by what operators did.
    lost: "quorums lost",
    /// Records that were forged or replayed.
    forgeries: "forgeries",
}
