//! Whole expressions in one call: select, windows, aggregation, labels and simple operators, without
//! a step of the interpreter between them.
//!
//! A language builds a `Node` for the parts of a query that have such a shape and evaluates the rest
//! itself. Its own evaluation stays the definition: whatever is not plain here (text, labels that
//! meet, too much at once) is answered with none, and the language starts over.

use crate::aggregate::{Folding, Grouped, Operation};
use crate::error::{CoreError, Result};
use crate::label_rows::LabelRows;
use crate::meter::Meter;
use crate::relabel::Relabel;
use crate::selector::Matcher;
use crate::snapshot::{Selection, Snapshot};
use crate::window::{Function, Steps};
use hashbrown::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The name and what is treated as part of it.
const NAME_LABELS: [&str; 3] = ["__name__", "__type__", "__unit__"];
/// Deeper trees are not made.
pub const DEPTH_MAX: usize = 64;
/// Begins a text that is to be replaced; the number of the text that replaces it follows.
pub const SLOT: char = '\u{e000}';
/// Rows read between two looks at the clock, where time is short.
const BRIEF_ROWS: usize = 16;

#[derive(Debug)]
pub enum Node {
    Window(Window),
    Aggregate {
        operation: Operation,
        names: Vec<String>,
        without: bool,
        input: Arc<Node>,
    },
    /// One label of each row, rewritten where the pattern matches another.
    Relabel {
        target: String,
        source: String,
        relabel: Relabel,
        input: Arc<Node>,
    },
    /// Rows of the first, and of the second where no row of the first with the same labels is there.
    Either(Arc<Node>, Arc<Node>),
    WithScalar {
        operator: Operator,
        scalar: f64,
        vector_is_left: bool,
        input: Arc<Node>,
    },
}

/// A selector and the function to run over each of its series.
#[derive(Debug)]
pub struct Window {
    pub matchers: Vec<Matcher>,
    pub function: Function,
    pub range_ns: i64,
    pub offset_ns: i64,
    pub keeps_name: bool,
}

/// Between a row and a number. Comparisons filter and keep the row's values and its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operator {
    Add,
    Subtract,
    Multiply,
    Divide,
    Equal,
    NotEqual,
    Greater,
    Less,
    GreaterOrEqual,
    LessOrEqual,
}

impl Operator {
    /// None for what is left to the language.
    pub fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "+" => Self::Add,
            "-" => Self::Subtract,
            "*" => Self::Multiply,
            "/" => Self::Divide,
            "==" => Self::Equal,
            "!=" => Self::NotEqual,
            ">" => Self::Greater,
            "<" => Self::Less,
            ">=" => Self::GreaterOrEqual,
            "<=" => Self::LessOrEqual,
            _ => return None,
        })
    }

    fn computed(self, left: f64, right: f64) -> Option<f64> {
        Some(match self {
            Self::Add => left + right,
            Self::Subtract => left - right,
            Self::Multiply => left * right,
            Self::Divide => left / right,
            _ => return None,
        })
    }

    #[allow(clippy::float_cmp)]
    fn holds(self, left: f64, right: f64) -> bool {
        match self {
            Self::Equal => left == right,
            Self::NotEqual => left != right,
            Self::Greater => left > right,
            Self::Less => left < right,
            Self::GreaterOrEqual => left >= right,
            Self::LessOrEqual => left <= right,
            _ => false,
        }
    }

    fn is_comparison(self) -> bool {
        self.computed(0.0, 0.0).is_none()
    }
}

impl Node {
    /// Whether every selector is found by looking texts up, never by going through all of them.
    pub fn looks_up(&self) -> bool {
        match self {
            Self::Window(window) => window.matchers.iter().all(Matcher::looks_up),
            Self::Aggregate { input, .. }
            | Self::Relabel { input, .. }
            | Self::WithScalar { input, .. } => input.looks_up(),
            Self::Either(left, right) => left.looks_up() && right.looks_up(),
        }
    }

    /// The same with other texts in the places of slots. An error where a text does not fit there.
    pub fn filled(&self, texts: &[String]) -> Result<Self> {
        let boxed = |node: &Self| Ok::<_, CoreError>(Arc::new(node.filled(texts)?));
        let text = |held: &str| filled(held, texts).map(str::to_owned);
        Ok(match self {
            Self::Window(window) => {
                let matchers = window.matchers.iter().map(|matcher| {
                    let value = filled(&matcher.value, texts)?;
                    if value == matcher.value {
                        return Ok(matcher.clone());
                    }
                    Matcher::parse(matcher.target.label(), matcher.operator.as_str(), value)
                });
                Self::Window(Window {
                    matchers: matchers.collect::<Result<_>>()?,
                    ..*window
                })
            }
            Self::Aggregate {
                operation,
                names,
                without,
                input,
            } => Self::Aggregate {
                operation: *operation,
                names: names.clone(),
                without: *without,
                input: boxed(input)?,
            },
            Self::Relabel {
                target,
                source,
                relabel,
                input,
            } => Self::Relabel {
                target: named(text(target)?)?,
                source: text(source)?,
                relabel: Relabel::new(filled(&relabel.pattern, texts)?, text(&relabel.template)?)?,
                input: boxed(input)?,
            },
            Self::Either(left, right) => Self::Either(boxed(left)?, boxed(right)?),
            Self::WithScalar {
                operator,
                scalar,
                vector_is_left,
                input,
            } => Self::WithScalar {
                operator: *operator,
                scalar: *scalar,
                vector_is_left: *vector_is_left,
                input: boxed(input)?,
            },
        })
    }

    pub fn depth(&self) -> usize {
        1 + match self {
            Self::Window(_) => 0,
            Self::Aggregate { input, .. }
            | Self::Relabel { input, .. }
            | Self::WithScalar { input, .. } => input.depth(),
            Self::Either(left, right) => left.depth().max(right.depth()),
        }
    }
}

/// What stands in the place of `held`.
fn filled<'a>(held: &'a str, texts: &'a [String]) -> Result<&'a str> {
    let Some(number) = held.strip_prefix(SLOT) else {
        return Ok(held);
    };
    let text = number.parse().ok().and_then(|at: usize| texts.get(at));
    text.map(String::as_str)
        .ok_or_else(|| CoreError::Invalid("cannot fill an expression: a text is missing".into()))
}

/// A label's name is never empty.
fn named(label: String) -> Result<String> {
    if label.is_empty() {
        let cause = "cannot set a label: its name is empty";
        return Err(CoreError::Invalid(cause.into()));
    }
    Ok(label)
}

/// Rows of `step_count` cells, one a label set.
#[derive(Debug, Default)]
pub struct Table {
    pub labels: LabelRows,
    pub values: Vec<f64>,
    pub present: Vec<bool>,
}

impl Table {
    /// Without the rows that have no cell.
    fn filled(self, width: usize) -> Self {
        let rows = self.present.chunks(width.max(1));
        let used: Vec<bool> = rows.map(|row| row.contains(&true)).collect();
        if used.iter().all(|&is_used| is_used) {
            return self;
        }
        let kept = || (0..used.len()).filter(|&row| used[row]);
        let cells = |row: usize| row * width..(row + 1) * width;
        Self {
            labels: self.labels.take(kept()),
            values: kept()
                .flat_map(|row| &self.values[cells(row)])
                .copied()
                .collect(),
            present: kept()
                .flat_map(|row| &self.present[cells(row)])
                .copied()
                .collect(),
        }
    }

    /// In rising order of labels.
    fn ordered(self, width: usize) -> Self {
        let rows = self.labels.len();
        if (1..rows).all(|at| self.labels.row(at - 1) <= self.labels.row(at)) {
            return self;
        }
        let order = self.labels.order();
        let cells = |&row: &usize| row * width..(row + 1) * width;
        Self {
            values: order
                .iter()
                .flat_map(|row| &self.values[cells(row)])
                .copied()
                .collect(),
            present: order
                .iter()
                .flat_map(|row| &self.present[cells(row)])
                .copied()
                .collect(),
            labels: self.labels.take(order.into_iter()),
        }
    }

    /// None where two rows have one label set.
    fn distinct(self) -> Option<Self> {
        self.labels.is_distinct().then_some(self)
    }

    fn unnamed(self) -> Option<Self> {
        let labels = without_names(&self.labels, &[]);
        Self { labels, ..self }.distinct()
    }
}

fn without_names(labels: &LabelRows, more: &[String]) -> LabelRows {
    let mut names: Vec<String> = NAME_LABELS.map(str::to_owned).into();
    names.extend_from_slice(more);
    labels.with_labels(&names, true)
}

/// How much may be done before it is left to the language.
#[derive(Debug, Clone, Copy)]
pub struct Allowance {
    /// Of one table; what is aggregated is read in parts of this size.
    pub cells_max: usize,
    pub series_max: usize,
    /// Only looked at every few rows.
    pub brief: Option<Brief>,
    pub threads: usize,
}

/// The bounds of what is done while others wait.
#[derive(Debug, Clone, Copy)]
pub struct Brief {
    pub samples_max: u64,
    pub time_max: Duration,
}

/// Steps that every selector of an expression is read at.
#[derive(Debug, Clone, Copy)]
pub struct Grid {
    pub start_ns: i64,
    pub step_ns: i64,
    pub count: usize,
}

pub struct Run<'a> {
    pub snapshot: &'a Snapshot,
    pub tenant: &'a str,
    /// Join every selector.
    pub forced: &'a [Matcher],
    pub grid: Grid,
    pub allowance: Allowance,
    pub meter: &'a Meter,
    started: Instant,
    samples_before: u64,
    series_left: usize,
}

impl<'a> Run<'a> {
    pub fn new(
        snapshot: &'a Snapshot,
        tenant: &'a str,
        forced: &'a [Matcher],
        grid: Grid,
        allowance: Allowance,
        meter: &'a Meter,
    ) -> Self {
        Self {
            snapshot,
            tenant,
            forced,
            grid,
            allowance,
            meter,
            started: Instant::now(),
            samples_before: meter.samples_read(),
            series_left: allowance.series_max,
        }
    }

    /// Rows that have a cell, in rising order of their labels where that is asked for. None where the
    /// language has to do it; then the meter has forgotten what was read.
    pub fn evaluate(mut self, node: &Node, is_ordered: bool) -> Result<Option<Table>> {
        let series_before = self.meter.series_read();
        let Some(found) = self.table(node)? else {
            self.meter.forget_since(self.samples_before, series_before);
            return Ok(None);
        };
        let width = self.grid.count;
        let found = found.filled(width);
        Ok(Some(if is_ordered {
            found.ordered(width)
        } else {
            found
        }))
    }

    fn is_long(&self) -> bool {
        self.allowance.brief.is_some_and(|brief| {
            let samples_read = self.meter.samples_read() - self.samples_before;
            samples_read > brief.samples_max || self.started.elapsed() > brief.time_max
        })
    }

    fn table(&mut self, node: &Node) -> Result<Option<Table>> {
        if self.is_long() {
            return Ok(None);
        }
        match node {
            Node::Window(window) => self.window(window),
            Node::Aggregate {
                operation,
                names,
                without,
                input,
            } => self.aggregate(*operation, names, *without, input),
            Node::Relabel {
                target,
                source,
                relabel,
                input,
            } => {
                let Some(table) = self.table(input)? else {
                    return Ok(None);
                };
                let values = relabel.expand_all(&table.labels.column(source));
                let labels = table.labels.with_column(target, &values)?;
                Ok(Table { labels, ..table }.distinct())
            }
            Node::Either(left, right) => {
                let Some(left) = self.table(left)? else {
                    return Ok(None);
                };
                let Some(right) = self.table(right)? else {
                    return Ok(None);
                };
                Ok(either(left, &right, self.grid.count).distinct())
            }
            Node::WithScalar {
                operator,
                scalar,
                vector_is_left,
                input,
            } => {
                let table = self.table(input)?;
                Ok(table.and_then(|table| with_scalar(table, *operator, *scalar, *vector_is_left)))
            }
        }
    }

    /// The series of a selector, unless they are too many or two have one label set.
    fn select(&mut self, window: &Window, steps: &Steps) -> Result<Option<Selection>> {
        let Some(range) = steps.time_range() else {
            return Ok(None);
        };
        let mut matchers = window.matchers.clone();
        matchers.extend_from_slice(self.forced);
        let few = self.snapshot.select_few(
            self.tenant,
            &matchers,
            range,
            self.meter,
            self.series_left,
        )?;
        let Some(selection) = few.filter(|found| found.collision().is_none()) else {
            return Ok(None);
        };
        self.series_left -= selection.len();
        Ok(Some(selection))
    }

    fn steps(&self, window: &Window) -> Result<Steps> {
        let Grid {
            start_ns,
            step_ns,
            count,
        } = self.grid;
        Steps::new(start_ns, step_ns, count, window.range_ns, window.offset_ns)
    }

    fn window(&mut self, window: &Window) -> Result<Option<Table>> {
        let steps = self.steps(window)?;
        let Some(selection) = self.select(window, &steps)? else {
            return Ok(None);
        };
        let count = selection.len();
        if count.saturating_mul(steps.count()) > self.allowance.cells_max {
            return Ok(None);
        }
        let read = self.read(&selection, 0..count, window.function, &steps)?;
        let Some((values, present)) = read else {
            return Ok(None);
        };
        let table = Table {
            labels: selection.into_labels(),
            values,
            present,
        };
        let table = table.filled(steps.count());
        Ok(if window.keeps_name {
            Some(table)
        } else {
            table.unnamed()
        })
    }

    /// The cells of some rows; none where it takes long, or texts or histograms were met.
    fn read(
        &self,
        selection: &Selection,
        rows: std::ops::Range<usize>,
        function: Function,
        steps: &Steps,
    ) -> Result<Option<(Vec<f64>, Vec<bool>)>> {
        let (threads, meter) = (self.allowance.threads, self.meter);
        let window = |first, count| selection.window(first, count, function, steps, threads, meter);
        let (mut values, mut present) = (Vec::new(), Vec::new());
        if self.allowance.brief.is_none() {
            (values, present) = window(rows.start, rows.len())?;
        } else {
            for first in rows.clone().step_by(BRIEF_ROWS) {
                if self.is_long() {
                    return Ok(None);
                }
                let part = window(first, BRIEF_ROWS.min(rows.end - first))?;
                values.extend(part.0);
                present.extend(part.1);
            }
        }
        Ok(selection.held_numbers_alone().then_some((values, present)))
    }

    fn aggregate(
        &mut self,
        operation: Operation,
        names: &[String],
        without: bool,
        input: &Node,
    ) -> Result<Option<Table>> {
        let width = self.grid.count;
        let grouped = |labels: &LabelRows| {
            let keys = if without {
                without_names(labels, names)
            } else {
                labels.with_labels(names, false)
            };
            keys.groups()
        };
        let mut folding = Folding::new(operation, width);
        let groups = if let Node::Window(window) = input {
            let steps = self.steps(window)?;
            let Some(selection) = self.select(window, &steps)? else {
                return Ok(None);
            };
            let unnamed = (!window.keeps_name).then(|| without_names(selection.labels(), &[]));
            if unnamed.as_ref().is_some_and(|labels| !labels.is_distinct()) {
                return Ok(None);
            }
            let (index, groups) = grouped(unnamed.as_ref().unwrap_or(selection.labels()));
            let mut seen = Seen::default();
            let rows_max = (self.allowance.cells_max / width.max(1)).max(1);
            for first in (0..selection.len()).step_by(rows_max) {
                let rows = first..selection.len().min(first + rows_max);
                let read = self.read(&selection, rows.clone(), window.function, &steps)?;
                let Some((values, present)) = read else {
                    return Ok(None);
                };
                let index = seen.numbers(&index[rows], &present, width);
                if seen.groups.is_empty() {
                    continue;
                }
                self.fold(&mut folding, &values, &present, &index, seen.groups.len())?;
            }
            groups.take(seen.groups.into_iter())
        } else {
            let Some(table) = self.table(input)? else {
                return Ok(None);
            };
            let (index, groups) = grouped(&table.labels);
            let index: Vec<u32> = index.iter().map(|&group| group as u32).collect();
            let (values, present) = (&table.values, &table.present);
            self.fold(&mut folding, values, present, &index, groups.len())?;
            groups
        };
        let (values, present) = folding.result();
        let table = Table {
            labels: groups,
            values,
            present,
        };
        Ok(Some(table.filled(width)))
    }

    fn fold(
        &self,
        folding: &mut Folding,
        values: &[f64],
        present: &[bool],
        group_index: &[u32],
        group_count: usize,
    ) -> Result<()> {
        let grouped = Grouped {
            values,
            present,
            step_count: self.grid.count,
            group_index,
            group_count,
        };
        folding.add(grouped, self.meter)
    }
}

/// Groups in the order in which a row with a cell is met: rows without one make no group.
#[derive(Default)]
struct Seen {
    groups: Vec<usize>,
    numbers: HashMap<i64, u32>,
}

impl Seen {
    /// The numbers of the groups of rows; that of a row without a cell means nothing.
    fn numbers(&mut self, index: &[i64], present: &[bool], width: usize) -> Vec<u32> {
        let rows = index.iter().zip(present.chunks(width.max(1)));
        let number = rows.map(|(&group, present)| {
            if !present.contains(&true) {
                return 0;
            }
            let (groups, next) = (&mut self.groups, self.numbers.len() as u32);
            *self.numbers.entry(group).or_insert_with(|| {
                groups.push(group as usize);
                next
            })
        });
        number.collect()
    }
}

fn with_scalar(
    mut table: Table,
    operator: Operator,
    scalar: f64,
    vector_is_left: bool,
) -> Option<Table> {
    let sides = |value: f64| {
        if vector_is_left {
            (value, scalar)
        } else {
            (scalar, value)
        }
    };
    if operator.is_comparison() {
        for (present, &value) in table.present.iter_mut().zip(&table.values) {
            let (left, right) = sides(value);
            *present &= operator.holds(left, right);
        }
        return Some(table);
    }
    for value in &mut table.values {
        let (left, right) = sides(*value);
        *value = operator.computed(left, right).unwrap_or_default();
    }
    table.unnamed()
}

fn either(left: Table, right: &Table, width: usize) -> Table {
    let labels = LabelRows::concatenate(&[&left.labels, &right.labels]);
    let (index, groups) = without_names(&labels, &[]).groups();
    let (of_left, of_right) = index.split_at(left.labels.len());
    let cells = |row: usize| row * width..(row + 1) * width;
    let mut taken = vec![false; groups.len() * width];
    for (row, &group) in of_left.iter().enumerate() {
        let taken = &mut taken[cells(group as usize)];
        for (taken, &present) in taken.iter_mut().zip(&left.present[cells(row)]) {
            *taken |= present;
        }
    }
    let (mut values, mut present) = (left.values, left.present);
    values.extend_from_slice(&right.values);
    for (row, &group) in of_right.iter().enumerate() {
        let taken = &taken[cells(group as usize)];
        let own = right.present[cells(row)].iter();
        present.extend(own.zip(taken).map(|(&own, &taken)| own && !taken));
    }
    let table = Table {
        labels,
        values,
        present,
    };
    table.filled(width)
}

#[cfg(feature = "python")]
#[allow(clippy::needless_pass_by_value)]
pub(crate) mod python {
    use super::{DEPTH_MAX, Node, Operator, Window};
    use crate::aggregate::Operation;
    use crate::error::CoreError;
    use crate::relabel::Relabel;
    use crate::selector::Matcher;
    use crate::window::Function;
    use pyo3::prelude::*;
    use std::sync::Arc;

    type Triple = (String, String, String);

    /// An expression that the core evaluates in one call; immutable.
    #[pyclass(name = "Fused", frozen)]
    pub struct PyFused(pub Arc<Node>);

    fn made(node: Node) -> PyResult<PyFused> {
        if node.depth() > DEPTH_MAX {
            let cause = format!("cannot fuse an expression: deeper than {DEPTH_MAX}");
            return Err(CoreError::Invalid(cause).into());
        }
        Ok(PyFused(Arc::new(node)))
    }

    #[pymethods]
    impl PyFused {
        #[staticmethod]
        fn window(
            matchers: Vec<Triple>,
            function: &str,
            parameters: Vec<f64>,
            range_ns: i64,
            offset_ns: i64,
            keeps_name: bool,
        ) -> PyResult<Self> {
            made(Node::Window(Window {
                matchers: Matcher::parse_all(&matchers)?,
                function: Function::parse(function, &parameters)?,
                range_ns,
                offset_ns,
                keeps_name,
            }))
        }

        fn aggregate(&self, operation: &str, names: Vec<String>, without: bool) -> PyResult<Self> {
            made(Node::Aggregate {
                operation: Operation::parse(operation)?,
                names,
                without,
                input: Arc::clone(&self.0),
            })
        }

        fn relabel(
            &self,
            target: String,
            template: String,
            source: String,
            pattern: &str,
        ) -> PyResult<Self> {
            made(Node::Relabel {
                target,
                source,
                relabel: Relabel::new(pattern, template)?,
                input: Arc::clone(&self.0),
            })
        }

        fn either(&self, other: &Self) -> PyResult<Self> {
            made(Node::Either(Arc::clone(&self.0), Arc::clone(&other.0)))
        }

        fn with_scalar(
            &self,
            operator: &str,
            scalar: f64,
            vector_is_left: bool,
        ) -> PyResult<Option<Self>> {
            let Some(operator) = Operator::parse(operator) else {
                return Ok(None);
            };
            let input = Arc::clone(&self.0);
            made(Node::WithScalar {
                operator,
                scalar,
                vector_is_left,
                input,
            })
            .map(Some)
        }

        fn filled(&self, texts: Vec<String>) -> PyResult<Self> {
            Ok(Self(Arc::new(self.0.filled(&texts)?)))
        }

        #[getter]
        fn looks_up(&self) -> bool {
            self.0.looks_up()
        }
    }

    pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
        module.add_class::<PyFused>()
    }
}
