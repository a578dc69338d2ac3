//! The keys of the clients, and the prefixes that operators move under them.
//!
//! A *home* is what some keys begin with. All keys of a home begin with the same prefixes of
//! [`PREFIXES`], so whatever operators do they belong to one group together.

use crate::simulation::mixed;

/// What operators create, move and drop; some lie in each other.
pub(super) const PREFIXES: [&str; 4] = ["a", "a:", "a:b:", "b:"];
/// What keys begin with.
pub(super) const HOMES: [&str; 5] = ["", "a", "a:", "a:b:", "b:"];
/// Registers in each home.
const NAMES: [&str; 9] = [
    "text:0",
    "count:0",
    "list:0",
    "hash:0/a",
    "hash:0/b",
    "set:0/a",
    "sorted:0/a",
    "sorted:0/b",
    "lasting:0",
];
/// What elements are pushed to.
const QUEUES: [&str; 4] = ["queue:0", "queue:1", "ranked:0", "feed:0"];
/// Written together.
const PAIR: [&str; 2] = ["pair:0", "pair:1"];

/// All registers that single requests are about.
pub(super) fn all() -> impl Iterator<Item = String> {
    HOMES
        .iter()
        .flat_map(|home| NAMES.iter().map(move |name| format!("{home}{name}")))
}

/// All registers of pairs.
pub(super) fn all_of_pairs() -> impl Iterator<Item = String> {
    HOMES.iter().flat_map(|home| pair(home))
}

/// Any register.
pub(super) fn draw(rng: &mut fastrand::Rng) -> String {
    let home = HOMES[rng.usize(..HOMES.len())];
    format!("{home}{}", NAMES[rng.usize(..NAMES.len())])
}

/// The two keys of a home that are written together.
pub(super) fn pair(home: &str) -> [String; 2] {
    PAIR.map(|name| format!("{home}{name}"))
}

/// What clients of a home push to and wait for: a list, one to which elements of that are moved, a
/// sorted set, a stream.
pub(super) fn queues(home: &str) -> [String; 4] {
    QUEUES.map(|name| format!("{home}{name}"))
}

/// Whether elements of one of two such keys can come to the other one.
pub(super) fn can_move_between(a: &str, b: &str) -> bool {
    let parts = |key: &str| {
        let name = QUEUES.into_iter().find(|name| key.ends_with(name));
        let name = name.unwrap_or_default();
        (key.len() - name.len(), name.split(':').next())
    };
    let (of_a, of_b) = (parts(a), parts(b));
    of_a == of_b && a[..of_a.0] == b[..of_b.0]
}

/// The counter of a home that is watched and set.
pub(super) fn counter(home: &str) -> String {
    format!("{home}count:0")
}

/// The string of a home.
pub(super) fn text(home: &str) -> String {
    format!("{home}text:0")
}

/// The most keys that there can be: those of `all` and of pairs, what elements are pushed to, those
/// that commands of all kinds are about, and so many that stay, in each home.
pub(super) fn most_keys(stays: u64) -> u64 {
    // Registers of one hash, or of one sorted set, share a key.
    let registers = NAMES.len() - 2;
    let mixed = mixed::KEYS as usize;
    let in_home = (registers + PAIR.len() + QUEUES.len() + mixed) as u64 + stays;
    HOMES.len() as u64 * in_home
}

/// A key that is written once and stays.
pub(super) fn lasting(home: &str, number: u32) -> String {
    format!("{home}stays:{number}")
}
