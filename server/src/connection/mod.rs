//! One client: bytes in, requests run, replies out.
//!
//! The task of a connection reads what has arrived, cuts it into requests, runs them in order and
//! writes the replies with one system call where it can. While it waits for a request it holds no
//! buffer. Which requests run here and which wait for the group is decided in `execute`.

mod admission;
mod ask;
mod blocking;
mod busy;
mod execute;
mod follow;
mod join;
mod listing;
mod node_command;
mod orphans;
mod push;
mod reads;
mod redirect;
mod session;
mod spread;
mod track;
mod transaction;
mod waiting;

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bailiwick_frame::{Encoder, Limits, Parser};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

pub use orphans::{Orphans, run_orphans};
pub(crate) use reads::QUICK_STEPS;
pub use session::{Queued, QueuedStep, ReplyMode, Session};
pub use spread::Weights;

use crate::config::BufferLimit;
use crate::group::Proposal;
use crate::node::clients::{Client, ClientFlag, bump};
use crate::node::{self, Condition};
use crate::routing::redirect::Port;
use crate::worker::Worker;

/// Room made for each read, in bytes.
const READ_BYTES: usize = 16 * 1024;
/// The most that is read at once for a large request.
const READ_MAX_BYTES: usize = 1 << 20;
/// Requests run before replies are written and more is parsed.
const BATCH_REQUESTS: usize = 1024;
/// Up to so many bytes of replies no limit is looked at.
const UNLIMITED_BYTES: usize = 64 * 1024;
/// Replies are written when so many bytes have gathered.
const FLUSH_BYTES: usize = 256 * 1024;

/// Why a connection ends.
#[derive(Debug)]
enum End {
    /// One of the two sides wanted it.
    Closed,
    /// The socket failed; how, nobody wants to know.
    Failed,
}

impl From<io::Error> for End {
    fn from(_: io::Error) -> Self {
        Self::Failed
    }
}

/// Why a connection that waited goes on.
enum Wake {
    /// So many bytes have come.
    Received(usize),
    /// There is something in the client's feed.
    Feed,
}

/// Starts the task of a connection that was just accepted.
pub fn spawn(worker: &Rc<Worker>, stream: TcpStream, peer: SocketAddr, port: Port) {
    let node = &worker.node;
    let settings = node.settings.load();
    let local = stream
        .local_addr()
        .map_or_else(|_| "?".to_owned(), |local| local.to_string());
    let (id, fd) = (node.clients.next_id(), stream.as_raw_fd());
    let client = Arc::new(Client::new(id, peer.to_string(), local, fd, node::now_ms()));
    if let Some(refusal) = refuse(worker, &client, peer) {
        // Best effort: whoever is refused may have gone already.
        let _ = stream.try_write(refusal);
        let _ = socket2::SockRef::from(&stream).send(refusal);
        return;
    }
    worker.add_client(client.clone());
    let proposal = worker.new_proposal();
    let connection = Connection {
        stream,
        guard: Guard {
            worker: worker.clone(),
            client: client.clone(),
            ticket: proposal.ticket,
        },
        session: Session::new(client.clone(), port, settings.requirepass.is_empty()),
        parser: Parser::default(),
        proposal: Some(proposal),
        now_ns: 0,
        database_before_exec: 0,
        has_pushed: false,
        carried_bytes: 0,
    };
    let task = tokio::task::spawn_local(connection.run());
    client.set_abort(task.abort_handle());
}

fn refuse(worker: &Worker, client: &Arc<Client>, peer: SocketAddr) -> Option<&'static [u8]> {
    let settings = worker.node.settings.load();
    let is_open = settings.protected_mode && settings.requirepass.is_empty();
    if is_open && !peer.ip().to_canonical().is_loopback() {
        return Some(
            b"-DENIED Bailiwick runs in protected mode: no password is set, so only clients on \
              the same machine are served. Set a password (requirepass), or switch protected-mode \
              off if the network is trusted.\r\n",
        );
    }
    let admitted = worker
        .node
        .clients
        .add(client.clone(), settings.max_clients);
    (!admitted).then_some(b"-ERR max number of clients reached\r\n")
}

/// Takes the connection off all lists when its task ends, however it does.
struct Guard {
    worker: Rc<Worker>,
    client: Arc<Client>,
    ticket: usize,
}

impl Drop for Guard {
    fn drop(&mut self) {
        let node = &self.worker.node;
        node.clients.remove(self.client.id);
        self.worker.remove_client(self.client.id);
        if self.client.has(ClientFlag::Monitor) {
            node.monitors.remove(self.client.id, &node.attention);
        }
    }
}

/// The task of one client.
pub(crate) struct Connection {
    stream: TcpStream,
    guard: Guard,
    session: Session,
    parser: Parser,
    /// Buffers, requests and replies; away while the group has it.
    proposal: Option<Box<Proposal>>,
    /// The clock when the present batch began.
    now_ns: i64,
    /// The database to return to if an EXEC turns out not to run.
    database_before_exec: usize,
    /// The last thing that was sent came out of the client's feed.
    has_pushed: bool,
    /// How much of the client's feed stands among the replies.
    carried_bytes: usize,
}

impl Drop for Connection {
    fn drop(&mut self) {
        let Session {
            subscriptions,
            client,
            ..
        } = &mut self.session;
        self.guard
            .worker
            .node
            .pubsub
            .leave(subscriptions, client.id);
        client.feed.close();
        self.guard.worker.node.notices.tracking.disable(client.id);
        self.guard
            .worker
            .retire(self.guard.ticket, self.proposal.is_none());
    }
}

impl Connection {
    async fn run(mut self) {
        // Either end is silent: clients come and go.
        let _ = self.serve().await;
    }

    async fn serve(&mut self) -> Result<(), End> {
        self.listen_to_feed().await;
        loop {
            self.receive().await?;
            self.set_busy(true);
            while self.run_batch().await? {}
            self.set_busy(false);
            self.rest();
            if self.guard.worker.node.attention.has(Condition::Closing) {
                return Err(End::Closed);
            }
        }
    }

    fn set_busy(&self, busy: bool) {
        self.guard.client.busy.store(busy, Ordering::Relaxed);
    }

    fn proposal(&mut self) -> &mut Proposal {
        self.proposal
            .as_mut()
            .expect("the proposal is here while the connection runs")
    }

    /// Waits for bytes and appends them to the buffer. What the client is to be sent unasked is
    /// sent meanwhile.
    async fn receive(&mut self) -> Result<(), End> {
        let received = loop {
            let woken = poll_fn(|context| self.poll_wake(context)).await?;
            match woken {
                Wake::Received(count) => break count,
                Wake::Feed => self.send_pushes().await?,
            }
        };
        let worker = &self.guard.worker;
        bump(&worker.stats.received_bytes, received as u64);
        bump(&self.guard.client.received_bytes, received as u64);
        if received == 0 {
            Err(End::Closed)
        } else {
            Ok(())
        }
    }

    fn poll_wake(&mut self, context: &mut Context<'_>) -> Poll<Result<Wake, End>> {
        // A client for which there is always something to send is heard all the same.
        if std::mem::take(&mut self.has_pushed)
            && let Poll::Ready(received) = self.poll_receive(context)
        {
            return Poll::Ready(Ok(Wake::Received(received?)));
        }
        if self.guard.client.feed.has_pending() {
            self.has_pushed = true;
            return Poll::Ready(Ok(Wake::Feed));
        }
        let received = ready!(self.poll_receive(context))?;
        Poll::Ready(Ok(Wake::Received(received)))
    }

    fn poll_receive(&mut self, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        ready!(self.stream.poll_read_ready(context))?;
        let wanted = self.parser.wanted();
        let buffer = &mut self.proposal.as_mut().expect("nothing is under way").buffer;
        if buffer.capacity() == 0 {
            *buffer = self.guard.worker.take_buffer();
        }
        // A large request gets room step by step, so that nothing is reserved on its word alone.
        let missing = wanted.saturating_sub(buffer.len());
        buffer.reserve(missing.clamp(READ_BYTES, READ_MAX_BYTES));
        let received = ready!(pin!(self.stream.read_buf(buffer)).poll(context))?;
        Poll::Ready(Ok(received))
    }

    /// Runs the complete requests in the buffer, at most a batch. False if there was none.
    async fn run_batch(&mut self) -> Result<bool, End> {
        let settings = self.guard.worker.node.settings.load();
        let limits = Limits {
            max_bulk_bytes: settings.proto_max_bulk_len_bytes as usize,
            authenticated: self.session.is_authenticated,
            max_args: i32::MAX as usize,
            ..Limits::default()
        };
        let query_limit = settings.client_query_buffer_limit_bytes as usize;
        drop(settings);
        // Before AUTH the limits are narrow; what follows an AUTH is parsed under wider ones.
        let max_requests = if limits.authenticated {
            BATCH_REQUESTS
        } else {
            1
        };
        let Proposal {
            buffer, requests, ..
        } = &mut **self.proposal.as_mut().expect("nothing is under way");
        requests.clear();
        let parsed = self.parser.parse(buffer, &limits, max_requests, requests);
        let count = requests.len();
        if count > 0 {
            self.execute().await?;
        }
        match parsed {
            Ok(consumed) => {
                let proposal = self.proposal();
                proposal.requests.clear();
                proposal.buffer.drain(..consumed);
                let is_too_long = proposal.buffer.len() > query_limit;
                self.flush().await?;
                if is_too_long {
                    tracing::warn!(client = %self.guard.client.address, "query buffer limit exceeded");
                    return Err(End::Closed);
                }
                Ok(count > 0 && consumed > 0)
            }
            Err(error) => {
                let protocol = self.session.protocol;
                let text = format!("ERR {error}");
                self.guard.worker.node.note_error(&text);
                Encoder::new(&mut self.proposal().replies, protocol).error(&text);
                self.flush().await?;
                Err(End::Closed)
            }
        }
    }

    /// Writes the replies that have gathered.
    async fn flush(&mut self) -> Result<(), End> {
        let proposal = self.proposal.as_mut().expect("nothing is under way");
        if proposal.replies.is_empty() {
            return Ok(());
        }
        let worker = &self.guard.worker;
        if proposal.replies.len() <= UNLIMITED_BYTES {
            self.stream.write_all(&proposal.replies).await?;
        } else {
            let limit = worker
                .node
                .settings
                .load()
                .client_output_buffer_limit
                .normal;
            write_limited(&mut self.stream, &proposal.replies, limit).await?;
        }
        let sent = proposal.replies.len() as u64;
        proposal.replies.clear();
        if self.carried_bytes > 0 {
            let carried = std::mem::take(&mut self.carried_bytes);
            self.guard.client.feed.note_written(carried);
        }
        bump(&worker.stats.sent_bytes, sent);
        bump(&self.guard.client.sent_bytes, sent);
        Ok(())
    }

    /// Gives buffers back before a wait that may be long.
    fn rest(&mut self) {
        let worker = self.guard.worker.clone();
        let proposal = self.proposal();
        if proposal.buffer.is_empty() && proposal.buffer.capacity() > 0 {
            worker.give_buffer(std::mem::take(&mut proposal.buffer));
        }
        if proposal.replies.capacity() > 0 {
            worker.give_buffer(std::mem::take(&mut proposal.replies));
        }
    }
}

/// Writes many replies to a client that may be slow; above its limit it is disconnected.
async fn write_limited(
    stream: &mut TcpStream,
    replies: &[u8],
    limit: BufferLimit,
) -> Result<(), End> {
    let waiting = replies.len() as u64;
    if limit.hard_bytes > 0 && waiting > limit.hard_bytes {
        tracing::warn!(
            waiting,
            "a client is disconnected: output buffer hard limit"
        );
        return Err(End::Closed);
    }
    let write = stream.write_all(replies);
    if limit.soft_bytes == 0 || waiting <= limit.soft_bytes {
        return Ok(write.await?);
    }
    let patience = Duration::from_secs(u64::from(limit.soft_s));
    let Ok(written) = tokio::time::timeout(patience, write).await else {
        tracing::warn!(
            waiting,
            "a client is disconnected: output buffer soft limit"
        );
        return Err(End::Closed);
    };
    Ok(written?)
}
