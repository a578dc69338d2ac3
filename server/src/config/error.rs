//! Why the node cannot start with this configuration.

use std::io;
use std::path::PathBuf;

use super::Parameter;
use super::value::Invalid;
use crate::cluster::ClusterError;

/// A configuration that is refused. Displayed as one line (for a cluster's file, one for each
/// fault) that names the place, the key, the value and what is allowed; the binary puts its own
/// name in front and exits with code 2.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The command line itself: an unknown flag, a flag without its value.
    #[error("{0}")]
    Usage(String),
    /// A flag's value.
    #[error("--{flag} {value:?}: expected {expected}")]
    Flag {
        /// The flag without its dashes.
        flag: &'static str,
        /// What was given.
        value: String,
        /// What is allowed.
        expected: String,
    },
    /// The cluster's file.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// The file cannot be read.
    #[error("--config {:?}: cannot read it: {source}", file.display().to_string())]
    Unreadable {
        /// As it was given.
        file: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// The file is no TOML.
    #[error("{} line {line}: {message}", file.display())]
    Syntax {
        /// As it was given.
        file: PathBuf,
        /// Counted from 1.
        line: usize,
        /// What is wrong.
        message: String,
    },
    /// A key that is no parameter.
    #[error("{} line {line}: {key}: unknown key{hint}", file.display())]
    UnknownKey {
        /// As it was given.
        file: PathBuf,
        /// Counted from 1.
        line: usize,
        /// As it is written.
        key: String,
        /// The nearest known key as a remark, or nothing.
        hint: String,
    },
    /// Two keys for one parameter.
    #[error("{} line {line}: {key}: already set as {first} on line {first_line}", file.display())]
    Repeated {
        /// As it was given.
        file: PathBuf,
        /// Counted from 1.
        line: usize,
        /// As it is written.
        key: String,
        /// The earlier key.
        first: String,
        /// Where the earlier key stands.
        first_line: usize,
    },
    /// A value in the file.
    #[error("{} line {line}: {key} {value:?}: expected {expected}", file.display())]
    Value {
        /// As it was given.
        file: PathBuf,
        /// Counted from 1.
        line: usize,
        /// As it is written.
        key: String,
        /// What was given.
        value: String,
        /// What is allowed.
        expected: String,
    },
}

/// What `parameter` would have taken instead of a value refused for this reason.
pub(super) fn expected(parameter: &Parameter, reason: &Invalid) -> String {
    match reason {
        Invalid::Only(value) => format!("{value:?}, the only value there is"),
        _ => parameter.kind.expected(),
    }
}
