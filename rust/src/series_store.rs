//! What is known of each live series, by its dense reference.
//!
//! Hot facts (id, shard, last sample, flags) are atomics that the write path reads without a lock;
//! cold ones (tenant, numbers of texts) stand behind one lock per 8192 series. References are reused
//! only once nobody can hold them: see `series_table` on sweeping. A chunk of which nobody has any
//! reference gives its memory back.

use crate::error::{CoreError, Result};
use crate::hot_rows::HotRows;
use crate::series::SeriesId;
use parking_lot::{Mutex, RwLock};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicI64, AtomicU32, AtomicU64, Ordering::Relaxed};

const CHUNK_BITS: u32 = 13;
const CHUNK_SIZE: usize = 1 << CHUNK_BITS;
const CHUNK_COUNT_MAX: usize = 8192;
/// Series of all tenants together in one process.
pub const SERIES_COUNT_MAX: usize = CHUNK_SIZE * CHUNK_COUNT_MAX;

pub const SHARD_MASK: u32 = 0x3ff;
/// The reference stands for a series.
pub const LIVE: u32 = 1 << 10;
/// Its definition is in a record of this epoch.
pub const DEFINED: u32 = 1 << 11;
/// From this bit on, for four of them: how many raw keys lead to the series.
const RAW_KEY: u32 = 1 << 12;
const RAW_KEYS_MASK: u32 = 0xf * RAW_KEY;
/// From this bit on: in how many head generations the series has samples.
const HOLD: u32 = 1 << 16;

/// 32 bytes: half a cache line, the only line of a known series that `resolve` touches.
#[derive(Debug, Default)]
pub struct Hot {
    id_low: AtomicU64,
    id_high: AtomicU64,
    last_sample_ns: AtomicI64,
    flight: AtomicU32,
    state: AtomicU32,
}

impl Hot {
    pub fn id(&self) -> SeriesId {
        u128::from(self.id_low.load(Relaxed)) | u128::from(self.id_high.load(Relaxed)) << 64
    }

    pub fn state(&self) -> u32 {
        self.state.load(Relaxed)
    }

    pub fn shard(&self) -> u16 {
        (self.state() & SHARD_MASK) as u16
    }

    pub fn has(&self, flags: u32) -> bool {
        self.state() & flags == flags
    }

    /// Sets flags and says whether all of them were set before.
    pub fn set(&self, flags: u32) -> bool {
        self.state.fetch_or(flags, Relaxed) & flags == flags
    }

    pub fn unset(&self, flags: u32) -> bool {
        self.state.fetch_and(!flags, Relaxed) & flags == flags
    }

    pub fn is_held(&self) -> bool {
        self.state() >= HOLD
    }

    /// A generation has its first sample of the series.
    pub fn hold(&self) {
        self.state.fetch_add(HOLD, Relaxed);
    }

    pub fn let_go(&self) {
        self.state.fetch_sub(HOLD, Relaxed);
    }

    /// Counts a further raw key; false where as many lead here already. At most 15 are counted.
    pub fn add_raw_key(&self, raw_keys_max: u32) -> bool {
        let add = |state: u32| {
            let has_room = (state & RAW_KEYS_MASK) / RAW_KEY < raw_keys_max.min(15);
            has_room.then_some(state + RAW_KEY)
        };
        self.state.fetch_update(Relaxed, Relaxed, add).is_ok()
    }

    /// The low half of the number of the last flight that looked the series up; says the one before.
    pub fn board(&self, flight: u32) -> u32 {
        let before = self.flight.load(Relaxed);
        if before != flight {
            self.flight.store(flight, Relaxed);
        }
        before
    }

    pub fn flight(&self) -> u32 {
        self.flight.load(Relaxed)
    }

    pub fn last_sample_ns(&self) -> i64 {
        self.last_sample_ns.load(Relaxed)
    }

    /// Two threads may lose the later of two times: it only decides what is idle, and what is in
    /// flight or held is not swept.
    pub fn note_sample(&self, time_ns: i64) {
        if self.last_sample_ns.load(Relaxed) < time_ns {
            self.last_sample_ns.store(time_ns, Relaxed);
        }
    }
}

/// Stands in for references that were never given out.
static NOWHERE: Hot = Hot {
    id_low: AtomicU64::new(0),
    id_high: AtomicU64::new(0),
    last_sample_ns: AtomicI64::new(i64::MIN),
    flight: AtomicU32::new(0),
    state: AtomicU32::new(0),
};

#[derive(Debug, Default, Clone)]
pub struct Cold {
    pub tenant: u32,
    /// In which round it was registered: rounds end where definitions are gathered.
    pub round: u32,
    /// Numbers of its texts in the tenant's live index.
    pub texts: Box<[u8]>,
}

struct Chunk {
    hot: HotRows,
    cold: RwLock<ColdRows>,
}

/// Rows that are allocated while a series of the chunk lives.
#[derive(Default)]
struct ColdRows {
    rows: Vec<Cold>,
    live_count: usize,
}

impl ColdRows {
    fn put(&mut self, at: usize, cold: Cold) {
        if self.rows.is_empty() {
            self.rows = vec![Cold::default(); CHUNK_SIZE];
        }
        self.rows[at] = cold;
        self.live_count += 1;
    }

    fn take(&mut self, at: usize) -> Cold {
        let Some(row) = self.rows.get_mut(at) else {
            return Cold::default();
        };
        let cold = std::mem::take(row);
        self.live_count -= 1;
        if self.live_count == 0 {
            self.rows = Vec::new();
        }
        cold
    }
}

#[derive(Default)]
struct Roster {
    free: Vec<u32>,
    /// References of each chunk that are given out, or were and are not recycled yet.
    taken: Vec<u32>,
    next: u32,
    rounds_done: u32,
    live_count: usize,
    texts_bytes: usize,
}

pub struct SeriesStore {
    chunks: Box<[OnceLock<Chunk>]>,
    roster: Mutex<Roster>,
}

impl Default for SeriesStore {
    fn default() -> Self {
        Self {
            chunks: (0..CHUNK_COUNT_MAX).map(|_| OnceLock::new()).collect(),
            roster: Mutex::default(),
        }
    }
}

impl SeriesStore {
    fn chunk(&self, reference: u32) -> Option<&Chunk> {
        self.chunks.get((reference >> CHUNK_BITS) as usize)?.get()
    }

    #[inline]
    pub fn hot(&self, reference: u32) -> &Hot {
        self.chunk(reference)
            .and_then(|chunk| chunk.hot.get(reference as usize & (CHUNK_SIZE - 1)))
            .unwrap_or(&NOWHERE)
    }

    /// Runs `look` on the cold facts; None where no series is, or none is left around it.
    pub fn cold<T>(&self, reference: u32, look: impl FnOnce(&Cold) -> T) -> Option<T> {
        let chunk = self.chunk(reference)?;
        let cold = chunk.cold.read();
        cold.rows
            .get(reference as usize & (CHUNK_SIZE - 1))
            .map(look)
    }

    /// A reference that nobody has, for `fill` or `recycle`.
    pub fn reserve(&self) -> Result<u32> {
        let mut roster = self.roster.lock();
        if let Some(reference) = roster.free.pop() {
            roster.taken[(reference >> CHUNK_BITS) as usize] += 1;
            return Ok(reference);
        }
        let reference = roster.next;
        if reference as usize >= SERIES_COUNT_MAX {
            return Err(CoreError::Exhausted(format!(
                "cannot register a series: the table holds {SERIES_COUNT_MAX}"
            )));
        }
        let at = (reference >> CHUNK_BITS) as usize;
        if roster.taken.len() <= at {
            let (hot, cold) = (HotRows::new(CHUNK_SIZE)?, RwLock::default());
            // Only here are chunks made, one after the other under the lock.
            let _ = self.chunks[at].set(Chunk { hot, cold });
            roster.taken.push(0);
        }
        roster.taken[at] += 1;
        roster.next += 1;
        Ok(reference)
    }

    /// Makes a reserved reference stand for a series.
    pub fn fill(&self, reference: u32, tenant: u32, id: SeriesId, shard: u16, texts: Box<[u8]>) {
        let Some(chunk) = self.chunk(reference) else {
            return;
        };
        let at = reference as usize & (CHUNK_SIZE - 1);
        let hot = self.hot(reference);
        hot.id_low.store(id as u64, Relaxed);
        hot.id_high.store((id >> 64) as u64, Relaxed);
        hot.last_sample_ns.store(i64::MIN, Relaxed);
        let mut roster = self.roster.lock();
        roster.live_count += 1;
        roster.texts_bytes += texts.len();
        let cold = Cold {
            tenant,
            round: roster.rounds_done + 1,
            texts,
        };
        chunk.cold.write().put(at, cold);
        hot.state
            .store(u32::from(shard) & SHARD_MASK | LIVE, Relaxed);
    }

    /// Forgets a series; the reference is reused only after `recycle`.
    pub fn remove(&self, reference: u32) -> Cold {
        let Some(chunk) = self.chunk(reference) else {
            return Cold::default();
        };
        let at = reference as usize & (CHUNK_SIZE - 1);
        let cold = chunk.cold.write().take(at);
        self.hot(reference).state.store(0, Relaxed);
        let mut roster = self.roster.lock();
        roster.live_count -= 1;
        roster.texts_bytes -= cold.texts.len();
        cold
    }

    /// Nobody has these references any more.
    pub fn recycle(&self, references: &[u32]) {
        let mut roster = self.roster.lock();
        roster.free.extend_from_slice(references);
        for reference in references {
            let at = (reference >> CHUNK_BITS) as usize;
            roster.taken[at] -= 1;
            // The lock is held: none of the chunk is given out meanwhile.
            if roster.taken[at] == 0
                && let Some(chunk) = self.chunk(*reference)
            {
                chunk.hot.forget();
            }
        }
    }

    pub fn live_count(&self) -> usize {
        self.roster.lock().live_count
    }

    /// One behind the greatest reference given out.
    pub fn extent(&self) -> u32 {
        self.roster.lock().next
    }

    /// Ends the round that is under way and gives its number.
    pub fn end_round(&self) -> u32 {
        let mut roster = self.roster.lock();
        roster.rounds_done += 1;
        roster.rounds_done
    }

    pub fn memory_bytes(&self) -> usize {
        let roster = self.roster.lock();
        let made = self.chunks.iter().filter_map(OnceLock::get);
        let rows_bytes = |chunk: &Chunk| chunk.cold.read().rows.len() * size_of::<Cold>();
        let cold: usize = made.map(rows_bytes).sum();
        let used = roster.taken.iter().filter(|&&taken| taken > 0).count();
        let chunks = used * CHUNK_SIZE * size_of::<Hot>() + cold;
        let directory = CHUNK_COUNT_MAX * size_of::<OnceLock<Chunk>>();
        // Each box costs its allocator's header and rounding as well.
        let texts = roster.texts_bytes + roster.live_count * 16;
        chunks + directory + texts + roster.free.capacity() * 4
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(8))]

        /// Whole chunks come and go, so that rows are given back and used again.
        #[test]
        fn series_keep_what_is_theirs(steps in prop::collection::vec((any::<bool>(), 1..3usize), 1..12)) {
            let store = SeriesStore::default();
            let mut model: BTreeMap<u32, u32> = BTreeMap::new();
            let mut tenant = 0;
            for (is_added, chunks) in steps {
                let count = chunks * CHUNK_SIZE / 2 + 3;
                if is_added {
                    tenant += 1;
                    for _ in 0..count {
                        let reference = store.reserve().unwrap();
                        store.fill(reference, tenant, SeriesId::from(tenant), 5, Box::default());
                        store.hot(reference).note_sample(i64::from(tenant));
                        prop_assert_eq!(model.insert(reference, tenant), None);
                    }
                } else {
                    let left: Vec<u32> = model.keys().copied().take(count).collect();
                    for reference in &left {
                        prop_assert_eq!(Some(store.remove(*reference).tenant), model.remove(reference));
                    }
                    store.recycle(&left);
                }
                for (&reference, &tenant) in &model {
                    let hot = store.hot(reference);
                    prop_assert_eq!((hot.id(), hot.shard(), hot.has(LIVE)), (SeriesId::from(tenant), 5, true));
                    prop_assert_eq!(hot.last_sample_ns(), i64::from(tenant));
                }
                prop_assert_eq!(store.live_count(), model.len());
            }
        }
    }

    #[test]
    fn chunks_that_nobody_has_a_reference_of_take_no_rows() {
        let store = SeriesStore::default();
        let references: Vec<u32> = (0..2 * CHUNK_SIZE)
            .map(|_| store.reserve().unwrap())
            .collect();
        for &reference in &references {
            store.fill(reference, 1, SeriesId::from(reference), 0, Box::default());
        }
        let full = store.memory_bytes();
        for &reference in &references {
            store.remove(reference);
        }
        let swept = store.memory_bytes();
        store.recycle(&references[1..]);
        let one_left = store.memory_bytes();
        store.recycle(&references[..1]);
        let rows = CHUNK_SIZE * size_of::<Hot>();
        assert!(full - swept > 2 * CHUNK_SIZE * 16);
        assert!(one_left < swept - rows / 2 && store.memory_bytes() < one_left - rows / 2);
        let again = store.reserve().unwrap();
        assert!((again as usize) < 2 * CHUNK_SIZE && !store.hot(again).has(LIVE));
    }
}
