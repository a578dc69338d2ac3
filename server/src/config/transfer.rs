//! The command lines of `bailiwick import` and `bailiwick export`.
//!
//! Owns their words and help, not what they ask for.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

use clap::error::ErrorKind;
use clap::{Arg, ArgAction, ArgMatches, Command};

use super::Startup;
use super::error::ConfigError;
use super::flags::{LINE_COLUMNS, one_line, styles};
use crate::transfer::{ExportArgs, ImportArgs};

const ABOUT_IMPORT: &str = "\
Brings the keys of an RDB file, which is what Redis saves, into a running node or cluster: all
types, with their expiries, and libraries of functions. The node is asked for nothing but SELECT,
RESTORE and FUNCTION LOAD, so it goes on serving meanwhile, and each key appears as a whole. What
is there already is kept and counted, unless --replace is given. A file that is damaged is imported
up to the damage.

Files of Redis 7.2 and of all versions before are read. Data of modules is not.";

const ABOUT_EXPORT: &str = "\
Writes the keys of a running node or cluster, with their expiries, into an RDB file, which Redis
7.0 and later load; libraries of functions, too, unless --match asks for some keys only. The file
takes its name when it is complete and on disk.

This is not a snapshot of one instant: the keys are read one after the other while clients go on
writing, each as it is at its turn. A key that comes or goes meanwhile may be in the file or not;
one that is there all the time is in it, once.";

const EPILOGUE: &str = "\
A password is taken from the environment variable REDISCLI_AUTH.

Exit codes: 0 everything was done, 1 it was not, 2 a command line not understood, 3 something was
left out. That is named, up to 20 of a kind, and counted.";

const HERE: &str = "127.0.0.1:6379";

/// Whether the first word of a command line is one of this module's.
pub(super) fn is_asked_for(word: &OsString) -> bool {
    word == "import" || word == "export"
}

/// Cuts up the arguments, `import` or `export` first.
///
/// # Errors
/// The command line is not understood.
pub(super) fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Startup, ConfigError> {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    let is_import = arguments
        .first()
        .is_some_and(|word| word == OsStr::new("import"));
    let (command, help) = if is_import {
        (import(), "bailiwick import --help")
    } else {
        (export(), "bailiwick export --help")
    };
    let given = match command.try_get_matches_from(arguments) {
        Ok(given) => given,
        Err(error) if error.kind() == ErrorKind::DisplayHelp => {
            return Ok(Startup::Print(error.render().to_string()));
        }
        Err(error) => return Err(ConfigError::Usage(one_line(&error, help))),
    };
    let file = given.get_one::<PathBuf>("FILE").cloned();
    let file = file.ok_or_else(|| ConfigError::Usage(format!("expected a FILE (see {help})")))?;
    let databases = databases(&given)?;
    let text = |name: &str| given.get_one::<String>(name).cloned();
    Ok(if is_import {
        Startup::Import(ImportArgs {
            file,
            to: text("to").unwrap_or_else(|| HERE.to_owned()),
            databases,
            replace: given.get_flag("replace"),
        })
    } else {
        Startup::Export(ExportArgs {
            file,
            from: text("from").unwrap_or_else(|| HERE.to_owned()),
            pattern: text("match"),
            databases,
        })
    })
}

/// The databases in the lists that were given.
fn databases(given: &ArgMatches) -> Result<Vec<u64>, ConfigError> {
    let lists = given.get_many::<String>("db").into_iter().flatten();
    let numbers = lists.flat_map(|list| list.split(','));
    let number = |text: &str| {
        text.parse().map_err(|_| {
            ConfigError::Usage(format!("--db {text:?}: expected numbers, as in 0 or 0,2"))
        })
    };
    numbers.map(number).collect()
}

fn base(name: &'static str, about: &'static str) -> Command {
    Command::new(name)
        .about(about)
        .after_help(EPILOGUE)
        .styles(styles())
        .term_width(LINE_COLUMNS)
        .arg(
            Arg::new("FILE")
                .value_parser(clap::value_parser!(PathBuf))
                .help("The RDB file"),
        )
        .arg(
            Arg::new("db")
                .long("db")
                .value_name("N,N...")
                .action(ArgAction::Append)
                .help("Only the keys of these databases [default: all]"),
        )
}

fn import() -> Command {
    base("bailiwick import", ABOUT_IMPORT)
        .override_usage("bailiwick import FILE [--to HOST:PORT] [--db N,N...] [--replace]")
        .arg(
            Arg::new("to")
                .long("to")
                .value_name("HOST:PORT")
                .help(format!(
                    "Where the node listens for clients [default: {HERE}]"
                )),
        )
        .arg(
            Arg::new("replace")
                .long("replace")
                .action(ArgAction::SetTrue)
                .help("Replaces keys that are there already"),
        )
}

fn export() -> Command {
    base("bailiwick export", ABOUT_EXPORT)
        .override_usage("bailiwick export FILE [--from HOST:PORT] [--match PATTERN] [--db N,N...]")
        .arg(
            Arg::new("from")
                .long("from")
                .value_name("HOST:PORT")
                .help(format!(
                    "Where the node listens for clients [default: {HERE}]"
                )),
        )
        .arg(
            Arg::new("match")
                .long("match")
                .value_name("PATTERN")
                .help("Only keys that match, as for SCAN [default: all]"),
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(words: &[&str]) -> Result<Startup, String> {
        parse(words.iter().map(OsString::from)).map_err(|error| error.to_string())
    }

    #[test]
    fn an_import_goes_to_the_local_node_unless_told_otherwise() {
        let Ok(Startup::Import(args)) = asked(&["import", "dump.rdb"]) else {
            panic!("an import")
        };
        let mut expected = ImportArgs {
            file: "dump.rdb".into(),
            to: HERE.to_owned(),
            databases: Vec::new(),
            replace: false,
        };
        assert_eq!(args, expected);
        let line = [
            "import",
            "--to",
            "db:7000",
            "--db",
            "0,2",
            "--db",
            "5",
            "--replace",
            "dump.rdb",
        ];
        let Ok(Startup::Import(args)) = asked(&line) else {
            panic!("an import")
        };
        expected.to = "db:7000".to_owned();
        expected.databases = vec![0, 2, 5];
        expected.replace = true;
        assert_eq!(args, expected);
    }

    #[test]
    fn an_export_says_that_it_is_no_snapshot() {
        let Ok(Startup::Export(args)) = asked(&["export", "x.rdb", "--match", "a*"]) else {
            panic!("an export")
        };
        assert_eq!(
            (args.from.as_str(), args.pattern.as_deref()),
            (HERE, Some("a*"))
        );
        let Ok(Startup::Print(help)) = asked(&["export", "--help"]) else {
            panic!("help")
        };
        assert!(help.contains("not a snapshot of one instant"), "{help}");
        assert!(help.contains("Exit codes"), "{help}");
    }

    #[test]
    fn a_bad_command_line_is_one_line() {
        assert_eq!(
            asked(&["import"]).unwrap_err(),
            "expected a FILE (see bailiwick import --help)"
        );
        assert_eq!(
            asked(&["import", "f", "--db", "0,x"]).unwrap_err(),
            "--db \"x\": expected numbers, as in 0 or 0,2"
        );
        assert_eq!(
            asked(&["export", "f", "--replace"]).unwrap_err(),
            "--replace: unknown flag (see bailiwick export --help)"
        );
        import().debug_assert();
        export().debug_assert();
    }
}
