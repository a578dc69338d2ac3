//! Who is connected: what `CLIENT LIST` shows and `CLIENT KILL` acts on.
//!
//! A connection's own thread keeps these fields up to date with plain stores; others read them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{
    AtomicBool, AtomicI64, AtomicU8, AtomicU16, AtomicU32, AtomicU64, Ordering,
};

use bailiwick_frame::Protocol;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::task::AbortHandle;

use crate::pubsub::Feed;

/// What a connection is, as the letters of `CLIENT LIST` say it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum ClientFlag {
    /// In MULTI.
    Multi = 1,
    /// Watches keys, one of which may have changed.
    Watching = 2,
    /// MONITOR.
    Monitor = 4,
    /// `CLIENT NO-EVICT ON`.
    NoEvict = 8,
    /// `CLIENT NO-TOUCH ON`.
    NoTouch = 16,
    /// READONLY.
    Readonly = 32,
    /// Waits for keys, or for `CLIENT PAUSE` or a slow command to end.
    Blocked = 64,
    /// Will be closed after its present reply.
    Closing = 128,
    /// Has subscribed to something.
    Pubsub = 256,
    /// Keeps track of the keys that it reads.
    Tracking = 512,
    /// Is told of all keys with its prefixes.
    Broadcast = 1024,
}

/// The client does not wait for keys.
const IDLE: u8 = 0;
/// It does.
const WAITS: u8 = 1;
/// It is to wait no longer, as if its time were over.
const END: u8 = 2;
/// It is to wait no longer, and to hear why.
const END_WITH_ERROR: u8 = 3;

/// One connection, as others see it.
pub struct Client {
    /// Never used twice while the process runs.
    pub id: u64,
    /// The other end.
    pub address: String,
    /// This end.
    pub local_address: String,
    /// The socket.
    pub fd: i32,
    /// When it was accepted, in milliseconds since 1970.
    pub created_ms: i64,
    /// `CLIENT SETNAME`.
    pub name: Mutex<String>,
    /// `CLIENT SETINFO`: library name and version.
    pub library: Mutex<(String, String)>,
    /// The selected database.
    pub database: AtomicU32,
    /// 2 or 3.
    pub protocol: AtomicU32,
    /// [`ClientFlag`]s, or-ed.
    pub flags: AtomicU32,
    /// When a request last arrived, in milliseconds since 1970.
    pub active_ms: AtomicI64,
    /// Number of the last command; `u16::MAX` before the first.
    pub last_command: AtomicU16,
    /// Commands queued by MULTI.
    pub queued: AtomicU32,
    /// Bytes of queued arguments.
    pub queued_bytes: AtomicU64,
    /// Keys watched.
    pub watched: AtomicU32,
    /// Bytes in the read buffer.
    pub input_bytes: AtomicU64,
    /// Bytes in the reply buffer.
    pub output_bytes: AtomicU64,
    /// Bytes received.
    pub received_bytes: AtomicU64,
    /// Bytes sent.
    pub sent_bytes: AtomicU64,
    /// Commands run.
    pub commands: AtomicU64,
    /// A request has arrived and its reply has not been sent completely.
    pub busy: AtomicBool,
    /// Asked to close after the reply in progress, by itself or by `CLIENT KILL`.
    pub closing: AtomicBool,
    /// One of [`IDLE`], [`WAITS`], and what `CLIENT UNBLOCK` makes of the latter.
    blocking: AtomicU8,
    unblocked: Notify,
    /// Channels, patterns and shard channels subscribed to.
    pub subscriptions: [AtomicU32; 3],
    /// Whom to tell of changed keys instead of it: -1 if it keeps no track, 0 if nobody else.
    pub redirect: AtomicI64,
    /// That one has gone.
    pub redirect_is_broken: AtomicBool,
    /// See [`Client::author`].
    pub(crate) author: AtomicU64,
    /// What is to be sent unasked.
    pub feed: Feed,
    abort: OnceLock<AbortHandle>,
}

impl Client {
    /// A connection that was accepted just now.
    #[must_use]
    pub fn new(id: u64, address: String, local_address: String, fd: i32, now_ms: i64) -> Self {
        Self {
            id,
            address,
            local_address,
            fd,
            created_ms: now_ms,
            name: Mutex::default(),
            library: Mutex::default(),
            database: AtomicU32::new(0),
            protocol: AtomicU32::new(2),
            flags: AtomicU32::new(0),
            active_ms: AtomicI64::new(now_ms),
            last_command: AtomicU16::new(u16::MAX),
            queued: AtomicU32::new(0),
            queued_bytes: AtomicU64::new(0),
            watched: AtomicU32::new(0),
            input_bytes: AtomicU64::new(0),
            output_bytes: AtomicU64::new(0),
            received_bytes: AtomicU64::new(0),
            sent_bytes: AtomicU64::new(0),
            commands: AtomicU64::new(0),
            busy: AtomicBool::new(false),
            closing: AtomicBool::new(false),
            blocking: AtomicU8::new(IDLE),
            unblocked: Notify::new(),
            subscriptions: Default::default(),
            redirect: AtomicI64::new(-1),
            redirect_is_broken: AtomicBool::new(false),
            author: AtomicU64::new(0),
            feed: Feed::default(),
            abort: OnceLock::new(),
        }
    }

    /// By which number its changes are known as its own, if it does not want to hear of them; 0
    /// otherwise.
    #[must_use]
    pub fn author(&self) -> u64 {
        self.author.load(Ordering::Relaxed)
    }

    /// The version in which it is sent anything.
    #[must_use]
    pub fn protocol(&self) -> Protocol {
        match self.protocol.load(Ordering::Relaxed) {
            3 => Protocol::Resp3,
            _ => Protocol::Resp2,
        }
    }

    /// Whether the flag is set.
    #[must_use]
    pub fn has(&self, flag: ClientFlag) -> bool {
        self.flags.load(Ordering::Relaxed) & flag as u32 != 0
    }

    /// Sets or clears a flag; only the connection's own thread does.
    pub fn set(&self, flag: ClientFlag, on: bool) {
        let flags = self.flags.load(Ordering::Relaxed);
        let changed = if on {
            flags | flag as u32
        } else {
            flags & !(flag as u32)
        };
        self.flags.store(changed, Ordering::Relaxed);
    }

    /// The client's request waits for keys from now on; on the connection's own thread.
    pub fn begin_blocking(&self) {
        // A request that is looked after waits all the time, and may have been told to end.
        let _ = self.order(IDLE, WAITS);
        self.set(ClientFlag::Blocked, true);
    }

    /// It does not any more.
    pub fn end_blocking(&self) {
        self.blocking.store(IDLE, Ordering::Release);
        self.set(ClientFlag::Blocked, false);
    }

    /// `CLIENT UNBLOCK`: false if the client does not wait for keys, or was told already.
    pub fn unblock(&self, with_error: bool) -> bool {
        let order = if with_error { END_WITH_ERROR } else { END };
        let is_taken = self.order(WAITS, order);
        if is_taken {
            self.unblocked.notify_one();
        }
        is_taken
    }

    /// Waits for `CLIENT UNBLOCK`; whether it wants an error.
    pub async fn unblock_ordered(&self) -> bool {
        loop {
            match self.blocking.load(Ordering::Acquire) {
                END => return false,
                END_WITH_ERROR => return true,
                // What was left of an order that came too late.
                _ => self.unblocked.notified().await,
            }
        }
    }

    fn order(&self, from: u8, to: u8) -> bool {
        let exchanged =
            self.blocking
                .compare_exchange(from, to, Ordering::AcqRel, Ordering::Acquire);
        exchanged.is_ok()
    }

    /// Lets [`Client::kill`] end the connection's task.
    pub fn set_abort(&self, handle: AbortHandle) {
        // Set once, right after the task was spawned.
        let _ = self.abort.set(handle);
    }

    /// Ends the connection at once.
    pub fn kill(&self) {
        self.closing.store(true, Ordering::Release);
        if let Some(handle) = self.abort.get() {
            handle.abort();
        }
    }
}

/// Adds to a counter that only one thread writes.
pub fn bump(counter: &AtomicU64, by: u64) {
    counter.store(counter.load(Ordering::Relaxed) + by, Ordering::Relaxed);
}

/// All connections.
#[derive(Default)]
pub struct Clients {
    connected: Mutex<BTreeMap<u64, Arc<Client>>>,
    next_id: AtomicU64,
    /// Connections accepted since the start.
    pub accepted: AtomicU64,
    /// Connections refused because there were too many.
    pub rejected: AtomicU64,
}

impl Clients {
    /// A number for a new connection.
    pub fn next_id(&self) -> u64 {
        self.next_id.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Adds a connection unless there are `max` already.
    pub fn add(&self, client: Arc<Client>, max: usize) -> bool {
        self.accepted.fetch_add(1, Ordering::Relaxed);
        let mut connected = self.connected.lock();
        if connected.len() >= max {
            self.rejected.fetch_add(1, Ordering::Relaxed);
            return false;
        }
        connected.insert(client.id, client);
        true
    }

    /// Removes a connection that has ended.
    pub fn remove(&self, id: u64) {
        self.connected.lock().remove(&id);
    }

    /// The connection of this number.
    #[must_use]
    pub fn get(&self, id: u64) -> Option<Arc<Client>> {
        self.connected.lock().get(&id).cloned()
    }

    /// Number of connections.
    #[must_use]
    pub fn len(&self) -> usize {
        self.connected.lock().len()
    }

    /// Whether nobody is connected.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All connections in the order in which they came.
    #[must_use]
    pub fn all(&self) -> Vec<Arc<Client>> {
        self.connected.lock().values().cloned().collect()
    }
}
