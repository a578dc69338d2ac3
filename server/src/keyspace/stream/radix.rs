//! How many nodes Redis's radix tree has, which XINFO STREAM tells.
//!
//! Redis keeps the nodes of a stream in a tree over the 16 bytes of their first IDs. Its nodes are
//! the ends of keys, the places where keys part, and the stretches above either, if they have bytes
//! besides the one that the parting above already holds.

use super::id::{ID_BYTES, StreamId};

/// Number of nodes of the tree over these keys, which rise.
pub(super) fn node_count(keys: impl Iterator<Item = StreamId>) -> usize {
    let mut path = Path::default();
    let mut before: Option<[u8; ID_BYTES]> = None;
    for key in keys.map(StreamId::to_bytes) {
        if let Some(before) = before {
            path.part(common_prefix(&before, &key));
        }
        // The end of the key.
        path.count += 1;
        before = Some(key);
    }
    match before {
        // The root alone.
        None => 1,
        Some(_) => path.finish(),
    }
}

/// The way to the last key.
#[derive(Default)]
struct Path {
    /// The depths at which it parts from other keys; they rise.
    partings: Vec<usize>,
    count: usize,
}

impl Path {
    /// The next key parts from the last one at this depth.
    fn part(&mut self, depth: usize) {
        let below = self.leave(|parting| parting > depth);
        if self.partings.last() != Some(&depth) {
            self.partings.push(depth);
            self.count += 1;
        }
        self.count += stretch(below - depth - 1);
    }

    fn finish(mut self) -> usize {
        let top = self.leave(|_| true);
        self.count + stretch(top)
    }

    /// Leaves the path upwards; the depth of the last thing that was left.
    fn leave(&mut self, is_left: impl Fn(usize) -> bool) -> usize {
        let mut below = ID_BYTES;
        while let Some(parting) = self.partings.pop_if(|parting| is_left(*parting)) {
            self.count += stretch(below - parting - 1);
            below = parting;
        }
        below
    }
}

/// Number of nodes for so many bytes in a row.
fn stretch(bytes: usize) -> usize {
    usize::from(bytes > 0)
}

fn common_prefix(one: &[u8; ID_BYTES], other: &[u8; ID_BYTES]) -> usize {
    let pairs = one.iter().zip(other);
    pairs.take_while(|(one, other)| one == other).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(ids: &[(u64, u64)]) -> usize {
        node_count(ids.iter().map(|&(ms, seq)| StreamId { ms, seq }))
    }

    #[test]
    fn nodes_are_counted_as_in_redis() {
        assert_eq!(count(&[]), 1);
        assert_eq!(count(&[(1, 1)]), 2);
        // A stretch of fifteen bytes, a parting, two ends.
        assert_eq!(count(&[(1, 1), (1, 2)]), 4);
        // Parting at the eighth byte, each with a stretch below it.
        assert_eq!(count(&[(1, 1), (2, 1)]), 6);
        assert_eq!(count(&[(1, 1), (1, 2), (2, 1)]), 8);
    }
}
