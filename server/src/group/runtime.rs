//! The thread of a replica: it does for a [`Member`] what has to do with the world.
//!
//! In each turn it takes what came in, lets the member act, sends what may leave at once, applies
//! and answers, and then writes and syncs, while everybody else works on what was sent. What
//! arrives meanwhile shares the next turn.
//!
//! A full disk is waited for: the write is tried again, and the member told. Any other failure of
//! the log stops the process.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bailiwick_replication::consensus::{LogWrite, Outgoing};
use bailiwick_replication::link::{Frame, Links};
use bailiwick_replication::{GroupId, NodeId, Wal, WalError};

use super::checkpointer::Checkpoints;
use super::clock::{boot_ns, clock_ms};
use super::commit::deliver;
use super::inbox::{Event, Inbox};
use super::member::Member;
use super::pace::Pace;
use super::proposal::Proposal;
use super::shared::Shared;
use super::stop_process;
use super::tuning::Fsync;
use crate::commands::attend;

/// A write that found no room is tried again after this.
const RETRY_NS: u64 = 100_000_000;

/// What the thread of a replica owns.
pub(super) struct Runtime {
    id: GroupId,
    member: Member,
    inbox: Arc<Inbox>,
    links: Links,
    wal: Arc<Wal>,
    shared: Arc<Shared>,
    checkpoints: Arc<Checkpoints>,
    /// From turn to turn at most, in nanoseconds.
    tick_ns: u64,
    sessions: BTreeMap<NodeId, u64>,
    /// A write that found no room, and when to try again.
    stuck: Option<(LogWrite, u64)>,
    pace: Pace,
    /// Called once, when the state can serve clients.
    pub(super) on_ready: Option<Box<dyn FnOnce() + Send>>,
}

impl Runtime {
    pub(super) fn new(
        (id, tick_ns): (GroupId, u64),
        member: Member,
        (inbox, links): (Arc<Inbox>, Links),
        wal: Arc<Wal>,
        (shared, checkpoints): (Arc<Shared>, Arc<Checkpoints>),
    ) -> Self {
        Self {
            id,
            member,
            inbox,
            links,
            wal,
            shared,
            checkpoints,
            tick_ns,
            sessions: BTreeMap::new(),
            stuck: None,
            pace: Pace::default(),
            on_ready: None,
        }
    }

    /// Runs until the inbox is closed; what is under way then is not finished.
    pub(super) fn run(mut self) {
        attend(self.shared.clone());
        let (mut proposals, mut events) = (Vec::new(), Vec::new());
        let mut wait = (Duration::ZERO, 1);
        while !self.inbox.take(&mut proposals, &mut events, wait) {
            let began = Instant::now();
            let has_written = self.turn(&mut proposals, &mut events);
            match self.member.replica().fetching() {
                Some(there) => self.pace.rest(began.elapsed(), there),
                None => self.pace = Pace::default(),
            }
            // What was written may let go of something at once.
            wait = if has_written {
                (Duration::ZERO, 1)
            } else {
                self.wait()
            };
        }
    }

    /// How long to wait, and for how many proposals.
    fn wait(&self) -> (Duration, usize) {
        if let Some((until, enough)) = self.member.lingers() {
            let left = until.saturating_sub(boot_ns()).max(1);
            return (Duration::from_nanos(left), enough);
        }
        (Duration::from_nanos(self.tick_ns), 1)
    }

    /// One turn; true if something was written.
    fn turn(&mut self, proposals: &mut Vec<Box<Proposal>>, events: &mut Vec<Event>) -> bool {
        let now = boot_ns();
        for event in events.drain(..) {
            self.handle(event, now);
        }
        if !proposals.is_empty() {
            self.member.submit(proposals, now);
        }
        self.look_for_room();
        self.member.advance(now, clock_ms());
        let work = self.member.ready(now);
        self.send(work.messages);
        self.apply();
        let stuck = self.stuck.take_if(|(_, retry_at)| now >= *retry_at);
        let write = work.write.or(stuck.map(|(write, _)| write));
        write.is_some_and(|write| self.write(write))
    }

    fn handle(&mut self, event: Event, now: u64) {
        match event {
            Event::Up(node, hello) => {
                self.sessions.insert(node, hello.session);
                self.member.link_up(node, hello.disk);
                self.member.note_life(node, hello.incarnation);
            }
            Event::Down(node) => {
                self.sessions.remove(&node);
                self.member.link_down(node);
            }
            Event::Frames(from, frames) => {
                for frame in frames {
                    let received =
                        self.member
                            .receive(from, frame.configuration, &frame.payload, now);
                    if let Err(error) = received {
                        tracing::error!(peer = from.0, error, "a node sends nonsense; cutting");
                        self.links.cut(from);
                        break;
                    }
                }
            }
            Event::Covered(index) => self.member.trim(index),
            Event::Proxied(from, proposal) => {
                if let Err(error) = self.member.receive_proxied(from, proposal) {
                    tracing::error!(peer = from.0, error, "a node sends nonsense; cutting");
                    self.links.cut(from);
                }
            }
            Event::Call(call) => call(&mut self.member, now),
            Event::Look => {}
        }
    }

    fn send(&self, messages: Vec<Outgoing>) {
        for message in messages {
            let Some(session) = self.sessions.get(&message.to) else {
                continue;
            };
            let frame = Frame {
                class: message.class,
                group: self.id,
                configuration: message.configuration,
                payload: message.payload,
            };
            // If it cannot be sent, the session is over, which will be reported.
            self.links.send_in(*session, message.to, frame);
        }
    }

    fn apply(&mut self) {
        if let Err(error) = self.member.apply(clock_ms()) {
            stop_process(&error.to_string());
        }
        deliver(self.member.take_answered());
        let passed_on = self.member.take_passed_on();
        if !passed_on.is_empty() {
            self.shared.pass_on(passed_on);
        }
        for (to, message) in self.member.take_proxied() {
            // What is lost with the link is asked for again.
            self.links.send(to, message.frame());
        }
        let garbage = self.member.take_garbage();
        if !garbage.is_empty() {
            self.checkpoints.release(garbage);
        }
        if self.on_ready.is_some() && self.shared.state.read().keyspace.databases() > 0 {
            self.on_ready.take().into_iter().for_each(|ready| ready());
        }
    }

    /// True if it was written; false if there was no room.
    fn write(&mut self, write: LogWrite) -> bool {
        let bytes: usize = write.entries.iter().map(|entry| entry.len()).sum();
        let sync = self.shared.tuning.load().fsync == Fsync::Always;
        match self.wal.write_log(self.id, &write, sync) {
            Ok(()) => {}
            Err(error @ WalError::Full { .. }) => {
                self.note_full(Some(&error));
                self.stuck = Some((write, boot_ns() + RETRY_NS));
                return false;
            }
            Err(error) => stop_process(&error.to_string()),
        }
        if !write.entries.is_empty() {
            self.note_full(None);
            self.checkpoints.note_log_growth(
                &self.shared,
                write.entries.len() as u64,
                bytes as u64,
            );
        }
        if write.compact.is_some() {
            self.checkpoints.request_purge();
        }
        let messages = self.member.persisted(boot_ns());
        self.send(messages);
        self.apply();
        true
    }

    /// Looks for room before something is proposed, so that a full disk refuses it in time.
    fn look_for_room(&mut self) {
        if self.stuck.is_some() {
            return;
        }
        match self.wal.has_room(0) {
            Err(error @ WalError::Full { .. }) => self.note_full(Some(&error)),
            _ => self.note_full(None),
        }
        let fits = self.wal.has_room(self.member.waiting_bytes());
        self.member
            .set_fits(!matches!(fits, Err(WalError::Full { .. })));
    }

    fn note_full(&mut self, error: Option<&WalError>) {
        let refused = &self.shared.totals.refused_commits;
        let was_full = refused.load(std::sync::atomic::Ordering::Relaxed) > 0;
        let is_full = error.is_some();
        self.member.set_full(is_full);
        if was_full == is_full {
            return;
        }
        refused.store(u64::from(is_full), std::sync::atomic::Ordering::Relaxed);
        match error {
            Some(error) => tracing::error!(%error, "the disk is full; this node writes nothing"),
            None => tracing::info!("the disk has room again"),
        }
    }
}
