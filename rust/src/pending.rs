//! Samples that were applied to a head generation and do not stand with their series yet.
//!
//! `generation` copies batches in one behind the other, and spreads many of them over the series at
//! once: for the first reader, or when enough have gathered. Spread one by one, each batch would
//! fetch the memory of all its series from afar; together, a stripe's series stay close while their
//! samples of all batches are appended.

use crate::record_samples::Columns;
use crate::sample::Kind;
use crate::series_table::Flight;
use std::sync::Arc;

/// So many samples are spread at once, and a batch more: a reader waits for a few milliseconds.
pub const SAMPLES_MAX: usize = 1 << 17;
/// So many batches gather at most; each keeps its flight open.
pub const BATCHES_MAX: usize = 1024;
const ROW_BYTES: usize = size_of::<u32>() + size_of::<i64>() + size_of::<u64>();

/// A batch as the head takes it: key `k` of `columns` belongs to `references[k]`.
#[derive(Clone, Copy)]
pub struct Part<'a> {
    pub references: &'a [u32],
    pub columns: &'a Columns,
    /// Keeps the references' meaning until the generation holds their series.
    pub(crate) flight: &'a Arc<Flight>,
}

/// Rows in the order of arrival. The buffers stay for those that come.
#[derive(Default)]
pub struct Pending {
    pub references: Vec<u32>,
    pub times_ns: Vec<i64>,
    pub values: Vec<u64>,
    /// Kinds, and one behind the last row of each.
    pub kinds: Vec<(Kind, u32)>,
    flights: Vec<Arc<Flight>>,
    pub order: Order,
}

impl Pending {
    /// Takes in a part whose samples are all of one kind, without payloads; says whether it is time
    /// to spread.
    pub fn push(&mut self, part: Part<'_>, kind: Kind) -> bool {
        let columns = part.columns;
        if columns
            .key_ends
            .iter()
            .zip(1..)
            .all(|(&end, number)| end == number)
        {
            self.references.extend_from_slice(part.references);
        } else {
            let mut start = 0;
            for (&reference, &end) in part.references.iter().zip(&columns.key_ends) {
                let count = (end - start) as usize;
                self.references
                    .extend(std::iter::repeat_n(reference, count));
                start = end;
            }
        }
        self.times_ns.extend_from_slice(&columns.times_ns);
        self.values.extend_from_slice(&columns.values);
        let end = self.values.len() as u32;
        match self.kinds.last_mut() {
            Some((last, last_end)) if *last == kind => *last_end = end,
            _ => self.kinds.push((kind, end)),
        }
        self.flights.push(part.flight.clone());
        self.values.len() >= SAMPLES_MAX || self.flights.len() >= BATCHES_MAX
    }

    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// What its rows take of the memory.
    pub fn memory_bytes(&self) -> usize {
        self.values.len() * ROW_BYTES
    }

    /// What a part will take.
    pub fn part_bytes(part: Part<'_>) -> usize {
        part.columns.values.len() * ROW_BYTES
    }

    /// Forgets the rows, which stand with their series now.
    pub fn clear(&mut self) {
        self.references.clear();
        self.times_ns.clear();
        self.values.clear();
        self.kinds.clear();
        self.flights.clear();
    }
}

/// Places in a list of references, group by group; inside a group as they came. `ends` holds one
/// behind the last place of each group.
#[derive(Default)]
pub struct Order {
    pub places: Vec<u32>,
    pub ends: Vec<u32>,
}

impl Order {
    /// Sorts by the group of the references, which is below `group_count`.
    pub fn sort(&mut self, references: &[u32], group_count: usize, group: impl Fn(u32) -> usize) {
        self.ends.clear();
        self.ends.resize(group_count, 0);
        for &reference in references {
            self.ends[group(reference)] += 1;
        }
        let mut start = 0;
        for end in &mut self.ends {
            start += std::mem::replace(end, start);
        }
        self.places.resize(references.len(), 0);
        for (place, &reference) in references.iter().enumerate() {
            let next = &mut self.ends[group(reference)];
            self.places[*next as usize] = place as u32;
            *next += 1;
        }
    }

    /// Number and places of each group that has any.
    pub fn groups(&self) -> impl Iterator<Item = (usize, &[u32])> {
        let mut start = 0;
        let groups = self.ends.iter().enumerate().map(move |(group, &end)| {
            let places = &self.places[start as usize..end as usize];
            start = end;
            (group, places)
        });
        groups.filter(|(_, places)| !places.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record_samples::Kinds;
    use crate::series_table::SeriesTable;
    use crate::sides::Sides;

    fn columns(key_ends: &[u32]) -> Columns {
        let count = i64::from(key_ends.last().copied().unwrap_or(0));
        Columns {
            key_ends: key_ends.to_vec(),
            times_ns: (0..count).collect(),
            values: (0..count as u64).collect(),
            kinds: Kinds::Constant(Kind::Float64),
            heap: Vec::new(),
            sides: Sides::default(),
        }
    }

    #[test]
    fn places_stand_by_group_and_in_the_order_of_arrival() {
        let mut order = Order::default();
        for _ in 0..2 {
            order.sort(&[5, 2, 5, 2, 0], 3, |reference| reference as usize % 3);
            let groups: Vec<(usize, &[u32])> = order.groups().collect();
            assert_eq!(groups, [(0, &[4][..]), (2, &[0, 1, 2, 3])]);
        }
    }

    #[test]
    fn every_sample_becomes_a_row() {
        let flight = Arc::new(SeriesTable::default().0.begin_flight());
        let mut pending = Pending::default();
        for (key_ends, kind) in [
            (&[1, 2][..], Kind::Float64),
            (&[2, 2], Kind::Float64),
            (&[1, 3], Kind::Int64),
        ] {
            let columns = columns(key_ends);
            let part = Part {
                references: &[7, 9],
                columns: &columns,
                flight: &flight,
            };
            assert!(!pending.push(part, kind));
        }
        assert_eq!(pending.references, [7, 9, 7, 7, 7, 9, 9]);
        assert_eq!(pending.times_ns, [0, 1, 0, 1, 0, 1, 2]);
        assert_eq!(pending.kinds, [(Kind::Float64, 4), (Kind::Int64, 7)]);
        assert_eq!(pending.memory_bytes(), 7 * ROW_BYTES);
        pending.clear();
        assert!(pending.is_empty());
        assert_eq!(Arc::strong_count(&flight), 1);
    }

    #[test]
    fn many_samples_or_many_batches_are_enough() {
        let flight = Arc::new(SeriesTable::default().0.begin_flight());
        let few = columns(&[1]);
        let part = Part {
            references: &[7],
            columns: &few,
            flight: &flight,
        };
        let mut pending = Pending::default();
        for _ in 1..BATCHES_MAX {
            assert!(!pending.push(part, Kind::Float64));
        }
        assert!(pending.push(part, Kind::Float64));
        let many = columns(&[SAMPLES_MAX as u32]);
        let part = Part {
            columns: &many,
            ..part
        };
        assert!(Pending::default().push(part, Kind::Float64));
    }
}
