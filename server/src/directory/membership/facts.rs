//! [`NodeFacts`]: what a node says of itself, and how it stands in bytes.

use bailiwick_replication::GroupId;

use crate::directory::keys::PublicKey;
use crate::state::{DecodeError, Reader, put_bytes, put_varint};

/// The longest region or address, in bytes.
const TEXT_BYTES_MAX: usize = 1024;
/// In how many groups a node has seats, at most.
const SEATS_MAX: usize = 1 << 14;

/// A seat in a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seat {
    /// The group.
    pub group: GroupId,
    /// Whether the node leads it.
    pub is_leader: bool,
}

/// What a node says of itself. Texts longer than 1,024 bytes and more than 16,384 seats are cut off
/// on the way to others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeFacts {
    /// Its region.
    pub region: String,
    /// Where clients reach it, as `host:port`.
    pub client: String,
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
        64 + self.region.len() + self.client.len() + 5 * self.seats.len()
    }

    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        put_text(out, &self.region);
        put_text(out, &self.client);
        out.extend_from_slice(self.key.bytes());
        out.extend_from_slice(&self.disk.to_le_bytes());
        let seats = &self.seats[..self.seats.len().min(SEATS_MAX)];
        put_varint(out, seats.len() as u64);
        for seat in seats {
            put_varint(
                out,
                u64::from(seat.group.0) << 1 | u64::from(seat.is_leader),
            );
        }
        out.extend_from_slice(&self.directory.to_le_bytes());
    }

    pub(super) fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let (region, client) = (read_text(reader)?, read_text(reader)?);
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
    Ok(Seat {
        group: GroupId(group),
        is_leader: number & 1 == 1,
    })
}
