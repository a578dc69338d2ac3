//! Writes proposals as items of a log entry.

use super::refusal::Refusals;
use super::{Item, Proposal, Transaction};
use crate::state::ProposalWriter;

/// Writes what of the proposals belongs into the log. The same proposals and refusals give the same
/// bytes.
pub(super) fn encode_items(
    writer: &mut ProposalWriter<'_>,
    proposals: &[Box<Proposal>],
    refusals: &Refusals,
) {
    for proposal in proposals {
        for item in &proposal.items {
            encode_item(writer, proposal, item, refusals);
        }
    }
}

fn encode_item(
    writer: &mut ProposalWriter<'_>,
    proposal: &Proposal,
    item: &Item,
    refusals: &Refusals,
) {
    match item {
        Item::Command {
            request,
            database,
            command,
        } => {
            if command.is_write() && refusals.of(*command).is_none() {
                let args = proposal.requests.args(*request, &proposal.buffer);
                writer.command(*database, args);
            }
        }
        Item::Transaction(transaction) => {
            if refusals.of_transaction(transaction).is_none() {
                encode_transaction(writer, transaction);
            }
        }
        Item::Expire(limit) => writer.expire(*limit),
        Item::Genesis {
            databases,
            hash_seed,
            group,
        } => writer.genesis(*databases, *hash_seed, *group),
    }
}

fn encode_transaction(writer: &mut ProposalWriter<'_>, transaction: &Transaction) {
    if !transaction.has_write() {
        return;
    }
    // Reads are written too: whether all keys are served here decides about the whole transaction,
    // and every replica has to come to the same decision.
    writer.transaction(&transaction.watched, transaction.commands().count());
    for (_, database, args) in transaction.commands() {
        writer.transaction_command(database, args);
    }
}
