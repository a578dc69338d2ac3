//! What became of elements that clients push, wait for and take.
//!
//! Owns the book of pushes and takes, and says whether they fit. Elements are unlike each other, so
//! each can be followed. Lists are pushed to at the end and taken from at the beginning, some
//! elements are moved from one list to another one; of sorted sets the least is taken.
//!
//! What must hold:
//!
//! * nothing is taken twice from the same key, or is taken and still there, or was never pushed;
//! * what was pushed is taken or still there, except as much as takes may have got of which nobody
//!   knows what became (*none is lost*);
//! * of two elements of a list, pushed one after the other, the first one leaves first;
//! * who is known to have waited when somebody else came to the same key is served before him
//!   (*order of service*), unless one of them had to make his request anew;
//! * who waits for entries of a stream misses none.
//!
//! Times are those of the clients: an operation took effect between its call and its answer.

use std::collections::BTreeMap;

use bailiwick_replication::GroupId;

use super::places::can_move_between;

/// An element that came to a key.
#[derive(Debug)]
struct Arrival {
    key: String,
    element: Vec<u8>,
    begun: u64,
    /// When that was known; never for what nobody knows.
    ended: Option<u64>,
    is_refused: bool,
}

/// What a take came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Taken {
    /// This element of this key.
    Element(String, Vec<u8>),
    /// Nothing, for certain.
    Nothing,
    /// Nobody knows.
    Unknown,
}

/// Somebody who wants an element.
#[derive(Debug)]
struct Take {
    client: usize,
    keys: Vec<String>,
    /// Where the element goes; otherwise to the client alone.
    moves_to: Option<String>,
    begun: u64,
    /// When he was known to wait.
    waits_since: Option<u64>,
    /// When he began to wait no longer by himself.
    leaves: Option<u64>,
    ended: Option<u64>,
    /// How often he had to ask, and the group that he asked last.
    asks: u32,
    group: GroupId,
    taken: Taken,
}

/// Entries of a stream that somebody has waited for, or found at once.
#[derive(Debug)]
struct Reading {
    key: String,
    begun: u64,
    waits_since: Option<u64>,
    /// All entries were asked for, and not only new ones.
    is_of_all: bool,
    /// `None` if there was none.
    first: Option<Vec<u8>>,
}

/// All that clients know of elements.
#[derive(Default)]
pub(super) struct Book {
    arrivals: Vec<Arrival>,
    takes: Vec<Take>,
    readings: Vec<Reading>,
    remaining: BTreeMap<String, Vec<Vec<u8>>>,
    /// Everything was removed once, or may have been.
    pub(super) was_flushed: bool,
}

impl Book {
    /// Somebody pushes an element.
    pub(super) fn begin_push(&mut self, key: &str, element: &[u8], now: u64) -> usize {
        self.arrivals.push(Arrival {
            key: key.to_owned(),
            element: element.to_vec(),
            begun: now,
            ended: None,
            is_refused: false,
        });
        self.arrivals.len() - 1
    }

    /// It was pushed.
    pub(super) fn end_push(&mut self, push: usize, now: u64) {
        self.arrivals[push].ended = Some(now);
    }

    /// It was not pushed and will not be.
    pub(super) fn refuse_push(&mut self, push: usize) {
        self.arrivals[push].is_refused = true;
    }

    /// Somebody wants the first element of one of these keys.
    pub(super) fn begin_take(
        &mut self,
        client: usize,
        keys: Vec<String>,
        moves_to: Option<String>,
        now: u64,
    ) -> usize {
        self.takes.push(Take {
            client,
            keys,
            moves_to,
            begun: now,
            waits_since: None,
            leaves: None,
            ended: None,
            asks: 1,
            group: GroupId(0),
            taken: Taken::Unknown,
        });
        self.takes.len() - 1
    }

    /// The keys that somebody wants an element of.
    pub(super) fn keys_of(&self, take: usize) -> &[String] {
        &self.takes[take].keys
    }

    /// A group has said that he waits.
    pub(super) fn note_waits(&mut self, take: usize, now: u64) {
        self.takes[take].waits_since.get_or_insert(now);
    }

    /// He wants to wait no longer.
    pub(super) fn note_leaves(&mut self, take: usize, now: u64) {
        self.takes[take].leaves.get_or_insert(now);
    }

    /// He was answered, by this group, having asked so often.
    pub(super) fn end_take(
        &mut self,
        take: usize,
        taken: Taken,
        (asks, group): (u32, GroupId),
        now: u64,
    ) {
        let take = &mut self.takes[take];
        (take.asks, take.group) = (asks, group);
        if taken != Taken::Unknown {
            take.ended = Some(now);
        }
        take.taken = taken;
    }

    /// The entry of a stream with which he was answered first who has asked for new ones, or for
    /// all.
    pub(super) fn note_reading(&mut self, take: usize, first: Option<Vec<u8>>, is_of_all: bool) {
        let take = &self.takes[take];
        self.readings.push(Reading {
            key: take.keys[0].clone(),
            begun: take.begun,
            waits_since: take.waits_since,
            is_of_all,
            first,
        });
    }

    /// What a key holds when all is over.
    pub(super) fn note_remaining(&mut self, key: &str, elements: Vec<Vec<u8>>) {
        self.remaining.insert(key.to_owned(), elements);
    }

    /// Whether it is known what a key holds when all is over.
    pub(super) fn has_remaining(&self, key: &str) -> bool {
        self.remaining.contains_key(key)
    }

    /// Judges all of it.
    pub(super) fn check(&self) -> Result<(), String> {
        self.check_takes()?;
        self.check_service()?;
        self.check_readings()?;
        if !self.was_flushed {
            self.check_order()?;
            self.check_loss()?;
        }
        Ok(())
    }

    /// Elements that somebody is known to have taken.
    fn known_takes(&self) -> impl Iterator<Item = (&Take, &str, &[u8])> {
        self.takes.iter().filter_map(|take| match &take.taken {
            Taken::Element(key, element) => Some((take, key.as_str(), element.as_slice())),
            Taken::Nothing | Taken::Unknown => None,
        })
    }

    fn check_takes(&self) -> Result<(), String> {
        let mut seen = BTreeMap::new();
        for (take, key, element) in self.known_takes() {
            let shown = element.escape_ascii();
            if let Some(other) = seen.insert((key, element), take.client) {
                let client = take.client;
                return Err(format!(
                    "{shown} of {key} went to clients {other} and {client}"
                ));
            }
            if !take.keys.iter().any(|wanted| wanted == key) {
                return Err(format!("{shown} of {key} went to {take:?}"));
            }
            let pushed = self
                .arrivals
                .iter()
                .find(|arrival| arrival.element == element);
            match pushed {
                Some(arrival) if !arrival.is_refused => {}
                other => return Err(format!("{shown} was taken of {key} and is {other:?}")),
            }
        }
        let mut held = BTreeMap::new();
        for (key, elements) in &self.remaining {
            for element in elements {
                let shown = element.escape_ascii();
                if let Some(client) = seen.get(&(key.as_str(), element.as_slice())) {
                    return Err(format!("{shown} went to {client} and is still in {key}"));
                }
                if let Some(other) = held.insert(element, key) {
                    return Err(format!("{shown} is in {other} and in {key}"));
                }
            }
        }
        Ok(())
    }

    /// When an element came to a key: at the earliest, and by when for certain.
    fn arrivals_of(&self) -> BTreeMap<(&str, &[u8]), (u64, u64)> {
        let pushed = self.arrivals.iter().map(|arrival| {
            let of = (arrival.key.as_str(), arrival.element.as_slice());
            (of, (arrival.begun, arrival.ended.unwrap_or(u64::MAX)))
        });
        let moved = self.known_takes().filter_map(|(take, _, element)| {
            let to = take.moves_to.as_deref()?;
            Some(((to, element), (take.begun, take.ended?)))
        });
        pushed.chain(moved).collect()
    }

    /// What came to a list first leaves it first.
    fn check_order(&self) -> Result<(), String> {
        let arrivals = self.arrivals_of();
        let taken = self.known_takes().filter_map(|(take, key, element)| {
            let (_, arrived_by) = arrivals.get(&(key, element))?;
            let begun = arrivals[&(key, element)].0;
            Some((key, element, begun, *arrived_by, take.begun, take.ended?))
        });
        let taken: Vec<_> = taken.filter(|(key, ..)| key.contains("queue:")).collect();
        let stayed = self.remaining.iter().flat_map(|(key, elements)| {
            let all = elements.iter().map(move |element| (key.as_str(), element));
            all.filter_map(|(key, element)| {
                let (begun, arrived_by) = *arrivals.get(&(key, element.as_slice()))?;
                Some((
                    key,
                    element.as_slice(),
                    begun,
                    arrived_by,
                    u64::MAX,
                    u64::MAX,
                ))
            })
        });
        let stayed = stayed.filter(|(key, ..)| key.contains("queue:"));
        for first in taken.iter().copied().chain(stayed) {
            for second in &taken {
                let is_before = first.0 == second.0 && first.3 < second.2;
                if is_before && second.5 < first.4 {
                    let (a, b) = (first.1.escape_ascii(), second.1.escape_ascii());
                    let key = first.0;
                    return Err(format!(
                        "{b} left {key} before {a}, which had come before it"
                    ));
                }
            }
        }
        Ok(())
    }

    /// Who waited first is served first.
    fn check_service(&self) -> Result<(), String> {
        let arrivals = self.arrivals_of();
        for (second, key, _) in self.known_takes() {
            let Some(served) = second.ended.filter(|_| second.asks == 1) else {
                continue;
            };
            for first in &self.takes {
                let waits = first.waits_since.is_some_and(|since| since < second.begun);
                let is_same = first.asks == 1 && first.group == second.group;
                if !waits || !is_same || !first.keys.iter().any(|wanted| wanted == key) {
                    continue;
                }
                // Until when he waited for certain.
                let waited_until = match &first.taken {
                    Taken::Element(of, element) => arrivals
                        .get(&(of.as_str(), element.as_slice()))
                        .map(|at| at.0),
                    Taken::Nothing => first.leaves,
                    Taken::Unknown => None,
                };
                if waited_until.is_some_and(|until| served < until) {
                    return Err(format!(
                        "of {key} {second:?} was served, although there was {first:?}"
                    ));
                }
            }
        }
        Ok(())
    }

    /// Who waits for new entries gets the first that comes; who asks for all finds the first that
    /// there is, and something if an entry was added before he came.
    fn check_readings(&self) -> Result<(), String> {
        for reading in &self.readings {
            let all = self
                .arrivals
                .iter()
                .filter(|entry| entry.key == reading.key);
            let first = all
                .clone()
                .find(|entry| reading.first.as_ref() == Some(&entry.element));
            let is_added = first.is_some_and(|first| !first.is_refused);
            if reading.first.is_some() && !is_added {
                return Err(format!("nobody has added what {reading:?} found"));
            }
            let is_old = |ended| !reading.is_of_all && ended < reading.begun;
            if first.is_some_and(|first| first.ended.is_some_and(is_old)) {
                return Err(format!("{reading:?} found {first:?}, which is old"));
            }
            let found_by = first.map_or(reading.begun, |first| first.begun);
            let is_missed = |entry: &&Arrival| {
                let is_due = match reading.is_of_all {
                    true => !self.was_flushed,
                    false => reading.waits_since.is_some_and(|since| entry.begun > since),
                };
                is_due && entry.ended.is_some_and(|ended| ended < found_by)
            };
            if let Some(missed) = all.clone().find(is_missed)
                && !missed.is_refused
            {
                return Err(format!("{reading:?} has missed {missed:?}"));
            }
        }
        Ok(())
    }

    /// No more is missing than takes may have got of which nobody knows.
    fn check_loss(&self) -> Result<(), String> {
        for key in self.remaining.keys() {
            let is_kept = |element: &[u8]| {
                let mut remaining = self.remaining.values().flatten();
                let is_taken =
                    |(take, _, of): (&Take, &str, &[u8])| of == element && take.moves_to.is_none();
                remaining.any(|other| other == element) || self.known_takes().any(is_taken)
            };
            let pushed = self.arrivals.iter().filter(|arrival| arrival.key == *key);
            let pushed = pushed.filter(|arrival| arrival.ended.is_some());
            let missing = pushed.filter(|arrival| !is_kept(&arrival.element));
            let missing: Vec<_> = missing.map(|arrival| &arrival.element).collect();
            let open = self.takes.iter().filter(|take| {
                let is_open = take.taken == Taken::Unknown && take.moves_to.is_none();
                is_open && take.keys.iter().any(|wanted| can_move_between(wanted, key))
            });
            let open = open.count();
            if missing.len() > open {
                let missing = missing.iter().map(|element| element.escape_ascii());
                let missing: Vec<_> = missing.map(|element| element.to_string()).collect();
                return Err(format!(
                    "{missing:?} of {key} are lost, and only {open} takes may have got any"
                ));
            }
        }
        Ok(())
    }
}
