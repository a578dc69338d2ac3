//! Requests on one list, and the list they need: what redis-benchmark measures as LPUSH, LPOP,
//! LRANGE_100 and so on.
//!
//! How it fails: a server that refuses the list ends the comparison. A run that pops more than
//! [`POPPED_ELEMENTS`] finds nothing in the end, which ends it, too.

use std::net::SocketAddr;

use anyhow::Result;

use crate::admin::Admin;

const KEY: &str = "mylist";

/// The list from which elements are popped; a run may not take them all.
const POPPED_ELEMENTS: usize = 4_000_000;

/// The list of which ranges are read.
const READ_ELEMENTS: usize = 100_000;

/// How many elements go into one request that fills a list.
const FILL_ELEMENTS: usize = 1000;

/// A request on the list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ListRequest {
    /// A push of one element, by the name of the command.
    Push(&'static str),
    /// A pop of one element, by the name of the command.
    Pop(&'static str),
    /// A read of so many elements from the first on.
    Range(usize),
}

impl ListRequest {
    /// Everything of the request that stands before the element, if it has one, or all of it.
    pub(crate) fn head(self, value_bytes: usize) -> Vec<u8> {
        let mut head = match self {
            Self::Push(command) => encode(&[command, KEY]).replacen("*2", "*3", 1),
            Self::Pop(command) => encode(&[command, KEY]),
            Self::Range(count) => encode(&["LRANGE", KEY, "0", &(count - 1).to_string()]),
        };
        if let Self::Push(_) = self {
            head.push_str(&format!("${value_bytes}\r\n"));
        }
        head.into_bytes()
    }

    /// Whether the request ends with an element and a line end.
    pub(crate) fn has_element(self) -> bool {
        matches!(self, Self::Push(_))
    }

    /// Makes the list that a run of such requests needs.
    ///
    /// # Errors
    /// The server refuses it.
    pub(crate) fn prepare(self, server: SocketAddr, value_bytes: usize) -> Result<()> {
        let elements = match self {
            Self::Push(_) => 0,
            Self::Pop(_) => POPPED_ELEMENTS,
            Self::Range(_) => READ_ELEMENTS,
        };
        let mut admin = Admin::connect(server)?;
        admin.ask(&["DEL", KEY])?;
        let element = "x".repeat(value_bytes);
        let mut push = vec!["RPUSH", KEY];
        push.resize(2 + FILL_ELEMENTS, &element);
        for _ in 0..elements / FILL_ELEMENTS {
            admin.ask(&push)?;
        }
        Ok(())
    }
}

fn encode(words: &[&str]) -> String {
    let words = words
        .iter()
        .map(|word| format!("${}\r\n{word}\r\n", word.len()));
    let words: Vec<_> = words.collect();
    format!("*{}\r\n{}", words.len(), words.concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_exact() {
        let head = |request: ListRequest| String::from_utf8(request.head(3)).unwrap();
        assert_eq!(
            head(ListRequest::Push("LPUSH")),
            "*3\r\n$5\r\nLPUSH\r\n$6\r\nmylist\r\n$3\r\n"
        );
        assert_eq!(
            head(ListRequest::Pop("RPOP")),
            "*2\r\n$4\r\nRPOP\r\n$6\r\nmylist\r\n"
        );
        assert_eq!(
            head(ListRequest::Range(100)),
            "*4\r\n$6\r\nLRANGE\r\n$6\r\nmylist\r\n$1\r\n0\r\n$2\r\n99\r\n"
        );
    }
}
