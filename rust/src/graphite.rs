//! Graphite's plaintext and pickle protocols: bodies in, batches out, one for each token.
//!
//! What a line or a datapoint means is what carbon (1.1) makes of it: three words that any blanks
//! part; a time of -1 is now; NaN is no value. A name's tags stand behind semicolons or in braces.
//! Unlike carbon this decoder stores no name that it cannot read, no tag that is given twice, and
//! no datapoint whose value is a boolean.
//!
//! A name may begin with `TOKEN@.`; the token is taken off, and what it stands before is a batch of
//! its own. Names are hashed as they stand and read once a series, in `canonicalise`. Reasons for
//! refusals never show a token.

use crate::batch::{BODY_BYTES_MAX, Batch, Key, Wire, assemble, quoted, reject};
use crate::decimal::{SECOND_NS, double, float_ns, seconds_ns};
use crate::error::{CoreError, Result};
use crate::key_hash::KeyHasher;
use crate::pickle::{Machine, Text, Value};
use crate::sample::Kind;
use memchr::{memchr, memmem};
use std::borrow::Cow;

/// What secrets begin with, and how many letters and digits make one.
const TOKEN_START: &[u8] = b"orr_";
const TOKEN_DIGITS: usize = 43;
const TOKEN_END: &[u8] = b"@.";
/// What looks as much like a secret as this is not shown.
const HIDDEN_DIGITS_MIN: usize = 8;
/// The largest name, tags included.
pub const NAME_BYTES_MAX: usize = 64 * 1024;
/// A pickle may refer to one name again and again; with each time it costs as if it stood there.
const NAMES_FACTOR_MAX: usize = 64;
/// Columns are laid out for so many values at once; beyond it they grow.
const VALUES_AT_ONCE_MAX: usize = 1 << 20;
/// Less than this is no line.
const LINE_BYTES_ABOUT: usize = 32;
const LENGTH_BYTES: usize = 4;

/// Why a line or a datapoint is refused.
type Cause = Cow<'static, str>;
type Parsed<T> = std::result::Result<T, Cause>;

pub struct Decoded {
    /// What came without a token, and every refusal.
    pub batch: Batch,
    pub of_tokens: Vec<(Vec<u8>, Batch)>,
    /// Datapoints that were NaN.
    pub nan_count: u64,
}

/// Decodes lines; those that are to be stamped get `now_ns`. With tokens of more than `tokens_max`
/// kinds, what stands behind the further ones is refused.
pub fn decode_lines(body: Vec<u8>, now_ns: i64, tokens_max: usize) -> Result<Decoded> {
    let mut decoder = Decoder::new(body.len(), now_ns, tokens_max)?;
    let mut at = 0;
    let mut line = 1u32;
    while at < body.len() {
        let end = memchr(b'\n', &body[at..]).map_or(body.len(), |length| at + length);
        decoder.line(&body, at, end, line)?;
        line = line.saturating_add(1);
        at = end + 1;
    }
    Ok(decoder.decoded(body))
}

/// Decodes pickles, each with its length before it. Refusals name datapoints by their number.
pub fn decode_pickles(mut body: Vec<u8>, now_ns: i64, tokens_max: usize) -> Result<Decoded> {
    let size = body.len();
    let mut decoder = Decoder::new(size, now_ns, tokens_max)?;
    let mut machine = Machine::default();
    let (mut at, mut number) = (0, 0);
    // What was unescaped goes behind the pickles.
    let mut unescaped = Vec::new();
    while at < size {
        let length = body[at..].first_chunk::<LENGTH_BYTES>();
        let start = at + LENGTH_BYTES;
        let end = length.map_or(usize::MAX, |length| {
            start + u32::from_be_bytes(*length) as usize
        });
        let pickle = body
            .get(start..end)
            .ok_or_else(|| CoreError::Invalid("cannot read a pickle: it is cut off".into()))?;
        let mut datapoints = Datapoints {
            pickle,
            plain_start: start,
            unescaped_start: size + unescaped.len(),
            name_bytes_left: pickle.len() * NAMES_FACTOR_MAX,
        };
        match machine.run(pickle) {
            Ok(value) => number = decoder.datapoints(value, &mut datapoints, &machine, number)?,
            Err(cause) => {
                number += 1;
                decoder.refuse_pickle(&cause, number)?;
            }
        }
        unescaped.extend_from_slice(machine.unescaped());
        at = end;
    }
    body.extend_from_slice(&unescaped);
    Ok(decoder.decoded(body))
}

struct Decoder {
    batch: Batch,
    of_tokens: Vec<(Vec<u8>, Batch)>,
    tokens_max: usize,
    now_ns: i64,
    nan_count: u64,
    hasher: &'static KeyHasher,
}

/// What one line or datapoint says.
#[derive(Clone, Copy)]
struct Point {
    time_ns: i64,
    value: f64,
    line: u32,
}

impl Decoder {
    fn new(body_bytes: usize, now_ns: i64, tokens_max: usize) -> Result<Self> {
        if body_bytes > BODY_BYTES_MAX / 4 {
            return Err(CoreError::Invalid(format!(
                "cannot decode a body of {body_bytes} bytes: more than {}",
                BODY_BYTES_MAX / 4
            )));
        }
        let count = (body_bytes / LINE_BYTES_ABOUT).min(VALUES_AT_ONCE_MAX);
        let mut batch = Batch::over(Vec::new(), Wire::Graphite, canonicalise)?;
        batch.keys.reserve(count);
        batch.times_ns.reserve(count);
        batch.values.reserve(count);
        batch.kinds.reserve(count);
        Ok(Self {
            batch,
            of_tokens: Vec::new(),
            tokens_max,
            now_ns,
            nan_count: 0,
            hasher: KeyHasher::of_process(),
        })
    }

    fn decoded(mut self, body: Vec<u8>) -> Decoded {
        for (_, batch) in &mut self.of_tokens {
            batch.body.clone_from(&body);
        }
        self.batch.body = body;
        Decoded {
            batch: self.batch,
            of_tokens: self.of_tokens,
            nan_count: self.nan_count,
        }
    }

    #[inline]
    fn line(&mut self, body: &[u8], start: usize, end: usize, line: u32) -> Result<()> {
        let Some((from, to)) = word(body, start, end) else {
            return Ok(());
        };
        let Err(cause) = self.words(body, (from, to), end, line) else {
            return Ok(());
        };
        let reason = format!("cannot read line '{}': {cause}", shown(&body[from..end]));
        reject(&mut self.batch.rejected, line, reason)
    }

    #[inline]
    fn words(&mut self, body: &[u8], name: (usize, usize), end: usize, line: u32) -> Parsed<()> {
        let (value_at, value_end) = word(body, name.1, end).ok_or("it has no value")?;
        let (time_at, time_end) = word(body, value_end, end).ok_or("it has no time")?;
        if word(body, time_end, end).is_some() {
            return Err("it has more than name, value and time".into());
        }
        let value = double(&body[value_at..value_end]).ok_or("its value is no number")?;
        let time = &body[time_at..time_end];
        let time_ns = seconds_ns(time).ok_or("its time is no number of seconds that fits")?;
        let text = &body[name.0..name.1];
        let point = Point {
            time_ns,
            value,
            line,
        };
        self.point(text, name.0, point)
    }

    /// `text` is a name, with a token before it or not; it stands at `at` of the batch's body.
    #[inline]
    fn point(&mut self, text: &[u8], at: usize, point: Point) -> Parsed<()> {
        if point.value.is_nan() {
            self.nan_count += 1;
            return Ok(());
        }
        let (token, name) = split_token(text)?;
        if name.len() > NAME_BYTES_MAX {
            return Err(format!("its name is longer than {NAME_BYTES_MAX} bytes").into());
        }
        let start = at + (text.len() - name.len());
        let hash = self.hasher.hash(name);
        let time_ns = if (-2 * SECOND_NS + 1..=-SECOND_NS).contains(&point.time_ns) {
            self.now_ns
        } else {
            point.time_ns
        };
        let batch = match token {
            None => &mut self.batch,
            Some(token) => self.batch_of(token)?,
        };
        batch.keys.push(Key {
            hash,
            span: (start as u32, (start + name.len()) as u32),
            field: (0, 0),
            line: point.line,
            sample_end: batch.keys.len() as u32 + 1,
        });
        batch.times_ns.push(time_ns);
        batch.values.push(point.value.to_bits());
        batch.kinds.push(Kind::Float64);
        Ok(())
    }

    fn batch_of(&mut self, token: &[u8]) -> Parsed<&mut Batch> {
        let known = self.of_tokens.iter().rposition(|(known, _)| known == token);
        let place = match known {
            Some(place) => place,
            None if self.tokens_max == 0 => {
                return Err("a token may not stand before a name here".into());
            }
            None if self.of_tokens.len() == self.tokens_max => {
                return Err(format!("more than {} tokens come at once", self.tokens_max).into());
            }
            None => {
                let batch = Batch::over(Vec::new(), Wire::Graphite, canonicalise)
                    .map_err(|error| Cause::Owned(error.to_string()))?;
                self.of_tokens.push((token.to_vec(), batch));
                self.of_tokens.len() - 1
            }
        };
        Ok(&mut self.of_tokens[place].1)
    }

    fn refuse_pickle(&mut self, cause: &str, number: u32) -> Result<()> {
        let reason = format!("cannot read a pickle: {cause}");
        reject(&mut self.batch.rejected, number, reason)
    }

    /// Takes the datapoints of one pickle; gives the number of the last.
    fn datapoints<'a>(
        &mut self,
        value: Value,
        datapoints: &mut Datapoints<'a>,
        machine: &'a Machine,
        mut number: u32,
    ) -> Result<u32> {
        let Some(items) = machine.items(value) else {
            self.refuse_pickle("it is no list of datapoints", number.saturating_add(1))?;
            return Ok(number.saturating_add(1));
        };
        for &item in items {
            number = number.saturating_add(1);
            if let Err((cause, name)) = self.datapoint(item, datapoints, machine, number) {
                let name = name.map_or(Cow::Borrowed("?"), shown);
                let reason = format!("cannot read datapoint '{name}': {cause}");
                reject(&mut self.batch.rejected, number, reason)?;
            }
        }
        Ok(number)
    }

    fn datapoint<'a>(
        &mut self,
        item: Value,
        datapoints: &mut Datapoints<'a>,
        machine: &'a Machine,
        line: u32,
    ) -> std::result::Result<(), (Cause, Option<&'a [u8]>)> {
        let Some([Value::Text(text), pair]) = machine.items(item) else {
            return Err(("it is no name with a pair behind it".into(), None));
        };
        let name = machine.text(datapoints.pickle, *text);
        let point = pointed(*pair, datapoints.pickle, machine, line);
        point
            .and_then(|point| {
                datapoints.charge(name)?;
                self.point(name, datapoints.place(*text), point)
            })
            .map_err(|cause| (cause, Some(name)))
    }
}

/// Time and value of a datapoint.
fn pointed(pair: Value, pickle: &[u8], machine: &Machine, line: u32) -> Parsed<Point> {
    let Some([time, value]) = machine.items(pair) else {
        return Err("it is no pair of time and value".into());
    };
    let value = match *value {
        Value::Integer(value) => value as f64,
        Value::Double(value) => value,
        Value::Text(text) => double(machine.text(pickle, text)).ok_or("its value is no number")?,
        Value::Bool(_) => return Err("its value is a boolean".into()),
        _ => return Err("its value is no number".into()),
    };
    let time_ns = match *time {
        Value::Integer(seconds) => seconds.checked_mul(SECOND_NS),
        Value::Double(seconds) => float_ns(seconds),
        Value::Text(text) => seconds_ns(machine.text(pickle, text)),
        _ => None,
    };
    Ok(Point {
        time_ns: time_ns.ok_or("its time is no number of seconds that fits")?,
        value,
        line,
    })
}

/// Where the texts of one pickle will stand in the batch's body, and how much more of them it may
/// use.
struct Datapoints<'a> {
    pickle: &'a [u8],
    plain_start: usize,
    unescaped_start: usize,
    name_bytes_left: usize,
}

impl Datapoints<'_> {
    fn place(&self, text: Text) -> usize {
        let start = if text.is_plain {
            self.plain_start
        } else {
            self.unescaped_start
        };
        start + text.start as usize
    }

    fn charge(&mut self, name: &[u8]) -> Parsed<()> {
        let left = self.name_bytes_left.checked_sub(name.len());
        self.name_bytes_left = left.ok_or_else(|| {
            format!("names add up to more than {NAMES_FACTOR_MAX} times their pickle")
        })?;
        Ok(())
    }
}

/// The next word of a line, from `at` on.
#[inline]
fn word(body: &[u8], at: usize, end: usize) -> Option<(usize, usize)> {
    let text = &body[..end];
    let mut start = at;
    while is_blank(*text.get(start)?) {
        start += 1;
    }
    let mut stop = start + 1;
    loop {
        stop = control_or_space(body, stop).min(end);
        if stop == end || is_blank(body[stop]) {
            return Some((start, stop));
        }
        stop += 1;
    }
}

const EACH: u64 = 0x0101_0101_0101_0101;
const HIGH: u64 = 0x8080_8080_8080_8080;

/// The first byte from `at` on that is a space or less, eight bytes at a time.
#[inline]
fn control_or_space(body: &[u8], mut at: usize) -> usize {
    while let Some(chunk) = body.get(at..).and_then(<[u8]>::first_chunk::<8>) {
        let word = u64::from_le_bytes(*chunk);
        // The lowest bit set is right, whatever those above are.
        let found = word.wrapping_sub(EACH * 0x21) & !word & HIGH;
        if found != 0 {
            return at + found.trailing_zeros() as usize / 8;
        }
        at += 8;
    }
    while body.get(at).is_some_and(|&byte| byte > b' ') {
        at += 1;
    }
    at
}

/// What carbon takes for one, as far as it is ASCII.
#[inline]
fn is_blank(byte: u8) -> bool {
    byte == b' ' || matches!(byte, b'\t' | b'\r' | 0x0b | 0x0c)
}

/// A name's token, where it begins with one, and the rest.
#[inline]
fn split_token(text: &[u8]) -> Parsed<(Option<&[u8]>, &[u8])> {
    if !text.starts_with(TOKEN_START) {
        return Ok((None, text));
    }
    let Some(length) = memmem::find(text, TOKEN_END) else {
        let digits = text[TOKEN_START.len()..].iter();
        let digits = digits.take_while(|byte| byte.is_ascii_alphanumeric());
        if digits.count() >= TOKEN_DIGITS {
            return Err("a token stands before a name as TOKEN@.name".into());
        }
        return Ok((None, text));
    };
    let name = &text[length + TOKEN_END.len()..];
    if name.is_empty() {
        return Err("there is no name behind its token".into());
    }
    Ok((Some(&text[..length]), name))
}

/// `text` as a reason may show it: without what could be a token.
fn shown(text: &[u8]) -> Cow<'_, str> {
    let text = quoted(text.trim_ascii_end());
    if !text.contains("orr_") {
        return text;
    }
    let mut out = String::new();
    for (number, part) in text.split("orr_").enumerate() {
        if number == 0 {
            out.push_str(part);
            continue;
        }
        let digits = part.bytes().take_while(u8::is_ascii_alphanumeric).count();
        out.push_str("orr_");
        out.push_str(if digits < HIDDEN_DIGITS_MIN {
            part
        } else {
            "..."
        });
        out.push_str(if digits < HIDDEN_DIGITS_MIN {
            ""
        } else {
            &part[digits..]
        });
    }
    Cow::Owned(out)
}

fn canonicalise(
    batch: &Batch,
    key: usize,
    defaults: &[(String, String)],
    forced: &[(String, String)],
) -> Result<Vec<u8>> {
    let raw = batch.bytes(batch.keys[key].span);
    named(raw, defaults, forced)
        .map_err(|error| CoreError::Invalid(format!("cannot use name '{}': {error}", shown(raw))))
}

fn named(
    raw: &[u8],
    defaults: &[(String, String)],
    forced: &[(String, String)],
) -> Result<Vec<u8>> {
    let text =
        std::str::from_utf8(raw).map_err(|_| CoreError::Invalid("it is not valid UTF-8".into()))?;
    let (name, tags) = if text.ends_with("\"}") && text.contains('{') {
        braced(text)?
    } else {
        tagged(text)?
    };
    for (tag, value) in &tags {
        check_tag(tag, value)?;
    }
    assemble(name, "", &tags, defaults, forced)
}

type Tags<'a> = Vec<(Cow<'a, str>, Cow<'a, str>)>;

/// `name;tag=value;...`
fn tagged(text: &str) -> Result<(&str, Tags<'_>)> {
    let mut parts = text.split(';');
    let name = parts.next().unwrap_or_default();
    let pair = |part: &'_ str| -> Result<_> {
        let (tag, value) = part
            .split_once('=')
            .ok_or_else(|| CoreError::Invalid(format!("{part:?} is no tag with a value")))?;
        Ok((tag.to_owned().into(), value.to_owned().into()))
    };
    Ok((name, parts.map(pair).collect::<Result<_>>()?))
}

/// `name{tag="value",...}`
fn braced(text: &str) -> Result<(&str, Tags<'_>)> {
    let broken = || CoreError::Invalid("its braces hold no tags with quoted values".into());
    let (name, inner) = text.split_once('{').ok_or_else(broken)?;
    let mut rest = inner.strip_suffix('}').ok_or_else(broken)?;
    let mut tags = Vec::new();
    while !rest.is_empty() {
        let (tag, behind) = rest.split_once("=\"").ok_or_else(broken)?;
        let (value, behind) = unquoted(behind).ok_or_else(broken)?;
        tags.push((Cow::Borrowed(tag), Cow::Owned(value)));
        rest = match behind.strip_prefix(',') {
            Some(next) => next,
            None if behind.is_empty() => behind,
            None => return Err(broken()),
        };
    }
    Ok((name, tags))
}

/// What stands before the closing quote, and what behind it; a backslash keeps a quote or another.
fn unquoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Some((value, &text[at + 1..])),
            '\\' => match characters.next()?.1 {
                kept @ ('"' | '\\') => value.push(kept),
                _ => return None,
            },
            other => value.push(other),
        }
    }
    None
}

/// Graphite's rules for tags; `name` is the name's own.
fn check_tag(tag: &str, value: &str) -> Result<()> {
    let cause = if tag.is_empty() || value.is_empty() {
        "is empty or has no value"
    } else if tag.contains([';', '!', '^', '=']) {
        "holds one of ;!^="
    } else if value.contains(';') {
        "has a value with a semicolon"
    } else if value.starts_with('~') {
        "has a value that starts with ~"
    } else if tag == "name" {
        "is what Graphite calls the name itself"
    } else {
        return Ok(());
    };
    Err(CoreError::Invalid(format!("tag {tag:?} {cause}")))
}

#[cfg(feature = "python")]
pub(crate) mod python {
    use super::Decoded;
    use crate::batch::python::PyBatch;
    use crate::decompress::decompress;
    use crate::error::Result;
    use pyo3::prelude::*;
    use pyo3::types::PyBytes;

    type Answer<'py> = (PyBatch, Vec<(Bound<'py, PyBytes>, PyBatch)>, u64);

    fn answered(py: Python<'_>, decoded: Result<Decoded>) -> PyResult<Answer<'_>> {
        let decoded = decoded?;
        let of_tokens = decoded.of_tokens.into_iter();
        let of_tokens = of_tokens.map(|(token, batch)| (PyBytes::new(py, &token), PyBatch(batch)));
        Ok((
            PyBatch(decoded.batch),
            of_tokens.collect(),
            decoded.nan_count,
        ))
    }

    #[pyfunction]
    #[pyo3(signature = (body, *, now_ns, tokens_max = 0, encoding = "identity", size_bytes_max = usize::MAX >> 1))]
    fn decode_graphite_lines<'py>(
        py: Python<'py>,
        body: &[u8],
        now_ns: i64,
        tokens_max: usize,
        encoding: &str,
        size_bytes_max: usize,
    ) -> PyResult<Answer<'py>> {
        let decoded = py.detach(|| {
            let plain = decompress(encoding, body, size_bytes_max)?;
            super::decode_lines(plain, now_ns, tokens_max)
        });
        answered(py, decoded)
    }

    #[pyfunction]
    #[pyo3(signature = (body, *, now_ns, tokens_max = 0))]
    fn decode_graphite_pickles<'py>(
        py: Python<'py>,
        body: &[u8],
        now_ns: i64,
        tokens_max: usize,
    ) -> PyResult<Answer<'py>> {
        let decoded = py.detach(|| super::decode_pickles(body.to_vec(), now_ns, tokens_max));
        answered(py, decoded)
    }

    pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
        module.add_function(wrap_pyfunction!(decode_graphite_lines, module)?)?;
        module.add_function(wrap_pyfunction!(decode_graphite_pickles, module)?)
    }
}

#[cfg(test)]
mod tests;
