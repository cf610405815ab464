//! Numbers found by a hash: series by their ids, texts of the live index by their bytes.
//!
//! The table keeps 32 bits of each hash beside the number, so that growing touches nothing else;
//! what a number stands for lies elsewhere, and whoever asks says whether it is the one. A large
//! table is split into parts that grow one at a time: no call waits for millions of entries.

use crate::prefetch::prefetch;

const CAPACITY_MIN: usize = 8;
/// From so many entries on a table has `PART_COUNT` parts.
const SPLIT_LEN: usize = 1 << 16;
const PART_BITS: u32 = 6;
const PART_COUNT: usize = 1 << PART_BITS;
/// No entry: its number is none that is ever given out.
const EMPTY: u64 = u64::MAX;

fn entry(hash: u64, number: u32) -> u64 {
    hash << 32 | u64::from(number)
}

/// The bits of the hash that are kept; low ones are places, high ones parts.
fn kept(entry: u64) -> usize {
    (entry >> 32) as usize
}

fn part_of(hash: u64) -> usize {
    (hash as u32 >> (32 - PART_BITS)) as usize
}

/// Open addressing: at most three quarters are filled, and a search ends at an empty place.
#[derive(Debug, Default)]
struct Part {
    entries: Box<[u64]>,
    len: usize,
}

impl Part {
    fn mask(&self) -> usize {
        self.entries.len().wrapping_sub(1)
    }

    fn find(&self, hash: u64, mut is_it: impl FnMut(u32) -> bool) -> Option<usize> {
        let mut at = hash as usize & self.mask();
        loop {
            let found = *self.entries.get(at)?;
            if found == EMPTY {
                return None;
            }
            if found >> 32 == hash & 0xffff_ffff && is_it(found as u32) {
                return Some(at);
            }
            at = (at + 1) & self.mask();
        }
    }

    fn insert(&mut self, entry: u64) {
        if self.len + 1 > self.entries.len() / 4 * 3 {
            self.rebuild(self.len + 1);
        }
        self.put(entry);
    }

    fn put(&mut self, entry: u64) {
        let mut at = kept(entry) & self.mask();
        while self.entries[at] != EMPTY {
            at = (at + 1) & self.mask();
        }
        self.entries[at] = entry;
        self.len += 1;
    }

    fn rebuild(&mut self, len: usize) {
        let capacity = (len + len / 3 + 1).next_power_of_two().max(CAPACITY_MIN);
        let fresh = vec![EMPTY; capacity].into_boxed_slice();
        let old = std::mem::replace(&mut self.entries, fresh);
        self.len = 0;
        for &entry in old.iter().filter(|&&entry| entry != EMPTY) {
            self.put(entry);
        }
    }

    /// Empties a place and moves up what was searched for across it.
    fn remove(&mut self, mut at: usize) {
        self.len -= 1;
        let mut next = at;
        loop {
            next = (next + 1) & self.mask();
            let entry = self.entries[next];
            if entry == EMPTY {
                break;
            }
            let from_home = next.wrapping_sub(kept(entry)) & self.mask();
            if from_home >= next.wrapping_sub(at) & self.mask() {
                self.entries[at] = entry;
                at = next;
            }
        }
        self.entries[at] = EMPTY;
        if self.len == 0 {
            *self = Self::default();
        } else if self.entries.len() > CAPACITY_MIN && self.len < self.entries.len() / 8 {
            self.rebuild(self.len);
        }
    }
}

/// A multimap from hashes to numbers below `u32::MAX`.
#[derive(Debug, Default)]
pub struct NumberTable {
    /// All entries, until there are parts.
    first: Part,
    /// None, or `PART_COUNT`.
    parts: Vec<Part>,
}

impl NumberTable {
    fn part(&self, hash: u64) -> &Part {
        self.parts.get(part_of(hash)).unwrap_or(&self.first)
    }

    fn part_mut(&mut self, hash: u64) -> &mut Part {
        self.parts.get_mut(part_of(hash)).unwrap_or(&mut self.first)
    }

    /// Starts to load the place of a hash that is looked up soon.
    pub fn prefetch(&self, hash: u64) {
        let part = self.part(hash);
        if let Some(entry) = part.entries.get(hash as usize & part.mask()) {
            prefetch(entry);
        }
    }

    /// The first number under a hash that `is_it` says so of.
    pub fn find(&self, hash: u64, is_it: impl FnMut(u32) -> bool) -> Option<u32> {
        let part = self.part(hash);
        let at = part.find(hash, is_it)?;
        Some(part.entries[at] as u32)
    }

    /// A number that may be the one: nothing but the hash was compared.
    pub fn guess(&self, hash: u64) -> Option<u32> {
        self.find(hash, |_| true)
    }

    /// Adds a number, which is below `u32::MAX`.
    pub fn insert(&mut self, hash: u64, number: u32) {
        debug_assert!(number != u32::MAX);
        self.part_mut(hash).insert(entry(hash, number));
        if self.parts.is_empty() && self.first.len >= SPLIT_LEN {
            self.parts.resize_with(PART_COUNT, Part::default);
            for &entry in &std::mem::take(&mut self.first).entries {
                if entry != EMPTY {
                    self.parts[part_of(entry >> 32)].insert(entry);
                }
            }
        }
    }

    /// Takes a number out; says whether it was there.
    pub fn remove(&mut self, hash: u64, number: u32) -> bool {
        let part = self.part_mut(hash);
        let place = part.find(hash, |other| other == number);
        if let Some(at) = place {
            part.remove(at);
        }
        place.is_some()
    }

    pub fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        let parts = self.parts.iter().chain([&self.first]);
        let entries = parts.flat_map(|part| part.entries.iter());
        entries
            .filter(|&&entry| entry != EMPTY)
            .map(|&entry| entry as u32)
    }

    pub fn is_empty(&self) -> bool {
        self.first.len == 0 && self.parts.iter().all(|part| part.len == 0)
    }

    pub fn memory_bytes(&self) -> usize {
        let parts = self.parts.iter().chain([&self.first]);
        let entries: usize = parts.map(|part| size_of_val(&*part.entries)).sum();
        entries + self.parts.capacity() * size_of::<Part>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    /// Few distinct hashes, at the end of the places as well, so that searches go on and around.
    fn hash(number: u32) -> u64 {
        u64::from(number % 5).wrapping_sub(2)
    }

    proptest! {
        #[test]
        fn it_is_a_set_of_numbers(steps: Vec<(u32, bool)>) {
            let mut table = NumberTable::default();
            let mut model = BTreeSet::new();
            for (number, is_added) in steps {
                let number = number % 64;
                if is_added && model.insert(number) {
                    table.insert(hash(number), number);
                } else if !is_added {
                    prop_assert_eq!(table.remove(hash(number), number), model.remove(&number));
                }
            }
            for number in 0..64 {
                table.prefetch(hash(number));
                let found = table.find(hash(number), |other| other == number);
                prop_assert_eq!(found.is_some(), model.contains(&number));
            }
            prop_assert_eq!(table.iter().collect::<BTreeSet<u32>>(), model);
        }
    }

    #[test]
    fn a_large_table_is_split_and_gives_memory_back() {
        let spread = |number: u32| u64::from(number).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 7;
        let mut table = NumberTable::default();
        for number in 0..200_000 {
            table.insert(spread(number), number);
        }
        assert_eq!(table.parts.len(), PART_COUNT);
        let full = table.memory_bytes();
        assert!(full < 200_000 * 24, "{full}");
        for number in 0..200_000 {
            let found = table.find(spread(number), |other| other == number);
            assert_eq!(found, Some(number));
        }
        assert!(table.guess(spread(7)).is_some());
        for number in 0..200_000 {
            assert!(table.remove(spread(number), number));
        }
        assert!(table.is_empty() && table.memory_bytes() < full / 100);
        assert_eq!(table.guess(spread(7)), None);
    }
}
