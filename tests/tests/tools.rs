//! redis-cli and redis-benchmark, as people and scripts use them.

#![allow(
    clippy::unwrap_used,
    reason = "a test that fails by panicking fails as it should"
)]

use std::fmt::Write as _;
use std::io::{Read, Write};
use std::process::{Child, Command, Stdio};

use bailiwick_tests::child::die_with_this_thread;
use bailiwick_tests::client::Value;
use bailiwick_tests::server::{DEADLINE, Launch, Server};

fn start() -> Server {
    Launch::bailiwick()
        .unwrap()
        .args(["--fsync", "never"])
        .start()
        .unwrap()
}

fn filled(count: usize) -> Server {
    let server = start();
    let mut client = server.connect().unwrap();
    for n in 0..count {
        let set = client.call(["SET", &format!("key:{n}"), &"v".repeat(n % 100)]);
        assert_eq!(set.unwrap(), Value::ok());
    }
    server
}

fn cli(server: &Server) -> Command {
    tool("redis-cli", server)
}

/// A program that connects to the server, and is ended if it takes for ever.
fn tool(program: &str, server: &Server) -> Command {
    let mut command = bounded(program);
    command.args(["-h", "127.0.0.1", "-p", &server.port().to_string()]);
    command
}

fn bounded(program: &str) -> Command {
    let mut command = Command::new("timeout");
    command.arg(DEADLINE.as_secs().to_string()).arg(program);
    command
}

/// A running program. It and what it started are killed on drop.
struct Tool {
    child: Child,
    written: Vec<u8>,
}

impl Tool {
    fn start(command: &mut Command) -> Self {
        die_with_this_thread(command);
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit());
        let child = command
            .spawn()
            .unwrap_or_else(|error| panic!("cannot run {command:?}: {error}"));
        let written = Vec::new();
        Self { child, written }
    }

    fn write(&mut self, input: &[u8]) {
        self.child.stdin.as_mut().unwrap().write_all(input).unwrap();
    }

    /// All that it has written by the time that this is enough.
    fn read_until(&mut self, is_enough: impl Fn(&str) -> bool) -> String {
        let mut chunk = [0; 4096];
        loop {
            let text = String::from_utf8_lossy(&self.written).into_owned();
            if is_enough(&text) {
                return text;
            }
            let count = self
                .child
                .stdout
                .as_mut()
                .unwrap()
                .read(&mut chunk)
                .unwrap();
            assert!(count > 0, "it ended after it had written only:\n{text}");
            self.written.extend_from_slice(&chunk[..count]);
        }
    }
}

impl Drop for Tool {
    fn drop(&mut self) {
        // SAFETY: the call takes no pointer; the group is the child's own, made at its start, and
        // the child has not been waited for.
        unsafe { libc::kill(-(self.child.id() as libc::pid_t), libc::SIGKILL) };
        let _ = self.child.wait();
    }
}

/// Runs a command to its end and returns what it wrote.
fn run(command: &mut Command, input: &[u8]) -> String {
    let (text, succeeded) = run_to_end(command, input);
    assert!(succeeded, "{command:?} failed:\n{text}");
    text
}

fn run_to_end(command: &mut Command, input: &[u8]) -> (String, bool) {
    let mut tool = Tool::start(command);
    tool.write(input);
    drop(tool.child.stdin.take());
    let mut written = Vec::new();
    tool.child
        .stdout
        .take()
        .unwrap()
        .read_to_end(&mut written)
        .unwrap();
    let status = tool.child.wait().unwrap();
    let text = String::from_utf8_lossy(&written).into_owned();
    assert_ne!(
        status.code(),
        Some(127),
        "{command:?} is missing; see tests/run"
    );
    (text, status.success())
}

/// Runs a command that would go on for ever until it has written enough.
fn run_until(command: &mut Command, is_enough: impl Fn(&str) -> bool) -> String {
    Tool::start(command).read_until(is_enough)
}

#[test]
fn commands_on_the_command_line_print_what_redis_cli_prints() {
    let server = start();
    let port = server.port().to_string();
    let ask = |words: &[&str]| run(cli(&server).args(words), b"");
    assert_eq!(ask(&["SET", "k", "v"]), "OK\n");
    assert_eq!(ask(&["GET", "k"]), "v\n");
    assert_eq!(ask(&["--no-raw", "GET", "k"]), "\"v\"\n");
    assert_eq!(ask(&["-n", "3", "--no-raw", "GET", "k"]), "(nil)\n");
    assert_eq!(ask(&["--no-raw", "INCR", "n"]), "(integer) 1\n");
    assert_eq!(
        ask(&["-3", "--no-raw", "MGET", "k", "no"]),
        "1) \"v\"\n2) (nil)\n"
    );
    assert_eq!(ask(&["-x", "ECHO"]), "\n");
    assert_eq!(
        ask(&["-3", "--json", "CONFIG", "GET", "databases"]),
        "{\"databases\":\"16\"}\n"
    );
    let input = "SET a 1\nINCR a\nNOPE\nGET a\n";
    let text = run(&mut cli(&server), input.as_bytes());
    let expected = "OK\n2\nERR unknown command 'NOPE', with args beginning with: \n\n2\n";
    assert_eq!(text, expected, "port {port}");
    assert!(ask(&["INFO", "server"]).contains("redis_version:7."));
    assert!(ask(&["CLIENT", "LIST"]).contains("cmd=client|list"));
}

#[test]
fn redis_cli_lists_and_measures_all_keys() {
    let server = filled(500);
    let listed = run(cli(&server).arg("--scan"), b"");
    let mut keys: Vec<_> = listed.lines().collect();
    keys.sort_unstable();
    keys.dedup();
    assert_eq!(keys.len(), 500, "{listed}");
    let some = run(cli(&server).args(["--scan", "--pattern", "key:49?"]), b"");
    assert_eq!(some.lines().count(), 10, "{some}");
    let big = run(cli(&server).arg("--bigkeys"), b"");
    assert!(big.contains("Sampled 500 keys in the keyspace!"), "{big}");
    assert!(big.contains("500 strings with 24750 bytes"), "{big}");
    let memory = run(cli(&server).arg("--memkeys"), b"");
    assert!(
        memory.contains("Sampled 500 keys in the keyspace!"),
        "{memory}"
    );
}

#[test]
fn redis_cli_loads_a_file_through_its_pipe_mode() {
    let server = start();
    let mut input = String::new();
    for n in 0..5000 {
        write!(input, "SET key:{n} {n}\r\n").unwrap();
    }
    input.push_str("*2\r\n$4\r\nINCR\r\n$5\r\nkey:1\r\nINCR key:2 wrong\r\n");
    // Its exit code tells of the error.
    let (text, succeeded) = run_to_end(cli(&server).arg("--pipe"), input.as_bytes());
    assert!(!succeeded, "{text}");
    assert!(text.contains("errors: 1, replies: 5002"), "{text}");
    let mut client = server.connect().unwrap();
    assert_eq!(client.run("DBSIZE").unwrap(), Value::Integer(5000));
    assert_eq!(client.run("GET key:1").unwrap(), Value::bytes("2"));
}

#[test]
fn redis_cli_watches_a_server() {
    let server = filled(10);
    // With its output in a pipe, it measures for a second and prints one line.
    let latency = run(cli(&server).args(["--latency", "-i", "1"]), b"");
    assert_eq!(latency.split_whitespace().count(), 4, "{latency}");
    let stat = run_until(cli(&server).args(["--stat", "-i", "0.05"]), |text| {
        text.lines().count() > 4
    });
    let row: Vec<_> = stat.lines().nth(2).unwrap().split_whitespace().collect();
    assert_eq!(row[0], "10", "{stat}");
}

#[test]
fn monitor_shows_what_others_do() {
    let server = start();
    let address = server.address().clone();
    let done = std::sync::atomic::AtomicBool::new(false);
    let text = std::thread::scope(|scope| {
        // Until it has been seen, since nobody says when the monitor is on.
        scope.spawn(|| {
            let mut client = bailiwick_tests::client::Client::connect(&address).unwrap();
            while !done.load(std::sync::atomic::Ordering::Acquire) {
                client
                    .call([&b"SET"[..], b"a \"key\"", b"\x00\xff\n"])
                    .unwrap();
                std::thread::sleep(bailiwick_tests::server::POLL);
            }
        });
        let text = run_until(cli(&server).arg("MONITOR"), |text| text.lines().count() > 2);
        done.store(true, std::sync::atomic::Ordering::Release);
        text
    });
    let line = text.lines().nth(1).unwrap();
    let (time, rest) = line.split_once(" [0 127.0.0.1:").unwrap();
    assert!(
        time.split_once('.')
            .is_some_and(|(_, micros)| micros.len() == 6),
        "{line}"
    );
    let (_, words) = rest.split_once("] ").unwrap();
    assert_eq!(words, r#""SET" "a \"key\"" "\x00\xff\n""#);
}

#[test]
fn interactive_redis_cli_shows_hints_and_help() {
    let server = start();
    // `script` gives it a terminal; without a width, redis-cli would ask the terminal for it.
    let shell = format!(
        "stty cols 100 && exec redis-cli -h 127.0.0.1 -p {}",
        server.port()
    );
    let mut command = bounded("script");
    command.args([
        "--quiet",
        "--flush",
        "--return",
        "--command",
        &shell,
        "/dev/null",
    ]);
    command.env("TERM", "xterm").env("HOME", "/nonexistent");
    let mut terminal = Tool::start(&mut command);
    let prompt = format!("127.0.0.1:{}> ", server.port());
    terminal.read_until(|text| text.ends_with(&prompt));
    let steps: [(&str, &str, &[&str]); 4] = [
        ("set k v", "[NX|XX|IFEQ", &["OK"]),
        ("get k", "get k", &["\"v\""]),
        (
            "help getex",
            "help getex",
            &["GETEX", "key [EX seconds", "summary:", "6.2.0", "string"],
        ),
        (
            "help @bitmap",
            "help @bitmap",
            &["BITCOUNT", "SETBIT", "BITFIELD_RO"],
        ),
    ];
    let next_prompt = format!("\n{prompt}");
    for (line, while_typing, reply) in steps {
        terminal.written.clear();
        terminal.write(line.as_bytes());
        terminal.read_until(|text| text.contains(while_typing));
        terminal.write(b"\r");
        // What is typed before the prompt is back is thrown away.
        let text = terminal.read_until(|text| text.ends_with(&next_prompt));
        for words in reply {
            assert!(text.contains(words), "no {words} after {line} in:\n{text}");
        }
    }
}

#[test]
fn redis_benchmark_runs() {
    let server = start();
    let tests = ["-t", "ping,set,get,incr,mset", "-n", "1000", "-q"];
    let text = run(tool("redis-benchmark", &server).args(tests), b"");
    for test in [
        "PING_INLINE",
        "PING_MBULK",
        "SET",
        "GET",
        "INCR",
        "MSET (10 keys)",
    ] {
        assert!(text.contains(&format!("{test}: ")), "no {test} in:\n{text}");
    }
    let pipelined = [
        "-t",
        "set,get",
        "-n",
        "20000",
        "-P",
        "16",
        "-r",
        "1000",
        "--threads",
        "2",
        "-q",
    ];
    let text = run(tool("redis-benchmark", &server).args(pipelined), b"");
    assert!(text.contains("requests per second"), "{text}");
}
