//! Window functions over the samples of a series: one value a step, as a language's range functions
//! ask for.
//!
//! `snapshot` runs them while it reads series; `window_over_steps` runs them over a dense matrix,
//! for subqueries. A step at time t sees the samples in `(t - offset - range, t - offset]`.

use crate::error::{CoreError, Result};
use crate::meter::{Meter, POLL_EVERY};
use crate::range_functions as range;
use crate::range_functions::{Edges, Extrapolation, seconds};
use crate::sample::STALE_NAN_BITS;
use crate::source::{Floats, TimeRange};
use std::collections::VecDeque;

/// More steps are refused; Prometheus' own API stops at 11,000.
pub const STEPS_MAX: usize = 1_000_000;

const STALE_CHUNK_VALUES: usize = 256;

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Function {
    /// The lookback selector: the latest sample unless it is a staleness marker.
    Instant,
    /// The time of that sample, in seconds.
    Timestamp,
    Rate,
    Increase,
    Delta,
    Irate,
    Idelta,
    Deriv,
    /// Measured from the step, moved by `moved_seconds`: where `@` pins what is seen, the step of
    /// the query lies elsewhere.
    PredictLinear {
        ahead_seconds: f64,
        moved_seconds: f64,
    },
    Resets,
    Changes,
    Avg,
    Min,
    Max,
    Sum,
    Count,
    First,
    Last,
    Present,
    Stddev,
    Stdvar,
    Quantile(f64),
    MedianDeviation,
    TimeOfMin,
    TimeOfMax,
    TimeOfFirst,
    TimeOfLast,
    Smoothing {
        smoothing: f64,
        trend: f64,
    },
}

impl Function {
    /// Names are `PromQL`'s, and `instant` and `timestamp`.
    pub fn parse(name: &str, parameters: &[f64]) -> Result<Self> {
        let function = match (name, parameters) {
            ("instant", []) => Self::Instant,
            ("timestamp", []) => Self::Timestamp,
            ("rate", []) => Self::Rate,
            ("increase", []) => Self::Increase,
            ("delta", []) => Self::Delta,
            ("irate", []) => Self::Irate,
            ("idelta", []) => Self::Idelta,
            ("deriv", []) => Self::Deriv,
            ("predict_linear", &[ahead_seconds, moved_seconds]) => Self::PredictLinear {
                ahead_seconds,
                moved_seconds,
            },
            ("resets", []) => Self::Resets,
            ("changes", []) => Self::Changes,
            ("avg_over_time", []) => Self::Avg,
            ("min_over_time", []) => Self::Min,
            ("max_over_time", []) => Self::Max,
            ("sum_over_time", []) => Self::Sum,
            ("count_over_time", []) => Self::Count,
            ("first_over_time", []) => Self::First,
            ("last_over_time", []) => Self::Last,
            ("present_over_time", []) => Self::Present,
            ("stddev_over_time", []) => Self::Stddev,
            ("stdvar_over_time", []) => Self::Stdvar,
            ("quantile_over_time", &[q]) => Self::Quantile(q),
            ("mad_over_time", []) => Self::MedianDeviation,
            ("ts_of_min_over_time", []) => Self::TimeOfMin,
            ("ts_of_max_over_time", []) => Self::TimeOfMax,
            ("ts_of_first_over_time", []) => Self::TimeOfFirst,
            ("ts_of_last_over_time", []) => Self::TimeOfLast,
            ("double_exponential_smoothing", &[smoothing, trend]) => {
                between_zero_and_one("smoothing", smoothing)?;
                between_zero_and_one("trend", trend)?;
                Self::Smoothing { smoothing, trend }
            }
            _ => {
                return Err(CoreError::Invalid(format!(
                    "cannot run window function {name:?}: it is unknown, or does not take {} parameters",
                    parameters.len()
                )));
            }
        };
        Ok(function)
    }

    /// Whether it sees staleness markers; the range functions never do.
    fn sees_stale(self) -> bool {
        matches!(self, Self::Instant | Self::Timestamp)
    }
}

fn between_zero_and_one(which: &str, factor: f64) -> Result<()> {
    if factor > 0.0 && factor < 1.0 {
        return Ok(());
    }
    Err(CoreError::Invalid(format!(
        "cannot smooth with {which} factor {factor}: it must lie between 0 and 1"
    )))
}

/// Where the steps of a query lie, and what each of them looks back on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Steps {
    start_ns: i64,
    step_ns: i64,
    count: usize,
    range_ns: i64,
    offset_ns: i64,
}

impl Steps {
    pub fn new(
        start_ns: i64,
        step_ns: i64,
        count: usize,
        range_ns: i64,
        offset_ns: i64,
    ) -> Result<Self> {
        let refused =
            |cause: &str| Err(CoreError::Invalid(format!("cannot run a window: {cause}")));
        if count > STEPS_MAX {
            return refused(&format!("{count} steps are more than {STEPS_MAX}"));
        }
        if step_ns <= 0 && count > 1 {
            return refused(&format!("a step of {step_ns} ns is not positive"));
        }
        if range_ns <= 0 {
            return refused(&format!("a range of {range_ns} ns is not positive"));
        }
        let last_ns = i128::from(start_ns) + i128::from(step_ns) * count.saturating_sub(1) as i128;
        let offset = i128::from(offset_ns);
        let bounds = [
            last_ns,
            last_ns - offset,
            i128::from(start_ns) - offset - i128::from(range_ns),
        ];
        if bounds.iter().any(|&bound| i64::try_from(bound).is_err()) {
            return refused("its times do not fit into 64 bits of nanoseconds");
        }
        Ok(Self {
            start_ns,
            step_ns,
            count,
            range_ns,
            offset_ns,
        })
    }

    pub fn count(&self) -> usize {
        self.count
    }

    /// `count` of these steps, from step `first` on.
    #[must_use]
    pub fn part(&self, first: usize, count: usize) -> Self {
        Self {
            start_ns: self.time_ns(first),
            count,
            ..*self
        }
    }

    /// Of every sample that any step sees; None where there are no steps.
    pub fn time_range(&self) -> Option<TimeRange> {
        let last = self.count.checked_sub(1)?;
        Some(TimeRange {
            min_ns: self.edges(0).start_ns + 1,
            max_ns: self.edges(last).end_ns,
        })
    }

    fn time_ns(&self, step: usize) -> i64 {
        self.start_ns + self.step_ns * step as i64
    }

    /// What the step sees.
    pub fn edges(&self, step: usize) -> Edges {
        let end_ns = self.time_ns(step) - self.offset_ns;
        Edges {
            start_ns: end_ns - self.range_ns,
            end_ns,
        }
    }
}

/// One row of an answer: a value and a mark for every step.
pub struct Row<'a> {
    pub values: &'a mut [f64],
    pub present: &'a mut [bool],
}

/// Runs the function at every step over the samples of one series, ascending in time.
///
/// `times` and `values` may lose their staleness markers on the way.
pub fn run(
    function: Function,
    times: &mut Vec<i64>,
    values: &mut Vec<f64>,
    steps: &Steps,
    row: Row<'_>,
    meter: &Meter,
) -> Result<()> {
    if times.len() != values.len() {
        return Err(CoreError::Invalid(format!(
            "cannot run a window: {} times but {} values",
            times.len(),
            values.len()
        )));
    }
    if !function.sees_stale() {
        drop_stale(times, values);
    }
    run_over(function, times, values, steps, row, meter)
}

/// As `run`, over columns that are not the caller's to change.
pub fn run_plain(
    function: Function,
    floats: Floats<'_>,
    steps: &Steps,
    row: Row<'_>,
    meter: &Meter,
) -> Result<()> {
    let Floats { times_ns, values } = floats;
    if times_ns.len() == values.len() && (function.sees_stale() || !has_stale(values)) {
        return run_over(function, times_ns, values, steps, row, meter);
    }
    let (mut times, mut values) = (times_ns.to_vec(), values.to_vec());
    run(function, &mut times, &mut values, steps, row, meter)
}

fn is_stale(value: f64) -> bool {
    value.to_bits() == STALE_NAN_BITS
}

fn has_stale(values: &[f64]) -> bool {
    // A whole chunk is looked at before it is judged: the loop inside has no branches.
    let in_chunk = |chunk: &[f64]| chunk.iter().fold(false, |found, &v| found | is_stale(v));
    values.chunks(STALE_CHUNK_VALUES).any(in_chunk)
}

fn drop_stale(times: &mut Vec<i64>, values: &mut Vec<f64>) {
    if !has_stale(values) {
        return;
    }
    let mut kept = 0;
    for at in 0..values.len() {
        if !is_stale(values[at]) {
            values[kept] = values[at];
            times[kept] = times[at];
            kept += 1;
        }
    }
    values.truncate(kept);
    times.truncate(kept);
}

/// The samples one step sees: `from..to` of the series, never empty.
struct Span {
    step: usize,
    from: usize,
    to: usize,
}

/// Moves the window over the series step by step; both ends only ever go forward.
fn slide(
    times: &[i64],
    steps: &Steps,
    row: Row<'_>,
    meter: &Meter,
    mut visit: impl FnMut(Span) -> Option<f64>,
) -> Result<()> {
    if row.values.len() != steps.count || row.present.len() != steps.count {
        return Err(CoreError::Invalid(format!(
            "cannot run a window: room for {} values and {} marks, but {} steps",
            row.values.len(),
            row.present.len(),
            steps.count
        )));
    }
    let (mut from, mut to, mut unpolled) = (0, 0, 0);
    for (step, (value, present)) in row.values.iter_mut().zip(row.present).enumerate() {
        let Edges { start_ns, end_ns } = steps.edges(step);
        to = pass(times, to, end_ns);
        from = pass(&times[..to], from, start_ns);
        unpolled += 1 + (to - from);
        if unpolled >= POLL_EVERY {
            meter.check()?;
            unpolled = 0;
        }
        let found = if from < to {
            visit(Span { step, from, to })
        } else {
            None
        };
        *present = found.is_some();
        *value = found.unwrap_or(0.0);
    }
    Ok(())
}

/// The first place from `at` on whose time lies behind `until_ns`. Steps double, so that a wide
/// window costs few looks and a narrow one no more than a plain walk.
#[inline]
fn pass(times: &[i64], mut at: usize, until_ns: i64) -> usize {
    let mut hop = 1;
    while times.get(at + hop - 1).is_some_and(|&t| t <= until_ns) {
        at += hop;
        hop *= 2;
    }
    let end = (at + hop - 1).min(times.len());
    at + times[at..end].partition_point(|&time| time <= until_ns)
}

fn run_over(
    function: Function,
    times: &[i64],
    values: &[f64],
    steps: &Steps,
    row: Row<'_>,
    meter: &Meter,
) -> Result<()> {
    // One closure a function, so that each loop is compiled for itself.
    macro_rules! each {
        ($visit:expr) => {
            slide(times, steps, row, meter, $visit)
        };
    }
    macro_rules! each_window {
        ($value:expr) => {
            each!(|span: Span| $value(&times[span.from..span.to], &values[span.from..span.to]))
        };
    }
    let mut scratch = Vec::new();
    match function {
        Function::Rate => run_rate(true, true, times, values, steps, row, meter),
        Function::Increase => run_rate(true, false, times, values, steps, row, meter),
        Function::Delta => run_rate(false, false, times, values, steps, row, meter),
        Function::Resets => {
            run_count_of(|before, now| now < before, times, values, steps, row, meter)
        }
        Function::Changes => run_count_of(
            |before, now| now != before && !(now.is_nan() && before.is_nan()),
            times,
            values,
            steps,
            row,
            meter,
        ),
        Function::Min => run_extreme(Extreme::min(), times, values, steps, row, meter),
        Function::Max => run_extreme(Extreme::max(), times, values, steps, row, meter),
        Function::TimeOfMin => run_extreme(Extreme::min().time(), times, values, steps, row, meter),
        Function::TimeOfMax => run_extreme(Extreme::max().time(), times, values, steps, row, meter),
        Function::Instant => each!(|span: Span| unless_stale(values[span.to - 1])),
        Function::Timestamp => {
            each!(
                |span: Span| unless_stale(values[span.to - 1]).map(|_| seconds(times[span.to - 1]))
            )
        }
        Function::First => each!(|span: Span| Some(values[span.from])),
        Function::Last => each!(|span: Span| Some(values[span.to - 1])),
        Function::TimeOfFirst => each!(|span: Span| Some(seconds(times[span.from]))),
        Function::TimeOfLast => each!(|span: Span| Some(seconds(times[span.to - 1]))),
        Function::Present => each!(|_| Some(1.0)),
        Function::Count => each!(|span: Span| Some((span.to - span.from) as f64)),
        Function::Irate => each_window!(|t, v| range::instant_change(t, v, true)),
        Function::Idelta => each_window!(|t, v| range::instant_change(t, v, false)),
        Function::Deriv => each_window!(|t: &[i64], v| {
            range::linear_regression(t, v, t[0]).map(|(slope, _)| slope)
        }),
        Function::PredictLinear {
            ahead_seconds,
            moved_seconds,
        } => each!(|span: Span| {
            let (t, v) = (&times[span.from..span.to], &values[span.from..span.to]);
            let moved_ns = (moved_seconds * 1e9) as i64;
            let origin_ns = steps.time_ns(span.step).saturating_add(moved_ns);
            let (slope, now) = range::linear_regression(t, v, origin_ns)?;
            Some(slope * ahead_seconds + now)
        }),
        Function::Sum | Function::Avg => run_sum(function, times, values, steps, row, meter),
        Function::Stddev => each_window!(|_, v| Some(range::variance(v).sqrt())),
        Function::Stdvar => each_window!(|_, v| Some(range::variance(v))),
        Function::Quantile(q) => {
            each_window!(|_, v| Some(range::quantile_of(q, v, &mut scratch)))
        }
        Function::MedianDeviation => {
            each_window!(|_, v| Some(range::median_deviation(v, &mut scratch)))
        }
        Function::Smoothing { smoothing, trend } => {
            each_window!(|_, v| range::smooth(v, smoothing, trend))
        }
    }
}

fn unless_stale(value: f64) -> Option<f64> {
    (!is_stale(value)).then_some(value)
}

/// rate, increase and delta. Resets are found once for the whole series; a window adds those that
/// lie inside it, in their order, so that the sum is Prometheus' to the last bit.
fn run_rate(
    is_counter: bool,
    is_rate: bool,
    times: &[i64],
    values: &[f64],
    steps: &Steps,
    row: Row<'_>,
    meter: &Meter,
) -> Result<()> {
    let mut resets = Vec::new();
    if is_counter {
        let falls = values
            .windows(2)
            .enumerate()
            .filter(|(_, pair)| pair[1] < pair[0]);
        resets.extend(falls.map(|(at, _)| at + 1));
    }
    let extrapolation = Extrapolation {
        is_counter,
        is_rate,
    };
    let mut passed = 0;
    slide(times, steps, row, meter, |Span { step, from, to }| {
        while resets.get(passed).is_some_and(|&at| at <= from) {
            passed += 1;
        }
        let mut rise = values[to - 1] - values[from];
        for &at in resets[passed..].iter().take_while(|&&at| at < to) {
            rise += values[at - 1];
        }
        extrapolation.apply(&times[from..to], values[from], rise, steps.edges(step))
    })
}

/// sum and avg. Where windows overlap, whole numbers are added up once for the whole series: sums of
/// which nothing is lost may be subtracted. Others are summed window by window, in their order.
fn run_sum(
    function: Function,
    times: &[i64],
    values: &[f64],
    steps: &Steps,
    row: Row<'_>,
    meter: &Meter,
) -> Result<()> {
    let is_mean = function == Function::Avg;
    let overlaps = steps.count > 1 && steps.range_ns > steps.step_ns;
    if let Some(sums) = overlaps.then(|| range::whole_sums(values)).flatten() {
        return slide(times, steps, row, meter, |Span { from, to, .. }| {
            let sum = sums[to] - sums[from];
            Some(if is_mean {
                sum / (to - from) as f64
            } else {
                sum
            })
        });
    }
    slide(times, steps, row, meter, |Span { from, to, .. }| {
        let window = &values[from..to];
        if is_mean {
            range::mean(window)
        } else {
            Some(range::sum(window))
        }
    })
}

/// resets and changes: how many neighbours in the window stand in a relation.
fn run_count_of(
    relation: impl Fn(f64, f64) -> bool,
    times: &[i64],
    values: &[f64],
    steps: &Steps,
    row: Row<'_>,
    meter: &Meter,
) -> Result<()> {
    let mut counts = Vec::with_capacity(values.len());
    let mut count = 0u32;
    for at in 0..values.len() {
        count += u32::from(at > 0 && relation(values[at - 1], values[at]));
        counts.push(count);
    }
    slide(times, steps, row, meter, |Span { from, to, .. }| {
        Some(f64::from(counts[to - 1] - counts[from]))
    })
}

/// Which extreme of a window is wanted, and what of it.
#[derive(Debug, Clone, Copy)]
struct Extreme {
    is_max: bool,
    wants_time: bool,
}

impl Extreme {
    fn min() -> Self {
        Self {
            is_max: false,
            wants_time: false,
        }
    }

    fn max() -> Self {
        Self {
            is_max: true,
            wants_time: false,
        }
    }

    /// Its time: of equal samples the latest. The value is the earliest's, which only zeros tell.
    fn time(self) -> Self {
        Self {
            wants_time: true,
            ..self
        }
    }

    /// Of a window's values, which are not none: the earliest of equal ones, NaN only of NaNs.
    fn of(self, values: &[f64]) -> f64 {
        let places = values.iter().position(|value| !value.is_nan());
        let Some(first) = places else {
            return values.last().copied().unwrap_or(f64::NAN);
        };
        let rest = values[first..].iter().copied();
        if self.is_max {
            rest.fold(
                values[first],
                |best, new| if new > best { new } else { best },
            )
        } else {
            rest.fold(
                values[first],
                |best, new| if new < best { new } else { best },
            )
        }
    }

    /// Whether `new` makes `old`, which came before it, impossible as the answer.
    fn displaces(self, new: f64, old: f64) -> bool {
        if new == old {
            return self.wants_time;
        }
        (new > old) == self.is_max
    }
}

/// min and max in one pass: a queue of candidates, best first, each sample in and out once.
/// NaN gives way to any number.
fn run_extreme(
    extreme: Extreme,
    times: &[i64],
    values: &[f64],
    steps: &Steps,
    row: Row<'_>,
    meter: &Meter,
) -> Result<()> {
    if !extreme.wants_time && steps.range_ns <= steps.step_ns {
        // No sample is seen twice: nothing is worth remembering.
        return slide(times, steps, row, meter, |Span { from, to, .. }| {
            Some(extreme.of(&values[from..to]))
        });
    }
    let mut candidates: VecDeque<usize> = VecDeque::new();
    let mut seen = 0;
    slide(times, steps, row, meter, |Span { from, to, .. }| {
        for at in seen.max(from)..to {
            let value = values[at];
            if value.is_nan() {
                continue;
            }
            while candidates
                .back()
                .is_some_and(|&old| extreme.displaces(value, values[old]))
            {
                candidates.pop_back();
            }
            candidates.push_back(at);
        }
        seen = to;
        while candidates.front().is_some_and(|&at| at < from) {
            candidates.pop_front();
        }
        let at = candidates.front().copied().unwrap_or(to - 1);
        Some(if extreme.wants_time {
            seconds(times[at])
        } else {
            values[at]
        })
    })
}

/// A dense matrix a subquery was evaluated to: rows of `step_count` values from `start_ns` on.
#[derive(Debug, Clone, Copy)]
pub struct Grid<'a> {
    pub values: &'a [f64],
    pub present: &'a [bool],
    pub start_ns: i64,
    pub step_ns: i64,
    pub step_count: usize,
}

/// Runs the function over each row of the grid; absent points are not seen. The answer's rows have
/// as many steps as `steps`, one after the other.
pub fn window_over_steps(
    function: Function,
    grid: Grid<'_>,
    steps: &Steps,
    meter: &Meter,
) -> Result<(Vec<f64>, Vec<bool>)> {
    let rows = check_grid(&grid)?;
    let mut values = vec![0.0; rows * steps.count];
    let mut present = vec![false; rows * steps.count];
    if steps.count == 0 {
        return Ok((values, present));
    }
    let (mut row_times, mut row_values) = (Vec::new(), Vec::new());
    let out = values
        .chunks_mut(steps.count)
        .zip(present.chunks_mut(steps.count));
    for (row, (out_values, out_present)) in out.enumerate() {
        row_times.clear();
        row_values.clear();
        for step in 0..grid.step_count {
            let at = row * grid.step_count + step;
            if grid.present[at] {
                row_times.push(grid.start_ns + grid.step_ns * step as i64);
                row_values.push(grid.values[at]);
            }
        }
        meter.check()?;
        let row = Row {
            values: out_values,
            present: out_present,
        };
        run_over(function, &row_times, &row_values, steps, row, meter)?;
    }
    Ok((values, present))
}

fn check_grid(grid: &Grid<'_>) -> Result<usize> {
    // The same checks as for steps: a positive step, times that fit.
    Steps::new(grid.start_ns, grid.step_ns, grid.step_count, 1, 0)?;
    let rows = grid.values.len().checked_div(grid.step_count).unwrap_or(0);
    if grid.values.len() != grid.present.len() || rows * grid.step_count != grid.values.len() {
        return Err(CoreError::Invalid(format!(
            "cannot run a window over steps: {} values and {} marks are not rows of {} steps",
            grid.values.len(),
            grid.present.len(),
            grid.step_count
        )));
    }
    Ok(rows)
}

#[cfg(feature = "python")]
#[allow(clippy::needless_pass_by_value, clippy::too_many_arguments)]
pub(crate) mod python {
    use super::{Function, Grid, Steps};
    use crate::error::{CoreError, Result};
    use crate::meter::Meter;
    use crate::meter::python::PyMeter;
    use numpy::{PyArray1, PyArray2, PyArrayMethods, PyReadonlyArray2, PyUntypedArrayMethods};
    use pyo3::prelude::*;

    pub type Matrix<'py> = (Bound<'py, PyArray2<f64>>, Bound<'py, PyArray2<bool>>);

    /// Rows of `width` as arrays of two dimensions.
    pub fn matrix(
        py: Python<'_>,
        values: Vec<f64>,
        present: Vec<bool>,
        height: usize,
        width: usize,
    ) -> PyResult<Matrix<'_>> {
        let values = PyArray1::from_vec(py, values).reshape([height, width])?;
        let present = PyArray1::from_vec(py, present).reshape([height, width])?;
        Ok((values, present))
    }

    pub fn contiguous(what: &str) -> PyErr {
        CoreError::Invalid(format!("cannot read {what}: it is not contiguous")).into()
    }

    #[pyfunction]
    #[pyo3(signature = (function, values, present, *, in_start_ns, in_step_ns, start_ns, step_ns,
        step_count, range_ns, offset_ns, parameters, meter = None))]
    fn window_over_steps<'py>(
        py: Python<'py>,
        function: &str,
        values: PyReadonlyArray2<'py, f64>,
        present: PyReadonlyArray2<'py, bool>,
        in_start_ns: i64,
        in_step_ns: i64,
        start_ns: i64,
        step_ns: i64,
        step_count: usize,
        range_ns: i64,
        offset_ns: i64,
        parameters: Vec<f64>,
        meter: Option<&PyMeter>,
    ) -> PyResult<Matrix<'py>> {
        let function = Function::parse(function, &parameters)?;
        let steps = Steps::new(start_ns, step_ns, step_count, range_ns, offset_ns)?;
        let &[height, in_step_count] = values.shape() else {
            return Err(contiguous("values"));
        };
        let grid = Grid {
            values: values.as_slice().map_err(|_| contiguous("values"))?,
            present: present.as_slice().map_err(|_| contiguous("present"))?,
            start_ns: in_start_ns,
            step_ns: in_step_ns,
            step_count: in_step_count,
        };
        let unlimited = Meter::unlimited();
        let meter = meter.map_or(&unlimited, |meter| meter.0.as_ref());
        let answer: Result<_> = py.detach(|| {
            if in_step_count == 0 {
                let cells = height * step_count;
                return Ok((vec![0.0; cells], vec![false; cells]));
            }
            super::window_over_steps(function, grid, &steps, meter)
        });
        let (values, present) = answer?;
        matrix(py, values, present, height, step_count)
    }

    pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
        module.add_function(wrap_pyfunction!(window_over_steps, module)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SECOND: i64 = 1_000_000_000;

    fn steps(start: i64, step: i64, count: usize, range: i64) -> Steps {
        Steps::new(start * SECOND, step * SECOND, count, range * SECOND, 0).unwrap()
    }

    fn answers(
        name: &str,
        parameters: &[f64],
        samples: &[(i64, f64)],
        steps: &Steps,
    ) -> Vec<Option<f64>> {
        let function = Function::parse(name, parameters).unwrap();
        let mut times: Vec<i64> = samples.iter().map(|s| s.0 * SECOND).collect();
        let mut values: Vec<f64> = samples.iter().map(|s| s.1).collect();
        let (mut out, mut present) = (vec![0.0; steps.count], vec![false; steps.count]);
        let row = Row {
            values: &mut out,
            present: &mut present,
        };
        run(
            function,
            &mut times,
            &mut values,
            steps,
            row,
            &Meter::unlimited(),
        )
        .unwrap();
        out.iter()
            .zip(&present)
            .map(|(&value, &present)| present.then_some(value))
            .collect()
    }

    fn stale() -> f64 {
        f64::from_bits(STALE_NAN_BITS)
    }

    const RAMP: [(i64, f64); 6] = [
        (0, 0.0),
        (10, 4.0),
        (20, 1.0),
        (30, 3.0),
        (40, 3.0),
        (50, 8.0),
    ];

    #[test]
    fn every_function_over_one_window() {
        // The window (0, 50] sees 4, 1, 3, 3, 8: resets 1, changes 3.
        let window = steps(50, 1, 1, 50);
        for (name, parameters, expected) in [
            ("instant", &[][..], 8.0),
            ("timestamp", &[], 50.0),
            // Rise 8 (a reset of 4 added) in 40 s, and 10 s to the edge before the first sample.
            ("increase", &[], 10.0),
            ("irate", &[], 0.5),
            ("idelta", &[], 5.0),
            ("resets", &[], 1.0),
            ("changes", &[], 3.0),
            ("avg_over_time", &[], 3.8),
            ("min_over_time", &[], 1.0),
            ("max_over_time", &[], 8.0),
            ("sum_over_time", &[], 19.0),
            ("count_over_time", &[], 5.0),
            ("first_over_time", &[], 4.0),
            ("last_over_time", &[], 8.0),
            ("present_over_time", &[], 1.0),
            ("stdvar_over_time", &[], 5.36),
            ("quantile_over_time", &[0.5], 3.0),
            ("mad_over_time", &[], 1.0),
            ("ts_of_min_over_time", &[], 20.0),
            ("ts_of_max_over_time", &[], 50.0),
            ("ts_of_first_over_time", &[], 10.0),
            ("ts_of_last_over_time", &[], 50.0),
            ("deriv", &[], 0.1),
            ("predict_linear", &[10.0, 0.0], 6.8),
        ] {
            let got = answers(name, parameters, &RAMP, &window)[0].unwrap();
            assert!((got - expected).abs() < 1e-12, "{name}: {got}");
        }
    }

    #[test]
    fn the_window_is_open_on_the_left() {
        assert_eq!(
            answers("count_over_time", &[], &RAMP, &steps(20, 10, 3, 10)),
            [Some(1.0); 3]
        );
        assert_eq!(
            answers("first_over_time", &[], &RAMP, &steps(20, 1, 1, 20)),
            [Some(4.0)]
        );
        assert_eq!(
            answers("instant", &[], &RAMP, &steps(60, 1, 2, 10)),
            [None, None]
        );
    }

    #[test]
    fn an_offset_moves_the_window() {
        let moved = Steps::new(50 * SECOND, SECOND, 1, 10 * SECOND, 30 * SECOND).unwrap();
        assert_eq!(answers("instant", &[], &RAMP, &moved), [Some(1.0)]);
        assert_eq!(answers("timestamp", &[], &RAMP, &moved), [Some(20.0)]);
    }

    #[test]
    fn staleness_ends_an_instant_and_is_unseen_by_ranges() {
        let samples = [(0, 1.0), (10, stale()), (20, 3.0)];
        let grid = steps(5, 10, 3, 300);
        assert_eq!(
            answers("instant", &[], &samples, &grid),
            [Some(1.0), None, Some(3.0)]
        );
        assert_eq!(
            answers("timestamp", &[], &samples, &grid),
            [Some(0.0), None, Some(20.0)]
        );
        let counts = answers("count_over_time", &[], &samples, &grid);
        assert_eq!(counts, [Some(1.0), Some(1.0), Some(2.0)]);
    }

    #[test]
    fn nan_gives_way_to_numbers() {
        let samples = [(1, f64::NAN), (2, 2.0), (3, f64::NAN), (4, 1.0)];
        assert_eq!(
            answers("max_over_time", &[], &samples, &steps(4, 1, 1, 10)),
            [Some(2.0)]
        );
        assert_eq!(
            answers("min_over_time", &[], &samples, &steps(4, 1, 1, 10)),
            [Some(1.0)]
        );
        assert!(
            answers("max_over_time", &[], &samples, &steps(3, 1, 1, 1))[0]
                .unwrap()
                .is_nan()
        );
        assert_eq!(
            answers("ts_of_max_over_time", &[], &samples, &steps(3, 1, 1, 1)),
            [Some(3.0)]
        );
    }

    #[test]
    fn what_cannot_be_is_refused() {
        assert!(Function::parse("rate", &[1.0]).is_err());
        assert!(Function::parse("quantile_over_time", &[]).is_err());
        assert!(Function::parse("nonsense", &[]).is_err());
        assert!(Function::parse("double_exponential_smoothing", &[0.0, 0.5]).is_err());
        assert!(Function::parse("double_exponential_smoothing", &[0.5, f64::NAN]).is_err());
        assert!(Steps::new(0, 0, 2, 1, 0).is_err());
        assert!(Steps::new(0, 1, 1, 0, 0).is_err());
        assert!(Steps::new(i64::MAX, 1, 2, 1, 0).is_err());
        assert!(Steps::new(i64::MIN, 1, 1, 1, 0).is_err());
        assert!(Steps::new(0, 1, STEPS_MAX + 1, 1, 0).is_err());
        let grid = Grid {
            values: &[1.0; 5],
            present: &[true; 5],
            start_ns: 0,
            step_ns: 1,
            step_count: 2,
        };
        let meter = Meter::unlimited();
        assert!(window_over_steps(Function::Sum, grid, &steps(0, 1, 1, 1), &meter).is_err());
    }

    #[test]
    fn a_cancelled_query_leaves_a_long_loop() {
        let meter = Meter::unlimited();
        meter.cancel();
        let (mut out, mut present) = (vec![0.0; 10_000], vec![false; 10_000]);
        let row = Row {
            values: &mut out,
            present: &mut present,
        };
        let result = run_over(
            Function::Sum,
            &[0],
            &[0.0],
            &steps(0, 1, 10_000, 1),
            row,
            &meter,
        );
        assert!(result.is_err());
    }

    #[test]
    fn a_grid_skips_absent_points() {
        let grid = Grid {
            values: &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0],
            present: &[true, false, true, false, false, false],
            start_ns: 0,
            step_ns: SECOND,
            step_count: 3,
        };
        let window = steps(2, 1, 2, 2);
        let (values, present) =
            window_over_steps(Function::Sum, grid, &window, &Meter::unlimited()).unwrap();
        assert_eq!(present, [true, true, false, false]);
        assert_eq!(values[..2], [3.0, 3.0]);
    }

    /// The same functions, straight from their definition, over the samples of one window.
    fn oracle(name: &str, window: &[(i64, f64)]) -> Option<f64> {
        window.first()?;
        let values = window.iter().map(|s| s.1);
        let pairs = || window.windows(2).map(|pair| (pair[0].1, pair[1].1));
        let extreme = |better: fn(f64, f64) -> bool| {
            window.iter().skip(1).fold(window[0], |best, &sample| {
                if better(sample.1, best.1) || best.1.is_nan() {
                    sample
                } else {
                    best
                }
            })
        };
        Some(match name {
            "min_over_time" => extreme(|a, b| a < b).1,
            "max_over_time" => extreme(|a, b| a > b).1,
            "ts_of_min_over_time" => extreme(|a, b| a <= b).0 as f64,
            "ts_of_max_over_time" => extreme(|a, b| a >= b).0 as f64,
            "resets" => pairs().filter(|(a, b)| b < a).count() as f64,
            "changes" => pairs()
                .filter(|(a, b)| a != b && !(a.is_nan() && b.is_nan()))
                .count() as f64,
            "count_over_time" => window.len() as f64,
            "sum_over_time" => values.sum(),
            _ => panic!("no oracle for {name}"),
        })
    }

    proptest! {
        #[test]
        fn windows_are_what_their_definition_says(
            gaps in prop::collection::vec((1i64..20, prop_oneof![
                4 => (-3i64..4).prop_map(|v| v as f64),
                1 => Just(f64::NAN),
            ]), 0..60),
            start in -20i64..200, step in 1i64..40, range in 1i64..120,
            name in prop::sample::select(vec![
                "min_over_time", "max_over_time", "ts_of_min_over_time", "ts_of_max_over_time",
                "resets", "changes", "count_over_time", "sum_over_time",
            ]),
        ) {
            let mut time = 0;
            let samples: Vec<(i64, f64)> = gaps.iter().map(|&(gap, v)| { time += gap; (time, v) }).collect();
            let grid = steps(start, step, 8, range);
            let got = answers(name, &[], &samples, &grid);
            for (at, got) in got.iter().enumerate() {
                let end = start + step * at as i64;
                let window: Vec<_> = samples.iter().copied()
                    .filter(|s| s.0 > end - range && s.0 <= end).collect();
                let expected = oracle(name, &window);
                let bits = |v: &Option<f64>| v.map(|v| if v.is_nan() { u64::MAX } else { (v + 0.0).to_bits() });
                prop_assert_eq!(bits(got), bits(&expected), "{} {:?}", name, window);
            }
        }

        #[test]
        fn a_rate_is_the_same_seen_through_one_window(
            gaps in prop::collection::vec((1i64..20, 0i64..50), 2..60),
            step in 1i64..40, range in 5i64..120,
        ) {
            let mut time = 0;
            let samples: Vec<(i64, f64)> =
                gaps.iter().map(|&(gap, v)| { time += gap; (time, v as f64) }).collect();
            let got = answers("rate", &[], &samples, &steps(0, step, 12, range));
            for (at, got) in got.iter().enumerate() {
                let end = step * at as i64;
                let window: Vec<_> = samples.iter().copied()
                    .filter(|s| s.0 > end - range && s.0 <= end).collect();
                let alone = answers("rate", &[], &window, &steps(end, 1, 1, range));
                prop_assert_eq!(*got, alone[0]);
                prop_assert_eq!(window.len() >= 2, got.is_some());
            }
        }
    }
}
