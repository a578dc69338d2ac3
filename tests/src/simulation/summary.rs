//! What runs came across, in numbers: by them a person sees whether the seeds tried anything.

/// Makes a `Summary` of these counters, each with what it is called in a line of text, adds two of
/// them up and writes that line. The simulated time is among them without being named.
macro_rules! summary {
    ($($(#[$about:meta])* $counter:ident: $called:literal,)*) => {
        /// What a run came across.
        #[derive(Clone, Copy, Debug, Default)]
        pub struct Summary {
            $($(#[$about])* pub $counter: u64,)*
            /// How much time was simulated, in nanoseconds.
            pub simulated_ns: u64,
        }

        impl Summary {
            /// Adds another run.
            pub fn add(&mut self, other: &Self) {
                $(self.$counter += other.$counter;)*
                self.simulated_ns += other.simulated_ns;
            }
        }

        impl std::fmt::Display for Summary {
            fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(out, "{} s simulated", self.simulated_ns / $crate::simulation::SECOND)?;
                $(write!(out, ", {} {}", self.$counter, $called)?;)*
                Ok(())
            }
        }
    };
}
pub(super) use summary;

summary! {
    /// Requests of clients.
    operations: "operations",
    /// Of these, answered with what was asked for.
    answered: "answered",
    /// Reads that asked nobody, under the lease.
    reads_under_lease: "under the lease",
    /// Watched values that were set.
    swaps: "swaps",
    /// Scripts, and functions that were loaded.
    scripts: "scripts",
    /// Entries that were applied.
    entries: "entries",
    /// Messages that arrived.
    messages: "messages",
    /// Changes of members and leaders that were carried out.
    changes: "changes",
    /// Requests that a node let go of when it left the group.
    passed_on: "requests passed on",
    /// Checkpoints that were taken over from another node.
    transfers: "checkpoints moved",
    /// Directories that were emptied.
    wipes: "directories emptied",
}
