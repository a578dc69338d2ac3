//! `MONITOR`: a copy of every request to those who asked for it.
//!
//! Lines wait in a client's feed like messages, so what a slow monitor may leave unread is bounded
//! by its output buffer limit, above which it is disconnected.
//!
//! Invariant: [`Condition::Monitored`] holds exactly if somebody monitors. It changes under the
//! lock of the list: whoever comes while the last one goes would be forgotten otherwise.

use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;

use super::clients::Client;
use super::{Attention, Condition};
use crate::config::OutputBufferLimits;
use crate::pubsub::limit_of;

/// Those who monitor.
#[derive(Default)]
pub struct Monitors {
    clients: Mutex<Vec<Arc<Client>>>,
}

impl Monitors {
    /// Adds a client, whose feed gets the lines from now on.
    pub fn add(&self, client: Arc<Client>, attention: &Attention) {
        let mut clients = self.clients.lock();
        clients.push(client);
        attention.set(Condition::Monitored, true);
    }

    /// Removes a client.
    pub fn remove(&self, client: u64, attention: &Attention) {
        let mut clients = self.clients.lock();
        clients.retain(|monitor| monitor.id != client);
        attention.set(Condition::Monitored, !clients.is_empty());
    }

    /// Sends a request, which came from an address, to all. A monitor that lets more wait than it
    /// may is disconnected.
    pub fn feed<'a>(
        &self,
        now_us: i64,
        database: usize,
        (address, args): (&str, impl Iterator<Item = &'a [u8]>),
        limits: &OutputBufferLimits,
    ) {
        let line: Bytes = format_line(now_us, database, address, args).into();
        for client in self.clients.lock().iter() {
            if !client.feed.push(line.clone(), limit_of(client, limits)) {
                tracing::warn!(
                    client = %client.address,
                    "a monitor is disconnected: it takes its lines too slowly"
                );
                client.kill();
            }
        }
    }

    /// Number of monitors.
    #[must_use]
    pub fn len(&self) -> usize {
        self.clients.lock().len()
    }

    /// Whether nobody monitors.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

fn format_line<'a>(
    now_us: i64,
    database: usize,
    address: &str,
    args: impl Iterator<Item = &'a [u8]>,
) -> Vec<u8> {
    let (s, us) = (now_us / 1_000_000, now_us % 1_000_000);
    let mut line = format!("+{s}.{us:06} [{database} {address}]").into_bytes();
    for arg in args {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::BufferLimit;
    use std::sync::atomic::Ordering;

    fn client(id: u64) -> Arc<Client> {
        Arc::new(Client::new(id, String::new(), String::new(), 0, 0))
    }

    #[test]
    fn a_monitor_that_reads_nothing_is_disconnected_at_its_limit_in_bytes() {
        let (monitors, attention, slow) = (Monitors::default(), Attention::default(), client(1));
        monitors.add(slow.clone(), &attention);
        let limits = OutputBufferLimits {
            normal: BufferLimit {
                hard_bytes: 10_000,
                ..BufferLimit::default()
            },
            ..OutputBufferLimits::default()
        };
        let bytes = [b'v'; 1000];
        let feed = || monitors.feed(0, 0, ("there", std::iter::once(&bytes[..])), &limits);
        for _ in 0..9 {
            feed();
            assert!(!slow.closing.load(Ordering::Relaxed));
        }
        feed();
        assert!(slow.closing.load(Ordering::Relaxed));
    }

    #[test]
    fn requests_are_shown_until_the_last_monitor_has_gone() {
        let (monitors, attention) = (Monitors::default(), Attention::default());
        for id in [1, 2] {
            monitors.add(client(id), &attention);
        }
        monitors.remove(1, &attention);
        assert!(attention.has(Condition::Monitored));
        monitors.remove(2, &attention);
        assert!(!attention.has(Condition::Monitored) && monitors.is_empty());
    }
}
