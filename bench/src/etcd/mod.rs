//! etcd, as one of the systems that bailiwick is compared with: its members and the load on them.
//!
//! The members run as `etcd` from the PATH (or `--etcd`) with etcd's own defaults, each with a data
//! directory of its own side by side. Only their logging is turned down, which is to etcd's
//! advantage. The three and their directory go when `Members` is dropped.
//!
//! How it fails: without an `etcd` program the error says where one comes from; members that do
//! not agree on a leader in time are an error with the end of what they wrote.

mod channel;
mod load;
mod wire;

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use tempfile::TempDir;

use self::channel::Channel;
pub(crate) use self::load::EtcdLoad;
use crate::interrupt;
use crate::process::{PortTaken, Process, free_addresses};

const MEMBERS: usize = 3;

/// Members that have no leader by then will not get one.
const READY_TIMEOUT: Duration = Duration::from_secs(60);
const READY_POLL: Duration = Duration::from_millis(50);
const START_ATTEMPTS: u32 = 3;

/// A running etcd cluster.
pub(crate) struct Members {
    // Before the directory, so that the processes are gone when it is removed.
    members: Vec<Member>,
    version: String,
    leader: SocketAddr,
    _dir: TempDir,
}

struct Member {
    process: Process,
    client: SocketAddr,
}

impl Members {
    /// Starts the members in an empty directory made by `make_dir`, and waits for their leader.
    ///
    /// # Errors
    /// See the module.
    pub(crate) fn start(program: &Path, make_dir: impl Fn() -> Result<TempDir>) -> Result<Self> {
        check_program(program)?;
        let mut attempt = 1;
        loop {
            match Self::try_start(program, make_dir()?) {
                Err(error) if attempt < START_ATTEMPTS && error.is::<PortTaken>() => attempt += 1,
                outcome => return outcome,
            }
        }
    }

    /// Where the leader takes requests.
    pub(crate) fn leader(&self) -> SocketAddr {
        self.leader
    }

    /// What etcd says it is.
    pub(crate) fn version(&self) -> &str {
        &self.version
    }

    /// Processor time of all members together.
    ///
    /// # Errors
    /// If one has ended.
    pub(crate) fn cpu(&self) -> Result<Duration> {
        let clocks = self.members.iter().map(|member| {
            let clock = member.process.clock()?;
            Ok(clock.read()?)
        });
        clocks.sum()
    }

    /// An error if the leader is another than at the start: then the load no longer goes to it.
    ///
    /// # Errors
    /// See above.
    pub(crate) fn check_leader(&self) -> Result<()> {
        let (leader, _) = ask_for_leader(&self.members)?.context("etcd has lost its leader")?;
        ensure!(leader == self.leader, "etcd has changed its leader");
        Ok(())
    }

    /// Adds what the members wrote to an error.
    pub(crate) fn explain(&self, error: anyhow::Error) -> anyhow::Error {
        self.members
            .iter()
            .fold(error, |error, member| member.process.explain(error))
    }

    fn try_start(program: &Path, dir: TempDir) -> Result<Self> {
        let addresses = free_addresses(2 * MEMBERS)?;
        let (clients, peers) = addresses.split_at(MEMBERS);
        let mut members = Vec::new();
        for (index, &client) in clients.iter().enumerate() {
            let command = command(program, dir.path(), index, client, peers);
            let name = member_name(index);
            let output = dir.path().join(format!("{name}.output"));
            let process = Process::spawn(&format!("etcd {name}"), command, &output)?;
            members.push(Member { process, client });
        }
        let (leader, version) = wait_for_leader(&mut members)?;
        Ok(Self {
            members,
            version,
            leader,
            _dir: dir,
        })
    }
}

fn check_program(program: &Path) -> Result<()> {
    match Command::new(program).arg("--version").output() {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == ErrorKind::NotFound => bail!(
            "there is no program '{0}'; on Debian: apt-get install --no-install-recommends \
             etcd-server (which starts a service of its own that is not needed: systemctl disable \
             --now etcd), or name one with --etcd",
            program.display()
        ),
        Err(error) => Err(error).with_context(|| format!("cannot start {}", program.display())),
    }
}

fn command(
    program: &Path,
    dir: &Path,
    index: usize,
    client: SocketAddr,
    peers: &[SocketAddr],
) -> Command {
    let name = member_name(index);
    let url = |address: SocketAddr| format!("http://{address}");
    let all: Vec<_> = (0..peers.len())
        .map(|peer| format!("{}={}", member_name(peer), url(peers[peer])))
        .collect();
    let mut command = Command::new(program);
    // Settings in the environment would change what is measured.
    for (variable, _) in std::env::vars_os() {
        if variable.to_string_lossy().starts_with("ETCD_") {
            command.env_remove(variable);
        }
    }
    command
        .args(["--name", &name, "--data-dir"])
        .arg(dir.join(&name))
        .args(["--listen-client-urls", &url(client)])
        .args(["--advertise-client-urls", &url(client)])
        .args(["--listen-peer-urls", &url(peers[index])])
        .args(["--initial-advertise-peer-urls", &url(peers[index])])
        .args(["--initial-cluster", &all.join(",")])
        .args(["--initial-cluster-state", "new"])
        .args(["--initial-cluster-token", "bailiwick-bench"])
        .args(["--logger", "zap", "--log-level", "error"])
        .args(["--log-outputs", "stderr"]);
    command
}

fn member_name(index: usize) -> String {
    format!("member-{}", index + 1)
}

fn wait_for_leader(members: &mut [Member]) -> Result<(SocketAddr, String)> {
    let start = Instant::now();
    loop {
        interrupt::check()?;
        for member in members.iter_mut() {
            member.process.check_alive()?;
        }
        if let Ok(Some(leader)) = ask_for_leader(members) {
            return Ok(leader);
        }
        if start.elapsed() > READY_TIMEOUT {
            bail!(
                "etcd's members did not agree on a leader within {} s; the first wrote:\n{}",
                READY_TIMEOUT.as_secs(),
                members[0].process.output_tail()
            );
        }
        std::thread::sleep(READY_POLL);
    }
}

/// The leader's address and version, once all members name the same.
fn ask_for_leader(members: &[Member]) -> Result<Option<(SocketAddr, String)>> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let mut answers = Vec::new();
    for member in members {
        let status = runtime
            .block_on(async { Channel::connect(member.client).await?.status().await })
            .with_context(|| format!("asking {}", member.process.name()))?;
        answers.push((member.client, status));
    }
    let leader = answers[0].1.leader;
    let agreed = leader != 0 && answers.iter().all(|(_, status)| status.leader == leader);
    let found = answers
        .into_iter()
        .find(|(_, status)| agreed && status.member == leader);
    Ok(found.map(|(address, status)| (address, status.version)))
}

/// Where etcd is.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct EtcdProgram {
    /// The etcd program
    #[arg(long, value_name = "PATH", default_value = "etcd")]
    pub(crate) etcd: PathBuf,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_etcd_the_error_says_what_to_install() {
        let error = check_program(Path::new("no-such-etcd")).unwrap_err();
        let text = error.to_string();
        assert!(
            text.contains("etcd-server") && text.contains("--etcd"),
            "{text}"
        );
    }

    #[test]
    fn each_member_knows_all_others() {
        let peers: Vec<SocketAddr> = ["127.0.0.1:1", "127.0.0.1:2", "127.0.0.1:3"]
            .map(|address| address.parse().unwrap())
            .to_vec();
        let command = command(Path::new("etcd"), Path::new("d"), 1, peers[0], &peers);
        let words: Vec<_> = command
            .get_args()
            .map(|word| word.to_string_lossy())
            .collect();
        let text = words.join(" ");
        assert!(text.contains(
            "member-1=http://127.0.0.1:1,member-2=http://127.0.0.1:2,member-3=http://127.0.0.1:3"
        ));
        assert!(
            text.contains("--listen-peer-urls http://127.0.0.1:2"),
            "{text}"
        );
    }
}
