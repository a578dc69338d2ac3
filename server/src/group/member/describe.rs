//! What there is to say of a group, for people.

use bailiwick_replication::{ConfigurationId, LogIndex, NodeId};

use super::{Member, TransferProgress};

/// A group as one of its members sees it.
#[derive(Clone, Debug)]
pub struct Description {
    /// This node.
    pub node: NodeId,
    /// The configuration; 0 if this node knows of none yet.
    pub configuration: ConfigurationId,
    /// The members of the configuration.
    pub members: Vec<MemberDescription>,
    /// Who leads, as far as this node knows.
    pub leader: Option<NodeId>,
    /// The number of the highest ballot promised here.
    pub ballot: u32,
    /// For how long this node may read without asking, in milliseconds; 0 if it may not, `None` if
    /// it always may, being the only member.
    pub lease_left_ms: Option<u64>,
    /// The last entry of the log, decided or not.
    pub end: LogIndex,
    /// Entries up to this one are in checkpoints only.
    pub trimmed: LogIndex,
    /// The checkpoint that is being fetched.
    pub transfer: Option<TransferProgress>,
    /// This node has another data directory than the group knows.
    pub is_stranger: bool,
}

/// A member as another one sees it.
#[derive(Clone, Debug)]
pub struct MemberDescription {
    /// The node.
    pub node: NodeId,
    /// Its link is up, or it is this node.
    pub is_connected: bool,
    /// It leads.
    pub leads: bool,
    /// It catches up, and takes no part in decisions.
    pub is_catching_up: bool,
    /// It has no room on its disk.
    pub is_full: bool,
    /// How far its log is decided.
    pub decided: LogIndex,
    /// How far its state is.
    pub applied: LogIndex,
    /// How far its log is on disk.
    pub durable: LogIndex,
    /// Its newest checkpoint.
    pub checkpoint: LogIndex,
    /// When it was last heard of, in milliseconds ago; `None` if never.
    pub last_contact_ms: Option<u64>,
}

impl Member {
    /// Describes the group as this node sees it.
    #[must_use]
    pub fn describe(&self, now: u64) -> Description {
        let replica = &self.replica;
        let configuration = replica.configuration();
        let members = configuration.members.iter();
        Description {
            node: replica.member().node,
            configuration: configuration.id,
            members: members
                .map(|member| self.describe_member(member.node, now))
                .collect(),
            leader: replica.leader().filter(|_| !replica.is_idle()),
            ballot: replica.ballot(),
            lease_left_ms: lease_left_ms(replica.lease_until(), now),
            end: replica.end(),
            trimmed: replica.trimmed(),
            transfer: self.transfer.progress(),
            is_stranger: self.bootstrap.is_stranger,
        }
    }

    fn describe_member(&self, node: NodeId, now: u64) -> MemberDescription {
        let replica = &self.replica;
        let leads = replica.leader() == Some(node) && !replica.is_idle();
        if node == replica.member().node {
            return MemberDescription {
                node,
                is_connected: true,
                leads,
                is_catching_up: replica.is_idle(),
                is_full: self.is_full,
                decided: replica.decided(),
                applied: replica.applied(),
                durable: replica.durable(),
                checkpoint: self.transfer.newest().unwrap_or(LogIndex::ZERO),
                last_contact_ms: Some(0),
            };
        }
        let (status, heard_at) = replica.status_of(node).unwrap_or_default();
        MemberDescription {
            node,
            is_connected: self.peers.contains_key(&node),
            leads,
            is_catching_up: status.is_idle,
            is_full: status.is_full,
            decided: status.decided,
            applied: status.applied,
            durable: status.durable,
            checkpoint: status.checkpoint,
            last_contact_ms: (heard_at > 0).then(|| now.saturating_sub(heard_at) / 1_000_000),
        }
    }
}

/// `u64::MAX` is a lease without end.
fn lease_left_ms(until: u64, now: u64) -> Option<u64> {
    (until < u64::MAX).then(|| until.saturating_sub(now) / 1_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_without_end_has_no_time_left() {
        assert_eq!(lease_left_ms(u64::MAX, 5), None);
        assert_eq!(lease_left_ms(0, 5), Some(0));
        assert_eq!(lease_left_ms(7_000_005, 5), Some(7));
    }
}
