//! How a connection whose request waits for keys learns that it waits no longer.
//!
//! Each such request hangs up a [`Bell`] under its number, before it is submitted. The thread that
//! applies a group's log rings the bells of those it concerns, **before it lets go of the state**:
//! so whoever looks at the state and does not find his waiter there has been told why. Requests of
//! other groups' clients are rung for by the proxy, when the group's leader says that a reply is to
//! be fetched; such a call may be lost, and the connection asks by itself from time to time.
//!
//! Not here: who is served (`state::waiters`), time-outs, and what a connection makes of a call.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use bailiwick_replication::GroupId;
use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::state::{WaiterId, Woken};

/// What a bell was rung for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Call {
    /// The reply.
    Done(Bytes),
    /// The request is to be made anew.
    Again,
    /// There may be a reply to be fetched.
    Look,
    /// Whether it was served cannot be learnt: this node went past that entry of the log.
    Lost,
}

/// All bells of a node.
#[derive(Default)]
pub struct Bells {
    life: OnceLock<(u32, u64)>,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    last: u64,
    hung: BTreeMap<u64, Arc<Slot>>,
}

#[derive(Default)]
struct Slot {
    state: Mutex<SlotState>,
    rung: Notify,
}

#[derive(Default)]
struct SlotState {
    call: Option<Call>,
    /// The group of this node in whose state it waits, if the reply comes from there.
    group: Option<GroupId>,
}

/// The bell of one request; taken down when it is dropped.
pub struct Bell {
    bells: Arc<Bells>,
    id: WaiterId,
    slot: Arc<Slot>,
}

impl Bells {
    /// Which node this is, in which life; the first word counts. Before it nobody can wait.
    pub fn set_life(&self, node: u32, incarnation: u64) {
        let _ = self.life.set((node, incarnation));
    }

    /// A bell for a new request of this author, or of nobody; `None` before the node knows who it
    /// is.
    #[must_use]
    pub fn hang(self: &Arc<Self>, author: u64) -> Option<Bell> {
        let &(node, incarnation) = self.life.get()?;
        let mut inner = self.inner.lock();
        inner.last += 1;
        let number = WaiterId::number_of(author, inner.last);
        let slot = Arc::<Slot>::default();
        inner.hung.insert(number, slot.clone());
        drop(inner);
        Some(Bell {
            bells: self.clone(),
            id: WaiterId {
                node,
                incarnation,
                number,
            },
            slot,
        })
    }

    /// Rings for a waiter, if it is one of this node's life and its bell still hangs.
    pub fn ring(&self, id: WaiterId, call: Call) {
        if self.life.get() != Some(&(id.node, id.incarnation)) {
            return;
        }
        let slot = self.inner.lock().hung.get(&id.number).cloned();
        if let Some(slot) = slot {
            slot.ring(call);
        }
    }

    /// The state of a group was replaced as a whole: whoever waited in it and does not any more
    /// cannot learn why.
    pub fn note_replaced(&self, group: GroupId, waits: impl Fn(WaiterId) -> bool) {
        let Some(&(node, incarnation)) = self.life.get() else {
            return;
        };
        let hung = self.inner.lock().hung.clone();
        for (number, slot) in hung {
            let id = WaiterId {
                node,
                incarnation,
                number,
            };
            if slot.state.lock().group == Some(group) && !waits(id) {
                slot.ring(Call::Lost);
            }
        }
    }
}

impl Slot {
    fn ring(&self, call: Call) {
        let mut state = self.state.lock();
        // A reply comes once, and nothing that comes after it matters.
        if !matches!(state.call, Some(Call::Done(_))) {
            state.call = Some(call);
        }
        drop(state);
        self.rung.notify_one();
    }
}

impl Bell {
    /// The waiter's name.
    #[must_use]
    pub fn id(&self) -> WaiterId {
        self.id
    }

    /// Says in which group of this node the request waits; `None` if its reply has to be fetched.
    pub fn waits_in(&self, group: Option<GroupId>) {
        self.slot.state.lock().group = group;
    }

    /// The group of this node in whose state the request waits, if the reply comes from there.
    #[must_use]
    pub fn group(&self) -> Option<GroupId> {
        self.slot.state.lock().group
    }

    /// Rings it unless it was rung.
    pub fn ring_if_silent(&self, call: Call) {
        if self.slot.state.lock().call.is_none() {
            self.slot.ring(call);
        }
    }

    /// What it was rung for last, if nobody has heard that yet.
    #[must_use]
    pub fn take(&self) -> Option<Call> {
        self.slot.state.lock().call.take()
    }

    /// Waits until it is rung.
    pub async fn rung(&self) -> Call {
        loop {
            if let Some(call) = self.take() {
                return call;
            }
            self.slot.rung.notified().await;
        }
    }
}

impl Drop for Bell {
    fn drop(&mut self) {
        self.bells.inner.lock().hung.remove(&self.id.number);
    }
}

impl From<Woken> for Call {
    fn from(woken: Woken) -> Self {
        match woken {
            Woken::Done(reply) => Self::Done(reply),
            Woken::Again => Self::Again,
            Woken::Look => Self::Look,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bell_is_rung_for_its_own_request_in_its_own_life() {
        let bells = Arc::<Bells>::default();
        assert!(bells.hang(0).is_none());
        bells.set_life(3, 9);
        let bell = bells.hang(0).expect("it knows who it is");
        let other = bells.hang(0).expect("it knows who it is");
        let id = bell.id();
        bells.ring(
            WaiterId {
                incarnation: 8,
                ..id
            },
            Call::Again,
        );
        bells.ring(WaiterId { node: 4, ..id }, Call::Again);
        assert_eq!(bell.take(), None);
        bells.ring(id, Call::Done(Bytes::from_static(b"x")));
        bells.ring(id, Call::Look);
        assert_eq!(bell.take(), Some(Call::Done(Bytes::from_static(b"x"))));
        assert_eq!(other.take(), None);
        drop(bell);
        bells.ring(id, Call::Again);
    }

    #[test]
    fn who_has_vanished_from_a_replaced_state_is_told() {
        let bells = Arc::<Bells>::default();
        bells.set_life(3, 9);
        let (gone, there, elsewhere) = (bells.hang(0), bells.hang(0), bells.hang(0));
        let bells_of = [&gone, &there, &elsewhere].map(|bell| bell.as_ref().expect("hung"));
        let [gone, there, elsewhere] = bells_of;
        gone.waits_in(Some(GroupId(1)));
        there.waits_in(Some(GroupId(1)));
        elsewhere.waits_in(Some(GroupId(2)));
        bells.note_replaced(GroupId(1), |id| id == there.id());
        assert_eq!(gone.take(), Some(Call::Lost));
        assert_eq!(there.take(), None);
        assert_eq!(elsewhere.take(), None);
    }
}
