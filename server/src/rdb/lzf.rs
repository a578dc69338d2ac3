//! Decompression of LZF, in which Redis keeps long strings and packs.
//!
//! ```text
//! 000lllll bytes          l + 1 bytes as they are
//! lll ooooo o             l + 2 bytes from o + 1 bytes back, l < 7
//! 111ooooo l o            l + 9 bytes from o + 1 bytes back
//! ```

use super::Malformed;

/// What three bytes can become at most.
const GROWTH_MAX: usize = 264;

/// The `len` bytes that were compressed to `bytes`.
///
/// # Errors
/// They are more or fewer, or refer to what is not there. No memory is taken for a length that so
/// many bytes cannot have.
pub(super) fn decompress(bytes: &[u8], len: usize) -> Result<Vec<u8>, Malformed> {
    if len > bytes.len().saturating_mul(GROWTH_MAX) {
        return Err(Malformed);
    }
    let mut out = Vec::with_capacity(len);
    let mut rest = bytes;
    while let Some((&control, behind)) = rest.split_first() {
        let control = usize::from(control);
        if control < 32 {
            let (literal, behind) = behind.split_at_checked(control + 1).ok_or(Malformed)?;
            out.extend_from_slice(literal);
            rest = behind;
        } else {
            rest = copy_back(control, behind, &mut out)?;
        }
        if out.len() > len {
            return Err(Malformed);
        }
    }
    if out.len() == len {
        Ok(out)
    } else {
        Err(Malformed)
    }
}

fn copy_back<'a>(control: usize, rest: &'a [u8], out: &mut Vec<u8>) -> Result<&'a [u8], Malformed> {
    let (more, rest) = match control >> 5 {
        7 => {
            let (&more, rest) = rest.split_first().ok_or(Malformed)?;
            (usize::from(more), rest)
        }
        _ => (0, rest),
    };
    let (&low, rest) = rest.split_first().ok_or(Malformed)?;
    let (count, back) = (
        (control >> 5) + more + 2,
        (control & 31) << 8 | usize::from(low),
    );
    let from = out.len().checked_sub(back + 1).ok_or(Malformed)?;
    // What is copied may be what this copy has just written.
    for at in from..from + count {
        out.push(out[at]);
    }
    Ok(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_may_repeat_what_it_is_writing() {
        assert_eq!(
            decompress(&[0, b'a', 0xe0, 89, 0], 99).unwrap(),
            vec![b'a'; 99]
        );
        assert_eq!(
            decompress(&[1, b'a', b'b', 0x40, 1, 0, b'!'], 7).unwrap(),
            b"ababab!"
        );
    }

    #[test]
    fn what_does_not_come_out_right_is_refused() {
        for (bytes, len) in [
            (&[0, b'a', 0xe0, 89, 0][..], 98),
            (&[0, b'a', 0xe0, 89, 0], 100),
            (&[0, b'a', 0xe0, 89, 1], 99),
            (&[0, b'a', 0xe0, 89], 99),
            (&[0, b'a', 0xe0], 99),
            (&[1, b'a'], 2),
            (&[0, b'a'], usize::MAX),
        ] {
            assert_eq!(decompress(bytes, len), Err(Malformed), "{bytes:?}");
        }
    }
}
