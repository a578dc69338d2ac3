//! Packs clients' requests for another node.

use bailiwick_frame::{Args, Protocol};
use bytes::Bytes;

use super::wire::Section;
use crate::group::{Item, Proposal, Step, Transaction, put_request};
use crate::state::{Origin, ProposalWriter, ProxiedStep};

/// A client's proposal on its way to another group.
///
/// Invariants: `answered <= proposal.items.len()`; the items before it have their replies. It is
/// above zero only for reads, of which a part was answered.
pub(super) struct Load {
    /// The requests.
    pub proposal: Box<Proposal>,
    /// How many of its items have been answered.
    pub answered: usize,
}

impl Load {
    /// Whether all items have been answered.
    pub(super) fn is_answered(&self) -> bool {
        self.answered == self.proposal.items.len()
    }
}

/// The sections of proposals that only read, without what has been answered.
pub(super) fn pack_reads(loads: &[Load]) -> Bytes {
    let bytes: usize = loads.iter().map(|load| load.proposal.bytes()).sum();
    let mut out = Vec::with_capacity(bytes + 64);
    for Load { proposal, answered } in loads {
        let mut section = Gathered::default();
        for item in &proposal.items[*answered..] {
            match item {
                Item::Command {
                    request, database, ..
                } => {
                    let args = proposal.requests.args(*request, &proposal.buffer);
                    section.add(*database, args, proposal.protocol, &mut out);
                }
                // What contains a transaction goes through the log.
                Item::Transaction(_) | Item::Expire(_) | Item::Genesis { .. } => {}
            }
        }
        section.finish(proposal.protocol, &mut out);
    }
    out.into()
}

/// Requests of one database that follow each other.
#[derive(Default)]
struct Gathered {
    database: usize,
    count: usize,
    resp: Vec<u8>,
}

impl Gathered {
    fn add(&mut self, database: usize, args: Args<'_>, protocol: Protocol, out: &mut Vec<u8>) {
        if self.database != database {
            std::mem::take(self).finish(protocol, out);
            self.database = database;
        }
        self.count += 1;
        put_request(&mut self.resp, args);
    }

    fn finish(self, protocol: Protocol, out: &mut Vec<u8>) {
        if self.count == 0 {
            return;
        }
        let section = Section {
            protocol,
            database: self.database,
            count: self.count,
            resp: self.resp.into(),
        };
        section.put(out);
    }
}

/// One proposal of the log that holds all of these.
pub(super) fn pack_writes(loads: &[Load], origin: Origin, sequence: u64, floor: u64) -> Bytes {
    let bytes: usize = loads.iter().map(|load| load.proposal.bytes()).sum();
    let mut out = Vec::with_capacity(bytes + 256);
    let mut writer = ProposalWriter::new(&mut out, origin, sequence, floor);
    let mut author = 0;
    for Load { proposal, .. } in loads {
        if proposal.author != author {
            author = proposal.author;
            writer.author(author);
        }
        for item in &proposal.items {
            match item {
                Item::Command {
                    request, database, ..
                } => {
                    let args = proposal.requests.args(*request, &proposal.buffer);
                    writer.proxied(proposal.protocol, *database, args);
                }
                Item::Transaction(transaction) => {
                    put_transaction(&mut writer, proposal.protocol, transaction);
                }
                // These are a group's own business.
                Item::Expire(_) | Item::Genesis { .. } => {}
            }
        }
    }
    writer.finish();
    out.into()
}

fn put_transaction(writer: &mut ProposalWriter<'_>, protocol: Protocol, transaction: &Transaction) {
    let steps = transaction.steps.iter().map(|step| match step {
        Step::Command {
            request, database, ..
        } => ProxiedStep::Command(*database, transaction.arguments.get(*request)),
        Step::Answered(reply) => ProxiedStep::Answered(reply),
    });
    writer.proxied_transaction(protocol, &transaction.watched, steps);
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bailiwick_replication::{GroupId, LogIndex};

    use super::*;
    use crate::commands::{Counters, lookup};
    use crate::keyspace::AccessPolicy;
    use crate::state::testing::with_words;
    use crate::state::{EntryHead, EntryWriter, PROXIED, Replay, State};

    #[test]
    fn each_write_goes_with_its_own_author() {
        let loads = [0, 5, 5, 0, 6].map(|author| {
            let mut proposal = Proposal::new(Arc::default(), 0);
            proposal.author = author;
            with_words("SET key value", |args| {
                proposal.set_request(args);
                let command = lookup(args).expect("known");
                proposal.items.push(Item::Command {
                    request: 0,
                    database: 0,
                    command,
                });
            });
            Load {
                proposal,
                answered: 0,
            }
        });
        let mut entry = Vec::new();
        let head = EntryHead {
            time_ms: 1,
            seed: 1,
        };
        let mut writer = EntryWriter::new(&mut entry, head);
        let mut first = writer.proposal(
            Origin {
                node: 1,
                incarnation: 1,
            },
            1,
            0,
        );
        first.genesis(1, 1, GroupId(0));
        first.finish();
        let origin = Origin {
            node: 7 | PROXIED,
            incarnation: 3,
        };
        writer.append_encoded(&pack_writes(&loads, origin, 1, 0));
        let counters = Counters::default();
        counters.touches.switch_on();
        let (mut state, policy) = (State::empty(), AccessPolicy::default());
        Replay::default()
            .apply(&mut state, LogIndex(1), &entry, policy, &counters)
            .expect("applies");
        let touches = counters.touches.take();
        let numbers = touches.iter().map(|touch| touch.author.number);
        assert_eq!(numbers.collect::<Vec<_>>(), [0, 5, 5, 0, 6]);
    }
}
