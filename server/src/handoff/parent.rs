//! The part of the group that owns the parent prefix: it sees to it that a change of hands that its
//! log has decided takes place, and notes that it has.
//!
//! The destination is asked whether it serves, and until it does, the source is told to leave until
//! it says so; everything between is their business. Whoever leads the parent's owner next begins
//! again from what its log says.

use bailiwick_replication::GroupId;

use super::step::{Answer, End, Order, Step, code, failed};
use crate::authority::{Delegated, Moving};
use crate::routing::errand::Reply;
use crate::state::State;

/// One look after a delegation that changes hands. It ends with [`End::Later`] while the
/// destination does not serve yet.
#[derive(Debug)]
pub struct Parent {
    own: GroupId,
    prefix: Vec<u8>,
    /// The source has said that it leaves.
    leaves: bool,
    stage: Stage,
}

/// What was asked last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Nothing.
    Look,
    /// The destination, at which epoch it serves.
    Owns,
    /// The source, to leave.
    Leave,
    /// The own log, to note it.
    Settle,
}

impl Parent {
    /// Of a prefix that this group has delegated. Where the source has said that it `leaves`, it
    /// need not be told again.
    #[must_use]
    pub fn new(own: GroupId, prefix: &[u8], leaves: bool) -> Self {
        Self {
            own,
            prefix: prefix.to_vec(),
            leaves,
            stage: Stage::Look,
        }
    }

    /// Whether the source has said that it leaves.
    #[must_use]
    pub fn source_leaves(&self) -> bool {
        self.leaves
    }

    /// What to do after this answer to what was asked last.
    pub fn next(&mut self, state: &State, answer: Option<Answer>) -> Step {
        let Some((group, moving)) = self.moving(state) else {
            return Step::End(End::Done);
        };
        match (self.stage, answer) {
            // First of all, because a source may not remember what it has handed over.
            (Stage::Look, _) => {
                self.stage = Stage::Owns;
                Order::new("_OWNS", &self.prefix).ask(moving.to)
            }
            (_, None) => Step::End(End::Later),
            (Stage::Owns, Some(Ok(Reply::Integer(epoch)))) => {
                if u64::try_from(epoch).is_ok_and(|epoch| epoch >= moving.epoch) {
                    self.stage = Stage::Settle;
                    let order = Order::new("_SETTLE", &self.prefix);
                    order.number(moving.epoch).group(moving.to).ask(self.own)
                } else if self.leaves {
                    Step::End(End::Later)
                } else {
                    self.stage = Stage::Leave;
                    let order = Order::new("_LEAVE", &self.prefix);
                    order.number(moving.epoch).group(moving.to).ask(group)
                }
            }
            (Stage::Leave, Some(Ok(_))) => {
                self.leaves = true;
                Step::End(End::Later)
            }
            (Stage::Settle, Some(Ok(_))) => Step::End(End::Done),
            // The source has let go meanwhile; or it is this group, and has not yet.
            (Stage::Leave, Some(answer)) if code(&answer) == "STRAY" => Step::End(End::Later),
            (Stage::Settle, Some(answer)) if code(&answer) == "PHASE" => Step::End(End::Later),
            (_, Some(answer)) => failed(&answer),
        }
    }

    fn moving(&self, state: &State) -> Option<(GroupId, Moving)> {
        let delegated: Delegated = state.authority.domain(&self.prefix)?.delegated?;
        Some((delegated.group, delegated.moving?))
    }
}
