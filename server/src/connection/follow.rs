//! Requests whose keys are not where they were looked for.
//!
//! A group that does not serve a key does nothing and says so, with what it knows of the key's
//! whereabouts. The connection asks there, or where the directory says by now; while a prefix is
//! being moved, it waits ([`Pursuit`] decides). So a move costs a client time and no error, unless
//! it takes longer than the request timeout, which all that strayed of a pipeline have together.
//! The replies take the places that were kept for them.

use std::time::{Duration, Instant};

use bailiwick_frame::Encoder;

use super::Connection;
use crate::authority::Stray;
use crate::group::{Item, Proposal};
use crate::routing::pursuit::{Next, Pursuit};
use crate::worker::{Ticket, Worker};

impl Connection {
    /// Has the items that strayed executed where they belong. Those for which there is no time left
    /// keep the error that stands for them.
    pub(super) async fn follow_strays(&mut self, proposal: &mut Proposal) {
        let strayed = std::mem::take(&mut proposal.strayed);
        let replies = std::mem::take(&mut proposal.replies);
        let mut written = 0;
        let deadline = deadline(&self.guard.worker);
        for lost in strayed {
            if Instant::now() >= deadline {
                self.guard.worker.node.note_error(&lost.stray.to_string());
                continue;
            }
            proposal
                .replies
                .extend_from_slice(&replies[written..lost.reply.start]);
            written = lost.reply.end;
            let item = std::mem::replace(&mut proposal.items[lost.item], Item::Expire(0));
            let errand = single(self.guard.worker.clone().ticket(), proposal, item);
            let mut found = follow(&self.guard.worker, errand, lost.stray, deadline).await;
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
    proposal.group = of.group;
    proposal.protocol = of.protocol;
    proposal.author = of.author;
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
    proposal.note_scripts();
    (ticket, proposal)
}

/// Until when requests are followed that are found to have strayed now.
pub(super) fn deadline(worker: &Worker) -> Instant {
    Instant::now() + Duration::from_millis(worker.node.settings.load().request_timeout_ms)
}

/// Asks on until somebody has executed the proposal's only item, or time is up; then the error of
/// the last attempt is the reply.
pub(super) async fn follow(
    worker: &Worker,
    (ticket, mut proposal): (Ticket, Box<Proposal>),
    mut stray: Stray,
    deadline: Instant,
) -> Box<Proposal> {
    let mut pursuit = Pursuit::new(&proposal);
    loop {
        let next = {
            let routes = worker.node.routes();
            pursuit.next(routes.as_ref(), &proposal, &stray)
        };
        let (group, pause) = match next {
            Next::Ask { group, pause } => (group, pause),
            Next::Changed => {
                proposal.replies.clear();
                Encoder::new(&mut proposal.replies, proposal.protocol).null_array();
                proposal.is_discarded = true;
                return proposal;
            }
            Next::Refused(error) => {
                crate::group::fail(&mut proposal, &error);
                return proposal;
            }
        };
        if !pause.is_zero() {
            tokio::time::sleep(pause).await;
        }
        proposal.group = group;
        proposal.replies.clear();
        proposal.is_discarded = false;
        proposal = ticket.submit(proposal).await;
        match proposal.strayed.pop() {
            Some(strayed) if Instant::now() < deadline => stray = strayed.stray,
            _ => return proposal,
        }
    }
}
