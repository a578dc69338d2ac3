//! What waits to be sent to a client that did not ask for it: messages and invalidations.
//!
//! Any thread adds; the connection's task takes, between its replies. Adding never waits. A feed
//! counts what is being written, too, so a client that reads nothing cannot have more than its
//! limit.
//!
//! Invariants: `bytes` is what is queued plus what was taken and not written; `has_pending` changes
//! only under the lock, and holds whenever something is queued.

use std::collections::VecDeque;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Waker;
use std::time::{Duration, Instant};

use bytes::Bytes;
use parking_lot::Mutex;

use crate::config::BufferLimit;

/// What a feed may hold where the configuration sets no limit.
const MAX_BYTES: usize = 256 << 20;

/// The queue of one client.
#[derive(Default)]
pub struct Feed {
    has_pending: AtomicBool,
    /// The connection's task.
    waker: OnceLock<Waker>,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    queue: VecDeque<Bytes>,
    bytes: usize,
    /// Since when there is more than the soft limit.
    soft_since: Option<Instant>,
    /// The client was too slow, or has gone.
    is_closed: bool,
}

impl Feed {
    /// Whom to wake when something is added.
    pub fn set_waker(&self, waker: &Waker) {
        // A task's wakers are all alike, so the first will do.
        self.waker.get_or_init(|| waker.clone());
    }

    /// Adds what is to be sent. False if that is too much for the client, which is to be
    /// disconnected and gets nothing more.
    #[must_use]
    pub fn push(&self, bytes: Bytes, limit: BufferLimit) -> bool {
        let mut inner = self.inner.lock();
        if inner.is_closed {
            return true;
        }
        inner.bytes += bytes.len();
        inner.queue.push_back(bytes);
        if inner.is_over(limit) {
            inner.close();
            return false;
        }
        let is_first = !self.has_pending.swap(true, Ordering::Release);
        drop(inner);
        if is_first && let Some(waker) = self.waker.get() {
            waker.wake_by_ref();
        }
        true
    }

    /// Whether something is to be sent.
    #[must_use]
    pub fn has_pending(&self) -> bool {
        self.has_pending.load(Ordering::Acquire)
    }

    /// Appends what is to be sent to `out`, which is done when it holds `max_bytes`. What was taken
    /// still counts until [`Feed::note_written`].
    pub fn take(&self, out: &mut Vec<u8>, max_bytes: usize) -> usize {
        let before = out.len();
        let mut inner = self.inner.lock();
        while out.len() < max_bytes
            && let Some(bytes) = inner.queue.pop_front()
        {
            out.extend_from_slice(&bytes);
        }
        let is_empty = inner.queue.is_empty();
        self.has_pending.store(!is_empty, Ordering::Release);
        out.len() - before
    }

    /// So many bytes that were taken are the client's.
    pub fn note_written(&self, bytes: usize) {
        let mut inner = self.inner.lock();
        inner.bytes = inner.bytes.saturating_sub(bytes);
    }

    /// Messages and bytes that wait.
    #[must_use]
    pub fn len(&self) -> (usize, usize) {
        let inner = self.inner.lock();
        (inner.queue.len(), inner.bytes)
    }

    /// Whether nothing waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == (0, 0)
    }

    /// Whether the client has been above its soft limit for too long.
    #[must_use]
    pub fn is_over(&self, limit: BufferLimit) -> bool {
        self.inner.lock().is_over(limit)
    }

    /// The client has gone.
    pub fn close(&self) {
        self.inner.lock().close();
    }
}

impl Inner {
    fn is_over(&mut self, limit: BufferLimit) -> bool {
        let waiting = self.bytes as u64;
        let hard = limit.hard_bytes;
        if hard > 0 && waiting > hard || hard == 0 && self.bytes > MAX_BYTES {
            return true;
        }
        if limit.soft_bytes == 0 || waiting <= limit.soft_bytes {
            self.soft_since = None;
            return false;
        }
        let since = *self.soft_since.get_or_insert_with(Instant::now);
        since.elapsed() > Duration::from_secs(u64::from(limit.soft_s))
    }

    fn close(&mut self) {
        self.is_closed = true;
        self.queue = VecDeque::new();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HARD_10: BufferLimit = BufferLimit {
        hard_bytes: 10,
        soft_bytes: 0,
        soft_s: 0,
    };

    #[test]
    fn what_is_taken_counts_until_it_is_written() {
        let feed = Feed::default();
        assert!(feed.push(Bytes::from_static(b"123456"), HARD_10));
        let mut out = Vec::new();
        assert_eq!(feed.take(&mut out, 100), 6);
        assert!(!feed.has_pending());
        assert!(feed.push(Bytes::from_static(b"1234"), HARD_10));
        feed.note_written(6);
        assert!(feed.push(Bytes::from_static(b"123456"), HARD_10));
        assert!(!feed.push(Bytes::from_static(b"1"), HARD_10));
        assert_eq!(feed.len().0, 0, "an overfull feed is emptied");
    }

    #[test]
    fn a_feed_is_taken_in_steps_and_in_order() {
        let feed = Feed::default();
        let no_limit = BufferLimit::default();
        for text in [&b"aa"[..], b"bb", b"cc"] {
            assert!(feed.push(Bytes::copy_from_slice(text), no_limit));
        }
        let mut out = Vec::new();
        feed.take(&mut out, 3);
        assert_eq!(out, b"aabb");
        assert!(feed.has_pending());
        feed.take(&mut out, 100);
        assert_eq!(out, b"aabbcc");
        assert!(!feed.has_pending());
    }

    #[test]
    fn above_the_soft_limit_a_client_has_some_time() {
        let feed = Feed::default();
        let soft = |soft_s| BufferLimit {
            hard_bytes: 0,
            soft_bytes: 2,
            soft_s,
        };
        assert!(feed.push(Bytes::from_static(b"123"), soft(1000)));
        assert!(!feed.is_over(soft(1000)));
        assert!(feed.is_over(soft(0)));
    }
}
