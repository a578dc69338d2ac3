//! The display of a demo with regions: where each prefix lives, who leads there, and what a command
//! on its keys costs from each region.
//!
//! On a terminal it is a table that is redrawn in place. Elsewhere a line is written when a prefix
//! has come to live somewhere else or is led by somebody else, as soon as it has been measured
//! there from all regions; costs alone change all the time and are no news.
//!
//! Everything is asked of nodes of this process that run. While none does, nothing is known.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::sync::Arc;

use bailiwick_replication::{GroupId, NodeId};

use super::probe::Probes;
use crate::cluster::Cluster;
use crate::node::Node;

/// More prefixes are only counted.
const PREFIXES_MAX: usize = 12;

/// The longest prefix that is shown as a whole.
const PREFIX_COLUMNS: usize = 24;

/// Where a prefix is.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Place {
    prefix: Vec<u8>,
    /// The name of its group.
    group: String,
    /// Who leads the group, as far as its members in this process know.
    leader: Option<NodeId>,
}

/// What is shown, and what was shown last.
pub(super) struct Picture<'a> {
    cluster: &'a Cluster,
    probes: Probes,
    is_terminal: bool,
    /// Lines that stand on the terminal.
    drawn_lines: usize,
    drawn: String,
    places: Vec<Place>,
    /// Elsewhere than on a terminal: the places about which there is a line.
    told: BTreeMap<Vec<u8>, Place>,
}

impl<'a> Picture<'a> {
    /// Nothing is shown yet.
    ///
    /// # Errors
    /// There are no threads to measure with.
    pub(super) fn new(cluster: &'a Cluster, is_terminal: bool) -> io::Result<Self> {
        let mut regions = BTreeMap::<String, Vec<_>>::new();
        for node in &cluster.nodes {
            let addresses = regions.entry(node.region.clone()).or_default();
            addresses.extend(node.client.resolve()?);
        }
        Ok(Self {
            cluster,
            probes: Probes::start(regions)?,
            is_terminal,
            drawn_lines: 0,
            drawn: String::new(),
            places: Vec::new(),
            told: BTreeMap::new(),
        })
    }

    /// Looks, and shows what has changed. These nodes run.
    pub(super) fn refresh(&mut self, nodes: &[&Arc<Node>]) {
        self.look(nodes);
        let text = if self.is_terminal {
            let table = self.table(nodes.len());
            if table == self.drawn {
                return;
            }
            let back = match self.drawn_lines {
                0 => String::new(),
                lines => format!("\x1b[{lines}A"),
            };
            self.drawn_lines = table.lines().count();
            let text = format!("{back}\r\x1b[J{table}");
            self.drawn = table;
            text
        } else {
            self.news()
        };
        // Nobody reads it: the demo goes on.
        let mut out = io::stdout();
        let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    }

    fn look(&mut self, nodes: &[&Arc<Node>]) {
        let places = places(nodes);
        if places == self.places {
            return;
        }
        let shown = places.iter().take(PREFIXES_MAX);
        let prefixes = shown.map(|place| place.prefix.clone()).collect();
        self.probes.set_prefixes(prefixes);
        for place in places.iter().filter(|place| !self.places.contains(place)) {
            self.probes.forget(&place.prefix);
        }
        self.places = places;
    }

    fn table(&self, nodes_up: usize) -> String {
        let regions = self.regions();
        let mut head = vec!["keys".to_owned(), "live in".to_owned(), "leader".to_owned()];
        head.extend(regions.iter().map(|region| format!("from {region}")));
        let mut rows = vec![head];
        for place in self.places.iter().take(PREFIXES_MAX) {
            let mut row = vec![
                keys_of(&place.prefix),
                place.group.clone(),
                self.leader_of(place),
            ];
            row.extend(regions.iter().map(|region| self.cost_of(place, region)));
            rows.push(row);
        }
        let mut text = aligned(&rows);
        let hidden = self.places.len().saturating_sub(PREFIXES_MAX);
        if hidden > 0 {
            let _ = writeln!(text, "... and {hidden} more: PREFIX LIST");
        }
        let all = self.cluster.nodes.len();
        let _ = writeln!(text, "GET / SET in ms; {nodes_up} of {all} nodes up");
        text
    }

    /// A line for each prefix that is somewhere else than was told last, and has been measured.
    fn news(&mut self) -> String {
        let mut text = String::new();
        let regions = self.regions();
        self.told.retain(|prefix, place| {
            let is_there = self.places.iter().any(|known| known.prefix == *prefix);
            if !is_there {
                let keys = keys_of(prefix);
                let _ = writeln!(
                    text,
                    "{keys} no longer live by themselves in {}",
                    place.group
                );
            }
            is_there
        });
        for place in self.places.iter().take(PREFIXES_MAX) {
            if self.told.get(&place.prefix) == Some(place) {
                continue;
            }
            let costs = regions.iter().map(|region| {
                let cost = self.probes.cost(&place.prefix, region)?;
                Some(format!("{region} {cost}"))
            });
            let Some(costs) = costs.collect::<Option<Vec<_>>>() else {
                continue;
            };
            let _ = writeln!(
                text,
                "{} live in {}, {} leads; GET / SET in ms from {}",
                keys_of(&place.prefix),
                place.group,
                self.leader_of(place),
                costs.join(", ")
            );
            self.told.insert(place.prefix.clone(), place.clone());
        }
        text
    }

    /// In the order of the cluster's file.
    fn regions(&self) -> Vec<&'a str> {
        let mut regions: Vec<&str> = Vec::new();
        for node in &self.cluster.nodes {
            if !regions.contains(&&*node.region) {
                regions.push(&node.region);
            }
        }
        regions
    }

    fn leader_of(&self, place: &Place) -> String {
        let leader = place.leader.and_then(|leader| self.cluster.node(leader));
        leader.map_or_else(
            || "nobody".to_owned(),
            |node| format!("node {} in {}", node.id, node.region),
        )
    }

    fn cost_of(&self, place: &Place, region: &str) -> String {
        let cost = self.probes.cost(&place.prefix, region);
        cost.map_or_else(|| "...".to_owned(), |cost| cost.to_string())
    }
}

/// Where all prefixes are, in byte order, the rest of the keys first.
fn places(nodes: &[&Arc<Node>]) -> Vec<Place> {
    // The one that knows most: records come to nodes one by one.
    let views = nodes
        .iter()
        .filter_map(|node| Some(node.estate()?.directory.view()));
    let Some(view) = views.max_by_key(|view| view.prefix_count()) else {
        return Vec::new();
    };
    let mut leaders = BTreeMap::new();
    let places = view.under(b"").map(|(prefix, owner)| {
        let id = owner.group;
        let leader = *leaders.entry(id).or_insert_with(|| leader(nodes, id));
        let name = view.group(id).map(|group| group.name.to_string());
        Place {
            prefix: prefix.to_vec(),
            group: name.unwrap_or_else(|| format!("group {}", id.0)),
            leader,
        }
    });
    places.collect()
}

/// Who leads a group, as its member says that has seen the highest ballot.
fn leader(nodes: &[&Arc<Node>], id: GroupId) -> Option<NodeId> {
    let seats = nodes.iter().filter_map(|node| node.seats.get(id));
    let seen = seats.filter_map(|group| group.seat()?.describe());
    // Of those who know of it, one may not have heard yet who leads.
    let newest = seen.max_by_key(|seen| (seen.ballot, seen.leader.is_some(), seen.end))?;
    newest.leader
}

/// What the keys with a prefix are called.
fn keys_of(prefix: &[u8]) -> String {
    if prefix.is_empty() {
        return "all others".to_owned();
    }
    let mut name = prefix.escape_ascii().to_string();
    if name.len() > PREFIX_COLUMNS {
        name.truncate(PREFIX_COLUMNS);
        name.push_str("..");
    }
    name.push('*');
    name
}

/// Rows of cells as lines with columns.
fn aligned(rows: &[Vec<String>]) -> String {
    let columns = rows.first().map_or(0, Vec::len);
    let width = |column: usize| rows.iter().map(|row| row[column].len()).max();
    let widths: Vec<usize> = (0..columns).filter_map(width).collect();
    let mut text = String::new();
    for row in rows {
        let cells = row.iter().zip(&widths);
        let line: String = cells
            .map(|(cell, width)| format!("  {cell:<width$}"))
            .collect();
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned() {
        let row = |cells: [&str; 2]| cells.map(str::to_owned).to_vec();
        let rows = [row(["keys", "live in"]), row(["eu:shop:*", "ap"])];
        assert_eq!(aligned(&rows), "  keys       live in\n  eu:shop:*  ap\n");
    }

    #[test]
    fn prefixes_are_shown_with_a_star_and_the_rest_by_name() {
        assert_eq!(keys_of(b""), "all others");
        assert_eq!(keys_of(b"eu:"), "eu:*");
        assert_eq!(keys_of(b"\xff\n"), "\\xff\\n*");
        let long = keys_of(&[b'x'; 100]);
        assert!(long.ends_with("x..*") && long.len() < 30, "{long}");
    }
}
