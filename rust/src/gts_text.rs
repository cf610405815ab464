//! What Warp 10 spells in its own way: percent-encoded names and strings, bytes as base64 or
//! hexadecimal. `gts_input` reads it, `gts_output` writes it.

use std::borrow::Cow;

type Parsed<T> = std::result::Result<T, Cow<'static, str>>;

/// Appends `text` with its `%xx` taken off. A plus sign stays one.
pub fn percent_decoded(text: &[u8], out: &mut Vec<u8>) -> Parsed<()> {
    let mut at = 0;
    while at < text.len() {
        if text[at] != b'%' {
            out.push(text[at]);
            at += 1;
            continue;
        }
        let byte = match text[at..] {
            [_, high, low, ..] => digit(high).zip(digit(low)),
            _ => None,
        };
        let (high, low) = byte.ok_or("a '%' is not followed by two hexadecimal digits")?;
        out.push(high << 4 | low);
        at += 3;
    }
    Ok(())
}

/// As Java's `URLEncoder` leaves it: letters, digits and `.-*_` as they are; a space is `%20`.
pub fn push_percent_encoded(text: &[u8], out: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    for &byte in text {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'*' | b'_') {
            out.push(byte);
        } else {
            let (high, low) = (usize::from(byte >> 4), usize::from(byte & 15));
            out.extend_from_slice(&[b'%', HEX[high], HEX[low]]);
        }
    }
}

fn digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).map(|digit| digit as u8)
}

pub fn decode_hex(text: &[u8], out: &mut Vec<u8>) -> Parsed<()> {
    let pairs = text.chunks_exact(2);
    if !pairs.remainder().is_empty() {
        return Err("an odd number of hexadecimal digits".into());
    }
    for pair in pairs {
        let byte = digit(pair[0]).zip(digit(pair[1]));
        let (high, low) = byte.ok_or("it is not hexadecimal")?;
        out.push(high << 4 | low);
    }
    Ok(())
}

/// Either alphabet of base64, with its padding or without.
pub fn decode_base64(text: &[u8], out: &mut Vec<u8>) -> Parsed<()> {
    let unpadded = match text {
        [front @ .., b'=', b'='] | [front @ .., b'='] => front,
        _ => text,
    };
    if text.len() != unpadded.len() && text.len() % 4 != 0 {
        return Err("base64 is padded to the wrong length".into());
    }
    for group in unpadded.chunks(4) {
        let mut bits = 0u32;
        for &byte in group {
            bits = bits << 6 | sextet(byte).ok_or("it is not base64")?;
        }
        let missing = 4 - group.len();
        let bytes = (bits << (6 * missing)).to_be_bytes();
        match missing {
            0..=2 => out.extend_from_slice(&bytes[1..4 - missing]),
            _ => return Err("base64 ends inside of a byte".into()),
        }
    }
    Ok(())
}

fn sextet(byte: u8) -> Option<u32> {
    Some(u32::from(match byte {
        b'A'..=b'Z' => byte - b'A',
        b'a'..=b'z' => byte - b'a' + 26,
        b'0'..=b'9' => byte - b'0' + 52,
        b'+' | b'-' => 62,
        b'/' | b'_' => 63,
        _ => return None,
    }))
}

/// The alphabet for URLs, without padding.
pub fn push_base64(bytes: &[u8], out: &mut Vec<u8>) {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    for group in bytes.chunks(3) {
        let mut word = [0; 4];
        word[1..=group.len()].copy_from_slice(group);
        let bits = u32::from_be_bytes(word);
        for place in 0..=group.len() {
            out.push(ALPHABET[(bits >> (18 - 6 * place) & 63) as usize]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_no_encoding_is_refused() {
        let mut out = Vec::new();
        for text in ["%", "%4", "%zz", "a%4"] {
            assert!(
                percent_decoded(text.as_bytes(), &mut out).is_err(),
                "{text}"
            );
        }
        for text in ["a", "abcde", "a===", "a*==", "ab="] {
            assert!(decode_base64(text.as_bytes(), &mut out).is_err(), "{text}");
        }
        for text in ["a", "zz", "abc"] {
            assert!(decode_hex(text.as_bytes(), &mut out).is_err(), "{text}");
        }
    }

    #[test]
    fn both_alphabets_are_read() {
        for text in ["-_8=", "+/8=", "-_8", "+/8"] {
            let mut out = Vec::new();
            decode_base64(text.as_bytes(), &mut out).unwrap();
            assert_eq!(out, [0xfb, 0xff], "{text}");
        }
    }

    proptest! {
        #[test]
        fn bytes_come_back(bytes: Vec<u8>) {
            let (mut encoded, mut decoded) = (Vec::new(), Vec::new());
            push_base64(&bytes, &mut encoded);
            decode_base64(&encoded, &mut decoded).unwrap();
            prop_assert_eq!(&decoded, &bytes);
            encoded.clear();
            decoded.clear();
            push_percent_encoded(&bytes, &mut encoded);
            percent_decoded(&encoded, &mut decoded).unwrap();
            prop_assert_eq!(decoded, bytes);
        }
    }
}
