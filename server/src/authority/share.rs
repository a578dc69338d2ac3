//! What a group says of itself when it is asked for its part of a listing.
//!
//! A listing over several groups is complete if each prefix was listed by the group that serves it,
//! and by no other. No single node knows that for certain: a directory can be out of date. But what
//! the groups say is enough. Every prefix was handed out by the owner of its parent, which knows at
//! which epoch and to whom; so the parts fit together exactly when each group serves what the
//! others say it does. Both sides are digests, so what is compared does not grow with the number of
//! prefixes.
//!
//! A listing is about the keys with a certain beginning, its *head*. Who serves the head itself is
//! asked by name ([`Head`]); everything below is prefixes that begin with the head and are longer.
//!
//! Not done here: comparing the shares of several groups (`routing::listing`).

use bailiwick_replication::GroupId;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::{Authority, Phase, Place};
use crate::state::{DecodeError, Reader, put_bytes, put_varint};

/// Whether a group serves the head of a listing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Head {
    /// It does.
    Here,
    /// It is being moved.
    Held,
    /// It does not.
    Gone {
        /// Who does, as far as is known.
        group: Option<GroupId>,
    },
}

/// What a group serves and has handed out, below a head.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Share {
    /// Whether the head is served here.
    pub head: Head,
    /// What is served, each prefix at its epoch: a wrapping sum of hashes of the two. What is
    /// frozen is not served.
    pub served: u64,
    /// What was handed out, to each group: the same sums, by group. The group itself can be among
    /// them.
    pub claims: Vec<(GroupId, u64)>,
    /// A prefix that is frozen at this moment, the head's included, if there is one. Its keys are
    /// among what the group lists, so a listing must not be composed of such a share.
    pub frozen: Option<Vec<u8>>,
}

impl Share {
    /// What this group has to say about keys that begin with `head`.
    #[must_use]
    pub fn of(authority: &Authority, head: &[u8]) -> Self {
        let mut share = Self {
            head: Head::Here,
            served: 0,
            claims: Vec::new(),
            frozen: None,
        };
        match authority.place(head) {
            Place::Here => {}
            Place::Held { prefix } => {
                share.head = Head::Held;
                share.frozen = Some(prefix.to_vec());
            }
            Place::Gone { group, .. } => share.head = Head::Gone { group },
        }
        let below = authority.domains.under(head);
        for (prefix, domain) in below.filter(|(prefix, _)| prefix.len() > head.len()) {
            match domain.owned {
                Some(owned) if matches!(owned.phase, Phase::Frozen { .. }) => {
                    share.frozen.get_or_insert_with(|| prefix.to_vec());
                }
                Some(owned) => {
                    share.served = share.served.wrapping_add(served_hash(prefix, owned.epoch));
                }
                None => {}
            }
            if let Some(delegated) = domain.delegated {
                share.claim(delegated.group, served_hash(prefix, delegated.epoch));
            }
        }
        share
    }

    fn claim(&mut self, group: GroupId, hash: u64) {
        match self.claims.binary_search_by_key(&group, |claim| claim.0) {
            Ok(at) => self.claims[at].1 = self.claims[at].1.wrapping_add(hash),
            Err(at) => self.claims.insert(at, (group, hash)),
        }
    }

    /// Writes it for the node that asks.
    pub fn put(&self, out: &mut Vec<u8>) {
        let head = match self.head {
            Head::Here => 0,
            Head::Held => 1,
            Head::Gone { group: None } => 2,
            Head::Gone { group: Some(group) } => 3 + u64::from(group.0),
        };
        put_varint(out, head);
        out.extend_from_slice(&self.served.to_le_bytes());
        put_varint(out, self.claims.len() as u64);
        for (group, digest) in &self.claims {
            put_varint(out, u64::from(group.0));
            out.extend_from_slice(&digest.to_le_bytes());
        }
        // No prefix that moves is empty, so an empty one says that there is none.
        put_bytes(out, self.frozen.as_deref().unwrap_or_default());
    }

    /// Reads what [`Share::put`] wrote; what follows is left.
    ///
    /// # Errors
    /// It is nothing that this wrote.
    pub(crate) fn take(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let head = match reader.varint()? {
            0 => Head::Here,
            1 => Head::Held,
            2 => Head::Gone { group: None },
            number => Head::Gone {
                group: Some(group_id(number - 3, reader)?),
            },
        };
        let served = u64::from_le_bytes(reader.array()?);
        let mut claims: Vec<(GroupId, u64)> = Vec::new();
        for _ in 0..reader.length()? {
            let number = reader.varint()?;
            let group = group_id(number, reader)?;
            if claims.last().is_some_and(|(last, _)| *last >= group) {
                return Err(DecodeError::Malformed(reader.at()));
            }
            claims.push((group, u64::from_le_bytes(reader.array()?)));
        }
        let frozen = reader.string()?;
        Ok(Self {
            head,
            served,
            claims,
            frozen: (!frozen.is_empty()).then(|| frozen.to_vec()),
        })
    }
}

/// What a prefix at an epoch adds to the sums of a [`Share`].
pub(crate) fn served_hash(prefix: &[u8], epoch: u64) -> u64 {
    xxh3_64_with_seed(prefix, epoch)
}

fn group_id(number: u64, reader: &Reader<'_>) -> Result<GroupId, DecodeError> {
    let number = u32::try_from(number);
    number
        .map(GroupId)
        .map_err(|_| DecodeError::Malformed(reader.at()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn heads() -> impl Strategy<Value = Head> {
        prop_oneof![
            Just(Head::Here),
            Just(Head::Held),
            prop::option::of(any::<u32>()).prop_map(|group| Head::Gone {
                group: group.map(GroupId)
            }),
        ]
    }

    prop_compose! {
        fn shares()(
            head in heads(),
            served in any::<u64>(),
            claims in prop::collection::btree_map(any::<u32>(), any::<u64>(), 0..5),
            frozen in prop::option::of(prop::collection::vec(any::<u8>(), 1..5)),
        ) -> Share {
            let claims = claims.into_iter().map(|(group, digest)| (GroupId(group), digest));
            Share { head, served, claims: claims.collect(), frozen }
        }
    }

    proptest! {
        #[test]
        fn a_share_survives_the_way_to_another_node(share in shares(), cut in any::<usize>()) {
            let mut bytes = Vec::new();
            share.put(&mut bytes);
            let mut reader = Reader::new(&bytes);
            prop_assert_eq!(Share::take(&mut reader), Ok(share));
            prop_assert!(reader.is_done());
            let cut = cut % bytes.len();
            prop_assert!(Share::take(&mut Reader::new(&bytes[..cut])).is_err());
        }

        #[test]
        fn no_bytes_make_the_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            let _ = Share::take(&mut Reader::new(&bytes));
        }
    }

    #[test]
    fn the_root_serves_the_head_of_everything() {
        let root = Share::of(&Authority::new(GroupId(0)), b"");
        assert_eq!(
            (root.head, root.served, root.claims.len()),
            (Head::Here, 0, 0)
        );
        let other = Share::of(&Authority::new(GroupId(7)), b"eu:");
        assert_eq!(other.head, Head::Gone { group: None });
    }
}
