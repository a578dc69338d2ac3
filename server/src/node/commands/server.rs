//! Commands about the node's life and data: TIME, the saves, SHUTDOWN, LOLWUT, and the two
//! FLUSHes of things that are never there.

use bailiwick_frame::Args;

use super::basic::REDIS_VERSION;
use super::info_state::last_save_ms;
use super::{Flow, NodeContext, NodeOutcome};
use crate::commands::{CommandError, is_option};
use crate::group::Kill;
use crate::keyspace::parse_canonical_int;
use crate::node::{self, Shutdown};

const NOT_BUSY: CommandError = CommandError::text("NOTBUSY No scripts in execution right now.");
const UNKILLABLE: CommandError = CommandError::text(
    "UNKILLABLE The script stands in the group's log, so all replicas have to end it at the same \
     step. It ends by itself, at the latest when its steps are used up.",
);
const SAVE_IN_PROGRESS: CommandError =
    CommandError::text("ERR Background save already in progress");

pub(super) fn time(context: &mut NodeContext<'_>) -> NodeOutcome {
    let now_us = node::now_us();
    let mut encoder = context.encoder();
    encoder.array(2);
    encoder.bulk_display(now_us / 1_000_000);
    encoder.bulk_display(now_us % 1_000_000);
    Ok(Flow::Continue)
}

pub(super) fn last_save(context: &mut NodeContext<'_>) -> NodeOutcome {
    let node = context.node;
    // Before the data is loaded, nothing is known of checkpoints but that there was no new one.
    let at_ms = node
        .group()
        .map_or_else(node::now_ms, |group| last_save_ms(node, group));
    context.encoder().integer(at_ms / 1000);
    Ok(Flow::Continue)
}

pub(super) fn save(context: &mut NodeContext<'_>) -> NodeOutcome {
    let group = context.group()?;
    let ticket = group
        .checkpoints()
        .request_if_idle()
        .ok_or(SAVE_IN_PROGRESS)?;
    context.blocking(move |out| {
        let done = group.checkpoints().wait(ticket);
        done.map_err(|error| CommandError::composed(format!("ERR {error}")))?;
        out.ok();
        Ok(())
    })
}

pub(super) fn background_save(context: &mut NodeContext<'_>) -> NodeOutcome {
    let args = context.args;
    let may_wait = match args.len() {
        1 => false,
        2 if is_option(args, 1, "schedule") => true,
        _ => return Err(CommandError::Syntax),
    };
    let group = context.group()?;
    if group.checkpoints().request_if_idle().is_some() {
        context.encoder().simple("Background saving started");
    } else if may_wait {
        group.checkpoints().request();
        context.encoder().simple("Background saving scheduled");
    } else {
        return Err(SAVE_IN_PROGRESS);
    }
    Ok(Flow::Continue)
}

/// A checkpoint, behind which the log is trimmed, is our way to rewrite the log.
pub(super) fn rewrite_log(context: &mut NodeContext<'_>) -> NodeOutcome {
    let group = context.group()?;
    let (_, idle) = group.checkpoints().request();
    context.encoder().simple(if idle {
        "Background append only file rewriting started"
    } else {
        "Background append only file rewriting scheduled"
    });
    Ok(Flow::Continue)
}

pub(super) fn shutdown(context: &mut NodeContext<'_>) -> NodeOutcome {
    let order = shutdown_order(context.args)?;
    let Some(order) = order else {
        return Err(CommandError::text("ERR No shutdown in progress."));
    };
    let client = &context.session.client.address;
    tracing::info!(
        client,
        ?order,
        "SHUTDOWN received; finishing what was accepted"
    );
    if context.node.group().is_none() {
        // Nothing has been accepted yet, and a load may take long.
        std::process::exit(0);
    }
    context.node.order_shutdown(order);
    Ok(Flow::Close)
}

/// What SHUTDOWN asks for; `None` to call it off.
fn shutdown_order(args: Args<'_>) -> Result<Option<Shutdown>, CommandError> {
    let (mut save, mut no_save, mut abort, mut other) = (false, false, false, false);
    for index in 1..args.len() {
        let is = |option| is_option(args, index, option);
        let flag = if is("save") {
            &mut save
        } else if is("nosave") {
            &mut no_save
        } else if is("abort") {
            &mut abort
        } else if is("now") || is("force") {
            // There are no replicas to wait for, and a checkpoint that fails does not stop it.
            &mut other
        } else {
            return Err(CommandError::Syntax);
        };
        *flag = true;
    }
    if save && no_save || abort && (save || no_save || other) {
        return Err(CommandError::Syntax);
    }
    if abort {
        return Ok(None);
    }
    Ok(Some(if no_save {
        Shutdown::NoSave
    } else {
        Shutdown::Save
    }))
}

pub(super) fn lolwut(context: &mut NodeContext<'_>) -> NodeOutcome {
    const PICTURE: &str = "\
    .--------.------------.-------.\n\
    |  eu:   |            |  us:  |\n\
    |    .---'--.   .-----'---.   |\n\
    |    | /ops |   | /orders |   |\n\
    '----'------'---'---------'---'\n\
    Every prefix has a home.\n";
    let args = context.args;
    if args.len() >= 3 && is_option(args, 1, "version") {
        parse_canonical_int(args.arg(2)).ok_or(CommandError::NotInteger)?;
    }
    let version = env!("CARGO_PKG_VERSION");
    let text = format!("{PICTURE}Redis ver. {REDIS_VERSION} (Bailiwick {version})\n");
    context.encoder().verbatim("txt", text.as_bytes());
    Ok(Flow::Continue)
}

/// SCRIPT KILL and FUNCTION KILL: what runs on this node and may be ended is ended, in whatever
/// group.
pub(super) fn script_kill(context: &mut NodeContext<'_>) -> NodeOutcome {
    let functions = context.command.parent == "function";
    let seats = context.node.seats.all();
    let kills: Vec<Kill> = seats
        .values()
        .map(|group| group.kill_script(functions))
        .collect();
    drop(seats);
    if kills.contains(&Kill::Done) {
        return context.ok();
    }
    let of_other_kind = kills.iter().find_map(|kill| match kill {
        Kill::Other(error) => Some(error.clone()),
        Kill::Idle | Kill::Done | Kill::Logged => None,
    });
    let is_logged = kills.contains(&Kill::Logged);
    Err(of_other_kind.unwrap_or(if is_logged { UNKILLABLE } else { NOT_BUSY }))
}

#[cfg(test)]
mod tests {
    use bailiwick_frame::ArgRange;

    use super::*;

    fn order(line: &str) -> Result<Option<Shutdown>, CommandError> {
        let mut ranges = Vec::new();
        let mut start = 0;
        for word in line.split(' ') {
            let end = start + word.len() as u32;
            ranges.push(ArgRange { start, end });
            start = end + 1;
        }
        shutdown_order(Args::new(line.as_bytes(), &ranges))
    }

    #[test]
    fn shutdown_saves_unless_told_otherwise() {
        assert_eq!(order("SHUTDOWN"), Ok(Some(Shutdown::Save)));
        assert_eq!(order("SHUTDOWN now FORCE"), Ok(Some(Shutdown::Save)));
        assert_eq!(order("SHUTDOWN nosave now"), Ok(Some(Shutdown::NoSave)));
        assert_eq!(order("SHUTDOWN abort"), Ok(None));
    }

    #[test]
    fn shutdown_refuses_what_contradicts_itself() {
        for line in [
            "SHUTDOWN save nosave",
            "SHUTDOWN abort now",
            "SHUTDOWN later",
        ] {
            assert_eq!(order(line), Err(CommandError::Syntax), "{line}");
        }
    }
}
