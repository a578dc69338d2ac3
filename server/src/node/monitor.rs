//! `MONITOR`: a copy of every request to those who asked for it.

use std::sync::Arc;

use bailiwick_frame::Args;
use parking_lot::Mutex;
use tokio::sync::mpsc::{Receiver, Sender, channel};

/// Lines that may wait for a monitor; one that falls behind further is disconnected.
const QUEUE_LINES: usize = 16 * 1024;

/// Carries a monitor's lines.
type Feed = Sender<Arc<[u8]>>;

/// Those who monitor.
#[derive(Default)]
pub struct Monitors {
    feeds: Mutex<Vec<(u64, Feed)>>,
}

impl Monitors {
    /// Adds a connection, which reads its lines from what is returned.
    pub fn add(&self, client: u64) -> Receiver<Arc<[u8]>> {
        let (sender, receiver) = channel(QUEUE_LINES);
        self.feeds.lock().push((client, sender));
        receiver
    }

    /// Removes a connection; true if it was the last.
    pub fn remove(&self, client: u64) -> bool {
        let mut feeds = self.feeds.lock();
        feeds.retain(|(id, _)| *id != client);
        feeds.is_empty()
    }

    /// Sends a request to all. A monitor whose queue is full loses its feed, which ends its
    /// connection.
    pub fn feed(&self, now_us: i64, database: usize, address: &str, args: Args<'_>) {
        let line: Arc<[u8]> = format_line(now_us, database, address, args).into();
        self.feeds
            .lock()
            .retain(|(_, feed)| feed.try_send(line.clone()).is_ok());
    }

    /// Number of monitors.
    #[must_use]
    pub fn len(&self) -> usize {
        self.feeds.lock().len()
    }

    /// Whether nobody monitors.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

fn format_line(now_us: i64, database: usize, address: &str, args: Args<'_>) -> Vec<u8> {
    let (s, us) = (now_us / 1_000_000, now_us % 1_000_000);
    let mut line = format!("+{s}.{us:06} [{database} {address}]").into_bytes();
    for arg in args.iter() {
        line.extend_from_slice(b" \"");
        for &byte in arg {
            match byte {
                b'"' | b'\\' => line.extend_from_slice(&[b'\\', byte]),
                b'\n' => line.extend_from_slice(b"\\n"),
                b'\r' => line.extend_from_slice(b"\\r"),
                b'\t' => line.extend_from_slice(b"\\t"),
                7 => line.extend_from_slice(b"\\a"),
                8 => line.extend_from_slice(b"\\b"),
                b' '..=b'~' => line.push(byte),
                _ => line.extend_from_slice(format!("\\x{byte:02x}").as_bytes()),
            }
        }
        line.push(b'"');
    }
    line.extend_from_slice(b"\r\n");
    line
}
