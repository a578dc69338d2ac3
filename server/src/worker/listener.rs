//! Listening sockets: one for each thread and address, all on the same port.

use std::io;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::rc::Rc;
use std::time::Duration;

use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use tokio::net::{TcpListener, TcpStream};

use super::Worker;
use crate::config::{BindAddress, Settings};
use crate::connection;
use crate::routing::redirect::Port;

/// A pause after an accept that failed because something is exhausted, so that the thread does not
/// spin until it is there again.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Why the node cannot listen.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}: {source}{}", hint(source))]
pub struct ListenError {
    /// The address.
    pub address: SocketAddr,
    /// The system's reason.
    pub source: io::Error,
}

fn hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => "; another server has this port, choose one with --port",
        io::ErrorKind::PermissionDenied => "; ports below 1024 need privileges, choose --port",
        io::ErrorKind::AddrNotAvailable => "; this machine does not have this address, see --bind",
        _ => "",
    }
}

/// The sockets of all threads.
pub struct Listeners {
    /// For each thread, one socket an address.
    pub by_thread: Vec<Vec<(Port, StdListener)>>,
    /// The addresses for any client, with the ports that were really taken.
    pub addresses: Vec<SocketAddr>,
    /// The addresses for cluster clients; empty if there is no port for them.
    pub cluster_addresses: Vec<SocketAddr>,
}

impl Listeners {
    /// Binds all addresses for all threads.
    pub fn bind(settings: &Settings) -> Result<Self, ListenError> {
        let threads = settings.worker_threads();
        let mut listeners = Self {
            by_thread: (0..threads).map(|_| Vec::new()).collect(),
            addresses: Vec::new(),
            cluster_addresses: Vec::new(),
        };
        let (plain, backlog) = (&settings.bind, settings.tcp_backlog);
        listeners.addresses = listeners.add(Port::Plain, plain, settings.port, backlog)?;
        if settings.cluster_port > 0 {
            let own = &settings.cluster_bind;
            let bind = if own.is_empty() { plain } else { own };
            let addresses = listeners.add(Port::Cluster, bind, settings.cluster_port, backlog)?;
            listeners.cluster_addresses = addresses;
        }
        Ok(listeners)
    }

    /// Binds addresses that share a port, and returns what was really taken.
    fn add(
        &mut self,
        which: Port,
        bind: &[BindAddress],
        mut port: u16,
        backlog: u32,
    ) -> Result<Vec<SocketAddr>, ListenError> {
        let mut addresses = Vec::new();
        for bind in bind {
            let wanted = SocketAddr::new(bind.ip, port);
            let failed = |source| ListenError {
                address: wanted,
                source,
            };
            let address = match probe(wanted) {
                Ok(address) => address,
                Err(error) if bind.optional && is_unavailable(&error) => continue,
                Err(error) => return Err(failed(error)),
            };
            port = address.port();
            for sockets in &mut self.by_thread {
                let socket = listen(address, backlog, true).map_err(failed)?;
                sockets.push((which, socket));
            }
            addresses.push(address);
        }
        Ok(addresses)
    }
}

fn is_unavailable(error: &io::Error) -> bool {
    let kind = error.kind();
    kind == io::ErrorKind::AddrNotAvailable || kind == io::ErrorKind::Unsupported
}

/// Finds out whether the address is free, and which port 0 stands for. Sockets that share a port
/// would otherwise hide that another server listens there.
fn probe(address: SocketAddr) -> io::Result<SocketAddr> {
    listen(address, 1, false)?.local_addr()
}

fn listen(address: SocketAddr, backlog: u32, shared: bool) -> io::Result<StdListener> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(shared)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(backlog.min(i32::MAX as u32) as i32)?;
    Ok(socket.into())
}

/// Accepts connections for ever.
pub(super) async fn accept(worker: Rc<Worker>, listener: TcpListener, port: Port) {
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                set_options(&stream, worker.node.settings.load().tcp_keepalive_s);
                connection::spawn(&worker, stream, peer, port);
            }
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// A connection that cannot have them works without them.
fn set_options(stream: &TcpStream, keepalive_s: u32) {
    let _ = stream.set_nodelay(true);
    if keepalive_s > 0 {
        let idle = Duration::from_secs(u64::from(keepalive_s));
        let interval = Duration::from_secs(u64::from(keepalive_s / 3).max(1));
        let keepalive = TcpKeepalive::new()
            .with_time(idle)
            .with_interval(interval)
            .with_retries(3);
        let _ = SockRef::from(stream).set_tcp_keepalive(&keepalive);
    }
}
