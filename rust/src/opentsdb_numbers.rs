//! Values and times as `OpenTSDB` reads them, of JSON and of telnet lines alike.

use crate::batch::quoted;
use crate::sample::Kind;

/// Why a value cannot be stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flaw {
    NotANumber,
    /// Greater than any double.
    Infinite {
        is_negative: bool,
    },
}

/// When a data point was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    Ns(i64),
    /// No number, or not after the beginning of 1970.
    Invalid,
    /// Later than time goes here.
    Beyond,
}

/// Powers of ten that a double holds exactly.
const TENS: [f64; 23] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16,
    1e17, 1e18, 1e19, 1e20, 1e21, 1e22,
];
/// So many digits fit 63 bits whatever they are, and so many decimals have a power of ten.
const DIGITS_FAST_MAX: usize = 18;
/// Whole numbers up to here are exact as doubles.
const EXACT_MAX: u64 = 1 << 53;

/// The value that `text` says: a whole number where there is neither point nor exponent.
#[inline]
pub fn number(text: &[u8]) -> Result<(Kind, u64), Flaw> {
    let is_negative = text.first() == Some(&b'-');
    let from = usize::from(is_negative || text.first() == Some(&b'+'));
    let (mut mantissa, mut digit_count, mut decimals) = (0u64, 0, None);
    for &byte in &text[from..] {
        let digit = byte.wrapping_sub(b'0');
        if digit <= 9 && digit_count < DIGITS_FAST_MAX {
            mantissa = mantissa * 10 + u64::from(digit);
            digit_count += 1;
        } else if byte == b'.' && decimals.is_none() {
            decimals = Some(digit_count);
        } else {
            return long_number(text);
        }
    }
    if digit_count == 0 {
        return Err(Flaw::NotANumber);
    }
    let Some(before) = decimals else {
        let value = mantissa as i64;
        let signed = if is_negative { -value } else { value };
        return Ok((Kind::Int64, signed as u64));
    };
    if mantissa > EXACT_MAX {
        return long_number(text);
    }
    let value = mantissa as f64 / TENS[digit_count - before];
    let signed = if is_negative { -value } else { value };
    Ok((Kind::Float64, signed.to_bits()))
}

#[cold]
fn long_number(text: &[u8]) -> Result<(Kind, u64), Flaw> {
    let is_known = |byte: &u8| matches!(byte, b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E');
    if !text.iter().all(is_known) {
        return Err(Flaw::NotANumber);
    }
    let word = std::str::from_utf8(text).map_err(|_| Flaw::NotANumber)?;
    if !word.contains(['.', 'e', 'E']) {
        let value = word.parse::<i64>().map_err(|_| Flaw::NotANumber)?;
        return Ok((Kind::Int64, value as u64));
    }
    let value = word.parse::<f64>().map_err(|_| Flaw::NotANumber)?;
    if value.is_infinite() {
        return Err(Flaw::Infinite {
            is_negative: value < 0.0,
        });
    }
    Ok((Kind::Float64, value.to_bits()))
}

/// The reason of [`Flaw::Infinite`].
pub fn infinite(is_negative: bool, metric: &[u8], timestamp: &[u8]) -> String {
    let sign = if is_negative { "-" } else { "" };
    format!(
        "value is NaN or Infinite: {sign}Infinity for metric={} timestamp={}",
        quoted(metric),
        quoted(timestamp)
    )
}

const SECOND_NS: u64 = 1_000_000_000;
const MILLISECOND_NS: u64 = 1_000_000;
/// What does not fit 32 bits is milliseconds.
const SECONDS_MAX: u64 = u32::MAX as u64;
/// The last whole ones whose nanoseconds fit 63 bits, in April 2262; `OpenTSDB` goes on to 2286.
const MILLISECONDS_MAX: u64 = 9_223_372_036_853;

/// The time that `text` says: seconds where they fit 32 bits, or else milliseconds; with decimals
/// (which `OpenTSDB` cuts off, or takes for milliseconds) down to the nanosecond.
#[inline]
pub fn moment(text: &[u8]) -> Moment {
    let mut whole = 0u64;
    let mut at = 0;
    while let Some(digit) = text.get(at).map(|byte| byte.wrapping_sub(b'0')) {
        if digit > 9 {
            break;
        }
        whole = whole.saturating_mul(10).saturating_add(u64::from(digit));
        at += 1;
    }
    let fraction = match text.get(at) {
        None => &[][..],
        Some(b'.') => &text[at + 1..],
        Some(b'e' | b'E') => return by_exponent(text),
        Some(_) => return Moment::Invalid,
    };
    if at == 0 || whole == 0 {
        return Moment::Invalid;
    }
    if fraction.iter().any(|byte| matches!(byte, b'e' | b'E')) {
        return by_exponent(text);
    }
    if !fraction.iter().all(u8::is_ascii_digit) {
        return Moment::Invalid;
    }
    if whole > MILLISECONDS_MAX {
        return Moment::Beyond;
    }
    let unit_ns = if whole > SECONDS_MAX {
        MILLISECOND_NS
    } else {
        SECOND_NS
    };
    Moment::Ns((whole * unit_ns + part_ns(fraction, unit_ns)) as i64)
}

/// Nanoseconds of the decimals of a unit; what is smaller is cut off.
fn part_ns(fraction: &[u8], unit_ns: u64) -> u64 {
    let (mut part, mut place_ns) = (0, unit_ns);
    for &digit in fraction {
        place_ns /= 10;
        part += u64::from(digit - b'0') * place_ns;
    }
    part
}

/// A time in scientific notation, as some JSON writers put whole numbers.
#[cold]
fn by_exponent(text: &[u8]) -> Moment {
    let value = match number(text) {
        Ok((Kind::Float64, bits)) => f64::from_bits(bits),
        _ => return Moment::Invalid,
    };
    if !(value >= 1.0 && value.fract() == 0.0) {
        return Moment::Invalid;
    }
    if value > MILLISECONDS_MAX as f64 {
        return Moment::Beyond;
    }
    let whole = value as u64;
    let unit_ns = if whole > SECONDS_MAX {
        MILLISECOND_NS
    } else {
        SECOND_NS
    };
    Moment::Ns((whole * unit_ns) as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(value: i64) -> (Kind, u64) {
        (Kind::Int64, value as u64)
    }

    fn float(value: f64) -> (Kind, u64) {
        (Kind::Float64, value.to_bits())
    }

    #[test]
    fn numbers_keep_their_kind() {
        for (text, expected) in [
            ("0", Ok(whole(0))),
            ("-7", Ok(whole(-7))),
            ("+7", Ok(whole(7))),
            ("007", Ok(whole(7))),
            ("999999999999999999", Ok(whole(999_999_999_999_999_999))),
            ("9223372036854775807", Ok(whole(i64::MAX))),
            ("-9223372036854775808", Ok(whole(i64::MIN))),
            ("9223372036854775808", Err(Flaw::NotANumber)),
            ("1.5", Ok(float(1.5))),
            ("-1.0", Ok(float(-1.0))),
            ("-0.0", Ok(float(-0.0))),
            (".5", Ok(float(0.5))),
            ("5.", Ok(float(5.0))),
            ("1e3", Ok(float(1000.0))),
            ("1E-3", Ok(float(0.001))),
            ("0.1234567890123456789", Ok(float(0.123_456_789_012_345_68))),
            ("9007199254740993.5", Ok(float(9_007_199_254_740_994.0))),
            ("1e400", Err(Flaw::Infinite { is_negative: false })),
            ("-1e400", Err(Flaw::Infinite { is_negative: true })),
        ] {
            assert_eq!(number(text.as_bytes()), expected, "{text}");
        }
        for text in [
            "", "-", "+", ".", "-.", "e", "e5", "1e", "--1", "1.2.3", "NaN", "inf", "0x10", " 1",
            "1f", "true", "1_0", "\u{661}",
        ] {
            assert_eq!(number(text.as_bytes()), Err(Flaw::NotANumber), "{text}");
        }
    }

    #[test]
    fn times_are_seconds_or_milliseconds() {
        for (text, expected) in [
            ("1", Moment::Ns(1_000_000_000)),
            ("1700000000", Moment::Ns(1_700_000_000_000_000_000)),
            ("4294967295", Moment::Ns(4_294_967_295_000_000_000)),
            ("4294967296", Moment::Ns(4_294_967_296_000_000)),
            ("1700000000123", Moment::Ns(1_700_000_000_123_000_000)),
            (
                "9223372036853.999999999",
                Moment::Ns(9_223_372_036_853_999_999),
            ),
            ("9223372036854", Moment::Beyond),
            ("99999999999999999999999", Moment::Beyond),
            ("1700000000.25", Moment::Ns(1_700_000_000_250_000_000)),
            (
                "1700000000.1234567891",
                Moment::Ns(1_700_000_000_123_456_789),
            ),
            ("1700000000123.5", Moment::Ns(1_700_000_000_123_500_000)),
            ("1700000000.", Moment::Ns(1_700_000_000_000_000_000)),
            ("1.7e9", Moment::Ns(1_700_000_000_000_000_000)),
            ("17E8", Moment::Ns(1_700_000_000_000_000_000)),
            ("1e300", Moment::Beyond),
            ("1e400", Moment::Invalid),
            ("1.5e0", Moment::Invalid),
            ("0", Moment::Invalid),
            ("0.5", Moment::Invalid),
            ("-1", Moment::Invalid),
            ("", Moment::Invalid),
            ("soon", Moment::Invalid),
            ("12x", Moment::Invalid),
            ("1.2.3", Moment::Invalid),
        ] {
            assert_eq!(moment(text.as_bytes()), expected, "{text}");
        }
    }
}
