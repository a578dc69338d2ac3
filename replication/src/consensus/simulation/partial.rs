//! Partial connectivity: links are cut so that hardly anybody sees a majority, and stay cut. A
//! group in which one member does must come back within a bounded time, and must not fall into
//! changing leaders for ever.
//!
//! These are the three cases that leave other protocols without a leader: the leader is alive but
//! has lost its majority (*quorum loss*); the only candidate has an outdated log (*constrained
//! election*); members see different leaders' neighbours in a row (*chain*).

use super::*;

/// Simulated time within which entries must be decided again, from the cut on.
const RECOVERY_MS: u64 = 2000;
/// Simulated time within which it is settled then who leads: in a chain two candidates may see a
/// majority, and each other not at all.
const SETTLE_MS: u64 = 10_000;
/// How long the group is watched after that.
const WATCH_MS: u64 = 5000;
/// Each case is tried with so many seeds.
const SEEDS: u64 = 10;

impl Sim {
    fn run_for(&mut self, ms: u64) {
        let until = self.now + ms * MS;
        while self.now < until {
            self.step();
        }
    }

    /// Who leads, with the ballot; the highest if there are several.
    fn leading(&self) -> Option<(u32, u64)> {
        let nodes = self.nodes.iter();
        let leaders = nodes.filter_map(|(id, node)| {
            let replica = &node.as_ref()?.replica;
            replica.is_leader().then(|| (replica.ballot(), *id))
        });
        leaders.max()
    }

    /// Runs until a node leads and entries are decided.
    fn settle(&mut self) -> u64 {
        self.run_for(2000);
        assert!(!self.global.is_empty(), "a healthy group decides nothing");
        let leading = self.leading();
        leading.expect("a healthy group has a leader").1
    }

    /// Cuts all links but these, and demands progress within a bounded time, and in each second
    /// from then on; and one leader in one ballot after some more time. Gives that leader.
    fn survive(&mut self, links: &[(u64, u64)]) -> u64 {
        self.keep_links(links, &[1, 2, 3, 4, 5]);
        self.progress_in(RECOVERY_MS);
        for _ in 0..SETTLE_MS / 1000 {
            self.progress_in(1000);
        }
        let leading = self.leading().expect("somebody leads");
        for _ in 0..WATCH_MS / 1000 {
            self.progress_in(1000);
            assert_eq!(self.leading(), Some(leading), "the leader changes");
        }
        leading.1
    }

    fn progress_in(&mut self, ms: u64) {
        let before = self.global.len();
        self.run_for(ms);
        let decided = self.global.len() - before;
        if decided <= 5 {
            self.show();
        }
        assert!(decided > 5, "{decided} entries within {ms} ms");
    }
}

/// A group of five that has settled, for each seed, with its leader and the four others.
fn each(check: impl Fn(&mut Sim, u64, [u64; 4])) {
    for seed in 1..=SEEDS {
        println!("seed {seed}");
        let mut sim = Sim::with(Rng(seed), Mode::Directed, NODES);
        let leader = sim.settle();
        let mut others: Vec<u64> = (1..=NODES).filter(|node| *node != leader).collect();
        others.rotate_left((seed % 4) as usize);
        check(&mut sim, leader, others.try_into().unwrap());
    }
}

#[test]
fn a_leader_without_majority_is_replaced_by_the_only_one_with_one() {
    each(|sim, leader, [hub, b, c, d]| {
        let next = sim.survive(&[(hub, leader), (hub, b), (hub, c), (hub, d)]);
        assert_eq!(next, hub);
    });
}

#[test]
fn the_only_one_with_a_majority_leads_though_its_log_is_outdated() {
    each(|sim, leader, [hub, b, c, d]| {
        // The hub misses what the others decide meanwhile, then the leader is gone.
        sim.keep_links(
            &[
                (leader, b),
                (leader, c),
                (leader, d),
                (b, c),
                (b, d),
                (c, d),
            ],
            &[1, 2, 3, 4, 5],
        );
        sim.run_for(1000);
        let decided = |sim: &Sim, id: u64| sim.nodes[&id].as_ref().unwrap().replica.decided();
        assert!(decided(sim, hub) < decided(sim, b));
        let next = sim.survive(&[(hub, b), (hub, c), (hub, d)]);
        assert_eq!(next, hub);
    });
}

#[test]
fn a_chain_of_five_settles_on_one_leader() {
    each(|sim, leader, [a, b, c, d]| {
        for chain in [
            [leader, a, b, c, d],
            [a, leader, b, c, d],
            [a, b, leader, c, d],
        ] {
            let links: Vec<(u64, u64)> = chain.windows(2).map(|pair| (pair[0], pair[1])).collect();
            sim.survive(&links);
        }
    });
}

#[test]
fn a_chain_of_three_keeps_its_leader() {
    for seed in 1..=SEEDS {
        let mut sim = Sim::with(Rng(seed), Mode::Directed, 3);
        let leader = sim.settle();
        let others: Vec<u64> = (1..=3).filter(|node| *node != leader).collect();
        let (middle, end) = (others[0], others[1]);
        let next = sim.survive(&[(leader, middle), (middle, end)]);
        assert_eq!(next, leader, "it still reaches a majority");
    }
}
