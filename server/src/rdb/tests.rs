//! Values there and back, old encodings, and bytes that somebody has tampered with.

use proptest::prelude::*;

use super::input::Input;
use super::{RestoreError, Value, dump, kind, put_footer, read, restore, skip, stream};
use crate::keyspace::list::End;
use crate::keyspace::{
    Aggregate, Elements, Entry, Hash, List, Member, NewValue, Object, Set, SortedSet, Stamp,
    ValueRef,
};

const SEED: u64 = 42;

fn entry(value: NewValue<'_>) -> Entry {
    Entry::new(b"key", value, None, Stamp::default())
}

fn object(value: impl Aggregate) -> Entry {
    entry(NewValue::Object(value.into_object()))
}

fn list(elements: impl IntoIterator<Item = Vec<u8>>) -> Entry {
    let mut list = List::new();
    for element in elements {
        list.expect(element.len());
        list.push(End::Back, &element);
    }
    object(list)
}

fn set(members: impl IntoIterator<Item = Vec<u8>>) -> Entry {
    let mut set = Set::default();
    for member in members {
        set.add(Member::Bytes(&member), SEED);
    }
    object(set)
}

fn hash(pairs: impl IntoIterator<Item = (Vec<u8>, Vec<u8>)>) -> Entry {
    let mut hash = Hash::default();
    for (field, value) in pairs {
        hash.set(&field, &value, SEED);
    }
    object(hash)
}

fn sorted_set(members: impl IntoIterator<Item = (Vec<u8>, f64)>) -> Entry {
    let mut set = SortedSet::default();
    for (member, score) in members {
        set.set(&member, score, SEED);
    }
    object(set)
}

/// Values in every representation, with elements at the borders of every form.
fn samples() -> Vec<Entry> {
    let long = |len: usize| vec![b'x'; len];
    let words = |count: usize| (0..count).map(|number| format!("w{number}").into_bytes());
    let numbers = |count: usize| (0..count).map(|number| number.to_string().into_bytes());
    let odd = [
        0,
        1,
        127,
        128,
        -1,
        4095,
        4096,
        -4096,
        -4097,
        32_767,
        32_768,
        8_388_607,
        -8_388_609,
        i64::from(i32::MAX),
        i64::from(i32::MIN) - 1,
        i64::MAX,
        i64::MIN,
    ];
    let odd = move || {
        odd.map(|number| number.to_string().into_bytes())
            .into_iter()
    };
    let lens = [0, 1, 63, 64, 127, 128, 4095, 4096, 16_383, 16_384, 70_000];
    let mut samples: Vec<Entry> = lens.map(|len| entry(NewValue::String(&long(len)))).into();
    samples.extend(odd().map(|text| entry(NewValue::from_bytes(&text))));
    let raw = Object::String(b"12".to_vec());
    samples.push(entry(NewValue::Object(raw)));
    samples.push(list(odd().chain(lens.map(long))));
    samples.push(list(words(3)));
    samples.push(list(words(5000)));
    samples.push(set(odd()));
    samples.push(set(words(100).chain(odd())));
    samples.push(set(words(1000).chain(odd())));
    samples.push(set(numbers(2000)));
    samples.push(hash(words(5).zip(odd())));
    samples.push(hash(words(11).zip(lens.map(long))));
    samples.push(hash(words(2000).zip(numbers(2000))));
    let scores = [
        0.0,
        1.0,
        -1.0,
        0.1,
        1e300,
        -1e-300,
        f64::INFINITY,
        f64::NEG_INFINITY,
        4_503_599_627_370_496.0,
        9_007_199_254_740_993.0,
        1e17,
        3.5,
    ];
    samples.push(sorted_set(words(12).zip(scores)));
    samples.push(sorted_set(words(500).zip(scores.into_iter().cycle())));
    samples
}

fn restored(dump: &[u8]) -> Entry {
    match restore(dump, SEED).expect("a dump") {
        Value::String(bytes) => entry(NewValue::from_bytes(&bytes)),
        Value::Object(object) => entry(NewValue::Object(object)),
        Value::Stream(_) => panic!("no stream was dumped"),
    }
}

/// The elements, in an order that does not depend on the representation.
fn content(value: ValueRef<'_>) -> Vec<Vec<u8>> {
    let Some(elements) = value.elements() else {
        return vec![match value {
            ValueRef::Int(number) => number.to_string().into_bytes(),
            ValueRef::String(bytes) => bytes.to_vec(),
            ValueRef::Object(Object::String(bytes)) => bytes.clone(),
            ValueRef::Object(other) => panic!("{other:?} is no string"),
        }];
    };
    let mut parts = Vec::new();
    elements.visit(0, elements.len(), &mut |part| parts.push(part.to_vec()));
    parts
}

#[test]
fn every_value_comes_back_as_it_was() {
    for sample in samples() {
        let bytes = dump(&sample);
        let back = restored(&bytes);
        let (was, is) = (sample.value(), back.value());
        assert_eq!(was.type_name(), is.type_name());
        assert_eq!(content(was), content(is));
        if !matches!(was, ValueRef::Object(Object::String(_) | Object::Set(_))) {
            assert_eq!(was.encoding(), is.encoding(), "{was:?}");
        }
        let value = super::without_footer(&bytes).expect("a footer");
        let mut input = Input::new(&value[1..]);
        skip::skip_value(value[0], &mut input).expect("it can be skipped");
        assert!(input.is_empty());
    }
}

fn of_kind(kind: u8, value: &[u8]) -> Result<Value, RestoreError> {
    let mut dump = vec![kind];
    dump.extend_from_slice(value);
    put_footer(&mut dump);
    restore(&dump, SEED)
}

fn string(block: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    super::put_length(block.len() as u64, &mut out);
    out.extend_from_slice(block);
    out
}

fn shown(value: Result<Value, RestoreError>) -> String {
    match value {
        Ok(Value::Object(object)) => format!("{object:?}"),
        other => format!("{other:?}"),
    }
}

/// A ziplist with these bodies.
fn ziplist(bodies: &[&[u8]]) -> Vec<u8> {
    let (mut entries, mut before, mut last) = (Vec::new(), 0u8, 10);
    for body in bodies {
        last = 10 + entries.len();
        entries.push(before);
        entries.extend_from_slice(body);
        before = body.len() as u8 + 1;
    }
    let mut block = (entries.len() as u32 + 11).to_le_bytes().to_vec();
    block.extend_from_slice(&(last as u32).to_le_bytes());
    block.extend_from_slice(&(bodies.len() as u16).to_le_bytes());
    block.extend_from_slice(&entries);
    block.push(255);
    block
}

/// All forms of an entry of a ziplist, with what they stand for.
const ZIPLIST_FORMS: [(&[u8], &str); 10] = [
    (b"\x02ab", "ab"),
    (b"\x40\x01c", "c"),
    (b"\x80\0\0\0\x02de", "de"),
    (b"\xc0\xff\x7f", "32767"),
    (b"\xd0\xff\xff\xff\x7f", "2147483647"),
    (
        b"\xe0\xff\xff\xff\xff\xff\xff\xff\x7f",
        "9223372036854775807",
    ),
    (b"\xf0\xff\xff\x7f", "8388607"),
    (b"\xfe\x80", "-128"),
    (b"\xf1", "0"),
    (b"\xfd", "12"),
];

#[test]
fn what_old_versions_wrote_is_read() {
    let block = ziplist(&ZIPLIST_FORMS.map(|form| form.0));
    let texts: Vec<Vec<u8>> = ZIPLIST_FORMS.iter().map(|form| form.1.into()).collect();
    for (kind, value) in [
        (kind::LIST_ZIPLIST, string(&block)),
        (kind::LIST_QUICKLIST, [vec![1], string(&block)].concat()),
        (
            kind::LIST,
            [
                vec![10],
                texts.iter().flat_map(|text| string(text)).collect(),
            ]
            .concat(),
        ),
    ] {
        let list = restored(&{
            let mut dump = [vec![kind], value].concat();
            put_footer(&mut dump);
            dump
        });
        assert_eq!(content(list.value()), texts, "{kind}");
    }
    let Ok(Value::Object(Object::Hash(hash))) = of_kind(kind::HASH_ZIPLIST, &string(&block)) else {
        panic!("a hash")
    };
    assert_eq!((hash.get(b"de"), hash.len()), (Some(&b"32767"[..]), 5));

    let map = b"\x02\x01a\x02\x03bcxxx\xfe\x01\0\0\0d\0\0\xff";
    let Ok(Value::Object(Object::Hash(hash))) = of_kind(kind::HASH_ZIPMAP, &string(map)) else {
        panic!("a hash")
    };
    assert_eq!(
        (hash.get(b"a"), hash.get(b"d")),
        (Some(&b"bc"[..]), Some(&b""[..]))
    );

    let scores = ziplist(&[b"\x01a", b"\x031.5", b"\x01b", b"\xf3"]);
    let Ok(Value::Object(Object::SortedSet(set))) = of_kind(kind::ZSET_ZIPLIST, &string(&scores))
    else {
        panic!("a sorted set")
    };
    assert_eq!((set.score(b"a"), set.score(b"b")), (Some(1.5), Some(2.0)));

    let Ok(Value::Object(Object::SortedSet(set))) =
        of_kind(kind::ZSET, b"\x03\x01a\x0231\x01b\xfe\x01c\xff")
    else {
        panic!("a sorted set")
    };
    assert_eq!(
        (set.score(b"a"), set.score(b"b")),
        (Some(31.0), Some(f64::INFINITY))
    );
}

#[test]
fn the_representation_is_the_one_that_loading_in_redis_gives() {
    let encoding = |value| match value {
        Ok(Value::Object(object)) => object.elements().expect("elements").encoding(),
        other => panic!("{other:?}"),
    };
    // Numbers among which there was a string, in the form of Redis 7.2.
    let packed = b"\x0b\0\0\0\x02\0\x01\x01\x02\x01\xff";
    assert_eq!(
        encoding(of_kind(kind::SET_LISTPACK, &string(packed))),
        "listpack"
    );
    assert_eq!(encoding(of_kind(kind::SET, b"\x02\x011\x012")), "intset");
    assert_eq!(encoding(of_kind(kind::SET, b"\x02\x011\x01a")), "listpack");
    assert_eq!(encoding(of_kind(kind::HASH, b"\x01\x011\x01a")), "listpack");
    assert_eq!(encoding(of_kind(kind::ZSET, b"\x01\x01a\x011")), "listpack");
    // Two nodes stay two, as long as nobody removes anything.
    let node = string(b"\x0a\0\0\0\x01\0\x81a\x02\xff");
    let nodes = [&b"\x02\x02"[..], &node, &b"\x02"[..], &node].concat();
    assert_eq!(
        encoding(of_kind(kind::LIST_QUICKLIST_2, &nodes)),
        "quicklist"
    );
    let plain = b"\x02\x01\x01a\x01\x01b";
    let value = of_kind(kind::LIST_QUICKLIST_2, plain);
    assert!(shown(value).contains("Bytes"), "plain nodes are read");
}

#[test]
fn what_does_not_hold_is_refused() {
    let ziplist = ziplist(&[b"\x01a", b"\x01b"]);
    let with = |at: usize, byte: u8| {
        let mut block = ziplist.clone();
        block[at] = byte;
        string(&block)
    };
    let cases: Vec<(u8, Vec<u8>)> = vec![
        (kind::LIST, b"\0".to_vec()),
        (kind::LIST, b"\x02\x01a".to_vec()),
        (kind::LIST, b"\x81\xff\xff\xff\xff\xff\xff\xff\xff".to_vec()),
        (kind::SET, b"\x02\x01a\x01a".to_vec()),
        (kind::SET, b"\x02\x011\xc0\x01".to_vec()),
        (kind::HASH, b"\x02\x01a\x01b\x01a\x01c".to_vec()),
        (kind::ZSET, b"\x01\x01a\xfd".to_vec()),
        (kind::ZSET, b"\x02\x01a\x011\x01a\x012".to_vec()),
        (
            kind::ZSET_2,
            [b"\x01\x01a", &f64::NAN.to_le_bytes()[..]].concat(),
        ),
        (
            kind::SET_INTSET,
            string(b"\x02\0\0\0\x02\0\0\0\x01\0\x01\0"),
        ),
        (
            kind::SET_INTSET,
            string(b"\x02\0\0\0\x02\0\0\0\x02\0\x01\0"),
        ),
        (kind::SET_INTSET, string(b"\x03\0\0\0\x01\0\0\0\x02\0\x01")),
        (kind::SET_INTSET, string(b"\x02\0\0\0\x02\0\0\0\x01\0")),
        (kind::SET_INTSET, string(b"\x02\0\0\0\0\0\0\0")),
        (kind::LIST_ZIPLIST, with(0, 1)),
        (kind::LIST_ZIPLIST, with(4, 10)),
        (kind::LIST_ZIPLIST, with(8, 3)),
        (kind::LIST_ZIPLIST, with(13, 4)),
        (kind::LIST_ZIPLIST, with(14, 40)),
        (kind::LIST_ZIPLIST, with(16, 0)),
        (
            kind::HASH_LISTPACK,
            string(b"\x0a\0\0\0\x01\0\x81a\x02\xff"),
        ),
        (
            kind::HASH_LISTPACK,
            string(b"\x0a\0\0\0\x02\0\x81a\x02\xff"),
        ),
        (kind::SET_LISTPACK, string(b"\x0a\0\0\0\x01\0\x81a\x03\xff")),
        (kind::SET_LISTPACK, string(b"\x0a\0\0\0\x01\0\x81a\x02\xfe")),
        (kind::SET_LISTPACK, string(b"\x0a\0\0\0\x01\0\x8fa\x02\xff")),
        (kind::HASH_ZIPMAP, string(b"\x03\x01a\x01\0b\xff")),
        (kind::HASH_ZIPMAP, string(b"\x01\x01a\x01\x09b\xff")),
        (kind::LIST_QUICKLIST_2, b"\x01\x03\x01a".to_vec()),
        // A megabyte that would become a gigabyte.
        (kind::STRING, b"\xc3\x01\x80\x40\0\0\0\0".to_vec()),
        (kind::STRING, b"\x01ab".to_vec()),
        (kind::MODULE_2, b"\0".to_vec()),
        (8, b"\0".to_vec()),
        (22, b"\0".to_vec()),
        (255, Vec::new()),
    ];
    for (kind, value) in cases {
        let result = of_kind(kind, &value).map(|value| format!("{value:?}"));
        assert_eq!(result, Err(RestoreError::Value), "{kind}: {value:?}");
    }
}

#[test]
fn a_footer_that_is_not_ours_is_refused_first() {
    let mut good = dump(&entry(NewValue::String(b"value")));
    assert!(restore(&good, SEED).is_ok());
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 1;
        assert_eq!(restore(&bad, SEED).unwrap_err(), RestoreError::Footer);
        assert_eq!(
            restore(&good[..at], SEED).unwrap_err(),
            RestoreError::Footer
        );
    }
    let crc_at = good.len() - 8;
    good.truncate(crc_at - 2);
    good.extend_from_slice(&12u16.to_le_bytes());
    let crc = super::Crc::of(&good).to_le_bytes();
    good.extend_from_slice(&crc);
    assert_eq!(restore(&good, SEED).unwrap_err(), RestoreError::Footer);
}

fn sample_stream() -> stream::Stream {
    let fields = |names: &[&str]| {
        let field = |name: &&str| (name.as_bytes().into(), Box::from(&b"value"[..]));
        names.iter().map(field).collect()
    };
    let entry = |ms, seq, names: &[&str]| stream::Entry {
        id: (ms, seq),
        fields: fields(names),
    };
    let mut sample = stream::Stream {
        nodes: vec![
            vec![
                entry(1, 5, &["a", "b"]),
                entry(2, 0, &["a", "b"]),
                entry(2, 1, &["c"]),
            ],
            vec![entry(u64::MAX, 7, &["a"])],
        ],
        last_id: (u64::MAX, 9),
        max_deleted_id: (u64::MAX, 8),
        entries_added: 9,
        ..Default::default()
    };
    let mut group = stream::Group {
        last_id: (2, 1),
        entries_read: None,
        ..Default::default()
    };
    let consumer = stream::Consumer {
        seen_at_ms: 12,
        active_at_ms: Some(12),
    };
    group.consumers.insert(b"idle".to_vec(), consumer);
    group.consumers.insert(b"busy".to_vec(), consumer);
    let pending = stream::Pending {
        consumer: b"busy".to_vec(),
        delivered_at_ms: 11,
        deliveries: 3,
    };
    group.pending.insert((2, 1), pending);
    sample.groups.insert(b"group".to_vec(), group);
    sample
}

#[test]
fn a_stream_comes_back_as_it_was() {
    for sample in [sample_stream(), stream::Stream::default()] {
        let mut bytes = vec![kind::STREAM_2];
        stream::put(&sample, &mut bytes);
        let mut input = Input::new(&bytes);
        let Ok(Value::Stream(back)) = read::take_value(&mut input, SEED) else {
            panic!("a stream")
        };
        assert!(input.is_empty());
        assert_eq!(back, sample);
        let mut input = Input::new(&bytes[1..]);
        skip::skip_value(bytes[0], &mut input).expect("it can be skipped");
        assert!(input.is_empty());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    /// Bytes changed, lost or moved in what is otherwise a value: an answer, never a panic, and
    /// what is accepted can be dumped again.
    #[test]
    fn tampered_values_are_answered(
        sample in 0..samples().len() + 1,
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..3u8), 1..6),
    ) {
        let samples = samples();
        let mut bytes = match samples.get(sample) {
            Some(entry) => super::without_footer(&dump(entry)).unwrap().to_vec(),
            None => {
                let mut bytes = vec![kind::STREAM_2];
                stream::put(&sample_stream(), &mut bytes);
                bytes
            }
        };
        for (at, byte, how) in edits {
            // Near the front, where the lengths are, as often as anywhere.
            let len = if byte % 2 == 0 { bytes.len() } else { bytes.len().min(24) };
            if len == 0 {
                break;
            }
            let at = at.index(len);
            match how {
                0 => bytes[at] = byte,
                1 => bytes.truncate(at.max(1)),
                _ => bytes.insert(at, byte),
            }
        }
        let mut input = Input::new(bytes.get(1..).unwrap_or_default());
        let _ = skip::skip_value(bytes.first().copied().unwrap_or(0), &mut input);
        put_footer(&mut bytes);
        if let Ok(Value::Object(object)) = restore(&bytes, SEED) {
            let first = entry(NewValue::Object(object));
            let second = restored(&dump(&first));
            prop_assert_eq!(content(first.value()), content(second.value()));
        }
    }

    #[test]
    fn any_bytes_are_answered(kind in 0..22u8, bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = of_kind(kind, &bytes);
        let _ = super::file::take_item(&bytes);
    }
}

#[test]
fn what_the_first_version_does_not_say_of_a_group_is_estimated() {
    // As Redis 5 and 6 write it: two entries, and groups that have come to various places.
    let entry = |ms| stream::Entry {
        id: (ms, 0),
        fields: vec![(b"a"[..].into(), Box::from(&b"value"[..]))],
    };
    let sample = stream::Stream {
        nodes: vec![vec![entry(5), entry(6)]],
        last_id: (6, 0),
        entries_added: 2,
        ..Default::default()
    };
    let mut bytes = vec![kind::STREAM];
    stream::put(&sample, &mut bytes);
    // Without first id, highest deleted id, number of entries ever, and number of groups, of which
    // each number takes one byte.
    bytes.truncate(bytes.len() - 6);
    let groups = [("none", 0), ("first", 5), ("all", 6)];
    bytes.push(groups.len() as u8);
    for (name, last_ms) in groups {
        bytes.push(name.len() as u8);
        bytes.extend_from_slice(name.as_bytes());
        // The last id, nothing pending, no consumers.
        bytes.extend_from_slice(&[last_ms, 0, 0, 0]);
    }
    let Ok(Value::Stream(back)) = read::take_value(&mut Input::new(&bytes), SEED) else {
        panic!("a stream")
    };
    let read = groups.map(|(name, _)| back.groups[name.as_bytes()].entries_read);
    assert_eq!(read, [Some(0), Some(1), Some(2)]);
}
