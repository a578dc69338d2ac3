//! What a client is sent unasked: between the replies to its own requests, in the order in which it
//! came up.

use std::future::poll_fn;
use std::task::Poll;

use tokio::io::AsyncWriteExt;

use super::{Connection, End, FLUSH_BYTES};
use crate::commands::{CommandError, Handler, Known, NodeCommand};
use crate::node::clients::bump;

impl Connection {
    /// From now on the connection's task is woken when something is to be sent.
    pub(super) async fn listen_to_feed(&self) {
        poll_fn(|context| {
            self.guard.client.feed.set_waker(context.waker());
            Poll::Ready(())
        })
        .await;
    }

    /// Sends what is there, apart from replies, as far as it makes one write.
    pub(super) async fn send_pushes(&mut self) -> Result<(), End> {
        let worker = self.guard.worker.clone();
        let client = self.guard.client.clone();
        let mut pushes = worker.take_buffer();
        let taken = client.feed.take(&mut pushes, FLUSH_BYTES);
        self.stream.write_all(&pushes).await?;
        client.feed.note_written(taken);
        bump(&worker.stats.sent_bytes, taken as u64);
        bump(&client.sent_bytes, taken as u64);
        worker.give_buffer(pushes);
        Ok(())
    }

    /// Puts what is there behind the replies so far: it came up before the next request runs.
    pub(super) fn carry_pushes(&mut self, out: &mut Vec<u8>) {
        let feed = &self.guard.client.feed;
        if feed.has_pending() {
            let room = out.len() + FLUSH_BYTES;
            self.carried_bytes += feed.take(out, room);
        }
    }

    /// Puts all that is there before the reply that begins at `at`: it came up while the client
    /// still listened, and must not be heard after it was told that it does not.
    pub(super) fn carry_pushes_before(&mut self, at: usize, out: &mut Vec<u8>) {
        let feed = &self.guard.client.feed;
        if feed.has_pending() {
            let reply = out.split_off(at);
            self.carried_bytes += feed.take(out, usize::MAX);
            out.extend_from_slice(&reply);
        }
    }

    /// Says what a transaction has to say, which has been applied, or not.
    pub(super) fn publish_queued(&mut self, is_applied: bool) {
        if self.session.publications.is_empty() {
            return;
        }
        let publications = std::mem::take(&mut self.session.publications);
        for publication in publications.iter().filter(|_| is_applied) {
            publication.publish(&self.guard.worker.node);
        }
    }
}

/// What a client of RESP2 may do while it is sent messages.
pub(super) fn runs_while_listening(command: &Known) -> bool {
    matches!(
        command.handler,
        Handler::Node(
            NodeCommand::Subscribe
                | NodeCommand::Unsubscribe
                | NodeCommand::Psubscribe
                | NodeCommand::Punsubscribe
                | NodeCommand::Ssubscribe
                | NodeCommand::Sunsubscribe
                | NodeCommand::Ping
                | NodeCommand::Quit
                | NodeCommand::Reset
        )
    )
}

/// The error for what it may not.
pub(super) fn listens(command: &Known) -> CommandError {
    CommandError::composed(format!(
        "ERR Can't execute '{}': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are \
         allowed in this context",
        command.full_name()
    ))
}

/// What makes a client hear less than before.
pub(super) fn ends_listening(which: NodeCommand) -> bool {
    matches!(
        which,
        NodeCommand::Unsubscribe
            | NodeCommand::Punsubscribe
            | NodeCommand::Sunsubscribe
            | NodeCommand::Reset
    )
}
