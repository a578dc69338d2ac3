//! A node in a process of its own, and a client that speaks to it in lines.
//!
//! The process listens on a port of the system's choice, keeps its data in a temporary directory,
//! and is killed when its handle goes, or when the test's process does.

#![allow(
    dead_code,
    reason = "each test binary that includes this uses a part of it"
)]

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use bailiwick_frame::{Protocol, reply};
use tempfile::TempDir;

/// How long anything may take before the test fails; far beyond what it does take.
const PATIENCE: Duration = Duration::from_secs(60);

/// A running node.
pub struct Node {
    process: Child,
    port: u16,
    /// The port for cluster clients; 0 if there is none.
    cluster_port: u16,
    directory: TempDir,
}

impl Node {
    /// Starts a node with these flags and waits until it serves.
    pub fn start(flags: &[&str]) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        Self::start_in(directory, flags)
    }

    /// Starts the nodes of a cluster, each with a port for cluster clients, and waits until all
    /// serve.
    pub fn start_cluster(count: usize) -> Vec<Self> {
        let ports: Vec<u16> = (0..3 * count).map(|_| free_port()).collect();
        let mut file = "cluster = \"test\"\n".to_owned();
        for (id, ports) in (1..).zip(ports.chunks_exact(3)) {
            file += &format!("[[node]]\nid = {id}\nregion = \"here\"\n");
            for (name, port) in ["client", "cluster", "peer"].iter().zip(ports) {
                file += &format!("{name} = \"127.0.0.1:{port}\"\n");
            }
        }
        let start = |(id, ports): (u32, &[u16])| {
            let directory = tempfile::tempdir().expect("a temporary directory");
            let path = directory.path().join("cluster.toml");
            std::fs::write(&path, &file).expect("the directory is ours");
            let id = id.to_string();
            let mut command = Command::new(env!("CARGO_BIN_EXE_bailiwick"));
            command.arg("--cluster").arg(&path).args(["--node", &id]);
            command.arg("--data").arg(directory.path().join("data"));
            let mut node = Self::spawn(command, directory);
            node.cluster_port = ports[1];
            node
        };
        let nodes: Vec<Self> = (1..).zip(ports.chunks_exact(3)).map(start).collect();
        nodes.iter().for_each(Self::wait_until_ready);
        nodes
    }

    fn start_in(directory: TempDir, flags: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_bailiwick"));
        command
            .arg("--port")
            .arg("0")
            .arg("--data")
            .arg(directory.path())
            .args(flags);
        let node = Self::spawn(command, directory);
        node.wait_until_ready();
        node
    }

    fn spawn(mut command: Command, directory: TempDir) -> Self {
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        // SAFETY: one system call without pointers, which is allowed between fork and exec.
        unsafe {
            command.pre_exec(|| {
                libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
                Ok(())
            });
        }
        let mut process = command.spawn().expect("the binary was built for this test");
        let mut log = BufReader::new(process.stderr.take().expect("it is piped"));
        let port = read_port(&mut log);
        // Nobody reads the rest, but a full pipe would stop the node.
        thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
        Self {
            process,
            port,
            cluster_port: 0,
            directory,
        }
    }

    fn wait_until_ready(&self) {
        wait_until("the node is ready", || {
            self.client().call("PING") == "+PONG"
        });
    }

    /// The port for any client.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The port for cluster clients.
    pub fn cluster_port(&self) -> u16 {
        self.cluster_port
    }

    /// Connects as a cluster client.
    pub fn cluster_client(&self) -> Client {
        Client::connect(self.cluster_port)
    }

    /// Connects.
    pub fn client(&self) -> Client {
        Client::connect(self.port)
    }

    /// Waits until the process ends by itself.
    pub fn wait(&mut self) -> ExitStatus {
        let started = Instant::now();
        loop {
            if let Some(status) = self.process.try_wait().expect("the process is ours") {
                return status;
            }
            assert!(started.elapsed() < PATIENCE, "the node does not end");
            thread::sleep(Duration::from_millis(2));
        }
    }

    /// Starts a node again on the same data, after this one has ended.
    pub fn restart(mut self, flags: &[&str]) -> Self {
        self.wait();
        let empty = tempfile::tempdir().expect("a temporary directory");
        let directory = std::mem::replace(&mut self.directory, empty);
        Self::start_in(directory, flags)
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Ports that tests of this process have been given, whether a node listens there already or not.
static GIVEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());

/// A port at which nobody listens, which the kernel gives to nobody by itself (a connection of
/// another node could have it when this one comes to listen), and which no other test of this
/// process has.
fn free_port() -> u16 {
    const FIRST: u16 = 10_000;
    let range = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range");
    let range = range.unwrap_or_default();
    let first_given = range.split_whitespace().next();
    let first_given: u16 = first_given
        .and_then(|first| first.parse().ok())
        .unwrap_or(u16::MAX);
    let mut given = GIVEN.lock().unwrap_or_else(PoisonError::into_inner);
    loop {
        // A machine may give out all its ports; then chance has to do.
        let port = fastrand::u16(FIRST..first_given.max(FIRST + 10_000));
        if !given.contains(&port) && TcpListener::bind(("127.0.0.1", port)).is_ok() {
            given.insert(port);
            return port;
        }
    }
}

/// Asks again and again until it is so.
pub fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let started = Instant::now();
    while !is_so() {
        assert!(started.elapsed() < PATIENCE, "not in time: {what}");
        thread::sleep(Duration::from_millis(2));
    }
}

/// The first line says how to connect.
fn read_port(log: &mut impl BufRead) -> u16 {
    let mut lines = String::new();
    loop {
        let before = lines.len();
        let read = log.read_line(&mut lines).expect("the log is text");
        assert!(read > 0, "the node did not start:\n{lines}");
        if let Some((_, rest)) = lines[before..].split_once("redis-cli -p ") {
            let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
            return digits.parse().expect("a port is a number");
        }
    }
}

/// A connection.
pub struct Client {
    stream: TcpStream,
    received: Vec<u8>,
    protocol: Protocol,
}

impl Client {
    fn connect(port: u16) -> Self {
        let stream = TcpStream::connect(("127.0.0.1", port)).expect("the node listens");
        stream
            .set_read_timeout(Some(PATIENCE))
            .expect("a socket has a time-out");
        stream.set_nodelay(true).expect("a socket has options");
        Self {
            stream,
            received: Vec::new(),
            protocol: Protocol::Resp2,
        }
    }

    /// Switches to RESP3.
    pub fn resp3(mut self) -> Self {
        self.send("HELLO 3");
        self.protocol = Protocol::Resp3;
        self.read();
        self
    }

    /// Sends lines, each a request.
    pub fn send(&mut self, lines: &str) {
        let text = lines.replace('\n', "\r\n") + "\r\n";
        self.stream
            .write_all(text.as_bytes())
            .expect("the node reads");
    }

    /// Sends a line and returns its reply; line ends in it are `|`, but for the last.
    pub fn call(&mut self, line: &str) -> String {
        self.send(line);
        self.read()
    }

    /// The next reply.
    pub fn read(&mut self) -> String {
        loop {
            let extent = reply::extent(&self.received, self.protocol).expect("a reply");
            if let Some(len) = extent {
                let reply: Vec<u8> = self.received.drain(..len).collect();
                let text = String::from_utf8_lossy(&reply).replace("\r\n", "|");
                return text.trim_end_matches('|').to_owned();
            }
            assert!(self.receive() > 0, "the connection was closed");
        }
    }

    /// What arrives until the node closes the connection.
    pub fn read_to_end(&mut self) -> String {
        while self.receive() > 0 {}
        String::from_utf8_lossy(&self.received).into_owned()
    }

    fn receive(&mut self) -> usize {
        let mut chunk = [0; 4096];
        // A connection that is aborted is closed as well.
        let count = self.stream.read(&mut chunk).unwrap_or_else(|error| {
            assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "{error}");
            0
        });
        self.received.extend_from_slice(&chunk[..count]);
        count
    }

    /// The value of a field in the reply of `INFO section`.
    pub fn info(&mut self, section: &str, field: &str) -> String {
        let reply = self.call(&format!("INFO {section}"));
        let begin = format!("{field}:");
        let mut fields = reply
            .split('|')
            .filter_map(|line| line.strip_prefix(&begin));
        fields
            .next()
            .unwrap_or_else(|| panic!("no {field} in {reply}"))
            .to_owned()
    }
}
