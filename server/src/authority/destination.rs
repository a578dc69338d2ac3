//! What the group does to which a prefix comes: it takes in chunks, and commits or aborts.
//!
//! Copying is tried in numbered attempts, and only the latest one can be committed. So a driver
//! that was thought dead cannot finish what another one has begun anew, and once an attempt has
//! been aborted, whoever aborted it knows for good that it will never be served here.

use bailiwick_replication::GroupId;

use super::{Arriving, Authority, Delegations, Effect, Owned, Phase, Refusal, Staged};
use crate::group::planted::{self, Planted};

impl Authority {
    /// Begins an attempt to copy a prefix from the group `from`.
    pub fn arrive(
        &mut self,
        prefix: &[u8],
        epoch: u64,
        from: GroupId,
        attempt: u64,
    ) -> Result<Effect, Refusal> {
        self.refuse_committed(prefix, epoch)?;
        let mut domain = self.domain_or_empty(prefix);
        if let Some(owned) = domain.owned {
            return Err(Refusal::Epoch(prefix.to_vec(), owned.epoch));
        }
        if let Some(present) = domain.arriving {
            let is_same = (present.epoch, present.attempt) == (epoch, attempt);
            if is_same && present.staged.is_some() {
                return Ok(Effect::None);
            }
            if present.epoch > epoch {
                return Err(Refusal::Epoch(prefix.to_vec(), present.epoch));
            }
            if present.epoch == epoch && present.attempt >= attempt {
                return Err(Refusal::Attempt(prefix.to_vec(), present.attempt));
            }
        }
        domain.arriving = Some(Arriving {
            epoch,
            from,
            attempt,
            staged: Some(Staged::default()),
        });
        self.put(prefix, domain);
        Ok(Effect::Stage)
    }

    /// Whether a chunk is to be taken in now; false if it has been already. After it was,
    /// [`Authority::note_chunk`] must follow.
    pub fn expects_chunk(
        &self,
        prefix: &[u8],
        epoch: u64,
        attempt: u64,
        chunk: u64,
    ) -> Result<bool, Refusal> {
        self.refuse_committed(prefix, epoch)?;
        let (_, staged) = self.staged(prefix, epoch, attempt)?;
        match chunk.cmp(&staged.next_chunk) {
            std::cmp::Ordering::Less => Ok(false),
            std::cmp::Ordering::Equal => Ok(true),
            std::cmp::Ordering::Greater => Err(Refusal::Chunk(prefix.to_vec(), staged.next_chunk)),
        }
    }

    /// Counts a chunk that was taken in. `added` and `removed` are the keys that came and went with
    /// it, and `digest` is what has to be added to the digest.
    pub fn note_chunk(&mut self, prefix: &[u8], added: u64, removed: u64, digest: u64) {
        let mut domain = self.domain_or_empty(prefix);
        if let Some(arriving) = &mut domain.arriving
            && let Some(staged) = &mut arriving.staged
        {
            staged.next_chunk += 1;
            staged.count = staged.count + added - removed;
            staged.digest = staged.digest.wrapping_add(digest);
        }
        self.put(prefix, domain);
    }

    /// Serves the prefix from now on, if what has come is what was sent, with what was delegated
    /// below it. Safe only while the source is frozen for this attempt.
    pub fn commit(
        &mut self,
        prefix: &[u8],
        epoch: u64,
        attempt: u64,
        (count, digest): (u64, u64),
        delegations: Delegations,
    ) -> Result<Effect, Refusal> {
        if self.refuse_committed(prefix, epoch).is_err() {
            return Ok(Effect::None);
        }
        let (_, staged) = self.staged(prefix, epoch, attempt)?;
        let is_whole = (staged.count, staged.digest) == (count, digest);
        if !is_whole && !planted::is_on(Planted::DigestNotCompared) {
            return Err(Refusal::Digest {
                prefix: prefix.to_vec(),
                count: staged.count,
                digest: staged.digest,
            });
        }
        if !delegations.are_below(prefix) {
            return Err(Refusal::Invalid("a delegation is not below its prefix"));
        }
        let mut domain = self.domain_or_empty(prefix);
        domain.arriving = None;
        let served_at = if planted::is_on(Planted::EpochNotRaised) {
            epoch - 1
        } else {
            epoch
        };
        domain.owned = Some(Owned {
            epoch: served_at,
            phase: Phase::Serving,
        });
        self.put(prefix, domain);
        self.take_delegations(delegations);
        Ok(Effect::Admit)
    }

    /// Makes sure that no attempt up to `attempt` will be committed.
    pub fn abort(&mut self, prefix: &[u8], epoch: u64, attempt: u64) -> Result<Effect, Refusal> {
        self.refuse_committed(prefix, epoch)?;
        let mut domain = self.domain_or_empty(prefix);
        if let Some(owned) = domain.owned {
            return Err(Refusal::Epoch(prefix.to_vec(), owned.epoch));
        }
        let present = domain.arriving;
        if let Some(present) = present {
            if present.epoch > epoch {
                return Err(Refusal::Epoch(prefix.to_vec(), present.epoch));
            }
            let is_past =
                present.attempt > attempt || present.attempt == attempt && present.staged.is_none();
            if present.epoch == epoch && is_past {
                return Ok(Effect::None);
            }
        }
        if present.is_some() && planted::is_on(Planted::AbortForgotten) {
            return Ok(Effect::None);
        }
        let from = present.map_or(self.group, |present| present.from);
        let was_staged = present.is_some_and(|present| present.staged.is_some());
        domain.arriving = Some(Arriving {
            epoch,
            from,
            attempt,
            staged: None,
        });
        self.put(prefix, domain);
        Ok(if was_staged {
            Effect::Unstage
        } else {
            Effect::None
        })
    }

    fn take_delegations(&mut self, delegations: Delegations) {
        for (below, delegated) in delegations.live {
            let mut domain = self.domain_or_empty(&below);
            domain.delegated = Some(delegated);
            self.put(&below, domain);
        }
        for (below, epoch) in delegations.retired {
            self.set_retired(&below, Some(epoch));
        }
    }

    /// Refuses if the prefix has arrived at this epoch or a later one, be it that it has gone on or
    /// was dropped since.
    fn refuse_committed(&self, prefix: &[u8], epoch: u64) -> Result<(), Refusal> {
        let domain = self.domain_or_empty(prefix);
        let owned = domain.owned;
        let is_here = owned.is_some_and(|owned| owned.epoch >= epoch);
        let departed = self.departed(prefix);
        let departed = departed.is_some_and(|departed| departed.epoch > epoch);
        let is_retired = self.retired.get(prefix).is_some_and(|&last| last > epoch);
        // The owner of the parent prefix knows when a move is over, wherever it led.
        let is_over = domain.delegated.is_some_and(|known| known.epoch >= epoch);
        if is_here || departed || is_retired || is_over {
            return Err(Refusal::Committed(prefix.to_vec(), epoch));
        }
        Ok(())
    }

    fn staged(
        &self,
        prefix: &[u8],
        epoch: u64,
        attempt: u64,
    ) -> Result<(Arriving, Staged), Refusal> {
        let Some(arriving) = self.domain_or_empty(prefix).arriving else {
            return Err(Refusal::Attempt(prefix.to_vec(), 0));
        };
        if arriving.epoch != epoch {
            return Err(Refusal::Epoch(prefix.to_vec(), arriving.epoch));
        }
        match arriving.staged {
            Some(staged) if arriving.attempt == attempt => Ok((arriving, staged)),
            _ => Err(Refusal::Attempt(prefix.to_vec(), arriving.attempt)),
        }
    }
}
