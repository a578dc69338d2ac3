//! Single requests that a connection makes of a group beside the batch of its client.

use std::rc::Rc;

use bailiwick_frame::{Args, Protocol};

use super::follow;
use crate::commands::{Known, lookup_logged};
use crate::group::{Item, Proposal, ROOT_GROUP, fail};
use crate::routing::{CROSSSLOT, Route};
use crate::worker::{Ticket, Worker};

/// A proposal of one request, with the ticket that it comes back to, and the command.
pub(super) fn prepared(
    worker: &Rc<Worker>,
    args: Args<'_>,
    database: usize,
    protocol: Protocol,
) -> (Ticket, Box<Proposal>, Known) {
    let ticket = worker.ticket();
    let mut proposal = ticket.proposal();
    proposal.protocol = protocol;
    proposal.set_request(args);
    let command = lookup_logged(args).expect("the request was looked up, and wrapping is ours");
    proposal.items.push(Item::Command {
        request: 0,
        database,
        command,
    });
    (ticket, proposal, command)
}

/// Has a request executed by the group of its keys, wherever that is.
pub(super) async fn ask(
    worker: &Rc<Worker>,
    args: Args<'_>,
    database: usize,
    protocol: Protocol,
) -> Box<Proposal> {
    let (ticket, mut asking, command) = prepared(worker, args, database, protocol);
    asking.group = match worker.node.routes().map(|routes| routes.of(&command, args)) {
        None | Some(Route::Keyless) => ROOT_GROUP,
        Some(Route::Group(group)) => group,
        Some(Route::Several) => {
            fail(&mut asking, &CROSSSLOT);
            return asking;
        }
    };
    ask_on(worker, (ticket, asking)).await
}

/// Has a request executed by the group that the proposal names, or wherever its keys are instead.
pub(super) async fn ask_on(
    worker: &Rc<Worker>,
    (ticket, asking): (Ticket, Box<Proposal>),
) -> Box<Proposal> {
    let mut answered = ticket.submit(asking).await;
    if let Some(strayed) = answered.strayed.pop() {
        let deadline = follow::deadline(worker);
        answered = follow::follow(worker, (ticket, answered), strayed.stray, deadline).await;
    }
    answered
}

/// How long it took to execute.
pub(super) fn nanos_of(answered: &Proposal) -> u64 {
    answered.timings.iter().map(|timing| timing.nanos).sum()
}
