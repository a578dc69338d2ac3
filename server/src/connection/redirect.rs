//! Telling a client to go elsewhere, for those who came in by the cluster port or asked for it.

use bailiwick_frame::Args;
use bailiwick_replication::{GroupId, NodeId};

use super::Connection;
use crate::commands::{CommandError, Flag, Keys, Known};
use crate::group::ROOT_GROUP;
use crate::node::Node;
use crate::node::clients::ClientFlag;
use crate::routing::Routes;
use crate::routing::redirect::{Around, decide};

impl Connection {
    /// The error that sends the client to where the request belongs; `None` if it is executed from
    /// here, as it is for most clients whatever it is.
    pub(super) fn redirect(&self, command: &Known, args: Args<'_>) -> Option<CommandError> {
        if command.keys == Keys::None {
            return None;
        }
        let node = &*self.guard.worker.node;
        let (_, me) = node.settings.cluster()?;
        let around = Here {
            node,
            me: *me,
            routes: node.routes(),
            reads_copies: self.guard.client.has(ClientFlag::Readonly)
                && command.has(Flag::Readonly),
        };
        let keys: Vec<&[u8]> = (command.keys.indexes(args))
            .map(|index| args.arg(index))
            .collect();
        let keys = keys.iter().copied();
        let (slot, leader) = decide(self.session.redirects_all, keys, &node.slots(), &around)?;
        let address = node.address_of(leader, self.session.port)?;
        Some(CommandError::composed(format!("MOVED {slot} {address}")))
    }
}

/// What this node knows.
struct Here<'n> {
    node: &'n Node,
    me: NodeId,
    routes: Option<Routes>,
    /// The request may be answered by a copy.
    reads_copies: bool,
}

impl Around for Here<'_> {
    fn me(&self) -> NodeId {
        self.me
    }

    fn group_of(&self, key: &[u8]) -> GroupId {
        let routes = self.routes.as_ref();
        routes.map_or(ROOT_GROUP, |routes| routes.group_of(key))
    }

    fn leader_of(&self, group: GroupId) -> Option<NodeId> {
        self.node.leader_of(group)
    }

    fn serves_copy(&self, group: GroupId) -> bool {
        let seat = self.node.seats.get(group);
        self.reads_copies && seat.is_some_and(|seat| seat.standing().takes_part())
    }
}
