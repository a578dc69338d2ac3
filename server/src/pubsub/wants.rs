//! What another node has listeners for, as it has announced.

use std::collections::{BTreeSet, HashSet};

use super::wire::Change;
use super::{Kind, Message};
use crate::commands::glob_matches;

/// What a node has listeners for.
#[derive(Default)]
pub(super) struct Wants {
    all: bool,
    channels: HashSet<Box<[u8]>>,
    patterns: BTreeSet<Box<[u8]>>,
    shard_channels: HashSet<Box<[u8]>>,
    /// The classes of events that it wants.
    pub(super) classes: u32,
}

impl Wants {
    /// The node says all that it wants anew, but for classes of events.
    pub(super) fn begin(&mut self) {
        *self = Self {
            classes: self.classes,
            ..Self::default()
        };
    }

    /// What the node says has changed.
    pub(super) fn change(&mut self, change: Change<'_>) {
        match change {
            Change::All => {
                *self = Self {
                    all: true,
                    classes: self.classes,
                    ..Self::default()
                };
            }
            Change::Classes(classes) => self.classes = classes,
            Change::Add(Kind::Channel, name) => {
                self.channels.insert(name.into());
            }
            Change::Add(Kind::Pattern, name) => {
                self.patterns.insert(name.into());
            }
            Change::Add(Kind::Shard, name) => {
                self.shard_channels.insert(name.into());
            }
            Change::Remove(Kind::Channel, name) => {
                self.channels.remove(name);
            }
            Change::Remove(Kind::Pattern, name) => {
                self.patterns.remove(name);
            }
            Change::Remove(Kind::Shard, name) => {
                self.shard_channels.remove(name);
            }
        }
    }

    /// Whether it wants no message.
    pub(super) fn is_empty(&self) -> bool {
        let is_named = self.channels.is_empty() && self.patterns.is_empty();
        !self.all && is_named && self.shard_channels.is_empty()
    }

    /// Whether it wants this message.
    pub(super) fn has(&self, message: &Message<'_>) -> bool {
        if self.all {
            return true;
        }
        if message.is_sharded {
            return self.shard_channels.contains(message.channel);
        }
        let matches = |pattern: &Box<[u8]>| glob_matches(pattern, message.channel);
        self.channels.contains(message.channel) || self.patterns.iter().any(matches)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn to(channel: &[u8], is_sharded: bool) -> Message<'_> {
        Message {
            is_sharded,
            channel,
            payload: b"",
        }
    }

    #[test]
    fn a_node_wants_what_it_has_announced() {
        let mut wants = Wants::default();
        assert!(wants.is_empty());
        wants.change(Change::Add(Kind::Channel, b"a"));
        wants.change(Change::Add(Kind::Pattern, b"b*"));
        wants.change(Change::Add(Kind::Shard, b"c"));
        let wanted = |wants: &Wants, name: &[u8]| {
            [false, true].map(|is_sharded| wants.has(&to(name, is_sharded)))
        };
        assert_eq!(wanted(&wants, b"a"), [true, false]);
        assert_eq!(wanted(&wants, b"bb"), [true, false]);
        assert_eq!(wanted(&wants, b"c"), [false, true]);
        wants.change(Change::Remove(Kind::Pattern, b"b*"));
        assert_eq!(wanted(&wants, b"bb"), [false, false]);
        wants.change(Change::Classes(4));
        wants.change(Change::All);
        assert_eq!(wanted(&wants, b"z"), [true, true]);
        wants.begin();
        assert!(wants.is_empty() && wants.classes == 4);
    }
}
