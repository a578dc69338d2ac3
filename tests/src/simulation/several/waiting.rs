//! Clients that wait for keys.
//!
//! Each wait is a [`Vigil`], driven as a connection drives it: its requests go to their groups and
//! are followed if they stray, and between them it listens for its bell, for the end of its time,
//! and for another client that unblocks it. Some clients go away while they wait; what they leave
//! behind is given up as threads give up their orphans (`orphans`).
//!
//! What clients know goes into the [`Book`](super::queues::Book), which judges it.

use bailiwick::commands;
use bailiwick::group::Proposal;
use bailiwick::routing::errand;
use bailiwick::routing::pursuit::{Next, Pursuit};
use bailiwick::routing::vigil::{self, Step, Surroundings, Vigil};
use bailiwick::state::WaiterId;
use bailiwick_frame::{ArgRange, Args, Protocol};
use bailiwick_replication::GroupId;

use super::clients::group_of;
use super::elements::Request;
use super::node::Process;
use super::queues::Taken;
use super::{Event, World};
use crate::simulation::MS;
use crate::simulation::node::REQUEST_TIMEOUT_NS;
use crate::simulation::requests::{self, Answer};

/// Tickets of waits: a number for each, and the client in the low bits.
const CLIENTS: usize = 64;
/// A client's wait.
pub(super) struct Wait {
    vigil: Vigil,
    number: u64,
    /// In the book.
    take: usize,
    reads: bool,
    /// From the first entry on.
    reads_all: bool,
    deadline: Option<u64>,
    /// By `CLIENT UNBLOCK`, with an error or without.
    ordered: Option<bool>,
    /// The client has gone.
    is_gone: bool,
    /// It awaits something, and looks around at this time; how often it does.
    awaits: Option<(u64, u64)>,
    /// Its last request goes wherever its keys are.
    is_keyed: bool,
    /// On its way from group to group, until when at most.
    pursuit: Option<(Pursuit, u64)>,
    /// It is asked for again after a pause.
    rests: Option<Box<Proposal>>,
}

impl Surroundings for Process {
    fn owner_of(&self, key: &[u8]) -> GroupId {
        group_of(self.routes().as_ref(), &String::from_utf8_lossy(key))
    }

    fn waits_in(&self, group: GroupId, id: WaiterId) -> bool {
        let seat = self.seats.get(&group);
        seat.is_some_and(|seat| seat.shared.state().waiters.get(id).is_some())
    }

    fn takes_part(&self, group: GroupId) -> bool {
        let seat = self.seats.get(&group);
        seat.is_some_and(|seat| seat.shared.standing().takes_part())
    }
}

impl World {
    /// Somebody who waits at the same node is to wait no longer.
    pub(super) fn unblock_somebody(&mut self, client: usize) {
        let node = self.clients[client].node;
        let with_error = self.rng.bool();
        let others = self.clients.iter_mut().enumerate();
        let mut waiting = others.filter(|(_, other)| other.node == node && other.wait.is_some());
        if let Some((other, waiting)) = waiting.next()
            && let Some(wait) = &mut waiting.wait
        {
            wait.ordered.get_or_insert(with_error);
            let number = wait.number;
            self.look_around_soon(other, number);
        }
    }

    pub(super) fn begin_to_wait(&mut self, client: usize, request: Request) {
        let node = self.clients[client].node;
        let Some(process) = &self.nodes[&node].running else {
            return;
        };
        let Some(bell) = process.bells.hang(0) else {
            return;
        };
        let (mut bytes, mut ranges) = (Vec::new(), Vec::new());
        for word in &request.words {
            let start = bytes.len() as u32;
            bytes.extend_from_slice(word);
            let end = bytes.len() as u32;
            ranges.push(ArgRange { start, end });
        }
        let args = Args::new(&bytes, &ranges);
        let command = commands::lookup(args).expect("clients use commands that exist");
        let key = request.keys[0].as_bytes();
        let mut vigil = Vigil::new(bell, Protocol::Resp2, command, (args, key));
        let step = vigil.begin(false, process);
        self.counts.waits += 1;
        let take = self
            .book
            .begin_take(client, request.keys, request.moves_to, self.now);
        let timeout_ns = request.timeout_ms * MS;
        let reads = request.words[0] == b"XREAD";
        self.clients[client].wait = Some(Box::new(Wait {
            vigil,
            number: self.counts.waits,
            take,
            reads,
            reads_all: reads && request.words.last().is_some_and(|word| word == b"0"),
            deadline: (timeout_ns > 0).then(|| self.now + timeout_ns),
            ordered: None,
            is_gone: false,
            awaits: None,
            is_keyed: true,
            pursuit: None,
            rests: None,
        }));
        self.go_on_waiting(client, step);
    }

    /// A wait does what it has to do next.
    fn go_on_waiting(&mut self, client: usize, step: Step) {
        let node = self.clients[client].node;
        let Some(process) = &self.nodes[&node].running else {
            return;
        };
        let Some(wait) = &mut self.clients[client].wait else {
            return;
        };
        if wait.vigil.has_arrived() {
            self.book.note_waits(wait.take, self.now);
        }
        match step {
            Step::Ask { words, group } => {
                wait.is_keyed = group.is_none();
                wait.pursuit = None;
                wait.awaits = None;
                let group = group.unwrap_or_else(|| process.owner_of(wait.vigil.key()));
                let ticket = wait.number as usize * CLIENTS + client;
                let words: Vec<&[u8]> = words.get(0).iter().collect();
                if self.is_told {
                    let shown = words.iter().map(|word| word.escape_ascii().to_string());
                    let shown = shown.collect::<Vec<_>>().join(" ");
                    println!("{:>7.1} ms: {group:?} is asked: {shown}", now_ms(self.now));
                }
                let mail = process.mail.waits.clone();
                let proposal = errand::proposal(group, &words, mail, ticket);
                self.submit(node, proposal.expect("the command exists"));
            }
            Step::Await { look_after } => {
                let look_ns = look_after.as_nanos() as u64;
                wait.awaits = Some((self.now + look_ns, look_ns));
                let number = wait.number;
                let deadline = wait.deadline;
                let event = Event::Wait { client, number };
                self.agenda.at(self.now + look_ns, event);
                if let Some(deadline) = deadline {
                    self.agenda.at(deadline.max(self.now), event);
                }
                self.look_around_soon(client, number);
            }
            Step::Reply(reply) => self.end_waiting(client, &reply),
            Step::Close => self.fail(format!("client {client} is disconnected while it waits")),
        }
    }

    fn look_around_soon(&mut self, client: usize, number: u64) {
        let at = self.now + self.rng.u64(..MS / 5);
        self.agenda.at(at, Event::Wait { client, number });
    }

    /// A client's node runs on with it, if it waits for something still.
    pub(super) fn look_around(&mut self, client: usize, number: u64) {
        let node = self.clients[client].node;
        if !self.is_awake(node) {
            return;
        }
        let now = self.now;
        let Some(process) = &self.nodes[&node].running else {
            return;
        };
        let wait = self.clients[client].wait.as_mut();
        let Some(wait) = wait.filter(|wait| wait.number == number) else {
            return;
        };
        if let Some(proposal) = wait.rests.take() {
            return self.submit(node, proposal);
        }
        let Some((look_at, look_ns)) = wait.awaits else {
            return;
        };
        let event = if let Some(call) = wait.vigil.bell().take() {
            vigil::Event::Rung(call)
        } else if let Some(with_error) = wait.ordered.take() {
            vigil::Event::Ordered { with_error }
        } else if wait.deadline.is_some_and(|deadline| deadline <= now) {
            vigil::Event::TimeOut
        } else if wait.is_gone {
            self.counts.walked_away += 1;
            if let Some(wait) = self.clients[client].wait.take() {
                self.leave_behind(client, &wait);
            }
            return;
        } else if look_at > now {
            return;
        } else if wait.vigil.is_looked_after(process) {
            wait.awaits = Some((now + look_ns, look_ns));
            return self
                .agenda
                .at(now + look_ns, Event::Wait { client, number });
        } else {
            vigil::Event::Look
        };
        if matches!(event, vigil::Event::Ordered { .. } | vigil::Event::TimeOut) {
            self.book.note_leaves(wait.take, now);
        }
        if self.is_told {
            println!("to {:?} happens {event:?}", wait.vigil.bell().id());
        }
        wait.awaits = None;
        let step = wait.vigil.happened(event, process);
        self.go_on_waiting(client, step);
    }

    /// A node that stood still goes on, with the clients that wait there.
    pub(super) fn wake_waiting(&mut self, node: u64) {
        for client in 0..self.clients.len() {
            let client_node = self.clients[client].node;
            let wait = self.clients[client].wait.as_ref();
            let wait = wait.filter(|_| client_node == node);
            if let Some(number) = wait.map(|wait| wait.number) {
                self.look_around_soon(client, number);
            }
        }
    }

    /// A node's bells may have been rung.
    pub(super) fn listen_for_bells(&mut self, node: u64) {
        for client in 0..self.clients.len() {
            let client_node = self.clients[client].node;
            let wait = self.clients[client].wait.as_ref();
            let wait = wait.filter(|wait| client_node == node && wait.awaits.is_some());
            if let Some(number) = wait.map(|wait| wait.number) {
                self.look_around_soon(client, number);
            }
        }
    }

    /// A group has answered what a wait has asked.
    pub(super) fn take_answer_of_wait(&mut self, mut proposal: Box<Proposal>) {
        let (number, client) = (
            (proposal.ticket / CLIENTS) as u64,
            proposal.ticket % CLIENTS,
        );
        let now = self.now;
        let node = self.clients[client].node;
        let process = self.nodes[&node].running.as_ref();
        let wait = self.clients[client].wait.as_mut();
        let wait = wait.filter(|wait| wait.number == number);
        let (Some(process), Some(wait)) = (process, wait) else {
            return;
        };
        if let Some(strayed) = proposal.strayed.pop().filter(|_| wait.is_keyed) {
            self.counts.strays += 1;
            let (pursuit, deadline) = wait
                .pursuit
                .get_or_insert_with(|| (Pursuit::new(&proposal), now + REQUEST_TIMEOUT_NS));
            let next = pursuit.next(process.routes().as_ref(), &proposal, &strayed.stray);
            if let Next::Ask { group, pause } = next
                && now < *deadline
            {
                proposal.group = group;
                proposal.replies.clear();
                proposal.is_discarded = false;
                wait.rests = Some(proposal);
                let at = now + pause.as_nanos() as u64 + self.rng.u64(..MS / 5);
                return self.agenda.at(at, Event::Wait { client, number });
            }
        }
        if self.is_told {
            let reply = proposal.replies.escape_ascii();
            let id = wait.vigil.bell().id();
            println!("{id:?} hears from {}: {reply}", proposal.group);
        }
        let step = wait
            .vigil
            .answered(proposal.group, &proposal.replies, process);
        self.go_on_waiting(client, step);
    }

    fn end_waiting(&mut self, client: usize, reply: &[u8]) {
        let Some(wait) = self.clients[client].wait.take() else {
            return;
        };
        self.leave_behind(client, &wait);
        let asked = (wait.vigil.asks(), wait.vigil.group());
        if asked.0 > 1 {
            self.counts.asked_anew += 1;
        }
        let is_null_of_all = wait.reads_all && reply == b"*-1\r\n";
        match self.outcome_of_wait(&wait, reply) {
            Ok(taken) => {
                if wait.reads && matches!(taken, Taken::Element(..)) || is_null_of_all {
                    let first = match taken {
                        Taken::Element(_, first) => Some(first),
                        Taken::Nothing | Taken::Unknown => None,
                    };
                    self.book.note_reading(wait.take, first, wait.reads_all);
                    return self
                        .book
                        .end_take(wait.take, Taken::Nothing, asked, self.now);
                }
                self.book.end_take(wait.take, taken, asked, self.now);
            }
            Err(text) => self.fail(format!("client {client} waits: {text}")),
        }
    }

    fn outcome_of_wait(&mut self, wait: &Wait, reply: &[u8]) -> Result<Taken, String> {
        let answers = requests::answers(reply)?;
        let keys = self.book.keys_of(wait.take);
        let taken = match &answers[..] {
            [Answer::Nil] => Taken::Nothing,
            [Answer::Error(text)] => match text.split(' ').next() {
                Some("UNBLOCKED" | "CLUSTERDOWN" | "MISCONF" | "TRYAGAIN" | "STRAY") => {
                    Taken::Nothing
                }
                Some("UNCERTAIN") => Taken::Unknown,
                _ => return Err(text.clone()),
            },
            [Answer::Bytes(element)] => Taken::Element(keys[0].clone(), element.clone()),
            [Answer::Array(parts)] => match &parts[..] {
                [Answer::Bytes(key), Answer::Bytes(element), ..] => {
                    let key = String::from_utf8_lossy(key).into_owned();
                    Taken::Element(key, element.clone())
                }
                [Answer::Array(stream)] if wait.reads => {
                    let first = first_of_stream(stream).ok_or("an odd stream")?;
                    Taken::Element(keys[0].clone(), first)
                }
                _ => return Err(format!("it is answered with {parts:?}")),
            },
            other => return Err(format!("it is answered with {other:?}")),
        };
        if matches!(taken, Taken::Element(..)) {
            self.counts.served += 1;
        }
        Ok(taken)
    }

    /// A client goes away, which its node notices when it waits for nothing else.
    pub(super) fn walk_away(&mut self, client: usize) {
        if let Some(wait) = &mut self.clients[client].wait {
            wait.is_gone = true;
            let number = wait.number;
            self.look_around_soon(client, number);
        }
    }

    fn leave_behind(&mut self, client: usize, wait: &Wait) {
        if let Some(orphan) = wait.vigil.left_behind() {
            self.add_orphan(self.clients[client].node, orphan, 0);
        }
    }
}

impl Wait {
    /// Whether it ends by itself.
    pub(super) fn has_deadline(&self) -> bool {
        self.deadline.is_some()
    }

    /// What a person needs to see of it.
    pub(super) fn describe(&self) -> String {
        let id = self.vigil.bell().id();
        let key = self.vigil.key().escape_ascii();
        format!(
            "{id:?} for {key} at {}, asked {} times, awaits {:?}",
            self.vigil.group(),
            self.vigil.asks(),
            self.awaits
        )
    }
}

/// The value of the first entry of the only stream.
fn first_of_stream(stream: &[Answer]) -> Option<Vec<u8>> {
    let [_, Answer::Array(entries)] = stream else {
        return None;
    };
    let Some(Answer::Array(entry)) = entries.first() else {
        return None;
    };
    let [_, Answer::Array(fields)] = &entry[..] else {
        return None;
    };
    match &fields[..] {
        [_, Answer::Bytes(value)] => Some(value.clone()),
        _ => None,
    }
}

fn now_ms(now: u64) -> f64 {
    now as f64 / MS as f64
}
