//! Servers under test, as processes of their own.
//!
//! Owns the process, its temporary directory and what it writes. A [`Server`] is killed with its
//! whole process group when it is dropped, and by the kernel when the thread that started it ends,
//! so start it on the thread that uses it. Bailiwick takes any free TCP port and says which; Redis
//! listens on a socket in its directory: no port is chosen here, so none can be taken away.
//!
//! How it fails: a program that is missing, ends early or stays silent is an error with the end of
//! its output. A server that is dropped during a panic prints the end of its output, too.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use tempfile::TempDir;

use crate::child::{die_with_this_thread, wait_until_stopped};
use crate::client::{Address, Client, Value};

/// Whatever has not happened by then will not. Generous, since test machines are busy.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// How often to look again.
pub const POLL: Duration = Duration::from_millis(2);

/// The Redis that replies are compared with.
const REDIS_SERVER: &str = "redis-server";

/// How much of a server's output an error shows.
const SHOWN_BYTES: usize = 6000;

/// The Bailiwick program: `BAILIWICK_BIN`, or the one that Cargo built beside the running program.
///
/// # Errors
/// It is not there; the error says how to build it.
pub fn bailiwick_program() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("BAILIWICK_BIN") {
        let path = PathBuf::from(path);
        let named = path.display().to_string();
        ensure!(
            path.is_file(),
            "BAILIWICK_BIN names {named}, which is not a file"
        );
        return Ok(path);
    }
    let running = std::env::current_exe().context("cannot tell where this program is")?;
    // Test programs are in `deps`, others beside it.
    let directory = running.parent().context("a program has a directory")?;
    let candidates = [directory.join("bailiwick"), directory.join("../bailiwick")];
    let found = candidates.iter().find(|path| path.is_file());
    found.cloned().with_context(|| {
        format!(
            "there is no bailiwick program in {} or above it; build it with \
             `cargo build -p bailiwick-server`, or name one in BAILIWICK_BIN",
            directory.display()
        )
    })
}

/// A directory for a server's files; removed with its last holder.
pub type Directory = Arc<TempDir>;

/// A new empty directory.
///
/// # Errors
/// The file system refuses.
pub fn directory() -> Result<Directory> {
    let directory = tempfile::Builder::new().prefix("bailiwick-test-").tempdir();
    Ok(Arc::new(
        directory.context("cannot make a temporary directory")?,
    ))
}

/// How to start a server.
#[derive(Clone, Debug)]
pub struct Launch {
    kind: Kind,
    directory: Directory,
    data: PathBuf,
    /// If it is known before the start.
    address: Option<Address>,
    arguments: Vec<OsString>,
    prefix: Vec<OsString>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Bailiwick,
    /// A Bailiwick node whose address is in the cluster's file.
    Member,
    Redis,
}

impl Launch {
    /// A Bailiwick node with a data directory of its own.
    ///
    /// # Errors
    /// The file system refuses.
    pub fn bailiwick() -> Result<Self> {
        Ok(Self::bailiwick_in(&directory()?))
    }

    /// A Bailiwick node with a data directory of its own, which does not wait for its disk.
    ///
    /// # Errors
    /// The file system refuses.
    pub fn unsynced() -> Result<Self> {
        Ok(Self::bailiwick()?.args(["--fsync", "never"]))
    }

    /// A Bailiwick node on a directory that other launches may use too, at other times.
    #[must_use]
    pub fn bailiwick_in(directory: &Directory) -> Self {
        Self {
            kind: Kind::Bailiwick,
            data: directory.path().join("data"),
            address: None,
            directory: directory.clone(),
            arguments: Vec::new(),
            prefix: Vec::new(),
        }
    }

    /// A node of a cluster that listens for clients at this address. What all its lives write is
    /// kept.
    #[must_use]
    pub fn member_in(directory: &Directory, file: &Path, node: u32, address: SocketAddr) -> Self {
        let launch = Self {
            kind: Kind::Member,
            address: Some(Address::Tcp(address)),
            ..Self::bailiwick_in(directory)
        };
        let node = node.to_string();
        launch.args([
            OsStr::new("--cluster"),
            file.as_os_str(),
            OsStr::new("--node"),
            OsStr::new(&node),
            // Nodes are compared by their digests.
            OsStr::new("--enable-debug-command"),
            OsStr::new("yes"),
        ])
    }

    /// A Redis that keeps nothing on disk.
    ///
    /// # Errors
    /// The file system refuses.
    pub fn redis() -> Result<Self> {
        let directory = directory()?;
        Ok(Self {
            kind: Kind::Redis,
            data: directory.path().to_owned(),
            address: Some(Address::Unix(directory.path().join("socket"))),
            directory,
            arguments: Vec::new(),
            prefix: Vec::new(),
        })
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<A: AsRef<OsStr>>(mut self, arguments: impl IntoIterator<Item = A>) -> Self {
        self.arguments.extend(
            arguments
                .into_iter()
                .map(|argument| argument.as_ref().to_owned()),
        );
        self
    }

    /// Puts the data somewhere else than into the directory.
    #[must_use]
    pub fn data(mut self, data: &Path) -> Self {
        self.data = data.to_owned();
        self
    }

    /// Runs the program through another one, which must become it (`exec`).
    #[must_use]
    pub fn through<A: AsRef<OsStr>>(mut self, prefix: impl IntoIterator<Item = A>) -> Self {
        self.prefix.extend(
            prefix
                .into_iter()
                .map(|argument| argument.as_ref().to_owned()),
        );
        self
    }

    /// Where the data is.
    #[must_use]
    pub fn data_path(&self) -> &Path {
        &self.data
    }

    /// Starts the server and waits until it answers PING, loading over.
    ///
    /// # Errors
    /// It is missing, ends, or does not answer.
    pub fn start(&self) -> Result<Server> {
        let mut server = self.spawn()?;
        server.wait_until_ready()?;
        Ok(server)
    }

    /// Starts the server and waits for nothing.
    ///
    /// # Errors
    /// The program cannot be started.
    pub fn spawn(&self) -> Result<Server> {
        let mut command = self.command()?;
        let output = self.directory.path().join("output");
        let is_member = self.kind == Kind::Member;
        let file = File::options()
            .create(true)
            .write(true)
            .append(is_member)
            .truncate(!is_member)
            .open(&output)?;
        command
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file);
        die_with_this_thread(&mut command);
        let program = command.get_program().to_string_lossy().into_owned();
        let child = command.spawn().with_context(|| {
            format!("cannot start {program}; redis-server is in the Debian package redis-server")
        })?;
        Ok(Server {
            child,
            status: None,
            output,
            address: self.address.clone(),
            _directory: self.directory.clone(),
        })
    }

    fn command(&self) -> Result<Command> {
        let program = match self.kind {
            Kind::Bailiwick | Kind::Member => bailiwick_program()?.into_os_string(),
            Kind::Redis => REDIS_SERVER.into(),
        };
        let mut words = self.prefix.iter().cloned().chain([program]);
        let mut command = Command::new(words.next().context("the program is a word")?);
        command.args(words);
        match self.kind {
            Kind::Bailiwick => command.args(["--port", "0", "--data"]).arg(&self.data),
            Kind::Member => command.arg("--data").arg(&self.data),
            Kind::Redis => {
                let socket = self.directory.path().join("socket");
                command.args(["--port", "0", "--save", "", "--appendonly", "no", "--dir"]);
                command.arg(&self.data).arg("--unixsocket").arg(socket)
            }
        };
        command.args(&self.arguments);
        Ok(command)
    }
}

/// A running server.
pub struct Server {
    child: Child,
    status: Option<ExitStatus>,
    output: PathBuf,
    address: Option<Address>,
    /// Removed after the process has ended.
    _directory: Directory,
}

impl Server {
    /// Where it listens.
    ///
    /// # Panics
    /// Before [`wait_until_listening`](Self::wait_until_listening).
    #[must_use]
    pub fn address(&self) -> &Address {
        self.address.as_ref().expect("the server was waited for")
    }

    /// Its TCP port.
    ///
    /// # Panics
    /// If it has none.
    #[must_use]
    pub fn port(&self) -> u16 {
        match self.address() {
            Address::Tcp(address) => address.port(),
            Address::Unix(path) => panic!("{} is not a port", path.display()),
        }
    }

    /// A new connection.
    ///
    /// # Errors
    /// The server does not accept it.
    pub fn connect(&self) -> Result<Client> {
        Client::connect(self.address())
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// All that it has written.
    #[must_use]
    pub fn output(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.output).unwrap_or_default()).into_owned()
    }

    /// Sends it a signal.
    ///
    /// # Errors
    /// It is gone.
    pub fn signal(&self, signal: i32) -> Result<()> {
        ensure!(self.status.is_none(), "the server has ended");
        // SAFETY: the call takes no pointer, and the child has not been waited for, so its id is
        // not in other hands.
        let done = unsafe { libc::kill(self.pid() as libc::pid_t, signal) };
        ensure!(done == 0, std::io::Error::last_os_error());
        Ok(())
    }

    /// Freezes it: nothing of it runs any more when this returns.
    ///
    /// # Errors
    /// It is gone.
    pub fn stop(&self) -> Result<()> {
        self.signal(libc::SIGSTOP)?;
        wait_until_stopped(self.pid())
    }

    /// Ends it at once, as `kill -9` does.
    ///
    /// # Errors
    /// It cannot be waited for.
    pub fn kill(&mut self) -> Result<()> {
        self.child.kill()?;
        self.status = Some(self.child.wait()?);
        Ok(())
    }

    /// Waits for its end and returns the exit code, -1 if a signal ended it.
    ///
    /// # Errors
    /// It goes on.
    pub fn wait_for_end(&mut self) -> Result<i32> {
        let start = Instant::now();
        loop {
            if let Some(status) = self.has_ended()? {
                return Ok(status.code().unwrap_or(-1));
            }
            ensure!(
                start.elapsed() < DEADLINE,
                "the server does not end; {}",
                self.tail()
            );
            thread::sleep(POLL);
        }
    }

    /// Waits until it accepts connections; it may still be loading.
    ///
    /// # Errors
    /// It ends first, or takes for ever.
    pub fn wait_until_listening(&mut self) -> Result<()> {
        let start = Instant::now();
        loop {
            if let Some(status) = self.has_ended()? {
                bail!(
                    "the server ended ({status}) instead of listening; {}",
                    self.tail()
                );
            }
            if self.address.is_none() {
                self.address = listening(&self.output()).map(Address::Tcp);
            }
            if self
                .address
                .as_ref()
                .is_some_and(|address| Client::connect(address).is_ok())
            {
                return Ok(());
            }
            ensure!(
                start.elapsed() < DEADLINE,
                "the server does not listen; {}",
                self.tail()
            );
            thread::sleep(POLL);
        }
    }

    /// Waits until it answers PING with PONG.
    ///
    /// # Errors
    /// It ends first, or takes for ever.
    pub fn wait_until_ready(&mut self) -> Result<()> {
        self.wait_until_listening()?;
        let start = Instant::now();
        loop {
            let answer = self.connect().and_then(|mut client| client.call(["PING"]));
            match answer {
                Ok(Value::Status(text)) if text == "PONG" => return Ok(()),
                Ok(Value::Error(text)) if text.starts_with("LOADING") => {}
                other => {
                    if let Some(status) = self.has_ended()? {
                        bail!("the server ended ({status}) while loading; {}", self.tail());
                    }
                    // A process that ends closes its connections before it is known to have ended.
                    if other.is_ok() {
                        bail!("PING was answered {other:?}; {}", self.tail());
                    }
                }
            }
            ensure!(
                start.elapsed() < DEADLINE,
                "the server loads for ever; {}",
                self.tail()
            );
            thread::sleep(POLL);
        }
    }

    fn has_ended(&mut self) -> Result<Option<ExitStatus>> {
        if self.status.is_none() {
            self.status = self.child.try_wait()?;
        }
        Ok(self.status)
    }

    fn tail(&self) -> String {
        let output = self.output();
        let lines: Vec<_> = output.lines().collect();
        let mut bytes = 0;
        let first = lines.iter().rposition(|line| {
            bytes += line.len() + 1;
            bytes > SHOWN_BYTES
        });
        let shown = lines[first.map_or(0, |first| first + 1)..].join("\n");
        format!("it wrote:\n{shown}")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("the server with process id {}: {}", self.pid(), self.tail());
        }
        if self.status.is_none() {
            // SAFETY: the call takes no pointer; the group is the child's own, made at its start,
            // and the child has not been waited for.
            unsafe { libc::kill(-(self.pid() as libc::pid_t), libc::SIGKILL) };
            let _ = self.child.wait();
        }
    }
}

/// Waits until this is so, of which an error tells by this name.
///
/// # Errors
/// It is not so for too long.
pub fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) -> Result<()> {
    let start = Instant::now();
    while !is_so() {
        ensure!(start.elapsed() < DEADLINE, "waited in vain: {what}");
        thread::sleep(POLL);
    }
    Ok(())
}

/// The address in the line with which a node starts.
fn listening(output: &str) -> Option<SocketAddr> {
    let (_, rest) = output.split_once("listening=\"")?;
    let (addresses, _) = rest.split_once('"')?;
    addresses.split(' ').next()?.parse().ok()
}
