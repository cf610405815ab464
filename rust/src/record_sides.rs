//! Side columns in a record of samples: three columns that are there only where they are needed.

use crate::error::Result;
use crate::record::{Record, Writer, column};
use crate::record_samples::{read_times, write_times};
use crate::sides::{SIDE_COLUMNS, SideColumn, Sides};

fn id_of(column: SideColumn) -> u16 {
    match column {
        SideColumn::StartTime => column::START_TIMES,
        SideColumn::Position => column::POSITIONS,
        SideColumn::Elevation => column::ELEVATIONS,
    }
}

pub fn write_sides(writer: &mut Writer, sides: &Sides) {
    for column in SIDE_COLUMNS {
        let bits = sides.column(column);
        if !bits.is_empty() {
            write_times(writer, id_of(column), bits);
        }
    }
}

pub fn read_sides(record: &Record<'_>, sample_count: usize) -> Result<Sides> {
    let mut sides = Sides::default();
    for column in SIDE_COLUMNS {
        if let Some(found) = record.find(id_of(column)) {
            sides.set(column, read_times(found, sample_count)?);
        }
    }
    Ok(sides)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record_samples::{Columns, Kinds, SamplesView, decode_samples, encode_samples};
    use crate::sample::Kind;
    use crate::sides::{NO_SIDE, Side};
    use proptest::prelude::*;

    fn columns(rows: &[Side]) -> Columns {
        let mut sides = Sides::default();
        for (count, &side) in rows.iter().enumerate() {
            sides.push(count, side);
        }
        let count = rows.len() as u32;
        Columns {
            key_ends: vec![count],
            times_ns: (0..i64::from(count)).collect(),
            values: vec![7; rows.len()],
            kinds: Kinds::Constant(Kind::Int64),
            heap: Vec::new(),
            sides,
        }
    }

    fn encode(columns: &Columns) -> Vec<u8> {
        let view = SamplesView {
            ids: &[1],
            key_series: None,
            columns,
            definitions: &[],
        };
        encode_samples("acme", 7, (0, 1023), &view).unwrap()
    }

    /// Beside the file of all kinds: a record with all side columns, and one with positions alone.
    #[test]
    fn the_golden_file_still_reads() {
        let path = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../tests/golden/formats/record_v1_sides.bin"
        );
        let all = columns(&[[1_000, 1 << 62, -5], NO_SIDE, [-1, -1, 8_848_860]]);
        let positions = columns(&[[NO_SIDE[0], 77, NO_SIDE[2]]; 4]);
        let written: Vec<u8> = [&all, &positions]
            .iter()
            .flat_map(|columns| {
                let record = encode(columns);
                [&(record.len() as u32).to_le_bytes()[..], &record].concat()
            })
            .collect();
        if std::env::var_os("ORRERY_WRITE_GOLDEN").is_some() {
            std::fs::write(path, &written).unwrap();
        }
        let file = std::fs::read(path).unwrap();
        assert!(file == written, "what is written now differs");
        let size = u32::from_le_bytes(file[..4].try_into().unwrap()) as usize;
        for (bytes, expected) in [(&file[4..4 + size], all), (&file[8 + size..], positions)] {
            let record = Record::parse(bytes).unwrap();
            assert_eq!(decode_samples(&record).unwrap().columns, expected);
        }
    }

    #[test]
    fn a_release_that_knows_none_of_them_stops() {
        let bytes = encode(&columns(&[[1, 2, 3]]));
        let record = Record::parse(&bytes).unwrap();
        for id in [column::START_TIMES, column::POSITIONS, column::ELEVATIONS] {
            let known: Vec<u16> = (1..=15).filter(|&other| other != id).collect();
            let error = record.expect(record.kind, &known).unwrap_err();
            assert!(error.to_string().contains("not known to this release"));
        }
    }

    proptest! {
        #[test]
        fn round_trips(rows in prop::collection::vec(any::<Side>(), 1..9)) {
            let columns = columns(&rows);
            let bytes = encode(&columns);
            let decoded = decode_samples(&Record::parse(&bytes).unwrap()).unwrap();
            prop_assert_eq!(decoded.columns, columns);
        }
    }
}
