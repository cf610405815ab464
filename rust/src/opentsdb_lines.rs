//! `OpenTSDB`'s telnet form: lines of `put` in, a batch out; `opentsdb` has the JSON.
//!
//! A line is `put metric timestamp value tag=value ...`. Words stand apart by any number of blanks,
//! and only the first equals sign of a tag separates, where `OpenTSDB` refuses both. The wording of
//! refusals is `OpenTSDB`'s; those that begin with [`INVALID_VALUE`] are of that kind, all others
//! are what it calls an illegal argument.

use crate::batch::{Batch, Key, Wire, assemble, quoted, reject};
use crate::error::{CoreError, Result};
use crate::key_hash::KeyHasher;
use crate::opentsdb_numbers::{Flaw, Moment, infinite, moment, number};
use crate::sample::Kind;
use memchr::memchr;
use std::borrow::Cow;

const COMMAND: &[u8] = b"put";
const INVALID_VALUE: &str = "invalid value: ";
/// Metric, time, value, and at least one tag.
const ARGUMENTS_MIN: usize = 4;

/// Where the run of whole lines that begins at `start` ends: lines of `put`, and empty ones.
pub fn run_end(text: &[u8], start: usize) -> usize {
    let mut at = start;
    while let Some(length) = text.get(at..).and_then(|rest| memchr(b'\n', rest)) {
        let mut words = Words(&text[at..at + length]);
        if !matches!(words.next(), None | Some(COMMAND)) {
            break;
        }
        at += length + 1;
    }
    at
}

/// Decodes lines of `put` and empty ones.
pub fn decode(body: Vec<u8>) -> Result<Batch> {
    let mut batch = Batch::over(body, Wire::OpenTsdbLines, canonicalise)?;
    let body = std::mem::take(&mut batch.body);
    let hasher = KeyHasher::of_process();
    let (mut at, mut line) = (0, 0u32);
    while at < body.len() {
        let length = memchr(b'\n', &body[at..]).unwrap_or(body.len() - at);
        let text = &body[at..at + length];
        line = line.saturating_add(1);
        let mut words = Words(text);
        if words.next().is_some() {
            match sample(words) {
                Ok(found) => {
                    let place = |part: &[u8]| {
                        let from = part.as_ptr() as usize - body.as_ptr() as usize;
                        (from as u32, (from + part.len()) as u32)
                    };
                    batch.times_ns.push(found.time_ns);
                    batch.values.push(found.bits);
                    batch.kinds.push(found.kind);
                    batch.keys.push(Key {
                        hash: hasher.fold(hasher.hash(found.tags), hasher.hash(found.metric)),
                        span: place(found.tags),
                        field: place(found.metric),
                        line,
                        sample_end: batch.times_ns.len() as u32,
                    });
                }
                Err(reason) => reject(&mut batch.rejected, line, reason)?,
            }
        }
        at += length + 1;
    }
    batch.body = body;
    Ok(batch)
}

fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r')
}

/// What stands between blanks.
#[derive(Clone)]
struct Words<'a>(&'a [u8]);

impl<'a> Words<'a> {
    /// All that is left, without the blanks around it.
    fn rest(self) -> &'a [u8] {
        let mut text = self.0;
        while let [first, rest @ ..] = text {
            if !is_blank(*first) {
                break;
            }
            text = rest;
        }
        while let [rest @ .., last] = text {
            if !is_blank(*last) {
                break;
            }
            text = rest;
        }
        text
    }
}

impl<'a> Iterator for Words<'a> {
    type Item = &'a [u8];

    #[inline]
    fn next(&mut self) -> Option<&'a [u8]> {
        let text = self.0;
        let start = text.iter().position(|&byte| !is_blank(byte))?;
        let text = &text[start..];
        let length = text.iter().position(|&byte| is_blank(byte));
        let (word, rest) = text.split_at(length.unwrap_or(text.len()));
        self.0 = rest;
        Some(word)
    }
}

struct Sample<'a> {
    metric: &'a [u8],
    tags: &'a [u8],
    time_ns: i64,
    kind: Kind,
    bits: u64,
}

/// What a line says behind its command, or why it is refused.
#[inline]
fn sample(mut words: Words<'_>) -> std::result::Result<Sample<'_>, String> {
    let all = words.clone();
    let arguments = (words.next(), words.next(), words.next());
    let tags = words.rest();
    let (Some(metric), Some(timestamp), Some(value)) = arguments else {
        return Err(not_enough(all));
    };
    if tags.is_empty() {
        return Err(not_enough(all));
    }
    let time_ns = match moment(timestamp) {
        Moment::Ns(time_ns) => time_ns,
        Moment::Invalid => return Err(bad_timestamp(timestamp)),
        Moment::Beyond => {
            return Err(format!(
                "bad timestamp={} when trying to add value={} to metric={}",
                quoted(timestamp),
                quoted(value),
                quoted(metric)
            ));
        }
    };
    let (kind, bits) = number(value).map_err(|flaw| match flaw {
        Flaw::NotANumber => not_a_number(value),
        Flaw::Infinite { is_negative } => infinite(is_negative, metric, timestamp),
    })?;
    Ok(Sample {
        metric,
        tags,
        time_ns,
        kind,
        bits,
    })
}

#[cold]
fn not_enough(words: Words) -> String {
    let count = words.count();
    format!("not enough arguments (need least {ARGUMENTS_MIN}, got {count})")
}

#[cold]
fn bad_timestamp(text: &[u8]) -> String {
    let digits = text.strip_prefix(b"-").unwrap_or(text);
    if digits
        .iter()
        .all(|byte| byte.is_ascii_digit() || *byte == b'.')
    {
        return format!("invalid timestamp: {}", quoted(text));
    }
    not_a_number(text)
}

#[cold]
fn not_a_number(text: &[u8]) -> String {
    let shown = quoted(text);
    let digits = shown.strip_prefix(['-', '+']).unwrap_or(&shown);
    if shown.contains(['.', 'e', 'E']) {
        return format!("{INVALID_VALUE}For input string: \"{shown}\"");
    }
    match digits.chars().find(|character| !character.is_ascii_digit()) {
        Some(character) => format!("{INVALID_VALUE}Invalid character '{character}' in {shown}"),
        None if digits.is_empty() => format!("{INVALID_VALUE}Just a sign, no value: {shown}"),
        None => format!("{INVALID_VALUE}Value too long: {shown}"),
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
    let mut tags: Vec<(Cow<str>, Cow<str>)> = Vec::new();
    for word in Words(batch.bytes(key.span)) {
        let tag = text(word, "tag")?;
        let Some((key, value)) = tag
            .split_once('=')
            .filter(|(key, value)| !key.is_empty() && !value.is_empty())
        else {
            return Err(refused("invalid tag", word));
        };
        match tags.iter().find(|(known, _)| known == key) {
            None => tags.push((key.into(), value.into())),
            Some((_, known)) if known == value => {}
            Some(_) => return Err(refused("duplicate tag", word)),
        }
    }
    assemble(name, "", &tags, defaults, forced)
}

fn refused(why: &str, word: &[u8]) -> CoreError {
    CoreError::Invalid(format!("{why}: {}", quoted(word)))
}

fn text<'a>(raw: &'a [u8], what: &str) -> Result<&'a str> {
    std::str::from_utf8(raw).map_err(|_| {
        CoreError::Invalid(format!(
            "Invalid {what} (\"{}\"): not valid UTF-8",
            quoted(raw)
        ))
    })
}

#[cfg(feature = "python")]
pub(crate) mod python {
    use crate::batch::python::PyBatch;
    use pyo3::prelude::*;

    #[pyfunction]
    fn decode_opentsdb_lines(py: Python<'_>, text: &[u8]) -> PyResult<PyBatch> {
        let batch = py.detach(|| super::decode(text.to_vec()))?;
        Ok(PyBatch(batch))
    }

    #[pyfunction]
    fn opentsdb_lines_end(text: &[u8], start: usize) -> usize {
        super::run_end(text, start)
    }

    pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
        module.add_function(wrap_pyfunction!(decode_opentsdb_lines, module)?)?;
        module.add_function(wrap_pyfunction!(opentsdb_lines_end, module)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::series::SeriesView;

    fn decoded(text: &str) -> Batch {
        decode(text.as_bytes().to_vec()).unwrap()
    }

    fn named(batch: &Batch, key: usize) -> String {
        let bytes = batch.canonical(key, &[], &[]).unwrap();
        let view = SeriesView::parse(&bytes).unwrap();
        format!("{} {:?}", view.name, view.labels)
    }

    #[test]
    fn lines_become_columns() {
        let batch = decoded(
            "put sys.cpu 1700000000 18 host=a dc=lga\r\n\n \
             put\tsys.load  1700000000123 1.5   host=ä  host=ä x=a=b== \nput m 1700000000.25 -7 a=b",
        );
        assert_eq!(batch.rejected, []);
        assert_eq!(
            batch.times_ns,
            [
                1_700_000_000_000_000_000,
                1_700_000_000_123_000_000,
                1_700_000_000_250_000_000
            ]
        );
        assert_eq!(batch.kinds, [Kind::Int64, Kind::Float64, Kind::Int64]);
        assert_eq!(batch.values, [18, 1.5f64.to_bits(), -7i64 as u64]);
        assert_eq!(
            named(&batch, 0),
            r#"sys.cpu [("dc", "lga"), ("host", "a")]"#
        );
        assert_eq!(
            named(&batch, 1),
            r#"sys.load [("host", "ä"), ("x", "a=b==")]"#
        );
        let lines: Vec<u32> = batch.keys.iter().map(|key| key.line).collect();
        assert_eq!(lines, [1, 3, 4]);
    }

    #[test]
    fn bad_lines_are_refused_in_the_words_of_the_original() {
        for (line, reason) in [
            ("put", "not enough arguments (need least 4, got 0)"),
            ("put m 1 2", "not enough arguments (need least 4, got 3)"),
            ("put m 1 2 \r", "not enough arguments (need least 4, got 3)"),
            ("put m 0 2 a=b", "invalid timestamp: 0"),
            ("put m -1 2 a=b", "invalid timestamp: -1"),
            (
                "put m 1x 2 a=b",
                "invalid value: Invalid character 'x' in 1x",
            ),
            (
                "put m 99999999999999 2 a=b",
                "bad timestamp=99999999999999 when trying to add value=2 to metric=m",
            ),
            (
                "put m 1 two a=b",
                "invalid value: Invalid character 't' in two",
            ),
            (
                "put m 1 1.x a=b",
                "invalid value: For input string: \"1.x\"",
            ),
            ("put m 1 - a=b", "invalid value: Just a sign, no value: -"),
            (
                "put m 1 9223372036854775808 a=b",
                "invalid value: Value too long: 9223372036854775808",
            ),
            (
                "put m 1 NaN a=b",
                "invalid value: Invalid character 'N' in NaN",
            ),
            (
                "put m 1 1e999 a=b",
                "value is NaN or Infinite: Infinity for metric=m timestamp=1",
            ),
        ] {
            let batch = decoded(&format!("put good 1 1 a=b\n{line}\n"));
            assert_eq!(batch.times_ns.len(), 1, "{line}");
            assert_eq!(batch.rejected.len(), 1, "{line}");
            assert_eq!(batch.rejected[0].line, 2);
            assert_eq!(batch.rejected[0].reason, reason);
        }
    }

    #[test]
    fn bad_tags_are_refused_when_they_are_named() {
        for (tags, reason) in [
            ("host", "invalid tag: host"),
            ("a=b =c", "invalid tag: =c"),
            ("a=", "invalid tag: a="),
            ("a=b a=c", "duplicate tag: a=c"),
            ("__db__=b", "label \"__db__\" is reserved"),
        ] {
            let batch = decoded(&format!("put m 1 1 {tags}"));
            let error = batch.canonical(0, &[], &[]).unwrap_err().to_string();
            assert!(error.starts_with(reason), "{error}");
        }
        let batch = decode(b"put m 1 1 a=\xff".to_vec()).unwrap();
        let error = batch.canonical(0, &[], &[]).unwrap_err().to_string();
        assert!(error.contains("not valid UTF-8"), "{error}");
    }

    #[test]
    fn a_run_ends_at_another_command() {
        let text = b"put a\n\r\nput b\nversion\nput c\nput d";
        assert_eq!(run_end(text, 0), 14);
        assert_eq!(run_end(text, 14), 14);
        assert_eq!(run_end(text, 22), 28);
        assert_eq!(run_end(text, 28), 28);
        assert_eq!(run_end(text, 99), 99);
        assert_eq!(run_end(b"putt\n", 0), 0);
    }

    #[test]
    fn equal_keys_hash_alike_and_others_do_not() {
        let batch = decoded("put m 1 1 a=b\nput m 2 9.5  a=b\r\nput m 1 1 a=c\nput n 1 1 a=b");
        let hashes: Vec<u128> = batch.keys.iter().map(|key| key.hash).collect();
        assert_eq!(hashes[0], hashes[1]);
        assert_ne!(hashes[0], hashes[2]);
        assert_ne!(hashes[0], hashes[3]);
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_answered(text: Vec<u8>, start in 0usize..50) {
            let end = run_end(&text, start);
            assert!(end >= start && (end == start || end <= text.len()));
            let batch = decode(text).unwrap();
            for key in 0..batch.keys.len() {
                let _ = batch.canonical(key, &[], &[]);
            }
        }
    }
}
