//! What a query reads: the one trait that head and blocks share.

use crate::error::Result;
use crate::sample::Run;
use crate::selector::Matcher;
use crate::series::SeriesId;
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
    fn tenants(&self) -> Vec<String>;

    /// Bounds of all samples here; None where there are none.
    fn time_range(&self) -> Option<TimeRange>;

    /// Series of `tenant` that match every matcher and may have samples in `range`.
    fn select(&self, tenant: &str, matchers: &[Matcher], range: TimeRange)
    -> Result<RoaringBitmap>;

    fn id(&self, ordinal: u32) -> SeriesId;

    /// Appends the canonical bytes of a series to `out`.
    fn canonical(&self, ordinal: u32, out: &mut Vec<u8>) -> Result<()>;

    /// Hands over samples of `ordinal` inside `range` as runs. Inside one run times ascend without
    /// repeats; runs may overlap in time, and then a later run wins over an earlier one.
    fn read(&self, ordinal: u32, range: TimeRange, out: &mut Vec<Run>) -> Result<()>;

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

#[cfg(feature = "python")]
pub(crate) mod python {
    use super::Source;
    use pyo3::prelude::*;
    use std::sync::Arc;

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
