//! Asks for a cache line ahead of its use; the head and the series table walk memory at random.
//!
//! The only `unsafe` here is the processor's hint, which has no effect that a program could see:
//! its test runs under Miri as well, where it is left out.

/// Starts to load what `place` refers to, for a write or a read soon.
#[inline]
pub fn prefetch<T>(place: &T) {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        let address = std::ptr::from_ref(place).cast::<i8>();
        // SAFETY: a prefetch neither reads nor writes, and a reference is a valid address anyhow.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(address) };
    }
    #[cfg(not(all(target_arch = "x86_64", not(miri))))]
    let _ = place;
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_hint_changes_nothing() {
        let row = [1u64, 2, 3];
        super::prefetch(&row[1]);
        assert_eq!(row, [1, 2, 3]);
    }
}
