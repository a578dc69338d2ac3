//! Requests whose keys are not where they were looked for.
//!
//! A group that does not serve a key does nothing and says so, with what it knows of the key's
//! whereabouts. The connection asks there, or where the directory says by now; while a prefix is
//! being moved, it waits. So a move costs a client time and no error, unless it takes longer than
//! the request timeout. The replies take the places that were kept for them.

use std::time::{Duration, Instant};

use bailiwick_frame::Encoder;
use bailiwick_replication::GroupId;

use super::Connection;
use crate::authority::Stray;
use crate::group::{Item, Proposal};
use crate::routing::{Route, Routes};
use crate::worker::{Ticket, Worker};

/// The first and the longest wait before a request is tried again.
const FIRST_PAUSE: Duration = Duration::from_millis(1);
const LONGEST_PAUSE: Duration = Duration::from_millis(20);
/// So many groups are asked on each other's word before there is a pause.
const MAX_HOPS: u32 = 3;

impl Connection {
    /// Has the items that strayed executed where they belong.
    pub(super) async fn follow_strays(&mut self, proposal: &mut Proposal) {
        let strayed = std::mem::take(&mut proposal.strayed);
        let replies = std::mem::take(&mut proposal.replies);
        let mut written = 0;
        for lost in strayed {
            proposal
                .replies
                .extend_from_slice(&replies[written..lost.reply.start]);
            written = lost.reply.end;
            let item = std::mem::replace(&mut proposal.items[lost.item], Item::Expire(0));
            if let Item::Transaction(transaction) = &item
                && !transaction.watched.is_empty()
                && matches!(lost.stray, Stray::Gone { .. })
            {
                // Whether the keys have changed is known where they were watched, and nowhere else.
                Encoder::new(&mut proposal.replies, proposal.protocol).null_array();
                continue;
            }
            let errand = single(self.guard.worker.clone().ticket(), proposal, item);
            let mut found = follow(&self.guard.worker, errand, lost.stray).await;
            proposal.replies.append(&mut found.replies);
            proposal.failures.append(&mut found.failures);
            proposal.is_discarded = found.is_discarded;
        }
        proposal.replies.extend_from_slice(&replies[written..]);
    }
}

/// A proposal of one item of another one.
fn single(ticket: Ticket, of: &Proposal, item: Item) -> (Ticket, Box<Proposal>) {
    let mut proposal = ticket.proposal();
    proposal.protocol = of.protocol;
    let item = match item {
        Item::Command {
            request,
            database,
            command,
        } => {
            proposal.set_request(of.requests.args(request, &of.buffer));
            Item::Command {
                request: 0,
                database,
                command,
            }
        }
        item => item,
    };
    proposal.items.push(item);
    (ticket, proposal)
}

/// Asks on until somebody has executed the proposal's only item, or time is up; then the error of
/// the last attempt is the reply.
pub(super) async fn follow(
    worker: &Worker,
    (ticket, mut proposal): (Ticket, Box<Proposal>),
    mut stray: Stray,
) -> Box<Proposal> {
    let timeout_ms = worker.node.settings.load().request_timeout_ms;
    let deadline = Instant::now() + Duration::from_millis(timeout_ms);
    let (mut pause, mut hops) = (FIRST_PAUSE, 0);
    loop {
        let route = worker.node.routes().map_or(Ok(None), |routes| {
            Ok(match route_of(&routes, &proposal.items[0], &proposal)? {
                Route::Group(group) => Some((group, knows_better(&routes, &stray))),
                Route::Keyless | Route::Several => None,
            })
        });
        let route = match route {
            Ok(route) => route,
            Err(error) => {
                crate::group::fail(&mut proposal, &error);
                return proposal;
            }
        };
        let hint = hint(&stray).filter(|_| hops < MAX_HOPS);
        proposal.group = match (route, hint) {
            (Some((group, true)), _) => group,
            (_, Some(group)) => {
                hops += 1;
                group
            }
            (route, None) => {
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
                hops = 0;
                route.map_or(proposal.group, |(group, _)| group)
            }
        };
        proposal.replies.clear();
        proposal.is_discarded = false;
        proposal = ticket.submit(proposal).await;
        match proposal.strayed.pop() {
            Some(strayed) if Instant::now() < deadline => stray = strayed.stray,
            _ => return proposal,
        }
    }
}

/// Who serves the key, as far as the group knows that was asked.
fn hint(stray: &Stray) -> Option<GroupId> {
    match stray {
        Stray::Gone { group, .. } => *group,
        Stray::Held { .. } => None,
    }
}

/// Whether the directory has a newer record of the prefix than the group that was asked.
fn knows_better(routes: &Routes, stray: &Stray) -> bool {
    match stray {
        Stray::Held { .. } => false,
        Stray::Gone { prefix, epoch, .. } => {
            let (known, owner) = routes.view().owner(prefix);
            known == prefix && owner.epoch > *epoch
        }
    }
}

fn route_of(
    routes: &Routes,
    item: &Item,
    proposal: &Proposal,
) -> Result<Route, crate::commands::CommandError> {
    match item {
        Item::Command {
            request, command, ..
        } => {
            let args = proposal.requests.args(*request, &proposal.buffer);
            match routes.of(command, args) {
                Route::Several => Err(crate::routing::CROSSSLOT),
                route => Ok(route),
            }
        }
        Item::Transaction(transaction) => {
            let commands = transaction.commands();
            let commands = commands.map(|(command, _, args)| (command, args));
            let group = routes.of_transaction(&transaction.watched, commands)?;
            Ok(group.map_or(Route::Keyless, Route::Group))
        }
        Item::Expire(_) | Item::Genesis { .. } => Ok(Route::Keyless),
    }
}
