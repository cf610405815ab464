//! Eight bytes at a time: finding and comparing bytes in one word. Wires that are text use it.

pub const EACH: u64 = 0x0101_0101_0101_0101;
pub const HIGH: u64 = 0x8080_8080_8080_8080;

/// The high bit of each byte of `word` that is `byte`; bits above the first hit may be wrong.
#[inline]
pub fn hits(word: u64, byte: u8) -> u64 {
    hits_below(word ^ (EACH * u64::from(byte)), 1)
}

/// The high bit of each byte of `word` that is less than `bound`, which is at most 128; bits above
/// the first hit may be wrong.
#[inline]
pub fn hits_below(word: u64, bound: u8) -> u64 {
    word.wrapping_sub(EACH * u64::from(bound)) & !word & HIGH
}

/// Whether `length` bytes at two places are the same.
#[inline]
pub fn is_same(body: &[u8], one: usize, other: usize, length: usize) -> bool {
    let word = |at: usize| {
        let chunk = body.get(at..).and_then(<[u8]>::first_chunk::<8>);
        chunk.map(|chunk| u64::from_le_bytes(*chunk))
    };
    if length < 8 {
        return body[one..one + length] == body[other..other + length];
    }
    let mut at = 0;
    while at + 8 < length {
        if word(one + at) != word(other + at) {
            return false;
        }
        at += 8;
    }
    word(one + length - 8) == word(other + length - 8)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn first(hits: u64) -> Option<u32> {
        (hits != 0).then(|| hits.trailing_zeros() / 8)
    }

    proptest! {
        #[test]
        fn the_first_hit_is_the_first_byte(bytes: [u8; 8], sought: u8, bound in 0..=128u8) {
            let word = u64::from_le_bytes(bytes);
            let place = |fits: &dyn Fn(u8) -> bool| {
                bytes.iter().position(|&byte| fits(byte)).map(|at| at as u32)
            };
            prop_assert_eq!(first(hits(word, sought)), place(&|byte| byte == sought));
            prop_assert_eq!(first(hits_below(word, bound)), place(&|byte| byte < bound));
        }

        #[test]
        fn places_are_the_same_where_their_bytes_are(
            bytes in proptest::collection::vec(0u8..2, 2..60), one: usize, other: usize
        ) {
            let (one, other) = (one % bytes.len(), other % bytes.len());
            for length in 0..=bytes.len() - one.max(other) {
                prop_assert_eq!(
                    is_same(&bytes, one, other, length),
                    bytes[one..one + length] == bytes[other..other + length]
                );
            }
        }
    }
}
