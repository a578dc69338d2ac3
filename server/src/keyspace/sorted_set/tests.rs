//! Sorted sets against a model, and what their size in memory is.

use proptest::prelude::*;

use super::*;

const SEED: u64 = 3;

fn check(set: &SortedSet) {
    if let Form::Large(large) = &set.0 {
        large.check_invariants();
    }
}

fn numbered(count: usize, score: impl Fn(usize) -> f64) -> SortedSet {
    let mut set = SortedSet::default();
    for number in 0..count {
        set.set(
            format!("member:{number:09}").as_bytes(),
            score(number),
            SEED,
        );
    }
    check(&set);
    set
}

/// Bits that depend on all bits of a number, so that successive numbers look random.
fn mixed(number: usize) -> usize {
    (number as u64 + 1)
        .wrapping_mul(0x9e37_79b9_7f4a_7c15)
        .rotate_left(29) as usize
}

fn shown(walk: Walk<'_>) -> Vec<(Vec<u8>, f64)> {
    walk.map(|(member, score)| (member.to_vec(), score))
        .collect()
}

/// A sorted list, searched from end to end.
#[derive(Clone, Default)]
struct Model(Vec<(Vec<u8>, f64)>);

impl Model {
    fn set(&mut self, member: &[u8], score: f64) -> Option<f64> {
        let old = self.remove(member);
        let place = (member, score);
        let at = self
            .0
            .iter()
            .filter(|(m, s)| order((m, *s), place).is_lt())
            .count();
        self.0.insert(at, (member.to_vec(), score));
        old
    }

    fn remove(&mut self, member: &[u8]) -> Option<f64> {
        let at = self.0.iter().position(|(present, _)| present == member)?;
        Some(self.0.remove(at).1)
    }
}

#[derive(Clone, Debug)]
enum Step {
    Set(u16, i8),
    Remove(u16),
    RemoveRanks(u16, u8),
    /// Goes on with a clone, and keeps the original to see that it does not change.
    Clone,
}

fn steps(members: u16) -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        12 => (0..members, any::<i8>()).prop_map(|(member, score)| Step::Set(member, score)),
        4 => (0..members).prop_map(Step::Remove),
        1 => (any::<u16>(), 0..40u8).prop_map(|(from, count)| Step::RemoveRanks(from, count)),
        1 => Just(Step::Clone),
    ];
    proptest::collection::vec(step, 0..1500)
}

fn name(member: u16) -> Vec<u8> {
    // Of different lengths, some of them a prefix of another.
    format!("{member:b}").into_bytes()
}

fn agrees(set: &SortedSet, model: &Model) {
    assert_eq!(shown(set.iter()), model.0);
    check(set);
}

fn run(steps: Vec<Step>, mut set: SortedSet) {
    let mut model = Model::default();
    let mut earlier = Vec::new();
    for step in steps {
        match step {
            Step::Set(member, score) => {
                let (member, score) = (name(member), f64::from(score / 4) / 2.0);
                assert_eq!(set.set(&member, score, SEED), model.set(&member, score));
                let rank = set.rank((&member, score));
                assert_eq!(model.0[rank].0, member);
            }
            Step::Remove(member) => {
                assert_eq!(set.remove(&name(member)), model.remove(&name(member)));
            }
            Step::RemoveRanks(from, count) => {
                let start = usize::from(from) % (model.0.len() + 1);
                let end = (start + usize::from(count)).min(model.0.len());
                set.remove_ranks(start..end);
                model.0.drain(start..end);
            }
            Step::Clone => earlier.push((set.clone(), model.clone())),
        }
        assert_eq!(set.len(), model.0.len());
    }
    agrees(&set, &model);
    for (set, model) in earlier {
        agrees(&set, &model);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn a_set_does_as_a_sorted_list_does(steps in steps(400)) {
        run(steps, SortedSet::default());
    }

    #[test]
    fn a_large_set_may_become_empty_and_grow_again(steps in steps(40)) {
        run(steps, SortedSet::expecting(usize::MAX, 0, SEED));
    }

    #[test]
    fn ranges_and_ranks_are_those_of_the_sequence(
        scores in proptest::collection::vec(any::<i8>(), 0..1200),
        from in any::<proptest::sample::Index>(),
        to in any::<proptest::sample::Index>(),
        bound in any::<i8>(),
    ) {
        let set = numbered(scores.len(), |at| scores[at].into());
        let all = shown(set.iter());
        let (from, to) = (from.index(all.len() + 1), to.index(all.len() + 1));
        let (from, to) = (from.min(to), from.max(to));
        prop_assert_eq!(&shown(set.walk(from..to, false))[..], &all[from..to]);
        let mut backwards = shown(set.walk(from..to, true));
        backwards.reverse();
        prop_assert_eq!(&backwards[..], &all[from..to]);
        let below = all.iter().filter(|(_, score)| *score < bound.into()).count();
        prop_assert_eq!(set.partition_point(|(_, score)| score < bound.into()), below);
        for (rank, (member, score)) in all.iter().enumerate().step_by(7) {
            prop_assert_eq!(set.rank((member, *score)), rank);
        }
    }
}

#[test]
fn a_set_is_large_beyond_128_members_or_64_bytes() {
    let mut set = numbered(MAX_MEMBERS, |_| 0.0);
    assert_eq!(set.encoding(), "listpack");
    set.set(b"member:000000000", 5.0, SEED);
    assert_eq!(set.encoding(), "listpack");
    set.set(b"one more", 0.0, SEED);
    assert_eq!(set.encoding(), "skiplist");
    set.remove_ranks(1..set.len());
    assert_eq!((set.len(), set.encoding()), (1, "skiplist"));

    let mut set = SortedSet::default();
    set.set(&[b'x'; MEMBER_MAX_BYTES], 1.0, SEED);
    assert_eq!(set.encoding(), "listpack");
    set.set(&[b'y'; MEMBER_MAX_BYTES + 1], 1.0, SEED);
    assert_eq!(set.encoding(), "skiplist");
}

#[test]
fn both_representations_hold_every_kind_of_score() {
    let scores = [
        f64::NEG_INFINITY,
        f64::MIN,
        -1e9,
        -32_769.0,
        -1.0,
        -f64::MIN_POSITIVE,
        0.0,
        5e-324,
        0.1,
        252.0,
        253.0,
        1e300,
        f64::INFINITY,
    ];
    let large = SortedSet::expecting(MAX_MEMBERS + 1, 0, SEED);
    for mut set in [SortedSet::default(), large] {
        for (at, score) in scores.iter().enumerate().rev() {
            assert_eq!(set.set(&[at as u8], *score, SEED), None);
        }
        let held: Vec<f64> = set.iter().map(|(_, score)| score).collect();
        assert_eq!(held, scores);
        for (at, score) in scores.iter().enumerate() {
            assert_eq!(set.score(&[at as u8]), Some(*score));
        }
    }
}

#[test]
fn members_that_come_in_order_fill_the_nodes() {
    let grows = |count, score: fn(usize) -> f64| {
        let set = numbered(count, score);
        let Form::Large(large) = &set.0 else {
            panic!("a large set")
        };
        large.tree().heap_bytes() as f64 / count as f64
    };
    assert!(grows(50_000, |number| number as f64) < 18.0);
    assert!(grows(50_000, |number| mixed(number) as f64) < 26.0);
}

#[test]
fn a_set_takes_less_memory_than_in_redis() {
    // MEMORY USAGE of redis-server 7.0.15 for the same members and scores, without the key.
    let small = numbered(10, |number| number as f64);
    assert!(size_of::<SortedSet>() + small.heap_bytes() <= 232);
    let large = numbered(100_000, |number| mixed(number) as f64 / 3.0);
    let bytes = large.heap_bytes() as f64 / 100_000.0;
    assert!(bytes < 100.0, "{bytes} bytes a member");
}

#[test]
fn emptying_a_set_gives_its_memory_back() {
    let mut set = numbered(20_000, |number| mixed(number) as f64);
    let full = set.heap_bytes();
    for number in 0..19_900 {
        set.remove(format!("member:{number:09}").as_bytes());
    }
    check(&set);
    assert!(
        set.heap_bytes() < full / 15,
        "{} of {full}",
        set.heap_bytes()
    );
}

#[test]
fn a_scan_visits_all_that_stays_once_whatever_comes_and_goes() {
    let mut set = numbered(3000, |number| number as f64);
    let mut seen = std::collections::BTreeMap::new();
    let (mut cursor, mut round) = (0, 0);
    loop {
        cursor = set.scan(cursor, 50, |(member, _)| {
            *seen.entry(member.to_vec()).or_insert(0) += 1;
        });
        if cursor == 0 {
            break;
        }
        for number in 0..40 {
            round += 1;
            set.set(format!("new:{round}").as_bytes(), f64::from(round), SEED);
            set.remove(format!("member:{:09}", 2000 + (round + number) % 1000).as_bytes());
        }
        // A new score is no new member.
        set.set(format!("member:{:09}", round % 2000).as_bytes(), -1.0, SEED);
    }
    check(&set);
    for number in 0..2000 {
        let member = format!("member:{number:09}").into_bytes();
        assert_eq!(seen.get(&member), Some(&1), "{number}");
    }
    let small = numbered(100, |_| 1.0);
    let mut count = 0;
    assert_eq!(small.scan(77, 1, |_| count += 1), 0);
    assert_eq!(count, 100);
}

#[test]
fn a_restored_set_equals_the_one_that_was_written() {
    let mut thinned = numbered(1000, |number| mixed(number) as f64);
    thinned.remove_ranks(5..995);
    for set in [
        SortedSet::default(),
        numbered(100, |number| 1.0 / (number as f64)),
        numbered(2000, |number| (number % 7) as f64),
        thinned,
    ] {
        let mut bytes = Vec::new();
        set.visit(0, usize::MAX, &mut |part| {
            crate::keyspace::packed::put(&mut bytes, part)
        });
        let restore = |representation, bytes| {
            SortedSet::restore(representation, &mut Parts::new(bytes), SEED)
        };
        let restored = restore(set.representation(), &bytes).expect("well formed");
        check(&restored);
        assert_eq!(restored, set);
        assert_eq!(restore(9, &bytes), None);
        if !bytes.is_empty() {
            let twice = [&bytes[..], &bytes[..]].concat();
            assert_eq!(restore(set.representation(), &twice), None);
        }
    }
    let mut nan = Vec::new();
    crate::keyspace::packed::put(&mut nan, b"m");
    crate::keyspace::packed::put(&mut nan, &f64::NAN.to_le_bytes());
    assert_eq!(SortedSet::restore(0, &mut Parts::new(&nan), SEED), None);
}
