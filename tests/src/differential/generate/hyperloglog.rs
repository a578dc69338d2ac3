//! Commands on sketches, with keys of their own. GET compares them byte for byte.
//!
//! Left out: PFSELFTEST, which takes Redis seconds, and bytes changed by SETRANGE, for who finds
//! out first that a sketch is corrupt is not the same.

use fastrand::Rng;

use super::chance;

/// How often, and what. Kinds of words: see [`words`].
pub(super) static COMMANDS: &[(u32, &str)] = &[
    (12, "PFADD %Pk {%Pe}"),
    (5, "PFADD %Pk %Pbulk"),
    (1, "PFADD %Pk"),
    (6, "PFCOUNT %Pk"),
    (4, "PFCOUNT {%Pk}"),
    (6, "PFMERGE %Pk {%Pk}"),
    (1, "PFMERGE %Pk"),
    (8, "GET %Pk"),
    (3, "PFDEBUG DECODE %Pk"),
    (2, "PFDEBUG ENCODING %Pk"),
    (1, "PFDEBUG (TODENSE|GETREG|NOSUCH) %Pk"),
    (1, "STRLEN %Pk"),
    (1, "OBJECT ENCODING %Pk"),
    (2, "COPY %Pk %Pk [REPLACE]"),
    (1, "DEL %Pk"),
    (1, "SET %Pk %v"),
    (1, "EXPIRE %Pk %s"),
    (1, "WATCH {%Pk}"),
];

static KEYS: &[&str] = &["p1", "p2", "p3"];

/// The words of a kind: keys (`k`), elements (`e`) and many of them (`bulk`).
pub(super) fn words(rng: &mut Rng, kind: &str) -> Vec<Vec<u8>> {
    match kind {
        "k" if chance(rng, 0.04) => vec![b"s1".to_vec()],
        "k" => vec![KEYS[rng.usize(..KEYS.len())].as_bytes().to_vec()],
        "e" => vec![element(rng)],
        "bulk" => (0..rng.usize(50..900)).map(|_| element(rng)).collect(),
        other => unreachable!("there is no kind {other}"),
    }
}

fn element(rng: &mut Rng) -> Vec<u8> {
    match rng.u8(..4) {
        0 => (0..rng.usize(..40)).map(|_| rng.u8(..)).collect(),
        _ => rng.u64(..1_000_000).to_string().into_bytes(),
    }
}
