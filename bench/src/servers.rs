//! Starts and stops the servers under measurement.
//!
//! Owns the child process, its port and its temporary directory. A server never outlives its
//! `Server`: dropping it kills the child's whole process group and removes the directory, and
//! should the benchmark itself be killed, the kernel kills the child with it (only the directory
//! is then left).
//!
//! How it fails: a server that ends or does not answer PING in time gives an error with the end
//! of what it wrote.

use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail, ensure};
use serde::Serialize;
use tempfile::TempDir;

use crate::admin::Admin;
use crate::cpu::ProcessClock;
use crate::interrupt;

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
    /// The bailiwick program [default: beside this program, else on the PATH]
    #[arg(long, value_name = "PATH")]
    bailiwick: Option<PathBuf>,
    /// The redis-server program
    #[arg(long, value_name = "PATH", default_value = "redis-server")]
    redis: PathBuf,
    /// One more argument for bailiwick; may be repeated
    #[arg(long, value_name = "ARG", allow_hyphen_values = true)]
    bailiwick_arg: Vec<String>,
    /// One more argument for redis-server; may be repeated
    #[arg(long, value_name = "ARG", allow_hyphen_values = true)]
    redis_arg: Vec<String>,
    /// Where temporary data directories are made [default: the system's]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

impl Binaries {
    /// The directory in which the servers of a class keep their data.
    pub(crate) fn parent_dir(&self, class: Class) -> PathBuf {
        match class {
            Class::Memory => PathBuf::from(MEMORY_DIR),
            _ => self.dir.clone().unwrap_or_else(std::env::temp_dir),
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
            Kind::Bailiwick => command.arg("--data").arg(data).args(&self.bailiwick_arg),
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
        let mut command = Command::new(self.bailiwick_path());
        let fsync = if class == Class::Always {
            "always"
        } else {
            "never"
        };
        command.args(["--fsync", fsync]);
        command
    }

    fn bailiwick_path(&self) -> PathBuf {
        let beside = || {
            let path = std::env::current_exe().ok()?.with_file_name("bailiwick");
            path.is_file().then_some(path)
        };
        self.bailiwick
            .clone()
            .or_else(beside)
            .unwrap_or_else(|| PathBuf::from("bailiwick"))
    }
}

/// A running server.
pub(crate) struct Server {
    kind: Kind,
    child: Child,
    address: SocketAddr,
    /// Held for its drop, which removes the directory, after the child is gone.
    dir: TempDir,
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
        self.child.id()
    }

    /// The clock of the server's process.
    ///
    /// # Errors
    /// If the server has ended.
    pub(crate) fn clock(&self) -> Result<ProcessClock> {
        ProcessClock::of(self.pid()).with_context(|| format!("{} has ended", self.kind.name()))
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
        let tail = self.output_tail();
        if tail.is_empty() || interrupt::check().is_err() {
            return error;
        }
        anyhow!("{error:#}\n{} wrote:\n{tail}", self.kind.name())
    }

    fn try_start(binaries: &Binaries, kind: Kind, class: Class) -> Result<Self> {
        let parent = binaries.parent_dir(class);
        let dir = tempfile::Builder::new()
            .prefix("bailiwick-bench-")
            .tempdir_in(&parent)
            .with_context(|| format!("cannot make a directory in {}", parent.display()))?;
        let data = dir.path().join("data");
        std::fs::create_dir(&data)?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()?));
        let mut command = binaries.command(kind, class, address.port(), &data);
        let output = File::create(dir.path().join(OUTPUT_FILE))?;
        command
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output);
        bind_to_this_process(&mut command);
        let child = command
            .spawn()
            .with_context(|| format!("cannot start {}", command.get_program().to_string_lossy()))?;
        let mut server = Self {
            kind,
            child,
            address,
            dir,
        };
        server.wait_until_ready()?;
        Ok(server)
    }

    fn wait_until_ready(&mut self) -> Result<()> {
        let start = Instant::now();
        loop {
            interrupt::check()?;
            let name = self.kind.name();
            if let Some(status) = self.child.try_wait()? {
                let tail = self.output_tail();
                if tail.to_lowercase().contains("address already in use") {
                    return Err(PortTaken.into());
                }
                bail!("{name} ended ({status}) instead of listening; it wrote:\n{tail}");
            }
            let answer = Admin::connect(self.address).and_then(|mut admin| admin.ask(&["PING"]));
            if answer.is_ok_and(|answer| answer == "PONG") {
                return Ok(());
            }
            ensure!(
                start.elapsed() < READY_TIMEOUT,
                "{name} did not answer PING within {} s; it wrote:\n{}",
                READY_TIMEOUT.as_secs(),
                self.output_tail()
            );
            std::thread::sleep(READY_POLL);
        }
    }

    fn output_tail(&self) -> String {
        let text = std::fs::read(self.dir.path().join(OUTPUT_FILE)).unwrap_or_default();
        let tail = &text[text.len().saturating_sub(2000)..];
        String::from_utf8_lossy(tail).trim().to_owned()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // SAFETY: the call takes no pointer; the group is the child's own, made at its start, and
        // its id cannot be in other hands before the wait below.
        unsafe { libc::kill(-(self.pid() as libc::pid_t), libc::SIGKILL) };
        let _ = self.child.wait();
    }
}

const OUTPUT_FILE: &str = "output";

/// The chosen port was no longer free when the server came to it.
#[derive(Debug)]
struct PortTaken;

impl std::fmt::Display for PortTaken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the port was taken by another process")
    }
}

impl std::error::Error for PortTaken {}

fn free_port() -> Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?
        .local_addr()?
        .port())
}

/// Puts the child into a group of its own, so that Ctrl-C reaches only the benchmark, and has the
/// kernel kill it when the starting thread ends; hence servers are started on the main thread.
fn bind_to_this_process(command: &mut Command) {
    let parent = std::process::id() as libc::pid_t;
    let prepare = move || {
        // SAFETY: both calls are async-signal-safe and take no pointer.
        unsafe {
            if libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) != 0 {
                return Err(std::io::Error::last_os_error());
            }
            // If the parent ended before the line above, nobody will send that signal.
            if libc::getppid() != parent {
                return Err(std::io::Error::from_raw_os_error(libc::ESRCH));
            }
        }
        Ok(())
    };
    command.process_group(0);
    // SAFETY: between fork and exec the closure makes only async-signal-safe calls and allocates
    // nothing.
    unsafe { command.pre_exec(prepare) };
}

#[cfg(test)]
mod tests {
    use super::*;

    fn binaries(bailiwick: &str) -> Binaries {
        Binaries {
            bailiwick: Some(PathBuf::from(bailiwick)),
            redis: PathBuf::from("redis-server"),
            bailiwick_arg: vec!["--threads".into(), "1".into()],
            redis_arg: Vec::new(),
            dir: None,
        }
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
            "--fsync always --port 7 --bind 127.0.0.1 --data d --threads 1"
        );
        for class in [Class::Never, Class::Memory] {
            assert!(arguments(Kind::Redis, class).contains("--appendonly no"));
            assert!(arguments(Kind::Bailiwick, class).starts_with("--fsync never"));
        }
    }

    #[test]
    fn a_server_that_ends_at_once_is_an_error_and_leaves_no_directory() {
        let parent = tempfile::tempdir().unwrap();
        let mut binaries = binaries("false");
        binaries.dir = Some(parent.path().to_owned());
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
        binaries.dir = Some(parent.path().to_owned());
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
