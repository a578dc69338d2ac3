//! The log of a replicated group, as consensus wants it written and read.
//!
//! Owns how a [`LogWrite`] becomes one record, so that all of it is on disk or nothing, and the
//! *floor*: the highest index that was ever compacted, stored beside the log. One region, that of
//! configuration 0, serves a group for all its configurations.
//!
//! Why a floor: the engine forgets a compaction with the file that says so, while entries that it
//! had moved to its rewrite files are still there. After a start a log may then begin with old
//! entries, even with some that end before the first that is wanted, and the engine panics when
//! an append leaves a hole. So what lies at or below the floor is taken as absent, and the next
//! write removes it before it appends.
//!
//! Why one record may hold a compaction and what follows it: the engine applies the items of a
//! record in their order, when it is written and when it is replayed, and a compaction beyond the
//! end leaves a log that may begin anywhere. A start replays ranges of files side by side and
//! applies the compactions of the later range to the earlier one first, which changes nothing,
//! because the indexes of a group never go back behind its floor.
//!
//! Not done here: cutting off a suffix without replacing it, which the engine cannot. The caller's
//! record says where the log ends; what lies behind that is to be ignored, and the next entries
//! replace it. The end that the engine knows must not be asked for: after a start, entries behind
//! the true end may be there again, as old ones below the floor are.

use std::ops::RangeInclusive;
use std::sync::Arc;

use bytes::Bytes;

use super::Wal;
use super::batch::meta_key;
use crate::consensus::{LogSource, LogWrite};
use crate::ids::region_id;
use crate::{ConfigurationId, GroupId, LogIndex, WalError};

/// Key of the caller's record.
const RECORD_KEY: &[u8] = b"group";
/// Key of the floor, a little-endian u64; absent if nothing was ever compacted.
pub(super) const FLOOR_KEY: &[u8] = b"floor";

impl Wal {
    /// Writes all of `write` to the log of a group, atomically. With `sync` it is durable on
    /// return, and so is all that any group appended before.
    ///
    /// `Full` leaves the log as it was; entries are refused at the reserve, everything else goes
    /// below it. Asserts that the entries leave no hole, are not compacted, and are within
    /// [`MAX_APPEND_BYTES`](crate::MAX_APPEND_BYTES).
    pub fn write_log(&self, group: GroupId, write: &LogWrite, sync: bool) -> Result<(), WalError> {
        self.check_failure()?;
        let region = group_region(group);
        let old_floor = self.floor(region);
        let floor = old_floor.max(write.compact.unwrap_or_default());
        let has_entries = !write.entries.is_empty();
        if has_entries {
            self.assert_follows(region, floor, write.first);
            self.admit(group, &write.entries)?;
        }
        let mut scratch = self.take_scratch();
        if !has_entries {
            scratch.put_mark(region, self.mark());
        }
        if write.compact.is_some() || self.begins_at_or_below(region, floor) {
            scratch.put_compact(region, floor);
        }
        if has_entries {
            scratch.put_entries(region, self.mark(), write.first, &write.entries);
        }
        scratch.put_value(region, RECORD_KEY, &write.meta);
        if floor > old_floor {
            scratch.put_floor(region, floor);
        }
        self.write(scratch, sync)
    }

    /// The record of the last [`Wal::write_log`] of a group; `None` if there was none.
    pub fn group_meta(&self, group: GroupId) -> Option<Vec<u8>> {
        self.engine.get(group_region(group), &meta_key(RECORD_KEY))
    }

    /// Whether entries of so many bytes would be admitted now; `Full` if not. The append itself
    /// may still find the disk full.
    pub fn has_room(&self, bytes: u64) -> Result<(), WalError> {
        self.check_failure()?;
        self.space.would_admit(bytes)
    }

    /// Entries of a group from the first of the range on: as many as take `max_bytes` in the log, but
    /// at least one. `Missing` unless all of the range are there.
    pub(super) fn read_range(
        &self,
        group: GroupId,
        range: RangeInclusive<LogIndex>,
        max_bytes: usize,
    ) -> Result<Vec<Bytes>, WalError> {
        self.check_failure()?;
        let region = group_region(group);
        let (from, to) = range.into_inner();
        if from > to {
            return Ok(Vec::new());
        }
        let present = self.present(region, self.floor(region));
        let (first, last) = present.unwrap_or_default();
        if from < first || to > last {
            return Err(WalError::Missing {
                index: if from < first { from } else { last.next() },
                first,
                last,
            });
        }
        let records = self.fetch(region, from.0, to.next().0, Some(max_bytes))?;
        let last = from.0 + records.len().max(1) as u64 - 1;
        let indexes = records.iter().map(|record| record.index().0);
        if last > to.0 || !indexes.eq(from.0..=last) {
            let reason = format!("entries {from} to {to} of group {group} have other indexes");
            return Err(self.damage(&reason));
        }
        let payloads = records.into_iter().map(|record| record.into_payload());
        Ok(payloads.collect())
    }

    /// The highest index that was ever compacted.
    pub(super) fn floor(&self, region: u64) -> LogIndex {
        let stored = self.engine.get(region, &meta_key(FLOOR_KEY));
        let bytes = stored.and_then(|stored| stored.try_into().ok());
        LogIndex(bytes.map_or(0, u64::from_le_bytes))
    }

    /// The first and the last index above the floor.
    pub(super) fn present(&self, region: u64, floor: LogIndex) -> Option<(LogIndex, LogIndex)> {
        let first = LogIndex(self.engine.first_index(region)?);
        let last = LogIndex(self.engine.last_index(region)?);
        (last > floor).then_some((first.max(floor.next()), last))
    }

    /// Whether the engine has entries that are taken as absent.
    pub(super) fn begins_at_or_below(&self, region: u64, floor: LogIndex) -> bool {
        let first = self.engine.first_index(region);
        first.is_some_and(|first| first <= floor.0)
    }

    /// Asserts that entries from `first` on leave no hole behind those above the floor.
    pub(super) fn assert_follows(&self, region: u64, floor: LogIndex, first: LogIndex) {
        assert!(first > floor, "append at {first}, compacted up to {floor}");
        match self.present(region, floor) {
            Some((oldest, last)) => {
                assert!(first <= last.next(), "append at {first} behind {last}");
                assert!(first >= oldest, "append at {first} before {oldest}");
            }
            // A log without a floor may have been compacted before it was replicated.
            None => assert!(
                floor == LogIndex::ZERO || first == floor.next(),
                "append at {first} to a log compacted up to {floor}"
            ),
        }
    }
}

/// The region of a group in all its configurations.
fn group_region(group: GroupId) -> u64 {
    region_id(group, ConfigurationId(0))
}

/// Entries of one group, read back for its replica.
pub struct WalSource {
    wal: Arc<Wal>,
    group: GroupId,
    stop: fn(&str) -> !,
}

impl WalSource {
    /// Reads from the log of `group` in `wal`, which stays open for as long as this lives. If a
    /// read fails, `stop` is called with the reason; it must end the process.
    #[must_use]
    pub fn new(wal: Arc<Wal>, group: GroupId, stop: fn(&str) -> !) -> WalSource {
        WalSource { wal, group, stop }
    }
}

impl LogSource for WalSource {
    fn read(&self, from: LogIndex, to: LogIndex, max_bytes: usize) -> Vec<Bytes> {
        match self.wal.read_range(self.group, from..=to, max_bytes) {
            Ok(entries) => entries,
            Err(error) => (self.stop)(&format!(
                "cannot read entries {from} to {to} of group {}: {error}",
                self.group
            )),
        }
    }
}
