//! Rows that were met before: lines whose fields are series with neighbouring references.
//!
//! The fields of a line come together, line after line. `resolve` asks here for the whole line at
//! once, under the hash of its key and of its fields' names; what is not found goes field by field.

use crate::raw_keys::RawKeys;
use crate::series_table::NO_SERIES;
use parking_lot::RwLock;

/// Set where the references of a row fall, as they do where those of swept series are taken up
/// again. No reference is so great.
const FALLS: u32 = 1 << 31;
/// Rows are remembered while there are at most half as many as series, and these more.
const ROWS_MIN: usize = 1024;

#[derive(Debug, Default)]
pub struct RowKeys(RwLock<RawKeys>);

/// Where a row's references begin, and whether they rise or fall from there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run(u32);

impl Run {
    /// None where the references are no neighbours in order.
    pub fn of(references: &[u32]) -> Option<Self> {
        let (&first, rest) = references.split_first()?;
        if first >= FALLS {
            return None;
        }
        let rises = rest.iter().zip(first + 1..).all(|(one, next)| *one == next);
        let mut falling = rest.iter().zip(1..=first);
        if rises {
            Some(Self(first))
        } else if rest.len() <= first as usize && falling.all(|(one, by)| *one == first - by) {
            Some(Self(first | FALLS))
        } else {
            None
        }
    }

    /// The references of the row's `count` series.
    pub fn references(self, count: u32) -> impl Iterator<Item = u32> {
        let (first, falls) = (self.0 & !FALLS, self.0 & FALLS != 0);
        (0..count).map(move |by| {
            if falls {
                first.wrapping_sub(by)
            } else {
                first.wrapping_add(by)
            }
        })
    }
}

impl RowKeys {
    /// Looks rows up, in order. Call it under the gate.
    pub fn find(&self, rows: &[u128], out: &mut Vec<Option<Run>>) {
        let known = self.0.read_recursive();
        for &row in rows {
            known.prefetch(row);
        }
        out.extend(rows.iter().map(|&row| match known.find(row) {
            NO_SERIES => None,
            run => Some(Run(run)),
        }));
    }

    /// Remembers rows. Call it in the flight that knows their series, `series_count` of all.
    pub fn remember(&self, rows: &[(u128, Run)], series_count: usize) {
        if rows.is_empty() {
            return;
        }
        let mut known = self.0.write();
        for &(row, run) in rows {
            if known.len() < ROWS_MIN + series_count / 2 {
                known.insert(row, run.0);
            }
        }
    }

    /// Forgets all, before references may be given to other series.
    pub fn forget(&self) {
        *self.0.write() = RawKeys::default();
    }

    pub fn memory_bytes(&self) -> usize {
        self.0.read().memory_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn runs_rise_or_fall_one_by_one() {
        for (references, is_run) in [
            (&[5][..], true),
            (&[5, 6, 7], true),
            (&[2, 1, 0], true),
            (&[1, 0, u32::MAX], false),
            (&[5, 7], false),
            (&[5, 6, 5], false),
            (&[5, 5], false),
            (&[NO_SERIES], false),
            (&[], false),
        ] {
            let run = Run::of(references);
            assert_eq!(run.is_some(), is_run, "{references:?}");
            if let Some(run) = run {
                let back: Vec<u32> = run.references(references.len() as u32).collect();
                assert_eq!(back, references);
            }
        }
    }

    #[test]
    fn rows_are_bounded_by_series_and_forgotten() {
        let rows = RowKeys::default();
        let run = Run::of(&[3, 4]).unwrap();
        let many: Vec<(u128, Run)> = (0..ROWS_MIN as u128 + 9).map(|row| (row, run)).collect();
        rows.remember(&many, 10);
        let mut found = Vec::new();
        rows.find(&[0, ROWS_MIN as u128 + 4, ROWS_MIN as u128 + 5], &mut found);
        assert_eq!(found, [Some(run), Some(run), None]);
        rows.forget();
        found.clear();
        rows.find(&[0], &mut found);
        assert_eq!((found, rows.memory_bytes()), (vec![None], 0));
    }

    proptest! {
        #[test]
        fn any_references_are_a_run_that_gives_them_back_or_none(references: Vec<u32>) {
            if let Some(run) = Run::of(&references) {
                let back: Vec<u32> = run.references(references.len() as u32).collect();
                prop_assert_eq!(back, references);
            }
        }
    }
}
