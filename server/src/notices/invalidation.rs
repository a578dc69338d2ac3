//! What a client that keeps copies is sent when some of them are not to be trusted any more: as a
//! push of RESP3, or as a message to the client of RESP2 to which it has redirected them.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bailiwick_frame::{Encoder, Protocol};

use super::Mode;
use crate::config::OutputBufferLimits;
use crate::node::clients::{Client, ClientFlag, Clients};
use crate::pubsub::Push;

/// The channel by which clients of RESP2 hear of changes.
const CHANNEL: &[u8] = b"__redis__:invalidate";

/// A client that keeps copies, and how it wants to be told.
pub(super) struct Tracked {
    pub(super) client: Arc<Client>,
    redirect: Option<u64>,
    pub(super) broadcast: bool,
}

impl Tracked {
    /// A client that is told as `mode` says.
    pub(super) fn new(client: &Arc<Client>, mode: &Mode) -> Self {
        Self {
            client: client.clone(),
            redirect: mode.redirect,
            broadcast: mode.broadcast,
        }
    }

    /// Tells a client, or whom it wants to be told, of keys; of all keys without any.
    pub(super) fn tell(
        &self,
        keys: Option<&[&[u8]]>,
        clients: &Clients,
        limits: &OutputBufferLimits,
    ) {
        let own = self.client.protocol();
        let Some(redirect) = self.redirect else {
            // There is no way to tell it anything between replies.
            if own == Protocol::Resp3 {
                let write = |out: &mut Encoder<'_>| write_push(out, keys);
                Push::new(write).send(&self.client, limits);
            }
            return;
        };
        let Some(target) = clients.get(redirect) else {
            self.client
                .redirect_is_broken
                .store(true, Ordering::Relaxed);
            if own == Protocol::Resp3 {
                let write = |out: &mut Encoder<'_>| write_broken(out, redirect);
                Push::new(write).send(&self.client, limits);
            }
            return;
        };
        if target.protocol() == Protocol::Resp3 {
            let write = |out: &mut Encoder<'_>| write_push(out, keys);
            Push::new(write).send(&target, limits);
        } else if target.has(ClientFlag::Pubsub) {
            let write = |out: &mut Encoder<'_>| write_message(out, keys);
            Push::new(write).send(&target, limits);
        }
    }
}

fn write_push(out: &mut Encoder<'_>, keys: Option<&[&[u8]]>) {
    out.push(2);
    out.bulk(b"invalidate");
    write_keys(out, keys);
}

fn write_message(out: &mut Encoder<'_>, keys: Option<&[&[u8]]>) {
    out.push(3);
    out.bulk(b"message");
    out.bulk(CHANNEL);
    write_keys(out, keys);
}

/// Null stands for all keys.
fn write_keys(out: &mut Encoder<'_>, keys: Option<&[&[u8]]>) {
    match keys {
        Some(keys) => {
            out.array(keys.len());
            keys.iter().for_each(|key| out.bulk(key));
        }
        None => out.null(),
    }
}

fn write_broken(out: &mut Encoder<'_>, redirect: u64) {
    out.push(2);
    out.bulk(b"tracking-redir-broken");
    out.integer(redirect as i64);
}
