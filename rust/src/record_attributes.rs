//! Records of what writers say of series beside their identity: Warp 10's attributes
//! (docs/formats/record.md, kind 6). `store` keeps them; the head never sees them.

use crate::error::Result;
use crate::record::{Record, RecordKind, SLICES, Writer, column, corrupt, slices};
use crate::series::{SHARD_COUNT, SeriesView};
use crate::varint;

const ALL_SHARDS: (u16, u16) = (0, SHARD_COUNT - 1);

/// Replaces what was known of the series; no pairs forget it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttributesRow {
    /// Canonical bytes.
    pub series: Vec<u8>,
    pub pairs: Vec<(String, String)>,
}

pub fn encode_attributes(tenant: &str, epoch: u64, rows: &[AttributesRow]) -> Result<Vec<u8>> {
    let mut writer = Writer::new(RecordKind::Attributes, rows.len() * 64);
    writer.column(column::ATTRIBUTES, 0, SLICES, rows.len() * 2, |out| {
        for row in rows {
            varint::put_slice(out, &row.series);
            let mut pairs = Vec::new();
            for (name, value) in &row.pairs {
                varint::put_slice(&mut pairs, name.as_bytes());
                varint::put_slice(&mut pairs, value.as_bytes());
            }
            varint::put_slice(out, &pairs);
        }
    });
    writer.finish(tenant, epoch, ALL_SHARDS)
}

pub fn decode_attributes(record: &Record<'_>) -> Result<Vec<AttributesRow>> {
    record.expect(RecordKind::Attributes, &[column::ATTRIBUTES])?;
    let found = slices(record.require(column::ATTRIBUTES)?)?;
    let row = |row: &[&[u8]]| match *row {
        [series, pairs] => {
            SeriesView::parse(series)?;
            Ok(AttributesRow {
                series: series.to_vec(),
                pairs: read_pairs(pairs)?,
            })
        }
        _ => Err(corrupt("a row of attributes is not whole")),
    };
    found.chunks(2).map(row).collect()
}

fn read_pairs(bytes: &[u8]) -> Result<Vec<(String, String)>> {
    let mut pairs = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let name = text(varint::get_slice(bytes, &mut at)?)?;
        let value = text(varint::get_slice(bytes, &mut at)?)?;
        pairs.push((name, value));
    }
    Ok(pairs)
}

fn text(bytes: &[u8]) -> Result<String> {
    String::from_utf8(bytes.to_vec()).map_err(|_| corrupt("an attribute is not UTF-8"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::series::canonical;
    use proptest::prelude::*;

    fn rows() -> Vec<AttributesRow> {
        let series = canonical("cpu", "user", &mut vec![("host", "a")]).unwrap();
        let pairs = vec![
            ("unit".into(), "°C".into()),
            ("empty".into(), String::new()),
        ];
        let bare = canonical("up", "", &mut vec![]).unwrap();
        vec![
            AttributesRow { series, pairs },
            AttributesRow {
                series: bare,
                pairs: vec![],
            },
        ]
    }

    #[test]
    fn the_golden_file_still_reads() {
        let path = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../tests/golden/formats/record_attributes_v1.bin"
        );
        let written = encode_attributes("acme", 7, &rows()).unwrap();
        if std::env::var_os("ORRERY_WRITE_GOLDEN").is_some() {
            std::fs::write(path, &written).unwrap();
        }
        let file = std::fs::read(path).unwrap();
        assert!(
            file == written,
            "what is written now differs from release 1"
        );
        let record = Record::parse(&file).unwrap();
        assert_eq!(decode_attributes(&record).unwrap(), rows());
    }

    proptest! {
        #[test]
        fn damaged_bytes_are_refused(at: prop::sample::Index, byte: u8) {
            let mut bytes = encode_attributes("t", 1, &rows()).unwrap();
            let end = bytes.len() - 4;
            bytes[12 + at.index(end - 12)] = byte;
            let checksum = crc32c::crc32c(&bytes[..end]);
            bytes[end..].copy_from_slice(&checksum.to_le_bytes());
            if let Ok(record) = Record::parse(&bytes) {
                let _ = decode_attributes(&record);
            }
        }
    }
}
