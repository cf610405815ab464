//! Block files: open, select, read and verify an immutable file (docs/formats/block.md).
//!
//! Queries and compaction read a block through `BlockSource`. Opening reads the footer and the
//! tenant rows; everything else is read, and verified, when it is first touched.

use crate::block_layout::{self as layout, Footer, TenantRow, TimeEntry};
use crate::block_layout::{GROUP_ENTRIES, HEADER_BYTES};
use crate::block_reader::{self, Kept};
use crate::error::{CoreError, Result};
use crate::index::{SeriesSymbols, Symbols, TenantIndex};
use crate::label_rows::LabelRowsBuilder;
use crate::mmap::map_file;
use crate::pages;
use crate::rollup::Row;
use crate::rollup_pages::{ALL_COLUMNS, RowReader};
use crate::sample::Run;
use crate::section::{SECTION_KINDS, SECTION_SETTLED, Section, SectionEntry, SectionKind};
use crate::selector::{Matcher, Target, select_in};
use crate::series::{SeriesId, SeriesView, series_id};
use crate::source::{Extent, Floats, PagePlace, Reader, Source, TimeRange};
use crate::tenant_rows::TenantRows;
use crate::varint;
use memmap2::Mmap;
use roaring::RoaringBitmap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub struct Block {
    path: PathBuf,
    file: Mmap,
    footer: Footer,
    sections: Vec<Section>,
    tenants: TenantRows,
    is_settled: bool,
}

impl Block {
    pub fn open(path: &Path) -> Result<Self> {
        let file = map_file(path)?;
        let opened = layout::get_footer(&file).and_then(|(footer, entries)| {
            let sections = find_sections(&entries, file.len())?;
            let section = &sections[SectionKind::Tenants as usize - 1];
            let tenants =
                TenantRows::open(section, &file, footer.tenant_count, footer.series_count)?;
            let is_settled = entries.iter().any(|entry| entry.kind == SECTION_SETTLED);
            Ok((footer, sections, tenants, is_settled))
        });
        let (footer, sections, tenants, is_settled) =
            opened.map_err(|error| named("open", path, error))?;
        let block = Self {
            path: path.to_owned(),
            file,
            footer,
            sections,
            tenants,
            is_settled,
        };
        block
            .check_counts()
            .map_err(|error| named("open", path, error))?;
        Ok(block)
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn footer(&self) -> &Footer {
        &self.footer
    }

    pub fn tenant_count(&self) -> usize {
        self.tenants.len()
    }

    /// Every tenant's row, read from the file.
    pub fn tenants(&self) -> Result<Vec<TenantRow>> {
        let rows = self
            .tenants
            .rows(self.section(SectionKind::Tenants), &self.file);
        rows.map_err(|error| named("read", &self.path, error))
    }

    /// Whether every page was written small: compaction copies them as they are.
    pub fn is_settled(&self) -> bool {
        self.is_settled
    }

    pub fn file_bytes(&self) -> usize {
        self.file.len()
    }

    pub fn time_range(&self) -> TimeRange {
        TimeRange {
            min_ns: self.footer.min_ns,
            max_ns: self.footer.max_ns,
        }
    }

    /// Where the samples lie that are behind times of this block: rows stand at their buckets' ends.
    fn reach(&self, times: TimeRange) -> TimeRange {
        let before_ns = (self.footer.resolution_ns - 1).max(0);
        TimeRange {
            min_ns: times.min_ns.saturating_sub(before_ns),
            max_ns: times.max_ns,
        }
    }

    /// Bytes by part of the file, checksums included.
    pub fn bytes_by_section(&self) -> Vec<(&'static str, usize)> {
        let mut out = vec![("pages", self.footer.pages_end as usize - HEADER_BYTES)];
        for (kind, section) in SECTION_KINDS.iter().zip(&self.sections) {
            out.push((kind.name(), section.file_bytes()));
        }
        out
    }

    /// In the order of their kinds.
    pub(crate) fn sections(&self) -> &[Section] {
        &self.sections
    }

    pub(crate) fn file(&self) -> &[u8] {
        &self.file
    }

    fn section(&self, kind: SectionKind) -> &Section {
        // `find_sections` keeps them in the order of the numbers, which start at 1.
        &self.sections[kind as usize - 1]
    }

    /// Lengths of the fixed-width sections must fit the footer's counts.
    fn check_counts(&self) -> Result<()> {
        let series = self.footer.series_count as usize;
        let groups = |count: usize| count.div_ceil(GROUP_ENTRIES) * 8;
        let times = self.footer.time_page_count as usize;
        for (kind, wanted) in [
            (SectionKind::Ids, series * 16),
            (SectionKind::SeriesOffsets, groups(series)),
            (SectionKind::ChunksOffsets, groups(series)),
            (SectionKind::TimesOffsets, groups(times)),
        ] {
            let found = self.section(kind).len();
            if found != wanted {
                return Err(CoreError::Corrupt(format!(
                    "section {}: {found} bytes where {wanted} are due",
                    kind.name()
                )));
            }
        }
        Ok(())
    }

    pub fn tenant(&self, tenant: &str) -> Result<Option<TenantRow>> {
        let section = self.section(SectionKind::Tenants);
        let found = self.tenants.find(section, &self.file, tenant);
        found.map_err(|error| named("read", &self.path, error))
    }

    fn tenant_of(&self, ordinal: u32) -> Option<String> {
        let rows = self.tenants().ok()?;
        let after = rows.partition_point(|row| row.series_first <= ordinal);
        rows[..after].last().map(|row| row.tenant.clone())
    }

    pub(crate) fn symbols(&self) -> Symbols<'_> {
        Symbols {
            file: &self.file,
            bytes: self.section(SectionKind::Symbols),
            ends: self.section(SectionKind::SymbolEnds),
        }
    }

    fn index(&self, row: &TenantRow) -> TenantIndex<'_> {
        TenantIndex {
            symbols: self.symbols(),
            labels: self.section(SectionKind::Labels),
            values: self.section(SectionKind::LabelValues),
            postings: self.section(SectionKind::Postings),
            label_first: row.label_first as usize,
            label_count: row.label_count as usize,
            series_first: row.series_first,
            series_count: row.series_count,
        }
    }

    /// Bytes of the group that holds entry `at`, of a directory of `count` entries.
    pub(crate) fn group(
        &self,
        kind: SectionKind,
        offsets: SectionKind,
        at: u32,
        count: u32,
    ) -> Result<&[u8]> {
        if at >= count {
            return Err(CoreError::Corrupt(format!(
                "section {}: entry {at} of {count} is not there",
                kind.name()
            )));
        }
        let (section, offsets) = (self.section(kind), self.section(offsets));
        let group = at as usize / GROUP_ENTRIES;
        let from = offsets.u64_at(&self.file, group)? as usize;
        let last = group + 1 == (count as usize).div_ceil(GROUP_ENTRIES);
        let to = if last {
            section.len()
        } else {
            offsets.u64_at(&self.file, group + 1)? as usize
        };
        let length = to.checked_sub(from).ok_or_else(|| {
            CoreError::Corrupt(format!("section {}: group {group} ends early", kind.name()))
        })?;
        section.slice(&self.file, from, length)
    }

    fn definition(&self, ordinal: u32) -> Result<SeriesSymbols> {
        let count = self.footer.series_count;
        let group = self.group(
            SectionKind::Series,
            SectionKind::SeriesOffsets,
            ordinal,
            count,
        )?;
        let (mut at, mut series) = (0, SeriesSymbols::default());
        for _ in 0..=ordinal as usize % GROUP_ENTRIES {
            layout::get_series(group, &mut at, &mut series)?;
        }
        Ok(series)
    }

    /// Appends the canonical bytes of a series.
    fn put_canonical(&self, ordinal: u32, out: &mut Vec<u8>) -> Result<()> {
        let series = self.definition(ordinal)?;
        let symbols = self.symbols();
        let field = series.field.map_or(Ok(""), |field| symbols.get(field))?;
        varint::put_slice(out, symbols.get(series.name)?.as_bytes());
        varint::put_slice(out, field.as_bytes());
        varint::put(out, series.labels.len() as u64);
        for (label, value) in series.labels {
            varint::put_slice(out, symbols.get(label)?.as_bytes());
            varint::put_slice(out, symbols.get(value)?.as_bytes());
        }
        Ok(())
    }

    pub(crate) fn time_entry(&self, index: u32) -> Result<TimeEntry> {
        let count = self.footer.time_page_count;
        let group = self.group(SectionKind::Times, SectionKind::TimesOffsets, index, count)?;
        let (mut at, mut entry) = (0, TimeEntry::default());
        for _ in 0..=index as usize % GROUP_ENTRIES {
            entry = layout::get_time_entry(group, &mut at, &entry)?;
        }
        Ok(entry)
    }

    pub(crate) fn page(&self, offset: u64, length: u32) -> Result<&[u8]> {
        offset
            .checked_add(u64::from(length))
            .filter(|&end| offset >= HEADER_BYTES as u64 && end <= self.footer.pages_end)
            .map(|end| &self.file[offset as usize..end as usize])
            .ok_or_else(|| {
                CoreError::Corrupt(format!(
                    "pages at offset {offset}: a page lies outside of them"
                ))
            })
    }

    /// Checks everything: each section, each page, and that directories and pages fit together.
    pub fn verify(&self) -> Result<()> {
        self.verify_parts()
            .map_err(|error| named("verify", &self.path, error))
    }

    fn verify_parts(&self) -> Result<()> {
        for section in &self.sections {
            section.verify(&self.file)?;
        }
        let mut times = Vec::new();
        for index in 0..self.footer.time_page_count {
            let entry = self.time_entry(index)?;
            times.clear();
            pages::decode_times(self.page(entry.offset, entry.length)?, &mut times)
                .map_err(|error| at_offset(entry.offset, error))?;
            let ascends = times.windows(2).all(|pair| pair[0] < pair[1]);
            let bounds = (times.first().copied(), times.last().copied());
            let fits = bounds == (Some(entry.min_ns), Some(entry.max_ns));
            if !ascends || !fits || times.len() != entry.count as usize {
                return Err(CoreError::Corrupt(format!(
                    "pages at offset {}: the times are not those its directory names",
                    entry.offset
                )));
            }
        }
        self.verify_series()
    }

    fn verify_series(&self) -> Result<()> {
        let (mut canonical, mut sample_count) = (Vec::new(), 0);
        let everything = TimeRange {
            min_ns: i64::MIN,
            max_ns: i64::MAX,
        };
        let (mut runs, mut kept) = (Vec::new(), Kept::default());
        let (mut rows, mut row_reader) = (Vec::new(), RowReader::new(self));
        for ordinal in 0..self.footer.series_count {
            canonical.clear();
            self.put_canonical(ordinal, &mut canonical)?;
            SeriesView::parse(&canonical)?;
            if series_id(&canonical) != self.id(ordinal)? {
                return Err(CoreError::Corrupt(format!(
                    "section ids: the id of series {ordinal} is not its own"
                )));
            }
            if self.footer.resolution_ns != 0 {
                rows.clear();
                row_reader.read(ordinal, everything, ALL_COLUMNS, &mut rows)?;
                sample_count += rows.len() as u64;
                continue;
            }
            runs.clear();
            kept.read(self, ordinal, everything, &mut runs)?;
            sample_count += runs.iter().map(|run| run.len() as u64).sum::<u64>();
        }
        if sample_count == self.footer.sample_count {
            Ok(())
        } else {
            Err(CoreError::Corrupt(format!(
                "footer: it counts {} samples, the pages hold {sample_count}",
                self.footer.sample_count
            )))
        }
    }

    fn id(&self, ordinal: u32) -> Result<SeriesId> {
        let ids = self.section(SectionKind::Ids);
        let bytes = ids.slice(&self.file, ordinal as usize * 16, 16)?;
        let mut id = [0; 16];
        id.copy_from_slice(bytes);
        Ok(u128::from_le_bytes(id))
    }
}

fn find_sections(entries: &[SectionEntry], file_bytes: usize) -> Result<Vec<Section>> {
    let known = |entry: &SectionEntry| SECTION_KINDS.iter().any(|&kind| kind as u16 == entry.kind);
    if let Some(entry) = entries
        .iter()
        .find(|entry| !known(entry) && !layout::may_skip(entry.kind))
    {
        return Err(CoreError::Invalid(format!(
            "its section {} is not one this release reads",
            entry.kind
        )));
    }
    SECTION_KINDS
        .iter()
        .map(|&kind| {
            let entry = entries
                .iter()
                .find(|entry| entry.kind == kind as u16)
                .ok_or_else(|| CoreError::Corrupt(format!("section {} is missing", kind.name())))?;
            Section::new(kind, *entry, file_bytes)
        })
        .collect()
}

pub(crate) fn at_offset(offset: u64, error: CoreError) -> CoreError {
    match error {
        CoreError::Corrupt(cause) => {
            CoreError::Corrupt(format!("pages at offset {offset}: {cause}"))
        }
        other => other,
    }
}

/// Puts the file's name before a cause from inside it.
fn named(verb: &str, path: &Path, error: CoreError) -> CoreError {
    let message = |cause: String| format!("cannot {verb} block {:?}: {cause}", path.display());
    match error {
        CoreError::Corrupt(cause) => CoreError::Corrupt(message(cause)),
        CoreError::Invalid(cause) => CoreError::Invalid(message(cause)),
        other => other,
    }
}

/// A block as a manifest lists it: with its place among the other sources.
pub struct BlockSource {
    pub block: Arc<Block>,
    pub order: u64,
    pub deletes_through: u64,
}

impl BlockSource {
    fn named<T>(&self, result: Result<T>) -> Result<T> {
        result.map_err(|error| named("read", &self.block.path, error))
    }

    /// The tenant's row, where it may have samples in `range`.
    fn row(&self, tenant: &str, range: TimeRange) -> Result<Option<TenantRow>> {
        let row = self.block.tenant(tenant)?;
        Ok(row.filter(|row| {
            let own = TimeRange {
                min_ns: row.min_ns,
                max_ns: row.max_ns,
            };
            row.series_count > 0 && self.block.reach(own).overlaps(&range)
        }))
    }

    fn select_series(&self, row: &TenantRow, matchers: &[Matcher]) -> Result<RoaringBitmap> {
        let selected = select_in(&self.block.index(row), matchers)?;
        // `id` cannot fail, so the ids it may be asked for are verified here.
        for ordinal in &selected {
            self.block.id(ordinal)?;
        }
        Ok(selected)
    }
}

struct BlockReader<'a> {
    source: &'a BlockSource,
    kept: Kept,
}

impl Reader for BlockReader<'_> {
    fn read(&mut self, ordinal: u32, range: TimeRange, out: &mut Vec<Run>) -> Result<()> {
        let block = &self.source.block;
        let read = self.kept.read(block, ordinal, range, out);
        self.source.named(
            read.map_err(|error| match (error, block.tenant_of(ordinal)) {
                (CoreError::Corrupt(cause), Some(tenant)) => {
                    CoreError::Corrupt(format!("{cause} (tenant {tenant:?})"))
                }
                (other, _) => other,
            }),
        )
    }

    fn read_floats(&mut self, ordinal: u32, range: TimeRange) -> Result<Option<Floats<'_>>> {
        let read = self.kept.read_floats(&self.source.block, ordinal, range);
        self.source.named(read)
    }

    fn extents(&mut self, ordinal: u32, range: TimeRange, out: &mut Vec<Extent>) -> Result<()> {
        let found = self.kept.extents(&self.source.block, ordinal, range, out);
        self.source.named(found)
    }

    fn page(&mut self, offset: u64, length: u32) -> Result<&[u8]> {
        let bytes = self.source.block.page(offset, length);
        let checked = bytes.and_then(|bytes| {
            pages::check(bytes).map_err(|error| at_offset(offset, error))?;
            Ok(bytes)
        });
        self.source.named(checked)
    }

    fn page_times(&mut self, page: PagePlace) -> Result<&[i64]> {
        let times = self.kept.page_times(&self.source.block, page);
        self.source.named(times)
    }
}

impl Source for BlockSource {
    fn order(&self) -> u64 {
        self.order
    }

    fn deletes_through(&self) -> u64 {
        self.deletes_through
    }

    fn tenants(&self) -> Result<Vec<String>> {
        let rows = self.block.tenants()?;
        Ok(rows.into_iter().map(|row| row.tenant).collect())
    }

    fn time_range(&self) -> Option<TimeRange> {
        let range = self.block.time_range();
        (self.block.footer.series_count > 0).then(|| self.block.reach(range))
    }

    fn resolution_ns(&self) -> i64 {
        self.block.footer.resolution_ns
    }

    fn rows(&self, ordinal: u32, range: TimeRange, columns: u16, out: &mut Vec<Row>) -> Result<()> {
        self.named(RowReader::new(&self.block).read(ordinal, range, columns, out))
    }

    fn select(
        &self,
        tenant: &str,
        matchers: &[Matcher],
        range: TimeRange,
    ) -> Result<RoaringBitmap> {
        match self.row(tenant, range)? {
            Some(row) => self.named(self.select_series(&row, matchers)),
            None => Ok(RoaringBitmap::new()),
        }
    }

    fn in_block_order(&self, _tenant: &str, series: &RoaringBitmap) -> Result<Vec<u32>> {
        Ok(series.iter().collect())
    }

    /// `ordinal` comes from `select`, which has verified its id.
    fn id(&self, ordinal: u32) -> SeriesId {
        self.block.id(ordinal).unwrap_or_default()
    }

    fn canonical(&self, ordinal: u32, out: &mut Vec<u8>) -> Result<()> {
        self.named(self.block.put_canonical(ordinal, out))
    }

    fn put_labels(&self, ordinals: &[u32], out: &mut LabelRowsBuilder) -> Result<()> {
        self.named(block_reader::put_labels(&self.block, ordinals, out))
    }

    fn reader(&self) -> Box<dyn Reader + '_> {
        Box::new(BlockReader {
            source: self,
            kept: Kept::default(),
        })
    }

    fn read(&self, ordinal: u32, range: TimeRange, out: &mut Vec<Run>) -> Result<()> {
        self.named(Kept::default().read(&self.block, ordinal, range, out))
    }

    fn label_names(&self, tenant: &str, range: TimeRange, out: &mut Vec<String>) -> Result<()> {
        let Some(row) = self.row(tenant, range)? else {
            return Ok(());
        };
        out.push("__name__".into());
        self.named(self.block.index(&row).label_names(out))
    }

    fn label_values(
        &self,
        tenant: &str,
        label: &str,
        range: TimeRange,
        out: &mut Vec<String>,
    ) -> Result<()> {
        match self.row(tenant, range)? {
            Some(row) => self.named(self.block.index(&row).label_values(&Target::of(label), out)),
            None => Ok(()),
        }
    }
}

#[cfg(feature = "python")]
pub(crate) mod python {
    use super::{Block, BlockSource};
    use crate::block_layout::TenantRow;
    use crate::source::python::PySource;
    use pyo3::prelude::*;
    use pyo3::types::{PyDict, PyIterator, PyList};
    use std::path::PathBuf;
    use std::sync::Arc;

    #[pyclass(name = "Block", frozen)]
    pub struct PyBlock(Arc<Block>);

    #[pymethods]
    impl PyBlock {
        #[staticmethod]
        #[allow(clippy::needless_pass_by_value)] // as pyo3 hands it over
        fn open(py: Python<'_>, path: PathBuf) -> PyResult<Self> {
            let block = py.detach(|| Block::open(&path))?;
            Ok(Self(Arc::new(block)))
        }

        fn source(&self, order: u64, deletes_through: u64) -> PySource {
            let block = Arc::clone(&self.0);
            PySource(Arc::new(BlockSource {
                block,
                order,
                deletes_through,
            }))
        }

        fn tenants(&self) -> PyBlockTenants {
            PyBlockTenants(Arc::clone(&self.0))
        }

        fn tenant_rows<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
            tenants(py, &self.0.tenants()?)
        }

        fn verify(&self, py: Python<'_>) -> PyResult<()> {
            Ok(py.detach(|| self.0.verify())?)
        }

        fn damage(&self, py: Python<'_>) -> Vec<(Option<String>, i64, i64, String)> {
            let rows = py.detach(|| crate::block_damage::find_damage(&self.0));
            rows.into_iter()
                .map(|row| (row.tenant, row.range.min_ns, row.range.max_ns, row.cause))
                .collect()
        }

        fn summary<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
            let footer = self.0.footer();
            let out = PyDict::new(py);
            out.set_item("version", crate::block_layout::VERSION)?;
            out.set_item("resolution_ns", footer.resolution_ns)?;
            out.set_item("offset_first", footer.offset_first)?;
            out.set_item("offset_last", footer.offset_last)?;
            out.set_item("min_ns", footer.min_ns)?;
            out.set_item("max_ns", footer.max_ns)?;
            out.set_item("sample_count", footer.sample_count)?;
            out.set_item("series_count", footer.series_count)?;
            out.set_item("file_bytes", self.0.file_bytes())?;
            let sections = PyDict::new(py);
            for (name, bytes) in self.0.bytes_by_section() {
                sections.set_item(name, bytes)?;
            }
            out.set_item("bytes_by_section", sections)?;
            Ok(out)
        }
    }

    /// Names found in the file when asked for: none is held.
    #[pyclass(name = "BlockTenants", frozen)]
    pub struct PyBlockTenants(Arc<Block>);

    #[pymethods]
    impl PyBlockTenants {
        fn __len__(&self) -> usize {
            self.0.tenant_count()
        }

        fn __contains__(&self, tenant: &str) -> PyResult<bool> {
            Ok(self.0.tenant(tenant)?.is_some())
        }

        fn __iter__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyIterator>> {
            let rows = py.detach(|| self.0.tenants())?;
            let names = rows.iter().map(|row| row.tenant.as_str());
            PyList::new(py, names.collect::<Vec<_>>())?.try_iter()
        }
    }

    pub fn tenants<'py>(py: Python<'py>, rows: &[TenantRow]) -> PyResult<Bound<'py, PyDict>> {
        let out = PyDict::new(py);
        for row in rows {
            let entry = PyDict::new(py);
            entry.set_item("series_count", row.series_count)?;
            entry.set_item("sample_count", row.sample_count)?;
            entry.set_item("page_bytes", row.page_bytes)?;
            entry.set_item("min_ns", row.min_ns)?;
            entry.set_item("max_ns", row.max_ns)?;
            out.set_item(&row.tenant, entry)?;
        }
        Ok(out)
    }

    pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
        module.add_class::<PyBlockTenants>()?;
        module.add_class::<PyBlock>()
    }
}
