//! Numbers as text: doubles, and seconds as nanoseconds. Wires whose values are words use it.
//!
//! Words are read whole. Short decimals, which most are, take a way of their own that is exact
//! (Clinger's fast path); all else takes the standard library's.

const TENS: [f64; 20] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16,
    1e17, 1e18, 1e19,
];
/// Fifteen digits are less than 2^53 whatever they are; with them a sign and a point.
const SHORT_DIGITS_MAX: usize = 15;
const SHORT_BYTES_MAX: usize = SHORT_DIGITS_MAX + 2;
const NANOSECOND_DIGITS: usize = 9;
pub const SECOND_NS: i64 = 1_000_000_000;

/// A number as C and Python write it: decimal, with an exponent or without, `inf` and `nan` in any
/// case. No blanks, no underscores.
#[inline]
pub fn double(word: &[u8]) -> Option<f64> {
    short(word).or_else(|| std::str::from_utf8(word).ok()?.parse().ok())
}

#[inline]
fn short(word: &[u8]) -> Option<f64> {
    if word.len() > SHORT_BYTES_MAX {
        return None;
    }
    let (is_negative, digits) = match word.split_first() {
        Some((b'-', rest)) => (true, rest),
        _ => (false, word),
    };
    let (mut mantissa, mut point) = (0u64, None);
    for (at, &byte) in digits.iter().enumerate() {
        let digit = byte.wrapping_sub(b'0');
        if digit <= 9 {
            mantissa = mantissa * 10 + u64::from(digit);
        } else if byte == b'.' && point.is_none() {
            point = Some(at);
        } else {
            return None;
        }
    }
    let digit_count = digits.len() - usize::from(point.is_some());
    if digit_count == 0 || digit_count > SHORT_DIGITS_MAX {
        return None;
    }
    let decimals = point.map_or(0, |point| digits.len() - point - 1);
    let value = mantissa as f64 / TENS[decimals];
    Some(if is_negative { -value } else { value })
}

/// Seconds, with a fraction or without, as nanoseconds. None where it is no number, or one that
/// does not fit. Digits behind the ninth decimal are cut off.
#[inline]
pub fn seconds_ns(word: &[u8]) -> Option<i64> {
    plain_seconds_ns(word).or_else(|| float_ns(double(word)?))
}

#[inline]
fn plain_seconds_ns(word: &[u8]) -> Option<i64> {
    let (is_negative, word) = match word.split_first() {
        Some((b'-', rest)) => (true, rest),
        _ => (false, word),
    };
    let whole_length = word.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let seconds = digits(&word[..whole_length])?;
    let fraction = match word.get(whole_length) {
        None => &[][..],
        Some(b'.') => &word[whole_length + 1..],
        Some(_) => return None,
    };
    if !fraction.iter().all(u8::is_ascii_digit) || whole_length + fraction.len() == 0 {
        return None;
    }
    let shown = &fraction[..fraction.len().min(NANOSECOND_DIGITS)];
    let scale = 10i64.pow((NANOSECOND_DIGITS - shown.len()) as u32);
    let ns = seconds
        .checked_mul(SECOND_NS)?
        .checked_add(digits(shown)? * scale)?;
    Some(if is_negative { -ns } else { ns })
}

/// Of a double; what stands before the point is exact.
pub fn float_ns(seconds: f64) -> Option<i64> {
    if seconds.is_nan() || seconds.abs() > i64::MAX as f64 / SECOND_NS as f64 + 1.0 {
        return None;
    }
    let fraction_ns = (seconds.fract() * SECOND_NS as f64).round() as i64;
    let whole_ns = (seconds.trunc() as i64).checked_mul(SECOND_NS)?;
    whole_ns.checked_add(fraction_ns)
}

#[inline]
fn digits(text: &[u8]) -> Option<i64> {
    let add = |sum: i64, &byte: &u8| {
        sum.checked_mul(10)?
            .checked_add(i64::from(byte.wrapping_sub(b'0')))
    };
    text.iter().try_fold(0, add)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn words_that_are_no_numbers() {
        for word in [
            "", "-", ".", "-.", "1_0", " 1", "1 ", "0x1", "e5", "1e", "--1", "1.2.3", "one",
        ] {
            assert_eq!(double(word.as_bytes()), None, "{word}");
            assert_eq!(seconds_ns(word.as_bytes()), None, "{word}");
        }
        assert_eq!(double(b"\xff"), None);
    }

    #[test]
    fn seconds() {
        for (word, expected) in [
            ("0", Some(0)),
            ("1700000000", Some(1_700_000_000_000_000_000)),
            ("1700000000.5", Some(1_700_000_000_500_000_000)),
            ("1700000000.123456789012", Some(1_700_000_000_123_456_789)),
            ("-1.25", Some(-1_250_000_000)),
            (".5", Some(500_000_000)),
            ("1.", Some(1_000_000_000)),
            ("1.7e9", Some(1_700_000_000_000_000_000)),
            ("+5", Some(5_000_000_000)),
            ("9223372036", Some(9_223_372_036_000_000_000)),
            ("9223372037", None),
            ("99999999999999999999", None),
            ("1e300", None),
            ("nan", None),
            ("inf", None),
            ("-inf", None),
        ] {
            assert_eq!(seconds_ns(word.as_bytes()), expected, "{word}");
        }
    }

    proptest! {
        #[test]
        fn doubles_are_those_of_the_standard_library(word in "[-+]?[0-9]{0,20}[.]?[0-9]{0,20}") {
            prop_assert_eq!(
                double(word.as_bytes()).map(f64::to_bits),
                word.parse::<f64>().ok().map(f64::to_bits)
            );
        }

        #[test]
        fn any_double_comes_back(value: f64) {
            let read = double(value.to_string().as_bytes()).unwrap();
            prop_assert!(read == value || read.is_nan() && value.is_nan());
        }

        #[test]
        fn any_bytes_are_fine(word: Vec<u8>) {
            let _ = (double(&word), seconds_ns(&word));
        }

        #[test]
        fn any_double_is_a_time_or_none(seconds: f64) {
            let _ = float_ns(seconds);
        }
    }
}
