//! Requests that wait for keys: BLPOP and what is like it.
//!
//! The request goes to the group of its keys wrapped into `_BLOCK`, which either runs it or
//! registers this client as a waiter in the group's state (`state::waiters`). Then the connection
//! waits here, holding up nobody else: for the bell that the group's log rings (`group::bells`),
//! for the end of its time, for `CLIENT UNBLOCK`, for the end of the node, and for the end of the
//! client, for whose sake it reads ahead. What the client sends meanwhile waits its turn. What it
//! is to be sent unasked is sent meanwhile; no reply of a request that waits is remembered for
//! tracking, so it does not matter whether news of its keys stands before it or behind.
//!
//! What is asked when, and what the answers mean, is decided by `routing::vigil`.
//!
//! **The log decides.** Whoever wants the waiting to end says so by `_UNBLOCK`, which finds the
//! request either waiting still, and then nothing was done for it, or served before; then that
//! reply is the client's, although its time was over. So no element is lost between the two.
//!
//! **Where the reply comes from.** If this node applies the group's log, the bell brings it. If
//! not, it stays with the group until it is fetched by `_LOOK`, for which the bell is rung, too; as
//! that may be lost, there is a look every ten seconds.
//!
//! **Keys that go to another group.** The waiter is dismissed there, and the request made anew
//! where the keys are now, with the time of its first arrival, by which it stands in its old order
//! among those who have come along.
//!
//! **How it fails.** If the group cannot be asked whether the request was served, the client hears
//! `-UNCERTAIN`, and the waiter is given up in the background (`orphans`), as is that of a client
//! that has gone.

use std::future::poll_fn;
use std::task::Poll;
use std::time::Duration;

use tokio::io::{AsyncReadExt, Interest};
use tokio::time::Instant;

use super::ask::{ask, nanos_of};
use super::waiting::Waiting;
use super::{Connection, End, READ_BYTES, READ_MAX_BYTES};
use crate::commands::{Known, lookup, timeout_of};
use crate::group::bells::Bell;
use crate::node::clients::bump;
use crate::node::{self, Shutdown};
use crate::routing::vigil::{Event, Step};

/// How much a client may send ahead; beyond that it is only noticed when it goes.
const READ_AHEAD_BYTES: usize = READ_MAX_BYTES;
/// How often a client is looked after that has sent that much.
const LOOK_AFTER: Duration = Duration::from_millis(100);

/// What a connection hears while its request waits.
enum Heard {
    /// What concerns the request.
    Event(Event),
    /// The client has gone.
    Gone,
    /// There is something for it that it did not ask for.
    Feed,
}

impl Connection {
    /// Runs the request at `request`, waiting for its keys if need be, and writes its reply.
    /// `has_looked` says that it would have waited just now.
    pub(super) async fn run_blocking(
        &mut self,
        request: usize,
        has_looked: bool,
    ) -> Result<(), End> {
        let worker = self.guard.worker.clone();
        let (database, protocol) = (self.session.database, self.session.protocol);
        let proposal = self.proposal.as_ref().expect("nothing is under way");
        let args = proposal.requests.args(request, &proposal.buffer);
        // It was looked up before it came here.
        let Ok(command) = lookup(args) else {
            return Ok(());
        };
        let key = command.keys.indexes(args).next().map(|at| args.arg(at));
        let timeout_ms = timeout_of(&command, args, node::now_ms());
        let bell = worker.node.seats.bells.hang(self.guard.client.author());
        let (reply, nanos) = match (timeout_ms, key, bell) {
            (Some(Ok(timeout_ms)), Some(key), Some(bell)) => {
                let session = (database, protocol);
                let wait = Waiting::new(&worker, bell, session, command, (args, key));
                let done = self.wait_for_keys(wait, timeout_ms, has_looked).await;
                self.guard.client.end_blocking();
                done?
            }
            // It is no request that could wait, and its reply will say why.
            _ => {
                let answered = ask(&worker, args, database, protocol).await;
                (answered.replies.clone(), nanos_of(&answered))
            }
        };
        self.note_blocking(command, request, &reply, nanos);
        self.reply_later(&reply);
        Ok(())
    }

    /// Books a request that has been answered.
    fn note_blocking(&mut self, command: Known, request: usize, reply: &[u8], nanos: u64) {
        let worker = self.guard.worker.clone();
        worker.stats.ran(command.id(), 1, nanos);
        let proposal = self.proposal.as_ref().expect("nothing is under way");
        let args = proposal.requests.args(request, &proposal.buffer);
        let client = Some(&*self.guard.client);
        worker.node.note_duration(command, args, nanos, client);
        if let Some(text) = reply.strip_prefix(b"-") {
            bump(&worker.stats.commands[command.id()].failed, 1);
            let text = String::from_utf8_lossy(text.trim_ascii_end()).into_owned();
            worker.node.note_error(&text);
        }
    }

    /// Makes the request until it is served, or its time is over. The reply, and how long it took
    /// to execute.
    async fn wait_for_keys(
        &mut self,
        mut wait: Waiting,
        timeout_ms: u64,
        has_looked: bool,
    ) -> Result<(Vec<u8>, u64), End> {
        let timeout = Duration::from_millis(timeout_ms);
        let deadline = Some(timeout).filter(|timeout| !timeout.is_zero());
        let deadline = deadline.and_then(|timeout| Instant::now().checked_add(timeout));
        let mut step = wait.begin(has_looked);
        loop {
            step = match step {
                Step::Ask { words, group } => wait.ask(&words, group).await,
                Step::Await { look_after } => {
                    let event = self.next_event(&wait, deadline, look_after).await;
                    wait.happened(event.ok_or(End::Closed)?)
                }
                Step::Reply(reply) => return Ok((reply, wait.nanos)),
                Step::Close => return Err(End::Closed),
            };
        }
    }

    /// Waits until something happens that concerns a request that waits, shown as blocked; `None`
    /// if its client has gone.
    async fn next_event(
        &mut self,
        wait: &Waiting,
        deadline: Option<Instant>,
        look_after: Duration,
    ) -> Option<Event> {
        self.guard.client.begin_blocking();
        loop {
            match self.listen(wait.bell(), deadline, look_after).await {
                // As long as this node applies the log of its group, there is nothing to look
                // after.
                Heard::Event(Event::Look) if wait.is_looked_after() => {}
                Heard::Event(event) => return Some(event),
                Heard::Gone => return None,
                Heard::Feed => self.send_pushes().await.ok()?,
            }
        }
    }

    async fn listen(
        &mut self,
        bell: &Bell,
        deadline: Option<Instant>,
        look_after: Duration,
    ) -> Heard {
        let client = self.guard.client.clone();
        let mut orders = self.guard.worker.node.shutdown_orders();
        let fed = self.guard.client.clone();
        // The feed wakes this task since the connection began (`listen_to_feed`).
        let feed = poll_fn(move |_| match fed.feed.has_pending() {
            true => Poll::Ready(()),
            false => Poll::Pending,
        });
        let over = async move {
            match deadline {
                Some(deadline) => tokio::time::sleep_until(deadline).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            call = bell.rung() => Heard::Event(Event::Rung(call)),
            with_error = client.unblock_ordered() => Heard::Event(Event::Ordered { with_error }),
            // An error means that the node is gone, which is as good as an order.
            _ = orders.wait_for(|order| *order != Shutdown::No) => Heard::Event(Event::Shutdown),
            () = over => Heard::Event(Event::TimeOut),
            () = feed => Heard::Feed,
            () = self.watch_client() => Heard::Gone,
            () = tokio::time::sleep(look_after) => Heard::Event(Event::Look),
        }
    }

    /// Reads ahead until the client has gone.
    async fn watch_client(&mut self) {
        loop {
            let proposal = self.proposal.as_mut().expect("nothing is under way");
            if proposal.buffer.len() >= READ_AHEAD_BYTES {
                match self.stream.ready(Interest::READABLE).await {
                    Ok(ready) if !ready.is_read_closed() => tokio::time::sleep(LOOK_AFTER).await,
                    _ => return,
                }
                continue;
            }
            proposal.buffer.reserve(READ_BYTES);
            match self.stream.read_buf(&mut proposal.buffer).await {
                Ok(0) | Err(_) => return,
                Ok(received) => {
                    let received = received as u64;
                    bump(&self.guard.worker.stats.received_bytes, received);
                    bump(&self.guard.client.received_bytes, received);
                }
            }
        }
    }
}
