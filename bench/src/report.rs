//! What the commands print: aligned tables and JSON.
//!
//! A figure that does not exist is `-` in a table and `null` in JSON. Tables go to standard
//! output, progress to standard error, so that the one can be kept without the other.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context, Result};
use serde::Serialize;

/// Rows of text under a head; all columns but the first few names are aligned to the right.
pub(crate) struct Table {
    name_columns: usize,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table whose first `name_columns` columns hold names, the others figures.
    pub(crate) fn new(name_columns: usize, head: &[&str]) -> Self {
        Self {
            name_columns,
            rows: vec![head.iter().map(ToString::to_string).collect()],
        }
    }

    /// Adds a row, which has as many cells as the head.
    pub(crate) fn row(&mut self, cells: Vec<String>) {
        assert_eq!(cells.len(), self.rows[0].len(), "a row must fit the head");
        self.rows.push(cells);
    }

    /// Adds the last row: whether the goal is met, and what it is in these columns.
    pub(crate) fn goal(&mut self, met: bool, goals: impl IntoIterator<Item = (usize, String)>) {
        let mut cells = vec![String::new(); self.rows[0].len()];
        verdict(met).clone_into(&mut cells[0]);
        for (column, goal) in goals {
            cells[column] = goal;
        }
        self.row(cells);
    }

    /// The whole table, each line ended.
    pub(crate) fn render(&self) -> String {
        let width = |column: usize| {
            let cells = self.rows.iter().map(|row| row[column].chars().count());
            cells.max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..self.rows[0].len()).map(width).collect();
        let mut text = String::new();
        for row in &self.rows {
            let mut line = String::new();
            for (column, (cell, width)) in row.iter().zip(&widths).enumerate() {
                let gap = if column == 0 { "" } else { "  " };
                let _ = if column < self.name_columns {
                    write!(line, "{gap}{cell:<width$}")
                } else {
                    write!(line, "{gap}{cell:>width$}")
                };
            }
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }
}

/// What a table says of a goal.
pub(crate) fn verdict(met: bool) -> &'static str {
    if met { "goal: met" } else { "goal: missed" }
}

/// A figure with a fixed number of decimals.
pub(crate) fn figure(value: f64, decimals: usize) -> String {
    if value.is_finite() {
        format!("{value:.decimals$}")
    } else {
        "-".to_owned()
    }
}

/// A ratio, marked as such.
pub(crate) fn times(value: f64) -> String {
    if value.is_finite() {
        format!("{value:.2}x")
    } else {
        "-".to_owned()
    }
}

/// On what the figures were measured.
#[derive(Debug, Serialize)]
pub(crate) struct Machine {
    pub(crate) processors: usize,
    pub(crate) processor: String,
    pub(crate) kernel: String,
}

impl Machine {
    pub(crate) fn this() -> Self {
        let read = |path| std::fs::read_to_string(path).unwrap_or_default();
        let model = read("/proc/cpuinfo").lines().find_map(|line| {
            Some(
                line.strip_prefix("model name")?
                    .split_once(':')?
                    .1
                    .trim()
                    .to_owned(),
            )
        });
        Self {
            processors: std::thread::available_parallelism().map_or(1, usize::from),
            processor: model.unwrap_or_else(|| "unknown".to_owned()),
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
        }
    }
}

/// Prints the table, and writes the JSON to a file or, without one, after the table.
///
/// # Errors
/// If the file cannot be written.
pub(crate) fn publish(table: &Table, data: &impl Serialize, file: Option<&Path>) -> Result<()> {
    print!("{}", table.render());
    let json = serde_json::to_string_pretty(data)?;
    match file {
        Some(path) => std::fs::write(path, json + "\n")
            .with_context(|| format!("cannot write {}", path.display())),
        None => {
            println!("\n{json}");
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned() {
        let mut table = Table::new(1, &["name", "value"]);
        table.row(vec!["a".into(), "1".into()]);
        table.row(vec!["longer".into(), "123456".into()]);
        assert_eq!(
            table.render(),
            "name     value\na            1\nlonger  123456\n"
        );
    }

    #[test]
    fn figures_that_do_not_exist_are_dashes() {
        assert_eq!(figure(1.26, 1), "1.3");
        assert_eq!(figure(f64::NAN, 1), "-");
        assert_eq!(times(0.5), "0.50x");
        assert_eq!(times(f64::INFINITY), "-");
    }
}
