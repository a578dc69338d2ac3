//! Who waits for keys: the blocked clients of all nodes, as a part of the replicated state.
//!
//! A blocking command that finds nothing registers a [`Waiter`] at its place in the log. A later
//! write that touches one of its keys lets it run again, at the end of the command, transaction or
//! script that wrote (`serve`). So who is served what is decided by the log alone: replicas agree,
//! a leader's crash changes nothing, and no element goes to two clients.
//!
//! **Order.** Those who wait for a key stand in the order of their [`Place`]: the log time of their
//! arrival, and within that the order of the log. Who comes back from another group, because the
//! prefix of its keys has changed hands, brings the time of its first arrival along.
//!
//! **What becomes of the reply.** The node that has the client applies the log too, as a rule: then
//! it takes the reply at the moment of serving, from [`Waiters::take_woken`], and the state keeps
//! nothing. For a client of a node that is no member the waiter is *kept*: its reply stays in the
//! state until that node fetches it, even if the key is served elsewhere by then.
//!
//! **Numbers.** A client's node names its waiters by its own number, its life, and a count; so a
//! request that is repeated registers once, and a later life of the node ends the waiters of those
//! before.
//!
//! Time-outs are not here: the client's node gives a waiter up when its time has come, by a command
//! in the log.

mod codec;
mod waiter;

use std::collections::BTreeMap;
use std::ops::Bound;

use bailiwick_frame::{Args, Protocol};
use bytes::Bytes;

use crate::group::planted::{self, Planted};
use crate::keyspace::Awaited;
use waiter::Request;
pub use waiter::{Awaits, Kind, Place, Waiter, WaiterId, Woken};

/// Who waits for one key, in order.
type Queue = BTreeMap<Place, WaiterId>;

/// All waiters of a group.
///
/// Invariants: `queues` has each key of each member of `waiting` at its place, and nothing else; no
/// queue is empty; nobody is in both `waiting` and `served`; places differ, and their ordinals are
/// below `next_ordinal`. `woken` is empty between entries of whoever takes it.
#[derive(Debug, Default)]
pub struct Waiters {
    waiting: BTreeMap<WaiterId, Waiter>,
    queues: BTreeMap<(usize, Box<[u8]>), Queue>,
    /// Replies to be fetched.
    served: BTreeMap<WaiterId, Bytes>,
    next_ordinal: u64,
    /// How many of `waiting` have a look at absent keys.
    or_absent: usize,
    /// No part of the state.
    woken: Vec<(WaiterId, Woken)>,
}

impl Waiters {
    /// Whether nobody waits, and nobody has to fetch anything.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.served.is_empty()
    }

    /// How many wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Somebody who waits.
    #[must_use]
    pub fn get(&self, id: WaiterId) -> Option<&Waiter> {
        self.waiting.get(&id)
    }

    /// Whether somebody has a look at keys that hold nothing.
    #[must_use]
    pub fn any_or_absent(&self) -> bool {
        self.or_absent > 0
    }

    /// Registers a waiter that is not there yet, with the time of its first arrival. `request` is
    /// what it runs when it is woken, unless `awaits` has another one.
    pub fn register(
        &mut self,
        id: WaiterId,
        (database, protocol): (usize, Protocol),
        (arrival_ms, kept): (i64, bool),
        (awaits, request): (Awaits, Args<'_>),
        awaited: &mut Awaited,
    ) {
        let mut place = Place {
            arrival_ms,
            ordinal: self.next_ordinal,
        };
        if planted::is_on(Planted::LastServedFirst) {
            place.arrival_ms = -arrival_ms;
        }
        self.next_ordinal += 1;
        let mut keys: Vec<Box<[u8]>> = Vec::with_capacity(awaits.keys.len());
        for key in awaits.keys {
            if !keys.contains(&key) {
                keys.push(key);
            }
        }
        let request = match &awaits.request {
            Some(request) => Request::of(request.iter().map(Vec::as_slice)),
            None => Request::of(request.iter()),
        };
        let waiter = Waiter {
            database,
            protocol,
            place,
            kind: awaits.kind,
            or_absent: awaits.or_absent,
            kept,
            keys,
            request,
        };
        self.insert(id, waiter, awaited);
    }

    /// Whoever waits for a key next behind a place; the first one without a place.
    #[must_use]
    pub fn next(
        &self,
        database: usize,
        key: &[u8],
        after: Option<Place>,
    ) -> Option<(Place, WaiterId)> {
        let queue = self.queues.get(&(database, key.into()))?;
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let next = queue.range((from, Bound::Unbounded)).next();
        next.map(|(place, id)| (*place, *id))
    }

    /// Those who wait, by their names.
    pub fn ids(&self) -> impl Iterator<Item = WaiterId> {
        self.waiting.keys().copied()
    }

    /// Those who have a reply to fetch.
    pub fn served(&self) -> impl Iterator<Item = WaiterId> {
        self.served.keys().copied()
    }

    /// The nodes' lives that have waiters or replies here, each once.
    #[must_use]
    pub fn lives(&self) -> Vec<(u32, u64)> {
        let (mut lives, mut from) = (Vec::new(), None);
        loop {
            let waiting = behind(&self.waiting, from);
            let served = behind(&self.served, from);
            let Some(id) = waiting.into_iter().chain(served).min() else {
                return lives;
            };
            lives.push((id.node, id.incarnation));
            from = Some(WaiterId {
                number: u64::MAX,
                ..id
            });
        }
    }

    /// Ends a waiter that was served. Its reply is kept, or handed to its node at once.
    pub fn finish(&mut self, id: WaiterId, reply: Bytes, awaited: &mut Awaited) {
        if let Some(waiter) = self.remove(id, awaited) {
            let woken = if waiter.kept {
                self.served.insert(id, reply);
                Woken::Look
            } else {
                Woken::Done(reply)
            };
            self.woken.push((id, woken));
        }
    }

    /// Ends a waiter for which this group can do nothing any more.
    pub fn dismiss(&mut self, id: WaiterId, awaited: &mut Awaited) {
        if let Some(waiter) = self.remove(id, awaited) {
            let woken = if waiter.kept {
                Woken::Look
            } else {
                Woken::Again
            };
            self.woken.push((id, woken));
        }
    }

    /// Ends a waiter on its own node's wish; false if it was not waiting.
    pub fn give_up(&mut self, id: WaiterId, awaited: &mut Awaited) -> bool {
        self.remove(id, awaited).is_some()
    }

    /// Whether a reply is kept for it.
    #[must_use]
    pub fn has_served(&self, id: WaiterId) -> bool {
        self.served.contains_key(&id)
    }

    /// Hands out a reply that was kept.
    pub fn fetch(&mut self, id: WaiterId) -> Option<Bytes> {
        self.served.remove(&id)
    }

    /// Ends those who wait on behalf of a node's lives up to this one. If these lives are over,
    /// their replies go, too.
    pub fn forsake(&mut self, node: u32, up_to: u64, is_over: bool, awaited: &mut Awaited) {
        let of = |incarnation, number| WaiterId {
            node,
            incarnation,
            number,
        };
        let lives = of(0, 0)..=of(up_to, u64::MAX);
        let ids: Vec<_> = self
            .waiting
            .range(lives.clone())
            .map(|(id, _)| *id)
            .collect();
        for id in ids {
            self.dismiss(id, awaited);
        }
        if is_over {
            let ids: Vec<_> = self.served.range(lives).map(|(id, _)| *id).collect();
            for id in ids {
                self.served.remove(&id);
            }
        }
    }

    /// Whoever is no member takes no reply at the moment of serving; it is kept from now on.
    pub fn keep_for_all_but(&mut self, is_member: impl Fn(u32) -> bool) {
        for (id, waiter) in &mut self.waiting {
            if !waiter.kept && !is_member(id.node) {
                waiter.kept = true;
                self.woken.push((*id, Woken::Look));
            }
        }
    }

    /// What nodes are to be told, in the order in which it happened.
    #[must_use]
    pub fn take_woken(&mut self) -> Vec<(WaiterId, Woken)> {
        std::mem::take(&mut self.woken)
    }

    /// Lets the keyspace know which keys are awaited, after a state was restored.
    pub(super) fn await_all(&self, awaited: &mut Awaited) {
        for waiter in self.waiting.values() {
            for key in &waiter.keys {
                awaited.add(waiter.database, key, waiter.follows_changes());
            }
        }
    }

    /// Panics if an invariant of the type does not hold. Slow; for tests.
    pub fn check_invariants(&self) {
        let mut places = 0;
        for (id, waiter) in &self.waiting {
            assert!(!self.served.contains_key(id), "{id:?} waits and was served");
            assert!(waiter.place.ordinal < self.next_ordinal, "{waiter:?}");
            for key in &waiter.keys {
                let queue = &self.queues[&(waiter.database, key.clone())];
                assert_eq!(queue.get(&waiter.place), Some(id));
            }
            places += waiter.keys.len();
        }
        let queued = self.queues.values().map(BTreeMap::len);
        assert_eq!(queued.sum::<usize>(), places);
        assert!(self.queues.values().all(|queue| !queue.is_empty()));
        let or_absent = self.waiting.values().filter(|waiter| waiter.or_absent);
        assert_eq!(or_absent.count(), self.or_absent);
    }

    fn insert(&mut self, id: WaiterId, waiter: Waiter, awaited: &mut Awaited) {
        for key in &waiter.keys {
            let queue = self.queues.entry((waiter.database, key.clone()));
            queue.or_default().insert(waiter.place, id);
            awaited.add(waiter.database, key, waiter.follows_changes());
        }
        self.or_absent += usize::from(waiter.or_absent);
        let before = self.waiting.insert(id, waiter);
        assert!(before.is_none(), "{id:?} waits twice");
    }

    fn remove(&mut self, id: WaiterId, awaited: &mut Awaited) -> Option<Waiter> {
        let waiter = self.waiting.remove(&id)?;
        self.or_absent -= usize::from(waiter.or_absent);
        for key in &waiter.keys {
            let at = (waiter.database, key.clone());
            let Some(queue) = self.queues.get_mut(&at) else {
                continue;
            };
            queue.remove(&waiter.place);
            if queue.is_empty() {
                self.queues.remove(&at);
            }
            awaited.remove(waiter.database, key, waiter.follows_changes());
        }
        Some(waiter)
    }
}

/// The first name behind another one.
fn behind<T>(map: &BTreeMap<WaiterId, T>, from: Option<WaiterId>) -> Option<WaiterId> {
    let from = from.map_or(Bound::Unbounded, Bound::Excluded);
    let next = map.range((from, Bound::Unbounded)).next();
    next.map(|(id, _)| *id)
}

#[cfg(test)]
#[path = "waiters_tests.rs"]
mod tests;
