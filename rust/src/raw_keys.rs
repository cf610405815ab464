//! Where raw keys lead: an open-addressing table of 128-bit hashes and series references.
//!
//! `series_table` keeps some of these, each behind a lock of its own. A general map would do but
//! for one thing: here a caller with many keys can ask for the memory of the next ones while it
//! looks at the first, as nearly every look-up in a large table misses the processor's caches.

use crate::prefetch::prefetch;
use crate::series_table::NO_SERIES;

const CAPACITY_MIN: usize = 16;

/// Words, not `u128`, so that an entry takes 20 bytes and not 32.
#[derive(Debug, Clone, Copy)]
struct Entry {
    key: [u32; 4],
    reference: u32,
}

const EMPTY: Entry = Entry {
    key: [0; 4],
    reference: NO_SERIES,
};

/// Keys are keyed hashes already, so that their low bits serve as places. Three quarters are
/// filled at most; the search for a key goes on place by place until it meets an empty one.
#[derive(Debug, Default)]
pub struct RawKeys {
    entries: Box<[Entry]>,
    len: usize,
}

fn words(key: u128) -> [u32; 4] {
    [
        key as u32,
        (key >> 32) as u32,
        (key >> 64) as u32,
        (key >> 96) as u32,
    ]
}

fn low(key: [u32; 4]) -> usize {
    (u64::from(key[0]) | u64::from(key[1]) << 32) as usize
}

fn capacity_for(len: usize) -> usize {
    (len + len / 3 + 1).next_power_of_two().max(CAPACITY_MIN)
}

impl RawKeys {
    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub fn memory_bytes(&self) -> usize {
        size_of_val(&*self.entries)
    }

    /// Starts to load the place of a key that is looked up soon.
    #[inline]
    pub fn prefetch(&self, key: u128) {
        if let Some(entry) = self
            .entries
            .get(key as usize & self.entries.len().wrapping_sub(1))
        {
            prefetch(entry);
        }
    }

    /// The place of the key, or the empty one where it belongs. The table must not be empty.
    #[inline]
    fn place(&self, key: [u32; 4]) -> usize {
        let mask = self.entries.len() - 1;
        let mut at = low(key) & mask;
        loop {
            let entry = &self.entries[at];
            if entry.reference == NO_SERIES || entry.key == key {
                return at;
            }
            at = (at + 1) & mask;
        }
    }

    /// `NO_SERIES` where the key is unknown.
    #[inline]
    pub fn find(&self, key: u128) -> u32 {
        if self.entries.is_empty() {
            return NO_SERIES;
        }
        self.entries[self.place(words(key))].reference
    }

    /// Sets where a key leads, which may not be `NO_SERIES`.
    pub fn insert(&mut self, key: u128, reference: u32) {
        debug_assert!(reference != NO_SERIES);
        if self.len + 1 > self.entries.len() / 4 * 3 {
            self.rebuild(capacity_for(self.len + 1), |_| true);
        }
        let key = words(key);
        let at = self.place(key);
        self.len += usize::from(self.entries[at].reference == NO_SERIES);
        self.entries[at] = Entry { key, reference };
    }

    /// Keeps the keys whose reference `keep` says so of; gives memory back where few are left.
    pub fn retain(&mut self, keep: impl Fn(u32) -> bool) {
        let kept = self.references().filter(|&one| keep(one)).count();
        if kept == self.len {
            return;
        }
        let capacity = if kept == 0 { 0 } else { capacity_for(kept) };
        let spare = capacity < self.entries.len() / 4;
        self.rebuild(if spare { capacity } else { self.entries.len() }, keep);
    }

    fn references(&self) -> impl Iterator<Item = u32> + '_ {
        let references = self.entries.iter().map(|entry| entry.reference);
        references.filter(|&reference| reference != NO_SERIES)
    }

    fn rebuild(&mut self, capacity: usize, keep: impl Fn(u32) -> bool) {
        let old = std::mem::take(&mut self.entries);
        self.entries = vec![EMPTY; capacity].into_boxed_slice();
        self.len = 0;
        for entry in old {
            if entry.reference != NO_SERIES && keep(entry.reference) {
                let at = self.place(entry.key);
                self.entries[at] = entry;
                self.len += 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;

    /// Few distinct places, so that searches go on.
    fn key(number: u8) -> u128 {
        u128::from(number) << 64 | u128::from(number % 8)
    }

    proptest! {
        #[test]
        fn it_is_a_map(steps: Vec<(u8, u16)>, odd_go: bool) {
            let mut table = RawKeys::default();
            let mut model = HashMap::new();
            for (number, reference) in steps {
                table.insert(key(number), u32::from(reference));
                model.insert(number, u32::from(reference));
            }
            if odd_go {
                table.retain(|reference| reference % 2 == 0);
                model.retain(|_, reference| *reference % 2 == 0);
            }
            prop_assert_eq!(table.len(), model.len());
            for number in 0..=u8::MAX {
                table.prefetch(key(number));
                let expected = model.get(&number).copied().unwrap_or(NO_SERIES);
                prop_assert_eq!(table.find(key(number)), expected);
            }
        }
    }

    #[test]
    fn memory_is_given_back() {
        let mut table = RawKeys::default();
        assert!(table.is_empty());
        for number in 0..10_000u32 {
            table.insert(
                u128::from(number).wrapping_mul(0x9e37_79b9_7f4a_7c15),
                number,
            );
        }
        let full = table.memory_bytes();
        table.retain(|reference| reference < 100);
        assert!(table.memory_bytes() < full / 8);
        assert_eq!(table.len(), 100);
        table.retain(|_| false);
        assert_eq!((table.memory_bytes(), table.find(1)), (0, NO_SERIES));
    }
}
