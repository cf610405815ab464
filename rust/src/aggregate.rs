//! Aggregation over groups of series, step by step, with Prometheus 3's numerics.
//!
//! Rows come in the order the language gives them (`PromQL`: sorted by labels) and are added in that
//! order, so that sums round as Prometheus' do. The language makes the groups and names them.

use crate::error::{CoreError, Result};
use crate::kahan::{Mean, Sum};
use crate::meter::Meter;
use crate::quantile::quantile;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    Sum,
    Avg,
    Min,
    Max,
    Count,
    Group,
    Stddev,
    Stdvar,
    Quantile,
}

impl Operation {
    pub fn parse(name: &str) -> Result<Self> {
        Ok(match name {
            "sum" => Self::Sum,
            "avg" => Self::Avg,
            "min" => Self::Min,
            "max" => Self::Max,
            "count" => Self::Count,
            "group" => Self::Group,
            "stddev" => Self::Stddev,
            "stdvar" => Self::Stdvar,
            "quantile" => Self::Quantile,
            _ => {
                return Err(CoreError::Invalid(format!(
                    "cannot aggregate by {name:?}: it is unknown"
                )));
            }
        })
    }
}

/// Rows of `step_count` values, one after the other, and the group each row belongs to.
#[derive(Debug, Clone, Copy)]
pub struct Grouped<'a> {
    pub values: &'a [f64],
    pub present: &'a [bool],
    pub step_count: usize,
    pub group_index: &'a [u32],
    pub group_count: usize,
}

impl Grouped<'_> {
    fn check(&self) -> Result<()> {
        let cells = self.group_index.len().saturating_mul(self.step_count);
        if self.values.len() != cells || self.present.len() != cells {
            return Err(CoreError::Invalid(format!(
                "cannot aggregate: {} values and {} marks are not {} rows of {} steps",
                self.values.len(),
                self.present.len(),
                self.group_index.len(),
                self.step_count
            )));
        }
        if let Some(group) = self
            .group_index
            .iter()
            .find(|&&g| g as usize >= self.group_count)
        {
            return Err(CoreError::Invalid(format!(
                "cannot aggregate: a row is of group {group} of {}",
                self.group_count
            )));
        }
        Ok(())
    }

    /// Calls `visit` with the cell in the row's group and the value, row by row.
    fn each_present(&self, meter: &Meter, mut visit: impl FnMut(usize, f64)) -> Result<()> {
        for (row, &group) in self.group_index.iter().enumerate() {
            meter.check()?;
            let (first, out) = (row * self.step_count, group as usize * self.step_count);
            for step in 0..self.step_count {
                if self.present[first + step] {
                    visit(out + step, self.values[first + step]);
                }
            }
        }
        Ok(())
    }
}

/// One value for all steps, or one for each.
#[derive(Debug, Clone, Copy)]
pub struct Parameter<'a>(&'a [f64]);

impl<'a> Parameter<'a> {
    pub fn new(values: &'a [f64], step_count: usize) -> Result<Self> {
        if values.len() == 1 || values.len() == step_count {
            return Ok(Self(values));
        }
        Err(CoreError::Invalid(format!(
            "cannot aggregate: {} parameters for {step_count} steps",
            values.len()
        )))
    }

    fn at(&self, step: usize) -> f64 {
        self.0[if self.0.len() == 1 { 0 } else { step }]
    }
}

/// (values, present) of `group_count` rows. A cell is absent where none of its group is present.
/// The parameter is the quantile's; other operations take no notice of it.
pub fn aggregate(
    operation: Operation,
    input: Grouped<'_>,
    parameter: Parameter<'_>,
    meter: &Meter,
) -> Result<(Vec<f64>, Vec<bool>)> {
    let mut folding = Folding::new(operation, input.step_count);
    folding.add(input, meter)?;
    folding.quantile = parameter.0.to_vec();
    Ok(folding.result())
}

/// An aggregation under way. Its input comes in parts; where they are cut does not change the result.
pub struct Folding {
    step_count: usize,
    quantile: Vec<f64>,
    cells: Cells,
}

/// The state of every cell; none where nothing came yet.
enum Cells {
    Sum(Vec<Option<Sum>>),
    Avg(Vec<Option<Mean>>),
    Min(Vec<Option<f64>>),
    Max(Vec<Option<f64>>),
    Count(Vec<Option<f64>>),
    Group(Vec<Option<()>>),
    Stdvar(Vec<Option<Spread>>),
    Stddev(Vec<Option<Spread>>),
    Quantile(Vec<Option<Vec<f64>>>),
}

impl Folding {
    pub fn new(operation: Operation, step_count: usize) -> Self {
        let cells = match operation {
            Operation::Sum => Cells::Sum(Vec::new()),
            Operation::Avg => Cells::Avg(Vec::new()),
            Operation::Min => Cells::Min(Vec::new()),
            Operation::Max => Cells::Max(Vec::new()),
            Operation::Count => Cells::Count(Vec::new()),
            Operation::Group => Cells::Group(Vec::new()),
            Operation::Stdvar => Cells::Stdvar(Vec::new()),
            Operation::Stddev => Cells::Stddev(Vec::new()),
            Operation::Quantile => Cells::Quantile(Vec::new()),
        };
        Self {
            step_count,
            quantile: vec![f64::NAN],
            cells,
        }
    }

    /// Adds rows, in their order. The number of groups may only grow.
    pub fn add(&mut self, input: Grouped<'_>, meter: &Meter) -> Result<()> {
        input.check()?;
        if input.step_count != self.step_count {
            return Err(CoreError::Invalid(format!(
                "cannot aggregate rows of {} steps with rows of {}",
                input.step_count, self.step_count
            )));
        }
        match &mut self.cells {
            Cells::Sum(cells) => {
                gather(cells, input, meter, Sum::from, |sum, v| *sum = sum.plus(v))
            }
            Cells::Avg(cells) => gather(cells, input, meter, Mean::from, Mean::add),
            Cells::Min(cells) => gather(cells, input, meter, same, |least, v| {
                if v < *least || least.is_nan() {
                    *least = v;
                }
            }),
            Cells::Max(cells) => gather(cells, input, meter, same, |most, v| {
                if v > *most || most.is_nan() {
                    *most = v;
                }
            }),
            Cells::Count(cells) => gather(cells, input, meter, |_| 1.0, |count, _| *count += 1.0),
            Cells::Group(cells) => gather(cells, input, meter, |_| (), |(), _| ()),
            Cells::Stdvar(cells) | Cells::Stddev(cells) => {
                gather(cells, input, meter, Spread::from, Spread::add)
            }
            Cells::Quantile(cells) => gather(cells, input, meter, |v| vec![v], Vec::push),
        }
    }

    /// A row of cells for each group.
    pub fn result(self) -> (Vec<f64>, Vec<bool>) {
        let (q, width) = (Parameter(&self.quantile), self.step_count);
        match self.cells {
            Cells::Sum(cells) => settled(cells, |_, sum| sum.sum + sum.correction),
            Cells::Avg(cells) => settled(cells, |_, mean| mean.value()),
            Cells::Min(cells) | Cells::Max(cells) | Cells::Count(cells) => {
                settled(cells, |_, value| value)
            }
            Cells::Group(cells) => settled(cells, |_, ()| 1.0),
            Cells::Stdvar(cells) => settled(cells, |_, spread| spread.variance()),
            Cells::Stddev(cells) => settled(cells, |_, spread| spread.variance().sqrt()),
            Cells::Quantile(cells) => settled(cells, |at, mut values| {
                quantile(q.at(at % width), &mut values)
            }),
        }
    }
}

fn same(value: f64) -> f64 {
    value
}

/// Welford's running variance, as Prometheus aggregates it (without compensation).
struct Spread {
    count: f64,
    mean: f64,
    squares: f64,
}

impl Spread {
    fn from(first: f64) -> Self {
        let squares = if first.is_finite() { 0.0 } else { f64::NAN };
        Self {
            count: 1.0,
            mean: first,
            squares,
        }
    }

    fn add(&mut self, value: f64) {
        self.count += 1.0;
        let delta = value - self.mean;
        self.mean += delta / self.count;
        self.squares += delta * (value - self.mean);
    }

    fn variance(&self) -> f64 {
        self.squares / self.count
    }
}

fn gather<S>(
    cells: &mut Vec<Option<S>>,
    input: Grouped<'_>,
    meter: &Meter,
    first: impl Fn(f64) -> S,
    add: impl Fn(&mut S, f64),
) -> Result<()> {
    let count = input.group_count.saturating_mul(input.step_count);
    if cells.len() < count {
        cells.resize_with(count, || None);
    }
    input.each_present(meter, |at, value| match &mut cells[at] {
        Some(state) => add(state, value),
        empty => *empty = Some(first(value)),
    })
}

fn settled<S>(cells: Vec<Option<S>>, value: impl Fn(usize, S) -> f64) -> (Vec<f64>, Vec<bool>) {
    let present = cells.iter().map(Option::is_some).collect();
    let cells = cells.into_iter().enumerate();
    let values = cells.map(|(at, cell)| cell.map_or(0.0, |state| value(at, state)));
    (values.collect(), present)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pick {
    Top,
    Bottom,
    /// The first rows of a group, whatever their values.
    First,
}

impl Pick {
    pub fn parse(name: &str) -> Result<Self> {
        Ok(match name {
            "topk" => Self::Top,
            "bottomk" => Self::Bottom,
            "limitk" => Self::First,
            _ => {
                return Err(CoreError::Invalid(format!(
                    "cannot pick by {name:?}: it is unknown"
                )));
            }
        })
    }

    /// Whether `value` is chosen rather than the worst that is held; NaN is the worst of all.
    fn prefers(self, value: f64, worst: f64) -> bool {
        match self {
            Self::Top => value > worst || (worst.is_nan() && !value.is_nan()),
            Self::Bottom => value < worst || (worst.is_nan() && !value.is_nan()),
            Self::First => false,
        }
    }
}

/// topk, bottomk and limitk: which cells of the input stay. Of equal values the earlier rows do.
pub fn pick(pick: Pick, input: Grouped<'_>, k: Parameter<'_>, meter: &Meter) -> Result<Vec<bool>> {
    input.check()?;
    let mut stays = vec![false; input.values.len()];
    let mut rows_of: Vec<Vec<usize>> = vec![Vec::new(); input.group_count];
    for (row, &group) in input.group_index.iter().enumerate() {
        rows_of[group as usize].push(row);
    }
    let mut held: Vec<(f64, usize)> = Vec::new();
    for step in 0..input.step_count {
        meter.check()?;
        let wanted = k.at(step);
        if wanted.is_nan() {
            return Err(CoreError::Invalid(format!(
                "cannot pick {wanted} series: not a number"
            )));
        }
        if wanted < 1.0 {
            continue;
        }
        let count_max = wanted as usize;
        for rows in &rows_of {
            held.clear();
            for cell in rows.iter().map(|row| row * input.step_count + step) {
                if input.present[cell] {
                    hold(pick, &mut held, count_max, (input.values[cell], cell));
                }
            }
            for &(_, cell) in &held {
                stays[cell] = true;
            }
        }
    }
    Ok(stays)
}

/// Keeps `held` a binary heap with the worst on top and at most `count_max` long. It moves as Go's
/// container/heap does, which decides which of several equal values give way.
fn hold(pick: Pick, held: &mut Vec<(f64, usize)>, count_max: usize, new: (f64, usize)) {
    if held.len() < count_max {
        held.push(new);
        let mut at = held.len() - 1;
        while at > 0 {
            let parent = (at - 1) / 2;
            if !worse(pick, held[at].0, held[parent].0) {
                break;
            }
            held.swap(at, parent);
            at = parent;
        }
    } else if pick.prefers(new.0, held[0].0) {
        held[0] = new;
        sink(pick, held);
    }
}

fn worse(pick: Pick, a: f64, b: f64) -> bool {
    match pick {
        Pick::Top => a.is_nan() || a < b,
        Pick::Bottom => a.is_nan() || a > b,
        Pick::First => false,
    }
}

fn sink(pick: Pick, held: &mut [(f64, usize)]) {
    let mut at = 0;
    loop {
        let left = 2 * at + 1;
        if left >= held.len() {
            return;
        }
        let right = left + 1;
        let right_is_worse = right < held.len() && worse(pick, held[right].0, held[left].0);
        let child = if right_is_worse { right } else { left };
        if !worse(pick, held[child].0, held[at].0) {
            return;
        }
        held.swap(at, child);
        at = child;
    }
}

#[cfg(feature = "python")]
#[allow(clippy::needless_pass_by_value, clippy::too_many_arguments)]
pub(crate) mod python {
    use super::{Folding, Grouped, Operation, Parameter, Pick};
    use crate::error::{CoreError, Result};
    use crate::meter::Meter;
    use crate::meter::python::PyMeter;
    use crate::quantile::bucket_quantile;
    use crate::window::python::{Matrix, contiguous, matrix};
    use numpy::{
        PyArray1, PyArray2, PyArrayMethods, PyReadonlyArray1, PyReadonlyArray2,
        PyUntypedArrayMethods,
    };
    use pyo3::prelude::*;

    #[pyfunction]
    #[pyo3(signature = (operation, values, present, group_index, group_count, parameter, *, meter = None))]
    fn aggregate<'py>(
        py: Python<'py>,
        operation: &str,
        values: PyReadonlyArray2<'py, f64>,
        present: PyReadonlyArray2<'py, bool>,
        group_index: PyReadonlyArray1<'py, u32>,
        group_count: usize,
        parameter: PyReadonlyArray1<'py, f64>,
        meter: Option<&PyMeter>,
    ) -> PyResult<Matrix<'py>> {
        let operation = Operation::parse(operation)?;
        let step_count = values.shape()[1];
        let grouped = Grouped {
            values: values.as_slice().map_err(|_| contiguous("values"))?,
            present: present.as_slice().map_err(|_| contiguous("present"))?,
            step_count,
            group_index: group_index
                .as_slice()
                .map_err(|_| contiguous("group_index"))?,
            group_count,
        };
        let parameter = parameter.as_slice().map_err(|_| contiguous("parameter"))?;
        let unlimited = Meter::unlimited();
        let meter = meter.map_or(&unlimited, |meter| meter.0.as_ref());
        let answer: Result<_> = py.detach(|| {
            super::aggregate(
                operation,
                grouped,
                Parameter::new(parameter, step_count)?,
                meter,
            )
        });
        let (values, present) = answer?;
        matrix(py, values, present, group_count, step_count)
    }

    /// An aggregation that is fed part by part.
    #[pyclass(name = "Folding")]
    pub struct PyFolding {
        folding: Option<Folding>,
        group_count: usize,
        step_count: usize,
    }

    #[pymethods]
    impl PyFolding {
        #[new]
        fn new(operation: &str, step_count: usize) -> PyResult<Self> {
            let folding = Folding::new(Operation::parse(operation)?, step_count);
            Ok(Self {
                folding: Some(folding),
                group_count: 0,
                step_count,
            })
        }

        fn add(
            &mut self,
            py: Python<'_>,
            values: PyReadonlyArray2<'_, f64>,
            present: PyReadonlyArray2<'_, bool>,
            group_index: PyReadonlyArray1<'_, u32>,
            group_count: usize,
        ) -> PyResult<()> {
            let Some(folding) = &mut self.folding else {
                return Err(ended().into());
            };
            self.group_count = self.group_count.max(group_count);
            let grouped = Grouped {
                values: values.as_slice().map_err(|_| contiguous("values"))?,
                present: present.as_slice().map_err(|_| contiguous("present"))?,
                step_count: values.shape()[1],
                group_index: group_index
                    .as_slice()
                    .map_err(|_| contiguous("group_index"))?,
                group_count,
            };
            Ok(py.detach(|| folding.add(grouped, &Meter::unlimited()))?)
        }

        fn result<'py>(&mut self, py: Python<'py>) -> PyResult<Matrix<'py>> {
            let folding = self.folding.take().ok_or_else(ended)?;
            let (values, present) = py.detach(|| folding.result());
            matrix(py, values, present, self.group_count, self.step_count)
        }
    }

    fn ended() -> CoreError {
        CoreError::Invalid("cannot aggregate: the result was taken".into())
    }

    #[pyfunction]
    #[pyo3(signature = (operation, values, present, group_index, group_count, k, *, meter = None))]
    fn pick<'py>(
        py: Python<'py>,
        operation: &str,
        values: PyReadonlyArray2<'py, f64>,
        present: PyReadonlyArray2<'py, bool>,
        group_index: PyReadonlyArray1<'py, u32>,
        group_count: usize,
        k: PyReadonlyArray1<'py, f64>,
        meter: Option<&PyMeter>,
    ) -> PyResult<Bound<'py, PyArray2<bool>>> {
        let pick = Pick::parse(operation)?;
        let &[height, step_count] = values.shape() else {
            return Err(contiguous("values"));
        };
        let grouped = Grouped {
            values: values.as_slice().map_err(|_| contiguous("values"))?,
            present: present.as_slice().map_err(|_| contiguous("present"))?,
            step_count,
            group_index: group_index
                .as_slice()
                .map_err(|_| contiguous("group_index"))?,
            group_count,
        };
        let k = k.as_slice().map_err(|_| contiguous("k"))?;
        let unlimited = Meter::unlimited();
        let meter = meter.map_or(&unlimited, |meter| meter.0.as_ref());
        let stays: Result<_> =
            py.detach(|| super::pick(pick, grouped, Parameter::new(k, step_count)?, meter));
        PyArray1::from_vec(py, stays?).reshape([height, step_count])
    }

    /// Values, marks, and where the counts had to be made to rise.
    type Quantiles<'py> = (
        Bound<'py, PyArray1<f64>>,
        Bound<'py, PyArray1<bool>>,
        Bound<'py, PyArray1<bool>>,
    );

    /// A quantile of one classic histogram at every step.
    #[pyfunction]
    fn histogram_quantile<'py>(
        py: Python<'py>,
        upper_bounds: PyReadonlyArray1<'py, f64>,
        counts: PyReadonlyArray2<'py, f64>,
        present: PyReadonlyArray2<'py, bool>,
        q: PyReadonlyArray1<'py, f64>,
    ) -> PyResult<Quantiles<'py>> {
        let step_count = counts.shape()[1];
        let bounds = upper_bounds
            .as_slice()
            .map_err(|_| contiguous("upper_bounds"))?;
        let counts = counts.as_slice().map_err(|_| contiguous("counts"))?;
        let marks = present.as_slice().map_err(|_| contiguous("present"))?;
        let q = q.as_slice().map_err(|_| contiguous("q"))?;
        let answer: Result<_> = py.detach(|| {
            let q = Parameter::new(q, step_count)?;
            if counts.len() != bounds.len() * step_count || marks.len() != counts.len() {
                return Err(CoreError::Invalid(format!(
                    "cannot take a histogram's quantile: {} counts and {} marks are not {} buckets of {step_count} steps",
                    counts.len(),
                    marks.len(),
                    bounds.len()
                )));
            }
            let (mut values, mut present, mut forced) = (Vec::new(), Vec::new(), Vec::new());
            let mut buckets = Vec::with_capacity(bounds.len());
            for step in 0..step_count {
                buckets.clear();
                let cells = bounds.iter().enumerate().map(|(at, b)| (at * step_count + step, b));
                buckets.extend(cells.filter(|(at, _)| marks[*at]).map(|(at, b)| (*b, counts[at])));
                present.push(!buckets.is_empty());
                let quantile = bucket_quantile(q.at(step), &mut buckets);
                values.push(quantile.value);
                forced.push(quantile.forced_monotonic);
            }
            Ok((values, present, forced))
        });
        let (values, present, forced) = answer?;
        Ok((
            PyArray1::from_vec(py, values),
            PyArray1::from_vec(py, present),
            PyArray1::from_vec(py, forced),
        ))
    }

    pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
        module.add_class::<PyFolding>()?;
        module.add_function(wrap_pyfunction!(aggregate, module)?)?;
        module.add_function(wrap_pyfunction!(pick, module)?)?;
        module.add_function(wrap_pyfunction!(histogram_quantile, module)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NAN: f64 = f64::NAN;

    /// One step, one group.
    fn one(name: &str, values: &[f64], q: f64) -> f64 {
        let input = Grouped {
            values,
            present: &vec![true; values.len()],
            step_count: 1,
            group_index: &vec![0; values.len()],
            group_count: 1,
        };
        let operation = Operation::parse(name).unwrap();
        let q = [q];
        let parameter = Parameter::new(&q, 1).unwrap();
        let (out, present) = aggregate(operation, input, parameter, &Meter::unlimited()).unwrap();
        assert_eq!(present, [true]);
        out[0]
    }

    #[test]
    fn every_operation() {
        let values = [4.0, 1.0, 3.0, 8.0];
        for (name, expected) in [
            ("sum", 16.0),
            ("avg", 4.0),
            ("min", 1.0),
            ("max", 8.0),
            ("count", 4.0),
            ("group", 1.0),
            ("stdvar", 6.5),
            ("stddev", 6.5f64.sqrt()),
            ("quantile", 3.5),
        ] {
            let got = one(name, &values, 0.5);
            assert!((got - expected).abs() < 1e-12, "{name}: {got}");
        }
        assert!(Operation::parse("median").is_err());
    }

    #[test]
    fn awkward_values() {
        assert_eq!(one("min", &[NAN, 2.0, NAN], 0.0), 2.0);
        assert_eq!(one("max", &[NAN, 2.0, NAN], 0.0), 2.0);
        assert!(one("max", &[NAN, NAN], 0.0).is_nan());
        assert_eq!(one("sum", &[1e100, 1.0, -1e100], 0.0), 1.0);
        assert_eq!(one("avg", &[f64::MAX, f64::MAX], 0.0), f64::MAX);
        assert!(one("stddev", &[f64::INFINITY, 1.0], 0.0).is_nan());
        assert!(one("stdvar", &[NAN], 0.0).is_nan());
        assert_eq!(one("stdvar", &[5.0], 0.0), 0.0);
        assert_eq!(one("quantile", &[1.0], 2.0), f64::INFINITY);
    }

    #[test]
    fn groups_and_gaps() {
        let input = Grouped {
            values: &[1.0, 2.0, 10.0, 20.0, 100.0, 200.0],
            present: &[true, false, true, true, true, false],
            step_count: 2,
            group_index: &[1, 0, 1],
            group_count: 3,
        };
        let q = [0.0, 1.0];
        let q = Parameter::new(&q, 2).unwrap();
        let meter = Meter::unlimited();
        let (values, present) = aggregate(Operation::Sum, input, q, &meter).unwrap();
        assert_eq!(values, [10.0, 20.0, 101.0, 0.0, 0.0, 0.0]);
        assert_eq!(present, [true, true, true, false, false, false]);
        let (values, _) = aggregate(Operation::Quantile, input, q, &meter).unwrap();
        assert_eq!(values[..3], [10.0, 20.0, 1.0]);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let meter = Meter::unlimited();
        let good = Grouped {
            values: &[1.0],
            present: &[true],
            step_count: 1,
            group_index: &[0],
            group_count: 1,
        };
        let parameter = Parameter::new(&[0.0], 1).unwrap();
        for bad in [
            Grouped {
                values: &[],
                ..good
            },
            Grouped {
                present: &[true, true],
                ..good
            },
            Grouped {
                group_index: &[1],
                ..good
            },
            Grouped {
                step_count: 2,
                ..good
            },
        ] {
            assert!(aggregate(Operation::Sum, bad, parameter, &meter).is_err());
            assert!(pick(Pick::Top, bad, parameter, &meter).is_err());
        }
        assert!(Parameter::new(&[1.0, 2.0], 3).is_err());
        assert!(pick(Pick::Top, good, Parameter(&[NAN]), &meter).is_err());
    }

    fn picked(name: &str, values: &[f64], k: f64) -> Vec<usize> {
        let input = Grouped {
            values,
            present: &vec![true; values.len()],
            step_count: 1,
            group_index: &vec![0; values.len()],
            group_count: 1,
        };
        let k = [k];
        let k = Parameter::new(&k, 1).unwrap();
        let stays = pick(Pick::parse(name).unwrap(), input, k, &Meter::unlimited()).unwrap();
        (0..values.len()).filter(|&at| stays[at]).collect()
    }

    #[test]
    fn picks() {
        let values = [3.0, NAN, 9.0, 1.0, 7.0];
        assert_eq!(picked("topk", &values, 2.0), [2, 4]);
        assert_eq!(picked("bottomk", &values, 2.0), [0, 3]);
        assert_eq!(picked("limitk", &values, 2.0), [0, 1]);
        assert_eq!(picked("topk", &values, 5.0), [0, 1, 2, 3, 4]);
        assert_eq!(picked("topk", &values, 4.0), [0, 2, 3, 4]);
        assert_eq!(picked("topk", &values, 0.5), [0usize; 0]);
        assert_eq!(picked("topk", &[1.0, 1.0, 1.0], 1.0), [0]);
        assert_eq!(picked("topk", &values, 1e300), [0, 1, 2, 3, 4]);
    }

    proptest! {
        #[test]
        fn the_highest_are_picked(values in prop::collection::vec(-100i32..100, 1..30), k in 1usize..12) {
            let values: Vec<f64> = values.iter().map(|&v| f64::from(v)).collect();
            let mut expected = values.clone();
            expected.sort_by(|a, b| b.total_cmp(a));
            expected.truncate(k);
            let mut got: Vec<f64> = picked("topk", &values, k as f64).iter().map(|&at| values[at]).collect();
            got.sort_by(|a, b| b.total_cmp(a));
            prop_assert_eq!(got, expected.clone());
            let negated: Vec<f64> = values.iter().map(|v| -v).collect();
            let mut lowest: Vec<f64> =
                picked("bottomk", &negated, k as f64).iter().map(|&at| values[at]).collect();
            lowest.sort_by(|a, b| b.total_cmp(a));
            prop_assert_eq!(lowest, expected);
        }
    }
}
