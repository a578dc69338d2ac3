//! Bailiwick and Redis side by side: the same random commands, the same replies.
//!
//! A seed makes a sequence of [`Step`]s over two connections (`generate`). Each step is sent to
//! both servers and the replies are compared byte for byte; where they may differ, `rules` says
//! by how much and why. At the end the whole keyspaces are compared. A sequence that differs is cut
//! down to what still does ([`minimise`]); its seed repeats it.
//!
//! Steps that are *joined* go out in one write, so that reads behind writes in the same batch are
//! tested, too.

mod generate;
mod rules;

use std::fmt;

use anyhow::{Context, Result, ensure};
use bailiwick_frame::Protocol;

use crate::client::{Client, Value, decode, request};
use crate::server::{Launch, Server};

pub use generate::{DATABASES, sequence};

/// Connections in a sequence.
pub const CONNECTIONS: usize = 2;

/// How many shortened sequences are tried at most.
const MINIMISE_TRIALS: usize = 600;

/// One command of a sequence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// On which connection.
    pub connection: usize,
    /// The command and its arguments.
    pub words: Vec<Vec<u8>>,
    /// It goes out in one write with the next step, if that is on the same connection.
    pub joined: bool,
    /// So long nothing happens afterwards, so that short expiries pass on both servers.
    pub pause_ms: u64,
}

impl Step {
    fn new(connection: usize, words: &[&str]) -> Self {
        Self {
            connection,
            words: words.iter().map(|word| word.as_bytes().to_vec()).collect(),
            joined: false,
            pause_ms: 0,
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}>", ["a", "b"][self.connection])?;
        for word in &self.words {
            let plain = !word.is_empty() && word.iter().all(u8::is_ascii_graphic);
            match (plain, word.len()) {
                (true, 0..=80) => write!(f, " {}", word.escape_ascii())?,
                (_, 0..=200) => write!(f, " \"{}\"", word.escape_ascii())?,
                (_, length) => write!(
                    f,
                    " ({length} bytes of \"{}\"...)",
                    word[..8].escape_ascii()
                )?,
            }
        }
        if self.joined {
            write!(f, "   (sent with the next)")?;
        }
        if self.pause_ms > 0 {
            write!(f, "   (then a pause of {} ms)", self.pause_ms)?;
        }
        Ok(())
    }
}

/// Where the servers disagreed.
#[derive(Clone, Debug)]
pub struct Difference {
    /// The step, or a look at the keyspace after all of them.
    pub step: Step,
    /// What Bailiwick replied.
    pub ours: Vec<u8>,
    /// What Redis replied.
    pub theirs: Vec<u8>,
}

impl Difference {
    /// Whether Bailiwick aborted a transaction that Redis ran, which costs the client a retry.
    fn is_retry(&self) -> bool {
        let is_null = self.ours == b"*-1\r\n" || self.ours == b"_\r\n";
        let is_run = self.theirs.starts_with(b"*") && self.theirs != b"*-1\r\n";
        self.step.words[0].eq_ignore_ascii_case(b"exec") && is_null && is_run
    }

    /// The command and the start of both replies: differences with the same cause look alike.
    #[must_use]
    pub fn signature(&self) -> String {
        let start = |reply: &[u8]| {
            let is_error = reply.first() == Some(&b'-');
            reply[..reply.len().min(if is_error { 40 } else { 1 })]
                .escape_ascii()
                .to_string()
        };
        let name = self.step.words[0].to_ascii_uppercase();
        format!(
            "{} {} {}",
            name.escape_ascii(),
            start(&self.ours),
            start(&self.theirs)
        )
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |reply: &[u8]| reply[..reply.len().min(1000)].escape_ascii().to_string();
        writeln!(f, "  {}", self.step)?;
        writeln!(f, "    Redis:     {}", shown(&self.theirs))?;
        write!(f, "    Bailiwick: {}", shown(&self.ours))
    }
}

/// The two servers.
pub struct Pair {
    ours: Server,
    theirs: Server,
    has_digest: bool,
}

impl Pair {
    /// Starts both.
    ///
    /// # Errors
    /// One does not start.
    pub fn start() -> Result<Self> {
        let debug = ["--enable-debug-command", "yes"];
        let ours = Launch::bailiwick()?
            .args(["--fsync", "never", "--threads", "1"])
            .args(debug);
        let ours = ours.start()?;
        let theirs = Launch::redis()?.args(debug).start()?;
        let digest = ours.connect()?.run("DEBUG DIGEST")?;
        Ok(Self {
            has_digest: !matches!(digest, Value::Error(_)),
            ours,
            theirs,
        })
    }

    /// What Redis calls its version.
    ///
    /// # Errors
    /// It does not answer.
    pub fn redis_version(&self) -> Result<String> {
        let info = self.theirs.connect()?.run("INFO server")?.text();
        let line = info
            .lines()
            .find_map(|line| line.strip_prefix("redis_version:"));
        Ok(line.unwrap_or("unknown").to_owned())
    }

    /// Runs a sequence on both, from empty keyspaces. Returns the first difference.
    ///
    /// # Errors
    /// A connection broke: one of the servers failed.
    pub fn run(&self, protocol: Protocol, steps: &[Step]) -> Result<Option<Difference>> {
        for server in [&self.ours, &self.theirs] {
            let flushed = server.connect()?.run("FLUSHALL")?;
            ensure!(flushed == Value::ok(), "FLUSHALL: {flushed:?}");
        }
        let mut lanes = Vec::new();
        for _ in 0..CONNECTIONS {
            lanes.push(Lane::connect(self, protocol)?);
        }
        let mut rest = steps;
        while let Some(first) = rest.first() {
            let joined = |pair: &[Step]| pair[0].joined && pair[1].connection == first.connection;
            let count = 1 + rest.windows(2).take_while(|pair| joined(pair)).count();
            let (batch, behind) = rest.split_at(count);
            rest = behind;
            let found = lanes[first.connection].run(batch);
            let found = found.with_context(|| format!("at {first}"))?;
            if found.is_some() {
                return Ok(found);
            }
            let pause_ms = batch.iter().map(|step| step.pause_ms).max().unwrap_or(0);
            std::thread::sleep(std::time::Duration::from_millis(pause_ms));
        }
        // The digest includes expired keys that nobody has removed so far.
        let may_expire = steps.iter().any(|step| generate::has_time(&step.words));
        self.compare_keyspaces(self.has_digest && !may_expire)
    }

    /// Everything a client can see of both keyspaces.
    fn compare_keyspaces(&self, with_digest: bool) -> Result<Option<Difference>> {
        let mut lane = Lane::connect(self, Protocol::Resp2)?;
        for database in DATABASES {
            let listing = [
                Step::new(0, &["SELECT", database]),
                Step::new(0, &["KEYS", "*"]),
            ];
            if let Some(difference) = lane.run(&listing)? {
                return Ok(Some(difference));
            }
            let keys = self.ours_keys(database)?;
            let looks = keys.iter().flat_map(|key| {
                [
                    &["GET"][..],
                    &["HGETALL"],
                    &["SMEMBERS"],
                    &["DEBUG", "DIGEST-VALUE"],
                    &["PEXPIRETIME"],
                    &["OBJECT", "ENCODING"],
                    &["TYPE"],
                    &["ZRANGE", "*", "0", "-1", "WITHSCORES"],
                    &["LRANGE", "*", "0", "-1"],
                    &["XINFO", "STREAM", "*", "FULL", "COUNT", "0"],
                ]
                .map(|look| {
                    let mut step = Step::new(0, look);
                    match step.words.iter_mut().find(|word| *word == b"*") {
                        Some(place) => place.clone_from(key),
                        None => step.words.push(key.clone()),
                    }
                    step
                })
            });
            let looks: Vec<_> = looks.collect();
            if let Some(difference) = lane.run(&looks)? {
                return Ok(Some(difference));
            }
        }
        let digest = [Step::new(0, &["DEBUG", "DIGEST"])];
        if with_digest {
            lane.run(&digest)
        } else {
            Ok(None)
        }
    }

    fn ours_keys(&self, database: &str) -> Result<Vec<Vec<u8>>> {
        let mut client = self.ours.connect()?;
        client.call(["SELECT", database])?;
        let keys = client.call(["KEYS", "*"])?;
        let bytes = keys.list().iter().filter_map(|key| match key {
            Value::Bytes(bytes) => Some(bytes.clone()),
            _ => None,
        });
        Ok(bytes.collect())
    }
}

/// One connection to each server, and what is queued on them.
struct Lane {
    ours: Client,
    theirs: Client,
    protocol: Protocol,
    queued: Vec<Vec<Vec<u8>>>,
}

impl Lane {
    fn connect(pair: &Pair, protocol: Protocol) -> Result<Self> {
        let (mut ours, mut theirs) = (pair.ours.connect()?, pair.theirs.connect()?);
        ours.hello(protocol)?;
        theirs.hello(protocol)?;
        Ok(Self {
            ours,
            theirs,
            protocol,
            queued: Vec::new(),
        })
    }

    fn run(&mut self, batch: &[Step]) -> Result<Option<Difference>> {
        let bytes: Vec<u8> = batch.iter().flat_map(|step| request(&step.words)).collect();
        self.ours.send(&bytes)?;
        self.theirs.send(&bytes)?;
        let mut found = None;
        for step in batch {
            let ours = self.ours.read_raw().context("Bailiwick")?;
            let theirs = self.theirs.read_raw().context("Redis")?;
            if found.is_none() && !self.agree(&step.words, &ours, &theirs) {
                let step = step.clone();
                found = Some(Difference { step, ours, theirs });
            }
        }
        Ok(found)
    }

    fn agree(&mut self, words: &[Vec<u8>], ours: &[u8], theirs: &[u8]) -> bool {
        let is_exec = words[0].eq_ignore_ascii_case(b"exec");
        if ours == b"+QUEUED\r\n" && theirs == ours {
            self.queued.push(words.to_vec());
            return true;
        }
        if words[0].eq_ignore_ascii_case(b"multi") && ours == b"+OK\r\n" {
            self.queued.clear();
        }
        if ours == theirs {
            return true;
        }
        let parts = (
            rules::elements(ours, self.protocol),
            rules::elements(theirs, self.protocol),
        );
        let (true, (Some(ours_parts), Some(theirs_parts))) = (is_exec, parts) else {
            return self.same(words, ours, theirs);
        };
        let count = self.queued.len();
        count == ours_parts.len()
            && count == theirs_parts.len()
            && (0..count).all(|at| self.same(&self.queued[at], ours_parts[at], theirs_parts[at]))
    }

    fn same(&self, words: &[Vec<u8>], ours: &[u8], theirs: &[u8]) -> bool {
        if ours == theirs || rules::same_error(words, ours, theirs) {
            return true;
        }
        if ours.first() != theirs.first() {
            return false;
        }
        match (decode(ours, self.protocol), decode(theirs, self.protocol)) {
            (Ok(ours), Ok(theirs)) => rules::equivalent(words, &ours, &theirs),
            _ => false,
        }
    }
}

/// Drops steps as long as the servers still differ.
///
/// # Errors
/// A connection broke.
pub fn minimise(
    pair: &Pair,
    protocol: Protocol,
    steps: &[Step],
    found: Difference,
) -> Result<(Vec<Step>, Difference)> {
    let mut steps = steps.to_vec();
    let mut found = found;
    let mut chunk = steps.len().div_ceil(2);
    let mut trials = 0;
    while chunk > 0 && trials < MINIMISE_TRIALS {
        let mut at = 0;
        let mut shortened = false;
        while at < steps.len() && trials < MINIMISE_TRIALS {
            let mut shorter = steps.clone();
            shorter.drain(at..(at + chunk).min(steps.len()));
            trials += 1;
            match pair.run(protocol, &shorter)? {
                Some(difference) => {
                    (steps, found, shortened) = (shorter, difference, true);
                }
                None => at += chunk,
            }
        }
        if !shortened || chunk > 1 {
            chunk /= 2;
        }
    }
    Ok((steps, found))
}

/// Runs the sequence of a seed in one protocol version. A difference is returned as text, with all
/// that is needed to look into it.
///
/// # Errors
/// A connection broke.
pub fn run_seed(
    pair: &Pair,
    seed: u64,
    count: usize,
    protocol: Protocol,
) -> Result<Option<(String, String)>> {
    let steps = sequence(seed, count);
    let Some(found) = pair.run(protocol, &steps)? else {
        return Ok(None);
    };
    // Once in several thousand times, the creation of another key looks like that of a watched one.
    // Which keys look alike depends on the node's hash seed: on another node it does not happen.
    if found.is_retry() && Pair::start()?.run(protocol, &steps)?.is_none() {
        return Ok(None);
    }
    let (steps, found) = minimise(pair, protocol, &steps, found)?;
    // SETBIT brings a short string into the form that is edited in place, even if the bit was
    // there already. WATCH takes that for a change, and Redis does not.
    let is_setbit = |step: &Step| step.words[0].eq_ignore_ascii_case(b"setbit");
    if found.is_retry() && steps.iter().any(is_setbit) {
        return Ok(None);
    }
    let mut text = format!("seed {seed}, {count} steps, {protocol:?}: the servers differ after\n");
    for step in &steps {
        text.push_str(&format!("  {step}\n"));
    }
    text.push_str(&format!("at\n{found}\n"));
    Ok(Some((found.signature(), text)))
}
