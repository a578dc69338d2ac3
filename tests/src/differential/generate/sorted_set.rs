//! Commands on sorted sets, with keys of their own.
//!
//! Ranges of members have a meaning only where all scores are equal, so there are sets for them in
//! which all are 0; no mutation touches what could change that. A set that has become large stays
//! so when members go, hence the bulks. Left out: `ZRANK ... WITHSCORE`, which Redis 7.0 does not
//! have, XX with more than 128 members, which makes a set large in 7.2 only, and negative counts of
//! ZRANDMEMBER beyond reason, which both servers would obey.

use fastrand::Rng;

use super::chance;

/// How often, and what. Kinds of words: see [`words`].
pub(super) static COMMANDS: &[(u32, &str)] = &[
    (14, "ZADD %Zk [NX|XX] [GT|LT] [CH] {%Zs %Zm}"),
    (10, "ZADD %Zk {%Zs %Zm}"),
    (3, "ZADD %Zk [NX|GT|LT] [CH] %Zbulk"),
    (3, "ZADD %Zk [NX|XX|GT|LT] INCR %Zs %Zm"),
    (4, "ZINCRBY %Zk %Zs %Zm"),
    (5, "ZREM %Zk {%Zm}"),
    (3, "ZSCORE %Zk %Zm"),
    (2, "ZMSCORE %Zk {%Zm}"),
    (3, "ZCARD %Zk"),
    (4, "ZCOUNT %Zk %Zr %Zr"),
    (3, "ZRANK %Zk %Zm"),
    (3, "ZREVRANK %Zk %Zm"),
    (5, "ZRANGE %Zk %Zi %Zi [REV] [WITHSCORES]"),
    (
        5,
        "ZRANGE %Zk %Zr %Zr BYSCORE [REV] [LIMIT %Zi %Zi] [WITHSCORES]",
    ),
    (2, "ZREVRANGE %Zk %Zi %Zi [WITHSCORES]"),
    (3, "ZRANGEBYSCORE %Zk %Zr %Zr [WITHSCORES] [LIMIT %Zi %Zi]"),
    (
        3,
        "ZREVRANGEBYSCORE %Zk %Zr %Zr [WITHSCORES] [LIMIT %Zi %Zi]",
    ),
    (3, "ZRANGESTORE %Zk %Zk %Zi %Zi [REV]"),
    (
        3,
        "ZRANGESTORE %Zk %Zk %Zr %Zr BYSCORE [REV] [LIMIT %Zi %Zi]",
    ),
    (2, "ZREMRANGEBYRANK %Zk %Zi %Zi"),
    (2, "ZREMRANGEBYSCORE %Zk %Zr %Zr"),
    (4, "ZPOPMIN %Zk [%Zn]"),
    (4, "ZPOPMAX %Zk [%Zn]"),
    (3, "ZMPOP 2 %Zk %Zk (MIN|MAX) [COUNT %Zn]"),
    (1, "ZMPOP %Zn {%Zk} (MIN|MAX) [COUNT %Zn]"),
    (2, "ZRANDMEMBER %Zk"),
    (3, "ZRANDMEMBER %Zk %Zn [WITHSCORES]"),
    (3, "ZSCAN %Zk 0 [MATCH %p] [COUNT (1|7|1000|0|x)]"),
    (
        4,
        "(ZUNION|ZINTER) 2 %Zk %Zk [WEIGHTS %Zw %Zw] [AGGREGATE (SUM|MIN|MAX)] [WITHSCORES]",
    ),
    (
        3,
        "(ZUNION|ZINTER) 3 %Zk %Zk %Zk [AGGREGATE (SUM|MIN|MAX)] [WITHSCORES]",
    ),
    (
        4,
        "(ZUNIONSTORE|ZINTERSTORE) %Zk 2 %Zk %Zk [WEIGHTS %Zw %Zw] [AGGREGATE (SUM|MIN|MAX)]",
    ),
    (3, "ZDIFF 2 %Zk %Zk [WITHSCORES]"),
    (2, "ZDIFF 3 %Zk %Zk %Zk [WITHSCORES]"),
    (2, "ZDIFFSTORE %Zk 2 %Zk %Zk"),
    (3, "ZINTERCARD 2 %Zk %Zk [LIMIT %Zn]"),
    (
        1,
        "(ZUNION|ZINTER|ZDIFF|ZINTERCARD|ZMPOP) %Zn {%Zk} [WEIGHTS {%Zw}] [LIMIT %Zn]",
    ),
    (8, "ZADD %Zlk 0 %Zlm 0 %Zlm"),
    (1, "ZADD %Zlk %Zlbulk"),
    (2, "ZREM %Zlk {%Zlm}"),
    (1, "ZPOPMIN %Zlk"),
    (3, "ZRANGE %Zlk %Zlr %Zlr BYLEX [REV] [LIMIT %Zi %Zi]"),
    (2, "ZRANGEBYLEX %Zlk %Zlr %Zlr [LIMIT %Zi %Zi]"),
    (2, "ZREVRANGEBYLEX %Zlk %Zlr %Zlr [LIMIT %Zi %Zi]"),
    (2, "ZLEXCOUNT %Zlk %Zlr %Zlr"),
    (1, "ZREMRANGEBYLEX %Zlk %Zlr %Zlr"),
    (1, "ZRANGESTORE %Zk %Zlk %Zlr %Zlr BYLEX [REV]"),
    (3, "SADD %Zp {%Zm}"),
    (1, "SADD %Zp 1 2 3 [4]"),
    (4, "OBJECT ENCODING %Zk"),
    (2, "DEL %Zk"),
    (1, "TYPE %Zk"),
    (2, "COPY %Zk %Zk [REPLACE]"),
    (1, "RENAME %Zk %Zk"),
    (1, "EXPIRE %Zk %s"),
    (1, "PERSIST %Zk"),
    (1, "WATCH {%Zk}"),
    (1, "SET %Zk %v"),
    (1, "GET %Zk"),
    (1, "SCAN 0 COUNT 1000 TYPE zset"),
];

/// Whether a sequence still makes sense if this command is changed at random. (With one argument
/// more, a rank is an arity error in Redis 7.0, which comes before MULTI queues anything.)
pub(super) fn may_mutate(words: &[Vec<u8>]) -> bool {
    let is_rank = ["zrank", "zrevrank"].map(|name| words[0].eq_ignore_ascii_case(name.as_bytes()));
    !is_rank.contains(&true) && !words.iter().any(|word| word.starts_with(b"lex:"))
}

static KEYS: &[&str] = &["z1", "z2", "z3", "z4"];

static SCORES: &[&str] = &[
    "0",
    "-0",
    "1",
    "-1",
    "2",
    "3",
    "10",
    "0.5",
    "-0.25",
    "1.5",
    "0.1",
    "3.3",
    "1e3",
    "100000",
    "-2147483648",
    "4294967296",
    "1e17",
    "1e20",
    "1e-7",
    "123456789.123",
    "1e300",
    "inf",
    "-inf",
    "+inf",
    "5e-324",
    "0x10",
    "nan",
    "abc",
    "",
    " 1",
    "1e400",
    "1e-400",
    "1 ",
    "infinity",
];

/// How many of [`SCORES`] are good, and how many of those are not extreme.
const GOOD_SCORES: usize = 26;
const PLAIN_SCORES: usize = 14;

static BOUNDS: &[&str] = &[
    "-inf", "+inf", "inf", "(0", "(1", "(-1", "(10", "(inf", "(-inf", "0x10", "", " 1", "(", "x",
    "1x", "nan", "((1", "1e400",
];

static WEIGHTS: &[&str] = &["1", "2", "0", "-1", "0.5", "inf", "-inf", "x", ""];

static MEMBER_BOUNDS: &[&str] = &[
    "-", "+", "[a", "(a", "[b", "(b", "[c", "(d", "[", "(", "[aa", "(bb", "[x", "a", "", "+x",
];

/// The words of a kind: keys (`k`; `p` of plain sets; `lk` of sets with one score), scores
/// (`s`), ends of ranges (`r`; `lr` for members), weights (`w`), members (`m`, `lm`), ranks
/// (`i`), small numbers (`n`), and many pairs at once (`bulk`, `lbulk`).
pub(super) fn words(rng: &mut Rng, kind: &str) -> Vec<Vec<u8>> {
    match kind {
        "bulk" => pairs(rng, |number, rng| (rng.i32(-50..50), format!("m{number}"))),
        "lbulk" => pairs(rng, |number, _| (0, format!("{number:b}"))),
        _ => vec![word(rng, kind)],
    }
}

fn pairs(rng: &mut Rng, pair: impl Fn(u32, &mut Rng) -> (i32, String)) -> Vec<Vec<u8>> {
    let first = rng.u32(..40);
    let pairs = (first..first + rng.u32(129..160)).map(|number| pair(number, rng));
    let pairs: Vec<_> = pairs.collect();
    let words = pairs
        .into_iter()
        .flat_map(|(score, member)| [score.to_string(), member]);
    words.map(String::into_bytes).collect()
}

fn word(rng: &mut Rng, kind: &str) -> Vec<u8> {
    let from = |rng: &mut Rng, list: &[&str]| list[rng.usize(..list.len())].as_bytes().to_vec();
    let wrong = chance(rng, 0.05);
    match kind {
        "k" if wrong => from(rng, &["a", "b", "s1", "none"]),
        "k" if chance(rng, 0.05) => from(rng, &["s1", "s2"]),
        "k" => from(rng, KEYS),
        "p" => from(rng, &["s1", "s2"]),
        "lk" => from(rng, &["lex:1", "lex:2"]),
        "s" if wrong => from(rng, SCORES),
        "s" if chance(rng, 0.2) => from(rng, &SCORES[..GOOD_SCORES]),
        "s" if rng.bool() => from(rng, &SCORES[..PLAIN_SCORES]),
        "s" => rng.i32(-20..20).to_string().into_bytes(),
        "r" if wrong => from(rng, BOUNDS),
        "r" if rng.bool() => from(rng, &BOUNDS[..10]),
        "r" => rng.i32(-20..20).to_string().into_bytes(),
        "w" if wrong => from(rng, WEIGHTS),
        "w" => from(rng, &WEIGHTS[..5]),
        "lr" if wrong => from(rng, MEMBER_BOUNDS),
        "lr" => from(rng, &MEMBER_BOUNDS[..13]),
        "lm" => (0..rng.usize(..4)).map(|_| b'a' + rng.u8(..4)).collect(),
        "m" if wrong => vec![b'w'; [63, 64, 65, 200][rng.usize(..4)]],
        "m" if wrong || chance(rng, 0.05) => from(rng, &["", "0", "-5", "1.5", "\u{ff}\r\n", "M"]),
        "m" => format!("m{}", rng.u32(..30)).into_bytes(),
        "i" if wrong => from(
            rng,
            &[
                "x",
                "",
                "1.5",
                "9223372036854775807",
                "-9223372036854775808",
                "99999999999999999999",
            ],
        ),
        "i" => rng.i32(-12..14).to_string().into_bytes(),
        "n" if wrong => from(rng, &["x", "-1", "", "1.5", "9223372036854775807"]),
        "n" => from(rng, &["0", "1", "2", "3", "5", "20", "500"]),
        other => unreachable!("there is no kind {other}"),
    }
}
