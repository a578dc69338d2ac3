//! What goes wrong, how often, and in which combination.
//!
//! Faults at even rates rarely meet in the way that breaks a particular rule. So each seed draws a
//! *mode*, which makes one kind of schedule likely:
//!
//! | mode | what it makes likely |
//! |---|---|
//! | `Mixed` | everything now and then |
//! | `SlowDisk` | crashes, often of two nodes together, with much sent and not yet written |
//! | `Flapping` | reconnections within a round trip, with messages of before them late or twice |
//! | `CrashAfterSend` | a crash between sending and writing, and a quick return |
//! | `SeeSaw` | majorities that overlap in one node only, which forgets what it did not write |
//! | `Rotation` | majorities of which each two overlap in another node |
//! | `QuickRestart` | as `SeeSaw`, but its return is quick, while granted time still runs |
//!
//! In the last three the adversary watches: it likes to cut a leader off at the moment at which it
//! is elected, and to crash a node whose write is under way when it promises or something is
//! decided.
//!
//! A crash during a write leaves all of it or nothing, as the real log does: each half of the time.

use super::network::Cut;
use super::*;

/// The kind of trouble of a seed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    Mixed,
    SlowDisk,
    Flapping,
    CrashAfterSend,
    SeeSaw,
    Rotation,
    QuickRestart,
    /// No faults of its own: a test directs them.
    Directed,
}

/// How often things happen: once in so many steps of about a millisecond, or whatever else the
/// name says; 0 is never.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rates {
    pub(super) crash: u64,
    /// Crashes that take a second node along, one in so many.
    pub(super) crash_of_two: u64,
    pub(super) restart: u64,
    /// Crashes between sending and writing, one in so many writes.
    pub(super) crash_after_send: u64,
    pub(super) cut: u64,
    pub(super) heal: u64,
    pub(super) reconnect: u64,
    /// Of the messages in flight when a connection breaks, one in so many comes later.
    pub(super) late: u64,
    /// Messages of earlier that come again after a reconnection, in number, at most.
    pub(super) echoes: u64,
    /// The longest usual write, and the longest slow one.
    pub(super) write_ms: [u64; 2],
    /// Writes that are slow, one in so many.
    pub(super) slow_write: u64,
    /// Crashes of a node that learns of a decision while it writes, one in so many.
    pub(super) crash_at_decision: u64,
    /// Crashes of a node that has just promised, one in so many.
    pub(super) crash_at_promise: u64,
    /// Tilts at the moment of an election, one in so many.
    pub(super) tilt_at_election: u64,
    /// Crashes of the see-saw's middle when it tilts, one in so many.
    pub(super) crash_in_tilt: u64,
    /// From tilt to tilt, at least and at most.
    pub(super) tilt_ms: [u64; 2],
    pub(super) transfer: u64,
    pub(super) change: u64,
    pub(super) checkpoint: u64,
    pub(super) lease_ms: u64,
    /// A node applies in one of so many of its rounds.
    pub(super) apply: u64,
}

const MIXED: Rates = Rates {
    crash: 250,
    crash_of_two: 4,
    restart: 100,
    crash_after_send: 200,
    cut: 100,
    heal: 12,
    reconnect: 200,
    late: 8,
    echoes: 1,
    write_ms: [3, 100],
    slow_write: 20,
    crash_at_decision: 0,
    crash_at_promise: 0,
    tilt_at_election: 0,
    crash_in_tilt: 0,
    tilt_ms: [0, 0],
    transfer: 300,
    change: 60,
    checkpoint: 80,
    lease_ms: 200,
    apply: 1,
};

impl Mode {
    pub(super) fn draw(rng: &mut Rng) -> Mode {
        match rng.below(8) {
            0 => Mode::Mixed,
            1 => Mode::SlowDisk,
            2 => Mode::Flapping,
            3 => Mode::CrashAfterSend,
            4 => Mode::SeeSaw,
            5 => Mode::Rotation,
            _ => Mode::QuickRestart,
        }
    }

    /// Whether three nodes are on a see-saw.
    pub(super) fn tilts(self) -> bool {
        matches!(self, Mode::SeeSaw | Mode::Rotation | Mode::QuickRestart)
    }

    pub(super) fn rates(self) -> Rates {
        match self {
            Mode::Mixed => MIXED,
            Mode::SlowDisk => Rates {
                crash: 150,
                crash_of_two: 2,
                restart: 30,
                write_ms: [60, 300],
                slow_write: 4,
                apply: 4,
                ..MIXED
            },
            Mode::Flapping => Rates {
                crash: 600,
                reconnect: 4,
                late: 2,
                echoes: 3,
                write_ms: [3, 30],
                change: 30,
                apply: 6,
                ..MIXED
            },
            Mode::CrashAfterSend => Rates {
                crash_after_send: 25,
                restart: 15,
                write_ms: [10, 100],
                ..MIXED
            },
            Mode::SeeSaw | Mode::Rotation => Rates {
                crash: 0,
                restart: 20,
                crash_after_send: 15,
                cut: 0,
                heal: 0,
                reconnect: 0,
                write_ms: [20, 200],
                slow_write: 3,
                crash_at_decision: 20,
                crash_at_promise: 5,
                tilt_at_election: 4,
                crash_in_tilt: 2,
                tilt_ms: [50, 600],
                change: 2000,
                lease_ms: 40,
                ..MIXED
            },
            Mode::QuickRestart => Rates {
                crash: 0,
                restart: 4,
                crash_after_send: 0,
                cut: 0,
                heal: 0,
                reconnect: 0,
                echoes: 3,
                tilt_at_election: 8,
                crash_in_tilt: 3,
                tilt_ms: [100, 700],
                transfer: 100,
                change: 2000,
                lease_ms: 400,
                ..MIXED
            },
            Mode::Directed => Rates {
                crash: 0,
                restart: 0,
                crash_after_send: 0,
                cut: 0,
                heal: 0,
                reconnect: 0,
                transfer: 0,
                change: 0,
                checkpoint: 0,
                ..MIXED
            },
        }
    }
}

impl Sim {
    pub(super) fn cause_faults(&mut self) {
        let (a, b) = (1 + self.rng.below(NODES), 1 + self.rng.below(NODES));
        let rates = self.rates;
        if self.rng.one_in(rates.crash) {
            self.crash(a);
            if self.rng.one_in(rates.crash_of_two) {
                self.crash(b);
            }
        }
        if self.rng.one_in(rates.restart) && self.nodes[&a].is_none() {
            self.restart(a);
        }
        if self.mode.tilts() && self.now >= self.tilts_at {
            self.tilt();
        }
        self.deliver_late();
        if a == b {
            return;
        }
        if self.rng.one_in(rates.cut) {
            let kind = if self.rng.one_in(2) {
                Cut::Both
            } else {
                Cut::OneWay
            };
            self.cut(a, b, kind);
        }
        if self.rng.one_in(rates.heal) {
            self.heal(a, b);
        }
        if self.rng.one_in(rates.reconnect) {
            self.link(a, b);
        }
    }

    /// The see-saw's next position: three nodes, of which mostly only two see each other, the
    /// middle one of whom is in all those pairs. It may crash at the same moment.
    fn tilt(&mut self) {
        if self.mode == Mode::Rotation {
            let by = self.rng.below(3) as usize;
            self.see_saw.rotate_left(by);
        }
        let [middle, left, right] = self.see_saw;
        let links: &[(u64, u64)] = match self.rng.below(8) {
            0..=2 => &[(middle, left)],
            3..=5 => &[(middle, right)],
            6 => &[(middle, left), (middle, right)],
            _ => &[(middle, left), (middle, right), (left, right)],
        };
        let (others, is_crashing) = (
            self.rng.below(16),
            self.rng.one_in(self.rates.crash_in_tilt),
        );
        if is_crashing {
            self.crash(middle);
        }
        match others {
            0 => self.crash(left),
            1 => self.crash(right),
            _ => {}
        }
        self.keep_links(links, &[left, middle, right]);
        if is_crashing && self.rng.one_in(2) {
            self.restart(middle);
        }
        let [least, most] = self.rates.tilt_ms;
        self.tilts_at = self.now + (least + self.rng.below(most - least)) * MS;
    }

    /// The see-saw's middle, which is in every majority, would lead for ever: it hands over soon,
    /// so that the ends lead by turns.
    pub(super) fn transfer_rate(&self, node: u64) -> u64 {
        if self.faults && self.mode == Mode::SeeSaw && node == self.see_saw[0] {
            12
        } else {
            self.rates.transfer
        }
    }

    /// A node has become leader; the see-saw may tilt before anybody hears of it.
    pub(super) fn note_election(&mut self) {
        if self.faults && self.mode.tilts() && self.rng.one_in(self.rates.tilt_at_election) {
            self.tilts_at = self.now;
        }
    }

    /// A node goes between sending and writing; the see-saw may tilt as soon as what was sent has
    /// arrived.
    pub(super) fn crash_after_send(&mut self, node: u64) {
        self.crash(node);
        if node == self.see_saw[0] && self.rng.one_in(2) {
            self.tilts_at = self.now + 6 * MS;
        }
    }

    /// A node loses what it has not written. The write that is under way is done, or is not.
    pub(super) fn crash(&mut self, node: u64) {
        let Some(crashed) = self.nodes.insert(node, None).flatten() else {
            return;
        };
        if let Some((write, _)) = crashed.writing
            && self.rng.one_in(2)
        {
            self.disks[&node].write(&write);
        }
        for other in (1..=NODES).filter(|other| *other != node) {
            self.drop_in_flight(other, node);
            // What has left may arrive all the same.
            if self.rng.one_in(2) {
                self.drop_in_flight(node, other);
            }
        }
    }

    pub(super) fn restart(&mut self, node: u64) {
        if self.nodes[&node].is_some() {
            return;
        }
        self.start(node);
        for other in 1..=NODES {
            if other != node {
                self.link(node, other);
            }
        }
    }
}
