//! Blocking commands on Bailiwick and on Redis: the same schedule, the same replies to the same
//! clients.
//!
//! A schedule is made from a seed. Some clients block, others act, one step at a time. Who is
//! served by a step is learnt from Redis, where a client that is still flagged as blocked after the
//! step has got nothing; then the same clients must get the same replies here. A client that goes
//! on waiting is waited for until both servers show it as blocked, so that the order of arrival is
//! the same.
//!
//! Left out is what Redis 7.0 does otherwise than 7.2, which Bailiwick follows: a client that waits
//! for several keys is served from the first of its keys that has something, not from the one that
//! was written first. So where a step can fill several keys, nobody waits for several of them.

use std::time::Instant;

use anyhow::{Context, Result, ensure};
use bailiwick_frame::Protocol;
use fastrand::Rng;

use crate::client::{Client, Value};
use crate::server::{DEADLINE, Launch, POLL, Server};

/// Clients that block.
const WAITERS: usize = 5;

/// Single commands, for clients that may wait for several keys.
const ACTS: &[&str] = &[
    "RPUSH %l 1",
    "RPUSH %l 1 2",
    "LPUSH %l 1 2 3",
    "RPUSH %l 1 2 3 4 5 6",
    "DEL %l",
    "RENAME %l %l",
    "COPY %l %l",
    "LMOVE %l %l LEFT RIGHT",
    "LPOP %l 2",
    "RPUSH %m 1 2",
    "DEL %m",
    "SET s x",
    "DEL s",
    "ZADD %z 1 a",
    "ZADD %z 2 b 3 c",
    "ZADD %z 1 a 1 b 1 c 1 d",
    "ZPOPMIN %z",
    "DEL %z",
    "RENAME %z %z",
    "ZUNIONSTORE zz 2 %z %z",
    "RPUSH other 1",
];

/// Requests that may wait for several keys.
const WAITS: &[&str] = &[
    "BLPOP %l 0",
    "BRPOP %l %l 0",
    "BLPOP %l %l %l 0",
    "BLMOVE %l %m LEFT RIGHT 0",
    "BLMOVE %m %m LEFT RIGHT 0",
    "BLPOP %m 0",
    "BLMOVE %l s LEFT RIGHT 0",
    "BRPOPLPUSH %l %m 0",
    "BLMPOP 0 2 %l %l LEFT COUNT 2",
    "BLMPOP 0 1 %l RIGHT",
    "BZPOPMIN %z %z 0",
    "BZPOPMAX %z 0",
    "BZMPOP 0 2 %z %z MAX COUNT 2",
    "BZMPOP 0 1 zz MIN",
    "BLPOP %l 0.001",
    "BZPOPMIN %z 0.001",
];

/// Requests that wait for one key, of either type.
const SINGLE_WAITS: &[&str] = &[
    "BLPOP %k 0",
    "BRPOP %k 0",
    "BLMOVE %k %k RIGHT LEFT 0",
    "BLMPOP 0 1 %k LEFT COUNT 3",
    "BZPOPMIN %k 0",
    "BZMPOP 0 1 %k MAX",
];

/// Steps of transactions.
const STEPS: &[&str] = &[
    "RPUSH %k 1 2",
    "LPUSH %k 3",
    "DEL %k",
    "ZADD %k 1 a 2 b",
    "LPOP %k",
    "SET %k x",
    "RENAME %k %k",
    "BLPOP %k 0",
    "BZPOPMIN %k 0",
    "INCR other",
];

/// Both servers.
pub struct Pair {
    ours: Server,
    theirs: Server,
}

/// One server, and the connections of a schedule.
struct Side {
    actor: Client,
    waiters: Vec<Client>,
    ids: Vec<String>,
}

impl Pair {
    /// Starts both.
    ///
    /// # Errors
    /// They do not start.
    pub fn start() -> Result<Self> {
        let ours = Launch::bailiwick()?.args(["--fsync", "never"]).start()?;
        let theirs = Launch::redis()?.start()?;
        Ok(Self { ours, theirs })
    }

    /// Runs the schedule of a seed.
    ///
    /// # Errors
    /// A reply differs, or does not come.
    pub fn run(&self, seed: u64, steps: usize, protocol: Protocol) -> Result<()> {
        let mut sides = [
            Side::new(&self.ours, protocol)?,
            Side::new(&self.theirs, protocol)?,
        ];
        let mut rng = Rng::with_seed(seed);
        let has_transactions = rng.bool();
        let mut is_waiting = [false; WAITERS];
        for step in 0..steps {
            let at = || format!("seed {seed}, step {step}");
            let idle: Vec<usize> = (0..WAITERS).filter(|i| !is_waiting[*i]).collect();
            if !idle.is_empty() && rng.f32() < 0.5 {
                let i = idle[rng.usize(..idle.len())];
                let waits = if has_transactions {
                    SINGLE_WAITS
                } else {
                    WAITS
                };
                let line = fill(waits[rng.usize(..waits.len())], &mut rng);
                let request = crate::client::request(line.split(' '));
                for side in &mut sides {
                    side.waiters[i].send(&request)?;
                }
                if line.ends_with(" 0.001") {
                    // It is over before anything else happens.
                    let [ours, theirs] = &mut sides;
                    let (ours, theirs) = (ours.waiters[i].read()?, theirs.waiters[i].read()?);
                    ensure!(ours == theirs, "{}: {line}: {ours:?}, not {theirs:?}", at());
                    continue;
                }
                is_waiting[i] = compare_one(&mut sides, i).with_context(|| at() + ": " + &line)?;
                continue;
            }
            let lines = act(has_transactions, &is_waiting, &mut rng);
            let context = || format!("{}: {}", at(), lines.join("; "));
            let [ours, theirs] = &mut sides;
            let (ours, theirs) = (ours.act(&lines)?, theirs.act(&lines)?);
            ensure!(ours == theirs, "{}: {ours:?}, not {theirs:?}", context());
            compare_all(&mut sides, &mut is_waiting).with_context(context)?;
        }
        for i in (0..WAITERS).filter(|i| is_waiting[*i]) {
            let replies = sides.each_mut().map(|side| side.unblock(i));
            let [ours, theirs] = replies;
            let (ours, theirs) = (ours?, theirs?);
            ensure!(ours == theirs, "seed {seed}, end: {ours:?}, not {theirs:?}");
        }
        Ok(())
    }
}

impl Side {
    fn new(server: &Server, protocol: Protocol) -> Result<Self> {
        let mut actor = server.connect()?;
        actor.run("FLUSHALL")?;
        let (mut waiters, mut ids) = (Vec::new(), Vec::new());
        for _ in 0..WAITERS {
            let mut waiter = server.connect()?;
            waiter.hello(protocol)?;
            let id = waiter.run("CLIENT ID")?.as_integer().context("an id")?;
            waiters.push(waiter);
            ids.push(format!("id={id} "));
        }
        Ok(Self {
            actor,
            waiters,
            ids,
        })
    }

    /// Runs one command, or several as a transaction. `%id` stands for a waiter's id.
    fn act(&mut self, lines: &[String]) -> Result<Vec<Value>> {
        let mut replies = Vec::new();
        for line in lines {
            let mut line = line.clone();
            for (i, id) in self.ids.iter().enumerate() {
                let number = id.trim_end().trim_start_matches("id=");
                line = line.replace(&format!("%id{i}"), number);
            }
            replies.push(self.actor.run(&line)?);
        }
        Ok(replies)
    }

    fn is_blocked(&mut self, waiter: usize) -> Result<bool> {
        let list = self.actor.run("CLIENT LIST")?.text();
        let line = list
            .lines()
            .find(|line| line.starts_with(&self.ids[waiter]));
        let line = line.context("the client is listed")?;
        let mut fields = line.split(' ');
        Ok(fields.any(|field| field.starts_with("flags=") && field.contains('b')))
    }

    /// The reply that a waiter gets at once; `None` once it is shown as blocked.
    fn reply_or_block(&mut self, waiter: usize) -> Result<Option<Value>> {
        let started = Instant::now();
        let client = &mut self.waiters[waiter];
        client.set_timeout(POLL)?;
        let reply = loop {
            if let Ok(reply) = self.waiters[waiter].read() {
                break Some(reply);
            }
            if self.is_blocked(waiter)? {
                break None;
            }
            ensure!(started.elapsed() < DEADLINE, "neither a reply nor blocked");
        };
        self.waiters[waiter].set_timeout(DEADLINE)?;
        Ok(reply)
    }

    fn unblock(&mut self, waiter: usize) -> Result<Value> {
        let line = format!("CLIENT UNBLOCK %id{waiter}");
        let told = self.act(&[line])?;
        ensure!(told == [Value::Integer(1)], "nobody to unblock: {told:?}");
        self.waiters[waiter].read()
    }
}

/// What a step does on both servers.
fn act(has_transactions: bool, is_waiting: &[bool], rng: &mut Rng) -> Vec<String> {
    let waiting: Vec<usize> = (0..WAITERS).filter(|i| is_waiting[*i]).collect();
    if !waiting.is_empty() && rng.f32() < 0.1 {
        let i = waiting[rng.usize(..waiting.len())];
        let how = ["", " TIMEOUT", " ERROR"][rng.usize(..3)];
        return vec![format!("CLIENT UNBLOCK %id{i}{how}")];
    }
    if !has_transactions {
        return vec![fill(ACTS[rng.usize(..ACTS.len())], rng)];
    }
    let mut lines = vec!["MULTI".to_owned()];
    for _ in 0..rng.usize(1..4) {
        lines.push(fill(STEPS[rng.usize(..STEPS.len())], rng));
    }
    lines.push("EXEC".to_owned());
    lines
}

/// Compares what a waiter gets for what it has just sent; true if it waits.
fn compare_one([ours, theirs]: &mut [Side; 2], waiter: usize) -> Result<bool> {
    let expected = theirs.reply_or_block(waiter)?;
    match expected {
        Some(expected) => {
            let reply = ours.waiters[waiter].read()?;
            ensure!(reply == expected, "{reply:?}, not {expected:?}");
            Ok(false)
        }
        None => {
            let reply = ours.reply_or_block(waiter)?;
            ensure!(reply.is_none(), "{reply:?}, and is to wait");
            Ok(true)
        }
    }
}

/// Compares what all who wait get after a step.
fn compare_all([ours, theirs]: &mut [Side; 2], is_waiting: &mut [bool]) -> Result<()> {
    for (waiter, is_waiting) in is_waiting.iter_mut().enumerate() {
        if !*is_waiting || theirs.is_blocked(waiter)? {
            continue;
        }
        *is_waiting = false;
        let expected = theirs.waiters[waiter].read()?;
        let reply = ours.waiters[waiter].read();
        let reply = reply.with_context(|| format!("client {waiter} is to get {expected:?}"))?;
        ensure!(
            reply == expected,
            "client {waiter}: {reply:?}, not {expected:?}"
        );
    }
    Ok(())
}

/// Fills in keys: of lists, of lists that are moved to, of sorted sets, of either type.
fn fill(template: &str, rng: &mut Rng) -> String {
    let words = template.split(' ').map(|word| match word {
        "%l" | "%m" | "%z" | "%k" => format!("{}{}", &word[1..], rng.u8(1..4)),
        word => word.to_owned(),
    });
    words.collect::<Vec<_>>().join(" ")
}

/// Sends a request that waits over a new connection, and returns that when it does.
///
/// # Errors
/// A connection breaks, or the request does not wait.
pub fn begin_to_wait(connect: impl Fn() -> Result<Client>, line: &str) -> Result<Client> {
    let mut client = connect()?;
    let id = client.run("CLIENT ID")?.as_integer().context("an id")?;
    client.send(format!("{line}\r\n").as_bytes())?;
    wait_until_blocked(&mut connect()?, id).with_context(|| format!("{line} does not wait"))?;
    Ok(client)
}

/// Waits until a client of the observer's node is blocked.
///
/// # Errors
/// The connection breaks, or the client does not wait.
pub fn wait_until_blocked(observer: &mut Client, id: i64) -> Result<()> {
    let started = Instant::now();
    let is_blocked = |text: &str| {
        let mut lines = text.lines();
        let line = lines.find(|line| line.starts_with(&format!("id={id} ")));
        line.is_some_and(|line| line.contains("flags=b"))
    };
    while !is_blocked(&observer.run("CLIENT LIST")?.text()) {
        ensure!(started.elapsed() < DEADLINE, "client {id} is not blocked");
        std::thread::sleep(POLL);
    }
    Ok(())
}

/// What BLPOP replies.
#[must_use]
pub fn popped(key: &str, element: &str) -> Value {
    Value::List(vec![Value::bytes(key), Value::bytes(element)])
}
