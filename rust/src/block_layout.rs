//! The layout that block writer and reader share: footer, tenant rows, grouped directories.
//!
//! docs/formats/block.md describes the file. Everything here turns values into bytes or back;
//! nothing touches a file.

use crate::error::{CoreError, Result};
use crate::index::SeriesSymbols;
use crate::sample::Kind;
use crate::section::SectionEntry;
use crate::sides::{SIDE_COLUMNS, SideColumn};
use crate::varint;

pub const MAGIC_START: [u8; 8] = *b"ORRYBLK1";
pub const MAGIC_END: [u8; 8] = *b"1KLBYRRO";
/// The start's magic and eight bytes of zero.
pub const HEADER_BYTES: usize = 16;
/// Footer length, footer checksum, end's magic.
pub const TRAILER_BYTES: usize = 16;
pub const VERSION: u16 = 1;

/// Series (or time pages) that are decoded together when one of them is looked up.
pub const GROUP_ENTRIES: usize = 16;

const FOOTER_BYTES_MAX: usize = 1 << 16;
/// Sections from this number on may be skipped by readers that do not know them.
const SECTION_OPTIONAL: u16 = 1 << 15;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Footer {
    /// 0: raw samples. Otherwise buckets of so many nanoseconds.
    pub resolution_ns: i64,
    /// Log offsets the block holds; both 0 where the caller did not say.
    pub offset_first: u64,
    pub offset_last: u64,
    pub min_ns: i64,
    pub max_ns: i64,
    pub sample_count: u64,
    pub series_count: u32,
    pub tenant_count: u32,
    pub time_page_count: u32,
    /// Pages lie from the header's end to here.
    pub pages_end: u64,
}

pub fn put_footer(footer: &Footer, sections: &[SectionEntry]) -> Vec<u8> {
    let mut out = Vec::new();
    out.extend_from_slice(&VERSION.to_le_bytes());
    out.extend_from_slice(&0u16.to_le_bytes());
    out.extend_from_slice(&footer.resolution_ns.to_le_bytes());
    out.extend_from_slice(&footer.offset_first.to_le_bytes());
    out.extend_from_slice(&footer.offset_last.to_le_bytes());
    out.extend_from_slice(&footer.min_ns.to_le_bytes());
    out.extend_from_slice(&footer.max_ns.to_le_bytes());
    out.extend_from_slice(&footer.sample_count.to_le_bytes());
    out.extend_from_slice(&footer.series_count.to_le_bytes());
    out.extend_from_slice(&footer.tenant_count.to_le_bytes());
    out.extend_from_slice(&footer.time_page_count.to_le_bytes());
    out.extend_from_slice(&footer.pages_end.to_le_bytes());
    out.extend_from_slice(&(sections.len() as u16).to_le_bytes());
    for section in sections {
        out.extend_from_slice(&section.kind.to_le_bytes());
        out.extend_from_slice(&section.offset.to_le_bytes());
        out.extend_from_slice(&section.length.to_le_bytes());
        out.extend_from_slice(&section.checksum.to_le_bytes());
    }
    let length = out.len() as u32;
    let checksum = crc32c::crc32c(&out);
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(&checksum.to_le_bytes());
    out.extend_from_slice(&MAGIC_END);
    out
}

/// Takes fixed-width integers off the front of a footer.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N]> {
        let (head, rest) = self
            .0
            .split_first_chunk::<N>()
            .ok_or_else(|| CoreError::Corrupt("the footer is too short".into()))?;
        self.0 = rest;
        Ok(*head)
    }

    fn u16(&mut self) -> Result<u16> {
        self.take().map(u16::from_le_bytes)
    }

    fn u32(&mut self) -> Result<u32> {
        self.take().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64> {
        self.take().map(u64::from_le_bytes)
    }

    fn i64(&mut self) -> Result<i64> {
        self.take().map(i64::from_le_bytes)
    }
}

/// Finds and reads the footer of a whole file.
pub fn get_footer(file: &[u8]) -> Result<(Footer, Vec<SectionEntry>)> {
    let corrupt = |cause: String| Err(CoreError::Corrupt(cause));
    if file.len() < HEADER_BYTES + TRAILER_BYTES {
        return corrupt(format!("{} bytes are too few", file.len()));
    }
    if file[..8] != MAGIC_START || file[8..HEADER_BYTES] != [0; 8] {
        return corrupt("it does not start as a block of version 1 does (offset 0)".into());
    }
    let trailer_at = file.len() - TRAILER_BYTES;
    let mut trailer = Fields(&file[trailer_at..]);
    let (length, checksum) = (trailer.u32()? as usize, trailer.u32()?);
    if trailer.0 != MAGIC_END {
        return corrupt(format!(
            "it does not end as a block does (offset {})",
            trailer_at + 8
        ));
    }
    if length > FOOTER_BYTES_MAX || length > trailer_at - HEADER_BYTES {
        return corrupt(format!(
            "footer at offset {trailer_at}: its length {length} cannot be"
        ));
    }
    let footer_at = trailer_at - length;
    let bytes = &file[footer_at..trailer_at];
    if crc32c::crc32c(bytes) != checksum {
        return corrupt(format!(
            "footer at offset {footer_at}: the checksum does not fit"
        ));
    }
    let (footer, sections) = parse_footer(bytes)?;
    if footer.pages_end < HEADER_BYTES as u64 || footer.pages_end > footer_at as u64 {
        return corrupt(format!(
            "footer at offset {footer_at}: pages end outside the file"
        ));
    }
    Ok((footer, sections))
}

fn parse_footer(bytes: &[u8]) -> Result<(Footer, Vec<SectionEntry>)> {
    let mut fields = Fields(bytes);
    let (version, flags) = (fields.u16()?, fields.u16()?);
    if version != VERSION || flags != 0 {
        return Err(CoreError::Invalid(format!(
            "its version {version} (flags {flags}) is not one this release reads"
        )));
    }
    let footer = Footer {
        resolution_ns: fields.i64()?,
        offset_first: fields.u64()?,
        offset_last: fields.u64()?,
        min_ns: fields.i64()?,
        max_ns: fields.i64()?,
        sample_count: fields.u64()?,
        series_count: fields.u32()?,
        tenant_count: fields.u32()?,
        time_page_count: fields.u32()?,
        pages_end: fields.u64()?,
    };
    if footer.resolution_ns < 0 {
        return Err(CoreError::Invalid(format!(
            "its resolution of {} ns is not one this release reads",
            footer.resolution_ns
        )));
    }
    let count = fields.u16()?;
    let mut sections = Vec::with_capacity(usize::from(count));
    for _ in 0..count {
        sections.push(SectionEntry {
            kind: fields.u16()?,
            offset: fields.u64()?,
            length: fields.u64()?,
            checksum: fields.u32()?,
        });
    }
    if fields.0.is_empty() {
        Ok((footer, sections))
    } else {
        Err(CoreError::Corrupt(
            "the footer has bytes behind its end".into(),
        ))
    }
}

pub fn may_skip(section_kind: u16) -> bool {
    section_kind & SECTION_OPTIONAL != 0
}

/// One tenant's part of a block; kept in memory while the block is open.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TenantRow {
    pub tenant: String,
    pub series_first: u32,
    pub series_count: u32,
    pub label_first: u64,
    pub label_count: u32,
    pub sample_count: u64,
    /// Of value pages, and of time pages the tenant was the first to need.
    pub page_bytes: u64,
    pub min_ns: i64,
    pub max_ns: i64,
}

pub fn put_tenant(out: &mut Vec<u8>, row: &TenantRow) {
    varint::put_slice(out, row.tenant.as_bytes());
    for number in [
        u64::from(row.series_first),
        u64::from(row.series_count),
        row.label_first,
        u64::from(row.label_count),
        row.sample_count,
        row.page_bytes,
        varint::zigzag(row.min_ns),
        row.max_ns.wrapping_sub(row.min_ns) as u64,
    ] {
        varint::put(out, number);
    }
}

pub fn get_tenant(bytes: &[u8], at: &mut usize) -> Result<TenantRow> {
    let tenant = std::str::from_utf8(varint::get_slice(bytes, at)?)
        .map_err(|_| CoreError::Corrupt("section tenants: a tenant is not UTF-8".into()))?
        .to_owned();
    let mut row = TenantRow {
        tenant,
        series_first: get_u32(bytes, at)?,
        series_count: get_u32(bytes, at)?,
        label_first: varint::get(bytes, at)?,
        label_count: get_u32(bytes, at)?,
        sample_count: varint::get(bytes, at)?,
        page_bytes: varint::get(bytes, at)?,
        min_ns: varint::unzigzag(varint::get(bytes, at)?),
        max_ns: 0,
    };
    row.max_ns = row.min_ns.wrapping_add(varint::get(bytes, at)? as i64);
    Ok(row)
}

fn get_u32(bytes: &[u8], at: &mut usize) -> Result<u32> {
    u32::try_from(varint::get(bytes, at)?)
        .map_err(|_| CoreError::Corrupt("a directory holds a number above 32 bits".into()))
}

/// A time page: shared by every chunk of the block with these times.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TimeEntry {
    pub offset: u64,
    pub length: u32,
    pub count: u32,
    pub min_ns: i64,
    pub max_ns: i64,
}

/// Appends an entry as its difference to the one before it in the group.
pub fn put_time_entry(out: &mut Vec<u8>, entry: &TimeEntry, before: &TimeEntry) {
    let end_before = before.offset + u64::from(before.length);
    varint::put(
        out,
        varint::zigzag(entry.offset.wrapping_sub(end_before) as i64),
    );
    varint::put(out, u64::from(entry.length));
    varint::put(out, u64::from(entry.count));
    varint::put(
        out,
        varint::zigzag(entry.min_ns.wrapping_sub(before.min_ns)),
    );
    varint::put(out, entry.max_ns.wrapping_sub(entry.min_ns) as u64);
}

pub fn get_time_entry(bytes: &[u8], at: &mut usize, before: &TimeEntry) -> Result<TimeEntry> {
    let end_before = before.offset.wrapping_add(u64::from(before.length));
    let gap = varint::unzigzag(varint::get(bytes, at)?);
    let mut entry = TimeEntry {
        offset: end_before.wrapping_add(gap as u64),
        length: get_u32(bytes, at)?,
        count: get_u32(bytes, at)?,
        min_ns: before
            .min_ns
            .wrapping_add(varint::unzigzag(varint::get(bytes, at)?)),
        max_ns: 0,
    };
    entry.max_ns = entry.min_ns.wrapping_add(varint::get(bytes, at)? as i64);
    Ok(entry)
}

/// A value page of one series and the time page it goes with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chunk {
    pub kind: Kind,
    /// 0: samples. Up to 15 columns of coarse data (`rollup_pages`), then side columns.
    pub column: u8,
    pub offset: u64,
    pub length: u32,
    pub time_index: u32,
}

/// What the next chunk of a group is written as a difference to.
#[derive(Debug, Clone, Copy, Default)]
pub struct ChunkBefore {
    pub end: u64,
    pub time_index: u32,
}

/// Bits above the kind are the column.
const CHUNK_KIND_BITS: u32 = 4;
const CHUNK_COLUMN_MAX: u64 = 18;
/// The first side column; releases that do not know them refuse columns from here on.
const CHUNK_COLUMN_SIDES: u8 = 16;

impl Chunk {
    /// Where it holds a side column of the samples of a chunk before it: which.
    pub fn side_column(&self) -> Option<SideColumn> {
        let number = self.column.checked_sub(CHUNK_COLUMN_SIDES)?;
        SIDE_COLUMNS.get(usize::from(number)).copied()
    }

    pub fn set_side_column(&mut self, column: SideColumn) {
        self.column = CHUNK_COLUMN_SIDES + column as u8;
    }
}

pub fn put_chunk(out: &mut Vec<u8>, chunk: &Chunk, before: &mut ChunkBefore) {
    let kind = chunk.kind as u64 | u64::from(chunk.column) << CHUNK_KIND_BITS;
    varint::put(out, kind);
    varint::put(
        out,
        varint::zigzag(chunk.offset.wrapping_sub(before.end) as i64),
    );
    varint::put(out, u64::from(chunk.length));
    let hop = i64::from(chunk.time_index) - i64::from(before.time_index);
    varint::put(out, varint::zigzag(hop));
    before.end = chunk.offset + u64::from(chunk.length);
    before.time_index = chunk.time_index;
}

pub fn get_chunk(bytes: &[u8], at: &mut usize, before: &mut ChunkBefore) -> Result<Chunk> {
    let flags = varint::get(bytes, at)?;
    let (kind, column) = (
        flags & ((1 << CHUNK_KIND_BITS) - 1),
        flags >> CHUNK_KIND_BITS,
    );
    if column > CHUNK_COLUMN_MAX {
        return Err(CoreError::Invalid(format!(
            "its chunk flags {flags} are not ones this release reads"
        )));
    }
    let gap = varint::unzigzag(varint::get(bytes, at)?);
    let length = get_u32(bytes, at)?;
    let hop = varint::unzigzag(varint::get(bytes, at)?);
    let chunk = Chunk {
        kind: Kind::from_u8(kind as u8)?,
        column: column as u8,
        offset: before.end.wrapping_add(gap as u64),
        length,
        time_index: u32::try_from(i64::from(before.time_index).wrapping_add(hop))
            .map_err(|_| CoreError::Corrupt("a chunk names no time page".into()))?,
    };
    before.end = chunk.offset.wrapping_add(u64::from(length));
    before.time_index = chunk.time_index;
    Ok(chunk)
}

/// Appends a series; keys that equal those of the series before it in the group are not repeated.
pub fn put_series(out: &mut Vec<u8>, series: &SeriesSymbols, before: Option<&SeriesSymbols>) {
    varint::put(out, u64::from(series.name));
    varint::put(out, series.field.map_or(0, |field| u64::from(field) + 1));
    let keys = series.labels.iter().map(|pair| pair.0);
    if before.is_some_and(|before| before.labels.iter().map(|pair| pair.0).eq(keys)) {
        varint::put(out, 0);
    } else {
        varint::put(out, series.labels.len() as u64 + 1);
        for &(key, _) in &series.labels {
            varint::put(out, u64::from(key));
        }
    }
    for &(_, value) in &series.labels {
        varint::put(out, u64::from(value));
    }
}

/// Reads the next series of a group into `series`, which holds the one before it.
pub fn get_series(bytes: &[u8], at: &mut usize, series: &mut SeriesSymbols) -> Result<()> {
    series.name = get_u32(bytes, at)?;
    series.field = match varint::get(bytes, at)? {
        0 => None,
        field => Some(
            u32::try_from(field - 1)
                .map_err(|_| CoreError::Corrupt("a field is no symbol".into()))?,
        ),
    };
    let count = varint::get(bytes, at)? as usize;
    if count > bytes.len() {
        return Err(CoreError::Corrupt(
            "a series has more labels than bytes".into(),
        ));
    }
    if count > 0 {
        series.labels.clear();
        for _ in 1..count {
            let key = get_u32(bytes, at)?;
            series.labels.push((key, 0));
        }
    }
    for pair in &mut series.labels {
        pair.1 = get_u32(bytes, at)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn entries_round_trip(
            offsets in prop::collection::vec((any::<u32>(), any::<u32>(), any::<i64>(), any::<i64>()), 1..40)
        ) {
            let mut bytes = Vec::new();
            let mut before = TimeEntry::default();
            let mut entries = Vec::new();
            for (offset, length, min_ns, max_ns) in offsets {
                let entry = TimeEntry {
                    offset: u64::from(offset) << 8, length, count: length / 2, min_ns, max_ns,
                };
                put_time_entry(&mut bytes, &entry, &before);
                entries.push(entry);
                before = entry;
            }
            let (mut at, mut before) = (0, TimeEntry::default());
            for entry in entries {
                before = get_time_entry(&bytes, &mut at, &before).unwrap();
                prop_assert_eq!(before, entry);
            }
            prop_assert_eq!(at, bytes.len());
        }

        #[test]
        fn any_bytes_decode_or_fail(bytes: Vec<u8>) {
            let _ = parse_footer(&bytes);
            let _ = get_footer(&bytes);
            let _ = get_tenant(&bytes, &mut 0);
            let _ = get_time_entry(&bytes, &mut 0, &TimeEntry::default());
            let _ = get_chunk(&bytes, &mut 0, &mut ChunkBefore::default());
            let _ = get_series(&bytes, &mut 0, &mut SeriesSymbols::default());
        }
    }
}
