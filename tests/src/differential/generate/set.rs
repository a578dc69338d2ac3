//! Sets.
//!
//! SPOP takes all members or none, or has a key of its own with a single member, since what it
//! takes otherwise is chance. Nothing changes a word of it.

/// How often, and what.
pub(super) static COMMANDS: &[(u32, &str)] = &[
    (12, "SADD %z {%F}"),
    (5, "SADD %z <%N>"),
    (3, "SADD %z {%N}"),
    (8, "SREM %z {%F}"),
    (2, "SREM %z <%N>"),
    (5, "SMEMBERS %z"),
    (4, "SISMEMBER %z %F"),
    (3, "SMISMEMBER %z {%F}"),
    (4, "SCARD %z"),
    (5, "SMOVE %z %z %F"),
    (3, "SINTER {%z}"),
    (3, "SUNION {%z}"),
    (3, "SDIFF {%z}"),
    (3, "SINTERSTORE %z {%z}"),
    (3, "SUNIONSTORE %z {%z}"),
    (3, "SDIFFSTORE %z {%z}"),
    (4, "SINTERCARD (1|2|3|%n) {%z} [LIMIT %n]"),
    (2, "SADD one member"),
    (2, "SPOP one"),
    (1, "SPOP %z 1000000"),
    (1, "SPOP %z (0|-1|abc)"),
    (1, "SPOP %z 1 2"),
    (3, "SRANDMEMBER %z [%c]"),
    (3, "SSCAN %z 0 COUNT 1000 [MATCH %p]"),
    (2, "SSCAN %z %i [MATCH %p] [COUNT %n] [TYPE set]"),
    (1, "OBJECT ENCODING %z"),
    (1, "DEL %z"),
];
