//! SUBSCRIBE and its kin, PUBLISH and PUBSUB.

use std::sync::Arc;

use super::{Flow, NodeContext, NodeOutcome, Pending};
use crate::commands::{CommandError, NodeCommand};
use crate::node::Node;
use crate::node::clients::Client;
use crate::pubsub::{Kind, Message, Subscriptions};

/// A message that leaves when the transaction that sends it has been applied.
pub struct Publication {
    is_sharded: bool,
    channel: Vec<u8>,
    payload: Vec<u8>,
}

impl Publication {
    /// Sends it.
    pub fn publish(&self, node: &Node) {
        let message = Message {
            is_sharded: self.is_sharded,
            channel: &self.channel,
            payload: &self.payload,
        };
        publish_now(node, &message);
    }
}

pub(super) fn subscribe(kind: Kind, context: &mut NodeContext<'_>) -> NodeOutcome {
    if kind == Kind::Shard && context.session.runs_transaction {
        return Err(CommandError::text(
            "ERR SSUBSCRIBE isn't allowed for a DENY BLOCKING client",
        ));
    }
    let word = match kind {
        Kind::Channel => "subscribe",
        Kind::Pattern => "psubscribe",
        Kind::Shard => "ssubscribe",
    };
    let mut heard = None;
    for name in context.args.from(1).iter() {
        let session = &mut *context.session;
        if session.subscriptions.add(kind, name) {
            heard = context.node.pubsub.subscribe(kind, name, &session.client);
        }
        write_change(context, word, Some(name), kind);
    }
    context.session.subscriptions.show(&context.session.client);
    // Whoever hears of this subscription may publish anywhere.
    Ok(heard.map_or(Flow::Continue, |heard| Flow::Pending(Pending::Heard(heard))))
}

pub(super) fn unsubscribe(kind: Kind, context: &mut NodeContext<'_>) -> NodeOutcome {
    let word = match kind {
        Kind::Channel => "unsubscribe",
        Kind::Pattern => "punsubscribe",
        Kind::Shard => "sunsubscribe",
    };
    let named = context.args.from(1);
    let names: Vec<Box<[u8]>> = if named.is_empty() {
        context.session.subscriptions.names(kind)
    } else {
        named.iter().map(Box::from).collect()
    };
    if names.is_empty() {
        write_change(context, word, None, kind);
    }
    for name in &names {
        let session = &mut *context.session;
        if session.subscriptions.remove(kind, name) {
            let client = session.client.id;
            context.node.pubsub.unsubscribe(kind, name, client);
        }
        write_change(context, word, Some(name), kind);
    }
    context.session.subscriptions.show(&context.session.client);
    Ok(Flow::Continue)
}

fn write_change(context: &mut NodeContext<'_>, word: &str, name: Option<&[u8]>, kind: Kind) {
    let count = context.session.subscriptions.count(kind) as i64;
    let mut out = context.encoder();
    out.push(3);
    out.bulk(word.as_bytes());
    match name {
        Some(name) => out.bulk(name),
        None => out.null(),
    }
    out.integer(count);
}

/// Takes back all that a client has subscribed to, without a word.
pub(super) fn leave(node: &Node, subscriptions: &mut Subscriptions, client: &Arc<Client>) {
    node.pubsub.leave(subscriptions, client.id);
    subscriptions.show(client);
}

pub(super) fn publish(is_sharded: bool, context: &mut NodeContext<'_>) -> NodeOutcome {
    let (channel, payload) = (context.args.arg(1), context.args.arg(2));
    let message = Message {
        is_sharded,
        channel,
        payload,
    };
    let received = if context.session.runs_transaction {
        // What the transaction says must not be heard before it is done.
        context.session.publications.push(Publication {
            is_sharded,
            channel: channel.to_vec(),
            payload: payload.to_vec(),
        });
        context.node.pubsub.board().receivers(&message)
    } else {
        publish_now(context.node, &message)
    };
    context.encoder().integer(received as i64);
    Ok(Flow::Continue)
}

fn publish_now(node: &Node, message: &Message<'_>) -> usize {
    let limits = node.settings.load().client_output_buffer_limit;
    node.pubsub.publish(message, &limits)
}

pub(super) fn look(which: NodeCommand, context: &mut NodeContext<'_>) -> NodeOutcome {
    let node = context.node;
    let board = node.pubsub.board();
    match which {
        NodeCommand::PubsubChannels => channels(Kind::Channel, context),
        NodeCommand::PubsubShardchannels => channels(Kind::Shard, context),
        NodeCommand::PubsubNumsub => subscribers(Kind::Channel, context),
        NodeCommand::PubsubShardnumsub => subscribers(Kind::Shard, context),
        _ => {
            context.encoder().integer(board.len(Kind::Pattern) as i64);
            Ok(Flow::Continue)
        }
    }
}

fn channels(kind: Kind, context: &mut NodeContext<'_>) -> NodeOutcome {
    if context.args.len() > 3 {
        return Err(context.subcommand_error());
    }
    let names = context.node.pubsub.board().names(kind, context.args.get(2));
    let mut out = context.encoder();
    out.array(names.len());
    names.iter().for_each(|name| out.bulk(name));
    Ok(Flow::Continue)
}

fn subscribers(kind: Kind, context: &mut NodeContext<'_>) -> NodeOutcome {
    let (node, names) = (context.node, context.args.from(2));
    let mut out = context.encoder();
    out.array(2 * names.len());
    for name in names.iter() {
        out.bulk(name);
        out.integer(node.pubsub.board().subscribers(kind, name) as i64);
    }
    Ok(Flow::Continue)
}
