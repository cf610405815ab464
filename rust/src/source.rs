//! What a query reads: the one trait that head and blocks share.

use crate::error::{CoreError, Result};
use crate::label_rows::LabelRowsBuilder;
use crate::rollup::Row;
use crate::sample::{Kind, Run};
use crate::selector::{Matcher, matches_all};
use crate::series::{SeriesId, SeriesView};
use crate::sides::SIDE_COLUMNS;
use roaring::RoaringBitmap;

/// Inclusive bounds in nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimeRange {
    pub min_ns: i64,
    pub max_ns: i64,
}

impl TimeRange {
    pub fn overlaps(&self, other: &TimeRange) -> bool {
        self.min_ns <= other.max_ns && other.min_ns <= self.max_ns
    }
}

/// A head generation or a block. Ordinals name series inside one source only.
///
/// Implementations are immutable or lock inside; every method may be called from many threads.
pub trait Source: Send + Sync {
    /// Settles duplicates: at an equal time the sample of the source with the greater order wins.
    fn order(&self) -> u64;

    /// Deletes at offsets up to this one are already out of this source.
    fn deletes_through(&self) -> u64;

    /// Tenants with samples here, in byte order.
    fn tenants(&self) -> Result<Vec<String>>;

    /// Bounds of all samples here; None where there are none.
    fn time_range(&self) -> Option<TimeRange>;

    /// Series of `tenant` that match every matcher and may have samples in `range`.
    fn select(&self, tenant: &str, matchers: &[Matcher], range: TimeRange)
    -> Result<RoaringBitmap>;

    /// Series that `select` gave, in the order of blocks: by name, then by canonical bytes.
    fn in_block_order(&self, tenant: &str, series: &RoaringBitmap) -> Result<Vec<u32>>;

    fn id(&self, ordinal: u32) -> SeriesId;

    /// Appends the canonical bytes of a series to `out`.
    fn canonical(&self, ordinal: u32, out: &mut Vec<u8>) -> Result<()>;

    /// Adds the labels of each of `ordinals`, which rise, as `PromQL` shows them.
    fn put_labels(&self, ordinals: &[u32], out: &mut LabelRowsBuilder) -> Result<()> {
        let mut canonical = Vec::new();
        for &ordinal in ordinals {
            canonical.clear();
            self.canonical(ordinal, &mut canonical)?;
            out.add(&SeriesView::parse(&canonical)?)?;
        }
        Ok(())
    }

    /// For reading many series: keeps what neighbours share. One thread holds it for one batch.
    fn reader(&self) -> Box<dyn Reader + '_>;

    /// Hands over samples of `ordinal` inside `range` as runs. Inside one run times ascend without
    /// repeats; runs may overlap in time, and then a later run wins over an earlier one.
    fn read(&self, ordinal: u32, range: TimeRange, out: &mut Vec<Run>) -> Result<()>;

    /// Length of the buckets it holds rows of; 0 where it holds samples.
    fn resolution_ns(&self) -> i64 {
        0
    }

    /// Whether it is written to or waits for its flush: then no roll-up has seen its samples.
    fn is_head(&self) -> bool {
        false
    }

    /// Appends the rows of `ordinal` that end inside `range`, with the columns asked for.
    fn rows(
        &self,
        _ordinal: u32,
        _range: TimeRange,
        _columns: u16,
        _out: &mut Vec<Row>,
    ) -> Result<()> {
        Ok(())
    }

    /// Names of labels that series of `tenant` in `range` have (labels only, and `__name__`).
    fn label_names(&self, tenant: &str, range: TimeRange, out: &mut Vec<String>) -> Result<()>;

    /// Values of a label (or of `__name__`, `__measurement__`, `__field__`) of `tenant` in `range`.
    fn label_values(
        &self,
        tenant: &str,
        label: &str,
        range: TimeRange,
        out: &mut Vec<String>,
    ) -> Result<()>;
}

/// Reads series of one source one after the other.
pub trait Reader {
    /// Says that `ordinal` is read a few reads later, in the order of these calls: what it takes may
    /// be fetched meanwhile.
    fn expect(&mut self, _ordinal: u32) {}

    /// As [`Source::read`].
    fn read(&mut self, ordinal: u32, range: TimeRange, out: &mut Vec<Run>) -> Result<()>;

    /// Samples of `ordinal` inside `range`, ascending, where they are floats alone and need no
    /// settling; None sends the caller to `read`.
    fn read_floats(&mut self, _ordinal: u32, _range: TimeRange) -> Result<Option<Floats<'_>>> {
        Ok(None)
    }

    /// Where samples of `ordinal` lie inside `range`, without reading them. Compaction asks.
    fn extents(&mut self, _ordinal: u32, range: TimeRange, out: &mut Vec<Extent>) -> Result<()> {
        out.push(Extent {
            range,
            count: 0,
            page: None,
        });
        Ok(())
    }

    /// The bytes of a page that `extents` named: of values or of a side column.
    fn page(&mut self, _offset: u64, _length: u32) -> Result<&[u8]> {
        Err(CoreError::Invalid(
            "cannot copy a page: the source has none".into(),
        ))
    }

    /// The times that a page goes with.
    fn page_times(&mut self, _page: PagePlace) -> Result<&[i64]> {
        Err(CoreError::Invalid(
            "cannot copy a page: the source has none".into(),
        ))
    }
}

/// Two columns of one length.
#[derive(Debug, Clone, Copy)]
pub struct Floats<'a> {
    pub times_ns: &'a [i64],
    pub values: &'a [f64],
}

/// A stretch of a series with samples: all that a source has of it, or one page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    pub range: TimeRange,
    /// Samples of the page; 0 where the stretch is none, and stands in memory anyway.
    pub count: usize,
    /// Where a page lies wholly inside the range and was written as small as we can.
    pub page: Option<PagePlace>,
}

/// A value page in a block, and the index of the times it goes with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PagePlace {
    pub kind: Kind,
    pub offset: u64,
    pub length: u32,
    pub time_index: u32,
    pub sides: SidePlaces,
}

/// Offset and length of the pages of side columns that go with a value page.
pub type SidePlaces = [Option<(u64, u32)>; SIDE_COLUMNS.len()];

/// The reader of a source whose series share nothing.
pub struct PlainReader<'a, S: Source + ?Sized>(pub &'a S);

impl<S: Source + ?Sized> Reader for PlainReader<'_, S> {
    fn read(&mut self, ordinal: u32, range: TimeRange, out: &mut Vec<Run>) -> Result<()> {
        self.0.read(ordinal, range, out)
    }
}

/// What a log record asked to remove; inclusive bounds.
#[derive(Debug, Clone, PartialEq)]
pub struct Delete {
    /// Of the log record: only samples of smaller offsets are hidden.
    pub offset: u64,
    pub tenant: String,
    pub matchers: Vec<Matcher>,
    /// Series that pass all matchers of any of these are spared: an earlier rule of retention is
    /// theirs.
    pub unless: Vec<Vec<Matcher>>,
    pub range: TimeRange,
}

/// No record has this offset: what hides from here on hides in the head that is written to, too.
pub const RETENTION_OFFSET: u64 = u64::MAX;

impl Delete {
    /// A source whose deletes reach through this offset or beyond is clean of it already.
    pub fn concerns(&self, source: &dyn Source, tenant: &str) -> bool {
        let is_newer = match self.offset {
            // Of coarse data retention has times of its own.
            RETENTION_OFFSET => source.resolution_ns() == 0,
            offset => source.deletes_through() < offset,
        };
        let meets = |own: TimeRange| own.overlaps(&self.range);
        self.tenant == tenant && is_newer && source.time_range().is_some_and(meets)
    }

    /// Whether it is about a series of its tenant.
    pub fn hides(&self, series: &SeriesView<'_>) -> bool {
        let spares = |matchers: &Vec<Matcher>| matches_all(matchers, series);
        matches_all(&self.matchers, series) && !self.unless.iter().any(spares)
    }

    /// Whether it is about every series of its tenant.
    pub fn is_for_all(&self) -> bool {
        self.matchers.is_empty() && self.unless.is_empty()
    }
}

/// Ranges of samples of one series that deletes hide in this source.
pub fn hidden_ranges(
    deletes: &[Delete],
    source: &dyn Source,
    tenant: &str,
    series: &SeriesView<'_>,
) -> Vec<TimeRange> {
    deletes
        .iter()
        .filter(|delete| delete.concerns(source, tenant) && delete.hides(series))
        .map(|delete| delete.range)
        .collect()
}

#[cfg(feature = "python")]
pub(crate) mod python {
    use super::{Delete, Source, TimeRange};
    use crate::error::Result;
    use crate::selector::Matcher;
    use pyo3::prelude::*;
    use std::sync::Arc;

    /// (offset, tenant, matchers, `min_ns`, `max_ns`), as a delete crosses from Python.
    pub type DeleteRow = (u64, String, Vec<(String, String, String)>, i64, i64);

    pub fn deletes_from_rows(rows: Vec<DeleteRow>) -> Result<Vec<Delete>> {
        rows.into_iter()
            .map(|(offset, tenant, matchers, min_ns, max_ns)| {
                Ok(Delete {
                    offset,
                    tenant,
                    matchers: Matcher::parse_all(&matchers)?,
                    unless: Vec::new(),
                    range: TimeRange { min_ns, max_ns },
                })
            })
            .collect()
    }

    /// A source on its way from head or block to a snapshot or a compaction; opaque to Python.
    #[pyclass(name = "Source", frozen)]
    pub struct PySource(pub Arc<dyn Source>);

    #[pymethods]
    impl PySource {
        #[getter]
        fn order(&self) -> u64 {
            self.0.order()
        }

        #[getter]
        fn time_range(&self) -> Option<(i64, i64)> {
            self.0
                .time_range()
                .map(|range| (range.min_ns, range.max_ns))
        }
    }

    pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
        module.add_class::<PySource>()
    }
}
