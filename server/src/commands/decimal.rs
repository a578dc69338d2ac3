//! Decimal fractions for INCRBYFLOAT and HINCRBYFLOAT.
//!
//! Redis adds in the C type `long double`, whose precision depends on the machine (64 bits of
//! mantissa on x86-64, 113 on ARM64), and prints 17 decimal places without trailing zeros. Every
//! replica must come to the same bytes, so here the sum does not depend on the machine: it is
//! exact to 17 places, as an `i128` that counts units of 10^-17, up to about 1.7 * 10^21, and an
//! `f64` beyond. Where Redis on x86-64 shows the noise of its type (1000.3 + 0.1 gives
//! 1000.39999999999999997 there), the sum here is the one on paper.
//!
//! Limits: digits beyond the 17th place are rounded away (half to even) before the addition, large
//! numbers have 53 bits of precision, and numbers beyond the range of `f64` are refused as no
//! valid float, although Redis knows them up to 10^4932.

use std::fmt;

use super::double::read_exponent;

/// Decimal places kept.
const PLACES: i64 = 17;
const UNIT: u128 = 10_u128.pow(PLACES as u32);

/// The longest text that Redis reads as a number, in bytes.
const TEXT_MAX_BYTES: usize = 5 * 1024 - 1;

/// A nonzero number whose first digit stands further behind the point underflows in Redis.
const LAST_PLACE: i64 = 4951;

/// A number as these commands read and print it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Decimal {
    /// In units of 10^-17.
    Exact(i128),
    /// Too large for that; infinite only as an operand, never as a sum. Never NaN.
    Rounded(f64),
}

impl Decimal {
    pub(super) const ZERO: Self = Self::Exact(0);

    /// Reads what C's `strtold` reads, to the last byte: decimal or hexadecimal, with or without
    /// point and exponent, or infinity. `None` for anything else, NaN included.
    pub(super) fn parse(text: &[u8]) -> Option<Self> {
        if text.len() > TEXT_MAX_BYTES {
            return None;
        }
        let (negative, digits) = match text.first()? {
            b'-' => (true, &text[1..]),
            b'+' => (false, &text[1..]),
            _ => (false, text),
        };
        let magnitude = match digits {
            [b'0', b'x' | b'X', hex @ ..] => parse_hex(hex)?,
            _ if digits.eq_ignore_ascii_case(b"inf") => Self::Rounded(f64::INFINITY),
            _ if digits.eq_ignore_ascii_case(b"infinity") => Self::Rounded(f64::INFINITY),
            _ => parse_decimal(digits)?,
        };
        Some(match magnitude {
            Self::Exact(units) if negative => Self::Exact(-units),
            Self::Rounded(number) if negative => Self::Rounded(-number),
            magnitude => magnitude,
        })
    }

    /// The sum; `None` if it is infinite or not a number.
    pub(super) fn checked_add(self, other: Self) -> Option<Self> {
        if let (Self::Exact(a), Self::Exact(b)) = (self, other)
            && let Some(sum) = a.checked_add(b)
        {
            return Some(Self::Exact(sum));
        }
        let sum = self.to_f64() + other.to_f64();
        sum.is_finite().then_some(Self::Rounded(sum))
    }

    /// Whether it is beyond all numbers.
    pub(super) fn is_infinite(self) -> bool {
        matches!(self, Self::Rounded(number) if number.is_infinite())
    }

    /// A thousand times this number, rounded up to a whole one; at the ends of the range if it is
    /// beyond them.
    pub(super) fn thousandfold(self) -> i128 {
        const THOUSANDTH: i128 = UNIT as i128 / 1000;
        match self {
            Self::Exact(units) => {
                let has_rest = units % THOUSANDTH > 0;
                units / THOUSANDTH + i128::from(has_rest)
            }
            Self::Rounded(number) => (number * 1000.0).ceil() as i128,
        }
    }

    fn to_f64(self) -> f64 {
        match self {
            Self::Rounded(number) => number,
            // Dividing would round twice; reading the digits rounds once.
            Self::Exact(_) => self.to_string().parse().expect("its own text is a number"),
        }
    }
}

impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            Self::Rounded(number) => format!("{number:.17}"),
            Self::Exact(units) => {
                let sign = if *units < 0 { "-" } else { "" };
                let units = units.unsigned_abs();
                let (whole, fraction) = (units / UNIT, units % UNIT);
                format!("{sign}{whole}.{fraction:017}")
            }
        };
        match text.trim_end_matches('0').trim_end_matches('.') {
            "-0" => f.write_str("0"),
            text => f.write_str(text),
        }
    }
}

/// Digits with at most one point, and the exponent behind them.
struct Parts<'a> {
    whole: &'a [u8],
    fraction: &'a [u8],
    exponent: i64,
}

impl<'a> Parts<'a> {
    /// `None` without a digit, or with anything else in the text.
    fn split(text: &'a [u8], is_digit: fn(&u8) -> bool, exponent_mark: u8) -> Option<Self> {
        let end = text
            .iter()
            .position(|byte| byte.to_ascii_lowercase() == exponent_mark);
        let (number, exponent) = match end {
            Some(at) => (&text[..at], read_exponent(&text[at + 1..])?),
            None => (text, 0),
        };
        let point = number.iter().position(|&byte| byte == b'.');
        let (whole, fraction) = match point {
            Some(at) => (&number[..at], &number[at + 1..]),
            None => (number, &[][..]),
        };
        let parts = Self {
            whole,
            fraction,
            exponent,
        };
        let valid = parts.digits().all(|byte| is_digit(&byte)) && parts.digits().next().is_some();
        valid.then_some(parts)
    }

    fn digits(&self) -> impl Iterator<Item = u8> + use<'a> {
        self.whole.iter().chain(self.fraction).copied()
    }
}

fn parse_decimal(text: &[u8]) -> Option<Decimal> {
    let parts = Parts::split(text, u8::is_ascii_digit, b'e')?;
    // The power of ten of the digit at hand.
    let mut place = parts.whole.len() as i64 + parts.exponent;
    let (mut units, mut first, mut next, mut rest) = (Some(0_i128), None, 0, false);
    for digit in parts.digits().map(|byte| byte - b'0') {
        place -= 1;
        if digit != 0 {
            first.get_or_insert(place);
        }
        match place + PLACES {
            0.. => units = units.and_then(|units| push_digit(units, digit)),
            -1 => next = digit,
            _ => rest |= digit != 0,
        }
    }
    let Some(first) = first else {
        return Some(Decimal::ZERO);
    };
    if first < -LAST_PLACE {
        return None;
    }
    // Zeros between the last digit and the last place that is kept.
    for _ in 0..place + PLACES {
        units = units.and_then(|units| push_digit(units, 0));
        if units.is_none() {
            break;
        }
    }
    match units {
        Some(units) => {
            let up = next > 5 || next == 5 && (rest || units % 2 == 1);
            Some(Decimal::Exact(units + i128::from(up)))
        }
        None => {
            let number: f64 = std::str::from_utf8(text).ok()?.parse().ok()?;
            number.is_finite().then_some(Decimal::Rounded(number))
        }
    }
}

fn push_digit(units: i128, digit: u8) -> Option<i128> {
    // One below the end, so that rounding up cannot overflow.
    units
        .checked_mul(10)?
        .checked_add(i128::from(digit))
        .filter(|&units| units < i128::MAX)
}

/// A hexadecimal number: exact up to 53 bits.
fn parse_hex(text: &[u8]) -> Option<Decimal> {
    let parts = Parts::split(text, u8::is_ascii_hexdigit, b'p')?;
    let grow = |sum: f64, byte: u8| {
        sum * 16.0 + f64::from((byte as char).to_digit(16).unwrap_or_default())
    };
    let exponent = parts.exponent - 4 * parts.fraction.len() as i64;
    let number = parts.digits().fold(0.0, grow) * 2_f64.powi(exponent as i32);
    // The text has all digits of the binary fraction that matter, correctly rounded.
    if number.is_finite() {
        parse_decimal(format!("{number:.17}").as_bytes())
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sum(a: &str, b: &str) -> String {
        let parse = |text: &str| Decimal::parse(text.as_bytes()).expect("a number");
        parse(a)
            .checked_add(parse(b))
            .map_or("none".to_owned(), |sum| sum.to_string())
    }

    #[test]
    fn a_sum_is_the_one_on_paper() {
        for (a, b, expected) in [
            ("10.5", "0.1", "10.6"),
            ("3.0e3", "200", "3200"),
            ("5.0e3", "-5000", "0"),
            ("0.1", "0.2", "0.3"),
            ("1000.3", "0.1", "1000.4"),
            ("-0.5", ".25", "-0.25"),
            ("5.", "+1", "6"),
            ("-0", "0", "0"),
            ("1e21", "0.5", "1000000000000000000000.5"),
            ("1e-17", "0", "0.00000000000000001"),
            ("1.5e-17", "0", "0.00000000000000002"),
            ("2.5e-17", "0", "0.00000000000000002"),
            ("2.50000001e-17", "0", "0.00000000000000003"),
            ("1e-4000", "1", "1"),
            ("0x10", "0X.8p1", "17"),
            ("0e9999999999999999999", "1", "1"),
        ] {
            assert_eq!(sum(a, b), expected, "{a} + {b}");
        }
    }

    #[test]
    fn beyond_the_exact_range_a_sum_is_a_double() {
        assert_eq!(sum("1e22", "1"), "10000000000000000000000");
        assert_eq!(sum("1e21", "1e21"), "2000000000000000000000");
        assert_eq!(sum("1e22", "-1e22"), "0");
        assert_eq!(sum("1.7e308", "1.7e308"), "none");
        assert_eq!(sum("inf", "1"), "none");
        assert_eq!(sum("-Infinity", "inf"), "none");
    }

    #[test]
    fn what_is_no_number_is_refused() {
        for text in [
            "", "-", "+", ".", "e5", "1e", "1e+", "1.2.3", " 1", "1 ", "1,5", "nan", "0x", "0xg",
            "--1", "1e5000", "1e-5000", "in", "0x1p", "1_000",
        ] {
            assert_eq!(Decimal::parse(text.as_bytes()), None, "{text:?}");
        }
        assert_eq!(Decimal::parse(&[b'1'; TEXT_MAX_BYTES + 1]), None);
    }

    proptest! {
        #[test]
        fn a_number_reads_back_from_its_text(units: i128, number: f64) {
            for decimal in [Decimal::Exact(units / 2), Decimal::Exact(units >> 80)] {
                let text = decimal.to_string();
                prop_assert_eq!(Decimal::parse(text.as_bytes()), Some(decimal));
            }
            if let Some(decimal) = Decimal::parse(number.to_string().as_bytes()) {
                let text = decimal.to_string();
                prop_assert_eq!(Decimal::parse(text.as_bytes()), Some(decimal));
            }
        }

        #[test]
        fn any_bytes_are_read_without_panic(text in "[-+0-9a-fA-FxXpPeE.]{0,40}") {
            if let Some(number) = Decimal::parse(text.as_bytes()) {
                let _ = number.checked_add(number).map(|sum| sum.to_string());
            }
        }
    }
}
