//! The keys of the clients, and the prefixes that operators move under them.
//!
//! A *home* is what some keys begin with. All keys of a home begin with the same prefixes of
//! [`PREFIXES`], so whatever operators do they belong to one group together.

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

/// The counter of a home that is watched and set.
pub(super) fn counter(home: &str) -> String {
    format!("{home}count:0")
}

/// A key that is written once and stays.
pub(super) fn lasting(home: &str, number: u32) -> String {
    format!("{home}stays:{number}")
}
