use proptest::prelude::*;

use super::*;

type Batch = Vec<Vec<Vec<u8>>>;

/// Parses a stream that arrives in the given chunks, as a connection would.
fn feed<'a>(
    chunks: impl IntoIterator<Item = &'a [u8]>,
    limits: &Limits,
    max_requests: usize,
) -> (Batch, Option<ProtocolError>, usize) {
    let (mut parser, mut requests, mut buf) = (Parser::default(), Requests::default(), Vec::new());
    let mut parsed = Batch::new();
    for chunk in chunks {
        buf.extend_from_slice(chunk);
        loop {
            requests.clear();
            let consumed = parser.parse(&mut buf, limits, max_requests, &mut requests);
            assert!(requests.ranges.len() <= buf.len());
            for i in 0..requests.len() {
                parsed.push(requests.args(i, &buf).iter().map(<[u8]>::to_vec).collect());
            }
            match consumed {
                Err(error) => return (parsed, Some(error), buf.len()),
                Ok(consumed) => drop(buf.drain(..consumed)),
            }
            assert!(parser.wanted() == 0 || parser.wanted() > buf.len());
            if requests.len() < max_requests {
                break;
            }
        }
    }
    (parsed, None, buf.len())
}

fn whole(stream: &[u8]) -> (Batch, Option<ProtocolError>, usize) {
    feed([stream], &Limits::default(), usize::MAX)
}

fn error(stream: &[u8], limits: &Limits) -> ProtocolError {
    let (requests, error, _) = feed([stream], limits, usize::MAX);
    assert_eq!(requests, Batch::new());
    let (_, bytewise, _) = feed(stream.chunks(1), limits, usize::MAX);
    assert_eq!(error, bytewise, "{}", stream.escape_ascii());
    error.expect("the stream is malformed")
}

fn args(words: &[&str]) -> Vec<Vec<u8>> {
    words.iter().map(|word| word.as_bytes().to_vec()).collect()
}

#[test]
fn a_pipeline_is_cut_into_requests() {
    let (requests, error, rest) =
        whole(b"*1\r\n$4\r\nPING\r\n*2\r\n$3\r\nGET\r\n$0\r\n\r\nset a 1\r\n*1\r\n$4\r\nPI");
    assert_eq!(
        requests,
        [
            args(&["PING"]),
            args(&["GET", ""]),
            args(&["set", "a", "1"])
        ]
    );
    assert_eq!((error, rest), (None, 10));
}

#[test]
fn empty_requests_yield_nothing() {
    let (requests, error, rest) =
        whole(b"\r\n\n  \r\n*0\r\n*-1\r\n*-9223372036854775808\r\nPING\n");
    assert_eq!((requests, error, rest), (vec![args(&["PING"])], None, 0));
}

#[test]
fn no_more_requests_are_taken_than_asked_for() {
    let (mut parser, mut requests) = (Parser::default(), Requests::default());
    let mut buf = b"a\r\n*1\r\n$1\r\nb\r\nc\r\n".to_vec();
    let limits = Limits::default();
    assert_eq!(parser.parse(&mut buf, &limits, 0, &mut requests), Ok(0));
    assert_eq!(parser.parse(&mut buf, &limits, 2, &mut requests), Ok(14));
    assert_eq!(requests.len(), 2);
    // The limit counts what one call adds.
    buf.drain(..14);
    requests.clear();
    assert_eq!(parser.parse(&mut buf, &limits, 2, &mut requests), Ok(3));
    assert_eq!(requests.args(0, &buf).arg(0), b"c");
}

#[test]
fn requests_before_a_malformed_one_are_kept() {
    let (requests, error, _) = whole(b"PING\r\n*1\r\n$1\r\nx\r\n*2\r\n$1\r\ny\r\n:1\r\n");
    assert_eq!(requests, [args(&["PING"]), args(&["x"])]);
    assert_eq!(error, Some(ProtocolError::ExpectedBulk(b':')));
}

#[test]
fn the_line_end_behind_an_argument_is_not_looked_at() {
    let (requests, error, rest) = whole(b"*2\r\n$1\r\naXY$1\rZb\r\n");
    assert_eq!((requests, error, rest), (vec![args(&["a", "b"])], None, 0));
}

#[test]
fn every_error_has_the_text_of_redis() {
    let limits = Limits {
        max_inline_bytes: 64,
        max_args: 1000,
        ..Limits::default()
    };
    let long = "1".repeat(65);
    let cases: &[(&str, &str)] = &[
        ("*3000000000\r\n", "invalid multibulk length"),
        ("*1001\r\n", "invalid multibulk length"),
        ("*\r\n", "invalid multibulk length"),
        ("*01\r\n", "invalid multibulk length"),
        ("*+1\r\n", "invalid multibulk length"),
        ("*-0\r\n", "invalid multibulk length"),
        ("*1 \r\n", "invalid multibulk length"),
        ("*9223372036854775808\r\n", "invalid multibulk length"),
        ("*1\r\nfoo\r\n", "expected '$', got 'f'"),
        ("*1\r\n\r\n", "expected '$', got '\r'"),
        ("*1\r\n$536870913\r\n", "invalid bulk length"),
        ("*1\r\n$-1\r\n", "invalid bulk length"),
        ("*1\r\n$\r\n", "invalid bulk length"),
        ("*1\r\n$00\r\n", "invalid bulk length"),
        ("*1\r\n$2000000000\r\n", "invalid bulk length"),
        ("*1\r\n$blabla\r\n", "invalid bulk length"),
        (&format!("*{long}"), "too big mbulk count string"),
        (&format!("*1\r\n${long}"), "too big bulk count string"),
        (&long, "too big inline request"),
        ("set \"a b\"c\r\n", "unbalanced quotes in request"),
        ("set 'a\r\n", "unbalanced quotes in request"),
    ];
    for (stream, text) in cases {
        let error = error(stream.as_bytes(), &limits);
        assert_eq!(
            error.to_string(),
            format!("Protocol error: {text}"),
            "{stream:?}"
        );
    }
}

#[test]
fn a_line_is_refused_one_byte_past_its_limit() {
    let limits = Limits {
        max_inline_bytes: 8,
        ..Limits::default()
    };
    let (requests, error, _) = feed([&b"12345678\n"[..]], &limits, usize::MAX);
    assert_eq!((requests, error), (vec![args(&["12345678"])], None));
    for line in [&b"123456789"[..], b"123456789\n"] {
        let (_, error, _) = feed([line], &limits, usize::MAX);
        assert_eq!(error, Some(ProtocolError::TooBigInline));
    }
    let (requests, error, _) = feed([&[b'x'; 64 << 10][..], b"\n"], &Limits::default(), 1);
    assert_eq!((requests.len(), error), (1, None));
}

#[test]
fn who_has_not_authenticated_may_send_little() {
    let limits = Limits {
        authenticated: false,
        ..Limits::default()
    };
    let error = |stream: &[u8]| error(stream, &limits).to_string();
    assert_eq!(
        error(b"*11\r\n"),
        "Protocol error: unauthenticated multibulk length"
    );
    assert_eq!(
        error(b"*1\r\n$16385\r\n"),
        "Protocol error: unauthenticated bulk length"
    );
    let mut stream = b"*10\r\n".to_vec();
    stream.extend(b"$1\r\nx\r\n".repeat(9));
    stream.extend(b"$16384\r\n");
    stream.resize(stream.len() + 16384, b'x');
    stream.extend(b"\r\n");
    let (requests, error, _) = feed([&stream[..]], &limits, usize::MAX);
    assert_eq!((requests.len(), error), (1, None));
}

#[test]
fn a_request_that_offsets_cannot_address_is_refused() {
    let limits = Limits {
        max_bulk_bytes: usize::MAX,
        ..Limits::default()
    };
    let last = u32::MAX as usize - b"*1\r\n$4294967295\r\n".len() - 2;
    let refused = error(format!("*1\r\n${}\r\n", last + 1).as_bytes(), &limits);
    assert_eq!(refused, ProtocolError::TooBigRequest);
    let (_, error, _) = feed(
        [format!("*1\r\n${last}\r\n").as_bytes()],
        &limits,
        usize::MAX,
    );
    assert_eq!(error, None);
}

#[test]
fn a_search_that_stopped_within_a_line_does_not_skip_the_next() {
    let chunks = [&b"*2\r\n$"[..], b"1\r", b"\n1..\r\n"];
    let (_, error, _) = feed(chunks, &Limits::default(), 1);
    assert_eq!(error, Some(ProtocolError::ExpectedBulk(b'\r')));
}

#[test]
fn the_parser_says_how_much_it_waits_for() {
    let (mut parser, mut requests) = (Parser::default(), Requests::default());
    let mut buf = b"*3\r\n$3\r\nSET\r\n$1000\r\nab".to_vec();
    let limits = Limits::default();
    assert_eq!(parser.parse(&mut buf, &limits, 9, &mut requests), Ok(0));
    assert_eq!(parser.wanted(), 4 + 9 + 7 + 1000 + 2 + MIN_ARG_BYTES);
    buf.resize(4 + 9 + 7 + 1000, b'x');
    buf.extend(b"\r\n$0\r\n\r\n");
    assert_eq!(
        parser.parse(&mut buf, &limits, 9, &mut requests),
        Ok(buf.len())
    );
    assert_eq!(parser.wanted(), 0);
    assert_eq!(requests.args(0, &buf).arg(1).len(), 1000);
}

#[test]
fn a_declared_length_reserves_nothing() {
    let (mut parser, mut requests) = (Parser::default(), Requests::default());
    let mut buf = b"*1048576\r\n$536870912\r\n".to_vec();
    assert_eq!(
        parser.parse(&mut buf, &Limits::default(), 9, &mut requests),
        Ok(0)
    );
    assert!(parser.partial.capacity() <= KEPT_RANGES);
    assert!(requests.ranges.capacity() <= KEPT_RANGES);
}

/// What Redis's number parser takes, told by the standard library's.
fn reference_decimal(text: &str) -> Option<i64> {
    let number: i64 = text.parse().ok()?;
    (number.to_string() == text).then_some(number)
}

#[derive(Clone, Debug)]
enum Request {
    Multibulk(Vec<Vec<u8>>),
    Inline(Vec<Vec<u8>>),
    Empty(&'static [u8]),
}

impl Request {
    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Request::Multibulk(args) => {
                out.extend(format!("*{}\r\n", args.len()).bytes());
                for arg in args {
                    out.extend(format!("${}\r\n", arg.len()).bytes());
                    out.extend(arg);
                    out.extend(b"\r\n");
                }
            }
            Request::Inline(words) => {
                for (i, word) in words.iter().enumerate() {
                    quote(word, i, out);
                    out.extend(if i % 2 == 0 { &b" "[..] } else { b"\t " });
                }
                out.extend(if words.len() % 2 == 0 {
                    &b"\r\n"[..]
                } else {
                    b"\n"
                });
            }
            Request::Empty(bytes) => out.extend(*bytes),
        }
    }

    fn args(&self) -> Option<Vec<Vec<u8>>> {
        match self {
            Request::Multibulk(args) | Request::Inline(args) => Some(args.clone()),
            Request::Empty(_) => None,
        }
    }
}

/// Writes a word so that it reads back as itself, in one of the ways there are.
fn quote(word: &[u8], style: usize, out: &mut Vec<u8>) {
    let plain = !word.is_empty() && word.iter().all(u8::is_ascii_alphanumeric);
    let single = word.iter().all(|b| !b"\\'\n".contains(b));
    match style % 3 {
        0 if plain => out.extend(word),
        1 if single => {
            out.push(b'\'');
            out.extend(word);
            out.push(b'\'');
        }
        _ => {
            out.push(b'"');
            for byte in word {
                match byte {
                    b'a'..=b'z' => out.push(*byte),
                    b'"' | b'\\' => out.extend([b'\\', *byte]),
                    _ => out.extend(format!("\\x{byte:02X}").bytes()),
                }
            }
            out.push(b'"');
        }
    }
}

fn request() -> impl Strategy<Value = Request> {
    let arg = prop_oneof![
        8 => prop::collection::vec(any::<u8>(), 0..20),
        1 => prop::collection::vec(any::<u8>(), 90..1100),
    ];
    prop_oneof![
        5 => prop::collection::vec(arg.clone(), 1..6).prop_map(Request::Multibulk),
        1 => prop::collection::vec(Just(b"x".to_vec()), 90..130).prop_map(Request::Multibulk),
        3 => prop::collection::vec(arg, 1..6).prop_map(Request::Inline),
        1 => prop::sample::select(vec![&b"*0\r\n"[..], b"*-1\r\n", b"\r\n", b"\n", b"  \r\n"])
            .prop_map(Request::Empty),
    ]
}

/// Cuts a stream at the given places, taken modulo what is left.
fn cut<'a>(mut stream: &'a [u8], cuts: &[usize]) -> Vec<&'a [u8]> {
    let mut chunks = Vec::new();
    for cut in cuts {
        let (chunk, rest) = stream.split_at(cut % (stream.len() + 1));
        chunks.push(chunk);
        stream = rest;
    }
    chunks.push(stream);
    chunks
}

fn hostile() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        prop::sample::select(vec![
            &b"*1\r\n"[..],
            b"*2\r\n",
            b"*100\r\n",
            b"*",
            b"$",
            b"$1\r\n",
            b"$3\r\nfoo\r\n",
            b"$0\r\n\r\n",
            b"\r",
            b"\n",
            b"\"",
            b"'",
            b"\\",
            b"\\x4",
            b" ",
            b"$10\r\n",
            b"*-1\r\n",
            b"*0\r\n",
            b"$-1\r\n",
            b"0",
            b"9",
            b"$999999999\r\n",
            b"*2147483648\r\n",
            b"a b\n",
            b"*3\r\n$3\r\nSET\r\n",
        ])
        .prop_map(<[u8]>::to_vec),
        prop::collection::vec(any::<u8>(), 0..6),
    ];
    prop::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn any_split_of_a_stream_parses_like_the_whole(
        requests in prop::collection::vec(request(), 0..12),
        cuts in prop::collection::vec(0usize..400, 0..30),
        max_requests in 1usize..5,
    ) {
        let mut stream = Vec::new();
        requests.iter().for_each(|request| request.write(&mut stream));
        let expected: Batch = requests.iter().filter_map(Request::args).collect();
        let limits = Limits::default();
        prop_assert_eq!(whole(&stream), (expected.clone(), None, 0));
        let split = feed(cut(&stream, &cuts), &limits, max_requests);
        prop_assert_eq!(split, (expected.clone(), None, 0));
        let bytewise = feed(stream.chunks(1), &limits, usize::MAX);
        prop_assert_eq!(bytewise, (expected, None, 0));
    }

    #[test]
    fn any_split_of_hostile_bytes_fails_like_the_whole(
        stream in hostile(),
        cuts in prop::collection::vec(0usize..40, 0..30),
        authenticated: bool,
    ) {
        let limits = Limits { max_inline_bytes: 50, max_args: 99, authenticated, ..Limits::default() };
        let (requests, error, rest) = feed([&stream[..]], &limits, usize::MAX);
        let (split_requests, split_error, split_rest) = feed(cut(&stream, &cuts), &limits, 3);
        prop_assert_eq!(requests, split_requests);
        prop_assert_eq!(error, split_error);
        prop_assert!(error.is_some() || rest == split_rest);
    }

    #[test]
    fn the_fast_path_agrees_with_the_rules(stream in hostile(), authenticated: bool) {
        let limits = Limits { authenticated, max_args: 50, ..Limits::default() };
        let (mut fast, mut slow) = (Requests::default(), Requests::default());
        if stream.first() == Some(&b'*') {
            let taken = fast::multibulk(&stream, 0, &limits, &mut fast);
            let parsed = Parser::default().multibulk(&stream, 0, &limits, &mut slow);
            if let Some(end) = taken {
                prop_assert_eq!(parsed, Ok(Some(end)));
                prop_assert_eq!(&fast.ranges, &slow.ranges);
            } else {
                prop_assert!(fast.ranges.is_empty() && fast.is_empty());
            }
        }
    }

    #[test]
    fn numbers_are_read_as_they_are_written(number: i64, text in "-?[0-9+]{0,20}") {
        prop_assert_eq!(decimal(number.to_string().as_bytes()), Some(number));
        prop_assert_eq!(decimal(text.as_bytes()), reference_decimal(&text));
    }
}
