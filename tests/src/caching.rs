//! A client that keeps copies of what it reads, as client libraries do, and gives up what it is
//! told to give up. It believes its copies, so a test that finds it with an old one has found
//! missed news.

use std::collections::HashMap;
use std::thread;
use std::time::Instant;

use anyhow::{Result, bail, ensure};
use bailiwick_frame::Protocol;

use crate::client::{Client, Value, decode, request};
use crate::server::{DEADLINE, POLL};

/// The client and its copies.
pub struct Cache {
    client: Client,
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
        let answer = client.run(&format!("CLIENT TRACKING ON{options}"))?;
        ensure!(answer == Value::ok(), "{answer:?}");
        Ok(Self {
            client,
            copies: HashMap::new(),
        })
    }

    /// Sends a request and hears all that comes before its reply.
    ///
    /// # Errors
    /// The connection is broken.
    pub fn ask(&mut self, words: &[&str]) -> Result<Value> {
        self.client.send(&request(words))?;
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
