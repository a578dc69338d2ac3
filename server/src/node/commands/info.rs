//! INFO: which sections are asked for, and their common form. What stands in them is in
//! [`info_state`](super::info_state), [`info_stats`](super::info_stats) and
//! [`replication`](super::replication).
//!
//! Sections about the group are written on a thread that may wait for the group's replica, the
//! others at once.

use std::fmt::{Display, Write as _};

use bailiwick_frame::Args;

use super::overview::Overview;
use super::{Flow, NodeContext, NodeOutcome, info_state, info_stats, replication};
use crate::node::Node;
use crate::routing::redirect::Port;

/// Text in the form of INFO: headings and fields.
#[derive(Default)]
pub(super) struct Lines(String);

impl Lines {
    /// The lines under a heading.
    fn under(title: &str) -> Self {
        Self(format!("# {title}\r\n"))
    }

    /// Adds a field.
    pub(super) fn field(&mut self, name: &str, value: impl Display) {
        write!(self.0, "{name}:{value}\r\n").expect("writing to a String does not fail");
    }

    /// Adds a number of bytes, and the same for people.
    pub(super) fn bytes(&mut self, name: &str, bytes: u64) {
        self.field(name, bytes);
        self.field(&format!("{name}_human"), human(bytes));
    }

    /// The text.
    pub(super) fn into_text(self) -> String {
        self.0
    }
}

struct Section {
    title: &'static str,
    /// Shown when no section is named.
    by_default: bool,
    content: Content,
}

type GroupContent = fn(&Node, &Overview<'_>, &mut Lines);

/// What writes a section.
#[derive(Clone, Copy)]
enum Content {
    Node(fn(&Node, &mut Lines)),
    /// What it says depends on the port.
    Port(fn(&Node, Port, &mut Lines)),
    Group(GroupContent),
}

/// A section of a reply: complete, or to be completed where that may take a while.
struct Part {
    lines: Lines,
    rest: Option<GroupContent>,
}

static SECTIONS: &[Section] = &[
    Section {
        title: "Server",
        by_default: true,
        content: Content::Port(info_state::server),
    },
    Section {
        title: "Clients",
        by_default: true,
        content: Content::Node(info_state::clients),
    },
    Section {
        title: "Memory",
        by_default: true,
        content: Content::Node(info_state::memory),
    },
    Section {
        title: "Persistence",
        by_default: true,
        content: Content::Group(info_state::persistence),
    },
    Section {
        title: "Stats",
        by_default: true,
        content: Content::Node(info_stats::stats),
    },
    Section {
        title: "Replication",
        by_default: true,
        content: Content::Group(replication::section),
    },
    Section {
        title: "CPU",
        by_default: true,
        content: Content::Node(info_stats::cpu),
    },
    // There are none.
    Section {
        title: "Modules",
        by_default: true,
        content: Content::Node(|_, _| {}),
    },
    Section {
        title: "Commandstats",
        by_default: false,
        content: Content::Node(info_stats::commands),
    },
    Section {
        title: "Errorstats",
        by_default: true,
        content: Content::Node(info_stats::errors),
    },
    Section {
        title: "Latencystats",
        by_default: false,
        content: Content::Node(info_stats::latencies),
    },
    Section {
        title: "Cluster",
        by_default: true,
        content: Content::Port(info_state::cluster),
    },
    Section {
        title: "Keyspace",
        by_default: true,
        content: Content::Node(info_state::keyspace),
    },
];

pub(super) fn info(context: &mut NodeContext<'_>) -> NodeOutcome {
    let (node, wanted) = (context.node, context.args.from(1));
    let wanted = SECTIONS.iter().filter(|section| is_wanted(section, wanted));
    let parts: Vec<Part> = wanted
        .map(|section| section.begin(node, context.session.port))
        .collect();
    if Overview::blocks(node) && parts.iter().any(|part| part.rest.is_some()) {
        let node = node.clone();
        return context.blocking(move |out| {
            out.verbatim("txt", finish(parts, &node).as_bytes());
            Ok(())
        });
    }
    let text = finish(parts, node);
    context.encoder().verbatim("txt", text.as_bytes());
    Ok(Flow::Continue)
}

impl Section {
    fn begin(&self, node: &Node, port: Port) -> Part {
        let mut lines = Lines::under(self.title);
        let rest = match self.content {
            Content::Node(write) => {
                write(node, &mut lines);
                None
            }
            Content::Port(write) => {
                write(node, port, &mut lines);
                None
            }
            Content::Group(write) => Some(write),
        };
        Part { lines, rest }
    }
}

/// Writes what is left to be written, and puts the sections together, apart by an empty line.
fn finish(parts: Vec<Part>, node: &Node) -> String {
    let mut overview = None;
    let texts = parts.into_iter().map(|mut part| {
        if let Some(write) = part.rest {
            let overview = overview.get_or_insert_with(|| Overview::of(node));
            write(node, overview, &mut part.lines);
        }
        part.lines.into_text()
    });
    texts.collect::<Vec<_>>().join("\r\n")
}

fn is_wanted(section: &Section, wanted: Args<'_>) -> bool {
    if wanted.is_empty() {
        return section.by_default;
    }
    wanted.iter().any(|word| {
        let is = |name: &str| word.eq_ignore_ascii_case(name.as_bytes());
        is(section.title) || is("all") || is("everything") || is("default") && section.by_default
    })
}

/// A number of bytes for people, with the units that Redis uses.
pub(super) fn human(bytes: u64) -> String {
    if bytes < 1024 {
        return format!("{bytes}B");
    }
    let mut value = bytes as f64;
    let mut units = "KMGTP".chars();
    let mut unit = 'B';
    while value >= 1024.0
        && let Some(next) = units.next()
    {
        value /= 1024.0;
        unit = next;
    }
    format!("{value:.2}{unit}")
}

/// `part` of `whole` in percent, as a number for people.
pub(super) fn percent(part: u64, whole: u64) -> String {
    format!("{:.2}%", ratio(part, whole) * 100.0)
}

/// `part` over `whole`, 0 if there is no whole.
pub(super) fn ratio(part: u64, whole: u64) -> f64 {
    if whole == 0 {
        0.0
    } else {
        part as f64 / whole as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_written_as_redis_writes_them() {
        let sizes = [
            (0, "0B"),
            (1023, "1023B"),
            (1024, "1.00K"),
            (916_384, "894.91K"),
        ];
        for (bytes, text) in sizes {
            assert_eq!(human(bytes), text);
        }
        assert_eq!(human(25_276_502_016), "23.54G");
    }

    #[test]
    fn a_section_is_lines_under_a_heading() {
        let mut lines = Lines::under("A");
        lines.bytes("b", 2048);
        assert_eq!(lines.into_text(), "# A\r\nb:2048\r\nb_human:2.00K\r\n");
    }
}
