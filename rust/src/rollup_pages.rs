//! Rows as columns of pages: one value page a column, beside a page of the buckets' ends
//! (docs/formats/block.md). `block_writer` writes them, `rollup_reading` reads those it needs.

use crate::block::{Block, at_offset};
use crate::block_layout::{self as layout, Chunk, ChunkBefore, GROUP_ENTRIES, TimeEntry};
use crate::error::{CoreError, Result};
use crate::pages;
use crate::rollup::Row;
use crate::sample::{Kind, Run};
use crate::section::SectionKind;
use crate::source::TimeRange;
use crate::varint;

/// The numbers are persisted; 0 is the value of a raw sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Column {
    Count = 1,
    Min = 2,
    Max = 3,
    Sum = 4,
    First = 5,
    Last = 6,
    Lost = 7,
    Resets = 8,
    /// How long before the bucket's end its first sample lies.
    FirstBefore = 9,
    LastBefore = 10,
    Stale = 11,
}

pub const COLUMNS: [Column; 11] = [
    Column::Count,
    Column::Min,
    Column::Max,
    Column::Sum,
    Column::First,
    Column::Last,
    Column::Lost,
    Column::Resets,
    Column::FirstBefore,
    Column::LastBefore,
    Column::Stale,
];

/// Bit `column` of a set of columns.
pub const fn bit(column: Column) -> u16 {
    1 << column as u16
}

pub const ALL_COLUMNS: u16 = u16::MAX;

impl Column {
    fn of(number: u8) -> Result<Self> {
        let found = COLUMNS.iter().find(|&&column| column as u8 == number);
        found.copied().ok_or_else(|| {
            CoreError::Invalid(format!("its column {number} is not one this release reads"))
        })
    }

    pub fn kind(self) -> Kind {
        match self {
            Self::Count | Self::Resets => Kind::Uint64,
            Self::FirstBefore | Self::LastBefore => Kind::Int64,
            Self::Stale => Kind::Bool,
            _ => Kind::Float64,
        }
    }

    /// Where it holds nothing but zeros it is left out.
    fn may_lack(self) -> bool {
        matches!(self, Self::Lost | Self::Resets | Self::Stale)
    }

    fn get(self, row: &Row) -> u64 {
        match self {
            Self::Count => row.count,
            Self::Min => row.min.to_bits(),
            Self::Max => row.max.to_bits(),
            Self::Sum => row.sum.to_bits(),
            Self::First => row.first.to_bits(),
            Self::Last => row.last.to_bits(),
            Self::Lost => row.lost.to_bits(),
            Self::Resets => row.resets,
            Self::FirstBefore => row.end_ns.wrapping_sub(row.first_ns) as u64,
            Self::LastBefore => row.end_ns.wrapping_sub(row.last_ns) as u64,
            Self::Stale => u64::from(row.is_stale),
        }
    }

    fn set(self, row: &mut Row, bits: u64) {
        match self {
            Self::Count => row.count = bits,
            Self::Min => row.min = f64::from_bits(bits),
            Self::Max => row.max = f64::from_bits(bits),
            Self::Sum => row.sum = f64::from_bits(bits),
            Self::First => row.first = f64::from_bits(bits),
            Self::Last => row.last = f64::from_bits(bits),
            Self::Lost => row.lost = f64::from_bits(bits),
            Self::Resets => row.resets = bits,
            Self::FirstBefore => row.first_ns = row.end_ns.wrapping_sub(bits as i64),
            Self::LastBefore => row.last_ns = row.end_ns.wrapping_sub(bits as i64),
            Self::Stale => row.is_stale = bits != 0,
        }
    }
}

/// The columns that some rows need, each with its values; the rows are not none.
pub fn columns_of(rows: &[Row]) -> Vec<(Column, Vec<u64>)> {
    COLUMNS
        .iter()
        .map(|&column| {
            let values: Vec<u64> = rows.iter().map(|row| column.get(row)).collect();
            (column, values)
        })
        .filter(|(column, values)| !column.may_lack() || values.iter().any(|&bits| bits != 0))
        .collect()
}

/// Decoded times of the page that was read last: neighbours mostly share it.
#[derive(Default)]
struct Times {
    index: Option<u32>,
    entry: TimeEntry,
    ends_ns: Vec<i64>,
}

/// Reads the rows of one block, series by series.
pub struct RowReader<'a> {
    block: &'a Block,
    times: Times,
}

impl<'a> RowReader<'a> {
    pub fn new(block: &'a Block) -> Self {
        Self {
            block,
            times: Times::default(),
        }
    }

    /// Appends rows that end inside the range, with the columns asked for: the others stay zero.
    pub fn read(
        &mut self,
        ordinal: u32,
        range: TimeRange,
        columns: u16,
        out: &mut Vec<Row>,
    ) -> Result<()> {
        let mut page: Option<(u32, usize)> = None;
        let first = out.len();
        for chunk in self.chunks(ordinal)? {
            if page.is_none_or(|(index, _)| index != chunk.time_index) {
                self.seek(chunk.time_index)?;
                if self.overlaps(range) {
                    let ends = self.ends()?;
                    page = Some((chunk.time_index, out.len()));
                    out.extend(ends.iter().map(|&end_ns| Row {
                        end_ns,
                        first_ns: end_ns,
                        last_ns: end_ns,
                        ..Row::default()
                    }));
                } else {
                    page = Some((chunk.time_index, usize::MAX));
                }
            }
            let column = Column::of(chunk.column)?;
            let at = page.map_or(usize::MAX, |(_, at)| at);
            if at != usize::MAX && columns & bit(column) != 0 {
                self.fill(&chunk, column, &mut out[at..])?;
            }
        }
        let mut at = 0;
        out.retain(|row| {
            at += 1;
            at <= first || (range.min_ns <= row.end_ns && row.end_ns <= range.max_ns)
        });
        Ok(())
    }

    fn fill(&self, chunk: &Chunk, column: Column, rows: &mut [Row]) -> Result<()> {
        let mut run = Run::new(column.kind());
        if chunk.kind != run.kind {
            return Err(CoreError::Corrupt(format!(
                "column {column:?} holds values of another kind"
            )));
        }
        pages::decode_values(self.block.page(chunk.offset, chunk.length)?, &mut run)
            .map_err(|error| at_offset(chunk.offset, error))?;
        if run.values.len() != rows.len() {
            return Err(CoreError::Corrupt(format!(
                "pages at offset {}: the page has not as many values as times",
                chunk.offset
            )));
        }
        for (row, bits) in rows.iter_mut().zip(run.values) {
            column.set(row, bits);
        }
        Ok(())
    }

    fn chunks(&self, ordinal: u32) -> Result<Vec<Chunk>> {
        let (kind, offsets) = (SectionKind::Chunks, SectionKind::ChunksOffsets);
        let count = self.block.footer().series_count;
        let bytes = self.block.group(kind, offsets, ordinal, count)?;
        let (mut at, mut before) = (0, ChunkBefore::default());
        let mut chunks = Vec::new();
        for _ in 0..=ordinal as usize % GROUP_ENTRIES {
            chunks.clear();
            for _ in 0..varint::get(bytes, &mut at)? {
                chunks.push(layout::get_chunk(bytes, &mut at, &mut before)?);
            }
        }
        Ok(chunks)
    }

    fn seek(&mut self, index: u32) -> Result<()> {
        if self.times.index != Some(index) {
            self.times.index = None;
            self.times.ends_ns.clear();
            self.times.entry = self.block.time_entry(index)?;
            self.times.index = Some(index);
        }
        Ok(())
    }

    fn overlaps(&self, range: TimeRange) -> bool {
        self.times.entry.min_ns <= range.max_ns && range.min_ns <= self.times.entry.max_ns
    }

    fn ends(&mut self) -> Result<&[i64]> {
        if self.times.ends_ns.is_empty() {
            let entry = self.times.entry;
            let page = self.block.page(entry.offset, entry.length)?;
            pages::decode_times(page, &mut self.times.ends_ns)
                .map_err(|error| at_offset(entry.offset, error))?;
        }
        Ok(&self.times.ends_ns)
    }
}
