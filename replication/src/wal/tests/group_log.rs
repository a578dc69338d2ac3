//! The log of a replicated group against kills, compactions beyond its end, and full disks.

use bytes::Bytes;

use super::*;
use crate::consensus::LogSource;

const NONE: [&[u8]; 0] = [];

fn write(compact: Option<u64>, first: u64, entries: &[impl AsRef<[u8]>], meta: &str) -> LogWrite {
    let entries = entries.iter();
    LogWrite {
        compact: compact.map(LogIndex),
        first: LogIndex(first),
        entries: entries
            .map(|entry| Bytes::copy_from_slice(entry.as_ref()))
            .collect(),
        meta: meta.as_bytes().to_vec(),
    }
}

fn no_stop(reason: &str) -> ! {
    panic!("stopped: {reason}")
}

/// What a group's log holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Held {
    floor: u64,
    entries: BTreeMap<u64, Vec<u8>>,
    meta: Option<Vec<u8>>,
}

impl Held {
    /// As the log should be after a write.
    fn apply(&mut self, write: &LogWrite) {
        self.floor = self.floor.max(write.compact.unwrap_or_default().0);
        self.entries = self.entries.split_off(&(self.floor + 1));
        if !write.entries.is_empty() {
            self.entries.split_off(&write.first.0);
        }
        for (at, entry) in write.entries.iter().enumerate() {
            self.entries
                .insert(write.first.0 + at as u64, entry.to_vec());
        }
        self.meta = Some(write.meta.clone());
    }

    fn end(&self) -> u64 {
        let last = self.entries.keys().next_back();
        last.copied().unwrap_or(self.floor)
    }
}

fn held(wal: &Wal, group: GroupId) -> Held {
    let region = region_id(group, ConfigurationId(0));
    let floor = wal.floor(region);
    let mut entries = BTreeMap::new();
    if let Some((first, last)) = wal.present(region, floor) {
        let read = wal.read_range(group, first..=last, usize::MAX).unwrap();
        entries.extend((first.0..).zip(read.iter().map(|entry| entry.to_vec())));
    }
    Held {
        floor: floor.0,
        entries,
        meta: wal.group_meta(group),
    }
}

/// Writes all of them, checks the log after each, and again after opening it anew.
fn check_each(path: &Path, writes: &[LogWrite]) -> Held {
    let mut want = Held::default();
    for write in writes {
        let wal = open(path);
        assert_eq!(held(&wal, GROUP), want, "before {write:?}");
        wal.write_log(GROUP, write, true).unwrap();
        want.apply(write);
        assert_eq!(held(&wal, GROUP), want, "after {write:?}");
    }
    assert_eq!(held(&open(path), GROUP), want);
    want
}

#[test]
fn a_group_that_was_never_written_has_no_record() {
    let temp = tempfile::tempdir().unwrap();
    assert_eq!(held(&open(temp.path()), GROUP), Held::default());
}

#[test]
fn a_suffix_is_replaced_together_with_the_record() {
    let temp = tempfile::tempdir().unwrap();
    let writes = [
        write(None, 1, &["a", "b", "c", "d"], "one"),
        write(None, 3, &["C"], "two"),
        write(None, 4, &NONE, "three"),
        write(None, 4, &["D", ""], "four"),
    ];
    let want = check_each(temp.path(), &writes);
    assert_eq!(want.entries[&3], b"C");
    assert_eq!(want.end(), 5);
    assert_eq!(want.meta, Some(b"four".to_vec()));
}

#[test]
fn a_log_goes_on_behind_a_checkpoint_beyond_its_end() {
    let temp = tempfile::tempdir().unwrap();
    let writes = [
        write(None, 1, &["a", "b", "c"], "1"),
        // With its first entries in the same write, and again without any.
        write(Some(20), 21, &["u", "v"], "2"),
        write(Some(30), 31, &NONE, "3"),
        write(None, 31, &NONE, "4"),
        write(None, 31, &["e"], "5"),
        // Repeated, lower, and in the middle.
        write(Some(30), 32, &["f", "g"], "6"),
        write(Some(7), 34, &NONE, "7"),
        write(Some(32), 33, &["G"], "8"),
    ];
    let want = check_each(temp.path(), &writes);
    assert_eq!(want.floor, 32);
    assert_eq!(want.entries, BTreeMap::from([(33, b"G".to_vec())]));
}

#[test]
fn a_log_may_begin_behind_a_checkpoint() {
    let temp = tempfile::tempdir().unwrap();
    let writes = [
        write(Some(9), 10, &["x"], "1"),
        write(None, 11, &["y"], "2"),
    ];
    check_each(temp.path(), &writes);
}

#[test]
fn a_log_that_ran_without_consensus_is_taken_over() {
    let temp = tempfile::tempdir().unwrap();
    let wal = open(temp.path());
    let alone = ConfigurationId(0);
    let entries = [b"a", b"b", b"c"];
    wal.append(GROUP, alone, LogIndex(1), &entries, true)
        .unwrap();
    wal.compact(GROUP, alone, LogIndex(1)).unwrap();
    wal.write_log(GROUP, &write(None, 4, &["d"], "first"), true)
        .unwrap();
    let keys: Vec<u64> = held(&wal, GROUP).entries.into_keys().collect();
    assert_eq!(keys, [2, 3, 4]);
}

#[test]
#[should_panic(expected = "append at 5 behind 1")]
fn a_hole_in_a_groups_log_is_a_bug_of_the_caller() {
    let temp = tempfile::tempdir().unwrap();
    let wal = open(temp.path());
    wal.write_log(GROUP, &write(None, 1, &["a"], ""), true)
        .unwrap();
    let _ = wal.write_log(GROUP, &write(None, 5, &["b"], ""), true);
}

#[test]
#[should_panic(expected = "append at 12 to a log compacted up to 10")]
fn a_hole_behind_a_checkpoint_is_a_bug_of_the_caller() {
    let temp = tempfile::tempdir().unwrap();
    let wal = open(temp.path());
    wal.write_log(GROUP, &write(None, 1, &["a"], ""), true)
        .unwrap();
    let _ = wal.write_log(GROUP, &write(Some(10), 12, &["b"], ""), true);
}

/// Cuts the file at every byte of what the last write added: nothing or all of it is there.
fn check_kills(before: &[LogWrite], last: &LogWrite) {
    let temp = tempfile::tempdir().unwrap();
    let mut want = Held::default();
    let wal = open(temp.path());
    let file = wal.current.lock().clone().unwrap();
    for write in before {
        wal.write_log(GROUP, write, true).unwrap();
        want.apply(write);
    }
    let start = file.written();
    wal.write_log(GROUP, last, true).unwrap();
    let end = file.written();
    drop((wal, file));
    let path = temp.path().join("log/0000000000000001.raftlog");
    let whole = fs::read(&path).unwrap();
    for cut in start..end {
        for zeros in [0, 3000] {
            let mut bytes = whole[..cut as usize].to_vec();
            bytes.resize(bytes.len() + zeros, 0);
            // A checksum may end with zeros, which the reserved space then completes.
            let is_whole = bytes.len() as u64 >= end && bytes[..end as usize] == whole[..];
            fs::write(&path, &bytes).unwrap();
            let (wal, recovery) = try_open(temp.path()).unwrap();
            let mut want = want.clone();
            if is_whole {
                want.apply(last);
            }
            assert_eq!(held(&wal, GROUP), want, "cut at {cut} of {start}..{end}");
            assert!(recovery.cut.len() <= 1);
            wal.write_log(GROUP, last, true).unwrap();
            want.apply(last);
            assert_eq!(held(&wal, GROUP), want);
        }
    }
    fs::write(&path, &whole).unwrap();
    want.apply(last);
    assert_eq!(held(&open(temp.path()), GROUP), want);
}

#[test]
fn a_killed_write_is_there_as_a_whole_or_not_at_all() {
    let before = [write(None, 1, &["a", "b", "c", "d"], "old record")];
    let lasts = [
        write(None, 3, &["CCC", "DDD", "EEE"], "new record"),
        write(Some(2), 3, &["CCC", "DDD"], "new record"),
        write(Some(40), 41, &["later", "and later"], "new record"),
        write(Some(3), 5, &NONE, "new record"),
        write(None, 5, &NONE, "new record"),
    ];
    for last in &lasts {
        check_kills(&before, last);
    }
}

#[test]
fn damage_before_a_groups_durable_write_is_found() {
    let lasts = [
        write(None, 3, &["c"], "record"),
        write(None, 3, &NONE, "record"),
        write(Some(2), 3, &NONE, "record"),
        write(Some(2), 3, &["c"], "record"),
    ];
    for last in &lasts {
        let temp = tempfile::tempdir().unwrap();
        let wal = open(temp.path());
        let file = wal.current.lock().clone().unwrap();
        wal.write_log(GROUP, &write(None, 1, &["a"], ""), true)
            .unwrap();
        let start = file.written();
        wal.write_log(GROUP, &write(None, 2, &["b"], ""), true)
            .unwrap();
        wal.write_log(GROUP, last, true).unwrap();
        drop((wal, file));
        let path = temp.path().join("log/0000000000000001.raftlog");
        let handle = OpenOptions::new().write(true).open(&path).unwrap();
        handle.write_all_at(&[0xff; 4], start + 20).unwrap();
        let error = try_open(temp.path()).err().unwrap();
        assert!(
            matches!(error, Error::Damaged { offset, .. } if offset == start),
            "{last:?}"
        );
    }
}

/// Random writes to two groups that keep each other's old files alive, over many small files, with
/// purges and restarts. What the engine has moved and forgotten must never show.
fn check_random_writes(seed: u64) {
    let temp = tempfile::tempdir().unwrap();
    let mut random = fastrand::Rng::with_seed(seed);
    let groups = [GroupId(1), GroupId(2)];
    let mut want = [Held::default(), Held::default()];
    let mut wal = open(temp.path());
    for step in 0..250 {
        let at = usize::from(random.u32(0..8) == 0);
        let write = random_write(&mut random, &want[at], step);
        wal.write_log(groups[at], &write, true).unwrap();
        want[at].apply(&write);
        if random.u32(0..4) == 0 {
            wal.purge().unwrap();
        }
        if random.u32(0..10) > 0 {
            continue;
        }
        drop(wal);
        wal = open(temp.path());
        for (group, want) in groups.into_iter().zip(&want) {
            check_restarted(&wal, group, want, &format!("seed {seed}, step {step}"));
        }
    }
}

/// All of `want` is there. Of what was compacted nothing shows, but entries that were cut off by
/// a compaction beyond them may be there again, behind the end.
fn check_restarted(wal: &Wal, group: GroupId, want: &Held, place: &str) {
    let held = held(wal, group);
    assert_eq!(
        (held.floor, &held.meta),
        (want.floor, &want.meta),
        "{place}"
    );
    for (index, entry) in &want.entries {
        let found = held.entries.get(index);
        assert!(
            found == Some(entry),
            "{place}: entry {index} of group {group}"
        );
    }
    let mut extra = held.entries.range(..=want.end());
    let extra = extra.find(|(index, _)| !want.entries.contains_key(index));
    assert!(extra.is_none(), "{place}: {extra:?} in group {group}");
}

fn random_write(random: &mut fastrand::Rng, held: &Held, step: u32) -> LogWrite {
    let end = held.end();
    let compact = match random.u32(0..12) {
        0 => Some(end + random.u64(0..5)),
        1 | 2 => Some(random.u64(held.floor..=end)),
        3 => Some(held.floor / 2),
        _ => None,
    };
    let floor = held.floor.max(compact.unwrap_or(0));
    let next = end.max(floor) + 1;
    let first = match random.u32(0..4) {
        0 => random.u64(next.saturating_sub(5).max(floor + 1)..=next),
        _ => next,
    };
    let count = random.usize(0..4);
    let entries: Vec<Vec<u8>> = (0..count)
        .map(|_| vec![random.u8(..); random.usize(0..9000)])
        .collect();
    write(compact, first, &entries, &format!("record {step}"))
}

#[test]
fn any_sequence_of_writes_purges_and_restarts_reads_back() {
    for seed in 0..4 {
        check_random_writes(seed);
    }
}

#[test]
fn purging_after_a_trim_removes_files() {
    let temp = tempfile::tempdir().unwrap();
    let wal = open(temp.path());
    for index in 1..=20 {
        wal.write_log(GROUP, &write(None, index, &[[7; 20_000]], "m"), true)
            .unwrap();
    }
    let before = log_files(temp.path(), "raftlog").len();
    wal.purge().unwrap();
    wal.write_log(GROUP, &write(Some(18), 21, &NONE, "trimmed"), true)
        .unwrap();
    wal.purge().unwrap();
    assert!(log_files(temp.path(), "raftlog").len() < before);
    drop(wal);
    let held = held(&open(temp.path()), GROUP);
    assert_eq!(held.entries.into_keys().collect::<Vec<_>>(), [19, 20]);
    assert_eq!(held.meta, Some(b"trimmed".to_vec()));
}

#[test]
fn a_group_write_without_room_leaves_everything_as_it_was() {
    let temp = tempfile::tempdir().unwrap();
    let wal = open(temp.path());
    wal.write_log(GROUP, &write(None, 1, &["a", "b", "c"], "old"), true)
        .unwrap();
    let want = held(&wal, GROUP);
    wal.health.faults.room.store(true, Ordering::Relaxed);
    for refused in [
        write(None, 2, &["x"], "new"),
        write(Some(9), 10, &["x"], "new"),
        write(Some(2), 4, &NONE, "new"),
        write(None, 4, &NONE, "new"),
    ] {
        let result = wal.write_log(GROUP, &refused, true);
        assert!(matches!(result, Err(WalError::Full { .. })), "{refused:?}");
        assert_eq!(held(&wal, GROUP), want);
    }
    wal.health.faults.room.store(false, Ordering::Relaxed);
    drop(wal);
    let wal = open(temp.path());
    assert_eq!(held(&wal, GROUP), want);
    wal.write_log(GROUP, &write(Some(9), 10, &["x"], "new"), true)
        .unwrap();
}

#[test]
fn a_failed_sync_of_a_groups_write_ends_the_log() {
    let temp = tempfile::tempdir().unwrap();
    let wal = open(temp.path());
    wal.health.faults.sync.store(true, Ordering::Relaxed);
    let failed = wal.write_log(GROUP, &write(None, 1, &NONE, "record"), true);
    assert!(is_fatal(failed));
    wal.health.faults.sync.store(false, Ordering::Relaxed);
    assert!(is_fatal(wal.has_room(0)));
    assert!(is_fatal(wal.purge()));
}

#[test]
fn below_the_reserve_only_entries_are_refused() {
    let temp = tempfile::tempdir().unwrap();
    let with_reserve = |reserve_bytes| {
        let options = WalOptions {
            reserve_bytes,
            ..options()
        };
        Wal::open(&DataDir::open(temp.path()).unwrap(), options)
            .unwrap()
            .0
    };
    let wal = with_reserve(0);
    assert!(wal.has_room(u64::MAX).is_ok());
    let mut want = Held::default();
    let first = write(None, 1, &["a", "b"], "1");
    wal.write_log(GROUP, &first, true).unwrap();
    want.apply(&first);
    drop(wal);
    let wal = with_reserve(u64::MAX);
    assert!(matches!(wal.has_room(1), Err(WalError::Full { .. })));
    for compact in [None, Some(1)] {
        let refused = wal.write_log(GROUP, &write(compact, 3, &["c"], "2"), true);
        assert!(matches!(refused, Err(WalError::Full { .. })));
        assert_eq!(held(&wal, GROUP), want);
    }
    for allowed in [write(None, 3, &NONE, "3"), write(Some(1), 3, &NONE, "4")] {
        wal.write_log(GROUP, &allowed, true).unwrap();
        want.apply(&allowed);
    }
    drop(wal);
    assert_eq!(held(&with_reserve(u64::MAX), GROUP), want);
}

#[test]
fn a_source_reads_exactly_what_it_is_asked_for() {
    let temp = tempfile::tempdir().unwrap();
    let wal = Arc::new(open(temp.path()));
    let entries: Vec<Vec<u8>> = (6..=40).map(entry).collect();
    wal.write_log(GROUP, &write(Some(5), 6, &entries, ""), true)
        .unwrap();
    wal.write_log(GROUP, &write(None, 41, &NONE, ""), true)
        .unwrap();
    let source = WalSource::new(wal, GROUP, no_stop);
    for (from, to) in [(6, 40), (6, 6), (40, 40), (10, 29), (10, 9)] {
        let want: Vec<Vec<u8>> = (from..=to).map(entry).collect();
        let read = source.read(LogIndex(from), LogIndex(to), usize::MAX);
        assert_eq!(read, want);
    }
    for max_bytes in [0, 1, 100, 200, 400] {
        let read = source.read(LogIndex(6), LogIndex(40), max_bytes);
        assert_eq!(read, entries[..read.len()]);
        let bytes: usize = read.iter().map(Bytes::len).sum();
        let is_one = read.len() == 1;
        assert!(
            is_one || (max_bytes / 2..=max_bytes).contains(&bytes),
            "{max_bytes}: {bytes}"
        );
    }
}

#[test]
fn a_source_that_cannot_read_stops_the_process() {
    let temp = tempfile::tempdir().unwrap();
    let wal = Arc::new(open(temp.path()));
    wal.write_log(GROUP, &write(Some(5), 6, &["f", "g"], ""), true)
        .unwrap();
    let source = WalSource::new(wal, GROUP, no_stop);
    for (from, to, missing) in [(5, 6, 5), (6, 8, 8), (1, 1, 1)] {
        let read = || source.read(LogIndex(from), LogIndex(to), usize::MAX);
        let panic = std::panic::catch_unwind(std::panic::AssertUnwindSafe(read)).unwrap_err();
        let reason = panic.downcast_ref::<String>().unwrap();
        assert!(
            reason.contains(&format!("entry {missing} of the log is not there")),
            "{reason}"
        );
    }
}
