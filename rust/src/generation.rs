//! One generation of the head: the samples between two flushes, readable while they are flushed.
//!
//! Series are named by their references in the series table; each series with samples here is
//! held, so that neither its reference nor its place in the live index goes while this lives.

use crate::error::Result;
use crate::record_samples::Columns;
use crate::sample::Run;
use crate::selector::{Matcher, Target};
use crate::series::SeriesId;
use crate::series_table::{SeriesTable, Table, Tenant};
use crate::source::{PlainReader, Reader, Source, TimeRange};
use crate::stripe::{PAGE_SERIES, Stripe};
use parking_lot::{Mutex, RwLock, RwLockWriteGuard};
use roaring::RoaringBitmap;
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicI64, AtomicU64, AtomicUsize, Ordering::Relaxed};

const STRIPE_BITS: u32 = 6;
const STRIPE_COUNT: usize = 1 << STRIPE_BITS;
const PAGE_BITS: u32 = PAGE_SERIES.trailing_zeros();
/// The order of the generation that is written to: it wins over all others.
pub const ACTIVE_ORDER: u64 = u64::MAX;

pub struct Generation {
    table: SeriesTable,
    stripes: Box<[RwLock<Stripe>]>,
    tenants: Mutex<BTreeSet<u32>>,
    /// Last log offset in it, or `ACTIVE_ORDER`; deletes up to there are out of it as well.
    order: AtomicU64,
    min_ns: AtomicI64,
    max_ns: AtomicI64,
    sample_count: AtomicU64,
    memory_bytes: AtomicUsize,
}

/// Neighbouring references share a stripe, so that a batch changes locks every 256 series.
fn stripe_of(reference: u32) -> usize {
    (reference >> PAGE_BITS) as usize & (STRIPE_COUNT - 1)
}

fn place_of(reference: u32) -> usize {
    let page = reference >> PAGE_BITS >> STRIPE_BITS;
    (page as usize) << PAGE_BITS | reference as usize & (PAGE_SERIES - 1)
}

fn reference_of(stripe: usize, place: usize) -> u32 {
    let page = (place >> PAGE_BITS) << STRIPE_BITS | stripe;
    (page << PAGE_BITS | place & (PAGE_SERIES - 1)) as u32
}

impl Generation {
    pub fn new(table: SeriesTable) -> Self {
        let stripes: Box<[RwLock<Stripe>]> = (0..STRIPE_COUNT).map(|_| RwLock::default()).collect();
        Self {
            table,
            tenants: Mutex::default(),
            order: AtomicU64::new(ACTIVE_ORDER),
            min_ns: AtomicI64::new(i64::MAX),
            max_ns: AtomicI64::new(i64::MIN),
            sample_count: AtomicU64::new(0),
            memory_bytes: AtomicUsize::new(size_of_val(&*stripes)),
            stripes,
        }
    }

    pub fn sample_count(&self) -> u64 {
        self.sample_count.load(Relaxed)
    }

    pub fn memory_bytes(&self) -> usize {
        self.memory_bytes.load(Relaxed)
    }

    /// Whether anything was ever appended.
    pub(crate) fn is_worn(&self) -> bool {
        !self.tenants.lock().is_empty()
    }

    pub(crate) fn freeze(&self, order: u64) {
        self.order.store(order, Relaxed);
    }

    /// Appends columns whose key `k` belongs to `references[k]`. The caller keeps the references
    /// in flight meanwhile.
    pub(crate) fn append(
        &self,
        tenant: &Tenant,
        references: &[u32],
        columns: &Columns,
    ) -> Result<()> {
        if columns.values.is_empty() {
            return Ok(());
        }
        self.tenants.lock().insert(tenant.index);
        self.widen(&columns.times_ns);
        // Before the samples: a delete that finds them has been counted up for.
        self.sample_count
            .fetch_add(columns.values.len() as u64, Relaxed);
        let order = by_stripe(references);
        let stripe_at = |key: &u32| stripe_of(references[*key as usize]);
        for keys in order.chunk_by(|one, other| stripe_at(one) == stripe_at(other)) {
            let mut locked = Locked::new(self, stripe_at(&keys[0]));
            append_keys(&self.table, &mut locked.stripe, keys, references, columns)?;
        }
        Ok(())
    }

    fn widen(&self, times_ns: &[i64]) {
        let min_ns = times_ns.iter().copied().min().unwrap_or(i64::MAX);
        let max_ns = times_ns.iter().copied().max().unwrap_or(i64::MIN);
        self.min_ns.fetch_min(min_ns, Relaxed);
        self.max_ns.fetch_max(max_ns, Relaxed);
    }

    /// Takes matching samples out; says how many.
    pub(crate) fn delete(
        &self,
        tenant: &Tenant,
        matchers: &[Matcher],
        range: TimeRange,
    ) -> Result<u64> {
        let mut count = 0;
        let mut locked: Option<Locked<'_>> = None;
        let _flight = self.table.0.begin_flight();
        for reference in &Table::select(tenant, matchers)? {
            let stripe = stripe_of(reference);
            if locked.as_ref().is_none_or(|locked| locked.at != stripe) {
                drop(locked.take());
            }
            let locked = locked.get_or_insert_with(|| Locked::new(self, stripe));
            count += locked.stripe.delete(place_of(reference), range)? as u64;
        }
        self.sample_count.fetch_sub(count, Relaxed);
        Ok(count)
    }

    /// Those of `series` that may have samples in the range.
    fn overlapping(&self, series: &RoaringBitmap, range: TimeRange) -> RoaringBitmap {
        let mut found = Vec::new();
        let mut references = series.iter().peekable();
        while let Some(&first) = references.peek() {
            let stripe = self.stripes[stripe_of(first)].read();
            let same_page = |reference: &u32| reference >> PAGE_BITS == first >> PAGE_BITS;
            while let Some(reference) = references.next_if(same_page) {
                if stripe.overlaps(place_of(reference), range) {
                    found.push(reference);
                }
            }
        }
        found.into_iter().collect()
    }

    fn look(
        &self,
        tenant: &str,
        range: TimeRange,
        look: impl FnOnce(&crate::live_index::LiveIndex, &RoaringBitmap),
    ) -> Result<()> {
        let series = self.select(tenant, &[], range)?;
        if let Some(tenant) = self.table.0.find_tenant(tenant) {
            Table::with_index(&tenant, |index| look(index, &series));
        }
        Ok(())
    }
}

/// A stripe while it is written to; what it grew by is counted when it is let go.
struct Locked<'a> {
    at: usize,
    stripe: RwLockWriteGuard<'a, Stripe>,
    before_bytes: usize,
    memory_bytes: &'a AtomicUsize,
}

impl<'a> Locked<'a> {
    fn new(generation: &'a Generation, at: usize) -> Self {
        let stripe = generation.stripes[at].write();
        Self {
            at,
            before_bytes: stripe.memory_bytes(),
            stripe,
            memory_bytes: &generation.memory_bytes,
        }
    }
}

impl Drop for Locked<'_> {
    fn drop(&mut self) {
        let grown = self.stripe.memory_bytes() - self.before_bytes;
        if grown > 0 {
            self.memory_bytes.fetch_add(grown, Relaxed);
        }
    }
}

/// The order in which to append keys: as they come where that changes stripes seldom, else sorted
/// by stripe. Keys of one series keep their order.
fn by_stripe(references: &[u32]) -> Vec<u32> {
    let changes = |pair: &&[u32]| stripe_of(pair[0]) != stripe_of(pair[1]);
    let change_count = references.windows(2).filter(changes).count();
    let mut order: Vec<u32> = (0..references.len() as u32).collect();
    if change_count > STRIPE_COUNT.min(references.len() / 4) {
        let mut next = [0u32; STRIPE_COUNT];
        for &reference in references {
            next[stripe_of(reference)] += 1;
        }
        let mut start = 0;
        for place in &mut next {
            start += std::mem::replace(place, start);
        }
        for (key, &reference) in references.iter().enumerate() {
            let place = &mut next[stripe_of(reference)];
            order[*place as usize] = key as u32;
            *place += 1;
        }
    }
    order
}

/// How many keys ahead slots and rows are asked for: a miss takes about as long as so many appends.
const SLOTS_AHEAD: usize = 16;
const ROWS_AHEAD: usize = 8;

fn append_keys(
    table: &SeriesTable,
    stripe: &mut Stripe,
    keys: &[u32],
    references: &[u32],
    columns: &Columns,
) -> Result<()> {
    let place_at = |at: usize| Some(place_of(references[*keys.get(at)? as usize]));
    for (at, &key) in keys.iter().enumerate() {
        if let Some(place) = place_at(at + SLOTS_AHEAD) {
            stripe.prefetch_slot(place);
        }
        if let Some(place) = place_at(at + ROWS_AHEAD) {
            stripe.prefetch_row(place);
        }
        let key = key as usize;
        let start = if key == 0 {
            0
        } else {
            columns.key_ends[key - 1]
        };
        let samples = start as usize..columns.key_ends[key] as usize;
        append_key(table, stripe, references[key], columns, samples)?;
    }
    Ok(())
}

fn append_key(
    table: &SeriesTable,
    stripe: &mut Stripe,
    reference: u32,
    columns: &Columns,
    samples: std::ops::Range<usize>,
) -> Result<()> {
    let mut from = samples.start;
    while from < samples.end {
        let kind = columns.kinds.at(from);
        let mut until = from + 1;
        while until < samples.end && columns.kinds.at(until) == kind {
            until += 1;
        }
        let (times_ns, values) = (&columns.times_ns[from..until], &columns.values[from..until]);
        let place = place_of(reference);
        let (is_first, outcome) = stripe.append(place, kind, times_ns, values, &columns.heap);
        if is_first {
            table.0.store.hot(reference).hold();
        }
        outcome?;
        from = until;
    }
    Ok(())
}

impl Drop for Generation {
    fn drop(&mut self) {
        for (at, stripe) in self.stripes.iter_mut().enumerate() {
            for place in stripe.get_mut().held() {
                self.table.0.store.hot(reference_of(at, place)).let_go();
            }
        }
    }
}

impl Source for Generation {
    fn order(&self) -> u64 {
        self.order.load(Relaxed)
    }

    fn deletes_through(&self) -> u64 {
        self.order.load(Relaxed)
    }

    fn tenants(&self) -> Vec<String> {
        let indices: Vec<u32> = self.tenants.lock().iter().copied().collect();
        let named = |index| Some(self.table.0.tenant_at(index)?.name.to_string());
        let mut names: Vec<String> = indices.into_iter().filter_map(named).collect();
        names.sort_unstable();
        names
    }

    fn time_range(&self) -> Option<TimeRange> {
        let range = TimeRange {
            min_ns: self.min_ns.load(Relaxed),
            max_ns: self.max_ns.load(Relaxed),
        };
        (self.sample_count() > 0 && range.min_ns <= range.max_ns).then_some(range)
    }

    fn select(
        &self,
        tenant: &str,
        matchers: &[Matcher],
        range: TimeRange,
    ) -> Result<RoaringBitmap> {
        if self.time_range().is_none_or(|own| !own.overlaps(&range)) {
            return Ok(RoaringBitmap::new());
        }
        // Those of the selected series that are not held here may leave meanwhile: no other series
        // may take up their references before it is known which have samples here.
        let _flight = self.table.0.begin_flight();
        let series = self.table.select(tenant, matchers)?;
        Ok(self.overlapping(&series, range))
    }

    fn id(&self, ordinal: u32) -> SeriesId {
        self.table.0.store.hot(ordinal).id()
    }

    fn canonical(&self, ordinal: u32, out: &mut Vec<u8>) -> Result<()> {
        self.table.0.canonical(ordinal, out)
    }

    fn reader(&self) -> Box<dyn Reader + '_> {
        Box::new(PlainReader(self))
    }

    fn read(&self, ordinal: u32, range: TimeRange, out: &mut Vec<Run>) -> Result<()> {
        let stripe = self.stripes[stripe_of(ordinal)].read();
        stripe.read(place_of(ordinal), range, out)
    }

    fn label_names(&self, tenant: &str, range: TimeRange, out: &mut Vec<String>) -> Result<()> {
        self.look(tenant, range, |index, series| {
            index.label_names(series, out);
        })
    }

    fn label_values(
        &self,
        tenant: &str,
        label: &str,
        range: TimeRange,
        out: &mut Vec<String>,
    ) -> Result<()> {
        let target = Target::of(label);
        self.look(tenant, range, |index, series| {
            index.label_values(&target, series, out);
        })
    }
}
