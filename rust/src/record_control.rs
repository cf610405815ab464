//! Records without samples: definitions (checkpoints), metadata, deletes; and what `inspect` shows.

use crate::batch::MetadataRow;
use crate::error::Result;
use crate::record::{
    FLAG_OPTIONAL, RAW, Record, RecordKind, SLICES, Writer, column, corrupt, raw, slices,
    write_slices,
};
use crate::selector::Matcher;
use crate::series::SHARD_COUNT;
use crate::source::TimeRange;
use crate::varint;

const ALL_SHARDS: (u16, u16) = (0, SHARD_COUNT - 1);

/// A matcher as it is written: label, operator, value.
pub type MatcherTriple = (String, String, String);

/// Definitions of series on their way into a record.
#[derive(Debug, Default)]
pub struct Definitions {
    canonical: Vec<u8>,
    last_sample_ns: Vec<i64>,
}

impl Definitions {
    /// Adds canonical bytes and the time of the last sample (`i64::MIN` where there is none).
    pub fn push(&mut self, canonical: &[u8], last_sample_ns: i64) {
        varint::put_slice(&mut self.canonical, canonical);
        self.last_sample_ns.push(last_sample_ns);
    }

    pub fn len(&self) -> usize {
        self.last_sample_ns.len()
    }

    pub fn is_empty(&self) -> bool {
        self.last_sample_ns.is_empty()
    }

    pub fn encode(&self, tenant: &str, epoch: u64) -> Result<Vec<u8>> {
        let count = self.len();
        let size = self.canonical.len() + count * 8;
        let mut writer = Writer::new(RecordKind::Definitions, size);
        writer.column(column::DEFINITIONS, 0, SLICES, count, |out| {
            out.extend_from_slice(&self.canonical);
        });
        let id = column::LAST_SAMPLE_TIMES;
        writer.column(id, FLAG_OPTIONAL, RAW, count, |out| {
            for last_sample_ns in &self.last_sample_ns {
                out.extend_from_slice(&last_sample_ns.to_le_bytes());
            }
        });
        writer.finish(tenant, epoch, ALL_SHARDS)
    }
}

/// Calls `visit` with the canonical bytes and the last sample of each definition.
pub fn each_definition(
    record: &Record<'_>,
    mut visit: impl FnMut(&[u8], i64) -> Result<()>,
) -> Result<()> {
    let known = [column::DEFINITIONS, column::LAST_SAMPLE_TIMES];
    record.expect(RecordKind::Definitions, &known)?;
    let canonical = slices(record.require(column::DEFINITIONS)?)?;
    let times_ns: Vec<i64> = match record.find(column::LAST_SAMPLE_TIMES) {
        None => vec![i64::MIN; canonical.len()],
        Some(column) => raw(column)?.into_iter().map(i64::from_le_bytes).collect(),
    };
    if times_ns.len() != canonical.len() {
        return Err(corrupt(
            "definitions and last sample times differ in number",
        ));
    }
    let mut both = canonical.into_iter().zip(times_ns);
    both.try_for_each(|(canonical, last_sample_ns)| visit(canonical, last_sample_ns))
}

pub fn encode_metadata(tenant: &str, epoch: u64, rows: &[MetadataRow]) -> Result<Vec<u8>> {
    let texts: Vec<&str> = rows
        .iter()
        .flat_map(|row| [&*row.name, &*row.kind, &*row.help, &*row.unit])
        .collect();
    let size = texts.iter().map(|text| text.len() + 4).sum();
    let mut writer = Writer::new(RecordKind::Metadata, size);
    write_slices(&mut writer, column::METADATA, &texts);
    writer.finish(tenant, epoch, ALL_SHARDS)
}

pub fn decode_metadata(record: &Record<'_>) -> Result<Vec<MetadataRow>> {
    record.expect(RecordKind::Metadata, &[column::METADATA])?;
    let texts = texts(slices(record.require(column::METADATA)?)?)?;
    let row = |row: &[String]| match row {
        [name, kind, help, unit] => Ok(MetadataRow {
            name: name.clone(),
            kind: kind.clone(),
            help: help.clone(),
            unit: unit.clone(),
        }),
        _ => Err(corrupt("a row of metadata is not whole")),
    };
    texts.chunks(4).map(row).collect()
}

/// What a delete hides: samples of the matching series inside the range, at smaller offsets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeleteOrder {
    pub matchers: Vec<MatcherTriple>,
    pub range: TimeRange,
}

/// Refuses matchers that a replay could not parse.
pub fn encode_delete(tenant: &str, epoch: u64, delete: &DeleteOrder) -> Result<Vec<u8>> {
    let texts: Vec<&str> = delete
        .matchers
        .iter()
        .flat_map(|(label, operator, value)| [&**label, &**operator, &**value])
        .collect();
    Matcher::parse_all(&delete.matchers)?;
    let mut writer = Writer::new(RecordKind::Delete, 256);
    write_slices(&mut writer, column::MATCHERS, &texts);
    writer.column(column::RANGE, 0, RAW, 2, |out| {
        out.extend_from_slice(&delete.range.min_ns.to_le_bytes());
        out.extend_from_slice(&delete.range.max_ns.to_le_bytes());
    });
    writer.finish(tenant, epoch, ALL_SHARDS)
}

pub fn decode_delete(record: &Record<'_>) -> Result<DeleteOrder> {
    record.expect(RecordKind::Delete, &[column::MATCHERS, column::RANGE])?;
    let texts = texts(slices(record.require(column::MATCHERS)?)?)?;
    let triple = |triple: &[String]| match triple {
        [label, operator, value] => Ok((label.clone(), operator.clone(), value.clone())),
        _ => Err(corrupt("a matcher of a delete is not whole")),
    };
    let bounds: Vec<[u8; 8]> = raw(record.require(column::RANGE)?)?;
    let [min_ns, max_ns] = &bounds[..] else {
        return Err(corrupt("the range of a delete is not two times"));
    };
    Ok(DeleteOrder {
        matchers: texts.chunks(3).map(triple).collect::<Result<_>>()?,
        range: TimeRange {
            min_ns: i64::from_le_bytes(*min_ns),
            max_ns: i64::from_le_bytes(*max_ns),
        },
    })
}

fn texts(slices: Vec<&[u8]>) -> Result<Vec<String>> {
    slices
        .into_iter()
        .map(|slice| String::from_utf8(slice.to_vec()).map_err(|_| corrupt("a text is not UTF-8")))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record_samples::{
        Columns, Kinds, Samples, SamplesView, decode_samples, encode_samples,
    };
    use crate::sample::Kind;
    use crate::series::canonical;
    use crate::sides::Sides;
    use proptest::prelude::*;

    fn decode_any(bytes: &[u8]) -> Result<()> {
        let record = Record::parse(bytes)?;
        match record.kind {
            RecordKind::Samples => decode_samples(&record).map(|_| ()),
            RecordKind::Definitions => each_definition(&record, |_, _| Ok(())),
            RecordKind::Metadata => decode_metadata(&record).map(|_| ()),
            RecordKind::Delete => decode_delete(&record).map(|_| ()),
            RecordKind::Exemplars | RecordKind::Attributes => Ok(()),
        }
    }

    /// Every kind of a record and of a column, as release 1 writes them.
    fn golden() -> Vec<Vec<u8>> {
        let samples = golden_samples();
        let row = MetadataRow {
            name: "up".into(),
            kind: "gauge".into(),
            help: "Is it up?".into(),
            unit: String::new(),
        };
        let view = SamplesView {
            ids: &samples.ids,
            key_series: samples.key_series.as_deref(),
            columns: &samples.columns,
            definitions: &samples.definitions,
        };
        let mut definitions = Definitions::default();
        definitions.push(&samples.definitions[0], -5);
        vec![
            encode_samples("acme", 7, (3, 900), &view).unwrap(),
            definitions.encode("acme", 7).unwrap(),
            encode_metadata("acme", 8, &[row]).unwrap(),
            encode_delete("acme", 9, &golden_delete()).unwrap(),
        ]
    }

    fn golden_samples() -> Samples {
        let canonical = canonical("cpu", "user", &mut vec![("host", "a")]).unwrap();
        Samples {
            ids: vec![crate::series::series_id(&canonical), 2],
            key_series: Some(vec![0, 1, 0]),
            columns: Columns {
                key_ends: vec![1, 3, 4],
                times_ns: vec![1_000, 2_000, -1, i64::MAX],
                values: vec![1.5f64.to_bits(), 1 << 32 | 2, 7, 1],
                kinds: Kinds::Each(vec![Kind::Float64, Kind::String, Kind::Int64, Kind::Bool]),
                heap: b"abc".to_vec(),
                sides: Sides::default(),
            },
            definitions: vec![canonical],
        }
    }

    fn golden_delete() -> DeleteOrder {
        DeleteOrder {
            matchers: vec![("host".into(), "=~".into(), "a.*".into())],
            range: TimeRange {
                min_ns: -1,
                max_ns: 1,
            },
        }
    }

    #[test]
    fn the_golden_file_still_reads() {
        let path = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../tests/golden/formats/record_v1.bin"
        );
        let written: Vec<u8> = golden()
            .iter()
            .flat_map(|record| [&(record.len() as u32).to_le_bytes()[..], record].concat())
            .collect();
        if std::env::var_os("ORRERY_WRITE_GOLDEN").is_some() {
            std::fs::write(path, &written).unwrap();
        }
        let file = std::fs::read(path).unwrap();
        assert!(
            file == written,
            "what is written now differs from release 1"
        );
        let mut records = Vec::new();
        let mut at = 0;
        while at < file.len() {
            let size = u32::from_le_bytes(file[at..at + 4].try_into().unwrap()) as usize;
            records.push(Record::parse(&file[at + 4..at + 4 + size]).unwrap());
            at += 4 + size;
        }
        assert_eq!((records[0].tenant, records[0].epoch), ("acme", 7));
        assert_eq!(records[0].shards, (3, 900));
        assert_eq!(decode_samples(&records[0]).unwrap(), golden_samples());
        let mut definitions = Vec::new();
        let keep = |canonical: &[u8], last_sample_ns| {
            definitions.push((canonical.to_vec(), last_sample_ns));
            Ok(())
        };
        each_definition(&records[1], keep).unwrap();
        assert_eq!(definitions, [(golden_samples().definitions.remove(0), -5)]);
        assert_eq!(decode_metadata(&records[2]).unwrap()[0].help, "Is it up?");
        assert_eq!(decode_delete(&records[3]).unwrap(), golden_delete());
    }

    #[test]
    fn what_is_unknown_is_named_or_skipped() {
        let write = |kind, id, flags| {
            let mut writer = Writer::new(kind, 0);
            write_slices(&mut writer, column::METADATA, &["a", "b", "c", "d"]);
            writer.column(id, flags, RAW, 0, |_| ());
            writer.finish("t", 1, (0, 0)).unwrap()
        };
        let decode = |bytes: &[u8]| decode_metadata(&Record::parse(bytes).unwrap());
        let optional = write(RecordKind::Metadata, 99, FLAG_OPTIONAL);
        assert_eq!(decode(&optional).unwrap().len(), 1);
        let needed = decode(&write(RecordKind::Metadata, 99, 0)).unwrap_err();
        assert!(
            needed.to_string().contains("column 99 (unknown)"),
            "{needed}"
        );
        let reserved = decode(&write(RecordKind::Metadata, column::POSITIONS, 0)).unwrap_err();
        assert!(reserved.to_string().contains("positions"), "{reserved}");
        let other = decode(&write(RecordKind::Exemplars, 99, 1)).unwrap_err();
        assert!(other.to_string().contains("holds exemplars"), "{other}");
        let mut kind = optional.clone();
        kind[5] = 200;
        reseal(&mut kind);
        let error = Record::parse(&kind).unwrap_err().to_string();
        assert!(error.contains("kind 200 is unknown"), "{error}");
        kind[4] = 2;
        let error = Record::parse(&kind).unwrap_err().to_string();
        assert!(error.contains("format version 2 is unknown"), "{error}");
    }

    fn reseal(bytes: &mut [u8]) {
        let end = bytes.len() - 4;
        let checksum = crc32c::crc32c(&bytes[..end]);
        bytes[end..].copy_from_slice(&checksum.to_le_bytes());
    }

    #[test]
    fn every_flipped_bit_is_found() {
        for record in golden() {
            for at in 0..record.len() * 8 {
                let mut bytes = record.clone();
                bytes[at / 8] ^= 1 << (at % 8);
                assert!(Record::parse(&bytes).is_err(), "bit {at}");
            }
        }
    }

    proptest! {
        #[test]
        fn any_bytes_give_a_record_or_an_error(bytes: Vec<u8>) {
            let _ = decode_any(&bytes);
        }

        /// Damage under a checksum that holds reaches the column decoders.
        #[test]
        fn damaged_columns_give_values_or_an_error(
            which in 0usize..4,
            damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        ) {
            let mut bytes = golden().swap_remove(which);
            for (at, byte) in damage {
                let at = 12 + at.index(bytes.len() - 12);
                bytes[at] = byte;
            }
            reseal(&mut bytes);
            let _ = decode_any(&bytes);
        }

        #[test]
        fn samples_round_trip(
            keys in prop::collection::vec((0u32..4, prop::collection::vec((any::<i64>(), any::<u64>(), 1u8..5), 0..4)), 0..8),
            constant: bool,
            identity: bool,
        ) {
            let mut columns = Columns {
                key_ends: vec![], times_ns: vec![], values: vec![], kinds: Kinds::Constant(Kind::Float64), heap: vec![],
                sides: Sides::default(),
            };
            let mut kinds = Vec::new();
            for (_, samples) in &keys {
                for &(time_ns, bits, kind) in samples {
                    columns.times_ns.push(if constant { 5 } else { time_ns });
                    columns.values.push(bits);
                    kinds.push(Kind::from_u8(if constant { 1 } else { kind }).unwrap());
                }
                columns.key_ends.push(columns.values.len() as u32);
            }
            columns.kinds = Kinds::of(&kinds);
            let (ids, key_series) = if identity {
                (keys.iter().enumerate().map(|(at, _)| at as u128).collect(), None)
            } else {
                (vec![10, 11, 12, 13], Some(keys.iter().map(|(series, _)| *series).collect()))
            };
            let samples = Samples { ids, key_series, columns, definitions: vec![b"x".to_vec()] };
            let view = SamplesView {
                ids: &samples.ids,
                key_series: samples.key_series.as_deref(),
                columns: &samples.columns,
                definitions: &samples.definitions,
            };
            let bytes = encode_samples("t", 1, (0, 1), &view).unwrap();
            prop_assert_eq!(decode_samples(&Record::parse(&bytes).unwrap()).unwrap(), samples);
        }
    }
}
