//! What can go wrong in this crate, sorted by what the node must do about it.
//!
//! [`Error`] refuses a start: it names the file and says what to do. [`WalError`] answers a
//! running node: `Full` is a refusal that leaves everything as it was, `Fatal` stops the node.

use std::io;
use std::path::{Path, PathBuf};

use crate::Membership;

/// Why a data directory, its log or a checkpoint cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The operating system refused something.
    #[error("{doing} {path}: {source}")]
    Io {
        /// What was being done, as in "cannot open".
        doing: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// The operating system's reason.
        source: io::Error,
    },
    /// Another process or another handle of this one holds the data directory.
    #[error(
        "the data directory {path} is in use by process {}; stop it first, or choose another directory",
        pid.map_or_else(|| "(unknown)".to_owned(), |pid| pid.to_string())
    )]
    InUse {
        /// The data directory.
        path: PathBuf,
        /// The process that holds it, if its lock file says so.
        pid: Option<u32>,
    },
    /// A file was written by an incompatible version.
    #[error(
        "{path} has format version {found}, this version reads {supported}; start the version that wrote it"
    )]
    Version {
        /// The file.
        path: PathBuf,
        /// The version the file states.
        found: u32,
        /// The version that this build reads.
        supported: u32,
    },
    /// A file's content is not what was written. Nothing has been changed on disk.
    #[error("{path} is damaged at byte {offset}: {reason}; {advice}")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where the first bad byte range starts.
        offset: u64,
        /// What does not hold there.
        reason: String,
        /// What the operator can do.
        advice: &'static str,
    },
    /// The identity is gone although data of this node is there.
    #[error(
        "{path} is missing, but the directory holds a log; restore that file, or remove the whole data directory to start a new node"
    )]
    IdentityLost {
        /// Where the identity file should be.
        path: PathBuf,
    },
    /// The directory is another node's, of this cluster or another, or of none.
    #[error("{}", wrong_member(path, found.as_ref(), asked.as_ref()))]
    WrongMember {
        /// The data directory.
        path: PathBuf,
        /// Whose it is; `None` for a node that runs alone.
        found: Option<Membership>,
        /// Who wanted to open it; `None` for a node that runs alone.
        asked: Option<Membership>,
    },
    /// An option that cannot work.
    #[error("{0}")]
    Option(String),
    /// The log engine refused, in its own words.
    #[error("the write-ahead log in {path} cannot be opened: {reason}")]
    Engine {
        /// The log directory.
        path: PathBuf,
        /// The engine's message.
        reason: String,
    },
}

impl Error {
    /// An I/O error at `path`, ready for `map_err`.
    pub(crate) fn io(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
        let path = path.to_owned();
        move |source| Error::Io {
            doing,
            path,
            source,
        }
    }
}

/// Why the write-ahead log did not do what a running node asked.
#[derive(Debug, Clone, thiserror::Error)]
pub enum WalError {
    /// No room: nothing of this append is in the log, and it may be tried again later.
    #[error("the disk of the write-ahead log is full: {reason}")]
    Full {
        /// What ran out, with numbers where known.
        reason: String,
    },
    /// A write or sync failed and what is on disk is unknown. Every later call fails as well: the
    /// node must stop, and recover from what the disk then holds.
    #[error("the write-ahead log has failed, the node must stop: {reason}")]
    Fatal {
        /// The first failure.
        reason: String,
    },
    /// Entries that are not in the log were asked for: compacted, or never written.
    #[error("entry {index} of the log is not there (it has {first} to {last})")]
    Missing {
        /// The first index that was asked for and is not there.
        index: crate::LogIndex,
        /// The first index of the log, 0 if it is empty.
        first: crate::LogIndex,
        /// The last index of the log, 0 if it is empty.
        last: crate::LogIndex,
    },
}

/// Whose directory this is, who wanted it, and what can be done.
fn wrong_member(path: &Path, found: Option<&Membership>, asked: Option<&Membership>) -> String {
    let path = path.display();
    match (found, asked) {
        (Some(found), Some(asked)) if found.cluster_id == asked.cluster_id => format!(
            "{path} holds the data of node {}, not of node {}, in cluster {}; start it as node {}, \
             or choose another data directory",
            found.node_id, asked.node_id, found.cluster_id, found.node_id
        ),
        (Some(found), Some(asked)) => format!(
            "{path} holds the data of {found}, not of {asked}; the id follows from the cluster's \
             name: if that was changed, change it back, or choose another data directory"
        ),
        (Some(found), None) => format!(
            "{path} holds the data of {found}; start it with that cluster's file and as that node, \
             or choose another data directory"
        ),
        (None, asked) => {
            let asked = asked.map_or_else(|| "another node".to_owned(), ToString::to_string);
            format!(
                "{path} holds the data of a node that runs alone, not of {asked}; start it without \
                 a cluster, or choose another data directory"
            )
        }
    }
}
