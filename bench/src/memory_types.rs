//! `memory types`: what hashes, lists, sets and sorted sets take, beside Redis.
//!
//! A fresh server is filled with values of one type and size, of elements of 16 bytes that are no
//! numbers, and what its resident set grew by is divided by the elements. One server runs at a
//! time.
//!
//! How it fails: a server that ends, or answers with an error.

use std::path::PathBuf;

use anyhow::Result;
use serde::Serialize;

use crate::admin::Admin;
use crate::interrupt;
use crate::memory::settled_resident_bytes;
use crate::report::{self, Machine, Table, figure, times};
use crate::servers::{Binaries, Class, Kind, Server};
use crate::stats::ratio;

/// The highest ratio that is wanted.
const GOAL: f64 = 1.1;
/// Elements that one request adds at most.
const AT_ONCE: u64 = 500;
/// Elements of small values that are filled in one transaction.
const TOGETHER: u64 = 1000;
/// Each type, with the command that adds elements.
const TYPES: [(&str, &str); 4] = [
    ("hash", "HSET"),
    ("list", "RPUSH"),
    ("set", "SADD"),
    ("sorted set", "ZADD"),
];

/// The arguments of `memory types`.
#[derive(Debug, clap::Args)]
pub(crate) struct MemoryTypesArgs {
    #[command(flatten)]
    binaries: Binaries,
    /// Numbers of elements of a value
    #[arg(long, value_delimiter = ',', default_value = "10,100000")]
    lengths: Vec<u64>,
    /// Elements of all values together
    #[arg(long, default_value_t = 2_000_000)]
    elements: u64,
    /// Write the JSON here instead of after the table
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// Everything measured, as it goes to JSON.
#[derive(Debug, Serialize)]
struct Report {
    machine: Machine,
    rows: Vec<Row>,
    ratio_goal: f64,
    met: bool,
}

/// One type and size on both servers.
#[derive(Debug, Serialize)]
struct Row {
    kind: &'static str,
    length: u64,
    values: u64,
    redis_bytes_per_element: f64,
    bailiwick_bytes_per_element: f64,
    /// Bailiwick over Redis.
    ratio: f64,
}

/// Measures, prints and writes what values take.
///
/// # Errors
/// See the module.
pub(crate) fn run(args: &MemoryTypesArgs) -> Result<()> {
    let mut rows = Vec::new();
    for (kind, command) in TYPES {
        for &length in &args.lengths {
            let values = (args.elements / length).max(1);
            let filled = |server| measure(args, server, command, (values, length));
            let (redis, bailiwick) = (filled(Kind::Redis)?, filled(Kind::Bailiwick)?);
            let ratio = ratio(bailiwick, redis);
            eprintln!("{kind} of {length}: {bailiwick:.1} bytes an element, Redis {redis:.1}");
            rows.push(Row {
                kind,
                length,
                values,
                redis_bytes_per_element: redis,
                bailiwick_bytes_per_element: bailiwick,
                ratio,
            });
        }
    }
    let report = Report {
        machine: Machine::this(),
        met: rows.iter().all(|row| row.ratio <= GOAL),
        ratio_goal: GOAL,
        rows,
    };
    report::publish(&table(&report), &report, args.json.as_deref())
}

/// Bytes of an element.
fn measure(
    args: &MemoryTypesArgs,
    kind: Kind,
    command: &str,
    (values, length): (u64, u64),
) -> Result<f64> {
    let server = Server::start(&args.binaries, kind, Class::Never)?;
    let together = TOGETHER / length;
    let grown = || -> Result<u64> {
        let empty = settled_resident_bytes(server.pid())?;
        let mut admin = Admin::connect(server.address())?;
        for value in 0..values {
            // Each write alone has a place in the log, which has an index in memory for a while.
            if together > 1 && value % together == 0 {
                admin.ask(&["MULTI"])?;
            }
            fill(&mut admin, command, value, length)?;
            if together > 1 && (value % together == together - 1 || value == values - 1) {
                admin.ask(&["EXEC"])?;
            }
        }
        Ok(settled_resident_bytes(server.pid())?.saturating_sub(empty))
    };
    let grown = grown().map_err(|error| server.explain(error))?;
    Ok(grown as f64 / (values * length) as f64)
}

fn fill(admin: &mut Admin, command: &str, value: u64, length: u64) -> Result<()> {
    interrupt::check()?;
    let key = format!("key:{value:012}");
    for from in (0..length).step_by(AT_ONCE as usize) {
        let mut words = vec![command.to_owned(), key.clone()];
        for number in from..length.min(from + AT_ONCE) {
            let element = format!("{:04}element{number:05}", value % 10_000);
            match command {
                "HSET" => words.extend([element.clone(), element]),
                "ZADD" => words.extend([number.to_string(), element]),
                _ => words.push(element),
            }
        }
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        admin.ask(&words)?;
    }
    Ok(())
}

fn table(report: &Report) -> Table {
    let head = [
        "type",
        "elements",
        "values",
        "redis B",
        "bailiwick B",
        "ratio",
    ];
    let mut table = Table::new(1, &head);
    for row in &report.rows {
        table.row(vec![
            row.kind.to_owned(),
            row.length.to_string(),
            row.values.to_string(),
            figure(row.redis_bytes_per_element, 1),
            figure(row.bailiwick_bytes_per_element, 1),
            times(row.ratio),
        ]);
    }
    let last = head.len() - 1;
    table.goal(
        report.met,
        [(last, format!("<={}", times(report.ratio_goal)))],
    );
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_goal_is_in_the_last_row() {
        let report = Report {
            machine: Machine::this(),
            rows: Vec::new(),
            ratio_goal: GOAL,
            met: false,
        };
        let text = table(&report).render();
        assert!(
            text.contains("goal: missed") && text.contains("<=1.10x"),
            "{text}"
        );
    }
}
