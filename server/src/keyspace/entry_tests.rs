//! Entries give back what they hold, and sharing is never seen.

use super::super::value::INLINE_MAX_BYTES;
use super::*;

const STAMP: Stamp = Stamp {
    version: 7,
    access: 9,
};

#[test]
fn an_entry_gives_back_what_it_was_made_of() {
    for key_len in [0, 1, 15, 16, 17, 300] {
        let key = vec![b'k'; key_len];
        for expires in [None, Some(5), Some(-1)] {
            let number = Entry::new(&key, NewValue::Int(-3), expires, STAMP);
            assert_eq!(
                (number.key(), number.value()),
                (&key[..], ValueRef::Int(-3))
            );
            for value_len in [0, 1, 64, INLINE_MAX_BYTES, INLINE_MAX_BYTES + 1] {
                let bytes = vec![b'v'; value_len];
                let entry = Entry::new(&key, NewValue::String(&bytes), expires, STAMP);
                assert_eq!(entry.key(), key);
                assert_eq!(entry.expires_at_ms(), expires);
                assert_eq!((entry.version(), entry.access()), (7, 9));
                match entry.value() {
                    ValueRef::Object(Object::String(held)) => assert_eq!(*held, bytes),
                    inline => assert_eq!(inline, ValueRef::String(&bytes)),
                }
            }
        }
    }
}

#[test]
fn replacing_never_changes_a_clone() {
    let values: Vec<Vec<u8>> = [0, 1, 8, 15, 16, 40, 70_000].map(|n| vec![b'x'; n]).into();
    for first in &values {
        for second in &values {
            for expires in [None, Some(1)] {
                let mut entry = Entry::new(b"key", NewValue::String(first), None, STAMP);
                let clone = entry.clone();
                entry.replace(NewValue::String(second), expires, STAMP);
                assert_eq!(value_bytes(&clone), *first);
                assert_eq!(value_bytes(&entry), *second);
                drop(clone);
                entry.replace(NewValue::Int(4), None, STAMP);
                entry.replace(NewValue::String(first), expires, STAMP);
                assert_eq!(value_bytes(&entry), *first);
                assert_eq!(entry.expires_at_ms(), expires);
                assert_eq!(entry.key(), b"key");
            }
        }
    }
}

#[test]
fn an_object_is_copied_only_when_an_edit_finds_it_shared() {
    let mut entry = Entry::new(
        b"k",
        NewValue::Object(Object::String(b"abc".to_vec())),
        None,
        STAMP,
    );
    let copy = Entry::new(b"other", NewValue::Same(&entry), Some(3), STAMP);
    let clone = entry.clone();
    let Some(Object::String(bytes)) = entry.object_mut() else {
        panic!("an object")
    };
    bytes.push(b'd');
    assert_eq!(value_bytes(&entry), b"abcd");
    assert_eq!(value_bytes(&clone), b"abc");
    assert_eq!(value_bytes(&copy), b"abc");
    assert!(
        Entry::new(b"k", NewValue::Int(1), None, STAMP)
            .object_mut()
            .is_none()
    );
}

#[test]
fn a_small_string_is_one_block_of_the_smallest_size() {
    let entry = Entry::new(&[b'k'; 16], NewValue::String(&[b'v'; 8]), None, STAMP);
    assert_eq!(entry.memory_bytes(), 48);
}

fn value_bytes(entry: &Entry) -> Vec<u8> {
    match entry.value() {
        ValueRef::Int(number) => number.to_string().into_bytes(),
        ValueRef::String(bytes) => bytes.to_vec(),
        ValueRef::Object(Object::String(bytes)) => bytes.clone(),
        ValueRef::Object(other) => panic!("no string: {other:?}"),
    }
}
