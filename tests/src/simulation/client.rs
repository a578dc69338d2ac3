//! Clients: what they ask, and what they make of the answers.
//!
//! A client stays with one node and has one thing under way. Everything on keys goes into the
//! history. Beside that:
//!
//! * `pair:a` and `pair:b` are only ever written together, so whoever reads them together must see
//!   the same (*transactions are whole*).
//! * `steady` is only counted up, so no session on one node may see it go back, be it by its own
//!   answers or by READONLY reads (*sessions go forward*).
//! * `log` is only appended to, each piece being unlike all others (*applied once*, *not lost*).

use bailiwick::group::{Item, Proposal};
use bailiwick::state::Watched;

use crate::history::{Begun, Operation, Outcome, Reply};

use super::agenda::Event;
use super::mixed;
use super::requests::{self, Answer, Words};
use super::scripts;
use super::subject::Subject;
use super::{MS, Simulation};

/// The counter that is only counted up.
pub(super) const STEADY: &str = "steady";
/// What is only appended to.
pub(super) const LOG: &str = "log";
/// Registers in values of several elements.
pub(super) const ELEMENTS: [&str; 7] = [
    "list:0",
    "hash:0/a",
    "hash:0/b",
    "set:0/a",
    "set:0/b",
    "sorted:0/a",
    "sorted:0/b",
];
const PAIR: [&str; 2] = ["pair:a", "pair:b"];
/// Bytes of a long value.
const LONG: usize = 400 << 10;

/// A client.
pub(super) struct Client {
    pub(super) node: u64,
    /// What is under way.
    pub(super) asked: Option<Asked>,
    /// Counts what it wrote, so that no value comes twice.
    values: u64,
    /// What was watched, and the number read after that.
    watched: Option<(Watched, i64)>,
}

/// Something under way.
pub(super) struct Asked {
    pub(super) since: u64,
    parts: Vec<(Begun, String, Operation)>,
    kind: Kind,
}

#[derive(Clone, Debug)]
enum Kind {
    /// One answer for each part.
    Pipeline,
    /// One answer with one for each part in it.
    Transaction,
    /// A watched counter is set to this.
    Swap(i64),
    /// The number that is to be set, one higher, unless somebody was faster.
    Watch(Watched),
    /// Nobody cares.
    Aside,
}

impl Client {
    pub(super) fn new(node: u64) -> Self {
        Self {
            node,
            asked: None,
            values: 0,
            watched: None,
        }
    }
}

impl Simulation {
    /// A client does something, if nothing is under way.
    pub(super) fn act(&mut self, client: usize) {
        let node = self.clients[client].node;
        let pause = MS / 10 + self.rng.u64(..self.plan.think_ns);
        self.agenda.at(self.now + pause, Event::Client(client));
        let is_able = self.is_awake(node) && self.is_loaded(node);
        let is_over = !self.faults && self.clients[client].asked.is_none();
        if !is_able || is_over || self.clients[client].asked.is_some() {
            return;
        }
        if let Some((watched, number)) = self.clients[client].watched.take() {
            return self.swap(client, watched, number);
        }
        match self.rng.u32(..100) {
            0..=9 => self.read_stale(client),
            10..=17 => self.write_pair(client),
            18..=23 => self.read_pair(client),
            24..=33 => self.watch(client),
            34..=38 => self.aside(client),
            _ => self.ask_some(client),
        }
    }

    /// Clients are refused until there is something to serve.
    fn is_loaded(&self, node: u64) -> bool {
        let running = self.nodes[&node].running.as_ref();
        running.is_some_and(|running| running.shared.state().keyspace.databases() > 0)
    }

    /// One request, sometimes several.
    fn ask_some(&mut self, client: usize) {
        let count = if self.rng.u32(..4) == 0 {
            self.rng.usize(2..=3)
        } else {
            1
        };
        let parts: Vec<_> = (0..count).map(|_| self.choose(client)).collect();
        if let [(key, Operation::Get)] = &parts[..] {
            return self.read(client, key);
        }
        self.ask(client, parts, Kind::Pipeline);
    }

    fn choose(&mut self, client: usize) -> (&'static str, Operation) {
        let value = self.value(client);
        let slot = self.rng.usize(..2);
        match self.rng.u32(..100) {
            0..=9 => (STEADY, Operation::Increment),
            10..=14 => (STEADY, Operation::Get),
            15..=24 => (LOG, Operation::Append(value)),
            25..=29 => (LOG, Operation::Get),
            30..=54 => {
                let operation = match self.rng.u32(..20) {
                    0..=8 => Operation::Get,
                    9..=18 => Operation::Increment,
                    _ => Operation::Delete,
                };
                (["count:0", "count:1"][slot], operation)
            }
            55..=69 => {
                let name = ELEMENTS[self.rng.usize(..ELEMENTS.len())];
                let mut operations = Subject::of(name).operations(value);
                // Deleting seldom, so that something grows.
                if self.rng.u32(..4) > 0 {
                    operations.pop();
                }
                let at = self.rng.usize(..operations.len());
                (name, operations.swap_remove(at))
            }
            _ => {
                let operation = match self.rng.u32(..20) {
                    0..=8 => Operation::Get,
                    9..=13 => Operation::Set(value),
                    14 | 15 => Operation::Swap(value),
                    16..=18 => Operation::Append(value),
                    _ => Operation::Delete,
                };
                (["text:0", "text:1"][slot], operation)
            }
        }
    }

    fn value(&mut self, client: usize) -> Vec<u8> {
        let values = &mut self.clients[client].values;
        *values += 1;
        format!("{client:02}-{values:05};").into_bytes()
    }

    /// A read: under the lease at once, otherwise by way of the group.
    pub(super) fn read(&mut self, client: usize, key: &'static str) {
        let node = &self.nodes[&self.clients[client].node];
        let Some(running) = &node.running else { return };
        let clock = node.clocks.clock(self.now);
        let Some(state) = running.shared.linearizable(|| clock) else {
            return self.ask(client, vec![(key, Operation::Get)], Kind::Pipeline);
        };
        let bytes = requests::get(&state, key, node.clocks.wall_ms(self.now));
        drop(state);
        self.counts.reads_under_lease += 1;
        self.record(client, vec![(key, Operation::Get)], Kind::Pipeline);
        self.take_answer(client, &bytes);
    }

    /// READONLY: whatever this node has.
    fn read_stale(&mut self, client: usize) {
        let node = &self.nodes[&self.clients[client].node];
        let Some(running) = &node.running else { return };
        let state = running.shared.state();
        let bytes = requests::get(&state, STEADY, node.clocks.wall_ms(self.now));
        drop(state);
        let id = node.id;
        match requests::answers(&bytes).as_deref() {
            Ok([Answer::Nil]) => self.see(id, 0),
            Ok([Answer::Bytes(bytes)]) => {
                let number = std::str::from_utf8(bytes)
                    .ok()
                    .and_then(|text| text.parse().ok());
                match number {
                    Some(number) => self.see(id, number),
                    None => self.fail(format!("the counter {STEADY} holds {bytes:?}")),
                }
            }
            other => self.fail(format!("a READONLY read is answered with {other:?}")),
        }
    }

    /// A session on this node sees the steady counter at this number.
    fn see(&mut self, node: u64, number: i64) {
        let running = self
            .nodes
            .get_mut(&node)
            .and_then(|node| node.running.as_mut());
        let Some(running) = running else { return };
        let before = running.seen;
        running.seen = before.max(number);
        if number < before {
            self.fail(format!(
                "node {node} shows {STEADY} at {number} after it has shown {before}"
            ));
        }
    }

    fn write_pair(&mut self, client: usize) {
        let mut value = self.value(client);
        if self.plan.long_values {
            value.resize(LONG, b'x');
        }
        let parts = PAIR.map(|key| (key, Operation::Set(value.clone())));
        self.ask(client, parts.to_vec(), Kind::Transaction);
    }

    fn read_pair(&mut self, client: usize) {
        let parts = PAIR.map(|key| (key, Operation::Get));
        self.ask(client, parts.to_vec(), Kind::Transaction);
    }

    fn watch(&mut self, client: usize) {
        let node = &self.nodes[&self.clients[client].node];
        let Some(running) = &node.running else { return };
        let state = running.shared.state();
        let watched = requests::watch(&state, "count:0", node.clocks.wall_ms(self.now));
        drop(state);
        self.ask(
            client,
            vec![("count:0", Operation::Get)],
            Kind::Watch(watched),
        );
    }

    fn swap(&mut self, client: usize, watched: Watched, number: i64) {
        let next = number + 1;
        let words: Words = vec![
            b"SET".to_vec(),
            b"count:0".to_vec(),
            next.to_string().into(),
        ];
        let proposal = requests::transaction(&[words], vec![watched], client);
        self.record(
            client,
            vec![("count:0", Operation::Increment)],
            Kind::Swap(next),
        );
        self.propose(client, proposal);
    }

    /// What no history can judge: keys of any type that expire and are drawn from at random.
    fn aside(&mut self, client: usize) {
        let count = self.rng.usize(1..=4);
        let commands = (0..count).map(|_| mixed::command(&mut self.rng, ""));
        let commands: Vec<Words> = commands.collect();
        let scripts = commands.iter().filter(|words| scripts::is_script(words));
        self.counts.scripts += scripts.count() as u64;
        self.record(client, Vec::new(), Kind::Aside);
        self.propose(client, requests::pipeline(&commands, client));
    }

    /// One operation, answered or not.
    pub(super) fn ask_one(&mut self, client: usize, key: &'static str, operation: Operation) {
        self.ask(client, vec![(key, operation)], Kind::Pipeline);
    }

    fn ask(&mut self, client: usize, parts: Vec<(&'static str, Operation)>, kind: Kind) {
        let words: Vec<Words> = parts
            .iter()
            .map(|(key, operation)| requests::words(key, operation))
            .collect();
        let proposal = match kind {
            Kind::Transaction => requests::transaction(&words, Vec::new(), client),
            _ => requests::pipeline(&words, client),
        };
        self.record(client, parts, kind);
        self.propose(client, proposal);
    }

    fn record(&mut self, client: usize, parts: Vec<(&'static str, Operation)>, kind: Kind) {
        let now = self.now;
        let parts = parts.into_iter().map(|(key, operation)| {
            let begun = self
                .history
                .begin(client as u32, key, operation.clone(), now);
            (begun, key.to_owned(), operation)
        });
        let parts = parts.collect();
        self.clients[client].asked = Some(Asked {
            since: now,
            parts,
            kind,
        });
        self.counts.operations += 1;
    }

    fn propose(&mut self, client: usize, proposal: Box<Proposal>) {
        let node = self.clients[client].node;
        if let Some(running) = self
            .nodes
            .get_mut(&node)
            .and_then(|node| node.running.as_mut())
        {
            running.proposals.push(proposal);
            self.wake(node, 200);
        }
    }

    /// Proposals that a member has answered.
    pub(super) fn take_answers(&mut self, answered: Vec<Box<Proposal>>) {
        for proposal in answered {
            if matches!(proposal.items[..], [Item::Expire(_)]) {
                continue;
            }
            self.take_answer(proposal.ticket, &proposal.replies);
        }
    }

    /// Proposals that a node that has left the group would pass on: for certain they were not done,
    /// and here nobody does them.
    pub(super) fn take_passed_on(&mut self, passed_on: Vec<Box<Proposal>>) {
        for proposal in passed_on {
            let client = proposal.ticket;
            let Some(asked) = self.clients[client].asked.take() else {
                return self.fail(format!("client {client} is answered twice"));
            };
            self.counts.passed_on += 1;
            for (begun, ..) in asked.parts {
                self.finish(begun, Outcome::Refused);
            }
        }
    }

    /// The node that a client talks to is gone: what became of its request is unknown.
    pub(super) fn disconnect(&mut self, node: u64) {
        for client in self.clients.iter_mut().filter(|client| client.node == node) {
            client.asked = None;
            client.watched = None;
        }
    }

    fn take_answer(&mut self, client: usize, bytes: &[u8]) {
        let Some(asked) = self.clients[client].asked.take() else {
            return self.fail(format!("client {client} is answered twice"));
        };
        if let Err(violation) = self.judge(client, asked, bytes) {
            self.fail(violation);
        }
    }

    fn judge(&mut self, client: usize, asked: Asked, bytes: &[u8]) -> Result<(), String> {
        let answers = requests::answers(bytes)?;
        let answers = match (&asked.kind, &answers[..]) {
            (Kind::Aside, _) => return Ok(()),
            (Kind::Swap(number), [answer]) => return self.judge_swap(&asked, *number, answer),
            (Kind::Transaction, [Answer::Array(answers)]) => answers,
            (Kind::Transaction, [error @ Answer::Error(_)]) => {
                &vec![error.clone(); asked.parts.len()]
            }
            (Kind::Pipeline | Kind::Watch(_), answers) => answers,
            _ => return Err(format!("{:?} is answered with {answers:?}", asked.kind)),
        };
        if answers.len() != asked.parts.len() {
            return Err(format!("{:?} is answered with {answers:?}", asked.parts));
        }
        if let (Kind::Transaction, [a @ (Answer::Bytes(_) | Answer::Nil), b]) =
            (&asked.kind, answers)
            && a != b
        {
            return Err(format!("half of a transaction shows: {a:?} and {b:?}"));
        }
        let node = self.clients[client].node;
        for ((begun, key, operation), answer) in asked.parts.iter().zip(answers) {
            let outcome = requests::outcome(key, operation, answer)?;
            if key == STEADY
                && let Outcome::Answered(Reply::Number(number)) = outcome
            {
                self.see(node, number);
            }
            if let (Kind::Watch(watched), Outcome::Answered(Reply::Value(value))) =
                (&asked.kind, &outcome)
            {
                let text = value
                    .as_ref()
                    .and_then(|value| std::str::from_utf8(value).ok());
                let number = text.map_or(Ok(0), str::parse);
                let number = number.map_err(|_| format!("a counter holds {value:?}"))?;
                self.clients[client].watched = Some((watched.clone(), number));
            }
            self.finish(*begun, outcome);
        }
        Ok(())
    }

    fn judge_swap(&mut self, asked: &Asked, number: i64, answer: &Answer) -> Result<(), String> {
        let outcome = match answer {
            Answer::Error(text) => requests::refusal(text)?,
            Answer::Nil => Outcome::Refused,
            Answer::Array(answers) if answers[..] == [Answer::Simple] => {
                self.counts.swaps += 1;
                Outcome::Answered(Reply::Number(number))
            }
            _ => return Err(format!("a transaction is answered with {answer:?}")),
        };
        for (begun, ..) in &asked.parts {
            self.finish(*begun, outcome.clone());
        }
        Ok(())
    }

    /// What is unknown stays open.
    fn finish(&mut self, begun: Begun, outcome: Outcome) {
        if matches!(outcome, Outcome::Answered(_)) {
            self.counts.answered += 1;
        }
        if outcome != Outcome::Unknown {
            self.history.finish(begun, outcome, self.now);
        }
    }
}
