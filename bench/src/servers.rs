//! Starts and stops the servers under measurement.
//!
//! Owns a server's process and its temporary directory, and removes both when it is dropped. Should
//! the benchmark itself be killed, only the directory is left (see `process`).
//!
//! How it fails: a server that ends or does not answer PING in time gives an error with the end
//! of what it wrote.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use serde::Serialize;
use tempfile::TempDir;

use crate::admin::Admin;
use crate::cpu::ProcessClock;
use crate::interrupt;
use crate::node_program::{NodeProgram, temp_dir_in};
use crate::process::{PortTaken, Process, free_addresses};

/// A server that has not answered PING by then will not.
const READY_TIMEOUT: Duration = Duration::from_secs(30);
const READY_POLL: Duration = Duration::from_millis(10);

/// A free port may be taken by somebody else before the server binds it; then try another.
const START_ATTEMPTS: u32 = 3;

/// A file system in memory, for servers that must not touch a disk.
const MEMORY_DIR: &str = "/dev/shm";

/// Which server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Kind {
    Redis,
    Bailiwick,
}

impl Kind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Redis => "redis",
            Self::Bailiwick => "bailiwick",
        }
    }
}

/// What a server puts on disk before it answers a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Class {
    /// Nothing reaches a disk: Redis without a log; bailiwick, which always has one, with
    /// `--fsync never` and its data in a memory file system.
    Memory,
    /// Nothing is synced: Redis without a log, bailiwick with `--fsync never`.
    Never,
    /// Each write is synced before its reply, on both.
    Always,
}

impl Class {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Never => "never",
            Self::Always => "always",
        }
    }
}

/// Where the programs are and what they get besides.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Binaries {
    #[command(flatten)]
    node: NodeProgram,
    /// The redis-server program
    #[arg(long, value_name = "PATH", default_value = "redis-server")]
    redis: PathBuf,
    /// One more argument for redis-server; may be repeated
    #[arg(long, value_name = "ARG", allow_hyphen_values = true)]
    redis_arg: Vec<String>,
}

impl Binaries {
    /// For commands that start no other server than bailiwick.
    pub(crate) fn of_node(node: &NodeProgram) -> Self {
        Self {
            node: node.clone(),
            redis: PathBuf::from("redis-server"),
            redis_arg: Vec::new(),
        }
    }

    /// The directory in which the servers of a class keep their data.
    pub(crate) fn parent_dir(&self, class: Class) -> PathBuf {
        match class {
            Class::Memory => PathBuf::from(MEMORY_DIR),
            _ => self.node.parent_dir(),
        }
    }

    fn command(&self, kind: Kind, class: Class, port: u16, data: &Path) -> Command {
        let mut command = match kind {
            Kind::Redis => self.redis_command(class),
            Kind::Bailiwick => self.bailiwick_command(class),
        };
        command.args(["--port", &port.to_string(), "--bind", "127.0.0.1"]);
        match kind {
            Kind::Redis => command.arg("--dir").arg(data).args(&self.redis_arg),
            Kind::Bailiwick => command.arg("--data").arg(data),
        };
        command
    }

    fn redis_command(&self, class: Class) -> Command {
        let mut command = Command::new(&self.redis);
        command.args(["--save", "", "--daemonize", "no", "--loglevel", "warning"]);
        match class {
            Class::Memory | Class::Never => command.args(["--appendonly", "no"]),
            // A rewrite of the log runs in a child whose processor time would go uncounted, and
            // would fall into some runs and not into others.
            Class::Always => command
                .args(["--appendonly", "yes", "--appendfsync", "always"])
                .args(["--auto-aof-rewrite-percentage", "0"]),
        };
        command
    }

    fn bailiwick_command(&self, class: Class) -> Command {
        let mut command = self.node.command();
        let fsync = if class == Class::Always {
            "always"
        } else {
            "never"
        };
        command.args(["--fsync", fsync]);
        command
    }
}

/// A running server.
pub(crate) struct Server {
    kind: Kind,
    process: Process,
    address: SocketAddr,
    /// Held for its drop, which removes the directory, after the process is gone.
    _dir: TempDir,
}

impl Server {
    /// Starts a server on a free port with an empty directory and waits until it answers.
    ///
    /// # Errors
    /// If the program is not there, ends, or does not answer in time.
    pub(crate) fn start(binaries: &Binaries, kind: Kind, class: Class) -> Result<Self> {
        let mut attempt = 1;
        loop {
            match Self::try_start(binaries, kind, class) {
                Err(error) if attempt < START_ATTEMPTS && error.is::<PortTaken>() => attempt += 1,
                outcome => return outcome,
            }
        }
    }

    pub(crate) fn kind(&self) -> Kind {
        self.kind
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// The clock of the server's process.
    ///
    /// # Errors
    /// If the server has ended.
    pub(crate) fn clock(&self) -> Result<ProcessClock> {
        self.process.clock()
    }

    /// What the server says it is.
    ///
    /// # Errors
    /// If it does not answer.
    pub(crate) fn version(&self) -> Result<String> {
        let mut admin = Admin::connect(self.address)?;
        for field in ["bailiwick_version", "redis_version"] {
            if let Some(version) = admin.info("server", field)? {
                return Ok(version);
            }
        }
        Ok("unknown".to_owned())
    }

    /// Adds the end of the server's own output to an error, where it may say more.
    pub(crate) fn explain(&self, error: anyhow::Error) -> anyhow::Error {
        self.process.explain(error)
    }

    fn try_start(binaries: &Binaries, kind: Kind, class: Class) -> Result<Self> {
        let dir = temp_dir_in(&binaries.parent_dir(class))?;
        let data = dir.path().join("data");
        std::fs::create_dir(&data)?;
        let address = free_addresses(1)?[0];
        let command = binaries.command(kind, class, address.port(), &data);
        let process = Process::spawn(kind.name(), command, &dir.path().join(OUTPUT_FILE))?;
        let mut server = Self {
            kind,
            process,
            address,
            _dir: dir,
        };
        server.wait_until_ready()?;
        Ok(server)
    }

    fn wait_until_ready(&mut self) -> Result<()> {
        let start = Instant::now();
        loop {
            interrupt::check()?;
            self.process.check_alive()?;
            let answer = Admin::connect(self.address).and_then(|mut admin| admin.ask(&["PING"]));
            if answer.is_ok_and(|answer| answer == "PONG") {
                return Ok(());
            }
            ensure!(
                start.elapsed() < READY_TIMEOUT,
                "{} did not answer PING within {} s; it wrote:\n{}",
                self.kind.name(),
                READY_TIMEOUT.as_secs(),
                self.process.output_tail()
            );
            std::thread::sleep(READY_POLL);
        }
    }
}

const OUTPUT_FILE: &str = "output";

#[cfg(test)]
mod tests {
    use super::*;

    fn binaries(bailiwick: &str) -> Binaries {
        Binaries::of_node(&NodeProgram::at(bailiwick, &["--threads", "1"]))
    }

    fn arguments(kind: Kind, class: Class) -> String {
        let command = binaries("bailiwick").command(kind, class, 7, Path::new("d"));
        let words: Vec<_> = command
            .get_args()
            .map(|arg| arg.to_string_lossy())
            .collect();
        words.join(" ")
    }

    #[test]
    fn both_servers_get_the_same_durability() {
        let redis = arguments(Kind::Redis, Class::Always);
        assert!(
            redis.contains("--appendonly yes --appendfsync always"),
            "{redis}"
        );
        let ours = arguments(Kind::Bailiwick, Class::Always);
        assert_eq!(
            ours,
            "--threads 1 --fsync always --port 7 --bind 127.0.0.1 --data d"
        );
        for class in [Class::Never, Class::Memory] {
            assert!(arguments(Kind::Redis, class).contains("--appendonly no"));
            assert!(arguments(Kind::Bailiwick, class).contains("--fsync never"));
        }
    }

    #[test]
    fn a_server_that_ends_at_once_is_an_error_and_leaves_no_directory() {
        let parent = tempfile::tempdir().unwrap();
        let mut binaries = binaries("false");
        binaries.node = binaries.node.in_dir(parent.path());
        let error = Server::start(&binaries, Kind::Bailiwick, Class::Never)
            .err()
            .unwrap();
        assert!(
            error.to_string().contains("instead of listening"),
            "{error}"
        );
        assert_eq!(std::fs::read_dir(parent.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_dropped_server_is_gone_with_its_directory() {
        if Command::new("redis-server")
            .arg("--version")
            .output()
            .is_err()
        {
            eprintln!("skipped: there is no redis-server on the PATH");
            return;
        }
        let parent = tempfile::tempdir().unwrap();
        let mut binaries = binaries("bailiwick");
        binaries.node = binaries.node.in_dir(parent.path());
        let server = Server::start(&binaries, Kind::Redis, Class::Always).unwrap();
        assert!(
            server
                .version()
                .unwrap()
                .starts_with(|first: char| first.is_ascii_digit())
        );
        assert!(server.clock().unwrap().read().unwrap() > Duration::ZERO);
        let pid = server.pid();
        drop(server);
        assert!(
            ProcessClock::of(pid)
                .and_then(|clock| clock.read())
                .is_err()
        );
        assert_eq!(std::fs::read_dir(parent.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_program_that_is_not_there_is_named() {
        let absent = binaries("no-such-program");
        let error = Server::start(&absent, Kind::Bailiwick, Class::Never)
            .err()
            .unwrap();
        assert!(error.to_string().contains("no-such-program"), "{error}");
    }
}
