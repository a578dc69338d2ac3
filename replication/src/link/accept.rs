//! The listener, and the handshakes of those who come.
//!
//! Owns connections until they have shown who they are. Hostile bytes cost a bounded number of
//! sockets for a bounded time: when too many are in the handshake, the oldest is closed, so silent
//! strangers cannot keep a peer out.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::AbortHandle;
use tokio::time::timeout;

use super::dial::{ended, read_message};
use super::handshake::{Answer, Greeting, Identity, Purpose, Verdict};
use super::hub::{Hub, tune};
use super::peer::PeerLink;
use super::session::Slot;
use super::status::{Cause, Ended};

/// How long to wait when the system has no descriptor left for a connection.
const PAUSE: Duration = Duration::from_millis(50);

/// Takes connections, forever.
pub(super) async fn run(hub: Arc<Hub>, listener: TcpListener) {
    let mut handshakes: VecDeque<AbortHandle> = VecDeque::new();
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(PAUSE).await;
            continue;
        };
        handshakes.retain(|handshake| !handshake.is_finished());
        if handshakes.len() >= hub.limits.max_handshakes.max(1)
            && let Some(oldest) = handshakes.pop_front()
        {
            oldest.abort();
            hub.rejected.fetch_add(1, Ordering::Relaxed);
        }
        handshakes.push_back(tokio::spawn(welcome(hub.clone(), stream)).abort_handle());
    }
}

/// A connection that has told who it is.
struct Guest {
    peer: Arc<PeerLink>,
    slot: Slot,
    /// The epoch that was shown to it.
    epoch: u64,
    identity: Identity,
}

async fn welcome(hub: Arc<Hub>, mut stream: TcpStream) {
    let handshake = timeout(hub.limits.handshake_timeout, shake_hands(&hub, &mut stream));
    let Ok(Ok(Some(guest))) = handshake.await else {
        hub.rejected.fetch_add(1, Ordering::Relaxed);
        return;
    };
    let Guest {
        peer,
        slot,
        epoch,
        identity,
    } = guest;
    if let Some(connection) = hub.enter(&peer, slot, epoch, &identity) {
        // A task of its own, because this one is ended when too many are in the handshake.
        tokio::spawn(connection.run(stream));
    }
}

/// `None` if either side does not want the connection.
async fn shake_hands(hub: &Hub, stream: &mut TcpStream) -> Result<Option<Guest>, Ended> {
    let closed = |error: io::Error| Ended::new(Cause::Closed, error);
    tune(stream).map_err(closed)?;
    let message = match read_message(stream).await {
        Ok(message) => message,
        Err(error) => {
            // One of another version learns ours from the head of this answer.
            answer(hub, stream, 0, Verdict::Refused(error.reason.clone())).await?;
            return Err(error);
        }
    };
    let greeting = Greeting::decode(&message).map_err(|error| ended(&error))?;
    let identity = greeting.identity;
    let Some(peer) = hub.peer(identity.hello.node) else {
        let reason = format!(
            "node {} is not a peer of node {}",
            identity.hello.node.0, hub.hello.node.0
        );
        answer(hub, stream, 0, Verdict::Refused(reason)).await?;
        return Ok(None);
    };
    let slot = match greeting.purpose {
        Purpose::Consensus => Slot::In,
        Purpose::Bulk => Slot::BulkIn,
    };
    let epoch = peer.epoch();
    let verdict = judge(hub, &peer, slot, &greeting);
    answer(hub, stream, epoch, verdict.clone()).await?;
    match verdict {
        Verdict::Accepted => {}
        Verdict::Refused(reason) => {
            peer.refuse(&reason);
            return Ok(None);
        }
        Verdict::Later(_) => return Ok(None),
    }
    let message = read_message(stream).await?;
    let confirm = Answer::decode(&message).map_err(|error| ended(&error))?;
    match confirm.verdict {
        Verdict::Accepted => Ok(Some(Guest {
            peer,
            slot,
            epoch,
            identity,
        })),
        Verdict::Refused(reason) => {
            peer.refused(&*hub.events, &reason);
            Ok(None)
        }
        Verdict::Later(_) => Ok(None),
    }
}

fn judge(hub: &Hub, peer: &PeerLink, slot: Slot, greeting: &Greeting) -> Verdict {
    let (own, to) = (hub.hello.node.0, greeting.to.0);
    if greeting.to != hub.hello.node {
        return Verdict::Refused(format!("this is node {own}, not node {to}"));
    }
    let verdict = hub.judge(peer, &greeting.identity);
    let timely = peer.is_timely(slot, greeting.identity.stamp());
    match verdict {
        Verdict::Accepted if !timely => Verdict::Later("not in this session".to_owned()),
        verdict => verdict,
    }
}

async fn answer(
    hub: &Hub,
    stream: &mut TcpStream,
    epoch: u64,
    verdict: Verdict,
) -> Result<(), Ended> {
    let identity = hub.identity(epoch);
    let bytes = Answer { verdict, identity }.encode();
    let write = stream.write_all(&bytes).await;
    write.map_err(|error| Ended::new(Cause::Closed, error))
}
