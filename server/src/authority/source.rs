//! What the group does that a prefix leaves: it goes on serving, freezes, and departs.

use bailiwick_replication::GroupId;

use super::{Authority, Delegations, Departed, Domain, Effect, Owned, Phase, Refusal, Stray};

impl Authority {
    /// Begins a move that the owner of the parent prefix has decided. The prefix is served as
    /// before.
    pub fn leave(&mut self, prefix: &[u8], epoch: u64, to: GroupId) -> Result<Effect, Refusal> {
        if self.departed(prefix) == Some(Departed { epoch, group: to }) {
            return Ok(Effect::None);
        }
        let (domain, owned) = self.leaving(prefix, epoch)?;
        match owned.phase {
            Phase::Serving => {
                self.set_phase(prefix, domain, Phase::Leaving { to });
                Ok(Effect::None)
            }
            Phase::Leaving { to: other } | Phase::Frozen { to: other, .. } if other == to => {
                Ok(Effect::None)
            }
            Phase::Leaving { to: other } | Phase::Frozen { to: other, .. } => {
                Err(Refusal::Moving(prefix.to_vec(), other))
            }
        }
    }

    /// Stops serving the prefix, so that attempt `attempt` can copy what is left.
    pub fn freeze(&mut self, prefix: &[u8], epoch: u64, attempt: u64) -> Result<Effect, Refusal> {
        if self.has_departed_at(prefix, epoch) {
            return Ok(Effect::None);
        }
        let (domain, owned) = self.leaving(prefix, epoch)?;
        match owned.phase {
            Phase::Serving => Err(Refusal::Phase(prefix.to_vec(), "is not about to leave")),
            Phase::Leaving { to } => {
                self.set_phase(prefix, domain, Phase::Frozen { to, attempt });
                Ok(Effect::Freeze)
            }
            Phase::Frozen { to, attempt: last } => {
                let attempt = attempt.max(last);
                self.set_phase(prefix, domain, Phase::Frozen { to, attempt });
                Ok(Effect::None)
            }
        }
    }

    /// Serves the prefix again. Safe only when the destination has said that `attempt`, the one for
    /// which the prefix was frozen, is aborted.
    pub fn thaw(&mut self, prefix: &[u8], epoch: u64, attempt: u64) -> Result<Effect, Refusal> {
        let (domain, owned) = self.leaving(prefix, epoch)?;
        match owned.phase {
            Phase::Serving => Err(Refusal::Phase(prefix.to_vec(), "is not about to leave")),
            Phase::Leaving { .. } => Ok(Effect::None),
            // A thaw that was meant for an earlier attempt must not let writes pass that the
            // present one would not copy.
            Phase::Frozen { attempt: last, .. } if attempt < last => {
                Err(Refusal::Attempt(prefix.to_vec(), last))
            }
            Phase::Frozen { to, .. } => {
                self.set_phase(prefix, domain, Phase::Leaving { to });
                Ok(Effect::Thaw)
            }
        }
    }

    /// Gives up the prefix, which `to` serves by now, with all that was delegated below it.
    pub fn depart(&mut self, prefix: &[u8], epoch: u64, to: GroupId) -> Result<Effect, Refusal> {
        let departed = Departed { epoch, group: to };
        if self.departed(prefix) == Some(departed) {
            return Ok(Effect::None);
        }
        let (mut domain, owned) = self.leaving(prefix, epoch)?;
        match owned.phase {
            Phase::Frozen { to: other, .. } if other == to => {}
            Phase::Frozen { to: other, .. } => {
                return Err(Refusal::Moving(prefix.to_vec(), other));
            }
            _ => return Err(Refusal::Phase(prefix.to_vec(), "is not frozen")),
        }
        let below = self.delegations_of(prefix);
        for (below, _) in &below.live {
            let mut domain = self.domain_or_empty(below);
            domain.delegated = None;
            self.put(below, domain);
        }
        for (below, epoch) in &below.retired {
            self.set_retired(below, None);
            // It may have been served here before it was dropped, and its last source may not know
            // that yet: what was committed is never denied, whoever knows about the prefix now.
            let group = to;
            let epoch = *epoch;
            self.set_departed(below, Some(Departed { epoch, group }));
        }
        domain.owned = None;
        self.put(prefix, domain);
        self.set_departed(prefix, Some(departed));
        Ok(Effect::Release)
    }

    /// What was delegated by right of owning this prefix, and goes along with it.
    #[must_use]
    pub fn delegations_of(&self, prefix: &[u8]) -> Delegations {
        // Also for what was dropped: it belongs to whoever would create it again.
        let belongs = |below: &[u8]| {
            let parent = self.governing_parent(below);
            parent.is_some_and(|(parent, _)| parent.len() == prefix.len())
        };
        let live = self.domains.under(prefix).filter_map(|(below, domain)| {
            let delegated = domain.delegated?;
            (below.len() > prefix.len() && belongs(below)).then(|| (Box::from(below), delegated))
        });
        let from: Box<[u8]> = prefix.into();
        let below = self.retired.range(from..);
        let below = below.take_while(|(below, _)| below.starts_with(prefix));
        let retired = below.filter(|(below, _)| below.len() > prefix.len() && belongs(below));
        Delegations {
            live: live.collect(),
            retired: retired
                .map(|(below, &epoch)| (below.clone(), epoch))
                .collect(),
        }
    }

    /// The prefix if it is served here at the epoch before `epoch`.
    fn leaving(&self, prefix: &[u8], epoch: u64) -> Result<(Domain, Owned), Refusal> {
        let domain = self.domain_or_empty(prefix);
        let Some(owned) = domain.owned else {
            let departed = self.departed(prefix);
            return Err(Refusal::Stray(Stray::Gone {
                prefix: prefix.to_vec(),
                group: departed.map(|departed| departed.group),
                epoch: departed.map_or(0, |departed| departed.epoch),
            }));
        };
        if owned.epoch.checked_add(1) != Some(epoch) {
            return Err(Refusal::Epoch(prefix.to_vec(), owned.epoch));
        }
        Ok((domain, owned))
    }

    fn has_departed_at(&self, prefix: &[u8], epoch: u64) -> bool {
        self.departed(prefix)
            .is_some_and(|departed| departed.epoch == epoch)
    }

    fn set_phase(&mut self, prefix: &[u8], mut domain: Domain, phase: Phase) {
        domain.owned = domain.owned.map(|owned| Owned { phase, ..owned });
        self.put(prefix, domain);
    }
}
