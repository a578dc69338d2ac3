//! What `HELP` of a container replies.

use bailiwick_frame::Encoder;

use crate::commands::{Command, Handler};

/// Lists a container's subcommands in Redis's form: each with its arguments, and below, indented,
/// what it does.
pub fn write_help(container: &Command, out: &mut Encoder<'_>) {
    let mut lines = vec![format!(
        "{} <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
        container.name.to_ascii_uppercase()
    )];
    if !matches!(container.handler, Handler::Container) {
        lines.push("(no subcommand)".to_owned());
        lines.push(format!("    {}", container.summary));
    }
    for sub in container
        .subcommands
        .iter()
        .filter(|sub| sub.name != "help")
    {
        lines.push(
            format!("{} {}", sub.name.to_ascii_uppercase(), sub.syntax)
                .trim_end()
                .to_owned(),
        );
        lines.push(format!("    {}", sub.summary));
    }
    lines.push("HELP".to_owned());
    lines.push("    Print this help.".to_owned());
    out.array(lines.len());
    lines.iter().for_each(|line| out.simple(line));
}
