//! A place where a task waits for proposals of its own, beside the one that its connection owns.

use std::cell::Cell;
use std::rc::Rc;

use super::Worker;
use crate::group::Proposal;

/// Given back when it is dropped, also while a proposal is under way.
pub struct Ticket {
    worker: Rc<Worker>,
    number: usize,
    under_way: Cell<bool>,
}

impl Worker {
    /// A ticket for one proposal at a time.
    pub fn ticket(self: &Rc<Self>) -> Ticket {
        Ticket {
            worker: self.clone(),
            number: self.slots.take(),
            under_way: Cell::new(false),
        }
    }
}

impl Ticket {
    /// An empty proposal that comes back here.
    pub fn proposal(&self) -> Box<Proposal> {
        Proposal::new(self.worker.mailbox.clone(), self.number)
    }

    /// Submits a proposal of this ticket and waits until it is answered.
    pub async fn submit(&self, proposal: Box<Proposal>) -> Box<Proposal> {
        debug_assert_eq!(proposal.ticket, self.number);
        self.under_way.set(true);
        let proposal = self.worker.submit(proposal).await;
        self.under_way.set(false);
        proposal
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.worker.retire(self.number, self.under_way.get());
    }
}
