//! Which commands of a commit are refused, and why.

use super::{Step, Transaction};
use crate::commands::{CommandError, Known};

/// What refuses the growing commands of a commit.
static OUT_OF_MEMORY: CommandError = CommandError::OUT_OF_MEMORY;

/// Why writes of a commit are refused.
#[derive(Clone, Default)]
pub(super) struct Refusals {
    /// All of them: they could not be logged.
    pub(super) writes: Option<CommandError>,
    /// Those that need memory.
    pub(super) growth: bool,
}

impl Refusals {
    pub(super) fn of(&self, command: Known) -> Option<&CommandError> {
        if !command.is_write() {
            return None;
        }
        let grows = self.growth && command.may_grow();
        self.writes.as_ref().or(grows.then_some(&OUT_OF_MEMORY))
    }

    pub(super) fn of_transaction(&self, transaction: &Transaction) -> Option<&CommandError> {
        transaction.steps.iter().find_map(|step| match step {
            Step::Command { command, .. } => self.of(*command),
            Step::Answered(_) => None,
        })
    }
}
