//! What runs came across, in numbers: by them a person sees whether the seeds tried anything.

use std::fmt;

use crate::simulation::SECOND;

/// What a run came across.
#[derive(Clone, Copy, Debug, Default)]
pub struct Summary {
    /// Requests of clients.
    pub operations: u64,
    /// Of these, answered with what was asked for.
    pub answered: u64,
    /// Reads that asked nobody, under a lease.
    pub reads_under_lease: u64,
    /// Watched values that were set.
    pub swaps: u64,
    /// Answers of groups that do not serve what they were asked for.
    pub strays: u64,
    /// Listings that were begun.
    pub listings: u64,
    /// Listings that were complete.
    pub complete_listings: u64,
    /// Orders of operators that were accepted.
    pub orders: u64,
    /// Prefixes that left a group.
    pub handoffs: u64,
    /// Changes of members and leaders that were asked for.
    pub changes: u64,
    /// Checkpoints that were taken over from another node.
    pub transfers: u64,
    /// Records that were forged or replayed.
    pub forgeries: u64,
    /// Entries that were applied, over all groups.
    pub entries: u64,
    /// Messages that arrived.
    pub messages: u64,
    /// How much time was simulated, in nanoseconds.
    pub simulated_ns: u64,
}

impl Summary {
    /// Adds another run.
    pub fn add(&mut self, other: &Self) {
        self.operations += other.operations;
        self.answered += other.answered;
        self.reads_under_lease += other.reads_under_lease;
        self.swaps += other.swaps;
        self.strays += other.strays;
        self.listings += other.listings;
        self.complete_listings += other.complete_listings;
        self.orders += other.orders;
        self.handoffs += other.handoffs;
        self.changes += other.changes;
        self.transfers += other.transfers;
        self.forgeries += other.forgeries;
        self.entries += other.entries;
        self.messages += other.messages;
        self.simulated_ns += other.simulated_ns;
    }
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
