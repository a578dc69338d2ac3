//! The latency monitor: how long slow events took, for `LATENCY`.
//!
//! An *event* is a named kind of work (`command`, `fsync`, `checkpoint`). Of each, the latest
//! `SAMPLES_MAX` seconds in which it was slow are kept, with the worst case of each second. What
//! counts as slow (`latency-monitor-threshold`) is decided by the caller. Histograms of commands
//! are not kept here.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write as _;

use bailiwick_frame::Encoder;

/// Seconds kept of an event.
const SAMPLES_MAX: usize = 160;

/// Columns of a graph, at most; the newest samples win.
const GRAPH_COLUMNS_MAX: usize = 80;
/// Rows of a graph.
const GRAPH_ROWS: usize = 4;
/// What fills a row's uppermost cell of a column, from a little to all of it.
const GRAPH_TOPS: [u8; 3] = *b"_o#";

/// The worst case of one second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    /// Unix time in seconds.
    pub at_s: i64,
    /// Milliseconds.
    pub latency_ms: u64,
}

/// What is known of an event.
///
/// Invariants: `1 <= samples.len() <= SAMPLES_MAX`; no two neighbours have the same second; no
/// sample is above `max_ms`.
#[derive(Clone, Debug, Default)]
pub struct Event {
    samples: VecDeque<Sample>,
    max_ms: u64,
}

/// All events by name.
#[derive(Debug, Default)]
pub struct Latency {
    events: BTreeMap<&'static str, Event>,
}

impl Latency {
    /// Keeps that `event` took so long, at this time.
    pub fn record(&mut self, event: &'static str, at_s: i64, latency_ms: u64) {
        self.events
            .entry(event)
            .or_default()
            .record(Sample { at_s, latency_ms });
    }

    /// The event of this name, if it was ever slow.
    #[must_use]
    pub fn event(&self, name: &[u8]) -> Option<&Event> {
        self.events.get(std::str::from_utf8(name).ok()?)
    }

    /// All events with their names, in the order of names.
    pub fn events(&self) -> impl ExactSizeIterator<Item = (&'static str, &Event)> {
        self.events.iter().map(|(name, event)| (*name, event))
    }

    /// Forgets the named events, or all if none is named. Returns how many there were.
    pub fn reset<'a>(&mut self, mut names: impl ExactSizeIterator<Item = &'a [u8]>) -> usize {
        let before = self.events.len();
        if names.len() == 0 {
            self.events.clear();
        } else {
            names
                .by_ref()
                .filter_map(|name| std::str::from_utf8(name).ok())
                .for_each(|name| {
                    self.events.remove(name);
                });
        }
        before - self.events.len()
    }

    /// Writes the reply of `LATENCY LATEST`: name, time and latency of the latest sample, worst.
    pub fn write_latest(&self, encoder: &mut Encoder<'_>) {
        encoder.array(self.events.len());
        for (name, event) in self.events() {
            let latest = event.latest();
            encoder.array(4);
            encoder.bulk(name.as_bytes());
            encoder.integer(latest.at_s);
            encoder.integer(latest.latency_ms as i64);
            encoder.integer(event.max_ms as i64);
        }
    }

    /// Writes the reply of `LATENCY HISTORY`: pairs of time and latency, oldest first.
    pub fn write_history(&self, name: &[u8], encoder: &mut Encoder<'_>) {
        let Some(event) = self.event(name) else {
            return encoder.array(0);
        };
        encoder.array(event.samples.len());
        for sample in event.samples() {
            encoder.array(2);
            encoder.integer(sample.at_s);
            encoder.integer(sample.latency_ms as i64);
        }
    }

    /// Writes the reply of `LATENCY GRAPH`, an error if the event was never slow.
    pub fn write_graph(&self, name: &[u8], now_s: i64, encoder: &mut Encoder<'_>) {
        let shown = String::from_utf8_lossy(name);
        match self.event(name) {
            Some(event) => encoder.verbatim("txt", graph(&shown, event, now_s).as_bytes()),
            None => {
                encoder.error(&format!("ERR No samples available for event '{shown}'"));
            }
        }
    }

    /// Writes the reply of `LATENCY DOCTOR`; `threshold_ms` is what counts as slow, 0 for nothing.
    pub fn write_doctor(&self, threshold_ms: u64, encoder: &mut Encoder<'_>) {
        encoder.verbatim("txt", self.report(threshold_ms).as_bytes());
    }

    fn report(&self, threshold_ms: u64) -> String {
        let mut text = String::new();
        for (place, (name, event)) in self.events().enumerate() {
            let Summary {
                count,
                mean_ms,
                deviation_ms,
                period_s,
            } = event.summary();
            let max_ms = event.max_ms;
            writeln!(
                text,
                "{}. {name}: {count} slow seconds, mean {mean_ms} ms, mean deviation \
                 {deviation_ms} ms, one each {period_s:.2} s, worst ever {max_ms} ms.",
                place + 1
            )
            .expect("writing to a String does not fail");
            if let Some(advice) = advice(name) {
                writeln!(text, "   {advice}").expect("writing to a String does not fail");
            }
        }
        match (text.is_empty(), threshold_ms) {
            (true, 0) => "Nothing is recorded: the latency monitor is off. Switch it on with \
                          CONFIG SET latency-monitor-threshold <milliseconds>.\n"
                .to_owned(),
            (true, _) => format!("No event has taken {threshold_ms} ms or longer.\n"),
            (false, 0) => text + "The latency monitor is off now; these events are from before.\n",
            (false, _) => text,
        }
    }
}

/// What a report says of an event.
struct Summary {
    count: usize,
    mean_ms: u64,
    deviation_ms: u64,
    period_s: f64,
}

impl Event {
    /// The samples, oldest first.
    pub fn samples(&self) -> impl ExactSizeIterator<Item = Sample> {
        self.samples.iter().copied()
    }

    /// The newest sample.
    #[must_use]
    pub fn latest(&self) -> Sample {
        *self
            .samples
            .back()
            .expect("an event exists from its first sample on")
    }

    /// The worst case ever, in milliseconds, even if its sample is gone.
    #[must_use]
    pub fn max_ms(&self) -> u64 {
        self.max_ms
    }

    fn record(&mut self, sample: Sample) {
        self.max_ms = self.max_ms.max(sample.latency_ms);
        match self.samples.back_mut() {
            Some(last) if last.at_s == sample.at_s => {
                last.latency_ms = last.latency_ms.max(sample.latency_ms);
                return;
            }
            _ => self.samples.push_back(sample),
        }
        if self.samples.len() > SAMPLES_MAX {
            self.samples.pop_front();
        }
    }

    fn summary(&self) -> Summary {
        let count = self.samples.len() as u64;
        let latencies = || self.samples.iter().map(|sample| sample.latency_ms);
        let mean_ms = latencies().sum::<u64>() / count;
        let deviation_ms = latencies().map(|ms| ms.abs_diff(mean_ms)).sum::<u64>() / count;
        let first = self.samples.front().expect("an event has a sample");
        let span_s = (self.latest().at_s - first.at_s).max(0) + 1;
        let period_s = span_s as f64 / count as f64;
        Summary {
            count: self.samples.len(),
            mean_ms,
            deviation_ms,
            period_s,
        }
    }
}

/// What an operator can do about a slow event.
fn advice(event: &str) -> Option<&'static str> {
    Some(match event {
        "command" => {
            "SLOWLOG GET shows the commands, if slowlog-log-slower-than is below this threshold. \
             Commands over many keys (KEYS, large MGET or DEL) are better split."
        }
        "fsync" => {
            "The disk is slow to sync. Look for other writers on it, give the data directory a \
             disk of its own, or accept less durability with CONFIG SET fsync interval."
        }
        "checkpoint" => {
            "Checkpoints compete with writes for the disk; a larger checkpoint-log-size makes them \
             rarer."
        }
        _ => return None,
    })
}

/// A column for each sample: its height between the lowest and the highest on show, and under it,
/// read downwards, how long ago it was.
fn graph(name: &str, event: &Event, now_s: i64) -> String {
    let skipped = event.samples.len().saturating_sub(GRAPH_COLUMNS_MAX);
    let samples: Vec<Sample> = event.samples().skip(skipped).collect();
    let latencies = || samples.iter().map(|sample| sample.latency_ms);
    let low = latencies().min().expect("an event has a sample");
    let high = latencies().max().expect("an event has a sample");
    let mut text = format!(
        "{name} - high {high} ms, low {low} ms (all time high {} ms)\n",
        event.max_ms
    );
    text.extend(std::iter::repeat_n('-', GRAPH_COLUMNS_MAX));
    text.push('\n');
    let steps = GRAPH_ROWS * GRAPH_TOPS.len();
    // The lowest sample still shows as one step.
    let height = |ms: u64| match high - low {
        0 => steps,
        range => 1 + ((ms - low) as f64 / range as f64 * (steps - 1) as f64) as usize,
    };
    for row in (0..GRAPH_ROWS).rev() {
        let cell = |ms| match height(ms).saturating_sub(row * GRAPH_TOPS.len()) {
            0 => ' ',
            filled if filled > GRAPH_TOPS.len() => '|',
            filled => char::from(GRAPH_TOPS[filled - 1]),
        };
        text.extend(latencies().map(cell));
        text.push('\n');
    }
    text.push('\n');
    push_labels(
        &mut text,
        samples
            .iter()
            .map(|sample| age(now_s - sample.at_s))
            .collect(),
    );
    text
}

/// Writes labels downwards, one a column.
fn push_labels(text: &mut String, labels: Vec<String>) {
    let rows = labels.iter().map(String::len).max().unwrap_or(0);
    for row in 0..rows {
        let letter = |label: &String| label.as_bytes().get(row).copied().map_or(' ', char::from);
        text.extend(labels.iter().map(letter));
        text.push('\n');
    }
}

/// A span of time in its largest whole unit.
fn age(seconds: i64) -> String {
    match seconds.max(0) {
        s @ ..60 => format!("{s}s"),
        s @ 60..3600 => format!("{}m", s / 60),
        s @ 3600..86400 => format!("{}h", s / 3600),
        s => format!("{}d", s / 86400),
    }
}

#[cfg(test)]
mod tests {
    use bailiwick_frame::Protocol;

    use super::*;

    fn written(f: impl FnOnce(&mut Encoder<'_>)) -> String {
        let mut out = Vec::new();
        f(&mut Encoder::new(&mut out, Protocol::Resp2));
        String::from_utf8(out).unwrap()
    }

    fn spikes() -> Latency {
        let mut latency = Latency::default();
        for (at_s, ms) in [
            (100, 20),
            (101, 5),
            (103, 30),
            (104, 100),
            (105, 2),
            (106, 10),
        ] {
            latency.record("command", at_s, ms);
        }
        latency
    }

    #[test]
    fn a_second_keeps_its_worst_case() {
        let mut latency = Latency::default();
        for ms in [3, 9, 5] {
            latency.record("fsync", 7, ms);
        }
        let samples: Vec<_> = latency.event(b"fsync").unwrap().samples().collect();
        assert_eq!(
            samples,
            [Sample {
                at_s: 7,
                latency_ms: 9
            }]
        );
    }

    #[test]
    fn only_the_latest_160_seconds_stay_but_the_worst_is_remembered() {
        let mut latency = Latency::default();
        latency.record("command", 0, 999);
        for at_s in 1..=200 {
            latency.record("command", at_s, 1);
        }
        let event = latency.event(b"command").unwrap();
        assert_eq!(event.samples().len(), SAMPLES_MAX);
        assert_eq!(event.samples().next().unwrap().at_s, 41);
        assert_eq!(event.max_ms(), 999);
    }

    #[test]
    fn latest_and_history_are_replied_as_redis_replies_them() {
        let mut latency = spikes();
        latency.reset([b"other".as_slice()].into_iter());
        let latest = written(|encoder| latency.write_latest(encoder));
        assert_eq!(
            latest,
            "*1\r\n*4\r\n$7\r\ncommand\r\n:106\r\n:10\r\n:100\r\n"
        );
        let history = written(|encoder| latency.write_history(b"command", encoder));
        assert!(history.starts_with("*6\r\n*2\r\n:100\r\n:20\r\n*2\r\n:101\r\n:5\r\n"));
        assert_eq!(
            written(|encoder| latency.write_history(b"none", encoder)),
            "*0\r\n"
        );
    }

    #[test]
    fn a_reset_forgets_the_named_or_all_and_counts_them() {
        let mut latency = spikes();
        latency.record("fsync", 1, 1);
        latency.record("checkpoint", 1, 1);
        let names = [b"command".as_slice(), b"none"];
        assert_eq!(latency.reset(names.into_iter()), 1);
        assert_eq!(latency.reset([].into_iter()), 2);
        assert_eq!(latency.events().len(), 0);
    }

    #[test]
    fn a_graph_shows_heights_and_ages() {
        let latency = spikes();
        let text = graph("command", latency.event(b"command").unwrap(), 107);
        let expected = format!(
            "command - high 100 ms, low 2 ms (all time high 100 ms)\n{}\n   #  \n   |  \n  _|  \n\
             #_||__\n\n764321\nssssss\n",
            "-".repeat(80)
        );
        assert_eq!(text, expected);
        let missing = written(|encoder| latency.write_graph(b"x", 0, encoder));
        assert_eq!(missing, "-ERR No samples available for event 'x'\r\n");
    }

    #[test]
    fn a_graph_of_equal_or_many_samples_stays_within_its_columns() {
        let mut latency = Latency::default();
        for at_s in 0..200 {
            latency.record("fsync", at_s, 5);
        }
        let text = graph("fsync", latency.event(b"fsync").unwrap(), 100_000);
        assert!(
            text.lines()
                .skip(1)
                .all(|line| line.len() <= GRAPH_COLUMNS_MAX)
        );
        assert!(text.contains("high 5 ms, low 5 ms"));
    }

    #[test]
    fn the_doctor_says_what_was_slow_or_that_nothing_was() {
        assert!(
            Latency::default()
                .report(0)
                .contains("the latency monitor is off")
        );
        assert!(
            Latency::default()
                .report(5)
                .contains("No event has taken 5 ms")
        );
        let report = spikes().report(1);
        let line = "1. command: 6 slow seconds, mean 27 ms, mean deviation 24 ms, one each 1.17 s, \
                    worst ever 100 ms.";
        assert!(report.starts_with(line), "{report}");
    }
}
