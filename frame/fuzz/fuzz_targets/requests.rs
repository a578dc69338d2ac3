//! A stream of requests parses the same however it is split: the first bytes of the input
//! choose the limits and where the rest is cut.
#![no_main]

use bailiwick_frame::{Limits, Parser, ProtocolError, Requests};
use libfuzzer_sys::fuzz_target;

/// How many bytes of the input choose cuts.
const CUTS: usize = 8;

type Parsed = (Vec<Vec<Vec<u8>>>, Option<ProtocolError>, usize);

fn feed<'a>(chunks: impl Iterator<Item = &'a [u8]>, limits: &Limits, max: usize) -> Parsed {
    let (mut parser, mut requests, mut buf) = (Parser::default(), Requests::default(), Vec::new());
    let mut parsed = Vec::new();
    for chunk in chunks {
        buf.extend_from_slice(chunk);
        loop {
            requests.clear();
            let consumed = parser.parse(&mut buf, limits, max, &mut requests);
            let arguments: usize = (0..requests.len())
                .map(|i| requests.args(i, &buf).len())
                .sum();
            assert!(arguments <= buf.len());
            for i in 0..requests.len() {
                let args = requests.args(i, &buf);
                assert!(!args.is_empty());
                parsed.push(args.iter().map(<[u8]>::to_vec).collect());
            }
            match consumed {
                Err(error) => return (parsed, Some(error), 0),
                Ok(consumed) => drop(buf.drain(..consumed)),
            }
            if requests.len() < max {
                break;
            }
        }
    }
    (parsed, None, buf.len())
}

fuzz_target!(|data: &[u8]| {
    let Some((&[flags, ref cuts @ ..], stream)) = data.split_first_chunk::<{ CUTS + 1 }>() else {
        return;
    };
    let limits = Limits {
        authenticated: flags & 1 == 0,
        max_inline_bytes: if flags & 2 == 0 { 64 << 10 } else { 20 },
        ..Limits::default()
    };
    let whole = feed([stream].into_iter(), &limits, usize::MAX);
    let mut rest = stream;
    let mut chunks = Vec::new();
    for &cut in cuts {
        let (chunk, tail) = rest.split_at(usize::from(cut).min(rest.len()));
        chunks.push(chunk);
        rest = tail;
    }
    chunks.push(rest);
    let split = feed(chunks.into_iter(), &limits, 1 + usize::from(flags >> 4));
    assert_eq!(whole, split);
});
