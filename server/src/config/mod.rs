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
mod demo;
mod error;
mod file;
mod flags;
mod inert;
mod parameter;
mod seat;
mod settings;
mod store;
mod table;
mod transfer;
mod value;
mod words;

use std::ffi::OsString;
use std::fs;

use crate::transfer::{ExportArgs, ImportArgs};
pub use demo::{DemoArgs, DemoShape, Regions};
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
    /// To run a node with these settings; [`Store::cluster`] says whether it is one of a cluster.
    Run(Store),
    /// To run a small cluster in this process.
    Demo(DemoArgs),
    /// To bring a file into a running node.
    Import(ImportArgs),
    /// To bring what a running node holds into a file.
    Export(ExportArgs),
    /// To print this on standard output and stop.
    Print(String),
}

/// Reads the command line (the program's name first) and the files it names. A flag wins over the
/// file, the file over the default.
///
/// # Errors
/// The first thing that is not understood or not allowed.
pub fn load(arguments: impl IntoIterator<Item = OsString>) -> Result<Startup, ConfigError> {
    let mut arguments = arguments.into_iter().peekable();
    let program = arguments.next();
    if arguments.peek().is_some_and(transfer::is_asked_for) {
        return transfer::parse(arguments);
    }
    if arguments.peek().is_some_and(|word| word == "demo") {
        return Ok(match demo::parse(arguments)? {
            Ok(asked) => Startup::Demo(asked),
            Err(help) => Startup::Print(help),
        });
    }
    let flags = match flags::parse(program.into_iter().chain(arguments))? {
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
        // A rewrite replaces the file, not a link to it, and must not depend on where the node
        // runs.
        path = Some(fs::canonicalize(given).map_err(unreadable)?);
    }
    let seat = seat::find(flags.cluster(), flags.node())?;
    if let Some(node) = seat.as_ref().and_then(|(cluster, id)| cluster.node(*id)) {
        seat::listen(
            &mut settings,
            node,
            &flags.given(&["port", "bind", seat::CLUSTER_PORT]),
        )?;
    }
    flags.apply(&mut settings)?;
    if settings.cluster_port != 0 && seat.is_none() {
        let text = "cluster-port: only a node of a cluster has slots to redirect to; start it with \
                    --cluster and --node, or leave the port out";
        return Err(ConfigError::Usage(text.to_owned()));
    }
    Ok(Startup::Run(Store::new(settings, path).in_cluster(seat)))
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
            Ok(Startup::Demo(asked)) => Err(format!("{asked:?}")),
            Ok(Startup::Import(asked)) => Err(format!("{asked:?}")),
            Ok(Startup::Export(asked)) => Err(format!("{asked:?}")),
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

    const CLUSTER: &str = "cluster = \"c\"\n[[node]]\nid = 1\nregion = \"a\"\n\
                           client = \"127.0.0.2:7001\"\npeer = \"127.0.0.2:8001\"\n[[node]]\n\
                           id = 5\nregion = \"a\"\nclient = \"[::1]:7005\"\n\
                           peer = \"[::1]:8005\"\n";

    #[test]
    fn a_node_of_a_cluster_listens_on_its_client_address() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("c.toml");
        fs::write(&path, CLUSTER).unwrap();
        let store = start(&["--cluster", path.to_str().unwrap(), "--node", "5"]).unwrap();
        assert_eq!(store.load().port, 7005);
        assert_eq!(find("bind").unwrap().0.value(&store.load()), "::1");
        let (cluster, node) = store.cluster().unwrap();
        assert_eq!((cluster.name.as_str(), node.0), ("c", 5));
        assert!(start(&[]).unwrap().cluster().is_none());
    }

    #[test]
    fn where_a_node_of_a_cluster_listens_is_said_once() {
        let directory = tempfile::tempdir().unwrap();
        let (cluster, config) = (directory.path().join("c"), directory.path().join("b"));
        fs::write(&cluster, CLUSTER).unwrap();
        let (cluster, config) = (cluster.to_str().unwrap(), config.to_str().unwrap());
        let base = ["--cluster", cluster, "--node", "1", "--config", config];
        let with = |file: &str, more: &[&str]| {
            fs::write(config, file).unwrap();
            start(&[&base[..], more].concat())
        };
        let decides = "in a cluster, the file of --cluster decides where a node listens (node 1: \
                       client = \"127.0.0.2:7001\")";
        for (flag, value) in [("port", "7001"), ("bind", "127.0.0.2")] {
            let refused = with("", &[&format!("--{flag}"), value]).unwrap_err();
            let expected = format!("--{flag}: {decides}; change it there and leave out --{flag}");
            assert_eq!(refused, expected);
        }
        for (key, line) in [("port", "port = 7002"), ("bind", "bind = \"127.0.0.3\"")] {
            let refused = with(line, &[]).unwrap_err();
            let expected = format!("{key} in the configuration file: {decides}; remove the key");
            assert_eq!(refused, expected);
        }
        let store = with("port = 7001\nbind = \"127.0.0.2\"", &[]).unwrap();
        assert_eq!(store.load().port, 7001);
    }

    #[test]
    fn the_port_for_cluster_clients_is_given_once_and_in_a_cluster() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("c.toml");
        let with = |file: &str, more: &[&str]| {
            fs::write(&path, file).unwrap();
            let base = ["--cluster", path.to_str().unwrap(), "--node", "1"];
            start(&[&base[..], more].concat())
        };
        let named = CLUSTER.replacen("region", "cluster = \"127.0.0.3:7301\"\nregion", 1);
        let settings = with(&named, &[]).unwrap().load_full();
        assert_eq!(settings.cluster_port, 7301);
        assert_eq!(settings.cluster_bind[0].ip.to_string(), "127.0.0.3");
        assert_eq!(
            with(&named, &["--cluster-port", "7301"]).unwrap_err(),
            "--cluster-port: in a cluster, the file of --cluster decides where a node listens (node \
             1: cluster = \"127.0.0.3:7301\"); change it there and leave out --cluster-port"
        );
        let settings = with(CLUSTER, &["--cluster-port", "7302"])
            .unwrap()
            .load_full();
        assert_eq!(
            (settings.cluster_port, settings.cluster_bind.len()),
            (7302, 0)
        );
        let alone = start(&["--cluster-port", "7302"]).unwrap_err();
        assert!(
            alone.starts_with("cluster-port: only a node of a cluster "),
            "{alone}"
        );
    }

    #[test]
    fn a_cluster_needs_a_node_of_its_own_and_a_node_needs_a_cluster() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("c.toml");
        fs::write(&path, CLUSTER).unwrap();
        let path = path.to_str().unwrap();
        assert_eq!(
            start(&["--cluster", path]).unwrap_err(),
            "--cluster: needs --node N, the id of this node in that file"
        );
        assert_eq!(
            start(&["--node", "1"]).unwrap_err(),
            "--node: needs --cluster FILE, the file that says which nodes there are"
        );
        for node in ["2", "0", "x", "-1"] {
            assert_eq!(
                start(&["--cluster", path, "--node", node]).unwrap_err(),
                format!("--node {node:?}: expected a node of {path}: 1 or 5")
            );
        }
        fs::write(path, CLUSTER.replace("id = 5", "id = 1")).unwrap();
        assert_eq!(
            start(&["--cluster", path, "--node", "1"]).unwrap_err(),
            format!("{path} line 8: node 1 is already on line 3; give each node its own id")
        );
    }

    #[test]
    fn demo_is_a_command_of_its_own() {
        let asked = start(&["demo", "--nodes", "5"]).unwrap_err();
        assert_eq!(asked, "DemoArgs { shape: Group(5), data: None }");
        let help = start(&["demo", "--help"]).unwrap_err();
        assert!(help.contains("--nodes"), "{help}");
    }
}
