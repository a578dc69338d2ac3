//! Catching up: fetching what is decided from another node, outside of consensus.
//!
//! Decided entries never change, so they may be taken from anybody, in any configuration, as long
//! as what this log has accepted behind them is kept. Each step is asked for by itself: that
//! bounds memory on both sides and slows down a fetcher that cannot keep up, not its source.

use bytes::Bytes;

use super::engine::Engine;
use super::message::Message;
use super::planted::{self, Planted};
use super::{RETRY_TICKS, Replica};
use crate::link::Class;
use crate::{LogIndex, NodeId};

/// Bytes of entries in one step; in tests few, so that there are many steps.
const STEP_BYTES: usize = if cfg!(test) { 720 } else { 1 << 20 };

/// Entries that wait for the disk, in bytes, beyond which no more are taken.
const MAX_UNWRITTEN_BYTES: usize = 256 << 20;

/// A fetch under way.
#[derive(Debug)]
pub(crate) struct CatchUp {
    /// From whom.
    pub(crate) source: NodeId,
    /// The tick at which it was asked last.
    asked_at: u64,
    /// The tick at which it answered last, or was chosen.
    answered_at: u64,
    /// Behind which entry it was asked last; `None` once that is answered.
    asked: Option<LogIndex>,
    /// The source's log does not reach back; it has this checkpoint.
    checkpoint: Option<LogIndex>,
    /// What the source had decided when it answered last.
    decided: Option<LogIndex>,
}

impl CatchUp {
    /// Whether it is time to ask somebody else.
    fn is_silent(&self, ticks: u64) -> bool {
        self.checkpoint.is_none() && ticks >= self.answered_at + RETRY_TICKS
    }

    /// Whether the source may have what this log lacks. One whose disk was emptied answers, too.
    fn may_help(&self, here: LogIndex) -> bool {
        self.checkpoint.is_some() || self.decided.is_none_or(|there| there > here)
    }
}

impl Replica {
    /// Up to where the log is decided that entries are fetched from, as last heard; `None` unless
    /// entries are being fetched and there was an answer.
    #[must_use]
    pub fn fetching(&self) -> Option<LogIndex> {
        let catch_up = self.catch_up.as_ref()?;
        catch_up.decided.filter(|_| catch_up.checkpoint.is_none())
    }

    /// The checkpoint that has to be fetched, and from whom, before entries can be.
    pub fn wanted_checkpoint(&self) -> Option<(NodeId, LogIndex)> {
        let catch_up = self.catch_up.as_ref()?;
        Some((catch_up.source, catch_up.checkpoint?))
    }

    /// The checkpoint is here, on disk, and the state machine stands at it.
    pub fn install_checkpoint(&mut self, index: LogIndex) {
        if index.0 > self.log.lock().decided() {
            // An instance knows the log it was built on; it must not change under it.
            let is_running = !self.is_idle();
            self.stop_engine();
            self.log.lock().install_checkpoint(index.0);
            if is_running {
                self.start_engine();
            }
        }
        self.applied = self.applied.max(index.0);
        if let Some(catch_up) = &mut self.catch_up {
            catch_up.checkpoint = None;
            catch_up.answered_at = self.ticks;
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
        let (ticks, here) = (self.ticks, LogIndex(self.log.lock().decided()));
        let is_busy = |catch_up: &CatchUp| !catch_up.is_silent(ticks) && catch_up.may_help(here);
        if self.catch_up.as_ref().is_some_and(is_busy) || matches!(self.engine, Engine::Solo) {
            return;
        }
        self.stop_engine();
        self.catch_up = Some(CatchUp {
            source,
            asked_at: ticks,
            answered_at: ticks,
            asked: None,
            checkpoint: None,
            decided: None,
        });
        self.fetch();
    }

    fn fetch(&mut self) {
        let ticks = self.ticks;
        let Some(catch_up) = &mut self.catch_up else {
            return;
        };
        catch_up.asked_at = ticks;
        let source = catch_up.source;
        // Until the disk takes what is here already, there is no room for more.
        if self.is_overfull() {
            return;
        }
        let Some(catch_up) = &mut self.catch_up else {
            return;
        };
        let behind = LogIndex(self.log.lock().decided());
        catch_up.asked = Some(behind);
        self.push(source, Class::Bulk, &Message::Fetch { behind });
    }

    /// Whether the disk is so far behind that memory must not take more.
    pub(super) fn is_overfull(&self) -> bool {
        let log = self.log.lock();
        self.is_writing && log.is_heavy(log.durable(), log.end(), MAX_UNWRITTEN_BYTES)
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
            self.log.lock().read_step(behind.0..decided.0, STEP_BYTES)
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
        let Some(catch_up) = self.catch_up.as_mut().filter(|it| it.source == from) else {
            return;
        };
        catch_up.answered_at = self.ticks;
        catch_up.decided = Some(decided);
        // A repeated question has two answers; the second must not begin a chain of its own.
        if catch_up.asked != Some(behind) {
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
            catch_up.answered_at = ticks;
            catch_up.checkpoint = (index.0 > decided).then_some(index);
            if planted::is_on(Planted::StartedWithoutCheckpoint) && index.0 > decided {
                self.start_without(index);
            }
        }
    }

    /// Asks again after a silence, in turn of all members; a node that is no member polls.
    pub(super) fn tick_catch_up(&mut self) {
        let ticks = self.ticks;
        let others = self.others();
        let Some(catch_up) = &mut self.catch_up else {
            return;
        };
        if catch_up.checkpoint.is_some() || ticks < catch_up.asked_at + RETRY_TICKS / 2 {
            return;
        }
        if catch_up.is_silent(ticks) {
            let next = others.iter().find(|node| **node > catch_up.source);
            if let Some(next) = next.or(others.first()) {
                catch_up.source = *next;
                catch_up.answered_at = ticks;
            }
        }
        self.fetch();
    }

    /// A planted bug: takes note of a checkpoint that it has not.
    fn start_without(&mut self, checkpoint: LogIndex) {
        self.log.lock().install_checkpoint(checkpoint.0);
        if self.is_member() {
            self.catch_up = None;
            self.start_engine();
        }
    }
}
