//! The `Histogram` message of Prometheus remote write, whose fields both versions number alike;
//! `remote_write` calls it.

use crate::error::Result;
use crate::histogram::{BUCKETS_MAX, Counts, Histogram, ResetHint, Span as Buckets};
use crate::protobuf::{Message, Span, Value, broken, expect_bytes, expect_varint, mistyped};
use crate::varint::unzigzag;

/// A message as it stands, before its two kinds of counts are told apart.
#[derive(Default)]
struct Parts {
    count_integer: Option<u64>,
    count_float: Option<f64>,
    zero_integer: u64,
    zero_float: f64,
    sum: f64,
    schema: i64,
    zero_threshold: f64,
    negative_spans: Vec<Buckets>,
    negative_deltas: Vec<i64>,
    negative_counts: Vec<f64>,
    positive_spans: Vec<Buckets>,
    positive_deltas: Vec<i64>,
    positive_counts: Vec<f64>,
    hint: u64,
    time_ms: i64,
    custom_values: Vec<f64>,
}

/// The histogram and its time in milliseconds. Not checked yet: broken protobuf alone is an error,
/// and more elements than any histogram may have.
pub fn read(body: &[u8], span: Span) -> Result<(Histogram, i64)> {
    let mut parts = Parts::default();
    let mut message = Message::new(body, span);
    while let Some((number, value)) = message.next_field()? {
        parts.take(body, message.at, number, &value)?;
    }
    Ok(parts.histogram())
}

impl Parts {
    fn take(&mut self, body: &[u8], at: usize, number: u64, value: &Value) -> Result<()> {
        let integer = |what| expect_varint(value, at, what);
        match number {
            1 => self.count_integer = Some(integer("a histogram's count")?),
            2 => self.count_float = Some(float(value, at)?),
            3 => self.sum = float(value, at)?,
            4 => self.schema = unzigzag(integer("a histogram's schema")?),
            5 => self.zero_threshold = float(value, at)?,
            6 => self.zero_integer = integer("a histogram's zero count")?,
            7 => self.zero_float = float(value, at)?,
            8 => push(&mut self.negative_spans, at, bucket_span(body, at, value)?)?,
            9 => deltas(&mut self.negative_deltas, body, at, value)?,
            10 => floats(&mut self.negative_counts, body, at, value)?,
            11 => push(&mut self.positive_spans, at, bucket_span(body, at, value)?)?,
            12 => deltas(&mut self.positive_deltas, body, at, value)?,
            13 => floats(&mut self.positive_counts, body, at, value)?,
            14 => self.hint = integer("a histogram's reset hint")?,
            15 => self.time_ms = integer("a histogram's timestamp")? as i64,
            16 => floats(&mut self.custom_values, body, at, value)?,
            _ => {}
        }
        Ok(())
    }

    fn histogram(self) -> (Histogram, i64) {
        let counts = match self.count_float {
            Some(count) => Counts::Float {
                count,
                zero_count: self.zero_float,
                positive: self.positive_counts,
                negative: self.negative_counts,
            },
            None => Counts::Integer {
                count: self.count_integer.unwrap_or(0),
                zero_count: self.zero_integer,
                positive: self.positive_deltas,
                negative: self.negative_deltas,
            },
        };
        let hint = u8::try_from(self.hint).ok().and_then(ResetHint::from_u8);
        let histogram = Histogram {
            schema: i32::try_from(self.schema).unwrap_or(i32::MAX),
            // Hints added later are as good as none.
            hint: hint.unwrap_or(ResetHint::Unknown),
            zero_threshold: self.zero_threshold,
            sum: self.sum,
            counts,
            positive_spans: self.positive_spans,
            negative_spans: self.negative_spans,
            custom_values: self.custom_values,
        };
        (histogram, self.time_ms)
    }
}

fn push<T>(elements: &mut Vec<T>, at: usize, element: T) -> Result<()> {
    // One more than fits: `Histogram::check` then refuses this histogram alone.
    if elements.len() <= BUCKETS_MAX {
        elements.push(element);
        return Ok(());
    }
    Err(broken(
        at,
        "a histogram has more than buckets_max 65536 elements",
    ))
}

fn float(value: &Value, at: usize) -> Result<f64> {
    match value {
        Value::Fixed64(bits) => Ok(f64::from_bits(*bits)),
        _ => Err(mistyped(at, "a histogram's number")),
    }
}

/// Packed, as senders write them, or one by one.
fn floats(out: &mut Vec<f64>, body: &[u8], at: usize, value: &Value) -> Result<()> {
    let Value::Bytes(span) = value else {
        return push(out, at, float(value, at)?);
    };
    let packed = &body[span.0 as usize..span.1 as usize];
    let mut rest = packed;
    while let Some((bytes, following)) = rest.split_first_chunk::<8>() {
        push(out, at, f64::from_bits(u64::from_le_bytes(*bytes)))?;
        rest = following;
    }
    if rest.is_empty() {
        return Ok(());
    }
    Err(broken(at, "a histogram's numbers end inside one"))
}

fn deltas(out: &mut Vec<i64>, body: &[u8], at: usize, value: &Value) -> Result<()> {
    let Value::Bytes(span) = value else {
        let delta = unzigzag(expect_varint(value, at, "a histogram's bucket")?);
        return push(out, at, delta);
    };
    let mut packed = Message::new(body, *span);
    while packed.at < packed.body.len() {
        let delta = unzigzag(packed.varint()?);
        push(out, at, delta)?;
    }
    Ok(())
}

fn bucket_span(body: &[u8], at: usize, value: &Value) -> Result<Buckets> {
    let mut message = Message::new(body, expect_bytes(value, at, "a histogram's span")?);
    let mut span = Buckets {
        offset: 0,
        length: 0,
    };
    while let Some((number, value)) = message.next_field()? {
        let integer = |what| expect_varint(&value, message.at, what);
        let far = |_| broken(at, "a histogram's span does not fit 32 bits");
        match number {
            1 => {
                let offset = unzigzag(integer("a span's offset")?);
                span.offset = i32::try_from(offset).map_err(far)?;
            }
            2 => span.length = u32::try_from(integer("a span's length")?).map_err(far)?,
            _ => {}
        }
    }
    Ok(span)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::varint;
    use proptest::prelude::*;

    fn field(out: &mut Vec<u8>, number: u64, bytes: &[u8]) {
        varint::put(out, number << 3 | 2);
        varint::put_slice(out, bytes);
    }

    fn number(out: &mut Vec<u8>, number: u64, value: u64) {
        varint::put(out, number << 3);
        varint::put(out, value);
    }

    fn fixed(out: &mut Vec<u8>, number: u64, value: f64) {
        varint::put(out, number << 3 | 1);
        out.extend_from_slice(&value.to_le_bytes());
    }

    fn read_all(message: &[u8]) -> Result<(Histogram, i64)> {
        read(message, (0, message.len() as u32))
    }

    /// Span of 3 buckets from -2 on.
    fn message() -> Vec<u8> {
        let mut out = Vec::new();
        number(&mut out, 1, 7);
        fixed(&mut out, 3, 2.5);
        number(&mut out, 4, varint::zigzag(-1));
        fixed(&mut out, 5, 0.001);
        number(&mut out, 6, 1);
        let mut span = Vec::new();
        number(&mut span, 1, varint::zigzag(-2));
        number(&mut span, 2, 3);
        field(&mut out, 11, &span);
        let deltas: Vec<u8> = [1, 2, -1].map(|d| varint::zigzag(d) as u8).into();
        field(&mut out, 12, &deltas);
        number(&mut out, 14, 2);
        number(&mut out, 15, 1234);
        out
    }

    #[test]
    fn integers_are_kept_as_sent() {
        let (histogram, time_ms) = read_all(&message()).unwrap();
        histogram.check().unwrap();
        assert_eq!((time_ms, histogram.schema), (1234, -1));
        assert_eq!(histogram.hint, ResetHint::NotReset);
        let counts = Counts::Integer {
            count: 7,
            zero_count: 1,
            positive: vec![1, 2, -1],
            negative: vec![],
        };
        assert_eq!(histogram.counts, counts);
    }

    #[test]
    fn floats_and_custom_values_packed_or_not() {
        let mut out = Vec::new();
        fixed(&mut out, 2, 1.5);
        number(&mut out, 4, varint::zigzag(-53));
        let mut span = Vec::new();
        number(&mut span, 2, 2);
        field(&mut out, 11, &span);
        fixed(&mut out, 13, 0.5);
        field(&mut out, 13, &1.0f64.to_le_bytes());
        fixed(&mut out, 16, 9.0);
        let (histogram, _) = read_all(&out).unwrap();
        histogram.check().unwrap();
        assert_eq!(histogram.custom_values, [9.0]);
        assert_eq!(histogram.buckets().0.counts, [0.5, 1.0]);
    }

    #[test]
    fn broken_messages_are_errors() {
        let mut half = Vec::new();
        field(&mut half, 13, &[0; 7]);
        assert!(read_all(&half).is_err());
        let mut many = Vec::new();
        field(&mut many, 12, &vec![0; BUCKETS_MAX + 2]);
        let error = read_all(&many).unwrap_err().to_string();
        assert!(error.contains("buckets_max"), "{error}");
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_histogram_or_an_error(bytes: Vec<u8>, at: usize, flip: u8) {
            let _ = read_all(&bytes);
            let mut message = message();
            let length = message.len();
            message[at % length] ^= flip;
            if let Ok((histogram, _)) = read_all(&message) {
                let _ = histogram.check();
            }
        }
    }
}
