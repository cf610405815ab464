//! Reads series out of a block, one after the other; `block` is the caller.
//!
//! Neighbours share directories and time pages: what one series needed is kept for the next.

use crate::block::{Block, at_offset};
use crate::block_layout::{self as layout, Chunk, ChunkBefore, GROUP_ENTRIES, TimeEntry};
use crate::error::{CoreError, Result};
use crate::index::SeriesSymbols;
use crate::label_rows::LabelRowsBuilder;
use crate::pages;
use crate::sample::{Kind, Run};
use crate::section::SectionKind;
use crate::sides::Sides;
use crate::source::{Extent, Floats, PagePlace, SidePlaces, TimeRange};
use crate::varint;
use hashbrown::HashMap;
use std::ops::Range;

/// Decoded time pages a reader keeps, of 64 KiB at most each.
const TIME_PAGES_MAX: usize = 16;

fn group_of(ordinal: u32) -> u32 {
    ordinal / GROUP_ENTRIES as u32
}

/// Adds the labels of series as `PromQL` shows them; `ordinals` rise.
pub fn put_labels(block: &Block, ordinals: &[u32], out: &mut LabelRowsBuilder) -> Result<()> {
    let symbols = block.symbols();
    let mut numbers: HashMap<u32, u32> = HashMap::new();
    let mut number = |symbol: u32, out: &mut LabelRowsBuilder| -> Result<u32> {
        if let Some(&known) = numbers.get(&symbol) {
            return Ok(known);
        }
        let new = out.number(symbols.get(symbol)?)?;
        numbers.insert(symbol, new);
        Ok(new)
    };
    let mut pairs = Vec::new();
    for neighbours in ordinals.chunk_by(|a, b| group_of(*a) == group_of(*b)) {
        let (kind, offsets) = (SectionKind::Series, SectionKind::SeriesOffsets);
        let count = block.footer().series_count;
        let group = block.group(kind, offsets, neighbours[0], count)?;
        let (mut at, mut place, mut series) = (0, 0, SeriesSymbols::default());
        for &ordinal in neighbours {
            while place <= ordinal as usize % GROUP_ENTRIES {
                layout::get_series(group, &mut at, &mut series)?;
                place += 1;
            }
            let name = number(series.name, out)?;
            let field = match series.field {
                Some(field) => Some(number(field, out)?),
                None => None,
            };
            pairs.clear();
            for &(label, value) in &series.labels {
                pairs.push((number(label, out)?, number(value, out)?));
            }
            out.add_numbered(name, field, &pairs)?;
        }
    }
    Ok(())
}

/// The chunks of values among those of a series.
fn values_of(chunks: &[Chunk]) -> impl Iterator<Item = &Chunk> {
    chunks.iter().filter(|chunk| chunk.side_column().is_none())
}

/// The chunks of side columns that stand at the start of these.
fn side_chunks(chunks: &[Chunk]) -> &[Chunk] {
    let end = chunks
        .iter()
        .position(|chunk| chunk.side_column().is_none());
    &chunks[..end.unwrap_or(chunks.len())]
}

fn side_places(chunks: &[Chunk]) -> SidePlaces {
    let mut places = SidePlaces::default();
    for chunk in side_chunks(chunks) {
        if let Some(column) = chunk.side_column() {
            places[column as usize] = Some((chunk.offset, chunk.length));
        }
    }
    places
}

/// Appends the side columns of the samples `inside` pages of `count`, which stand in `run` from
/// `before` on.
fn read_sides(
    block: &Block,
    chunks: &[Chunk],
    count: usize,
    inside: Range<usize>,
    (before, run): (usize, &mut Run),
) -> Result<()> {
    if chunks.is_empty() && run.sides.is_empty() {
        return Ok(());
    }
    let mut sides = Sides::default();
    for chunk in chunks {
        let Some(column) = chunk.side_column() else {
            continue;
        };
        let mut bits = Vec::new();
        let page = block.page(chunk.offset, chunk.length)?;
        pages::decode_times(page, &mut bits).map_err(|error| at_offset(chunk.offset, error))?;
        if bits.len() != count {
            return Err(CoreError::Corrupt(format!(
                "pages at offset {}: the page has not as many items as times",
                chunk.offset
            )));
        }
        sides.set(column, bits);
    }
    run.sides.append(before, &sides, inside);
    Ok(())
}

/// A time page, decoded once it is needed.
#[derive(Default)]
struct Times {
    /// One more than its index; 0 is none.
    key: u64,
    entry: TimeEntry,
    decoded: Vec<i64>,
}

impl Times {
    fn seek(&mut self, block: &Block, index: u32) -> Result<()> {
        let key = u64::from(index) + 1;
        if self.key != key {
            self.key = 0;
            self.decoded.clear();
            self.entry = block.time_entry(index)?;
            self.key = key;
        }
        Ok(())
    }

    fn overlaps(&self, range: TimeRange) -> bool {
        self.entry.min_ns <= range.max_ns && range.min_ns <= self.entry.max_ns
    }

    fn decode(&mut self, block: &Block) -> Result<&[i64]> {
        if self.decoded.is_empty() {
            let page = block.page(self.entry.offset, self.entry.length)?;
            pages::decode_times(page, &mut self.decoded)
                .map_err(|error| at_offset(self.entry.offset, error))?;
        }
        Ok(&self.decoded)
    }
}

/// What a reader keeps of a block between one series and the next.
#[derive(Default)]
pub struct Kept {
    group: Option<u32>,
    /// Of every series of the group; `ends` says where each one's own end.
    chunks: Vec<Chunk>,
    ends: Vec<usize>,
    /// A time page is kept at its index modulo their number.
    times: [Times; TIME_PAGES_MAX],
    scratch: pages::Scratch,
    floats: FloatColumns,
}

/// The columns of the series that was read last. The next one mostly has the same times: a scrape
/// or a line gave them to all its series.
#[derive(Default)]
struct FloatColumns {
    range: Option<TimeRange>,
    parts: Vec<Part>,
    times_ns: Vec<i64>,
    values: Vec<f64>,
}

/// What of one time page lies inside the range.
struct Part {
    time_index: u32,
    count: usize,
    inside: Range<usize>,
}

impl Kept {
    /// As `Source::read`.
    pub fn read(
        &mut self,
        block: &Block,
        ordinal: u32,
        range: TimeRange,
        out: &mut Vec<Run>,
    ) -> Result<()> {
        self.seek(block, ordinal)?;
        let first = out.len();
        let own = self.chunks_of(ordinal)?;
        for at in own.clone() {
            let chunk = self.chunks[at];
            if chunk.column != 0 {
                self.check_side_chunk(own.start, at)?;
                continue;
            }
            let times = &mut self.times[chunk.time_index as usize % TIME_PAGES_MAX];
            times.seek(block, chunk.time_index)?;
            if !times.overlaps(range) {
                continue;
            }
            let times_ns = times.decode(block)?;
            let from = times_ns.partition_point(|&time| time < range.min_ns);
            let to = times_ns.partition_point(|&time| time <= range.max_ns);
            if from >= to {
                // A page may overlap the range and still have no sample inside it.
                continue;
            }
            if out.len() == first || out.last().is_none_or(|run| run.kind != chunk.kind) {
                out.push(Run::new(chunk.kind));
            }
            if let Some(run) = out.last_mut() {
                let page = block.page(chunk.offset, chunk.length)?;
                let count = times_ns.len();
                pages::decode_some_values(page, count, from..to, run, &mut self.scratch)
                    .map_err(|error| at_offset(chunk.offset, error))?;
                let before = run.times_ns.len();
                run.times_ns.extend_from_slice(&times_ns[from..to]);
                let sides = side_chunks(&self.chunks[at + 1..own.end]);
                read_sides(block, sides, count, from..to, (before, run))?;
            }
        }
        Ok(())
    }

    /// Verifies that a chunk that holds no values stands behind those it goes with.
    fn check_side_chunk(&self, first: usize, at: usize) -> Result<()> {
        let chunk = self.chunks[at];
        let Some(column) = chunk.side_column() else {
            return Err(CoreError::Invalid(
                "cannot read samples: it holds rows of coarse data".into(),
            ));
        };
        let before = at.checked_sub(1).filter(|&before| before >= first);
        let fits = before
            .map(|before| self.chunks[before])
            .is_some_and(|before| {
                before.time_index == chunk.time_index && before.column < chunk.column
            });
        if !fits || chunk.kind != column.kind() {
            return Err(CoreError::Corrupt(format!(
                "section chunks: a side column ({column:?}) does not fit what it stands behind"
            )));
        }
        Ok(())
    }

    /// As `Reader::read_floats`.
    pub fn read_floats(
        &mut self,
        block: &Block,
        ordinal: u32,
        range: TimeRange,
    ) -> Result<Option<Floats<'_>>> {
        self.seek(block, ordinal)?;
        let own = self.chunks_of(ordinal)?;
        if values_of(&self.chunks[own.clone()]).any(|chunk| chunk.kind != Kind::Float64) {
            return Ok(None);
        }
        self.seek_times(block, own.clone(), range)?;
        let FloatColumns { parts, values, .. } = &mut self.floats;
        values.clear();
        for (chunk, part) in values_of(&self.chunks[own]).zip(parts) {
            if part.inside.is_empty() {
                continue;
            }
            let page = block.page(chunk.offset, chunk.length)?;
            let inside = part.inside.clone();
            pages::decode_floats(page, part.count, inside, values, &mut self.scratch)
                .map_err(|error| at_offset(chunk.offset, error))?;
        }
        Ok(Some(Floats {
            times_ns: &self.floats.times_ns,
            values: &self.floats.values,
        }))
    }

    /// Makes `floats` hold the times inside the range of these chunks.
    fn seek_times(&mut self, block: &Block, own: Range<usize>, range: TimeRange) -> Result<()> {
        let chunks = &self.chunks[own];
        let known = &mut self.floats;
        let has_same_times = values_of(chunks)
            .map(|chunk| chunk.time_index)
            .eq(known.parts.iter().map(|part| part.time_index));
        if known.range == Some(range) && has_same_times {
            return Ok(());
        }
        known.range = None;
        known.parts.clear();
        known.times_ns.clear();
        for chunk in values_of(chunks) {
            let times = &mut self.times[chunk.time_index as usize % TIME_PAGES_MAX];
            times.seek(block, chunk.time_index)?;
            let mut inside = 0..0;
            if times.overlaps(range) {
                let times_ns = times.decode(block)?;
                inside.start = times_ns.partition_point(|&time| time < range.min_ns);
                inside.end = times_ns.partition_point(|&time| time <= range.max_ns);
                known.times_ns.extend_from_slice(&times_ns[inside.clone()]);
            }
            known.parts.push(Part {
                time_index: chunk.time_index,
                count: times.entry.count as usize,
                inside,
            });
        }
        known.range = Some(range);
        Ok(())
    }

    /// As `Reader::extents`.
    pub fn extents(
        &mut self,
        block: &Block,
        ordinal: u32,
        range: TimeRange,
        out: &mut Vec<Extent>,
    ) -> Result<()> {
        self.seek(block, ordinal)?;
        let own = self.chunks_of(ordinal)?;
        for at in own.clone() {
            let chunk = self.chunks[at];
            if chunk.side_column().is_some() {
                self.check_side_chunk(own.start, at)?;
                continue;
            }
            let times = &mut self.times[chunk.time_index as usize % TIME_PAGES_MAX];
            times.seek(block, chunk.time_index)?;
            if !times.overlaps(range) {
                continue;
            }
            let TimeEntry { min_ns, max_ns, .. } = times.entry;
            let is_whole = range.min_ns <= min_ns && max_ns <= range.max_ns;
            let page = PagePlace {
                kind: chunk.kind,
                offset: chunk.offset,
                length: chunk.length,
                time_index: chunk.time_index,
                sides: side_places(&self.chunks[at + 1..own.end]),
            };
            out.push(Extent {
                range: TimeRange {
                    min_ns: min_ns.max(range.min_ns),
                    max_ns: max_ns.min(range.max_ns),
                },
                count: times.entry.count as usize,
                page: (is_whole && block.is_settled()).then_some(page),
            });
        }
        Ok(())
    }

    /// As `Reader::page_times`.
    pub fn page_times(&mut self, block: &Block, page: PagePlace) -> Result<&[i64]> {
        let times = &mut self.times[page.time_index as usize % TIME_PAGES_MAX];
        times.seek(block, page.time_index)?;
        times.decode(block)
    }

    /// Reads the chunks of the group that holds the series, unless they stand here.
    fn seek(&mut self, block: &Block, ordinal: u32) -> Result<()> {
        let group = group_of(ordinal);
        if self.group == Some(group) {
            return Ok(());
        }
        self.group = None;
        self.chunks.clear();
        self.ends.clear();
        let (kind, offsets) = (SectionKind::Chunks, SectionKind::ChunksOffsets);
        let bytes = block.group(kind, offsets, ordinal, block.footer().series_count)?;
        let (mut at, mut before) = (0, ChunkBefore::default());
        while at < bytes.len() && self.ends.len() < GROUP_ENTRIES {
            for _ in 0..varint::get(bytes, &mut at)? {
                self.chunks
                    .push(layout::get_chunk(bytes, &mut at, &mut before)?);
            }
            self.ends.push(self.chunks.len());
        }
        self.group = Some(group);
        Ok(())
    }

    fn chunks_of(&self, ordinal: u32) -> Result<std::ops::Range<usize>> {
        let place = ordinal as usize % GROUP_ENTRIES;
        let end = self.ends.get(place).copied().ok_or_else(|| {
            CoreError::Corrupt(format!("section chunks: series {ordinal} has no entry"))
        })?;
        let from = place.checked_sub(1).map_or(0, |before| self.ends[before]);
        Ok(from..end)
    }
}
