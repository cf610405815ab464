//! The live series of one tenant: their texts, each once, and which series have which, now.
//!
//! Fed at registration and by sweeping; `head` generations select through it. A series is stored as
//! numbers of its texts: one for its name and field together, one for each label with its value.
//! That takes 30 bytes where its canonical bytes take 200, and `canonical` puts them together again.

use crate::error::{CoreError, Result};
use crate::live_names::LiveNames;
use crate::live_postings::Postings;
use crate::number_table::NumberTable;
use crate::selector::{LabelIndex, Target};
use crate::varint;
use hashbrown::DefaultHashBuilder;
use roaring::RoaringBitmap;
use std::borrow::Cow;
use std::hash::BuildHasher;
use std::ops::Range;

/// Number of no text yet; also the label of texts that are a name and a field.
const NONE: u32 = u32::MAX;
/// What a text takes beside its bytes: its place, the allocation, its entry in a table.
const TEXT_BYTES: usize = size_of::<Text>() + 32;
const LABEL_BYTES: usize = size_of::<Label>() + 32;
/// What a series takes in the postings of one text, spread over lists and bitmaps.
const POSTING_BYTES: usize = 3;

/// A name and field, or the value of a label, as canonical bytes have it: with its length.
#[derive(Debug)]
struct Text {
    label: u32,
    bytes: Box<[u8]>,
    series: Postings,
}

#[derive(Debug)]
struct Label {
    /// With its length.
    key: Box<[u8]>,
    values: NumberTable,
    value_count: u32,
}

/// Places that are given out again once they are free.
#[derive(Debug)]
struct Places<T> {
    all: Vec<Option<T>>,
    free: Vec<u32>,
}

impl<T> Default for Places<T> {
    fn default() -> Self {
        Self {
            all: Vec::new(),
            free: Vec::new(),
        }
    }
}

impl<T> Places<T> {
    fn get(&self, number: u32) -> Option<&T> {
        self.all.get(number as usize)?.as_ref()
    }

    fn get_mut(&mut self, number: u32) -> Option<&mut T> {
        self.all.get_mut(number as usize)?.as_mut()
    }

    fn insert(&mut self, one: T) -> u32 {
        if let Some(number) = self.free.pop() {
            self.all[number as usize] = Some(one);
            return number;
        }
        self.all.push(Some(one));
        self.all.len() as u32 - 1
    }

    fn remove(&mut self, number: u32) -> Option<T> {
        let taken = self.all.get_mut(number as usize)?.take();
        if taken.is_some() {
            self.free.push(number);
        }
        taken
    }
}

#[derive(Debug, Default)]
pub struct LiveIndex {
    all: RoaringBitmap,
    texts: Places<Text>,
    /// Texts that are a name and a field.
    names: NumberTable,
    forms: LiveNames,
    labels: Places<Label>,
    label_numbers: NumberTable,
    hasher: DefaultHashBuilder,
    memory_bytes: usize,
    /// Numbers of the last series: neighbours of a scrape or of a line share most of their texts.
    before: Vec<u32>,
    /// Where the texts of the series stand that is being added, and which they are.
    parts: Vec<Part>,
}

#[derive(Debug, Clone)]
struct Part {
    /// Empty for the name.
    key: Range<usize>,
    value: Range<usize>,
    number: u32,
}

/// The text behind the length that canonical bytes put before it.
fn text_of(bytes: &[u8]) -> &str {
    let text = varint::get_slice(bytes, &mut 0).unwrap_or_default();
    std::str::from_utf8(text).unwrap_or_default()
}

fn name_and_field(bytes: &[u8]) -> (&str, &str) {
    let mut at = 0;
    let name = varint::get_slice(bytes, &mut at).unwrap_or_default();
    (
        std::str::from_utf8(name).unwrap_or_default(),
        text_of(&bytes[at..]),
    )
}

fn not_canonical(cause: &str) -> CoreError {
    CoreError::Corrupt(format!("cannot register a series: {cause}"))
}

/// Where the next text stands with its length, which must be written as short as can be.
fn span(bytes: &[u8], at: &mut usize) -> Result<Range<usize>> {
    let from = *at;
    let text = varint::get_slice(bytes, at)?;
    if *at - from != text.len() + varint::size(text.len() as u64) {
        return Err(not_canonical("a length is longer than it must be"));
    }
    Ok(from..*at)
}

impl LiveIndex {
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    pub fn memory_bytes(&self) -> usize {
        self.memory_bytes
    }

    /// Adds a series; gives the numbers of its texts, for `canonical` and `remove`.
    pub fn insert(&mut self, reference: u32, canonical: &[u8]) -> Result<Vec<u8>> {
        let mut parts = std::mem::take(&mut self.parts);
        let outcome = self.insert_parts(reference, canonical, &mut parts);
        self.parts = parts;
        outcome
    }

    fn insert_parts(
        &mut self,
        reference: u32,
        canonical: &[u8],
        parts: &mut Vec<Part>,
    ) -> Result<Vec<u8>> {
        split(canonical, parts)?;
        let same_count = self.before.len().min(parts.len());
        for (part, &guess) in parts.iter_mut().zip(&self.before[..same_count]) {
            if self.is_text(
                guess,
                &canonical[part.key.clone()],
                &canonical[part.value.clone()],
            ) {
                part.number = guess;
            }
        }
        // Nothing changes before all is known to be good.
        for part in parts.iter().filter(|part| part.number == NONE) {
            check_text(canonical, part)?;
        }
        let mut numbers = Vec::with_capacity(parts.len() * 3);
        self.before.clear();
        for part in parts {
            if part.number == NONE {
                let (key, value) = (&canonical[part.key.clone()], &canonical[part.value.clone()]);
                part.number = if part.key.is_empty() {
                    self.name_number(value)
                } else {
                    self.value_number(key, value)
                };
            }
            varint::put(&mut numbers, u64::from(part.number));
            self.before.push(part.number);
            if let Some(text) = self.texts.get_mut(part.number) {
                text.series.insert(reference);
            }
        }
        self.memory_bytes += (self.before.len() + 1) * POSTING_BYTES;
        self.all.insert(reference);
        Ok(numbers)
    }

    fn is_text(&self, number: u32, key: &[u8], value: &[u8]) -> bool {
        self.texts.get(number).is_some_and(|text| {
            *text.bytes == *value
                && match self.labels.get(text.label) {
                    Some(label) => *label.key == *key,
                    None => key.is_empty(),
                }
        })
    }

    fn name_number(&mut self, bytes: &[u8]) -> u32 {
        let hash = self.hasher.hash_one(bytes);
        let texts = &self.texts;
        let is_it = |number| texts.get(number).is_some_and(|text| *text.bytes == *bytes);
        if let Some(known) = self.names.find(hash, is_it) {
            return known;
        }
        let number = self.add_text(NONE, bytes);
        self.names.insert(hash, number);
        let (name, field) = name_and_field(bytes);
        self.memory_bytes += self.forms.insert(name, field, number);
        number
    }

    fn value_number(&mut self, key: &[u8], value: &[u8]) -> u32 {
        let label = self.label_number(key);
        let hash = self.hasher.hash_one(value);
        let texts = &self.texts;
        let is_it = |number| texts.get(number).is_some_and(|text| *text.bytes == *value);
        let values = self.labels.get(label).map(|label| &label.values);
        if let Some(known) = values.and_then(|values| values.find(hash, is_it)) {
            return known;
        }
        let number = self.add_text(label, value);
        if let Some(label) = self.labels.get_mut(label) {
            label.values.insert(hash, number);
            label.value_count += 1;
        }
        number
    }

    fn add_text(&mut self, label: u32, bytes: &[u8]) -> u32 {
        self.memory_bytes += TEXT_BYTES + bytes.len();
        self.texts.insert(Text {
            label,
            bytes: bytes.into(),
            series: Postings::EMPTY,
        })
    }

    fn find_label(&self, key: &[u8]) -> Option<u32> {
        let is_it = |number| self.labels.get(number).is_some_and(|one| *one.key == *key);
        self.label_numbers.find(self.hasher.hash_one(key), is_it)
    }

    fn label_number(&mut self, key: &[u8]) -> u32 {
        if let Some(known) = self.find_label(key) {
            return known;
        }
        self.memory_bytes += LABEL_BYTES + key.len();
        let number = self.labels.insert(Label {
            key: key.into(),
            values: NumberTable::default(),
            value_count: 0,
        });
        self.label_numbers.insert(self.hasher.hash_one(key), number);
        number
    }

    /// Takes a series out; `numbers` are what `insert` gave for it.
    pub fn remove(&mut self, reference: u32, numbers: &[u8]) {
        self.all.remove(reference);
        for number in decoded(numbers) {
            self.memory_bytes = self.memory_bytes.saturating_sub(POSTING_BYTES);
            let Some(text) = self.texts.get_mut(number) else {
                continue;
            };
            if text.series.remove(reference) {
                self.forget_text(number);
            }
        }
        self.memory_bytes = self.memory_bytes.saturating_sub(POSTING_BYTES);
        if self.all.is_empty() {
            *self = Self::default();
        }
    }

    fn forget_text(&mut self, number: u32) {
        let Some(text) = self.texts.remove(number) else {
            return;
        };
        let mut given = TEXT_BYTES + text.bytes.len();
        let hash = self.hasher.hash_one(&*text.bytes);
        if text.label == NONE {
            self.names.remove(hash, number);
            let (name, field) = name_and_field(&text.bytes);
            given += self.forms.remove(name, field, number);
        } else if let Some(label) = self.labels.get_mut(text.label) {
            label.values.remove(hash, number);
            label.value_count -= 1;
            if label.value_count == 0 {
                given += LABEL_BYTES + label.key.len();
                let hash = self.hasher.hash_one(&*label.key);
                self.label_numbers.remove(hash, text.label);
                self.labels.remove(text.label);
            }
        }
        self.memory_bytes = self.memory_bytes.saturating_sub(given);
    }

    /// Appends the canonical bytes of a series from the numbers of its texts.
    pub fn canonical(&self, numbers: &[u8], out: &mut Vec<u8>) {
        let label_count = numbers.iter().filter(|&&byte| byte < 0x80).count() - 1;
        for (at, number) in decoded(numbers).enumerate() {
            let Some(text) = self.texts.get(number) else {
                continue;
            };
            if let Some(label) = self.labels.get(text.label) {
                out.extend_from_slice(&label.key);
            }
            out.extend_from_slice(&text.bytes);
            if at == 0 {
                varint::put(out, label_count as u64);
            }
        }
    }

    /// Names of labels of which a series that `is_wanted` has a value, and `__name__`.
    pub fn label_names(&self, mut is_wanted: impl FnMut(u32) -> bool, out: &mut Vec<String>) {
        if !self.all.iter().any(&mut is_wanted) {
            return;
        }
        out.push("__name__".to_owned());
        for label in self.labels.all.iter().flatten() {
            let mut values = label
                .values
                .iter()
                .filter_map(|value| self.texts.get(value));
            if values.any(|text| text.series.any(&mut is_wanted)) {
                out.push(text_of(&label.key).to_owned());
            }
        }
    }

    /// Values of a label that a series has which `is_wanted`; one may come twice.
    pub fn label_values(
        &self,
        target: &Target,
        mut is_wanted: impl FnMut(u32) -> bool,
        out: &mut Vec<String>,
    ) {
        self.each_listed(target, &mut |value, numbers| {
            let mut texts = numbers.iter().filter_map(|&number| self.texts.get(number));
            if texts.any(|text| text.series.any(&mut is_wanted)) {
                out.push(value.to_owned());
            }
        });
    }

    /// Copies the texts with numbers from `first` on, `count` at most; says whether more may come.
    pub fn copy_texts(&self, first: u32, count: u32, out: &mut TextCopies) -> bool {
        let until = (first as usize + count as usize).min(self.texts.all.len());
        for number in first..until as u32 {
            if let Some(text) = self.texts.get(number) {
                let key = self.labels.get(text.label).map(|label| &*label.key);
                out.push(number, key.unwrap_or_default(), &text.bytes);
            }
        }
        until < self.texts.all.len()
    }

    fn each_listed(&self, target: &Target, visit: &mut dyn FnMut(&str, &[u32])) {
        match target {
            Target::PromqlName => self.forms.each_promql_name(visit),
            Target::Name => self.forms.each_name(visit),
            Target::Field => self.forms.each_field(visit),
            Target::Label(label) => {
                let label = self.find_label(&with_length(label));
                let Some(label) = label.and_then(|number| self.labels.get(number)) else {
                    return;
                };
                for number in label.values.iter() {
                    if let Some(text) = self.texts.get(number) {
                        visit(text_of(&text.bytes), &[number]);
                    }
                }
            }
        }
    }

    fn numbers(&self, target: &Target, value: &str) -> Vec<u32> {
        match target {
            Target::PromqlName => self.forms.of_promql_name(value),
            Target::Name => self.forms.of_name(value),
            Target::Field => self.forms.of_field(value),
            Target::Label(label) => {
                let value = with_length(value);
                let is_it = |number| {
                    self.texts
                        .get(number)
                        .is_some_and(|one| *one.bytes == *value)
                };
                let label = self.find_label(&with_length(label));
                let values = label.and_then(|number| Some(&self.labels.get(number)?.values));
                let hash = self.hasher.hash_one(&value[..]);
                let found = values.and_then(|values| values.find(hash, is_it));
                found.into_iter().collect()
            }
        }
    }

    fn union(&self, numbers: &[u32]) -> Option<Cow<'_, RoaringBitmap>> {
        let mut texts = numbers.iter().filter_map(|&number| self.texts.get(number));
        let mut series = texts.next()?.series.bitmap();
        for text in texts {
            *series.to_mut() |= &*text.series.bitmap();
        }
        Some(series)
    }
}

/// Texts outside of the index: the key of a label (none for a name and field) and the bytes.
#[derive(Debug, Default)]
pub struct TextCopies {
    bytes: Vec<u8>,
    /// Number, where the value starts, where it ends.
    rows: Vec<(u32, usize, usize)>,
}

impl TextCopies {
    fn push(&mut self, number: u32, key: &[u8], value: &[u8]) {
        self.bytes.extend_from_slice(key);
        let start = self.bytes.len();
        self.bytes.extend_from_slice(value);
        self.rows.push((number, start, self.bytes.len()));
    }

    pub fn len(&self) -> usize {
        self.rows.len()
    }

    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    pub fn number(&self, at: usize) -> u32 {
        self.rows[at].0
    }

    pub fn number_max(&self) -> u32 {
        self.rows.last().map_or(0, |row| row.0)
    }

    /// Key and value.
    pub fn get(&self, at: usize) -> (&[u8], &[u8]) {
        let (_, start, end) = self.rows[at];
        let from = at.checked_sub(1).map_or(0, |before| self.rows[before].2);
        (&self.bytes[from..start], &self.bytes[start..end])
    }
}

fn with_length(text: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len() + 2);
    varint::put_slice(&mut bytes, text.as_bytes());
    bytes
}

fn decoded(numbers: &[u8]) -> impl Iterator<Item = u32> + '_ {
    let mut at = 0;
    std::iter::from_fn(move || {
        let number = varint::get(numbers, &mut at).ok()?;
        Some(number as u32)
    })
}

/// Finds the texts of canonical bytes; refuses what could not be put together again.
fn split(canonical: &[u8], parts: &mut Vec<Part>) -> Result<()> {
    parts.clear();
    let mut at = 0;
    span(canonical, &mut at)?;
    span(canonical, &mut at)?;
    parts.push(Part {
        key: 0..0,
        value: 0..at,
        number: NONE,
    });
    let from = at;
    let count = varint::get(canonical, &mut at)?;
    if count > canonical.len() as u64 || at - from != varint::size(count) {
        return Err(not_canonical("its number of labels cannot be"));
    }
    for _ in 0..count {
        let (key, value) = (span(canonical, &mut at)?, span(canonical, &mut at)?);
        parts.push(Part {
            key,
            value,
            number: NONE,
        });
    }
    if at != canonical.len() {
        return Err(not_canonical("there are bytes behind its end"));
    }
    Ok(())
}

/// Texts that are known are UTF-8; others are checked here.
fn check_text(canonical: &[u8], part: &Part) -> Result<()> {
    for span in [&part.key, &part.value] {
        let bytes = &canonical[span.clone()];
        let mut at = 0;
        while at < bytes.len() {
            std::str::from_utf8(varint::get_slice(bytes, &mut at)?)
                .map_err(|_| not_canonical("a text is not UTF-8"))?;
        }
    }
    Ok(())
}

impl LabelIndex for LiveIndex {
    fn all(&self) -> RoaringBitmap {
        self.all.clone()
    }

    fn postings(&self, target: &Target, value: &str) -> Result<Option<Cow<'_, RoaringBitmap>>> {
        Ok(self.union(&self.numbers(target, value)))
    }

    fn each_value(
        &self,
        target: &Target,
        prefix: &str,
        visit: &mut dyn FnMut(&str, &RoaringBitmap),
    ) -> Result<()> {
        let mut visit_with = |value: &str, numbers: &[u32]| {
            if value.starts_with(prefix)
                && let Some(series) = self.union(numbers)
            {
                visit(value, &series);
            }
        };
        self.each_listed(target, &mut visit_with);
        if matches!(target, Target::PromqlName) {
            self.forms.each_legacy_name(visit_with);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::series::{SeriesView, canonical};
    use proptest::prelude::*;

    type Given = (u8, u8, Vec<(u8, u8)>);

    fn bytes_of((name, field, labels): &Given) -> Vec<u8> {
        let mut labels = labels.clone();
        labels.sort_unstable();
        labels.dedup_by_key(|(key, _)| *key);
        let name = format!("n.{name}");
        let field = if *field == 0 {
            String::new()
        } else {
            format!("f{field}")
        };
        let labels: Vec<(String, String)> = labels
            .iter()
            .map(|(key, value)| (format!("k{key}"), "v".repeat(usize::from(*value) * 60)))
            .collect();
        let mut pairs: Vec<(&str, &str)> = labels.iter().map(|(k, v)| (&**k, &**v)).collect();
        canonical(&name, &field, &mut pairs).unwrap()
    }

    proptest! {
        #[test]
        fn series_come_back_as_they_were(
            given in prop::collection::vec((0u8..3, 0u8..3, prop::collection::vec((0u8..4, 0u8..4), 0..5)), 1..80),
            removed in prop::collection::vec(any::<bool>(), 80),
        ) {
            let mut index = LiveIndex::default();
            let mut held = Vec::new();
            for (reference, one) in given.iter().enumerate() {
                let bytes = bytes_of(one);
                let numbers = index.insert(reference as u32, &bytes).unwrap();
                held.push((reference as u32, bytes, numbers));
            }
            let kept = |(reference, _, numbers): &(u32, Vec<u8>, Vec<u8>), index: &mut LiveIndex| {
                let leaves = removed[*reference as usize];
                if leaves {
                    index.remove(*reference, numbers);
                }
                !leaves
            };
            held.retain(|one| kept(one, &mut index));
            for (reference, bytes, numbers) in &held {
                let mut again = Vec::new();
                index.canonical(numbers, &mut again);
                prop_assert_eq!(&again, bytes);
                let view = SeriesView::parse(bytes).unwrap();
                for (label, value) in view.labels {
                    let target = Target::Label(label.to_owned());
                    let found = index.postings(&target, value).unwrap().unwrap();
                    prop_assert!(found.contains(*reference));
                }
                let name = index.postings(&Target::Name, view.name).unwrap().unwrap();
                prop_assert!(name.contains(*reference));
            }
            prop_assert_eq!(index.all().len(), held.len() as u64);
            for (reference, _, numbers) in &held {
                index.remove(*reference, numbers);
            }
            prop_assert_eq!(index.memory_bytes(), 0);
            prop_assert!(index.texts.all.is_empty());
        }

        #[test]
        fn any_bytes_are_taken_whole_or_refused(bytes: Vec<u8>) {
            let mut index = LiveIndex::default();
            if let Ok(numbers) = index.insert(1, &bytes) {
                let mut again = Vec::new();
                index.canonical(&numbers, &mut again);
                prop_assert_eq!(again, bytes);
            } else {
                prop_assert_eq!(index.memory_bytes(), 0);
            }
        }
    }
}
