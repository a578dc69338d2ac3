//! Byte strings one behind the other in one allocation, each after its length.
//!
//! The length is a LEB128 number, so a short string costs one byte more than its own. [`Packed`] is
//! what small values of several elements are; parts of elements stand in the same form in
//! checkpoints and in the leaves of large values. Looking for a string means to pass over those
//! before it, so this is for some hundred strings at most.

/// Bytes before the first string of a [`Packed`]: how many there are.
const COUNT_BYTES: usize = 2;

/// Strings in the order in which they were added. An empty one owns no memory.
///
/// Invariant: `bytes` is empty, or the number of strings (u16, little-endian) and the strings.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Packed {
    bytes: Vec<u8>,
}

/// Where a string of a [`Packed`] begins. Good until the next change before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place(usize);

impl Packed {
    /// Number of strings.
    pub(super) fn len(&self) -> usize {
        match self.bytes[..] {
            [low, high, ..] => usize::from(u16::from_le_bytes([low, high])),
            _ => 0,
        }
    }

    /// Bytes of memory behind this value's pointer.
    pub(super) fn heap_bytes(&self) -> usize {
        self.bytes.capacity()
    }

    /// All strings.
    pub(super) fn iter(&self) -> Strings<'_> {
        Strings {
            rest: self.bytes.get(COUNT_BYTES..).unwrap_or_default(),
        }
    }

    /// Looks for `wanted` among the first, and each `step`-th behind it.
    pub(super) fn find(&self, wanted: &[u8], step: usize) -> Option<Place> {
        let mut rest = self.bytes.get(COUNT_BYTES..)?;
        loop {
            let at = self.bytes.len() - rest.len();
            if take(&mut rest)? == wanted {
                return Some(Place(at));
            }
            for _ in 1..step {
                take(&mut rest);
            }
        }
    }

    /// The string at `place`.
    pub(super) fn at(&self, place: Place) -> &[u8] {
        let mut rest = &self.bytes[place.0..];
        take(&mut rest).expect("a place is that of a string")
    }

    /// The string behind the one at `place`, which must not be the last.
    pub(super) fn behind(&self, place: Place) -> Place {
        Place(place.0 + size_bytes(self.at(place).len()))
    }

    /// Adds a string at the end.
    pub(super) fn push(&mut self, string: &[u8]) {
        if self.bytes.is_empty() {
            reserve(&mut self.bytes, COUNT_BYTES + size_bytes(string.len()));
            self.bytes.extend_from_slice(&[0; COUNT_BYTES]);
        }
        reserve(&mut self.bytes, size_bytes(string.len()));
        put(&mut self.bytes, string);
        self.set_len(self.len() + 1);
    }

    /// Replaces the string at `place`.
    pub(super) fn replace(&mut self, place: Place, string: &[u8]) {
        let old = size_bytes(self.at(place).len());
        let new = size_bytes(string.len());
        self.resize(place.0 + old, old, new);
        let room = &mut self.bytes[place.0..place.0 + new];
        let at = write_len(room, string.len());
        room[at..].copy_from_slice(string);
        shrink(&mut self.bytes);
    }

    /// Removes `count` strings, from the one at `place` on.
    pub(super) fn remove(&mut self, place: Place, count: usize) {
        let mut rest = &self.bytes[place.0..];
        for _ in 0..count {
            take(&mut rest).expect("there are as many strings");
        }
        let end = self.bytes.len() - rest.len();
        self.resize(end, end - place.0, 0);
        self.set_len(self.len() - count);
        shrink(&mut self.bytes);
    }

    /// Moves what stands behind `end`, so that there are `new` bytes before it where there were
    /// `old`.
    fn resize(&mut self, end: usize, old: usize, new: usize) {
        let len = self.bytes.len();
        if new > old {
            reserve(&mut self.bytes, new - old);
            self.bytes.resize(len + new - old, 0);
        }
        self.bytes.copy_within(end..len, end - old + new);
        self.bytes.truncate(len - old + new);
    }

    fn set_len(&mut self, len: usize) {
        let len = u16::try_from(len).expect("whoever packs strings packs few");
        self.bytes[..COUNT_BYTES].copy_from_slice(&len.to_le_bytes());
    }
}

/// The strings of a [`Packed`] in order.
#[derive(Clone)]
pub(super) struct Strings<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Strings<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        take(&mut self.rest)
    }
}

/// Appends `part`.
pub(super) fn put(out: &mut Vec<u8>, part: &[u8]) {
    let mut len = part.len();
    while len >= 0x80 {
        out.push(len as u8 | 0x80);
        len >>= 7;
    }
    out.push(len as u8);
    out.extend_from_slice(part);
}

/// Takes the first string off `rest`; `None`, and nothing taken, if there is no whole one.
#[inline]
pub(super) fn take<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (&first, after) = rest.split_first()?;
    let (len, after) = match first {
        0x80.. => take_long(first, after)?,
        _ => (usize::from(first), after),
    };
    let (part, after) = after.split_at_checked(len)?;
    *rest = after;
    Some(part)
}

/// The rest of a length of more than one byte.
#[cold]
fn take_long(first: u8, mut after: &[u8]) -> Option<(usize, &[u8])> {
    let mut len = usize::from(first & 0x7f);
    for shift in (7..63).step_by(7) {
        let (&byte, behind) = after.split_first()?;
        after = behind;
        len |= usize::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some((len, after));
        }
    }
    None
}

/// Writes a length to the start of `room` and returns how many bytes it took.
pub(super) fn write_len(room: &mut [u8], mut len: usize) -> usize {
    let mut at = 0;
    while len >= 0x80 {
        room[at] = len as u8 | 0x80;
        len >>= 7;
        at += 1;
    }
    room[at] = len as u8;
    at + 1
}

/// Bytes that [`put`] writes for a string of `len` bytes.
#[must_use]
pub(super) fn size_bytes(len: usize) -> usize {
    len + (usize::BITS - (len | 1).leading_zeros()).div_ceil(7) as usize
}

/// Makes room for `more` bytes without the slack that a doubling vector has: small values are many,
/// and at most an eighth of what one takes may be unused.
pub(super) fn reserve(bytes: &mut Vec<u8>, more: usize) {
    let needed = bytes.len() + more;
    if needed > bytes.capacity() {
        bytes.reserve_exact(rounded(needed) - bytes.len());
    }
}

/// Gives back what [`reserve`] would not have taken.
pub(super) fn shrink(bytes: &mut Vec<u8>) {
    let wanted = rounded(bytes.len());
    // Not at once, so that coming and going at a border does not copy each time.
    if bytes.capacity() > wanted + wanted / 4 {
        bytes.shrink_to(wanted);
    }
}

/// The next size in steps of an eighth to a sixteenth, as allocators have them.
fn rounded(len: usize) -> usize {
    len.next_multiple_of((len.next_power_of_two() / 16).max(16))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn strings_are_taken_as_they_were_put() {
        let lens = [0, 1, 127, 128, 16_383, 16_384, 2_097_152];
        let mut bytes = Vec::new();
        for len in lens {
            let before = bytes.len();
            put(&mut bytes, &vec![7; len]);
            assert_eq!(bytes.len() - before, size_bytes(len));
        }
        let mut rest = &bytes[..];
        for len in lens {
            assert_eq!(take(&mut rest).map(<[u8]>::len), Some(len));
        }
        assert!(rest.is_empty());
    }

    proptest! {
        #[test]
        fn packed_strings_are_a_list(
            steps in prop::collection::vec((0..4u8, any::<u8>(), prop_oneof![0..20usize, 100..300usize]), 0..80),
        ) {
            let (mut packed, mut model) = (Packed::default(), Vec::<Vec<u8>>::new());
            for (step, byte, len) in steps {
                let string = vec![byte % 4; len];
                let found = packed.find(&string, 1);
                let at = model.iter().position(|held| *held == string);
                prop_assert_eq!(found.is_some(), at.is_some());
                match (step, found, at) {
                    (0, Some(place), Some(at)) => {
                        packed.remove(place, 1);
                        model.remove(at);
                    }
                    (1, Some(place), Some(at)) => {
                        prop_assert_eq!(packed.at(place), &model[at][..]);
                        packed.replace(place, &[byte; 150]);
                        model[at] = vec![byte; 150];
                    }
                    _ => {
                        packed.push(&string);
                        model.push(string);
                    }
                }
                prop_assert_eq!(packed.len(), model.len());
                prop_assert!(packed.iter().eq(model.iter().map(|held| &held[..])));
            }
        }
    }

    #[test]
    fn only_every_second_string_is_looked_at_where_strings_are_pairs() {
        let mut packed = Packed::default();
        for string in ["a", "b", "b", "c"] {
            packed.push(string.as_bytes());
        }
        let place = packed.find(b"b", 2).expect("the third");
        assert_eq!(packed.at(packed.behind(place)), b"c");
        assert_eq!(packed.find(b"c", 2), None);
        packed.remove(place, 2);
        assert_eq!(packed.iter().collect::<Vec<_>>(), [b"a", b"b"]);
    }

    #[test]
    fn no_bytes_lead_beyond_the_end() {
        for bytes in [&[][..], &[0x80], &[1], &[0xff; 12], &[0x81, 0, 1][..1]] {
            let mut rest = bytes;
            assert_eq!(take(&mut rest), None);
            assert_eq!(rest, bytes);
        }
    }

    #[test]
    fn little_room_is_left_unused() {
        let mut bytes = Vec::new();
        for _ in 0..5000 {
            reserve(&mut bytes, 1);
            bytes.push(0);
            assert!(bytes.capacity() <= bytes.len() + (bytes.len() / 8).max(16));
        }
        while bytes.pop().is_some() {
            shrink(&mut bytes);
            assert!(
                bytes.capacity() <= bytes.len() * 3 / 2 + 24,
                "{}",
                bytes.len()
            );
        }
    }
}
