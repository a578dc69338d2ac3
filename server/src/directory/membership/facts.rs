//! [`NodeFacts`]: what a node says of itself, and how it stands in bytes.

use bailiwick_replication::GroupId;

use crate::directory::keys::PublicKey;
use crate::state::{DecodeError, Reader, put_bytes, put_varint};

/// The longest region or address, in bytes.
const TEXT_BYTES_MAX: usize = 1024;
/// In how many groups a node has seats, at most.
const SEATS_MAX: usize = 1 << 14;

/// A seat in a group, as a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seat {
    /// The group.
    pub group: GroupId,
    /// Since which leadership the node leads it; `None` if it follows. Of two nodes that say they
    /// lead, the one with the higher number does.
    pub leads_since: Option<u64>,
}

/// What a node says of itself. Texts longer than 1,024 bytes and more than 16,384 seats are cut off
/// on the way to others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeFacts {
    /// Its region.
    pub region: String,
    /// Where clients reach it, as `host:port`.
    pub client: String,
    /// Where clients reach it that know Redis Cluster; empty if it has no port for them.
    pub cluster: String,
    /// Where other nodes reach it.
    pub peer: String,
    /// The key that it signs with.
    pub key: PublicKey,
    /// The disk id of its data directory.
    pub disk: u64,
    /// The groups in which it has a seat.
    pub seats: Vec<Seat>,
    /// The root of its directory's digest tree.
    pub directory: u64,
}

impl NodeFacts {
    /// About how many bytes it takes.
    pub(super) fn size_bytes(&self) -> usize {
        let texts = [&self.region, &self.client, &self.cluster, &self.peer];
        let texts: usize = texts.iter().map(|text| text.len()).sum();
        64 + texts + 10 * self.seats.len()
    }

    /// Whether something else changed than what the node's directory holds, which changes with
    /// every record.
    pub(super) fn differs_in_itself(&self, before: &Self) -> bool {
        let alike = Self {
            directory: self.directory,
            ..before.clone()
        };
        *self != alike
    }

    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        for text in [&self.region, &self.client, &self.cluster, &self.peer] {
            put_text(out, text);
        }
        out.extend_from_slice(self.key.bytes());
        out.extend_from_slice(&self.disk.to_le_bytes());
        let seats = &self.seats[..self.seats.len().min(SEATS_MAX)];
        put_varint(out, seats.len() as u64);
        for seat in seats {
            let leads = u64::from(seat.leads_since.is_some());
            put_varint(out, u64::from(seat.group.0) << 1 | leads);
            if let Some(leadership) = seat.leads_since {
                put_varint(out, leadership);
            }
        }
        out.extend_from_slice(&self.directory.to_le_bytes());
    }

    pub(super) fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let (region, client) = (read_text(reader)?, read_text(reader)?);
        let (cluster, peer) = (read_text(reader)?, read_text(reader)?);
        let (key, disk) = (
            PublicKey::new(reader.array()?),
            u64::from_le_bytes(reader.array()?),
        );
        let count = reader.length()?;
        if count > SEATS_MAX {
            return Err(DecodeError::Malformed(reader.at()));
        }
        let seats = (0..count)
            .map(|_| read_seat(reader))
            .collect::<Result<_, _>>()?;
        let directory = u64::from_le_bytes(reader.array()?);
        Ok(Self {
            region,
            client,
            cluster,
            peer,
            key,
            disk,
            seats,
            directory,
        })
    }
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    let is_end = |end: &usize| text.is_char_boundary(*end);
    let end = (0..=text.len().min(TEXT_BYTES_MAX))
        .rev()
        .find(is_end)
        .unwrap_or(0);
    put_bytes(out, &text.as_bytes()[..end]);
}

fn read_text(reader: &mut Reader<'_>) -> Result<String, DecodeError> {
    let (at, text) = (reader.at(), reader.string()?);
    let text = std::str::from_utf8(text)
        .ok()
        .filter(|text| text.len() <= TEXT_BYTES_MAX);
    text.map(str::to_owned).ok_or(DecodeError::Malformed(at))
}

fn read_seat(reader: &mut Reader<'_>) -> Result<Seat, DecodeError> {
    let (at, number) = (reader.at(), reader.varint()?);
    let group = u32::try_from(number >> 1).map_err(|_| DecodeError::Malformed(at))?;
    let leads_since = (number & 1 == 1).then(|| reader.varint()).transpose()?;
    Ok(Seat {
        group: GroupId(group),
        leads_since,
    })
}
