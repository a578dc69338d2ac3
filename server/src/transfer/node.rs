//! A connection to a node: requests out, replies back, in pipelines.

use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

use bailiwick_frame::reply::{self, Resp2Frame};

use super::Error;

/// The port of an address that names none.
const DEFAULT_PORT: u16 = 6379;

/// How long to wait for a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// How long to wait for a reply. A node answers, with an error, long before.
const REPLY_TIMEOUT: Duration = Duration::from_secs(120);

/// How much is read at a time, in bytes.
const READ_BYTES: usize = 64 * 1024;

/// Holds the password, as for redis-cli.
const PASSWORD_VARIABLE: &str = "REDISCLI_AUTH";

/// A connection.
///
/// Invariant: `read[taken..]` are the bytes of replies that nobody has asked for yet.
pub(super) struct Node {
    address: String,
    stream: TcpStream,
    read: Vec<u8>,
    taken: usize,
}

/// Requests one behind the other, to be sent together.
#[derive(Default)]
pub(super) struct Requests {
    bytes: Vec<u8>,
    count: usize,
}

impl Requests {
    pub(super) fn push(&mut self, words: &[&[u8]]) {
        self.bytes
            .extend_from_slice(format!("*{}\r\n", words.len()).as_bytes());
        for word in words {
            self.bytes
                .extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
            self.bytes.extend_from_slice(word);
            self.bytes.extend_from_slice(b"\r\n");
        }
        self.count += 1;
    }

    pub(super) fn len(&self) -> usize {
        self.count
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes.len()
    }

    fn clear(&mut self) {
        self.bytes.clear();
        self.count = 0;
    }
}

impl Node {
    /// Connects to `host:port`, `host` or `[address]:port`, and authenticates if a password is
    /// given in the environment.
    pub(super) fn connect(address: &str) -> Result<Self, Error> {
        let failed = |source| Error::Connection {
            address: address.to_owned(),
            source,
        };
        let (host, port) = split_address(address).map_err(failed)?;
        let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
        for found in (host, port).to_socket_addrs().map_err(failed)? {
            match open(&found) {
                Ok(stream) => {
                    let mut node = Self {
                        address: address.to_owned(),
                        stream,
                        read: Vec::new(),
                        taken: 0,
                    };
                    node.authenticate()?;
                    return Ok(node);
                }
                Err(error) => last = error,
            }
        }
        Err(failed(last))
    }

    fn authenticate(&mut self) -> Result<(), Error> {
        if let Some(password) = std::env::var_os(PASSWORD_VARIABLE) {
            let password = password.to_string_lossy();
            self.expect_ok("AUTH", &[b"AUTH", password.as_bytes()])?;
        }
        // Says early whether this is a node that talks to us at all.
        match self.call(&[b"PING"])? {
            Resp2Frame::Error(reply) => Err(self.refused("PING", reply)),
            _ => Ok(()),
        }
    }

    /// Sends requests; nothing is left in `requests`. Who sends more than fits into the buffers of
    /// the connection has to take the replies in between.
    pub(super) fn send(&mut self, requests: &mut Requests) -> Result<(), Error> {
        let sent = self.stream.write_all(&requests.bytes);
        requests.clear();
        sent.map_err(|source| self.broken(source))
    }

    /// The next reply.
    pub(super) fn reply(&mut self) -> Result<Resp2Frame, Error> {
        loop {
            let decoded = reply::decode_resp2(&self.read[self.taken..]);
            let malformed = |error| io::Error::new(io::ErrorKind::InvalidData, error);
            let decoded = decoded.map_err(|error| self.broken(malformed(error)))?;
            if let Some((frame, used)) = decoded {
                self.taken += used;
                return Ok(frame);
            }
            self.read.drain(..self.taken);
            self.taken = 0;
            self.receive()?;
        }
    }

    /// One request, and its reply.
    pub(super) fn call(&mut self, words: &[&[u8]]) -> Result<Resp2Frame, Error> {
        let mut requests = Requests::default();
        requests.push(words);
        self.send(&mut requests)?;
        self.reply()
    }

    /// One request that is answered by an error or by something that does not matter.
    pub(super) fn expect_ok(&mut self, doing: &str, words: &[&[u8]]) -> Result<(), Error> {
        match self.call(words)? {
            Resp2Frame::Error(reply) => Err(self.refused(doing, reply)),
            _ => Ok(()),
        }
    }

    /// That the node will not do something.
    pub(super) fn refused(&self, doing: &str, reply: impl Into<String>) -> Error {
        Error::Refused {
            address: self.address.clone(),
            doing: doing.to_owned(),
            reply: reply.into(),
        }
    }

    fn receive(&mut self) -> Result<(), Error> {
        let len = self.read.len();
        // A long reply is read in ever larger steps.
        self.read.resize(len + READ_BYTES.max(len / 2), 0);
        let read = self.stream.read(&mut self.read[len..]);
        let got = *read.as_ref().unwrap_or(&0);
        self.read.truncate(len + got);
        match read {
            Ok(0) => Err(self.broken(io::ErrorKind::UnexpectedEof.into())),
            Ok(_) => Ok(()),
            Err(source) => Err(self.broken(source)),
        }
    }

    fn broken(&self, source: io::Error) -> Error {
        Error::Connection {
            address: self.address.clone(),
            source,
        }
    }
}

fn open(address: &std::net::SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(address, CONNECT_TIMEOUT)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(REPLY_TIMEOUT))?;
    stream.set_write_timeout(Some(REPLY_TIMEOUT))?;
    Ok(stream)
}

/// Host and port in `host:port`, `host`, `[address]:port` or `[address]`.
fn split_address(address: &str) -> io::Result<(&str, u16)> {
    let (host, port) = match address.rsplit_once(':') {
        // An address of version 6 without a port has colons, too.
        Some((host, port)) if !port.contains(']') => (host, Some(port)),
        _ => (address, None),
    };
    let host = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
        .unwrap_or(host);
    let port = port.map_or(Ok(DEFAULT_PORT), str::parse);
    match port {
        Ok(port) if !host.is_empty() => Ok((host, port)),
        _ => Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "expected a host and a port, as in 127.0.0.1:6379",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_may_leave_out_its_port() {
        let split = |address| split_address(address).ok();
        assert_eq!(split("db:7000"), Some(("db", 7000)));
        assert_eq!(split("db"), Some(("db", 6379)));
        assert_eq!(split("[::1]:7000"), Some(("::1", 7000)));
        assert_eq!(split("[::1]"), Some(("::1", 6379)));
        assert_eq!(split("db:x"), None);
        assert_eq!(split(":7000"), None);
        assert_eq!(split("db:70000"), None);
    }
}
