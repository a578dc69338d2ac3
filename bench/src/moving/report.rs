//! What moves cost, in figures and as a table.

use std::time::Duration;

use serde::Serialize;

use super::MoveArgs;
use crate::load::LoadOutcome;
use crate::report::{Machine, Table, figure};
use crate::stats::quantile_us;

/// The longest wait of any request.
const GOAL_HOLD_MS: f64 = 250.0;

/// Everything measured, as it goes to JSON.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    machine: Machine,
    bailiwick_version: String,
    keys: u64,
    value_bytes: usize,
    members: usize,
    rate: f64,
    goal_hold_ms: f64,
    hold_ms: f64,
    failed: u64,
    wrong_answers: u64,
    missing_keys: u64,
    met: bool,
    rounds: Vec<Round>,
}

/// One move.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Round {
    pub(super) to: String,
    /// From the order until all nodes know that it is done.
    pub(super) move_s: f64,
    pub(super) keys_per_s: f64,
    pub(super) before: Waits,
    pub(super) during: Waits,
    /// Commands that were answered with an error, or not at all.
    pub(super) failed: u64,
    pub(super) first_error: Option<String>,
    /// Counters that did not go on by one: a write lost or done twice.
    pub(super) wrong_answers: u64,
    /// Keys that were not found or not counted afterwards.
    pub(super) missing_keys: u64,
}

/// How long requests waited.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Waits {
    pub(super) operations: u64,
    pub(super) p50_us: f64,
    pub(super) p99_us: f64,
    pub(super) longest_ms: f64,
}

impl Waits {
    /// Of both halves of the load together, and of the clients that count.
    pub(super) fn of(outcomes: &[LoadOutcome], longest_of_writers: Duration) -> Self {
        let mut operations = 0;
        let mut all: Option<hdrhistogram::Histogram<u64>> = None;
        for outcome in outcomes {
            operations += outcome.operations;
            match &mut all {
                // Both have the same bounds.
                Some(all) => all.add(&outcome.latency).expect("the bounds are the same"),
                None => all = Some(outcome.latency.clone()),
            }
        }
        let quantile = |quantile| {
            all.as_ref()
                .map_or(f64::NAN, |all| quantile_us(all, quantile))
        };
        let longest_of_load = all.as_ref().map_or(0, |all| all.max());
        let longest = longest_of_writers.max(Duration::from_nanos(longest_of_load));
        Self {
            operations,
            p50_us: quantile(0.5),
            p99_us: quantile(0.99),
            longest_ms: longest.as_secs_f64() * 1e3,
        }
    }
}

impl Report {
    pub(super) fn of(args: &MoveArgs, bailiwick_version: String, rounds: Vec<Round>) -> Self {
        let sum = |count: fn(&Round) -> u64| rounds.iter().map(count).sum::<u64>();
        let hold_ms = rounds
            .iter()
            .map(|round| round.during.longest_ms)
            .fold(0.0, f64::max);
        let failed = sum(|round| round.failed);
        let wrong_answers = sum(|round| round.wrong_answers);
        let missing_keys = sum(|round| round.missing_keys);
        Self {
            machine: Machine::this(),
            bailiwick_version,
            keys: args.keys,
            value_bytes: args.value_bytes,
            members: args.members,
            rate: args.rate,
            goal_hold_ms: GOAL_HOLD_MS,
            hold_ms,
            failed,
            wrong_answers,
            missing_keys,
            met: hold_ms <= GOAL_HOLD_MS && failed + wrong_answers + missing_keys == 0,
            rounds,
        }
    }
}

pub(super) fn table(report: &Report) -> Table {
    let head = [
        "move to",
        "s",
        "kkeys/s",
        "p99 us before",
        "during",
        "longest ms before",
        "during",
        "failed",
        "wrong",
        "missing",
    ];
    let mut table = Table::new(1, &head);
    for round in &report.rounds {
        table.row(vec![
            round.to.clone(),
            figure(round.move_s, 1),
            figure(round.keys_per_s / 1e3, 1),
            figure(round.before.p99_us, 0),
            figure(round.during.p99_us, 0),
            figure(round.before.longest_ms, 0),
            figure(round.during.longest_ms, 0),
            round.failed.to_string(),
            round.wrong_answers.to_string(),
            round.missing_keys.to_string(),
        ]);
        if let Some(error) = &round.first_error {
            eprintln!("the first error of the move to {}: {error}", round.to);
        }
    }
    let none = [7, 8, 9].map(|column| (column, "0".to_owned()));
    let hold = (6, format!("<={GOAL_HOLD_MS}"));
    table.goal(report.met, none.into_iter().chain([hold]));
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node_program::NodeProgram;

    fn round(longest_ms: f64, failed: u64, missing_keys: u64) -> Round {
        let waits = Waits {
            operations: 1,
            p50_us: 1.0,
            p99_us: 1.0,
            longest_ms,
        };
        Round {
            to: "away".to_owned(),
            move_s: 1.0,
            keys_per_s: 1.0,
            before: waits,
            during: waits,
            failed,
            first_error: None,
            wrong_answers: 0,
            missing_keys,
        }
    }

    fn is_met(rounds: Vec<Round>) -> bool {
        let args = MoveArgs {
            node: NodeProgram::at("bailiwick", &[]),
            keys: 1,
            value_bytes: 1,
            members: 1,
            rate: 1.0,
            clients: 2,
            rounds: 1,
            seconds: 1.0,
            limit: 1.0,
            json: None,
        };
        Report::of(&args, String::new(), rounds).met
    }

    #[test]
    fn the_goal_is_the_longest_wait_of_all_and_nothing_lost() {
        assert!(is_met(vec![round(10.0, 0, 0), round(250.0, 0, 0)]));
        assert!(!is_met(vec![round(10.0, 0, 0), round(251.0, 0, 0)]));
        assert!(!is_met(vec![round(10.0, 1, 0)]));
        assert!(!is_met(vec![round(10.0, 0, 1)]));
    }

    #[test]
    fn the_longest_wait_is_that_of_the_load_or_of_those_who_count() {
        let waits = Waits::of(&[], Duration::from_millis(7));
        assert_eq!((waits.operations, waits.longest_ms), (0, 7.0));
        assert!(waits.p99_us.is_nan());
    }
}
