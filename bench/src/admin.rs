//! A blocking connection for questions beside the load: PING, INFO, DBSIZE, BGSAVE.
//!
//! It knows replies of one line and bulk strings, no others, and fails on an error reply with its
//! text. A question that is not answered within `TIMEOUT` is an error.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

const TIMEOUT: Duration = Duration::from_secs(60);

/// The longest bulk string taken as an answer.
const MAX_ANSWER_BYTES: usize = 16 * 1024 * 1024;

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

    /// Asks and returns the text of the answer, without type and line ends.
    ///
    /// # Errors
    /// If the connection fails or the server answers with an error.
    pub(crate) fn ask(&mut self, words: &[&str]) -> Result<String> {
        let mut request = format!("*{}\r\n", words.len());
        for word in words {
            request.push_str(&format!("${}\r\n{word}\r\n", word.len()));
        }
        self.stream.get_mut().write_all(request.as_bytes())?;
        self.answer()
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

    fn answer(&mut self) -> Result<String> {
        let mut line = String::new();
        let length = self.stream.by_ref().take(64 * 1024).read_line(&mut line)?;
        ensure!(length > 0, "the server closed the connection");
        let line = line.trim_end();
        match line.as_bytes().first() {
            Some(b'+' | b':') => Ok(line[1..].to_owned()),
            Some(b'$') => self.bulk(line[1..].parse()?),
            Some(b'-') => bail!("{}", &line[1..]),
            _ => bail!("unexpected reply '{line}'"),
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_is_found_by_its_whole_name() {
        let text = "# Persistence\r\nrdb_bgsave_in_progress_x:7\r\nrdb_bgsave_in_progress:1\r\n";
        assert_eq!(info_field(text, "rdb_bgsave_in_progress"), Some("1"));
        assert_eq!(info_field(text, "bgsave"), None);
    }
}
