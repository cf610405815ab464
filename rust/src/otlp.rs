//! OTLP metrics (`opentelemetry.proto.collector.metrics.v1.ExportMetricsServiceRequest`): protobuf
//! in, a batch out. The JSON form becomes protobuf first (`otlp_json`).
//!
//! A point costs one hash: of its attributes as they stand in the body, folded into that of its
//! resource, scope and metric. Names and labels are made once a series (`otlp_series`). A histogram
//! or summary becomes several keys, each a part of its point. Broken protobuf refuses the whole
//! body; what cannot be stored is refused point by point and named, a metric's points together
//! where the metric is the reason.

use crate::batch::{Batch, Key, MetadataRow, REJECTED_LISTED_MAX, Rejection, Wire, quoted};
use crate::error::Result;
use crate::key_hash::KeyHasher;
use crate::otlp_names::{Suffix, Translation, metric_name};
use crate::otlp_series::{Resource, canonicalise};
use crate::protobuf::{
    Message, Span, Stretch, Value, broken, expect_bytes, expect_varint, mistyped,
};
use crate::sample::{Kind, STALE_NAN_BITS};
use hashbrown::HashSet;
use std::collections::BTreeSet;
use std::sync::Arc;

/// `DataPointFlags`: the series has ended.
const NO_RECORDED_VALUE: u64 = 1;
/// `AggregationTemporality`.
const DELTA: u64 = 1;
const CUMULATIVE: u64 = 2;
/// Field numbers and wire types of a number point, as senders write them.
const START_TIME_TAG: u8 = 2 << 3 | 1;
const TIME_TAG: u8 = 3 << 3 | 1;
const AS_DOUBLE_TAG: u8 = 4 << 3 | 1;
const AS_INT_TAG: u8 = 6 << 3 | 1;
const ATTRIBUTE_TAG: u8 = 7 << 3 | 2;
/// Labels of all the series that one histogram or summary point becomes.
pub const POINT_LABELS_MAX: usize = 1 << 16;

/// How metrics become series; the settings of Prometheus' `otlp` section.
#[derive(Debug, Clone, Default)]
pub struct Options {
    pub translation: Translation,
    /// Resource attributes that become labels of every series.
    pub promoted: BTreeSet<String>,
    /// All do but those in `promoted`.
    pub promotes_all_others: bool,
    /// `target_info` repeats what `job` and `instance` are made of.
    pub keeps_identifying: bool,
    pub has_scope_labels: bool,
}

impl Options {
    pub fn promotes(&self, attribute: &str) -> bool {
        self.promoted.contains(attribute) != self.promotes_all_others
    }

    /// Equal options give equal series to equal keys.
    fn hash(&self, hasher: &KeyHasher) -> u128 {
        let flags = [
            self.translation as u8,
            u8::from(self.promotes_all_others),
            u8::from(self.keeps_identifying),
            u8::from(self.has_scope_labels),
        ];
        let start = hasher.hash(&flags);
        self.promoted.iter().fold(start, |hash, name| {
            hasher.fold(hash, hasher.hash(name.as_bytes()))
        })
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MetricKind {
    Gauge,
    /// A sum that may fall.
    UpDown,
    Counter,
    Histogram,
    Summary,
    TargetInfo,
}

impl MetricKind {
    /// In Prometheus' words.
    fn type_name(self) -> &'static str {
        match self {
            Self::Gauge | Self::UpDown => "gauge",
            Self::Counter => "counter",
            Self::Histogram => "histogram",
            Self::Summary => "summary",
            Self::TargetInfo => "info",
        }
    }

    pub fn suffix(self) -> Suffix {
        match self {
            Self::Gauge => Suffix::Ratio,
            Self::Counter => Suffix::Total,
            _ => Suffix::None,
        }
    }

    /// The number of `attributes` in its points.
    pub fn attributes_field(self) -> u64 {
        match self {
            Self::Histogram => 9,
            Self::TargetInfo => 1,
            _ => 7,
        }
    }
}

/// Where a metric came from and what it is called; its keys refer to it.
#[derive(Debug)]
pub struct Metric {
    pub kind: MetricKind,
    pub resource: u32,
    pub scope: Scope,
    pub name: Span,
    pub unit: Span,
}

#[derive(Debug, Clone, Copy, Default)]
pub struct Scope {
    pub span: Span,
    pub schema_url: Span,
}

/// What the keys of a batch refer to.
#[derive(Debug)]
pub struct Origins {
    pub options: Arc<Options>,
    pub resources: Vec<Resource>,
    pub metrics: Vec<Metric>,
}

impl Origins {
    pub fn memory_bytes(&self) -> usize {
        let resources: usize = self.resources.iter().map(Resource::memory_bytes).sum();
        resources + size_of_val(&self.metrics[..])
    }
}

/// Which of its point's series a key is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    Value,
    Sum,
    Count,
    /// The bucket without a bound.
    Infinite,
    /// The quantile 0, which protobuf leaves out.
    Lowest,
    /// The bucket or quantile whose bound stands at this place of the body.
    At(u32),
}

impl Part {
    pub fn number(self) -> u32 {
        match self {
            Self::Value => 0,
            Self::Sum => 1,
            Self::Count => 2,
            Self::Infinite => 3,
            Self::Lowest => 4,
            Self::At(place) => 5 + place,
        }
    }

    pub fn of_number(number: u32) -> Self {
        match number {
            0 => Self::Value,
            1 => Self::Sum,
            2 => Self::Count,
            3 => Self::Infinite,
            4 => Self::Lowest,
            place => Self::At(place - 5),
        }
    }
}

/// Decodes an `ExportMetricsServiceRequest`.
pub fn decode(body: Vec<u8>, options: &Arc<Options>) -> Result<Batch> {
    let mut batch = Batch::over(body, Wire::Otlp, canonicalise)?;
    let body = std::mem::take(&mut batch.body);
    let mut decoder = Decoder::new(&mut batch, &body, options);
    let mut message = Message::new(&body, (0, body.len() as u32));
    while let Some((number, value)) = message.next_field()? {
        if number == 1 {
            decoder.resource_metrics(expect_bytes(&value, message.at, "resource_metrics")?)?;
        }
    }
    let origins = decoder.finish();
    batch.origins = Some(Box::new(origins));
    batch.body = body;
    Ok(batch)
}

/// A point on its way into the batch.
struct Point {
    /// Of its metric and attributes.
    hash: u128,
    attributes: Span,
    time_ns: i64,
    is_stale: bool,
}

/// The fields that all kinds of points have.
#[derive(Default)]
struct PointFields {
    attributes: Stretch,
    attribute_count: usize,
    time_unix_nano: u64,
    flags: u64,
    exemplar_count: u64,
}

struct Decoder<'a> {
    batch: &'a mut Batch,
    body: &'a [u8],
    hasher: &'static KeyHasher,
    options_hash: u128,
    origins: Origins,
    /// 1-based position of the point being read.
    line: u32,
    /// Of the resource, its scope and the metric being read.
    hash: u128,
    /// The latest time of the resource's points.
    latest_ns: Option<i64>,
    exemplar_count: u64,
    exemplar_line: u32,
    /// Metrics whose metadata the batch holds.
    described: HashSet<u128>,
    bounds: Vec<u32>,
    counts: Vec<u64>,
    gathered: Vec<u8>,
}

/// What a number point takes on the wire where attributes are few.
const POINT_BYTES_ABOUT: usize = 64;

impl<'a> Decoder<'a> {
    fn new(batch: &'a mut Batch, body: &'a [u8], options: &Arc<Options>) -> Self {
        let about = body.len() / POINT_BYTES_ABOUT;
        batch.keys.reserve(about);
        batch.times_ns.reserve(about);
        batch.values.reserve(about);
        batch.kinds.reserve(about);
        let hasher = KeyHasher::of_process();
        Self {
            batch,
            body,
            hasher,
            options_hash: options.hash(hasher),
            origins: Origins {
                options: options.clone(),
                resources: Vec::new(),
                metrics: Vec::new(),
            },
            line: 0,
            hash: 0,
            latest_ns: None,
            exemplar_count: 0,
            exemplar_line: 0,
            described: HashSet::new(),
            bounds: Vec::new(),
            counts: Vec::new(),
            gathered: Vec::new(),
        }
    }

    fn bytes(&self, span: Span) -> &'a [u8] {
        &self.body[span.0 as usize..span.1 as usize]
    }

    fn resource_metrics(&mut self, span: Span) -> Result<()> {
        let resource = self.only(span, 1, "resource")?;
        let found = Resource::read(self.body, resource, &self.origins.options)?;
        self.origins.resources.push(found);
        let hash = self.hasher.hash(self.bytes(resource));
        let hash = self.hasher.fold(self.options_hash, hash);
        self.latest_ns = None;
        let key_start = self.batch.keys.len();
        let mut message = Message::new(self.body, span);
        while let Some((number, value)) = message.next_field()? {
            match number {
                2 => {
                    let span = expect_bytes(&value, message.at, "scope_metrics")?;
                    self.scope_metrics(span, hash)?;
                }
                1000 => {
                    return Err(broken(
                        message.at,
                        "instrumentation_library_metrics, as OTLP before 0.15 had them, are not \
                         supported",
                    ));
                }
                _ => {}
            }
        }
        if self.batch.keys.len() == key_start {
            self.origins.resources.pop();
        } else {
            self.target_info(hash);
        }
        Ok(())
    }

    /// The message in field `field` of the one at `span`: an empty one where it is not there.
    fn only(&self, span: Span, field: u64, what: &str) -> Result<Span> {
        let mut message = Message::new(self.body, span);
        let mut found = None;
        while let Some((number, value)) = message.next_field()? {
            if number == field {
                let span = expect_bytes(&value, message.at, what)?;
                if found.replace(span).is_some() {
                    return Err(broken(message.at, &format!("{what} is given twice")));
                }
            }
        }
        Ok(found.unwrap_or_default())
    }

    fn scope_metrics(&mut self, span: Span, resource_hash: u128) -> Result<()> {
        let mut scope = Scope::default();
        let mut hash = resource_hash;
        if self.origins.options.has_scope_labels {
            scope.span = self.only(span, 1, "scope")?;
            scope.schema_url = self.only(span, 3, "schema_url")?;
            for span in [scope.span, scope.schema_url] {
                hash = self.hasher.fold(hash, self.hasher.hash(self.bytes(span)));
            }
        }
        let mut message = Message::new(self.body, span);
        while let Some((number, value)) = message.next_field()? {
            if number == 2 {
                let span = expect_bytes(&value, message.at, "metrics")?;
                self.metric(span, scope, hash)?;
            }
        }
        Ok(())
    }

    fn metric(&mut self, span: Span, scope: Scope, scope_hash: u128) -> Result<()> {
        let (mut name, mut description, mut unit) = ((0, 0), (0, 0), (0, 0));
        let mut data = None;
        let mut message = Message::new(self.body, span);
        while let Some((number, value)) = message.next_field()? {
            match number {
                1 => name = expect_bytes(&value, message.at, "a metric's name")?,
                2 => description = expect_bytes(&value, message.at, "a metric's description")?,
                3 => unit = expect_bytes(&value, message.at, "a metric's unit")?,
                5 | 7 | 9 | 10 | 11 => {
                    let span = expect_bytes(&value, message.at, "a metric's data")?;
                    if data.replace((number, span)).is_some() {
                        return Err(broken(message.at, "a metric's data are given twice"));
                    }
                }
                _ => {}
            }
        }
        let Some((number, data)) = data else {
            return Ok(());
        };
        let kind = match self.kind(number, data)? {
            Ok(kind) => kind,
            Err(cause) => return self.refuse_metric(name, data, &cause),
        };
        if std::str::from_utf8(self.bytes(name)).is_err() {
            return self.refuse_metric(name, data, "its name is not valid UTF-8");
        }
        if std::str::from_utf8(self.bytes(unit)).is_err() {
            return self.refuse_metric(name, data, "its unit is not valid UTF-8");
        }
        let mut hash = scope_hash;
        for span in [name, unit] {
            hash = self.hasher.fold(hash, self.hasher.hash(self.bytes(span)));
        }
        self.hash = self.hasher.fold(hash, self.hasher.hash(&[kind as u8]));
        self.origins.metrics.push(Metric {
            kind,
            resource: self.origins.resources.len() as u32 - 1,
            scope,
            name,
            unit,
        });
        let key_start = self.batch.keys.len();
        self.points(kind, data)?;
        if self.batch.keys.len() == key_start {
            self.origins.metrics.pop();
        } else {
            self.describe(kind, name, description, unit);
        }
        Ok(())
    }

    /// What a metric is, or why its points are refused.
    fn kind(&self, number: u64, data: Span) -> Result<std::result::Result<MetricKind, String>> {
        let (mut temporality, mut is_monotonic) = (0, 0);
        match number {
            5 => return Ok(Ok(MetricKind::Gauge)),
            11 => return Ok(Ok(MetricKind::Summary)),
            10 => {
                return Ok(Err("exponential histograms are not supported yet".into()));
            }
            _ => {}
        }
        let mut message = Message::new(self.body, data);
        while let Some((number, value)) = message.next_field()? {
            match number {
                2 => temporality = expect_varint(&value, message.at, "aggregation_temporality")?,
                3 => is_monotonic = expect_varint(&value, message.at, "is_monotonic")?,
                _ => {}
            }
        }
        Ok(match (number, temporality) {
            (_, DELTA) => Err(
                "its temporality is delta, which is not supported: have the sender export \
                 cumulative values"
                    .into(),
            ),
            (7, CUMULATIVE) if is_monotonic != 0 => Ok(MetricKind::Counter),
            (7, CUMULATIVE) => Ok(MetricKind::UpDown),
            (_, CUMULATIVE) => Ok(MetricKind::Histogram),
            _ => Err(format!("its temporality {temporality} is not specified")),
        })
    }

    fn points(&mut self, kind: MetricKind, data: Span) -> Result<()> {
        let mut message = Message::new(self.body, data);
        while let Some((number, value)) = message.next_field()? {
            if number != 1 {
                continue;
            }
            let span = expect_bytes(&value, message.at, "data_points")?;
            self.line = self.line.saturating_add(1);
            match kind {
                MetricKind::Histogram => self.histogram(span)?,
                MetricKind::Summary => self.summary(span)?,
                _ => self.number(span)?,
            }
        }
        Ok(())
    }

    #[inline]
    fn number(&mut self, span: Span) -> Result<()> {
        let mut fields = PointFields::default();
        let mut sample = None;
        let mut message = Message::new(self.body, span);
        loop {
            message.at = plain_fields_end(message.body, message.at, &mut fields, &mut sample);
            let from = message.at;
            let Some((number, value)) = message.next_field()? else {
                break;
            };
            match (number, value) {
                (7, Value::Bytes(_)) => fields.attribute(from, message.at),
                (3, Value::Fixed64(bits)) => fields.time_unix_nano = bits,
                (4, Value::Fixed64(bits)) => sample = Some((bits, Kind::Float64)),
                (6, Value::Fixed64(bits)) => sample = Some((bits, Kind::Int64)),
                (8, Value::Varint(bits)) => fields.flags = bits,
                (5, Value::Bytes(_)) => fields.exemplar_count += 1,
                (3..=8, _) => return Err(mistyped(message.at, "a number point's field")),
                _ => {}
            }
        }
        let Some(point) = self.point(&fields)? else {
            return Ok(());
        };
        let Some((bits, kind)) = sample.or(point.is_stale.then_some((0, Kind::Float64))) else {
            self.refuse("it has no value");
            return Ok(());
        };
        self.accept(&point, &fields);
        self.push(&point, Part::Value, bits, kind);
        Ok(())
    }

    fn histogram(&mut self, span: Span) -> Result<()> {
        let mut fields = PointFields::default();
        let (mut count, mut sum) = (0, None);
        self.bounds.clear();
        self.counts.clear();
        let mut message = Message::new(self.body, span);
        loop {
            let from = message.at;
            let Some((number, value)) = message.next_field()? else {
                break;
            };
            match (number, value) {
                (9, Value::Bytes(_)) => fields.attribute(from, message.at),
                (3, Value::Fixed64(bits)) => fields.time_unix_nano = bits,
                (4, Value::Fixed64(bits)) => count = bits,
                (5, Value::Fixed64(bits)) => sum = Some(bits),
                (6, Value::Fixed64(bits)) => self.counts.push(bits),
                (6, Value::Bytes(packed)) => {
                    for place in places(packed, message.at)? {
                        self.counts.push(word(self.body, place));
                    }
                }
                (7, Value::Fixed64(_)) => self.bounds.push(message.at as u32 - 8),
                (7, Value::Bytes(packed)) => self.bounds.extend(places(packed, message.at)?),
                (8, Value::Bytes(_)) => fields.exemplar_count += 1,
                (10, Value::Varint(bits)) => fields.flags = bits,
                (3..=10, _) => return Err(mistyped(message.at, "a histogram point's field")),
                _ => {}
            }
        }
        let Some(point) = self.point(&fields)? else {
            return Ok(());
        };
        if let Err(cause) = self.check_buckets(&point, fields.attribute_count) {
            self.refuse(&cause);
            return Ok(());
        }
        self.accept(&point, &fields);
        if let Some(bits) = sum {
            self.push(&point, Part::Sum, bits, Kind::Float64);
        }
        self.push(&point, Part::Count, count, Kind::Uint64);
        let mut below = 0u64;
        for at in 0..self.bounds.len() {
            let place = self.bounds[at];
            below = below.wrapping_add(self.counts.get(at).copied().unwrap_or(0));
            // The bucket below infinity is the one that has no bound.
            if f64::from_bits(word(self.body, place)) != f64::INFINITY {
                self.push(&point, Part::At(place), below, Kind::Uint64);
            }
        }
        self.push(&point, Part::Infinite, count, Kind::Uint64);
        Ok(())
    }

    /// Why the buckets of a histogram point cannot be stored.
    fn check_buckets(
        &self,
        point: &Point,
        attribute_count: usize,
    ) -> std::result::Result<(), String> {
        let (bounds, counts) = (self.bounds.len(), self.counts.len());
        check_labels("buckets", bounds + 3, attribute_count)?;
        // An ended series may come without its counts.
        let is_left_out = counts == 0 && (bounds == 0 || point.is_stale);
        if counts != bounds + 1 && !is_left_out {
            return Err(format!(
                "it has {counts} bucket counts, not one more than its {bounds} explicit bounds"
            ));
        }
        let mut before = f64::NEG_INFINITY;
        for (at, &place) in self.bounds.iter().enumerate() {
            let bound = f64::from_bits(word(self.body, place));
            if bound.is_nan() || (at > 0 && bound <= before) {
                return Err(format!("its explicit bounds do not ascend at {bound}"));
            }
            before = bound;
        }
        let below = self
            .counts
            .iter()
            .try_fold(0u64, |sum, one| sum.checked_add(*one));
        below
            .map(drop)
            .ok_or_else(|| "its bucket counts exceed 64 bits".into())
    }

    fn summary(&mut self, span: Span) -> Result<()> {
        let mut fields = PointFields::default();
        let (mut count, mut sum, mut quantile_count) = (0, 0, 0);
        let mut message = Message::new(self.body, span);
        loop {
            let from = message.at;
            let Some((number, value)) = message.next_field()? else {
                break;
            };
            match (number, value) {
                (7, Value::Bytes(_)) => fields.attribute(from, message.at),
                (3, Value::Fixed64(bits)) => fields.time_unix_nano = bits,
                (4, Value::Fixed64(bits)) => count = bits,
                (5, Value::Fixed64(bits)) => sum = bits,
                (6, Value::Bytes(_)) => quantile_count += 1,
                (8, Value::Varint(bits)) => fields.flags = bits,
                (3..=8, _) => return Err(mistyped(message.at, "a summary point's field")),
                _ => {}
            }
        }
        let Some(point) = self.point(&fields)? else {
            return Ok(());
        };
        if let Err(cause) = check_labels("quantiles", quantile_count + 2, fields.attribute_count) {
            self.refuse(&cause);
            return Ok(());
        }
        self.accept(&point, &fields);
        self.push(&point, Part::Sum, sum, Kind::Float64);
        self.push(&point, Part::Count, count, Kind::Uint64);
        let mut message = Message::new(self.body, span);
        while let Some((number, value)) = message.next_field()? {
            if number == 6 {
                let span = expect_bytes(&value, message.at, "quantile_values")?;
                let (part, bits) = quantile(self.body, span)?;
                self.push(&point, part, bits, Kind::Float64);
            }
        }
        Ok(())
    }

    /// Checks what all points have; none where it refused the point.
    #[inline]
    fn point(&mut self, fields: &PointFields) -> Result<Option<Point>> {
        let time_ns = match i64::try_from(fields.time_unix_nano) {
            Ok(0) => {
                self.refuse("its time_unix_nano is missing");
                return Ok(None);
            }
            Err(_) => {
                let time = fields.time_unix_nano;
                self.refuse(&format!("its time_unix_nano {time} does not fit 63 bits"));
                return Ok(None);
            }
            Ok(time_ns) => time_ns,
        };
        let kind = self.metric_now().kind;
        let attributes = fields.attributes;
        let hash = attributes.hash(
            self.body,
            kind.attributes_field(),
            self.hasher,
            &mut self.gathered,
        )?;
        Ok(Some(Point {
            hash: self.hasher.fold(self.hash, hash),
            attributes: attributes.span,
            time_ns,
            is_stale: fields.flags & NO_RECORDED_VALUE != 0,
        }))
    }

    fn metric_now(&self) -> &Metric {
        &self.origins.metrics[self.origins.metrics.len() - 1]
    }

    /// The point is stored.
    #[inline]
    fn accept(&mut self, point: &Point, fields: &PointFields) {
        self.latest_ns = self.latest_ns.max(Some(point.time_ns));
        if fields.exemplar_count > 0 {
            if self.exemplar_count == 0 {
                self.exemplar_line = self.line;
            }
            self.exemplar_count += fields.exemplar_count;
        }
    }

    #[inline]
    fn push(&mut self, point: &Point, part: Part, bits: u64, kind: Kind) {
        let hash = match part {
            Part::Value => point.hash,
            Part::At(place) => self.part_hash(point.hash, word(self.body, place), 5),
            Part::Lowest => self.part_hash(point.hash, 0, 5),
            _ => self.part_hash(point.hash, 0, part.number() as u8),
        };
        let (bits, kind) = if point.is_stale {
            (STALE_NAN_BITS, Kind::Float64)
        } else {
            (bits, kind)
        };
        self.batch.times_ns.push(point.time_ns);
        self.batch.values.push(bits);
        self.batch.kinds.push(kind);
        self.key(hash, point.attributes, part, self.line);
    }

    fn part_hash(&self, point: u128, bits: u64, tag: u8) -> u128 {
        let mut bytes = [tag; 9];
        bytes[..8].copy_from_slice(&bits.to_le_bytes());
        self.hasher.fold(point, self.hasher.hash(&bytes))
    }

    #[inline]
    fn key(&mut self, hash: u128, span: Span, part: Part, line: u32) {
        let metric = self.origins.metrics.len() as u32 - 1;
        self.batch.keys.push(Key {
            hash,
            span,
            field: (metric, part.number()),
            line,
            sample_end: self.batch.times_ns.len() as u32,
        });
    }

    /// The series that carries the resource's attributes: one sample, at the time of its latest point.
    fn target_info(&mut self, resource_hash: u128) {
        let at = self.origins.resources.len() - 1;
        let resource = &self.origins.resources[at];
        let (Some(time_ns), true) = (self.latest_ns, resource.has_target_info) else {
            return;
        };
        let span = resource.span;
        self.batch.times_ns.push(time_ns);
        self.batch.values.push(1f64.to_bits());
        self.batch.kinds.push(Kind::Float64);
        self.origins.metrics.push(Metric {
            kind: MetricKind::TargetInfo,
            resource: at as u32,
            scope: Scope::default(),
            name: (0, 0),
            unit: (0, 0),
        });
        let hash = self
            .hasher
            .fold(resource_hash, self.hasher.hash(b"target_info"));
        self.key(hash, span, Part::Value, 0);
    }

    /// Metadata of a metric, once where resource after resource repeats it.
    fn describe(&mut self, kind: MetricKind, name: Span, description: Span, unit: Span) {
        let mut hash = kind as u128;
        for span in [name, description, unit] {
            hash = self.hasher.fold(hash, self.hasher.hash(self.bytes(span)));
        }
        if !self.described.insert(hash) {
            return;
        }
        let text = |span| String::from_utf8_lossy(self.bytes(span)).into_owned();
        let unit = text(unit);
        let translation = self.origins.options.translation;
        self.batch.metadata.push(MetadataRow {
            name: metric_name(&text(name), &unit, kind.suffix(), translation),
            kind: kind.type_name().to_owned(),
            help: text(description),
            unit,
        });
    }

    #[cold]
    fn refuse(&mut self, cause: &str) {
        let name = quoted(self.bytes(self.metric_now().name)).into_owned();
        self.refuse_points(1, &name, cause);
    }

    /// Refuses all points of a metric.
    #[cold]
    fn refuse_metric(&mut self, name: Span, data: Span, cause: &str) -> Result<()> {
        let mut count = 0;
        let mut message = Message::new(self.body, data);
        while let Some((number, _)) = message.next_field()? {
            count += u32::from(number == 1);
        }
        if count > 0 {
            self.line = self.line.saturating_add(1);
            let name = quoted(self.bytes(name)).into_owned();
            self.refuse_points(count, &name, cause);
            self.line = self.line.saturating_add(count - 1);
        }
        Ok(())
    }

    fn refuse_points(&mut self, count: u32, name: &str, cause: &str) {
        self.batch.refused_count += u64::from(count);
        if self.batch.rejected.len() >= REJECTED_LISTED_MAX {
            return;
        }
        let line = self.line;
        let which = match count {
            1 => format!("data point {line}"),
            _ => format!("data points {line} to {}", line.saturating_add(count - 1)),
        };
        let reason = format!("cannot store {which} of the request (metric {name:?}): {cause}");
        self.batch.rejected.push(Rejection { line, reason });
    }

    fn finish(self) -> Origins {
        if self.exemplar_count > 0 {
            let reason = format!(
                "cannot store {} exemplars (the first in data point {} of the request): not \
                 supported yet",
                self.exemplar_count, self.exemplar_line
            );
            let line = self.exemplar_line;
            self.batch.rejected.push(Rejection { line, reason });
        }
        self.origins
    }
}

impl PointFields {
    #[inline]
    fn attribute(&mut self, from: usize, to: usize) {
        self.attributes.extend((from as u32, to as u32));
        self.attribute_count += 1;
    }
}

/// Walks a number point as far as its fields are those of nearly all points: attributes shorter than
/// 128 bytes, times and values. `body` ends with the point.
#[inline]
fn plain_fields_end(
    body: &[u8],
    mut at: usize,
    fields: &mut PointFields,
    sample: &mut Option<(u64, Kind)>,
) -> usize {
    loop {
        match body.get(at..) {
            Some([ATTRIBUTE_TAG, length @ ..0x80, ..]) => {
                let end = at + 2 + usize::from(*length);
                if end > body.len() {
                    return at;
                }
                fields.attribute(at, end);
                at = end;
            }
            Some([tag, rest @ ..]) => {
                let Some(word) = rest.first_chunk::<8>() else {
                    return at;
                };
                let bits = u64::from_le_bytes(*word);
                match *tag {
                    START_TIME_TAG => {}
                    TIME_TAG => fields.time_unix_nano = bits,
                    AS_DOUBLE_TAG => *sample = Some((bits, Kind::Float64)),
                    AS_INT_TAG => *sample = Some((bits, Kind::Int64)),
                    _ => return at,
                }
                at += 9;
            }
            _ => return at,
        }
    }
}

/// Every series of a point carries its attributes: together they must stay bounded.
fn check_labels(
    what: &str,
    series_count: usize,
    attribute_count: usize,
) -> std::result::Result<(), String> {
    if series_count.saturating_mul(attribute_count.max(1)) <= POINT_LABELS_MAX {
        return Ok(());
    }
    Err(format!(
        "its {what} and attributes are more labels than point_labels_max {POINT_LABELS_MAX}"
    ))
}

/// Where the words of a packed field stand.
fn places(packed: Span, at: usize) -> Result<impl Iterator<Item = u32>> {
    if (packed.1 - packed.0) % 8 != 0 {
        return Err(broken(at, "a packed field ends inside a number"));
    }
    Ok((packed.0..packed.1).step_by(8))
}

/// The eight bytes at a place that `places` or a walk gave.
#[inline]
fn word(body: &[u8], place: u32) -> u64 {
    let bytes = body[place as usize..].first_chunk::<8>();
    u64::from_le_bytes(bytes.copied().unwrap_or_default())
}

/// A `ValueAtQuantile`.
fn quantile(body: &[u8], span: Span) -> Result<(Part, u64)> {
    let mut message = Message::new(body, span);
    let (mut part, mut bits) = (Part::Lowest, 0);
    while let Some((number, value)) = message.next_field()? {
        match (number, value) {
            (1, Value::Fixed64(_)) => part = Part::At(message.at as u32 - 8),
            (2, Value::Fixed64(value)) => bits = value,
            (1 | 2, _) => return Err(mistyped(message.at, "a quantile")),
            _ => {}
        }
    }
    Ok((part, bits))
}

#[cfg(feature = "python")]
pub(crate) mod python {
    use super::{Options, Translation};
    use crate::batch::python::PyBatch;
    use crate::decompress::decompress;
    use crate::error::CoreError;
    use crate::otlp_json::to_protobuf;
    use pyo3::prelude::*;
    use std::sync::Arc;

    #[pyclass(name = "OtlpOptions", frozen)]
    pub struct PyOptions(Arc<Options>);

    #[pymethods]
    impl PyOptions {
        #[new]
        #[pyo3(signature = (*, translation, promoted = Vec::new(), promotes_all_others = false,
                            keeps_identifying = false, has_scope_labels = false))]
        fn new(
            translation: &str,
            promoted: Vec<String>,
            promotes_all_others: bool,
            keeps_identifying: bool,
            has_scope_labels: bool,
        ) -> PyResult<Self> {
            let translation = Translation::named(translation).ok_or_else(|| {
                CoreError::Invalid(format!(
                    "cannot translate names by {translation:?}: unknown"
                ))
            })?;
            Ok(Self(Arc::new(Options {
                translation,
                promoted: promoted.into_iter().collect(),
                promotes_all_others,
                keeps_identifying,
                has_scope_labels,
            })))
        }
    }

    #[pyfunction]
    #[pyo3(signature = (body, *, options, is_json = false, encoding = "identity",
                        size_bytes_max = usize::MAX >> 1))]
    fn decode_otlp(
        py: Python<'_>,
        body: &[u8],
        options: &PyOptions,
        is_json: bool,
        encoding: &str,
        size_bytes_max: usize,
    ) -> PyResult<PyBatch> {
        let batch = py.detach(|| {
            let mut plain = decompress(encoding, body, size_bytes_max)?;
            if is_json {
                plain = to_protobuf(&plain, size_bytes_max)?;
            }
            super::decode(plain, &options.0)
        })?;
        Ok(PyBatch(batch))
    }

    pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
        module.add_class::<PyOptions>()?;
        module.add_function(wrap_pyfunction!(decode_otlp, module)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::otlp_json::to_protobuf;
    use proptest::prelude::*;

    const REQUEST: &str = r#"{"resourceMetrics": [{
        "resource": {"attributes": [{"key": "service.name", "value": {"stringValue": "s"}},
                                    {"key": "x", "value": {"arrayValue": {"values": [{}]}}}]},
        "scopeMetrics": [{"metrics": [
            {"name": "g", "gauge": {"dataPoints": [
                {"timeUnixNano": "5", "asInt": "7", "attributes": [
                    {"key": "a.b", "value": {"intValue": "-1"}}]}]}},
            {"name": "h", "unit": "s", "histogram": {"aggregationTemporality": 2, "dataPoints": [
                {"timeUnixNano": 5, "count": 3, "sum": 1.5,
                 "explicitBounds": [1, 2], "bucketCounts": [1, "1", 1]}]}},
            {"name": "q", "summary": {"dataPoints": [
                {"timeUnixNano": "6", "count": "1", "quantileValues": [{"value": 2}]}]}}
        ]}]}]}"#;

    fn request() -> Vec<u8> {
        to_protobuf(REQUEST.as_bytes(), 1 << 20).unwrap()
    }

    fn check_shape(batch: &Batch) {
        assert_eq!(batch.times_ns.len(), batch.values.len());
        assert_eq!(batch.times_ns.len(), batch.kinds.len());
        let end = batch.keys.last().map_or(0, |key| key.sample_end as usize);
        assert_eq!(end, batch.times_ns.len());
        for key in 0..batch.keys.len() {
            let _ = batch.canonical(key, &[], &[]);
        }
    }

    #[test]
    fn a_point_is_a_key_for_each_of_its_series() {
        let batch = decode(request(), &Arc::default()).unwrap();
        let lines: Vec<u32> = batch.keys.iter().map(|key| key.line).collect();
        assert_eq!(lines, [1, 2, 2, 2, 2, 2, 3, 3, 3, 0]);
        assert_eq!(batch.kinds[0], Kind::Int64);
        assert_eq!(batch.kinds[2], Kind::Uint64);
        assert_eq!(batch.times_ns[9..], [6]);
        check_shape(&batch);
    }

    #[test]
    fn parts_have_numbers_of_their_own() {
        for number in 0..100 {
            assert_eq!(Part::of_number(number).number(), number);
        }
    }

    proptest! {
        #[test]
        fn any_bytes_give_a_batch_or_an_error(body: Vec<u8>) {
            if let Ok(batch) = decode(body.clone(), &Arc::default()) {
                check_shape(&batch);
            }
            let _ = to_protobuf(&body, 1 << 20);
        }

        #[test]
        fn flipped_bytes_give_a_batch_or_an_error(position: usize, flip: u8, cut: usize) {
            let mut body = request();
            let length = body.len();
            body[position % length] ^= flip;
            body.truncate(length - cut % 3);
            if let Ok(batch) = decode(body, &Arc::default()) {
                check_shape(&batch);
            }
        }
    }
}
