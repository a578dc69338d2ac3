//! The part of the group that serves a prefix and is to hand it over: it copies the keys to the
//! destination while it goes on serving, and stops serving only for the rest.
//!
//! ```text
//!            own log                      destination's log
//!   mark     _LEAVE (again)
//!   copy                                  _ARRIVE, _IMPORT ...      clients are served here
//!   freeze   _FREEZE
//!   rest                                  _IMPORT ...               clients are held
//!   commit                                _COMMIT                   clients are served there
//!   depart   _DEPART
//! ```
//!
//! **Attempts.** One [`Source`] is one attempt, and has a number that no other attempt has: the
//! index at which the group's log was when it began, behind an entry of its own, with the node's
//! id. What a dead predecessor has on the way can therefore never be taken for a part of a later
//! attempt, and later leaders have higher numbers.
//!
//! **Why nothing is lost, and nobody else serves.** What is frozen is thawed only after the
//! destination has logged that it will not commit the attempt for which it was frozen; and the
//! destination commits only if what it has adds up to what the source has sent. Whoever leads next
//! finds the prefix leaving (and begins anew) or frozen (and asks the destination to abort; if that
//! has committed already, the prefix has departed).
//!
//! **What ends an attempt**: anything unexpected. The destination is asked to abort, the prefix is
//! thawed, and another attempt follows later. While neither group can be asked the prefix stays as
//! it is, and clients are held: that is the price of there never being two servers.
//!
//! Not here: threads, waiting, the choice of what to move (`super`).

use bailiwick_replication::{GroupId, NodeId};

use super::copy::{CHUNK_BYTES, Copying, Piece};
use super::step::{Answer, End, Order, Step, code, failed};
use crate::authority::Phase;
use crate::group::planted::{self, Planted};
use crate::state::State;

/// The code of a refusal to abort what has been committed.
const COMMITTED: &str = "COMMITTED";

/// Chunks that are on their way at once, so that a destination far away is kept busy.
const MAX_OPEN: usize = 4;

/// Low bits of an attempt's number that tell nodes apart.
const NODE_BITS: u32 = 20;

/// One attempt to hand over a prefix.
pub struct Source {
    own: GroupId,
    node: NodeId,
    prefix: Vec<u8>,
    chunk_bytes: usize,
    /// To which group and epoch; set at the first look.
    target: Option<Target>,
    attempt: u64,
    stage: Stage,
    copy: Option<Copying>,
    chunk: u64,
    /// Chunks without an answer.
    open: usize,
    /// All that can be sent at this stage has been.
    is_drained: bool,
    /// Why the attempt is being given up.
    reason: String,
}

/// Where a prefix is to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Target {
    to: GroupId,
    epoch: u64,
}

/// How far an attempt is: what was asked last, or is to be done next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Nothing has happened.
    Looking,
    /// An entry of its own in the group's log was asked for.
    Marking,
    /// The destination was asked to make room.
    Arriving,
    /// Keys are sent while clients are served.
    Copying,
    /// The own log was asked to freeze the prefix.
    Freezing,
    /// The rest of the keys is sent while clients are held.
    Finishing,
    /// The destination was asked to serve.
    Committing,
    /// The own log was asked to let go.
    Departing,
    /// The destination was asked to forget an attempt.
    Aborting {
        /// Which one.
        attempt: u64,
    },
    /// The own log was asked to serve on.
    Thawing,
}

impl Stage {
    /// A word for people.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Looking | Self::Marking => "starting",
            Self::Arriving | Self::Copying => "copying",
            Self::Freezing => "freezing",
            Self::Finishing => "finishing",
            Self::Committing => "committing",
            Self::Departing => "departing",
            Self::Aborting { .. } | Self::Thawing => "aborting",
        }
    }
}

impl Source {
    /// An attempt of `node`, which leads the group that serves the prefix.
    #[must_use]
    pub fn new(own: GroupId, node: NodeId, prefix: &[u8]) -> Self {
        Self {
            own,
            node,
            prefix: prefix.to_vec(),
            chunk_bytes: CHUNK_BYTES,
            target: None,
            attempt: 0,
            stage: Stage::Looking,
            copy: None,
            chunk: 0,
            open: 0,
            is_drained: false,
            reason: String::new(),
        }
    }

    /// With chunks of about so many bytes. For simulations, which have few keys and want many
    /// chunks.
    #[must_use]
    pub fn with_chunks_of(mut self, bytes: usize) -> Self {
        self.chunk_bytes = bytes;
        self
    }

    /// How far it is.
    #[must_use]
    pub fn stage(&self) -> Stage {
        self.stage
    }

    /// How many keys were sent and are still there, and all bytes sent.
    #[must_use]
    pub fn sent(&self) -> (u64, u64) {
        self.copy.as_ref().map_or((0, 0), Copying::sent)
    }

    /// Whether it goes on without waiting for an answer.
    #[must_use]
    pub fn sends_ahead(&self) -> bool {
        matches!(self.stage, Stage::Copying | Stage::Finishing)
            && !self.is_drained
            && self.open < MAX_OPEN
    }

    /// What to do after this answer to what was asked last, or none where it sends ahead. The state
    /// is that of the own group on this node, and has everything applied that was answered before.
    pub fn next(&mut self, state: &State, answer: Option<Answer>) -> Step {
        let Some((target, phase)) = leaving(state, &self.prefix) else {
            return Step::End(End::Done);
        };
        if *self.target.get_or_insert(target) != target {
            return Step::End(End::Later);
        }
        match (self.stage, answer) {
            (Stage::Looking, _) => self.look(phase),
            (Stage::Copying, None) if self.sends_ahead() => self.copy(state),
            (Stage::Finishing, None) if self.sends_ahead() => self.finish(state, phase),
            // Nothing is forgotten by an end here: what the log says is found by the next attempt.
            (_, None) => Step::End(End::Later),
            (stage, Some(answer)) => self.go_on(state, stage, phase, &answer),
        }
    }

    fn go_on(&mut self, state: &State, stage: Stage, phase: Phase, answer: &Answer) -> Step {
        match stage {
            Stage::Looking => unreachable!("nothing has been asked yet"),
            Stage::Aborting { attempt } if planted::is_on(Planted::ThawedWithoutAsking) => {
                self.thaw(phase, attempt)
            }
            Stage::Aborting { .. } if code(answer) == COMMITTED => self.depart(),
            Stage::Aborting { attempt } if answer.is_ok() => self.thaw(phase, attempt),
            Stage::Thawing if answer.is_ok() => self.thawed(phase),
            Stage::Departing if answer.is_ok() => Step::End(End::Done),
            Stage::Marking | Stage::Aborting { .. } | Stage::Thawing | Stage::Departing
                if answer.is_err() =>
            {
                failed(answer)
            }
            _ if answer.is_err() => self.abort(stage, answer),
            Stage::Marking => {
                self.attempt = attempt_number(state.applied.0, self.node);
                self.arrive(state)
            }
            Stage::Arriving => {
                self.stage = Stage::Copying;
                self.copy(state)
            }
            Stage::Copying => {
                self.open -= 1;
                self.copy(state)
            }
            Stage::Finishing => {
                self.open -= 1;
                self.finish(state, phase)
            }
            Stage::Freezing => {
                self.stage = Stage::Finishing;
                self.is_drained = false;
                self.finish(state, phase)
            }
            _ => self.depart(),
        }
    }

    /// Begins, or ends what a predecessor began.
    fn look(&mut self, phase: Phase) -> Step {
        if let Phase::Frozen { attempt, .. } = phase {
            return self.ask_abort(attempt);
        }
        // Leaving again changes nothing, but when it is answered this node's state is known to be
        // the latest, and the log has grown since any attempt that began before.
        self.stage = Stage::Marking;
        let target = self.target();
        let order = Order::new("_LEAVE", &self.prefix);
        order.number(target.epoch).group(target.to).ask(self.own)
    }

    fn arrive(&mut self, state: &State) -> Step {
        self.copy = Some(Copying::new(&self.prefix, state, self.chunk_bytes));
        self.stage = Stage::Arriving;
        let order = Order::new("_ARRIVE", &self.prefix).number(self.target().epoch);
        order
            .group(self.own)
            .number(self.attempt)
            .ask(self.target().to)
    }

    fn copy(&mut self, state: &State) -> Step {
        if self.is_drained && self.open > 0 {
            return Step::Await;
        }
        self.is_drained = false;
        let copy = self
            .copy
            .as_mut()
            .expect("it was made before the first chunk");
        match copy.next_piece(state) {
            Piece::Chunk(payload) => self.import(payload),
            Piece::Settled if self.open > 0 => {
                self.is_drained = true;
                Step::Await
            }
            Piece::Settled => {
                self.stage = Stage::Freezing;
                let order = Order::new("_FREEZE", &self.prefix);
                let order = order.number(self.target().epoch).number(self.attempt);
                order.ask(self.own)
            }
            Piece::Lost(why) => self.give_up(why),
        }
    }

    /// Sends what was written before the freeze; then there is nothing more.
    fn finish(&mut self, state: &State, phase: Phase) -> Step {
        let attempt = self.attempt;
        if !matches!(phase, Phase::Frozen { attempt: frozen, .. } if frozen == attempt) {
            return self.give_up("another attempt has frozen it");
        }
        if self.is_drained {
            return if self.open > 0 {
                Step::Await
            } else {
                self.commit(state)
            };
        }
        let copy = self.copy.as_mut().expect("it was made before the freeze");
        match copy.last_piece(state) {
            Piece::Chunk(payload) => self.import(payload),
            Piece::Lost(why) => self.give_up(why),
            Piece::Settled => {
                self.is_drained = true;
                self.finish(state, phase)
            }
        }
    }

    fn commit(&mut self, state: &State) -> Step {
        let copy = self.copy.as_ref().expect("it was made before the freeze");
        let (count, digest) = copy.total();
        let present = state.keyspace.realm_len(&self.prefix) as u64;
        if count != present {
            let why = format!("{count} keys were copied, but {present} are there");
            return self.give_up(&why);
        }
        self.stage = Stage::Committing;
        let delegations = state.authority.delegations_of(&self.prefix).encode();
        let order = Order::new("_COMMIT", &self.prefix);
        let order = order.number(self.target().epoch).number(self.attempt);
        let order = order.number(count).number(digest).bytes(delegations);
        // What is frozen gets no more tokens. Who knows none must not be told of any: nodes of an
        // earlier version take no such argument.
        let order = match state.keyspace.fence() {
            0 => order,
            fence => order.number(fence),
        };
        order.ask(self.target().to)
    }

    fn import(&mut self, payload: Vec<u8>) -> Step {
        let chunk = self.chunk;
        self.chunk += 1;
        self.open += 1;
        let order = Order::new("_IMPORT", &self.prefix).number(self.target().epoch);
        let order = order.number(self.attempt).number(chunk).bytes(payload);
        order.send(self.target().to)
    }

    fn depart(&mut self) -> Step {
        self.stage = Stage::Departing;
        let target = self.target();
        let order = Order::new("_DEPART", &self.prefix);
        order.number(target.epoch).group(target.to).ask(self.own)
    }

    /// Gives the attempt up because of this answer.
    fn abort(&mut self, stage: Stage, answer: &Answer) -> Step {
        let Step::End(End::Failed(reason)) = failed(answer) else {
            unreachable!("a failure has a reason");
        };
        self.give_up(&format!("{}: {reason}", stage.name()))
    }

    fn give_up(&mut self, why: &str) -> Step {
        why.clone_into(&mut self.reason);
        self.ask_abort(self.attempt)
    }

    fn ask_abort(&mut self, attempt: u64) -> Step {
        self.stage = Stage::Aborting { attempt };
        let target = self.target();
        let order = Order::new("_ABORT", &self.prefix);
        order.number(target.epoch).number(attempt).ask(target.to)
    }

    /// The destination will not commit this attempt.
    fn thaw(&mut self, phase: Phase, attempt: u64) -> Step {
        match phase {
            Phase::Frozen {
                attempt: frozen, ..
            } if frozen == attempt => {
                self.stage = Stage::Thawing;
                let order = Order::new("_THAW", &self.prefix).number(self.target().epoch);
                order.number(attempt).ask(self.own)
            }
            _ => self.thawed(phase),
        }
    }

    /// Begins with an attempt of its own after a predecessor's, or ends.
    fn thawed(&mut self, phase: Phase) -> Step {
        if self.reason.is_empty() {
            self.look(phase)
        } else {
            Step::End(End::Failed(std::mem::take(&mut self.reason)))
        }
    }

    fn target(&self) -> Target {
        self.target.expect("it is set at the first look")
    }
}

/// Where the prefix is to go, and how far it is; `None` if it is not to go.
fn leaving(state: &State, prefix: &[u8]) -> Option<(Target, Phase)> {
    let owned = state.authority.domain(prefix)?.owned?;
    match owned.phase {
        Phase::Serving => None,
        Phase::Leaving { to } | Phase::Frozen { to, .. } => {
            let epoch = owned.epoch + 1;
            Some((Target { to, epoch }, owned.phase))
        }
    }
}

/// Unique: a node begins each attempt behind a new entry of the log.
fn attempt_number(applied: u64, node: NodeId) -> u64 {
    applied << NODE_BITS | node.0 & ((1 << NODE_BITS) - 1)
}
