//! Waiters stand in their order, read back as they were, and nothing hostile panics.

use proptest::prelude::*;

use super::super::codec::Reader;
use super::*;

fn id(node: u32, incarnation: u64, number: u64) -> WaiterId {
    WaiterId {
        node,
        incarnation,
        number,
    }
}

fn register(
    waiters: &mut Waiters,
    awaited: &mut Awaited,
    id: WaiterId,
    arrival_ms: i64,
    keys: &[&str],
) {
    let awaits = Awaits {
        kind: Kind::List,
        or_absent: id.number.is_multiple_of(2),
        keys: keys.iter().map(|key| key.as_bytes().into()).collect(),
        request: None,
    };
    let request = Request::of([&b"BLPOP"[..], b"a", b"0"].into_iter());
    let args = Args::new(&request.bytes, &request.ranges);
    let kept = id.node > 1;
    let place = (arrival_ms, kept);
    waiters.register(id, (0, Protocol::Resp3), place, (awaits, args), awaited);
}

fn queue(waiters: &Waiters, key: &[u8]) -> Vec<u64> {
    let (mut numbers, mut after) = (Vec::new(), None);
    while let Some((place, id)) = waiters.next(0, key, after) {
        numbers.push(id.number);
        after = Some(place);
    }
    numbers
}

fn copy(waiters: &Waiters) -> Waiters {
    let mut bytes = Vec::new();
    waiters.put(&mut bytes);
    let mut reader = Reader::new(&bytes);
    let copy = Waiters::take(&mut reader).expect("well formed");
    assert!(reader.is_done());
    copy
}

#[test]
fn whoever_came_first_is_first_wherever_it_comes_from() {
    let (mut waiters, mut awaited) = (Waiters::default(), Awaited::default());
    register(
        &mut waiters,
        &mut awaited,
        id(1, 1, 1),
        100,
        &["a", "b", "a"],
    );
    register(&mut waiters, &mut awaited, id(1, 1, 2), 100, &["a"]);
    register(&mut waiters, &mut awaited, id(2, 1, 3), 90, &["a"]);
    assert_eq!(queue(&waiters, b"a"), [3, 1, 2]);
    assert_eq!(queue(&waiters, b"b"), [1]);
    assert!(waiters.give_up(id(1, 1, 1), &mut awaited));
    assert!(!waiters.give_up(id(1, 1, 1), &mut awaited));
    assert_eq!(queue(&waiters, b"a"), [3, 2]);
    assert_eq!(queue(&waiters, b"b"), [0; 0]);
    waiters.check_invariants();
}

#[test]
fn a_reply_is_kept_for_a_node_that_does_not_apply_the_log() {
    let (mut waiters, mut awaited) = (Waiters::default(), Awaited::default());
    for node in [1, 2] {
        register(&mut waiters, &mut awaited, id(node, 1, 1), 1, &["a"]);
        waiters.finish(id(node, 1, 1), Bytes::from_static(b"x"), &mut awaited);
    }
    let done = Woken::Done(Bytes::from_static(b"x"));
    let woken = vec![(id(1, 1, 1), done), (id(2, 1, 1), Woken::Look)];
    assert_eq!(waiters.take_woken(), woken);
    assert_eq!(waiters.fetch(id(1, 1, 1)), None);
    let mut copy = copy(&waiters);
    assert_eq!(copy.fetch(id(2, 1, 1)), Some(Bytes::from_static(b"x")));
    assert!(copy.is_empty());
}

#[test]
fn lives_of_a_node_end_and_leave_replies_only_if_it_may_come_back() {
    let (mut waiters, mut awaited) = (Waiters::default(), Awaited::default());
    for (node, life) in [(2, 1), (2, 2), (2, 3), (3, 1)] {
        register(&mut waiters, &mut awaited, id(node, life, 1), 1, &["a"]);
        register(&mut waiters, &mut awaited, id(node, life, 2), 1, &["a"]);
        waiters.finish(id(node, life, 2), Bytes::new(), &mut awaited);
    }
    assert_eq!(waiters.lives(), [(2, 1), (2, 2), (2, 3), (3, 1)]);
    waiters.forsake(2, 1, true, &mut awaited);
    assert_eq!(waiters.lives(), [(2, 2), (2, 3), (3, 1)]);
    waiters.forsake(2, 2, false, &mut awaited);
    assert_eq!(waiters.lives(), [(2, 2), (2, 3), (3, 1)]);
    assert_eq!(waiters.len(), 2);
    assert_eq!(waiters.served().count(), 3);
    waiters.check_invariants();
}

#[test]
fn replies_of_nodes_that_leave_the_group_are_kept_from_then_on() {
    let (mut waiters, mut awaited) = (Waiters::default(), Awaited::default());
    register(&mut waiters, &mut awaited, id(1, 1, 1), 1, &["a"]);
    waiters.keep_for_all_but(|node| node == 1);
    assert_eq!(waiters.take_woken(), []);
    waiters.keep_for_all_but(|node| node == 2);
    assert_eq!(waiters.take_woken(), [(id(1, 1, 1), Woken::Look)]);
    assert!(waiters.get(id(1, 1, 1)).is_some_and(|waiter| waiter.kept));
}

proptest! {
    #[test]
    fn waiters_read_back_as_they_were(
        steps in proptest::collection::vec((0..4u32, 0..3u64, 0..9u64, 0..5u8), 0..60),
    ) {
        let (mut waiters, mut awaited) = (Waiters::default(), Awaited::default());
        for (node, life, number, what) in steps {
            let id = id(node, life, number);
            match what {
                0 => drop(waiters.give_up(id, &mut awaited)),
                1 => waiters.finish(id, Bytes::from_static(b"reply"), &mut awaited),
                2 => drop(waiters.fetch(id)),
                _ if waiters.get(id).is_some() || waiters.served.contains_key(&id) => {}
                _ => {
                    let keys = ["a", "b", "c"];
                    let keys = &keys[..1 + number as usize % 3];
                    register(&mut waiters, &mut awaited, id, (number * 7) as i64 % 4, keys);
                }
            }
            waiters.check_invariants();
            let copy = copy(&waiters);
            copy.check_invariants();
            prop_assert_eq!(&copy.waiting, &waiters.waiting);
            prop_assert_eq!(&copy.queues, &waiters.queues);
            prop_assert_eq!(&copy.served, &waiters.served);
        }
    }

    #[test]
    fn arbitrary_waiters_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..120)) {
        if let Ok(waiters) = Waiters::take(&mut Reader::new(&bytes)) {
            waiters.check_invariants();
        }
    }
}
