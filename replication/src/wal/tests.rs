//! The log against cut files, flipped bytes, full disks and failing syncs.

mod group_log;

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command as Process;

use super::*;
use crate::consensus::LogWrite;

const GROUP: GroupId = GroupId(7);
const CONFIGURATION: ConfigurationId = ConfigurationId(1);

fn options() -> WalOptions {
    WalOptions {
        reserve_bytes: 0,
        file_bytes: 64 << 10,
        purge_bytes: 128 << 10,
    }
}

fn try_open(path: &Path) -> Result<(Wal, Recovery), Error> {
    Wal::open(&DataDir::open(path)?, options())
}

fn open(path: &Path) -> Wal {
    try_open(path).unwrap().0
}

fn append(wal: &Wal, index: u64, entry: &[u8], sync: bool) -> Result<(), WalError> {
    wal.append(GROUP, CONFIGURATION, LogIndex(index), &[entry], sync)
}

fn put_record(wal: &Wal, group: GroupId, record: &[u8], sync: bool) {
    let write = LogWrite {
        compact: None,
        first: LogIndex(0),
        entries: Vec::new(),
        meta: record.to_vec(),
    };
    wal.write_log(group, &write, sync).unwrap();
}

fn is_fatal<T>(result: Result<T, WalError>) -> bool {
    matches!(result, Err(WalError::Fatal { .. }))
}

/// All entries of a log, read in steps of `max_bytes`.
fn read_all(wal: &Wal, group: GroupId, max_bytes: usize) -> BTreeMap<u64, Vec<u8>> {
    let mut out = BTreeMap::new();
    let Some(mut next) = wal.first_index(group, CONFIGURATION) else {
        return out;
    };
    loop {
        let before = next;
        next = wal
            .read::<WalError>(
                group,
                CONFIGURATION,
                next,
                max_bytes,
                &mut |index, entry| {
                    assert!(out.insert(index.0, entry.to_vec()).is_none());
                    Ok(())
                },
            )
            .unwrap();
        if next == before {
            return out;
        }
    }
}

/// Entries 1 to `count`, each with its own content and length.
fn expected(count: u64) -> BTreeMap<u64, Vec<u8>> {
    (1..=count).map(|index| (index, entry(index))).collect()
}

fn entry(index: u64) -> Vec<u8> {
    format!("entry {index} ")
        .repeat(index as usize)
        .into_bytes()
}

/// A log of `count` entries, and where each record starts in its only file; the last is its end.
fn write_log(path: &Path, count: u64, sync: bool) -> (PathBuf, Vec<u64>) {
    let wal = open(path);
    let file = wal.current.lock().clone().unwrap();
    let mut starts = vec![file.written()];
    for index in 1..=count {
        append(&wal, index, &entry(index), sync).unwrap();
        starts.push(file.written());
    }
    drop(wal);
    (path.join("log/0000000000000001.raftlog"), starts)
}

#[test]
fn entries_are_there_after_a_restart() {
    let temp = tempfile::tempdir().unwrap();
    let other = GroupId(8);
    {
        let wal = open(temp.path());
        assert_eq!(wal.last_index(GROUP, CONFIGURATION), None);
        append(&wal, 1, b"one", true).unwrap();
        let both: [&[u8]; 2] = [b"two", b""];
        wal.append(GROUP, CONFIGURATION, LogIndex(2), &both, false)
            .unwrap();
        wal.append(other, CONFIGURATION, LogIndex(5), &[b"five"], false)
            .unwrap();
        put_record(&wal, GROUP, b"promise", false);
        wal.sync().unwrap();
        let empty: [&[u8]; 0] = [];
        wal.append(other, CONFIGURATION, LogIndex(6), &empty, true)
            .unwrap();
    }
    let (wal, recovery) = try_open(temp.path()).unwrap();
    assert_eq!(recovery.cut, []);
    assert_eq!(recovery.records, 4);
    let want: BTreeMap<u64, Vec<u8>> =
        BTreeMap::from([(1, b"one".to_vec()), (2, b"two".to_vec()), (3, vec![])]);
    assert_eq!(read_all(&wal, GROUP, 1 << 20), want);
    assert_eq!(read_all(&wal, GROUP, 1), want);
    assert_eq!(wal.first_index(other, CONFIGURATION), Some(LogIndex(5)));
    assert_eq!(wal.group_meta(GROUP), Some(b"promise".to_vec()));
    assert_eq!(wal.group_meta(other), None);
    assert_eq!(
        wal.regions(),
        [
            (GROUP, ConfigurationId(0)),
            (GROUP, CONFIGURATION),
            (other, CONFIGURATION)
        ]
    );
    assert!(wal.size_bytes() > 0);
}

#[test]
fn a_log_keeps_its_directory_locked() {
    let temp = tempfile::tempdir().unwrap();
    let wal = open(temp.path());
    assert!(matches!(try_open(temp.path()), Err(Error::InUse { .. })));
    drop(wal);
    open(temp.path());
}

#[test]
fn a_closed_log_has_no_open_files() {
    let temp = tempfile::tempdir().unwrap();
    let open_files = || {
        fs::read_dir("/proc/self/fd")
            .unwrap()
            .filter_map(|entry| fs::read_link(entry.ok()?.path()).ok())
            .filter(|target| target.starts_with(temp.path()))
            .count()
    };
    let wal = open(temp.path());
    append(&wal, 1, b"x", true).unwrap();
    assert!(open_files() > 0);
    drop(wal);
    assert_eq!(open_files(), 0);
}

#[test]
fn a_node_killed_between_syncs_finds_all_it_had_written_and_nothing_torn() {
    let (temp, copy) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let wal = open(temp.path());
    // Enough small syncs that zeros are written ahead, and more than one file.
    for index in 1..=100 {
        append(&wal, index, &[index as u8; 1000], true).unwrap();
        if index % 10 != 0 {
            continue;
        }
        DataDir::open(copy.path()).unwrap();
        for file in log_files(temp.path(), "raftlog") {
            fs::copy(
                &file,
                copy.path().join("log").join(file.file_name().unwrap()),
            )
            .unwrap();
        }
        fs::copy(temp.path().join("IDENTITY"), copy.path().join("IDENTITY")).unwrap();
        let (killed, recovery) = try_open(copy.path()).unwrap();
        assert_eq!(recovery.cut, []);
        assert_eq!(
            killed.last_index(GROUP, CONFIGURATION),
            Some(LogIndex(index))
        );
    }
    assert!(log_files(temp.path(), "raftlog").len() > 1);
}

#[test]
fn an_append_behind_existing_entries_replaces_them() {
    let temp = tempfile::tempdir().unwrap();
    let wal = open(temp.path());
    for index in 1..=3 {
        append(&wal, index, b"old", false).unwrap();
    }
    append(&wal, 2, b"new", true).unwrap();
    let want = BTreeMap::from([(1, b"old".to_vec()), (2, b"new".to_vec())]);
    assert_eq!(read_all(&wal, GROUP, 1 << 20), want);
    drop(wal);
    assert_eq!(read_all(&open(temp.path()), GROUP, 1 << 20), want);
}

#[test]
#[should_panic(expected = "append at 3 behind 1")]
fn a_hole_is_a_bug_of_the_caller() {
    let temp = tempfile::tempdir().unwrap();
    let wal = open(temp.path());
    append(&wal, 1, b"x", false).unwrap();
    let _ = append(&wal, 3, b"x", false);
}

#[test]
fn a_torn_tail_is_cut_at_every_byte_of_the_last_record() {
    let source = tempfile::tempdir().unwrap();
    let (file, starts) = write_log(source.path(), 4, true);
    let whole = fs::read(&file).unwrap();
    assert_eq!(whole.len() as u64, starts[4]);
    for cut in starts[3]..starts[4] {
        for zeros in [0, 5000] {
            let mut bytes = whole[..cut as usize].to_vec();
            let torn = bytes.iter().rposition(|byte| *byte != 0).unwrap() as u64 + 1;
            bytes.resize(bytes.len() + zeros, 0);
            fs::write(&file, &bytes).unwrap();
            let (wal, recovery) = try_open(source.path()).unwrap();
            assert_eq!(read_all(&wal, GROUP, 1 << 20), expected(3), "cut at {cut}");
            let cuts: Vec<_> = recovery.cut.iter().map(|c| (c.offset, c.bytes)).collect();
            if torn > starts[3] {
                assert_eq!(cuts, [(starts[3], torn - starts[3])], "cut at {cut}");
                assert_eq!(recovery.cut[0].file, file);
            } else {
                assert_eq!(cuts, [], "cut at {cut}");
            }
            append(&wal, 4, &entry(4), true).unwrap();
            drop(wal);
            assert_eq!(fs::read(&file).unwrap().len(), whole.len());
        }
    }
    assert_eq!(read_all(&open(source.path()), GROUP, 100), expected(4));
}

#[test]
fn a_flipped_byte_before_durable_records_stops_the_start_and_names_the_place() {
    let temp = tempfile::tempdir().unwrap();
    let (file, starts) = write_log(temp.path(), 4, true);
    let whole = fs::read(&file).unwrap();
    for at in 0..starts[3] as usize {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x11;
        fs::write(&file, &bytes).unwrap();
        let Err(error) = try_open(temp.path()) else {
            panic!("byte {at} was not missed");
        };
        let start = starts.iter().rev().find(|start| **start <= at as u64);
        match &error {
            Error::Damaged { path, offset, .. } => {
                assert_eq!((path, *offset), (&file, *start.unwrap_or(&0)), "byte {at}");
            }
            other => panic!("byte {at}: {other}"),
        }
        assert_eq!(fs::read(&file).unwrap(), bytes, "nothing is changed");
    }
    // The last record alone cannot be told from a torn one.
    for at in starts[3]..starts[4] {
        let mut bytes = whole.clone();
        bytes[at as usize] ^= 0x11;
        fs::write(&file, &bytes).unwrap();
        let (wal, recovery) = try_open(temp.path()).unwrap();
        assert_eq!(recovery.cut[0].offset, starts[3]);
        assert_eq!(read_all(&wal, GROUP, 1 << 20), expected(3));
    }
}

#[test]
fn records_that_were_never_synced_may_be_lost_in_any_order() {
    let temp = tempfile::tempdir().unwrap();
    let (file, starts) = write_log(temp.path(), 4, false);
    let handle = OpenOptions::new().write(true).open(&file).unwrap();
    handle.write_all_at(&[0xff; 20], starts[1] + 3).unwrap();
    let (wal, recovery) = try_open(temp.path()).unwrap();
    assert_eq!(recovery.cut.len(), 1);
    assert_eq!(recovery.cut[0].offset, starts[1]);
    assert_eq!(recovery.cut[0].bytes, starts[4] - starts[1]);
    assert_eq!(read_all(&wal, GROUP, 1 << 20), expected(1));
}

#[test]
fn a_record_without_entries_proves_durability_as_well() {
    let temp = tempfile::tempdir().unwrap();
    let (file, starts) = write_log(temp.path(), 2, true);
    let wal = open(temp.path());
    put_record(&wal, GROUP, b"value", true);
    drop(wal);
    let handle = OpenOptions::new().write(true).open(&file).unwrap();
    handle.write_all_at(&[0xff; 4], starts[1] + 20).unwrap();
    let error = try_open(temp.path()).err().unwrap();
    assert!(matches!(error, Error::Damaged { offset, .. } if offset == starts[1]));
}

#[test]
fn a_forged_mark_inside_a_value_proves_nothing() {
    let source = tempfile::tempdir().unwrap();
    let (file, starts) = write_log(source.path(), 2, true);
    let forged = fs::read(&file).unwrap()[starts[1] as usize..].to_vec();
    let temp = tempfile::tempdir().unwrap();
    let wal = open(temp.path());
    append(&wal, 1, b"x", true).unwrap();
    append(&wal, 2, &forged, true).unwrap();
    drop(wal);
    let file = temp.path().join("log/0000000000000001.raftlog");
    let len = fs::metadata(&file).unwrap().len();
    let handle = OpenOptions::new().write(true).open(&file).unwrap();
    handle.set_len(len - 1).unwrap();
    let (wal, recovery) = try_open(temp.path()).unwrap();
    assert_eq!(recovery.cut.len(), 1);
    assert_eq!(wal.last_index(GROUP, CONFIGURATION), Some(LogIndex(1)));
}

/// Fills several files; returns the names of those of the append queue.
fn write_files(path: &Path) -> Vec<PathBuf> {
    let wal = open(path);
    for index in 1..=8 {
        append(&wal, index, &[index as u8; 40_000], false).unwrap();
    }
    wal.sync().unwrap();
    drop(wal);
    log_files(path, "raftlog")
}

fn log_files(path: &Path, extension: &str) -> Vec<PathBuf> {
    let mut files: Vec<_> = fs::read_dir(path.join("log"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|found| found == extension))
        .collect();
    files.sort();
    files
}

#[test]
fn a_file_that_is_gone_from_the_middle_stops_the_start() {
    let temp = tempfile::tempdir().unwrap();
    let files = write_files(temp.path());
    assert!(files.len() >= 4);
    fs::remove_file(&files[1]).unwrap();
    let error = try_open(temp.path()).err().unwrap();
    assert!(matches!(error, Error::Damaged { path, .. } if path == files[2]));
}

#[test]
fn a_cut_in_any_file_but_the_last_stops_the_start() {
    let temp = tempfile::tempdir().unwrap();
    let files = write_files(temp.path());
    let len = fs::metadata(&files[0]).unwrap().len();
    let handle = OpenOptions::new().write(true).open(&files[0]).unwrap();
    handle.set_len(len - 1).unwrap();
    let error = try_open(temp.path()).err().unwrap();
    assert!(matches!(error, Error::Damaged { path, .. } if path == files[0]));
    // The same length with another last byte is no better.
    handle.set_len(len).unwrap();
    handle.write_all_at(&[0xff], len - 1).unwrap();
    assert!(try_open(temp.path()).is_err());
}

#[test]
fn reserved_space_at_the_end_of_any_file_is_no_damage() {
    let temp = tempfile::tempdir().unwrap();
    for file in write_files(temp.path()) {
        let len = fs::metadata(&file).unwrap().len();
        let handle = OpenOptions::new().write(true).open(&file).unwrap();
        handle.set_len(len + 10_000).unwrap();
    }
    let (wal, recovery) = try_open(temp.path()).unwrap();
    assert_eq!(recovery.cut, []);
    assert_eq!(read_all(&wal, GROUP, 50_000).len(), 8);
}

#[test]
fn a_file_whose_header_was_not_finished_is_begun_again() {
    let temp = tempfile::tempdir().unwrap();
    let files = write_files(temp.path());
    let header = fs::read(&files[0]).unwrap()[..69].to_vec();
    let last = files
        .last()
        .unwrap()
        .with_file_name(format!("{:016}.raftlog", files.len() + 1));
    for len in 0..69 {
        for size in [len, 69, 4096] {
            let mut bytes = header[..len].to_vec();
            bytes.resize(size.max(len), 0);
            if bytes.starts_with(&header) {
                continue;
            }
            fs::write(&last, &bytes).unwrap();
            let wal = open(temp.path());
            assert_eq!(wal.last_index(GROUP, CONFIGURATION), Some(LogIndex(8)));
            assert!(!last.exists(), "{len} bytes of a header in {size}");
        }
    }
}

#[test]
fn compaction_removes_files_and_survives_a_restart() {
    let temp = tempfile::tempdir().unwrap();
    let small = GroupId(9);
    let wal = open(temp.path());
    wal.append(small, CONFIGURATION, LogIndex(1), &[b"kept"], false)
        .unwrap();
    put_record(&wal, small, b"kept too", false);
    for index in 1..=40 {
        append(&wal, index, &[index as u8; 20_000], false).unwrap();
    }
    let before = log_files(temp.path(), "raftlog").len();
    wal.compact(GROUP, CONFIGURATION, LogIndex(35)).unwrap();
    assert!(log_files(temp.path(), "raftlog").len() < before);
    assert_eq!(wal.first_index(GROUP, CONFIGURATION), Some(LogIndex(36)));
    let missing = wal.read::<WalError>(GROUP, CONFIGURATION, LogIndex(35), 1, &mut |_, _| Ok(()));
    assert!(matches!(missing, Err(WalError::Missing { first, .. }) if first == LogIndex(36)));
    drop(wal);
    let check = |wal: &Wal| {
        assert_eq!(read_all(wal, GROUP, 1).len(), 5);
        assert_eq!(read_all(wal, small, 1)[&1], b"kept");
        assert_eq!(wal.group_meta(small), Some(b"kept too".to_vec()));
    };
    let wal = open(temp.path());
    check(&wal);
    append(&wal, 41, b"next", true).unwrap();
    wal.compact(GROUP, CONFIGURATION, LogIndex(40)).unwrap();
    drop(wal);
    damage_the_rewritten_records(temp.path());
}

/// The rewrite files hold what outlived its file: damage there is found as well.
fn damage_the_rewritten_records(path: &Path) {
    let file = log_files(path, "rewrite").pop().unwrap();
    let whole = fs::read(&file).unwrap();
    assert!(whole.len() > 69, "nothing was rewritten");
    let wal = open(path);
    for index in 42..=50 {
        append(&wal, index, &[index as u8; 20_000], false).unwrap();
    }
    wal.append(GroupId(10), CONFIGURATION, LogIndex(1), &[b"late"], true)
        .unwrap();
    for index in 51..=99 {
        append(&wal, index, &[index as u8; 20_000], false).unwrap();
    }
    wal.compact(GROUP, CONFIGURATION, LogIndex(98)).unwrap();
    drop(wal);
    let longer = fs::read(&file).unwrap();
    assert!(longer.len() > whole.len(), "nothing more was rewritten");
    for at in (69..whole.len()).step_by(7) {
        let mut bytes = longer.clone();
        bytes[at] ^= 0x11;
        fs::write(&file, &bytes).unwrap();
        let error = try_open(path).err().unwrap();
        assert!(
            matches!(error, Error::Damaged { path, .. } if path == file),
            "{at}"
        );
    }
    fs::write(&file, &longer).unwrap();
    open(path);
}

#[test]
fn a_group_that_was_wholly_compacted_goes_on_where_its_checkpoint_says() {
    let temp = tempfile::tempdir().unwrap();
    let wal = open(temp.path());
    append(&wal, 1, b"x", false).unwrap();
    wal.compact(GROUP, CONFIGURATION, LogIndex(1)).unwrap();
    assert_eq!(wal.last_index(GROUP, CONFIGURATION), None);
    append(&wal, 2, b"y", true).unwrap();
    drop(wal);
    let wal = open(temp.path());
    assert_eq!(wal.first_index(GROUP, CONFIGURATION), Some(LogIndex(2)));
}

#[test]
fn groups_append_from_many_threads() {
    let temp = tempfile::tempdir().unwrap();
    let wal = open(temp.path());
    std::thread::scope(|scope| {
        for group in 1..=4 {
            let wal = &wal;
            scope.spawn(move || {
                for index in 1..=50 {
                    let text = format!("{group}/{index}");
                    wal.append(
                        GroupId(group),
                        CONFIGURATION,
                        LogIndex(index),
                        &[text],
                        index % 5 == 0,
                    )
                    .unwrap();
                }
            });
        }
    });
    drop(wal);
    let wal = open(temp.path());
    for group in 1..=4 {
        let entries = read_all(&wal, GroupId(group), 100);
        assert_eq!(entries.len(), 50);
        assert!((1..=50).all(|index| entries[&index] == format!("{group}/{index}").as_bytes()));
    }
}

#[test]
fn two_logs_in_one_process_never_see_each_others_entries() {
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (one, two) = (open(one.path()), open(two.path()));
    append(&one, 1, b"one", false).unwrap();
    append(&two, 1, b"two", false).unwrap();
    for _ in 0..2 {
        assert_eq!(read_all(&one, GROUP, 1)[&1], b"one");
        assert_eq!(read_all(&two, GROUP, 1)[&1], b"two");
    }
}

#[test]
fn a_failed_sync_ends_the_log() {
    for explicit in [false, true] {
        let temp = tempfile::tempdir().unwrap();
        let wal = open(temp.path());
        append(&wal, 1, b"good", true).unwrap();
        wal.health.faults.sync.store(true, Ordering::Relaxed);
        let failed = if explicit {
            append(&wal, 2, b"lost", false).unwrap();
            wal.sync()
        } else {
            append(&wal, 2, b"lost", true)
        };
        assert!(is_fatal(failed));
        wal.health.faults.sync.store(false, Ordering::Relaxed);
        assert!(is_fatal(append(&wal, 3, b"never", false)));
        assert!(is_fatal(wal.sync()));
        let compacted = wal.compact(GROUP, CONFIGURATION, LogIndex(1));
        assert!(is_fatal(compacted));
        assert!(wal.failure().unwrap().contains("0000000000000001.raftlog"));
        drop(wal);
        assert_eq!(read_all(&open(temp.path()), GROUP, 1)[&1], b"good");
    }
}

#[test]
fn a_write_that_fails_for_another_reason_than_room_ends_the_log() {
    let temp = tempfile::tempdir().unwrap();
    let wal = open(temp.path());
    wal.health.faults.write.store(true, Ordering::Relaxed);
    assert!(is_fatal(append(&wal, 1, b"x", false)));
    wal.health.faults.write.store(false, Ordering::Relaxed);
    assert!(is_fatal(append(&wal, 1, b"x", false)));
}

#[test]
fn a_write_without_room_leaves_no_trace() {
    let temp = tempfile::tempdir().unwrap();
    let wal = open(temp.path());
    append(&wal, 1, b"before", true).unwrap();
    wal.health.faults.room.store(true, Ordering::Relaxed);
    for _ in 0..3 {
        let refused = append(&wal, 2, &[b'x'; 3000], true);
        assert!(matches!(refused, Err(WalError::Full { .. })));
        assert_eq!(wal.last_index(GROUP, CONFIGURATION), Some(LogIndex(1)));
    }
    wal.health.faults.room.store(false, Ordering::Relaxed);
    append(&wal, 2, b"after", true).unwrap();
    drop(wal);
    let (wal, recovery) = try_open(temp.path()).unwrap();
    assert_eq!(recovery.cut, []);
    assert_eq!(read_all(&wal, GROUP, 1)[&2], b"after");
}

#[test]
fn a_refused_write_that_cannot_be_undone_ends_the_log() {
    let temp = tempfile::tempdir().unwrap();
    let wal = open(temp.path());
    wal.health.faults.room.store(true, Ordering::Relaxed);
    wal.health.faults.truncate.store(true, Ordering::Relaxed);
    assert!(is_fatal(append(&wal, 1, &[b'x'; 3000], true)));
}

#[test]
fn damage_found_by_a_read_names_the_place_and_ends_the_log() {
    let temp = tempfile::tempdir().unwrap();
    let wal = open(temp.path());
    let file = wal.current.lock().clone().unwrap();
    append(&wal, 1, &[b'x'; 3000], true).unwrap();
    let start = file.written();
    append(&wal, 2, &[b'y'; 3000], true).unwrap();
    append(&wal, 3, b"z", true).unwrap();
    let path = temp.path().join("log/0000000000000001.raftlog");
    let handle = OpenOptions::new().write(true).open(&path).unwrap();
    handle.write_all_at(&[0], start + 100).unwrap();
    let read = wal.read::<WalError>(GROUP, CONFIGURATION, LogIndex(2), 1, &mut |_, _| Ok(()));
    let error = read.unwrap_err();
    assert!(matches!(error, WalError::Fatal { .. }));
    let text = error.to_string();
    assert!(text.contains(path.to_str().unwrap()), "{text}");
    assert!(text.contains(&format!("byte {start}:")), "{text}");
    assert!(is_fatal(append(&wal, 4, b"x", false)));
}

/// A small file system in memory, unmounted when dropped.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    /// `None`, with the reason printed, if this process may not mount.
    fn mount(megabytes: u64) -> Option<SmallDisk> {
        let temp = tempfile::tempdir().unwrap();
        let size = format!("size={megabytes}m");
        let _starting = crate::sys::STARTING_A_PROCESS.write();
        let mounted = Process::new("mount")
            .args(["-t", "tmpfs", "-o", &size, "tmpfs"])
            .arg(temp.path())
            .output();
        match mounted {
            Ok(output) if output.status.success() => Some(SmallDisk(temp)),
            Ok(output) => {
                let reason = String::from_utf8_lossy(&output.stderr).into_owned();
                eprintln!("skipped: cannot mount: {}", reason.trim());
                None
            }
            Err(error) => {
                eprintln!("skipped: cannot run mount: {error}");
                None
            }
        }
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let starting = crate::sys::STARTING_A_PROCESS.write();
        let status = Process::new("umount").arg(self.0.path()).status();
        drop(starting);
        assert!(
            status.is_ok_and(|status| status.success()),
            "cannot unmount"
        );
    }
}

/// Appends until the disk refuses; returns the last index that was accepted.
fn fill(wal: &Wal, mut index: u64) -> u64 {
    loop {
        match append(wal, index + 1, &[index as u8 + 1; 50_000], true) {
            Ok(()) => index += 1,
            Err(WalError::Full { .. }) => return index,
            Err(other) => panic!("{other}"),
        }
    }
}

fn check_filled(wal: &Wal, last: u64) {
    let entries = read_all(wal, GROUP, 1 << 20);
    assert_eq!(entries.keys().next_back(), Some(&last));
    assert!(
        entries
            .iter()
            .all(|(index, entry)| *entry == [*index as u8; 50_000])
    );
}

#[test]
fn a_full_disk_refuses_appends_reads_go_on_and_room_lets_them_resume() {
    let Some(disk) = SmallDisk::mount(6) else {
        return;
    };
    let path = disk.0.path();
    fs::write(path.join("ballast"), vec![1; 2 << 20]).unwrap();
    let wal = open(path);
    let mut last = fill(&wal, 0);
    assert!(last > 20, "only {last} entries fitted");
    assert_eq!(fill(&wal, last), last, "it stays full");
    check_filled(&wal, last);
    fs::remove_file(path.join("ballast")).unwrap();
    let more = fill(&wal, last);
    assert!(more > last + 10, "only {} more fitted", more - last);
    last = more;
    check_filled(&wal, last);
    drop(wal);
    let (wal, recovery) = try_open(path).unwrap();
    assert_eq!(recovery.cut, []);
    check_filled(&wal, last);
    // Compaction needs no room, and makes some.
    wal.compact(GROUP, CONFIGURATION, LogIndex(last - 1))
        .unwrap();
    let again = fill(&wal, last);
    assert!(again > last + 10, "only {} fitted", again - last);
    drop(wal);
    check_filled(&open(path), again);
}

#[test]
fn appends_stop_at_the_reserve_and_compaction_does_not() {
    let Some(disk) = SmallDisk::mount(6) else {
        return;
    };
    let path = disk.0.path();
    let reserve_bytes = 3 << 20;
    let options = WalOptions {
        reserve_bytes,
        ..options()
    };
    let (wal, _) = Wal::open(&DataDir::open(path).unwrap(), options).unwrap();
    let last = fill(&wal, 0);
    let free = sys_free(path);
    assert!(
        last > 5 && free > reserve_bytes - (1 << 20),
        "{last}, {free} free"
    );
    put_record(&wal, GROUP, b"v", true);
    wal.compact(GROUP, CONFIGURATION, LogIndex(last)).unwrap();
    assert!(fill(&wal, last) > last);
}

fn sys_free(path: &Path) -> u64 {
    crate::sys::free_bytes(path).unwrap()
}
