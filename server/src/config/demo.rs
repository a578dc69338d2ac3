//! The command line of `bailiwick demo`.
//!
//! Owns the words behind `demo` and their bounds, not the running of the small cluster that they
//! ask for. A command line that is not understood is one line, as for the node.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::error::ErrorKind;
use clap::{Arg, Command};

use super::error::ConfigError;
use super::flags::{LINE_COLUMNS, one_line, styles};
use crate::cluster::GROUP_MEMBERS_MAX;

const ABOUT: &str = "\
Starts a small cluster inside this process, on free ports of this machine, and prints how to
connect to it. It is for trying things out; a crash of the process takes all nodes along.";

/// What `bailiwick demo` should start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DemoArgs {
    /// How many nodes, all in one group: `1 <= nodes <= GROUP_MEMBERS_MAX`.
    pub nodes: u32,
    /// Where the nodes keep their data, each in a directory of its own; without it, in a temporary
    /// place that goes with the process.
    pub data: Option<PathBuf>,
}

/// Cuts up the arguments, `demo` first; or gives the help to print.
///
/// # Errors
/// The command line is not understood.
pub(super) fn parse(
    arguments: impl IntoIterator<Item = OsString>,
) -> Result<Result<DemoArgs, String>, ConfigError> {
    let given = match command().try_get_matches_from(arguments) {
        Ok(given) => given,
        Err(error) if error.kind() == ErrorKind::DisplayHelp => {
            return Ok(Err(error.render().to_string()));
        }
        Err(error) => {
            return Err(ConfigError::Usage(one_line(
                &error,
                "bailiwick demo --help",
            )));
        }
    };
    let text = given.get_one::<String>("nodes");
    let nodes = text.map_or(Some(3), |text| text.parse().ok());
    let bounds = 1..=GROUP_MEMBERS_MAX as u32;
    let Some(nodes) = nodes.filter(|nodes| bounds.contains(nodes)) else {
        return Err(ConfigError::Flag {
            flag: "nodes",
            value: text.cloned().unwrap_or_default(),
            expected: format!("a whole number from 1 to {GROUP_MEMBERS_MAX}, better 1, 3 or 5"),
        });
    };
    let data = given.get_one::<PathBuf>("data").cloned();
    Ok(Ok(DemoArgs { nodes, data }))
}

fn command() -> Command {
    Command::new("bailiwick demo")
        .about(ABOUT)
        .override_usage("bailiwick demo [--nodes N] [--data DIR]")
        .styles(styles())
        .term_width(LINE_COLUMNS)
        .arg(
            Arg::new("nodes")
                .long("nodes")
                .value_name("N")
                .help("Nodes, all in one group [default: 3]"),
        )
        .arg(
            Arg::new("data")
                .long("data")
                .value_name("DIR")
                .value_parser(clap::value_parser!(PathBuf))
                .help(
                    "Directory of the nodes' data [default: a temporary one, removed at the end]",
                ),
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(words: &[&str]) -> Result<DemoArgs, String> {
        let words = std::iter::once(&"demo").chain(words).map(OsString::from);
        parse(words).map_err(|error| error.to_string())?
    }

    #[test]
    fn three_nodes_in_a_temporary_place_unless_told_otherwise() {
        let (nodes, data) = (3, None);
        assert_eq!(asked(&[]), Ok(DemoArgs { nodes, data }));
        let (nodes, data) = (5, Some("d".into()));
        let words = ["--nodes", "5", "--data", "d"];
        assert_eq!(asked(&words), Ok(DemoArgs { nodes, data }));
    }

    #[test]
    fn a_bad_command_line_is_one_line() {
        let expected = "expected a whole number from 1 to 7, better 1, 3 or 5";
        for nodes in ["0", "8", "x", ""] {
            let told = asked(&["--nodes", nodes]).unwrap_err();
            assert_eq!(told, format!("--nodes {nodes:?}: {expected}"));
        }
        assert_eq!(
            asked(&["--port", "1"]).unwrap_err(),
            "--port: unknown flag (see bailiwick demo --help)"
        );
    }

    #[test]
    fn help_shows_its_flags() {
        command().debug_assert();
        let help = asked(&["--help"]).unwrap_err();
        for text in ["Usage: bailiwick demo", "--nodes <N>", "--data <DIR>"] {
            assert!(help.contains(text), "{text}\n{help}");
        }
    }
}
