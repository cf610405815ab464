//! OTLP's JSON form as protobuf, so that one decoder gives both their meaning.
//!
//! A streaming walk: each message is written as it is read, by a table of the fields that the
//! decoder reads. Field names come in lowerCamelCase or as the schema has them; unknown ones are
//! passed over, as the specification demands. 64-bit numbers come as text or as numbers, doubles
//! that JSON has no word for as text.

use crate::error::{CoreError, Result};
use crate::varint;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use std::fmt;

const VARINT: u8 = 0;
const FIXED64: u8 = 1;
const BYTES: u8 = 2;

#[derive(Clone, Copy)]
enum Form {
    Message(&'static [Field]),
    /// A message of which only its being there counts.
    Mark,
    Text,
    /// In base64.
    Bytes,
    Bool,
    /// A signed number as a varint.
    Int,
    Uint,
    /// 64 bits of a fixed field.
    Fixed,
    SignedFixed,
    Double,
    /// A number, or its name.
    Temporality,
}

struct Field {
    name: &'static str,
    number: u64,
    form: Form,
    is_repeated: bool,
}

const fn one(name: &'static str, number: u64, form: Form) -> Field {
    Field {
        name,
        number,
        form,
        is_repeated: false,
    }
}

const fn many(name: &'static str, number: u64, form: Form) -> Field {
    Field {
        name,
        number,
        form,
        is_repeated: true,
    }
}

static REQUEST: [Field; 1] = [many(
    "resource_metrics",
    1,
    Form::Message(&RESOURCE_METRICS),
)];
static RESOURCE_METRICS: [Field; 3] = [
    one("resource", 1, Form::Message(&RESOURCE)),
    many("scope_metrics", 2, Form::Message(&SCOPE_METRICS)),
    many("instrumentation_library_metrics", 1000, Form::Mark),
];
static RESOURCE: [Field; 1] = [many("attributes", 1, Form::Message(&KEY_VALUE))];
static KEY_VALUE: [Field; 2] = [
    one("key", 1, Form::Text),
    one("value", 2, Form::Message(&ANY_VALUE)),
];
static ANY_VALUE: [Field; 7] = [
    one("string_value", 1, Form::Text),
    one("bool_value", 2, Form::Bool),
    one("int_value", 3, Form::Int),
    one("double_value", 4, Form::Double),
    one("array_value", 5, Form::Message(&ARRAY_VALUE)),
    one("kvlist_value", 6, Form::Message(&KEY_VALUE_LIST)),
    one("bytes_value", 7, Form::Bytes),
];
static ARRAY_VALUE: [Field; 1] = [many("values", 1, Form::Message(&ANY_VALUE))];
static KEY_VALUE_LIST: [Field; 1] = [many("values", 1, Form::Message(&KEY_VALUE))];
static SCOPE_METRICS: [Field; 3] = [
    one("scope", 1, Form::Message(&SCOPE)),
    many("metrics", 2, Form::Message(&METRIC)),
    one("schema_url", 3, Form::Text),
];
static SCOPE: [Field; 3] = [
    one("name", 1, Form::Text),
    one("version", 2, Form::Text),
    many("attributes", 3, Form::Message(&KEY_VALUE)),
];
static METRIC: [Field; 8] = [
    one("name", 1, Form::Text),
    one("description", 2, Form::Text),
    one("unit", 3, Form::Text),
    one("gauge", 5, Form::Message(&GAUGE)),
    one("sum", 7, Form::Message(&SUM)),
    one("histogram", 9, Form::Message(&HISTOGRAM)),
    one("exponential_histogram", 10, Form::Message(&EXPONENTIAL)),
    one("summary", 11, Form::Message(&SUMMARY)),
];
static GAUGE: [Field; 1] = [many("data_points", 1, Form::Message(&NUMBER_POINT))];
static SUM: [Field; 3] = [
    many("data_points", 1, Form::Message(&NUMBER_POINT)),
    one("aggregation_temporality", 2, Form::Temporality),
    one("is_monotonic", 3, Form::Bool),
];
static HISTOGRAM: [Field; 2] = [
    many("data_points", 1, Form::Message(&HISTOGRAM_POINT)),
    one("aggregation_temporality", 2, Form::Temporality),
];
static EXPONENTIAL: [Field; 2] = [
    many("data_points", 1, Form::Mark),
    one("aggregation_temporality", 2, Form::Temporality),
];
static SUMMARY: [Field; 1] = [many("data_points", 1, Form::Message(&SUMMARY_POINT))];
static NUMBER_POINT: [Field; 6] = [
    one("time_unix_nano", 3, Form::Fixed),
    one("as_double", 4, Form::Double),
    many("exemplars", 5, Form::Mark),
    one("as_int", 6, Form::SignedFixed),
    many("attributes", 7, Form::Message(&KEY_VALUE)),
    one("flags", 8, Form::Uint),
];
static HISTOGRAM_POINT: [Field; 8] = [
    one("time_unix_nano", 3, Form::Fixed),
    one("count", 4, Form::Fixed),
    one("sum", 5, Form::Double),
    many("bucket_counts", 6, Form::Fixed),
    many("explicit_bounds", 7, Form::Double),
    many("exemplars", 8, Form::Mark),
    many("attributes", 9, Form::Message(&KEY_VALUE)),
    one("flags", 10, Form::Uint),
];
static SUMMARY_POINT: [Field; 6] = [
    one("time_unix_nano", 3, Form::Fixed),
    one("count", 4, Form::Fixed),
    one("sum", 5, Form::Double),
    many("quantile_values", 6, Form::Message(&QUANTILE)),
    many("attributes", 7, Form::Message(&KEY_VALUE)),
    one("flags", 8, Form::Uint),
];
static QUANTILE: [Field; 2] = [
    one("quantile", 1, Form::Double),
    one("value", 2, Form::Double),
];

/// An `ExportMetricsServiceRequest` in JSON as protobuf; `size_bytes_max` bounds the latter.
pub fn to_protobuf(body: &[u8], size_bytes_max: usize) -> Result<Vec<u8>> {
    let mut out = Vec::with_capacity(body.len() / 2);
    let mut is_too_large = false;
    let mut reader = serde_json::Deserializer::from_slice(body);
    let writer = Writer {
        out: &mut out,
        size_bytes_max,
        is_too_large: &mut is_too_large,
    };
    let written = Fields(writer, &REQUEST)
        .deserialize(&mut reader)
        .and_then(|()| reader.end());
    if is_too_large {
        return Err(CoreError::Exhausted(format!(
            "cannot decode a JSON body of {} bytes: it holds more than size_bytes_max \
             {size_bytes_max}",
            body.len()
        )));
    }
    written
        .map_err(|error| CoreError::Invalid(format!("cannot decode an OTLP JSON body: {error}")))?;
    Ok(out)
}

/// Where messages are written to.
struct Writer<'a> {
    out: &'a mut Vec<u8>,
    size_bytes_max: usize,
    is_too_large: &'a mut bool,
}

impl Writer<'_> {
    fn again(&mut self) -> Writer<'_> {
        Writer {
            out: self.out,
            size_bytes_max: self.size_bytes_max,
            is_too_large: self.is_too_large,
        }
    }

    fn tag(&mut self, number: u64, wire_type: u8) {
        varint::put(self.out, number << 3 | u64::from(wire_type));
    }

    /// Puts the length of what was written since `start` before it.
    fn close(&mut self, start: usize) {
        let length = self.out.len() - start;
        let size = varint::size(length as u64);
        self.out.resize(self.out.len() + size, 0);
        self.out.copy_within(start..start + length, start + size);
        let mut prefix = Vec::with_capacity(size);
        varint::put(&mut prefix, length as u64);
        self.out[start..start + size].copy_from_slice(&prefix);
    }

    fn check_size<E: serde::de::Error>(&mut self) -> std::result::Result<(), E> {
        if self.out.len() > self.size_bytes_max {
            *self.is_too_large = true;
            return Err(E::custom("too large"));
        }
        Ok(())
    }
}

/// Whether `key` is `name` as it stands or in lowerCamelCase.
fn is_called(name: &str, key: &str) -> bool {
    if name == key {
        return true;
    }
    let mut key = key.bytes();
    let mut is_upper = false;
    for byte in name.bytes() {
        if byte == b'_' {
            is_upper = true;
            continue;
        }
        let expected = if is_upper {
            byte.to_ascii_uppercase()
        } else {
            byte
        };
        is_upper = false;
        if key.next() != Some(expected) {
            return false;
        }
    }
    key.next().is_none()
}

/// Reads an object into the fields of a message.
struct Fields<'a>(Writer<'a>, &'static [Field]);

impl<'de> DeserializeSeed<'de> for Fields<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> std::result::Result<(), D::Error> {
        from.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Fields<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> std::result::Result<(), A::Error> {
        let mut seen = 0u32;
        while let Some(at) = map.next_key_seed(Name(self.1))? {
            let Some(at) = at else {
                map.next_value::<IgnoredAny>()?;
                continue;
            };
            let field = &self.1[at];
            if seen & 1 << at != 0 {
                let name = field.name;
                return Err(serde::de::Error::custom(format!("{name} is given twice")));
            }
            seen |= 1 << at;
            let writer = self.0.again();
            if field.is_repeated {
                map.next_value_seed(Optional(Elements(writer, field)))?;
            } else {
                map.next_value_seed(Optional(Element(writer, field)))?;
            }
        }
        self.0.check_size()
    }
}

/// Reads an object's key: the position of the field it names.
struct Name(&'static [Field]);

impl<'de> DeserializeSeed<'de> for Name {
    type Value = Option<usize>;

    fn deserialize<D: Deserializer<'de>>(
        self,
        from: D,
    ) -> std::result::Result<Self::Value, D::Error> {
        from.deserialize_str(self)
    }
}

impl Visitor<'_> for Name {
    type Value = Option<usize>;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a field's name")
    }

    fn visit_str<E>(self, key: &str) -> std::result::Result<Self::Value, E> {
        Ok(self.0.iter().position(|field| is_called(field.name, key)))
    }
}

/// A value that may be null, which is as if it were not there.
struct Optional<S>(S);

impl<'de, S: DeserializeSeed<'de, Value = ()>> DeserializeSeed<'de> for Optional<S> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> std::result::Result<(), D::Error> {
        from.deserialize_option(self)
    }
}

impl<'de, S: DeserializeSeed<'de, Value = ()>> Visitor<'de> for Optional<S> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a value or null")
    }

    fn visit_none<E>(self) -> std::result::Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> std::result::Result<(), E> {
        Ok(())
    }

    fn visit_some<D: Deserializer<'de>>(self, from: D) -> std::result::Result<(), D::Error> {
        self.0.deserialize(from)
    }
}

/// Reads the array of a repeated field.
struct Elements<'a>(Writer<'a>, &'static Field);

impl<'de> DeserializeSeed<'de> for Elements<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> std::result::Result<(), D::Error> {
        from.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Elements<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "an array in {}", self.1.name)
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut all: A) -> std::result::Result<(), A::Error> {
        while all
            .next_element_seed(Element(self.0.again(), self.1))?
            .is_some()
        {
            self.0.check_size()?;
        }
        Ok(())
    }
}

/// Reads one value of a field.
struct Element<'a>(Writer<'a>, &'static Field);

impl<'de> DeserializeSeed<'de> for Element<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(mut self, from: D) -> std::result::Result<(), D::Error> {
        let number = self.1.number;
        match self.1.form {
            Form::Message(fields) => {
                self.0.tag(number, BYTES);
                let start = self.0.out.len();
                Fields(self.0.again(), fields).deserialize(from)?;
                self.0.close(start);
                Ok(())
            }
            Form::Mark => {
                from.deserialize_ignored_any(IgnoredAny)?;
                self.0.tag(number, BYTES);
                self.0.out.push(0);
                Ok(())
            }
            Form::Bool => from.deserialize_bool(self),
            Form::Text | Form::Bytes => from.deserialize_str(self),
            _ => from.deserialize_any(self),
        }
    }
}

impl Visitor<'_> for Element<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let form = match self.1.form {
            Form::Message(_) | Form::Mark => "an object",
            Form::Text => "a text",
            Form::Bytes => "base64",
            Form::Bool => "true or false",
            Form::Double => "a number",
            Form::Int | Form::SignedFixed => "a whole number of 64 bits",
            Form::Uint | Form::Fixed => "a whole number of 64 bits that is not negative",
            Form::Temporality => "an aggregation temporality",
        };
        write!(f, "{form} in {}", self.1.name)
    }

    fn visit_bool<E: serde::de::Error>(mut self, value: bool) -> std::result::Result<(), E> {
        if !matches!(self.1.form, Form::Bool) {
            return Err(E::invalid_type(serde::de::Unexpected::Bool(value), &self));
        }
        self.0.tag(self.1.number, VARINT);
        self.0.out.push(u8::from(value));
        Ok(())
    }

    fn visit_u64<E: serde::de::Error>(self, value: u64) -> std::result::Result<(), E> {
        match i64::try_from(value) {
            Ok(value) => self.visit_i64(value),
            Err(_) => self.unsigned(value),
        }
    }

    fn visit_i64<E: serde::de::Error>(mut self, value: i64) -> std::result::Result<(), E> {
        let number = self.1.number;
        match self.1.form {
            Form::Double => self.double(value as f64),
            Form::Int => {
                self.0.tag(number, VARINT);
                varint::put(self.0.out, value as u64);
            }
            Form::SignedFixed => {
                self.0.tag(number, FIXED64);
                self.0.out.extend_from_slice(&value.to_le_bytes());
            }
            _ => match u64::try_from(value) {
                Ok(value) => return self.unsigned(value),
                Err(_) => {
                    return Err(E::invalid_value(
                        serde::de::Unexpected::Signed(value),
                        &self,
                    ));
                }
            },
        }
        Ok(())
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> std::result::Result<(), E> {
        match self.1.form {
            Form::Double => {
                self.double(value);
                Ok(())
            }
            // JSON has one kind of number: 1e3 may be meant as a whole one.
            _ if value.trunc() == value && value.abs() < 9e15 => self.visit_i64(value as i64),
            _ => Err(E::invalid_value(serde::de::Unexpected::Float(value), &self)),
        }
    }

    fn visit_str<E: serde::de::Error>(mut self, text: &str) -> std::result::Result<(), E> {
        let invalid = |element: &Self| E::invalid_value(serde::de::Unexpected::Str(text), element);
        match self.1.form {
            Form::Text => {
                self.0.tag(self.1.number, BYTES);
                varint::put_slice(self.0.out, text.as_bytes());
                Ok(())
            }
            Form::Bytes => {
                let Some(bytes) = base64(text) else {
                    return Err(invalid(&self));
                };
                self.0.tag(self.1.number, BYTES);
                varint::put_slice(self.0.out, &bytes);
                Ok(())
            }
            Form::Double => match double(text) {
                Some(value) => {
                    self.double(value);
                    Ok(())
                }
                None => Err(invalid(&self)),
            },
            Form::Int | Form::SignedFixed => match text.parse::<i64>() {
                Ok(value) => self.visit_i64(value),
                Err(_) => Err(invalid(&self)),
            },
            Form::Uint | Form::Fixed => match text.parse::<u64>() {
                Ok(value) => self.unsigned(value),
                Err(_) => Err(invalid(&self)),
            },
            Form::Temporality => match text {
                "AGGREGATION_TEMPORALITY_UNSPECIFIED" => self.unsigned(0),
                "AGGREGATION_TEMPORALITY_DELTA" => self.unsigned(1),
                "AGGREGATION_TEMPORALITY_CUMULATIVE" => self.unsigned(2),
                _ => Err(invalid(&self)),
            },
            Form::Message(_) | Form::Mark | Form::Bool => Err(invalid(&self)),
        }
    }
}

impl Element<'_> {
    fn double(mut self, value: f64) {
        self.0.tag(self.1.number, FIXED64);
        self.0.out.extend_from_slice(&value.to_le_bytes());
    }

    fn unsigned<E: serde::de::Error>(mut self, value: u64) -> std::result::Result<(), E> {
        match self.1.form {
            Form::Fixed => {
                self.0.tag(self.1.number, FIXED64);
                self.0.out.extend_from_slice(&value.to_le_bytes());
            }
            Form::Uint | Form::Temporality => {
                self.0.tag(self.1.number, VARINT);
                varint::put(self.0.out, value);
            }
            Form::Double => self.double(value as f64),
            _ => {
                return Err(E::invalid_value(
                    serde::de::Unexpected::Unsigned(value),
                    &self,
                ));
            }
        }
        Ok(())
    }
}

fn double(text: &str) -> Option<f64> {
    match text {
        "NaN" => Some(f64::NAN),
        "Infinity" => Some(f64::INFINITY),
        "-Infinity" => Some(f64::NEG_INFINITY),
        _ if text.starts_with(|c: char| c.is_ascii_digit() || c == '-') => {
            text.parse().ok().filter(|value: &f64| value.is_finite())
        }
        _ => None,
    }
}

/// Both alphabets, padded or not, as protobuf's JSON form allows.
fn base64(text: &str) -> Option<Vec<u8>> {
    let digits = text.trim_end_matches('=');
    if digits.len() % 4 == 1 {
        return None;
    }
    let mut out = Vec::with_capacity(digits.len() / 4 * 3 + 2);
    for chunk in digits.as_bytes().chunks(4) {
        let mut bits = 0u32;
        for (place, byte) in chunk.iter().enumerate() {
            let digit = match byte {
                b'A'..=b'Z' => byte - b'A',
                b'a'..=b'z' => byte - b'a' + 26,
                b'0'..=b'9' => byte - b'0' + 52,
                b'+' | b'-' => 62,
                b'/' | b'_' => 63,
                _ => return None,
            };
            bits |= u32::from(digit) << (18 - 6 * place);
        }
        out.extend_from_slice(&bits.to_be_bytes()[1..chunk.len()]);
    }
    Some(out)
}
