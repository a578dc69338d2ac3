//! Who is told what the entries of a group's log did to keys, and what their scripts published.
//!
//! Touches are collected only while the observer wants them, and handed over by the thread that
//! applied the entries, in their order, after the state was let go and before anybody is answered.
//! So whoever hears of a write after it was acknowledged hears of it late because he is slow, not
//! because of us.

use bailiwick_replication::GroupId;

use super::Shared;
use super::clock::boot_ns;
use crate::commands::touch::Touch;
use crate::commands::{Called, Counters, Published, Wants};

/// Is told what happened to keys.
pub trait Observer: Send + Sync {
    /// Which node this is, in which life; the first word counts.
    fn set_life(&self, node: u32, incarnation: u64);
    /// Whether touches are to be collected. Asked for each batch of entries, so it must be cheap.
    fn wants_touches(&self) -> bool;
    /// Whether the requests that scripts make are to be noted. Cheap, too.
    fn shows_calls(&self) -> bool;
    /// Scripts of this group, run on this node, called this. Comes before what was done to keys.
    /// Must not wait.
    fn called(&self, group: GroupId, called: &Called);
    /// Entries of this group were applied, or reads were run, that did this. Must not wait.
    fn touched(&self, group: GroupId, leads: bool, touches: Vec<Touch>);
    /// Scripts of entries of this group, which this node leads, published these. Must not wait.
    fn published(&self, messages: Vec<Published>);
    /// The state of this group was replaced by one that is further; what happened in between is not
    /// known.
    fn replaced(&self, group: GroupId);
}

impl Shared {
    /// Counters that collect what the observer wants.
    pub(super) fn counters(&self) -> Counters {
        let counters = Counters::default();
        if let Some(observer) = self.observer.get() {
            if observer.wants_touches() {
                counters.touches.switch_on();
            }
            counters.calls.prepare(Wants {
                clock: boot_ns,
                shows: observer.shows_calls(),
                serves_others: self.standing.leads(),
            });
        }
        counters
    }

    /// Hands over what scripts called, if that was not done before. What they have read has to be
    /// known before others can write and tell of it: whoever does not apply the log himself calls
    /// this before he lets go of the state.
    pub(super) fn tell_of_calls(&self, group: GroupId, counters: &Counters) {
        if let Some(called) = counters.calls.take()
            && let Some(observer) = self.observer.get()
        {
            observer.called(group, &called);
        }
    }

    /// Hands over what was collected.
    pub(super) fn tell(&self, group: GroupId, counters: &Counters) {
        self.tell_of_calls(group, counters);
        if counters.touches.is_on()
            && let Some(observer) = self.observer.get()
            && !counters.touches.is_empty()
        {
            observer.touched(group, self.standing.leads(), counters.touches.take());
        }
        let published = counters.published.take();
        if !published.is_empty()
            && self.standing.leads()
            && let Some(observer) = self.observer.get()
        {
            observer.published(published);
        }
    }
}
