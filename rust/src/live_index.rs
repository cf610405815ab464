//! The live label index of one tenant: which series have which label value, now.
//!
//! Fed at registration and by sweeping; `head` generations select through it.

use crate::error::Result;
use crate::selector::{LabelIndex, Target};
use crate::series::{SeriesView, legacy_name};
use hashbrown::HashMap;
use roaring::RoaringBitmap;
use std::borrow::Cow;

/// Most values of wide labels belong to one series: a bitmap for each would take 100 bytes more.
#[derive(Debug)]
enum Postings {
    One(u32),
    Many(Box<RoaringBitmap>),
}

impl Postings {
    fn insert(&mut self, reference: u32) {
        match self {
            Self::One(only) if *only == reference => {}
            Self::One(only) => {
                let both = [*only, reference].into_iter().collect();
                *self = Self::Many(Box::new(both));
            }
            Self::Many(series) => {
                series.insert(reference);
            }
        }
    }

    /// Says whether none is left.
    fn remove(&mut self, reference: u32) -> bool {
        match self {
            Self::One(only) => *only == reference,
            Self::Many(series) => {
                series.remove(reference);
                match (series.len(), series.min()) {
                    (1, Some(only)) => {
                        *self = Self::One(only);
                        false
                    }
                    (left, _) => left == 0,
                }
            }
        }
    }

    fn meets(&self, series: &RoaringBitmap) -> bool {
        match self {
            Self::One(only) => series.contains(*only),
            Self::Many(own) => !own.is_disjoint(series),
        }
    }

    fn bitmap(&self) -> Cow<'_, RoaringBitmap> {
        match self {
            Self::One(only) => Cow::Owned([*only].into_iter().collect()),
            Self::Many(series) => Cow::Borrowed(series),
        }
    }
}

type Values = HashMap<Box<str>, Postings>;

/// What an entry of a value map takes: key, postings, a control byte, the map's slack and the
/// text's allocation.
const VALUE_BYTES: usize = 72;
/// What a series takes in a value's bitmap, spread over array and bitmap containers.
const POSTING_BYTES: usize = 3;

#[derive(Debug, Default)]
pub struct LiveIndex {
    all: RoaringBitmap,
    /// Exact `PromQL` names; these are listed.
    promql_names: Values,
    /// Legacy forms where they differ: matched, never listed.
    legacy_names: Values,
    names: Values,
    fields: Values,
    labels: HashMap<Box<str>, Values>,
    memory_bytes: usize,
}

fn insert_value(values: &mut Values, value: &str, reference: u32) -> usize {
    if let Some(postings) = values.get_mut(value) {
        postings.insert(reference);
        return POSTING_BYTES;
    }
    values.insert(value.into(), Postings::One(reference));
    VALUE_BYTES + value.len()
}

/// Gives back what `insert_value` took, or nearly so.
fn remove_value(values: &mut Values, value: &str, reference: u32) -> usize {
    let Some(postings) = values.get_mut(value) else {
        return 0;
    };
    if !postings.remove(reference) {
        return POSTING_BYTES;
    }
    values.remove(value);
    if values.len() < values.capacity() / 4 {
        values.shrink_to_fit();
    }
    VALUE_BYTES + value.len()
}

impl LiveIndex {
    pub fn len(&self) -> u64 {
        self.all.len()
    }

    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    pub fn memory_bytes(&self) -> usize {
        self.memory_bytes
    }

    pub fn insert(&mut self, reference: u32, series: &SeriesView<'_>) {
        self.all.insert(reference);
        let name = series.promql_name();
        let legacy = legacy_name(&name);
        let mut taken = POSTING_BYTES;
        if legacy != name {
            taken += insert_value(&mut self.legacy_names, &legacy, reference);
        }
        taken += insert_value(&mut self.promql_names, &name, reference);
        taken += insert_value(&mut self.names, series.name, reference);
        if !series.field.is_empty() {
            taken += insert_value(&mut self.fields, series.field, reference);
        }
        for (label, value) in &series.labels {
            if let Some(values) = self.labels.get_mut(*label) {
                taken += insert_value(values, value, reference);
                continue;
            }
            let mut values = Values::default();
            taken += VALUE_BYTES + insert_value(&mut values, value, reference);
            self.labels.insert((*label).into(), values);
        }
        self.memory_bytes += taken;
    }

    pub fn remove(&mut self, reference: u32, series: &SeriesView<'_>) {
        self.all.remove(reference);
        let name = series.promql_name();
        let legacy = legacy_name(&name);
        let mut given = POSTING_BYTES;
        if legacy != name {
            given += remove_value(&mut self.legacy_names, &legacy, reference);
        }
        given += remove_value(&mut self.promql_names, &name, reference);
        given += remove_value(&mut self.names, series.name, reference);
        if !series.field.is_empty() {
            given += remove_value(&mut self.fields, series.field, reference);
        }
        for (label, value) in &series.labels {
            if let Some(values) = self.labels.get_mut(*label) {
                given += remove_value(values, value, reference);
                if values.is_empty() {
                    given += VALUE_BYTES;
                    self.labels.remove(*label);
                }
            }
        }
        self.memory_bytes = self.memory_bytes.saturating_sub(given);
        if self.all.is_empty() {
            *self = Self::default();
        }
    }

    /// Names of labels that one of `series` has, and `__name__`.
    pub fn label_names(&self, series: &RoaringBitmap, out: &mut Vec<String>) {
        if series.is_empty() {
            return;
        }
        out.push("__name__".to_owned());
        for (label, values) in &self.labels {
            if values.values().any(|postings| postings.meets(series)) {
                out.push(label.to_string());
            }
        }
    }

    /// Values of a label that one of `series` has.
    pub fn label_values(&self, target: &Target, series: &RoaringBitmap, out: &mut Vec<String>) {
        let Some(values) = self.listed(target) else {
            return;
        };
        for (value, postings) in values {
            if postings.meets(series) {
                out.push(value.to_string());
            }
        }
    }

    fn listed(&self, target: &Target) -> Option<&Values> {
        match target {
            Target::PromqlName => Some(&self.promql_names),
            Target::Name => Some(&self.names),
            Target::Field => Some(&self.fields),
            Target::Label(label) => self.labels.get(label.as_str()),
        }
    }
}

impl LabelIndex for LiveIndex {
    fn all(&self) -> RoaringBitmap {
        self.all.clone()
    }

    fn postings(&self, target: &Target, value: &str) -> Result<Option<Cow<'_, RoaringBitmap>>> {
        let found = self.listed(target).and_then(|values| values.get(value));
        let legacy = match target {
            Target::PromqlName => self.legacy_names.get(value),
            _ => None,
        };
        Ok(match (found, legacy) {
            (Some(exact), Some(legacy)) => Some(Cow::Owned(&*exact.bitmap() | &*legacy.bitmap())),
            (found, legacy) => found.or(legacy).map(Postings::bitmap),
        })
    }

    fn each_value(
        &self,
        target: &Target,
        prefix: &str,
        visit: &mut dyn FnMut(&str, &RoaringBitmap),
    ) -> Result<()> {
        let legacy = matches!(target, Target::PromqlName).then_some(&self.legacy_names);
        for values in self.listed(target).into_iter().chain(legacy) {
            for (value, postings) in values {
                if value.starts_with(prefix) {
                    visit(value, &postings.bitmap());
                }
            }
        }
        Ok(())
    }
}
