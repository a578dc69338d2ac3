//! Messages and how clients of either protocol version are sent them.

use bailiwick_frame::{Encoder, Protocol};
use bytes::Bytes;

use super::Kind;
use crate::config::{BufferLimit, OutputBufferLimits};
use crate::node::clients::{Client, ClientFlag};

/// A message to a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message<'a> {
    /// Whether it is to a shard channel.
    pub is_sharded: bool,
    /// The channel.
    pub channel: &'a [u8],
    /// What is said.
    pub payload: &'a [u8],
}

impl Message<'_> {
    /// The kind of subscription that names its channel.
    #[must_use]
    pub fn kind(&self) -> Kind {
        if self.is_sharded {
            Kind::Shard
        } else {
            Kind::Channel
        }
    }
}

/// Something sent to clients unasked, encoded once for each protocol version that is needed.
pub struct Push<F> {
    write: F,
    encoded: [Option<Bytes>; 2],
}

impl<F: Fn(&mut Encoder<'_>)> Push<F> {
    /// What `write` writes.
    pub fn new(write: F) -> Self {
        Self {
            write,
            encoded: [None, None],
        }
    }

    /// Sends it to a client; one that is too slow is disconnected.
    pub fn send(&mut self, client: &Client, limits: &OutputBufferLimits) {
        let protocol = client.protocol();
        let at = usize::from(protocol == Protocol::Resp3);
        let write = &self.write;
        let bytes = self.encoded[at].get_or_insert_with(|| {
            let mut out = Vec::new();
            write(&mut Encoder::new(&mut out, protocol));
            out.into()
        });
        if !client.feed.push(bytes.clone(), limit_of(client, limits)) {
            tracing::warn!(
                client = %client.address,
                "a client is disconnected: it takes its messages too slowly"
            );
            client.kill();
        }
    }
}

/// The limit for what waits for a client.
#[must_use]
pub fn limit_of(client: &Client, limits: &OutputBufferLimits) -> BufferLimit {
    if client.has(ClientFlag::Pubsub) {
        limits.pubsub
    } else {
        limits.normal
    }
}

/// A message for those who subscribed to its channel.
pub(super) fn write_message(message: &Message<'_>, out: &mut Encoder<'_>) {
    out.push(3);
    out.bulk(if message.is_sharded {
        b"smessage"
    } else {
        b"message"
    });
    out.bulk(message.channel);
    out.bulk(message.payload);
}

/// A message for those who subscribed to a pattern.
pub(super) fn write_matched(pattern: &[u8], message: &Message<'_>, out: &mut Encoder<'_>) {
    out.push(4);
    out.bulk(b"pmessage");
    out.bulk(pattern);
    out.bulk(message.channel);
    out.bulk(message.payload);
}
