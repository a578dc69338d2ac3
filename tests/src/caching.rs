//! A client that keeps copies of what it reads, as client libraries do, and gives up what it is
//! told to give up. It believes its copies, so a test that finds it with an old one has found
//! missed news.

use std::collections::HashMap;
use std::thread;
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use bailiwick_frame::Protocol;

use crate::blocking::{begin_to_wait, wait_until_blocked};
use crate::client::{Client, Value, decode, request};
use crate::server::{DEADLINE, POLL};

/// The client and its copies.
pub struct Cache {
    client: Client,
    id: i64,
    /// What it keeps.
    pub copies: HashMap<String, Value>,
}

impl Cache {
    /// Over this connection, tracking with these options, which begin with a space if there are
    /// any.
    ///
    /// # Errors
    /// The server does not want it.
    pub fn new(mut client: Client, options: &str) -> Result<Self> {
        client.hello(Protocol::Resp3)?;
        let id = client.run("CLIENT ID")?.as_integer().context("an id")?;
        let answer = client.run(&format!("CLIENT TRACKING ON{options}"))?;
        ensure!(answer == Value::ok(), "{answer:?}");
        Ok(Self {
            client,
            id,
            copies: HashMap::new(),
        })
    }

    /// Sends a request and hears all that comes before its reply.
    ///
    /// # Errors
    /// The connection is broken.
    pub fn ask(&mut self, words: &[&str]) -> Result<Value> {
        self.client.send(&request(words))?;
        self.reply()
    }

    /// Hears all that comes before the reply to a request that was sent.
    fn reply(&mut self) -> Result<Value> {
        loop {
            let frame = self.client.read_raw()?;
            let value = decode(&frame, Protocol::Resp3)?;
            if frame[0] != b'>' {
                return Ok(value);
            }
            self.hear(&value)?;
        }
    }

    /// Hears what has been told so far.
    ///
    /// # Errors
    /// The connection is broken.
    pub fn listen(&mut self) -> Result<()> {
        self.ask(&["PING"]).map(drop)
    }

    /// The value of a key: the copy, if there is one.
    ///
    /// # Errors
    /// The connection is broken.
    pub fn get(&mut self, key: &str) -> Result<Value> {
        if let Some(copy) = self.copies.get(key) {
            return Ok(copy.clone());
        }
        let value = self.ask(&["GET", key])?;
        if !matches!(value, Value::Error(_)) {
            self.copies.insert(key.to_owned(), value.clone());
            // What came with the reply.
            self.listen()?;
        }
        Ok(value)
    }

    /// Reads until a copy of the key is kept, that is until nobody takes it away at once.
    ///
    /// # Errors
    /// It never is.
    pub fn settle(&mut self, key: &str) -> Result<()> {
        self.wait("a copy that is kept", |cache| {
            cache.get(key)?;
            thread::sleep(POLL);
            cache.listen()?;
            Ok(cache.copies.contains_key(key))
        })
    }

    /// Keeps a copy of any key, whatever it holds, that is taken away when it changes.
    ///
    /// # Errors
    /// It is taken away again and again.
    pub fn keep(&mut self, key: &str) -> Result<()> {
        self.wait("a copy that is kept", |cache| {
            cache.ask(&["EXISTS", key])?;
            cache.copies.insert(key.to_owned(), Value::Null);
            thread::sleep(POLL);
            cache.listen()?;
            Ok(cache.copies.contains_key(key))
        })
    }

    /// Waits until the copy of this key has been given up.
    ///
    /// # Errors
    /// It never is.
    pub fn wait_until_told(&mut self, key: &str) -> Result<()> {
        self.wait("news of a change", |cache| {
            cache.listen()?;
            Ok(!cache.copies.contains_key(key))
        })
    }

    /// Waits until something holds.
    ///
    /// # Errors
    /// It never does.
    pub fn wait(
        &mut self,
        what: &str,
        mut holds: impl FnMut(&mut Self) -> Result<bool>,
    ) -> Result<()> {
        let deadline = Instant::now() + DEADLINE;
        while !holds(self)? {
            if Instant::now() > deadline {
                bail!("waited for {what} in vain");
            }
        }
        Ok(())
    }

    fn hear(&mut self, told: &Value) -> Result<()> {
        let [what, keys] = told.list() else {
            bail!("told {told:?}");
        };
        ensure!(what.text() == "invalidate", "told {told:?}");
        match keys {
            Value::Null => self.copies.clear(),
            keys => keys.list().iter().for_each(|key| {
                self.copies.remove(&key.text());
            }),
        }
        Ok(())
    }
}

/// How often an own change is made of which the news should not come. Copies may be given up for
/// want of certainty, when a leader changes for instance, but not each time.
const ATTEMPTS: usize = 3;

/// Where clients are, and the beginning of their keys.
pub struct Place<'a> {
    /// Connects to the node whose clients keep copies.
    pub here: &'a dyn Fn() -> Result<Client>,
    /// Connects to another node.
    pub elsewhere: &'a dyn Fn() -> Result<Client>,
    /// What all keys begin with.
    pub head: &'a str,
    /// A key that another group may have.
    pub foreign: &'a str,
    /// The node of these clients runs their scripts itself; otherwise these cost all copies.
    pub runs_scripts: bool,
}

/// A client that does not want to hear of its own changes, and another one of the same node, which
/// does and was connected later: so when that was told something, the first one would have been.
struct Couple {
    own: Cache,
    other: Cache,
}

impl Couple {
    fn new(place: &Place<'_>, options: &str) -> Result<Self> {
        let own = Cache::new((place.here)()?, &format!("{options} NOLOOP"))?;
        let other = Cache::new((place.here)()?, options)?;
        Ok(Self { own, other })
    }

    /// Has the first one change a key in some way, of which only the other one is to be told.
    fn check(
        &mut self,
        key: &str,
        mut change: impl FnMut(&mut Cache) -> Result<Value>,
    ) -> Result<()> {
        let mut answer = Value::Null;
        for _ in 0..ATTEMPTS {
            self.own.keep(key)?;
            self.other.keep(key)?;
            answer = change(&mut self.own)?;
            ensure!(!matches!(answer, Value::Error(_)), "{answer:?}");
            self.other.wait_until_told(key)?;
            self.own.listen()?;
            if self.own.copies.contains_key(key) {
                return Ok(());
            }
        }
        bail!("told of its own change of {key}, answered {answer:?}");
    }

    /// Has it change a key, and then another one: that it is told of, though it has not read since.
    fn check_others(&mut self, place: &Place<'_>, key: &str) -> Result<()> {
        self.own.keep(key)?;
        self.own.ask(&["SET", key, "own"])?;
        (place.elsewhere)()?.call(["SET", key, "other"])?;
        self.own.wait_until_told(key)
    }
}

/// Checks that NOLOOP keeps the news of a client's own changes from it, however they were made, and
/// nobody else's.
///
/// # Errors
/// It does not, or something breaks.
pub fn check_no_loop(place: &Place<'_>) -> Result<()> {
    let name = |name: &str| format!("{}{name}", place.head);
    let (key, list, target) = (name("k"), name("list"), name("target"));
    let mut couple = Couple::new(place, "")?;
    let script = "redis.call('SET', KEYS[1], 1) return redis.call('INCR', KEYS[1])";
    let requests: [&[&str]; 5] = [
        &["EVAL", script, "1", &key],
        &["SET", &key, "1"],
        &["GETDEL", &key],
        &["MSET", &key, "1", &list, "not one yet"],
        &["DEL", &key, &list, place.foreign],
    ];
    for words in &requests[usize::from(!place.runs_scripts)..] {
        couple.check(&key, |own| own.ask(words))?;
    }
    couple.check(&key, |own| {
        for words in [&["MULTI"][..], &["INCR", &key], &["GET", &key]] {
            own.ask(words)?;
        }
        own.ask(&["EXEC"])
    })?;
    couple.check_others(place, &key)?;
    // A request that waits is its client's, whoever wakes it.
    couple.check(&target, |own| {
        let moves = ["BLMOVE", &list, &target, "LEFT", "RIGHT", "0"];
        own.client.send(&request(moves))?;
        wait_until_blocked(&mut (place.here)()?, own.id)?;
        (place.elsewhere)()?.call(["RPUSH", &list, "x"])?;
        own.reply()
    })?;
    let waiter = begin_to_wait(place.elsewhere, &format!("BLPOP {list} 0"))?;
    couple.own.keep(&list)?;
    couple.own.ask(&["RPUSH", &list, "x"])?;
    couple.own.wait_until_told(&list)?;
    drop(waiter);
    let mut couple = Couple::new(place, &format!(" BCAST PREFIX {}", place.head))?;
    // Once it has been told of one change it is told of all.
    couple.own.wait("news", |cache| {
        cache.copies.insert(key.clone(), Value::Null);
        (place.elsewhere)()?.call(["SET", &key, "1"])?;
        cache.listen()?;
        Ok(!cache.copies.contains_key(&key))
    })?;
    couple.check(&key, |own| own.ask(&["SET", &key, "2"]))?;
    couple.check_others(place, &key)
}
