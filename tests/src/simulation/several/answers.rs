//! What clients are answered, and what they know from it.

use std::time::Duration;

use bailiwick::group::Proposal;
use bailiwick::keyspace::WatchState;
use bailiwick::routing::pursuit::{Next, Pursuit};
use bailiwick_replication::GroupId;

use super::clients::{Asked, Kind, Watch};
use super::queues::Taken;
use super::{Event, World};
use crate::history::{Begun, Outcome, Reply};
use crate::simulation::MS;
use crate::simulation::node::REQUEST_TIMEOUT_NS;
use crate::simulation::requests::{self, Answer};

impl World {
    /// A request of a client is answered by a group.
    pub(super) fn take_answer(&mut self, mut proposal: Box<Proposal>) {
        let client = proposal.ticket;
        let Some(strayed) = proposal.strayed.pop() else {
            return self.take_reply(client, &proposal.replies);
        };
        let node = self.clients[client].node;
        let now = self.now;
        let process = self.nodes[&node].running.as_ref();
        let (Some(process), Some(asked)) = (process, &mut self.clients[client].asked) else {
            return self.fail(format!("client {client} is answered twice"));
        };
        self.counts.strays += 1;
        let (pursuit, deadline) = asked
            .pursuit
            .get_or_insert_with(|| (Pursuit::new(&proposal), now + REQUEST_TIMEOUT_NS));
        if now >= *deadline {
            return self.take_reply(client, &proposal.replies);
        }
        match pursuit.next(process.routes().as_ref(), &proposal, &strayed.stray) {
            Next::Ask { group, pause } => {
                proposal.group = group;
                asked.group = group;
                proposal.replies.clear();
                proposal.is_discarded = false;
                asked.waits = Some(proposal);
                let serial = asked.serial;
                self.resubmit_after(client, serial, pause);
            }
            Next::Changed => self.take_reply(client, b"*-1\r\n"),
            Next::Refused(error) => self.fail(format!("client {client} is told: {error}")),
        }
    }

    fn resubmit_after(&mut self, client: usize, serial: u64, pause: Duration) {
        let at = self.now + pause.as_nanos() as u64 + self.rng.u64(..MS / 5);
        self.agenda.at(at, Event::Resubmit { client, serial });
    }

    /// A pause is over.
    pub(super) fn resubmit(&mut self, client: usize, serial: u64) {
        let node = self.clients[client].node;
        let asked = self.clients[client].asked.as_mut();
        let proposal = asked
            .filter(|asked| asked.serial == serial)
            .and_then(|asked| asked.waits.take());
        if let Some(proposal) = proposal {
            self.submit(node, proposal);
        }
    }

    pub(super) fn take_reply(&mut self, client: usize, bytes: &[u8]) {
        let Some(asked) = self.clients[client].asked.take() else {
            return self.fail(format!("client {client} is answered twice"));
        };
        if let Err(violation) = self.judge(client, asked, bytes) {
            self.fail(violation);
        }
    }

    fn judge(&mut self, client: usize, asked: Asked, bytes: &[u8]) -> Result<(), String> {
        let answers = requests::answers(bytes)?;
        let [answer] = &answers[..] else {
            return Err(format!("{:?} is answered with {answers:?}", asked.kind));
        };
        if let Answer::Error(text) = answer
            && !matches!(asked.kind, Kind::Aside)
        {
            return self.note_refusal(&asked, text);
        }
        match (&asked.kind, answer) {
            (Kind::Aside, _) => {}
            (Kind::Stays(home), Answer::Simple) => {
                self.has_stays[*home] = true;
                self.stays.extend(self.stays_of(*home));
            }
            (Kind::Watch(home), Answer::Bytes(bytes)) => {
                self.note_watched(client, *home, (asked.group, bytes))?;
            }
            (Kind::Swap(_), Answer::Nil) => self.finish_all(&asked, &Outcome::Refused),
            (Kind::Swap(number), Answer::Array(answers)) if answers[..] == [Answer::Simple] => {
                self.counts.swaps += 1;
                self.finish_all(&asked, &Outcome::Answered(Reply::Number(*number)));
            }
            (Kind::Transaction, Answer::Array(answers)) if answers.len() == asked.parts.len() => {
                if let [a @ (Answer::Bytes(_) | Answer::Nil), b] = &answers[..]
                    && a != b
                {
                    return Err(format!("half of a transaction shows: {a:?} and {b:?}"));
                }
                self.finish_parts(&asked, answers)?;
            }
            (Kind::Push(push), Answer::Number(_) | Answer::Bytes(_)) => {
                self.book.end_push(*push, self.now);
            }
            (Kind::Take(take), answer) => self.end_take(*take, asked.group, answer)?,
            (Kind::Remains(key), Answer::Array(elements)) => {
                let elements = elements.iter().map(|element| match element {
                    Answer::Bytes(element) => Ok(element.clone()),
                    other => Err(format!("{key} holds {other:?}")),
                });
                let elements = elements.collect::<Result<_, _>>()?;
                self.book.note_remaining(key, elements);
            }
            (Kind::Single, answer) => self.finish_parts(&asked, std::slice::from_ref(answer))?,
            (Kind::Look, answer) => {
                self.note_number(client, answer)?;
                self.finish_parts(&asked, std::slice::from_ref(answer))?;
            }
            (kind, answer) => return Err(format!("{kind:?} is answered with {answer:?}")),
        }
        Ok(())
    }

    /// What a client knows after an error.
    fn note_refusal(&mut self, asked: &Asked, text: &str) -> Result<(), String> {
        let code = text.split(' ').next().unwrap_or_default();
        let outcome = match code {
            // Nobody has done it.
            "TRYAGAIN" | "STRAY" => Outcome::Refused,
            "EXECABORT" if text.contains("MISCONF") => Outcome::Refused,
            _ => requests::refusal(text)?,
        };
        match (&asked.kind, &outcome) {
            (Kind::Push(push), Outcome::Refused) => self.book.refuse_push(*push),
            (Kind::Take(take), Outcome::Refused) => {
                let asked = (1, asked.group);
                self.book.end_take(*take, Taken::Nothing, asked, self.now);
            }
            _ => {}
        }
        self.finish_all(asked, &outcome);
        Ok(())
    }

    /// An element was taken at once, or there was none.
    fn end_take(&mut self, take: usize, group: GroupId, answer: &Answer) -> Result<(), String> {
        let taken = match answer {
            Answer::Nil => Taken::Nothing,
            Answer::Bytes(element) => {
                Taken::Element(self.book.keys_of(take)[0].clone(), element.clone())
            }
            other => return Err(format!("LPOP is answered with {other:?}")),
        };
        self.book.end_take(take, taken, (1, group), self.now);
        Ok(())
    }

    fn note_watched(
        &mut self,
        client: usize,
        home: usize,
        (group, bytes): (GroupId, &[u8]),
    ) -> Result<(), String> {
        let state = bytes.try_into().map(u64::from_le_bytes);
        let state = state.map_err(|_| format!("WATCH is answered with {bytes:?}"))?;
        self.clients[client].watched = Some(Watch {
            home,
            group,
            state: WatchState(state),
            number: None,
        });
        Ok(())
    }

    fn note_number(&mut self, client: usize, answer: &Answer) -> Result<(), String> {
        let number = match answer {
            Answer::Nil => 0,
            Answer::Bytes(bytes) => {
                let text = std::str::from_utf8(bytes).ok();
                let number = text.and_then(|text| text.parse().ok());
                number.ok_or_else(|| format!("a counter holds {bytes:?}"))?
            }
            other => return Err(format!("a counter is read as {other:?}")),
        };
        if let Some(watch) = &mut self.clients[client].watched {
            watch.number = Some(number);
        }
        Ok(())
    }

    fn finish_parts(&mut self, asked: &Asked, answers: &[Answer]) -> Result<(), String> {
        for ((begun, name, operation), answer) in asked.parts.iter().zip(answers) {
            let outcome = requests::outcome(name, operation, answer)?;
            self.finish(*begun, outcome);
        }
        Ok(())
    }

    fn finish_all(&mut self, asked: &Asked, outcome: &Outcome) {
        for (begun, ..) in &asked.parts {
            self.finish(*begun, outcome.clone());
        }
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
