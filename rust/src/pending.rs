//! Batches that were applied to a head generation and do not stand with their series yet.
//!
//! `generation` takes a batch in as it is, whole, and spreads many of them over the series at once:
//! by the first reader, or when enough have gathered. Spread one by one, each batch would fetch the
//! memory of all its series from afar; together, a stripe's series stay close while their samples
//! of all batches are appended.

use crate::record_samples::Columns;
use crate::series_table::Flight;
use std::sync::Arc;

/// So many samples are spread at once, at most: a reader waits for a few milliseconds.
pub const SAMPLES_MAX: usize = 1 << 17;
/// So many batches gather at most; each keeps its flight open.
pub const PARTS_MAX: usize = 1024;

/// One batch: key `k` of `columns` belongs to `references[k]`.
#[derive(Clone)]
pub struct Part {
    pub references: Arc<Vec<u32>>,
    pub columns: Arc<Columns>,
    /// Keeps the references' meaning until the generation holds their series.
    pub(crate) _flight: Arc<Flight>,
}

impl Part {
    /// About what it takes of the memory.
    pub fn memory_bytes(&self) -> usize {
        let columns = &*self.columns;
        size_of_val(&self.references[..])
            + size_of_val(&columns.key_ends[..])
            + size_of_val(&columns.times_ns[..])
            + size_of_val(&columns.values[..])
            + columns.heap.len()
    }
}

#[derive(Default)]
pub struct Pending {
    pub parts: Vec<Part>,
    pub sample_count: usize,
    pub memory_bytes: usize,
}

impl Pending {
    /// Takes a part in; says whether it is time to spread.
    pub fn push(&mut self, part: Part) -> bool {
        self.sample_count += part.columns.values.len();
        self.memory_bytes += part.memory_bytes();
        self.parts.push(part);
        self.sample_count >= SAMPLES_MAX || self.parts.len() >= PARTS_MAX
    }
}

/// A key of a part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    pub part: u32,
    pub key: u32,
}

/// The keys of all parts, group by group; inside a group as they came. `ends` holds one behind the
/// last key of each group.
pub struct Order {
    pub keys: Vec<Place>,
    pub ends: Vec<u32>,
}

/// Sorts keys by the group of their reference, which is below `group_count`.
pub fn order_by(parts: &[Part], group_count: usize, group: impl Fn(u32) -> usize) -> Order {
    let mut ends = vec![0u32; group_count];
    for part in parts {
        for &reference in part.references.iter() {
            ends[group(reference)] += 1;
        }
    }
    let mut start = 0;
    for end in &mut ends {
        start += std::mem::replace(end, start);
    }
    let mut keys = vec![Place { part: 0, key: 0 }; start as usize];
    for (number, part) in parts.iter().enumerate() {
        for (key, &reference) in part.references.iter().enumerate() {
            let next = &mut ends[group(reference)];
            keys[*next as usize] = Place {
                part: number as u32,
                key: key as u32,
            };
            *next += 1;
        }
    }
    Order { keys, ends }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record_samples::Kinds;
    use crate::sample::Kind;
    use crate::series_table::SeriesTable;

    fn part(references: &[u32]) -> Part {
        let count = references.len();
        Part {
            references: Arc::new(references.to_vec()),
            columns: Arc::new(Columns {
                key_ends: (1..=count as u32).collect(),
                times_ns: vec![0; count],
                values: vec![0; count],
                kinds: Kinds::Constant(Kind::Float64),
                heap: Vec::new(),
            }),
            _flight: Arc::new(SeriesTable::default().0.begin_flight()),
        }
    }

    #[test]
    fn keys_stand_by_group_and_in_the_order_of_arrival() {
        let parts = [part(&[5, 2, 5]), part(&[]), part(&[2, 0])];
        let order = order_by(&parts, 3, |reference| reference as usize % 3);
        let keys: Vec<(u32, u32)> = order.keys.iter().map(|at| (at.part, at.key)).collect();
        assert_eq!(keys, [(2, 1), (0, 0), (0, 1), (0, 2), (2, 0)]);
        assert_eq!(order.ends, [1, 1, 5]);
    }

    #[test]
    fn many_samples_or_many_parts_are_enough() {
        let mut pending = Pending::default();
        let few = part(&[1, 2]);
        for _ in 1..PARTS_MAX {
            assert!(!pending.push(few.clone()));
        }
        assert!(pending.push(few.clone()));
        assert_eq!(pending.sample_count, 2 * PARTS_MAX);
        assert_eq!(pending.memory_bytes, PARTS_MAX * few.memory_bytes());
        let many: Vec<u32> = (0..SAMPLES_MAX as u32).collect();
        assert!(Pending::default().push(part(&many)));
    }
}
