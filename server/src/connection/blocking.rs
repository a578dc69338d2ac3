//! Requests that wait for keys: BLPOP and what is like it.
//!
//! The request goes to the group of its keys wrapped into `_BLOCK`, which either runs it or registers
//! this client as a waiter in the group's state (`state::waiters`). Then the connection waits here,
//! holding up nobody else: for the bell that the group's log rings (`group::bells`), for the end of
//! its time, for `CLIENT UNBLOCK`, for the end of the node, and for the end of the client, for whose
//! sake it reads ahead. What the client sends meanwhile waits its turn. What it is to be sent unasked
//! is sent meanwhile; no reply of a request that waits is remembered for tracking, so it does not
//! matter whether news of its keys stands before it or behind.
//!
//! **The log decides.** Whoever wants the waiting to end says so by `_UNBLOCK`, which finds the
//! request either waiting still, and then nothing was done for it, or served before; then that reply
//! is the client's, although its time was over. So no element is lost between the two.
//!
//! **Where the reply comes from.** If this node applies the group's log, the bell brings it. If not,
//! it stays with the group until it is fetched by `_LOOK`, for which the bell is rung, too; as that
//! may be lost, there is a look every [`LOOK_AGAIN`].
//!
//! **Keys that go to another group.** The waiter is dismissed there, and the request made anew where
//! the keys are now, with the time of its first arrival, by which it stands in its old order among
//! those who have come along.
//!
//! **How it fails.** If the group cannot be asked whether the request was served, the client hears
//! `-UNCERTAIN`, and the waiter is given up in the background (`orphans`), as is that of a client
//! that has gone.

use std::future::poll_fn;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use bailiwick_frame::{Args, Encoder, Protocol};
use bailiwick_replication::GroupId;
use tokio::io::{AsyncReadExt, Interest};
use tokio::time::Instant;

use super::follow;
use super::orphans::Orphan;
use super::{Connection, End, READ_BYTES, READ_MAX_BYTES};
use crate::commands::{Blocked, Flag, Known, Unblocked, lookup, lookup_logged, timeout_of};
use crate::group::bells::{Bell, Call};
use crate::group::{Arguments, Item, Proposal, ROOT_GROUP, fail};
use crate::node::clients::bump;
use crate::node::{self, Shutdown};
use crate::routing::{CROSSSLOT, Route};
use crate::state::WaiterId;
use crate::worker::{Ticket, Worker};

/// How often it is looked whether a reply is there that nobody has said anything of.
const LOOK_AGAIN: Duration = Duration::from_secs(10);
/// After so long a group is asked again that could not be asked.
const ASK_AGAIN: Duration = Duration::from_millis(200);
/// How much a client may send ahead; beyond that it is only noticed when it goes.
const READ_AHEAD_BYTES: usize = READ_MAX_BYTES;
/// How often a client is looked after that has sent that much.
const LOOK_AFTER: Duration = Duration::from_millis(100);

/// For `_BLOCK`: the client arrives now.
const NOW: i64 = 0;

const UNCERTAIN: &str = "UNCERTAIN The command waited for keys, and whether it was served could \
                         not be learnt: it may have been done. Read the keys before repeating it";
const UNBLOCKED: &str = "UNBLOCKED client unblocked via CLIENT UNBLOCK";

/// Why a wait is over, or is to be looked after.
enum Event {
    Rung(Call),
    TimeOut,
    /// By `CLIENT UNBLOCK`.
    Ordered {
        with_error: bool,
    },
    Shutdown,
    /// The client has gone.
    Gone,
    /// There is something for it that it did not ask for.
    Feed,
    Look,
}

/// What came of `_BLOCK` or `_LOOK`.
enum Asked {
    Waits,
    Replied(Vec<u8>),
    /// It waits no longer, and its reply is not there.
    Gone,
    /// The group could not be asked, and has done nothing.
    Refused(Vec<u8>),
    /// Nobody knows.
    Unknown(Vec<u8>),
}

/// What came of `_UNBLOCK`.
enum Ended {
    /// It was not served and will not be.
    Empty,
    Replied(Vec<u8>),
    Unknown,
}

impl Connection {
    /// Runs the request at `request`, waiting for its keys if need be, and writes its reply.
    pub(super) async fn run_blocking(&mut self, request: usize) -> Result<(), End> {
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
        let bell = worker.node.seats.bells.hang();
        let (reply, nanos) = match (timeout_ms, key, bell) {
            (Some(Ok(timeout_ms)), Some(key), Some(bell)) => {
                let wait = Waiting::new(&worker, bell, (database, protocol), (args, key));
                let done = self.wait_for_keys(command, wait, timeout_ms).await;
                self.guard.client.end_blocking();
                done?
            }
            // It is no request that could wait, and its reply will say why.
            _ => {
                let answered = errand(&worker, args, database, protocol).await;
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

    /// Makes the request until it is served, or its time is over. The reply, and how long it took to
    /// execute.
    async fn wait_for_keys(
        &mut self,
        command: Known,
        mut wait: Waiting,
        timeout_ms: u64,
    ) -> Result<(Vec<u8>, u64), End> {
        let timeout = Duration::from_millis(timeout_ms);
        let deadline = Some(timeout).filter(|timeout| !timeout.is_zero());
        let deadline = deadline.and_then(|timeout| Instant::now().checked_add(timeout));
        let mut is_new = true;
        let reply = loop {
            let asked = match is_new {
                true => wait.ask(command).await,
                false => wait.look().await,
            };
            let is_first = !std::mem::replace(&mut wait.was_asked, true);
            let mut look_after = LOOK_AGAIN;
            match asked {
                Asked::Replied(reply) => break reply,
                Asked::Waits => (is_new, wait.is_doubtful) = (false, false),
                Asked::Gone if wait.is_doubtful => break wait.error(UNCERTAIN),
                Asked::Gone => {
                    is_new = true;
                    continue;
                }
                Asked::Refused(reply) | Asked::Unknown(reply) if is_first => break reply,
                Asked::Refused(_) => look_after = ASK_AGAIN,
                Asked::Unknown(_) => {
                    // Was it the fetching of the reply that got lost?
                    wait.is_doubtful = true;
                    look_after = ASK_AGAIN;
                    is_new = false;
                }
            }
            let event = self.next_event(&wait, deadline, look_after).await;
            match event {
                Event::Rung(Call::Done(reply)) => {
                    wait.is_settled = true;
                    break reply.to_vec();
                }
                Event::Rung(Call::Again) => is_new = true,
                Event::Rung(Call::Lost) => break wait.error(UNCERTAIN),
                Event::Rung(Call::Look) => {}
                // Whoever is no member any more may have missed that it was served.
                Event::Look => wait.is_doubtful |= !is_new && !wait.is_kept,
                // What is fed was sent before.
                Event::Gone | Event::Feed => return Err(End::Closed),
                Event::Ordered { with_error: true } => {
                    break wait.end(|out| out.error(UNBLOCKED)).await;
                }
                Event::TimeOut | Event::Ordered { with_error: false } => {
                    break wait.end(|out| out.null_array()).await;
                }
                Event::Shutdown => match wait.end_if_served().await {
                    Some(reply) => break reply,
                    None => return Err(End::Closed),
                },
            }
        };
        Ok((reply, wait.nanos))
    }

    /// Waits until something happens that concerns a request that waits, shown as blocked.
    async fn next_event(
        &mut self,
        wait: &Waiting,
        deadline: Option<Instant>,
        look_after: Duration,
    ) -> Event {
        self.guard.client.begin_blocking();
        loop {
            let event = self.listen(&wait.bell, deadline, look_after).await;
            if matches!(event, Event::Feed) {
                match self.send_pushes().await {
                    Ok(()) => continue,
                    Err(_) => return Event::Gone,
                }
            }
            // As long as this node applies the log of its group, there is nothing to look after.
            if !matches!(event, Event::Look) || !wait.is_looked_after() {
                return event;
            }
        }
    }

    async fn listen(
        &mut self,
        bell: &Bell,
        deadline: Option<Instant>,
        look_after: Duration,
    ) -> Event {
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
            call = bell.rung() => Event::Rung(call),
            with_error = client.unblock_ordered() => Event::Ordered { with_error },
            // An error means that the node is gone, which is as good as an order.
            _ = orders.wait_for(|order| *order != Shutdown::No) => Event::Shutdown,
            () = over => Event::TimeOut,
            () = feed => Event::Feed,
            () = self.watch_client() => Event::Gone,
            () = tokio::time::sleep(look_after) => Event::Look,
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

/// A request that may wait in a group's state.
struct Waiting {
    worker: Rc<Worker>,
    bell: Bell,
    database: usize,
    protocol: Protocol,
    request: Arguments,
    key: Vec<u8>,
    /// Where it waits, if anywhere.
    group: GroupId,
    /// When it arrived, once a group has said so.
    arrival_ms: i64,
    /// The reply has to be fetched.
    is_kept: bool,
    was_asked: bool,
    /// A message may have been lost with the reply in it.
    is_doubtful: bool,
    /// For certain no group has it.
    is_settled: bool,
    /// How long it took to execute.
    nanos: u64,
}

impl Waiting {
    fn new(
        worker: &Rc<Worker>,
        bell: Bell,
        (database, protocol): (usize, Protocol),
        (args, key): (Args<'_>, &[u8]),
    ) -> Self {
        let mut request = Arguments::default();
        request.push(args);
        Self {
            worker: worker.clone(),
            bell,
            database,
            protocol,
            request,
            key: key.to_vec(),
            group: owner_of(worker, key),
            arrival_ms: NOW,
            is_kept: false,
            was_asked: false,
            is_doubtful: false,
            is_settled: false,
            nanos: 0,
        }
    }

    /// Makes the request.
    async fn ask(&mut self, command: Known) -> Asked {
        let name: &[u8] = match command.has(Flag::Denyoom) {
            true => b"_BLOCKGROW",
            false => b"_BLOCK",
        };
        let protocol: &[u8] = match self.protocol {
            Protocol::Resp2 => b"2",
            Protocol::Resp3 => b"3",
        };
        let (id, arrival) = (words_of(self.bell.id()), self.arrival_ms.to_string());
        let head = std::iter::once(name).chain(id.iter().map(String::as_bytes));
        let head = head.chain([protocol, arrival.as_bytes()]);
        let mut asking = Arguments::default();
        asking.push_all(head.chain(self.request.get(0).iter()));
        self.bell.waits_in(None);
        self.group = owner_of(&self.worker, &self.key);
        let answered = errand(&self.worker, asking.get(0), self.database, self.protocol).await;
        self.nanos += nanos_of(&answered);
        self.group = answered.group;
        self.judge(&answered)
    }

    /// Asks the group where it waits after its reply.
    async fn look(&mut self) -> Asked {
        self.bell.waits_in(None);
        let answered = ask_after(&self.worker, b"_LOOK", self.bell.id(), self.group).await;
        self.judge(&answered)
    }

    fn judge(&mut self, answered: &Proposal) -> Asked {
        let reply = &answered.replies;
        if let Blocked::Waits { arrival_ms, kept } = Blocked::of_reply(reply) {
            (self.arrival_ms, self.is_kept) = (arrival_ms, kept);
            self.pin(reply);
            self.note_place(answered);
            return Asked::Waits;
        }
        if reply.starts_with(b"+GONE") {
            return Asked::Gone;
        }
        if reply.starts_with(b"-UNCERTAIN") {
            return Asked::Unknown(reply.clone());
        }
        let refusals: [&[u8]; 4] = [b"-CLUSTERDOWN", b"-TRYAGAIN", b"-MISCONF", b"-OOM"];
        if refusals.iter().any(|refusal| reply.starts_with(refusal)) {
            self.is_settled = !self.was_asked;
            return Asked::Refused(reply.clone());
        }
        self.is_settled = true;
        Asked::Replied(reply.clone())
    }

    /// If the request has to be made anew, it goes on behind the entries that there were.
    fn pin(&mut self, reply: &[u8]) {
        let ids: Vec<&[u8]> = Blocked::ids(reply).collect();
        let request = self.request.get(0);
        if let Some(before) = request.len().checked_sub(ids.len())
            && !ids.is_empty()
        {
            let mut pinned = Arguments::default();
            pinned.push_all(request.iter().take(before).chain(ids));
            self.request = pinned;
        }
    }

    /// It waits in the group that has answered. If this node applies that group's log, the bell will
    /// be rung, or has been.
    fn note_place(&self, answered: &Proposal) {
        if self.is_kept {
            return;
        }
        let group = answered.group;
        self.bell.waits_in(Some(group));
        let seat = self.worker.node.seats.get(group);
        let is_there = seat.is_some_and(|seat| seat.state().waiters.get(self.bell.id()).is_some());
        if !is_there {
            // Served or dismissed already, unless the state was replaced in between.
            self.bell.ring_if_silent(Call::Lost);
        }
    }

    /// Whether whoever serves it rings the bell for certain.
    fn is_looked_after(&self) -> bool {
        let Some(group) = self.bell.group() else {
            return false;
        };
        let seat = self.worker.node.seats.get(group);
        seat.is_some_and(|seat| seat.standing().takes_part())
    }

    /// Ends the waiting: the reply if it was served, or else what `otherwise` writes.
    async fn end(&mut self, otherwise: impl FnOnce(&mut Encoder<'_>)) -> Vec<u8> {
        match self.give_up().await {
            Ended::Replied(reply) => reply,
            Ended::Unknown => self.error(UNCERTAIN),
            Ended::Empty => {
                let mut reply = Vec::new();
                otherwise(&mut Encoder::new(&mut reply, self.protocol));
                reply
            }
        }
    }

    /// Ends the waiting: the reply if there is one.
    async fn end_if_served(&mut self) -> Option<Vec<u8>> {
        match self.give_up().await {
            Ended::Replied(reply) => Some(reply),
            Ended::Empty | Ended::Unknown => None,
        }
    }

    async fn give_up(&mut self) -> Ended {
        let worker = self.worker.clone();
        let answered = give_up(&worker, &self.orphan()).await;
        if is_unanswered(&answered.replies) {
            return Ended::Unknown;
        }
        self.is_settled = true;
        match (Unblocked::of_reply(&answered.replies), self.bell.take()) {
            (Unblocked::Replied, _) => Ended::Replied(answered.replies.clone()),
            (_, Some(Call::Done(reply))) => Ended::Replied(reply.to_vec()),
            (_, Some(Call::Lost)) => Ended::Unknown,
            (Unblocked::Removed, _) => Ended::Empty,
            (Unblocked::Gone, _) if self.is_doubtful => Ended::Unknown,
            (Unblocked::Gone, _) => Ended::Empty,
        }
    }

    fn error(&self, text: &str) -> Vec<u8> {
        let mut reply = Vec::new();
        Encoder::new(&mut reply, self.protocol).error(text);
        reply
    }

    fn orphan(&self) -> Orphan {
        Orphan::new(self.bell.id(), self.group, self.key.clone())
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if !self.is_settled {
            self.worker.orphans.add(self.orphan());
        }
    }
}

/// Whether a group could not be asked.
pub(super) fn is_unanswered(reply: &[u8]) -> bool {
    let codes: [&[u8]; 5] = [
        b"-UNCERTAIN",
        b"-CLUSTERDOWN",
        b"-TRYAGAIN",
        b"-MISCONF",
        b"-CROSSSLOT",
    ];
    codes.iter().any(|code| reply.starts_with(code))
}

/// Has a waiter removed: from where it waits as far as is known, and from where its key is.
pub(super) async fn give_up(worker: &Rc<Worker>, orphan: &Orphan) -> Box<Proposal> {
    let answered = ask_after(worker, b"_UNBLOCK", orphan.id, orphan.group).await;
    let owner = owner_of(worker, &orphan.key);
    if owner == orphan.group || Unblocked::of_reply(&answered.replies) != Unblocked::Gone {
        return answered;
    }
    ask_after(worker, b"_UNBLOCK", orphan.id, owner).await
}

/// Asks a group about a waiter.
async fn ask_after(
    worker: &Rc<Worker>,
    name: &[u8],
    id: WaiterId,
    group: GroupId,
) -> Box<Proposal> {
    let words = words_of(id);
    let mut asking = Arguments::default();
    asking.push_all(std::iter::once(name).chain(words.iter().map(String::as_bytes)));
    let (ticket, mut proposal, _) = prepared(worker, asking.get(0), 0, Protocol::Resp2);
    proposal.group = group;
    ticket.submit(proposal).await
}

/// The group that serves a key, as far as this node knows.
fn owner_of(worker: &Worker, key: &[u8]) -> GroupId {
    let routes = worker.node.routes();
    routes.map_or(ROOT_GROUP, |routes| routes.group_of(key))
}

fn words_of(id: WaiterId) -> [String; 3] {
    [
        id.node.to_string(),
        id.incarnation.to_string(),
        id.number.to_string(),
    ]
}

/// A proposal of one request, with the ticket that it comes back to, and the command.
fn prepared(
    worker: &Rc<Worker>,
    args: Args<'_>,
    database: usize,
    protocol: Protocol,
) -> (Ticket, Box<Proposal>, Known) {
    let ticket = worker.ticket();
    let mut proposal = ticket.proposal();
    proposal.protocol = protocol;
    proposal.set_request(args);
    let command = lookup_logged(args).expect("the request was looked up, and wrapping is ours");
    proposal.items.push(Item::Command {
        request: 0,
        database,
        command,
    });
    (ticket, proposal, command)
}

/// Has a request executed by the group of its keys, wherever that is.
async fn errand(
    worker: &Rc<Worker>,
    args: Args<'_>,
    database: usize,
    protocol: Protocol,
) -> Box<Proposal> {
    let (ticket, mut asking, command) = prepared(worker, args, database, protocol);
    asking.group = match worker.node.routes().map(|routes| routes.of(&command, args)) {
        None | Some(Route::Keyless) => ROOT_GROUP,
        Some(Route::Group(group)) => group,
        Some(Route::Several) => {
            fail(&mut asking, &CROSSSLOT);
            return asking;
        }
    };
    let mut answered = ticket.submit(asking).await;
    if let Some(strayed) = answered.strayed.pop() {
        let deadline = follow::deadline(worker);
        answered = follow::follow(worker, (ticket, answered), strayed.stray, deadline).await;
    }
    answered
}

fn nanos_of(answered: &Proposal) -> u64 {
    answered.timings.iter().map(|timing| timing.nanos).sum()
}
