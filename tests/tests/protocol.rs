//! The protocol, byte for byte.
//!
//! Most cases are *transcripts*: what goes in, what must come out, and whether the connection is
//! closed then. They run on Bailiwick, whole and one byte at a time, and on Redis as well, which
//! keeps the expectations honest.

#![allow(
    clippy::unwrap_used,
    reason = "a test that fails by panicking fails as it should"
)]

use bailiwick_frame::Protocol;
use bailiwick_tests::client::{Client, Value, request};
use bailiwick_tests::server::{Launch, Server};

fn bailiwick() -> Server {
    Launch::bailiwick()
        .unwrap()
        .args(["--fsync", "never"])
        .start()
        .unwrap()
}

/// What must happen to a connection.
struct Transcript {
    name: &'static str,
    sent: Vec<u8>,
    received: Vec<u8>,
    closes: bool,
}

fn goes_on(name: &'static str, sent: &[u8], received: &[u8]) -> Transcript {
    let (sent, received) = (sent.to_vec(), received.to_vec());
    Transcript {
        name,
        sent,
        received,
        closes: false,
    }
}

fn closes(name: &'static str, sent: &[u8], received: &[u8]) -> Transcript {
    Transcript {
        closes: true,
        ..goes_on(name, sent, received)
    }
}

/// Runs each transcript on a connection of its own, with an empty keyspace.
fn check(server: &Server, who: &str, transcripts: &[Transcript], chunk: usize) {
    for transcript in transcripts {
        let at = || format!("{who}, {chunk} bytes at a time: {}", transcript.name);
        assert_eq!(
            server.connect().unwrap().run("FLUSHALL").unwrap(),
            Value::ok()
        );
        let mut client = server.connect().unwrap();
        for part in transcript.sent.chunks(chunk) {
            // The server may have closed the connection before the last part.
            if client.send(part).is_err() {
                assert!(transcript.closes, "{}", at());
                break;
            }
        }
        let received = if transcript.closes {
            client
                .read_to_end()
                .unwrap_or_else(|error| panic!("{}: {error:#}", at()))
        } else {
            let marker = request(["ECHO", "the end"]);
            client.send(&marker).unwrap();
            let expected = [&transcript.received[..], b"$7\r\nthe end\r\n"].concat();
            let mut received = client
                .read_exactly(expected.len())
                .unwrap_or_else(|error| panic!("{}: {error:#}", at()));
            assert_eq!(
                received.escape_ascii().to_string(),
                expected.escape_ascii().to_string(),
                "{}",
                at()
            );
            received.truncate(transcript.received.len());
            received
        };
        let (received, expected) = (received.escape_ascii(), transcript.received.escape_ascii());
        assert_eq!(received.to_string(), expected.to_string(), "{}", at());
    }
}

fn check_on_both(transcripts: &[Transcript]) {
    let redis = Launch::redis().unwrap().start().unwrap();
    check(&redis, "Redis", transcripts, usize::MAX);
    let ours = bailiwick();
    for chunk in [usize::MAX, 1, 7] {
        check(&ours, "Bailiwick", transcripts, chunk);
    }
}

#[test]
fn requests_are_understood_in_all_their_forms() {
    check_on_both(&[
        goes_on(
            "a multibulk request",
            b"*2\r\n$4\r\nECHO\r\n$2\r\nhi\r\n",
            b"$2\r\nhi\r\n",
        ),
        goes_on("an inline request", b"PING\r\n", b"+PONG\r\n"),
        goes_on(
            "an inline request without carriage return",
            b"PING\n",
            b"+PONG\r\n",
        ),
        goes_on(
            "inline words",
            b"  SET \t k   v \r\nGET k\r\n",
            b"+OK\r\n$1\r\nv\r\n",
        ),
        goes_on(
            "double quotes",
            b"ECHO \"a b\\x00\\n\\\"\"\r\n",
            b"$6\r\na b\0\n\"\r\n",
        ),
        goes_on("single quotes", b"ECHO 'a\\'b\\n'\r\n", b"$5\r\na'b\\n\r\n"),
        goes_on("an empty quoted word", b"ECHO \"\"\r\n", b"$0\r\n\r\n"),
        goes_on("empty lines", b"\r\n\n\r\n   \r\nPING\r\n", b"+PONG\r\n"),
        goes_on(
            "empty multibulk requests",
            b"*0\r\n*-1\r\n*-10\r\nPING\r\n",
            b"+PONG\r\n",
        ),
        goes_on(
            "inline and multibulk mixed",
            b"PING\r\n*1\r\n$4\r\nPING\r\nPING\r\n",
            &b"+PONG\r\n".repeat(3),
        ),
        goes_on(
            "line ends in an argument",
            b"*2\r\n$4\r\nECHO\r\n$6\r\n\r\n*1\r\n\r\n",
            b"$6\r\n\r\n*1\r\n\r\n",
        ),
        goes_on(
            "an empty argument",
            b"*2\r\n$4\r\nECHO\r\n$0\r\n\r\n",
            b"$0\r\n\r\n",
        ),
        goes_on("any casing", b"*1\r\n$4\r\npInG\r\n", b"+PONG\r\n"),
        goes_on(
            "an empty command name",
            b"*1\r\n$0\r\n\r\n",
            b"-ERR unknown command '', with args beginning with: \r\n",
        ),
        goes_on(
            "an unknown command",
            b"NOPE a b\r\nPING\r\n",
            b"-ERR unknown command 'NOPE', with args beginning with: 'a' 'b' \r\n+PONG\r\n",
        ),
        goes_on(
            "a wrong number of arguments",
            b"GET\r\nPING\r\n",
            b"-ERR wrong number of arguments for 'get' command\r\n+PONG\r\n",
        ),
        goes_on(
            "two bytes after an argument, whatever they are",
            b"*1\r\n$4\r\nPINGxxPING\r\n",
            b"+PONG\r\n+PONG\r\n",
        ),
    ]);
}

#[test]
fn a_protocol_error_is_named_and_closes_the_connection_after_what_came_before() {
    let pong = |error: &str| [b"+PONG\r\n", error.as_bytes(), b"\r\n"].concat();
    let case =
        |name, sent: &[u8], error: &str| closes(name, &[b"PING\r\n", sent].concat(), &pong(error));
    let long = vec![b'1'; 70_000];
    check_on_both(&[
        case(
            "a count that is no number",
            b"*x\r\n",
            "-ERR Protocol error: invalid multibulk length",
        ),
        case(
            "a count with a plus",
            b"*+1\r\n",
            "-ERR Protocol error: invalid multibulk length",
        ),
        case(
            "a count beyond all bounds",
            b"*2147483648\r\n",
            "-ERR Protocol error: invalid multibulk length",
        ),
        case(
            "a missing dollar",
            b"*1\r\n:4\r\n",
            "-ERR Protocol error: expected '$', got ':'",
        ),
        case(
            "a length that is no number",
            b"*1\r\n$x\r\n",
            "-ERR Protocol error: invalid bulk length",
        ),
        case(
            "a negative length",
            b"*1\r\n$-1\r\n",
            "-ERR Protocol error: invalid bulk length",
        ),
        case(
            "a length beyond the limit",
            b"*1\r\n$536870913\r\n",
            "-ERR Protocol error: invalid bulk length",
        ),
        case(
            "an open quote",
            b"ECHO \"a\r\n",
            "-ERR Protocol error: unbalanced quotes in request",
        ),
        case(
            "an open single quote",
            b"ECHO 'a\r\n",
            "-ERR Protocol error: unbalanced quotes in request",
        ),
        case(
            "something behind a closing quote",
            b"ECHO \"a\"b\r\n",
            "-ERR Protocol error: unbalanced quotes in request",
        ),
        case(
            "a count without end",
            &[b"*", &long[..]].concat(),
            "-ERR Protocol error: too big mbulk count string",
        ),
        case(
            "a length without end",
            &[b"*1\r\n$", &long[..]].concat(),
            "-ERR Protocol error: too big bulk count string",
        ),
        case(
            "a line without end",
            &[b"E", &long[..]].concat(),
            "-ERR Protocol error: too big inline request",
        ),
    ]);
}

#[test]
fn replies_have_redis_s_bytes_in_both_protocol_versions() {
    check_on_both(&[
        goes_on("RESP2", b"SET k 1\r\nGET no\r\nMGET k no\r\nINCR k\r\nSET k v NX\r\nTTL k\r\nINCRBYFLOAT k 0.5\r\n",
            b"+OK\r\n$-1\r\n*2\r\n$1\r\n1\r\n$-1\r\n:2\r\n$-1\r\n:-1\r\n$3\r\n2.5\r\n"),
        goes_on("a null array in RESP2", b"WATCH k\r\nSET k 1\r\nMULTI\r\nEXEC\r\n", b"+OK\r\n+OK\r\n+OK\r\n*-1\r\n"),
        goes_on("LCS as a flat list in RESP2", b"MSET a ohmytext b mynewtext\r\nLCS a b IDX MINMATCHLEN 4\r\n",
            b"+OK\r\n*4\r\n$7\r\nmatches\r\n*1\r\n*2\r\n*2\r\n:4\r\n:7\r\n*2\r\n:5\r\n:8\r\n$3\r\nlen\r\n:6\r\n"),
    ]);
    let resp3 = [
        ("GET no\r\n", "_\r\n"),
        ("MGET no\r\n", "*1\r\n_\r\n"),
        ("SET k v XX\r\n", "_\r\n"),
        ("MSET a ohmytext b mynewtext\r\n", "+OK\r\n"),
        (
            "LCS a b IDX MINMATCHLEN 4\r\n",
            "%2\r\n$7\r\nmatches\r\n*1\r\n*2\r\n*2\r\n:4\r\n:7\r\n*2\r\n:5\r\n:8\r\n$3\r\nlen\r\n:6\r\n",
        ),
        (
            "WATCH a\r\nSET a 1\r\nMULTI\r\nEXEC\r\n",
            "+OK\r\n+OK\r\n+OK\r\n_\r\n",
        ),
        ("INCRBYFLOAT f 1.5\r\n", "$3\r\n1.5\r\n"),
        ("GETEX no\r\n", "_\r\n"),
        ("RANDOMKEY\r\nFLUSHALL\r\n", ""),
        ("RANDOMKEY\r\n", "_\r\n"),
    ];
    let redis = Launch::redis().unwrap().start().unwrap();
    for server in [&redis, &bailiwick()] {
        let mut client = server.connect().unwrap();
        client.hello(Protocol::Resp3).unwrap();
        for (sent, expected) in resp3 {
            client.send(sent.as_bytes()).unwrap();
            if expected.is_empty() {
                sent.lines().for_each(|_| drop(client.read().unwrap()));
                continue;
            }
            let received = client.read_exactly(expected.len()).unwrap();
            assert_eq!(
                received.escape_ascii().to_string(),
                expected.as_bytes().escape_ascii().to_string(),
                "{sent:?}"
            );
        }
    }
}

#[test]
fn hello_tells_the_fields_that_clients_read() {
    let server = bailiwick();
    for (version, start) in [("2", "*14\r\n"), ("3", "%7\r\n")] {
        let mut client = server.connect().unwrap();
        let protocol = if version == "3" {
            Protocol::Resp3
        } else {
            Protocol::Resp2
        };
        client
            .send(&request(["HELLO", version, "SETNAME", "me"]))
            .unwrap();
        client.set_protocol(protocol);
        let raw = client.read_raw().unwrap();
        let text = raw.escape_ascii().to_string();
        assert!(raw.starts_with(start.as_bytes()), "{text}");
        for field in [
            "server", "version", "proto", "id", "mode", "role", "modules",
        ] {
            assert!(
                text.contains(&format!("\\r\\n{field}\\r\\n")),
                "{field} in {text}"
            );
        }
        assert!(
            text.contains(&format!("proto\\r\\n:{version}\\r\\n")),
            "{text}"
        );
    }
    check(
        &server,
        "Bailiwick",
        &[
            goes_on(
                "an unknown version",
                b"HELLO 4\r\n",
                b"-NOPROTO unsupported protocol version\r\n",
            ),
            goes_on(
                "a version that is no number",
                b"HELLO x\r\n",
                b"-ERR Protocol version is not an integer or out of range\r\n",
            ),
            goes_on(
                "an unknown option",
                b"HELLO 3 WHAT\r\n",
                b"-ERR Syntax error in HELLO option 'WHAT'\r\n",
            ),
        ],
        usize::MAX,
    );
}

#[test]
fn before_authentication_requests_are_small_and_few() {
    let password = ["--requirepass", "secret"];
    let redis = Launch::redis().unwrap().args(password).spawn().unwrap();
    let ours = Launch::bailiwick().unwrap().args(password).spawn().unwrap();
    for mut server in [redis, ours] {
        server.wait_until_listening().unwrap();
        let exchange = |sent: &[u8], expected: &str, ends: bool| {
            let mut client = server.connect().unwrap();
            client.send(sent).unwrap();
            let received = if ends {
                client.read_to_end().unwrap()
            } else {
                client.read_exactly(expected.len()).unwrap()
            };
            assert_eq!(
                received.escape_ascii().to_string(),
                expected.as_bytes().escape_ascii().to_string()
            );
        };
        // Loading is over quickly, but not at once.
        loop {
            let mut client = server.connect().unwrap();
            client.run("AUTH secret").unwrap();
            if matches!(client.run("PING").unwrap(), Value::Status(_)) {
                break;
            }
            std::thread::sleep(bailiwick_tests::server::POLL);
        }
        let no_auth = "-NOAUTH Authentication required.\r\n";
        let wrong = "-WRONGPASS invalid username-password pair or user is disabled.\r\n";
        exchange(b"GET k\r\nPING\r\n", &no_auth.repeat(2), false);
        exchange(
            b"NOPE\r\n",
            "-ERR unknown command 'NOPE', with args beginning with: \r\n",
            false,
        );
        exchange(
            b"*11\r\n",
            "-ERR Protocol error: unauthenticated multibulk length\r\n",
            true,
        );
        exchange(
            b"*1\r\n$16385\r\n",
            "-ERR Protocol error: unauthenticated bulk length\r\n",
            true,
        );
        exchange(b"AUTH wrong\r\n", wrong, false);
        exchange(b"AUTH default wrong\r\n", wrong, false);
        exchange(b"AUTH nobody secret\r\n", wrong, false);
        // Redis 7.0 words it a little differently.
        let hello = server.connect().unwrap().run("HELLO 3").unwrap().text();
        assert!(
            hello.starts_with("NOAUTH HELLO must be called with the client already"),
            "{hello}"
        );
        exchange(b"AUTH secret\r\nPING\r\n", "+OK\r\n+PONG\r\n", false);
        exchange(
            b"AUTH default secret\r\nPING\r\n",
            "+OK\r\n+PONG\r\n",
            false,
        );
        exchange(b"HELLO 3 AUTH default wrong\r\n", wrong, false);
        // The limits are wider for what stands behind AUTH in the same packet.
        let wide = [
            &b"AUTH secret\r\n*2\r\n$4\r\nECHO\r\n$20000\r\n"[..],
            &[b'x'; 20_000],
            b"\r\n",
        ]
        .concat();
        let echoed = format!("+OK\r\n$20000\r\n{}\r\n", "x".repeat(20_000));
        exchange(&wide, &echoed, false);
        exchange(
            b"AUTH secret\r\nRESET\r\nGET k\r\n",
            &format!("+OK\r\n+RESET\r\n{no_auth}"),
            false,
        );
    }
}

#[test]
fn connection_commands_change_what_follows() {
    check_on_both(&[
        closes("QUIT", b"PING\r\nQUIT\r\nPING\r\n", b"+PONG\r\n+OK\r\n"),
        goes_on(
            "RESET ends a transaction",
            b"MULTI\r\nSET k v\r\nRESET\r\nGET k\r\n",
            b"+OK\r\n+QUEUED\r\n+RESET\r\n$-1\r\n",
        ),
        goes_on(
            "RESET selects database 0",
            b"SELECT 1\r\nSET k v\r\nRESET\r\nGET k\r\n",
            b"+OK\r\n+OK\r\n+RESET\r\n$-1\r\n",
        ),
        goes_on(
            "RESET forgets what is watched",
            b"WATCH k\r\nSET k 1\r\nRESET\r\nMULTI\r\nEXEC\r\n",
            b"+OK\r\n+OK\r\n+RESET\r\n+OK\r\n*0\r\n",
        ),
        goes_on(
            "RESET switches to RESP2",
            b"HELLO 3 SETNAME\r\nRESET\r\nGET no\r\n",
            b"-ERR Syntax error in HELLO option 'SETNAME'\r\n+RESET\r\n$-1\r\n",
        ),
        goes_on(
            "no replies",
            b"CLIENT REPLY OFF\r\nSET k 1\r\nINCR k\r\nNOPE\r\nCLIENT REPLY ON\r\nGET k\r\n",
            b"+OK\r\n$1\r\n2\r\n",
        ),
        goes_on(
            "one reply less",
            b"CLIENT REPLY SKIP\r\nSET k 1\r\nINCR k\r\nCLIENT REPLY SKIP\r\nNOPE\r\nGET k\r\n",
            b":2\r\n$1\r\n2\r\n",
        ),
        goes_on(
            "databases are apart",
            b"SET k 0\r\nSELECT 1\r\nGET k\r\nSELECT 0\r\nGET k\r\nSELECT 16\r\n",
            b"+OK\r\n+OK\r\n$-1\r\n+OK\r\n$1\r\n0\r\n-ERR DB index is out of range\r\n",
        ),
        goes_on(
            "PING with a message",
            b"PING hello\r\nPING a b\r\n",
            b"$5\r\nhello\r\n-ERR wrong number of arguments for 'ping' command\r\n",
        ),
    ]);
}

#[test]
fn transactions_refuse_what_redis_refuses() {
    check_on_both(&[
        goes_on("a transaction", b"MULTI\r\nSET k 1\r\nINCR k\r\nGET k\r\nEXEC\r\n", b"+OK\r\n+QUEUED\r\n+QUEUED\r\n+QUEUED\r\n*3\r\n+OK\r\n:2\r\n$1\r\n2\r\n"),
        goes_on("an empty transaction", b"MULTI\r\nEXEC\r\n", b"+OK\r\n*0\r\n"),
        goes_on("an error within", b"MULTI\r\nSET k a\r\nINCR k\r\nSET l 1\r\nEXEC\r\nGET l\r\n", b"+OK\r\n+QUEUED\r\n+QUEUED\r\n+QUEUED\r\n*3\r\n+OK\r\n-ERR value is not an integer or out of range\r\n+OK\r\n$1\r\n1\r\n"),
        goes_on("an error while queueing", b"MULTI\r\nSET k\r\nSET k v\r\nEXEC\r\nGET k\r\n", b"+OK\r\n-ERR wrong number of arguments for 'set' command\r\n+QUEUED\r\n-EXECABORT Transaction discarded because of previous errors.\r\n$-1\r\n"),
        goes_on("an unknown command while queueing", b"MULTI\r\nNOPE\r\nEXEC\r\n", b"+OK\r\n-ERR unknown command 'NOPE', with args beginning with: \r\n-EXECABORT Transaction discarded because of previous errors.\r\n"),
        goes_on("MULTI in MULTI", b"MULTI\r\nMULTI\r\nEXEC\r\n", b"+OK\r\n-ERR MULTI calls can not be nested\r\n*0\r\n"),
        goes_on("WATCH in MULTI", b"MULTI\r\nWATCH k\r\nEXEC\r\n", b"+OK\r\n-ERR WATCH inside MULTI is not allowed\r\n*0\r\n"),
        goes_on("without MULTI", b"EXEC\r\nDISCARD\r\n", b"-ERR EXEC without MULTI\r\n-ERR DISCARD without MULTI\r\n"),
        goes_on("DISCARD", b"MULTI\r\nSET k 1\r\nDISCARD\r\nGET k\r\n", b"+OK\r\n+QUEUED\r\n+OK\r\n$-1\r\n"),
        goes_on("SELECT within", b"MULTI\r\nSELECT 1\r\nSET k 1\r\nEXEC\r\nGET k\r\nSELECT 0\r\nGET k\r\n", b"+OK\r\n+QUEUED\r\n+QUEUED\r\n*2\r\n+OK\r\n+OK\r\n$1\r\n1\r\n+OK\r\n$-1\r\n"),
        goes_on("a SELECT that is not executed", b"WATCH k\r\nSET k 1\r\nMULTI\r\nSELECT 1\r\nEXEC\r\nGET k\r\n", b"+OK\r\n+OK\r\n+OK\r\n+QUEUED\r\n*-1\r\n$1\r\n1\r\n"),
        goes_on("what is watched and left alone", b"SET k 1\r\nWATCH k\r\nMULTI\r\nINCR k\r\nEXEC\r\n", b"+OK\r\n+OK\r\n+OK\r\n+QUEUED\r\n*1\r\n:2\r\n"),
        goes_on("UNWATCH", b"WATCH k\r\nSET k 1\r\nUNWATCH\r\nMULTI\r\nINCR k\r\nEXEC\r\n", b"+OK\r\n+OK\r\n+OK\r\n+OK\r\n+QUEUED\r\n*1\r\n:2\r\n"),
    ]);
}

#[test]
fn ten_megabytes_come_back_as_they_went() {
    let server = bailiwick();
    let value: Vec<u8> = (0..10 << 20)
        .map(|n: u32| (n.wrapping_mul(2_654_435_761) >> 24) as u8)
        .collect();
    let mut client = server.connect().unwrap();
    assert_eq!(
        client.call([&b"SET"[..], b"big", &value]).unwrap(),
        Value::ok()
    );
    // In pieces that do not fit any buffer, with the next request in the last piece.
    let bytes = [
        request([&b"APPEND"[..], b"big", &value]),
        request(["STRLEN", "big"]),
    ]
    .concat();
    bytes
        .chunks(99_991)
        .for_each(|piece| client.send(piece).unwrap());
    assert_eq!(client.read().unwrap(), Value::Integer(20 << 20));
    assert_eq!(client.read().unwrap(), Value::Integer(20 << 20));
    assert!(client.run("GETRANGE big 10485760 -1").unwrap() == Value::Bytes(value));
}

#[test]
fn ten_thousand_requests_in_one_pipeline_are_answered_in_order() {
    let server = bailiwick();
    let mut client = server.connect().unwrap();
    let count = 10_000;
    let mut bytes = Vec::new();
    for n in 0..count {
        let n = n.to_string();
        bytes.extend(match n.len() % 3 {
            0 => request(["INCR", "counter"]),
            1 => request(["ECHO", &n]),
            _ => request(["SET", &n, &n]),
        });
    }
    client.send(&bytes).unwrap();
    let mut counter = 0;
    for n in 0..count {
        let n = n.to_string();
        let reply = client.read().unwrap();
        match n.len() % 3 {
            0 => {
                counter += 1;
                assert_eq!(reply, Value::Integer(counter));
            }
            1 => assert_eq!(reply, Value::bytes(&n)),
            _ => assert_eq!(reply, Value::ok()),
        }
    }
}

#[test]
fn large_replies_leave_before_the_next_requests_of_a_pipeline_run() {
    const COUNT: usize = 64;
    let server = bailiwick();
    let mut client = server.connect().unwrap();
    let limit = [
        "CONFIG",
        "SET",
        "client-output-buffer-limit",
        "normal 8mb 0 0",
    ];
    assert_eq!(client.call(limit).unwrap(), Value::ok());
    let value = vec![b'v'; 1 << 20];
    let set = client.call([&b"SET"[..], b"k", &value]).unwrap();
    assert_eq!(set, Value::ok());
    // All at once they would be far above the limit.
    client.send(&request(["GET", "k"]).repeat(COUNT)).unwrap();
    for _ in 0..COUNT {
        assert!(client.read().unwrap() == Value::Bytes(value.clone()));
    }
}

#[test]
fn requests_may_be_cut_anywhere() {
    let server = bailiwick();
    let requests = [
        request([&b"SET"[..], b"k", &[b'v'; 300]]),
        b"SET  'in line' \"a\\x41\"\r\n".to_vec(),
        request(["MGET", "k", "in line", "no"]),
        b"\r\n*0\r\n".to_vec(),
        request(["INCR", "n"]),
    ]
    .concat();
    let replies = |client: &mut Client| -> Vec<Vec<u8>> {
        (0..4).map(|_| client.read_raw().unwrap()).collect()
    };
    let mut whole = server.connect().unwrap();
    whole.send(&requests).unwrap();
    let mut expected = replies(&mut whole);
    let mut client = server.connect().unwrap();
    for cut in 1..requests.len() {
        client.send(&requests[..cut]).unwrap();
        // An answer to a question on another connection: by then the first part was probably read.
        whole.run("PING").unwrap();
        client.send(&requests[cut..]).unwrap();
        expected[3] = format!(":{}\r\n", cut + 1).into_bytes();
        assert_eq!(replies(&mut client), expected, "cut at {cut}");
    }
}

#[test]
fn a_command_that_was_not_sent_completely_is_not_run() {
    let server = bailiwick();
    let whole = request(["SET", "k", "value"]);
    for length in 1..whole.len() {
        let mut client = server.connect().unwrap();
        client.send(&request(["INCR", "n"])).unwrap();
        client.send(&whole[..length]).unwrap();
        client.finish_writing().unwrap();
        let rest = client.read_to_end().unwrap();
        assert_eq!(rest, format!(":{length}\r\n").into_bytes());
    }
    assert_eq!(
        server.connect().unwrap().run("EXISTS k").unwrap(),
        Value::Integer(0)
    );
}

#[test]
fn arguments_may_cross_any_buffer() {
    let server = bailiwick();
    let mut client = server.connect().unwrap();
    // Around the sizes of buffers, several per packet.
    for around in [1 << 12, 1 << 14, 1 << 15, 1 << 16, 1 << 17] {
        let lengths: Vec<usize> = (around - 40..around + 5).collect();
        for batch in lengths.chunks(4) {
            let value = |length: usize| vec![b'a' + (length % 26) as u8; length];
            let echo = |length: &usize| request([&b"ECHO"[..], &value(*length)]);
            client
                .send(&batch.iter().flat_map(echo).collect::<Vec<_>>())
                .unwrap();
            for length in batch {
                assert!(
                    client.read().unwrap() == Value::Bytes(value(*length)),
                    "{length}"
                );
            }
        }
    }
}
