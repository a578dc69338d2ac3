//! Listings of all keys with some beginning, step by step, as a connection makes them; and what
//! else is asked of all groups at once, DBSIZE and FLUSHALL.
//!
//! All groups that can have such keys are asked; [`listing::judge`] says whether the answers fit.
//! What the checker wants: keys that were there before the listing began, and are never removed,
//! are among what it returns, each once. A listing that ends with an error promises nothing. For
//! the history FLUSHALL is a removal of each key, at some moment of the round that was complete.

use std::collections::{BTreeMap, BTreeSet};

use bailiwick::routing::errand;
use bailiwick::routing::listing::{self, Answer, Verdict};
use bailiwick::routing::spread;
use bailiwick_replication::GroupId;

use super::clients::LEAST_STAYS;
use super::places::{self, HOMES};
use super::{Event, World};
use crate::history::{Begun, Operation, Outcome, Reply};
use crate::simulation::MS;
use crate::simulation::node::REQUEST_TIMEOUT_NS;

/// The first and the longest wait before a step is tried again.
const FIRST_PAUSE_NS: u64 = MS;
const LONGEST_PAUSE_NS: u64 = 20 * MS;

/// Rounds of FLUSHALL: each that comes to nothing leaves open what it did.
const MOST_FLUSHES: u32 = 3;

/// Tickets of listings: a number for each, and the client in the low bits.
const CLIENTS: usize = 64;

/// What is asked of all groups.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Question {
    /// SCAN.
    Keys,
    /// DBSIZE.
    Count,
    /// FLUSHALL.
    Flush,
}

/// A listing under way.
pub(super) struct Listing {
    node: u64,
    question: Question,
    /// What the history calls the removal of each key, in this round.
    removals: Vec<Begun>,
    /// Rounds so far.
    rounds: u32,
    /// Distinguishes it from those before.
    number: u64,
    head: String,
    /// Keys that it has to return.
    promised: BTreeSet<Vec<u8>>,
    found: BTreeMap<Vec<u8>, u32>,
    position: u64,
    count: usize,
    /// Groups whose answers are missing.
    open: BTreeSet<GroupId>,
    answers: BTreeMap<GroupId, Answer>,
    deadline: u64,
    pause_ns: u64,
}

impl World {
    /// A client begins a listing.
    pub(super) fn list(&mut self, client: usize) {
        let node = self.clients[client].node;
        let question = match self.rng.u32(..16) {
            0 | 1 => Question::Count,
            2 | 3 if self.plan.flushes => Question::Flush,
            _ => Question::Keys,
        };
        let home = HOMES[self.rng.usize(..HOMES.len())];
        let head = if question == Question::Keys { home } else { "" };
        let head = head.to_owned();
        let begins = |key: &&Vec<u8>| key.starts_with(head.as_bytes());
        let promised = self.stays.iter().filter(begins).cloned().collect();
        self.counts.listings += 1;
        self.clients[client].listing = Some(Listing {
            node,
            question,
            removals: Vec::new(),
            rounds: 0,
            number: self.counts.listings,
            head,
            promised,
            found: BTreeMap::new(),
            position: 0,
            count: [8, 50, 1000][self.rng.usize(..3)],
            open: BTreeSet::new(),
            answers: BTreeMap::new(),
            deadline: self.now + REQUEST_TIMEOUT_NS,
            pause_ns: FIRST_PAUSE_NS,
        });
        self.begin_round(client);
    }

    /// A listing goes on after a pause.
    pub(super) fn resume_listing(&mut self, client: usize, number: u64) {
        let listing = self.clients[client].listing.as_ref();
        if listing.is_some_and(|listing| listing.number == number) {
            self.begin_round(client);
        }
    }

    fn begin_round(&mut self, client: usize) {
        let Some(listing) = &mut self.clients[client].listing else {
            return;
        };
        listing.answers.clear();
        listing.rounds += 1;
        if listing.question == Question::Flush {
            // What a round does that comes to nothing is not known.
            let names = places::all().chain(places::all_of_pairs());
            let (history, now) = (&mut self.history, self.now);
            let removals =
                names.map(|name| history.begin(client as u32, &name, Operation::Delete, now));
            listing.removals = removals.collect();
            self.book.was_flushed = true;
        }
        let Some(process) = &self.nodes[&listing.node].running else {
            self.clients[client].listing = None;
            return;
        };
        let groups = match process.routes() {
            Some(routes) => routes.groups_with(listing.head.as_bytes()),
            None => [GroupId(0)].into(),
        };
        self.ask_for_shares(client, groups);
    }

    fn ask_for_shares(&mut self, client: usize, groups: BTreeSet<GroupId>) {
        let Some(listing) = &mut self.clients[client].listing else {
            return;
        };
        listing.open = groups.clone();
        let (position, count) = (listing.position.to_string(), listing.count.to_string());
        let pattern = format!("{}*", listing.head);
        let question = listing.question;
        let (node, ticket) = (listing.node, listing.number as usize * CLIENTS + client);
        for group in groups {
            let words = match question {
                Question::Keys => vec!["_SCAN", &position, "MATCH", &pattern, "COUNT", &count],
                Question::Count => vec!["_COUNT"],
                Question::Flush => vec!["_FLUSH", "ALL"],
            };
            let words: Vec<&[u8]> = words.iter().map(|word| word.as_bytes()).collect();
            let Some(process) = &self.nodes[&node].running else {
                return;
            };
            let mail = process.mail.listings.clone();
            let proposal = errand::proposal(group, &words, mail, ticket);
            self.submit(node, proposal.expect("the command exists"));
        }
    }

    /// A group has answered.
    pub(super) fn take_share(&mut self, ticket: usize, group: GroupId, reply: &[u8]) {
        let (number, client) = ((ticket / CLIENTS) as u64, ticket % CLIENTS);
        let listing = self.clients[client].listing.as_mut();
        let Some(listing) = listing.filter(|listing| listing.number == number) else {
            return;
        };
        if !listing.open.remove(&group) {
            return;
        }
        if spread::error_of(reply).is_some() {
            // It is not complete, and says so.
            self.clients[client].listing = None;
            return;
        }
        let answer = spread::bulk_of(reply).and_then(Answer::read);
        let Some(answer) = answer else {
            let reply = reply.escape_ascii();
            return self.fail(format!("group {group} answers a listing with {reply}"));
        };
        listing.answers.insert(group, answer);
        if !listing.open.is_empty() {
            return;
        }
        let shares = listing.answers.iter();
        let shares = shares.map(|(group, answer)| (*group, &answer.share));
        match listing::judge(shares) {
            Verdict::Ask(more) => self.ask_for_shares(client, more),
            Verdict::Moving { .. } => self.try_listing_again(client),
            Verdict::Complete => self.end_round(client),
        }
    }

    fn try_listing_again(&mut self, client: usize) {
        let now = self.now;
        let Some(listing) = &mut self.clients[client].listing else {
            return;
        };
        let has_flushed = listing.question == Question::Flush && listing.rounds >= MOST_FLUSHES;
        if now >= listing.deadline || has_flushed {
            self.clients[client].listing = None;
            return;
        }
        let at = now + listing.pause_ns;
        listing.pause_ns = (2 * listing.pause_ns).min(LONGEST_PAUSE_NS);
        let number = listing.number;
        self.agenda.at(at, Event::Relist { client, number });
    }

    /// The answers fit together.
    fn end_round(&mut self, client: usize) {
        let question = self.clients[client]
            .listing
            .as_ref()
            .map(|listing| listing.question);
        match question {
            Some(Question::Keys) => self.end_step(client),
            Some(Question::Count) => self.end_count(client),
            Some(Question::Flush) => self.end_flush(client),
            None => {}
        }
    }

    /// No key is counted twice, and none is forgotten that was there throughout.
    fn end_count(&mut self, client: usize) {
        let Some(listing) = self.clients[client].listing.take() else {
            return;
        };
        self.counts.complete_listings += 1;
        let counts = listing.answers.values().map(Answer::count);
        let Some(count) = counts.sum::<Option<u64>>() else {
            return self.fail("a count makes no sense".to_owned());
        };
        let least = listing.promised.len() as u64;
        let most = places::most_keys(u64::from(self.plan.ballast) + u64::from(LEAST_STAYS));
        if count < least || count > most {
            self.fail(format!(
                "DBSIZE by node {} is {count}, there are at least {least} and at most {most}",
                listing.node
            ));
        }
    }

    /// What was there when this round began is gone; what came after its end is there.
    fn end_flush(&mut self, client: usize) {
        let Some(listing) = self.clients[client].listing.take() else {
            return;
        };
        self.counts.flushes += 1;
        for removal in listing.removals {
            let outcome = Outcome::Answered(Reply::Done);
            self.history.finish(removal, outcome, self.now);
        }
    }

    /// A step of SCAN.
    fn end_step(&mut self, client: usize) {
        let deadline = self.now + REQUEST_TIMEOUT_NS;
        let Some(listing) = &mut self.clients[client].listing else {
            return;
        };
        let pages = listing.answers.values().map(|answer| answer.page());
        let Some(pages) = pages.collect::<Option<Vec<_>>>() else {
            return self.fail("a page of a listing makes no sense".to_owned());
        };
        let page = listing::merge(pages.into_iter().map(|(_, page)| page));
        for (_, key) in page.keys {
            *listing.found.entry(key).or_insert(0) += 1;
        }
        listing.position = page.next;
        listing.deadline = deadline;
        listing.pause_ns = FIRST_PAUSE_NS;
        let number = listing.number;
        if page.next > 0 {
            let at = self.now + self.rng.u64(..5 * MS);
            return self.agenda.at(at, Event::Relist { client, number });
        }
        let listing = self.clients[client].listing.take();
        if let Some(listing) = listing {
            self.judge_listing(&listing);
        }
    }

    fn judge_listing(&mut self, listing: &Listing) {
        self.counts.complete_listings += 1;
        let wrong = listing.promised.iter().find_map(|key| {
            let times = listing.found.get(key).copied().unwrap_or(0);
            (times != 1).then(|| (key.escape_ascii().to_string(), times))
        });
        if let Some((key, times)) = wrong {
            let (head, node) = (&listing.head, listing.node);
            self.fail(format!(
                "a listing of '{head}' by node {node} has {key} {times} times, which was there \
                 throughout"
            ));
        }
    }
}
