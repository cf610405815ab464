//! Query answers as bytes: the `result` of Prometheus' HTTP API, in JSON.
//!
//! The wire wraps it in `status`, `data` and warnings. Numbers are printed as Prometheus prints them:
//! the shortest text that reads back the same, in exponent form below 1e-6 and from 1e21 on; times
//! in seconds, with three decimals where they are not whole.

use crate::error::{CoreError, Result};
use crate::label_rows::JsonRows;
use std::io::Write;

/// About how many bytes a point takes: room reserved ahead.
const POINT_BYTES: usize = 28;

/// The labels of each row as a JSON object.
#[derive(Clone, Copy)]
pub enum Metrics<'a> {
    Made(&'a [Vec<u8>]),
    Rows(&'a JsonRows<'a>),
}

impl Metrics<'_> {
    fn len(&self) -> usize {
        match self {
            Self::Made(metrics) => metrics.len(),
            Self::Rows(rows) => rows.len(),
        }
    }

    fn push(&self, row: usize, out: &mut Vec<u8>) {
        match self {
            Self::Made(metrics) => out.extend_from_slice(&metrics[row]),
            Self::Rows(rows) => rows.push(row, out),
        }
    }
}

/// Rows of points on the way out.
#[derive(Clone, Copy)]
pub struct Points<'a> {
    pub metrics: Metrics<'a>,
    pub values: &'a [f64],
    pub present: &'a [bool],
}

/// Histograms of some rows, as JSON objects, by rising row and time.
#[derive(Clone, Copy, Default)]
pub struct Histograms<'a> {
    pub rows: &'a [usize],
    pub times_ms: &'a [i64],
    pub objects: &'a [Vec<u8>],
}

impl Histograms<'_> {
    fn of(&self, row: usize) -> std::ops::Range<usize> {
        self.rows.partition_point(|&at| at < row)..self.rows.partition_point(|&at| at <= row)
    }

    fn push_list(&self, range: std::ops::Range<usize>, out: &mut Vec<u8>) {
        if range.is_empty() {
            return;
        }
        out.extend_from_slice(b",\"histograms\":[");
        for at in range {
            self.push(at, out);
            out.push(b',');
        }
        close(out, b']');
    }

    /// `[time,{..}]`
    fn push(&self, at: usize, out: &mut Vec<u8>) {
        out.push(b'[');
        push_time(out, self.times_ms[at]);
        out.push(b',');
        out.extend_from_slice(&self.objects[at]);
        out.push(b']');
    }

    fn check(&self) -> Result<()> {
        if self.rows.len() == self.times_ms.len() && self.rows.len() == self.objects.len() {
            return Ok(());
        }
        Err(CoreError::Invalid(
            "cannot print an answer: rows, times and histograms do not fit".into(),
        ))
    }
}

/// `[{"metric":{..},"values":[[time,"value"],..],"histograms":[[time,{..}],..]},..]`; a row without
/// one of them lacks that list, and a row without both is left out.
pub fn matrix_json(
    points: Points<'_>,
    histograms: Histograms<'_>,
    start_ms: i64,
    step_ms: i64,
    step_count: usize,
) -> Result<Vec<u8>> {
    points.check(step_count)?;
    histograms.check()?;
    let times: Vec<Vec<u8>> = (0..step_count as i64)
        .map(|step| {
            let mut text = Vec::with_capacity(24);
            push_point_time(
                &mut text,
                start_ms.saturating_add(step_ms.saturating_mul(step)),
            );
            text
        })
        .collect();
    let mut out =
        Vec::with_capacity(2 + points.metrics.len() * 64 + points.values.len() * POINT_BYTES);
    out.push(b'[');
    for row in 0..points.metrics.len() {
        let cells = row * step_count..(row + 1) * step_count;
        let present = &points.present[cells.clone()];
        let found = present.iter().zip(&points.values[cells]).zip(&times);
        let mut found = found.filter(|((present, _), _)| **present).peekable();
        let held = histograms.of(row);
        if found.peek().is_none() && held.is_empty() {
            continue;
        }
        open_series(&mut out, points.metrics, row);
        if found.peek().is_some() {
            out.extend_from_slice(b",\"values\":[");
            for ((_, value), time) in found {
                push_point(&mut out, time, *value);
            }
            close(&mut out, b']');
        }
        histograms.push_list(held, &mut out);
        out.extend_from_slice(b"},");
    }
    close(&mut out, b']');
    Ok(out)
}

/// As `matrix_json`, from raw samples: row `i` owns `offsets[i]..offsets[i + 1]`.
pub fn samples_json(
    metrics: Metrics<'_>,
    offsets: &[i64],
    times_ns: &[i64],
    values: &[f64],
    histograms: Histograms<'_>,
) -> Result<Vec<u8>> {
    histograms.check()?;
    let refused =
        || CoreError::Invalid("cannot print samples: offsets, times and values do not fit".into());
    if offsets.len() != metrics.len() + 1 || times_ns.len() != values.len() {
        return Err(refused());
    }
    let mut out = Vec::with_capacity(2 + metrics.len() * 64 + values.len() * POINT_BYTES);
    let mut time = Vec::with_capacity(16);
    out.push(b'[');
    for (row, bounds) in offsets.windows(2).enumerate() {
        let range = usize::try_from(bounds[0]).map_err(|_| refused())?
            ..usize::try_from(bounds[1]).map_err(|_| refused())?;
        let times = times_ns.get(range.clone()).ok_or_else(refused)?;
        let held = histograms.of(row);
        if times.is_empty() && held.is_empty() {
            continue;
        }
        open_series(&mut out, metrics, row);
        if !times.is_empty() {
            out.extend_from_slice(b",\"values\":[");
            for (&time_ns, &value) in times.iter().zip(&values[range]) {
                time.clear();
                push_point_time(&mut time, time_ns.div_euclid(1_000_000));
                push_point(&mut out, &time, value);
            }
            close(&mut out, b']');
        }
        histograms.push_list(held, &mut out);
        out.extend_from_slice(b"},");
    }
    close(&mut out, b']');
    Ok(out)
}

/// `[{"metric":{..},"value":[time,"value"]},..]`, of one step, with `"histogram":[time,{..}]` in
/// rows that are one.
pub fn vector_json(
    points: Points<'_>,
    histograms: Histograms<'_>,
    time_ms: i64,
) -> Result<Vec<u8>> {
    points.check(1)?;
    histograms.check()?;
    let mut time = Vec::with_capacity(24);
    push_point_time(&mut time, time_ms);
    let mut out = Vec::with_capacity(2 + points.metrics.len() * 128);
    out.push(b'[');
    for row in 0..points.metrics.len() {
        if points.present[row] {
            open_series(&mut out, points.metrics, row);
            out.extend_from_slice(b",\"value\":");
            push_point(&mut out, &time, points.values[row]);
            close(&mut out, b'}');
            out.push(b',');
        } else if let Some(at) = histograms.of(row).next() {
            open_series(&mut out, points.metrics, row);
            out.extend_from_slice(b",\"histogram\":");
            histograms.push(at, &mut out);
            out.extend_from_slice(b"},");
        }
    }
    close(&mut out, b']');
    Ok(out)
}

/// `[time,"value"]`
pub fn scalar_json(time_ms: i64, value: f64) -> Vec<u8> {
    let (mut out, mut time) = (Vec::new(), Vec::new());
    push_point_time(&mut time, time_ms);
    push_point(&mut out, &time, value);
    out.pop();
    out
}

impl Points<'_> {
    fn check(&self, step_count: usize) -> Result<()> {
        let cells = self.metrics.len().saturating_mul(step_count);
        if self.values.len() == cells && self.present.len() == cells {
            return Ok(());
        }
        Err(CoreError::Invalid(format!(
            "cannot print an answer: {} values and {} marks are not {} series of {step_count} steps",
            self.values.len(),
            self.present.len(),
            self.metrics.len()
        )))
    }
}

fn open_series(out: &mut Vec<u8>, metrics: Metrics<'_>, row: usize) {
    out.extend_from_slice(b"{\"metric\":");
    metrics.push(row, out);
}

/// Takes back the comma behind the last element, where there is one.
fn close(out: &mut Vec<u8>, bracket: u8) {
    if out.last() == Some(&b',') {
        out.pop();
    }
    out.push(bracket);
}

/// `time` is as `push_point_time` writes it; steps share it between series.
#[inline]
fn push_point(out: &mut Vec<u8>, time: &[u8], value: f64) {
    out.extend_from_slice(time);
    push_float(out, value);
    out.extend_from_slice(b"\"],");
}

/// A point up to its value: `[time,"`.
fn push_point_time(out: &mut Vec<u8>, time_ms: i64) {
    out.push(b'[');
    push_time(out, time_ms);
    out.extend_from_slice(b",\"");
}

fn push_time(out: &mut Vec<u8>, time_ms: i64) {
    if time_ms < 0 {
        out.push(b'-');
    }
    let time_ms = time_ms.unsigned_abs();
    out.extend_from_slice(itoa::Buffer::new().format(time_ms / 1000).as_bytes());
    let fraction = time_ms % 1000;
    if fraction != 0 {
        // Writing into a Vec cannot fail.
        let _ = write!(out, ".{fraction:03}");
    }
}

/// The shortest decimal that reads back as the same float, in Go's notation.
pub fn push_float(out: &mut Vec<u8>, value: f64) {
    if !value.is_finite() {
        let text: &[u8] = match (value.is_nan(), value > 0.0) {
            (true, _) => b"NaN",
            (_, true) => b"+Inf",
            (_, false) => b"-Inf",
        };
        out.extend_from_slice(text);
    } else if !push_short(out, value) {
        push_shortest(out, value);
    }
}

/// Numbers with up to three decimals and fifteen digits: two decimals of at most fifteen digits
/// never read as the same float, so the one found is the shortest.
#[inline]
fn push_short(out: &mut Vec<u8>, value: f64) -> bool {
    const LARGEST: f64 = 1e12;
    let thousandths = (value * 1000.0).round_ties_even();
    if value.abs() >= LARGEST
        || thousandths / 1000.0 != value
        || (value == 0.0 && value.is_sign_negative())
    {
        return false;
    }
    let thousandths = thousandths as i64;
    if thousandths < 0 {
        out.push(b'-');
    }
    let magnitude = thousandths.unsigned_abs();
    out.extend_from_slice(itoa::Buffer::new().format(magnitude / 1000).as_bytes());
    let fraction = (magnitude % 1000) as u16;
    if fraction != 0 {
        let digits = [fraction / 100, fraction / 10 % 10, fraction % 10].map(|d| b'0' + d as u8);
        let kept = 3 - digits
            .iter()
            .rev()
            .take_while(|&&digit| digit == b'0')
            .count();
        out.push(b'.');
        out.extend_from_slice(&digits[..kept]);
    }
    true
}

fn push_shortest(out: &mut Vec<u8>, value: f64) {
    let mut buffer = ryu::Buffer::new();
    let text = buffer.format_finite(value).as_bytes();
    // Between these ryu writes no exponent.
    if (1e-5..1e16).contains(&value.abs()) || value == 0.0 {
        out.extend_from_slice(text.strip_suffix(b".0").unwrap_or(text));
        return;
    }
    let at = text
        .iter()
        .position(|&byte| byte == b'e')
        .unwrap_or(text.len());
    let (mantissa, exponent) = (&text[..at], text.get(at + 1..).unwrap_or_default());
    let exponent: i32 = std::str::from_utf8(exponent)
        .ok()
        .and_then(|e| e.parse().ok())
        .unwrap_or(0);
    if value.abs() < 1e-6 || value.abs() >= 1e21 {
        out.extend_from_slice(mantissa);
        let sign = if exponent < 0 { '-' } else { '+' };
        let _ = write!(out, "e{sign}{:02}", exponent.abs());
        return;
    }
    let (sign, mantissa) = mantissa
        .strip_prefix(b"-")
        .map_or((&b""[..], mantissa), |m| (b"-", m));
    let digits: Vec<u8> = mantissa
        .iter()
        .copied()
        .filter(u8::is_ascii_digit)
        .collect();
    out.extend_from_slice(sign);
    if exponent < 0 {
        out.extend_from_slice(b"0.");
        out.resize(out.len() + (-exponent - 1) as usize, b'0');
        out.extend_from_slice(&digits);
    } else {
        // One digit stands before the point; from 1e16 on none are left behind it.
        out.extend_from_slice(&digits);
        out.resize(
            out.len() + (exponent as usize + 1).saturating_sub(digits.len()),
            b'0',
        );
    }
}

/// A JSON string, quotes included.
pub fn push_text(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    let bytes = text.as_bytes();
    let mut written = 0;
    for (at, &byte) in bytes.iter().enumerate() {
        if byte >= 0x20 && byte != b'"' && byte != b'\\' {
            continue;
        }
        out.extend_from_slice(&bytes[written..at]);
        written = at + 1;
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            _ => {
                let _ = write!(out, "\\u{byte:04x}");
            }
        }
    }
    out.extend_from_slice(&bytes[written..]);
    out.push(b'"');
}

/// Labels as a JSON object.
pub fn metric_json<'a>(labels: impl Iterator<Item = (&'a str, &'a str)>) -> Vec<u8> {
    let mut out = vec![b'{'];
    for (name, value) in labels {
        push_text(&mut out, name);
        out.push(b':');
        push_text(&mut out, value);
        out.push(b',');
    }
    close(&mut out, b'}');
    out
}

#[cfg(feature = "python")]
#[allow(clippy::needless_pass_by_value, clippy::too_many_arguments)]
pub(crate) mod python {
    use super::{Histograms, Metrics, Points};
    use crate::error::Result;
    use crate::label_rows::JsonRows;
    use crate::label_rows::python::PyLabelRows;
    use crate::window::python::contiguous;
    use numpy::{PyReadonlyArray1, PyReadonlyArray2, PyUntypedArrayMethods};
    use pyo3::prelude::*;
    use pyo3::types::{PyBytes, PyString};

    type Labels<'py> = Vec<(Bound<'py, PyString>, Bound<'py, PyString>)>;

    /// Rows, times in milliseconds and JSON objects.
    type Held = (Vec<usize>, Vec<i64>, Vec<Vec<u8>>);

    fn histograms(held: &Held) -> Histograms<'_> {
        Histograms {
            rows: &held.0,
            times_ms: &held.1,
            objects: &held.2,
        }
    }

    /// Runs `print` on the labels, whichever form they come in.
    fn with_metrics<'py>(
        labels: &Bound<'py, PyAny>,
        print: impl FnOnce(Metrics<'_>) -> Result<Vec<u8>> + Send,
    ) -> PyResult<Bound<'py, PyBytes>> {
        let py = labels.py();
        let json = if let Ok(rows) = labels.cast::<PyLabelRows>() {
            let rows = &rows.get().rows;
            py.detach(|| print(Metrics::Rows(&JsonRows::new(rows))))?
        } else {
            let metrics = metrics(&labels.extract::<Vec<Labels<'py>>>()?)?;
            py.detach(|| print(Metrics::Made(&metrics)))?
        };
        Ok(PyBytes::new(py, &json))
    }

    fn metrics(rows: &[Labels<'_>]) -> PyResult<Vec<Vec<u8>>> {
        let metric = |row: &Labels<'_>| {
            let texts = row
                .iter()
                .map(|(name, value)| Ok((name.to_str()?, value.to_str()?)));
            let pairs: PyResult<Vec<_>> = texts.collect();
            Ok(super::metric_json(pairs?.into_iter()))
        };
        rows.iter().map(metric).collect()
    }

    #[pyfunction]
    #[pyo3(signature = (labels, start_ms, step_ms, values, present, held = Held::default()))]
    fn matrix_json<'py>(
        labels: Bound<'py, PyAny>,
        start_ms: i64,
        step_ms: i64,
        values: PyReadonlyArray2<'py, f64>,
        present: PyReadonlyArray2<'py, bool>,
        held: Held,
    ) -> PyResult<Bound<'py, PyBytes>> {
        let step_count = values.shape()[1];
        let values = values.as_slice().map_err(|_| contiguous("values"))?;
        let present = present.as_slice().map_err(|_| contiguous("present"))?;
        with_metrics(&labels, |metrics| {
            let points = Points {
                metrics,
                values,
                present,
            };
            super::matrix_json(points, histograms(&held), start_ms, step_ms, step_count)
        })
    }

    #[pyfunction]
    #[pyo3(signature = (labels, offsets, times_ns, values, held = Held::default()))]
    fn samples_json<'py>(
        labels: Bound<'py, PyAny>,
        offsets: PyReadonlyArray1<'py, i64>,
        times_ns: PyReadonlyArray1<'py, i64>,
        values: PyReadonlyArray1<'py, f64>,
        held: Held,
    ) -> PyResult<Bound<'py, PyBytes>> {
        let offsets = offsets.as_slice().map_err(|_| contiguous("offsets"))?;
        let times = times_ns.as_slice().map_err(|_| contiguous("times_ns"))?;
        let values = values.as_slice().map_err(|_| contiguous("values"))?;
        with_metrics(&labels, |metrics| {
            super::samples_json(metrics, offsets, times, values, histograms(&held))
        })
    }

    #[pyfunction]
    #[pyo3(signature = (labels, time_ms, values, present, held = Held::default()))]
    fn vector_json<'py>(
        labels: Bound<'py, PyAny>,
        time_ms: i64,
        values: PyReadonlyArray1<'py, f64>,
        present: PyReadonlyArray1<'py, bool>,
        held: Held,
    ) -> PyResult<Bound<'py, PyBytes>> {
        let values = values.as_slice().map_err(|_| contiguous("values"))?;
        let present = present.as_slice().map_err(|_| contiguous("present"))?;
        with_metrics(&labels, |metrics| {
            let points = Points {
                metrics,
                values,
                present,
            };
            super::vector_json(points, histograms(&held), time_ms)
        })
    }

    #[pyfunction]
    fn scalar_json(py: Python<'_>, time_ms: i64, value: f64) -> Bound<'_, PyBytes> {
        PyBytes::new(py, &py.detach(|| super::scalar_json(time_ms, value)))
    }

    pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
        module.add_function(wrap_pyfunction!(matrix_json, module)?)?;
        module.add_function(wrap_pyfunction!(samples_json, module)?)?;
        module.add_function(wrap_pyfunction!(vector_json, module)?)?;
        module.add_function(wrap_pyfunction!(scalar_json, module)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn float(value: f64) -> String {
        let mut out = Vec::new();
        push_float(&mut out, value);
        String::from_utf8(out).unwrap()
    }

    fn text(bytes: Vec<u8>) -> String {
        String::from_utf8(bytes).unwrap()
    }

    fn metric(labels: &[(&str, &str)]) -> Vec<u8> {
        metric_json(labels.iter().copied())
    }

    #[test]
    fn floats_are_printed_as_go_prints_them() {
        for (value, expected) in [
            (0.0, "0"),
            (-0.0, "-0"),
            (1.0, "1"),
            (-1.5, "-1.5"),
            (0.01, "0.01"),
            (0.001, "0.001"),
            (-0.25, "-0.25"),
            (100.0, "100"),
            (0.1 + 0.2, "0.30000000000000004"),
            (1e6, "1000000"),
            (999_999_999_999.999, "999999999999.999"),
            (1e15, "1000000000000000"),
            (1e16, "10000000000000000"),
            (1.234e17, "123400000000000000"),
            (123_456_789_012_345_680.0, "123456789012345680"),
            (1e20, "100000000000000000000"),
            (1e21, "1e+21"),
            (-1.5e300, "-1.5e+300"),
            (1e-5, "0.00001"),
            (1.5e-6, "0.0000015"),
            (-1e-6, "-0.000001"),
            (1e-7, "1e-07"),
            (2.5e-10, "2.5e-10"),
            (5e-324, "5e-324"),
            (f64::MAX, "1.7976931348623157e+308"),
            (f64::NAN, "NaN"),
            (f64::INFINITY, "+Inf"),
            (f64::NEG_INFINITY, "-Inf"),
            (123.456, "123.456"),
            (12.345_678, "12.345678"),
        ] {
            assert_eq!(float(value), expected);
        }
    }

    #[test]
    fn times_are_seconds() {
        let time = |ms| {
            let mut out = Vec::new();
            push_time(&mut out, ms);
            text(out)
        };
        assert_eq!(time(1_435_781_430_781), "1435781430.781");
        assert_eq!(
            (time(5000), time(5050), time(-1), time(0)),
            ("5".into(), "5.050".into(), "-0.001".into(), "0".into())
        );
    }

    #[test]
    fn labels_are_escaped() {
        let got = text(metric(&[("a", "q\"b\\c\n\u{1}"), ("\u{e9}", "\u{2028}")]));
        assert_eq!(
            got,
            "{\"a\":\"q\\\"b\\\\c\\n\\u0001\",\"\u{e9}\":\"\u{2028}\"}"
        );
        assert_eq!(text(metric(&[])), "{}");
    }

    #[test]
    fn bodies() {
        let metrics = [
            metric(&[("__name__", "up")]),
            metric(&[]),
            metric(&[("a", "b")]),
        ];
        let points = Points {
            metrics: Metrics::Made(&metrics),
            values: &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0],
            present: &[true, false, false, false, true, true],
        };
        assert_eq!(
            text(matrix_json(points, Histograms::default(), 1000, 500, 2).unwrap()),
            "[{\"metric\":{\"__name__\":\"up\"},\"values\":[[1,\"1\"]]},\
             {\"metric\":{\"a\":\"b\"},\"values\":[[1,\"5\"],[1.500,\"6\"]]}]"
        );
        let one = Points {
            values: &points.values[..3],
            present: &[true, false, true],
            ..points
        };
        assert_eq!(
            text(vector_json(one, Histograms::default(), 1500).unwrap()),
            "[{\"metric\":{\"__name__\":\"up\"},\"value\":[1.500,\"1\"]},\
             {\"metric\":{\"a\":\"b\"},\"value\":[1.500,\"3\"]}]"
        );
        assert_eq!(text(scalar_json(1500, f64::NAN)), "[1.500,\"NaN\"]");
        let samples = samples_json(
            Metrics::Made(&metrics),
            &[0, 1, 1, 2],
            &[1_000_000_000, -1],
            &[1.0, 2.0],
            Histograms::default(),
        );
        assert_eq!(
            text(samples.unwrap()),
            "[{\"metric\":{\"__name__\":\"up\"},\"values\":[[1,\"1\"]]},\
             {\"metric\":{\"a\":\"b\"},\"values\":[[-0.001,\"2\"]]}]"
        );
        let none = Points {
            metrics: Metrics::Made(&[]),
            values: &[],
            present: &[],
        };
        assert_eq!(
            text(matrix_json(none, Histograms::default(), 0, 1, 5).unwrap()),
            "[]"
        );
        assert_eq!(
            text(vector_json(none, Histograms::default(), 0).unwrap()),
            "[]"
        );
    }

    #[test]
    fn histograms_follow_values() {
        let metrics = [metric(&[("a", "1")]), metric(&[("a", "2")])];
        let points = Points {
            metrics: Metrics::Made(&metrics),
            values: &[1.0, 0.0, 0.0, 0.0],
            present: &[true, false, false, false],
        };
        let objects = [b"{}".to_vec(), b"{}".to_vec(), b"{}".to_vec()];
        let histograms = Histograms {
            rows: &[0, 1, 1],
            times_ms: &[1500, 1000, 1500],
            objects: &objects,
        };
        assert_eq!(
            text(matrix_json(points, histograms, 1000, 500, 2).unwrap()),
            "[{\"metric\":{\"a\":\"1\"},\"values\":[[1,\"1\"]],\"histograms\":[[1.500,{}]]},\
             {\"metric\":{\"a\":\"2\"},\"histograms\":[[1,{}],[1.500,{}]]}]"
        );
        let one = Points {
            values: &[1.0, 0.0],
            present: &[true, false],
            ..points
        };
        let last = Histograms {
            rows: &[1],
            times_ms: &[1000],
            objects: &objects[..1],
        };
        assert_eq!(
            text(vector_json(one, last, 1000).unwrap()),
            "[{\"metric\":{\"a\":\"1\"},\"value\":[1,\"1\"]},\
             {\"metric\":{\"a\":\"2\"},\"histogram\":[1,{}]}]"
        );
        let samples = samples_json(
            Metrics::Made(&metrics),
            &[0, 1, 1],
            &[1_000_000_000],
            &[1.0],
            last,
        );
        assert_eq!(
            text(samples.unwrap()),
            "[{\"metric\":{\"a\":\"1\"},\"values\":[[1,\"1\"]]},\
             {\"metric\":{\"a\":\"2\"},\"histograms\":[[1,{}]]}]"
        );
        assert!(matrix_json(points, Histograms { rows: &[], ..last }, 0, 1, 2).is_err());
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let metrics = [metric(&[])];
        let points = Points {
            metrics: Metrics::Made(&metrics),
            values: &[1.0],
            present: &[true],
        };
        assert!(matrix_json(points, Histograms::default(), 0, 1, 2).is_err());
        assert!(
            vector_json(
                Points {
                    present: &[],
                    ..points
                },
                Histograms::default(),
                0
            )
            .is_err()
        );
        assert!(
            samples_json(
                Metrics::Made(&metrics),
                &[0],
                &[],
                &[],
                Histograms::default()
            )
            .is_err()
        );
        assert!(
            samples_json(
                Metrics::Made(&metrics),
                &[0, 2],
                &[1],
                &[1.0],
                Histograms::default()
            )
            .is_err()
        );
        assert!(
            samples_json(
                Metrics::Made(&metrics),
                &[1, 0],
                &[1],
                &[1.0],
                Histograms::default()
            )
            .is_err()
        );
        assert!(
            samples_json(
                Metrics::Made(&metrics),
                &[-1, 0],
                &[1],
                &[1.0],
                Histograms::default()
            )
            .is_err()
        );
    }

    proptest! {
        #[test]
        fn any_float_reads_back(bits: u64) {
            let value = f64::from_bits(bits);
            prop_assume!(value.is_finite());
            prop_assert_eq!(float(value).parse::<f64>().unwrap().to_bits(), value.to_bits());
        }

        #[test]
        fn short_decimals_are_printed_as_written(thousandths in -1_000_000_000_000_000i64..1_000_000_000_000_000) {
            let value = thousandths as f64 / 1000.0;
            prop_assert_eq!(float(value).parse::<f64>().unwrap().to_bits(), value.to_bits());
            prop_assert!(float(value).len() <= value.to_string().len());
        }
    }
}
