//! Chooses the keys that give way when memory is short.
//!
//! As in Redis, an approximation: of a few random keys the best candidate goes, again and again
//! until there is room. The choice is made once, by the node that leads, and is written to the log
//! as removals by name, so replicas need not agree on access times or chance.

use super::tuning::{Eviction, Tuning};
use crate::keyspace::{AccessClock, Entry, Keyspace, Sampler};

/// The most keys that one log entry evicts; what is still missing then is refused for the moment.
const MAX_VICTIMS: usize = 4096;

/// Tries to find a key in a database before the next one gets its turn.
const MAX_MISSES: usize = 64;

/// A key to be removed.
pub struct Victim {
    /// Its database.
    pub database: usize,
    /// The key.
    pub key: Vec<u8>,
}

/// What must go so that the keyspace fits again.
#[derive(Default)]
pub struct Room {
    /// Keys to remove first.
    pub victims: Vec<Victim>,
    /// Whether the keyspace will still be too large afterwards.
    pub short: bool,
}

/// Finds victims until the keyspace is within the limit.
pub fn make_room(
    keyspace: &Keyspace,
    tuning: &Tuning,
    clock: &AccessClock,
    mut random: impl FnMut() -> u64,
) -> Room {
    let limit = usize::try_from(tuning.max_memory_bytes).unwrap_or(usize::MAX);
    let mut excess = keyspace.memory_bytes().saturating_sub(limit);
    let mut room = Room {
        victims: Vec::new(),
        short: excess > 0,
    };
    if tuning.eviction == Eviction::None || excess == 0 {
        return room;
    }
    let databases = 0..keyspace.databases();
    let samplers: Vec<Sampler<'_>> = databases
        .map(|database| keyspace.sampler(database))
        .collect();
    while excess > 0 && room.victims.len() < MAX_VICTIMS {
        let Some((database, entry)) = choose(&samplers, tuning, clock, &room, &mut random) else {
            break;
        };
        excess = excess.saturating_sub(entry.memory_bytes());
        room.victims.push(Victim {
            database,
            key: entry.key().to_vec(),
        });
    }
    room.short = excess > 0;
    room
}

fn choose<'a>(
    samplers: &[Sampler<'a>],
    tuning: &Tuning,
    clock: &AccessClock,
    room: &Room,
    random: &mut impl FnMut() -> u64,
) -> Option<(usize, &'a Entry)> {
    let mut best: Option<(u64, usize, &Entry)> = None;
    for (database, sampler) in samplers.iter().enumerate() {
        let mut wanted = tuning.eviction_samples.max(1);
        for _ in 0..MAX_MISSES {
            if wanted == 0 {
                break;
            }
            let Some(entry) = sampler.random(random()) else {
                break;
            };
            let Some(score) = score(entry, tuning.eviction, clock) else {
                continue;
            };
            wanted -= 1;
            let taken = |victim: &super::eviction::Victim| {
                victim.database == database && victim.key == entry.key()
            };
            // Recent victims are the likely repetitions in a small table; a longer look back
            // would make a large eviction quadratic.
            if room.victims.iter().rev().take(64).any(taken) {
                continue;
            }
            if best.is_none_or(|(highest, ..)| score > highest) {
                best = Some((score, database, entry));
            }
        }
    }
    best.map(|(_, database, entry)| (database, entry))
}

/// How gladly the entry is given up; `None` if the policy protects it.
fn score(entry: &Entry, eviction: Eviction, clock: &AccessClock) -> Option<u64> {
    let expires_at_ms = entry.expires_at_ms();
    let only_volatile = match eviction {
        Eviction::None => return None,
        Eviction::LeastRecent { volatile }
        | Eviction::LeastFrequent { volatile }
        | Eviction::Random { volatile } => volatile,
        Eviction::NearestExpiry => true,
    };
    if only_volatile && expires_at_ms.is_none() {
        return None;
    }
    Some(match eviction {
        Eviction::LeastRecent { .. } => u64::from(clock.idle_s(entry)),
        Eviction::LeastFrequent { .. } => 255 - u64::from(clock.frequency(entry)),
        Eviction::NearestExpiry => u64::MAX - expires_at_ms.unwrap_or(i64::MAX).max(0) as u64,
        Eviction::None | Eviction::Random { .. } => 0,
    })
}
