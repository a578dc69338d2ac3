//! What a client reads that keeps copies: the keys are remembered before they are read, so that no
//! change is missed (`notices::Tracking` says why that is enough).
//!
//! What scripts read is not known before they run. Where this node runs them, which it does for all
//! groups of which it is a member, it notes the keys and remembers them before a later write can be
//! told of: under the lock under which the script has read, or by the thread that applies the
//! group's log, before it tells of what that entry and later ones did. A script that was run
//! elsewhere costs the client all its copies, behind the reply.

use bailiwick_frame::Args;
use bailiwick_replication::GroupId;

use super::{Connection, QueuedStep};
use crate::commands::{Flag, Known};
use crate::group::{Arguments, Proposal};
use crate::node::clients::ClientFlag;

impl Connection {
    /// A command is about to run in a group.
    #[inline]
    pub(super) fn remember(&self, group: GroupId, command: Known, args: Args<'_>) {
        // What a script reads is known when it has run (`Connection::reader`).
        let reads = command.has(Flag::Readonly) && !command.runs_script();
        if self.session.tracking.is_some() && reads {
            self.remember_keys(group, command, args);
        }
    }

    /// For whom it is to be noted what scripts read: this client, if it keeps copies; 0 for nobody.
    pub(super) fn reader(&self) -> u64 {
        let mode = self.session.tracking.as_ref();
        let remembers = mode.is_some_and(|mode| mode.remembers());
        if remembers { self.guard.client.id } else { 0 }
    }

    /// Scripts were run for a client that keeps copies. If that was not here, nobody here knows
    /// what they have read; so it is to give up all it has.
    pub(super) fn note_reader(&self, proposal: &mut Proposal) {
        let (reader, ran_here) = (
            std::mem::take(&mut proposal.reader),
            std::mem::take(&mut proposal.ran_here),
        );
        if reader > 0 && !ran_here {
            self.distrust();
        }
    }

    fn remember_keys(&self, group: GroupId, command: Known, args: Args<'_>) {
        let mode = self.session.tracking.as_ref();
        if !mode.is_some_and(|mode| mode.remembers()) {
            return;
        }
        let keys = command.keys.indexes(args);
        let keys: Vec<&[u8]> = keys.map(|index| args.arg(index)).collect();
        if keys.is_empty() {
            return;
        }
        let (worker, client) = (&self.guard.worker, &self.guard.client);
        let may_be_stale = client.has(ClientFlag::Readonly);
        let notices = &worker.node.notices;
        notices.remember(client.id, group, may_be_stale, &keys);
    }

    /// The commands of a transaction are about to run in a group.
    pub(super) fn remember_steps(
        &self,
        group: GroupId,
        steps: &[QueuedStep],
        arguments: &Arguments,
    ) {
        if self.session.tracking.is_some() {
            for step in steps {
                self.remember(group, step.command, arguments.get(step.request));
            }
        }
    }

    /// A command is about to be taken apart.
    pub(super) fn remember_spread(&self, command: Known, args: Args<'_>) {
        if self.session.tracking.is_none() || !command.has(Flag::Readonly) {
            return;
        }
        let Some(routes) = self.guard.worker.node.routes() else {
            return;
        };
        let mode = self.session.tracking.as_ref();
        if !mode.is_some_and(|mode| mode.remembers()) {
            return;
        }
        let client = &self.guard.client;
        let may_be_stale = client.has(ClientFlag::Readonly);
        for index in command.keys.indexes(args) {
            let key = args.arg(index);
            let group = routes.group_of(key);
            let notices = &self.guard.worker.node.notices;
            notices.remember(client.id, group, may_be_stale, &[key]);
        }
    }

    /// Keys were not where they were looked for, so nobody here knows who tells of their changes.
    pub(super) fn distrust(&self) {
        if self.session.tracking.is_some() {
            let tracking = &self.guard.worker.node.notices.tracking;
            tracking.invalidate_all_of(self.guard.client.id);
        }
    }

    /// A command has run: CLIENT CACHING is over, unless this was it.
    #[inline]
    pub(super) fn end_caching(&mut self, command: Known) {
        if let Some(mode) = &mut self.session.tracking
            && self.session.queued.is_none()
            && command.parent != "client"
        {
            mode.caching = false;
        }
    }
}
