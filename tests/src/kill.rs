//! Ends the node under load, again and again, and checks what it has kept.
//!
//! Several writers each own some keys and a model of them. A writer applies a command to its
//! model when the reply has come; what was sent and not answered is *open*. After the node's end,
//! the keys must be as the model after some number of the open commands, in order: so nothing that
//! was acknowledged is missing, nothing is there that was not asked for, and a transaction, which
//! is one command here, is there as a whole or not at all. The next round goes on from what was
//! found.
//!
//! A counter that all writers share must be at least what the highest reply said, and at most what
//! was ever sent. Replies are compared with the model as well. Meanwhile a side connection asks for
//! checkpoints at random, and a small log size has the node take more of its own.

use std::collections::{BTreeMap, VecDeque};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use fastrand::Rng;

use crate::client::{Address, Client, Value, request};
use crate::server::{Directory, Launch, Server, directory};

/// The counter of all writers.
const SHARED: &str = "shared";

/// How a round ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// SIGKILL, at any moment.
    Kill,
    /// SIGTERM: exit code 0.
    Terminate,
    /// SHUTDOWN on a connection: exit code 0.
    Shutdown,
}

/// What to do.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Which random numbers.
    pub seed: u64,
    /// How many times the node is ended.
    pub rounds: u32,
    /// Connections that write.
    pub writers: usize,
    /// How long a round lasts at most, in milliseconds.
    pub round_ms: u64,
    /// How rounds end; one is chosen for each.
    pub endings: Vec<Ending>,
    /// Whether to say how each round went.
    pub verbose: bool,
}

/// What happened.
#[derive(Clone, Copy, Debug, Default)]
pub struct Summary {
    /// Commands that were answered, transactions counted as one.
    pub answered: u64,
    /// Commands that were open at an end.
    pub open: u64,
    /// Open ones that were found to be done.
    pub open_done: u64,
    /// The number in the name of the newest checkpoint; 0 if there is none.
    pub newest_checkpoint: u64,
}

/// Runs a plan on a directory of its own.
///
/// # Errors
/// Something was lost, or was there without having been asked for; or a server did not start.
pub fn run(plan: &Plan) -> Result<Summary> {
    let directory = directory()?;
    let mut rng = Rng::with_seed(plan.seed);
    let mut writers: Vec<_> = (0..plan.writers)
        .map(|number| Writer::new(number, rng.u64(..)))
        .collect();
    let shared = Shared::default();
    let mut summary = Summary::default();
    let launch = launch(&directory);
    for round in 1..=plan.rounds {
        let ending = plan.endings[rng.usize(..plan.endings.len())];
        let at = || format!("seed {}, round {round}, {ending:?}", plan.seed);
        let server = launch.start().with_context(at)?;
        check(&server, &mut writers, &shared, &mut summary).with_context(at)?;
        let load_ms = rng.u64(plan.round_ms / 4..=plan.round_ms);
        let server = load(server, &mut writers, &shared, load_ms, ending, &mut rng);
        drop(server.with_context(at)?);
        if plan.verbose {
            let count: u64 = writers.iter().map(|writer| writer.answered).sum();
            println!("round {round}: {ending:?} after {load_ms} ms, {count} answered so far");
        }
    }
    let server = launch.start()?;
    check(&server, &mut writers, &shared, &mut summary).context("after the last round")?;
    summary.answered = writers.iter().map(|writer| writer.answered).sum();
    summary.newest_checkpoint = newest_checkpoint(launch.data_path());
    Ok(summary)
}

fn launch(directory: &Directory) -> Launch {
    Launch::bailiwick_in(directory).args(["--fsync", "always", "--checkpoint-log-size", "1mb"])
}

/// What all writers know of the shared counter.
#[derive(Default)]
struct Shared {
    sent: AtomicI64,
    highest_reply: AtomicI64,
}

/// Loads the node until its end.
fn load(
    mut server: Server,
    writers: &mut [Writer],
    shared: &Shared,
    load_ms: u64,
    ending: Ending,
    rng: &mut Rng,
) -> Result<Server> {
    let address = server.address().clone();
    let ended = AtomicBool::new(false);
    let seed = rng.u64(..);
    let outcomes = thread::scope(|scope| {
        let running: Vec<_> = writers
            .iter_mut()
            .map(|writer| scope.spawn(|| writer.write(&address, shared, &ended)))
            .collect();
        scope.spawn(|| ask_for_checkpoints(&address, seed, &ended));
        thread::sleep(Duration::from_millis(load_ms));
        let end = end(&mut server, ending);
        ended.store(true, Ordering::Release);
        let outcomes = running
            .into_iter()
            .map(|thread| thread.join().expect("it returns errors"));
        (end, outcomes.collect::<Result<Vec<()>>>())
    });
    outcomes.0?;
    outcomes.1?;
    Ok(server)
}

fn end(server: &mut Server, ending: Ending) -> Result<()> {
    match ending {
        Ending::Kill => return server.kill(),
        Ending::Terminate => server.signal(libc::SIGTERM)?,
        Ending::Shutdown => {
            let mut client = server.connect()?;
            client.send(&request(["SHUTDOWN"]))?;
            // It succeeds by closing the connection.
            if let Ok(reply) = client.read() {
                bail!("SHUTDOWN was answered {reply:?}");
            }
        }
    }
    let code = server.wait_for_end()?;
    ensure!(
        code == 0,
        "exit code {code}; it wrote:\n{}",
        server.output()
    );
    Ok(())
}

/// Asks at random moments; that the connection breaks is expected.
fn ask_for_checkpoints(address: &Address, seed: u64, ended: &AtomicBool) {
    let mut rng = Rng::with_seed(seed);
    let Ok(mut client) = Client::connect(address) else {
        return;
    };
    while !ended.load(Ordering::Acquire) {
        thread::sleep(Duration::from_millis(rng.u64(..60)));
        if client.run("BGSAVE").is_err() {
            return;
        }
    }
}

fn check(
    server: &Server,
    writers: &mut [Writer],
    shared: &Shared,
    summary: &mut Summary,
) -> Result<()> {
    let mut client = server.connect()?;
    for writer in writers {
        let (open, done) = writer.reconcile(&mut client)?;
        summary.open += open;
        summary.open_done += done;
    }
    let found: i64 = client.call(["GET", SHARED])?.text().parse().unwrap_or(0);
    let least = shared.highest_reply.load(Ordering::Acquire);
    let most = shared.sent.load(Ordering::Acquire);
    ensure!(
        (least..=most).contains(&found),
        "the shared counter is {found}, but {least} was acknowledged and {most} were sent"
    );
    Ok(())
}

fn newest_checkpoint(data: &Path) -> u64 {
    let mut directories = vec![data.join("checkpoint")];
    let mut newest = 0;
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if entry.path().is_dir() {
                directories.push(entry.path());
            } else if let Some(digits) = name.strip_prefix("checkpoint-") {
                newest = newest.max(digits.parse().unwrap_or(0));
            }
        }
    }
    newest
}

/// The keys of one writer and their values.
type Model = BTreeMap<String, Vec<u8>>;

/// A command of a writer.
#[derive(Clone, Debug)]
enum Write {
    Set(String, Vec<u8>),
    Append(String, Vec<u8>),
    Increment(String),
    Delete(String),
    /// All or nothing.
    Transaction(Vec<Write>),
    /// The counter that belongs to nobody; not in the model.
    IncrementShared,
}

impl Write {
    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Set(key, value) => {
                out.extend(request([&b"SET"[..], key.as_bytes(), value]));
            }
            Self::Append(key, value) => {
                out.extend(request([&b"APPEND"[..], key.as_bytes(), value]));
            }
            Self::Increment(key) => out.extend(request(["INCR", key])),
            Self::Delete(key) => out.extend(request(["DEL", key])),
            Self::Transaction(writes) => {
                out.extend(request(["MULTI"]));
                writes.iter().for_each(|write| write.encode(out));
                out.extend(request(["EXEC"]));
            }
            Self::IncrementShared => out.extend(request(["INCR", SHARED])),
        }
    }

    /// Applies it and returns the reply that it should get; none if that is not known.
    fn apply(&self, model: &mut Model) -> Option<Value> {
        match self {
            Self::Set(key, value) => {
                model.insert(key.clone(), value.clone());
                Some(Value::ok())
            }
            Self::Append(key, value) => {
                let held = model.entry(key.clone()).or_default();
                held.extend_from_slice(value);
                Some(Value::Integer(held.len() as i64))
            }
            Self::Increment(key) => {
                let held = model.entry(key.clone()).or_insert_with(|| b"0".to_vec());
                let number: i64 = String::from_utf8_lossy(held).parse().ok()?;
                *held = (number + 1).to_string().into_bytes();
                Some(Value::Integer(number + 1))
            }
            Self::Delete(key) => Some(Value::Integer(i64::from(model.remove(key).is_some()))),
            Self::Transaction(writes) => writes
                .iter()
                .map(|write| write.apply(model))
                .collect::<Option<_>>()
                .map(Value::List),
            Self::IncrementShared => None,
        }
    }

    fn read_reply(&self, client: &mut Client) -> Result<Value> {
        if let Self::Transaction(writes) = self {
            for _ in 0..=writes.len() {
                client.read()?;
            }
        }
        client.read()
    }
}

/// A connection's worth of load.
struct Writer {
    number: usize,
    rng: Rng,
    /// Counts commands, so that no value comes twice.
    sequence: u64,
    acknowledged: Model,
    open: VecDeque<Write>,
    answered: u64,
}

impl Writer {
    fn new(number: usize, seed: u64) -> Self {
        Self {
            number,
            rng: Rng::with_seed(seed),
            sequence: 0,
            acknowledged: Model::new(),
            open: VecDeque::new(),
            answered: 0,
        }
    }

    /// Writes until the node is gone. An error means that a reply was wrong.
    fn write(&mut self, address: &Address, shared: &Shared, ended: &AtomicBool) -> Result<()> {
        let Ok(mut client) = Client::connect(address) else {
            return Ok(());
        };
        while !ended.load(Ordering::Acquire) {
            let depth = if self.rng.bool() {
                1
            } else {
                self.rng.usize(2..40)
            };
            let mut bytes = Vec::new();
            for _ in 0..depth {
                let write = self.next_write();
                if matches!(write, Write::IncrementShared) {
                    shared.sent.fetch_add(1, Ordering::AcqRel);
                }
                write.encode(&mut bytes);
                self.open.push_back(write);
            }
            if client.send(&bytes).is_err() {
                return Ok(());
            }
            while let Some(write) = self.open.front() {
                let Ok(reply) = write.read_reply(&mut client) else {
                    return Ok(());
                };
                self.acknowledge(&reply, shared)?;
            }
        }
        Ok(())
    }

    fn acknowledge(&mut self, reply: &Value, shared: &Shared) -> Result<()> {
        let write = self.open.pop_front().context("there is an open command")?;
        let expected = write.apply(&mut self.acknowledged);
        match (expected, reply) {
            (Some(expected), reply) => {
                ensure!(
                    *reply == expected,
                    "{write:?} was answered {reply:?}, not {expected:?}"
                );
            }
            (None, Value::Integer(number)) => {
                shared.highest_reply.fetch_max(*number, Ordering::AcqRel);
            }
            (None, reply) => bail!("{write:?} was answered {reply:?}"),
        }
        self.answered += 1;
        Ok(())
    }

    /// Compares what the node has with what it may have, and goes on from there. Returns how many
    /// commands were open and how many of them have been done.
    fn reconcile(&mut self, client: &mut Client) -> Result<(u64, u64)> {
        let found = self.read_all(client)?;
        let open = self.open.len() as u64;
        // Open commands may leave the model as it was; then any of the numbers will do.
        let mut candidate = self.acknowledged.clone();
        let mut done = 0;
        while candidate != found {
            let Some(write) = self.open.pop_front() else {
                bail!(
                    "writer {}: what was found is not what was acknowledged with any number of the \
                     {open} open commands: {}",
                    self.number,
                    differences(&found, &self.acknowledged)
                );
            };
            write.apply(&mut candidate);
            done += 1;
        }
        self.acknowledged = found;
        self.open.clear();
        Ok((open, done))
    }

    fn read_all(&self, client: &mut Client) -> Result<Model> {
        let keys = client.call(["KEYS", &format!("w{}:*", self.number)])?;
        let mut found = Model::new();
        for key in keys.list() {
            match client.call(["GET", &key.text()])? {
                Value::Bytes(value) => found.insert(key.text(), value),
                other => bail!("GET {}: {other:?}", key.text()),
            };
        }
        Ok(found)
    }

    fn next_write(&mut self) -> Write {
        if self.rng.u8(..20) == 0 {
            return Write::IncrementShared;
        }
        if self.rng.u8(..5) == 0 {
            let count = self.rng.usize(2..6);
            return Write::Transaction((0..count).map(|_| self.next_simple()).collect());
        }
        self.next_simple()
    }

    fn next_simple(&mut self) -> Write {
        self.sequence += 1;
        let slot = self.rng.u8(..6);
        let text = format!("w{}:text:{slot}", self.number);
        let counter = format!("w{}:counter:{slot}", self.number);
        let mut value = format!("{}-{};", self.number, self.sequence).into_bytes();
        match self.rng.u8(..10) {
            0..=3 => {
                let padding = [0, 10, 100, 1000][self.rng.usize(..4)];
                value.resize(value.len() + padding, b'.');
                Write::Set(text, value)
            }
            4 | 5 => Write::Append(text, value),
            6..=8 => Write::Increment(counter),
            _ if self.rng.bool() => Write::Delete(text),
            _ => Write::Delete(counter),
        }
    }
}

fn differences(found: &Model, acknowledged: &Model) -> String {
    let keys: std::collections::BTreeSet<_> = found.keys().chain(acknowledged.keys()).collect();
    let shown = |value: Option<&Vec<u8>>| {
        let start = |value: &Vec<u8>| {
            let tail = &value[value.len().saturating_sub(60)..];
            format!("{} bytes ending in {}", value.len(), tail.escape_ascii())
        };
        value.map_or_else(|| "absent".to_owned(), start)
    };
    keys.into_iter()
        .filter(|key| found.get(*key) != acknowledged.get(*key))
        .map(|key| {
            let (found, wanted) = (shown(found.get(key)), shown(acknowledged.get(key)));
            format!("\n  {key}: found {found}; acknowledged {wanted}")
        })
        .collect()
}
