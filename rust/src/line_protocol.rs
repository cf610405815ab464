//! `InfluxDB` line protocol: whole bodies in, a batch out.
//!
//! The grammar and the wording of errors are those of `InfluxDB` 1.x. One backslash before a
//! comma, a space or an equals sign makes it part of a name or a tag; before a newline it carries
//! the line on. Where `InfluxDB`'s own passes disagree this decoder is the stricter: nothing may
//! follow a closing quote, and a comment ends with its line whatever quotes it holds.
//!
//! Measurement and tags are hashed as they stand, once a line; the hash of each field's raw name
//! is folded in. What the bytes mean is worked out once a series, in `canonicalise`.

use crate::batch::{Batch, Key, Rejection, Row, Wire, assemble, quoted, reject};
use crate::error::{CoreError, Result};
use crate::key_hash::KeyHasher;
use crate::sample::Kind;
use crate::swar::{EACH, HIGH, hits, is_same};
use memchr::{memchr, memchr2};
use std::borrow::Cow;

/// `InfluxDB`'s bound on measurement and tags with separators, and on a field's name with them.
const KEY_BYTES_MAX: usize = 65_535;
/// What `InfluxDB` puts between key and field.
const FIELD_SEPARATOR_BYTES: usize = 4;

/// `InfluxDB` keeps the outermost nanoseconds for itself.
const TIME_MIN_NS: i64 = i64::MIN + 2;
const TIME_MAX_NS: i64 = i64::MAX - 1;

/// Why a line is refused.
type Cause = Cow<'static, str>;
type Parsed<T> = std::result::Result<T, Cause>;

/// Decodes `body`; times are in units of `precision_ns`, lines without one get `now_ns` cut down
/// to that unit.
pub fn decode(body: Vec<u8>, precision_ns: i64, now_ns: i64) -> Result<Batch> {
    if precision_ns <= 0 {
        return Err(CoreError::Invalid(format!(
            "cannot decode line protocol: precision {precision_ns} ns is not positive"
        )));
    }
    let mut batch = Batch::over(body, Wire::InfluxLine, canonicalise)?;
    let body = std::mem::take(&mut batch.body);
    let mut decoder = Decoder::new(&body, precision_ns, now_ns);
    decoder.lines()?;
    let Decoder {
        columns,
        unescaped,
        rejected,
        ..
    } = decoder;
    batch.keys = columns.keys;
    batch.rows = columns.rows;
    batch.times_ns = columns.times_ns;
    batch.values = columns.values;
    batch.kinds = columns.kinds;
    batch.rejected = rejected;
    batch.body = body;
    batch.body.extend_from_slice(&unescaped);
    Ok(batch)
}

struct Columns {
    keys: Vec<Key>,
    rows: Vec<Row>,
    times_ns: Vec<i64>,
    values: Vec<u64>,
    kinds: Vec<Kind>,
}

impl Columns {
    fn with_capacity(count: usize) -> Self {
        Self {
            keys: Vec::with_capacity(count),
            rows: Vec::new(),
            times_ns: Vec::with_capacity(count),
            values: Vec::with_capacity(count),
            kinds: Vec::with_capacity(count),
        }
    }

    /// Forgets the fields of a line that turned out bad.
    fn cut_back(&mut self) {
        let count = self.times_ns.len();
        self.keys.truncate(count);
        self.values.truncate(count);
        self.kinds.truncate(count);
    }
}

/// The fields of a line, for the next: most lines have the same ones in the same order.
#[derive(Default)]
struct Shape {
    /// Where each name stood, and its hash.
    names: Vec<((u32, u32), u128)>,
    /// Of all names together; none where they changed since.
    hash: Option<u128>,
}

impl Shape {
    /// The hash of the first `count` names, which are all there are from now on.
    #[inline]
    fn hash(&mut self, count: usize, hasher: &KeyHasher) -> u128 {
        match self.hash {
            Some(hash) if count == self.names.len() => hash,
            _ => {
                self.names.truncate(count);
                let names = self.names.iter();
                let hash = names.fold(1, |all, (_, hash)| hasher.fold(all, *hash));
                self.hash = Some(hash);
                hash
            }
        }
    }
}

struct Decoder<'a> {
    body: &'a [u8],
    shape: Shape,
    precision_ns: i64,
    default_time_ns: i64,
    hasher: &'static KeyHasher,
    columns: Columns,
    /// String values that had escapes; they go behind the body.
    unescaped: Vec<u8>,
    rejected: Vec<Rejection>,
    /// Where the current line ends: its newline, or the end of the body.
    end: usize,
    /// `end` without a carriage return.
    text_end: usize,
}

impl<'a> Decoder<'a> {
    fn new(body: &'a [u8], precision_ns: i64, now_ns: i64) -> Self {
        Self {
            body,
            shape: Shape::default(),
            precision_ns,
            default_time_ns: now_ns.saturating_sub(now_ns.rem_euclid(precision_ns)),
            hasher: KeyHasher::of_process(),
            columns: Columns::with_capacity(value_count_about(body)),
            unescaped: Vec::new(),
            rejected: Vec::new(),
            end: 0,
            text_end: 0,
        }
    }

    fn lines(&mut self) -> Result<()> {
        let mut at = 0;
        let mut line = 1u32;
        while at < self.body.len() {
            let start = skip_blank(self.body, at, self.body.len());
            let first = memchr(b'\n', &self.body[start..]).map(|length| start + length);
            if self.body.get(start) == Some(&b'#') {
                self.end_at(first);
            } else {
                self.end_at(first.and_then(|first| uncarried(self.body, start, first)));
                self.line(start, line)?;
            }
            let newlines = self.newline_count(first.unwrap_or(self.end));
            line = line.saturating_add(newlines);
            at = self.end + 1;
        }
        Ok(())
    }

    /// One unless the line went on behind a newline; `first` is where the first one stood.
    fn newline_count(&self, first: usize) -> u32 {
        let inner = self.body.get(first..self.end).unwrap_or_default();
        1 + memchr::memchr_iter(b'\n', inner).count() as u32
    }

    fn end_at(&mut self, newline: Option<usize>) {
        self.end = newline.unwrap_or(self.body.len());
        self.text_end = self.end;
        if self.end > 0 && self.body[self.end - 1] == b'\r' {
            self.text_end -= 1;
        }
    }

    #[inline]
    fn line(&mut self, start: usize, line: u32) -> Result<()> {
        if start >= self.text_end {
            return Ok(());
        }
        let Err(cause) = self.point(start, line) else {
            return Ok(());
        };
        self.columns.cut_back();
        let text = quoted(&self.body[start..self.text_end]);
        let reason = format!("unable to parse '{text}': {cause}");
        reject(&mut self.rejected, line, reason)
    }

    #[inline]
    fn point(&mut self, start: usize, line: u32) -> Parsed<()> {
        let key_end = match plain_key_end(self.body, start, self.text_end) {
            Some(key_end) => key_end,
            None => scan_key(self.body, start, self.text_end)?,
        };
        if key_end - start > KEY_BYTES_MAX {
            return Err(key_too_long(key_end - start));
        }
        let fields = skip_blank(self.body, key_end, self.text_end);
        if fields >= self.text_end {
            return Err("missing fields".into());
        }
        let line_hash = self.hasher.hash(&self.body[start..key_end]);
        let span = (start as u32, key_end as u32);
        let (after, count) = self.fields(fields, span, line, line_hash)?;
        let time_ns = self.time(after)?;
        let columns = &mut self.columns;
        columns.times_ns.resize(columns.keys.len(), time_ns);
        columns.rows.push(Row {
            hash: self
                .hasher
                .fold(line_hash, self.shape.hash(count, self.hasher)),
            key_end: columns.keys.len() as u32,
        });
        Ok(())
    }

    /// Pushes key and value of every field from `at` on; gives the place behind the last, and how
    /// many there are.
    #[inline]
    fn fields(
        &mut self,
        mut at: usize,
        span: (u32, u32),
        line: u32,
        line_hash: u128,
    ) -> Parsed<(usize, usize)> {
        let mut count = 0;
        loop {
            let (equals, field_hash) = match self.known_name(count, at) {
                Some(known) => known,
                None => self.next_name(count, at)?,
            };
            count += 1;
            let key_length = (span.1 - span.0) as usize + FIELD_SEPARATOR_BYTES + equals - at;
            if key_length > KEY_BYTES_MAX {
                return Err(key_too_long(key_length));
            }
            let (after, kind, bits) = match short_number(&self.body[..self.text_end], equals + 1) {
                Some((after, bits)) => (after, Kind::Float64, bits),
                None => self.value(equals + 1)?,
            };
            self.columns.keys.push(Key {
                hash: self.hasher.fold(line_hash, field_hash),
                span,
                field: (at as u32, equals as u32),
                line,
                sample_end: self.columns.keys.len() as u32 + 1,
            });
            self.columns.values.push(bits);
            self.columns.kinds.push(kind);
            if after >= self.text_end || self.body[after] == b' ' {
                return Ok((after, count));
            }
            at = after + 1;
        }
    }

    /// Where the name at `at` is that of the field `number` of the line before: the place of its
    /// equals sign, and its hash.
    #[inline]
    fn known_name(&self, number: usize, at: usize) -> Option<(usize, u128)> {
        let &((from, to), hash) = self.shape.names.get(number)?;
        let length = (to - from) as usize;
        let equals = at + length;
        let is_same = equals < self.text_end
            && self.body[equals] == b'='
            && is_same(self.body, from as usize, at, length);
        is_same.then_some((equals, hash))
    }

    /// Reads the name of a field and makes it part of the shape.
    fn next_name(&mut self, number: usize, at: usize) -> Parsed<(usize, u128)> {
        let equals = scan_field_key(self.body, at, self.text_end)?;
        let hash = self.hasher.hash(&self.body[at..equals]);
        self.shape.hash = None;
        self.shape.names.truncate(number);
        self.shape.names.push(((at as u32, equals as u32), hash));
        Ok((equals, hash))
    }

    /// Reads the value at `at`; the place given back holds a comma, a space or the line's end.
    #[inline]
    fn value(&mut self, at: usize) -> Parsed<(usize, Kind, u64)> {
        let Some(&first) = self.body[..self.text_end].get(at) else {
            return Err("missing field value".into());
        };
        match first {
            b'0'..=b'9' | b'.' | b'-' | b'N' | b'n' => number(&self.body[..self.text_end], at),
            b'"' => self.string(at + 1),
            b',' | b' ' => Err("missing field value".into()),
            _ => boolean(&self.body[..self.text_end], at),
        }
    }

    fn string(&mut self, start: usize) -> Parsed<(usize, Kind, u64)> {
        let Some((close, has_escapes)) = closing_quote(self.body, start) else {
            self.end_at(None);
            return Err("unbalanced quotes".into());
        };
        if close >= self.end {
            self.end_at(newline(self.body, close));
        }
        if close + 1 < self.text_end && !matches!(self.body[close + 1], b',' | b' ') {
            return Err("invalid field format".into());
        }
        let raw = &self.body[start..close];
        if std::str::from_utf8(raw).is_err() {
            return Err("string field is not valid UTF-8".into());
        }
        let (offset, length) = if has_escapes {
            let before = self.unescaped.len();
            unescape_string(raw, &mut self.unescaped);
            (self.body.len() + before, self.unescaped.len() - before)
        } else {
            (start, raw.len())
        };
        let bits = (offset as u64) << 32 | length as u64;
        Ok((close + 1, Kind::String, bits))
    }

    /// Reads the time at `at`, which stands behind the fields.
    #[inline]
    fn time(&self, at: usize) -> Parsed<i64> {
        let start = skip_blank(self.body, at, self.text_end);
        let text = &self.body[start..self.text_end];
        let length = memchr(b' ', text).unwrap_or(text.len());
        let (digits, rest) = text.split_at(length);
        if digits.is_empty() {
            return Ok(self.default_time_ns);
        }
        let number = integer(digits)?;
        if rest.iter().any(|&byte| byte != b' ') {
            return Err("point is invalid".into());
        }
        match number.checked_mul(self.precision_ns) {
            Some(time_ns) if (TIME_MIN_NS..=TIME_MAX_NS).contains(&time_ns) => Ok(time_ns),
            _ => Err(format!("time outside range {TIME_MIN_NS} - {TIME_MAX_NS}").into()),
        }
    }
}

/// Columns are laid out for so many values at once; beyond it they grow.
const VALUES_AT_ONCE_MAX: usize = 1 << 20;

/// Never less than there are values, and with few tags not much more.
fn value_count_about(body: &[u8]) -> usize {
    let count = memchr::memchr_iter(b'=', body).count();
    count.min(VALUES_AT_ONCE_MAX)
}

fn key_too_long(length: usize) -> Cause {
    format!("max key length exceeded: {length} > {KEY_BYTES_MAX}").into()
}

fn skip_blank(body: &[u8], mut at: usize, end: usize) -> usize {
    while at < end && matches!(body[at], b' ' | b'\t' | 0) {
        at += 1;
    }
    at
}

fn newline(body: &[u8], from: usize) -> Option<usize> {
    let found = from + memchr(b'\n', body.get(from..)?)?;
    uncarried(body, from, found)
}

/// `found` or the first newline behind it that no backslash carries over. A backslash takes the
/// byte behind it along, so that only an odd run of them does.
#[inline]
fn uncarried(body: &[u8], from: usize, mut found: usize) -> Option<usize> {
    loop {
        let run = body[from..found]
            .iter()
            .rev()
            .take_while(|&&byte| byte == b'\\');
        if run.count() % 2 == 0 {
            return Some(found);
        }
        found += 1 + memchr(b'\n', body.get(found + 1..)?)?;
    }
}

fn is_separator(byte: u8) -> bool {
    matches!(byte, b',' | b' ' | b'=')
}

const LOW: u64 = 0x7f7f_7f7f_7f7f_7f7f;

/// Zero in the high bit of each byte of `word` that is `byte`, whatever stands around it.
#[inline]
fn misses(word: u64, byte: u8) -> u64 {
    let zero_where_equal = word ^ (EACH * u64::from(byte));
    ((zero_where_equal & LOW) + LOW) | zero_where_equal
}

/// The place of the space behind measurement and tags, where these are well-formed without any
/// backslash before a separator. All else is for [`scan_key`], which says what is wrong.
#[inline]
fn plain_key_end(body: &[u8], start: usize, end: usize) -> Option<usize> {
    let mut before = start;
    let mut is_measurement = true;
    let mut is_name = false;
    for (number, chunk) in body[start..end].chunks_exact(8).enumerate() {
        let mut word = [0; 8];
        word.copy_from_slice(chunk);
        let word = u64::from_le_bytes(word);
        let mut found = !(misses(word, b',') & misses(word, b' ') & misses(word, b'=')) & HIGH;
        while found != 0 {
            let at = start + number * 8 + found.trailing_zeros() as usize / 8;
            found &= found - 1;
            let byte = body[at];
            if is_measurement {
                // Equals signs may stand in it, though not at its beginning.
                if at == start || body[at - 1] == b'\\' {
                    return None;
                }
                if byte == b'=' {
                    continue;
                }
                is_measurement = false;
            } else if at == before + 1 || body[at - 1] == b'\\' || is_name != (byte == b'=') {
                return None;
            }
            if byte == b' ' {
                return Some(at);
            }
            before = at;
            is_name = byte == b',';
        }
    }
    None
}

/// The first separator from `at` on, eight bytes at a time; may lie behind the line.
#[inline]
fn any_separator(body: &[u8], mut at: usize) -> usize {
    while let Some(chunk) = body.get(at..).and_then(<[u8]>::first_chunk::<8>) {
        let word = u64::from_le_bytes(*chunk);
        let found = hits(word, b',') | hits(word, b' ') | hits(word, b'=');
        if found != 0 {
            return at + found.trailing_zeros() as usize / 8;
        }
        at += 8;
    }
    while at < body.len() && !is_separator(body[at]) {
        at += 1;
    }
    at
}

/// The first separator from `at` on that no backslash stands before; `end` where there is none.
#[inline]
fn next_separator(body: &[u8], mut at: usize, end: usize) -> usize {
    loop {
        at = any_separator(body, at);
        if at >= end {
            return end;
        }
        if body[at - 1] != b'\\' {
            return at;
        }
        at += 1;
    }
}

/// Walks measurement and tags; gives the place of the space behind them.
#[inline]
fn scan_key(body: &[u8], start: usize, end: usize) -> Parsed<usize> {
    if body[start] == b',' {
        return Err("missing measurement".into());
    }
    let mut at = start + 1;
    loop {
        at = next_separator(body, at, end);
        if at >= end {
            return Err("missing fields".into());
        }
        match body[at] {
            b' ' => return Ok(at),
            b',' => break,
            _ => at += 1,
        }
    }
    loop {
        let equals = scan_tag_key(body, at + 1, end)?;
        at = scan_tag_value(body, equals + 1, end)?;
        if body[at] == b' ' {
            return Ok(at);
        }
    }
}

#[inline]
fn scan_tag_key(body: &[u8], start: usize, end: usize) -> Parsed<usize> {
    if start >= end || is_separator(body[start]) {
        return Err("missing tag key".into());
    }
    let at = next_separator(body, start + 1, end);
    if at < end && body[at] == b'=' {
        Ok(at)
    } else {
        Err("missing tag value".into())
    }
}

#[inline]
fn scan_tag_value(body: &[u8], start: usize, end: usize) -> Parsed<usize> {
    if start >= end || matches!(body[start], b',' | b' ') {
        return Err("missing tag value".into());
    }
    if body[start] == b'=' {
        return Err("invalid tag format".into());
    }
    let at = next_separator(body, start + 1, end);
    if at >= end {
        Err("missing fields".into())
    } else if body[at] == b'=' {
        Err("invalid tag format".into())
    } else {
        Ok(at)
    }
}

/// Gives the place of the equals sign behind the field's name that starts at `start`.
#[inline]
fn scan_field_key(body: &[u8], start: usize, end: usize) -> Parsed<usize> {
    if start < end && body[start] == b'=' {
        return Err("missing field key".into());
    }
    if start >= end || is_separator(body[start]) {
        return Err("invalid field format".into());
    }
    let at = next_separator(body, start + 1, end);
    if at < end && body[at] == b'=' {
        Ok(at)
    } else {
        Err("invalid field format".into())
    }
}

/// Place of the quote that ends the string starting at `start`, and whether it has escapes.
fn closing_quote(body: &[u8], start: usize) -> Option<(usize, bool)> {
    let mut at = start;
    let mut has_escapes = false;
    loop {
        at += memchr2(b'"', b'\\', body.get(at..)?)?;
        if body[at] == b'"' {
            return Some((at, has_escapes));
        }
        has_escapes |= matches!(body.get(at + 1), Some(b'"' | b'\\'));
        at += 2;
    }
}

fn unescape_string(raw: &[u8], out: &mut Vec<u8>) {
    let mut at = 0;
    while at < raw.len() {
        if raw[at] == b'\\' && matches!(raw.get(at + 1), Some(b'"' | b'\\')) {
            at += 1;
        }
        out.push(raw[at]);
        at += 1;
    }
}

fn token_end(text: &[u8], at: usize) -> usize {
    memchr2(b',', b' ', &text[at..]).map_or(text.len(), |length| at + length)
}

/// Powers of ten that a double holds exactly.
pub(crate) const TENS: [f64; 23] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16,
    1e17, 1e18, 1e19, 1e20, 1e21, 1e22,
];
/// So many digits fit 64 bits whatever they are.
pub(crate) const DIGITS_FAST_MAX: usize = 19;
/// Digits, a point and what ends them: less than 2^53 whatever the digits are.
const SHORT_NUMBER_BYTES: usize = 16;
/// So many fit 63.
const DIGITS_SIGNED_MAX: usize = 18;

/// Reads digits from `at` on into `mantissa`.
#[inline]
pub(crate) fn digits(text: &[u8], mut at: usize, mut mantissa: u64) -> (usize, u64) {
    while let Some(digit) = text.get(at).map(|byte| byte.wrapping_sub(b'0')) {
        if digit > 9 {
            break;
        }
        mantissa = mantissa.wrapping_mul(10).wrapping_add(u64::from(digit));
        at += 1;
    }
    (at, mantissa)
}

/// A decimal of few digits with a comma or a space behind it, which most values are; gives the
/// place behind it and its bits. None is no verdict.
#[inline]
fn short_number(text: &[u8], start: usize) -> Option<(usize, u64)> {
    let (mut at, mut mantissa, mut decimals) = (start, 0u64, 0);
    let mut point = None;
    for &byte in text.get(start..)?.iter().take(SHORT_NUMBER_BYTES) {
        let digit = byte.wrapping_sub(b'0');
        if digit <= 9 {
            mantissa = mantissa * 10 + u64::from(digit);
        } else if byte == b'.' && point.is_none() {
            point = Some(at);
        } else if matches!(byte, b',' | b' ') {
            if let Some(point) = point {
                decimals = at - point - 1;
            }
            let digits = at - start - usize::from(point.is_some());
            let value = mantissa as f64;
            let value = if decimals == 0 {
                value
            } else {
                value / TENS[decimals]
            };
            return (digits > 0).then_some((at, value.to_bits()));
        } else {
            return None;
        }
        at += 1;
    }
    None
}

/// Short decimals without an exponent are read in one go, exactly (Clinger's fast path); all else
/// takes the long way.
#[inline]
fn number(text: &[u8], start: usize) -> Parsed<(usize, Kind, u64)> {
    let negative = text[start] == b'-';
    let from = start + usize::from(negative);
    let (mut at, mut mantissa) = digits(text, from, 0);
    let mut digit_count = at - from;
    let mut decimals = 0;
    let has_point = text.get(at) == Some(&b'.');
    if has_point {
        let (after, all) = digits(text, at + 1, mantissa);
        decimals = after - at - 1;
        digit_count += decimals;
        (at, mantissa) = (after, all);
    }
    if digit_count == 0 || digit_count > DIGITS_FAST_MAX {
        return long_number(text, start);
    }
    let next = text.get(at).copied().unwrap_or(b' ');
    if matches!(next, b',' | b' ') {
        if mantissa > 1 << 53 {
            return float(&text[start..at]).map(|bits| (at, Kind::Float64, bits));
        }
        let whole = mantissa as f64;
        let value = if decimals == 0 {
            whole
        } else {
            whole / TENS[decimals]
        };
        let signed = if negative { -value } else { value };
        return Ok((at, Kind::Float64, signed.to_bits()));
    }
    let behind = text.get(at + 1).copied().unwrap_or(b' ');
    if has_point || digit_count > DIGITS_SIGNED_MAX || !matches!(behind, b',' | b' ') {
        return long_number(text, start);
    }
    match next {
        b'i' if negative => Ok((at + 1, Kind::Int64, mantissa.wrapping_neg())),
        b'i' => Ok((at + 1, Kind::Int64, mantissa)),
        b'u' if !negative => Ok((at + 1, Kind::Uint64, mantissa)),
        _ => long_number(text, start),
    }
}

fn long_number(text: &[u8], start: usize) -> Parsed<(usize, Kind, u64)> {
    let end = token_end(text, start);
    let token = &text[start..end];
    let invalid = || Cause::from("invalid number");
    let word = std::str::from_utf8(token).map_err(|_| invalid())?;
    let Some((last, front)) = token.split_last() else {
        return Err(invalid());
    };
    let whole = |front: &[u8]| {
        let unsigned = front.strip_prefix(b"-").unwrap_or(front);
        !unsigned.is_empty() && unsigned.iter().all(u8::is_ascii_digit)
    };
    match last {
        b'i' if whole(front) => {
            let value = integer(front).map_err(|cause| {
                let front = &word[..front.len()];
                format!("unable to parse integer {front}: {cause}")
            })?;
            Ok((end, Kind::Int64, value as u64))
        }
        b'u' if whole(front) && front[0] != b'-' => {
            let front = &word[..front.len()];
            let value = front.parse::<u64>().map_err(|_| {
                format!(
                    "unable to parse unsigned {front}: strconv.ParseUint: parsing \"{front}\": \
                     value out of range"
                )
            })?;
            Ok((end, Kind::Uint64, value))
        }
        _ => long_float(word).map(|bits| (end, Kind::Float64, bits)),
    }
}

fn long_float(word: &str) -> Parsed<u64> {
    let mut before = b' ';
    let mut points = 0;
    let mut has_digit = false;
    for (at, byte) in word.bytes().enumerate() {
        let fits = match byte {
            b'0'..=b'9' => {
                has_digit = true;
                true
            }
            b'.' => {
                points += 1;
                points == 1
            }
            b'-' => at == 0 || matches!(before, b'e' | b'E'),
            b'+' => matches!(before, b'e' | b'E'),
            b'e' | b'E' => at > 0,
            _ => false,
        };
        if !fits {
            return Err("invalid number".into());
        }
        before = byte;
    }
    if !has_digit {
        return Err("invalid number".into());
    }
    float(word.as_bytes())
}

/// Bits of a decimal number whose characters were checked.
fn float(text: &[u8]) -> Parsed<u64> {
    let value = std::str::from_utf8(text)
        .ok()
        .and_then(|word| word.parse::<f64>().ok());
    match value {
        Some(value) if value.is_finite() => Ok(value.to_bits()),
        _ => Err("invalid float".into()),
    }
}

fn boolean(text: &[u8], start: usize) -> Parsed<(usize, Kind, u64)> {
    let end = token_end(text, start);
    let bit = match &text[start..end] {
        b"t" | b"T" | b"true" | b"True" | b"TRUE" => 1,
        b"f" | b"F" | b"false" | b"False" | b"FALSE" => 0,
        _ => return Err("invalid boolean".into()),
    };
    Ok((end, Kind::Bool, bit))
}

/// A whole number of 64 bits; the wording of errors is Go's.
#[inline]
fn integer(text: &[u8]) -> Parsed<i64> {
    let negative = text[0] == b'-';
    let from = usize::from(negative);
    let (at, magnitude) = digits(text, from, 0);
    if at < text.len() {
        return Err("bad timestamp".into());
    }
    if at > from && at - from <= DIGITS_FAST_MAX && i64::try_from(magnitude).is_ok() {
        let value = magnitude as i64;
        return Ok(if negative { -value } else { value });
    }
    let word = String::from_utf8_lossy(text);
    word.parse::<i64>().map_err(|_| {
        let cause = if at == from {
            "invalid syntax"
        } else {
            "value out of range"
        };
        format!("strconv.ParseInt: parsing \"{word}\": {cause}").into()
    })
}

/// Takes the backslash off what it stands before, where that is one of `escaped`.
fn unescape<'a>(raw: &'a str, escaped: &[u8]) -> Cow<'a, str> {
    if !raw.contains('\\') {
        return Cow::Borrowed(raw);
    }
    let mut out = String::with_capacity(raw.len());
    let mut rest = raw;
    while let Some(at) = rest.find('\\') {
        let behind = rest.as_bytes().get(at + 1);
        let is_escape = behind.is_some_and(|byte| escaped.contains(byte));
        out.push_str(&rest[..at + usize::from(!is_escape)]);
        // An escaped byte is ASCII, so that the cut falls between characters.
        let taken = if is_escape { 2 } else { 1 };
        if is_escape {
            out.push_str(&rest[at + 1..at + 2]);
        }
        rest = &rest[at + taken..];
    }
    out.push_str(rest);
    Cow::Owned(out)
}

const NAME_ESCAPES: &[u8] = b", =\"";
const TAG_ESCAPES: &[u8] = b", =";

fn canonicalise(
    batch: &Batch,
    key: usize,
    defaults: &[(String, String)],
    forced: &[(String, String)],
) -> Result<Vec<u8>> {
    let key = batch.keys[key];
    named(batch, key, defaults, forced).map_err(|error| {
        let rest = &batch.body[key.span.0 as usize..];
        let line = &rest[..newline(rest, 0).unwrap_or(rest.len())];
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        CoreError::Invalid(format!("unable to parse '{}': {error}", quoted(line)))
    })
}

fn named(
    batch: &Batch,
    key: Key,
    defaults: &[(String, String)],
    forced: &[(String, String)],
) -> Result<Vec<u8>> {
    let not_text = |_| CoreError::Invalid("measurement, tags or field are not valid UTF-8".into());
    let text = std::str::from_utf8(batch.bytes(key.span)).map_err(not_text)?;
    let field = std::str::from_utf8(batch.bytes(key.field)).map_err(not_text)?;
    let (measurement, tags) = split_key(text);
    let name = unescape(measurement, NAME_ESCAPES);
    let field = unescape(field, NAME_ESCAPES);
    check_names(&name, &field, &tags)?;
    // The naming contract: the field `value` is no field.
    let field = if field == "value" { "" } else { &*field };
    assemble(&name, field, &tags, defaults, forced)
}

type Tags<'a> = Vec<(Cow<'a, str>, Cow<'a, str>)>;

/// Splits measurement and tags, which `scan_key` found well-formed.
fn split_key(text: &str) -> (&str, Tags<'_>) {
    let body = text.as_bytes();
    let end = body.len();
    // The measurement may hold bare equals signs; only a comma ends it.
    let mut at = next_separator(body, 1, end);
    while at < end && body[at] != b',' {
        at = next_separator(body, at + 1, end);
    }
    let measurement = &text[..at];
    let mut tags = Vec::new();
    while at < end {
        let equals = next_separator(body, at + 2, end);
        let behind = next_separator(body, (equals + 2).min(end), end);
        tags.push((
            unescape(&text[at + 1..equals], TAG_ESCAPES),
            unescape(&text[(equals + 1).min(end)..behind], TAG_ESCAPES),
        ));
        at = behind;
    }
    (measurement, tags)
}

/// `time` is the time's own name in `InfluxDB`.
fn check_names(name: &str, field: &str, tags: &[(Cow<str>, Cow<str>)]) -> Result<()> {
    if tags.iter().any(|(key, _)| key == "time") {
        return Err(CoreError::Invalid(format!(
            "invalid tag key: input tag \"time\" on measurement \"{name}\" is invalid"
        )));
    }
    if field == "time" {
        return Err(CoreError::Invalid(format!(
            "invalid field name: input field \"time\" on measurement \"{name}\" is invalid"
        )));
    }
    let mut keys: Vec<&str> = tags.iter().map(|(key, _)| &**key).collect();
    keys.sort_unstable();
    if keys.windows(2).any(|pair| pair[0] == pair[1]) {
        return Err(CoreError::Invalid("duplicate tags".into()));
    }
    Ok(())
}

#[cfg(feature = "python")]
pub(crate) mod python {
    use crate::batch::python::PyBatch;
    use crate::decompress::decompress;
    use pyo3::prelude::*;

    #[pyfunction]
    #[pyo3(signature = (body, *, precision_ns, now_ns, encoding = "identity", size_bytes_max = usize::MAX >> 1))]
    fn decode_line_protocol(
        py: Python<'_>,
        body: &[u8],
        precision_ns: i64,
        now_ns: i64,
        encoding: &str,
        size_bytes_max: usize,
    ) -> PyResult<PyBatch> {
        let batch = py.detach(|| {
            let plain = decompress(encoding, body, size_bytes_max)?;
            super::decode(plain, precision_ns, now_ns)
        })?;
        Ok(PyBatch(batch))
    }

    pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
        module.add_function(wrap_pyfunction!(decode_line_protocol, module)?)
    }
}

#[cfg(test)]
mod tests;
