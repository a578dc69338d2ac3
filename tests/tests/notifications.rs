//! Keyspace notifications and client-side caching, as Redis has them: scripts for several
//! connections are played to both.

#![allow(
    clippy::unwrap_used,
    reason = "a test that fails by panicking fails as it should"
)]

use bailiwick_frame::Protocol;
use bailiwick_tests::audience::Audience;
use bailiwick_tests::client::{Value, request};
use bailiwick_tests::server::{Launch, Server};

const CONNECTIONS: usize = 3;

/// Plays a script to Redis and here, with these connections in RESP3, and wants the same.
fn compare<S: AsRef<str>>(resp3: &[usize], script: impl IntoIterator<Item = (usize, S)>) {
    let (redis, ours) = (
        Launch::redis().unwrap().start().unwrap(),
        Launch::unsynced().unwrap().start().unwrap(),
    );
    let audience = |server| Audience::connect(server, CONNECTIONS, resp3).unwrap();
    let (mut theirs, mut own) = (audience(&redis), audience(&ours));
    let mut different = Vec::new();
    for (number, lines) in script {
        let lines = lines.as_ref();
        let wanted = theirs.play(number, lines).unwrap();
        let received = own.play(number, lines).unwrap();
        if received != wanted {
            different.push(format!("{number}: {lines}\n  {wanted:?}\n  {received:?}"));
        }
    }
    assert!(different.is_empty(), "\n{}", different.join("\n"));
}

/// Writes of every kind, with and without effect.
const WRITES: &str = "SET a 1|SET a 2 EX 100|SET a 3 NX|SET b 1 NX|SETNX a 1|SETNX c 1|SETEX d 100 1|\
    PSETEX d 100000 1|GETSET a 1|GETSET e 1|MSET a 1 f 2|MSETNX a 1 g 1|MSETNX g 1 h 1|APPEND a x|\
    APPEND i x|SETRANGE a 0 y|SETRANGE j 3 y|SETRANGE zz 0 |INCR n|INCR n|DECR n|INCRBY n 5|DECRBY n 2|\
    INCRBYFLOAT n 0.5|SETBIT bits 1 1|SETBIT bits 1 1|BITFIELD bits SET u8 0 1|BITFIELD bits GET u8 0|\
    BITOP AND bits2 bits|BITOP AND bits2 nope|GETDEL b|GETDEL b|GETEX a EX 100|GETEX a PERSIST|GETEX a|\
    GETEX a EXAT 1|SET a 1|EXPIRE a 100|EXPIRE a 100 NX|EXPIRE nope 1|PEXPIREAT a 1|SET a 1|PERSIST a|\
    EXPIRE a 100|PERSIST a|DEL a c nope|UNLINK d e|\
    LPUSH l 1 2 3|RPUSH l 4|LPUSHX l 5|LPUSHX nope 1|RPUSHX l 6|LINSERT l BEFORE 1 x|\
    LINSERT l BEFORE nope x|LSET l 0 z|LTRIM l 0 100|LTRIM l 1 3|LREM l 0 nope|LREM l 0 1|LPOP l|RPOP l|\
    RPUSH l 1 2 3 4 5|LPOP l 2|LMOVE l m LEFT RIGHT|LMOVE l l LEFT RIGHT|LMOVE l m RIGHT LEFT|\
    RPOPLPUSH l m|RPOPLPUSH m m|LMPOP 2 nope m LEFT|LMPOP 1 m RIGHT COUNT 10|LPOP l 100|LPOP l|\
    LTRIM nope 0 1|RPUSH l 1|LTRIM l 5 9|RPUSH l 1|LREM l 0 1|\
    SADD s 1 2 3|SADD s 1|SREM s 9|SREM s 1|SMOVE s t 2|SMOVE s t 9|SADD t 3|SMOVE s t 3|\
    DEL t|SADD w a|SPOP w|SADD w a|SPOP w 5|SPOP w|SADD s a b|SADD t b c|SINTERSTORE u s t|SUNIONSTORE u s t|SDIFFSTORE v s t|\
    SINTERSTORE u s nope|SINTERSTORE u s nope|SMOVE s s a|\
    HSET h f 1|HSET h f 1|HSET h f 2 g 3|HMSET h f 1|HSETNX h f 1|HSETNX h i 1|HINCRBY h f 1|\
    HINCRBYFLOAT h f 1.5|HDEL h nope|HDEL h f|HDEL h g i|\
    ZADD z 1 a 2 b|ZADD z 1 a|ZADD z XX 5 c|ZADD z INCR 1 a|ZINCRBY z 1 a|ZREM z nope|ZREM z a|\
    ZADD z 1 a 2 b 3 c 4 d|ZREMRANGEBYRANK z 0 0|ZREMRANGEBYSCORE z 2 2|ZREMRANGEBYSCORE z 99 99|\
    ZREMRANGEBYLEX z [c [c|ZADD z 1 a 2 b 3 c|ZPOPMIN z|ZPOPMAX z|ZMPOP 1 z MIN|ZADD z 1 a 2 b|\
    ZADD y 1 a|ZUNIONSTORE x 2 z y|ZINTERSTORE x 2 z y|ZDIFFSTORE x 2 z y|ZDIFFSTORE x 1 nope|\
    ZRANGESTORE x z 0 -1|ZRANGESTORE x z 9 10|ZMPOP 1 y MAX|ZPOPMIN z 10|\
    GEOADD geo 13.36 38.11 p 15.08 37.50 q|GEOADD geo 13.36 38.11 p|\
    GEOSEARCHSTORE g2 geo FROMLONLAT 15 37 BYRADIUS 200 km|\
    GEORADIUS geo 15 37 200 km STORE g3|GEORADIUS geo 15 37 1 m STORE g3|\
    SET a 1|RENAME a b|RENAME b b|SET a 1|RENAME a b|RENAMENX b c|SET b 1|RENAMENX b c|COPY b d|\
    COPY b d|COPY b d REPLACE|MOVE d 1|MOVE nope 1|COPY b q DB 2|FLUSHDB|\
    XGROUP CREATE st g $ MKSTREAM|XGROUP CREATE st h $|XGROUP CREATECONSUMER st g bob|\
    XGROUP CREATECONSUMER st g bob|XADD st 1-1 f v|XREADGROUP GROUP g alice STREAMS st >|\
    XCLAIM st g mike 0 1-1|XAUTOCLAIM st g lee 0 0|XGROUP SETID st h 0|\
    XGROUP DELCONSUMER st g nobody|XGROUP DELCONSUMER st g bob|XACK st g 1-1|XGROUP DESTROY st h|\
    XGROUP DESTROY st h|XADD st MAXLEN 1 2-1 f v|XTRIM st MAXLEN 0|XTRIM st MAXLEN 0|\
    XSETID st 9-9|XDEL st 1-1|XADD st 10-1 f v|XDEL st 10-1|\
    GET nope|MGET nope nope2|EXISTS nope|STRLEN nope|HGET nope f|TTL nope|TYPE nope|TOUCH nope";

fn writes() -> impl Iterator<Item = (usize, &'static str)> {
    WRITES.split('|').map(|line| (0, line.trim_start()))
}

#[test]
fn every_write_is_told_of_with_the_events_of_redis() {
    for classes in ["KEA", "AKEmn", "Kn"] {
        let begin = [
            (2, "PSUBSCRIBE __key*__:*".to_owned()),
            (0, format!("CONFIG SET notify-keyspace-events {classes}")),
        ];
        let writes = writes().map(|(number, line)| (number, line.to_owned()));
        compare(&[], begin.into_iter().chain(writes));
    }
}

#[test]
fn events_of_other_classes_and_ways_are_not_told() {
    let mut script = vec![(2, "PSUBSCRIBE __key*__:*".to_owned())];
    for classes in ["", "K", "E", "A", "K$", "El", "Eg", "KEsz", "Ehx", "Km"] {
        let set = match classes {
            "" => "RESET".to_owned(),
            classes => format!("CONFIG SET notify-keyspace-events {classes}"),
        };
        script.push((0, set));
        for line in [
            "SET a 1 EX 9",
            "DEL a",
            "RPUSH l 1",
            "LPOP l",
            "SADD s 1",
            "HSET h f 1",
            "ZADD z 1 a",
            "GET nope",
            "DEL s h z",
        ] {
            script.push((0, line.to_owned()));
        }
    }
    compare(&[], script);
}

#[test]
fn transactions_tell_of_each_step() {
    compare(
        &[2],
        [
            (2, "PSUBSCRIBE __key*__:*"),
            (0, "CONFIG SET notify-keyspace-events AKEn"),
            (0, "MULTI\nSET a 1\nINCR a\nRENAME a b\nDEL b\nEXEC"),
            (1, "SELECT 3"),
            (1, "SET a 1"),
            (1, "FLUSHALL"),
        ],
    );
}

#[test]
fn keys_that_expire_or_are_evicted_are_told_of() {
    let server = Launch::unsynced().unwrap().start().unwrap();
    let (mut writer, mut listener) = (server.connect().unwrap(), server.connect().unwrap());
    let set = ["CONFIG", "SET", "notify-keyspace-events", "Exe"];
    assert_eq!(writer.call(set).unwrap(), Value::ok());
    listener.run("PSUBSCRIBE __keyevent@*").unwrap();
    writer.run("SET short x PX 1").unwrap();
    let told = listener.read().unwrap();
    let told: Vec<String> = told.list()[2..].iter().map(Value::text).collect();
    assert_eq!(told, ["__keyevent@0__:expired", "short"]);
    writer.run("SET key x").unwrap();
    writer
        .run("CONFIG SET maxmemory-policy allkeys-random")
        .unwrap();
    writer.run("CONFIG SET maxmemory 1").unwrap();
    let _ = writer.run("SET other x");
    let told = listener.read().unwrap();
    assert_eq!(told.list()[2].text(), "__keyevent@0__:evicted");
}

const TRACKING: &[(usize, &str)] = &[
    (
        0,
        "CLIENT TRACKINGINFO\nCLIENT GETREDIR\nCLIENT TRACKING ON\nCLIENT TRACKINGINFO\nCLIENT GETREDIR",
    ),
    (0, "GET k\nMGET k a b"),
    (1, "SET k 1"),
    (1, "SET k 2"),
    (0, "GET k"),
    (0, "SET k 4\nECHO x"),
    (0, "MGET k a b"),
    (0, "MSET k 4 a 3"),
    (1, "MSET k 4 a 3 b 1"),
    (0, "HGETALL h\nLRANGE l 0 -1\nSMEMBERS s\nEXISTS e\nTTL t"),
    (1, "HSET h f 1"),
    (1, "RPUSH l 1"),
    (1, "SADD s 1"),
    (1, "SET e 1"),
    (1, "SET t 1"),
    (0, "MULTI\nGET k\nGET a\nEXEC"),
    (1, "DEL k"),
    (1, "RENAME a k"),
    (0, "GET k\nGET q"),
    (1, "RENAME k q"),
    (0, "GET q"),
    (1, "EXPIRE q 100"),
    (0, "GET q"),
    (1, "PERSIST q"),
    (0, "GET q"),
    (1, "MULTI\nSET q 1\nSET q 2\nEXEC"),
    (1, "FLUSHDB"),
    (1, "FLUSHALL"),
    (
        0,
        "EVAL \"redis.call('SET',KEYS[1],1) return redis.call('GET','unnamed')\" 1 named",
    ),
    (1, "SET named 1"),
    (1, "SET unnamed 1"),
    (
        0,
        "EVAL_RO \"return {redis.call('GET','unnamed'),redis.pcall('GET','h')}\" 1 named",
    ),
    (1, "SET named 1"),
    (1, "SET unnamed 1"),
    (1, "HSET h f 2"),
    (
        0,
        "MULTI\nEVAL \"return redis.call('EXISTS','one','two')\" 0\nEXEC",
    ),
    (1, "MSET one 1 two 1"),
    (0, "GET k"),
    (0, "CLIENT TRACKING OFF\nCLIENT TRACKINGINFO"),
    (1, "SET k 1"),
];

const BROADCAST: &[(usize, &str)] = &[
    (0, "CLIENT TRACKING ON BCAST PREFIX a PREFIX b"),
    (0, "CLIENT TRACKINGINFO"),
    (1, "SET a1 1"),
    (1, "SET a1 1"),
    (1, "SET c 1"),
    (1, "MSET a2 1 a1 2 b1 1 c 1"),
    (0, "SET a1 1"),
    (0, "MULTI\nSET a1 1\nSET a2 1\nEXEC"),
    (1, "FLUSHALL"),
    (0, "CLIENT TRACKING OFF\nCLIENT TRACKING ON BCAST NOLOOP"),
    (0, "CLIENT TRACKINGINFO"),
    (0, "SET x 1"),
    (1, "SET x 1"),
    (1, "MSET z 1 y 1"),
];

const OPTIONS: &[(usize, &str)] = &[
    (0, "CLIENT TRACKING ON OPTIN NOLOOP\nCLIENT TRACKINGINFO"),
    (0, "GET k"),
    (1, "SET k 1"),
    (
        0,
        "CLIENT CACHING YES\nCLIENT TRACKINGINFO\nGET k\nCLIENT TRACKINGINFO",
    ),
    (1, "SET k 1"),
    // Of a key of which it was not told, Redis would forget that it has read it.
    (0, "CLIENT CACHING YES\nGET own\nSET own 1"),
    (
        0,
        "CLIENT CACHING YES\nEVAL \"return redis.call('GET','script')\" 0",
    ),
    (1, "SET script 1"),
    (0, "EVAL \"return redis.call('GET','script')\" 0"),
    (1, "SET script 1"),
    (0, "CLIENT CACHING YES\nPING\nGET k"),
    (1, "SET k 1"),
    (0, "CLIENT CACHING YES\nMULTI\nGET k\nGET j\nEXEC"),
    (1, "SET k 1"),
    (1, "SET j 1"),
    (
        0,
        "CLIENT CACHING NO\nCLIENT CACHING maybe\nCLIENT TRACKING ON OPTOUT",
    ),
    (0, "CLIENT TRACKING OFF\nCLIENT TRACKING ON OPTOUT"),
    (0, "GET k"),
    (1, "SET k 1"),
    (0, "CLIENT CACHING NO\nCLIENT TRACKINGINFO\nGET k"),
    (1, "SET k 1"),
    (0, "RESET\nCLIENT TRACKINGINFO"),
];

const REFUSED: &[(usize, &str)] = &[
    (
        0,
        "CLIENT TRACKING ON PREFIX a\nCLIENT TRACKING ON OPTIN OPTOUT\nCLIENT TRACKING ON BCAST OPTIN",
    ),
    (
        0,
        "CLIENT TRACKING\nCLIENT TRACKING ON\nCLIENT TRACKING ON BCAST\nCLIENT TRACKING OFF",
    ),
    (
        0,
        "CLIENT TRACKING ON BCAST PREFIX a PREFIX ab\nCLIENT TRACKING ON BCAST PREFIX a PREFIX a",
    ),
    (
        0,
        "CLIENT TRACKING ON BCAST PREFIX a\nCLIENT TRACKING ON BCAST PREFIX ax",
    ),
    (
        0,
        "CLIENT TRACKING ON BCAST PREFIX b\nCLIENT TRACKINGINFO\nCLIENT TRACKING ON",
    ),
    (
        0,
        "CLIENT TRACKING OFF\nCLIENT CACHING YES\nCLIENT CACHING\nCLIENT TRACKING ON FOO",
    ),
    (
        0,
        "CLIENT TRACKING ON REDIRECT abc\nCLIENT TRACKING ON REDIRECT 9999\nCLIENT TRACKING maybe",
    ),
];

#[test]
fn a_client_is_told_of_changes_to_what_it_has_read() {
    compare(&[0], TRACKING.iter().copied());
    compare(&[0, 1, 2], TRACKING.iter().copied());
    compare(&[], TRACKING.iter().copied());
}

#[test]
fn a_client_is_told_of_all_changes_below_its_prefixes() {
    compare(&[0], BROADCAST.iter().copied());
}

#[test]
fn a_client_says_what_is_to_be_remembered() {
    compare(&[0], OPTIONS.iter().copied());
}

#[test]
fn options_that_do_not_fit_are_refused() {
    compare(&[0], REFUSED.iter().copied());
    compare(&[], REFUSED.iter().copied());
}

/// What the second connection hears on behalf of the first, on a server.
fn redirected(server: &Server, resp3: &[usize]) -> Vec<Vec<Vec<String>>> {
    let mut audience = Audience::connect(server, CONNECTIONS, resp3).unwrap();
    let id = audience
        .client(1)
        .run("CLIENT ID")
        .unwrap()
        .as_integer()
        .unwrap();
    let on = format!("CLIENT TRACKING ON REDIRECT {id}");
    let mut heard = Vec::new();
    for (number, lines) in [
        (0, &*on),
        (0, "GET k"),
        (2, "SET k 1"),
        (1, "SUBSCRIBE __redis__:invalidate"),
        (0, "GET k"),
        (2, "SET k 1"),
        (0, "GET k"),
    ] {
        heard.push(audience.play(number, lines).unwrap());
    }
    // Whoever is told in its place has gone.
    audience.client(1).send(b"QUIT\r\n").unwrap();
    audience.client(1).read_to_end().unwrap();
    audience.client(2).run("SET k 1").unwrap();
    heard.push(vec![audience.gather(0).unwrap()]);
    let client = audience.client(0);
    client.send(&request(["CLIENT", "TRACKINGINFO"])).unwrap();
    let info = client.read_raw().unwrap();
    heard.push(vec![vec![info.escape_ascii().to_string()]]);
    let broken = format!(":{id}\\r\\n");
    for step in &mut heard {
        step.iter_mut()
            .flatten()
            .for_each(|line| *line = line.replace(&broken, ":id"));
    }
    heard
}

#[test]
fn changes_are_told_to_another_connection_if_a_client_wants_it_so() {
    let (redis, ours) = (
        Launch::redis().unwrap().start().unwrap(),
        Launch::unsynced().unwrap().start().unwrap(),
    );
    for resp3 in [&[][..], &[0], &[1], &[0, 1]] {
        let (wanted, heard) = (redirected(&redis, resp3), redirected(&ours, resp3));
        assert_eq!(heard, wanted, "RESP3: {resp3:?}");
    }
    // Null is written as the one who reads it wants it; Redis asks the other one.
    let (mut client, mut target) = (ours.connect().unwrap(), ours.connect().unwrap());
    let id = target.run("CLIENT ID").unwrap().as_integer().unwrap();
    client.hello(Protocol::Resp3).unwrap();
    target.run("SUBSCRIBE __redis__:invalidate").unwrap();
    let on = format!("CLIENT TRACKING ON REDIRECT {id}");
    assert_eq!(client.run(&on).unwrap(), Value::ok());
    assert_eq!(client.run("FLUSHALL").unwrap(), Value::ok());
    let told = b"*3\r\n$7\r\nmessage\r\n$20\r\n__redis__:invalidate\r\n$-1\r\n";
    assert_eq!(target.read_raw().unwrap(), told);
}

#[test]
fn clients_that_keep_copies_are_listed_and_counted() {
    let server = Launch::unsynced().unwrap().start().unwrap();
    let (mut client, mut other) = (server.connect().unwrap(), server.connect().unwrap());
    client.hello(Protocol::Resp3).unwrap();
    client.run("CLIENT TRACKING ON").unwrap();
    client.run("MGET a b c").unwrap();
    let listed = other.run("CLIENT LIST").unwrap().text();
    assert!(
        listed
            .lines()
            .any(|line| line.contains(" flags=t ") && line.contains(" redir=0 ")),
        "{listed}"
    );
    let info = other.run("INFO").unwrap().text();
    for part in [
        "tracking_clients:1\r",
        "tracking_total_keys:3\r",
        "tracking_total_items:3\r",
        "tracking_total_prefixes:0\r",
    ] {
        assert!(info.contains(part), "{part}: {info}");
    }
    other.run("CONFIG SET tracking-table-max-keys 2").unwrap();
    client.run("GET d").unwrap();
    let info = other.run("INFO stats").unwrap().text();
    assert!(info.contains("tracking_total_keys:2\r"), "{info}");
    drop(client);
    let mut info = String::new();
    for _ in 0..100_000 {
        info = other.run("INFO clients").unwrap().text();
        if info.contains("tracking_clients:0\r") {
            return;
        }
    }
    panic!("a client that has gone still tracks: {info}");
}
