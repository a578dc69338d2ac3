//! The command line: one flag for each parameter, generated from the table.
//!
//! clap cuts the arguments and lays out the help. It does not look at values: those are checked by
//! the table, so that a refusal reads the same wherever the value came from.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::builder::styling::{AnsiColor, Styles};
use clap::error::{ContextKind, ErrorKind};
use clap::{Arg, ArgAction, ArgMatches, Command};

use super::Settings;
use super::error::{ConfigError, expected};
use super::parameter::{Parameter, Section, all};
use super::value::Kind;

const ABOUT: &str = "A Redis-compatible server that acknowledges a write when it is on disk";

const INTRODUCTION: &str = "\
A Redis-compatible server that acknowledges a write when it is on disk.

  $ bailiwick --data ./data &
  $ redis-cli SET greeting hello
  OK
  $ redis-cli GET greeting
  \"hello\"

To try a cluster: bailiwick demo. To run one, start each node with the cluster's file and its id:

  $ bailiwick --cluster cluster.toml --node 1 --data ./data-1

To bring the data of a Redis along: bailiwick import dump.rdb; and back: bailiwick export.

Any Redis client works, and so do redis-cli and redis-benchmark. Every setting below is a flag,
a key of the file that --config names, and a parameter of CONFIG GET; most can be changed with
CONFIG SET while the node runs, and CONFIG REWRITE puts them into the file.";

const EPILOGUE: &str = "\
Durability:
  Every write goes to a log in the data directory before it is acknowledged; from time to time a
  checkpoint of all data is written beside it and the log before it is dropped. --fsync says how
  far into the log an acknowledged write has come:
    always    It is on disk. Nothing that was acknowledged is lost, whatever fails; concurrent
              clients share one sync, so this costs far less than a sync for each write.
    interval  It is in the log, which is synced every second. A crash of the process loses
              nothing, a power failure at most about the last second.
    never     It is in the log, which the system writes to disk when it likes. A crash of the
              process loses nothing, a power failure whatever was not written.
  If a sync fails, the node stops rather than acknowledge what may not be on disk. If the disk is
  nearly full (--disk-reserve), writes are refused and reads go on.

Sizes:
  A number of bytes, or a number with a unit: kb, mb, gb are powers of 1024, k, m, g of 1000.

Configuration file (TOML); a flag wins over the file, the file over the default:
  port = 6380
  bind = [\"127.0.0.1\", \"10.0.0.5\"]
  fsync = \"interval\"
  maxmemory = \"2gb\"
  maxmemory-policy = \"allkeys-lru\"

Cluster file (TOML), the same on all nodes; it also says where each node listens:
  cluster = \"shop\"
  [[node]]
  id = 1
  region = \"eu\"
  client = \"10.0.0.1:6379\"
  peer = \"10.0.0.1:7379\"
  cluster = \"10.0.0.1:6479\"  # optional: for clients that know Redis Cluster
  key = \"...\"                # optional: the key that it must have; its log says which
  [[group]]                  # one for each log; without any, all nodes form the group \"root\"
  name = \"root\"
  nodes = [1, 2, 3]
  priority = [2, 1]          # optional: who should lead, the best first
  [[prefix]]                 # optional: keys that belong to another group than the first one
  prefix = \"eu:\"
  group = \"eu\"               # which has a [[group]] of its own

Exit codes: 0 stopped as asked, 1 a fault while running, 2 a configuration not accepted, 130 told
twice to stop.";

/// What explains the flags of a node.
const HELP: &str = "bailiwick --help";

/// Width of the help, in columns.
pub(super) const LINE_COLUMNS: usize = 100;

/// The command line, cut up.
#[derive(Debug)]
pub(super) struct Flags {
    /// What `--config` names.
    pub(super) file: Option<PathBuf>,
    given: ArgMatches,
}

/// What the arguments ask for.
#[derive(Debug)]
pub(super) enum Asked {
    /// To run.
    Run(Flags),
    /// To print this and stop.
    Print(String),
}

/// Cuts up the arguments, the program's name first.
///
/// # Errors
/// The command line is not understood.
pub(super) fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Asked, ConfigError> {
    match command().try_get_matches_from(arguments) {
        Ok(given) => Ok(Asked::Run(Flags {
            file: given.get_one::<PathBuf>("config").cloned(),
            given,
        })),
        Err(error) => match error.kind() {
            ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
                Ok(Asked::Print(error.render().to_string()))
            }
            _ => Err(ConfigError::Usage(one_line(&error, HELP))),
        },
    }
}

impl Flags {
    /// What `--cluster` names.
    pub(super) fn cluster(&self) -> Option<&Path> {
        self.given
            .get_one::<PathBuf>("cluster")
            .map(PathBuf::as_path)
    }

    /// What `--node` says, not yet looked at.
    pub(super) fn node(&self) -> Option<&str> {
        self.given.get_one::<String>("node").map(String::as_str)
    }

    /// Those of these flags that are there.
    pub(super) fn given(&self, flags: &[&'static str]) -> Vec<&'static str> {
        let there = |flag: &&str| self.given.contains_id(flag);
        flags.iter().copied().filter(there).collect()
    }

    /// Applies the flags to `settings`.
    ///
    /// # Errors
    /// The first flag in the table's order whose value does not fit.
    pub(super) fn apply(&self, settings: &mut Settings) -> Result<(), ConfigError> {
        for parameter in all() {
            let Some(value) = self.given.get_one::<String>(parameter.name) else {
                continue;
            };
            parameter
                .apply(settings, value)
                .map_err(|reason| ConfigError::Flag {
                    flag: parameter.name,
                    value: value.clone(),
                    expected: expected(parameter, &reason),
                })?;
        }
        Ok(())
    }
}

/// The colours of the help.
pub(super) fn styles() -> Styles {
    Styles::styled()
        .header(AnsiColor::Yellow.on_default().bold())
        .usage(AnsiColor::Yellow.on_default().bold())
        .literal(AnsiColor::Green.on_default())
}

fn command() -> Command {
    let general = |name, placeholder| {
        Arg::new(name)
            .long(name)
            .value_name(placeholder)
            .help_heading("General")
    };
    let path = clap::value_parser!(PathBuf);
    let config = general("config", "FILE")
        .value_parser(path.clone())
        .help("Configuration file [default: none]");
    let cluster = general("cluster", "FILE").value_parser(path).help(
        "File that describes the cluster of which this is a node; goes with --node [default: none]",
    );
    let node = general("node", "N")
        .allow_negative_numbers(true)
        .help("The id of this node in the file of --cluster");
    Command::new("bailiwick")
        .version(env!("CARGO_PKG_VERSION"))
        .about(ABOUT)
        .long_about(INTRODUCTION)
        .after_long_help(format!("{EPILOGUE}\n\n{}", inert_names()))
        .override_usage(
            "bailiwick [--FLAG VALUE]...\n       \
             bailiwick demo [--nodes N] [--data DIR]\n       \
             bailiwick demo --regions NAMES [--nodes-per-region N] [--latency TIME] [--data DIR]\n       \
             bailiwick import FILE [--to HOST:PORT] [--db N,N...] [--replace]\n       \
             bailiwick export FILE [--from HOST:PORT] [--match PATTERN] [--db N,N...]",
        )
        .styles(styles())
        .term_width(LINE_COLUMNS)
        .disable_help_flag(true)
        .disable_version_flag(true)
        .args([config, cluster, node])
        .arg(
            Arg::new("help")
                .long("help")
                .short('h')
                .action(ArgAction::Help)
                .help_heading("General")
                .help("Print help: -h the flags in short, --help everything"),
        )
        .arg(
            Arg::new("version")
                .long("version")
                .short('V')
                .action(ArgAction::Version)
                .help_heading("General")
                .help("Print the version"),
        )
        .args(all().map(flag))
}

fn flag(parameter: &'static Parameter) -> Arg {
    let placeholder = match parameter.kind {
        // A few short words say more than a stand-in for them.
        Kind::Choice(words) if words.len() <= 5 => words.join("|"),
        _ => parameter.kind.placeholder().to_owned(),
    };
    Arg::new(parameter.name)
        .long(parameter.name)
        .aliases(parameter.aliases)
        .value_name(placeholder)
        .help(help_of(parameter))
        .help_heading(parameter.section.heading())
        .hide(parameter.view_of.is_some() || parameter.section == Section::Inert)
        .allow_negative_numbers(true)
        .action(ArgAction::Set)
}

fn help_of(parameter: &Parameter) -> String {
    let mut help = parameter.summary.to_owned();
    if let Kind::Choice(words) = parameter.kind
        && words.len() > 5
    {
        help = format!("{help}. One of {}", words.join(", "));
    }
    let default = match (parameter.kind, parameter.default) {
        (_, "") => "none".to_owned(),
        (Kind::Memory { .. }, bytes) => short_size(bytes),
        (_, default) => default.to_owned(),
    };
    format!("{help} [default: {default}]")
}

/// The parameters without effect, as a paragraph.
fn inert_names() -> String {
    let mut text =
        "Parameters of Redis that are accepted as flags, in the file and by CONFIG, and \
                    have no\neffect here:"
            .to_owned();
    let mut column = LINE_COLUMNS;
    for row in all().filter(|row| row.section == Section::Inert) {
        if column + 1 + row.name.len() > LINE_COLUMNS {
            text.push_str("\n ");
            column = 1;
        }
        text.push(' ');
        text.push_str(row.name);
        column += 1 + row.name.len();
    }
    text
}

/// A number of bytes with the largest unit that loses nothing.
fn short_size(bytes: &str) -> String {
    let number: u64 = bytes
        .parse()
        .expect("a memory parameter's default is a number of bytes");
    let units = [("gb", 30), ("mb", 20), ("kb", 10)];
    let fitting = units
        .iter()
        .find(|(_, shift)| number != 0 && number.trailing_zeros() >= *shift);
    fitting.map_or_else(
        || bytes.to_owned(),
        |(unit, shift)| format!("{}{unit}", number >> shift),
    )
}

/// clap's complaint as one line; `help` is what explains the flags.
pub(super) fn one_line(error: &clap::Error, help: &str) -> String {
    let context = |kind| error.get(kind).map(ToString::to_string);
    let argument = context(ContextKind::InvalidArg).unwrap_or_default();
    // The argument comes with its placeholder: `--port <N>`.
    let flag = argument
        .split_once(" <")
        .map_or(argument.as_str(), |(flag, _)| flag);
    match error.kind() {
        ErrorKind::UnknownArgument if flag.starts_with('-') => {
            let hint = context(ContextKind::SuggestedArg)
                .map_or_else(String::new, |known| format!("; did you mean {known}?"));
            format!("{flag}: unknown flag{hint} (see {help})")
        }
        ErrorKind::UnknownArgument => {
            // Only the node itself has other words.
            let words = if help == HELP {
                ", demo, import or export"
            } else {
                ""
            };
            format!("{flag:?}: expected a flag{words} (see {help})")
        }
        ErrorKind::InvalidValue => format!("{flag}: expected a value"),
        ErrorKind::ArgumentConflict => format!("{flag}: given more than once"),
        ErrorKind::InvalidUtf8 => "an argument is not UTF-8".to_owned(),
        _ => {
            let text = error.to_string();
            let first = text.lines().next().unwrap_or_default();
            first.strip_prefix("error: ").unwrap_or(first).to_owned()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse_words(words: &[&str]) -> Result<Asked, ConfigError> {
        let words = std::iter::once(&"bailiwick").chain(words);
        parse(words.map(OsString::from))
    }

    fn settings(words: &[&str]) -> Result<Settings, String> {
        let Asked::Run(flags) = parse_words(words).map_err(|error| error.to_string())? else {
            return Err("printed".to_owned());
        };
        let mut settings = Settings::default();
        flags
            .apply(&mut settings)
            .map_err(|error| error.to_string())?;
        Ok(settings)
    }

    #[test]
    fn the_command_is_sound() {
        command().debug_assert();
    }

    #[test]
    fn flags_aliases_and_redis_names_set_the_same_fields() {
        let words = [
            "--port",
            "0",
            "--maxclients",
            "7",
            "--appendfsync",
            "no",
            "--hz",
            "20",
        ];
        let settings = settings(&words).unwrap();
        assert_eq!((settings.port, settings.max_clients), (0, 7));
        assert_eq!(settings.fsync, crate::config::Fsync::Never);
        assert_eq!(settings.inert["hz"], "20");
    }

    #[test]
    fn negative_numbers_are_values_and_flags_are_not() {
        let with = settings(&["--slowlog-log-slower-than", "-1"]).unwrap();
        assert_eq!(with.slowlog_log_slower_than_us, -1);
        assert_eq!(
            settings(&["--port", "--bind"]).unwrap_err(),
            "--port: expected a value"
        );
    }

    #[test]
    fn a_bad_command_line_is_one_line() {
        let lines: [(&[&str], &str); 6] = [
            (
                &["--fsync", "sometimes"],
                "--fsync \"sometimes\": expected always, interval or never",
            ),
            (
                &["--port", "70000"],
                "--port \"70000\": expected a whole number from 0 to 65535",
            ),
            (
                &["--prot", "1"],
                "--prot: unknown flag; did you mean --port? (see bailiwick --help)",
            ),
            (&["--port"], "--port: expected a value"),
            (
                &["--port", "1", "--port", "2"],
                "--port: given more than once",
            ),
            (
                &["imprt"],
                "\"imprt\": expected a flag, demo, import or export (see bailiwick --help)",
            ),
        ];
        for (words, line) in lines {
            assert_eq!(settings(words).unwrap_err(), line);
        }
    }

    #[test]
    fn help_shows_every_parameter_with_its_default_and_explains_durability() {
        let Ok(Asked::Print(help)) = parse_words(&["--help"]) else {
            panic!("no help")
        };
        for row in all().filter(|row| row.view_of.is_none()) {
            assert!(help.contains(row.name), "{}", row.name);
        }
        for text in [
            "[default: 256mb]",
            "[default: 6379]",
            "Durability:",
            "redis-cli SET",
            "bailiwick demo --regions",
            "bailiwick import FILE",
            "bailiwick export FILE",
            "130 told",
        ] {
            assert!(help.contains(text), "{text}");
        }
    }

    #[test]
    fn the_version_is_printed() {
        let Ok(Asked::Print(text)) = parse_words(&["--version"]) else {
            panic!("no version")
        };
        assert_eq!(text, format!("bailiwick {}\n", env!("CARGO_PKG_VERSION")));
    }
}
