//! The bytes of waiters in a checkpoint, which digests look at as well.
//!
//! ```text
//! waiters = next ordinal | count | waiter* | count | served*
//! waiter  = id | database | protocol u8 | arrival i64 | ordinal | kind u8
//!         | 1 or-absent, 2 kept u8 | count | key* | count | argument*
//! served  = id | reply
//! id      = node | incarnation | number
//! ```

use std::collections::BTreeMap;

use bailiwick_frame::Protocol;
use bytes::Bytes;

use super::super::codec::{DecodeError, Reader, put_bytes, put_varint};
use super::waiter::Request;
use super::{Kind, Place, Waiter, WaiterId, Waiters};
use crate::keyspace::Awaited;

impl Waiters {
    /// Writes all of them.
    pub(in crate::state) fn put(&self, out: &mut Vec<u8>) {
        put_varint(out, self.next_ordinal);
        put_varint(out, self.waiting.len() as u64);
        for (id, waiter) in &self.waiting {
            id.put(out);
            waiter.put(out);
        }
        put_varint(out, self.served.len() as u64);
        for (id, reply) in &self.served {
            id.put(out);
            put_bytes(out, reply);
        }
    }

    /// Reads what [`Waiters::put`] wrote; refuses what breaks an invariant.
    pub(in crate::state) fn take(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let mut waiters = Self {
            next_ordinal: reader.varint()?,
            ..Self::default()
        };
        // Filled in by whoever has the keyspace.
        let mut nobody = Awaited::default();
        for _ in 0..reader.length()? {
            let malformed = DecodeError::Malformed(reader.at());
            let (id, waiter) = (WaiterId::take(reader)?, Waiter::take(reader)?);
            let is_known = waiters.waiting.contains_key(&id);
            if is_known || waiter.place.ordinal >= waiters.next_ordinal {
                return Err(malformed);
            }
            waiters.insert(id, waiter, &mut nobody);
        }
        for _ in 0..reader.length()? {
            let malformed = DecodeError::Malformed(reader.at());
            let id = WaiterId::take(reader)?;
            let reply = Bytes::copy_from_slice(reader.string()?);
            if waiters.waiting.contains_key(&id) || waiters.served.insert(id, reply).is_some() {
                return Err(malformed);
            }
        }
        let places: usize = waiters.queues.values().map(BTreeMap::len).sum();
        let keys = waiters.waiting.values().map(|waiter| waiter.keys.len());
        if places != keys.sum::<usize>() {
            return Err(DecodeError::Malformed(reader.at()));
        }
        Ok(waiters)
    }
}

impl WaiterId {
    fn put(self, out: &mut Vec<u8>) {
        put_varint(out, u64::from(self.node));
        put_varint(out, self.incarnation);
        put_varint(out, self.number);
    }

    fn take(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let malformed = DecodeError::Malformed(reader.at());
        Ok(Self {
            node: u32::try_from(reader.varint()?).map_err(|_| malformed)?,
            incarnation: reader.varint()?,
            number: reader.varint()?,
        })
    }
}

const OR_ABSENT: u8 = 1;
const KEPT: u8 = 2;

impl Waiter {
    fn put(&self, out: &mut Vec<u8>) {
        put_varint(out, self.database as u64);
        out.push(match self.protocol {
            Protocol::Resp2 => 2,
            Protocol::Resp3 => 3,
        });
        out.extend_from_slice(&self.place.arrival_ms.to_le_bytes());
        put_varint(out, self.place.ordinal);
        out.push(self.kind as u8);
        let or_absent = OR_ABSENT * u8::from(self.or_absent);
        out.push(or_absent | (KEPT * u8::from(self.kept)));
        put_varint(out, self.keys.len() as u64);
        self.keys.iter().for_each(|key| put_bytes(out, key));
        put_varint(out, self.request.ranges.len() as u64);
        self.request().iter().for_each(|arg| put_bytes(out, arg));
    }

    fn take(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let malformed = DecodeError::Malformed(reader.at());
        let database = reader.length()?;
        let protocol = match reader.array()? {
            [2] => Protocol::Resp2,
            [3] => Protocol::Resp3,
            _ => return Err(malformed),
        };
        let arrival_ms = i64::from_le_bytes(reader.array()?);
        let ordinal = reader.varint()?;
        let [kind, flags] = reader.array()?;
        let kind = Kind::ALL.into_iter().find(|known| *known as u8 == kind);
        let kind = kind.ok_or(malformed)?;
        let mut keys: Vec<Box<[u8]>> = Vec::new();
        for _ in 0..reader.length()? {
            keys.push(reader.string()?.into());
        }
        let mut args = Vec::new();
        for _ in 0..reader.length()? {
            args.push(reader.string()?);
        }
        if args.is_empty() || flags > OR_ABSENT | KEPT {
            return Err(malformed);
        }
        Ok(Self {
            database,
            protocol,
            place: Place {
                arrival_ms,
                ordinal,
            },
            kind,
            or_absent: flags & OR_ABSENT != 0,
            kept: flags & KEPT != 0,
            keys,
            request: Request::of(args.into_iter()),
        })
    }
}
