//! What the owner of a parent prefix decides: creating a prefix, moving it, dropping it.
//!
//! These are the entries that order claims: of two groups that want the same prefix, the one whose
//! entry comes first has it, and the other one is told so. While the parent prefix is frozen
//! nothing is decided, because what was decided so far is on its way to the next owner.

use bailiwick_replication::GroupId;

use super::{
    Authority, Delegated, Effect, MAX_PREFIX_BYTES, Moving, Owned, Phase, Place, Refusal, Stray,
};

impl Authority {
    /// Creates a prefix for the group `to`. Its keys have been this group's and stay here in a
    /// realm of their own, from where they are moved if `to` is another group.
    pub fn delegate(&mut self, prefix: &[u8], to: GroupId) -> Result<Effect, Refusal> {
        if prefix.is_empty() || prefix.len() > MAX_PREFIX_BYTES {
            return Err(Refusal::Invalid("a prefix has 1 to 512 bytes"));
        }
        let mut domain = self.domain_or_empty(prefix);
        if let Some(delegated) = domain.delegated {
            let winner = delegated.moving.map_or(delegated.group, |moving| moving.to);
            let is_dropped = delegated.moving.is_some_and(|moving| moving.drops);
            return if winner == to && !is_dropped {
                Ok(Effect::None)
            } else {
                Err(Refusal::Exists(prefix.to_vec(), winner))
            };
        }
        if domain.owned.is_some() {
            return Err(Refusal::Exists(prefix.to_vec(), self.group));
        }
        let place = self.place(prefix);
        if place != Place::Here {
            return Err(Stray::of(place).map_or(Refusal::NoPrefix(prefix.to_vec()), Refusal::Stray));
        }
        let epoch = self.retired.get(prefix).copied().unwrap_or(0) + 1;
        self.set_retired(prefix, None);
        let moving = (to != self.group).then_some(Moving {
            to,
            epoch: epoch + 1,
            drops: false,
        });
        let phase = moving.map_or(Phase::Serving, |moving| Phase::Leaving { to: moving.to });
        domain.owned = Some(Owned { epoch, phase });
        // Of an attempt to bring the prefix here before it was dropped.
        domain.arriving = None;
        domain.delegated = Some(Delegated {
            epoch,
            group: self.group,
            moving,
        });
        self.set_departed(prefix, None);
        self.put(prefix, domain);
        Ok(Effect::Split)
    }

    /// Decides that a prefix goes to the group `to`.
    pub fn relocate(&mut self, prefix: &[u8], to: GroupId) -> Result<Effect, Refusal> {
        let delegated = self.open_delegation(prefix)?;
        if delegated.moving.is_none() && delegated.group == to {
            return Ok(Effect::None);
        }
        self.begin_move(prefix, delegated, to, false)?;
        Ok(Effect::None)
    }

    /// Decides that a prefix ends: its keys come home, and become a part of the parent prefix when
    /// [`Authority::settle`] says that they have. At once if they are here.
    pub fn drop_prefix(&mut self, prefix: &[u8]) -> Result<Effect, Refusal> {
        if self.retired.contains_key(prefix) {
            return Ok(Effect::None);
        }
        let delegated = self.open_delegation(prefix)?;
        if delegated.moving.is_none() && delegated.group == self.group {
            self.retire(prefix, delegated.epoch);
            return Ok(Effect::Merge);
        }
        self.begin_move(prefix, delegated, self.group, true)?;
        Ok(Effect::None)
    }

    /// Notes that a move is over: `group` serves the prefix at `epoch`, and nobody else does.
    pub fn settle(&mut self, prefix: &[u8], epoch: u64, group: GroupId) -> Result<Effect, Refusal> {
        if self.retired.get(prefix) == Some(&(epoch + 1)) {
            return Ok(Effect::None);
        }
        let delegated = self.open_delegation(prefix)?;
        // What was settled may be on the move again, towards a new owner of the parent prefix.
        if (delegated.epoch, delegated.group) == (epoch, group) {
            return Ok(Effect::None);
        }
        let moving = delegated.moving;
        let moving = moving.filter(|moving| (moving.epoch, moving.to) == (epoch, group));
        let moving = moving.ok_or(Refusal::Epoch(prefix.to_vec(), delegated.epoch))?;
        let mut domain = self.domain_or_empty(prefix);
        let expected = (group == self.group).then_some(epoch);
        if domain.owned.map(|owned| owned.epoch) != expected {
            let text = "has not changed hands yet";
            return Err(Refusal::Phase(prefix.to_vec(), text));
        }
        if moving.drops && group == self.group {
            self.retire(prefix, epoch);
            return Ok(Effect::Merge);
        }
        // The parent prefix has changed hands while the prefix was on its way home: it goes on to
        // the new home.
        let moving = moving.drops.then_some(Moving {
            to: self.group,
            epoch: epoch + 1,
            drops: true,
        });
        domain.delegated = Some(Delegated {
            epoch,
            group,
            moving,
        });
        self.put(prefix, domain);
        Ok(Effect::None)
    }

    /// The delegation of a prefix, if it may be changed now.
    fn open_delegation(&self, prefix: &[u8]) -> Result<Delegated, Refusal> {
        let delegated = self.domain_or_empty(prefix).delegated;
        let delegated = delegated.ok_or_else(|| Refusal::NoPrefix(prefix.to_vec()))?;
        match self.governing_parent(prefix) {
            Some((parent, domain)) if domain.owned.is_some_and(|owned| owned.is_frozen()) => {
                let prefix = parent.to_vec();
                Err(Refusal::Stray(Stray::Held { prefix }))
            }
            _ => Ok(delegated),
        }
    }

    fn begin_move(
        &mut self,
        prefix: &[u8],
        delegated: Delegated,
        to: GroupId,
        drops: bool,
    ) -> Result<(), Refusal> {
        if let Some(moving) = delegated.moving {
            return if (moving.to, moving.drops) == (to, drops) {
                Ok(())
            } else {
                Err(Refusal::Moving(prefix.to_vec(), moving.to))
            };
        }
        let mut domain = self.domain_or_empty(prefix);
        domain.delegated = Some(Delegated {
            moving: Some(Moving {
                to,
                epoch: delegated.epoch + 1,
                drops,
            }),
            ..delegated
        });
        if delegated.group == self.group {
            domain.owned = domain.owned.map(|owned| Owned {
                phase: Phase::Leaving { to },
                ..owned
            });
        }
        self.put(prefix, domain);
        Ok(())
    }

    /// Ends the delegation of a prefix whose keys are here. What is retired has an epoch of its
    /// own, so that a record of its end is newer than that of its last owner.
    fn retire(&mut self, prefix: &[u8], epoch: u64) {
        let mut domain = self.domain_or_empty(prefix);
        domain.owned = None;
        domain.delegated = None;
        self.put(prefix, domain);
        self.set_retired(prefix, Some(epoch + 1));
    }
}
