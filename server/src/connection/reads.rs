//! Reads that run here and now, on the connection's own thread.
//!
//! [`Reads`] is what a run of them shares: the read lock of one group's state, which is taken for
//! the first and let go of behind the last, one time at which keys expire, and one set of counters.
//! The clock is read when the command changes, not for each request, except for those that can be
//! slow.
//!
//! What it cannot do is left to the group: to show the state where another replica may know more,
//! and keys that the group does not serve.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bailiwick_frame::{Args, Encoder, Requests};
use bailiwick_replication::GroupId;
use parking_lot::RwLockReadGuard;

use super::Session;
use crate::commands::{
    CommandError, Counters, Flag, Handler, Known, Outcome, ReadContext, ReadHandler, within,
};
use crate::group::{Group, Observer};
use crate::keyspace::{AccessClock, LOOK_AHEAD};
use crate::node;
use crate::node::clients::{Client, ClientFlag};
use crate::state::State;
use crate::worker::Worker;

/// What a script that reads may do on a connection's thread: less than a few milliseconds of work.
/// One that does more is run anew by a thread of its group, and has cost that much more.
pub(crate) const QUICK_STEPS: u64 = 200_000;

/// A run of reads of one group, under one lock, one clock reading, and one set of counters.
pub(super) struct Reads<'a> {
    worker: &'a Worker,
    seats: &'a BTreeMap<GroupId, Arc<Group>>,
    touch: bool,
    /// The client asked for the state of this node, whatever others have.
    may_be_stale: bool,
    /// Whether even a fast command can be slow enough to be noted, so each is timed by itself.
    watches_fast: bool,
    /// The clock when the batch began.
    started_ns: i64,
    /// The keys of the requests before this one are on their way into the cache.
    prefetched: usize,
    view: Option<View<'a>>,
}

struct View<'a> {
    group: &'a Group,
    state: RwLockReadGuard<'a, State>,
    clock: AccessClock,
    now_ms: i64,
    counters: Counters,
    /// The command being timed, its calls so far, and when the first began.
    timed: Option<(Known, u64, i64)>,
    /// The last clock reading.
    now_ns: i64,
}

impl<'a> Reads<'a> {
    /// Nothing is locked yet. `started_ns` is the clock when the batch began.
    pub(super) fn new(
        worker: &'a Worker,
        seats: &'a BTreeMap<GroupId, Arc<Group>>,
        session: &Session,
        started_ns: i64,
    ) -> Self {
        Self {
            worker,
            seats,
            touch: !session.no_touch,
            may_be_stale: session.client.has(ClientFlag::Readonly),
            watches_fast: worker.node.watches_fast.load(Ordering::Relaxed),
            started_ns,
            prefetched: 0,
            view: None,
        }
    }

    /// What runs for a request here and now, without the log: a read, or a command that finds
    /// nothing to change. `None` if the group has to be asked.
    #[inline]
    pub(super) fn handler(
        &mut self,
        id: GroupId,
        (database, command, args): (usize, Known, Args<'_>),
    ) -> Option<ReadHandler> {
        match command.handler {
            Handler::Read(handler) => self.may_run(id, &command, args).then_some(handler),
            Handler::Write(_) if !self.may_be_stale => {
                let idle = command.idle(args)?;
                let runs = self.may_run(id, &command, args);
                let view = self.view.as_ref().filter(|_| runs)?;
                let (keyspace, key) = (&view.state.keyspace, args.arg(1));
                let entry = keyspace.get(database, key, view.now_ms);
                let is_idle = (idle.when)(entry, args);
                if is_idle
                    && self.touch
                    && let Some(entry) = entry
                {
                    view.clock.touch(entry);
                }
                is_idle.then(|| idle.reply.handler())
            }
            _ => None,
        }
    }

    /// Whether a read may run here and now. Locks the group's state if it was not. Otherwise what
    /// it shows may be out of date, or the keys are not the group's, and the group has to be asked.
    #[inline]
    fn may_run(&mut self, id: GroupId, command: &Known, args: Args<'_>) -> bool {
        if self.seats.is_empty() {
            // Nothing is loaded, which [`Reads::run`] says.
            return true;
        }
        if self.view.as_ref().is_some_and(|view| view.group.id() != id) {
            self.finish();
        }
        if self.view.is_none() {
            let Some(group) = self.seats.get(&id) else {
                return false;
            };
            let state = group.readable(self.may_be_stale);
            self.view = state.map(|state| View::new(group, state, self.started_ns));
            if self.worker.node.notices.wants_misses()
                && let Some(view) = &self.view
            {
                view.counters.touches.switch_on();
            }
        }
        let view = self.view.as_ref();
        view.is_some_and(|view| view.state.stray(command, args).is_none())
    }

    /// Starts to bring into the cache what the request at `at` and those behind it will look at:
    /// for most, their first argument.
    #[inline]
    pub(super) fn prefetch(
        &mut self,
        database: usize,
        (requests, buffer): (&Requests, &[u8]),
        at: usize,
    ) {
        let count = requests.len();
        if at < self.prefetched || at + 1 >= count {
            return;
        }
        self.prefetched = (at + LOOK_AHEAD).min(count);
        if let Some(view) = &self.view {
            let args = (at..self.prefetched).map(|ahead| requests.args(ahead, buffer));
            for key in args.filter_map(|args| args.get(1)) {
                view.state.keyspace.prefetch(database, key);
            }
        }
    }

    /// Runs a request with what [`Reads::handler`] gave for it, and writes its reply.
    ///
    /// `None` for a script that would take too long, and for a request that has found nothing and
    /// would wait: these have not run.
    ///
    /// # Errors
    /// What the client is to be told instead of what was written.
    #[inline]
    pub(super) fn run(
        &mut self,
        (command, handler): (Known, ReadHandler),
        database: usize,
        args: Args<'_>,
        (client, reader): (&Client, u64),
        encoder: &mut Encoder<'_>,
    ) -> Option<Outcome> {
        let touch = self.touch;
        let Some(view) = self.view.as_mut() else {
            return Some(Err(CommandError::Loading));
        };
        view.time(command, self.worker);
        let context = ReadContext {
            touch,
            may_wait: true,
            ..(view.state).read_context(database, view.now_ms, &view.clock, &view.counters)
        };
        let outcome = match command.runs_script() {
            false => Some(handler(&context, args, encoder)),
            true => {
                let calls = &view.counters.calls;
                calls.prepare(self.worker.node.wants_calls());
                calls.begin(reader);
                let outcome = within(QUICK_STEPS, || handler(&context, args, encoder));
                calls.end();
                // Before the state is let go of, after which keys may change.
                if let Some(called) = calls.take() {
                    let notices = &self.worker.node.notices;
                    notices.called(view.group.id(), &called);
                }
                outcome
            }
        };
        let Some(outcome) = outcome.filter(|outcome| !would_wait(outcome)) else {
            // It is counted where it will run. Neither kind is fast, so nothing else was timed.
            view.timed = None;
            return None;
        };
        if self.watches_fast || !command.has(Flag::Fast) {
            self.finish_timed(Some((args, client)));
        }
        Some(outcome)
    }

    /// Lets go of the lock and books what was counted.
    #[inline]
    pub(super) fn finish(&mut self) {
        if self.view.is_some() {
            self.finish_timed(None);
            self.let_go();
        }
    }

    fn let_go(&mut self) {
        if let Some(view) = self.view.take() {
            drop(view.state);
            view.group.totals().add(&view.counters);
            if view.counters.touches.is_on() {
                self.worker
                    .node
                    .notices
                    .missed(&view.counters.touches.take());
            }
        }
    }

    /// Books the time of the command that was running, which was `request` and this client's.
    fn finish_timed(&mut self, request: Option<(Args<'_>, &Client)>) {
        let Some(view) = &mut self.view else {
            return;
        };
        let Some((command, calls, nanos)) = view.stop_timing(self.worker) else {
            return;
        };
        if let Some((args, client)) = request {
            self.worker
                .node
                .note_duration(command, args, nanos / calls, Some(client));
        }
    }
}

fn would_wait(outcome: &Outcome) -> bool {
    matches!(outcome, Err(CommandError::Blocks(_)))
}

impl<'a> View<'a> {
    fn new(group: &'a Group, state: RwLockReadGuard<'a, State>, now_ns: i64) -> Self {
        // Log time may be ahead of the clock, and what has expired by it is gone.
        let now_ms = (now_ns / 1_000_000).max(state.time_ms);
        Self {
            clock: AccessClock::new(group.tuning().access, now_ms, fastrand::u64(..)),
            group,
            state,
            now_ms,
            counters: Counters::default(),
            timed: None,
            now_ns,
        }
    }

    fn time(&mut self, command: Known, worker: &Worker) {
        match &mut self.timed {
            Some((timed, calls, _)) if timed.id() == command.id() => *calls += 1,
            _ => {
                self.stop_timing(worker);
                self.timed = Some((command, 1, self.now_ns));
            }
        }
    }

    fn stop_timing(&mut self, worker: &Worker) -> Option<(Known, u64, u64)> {
        let (command, calls, since_ns) = self.timed.take()?;
        self.now_ns = node::now_ns();
        // A clock that was set back in between must not count as an eternity.
        let nanos = (self.now_ns - since_ns).max(0) as u64;
        worker.stats.ran(command.id(), calls, nanos);
        Some((command, calls, nanos))
    }
}
