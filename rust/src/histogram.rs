//! Native histograms: what one holds, its persisted payload, and how JSON shows it.
//!
//! `remote_write` reads them from the wire and keeps them as payloads beside the values of a batch;
//! queries take payloads apart again (docs/formats/histogram.md). Counts stay what the sender sent,
//! integers or floats; queries see floats.

use crate::answer::push_float;
use crate::error::{CoreError, Result};
use crate::varint;

pub const VERSION: u8 = 1;
/// The schema of buckets with bounds of their own.
pub const SCHEMA_CUSTOM: i32 = -53;
pub const SCHEMA_MIN: i32 = -4;
pub const SCHEMA_MAX: i32 = 8;
/// Buckets, spans or bounds of one histogram; more are refused.
pub const BUCKETS_MAX: usize = 1 << 16;

const IS_FLOAT: u8 = 1;
const HINT_SHIFT: u8 = 1;
const FLAGS_MASK: u8 = 0b111;

/// Whether counters began anew before this histogram, as its sender knew it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum ResetHint {
    Unknown = 0,
    Reset = 1,
    NotReset = 2,
    Gauge = 3,
}

impl ResetHint {
    pub fn from_u8(number: u8) -> Option<Self> {
        Some(match number {
            0 => Self::Unknown,
            1 => Self::Reset,
            2 => Self::NotReset,
            3 => Self::Gauge,
            _ => return None,
        })
    }
}

/// Buckets in a row: how many indexes lie before them (of the first, its index), and their number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    pub offset: i32,
    pub length: u32,
}

/// Counts as they were sent.
#[derive(Debug, Clone, PartialEq)]
pub enum Counts {
    /// Buckets as differences, each to the bucket before it.
    Integer {
        count: u64,
        zero_count: u64,
        positive: Vec<i64>,
        negative: Vec<i64>,
    },
    Float {
        count: f64,
        zero_count: f64,
        positive: Vec<f64>,
        negative: Vec<f64>,
    },
}

#[derive(Debug, Clone, PartialEq)]
pub struct Histogram {
    pub schema: i32,
    pub hint: ResetHint,
    pub zero_threshold: f64,
    /// A staleness marker here says that the series has ended.
    pub sum: f64,
    pub counts: Counts,
    pub positive_spans: Vec<Span>,
    pub negative_spans: Vec<Span>,
    /// Upper bounds of buckets, of schema -53 alone.
    pub custom_values: Vec<f64>,
}

impl Histogram {
    /// Refuses what Prometheus refuses, and more than `BUCKETS_MAX` of anything.
    pub fn check(&self) -> Result<()> {
        self.check_sizes()?;
        if self.schema == SCHEMA_CUSTOM {
            self.check_custom()?;
        } else if !(SCHEMA_MIN..=SCHEMA_MAX).contains(&self.schema) {
            return Err(invalid(&format!(
                "schema {} is none of {SCHEMA_MIN} to {SCHEMA_MAX} and {SCHEMA_CUSTOM}",
                self.schema
            )));
        } else if !self.custom_values.is_empty() {
            return Err(invalid(&format!(
                "custom values go with schema {SCHEMA_CUSTOM}, not with {}",
                self.schema
            )));
        }
        check_spans(&self.positive_spans, "positive")?;
        check_spans(&self.negative_spans, "negative")?;
        match &self.counts {
            Counts::Integer { .. } => self.check_integers(),
            Counts::Float { .. } => self.check_floats(),
        }
    }

    fn check_sizes(&self) -> Result<()> {
        let (positive, negative) = self.bucket_counts();
        for (spans, buckets, side) in [
            (&self.positive_spans, positive, "positive"),
            (&self.negative_spans, negative, "negative"),
        ] {
            let spanned: u64 = spans.iter().map(|span| u64::from(span.length)).sum();
            if spanned != buckets as u64 {
                return Err(invalid(&format!(
                    "its {side} spans have room for {spanned} buckets, it has {buckets}"
                )));
            }
            if spans.len() > BUCKETS_MAX || buckets > BUCKETS_MAX {
                return Err(invalid(&format!(
                    "more than {BUCKETS_MAX} {side} spans or buckets (buckets_max)"
                )));
            }
        }
        if self.custom_values.len() > BUCKETS_MAX {
            return Err(invalid(&format!(
                "more than {BUCKETS_MAX} custom values (buckets_max)"
            )));
        }
        Ok(())
    }

    fn bucket_counts(&self) -> (usize, usize) {
        match &self.counts {
            Counts::Integer {
                positive, negative, ..
            } => (positive.len(), negative.len()),
            Counts::Float {
                positive, negative, ..
            } => (positive.len(), negative.len()),
        }
    }

    fn check_custom(&self) -> Result<()> {
        let has_zero_bucket = match &self.counts {
            Counts::Integer { zero_count, .. } => *zero_count != 0,
            Counts::Float { zero_count, .. } => *zero_count != 0.0,
        };
        if has_zero_bucket || self.zero_threshold != 0.0 {
            return Err(invalid("custom buckets have no zero bucket"));
        }
        if !self.negative_spans.is_empty() || self.bucket_counts().1 > 0 {
            return Err(invalid("custom buckets have no negative ones"));
        }
        let mut last = f64::NEG_INFINITY;
        for &bound in &self.custom_values {
            // Also where it is no number.
            if !matches!(bound.partial_cmp(&last), Some(std::cmp::Ordering::Greater)) {
                return Err(invalid(&format!(
                    "its custom values do not rise: {bound} follows {last}"
                )));
            }
            last = bound;
        }
        if last == f64::INFINITY {
            return Err(invalid("the bucket up to +Inf needs no custom value"));
        }
        let reached: i64 = self
            .positive_spans
            .iter()
            .map(|span| i64::from(span.offset) + i64::from(span.length))
            .sum();
        if self.positive_spans.iter().any(|span| span.offset < 0)
            || reached > self.custom_values.len() as i64 + 1
        {
            return Err(invalid(&format!(
                "its spans reach {reached} buckets, its {} custom values make {}",
                self.custom_values.len(),
                self.custom_values.len() + 1
            )));
        }
        Ok(())
    }

    fn check_integers(&self) -> Result<()> {
        let Counts::Integer {
            count,
            zero_count,
            positive,
            negative,
        } = &self.counts
        else {
            return Ok(());
        };
        let mut total = u128::from(*zero_count);
        for deltas in [positive, negative] {
            let mut bucket = 0i64;
            for &delta in deltas {
                bucket = bucket
                    .checked_add(delta)
                    .filter(|&bucket| bucket >= 0)
                    .ok_or_else(|| invalid("a bucket's count is negative or too large"))?;
                total += u128::from(bucket.unsigned_abs());
            }
        }
        // Observations that are no number are counted and lie in no bucket.
        let fits = if self.sum.is_nan() {
            total <= u128::from(*count)
        } else {
            total == u128::from(*count)
        };
        if fits {
            return Ok(());
        }
        Err(invalid(&format!(
            "its buckets hold {total} observations, its count is {count}"
        )))
    }

    fn check_floats(&self) -> Result<()> {
        let Counts::Float {
            count,
            zero_count,
            positive,
            negative,
        } = &self.counts
        else {
            return Ok(());
        };
        let counts = [count, zero_count].into_iter();
        match counts.chain(positive).chain(negative).find(|c| **c < 0.0) {
            Some(count) => Err(invalid(&format!("the count {count} is negative"))),
            None => Ok(()),
        }
    }
}

/// Spans after the first lie behind the one before, and no bucket's index overflows.
fn check_spans(spans: &[Span], side: &str) -> Result<()> {
    let mut index = 0i64;
    for (number, span) in spans.iter().enumerate() {
        if number > 0 && span.offset < 0 {
            return Err(invalid(&format!(
                "{side} span {} has the offset {}",
                number + 1,
                span.offset
            )));
        }
        index += i64::from(span.offset) + i64::from(span.length);
        if i32::try_from(index).is_err() {
            return Err(invalid(&format!(
                "its {side} spans reach too far: bucket {index}"
            )));
        }
    }
    Ok(())
}

fn invalid(cause: &str) -> CoreError {
    CoreError::Invalid(format!("the histogram is not valid: {cause}"))
}

fn corrupt(cause: &str) -> CoreError {
    CoreError::Corrupt(format!("cannot read a histogram: {cause}"))
}

// --- the payload

/// Appends the payload; `histogram` was checked.
pub fn encode(histogram: &Histogram, out: &mut Vec<u8>) {
    let is_float = matches!(histogram.counts, Counts::Float { .. });
    out.push(VERSION);
    out.push(u8::from(is_float) | (histogram.hint as u8) << HINT_SHIFT);
    varint::put(out, varint::zigzag(i64::from(histogram.schema)));
    put_float(out, histogram.zero_threshold);
    put_float(out, histogram.sum);
    put_spans(out, &histogram.positive_spans);
    put_spans(out, &histogram.negative_spans);
    match &histogram.counts {
        Counts::Integer {
            count,
            zero_count,
            positive,
            negative,
        } => {
            varint::put(out, *count);
            varint::put(out, *zero_count);
            for &delta in positive.iter().chain(negative) {
                varint::put(out, varint::zigzag(delta));
            }
        }
        Counts::Float {
            count,
            zero_count,
            positive,
            negative,
        } => {
            for &float in [count, zero_count]
                .into_iter()
                .chain(positive)
                .chain(negative)
            {
                put_float(out, float);
            }
        }
    }
    if histogram.schema == SCHEMA_CUSTOM {
        varint::put(out, histogram.custom_values.len() as u64);
        for &bound in &histogram.custom_values {
            put_float(out, bound);
        }
    }
}

fn put_float(out: &mut Vec<u8>, value: f64) {
    out.extend_from_slice(&value.to_bits().to_le_bytes());
}

fn put_spans(out: &mut Vec<u8>, spans: &[Span]) {
    varint::put(out, spans.len() as u64);
    for span in spans {
        varint::put(out, varint::zigzag(i64::from(span.offset)));
        varint::put(out, u64::from(span.length));
    }
}

/// Takes a payload apart; an error for every other byte string.
pub fn decode(payload: &[u8]) -> Result<Histogram> {
    let mut reading = Payload { payload, at: 0 };
    let version = reading.byte()?;
    if version != VERSION {
        return Err(corrupt(&format!("version {version} is unknown")));
    }
    let flags = reading.byte()?;
    let hint = ResetHint::from_u8(flags >> HINT_SHIFT & 3).filter(|_| flags & !FLAGS_MASK == 0);
    let hint = hint.ok_or_else(|| corrupt(&format!("flags {flags} are unknown")))?;
    let schema = i32::try_from(varint::unzigzag(reading.varint()?))
        .map_err(|_| corrupt("its schema is out of range"))?;
    let (zero_threshold, sum) = (reading.float()?, reading.float()?);
    let (positive_spans, positive) = reading.spans()?;
    let (negative_spans, negative) = reading.spans()?;
    let counts = if flags & IS_FLOAT == 0 {
        Counts::Integer {
            count: reading.varint()?,
            zero_count: reading.varint()?,
            positive: reading.many(positive, |one| Ok(varint::unzigzag(one.varint()?)))?,
            negative: reading.many(negative, |one| Ok(varint::unzigzag(one.varint()?)))?,
        }
    } else {
        Counts::Float {
            count: reading.float()?,
            zero_count: reading.float()?,
            positive: reading.many(positive, Payload::float)?,
            negative: reading.many(negative, Payload::float)?,
        }
    };
    let mut custom_values = Vec::new();
    if schema == SCHEMA_CUSTOM {
        let count = reading.varint()?;
        custom_values = reading.many(count, Payload::float)?;
    }
    if reading.at != payload.len() {
        return Err(corrupt("bytes follow its end"));
    }
    let histogram = Histogram {
        schema,
        hint,
        zero_threshold,
        sum,
        counts,
        positive_spans,
        negative_spans,
        custom_values,
    };
    histogram
        .check()
        .map_err(|error| corrupt(&error.to_string()))?;
    Ok(histogram)
}

struct Payload<'a> {
    payload: &'a [u8],
    at: usize,
}

impl Payload<'_> {
    fn byte(&mut self) -> Result<u8> {
        let byte = self.payload.get(self.at).copied();
        self.at += 1;
        byte.ok_or_else(|| corrupt("bytes end inside it"))
    }

    fn varint(&mut self) -> Result<u64> {
        varint::get(self.payload, &mut self.at)
    }

    fn float(&mut self) -> Result<f64> {
        let rest = self.payload.get(self.at..).unwrap_or_default();
        let bytes = rest
            .first_chunk::<8>()
            .ok_or_else(|| corrupt("bytes end inside a number"))?;
        self.at += 8;
        Ok(f64::from_bits(u64::from_le_bytes(*bytes)))
    }

    /// `count` elements; each takes a byte at least, so that no count claims more memory.
    fn many<T>(&mut self, count: u64, read: impl Fn(&mut Self) -> Result<T>) -> Result<Vec<T>> {
        if count > BUCKETS_MAX as u64 || count > self.payload.len() as u64 {
            return Err(corrupt(&format!("it claims {count} elements")));
        }
        (0..count).map(|_| read(self)).collect()
    }

    /// With the number of buckets they have room for.
    fn spans(&mut self) -> Result<(Vec<Span>, u64)> {
        let count = self.varint()?;
        let spans = self.many(count, |reading| {
            let offset = i32::try_from(varint::unzigzag(reading.varint()?));
            let length = u32::try_from(reading.varint()?);
            match (offset, length) {
                (Ok(offset), Ok(length)) => Ok(Span { offset, length }),
                _ => Err(corrupt("a span is out of range")),
            }
        })?;
        let buckets = spans.iter().map(|span| u64::from(span.length)).sum();
        Ok((spans, buckets))
    }
}

// --- as queries see it

/// Buckets that hold something, by rising index, with absolute counts.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Buckets {
    pub indexes: Vec<i64>,
    pub counts: Vec<f64>,
}

impl Buckets {
    fn new(spans: &[Span], counts: impl Iterator<Item = f64>) -> Self {
        let mut next = 0i64;
        let indexes = spans.iter().flat_map(|span| {
            let first = next + i64::from(span.offset);
            next = first + i64::from(span.length);
            first..next
        });
        let held = indexes.zip(counts).filter(|(_, count)| *count != 0.0);
        let (indexes, counts) = held.unzip();
        Self { indexes, counts }
    }
}

impl Histogram {
    pub fn count(&self) -> f64 {
        match &self.counts {
            Counts::Integer { count, .. } => *count as f64,
            Counts::Float { count, .. } => *count,
        }
    }

    pub fn zero_count(&self) -> f64 {
        match &self.counts {
            Counts::Integer { zero_count, .. } => *zero_count as f64,
            Counts::Float { zero_count, .. } => *zero_count,
        }
    }

    /// Positive and negative ones.
    pub fn buckets(&self) -> (Buckets, Buckets) {
        let (above, below) = (&self.positive_spans, &self.negative_spans);
        match &self.counts {
            Counts::Integer {
                positive, negative, ..
            } => (
                Buckets::new(above, absolute(positive)),
                Buckets::new(below, absolute(negative)),
            ),
            Counts::Float {
                positive, negative, ..
            } => (
                Buckets::new(above, positive.iter().copied()),
                Buckets::new(below, negative.iter().copied()),
            ),
        }
    }
}

fn absolute(deltas: &[i64]) -> impl Iterator<Item = f64> {
    deltas.iter().scan(0i64, |bucket, delta| {
        *bucket = bucket.wrapping_add(*delta);
        Some(*bucket as f64)
    })
}

/// One bucket in an answer: which ends belong to it (as Prometheus numbers that), ends, count.
pub type Shown = (u8, f64, f64, f64);

/// `{"count":"4","sum":"5","buckets":[[0,"1","2","4"],..]}`
pub fn json(count: f64, sum: f64, buckets: &[Shown]) -> Vec<u8> {
    let mut out = b"{\"count\":\"".to_vec();
    push_float(&mut out, count);
    out.extend_from_slice(b"\",\"sum\":\"");
    push_float(&mut out, sum);
    out.push(b'"');
    for (number, (rule, lower, upper, count)) in buckets.iter().enumerate() {
        out.extend_from_slice(if number == 0 {
            b",\"buckets\":[["
        } else {
            b",["
        });
        out.push(b'0' + rule % 10);
        for value in [lower, upper, count] {
            out.extend_from_slice(b",\"");
            push_float(&mut out, *value);
            out.push(b'"');
        }
        out.push(b']');
    }
    if !buckets.is_empty() {
        out.push(b']');
    }
    out.push(b'}');
    out
}

#[cfg(feature = "python")]
#[allow(clippy::needless_pass_by_value)]
pub(crate) mod python {
    use super::{Buckets, Shown};
    use numpy::PyArray1;
    use pyo3::prelude::*;
    use pyo3::types::PyBytes;

    type Side<'py> = (Bound<'py, PyArray1<i64>>, Bound<'py, PyArray1<f64>>);
    /// Schema, reset hint, zero threshold, zero count, count, sum, buckets, custom values.
    type Parts<'py> = (i32, u8, f64, f64, f64, f64, Side<'py>, Side<'py>, Vec<f64>);

    fn side(py: Python<'_>, buckets: Buckets) -> Side<'_> {
        (
            PyArray1::from_vec(py, buckets.indexes),
            PyArray1::from_vec(py, buckets.counts),
        )
    }

    #[pyfunction]
    fn decode_histogram<'py>(py: Python<'py>, payload: &[u8]) -> PyResult<Parts<'py>> {
        let histogram = super::decode(payload)?;
        let (positive, negative) = histogram.buckets();
        Ok((
            histogram.schema,
            histogram.hint as u8,
            histogram.zero_threshold,
            histogram.zero_count(),
            histogram.count(),
            histogram.sum,
            side(py, positive),
            side(py, negative),
            histogram.custom_values,
        ))
    }

    #[pyfunction]
    fn histogram_json(
        py: Python<'_>,
        count: f64,
        sum: f64,
        buckets: Vec<Shown>,
    ) -> Bound<'_, PyBytes> {
        PyBytes::new(py, &super::json(count, sum, &buckets))
    }

    pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
        module.add_function(wrap_pyfunction!(decode_histogram, module)?)?;
        module.add_function(wrap_pyfunction!(histogram_json, module)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn integer() -> Histogram {
        Histogram {
            schema: 3,
            hint: ResetHint::NotReset,
            zero_threshold: 1e-128,
            sum: 12.5,
            counts: Counts::Integer {
                count: 12,
                zero_count: 2,
                positive: vec![1, 2, -2],
                negative: vec![5],
            },
            positive_spans: vec![
                Span {
                    offset: -4,
                    length: 2,
                },
                Span {
                    offset: 3,
                    length: 1,
                },
            ],
            negative_spans: vec![Span {
                offset: 7,
                length: 1,
            }],
            custom_values: vec![],
        }
    }

    fn custom() -> Histogram {
        Histogram {
            schema: SCHEMA_CUSTOM,
            hint: ResetHint::Gauge,
            zero_threshold: 0.0,
            sum: 1.5,
            counts: Counts::Float {
                count: 4.5,
                zero_count: 0.0,
                positive: vec![0.5, 0.0, 4.0],
                negative: vec![],
            },
            positive_spans: vec![Span {
                offset: 0,
                length: 3,
            }],
            negative_spans: vec![],
            custom_values: vec![0.25, 1.0],
        }
    }

    fn payload(histogram: &Histogram) -> Vec<u8> {
        let mut out = Vec::new();
        encode(histogram, &mut out);
        out
    }

    #[test]
    fn payloads_read_back() {
        for histogram in [integer(), custom()] {
            histogram.check().unwrap();
            assert_eq!(decode(&payload(&histogram)).unwrap(), histogram);
        }
        assert_eq!(payload(&integer()).len(), 33);
    }

    #[test]
    fn a_stale_sum_keeps_its_bits() {
        let mut histogram = integer();
        histogram.sum = f64::from_bits(crate::sample::STALE_NAN_BITS);
        let read = decode(&payload(&histogram)).unwrap();
        assert_eq!(read.sum.to_bits(), crate::sample::STALE_NAN_BITS);
    }

    #[test]
    fn buckets_are_absolute_and_empty_ones_are_left_out() {
        let (positive, negative) = integer().buckets();
        assert_eq!(positive.indexes, [-4, -3, 1]);
        assert_eq!(positive.counts, [1.0, 3.0, 1.0]);
        assert_eq!((negative.indexes, negative.counts), (vec![7], vec![5.0]));
        let (positive, _) = custom().buckets();
        assert_eq!(positive.indexes, [0, 2]);
    }

    #[test]
    fn what_is_not_valid_is_named() {
        type Change = fn(&mut Histogram);
        let wrong: [(Change, &str); 9] = [
            (|h| h.schema = 9, "schema 9 is none of -4 to 8 and -53"),
            (
                |h| h.custom_values = vec![1.0],
                "custom values go with schema -53, not with 3",
            ),
            (
                |h| h.positive_spans[0].length = 9,
                "its positive spans have room for 10 buckets, it has 3",
            ),
            (
                |h| h.positive_spans[1].offset = -1,
                "positive span 2 has the offset -1",
            ),
            (
                |h| h.positive_spans[0].offset = i32::MAX,
                "its positive spans reach too far",
            ),
            (
                |h| {
                    if let Counts::Integer { positive, .. } = &mut h.counts {
                        positive[2] = -9;
                    }
                },
                "a bucket's count is negative or too large",
            ),
            (
                |h| {
                    if let Counts::Integer { count, .. } = &mut h.counts {
                        *count = 13;
                    }
                },
                "its buckets hold 12 observations, its count is 13",
            ),
            (
                |h| {
                    *h = custom();
                    h.custom_values = vec![1.0, 1.0];
                },
                "its custom values do not rise: 1 follows 1",
            ),
            (
                |h| {
                    *h = custom();
                    h.custom_values.pop();
                },
                "its spans reach 3 buckets, its 1 custom values make 2",
            ),
        ];
        for (change, cause) in wrong {
            let mut histogram = integer();
            change(&mut histogram);
            let error = histogram.check().unwrap_err().to_string();
            assert!(error.contains(cause), "{error}");
        }
    }

    #[test]
    fn json_as_prometheus_writes_it() {
        let shown = [
            (1, -2.0, -1.0, 0.5),
            (3, -0.1, 0.1, 2.0),
            (0, 1.0, 2.0, 1.0),
        ];
        assert_eq!(
            String::from_utf8(json(3.5, -1e-7, &shown)).unwrap(),
            "{\"count\":\"3.5\",\"sum\":\"-1e-07\",\"buckets\":[[1,\"-2\",\"-1\",\"0.5\"],\
             [3,\"-0.1\",\"0.1\",\"2\"],[0,\"1\",\"2\",\"1\"]]}"
        );
        assert_eq!(json(0.0, 0.0, &[]), b"{\"count\":\"0\",\"sum\":\"0\"}");
    }

    fn any_spans() -> impl Strategy<Value = Vec<Span>> {
        let span = (0i32..40, 0u32..5).prop_map(|(offset, length)| Span { offset, length });
        prop::collection::vec(span, 0..5)
    }

    fn room(spans: &[Span]) -> usize {
        spans.iter().map(|span| span.length as usize).sum()
    }

    proptest! {
        #[test]
        fn integers_read_back(
            schema in -4i32..=8, positive in any_spans(), negative in any_spans(), sum: f64,
            zero in 0u64..9, seed in prop::collection::vec(0i64..1000, 40), hint in 0u8..4,
        ) {
            let buckets = |spans: &[Span], at: usize| seed[at..at + room(spans)].to_vec();
            let (above, below) = (buckets(&positive, 0), buckets(&negative, 20));
            let count = zero + above.iter().chain(&below).sum::<i64>() as u64;
            let deltas = |counts: &[i64]| {
                let before = std::iter::once(0).chain(counts.iter().copied());
                counts.iter().zip(before).map(|(count, before)| count - before).collect()
            };
            let histogram = Histogram {
                schema, hint: ResetHint::from_u8(hint).unwrap(), zero_threshold: 0.5, sum,
                counts: Counts::Integer {
                    count, zero_count: zero, positive: deltas(&above), negative: deltas(&below),
                },
                positive_spans: positive, negative_spans: negative, custom_values: vec![],
            };
            histogram.check().unwrap();
            let read = decode(&payload(&histogram)).unwrap();
            prop_assert_eq!(read.sum.to_bits(), sum.to_bits());
            prop_assert_eq!(read.counts, histogram.counts);
            prop_assert_eq!(read.positive_spans, histogram.positive_spans);
        }

        #[test]
        fn any_bytes_are_a_histogram_or_an_error(bytes: Vec<u8>) {
            let _ = decode(&bytes);
        }

        #[test]
        fn damaged_payloads_are_a_histogram_or_an_error(at: usize, flip: u8, cut in 0usize..9) {
            for histogram in [integer(), custom()] {
                let mut bytes = payload(&histogram);
                let length = bytes.len();
                bytes[at % length] ^= flip;
                bytes.truncate(length - cut);
                let _ = decode(&bytes);
            }
        }
    }
}
