use proptest::prelude::*;

use super::*;
use crate::reply::{decode_resp2, decode_resp3};

/// Checks what a call writes in RESP2 and in RESP3, behind bytes that are there already.
#[track_caller]
fn writes(call: impl Fn(&mut Encoder<'_>), resp2: &str, resp3: &str) {
    for (protocol, expected) in [(Protocol::Resp2, resp2), (Protocol::Resp3, resp3)] {
        let mut out = b"before".to_vec();
        let mut encoder = Encoder::new(&mut out, protocol);
        call(&mut encoder);
        assert_eq!(encoder.position(), 6 + expected.len());
        let written = out[6..].escape_ascii().to_string();
        assert_eq!(
            written,
            expected.as_bytes().escape_ascii().to_string(),
            "{protocol:?}"
        );
    }
}

#[track_caller]
fn writes_same(call: impl Fn(&mut Encoder<'_>), expected: &str) {
    writes(call, expected, expected);
}

#[test]
fn lines_are_written() {
    writes_same(|e| e.ok(), "+OK\r\n");
    writes_same(|e| e.simple("PONG"), "+PONG\r\n");
    writes_same(|e| e.simple("a\r\nb"), "+a  b\r\n");
    writes_same(|e| e.error("ERR no\nway\r"), "-ERR no way \r\n");
}

#[test]
fn integers_of_every_length_are_written() {
    let mut value = 1i64;
    for _ in 0..19 {
        for n in [value - 1, value, value + 1, -value, i64::MAX, i64::MIN] {
            writes_same(|e| e.integer(n), &format!(":{n}\r\n"));
        }
        value = value.wrapping_mul(10);
    }
}

#[test]
fn bulk_strings_of_every_size_class_are_written() {
    for len in (0..1100).chain([9_999, 10_000, 99_999, 100_000, 1_234_567]) {
        let text = "x".repeat(len);
        writes_same(
            |e| e.bulk(text.as_bytes()),
            &format!("${len}\r\n{text}\r\n"),
        );
    }
}

#[test]
fn headers_of_every_size_class_are_written() {
    for len in [
        0usize,
        1,
        9,
        10,
        99,
        100,
        127,
        128,
        999,
        1000,
        1001,
        65_536,
        4_294_967_296,
    ] {
        writes_same(|e| e.array(len), &format!("*{len}\r\n"));
        writes(
            |e| e.map(len),
            &format!("*{}\r\n", 2 * len),
            &format!("%{len}\r\n"),
        );
        writes(
            |e| e.set(len),
            &format!("*{len}\r\n"),
            &format!("~{len}\r\n"),
        );
        writes(
            |e| e.push(len),
            &format!("*{len}\r\n"),
            &format!(">{len}\r\n"),
        );
    }
}

#[test]
fn what_only_resp3_has_falls_back_in_resp2() {
    writes(|e| e.null(), "$-1\r\n", "_\r\n");
    writes(|e| e.null_array(), "*-1\r\n", "_\r\n");
    writes(|e| e.boolean(true), ":1\r\n", "#t\r\n");
    writes(|e| e.boolean(false), ":0\r\n", "#f\r\n");
    writes(|e| e.double(1.5), "$3\r\n1.5\r\n", ",1.5\r\n");
    writes(
        |e| e.double(f64::NEG_INFINITY),
        "$4\r\n-inf\r\n",
        ",-inf\r\n",
    );
    writes(|e| e.double(f64::INFINITY), "$3\r\ninf\r\n", ",inf\r\n");
    writes(|e| e.double(f64::NAN), "$3\r\nnan\r\n", ",nan\r\n");
    writes(
        |e| e.big_number("-12345678901234567890"),
        "$21\r\n-12345678901234567890\r\n",
        "(-12345678901234567890\r\n",
    );
    writes(
        |e| e.verbatim("txt", b"a\r\nb"),
        "$4\r\na\r\nb\r\n",
        "=8\r\ntxt:a\r\nb\r\n",
    );
}

#[test]
fn displayed_values_are_bulk_strings() {
    writes_same(|e| e.bulk_display(-17), "$3\r\n-17\r\n");
    writes_same(|e| e.bulk_display(""), "$0\r\n\r\n");
    writes_same(
        |e| e.bulk_display("x".repeat(300)),
        &format!("$300\r\n{}\r\n", "x".repeat(300)),
    );
}

#[test]
fn an_array_gets_its_length_at_the_end() {
    writes_same(
        |e| {
            let outer = e.deferred_array();
            e.ok();
            let inner = e.deferred_array();
            e.finish_array(inner, 0);
            let inner = e.deferred_array();
            (0..12).for_each(|n| e.integer(n % 10));
            e.finish_array(inner, 12);
            e.finish_array(outer, 3);
        },
        &format!(
            "*3\r\n+OK\r\n*0\r\n*12\r\n{}",
            (0..12)
                .map(|n| format!(":{}\r\n", n % 10))
                .collect::<String>()
        ),
    );
}

#[test]
fn encoded_bytes_pass_through() {
    writes_same(|e| e.buffer().extend_from_slice(b":1\r\n"), ":1\r\n");
}

#[derive(Clone, Debug)]
enum Reply {
    Simple(String),
    Error(String),
    Integer(i64),
    Bulk(Vec<u8>),
    Display(u32),
    Double(f64),
    Boolean(bool),
    BigNumber(u64),
    Verbatim(Vec<u8>),
    Null,
    NullArray,
    Array(Vec<Reply>),
    Deferred(Vec<Reply>),
    Push(Vec<Reply>),
    Map(Vec<(u64, Reply)>),
    Set(Vec<i64>),
}

impl Reply {
    fn write(&self, e: &mut Encoder<'_>) {
        match self {
            Reply::Simple(text) => e.simple(text),
            Reply::Error(text) => e.error(text),
            Reply::Integer(n) => e.integer(*n),
            Reply::Bulk(bytes) => e.bulk(bytes),
            Reply::Display(n) => e.bulk_display(n),
            Reply::Double(n) => e.double(*n),
            Reply::Boolean(b) => e.boolean(*b),
            Reply::BigNumber(n) => e.big_number(&n.to_string()),
            Reply::Verbatim(text) => e.verbatim("txt", text),
            Reply::Null => e.null(),
            Reply::NullArray => e.null_array(),
            Reply::Array(replies) => {
                e.array(replies.len());
                replies.iter().for_each(|reply| reply.write(e));
            }
            Reply::Deferred(replies) => {
                let array = e.deferred_array();
                replies.iter().for_each(|reply| reply.write(e));
                e.finish_array(array, replies.len());
            }
            Reply::Push(replies) => {
                e.push(replies.len());
                replies.iter().for_each(|reply| reply.write(e));
            }
            Reply::Map(pairs) => {
                e.map(pairs.len());
                for (key, value) in pairs {
                    e.bulk_display(key);
                    value.write(e);
                }
            }
            Reply::Set(members) => {
                e.set(members.len());
                members.iter().for_each(|member| e.integer(*member));
            }
        }
    }
}

fn reply() -> impl Strategy<Value = Reply> {
    let bytes = prop::collection::vec(any::<u8>(), 0..140);
    let leaf = prop_oneof![
        ".{0,9}".prop_map(Reply::Simple),
        "[ -~\r\n]{0,9}".prop_map(Reply::Error),
        any::<i64>().prop_map(Reply::Integer),
        (-200i64..1200).prop_map(Reply::Integer),
        bytes.clone().prop_map(Reply::Bulk),
        any::<u32>().prop_map(Reply::Display),
        any::<u64>().prop_map(|bits| Reply::Double(f64::from_bits(bits))),
        any::<bool>().prop_map(Reply::Boolean),
        any::<u64>().prop_map(Reply::BigNumber),
        bytes.prop_map(Reply::Verbatim),
        Just(Reply::Null),
        Just(Reply::NullArray),
        prop::collection::vec(any::<i64>(), 0..9).prop_map(Reply::Set),
    ];
    leaf.prop_recursive(4, 40, 6, |inner| {
        let replies = prop::collection::vec(inner.clone(), 0..6);
        prop_oneof![
            replies.clone().prop_map(Reply::Array),
            replies.clone().prop_map(Reply::Deferred),
            replies.prop_map(Reply::Push),
            prop::collection::vec((any::<u64>(), inner), 0..6).prop_map(Reply::Map),
        ]
    })
}

proptest! {
    #[test]
    fn what_is_encoded_decodes(reply in reply()) {
        let mut out = Vec::new();
        reply.write(&mut Encoder::new(&mut out, Protocol::Resp2));
        let (_, len) = decode_resp2(&out).unwrap().expect("a complete reply");
        prop_assert_eq!(len, out.len());
        out.clear();
        reply.write(&mut Encoder::new(&mut out, Protocol::Resp3));
        let (_, len) = decode_resp3(&out).unwrap().expect("a complete reply");
        prop_assert_eq!(len, out.len());
    }

    #[test]
    fn integers_and_bulk_strings_decode_to_themselves(
        number: i64,
        bytes in prop::collection::vec(any::<u8>(), 0..2000),
    ) {
        use redis_protocol::resp2::types::OwnedFrame;
        let mut out = Vec::new();
        let mut encoder = Encoder::new(&mut out, Protocol::Resp2);
        encoder.array(2);
        encoder.integer(number);
        encoder.bulk(&bytes);
        let expected =
            OwnedFrame::Array(vec![OwnedFrame::Integer(number), OwnedFrame::BulkString(bytes)]);
        prop_assert_eq!(decode_resp2(&out).unwrap().unwrap().0, expected);
    }
}
