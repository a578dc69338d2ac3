//! What a group has to do with a prefix, as one line of numbers for another node.

use bailiwick_replication::GroupId;

use super::{Authority, Delegated, Moving, Owned, Phase};

/// How many numbers there are.
const NUMBERS: usize = 13;

/// A group's part in a prefix.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// It serves it, so.
    pub owned: Option<Owned>,
    /// Its keys, if it serves it.
    pub keys: u64,
    /// The memory that they take.
    pub bytes: u64,
    /// It has handed it out, so.
    pub delegated: Option<Delegated>,
    /// It is on its way here: at which epoch, and how many keys have come.
    pub staged: Option<(u64, u64)>,
}

impl Status {
    /// Of a prefix with keys of this number and size.
    #[must_use]
    pub fn of(authority: &Authority, prefix: &[u8], (keys, bytes): (u64, u64)) -> Self {
        let domain = authority.domain(prefix).copied().unwrap_or_default();
        let staged = domain.arriving.and_then(|arriving| {
            let staged = arriving.staged?;
            Some((arriving.epoch, staged.count))
        });
        Self {
            owned: domain.owned,
            keys,
            bytes,
            delegated: domain.delegated,
            staged,
        }
    }

    /// As text. Epochs begin at 1, so 0 stands for nothing.
    #[must_use]
    pub fn to_text(&self) -> String {
        let owned = self.owned.map_or([0; 4], |owned| match owned.phase {
            Phase::Serving => [owned.epoch, 0, 0, 0],
            Phase::Leaving { to } => [owned.epoch, 1, to.0.into(), 0],
            Phase::Frozen { to, attempt } => [owned.epoch, 2, to.0.into(), attempt],
        });
        let delegated = self.delegated.map_or([0; 5], |delegated| {
            let moving = delegated.moving.map_or([0; 3], |moving| {
                [moving.epoch, moving.to.0.into(), moving.drops.into()]
            });
            let [epoch, to, drops] = moving;
            [delegated.epoch, delegated.group.0.into(), epoch, to, drops]
        });
        let staged = self.staged.map_or([0; 2], |(epoch, count)| [epoch, count]);
        let numbers = owned.into_iter().chain([self.keys, self.bytes]);
        let numbers = numbers.chain(delegated).chain(staged);
        let words: Vec<String> = numbers.map(|number| number.to_string()).collect();
        words.join(" ")
    }

    /// Reads what [`Status::to_text`] wrote, and nothing else.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let numbers = text.split(' ').map(|word| word.parse().ok());
        let numbers: Vec<u64> = numbers.collect::<Option<_>>()?;
        let numbers: [u64; NUMBERS] = numbers.try_into().ok()?;
        let [epoch, phase, to, attempt, keys, bytes, rest @ ..] = numbers;
        let [delegated, group, moving, moves_to, drops, arriving, count] = rest;
        let to = self::group(to)?;
        let phase = match phase {
            0 => Phase::Serving,
            1 => Phase::Leaving { to },
            2 => Phase::Frozen { to, attempt },
            _ => return None,
        };
        let moving = Moving {
            to: self::group(moves_to)?,
            epoch: moving,
            drops: drops != 0,
        };
        let delegated = Delegated {
            epoch: delegated,
            group: self::group(group)?,
            moving: (moving.epoch > 0).then_some(moving),
        };
        Some(Self {
            owned: (epoch > 0).then_some(Owned { epoch, phase }),
            keys,
            bytes,
            delegated: (delegated.epoch > 0).then_some(delegated),
            staged: (arriving > 0).then_some((arriving, count)),
        })
    }
}

fn group(number: u64) -> Option<GroupId> {
    u32::try_from(number).ok().map(GroupId)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_survives_the_way_to_another_node() {
        let moving = Moving {
            to: GroupId(u32::MAX),
            epoch: 8,
            drops: true,
        };
        let delegated = |moving| Delegated {
            epoch: 7,
            group: GroupId(0),
            moving,
        };
        let owned = |phase| Owned {
            epoch: u64::MAX,
            phase,
        };
        let to = GroupId(3);
        for status in [
            Status::default(),
            Status {
                owned: Some(owned(Phase::Serving)),
                keys: 5,
                bytes: u64::MAX,
                delegated: Some(delegated(None)),
                staged: None,
            },
            Status {
                owned: Some(owned(Phase::Leaving { to })),
                delegated: Some(delegated(Some(moving))),
                staged: Some((9, 0)),
                ..Status::default()
            },
            Status {
                owned: Some(owned(Phase::Frozen { to, attempt: 44 })),
                ..Status::default()
            },
        ] {
            assert_eq!(Status::parse(&status.to_text()), Some(status));
        }
        for text in [
            "",
            "1",
            "a b",
            "1 3 0 0 0 0 0 0 0 0 0 0 0",
            "0 0 -1 0 0 0 0 0 0 0 0 0 0",
        ] {
            assert_eq!(Status::parse(text), None, "{text}");
        }
    }
}
