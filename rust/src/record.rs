//! Records: what the log holds, one tenant each, checksummed (docs/formats/record.md).
//!
//! `resolve` encodes samples, `series_table` checkpoints of definitions; the head replays both.
//! Everything here is bytes: no table, no clock.

use crate::error::{CoreError, Result};
use crate::varint;

pub const MAGIC: [u8; 4] = *b"ORRC";
pub const VERSION: u8 = 1;
/// Nothing longer is written, and nothing longer is read.
pub const RECORD_BYTES_MAX: usize = 1 << 30;
pub const TENANT_BYTES_MAX: usize = 1024;
const HEADER_BYTES: usize = 26;
const DIRECTORY_ENTRY_BYTES: usize = 16;
const CHECKSUM_BYTES: usize = 4;

/// What a record holds. The numbers are persisted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum RecordKind {
    Samples = 1,
    Definitions = 2,
    Metadata = 3,
    /// Reserved: nothing writes it yet, and reading one stops.
    Exemplars = 4,
    Delete = 5,
    Attributes = 6,
}

impl RecordKind {
    pub fn from_u8(number: u8) -> Result<Self> {
        Ok(match number {
            1 => Self::Samples,
            2 => Self::Definitions,
            3 => Self::Metadata,
            4 => Self::Exemplars,
            5 => Self::Delete,
            6 => Self::Attributes,
            _ => return Err(corrupt(&format!("kind {number} is unknown"))),
        })
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Samples => "samples",
            Self::Definitions => "definitions",
            Self::Metadata => "metadata",
            Self::Exemplars => "exemplars",
            Self::Delete => "delete",
            Self::Attributes => "attributes",
        }
    }
}

/// Column ids. The numbers are persisted.
pub mod column {
    pub const SERIES_IDS: u16 = 1;
    pub const KEY_SERIES: u16 = 2;
    pub const KEY_COUNTS: u16 = 3;
    pub const TIMES: u16 = 4;
    pub const VALUES: u16 = 5;
    pub const KINDS: u16 = 6;
    pub const HEAP: u16 = 7;
    pub const DEFINITIONS: u16 = 8;
    pub const LAST_SAMPLE_TIMES: u16 = 9;
    pub const METADATA: u16 = 10;
    pub const MATCHERS: u16 = 11;
    pub const RANGE: u16 = 12;
    pub const START_TIMES: u16 = 13;
    pub const POSITIONS: u16 = 14;
    pub const ELEVATIONS: u16 = 15;
    pub const ATTRIBUTES: u16 = 16;

    pub fn name(id: u16) -> Option<&'static str> {
        Some(match id {
            SERIES_IDS => "series_ids",
            KEY_SERIES => "key_series",
            KEY_COUNTS => "key_counts",
            TIMES => "times",
            VALUES => "values",
            KINDS => "kinds",
            HEAP => "heap",
            DEFINITIONS => "definitions",
            LAST_SAMPLE_TIMES => "last_sample_times",
            METADATA => "metadata",
            MATCHERS => "matchers",
            RANGE => "range",
            START_TIMES => "start_times",
            POSITIONS => "positions",
            ELEVATIONS => "elevations",
            ATTRIBUTES => "attributes",
            _ => return None,
        })
    }
}

/// Set in a directory entry where a reader that does not know the column may skip it.
pub const FLAG_OPTIONAL: u8 = 1;

pub const RAW: u8 = 0;
pub const CONSTANT: u8 = 1;
pub const VARINT: u8 = 2;
/// Zigzag varints of the difference to the value before; the first is a difference to 0.
pub const DELTA: u8 = 3;
/// Byte strings, each after its varint length.
pub const SLICES: u8 = 4;

pub(crate) fn corrupt(cause: &str) -> CoreError {
    CoreError::Corrupt(format!("cannot read a record: {cause}"))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Column {
    pub id: u16,
    pub flags: u8,
    pub encoding: u8,
    /// Items in the column; what an item is belongs to the column.
    pub count: u32,
    pub offset: u32,
    pub length: u32,
}

/// Puts a record together: columns are appended as they are encoded, the header at the end.
pub struct Writer {
    kind: RecordKind,
    columns: Vec<Column>,
    data: Vec<u8>,
}

impl Writer {
    pub fn new(kind: RecordKind, size_bytes: usize) -> Self {
        Self {
            kind,
            columns: Vec::new(),
            data: Vec::with_capacity(size_bytes),
        }
    }

    /// `fill` appends the column's bytes.
    pub fn column(
        &mut self,
        id: u16,
        flags: u8,
        encoding: u8,
        count: usize,
        fill: impl FnOnce(&mut Vec<u8>),
    ) {
        let offset = self.data.len();
        fill(&mut self.data);
        self.columns.push(Column {
            id,
            flags,
            encoding,
            count: count as u32,
            offset: offset as u32,
            length: (self.data.len() - offset) as u32,
        });
    }

    pub fn finish(self, tenant: &str, epoch: u64, shards: (u16, u16)) -> Result<Vec<u8>> {
        let body = HEADER_BYTES + tenant.len() + self.columns.len() * DIRECTORY_ENTRY_BYTES;
        let size = body + self.data.len() + CHECKSUM_BYTES;
        if size > RECORD_BYTES_MAX || tenant.len() > TENANT_BYTES_MAX {
            return Err(CoreError::Invalid(format!(
                "cannot encode a record of tenant {tenant:?}: {size} bytes (at most \
                 {RECORD_BYTES_MAX}) with a tenant of {} bytes (at most {TENANT_BYTES_MAX})",
                tenant.len()
            )));
        }
        let mut out = Vec::with_capacity(size);
        out.extend_from_slice(&MAGIC);
        out.push(VERSION);
        out.push(self.kind as u8);
        out.extend_from_slice(&(self.columns.len() as u16).to_le_bytes());
        out.extend_from_slice(&(size as u32).to_le_bytes());
        out.extend_from_slice(&epoch.to_le_bytes());
        out.extend_from_slice(&shards.0.to_le_bytes());
        out.extend_from_slice(&shards.1.to_le_bytes());
        out.extend_from_slice(&(tenant.len() as u16).to_le_bytes());
        out.extend_from_slice(tenant.as_bytes());
        for column in &self.columns {
            out.extend_from_slice(&column.id.to_le_bytes());
            out.push(column.flags);
            out.push(column.encoding);
            out.extend_from_slice(&column.count.to_le_bytes());
            out.extend_from_slice(&(column.offset + body as u32).to_le_bytes());
            out.extend_from_slice(&column.length.to_le_bytes());
        }
        out.extend_from_slice(&self.data);
        let checksum = crc32c::crc32c(&out);
        out.extend_from_slice(&checksum.to_le_bytes());
        Ok(out)
    }
}

/// A parsed look at a record whose checksum holds; borrows its bytes.
#[derive(Debug, Clone)]
pub struct Record<'a> {
    pub kind: RecordKind,
    pub tenant: &'a str,
    pub epoch: u64,
    pub shards: (u16, u16),
    pub columns: Vec<Column>,
    bytes: &'a [u8],
}

pub(crate) fn fixed<const N: usize>(bytes: &[u8], at: usize) -> Result<[u8; N]> {
    bytes
        .get(at..at + N)
        .and_then(|slice| slice.try_into().ok())
        .ok_or_else(|| corrupt("bytes end inside it"))
}

fn u16_at(bytes: &[u8], at: usize) -> Result<u16> {
    Ok(u16::from_le_bytes(fixed(bytes, at)?))
}

fn u32_at(bytes: &[u8], at: usize) -> Result<u32> {
    Ok(u32::from_le_bytes(fixed(bytes, at)?))
}

impl<'a> Record<'a> {
    pub fn parse(bytes: &'a [u8]) -> Result<Self> {
        if fixed::<4>(bytes, 0)? != MAGIC {
            return Err(corrupt("it does not begin with its magic number"));
        }
        let version = fixed::<1>(bytes, 4)?[0];
        if version != VERSION {
            return Err(corrupt(&format!(
                "format version {version} is unknown, this release reads {VERSION}"
            )));
        }
        if u32_at(bytes, 8)? as usize != bytes.len() || bytes.len() < HEADER_BYTES + CHECKSUM_BYTES
        {
            return Err(corrupt(&format!(
                "it says {} bytes and has {}",
                u32_at(bytes, 8)?,
                bytes.len()
            )));
        }
        let end = bytes.len() - CHECKSUM_BYTES;
        if crc32c::crc32c(&bytes[..end]) != u32_at(bytes, end)? {
            return Err(corrupt("its checksum is wrong"));
        }
        let tenant_end = HEADER_BYTES + usize::from(u16_at(bytes, 24)?);
        let tenant = bytes
            .get(HEADER_BYTES..tenant_end)
            .and_then(|tenant| std::str::from_utf8(tenant).ok())
            .ok_or_else(|| corrupt("its tenant is not UTF-8"))?;
        Ok(Self {
            kind: RecordKind::from_u8(fixed::<1>(bytes, 5)?[0])?,
            tenant,
            epoch: u64::from_le_bytes(fixed(bytes, 12)?),
            shards: (u16_at(bytes, 20)?, u16_at(bytes, 22)?),
            columns: read_directory(bytes, tenant_end, end)?,
            bytes,
        })
    }

    /// Refuses kinds and columns that this release does not know.
    pub fn expect(&self, kind: RecordKind, known: &[u16]) -> Result<()> {
        if self.kind != kind {
            return Err(corrupt(&format!(
                "it holds {}, not {}",
                self.kind.name(),
                kind.name()
            )));
        }
        for column in &self.columns {
            if !known.contains(&column.id) && column.flags & FLAG_OPTIONAL == 0 {
                let name = column::name(column.id).unwrap_or("unknown");
                return Err(corrupt(&format!(
                    "column {} ({name}) of a {} record is not known to this release",
                    column.id,
                    kind.name()
                )));
            }
        }
        Ok(())
    }

    pub fn find(&self, id: u16) -> Option<(Column, &'a [u8])> {
        let column = *self.columns.iter().find(|column| column.id == id)?;
        let from = column.offset as usize;
        Some((column, &self.bytes[from..from + column.length as usize]))
    }

    pub fn require(&self, id: u16) -> Result<(Column, &'a [u8])> {
        self.find(id).ok_or_else(|| {
            corrupt(&format!(
                "a {} record lacks its column {}",
                self.kind.name(),
                column::name(id).unwrap_or("unknown")
            ))
        })
    }
}

fn read_directory(bytes: &[u8], from: usize, end: usize) -> Result<Vec<Column>> {
    let count = usize::from(u16_at(bytes, 6)?);
    let mut columns: Vec<Column> = Vec::with_capacity(count.min(64));
    for index in 0..count {
        let at = from + index * DIRECTORY_ENTRY_BYTES;
        let column = Column {
            id: u16_at(bytes, at)?,
            flags: fixed::<1>(bytes, at + 2)?[0],
            encoding: fixed::<1>(bytes, at + 3)?[0],
            count: u32_at(bytes, at + 4)?,
            offset: u32_at(bytes, at + 8)?,
            length: u32_at(bytes, at + 12)?,
        };
        let first = (from + count * DIRECTORY_ENTRY_BYTES) as u64;
        let last = u64::from(column.offset) + u64::from(column.length);
        if u64::from(column.offset) < first || last > end as u64 {
            return Err(corrupt("a column lies outside of it"));
        }
        if columns.iter().any(|other| other.id == column.id) {
            return Err(corrupt("a column is there twice"));
        }
        columns.push(column);
    }
    Ok(columns)
}

pub(crate) fn write_slices<S: AsRef<[u8]>>(writer: &mut Writer, id: u16, slices: &[S]) {
    writer.column(id, 0, SLICES, slices.len(), |out| {
        for slice in slices {
            varint::put_slice(out, slice.as_ref());
        }
    });
}

pub(crate) fn wrong_encoding(column: Column) -> CoreError {
    corrupt(&format!(
        "column {} has encoding {}, which is unknown there",
        column::name(column.id).unwrap_or("unknown"),
        column.encoding
    ))
}

pub(crate) fn wrong_size(column: Column) -> CoreError {
    corrupt(&format!(
        "column {} is not as long as its {} items",
        column::name(column.id).unwrap_or("unknown"),
        column.count
    ))
}

/// Fixed-width items.
pub(crate) fn raw<const N: usize>((column, bytes): (Column, &[u8])) -> Result<Vec<[u8; N]>> {
    if column.encoding != RAW {
        return Err(wrong_encoding(column));
    }
    if bytes.len() as u64 != u64::from(column.count) * N as u64 {
        return Err(wrong_size(column));
    }
    let item = |chunk: &[u8]| {
        let mut item = [0; N];
        item.copy_from_slice(chunk);
        item
    };
    Ok(bytes.chunks_exact(N).map(item).collect())
}

pub(crate) fn slices((column, bytes): (Column, &[u8])) -> Result<Vec<&[u8]>> {
    if column.encoding != SLICES {
        return Err(wrong_encoding(column));
    }
    let mut found = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        found.push(varint::get_slice(bytes, &mut at)?);
    }
    if found.len() as u64 != u64::from(column.count) {
        return Err(wrong_size(column));
    }
    Ok(found)
}

pub(crate) fn varints(column: Column, bytes: &[u8]) -> Result<Vec<u64>> {
    // A varint takes a byte at least: the count cannot make this larger than the record.
    if u64::from(column.count) > bytes.len() as u64 {
        return Err(wrong_size(column));
    }
    let mut found = Vec::with_capacity(column.count as usize);
    let mut at = 0;
    while at < bytes.len() {
        found.push(varint::get(bytes, &mut at)?);
    }
    if found.len() as u64 != u64::from(column.count) {
        return Err(wrong_size(column));
    }
    Ok(found)
}

#[cfg(feature = "python")]
pub(crate) mod python {
    use super::{Column, FLAG_OPTIONAL, Record, RecordKind, column};
    use crate::batch::MetadataRow;
    use crate::error::Result;
    use crate::record_attributes::{AttributesRow, decode_attributes, encode_attributes};
    use crate::record_control::{
        DeleteOrder, MatcherTriple, decode_delete, decode_metadata, each_definition, encode_delete,
        encode_metadata,
    };
    use crate::record_samples::decode_samples;
    use crate::source::TimeRange;
    use pyo3::prelude::*;
    use pyo3::types::{PyBytes, PyDict};

    type MetadataTuple = (String, String, String, String);

    #[pyfunction]
    fn record_kind(py: Python<'_>, record: &[u8]) -> PyResult<&'static str> {
        Ok(py.detach(|| Record::parse(record).map(|record| record.kind.name()))?)
    }

    #[pyfunction(name = "encode_delete")]
    fn encode_delete_record<'py>(
        py: Python<'py>,
        tenant: &str,
        epoch: u64,
        matchers: Vec<MatcherTriple>,
        min_ns: i64,
        max_ns: i64,
    ) -> PyResult<Bound<'py, PyBytes>> {
        let range = TimeRange { min_ns, max_ns };
        let delete = DeleteOrder { matchers, range };
        let bytes = py.detach(|| encode_delete(tenant, epoch, &delete))?;
        Ok(PyBytes::new(py, &bytes))
    }

    #[pyfunction(name = "decode_delete")]
    fn decode_delete_record(
        py: Python<'_>,
        record: &[u8],
    ) -> PyResult<(String, Vec<MatcherTriple>, i64, i64)> {
        let (tenant, delete) = py.detach(|| {
            let record = Record::parse(record)?;
            Result::Ok((record.tenant.to_owned(), decode_delete(&record)?))
        })?;
        let range = delete.range;
        Ok((tenant, delete.matchers, range.min_ns, range.max_ns))
    }

    #[pyfunction(name = "encode_metadata")]
    fn encode_metadata_record<'py>(
        py: Python<'py>,
        tenant: &str,
        epoch: u64,
        rows: Vec<MetadataTuple>,
    ) -> PyResult<Bound<'py, PyBytes>> {
        let row = |(name, kind, help, unit)| MetadataRow {
            name,
            kind,
            help,
            unit,
        };
        let rows: Vec<MetadataRow> = rows.into_iter().map(row).collect();
        let bytes = py.detach(|| encode_metadata(tenant, epoch, &rows))?;
        Ok(PyBytes::new(py, &bytes))
    }

    #[pyfunction(name = "decode_metadata")]
    fn decode_metadata_record(
        py: Python<'_>,
        record: &[u8],
    ) -> PyResult<(String, Vec<MetadataTuple>)> {
        let (tenant, rows) = py.detach(|| {
            let record = Record::parse(record)?;
            Result::Ok((record.tenant.to_owned(), decode_metadata(&record)?))
        })?;
        let tuple = |row: MetadataRow| (row.name, row.kind, row.help, row.unit);
        Ok((tenant, rows.into_iter().map(tuple).collect()))
    }

    type Pairs = Vec<(String, String)>;
    type AttributesTuple<'py> = (Bound<'py, PyBytes>, Pairs);

    #[pyfunction(name = "encode_attributes")]
    fn encode_attributes_record<'py>(
        py: Python<'py>,
        tenant: &str,
        epoch: u64,
        rows: Vec<(Vec<u8>, Pairs)>,
    ) -> PyResult<Bound<'py, PyBytes>> {
        let row = |(series, pairs)| AttributesRow { series, pairs };
        let rows: Vec<AttributesRow> = rows.into_iter().map(row).collect();
        let bytes = py.detach(|| encode_attributes(tenant, epoch, &rows))?;
        Ok(PyBytes::new(py, &bytes))
    }

    #[pyfunction(name = "decode_attributes")]
    fn decode_attributes_record<'py>(
        py: Python<'py>,
        record: &[u8],
    ) -> PyResult<(String, Vec<AttributesTuple<'py>>)> {
        let (tenant, rows) = py.detach(|| {
            let record = Record::parse(record)?;
            Result::Ok((record.tenant.to_owned(), decode_attributes(&record)?))
        })?;
        let tuple = |row: AttributesRow| (PyBytes::new(py, &row.series), row.pairs);
        Ok((tenant, rows.into_iter().map(tuple).collect()))
    }

    fn describe_column<'py>(py: Python<'py>, entry: &Column) -> PyResult<Bound<'py, PyDict>> {
        let encodings = ["raw", "constant", "varint", "delta", "slices"];
        let described = PyDict::new(py);
        described.set_item("id", entry.id)?;
        described.set_item("name", column::name(entry.id).unwrap_or("unknown"))?;
        described.set_item("optional", entry.flags & FLAG_OPTIONAL != 0)?;
        let encoding = encodings.get(usize::from(entry.encoding));
        described.set_item("encoding", encoding.copied().unwrap_or("unknown"))?;
        described.set_item("count", entry.count)?;
        described.set_item("size_bytes", entry.length)?;
        Ok(described)
    }

    fn describe_content(record: &Record<'_>, described: &Bound<'_, PyDict>) -> PyResult<()> {
        match record.kind {
            RecordKind::Samples => {
                let samples = decode_samples(record)?;
                described.set_item("sample_count", samples.columns.values.len())?;
                described.set_item("series_count", samples.ids.len())?;
                described.set_item("definition_count", samples.definitions.len())?;
                described.set_item("time_min_ns", samples.columns.times_ns.iter().min())?;
                described.set_item("time_max_ns", samples.columns.times_ns.iter().max())
            }
            RecordKind::Definitions => {
                let mut count = 0;
                each_definition(record, |_, _| {
                    count += 1;
                    Ok(())
                })?;
                described.set_item("definition_count", count)
            }
            RecordKind::Metadata => described.set_item("row_count", decode_metadata(record)?.len()),
            RecordKind::Attributes => {
                described.set_item("row_count", decode_attributes(record)?.len())
            }
            RecordKind::Delete => {
                let delete = decode_delete(record)?;
                described.set_item("matchers", delete.matchers)?;
                described.set_item("time_min_ns", delete.range.min_ns)?;
                described.set_item("time_max_ns", delete.range.max_ns)
            }
            RecordKind::Exemplars => Ok(()),
        }
    }

    #[pyfunction]
    fn describe_record<'py>(py: Python<'py>, record: &[u8]) -> PyResult<Bound<'py, PyDict>> {
        let size_bytes = record.len();
        let record = Record::parse(record)?;
        let described = PyDict::new(py);
        described.set_item("kind", record.kind.name())?;
        described.set_item("version", super::VERSION)?;
        described.set_item("tenant", record.tenant)?;
        described.set_item("epoch", record.epoch)?;
        described.set_item("shards", record.shards)?;
        described.set_item("size_bytes", size_bytes)?;
        let columns: PyResult<Vec<_>> = record
            .columns
            .iter()
            .map(|entry| describe_column(py, entry))
            .collect();
        described.set_item("columns", columns?)?;
        describe_content(&record, &described)?;
        Ok(described)
    }

    pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
        module.add_function(wrap_pyfunction!(record_kind, module)?)?;
        module.add_function(wrap_pyfunction!(encode_delete_record, module)?)?;
        module.add_function(wrap_pyfunction!(decode_delete_record, module)?)?;
        module.add_function(wrap_pyfunction!(encode_metadata_record, module)?)?;
        module.add_function(wrap_pyfunction!(decode_metadata_record, module)?)?;
        module.add_function(wrap_pyfunction!(encode_attributes_record, module)?)?;
        module.add_function(wrap_pyfunction!(decode_attributes_record, module)?)?;
        module.add_function(wrap_pyfunction!(describe_record, module)?)
    }
}
