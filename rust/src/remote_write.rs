//! Prometheus remote write 1.0 (`prometheus.WriteRequest`) and 2.0
//! (`io.prometheus.write.v2.Request`): protobuf in, a batch out.
//!
//! The message is walked by hand: a series costs no allocation. The raw key of a series is the
//! stretch of its message that holds labels; it is parsed once a series, in `canonicalise`. Broken
//! protobuf refuses the whole body; what cannot be stored is refused by series or sample and named.
//! Start times are read past: no page keeps them yet. Exemplars are refused.

use crate::batch::{Batch, Key, MetadataRow, Wire, assemble, quoted, reject};
use crate::error::{CoreError, Result};
use crate::histogram;
use crate::key_hash::KeyHasher;
use crate::protobuf::{Message, Span, Value, broken, expect_bytes, expect_varint, mistyped};
use crate::remote_histogram;
use crate::sample::Kind;
use std::borrow::Cow;

const NANOSECONDS_PER_MILLISECOND: i64 = 1_000_000;
const NAME_LABEL: &[u8] = b"__name__";

/// `MetricType` of both versions, in Prometheus' words.
const METRIC_TYPES: [&str; 8] = [
    "unknown",
    "counter",
    "gauge",
    "histogram",
    "gaugehistogram",
    "summary",
    "info",
    "stateset",
];

/// Field numbers and wire types as senders write them.
const LABEL_TAG: u8 = 1 << 3 | 2;
const SAMPLE_TAG: u8 = 2 << 3 | 2;
const VALUE_TAG: u8 = 1 << 3 | 1;
const TIME_TAG: u8 = 2 << 3;
/// A sample's value and the tags around it.
const PLAIN_SAMPLE_BYTES: usize = 10;
/// Times in milliseconds of this and the next centuries take six bytes.
const VARINT_BYTES_SHORT_MAX: usize = 8;

/// Decodes a `prometheus.WriteRequest`.
pub fn decode_1(body: Vec<u8>) -> Result<Batch> {
    let mut batch = Batch::over(body, Wire::RemoteWrite1, canonicalise_1)?;
    let mut body = std::mem::take(&mut batch.body);
    let mut decoder = Decoder::new(&mut batch, &body, Symbols::default());
    let mut message = Message::new(&body, (0, body.len() as u32));
    while let Some((number, value)) = message.next_field()? {
        match number {
            1 => decoder.series(expect_bytes(&value, message.at, "timeseries")?)?,
            3 => {
                let row = metadata_row(&body, expect_bytes(&value, message.at, "metadata")?)?;
                decoder.batch.metadata.push(row);
            }
            4 | 5 => {
                return Err(broken(
                    message.at,
                    "this is an io.prometheus.write.v2.Request, not a prometheus.WriteRequest",
                ));
            }
            _ => {}
        }
    }
    let (_, payloads) = decoder.finish()?;
    body.extend_from_slice(&payloads);
    batch.body = body;
    Ok(batch)
}

/// Decodes an `io.prometheus.write.v2.Request`.
pub fn decode_2(body: Vec<u8>) -> Result<Batch> {
    let mut batch = Batch::over(body, Wire::RemoteWrite2, canonicalise_2)?;
    let mut body = std::mem::take(&mut batch.body);
    let symbols = Symbols::read(&body)?;
    let mut decoder = Decoder::new(&mut batch, &body, symbols);
    let mut message = Message::new(&body, (0, body.len() as u32));
    while let Some((number, value)) = message.next_field()? {
        match number {
            5 => decoder.series(expect_bytes(&value, message.at, "timeseries")?)?,
            1..=3 => {
                return Err(broken(
                    message.at,
                    "this is a prometheus.WriteRequest, not an io.prometheus.write.v2.Request",
                ));
            }
            _ => {}
        }
    }
    let (symbols, payloads) = decoder.finish()?;
    body.extend_from_slice(&payloads);
    batch.symbols = symbols.spans;
    batch.body = body;
    Ok(batch)
}

/// More symbols than this in one request are refused: each costs memory beside the body.
const SYMBOLS_MAX: usize = 1 << 20;
/// Payloads of histograms in one request; with its body they fit the 32 bits of a place.
const PAYLOAD_BYTES_MAX: usize = 1 << 30;

/// The strings of a 2.0 request, which everything in it refers to by number.
#[derive(Default)]
struct Symbols {
    spans: Vec<Span>,
    hashes: Vec<u128>,
    /// Which of them is `__name__`.
    name: Option<u64>,
    /// Metadata last described under the metric name a symbol holds.
    described: Vec<Option<MetadataRefs>>,
}

impl Symbols {
    /// Read ahead of the series, as protobuf promises no order.
    fn read(body: &[u8]) -> Result<Self> {
        let hasher = KeyHasher::of_process();
        let mut symbols = Self::default();
        let mut message = Message::new(body, (0, body.len() as u32));
        while let Some((number, value)) = message.next_field()? {
            if number != 4 {
                continue;
            }
            let span = expect_bytes(&value, message.at, "symbols")?;
            if symbols.spans.len() >= SYMBOLS_MAX {
                return Err(CoreError::Invalid(format!(
                    "cannot decode a remote-write body: more than symbols_max {SYMBOLS_MAX}"
                )));
            }
            let bytes = &body[span.0 as usize..span.1 as usize];
            if bytes == NAME_LABEL {
                symbols.name = symbols.name.or(Some(symbols.spans.len() as u64));
            }
            symbols.spans.push(span);
            symbols.hashes.push(hasher.hash(bytes));
        }
        symbols.described.resize(symbols.spans.len(), None);
        Ok(symbols)
    }

    fn text<'a>(&self, body: &'a [u8], reference: u64) -> Option<Cow<'a, str>> {
        let span = self.spans.get(reference as usize)?;
        Some(String::from_utf8_lossy(
            &body[span.0 as usize..span.1 as usize],
        ))
    }
}

/// How many of what this store does not keep a request held, and where the first stood.
#[derive(Default)]
struct Unkept {
    count: u64,
    first_line: u32,
}

impl Unkept {
    fn add(&mut self, line: u32) {
        if self.count == 0 {
            self.first_line = line;
        }
        self.count += 1;
    }

    fn refuse(&self, what: &str, batch: &mut Batch) -> Result<()> {
        if self.count == 0 {
            return Ok(());
        }
        let reason = format!(
            "cannot store {} {what} (the first in series {} of the request): not supported yet",
            self.count, self.first_line
        );
        reject(&mut batch.rejected, self.first_line, reason)
    }
}

/// Metadata of a 2.0 series: type, and the symbols with help and unit.
type MetadataRefs = (u64, u64, u64);

/// Where the labels of a series stand.
#[derive(Clone, Copy, Default)]
struct Labels {
    span: Span,
    /// Other fields stand between them.
    scattered: bool,
}

struct Decoder<'a> {
    batch: &'a mut Batch,
    body: &'a [u8],
    hasher: &'static KeyHasher,
    symbols: Symbols,
    is_version_2: bool,
    /// 1-based position of the series being read.
    line: u32,
    exemplars: Unkept,
    /// Histograms as they are persisted, to stand behind the body.
    payloads: Vec<u8>,
    /// Scattered labels, copied together.
    gathered: Vec<u8>,
}

/// What a series with one sample takes on the wire where labels are few.
const SERIES_BYTES_ABOUT: usize = 64;

impl<'a> Decoder<'a> {
    fn new(batch: &'a mut Batch, body: &'a [u8], symbols: Symbols) -> Self {
        let about = body.len() / SERIES_BYTES_ABOUT;
        batch.keys.reserve(about);
        batch.times_ns.reserve(about);
        batch.values.reserve(about);
        Self {
            is_version_2: batch.wire == Wire::RemoteWrite2,
            batch,
            body,
            hasher: KeyHasher::of_process(),
            symbols,
            line: 0,
            exemplars: Unkept::default(),
            payloads: Vec::new(),
            gathered: Vec::new(),
        }
    }

    /// Reads one `TimeSeries`; 1.0 and 2.0 agree in its first two fields.
    #[inline]
    fn series(&mut self, span: Span) -> Result<()> {
        self.line = self.line.saturating_add(1);
        let sample_start = self.batch.times_ns.len();
        let mut labels: Option<Labels> = None;
        let mut metadata = None;
        let mut message = Message::new(self.body, span);
        while message.at < message.body.len() {
            let from = message.at;
            if !self.is_version_2 {
                message.at = short_labels_end(message.body, from);
                if message.at > from {
                    labels = Some(stretched(labels, (from as u32, message.at as u32)));
                    continue;
                }
            }
            if let Some((bits, time_ms, end)) = plain_sample(self.body, from)
                && end <= message.body.len()
            {
                message.at = end;
                self.push(bits, time_ms)?;
                continue;
            }
            let Some((number, value)) = message.next_field()? else {
                break;
            };
            match number {
                1 => {
                    if !(self.is_version_2 && matches!(value, Value::Varint(_))) {
                        expect_bytes(&value, message.at, "labels")?;
                    }
                    labels = Some(stretched(labels, (from as u32, message.at as u32)));
                }
                2 => self.sample(expect_bytes(&value, message.at, "sample")?)?,
                3 | 4 => {
                    let span = expect_bytes(&value, message.at, "exemplar or histogram")?;
                    if (number == 3) == self.is_version_2 {
                        self.histogram(span)?;
                    } else {
                        self.exemplars.add(self.line);
                    }
                }
                5 if self.is_version_2 => {
                    let span = expect_bytes(&value, message.at, "metadata")?;
                    metadata = metadata_refs(self.body, span)?;
                }
                _ => {}
            }
        }
        self.key(labels.unwrap_or_default(), sample_start, metadata)
    }

    #[inline]
    fn key(
        &mut self,
        labels: Labels,
        sample_start: usize,
        metadata: Option<MetadataRefs>,
    ) -> Result<()> {
        let has_samples = self.batch.times_ns.len() > sample_start;
        if !has_samples && metadata.is_none() {
            return Ok(());
        }
        let hash = if self.is_version_2 {
            self.hash_refs(labels, metadata)?
        } else {
            Some(self.hash_labels(labels)?)
        };
        let Some(hash) = hash else {
            self.batch.times_ns.truncate(sample_start);
            self.batch.values.truncate(sample_start);
            self.batch.kinds.truncate(sample_start);
            return Ok(());
        };
        if has_samples {
            self.batch.keys.push(Key {
                hash,
                span: labels.span,
                field: (0, 0),
                line: self.line,
                sample_end: self.batch.times_ns.len() as u32,
            });
        }
        Ok(())
    }

    #[inline]
    fn hash_labels(&mut self, labels: Labels) -> Result<u128> {
        if !labels.scattered {
            let bytes = &self.body[labels.span.0 as usize..labels.span.1 as usize];
            return Ok(self.hasher.hash(bytes));
        }
        self.gathered.clear();
        let mut message = Message::new(self.body, labels.span);
        loop {
            let from = message.at;
            match message.next_field()? {
                None => return Ok(self.hasher.hash(&self.gathered)),
                Some((1, _)) => self
                    .gathered
                    .extend_from_slice(&self.body[from..message.at]),
                Some(_) => {}
            }
        }
    }

    /// Hashes what the references of a series stand for; gives none where it refused the series.
    #[inline]
    fn hash_refs(
        &mut self,
        labels: Labels,
        metadata: Option<MetadataRefs>,
    ) -> Result<Option<u128>> {
        let (hash, name) = match self.hash_packed(labels) {
            Some(found) => found,
            None => match self.hash_walked(labels)? {
                Some(found) => found,
                None => return Ok(None),
            },
        };
        if let (Some(name), Some(metadata)) = (name, metadata) {
            self.describe(name, metadata)?;
        }
        Ok(Some(hash))
    }

    /// The hash, and the symbol with the series' name, where all references are packed in one
    /// field, short and good; none sends to the general walk, which says what is wrong.
    fn hash_packed(&self, labels: Labels) -> Option<(u128, Option<u64>)> {
        let field = self
            .body
            .get(labels.span.0 as usize..labels.span.1 as usize)?;
        let (&[LABEL_TAG, length @ ..0x80], mut packed) = field.split_first_chunk()? else {
            return None;
        };
        if packed.len() != usize::from(length) {
            return None;
        }
        let hashes = self.symbols.hashes.as_slice();
        let (hasher, name_symbol) = (self.hasher, self.symbols.name);
        // Two chains, so that the processor need not wait for one product before the next.
        let (mut names_hash, mut values_hash) = (1, 1);
        let mut name = None;
        while !packed.is_empty() {
            let key = short_reference(&mut packed)?;
            let value = short_reference(&mut packed)?;
            names_hash = hasher.fold(names_hash, *hashes.get(key as usize)?);
            values_hash = hasher.fold(values_hash, *hashes.get(value as usize)?);
            if name_symbol == Some(key) {
                name = Some(value);
            }
        }
        Some((hasher.fold(names_hash, values_hash), name))
    }

    #[cold]
    fn hash_walked(&mut self, labels: Labels) -> Result<Option<(u128, Option<u64>)>> {
        let (mut names_hash, mut values_hash) = (1, 1);
        let mut refs = References::new(self.body, labels.span);
        let mut name = None;
        while let Some(key) = refs.next()? {
            let Some(value) = refs.next()? else {
                return self.refuse_series("it has an odd number of label references");
            };
            let hashes = &self.symbols.hashes;
            let (Some(&key_hash), Some(&value_hash)) =
                (hashes.get(key as usize), hashes.get(value as usize))
            else {
                return self.refuse_reference(key.max(value));
            };
            names_hash = self.hasher.fold(names_hash, key_hash);
            values_hash = self.hasher.fold(values_hash, value_hash);
            if self.symbols.name == Some(key) {
                name = Some(value);
            }
        }
        Ok(Some((self.hasher.fold(names_hash, values_hash), name)))
    }

    /// Keeps metadata of a metric, once where series after series repeats it.
    fn describe(&mut self, name: u64, metadata: MetadataRefs) -> Result<()> {
        let described = &mut self.symbols.described[name as usize];
        if *described == Some(metadata) {
            return Ok(());
        }
        *described = Some(metadata);
        let (kind, help, unit) = metadata;
        let text = |reference| self.symbols.text(self.body, reference);
        let (Some(name), Some(help), Some(unit)) = (text(name), text(help), text(unit)) else {
            self.refuse_series::<()>("its metadata refers to symbols that are not there")?;
            return Ok(());
        };
        let kind = metric_type(kind);
        let row = MetadataRow {
            name: family(&name, kind).to_owned(),
            kind: kind.to_owned(),
            help: help.into_owned(),
            unit: unit.into_owned(),
        };
        if self.batch.metadata.last() != Some(&row) {
            self.batch.metadata.push(row);
        }
        Ok(())
    }

    #[inline]
    fn sample(&mut self, span: Span) -> Result<()> {
        let mut message = Message::new(self.body, span);
        let (mut bits, mut time_ms) = (0, 0);
        while let Some((number, value)) = message.next_field()? {
            match (number, value) {
                (1, Value::Fixed64(number)) => bits = number,
                (2, Value::Varint(number)) => time_ms = number as i64,
                (1 | 2, _) => return Err(mistyped(message.at, "a sample's value or timestamp")),
                _ => {}
            }
        }
        self.push(bits, time_ms)
    }

    #[inline]
    fn push(&mut self, bits: u64, time_ms: i64) -> Result<()> {
        let Some(time_ns) = time_ms.checked_mul(NANOSECONDS_PER_MILLISECOND) else {
            let reason = format!(
                "cannot store a sample of series {} of the request: timestamp {time_ms} ms does \
                 not fit 64 bits of nanoseconds",
                self.line
            );
            return reject(&mut self.batch.rejected, self.line, reason);
        };
        self.batch.times_ns.push(time_ns);
        self.batch.values.push(bits);
        Ok(())
    }

    /// Keeps a histogram as a payload; the kinds of what came before it are filled in here, so that
    /// requests without histograms pay nothing.
    #[cold]
    fn histogram(&mut self, span: Span) -> Result<()> {
        let (histogram, time_ms) = remote_histogram::read(self.body, span)?;
        if let Err(error) = histogram.check() {
            let line = self.line;
            let reason =
                format!("cannot store a histogram of series {line} of the request: {error}");
            return reject(&mut self.batch.rejected, line, reason);
        }
        let (start, count) = (self.payloads.len(), self.batch.times_ns.len());
        histogram::encode(&histogram, &mut self.payloads);
        if self.payloads.len() > PAYLOAD_BYTES_MAX {
            let cause = "its histograms take more than payload_bytes_max";
            return Err(broken(span.0 as usize, cause));
        }
        let place = (self.body.len() + start) as u64;
        self.push(place << 32 | (self.payloads.len() - start) as u64, time_ms)?;
        if self.batch.times_ns.len() > count {
            self.batch.kinds.resize(count, Kind::Float64);
            self.batch.kinds.push(Kind::Histogram);
        }
        Ok(())
    }

    #[cold]
    fn refuse_reference<T>(&mut self, reference: u64) -> Result<Option<T>> {
        let count = self.symbols.spans.len();
        self.refuse_series(&format!(
            "label reference {reference} is outside its {count} symbols"
        ))
    }

    #[cold]
    fn refuse_series<T>(&mut self, cause: &str) -> Result<Option<T>> {
        let reason = format!("cannot store series {} of the request: {cause}", self.line);
        reject(&mut self.batch.rejected, self.line, reason)?;
        Ok(None)
    }

    /// The symbols, and the payloads that follow the body.
    fn finish(self) -> Result<(Symbols, Vec<u8>)> {
        self.exemplars.refuse("exemplars", self.batch)?;
        let count = self.batch.times_ns.len();
        self.batch.kinds.resize(count, Kind::Float64);
        Ok((self.symbols, self.payloads))
    }
}

/// Walks 1.0 labels shorter than 128 bytes, which nearly all are, as far as they follow each other;
/// `body` ends with the series.
#[inline]
fn short_labels_end(body: &[u8], mut at: usize) -> usize {
    while let Some([LABEL_TAG, length]) = body.get(at..at + 2) {
        let end = at + 2 + *length as usize;
        if *length >= 0x80 || end > body.len() {
            break;
        }
        at = end;
    }
    at
}

/// Reads a sample that is written as senders write it, a value and then a time; gives the place
/// behind it, which may lie behind the series. None where it is not: the general walk looks closer.
#[inline]
fn plain_sample(body: &[u8], at: usize) -> Option<(u64, i64, usize)> {
    let (&[SAMPLE_TAG, length, VALUE_TAG], rest) = body.get(at..)?.split_first_chunk()? else {
        return None;
    };
    let (value, rest) = rest.split_first_chunk::<8>()?;
    let (&TIME_TAG, rest) = rest.split_first()? else {
        return None;
    };
    let (time_ms, time_bytes) = short_varint(rest)?;
    let size = PLAIN_SAMPLE_BYTES + time_bytes;
    let fits = usize::from(length) == size;
    fits.then_some((u64::from_le_bytes(*value), time_ms as i64, at + 2 + size))
}

/// A varint of at most eight bytes, and how many it has. Where eight are there to look at, its
/// groups of seven bits are brought together pairwise, without a branch for each byte.
#[inline]
fn short_varint(bytes: &[u8]) -> Option<(u64, usize)> {
    let word = bytes.first_chunk().copied().unwrap_or_else(|| {
        let mut word = [0x80; VARINT_BYTES_SHORT_MAX];
        word[..bytes.len()].copy_from_slice(bytes);
        word
    });
    let word = u64::from_le_bytes(word);
    let ends = !word & 0x8080_8080_8080_8080;
    if ends == 0 {
        return None;
    }
    // All bits up to the highest of the byte that ends it.
    let own = word & (ends ^ ends.wrapping_sub(1));
    let pairs = own & 0x007f_007f_007f_007f | (own & 0x7f00_7f00_7f00_7f00) >> 1;
    let fours = pairs & 0x0000_3fff_0000_3fff | (pairs & 0x3fff_0000_3fff_0000) >> 2;
    let number = fours & 0x0fff_ffff | (fours & 0x0fff_ffff_0000_0000) >> 4;
    Some((number, ends.trailing_zeros() as usize / 8 + 1))
}

#[inline]
fn stretched(labels: Option<Labels>, next: Span) -> Labels {
    match labels {
        None => Labels {
            span: next,
            scattered: false,
        },
        Some(labels) => Labels {
            span: (labels.span.0, next.1),
            scattered: labels.scattered || labels.span.1 != next.0,
        },
    }
}

/// Takes a reference off; one and two bytes cover requests of up to 16,384 symbols.
#[inline]
fn short_reference(packed: &mut &[u8]) -> Option<u64> {
    match **packed {
        [byte @ ..0x80, ref rest @ ..] => {
            *packed = rest;
            Some(u64::from(byte))
        }
        [low, high @ ..0x80, ref rest @ ..] => {
            *packed = rest;
            Some(u64::from(low & 0x7f) | u64::from(high) << 7)
        }
        _ => None,
    }
}

/// Walks label references, packed or not, in the fields numbered 1 of a stretch of a series.
struct References<'a> {
    fields: Message<'a>,
    packed: Message<'a>,
}

impl<'a> References<'a> {
    fn new(body: &'a [u8], span: Span) -> Self {
        Self {
            fields: Message::new(body, span),
            packed: Message::new(body, (0, 0)),
        }
    }

    fn next(&mut self) -> Result<Option<u64>> {
        loop {
            if self.packed.at < self.packed.body.len() {
                return self.packed.varint().map(Some);
            }
            match self.fields.next_field()? {
                None => return Ok(None),
                Some((1, Value::Varint(reference))) => return Ok(Some(reference)),
                Some((1, Value::Bytes(span))) => {
                    self.packed = Message::new(self.fields.body, span);
                }
                Some(_) => {}
            }
        }
    }
}

/// None where nothing is told.
fn metadata_refs(body: &[u8], span: Span) -> Result<Option<MetadataRefs>> {
    let mut message = Message::new(body, span);
    let mut refs = (0, 0, 0);
    while let Some((number, value)) = message.next_field()? {
        match number {
            1 => refs.0 = expect_varint(&value, message.at, "a metric's type")?,
            3 => refs.1 = expect_varint(&value, message.at, "a metric's help")?,
            4 => refs.2 = expect_varint(&value, message.at, "a metric's unit")?,
            _ => {}
        }
    }
    Ok((refs != (0, 0, 0)).then_some(refs))
}

/// A `MetricMetadata` of 1.0.
fn metadata_row(body: &[u8], span: Span) -> Result<MetadataRow> {
    let mut message = Message::new(body, span);
    let mut kind = 0;
    let mut texts = [Cow::Borrowed(""), Cow::Borrowed(""), Cow::Borrowed("")];
    while let Some((number, value)) = message.next_field()? {
        let slot = match number {
            1 => {
                kind = expect_varint(&value, message.at, "a metric's type")?;
                continue;
            }
            2 => 0,
            4 => 1,
            5 => 2,
            _ => continue,
        };
        let span = expect_bytes(&value, message.at, "a metric's metadata")?;
        texts[slot] = String::from_utf8_lossy(&body[span.0 as usize..span.1 as usize]);
    }
    let [name, help, unit] = texts.map(Cow::into_owned);
    Ok(MetadataRow {
        name,
        kind: metric_type(kind).to_owned(),
        help,
        unit,
    })
}

/// Types added later are unknown here.
fn metric_type(number: u64) -> &'static str {
    METRIC_TYPES.get(number as usize).unwrap_or(&"unknown")
}

/// The family that metadata belongs to: 2.0 repeats it with every series of the family.
fn family<'a>(name: &'a str, kind: &str) -> &'a str {
    let suffixes: &[&str] = match kind {
        "histogram" => &["_bucket", "_sum", "_count"],
        "gaugehistogram" => &["_bucket", "_gsum", "_gcount"],
        "summary" => &["_sum", "_count"],
        _ => &[],
    };
    suffixes
        .iter()
        .find_map(|suffix| name.strip_suffix(suffix))
        .filter(|family| !family.is_empty())
        .unwrap_or(name)
}

fn canonicalise_1(
    batch: &Batch,
    key: usize,
    defaults: &[(String, String)],
    forced: &[(String, String)],
) -> Result<Vec<u8>> {
    let mut pairs = Vec::new();
    let mut message = Message::new(&batch.body, batch.keys[key].span);
    while let Some((number, value)) = message.next_field()? {
        if number == 1 {
            let span = expect_bytes(&value, message.at, "labels")?;
            pairs.push(label_pair(&batch.body, span)?);
        }
    }
    named(batch, key, &pairs, defaults, forced)
}

fn label_pair(body: &[u8], span: Span) -> Result<(Span, Span)> {
    let mut message = Message::new(body, span);
    let mut pair = ((0, 0), (0, 0));
    while let Some((number, value)) = message.next_field()? {
        match number {
            1 => pair.0 = expect_bytes(&value, message.at, "a label's name")?,
            2 => pair.1 = expect_bytes(&value, message.at, "a label's value")?,
            _ => {}
        }
    }
    Ok(pair)
}

fn canonicalise_2(
    batch: &Batch,
    key: usize,
    defaults: &[(String, String)],
    forced: &[(String, String)],
) -> Result<Vec<u8>> {
    let mut spans = Vec::new();
    let mut references = References::new(&batch.body, batch.keys[key].span);
    while let Some(reference) = references.next()? {
        let Some(span) = batch.symbols.get(reference as usize) else {
            return Err(CoreError::Invalid(format!(
                "cannot store a series: label reference {reference} is outside its symbols"
            )));
        };
        spans.push(*span);
    }
    let pairs: Vec<(Span, Span)> = spans.chunks_exact(2).map(|two| (two[0], two[1])).collect();
    named(batch, key, &pairs, defaults, forced)
}

/// Takes the name from the labels; what is wrong names the series as far as it can be named.
fn named(
    batch: &Batch,
    key: usize,
    pairs: &[(Span, Span)],
    defaults: &[(String, String)],
    forced: &[(String, String)],
) -> Result<Vec<u8>> {
    let mut names = pairs
        .iter()
        .filter(|(name, _)| batch.bytes(*name) == NAME_LABEL);
    let name = names
        .next()
        .map_or(&b""[..], |(_, value)| batch.bytes(*value));
    let refused = |cause: &dyn std::fmt::Display| {
        let line = batch.keys[key].line;
        let name = quoted(name);
        CoreError::Invalid(format!(
            "cannot store series {line} of the request {name:?}: {cause}"
        ))
    };
    if name.is_empty() {
        return Err(refused(&"it has no label __name__"));
    }
    if names.next().is_some() {
        return Err(refused(&"label \"__name__\" is given twice"));
    }
    let mut labels = Vec::with_capacity(pairs.len());
    for (label, value) in pairs {
        if batch.bytes(*label) != NAME_LABEL {
            let label = std::str::from_utf8(batch.bytes(*label));
            let value = std::str::from_utf8(batch.bytes(*value));
            let (Ok(label), Ok(value)) = (label, value) else {
                return Err(refused(&"a label is not valid UTF-8"));
            };
            labels.push((Cow::Borrowed(label), Cow::Borrowed(value)));
        }
    }
    let name = std::str::from_utf8(name).map_err(|_| refused(&"its name is not valid UTF-8"))?;
    assemble(name, "", &labels, defaults, forced).map_err(|error| refused(&error))
}

#[cfg(feature = "python")]
pub(crate) mod python {
    use crate::batch::python::PyBatch;
    use crate::decompress::decompress;
    use pyo3::prelude::*;

    #[pyfunction]
    #[pyo3(signature = (body, *, encoding = "identity", size_bytes_max = usize::MAX >> 1))]
    fn decode_remote_write_1(
        py: Python<'_>,
        body: &[u8],
        encoding: &str,
        size_bytes_max: usize,
    ) -> PyResult<PyBatch> {
        let batch = py.detach(|| super::decode_1(decompress(encoding, body, size_bytes_max)?))?;
        Ok(PyBatch(batch))
    }

    #[pyfunction]
    #[pyo3(signature = (body, *, encoding = "identity", size_bytes_max = usize::MAX >> 1))]
    fn decode_remote_write_2(
        py: Python<'_>,
        body: &[u8],
        encoding: &str,
        size_bytes_max: usize,
    ) -> PyResult<PyBatch> {
        let batch = py.detach(|| super::decode_2(decompress(encoding, body, size_bytes_max)?))?;
        Ok(PyBatch(batch))
    }

    pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
        module.add_function(wrap_pyfunction!(decode_remote_write_1, module)?)?;
        module.add_function(wrap_pyfunction!(decode_remote_write_2, module)?)
    }
}

#[cfg(test)]
mod tests;
