//! The slow log: the latest commands that took long, for `SLOWLOG`.
//!
//! Bounded in entries, and in what an entry keeps of a command's arguments, so a slow command with
//! a large argument does not hold on to its memory. Which commands are slow enough, and whether a
//! command may be shown at all (`AUTH` may not), is decided by the caller.

use std::collections::VecDeque;

use bailiwick_frame::{Args, Encoder};

/// The most arguments an entry keeps; of a longer command the last place says how many are missing.
const ARGS_MAX: usize = 32;
/// The most bytes an entry keeps of an argument.
const ARG_BYTES_MAX: usize = 128;

/// Entries, newest first.
///
/// Invariants: `entries.len() <= the bound given with the latest record`; ids rise by one from
/// entry to entry and are never used again, not even after a reset.
#[derive(Debug, Default)]
pub struct Slowlog {
    entries: VecDeque<SlowCommand>,
    next_id: u64,
}

/// A command that took long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlowCommand {
    /// Counts all entries there ever were.
    pub id: u64,
    /// Unix time of its end, in seconds.
    pub at_s: i64,
    /// How long it ran, in microseconds.
    pub duration_us: u64,
    /// The arguments, cut to size.
    pub args: Vec<Vec<u8>>,
    /// The client's address and port.
    pub client_address: String,
    /// The name that the client gave itself.
    pub client_name: String,
}

impl Slowlog {
    /// Keeps a command; drops the oldest ones beyond `max_len` entries.
    pub fn record(
        &mut self,
        args: Args<'_>,
        duration_us: u64,
        at_s: i64,
        client_address: &str,
        client_name: &str,
        max_len: usize,
    ) {
        if max_len > 0 {
            self.entries.push_front(SlowCommand {
                id: self.next_id,
                at_s,
                duration_us,
                args: shortened(args),
                client_address: client_address.to_owned(),
                client_name: client_name.to_owned(),
            });
        }
        self.next_id += 1;
        self.entries.truncate(max_len);
    }

    /// The newest `count` entries, newest first.
    pub fn newest(&self, count: usize) -> impl ExactSizeIterator<Item = &SlowCommand> {
        self.entries.iter().take(count)
    }

    /// Number of entries.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is no entry.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Forgets all entries.
    pub fn reset(&mut self) {
        self.entries.clear();
    }

    /// Writes the reply of `SLOWLOG GET` for the newest `count` entries.
    pub fn write_get(&self, count: usize, encoder: &mut Encoder<'_>) {
        let entries = self.newest(count);
        encoder.array(entries.len());
        for entry in entries {
            encoder.array(6);
            encoder.integer(entry.id as i64);
            encoder.integer(entry.at_s);
            encoder.integer(entry.duration_us as i64);
            encoder.array(entry.args.len());
            entry.args.iter().for_each(|arg| encoder.bulk(arg));
            encoder.bulk(entry.client_address.as_bytes());
            encoder.bulk(entry.client_name.as_bytes());
        }
    }
}

/// Copies of the arguments within the bounds, with a remark in place of what was cut.
fn shortened(args: Args<'_>) -> Vec<Vec<u8>> {
    let kept = if args.len() > ARGS_MAX {
        ARGS_MAX - 1
    } else {
        args.len()
    };
    let mut shortened: Vec<Vec<u8>> = args.iter().take(kept).map(shorten).collect();
    if args.len() > kept {
        let more = args.len() - kept;
        shortened.push(format!("... ({more} more arguments)").into_bytes());
    }
    shortened
}

fn shorten(arg: &[u8]) -> Vec<u8> {
    let Some(more) = arg
        .len()
        .checked_sub(ARG_BYTES_MAX)
        .filter(|more| *more > 0)
    else {
        return arg.to_vec();
    };
    let mut shortened = arg[..ARG_BYTES_MAX].to_vec();
    shortened.extend_from_slice(format!("... ({more} more bytes)").as_bytes());
    shortened
}

#[cfg(test)]
mod tests {
    use bailiwick_frame::{ArgRange, Protocol};

    use super::*;

    fn record(log: &mut Slowlog, words: &[&str], max_len: usize) {
        let buffer = words.concat();
        let mut end = 0;
        let ranges: Vec<ArgRange> = words
            .iter()
            .map(|word| {
                let start = end;
                end += word.len() as u32;
                ArgRange { start, end }
            })
            .collect();
        let args = Args::new(buffer.as_bytes(), &ranges);
        log.record(args, 15, 1_700_000_000, "127.0.0.1:5", "me", max_len);
    }

    #[test]
    fn the_oldest_entries_go_first_and_ids_are_never_reused() {
        let mut log = Slowlog::default();
        for word in ["A", "B", "C"] {
            record(&mut log, &[word], 2);
        }
        let ids = |log: &Slowlog| log.newest(10).map(|entry| entry.id).collect::<Vec<_>>();
        assert_eq!(ids(&log), [2, 1]);
        log.reset();
        assert!(log.is_empty());
        record(&mut log, &["D"], 2);
        assert_eq!(ids(&log), [3]);
        record(&mut log, &["E"], 0);
        assert_eq!(log.len(), 0);
    }

    #[test]
    fn many_arguments_are_cut_to_32() {
        let mut log = Slowlog::default();
        record(&mut log, &["x"; 32], 10);
        record(&mut log, &["x"; 40], 10);
        let sizes: Vec<_> = log.newest(10).map(|entry| entry.args.len()).collect();
        assert_eq!(sizes, [32, 32]);
        let newest = log.newest(1).next().unwrap();
        assert_eq!(newest.args[31], b"... (9 more arguments)");
        assert_eq!(newest.args[30], b"x");
    }

    #[test]
    fn long_arguments_are_cut_to_128_bytes() {
        let mut log = Slowlog::default();
        record(&mut log, &[&"x".repeat(128), &"y".repeat(200)], 10);
        let entry = log.newest(1).next().unwrap();
        assert_eq!(entry.args[0].len(), 128);
        let expected = format!("{}... (72 more bytes)", "y".repeat(128));
        assert_eq!(entry.args[1], expected.as_bytes());
    }

    #[test]
    fn the_reply_has_six_fields_an_entry() {
        let mut log = Slowlog::default();
        record(&mut log, &["GET", "k"], 10);
        let mut out = Vec::new();
        log.write_get(10, &mut Encoder::new(&mut out, Protocol::Resp2));
        let expected = "*1\r\n*6\r\n:0\r\n:1700000000\r\n:15\r\n*2\r\n$3\r\nGET\r\n$1\r\nk\r\n\
                        $11\r\n127.0.0.1:5\r\n$2\r\nme\r\n";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }
}
