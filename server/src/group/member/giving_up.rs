//! Errors: what clients hear when the group cannot answer them in time.

use super::Member;
use crate::commands::CommandError;
use crate::group::answer::fail;
use crate::group::proposal::Proposal;

impl Member {
    /// Answers those that have waited for too long.
    pub(super) fn give_up(&mut self, now: u64) {
        let late = self.flights.take_if(|_, flight| now >= flight.deadline);
        for flight in late {
            if flight.times_sent == 0 {
                self.fail_for_want_of_leader(flight.proposals);
            } else {
                self.fail_all(flight.proposals, &CommandError::UNCERTAIN);
            }
        }
        while self.waiting.front().is_some_and(|(until, _)| now >= *until) {
            if let Some((_, proposal)) = self.waiting.pop_front() {
                self.fail_for_want_of_leader(vec![proposal]);
            }
        }
        for proposals in self.reads.take_late(now, &mut self.replica) {
            self.fail_for_want_of_leader(proposals);
        }
    }

    pub(super) fn fail_for_want_of_leader(&mut self, proposals: Vec<Box<Proposal>>) {
        for proposal in proposals {
            let error = self.no_leader(&proposal);
            self.fail_all(vec![proposal], &error);
        }
    }

    pub(super) fn fail_all(&mut self, mut proposals: Vec<Box<Proposal>>, error: &CommandError) {
        for proposal in &mut proposals {
            fail(proposal, error);
        }
        self.answered.append(&mut proposals);
    }

    fn no_leader(&self, proposal: &Proposal) -> CommandError {
        let (group, configuration) = (self.describe_owner(proposal), self.replica.configuration());
        let own = self.replica.member();
        if self.is_held_up_by_disks() {
            return CommandError::composed(format!(
                "CLUSTERDOWN {group} cannot answer because the disks of too many of its {} members \
                 are full. Nothing was done; make room there",
                configuration.members.len()
            ));
        }
        if configuration.members.contains(&own) {
            return CommandError::composed(format!(
                "CLUSTERDOWN {group} has no leader that this node can reach: a majority of its {} \
                 members must be up and connected. Nothing was done",
                configuration.members.len()
            ));
        }
        CommandError::composed(format!(
            "CLUSTERDOWN {group} has no member on node {}. Nothing was done; connect to a member",
            own.node
        ))
    }

    /// The group and the prefix of a proposal's first key, for people.
    fn describe_owner(&self, proposal: &Proposal) -> String {
        let name = self.shared.name();
        let state = self.shared.state.read();
        let prefix = proposal
            .first_key()
            .and_then(|key| state.authority.owner_of(key));
        match prefix {
            _ if name.is_empty() => "The group of the keys".to_owned(),
            Some((prefix, _)) => {
                let prefix = prefix.escape_ascii();
                format!("Group '{name}', which owns prefix '{prefix}',")
            }
            None => format!("Group '{name}'"),
        }
    }
}
