//! Live series in the order of blocks: by name, then by canonical bytes.
//!
//! A flush asks for it. Comparing the canonical bytes of millions of series would cost microseconds
//! each; here every text gets its rank once, and series are compared by the ranks of their texts.
//! Locks are held for a few milliseconds at most: who flushes must not hold up who writes.

use crate::live_index::TextCopies;
use crate::series_store::SeriesStore;
use crate::series_table::{Table, Tenant};
use crate::varint;
use roaring::RoaringBitmap;
use std::cmp::Ordering;

/// Texts copied under one hold of the index's lock.
const TEXTS_PER_HOLD: u32 = 1 << 14;
/// So many series are sorted by all of their ranks at once, more are split by one rank first.
const SORTED_WHOLE_MAX: usize = 1 << 16;

/// The series in the order of blocks. The caller holds them, so that their texts stay.
pub(crate) fn in_block_order(table: &Table, tenant: &Tenant, series: &RoaringBitmap) -> Vec<u32> {
    let order = Order {
        store: &table.store,
        ranks: ranks(tenant),
    };
    let mut rows: Vec<u64> = series.iter().map(u64::from).collect();
    order.sort_from(&mut rows, 0);
    rows.into_iter().map(|row| row as u32).collect()
}

/// For each text its place among its like: names among names, values among those of all labels.
fn ranks(tenant: &Tenant) -> Vec<u32> {
    let mut copies = TextCopies::default();
    let mut next = 0;
    while Table::with_index(tenant, |index| {
        index.copy_texts(next, TEXTS_PER_HOLD, &mut copies)
    }) {
        next += TEXTS_PER_HOLD;
    }
    let mut order: Vec<usize> = (0..copies.len()).collect();
    order.sort_unstable_by(|&one, &other| compare(copies.get(one), copies.get(other)));
    let mut ranks = vec![0; copies.number_max() as usize + 1];
    for (rank, &at) in order.iter().enumerate() {
        ranks[copies.number(at) as usize] = rank as u32;
    }
    ranks
}

/// Keys and values as canonical bytes have them, with their lengths; a name, which has no key, is
/// compared without its length, and then the field behind it.
fn compare(one: (&[u8], &[u8]), other: (&[u8], &[u8])) -> Ordering {
    let key = one.0.cmp(other.0);
    if key.is_ne() || !one.0.is_empty() {
        return key.then_with(|| one.1.cmp(other.1));
    }
    let name = |text| varint::get_slice(text, &mut 0).unwrap_or_default();
    name(one.1)
        .cmp(name(other.1))
        .then_with(|| one.1.cmp(other.1))
}

struct Order<'a> {
    store: &'a SeriesStore,
    ranks: Vec<u32>,
}

impl Order<'_> {
    /// Sorts rows, whose low halves are references, by what stands from `position` on: 0 is the
    /// name, 1 the number of labels, then the labels. Before it they are all equal.
    fn sort_from(&self, rows: &mut [u64], position: usize) {
        if rows.len() <= SORTED_WHOLE_MAX {
            self.sort_whole(rows);
            return;
        }
        for row in rows.iter_mut() {
            let reference = *row as u32;
            *row = u64::from(self.key(reference, position)) << 32 | u64::from(reference);
        }
        rows.sort_unstable();
        for same in rows.chunk_by_mut(|one, other| one >> 32 == other >> 32) {
            self.sort_from(same, position + 1);
        }
    }

    fn key(&self, reference: u32, position: usize) -> u32 {
        let mut keys = Vec::with_capacity(32);
        self.put_keys(reference, &mut keys);
        keys.get(position).copied().unwrap_or(0)
    }

    fn put_keys(&self, reference: u32, keys: &mut Vec<u32>) {
        let from = keys.len();
        self.store.cold(reference, |cold| {
            let mut at = 0;
            while let Ok(number) = varint::get(&cold.texts, &mut at) {
                keys.push(self.ranks.get(number as usize).copied().unwrap_or(0));
            }
        });
        if keys.len() > from {
            keys.insert(from + 1, count_key((keys.len() - from - 1) as u64));
        }
    }

    fn sort_whole(&self, rows: &mut [u64]) {
        if rows.len() < 2 {
            return;
        }
        let mut keys = Vec::with_capacity(rows.len() * 16);
        let mut spans = Vec::with_capacity(rows.len());
        for row in rows.iter() {
            let from = keys.len();
            self.put_keys(*row as u32, &mut keys);
            spans.push((0, from, keys.len(), *row as u32));
        }
        let shared = shared_len(&keys, &spans);
        for (lead, from, until, _) in &mut spans {
            let mut next = keys[*from..*until]
                .iter()
                .skip(shared)
                .map(|&key| u64::from(key));
            *lead = next.next().unwrap_or(0) << 32 | next.next().unwrap_or(0);
        }
        spans.sort_unstable_by(|one, other| {
            let rest = || keys[one.1..one.2].cmp(&keys[other.1..other.2]);
            one.0.cmp(&other.0).then_with(rest)
        });
        for (row, (_, _, _, reference)) in rows.iter_mut().zip(spans) {
            *row = u64::from(reference);
        }
    }
}

type Span = (u64, usize, usize, u32);

/// How many keys all rows begin with alike.
fn shared_len(keys: &[u32], spans: &[Span]) -> usize {
    let row = |span: &Span| &keys[span.1..span.2];
    let first = row(&spans[0]);
    spans[1..].iter().fold(first.len(), |shared, span| {
        let pairs = first[..shared].iter().zip(row(span));
        pairs.take_while(|(one, other)| one == other).count()
    })
}

/// Compares as the varint of a number of labels does, byte by byte.
fn count_key(count: u64) -> u32 {
    let mut bytes = Vec::with_capacity(4);
    varint::put(&mut bytes, count);
    bytes.resize(4, 0);
    u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::series::canonical;
    use crate::series_table::SeriesTable;
    use crate::series_table::tests::{at, resolve};
    use proptest::prelude::*;

    fn sorted_by_bytes(table: &SeriesTable, series: &RoaringBitmap) -> Vec<u32> {
        let mut rows: Vec<(Vec<u8>, Vec<u8>, u32)> = Vec::new();
        for reference in series {
            let mut bytes = Vec::new();
            table.0.canonical(reference, &mut bytes).unwrap();
            let name = varint::get_slice(&bytes, &mut 0).unwrap().to_vec();
            rows.push((name, bytes, reference));
        }
        rows.sort();
        rows.into_iter()
            .map(|(_, _, reference)| reference)
            .collect()
    }

    fn check(series: &[Vec<u8>]) {
        let table = SeriesTable::default();
        let _held = resolve(&table, "a", &at(1, series));
        let tenant = table.0.tenant("a").unwrap();
        let all = table.select("a", &[]).unwrap();
        let order = in_block_order(&table.0, &tenant, &all);
        assert_eq!(order, sorted_by_bytes(&table, &all));
    }

    proptest! {
        #[test]
        fn ranks_order_as_bytes_do(
            given in prop::collection::vec(
                ("[ab]{1,3}", "[ab]{0,2}", prop::collection::btree_map("[ab]{1,3}", "[ab]{1,3}", 0..4)),
                1..40,
            ),
        ) {
            let series: Vec<Vec<u8>> = given
                .iter()
                .map(|(name, field, labels)| {
                    let mut pairs = labels.iter().map(|(k, v)| (&**k, &**v)).collect();
                    canonical(name, field, &mut pairs).unwrap()
                })
                .collect();
            check(&series);
        }
    }

    #[test]
    fn many_series_are_split_first() {
        let series: Vec<Vec<u8>> = (0..SORTED_WHOLE_MAX + 10)
            .map(|number| {
                let host = (number.wrapping_mul(7919) % 100_003).to_string();
                canonical("up", "", &mut vec![("host", &host), ("zone", "a")]).unwrap()
            })
            .collect();
        check(&series);
    }

    #[test]
    fn counts_order_as_their_bytes() {
        let counts = [0, 1, 127, 128, 129, 255, 256, 1024];
        for one in counts {
            for other in counts {
                let (mut a, mut b) = (Vec::new(), Vec::new());
                varint::put(&mut a, one);
                varint::put(&mut b, other);
                assert_eq!(count_key(one).cmp(&count_key(other)), a.cmp(&b));
            }
        }
    }
}
