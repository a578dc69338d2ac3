//! Hashes.
//!
//! HINCRBYFLOAT has a key of its own, for the reason that INCRBYFLOAT has.

/// How often, and what.
pub(super) static COMMANDS: &[(u32, &str)] = &[
    (12, "HSET %h {%F %v}"),
    (2, "HSET %h <%N %v>"),
    (1, "HSET %h %F"),
    (3, "HMSET %h {%F %v}"),
    (4, "HSETNX %h %F %v"),
    (8, "HGET %h %F"),
    (5, "HMGET %h {%F}"),
    (5, "HGETALL %h"),
    (2, "HKEYS %h"),
    (2, "HVALS %h"),
    (4, "HLEN %h"),
    (3, "HSTRLEN %h %F"),
    (3, "HEXISTS %h %F"),
    (6, "HDEL %h {%F}"),
    (1, "HDEL %h <%N>"),
    (6, "HINCRBY %h %F %i"),
    (6, "HINCRBYFLOAT hf (a|b|c) %f"),
    (2, "HSET hf (a|b|c) %f"),
    (2, "HGETALL hf"),
    (1, "HINCRBYFLOAT %h %F (abc|inf|-inf|nan|1e|-)"),
    (3, "HRANDFIELD %h [%c [WITHVALUES]]"),
    (4, "HSCAN %h 0 COUNT 1000 [MATCH %p]"),
    (2, "HSCAN %h %i [MATCH %p] [COUNT %n] [TYPE hash]"),
    (1, "OBJECT ENCODING %h"),
    (1, "DEL %h"),
];
