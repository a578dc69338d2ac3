//! Where connections of a thread wait for their answered proposals.

use std::cell::RefCell;
use std::task::{Context, Poll, Waker};

use crate::group::Proposal;

#[derive(Default)]
struct Slot {
    answered: Option<Box<Proposal>>,
    waker: Option<Waker>,
    /// The owner has gone while its proposal was under way.
    abandoned: bool,
}

/// One slot for each connection of the thread, named by its ticket.
#[derive(Default)]
pub struct Slots {
    slots: RefCell<Vec<Slot>>,
    free: RefCell<Vec<usize>>,
}

impl Slots {
    /// A ticket for a new connection.
    pub fn take(&self) -> usize {
        if let Some(ticket) = self.free.borrow_mut().pop() {
            return ticket;
        }
        let mut slots = self.slots.borrow_mut();
        slots.push(Slot::default());
        slots.len() - 1
    }

    /// Gives a ticket back. If its proposal is still under way, it is free when that arrives.
    pub fn give_back(&self, ticket: usize, under_way: bool) {
        let slot = &mut self.slots.borrow_mut()[ticket];
        let arrived = slot.answered.is_some();
        *slot = Slot::default();
        if under_way && !arrived {
            slot.abandoned = true;
        } else {
            self.free.borrow_mut().push(ticket);
        }
    }

    /// Puts an answered proposal where its owner waits.
    pub fn answer(&self, proposal: Box<Proposal>) {
        let waker = {
            let ticket = proposal.ticket;
            let slot = &mut self.slots.borrow_mut()[ticket];
            if slot.abandoned {
                slot.abandoned = false;
                self.free.borrow_mut().push(ticket);
                return;
            }
            slot.answered = Some(proposal);
            slot.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Takes the answered proposal of `ticket`, or waits for it.
    pub fn poll(&self, ticket: usize, context: &mut Context<'_>) -> Poll<Box<Proposal>> {
        let slot = &mut self.slots.borrow_mut()[ticket];
        match slot.answered.take() {
            Some(proposal) => Poll::Ready(proposal),
            None => {
                slot.waker = Some(context.waker().clone());
                Poll::Pending
            }
        }
    }
}
