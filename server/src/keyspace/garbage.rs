//! What has left the keyspace and takes long to release.
//!
//! Freeing a table or a large value means a walk over all its memory. Whoever applies the log must
//! not wait for that, so the keyspace hands such things over, to be dropped on a thread that has
//! time.

use super::{Entry, Table};

/// Something to be dropped, nothing more.
pub enum Garbage {
    /// A database that was cleared.
    Table(Table),
    /// A key that was removed or replaced, with a large value.
    Entry(Entry),
}

#[cfg(test)]
mod tests {
    use super::super::{
        AccessClock, Aggregate, Edit, Expiry, Keyspace, Member, NewValue, Object, Set,
    };

    fn set(members: u32) -> Object {
        let mut set = Set::default();
        for number in 0..members {
            set.add(Member::Bytes(&number.to_le_bytes()), 7);
        }
        set.into_object()
    }

    fn keyspace_with(members: u32, expiry: Expiry) -> Keyspace {
        let mut keyspace = Keyspace::new(2, 7);
        keyspace.set(0, b"key", NewValue::Object(set(members)), expiry, 0);
        keyspace
    }

    #[test]
    fn what_is_large_is_handed_over_however_it_goes() {
        let ways: [fn(&mut Keyspace); 5] = [
            |keyspace| drop(keyspace.remove(0, b"key")),
            |keyspace| keyspace.set(0, b"key", NewValue::Int(1), Expiry::None, 0),
            |keyspace| assert_eq!(keyspace.remove_expired(10, 9, |_, _| {}), 1),
            |keyspace| assert!(keyspace.remove_if_expired(0, b"key", 10)),
            |keyspace| keyspace.clear(0),
        ];
        for way in ways {
            let mut keyspace = keyspace_with(5000, Expiry::At(5));
            way(&mut keyspace);
            assert_eq!(keyspace.take_garbage().len(), 1);
            assert_eq!(keyspace.take_garbage().len(), 0);
        }
        for way in &ways[..4] {
            let mut keyspace = keyspace_with(100, Expiry::At(5));
            way(&mut keyspace);
            assert_eq!(keyspace.take_garbage().len(), 0, "small");
        }
    }

    #[test]
    fn what_moves_or_is_edited_is_no_garbage() {
        let mut keyspace = keyspace_with(5000, Expiry::None);
        let entry = keyspace.take(0, b"key").expect("it is there");
        keyspace.put(1, b"other", &entry, 0);
        drop(entry);
        let before = keyspace.memory_bytes();
        let clock = AccessClock::default();
        let edit = keyspace.edit(
            1,
            b"other",
            &clock,
            |_| true,
            |object| {
                let set = Set::of_mut(object).expect("a set");
                (set.remove(Member::Bytes(&7u32.to_le_bytes())), true)
            },
        );
        assert_eq!(edit, Edit::Done(true));
        assert!(keyspace.memory_bytes() <= before);
        assert!(keyspace.take_garbage().is_empty());
        keyspace
            .all_tables()
            .for_each(|(.., table)| table.check_invariants());
    }
}
