//! What waits for one peer.
//!
//! Owns the bounded queues, one for each class, and the [`Outbox`] from which a connection writes.
//! Any thread pushes; the connection takes whole queues by swapping, so that the lock is held for
//! an instant only, and encodes outside. Frames count as waiting until they are encoded.
//!
//! A full queue is not waited for: the push fails and the link is cut, because a peer that is this
//! far behind is better off with a new session than with a gap.

use std::collections::VecDeque;

use parking_lot::Mutex;

use super::codec::{self, HEADER_BYTES};
use super::session::Slot;
use super::types::{Class, Frame, LinkLimits};

/// A connection writes about this much at a time, so that urgent frames need not wait for more.
const FLUSH_BYTES: usize = 256 << 10;
/// A write buffer that has grown beyond this is given back when it runs empty.
const KEEP_BYTES: usize = 1 << 20;

/// What became of a push.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Pushed {
    /// Taken; `wake` if nobody has been told yet that something waits.
    Queued { wake: bool },
    /// There is no session, or another one.
    Closed,
    /// No room. The queue is closed now.
    Overflow,
    /// Beyond the longest message. The queue is closed now.
    Oversized,
}

/// `bytes[c]` is the sum over what waits in class `c`, headers included, and at most its bound.
#[derive(Debug, Default)]
pub(super) struct Queue {
    /// The session that frames are taken for.
    session: Option<u64>,
    waiting: [VecDeque<Frame>; 3],
    bytes: [usize; 3],
    frames: [usize; 3],
    /// Whether the consensus and the bulk connection have been told.
    signaled: [bool; 2],
}

impl Queue {
    pub(super) fn open(&mut self, session: u64) {
        self.close();
        self.session = Some(session);
    }

    /// Drops what waits.
    pub(super) fn close(&mut self) {
        *self = Queue::default();
    }

    /// Adds a frame; with `session`, only if that is the current one.
    pub(super) fn push(
        &mut self,
        frame: Frame,
        session: Option<u64>,
        limits: &LinkLimits,
    ) -> Pushed {
        if self.session.is_none() || session.is_some_and(|wanted| self.session != Some(wanted)) {
            return Pushed::Closed;
        }
        let class = frame.class as usize;
        let waiting = self.bytes[class];
        let bytes = waiting + HEADER_BYTES + frame.payload.len();
        if frame.payload.len() > limits.max_message_bytes {
            self.close();
            return Pushed::Oversized;
        }
        // One frame is taken whatever its size, or it could never be sent.
        if waiting > 0 && bytes > limits.queue_bytes(frame.class) {
            self.close();
            return Pushed::Overflow;
        }
        let channel = usize::from(frame.class == Class::Bulk);
        self.bytes[class] = bytes;
        self.frames[class] += 1;
        self.waiting[class].push_back(frame);
        let wake = !std::mem::replace(&mut self.signaled[channel], true);
        Pushed::Queued { wake }
    }

    /// Whether something waits that the (consensus, bulk) connection has not taken up.
    pub(super) fn signaled(&self) -> [bool; 2] {
        self.signaled
    }

    /// Frames and bytes that wait, all classes together.
    pub(super) fn len(&self) -> (usize, usize) {
        (self.frames.iter().sum(), self.bytes.iter().sum())
    }
}

/// The writing side of one outgoing connection.
pub(super) struct Outbox {
    classes: &'static [Class],
    taken: [VecDeque<Frame>; 3],
    /// How much of the first frame taken of a class is encoded.
    offset: [usize; 3],
    /// Encoded since the queue was last looked at.
    done: [(usize, usize); 3],
    out: Vec<u8>,
    written: usize,
}

impl Outbox {
    pub(super) fn new(slot: Slot) -> Outbox {
        Outbox {
            classes: match slot {
                Slot::Out => &[Class::Urgent, Class::Ordered],
                Slot::BulkOut => &[Class::Bulk],
                Slot::In | Slot::BulkIn => &[],
            },
            taken: Default::default(),
            offset: [0; 3],
            done: [(0, 0); 3],
            out: Vec::new(),
            written: 0,
        }
    }

    /// Bytes ready to be written.
    pub(super) fn pending(&self) -> &[u8] {
        &self.out[self.written..]
    }

    /// The first `bytes` of them have been written.
    pub(super) fn advance(&mut self, bytes: usize) {
        self.written += bytes;
        if self.written == self.out.len() {
            self.written = 0;
            self.out.clear();
            self.out.shrink_to(KEEP_BYTES);
        }
    }

    /// Where probes and their answers are appended.
    pub(super) fn control(&mut self) -> &mut Vec<u8> {
        &mut self.out
    }

    /// Takes what waits and encodes the next portion of it, unless there are unwritten bytes.
    /// Returns frames and payload bytes completed, for each class.
    pub(super) fn refill(&mut self, queue: &Mutex<Queue>) -> [(usize, usize); 3] {
        if self.written < self.out.len() || self.classes.is_empty() {
            return [(0, 0); 3];
        }
        self.take(&mut queue.lock());
        for class in self.classes {
            self.encode(*class as usize);
        }
        self.done
    }

    fn take(&mut self, queue: &mut Queue) {
        for class in self.classes.iter().map(|class| *class as usize) {
            let (frames, bytes) = std::mem::take(&mut self.done[class]);
            // After a close and a new open the counts are another session's.
            queue.frames[class] = queue.frames[class].saturating_sub(frames);
            let bytes = bytes + frames * HEADER_BYTES;
            queue.bytes[class] = queue.bytes[class].saturating_sub(bytes);
            if self.taken[class].is_empty() {
                std::mem::swap(&mut self.taken[class], &mut queue.waiting[class]);
            }
        }
        let more = |class: &Class| !queue.waiting[*class as usize].is_empty();
        let channel = usize::from(self.classes.contains(&Class::Bulk));
        queue.signaled[channel] = self.classes.iter().any(more);
    }

    fn encode(&mut self, class: usize) {
        while self.out.len() < FLUSH_BYTES || class == Class::Urgent as usize {
            let Some(frame) = self.taken[class].front() else {
                return;
            };
            self.offset[class] = codec::encode(&mut self.out, frame, self.offset[class]);
            if self.offset[class] == frame.payload.len() {
                self.offset[class] = 0;
                self.done[class].0 += 1;
                self.done[class].1 += frame.payload.len();
                self.taken[class].pop_front();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ConfigurationId, GroupId};

    fn frame(class: Class, len: usize) -> Frame {
        Frame {
            class,
            group: GroupId(1),
            configuration: ConfigurationId(1),
            payload: vec![0; len].into(),
        }
    }

    fn open() -> Queue {
        let mut queue = Queue::default();
        queue.open(3);
        queue
    }

    #[test]
    fn only_the_first_of_many_frames_wakes_the_links() {
        let (mut queue, limits) = (open(), LinkLimits::default());
        let wakes = |queue: &mut Queue| queue.push(frame(Class::Urgent, 1), None, &limits);
        assert_eq!(wakes(&mut queue), Pushed::Queued { wake: true });
        assert_eq!(wakes(&mut queue), Pushed::Queued { wake: false });
        let queue = Mutex::new(queue);
        let mut outbox = Outbox::new(Slot::Out);
        assert_eq!(outbox.refill(&queue)[0], (2, 2));
        assert_eq!(wakes(&mut queue.lock()), Pushed::Queued { wake: true });
    }

    #[test]
    fn a_frame_for_another_session_is_not_taken() {
        let (mut queue, limits) = (open(), LinkLimits::default());
        let mut push = |session| queue.push(frame(Class::Urgent, 1), Some(session), &limits);
        assert_eq!(push(2), Pushed::Closed);
        assert_eq!(push(3), Pushed::Queued { wake: true });
    }

    #[test]
    fn a_full_queue_closes_and_frees_what_it_held() {
        let (mut queue, mut limits) = (open(), LinkLimits::default());
        limits.ordered_queue_bytes = 1000;
        let pushed = queue.push(frame(Class::Ordered, 900), None, &limits);
        assert!(matches!(pushed, Pushed::Queued { .. }));
        let pushed = queue.push(frame(Class::Ordered, 900), None, &limits);
        assert_eq!(pushed, Pushed::Overflow);
        assert_eq!(queue.len(), (0, 0));
        let pushed = queue.push(frame(Class::Ordered, 1), None, &limits);
        assert_eq!(pushed, Pushed::Closed);
    }

    #[test]
    fn what_is_encoded_no_longer_counts() {
        let (mut queue, limits) = (open(), LinkLimits::default());
        queue.push(frame(Class::Ordered, 3 * FLUSH_BYTES), None, &limits);
        let queue = Mutex::new(queue);
        let mut outbox = Outbox::new(Slot::Out);
        for _ in 0..3 {
            outbox.refill(&queue);
            assert_eq!(queue.lock().len().0, 1);
            let bytes = outbox.pending().len();
            assert!(bytes > 0);
            outbox.advance(bytes);
        }
        outbox.refill(&queue);
        assert_eq!(queue.lock().len(), (0, 0));
        assert!(outbox.pending().is_empty());
    }
}
