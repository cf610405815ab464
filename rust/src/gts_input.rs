//! Warp 10's input format: whole bodies in, a batch out.
//!
//! A line is `TIME/LAT:LON/ELEVATION class{labels}{attributes} value`; one that begins with `=`, or
//! has no class, goes on with the series of the line before it. Grammar and wording of errors are
//! those of Warp 10's `GTSHelper`; where it loses what it was sent (a label with two equals signs,
//! bytes that are no UTF-8) this decoder refuses the line.
//!
//! Class and labels are hashed as they stand. What they mean is worked out once a series, in
//! `canonicalise`.

use crate::batch::{Attributes, Batch, Key, Rejection, Wire, assemble, quoted, reject};
use crate::error::{CoreError, Result};
use crate::gts_place::position;
use crate::gts_text::{decode_base64, decode_hex, percent_decoded};
use crate::key_hash::KeyHasher;
use crate::line_protocol::{DIGITS_FAST_MAX, TENS, digits};
use crate::sample::Kind;
use crate::sides::{NO_SIDE, Side, SideColumn, Sides};
use memchr::{memchr, memrchr};
use std::borrow::Cow;

/// Names and values of a series' attributes together, as in Warp 10.
pub const ATTRIBUTES_BYTES_MAX: usize = 8192;
/// What Warp 10's tokens set, and attributes may not shadow.
const OWN_LABELS: [&str; 3] = [".producer", ".owner", ".app"];

/// Why a line is refused.
type Cause = Cow<'static, str>;
type Parsed<T> = std::result::Result<T, Cause>;
type Pairs<'a> = Vec<(Cow<'a, str>, Cow<'a, str>)>;

/// Decodes `body`; times are in units of `unit_ns`. Lines without one get `now_ns`, cut down to
/// that unit, and `T+n` and `T-n` are relative to it.
pub fn decode(body: Vec<u8>, unit_ns: i64, now_ns: i64) -> Result<Batch> {
    if unit_ns <= 0 {
        return Err(CoreError::Invalid(format!(
            "cannot decode Warp 10 lines: a time unit of {unit_ns} ns is not positive"
        )));
    }
    let mut batch = Batch::over(body, Wire::Warp10, canonicalise)?;
    let body = std::mem::take(&mut batch.body);
    let mut decoder = Decoder::new(&body, unit_ns, now_ns);
    decoder.lines()?;
    batch.keys = decoder.keys;
    batch.times_ns = decoder.times_ns;
    batch.values = decoder.values;
    batch.kinds = decoder.kinds;
    batch.sides = decoder.sides;
    batch.attributes = decoder.attributes;
    batch.rejected = decoder.rejected;
    let decoded = decoder.decoded;
    batch.body = body;
    batch.body.extend_from_slice(&decoded);
    Ok(batch)
}

/// The series that a line without a class goes on with.
#[derive(Clone, Copy)]
enum Current {
    None,
    /// Its line was refused: what follows must not become part of another series.
    Refused(u32),
    Key {
        hash: u128,
        span: (u32, u32),
    },
}

struct Decoder<'a> {
    body: &'a [u8],
    unit_ns: i64,
    now: i64,
    hasher: &'static KeyHasher,
    current: Current,
    keys: Vec<Key>,
    times_ns: Vec<i64>,
    values: Vec<u64>,
    kinds: Vec<Kind>,
    sides: Sides,
    attributes: Vec<Attributes>,
    /// The attributes read last, as they stood, and their series: writers repeat them.
    attributes_last: (u128, &'a [u8]),
    /// Strings and bytes that had to be decoded; they go behind the body.
    decoded: Vec<u8>,
    rejected: Vec<Rejection>,
}

/// A line taken apart: places in the body.
struct Parts<'a> {
    time: &'a [u8],
    location: &'a [u8],
    elevation: &'a [u8],
    /// Class, labels and attributes (without their braces), where the line names a series.
    series: Option<(&'a [u8], Option<&'a [u8]>)>,
    value: &'a [u8],
}

impl<'a> Decoder<'a> {
    fn new(body: &'a [u8], unit_ns: i64, now_ns: i64) -> Self {
        Self {
            body,
            unit_ns,
            now: now_ns.div_euclid(unit_ns),
            hasher: KeyHasher::of_process(),
            current: Current::None,
            keys: Vec::new(),
            times_ns: Vec::new(),
            values: Vec::new(),
            kinds: Vec::new(),
            sides: Sides::default(),
            attributes: Vec::new(),
            attributes_last: (0, b""),
            decoded: Vec::new(),
            rejected: Vec::new(),
        }
    }

    fn lines(&mut self) -> Result<()> {
        let mut start = 0;
        let mut number = 0u32;
        while start < self.body.len() {
            let rest = &self.body[start..];
            let end = memchr(b'\n', rest).unwrap_or(rest.len());
            number = number.saturating_add(1);
            let line = trimmed(&rest[..end]);
            if line.first().is_some_and(|&byte| byte != b'#') {
                self.line(line, number)?;
            }
            start += end + 1;
        }
        Ok(())
    }

    #[inline]
    fn line(&mut self, line: &'a [u8], number: u32) -> Result<()> {
        let Err(cause) = self.point(line, number) else {
            return Ok(());
        };
        if line[0] != b'=' {
            self.current = Current::Refused(number);
        }
        let reason = format!("Parse error at '{}' ({cause})", quoted(line));
        reject(&mut self.rejected, number, reason)
    }

    #[inline]
    fn point(&mut self, line: &'a [u8], number: u32) -> Parsed<()> {
        let parts = split(line)?;
        let time_ns = self.time(parts.time)?;
        let side = side(parts.location, parts.elevation)?;
        let (hash, span) = self.series(parts.series.map(|(series, _)| series))?;
        if parts.value.is_empty() {
            return Err("Missing value.".into());
        }
        let attributes = match parts.series {
            Some((series, Some(attributes))) if self.attributes_last != (hash, attributes) => {
                Some((attributes, read_attributes(series, attributes)?))
            }
            _ => None,
        };
        let (kind, bits) = self.value(parts.value)?;
        if self.keys.last().is_none_or(|key| key.hash != hash) {
            self.keys.push(Key {
                hash,
                span,
                field: (0, 0),
                line: number,
                sample_end: 0,
            });
        }
        self.current = Current::Key { hash, span };
        if let Some((raw, pairs)) = attributes {
            self.attributes_last = (hash, raw);
            let key = self.keys.len() as u32 - 1;
            self.attributes.push(Attributes { key, pairs });
        }
        self.push(time_ns, kind, bits, side);
        Ok(())
    }

    /// The one place where a sample joins the columns.
    #[inline]
    fn push(&mut self, time_ns: i64, kind: Kind, bits: u64, side: Side) {
        if side != NO_SIDE || !self.sides.is_empty() {
            self.sides.push(self.times_ns.len(), side);
        }
        self.times_ns.push(time_ns);
        self.values.push(bits);
        self.kinds.push(kind);
        let end = self.times_ns.len() as u32;
        if let Some(key) = self.keys.last_mut() {
            key.sample_end = end;
        }
    }

    #[inline]
    fn series(&self, named: Option<&'a [u8]>) -> Parsed<(u128, (u32, u32))> {
        if let Some(series) = named {
            let from = series.as_ptr() as usize - self.body.as_ptr() as usize;
            let span = (from as u32, (from + series.len()) as u32);
            return Ok((self.hasher.hash(series), span));
        }
        match self.current {
            Current::Key { hash, span } => Ok((hash, span)),
            Current::None => Err("Invalid continuation.".into()),
            Current::Refused(line) => {
                Err(format!("it continues line {line}, which was refused").into())
            }
        }
    }

    #[inline]
    fn time(&self, text: &[u8]) -> Parsed<i64> {
        let time = match text {
            [] => self.now,
            [b'T', delta @ ..] => {
                let delta = long(delta).ok_or("Invalid timestamp.")?;
                self.now
                    .checked_add(delta)
                    .ok_or("Timestamp out of range.")?
            }
            _ => long(text).ok_or("Invalid timestamp.")?,
        };
        let time_ns = time.checked_mul(self.unit_ns);
        // The outermost nanoseconds stand for no bound and for no time.
        let fitting = time_ns.filter(|time_ns| (i64::MIN + 2..i64::MAX).contains(time_ns));
        fitting.ok_or_else(|| format!("Timestamp {time} out of range.").into())
    }

    #[inline]
    fn value(&mut self, text: &[u8]) -> Parsed<(Kind, u64)> {
        match text[0] {
            quote @ (b'\'' | b'"') if text.len() > 1 && text.last() == Some(&quote) => {
                self.string(&text[1..text.len() - 1])
            }
            b't' | b'T' if text.len() == 1 || text.eq_ignore_ascii_case(b"true") => {
                Ok((Kind::Bool, 1))
            }
            b'f' | b'F' if text.len() == 1 || text.eq_ignore_ascii_case(b"false") => {
                Ok((Kind::Bool, 0))
            }
            b'b' if text.starts_with(b"b64:") => {
                self.payload(Kind::Bytes, |out| decode_base64(&text[4..], out))
            }
            b'h' if text.starts_with(b"hex:") => {
                self.payload(Kind::Bytes, |out| decode_hex(&text[4..], out))
            }
            b'[' => Err("multi-values ([...]) are not supported".into()),
            b'H' if text.starts_with(b"HH:") => {
                Err("location values (HH:) are not supported".into())
            }
            b'Q' if text.starts_with(b"Q:") => {
                Err("quaternion values (Q:) are not supported".into())
            }
            b':' => Err("values of custom encoders are not supported".into()),
            _ => number(text),
        }
    }

    fn string(&mut self, text: &[u8]) -> Parsed<(Kind, u64)> {
        if memchr(b'%', text).is_some() {
            return self.payload(Kind::String, |out| {
                let before = out.len();
                percent_decoded(text, out)?;
                std::str::from_utf8(&out[before..])
                    .map(|_| ())
                    .map_err(|_| not_text())
            });
        }
        std::str::from_utf8(text).map_err(|_| not_text())?;
        let from = text.as_ptr() as usize - self.body.as_ptr() as usize;
        Ok((Kind::String, (from as u64) << 32 | text.len() as u64))
    }

    fn payload(
        &mut self,
        kind: Kind,
        decode: impl FnOnce(&mut Vec<u8>) -> Parsed<()>,
    ) -> Parsed<(Kind, u64)> {
        let before = self.decoded.len();
        if let Err(cause) = decode(&mut self.decoded) {
            self.decoded.truncate(before);
            return Err(cause);
        }
        let offset = (self.body.len() + before) as u64;
        Ok((kind, offset << 32 | (self.decoded.len() - before) as u64))
    }
}

/// Without the blanks and controls around it, as Java trims.
fn trimmed(line: &[u8]) -> &[u8] {
    let blank = |byte: &u8| *byte <= b' ';
    let from = line.iter().position(|byte| !blank(byte));
    let until = line.iter().rposition(|byte| !blank(byte));
    match (from, until) {
        (Some(from), Some(until)) => &line[from..=until],
        _ => b"",
    }
}

fn unspaced(text: &[u8]) -> &[u8] {
    let from = text.iter().position(|&byte| byte != b' ');
    &text[from.unwrap_or(text.len())..]
}

/// Cuts `text` at the first `byte`, which is left out.
fn cut(text: &[u8], byte: u8) -> Option<(&[u8], &[u8])> {
    let at = memchr(byte, text)?;
    Some((&text[..at], &text[at + 1..]))
}

#[inline]
fn split(line: &[u8]) -> Parsed<Parts<'_>> {
    let goes_on = line[0] == b'=';
    let stamp = &line[usize::from(goes_on)..];
    let (time, rest) = cut(stamp, b'/').ok_or("Missing timestamp separator.")?;
    let (location, rest) = cut(rest, b'/').ok_or("Missing location/elevation separator.")?;
    let (elevation, rest) = cut(rest, b' ').ok_or("Missing value.")?;
    let rest = unspaced(rest);
    let open = if goes_on { None } else { memchr(b'{', rest) };
    let (series, value) = match open {
        None => (None, rest),
        Some(open) => {
            let (series, attributes, value) = split_series(rest, open)?;
            (Some((series, attributes)), value)
        }
    };
    Ok(Parts {
        time,
        location,
        elevation,
        series,
        value,
    })
}

/// `class{labels}`, what stands inside of `{attributes}`, and what is behind them.
type SeriesParts<'a> = (&'a [u8], Option<&'a [u8]>, &'a [u8]);

fn split_series(text: &[u8], open: usize) -> Parsed<SeriesParts<'_>> {
    let close = memchr(b'}', &text[open..]).ok_or("Missing '}' after the labels.")?;
    let (series, rest) = text.split_at(open + close + 1);
    let Some(rest) = rest.strip_prefix(b"{") else {
        return Ok((series, None, unspaced(rest)));
    };
    let (attributes, rest) = cut(rest, b'}').ok_or("Missing attributes.")?;
    Ok((series, Some(attributes), unspaced(rest)))
}

/// Where and how high a sample was taken.
#[inline]
fn side(location: &[u8], elevation: &[u8]) -> Parsed<Side> {
    let mut side = NO_SIDE;
    if !location.is_empty() {
        side[SideColumn::Position as usize] = read_location(location)?;
    }
    if !elevation.is_empty() {
        side[SideColumn::Elevation as usize] = long(elevation).ok_or("Invalid elevation.")?;
    }
    Ok(side)
}

/// `LAT:LON`, or the number that stands for both.
fn read_location(text: &[u8]) -> Parsed<i64> {
    let Some((latitude, longitude)) = cut(text, b':') else {
        return long(text).ok_or("Invalid location.".into());
    };
    let degrees = |text| match number(text) {
        Ok((Kind::Int64, bits)) => Some(bits as i64 as f64),
        Ok((_, bits)) => Some(f64::from_bits(bits)),
        Err(_) => None,
    };
    degrees(latitude)
        .zip(degrees(longitude))
        .and_then(|(latitude, longitude)| position(latitude, longitude))
        .ok_or("Invalid location.".into())
}

/// A whole number of 64 bits.
#[inline]
fn long(text: &[u8]) -> Option<i64> {
    let unsigned = match text {
        [b'-' | b'+', rest @ ..] => rest,
        _ => text,
    };
    let (end, magnitude) = digits(unsigned, 0, 0);
    if end == 0 || end < unsigned.len() {
        return None;
    }
    if end < DIGITS_FAST_MAX {
        let value = magnitude as i64;
        return Some(if text[0] == b'-' { -value } else { value });
    }
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// A long where there is nothing but digits, else a double. Short decimals are read in one go,
/// exactly (Clinger's fast path).
#[inline]
fn number(text: &[u8]) -> Parsed<(Kind, u64)> {
    let negative = text.first() == Some(&b'-');
    let from = usize::from(negative || text.first() == Some(&b'+'));
    let (point, whole) = digits(text, from, 0);
    if point == text.len() && point > from {
        let value = long(text).ok_or_else(|| not_value(text))?;
        return Ok((Kind::Int64, value as u64));
    }
    if text.get(point) == Some(&b'.') {
        let (end, mantissa) = digits(text, point + 1, whole);
        let decimals = end - point - 1;
        let count = point - from + decimals;
        let is_exact = (1..=DIGITS_FAST_MAX).contains(&count) && mantissa <= 1 << 53;
        if end == text.len() && is_exact {
            let value = mantissa as f64 / TENS[decimals];
            let signed = if negative { -value } else { value };
            return Ok((Kind::Float64, signed.to_bits()));
        }
    }
    let value = double(text).ok_or_else(|| not_value(text))?;
    Ok((Kind::Float64, value.to_bits()))
}

/// What Java reads as a double, but for hexadecimal.
fn double(text: &[u8]) -> Option<f64> {
    let text = std::str::from_utf8(text).ok()?;
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    let sign = if text.starts_with('-') { -1.0 } else { 1.0 };
    match unsigned {
        "NaN" => return Some(f64::NAN),
        "Infinity" => return Some(sign * f64::INFINITY),
        _ => {}
    }
    let decimal = unsigned
        .strip_suffix(['d', 'D', 'f', 'F'])
        .unwrap_or(unsigned);
    let is_decimal = |byte: u8| matches!(byte, b'0'..=b'9' | b'.' | b'e' | b'E' | b'-' | b'+');
    let begins = decimal.starts_with(|c: char| c.is_ascii_digit() || c == '.');
    if !begins || !decimal.bytes().all(is_decimal) {
        return None;
    }
    decimal.parse::<f64>().ok().map(|value| sign * value)
}

fn not_value(text: &[u8]) -> Cause {
    format!("Unable to parse value '{}'", quoted(text)).into()
}

fn not_text() -> Cause {
    "it is not valid UTF-8".into()
}

/// `name=value` pairs between commas; both percent-encoded, blanks around a pair left out.
fn pairs(text: &[u8]) -> Parsed<Pairs<'_>> {
    let mut found = Vec::new();
    for token in text.split(|&byte| byte == b',').map(trimmed) {
        if token.is_empty() {
            continue;
        }
        let Some((name, value)) = cut(token, b'=') else {
            return Err(format!("'{}' is not of the form name=value", quoted(token)).into());
        };
        if memchr(b'=', value).is_some() {
            return Err(format!("'{}' has more than one '='", quoted(token)).into());
        }
        found.push((name_decoded(name)?, name_decoded(value)?));
    }
    Ok(found)
}

fn name_decoded(text: &[u8]) -> Parsed<Cow<'_, str>> {
    if memchr(b'%', text).is_none() {
        return std::str::from_utf8(text)
            .map(Cow::Borrowed)
            .map_err(|_| not_text());
    }
    let mut out = Vec::with_capacity(text.len());
    percent_decoded(text, &mut out)?;
    String::from_utf8(out)
        .map(Cow::Owned)
        .map_err(|_| not_text())
}

/// Attributes of a series, sorted; they may neither hide its labels nor be without bounds.
fn read_attributes(series: &[u8], attributes: &[u8]) -> Parsed<Vec<(String, String)>> {
    let read = pairs(attributes)?;
    let labels = split_name(series)
        .map(|(_, labels)| pairs(labels))
        .transpose()?
        .unwrap_or_default();
    let size: usize = read
        .iter()
        .map(|(name, value)| name.len() + value.len())
        .sum();
    if size > ATTRIBUTES_BYTES_MAX {
        return Err(format!(
            "attributes take {size} bytes, more than attributes_bytes_max {ATTRIBUTES_BYTES_MAX}"
        )
        .into());
    }
    for (name, _) in &read {
        if name.is_empty() {
            return Err("an attribute's name is empty".into());
        }
        let hides = labels.iter().any(|(label, _)| label == name);
        if hides || OWN_LABELS.contains(&&**name) {
            return Err(format!("attribute {name:?} has the name of a label").into());
        }
    }
    let mut owned: Vec<(String, String)> = read
        .into_iter()
        .map(|(name, value)| (name.into_owned(), value.into_owned()))
        .collect();
    owned.sort_unstable();
    if owned.windows(2).any(|pair| pair[0].0 == pair[1].0) {
        return Err("an attribute is given twice".into());
    }
    Ok(owned)
}

/// `class{labels}` as class and labels.
fn split_name(series: &[u8]) -> Option<(&[u8], &[u8])> {
    let (name, labels) = cut(series, b'{')?;
    Some((name, labels.strip_suffix(b"}")?))
}

fn canonicalise(
    batch: &Batch,
    key: usize,
    defaults: &[(String, String)],
    forced: &[(String, String)],
) -> Result<Vec<u8>> {
    let key = batch.keys[key];
    named(batch.bytes(key.span), defaults, forced).map_err(|error| {
        let from = key.span.0 as usize;
        let start = memrchr(b'\n', &batch.body[..from]).map_or(0, |at| at + 1);
        let length = memchr(b'\n', &batch.body[from..]).unwrap_or(batch.body.len() - from);
        let line = trimmed(&batch.body[start..from + length]);
        CoreError::Invalid(format!("Parse error at '{}' ({error})", quoted(line)))
    })
}

fn named(
    series: &[u8],
    defaults: &[(String, String)],
    forced: &[(String, String)],
) -> Result<Vec<u8>> {
    let read = |series| -> Parsed<_> {
        let (name, labels) = split_name(series).ok_or("Missing '}' after the labels.")?;
        Ok((name_decoded(name)?, pairs(labels)?))
    };
    let (name, labels) = read(series).map_err(|cause| CoreError::Invalid(cause.into_owned()))?;
    assemble(&name, "", &labels, defaults, forced)
}

/// Lines of `/meta`: `class{labels}{attributes}`. Keys without samples, each with its attributes.
pub fn decode_meta(body: Vec<u8>) -> Result<Batch> {
    let mut batch = Batch::over(body, Wire::Warp10, canonicalise)?;
    let body = std::mem::take(&mut batch.body);
    let hasher = KeyHasher::of_process();
    let mut start = 0;
    let mut line = 0u32;
    while start < body.len() {
        let rest = &body[start..];
        let end = memchr(b'\n', rest).unwrap_or(rest.len());
        line = line.saturating_add(1);
        let text = trimmed(&rest[..end]);
        start += end + 1;
        if matches!(text.first(), None | Some(b'#')) {
            continue;
        }
        match meta_line(text) {
            Ok((series, pairs)) => {
                let from = series.as_ptr() as usize - body.as_ptr() as usize;
                let key = batch.keys.len() as u32;
                batch.keys.push(Key {
                    hash: hasher.hash(series),
                    span: (from as u32, (from + series.len()) as u32),
                    field: (0, 0),
                    line,
                    sample_end: 0,
                });
                batch.attributes.push(Attributes { key, pairs });
            }
            Err(cause) => {
                let reason = format!("Invalid metadata {} ({cause})", quoted(text));
                reject(&mut batch.rejected, line, reason)?;
            }
        }
    }
    batch.body = body;
    Ok(batch)
}

type Meta<'a> = (&'a [u8], Vec<(String, String)>);

fn meta_line(text: &[u8]) -> Parsed<Meta<'_>> {
    let open = memchr(b'{', text).ok_or("it has no labels")?;
    let (series, attributes, rest) = split_series(text, open)?;
    let attributes = attributes.ok_or("it has no attributes")?;
    if !rest.is_empty() {
        return Err("something stands behind the attributes".into());
    }
    Ok((series, read_attributes(series, attributes)?))
}

#[cfg(feature = "python")]
pub(crate) mod python {
    use crate::batch::python::PyBatch;
    use crate::decompress::decompress;
    use pyo3::prelude::*;

    #[pyfunction]
    #[pyo3(signature = (body, *, unit_ns, now_ns, encoding = "identity", size_bytes_max = usize::MAX >> 1))]
    fn decode_gts(
        py: Python<'_>,
        body: &[u8],
        unit_ns: i64,
        now_ns: i64,
        encoding: &str,
        size_bytes_max: usize,
    ) -> PyResult<PyBatch> {
        let batch = py.detach(|| {
            let plain = decompress(encoding, body, size_bytes_max)?;
            super::decode(plain, unit_ns, now_ns)
        })?;
        Ok(PyBatch(batch))
    }

    #[pyfunction]
    #[pyo3(signature = (body, *, encoding = "identity", size_bytes_max = usize::MAX >> 1))]
    fn decode_gts_meta(
        py: Python<'_>,
        body: &[u8],
        encoding: &str,
        size_bytes_max: usize,
    ) -> PyResult<PyBatch> {
        let batch = py.detach(|| {
            let plain = decompress(encoding, body, size_bytes_max)?;
            super::decode_meta(plain)
        })?;
        Ok(PyBatch(batch))
    }

    pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
        module.add_function(wrap_pyfunction!(decode_gts, module)?)?;
        module.add_function(wrap_pyfunction!(decode_gts_meta, module)?)
    }
}

#[cfg(test)]
mod tests;
