//! 128-bit hashes of raw keys, keyed per process; decoders make them, the series table looks
//! them up.
//!
//! A hit in the table trusts the hash alone, so nobody outside may be able to build two keys with
//! one hash: the secret is drawn from the operating system once a process and never leaves it.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::sync::OnceLock;
use xxhash_rust::xxh3::xxh3_128_with_secret;

const SECRET_BYTES: usize = 192;

pub struct KeyHasher {
    secret: [u8; SECRET_BYTES],
    factor: u128,
}

impl KeyHasher {
    /// The hasher of this process.
    pub fn of_process() -> &'static Self {
        static HASHER: OnceLock<KeyHasher> = OnceLock::new();
        HASHER.get_or_init(Self::drawn)
    }

    /// `RandomState` holds 128 bits from the operating system; its `SipHash` spreads them.
    fn drawn() -> Self {
        let state = RandomState::new();
        let word = |number: u64| {
            let mut hasher = state.build_hasher();
            hasher.write_u64(number);
            hasher.finish()
        };
        let mut secret = [0u8; SECRET_BYTES];
        for (number, chunk) in secret.chunks_exact_mut(8).enumerate() {
            chunk.copy_from_slice(&word(number as u64).to_le_bytes());
        }
        // Odd, so that multiplying by it loses nothing.
        let factor = (u128::from(word(1 << 32)) << 64) | u128::from(word(1 << 33)) | 1;
        Self { secret, factor }
    }

    #[inline]
    pub fn hash(&self, bytes: &[u8]) -> u128 {
        xxh3_128_with_secret(bytes, &self.secret)
    }

    /// Folds the hash of a further part into the hash of what stood before it. As both are
    /// uniform and the factor is odd, the result is as uniform as they are.
    #[inline]
    pub fn fold(&self, before: u128, part: u128) -> u128 {
        before.wrapping_mul(self.factor).wrapping_add(part)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn equal_bytes_hash_alike_and_order_matters() {
        let hasher = KeyHasher::of_process();
        let (a, b) = (hasher.hash(b"a"), hasher.hash(b"b"));
        assert_eq!(a, KeyHasher::of_process().hash(b"a"));
        assert_ne!(hasher.fold(a, b), hasher.fold(b, a));
    }

    #[test]
    fn two_processes_would_disagree() {
        assert_ne!(KeyHasher::drawn().hash(b"a"), KeyHasher::drawn().hash(b"a"));
    }

    #[test]
    fn folded_keys_do_not_collide() {
        let hasher = KeyHasher::of_process();
        let mut seen = HashSet::new();
        for first in 0..300u32 {
            for second in 0..300u32 {
                let before = hasher.hash(&first.to_le_bytes());
                assert!(seen.insert(hasher.fold(before, hasher.hash(&second.to_le_bytes()))));
            }
        }
    }
}
