//! Listings of all keys with some beginning, step by step, as a connection makes them.
//!
//! All groups that can have such keys are asked; [`listing::judge`] says whether the answers fit.
//! What the checker wants: keys that were there before the listing began, and are never removed,
//! are among what it returns, each once. A listing that ends with an error promises nothing.

use std::collections::{BTreeMap, BTreeSet};

use bailiwick::routing::errand;
use bailiwick::routing::listing::{self, Answer, Verdict};
use bailiwick::routing::spread;
use bailiwick_replication::GroupId;

use super::places::HOMES;
use super::{Event, World};
use crate::simulation::MS;
use crate::simulation::node::REQUEST_TIMEOUT_NS;

/// The first and the longest wait before a step is tried again.
const FIRST_PAUSE_NS: u64 = MS;
const LONGEST_PAUSE_NS: u64 = 20 * MS;

/// Tickets of listings: a number for each, and the client in the low bits.
const CLIENTS: usize = 64;

/// A listing under way.
pub(super) struct Listing {
    node: u64,
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
        let head = HOMES[self.rng.usize(..HOMES.len())].to_owned();
        let begins = |key: &&Vec<u8>| key.starts_with(head.as_bytes());
        let promised = self.stays.iter().filter(begins).cloned().collect();
        self.counts.listings += 1;
        self.clients[client].listing = Some(Listing {
            node,
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
        let (node, ticket) = (listing.node, listing.number as usize * CLIENTS + client);
        for group in groups {
            let words = ["_SCAN", &position, "MATCH", &pattern, "COUNT", &count];
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
        if now >= listing.deadline {
            self.clients[client].listing = None;
            return;
        }
        let at = now + listing.pause_ns;
        listing.pause_ns = (2 * listing.pause_ns).min(LONGEST_PAUSE_NS);
        let number = listing.number;
        self.agenda.at(at, Event::Relist { client, number });
    }

    /// The answers fit together: a step of SCAN.
    fn end_round(&mut self, client: usize) {
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
