//! What runs came across, in numbers: by them a person sees whether the seeds tried anything.

use std::fmt;

use super::SECOND;

/// Makes a `Summary` of these counters, and what adds two of them up.
macro_rules! summary {
    ($($(#[$about:meta])* $counter:ident,)*) => {
        /// What a run came across.
        #[derive(Clone, Copy, Debug, Default)]
        pub struct Summary {
            $($(#[$about])* pub $counter: u64,)*
        }

        impl Summary {
            /// Adds another run.
            pub fn add(&mut self, other: &Self) {
                $(self.$counter += other.$counter;)*
            }
        }
    };
}
pub(super) use summary;

summary! {
    /// Requests of clients.
    operations,
    /// Of these, answered with what was asked for.
    answered,
    /// Reads that asked nobody, under the lease.
    reads_under_lease,
    /// Watched values that were set.
    swaps,
    /// Entries that were applied.
    entries,
    /// Changes of members and leaders that were carried out.
    changes,
    /// Requests that a node let go of when it left the group.
    passed_on,
    /// Checkpoints that were taken over from another node.
    transfers,
    /// Directories that were emptied.
    wipes,
    /// Messages that arrived.
    messages,
    /// How much time was simulated, in nanoseconds.
    simulated_ns,
}

impl fmt::Display for Summary {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            out,
            "{} s simulated, {} operations ({} answered, {} under the lease, {} swaps), {} entries, \
             {} messages, {} changes, {} requests passed on, {} checkpoints moved, {} directories \
             emptied",
            self.simulated_ns / SECOND,
            self.operations,
            self.answered,
            self.reads_under_lease,
            self.swaps,
            self.entries,
            self.messages,
            self.changes,
            self.passed_on,
            self.transfers,
            self.wipes,
        )
    }
}
