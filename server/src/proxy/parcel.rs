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
    for Load { proposal, .. } in loads {
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
