//! Checkpoints against truncation, flipped bytes, foreign blocks and interruptions.

use std::fs;
use std::path::{Path, PathBuf};

use proptest::prelude::*;

use super::*;
use crate::Error;

fn header(index: u64) -> CheckpointHeader {
    CheckpointHeader {
        index: LogIndex(index),
        log_time_ms: 1_700_000_000_000,
        group: GroupId(3),
        configuration: ConfigurationId(2),
        content_version: 9,
        created_at_ms: 1_700_000_000_500,
    }
}

fn write(dir: &Path, index: u64, blocks: &[&[u8]]) -> PathBuf {
    let mut writer = CheckpointWriter::create(dir, header(index)).unwrap();
    for block in blocks {
        writer.block(block).unwrap();
    }
    writer.finish().unwrap()
}

fn read(path: &Path) -> Result<(CheckpointHeader, Vec<Vec<u8>>), Error> {
    let (header, mut reader) = CheckpointReader::open(path)?;
    let (mut blocks, mut payload) = (Vec::new(), Vec::new());
    while reader.next_block(&mut payload)? {
        blocks.push(payload.clone());
    }
    assert_eq!(reader.position(), reader.total());
    assert!(!reader.next_block(&mut payload).unwrap());
    Ok((header, blocks))
}

fn indexes(dir: &Path) -> Vec<u64> {
    list(dir).unwrap().iter().map(|l| l.index.0).collect()
}

#[test]
fn a_checkpoint_reads_back_as_it_was_written() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path().join("group-3");
    let large = vec![7; 300_000];
    let path = write(&dir, 42, &[b"one", b"", &large, b"four"]);
    assert_eq!(path, dir.join("checkpoint-00000000000000000042"));
    let (found, blocks) = read(&path).unwrap();
    assert_eq!(found, header(42));
    assert_eq!(
        blocks,
        [b"one".to_vec(), vec![], large.clone(), b"four".to_vec()]
    );
    assert_eq!(
        read(&write(&dir, 43, &[])).unwrap().1,
        Vec::<Vec<u8>>::new()
    );
}

#[test]
fn bytes_written_is_the_size_of_the_file_but_for_its_end() {
    let temp = tempfile::tempdir().unwrap();
    let mut writer = CheckpointWriter::create(temp.path(), header(1)).unwrap();
    writer.block(&[0; 1000]).unwrap();
    let before = writer.bytes_written();
    let path = writer.finish().unwrap();
    let end = (BLOCK_HEAD_BYTES + END_BYTES) as u64;
    assert_eq!(fs::metadata(path).unwrap().len(), before + end);
}

#[test]
fn a_checkpoint_cut_at_any_byte_is_refused() {
    let temp = tempfile::tempdir().unwrap();
    let path = write(temp.path(), 1, &[b"some", b"blocks", b""]);
    let bytes = fs::read(&path).unwrap();
    for len in 0..bytes.len() {
        fs::write(&path, &bytes[..len]).unwrap();
        match read(&path).unwrap_err() {
            Error::Damaged {
                path: p, offset, ..
            } => {
                assert_eq!(p, path);
                assert!(offset <= len as u64);
            }
            other => panic!("cut at {len}: {other}"),
        }
    }
}

#[test]
fn each_flipped_byte_is_refused_with_its_place() {
    let temp = tempfile::tempdir().unwrap();
    let path = write(temp.path(), 1, &[b"some", b"blocks", b""]);
    let bytes = fs::read(&path).unwrap();
    for at in 0..bytes.len() {
        for bit in [0x01, 0x80] {
            let mut flipped = bytes.clone();
            flipped[at] ^= bit;
            fs::write(&path, &flipped).unwrap();
            match read(&path).unwrap_err() {
                Error::Damaged { offset, .. } => assert!(offset <= at as u64, "byte {at}"),
                Error::Version { .. } => assert!((8..12).contains(&at), "byte {at}"),
                other => panic!("byte {at}: {other}"),
            }
        }
    }
    fs::write(&path, [&bytes[..], b"x"].concat()).unwrap();
    assert!(read(&path).is_err(), "something follows the end");
}

#[test]
fn a_block_of_another_checkpoint_or_place_does_not_fit() {
    let temp = tempfile::tempdir().unwrap();
    let one = write(temp.path(), 1, &[b"aaaa", b"bbbb"]);
    let two = write(temp.path(), 2, &[b"cccc", b"dddd"]);
    let (first, second) = (fs::read(&one).unwrap(), fs::read(&two).unwrap());
    let head = HEAD_BYTES + CheckpointHeader::BYTES + 4;
    let block = BLOCK_HEAD_BYTES + 4;
    let foreign = [
        &first[..head],
        &second[head..head + block],
        &first[head + block..],
    ]
    .concat();
    fs::write(&one, foreign).unwrap();
    assert!(read(&one).is_err());
    let swapped = [
        &first[..head],
        &first[head + block..head + 2 * block],
        &first[head..head + block],
        &first[head + 2 * block..],
    ];
    fs::write(&one, swapped.concat()).unwrap();
    assert!(read(&one).is_err());
}

#[test]
fn a_length_in_the_file_allocates_nothing_beyond_the_bound() {
    let temp = tempfile::tempdir().unwrap();
    let path = write(temp.path(), 1, &[b"some"]);
    let mut bytes = fs::read(&path).unwrap();
    let at = HEAD_BYTES + CheckpointHeader::BYTES + 4;
    for len in [MAX_BLOCK_BYTES as u32 + 1, MAX_BLOCK_BYTES as u32, END - 1] {
        bytes[at..at + 4].copy_from_slice(&len.to_le_bytes());
        fs::write(&path, &bytes).unwrap();
        let (_, mut reader) = CheckpointReader::open(&path).unwrap();
        let mut payload = Vec::new();
        assert!(reader.next_block(&mut payload).is_err());
        assert_eq!(payload.capacity(), 0);
    }
}

#[test]
fn a_block_above_the_bound_is_refused_and_the_largest_is_not() {
    let temp = tempfile::tempdir().unwrap();
    let mut writer = CheckpointWriter::create(temp.path(), header(1)).unwrap();
    let largest = vec![1; MAX_BLOCK_BYTES + 1];
    assert!(writer.block(&largest).is_err());
    writer.block(&largest[1..]).unwrap();
    let (_, blocks) = read(&writer.finish().unwrap()).unwrap();
    assert_eq!(blocks, [&largest[1..]]);
}

#[test]
fn an_abandoned_writer_leaves_nothing() {
    let temp = tempfile::tempdir().unwrap();
    let mut writer = CheckpointWriter::create(temp.path(), header(1)).unwrap();
    writer.block(b"x").unwrap();
    assert_eq!(
        indexes(temp.path()),
        [0; 0],
        "it has no name before it is whole"
    );
    drop(writer);
    assert_eq!(fs::read_dir(temp.path()).unwrap().count(), 0);
}

#[test]
fn one_older_checkpoint_is_kept() {
    let temp = tempfile::tempdir().unwrap();
    for index in [3, 10, 200, 90_000] {
        write(temp.path(), index, &[b"x"]);
    }
    assert_eq!(indexes(temp.path()), [90_000, 200]);
    assert_eq!(fs::read_dir(temp.path()).unwrap().count(), 2);
}

#[test]
fn the_newest_valid_checkpoint_is_found_and_what_it_passed_over_is_told() {
    let temp = tempfile::tempdir().unwrap();
    assert!(
        newest(&temp.path().join("nowhere"))
            .unwrap()
            .valid
            .is_none()
    );
    let old = write(temp.path(), 5, &[b"old"]);
    let new = write(temp.path(), 8, &[b"new"]);
    let found = newest(temp.path()).unwrap();
    assert_eq!(found.valid, Some((header(8), new.clone())));
    assert!(found.refused.is_empty());
    let bytes = fs::read(&new).unwrap();
    fs::write(&new, &bytes[..bytes.len() - 1]).unwrap();
    let found = newest(temp.path()).unwrap();
    assert_eq!(found.valid, Some((header(5), old)));
    assert_eq!(found.refused.len(), 1);
    assert_eq!(found.refused[0].index, LogIndex(8));
    let text = found.refused[0].error.to_string();
    assert!(text.contains(new.to_str().unwrap()), "{text}");
}

#[test]
fn a_checkpoint_under_a_false_name_is_refused() {
    let temp = tempfile::tempdir().unwrap();
    let path = write(temp.path(), 5, &[b"x"]);
    fs::rename(&path, directory::path(temp.path(), LogIndex(6))).unwrap();
    let found = newest(temp.path()).unwrap();
    assert!(found.valid.is_none());
    assert_eq!(found.refused[0].index, LogIndex(6));
}

proptest! {
    #[test]
    fn a_header_reads_back_as_it_was_written(
        index: u64, log_time_ms: u64, group: u32, configuration: u32,
        content_version: u32, created_at_ms: u64,
    ) {
        let header = CheckpointHeader {
            index: LogIndex(index),
            log_time_ms,
            group: GroupId(group),
            configuration: ConfigurationId(configuration),
            content_version,
            created_at_ms,
        };
        prop_assert_eq!(CheckpointHeader::decode(&header.encode()), header);
    }

    #[test]
    fn arbitrary_bytes_behind_a_good_header_are_refused(
        bytes in proptest::collection::vec(any::<u8>(), 0..100),
    ) {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("checkpoint");
        let (mut file, _) = encode_head(&header(1));
        file.extend_from_slice(&bytes);
        fs::write(&path, file).unwrap();
        prop_assert!(read(&path).is_err());
    }
}
