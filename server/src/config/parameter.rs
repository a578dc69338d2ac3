//! The description of a parameter: one row drives its flag, its key in the file, `CONFIG GET` and
//! `CONFIG SET`, and its lines in `--help`.

use super::value::{Invalid, Kind};
use super::{Settings, inert, table};

/// Reads a parameter's value out of the settings, as `CONFIG GET` shows it.
pub type Get = fn(&Settings, &Parameter) -> String;
/// Changes the settings by a parameter's text; leaves them alone if it refuses.
pub type Set = fn(&mut Settings, &Parameter, &str) -> Result<(), Invalid>;

/// One row of the parameter table.
///
/// Invariants (a test holds each row to them): names are unique over names and aliases, lower case,
/// and without `_`; `default` is what `get` gives on default settings; `set` accepts what `get`
/// gives.
#[derive(Debug)]
pub struct Parameter {
    /// Flag without its dashes, key in the file, and name for `CONFIG`.
    pub name: &'static str,
    /// Other names, for Redis's sake; the same value in the same words.
    pub aliases: &'static [&'static str],
    /// Set on a row that shows another parameter in Redis's words: that parameter's name. Such a
    /// row can be set and read like any other, but is not listed in `--help`.
    pub view_of: Option<&'static str>,
    /// Its group in `--help`.
    pub section: Section,
    /// What its value may be.
    pub kind: Kind,
    /// Its value unless told otherwise, as `get` shows it.
    pub default: &'static str,
    /// Whether `CONFIG SET` may change it.
    pub changes: Changes,
    /// What it does; for an inert parameter, why it does nothing.
    pub summary: &'static str,
    /// See [`Get`].
    pub get: Get,
    /// See [`Set`].
    pub set: Set,
}

/// When a parameter may be changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Changes {
    /// While the node runs.
    AtRunTime,
    /// Only by a restart.
    AtStart,
}

/// A group of parameters in `--help`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "each is the section of its name")]
pub enum Section {
    Network,
    Security,
    Data,
    Replication,
    Memory,
    Limits,
    Logging,
    Monitoring,
    /// Parameters without effect; see the module `inert`. `--help` only lists their names.
    Inert,
}

impl Section {
    /// The heading in `--help`.
    #[must_use]
    pub fn heading(self) -> &'static str {
        match self {
            Self::Network => "Network",
            Self::Security => "Security",
            Self::Data => "Data and durability",
            Self::Replication => "Replication",
            Self::Memory => "Memory",
            Self::Limits => "Limits on clients",
            Self::Logging => "Logging",
            Self::Monitoring => "Slow log and latency",
            Self::Inert => "Accepted for compatibility, without effect",
        }
    }
}

impl Parameter {
    /// The name and the aliases.
    pub fn names(&self) -> impl Iterator<Item = &'static str> + use<> {
        std::iter::once(self.name).chain(self.aliases.iter().copied())
    }

    /// The name of the value behind the row: its own, or the one it is a view of.
    #[must_use]
    pub fn subject(&self) -> &'static str {
        self.view_of.unwrap_or(self.name)
    }

    /// The value in `settings`.
    #[must_use]
    pub fn value(&self, settings: &Settings) -> String {
        (self.get)(settings, self)
    }

    /// Sets the value in `settings`.
    ///
    /// # Errors
    /// The text is no value for this parameter; `settings` are unchanged.
    pub fn apply(&self, settings: &mut Settings, text: &str) -> Result<(), Invalid> {
        (self.set)(settings, self, text)
    }
}

/// Every parameter.
pub fn all() -> impl Iterator<Item = &'static Parameter> {
    table::WORKING.iter().chain(inert::INERT)
}

/// The parameter with this name or alias, in any case, and the name as the table spells it.
#[must_use]
pub fn find(name: &str) -> Option<(&'static Parameter, &'static str)> {
    all().find_map(|parameter| {
        let spelled = parameter
            .names()
            .find(|known| known.eq_ignore_ascii_case(name))?;
        Some((parameter, spelled))
    })
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_row_keeps_the_invariants_of_the_table() {
        let defaults = Settings::default();
        let mut seen = HashSet::new();
        for row in all() {
            for name in row.names() {
                assert!(seen.insert(name), "{name} is given twice");
                let plain = |byte: u8| byte.is_ascii_lowercase() || byte == b'-';
                assert!(name.bytes().all(plain), "{name}");
            }
            let shown = row.value(&defaults);
            assert_eq!(shown, row.default, "the default of {}", row.name);
            let mut copy = defaults.clone();
            row.apply(&mut copy, &shown)
                .unwrap_or_else(|e| panic!("{}: {e}", row.name));
            assert_eq!(
                copy, defaults,
                "{} does not take back what it shows",
                row.name
            );
            assert!(
                !row.summary.is_empty(),
                "{} says nothing of itself",
                row.name
            );
        }
    }

    #[test]
    fn a_view_shows_a_parameter_that_exists_and_is_none_itself() {
        for row in all() {
            if let Some(name) = row.view_of {
                let (subject, _) = find(name).expect("the parameter behind the view");
                assert!(subject.view_of.is_none(), "{}", row.name);
                assert_eq!(subject.changes, row.changes, "{}", row.name);
            }
        }
    }

    #[test]
    fn names_are_found_in_any_case_and_by_alias() {
        let (row, spelled) = find("MaxClients").expect("an alias");
        assert_eq!((row.name, spelled), ("max-clients", "maxclients"));
        assert!(find("nonsense").is_none());
    }
}
