//! Records of samples: columns key by key, ids of their series, definitions of new ones.
//!
//! Encoding is on the way of every written sample: a few nanoseconds each.

use crate::error::Result;
use crate::record::{
    CONSTANT, Column, DELTA, RAW, Record, RecordKind, VARINT, Writer, column, corrupt, fixed, raw,
    slices, varints, write_slices, wrong_encoding, wrong_size,
};
use crate::record_sides::{read_sides, write_sides};
use crate::sample::{Kind, payload};
use crate::series::SeriesId;
use crate::sides::Sides;
use crate::varint;

/// Kinds of a column of samples.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kinds {
    Constant(Kind),
    Each(Vec<Kind>),
}

impl Kinds {
    #[inline]
    pub fn at(&self, sample: usize) -> Kind {
        match self {
            Self::Constant(kind) => *kind,
            Self::Each(kinds) => kinds[sample],
        }
    }

    /// The constant form where all are equal.
    pub fn of(kinds: &[Kind]) -> Self {
        match kinds.first() {
            None => Self::Constant(Kind::Float64),
            Some(&first) if all(kinds, |&kind| kind == first) => Self::Constant(first),
            Some(_) => Self::Each(kinds.to_vec()),
        }
    }

    /// How many of `sample_count` samples are of a kind.
    pub fn count(&self, wanted: Kind, sample_count: usize) -> usize {
        match self {
            Self::Constant(kind) if *kind == wanted => sample_count,
            Self::Constant(_) => 0,
            Self::Each(kinds) => kinds.iter().filter(|kind| **kind == wanted).count(),
        }
    }

    pub fn use_heap(&self) -> bool {
        match self {
            Self::Constant(kind) => kind.uses_heap(),
            Self::Each(kinds) => kinds.iter().any(|kind| kind.uses_heap()),
        }
    }
}

/// Whether all are so. None is skipped: looking at all is faster than to stop at the first that is
/// not, as hardly one is in the columns of a write.
pub fn all<T>(column: &[T], is_so: impl Fn(&T) -> bool) -> bool {
    column.iter().filter(|&one| !is_so(one)).count() == 0
}

/// Columns of samples, key by key as in a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Columns {
    /// One behind the last sample of each key.
    pub key_ends: Vec<u32>,
    pub times_ns: Vec<i64>,
    /// Bits, as in `sample::Run`; payloads stand in `heap`.
    pub values: Vec<u64>,
    pub kinds: Kinds,
    pub heap: Vec<u8>,
    pub sides: Sides,
}

/// What a samples record says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Samples {
    pub ids: Vec<SeriesId>,
    /// For each key its place in `ids`; None where key and id stand at the same place.
    pub key_series: Option<Vec<u32>>,
    pub columns: Columns,
    /// Canonical bytes of series that the writer had not yet defined in this epoch.
    pub definitions: Vec<Vec<u8>>,
}

const SAMPLES_COLUMNS: [u16; 11] = [
    column::SERIES_IDS,
    column::KEY_SERIES,
    column::KEY_COUNTS,
    column::TIMES,
    column::VALUES,
    column::KINDS,
    column::HEAP,
    column::DEFINITIONS,
    column::START_TIMES,
    column::POSITIONS,
    column::ELEVATIONS,
];

/// What `encode_samples` writes, borrowed.
pub struct SamplesView<'a> {
    pub ids: &'a [SeriesId],
    pub key_series: Option<&'a [u32]>,
    pub columns: &'a Columns,
    pub definitions: &'a [Vec<u8>],
}

pub fn encode_samples(
    tenant: &str,
    epoch: u64,
    shards: (u16, u16),
    view: &SamplesView<'_>,
) -> Result<Vec<u8>> {
    let columns = view.columns;
    let defined: usize = view.definitions.iter().map(|bytes| bytes.len() + 4).sum();
    let size = view.ids.len() * 20 + columns.values.len() * 12 + columns.heap.len() + defined;
    let mut writer = Writer::new(RecordKind::Samples, size);
    writer.column(column::SERIES_IDS, 0, RAW, view.ids.len(), |out| {
        put_all(out, view.ids, u128::to_le_bytes);
    });
    if let Some(key_series) = view.key_series {
        writer.column(column::KEY_SERIES, 0, VARINT, key_series.len(), |out| {
            for &series in key_series {
                varint::put(out, u64::from(series));
            }
        });
    }
    write_counts(&mut writer, &columns.key_ends);
    write_times(&mut writer, column::TIMES, &columns.times_ns);
    writer.column(column::VALUES, 0, RAW, columns.values.len(), |out| {
        put_all(out, &columns.values, u64::to_le_bytes);
    });
    write_kinds(&mut writer, &columns.kinds, columns.values.len());
    if !columns.heap.is_empty() {
        writer.column(column::HEAP, 0, RAW, columns.heap.len(), |out| {
            out.extend_from_slice(&columns.heap);
        });
    }
    if !view.definitions.is_empty() {
        write_slices(&mut writer, column::DEFINITIONS, view.definitions);
    }
    write_sides(&mut writer, &columns.sides);
    writer.finish(tenant, epoch, shards)
}

/// Appends numbers of one width. Made room for at once, they are copied many at a time.
fn put_all<T: Copy, const N: usize>(
    out: &mut Vec<u8>,
    numbers: &[T],
    bytes: impl Fn(T) -> [u8; N],
) {
    let start = out.len();
    out.resize(start + numbers.len() * N, 0);
    for (place, &number) in out[start..].chunks_exact_mut(N).zip(numbers) {
        place.copy_from_slice(&bytes(number));
    }
}

fn write_counts(writer: &mut Writer, key_ends: &[u32]) {
    let mut before = 0;
    let counts = key_ends.iter().map(|&end| {
        let count = end - before;
        before = end;
        count
    });
    let first = key_ends.first().copied().unwrap_or(0);
    let constant = key_ends
        .iter()
        .enumerate()
        .all(|(key, &end)| u64::from(end) == (key as u64 + 1) * u64::from(first));
    let encoding = if constant { CONSTANT } else { VARINT };
    writer.column(column::KEY_COUNTS, 0, encoding, key_ends.len(), |out| {
        if constant {
            varint::put(out, u64::from(first));
        } else {
            counts.for_each(|count| varint::put(out, u64::from(count)));
        }
    });
}

pub(crate) fn write_times(writer: &mut Writer, id: u16, times_ns: &[i64]) {
    let first = times_ns.first().copied().unwrap_or(0);
    let constant = all(times_ns, |&time_ns| time_ns == first);
    let encoding = if constant { CONSTANT } else { DELTA };
    writer.column(id, 0, encoding, times_ns.len(), |out| {
        if constant {
            out.extend_from_slice(&first.to_le_bytes());
            return;
        }
        let mut before = 0i64;
        for &time_ns in times_ns {
            varint::put(out, varint::zigzag(time_ns.wrapping_sub(before)));
            before = time_ns;
        }
    });
}

fn write_kinds(writer: &mut Writer, kinds: &Kinds, count: usize) {
    match kinds {
        Kinds::Constant(kind) => {
            writer.column(column::KINDS, 0, CONSTANT, count, |out| {
                out.push(*kind as u8);
            });
        }
        Kinds::Each(kinds) => writer.column(column::KINDS, 0, RAW, count, |out| {
            out.extend(kinds.iter().map(|&kind| kind as u8));
        }),
    }
}

pub fn decode_samples(record: &Record<'_>) -> Result<Samples> {
    record.expect(RecordKind::Samples, &SAMPLES_COLUMNS)?;
    let ids: Vec<SeriesId> = raw(record.require(column::SERIES_IDS)?)?
        .into_iter()
        .map(u128::from_le_bytes)
        .collect();
    let values: Vec<u64> = raw(record.require(column::VALUES)?)?
        .into_iter()
        .map(u64::from_le_bytes)
        .collect();
    let key_series = match record.find(column::KEY_SERIES) {
        None => None,
        Some(column) => Some(read_key_series(column, ids.len())?),
    };
    let key_count = key_series.as_ref().map_or(ids.len(), Vec::len);
    let columns = Columns {
        key_ends: read_counts(record.require(column::KEY_COUNTS)?, key_count, values.len())?,
        times_ns: read_times(record.require(column::TIMES)?, values.len())?,
        kinds: read_kinds(record.require(column::KINDS)?, values.len())?,
        heap: record
            .find(column::HEAP)
            .map_or_else(Vec::new, |(_, bytes)| bytes.to_vec()),
        sides: read_sides(record, values.len())?,
        values,
    };
    check_payloads(&columns)?;
    Ok(Samples {
        ids,
        key_series,
        columns,
        definitions: read_definitions(record)?,
    })
}

pub fn read_definitions(record: &Record<'_>) -> Result<Vec<Vec<u8>>> {
    let definitions = record.find(column::DEFINITIONS).map(slices).transpose()?;
    Ok(definitions
        .into_iter()
        .flatten()
        .map(<[u8]>::to_vec)
        .collect())
}

fn read_key_series((column, bytes): (Column, &[u8]), id_count: usize) -> Result<Vec<u32>> {
    if column.encoding != VARINT {
        return Err(wrong_encoding(column));
    }
    let found = varints(column, bytes)?;
    if found.iter().any(|&series| series >= id_count as u64) {
        return Err(corrupt("a key names a series that is not there"));
    }
    Ok(found.into_iter().map(|series| series as u32).collect())
}

fn read_counts(
    (column, bytes): (Column, &[u8]),
    key_count: usize,
    sample_count: usize,
) -> Result<Vec<u32>> {
    if column.count as usize != key_count {
        return Err(wrong_size(column));
    }
    let counts = match column.encoding {
        CONSTANT => vec![varint::get(bytes, &mut 0)?; key_count],
        VARINT => varints(column, bytes)?,
        _ => return Err(wrong_encoding(column)),
    };
    let mut end = 0u64;
    let mut ends = Vec::with_capacity(key_count);
    for count in counts {
        end = end.saturating_add(count);
        ends.push(end as u32);
    }
    if end != sample_count as u64 {
        return Err(corrupt("its keys do not own as many samples as it has"));
    }
    Ok(ends)
}

pub(crate) fn read_times(
    (column, bytes): (Column, &[u8]),
    sample_count: usize,
) -> Result<Vec<i64>> {
    if column.count as usize != sample_count {
        return Err(wrong_size(column));
    }
    match column.encoding {
        CONSTANT => Ok(vec![i64::from_le_bytes(fixed(bytes, 0)?); sample_count]),
        RAW => Ok(raw((column, bytes))?
            .into_iter()
            .map(i64::from_le_bytes)
            .collect()),
        DELTA => {
            let mut time_ns = 0i64;
            let mut times_ns = Vec::with_capacity(sample_count);
            for difference in varints(column, bytes)? {
                time_ns = time_ns.wrapping_add(varint::unzigzag(difference));
                times_ns.push(time_ns);
            }
            Ok(times_ns)
        }
        _ => Err(wrong_encoding(column)),
    }
}

fn read_kinds((column, bytes): (Column, &[u8]), sample_count: usize) -> Result<Kinds> {
    if column.count as usize != sample_count {
        return Err(wrong_size(column));
    }
    match column.encoding {
        CONSTANT => Ok(Kinds::Constant(Kind::from_u8(fixed::<1>(bytes, 0)?[0])?)),
        RAW => {
            if bytes.len() != sample_count {
                return Err(wrong_size(column));
            }
            let kinds: Result<Vec<Kind>> =
                bytes.iter().map(|&number| Kind::from_u8(number)).collect();
            Ok(Kinds::Each(kinds?))
        }
        _ => Err(wrong_encoding(column)),
    }
}

fn check_payloads(columns: &Columns) -> Result<()> {
    if !columns.kinds.use_heap() {
        return Ok(());
    }
    for (sample, &bits) in columns.values.iter().enumerate() {
        if columns.kinds.at(sample).uses_heap() && payload(&columns.heap, bits).is_none() {
            return Err(corrupt("a payload lies outside of its heap"));
        }
    }
    Ok(())
}
