//! Checks the files of the log before the engine opens them, and cuts torn tails.
//!
//! Owns the judgement what a bad record means. The engine checks the entries of the last record of
//! a file only, cuts at the first bad record of the last file even if good ones follow, and skips
//! every file before a gap in the numbering; its errors name no place. So all of it is read here,
//! once per start, and the engine is then opened in a mode in which it forgives nothing.
//!
//! The rules, for each of the two queues (appended and rewritten records):
//! - Zeros at the end of a file are space that was reserved and not used. They are cut silently.
//! - In every file but the last, anything else is damage: a file is synced before the next begins.
//! - In the last file a bad record is a torn tail, unless something shows that its bytes had been
//!   durable: a later record with a sync mark beyond them (appended), or any later good record
//!   (rewritten; there each record is synced before the next).
//! - A last file whose header was not written completely holds nothing and is removed.
//!
//! Damage of the very last record cannot be told from a torn tail, and a missing oldest file
//! leaves no trace here: whoever replays sees that the log does not reach back to its checkpoint.
//!
//! Nothing is changed on disk before every file has been found good. Layout of a record of the
//! engine: header (56-bit length, compression type, 64-bit offset of the footer, big-endian),
//! entries and their CRC-32 (absent if there are none), footer and its CRC-32 XOR the low half of
//! the file's sequence number, both little-endian.

use std::fs::{self, File, OpenOptions};
use std::path::{Path, PathBuf};

use super::record::Mark;
use crate::{Error, sys};

/// What every file starts with, before its version and alignment.
const MAGIC: &[u8] = b"RAFT-LOG-FILE-HEADER-9986AB3E47F320B394C8E84916EB0ED5";
/// Magic, version 2 and alignment 0, each a big-endian u64.
const FILE_HEADER_BYTES: usize = MAGIC.len() + 16;
/// Length, compression type and footer offset.
const HEADER_BYTES: usize = 16;
/// An item count and a checksum.
const MIN_FOOTER_BYTES: usize = 5;
const CRC_BYTES: usize = 4;
/// Key under which a record without entries carries its mark, as its first item.
pub(crate) const MARK_KEY: &[u8] = &[0];
/// What the search behind a bad record may cost, in checksummed bytes per byte of the file.
const SEARCH_FACTOR: usize = 16;

const ADVICE: &str = "nothing was changed; check the disk, restore this node's directory from a \
                      copy, or remove it and let the node join again as a new one";

/// One of the engine's two sequences of files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Queue {
    /// Records as they were appended.
    Append,
    /// Old records that were still needed when their file was removed.
    Rewrite,
}

/// Which file of which queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct FileName {
    pub(crate) queue: Queue,
    pub(crate) seq: u64,
}

impl FileName {
    /// The name in a path, if it is a file of the log.
    pub(crate) fn parse(path: &Path) -> Option<FileName> {
        let (seq, suffix) = path.file_name()?.to_str()?.split_once('.')?;
        let queue = match suffix {
            "raftlog" => Queue::Append,
            "rewrite" => Queue::Rewrite,
            _ => return None,
        };
        let seq = seq.parse().ok().filter(|_| seq.len() == 16)?;
        Some(FileName { queue, seq })
    }
}

/// What was cut off a file because it was not completely written when the node died.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CutTail {
    /// The file.
    pub file: PathBuf,
    /// Where it was cut.
    pub offset: u64,
    /// How many bytes were cut, up to the last that was not zero.
    pub bytes: u64,
    /// What did not hold at `offset`.
    pub reason: String,
}

/// What a start found in the log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovery {
    /// Torn tails that were cut, at most one per queue. None of these bytes was acknowledged as
    /// durable, unless the disk lost the last record after it had been written.
    pub cut: Vec<CutTail>,
    /// Files of the log.
    pub files: u64,
    /// Bytes read and checked.
    pub bytes: u64,
    /// Good records found.
    pub records: u64,
}

/// What is to be done with one file.
struct Plan {
    path: PathBuf,
    /// The length to keep; `None` removes the file.
    keep: Option<u64>,
    changed: bool,
}

/// Checks all files in `dir`, cuts torn tails and makes the result durable.
pub(crate) fn recover(dir: &Path, tag: u64) -> Result<Recovery, Error> {
    let mut recovery = Recovery::default();
    let mut plans = Vec::new();
    for queue in [Queue::Append, Queue::Rewrite] {
        let files = list(dir, queue)?;
        for (at, (name, path)) in files.iter().enumerate() {
            let last = at + 1 == files.len();
            plans.push(check_file(path, *name, last, tag, &mut recovery)?);
        }
    }
    for plan in &plans {
        carry_out(plan)?;
    }
    sys::sync_dir(dir).map_err(Error::io("cannot sync", dir))?;
    Ok(recovery)
}

/// Finds the first damage in `dir` without changing anything, to name the place after a read of
/// the running node failed. The tail of the last file may be in flight and is left out.
pub(crate) fn locate_damage(dir: &Path, tag: u64) -> Option<Error> {
    for queue in [Queue::Append, Queue::Rewrite] {
        let files = list(dir, queue).ok()?;
        for (at, (name, path)) in files.iter().enumerate() {
            let last = at + 1 == files.len();
            let checked = check_file(path, *name, last, tag, &mut Recovery::default());
            if let Err(error @ Error::Damaged { .. }) = checked {
                return Some(error);
            }
        }
    }
    None
}

/// The files of one queue in order; a gap in the numbering is damage.
fn list(dir: &Path, queue: Queue) -> Result<Vec<(FileName, PathBuf)>, Error> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).map_err(Error::io("cannot list", dir))? {
        let path = entry.map_err(Error::io("cannot list", dir))?.path();
        if let Some(name) = FileName::parse(&path).filter(|name| name.queue == queue) {
            files.push((name, path));
        }
    }
    files.sort();
    for pair in files.windows(2) {
        if pair[0].0.seq + 1 != pair[1].0.seq {
            return Err(damaged(
                &pair[1].1,
                0,
                format!("the files between {} and this one are gone", pair[0].0.seq),
            ));
        }
    }
    Ok(files)
}

fn check_file(
    path: &Path,
    name: FileName,
    last: bool,
    tag: u64,
    recovery: &mut Recovery,
) -> Result<Plan, Error> {
    let bytes = fs::read(path).map_err(Error::io("cannot read", path))?;
    let plan = |keep: Option<usize>| Plan {
        path: path.to_owned(),
        keep: keep.map(|keep| keep as u64),
        changed: keep != Some(bytes.len()),
    };
    recovery.files += 1;
    recovery.bytes += bytes.len() as u64;
    // Trailing zeros can belong to the last record as well, so this is only where data may end.
    let data_end = bytes
        .iter()
        .rposition(|byte| *byte != 0)
        .map_or(0, |at| at + 1);
    if last && header_is_unwritten(&bytes, data_end) {
        return Ok(plan(None));
    }
    if let Err(reason) = check_file_header(&bytes) {
        return Err(damaged(path, 0, reason));
    }
    let (mut offset, mut failure) = (FILE_HEADER_BYTES, None);
    let mut unbounded = usize::MAX;
    while offset < data_end {
        match check_record(&bytes[offset..], name.seq, &mut unbounded) {
            Ok(len) => offset += len,
            Err(reason) => {
                failure = Some(reason);
                break;
            }
        }
        recovery.records += 1;
    }
    let Some(reason) = failure else {
        return Ok(plan(Some(offset)));
    };
    if !last {
        return Err(damaged(path, offset, reason));
    }
    if let Some(at) = proof_of_durability(&bytes, offset, name, tag) {
        let reason = format!("{reason}, though the record at byte {at} shows that it was durable");
        return Err(damaged(path, offset, reason));
    }
    recovery.cut.push(CutTail {
        file: path.to_owned(),
        offset: offset as u64,
        bytes: (data_end - offset) as u64,
        reason,
    });
    Ok(plan(Some(offset)))
}

fn damaged(path: &Path, offset: usize, reason: String) -> Error {
    Error::Damaged {
        path: path.to_owned(),
        offset: offset as u64,
        reason,
        advice: ADVICE,
    }
}

/// Whether the file was being created when the node died: nothing but a part of its header.
fn header_is_unwritten(bytes: &[u8], data_end: usize) -> bool {
    let header = file_header();
    let whole = data_end >= FILE_HEADER_BYTES - 8;
    // The alignment is eight zeros, so a whole header ends with them.
    !(whole && bytes.len() >= FILE_HEADER_BYTES) && header.starts_with(&bytes[..data_end])
}

fn file_header() -> [u8; FILE_HEADER_BYTES] {
    let mut header = [0; FILE_HEADER_BYTES];
    header[..MAGIC.len()].copy_from_slice(MAGIC);
    header[MAGIC.len()..MAGIC.len() + 8].copy_from_slice(&2u64.to_be_bytes());
    header
}

fn check_file_header(bytes: &[u8]) -> Result<(), String> {
    if bytes.starts_with(&file_header()) {
        return Ok(());
    }
    Err("this is not the header of a log file of version 2".to_owned())
}

/// The length of the record at the start of `bytes`, or what is wrong with it. `budget` bounds
/// the bytes that may be checksummed.
fn check_record(bytes: &[u8], seq: u64, budget: &mut usize) -> Result<usize, String> {
    let (footer_at, len) = record_header(bytes)?;
    if len > bytes.len() {
        return Err(format!(
            "a record of {len} bytes has only {} in the file",
            bytes.len()
        ));
    }
    *budget = budget.saturating_sub(len);
    let (footer, crc) = bytes[footer_at..len].split_at(len - footer_at - CRC_BYTES);
    if crc32fast::hash(footer) ^ seq as u32 != le_u32(crc) {
        return Err("the checksum of a record's index does not match".to_owned());
    }
    if footer_at > HEADER_BYTES {
        let (entries, crc) =
            bytes[HEADER_BYTES..footer_at].split_at(footer_at - HEADER_BYTES - CRC_BYTES);
        if crc32fast::hash(entries) != le_u32(crc) {
            return Err("the checksum of a record's entries does not match".to_owned());
        }
    }
    Ok(len)
}

/// The offset of the footer and the length, if they can be those of a record.
fn record_header(bytes: &[u8]) -> Result<(usize, usize), String> {
    if bytes.len() < HEADER_BYTES {
        return Err(format!("a record header has only {} bytes", bytes.len()));
    }
    let (len, footer_at) = (be_u64(&bytes[..8]), be_u64(&bytes[8..16]));
    if len & 0xff != 0 {
        return Err(format!(
            "a record has the unknown compression type {}",
            len & 0xff
        ));
    }
    let (Ok(len), Ok(footer_at)) = (usize::try_from(len >> 8), usize::try_from(footer_at)) else {
        return Err("a record header has impossible lengths".to_owned());
    };
    let entries_fit = footer_at == HEADER_BYTES || footer_at > HEADER_BYTES + CRC_BYTES;
    if !entries_fit || len < footer_at.saturating_add(MIN_FOOTER_BYTES) {
        return Err("a record header has impossible lengths".to_owned());
    }
    Ok((footer_at, len))
}

/// The offset of a good record behind the bad one at `bad` that proves that the bad one had been
/// durable. The search is bounded, because a value in the log may be made to look like records.
fn proof_of_durability(bytes: &[u8], bad: usize, name: FileName, tag: u64) -> Option<usize> {
    let mut budget = bytes.len().saturating_mul(SEARCH_FACTOR);
    let mut at = bad + 1;
    while at + HEADER_BYTES + MIN_FOOTER_BYTES <= bytes.len() && budget > 0 {
        // Lengths below 2^32 leave these bytes zero; all others are not worth a closer look.
        let rest = &bytes[at..];
        let plausible = rest[..3] == [0; 3] && rest[8..12] == [0; 4];
        let Some(len) = plausible
            .then(|| check_record(rest, name.seq, &mut budget).ok())
            .flatten()
        else {
            at += 1;
            continue;
        };
        let proven = match name.queue {
            Queue::Rewrite => true,
            Queue::Append => mark_of(&rest[..len]).is_some_and(|mark| {
                mark.tag == tag
                    && mark.seq == name.seq as u32
                    && mark.durable > bad as u64
                    && mark.durable <= at as u64
            }),
        };
        if proven {
            return Some(at);
        }
        at += len;
    }
    None
}

/// The sync mark of a good record: in its first entry, or else as its first item.
fn mark_of(record: &[u8]) -> Option<Mark> {
    let (footer_at, _) = record_header(record).ok()?;
    if footer_at > HEADER_BYTES {
        return Mark::of_entries(&record[HEADER_BYTES..footer_at - CRC_BYTES]);
    }
    // Item count, region, item type 3 (a key and a value), operation 1 (put), key, value.
    let mut rest = &record[footer_at..];
    varint(&mut rest)?;
    varint(&mut rest)?;
    rest = rest.strip_prefix(&[3, 1])?;
    let key_len = varint(&mut rest)?;
    if key_len != MARK_KEY.len() as u64 {
        return None;
    }
    rest = rest.strip_prefix(MARK_KEY)?;
    (varint(&mut rest)? == Mark::BYTES as u64)
        .then(|| Mark::decode(rest))
        .flatten()
}

/// Takes a number of seven bits per byte off the front, the lowest first.
fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

fn be_u64(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0, |value, byte| value << 8 | u64::from(*byte))
}

fn le_u32(bytes: &[u8]) -> u32 {
    bytes
        .iter()
        .rev()
        .fold(0, |value, byte| value << 8 | u32::from(*byte))
}

/// Cuts or removes a file as planned. Files that stay are synced even if nothing changed: what
/// this start reads may so far be in the page cache only, and it will be acted upon.
fn carry_out(plan: &Plan) -> Result<(), Error> {
    let path = &plan.path;
    let Some(keep) = plan.keep else {
        return fs::remove_file(path).map_err(Error::io("cannot remove", path));
    };
    let file: File = OpenOptions::new()
        .read(true)
        .write(true)
        .open(path)
        .map_err(Error::io("cannot open", path))?;
    if plan.changed {
        file.set_len(keep).map_err(Error::io("cannot cut", path))?;
    }
    file.sync_all().map_err(Error::io("cannot sync", path))
}
