//! LCS: the longest common subsequence of two strings.
//!
//! The classic table of lengths, one cell for each pair of prefixes, walked back from its last
//! cell for the sequence or its ranges. Where only the length is wanted, two rows do. The bound on
//! the table's memory holds in either case, so that the answer does not depend on the options.

use bailiwick_frame::{Args, Encoder};

use super::parse::integer;
use super::{
    Category, Command, CommandError, DEFAULT, Flag, Group, Handler, Keys, Outcome, ReadContext,
    StringRef, check_string_len, is_option,
};

/// The rows of this module.
pub(super) static COMMANDS: &[Command] = &[Command {
    name: "lcs",
    arity: -3,
    flags: Flag::Readonly as u32,
    categories: Category::String as u32,
    keys: Keys::Range {
        first: 1,
        last: 2,
        step: 1,
    },
    group: Group::String,
    since: "7.0.0",
    complexity: "O(N*M), N and M being the lengths of the strings.",
    summary: "Finds the longest common subsequence of two strings.",
    syntax: "key1 key2 [LEN] [IDX] [MINMATCHLEN min-match-len] [WITHMATCHLEN]",
    handler: Handler::Read(lcs),
    ..DEFAULT
}];

fn lcs(ctx: &ReadContext<'_>, args: Args<'_>, out: &mut Encoder<'_>) -> Outcome {
    let string = |index| match ctx.string(args.arg(index)) {
        Ok(found) => Ok(found.map_or_else(Vec::new, StringRef::to_vec)),
        Err(_) => Err(CommandError::text(
            "ERR The specified keys must contain string values",
        )),
    };
    let (a, b) = (string(1)?, string(2)?);
    let options = Options::parse(args)?;
    check_size(a.len(), b.len())?;
    if options.length_only {
        out.integer(length(&a, &b).into());
        return Ok(());
    }
    let table = Table::new(&a, &b);
    if options.ranges {
        table.write_ranges(&options, out);
    } else {
        out.bulk(&table.sequence());
    }
    Ok(())
}

struct Options {
    length_only: bool,
    ranges: bool,
    min_len: i64,
    with_len: bool,
}

impl Options {
    fn parse(args: Args<'_>) -> Result<Self, CommandError> {
        let mut options = Self {
            length_only: false,
            ranges: false,
            min_len: 0,
            with_len: false,
        };
        let mut index = 3;
        while index < args.len() {
            if is_option(args, index, "idx") {
                options.ranges = true;
            } else if is_option(args, index, "len") {
                options.length_only = true;
            } else if is_option(args, index, "withmatchlen") {
                options.with_len = true;
            } else if is_option(args, index, "minmatchlen") && index + 1 < args.len() {
                index += 1;
                options.min_len = integer(args.arg(index))?;
            } else {
                return Err(CommandError::Syntax);
            }
            index += 1;
        }
        if options.ranges && options.length_only {
            const TEXT: &str = "ERR If you want both the length and indexes, please just use IDX.";
            return Err(CommandError::text(TEXT));
        }
        Ok(options)
    }
}

/// Refuses strings whose table would be larger than a string may be.
fn check_size(a_len: usize, b_len: usize) -> Outcome {
    if a_len.max(b_len) >= u32::MAX as usize - 1 {
        return Err(CommandError::text("ERR String too long for LCS"));
    }
    let cells = (a_len + 1).saturating_mul(b_len + 1);
    check_string_len(cells.saturating_mul(size_of::<u32>())).map_err(|_| {
        CommandError::text(
            "ERR Insufficient memory, transient memory for LCS exceeds proto-max-bulk-len",
        )
    })
}

/// Fills the row behind `above`: cell `j` is the length for one byte more of the first string, and
/// `j` bytes of the second.
fn fill_row(byte: u8, b: &[u8], above: &[u32], row: &mut [u32]) {
    let mut left = 0;
    let pairs = above.windows(2).zip(b);
    for (cell, (pair, &other)) in row[1..].iter_mut().zip(pairs) {
        left = if byte == other {
            pair[0] + 1
        } else {
            left.max(pair[1])
        };
        *cell = left;
    }
}

fn length(a: &[u8], b: &[u8]) -> u32 {
    let (mut above, mut row) = (vec![0; b.len() + 1], vec![0; b.len() + 1]);
    for &byte in a {
        fill_row(byte, b, &above, &mut row);
        std::mem::swap(&mut above, &mut row);
    }
    above[b.len()]
}

/// The lengths for all pairs of prefixes of two strings.
struct Table<'a> {
    a: &'a [u8],
    b: &'a [u8],
    cells: Vec<u32>,
}

/// A common part of both strings: where it starts in each, and its length.
#[derive(Clone, Copy)]
struct Match {
    a: usize,
    b: usize,
    len: usize,
}

impl<'a> Table<'a> {
    fn new(a: &'a [u8], b: &'a [u8]) -> Self {
        let width = b.len() + 1;
        let mut cells = vec![0; (a.len() + 1) * width];
        for (index, &byte) in a.iter().enumerate() {
            let (above, rows) = cells[index * width..].split_at_mut(width);
            fill_row(byte, b, above, &mut rows[..width]);
        }
        Self { a, b, cells }
    }

    fn cell(&self, i: usize, j: usize) -> u32 {
        self.cells[i * (self.b.len() + 1) + j]
    }

    fn len(&self) -> u32 {
        self.cell(self.a.len(), self.b.len())
    }

    fn sequence(&self) -> Vec<u8> {
        let mut sequence = Vec::with_capacity(self.len() as usize);
        self.walk_back(|found| {
            sequence.extend(self.a[found.a..found.a + found.len].iter().rev());
        });
        sequence.reverse();
        sequence
    }

    fn write_ranges(&self, options: &Options, out: &mut Encoder<'_>) {
        out.map(2);
        out.bulk(b"matches");
        let started = out.deferred_array();
        let mut count = 0;
        self.walk_back(|found| {
            if (found.len as i64) < options.min_len {
                return;
            }
            count += 1;
            out.array(if options.with_len { 3 } else { 2 });
            for start in [found.a, found.b] {
                out.array(2);
                out.integer(start as i64);
                out.integer((start + found.len - 1) as i64);
            }
            if options.with_len {
                out.integer(found.len as i64);
            }
        });
        out.finish_array(started, count);
        out.bulk(b"len");
        out.integer(self.len().into());
    }

    /// Visits the matches of the subsequence from the last to the first. Of several longest
    /// subsequences this is the one that Redis finds.
    fn walk_back(&self, mut visit: impl FnMut(Match)) {
        let (mut i, mut j) = (self.a.len(), self.b.len());
        let mut open: Option<Match> = None;
        while i > 0 && j > 0 {
            if self.a[i - 1] == self.b[j - 1] {
                (i, j) = (i - 1, j - 1);
                open = Some(Match {
                    a: i,
                    b: j,
                    len: open.map_or(0, |open| open.len) + 1,
                });
                continue;
            }
            // A step aside ends the match that was being followed.
            open.take().into_iter().for_each(&mut visit);
            if self.cell(i - 1, j) > self.cell(i, j - 1) {
                i -= 1;
            } else {
                j -= 1;
            }
        }
        open.into_iter().for_each(visit);
    }
}

#[cfg(test)]
mod tests {
    use bailiwick_frame::Protocol;

    use super::*;
    use crate::commands::testing::{Fixture, check};

    #[test]
    fn the_sequence_its_length_and_its_ranges_agree() {
        let mut fixture = Fixture::default();
        check(
            &mut fixture,
            &[
                ("MSET a ohmytext b mynewtext", "+OK"),
                ("LCS a b", r#""mytext""#),
                ("LCS a b LEN", "6"),
                (
                    "LCS a b IDX",
                    r#"["matches" [[[4 7] [5 8]] [[2 3] [0 1]]] "len" 6]"#,
                ),
                (
                    "LCS a b IDX MINMATCHLEN 4 WITHMATCHLEN",
                    r#"["matches" [[[4 7] [5 8] 4]] "len" 6]"#,
                ),
                ("LCS a absent", r#""""#),
                ("LCS a absent IDX", r#"["matches" [] "len" 0]"#),
            ],
        );
        fixture.protocol = Protocol::Resp3;
        check(
            &mut fixture,
            &[("LCS a a IDX", r#"{"matches" [[[0 7] [0 7]]] "len" 8}"#)],
        );
    }

    #[test]
    fn options_that_contradict_or_lack_their_argument_are_refused() {
        check(
            &mut Fixture::default(),
            &[
                (
                    "LCS a b LEN IDX",
                    "-ERR If you want both the length and indexes, please just use IDX.",
                ),
                ("LCS a b MINMATCHLEN", "-ERR syntax error"),
                (
                    "LCS a b MINMATCHLEN x",
                    "-ERR value is not an integer or out of range",
                ),
                ("LCS a b ABOUT", "-ERR syntax error"),
            ],
        );
    }

    #[test]
    fn a_table_beyond_the_bound_is_refused() {
        const REFUSAL: &str =
            "-ERR Insufficient memory, transient memory for LCS exceeds proto-max-bulk-len";
        check(
            &mut Fixture::default(),
            &[
                ("SETRANGE a 11584 x", "11585"),
                ("LCS a a LEN", REFUSAL),
                ("LCS a b LEN", "0"),
            ],
        );
        assert!(check_size(11584, 11584).is_ok());
        assert!(check_size(11584, 11585).is_err());
        assert!(check_size(usize::MAX / 2, 0).is_err());
    }
}
