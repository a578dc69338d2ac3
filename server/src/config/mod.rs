//! The node's configuration: flags, file, `CONFIG`.
//!
//! One table of [`Parameter`]s is the source of everything: the command line and its help, the keys
//! of the file, `CONFIG GET`, `CONFIG SET` and `CONFIG REWRITE`. The rest of the node reads typed
//! [`Settings`] out of a [`Store`]. A configuration that does not fit stops the start with one line
//! ([`ConfigError`]); a `CONFIG SET` that does not fit changes nothing.
//!
//! Acting on a change (the log level, the size of the slow log) is not done here: whoever holds
//! something that depends on a setting looks at it when [`Store::version`] has moved.

mod compound;
mod error;
mod file;
mod flags;
mod inert;
mod parameter;
mod settings;
mod store;
mod table;
mod value;
mod words;

use std::ffi::OsString;
use std::fs;

pub use error::ConfigError;
pub use parameter::{Changes, Get, Parameter, Section, Set, all, find};
pub use settings::{
    BindAddress, BufferLimit, DebugAccess, EvictionPolicy, Fsync, LogFormat, LogLevel,
    OutputBufferLimits, Settings,
};
pub use store::Store;
pub use value::{Invalid, Kind};

/// What the command line asks for.
#[derive(Debug)]
pub enum Startup {
    /// To run with these settings.
    Run(Store),
    /// To print this on standard output and stop.
    Print(String),
}

/// Reads the command line (the program's name first) and the file it names. A flag wins over the
/// file, the file over the default.
///
/// # Errors
/// The first thing that is not understood or not allowed.
pub fn load(arguments: impl IntoIterator<Item = OsString>) -> Result<Startup, ConfigError> {
    let flags = match flags::parse(arguments)? {
        flags::Asked::Run(flags) => flags,
        flags::Asked::Print(text) => return Ok(Startup::Print(text)),
    };
    let mut settings = Settings::default();
    let mut path = None;
    if let Some(given) = &flags.file {
        let unreadable = |source| ConfigError::Unreadable {
            file: given.clone(),
            source,
        };
        let text = fs::read_to_string(given).map_err(unreadable)?;
        file::apply(&text, given, &mut settings)?;
        // A rewrite replaces the file, not a link to it, and must not depend on where the node runs.
        path = Some(fs::canonicalize(given).map_err(unreadable)?);
    }
    flags.apply(&mut settings)?;
    Ok(Startup::Run(Store::new(settings, path)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn start(words: &[&str]) -> Result<Store, String> {
        let words = std::iter::once(&"bailiwick")
            .chain(words)
            .map(OsString::from);
        match load(words) {
            Ok(Startup::Run(store)) => Ok(store),
            Ok(Startup::Print(text)) => Err(text),
            Err(error) => Err(error.to_string()),
        }
    }

    #[test]
    fn a_flag_wins_over_the_file_and_the_file_over_the_default() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("b.toml");
        fs::write(&path, "port = 1\ndatabases = 4\nfsync = \"never\"\n").unwrap();
        let path = path.to_str().unwrap();
        let store = start(&["--config", path, "--port", "2", "--appendfsync", "everysec"]).unwrap();
        let settings = store.load();
        assert_eq!((settings.port, settings.databases), (2, 4));
        assert_eq!(settings.fsync, Fsync::Interval);
        assert_eq!(settings.tcp_backlog, 511);
    }

    #[test]
    fn a_file_that_cannot_be_read_is_named() {
        let line = start(&["--config", "no/such.toml"]).unwrap_err();
        assert!(
            line.starts_with("--config \"no/such.toml\": cannot read it: "),
            "{line}"
        );
    }

    #[test]
    fn a_fault_in_the_file_is_named_even_where_a_flag_overrides_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("b.toml");
        fs::write(&path, "port = \"x\"\n").unwrap();
        let line = start(&["--config", path.to_str().unwrap(), "--port", "2"]).unwrap_err();
        assert!(line.contains("line 1: port \"x\": expected"), "{line}");
    }
}
