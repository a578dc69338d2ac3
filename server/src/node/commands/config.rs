//! CONFIG: the settings, and the counters that it resets.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::{Flow, NodeContext, NodeOutcome};
use crate::commands::glob_matches;
use crate::node::Node;

pub(super) fn get(context: &mut NodeContext<'_>) -> NodeOutcome {
    let (node, patterns) = (context.node, context.args.from(2));
    node.settings
        .write_get(patterns, &mut context.encoder(), glob_matches);
    Ok(Flow::Continue)
}

pub(super) fn set(context: &mut NodeContext<'_>) -> NodeOutcome {
    context.node.settings.set(context.args.from(2))?;
    context.node.apply_settings();
    context.ok()
}

pub(super) fn rewrite(context: &mut NodeContext<'_>) -> NodeOutcome {
    let node: Arc<Node> = context.node.clone();
    context.blocking(move |out| {
        node.settings.rewrite()?;
        out.ok();
        Ok(())
    })
}

pub(super) fn reset_statistics(context: &mut NodeContext<'_>) -> NodeOutcome {
    let node = context.node;
    for worker in node.workers() {
        worker.reset();
    }
    if let Some(group) = node.group() {
        group.totals().reset();
    }
    node.errors.lock().clear();
    node.rates.lock().reset();
    node.clients.accepted.store(0, Ordering::Relaxed);
    node.clients.rejected.store(0, Ordering::Relaxed);
    context.ok()
}
