//! `OpenTSDB`'s JSON: whole bodies of `/api/put` in, a batch out; `opentsdb_lines` has the telnet form.
//!
//! What is accepted, and the wording of refusals, are those of `OpenTSDB` 2.4: unknown fields are read
//! past, numbers may stand in strings, the last of two equal names counts. Broken JSON refuses the
//! body; what is wrong with one data point refuses that alone, by its 1-based position.
//!
//! The raw key of a data point is its metric and its tags as they stand, hashed without being
//! understood; what they mean is worked out once a series, in `canonicalise`. Neighbouring data
//! points mostly have the same tags, which one comparison of bytes finds.

use crate::batch::{Batch, Key, Wire, assemble, quoted, reject};
use crate::error::{CoreError, Result};
use crate::json::{Broken, Form, Parsed, Scanner, Token, number_end, special, unescape};
use crate::key_hash::KeyHasher;
use crate::opentsdb_numbers::{Flaw, Moment, infinite, moment, number};
use crate::sample::Kind;
use crate::swar::is_same;
use std::borrow::Cow;

type Span = (u32, u32);
type Cause = Cow<'static, str>;

/// Of one with few tags: columns are laid out for so many, and grow where there are more.
const DATA_POINT_BYTES_ABOUT: usize = 128;

/// Decodes the body of a put request: one data point, or an array of them.
pub fn decode(body: Vec<u8>) -> Result<Batch> {
    let mut batch = Batch::over(body, Wire::OpenTsdbJson, canonicalise)?;
    let body = std::mem::take(&mut batch.body);
    let about = body.len() / DATA_POINT_BYTES_ABOUT + 1;
    batch.keys.reserve(about);
    batch.times_ns.reserve(about);
    batch.values.reserve(about);
    batch.kinds.reserve(about);
    let hasher = KeyHasher::of_process();
    each(&body, |position, point| {
        match sample(&body, &point) {
            Ok((time_ns, kind, bits)) => {
                batch.times_ns.push(time_ns);
                batch.values.push(bits);
                batch.kinds.push(kind);
                let metric = hasher.hash(point.metric.of(&body));
                batch.keys.push(Key {
                    hash: hasher.fold(point.tags_hash, metric),
                    span: point.tags,
                    field: point.metric.span,
                    line: position,
                    sample_end: batch.times_ns.len() as u32,
                });
            }
            Err(cause) => reject(&mut batch.rejected, position, cause.into_owned())?,
        }
        Ok(())
    })?;
    batch.body = body;
    Ok(batch)
}

/// The data points at the 1-based `positions`, which rise, each as the JSON object that `OpenTSDB`
/// echoes beside an error.
pub fn echo(body: &[u8], positions: &[u32]) -> Result<Vec<String>> {
    let mut wanted = positions.iter().copied().peekable();
    let mut out = Vec::with_capacity(positions.len());
    each(body, |position, point| {
        while wanted.next_if_eq(&position).is_some() {
            out.push(echoed(body, &point));
        }
        Ok(())
    })?;
    Ok(out)
}

fn echoed(body: &[u8], point: &Point) -> String {
    let mut parts = Vec::with_capacity(4);
    let text = |token: Token| String::from_utf8_lossy(token.of(body));
    if point.metric.form != Form::Null {
        parts.push(format!("\"metric\":\"{}\"", text(point.metric)));
    }
    parts.push(match point.timestamp.form {
        Form::Null => "\"timestamp\":0".to_owned(),
        Form::Number => format!("\"timestamp\":{}", text(point.timestamp)),
        Form::Text | Form::Word => format!("\"timestamp\":\"{}\"", text(point.timestamp)),
    });
    if point.value.form != Form::Null {
        parts.push(format!("\"value\":\"{}\"", text(point.value)));
    }
    if point.tags != (0, 0) {
        let tags = String::from_utf8_lossy(slice(body, point.tags));
        parts.push(format!("\"tags\":{tags}"));
    }
    format!("{{{}}}", parts.join(","))
}

#[derive(Clone, Copy, Default)]
struct Point {
    metric: Token,
    timestamp: Token,
    value: Token,
    /// The whole object; nothing where there is none.
    tags: Span,
    tags_hash: u128,
    has_tags: bool,
}

/// Reads data point by data point.
fn each(body: &[u8], mut take: impl FnMut(u32, Point) -> Result<()>) -> Result<()> {
    let mut reader = Reader {
        scanner: Scanner::new(body),
        hasher: KeyHasher::of_process(),
        known: (0, 0),
        known_hash: 0,
        layout: None,
    };
    let mut position = 1;
    let is_array = begin(&mut reader.scanner)?;
    loop {
        let point = match reader.known_point() {
            Some(point) => point,
            None => reader.point().map_err(|broken| told(&broken, position))?,
        };
        take(position, point)?;
        let more = is_array
            && reader
                .scanner
                .next_item(b']')
                .map_err(|one| told(&one, position))?;
        if !more {
            break;
        }
        position = position.saturating_add(1);
    }
    let end = reader.scanner.end();
    end.map_err(|broken| told(&broken, position))
}

/// Steps into the body; tells whether it is an array.
fn begin(scanner: &mut Scanner) -> Result<bool> {
    let reason = match scanner.peek() {
        Some(b'{') => return Ok(false),
        Some(b'[') => {
            scanner.at += 1;
            if scanner.peek() != Some(b']') {
                return Ok(true);
            }
            "No datapoints found in content"
        }
        Some(_) => "The JSON must start as an object or an array",
        None => "Missing request content",
    };
    Err(CoreError::Invalid(reason.into()))
}

#[cold]
fn told(broken: &Broken, position: u32) -> CoreError {
    CoreError::Invalid(format!(
        "{BROKEN}{} at byte {}, in data point {position}",
        broken.cause, broken.at
    ))
}

/// How the reason begins where a body is no JSON, or not of the right shape.
const BROKEN: &str = "Unable to parse the given JSON: ";

struct Reader<'a> {
    scanner: Scanner<'a>,
    hasher: &'static KeyHasher,
    /// The tags read last, and their hash.
    known: Span,
    known_hash: u128,
    layout: Option<Layout>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Field {
    Metric,
    Timestamp,
    Value,
    Tags,
}

/// How a data point was written that has each field once: their order, and where the text stands
/// that is before, between and behind them, quotes and all. Data points of one body mostly differ in
/// nothing else.
#[derive(Clone, Copy)]
struct Layout {
    fields: [(Field, Form); FIELDS_MAX],
    gaps: [Span; FIELDS_MAX + 1],
}

impl Layout {
    /// None where it is not of use for the next data point.
    fn of(all: [(Field, Form, Span); FIELDS_MAX], start: usize, end: usize) -> Option<Self> {
        let is_plain = |form: Form| matches!(form, Form::Text | Form::Number);
        let is_there = |kind: Field| {
            all.iter()
                .any(|(field, form, _)| *field == kind && is_plain(*form))
        };
        let kinds = [Field::Metric, Field::Timestamp, Field::Value, Field::Tags];
        if !kinds.into_iter().all(is_there) {
            return None;
        }
        let begins = [start as u32, all[0].2.1, all[1].2.1, all[2].2.1, all[3].2.1];
        let ends = [all[0].2.0, all[1].2.0, all[2].2.0, all[3].2.0, end as u32];
        Some(Self {
            fields: all.map(|(field, form, _)| (field, form)),
            gaps: std::array::from_fn(|at| (begins[at], ends[at])),
        })
    }
}

/// Metric, timestamp, value, tags.
const FIELDS_MAX: usize = 4;

impl Reader<'_> {
    /// The data point at hand where it is written as the one before; none is no verdict.
    #[inline]
    fn known_point(&mut self) -> Option<Point> {
        self.scanner.skip_blank();
        let layout = self.layout?;
        let start = self.scanner.at;
        let point = self.point_by(&layout);
        if point.is_none() {
            self.scanner.at = start;
        }
        point
    }

    #[inline]
    fn point_by(&mut self, layout: &Layout) -> Option<Point> {
        let body = self.scanner.body;
        let mut point = Point::default();
        for ((field, form), gap) in layout.fields.into_iter().zip(layout.gaps) {
            let at = past(body, gap, self.scanner.at)?;
            let place = match field {
                Field::Metric => &mut point.metric,
                Field::Timestamp => &mut point.timestamp,
                Field::Value => &mut point.value,
                Field::Tags => {
                    self.scanner.at = at;
                    self.tags(&mut point).ok()?;
                    continue;
                }
            };
            let end = match form {
                Form::Number => number_end(body, at)?,
                _ => Some(special(body, at)).filter(|&end| body.get(end) == Some(&b'"'))?,
            };
            *place = Token {
                form,
                span: (at as u32, end as u32),
            };
            self.scanner.at = end;
        }
        self.scanner.at = past(body, layout.gaps[FIELDS_MAX], self.scanner.at)?;
        Some(point)
    }

    fn point(&mut self) -> Parsed<Point> {
        let mut point = Point::default();
        let mut fields = [None; FIELDS_MAX];
        let mut count = 0;
        let start = self.scanner.at;
        self.scanner.open(b'{', "a data point is no object")?;
        if self.scanner.is_empty(b'}') {
            return Ok(point);
        }
        loop {
            let field = self.field(&mut point)?;
            if let Some(place) = fields.get_mut(count) {
                *place = field;
            }
            count += 1;
            if !self.scanner.next_item(b'}')? {
                break;
            }
        }
        self.layout = match fields {
            [Some(one), Some(two), Some(three), Some(four)] if count == FIELDS_MAX => {
                Layout::of([one, two, three, four], start, self.scanner.at)
            }
            _ => None,
        };
        Ok(point)
    }

    /// Reads name and value of a field; none where nobody knows it.
    fn field(&mut self, point: &mut Point) -> Parsed<Option<(Field, Form, Span)>> {
        let (field, place, what) = match self.scanner.name()? {
            b"metric" => (Field::Metric, &mut point.metric, "metric"),
            b"timestamp" => (Field::Timestamp, &mut point.timestamp, "timestamp"),
            b"value" => (Field::Value, &mut point.value, "value"),
            b"tags" => {
                self.tags(point)?;
                let form = if point.has_tags {
                    Form::Text
                } else {
                    Form::Null
                };
                return Ok(Some((Field::Tags, form, point.tags)));
            }
            _ => {
                self.scanner.skip()?;
                return Ok(None);
            }
        };
        *place = self.scanner.scalar(what)?;
        Ok(Some((field, place.form, place.span)))
    }

    #[inline]
    fn tags(&mut self, point: &mut Point) -> Parsed<()> {
        let body = self.scanner.body;
        let known = Some(self.known).filter(|known| known.0 < known.1);
        self.scanner.skip_blank();
        let at = self.scanner.at;
        if let Some(end) = known.and_then(|known| past(body, known, at)) {
            self.scanner.at = end;
            self.known = (at as u32, self.scanner.at as u32);
        } else if self.scanner.peek() == Some(b'n') {
            self.scanner.scalar("tags")?;
            (point.tags, point.has_tags) = ((0, 0), false);
            return Ok(());
        } else if !self.read_tags()? {
            (point.tags, point.has_tags) = ((at as u32, self.scanner.at as u32), false);
            return Ok(());
        } else {
            self.known = (at as u32, self.scanner.at as u32);
            self.known_hash = self.hasher.hash(slice(body, self.known));
        }
        point.tags = self.known;
        point.tags_hash = self.known_hash;
        point.has_tags = true;
        Ok(())
    }

    /// Walks the object at hand; tells whether anything is in it.
    fn read_tags(&mut self) -> Parsed<bool> {
        self.scanner.open(b'{', "tags are no object")?;
        if self.scanner.is_empty(b'}') {
            return Ok(false);
        }
        loop {
            self.scanner.name()?;
            self.scanner.scalar("a tag's value")?;
            if !self.scanner.next_item(b'}')? {
                return Ok(true);
            }
        }
    }
}

/// What is longer is left to the library, which has wider words but must be called.
const SHORT_BYTES_MAX: usize = 32;

/// One behind `at..` where that begins as `known` reads.
#[inline]
fn past(body: &[u8], known: Span, at: usize) -> Option<usize> {
    let (from, length) = (known.0 as usize, (known.1 - known.0) as usize);
    let end = at + length;
    if length > SHORT_BYTES_MAX {
        return body[at..].starts_with(slice(body, known)).then_some(end);
    }
    (end <= body.len() && is_same(body, from, at, length)).then_some(end)
}

fn slice(body: &[u8], span: Span) -> &[u8] {
    &body[span.0 as usize..span.1 as usize]
}

/// Time and value, or why the data point is refused, in the order in which `OpenTSDB` looks.
#[inline]
fn sample(body: &[u8], point: &Point) -> std::result::Result<(i64, Kind, u64), Cause> {
    if point.metric.form == Form::Null || point.metric.is_empty() {
        return Err("Metric name was empty".into());
    }
    let moment = match point.timestamp.form {
        Form::Number | Form::Text => moment(point.timestamp.of(body)),
        Form::Null | Form::Word => Moment::Invalid,
    };
    if moment == Moment::Invalid {
        return Err("Invalid timestamp".into());
    }
    if point.value.form == Form::Null || point.value.is_empty() {
        return Err("Empty value".into());
    }
    if !point.has_tags {
        return Err("Missing tags".into());
    }
    let value = number(point.value.of(body));
    let (Ok((kind, bits)), Moment::Ns(time_ns)) = (value, moment) else {
        return Err(refusal(body, point, value.err()));
    };
    Ok((time_ns, kind, bits))
}

#[cold]
fn refusal(body: &[u8], point: &Point, flaw: Option<Flaw>) -> Cause {
    let metric = quoted(point.metric.of(body));
    let timestamp = quoted(point.timestamp.of(body));
    match flaw {
        Some(Flaw::NotANumber) => "Unable to parse value to a number".into(),
        Some(Flaw::Infinite { is_negative }) => {
            infinite(is_negative, point.metric.of(body), point.timestamp.of(body)).into()
        }
        None => format!(
            "bad timestamp={timestamp} when trying to add value={} to metric={metric}",
            quoted(point.value.of(body))
        )
        .into(),
    }
}

fn canonicalise(
    batch: &Batch,
    key: usize,
    defaults: &[(String, String)],
    forced: &[(String, String)],
) -> Result<Vec<u8>> {
    let key = batch.keys[key];
    let name = text(batch.bytes(key.field), "metric name")?;
    let tags = tags_of(batch.bytes(key.span))?;
    assemble(&name, "", &tags, defaults, forced)
}

type Tags<'a> = Vec<(Cow<'a, str>, Cow<'a, str>)>;

/// The tags of an object that was read before; of two with one name the last.
fn tags_of(object: &[u8]) -> Result<Tags<'_>> {
    let broken = |_| CoreError::Invalid(format!("{BROKEN}tags are no object"));
    let mut scanner = Scanner::new(object);
    let mut tags = Tags::new();
    scanner.open(b'{', "").map_err(broken)?;
    loop {
        let name = text(scanner.name().map_err(broken)?, "tag name")?;
        let value = scanner.scalar("").map_err(broken)?;
        if value.form == Form::Null {
            return Err(refused_tag("value with key", &name, "null"));
        }
        let value = text(value.of(object), "tag value")?;
        if name.is_empty() {
            return Err(refused_tag("name with value", &value, "empty string"));
        }
        if value.is_empty() {
            return Err(refused_tag("value with key", &name, "empty string"));
        }
        tags.push((name, value));
        if !scanner.next_item(b'}').map_err(broken)? {
            break;
        }
    }
    Ok(last_of_each(tags))
}

fn refused_tag(what: &str, beside: &str, cause: &str) -> CoreError {
    CoreError::Invalid(format!(
        "Invalid tag {what} [{}]: {cause}",
        quoted(beside.as_bytes())
    ))
}

fn last_of_each(mut tags: Tags<'_>) -> Tags<'_> {
    tags.reverse();
    tags.sort_by(|one, other| one.0.cmp(&other.0));
    tags.dedup_by(|later, kept| later.0 == kept.0);
    tags
}

fn text<'a>(raw: &'a [u8], what: &str) -> Result<Cow<'a, str>> {
    unescape(raw).ok_or_else(|| {
        CoreError::Invalid(format!(
            "Invalid {what} (\"{}\"): not valid UTF-8",
            quoted(raw)
        ))
    })
}

#[cfg(feature = "python")]
pub(crate) mod python {
    use crate::batch::python::PyBatch;
    use crate::decompress::decompress;
    use pyo3::prelude::*;

    #[pyfunction]
    #[pyo3(signature = (body, *, encoding = "identity", size_bytes_max = usize::MAX >> 1))]
    fn decode_opentsdb(
        py: Python<'_>,
        body: &[u8],
        encoding: &str,
        size_bytes_max: usize,
    ) -> PyResult<PyBatch> {
        let batch = py.detach(|| super::decode(decompress(encoding, body, size_bytes_max)?))?;
        Ok(PyBatch(batch))
    }

    // The list arrives owned from the interpreter.
    #[allow(clippy::needless_pass_by_value)]
    #[pyfunction]
    #[pyo3(signature = (body, positions, *, encoding = "identity", size_bytes_max = usize::MAX >> 1))]
    fn echo_opentsdb(
        py: Python<'_>,
        body: &[u8],
        positions: Vec<u32>,
        encoding: &str,
        size_bytes_max: usize,
    ) -> PyResult<Vec<String>> {
        let echoed = py.detach(|| {
            let plain = decompress(encoding, body, size_bytes_max)?;
            super::echo(&plain, &positions)
        })?;
        Ok(echoed)
    }

    pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
        module.add_function(wrap_pyfunction!(decode_opentsdb, module)?)?;
        module.add_function(wrap_pyfunction!(echo_opentsdb, module)?)
    }
}

#[cfg(test)]
mod tests;
