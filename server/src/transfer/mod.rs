//! Data in and out as files: `bailiwick import` and `bailiwick export`.
//!
//! Both are clients of a running node, or of anything that speaks Redis's protocol, over an
//! ordinary connection. Importing cuts an RDB file into its keys and sends each as a RESTORE;
//! exporting goes through the keys with SCAN and writes what DUMP says. Libraries of functions go
//! in by FUNCTION LOAD and come out by FUNCTION DUMP. So neither knows how a node keeps its data, a
//! cluster is no special case, and every value passes the checks of RESTORE.
//!
//! What goes wrong stops the run with an [`Error`]; a key that the node refuses does not, it is
//! named with its place in the file, up to a number, and counted. The exit code tells both from a
//! run without complaint.
//!
//! Not done here: parallel connections, since one saturates a node's log with pipelines.

mod export;
mod import;
mod node;
mod progress;
mod source;

use std::io;
use std::path::{Path, PathBuf};

use crate::rdb::file::FileError;

/// What to import, and where to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImportArgs {
    /// The RDB file.
    pub file: PathBuf,
    /// Host and port of the node.
    pub to: String,
    /// The databases whose keys are wanted; all if there are none.
    pub databases: Vec<u64>,
    /// Whether keys that are there already are replaced.
    pub replace: bool,
}

/// What to export, and where from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExportArgs {
    /// The RDB file.
    pub file: PathBuf,
    /// Host and port of the node.
    pub from: String,
    /// What the keys must match, if not all are wanted.
    pub pattern: Option<String>,
    /// The databases whose keys are wanted; all if there are none.
    pub databases: Vec<u64>,
}

/// How a run went that came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Completion {
    /// Everything was done.
    Whole,
    /// Something was left out; the first of it has been named, all of it counted.
    Partial,
}

/// Why a run did not come to its end. What was sent before stays done.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file cannot be opened, read or written.
    #[error("{}: {source}", file.display())]
    File {
        /// Its path.
        file: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A file is not what it should be.
    #[error("{}, at byte {offset}: {what}", file.display())]
    Content {
        /// Its path.
        file: PathBuf,
        /// Where in it.
        offset: u64,
        /// What is wrong.
        what: FileError,
    },
    /// A file ends early.
    #[error("{} ends at byte {offset} in the middle of what it has to say", file.display())]
    Truncated {
        /// Its path.
        file: PathBuf,
        /// Its length.
        offset: u64,
    },
    /// A file is damaged somewhere.
    #[error("{} is damaged: its checksum is wrong. What it holds was sent all the same", file.display())]
    Checksum {
        /// Its path.
        file: PathBuf,
    },
    /// The node cannot be reached, or the connection broke.
    #[error("{address}: {source}")]
    Connection {
        /// Host and port.
        address: String,
        /// What the system says.
        source: io::Error,
    },
    /// The node will not go on.
    #[error("{address} answered {doing} with: {reply}")]
    Refused {
        /// Host and port.
        address: String,
        /// What was asked.
        doing: String,
        /// What it said.
        reply: String,
    },
}

impl Error {
    fn file(file: &Path) -> impl FnOnce(io::Error) -> Self + use<> {
        let file = file.to_owned();
        move |source| Self::File { file, source }
    }
}

/// Imports a file and reports on standard error.
///
/// # Errors
/// See [`Error`].
pub fn import(args: &ImportArgs) -> Result<Completion, Error> {
    import::run(args)
}

/// Exports to a file and reports on standard error.
///
/// # Errors
/// See [`Error`]. The file is then as it was before.
pub fn export(args: &ExportArgs) -> Result<Completion, Error> {
    export::run(args)
}

/// A key as a report shows it.
fn shown_key(key: &[u8]) -> String {
    /// Of longer keys only the beginning is shown.
    const SHOWN_BYTES: usize = 80;
    let shown = key[..key.len().min(SHOWN_BYTES)].escape_ascii();
    let more = if key.len() > SHOWN_BYTES { "..." } else { "" };
    format!("\"{shown}{more}\"")
}
