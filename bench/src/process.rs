//! One child process: its output file, its end, and the ports it is given.
//!
//! A child never outlives its `Process`: dropping it kills the child's whole process group, and
//! should the benchmark itself be killed, the kernel kills the child with it. For that last part
//! children must be started on the main thread, because the kernel watches the starting thread.
//!
//! How it fails: a program that cannot be started is an error with its name; that a child has
//! ended is seen by whoever waits for it, who finds the end of its output here.

use std::fs::OpenOptions;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, anyhow, bail};

use crate::cpu::ProcessClock;
use crate::interrupt;
use crate::requests::Xorshift;

/// How much of a child's output is shown with an error.
const TAIL_BYTES: usize = 2000;

/// Ports from here up to the first that the kernel gives to outgoing connections. A server that
/// is restarted must find its port free, which it would not be sure to if a client could have got
/// the same port in between.
const FIRST_PORT: u16 = 10_000;

/// Used if the kernel does not say where its own range begins.
const FIRST_OUTGOING_PORT: u16 = 32_768;

const PORT_ATTEMPTS: usize = 10_000;

/// A running child.
pub(crate) struct Process {
    name: String,
    child: Child,
    output: PathBuf,
}

impl Process {
    /// Starts the command, which appends what it writes to the file `output`.
    ///
    /// # Errors
    /// If the program or the file cannot be opened.
    pub(crate) fn spawn(name: &str, mut command: Command, output: &Path) -> Result<Self> {
        let file = OpenOptions::new().create(true).append(true).open(output)?;
        command
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file);
        bind_to_this_process(&mut command);
        let child = command
            .spawn()
            .with_context(|| format!("cannot start {}", command.get_program().to_string_lossy()))?;
        Ok(Self {
            name: name.to_owned(),
            child,
            output: output.to_owned(),
        })
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The clock of the process.
    ///
    /// # Errors
    /// If it has ended.
    pub(crate) fn clock(&self) -> Result<ProcessClock> {
        ProcessClock::of(self.pid()).with_context(|| format!("{} has ended", self.name))
    }

    /// An error if the process has ended; one that is a `PortTaken` if that was the reason.
    ///
    /// # Errors
    /// See above.
    pub(crate) fn check_alive(&mut self) -> Result<()> {
        let Some(status): Option<ExitStatus> = self.child.try_wait()? else {
            return Ok(());
        };
        let tail = self.output_tail();
        if tail.to_lowercase().contains("address already in use") {
            return Err(PortTaken.into());
        }
        bail!(
            "{} ended ({status}) instead of listening; it wrote:\n{tail}",
            self.name
        );
    }

    /// Kills the process, with all it has started, and waits until it is gone.
    pub(crate) fn kill(mut self) {
        self.end();
    }

    /// The end of what the process wrote.
    pub(crate) fn output_tail(&self) -> String {
        let text = std::fs::read(&self.output).unwrap_or_default();
        let tail = &text[text.len().saturating_sub(TAIL_BYTES)..];
        String::from_utf8_lossy(tail).trim().to_owned()
    }

    /// Adds the end of the process's own output to an error, where it may say more.
    pub(crate) fn explain(&self, error: anyhow::Error) -> anyhow::Error {
        let tail = self.output_tail();
        if tail.is_empty() || interrupt::check().is_err() {
            return error;
        }
        anyhow!("{error:#}\n{} wrote:\n{tail}", self.name)
    }

    fn end(&mut self) {
        // A child that was waited for has given its id back.
        if matches!(self.child.try_wait(), Ok(Some(_))) {
            return;
        }
        // SAFETY: the call takes no pointer; the group is the child's own, made at its start, and
        // its id cannot be in other hands before the wait below.
        unsafe { libc::kill(-(self.pid() as libc::pid_t), libc::SIGKILL) };
        let _ = self.child.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.end();
    }
}

/// The chosen port was no longer free when the server came to it.
#[derive(Debug)]
pub(crate) struct PortTaken;

impl std::fmt::Display for PortTaken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the port was taken by another process")
    }
}

impl std::error::Error for PortTaken {}

/// Local addresses that are free and all different.
///
/// # Errors
/// If so many are not to be found.
pub(crate) fn free_addresses(count: usize) -> Result<Vec<SocketAddr>> {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH)?;
    let seed = u64::from(std::process::id()) << 32 ^ since_epoch.as_nanos() as u64;
    let mut random = Xorshift::new(seed);
    let span = u64::from(first_outgoing_port().saturating_sub(FIRST_PORT).max(1));
    // Listeners are held until all are found, so that no port comes twice.
    let mut held = Vec::new();
    for _ in 0..PORT_ATTEMPTS {
        if held.len() == count {
            break;
        }
        let port = FIRST_PORT + random.below(span) as u16;
        held.extend(TcpListener::bind((Ipv4Addr::LOCALHOST, port)));
    }
    if held.len() < count {
        bail!("cannot find {count} free ports");
    }
    let addresses = held.iter().map(TcpListener::local_addr);
    Ok(addresses.collect::<std::io::Result<_>>()?)
}

fn first_outgoing_port() -> u16 {
    std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range")
        .ok()
        .and_then(|text| text.split_whitespace().next()?.parse().ok())
        .unwrap_or(FIRST_OUTGOING_PORT)
}

/// Puts the child into a group of its own, so that Ctrl-C reaches only the benchmark, and has the
/// kernel kill it when the starting thread ends.
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

    #[test]
    fn free_addresses_are_all_different_and_none_is_for_outgoing_connections() {
        let mut ports: Vec<u16> = free_addresses(20)
            .unwrap()
            .iter()
            .map(SocketAddr::port)
            .collect();
        assert!(ports.iter().all(|port| *port < first_outgoing_port()));
        ports.sort_unstable();
        ports.dedup();
        assert_eq!(ports.len(), 20);
    }

    #[test]
    fn a_child_that_ended_is_reported_with_what_it_wrote() {
        let dir = tempfile::tempdir().unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", "echo the reason; exit 3"]);
        let mut child = Process::spawn("shell", command, &dir.path().join("out")).unwrap();
        child.child.wait().unwrap();
        let error = child.check_alive().unwrap_err().to_string();
        assert!(
            error.contains("the reason") && error.contains("shell ended"),
            "{error}"
        );
    }

    #[test]
    fn a_port_that_is_taken_can_be_told_from_other_ends() {
        let dir = tempfile::tempdir().unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", "echo 'bind: Address already in use' >&2; exit 1"]);
        let mut child = Process::spawn("shell", command, &dir.path().join("out")).unwrap();
        child.child.wait().unwrap();
        assert!(child.check_alive().unwrap_err().is::<PortTaken>());
    }
}
