//! Requests that concern several groups: taken apart, or put to all of them.
//!
//! What each group gets and what the answers add up to is decided in [`spread`]; here the groups
//! are asked, all at the same time. Keys that stray are followed one by one. Requests about the
//! keys of all groups go on in [`listing`](super::listing).

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::{Duration, Instant};

use bailiwick_frame::{Args, Encoder, Protocol};
use bailiwick_replication::GroupId;

use super::join::all;
use super::{Connection, follow};
use crate::authority::Stray;
use crate::commands::{CommandError, Keys, Known, Outcome, Spread, lookup};
use crate::group::{Item, Proposal, ROOT_GROUP};
use crate::routing::CROSSSLOT;
use crate::routing::redirect::Port;
use crate::routing::spread::{self, Part, Piece, Words};
use crate::worker::{Ticket, Worker};

const KEYLESS: CommandError = CommandError::text(
    "CROSSSLOT The command is about the keys of all groups, which do nothing together",
);

impl Connection {
    /// Runs a request that no single group can run, and writes its reply.
    pub(super) async fn run_spread(&mut self, request: usize) {
        let started = Instant::now();
        let mut reply = Vec::new();
        let mut weights = std::mem::take(&mut self.session.weights);
        let mut spread = None;
        let proposal = self.proposal.as_ref().expect("nothing is under way");
        let args = proposal.requests.args(request, &proposal.buffer);
        // It was looked up before it came here.
        if let Ok(command) = lookup(args) {
            self.remember_spread(command, args);
            let asking = Asking::new(self, command);
            let mut out = Encoder::new(&mut reply, self.session.protocol);
            let outcome = asking.run(command, args, &mut weights, &mut out).await;
            self.note_run(command, args, started);
            if let Err(error) = outcome {
                reply.clear();
                self.note_failure(command, &error, &mut reply);
            }
            if asking.has_strayed.get() {
                self.distrust();
            }
            spread = Some(command);
        }
        spread
            .into_iter()
            .for_each(|command| self.end_caching(command));
        self.session.weights = weights;
        self.reply_later(&reply);
    }
}

/// What groups said of a database: how many keys they have.
pub type Weights = BTreeMap<GroupId, u64>;

/// One request that is put to several groups.
pub(super) struct Asking {
    pub(super) worker: Rc<Worker>,
    protocol: Protocol,
    database: usize,
    author: u64,
    /// The groups of this node's share, if only that is asked for.
    pub(super) only: Option<BTreeSet<GroupId>>,
    pub(super) deadline: Instant,
    /// What it means that not every group can answer.
    pub(super) shortfall: &'static str,
    /// A key was not where it was looked for.
    has_strayed: Cell<bool>,
}

impl Asking {
    fn new(connection: &Connection, command: Known) -> Self {
        let (worker, session) = (&connection.guard.worker, &connection.session);
        let only = match session.port {
            Port::Plain => None,
            Port::Cluster => worker.node.topology().map(|topology| topology.share()),
        };
        let timeout_ms = worker.node.settings.load().request_timeout_ms;
        Self {
            worker: worker.clone(),
            protocol: session.protocol,
            database: session.database,
            author: session.client.author(),
            only,
            deadline: Instant::now() + Duration::from_millis(timeout_ms),
            shortfall: match command.spread {
                Spread::Flush => "not all keys were removed, but some may have been",
                Spread::Everywhere => "not all groups know, but some may",
                _ => "the answer would not be complete",
            },
            has_strayed: Cell::new(false),
        }
    }

    async fn run(
        &self,
        command: Known,
        args: Args<'_>,
        weights: &mut Weights,
        out: &mut Encoder<'_>,
    ) -> Outcome {
        match command.spread {
            Spread::Sum | Spread::Each => self.split(command, args, out).await,
            Spread::Refused if command.keys == Keys::None => Err(KEYLESS),
            Spread::Refused => Err(CROSSSLOT),
            Spread::Scan => self.scan(args, weights, out).await,
            Spread::Keys => self.keys(args, weights, out).await,
            Spread::Count => self.count(out).await,
            Spread::Random => self.random(out).await,
            Spread::Flush => self.flush(command, args, out).await,
            Spread::Anywhere => Err(CROSSSLOT),
            Spread::Everywhere => self.everywhere(command, args, out).await,
        }
    }

    /// The groups that can have keys with this head, as far as this node knows.
    pub(super) fn groups_with(&self, head: &[u8]) -> BTreeSet<GroupId> {
        let routes = self.worker.node.routes();
        routes.map_or_else(|| [ROOT_GROUP].into(), |routes| routes.groups_with(head))
    }

    /// A request of one command for a group.
    pub(super) fn proposal(
        &self,
        group: GroupId,
        command: Known,
        words: &Words,
        protocol: Protocol,
    ) -> (Ticket, Box<Proposal>) {
        let ticket = self.worker.ticket();
        let mut proposal = ticket.proposal();
        proposal.group = group;
        proposal.protocol = protocol;
        proposal.author = self.author;
        proposal.set_request(words.args());
        proposal.items.push(Item::Command {
            request: 0,
            database: self.database,
            command,
        });
        proposal.note_scripts();
        (ticket, proposal)
    }
}

/// Commands that each group does as a whole.
impl Asking {
    async fn everywhere(&self, command: Known, args: Args<'_>, out: &mut Encoder<'_>) -> Outcome {
        let words = Words::of(args.iter());
        let asked = self.groups_with(b"").into_iter().map(|group| {
            let words = &words;
            async move {
                let (ticket, proposal) = self.proposal(group, command, words, self.protocol);
                let mut proposal = ticket.submit(proposal).await;
                let reply = std::mem::take(&mut proposal.replies);
                match spread::error_of(&reply) {
                    Some(error) => Err(self.explain(&error, group, b"")),
                    None => Ok(reply),
                }
            }
        });
        let replies = all(asked)
            .await
            .into_iter()
            .collect::<Result<Vec<_>, _>>()?;
        let reply = spread::common(&replies).ok_or(spread::NONSENSE)?;
        out.buffer().extend_from_slice(&reply);
        Ok(())
    }
}

/// Commands that are taken apart.
impl Asking {
    async fn split(&self, command: Known, args: Args<'_>, out: &mut Encoder<'_>) -> Outcome {
        let parts = {
            let routes = self.worker.node.routes();
            let keys = command.keys.indexes(args);
            spread::divide(keys, |key| {
                let routes = routes.as_ref();
                routes.map_or(ROOT_GROUP, |routes| routes.group_of(args.arg(key)))
            })
        };
        let asked = parts
            .into_iter()
            .map(|part| self.ask_part(command, args, part));
        let pieces: Vec<Piece> = all(asked).await.into_iter().flatten().collect();
        spread::merge(command.spread, args.len() - 1, &pieces, out)
    }

    /// Has a part of a request executed. What strays is divided further, key by key, since each key
    /// may belong to somebody else by now.
    async fn ask_part(&self, command: Known, args: Args<'_>, part: Part) -> Vec<Piece> {
        let (ticket, proposal) = self.part(command, args, &part);
        let mut proposal = ticket.submit(proposal).await;
        let Some(strayed) = proposal.strayed.pop() else {
            let (keys, reply) = (part.keys, std::mem::take(&mut proposal.replies));
            return vec![Piece { keys, reply }];
        };
        self.has_strayed.set(true);
        let deadline = follow::deadline(&self.worker);
        let keys = part.keys.iter().map(|key| {
            let part = Part {
                group: part.group,
                keys: vec![*key],
            };
            self.ask_stray((command, args), part, strayed.stray.clone(), deadline)
        });
        all(keys).await
    }

    /// Has the command executed for a key that is not where it was looked for.
    async fn ask_stray(
        &self,
        (command, args): (Known, Args<'_>),
        part: Part,
        stray: Stray,
        deadline: Instant,
    ) -> Piece {
        let errand = self.part(command, args, &part);
        let proposal = follow::follow(&self.worker, errand, stray, deadline).await;
        Piece {
            keys: part.keys,
            reply: proposal.replies,
        }
    }

    fn part(&self, command: Known, args: Args<'_>, part: &Part) -> (Ticket, Box<Proposal>) {
        let keys = part.keys.iter().map(|key| args.arg(*key));
        let words = Words::of(std::iter::once(args.arg(0)).chain(keys));
        self.proposal(part.group, command, &words, self.protocol)
    }
}
