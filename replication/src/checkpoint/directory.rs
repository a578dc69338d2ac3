//! Which checkpoints a directory has, which is the newest valid one, and which may go.
//!
//! Owns the file names. Files with other names are not touched. A directory that does not exist
//! has no checkpoints.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use super::{CheckpointHeader, CheckpointReader};
use crate::{Error, LogIndex, sys};

const PREFIX: &str = "checkpoint-";
const TEMPORARY: &str = ".tmp";
const PARTIAL: &str = ".partial";
const DIGITS: usize = 20;

/// A file that is named as a checkpoint; whether it is one has not been looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// The index in its name.
    pub index: LogIndex,
    /// The file.
    pub path: PathBuf,
}

/// A checkpoint that was passed over.
#[derive(Debug)]
pub struct Refused {
    /// The index in its name.
    pub index: LogIndex,
    /// What is wrong with it, with its name and, if it is damaged, the offset.
    pub error: Error,
}

/// The newest valid checkpoint of a directory, and what was newer but not valid.
#[derive(Debug, Default)]
pub struct Newest {
    /// The newest that is whole; `None` if there is none.
    pub valid: Option<(CheckpointHeader, PathBuf)>,
    /// Newer ones, newest first. If there are any, the start may go on only if the log reaches
    /// back to `valid`.
    pub refused: Vec<Refused>,
}

/// The checkpoints of a directory by name, newest first.
pub fn list(dir: &Path) -> Result<Vec<Listed>, Error> {
    let names = names(dir).map_err(Error::io("cannot list", dir))?;
    let mut found: Vec<_> = names
        .iter()
        .filter_map(|name| {
            let index = parse(name)?;
            let path = dir.join(name);
            Some(Listed { index, path })
        })
        .collect();
    found.sort_by_key(|listed| std::cmp::Reverse(listed.index));
    Ok(found)
}

/// The newest checkpoint that is whole, and what is wrong with newer ones. Reads the whole file.
/// An error of the operating system, or a file of another format version, is also passed over and
/// reported.
pub fn newest(dir: &Path) -> Result<Newest, Error> {
    let mut newest = Newest::default();
    for Listed { index, path } in list(dir)? {
        match verify(&path) {
            Ok(header) => {
                newest.valid = Some((header, path));
                break;
            }
            Err(error) => newest.refused.push(Refused { index, error }),
        }
    }
    Ok(newest)
}

/// Reads a whole checkpoint and returns its header if nothing is wrong with it.
pub fn verify(path: &Path) -> Result<CheckpointHeader, Error> {
    let (header, mut reader) = CheckpointReader::open(path)?;
    let name = path.file_name().and_then(|name| name.to_str());
    if name
        .and_then(parse)
        .is_some_and(|index| index != header.index)
    {
        return Err(Error::Damaged {
            path: path.to_owned(),
            offset: 0,
            reason: format!(
                "it is of index {}, not of the one in its name",
                header.index
            ),
            advice: "give it its right name",
        });
    }
    let mut payload = Vec::new();
    while reader.next_block(&mut payload)? {}
    Ok(header)
}

/// Removes what an interrupted [`CheckpointWriter`](super::CheckpointWriter) left in a directory,
/// and what has been received of checkpoints that are not newer than one that is there. For a
/// start only: it would take the file from under a writer.
pub fn remove_leftovers(dir: &Path) -> Result<(), Error> {
    let names = names(dir).map_err(Error::io("cannot list", dir))?;
    let newest = names.iter().filter_map(|name| parse(name)).max();
    for name in names {
        let is_temporary = name.strip_suffix(TEMPORARY).and_then(parse).is_some();
        let is_late = parse_partial(&name).is_some_and(|index| Some(index) <= newest);
        if is_temporary || is_late {
            let path = dir.join(name);
            fs::remove_file(&path).map_err(Error::io("cannot remove", &path))?;
        }
    }
    Ok(())
}

/// Removes what has been received of checkpoints other than those at `keep`.
pub fn remove_partials(dir: &Path, keep: &[LogIndex]) -> io::Result<()> {
    for index in partials(dir)? {
        if !keep.contains(&index) {
            fs::remove_file(partial_path(dir, index))?;
        }
    }
    Ok(())
}

/// Removes all checkpoints older than the newest one before `index`: one is kept in reserve.
pub fn remove_old(dir: &Path, index: LogIndex) -> io::Result<()> {
    let mut older: Vec<LogIndex> = names(dir)?
        .iter()
        .filter_map(|name| parse(name))
        .filter(|found| *found < index)
        .collect();
    older.sort_by_key(|index| std::cmp::Reverse(*index));
    for old in older.into_iter().skip(1) {
        match fs::remove_file(path(dir, old)) {
            // One checkpoint may be finished by the writer while another one has been received.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            removed => removed?,
        }
    }
    Ok(())
}

/// Opens the checkpoint of an index as a file, for somebody who passes its bytes on as they are;
/// `None` if there is none. The file goes on to be readable when it has been removed or replaced.
pub fn open_raw(dir: &Path, index: LogIndex) -> io::Result<Option<File>> {
    match File::open(path(dir, index)) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Where the finished checkpoint of an index lies.
pub(super) fn path(dir: &Path, index: LogIndex) -> PathBuf {
    dir.join(format!("{PREFIX}{:0DIGITS$}", index.0))
}

/// Where the checkpoint of an index is written.
pub(super) fn temporary_path(dir: &Path, index: LogIndex) -> PathBuf {
    dir.join(format!("{PREFIX}{:0DIGITS$}{TEMPORARY}", index.0))
}

/// Where a checkpoint is put together that comes from another node.
pub(super) fn partial_path(dir: &Path, index: LogIndex) -> PathBuf {
    dir.join(format!("{PREFIX}{:0DIGITS$}{PARTIAL}", index.0))
}

/// The checkpoints of which something has been received, in no particular order.
pub(super) fn partials(dir: &Path) -> io::Result<Vec<LogIndex>> {
    let names = names(dir)?;
    Ok(names
        .iter()
        .filter_map(|name| parse_partial(name))
        .collect())
}

/// Makes sure that the directory is there, durably.
pub(super) fn create(dir: &Path) -> io::Result<()> {
    if dir.is_dir() {
        return Ok(());
    }
    fs::create_dir_all(dir)?;
    dir.parent().map_or(Ok(()), sys::sync_dir)
}

fn names(dir: &Path) -> io::Result<Vec<String>> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut names = Vec::new();
    for entry in entries {
        names.extend(entry?.file_name().into_string());
    }
    Ok(names)
}

fn parse(name: &str) -> Option<LogIndex> {
    let digits = name.strip_prefix(PREFIX)?;
    let all_digits = digits.len() == DIGITS && digits.bytes().all(|byte| byte.is_ascii_digit());
    all_digits.then(|| digits.parse().ok().map(LogIndex))?
}

fn parse_partial(name: &str) -> Option<LogIndex> {
    name.strip_suffix(PARTIAL).and_then(parse)
}
