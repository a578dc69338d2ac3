//! COMMAND and every container's HELP: composed by [`commands::docs`](crate::commands::docs).

use super::{Flow, NodeContext, NodeOutcome};
use crate::commands::{NodeCommand, docs, find};

/// The COMMAND family.
pub(super) fn command(which: NodeCommand, context: &mut NodeContext<'_>) -> NodeOutcome {
    let write = match which {
        NodeCommand::CommandCount => docs::write_count,
        NodeCommand::CommandList => docs::write_list,
        NodeCommand::CommandInfo => docs::write_info,
        NodeCommand::CommandDocs => docs::write_docs,
        NodeCommand::CommandGetkeys => docs::write_getkeys,
        NodeCommand::CommandGetkeysandflags => docs::write_getkeysandflags,
        _ => docs::write_command,
    };
    write(context.args, &mut context.encoder())?;
    Ok(Flow::Continue)
}

/// HELP of the container that the request names.
pub(super) fn help(context: &mut NodeContext<'_>) -> NodeOutcome {
    let container = find(context.args.arg(0)).ok_or_else(|| context.subcommand_error())?;
    docs::write_help(&container, &mut context.encoder());
    Ok(Flow::Continue)
}
