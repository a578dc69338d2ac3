//! MEMORY USAGE: how much memory a key takes.
//!
//! The figure is exact, not an estimate from samples, so SAMPLES is checked and has no effect.

use bailiwick_frame::{Args, Encoder};

use super::{CommandError, Outcome, ReadContext, is_option};
use crate::keyspace::parse_canonical_int;

pub(super) fn memory_usage(
    ctx: &ReadContext<'_>,
    args: Args<'_>,
    out: &mut Encoder<'_>,
) -> Outcome {
    for option in (3..args.len()).step_by(2) {
        if !is_option(args, option, "samples") || args.len() == option + 1 {
            return Err(CommandError::Syntax);
        }
        let samples = parse_canonical_int(args.arg(option + 1)).ok_or(CommandError::NotInteger)?;
        if samples < 0 {
            return Err(CommandError::Syntax);
        }
    }
    match ctx.peek(args.arg(2)) {
        Some(entry) => out.integer(entry.memory_bytes() as i64),
        None => out.null(),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::commands::testing::*;

    #[test]
    fn a_key_takes_at_least_the_bytes_of_its_value() {
        let mut fixture = Fixture::default();
        let value = "x".repeat(1000);
        run(&mut fixture, &format!("SET k {value}"));
        let reply = run(&mut fixture, "MEMORY USAGE k SAMPLES 5");
        let bytes: i64 = reply.parse().unwrap();
        assert!((1000..1200).contains(&bytes), "{bytes}");
    }

    #[test]
    fn options_are_checked_before_the_key() {
        let mut fixture = Fixture::default();
        assert_eq!(run(&mut fixture, "MEMORY USAGE k"), "nil");
        for line in [
            "MEMORY USAGE k SAMPLES",
            "MEMORY USAGE k SAMPLES -1",
            "MEMORY USAGE k x 1",
        ] {
            assert_eq!(run(&mut fixture, line), "-ERR syntax error", "{line}");
        }
    }
}
