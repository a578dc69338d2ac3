//! Merging, dividing, and the guarantees of listings while prefixes move at random.

use super::*;
use crate::authority::served_hash;

fn group(number: u32) -> GroupId {
    GroupId(number)
}

fn page(next: u64, keys: &[u64]) -> Page {
    let keys = keys.iter().map(|&at| (at, at.to_string().into_bytes()));
    Page {
        next,
        keys: keys.collect(),
    }
}

fn positions(page: &Page) -> Vec<u64> {
    page.keys.iter().map(|(at, _)| *at).collect()
}

#[test]
fn a_step_goes_as_far_as_all_groups_have_come() {
    let merged = merge([page(50, &[3, 49]), page(0, &[7, 90]), page(20, &[19])]);
    assert_eq!(merged.next, 20);
    assert_eq!(positions(&merged), [3, 7, 19]);
    let merged = merge([page(0, &[1]), page(0, &[u64::MAX - 1])]);
    assert_eq!(
        (merged.next, positions(&merged)),
        (0, vec![1, u64::MAX - 1])
    );
}

#[test]
fn the_work_of_a_step_is_divided_by_weight_and_bounded() {
    let groups: BTreeSet<_> = [0, 1, 2].map(group).into();
    let even = divide(30, &groups, &BTreeMap::new());
    assert_eq!(even.values().copied().collect::<Vec<_>>(), [10, 10, 10]);
    let weights: BTreeMap<_, _> = [(group(0), 98_000), (group(1), 2000), (group(2), 0)].into();
    let uneven = divide(1000, &groups, &weights);
    assert_eq!(uneven.values().copied().collect::<Vec<_>>(), [980, 20, 8]);
    let one = divide(1, &groups, &weights);
    assert_eq!(one.values().copied().collect::<Vec<_>>(), [1, 1, 1]);
    let huge = divide(usize::MAX, &groups, &weights);
    assert!(huge.values().sum::<usize>() <= MOST_COUNT + 3 * LEAST_COUNT);
}

#[test]
fn a_random_key_is_drawn_from_all_keys() {
    let keys: BTreeMap<_, _> = [(group(1), 2), (group(2), 0), (group(5), 1)].into();
    let chosen: Vec<_> = (0..4).filter_map(|draw| choose(draw, &keys)).collect();
    assert_eq!(chosen, [1, 1, 5, 1].map(group));
    assert_eq!(choose(7, &BTreeMap::new()), None);
    assert_eq!(choose(7, &[(group(1), 0)].into()), None);
}

/// Some groups with prefixes that move in the steps in which they really do. Keys are numbers,
/// which are their positions; each belongs to one of the places, and is copied when its place
/// moves.
struct World {
    places: Vec<Place>,
    random: u64,
}

/// A prefix: the first is the head itself, which stays; the others are below one another.
#[derive(Clone)]
struct Place {
    prefix: Vec<u8>,
    parent: usize,
    epoch: u64,
    owner: GroupId,
    /// Where it goes to, and how far that is: 1 is frozen, 2 is committed.
    moving: Option<(GroupId, u8)>,
    /// What its parent's owner says.
    said: (u64, GroupId),
    /// Handed out at all; otherwise a part of its parent.
    is_delegated: bool,
    keys: Vec<u64>,
}

const GROUPS: u32 = 4;

impl World {
    fn new(seed: u64) -> Self {
        let place = |at: usize| Place {
            prefix: format!("p{at}").into_bytes(),
            parent: at.saturating_sub(1) / 2,
            epoch: 1,
            owner: group(0),
            moving: None,
            said: (1, group(0)),
            is_delegated: at == 0,
            keys: (0..40).map(|n| n * 7 + at as u64).collect(),
        };
        Self {
            places: (0..7).map(place).collect(),
            random: seed,
        }
    }

    fn draw(&mut self, below: u64) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random % below
    }

    /// The delegated place that a place's keys belong to: itself or the nearest above.
    fn home(&self, at: usize) -> usize {
        let mut at = at;
        while !self.places[at].is_delegated {
            at = self.places[at].parent;
        }
        at
    }

    /// Who says to whom a place was handed out: the owner of the nearest place above.
    fn sayer(&self, at: usize) -> GroupId {
        self.places[self.home(self.places[at].parent)].owner
    }

    /// A prefix takes a step on its way or, unless the world is `calm`, sets out, at random.
    fn step(&mut self, calm: bool) {
        let at = 1 + self.draw(self.places.len() as u64 - 1) as usize;
        if calm && self.places[at].moving.is_none() {
            return;
        }
        let to = group(self.draw(GROUPS.into()) as u32);
        let home = self.home(self.places[at].parent);
        let parent_is_calm = self.places[home].moving.is_none();
        let has_children = (1..self.places.len()).any(|child| {
            child != at && self.places[child].is_delegated && self.sayer_place(child) == at
        });
        let owner_above = self.places[home].owner;
        let place = &mut self.places[at];
        match place.moving {
            // Created: split out of the parent, in the parent's own group.
            None if !place.is_delegated && parent_is_calm => {
                place.is_delegated = true;
                place.epoch += 1;
                place.owner = owner_above;
                place.said = (place.epoch, owner_above);
            }
            None if !place.is_delegated => {}
            // Dropped: it was brought home before.
            None if place.owner == owner_above && parent_is_calm && !has_children && to.0 == 0 => {
                place.is_delegated = false;
            }
            None => place.moving = Some((to, 1)),
            Some((to, 1)) => {
                place.moving = Some((to, 2));
                place.owner = to;
                place.epoch += 1;
            }
            // Settled.
            Some((to, _)) => {
                place.said = (place.epoch, to);
                place.moving = None;
            }
        }
    }

    fn sayer_place(&self, at: usize) -> usize {
        self.home(self.places[at].parent)
    }

    fn share(&self, of: GroupId) -> Share {
        let mut share = Share {
            head: Head::Gone { group: None },
            served: 0,
            claims: Vec::new(),
            frozen: None,
        };
        if self.places[0].owner == of {
            share.head = Head::Here;
        }
        let mut claims: BTreeMap<GroupId, u64> = BTreeMap::new();
        for (at, place) in self.places.iter().enumerate().skip(1) {
            if !place.is_delegated {
                continue;
            }
            if place.owner == of {
                if matches!(place.moving, Some((_, 1))) {
                    share.frozen = Some(place.prefix.clone());
                } else {
                    let hash = served_hash(&place.prefix, place.epoch);
                    share.served = share.served.wrapping_add(hash);
                }
            }
            if self.sayer(at) == of {
                let sum = claims.entry(place.said.1).or_default();
                *sum = sum.wrapping_add(served_hash(&place.prefix, place.said.0));
            }
        }
        share.claims = claims.into_iter().collect();
        share
    }

    fn page(&self, of: GroupId, from: u64, count: usize) -> Page {
        let mine = |at: &usize| self.places[self.home(*at)].owner == of;
        let mut keys: Vec<u64> = (0..self.places.len())
            .filter(mine)
            .flat_map(|at| self.places[at].keys.iter().copied())
            .filter(|key| *key >= from)
            .collect();
        keys.sort_unstable();
        let next = keys.get(count).copied().unwrap_or(0);
        keys.truncate(count);
        page(next, &keys)
    }
}

/// A step of a scan: groups are asked one after the other, and the world goes on in between. The
/// round is repeated until it is complete.
fn scan_step(world: &mut World, from: u64, restless: u64) -> Page {
    for attempt in 0..1000 {
        let calm = attempt > 5;
        let mut answers: BTreeMap<GroupId, (Share, Page)> = BTreeMap::new();
        // The directory knows nothing, or too much.
        let mut ask: BTreeSet<GroupId> = [group(0), group(world.draw(GROUPS.into()) as u32)].into();
        loop {
            for of in std::mem::take(&mut ask) {
                for _ in 0..world.draw(restless) {
                    world.step(calm);
                }
                answers.insert(of, (world.share(of), world.page(of, from, 5)));
            }
            match judge(answers.iter().map(|(group, (share, _))| (*group, share))) {
                Verdict::Ask(more) => ask = more,
                Verdict::Complete => return merge(answers.into_values().map(|(_, page)| page)),
                Verdict::Moving { .. } => break,
            }
        }
        world.step(calm);
    }
    panic!("a calm world comes to no rest");
}

#[test]
fn whatever_moves_meanwhile_a_scan_returns_every_key_once() {
    for seed in 1..400 {
        let mut world = World::new(seed * 0x9e37_79b9);
        let (mut from, mut seen) = (0, Vec::new());
        loop {
            let page = scan_step(&mut world, from, 1 + seed % 4);
            seen.extend(positions(&page));
            if page.next == 0 {
                break;
            }
            assert!(page.next > from, "seed {seed}");
            from = page.next;
        }
        let mut expected: Vec<u64> = world.places.iter().flat_map(|p| p.keys.clone()).collect();
        expected.sort_unstable();
        seen.sort_unstable();
        assert_eq!(seen, expected, "seed {seed}");
    }
}

#[test]
fn without_comparing_epochs_the_model_finds_short_listings() {
    // The same world with a judge that only looks for groups that were not asked.
    let is_short = (1..400).any(|seed: u64| {
        let mut world = World::new(seed * 0x9e37_79b9);
        let mut seen = 0;
        for of in (0..GROUPS).map(group) {
            for _ in 0..world.draw(4) {
                world.step(false);
            }
            seen += world.page(of, 0, usize::MAX).keys.len();
        }
        seen != world
            .places
            .iter()
            .map(|place| place.keys.len())
            .sum::<usize>()
    });
    assert!(is_short, "the model has no teeth");
}

#[test]
fn a_prefix_between_two_owners_is_named() {
    let share = |served, claims: &[(u32, u64)], frozen: Option<&[u8]>| Share {
        head: Head::Gone { group: None },
        served,
        claims: claims.iter().map(|&(id, sum)| (group(id), sum)).collect(),
        frozen: frozen.map(<[u8]>::to_vec),
    };
    let mut root = share(0, &[(1, 5)], None);
    root.head = Head::Here;
    let judged = |shares: &[(u32, &Share)]| {
        let shares: Vec<_> = shares
            .iter()
            .map(|&(id, share)| (group(id), share))
            .collect();
        judge(shares.iter().map(|&(group, share)| (group, share)))
    };
    assert_eq!(judged(&[(0, &root)]), Verdict::Ask([group(1)].into()));
    let calm = share(5, &[], None);
    assert_eq!(judged(&[(0, &root), (1, &calm)]), Verdict::Complete);
    let frozen = share(0, &[], Some(b"eu:"));
    let verdict = Verdict::Moving {
        prefix: Some(b"eu:".to_vec()),
        group: Some(group(1)),
    };
    assert_eq!(judged(&[(0, &root), (1, &frozen)]), verdict);
    let lost = Share {
        head: Head::Gone {
            group: Some(group(3)),
        },
        ..share(0, &[], None)
    };
    assert_eq!(judged(&[(2, &lost)]), Verdict::Ask([group(3)].into()));
}
