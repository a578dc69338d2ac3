//! Who takes part in the group, as the log says.
//!
//! Owns the record that a SEAL item leaves in the state, and its bytes, which are the same in a log
//! entry and in a checkpoint:
//!
//! ```text
//! configuration = id | member count | member*
//! member        = node | disk u64
//! ```
//!
//! with LEB128 numbers except for the disk. What a configuration *means* (quorums, who may vote) is
//! the business of `replication`; the state only remembers the last one, so that a node that starts
//! from a checkpoint knows its group.

use bailiwick_replication::consensus::Member;
use bailiwick_replication::{ConfigurationId, LogIndex, NodeId};

use super::codec::{DecodeError, Reader, put_varint};

/// More members than any group may have: what bytes from elsewhere may announce.
pub const MAX_MEMBERS: usize = 16;

/// The membership that the last SEAL of the log began.
///
/// Invariant: `members.len() <= MAX_MEMBERS`, and `sealed_at <= applied` of the state that holds
/// it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Configuration {
    /// Its number.
    pub id: ConfigurationId,
    /// Its members, in the order of the SEAL.
    pub members: Vec<Member>,
    /// The entry with the SEAL: the last one of the configuration before.
    pub sealed_at: LogIndex,
}

/// Writes an id and members as the format above says.
pub(crate) fn put_members(out: &mut Vec<u8>, id: ConfigurationId, members: &[Member]) {
    put_varint(out, u64::from(id.0));
    put_member_list(out, members);
}

/// Reads what [`put_members`] wrote.
pub(crate) fn take_members(
    reader: &mut Reader<'_>,
) -> Result<(ConfigurationId, Vec<Member>), DecodeError> {
    let malformed = DecodeError::Malformed(reader.at());
    let id = u32::try_from(reader.varint()?).map_err(|_| malformed)?;
    Ok((ConfigurationId(id), take_member_list(reader)?))
}

/// Writes the count and the members.
pub(crate) fn put_member_list(out: &mut Vec<u8>, members: &[Member]) {
    assert!(members.len() <= MAX_MEMBERS, "{} members", members.len());
    put_varint(out, members.len() as u64);
    for member in members {
        put_varint(out, member.node.0);
        out.extend_from_slice(&member.disk.to_le_bytes());
    }
}

/// Reads what [`put_member_list`] wrote.
pub(crate) fn take_member_list(reader: &mut Reader<'_>) -> Result<Vec<Member>, DecodeError> {
    let malformed = DecodeError::Malformed(reader.at());
    let count = reader.length()?;
    if count > MAX_MEMBERS {
        return Err(malformed);
    }
    let mut members = Vec::with_capacity(count);
    for _ in 0..count {
        members.push(Member {
            node: NodeId(reader.varint()?),
            disk: u64::from_le_bytes(reader.array()?),
        });
    }
    Ok(members)
}
