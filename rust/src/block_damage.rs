//! What of a damaged block is lost: whose, of which times, and where it stands.
//!
//! `store` asks once a read has met damage; what it lists is shown to the operator. Reading stops
//! at the first fault, this goes on behind it.

use crate::block::Block;
use crate::block_layout::TenantRow;
use crate::block_reader::Kept;
use crate::error::Result;
use crate::rollup_pages::{ALL_COLUMNS, RowReader};
use crate::source::TimeRange;
use std::collections::BTreeSet;

/// Places that are listed of one block: beyond them nobody reads on.
const DAMAGE_MAX: usize = 64;

#[derive(Debug, PartialEq)]
pub struct Damage {
    /// None where it concerns every tenant of the block.
    pub tenant: Option<String>,
    pub range: TimeRange,
    pub cause: String,
}

/// Every place that cannot be read, up to `DAMAGE_MAX` of them.
pub fn find_damage(block: &Block) -> Vec<Damage> {
    let mut found: Vec<Damage> = block
        .sections()
        .iter()
        .filter_map(|section| section.verify(block.file()).err())
        .map(|error| Damage {
            tenant: None,
            range: block.time_range(),
            cause: error.to_string(),
        })
        .collect();
    if let Ok(rows) = block.tenants() {
        for row in &rows {
            check_tenant(block, row, &mut found);
        }
    }
    found.truncate(DAMAGE_MAX);
    found
}

fn check_tenant(block: &Block, row: &TenantRow, found: &mut Vec<Damage>) {
    let (mut kept, mut runs) = (Kept::default(), Vec::new());
    let (mut row_reader, mut rows) = (RowReader::new(block), Vec::new());
    let mut read = |ordinal, range| {
        if block.footer().resolution_ns != 0 {
            rows.clear();
            return row_reader.read(ordinal, range, ALL_COLUMNS, &mut rows);
        }
        runs.clear();
        kept.read(block, ordinal, range, &mut runs)
    };
    let everything = TimeRange {
        min_ns: row.min_ns,
        max_ns: row.max_ns,
    };
    for ordinal in row.series_first..row.series_first.saturating_add(row.series_count) {
        if read(ordinal, everything).is_ok() {
            continue;
        }
        for range in page_ranges(block, everything) {
            if found.len() >= DAMAGE_MAX {
                return;
            }
            if let Err(error) = read(ordinal, range) {
                let damage = Damage {
                    tenant: Some(row.tenant.clone()),
                    range,
                    cause: error.to_string(),
                };
                // Series of one time page all meet the same fault.
                if !found.contains(&damage) {
                    found.push(damage);
                }
            }
        }
    }
}

/// The times of the block's pages; where their directory cannot be read, all of them.
fn page_ranges(block: &Block, everything: TimeRange) -> Vec<TimeRange> {
    let entries: Result<BTreeSet<(i64, i64)>> = (0..block.footer().time_page_count)
        .map(|index| block.time_entry(index).map(|e| (e.min_ns, e.max_ns)))
        .collect();
    entries.map_or_else(
        |_| vec![everything],
        |ranges| {
            ranges
                .into_iter()
                .map(|(min_ns, max_ns)| TimeRange { min_ns, max_ns })
                .collect()
        },
    )
}
