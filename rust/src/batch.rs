//! What a wire decodes a request into: columns plus raw keys, never a list of objects.
//!
//! A key stands for one series as the wire wrote it. Samples are stored key by key: key `k` owns
//! samples `keys[k-1].sample_end .. keys[k].sample_end`. A line of ten fields is ten keys of one
//! sample each; a remote-write series with three samples is one key with three.

use crate::error::{CoreError, Result};
use crate::otlp::Origins;
use crate::sample::Kind;
use crate::series;
use crate::sides::Sides;
use std::borrow::Cow;

/// How the raw keys of a batch become series.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Wire {
    RemoteWrite1 = 1,
    RemoteWrite2 = 2,
    InfluxLine = 3,
    /// Columns handed over in-process (`orrery.open(...).write`).
    Columns = 4,
    Graphite = 5,
    OpenTsdbJson = 6,
    OpenTsdbLines = 7,
    Warp10 = 8,
    Otlp = 9,
}

#[derive(Debug, Clone, Copy)]
pub struct Key {
    /// Hash of the raw key, keyed per process: equal raw keys of one wire have equal hashes.
    pub hash: u128,
    /// Where the raw key stands in `body` (its meaning belongs to the wire's decoder).
    pub span: (u32, u32),
    /// A second span, where the wire needs one (the field's name in a line), or two numbers.
    pub field: (u32, u32),
    /// 1-based line of the body, or 1-based position of the series; named in errors.
    pub line: u32,
    /// One behind the last sample of this key.
    pub sample_end: u32,
}

/// Keys of one sample each that came together, as the fields of a line do.
#[derive(Debug, Clone, Copy)]
pub struct Row {
    /// Hash of all its keys together: equal rows of one wire have equal hashes.
    pub hash: u128,
    /// One behind its last key.
    pub key_end: u32,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection {
    pub line: u32,
    pub reason: String,
}

/// Metadata of one metric as a wire sent it (type, help, unit: Prometheus' words).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MetadataRow {
    pub name: String,
    pub kind: String,
    pub help: String,
    pub unit: String,
}

/// What a wire says of a series beside its identity, in the order of the names; it replaces what
/// was said before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attributes {
    /// Place of the series' key.
    pub key: u32,
    pub pairs: Vec<(String, String)>,
}

/// Turns one raw key of a batch into canonical series bytes: called once a series, on a miss.
///
/// `defaults` are labels added where the key does not have them; `forced` replace what it has.
/// An error is the reason why this key's samples are refused.
pub type Canonicalise = fn(
    batch: &Batch,
    key: usize,
    defaults: &[(String, String)],
    forced: &[(String, String)],
) -> Result<Vec<u8>>;

#[derive(Debug)]
pub struct Batch {
    pub wire: Wire,
    pub canonicalise: Canonicalise,
    /// What spans and string values point into.
    pub body: Vec<u8>,
    pub keys: Vec<Key>,
    /// Empty, or all keys in rows.
    pub rows: Vec<Row>,
    pub times_ns: Vec<i64>,
    /// Bits, as in `sample::Run`; strings and bytes point into `body`.
    pub values: Vec<u64>,
    pub kinds: Vec<Kind>,
    /// What samples have beside their values: a wire that has any calls `Sides::push` for each.
    pub sides: Sides,
    /// Spans of the symbol table (remote write 2.0 only).
    pub symbols: Vec<(u32, u32)>,
    /// What keys refer to (OTLP only).
    pub origins: Option<Box<Origins>>,
    pub metadata: Vec<MetadataRow>,
    pub attributes: Vec<Attributes>,
    /// Lines the decoder itself refused; the rest of the batch is good.
    pub rejected: Vec<Rejection>,
    /// How many points the decoder refused, listed or not (OTLP only).
    pub refused_count: u64,
}

/// Spans are 32 bits wide; the rest of them is room for unescaped strings.
pub const BODY_BYTES_MAX: usize = 1 << 30;

/// A body with more bad lines than this is refused whole, so that reasons stay bounded.
pub const REJECTED_MAX: usize = 10_000;

/// Of a body that is not refused for them, so many bad points are listed and the rest counted.
pub const REJECTED_LISTED_MAX: usize = 1000;

/// How much of a bad line its reason quotes.
pub const QUOTED_BYTES_MAX: usize = 512;

/// Labels that name other parts of a series, or what only the server may set (DESIGN section 3).
pub const RESERVED_LABELS: [&str; 5] = [
    "__name__",
    "__measurement__",
    "__field__",
    "__db__",
    "__rp__",
];

impl Batch {
    /// About what it takes of the memory, but for what it was decoded from.
    pub fn memory_bytes(&self) -> usize {
        self.body.capacity()
            + size_of_val(&self.keys[..])
            + size_of_val(&self.rows[..])
            + size_of_val(&self.times_ns[..])
            + size_of_val(&self.values[..])
            + size_of_val(&self.kinds[..])
            + self.sides.memory_bytes()
            + size_of_val(&self.symbols[..])
            + self.origins.as_ref().map_or(0, |one| one.memory_bytes())
    }

    /// An empty batch over `body`, which must fit the spans.
    pub fn over(body: Vec<u8>, wire: Wire, canonicalise: Canonicalise) -> Result<Self> {
        if body.len() > BODY_BYTES_MAX {
            return Err(CoreError::Invalid(format!(
                "cannot decode a body of {} bytes: more than body_bytes_max {BODY_BYTES_MAX}",
                body.len()
            )));
        }
        Ok(Self {
            wire,
            canonicalise,
            body,
            keys: Vec::new(),
            rows: Vec::new(),
            times_ns: Vec::new(),
            values: Vec::new(),
            kinds: Vec::new(),
            sides: Sides::default(),
            symbols: Vec::new(),
            origins: None,
            metadata: Vec::new(),
            attributes: Vec::new(),
            rejected: Vec::new(),
            refused_count: 0,
        })
    }

    /// Canonical bytes of key `key`; the reason where its samples cannot be stored.
    pub fn canonical(
        &self,
        key: usize,
        defaults: &[(String, String)],
        forced: &[(String, String)],
    ) -> Result<Vec<u8>> {
        (self.canonicalise)(self, key, defaults, forced)
    }

    pub fn bytes(&self, span: (u32, u32)) -> &[u8] {
        &self.body[span.0 as usize..span.1 as usize]
    }

    pub fn sample_start(&self, key: usize) -> usize {
        if key == 0 {
            0
        } else {
            self.keys[key - 1].sample_end as usize
        }
    }
}

/// Records a refusal, unless there are so many that the whole body is refused.
pub fn reject(rejected: &mut Vec<Rejection>, line: u32, reason: String) -> Result<()> {
    if rejected.len() >= REJECTED_MAX {
        return Err(CoreError::Invalid(format!(
            "cannot decode a body: more than rejected_max {REJECTED_MAX} bad lines, the last: \
             {reason}"
        )));
    }
    rejected.push(Rejection { line, reason });
    Ok(())
}

/// `bytes` as text that fits into a reason.
pub fn quoted(bytes: &[u8]) -> Cow<'_, str> {
    if bytes.len() <= QUOTED_BYTES_MAX {
        return String::from_utf8_lossy(bytes);
    }
    let start = String::from_utf8_lossy(&bytes[..QUOTED_BYTES_MAX]);
    Cow::Owned(format!("{start}..."))
}

/// The last step of every `Canonicalise`: checks what the client sent, then lays defaults under it
/// and forced labels over it.
pub fn assemble(
    name: &str,
    field: &str,
    labels: &[(Cow<str>, Cow<str>)],
    defaults: &[(String, String)],
    forced: &[(String, String)],
) -> Result<Vec<u8>> {
    let mut sent: Vec<(&str, &str)> = labels.iter().map(|(k, v)| (&**k, &**v)).collect();
    check_sent(&mut sent)?;
    let mut all = sent.clone();
    for (key, value) in defaults {
        let is_sent = sent.binary_search_by(|(sent, _)| sent.cmp(&key.as_str()));
        if is_sent.is_err() {
            all.push((key, value));
        }
    }
    for (key, value) in forced {
        all.retain(|(other, _)| other != key);
        all.push((key, value));
    }
    series::canonical(name, field, &mut all)
}

/// Sorts what a client sent and refuses what it may not send. A label without a value is none, but
/// its name may still not come twice.
fn check_sent(sent: &mut [(&str, &str)]) -> Result<()> {
    sent.sort_unstable();
    for pair in sent.windows(2) {
        if pair[0].0 == pair[1].0 {
            return Err(CoreError::Invalid(format!(
                "label {:?} is given twice",
                pair[0].0
            )));
        }
    }
    for (key, _) in sent.iter() {
        if key.is_empty() {
            return Err(CoreError::Invalid("a label's name is empty".into()));
        }
        if RESERVED_LABELS.contains(key) {
            return Err(CoreError::Invalid(format!(
                "label {key:?} is reserved, clients may not send it"
            )));
        }
    }
    Ok(())
}

#[cfg(feature = "python")]
// Arguments arrive owned from the interpreter.
#[allow(clippy::needless_pass_by_value)]
pub(crate) mod python {
    use super::Batch;
    use crate::sample;
    use crate::sides::python::to_arrays;
    use hashbrown::HashMap;
    use numpy::{PyArray1, ToPyArray};
    use pyo3::exceptions::PyIndexError;
    use pyo3::prelude::*;
    use pyo3::types::{PyBytes, PyDict};

    type Labels = Vec<(String, String)>;

    /// A batch on its way from a decoder to the series table; opaque to Python but for its counts.
    #[pyclass(name = "Batch", frozen)]
    pub struct PyBatch(pub Batch);

    #[pymethods]
    impl PyBatch {
        #[getter]
        fn memory_bytes(&self) -> usize {
            self.0.memory_bytes()
        }

        #[getter]
        fn sample_count(&self) -> usize {
            self.0.times_ns.len()
        }

        #[getter]
        fn key_count(&self) -> usize {
            self.0.keys.len()
        }

        #[getter]
        fn refused_count(&self) -> u64 {
            self.0.refused_count
        }

        #[getter]
        fn rejected(&self) -> Vec<(u32, String)> {
            let rejected = self.0.rejected.iter();
            rejected.map(|one| (one.line, one.reason.clone())).collect()
        }

        #[getter]
        fn metadata(&self) -> Vec<(String, String, String, String)> {
            let rows = self.0.metadata.iter();
            rows.map(|row| {
                (
                    row.name.clone(),
                    row.kind.clone(),
                    row.help.clone(),
                    row.unit.clone(),
                )
            })
            .collect()
        }

        /// (key, pairs of name and value) of each series, the last where there are several.
        #[getter]
        fn attributes(&self) -> Vec<(u32, Vec<(String, String)>)> {
            let batch = &self.0;
            let mut last = HashMap::new();
            for one in &batch.attributes {
                last.insert(batch.keys[one.key as usize].hash, one);
            }
            let mut found: Vec<_> = last.into_values().collect();
            found.sort_unstable_by_key(|one| one.key);
            let rows = found.into_iter();
            rows.map(|one| (one.key, one.pairs.clone())).collect()
        }

        /// The columns as copies, for tests and inspection.
        fn columns<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
            let batch = &self.0;
            let kinds: Vec<u8> = batch.kinds.iter().map(|kind| *kind as u8).collect();
            let lines: Vec<u32> = batch.keys.iter().map(|key| key.line).collect();
            let ends: Vec<u32> = batch.keys.iter().map(|key| key.sample_end).collect();
            let hashes: Vec<u128> = batch.keys.iter().map(|key| key.hash).collect();
            let columns = PyDict::new(py);
            columns.set_item("times_ns", batch.times_ns.to_pyarray(py))?;
            columns.set_item("values", batch.values.to_pyarray(py))?;
            columns.set_item("kinds", PyArray1::from_vec(py, kinds))?;
            columns.set_item("lines", PyArray1::from_vec(py, lines))?;
            columns.set_item("sample_ends", PyArray1::from_vec(py, ends))?;
            columns.set_item("hashes", hashes)?;
            let (starts, positions, elevations) = to_arrays(py, &batch.sides);
            columns.set_item("start_times_ns", starts)?;
            columns.set_item("positions", positions)?;
            columns.set_item("elevations_mm", elevations)?;
            Ok(columns)
        }

        /// Canonical bytes of key `key`; raises with the reason where it cannot be stored.
        #[pyo3(signature = (key, *, defaults = Vec::new(), forced = Vec::new()))]
        fn canonical<'py>(
            &self,
            py: Python<'py>,
            key: usize,
            defaults: Labels,
            forced: Labels,
        ) -> PyResult<Bound<'py, PyBytes>> {
            if key >= self.0.keys.len() {
                return Err(PyIndexError::new_err(format!("no key {key} in the batch")));
            }
            let bytes = py.detach(|| self.0.canonical(key, &defaults, &forced))?;
            Ok(PyBytes::new(py, &bytes))
        }

        /// Bytes of sample `sample` where its kind is string or bytes.
        fn payload<'py>(&self, py: Python<'py>, sample: usize) -> Option<Bound<'py, PyBytes>> {
            let bits = *self.0.values.get(sample)?;
            if !self.0.kinds.get(sample)?.uses_heap() {
                return None;
            }
            Some(PyBytes::new(py, sample::payload(&self.0.body, bits)?))
        }
    }

    pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
        module.add_class::<PyBatch>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::series::SeriesView;

    fn pair(key: &str, value: &str) -> (String, String) {
        (key.to_owned(), value.to_owned())
    }

    fn assembled(sent: &[(&'static str, &'static str)]) -> Result<Vec<u8>> {
        let labels: Vec<(Cow<str>, Cow<str>)> = sent
            .iter()
            .map(|(k, v)| ((*k).into(), (*v).into()))
            .collect();
        assemble(
            "cpu",
            "idle",
            &labels,
            &[pair("site", "here"), pair("host", "unknown")],
            &[pair("team", "a"), pair("__db__", "other")],
        )
    }

    #[test]
    fn defaults_lie_under_and_forced_labels_over_what_was_sent() {
        let bytes = assembled(&[("host", "h1"), ("team", "b")]).unwrap();
        let view = SeriesView::parse(&bytes).unwrap();
        let expected = [
            ("__db__", "other"),
            ("host", "h1"),
            ("site", "here"),
            ("team", "a"),
        ];
        assert_eq!(view.labels, expected);
    }

    #[test]
    fn what_clients_may_not_send_is_refused() {
        for (sent, reason) in [
            (&[("a", "1"), ("a", "2")][..], "label \"a\" is given twice"),
            (&[("a", ""), ("a", "2")], "label \"a\" is given twice"),
            (&[("", "1")], "a label's name is empty"),
            (&[("__db__", "x")], "label \"__db__\" is reserved"),
            (&[("__rp__", "x")], "label \"__rp__\" is reserved"),
            (&[("__name__", "x")], "label \"__name__\" is reserved"),
            (&[("__field__", "x")], "label \"__field__\" is reserved"),
            (
                &[("__measurement__", "x")],
                "label \"__measurement__\" is reserved",
            ),
        ] {
            let error = assembled(sent).unwrap_err().to_string();
            assert!(error.starts_with(reason), "{error}");
        }
    }

    #[test]
    fn too_many_bad_lines_refuse_the_body() {
        let mut rejected = Vec::new();
        for line in 0..REJECTED_MAX {
            reject(&mut rejected, line as u32, String::new()).unwrap();
        }
        let error = reject(&mut rejected, 0, "bad".into()).unwrap_err();
        assert!(error.to_string().contains("rejected_max 10000"));
    }
}
