//! Catching up: fetching what is decided from another node, outside of consensus.
//!
//! Decided entries never change, so they may be taken from anybody, in any configuration, as long
//! as what this log has accepted behind them is kept. Each step is asked for by itself: that
//! bounds memory on both sides and slows down a fetcher that cannot keep up, not its source.

use bytes::Bytes;

use super::message::Message;
use super::{Engine, RETRY_TICKS, Replica};
use crate::link::Class;
use crate::{LogIndex, NodeId};

/// Bytes of entries in one step.
const STEP_BYTES: usize = 1 << 20;

/// A fetch under way.
#[derive(Debug)]
pub(crate) struct CatchUp {
    /// From whom.
    pub(crate) source: NodeId,
    /// The tick at which something was asked for or came last.
    active_at: u64,
    /// The source's log does not reach back; it has this checkpoint.
    checkpoint: Option<LogIndex>,
}

impl Replica {
    /// The checkpoint that has to be fetched, and from whom, before entries can be.
    pub fn wanted_checkpoint(&self) -> Option<(NodeId, LogIndex)> {
        let catch_up = self.catch_up.as_ref()?;
        Some((catch_up.source, catch_up.checkpoint?))
    }

    /// The checkpoint is here, on disk, and the state machine stands at it.
    pub fn install_checkpoint(&mut self, index: LogIndex) {
        if index.0 > self.log.lock().decided() {
            self.log.lock().install_checkpoint(index.0);
        }
        self.applied = self.applied.max(index.0);
        if let Some(catch_up) = &mut self.catch_up {
            catch_up.checkpoint = None;
        }
        self.fetch();
    }

    /// The checkpoint could not be had; the source is asked anew.
    pub fn checkpoint_failed(&mut self) {
        if let Some(catch_up) = &mut self.catch_up {
            catch_up.checkpoint = None;
        }
        self.fetch();
    }

    /// Asks a node that is no member to begin to fetch, as it is to become one.
    pub fn invite(&mut self, node: NodeId) {
        self.push(node, Class::Ordered, &Message::Sealed);
    }

    /// Leaves consensus until it has caught up with this node.
    pub(super) fn fall_behind(&mut self, source: NodeId) {
        if self.catch_up.is_some() || matches!(self.engine, Engine::Solo) {
            return;
        }
        self.stop_engine();
        self.catch_up = Some(CatchUp {
            source,
            active_at: self.ticks,
            checkpoint: None,
        });
        self.fetch();
    }

    fn fetch(&mut self) {
        let Some(catch_up) = &mut self.catch_up else {
            return;
        };
        catch_up.active_at = self.ticks;
        let source = catch_up.source;
        let behind = LogIndex(self.log.lock().decided());
        self.push(source, Class::Bulk, &Message::Fetch { behind });
    }

    /// Another node fetches from us.
    pub(super) fn serve(&mut self, to: NodeId, behind: LogIndex) {
        let (decided, trimmed) = {
            let log = self.log.lock();
            (LogIndex(log.decided()), log.trimmed())
        };
        if behind.0 < trimmed {
            let index = self.status.checkpoint.max(LogIndex(trimmed));
            self.push(to, Class::Bulk, &Message::CheckpointNeeded { index });
            return;
        }
        let entries = if behind < decided {
            self.log.lock().read_step(behind.0, decided.0, STEP_BYTES)
        } else {
            Vec::new()
        };
        let message = Message::Entries {
            behind,
            decided,
            entries,
        };
        self.push(to, Class::Bulk, &message);
    }

    pub(super) fn take_entries(
        &mut self,
        from: NodeId,
        behind: LogIndex,
        decided: LogIndex,
        entries: Vec<Bytes>,
    ) {
        let is_expected = |catch_up: &CatchUp| catch_up.source == from;
        if !self.catch_up.as_ref().is_some_and(is_expected) {
            return;
        }
        if !entries.is_empty() {
            self.log.lock().install_decided(behind.0, entries);
        }
        if self.log.lock().decided() < decided.0 {
            return self.fetch();
        }
        if self.is_member() {
            self.catch_up = None;
            self.start_engine();
        }
    }

    pub(super) fn note_checkpoint(&mut self, from: NodeId, index: LogIndex) {
        let decided = self.log.lock().decided();
        let ticks = self.ticks;
        let catch_up = self.catch_up.as_mut();
        if let Some(catch_up) = catch_up.filter(|catch_up| catch_up.source == from) {
            catch_up.active_at = ticks;
            catch_up.checkpoint = (index.0 > decided).then_some(index);
        }
    }

    /// Asks again after a silence, in turn of all members; a node that is no member polls.
    pub(super) fn tick_catch_up(&mut self) {
        let ticks = self.ticks;
        let others = self.others();
        let Some(catch_up) = &mut self.catch_up else {
            return;
        };
        if catch_up.checkpoint.is_some() || ticks < catch_up.active_at + RETRY_TICKS / 2 {
            return;
        }
        if ticks >= catch_up.active_at + RETRY_TICKS {
            let next = others.iter().find(|node| **node > catch_up.source);
            if let Some(next) = next.or(others.first()) {
                catch_up.source = *next;
            }
        }
        self.fetch();
    }
}
