//! Looks at a proposal of another node before it is logged.
//!
//! What stands in the log is run by every replica, and who cannot run it must stop, since its state
//! would differ from then on. So whoever leads lets nothing in that it could not run itself: what a
//! newer node, or one gone wrong, has sent is refused, and its client hears why.

use bailiwick_frame::{Args, Protocol};
use bailiwick_replication::{ConfigurationId, GroupId, LogIndex};

use super::{EntryVisitor, Member, Origin, ProxiedStep, Watched, decode_proposal};
use crate::commands::{self, Flag};

/// Whether a group with so many databases can run what this encoded proposal holds.
///
/// # Errors
/// It cannot. The text is an error for the clients.
pub fn examine_proposal(proposal: &[u8], databases: usize) -> Result<(), String> {
    let mut examiner = Examiner {
        databases,
        is_proxied: false,
        is_internal: false,
        fault: None,
    };
    let decoded = decode_proposal(proposal, &mut examiner);
    let fault = decoded.err().map(|error| error.to_string());
    match examiner.fault.or(fault) {
        None => Ok(()),
        Some(fault) => Err(format!(
            "ERR the leader of the group cannot run this: {fault}"
        )),
    }
}

/// Whether nothing in this encoded proposal is what nodes do by themselves. Of what makes no sense
/// that is not known.
#[must_use]
pub fn is_of_clients(proposal: &[u8]) -> bool {
    let mut examiner = Examiner {
        databases: usize::MAX,
        is_proxied: false,
        is_internal: false,
        fault: None,
    };
    let decoded = decode_proposal(proposal, &mut examiner);
    decoded.is_ok() && examiner.fault.is_none() && !examiner.is_internal
}

struct Examiner {
    databases: usize,
    is_proxied: bool,
    /// Something in it is not for clients to ask for.
    is_internal: bool,
    /// The first fault.
    fault: Option<String>,
}

impl Examiner {
    fn command(&mut self, database: usize, args: Args<'_>) {
        if database >= self.databases {
            self.refuse("it names a database that does not exist");
        } else if args.is_empty() {
            self.refuse("it holds a command without a name");
        } else {
            match commands::lookup_logged(args) {
                Ok(command) => self.is_internal |= command.has(Flag::Internal),
                Err(error) => self.refuse(&error.to_string()),
            }
        }
    }

    fn watched(&mut self, watched: &[Watched]) {
        if watched.iter().any(|key| key.database >= self.databases) {
            self.refuse("it watches a database that does not exist");
        }
    }

    fn refuse(&mut self, fault: &str) {
        self.fault.get_or_insert_with(|| fault.to_owned());
    }

    /// What is not for nodes outside of the group to ask for.
    fn members_only(&mut self) {
        if self.is_proxied {
            self.refuse("only members of the group may propose this");
        }
    }

    fn leaders_only(&mut self) {
        self.refuse("only the leader itself proposes this");
    }
}

impl EntryVisitor for Examiner {
    fn proposal(&mut self, origin: Origin, _: u64, _: u64) -> bool {
        self.is_proxied = origin.is_proxied();
        true
    }

    fn command(&mut self, database: usize, args: Args<'_>) {
        self.members_only();
        Self::command(self, database, args);
    }

    fn transaction(&mut self, watched: &[Watched], commands: &[(usize, Args<'_>)]) {
        self.members_only();
        self.watched(watched);
        for &(database, args) in commands {
            Self::command(self, database, args);
        }
    }

    fn proxied(&mut self, _: Protocol, database: usize, args: Args<'_>) {
        Self::command(self, database, args);
    }

    fn proxied_transaction(&mut self, _: Protocol, watched: &[Watched], steps: &[ProxiedStep<'_>]) {
        self.watched(watched);
        for step in steps {
            if let ProxiedStep::Command(database, args) = *step {
                Self::command(self, database, args);
            }
        }
    }

    fn refuse_growth(&mut self) {
        self.leaders_only();
    }

    fn author(&mut self, _: u64) {}

    fn expire(&mut self, _: u64) {
        self.members_only();
    }

    fn evict(&mut self, _: usize, _: &[u8]) {
        self.leaders_only();
    }

    fn genesis(&mut self, _: usize, _: u64, _: GroupId) {
        self.leaders_only();
    }

    fn seal(&mut self, _: ConfigurationId, _: &[Member]) {
        self.leaders_only();
    }

    fn digest(&mut self, _: LogIndex, _: u64) {
        self.leaders_only();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::testing::with_words;
    use crate::state::{PROXIED, ProposalWriter};

    fn examined(node: u32, fill: impl FnOnce(&mut ProposalWriter<'_>)) -> Result<(), String> {
        let origin = Origin {
            node,
            incarnation: 1,
        };
        let mut bytes = Vec::new();
        let mut writer = ProposalWriter::new(&mut bytes, origin, 1, 0);
        fill(&mut writer);
        writer.finish();
        examine_proposal(&bytes, 16)
    }

    fn proxied(words: &str, database: usize) -> Result<(), String> {
        examined(PROXIED | 7, |writer| {
            with_words(words, |args| {
                writer.proxied(Protocol::Resp3, database, args);
            });
        })
    }

    #[test]
    fn what_every_replica_can_run_is_let_in() {
        assert_eq!(proxied("SET key value", 15), Ok(()));
        assert_eq!(proxied("GET key", 0), Ok(()));
        assert_eq!(examined(7, |writer| writer.expire(9)), Ok(()));
    }

    #[test]
    fn what_nodes_do_by_themselves_is_told_from_what_clients_want() {
        let is_of_clients = |words: &str| {
            let mut bytes = Vec::new();
            let origin = Origin {
                node: PROXIED | 7,
                incarnation: 1,
            };
            let mut writer = ProposalWriter::new(&mut bytes, origin, 1, 0);
            with_words(words, |args| writer.proxied(Protocol::Resp2, 0, args));
            writer.finish();
            is_of_clients(&bytes)
        };
        assert!(is_of_clients("SET key value"));
        assert!(!is_of_clients("_UNBLOCK 1 2 3"));
    }

    #[test]
    fn what_a_replica_could_not_run_is_refused_with_the_reason() {
        let refused = |result: Result<(), String>, reason: &str| {
            let text = result.expect_err("it is refused");
            assert!(text.contains(reason), "{text}");
        };
        refused(proxied("FROBNICATE key", 0), "unknown command 'FROBNICATE'");
        refused(proxied("SET key", 0), "wrong number of arguments");
        refused(proxied("SET key value", 16), "database");
        refused(examined(PROXIED | 7, |writer| writer.expire(9)), "members");
        let seal = examined(7, |writer| writer.seal(ConfigurationId(2), &[]));
        refused(seal, "leader");
        refused(examined(7, |writer| writer.refuse_growth()), "leader");
        assert!(examine_proposal(b"nonsense", 16).is_err());
    }
}
