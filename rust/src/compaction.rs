//! One path for flush and compaction: any sources over a time window become one block file.
//!
//! `store` calls `write_block` with head generations, blocks or both. One series is read, merged and
//! written at a time, a long one slice by slice; pages that were written small, and that no delete
//! and no other page touches, are copied as they are. Sources are walked side by side in the order
//! of (tenant, name, canonical bytes).

use crate::block_layout::Chunk;
use crate::block_writer::{BlockOptions, BlockSummary, BlockWriter, PAGE_SAMPLES};
use crate::error::{CoreError, Result};
use crate::merge::{hide, merge_runs};
use crate::retention::Keep;
use crate::sample::Run;
use crate::series::{SeriesId, SeriesView};
use crate::sides::SIDE_COLUMNS;
use crate::source::{Delete, Extent, PagePlace, Reader, Source, TimeRange, hidden_ranges};
use hashbrown::HashMap;
use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering as Memory};

/// Series that a reader is told of before they are read.
const READS_AHEAD: usize = 8;

/// What becomes part of the block.
pub struct BlockRequest<'a> {
    pub sources: &'a [Arc<dyn Source>],
    pub deletes: &'a [Delete],
    pub window: TimeRange,
    /// Retention: what a tenant no longer keeps is left out.
    pub keep: &'a BTreeMap<String, Keep>,
    pub options: BlockOptions,
    pub cancel: &'a AtomicBool,
}

/// Where a series is cut while it is written.
#[derive(Debug, Clone, Copy)]
struct Cuts {
    /// Samples that are decoded and merged at a time: of a longer series one slice after another.
    slice_samples_max: usize,
    /// A page of fewer samples is joined with its neighbours,
    copied_samples_min: usize,
    /// and so is one of fewer bytes: of nearly constant values, cheaper to write than to keep apart.
    copied_bytes_min: u32,
}

const CUTS: Cuts = Cuts {
    slice_samples_max: 1 << 18,
    copied_samples_min: PAGE_SAMPLES / 2,
    copied_bytes_min: 100,
};

/// Writes the block at `path`, durable but not yet known to anybody; None (and no file) where
/// nothing is left to write.
pub fn write_block(request: &BlockRequest<'_>, path: &Path) -> Result<Option<BlockSummary>> {
    write_cut_block(request, CUTS, path)
}

fn write_cut_block(
    request: &BlockRequest<'_>,
    cuts: Cuts,
    path: &Path,
) -> Result<Option<BlockSummary>> {
    let mut sources: Vec<&Arc<dyn Source>> = request.sources.iter().collect();
    // Rising priority; of equal orders the later argument wins.
    sources.sort_by_key(|source| source.order());
    let mut tenants = BTreeSet::new();
    for source in &sources {
        tenants.extend(source.tenants()?);
    }
    let mut writer = BlockWriter::create(path, request.options)?;
    for tenant in tenants {
        let mut window = request.window;
        let keep = request.keep.get(&tenant);
        if let Some(keep) = keep {
            window.min_ns = window.min_ns.max(keep.raw_floor_ns());
        }
        if window.min_ns <= window.max_ns {
            writer.start_tenant(&tenant);
            write_tenant(
                request,
                cuts,
                &sources,
                (&tenant, keep),
                window,
                &mut writer,
            )?;
        }
    }
    writer.finish()
}

fn write_tenant(
    request: &BlockRequest<'_>,
    cuts: Cuts,
    sources: &[&Arc<dyn Source>],
    (tenant, keep): (&str, Option<&Keep>),
    window: TimeRange,
    writer: &mut BlockWriter,
) -> Result<()> {
    let mut walks = Vec::with_capacity(sources.len());
    for (place, source) in sources.iter().enumerate() {
        let mut walk = Walk::new(place, source.as_ref(), tenant, window)?;
        if walk.advance()? {
            walks.push(walk);
        }
    }
    let mut canonical = Vec::new();
    let mut out = SeriesWriter {
        cuts,
        deletes: request.deletes,
        tenant,
        writer,
        copied_times: HashMap::new(),
        extents: Vec::new(),
        chunks: Vec::new(),
    };
    while let Some(first) = lowest(&walks) {
        if request.cancel.load(Memory::Relaxed) {
            return Err(CoreError::Unavailable(
                "cannot write a block: cancelled".into(),
            ));
        }
        let id = walks[first].id();
        canonical.clear();
        canonical.extend_from_slice(&walks[first].canonical);
        let series = SeriesView::parse(&canonical)?;
        let mut members: Vec<&mut Walk<'_>> = walks[first..]
            .iter_mut()
            .filter(|walk| walk.canonical == canonical)
            .collect();
        let mut window = window;
        if let Some(keep) = keep {
            window.min_ns = window.min_ns.max(keep.raw_from_ns(&series));
        }
        if window.min_ns <= window.max_ns {
            out.write(id, &series, &mut members, window)?;
        }
        step_over(&mut walks, &canonical)?;
    }
    Ok(())
}

/// Steps every walk that stands at the series to its next one.
pub(crate) fn step_over(walks: &mut Vec<Walk<'_>>, canonical: &[u8]) -> Result<()> {
    let mut at = 0;
    while at < walks.len() {
        if walks[at].canonical == canonical && !walks[at].advance()? {
            walks.remove(at);
        } else {
            at += 1;
        }
    }
    Ok(())
}

/// Writes series after series: pages that nothing touches as they are, the rest decoded and merged.
struct SeriesWriter<'a> {
    cuts: Cuts,
    deletes: &'a [Delete],
    tenant: &'a str,
    writer: &'a mut BlockWriter,
    /// Index of a time page in the block by (source, index there).
    copied_times: HashMap<(usize, u32), u32>,
    /// Of the series that is being written, with the place of the walk.
    extents: Vec<(usize, Extent)>,
    chunks: Vec<Chunk>,
}

impl SeriesWriter<'_> {
    /// `walks` stand at the series, in rising priority.
    fn write(
        &mut self,
        id: SeriesId,
        series: &SeriesView<'_>,
        walks: &mut [&mut Walk<'_>],
        window: TimeRange,
    ) -> Result<()> {
        self.chunks.clear();
        self.find_extents(series, walks, window)?;
        let mut slice = window;
        let (mut count, mut reach_ns) = (0, None);
        for at in 0..self.extents.len() {
            let (member, extent) = self.extents[at];
            let TimeRange { min_ns, max_ns } = extent.range;
            let next_ns = self.extents.get(at + 1).map(|(_, next)| next.range.min_ns);
            let is_alone = reach_ns.is_none_or(|reach_ns| reach_ns < min_ns)
                && next_ns.is_none_or(|next_ns| max_ns < next_ns);
            reach_ns = reach_ns.max(Some(max_ns));
            let page = extent
                .page
                .filter(|page| is_alone && self.may_copy(&extent, page));
            if count > 0 && (page.is_some() || count + extent.count > self.cuts.slice_samples_max) {
                slice.max_ns = min_ns.saturating_sub(1);
                self.merge(series, walks, slice)?;
                (slice.min_ns, count) = (slice.min_ns.max(min_ns), 0);
            }
            match page {
                Some(page) => {
                    self.copy(walks[member], page, extent)?;
                    slice.min_ns = max_ns.saturating_add(1);
                }
                None => count += extent.count.max(1),
            }
        }
        slice.max_ns = window.max_ns;
        if count > 0 {
            self.merge(series, walks, slice)?;
        }
        if self.chunks.is_empty() {
            return Ok(());
        }
        self.writer.end_series(id, series, &self.chunks)
    }

    /// Where the samples of the series lie, ascending; pages that deletes touch are none.
    fn find_extents(
        &mut self,
        series: &SeriesView<'_>,
        walks: &mut [&mut Walk<'_>],
        window: TimeRange,
    ) -> Result<()> {
        self.extents.clear();
        let mut found = Vec::new();
        for (member, walk) in walks.iter_mut().enumerate() {
            walk.reader.extents(walk.ordinal(), window, &mut found)?;
            let hidden = walk.hidden(self.tenant, self.deletes, series);
            self.extents.extend(found.drain(..).map(|mut extent| {
                let is_touched = hidden.iter().any(|range| range.overlaps(&extent.range));
                extent.page = extent.page.filter(|_| !is_touched);
                (member, extent)
            }));
        }
        self.extents.sort_by_key(|(_, extent)| extent.range.min_ns);
        Ok(())
    }

    /// Whether a page is worth keeping as it is, where nothing overlaps it.
    fn may_copy(&self, extent: &Extent, page: &PagePlace) -> bool {
        let is_long = extent.count >= self.cuts.copied_samples_min
            && page.length >= self.cuts.copied_bytes_min;
        (is_long || self.extents.len() == 1) && self.writer.is_small()
    }

    fn copy(&mut self, walk: &mut Walk<'_>, page: PagePlace, extent: Extent) -> Result<()> {
        let key = (walk.place, page.time_index);
        let time_index = if let Some(&known) = self.copied_times.get(&key) {
            known
        } else {
            let index = self.writer.time_page(walk.reader.page_times(page)?)?;
            self.copied_times.insert(key, index);
            index
        };
        let bytes = walk.reader.page(page.offset, page.length)?;
        let samples = (extent.count, extent.range);
        let chunk = self
            .writer
            .copy_chunk(page.kind, bytes, samples, time_index)?;
        self.chunks.push(chunk);
        for (column, place) in SIDE_COLUMNS.into_iter().zip(page.sides) {
            let Some((offset, length)) = place else {
                continue;
            };
            let bytes = walk.reader.page(offset, length)?;
            let chunk = self
                .writer
                .copy_side_chunk(column, bytes, extent.range, time_index)?;
            self.chunks.push(chunk);
        }
        Ok(())
    }

    fn merge(
        &mut self,
        series: &SeriesView<'_>,
        walks: &mut [&mut Walk<'_>],
        slice: TimeRange,
    ) -> Result<()> {
        if slice.min_ns > slice.max_ns {
            return Ok(());
        }
        let mut runs = Vec::new();
        for walk in walks {
            walk.read(self.tenant, slice, self.deletes, series, &mut runs)?;
        }
        for run in merge_runs(runs, &[]) {
            self.writer.add_run(&run, &mut self.chunks)?;
        }
        Ok(())
    }
}

/// The first walk that stands at the lowest series.
pub(crate) fn lowest(walks: &[Walk<'_>]) -> Option<usize> {
    (0..walks.len()).reduce(|best, at| {
        if series_order(&walks[at].canonical, &walks[best].canonical) == Ordering::Less {
            at
        } else {
            best
        }
    })
}

/// By name, then by canonical bytes. Bytes that do not parse sort last; writing them fails.
fn series_order(a: &[u8], b: &[u8]) -> Ordering {
    name_of(a).cmp(name_of(b)).then_with(|| a.cmp(b))
}

fn name_of(canonical: &[u8]) -> &[u8] {
    crate::varint::get_slice(canonical, &mut 0).unwrap_or(&[0xff])
}

/// The series of one tenant in one source, in the order of the block.
pub(crate) struct Walk<'a> {
    /// Of the source among all.
    place: usize,
    pub source: &'a dyn Source,
    reader: Box<dyn Reader + 'a>,
    ordinals: Vec<u32>,
    next: usize,
    pub canonical: Vec<u8>,
}

impl<'a> Walk<'a> {
    pub fn new(
        place: usize,
        source: &'a dyn Source,
        tenant: &str,
        window: TimeRange,
    ) -> Result<Self> {
        let selected = source.select(tenant, &[], window)?;
        let ordinals = source.in_block_order(tenant, &selected)?;
        let mut reader = source.reader();
        for &ordinal in ordinals.iter().take(READS_AHEAD) {
            reader.expect(ordinal);
        }
        Ok(Self {
            place,
            source,
            reader,
            ordinals,
            next: 0,
            canonical: Vec::new(),
        })
    }

    /// Steps to the next series; false at the end.
    pub fn advance(&mut self) -> Result<bool> {
        let Some(&ordinal) = self.ordinals.get(self.next) else {
            return Ok(false);
        };
        if let Some(&ahead) = self.ordinals.get(self.next + READS_AHEAD) {
            self.reader.expect(ahead);
        }
        self.next += 1;
        self.canonical.clear();
        self.source.canonical(ordinal, &mut self.canonical)?;
        Ok(true)
    }

    pub fn ordinal(&self) -> u32 {
        self.ordinals[self.next - 1]
    }

    pub fn id(&self) -> SeriesId {
        self.source.id(self.ordinal())
    }

    /// Appends the samples of the series the walk stands at, without those that deletes hide.
    pub fn read(
        &mut self,
        tenant: &str,
        window: TimeRange,
        deletes: &[Delete],
        series: &SeriesView<'_>,
        runs: &mut Vec<Run>,
    ) -> Result<()> {
        let from = runs.len();
        let ordinal = self.ordinal();
        self.reader.read(ordinal, window, runs)?;
        let hidden = self.hidden(tenant, deletes, series);
        for run in &mut runs[from..] {
            hide(run, &hidden);
        }
        Ok(())
    }

    /// What deletes hide of the series the walk stands at.
    fn hidden(&self, tenant: &str, deletes: &[Delete], series: &SeriesView<'_>) -> Vec<TimeRange> {
        hidden_ranges(deletes, self.source, tenant, series)
    }
}

#[cfg(feature = "python")]
pub(crate) mod python {
    use super::BlockRequest;
    use crate::block::python::tenants;
    use crate::block_writer::{BlockOptions, BlockSummary};
    use crate::pages::Effort;
    use crate::retention::python::{KeepRow, keeps_from_rows};
    use crate::source::python::{DeleteRow, PySource, deletes_from_rows};
    use crate::source::{Source, TimeRange};
    use pyo3::prelude::*;
    use pyo3::types::PyDict;
    use std::collections::BTreeMap;
    use std::path::PathBuf;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    /// Stops a `write_block` that another thread runs.
    #[pyclass(name = "Cancellation", frozen)]
    pub struct PyCancellation(Arc<AtomicBool>);

    #[pymethods]
    impl PyCancellation {
        #[new]
        fn new() -> Self {
            Self(Arc::new(AtomicBool::new(false)))
        }

        fn cancel(&self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }

    impl PyCancellation {
        /// One that nobody can use where there is none.
        pub fn flag(given: Option<&Bound<'_, Self>>) -> Arc<AtomicBool> {
            given.map_or_else(Arc::default, |flag| Arc::clone(&flag.get().0))
        }
    }

    pub fn sources_of(sources: &[Bound<'_, PySource>]) -> Vec<Arc<dyn Source>> {
        sources
            .iter()
            .map(|source| Arc::clone(&source.get().0))
            .collect()
    }

    #[pyfunction]
    #[pyo3(signature = (sources, deletes, path, *, min_ns, max_ns, keep, effort,
        offset_first=0, offset_last=0, cancellation=None))]
    #[allow(clippy::too_many_arguments, clippy::needless_pass_by_value)]
    fn write_block<'py>(
        py: Python<'py>,
        sources: Vec<Bound<'py, PySource>>,
        deletes: Vec<DeleteRow>,
        path: PathBuf,
        min_ns: i64,
        max_ns: i64,
        keep: BTreeMap<String, Vec<KeepRow>>,
        effort: &str,
        offset_first: u64,
        offset_last: u64,
        cancellation: Option<Bound<'py, PyCancellation>>,
    ) -> PyResult<Option<Bound<'py, PyDict>>> {
        let options = BlockOptions {
            effort: Effort::parse(effort)?,
            resolution_ns: 0,
            offset_first,
            offset_last,
        };
        let sources = sources_of(&sources);
        let cancel = PyCancellation::flag(cancellation.as_ref());
        let summary = py.detach(|| {
            let deletes = deletes_from_rows(deletes)?;
            let keep = keeps_from_rows(keep)?;
            let request = BlockRequest {
                sources: &sources,
                deletes: &deletes,
                window: TimeRange { min_ns, max_ns },
                keep: &keep,
                options,
                cancel: &cancel,
            };
            super::write_block(&request, &path)
        })?;
        summary.map(|summary| to_dict(py, &summary)).transpose()
    }

    pub fn to_dict<'py>(py: Python<'py>, summary: &BlockSummary) -> PyResult<Bound<'py, PyDict>> {
        let out = PyDict::new(py);
        out.set_item("sample_count", summary.sample_count)?;
        out.set_item("series_count", summary.series_count)?;
        out.set_item("min_ns", summary.min_ns)?;
        out.set_item("max_ns", summary.max_ns)?;
        out.set_item("file_bytes", summary.file_bytes)?;
        out.set_item("tenants", tenants(py, &summary.tenants)?)?;
        let sections = PyDict::new(py);
        for (name, bytes) in &summary.bytes_by_section {
            sections.set_item(name, bytes)?;
        }
        out.set_item("bytes_by_section", sections)?;
        Ok(out)
    }

    pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
        module.add_class::<PyCancellation>()?;
        module.add_function(wrap_pyfunction!(write_block, module)?)
    }
}

#[cfg(test)]
mod tests;
