//! The clients: what they ask, and what they make of what they are told.
//!
//! A [`Worker`] stays with one node, reads and writes a few keys that all workers share, and
//! records everything. It never assumes that a write failed unless it was told so by an error that
//! promises it. What goes wrong is also kept as a [`Complaint`], to be excused by the faults of the
//! time or not. A [`Session`] reads a counter under `READONLY` from one node.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Result, bail, ensure};
use fastrand::Rng;

use super::Clock;
use crate::client::{Address, Client, Value};
use crate::cluster::Cluster;
use crate::history::{History, Operation, Outcome, Reply};

/// Longer than a node lets any command wait, so that it is the node that says what happened.
const PATIENCE: Duration = Duration::from_secs(30);

/// Between attempts to reach a node that is down.
const RECONNECT: Duration = Duration::from_millis(20);

/// Keys with text, and keys with numbers.
const KEYS_PER_KIND: usize = 3;

/// The counter that is only ever counted up.
const STEADY: &str = "steady";

/// Something that a client would rather not have seen.
#[derive(Clone, Debug)]
pub struct Complaint {
    /// The node that the client was connected to.
    pub node: u32,
    /// What kind.
    pub trouble: Trouble,
    /// What was asked and told.
    pub text: String,
    /// When it was asked, in microseconds.
    pub invoked: u64,
    /// When it went wrong; `invoked <= returned`.
    pub returned: u64,
}

impl fmt::Display for Complaint {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            out,
            "[{}, {}] us, node {}, {:?}: {}",
            self.invoked, self.returned, self.node, self.trouble, self.text
        )
    }
}

/// Kinds of failure that a client sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Trouble {
    /// The connection broke, or the node is just starting.
    Lost,
    /// `-CLUSTERDOWN`, `-UNCERTAIN`, or no answer.
    NoQuorum,
    /// `-MISCONF`
    DiskFull,
    /// `-TRYAGAIN`: the key was moving for longer than the node lets a command wait.
    Held,
    /// Nothing excuses this.
    Other,
}

/// A client that reads and writes.
pub struct Worker {
    number: u32,
    node: u32,
    address: Address,
    /// What all its keys begin with.
    prefix: String,
    rng: Rng,
    clock: Clock,
    /// Counts values, so that none comes twice.
    sequence: u64,
    history: History,
    complaints: Vec<Complaint>,
}

impl Worker {
    pub fn new(number: u32, node: u32, address: Address, seed: u64, clock: Clock) -> Self {
        Self {
            number,
            node,
            address,
            prefix: String::new(),
            rng: Rng::with_seed(seed),
            clock,
            sequence: 0,
            history: History::default(),
            complaints: Vec::new(),
        }
    }

    /// With keys that begin so.
    #[must_use]
    pub fn under(mut self, prefix: &str) -> Self {
        prefix.clone_into(&mut self.prefix);
        self
    }

    /// Reads and writes until it is over.
    ///
    /// # Errors
    /// A reply has the wrong shape.
    pub fn run(mut self, over: &AtomicBool) -> Result<(History, Vec<Complaint>)> {
        let mut connection = None;
        while !over.load(Ordering::Acquire) {
            let Some(client) = connection.as_mut() else {
                connection = connect(&self.address);
                if connection.is_none() {
                    thread::sleep(RECONNECT);
                }
                continue;
            };
            if !self.operate(client)? {
                connection = None;
            }
            thread::sleep(Duration::from_micros(self.rng.u64(..4000)));
        }
        Ok((self.history, self.complaints))
    }

    /// Does one operation; false if the connection is of no use any more.
    fn operate(&mut self, client: &mut Client) -> Result<bool> {
        let (name, operation) = self.choose();
        let key = format!("{}{name}", self.prefix);
        let invoked = self.clock.now();
        let words = words(&key, &operation);
        let begun = self
            .history
            .begin(self.number, &key, operation.clone(), invoked);
        let answer = client.call(&words);
        let returned = self.clock.now();
        let (outcome, trouble) = match &answer {
            Ok(Value::Error(text)) => judge(text),
            Ok(value) => (Outcome::Answered(reply(&operation, value)?), None),
            Err(error) => (Outcome::Unknown, Some(broken(error))),
        };
        // An unknown outcome has no end.
        if outcome != Outcome::Unknown {
            self.history.finish(begun, outcome, returned);
        }
        if let Some(trouble) = trouble {
            self.complaints.push(Complaint {
                node: self.node,
                trouble,
                text: format!("{operation:?} on {key}: {answer:?}"),
                invoked,
                returned,
            });
        }
        Ok(answer.is_ok())
    }

    fn choose(&mut self) -> (String, Operation) {
        self.sequence += 1;
        let value = format!("{:02}-{:06};", self.number, self.sequence).into_bytes();
        let slot = self.rng.usize(..KEYS_PER_KIND);
        if self.rng.u8(..10) == 0 {
            return (STEADY.to_owned(), Operation::Increment);
        }
        if self.rng.bool() {
            let operation = match self.rng.u8(..20) {
                0..=8 => Operation::Get,
                9..=18 => Operation::Increment,
                _ => Operation::Delete,
            };
            return (format!("count:{slot}"), operation);
        }
        let operation = match self.rng.u8(..20) {
            0..=9 => Operation::Get,
            10..=13 => Operation::Set(value),
            14 | 15 => Operation::Swap(value),
            16..=18 => Operation::Append(value),
            _ => Operation::Delete,
        };
        (format!("text:{slot}"), operation)
    }
}

/// A connection that may see the past, but never goes back in it.
pub struct Session {
    address: Address,
}

impl Session {
    pub fn new(address: Address) -> Self {
        Self { address }
    }

    /// Reads until it is over; returns how often it could.
    ///
    /// # Errors
    /// The counter went back within a session.
    pub fn run(self, over: &AtomicBool) -> Result<u64> {
        let mut reads = 0;
        while !over.load(Ordering::Acquire) {
            if let Some(mut client) = connect(&self.address) {
                self.one_session(&mut client, over, &mut reads)?;
            }
            thread::sleep(RECONNECT);
        }
        Ok(reads)
    }

    fn one_session(&self, client: &mut Client, over: &AtomicBool, reads: &mut u64) -> Result<()> {
        match client.run("READONLY") {
            Ok(Value::Error(text)) if !text.starts_with("LOADING") => bail!("READONLY: {text}"),
            Ok(Value::Status(_)) => {}
            _ => return Ok(()),
        }
        let mut highest = 0;
        while !over.load(Ordering::Acquire) {
            let found: i64 = match client.call(["GET", STEADY]) {
                Ok(Value::Null) => 0,
                Ok(value @ Value::Bytes(_)) => value.text().parse()?,
                _ => return Ok(()),
            };
            ensure!(
                found >= highest,
                "a READONLY session on {:?} saw the counter at {highest} and then at {found}",
                self.address
            );
            highest = found;
            *reads += 1;
            thread::sleep(Duration::from_millis(2));
        }
        Ok(())
    }
}

/// Reads every key that begins so of a healthy cluster through every node. Nodes that are impatient
/// may say that there is no leader while one is being elected; then the read is tried again, for a
/// while.
///
/// # Errors
/// A node does not answer as it should.
pub fn read_all(
    cluster: &Cluster,
    clock: &Clock,
    history: &mut History,
    prefix: &str,
    is_impatient: bool,
) -> Result<()> {
    let is_no_leader =
        |value: &Value| matches!(value, Value::Error(text) if text.starts_with("CLUSTERDOWN"));
    let slots = 0..KEYS_PER_KIND;
    let keys = slots.flat_map(|slot| [format!("text:{slot}"), format!("count:{slot}")]);
    for name in keys.chain([STEADY.to_owned()]) {
        let key = format!("{prefix}{name}");
        for node in cluster.nodes() {
            let begun = history.begin(1000 + node, &key, Operation::Get, clock.now());
            let mut value = cluster.connect(node)?.call(["GET", &key])?;
            let mut tries = 0;
            while is_impatient && is_no_leader(&value) && tries < 100 {
                tries += 1;
                value = cluster.connect(node)?.call(["GET", &key])?;
            }
            let reply = reply(&Operation::Get, &value)?;
            history.finish(begun, Outcome::Answered(reply), clock.now());
        }
    }
    Ok(())
}

fn connect(address: &Address) -> Option<Client> {
    let mut client = Client::connect(address).ok()?;
    client.set_timeout(PATIENCE).ok()?;
    Some(client)
}

fn words<'a>(key: &'a str, operation: &'a Operation) -> Vec<&'a [u8]> {
    let key = key.as_bytes();
    match operation {
        Operation::Get => vec![b"GET", key],
        Operation::Set(value) => vec![b"SET", key, value],
        Operation::Swap(value) => vec![b"SET", key, value, b"GET"],
        Operation::Append(tail) => vec![b"APPEND", key, tail],
        Operation::Increment => vec![b"INCR", key],
        Operation::Delete => vec![b"DEL", key],
    }
}

fn reply(operation: &Operation, value: &Value) -> Result<Reply> {
    let reply = match (operation, value) {
        (Operation::Get | Operation::Swap(_), Value::Null) => Reply::Value(None),
        (Operation::Get | Operation::Swap(_), Value::Bytes(bytes)) => {
            Reply::Value(Some(bytes.clone()))
        }
        (Operation::Set(_), Value::Status(_)) => Reply::Done,
        (
            Operation::Append(_) | Operation::Increment | Operation::Delete,
            Value::Integer(number),
        ) => Reply::Number(*number),
        _ => bail!("{operation:?} was answered {value:?}"),
    };
    Ok(reply)
}

/// What an error reply tells about the operation, and about the cluster.
fn judge(text: &str) -> (Outcome, Option<Trouble>) {
    let code = text.split(' ').next().unwrap_or_default();
    let (outcome, trouble) = match code {
        "UNCERTAIN" => (Outcome::Unknown, Trouble::NoQuorum),
        "CLUSTERDOWN" => (Outcome::Refused, Trouble::NoQuorum),
        "LOADING" => (Outcome::Refused, Trouble::Lost),
        "TRYAGAIN" => (Outcome::Refused, Trouble::Held),
        "MISCONF" => (Outcome::Refused, Trouble::DiskFull),
        // An error that nobody has thought of promises nothing.
        _ => (Outcome::Unknown, Trouble::Other),
    };
    (outcome, Some(trouble))
}

/// A connection that broke; one that is open without an answer is another matter.
fn broken(error: &anyhow::Error) -> Trouble {
    let is_timeout = error
        .downcast_ref::<std::io::Error>()
        .is_some_and(|error| error.kind() == std::io::ErrorKind::WouldBlock);
    if is_timeout {
        Trouble::NoQuorum
    } else {
        Trouble::Lost
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::linearizability;
    use crate::server::Launch;

    #[test]
    fn what_clients_of_one_node_see_is_linearizable() {
        let server = Launch::bailiwick().unwrap().start().unwrap();
        let clock = Clock(std::time::Instant::now());
        let over = AtomicBool::new(false);
        let mut history = History::default();
        thread::scope(|scope| {
            let worker = |number| {
                let address = server.address().clone();
                let worker = Worker::new(number, 1, address, number.into(), clock);
                scope.spawn(|| worker.run(&over))
            };
            let workers: Vec<_> = (0..6).map(worker).collect();
            let session = Session::new(server.address().clone());
            let session = scope.spawn(|| session.run(&over));
            thread::sleep(Duration::from_secs(1));
            over.store(true, Ordering::Release);
            for worker in workers {
                let (records, complaints) = worker.join().unwrap().unwrap();
                assert!(complaints.is_empty(), "{complaints:?}");
                history.merge(records);
            }
            assert!(session.join().unwrap().unwrap() > 0);
        });
        assert!(!history.records().is_empty());
        linearizability::check(&history).unwrap();
    }

    #[test]
    fn only_an_error_that_promises_it_makes_a_write_refused() {
        let outcome = |text| judge(text).0;
        assert_eq!(outcome("CLUSTERDOWN no quorum"), Outcome::Refused);
        assert_eq!(outcome("UNCERTAIN outcome unknown"), Outcome::Unknown);
        assert_eq!(outcome("ERR something else"), Outcome::Unknown);
        assert_eq!(outcome("MISCONF the disk is full"), Outcome::Refused);
    }

    #[test]
    fn a_reply_of_the_wrong_shape_is_an_error() {
        assert!(reply(&Operation::Increment, &Value::ok()).is_err());
        assert!(reply(&Operation::Get, &Value::Integer(1)).is_err());
        let swapped = reply(&Operation::Swap(vec![]), &Value::Null).unwrap();
        assert_eq!(swapped, Reply::Value(None));
    }
}
