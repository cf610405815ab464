//! Window functions over the rows of a series: what `window` computes from samples, computed from
//! buckets (docs/languages/promql.md has the table).
//!
//! A step whose window is a whole number of buckets is answered as from the samples themselves. Any
//! other window is moved back to the end of a bucket and cut to whole buckets: nothing is guessed,
//! counted twice or seen before its time.

use crate::error::{CoreError, Result};
use crate::kahan::Sum;
use crate::meter::{Meter, POLL_EVERY};
use crate::range_functions::{Edges, Extrapolation, seconds};
use crate::rollup::{Row, bucket_floor};
use crate::window::{self, Function, Steps};

/// Whether rows hold what the function needs.
pub fn answers(function: Function) -> bool {
    matches!(
        function,
        Function::Instant
            | Function::Timestamp
            | Function::Rate
            | Function::Increase
            | Function::Delta
            | Function::Resets
            | Function::Avg
            | Function::Min
            | Function::Max
            | Function::Sum
            | Function::Count
            | Function::First
            | Function::Last
            | Function::Present
            | Function::TimeOfFirst
            | Function::TimeOfLast
    )
}

/// Whether the newest sample alone decides: then only the window's end has to be a bucket's.
pub fn looks_at_newest(function: Function) -> bool {
    matches!(
        function,
        Function::Instant | Function::Timestamp | Function::Last | Function::TimeOfLast
    )
}

/// The whole buckets a step is answered from: its window where that is a number of them.
pub fn whole_buckets(edges: Edges, resolution_ns: i64, looks_at_newest: bool) -> Edges {
    let end_ns = bucket_floor(edges.end_ns, resolution_ns);
    let range_ns = edges.end_ns.saturating_sub(edges.start_ns);
    let kept_ns = if looks_at_newest {
        range_ns
    } else {
        bucket_floor(range_ns, resolution_ns)
    };
    Edges {
        start_ns: end_ns.saturating_sub(kept_ns),
        end_ns,
    }
}

/// Given the rows a step sees, the place of the first of them, and its window.
type Visit<'a> = Box<dyn Fn(&[Row], usize, Edges) -> Option<f64> + 'a>;

/// Runs the function at every step over the rows of one series, which ascend.
pub fn run(
    function: Function,
    rows: &mut Vec<Row>,
    steps: &Steps,
    resolution_ns: i64,
    row: window::Row<'_>,
    meter: &Meter,
) -> Result<()> {
    let newest = looks_at_newest(function);
    let sees_stale = matches!(function, Function::Instant | Function::Timestamp);
    if !sees_stale {
        rows.retain(|row| row.count > 0);
    }
    let rows = rows.as_slice();
    let rises = Rises::of(rows);
    let visit: Visit<'_> = match function {
        Function::Instant => Box::new(|seen, _, edges| live_of(seen, edges).map(|row| row.last)),
        Function::Timestamp => {
            Box::new(|seen, _, edges| live_of(seen, edges).map(|row| seconds(row.last_ns)))
        }
        Function::Last => Box::new(|seen, _, edges| newest_of(seen, edges).map(|row| row.last)),
        Function::TimeOfLast => {
            Box::new(|seen, _, edges| newest_of(seen, edges).map(|row| seconds(row.last_ns)))
        }
        Function::First => Box::new(|seen, _, _| seen.first().map(|row| row.first)),
        Function::TimeOfFirst => Box::new(|seen, _, _| seen.first().map(|r| seconds(r.first_ns))),
        Function::Present => Box::new(|_, _, _| Some(1.0)),
        Function::Count => Box::new(|seen, _, _| Some(count_of(seen) as f64)),
        Function::Sum => Box::new(|seen, _, _| Some(sum_of(seen))),
        Function::Avg => Box::new(|seen, _, _| Some(sum_of(seen) / count_of(seen) as f64)),
        Function::Min => {
            Box::new(|seen, _, _| extreme(seen.iter().map(|row| row.min), |a, b| a < b))
        }
        Function::Max => {
            Box::new(|seen, _, _| extreme(seen.iter().map(|row| row.max), |a, b| a > b))
        }
        Function::Resets => Box::new(|seen, from, _| Some(rises.resets(seen, from) as f64)),
        Function::Rate => Box::new(|seen, from, edges| rises.change(seen, from, edges, true, true)),
        Function::Increase => {
            Box::new(|seen, from, edges| rises.change(seen, from, edges, true, false))
        }
        Function::Delta => {
            Box::new(|seen, from, edges| rises.change(seen, from, edges, false, false))
        }
        _ => {
            return Err(CoreError::Invalid(format!(
                "cannot run {function:?} over buckets: it needs the samples"
            )));
        }
    };
    let edges_of = |step| whole_buckets(steps.edges(step), resolution_ns, newest);
    slide(rows, steps.count(), edges_of, newest, row, meter, &visit)
}

/// Moves the window over the rows step by step; both ends only ever go forward.
fn slide(
    rows: &[Row],
    count: usize,
    edges_of: impl Fn(usize) -> Edges,
    newest: bool,
    row: window::Row<'_>,
    meter: &Meter,
    visit: &Visit<'_>,
) -> Result<()> {
    if row.values.len() != count || row.present.len() != count {
        return Err(CoreError::Invalid(format!(
            "cannot run a window: room for {} values and {} marks, but {count} steps",
            row.values.len(),
            row.present.len(),
        )));
    }
    let (mut from, mut to, mut unpolled) = (0, 0, 0);
    for (step, (value, present)) in row.values.iter_mut().zip(row.present).enumerate() {
        let edges = edges_of(step);
        to += rows[to..].partition_point(|row| row.end_ns <= edges.end_ns);
        from += rows[from..to].partition_point(|row| row.end_ns <= edges.start_ns);
        unpolled += 1 + (to - from);
        if unpolled >= POLL_EVERY {
            meter.check()?;
            unpolled = 0;
        }
        // What decides by the newest row looks at its time itself: it may begin before the window.
        let first = if newest { to.saturating_sub(1) } else { from };
        let found = if first < to {
            visit(&rows[first..to], first, edges)
        } else {
            None
        };
        *present = found.is_some();
        *value = found.unwrap_or(0.0);
    }
    Ok(())
}

/// As `newest_of`, unless a staleness marker came after that sample.
fn live_of(seen: &[Row], edges: Edges) -> Option<&Row> {
    newest_of(seen, edges).filter(|row| !row.is_stale)
}

/// The row whose last sample is the newest the window sees.
fn newest_of(seen: &[Row], edges: Edges) -> Option<&Row> {
    seen.last()
        .filter(|row| row.count > 0 && row.last_ns > edges.start_ns)
}

fn count_of(seen: &[Row]) -> u64 {
    seen.iter().map(|row| row.count).sum()
}

fn sum_of(seen: &[Row]) -> f64 {
    seen.iter()
        .fold(Sum::default(), |sum, row| sum.plus(row.sum))
        .total()
}

/// NaN only of NaNs; of equal ones the earliest.
fn extreme(
    mut values: impl Iterator<Item = f64>,
    is_better: impl Fn(f64, f64) -> bool,
) -> Option<f64> {
    let first = values.next()?;
    Some(values.fold(first, |best, new| {
        if is_better(new, best) || (best.is_nan() && !new.is_nan()) {
            new
        } else {
            best
        }
    }))
}

/// What a counter lost by resets inside a row, or between it and the row before.
struct Loss {
    row: usize,
    is_between: bool,
    value: f64,
}

/// Resets of a whole series in their order, found once.
struct Rises {
    losses: Vec<Loss>,
    /// Resets in and before each row, those between rows included.
    resets: Vec<u64>,
}

impl Rises {
    fn of(rows: &[Row]) -> Self {
        let (mut losses, mut resets, mut count) = (Vec::new(), Vec::new(), 0);
        let mut before: Option<&Row> = None;
        for (at, row) in rows.iter().enumerate() {
            if let Some(before) = before.filter(|before| row.first < before.last) {
                count += 1;
                losses.push(Loss {
                    row: at,
                    is_between: true,
                    value: before.last,
                });
            }
            if row.resets > 0 {
                count += row.resets;
                losses.push(Loss {
                    row: at,
                    is_between: false,
                    value: row.lost,
                });
            }
            resets.push(count);
            before = Some(row);
        }
        Self { losses, resets }
    }

    /// Resets between samples of the rows seen, the first of which stands at `from`.
    fn resets(&self, seen: &[Row], from: usize) -> u64 {
        let last = self.resets[from + seen.len() - 1];
        last - self.resets[from] + seen.first().map_or(0, |row| row.resets)
    }

    fn change(
        &self,
        seen: &[Row],
        from: usize,
        edges: Edges,
        is_counter: bool,
        is_rate: bool,
    ) -> Option<f64> {
        let (first, last) = (seen.first()?, seen.last()?);
        let mut rise = last.last - first.first;
        if is_counter {
            let passed = self
                .losses
                .partition_point(|loss| loss.row < from || (loss.row == from && loss.is_between));
            let end = from + seen.len();
            for loss in self.losses[passed..]
                .iter()
                .take_while(|loss| loss.row < end)
            {
                rise += loss.value;
            }
        }
        let extrapolation = Extrapolation {
            is_counter,
            is_rate,
        };
        let times = (first.first_ns, last.last_ns);
        extrapolation.stretch(times, count_of(seen), first.first, rise, edges)
    }
}

#[cfg(test)]
mod tests;
