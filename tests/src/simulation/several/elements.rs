//! What clients do about elements of lists, sorted sets and streams: they push some, take some, and
//! wait for more.

use super::World;
use super::clients::Kind;
use super::places::{self, HOMES};
use crate::simulation::requests::{self, Words};

/// The longest time that a client waits, unless it waits for ever, in milliseconds.
pub(super) const LONGEST_TIMEOUT_MS: u64 = 4000;
/// For how long clients wait, in milliseconds; 0 for ever.
const TIMEOUTS_MS: [u64; 6] = [0, 20, 100, 400, 1500, LONGEST_TIMEOUT_MS];

/// A request that waits.
pub(super) struct Request {
    pub(super) words: Words,
    pub(super) keys: Vec<String>,
    pub(super) moves_to: Option<String>,
    pub(super) timeout_ms: u64,
}

impl World {
    /// A client does something about elements: it pushes one, takes one, or waits for one.
    pub(super) fn handle_elements(&mut self, client: usize) {
        let home = HOMES[self.rng.usize(..HOMES.len())];
        match self.rng.u32(..20) {
            0..=8 => self.push(client, home),
            9 | 10 => self.take_at_once(client, home),
            11 => self.unblock_somebody(client),
            _ => self.wait_for_elements(client, home),
        }
    }

    fn push(&mut self, client: usize, home: &str) {
        let [first, _, ranked, feed] = places::queues(home);
        let element = self.piece(client);
        let (key, words): (String, Words) = match self.rng.u32(..6) {
            0 => (ranked.clone(), words_of(&["ZADD", &ranked, "1"], &element)),
            1 | 2 => (feed.clone(), words_of(&["XADD", &feed, "*", "p"], &element)),
            _ => (first.clone(), words_of(&["RPUSH", &first], &element)),
        };
        self.push_element(client, (&key, words), &element);
    }

    /// A push into the key of a home that somebody may wait for.
    pub(super) fn push_into(&mut self, client: usize, key: &str) {
        let element = self.piece(client);
        let words = match key {
            key if key.contains("ranked:") => words_of(&["ZADD", key, "1"], &element),
            key if key.contains("feed:") => words_of(&["XADD", key, "*", "p"], &element),
            key => words_of(&["RPUSH", key], &element),
        };
        self.push_element(client, (key, words), &element);
    }

    fn push_element(&mut self, client: usize, (key, words): (&str, Words), element: &[u8]) {
        let push = self.book.begin_push(key, element, self.now);
        let proposal = requests::pipeline(&[words], client);
        self.record(client, Vec::new(), Kind::Push(push));
        self.propose(client, key, proposal);
    }

    fn take_at_once(&mut self, client: usize, home: &str) {
        let [first, ..] = places::queues(home);
        let take = self
            .book
            .begin_take(client, vec![first.clone()], None, self.now);
        let proposal = requests::pipeline(&[words_of(&["LPOP"], first.as_bytes())], client);
        self.record(client, Vec::new(), Kind::Take(take));
        self.propose(client, &first, proposal);
    }

    fn wait_for_elements(&mut self, client: usize, home: &str) {
        let timeout_ms = TIMEOUTS_MS[self.rng.usize(..TIMEOUTS_MS.len())];
        let request = self.waiting_request(home, timeout_ms);
        self.begin_to_wait(client, request);
    }

    fn waiting_request(&mut self, home: &str, timeout_ms: u64) -> Request {
        let [first, second, ranked, feed] = places::queues(home);
        let seconds = format!("{}", timeout_ms as f64 / 1000.0);
        let millis = timeout_ms.to_string();
        let mut moves_to = None;
        let (keys, words): (Vec<&String>, Vec<&str>) = match self.rng.u32(..12) {
            0..=3 => (vec![&first], vec!["BLPOP", &first, &seconds]),
            4 | 5 => (vec![&second], vec!["BLPOP", &second, &seconds]),
            6 => (
                vec![&second, &first],
                vec!["BLPOP", &second, &first, &seconds],
            ),
            7 | 8 => {
                moves_to = Some(second.clone());
                let words = vec!["BLMOVE", &first, &second, "LEFT", "RIGHT", &seconds];
                (vec![&first], words)
            }
            9 => (vec![&ranked], vec!["BZPOPMIN", &ranked, &seconds]),
            which => {
                let from = if which == 10 { "$" } else { "0" };
                let words = vec!["XREAD", "BLOCK", &millis, "STREAMS", &feed, from];
                (vec![&feed], words)
            }
        };
        Request {
            words: words.iter().map(|word| word.as_bytes().to_vec()).collect(),
            keys: keys.into_iter().cloned().collect(),
            moves_to,
            timeout_ms,
        }
    }
}

fn words_of(head: &[&str], last: &[u8]) -> Words {
    let head = head.iter().map(|word| word.as_bytes().to_vec());
    head.chain([last.to_vec()]).collect()
}
