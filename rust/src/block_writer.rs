//! Writes a block file series by series (docs/formats/block.md); `compaction` drives it.
//!
//! Pages go to the file as they are made. Memory holds what is written at the end: about 70 bytes
//! a series of directories, the distinct strings, and the posting lists.

use crate::block_layout::{self as layout, Chunk, ChunkBefore, Footer, TenantRow, TimeEntry};
use crate::block_layout::{GROUP_ENTRIES, HEADER_BYTES};
use crate::error::{CoreError, Result};
use crate::index::{IndexBuilder, IndexBytes, Interner, SeriesSymbols};
use crate::pages::{self, Effort, PAGE_SAMPLES_MAX};
use crate::rollup::Row;
use crate::rollup_pages;
use crate::sample::{Kind, Run};
use crate::section::{SECTION_SETTLED, SectionEntry, SectionKind, unit_checksums};
use crate::series::{SeriesId, SeriesView};
use crate::sides::{SIDE_COLUMNS, SideColumn};
use crate::source::TimeRange;
use hashbrown::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use xxhash_rust::xxh3::xxh3_128;

const WRITE_BUFFER_BYTES: usize = 1 << 20;
/// Longer pages pack a few percent smaller, shorter ones are cheaper to read for a short range.
pub const PAGE_SAMPLES: usize = 2048;
const _: () = assert!(PAGE_SAMPLES <= PAGE_SAMPLES_MAX);
/// A run that changes no more often than once in so many samples takes the longest pages.
const SAMPLES_PER_CHANGE: usize = 256;
/// A page of payloads is cut once it holds this much (a single longer payload has a page alone).
const PAGE_PAYLOAD_BYTES: usize = 1 << 20;

#[derive(Debug, Clone, Copy)]
pub struct BlockOptions {
    pub effort: Effort,
    /// 0 for samples; for rows the length of their buckets. Then a tenant without series stays in
    /// the block: it says that there was nothing to roll up.
    pub resolution_ns: i64,
    pub offset_first: u64,
    pub offset_last: u64,
}

/// What was written.
#[derive(Debug, Clone, Default)]
pub struct BlockSummary {
    pub sample_count: u64,
    pub series_count: u32,
    pub tenants: Vec<TenantRow>,
    pub min_ns: i64,
    pub max_ns: i64,
    pub file_bytes: u64,
    /// Bytes by part of the file: time pages, value pages, then each section.
    pub bytes_by_section: Vec<(String, u64)>,
}

/// A directory whose entries are read a group at a time: payload, and where each group starts.
#[derive(Default)]
struct Grouped {
    bytes: Vec<u8>,
    offsets: Vec<u8>,
    count: u32,
}

impl Grouped {
    /// Counts the next entry; true where it starts a group.
    fn next(&mut self) -> bool {
        let starts = self.count as usize % GROUP_ENTRIES == 0;
        if starts {
            self.offsets
                .extend_from_slice(&(self.bytes.len() as u64).to_le_bytes());
        }
        self.count += 1;
        starts
    }
}

pub struct BlockWriter {
    path: PathBuf,
    file: BufWriter<File>,
    options: BlockOptions,
    position: u64,
    page: Vec<u8>,
    /// Time pages of this tenant by hash, count, first and last: never shared between tenants, so
    /// that nobody can aim a collision at somebody else's times.
    time_pages: HashMap<(u128, u32, i64, i64), u32>,
    /// What the series before took, which most have in common with it.
    last_times_ns: Vec<i64>,
    last_times_index: Option<u32>,
    times: Grouped,
    time_before: TimeEntry,
    chunks: Grouped,
    chunk_before: ChunkBefore,
    ids: Vec<u8>,
    /// Symbols of all series, as `put_series` writes them, and of the last one.
    definitions: Vec<u8>,
    series_count: u32,
    last: SeriesSymbols,
    symbols: Interner,
    tenants: Vec<(TenantRow, IndexBuilder)>,
    time_page_bytes: u64,
    value_page_bytes: u64,
    finished: bool,
}

impl BlockWriter {
    /// Creates the file; it must not exist. Dropped unfinished, the writer removes it.
    pub fn create(path: &Path, options: BlockOptions) -> Result<Self> {
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(path)
            .map_err(|error| write_failed(path, &error))?;
        let mut writer = Self {
            path: path.to_owned(),
            file: BufWriter::with_capacity(WRITE_BUFFER_BYTES, file),
            options,
            position: 0,
            page: Vec::new(),
            time_pages: HashMap::new(),
            last_times_ns: Vec::new(),
            last_times_index: None,
            times: Grouped::default(),
            time_before: TimeEntry::default(),
            chunks: Grouped::default(),
            chunk_before: ChunkBefore::default(),
            ids: Vec::new(),
            definitions: Vec::new(),
            series_count: 0,
            last: SeriesSymbols::default(),
            symbols: Interner::default(),
            tenants: Vec::new(),
            time_page_bytes: 0,
            value_page_bytes: 0,
            finished: false,
        };
        let mut header = [0; HEADER_BYTES];
        header[..8].copy_from_slice(&layout::MAGIC_START);
        writer.append(&header)?;
        Ok(writer)
    }

    pub fn is_small(&self) -> bool {
        self.options.effort == Effort::Small
    }

    fn append(&mut self, bytes: &[u8]) -> Result<()> {
        self.file
            .write_all(bytes)
            .map_err(|error| write_failed(&self.path, &error))?;
        self.position += bytes.len() as u64;
        Ok(())
    }

    /// Series from here on are this tenant's; tenants come in byte order.
    pub fn start_tenant(&mut self, tenant: &str) {
        debug_assert!(
            self.tenants
                .last()
                .is_none_or(|(row, _)| row.tenant.as_str() < tenant)
        );
        self.forget_empty_tenants();
        self.time_pages.clear();
        self.last_times_index = None;
        let row = TenantRow {
            tenant: tenant.to_owned(),
            series_first: self.series_count,
            min_ns: i64::MAX,
            max_ns: i64::MIN,
            ..TenantRow::default()
        };
        self.tenants.push((row, IndexBuilder::default()));
    }

    fn forget_empty_tenants(&mut self) {
        if self.options.resolution_ns == 0 {
            self.tenants.retain(|(row, _)| row.series_count > 0);
        }
    }

    /// Adds a series with its samples; series come in the order of (name, canonical bytes), runs
    /// ascend and are not empty.
    pub fn add_series(
        &mut self,
        id: SeriesId,
        series: &SeriesView<'_>,
        runs: &[Run],
    ) -> Result<()> {
        let mut chunks = Vec::new();
        for run in runs {
            self.add_run(run, &mut chunks)?;
        }
        self.end_series(id, series, &chunks)
    }

    /// As `add_series`, with coarse rows, which ascend and are not none.
    pub fn add_rows(&mut self, id: SeriesId, series: &SeriesView<'_>, rows: &[Row]) -> Result<()> {
        let mut chunks = Vec::new();
        for rows in rows.chunks(PAGE_SAMPLES) {
            let ends_ns: Vec<i64> = rows.iter().map(|row| row.end_ns).collect();
            let time_index = self.time_page(&ends_ns)?;
            let range = TimeRange {
                min_ns: ends_ns[0],
                max_ns: ends_ns[ends_ns.len() - 1],
            };
            let mut page = Vec::new();
            for (column, values) in rollup_pages::columns_of(rows) {
                page.clear();
                pages::encode_values(column.kind(), &values, &[], self.options.effort, &mut page)?;
                // A row counts once, with its first column.
                let count = if column == rollup_pages::COLUMNS[0] {
                    rows.len()
                } else {
                    0
                };
                let samples = (count, range);
                let mut chunk = self.copy_chunk(column.kind(), &page, samples, time_index)?;
                chunk.column = column as u8;
                chunks.push(chunk);
            }
        }
        self.end_series(id, series, &chunks)
    }

    /// Adds the series whose chunks were written one by one, ascending.
    pub fn end_series(
        &mut self,
        id: SeriesId,
        series: &SeriesView<'_>,
        chunks: &[Chunk],
    ) -> Result<()> {
        let ordinal = self.series_count;
        if ordinal == u32::MAX {
            let cause = "cannot write a block: too many series";
            return Err(CoreError::Exhausted(cause.into()));
        }
        let symbols = self.intern(series)?;
        let (row, builder) = self
            .tenants
            .last_mut()
            .ok_or_else(|| CoreError::Invalid("cannot write a series before its tenant".into()))?;
        builder.add(&symbols, series, ordinal, &mut self.symbols)?;
        row.series_count += 1;
        let before = (ordinal > 0).then_some(&self.last);
        layout::put_series(&mut self.definitions, &symbols, before);
        self.last = symbols;
        self.series_count += 1;
        self.ids.extend_from_slice(&id.to_le_bytes());
        if self.chunks.next() {
            self.chunk_before = ChunkBefore::default();
        }
        crate::varint::put(&mut self.chunks.bytes, chunks.len() as u64);
        for chunk in chunks {
            layout::put_chunk(&mut self.chunks.bytes, chunk, &mut self.chunk_before);
        }
        Ok(())
    }

    /// Neighbours share most of their strings, place by place: those are compared, not looked up.
    fn intern(&mut self, view: &SeriesView<'_>) -> Result<SeriesSymbols> {
        let before = (self.series_count > 0).then_some(&self.last);
        let symbols = &mut self.symbols;
        let mut labels = Vec::with_capacity(view.labels.len());
        for (at, &(label, value)) in view.labels.iter().enumerate() {
            let near = before.and_then(|before| before.labels.get(at).copied());
            let (near_label, near_value) = near.unzip();
            labels.push((
                symbols.intern_near(label, near_label)?,
                symbols.intern_near(value, near_value)?,
            ));
        }
        let field = match view.field {
            "" => None,
            field => Some(symbols.intern_near(field, before.and_then(|before| before.field))?),
        };
        Ok(SeriesSymbols {
            name: symbols.intern_near(view.name, before.map(|before| before.name))?,
            field,
            labels,
        })
    }

    /// Writes the pages of a run.
    pub fn add_run(&mut self, run: &Run, chunks: &mut Vec<Chunk>) -> Result<()> {
        let size = page_samples(run);
        let mut from = 0;
        while from < run.len() {
            let to = page_end(run, from, size);
            self.add_chunk(run, from, to, chunks)?;
            from = to;
        }
        Ok(())
    }

    /// Writes a page of values, and of each side column that some of its samples have.
    fn add_chunk(
        &mut self,
        run: &Run,
        from: usize,
        to: usize,
        chunks: &mut Vec<Chunk>,
    ) -> Result<()> {
        let times_ns = &run.times_ns[from..to];
        let time_index = self.time_page(times_ns)?;
        let mut page = std::mem::take(&mut self.page);
        page.clear();
        let values = &run.values[from..to];
        pages::encode_values(run.kind, values, &run.heap, self.options.effort, &mut page)?;
        let (min_ns, max_ns) = (times_ns[0], times_ns[times_ns.len() - 1]);
        let range = TimeRange { min_ns, max_ns };
        chunks.push(self.copy_chunk(run.kind, &page, (times_ns.len(), range), time_index)?);
        for column in SIDE_COLUMNS {
            if run.sides.has(column, from..to) {
                page.clear();
                pages::encode_times(
                    &run.sides.column(column)[from..to],
                    self.options.effort,
                    &mut page,
                )?;
                chunks.push(self.copy_side_chunk(column, &page, range, time_index)?);
            }
        }
        self.page = page;
        Ok(())
    }

    /// Writes a whole page of a side column of the samples whose chunk was written last.
    pub fn copy_side_chunk(
        &mut self,
        column: SideColumn,
        page: &[u8],
        range: TimeRange,
        time_index: u32,
    ) -> Result<Chunk> {
        // Its samples have been counted with their values.
        let mut chunk = self.copy_chunk(column.kind(), page, (0, range), time_index)?;
        chunk.set_side_column(column);
        Ok(chunk)
    }

    /// Writes a whole value page; `samples` is how many it holds and the times of the first and
    /// the last of them.
    pub fn copy_chunk(
        &mut self,
        kind: Kind,
        page: &[u8],
        samples: (usize, TimeRange),
        time_index: u32,
    ) -> Result<Chunk> {
        let chunk = Chunk {
            kind,
            column: 0,
            offset: self.position,
            length: page.len() as u32,
            time_index,
        };
        self.append(page)?;
        self.value_page_bytes += page.len() as u64;
        if let Some((row, _)) = self.tenants.last_mut() {
            row.page_bytes += page.len() as u64;
            row.sample_count += samples.0 as u64;
            row.min_ns = row.min_ns.min(samples.1.min_ns);
            row.max_ns = row.max_ns.max(samples.1.max_ns);
        }
        Ok(chunk)
    }

    /// The index of the time page with these times, written where the tenant has none yet.
    pub fn time_page(&mut self, times_ns: &[i64]) -> Result<u32> {
        if let Some(index) = self
            .last_times_index
            .filter(|_| self.last_times_ns == times_ns)
        {
            return Ok(index);
        }
        let index = self.time_page_by_hash(times_ns)?;
        self.last_times_index = Some(index);
        self.last_times_ns.clear();
        self.last_times_ns.extend_from_slice(times_ns);
        Ok(index)
    }

    fn time_page_by_hash(&mut self, times_ns: &[i64]) -> Result<u32> {
        let (first, last) = (times_ns[0], times_ns[times_ns.len() - 1]);
        let key = (hash_of(times_ns), times_ns.len() as u32, first, last);
        if let Some(&index) = self.time_pages.get(&key) {
            return Ok(index);
        }
        let mut page = std::mem::take(&mut self.page);
        page.clear();
        pages::encode_times(times_ns, self.options.effort, &mut page)?;
        let entry = TimeEntry {
            offset: self.position,
            length: page.len() as u32,
            count: times_ns.len() as u32,
            min_ns: first,
            max_ns: last,
        };
        self.append(&page)?;
        self.time_page_bytes += page.len() as u64;
        if let Some((row, _)) = self.tenants.last_mut() {
            row.page_bytes += page.len() as u64;
        }
        self.page = page;
        let index = self.times.count;
        if self.times.next() {
            self.time_before = TimeEntry::default();
        }
        layout::put_time_entry(&mut self.times.bytes, &entry, &self.time_before);
        self.time_before = entry;
        self.time_pages.insert(key, index);
        Ok(index)
    }

    /// Writes the directories and the footer and makes the file durable; None (and no file) where
    /// no series was added.
    pub fn finish(mut self) -> Result<Option<BlockSummary>> {
        self.forget_empty_tenants();
        if self.tenants.is_empty() {
            return Ok(None);
        }
        for (row, _) in &mut self.tenants {
            if row.series_count == 0 {
                (row.min_ns, row.max_ns) = (0, 0);
            }
        }
        let pages_end = self.position;
        let sections = self.put_sections()?;
        let tenants: Vec<TenantRow> = self.tenants.iter().map(|(row, _)| row.clone()).collect();
        let filled = || tenants.iter().filter(|row| row.series_count > 0);
        let bounds = (
            filled().map(|row| row.min_ns).min(),
            filled().map(|row| row.max_ns).max(),
        );
        let mut summary = BlockSummary {
            sample_count: tenants.iter().map(|row| row.sample_count).sum(),
            series_count: self.series_count,
            min_ns: bounds.0.unwrap_or(0),
            max_ns: bounds.1.unwrap_or(0),
            tenants,
            file_bytes: 0,
            bytes_by_section: vec![
                ("time_pages".into(), self.time_page_bytes),
                ("value_pages".into(), self.value_page_bytes),
            ],
        };
        for (kind, entry) in &sections {
            summary
                .bytes_by_section
                .push((kind.name().into(), entry.length));
        }
        let footer = Footer {
            resolution_ns: self.options.resolution_ns,
            offset_first: self.options.offset_first,
            offset_last: self.options.offset_last,
            min_ns: summary.min_ns,
            max_ns: summary.max_ns,
            sample_count: summary.sample_count,
            series_count: summary.series_count,
            tenant_count: summary.tenants.len() as u32,
            time_page_count: self.times.count,
            pages_end,
        };
        let mut entries: Vec<SectionEntry> = sections.iter().map(|(_, entry)| *entry).collect();
        if self.is_small() {
            entries.push(self.settled_mark());
        }
        self.append(&layout::put_footer(&footer, &entries))?;
        summary.file_bytes = self.position;
        self.file
            .flush()
            .map_err(|error| write_failed(&self.path, &error))?;
        let synced = self.file.get_ref().sync_all();
        synced.map_err(|error| write_failed(&self.path, &error))?;
        self.finished = true;
        Ok(Some(summary))
    }

    fn put_sections(&mut self) -> Result<Vec<(SectionKind, SectionEntry)>> {
        let symbols = std::mem::take(&mut self.symbols).sorted();
        let definitions = std::mem::take(&mut self.definitions);
        let series = grouped_definitions(&definitions, &symbols.rank)?;
        drop(definitions);
        let mut index = IndexBytes::default();
        let mut tenant_rows = Vec::new();
        for (row, builder) in &mut self.tenants {
            let written = std::mem::take(builder).write(&symbols.rank, &mut index);
            (row.label_first, row.label_count) = written;
            layout::put_tenant(&mut tenant_rows, row);
        }
        let times = std::mem::take(&mut self.times);
        let chunks = std::mem::take(&mut self.chunks);
        let ids = std::mem::take(&mut self.ids);
        let payloads = [
            (SectionKind::Times, &times.bytes),
            (SectionKind::TimesOffsets, &times.offsets),
            (SectionKind::Symbols, &symbols.bytes),
            (SectionKind::SymbolEnds, &symbols.ends),
            (SectionKind::Ids, &ids),
            (SectionKind::Series, &series.bytes),
            (SectionKind::SeriesOffsets, &series.offsets),
            (SectionKind::Chunks, &chunks.bytes),
            (SectionKind::ChunksOffsets, &chunks.offsets),
            (SectionKind::Labels, &index.labels),
            (SectionKind::LabelValues, &index.values),
            (SectionKind::Postings, &index.postings),
            (SectionKind::Tenants, &tenant_rows),
        ];
        let mut entries = Vec::with_capacity(payloads.len());
        for (kind, payload) in payloads {
            entries.push((kind, self.put_section(kind, payload)?));
        }
        self.times.count = times.count;
        Ok(entries)
    }

    fn settled_mark(&self) -> SectionEntry {
        SectionEntry {
            kind: SECTION_SETTLED,
            offset: self.position,
            length: 0,
            checksum: crc32c::crc32c(&[]),
        }
    }

    fn put_section(&mut self, kind: SectionKind, payload: &[u8]) -> Result<SectionEntry> {
        let checksums = unit_checksums(payload);
        let entry = SectionEntry {
            kind: kind as u16,
            offset: self.position,
            length: payload.len() as u64,
            checksum: crc32c::crc32c(&checksums),
        };
        self.append(payload)?;
        self.append(&checksums)?;
        Ok(entry)
    }
}

impl Drop for BlockWriter {
    fn drop(&mut self) {
        if !self.finished {
            // Nobody refers to an unfinished file; what cannot be removed is swept by the caller.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

fn write_failed(path: &Path, error: &std::io::Error) -> CoreError {
    CoreError::Unavailable(format!("cannot write block {:?}: {error}", path.display()))
}

fn grouped_definitions(definitions: &[u8], rank: &[u32]) -> Result<Grouped> {
    let mut series = Grouped::default();
    let (mut at, mut symbols) = (0, SeriesSymbols::default());
    let mut before: Option<SeriesSymbols> = None;
    while at < definitions.len() {
        layout::get_series(definitions, &mut at, &mut symbols)?;
        let ranked = SeriesSymbols {
            name: rank[symbols.name as usize],
            field: symbols.field.map(|field| rank[field as usize]),
            labels: symbols
                .labels
                .iter()
                .map(|&(label, value)| (rank[label as usize], rank[value as usize]))
                .collect(),
        };
        if series.next() {
            before = None;
        }
        layout::put_series(&mut series.bytes, &ranked, before.as_ref());
        before = Some(ranked);
    }
    Ok(series)
}

/// Samples a page where the run is cut into pages of about one size: no rest remains that would be
/// mostly header, or had to be written anew with whatever comes behind it.
fn page_samples(run: &Run) -> usize {
    let largest = if is_mostly_constant(run) {
        PAGE_SAMPLES_MAX
    } else {
        PAGE_SAMPLES
    };
    run.len().div_ceil(run.len().div_ceil(largest).max(1))
}

/// Whether a page of it is little more than its header: then few long ones are smaller, and as fast
/// to read.
fn is_mostly_constant(run: &Run) -> bool {
    let pairs = run.values.windows(2);
    let changes = pairs.filter(|pair| pair[0] != pair[1]).count();
    changes * SAMPLES_PER_CHANGE <= run.len()
}

/// One behind the last sample of the page that starts at `from`.
fn page_end(run: &Run, from: usize, size: usize) -> usize {
    let full = (from + size).min(run.len());
    if !run.kind.uses_heap() {
        return full;
    }
    let mut bytes = 0;
    for at in from..full {
        bytes += run.payload(at).map_or(0, <[u8]>::len);
        if bytes > PAGE_PAYLOAD_BYTES && at > from {
            return at;
        }
    }
    full
}

fn hash_of(times_ns: &[i64]) -> u128 {
    let mut bytes = Vec::with_capacity(times_ns.len() * 8);
    for time in times_ns {
        bytes.extend_from_slice(&time.to_le_bytes());
    }
    xxh3_128(&bytes)
}
