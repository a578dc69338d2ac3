//! Where a request runs.
//!
//! [`Routes`] is one moment's knowledge: which group owns which prefix, as the directory has it. It
//! may be out of date, which costs a hop and never a wrong answer, because every group checks for
//! itself what it serves (`authority`).
//!
//! A command whose keys belong to one group runs there. One that names no key concerns the whole
//! keyspace, and one whose keys belong to several groups is taken apart if its parts make sense by
//! themselves; both are the business of `spread`. What is neither is refused.

pub mod errand;
pub mod listing;
pub mod orphan;
pub mod pursuit;
pub mod redirect;
pub mod slots;
pub mod spread;
pub mod topology;
pub mod vigil;

use std::collections::BTreeSet;
use std::sync::Arc;

use arc_swap::Guard;
use bailiwick_frame::Args;
use bailiwick_replication::GroupId;

use crate::commands::{Command, CommandError, Keys, Known, Spread};
use crate::directory::View;
use crate::group::ROOT_GROUP;
use crate::state::Watched;

/// Where a request runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route {
    /// In this group.
    Group(GroupId),
    /// It names no key.
    Keyless,
    /// Its keys belong to several groups.
    Several,
}

/// The directory at one moment.
pub struct Routes {
    view: Guard<Arc<View>>,
}

impl Routes {
    /// By what the directory holds.
    #[must_use]
    pub fn new(view: Guard<Arc<View>>) -> Self {
        Self { view }
    }

    /// The directory at this moment.
    #[must_use]
    pub fn view(&self) -> &View {
        &self.view
    }

    /// The group that owns a key.
    #[must_use]
    pub fn group_of(&self, key: &[u8]) -> GroupId {
        self.view.owner(key).1.group
    }

    /// The groups that own keys with this head: the one that owns the head, and all below it.
    #[must_use]
    pub fn groups_with(&self, head: &[u8]) -> BTreeSet<GroupId> {
        let below = self.view.under(head).map(|(_, owner)| owner.group);
        below.chain([self.group_of(head)]).collect()
    }

    /// A prefix of keys with this head that the group owns, or any if none is given.
    #[must_use]
    pub fn prefix_with(&self, head: &[u8], group: Option<GroupId>) -> Option<Vec<u8>> {
        let (prefix, owner) = self.view.owner(head);
        let mut all = std::iter::once((prefix, owner)).chain(self.view.under(head));
        let fits = |owner: GroupId| group.is_none_or(|group| group == owner);
        all.find(|(_, owner)| fits(owner.group))
            .map(|(prefix, _)| prefix.to_vec())
    }

    /// Where a command runs.
    #[must_use]
    pub fn of(&self, command: &Command, args: Args<'_>) -> Route {
        let keys = command.keys.indexes(args);
        match self.of_keys(keys.map(|index| args.arg(index))) {
            Route::Keyless if command.spread == Spread::Anywhere => {
                Route::Group(self.group_of(b""))
            }
            // Where its keys are cannot be told, so it is malformed, and any group will say why.
            Route::Keyless if command.keys != Keys::None => Route::Group(ROOT_GROUP),
            route => route,
        }
    }

    /// Where something with these keys runs.
    pub fn of_keys<'k>(&self, keys: impl IntoIterator<Item = &'k [u8]>) -> Route {
        let mut groups = keys.into_iter().map(|key| self.group_of(key));
        let Some(first) = groups.next() else {
            return Route::Keyless;
        };
        if groups.all(|group| group == first) {
            Route::Group(first)
        } else {
            Route::Several
        }
    }

    /// Where a transaction runs: all its keys, watched ones included, must belong to one group.
    /// `None` if it names no key.
    ///
    /// # Errors
    /// They do not, or one of the commands concerns all keys there are.
    pub fn of_transaction<'t>(
        &self,
        watched: &[Watched],
        commands: impl IntoIterator<Item = (Known, Args<'t>)>,
    ) -> Result<Option<GroupId>, CommandError> {
        let mut group = None;
        let watched = watched.iter().map(|watched| self.group_of(&watched.key));
        let mut routes: Vec<Route> = watched.map(Route::Group).collect();
        for (command, args) in commands {
            let names_keys = command.keys.indexes(args).next().is_some();
            if command.spread == Spread::Anywhere && !names_keys {
                continue;
            }
            match self.of(&command, args) {
                Route::Keyless => return Err(keyless_in_transaction(&command)),
                route => routes.push(route),
            }
        }
        for route in routes {
            match route {
                Route::Group(id) if group.is_none_or(|group| group == id) => group = Some(id),
                _ => return Err(CROSSSLOT),
            }
        }
        Ok(group)
    }
}

fn keyless_in_transaction(command: &Known) -> CommandError {
    CommandError::composed(format!(
        "CROSSSLOT '{}' concerns the keys of all groups, which do nothing together; use it outside \
         of a transaction",
        command.name
    ))
}

/// The refusal of what would have to be atomic over several groups.
pub const CROSSSLOT: CommandError = CommandError::text(
    "CROSSSLOT Keys in request don't hash to the same slot: they belong to different groups, \
     which do nothing together; see ROUTE EXPLAIN",
);
