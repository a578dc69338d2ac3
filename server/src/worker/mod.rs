//! A runtime thread: a single-threaded tokio runtime with its own listener and its own connections.
//!
//! A connection lives and dies on one thread, so nothing it owns is locked or shared. Each thread
//! listens on the same addresses (`SO_REUSEPORT`) and the kernel spreads connections over them.
//!
//! **Batching of writes.** A connection that has writes leaves its proposal in `pending` and waits.
//! The thread's committer task runs after all connections that were ready at the same moment, and
//! submits what they left as one batch. So one log entry, and one sync, serves all of them.

mod listener;
mod slots;
mod ticket;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::future::poll_fn;
use std::mem;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::task::LocalSet;

pub use listener::{ListenError, Listeners};
use slots::Slots;
pub use ticket::Ticket;

use crate::connection::{Orphans, run_orphans};
use crate::group::{Eviction, Group, Item, Mailbox, Proposal};
use crate::node::clients::{Client, ClientFlag};
use crate::node::stats::WorkerStats;
use crate::node::{self, Condition, Node, Shutdown};
use crate::pubsub::limit_of;
use crate::routing::redirect::Port;

/// Buffers of idle connections that a thread keeps for the next one that needs them.
const KEPT_BUFFERS: usize = 64;
/// A buffer that has grown beyond this is not kept.
const KEPT_BUFFER_BYTES: usize = 256 * 1024;

/// How often a thread looks for idle clients.
const HOUSEKEEPING: Duration = Duration::from_secs(1);
/// How often expired keys are removed.
const EXPIRE_EVERY: Duration = Duration::from_millis(100);
/// Keys removed by one log entry.
const EXPIRE_LIMIT: u64 = 2000;
/// How often the counters behind `instantaneous_ops_per_sec` are looked at.
const SAMPLE_EVERY: Duration = Duration::from_millis(100);
/// How long a shutdown waits for clients to take their replies.
const DRAIN: Duration = Duration::from_secs(5);

/// What the connections of a thread share.
pub struct Worker {
    /// The node.
    pub node: Arc<Node>,
    /// The thread's counters.
    pub stats: Arc<WorkerStats>,
    mailbox: Arc<Mailbox>,
    slots: Slots,
    pending: RefCell<Vec<Box<Proposal>>>,
    committer: RefCell<Option<Waker>>,
    buffers: RefCell<Vec<Vec<u8>>>,
    clients: RefCell<BTreeMap<u64, Arc<Client>>>,
    /// Waiters that connections have left behind.
    pub orphans: Orphans,
}

/// Runs a thread until the node shuts down. The first worker also removes expired keys.
pub fn run(node: Arc<Node>, listeners: Vec<(Port, std::net::TcpListener)>, is_first: bool) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .build()
        .expect("the system has room for an event queue at the start");
    let worker = Rc::new(Worker::new(node));
    let local = LocalSet::new();
    local.block_on(&runtime, async move {
        tokio::task::spawn_local(run_committer(worker.clone()));
        tokio::task::spawn_local(run_orphans(worker.clone()));
        tokio::task::spawn_local(disconnect_idle(worker.clone()));
        if is_first {
            tokio::task::spawn_local(remove_expired(worker.clone()));
            tokio::task::spawn_local(sample_rates(worker.clone()));
        }
        let accepting: Vec<_> = listeners
            .into_iter()
            .filter_map(|(port, listener)| Some((port, TcpListener::from_std(listener).ok()?)))
            .map(|(port, listener)| {
                tokio::task::spawn_local(listener::accept(worker.clone(), listener, port))
            })
            .collect();
        wait_for_shutdown(&worker).await;
        for task in accepting {
            task.abort();
        }
        drain(&worker).await;
    });
}

impl Worker {
    fn new(node: Arc<Node>) -> Self {
        let stats = Arc::new(WorkerStats::default());
        node.add_worker(stats.clone());
        Self {
            node,
            stats,
            mailbox: Arc::default(),
            slots: Slots::default(),
            pending: RefCell::default(),
            committer: RefCell::default(),
            buffers: RefCell::default(),
            clients: RefCell::default(),
            orphans: Orphans::default(),
        }
    }

    /// An empty proposal, with a ticket that must be given back by [`Worker::retire`].
    pub fn new_proposal(&self) -> Box<Proposal> {
        Proposal::new(self.mailbox.clone(), self.slots.take())
    }

    /// Gives a proposal's ticket back, also while the proposal is under way.
    pub fn retire(&self, ticket: usize, under_way: bool) {
        self.slots.give_back(ticket, under_way);
    }

    /// Submits a proposal and waits until it is answered.
    pub async fn submit(&self, proposal: Box<Proposal>) -> Box<Proposal> {
        let ticket = proposal.ticket;
        self.pending.borrow_mut().push(proposal);
        if let Some(waker) = self.committer.borrow_mut().take() {
            waker.wake();
        }
        let mut proposal = poll_fn(|context| self.slots.poll(ticket, context)).await;
        if std::mem::take(&mut proposal.is_uncertain) {
            self.node.notices.tracking.doubt(proposal.author);
        }
        proposal
    }

    /// An empty buffer, with room from earlier use if there is one.
    pub fn take_buffer(&self) -> Vec<u8> {
        self.buffers.borrow_mut().pop().unwrap_or_default()
    }

    /// Takes a buffer back.
    pub fn give_buffer(&self, mut buffer: Vec<u8>) {
        let mut buffers = self.buffers.borrow_mut();
        if buffers.len() < KEPT_BUFFERS && buffer.capacity() <= KEPT_BUFFER_BYTES {
            buffer.clear();
            buffers.push(buffer);
        }
    }

    /// Adds a connection of this thread.
    pub fn add_client(&self, client: Arc<Client>) {
        self.clients.borrow_mut().insert(client.id, client);
    }

    /// Removes a connection that has ended.
    pub fn remove_client(&self, id: u64) {
        self.clients.borrow_mut().remove(&id);
    }

    /// Ends those connections that wait for a request and for which `ends` holds. On their own
    /// thread, so none of them can be in the middle of anything.
    fn end_waiting(&self, ends: impl Fn(&Client) -> bool) {
        let waiting: Vec<_> = self
            .clients
            .borrow()
            .values()
            .filter(|client| !client.busy.load(Ordering::Relaxed) && ends(client))
            .cloned()
            .collect();
        waiting.iter().for_each(|client| client.kill());
    }

    fn poll_committer(
        &self,
        context: &mut Context<'_>,
        batch: &mut Vec<Box<Proposal>>,
        answered: &mut Vec<Box<Proposal>>,
    ) -> Poll<()> {
        loop {
            mem::swap(&mut *self.pending.borrow_mut(), batch);
            let submitted = !batch.is_empty();
            if submitted {
                self.node.submit(batch);
            }
            let arrived = self.mailbox.poll_take(context, answered).is_ready();
            for proposal in answered.drain(..) {
                self.slots.answer(proposal);
            }
            if !submitted && !arrived {
                *self.committer.borrow_mut() = Some(context.waker().clone());
                return Poll::Pending;
            }
        }
    }
}

async fn run_committer(worker: Rc<Worker>) {
    let (mut batch, mut answered) = (Vec::new(), Vec::new());
    poll_fn(|context| worker.poll_committer(context, &mut batch, &mut answered)).await;
}

/// Proposes the removal of expired keys, as long as there are any.
async fn remove_expired(worker: Rc<Worker>) {
    let ticket = worker.ticket();
    let mut proposal = ticket.proposal();
    // What could not be evicted, by group, so that it is not tried again until there is more.
    let mut stuck = BTreeMap::new();
    loop {
        tokio::time::sleep(EXPIRE_EVERY).await;
        let enabled = worker.node.active_expire.load(Ordering::Relaxed);
        let paused = worker.node.pause.until_ms(true, node::now_ms()).is_some();
        if !enabled || paused {
            continue;
        }
        let seats = worker.node.seats.all();
        let groups: Vec<Arc<Group>> = seats.values().cloned().collect();
        drop(seats);
        for group in groups {
            proposal = remove_expired_of(&group, &ticket, proposal).await;
            let stuck = stuck.entry(group.id()).or_insert(0);
            proposal = shrink(&group, &ticket, proposal, stuck).await;
        }
    }
}

/// A leader's business: everybody else removes what the log says.
async fn remove_expired_of(
    group: &Group,
    ticket: &Ticket,
    mut proposal: Box<Proposal>,
) -> Box<Proposal> {
    let is_due = || {
        // Who has the state now may have it for long; there is another time.
        let next_ms = group
            .try_state()
            .and_then(|state| state.keyspace.next_expiry_ms());
        group.standing().leads() && next_ms.is_some_and(|at_ms| at_ms < node::now_ms())
    };
    while is_due() {
        proposal.group = group.id();
        proposal.items.push(Item::Expire(EXPIRE_LIMIT));
        proposal = ticket.submit(proposal).await;
        proposal.items.clear();
        let is_full = group.totals().refused_commits.load(Ordering::Relaxed);
        if is_full > 0 {
            break;
        }
        // Other connections get their turn between two entries.
        tokio::task::yield_now().await;
    }
    proposal
}

/// Evicts what is too much although nobody writes, because `maxmemory` was lowered. An entry of the
/// log evicts before it does anything else, so one that finds nothing expired is enough.
/// `stuck_bytes` is what was there when the last try came to nothing.
async fn shrink(
    group: &Group,
    ticket: &Ticket,
    mut proposal: Box<Proposal>,
    stuck_bytes: &mut usize,
) -> Box<Proposal> {
    let (limit, eviction) = {
        let tuning = group.tuning();
        (tuning.max_memory_bytes, tuning.eviction)
    };
    if limit == 0 || eviction == Eviction::None {
        *stuck_bytes = 0;
        return proposal;
    }
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    // Who has the state now may have it for long; there is another time.
    let used = || Some(group.try_state()?.keyspace.memory_bytes());
    while let Some(before) = used() {
        if before <= limit || before == *stuck_bytes || !group.standing().leads() {
            return proposal;
        }
        proposal.group = group.id();
        proposal.items.push(Item::Expire(EXPIRE_LIMIT));
        proposal = ticket.submit(proposal).await;
        proposal.items.clear();
        if used().is_some_and(|after| after >= before) {
            *stuck_bytes = before;
        }
        tokio::task::yield_now().await;
    }
    proposal
}

async fn sample_rates(worker: Rc<Worker>) {
    loop {
        tokio::time::sleep(SAMPLE_EVERY).await;
        worker.node.sample_rates();
    }
}

async fn disconnect_idle(worker: Rc<Worker>) {
    loop {
        tokio::time::sleep(HOUSEKEEPING).await;
        let timeout_s = worker.node.settings.load().timeout_s;
        if timeout_s > 0 {
            let since_ms = node::now_ms() - i64::from(timeout_s) * 1000;
            worker.end_waiting(|client| {
                let active_ms = client.active_ms.load(Ordering::Relaxed);
                let listens = client.has(ClientFlag::Monitor) || client.has(ClientFlag::Pubsub);
                active_ms < since_ms && !listens
            });
        }
        disconnect_slow(&worker);
    }
}

/// Ends the connections that have been above their soft limit for too long. More messages would
/// find that out; there may be no more.
fn disconnect_slow(worker: &Worker) {
    let limits = worker.node.settings.load().client_output_buffer_limit;
    let clients: Vec<_> = worker.clients.borrow().values().cloned().collect();
    for client in clients {
        if client.feed.is_over(limit_of(&client, &limits)) {
            tracing::warn!(client = %client.address, "a client is disconnected: it takes its messages too slowly");
            client.kill();
        }
    }
}

async fn wait_for_shutdown(worker: &Worker) {
    let mut orders = worker.node.shutdown_orders();
    // An error means that the node is gone, which is as good as an order.
    let _ = orders.wait_for(|order| *order != Shutdown::No).await;
}

/// Lets connections finish what they have begun. They notice [`Condition::Closing`] after their
/// present batch; those that wait for a request are ended here.
async fn drain(worker: &Worker) {
    debug_assert!(worker.node.attention.has(Condition::Closing));
    let deadline = tokio::time::Instant::now() + DRAIN;
    while !worker.clients.borrow().is_empty() && tokio::time::Instant::now() < deadline {
        worker.end_waiting(|_| true);
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}
