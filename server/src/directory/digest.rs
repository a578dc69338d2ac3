//! [`DigestTree`]: sums over many numbers, by which two nodes find what one of them lacks.
//!
//! Each record adds its hash to the *leaf* that its topic's hash names, to the *branch* above it
//! and to the root. Two nodes whose roots are equal have the same records; otherwise they compare
//! branches, then leaves, and exchange what is in those that differ. A change costs three
//! additions.
//!
//! Sums are good against chance, not against an author who looks for records that cancel out: those
//! would only hide his own. Nothing here can fail.

/// How many branches the root has, and how many leaves a branch.
pub const FAN_OUT: usize = 256;

/// The digests under one node of the tree.
pub type Digests = [u64; FAN_OUT];

/// Sums in three levels. Invariant: a sum is that of the level below it.
#[derive(Debug)]
pub struct DigestTree {
    root: u64,
    branches: Box<Digests>,
    /// The leaves of each branch; `None` while nothing has been added there.
    leaves: Vec<Option<Box<Digests>>>,
}

impl Default for DigestTree {
    fn default() -> Self {
        let leaves = std::iter::repeat_with(|| None).take(FAN_OUT).collect();
        Self {
            root: 0,
            branches: Box::new([0; FAN_OUT]),
            leaves,
        }
    }
}

impl DigestTree {
    /// The leaf of a topic with this hash.
    pub fn leaf_of(topic_hash: u64) -> u16 {
        (topic_hash >> 48) as u16
    }

    /// Adds a number to a leaf. Adding [`u64::wrapping_neg`] of it takes it out again.
    pub fn add(&mut self, leaf: u16, number: u64) {
        let [branch, within] = leaf.to_be_bytes().map(usize::from);
        let leaves = self.leaves[branch].get_or_insert_with(|| Box::new([0; FAN_OUT]));
        for sum in [
            &mut self.root,
            &mut self.branches[branch],
            &mut leaves[within],
        ] {
            *sum = sum.wrapping_add(number);
        }
    }

    /// The sum of all.
    pub fn root(&self) -> u64 {
        self.root
    }

    /// The sums of the branches.
    pub fn branches(&self) -> &Digests {
        &self.branches
    }

    /// The sums of a branch's leaves.
    pub fn leaves(&self, branch: u8) -> &Digests {
        self.leaves[usize::from(branch)]
            .as_deref()
            .unwrap_or(&[0; FAN_OUT])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_level_is_the_sum_of_the_one_below() {
        let mut tree = DigestTree::default();
        for n in 0..5_000u64 {
            let hash = n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
            tree.add(DigestTree::leaf_of(hash), hash | 1);
        }
        let sum = |digests: &Digests| digests.iter().fold(0u64, |a, b| a.wrapping_add(*b));
        assert_eq!(sum(tree.branches()), tree.root());
        for branch in 0..=255u8 {
            assert_eq!(
                sum(tree.leaves(branch)),
                tree.branches()[usize::from(branch)]
            );
        }
    }

    #[test]
    fn what_was_taken_out_leaves_no_trace() {
        let mut tree = DigestTree::default();
        tree.add(0x0102, 77);
        tree.add(0x0102, 77u64.wrapping_neg());
        assert_eq!(tree.root(), 0);
        assert_eq!(tree.leaves(1)[2], 0);
    }
}
