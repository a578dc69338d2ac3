//! Redis Cluster's slots, as far as prefixes can be told by them.
//!
//! A cluster client knows 16,384 slots and nothing of prefixes. A prefix that is written as a hash
//! tag, `{eu}`, is exactly one slot to it: all keys that begin with `{eu}` have the slot of `eu`,
//! so the slot belongs to the owner of the prefix. All other slots belong to the root group, which
//! has keys of other prefixes executed by their owners.
//!
//! Two tags can have the same slot. If their owners differ, the slot is that of the tag that comes
//! first in byte order, and the other tag's keys take a hop; [`collision`] tells whoever creates
//! the second.

use std::collections::BTreeMap;

use bailiwick_replication::GroupId;

/// The number of slots.
pub const SLOTS: u16 = 16_384;

/// The group that all slots belong to which are no tag's.
const ROOT: GroupId = GroupId(0);

/// The slot of a key: that of its hash tag if it has one.
#[must_use]
pub fn slot_of(key: &[u8]) -> u16 {
    crc16(tag_of(key).unwrap_or(key)) % SLOTS
}

/// The slot that a prefix occupies, if it is written as a hash tag and nothing else.
#[must_use]
pub fn slot_of_prefix(prefix: &[u8]) -> Option<u16> {
    let tag = tag_of(prefix)?;
    (tag.len() + 2 == prefix.len()).then(|| crc16(tag) % SLOTS)
}

/// Another prefix that occupies the same slot for another group, among these.
#[must_use]
pub fn collision<'p>(
    prefix: &[u8],
    group: GroupId,
    others: impl Iterator<Item = (&'p [u8], GroupId)>,
) -> Option<(&'p [u8], GroupId)> {
    let slot = slot_of_prefix(prefix)?;
    let mut others = others.filter(|(other, owner)| {
        *other != prefix && *owner != group && slot_of_prefix(other) == Some(slot)
    });
    others.next()
}

/// What stands between the first `{` and the first `}` behind it, unless that is nothing.
fn tag_of(key: &[u8]) -> Option<&[u8]> {
    let start = key.iter().position(|byte| *byte == b'{')? + 1;
    let len = key[start..].iter().position(|byte| *byte == b'}')?;
    (len > 0).then(|| &key[start..start + len])
}

/// CRC-16/XMODEM, bit by bit: tags are short.
fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc, byte| {
        (0..8).fold(crc ^ u16::from(*byte) << 8, |crc, _| {
            let is_odd = crc & 0x8000 != 0;
            (crc << 1) ^ if is_odd { 0x1021 } else { 0 }
        })
    })
}

/// Which group each slot belongs to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SlotMap {
    /// The slots that are tags', and whose; all others are the root group's.
    tags: BTreeMap<u16, GroupId>,
}

impl SlotMap {
    /// The map that follows from these prefixes, which must come in byte order. Those that are no
    /// hash tags are passed over.
    pub fn of<'p>(prefixes: impl Iterator<Item = (&'p [u8], GroupId)>) -> Self {
        let mut tags = BTreeMap::new();
        for (prefix, group) in prefixes {
            if let Some(slot) = slot_of_prefix(prefix) {
                tags.entry(slot).or_insert(group);
            }
        }
        Self { tags }
    }

    /// The group of a slot.
    #[must_use]
    pub fn group(&self, slot: u16) -> GroupId {
        self.tags.get(&slot).copied().unwrap_or(ROOT)
    }

    /// The groups that have slots, each with its ranges, both ends included, in ascending order.
    #[must_use]
    pub fn ranges(&self) -> BTreeMap<GroupId, Vec<(u16, u16)>> {
        let mut ranges: BTreeMap<GroupId, Vec<(u16, u16)>> = BTreeMap::new();
        let mut add = |group: GroupId, first: u16, last: u16| {
            let own = ranges.entry(group).or_default();
            match own.last_mut() {
                Some(before) if before.1 + 1 == first => before.1 = last,
                _ => own.push((first, last)),
            }
        };
        let mut next = 0;
        for (&slot, &group) in &self.tags {
            if slot > next {
                add(ROOT, next, slot - 1);
            }
            add(group, slot, slot);
            next = slot + 1;
        }
        if next < SLOTS {
            add(ROOT, next, SLOTS - 1);
        }
        ranges
    }

    /// Whether a group has a slot.
    #[must_use]
    pub fn has_slot(&self, group: GroupId) -> bool {
        group == ROOT && self.tags.len() < usize::from(SLOTS)
            || self.tags.values().any(|owner| *owner == group)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn map(prefixes: &[(&str, u32)]) -> SlotMap {
        SlotMap::of(prefixes.iter().map(|(p, g)| (p.as_bytes(), GroupId(*g))))
    }

    #[test]
    fn keys_have_the_slots_that_redis_gives_them() {
        assert_eq!(crc16(b"123456789"), 0x31c3);
        for (key, slot) in [
            ("a", 15495),
            ("foo", 12182),
            ("{foo}bar", 12182),
            ("x{foo}{a}", 12182),
            ("", 0),
        ] {
            assert_eq!(slot_of(key.as_bytes()), slot, "{key}");
        }
        // An empty tag is none, and an open one neither.
        assert_eq!(slot_of(b"{}foo"), crc16(b"{}foo") % SLOTS);
        assert_eq!(slot_of(b"{foo"), crc16(b"{foo") % SLOTS);
    }

    #[test]
    fn only_a_prefix_that_is_a_tag_and_nothing_else_has_a_slot() {
        assert_eq!(slot_of_prefix(b"{foo}"), Some(12182));
        for prefix in ["foo", "{foo}:", "x{foo}", "{}", "{}}", "{foo", ""] {
            assert_eq!(slot_of_prefix(prefix.as_bytes()), None, "{prefix}");
        }
        assert_eq!(slot_of_prefix(b"{{foo}"), Some(slot_of(b"{{foo}x")));
    }

    #[test]
    fn the_root_has_what_no_tag_has() {
        assert_eq!(map(&[]).ranges(), [(GroupId(0), vec![(0, 16383)])].into());
        let map = map(&[("eu:", 1), ("{a}", 2), ("{foo}", 1), ("{foo}x", 3)]);
        let expected = [
            (GroupId(0), vec![(0, 12181), (12183, 15494), (15496, 16383)]),
            (GroupId(1), vec![(12182, 12182)]),
            (GroupId(2), vec![(15495, 15495)]),
        ];
        assert_eq!(map.ranges(), expected.into());
        assert_eq!(
            [1, 2, 3].map(|id| map.has_slot(GroupId(id))),
            [true, true, false]
        );
    }

    /// Two tags with one slot, found by trying.
    fn twins() -> (String, String) {
        let mut seen = BTreeMap::new();
        for number in 0.. {
            let prefix = format!("{{t{number:05}}}");
            let slot = slot_of(prefix.as_bytes());
            if let Some(first) = seen.insert(slot, prefix.clone()) {
                return (first, prefix);
            }
        }
        unreachable!("there are more tags than slots")
    }

    #[test]
    fn of_two_tags_with_one_slot_the_first_has_it_and_the_second_is_told() {
        let (first, second) = twins();
        let map = map(&[(&first, 1), (&second, 2)]);
        assert_eq!(map.group(slot_of(first.as_bytes())), GroupId(1));
        let others = || [(first.as_bytes(), GroupId(1)), (&b"{zzz}"[..], GroupId(3))].into_iter();
        let found = collision(second.as_bytes(), GroupId(2), others());
        assert_eq!(found, Some((first.as_bytes(), GroupId(1))));
        assert_eq!(collision(second.as_bytes(), GroupId(1), others()), None);
        assert_eq!(collision(first.as_bytes(), GroupId(2), others()), None);
        assert_eq!(collision(b"eu:", GroupId(2), others()), None);
    }

    proptest! {
        #[test]
        fn every_slot_belongs_to_one_group_in_one_range(
            tags in prop::collection::btree_map("\\{[a-z]{1,2}\\}", 0_u32..5, 0..40),
        ) {
            let map = SlotMap::of(tags.iter().map(|(p, g)| (p.as_bytes(), GroupId(*g))));
            let mut owners = vec![None; SLOTS.into()];
            for (group, ranges) in map.ranges() {
                prop_assert!(ranges.windows(2).all(|pair| pair[0].1 + 1 < pair[1].0));
                prop_assert!(map.has_slot(group));
                for (first, last) in ranges {
                    for slot in first..=last {
                        prop_assert_eq!(owners[usize::from(slot)].replace(group), None);
                    }
                }
            }
            for (slot, owner) in owners.into_iter().enumerate() {
                prop_assert_eq!(owner, Some(map.group(slot as u16)));
            }
        }
    }
}
