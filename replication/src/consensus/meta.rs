//! The record beside a group's log: where consensus stands, and who takes part in it.
//!
//! Format, numbers little-endian: version u8 | configuration id u32 | begins after u64 | member
//! count u8, members (node u64, disk u64) | promise | accepted round | decided u64 | trimmed u64 |
//! end u64. A ballot is a byte that says whether it is there, then configuration u32, number u32,
//! priority u32, member u64. The write-ahead log guards the bytes; a record of another version is
//! refused.

use omnipaxos::ballot_leader_election::Ballot;

use crate::{ConfigurationId, LogIndex, NodeId};

/// The version that this build writes and reads.
const VERSION: u8 = 1;
/// More members than any group may have.
const MAX_MEMBERS: usize = 16;

/// Who takes part in a group: a node with one particular data directory. A node whose directory
/// was emptied has forgotten what it promised and accepted, so it is somebody else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Member {
    /// The node.
    pub node: NodeId,
    /// The random number of its data directory.
    pub disk: u64,
}

/// One membership of a group. Configurations follow each other; a decided Seal ends one and begins
/// the next.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Configuration {
    /// Its number; 0 for a node that is no member of any yet.
    pub id: ConfigurationId,
    /// Its members, sorted by node.
    pub members: Vec<Member>,
    /// The last entry of the configuration before: this one's entries follow it.
    pub begins_after: LogIndex,
}

impl Configuration {
    /// The member that is this node, whatever its data directory.
    #[must_use]
    pub fn member(&self, node: NodeId) -> Option<Member> {
        let found = self.members.iter().find(|member| member.node == node);
        found.copied()
    }

    /// How many members are more than half.
    #[must_use]
    pub fn majority(&self) -> usize {
        self.members.len() / 2 + 1
    }
}

/// What stands beside the log on disk.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Meta {
    pub(crate) configuration: Configuration,
    pub(crate) promise: Option<Ballot>,
    pub(crate) accepted_round: Option<Ballot>,
    pub(crate) decided: u64,
    pub(crate) trimmed: u64,
    pub(crate) end: u64,
}

/// Why a record cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MetaError {
    /// Written by another version.
    #[error("the group's record has format {0}, this version reads {VERSION}")]
    Version(u8),
    /// Not what was written.
    #[error("the group's record is malformed at byte {0}")]
    Malformed(usize),
}

impl Meta {
    /// What a group begins with, on a node that takes part from the first entry on, or on one that
    /// is no member yet (the default configuration).
    #[must_use]
    pub fn new(configuration: Configuration) -> Meta {
        Meta {
            configuration,
            ..Meta::default()
        }
    }

    /// The configuration.
    #[must_use]
    pub fn configuration(&self) -> &Configuration {
        &self.configuration
    }

    /// Entries up to this one are covered by checkpoints.
    #[must_use]
    pub fn trimmed(&self) -> LogIndex {
        LogIndex(self.trimmed)
    }

    /// The last entry of the log.
    #[must_use]
    pub fn end(&self) -> LogIndex {
        LogIndex(self.end)
    }

    /// The last entry that was known to be decided.
    #[must_use]
    pub fn decided(&self) -> LogIndex {
        LogIndex(self.decided)
    }

    /// The bytes to store.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![VERSION];
        out.extend_from_slice(&self.configuration.id.0.to_le_bytes());
        out.extend_from_slice(&self.configuration.begins_after.0.to_le_bytes());
        out.push(self.configuration.members.len() as u8);
        for member in &self.configuration.members {
            out.extend_from_slice(&member.node.0.to_le_bytes());
            out.extend_from_slice(&member.disk.to_le_bytes());
        }
        put_ballot(&mut out, self.promise);
        put_ballot(&mut out, self.accepted_round);
        for number in [self.decided, self.trimmed, self.end] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        out
    }

    /// The record in `bytes`.
    pub fn decode(bytes: &[u8]) -> Result<Meta, MetaError> {
        let mut reader = Reader { bytes, at: 0 };
        let [version] = reader.array()?;
        if version != VERSION {
            return Err(MetaError::Version(version));
        }
        let id = ConfigurationId(u32::from_le_bytes(reader.array()?));
        let begins_after = LogIndex(reader.u64()?);
        let [count] = reader.array()?;
        if usize::from(count) > MAX_MEMBERS {
            return Err(MetaError::Malformed(reader.at - 1));
        }
        let mut members = Vec::new();
        for _ in 0..count {
            members.push(Member {
                node: NodeId(reader.u64()?),
                disk: reader.u64()?,
            });
        }
        let meta = Meta {
            configuration: Configuration {
                id,
                members,
                begins_after,
            },
            promise: reader.ballot()?,
            accepted_round: reader.ballot()?,
            decided: reader.u64()?,
            trimmed: reader.u64()?,
            end: reader.u64()?,
        };
        let is_sound = meta.trimmed <= meta.decided && meta.decided <= meta.end;
        if !is_sound || reader.at != bytes.len() {
            return Err(MetaError::Malformed(reader.at));
        }
        Ok(meta)
    }
}

fn put_ballot(out: &mut Vec<u8>, ballot: Option<Ballot>) {
    out.push(u8::from(ballot.is_some()));
    if let Some(ballot) = ballot {
        for number in [ballot.config_id, ballot.n, ballot.priority] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        out.extend_from_slice(&ballot.pid.to_le_bytes());
    }
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn array<const N: usize>(&mut self) -> Result<[u8; N], MetaError> {
        let (bytes, _) = self.bytes[self.at..]
            .split_first_chunk::<N>()
            .ok_or(MetaError::Malformed(self.at))?;
        self.at += N;
        Ok(*bytes)
    }

    fn u32(&mut self) -> Result<u32, MetaError> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    fn u64(&mut self) -> Result<u64, MetaError> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    fn ballot(&mut self) -> Result<Option<Ballot>, MetaError> {
        let [is_there] = self.array()?;
        if is_there == 0 {
            return Ok(None);
        }
        Ok(Some(Ballot {
            config_id: self.u32()?,
            n: self.u32()?,
            priority: self.u32()?,
            pid: self.u64()?,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Meta {
        let member = |node, disk| Member {
            node: NodeId(node),
            disk,
        };
        Meta {
            configuration: Configuration {
                id: ConfigurationId(3),
                members: vec![member(1, 11), member(2, 22), member(9, u64::MAX)],
                begins_after: LogIndex(70),
            },
            promise: Some(Ballot::with(3, 8, 1, 2)),
            accepted_round: None,
            decided: 80,
            trimmed: 50,
            end: 93,
        }
    }

    #[test]
    fn a_record_reads_back_as_it_was_written() {
        for meta in [sample(), Meta::default()] {
            assert_eq!(Meta::decode(&meta.encode()), Ok(meta));
        }
    }

    #[test]
    fn a_record_cut_short_or_of_another_version_is_refused() {
        let mut bytes = sample().encode();
        for len in 0..bytes.len() {
            assert!(Meta::decode(&bytes[..len]).is_err(), "{len} bytes");
        }
        bytes[0] = 2;
        assert_eq!(Meta::decode(&bytes), Err(MetaError::Version(2)));
    }

    #[test]
    fn a_record_whose_indexes_contradict_each_other_is_refused() {
        let mut meta = sample();
        meta.trimmed = meta.decided + 1;
        assert!(Meta::decode(&meta.encode()).is_err());
    }
}
