//! A source held in memory as it was given: runs and a plain label index.
//!
//! For tests and benches of what reads sources, and for columns a caller wants to query without
//! storing them. Nothing here is compressed.

use crate::error::{CoreError, Result};
use crate::sample::Run;
use crate::selector::{LabelIndex, Matcher, Target, select_in};
use crate::series::{SeriesId, SeriesView, legacy_name, series_id};
use crate::snapshot::{promql_labels, value_of};
use crate::source::{PlainReader, Reader, Source, TimeRange};
use roaring::RoaringBitmap;
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

#[derive(Debug, Default)]
pub struct MemorySource {
    pub order: u64,
    pub deletes_through: u64,
    series: Vec<Stored>,
    tenants: BTreeMap<String, Postings>,
}

#[derive(Debug)]
struct Stored {
    id: SeriesId,
    canonical: Vec<u8>,
    runs: Vec<Run>,
}

#[derive(Debug, Default)]
struct Postings {
    all: RoaringBitmap,
    values: BTreeMap<String, BTreeMap<String, RoaringBitmap>>,
}

impl MemorySource {
    pub fn new(order: u64, deletes_through: u64) -> Self {
        Self {
            order,
            deletes_through,
            ..Self::default()
        }
    }

    /// Inside each run times ascend without repeats; a later run wins over an earlier one.
    pub fn add(&mut self, tenant: &str, canonical: &[u8], runs: Vec<Run>) -> Result<()> {
        let view = SeriesView::parse(canonical)?;
        let ordered = |run: &Run| {
            run.times_ns.len() == run.values.len() && run.times_ns.is_sorted_by(|a, b| a < b)
        };
        if !runs.iter().all(ordered) {
            return Err(CoreError::Invalid(format!(
                "cannot hold series {:?}: its times do not ascend without repeats",
                view.promql_name()
            )));
        }
        let ordinal = self.series.len() as u32;
        self.tenants
            .entry(tenant.to_owned())
            .or_default()
            .add(&view, ordinal);
        let id = series_id(canonical);
        self.series.push(Stored {
            id,
            canonical: canonical.to_vec(),
            runs,
        });
        Ok(())
    }

    fn stored(&self, ordinal: u32) -> Result<&Stored> {
        self.series.get(ordinal as usize).ok_or_else(|| {
            CoreError::Invalid(format!(
                "cannot read series {ordinal}: there is no such ordinal"
            ))
        })
    }

    fn in_range(&self, tenant: &str, range: TimeRange) -> impl Iterator<Item = SeriesView<'_>> {
        let all = self.tenants.get(tenant).map(|postings| &postings.all);
        all.into_iter()
            .flatten()
            .map(|ordinal| &self.series[ordinal as usize])
            .filter(move |stored| stored.overlaps(range))
            .filter_map(|stored| SeriesView::parse(&stored.canonical).ok())
    }
}

impl Stored {
    fn overlaps(&self, range: TimeRange) -> bool {
        self.runs.iter().any(|run| !part(run, range).is_empty())
    }
}

fn part(run: &Run, range: TimeRange) -> std::ops::Range<usize> {
    let from = run.times_ns.partition_point(|&time| time < range.min_ns);
    let to = run.times_ns.partition_point(|&time| time <= range.max_ns);
    from..to.max(from)
}

impl Postings {
    fn add(&mut self, view: &SeriesView<'_>, ordinal: u32) {
        self.all.insert(ordinal);
        let name = view.promql_name();
        self.put("__name__", &legacy_name(&name), ordinal);
        self.put("__name__", &name, ordinal);
        self.put("__measurement__", view.name, ordinal);
        self.put("__field__", view.field, ordinal);
        for (label, value) in &view.labels {
            self.put(label, value, ordinal);
        }
    }

    fn put(&mut self, label: &str, value: &str, ordinal: u32) {
        if !value.is_empty() {
            let values = self.values.entry(label.to_owned()).or_default();
            values.entry(value.to_owned()).or_default().insert(ordinal);
        }
    }
}

impl LabelIndex for Postings {
    fn all(&self) -> RoaringBitmap {
        self.all.clone()
    }

    fn postings(&self, target: &Target, value: &str) -> Result<Option<Cow<'_, RoaringBitmap>>> {
        let values = self.values.get(target.label());
        Ok(values
            .and_then(|values| values.get(value))
            .map(Cow::Borrowed))
    }

    fn each_value(
        &self,
        target: &Target,
        prefix: &str,
        visit: &mut dyn FnMut(&str, &RoaringBitmap),
    ) -> Result<()> {
        let Some(values) = self.values.get(target.label()) else {
            return Ok(());
        };
        for (value, series) in values.range(prefix.to_owned()..) {
            if !value.starts_with(prefix) {
                break;
            }
            visit(value, series);
        }
        Ok(())
    }
}

impl Source for MemorySource {
    fn order(&self) -> u64 {
        self.order
    }

    fn deletes_through(&self) -> u64 {
        self.deletes_through
    }

    fn tenants(&self) -> Result<Vec<String>> {
        Ok(self.tenants.keys().cloned().collect())
    }

    fn time_range(&self) -> Option<TimeRange> {
        let runs = || self.series.iter().flat_map(|stored| &stored.runs);
        let min_ns = runs().filter_map(|run| run.times_ns.first()).min()?;
        let max_ns = runs().filter_map(|run| run.times_ns.last()).max()?;
        Some(TimeRange {
            min_ns: *min_ns,
            max_ns: *max_ns,
        })
    }

    fn select(
        &self,
        tenant: &str,
        matchers: &[Matcher],
        range: TimeRange,
    ) -> Result<RoaringBitmap> {
        let Some(postings) = self.tenants.get(tenant) else {
            return Ok(RoaringBitmap::new());
        };
        let selected = select_in(postings, matchers)?;
        Ok(selected
            .into_iter()
            .filter(|&ordinal| self.series[ordinal as usize].overlaps(range))
            .collect())
    }

    fn in_block_order(&self, _tenant: &str, series: &RoaringBitmap) -> Result<Vec<u32>> {
        let mut ordinals: Vec<u32> = series.iter().collect();
        let key = |ordinal: &u32| {
            let canonical = self
                .series
                .get(*ordinal as usize)
                .map(|one| &one.canonical[..]);
            let name = canonical.map(|bytes| crate::varint::get_slice(bytes, &mut 0).ok());
            (name, canonical)
        };
        ordinals.sort_unstable_by(|one, other| key(one).cmp(&key(other)));
        Ok(ordinals)
    }

    fn id(&self, ordinal: u32) -> SeriesId {
        self.series
            .get(ordinal as usize)
            .map_or(0, |stored| stored.id)
    }

    fn canonical(&self, ordinal: u32, out: &mut Vec<u8>) -> Result<()> {
        out.extend_from_slice(&self.stored(ordinal)?.canonical);
        Ok(())
    }

    fn reader(&self) -> Box<dyn Reader + '_> {
        Box::new(PlainReader(self))
    }

    fn read(&self, ordinal: u32, range: TimeRange, out: &mut Vec<Run>) -> Result<()> {
        for run in &self.stored(ordinal)?.runs {
            let part = part(run, range);
            if !part.is_empty() {
                out.push(Run {
                    kind: run.kind,
                    times_ns: run.times_ns[part.clone()].to_vec(),
                    values: run.values[part.clone()].to_vec(),
                    heap: run.heap.clone(),
                    sides: run.sides.slice(part),
                });
            }
        }
        Ok(())
    }

    fn label_names(&self, tenant: &str, range: TimeRange, out: &mut Vec<String>) -> Result<()> {
        let mut names = BTreeSet::new();
        for view in self.in_range(tenant, range) {
            names.extend(
                promql_labels(&view)
                    .pairs()
                    .map(|(name, _)| name.to_owned()),
            );
        }
        out.extend(names);
        Ok(())
    }

    fn label_values(
        &self,
        tenant: &str,
        label: &str,
        range: TimeRange,
        out: &mut Vec<String>,
    ) -> Result<()> {
        let values: BTreeSet<String> = self
            .in_range(tenant, range)
            .map(|view| value_of(&view, label))
            .collect();
        out.extend(values.into_iter().filter(|value| !value.is_empty()));
        Ok(())
    }
}

#[cfg(feature = "python")]
#[allow(clippy::needless_pass_by_value, clippy::too_many_arguments)]
pub(crate) mod python {
    use super::MemorySource;
    use crate::error::{CoreError, Result};
    use crate::sample::{Kind, Run};
    use crate::source::python::PySource;
    use crate::window::python::contiguous;
    use numpy::PyReadonlyArray1;
    use pyo3::prelude::*;
    use std::sync::Arc;

    #[pyfunction]
    #[pyo3(signature = (tenant, series, offsets, times_ns, values, *, order = 0, deletes_through = 0))]
    fn memory_source(
        py: Python<'_>,
        tenant: &str,
        series: Vec<Vec<u8>>,
        offsets: PyReadonlyArray1<'_, i64>,
        times_ns: PyReadonlyArray1<'_, i64>,
        values: PyReadonlyArray1<'_, f64>,
        order: u64,
        deletes_through: u64,
    ) -> PyResult<PySource> {
        let offsets = offsets.as_slice().map_err(|_| contiguous("offsets"))?;
        let times = times_ns.as_slice().map_err(|_| contiguous("times_ns"))?;
        let values = values.as_slice().map_err(|_| contiguous("values"))?;
        let source: Result<MemorySource> = py.detach(|| {
            let mut source = MemorySource::new(order, deletes_through);
            let fits = offsets.len() == series.len() + 1 && times.len() == values.len();
            if !fits {
                return Err(mismatch());
            }
            for (canonical, bounds) in series.iter().zip(offsets.windows(2)) {
                let part = bounds[0] as usize..bounds[1] as usize;
                let (Some(times), Some(values)) = (times.get(part.clone()), values.get(part))
                else {
                    return Err(mismatch());
                };
                let mut run = Run::new(Kind::Float64);
                run.times_ns.extend_from_slice(times);
                run.values
                    .extend(values.iter().map(|value| value.to_bits()));
                source.add(tenant, canonical, vec![run])?;
            }
            Ok(source)
        });
        Ok(PySource(Arc::new(source?)))
    }

    fn mismatch() -> CoreError {
        CoreError::Invalid("cannot hold columns: offsets, times and values do not fit".into())
    }

    pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
        module.add_function(wrap_pyfunction!(memory_source, module)?)
    }
}
