//! DEBUG POPULATE: many keys for a test, through the log like any other write.

use std::sync::Arc;

use bailiwick_frame::{ArgRange, Args, Encoder};

use super::{NodeContext, NodeOutcome};
use crate::commands::{self, CommandError, Outcome};
use crate::group::{Group, Item, Mailbox, Proposal, Step, Transaction};
use crate::keyspace::parse_canonical_int;

/// Keys created by one log entry, so that others get their turn in between.
const KEYS_AN_ENTRY: u64 = 1000;

/// What to create.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Populate {
    database: usize,
    count: u64,
    prefix: Vec<u8>,
    /// Length of the values; as long as they are if `None`.
    size: Option<usize>,
}

impl Populate {
    pub(super) fn parse(args: Args<'_>, database: usize) -> Result<Self, CommandError> {
        let size = args.get(4).map(positive).transpose()?.unwrap_or(0);
        Ok(Self {
            database,
            count: positive(args.arg(2))?,
            prefix: args.get(3).unwrap_or(b"key").to_vec(),
            size: usize::try_from(size).ok().filter(|&size| size > 0),
        })
    }

    pub(super) fn start(self, context: &NodeContext<'_>) -> NodeOutcome {
        let group = context.group()?;
        context.blocking(move |out| self.run(&group, out))
    }

    fn run(&self, group: &Group, out: &mut Encoder<'_>) -> Outcome {
        let mut proposal = Proposal::new(Arc::new(Mailbox::default()), 0);
        let mut next = 0;
        while next < self.count {
            let end = self.count.min(next + KEYS_AN_ENTRY);
            proposal.items.clear();
            proposal.replies.clear();
            proposal
                .items
                .push(Item::Transaction(Box::new(self.transaction(next, end)?)));
            proposal = group.run(proposal);
            if let Some(refusal) = proposal.replies.strip_prefix(b"-") {
                let text = String::from_utf8_lossy(refusal);
                return Err(CommandError::composed(text.trim_end().to_owned()));
            }
            next = end;
        }
        out.ok();
        Ok(())
    }

    /// Creates those of the keys from `start` to `end` that do not exist.
    fn transaction(&self, start: u64, end: u64) -> Result<Transaction, CommandError> {
        let mut transaction = Transaction::default();
        for number in start..end {
            let (buffer, ranges) = self.command(number);
            let args = Args::new(&buffer, &ranges);
            transaction.steps.push(Step::Command {
                request: transaction.arguments.push(args),
                database: self.database,
                command: commands::lookup(args)?,
            });
        }
        Ok(transaction)
    }

    /// `SETNX prefix:number value:number`, the value cut or filled up with zeros.
    fn command(&self, number: u64) -> (Vec<u8>, [ArgRange; 3]) {
        let mut buffer = b"SETNX".to_vec();
        let name_end = buffer.len() as u32;
        buffer.extend_from_slice(&self.prefix);
        buffer.extend_from_slice(format!(":{number}").as_bytes());
        let key_end = buffer.len() as u32;
        buffer.extend_from_slice(format!("value:{number}").as_bytes());
        if let Some(size) = self.size {
            buffer.resize(key_end as usize + size, 0);
        }
        let end = buffer.len() as u32;
        let ranges = [(0, name_end), (name_end, key_end), (key_end, end)];
        (buffer, ranges.map(|(start, end)| ArgRange { start, end }))
    }
}

fn positive(arg: &[u8]) -> Result<u64, CommandError> {
    let number = parse_canonical_int(arg).and_then(|number| u64::try_from(number).ok());
    number.ok_or(CommandError::text(
        "ERR value is out of range, must be positive",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn populate(size: Option<usize>) -> Populate {
        Populate {
            database: 0,
            count: 1,
            prefix: b"p".to_vec(),
            size,
        }
    }

    fn value(populate: &Populate, number: u64) -> Vec<u8> {
        let (buffer, ranges) = populate.command(number);
        let args = Args::new(&buffer, &ranges);
        assert_eq!(args.arg(0), b"SETNX");
        assert_eq!(args.arg(1), format!("p:{number}").as_bytes());
        args.arg(2).to_vec()
    }

    #[test]
    fn values_are_cut_or_filled_with_zeros() {
        assert_eq!(value(&populate(None), 12), b"value:12");
        assert_eq!(value(&populate(Some(3)), 7), b"val");
        assert_eq!(value(&populate(Some(10)), 1), b"value:1\0\0\0");
    }
}
