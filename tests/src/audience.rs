//! Several connections to one server, and all that each of them is sent.
//!
//! A step sends requests over one connection and then gathers what all connections received, up to
//! the answer to a PING that tells that there is no more. So scripts with messages that come
//! unasked can be played to two servers and compared.

use anyhow::{Context, Result};
use bailiwick_frame::Protocol;

use crate::client::{Client, request};
use crate::server::Server;

/// The connections, by number.
pub struct Audience {
    clients: Vec<Client>,
    steps: usize,
}

impl Audience {
    /// So many connections to a server, these of them in RESP3.
    ///
    /// # Errors
    /// A connection breaks.
    pub fn connect(server: &Server, connections: usize, resp3: &[usize]) -> Result<Self> {
        let clients = (0..connections).map(|_| server.connect());
        let mut audience = Self::new(clients.collect::<Result<_>>()?);
        for number in resp3 {
            audience.speak_resp3(*number)?;
        }
        Ok(audience)
    }

    /// These connections.
    #[must_use]
    pub fn new(clients: Vec<Client>) -> Self {
        Self { clients, steps: 0 }
    }

    /// One of them.
    pub fn client(&mut self, number: usize) -> &mut Client {
        &mut self.clients[number]
    }

    /// Lets a connection speak the newer protocol.
    ///
    /// # Errors
    /// The server does not.
    pub fn speak_resp3(&mut self, number: usize) -> Result<()> {
        self.clients[number].hello(Protocol::Resp3).map(drop)
    }

    /// Sends requests, one a line, over a connection, and returns what each connection received,
    /// its replies before what it did not ask for, which is where Redis's versions differ.
    ///
    /// # Errors
    /// A connection is broken.
    pub fn play(&mut self, number: usize, lines: &str) -> Result<Vec<Vec<String>>> {
        let requests = lines
            .split('\n')
            .map(|line| request(line.trim().split(' ')));
        self.clients[number].send(&requests.collect::<Vec<_>>().concat())?;
        // The speaker first: what its requests cause is under way when they are answered.
        let mut received = vec![Vec::new(); self.clients.len()];
        received[number] = self.gather(number)?;
        // Redis tells the speaker of some things only after it has answered all that came at once.
        let later = self.gather(number)?;
        received[number].extend(later);
        for other in (0..self.clients.len()).filter(|other| *other != number) {
            received[other] = self.gather(other)?;
        }
        Ok(received)
    }

    /// What a connection received.
    ///
    /// # Errors
    /// It is broken.
    pub fn gather(&mut self, number: usize) -> Result<Vec<String>> {
        self.steps += 1;
        let marker = format!("step-{}", self.steps);
        let client = &mut self.clients[number];
        client.send(&request(["PING", &marker]))?;
        let end = format!("{marker}\r\n").into_bytes();
        let (mut replies, mut unasked) = (Vec::new(), Vec::new());
        loop {
            let frame = client.read_raw();
            let frame = frame.with_context(|| format!("connection {number}, {marker}"))?;
            if frame.ends_with(&end) {
                replies.append(&mut unasked);
                return Ok(replies);
            }
            let shown = frame.escape_ascii().to_string();
            let is_unasked = frame.starts_with(b">") && !is_confirmation(&shown);
            if is_unasked {
                unasked.push(shown);
            } else {
                replies.push(shown);
            }
        }
    }
}

fn is_confirmation(shown: &str) -> bool {
    shown.contains("subscribe\\r\\n")
}
