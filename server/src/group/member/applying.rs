//! Applying what is decided: each entry is run on the state, and whom it concerns is answered.
//!
//! Invariant: the replica's applied index is the state's whenever no method runs.

use bailiwick_replication::LogIndex;
use bytes::Bytes;

use super::Member;
use super::catching_up::begin;
use crate::group::answer::answer_all;
use crate::group::planted::{self, Planted};
use crate::state::{Applier, Configuration, Origin, Origins, ReplayError};

/// Entries applied under one lock of the state, in bytes.
const APPLY_BYTES: usize = 1 << 20;

impl Member {
    /// Applies what is decided, and answers whom it concerns.
    ///
    /// # Errors
    /// The log makes no sense, or this node's state is not what it should be: the node must stop.
    pub fn apply(&mut self, clock_ms: i64) -> Result<(), ReplayError> {
        loop {
            let (first, entries) = self.replica.take_decided(APPLY_BYTES);
            if entries.is_empty() {
                break;
            }
            let is_parked = self.park();
            let applied = self.apply_entries(first, &entries);
            if is_parked {
                self.unpark();
            }
            applied?;
        }
        self.finish_reads(clock_ms);
        Ok(())
    }

    fn apply_entries(&mut self, first: LogIndex, entries: &[Bytes]) -> Result<(), ReplayError> {
        let policy = self.shared.tuning.load().access;
        let counters = self.shared.counters();
        let mut state = self.shared.state.write();
        let authority_before = state.authority.changes();
        let (flights, answered) = (&mut self.flights, &mut self.answered);
        let origin = self.options.origin;
        let present = self.replica.configuration().id;
        let (mut sealed, mut proxied) = (None::<Configuration>, Vec::new());
        for (index, entry) in (first.0..).zip(entries) {
            let mut take_over = |applier: &mut Applier<'_>, of: Origin, sequence| {
                let Some(mut flight) = (of == origin).then(|| flights.take(sequence)).flatten()
                else {
                    return false;
                };
                answer_all(applier, &mut flight.proposals, &flight.refusals);
                answered.append(&mut flight.proposals);
                true
            };
            let index = LogIndex(index);
            if planted::is_on(Planted::NoDeduplication) {
                state.origins = Origins::default();
            }
            self.replay
                .apply_with(&mut state, index, entry, policy, &counters, &mut take_over)?;
            proxied.append(&mut self.replay.take_proxied());
            sealed = state.configuration.clone().filter(|next| next.id > present);
            if sealed.is_some() {
                // What stands behind a SEAL was not decided in the configuration that it begins.
                break;
            }
        }
        self.garbage.append(&mut state.keyspace.take_garbage());
        self.shared.totals.add(&counters);
        let has_new_authority = state.authority.changes() != authority_before;
        let to_call = self.shared.ring(&mut state);
        drop(state);
        if has_new_authority {
            self.shared.note_authority();
        }
        if self.replica.is_leader() {
            self.call(to_call);
        }
        self.shared.tell(self.options.group, &counters);
        for (origin, sequence) in proxied {
            self.note_proxied(origin, sequence);
        }
        if let Some(next) = sealed {
            tracing::info!(
                configuration = next.id.0,
                members = ?next.members.iter().map(|member| member.node.0).collect::<Vec<_>>(),
                "the group has new members"
            );
            begin(&mut self.replica, &next, next.sealed_at);
        }
        Ok(())
    }
}
