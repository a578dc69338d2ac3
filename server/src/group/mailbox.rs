//! Where answered proposals wait for the runtime thread they came from.
//!
//! Each runtime thread has one mailbox, so a group commit that answers fifty connections of a
//! thread wakes that thread once.

use std::mem;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};

use parking_lot::Mutex;

use super::Proposal;

/// A queue with a single waiting reader.
#[derive(Default)]
pub struct Mailbox {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    answered: Vec<Box<Proposal>>,
    waker: Option<Waker>,
}

impl Mailbox {
    /// Adds an answered proposal without waking the reader; true if the reader must be woken.
    pub fn put(&self, proposal: Box<Proposal>) -> bool {
        let mut inner = self.inner.lock();
        inner.answered.push(proposal);
        inner.answered.len() == 1
    }

    /// Wakes the reader.
    pub fn wake(&self) {
        let waker = self.inner.lock().waker.take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Blocks until a proposal is there, and takes it.
    pub fn wait(&self) -> Box<Proposal> {
        struct Unpark(Thread);
        impl Wake for Unpark {
            fn wake(self: Arc<Self>) {
                self.0.unpark();
            }
        }
        let waker = Waker::from(Arc::new(Unpark(thread::current())));
        let (mut context, mut answered) = (Context::from_waker(&waker), Vec::new());
        loop {
            if self.poll_take(&mut context, &mut answered).is_ready()
                && let Some(proposal) = answered.pop()
            {
                return proposal;
            }
            thread::park();
        }
    }

    /// Moves everything into `out`; pending if there is nothing.
    pub fn poll_take(&self, context: &mut Context<'_>, out: &mut Vec<Box<Proposal>>) -> Poll<()> {
        let mut inner = self.inner.lock();
        if inner.answered.is_empty() {
            inner.waker = Some(context.waker().clone());
            return Poll::Pending;
        }
        mem::swap(&mut inner.answered, out);
        Poll::Ready(())
    }
}
