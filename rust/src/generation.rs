//! One generation of the head: the samples between two flushes, readable while they are flushed.
//!
//! Series are named by their references in the series table; each series with samples here is
//! held, so that neither its reference nor its place in the live index goes while this lives.
//! Batches wait in `pending` until somebody reads or enough are there.

use crate::error::{CoreError, Result};
use crate::live_order::in_block_order;
use crate::pending::{Order, Part, Pending};
use crate::prefetch::prefetch;
use crate::record_samples::{Columns, Kinds};
use crate::sample::{Kind, Run};
use crate::selector::{Matcher, Target};
use crate::series::SeriesId;
use crate::series_table::{SeriesTable, Table, Tenant};
use crate::source::{Reader, Source, TimeRange};
use crate::stripe::{ChainStep, PAGE_SERIES, Stripe};
use parking_lot::{Mutex, RwLock, RwLockWriteGuard};
use roaring::RoaringBitmap;
use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, AtomicUsize, Ordering::Relaxed};

const STRIPE_BITS: u32 = 6;
const STRIPE_COUNT: usize = 1 << STRIPE_BITS;
const PAGE_BITS: u32 = PAGE_SERIES.trailing_zeros();
/// The order of the generation that is written to: it wins over all others.
pub const ACTIVE_ORDER: u64 = u64::MAX;
/// Rows of 32 bits hold so many samples though each of them were of another kind than the last.
const SAMPLES_MAX: u64 = 1 << 29;
const HEAP_BYTES_MAX: usize = u32::MAX as usize;

pub struct Generation {
    table: SeriesTable,
    stripes: Box<[RwLock<Stripe>]>,
    pending: Mutex<Pending>,
    tenants: Mutex<BTreeSet<u32>>,
    /// Last log offset in it, or `ACTIVE_ORDER`; deletes up to there are out of it as well.
    order: AtomicU64,
    min_ns: AtomicI64,
    max_ns: AtomicI64,
    sample_count: AtomicU64,
    heap_bytes: AtomicUsize,
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
            pending: Mutex::default(),
            tenants: Mutex::default(),
            order: AtomicU64::new(ACTIVE_ORDER),
            min_ns: AtomicI64::new(i64::MAX),
            max_ns: AtomicI64::new(i64::MIN),
            sample_count: AtomicU64::new(0),
            heap_bytes: AtomicUsize::new(0),
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

    pub(crate) fn freeze(&self, order: u64) -> Result<()> {
        self.settle()?;
        self.order.store(order, Relaxed);
        Ok(())
    }

    /// Takes a batch in, for readers to see from now on.
    pub(crate) fn append(&self, tenant: &Tenant, part: Part<'_>) -> Result<()> {
        let columns = part.columns;
        if columns.values.is_empty() {
            return Ok(());
        }
        self.check_room(columns)?;
        self.tenants.lock().insert(tenant.index);
        self.widen(&columns.times_ns);
        // Before the samples: a delete that finds them has been counted up for.
        self.sample_count
            .fetch_add(columns.values.len() as u64, Relaxed);
        self.heap_bytes.fetch_add(columns.heap.len(), Relaxed);
        let mut pending = self.pending.lock();
        match columns.kinds {
            Kinds::Constant(kind) if !kind.uses_heap() && columns.sides.is_empty() => {
                self.memory_bytes
                    .fetch_add(Pending::part_bytes(part), Relaxed);
                if pending.push(part, kind) {
                    self.spread(&mut pending)?;
                }
                Ok(())
            }
            _ => {
                self.spread(&mut pending)?;
                self.append_mixed(part)
            }
        }
    }

    /// Appends a batch with payloads, side columns or several kinds at once, behind all that was
    /// pending.
    fn append_mixed(&self, part: Part<'_>) -> Result<()> {
        let mut order = Order::default();
        order.sort(part.references, STRIPE_COUNT, stripe_of);
        for (stripe, keys) in order.groups() {
            let mut locked = Locked::new(self, stripe);
            for &key in keys {
                append_key(&self.table, &mut locked.stripe, part, key as usize)?;
            }
        }
        Ok(())
    }

    /// A stripe addresses rows and payloads by 32 bits. Whatever is taken in must fit one of them
    /// whole, as it is spread only later.
    fn check_room(&self, columns: &Columns) -> Result<()> {
        let samples = self.sample_count() + columns.values.len() as u64;
        let heap_bytes = self.heap_bytes.load(Relaxed) + columns.heap.len();
        if samples > SAMPLES_MAX || heap_bytes > HEAP_BYTES_MAX {
            return Err(CoreError::Exhausted(format!(
                "cannot buffer samples: the head would hold {samples} samples (at most \
                 {SAMPLES_MAX}) with {heap_bytes} bytes of strings (at most {HEAP_BYTES_MAX})"
            )));
        }
        Ok(())
    }

    /// Appends what is pending to its series. Where that fails everything stays pending: what is
    /// appended twice is the same sample twice, of which readers see one.
    fn spread(&self, pending: &mut Pending) -> Result<()> {
        if pending.is_empty() {
            return Ok(());
        }
        pending
            .order
            .sort(&pending.references, STRIPE_COUNT, stripe_of);
        for (stripe, rows) in pending.order.groups() {
            let mut locked = Locked::new(self, stripe);
            append_rows(&self.table, &mut locked.stripe, rows, pending)?;
        }
        self.memory_bytes.fetch_sub(pending.memory_bytes(), Relaxed);
        pending.clear();
        Ok(())
    }

    /// Spreads what is pending, so that whoever reads now meets all that was applied before.
    fn settle(&self) -> Result<()> {
        self.spread(&mut self.pending.lock())
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
        self.settle()?;
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

    /// Whether a series has samples in the range here.
    fn has_samples(&self, reference: u32, range: TimeRange) -> bool {
        let stripe = self.stripes[stripe_of(reference)].read();
        stripe.overlaps(place_of(reference), range)
    }

    /// The tenant, where it may have samples in the range here.
    fn tenant_in(&self, tenant: &str, range: TimeRange) -> Result<Option<Arc<Tenant>>> {
        if self.time_range().is_none_or(|own| !own.overlaps(&range)) {
            return Ok(None);
        }
        self.settle()?;
        Ok(self.table.0.find_tenant(tenant))
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

/// How many rows ahead slots and rows are asked for: a miss takes about as long as so many appends.
const SLOTS_AHEAD: usize = 16;
const ROWS_AHEAD: usize = 8;

fn append_rows(
    table: &SeriesTable,
    stripe: &mut Stripe,
    rows: &[u32],
    pending: &Pending,
) -> Result<()> {
    let is_large = stripe.exceeds_caches();
    let place_at = |at: usize| Some(place_of(pending.references[*rows.get(at)? as usize]));
    let mut kinds = pending.kinds.iter().copied();
    let (mut kind, mut kind_end) = (Kind::Float64, 0);
    for (at, &row) in rows.iter().enumerate() {
        if is_large {
            if let Some(place) = place_at(at + SLOTS_AHEAD) {
                stripe.prefetch_slot(place);
            }
            if let Some(place) = place_at(at + ROWS_AHEAD) {
                stripe.prefetch_row(place);
            }
        }
        while row >= kind_end {
            let Some(next) = kinds.next() else { break };
            (kind, kind_end) = next;
        }
        let row = row as usize;
        let (reference, time_ns) = (pending.references[row], pending.times_ns[row]);
        let (place, bits) = (place_of(reference), pending.values[row]);
        if !stripe.push(place, kind, time_ns, bits) {
            append_run(table, stripe, reference, kind, &[time_ns], &[bits], &[])?;
        }
    }
    Ok(())
}

#[cold]
fn append_run(
    table: &SeriesTable,
    stripe: &mut Stripe,
    reference: u32,
    kind: Kind,
    times_ns: &[i64],
    values: &[u64],
    heap: &[u8],
) -> Result<()> {
    let place = place_of(reference);
    let appended = stripe.append(place, kind, times_ns, values, heap);
    hold(table, reference, appended)
}

/// Holds a series that has its first samples in the generation.
fn hold(
    table: &SeriesTable,
    reference: u32,
    (is_first, outcome): (bool, Result<()>),
) -> Result<()> {
    if is_first {
        table.0.store.hot(reference).hold();
    }
    outcome
}

/// Appends the samples of a key, stretch by stretch of one kind.
fn append_key(table: &SeriesTable, stripe: &mut Stripe, part: Part<'_>, key: usize) -> Result<()> {
    let (reference, columns) = (part.references[key], part.columns);
    let end = columns.key_ends[key] as usize;
    let before = key.checked_sub(1).map(|before| columns.key_ends[before]);
    let mut from = before.unwrap_or(0) as usize;
    while from < end {
        let kind = columns.kinds.at(from);
        let mut until = from + 1;
        while until < end && columns.kinds.at(until) == kind {
            until += 1;
        }
        let (times_ns, values) = (&columns.times_ns[from..until], &columns.values[from..until]);
        if columns.sides.has_any(&(from..until)) {
            let place = place_of(reference);
            let appended = stripe.append_sided(place, kind, columns, from..until);
            hold(table, reference, appended)?;
        } else {
            append_run(
                table,
                stripe,
                reference,
                kind,
                times_ns,
                values,
                &columns.heap,
            )?;
        }
        from = until;
    }
    Ok(())
}

/// Reads series after series. The chunks of one lie far apart, each named by the next: with every
/// read, the chains of those expected are followed one step further, so that none is waited for.
struct Ahead<'a> {
    generation: &'a Generation,
    /// Ordinals and how far their chains have been followed.
    expected: VecDeque<(u32, ChainStep)>,
}

impl Ahead<'_> {
    fn follow(&mut self) {
        for (ordinal, step) in &mut self.expected {
            if *step != ChainStep::End {
                let stripe = self.generation.stripes[stripe_of(*ordinal)].read();
                *step = stripe.follow(place_of(*ordinal), *step);
            }
        }
    }
}

impl Reader for Ahead<'_> {
    fn expect(&mut self, ordinal: u32) {
        let stripe = self.generation.stripes[stripe_of(ordinal)].read();
        stripe.prefetch_slot(place_of(ordinal));
        prefetch(self.generation.table.0.store.hot(ordinal));
        self.expected.push_back((ordinal, ChainStep::Slot));
    }

    fn read(&mut self, ordinal: u32, range: TimeRange, out: &mut Vec<Run>) -> Result<()> {
        if self
            .expected
            .front()
            .is_some_and(|(first, _)| *first == ordinal)
        {
            self.expected.pop_front();
        }
        self.follow();
        self.generation.read(ordinal, range, out)
    }
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
    fn is_head(&self) -> bool {
        true
    }

    fn order(&self) -> u64 {
        self.order.load(Relaxed)
    }

    fn deletes_through(&self) -> u64 {
        self.order.load(Relaxed)
    }

    fn tenants(&self) -> Result<Vec<String>> {
        let indices: Vec<u32> = self.tenants.lock().iter().copied().collect();
        let named = |index| Some(self.table.0.tenant_at(index)?.name.to_string());
        let mut names: Vec<String> = indices.into_iter().filter_map(named).collect();
        names.sort_unstable();
        Ok(names)
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
        self.settle()?;
        // Those of the selected series that are not held here may leave meanwhile: no other series
        // may take up their references before it is known which have samples here.
        let _flight = self.table.0.begin_flight();
        let series = self.table.select(tenant, matchers)?;
        Ok(self.overlapping(&series, range))
    }

    fn in_block_order(&self, tenant: &str, series: &RoaringBitmap) -> Result<Vec<u32>> {
        let tenant = self.table.0.tenant(tenant)?;
        Ok(in_block_order(&self.table.0, &tenant, series))
    }

    fn id(&self, ordinal: u32) -> SeriesId {
        self.table.0.store.hot(ordinal).id()
    }

    fn canonical(&self, ordinal: u32, out: &mut Vec<u8>) -> Result<()> {
        self.table.0.canonical(ordinal, out)
    }

    fn reader(&self) -> Box<dyn Reader + '_> {
        Box::new(Ahead {
            generation: self,
            expected: VecDeque::new(),
        })
    }

    fn read(&self, ordinal: u32, range: TimeRange, out: &mut Vec<Run>) -> Result<()> {
        let stripe = self.stripes[stripe_of(ordinal)].read();
        stripe.read(place_of(ordinal), range, out)
    }

    fn label_names(&self, tenant: &str, range: TimeRange, out: &mut Vec<String>) -> Result<()> {
        if let Some(tenant) = self.tenant_in(tenant, range)? {
            let is_wanted = |reference| self.has_samples(reference, range);
            Table::with_index(&tenant, |index| index.label_names(is_wanted, out));
        }
        Ok(())
    }

    fn label_values(
        &self,
        tenant: &str,
        label: &str,
        range: TimeRange,
        out: &mut Vec<String>,
    ) -> Result<()> {
        if let Some(tenant) = self.tenant_in(tenant, range)? {
            let target = Target::of(label);
            let is_wanted = |reference| self.has_samples(reference, range);
            Table::with_index(&tenant, |index| index.label_values(&target, is_wanted, out));
        }
        Ok(())
    }
}
