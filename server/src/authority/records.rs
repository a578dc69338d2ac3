//! The only ways in which an authority is written: one record at a time, each with what follows
//! from it.
//!
//! The digest is the sum of the hashes of all records, so that it costs little to keep and replicas
//! with many prefixes can compare themselves often.

use bailiwick_replication::GroupId;
use xxhash_rust::xxh3::xxh3_64;

use super::codec::{put_departed, put_domain, put_group_record};
use super::{Authority, Departed, Domain, GroupRecord};
use crate::state::{put_bytes, put_varint};

impl Authority {
    /// What all of it adds up to; equal on all replicas at the same entry of the log.
    #[must_use]
    pub fn digest(&self) -> u64 {
        self.digest.wrapping_add(u64::from(self.group.0))
    }

    /// What the group has to do with a prefix, for a change that ends with [`Authority::put`].
    pub(super) fn domain_or_empty(&self, prefix: &[u8]) -> Domain {
        self.domains.get(prefix).copied().unwrap_or_default()
    }

    /// Replaces what the group has to do with a prefix.
    pub(super) fn put(&mut self, prefix: &[u8], domain: Domain) {
        if domain.owned.is_some_and(|owned| owned.is_frozen()) {
            self.frozen.insert(prefix.into());
        } else {
            self.frozen.remove(prefix);
        }
        if domain.is_unsettled() {
            self.unsettled.insert(prefix.into());
        } else {
            self.unsettled.remove(prefix);
        }
        let before = if domain.is_empty() {
            self.domains.remove(prefix)
        } else {
            self.domains.insert(prefix, domain)
        };
        let after = Some(domain).filter(|domain| !domain.is_empty());
        self.rehash(prefix, before, after, put_domain);
        self.fence = self.present_fence();
    }

    /// Replaces where a prefix went.
    pub(super) fn set_departed(&mut self, prefix: &[u8], departed: Option<Departed>) {
        let before = match departed {
            Some(departed) => self.departed.insert(prefix, departed),
            None => self.departed.remove(prefix),
        };
        self.rehash(prefix, before, departed, |out, departed| {
            out.push(DEPARTED);
            put_departed(out, departed);
        });
    }

    /// Replaces the last epoch of a dropped prefix.
    pub(super) fn set_retired(&mut self, prefix: &[u8], epoch: Option<u64>) {
        let before = match epoch {
            Some(epoch) => self.retired.insert(prefix.into(), epoch),
            None => self.retired.remove(prefix),
        };
        self.rehash(prefix, before, epoch, |out, &epoch| {
            out.push(RETIRED);
            put_varint(out, epoch);
        });
    }

    /// Replaces what is known of a group.
    pub(super) fn set_group(&mut self, id: GroupId, record: GroupRecord) {
        let before = self.groups.insert(id, record.clone());
        self.rehash(&id.0.to_le_bytes(), before, Some(record), |out, record| {
            out.push(GROUP);
            put_group_record(out, record);
        });
    }

    /// The cluster's file says nothing any more.
    pub(super) fn set_founded(&mut self) {
        let before = self.is_founded.then_some(());
        self.is_founded = true;
        self.rehash(b"", before, Some(()), |out, ()| out.push(FOUNDED));
    }

    fn rehash<T>(
        &mut self,
        key: &[u8],
        before: Option<T>,
        after: Option<T>,
        put: impl Fn(&mut Vec<u8>, &T),
    ) {
        let hash = |record: Option<T>| {
            record.map_or(0, |record| {
                let mut bytes = Vec::with_capacity(64);
                put_bytes(&mut bytes, key);
                put(&mut bytes, &record);
                xxh3_64(&bytes)
            })
        };
        let change = hash(after).wrapping_sub(hash(before));
        self.digest = self.digest.wrapping_add(change);
    }
}

/// Tell records of other kinds from a domain, whose first byte is below these.
const DEPARTED: u8 = 0x10;
const RETIRED: u8 = 0x11;
const GROUP: u8 = 0x12;
const FOUNDED: u8 = 0x13;
