//! Requests about keys of several groups: MGET, DEL, UNLINK and EXISTS, taken apart as a connection
//! takes them apart.
//!
//! Each group gets its keys in one request; what strays is followed key by key. The answer of a
//! part is what the history learns of its keys, each of which is judged by itself, and what the
//! parts add up to is compared with what a client would be answered.

use std::collections::BTreeMap;

use bailiwick::commands::{self, Spread};
use bailiwick::group::Proposal;
use bailiwick::routing::errand;
use bailiwick::routing::pursuit::{Next, Pursuit};
use bailiwick::routing::spread::{self, Part, Piece, Words};
use bailiwick_frame::{Encoder, Protocol};

use super::clients::group_of;
use super::places::{self, HOMES};
use super::{Event, World};
use crate::history::{Begun, Operation, Outcome, Reply};
use crate::simulation::MS;
use crate::simulation::node::REQUEST_TIMEOUT_NS;
use crate::simulation::requests::{self, Answer};

/// Tickets of parts: a number for each, and the client in the low bits.
const CLIENTS: usize = 64;
/// The most keys of a request.
const MOST_KEYS: usize = 6;

/// A request under way.
pub(super) struct Spreading {
    name: &'static str,
    how: Spread,
    keys: Vec<String>,
    /// What the history calls each key's part; nothing for EXISTS.
    begun: Vec<Begun>,
    /// Parts that have not been answered, by ticket.
    open: BTreeMap<usize, Track>,
    pieces: Vec<Piece>,
}

/// A part on its way.
struct Track {
    /// Places among the arguments of the request.
    keys: Vec<usize>,
    /// From group to group, until when at most.
    pursuit: Option<(Pursuit, u64)>,
    rests: Option<Box<Proposal>>,
}

impl World {
    /// A client asks for keys of several homes.
    pub(super) fn spread(&mut self, client: usize) {
        let count = self.rng.usize(2..=MOST_KEYS);
        let (name, how) = match self.rng.u32(..8) {
            0..=3 => ("MGET", Spread::Each),
            4 => ("DEL", Spread::Sum),
            5 => ("UNLINK", Spread::Sum),
            _ => ("EXISTS", Spread::Sum),
        };
        let keys: Vec<String> = match name {
            "EXISTS" => {
                let stays = self.stays.iter().map(|key| String::from_utf8_lossy(key));
                let stays: Vec<String> = stays.map(|key| key.into_owned()).collect();
                if stays.is_empty() {
                    return;
                }
                let draw = |_| stays[self.rng.usize(..stays.len())].clone();
                (0..count).map(draw).collect()
            }
            _ => {
                let mut homes = HOMES.to_vec();
                self.rng.shuffle(&mut homes);
                homes.truncate(count);
                let register = |home: &str| match self.rng.u32(..2) {
                    0 => places::counter(home),
                    _ => places::text(home),
                };
                homes.into_iter().map(register).collect()
            }
        };
        self.begin_spreading(client, (name, how), keys);
    }

    fn begin_spreading(
        &mut self,
        client: usize,
        (name, how): (&'static str, Spread),
        keys: Vec<String>,
    ) {
        let node = self.clients[client].node;
        let Some(process) = &self.nodes[&node].running else {
            return;
        };
        let routes = process.routes();
        let parts = spread::divide(1..=keys.len(), |at| {
            group_of(routes.as_ref(), &keys[at - 1])
        });
        drop(routes);
        let operation = match name {
            "MGET" => Some(Operation::Get),
            "EXISTS" => None,
            _ => Some(Operation::Delete),
        };
        let now = self.now;
        let begun = operation
            .iter()
            .flat_map(|operation| keys.iter().map(|key| (key.clone(), operation.clone())));
        let begun: Vec<_> = begun.collect();
        let begun = begun
            .into_iter()
            .map(|(key, operation)| self.history.begin(client as u32, &key, operation, now));
        let begun = begun.collect();
        self.counts.spreads += 1;
        self.counts.parts += parts.len() as u64;
        self.clients[client].spreading = Some(Box::new(Spreading {
            name,
            how,
            keys,
            begun,
            open: BTreeMap::new(),
            pieces: Vec::new(),
        }));
        for part in parts {
            self.ask_part(client, part, None);
        }
    }

    fn ask_part(&mut self, client: usize, part: Part, pursuit: Option<(Pursuit, u64)>) {
        let ticket = self.next_ticket() * CLIENTS + client;
        let node = self.clients[client].node;
        let Some(process) = &self.nodes[&node].running else {
            return;
        };
        let Some(spreading) = &mut self.clients[client].spreading else {
            return;
        };
        let keys = part.keys.iter().map(|at| spreading.keys[at - 1].as_bytes());
        let words: Vec<&[u8]> = std::iter::once(spreading.name.as_bytes())
            .chain(keys)
            .collect();
        let mail = process.mail.spreads.clone();
        let proposal = errand::proposal(part.group, &words, mail, ticket);
        let track = Track {
            keys: part.keys,
            pursuit,
            rests: None,
        };
        spreading.open.insert(ticket, track);
        self.submit(node, proposal.expect("the command exists"));
    }

    /// A part is asked for again after a pause.
    pub(super) fn ask_part_again(&mut self, client: usize, ticket: usize) {
        let node = self.clients[client].node;
        let spreading = self.clients[client].spreading.as_mut();
        let track = spreading.and_then(|spreading| spreading.open.get_mut(&ticket));
        if let Some(proposal) = track.and_then(|track| track.rests.take()) {
            self.submit(node, proposal);
        }
    }

    /// A group has answered a part.
    pub(super) fn take_part(&mut self, mut proposal: Box<Proposal>) {
        let (ticket, now) = (proposal.ticket, self.now);
        let client = ticket % CLIENTS;
        let node = self.clients[client].node;
        let process = self.nodes[&node].running.as_ref();
        let spreading = self.clients[client].spreading.as_mut();
        let track = spreading.and_then(|spreading| spreading.open.remove(&ticket));
        let (Some(process), Some(mut track)) = (process, track) else {
            return;
        };
        let Some(strayed) = proposal.strayed.pop() else {
            return self.end_part(client, track.keys, std::mem::take(&mut proposal.replies));
        };
        self.counts.strays += 1;
        if track.keys.len() > 1 {
            // Each key may belong to somebody else by now.
            for at in track.keys {
                let part = Part {
                    group: proposal.group,
                    keys: vec![at],
                };
                self.ask_part(client, part, None);
            }
            return;
        }
        let (pursuit, deadline) = track
            .pursuit
            .get_or_insert_with(|| (Pursuit::new(&proposal), now + REQUEST_TIMEOUT_NS));
        let next = pursuit.next(process.routes().as_ref(), &proposal, &strayed.stray);
        match next {
            Next::Ask { group, pause } if now < *deadline => {
                proposal.group = group;
                proposal.replies.clear();
                track.rests = Some(proposal);
                if let Some(spreading) = &mut self.clients[client].spreading {
                    spreading.open.insert(ticket, track);
                }
                let at = now + pause.as_nanos() as u64 + self.rng.u64(..MS / 5);
                self.agenda.at(at, Event::Respread { client, ticket });
            }
            Next::Ask { .. } => self.end_part(client, track.keys, proposal.replies),
            other => self.fail(format!("a part of a request comes to {other:?}")),
        }
    }

    fn end_part(&mut self, client: usize, keys: Vec<usize>, reply: Vec<u8>) {
        let Some(spreading) = &mut self.clients[client].spreading else {
            return;
        };
        let outcomes = match outcomes(spreading.name, keys.len(), &reply) {
            Ok(outcomes) => outcomes,
            Err(text) => return self.fail(text),
        };
        for (at, outcome) in keys.iter().zip(outcomes) {
            if outcome != Outcome::Unknown
                && let Some(begun) = spreading.begun.get(at - 1)
            {
                self.history.finish(*begun, outcome, self.now);
            }
        }
        spreading.pieces.push(Piece { keys, reply });
        if !spreading.open.is_empty() {
            return;
        }
        if let Some(spreading) = self.clients[client].spreading.take()
            && let Err(text) = self.judge_spreading(&spreading)
        {
            self.fail(text);
        }
    }

    /// Whether the parts add up to what was asked for.
    fn judge_spreading(&mut self, spreading: &Spreading) -> Result<(), String> {
        let (keys, pieces) = (spreading.keys.len(), &spreading.pieces);
        let words =
            std::iter::once(spreading.name).chain(spreading.keys.iter().map(String::as_str));
        let words = Words::of(words.map(str::as_bytes));
        let known = commands::lookup(words.args()).map_err(|error| error.to_string())?;
        if known.spread != spreading.how {
            return Err(format!("{} is no {:?}", spreading.name, spreading.how));
        }
        let mut reply = Vec::new();
        let mut out = Encoder::new(&mut reply, Protocol::Resp2);
        let merged = spread::merge(spreading.how, keys, pieces, &mut out);
        let is_error = |piece: &Piece| spread::error_of(&piece.reply).is_some();
        match merged {
            // What an error tells of each key was looked at before.
            Err(_) if pieces.iter().any(is_error) => return Ok(()),
            Err(error) => return Err(format!("parts come to {error}")),
            Ok(()) => {}
        }
        self.counts.complete_spreads += 1;
        let answer = requests::answers(&reply)?;
        match (spreading.name, &answer[..]) {
            ("MGET", [Answer::Array(values)]) if values.len() == keys => Ok(()),
            ("EXISTS", [Answer::Number(count)]) if *count == keys as i64 => Ok(()),
            ("DEL" | "UNLINK", [Answer::Number(count)]) if (0..=keys as i64).contains(count) => {
                Ok(())
            }
            (name, answer) => Err(format!(
                "{name} of {:?} is answered with {answer:?}",
                spreading.keys
            )),
        }
    }
}

/// What a part's reply tells of each of its keys.
fn outcomes(name: &str, keys: usize, reply: &[u8]) -> Result<Vec<Outcome>, String> {
    let answers = requests::answers(reply)?;
    let outcomes = match (name, &answers[..]) {
        (_, [Answer::Error(text)]) => {
            let outcome = match text.split(' ').next() {
                Some("TRYAGAIN" | "STRAY") => Outcome::Refused,
                _ => requests::refusal(text)?,
            };
            vec![outcome; keys]
        }
        ("MGET", [Answer::Array(values)]) => {
            let value = |value: &Answer| match value {
                Answer::Nil => Ok(Reply::Value(None)),
                Answer::Bytes(bytes) => Ok(Reply::Value(Some(bytes.clone()))),
                other => Err(format!("MGET finds {other:?}")),
            };
            let values = values
                .iter()
                .map(|found| value(found).map(Outcome::Answered));
            values.collect::<Result<_, _>>()?
        }
        ("EXISTS", [Answer::Number(_)]) => Vec::new(),
        (_, [Answer::Number(count)]) => {
            // Which of several there were, nobody says.
            let reply = match *count {
                0 => Reply::Number(0),
                count if count == keys as i64 => Reply::Number(1),
                _ => Reply::Done,
            };
            vec![Outcome::Answered(reply); keys]
        }
        (name, answers) => return Err(format!("{name} is answered with {answers:?}")),
    };
    Ok(outcomes)
}
