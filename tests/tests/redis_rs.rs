//! redis-rs, in RESP2 and RESP3.

#![allow(
    clippy::unwrap_used,
    reason = "a test that fails by panicking fails as it should"
)]

use std::collections::HashSet;

use bailiwick_tests::server::{Launch, Server};
use redis::{Commands, Connection, ErrorKind, RedisResult, ServerErrorKind};

const PROTOCOLS: [&str; 2] = ["resp2", "resp3"];

fn start() -> Server {
    Launch::bailiwick()
        .unwrap()
        .args(["--fsync", "never"])
        .start()
        .unwrap()
}

fn connect(server: &Server, database: u32, protocol: &str) -> Connection {
    let url = format!(
        "redis://127.0.0.1:{}/{database}?protocol={protocol}",
        server.port()
    );
    redis::Client::open(url).unwrap().get_connection().unwrap()
}

fn on_each_protocol(test: impl Fn(&Server, &str, &mut Connection)) {
    let server = start();
    for protocol in PROTOCOLS {
        let mut connection = connect(&server, 0, protocol);
        let () = redis::cmd("FLUSHALL").query(&mut connection).unwrap();
        test(&server, protocol, &mut connection);
    }
}

#[test]
fn values_come_back_as_their_types() {
    on_each_protocol(|_, _, c| {
        let () = c.set("k", "v").unwrap();
        assert_eq!(
            c.get::<_, Option<String>>("k").unwrap().as_deref(),
            Some("v")
        );
        assert_eq!(c.get::<_, Option<String>>("absent").unwrap(), None);
        let binary: Vec<u8> = (0..=255).collect();
        let () = c.set(&binary, &binary).unwrap();
        assert_eq!(c.get::<_, Vec<u8>>(&binary).unwrap(), binary);
        let () = c.mset(&[("a", 1), ("b", 2)]).unwrap();
        assert_eq!(
            c.mget::<_, Vec<Option<i64>>>(&["a", "b", "no"]).unwrap(),
            [Some(1), Some(2), None]
        );
        assert_eq!(c.incr::<_, _, i64>("a", 41).unwrap(), 42);
        assert_eq!(c.incr::<_, _, f64>("f", 0.5).unwrap(), 0.5);
        assert_eq!(c.append::<_, _, usize>("k", "!").unwrap(), 2);
        assert!(c.exists::<_, bool>("k").unwrap());
        assert_eq!(c.del::<_, usize>(&["a", "b", "no"]).unwrap(), 2);
        assert!(!c.setbit::<_, bool>("bits", 7, true).unwrap());
        assert_eq!(c.bitcount::<_, usize>("bits").unwrap(), 1);
    });
}

#[test]
fn expiries_are_kept() {
    on_each_protocol(|_, _, c| {
        let () = c.set_ex("t", "v", 100).unwrap();
        assert!((1..=100).contains(&c.ttl::<_, i64>("t").unwrap()));
        assert!(c.expire_at::<_, bool>("t", 33_177_117_420).unwrap());
        assert_eq!(c.expire_time::<_, i64>("t").unwrap(), 33_177_117_420);
        assert!(c.persist::<_, bool>("t").unwrap());
        assert_eq!(c.ttl::<_, i64>("t").unwrap(), -1);
        assert_eq!(c.ttl::<_, i64>("absent").unwrap(), -2);
    });
}

#[test]
fn pipelines_and_transactions_work() {
    on_each_protocol(|server, protocol, c| {
        let mut pipeline = redis::pipe();
        for n in 0..1000 {
            pipeline
                .set(format!("p:{n}"), n)
                .ignore()
                .incr(format!("p:{n}"), 1);
        }
        let replies: Vec<i64> = pipeline.query(c).unwrap();
        assert_eq!(replies, (1..=1000).collect::<Vec<_>>());
        let (first, second): (i64, String) = redis::pipe()
            .atomic()
            .incr("n", 1)
            .get("n")
            .query(c)
            .unwrap();
        assert_eq!((first, second.as_str()), (1, "1"));
        let mut other = connect(server, 0, protocol);
        let mut attempts = 0;
        let (stored,): (i64,) = redis::transaction(c, &["n"], |c, pipeline| {
            let held: i64 = c.get("n")?;
            attempts += 1;
            if attempts == 1 {
                let () = other.set("n", 100)?;
            }
            pipeline.set("n", held + 1).ignore().get("n").query(c)
        })
        .unwrap();
        assert_eq!((attempts, stored), (2, 101));
    });
}

#[test]
fn scans_find_all_keys() {
    on_each_protocol(|_, _, c| {
        let mut pipeline = redis::pipe();
        for n in 0..1000 {
            pipeline.set(format!("p:{n}"), n).ignore();
        }
        let () = pipeline.query(c).unwrap();
        let found: RedisResult<HashSet<String>> = c.scan_match("p:*").unwrap().collect();
        assert_eq!(found.unwrap().len(), 1000);
        assert_eq!(c.keys::<_, Vec<String>>("p:99?").unwrap().len(), 10);
    });
}

#[test]
fn databases_are_apart() {
    on_each_protocol(|server, protocol, c| {
        let mut other = connect(server, 5, protocol);
        let () = c.set("k", "v").unwrap();
        assert!(!other.exists::<_, bool>("k").unwrap());
        let copied: bool = redis::cmd("COPY")
            .arg(&["k", "k", "DB", "5"])
            .query(c)
            .unwrap();
        assert!(copied && other.exists::<_, bool>("k").unwrap());
    });
}

#[test]
fn errors_have_their_kinds() {
    on_each_protocol(|server, protocol, c| {
        let () = c.set("k", "text").unwrap();
        let error = c.incr::<_, _, i64>("k", 1).unwrap_err();
        assert_eq!(
            error.kind(),
            ErrorKind::Server(ServerErrorKind::ResponseError)
        );
        assert_eq!(
            error.detail(),
            Some("value is not an integer or out of range")
        );
        let unknown = redis::cmd("NOPE").query::<()>(c).unwrap_err();
        assert!(
            unknown.detail().unwrap().starts_with("unknown command"),
            "{unknown}"
        );
        let url = format!("redis://127.0.0.1:{}/99?protocol={protocol}", server.port());
        assert!(redis::Client::open(url).unwrap().get_connection().is_err());
        let queued: RedisResult<()> = redis::pipe().atomic().cmd("SET").arg("only a key").query(c);
        let aborted = queued.unwrap_err();
        assert_eq!(
            aborted.kind(),
            ErrorKind::Server(ServerErrorKind::ExecAbort),
            "{aborted:?}"
        );
    });
}
