//! SLOWLOG and LATENCY: what took long.

use super::{Flow, NodeContext, NodeOutcome};
use crate::commands::{self, CommandError, Known};
use crate::keyspace::parse_canonical_int;
use crate::node;
use crate::node::stats::CommandTotals;

/// Entries that SLOWLOG GET shows when it is not told how many.
const SLOWLOG_DEFAULT_COUNT: usize = 10;

pub(super) fn slowlog_get(context: &mut NodeContext<'_>) -> NodeOutcome {
    let args = context.args;
    let count = match args.len() {
        2 => SLOWLOG_DEFAULT_COUNT,
        3 => match parse_canonical_int(args.arg(2)) {
            Some(-1) => usize::MAX,
            Some(count @ 0..) => count as usize,
            _ => {
                let text = "ERR count should be greater than or equal to -1";
                return Err(CommandError::text(text));
            }
        },
        _ => return Err(context.subcommand_error()),
    };
    let node = context.node;
    node.slowlog.lock().write_get(count, &mut context.encoder());
    Ok(Flow::Continue)
}

pub(super) fn slowlog_len(context: &mut NodeContext<'_>) -> NodeOutcome {
    let len = context.node.slowlog.lock().len();
    context.encoder().integer(len as i64);
    Ok(Flow::Continue)
}

pub(super) fn slowlog_reset(context: &mut NodeContext<'_>) -> NodeOutcome {
    context.node.slowlog.lock().reset();
    context.ok()
}

pub(super) fn latest(context: &mut NodeContext<'_>) -> NodeOutcome {
    let node = context.node;
    node.latency.lock().write_latest(&mut context.encoder());
    Ok(Flow::Continue)
}

pub(super) fn history(context: &mut NodeContext<'_>) -> NodeOutcome {
    let (node, event) = (context.node, context.args.arg(2));
    node.latency
        .lock()
        .write_history(event, &mut context.encoder());
    Ok(Flow::Continue)
}

pub(super) fn reset(context: &mut NodeContext<'_>) -> NodeOutcome {
    let count = context
        .node
        .latency
        .lock()
        .reset(context.args.from(2).iter());
    context.encoder().integer(count as i64);
    Ok(Flow::Continue)
}

pub(super) fn doctor(context: &mut NodeContext<'_>) -> NodeOutcome {
    let node = context.node;
    let threshold_ms = node.settings.load().latency_monitor_threshold_ms;
    node.latency
        .lock()
        .write_doctor(threshold_ms, &mut context.encoder());
    Ok(Flow::Continue)
}

pub(super) fn graph(context: &mut NodeContext<'_>) -> NodeOutcome {
    let (node, event) = (context.node, context.args.arg(2));
    let now_s = node::now_ms() / 1000;
    node.latency
        .lock()
        .write_graph(event, now_s, &mut context.encoder());
    Ok(Flow::Continue)
}

pub(super) fn histogram(context: &mut NodeContext<'_>) -> NodeOutcome {
    let workers = context.node.workers();
    let names = context.args.from(2);
    let asked: Vec<Known> = if names.is_empty() {
        (0..commands::count()).map(commands::by_id).collect()
    } else {
        names.iter().flat_map(family).collect()
    };
    let shown: Vec<(Known, CommandTotals)> = asked
        .into_iter()
        .map(|command| (command, CommandTotals::of(&workers, command.id())))
        .filter(|(_, totals)| totals.calls > 0)
        .collect();
    let mut encoder = context.encoder();
    encoder.map(shown.len());
    for (command, totals) in shown {
        encoder.bulk(command.full_name().as_bytes());
        encoder.map(2);
        encoder.bulk(b"calls");
        encoder.integer(totals.calls as i64);
        encoder.bulk(b"histogram_usec");
        let histogram = totals.histogram();
        encoder.map(histogram.clone().count());
        for (bound_us, below) in histogram {
            encoder.integer(bound_us as i64);
            encoder.integer(below as i64);
        }
    }
    Ok(Flow::Continue)
}

/// The command of this name, a container with its subcommands; nothing if there is none.
fn family(name: &[u8]) -> Vec<Known> {
    let mut parts = name.splitn(2, |&byte| byte == b'|');
    let Some(command) = parts.next().and_then(commands::find) else {
        return Vec::new();
    };
    let subcommands = (1..=command.subcommands.len()).map(|at| commands::by_id(command.id() + at));
    match parts.next() {
        None => std::iter::once(command).chain(subcommands).collect(),
        Some(name) => subcommands
            .filter(|sub| sub.name.as_bytes().eq_ignore_ascii_case(name))
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::family;

    #[test]
    fn a_container_stands_for_its_subcommands() {
        let names = |name: &str| -> Vec<String> {
            family(name.as_bytes())
                .iter()
                .map(|command| command.full_name())
                .collect()
        };
        assert_eq!(names("GET"), ["get"]);
        assert_eq!(names("Slowlog|Len"), ["slowlog|len"]);
        assert!(names("slowlog").contains(&"slowlog|get".to_owned()));
        assert!(names("nosuch").is_empty() && names("slowlog|x").is_empty());
    }
}
