//! What scripts call: for statistics, for monitors, and for clients that keep copies of what their
//! scripts have read.
//!
//! A script of the log runs on all replicas, and **one node takes notes**: that of the client, as
//! it applies the entry; if it is no member of the group, the group's leader. Where nobody does, a
//! call costs a look at one flag. What is noted is no part of the state, and of an attempt that is
//! undone nothing is.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};

use bailiwick_frame::Args;

use super::{CommandError, Flag, Known, Outcome};

/// What monitors are shown of the calls of one batch of entries; what exceeds it they are not.
const MAX_SHOWN_BYTES: usize = 16 << 20;
/// Keys that scripts read for a client at once. If there are more, it is not said which.
const MAX_READ_KEYS: usize = 10_000;
/// The bytes of these keys.
const MAX_READ_BYTES: usize = 1 << 20;

/// How notes are taken.
#[derive(Clone, Copy, Debug)]
pub struct Wants {
    /// Nanoseconds since some moment.
    pub clock: fn() -> u64,
    /// The requests are wanted, for monitors.
    pub shows: bool,
    /// Notes are taken for clients whose nodes are no members, too.
    pub serves_others: bool,
}

/// Where notes are taken.
#[derive(Debug, Default)]
pub struct Calls {
    wants: Cell<Option<Wants>>,
    is_on: Cell<bool>,
    reader: Cell<u64>,
    called: RefCell<Option<Box<Called>>>,
}

/// What scripts called.
#[derive(Debug, Default)]
pub struct Called {
    /// By number of the command.
    pub commands: BTreeMap<usize, Runs>,
    /// How often what error was the reply, by its first word. That of a script as a whole does not
    /// count.
    pub errors: BTreeMap<String, u64>,
    /// The requests with their databases, in order.
    pub shown: Vec<(usize, Vec<Box<[u8]>>)>,
    /// Which keys were read for which client; `None` if they are too many.
    pub read: BTreeMap<u64, Option<BTreeSet<Box<[u8]>>>>,
    shown_bytes: usize,
    read_bytes: usize,
    last_error: Option<String>,
}

/// How often a command ran.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Runs {
    /// How often.
    pub calls: u64,
    /// For how long.
    pub nanos: u64,
    /// How many failed.
    pub failed: u64,
    /// How many were refused before they ran.
    pub rejected: u64,
}

impl Calls {
    /// Says how notes are to be taken from the next [`Calls::begin`] on.
    pub fn prepare(&self, wants: Wants) {
        self.wants.set(Some(wants));
    }

    /// What scripts call from now on is noted, and what they read for this client; 0 is nobody who
    /// cares.
    pub fn begin(&self, reader: u64) {
        self.is_on.set(self.wants.get().is_some());
        self.reader.set(reader);
    }

    /// As [`Calls::begin`], for a client whose node is no member of the group.
    pub fn begin_for_others(&self) {
        let serves = self.wants.get().is_some_and(|wants| wants.serves_others);
        self.is_on.set(serves);
        self.reader.set(0);
    }

    /// No more notes.
    pub fn end(&self) {
        self.is_on.set(false);
    }

    /// Hands over the notes; `None` if there are none.
    #[must_use]
    pub fn take(&self) -> Option<Box<Called>> {
        self.called.take()
    }

    /// Whether notes are taken.
    pub(super) fn are_on(&self) -> bool {
        self.is_on.get()
    }

    /// A script begins; what was noted before is handed out, to be given back to
    /// [`Calls::keep`] or [`Calls::undo`].
    pub(super) fn begin_script(&self) -> Option<Box<Called>> {
        self.called.take()
    }

    /// The script has ended like this. An error that it passed on counts as its own.
    pub(super) fn keep(&self, before: Option<Box<Called>>, outcome: &Outcome) {
        let Some(mut called) = self.called.take() else {
            self.called.replace(before);
            return;
        };
        if let (Err(error), Some(last)) = (outcome, called.last_error.take())
            && error.to_string().starts_with(&last)
            && let Some(count) = called.errors.get_mut(first_word(&last))
        {
            *count -= 1;
        }
        let mut all = before.unwrap_or_default();
        all.absorb(*called);
        self.called.replace(Some(all));
    }

    /// What the script did was undone.
    pub(super) fn undo(&self, before: Option<Box<Called>>) {
        self.called.replace(before);
    }

    fn note(&self, note: impl FnOnce(&mut Called)) {
        note(self.called.borrow_mut().get_or_insert_default());
    }

    /// A command is to be shown.
    pub(super) fn show(&self, command: Known, database: usize, args: Args<'_>) {
        let is_secret = command.has(Flag::SkipMonitor) || command.has(Flag::Admin);
        if is_secret || !self.wants.get().is_some_and(|wants| wants.shows) {
            return;
        }
        self.note(|called| {
            if called.shown_bytes < MAX_SHOWN_BYTES {
                called.shown_bytes += args.iter().map(|arg| arg.len() + 32).sum::<usize>();
                let words = args.iter().map(Box::from).collect();
                called.shown.push((database, words));
            }
        });
    }

    /// These keys are about to be read.
    pub(super) fn read<'a>(&self, keys: impl Iterator<Item = &'a [u8]>) {
        let reader = self.reader.get();
        if reader == 0 {
            return;
        }
        self.note(|called| {
            let read = called.read.entry(reader);
            let read = read.or_insert_with(|| Some(BTreeSet::new()));
            for key in keys {
                if let Some(known) = read
                    && !known.contains(key)
                {
                    called.read_bytes += key.len();
                    known.insert(key.into());
                    if known.len() > MAX_READ_KEYS || called.read_bytes > MAX_READ_BYTES {
                        *read = None;
                    }
                }
            }
        });
    }

    /// Runs a command and notes how.
    pub(super) fn run(&self, command: Known, run: impl FnOnce() -> Outcome) -> Outcome {
        let Some(clock) = self.wants.get().map(|wants| wants.clock) else {
            return run();
        };
        let started = clock();
        let outcome = run();
        let nanos = clock().saturating_sub(started);
        self.note(|called| {
            let runs = called.commands.entry(command.id()).or_default();
            runs.calls += 1;
            runs.nanos += nanos;
            if let Err(error) = &outcome {
                runs.failed += 1;
                called.note_error(error);
            }
        });
        outcome
    }

    /// A command did not run, or there is none.
    pub(super) fn reject(&self, command: Option<Known>, error: &CommandError) {
        self.note(|called| {
            if let Some(command) = command {
                called.commands.entry(command.id()).or_default().rejected += 1;
            }
            called.note_error(error);
        });
    }
}

impl Called {
    fn note_error(&mut self, error: &CommandError) {
        let text = error.to_string();
        *self.errors.entry(first_word(&text).to_owned()).or_default() += 1;
        self.last_error = Some(text);
    }

    /// Adds what another script called behind.
    fn absorb(&mut self, mut other: Self) {
        for (command, runs) in other.commands {
            let all = self.commands.entry(command).or_default();
            all.calls += runs.calls;
            all.nanos += runs.nanos;
            all.failed += runs.failed;
            all.rejected += runs.rejected;
        }
        for (error, count) in other.errors {
            *self.errors.entry(error).or_default() += count;
        }
        if self.shown_bytes < MAX_SHOWN_BYTES {
            self.shown_bytes += other.shown_bytes;
            self.shown.append(&mut other.shown);
        }
        for (reader, keys) in other.read {
            let all = self
                .read
                .entry(reader)
                .or_insert_with(|| Some(BTreeSet::new()));
            match (&mut *all, keys) {
                (Some(all), Some(mut keys)) => all.append(&mut keys),
                _ => *all = None,
            }
        }
    }
}

fn first_word(text: &str) -> &str {
    text.split(' ').next().unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use bailiwick_frame::ArgRange;

    use super::*;
    use crate::commands::find;

    fn calls() -> Calls {
        let calls = Calls::default();
        calls.prepare(Wants {
            clock: || 7,
            shows: true,
            serves_others: false,
        });
        calls
    }

    fn get() -> Known {
        find(b"get").expect("it is there")
    }

    #[test]
    fn notes_are_taken_only_where_they_are_wanted() {
        let calls = calls();
        assert!(!calls.are_on());
        calls.begin_for_others();
        assert!(!calls.are_on());
        calls.begin(0);
        assert!(calls.are_on());
        calls.end();
        assert!(!calls.are_on());
        Calls::default().begin(0);
        assert!(!Calls::default().are_on());
    }

    #[test]
    fn an_error_that_a_script_passes_on_is_its_own_and_what_is_undone_was_never_called() {
        let calls = calls();
        calls.begin(0);
        let error = CommandError::text("WRONGTYPE of a kind");
        let passed_on = CommandError::text("WRONGTYPE of a kind script: f, on line 1.");
        for outcome in [Ok(()), Err(passed_on), Err(CommandError::text("ERR other"))] {
            let before = calls.begin_script();
            let failed = calls.run(get(), || Err(error.clone()));
            assert_eq!(failed, Err(error.clone()));
            calls.keep(before, &outcome);
        }
        let before = calls.begin_script();
        calls.reject(Some(get()), &error);
        calls.undo(before);
        let called = calls.take().expect("there are notes");
        assert_eq!(called.errors["WRONGTYPE"], 2);
        let runs = Runs {
            calls: 3,
            nanos: 0,
            failed: 3,
            rejected: 0,
        };
        assert_eq!(called.commands[&get().id()], runs);
        assert!(calls.take().is_none());
    }

    #[test]
    fn what_is_shown_and_remembered_has_a_bound() {
        let calls = calls();
        calls.begin(5);
        calls.read([&b"a"[..], b"b", b"a"].into_iter());
        let called = calls.take().expect("there are notes");
        assert_eq!(called.read[&5].as_ref().map(BTreeSet::len), Some(2));
        let keys: Vec<String> = (0..=MAX_READ_KEYS).map(|n| n.to_string()).collect();
        calls.read(keys.iter().map(String::as_bytes));
        let bytes = vec![b'x'; MAX_SHOWN_BYTES];
        let range = [ArgRange {
            start: 0,
            end: MAX_SHOWN_BYTES as u32,
        }];
        for _ in 0..2 {
            calls.show(get(), 3, Args::new(&bytes, &range));
        }
        let called = calls.take().expect("there are notes");
        assert_eq!(called.read[&5], None);
        assert_eq!(called.shown.len(), 1);
    }
}
