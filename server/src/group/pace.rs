//! How fast a member fetches the entries that it has missed.
//!
//! As fast as it can, if it has the machine for itself. Otherwise what it took, of processors and
//! disks, it would take from members that serve clients, if they share the machine with it, or from
//! this node's own clients: a commit waits for whoever is before it on the disk, so time to spare
//! on a processor does not mean that nobody is kept waiting. So it rests after each step of work,
//! for a bounded time in all, and only while the group goes on without it.

use std::fs;
use std::time::{Duration, Instant};

use bailiwick_replication::LogIndex;

/// How often the processors are looked at.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// It shares the machine if others take more than such a part of all processors.
const SHARED_PART: u64 = 4;
/// A rest is so many times as long as the work before it.
const REST_FACTOR: u32 = 4;
/// The longest rest.
const REST_MAX: Duration = Duration::from_millis(100);
/// All rests together; until it has caught up, the group has one member less to lose.
const RESTS_MAX: Duration = Duration::from_secs(60);
/// How often it is asked whether the group goes on.
const JUDGE_EVERY: Duration = Duration::from_secs(1);

/// Processor time since the machine and this thread started, in ticks of the system's clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Usage {
    /// Of all processors together.
    idle: u64,
    /// What all processors had to give.
    all: u64,
    /// What this thread took.
    own: u64,
}

/// One catching up, with what is known of the processors and of the group's log. Where the system
/// does not tell how busy it is, there are no rests.
#[derive(Debug, Default)]
pub(super) struct Pace {
    looked_at: Option<Instant>,
    usage: Usage,
    is_shared: bool,
    judged_at: Option<Instant>,
    there: LogIndex,
    goes_on: bool,
    rested: Duration,
}

impl Pace {
    /// Sleeps for as long as becomes a step of work that took so long, when the group's log was
    /// last heard to be `there`.
    pub(super) fn rest(&mut self, worked: Duration, there: LogIndex) {
        let now = Instant::now();
        self.look(now);
        self.judge(now, there);
        std::thread::sleep(self.rest_after(worked));
    }

    fn rest_after(&mut self, worked: Duration) -> Duration {
        if !self.is_shared || !self.goes_on || self.rested >= RESTS_MAX {
            return Duration::ZERO;
        }
        let rest = (worked * REST_FACTOR).min(REST_MAX);
        self.rested += rest;
        rest
    }

    fn look(&mut self, now: Instant) {
        if is_early(self.looked_at, LOOK_EVERY, now) {
            return;
        }
        let usage = usage().unwrap_or_default();
        let is_first = self.looked_at.is_none();
        self.is_shared = !is_first && is_shared(self.usage, usage);
        (self.looked_at, self.usage) = (Some(now), usage);
    }

    fn judge(&mut self, now: Instant, there: LogIndex) {
        if is_early(self.judged_at, JUDGE_EVERY, now) {
            return;
        }
        self.goes_on = self.judged_at.is_none() || there > self.there;
        (self.judged_at, self.there) = (Some(now), there);
    }
}

fn is_early(last: Option<Instant>, every: Duration, now: Instant) -> bool {
    last.is_some_and(|last| now.saturating_duration_since(last) < every)
}

/// Whether others took so much that this thread should rest.
fn is_shared(before: Usage, now: Usage) -> bool {
    let passed = |of: fn(&Usage) -> u64| of(&now).saturating_sub(of(&before));
    let all = passed(|usage| usage.all);
    let others = all.saturating_sub(passed(|usage| usage.idle + usage.own));
    others > all / SHARED_PART
}

fn usage() -> Option<Usage> {
    let all = fs::read_to_string("/proc/stat").ok()?;
    let own = fs::read_to_string("/proc/thread-self/stat").ok()?;
    parse(&all, &own)
}

/// The first line of `/proc/stat` has ticks of all processors, as user, nice, system, idle, waiting
/// for a disk, which is idle, too, and others. A thread's `stat` has behind the name, in
/// parentheses, eleven fields and then ticks as user and system.
fn parse(all: &str, own: &str) -> Option<Usage> {
    let all = numbers(all.lines().next()?.strip_prefix("cpu ")?);
    let own = own.rsplit_once(") ")?.1;
    let own = numbers(own.split_once(' ')?.1);
    Some(Usage {
        idle: all.get(3)? + all.get(4)?,
        // What virtual machines took, behind these, is part of the first two.
        all: all.iter().take(8).sum(),
        own: own.get(10)? + own.get(11)?,
    })
}

/// The numbers at the beginning of a line, signs left out.
fn numbers(line: &str) -> Vec<u64> {
    let words = line.split_whitespace();
    words
        .map_while(|word| word.trim_start_matches('-').parse().ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_system_says_how_idle_it_was_and_what_the_thread_took() {
        let all = "cpu  10 1 20 300 40 0 5 2 9 0\ncpu0 1 1 1 1 1 1 1 1 1 1\n";
        let own = "12 (a ) b) R 1 2 3 4 -1 6 7 8 9 10 111 222 0 0 20 0";
        let usage = Usage {
            idle: 340,
            all: 378,
            own: 333,
        };
        assert_eq!(parse(all, own), Some(usage));
        assert_eq!(parse("cpu  1 2\n", own), None);
        assert_eq!(parse(all, "12 (a) R 1"), None);
        assert!(super::usage().is_some());
    }

    #[test]
    fn a_machine_is_shared_if_others_take_much_of_it() {
        let usage = |all: u64, idle: u64, own: u64| Usage {
            idle: 700 + idle,
            all: 1000 + all,
            own: 70 + own,
        };
        let before = usage(0, 0, 0);
        assert!(is_shared(before, usage(200, 70, 70)));
        assert!(!is_shared(before, usage(200, 50, 100)));
        assert!(!is_shared(before, usage(200, 200, 0)));
        assert!(!is_shared(before, before), "no time has passed");
    }

    #[test]
    fn whom_the_group_waits_for_does_not_rest() {
        let start = Instant::now();
        let mut pace = Pace::default();
        let steps = [
            (0, 100, true),
            (1, 120, true),
            (2, 120, false),
            (3, 121, true),
        ];
        for (second, there, goes_on) in steps {
            pace.judge(start + JUDGE_EVERY * second, LogIndex(there));
            assert_eq!(pace.goes_on, goes_on, "after {second} s");
        }
    }

    #[test]
    fn rests_are_for_shared_machines_and_have_bounds() {
        let ms = Duration::from_millis;
        let mut pace = Pace {
            goes_on: true,
            ..Pace::default()
        };
        assert_eq!(pace.rest_after(ms(5)), ms(0));
        pace.is_shared = true;
        assert_eq!(pace.rest_after(ms(5)), ms(20));
        assert_eq!(pace.rest_after(ms(5000)), REST_MAX);
        pace.rested = RESTS_MAX;
        assert_eq!(pace.rest_after(ms(5)), ms(0));
    }
}
