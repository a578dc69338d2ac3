//! The end of a run for clients that wait, and for what they waited for.
//!
//! Whoever waits without a limit is served at last, because elements are pushed until nobody waits.
//! After that nothing may be left of anybody's waiting, and all that was pushed must be accounted
//! for.

use super::checks::RECOVERY_NS;
use super::clients::Kind;
use super::places::{self, HOMES};
use super::{World, elements};
use crate::simulation::node::REQUEST_TIMEOUT_NS;
use crate::simulation::{MS, SECOND, requests};

/// How long those may wait who have a limit, beyond that of their requests.
const LONGEST_WAIT_NS: u64 = elements::LONGEST_TIMEOUT_MS * MS + 30 * SECOND;

impl World {
    /// Everybody stops to wait: at the end of the time, or because there are elements.
    pub(super) fn end_all_waits(&mut self) {
        let has_no_limits = |world: &Self| {
            let waits = world
                .clients
                .iter()
                .filter_map(|client| client.wait.as_ref());
            waits.filter(|wait| wait.has_deadline()).count() == 0
        };
        self.run_until(LONGEST_WAIT_NS, has_no_limits);
        self.demand("a client waits beyond its time", has_no_limits);
        let nobody_waits = |world: &Self| world.clients.iter().all(|client| client.wait.is_none());
        let until = self.now + RECOVERY_NS;
        while self.violation.is_none() && self.now < until && !nobody_waits(self) {
            for home in HOMES {
                for key in places::queues(home) {
                    let client = self
                        .clients
                        .iter()
                        .position(|client| client.asked.is_none());
                    if let Some(client) = client {
                        self.push_into(client, &key);
                    }
                    self.run_until(20 * MS, |_| false);
                }
            }
            self.run_until(SECOND, nobody_waits);
        }
        self.demand("a client waits for what is there", nobody_waits);
        self.run_until(2 * REQUEST_TIMEOUT_NS, |world| {
            world.clients.iter().all(|client| client.asked.is_none())
        });
        self.run_until(RECOVERY_NS, Self::is_free_of_waiters);
        self.demand("waiters stay behind", Self::is_free_of_waiters);
    }

    /// Whether no group has a waiter, or a reply for one.
    fn is_free_of_waiters(&self) -> bool {
        let processes = self.nodes.values().filter_map(|node| node.running.as_ref());
        let mut processes = processes.filter(|process| !process.seats.is_empty());
        processes.all(|process| {
            let mut members = process.seats.values();
            let is_free = members.all(|seat| {
                let is_member = seat.shared.standing().takes_part();
                !is_member || seat.shared.state().waiters.is_empty()
            });
            is_free && process.orphans.is_empty()
        })
    }

    /// Reads what is left of elements, and judges what became of all.
    pub(super) fn look_at_elements(&mut self) {
        for home in HOMES {
            for key in places::queues(home).into_iter().take(3) {
                self.read_remaining(&key);
            }
        }
        if self.violation.is_none()
            && let Err(text) = self.book.check()
        {
            self.fail(text);
        }
    }

    fn read_remaining(&mut self, key: &str) {
        let until = self.now + RECOVERY_NS;
        while self.violation.is_none() && self.now < until && !self.book.has_remaining(key) {
            let client = self.rng.usize(..self.clients.len());
            let range = if key.contains("ranked:") {
                "ZRANGE"
            } else {
                "LRANGE"
            };
            let words = [range, key, "0", "-1"].map(|word| word.as_bytes().to_vec());
            let proposal = requests::pipeline(&[words.to_vec()], client);
            self.record(client, Vec::new(), Kind::Remains(key.to_owned()));
            self.propose(client, key, proposal);
            self.run_until(3 * REQUEST_TIMEOUT_NS, |world| {
                world.clients[client].asked.is_none()
            });
        }
        let is_read = |world: &Self| world.book.has_remaining(key);
        self.demand("what is left of elements cannot be read", is_read);
    }
}
