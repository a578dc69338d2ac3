//! Doubles as text.
//!
//! Owns the layout of a number's shortest round-trip digits, which is that of Redis 7.2, so
//! that scores read back byte for byte as clients know them. The digits themselves come from
//! the standard library. Cannot fail.

use std::io::Write;

/// The longest text of std's `{:e}` for a double: sign, 17 digits, point, `e`, sign, 3 digits.
const MAX_SCIENTIFIC: usize = 24;

/// Appends a double as Redis 7.2 prints it: the shortest digits that read back as the same
/// double, an integer without a fraction, `inf`, `-inf`, `nan` and `-0`.
///
/// With `n` digits, the last of them worth `10^k`: up to seven trailing zeros are written
/// out; a fraction is written out if `k > -7` or if the first digit is worth more than `1e-4`
/// and less than `1e4`; everything else takes an exponent, without padding: `1e+20`,
/// `1.5e-9`. Integers below 2^62 are written out whatever their zeros.
pub fn format_double(value: f64, out: &mut Vec<u8>) {
    if value.is_nan() {
        return out.extend_from_slice(b"nan");
    }
    if value.is_infinite() {
        return out.extend_from_slice(if value > 0.0 { b"inf" } else { b"-inf" });
    }
    if value == 0.0 {
        return out.extend_from_slice(if value.is_sign_negative() {
            b"-0"
        } else {
            b"0"
        });
    }
    const LIMIT: f64 = (1i64 << 62) as f64;
    if (-LIMIT..=LIMIT).contains(&value) && value.trunc() == value {
        return out.extend_from_slice(itoa::Buffer::new().format(value as i64).as_bytes());
    }
    let mut text = [0; MAX_SCIENTIFIC];
    let mut rest = &mut text[..];
    write!(rest, "{:e}", value.abs()).expect("a double's shortest digits fit in 24 bytes");
    let len = MAX_SCIENTIFIC - rest.len();
    if value < 0.0 {
        out.push(b'-');
    }
    lay_out(&text[..len], out);
}

/// Lays out the text of `{:e}` for a positive number, such as `1.25e-7`, as Redis does.
fn lay_out(scientific: &[u8], out: &mut Vec<u8>) {
    let e = scientific
        .iter()
        .position(|&b| b == b'e')
        .expect("{:e} always writes an exponent");
    let first_worth = exponent(&scientific[e + 1..]);
    let mut digits = [0; MAX_SCIENTIFIC];
    let mut n = 0;
    for &digit in scientific[..e].iter().filter(|&&b| b != b'.') {
        digits[n] = digit;
        n += 1;
    }
    let digits = &digits[..n];
    let last_worth = first_worth - (n as i32 - 1);
    if (0..8).contains(&last_worth) {
        out.extend_from_slice(digits);
        out.resize(out.len() + last_worth as usize, b'0');
    } else if last_worth < 0 && (last_worth > -7 || first_worth.abs() < 4) {
        decimal(digits, first_worth, out);
    } else {
        exponential(digits, first_worth, out);
    }
}

fn exponent(text: &[u8]) -> i32 {
    let (sign, digits) = match text {
        [b'-', digits @ ..] => (-1, digits),
        digits => (1, digits),
    };
    sign * digits
        .iter()
        .fold(0, |n, &digit| n * 10 + i32::from(digit - b'0'))
}

/// `0.00125` or `12.5`: no exponent. The last digit is behind the point.
fn decimal(digits: &[u8], first_worth: i32, out: &mut Vec<u8>) {
    if first_worth < 0 {
        out.extend_from_slice(b"0.");
        out.resize(out.len() + (-1 - first_worth) as usize, b'0');
        out.extend_from_slice(digits);
    } else {
        let (whole, fraction) = digits.split_at(first_worth as usize + 1);
        out.extend_from_slice(whole);
        out.push(b'.');
        out.extend_from_slice(fraction);
    }
}

/// `1.25e+30`.
fn exponential(digits: &[u8], first_worth: i32, out: &mut Vec<u8>) {
    out.push(digits[0]);
    if digits.len() > 1 {
        out.push(b'.');
        out.extend_from_slice(&digits[1..]);
    }
    out.extend_from_slice(if first_worth < 0 { b"e-" } else { b"e+" });
    out.extend_from_slice(itoa::Buffer::new().format(first_worth.abs()).as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn text(value: f64) -> String {
        let mut out = Vec::new();
        format_double(value, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn doubles_look_as_in_redis() {
        let cases: &[(f64, &str)] = &[
            (0.0, "0"),
            (-0.0, "-0"),
            (3.0, "3"),
            (-17.0, "-17"),
            (1.5, "1.5"),
            (0.1, "0.1"),
            (-0.25, "-0.25"),
            (3.0000000000000004, "3.0000000000000004"),
            (0.00001, "0.00001"),
            (0.000001, "0.000001"),
            (0.0000001, "1e-7"),
            (0.00012345678, "1.2345678e-4"),
            (0.0012345678, "0.0012345678"),
            (12345.123456789, "1.2345123456789e+4"),
            (1234.123456789, "1234.123456789"),
            (1e17, "100000000000000000"),
            (4611686018427387904.0, "4611686018427387904"),
            (1e19, "1e+19"),
            (1.2345678901234567e19, "12345678901234567000"),
            (1e100, "1e+100"),
            (-1.5e300, "-1.5e+300"),
            (5e-324, "5e-324"),
            (f64::MAX, "1.7976931348623157e+308"),
            (f64::INFINITY, "inf"),
            (f64::NEG_INFINITY, "-inf"),
            (f64::NAN, "nan"),
            (-f64::NAN, "nan"),
        ];
        for &(value, expected) in cases {
            assert_eq!(text(value), expected);
        }
    }

    proptest! {
        #[test]
        fn every_double_reads_back_as_itself(bits: u64) {
            let value = f64::from_bits(bits);
            let read: f64 = text(value).parse().unwrap();
            prop_assert!(read == value || value.is_nan() && read.is_nan());
        }
    }
}
