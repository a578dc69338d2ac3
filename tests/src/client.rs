//! A client that blocks, and hides nothing: bytes go out as given, replies are available raw.
//!
//! How it fails: a reply that does not come within the deadline, is malformed or is cut off is an
//! error; an error reply is a value like the others.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use bailiwick_frame::Protocol;
use bailiwick_frame::reply::{self, Resp2Frame, Resp3Frame};

use crate::server::DEADLINE;

/// Where a server listens.
#[derive(Clone, Debug)]
pub enum Address {
    /// A TCP port.
    Tcp(SocketAddr),
    /// A socket in the file system.
    Unix(PathBuf),
}

trait Stream: Read + Write + Send {
    fn shut_writing(&self) -> std::io::Result<()>;
    fn set_timeout(&self, timeout: Duration) -> std::io::Result<()>;
}

impl Stream for TcpStream {
    fn shut_writing(&self) -> std::io::Result<()> {
        self.shutdown(std::net::Shutdown::Write)
    }

    fn set_timeout(&self, timeout: Duration) -> std::io::Result<()> {
        self.set_read_timeout(Some(timeout))?;
        self.set_write_timeout(Some(timeout))
    }
}

impl Stream for UnixStream {
    fn shut_writing(&self) -> std::io::Result<()> {
        self.shutdown(std::net::Shutdown::Write)
    }

    fn set_timeout(&self, timeout: Duration) -> std::io::Result<()> {
        self.set_read_timeout(Some(timeout))?;
        self.set_write_timeout(Some(timeout))
    }
}

/// A reply, without the differences between the protocol versions that do not matter.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// `+`
    Status(String),
    /// `-`
    Error(String),
    /// `:`
    Integer(i64),
    /// `$`, and in RESP3 `=` and `(`.
    Bytes(Vec<u8>),
    /// `$-1`, `*-1` or `_`
    Null,
    /// `,`
    Double(f64),
    /// `#`
    Boolean(bool),
    /// `*`, and in RESP3 `~` and `>`.
    List(Vec<Value>),
    /// `%`
    Map(Vec<(Value, Value)>),
}

impl Value {
    /// Bytes from text.
    #[must_use]
    pub fn bytes(text: impl AsRef<[u8]>) -> Self {
        Self::Bytes(text.as_ref().to_vec())
    }

    /// `+OK`
    #[must_use]
    pub fn ok() -> Self {
        Self::Status("OK".to_owned())
    }

    /// The integer, if it is one.
    #[must_use]
    pub fn as_integer(&self) -> Option<i64> {
        match self {
            Self::Integer(number) => Some(*number),
            _ => None,
        }
    }

    /// The text of a status, an error or bytes; empty for anything else.
    #[must_use]
    pub fn text(&self) -> String {
        match self {
            Self::Status(text) | Self::Error(text) => text.clone(),
            Self::Bytes(bytes) => String::from_utf8_lossy(bytes).into_owned(),
            _ => String::new(),
        }
    }

    /// The elements of a list; none for anything else.
    #[must_use]
    pub fn list(&self) -> &[Value] {
        match self {
            Self::List(elements) => elements,
            _ => &[],
        }
    }
}

/// A connection.
pub struct Client {
    stream: Box<dyn Stream>,
    received: Vec<u8>,
    protocol: Protocol,
}

impl Client {
    /// Connects; the protocol is RESP2.
    ///
    /// # Errors
    /// Nobody listens there.
    pub fn connect(address: &Address) -> Result<Self> {
        let stream: Box<dyn Stream> = match address {
            Address::Tcp(address) => {
                let stream = TcpStream::connect(address)?;
                stream.set_nodelay(true)?;
                stream.set_read_timeout(Some(DEADLINE))?;
                stream.set_write_timeout(Some(DEADLINE))?;
                Box::new(stream)
            }
            Address::Unix(path) => {
                let stream = UnixStream::connect(path)?;
                stream.set_read_timeout(Some(DEADLINE))?;
                stream.set_write_timeout(Some(DEADLINE))?;
                Box::new(stream)
            }
        };
        Ok(Self {
            stream,
            received: Vec::new(),
            protocol: Protocol::Resp2,
        })
    }

    /// In which version replies are read. Changes nothing at the server: see
    /// [`hello`](Self::hello).
    pub fn set_protocol(&mut self, protocol: Protocol) {
        self.protocol = protocol;
    }

    /// Switches both sides to a protocol version.
    ///
    /// # Errors
    /// The server refuses.
    pub fn hello(&mut self, protocol: Protocol) -> Result<Value> {
        let number = if protocol == Protocol::Resp3 {
            "3"
        } else {
            "2"
        };
        self.send(&request(["HELLO", number]))?;
        self.protocol = protocol;
        let reply = self.read()?;
        ensure!(
            !matches!(reply, Value::Error(_)),
            "HELLO {number}: {reply:?}"
        );
        Ok(reply)
    }

    /// Waits so long for a reply, instead of [`DEADLINE`].
    ///
    /// # Errors
    /// The connection is broken.
    pub fn set_timeout(&mut self, timeout: Duration) -> Result<()> {
        Ok(self.stream.set_timeout(timeout)?)
    }

    /// Sends bytes as they are.
    ///
    /// # Errors
    /// The connection is broken.
    pub fn send(&mut self, bytes: &[u8]) -> Result<()> {
        self.stream.write_all(bytes).context("cannot send")
    }

    /// Sends a command and reads its reply.
    ///
    /// # Errors
    /// The connection is broken; an error reply is a value.
    pub fn call<A: AsRef<[u8]>>(&mut self, words: impl IntoIterator<Item = A>) -> Result<Value> {
        self.send(&request(words))?;
        self.read()
    }

    /// Sends a command whose words are separated by spaces, and reads its reply.
    ///
    /// # Errors
    /// The connection is broken; an error reply is a value.
    pub fn run(&mut self, line: &str) -> Result<Value> {
        self.call(line.split(' '))
    }

    /// Reads a reply.
    ///
    /// # Errors
    /// None comes, or it is malformed.
    pub fn read(&mut self) -> Result<Value> {
        let bytes = self.read_raw()?;
        decode(&bytes, self.protocol)
    }

    /// Reads the bytes of one reply.
    ///
    /// # Errors
    /// None comes, or it is malformed.
    pub fn read_raw(&mut self) -> Result<Vec<u8>> {
        loop {
            if let Some(length) = reply::extent(&self.received, self.protocol)
                .with_context(|| format!("received \"{}\"", self.received.escape_ascii()))?
            {
                return Ok(self.received.drain(..length).collect());
            }
            ensure!(self.receive()? > 0, "the server closed the connection");
        }
    }

    /// Reads so many bytes.
    ///
    /// # Errors
    /// They do not come; the error shows what did.
    pub fn read_exactly(&mut self, count: usize) -> Result<Vec<u8>> {
        while self.received.len() < count {
            let shown = &self.received[..self.received.len().min(500)];
            let shown = shown.escape_ascii().to_string();
            match self.receive() {
                Ok(0) => bail!("closed after \"{shown}\""),
                Ok(_) => {}
                Err(error) => return Err(error.context(format!("after \"{shown}\""))),
            }
        }
        Ok(self.received.drain(..count).collect())
    }

    /// Reads all until the server closes the connection.
    ///
    /// # Errors
    /// It does not.
    pub fn read_to_end(&mut self) -> Result<Vec<u8>> {
        loop {
            match self.receive() {
                Ok(0) => return Ok(std::mem::take(&mut self.received)),
                Ok(_) => {}
                Err(error) => {
                    let shown = self.received.escape_ascii();
                    return Err(error.context(format!("not closed after \"{shown}\"")));
                }
            }
        }
    }

    /// Tells the server that nothing more will come.
    ///
    /// # Errors
    /// The connection is broken.
    pub fn finish_writing(&mut self) -> Result<()> {
        Ok(self.stream.shut_writing()?)
    }

    fn receive(&mut self) -> Result<usize> {
        let mut chunk = [0; 64 * 1024];
        let count = match self.stream.read(&mut chunk) {
            // What a close looks like when bytes of ours were still unread.
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => 0,
            other => other.context("no reply")?,
        };
        self.received.extend_from_slice(&chunk[..count]);
        Ok(count)
    }
}

/// The bytes of a command.
pub fn request<A: AsRef<[u8]>>(words: impl IntoIterator<Item = A>) -> Vec<u8> {
    let words: Vec<_> = words.into_iter().collect();
    let mut bytes = format!("*{}\r\n", words.len()).into_bytes();
    for word in &words {
        let word = word.as_ref();
        bytes.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
        bytes.extend_from_slice(word);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes
}

/// Decodes one whole reply.
///
/// # Errors
/// It is malformed or not whole.
pub fn decode(bytes: &[u8], protocol: Protocol) -> Result<Value> {
    let shown = || format!("malformed reply \"{}\"", bytes.escape_ascii());
    let value = match protocol {
        Protocol::Resp2 => reply::decode_resp2(bytes)
            .with_context(shown)?
            .map(|(f, _)| two(f)),
        Protocol::Resp3 => reply::decode_resp3(bytes)
            .with_context(shown)?
            .map(|(f, _)| three(f)),
    };
    value.with_context(shown)
}

fn two(frame: Resp2Frame) -> Value {
    match frame {
        Resp2Frame::SimpleString(bytes) => {
            Value::Status(String::from_utf8_lossy(&bytes).into_owned())
        }
        Resp2Frame::Error(text) => Value::Error(text),
        Resp2Frame::Integer(number) => Value::Integer(number),
        Resp2Frame::BulkString(bytes) => Value::Bytes(bytes),
        Resp2Frame::Array(elements) => Value::List(elements.into_iter().map(two).collect()),
        Resp2Frame::Null => Value::Null,
    }
}

fn three(frame: Resp3Frame) -> Value {
    match frame {
        Resp3Frame::SimpleString { data, .. } => {
            Value::Status(String::from_utf8_lossy(&data).into_owned())
        }
        Resp3Frame::SimpleError { data, .. } => Value::Error(data),
        Resp3Frame::BlobError { data, .. } => {
            Value::Error(String::from_utf8_lossy(&data).into_owned())
        }
        Resp3Frame::Number { data, .. } => Value::Integer(data),
        Resp3Frame::Double { data, .. } => Value::Double(data),
        Resp3Frame::Boolean { data, .. } => Value::Boolean(data),
        Resp3Frame::BlobString { data, .. }
        | Resp3Frame::BigNumber { data, .. }
        | Resp3Frame::VerbatimString { data, .. } => Value::Bytes(data),
        Resp3Frame::Array { data, .. } | Resp3Frame::Push { data, .. } => {
            Value::List(data.into_iter().map(three).collect())
        }
        Resp3Frame::Set { data, .. } => Value::List(data.into_iter().map(three).collect()),
        Resp3Frame::Map { data, .. } => Value::Map(
            data.into_iter()
                .map(|(key, value)| (three(key), three(value)))
                .collect(),
        ),
        Resp3Frame::Null | Resp3Frame::Hello { .. } | Resp3Frame::ChunkedString(_) => Value::Null,
    }
}
