//! Side columns: what a sample may have beside its value: start time, position, elevation.
//!
//! They are parts of batches, records, runs and pages, and go wherever their sample goes
//! (decision 0081). Absent, they are empty vectors.

use crate::sample::Kind;
use std::ops::Range;

/// The numbers are their places in [`Side`] and [`Sides`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SideColumn {
    /// When the interval began that the value is about; i64 nanoseconds.
    StartTime = 0,
    /// Where it was taken: a 64-bit `HHCode`, as in Warp 10.
    Position = 1,
    /// How high; i64 millimetres.
    Elevation = 2,
}

pub const SIDE_COLUMNS: [SideColumn; 3] = [
    SideColumn::StartTime,
    SideColumn::Position,
    SideColumn::Elevation,
];

/// Bits of one sample's side columns, in the order of [`SIDE_COLUMNS`].
pub type Side = [i64; 3];

/// What stands for none: the least i64 and, of positions, Warp 10's own mark for no location.
pub const NO_SIDE: Side = [i64::MIN, 0x0145_0145_0145_0145, i64::MIN];

impl SideColumn {
    /// How its pages say to be read.
    pub fn kind(self) -> Kind {
        match self {
            Self::StartTime | Self::Elevation => Kind::Int64,
            Self::Position => Kind::Uint64,
        }
    }

    pub fn absent(self) -> i64 {
        NO_SIDE[self as usize]
    }
}

/// Side columns of a list of samples: each is empty, or as long as the list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sides([Vec<i64>; 3]);

impl Sides {
    /// Whether none of the columns is there.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.0.iter().all(Vec::is_empty)
    }

    /// Bits; empty where the column is absent.
    pub fn column(&self, column: SideColumn) -> &[i64] {
        &self.0[column as usize]
    }

    pub fn set(&mut self, column: SideColumn, bits: Vec<i64>) {
        self.0[column as usize] = bits;
    }

    /// Whether every column is empty or has `count` items.
    pub fn fit(&self, count: usize) -> bool {
        let fits = |bits: &Vec<i64>| bits.is_empty() || bits.len() == count;
        self.0.iter().all(fits)
    }

    pub fn at(&self, sample: usize) -> Side {
        let mut side = NO_SIDE;
        for (bits, column) in side.iter_mut().zip(&self.0) {
            *bits = column.get(sample).copied().unwrap_or(*bits);
        }
        side
    }

    /// Whether any of these samples has a value in the column.
    pub fn has(&self, column: SideColumn, mut samples: Range<usize>) -> bool {
        let (bits, absent) = (self.column(column), column.absent());
        !bits.is_empty() && samples.any(|sample| bits[sample] != absent)
    }

    pub fn has_any(&self, samples: &Range<usize>) -> bool {
        let has = |&column: &SideColumn| self.has(column, samples.clone());
        !self.is_empty() && SIDE_COLUMNS.iter().any(has)
    }

    /// Takes in what a sample has which comes behind `count` others.
    pub fn push(&mut self, count: usize, side: Side) {
        for (column, bits) in SIDE_COLUMNS.into_iter().zip(side) {
            if bits != column.absent() || !self.column(column).is_empty() {
                self.fill(column, count);
                self.0[column as usize].push(bits);
            }
        }
    }

    /// Takes in what stretches of other samples have, `length` of them, behind `count` of its own.
    pub fn append(&mut self, count: usize, other: &Self, samples: Range<usize>) {
        for column in SIDE_COLUMNS {
            let bits = other.column(column);
            if !bits.is_empty() {
                self.fill(column, count);
                self.0[column as usize].extend_from_slice(&bits[samples.clone()]);
            } else if !self.column(column).is_empty() {
                self.fill(column, count + samples.len());
            }
        }
    }

    /// Makes a column as long as `count`, with nothing in it from where it ended.
    fn fill(&mut self, column: SideColumn, count: usize) {
        let bits = &mut self.0[column as usize];
        if bits.len() < count {
            bits.resize(count, column.absent());
        }
    }

    /// Takes samples out.
    pub fn drain(&mut self, samples: Range<usize>) {
        for bits in self.0.iter_mut().filter(|bits| !bits.is_empty()) {
            bits.drain(samples.clone());
        }
    }

    #[must_use]
    pub fn slice(&self, samples: Range<usize>) -> Self {
        let mut part = Self::default();
        part.append(0, self, samples);
        part
    }

    pub fn memory_bytes(&self) -> usize {
        self.0.iter().map(|bits| size_of_val(&bits[..])).sum()
    }
}

#[cfg(feature = "python")]
pub(crate) mod python {
    use super::{NO_SIDE, SideColumn, Sides};
    use numpy::PyArray1;
    use pyo3::prelude::*;

    /// Start times, positions and elevations; none where no sample has one.
    pub type SideArrays<'py> = (
        Option<Bound<'py, PyArray1<i64>>>,
        Option<Bound<'py, PyArray1<u64>>>,
        Option<Bound<'py, PyArray1<i64>>>,
    );

    pub fn to_arrays<'py>(py: Python<'py>, sides: &Sides) -> SideArrays<'py> {
        let column = |column| {
            let bits = sides.column(column);
            sides.has(column, 0..bits.len()).then_some(bits)
        };
        let codes = |bits: &[i64]| bits.iter().map(|&bits| bits as u64).collect();
        (
            column(SideColumn::StartTime).map(|bits| PyArray1::from_slice(py, bits)),
            column(SideColumn::Position).map(|bits| PyArray1::from_vec(py, codes(bits))),
            column(SideColumn::Elevation).map(|bits| PyArray1::from_slice(py, bits)),
        )
    }

    pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
        let [start_time, position, elevation] = NO_SIDE;
        module.add("NO_START_TIME", start_time)?;
        module.add("NO_POSITION", position as u64)?;
        module.add("NO_ELEVATION", elevation)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sides(rows: &[Side]) -> Sides {
        let mut sides = Sides::default();
        for (count, &side) in rows.iter().enumerate() {
            sides.push(count, side);
        }
        sides
    }

    fn rows(sides: &Sides, count: usize) -> Vec<Side> {
        assert!(sides.fit(count));
        (0..count).map(|at| sides.at(at)).collect()
    }

    #[test]
    fn samples_without_any_take_nothing() {
        let none = sides(&[NO_SIDE; 3]);
        assert!(none.is_empty() && !none.has_any(&(0..3)));
        assert_eq!((none.at(2), none.memory_bytes()), (NO_SIDE, 0));
        assert_eq!(none, Sides::default());
    }

    pub fn side() -> impl Strategy<Value = Side> {
        let bits = |absent| prop_oneof![Just(absent), 0i64..4];
        NO_SIDE.map(bits)
    }

    proptest! {
        #[test]
        fn equals_a_list_of_rows(
            one in prop::collection::vec(side(), 0..9), other in prop::collection::vec(side(), 0..9),
            cut in any::<prop::sample::Index>(), until in any::<prop::sample::Index>(),
        ) {
            let range = |count: usize| {
                let (one, other) = (cut.index(count + 1), until.index(count + 1));
                one.min(other)..one.max(other)
            };
            let mut found = sides(&one);
            prop_assert_eq!(rows(&found, one.len()), one.clone());
            let part = range(other.len());
            found.append(one.len(), &sides(&other), part.clone());
            let mut expected = one;
            expected.extend_from_slice(&other[part]);
            prop_assert_eq!(rows(&found, expected.len()), expected.clone());
            let part = range(expected.len());
            let inside = &expected[part.clone()];
            prop_assert_eq!(rows(&found.slice(part.clone()), part.len()), inside);
            prop_assert_eq!(found.has_any(&part), inside.iter().any(|&side| side != NO_SIDE));
            found.drain(part.clone());
            expected.drain(part);
            prop_assert_eq!(rows(&found, expected.len()), expected);
        }
    }
}
