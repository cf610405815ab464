//! Reads series by their coarse rows: which steps of a question are answered from which resolution,
//! and the rows of a stretch of time, from coarse blocks where they are true and from samples where
//! those know better.
//!
//! `snapshot` asks here where a language accepts a resolution. A row is true where its day is rolled
//! up with all that is flushed (`covered`), no sample of the head lies in its bucket, and no delete
//! since has touched it. All others are made from samples here, by the code that rolls up, so that
//! the seam does not show.

use crate::error::Result;
use crate::meter::Meter;
use crate::retention::{Keep, KeepRule};
use crate::rollup::{Row, bucket_end, bucket_floor, roll};
use crate::rollup_pages::{ALL_COLUMNS, Column, bit};
use crate::rollup_window::{self, looks_at_newest, whole_buckets};
use crate::rollup_writer::{gone_until, is_touched};
use crate::series::SeriesView;
use crate::snapshot::{Readers, Selection};
use crate::source::{RETENTION_OFFSET, TimeRange, hidden_ranges};
use crate::window::{self, Function, Steps};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// One resolution that a tenant has rows of.
#[derive(Debug, Clone, PartialEq)]
pub struct Level {
    pub resolution_ns: i64,
    /// Where rows hold all that is flushed; whole buckets, ascending, not touching each other.
    pub covered: Vec<TimeRange>,
}

/// What coarse data one tenant has, by rising resolution, and how long it keeps what.
#[derive(Debug, Clone, Default)]
pub struct Coarse {
    pub levels: Vec<Level>,
    pub keep: Keep,
}

/// How one selection may use coarse data.
#[derive(Debug)]
pub struct Reading {
    coarse: Arc<Coarse>,
    /// The finest resolution that may be used while it is kept; 0 is the samples.
    finest_ns: i64,
    /// Bit `n + 1`: level `n` gave an answer.
    used: AtomicU64,
    moved: AtomicBool,
}

impl Reading {
    pub fn new(coarse: Arc<Coarse>, finest_ns: i64) -> Self {
        Self {
            coarse,
            finest_ns,
            used: AtomicU64::new(0),
            moved: AtomicBool::new(false),
        }
    }

    pub fn finest_ns(&self) -> i64 {
        self.finest_ns
    }

    fn levels(&self) -> impl Iterator<Item = &Level> {
        let finest_ns = self.finest_ns.max(1);
        let is_allowed = move |level: &&Level| level.resolution_ns >= finest_ns;
        self.coarse.levels.iter().filter(is_allowed)
    }

    /// How far beside its windows a question may look.
    pub fn reach_ns(&self) -> i64 {
        let longest_ns = self.levels().map(|level| level.resolution_ns).max();
        longest_ns.unwrap_or(0).saturating_mul(2)
    }

    /// Where rows of the finest resolution stand for all samples.
    pub fn covers(&self, range: TimeRange) -> bool {
        let finest = self
            .levels()
            .next()
            .filter(|level| level.resolution_ns == self.finest_ns);
        finest.is_some_and(|level| {
            let inside = |own: &TimeRange| own.min_ns <= range.min_ns && range.max_ns <= own.max_ns;
            level.covered.iter().any(inside)
        })
    }

    /// Resolutions that gave an answer, rising.
    pub fn used_ns(&self) -> Vec<i64> {
        let used = self.used.load(Ordering::Relaxed);
        let levels = self.coarse.levels.iter().enumerate();
        levels
            .filter(|(at, _)| used & (2 << at) != 0)
            .map(|(_, level)| level.resolution_ns)
            .collect()
    }

    /// Whether windows were moved or cut to whole buckets.
    pub fn has_moved(&self) -> bool {
        self.moved.load(Ordering::Relaxed)
    }

    fn note(&self, level: &Level) {
        let is_it = |one: &Level| one.resolution_ns == level.resolution_ns;
        if let Some(at) = self.coarse.levels.iter().position(is_it) {
            self.used.fetch_or(2 << at, Ordering::Relaxed);
        }
    }
}

fn columns_of(function: Function) -> u16 {
    let own = match function {
        Function::Min => bit(Column::Min),
        Function::Max => bit(Column::Max),
        Function::Sum | Function::Avg => bit(Column::Sum),
        Function::Instant | Function::Timestamp => {
            bit(Column::Last) | bit(Column::LastBefore) | bit(Column::Stale)
        }
        Function::Last | Function::TimeOfLast => bit(Column::Last) | bit(Column::LastBefore),
        Function::First => bit(Column::First),
        Function::TimeOfFirst => bit(Column::FirstBefore),
        Function::Count | Function::Present => 0,
        Function::Resets => bit(Column::First) | bit(Column::Last) | bit(Column::Resets),
        _ => ALL_COLUMNS ^ bit(Column::Min) ^ bit(Column::Max) ^ bit(Column::Sum),
    };
    own | bit(Column::Count)
}

/// The steps `first..end` are answered from `level`; None is the samples.
struct Part<'a> {
    level: Option<&'a Level>,
    first: usize,
    end: usize,
}

/// Splits steps by the finest resolution that is still kept over a step's whole window: what is older
/// comes from coarser ones.
fn parts<'a>(
    reading: &'a Reading,
    rule: Option<&KeepRule>,
    function: Function,
    steps: &Steps,
) -> Vec<Part<'a>> {
    let raw =
        (reading.finest_ns == 0).then(|| (None, rule.map_or(i64::MIN, |rule| rule.raw_from_ns)));
    let coarse = reading.levels().map(|level| {
        let from_ns = rule.map_or(i64::MIN, |rule| rule.coarse_from_ns(level.resolution_ns));
        (Some(level), from_ns)
    });
    let ladder: Vec<(Option<&Level>, i64)> = raw.into_iter().chain(coarse).collect();
    let mut parts: Vec<Part<'_>> = Vec::new();
    for step in 0..steps.count() {
        // What looks at the newest sample alone finds it as long as its window's end is kept.
        let edges = steps.edges(step);
        let seen_ns = if looks_at_newest(function) && reading.finest_ns > 0 {
            edges.end_ns
        } else {
            edges.start_ns.saturating_add(1)
        };
        let kept = ladder.iter().find(|(_, from_ns)| seen_ns >= *from_ns);
        let level = kept.or(ladder.last()).and_then(|(level, _)| *level);
        match parts.last_mut() {
            Some(part) if part.level == level => part.end = step + 1,
            _ => parts.push(Part {
                level,
                first: step,
                end: step + 1,
            }),
        }
    }
    parts
}

impl Selection {
    /// One row of an answer, from samples and buckets as they are kept.
    pub(crate) fn coarse_window<'a>(
        &'a self,
        reading: &Reading,
        readers: &mut Readers<'a>,
        at: usize,
        (function, steps): (Function, &Steps),
        row: &mut window::Row<'_>,
        meter: &Meter,
    ) -> Result<()> {
        let canonical = self.canonical(at)?;
        let view = SeriesView::parse(&canonical)?;
        let rule = reading.coarse.keep.rule_of(&view);
        for part in parts(reading, rule, function, steps) {
            let steps = steps.part(part.first, part.end - part.first);
            let row = window::Row {
                values: &mut row.values[part.first..part.end],
                present: &mut row.present[part.first..part.end],
            };
            let Some(level) = part.level else {
                self.raw_window(readers, at, function, &steps, row, meter)?;
                continue;
            };
            let newest = looks_at_newest(function);
            let resolution_ns = level.resolution_ns;
            let whole = |step| whole_buckets(steps.edges(step), resolution_ns, newest);
            let (first, last) = (whole(0), whole(steps.count() - 1));
            let wanted = Wanted {
                level,
                rule,
                view: &view,
                columns: columns_of(function),
                from_ns: bucket_floor(first.start_ns, resolution_ns),
                until_ns: last.end_ns,
            };
            let mut rows = self.rows(readers, at, &wanted, meter)?;
            let is_moved = (0..steps.count().min(2)).any(|step| {
                let (edges, whole) = (steps.edges(step), whole(step));
                (edges.start_ns, edges.end_ns) != (whole.start_ns, whole.end_ns)
            });
            let present = &mut *row.present;
            let seen = window::Row {
                values: row.values,
                present: &mut *present,
            };
            rollup_window::run(function, &mut rows, &steps, resolution_ns, seen, meter)?;
            if present.contains(&true) {
                reading.note(level);
                reading.moved.fetch_or(is_moved, Ordering::Relaxed);
            }
        }
        Ok(())
    }

    /// The true rows of one series that end in `(from, until]`, ascending.
    fn rows<'a>(
        &'a self,
        readers: &mut Readers<'a>,
        at: usize,
        wanted: &Wanted<'_>,
        meter: &Meter,
    ) -> Result<Vec<Row>> {
        let resolution_ns = wanted.level.resolution_ns;
        let raw_from_ns = wanted.rule.map_or(i64::MIN, |rule| rule.raw_from_ns);
        let gone_ns = gone_until(raw_from_ns, resolution_ns).clamp(wanted.from_ns, wanted.until_ns);
        let mut covered = wanted.covered();
        covered.add(wanted.from_ns, gone_ns);
        let mut dirty = self.unrolled(readers, at, wanted, &covered, meter)?;
        let mut rows = self.stored(at, wanted, &mut dirty, meter)?;
        let kept_ns = wanted
            .rule
            .map_or(i64::MIN, |rule| rule.coarse_from_ns(resolution_ns));
        // Where the samples are gone, a row that a late one would change stands as it is.
        rows.retain(|row| {
            let is_true = covered.holds(row.end_ns)
                && (row.end_ns <= gone_ns || !dirty.contains(&row.end_ns));
            is_true && row.end_ns >= kept_ns
        });
        for end_ns in dirty.into_iter().filter(|&end_ns| end_ns > gone_ns) {
            covered.remove(end_ns - resolution_ns, end_ns);
        }
        for (from_ns, until_ns) in covered.gaps(wanted.from_ns, wanted.until_ns) {
            let range = TimeRange {
                min_ns: from_ns.saturating_add(1),
                max_ns: until_ns,
            };
            let (times, values) = self.read_numbers(readers, at, range, meter)?;
            roll(&times, &values, resolution_ns, &mut rows);
        }
        rows.sort_by_key(|row| row.end_ns);
        Ok(rows)
    }

    /// Buckets in which the head holds samples: no roll-up has seen them.
    fn unrolled<'a>(
        &'a self,
        readers: &mut Readers<'a>,
        at: usize,
        wanted: &Wanted<'_>,
        covered: &Stretches,
        meter: &Meter,
    ) -> Result<BTreeSet<i64>> {
        let mut dirty = BTreeSet::new();
        let mut runs = Vec::new();
        for member in self.members_of(at) {
            let place = member.source as usize;
            let source = self.sources[place].as_ref();
            let Some(own) = source.time_range().filter(|_| source.is_head()) else {
                continue;
            };
            for &(from_ns, until_ns) in &covered.0 {
                let range = TimeRange {
                    min_ns: from_ns.saturating_add(1),
                    max_ns: until_ns,
                };
                if own.overlaps(&range) {
                    meter.check()?;
                    let reader = readers[place].get_or_insert_with(|| source.reader());
                    reader.read(member.ordinal, range, &mut runs)?;
                }
            }
        }
        for time_ns in runs.iter().flat_map(|run| &run.times_ns) {
            dirty.extend(bucket_end(*time_ns, wanted.level.resolution_ns));
        }
        Ok(dirty)
    }

    /// Rows as blocks hold them, without those that deletes touch, which join `dirty`.
    fn stored(
        &self,
        at: usize,
        wanted: &Wanted<'_>,
        dirty: &mut BTreeSet<i64>,
        meter: &Meter,
    ) -> Result<Vec<Row>> {
        let resolution_ns = wanted.level.resolution_ns;
        let range = TimeRange {
            min_ns: wanted.from_ns.saturating_add(1),
            max_ns: wanted.until_ns,
        };
        let mut rows = Vec::new();
        for member in self.members_of(at) {
            let source = self.sources[member.source as usize].as_ref();
            if source.resolution_ns() != resolution_ns {
                continue;
            }
            meter.check()?;
            let hidden = hidden_ranges(&self.deletes, source, &self.tenant, wanted.view);
            let columns = if hidden.is_empty() {
                wanted.columns
            } else {
                ALL_COLUMNS
            };
            let from = rows.len();
            source.rows(member.ordinal, range, columns, &mut rows)?;
            meter.add_rows(rows.len() - from)?;
            if !hidden.is_empty() {
                let mut own = rows.split_off(from);
                own.retain(|row| {
                    let touched = is_touched(row, resolution_ns, &hidden);
                    if touched {
                        dirty.insert(row.end_ns);
                    }
                    !touched
                });
                rows.append(&mut own);
            }
        }
        Ok(rows)
    }

    /// Whether a question at the finest resolution needs nothing of this source: rows stand for all of
    /// it, and nothing newer lies in its time.
    pub(crate) fn is_rolled_up(
        reading: &Reading,
        tenant: &str,
        sources: &[Arc<dyn crate::source::Source>],
        deletes: &[crate::source::Delete],
        source: &dyn crate::source::Source,
    ) -> bool {
        let Some(own) = source
            .time_range()
            .filter(|&own| !source.is_head() && reading.covers(own))
            .and_then(|own| whole(own, reading.finest_ns()))
        else {
            return false;
        };
        let has_newer = sources.iter().any(|other| {
            let meets = other.time_range().is_some_and(|range| range.overlaps(&own));
            let is_deleted = || {
                other.resolution_ns() == reading.finest_ns()
                    && deletes.iter().any(|delete| {
                        delete.offset != RETENTION_OFFSET
                            && delete.concerns(other.as_ref(), tenant)
                            && delete.range.overlaps(&own)
                    })
            };
            meets && (other.is_head() || is_deleted())
        });
        !has_newer
    }
}

/// The buckets that hold the range: one sample inside makes a bucket need all of its samples.
fn whole(range: TimeRange, resolution_ns: i64) -> Option<TimeRange> {
    Some(TimeRange {
        min_ns: bucket_end(range.min_ns, resolution_ns)?.checked_sub(resolution_ns - 1)?,
        max_ns: bucket_end(range.max_ns, resolution_ns)?,
    })
}

/// What rows are asked for: they end in `(from, until]`, which are ends of buckets.
struct Wanted<'a> {
    level: &'a Level,
    rule: Option<&'a KeepRule>,
    view: &'a SeriesView<'a>,
    columns: u16,
    from_ns: i64,
    until_ns: i64,
}

impl Wanted<'_> {
    fn covered(&self) -> Stretches {
        let mut covered = Stretches::default();
        for range in &self.level.covered {
            let from_ns = (range.min_ns - 1).max(self.from_ns);
            covered.add(from_ns, range.max_ns.min(self.until_ns));
        }
        covered
    }
}

/// Stretches of time `(from, until]`, ascending, apart from each other.
#[derive(Debug, Default, PartialEq)]
struct Stretches(Vec<(i64, i64)>);

impl Stretches {
    fn add(&mut self, from_ns: i64, until_ns: i64) {
        if from_ns >= until_ns {
            return;
        }
        let (mut low, mut high) = (from_ns, until_ns);
        self.0.retain(|&(from, until)| {
            let meets = from <= high && low <= until;
            if meets {
                (low, high) = (low.min(from), high.max(until));
            }
            !meets
        });
        let at = self.0.partition_point(|&(from, _)| from < low);
        self.0.insert(at, (low, high));
    }

    fn remove(&mut self, from_ns: i64, until_ns: i64) {
        let mut left = Vec::with_capacity(self.0.len() + 1);
        for &(from, until) in &self.0 {
            for part in [(from, until.min(from_ns)), (from.max(until_ns), until)] {
                if part.0 < part.1 {
                    left.push(part);
                }
            }
        }
        self.0 = left;
    }

    fn holds(&self, end_ns: i64) -> bool {
        self.0
            .iter()
            .any(|&(from, until)| from < end_ns && end_ns <= until)
    }

    /// What lies between them inside `(from, until]`.
    fn gaps(&self, from_ns: i64, until_ns: i64) -> Vec<(i64, i64)> {
        let mut rest = Stretches(vec![(from_ns, until_ns)]);
        for &(from, until) in &self.0 {
            rest.remove(from, until);
        }
        rest.0.retain(|&(from, until)| from < until);
        rest.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stretches_join_where_they_touch_and_part_where_something_is_taken_out() {
        let mut stretches = Stretches::default();
        for (from, until) in [(20, 30), (0, 10), (10, 15), (5, 5), (28, 40)] {
            stretches.add(from, until);
        }
        assert_eq!(stretches.0, [(0, 15), (20, 40)]);
        stretches.remove(10, 25);
        assert_eq!(stretches.0, [(0, 10), (25, 40)]);
        assert_eq!(stretches.gaps(-5, 50), [(-5, 0), (10, 25), (40, 50)]);
        // Its start is outside, its end inside.
        assert!(!stretches.holds(25) && stretches.holds(26) && stretches.holds(40));
    }

    #[test]
    fn what_is_older_than_is_kept_comes_from_a_coarser_resolution() {
        let level = |resolution_ns| Level {
            resolution_ns,
            covered: Vec::new(),
        };
        let rule = KeepRule {
            matchers: Vec::new(),
            raw_from_ns: 700,
            coarse_from_ns: vec![(10, 300), (100, 100)],
        };
        let coarse = Arc::new(Coarse {
            levels: vec![level(10), level(100)],
            keep: Keep::default(),
        });
        let steps = Steps::new(0, 100, 10, 100, 0).unwrap();
        let shown = |finest_ns| {
            let reading = Reading::new(Arc::clone(&coarse), finest_ns);
            let parts = parts(&reading, Some(&rule), Function::Sum, &steps);
            let resolution = |part: &Part<'_>| part.level.map_or(0, |level| level.resolution_ns);
            let shown = parts
                .iter()
                .map(|part| (resolution(part), part.first, part.end));
            shown.collect::<Vec<_>>()
        };
        assert_eq!(shown(0), [(100, 0, 4), (10, 4, 8), (0, 8, 10)]);
        assert_eq!(shown(10), [(100, 0, 4), (10, 4, 10)]);
        assert_eq!(shown(100), [(100, 0, 10)]);
    }
}
