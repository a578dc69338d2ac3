//! The names of places in the logs: a group, one of its configurations, an index.
//!
//! Owns the newtypes and how a (group, configuration) becomes one region of the write-ahead log.
//! Nothing here can fail.

use std::fmt;

/// A position in a group's log. The first entry has index 1; 0 stands before it.
///
/// Indexes go on across the configurations of a group: a new configuration starts where the old
/// one was sealed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LogIndex(pub u64);

impl LogIndex {
    /// Stands before the first entry.
    pub const ZERO: LogIndex = LogIndex(0);
    /// The index of the first entry of a log.
    pub const FIRST: LogIndex = LogIndex(1);

    /// The index after this one.
    pub fn next(self) -> LogIndex {
        LogIndex(self.0 + 1)
    }

    /// The index before this one, and 0 before 0.
    pub fn previous(self) -> LogIndex {
        LogIndex(self.0.saturating_sub(1))
    }
}

impl fmt::Display for LogIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A node, for the life of its data directory: its number in the cluster's file, or, for a node
/// that runs alone, chosen at random when the directory is created.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub u64);

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A group of nodes that share one log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupId(pub u32);

impl fmt::Display for GroupId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One membership of a group; a group's configurations follow each other by rising number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConfigurationId(pub u32);

impl fmt::Display for ConfigurationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The write-ahead log keeps each (group, configuration) as one region.
pub(crate) fn region_id(group: GroupId, configuration: ConfigurationId) -> u64 {
    u64::from(group.0) << 32 | u64::from(configuration.0)
}

/// The inverse of [`region_id`].
pub(crate) fn region_parts(region: u64) -> (GroupId, ConfigurationId) {
    (
        GroupId((region >> 32) as u32),
        ConfigurationId(region as u32),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_region_names_one_group_and_one_configuration() {
        for (group, configuration) in [(0, 0), (1, 2), (u32::MAX, 0), (0, u32::MAX)] {
            let pair = (GroupId(group), ConfigurationId(configuration));
            assert_eq!(region_parts(region_id(pair.0, pair.1)), pair);
        }
    }
}
