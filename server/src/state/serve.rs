//! Serving those who wait: what follows a command, a transaction or a script that has touched keys.
//!
//! Runs at the end of each of them, as a part of the same step of the log. Keys are looked at in
//! the order in which they were touched, those who wait for a key in the order of their arrival;
//! each runs its request again, which either finds something, and then it is served, or does not,
//! and then it goes on waiting where it was. What the requests themselves touch is looked at in the
//! next round, so an element that one of them moves on serves the next one.
//!
//! A waiter whose keys have gone to another group is dismissed; its node makes the request there.
//! While a key is frozen its waiters wait.

use bailiwick_frame::Encoder;

use super::waiters::{Kind, Place, WaiterId};
use super::{Applier, Waiter};
use crate::authority::Stray;
use crate::commands::{CommandError, Known, Outcome, lookup_logged, run_waiting};
use crate::group::planted::{self, Planted};

impl Applier<'_> {
    /// Serves those who wait for what has been touched. To be called behind each item of a
    /// proposal.
    #[inline]
    pub fn serve(&mut self) {
        if self.authority_changed || self.state.keyspace.awaited.has_touched() {
            self.serve_touched();
        }
    }

    fn serve_touched(&mut self) {
        if std::mem::take(&mut self.authority_changed) {
            self.dismiss_strays();
            self.state.keyspace.awaited.note_all();
        }
        while self.state.keyspace.awaited.has_touched() {
            for (database, key) in self.state.keyspace.awaited.take_touched() {
                self.serve_key(database, &key);
            }
        }
    }

    /// Lets all who wait for a key have a look.
    fn serve_key(&mut self, database: usize, key: &[u8]) {
        let mut after: Option<Place> = None;
        loop {
            // An earlier waiter may have taken all that there was.
            let now_ms = self.head.time_ms;
            let entry = self.state.keyspace.get(database, key, now_ms);
            let kind = entry.and_then(Kind::of);
            if kind.is_none() && !self.state.waiters.any_or_absent() {
                return;
            }
            let Some((place, id)) = self.state.waiters.next(database, key, after) else {
                return;
            };
            after = Some(place);
            let waiter = self.state.waiters.get(id);
            if let Some(waiter) = waiter.filter(|waiter| waiter.cares_for(kind)).cloned() {
                self.have_a_look(id, &waiter);
            }
        }
    }

    /// Runs a waiter's request again.
    fn have_a_look(&mut self, id: WaiterId, waiter: &Waiter) {
        let args = waiter.request();
        let Ok(command) = lookup_logged(args) else {
            return;
        };
        if self.state.stray(&command, args).is_some() {
            return;
        }
        let mut reply = Vec::new();
        let mut encoder = Encoder::new(&mut reply, waiter.protocol);
        match self.run_again(command, (id, waiter), &mut encoder) {
            Err(CommandError::Blocks(_)) => return,
            Err(error) => {
                reply.clear();
                Encoder::new(&mut reply, waiter.protocol).error(&error.to_string());
            }
            Ok(()) => {}
        }
        let awaited = &mut self.state.keyspace.awaited;
        self.state.waiters.finish(id, reply.into(), awaited);
    }

    fn run_again(
        &mut self,
        command: Known,
        (id, waiter): (WaiterId, &Waiter),
        out: &mut Encoder<'_>,
    ) -> Outcome {
        self.ordinal += 1;
        let touches = &self.counters.touches;
        let author = touches.set_author(id.author());
        let mut context = self.write_context(waiter.database);
        let outcome = run_waiting(&mut context, command, waiter.request(), out);
        touches.set_author(author);
        outcome
    }

    /// Dismisses those of whose keys one is served elsewhere by now.
    fn dismiss_strays(&mut self) {
        if planted::is_on(Planted::StraysNotDismissed) {
            return;
        }
        let state = &mut *self.state;
        let has_gone = |id: &WaiterId| {
            let waiter = state.waiters.get(*id);
            let args = waiter.map(Waiter::request);
            let stray = args.and_then(|args| {
                let command = lookup_logged(args).ok()?;
                state.stray(&command, args)
            });
            matches!(stray, Some(Stray::Gone { .. }))
        };
        let gone: Vec<WaiterId> = state.waiters.ids().filter(has_gone).collect();
        for id in gone {
            state.waiters.dismiss(id, &mut state.keyspace.awaited);
        }
    }
}

#[cfg(test)]
#[path = "serve_tests.rs"]
mod tests;
