//! The bytes of an authority in a checkpoint, and of the delegations that go along with a prefix.
//!
//! ```text
//! authority   = group | domains | departed | retired | groups, each a count and so many | founded u8
//! domain      = prefix | parts u8 | [owned] | [arriving] | [delegated]
//! owned       = epoch | phase u8 | [to] | [attempt]
//! arriving    = epoch | from | attempt | staged u8 | [next chunk | count | digest u64]
//! delegated   = epoch | group | moving u8 | [to | epoch]
//! departed    = prefix | epoch | group
//! retired     = prefix | epoch
//! group       = id | name | configuration | members | members, each a count and node | disk u64
//! delegations = count | (prefix | delegated)* | retired
//! ```
//!
//! Fixed numbers are little-endian, the others LEB128; prefixes and names come after their length.

use bailiwick_replication::GroupId;

use super::{
    Arriving, Authority, Delegated, Departed, Domain, GroupRecord, MAX_PREFIX_BYTES, Moving, Owned,
    Phase, Staged,
};
use crate::state::{DecodeError, Reader, put_bytes, put_member_list, put_varint, take_member_list};

const OWNED: u8 = 1;
const ARRIVING: u8 = 2;
const DELEGATED: u8 = 4;

/// What was delegated below a prefix, by right of owning it, with the last epochs of what was
/// dropped.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Delegations {
    /// Delegations, by prefix.
    pub live: Vec<(Box<[u8]>, Delegated)>,
    /// Epochs of dropped ones, by prefix.
    pub retired: Vec<(Box<[u8]>, u64)>,
}

impl Delegations {
    /// Their bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        put_varint(&mut out, self.live.len() as u64);
        for (prefix, delegated) in &self.live {
            put_bytes(&mut out, prefix);
            put_delegated(&mut out, delegated);
        }
        put_varint(&mut out, self.retired.len() as u64);
        for (prefix, epoch) in &self.retired {
            put_bytes(&mut out, prefix);
            put_varint(&mut out, *epoch);
        }
        out
    }

    /// Reads what [`Delegations::encode`] wrote, and nothing else.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes);
        let mut delegations = Self::default();
        for _ in 0..reader.length()? {
            let prefix = take_prefix(&mut reader)?.into();
            let delegated = take_delegated(&mut reader)?;
            delegations.live.push((prefix, delegated));
        }
        for _ in 0..reader.length()? {
            let prefix = take_prefix(&mut reader)?.into();
            delegations.retired.push((prefix, reader.varint()?));
        }
        if reader.is_done() {
            Ok(delegations)
        } else {
            Err(DecodeError::Malformed(reader.at()))
        }
    }

    /// Whether all of them are longer than `prefix` and begin with it.
    #[must_use]
    pub(super) fn are_below(&self, prefix: &[u8]) -> bool {
        let live = self.live.iter().map(|(below, _)| below);
        let mut all = live.chain(self.retired.iter().map(|(below, _)| below));
        all.all(|below| below.len() > prefix.len() && below.starts_with(prefix))
    }
}

impl Authority {
    /// Writes it for a checkpoint.
    pub(crate) fn put_all(&self, out: &mut Vec<u8>) {
        put_group(out, self.group);
        put_varint(out, self.domains.len() as u64);
        for (prefix, domain) in self.domains() {
            put_bytes(out, prefix);
            put_domain(out, domain);
        }
        put_varint(out, self.departed.len() as u64);
        for (prefix, departed) in self.departed.iter() {
            put_bytes(out, prefix);
            put_departed(out, departed);
        }
        put_varint(out, self.retired.len() as u64);
        for (prefix, &epoch) in &self.retired {
            put_bytes(out, prefix);
            put_varint(out, epoch);
        }
        put_varint(out, self.groups.len() as u64);
        for (&id, record) in &self.groups {
            put_group(out, id);
            put_group_record(out, record);
        }
        out.push(u8::from(self.is_founded));
    }

    /// Reads what [`Authority::put_all`] wrote.
    pub(crate) fn take_all(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let mut authority = Self::nothing(take_group(reader)?);
        for _ in 0..reader.length()? {
            let malformed = DecodeError::Malformed(reader.at());
            let prefix = take_prefix(reader)?;
            let domain = take_domain(reader)?;
            if domain.is_empty() || domain.owned.is_some() && domain.arriving.is_some() {
                return Err(malformed);
            }
            authority.put(prefix, domain);
        }
        for _ in 0..reader.length()? {
            let prefix = take_prefix(reader)?;
            let departed = Departed {
                epoch: reader.varint()?,
                group: take_group(reader)?,
            };
            authority.set_departed(prefix, Some(departed));
        }
        for _ in 0..reader.length()? {
            let prefix = take_prefix(reader)?;
            authority.set_retired(prefix, Some(reader.varint()?));
        }
        for _ in 0..reader.length()? {
            let id = take_group(reader)?;
            let record = GroupRecord {
                name: reader.string()?.into(),
                configuration: take_u32(reader)?,
                founders: take_member_list(reader)?,
                members: take_member_list(reader)?,
            };
            authority.set_group(id, record);
        }
        match reader.array()? {
            [0] => {}
            [1] => authority.set_founded(),
            _ => return Err(DecodeError::Malformed(reader.at() - 1)),
        }
        Ok(authority)
    }
}

pub(super) fn put_departed(out: &mut Vec<u8>, departed: &Departed) {
    put_varint(out, departed.epoch);
    put_group(out, departed.group);
}

pub(super) fn put_group_record(out: &mut Vec<u8>, record: &GroupRecord) {
    put_bytes(out, &record.name);
    put_varint(out, u64::from(record.configuration));
    put_member_list(out, &record.founders);
    put_member_list(out, &record.members);
}

pub(super) fn put_domain(out: &mut Vec<u8>, domain: &Domain) {
    let part = |bit, is_there| if is_there { bit } else { 0 };
    out.push(
        part(OWNED, domain.owned.is_some())
            | part(ARRIVING, domain.arriving.is_some())
            | part(DELEGATED, domain.delegated.is_some()),
    );
    if let Some(owned) = &domain.owned {
        put_varint(out, owned.epoch);
        match owned.phase {
            Phase::Serving => out.push(0),
            Phase::Leaving { to } => {
                out.push(1);
                put_group(out, to);
            }
            Phase::Frozen { to, attempt } => {
                out.push(2);
                put_group(out, to);
                put_varint(out, attempt);
            }
        }
    }
    if let Some(arriving) = &domain.arriving {
        put_varint(out, arriving.epoch);
        put_group(out, arriving.from);
        put_varint(out, arriving.attempt);
        out.push(u8::from(arriving.staged.is_some()));
        if let Some(staged) = &arriving.staged {
            put_varint(out, staged.next_chunk);
            put_varint(out, staged.count);
            out.extend_from_slice(&staged.digest.to_le_bytes());
        }
    }
    if let Some(delegated) = &domain.delegated {
        put_delegated(out, delegated);
    }
}

fn take_domain(reader: &mut Reader<'_>) -> Result<Domain, DecodeError> {
    let [parts] = reader.array()?;
    if parts & !(OWNED | ARRIVING | DELEGATED) != 0 {
        return Err(DecodeError::Malformed(reader.at() - 1));
    }
    let mut domain = Domain::default();
    if parts & OWNED != 0 {
        let epoch = reader.varint()?;
        let phase = match reader.array()? {
            [0] => Phase::Serving,
            [1] => Phase::Leaving {
                to: take_group(reader)?,
            },
            [2] => Phase::Frozen {
                to: take_group(reader)?,
                attempt: reader.varint()?,
            },
            _ => return Err(DecodeError::Malformed(reader.at() - 1)),
        };
        domain.owned = Some(Owned { epoch, phase });
    }
    if parts & ARRIVING != 0 {
        domain.arriving = Some(take_arriving(reader)?);
    }
    if parts & DELEGATED != 0 {
        domain.delegated = Some(take_delegated(reader)?);
    }
    Ok(domain)
}

fn take_arriving(reader: &mut Reader<'_>) -> Result<Arriving, DecodeError> {
    let malformed = DecodeError::Malformed(reader.at());
    let epoch = reader.varint()?;
    let from = take_group(reader)?;
    let attempt = reader.varint()?;
    let staged = match reader.array()? {
        [0] => None,
        [1] => Some(Staged {
            next_chunk: reader.varint()?,
            count: reader.varint()?,
            digest: u64::from_le_bytes(reader.array()?),
        }),
        _ => return Err(malformed),
    };
    if epoch == 0 {
        return Err(malformed);
    }
    Ok(Arriving {
        epoch,
        from,
        attempt,
        staged,
    })
}

fn put_delegated(out: &mut Vec<u8>, delegated: &Delegated) {
    put_varint(out, delegated.epoch);
    put_group(out, delegated.group);
    match &delegated.moving {
        None => out.push(0),
        Some(moving) => {
            out.push(1 + u8::from(moving.drops));
            put_group(out, moving.to);
            put_varint(out, moving.epoch);
        }
    }
}

fn take_delegated(reader: &mut Reader<'_>) -> Result<Delegated, DecodeError> {
    let epoch = reader.varint()?;
    let group = take_group(reader)?;
    let [moving] = reader.array()?;
    let moving = match moving {
        0 => None,
        1 | 2 => Some(Moving {
            to: take_group(reader)?,
            epoch: reader.varint()?,
            drops: moving == 2,
        }),
        _ => return Err(DecodeError::Malformed(reader.at() - 1)),
    };
    Ok(Delegated {
        epoch,
        group,
        moving,
    })
}

fn put_group(out: &mut Vec<u8>, group: GroupId) {
    put_varint(out, u64::from(group.0));
}

fn take_group(reader: &mut Reader<'_>) -> Result<GroupId, DecodeError> {
    take_u32(reader).map(GroupId)
}

fn take_u32(reader: &mut Reader<'_>) -> Result<u32, DecodeError> {
    let malformed = DecodeError::Malformed(reader.at());
    u32::try_from(reader.varint()?).map_err(|_| malformed)
}

fn take_prefix<'a>(reader: &mut Reader<'a>) -> Result<&'a [u8], DecodeError> {
    let malformed = DecodeError::Malformed(reader.at());
    let prefix = reader.string()?;
    if prefix.len() > MAX_PREFIX_BYTES {
        return Err(malformed);
    }
    Ok(prefix)
}
