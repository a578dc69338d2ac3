//! What a run shows of itself while it goes on: a bar on a terminal, a line now and then elsewhere.

use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

/// How often a bar moves.
const BAR_EVERY: Duration = Duration::from_millis(200);

/// How often a line is written where there is no terminal.
const LINE_EVERY: Duration = Duration::from_secs(5);

/// Width of the bar, in columns.
const BAR_COLUMNS: usize = 30;

/// The state of a run, shown on standard error.
pub(super) struct Progress {
    verb: &'static str,
    started: Instant,
    shown: Instant,
    is_terminal: bool,
    has_bar: bool,
}

impl Progress {
    /// Begins; `verb` says what is done, as in `imported`.
    pub(super) fn start(verb: &'static str) -> Self {
        let now = Instant::now();
        Self {
            verb,
            started: now,
            shown: now,
            is_terminal: io::stderr().is_terminal(),
            has_bar: false,
        }
    }

    /// Shows how far the run is, if it is time to: so many keys, and the part of the whole that is
    /// done, if that is known.
    pub(super) fn show(&mut self, keys: u64, bytes: u64, part: Option<f64>) {
        let every = if self.is_terminal {
            BAR_EVERY
        } else {
            LINE_EVERY
        };
        if self.shown.elapsed() < every {
            return;
        }
        self.shown = Instant::now();
        let line = self.line(keys, bytes, part);
        let mut error = io::stderr().lock();
        // Who does not want to read this does not keep the run from going on.
        let _ = if self.is_terminal {
            self.has_bar = true;
            write!(error, "\r\x1b[K{line}").and_then(|()| error.flush())
        } else {
            writeln!(error, "{line}")
        };
    }

    /// Writes a line of its own, above the bar if there is one.
    pub(super) fn say(&mut self, line: &str) {
        self.clear();
        let _ = writeln!(io::stderr().lock(), "{line}");
    }

    /// Time since the start.
    pub(super) fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// Takes the bar away.
    pub(super) fn clear(&mut self) {
        if std::mem::take(&mut self.has_bar) {
            let _ = write!(io::stderr().lock(), "\r\x1b[K");
        }
    }

    fn line(&self, keys: u64, bytes: u64, part: Option<f64>) -> String {
        let seconds = self.started.elapsed().as_secs_f64().max(0.001);
        let mut line = String::new();
        if let Some(part) = part.filter(|_| self.is_terminal) {
            let full = (part * BAR_COLUMNS as f64) as usize;
            let (full, empty) = (
                "#".repeat(full),
                ".".repeat(BAR_COLUMNS - full.min(BAR_COLUMNS)),
            );
            let _ = write!(line, "[{full}{empty}] ");
        }
        if let Some(part) = part {
            let _ = write!(line, "{:.0}%, ", 100.0 * part);
        }
        let _ = write!(
            line,
            "{keys} keys {}, {} at {}/s",
            self.verb,
            size(bytes as f64),
            size(bytes as f64 / seconds)
        );
        line
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.clear();
    }
}

/// A number of bytes as people read it.
pub(super) fn size(bytes: f64) -> String {
    const UNITS: [&str; 4] = ["bytes", "KiB", "MiB", "GiB"];
    let mut unit = 0;
    let mut number = bytes;
    while number >= 1024.0 && unit + 1 < UNITS.len() {
        number /= 1024.0;
        unit += 1;
    }
    let decimals = usize::from(unit > 0);
    format!("{number:.decimals$} {}", UNITS[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_a_unit_that_fits() {
        assert_eq!(size(0.0), "0 bytes");
        assert_eq!(size(1023.0), "1023 bytes");
        assert_eq!(size(1536.0), "1.5 KiB");
        assert_eq!(size(3.0 * 1024.0 * 1024.0 * 1024.0 * 1024.0), "3072.0 GiB");
    }
}
