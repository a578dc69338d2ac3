//! What a client reads that keeps copies: the keys are remembered before they are read, so that no
//! change is missed (`notices::Tracking` says why that is enough).

use bailiwick_frame::Args;
use bailiwick_replication::GroupId;

use super::{Connection, QueuedStep};
use crate::commands::{Flag, Known};
use crate::group::Arguments;
use crate::node::clients::ClientFlag;

impl Connection {
    /// A command is about to run in a group.
    #[inline]
    pub(super) fn remember(&self, group: GroupId, command: Known, args: Args<'_>) {
        if self.session.tracking.is_some() && command.has(Flag::Readonly) {
            self.remember_keys(group, command, args);
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
