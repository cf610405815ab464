//! From an OTLP key to a series: name and labels of a point's part, as Prometheus 3 makes them.
//!
//! `series_table` calls [`canonicalise`] once a series, on a miss.

use crate::batch::{Batch, assemble, quoted};
use crate::error::{CoreError, Result};
use crate::otlp::{Metric, MetricKind, Options, Origins, Part};
use crate::otlp_names::{label_name, metric_name};
use crate::otlp_values::{key_value, text, value_text};
use crate::protobuf::{Message, Span, expect_bytes};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

const SERVICE_NAME: &[u8] = b"service.name";
const SERVICE_NAMESPACE: &[u8] = b"service.namespace";
const SERVICE_INSTANCE_ID: &[u8] = b"service.instance.id";
const IDENTIFYING: [&[u8]; 3] = [SERVICE_NAME, SERVICE_NAMESPACE, SERVICE_INSTANCE_ID];

/// Attributes of one resource, scope or point.
pub const ATTRIBUTES_MAX: usize = 1024;

type Attribute = (Span, Option<Span>);
type Labels<'a> = BTreeMap<Cow<'a, str>, Cow<'a, str>>;

/// What of a resource its series need.
#[derive(Debug, Default)]
pub struct Resource {
    pub span: Span,
    service_name: Option<Attribute>,
    service_namespace: Option<Attribute>,
    service_instance_id: Option<Attribute>,
    promoted: Vec<Attribute>,
    /// It has attributes beyond those that `job` and `instance` are made of, and one of the two.
    pub has_target_info: bool,
    attribute_count: usize,
}

impl Resource {
    pub fn read(body: &[u8], span: Span, options: &Options) -> Result<Self> {
        let mut resource = Self {
            span,
            ..Self::default()
        };
        let (mut others, mut is_named) = (false, false);
        let mut message = Message::new(body, span);
        while let Some((number, value)) = message.next_field()? {
            if number != 1 {
                continue;
            }
            resource.attribute_count += 1;
            let pair = expect_bytes(&value, message.at, "a resource's attributes")?;
            let attribute = key_value(body, pair)?;
            let key = &body[attribute.0.0 as usize..attribute.0.1 as usize];
            let slot = match key {
                SERVICE_NAME => &mut resource.service_name,
                SERVICE_NAMESPACE => &mut resource.service_namespace,
                SERVICE_INSTANCE_ID => &mut resource.service_instance_id,
                _ => {
                    others = true;
                    is_named |= matches!(key, b"job" | b"instance");
                    &mut None
                }
            };
            // The first counts.
            slot.get_or_insert(attribute);
            if options.promotes(&String::from_utf8_lossy(key)) {
                resource.promoted.push(attribute);
            }
        }
        is_named |= resource.service_name.is_some() || resource.service_instance_id.is_some();
        resource.has_target_info = others && is_named;
        Ok(resource)
    }

    pub fn memory_bytes(&self) -> usize {
        size_of::<Self>() + size_of_val(&self.promoted[..])
    }
}

pub fn canonicalise(
    batch: &Batch,
    key: usize,
    defaults: &[(String, String)],
    forced: &[(String, String)],
) -> Result<Vec<u8>> {
    let origins = batch.origins.as_deref();
    let metric = origins.and_then(|all| all.metrics.get(batch.keys[key].field.0 as usize));
    let (Some(origins), Some(metric)) = (origins, metric) else {
        return Err(CoreError::Invalid(
            "cannot name a series: its key refers to no metric".into(),
        ));
    };
    let series = Series {
        batch,
        key,
        origins,
        metric,
    };
    let assembled = series.labels().and_then(|labels| {
        let labels: Vec<(Cow<str>, Cow<str>)> = labels.into_iter().collect();
        assemble(&series.name()?, "", &labels, defaults, forced)
    });
    assembled.map_err(|error| series.refused(&error))
}

/// One key of a batch and what it refers to.
struct Series<'a> {
    batch: &'a Batch,
    key: usize,
    origins: &'a Origins,
    metric: &'a Metric,
}

impl<'a> Series<'a> {
    fn refused(&self, cause: &dyn std::fmt::Display) -> CoreError {
        if self.metric.kind == MetricKind::TargetInfo {
            return CoreError::Invalid(format!("cannot store target_info of a resource: {cause}"));
        }
        let line = self.batch.keys[self.key].line;
        let name = quoted(self.batch.bytes(self.metric.name));
        CoreError::Invalid(format!(
            "cannot store data point {line} of the request (metric {name:?}): {cause}"
        ))
    }

    fn name(&self) -> Result<Cow<'a, str>> {
        let metric = self.metric;
        if metric.kind == MetricKind::TargetInfo {
            return Ok(Cow::Borrowed("target_info"));
        }
        let (name, unit) = (self.text(metric.name)?, self.text(metric.unit)?);
        let translation = self.origins.options.translation;
        let mut name = metric_name(name, unit, metric.kind.suffix(), translation);
        if !name.contains(|c| c != '_') {
            return Err(CoreError::Invalid("nothing of its name is left".into()));
        }
        let is_histogram = metric.kind == MetricKind::Histogram;
        name.push_str(match self.part() {
            Part::Sum => "_sum",
            Part::Count => "_count",
            Part::Infinite => "_bucket",
            Part::At(_) if is_histogram => "_bucket",
            Part::Value | Part::Lowest | Part::At(_) => "",
        });
        Ok(Cow::Owned(name))
    }

    fn part(&self) -> Part {
        Part::of_number(self.batch.keys[self.key].field.1)
    }

    fn text(&self, span: Span) -> Result<&'a str> {
        text(&self.batch.body, span)
    }

    fn value(&self, attribute: Attribute) -> Result<Cow<'a, str>> {
        value_text(&self.batch.body, attribute.1)
    }

    fn labels(&self) -> Result<Labels<'a>> {
        let resource = &self.origins.resources[self.metric.resource as usize];
        if resource.attribute_count > ATTRIBUTES_MAX {
            return Err(too_many("its resource", resource.attribute_count));
        }
        let is_target_info = self.metric.kind == MetricKind::TargetInfo;
        let mut labels = self.attributes()?;
        if !is_target_info {
            self.promote(&resource.promoted, &mut labels)?;
            self.add_scope(&mut labels)?;
        }
        self.add_identity(resource, &mut labels)?;
        if let Some((label, bound)) = self.bound()
            && labels.insert(Cow::Borrowed(label), bound).is_some()
        {
            return Err(CoreError::Invalid(format!(
                "it has an attribute {label:?}, which tells its series apart"
            )));
        }
        Ok(labels)
    }

    /// Attributes whose names become one are joined in the order of the names they had.
    fn attributes(&self) -> Result<Labels<'a>> {
        let metric = self.metric;
        let span = self.batch.keys[self.key].span;
        let mut found = Vec::new();
        for attribute in self.fields(span, metric.kind.attributes_field())? {
            let name = &self.batch.body[attribute.0.0 as usize..attribute.0.1 as usize];
            let is_left_out = metric.kind == MetricKind::TargetInfo
                && !self.origins.options.keeps_identifying
                && IDENTIFYING.contains(&name);
            if !is_left_out {
                found.push((self.text(attribute.0)?, self.value(attribute)?));
            }
        }
        found.sort_by_key(|(name, _)| *name);
        let mut labels = Labels::new();
        for (name, value) in found {
            match labels.entry(label_name(name, self.origins.options.translation)) {
                Entry::Occupied(mut before) => {
                    let joined = before.get_mut().to_mut();
                    joined.push(';');
                    joined.push_str(&value);
                }
                Entry::Vacant(place) => drop(place.insert(value)),
            }
        }
        Ok(labels)
    }

    /// The `KeyValue`s in the fields of a number.
    fn fields(&self, span: Span, number: u64) -> Result<Vec<Attribute>> {
        let body = &self.batch.body;
        let mut found = Vec::new();
        let mut message = Message::new(body, span);
        while let Some((other, value)) = message.next_field()? {
            if other == number {
                let pair = expect_bytes(&value, message.at, "attributes")?;
                found.push(key_value(body, pair)?);
            }
        }
        if found.len() > ATTRIBUTES_MAX {
            return Err(too_many("it", found.len()));
        }
        Ok(found)
    }

    /// Resource attributes stand behind the point's own.
    fn promote(&self, promoted: &[Attribute], labels: &mut Labels<'a>) -> Result<()> {
        let mut named = Vec::with_capacity(promoted.len());
        for attribute in promoted {
            named.push((self.text(attribute.0)?, *attribute));
        }
        named.sort_by_key(|(name, _)| *name);
        for (name, attribute) in named {
            let name = label_name(name, self.origins.options.translation);
            if let Entry::Vacant(place) = labels.entry(name) {
                place.insert(self.value(attribute)?);
            }
        }
        Ok(())
    }

    fn add_scope(&self, labels: &mut Labels<'a>) -> Result<()> {
        if !self.origins.options.has_scope_labels {
            return Ok(());
        }
        let scope = self.metric.scope;
        let (mut name, mut version) = ((0, 0), (0, 0));
        let mut message = Message::new(&self.batch.body, scope.span);
        while let Some((number, value)) = message.next_field()? {
            match number {
                1 => name = expect_bytes(&value, message.at, "a scope's name")?,
                2 => version = expect_bytes(&value, message.at, "a scope's version")?,
                _ => {}
            }
        }
        if name.0 == name.1 {
            return Ok(());
        }
        for (label, span) in [
            ("otel_scope_name", name),
            ("otel_scope_version", version),
            ("otel_scope_schema_url", scope.schema_url),
        ] {
            labels.insert(Cow::Borrowed(label), Cow::Borrowed(self.text(span)?));
        }
        for attribute in self.fields(scope.span, 3)? {
            let name = format!("otel_scope_{}", self.text(attribute.0)?);
            let name = label_name(&name, self.origins.options.translation).into_owned();
            labels.insert(Cow::Owned(name), self.value(attribute)?);
        }
        Ok(())
    }

    /// `job` and `instance`, over whatever was called so.
    fn add_identity(&self, resource: &Resource, labels: &mut Labels<'a>) -> Result<()> {
        if let Some(service) = resource.service_name {
            let mut job = self.value(service)?;
            if let Some(namespace) = resource.service_namespace {
                job = Cow::Owned(format!("{}/{job}", self.value(namespace)?));
            }
            labels.insert(Cow::Borrowed("job"), job);
        }
        if let Some(instance) = resource.service_instance_id {
            labels.insert(Cow::Borrowed("instance"), self.value(instance)?);
        }
        Ok(())
    }

    /// The label that tells the buckets or quantiles of a point apart.
    fn bound(&self) -> Option<(&'static str, Cow<'a, str>)> {
        let bits = match self.part() {
            Part::Infinite => return Some(("le", Cow::Borrowed("+Inf"))),
            Part::Lowest => 0,
            Part::At(place) => {
                let bytes = self.batch.body[place as usize..].first_chunk::<8>();
                u64::from_le_bytes(bytes.copied().unwrap_or_default())
            }
            Part::Value | Part::Sum | Part::Count => return None,
        };
        let is_histogram = self.metric.kind == MetricKind::Histogram;
        let label = if is_histogram { "le" } else { "quantile" };
        Some((label, Cow::Owned(shortest(f64::from_bits(bits)))))
    }
}

/// As Prometheus writes bounds: without an exponent.
fn shortest(value: f64) -> String {
    if value.is_infinite() {
        return if value > 0.0 { "+Inf" } else { "-Inf" }.into();
    }
    format!("{value}")
}

fn too_many(what: &str, count: usize) -> CoreError {
    CoreError::Invalid(format!(
        "{what} has {count} attributes, more than attributes_max {ATTRIBUTES_MAX}"
    ))
}
