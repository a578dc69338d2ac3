//! Choosing elements at random, for HRANDFIELD, SRANDMEMBER, SPOP and their like.
//!
//! Where the random numbers come from is the caller's business: reads take the node's, writes those
//! that the log entry seeds. Every element has exactly the same chance.

use std::collections::BTreeSet;

use super::CommandError;
use super::parse::integer;

/// With repetitions, a client can ask for any number of elements, however few there are. More than
/// this are refused, for the reply is built in memory.
const REPEATED_MAX: u64 = 1 << 24;

/// How many elements a client asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    /// So many different ones, or all if there are fewer.
    Different(usize),
    /// So many, each chosen among all.
    Repeated(usize),
}

impl Wanted {
    /// Reads a count, which is negative where elements may repeat.
    pub(super) fn parse(arg: &[u8]) -> Result<Self, CommandError> {
        const TOO_LOW: CommandError = CommandError::text(
            "ERR value is out of range, value must between -9223372036854775807 and \
             9223372036854775807",
        );
        match integer(arg)? {
            i64::MIN => Err(TOO_LOW),
            count @ ..0 => match count.unsigned_abs() {
                count @ ..=REPEATED_MAX => Ok(Self::Repeated(count as usize)),
                _ => Err(CommandError::text("ERR value is out of range")),
            },
            count => Ok(Self::Different(
                usize::try_from(count).unwrap_or(usize::MAX),
            )),
        }
    }
}

/// A number below `len`, which must not be 0, from a random one.
pub(super) fn below(random: u64, len: usize) -> usize {
    ((u128::from(random) * len as u128) >> 64) as usize
}

/// `count` different numbers below `len`, ascending; all of them if there are not more.
pub(super) fn different(count: usize, len: usize, mut random: impl FnMut() -> u64) -> Vec<usize> {
    if count >= len {
        return (0..len).collect();
    }
    // Robert Floyd's method: one draw for each number, whatever the proportion.
    let mut chosen = BTreeSet::new();
    for last in len - count..len {
        let drawn = below(random(), last + 1);
        if !chosen.insert(drawn) {
            chosen.insert(last);
        }
    }
    chosen.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sequence() -> impl FnMut() -> u64 {
        let mut state = 1u64;
        move || {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            state ^ (state >> 29)
        }
    }

    #[test]
    fn every_element_has_the_same_chance() {
        let (mut random, mut times) = (sequence(), [0; 10]);
        for _ in 0..10_000 {
            let chosen = different(3, 10, &mut random);
            assert_eq!(chosen.len(), 3);
            assert!(chosen.is_sorted_by(|one, next| one < next));
            chosen.into_iter().for_each(|number| times[number] += 1);
        }
        assert!(
            times.iter().all(|times| (2700..3300).contains(times)),
            "{times:?}"
        );
        assert_eq!(different(10, 3, &mut random), [0, 1, 2]);
        assert_eq!(different(0, 3, &mut random), [0; 0]);
    }

    #[test]
    fn counts_are_read_as_redis_reads_them() {
        assert_eq!(Wanted::parse(b"3"), Ok(Wanted::Different(3)));
        assert_eq!(Wanted::parse(b"-3"), Ok(Wanted::Repeated(3)));
        assert_eq!(Wanted::parse(b"x"), Err(CommandError::NotInteger));
        assert!(Wanted::parse(b"-9223372036854775808").is_err());
        assert!(Wanted::parse(b"-9223372036854775807").is_err());
    }
}
