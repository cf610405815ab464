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
