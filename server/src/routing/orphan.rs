//! What a [`Vigil`](super::vigil::Vigil) leaves behind that ends before it is settled.
//!
//! Not here: when it is given up, and the way to the groups; threads do that, and the simulator.

use std::time::Duration;

use bailiwick_replication::GroupId;

use super::vigil::Surroundings;
use crate::commands::Unblocked;
use crate::group::Arguments;
use crate::state::WaiterId;

/// After so long a group is asked again that has not said whether an orphan is gone.
pub(super) const GIVE_UP_AGAIN: Duration = Duration::from_secs(1);

/// A waiter of a client that waits no longer: it has gone, or could not be told what became of it.
///
/// It is given up in its group's log, again and again until the group has answered. One that is not
/// found may still be on its way there, behind a message that was lost; so it is given up once more
/// when nothing of that time can be on its way.
#[derive(Clone, Debug)]
pub struct Orphan {
    id: WaiterId,
    /// Where it was seen last.
    group: GroupId,
    /// By which the group is found where else it may be.
    key: Vec<u8>,
    /// It was not found once.
    was_missed: bool,
}

impl Orphan {
    pub(super) fn new(id: WaiterId, group: GroupId, key: Vec<u8>) -> Self {
        Self {
            id,
            group,
            key,
            was_missed: false,
        }
    }

    /// The request that has it removed.
    #[must_use]
    pub fn words(&self) -> Arguments {
        about(b"_UNBLOCK", self.id)
    }

    /// Who is asked first.
    #[must_use]
    pub fn group(&self) -> GroupId {
        self.group
    }

    /// Who is to be asked as well, after the first one has answered: it may be where its key is.
    pub fn who_else(&self, reply: &[u8], around: &impl Surroundings) -> Option<GroupId> {
        let owner = around.owner_of(&self.key);
        let is_gone = Unblocked::of_reply(reply) == Unblocked::Gone;
        (owner != self.group && is_gone).then_some(owner)
    }

    /// After how long it is to be given up again, if at all, once the last of those who were asked
    /// has answered. Nothing that was sent is on its way for longer than twice `request_timeout`.
    pub fn rest(&mut self, reply: &[u8], request_timeout: Duration) -> Option<Duration> {
        if is_unanswered(reply) {
            return Some(GIVE_UP_AGAIN);
        }
        let is_gone = Unblocked::of_reply(reply) == Unblocked::Gone;
        let is_missed = is_gone && !std::mem::replace(&mut self.was_missed, true);
        is_missed.then(|| 2 * request_timeout)
    }
}

/// Whether a group could not be asked.
pub(super) fn is_unanswered(reply: &[u8]) -> bool {
    let codes: [&[u8]; 6] = [
        b"-BUSY",
        b"-UNCERTAIN",
        b"-CLUSTERDOWN",
        b"-TRYAGAIN",
        b"-MISCONF",
        b"-CROSSSLOT",
    ];
    codes.iter().any(|code| reply.starts_with(code))
}

/// A request about a waiter.
pub(super) fn about(name: &[u8], id: WaiterId) -> Arguments {
    let words = words_of(id);
    let mut request = Arguments::default();
    request.push_all(std::iter::once(name).chain(words.iter().map(String::as_bytes)));
    request
}

pub(super) fn words_of(id: WaiterId) -> [String; 3] {
    [
        id.node.to_string(),
        id.incarnation.to_string(),
        id.number.to_string(),
    ]
}
