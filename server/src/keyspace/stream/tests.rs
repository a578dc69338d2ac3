//! Streams against a simple model, and through the pieces of a checkpoint.

use std::collections::BTreeMap;

use super::*;
use proptest::prelude::*;

type Fields = Vec<(Vec<u8>, Vec<u8>)>;
type Model = BTreeMap<StreamId, Fields>;

fn id(ms: u64, seq: u64) -> StreamId {
    StreamId { ms, seq }
}

fn copy(entry: Entry<'_>) -> (StreamId, Fields) {
    let pairs = entry.pairs();
    let pairs = pairs.map(|(name, value)| (name.to_vec(), value.to_vec()));
    (entry.id, pairs.collect())
}

fn pieces(stream: &Stream, step: usize) -> Vec<Vec<u8>> {
    let mut pieces = Vec::new();
    for from in (0..stream.piece_count()).step_by(step) {
        stream.visit_pieces(from, step, &mut |piece| pieces.push(piece.to_vec()));
    }
    pieces
}

fn restored(pieces: &[Vec<u8>]) -> Option<Stream> {
    let mut bytes = Vec::new();
    for piece in pieces {
        bytes::put_string(&mut bytes, piece);
    }
    let mut parts = Parts::new(&bytes);
    let stream = Stream::restore(REPRESENTATION, &mut parts, 7)?;
    parts.is_done().then_some(stream)
}

fn append(stream: &mut Stream, at: StreamId, pairs: &[(&[u8], &[u8])]) {
    stream.append(at, pairs);
}

/// A stream with groups, gaps and several nodes.
fn rich() -> Stream {
    let mut stream = Stream::default();
    for number in 0..1000u64 {
        let value = vec![b'v'; (number % 90) as usize];
        append(
            &mut stream,
            id(number / 3, number % 3 + 1),
            &[(b"name", &value)],
        );
    }
    for number in 100..180 {
        assert!(stream.delete(id(number, 2)));
    }
    let mut group = Group::new(id(5, 0), Some(7));
    for name in [&b"b"[..], b"a", b"c"] {
        assert!(group.add_consumer(name, 40));
    }
    for number in 0..600u64 {
        let consumer = group
            .slot([&b"a"[..], b"c"][(number % 2) as usize])
            .unwrap();
        group.note_active(consumer, 50);
        group.set_pending(
            id(number, 1),
            Pending {
                consumer,
                delivered_ms: -3,
                deliveries: number,
            },
        );
    }
    assert_eq!(group.remove_consumer(b"b"), Some(0));
    assert!(stream.add_group(b"g", group) && !stream.add_group(b"g", Group::new(id(0, 0), None)));
    assert!(stream.add_group(b"empty", Group::new(StreamId::MAX, None)));
    stream
}

#[test]
fn a_stream_is_restored_from_its_pieces_in_any_steps() {
    let stream = rich();
    stream.check_invariants();
    for step in [1, 2, 16, 10_000] {
        let again = restored(&pieces(&stream, step)).expect("a stream");
        again.check_invariants();
        assert_eq!(again, stream);
        assert_eq!(again.group(b"g").map(Group::pending_len), Some(600));
    }
    assert_eq!(
        restored(&pieces(&Stream::default(), 1)),
        Some(Stream::default())
    );
}

#[test]
fn pieces_that_nobody_wrote_make_no_stream() {
    let pieces = pieces(&rich(), 1);
    for at in 0..pieces.len() {
        let mut fewer = pieces.clone();
        fewer.remove(at);
        assert_eq!(restored(&fewer), None, "without piece {at}");
        let mut longer = pieces.clone();
        longer[at].push(0);
        assert_eq!(restored(&longer), None, "piece {at} with a byte more");
    }
    let mut swapped = pieces.clone();
    swapped.swap(1, 2);
    assert_eq!(restored(&swapped), None);
}

#[test]
fn a_consumer_that_goes_takes_what_it_had_along() {
    let mut stream = rich();
    let gone = stream.edit_group(b"g", |group, _| group.remove_consumer(b"a"));
    assert_eq!(gone, Some(Some(300)));
    stream.check_invariants();
    let group = stream.group(b"g").unwrap();
    assert_eq!((group.pending_len(), group.consumer_count()), (300, 1));
    assert!(stream.remove_group(b"g") && !stream.remove_group(b"g"));
    stream.check_invariants();
}

#[test]
fn an_entry_changes_hands() {
    let mut stream = rich();
    stream.edit_group(b"g", |group, _| {
        let owner = group.slot(b"c").unwrap();
        let held = group.pending(id(0, 1)).unwrap();
        assert_ne!(held.consumer, owner);
        group.set_pending(
            id(0, 1),
            Pending {
                consumer: owner,
                ..held
            },
        );
        assert_eq!(group.consumer(owner).pending_len(), 301);
        assert!(group.remove_pending(id(0, 1)) && !group.remove_pending(id(0, 1)));
        assert_eq!(group.consumer(owner).pending_len(), 300);
    });
    stream.check_invariants();
}

#[test]
fn going_back_behind_deleted_entries_leaves_a_stream_that_can_be_restored() {
    let mut stream = Stream::default();
    for ms in [10, 20] {
        append(&mut stream, id(ms, 0), &[(b"a", b"1")]);
    }
    assert!(stream.delete(id(20, 0)));
    stream.set_last_id(id(20, 0), None, Some(id(1, 0)));
    stream.set_last_id(id(10, 0), None, None);
    assert_eq!(restored(&pieces(&stream, 1)).as_ref(), Some(&stream));
    append(&mut stream, id(11, 0), &[(b"a", b"2")]);
    stream.check_invariants();
    // A node without entries.
    append(&mut stream, id(30, 0), &[(b"a", b"3")]);
    assert!(stream.delete(id(30, 0)));
    let from = Kept::From(id(12, 0));
    let trim = Trim {
        kept: from,
        whole_nodes: false,
        limit: 0,
    };
    assert_eq!(stream.trim(trim), 2);
    stream.set_last_id(id(30, 0), None, Some(id(1, 0)));
    stream.set_last_id(id(3, 0), None, None);
    append(&mut stream, id(4, 0), &[(b"a", b"4")]);
    stream.check_invariants();
    assert!(stream.has(id(4, 0)));
    assert_eq!(restored(&pieces(&stream, 1)), Some(stream));
}

#[test]
fn whole_nodes_are_removed_where_redis_would() {
    let mut stream = Stream::default();
    for number in 1..=1000 {
        append(&mut stream, id(number, 0), &[(b"a", b"1")]);
    }
    let trim = |kept, limit| Trim {
        kept,
        whole_nodes: true,
        limit,
    };
    assert_eq!(stream.tree_sizes().0, 10);
    assert_eq!(stream.trim(trim(Kept::Latest(950), 0)), 0);
    assert_eq!(stream.trim(trim(Kept::Latest(850), 0)), 100);
    assert_eq!(stream.trim(trim(Kept::Latest(0), 250)), 200);
    assert_eq!(stream.trim(trim(Kept::From(id(450, 0)), 0)), 100);
    assert_eq!((stream.len(), stream.first_id()), (600, id(401, 0)));
    stream.check_invariants();
}

#[derive(Clone, Debug)]
enum Step {
    Append(u64, u64, usize),
    Delete(u64),
    Trim(u64, bool, bool, u64),
    Share,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (0..3u64, 0..5u64, 0..400usize).prop_map(|(ms, seq, len)| Step::Append(ms, seq, len)),
        4 => (0..600u64).prop_map(Step::Delete),
        1 => (0..600u64, any::<bool>(), any::<bool>(), 0..300u64)
            .prop_map(|(at, latest, whole, limit)| Step::Trim(at, latest, whole, limit)),
        1 => Just(Step::Share),
    ]
}

/// What a trim of `stream` leaves of the model, if all of its limits are left out of account.
fn check_trim(stream: &mut Stream, model: &mut Model, trim: Trim) {
    let removed = stream.trim(trim);
    let wanted = match trim.kept {
        Kept::Latest(kept) => model.len().saturating_sub(kept as usize),
        Kept::From(id) => model.range(..id).count(),
    };
    if !trim.whole_nodes && trim.limit == 0 {
        assert_eq!(removed as usize, wanted);
    }
    assert!(removed as usize <= wanted);
    for _ in 0..removed {
        model.pop_first();
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(80))]
    #[test]
    fn a_stream_is_a_map_and_its_clones_stay_as_they_were(
        steps in prop::collection::vec(step(), 0..400),
        start in 0..300u64,
        end in 0..300u64,
    ) {
        let (mut stream, mut model) = (Stream::default(), Model::new());
        let mut shared: Option<(Stream, Model)> = None;
        for step in steps {
            match step {
                Step::Append(ms, seq, len) => {
                    let last = stream.last_id();
                    let at = id(last.ms + ms, if ms == 0 { last.seq + seq + 1 } else { seq });
                    let value = vec![b'x'; len];
                    let name = [&b"one"[..], b"two", b"3"][len % 3];
                    let pairs = [(name, &value[..]), (b"number", b"17")];
                    let pairs = &pairs[..1 + usize::from(len % 7 > 0)];
                    stream.append(at, pairs);
                    let owned = pairs.iter().map(|(name, value)| (name.to_vec(), value.to_vec()));
                    model.insert(at, owned.collect());
                }
                Step::Delete(at) => {
                    let near = model.keys().nth(at as usize).copied();
                    let at = near.unwrap_or(id(at, 1));
                    prop_assert_eq!(stream.delete(at), model.remove(&at).is_some());
                }
                Step::Trim(at, latest, whole_nodes, limit) => {
                    let kept = if latest { Kept::Latest(at) } else { Kept::From(id(at / 2, 1)) };
                    let limit = if whole_nodes { limit } else { 0 };
                    check_trim(&mut stream, &mut model, Trim { kept, whole_nodes, limit });
                }
                Step::Share => shared = Some((stream.clone(), model.clone())),
            }
        }
        for (stream, model) in shared.into_iter().chain([(stream, model)]) {
            stream.check_invariants();
            prop_assert_eq!(stream.len(), model.len());
            let all = |start, end| {
                let inside = model.iter().filter(move |(id, _)| (start..=end).contains(*id));
                inside.map(|(&id, fields)| (id, fields.clone())).collect::<Vec<_>>()
            };
            for (start, end) in [
                (StreamId::MIN, StreamId::MAX),
                (id(start, 2), id(end, 1)),
                (id(end, 0), id(start, 3)),
            ] {
                let forwards: Vec<_> = stream.range(start, end).map(copy).collect();
                let mut back: Vec<_> = stream.range_back(start, end).map(copy).collect();
                back.reverse();
                prop_assert_eq!(&forwards, &all(start, end));
                prop_assert_eq!(&back, &all(start, end));
            }
            let ends = (stream.first_id(), stream.top_id());
            let edge = |id: Option<&StreamId>| id.copied().unwrap_or_default();
            prop_assert_eq!(ends, (edge(model.keys().next()), edge(model.keys().last())));
            prop_assert_eq!(restored(&pieces(&stream, 16)), Some(stream));
        }
    }
}
