//! The command line of `bailiwick demo`.
//!
//! Owns the words behind `demo` and their bounds, not the running of the small cluster that they
//! ask for. A command line that is not understood is one line, as for the node.

use std::ffi::OsString;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use clap::error::ErrorKind;
use clap::{Arg, ArgMatches, Command};

use super::error::ConfigError;
use super::flags::{LINE_COLUMNS, one_line, styles};
use crate::cluster::{DEFAULT_GROUP, GROUP_MEMBERS_MAX};

const ABOUT: &str = "\
Starts a small cluster inside this process, on free ports of this machine, and prints how to
connect to it. It is for trying things out; a crash of the process takes all nodes along.

With --regions, each region has nodes of its own, a group that they form, and the keys that begin
with the region's name and a colon. What regions say to each other is delayed.";

/// The longest name of a region.
const NAME_BYTES_MAX: usize = 64;

/// The longest distance between two regions, in milliseconds.
const LATENCY_MAX_MS: u64 = 500;

/// What `bailiwick demo` should start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DemoArgs {
    /// What kind of cluster.
    pub shape: DemoShape,
    /// Where the nodes keep their data, each in a directory of its own; without it, in a temporary
    /// place that goes with the process.
    pub data: Option<PathBuf>,
}

/// What kind of cluster is to be shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DemoShape {
    /// So many nodes, all in one group: `1 <= nodes <= GROUP_MEMBERS_MAX`.
    Group(u32),
    /// Regions far from each other, each with a group of its own.
    Regions(Regions),
}

/// Regions, and how far they are from each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Regions {
    /// Their names: words, all different, `1 <= names.len() <= GROUP_MEMBERS_MAX`.
    pub names: Vec<String>,
    /// Nodes in each: `1 <= nodes_each <= GROUP_MEMBERS_MAX`.
    pub nodes_each: u32,
    /// How long it takes from one region to another and back.
    pub round_trip: Duration,
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
    let regions = given.get_one::<String>("regions");
    check_combination(&given, regions.is_some())?;
    let shape = match regions.map(|text| regions_of(text, &given)).transpose()? {
        None => DemoShape::Group(nodes(&given, "nodes")?),
        Some(regions) => DemoShape::Regions(regions),
    };
    let data = given.get_one::<PathBuf>("data").cloned();
    Ok(Ok(DemoArgs { shape, data }))
}

/// What is about regions makes sense only with them.
fn check_combination(given: &ArgMatches, has_regions: bool) -> Result<(), ConfigError> {
    let complain = |text: String| Err(ConfigError::Usage(text));
    if has_regions && given.contains_id("nodes") {
        return complain("--nodes: not with --regions; see --nodes-per-region".to_owned());
    }
    let mut of_regions = ["nodes-per-region", "latency"].into_iter();
    match of_regions.find(|flag| !has_regions && given.contains_id(flag)) {
        Some(flag) => complain(format!("--{flag}: needs --regions NAMES, as in eu,us,ap")),
        None => Ok(()),
    }
}

fn nodes(given: &ArgMatches, flag: &'static str) -> Result<u32, ConfigError> {
    const BOUNDS: RangeInclusive<u32> = 1..=GROUP_MEMBERS_MAX as u32;
    let text = given.get_one::<String>(flag);
    let nodes = text.map_or(Some(3), |text| text.parse().ok());
    nodes.filter(|nodes| BOUNDS.contains(nodes)).ok_or_else(|| {
        let expected = format!("a whole number from 1 to {GROUP_MEMBERS_MAX}, better 1, 3 or 5");
        refused(flag, text, expected)
    })
}

fn regions_of(text: &String, given: &ArgMatches) -> Result<Regions, ConfigError> {
    let names: Vec<String> = text.split(',').map(str::to_owned).collect();
    let is_repeated = |at: usize| names[..at].contains(&names[at]);
    let are_good = names.iter().all(|name| is_name(name)) && !(0..names.len()).any(is_repeated);
    if !are_good || names.len() > GROUP_MEMBERS_MAX {
        let expected = format!("1 to {GROUP_MEMBERS_MAX} different words, as in eu,us,ap");
        return Err(refused("regions", Some(text), expected));
    }
    let latency = given.get_one::<String>("latency");
    let round_trip = latency.map_or(Some(80), |text| milliseconds(text));
    let Some(round_trip_ms) = round_trip.filter(|time_ms| *time_ms <= LATENCY_MAX_MS) else {
        let expected = format!("a time from 0ms to {LATENCY_MAX_MS}ms, such as 80ms");
        return Err(refused("latency", latency, expected));
    };
    Ok(Regions {
        names,
        nodes_each: nodes(given, "nodes-per-region")?,
        round_trip: Duration::from_millis(round_trip_ms),
    })
}

/// Whether a region and its group can be called so. One group beside them has a name already.
fn is_name(name: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    (1..=NAME_BYTES_MAX).contains(&name.len()) && name.bytes().all(fits) && name != DEFAULT_GROUP
}

/// A number of milliseconds, with or without its unit.
fn milliseconds(text: &str) -> Option<u64> {
    let number = text.strip_suffix("ms").unwrap_or(text);
    // A sign is part of what the standard library takes for a number.
    let is_plain = number.bytes().all(|byte| byte.is_ascii_digit());
    number.parse().ok().filter(|_| is_plain)
}

fn refused(flag: &'static str, value: Option<&String>, expected: String) -> ConfigError {
    ConfigError::Flag {
        flag,
        value: value.cloned().unwrap_or_default(),
        expected,
    }
}

fn command() -> Command {
    let flag =
        |name: &'static str, value: &'static str| Arg::new(name).long(name).value_name(value);
    Command::new("bailiwick demo")
        .about(ABOUT)
        .override_usage(
            "bailiwick demo [--nodes N] [--data DIR]\n       \
             bailiwick demo --regions NAME,NAME... [--nodes-per-region N] [--latency TIME] \
             [--data DIR]",
        )
        .styles(styles())
        .term_width(LINE_COLUMNS)
        .arg(flag("nodes", "N").help("Nodes, all in one group [default: 3]"))
        .arg(
            flag("regions", "NAMES")
                .help("Regions, with commas between them, as in eu,us,ap [default: none]"),
        )
        .arg(
            flag("nodes-per-region", "N")
                .help("Nodes in each region, which form its group [default: 3]"),
        )
        .arg(
            flag("latency", "TIME")
                .help("Time from one region to another and back [default: 80ms]"),
        )
        .arg(
            flag("data", "DIR")
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
        let (shape, data) = (DemoShape::Group(3), None);
        assert_eq!(asked(&[]), Ok(DemoArgs { shape, data }));
        let (shape, data) = (DemoShape::Group(5), Some("d".into()));
        let words = ["--nodes", "5", "--data", "d"];
        assert_eq!(asked(&words), Ok(DemoArgs { shape, data }));
    }

    #[test]
    fn regions_have_names_nodes_and_a_distance() {
        let regions = |words: &[&str]| match asked(words).unwrap().shape {
            DemoShape::Regions(regions) => regions,
            shape => panic!("{shape:?}"),
        };
        let mut expected = Regions {
            names: ["eu", "us", "ap"].map(str::to_owned).to_vec(),
            nodes_each: 3,
            round_trip: Duration::from_millis(80),
        };
        assert_eq!(regions(&["--regions", "eu,us,ap"]), expected);
        expected.nodes_each = 1;
        expected.round_trip = Duration::from_millis(200);
        for latency in ["200ms", "200"] {
            let words = [
                "--regions",
                "eu,us,ap",
                "--nodes-per-region",
                "1",
                "--latency",
                latency,
            ];
            assert_eq!(regions(&words), expected);
        }
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
        let expected = "expected 1 to 7 different words, as in eu,us,ap";
        for regions in ["", "eu,", "eu,eu", "a b", "root", "a,b,c,d,e,f,g,h"] {
            let told = asked(&["--regions", regions]).unwrap_err();
            assert_eq!(told, format!("--regions {regions:?}: {expected}"));
        }
        let expected = "expected a time from 0ms to 500ms, such as 80ms";
        for latency in ["501ms", "-1", "+1", "80s", ""] {
            let latency_flag = format!("--latency={latency}");
            let told = asked(&["--regions", "eu", &latency_flag]).unwrap_err();
            assert_eq!(told, format!("--latency {latency:?}: {expected}"));
        }
        assert_eq!(
            asked(&["--nodes", "3", "--regions", "eu"]).unwrap_err(),
            "--nodes: not with --regions; see --nodes-per-region"
        );
        assert_eq!(
            asked(&["--latency", "80ms"]).unwrap_err(),
            "--latency: needs --regions NAMES, as in eu,us,ap"
        );
    }

    #[test]
    fn help_shows_its_flags() {
        command().debug_assert();
        let help = asked(&["--help"]).unwrap_err();
        for text in [
            "Usage: bailiwick demo",
            "--nodes <N>",
            "--data <DIR>",
            "--regions <NAMES>",
            "--nodes-per-region <N>",
            "--latency <TIME>",
        ] {
            assert!(help.contains(text), "{text}\n{help}");
        }
    }
}
