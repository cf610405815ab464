//! The label index of a block: symbols, label dictionaries and posting lists, per tenant.
//!
//! `block_writer` builds it series by series; `block` selects through `TenantIndex`. Layout in
//! docs/formats/block.md. Postings hold ordinals of the block, which rise in the series' order, so
//! that names are single ranges and most others a few.

use crate::error::{CoreError, Result};
use crate::section::Section;
use crate::selector::{LabelIndex, Target};
use crate::series::{SeriesView, legacy_name};
use crate::varint;
use hashbrown::{DefaultHashBuilder, HashMap, HashTable};
use roaring::RoaringBitmap;
use std::borrow::Cow;
use std::hash::BuildHasher;
use std::ops::Range;

/// Bytes of all distinct strings of one block, or of one selection.
pub const SYMBOL_BYTES_MAX: usize = u32::MAX as usize;

const LABEL_ROW_BYTES: usize = 24;
const VALUE_ROW_BYTES: usize = 16;
/// Posting lists of up to this many ranges are never tried as a bitmap.
const RANGES_INLINE_MAX: usize = 8;

const POSTINGS_RANGES: u8 = 0;
const POSTINGS_ROARING: u8 = 1;

/// What a dictionary is of; the numbers are persisted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u32)]
enum Dictionary {
    Label = 0,
    PromqlName = 1,
    /// Legacy forms that differ from the exact name: matched, never listed.
    PromqlAlias = 2,
    Measurement = 3,
    Field = 4,
}

/// Distinct strings, numbered as they come.
#[derive(Default)]
pub struct Interner {
    bytes: Vec<u8>,
    ends: Vec<u32>,
    table: HashTable<u32>,
    hasher: DefaultHashBuilder,
}

impl Interner {
    fn get(&self, symbol: u32) -> &[u8] {
        text_of(&self.bytes, &self.ends, symbol)
    }

    /// As [`Self::intern`]; cheaper where `near` stands for the text.
    pub fn intern_near(&mut self, text: &str, near: Option<u32>) -> Result<u32> {
        match near {
            Some(symbol) if self.get(symbol) == text.as_bytes() => Ok(symbol),
            _ => self.intern(text),
        }
    }

    pub fn intern(&mut self, text: &str) -> Result<u32> {
        let hash = self.hasher.hash_one(text.as_bytes());
        let (bytes, ends) = (&self.bytes, &self.ends);
        let same = |&symbol: &u32| text_of(bytes, ends, symbol) == text.as_bytes();
        if let Some(&symbol) = self.table.find(hash, same) {
            return Ok(symbol);
        }
        if self.bytes.len() + text.len() > SYMBOL_BYTES_MAX {
            return Err(CoreError::Exhausted(format!(
                "cannot number texts: names and labels take more than {SYMBOL_BYTES_MAX} bytes"
            )));
        }
        let symbol = self.ends.len() as u32;
        self.bytes.extend_from_slice(text.as_bytes());
        self.ends.push(self.bytes.len() as u32);
        let (bytes, ends, hasher) = (&self.bytes, &self.ends, &self.hasher);
        self.table.insert_unique(hash, symbol, |&other| {
            hasher.hash_one(text_of(bytes, ends, other))
        });
        Ok(symbol)
    }

    pub fn text(&self, symbol: u32) -> &str {
        // Only whole texts were taken in.
        std::str::from_utf8(self.get(symbol)).unwrap_or_default()
    }

    /// The symbols in the byte order of their strings, and for each symbol its place among them.
    pub fn ranks(&self) -> (Vec<u32>, Vec<u32>) {
        let mut order: Vec<u32> = (0..self.ends.len() as u32).collect();
        order.sort_unstable_by(|&a, &b| self.get(a).cmp(self.get(b)));
        let mut rank = vec![0; order.len()];
        for (place, &symbol) in order.iter().enumerate() {
            rank[symbol as usize] = place as u32;
        }
        (order, rank)
    }

    /// The strings in byte order with their ends, and for each symbol its place among them.
    pub fn sorted(&self) -> SortedSymbols {
        let (order, rank) = self.ranks();
        let mut sorted = SortedSymbols {
            bytes: Vec::with_capacity(self.bytes.len()),
            ends: Vec::with_capacity(order.len() * 4),
            rank,
        };
        for &symbol in &order {
            sorted.bytes.extend_from_slice(self.get(symbol));
            let end = sorted.bytes.len() as u32;
            sorted.ends.extend_from_slice(&end.to_le_bytes());
        }
        sorted
    }
}

fn text_of<'a>(bytes: &'a [u8], ends: &[u32], symbol: u32) -> &'a [u8] {
    let at = symbol as usize;
    let from = if at == 0 { 0 } else { ends[at - 1] as usize };
    &bytes[from..ends[at] as usize]
}

pub struct SortedSymbols {
    pub bytes: Vec<u8>,
    pub ends: Vec<u8>,
    pub rank: Vec<u32>,
}

/// Ranges of ordinals, rising: (first, count).
type Ranges = Vec<(u32, u32)>;

/// A dictionary, a label in it (0 where it is of no label), and a value.
type Posting = (Dictionary, u32, u32);

/// Collects the dictionaries of one tenant; symbols are the interner's until [`Self::write`].
#[derive(Default)]
pub struct IndexBuilder {
    places: HashMap<Posting, u32>,
    postings: Vec<Ranges>,
    /// Postings of the series before and their places: neighbours share most.
    recent: Vec<(Posting, u32)>,
    /// `PromQL` names by name and field, so that a name is put together once, not once a series.
    names: HashMap<(u32, u32), (u32, Option<u32>)>,
}

impl IndexBuilder {
    /// Adds the next series; `ordinal` rises from call to call.
    pub fn add(
        &mut self,
        series: &SeriesSymbols,
        view: &SeriesView<'_>,
        ordinal: u32,
        symbols: &mut Interner,
    ) -> Result<()> {
        let key = (series.name, series.field.unwrap_or(u32::MAX));
        let (exact, alias) = match self.names.get(&key) {
            Some(&known) => known,
            None => *self
                .names
                .entry(key)
                .insert(promql_symbols(view, symbols)?)
                .get(),
        };
        let named = [
            Some((Dictionary::PromqlName, 0, exact)),
            alias.map(|alias| (Dictionary::PromqlAlias, 0, alias)),
            Some((Dictionary::Measurement, 0, series.name)),
            series.field.map(|field| (Dictionary::Field, 0, field)),
        ];
        let labels = series.labels.iter();
        let labels = labels.map(|&(label, value)| (Dictionary::Label, label, value));
        for (at, posting) in named.into_iter().flatten().chain(labels).enumerate() {
            self.post(at, posting, ordinal);
        }
        Ok(())
    }

    fn post(&mut self, at: usize, posting: Posting, ordinal: u32) {
        let place = match self.recent.get(at) {
            Some(&(recent, place)) if recent == posting => place,
            _ => self.place(at, posting),
        };
        let ranges = &mut self.postings[place as usize];
        match ranges.last_mut() {
            Some((first, count)) if *first + *count == ordinal => *count += 1,
            _ => ranges.push((ordinal, 1)),
        }
    }

    fn place(&mut self, at: usize, posting: Posting) -> u32 {
        let place = *self.places.entry(posting).or_insert_with(|| {
            self.postings.push(Ranges::new());
            self.postings.len() as u32 - 1
        });
        match self.recent.get_mut(at) {
            Some(recent) => *recent = (posting, place),
            None => self.recent.push((posting, place)),
        }
        place
    }

    /// Appends the tenant's rows; gives the first label row and their number.
    pub fn write(mut self, rank: &[u32], out: &mut IndexBytes) -> (u64, u32) {
        let mut rows: Vec<(Posting, Ranges)> = Vec::with_capacity(self.places.len());
        for (posting, place) in self.places {
            rows.push((posting, std::mem::take(&mut self.postings[place as usize])));
        }
        for ((dictionary, label, value), _) in &mut rows {
            if *dictionary == Dictionary::Label {
                *label = rank[*label as usize];
            }
            *value = rank[*value as usize];
        }
        rows.sort_unstable_by_key(|(key, _)| *key);
        let first = (out.labels.len() / LABEL_ROW_BYTES) as u64;
        let mut label_count = 0;
        for group in rows.chunk_by(|(a, _), (b, _)| (a.0, a.1) == (b.0, b.1)) {
            let ((dictionary, label, _), _) = group[0];
            let value_first = (out.values.len() / VALUE_ROW_BYTES) as u64;
            out.labels
                .extend_from_slice(&(dictionary as u32).to_le_bytes());
            out.labels.extend_from_slice(&label.to_le_bytes());
            out.labels.extend_from_slice(&value_first.to_le_bytes());
            out.labels
                .extend_from_slice(&(group.len() as u32).to_le_bytes());
            out.labels.extend_from_slice(&[0; 4]);
            label_count += 1;
            for ((_, _, value), ranges) in group {
                out.put_value(*value, ranges);
            }
        }
        (first, label_count)
    }
}

fn promql_symbols(view: &SeriesView<'_>, symbols: &mut Interner) -> Result<(u32, Option<u32>)> {
    let exact = view.promql_name();
    let legacy = legacy_name(&exact);
    let alias = if legacy == exact {
        None
    } else {
        Some(symbols.intern(&legacy)?)
    };
    Ok((symbols.intern(&exact)?, alias))
}

/// A series in symbols: of the interner while writing, of the block while reading.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SeriesSymbols {
    pub name: u32,
    pub field: Option<u32>,
    pub labels: Vec<(u32, u32)>,
}

/// Payloads of the three index sections, as they grow.
#[derive(Default)]
pub struct IndexBytes {
    pub labels: Vec<u8>,
    pub values: Vec<u8>,
    pub postings: Vec<u8>,
}

impl IndexBytes {
    /// One value's row: a single range stands in the row, a list in the postings section.
    fn put_value(&mut self, value: u32, ranges: &[(u32, u32)]) {
        let (length, location) = if let [(first, count)] = ranges {
            (0, u64::from(*first) | u64::from(*count) << 32)
        } else {
            let at = self.postings.len();
            put_postings(&mut self.postings, ranges);
            ((self.postings.len() - at) as u32, at as u64)
        };
        self.values.extend_from_slice(&value.to_le_bytes());
        self.values.extend_from_slice(&length.to_le_bytes());
        self.values.extend_from_slice(&location.to_le_bytes());
    }
}

fn put_postings(out: &mut Vec<u8>, ranges: &[(u32, u32)]) {
    let start = out.len();
    out.push(POSTINGS_RANGES);
    let mut end = 0;
    for &(first, count) in ranges {
        varint::put(out, u64::from(first - end));
        varint::put(out, u64::from(count - 1));
        end = first + count;
    }
    if ranges.len() <= RANGES_INLINE_MAX {
        return;
    }
    let bitmap = bitmap_of(ranges);
    if bitmap.serialized_size() < out.len() - start {
        out.truncate(start);
        out.push(POSTINGS_ROARING);
        // Writing to memory does not fail.
        let _ = bitmap.serialize_into(&mut *out);
    }
}

fn bitmap_of(ranges: &[(u32, u32)]) -> RoaringBitmap {
    let mut bitmap = RoaringBitmap::new();
    for &(first, count) in ranges {
        bitmap.insert_range(first..first + count);
    }
    bitmap
}

/// The symbols of a mapped block.
pub struct Symbols<'a> {
    pub file: &'a [u8],
    pub bytes: &'a Section,
    pub ends: &'a Section,
}

impl<'a> Symbols<'a> {
    pub fn count(&self) -> usize {
        self.ends.len() / 4
    }

    pub fn get(&self, symbol: u32) -> Result<&'a str> {
        let at = symbol as usize;
        let from = if at == 0 {
            0
        } else {
            self.ends.u32_at(self.file, at - 1)? as usize
        };
        let to = self.ends.u32_at(self.file, at)? as usize;
        let length = to.checked_sub(from).ok_or_else(|| {
            CoreError::Corrupt(format!(
                "section symbol_ends: symbol {symbol} ends before it starts"
            ))
        })?;
        std::str::from_utf8(self.bytes.slice(self.file, from, length)?).map_err(|_| {
            CoreError::Corrupt(format!("section symbols: symbol {symbol} is not UTF-8"))
        })
    }

    /// The first symbol that is not below `text`.
    fn lower_bound(&self, text: &str) -> Result<u32> {
        let (mut low, mut high) = (0, self.count() as u32);
        while low < high {
            let middle = low + (high - low) / 2;
            if self.get(middle)? < text {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        Ok(low)
    }

    fn find(&self, text: &str) -> Result<Option<u32>> {
        let at = self.lower_bound(text)?;
        Ok((at < self.count() as u32 && self.get(at)? == text).then_some(at))
    }
}

/// One label's dictionary: rows of values in the order of their symbols.
#[derive(Debug, Clone, Copy)]
struct Rows {
    label: u32,
    first: usize,
    count: usize,
}

/// The label index of one tenant in a mapped block.
pub struct TenantIndex<'a> {
    pub symbols: Symbols<'a>,
    pub labels: &'a Section,
    pub values: &'a Section,
    pub postings: &'a Section,
    pub label_first: usize,
    pub label_count: usize,
    pub series_first: u32,
    pub series_count: u32,
}

impl TenantIndex<'_> {
    fn label_row(&self, at: usize) -> Result<(u32, Rows)> {
        let file = self.symbols.file;
        // A number of the file may lead anywhere: behind the section's end it is refused there.
        let words = row_start(self.label_first, at, LABEL_ROW_BYTES / 4);
        let first = u64::from(self.labels.u32_at(file, words + 2)?)
            | u64::from(self.labels.u32_at(file, words + 3)?) << 32;
        let rows = Rows {
            label: self.labels.u32_at(file, words + 1)?,
            first: first as usize,
            count: self.labels.u32_at(file, words + 4)? as usize,
        };
        Ok((self.labels.u32_at(file, words)?, rows))
    }

    fn rows(&self, dictionary: Dictionary, label: u32) -> Result<Option<Rows>> {
        let wanted = (dictionary as u32, label);
        let (mut low, mut high) = (0, self.label_count);
        while low < high {
            let middle = low + (high - low) / 2;
            let (found, rows) = self.label_row(middle)?;
            match (found, rows.label).cmp(&wanted) {
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Greater => high = middle,
                std::cmp::Ordering::Equal => return Ok(Some(rows)),
            }
        }
        Ok(None)
    }

    /// The dictionaries that a target looks into.
    fn dictionaries(&self, target: &Target) -> Result<Vec<Rows>> {
        let (kinds, label): (&[Dictionary], u32) = match target {
            Target::PromqlName => (&[Dictionary::PromqlName, Dictionary::PromqlAlias], 0),
            Target::Name => (&[Dictionary::Measurement], 0),
            Target::Field => (&[Dictionary::Field], 0),
            Target::Label(label) => match self.symbols.find(label)? {
                Some(symbol) => (&[Dictionary::Label], symbol),
                None => return Ok(Vec::new()),
            },
        };
        let mut out = Vec::with_capacity(kinds.len());
        for &kind in kinds {
            out.extend(self.rows(kind, label)?);
        }
        Ok(out)
    }

    fn value_at(&self, rows: Rows, at: usize) -> Result<u32> {
        let word = row_start(rows.first, at, VALUE_ROW_BYTES / 4);
        self.values.u32_at(self.symbols.file, word)
    }

    /// The first row whose symbol is not below `symbol`.
    fn row_of(&self, rows: Rows, symbol: u32) -> Result<usize> {
        let (mut low, mut high) = (0, rows.count);
        while low < high {
            let middle = low + (high - low) / 2;
            if self.value_at(rows, middle)? < symbol {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        Ok(low)
    }

    fn postings_at(&self, rows: Rows, at: usize) -> Result<RoaringBitmap> {
        let file = self.symbols.file;
        let from = row_start(rows.first, at, VALUE_ROW_BYTES);
        let row = self.values.slice(file, from, VALUE_ROW_BYTES)?;
        let mut word = [0; 8];
        word.copy_from_slice(&row[8..]);
        let location = u64::from_le_bytes(word);
        let length = u32::from_le_bytes([row[4], row[5], row[6], row[7]]) as usize;
        let bounds = self.bounds();
        if length > 0 {
            return get_postings(
                self.postings.slice(file, location as usize, length)?,
                &bounds,
            );
        }
        let range = range_within(location & 0xffff_ffff, location >> 32, &bounds)?;
        let mut bitmap = RoaringBitmap::new();
        bitmap.insert_range(range);
        Ok(bitmap)
    }

    /// Ordinals of the tenant's series.
    fn bounds(&self) -> Range<u32> {
        // Opening the block has checked that the sum is the number of its series.
        self.series_first..self.series_first + self.series_count
    }

    /// Names of labels of the tenant's series, without the names `PromQL` adds.
    pub fn label_names(&self, out: &mut Vec<String>) -> Result<()> {
        for at in 0..self.label_count {
            let (dictionary, rows) = self.label_row(at)?;
            if dictionary == Dictionary::Label as u32 {
                out.push(self.symbols.get(rows.label)?.to_owned());
            }
        }
        Ok(())
    }

    /// Values of a label, in byte order; of `__name__` the exact names only.
    pub fn label_values(&self, target: &Target, out: &mut Vec<String>) -> Result<()> {
        let Some(&rows) = self.dictionaries(target)?.first() else {
            return Ok(());
        };
        for at in 0..rows.count {
            out.push(self.symbols.get(self.value_at(rows, at)?)?.to_owned());
        }
        Ok(())
    }
}

/// Where row `first + at` starts; far behind every section's end where that is no number.
fn row_start(first: usize, at: usize, width: usize) -> usize {
    first
        .saturating_add(at)
        .saturating_mul(width)
        .min(usize::MAX / 16)
}

fn broken_postings() -> CoreError {
    CoreError::Corrupt("section postings: a list leads to series that are not the tenant's".into())
}

fn range_within(first: u64, count: u64, bounds: &Range<u32>) -> Result<Range<u32>> {
    first
        .checked_add(count)
        .filter(|&end| first >= u64::from(bounds.start) && end <= u64::from(bounds.end))
        .map(|end| first as u32..end as u32)
        .ok_or_else(broken_postings)
}

/// Reads a list of ordinals inside `bounds`.
fn get_postings(bytes: &[u8], bounds: &Range<u32>) -> Result<RoaringBitmap> {
    match bytes.split_first() {
        Some((&POSTINGS_RANGES, rest)) => {
            let (mut at, mut end) = (0, 0u32);
            let mut bitmap = RoaringBitmap::new();
            while at < rest.len() {
                let first = varint::get(rest, &mut at)?.saturating_add(u64::from(end));
                let count = varint::get(rest, &mut at)?.saturating_add(1);
                let range = range_within(first, count, bounds)?;
                end = range.end;
                bitmap.insert_range(range);
            }
            Ok(bitmap)
        }
        Some((&POSTINGS_ROARING, rest)) => RoaringBitmap::deserialize_from(rest)
            .ok()
            .filter(|bitmap| {
                let lowest = bitmap.min().is_none_or(|first| first >= bounds.start);
                lowest && bitmap.max().is_none_or(|last| last < bounds.end)
            })
            .ok_or_else(broken_postings),
        _ => Err(broken_postings()),
    }
}

impl LabelIndex for TenantIndex<'_> {
    fn all(&self) -> RoaringBitmap {
        bitmap_of(&[(self.series_first, self.series_count)])
    }

    fn postings(&self, target: &Target, value: &str) -> Result<Option<Cow<'_, RoaringBitmap>>> {
        let Some(symbol) = self.symbols.find(value)? else {
            return Ok(None);
        };
        let mut found: Option<RoaringBitmap> = None;
        for rows in self.dictionaries(target)? {
            let at = self.row_of(rows, symbol)?;
            if at < rows.count && self.value_at(rows, at)? == symbol {
                let postings = self.postings_at(rows, at)?;
                found = Some(match found {
                    Some(before) => before | postings,
                    None => postings,
                });
            }
        }
        Ok(found.map(Cow::Owned))
    }

    fn each_value(
        &self,
        target: &Target,
        prefix: &str,
        visit: &mut dyn FnMut(&str, &RoaringBitmap),
    ) -> Result<()> {
        let from = self.symbols.lower_bound(prefix)?;
        for rows in self.dictionaries(target)? {
            for at in self.row_of(rows, from)?..rows.count {
                let value = self.symbols.get(self.value_at(rows, at)?)?;
                if !value.starts_with(prefix) {
                    break;
                }
                visit(value, &self.postings_at(rows, at)?);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn symbols_are_sorted_and_ranked() {
        let mut interner = Interner::default();
        assert_eq!(interner.intern("b").unwrap(), 0);
        assert_eq!(interner.intern("").unwrap(), 1);
        assert_eq!(interner.intern("a").unwrap(), 2);
        assert_eq!(interner.intern("b").unwrap(), 0);
        let sorted = interner.sorted();
        assert_eq!(sorted.bytes, b"ab");
        assert_eq!(sorted.rank, vec![2, 0, 1]);
    }

    proptest! {
        #[test]
        fn postings_round_trip(ordinals in prop::collection::btree_set(0u32..200_000, 2..3000)) {
            let mut ranges: Ranges = Vec::new();
            for &ordinal in &ordinals {
                match ranges.last_mut() {
                    Some((first, count)) if *first + *count == ordinal => *count += 1,
                    _ => ranges.push((ordinal, 1)),
                }
            }
            let mut bytes = Vec::new();
            put_postings(&mut bytes, &ranges);
            let back: Vec<u32> = get_postings(&bytes, &(0..200_000)).unwrap().iter().collect();
            prop_assert_eq!(back, ordinals.into_iter().collect::<Vec<_>>());
        }

        #[test]
        fn any_postings_decode_or_fail(tag in 0u8..3, bytes: Vec<u8>) {
            let mut all = vec![tag];
            all.extend(bytes);
            let _ = get_postings(&all, &(0..5_000));
        }
    }
}
