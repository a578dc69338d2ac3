//! Why a cluster's file is refused: everything that is wrong with it, each with its line.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// Why a cluster's file is refused. Displayed as a line for each fault, with file and line number.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// The file cannot be read.
    #[error("--cluster {:?}: cannot read it: {source}", file.display().to_string())]
    Unreadable {
        /// As it was given.
        file: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// What it says does not fit.
    #[error("{}", lines(file, faults))]
    Faulty {
        /// As it was given.
        file: PathBuf,
        /// What is wrong, from top to bottom; at least one.
        faults: Vec<Fault>,
    },
}

/// One thing that is wrong with a cluster's file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fault {
    /// Counted from 1.
    pub line: usize,
    /// What is wrong, and what would be right.
    pub message: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.message)
    }
}

fn lines(file: &Path, faults: &[Fault]) -> String {
    let lines: Vec<String> = faults
        .iter()
        .map(|fault| format!("{} {fault}", file.display()))
        .collect();
    lines.join("\n")
}
