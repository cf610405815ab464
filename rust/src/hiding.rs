//! What deletes and retention hide of a source, until a compaction has applied them.
//!
//! `snapshot` asks before it selects a series or lists a label: what is hidden wholly is not there.

use crate::error::Result;
use crate::merge::hide;
use crate::sample::Run;
use crate::series::SeriesView;
use crate::source::{Delete, RETENTION_OFFSET, Source, TimeRange};

pub enum HiddenPart {
    None,
    Some,
    All,
}

fn covers(range: &TimeRange, seen: &TimeRange) -> bool {
    range.min_ns <= seen.min_ns && seen.max_ns <= range.max_ns
}

/// What the range could see of a source; None where it holds nothing.
fn seen_of(source: &dyn Source, range: TimeRange) -> Option<TimeRange> {
    source.time_range().map(|own| TimeRange {
        min_ns: own.min_ns.max(range.min_ns),
        max_ns: own.max_ns.min(range.max_ns),
    })
}

/// How much of what the range could see in this source deletes may hide.
pub fn hidden_part(
    deletes: &[Delete],
    source: &dyn Source,
    tenant: &str,
    range: TimeRange,
) -> HiddenPart {
    let Some(seen) = seen_of(source, range) else {
        return HiddenPart::All;
    };
    let mut part = HiddenPart::None;
    for delete in deletes {
        if !delete.concerns(source, tenant) || !delete.range.overlaps(&seen) {
            continue;
        }
        if delete.is_for_all() && covers(&delete.range, &seen) {
            return HiddenPart::All;
        }
        if delete.offset != RETENTION_OFFSET {
            part = HiddenPart::Some;
        }
    }
    part
}

/// Whether deletes leave nothing of what the range could see of a series in this source. Where
/// one hides a part only its samples have to be looked at, until a compaction has applied it;
/// a series that retention has cut short counts as seen until then.
pub fn hides_all(
    deletes: &[Delete],
    source: &dyn Source,
    ordinal: u32,
    tenant: &str,
    series: &SeriesView<'_>,
    range: TimeRange,
) -> Result<bool> {
    let Some(seen) = seen_of(source, range) else {
        return Ok(true);
    };
    let (mut hidden, mut is_deleted) = (Vec::new(), false);
    for delete in deletes.iter().filter(|delete| {
        delete.range.overlaps(&seen) && delete.concerns(source, tenant) && delete.hides(series)
    }) {
        if covers(&delete.range, &seen) {
            return Ok(true);
        }
        is_deleted |= delete.offset != RETENTION_OFFSET;
        hidden.push(delete.range);
    }
    if !is_deleted {
        return Ok(false);
    }
    if source.resolution_ns() != 0 {
        // A row that a delete touches is judged when it is read.
        return Ok(false);
    }
    let mut runs = Vec::new();
    source.read(ordinal, seen, &mut runs)?;
    for run in &mut runs {
        hide(run, &hidden);
    }
    Ok(runs.iter().all(Run::is_empty))
}
