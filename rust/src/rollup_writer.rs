//! Rolling up: samples of closed days and the rows there are already become one coarse block.
//!
//! `store` calls `write_rollup` for the first roll-up of a day, for days that late samples or deletes
//! have touched, and to merge coarse blocks: one path, as with `compaction`. Of a day that is asked
//! for, rows are made anew from all samples; where the samples are gone, the old rows stay.

use crate::block_writer::{BlockOptions, BlockSummary, BlockWriter};
use crate::compaction::{Walk, lowest, step_over};
use crate::error::{CoreError, Result};
use crate::merge::merge_runs;
use crate::numeric::numbers;
use crate::retention::Keep;
use crate::rollup::{Row, bucket_floor, roll};
use crate::rollup_pages::ALL_COLUMNS;
use crate::series::SeriesView;
use crate::source::{Delete, Source, TimeRange, hidden_ranges};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

pub struct RollupRequest<'a> {
    pub raw: &'a [Arc<dyn Source>],
    /// Coarse blocks of this resolution that the new one replaces; they do not overlap.
    pub old: &'a [Arc<dyn Source>],
    pub deletes: &'a [Delete],
    /// What is made from samples: ascending, whole buckets.
    pub days: &'a [TimeRange],
    /// Tenants whose rules do not name the resolution are left out.
    pub keep: &'a BTreeMap<String, Keep>,
    pub options: BlockOptions,
    pub cancel: &'a AtomicBool,
}

/// Writes the block at `path`, durable but not yet known to anybody. It names every tenant that was
/// looked at, with rows or without; None (and no file) where there was none.
pub fn write_rollup(request: &RollupRequest<'_>, path: &Path) -> Result<Option<BlockSummary>> {
    let resolution_ns = request.options.resolution_ns;
    if resolution_ns <= 0 {
        return Err(CoreError::Invalid(format!(
            "cannot roll up to a resolution of {resolution_ns} ns"
        )));
    }
    let mut raw: Vec<&Arc<dyn Source>> = request.raw.iter().collect();
    raw.sort_by_key(|source| source.order());
    let sources = request.raw.iter().chain(request.old);
    let mut tenants = BTreeSet::new();
    for source in sources {
        tenants.extend(source.tenants()?);
    }
    let mut writer = BlockWriter::create(path, request.options)?;
    for tenant in tenants {
        let Some(keep) = request
            .keep
            .get(&tenant)
            .filter(|keep| keep.names(resolution_ns))
        else {
            continue;
        };
        writer.start_tenant(&tenant);
        roll_tenant(request, &raw, &tenant, keep, &mut writer)?;
    }
    writer.finish()
}

fn roll_tenant(
    request: &RollupRequest<'_>,
    raw: &[&Arc<dyn Source>],
    tenant: &str,
    keep: &Keep,
    writer: &mut BlockWriter,
) -> Result<()> {
    let days = match (request.days.first(), request.days.last()) {
        (Some(first), Some(last)) => Some(TimeRange {
            min_ns: first.min_ns,
            max_ns: last.max_ns,
        }),
        _ => None,
    };
    let everything = TimeRange {
        min_ns: i64::MIN,
        max_ns: i64::MAX,
    };
    let mut walks = Vec::new();
    for (place, (source, range)) in raw
        .iter()
        .filter_map(|source| days.map(|days| (source.as_ref(), days)))
        .chain(request.old.iter().map(|old| (old.as_ref(), everything)))
        .enumerate()
    {
        let mut walk = Walk::new(place, source, tenant, range)?;
        if walk.advance()? {
            walks.push(walk);
        }
    }
    while let Some(first) = lowest(&walks) {
        if request.cancel.load(Ordering::Relaxed) {
            return Err(CoreError::Unavailable(
                "cannot write a block: cancelled".into(),
            ));
        }
        let (canonical, id) = (walks[first].canonical.clone(), walks[first].id());
        let view = SeriesView::parse(&canonical)?;
        let (mut runs, mut old) = (Vec::new(), Vec::new());
        for walk in walks[first..]
            .iter_mut()
            .filter(|walk| walk.canonical == canonical)
        {
            match (walk.source.resolution_ns(), days) {
                (0, Some(days)) => walk.read(tenant, days, request.deletes, &view, &mut runs)?,
                _ => old_rows(request, tenant, &view, walk, &mut old)?,
            }
        }
        step_over(&mut walks, &canonical)?;
        let found = numbers(merge_runs(runs, &[]));
        let made = made_rows(
            request,
            keep.raw_from_ns(&view),
            &found.times_ns,
            &found.values,
        );
        let rows = kept_rows(request, keep, &view, join(old, made));
        if !rows.is_empty() {
            writer.add_rows(id, &view, &rows)?;
        }
    }
    Ok(())
}

/// Rows of one old block that no delete touches. Where the samples are still there a touched row is
/// made anew; where they are gone nothing less than the whole row can be taken away.
fn old_rows(
    request: &RollupRequest<'_>,
    tenant: &str,
    view: &SeriesView<'_>,
    walk: &Walk<'_>,
    out: &mut Vec<Row>,
) -> Result<()> {
    let everything = TimeRange {
        min_ns: i64::MIN,
        max_ns: i64::MAX,
    };
    let from = out.len();
    walk.source
        .rows(walk.ordinal(), everything, ALL_COLUMNS, out)?;
    let hidden = hidden_ranges(request.deletes, walk.source, tenant, view);
    if !hidden.is_empty() {
        let resolution_ns = request.options.resolution_ns;
        let mut rows = out.split_off(from);
        rows.retain(|row| !is_touched(row, resolution_ns, &hidden));
        out.append(&mut rows);
    }
    Ok(())
}

/// Whether a delete may have taken samples out of the row.
pub fn is_touched(row: &Row, resolution_ns: i64, hidden: &[TimeRange]) -> bool {
    let held = TimeRange {
        min_ns: if row.count > 0 {
            row.first_ns
        } else {
            row.end_ns.saturating_sub(resolution_ns - 1)
        },
        max_ns: if row.is_stale {
            row.end_ns
        } else {
            row.last_ns
        },
    };
    hidden.iter().any(|range| range.overlaps(&held))
}

/// The end of the last bucket that lacks samples which retention has taken.
pub fn gone_until(raw_from_ns: i64, resolution_ns: i64) -> i64 {
    if raw_from_ns == i64::MIN {
        return i64::MIN;
    }
    bucket_floor(raw_from_ns.saturating_add(resolution_ns - 2), resolution_ns)
}

fn made_rows(
    request: &RollupRequest<'_>,
    raw_from_ns: i64,
    times_ns: &[i64],
    values: &[f64],
) -> Vec<Row> {
    let resolution_ns = request.options.resolution_ns;
    let gone_until_ns = gone_until(raw_from_ns, resolution_ns);
    let mut rows = Vec::new();
    for day in request.days {
        let min_ns = day.min_ns.max(gone_until_ns.saturating_add(1));
        let from = times_ns.partition_point(|&time| time < min_ns);
        let to = times_ns.partition_point(|&time| time <= day.max_ns);
        if from < to {
            roll(
                &times_ns[from..to],
                &values[from..to],
                resolution_ns,
                &mut rows,
            );
        }
    }
    rows
}

/// Old rows and those made anew, ascending. Samples only vanish by deletes, which have taken out the
/// old row, and by retention: where fewer are left than the old row counted, the old row stays.
fn join(old: Vec<Row>, made: Vec<Row>) -> Vec<Row> {
    let mut rows: BTreeMap<i64, Row> = old.into_iter().map(|row| (row.end_ns, row)).collect();
    for row in made {
        let entry = rows.entry(row.end_ns).or_insert(row);
        if row.count >= entry.count {
            *entry = row;
        }
    }
    rows.into_values().collect()
}

fn kept_rows(
    request: &RollupRequest<'_>,
    keep: &Keep,
    view: &SeriesView<'_>,
    mut rows: Vec<Row>,
) -> Vec<Row> {
    if let Some(rule) = keep.rule_of(view) {
        let from_ns = rule.coarse_from_ns(request.options.resolution_ns);
        rows.retain(|row| row.end_ns >= from_ns);
    }
    rows
}

#[cfg(feature = "python")]
pub(crate) mod python {
    use super::RollupRequest;
    use crate::block_writer::BlockOptions;
    use crate::compaction::python::{PyCancellation, sources_of, to_dict};
    use crate::error::Result;
    use crate::pages::Effort;
    use crate::retention::python::{KeepRow, keeps_from_rows};
    use crate::source::TimeRange;
    use crate::source::python::{DeleteRow, PySource, deletes_from_rows};
    use pyo3::prelude::*;
    use pyo3::types::PyDict;
    use std::collections::BTreeMap;
    use std::path::PathBuf;

    #[pyfunction]
    #[pyo3(signature = (raw, old, deletes, path, *, resolution_ns, days, keep, offset_last=0,
        cancellation=None))]
    #[allow(clippy::too_many_arguments, clippy::needless_pass_by_value)]
    fn write_rollup<'py>(
        py: Python<'py>,
        raw: Vec<Bound<'py, PySource>>,
        old: Vec<Bound<'py, PySource>>,
        deletes: Vec<DeleteRow>,
        path: PathBuf,
        resolution_ns: i64,
        days: Vec<(i64, i64)>,
        keep: BTreeMap<String, Vec<KeepRow>>,
        offset_last: u64,
        cancellation: Option<Bound<'py, PyCancellation>>,
    ) -> PyResult<Option<Bound<'py, PyDict>>> {
        let (raw, old) = (sources_of(&raw), sources_of(&old));
        let cancel = PyCancellation::flag(cancellation.as_ref());
        let days: Vec<TimeRange> = days
            .into_iter()
            .map(|(min_ns, max_ns)| TimeRange { min_ns, max_ns })
            .collect();
        let summary: Result<_> = py.detach(|| {
            let request = RollupRequest {
                raw: &raw,
                old: &old,
                deletes: &deletes_from_rows(deletes)?,
                days: &days,
                keep: &keeps_from_rows(keep)?,
                options: BlockOptions {
                    effort: Effort::Small,
                    resolution_ns,
                    offset_first: 0,
                    offset_last,
                },
                cancel: &cancel,
            };
            super::write_rollup(&request, &path)
        });
        summary?.map(|summary| to_dict(py, &summary)).transpose()
    }

    pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
        module.add_function(wrap_pyfunction!(write_rollup, module)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(end_ns: i64, count: u64) -> Row {
        Row {
            end_ns,
            count,
            first_ns: end_ns - 9,
            last_ns: end_ns - 5,
            ..Row::default()
        }
    }

    #[test]
    fn what_is_made_anew_replaces_old_rows_unless_samples_are_gone() {
        let rows = join(
            vec![row(10, 5), row(20, 5), row(30, 5)],
            vec![row(20, 6), row(30, 4), row(40, 1)],
        );
        let counts: Vec<_> = rows.iter().map(|row| (row.end_ns, row.count)).collect();
        assert_eq!(counts, [(10, 5), (20, 6), (30, 5), (40, 1)]);
    }

    #[test]
    fn a_delete_touches_the_rows_whose_samples_it_meets() {
        let touched =
            |row: &Row, min_ns, max_ns| is_touched(row, 10, &[TimeRange { min_ns, max_ns }]);
        let plain = row(10, 5);
        assert!(!touched(&plain, -9, 0) && touched(&plain, -9, 1));
        assert!(touched(&plain, 5, 5) && !touched(&plain, 6, 20));
        let stale = Row {
            is_stale: true,
            ..plain
        };
        assert!(touched(&stale, 6, 20) && !touched(&stale, 11, 20));
    }

    #[test]
    fn a_bucket_is_whole_where_all_of_it_is_kept() {
        for (raw_from_ns, expected) in [(i64::MIN, i64::MIN), (0, 0), (1, 0), (2, 10), (11, 10)] {
            assert_eq!(gone_until(raw_from_ns, 10), expected, "{raw_from_ns}");
        }
    }
}
