//! Where a request is asked for next that strayed.
//!
//! A group that does not serve a key does nothing and says so, with what it knows of the key's
//! whereabouts. Its word is followed if the directory has nothing newer, but only for a few hops in
//! a row: two groups that know too little would send a request to and fro. Then, and while a prefix
//! is being moved, there is a pause, which grows, before the directory is asked again.
//!
//! What WATCH saw is numbers of the group that it asked, and says nothing to any other. So a
//! transaction that watches something is never asked for elsewhere: what moved has changed.
//!
//! Not here: waiting, deadlines, submitting; the connection does that, and the simulator.

use std::time::Duration;

use bailiwick_replication::GroupId;

use super::{CROSSSLOT, Route, Routes};
use crate::authority::Stray;
use crate::commands::CommandError;
use crate::group::{Item, Proposal};

/// The first and the longest wait before a request is tried again.
const FIRST_PAUSE: Duration = Duration::from_millis(1);
const LONGEST_PAUSE: Duration = Duration::from_millis(20);
/// So many groups are asked on each other's word before there is a pause.
const MAX_HOPS: u32 = 3;

/// One request on its way from group to group.
#[derive(Debug)]
pub struct Pursuit {
    pause: Duration,
    hops: u32,
    /// The group whose numbers a transaction brings along.
    watched_in: Option<GroupId>,
}

/// What to do next.
#[derive(Clone, Debug, PartialEq)]
pub enum Next {
    /// Ask a group.
    Ask {
        /// The group.
        group: GroupId,
        /// How long to wait before that.
        pause: Duration,
    },
    /// The transaction does not run, as if something had changed that it watches.
    Changed,
    /// The keys belong to several groups by now.
    Refused(CommandError),
}

impl Pursuit {
    /// Of a proposal's only item, which the group that it was given to does not serve.
    #[must_use]
    pub fn new(proposal: &Proposal) -> Self {
        let watches = match &proposal.items[0] {
            Item::Transaction(transaction) => !transaction.watched.is_empty(),
            Item::Command { .. } | Item::Expire(_) | Item::Genesis { .. } => false,
        };
        Self {
            pause: FIRST_PAUSE,
            hops: 0,
            watched_in: watches.then_some(proposal.group),
        }
    }

    /// What to do after the group that the proposal was given to last has said this. Without routes
    /// there is one group alone.
    pub fn next(&mut self, routes: Option<&Routes>, proposal: &Proposal, stray: &Stray) -> Next {
        let route = match routes.map(|routes| (route_of(routes, proposal), routes)) {
            Some((Ok(Route::Group(group)), routes)) => Some((group, knows_better(routes, stray))),
            Some((Err(error), _)) => return Next::Refused(error),
            Some((Ok(Route::Keyless | Route::Several), _)) | None => None,
        };
        let hint = hint(stray).filter(|_| self.hops < MAX_HOPS);
        let (group, pause) = match (route, hint) {
            (Some((group, true)), _) => (group, Duration::ZERO),
            (_, Some(group)) => {
                self.hops += 1;
                (group, Duration::ZERO)
            }
            (route, None) => {
                let pause = self.pause;
                self.pause = (pause * 2).min(LONGEST_PAUSE);
                self.hops = 0;
                (route.map_or(proposal.group, |(group, _)| group), pause)
            }
        };
        if self
            .watched_in
            .is_some_and(|watched_in| watched_in != group)
        {
            return Next::Changed;
        }
        Next::Ask { group, pause }
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

fn route_of(routes: &Routes, proposal: &Proposal) -> Result<Route, CommandError> {
    match &proposal.items[0] {
        Item::Command {
            request, command, ..
        } => {
            let args = proposal.requests.args(*request, &proposal.buffer);
            match routes.of(command, args) {
                Route::Several => Err(CROSSSLOT),
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::group::Transaction;
    use crate::keyspace::WatchState;
    use crate::state::Watched;

    fn exec(watched: Vec<Watched>) -> Box<Proposal> {
        let mut proposal = Proposal::new(Arc::default(), 0);
        proposal.group = GroupId(1);
        proposal.items.push(Item::Transaction(Box::new(Transaction {
            watched,
            ..Transaction::default()
        })));
        proposal
    }

    fn gone(group: u32) -> Stray {
        Stray::Gone {
            prefix: b"a:".to_vec(),
            group: Some(GroupId(group)),
            epoch: 3,
        }
    }

    #[test]
    fn hints_are_followed_for_a_few_hops_before_there_is_a_pause() {
        let proposal = exec(Vec::new());
        let mut pursuit = Pursuit::new(&proposal);
        for group in [2, 1, 2] {
            let next = pursuit.next(None, &proposal, &gone(group));
            let (group, pause) = (GroupId(group), Duration::ZERO);
            assert_eq!(next, Next::Ask { group, pause });
        }
        let next = pursuit.next(None, &proposal, &gone(2));
        let (group, pause) = (GroupId(1), FIRST_PAUSE);
        assert_eq!(next, Next::Ask { group, pause });
    }

    #[test]
    fn what_was_watched_in_one_group_is_not_compared_in_another() {
        let proposal = exec(vec![Watched {
            database: 0,
            key: b"a:1".to_vec(),
            state: WatchState(7),
        }]);
        let mut pursuit = Pursuit::new(&proposal);
        let held = Stray::Held {
            prefix: b"a:".to_vec(),
        };
        let waits = pursuit.next(None, &proposal, &held);
        assert!(matches!(waits, Next::Ask { group, .. } if group == GroupId(1)));
        assert_eq!(pursuit.next(None, &proposal, &gone(2)), Next::Changed);
    }
}
