//! What is known of one node, and whether it seems to be there.

use bailiwick_replication::NodeId;

use super::facts::NodeFacts;
use super::message::{Life, Summary};
use super::suspicion::Suspicion;

/// How suspicious silence must be for a node not to count as alive: about this many times the usual
/// time between two heartbeats.
pub const SUSPICION_MAX: f64 = 8.0;
/// From which suspicion on a node counts as dead.
const DEAD_SUSPICION: f64 = 4.0 * SUSPICION_MAX;

/// Whether a node seems to be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Liveness {
    /// Its heartbeats come.
    Alive,
    /// They have stayed away for unusually long, or none has come yet since others told of it.
    Suspect,
    /// They have stayed away for so long that nobody should count on it.
    Dead,
}

#[derive(Debug)]
pub(super) struct Known {
    pub(super) life: Life,
    /// Counts the changes of the facts in this life.
    pub(super) version: u64,
    pub(super) facts: NodeFacts,
    pub(super) silence: Suspicion,
    /// As it was judged last, and since when.
    pub(super) liveness: (Liveness, u64),
}

impl Known {
    /// Which of two states of a node is the newer.
    pub(super) fn edition(&self) -> (u64, u64) {
        (self.life.incarnation, self.version)
    }

    pub(super) fn summary(&self, node: NodeId) -> Summary {
        Summary {
            node,
            life: self.life,
            version: self.version,
        }
    }

    pub(super) fn beat(&mut self, life: Life, now_ns: u64) {
        if life > self.life {
            self.life = life;
            self.silence.heard(now_ns);
        }
    }

    /// Whether it counts as something else from now on.
    pub(super) fn judge(&mut self, now_ns: u64) -> bool {
        let liveness = match self.silence.level(now_ns) {
            level if level > DEAD_SUSPICION => Liveness::Dead,
            level if level > SUSPICION_MAX || !self.silence.has_beaten() => Liveness::Suspect,
            _ => Liveness::Alive,
        };
        let is_new = liveness != self.liveness.0;
        if is_new {
            self.liveness = (liveness, now_ns);
        }
        is_new
    }
}
