//! Label sets of many series as numbers: texts once, sorted, and a row of pairs for each series.
//!
//! `snapshot` makes them when it selects; languages pass them on, group and drop labels, and `answer`
//! prints them, so that label sets become objects of the interpreter only where somebody looks into them.

use crate::answer::push_text;
use crate::error::{CoreError, Result};
use crate::index::Interner;
use crate::series::SeriesView;
use hashbrown::{HashMap, HashSet};
use std::sync::Arc;

const NAME: &str = "__name__";

/// The number of a text and that of another: a label and its value.
pub type Pair = (u32, u32);

/// Distinct texts in byte order: their numbers compare as they do.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Texts {
    bytes: String,
    ends: Vec<usize>,
}

impl Texts {
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    pub fn get(&self, number: u32) -> &str {
        let at = number as usize;
        let from = at.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.bytes[from..self.ends[at]]
    }

    pub fn iter(&self) -> impl Iterator<Item = &str> {
        (0..self.len() as u32).map(|number| self.get(number))
    }

    fn find(&self, text: &str) -> Option<u32> {
        let (mut low, mut high) = (0, self.len() as u32);
        while low < high {
            let middle = low + (high - low) / 2;
            match self.get(middle).cmp(text) {
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Greater => high = middle,
                std::cmp::Ordering::Equal => return Some(middle),
            }
        }
        None
    }

    /// These and others in one, and for each of these its new number.
    fn joined<'a>(&'a self, others: impl Iterator<Item = &'a str>) -> (Self, Vec<u32>) {
        let mut all: Vec<&str> = self.iter().collect();
        let mut seen: HashSet<&str> = HashSet::new();
        all.extend(others.filter(|text| self.find(text).is_none() && seen.insert(text)));
        all.sort_unstable();
        let texts = Self::of(all.into_iter());
        let numbers = texts.numbers_of(self);
        (texts, numbers)
    }

    /// For each text of `other`, which holds none but these, its number here.
    fn numbers_of(&self, other: &Self) -> Vec<u32> {
        let mut number = 0;
        let mut numbers = Vec::with_capacity(other.len());
        for text in other.iter() {
            while (number as usize) < self.len() && self.get(number) != text {
                number += 1;
            }
            numbers.push(number);
        }
        numbers
    }

    fn of<'a>(sorted: impl Iterator<Item = &'a str>) -> Self {
        let mut texts = Self::default();
        for text in sorted {
            texts.bytes.push_str(text);
            texts.ends.push(texts.bytes.len());
        }
        texts
    }
}

/// Rows of label pairs, each sorted by label.
#[derive(Debug, Clone, Default)]
pub struct LabelRows {
    texts: Arc<Texts>,
    pairs: Vec<Pair>,
    ends: Vec<usize>,
}

impl LabelRows {
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    pub fn texts(&self) -> &Texts {
        &self.texts
    }

    /// What it holds on to, texts included.
    pub fn memory_bytes(&self) -> usize {
        let texts = self.texts.bytes.len() + self.texts.ends.len() * size_of::<usize>();
        texts + self.pairs.len() * size_of::<Pair>() + self.ends.len() * size_of::<usize>()
    }

    pub fn row(&self, at: usize) -> &[Pair] {
        let from = at.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.pairs[from..self.ends[at]]
    }

    pub fn rows(&self) -> impl ExactSizeIterator<Item = &[Pair]> {
        (0..self.len()).map(|at| self.row(at))
    }

    /// The labels of one row as texts.
    pub fn labels(&self, at: usize) -> impl Iterator<Item = (&str, &str)> {
        let text = |number| self.texts.get(number);
        self.row(at)
            .iter()
            .map(move |&(label, value)| (text(label), text(value)))
    }

    /// Those rows, in the order given; every place is below `len`.
    #[must_use]
    pub fn take(&self, places: impl Iterator<Item = usize>) -> Self {
        self.filled(places.map(|at| self.row(at).iter().copied()))
    }

    fn filled<R: Iterator<Item = Pair>>(&self, rows: impl Iterator<Item = R>) -> Self {
        let mut out = Self {
            texts: Arc::clone(&self.texts),
            pairs: Vec::with_capacity(self.pairs.len()),
            ends: Vec::with_capacity(self.len()),
        };
        for row in rows {
            out.pairs.extend(row);
            out.ends.push(out.pairs.len());
        }
        if out.pairs.is_empty() {
            // A sum over all of thousands need not carry their texts along.
            out.texts = Arc::default();
        }
        out
    }

    /// Each row with only the named labels, or without them.
    #[must_use]
    pub fn with_labels(&self, names: &[String], without: bool) -> Self {
        let named: Vec<u32> = names.iter().filter_map(|n| self.texts.find(n)).collect();
        let kept = |pair: &Pair| named.contains(&pair.0) != without;
        self.filled(self.rows().map(|row| row.iter().copied().filter(kept)))
    }

    /// For each row the number of its group, and one row for each group, in the order they are seen.
    pub fn groups(&self) -> (Vec<i64>, Self) {
        let mut numbers: HashMap<&[Pair], i64> = HashMap::new();
        let mut firsts = Vec::new();
        let mut index = Vec::with_capacity(self.len());
        for (at, row) in self.rows().enumerate() {
            let number = *numbers.entry(row).or_insert_with(|| {
                firsts.push(at);
                firsts.len() as i64 - 1
            });
            index.push(number);
        }
        (index, self.take(firsts.into_iter()))
    }

    /// Whether no two rows are equal.
    pub fn is_distinct(&self) -> bool {
        let ascends = (1..self.len()).all(|at| self.row(at - 1) < self.row(at));
        ascends || self.groups().1.len() == self.len()
    }

    /// Places of the rows in rising order of their labels; equal rows stay in theirs.
    pub fn order(&self) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.len()).collect();
        order.sort_by(|&a, &b| self.row(a).cmp(self.row(b)));
        order
    }

    /// Distinct names of labels, in no order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        let mut seen = vec![false; self.texts.len()];
        let labels = self.pairs.iter().map(|pair| pair.0);
        labels
            .filter(move |&label| !std::mem::replace(&mut seen[label as usize], true))
            .map(|label| self.texts.get(label))
    }

    /// Distinct values of a label, in the order of the rows that have it.
    pub fn values(&self, label: &str) -> Vec<&str> {
        let Some(label) = self.texts.find(label) else {
            return Vec::new();
        };
        let mut seen = vec![false; self.texts.len()];
        let mut values = Vec::new();
        for &(own, value) in &self.pairs {
            if own == label && !std::mem::replace(&mut seen[value as usize], true) {
                values.push(self.texts.get(value));
            }
        }
        values
    }

    /// The value of a label in each row; empty where it has none.
    pub fn column(&self, label: &str) -> Vec<&str> {
        let Some(label) = self.texts.find(label) else {
            return vec![""; self.len()];
        };
        let value = |row: &[Pair]| row.iter().find(|pair| pair.0 == label).map(|pair| pair.1);
        self.rows()
            .map(|row| value(row).map_or("", |number| self.texts.get(number)))
            .collect()
    }

    /// The rows with a label set to a value each: none keeps what is there, an empty one removes it.
    pub fn with_column(&self, label: &str, values: &[Option<String>]) -> Result<Self> {
        if values.len() != self.len() {
            return Err(CoreError::Invalid(format!(
                "cannot set label {label:?}: {} values for {} series",
                values.len(),
                self.len()
            )));
        }
        let given = values.iter().flatten().map(String::as_str);
        let (texts, numbers) = self.texts.joined(given.chain([label]));
        let label = texts.find(label).unwrap_or_default();
        let mut out = Self {
            texts: Arc::new(texts),
            pairs: Vec::with_capacity(self.pairs.len() + self.len()),
            ends: Vec::with_capacity(self.len()),
        };
        let (mut last, mut last_number) = ("", 0);
        for (row, value) in self.rows().zip(values) {
            let row = row
                .iter()
                .map(|pair| (numbers[pair.0 as usize], numbers[pair.1 as usize]));
            let start = out.pairs.len();
            match value.as_deref() {
                None => out.pairs.extend(row),
                Some(value) => {
                    out.pairs.extend(row.filter(|pair| pair.0 != label));
                    if value != last {
                        (last, last_number) = (value, out.texts.find(value).unwrap_or_default());
                    }
                    if !value.is_empty() {
                        let place = out.pairs[start..].partition_point(|pair| pair.0 < label);
                        out.pairs.insert(start + place, (label, last_number));
                    }
                }
            }
            out.ends.push(out.pairs.len());
        }
        Ok(out)
    }

    /// The rows of all parts, one part after the other.
    pub fn concatenate(parts: &[&Self]) -> Self {
        let Some(first) = parts.first() else {
            return Self::default();
        };
        let shared = parts.iter().all(|p| Arc::ptr_eq(&p.texts, &first.texts));
        let texts = if shared {
            Arc::clone(&first.texts)
        } else {
            let mut all: Vec<&str> = parts.iter().flat_map(|part| part.texts.iter()).collect();
            all.sort_unstable();
            all.dedup();
            Arc::new(Texts::of(all.into_iter()))
        };
        let mut out = Self {
            texts,
            ..Self::default()
        };
        for part in parts {
            let numbers = (!shared).then(|| out.texts.numbers_of(&part.texts));
            let shift = out.pairs.len();
            match numbers {
                None => out.pairs.extend_from_slice(&part.pairs),
                Some(new) => out.pairs.extend(
                    part.pairs
                        .iter()
                        .map(|&(label, value)| (new[label as usize], new[value as usize])),
                ),
            }
            out.ends.extend(part.ends.iter().map(|end| end + shift));
        }
        out
    }
}

/// Rows as JSON objects; each text is escaped once.
pub struct JsonRows<'a> {
    rows: &'a LabelRows,
    /// Quoted, with where each ends.
    escaped: Vec<u8>,
    ends: Vec<usize>,
}

impl<'a> JsonRows<'a> {
    pub fn new(rows: &'a LabelRows) -> Self {
        let (mut escaped, mut ends) = (Vec::new(), Vec::with_capacity(rows.texts.len()));
        for text in rows.texts.iter() {
            push_text(&mut escaped, text);
            ends.push(escaped.len());
        }
        Self {
            rows,
            escaped,
            ends,
        }
    }

    fn text(&self, number: u32) -> &[u8] {
        let at = number as usize;
        let from = at.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.escaped[from..self.ends[at]]
    }

    pub fn len(&self) -> usize {
        self.rows.len()
    }

    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    pub fn push(&self, at: usize, out: &mut Vec<u8>) {
        let mut before = b'{';
        for &(label, value) in self.rows.row(at) {
            out.push(before);
            out.extend_from_slice(self.text(label));
            out.push(b':');
            out.extend_from_slice(self.text(value));
            before = b',';
        }
        if before == b'{' {
            out.push(b'{');
        }
        out.push(b'}');
    }
}

/// Gathers rows; texts are numbered as they come until the end.
#[derive(Default)]
pub struct LabelRowsBuilder {
    interner: Interner,
    names: HashMap<(u32, Option<u32>), u32>,
    name_label: Option<u32>,
    pairs: Vec<Pair>,
    ends: Vec<usize>,
    before_name: HashMap<u32, bool>,
}

impl LabelRowsBuilder {
    pub fn number(&mut self, text: &str) -> Result<u32> {
        self.interner.intern(text)
    }

    /// Adds the series as `PromQL` shows it.
    pub fn add(&mut self, series: &SeriesView<'_>) -> Result<()> {
        let name = self.number(series.name)?;
        let field = match series.field {
            "" => None,
            field => Some(self.number(field)?),
        };
        let start = self.start(name, field)?;
        for &(label, value) in &series.labels {
            let pair = (self.number(label)?, self.number(value)?);
            self.pairs.push(pair);
        }
        self.finish_row(start);
        Ok(())
    }

    /// As `add`, of texts that are numbered already; labels are sorted.
    pub fn add_numbered(&mut self, name: u32, field: Option<u32>, labels: &[Pair]) -> Result<()> {
        let start = self.start(name, field)?;
        self.pairs.extend_from_slice(labels);
        self.finish_row(start);
        Ok(())
    }

    fn start(&mut self, name: u32, field: Option<u32>) -> Result<usize> {
        let label = match self.name_label {
            Some(label) => label,
            None => *self.name_label.insert(self.interner.intern(NAME)?),
        };
        let shown = match self.names.get(&(name, field)) {
            Some(&shown) => shown,
            None => self.shown(name, field)?,
        };
        let start = self.pairs.len();
        self.pairs.push((label, shown));
        Ok(start)
    }

    fn shown(&mut self, name: u32, field: Option<u32>) -> Result<u32> {
        let shown = match field {
            None => name,
            Some(field) => {
                let text = format!("{}_{}", self.interner.text(name), self.interner.text(field));
                self.interner.intern(&text)?
            }
        };
        self.names.insert((name, field), shown);
        Ok(shown)
    }

    /// Moves the name, which was put first, to its place among the labels.
    fn finish_row(&mut self, start: usize) {
        let (interner, known) = (&self.interner, &mut self.before_name);
        let mut is_before = |label: u32| {
            *known
                .entry(label)
                .or_insert_with(|| interner.text(label) < NAME)
        };
        let mut at = start;
        while at + 1 < self.pairs.len() && is_before(self.pairs[at + 1].0) {
            self.pairs.swap(at, at + 1);
            at += 1;
        }
        self.ends.push(self.pairs.len());
    }

    pub fn finish(self) -> LabelRows {
        let (order, rank) = self.interner.ranks();
        let texts = Texts::of(order.iter().map(|&symbol| self.interner.text(symbol)));
        let pairs = self.pairs.into_iter();
        LabelRows {
            texts: Arc::new(texts),
            pairs: pairs
                .map(|(label, value)| (rank[label as usize], rank[value as usize]))
                .collect(),
            ends: self.ends,
        }
    }
}

#[cfg(feature = "python")]
#[allow(clippy::needless_pass_by_value)]
pub(crate) mod python {
    use super::LabelRows;
    use crate::error::CoreError;
    use numpy::{PyArray1, PyReadonlyArray1};
    use pyo3::exceptions::PyIndexError;
    use pyo3::prelude::*;
    use pyo3::sync::PyOnceLock;
    use pyo3::types::{PyIterator, PyList, PySlice, PyString, PyTuple};

    /// Label sets that become tuples when somebody looks at them, and then once.
    #[pyclass(name = "LabelRows", frozen, sequence)]
    pub struct PyLabelRows {
        pub rows: LabelRows,
        tuples: PyOnceLock<Py<PyList>>,
    }

    impl From<LabelRows> for PyLabelRows {
        fn from(rows: LabelRows) -> Self {
            Self {
                rows,
                tuples: PyOnceLock::new(),
            }
        }
    }

    fn tuples<'py>(py: Python<'py>, rows: &LabelRows) -> PyResult<Bound<'py, PyList>> {
        let mut known: Vec<Option<Bound<'py, PyString>>> = vec![None; rows.texts().len()];
        let mut text = |number: u32| {
            known[number as usize]
                .get_or_insert_with(|| PyString::new(py, rows.texts().get(number)))
                .clone()
        };
        let mut out = Vec::with_capacity(rows.len());
        for row in rows.rows() {
            let pairs: PyResult<Vec<_>> = row
                .iter()
                .map(|&(label, value)| PyTuple::new(py, [text(label), text(value)]))
                .collect();
            out.push(PyTuple::new(py, pairs?)?);
        }
        PyList::new(py, out)
    }

    #[pymethods]
    impl PyLabelRows {
        fn __len__(&self) -> usize {
            self.rows.len()
        }

        fn tuples<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
            let made = self
                .tuples
                .get_or_try_init(py, || tuples(py, &self.rows).map(Bound::unbind))?;
            Ok(made.bind(py).clone())
        }

        fn __iter__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyIterator>> {
            self.tuples(py)?.try_iter()
        }

        fn __getitem__<'py>(
            &self,
            py: Python<'py>,
            at: Bound<'py, PyAny>,
        ) -> PyResult<Bound<'py, PyAny>> {
            let length = self.rows.len();
            if let Ok(slice) = at.cast::<PySlice>() {
                let bounds = slice.indices(length as isize)?;
                let places = (0..bounds.slicelength)
                    .map(|turn| (bounds.start + turn as isize * bounds.step) as usize);
                let rows = PyLabelRows::from(self.rows.take(places));
                return Ok(Bound::new(py, rows)?.into_any());
            }
            let at: isize = at.extract()?;
            let place = if at < 0 { at + length as isize } else { at };
            if place < 0 || place as usize >= length {
                return Err(PyIndexError::new_err("there is no such row"));
            }
            if self.tuples.get(py).is_some() {
                return self.tuples(py)?.get_item(place as usize);
            }
            let one = self.rows.take(std::iter::once(place as usize));
            tuples(py, &one)?.get_item(0)
        }

        fn take(&self, py: Python<'_>, places: PyReadonlyArray1<'_, i64>) -> PyResult<Self> {
            let places = places.as_slice()?;
            let length = self.rows.len() as i64;
            if places.iter().any(|&at| at < 0 || at >= length) {
                return Err(PyIndexError::new_err("there is no such row"));
            }
            let taken = py.detach(|| self.rows.take(places.iter().map(|&at| at as usize)));
            Ok(taken.into())
        }

        fn with_labels(&self, py: Python<'_>, names: Vec<String>, without: bool) -> Self {
            py.detach(|| self.rows.with_labels(&names, without)).into()
        }

        fn groups<'py>(&self, py: Python<'py>) -> (Bound<'py, PyArray1<i64>>, Self) {
            let (index, groups) = py.detach(|| self.rows.groups());
            (PyArray1::from_vec(py, index), groups.into())
        }

        #[getter]
        fn memory_bytes(&self) -> usize {
            self.rows.memory_bytes()
        }

        fn is_distinct(&self, py: Python<'_>) -> bool {
            py.detach(|| self.rows.is_distinct())
        }

        fn order<'py>(&self, py: Python<'py>) -> Bound<'py, PyArray1<i64>> {
            let order = py.detach(|| self.rows.order());
            PyArray1::from_vec(py, order.into_iter().map(|at| at as i64).collect())
        }

        fn values(&self, label: &str) -> Vec<&str> {
            self.rows.values(label)
        }

        fn column<'py>(&self, py: Python<'py>, label: &str) -> PyResult<Bound<'py, PyList>> {
            PyList::new(py, self.rows.column(label))
        }

        fn with_column(
            &self,
            py: Python<'_>,
            label: &str,
            values: Vec<Option<String>>,
        ) -> PyResult<Self> {
            Ok(py.detach(|| self.rows.with_column(label, &values))?.into())
        }

        #[staticmethod]
        fn concatenate(py: Python<'_>, parts: Vec<Py<PyLabelRows>>) -> PyResult<Self> {
            if parts.is_empty() {
                return Err(CoreError::Invalid("cannot join label rows: none".into()).into());
            }
            let rows: Vec<&LabelRows> = parts.iter().map(|part| &part.get().rows).collect();
            Ok(py.detach(|| LabelRows::concatenate(&rows)).into())
        }
    }

    pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
        module.add_class::<PyLabelRows>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::series::canonical;

    /// Name, field and labels.
    type Named<'a> = (&'a str, &'a str, &'a [(&'a str, &'a str)]);

    fn rows(series: &[Named<'_>]) -> LabelRows {
        let mut builder = LabelRowsBuilder::default();
        for &(name, field, labels) in series {
            let bytes = canonical(name, field, &mut labels.to_vec()).unwrap();
            builder.add(&SeriesView::parse(&bytes).unwrap()).unwrap();
        }
        builder.finish()
    }

    fn shown(rows: &LabelRows) -> Vec<String> {
        let row = |at| {
            let pairs: Vec<String> = rows.labels(at).map(|(k, v)| format!("{k}={v}")).collect();
            pairs.join(",")
        };
        (0..rows.len()).map(row).collect()
    }

    fn sample() -> LabelRows {
        rows(&[
            ("cpu", "user", &[("host", "b"), ("zone", "x")]),
            ("cpu", "", &[("Host", "b")]),
            ("cpu", "user", &[("host", "a"), ("zone", "x")]),
        ])
    }

    #[test]
    fn the_name_stands_at_its_place() {
        assert_eq!(
            shown(&sample()),
            [
                "__name__=cpu_user,host=b,zone=x",
                "Host=b,__name__=cpu",
                "__name__=cpu_user,host=a,zone=x"
            ]
        );
    }

    #[test]
    fn rows_are_ordered_taken_and_joined() {
        let rows = sample();
        assert_eq!(rows.order(), [1, 2, 0]);
        let taken = rows.take([2, 0].into_iter());
        let other = self::rows(&[("z", "", &[("host", "a")])]);
        let joined = LabelRows::concatenate(&[&other, &taken]);
        assert_eq!(
            shown(&joined),
            [
                "__name__=z,host=a",
                "__name__=cpu_user,host=a,zone=x",
                "__name__=cpu_user,host=b,zone=x"
            ]
        );
        assert_eq!(shown(&LabelRows::concatenate(&[&taken, &rows])).len(), 5);
    }

    #[test]
    fn labels_are_dropped_kept_and_grouped() {
        let rows = sample();
        let names = ["zone".to_owned(), "absent".to_owned()];
        let kept = rows.with_labels(&names, false);
        assert_eq!(shown(&kept), ["zone=x", "", "zone=x"]);
        assert!(!kept.is_distinct() && rows.is_distinct());
        let (index, groups) = kept.groups();
        assert_eq!(
            (index, shown(&groups)),
            (vec![0, 1, 0], vec!["zone=x".into(), String::new()])
        );
        assert_eq!(
            shown(&rows.with_labels(&["host".into(), "__name__".into()], true)),
            ["zone=x", "Host=b", "zone=x"]
        );
        assert_eq!(rows.values("__name__"), ["cpu_user", "cpu"]);
        assert_eq!(rows.values("absent"), Vec::<&str>::new());
    }

    #[test]
    fn a_label_is_read_and_set_row_by_row() {
        let rows = sample();
        assert_eq!(rows.column("host"), ["b", "", "a"]);
        assert_eq!(rows.column("absent"), ["", "", ""]);
        let set = |label, values: [Option<&str>; 3]| {
            let values = values.map(|value| value.map(str::to_owned));
            shown(&rows.with_column(label, &values).unwrap())
        };
        assert_eq!(
            set("host", [Some("new"), Some("c"), Some("")]),
            [
                "__name__=cpu_user,host=new,zone=x",
                "Host=b,__name__=cpu,host=c",
                "__name__=cpu_user,zone=x"
            ]
        );
        assert_eq!(
            set("A", [None, Some(""), Some("x")]),
            [
                "__name__=cpu_user,host=b,zone=x",
                "Host=b,__name__=cpu",
                "A=x,__name__=cpu_user,host=a,zone=x"
            ]
        );
        assert!(rows.with_column("a", &[None]).is_err());
    }

    #[test]
    fn rows_print_as_objects() {
        let rows = rows(&[("m", "", &[("a", "\"\n")]), ("m", "", &[])]);
        let json = JsonRows::new(&rows);
        let mut out = Vec::new();
        (0..json.len()).for_each(|at| json.push(at, &mut out));
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "{\"__name__\":\"m\",\"a\":\"\\\"\\n\"}{\"__name__\":\"m\"}"
        );
        let bare = rows.with_labels(&[], false);
        let mut out = Vec::new();
        JsonRows::new(&bare).push(0, &mut out);
        assert_eq!(out, b"{}");
    }
}
