//! Opening connections to a peer, again and again.
//!
//! Owns the attempts and the waits between them: doubled at each failure, with jitter so that the
//! nodes of a cluster do not knock in step, and cut short when the peer itself has just connected.
//! A session that lasted a moment starts the waits anew; one that did not, does not, or two nodes
//! that break at once would spin.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::connection::Connection;
use super::handshake::{self, Answer, Greeting, HEAD_BYTES, HandshakeError, Purpose, Verdict};
use super::hub::{Hub, tune};
use super::peer::PeerLink;
use super::session::Slot;
use super::status::{Cause, Ended};
use super::types::LinkLimits;

const LASTING: Duration = Duration::from_millis(100);

/// Keeps the consensus connection to a peer open until the peer is removed.
pub(super) async fn consensus(hub: Arc<Hub>, peer: Arc<PeerLink>) {
    let mut backoff = Backoff::new(&hub.limits);
    while !peer.is_removed() {
        peer.attempt();
        if let Some((connection, stream)) = attempt(&hub, &peer, Purpose::Consensus).await {
            connection.run(stream).await;
        }
        if peer.uptime().is_some_and(|uptime| uptime >= LASTING) {
            backoff = Backoff::new(&hub.limits);
        }
        peer.set_waiting(true);
        tokio::select! {
            () = tokio::time::sleep(backoff.next()) => {}
            () = peer.retry.notified() => {}
        }
        peer.set_waiting(false);
    }
}

/// Opens the bulk connection of the session that is up, and works on it.
pub(super) async fn bulk(hub: Arc<Hub>, peer: Arc<PeerLink>) {
    let mut backoff = Backoff::new(&hub.limits);
    let mut opened = None;
    while peer.is_up() && opened.is_none() {
        opened = attempt(&hub, &peer, Purpose::Bulk).await;
        if opened.is_none() {
            tokio::time::sleep(backoff.next()).await;
        }
    }
    peer.bulk_dialed();
    match opened {
        Some((connection, stream)) => connection.run(stream).await,
        // Frames of a next session may have come to wait meanwhile, with this attempt in their way.
        None if peer.dispatch() => drop(tokio::spawn(again(hub, peer))),
        None => {}
    }
}

/// [`bulk`], boxed, as a future cannot contain itself.
fn again(hub: Arc<Hub>, peer: Arc<PeerLink>) -> std::pin::Pin<Box<dyn Future<Output = ()> + Send>> {
    Box::pin(bulk(hub, peer))
}

async fn attempt(
    hub: &Arc<Hub>,
    peer: &Arc<PeerLink>,
    purpose: Purpose,
) -> Option<(Connection, TcpStream)> {
    match open(hub, peer, purpose).await {
        Ok(opened) => opened,
        Err(Failure::Ended(ended)) => {
            peer.failed(&ended);
            None
        }
        Err(Failure::RefusedHere(reason)) => {
            peer.refuse(&reason);
            None
        }
        Err(Failure::RefusedThere(reason)) => {
            peer.refused(&*hub.events, &reason);
            None
        }
    }
}

enum Failure {
    Ended(Ended),
    RefusedHere(String),
    RefusedThere(String),
}

impl From<Ended> for Failure {
    fn from(ended: Ended) -> Failure {
        Failure::Ended(ended)
    }
}

/// `None` if the peer said "later" or the session changed during the handshake.
async fn open(
    hub: &Arc<Hub>,
    peer: &Arc<PeerLink>,
    purpose: Purpose,
) -> Result<Option<(Connection, TcpStream)>, Failure> {
    let address = peer.address();
    let late = |doing: &str| Ended::new(Cause::Timeout, format!("{address}: {doing} timed out"));
    let failed = |error: io::Error| Ended::new(Cause::Closed, format!("{address}: {error}"));
    let connect = timeout(hub.limits.connect_timeout, TcpStream::connect(&address));
    let connected = connect.await.map_err(|_| late("connecting"))?;
    let mut stream = connected.map_err(failed)?;
    tune(&stream).map_err(failed)?;
    let epoch = peer.epoch();
    let talk = greet(hub, peer, purpose, epoch, &mut stream);
    let talked = timeout(hub.limits.handshake_timeout, talk).await;
    let Some(answer) = talked.map_err(|_| late("the handshake"))?? else {
        return Ok(None);
    };
    let slot = match purpose {
        Purpose::Consensus => Slot::Out,
        Purpose::Bulk => Slot::BulkOut,
    };
    let entered = hub.enter(peer, slot, epoch, &answer.identity);
    Ok(entered.map(|connection| (connection, stream)))
}

async fn greet(
    hub: &Hub,
    peer: &PeerLink,
    purpose: Purpose,
    epoch: u64,
    stream: &mut TcpStream,
) -> Result<Option<Answer>, Failure> {
    let identity = hub.identity(epoch);
    let to = peer.node;
    let greeting = Greeting {
        purpose,
        identity,
        to,
    };
    let write = stream.write_all(&greeting.encode()).await;
    write.map_err(|error| Ended::new(Cause::Closed, error))?;
    let message = read_message(stream).await?;
    let answer = Answer::decode(&message).map_err(|error| ended(&error))?;
    match answer.verdict {
        Verdict::Accepted => {}
        Verdict::Refused(reason) => return Err(Failure::RefusedThere(reason)),
        Verdict::Later(_) => return Ok(None),
    }
    let verdict = match answer.identity.hello.node == peer.node {
        true => hub.judge(peer, &answer.identity),
        false => Verdict::Refused(format!(
            "node {} answered where node {} was expected",
            answer.identity.hello.node.0, peer.node.0
        )),
    };
    let confirm = Answer {
        verdict: verdict.clone(),
        identity,
    };
    let write = stream.write_all(&confirm.encode()).await;
    match verdict {
        Verdict::Refused(reason) => Err(Failure::RefusedHere(reason)),
        _ => {
            write.map_err(|error| Ended::new(Cause::Closed, error))?;
            Ok(Some(answer))
        }
    }
}

/// One message of a handshake, exactly: frames may stand behind it already.
pub(super) async fn read_message(stream: &mut TcpStream) -> Result<Vec<u8>, Ended> {
    let closed = |error: io::Error| Ended::new(Cause::Closed, error);
    let mut head = [0; HEAD_BYTES];
    stream.read_exact(&mut head).await.map_err(closed)?;
    let body = handshake::body_bytes(&head).map_err(|error| ended(&error))?;
    let mut message = head.to_vec();
    message.resize(HEAD_BYTES + body, 0);
    let read = stream.read_exact(&mut message[HEAD_BYTES..]).await;
    read.map_err(closed)?;
    Ok(message)
}

pub(super) fn ended(error: &HandshakeError) -> Ended {
    Ended::new(Cause::Malformed, error)
}

/// The waits between attempts: `min <= next <= max`, jitter only shortens them.
struct Backoff {
    next: Duration,
    min: Duration,
    max: Duration,
}

impl Backoff {
    fn new(limits: &LinkLimits) -> Backoff {
        Backoff {
            next: limits.backoff_min,
            min: limits.backoff_min,
            max: limits.backoff_max,
        }
    }

    fn next(&mut self) -> Duration {
        let wait = self.next;
        self.next = (2 * wait).min(self.max);
        wait.mul_f64(0.5 + fastrand::f64() / 2.0).max(self.min)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_their_bound() {
        let limits = LinkLimits::default();
        let mut backoff = Backoff::new(&limits);
        let waits: Vec<_> = (0..20).map(|_| backoff.next()).collect();
        assert_eq!(waits[0], limits.backoff_min);
        assert!(waits.iter().all(|wait| *wait <= limits.backoff_max));
        assert!(
            waits[10..]
                .iter()
                .all(|wait| *wait >= limits.backoff_max / 2)
        );
    }
}
