//! INFO: which sections are asked for, and their common form. What stands in them is in
//! [`info_state`](super::info_state) and [`info_stats`](super::info_stats).

use std::fmt::{Display, Write as _};

use bailiwick_frame::Args;

use super::{Flow, NodeContext, NodeOutcome, info_state, info_stats};
use crate::node::Node;

/// Text in the form of INFO: headings and fields.
#[derive(Default)]
pub(super) struct Lines(String);

impl Lines {
    /// Begins a section.
    fn heading(&mut self, title: &str) {
        if !self.0.is_empty() {
            self.0.push_str("\r\n");
        }
        write!(self.0, "# {title}\r\n").expect("writing to a String does not fail");
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
}

struct Section {
    title: &'static str,
    /// Shown when no section is named.
    by_default: bool,
    write: fn(&Node, &mut Lines),
}

static SECTIONS: &[Section] = &[
    Section {
        title: "Server",
        by_default: true,
        write: info_state::server,
    },
    Section {
        title: "Clients",
        by_default: true,
        write: info_state::clients,
    },
    Section {
        title: "Memory",
        by_default: true,
        write: info_state::memory,
    },
    Section {
        title: "Persistence",
        by_default: true,
        write: info_state::persistence,
    },
    Section {
        title: "Stats",
        by_default: true,
        write: info_stats::stats,
    },
    Section {
        title: "Replication",
        by_default: true,
        write: info_state::replication,
    },
    Section {
        title: "CPU",
        by_default: true,
        write: info_stats::cpu,
    },
    // There are none.
    Section {
        title: "Modules",
        by_default: true,
        write: |_, _| {},
    },
    Section {
        title: "Commandstats",
        by_default: false,
        write: info_stats::commands,
    },
    Section {
        title: "Errorstats",
        by_default: true,
        write: info_stats::errors,
    },
    Section {
        title: "Latencystats",
        by_default: false,
        write: info_stats::latencies,
    },
    Section {
        title: "Cluster",
        by_default: true,
        write: info_state::cluster,
    },
    Section {
        title: "Keyspace",
        by_default: true,
        write: info_state::keyspace,
    },
];

pub(super) fn info(context: &mut NodeContext<'_>) -> NodeOutcome {
    let wanted = context.args.from(1);
    let mut lines = Lines::default();
    for section in SECTIONS.iter().filter(|section| is_wanted(section, wanted)) {
        lines.heading(section.title);
        (section.write)(context.node, &mut lines);
    }
    context.encoder().verbatim("txt", lines.0.as_bytes());
    Ok(Flow::Continue)
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
    fn sections_are_apart_by_an_empty_line() {
        let mut lines = Lines::default();
        lines.heading("A");
        lines.bytes("b", 2048);
        lines.heading("C");
        assert_eq!(lines.0, "# A\r\nb:2048\r\nb_human:2.00K\r\n\r\n# C\r\n");
    }
}
