//! A blocking connection for questions beside the load: PING, INFO, DBSIZE, BGSAVE.
//!
//! It knows replies of one line, bulk strings and arrays of them, no others, and fails on an error
//! reply with its text. A question that is not answered within `TIMEOUT` is an error.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

const TIMEOUT: Duration = Duration::from_secs(60);

/// The longest bulk string taken as an answer.
const MAX_ANSWER_BYTES: usize = 16 * 1024 * 1024;

/// The most elements and the deepest nesting of an array taken as an answer.
const MAX_ELEMENTS: usize = 100_000;
const MAX_DEPTH: u32 = 8;

/// A connection on which one question is asked at a time.
pub(crate) struct Admin {
    stream: BufReader<TcpStream>,
}

impl Admin {
    /// # Errors
    /// If the server cannot be reached.
    pub(crate) fn connect(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect_timeout(&address, TIMEOUT)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        stream.set_write_timeout(Some(TIMEOUT))?;
        Ok(Self {
            stream: BufReader::new(stream),
        })
    }

    /// Asks and returns the text of the answer, without type and line ends; of an array, each
    /// element on a line, those of arrays in it, too, and an empty line for what is null.
    ///
    /// # Errors
    /// If the connection fails or the server answers with an error.
    pub(crate) fn ask(&mut self, words: &[&str]) -> Result<String> {
        let mut request = format!("*{}\r\n", words.len());
        for word in words {
            request.push_str(&format!("${}\r\n{word}\r\n", word.len()));
        }
        self.stream.get_mut().write_all(request.as_bytes())?;
        self.answer(MAX_DEPTH)
            .with_context(|| format!("the answer to {}", words.join(" ")))
    }

    /// A field of a section of INFO, if the server shows it.
    ///
    /// # Errors
    /// As `ask`.
    pub(crate) fn info(&mut self, section: &str, field: &str) -> Result<Option<String>> {
        let text = self.ask(&["INFO", section])?;
        Ok(info_field(&text, field).map(str::to_owned))
    }

    fn answer(&mut self, depth: u32) -> Result<String> {
        let mut line = String::new();
        let length = self.stream.by_ref().take(64 * 1024).read_line(&mut line)?;
        ensure!(length > 0, "the server closed the connection");
        let line = line.trim_end();
        match line.as_bytes().first() {
            Some(b'+' | b':') => Ok(line[1..].to_owned()),
            Some(b'$') => self.bulk(line[1..].parse()?),
            Some(b'*') if depth > 0 => self.array(line[1..].parse()?, depth - 1),
            Some(b'-') => bail!("{}", &line[1..]),
            _ => bail!("unexpected reply '{line}'"),
        }
    }

    fn array(&mut self, count: usize, depth: u32) -> Result<String> {
        ensure!(count <= MAX_ELEMENTS, "an answer of {count} elements");
        let mut lines = Vec::new();
        for _ in 0..count {
            let is_null = self.stream.fill_buf()?.starts_with(b"$-1");
            let line = self.answer(depth);
            lines.push(if is_null { String::new() } else { line? });
        }
        Ok(lines.join("\n"))
    }

    fn bulk(&mut self, length: i64) -> Result<String> {
        let length = usize::try_from(length).context("a null reply")?;
        ensure!(length <= MAX_ANSWER_BYTES, "an answer of {length} bytes");
        let mut bytes = vec![0; length + 2];
        self.stream.read_exact(&mut bytes)?;
        bytes.truncate(length);
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }
}

/// The value of a field in lines of `name:value`.
pub(crate) fn info_field<'a>(text: &'a str, field: &str) -> Option<&'a str> {
    text.lines()
        .filter_map(|line| line.trim_end().split_once(':'))
        .find_map(|(name, value)| (name == field).then_some(value))
}

/// What follows on this name in lines of names and values, as a map is answered.
pub(crate) fn pair_value<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let mut lines = text.lines();
    lines.find(|line| *line == name)?;
    lines.next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_array_is_answered_line_by_line() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let answer =
                b"*4\r\n$5\r\ngroup\r\n+eu\r\n$4\r\nmove\r\n*3\r\n$2\r\nto\r\n$-1\r\n:7\r\n";
            stream.write_all(answer).unwrap();
            // Whatever was asked, until the other side has gone.
            let _ = stream.read_to_end(&mut Vec::new());
        });
        let mut admin = Admin::connect(address).unwrap();
        let text = admin.ask(&["PREFIX", "INFO"]).unwrap();
        assert_eq!(text, "group\neu\nmove\nto\n\n7");
        assert_eq!(pair_value(&text, "group"), Some("eu"));
        assert_eq!(pair_value(&text, "to"), Some(""));
        assert_eq!(pair_value(&text, "from"), None);
        drop(admin);
        server.join().unwrap();
    }

    #[test]
    fn a_field_is_found_by_its_whole_name() {
        let text = "# Persistence\r\nrdb_bgsave_in_progress_x:7\r\nrdb_bgsave_in_progress:1\r\n";
        assert_eq!(info_field(text, "rdb_bgsave_in_progress"), Some("1"));
        assert_eq!(info_field(text, "bgsave"), None);
    }
}
