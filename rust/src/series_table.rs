//! Raw keys to series: the lookup every written sample passes, and the live label index.
//!
//! `resolve` (its own file) reads it for each batch; the head replays and selects through it.
//! A known series takes no lock but shared ones; new series of one tenant are admitted one batch
//! at a time.
//!
//! Sweeping reuses references safely. Whoever looks references up opens a *flight* first and marks
//! each series with its number; a head generation counts a *hold* on each series it has samples
//! of. A series leaves the table only if it is idle, nobody holds it, and its last flight is
//! closed; looking up and leaving exclude each other through `gate`. Its reference is given to
//! another series only once every flight that was open when it left is closed: a generation opens
//! one while it selects. So a reference in a batch on its way, in a live generation or in a
//! snapshot of one never changes its meaning. Active are
//! all series of the table, held ones too: a tenant that writes old samples cannot fill memory
//! beyond its limit.

use crate::error::{CoreError, Result};
use crate::live_index::LiveIndex;
use crate::number_table::NumberTable;
use crate::prefetch::prefetch;
use crate::raw_keys::RawKeys;
use crate::record::{Record, TENANT_BYTES_MAX, corrupt};
use crate::record_control::{Definitions, each_definition};
use crate::row_keys::RowKeys;
use crate::selector::{LabelIndex, Matcher, select_in};
use crate::series::{SeriesId, series_id, shard};
use crate::series_store::{Cold, DEFINED, Hot, LIVE, SeriesStore};
use hashbrown::HashMap;
use parking_lot::{Mutex, RwLock, RwLockReadGuard};
use roaring::RoaringBitmap;
use std::collections::{BTreeMap, BTreeSet};
use std::hash::{BuildHasher, RandomState};
use std::ops::{Deref, DerefMut, Range};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

/// Stands for no series in columns of references.
pub const NO_SERIES: u32 = u32::MAX;
/// Raw spellings remembered of one series: further ones work, more slowly, and cannot fill memory.
const RAW_KEYS_PER_SERIES_MAX: u32 = 8;
const LOOKUP_SHARD_COUNT: usize = 32;
/// Keys whose places are asked for before the first of them is looked at.
const LOOKUP_GROUP: usize = 32;
/// Series looked at under one hold of the gate: about a millisecond where all of them leave.
const SWEEP_STEP: u32 = 1024;
const SWEEP_WAIT: Duration = Duration::from_millis(5);
/// A part of a checkpoint ends soon after so many bytes of canonical bytes.
const PART_BYTES: usize = 1 << 24;

/// Limits on what one call may add to a tenant.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Admission {
    pub active_series_max: u64,
    pub new_series_allowed: bool,
    pub new_series_count: u64,
}

pub(crate) enum Admitted {
    Series(u32),
    Refused(String),
}

#[derive(Default)]
pub(crate) struct LiveSeries {
    by_id: NumberTable,
    index: LiveIndex,
}

/// The live series of one tenant; takes next to nothing while there are none.
#[derive(Default)]
pub(crate) struct TenantState(Option<Box<LiveSeries>>);

static NO_LIVE_SERIES: LazyLock<LiveSeries> = LazyLock::new(LiveSeries::default);

impl Deref for TenantState {
    type Target = LiveSeries;

    fn deref(&self) -> &LiveSeries {
        self.0.as_deref().unwrap_or(&NO_LIVE_SERIES)
    }
}

impl DerefMut for TenantState {
    fn deref_mut(&mut self) -> &mut LiveSeries {
        self.0.get_or_insert_default()
    }
}

pub struct Tenant {
    pub name: Box<str>,
    pub index: u32,
    active: AtomicU64,
    pub(crate) state: RwLock<TenantState>,
}

type LookupShard = RwLock<RawKeys>;

fn lookup_shard(raw_key: u128) -> usize {
    (raw_key >> 123) as usize
}

#[derive(Default)]
struct Flights {
    state: Mutex<FlightsState>,
}

#[derive(Default)]
struct FlightsState {
    last: u64,
    open: BTreeSet<u64>,
}

/// While it lives, the series that were looked up under its number keep their references.
pub(crate) struct Flight {
    flights: Arc<Flights>,
    number: u64,
}

impl Flight {
    pub fn number(&self) -> u32 {
        self.number as u32
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        self.flights.state.lock().open.remove(&self.number);
    }
}

#[derive(Default)]
struct Tenants {
    by_name: HashMap<Arc<str>, u32>,
    list: Vec<Arc<Tenant>>,
}

pub(crate) struct Table {
    pub store: SeriesStore,
    lookup: [LookupShard; LOOKUP_SHARD_COUNT],
    pub rows: RowKeys,
    tenants: RwLock<Tenants>,
    pub gate: RwLock<()>,
    flights: Arc<Flights>,
    epoch: Mutex<u64>,
    /// How often definitions were forgotten.
    pub forgotten: AtomicU64,
    /// References of series that left, with the last flight that may have seen them; its lock is
    /// held by who sweeps.
    leaving: Mutex<Vec<(u64, Vec<u32>)>>,
    scope_hashers: [RandomState; 2],
    id_salt: (u64, u64),
}

/// Shared by everyone who writes or reads; clones are the same table.
#[derive(Clone)]
pub struct SeriesTable(pub(crate) Arc<Table>);

impl Default for SeriesTable {
    fn default() -> Self {
        let hasher = RandomState::new();
        Self(Arc::new(Table {
            store: SeriesStore::default(),
            lookup: std::array::from_fn(|_| RwLock::default()),
            rows: RowKeys::default(),
            tenants: RwLock::default(),
            gate: RwLock::new(()),
            flights: Arc::default(),
            epoch: Mutex::new(0),
            forgotten: AtomicU64::new(0),
            leaving: Mutex::default(),
            scope_hashers: [RandomState::new(), RandomState::new()],
            id_salt: (hasher.hash_one(0u8), hasher.hash_one(1u8)),
        }))
    }
}

impl Table {
    /// Ids can be ground offline to share low bits; a secret product cannot.
    fn id_hash(&self, id: SeriesId) -> u64 {
        let low = u128::from(id as u64 ^ self.id_salt.0);
        let high = u128::from((id >> 64) as u64 ^ self.id_salt.1);
        let product = low.wrapping_mul(high);
        product as u64 ^ (product >> 64) as u64
    }

    pub fn scope(
        &self,
        tenant: &Tenant,
        wire: u8,
        defaults: &[(String, String)],
        forced: &[(String, String)],
    ) -> u128 {
        let [low, high] = &self.scope_hashers;
        let scope = (tenant.index, wire, defaults, forced);
        u128::from(low.hash_one(scope)) | u128::from(high.hash_one(scope)) << 64
    }

    pub fn begin_flight(&self) -> Flight {
        let mut state = self.flights.state.lock();
        state.last += 1;
        let number = state.last;
        state.open.insert(number);
        drop(state);
        Flight {
            flights: self.flights.clone(),
            number,
        }
    }

    fn oldest_flight(&self) -> u64 {
        let state = self.flights.state.lock();
        state.open.first().copied().unwrap_or(state.last + 1)
    }

    fn last_flight(&self) -> u64 {
        self.flights.state.lock().last
    }

    /// Looks raw keys up, in order; `NO_SERIES` where one is unknown. Call it under the gate.
    pub fn look_up(&self, raw_keys: &[u128], out: &mut Vec<u32>) {
        // Recursive reads never wait for a waiting writer, and a writer holds one shard at a time
        // without waiting for another: holding several shards here cannot end in a deadlock.
        let mut shards: [Option<RwLockReadGuard<'_, RawKeys>>; LOOKUP_SHARD_COUNT] =
            [const { None }; LOOKUP_SHARD_COUNT];
        for group in raw_keys.chunks(LOOKUP_GROUP) {
            for &key in group {
                let at = lookup_shard(key);
                let shard = shards[at].get_or_insert_with(|| self.lookup[at].read_recursive());
                shard.prefetch(key);
            }
            out.extend(group.iter().map(|&key| {
                let shard = shards[lookup_shard(key)].as_ref();
                shard.map_or(NO_SERIES, |shard| shard.find(key))
            }));
        }
    }

    /// Remembers where a raw key leads. Call it in the flight that knows `reference`.
    pub fn remember(&self, raw_key: u128, reference: u32) {
        let mut shard = self.lookup[lookup_shard(raw_key)].write();
        let known = shard.find(raw_key);
        if known == reference {
            return;
        }
        let has_room = self
            .store
            .hot(reference)
            .add_raw_key(RAW_KEYS_PER_SERIES_MAX);
        // A key that led to a series which left takes no further memory.
        if has_room || known != NO_SERIES {
            shard.insert(raw_key, reference);
        }
    }

    pub fn find_tenant(&self, name: &str) -> Option<Arc<Tenant>> {
        let tenants = self.tenants.read();
        let at = *tenants.by_name.get(name)?;
        tenants.list.get(at as usize).cloned()
    }

    pub fn tenant_at(&self, index: u32) -> Option<Arc<Tenant>> {
        self.tenants.read().list.get(index as usize).cloned()
    }

    pub fn tenant(&self, name: &str) -> Result<Arc<Tenant>> {
        if let Some(tenant) = self.find_tenant(name) {
            return Ok(tenant);
        }
        if name.is_empty() || name.len() > TENANT_BYTES_MAX {
            return Err(CoreError::Invalid(format!(
                "cannot name a tenant {name:?}: it must have 1 to {TENANT_BYTES_MAX} bytes"
            )));
        }
        let mut tenants = self.tenants.write();
        if let Some(&at) = tenants.by_name.get(name) {
            return Ok(tenants.list[at as usize].clone());
        }
        let tenant = Arc::new(Tenant {
            name: name.into(),
            index: tenants.list.len() as u32,
            active: AtomicU64::new(0),
            state: RwLock::default(),
        });
        tenants.by_name.insert(name.into(), tenant.index);
        tenants.list.push(tenant.clone());
        Ok(tenant)
    }

    /// Finds a series by its id; call it under the gate.
    pub fn find(&self, state: &TenantState, id: SeriesId) -> Option<u32> {
        let same = |reference: u32| self.store.hot(reference).id() == id;
        state.by_id.find(self.id_hash(id), same)
    }

    /// Finds series by their ids, in order; the first id that is unknown is the error. Call it
    /// under the gate.
    pub fn find_all(
        &self,
        state: &TenantState,
        ids: &[SeriesId],
    ) -> std::result::Result<Vec<u32>, SeriesId> {
        let mut found = Vec::with_capacity(ids.len());
        for group in ids.chunks(LOOKUP_GROUP) {
            for &id in group {
                state.by_id.prefetch(self.id_hash(id));
            }
            for &id in group {
                if let Some(reference) = state.by_id.guess(self.id_hash(id)) {
                    prefetch(self.store.hot(reference));
                }
            }
            for &id in group {
                found.push(self.find(state, id).ok_or(id)?);
            }
        }
        Ok(found)
    }

    /// Finds a series or registers it, within the limits where there are any.
    /// Call it under the gate, with the tenant's state locked.
    pub fn admit(
        &self,
        tenant: &Tenant,
        state: &mut TenantState,
        canonical: &[u8],
        limits: Option<&mut Admission>,
    ) -> Result<Admitted> {
        let id = series_id(canonical);
        if let Some(reference) = self.find(state, id) {
            return Ok(Admitted::Series(reference));
        }
        if let Some(limits) = limits {
            if tenant.active.load(Relaxed) >= limits.active_series_max {
                let limit = limits.active_series_max;
                let reason = format!("active series limit of {limit} reached (active_series)");
                return Ok(Admitted::Refused(reason));
            }
            if !limits.new_series_allowed {
                return Err(CoreError::Exhausted(
                    "cannot register a new series: the tenant's rate is used up".to_owned(),
                ));
            }
            limits.new_series_count += 1;
        }
        self.register(tenant, state, id, canonical)
            .map(Admitted::Series)
    }

    fn register(
        &self,
        tenant: &Tenant,
        state: &mut TenantState,
        id: SeriesId,
        canonical: &[u8],
    ) -> Result<u32> {
        let reference = self.store.reserve()?;
        let texts = state.index.insert(reference, canonical);
        let texts = texts.inspect_err(|_| self.store.recycle(&[reference]))?;
        let home = shard(&tenant.name, id);
        self.store
            .fill(reference, tenant.index, id, home, texts.into_boxed_slice());
        state.by_id.insert(self.id_hash(id), reference);
        tenant.active.fetch_add(1, Relaxed);
        Ok(reference)
    }

    fn unregister(&self, tenant: &Tenant, state: &mut TenantState, reference: u32) {
        let hash = self.id_hash(self.store.hot(reference).id());
        tenant.active.fetch_sub(1, Relaxed);
        state.by_id.remove(hash, reference);
        let cold = self.store.remove(reference);
        state.index.remove(reference, &cold.texts);
        if state.index.is_empty() {
            state.0 = None;
        }
    }

    /// Appends the canonical bytes of a series to `out`. The caller keeps the reference in flight
    /// or held, and may hold the lock of an index for reading.
    pub fn canonical(&self, reference: u32, out: &mut Vec<u8>) -> Result<()> {
        let unknown = || corrupt(&format!("series reference {reference} is unknown"));
        let tenant = self.store.cold(reference, |cold| cold.tenant);
        let tenant = tenant.and_then(|index| self.tenant_at(index));
        let tenant = tenant.ok_or_else(unknown)?;
        let state = tenant.state.read_recursive();
        let put = |cold: &Cold| state.index.canonical(&cold.texts, out);
        self.store.cold(reference, put).ok_or_else(unknown)
    }

    /// Every series is defined again in a later epoch; true in the one that is under way.
    pub fn enter_epoch(&self, epoch: u64) {
        let mut current = self.epoch.lock();
        if *current != epoch {
            self.forget_definitions();
            *current = epoch;
        }
    }

    fn forget_definitions(&self) {
        self.forgotten.fetch_add(1, Relaxed);
        for reference in 0..self.store.extent() {
            let hot = self.store.hot(reference);
            // Writing to rows that stand for nothing would take their memory again.
            if hot.has(LIVE) {
                hot.unset(DEFINED);
            }
        }
    }

    /// Series of a tenant that match; `look` sees the index while its lock is held.
    pub fn with_index<T>(tenant: &Tenant, look: impl FnOnce(&LiveIndex) -> T) -> T {
        look(&tenant.state.read().index)
    }

    pub fn select(tenant: &Tenant, matchers: &[Matcher]) -> Result<RoaringBitmap> {
        Self::with_index(tenant, |index| select_in(index, matchers))
    }

    fn sweep_step(&self, from: u32, until: u32, idle_before_ns: i64, left: &mut Vec<u32>) {
        let _gate = self.gate.write();
        let oldest_flight = self.oldest_flight() as u32;
        let mut idle: Vec<(u32, u32)> = Vec::new();
        for reference in from..until {
            if may_leave(self.store.hot(reference), idle_before_ns, oldest_flight) {
                let tenant = self.store.cold(reference, |cold| cold.tenant);
                idle.push((tenant.unwrap_or(0), reference));
            }
        }
        idle.sort_unstable();
        for of_tenant in idle.chunk_by(|one, other| one.0 == other.0) {
            let Some(tenant) = self.tenant_at(of_tenant[0].0) else {
                continue;
            };
            // Writers wait at the gate: behind a long read of the index they would wait long, so
            // a busy tenant is left to the next sweep.
            let Some(mut state) = tenant.state.try_write_for(SWEEP_WAIT) else {
                continue;
            };
            for &(_, reference) in of_tenant {
                self.unregister(&tenant, &mut state, reference);
                left.push(reference);
            }
        }
    }

    /// Drops raw keys that lead to these series, before their references may be given out again.
    fn forget_raw_keys(&self, left: &[u32]) {
        self.rows.forget();
        let mut has_left = vec![0u64; self.store.extent() as usize / 64 + 1];
        for &reference in left {
            has_left[reference as usize / 64] |= 1 << (reference % 64);
        }
        let stays = |reference: u32| {
            let word = has_left.get(reference as usize / 64).copied().unwrap_or(0);
            word >> (reference % 64) & 1 == 0
        };
        for shard in &self.lookup {
            shard.write().retain(stays);
        }
    }
}

/// Whether a series may leave.
fn may_leave(hot: &Hot, idle_before_ns: i64, oldest_flight: u32) -> bool {
    let is_closed = (hot.flight().wrapping_sub(oldest_flight) as i32) < 0;
    let is_idle = hot.has(LIVE) && hot.last_sample_ns() < idle_before_ns;
    is_idle && is_closed && !hot.is_held()
}

impl SeriesTable {
    pub fn active_series(&self, tenant: &str) -> u64 {
        let tenant = self.0.find_tenant(tenant);
        tenant.map_or(0, |tenant| tenant.active.load(Relaxed))
    }

    /// Names of the tenants that have active series.
    pub fn tenants(&self) -> Vec<String> {
        let tenants = self.0.tenants.read();
        let active = tenants
            .list
            .iter()
            .filter(|tenant| tenant.active.load(Relaxed) > 0);
        active.map(|tenant| tenant.name.to_string()).collect()
    }

    pub fn series_count(&self) -> usize {
        self.0.store.live_count()
    }

    /// An estimate, walked together from counters.
    pub fn memory_bytes(&self) -> usize {
        let lookup: usize = self
            .0
            .lookup
            .iter()
            .map(|shard| shard.read().memory_bytes())
            .sum();
        let list: Vec<Arc<Tenant>> = self.0.tenants.read().list.clone();
        let tenants: usize = list
            .iter()
            .map(|tenant| {
                let state = tenant.state.read();
                let own = size_of::<Tenant>() + 2 * tenant.name.len() + 64;
                own + state.by_id.memory_bytes() + state.index.memory_bytes()
            })
            .sum();
        self.0.store.memory_bytes() + lookup + self.0.rows.memory_bytes() + tenants
    }

    pub fn forget_definitions(&self) {
        self.0.forget_definitions();
    }

    /// Lets go of series without a sample since `idle_before_ns`; says how many left the table.
    pub fn sweep(&self, idle_before_ns: i64) -> usize {
        let mut leaving = self.0.leaving.lock();
        let extent = self.0.store.extent();
        let mut left = Vec::new();
        let mut from = 0;
        while from < extent {
            let until = (from + SWEEP_STEP).min(extent);
            self.0.sweep_step(from, until, idle_before_ns, &mut left);
            from = until;
        }
        let count = left.len();
        if count > 0 {
            self.0.forget_raw_keys(&left);
            leaving.push((self.0.last_flight(), left));
        }
        // Who looked a raw key up or selected before its series left is in a flight that was
        // opened before: while one of those is open, no reference is given to another series.
        let oldest_flight = self.0.oldest_flight();
        leaving.retain(|(last_flight, references)| {
            let is_seen = *last_flight >= oldest_flight;
            if !is_seen {
                self.0.store.recycle(references);
            }
            is_seen
        });
        count
    }

    /// Definitions of the series that were registered in the rounds after `since` and are still
    /// here. Ends the round that is under way.
    pub fn definitions(&self, since: u32) -> DefinitionsCursor {
        let until = self.0.store.end_round();
        DefinitionsCursor {
            table: self.clone(),
            rounds: since + 1..until + 1,
            next: 0,
            extent: self.0.store.extent(),
            count: 0,
        }
    }

    /// Registers what `definitions` gave; says how many definitions were read.
    pub fn load_definitions(&self, bytes: &[u8]) -> Result<usize> {
        let mut count = 0;
        let mut rest = bytes;
        while !rest.is_empty() {
            let (record, behind) = rest
                .split_first_chunk::<4>()
                .and_then(|(size, rest)| rest.split_at_checked(u32::from_le_bytes(*size) as usize))
                .ok_or_else(|| corrupt("a checkpoint ends inside a record"))?;
            let record = Record::parse(record)?;
            count += self.load_record(&record)?;
            rest = behind;
        }
        Ok(count)
    }

    /// Registers the series of one definitions record.
    pub fn load_record(&self, record: &Record<'_>) -> Result<usize> {
        let tenant = self.0.tenant(record.tenant)?;
        let (mut bytes, mut rows) = (Vec::new(), Vec::with_capacity(SWEEP_STEP as usize));
        let mut count = 0;
        each_definition(record, |canonical, last_sample_ns| {
            bytes.extend_from_slice(canonical);
            rows.push((bytes.len(), last_sample_ns));
            count += 1;
            if rows.len() == SWEEP_STEP as usize {
                self.load_rows(&tenant, &bytes, &rows)?;
                bytes.clear();
                rows.clear();
            }
            Ok(())
        })?;
        self.load_rows(&tenant, &bytes, &rows)?;
        Ok(count)
    }

    /// Rows are where the canonical bytes of each end, and its last sample.
    fn load_rows(&self, tenant: &Tenant, bytes: &[u8], rows: &[(usize, i64)]) -> Result<()> {
        let _gate = self.0.gate.read();
        let mut state = tenant.state.write();
        let mut from = 0;
        for &(until, last_sample_ns) in rows {
            let canonical = &bytes[from..until];
            let admitted = self.0.admit(tenant, &mut state, canonical, None)?;
            if let Admitted::Series(reference) = admitted {
                self.0.store.hot(reference).note_sample(last_sample_ns);
            }
            from = until;
        }
        Ok(())
    }

    /// Series of a tenant that match every matcher, as references.
    pub fn select(&self, tenant: &str, matchers: &[Matcher]) -> Result<RoaringBitmap> {
        match self.0.find_tenant(tenant) {
            Some(tenant) => Table::select(&tenant, matchers),
            None => Ok(RoaringBitmap::new()),
        }
    }

    pub fn indexed_count(&self, tenant: &str) -> u64 {
        let tenant = self.0.find_tenant(tenant);
        tenant.map_or(0, |tenant| {
            Table::with_index(&tenant, |index| index.all().len())
        })
    }
}

/// Definitions a part at a time, so that a checkpoint of any size takes little memory.
pub struct DefinitionsCursor {
    table: SeriesTable,
    rounds: Range<u32>,
    next: u32,
    extent: u32,
    count: usize,
}

impl DefinitionsCursor {
    /// The round it ends with: the next checkpoint goes on from there.
    pub fn until(&self) -> u32 {
        self.rounds.end - 1
    }

    /// Definitions in the parts given so far.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Some of the definitions, as records with a length before each; empty at the end.
    pub fn next_part(&mut self) -> Result<Vec<u8>> {
        let mut by_tenant = BTreeMap::new();
        let mut size = 0;
        while self.next < self.extent && size < PART_BYTES {
            let until = (self.next + SWEEP_STEP).min(self.extent);
            size += self.gather(self.next..until, &mut by_tenant);
            self.next = until;
        }
        let epoch = *self.table.0.epoch.lock();
        let mut out = Vec::with_capacity(size + size / 8);
        for (tenant, definitions) in by_tenant {
            if let Some(tenant) = self.table.0.tenant_at(tenant) {
                self.count += definitions.len();
                let record = definitions.encode(&tenant.name, epoch)?;
                out.extend_from_slice(&(record.len() as u32).to_le_bytes());
                out.extend_from_slice(&record);
            }
        }
        Ok(out)
    }

    /// Adds the definitions of some references; says how many bytes those are.
    fn gather(&self, references: Range<u32>, out: &mut BTreeMap<u32, Definitions>) -> usize {
        let table = &*self.table.0;
        // Nobody leaves meanwhile.
        let _gate = table.gate.read();
        let tenant_of = |reference: u32| {
            let is_wanted = |cold: &Cold| self.rounds.contains(&cold.round).then_some(cold.tenant);
            let tenant = table.store.cold(reference, is_wanted).flatten()?;
            Some((tenant, reference))
        };
        let is_live = |reference: &u32| table.store.hot(*reference).has(LIVE);
        let mut wanted: Vec<(u32, u32)> =
            references.filter(is_live).filter_map(tenant_of).collect();
        wanted.sort_unstable();
        let mut size = 0;
        let mut canonical = Vec::new();
        for of_tenant in wanted.chunk_by(|one, other| one.0 == other.0) {
            let index = of_tenant[0].0;
            let Some(tenant) = table.tenant_at(index) else {
                continue;
            };
            let definitions = out.entry(index).or_default();
            let state = tenant.state.read();
            for &(_, reference) in of_tenant {
                canonical.clear();
                let put = |cold: &Cold| state.index.canonical(&cold.texts, &mut canonical);
                if table.store.cold(reference, put).is_some() {
                    definitions.push(&canonical, table.store.hot(reference).last_sample_ns());
                    size += canonical.len();
                }
            }
        }
        size
    }
}

#[cfg(test)]
pub(crate) mod tests;

#[cfg(feature = "python")]
pub(crate) mod python {
    use super::{DefinitionsCursor, SeriesTable};
    use crate::batch::python::PyBatch;
    use crate::resolve::{PolicyLabels, ResolveBounds, Resolved};
    use parking_lot::Mutex;
    use pyo3::prelude::*;
    use pyo3::types::PyBytes;

    #[pyclass(name = "ResolveBounds", frozen)]
    pub struct PyResolveBounds(ResolveBounds);

    #[pymethods]
    impl PyResolveBounds {
        #[new]
        #[pyo3(signature = (*, time_min_ns, time_max_ns, active_series_max, new_series_allowed,
                            label_count_max, label_bytes_max))]
        fn new(
            time_min_ns: i64,
            time_max_ns: i64,
            active_series_max: u64,
            new_series_allowed: bool,
            label_count_max: u64,
            label_bytes_max: u64,
        ) -> Self {
            Self(ResolveBounds {
                time_min_ns,
                time_max_ns,
                active_series_max,
                new_series_allowed,
                label_count_max,
                label_bytes_max,
            })
        }
    }

    #[pyclass(name = "SeriesTable", frozen)]
    pub struct PySeriesTable(pub SeriesTable);

    #[pymethods]
    impl PySeriesTable {
        #[new]
        fn new() -> Self {
            Self(SeriesTable::default())
        }

        #[pyo3(signature = (tenant, batch, *, defaults, forced, bounds))]
        fn resolve(
            &self,
            py: Python<'_>,
            tenant: &str,
            batch: &Bound<'_, PyBatch>,
            defaults: Vec<(String, String)>,
            forced: Vec<(String, String)>,
            bounds: &Bound<'_, PyResolveBounds>,
        ) -> PyResult<PyResolved> {
            let labels = PolicyLabels { defaults, forced };
            let (batch, bounds) = (&batch.get().0, bounds.get().0);
            let resolved = py.detach(|| self.0.resolve(tenant, batch, &labels, &bounds))?;
            Ok(PyResolved(resolved))
        }

        fn active_series(&self, tenant: &str) -> u64 {
            self.0.active_series(tenant)
        }

        fn tenants(&self) -> Vec<String> {
            self.0.tenants()
        }

        #[getter]
        fn series_count(&self) -> usize {
            self.0.series_count()
        }

        #[getter]
        fn memory_bytes(&self, py: Python<'_>) -> usize {
            py.detach(|| self.0.memory_bytes())
        }

        fn definitions(&self, since: u32) -> PyDefinitions {
            PyDefinitions(Mutex::new(self.0.definitions(since)))
        }

        fn load_definitions(&self, py: Python<'_>, records: &[u8]) -> PyResult<usize> {
            Ok(py.detach(|| self.0.load_definitions(records))?)
        }

        fn forget_definitions(&self, py: Python<'_>) {
            py.detach(|| self.0.forget_definitions());
        }

        fn sweep(&self, py: Python<'_>, idle_before_ns: i64) -> usize {
            py.detach(|| self.0.sweep(idle_before_ns))
        }
    }

    #[pyclass(name = "Definitions", frozen)]
    pub struct PyDefinitions(Mutex<DefinitionsCursor>);

    #[pymethods]
    impl PyDefinitions {
        #[getter]
        fn until(&self) -> u32 {
            self.0.lock().until()
        }

        #[getter]
        fn count(&self) -> usize {
            self.0.lock().count()
        }

        fn __iter__(this: PyRef<'_, Self>) -> PyRef<'_, Self> {
            this
        }

        fn __next__<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyBytes>>> {
            let part = py.detach(|| self.0.lock().next_part())?;
            Ok((!part.is_empty()).then(|| PyBytes::new(py, &part)))
        }
    }

    #[pyclass(name = "Resolved", frozen)]
    pub struct PyResolved(pub Resolved);

    #[pymethods]
    impl PyResolved {
        #[getter]
        fn tenant(&self) -> &str {
            self.0.tenant()
        }

        #[getter]
        fn sample_count(&self) -> usize {
            self.0.sample_count()
        }

        #[getter]
        fn histogram_count(&self) -> usize {
            self.0.histogram_count()
        }

        #[getter]
        fn time_min_ns(&self) -> Option<i64> {
            self.0.time_min_ns()
        }

        #[getter]
        fn rejected(&self) -> Vec<(u32, String)> {
            let rejected = self.0.rejected.iter();
            rejected.map(|one| (one.line, one.reason.clone())).collect()
        }

        #[getter]
        fn samples_rejected_count(&self) -> u64 {
            self.0.samples_rejected_count
        }

        #[getter]
        fn series_rejected_count(&self) -> u64 {
            self.0.series_rejected_count
        }

        #[getter]
        fn lines_rejected_count(&self) -> u64 {
            self.0.lines_rejected_count
        }

        #[getter]
        fn new_series_count(&self) -> u64 {
            self.0.new_series_count
        }

        #[getter]
        fn shards(&self) -> (u16, u16) {
            self.0.shards
        }

        fn record<'py>(&self, py: Python<'py>, epoch: u64) -> PyResult<Bound<'py, PyBytes>> {
            let record = py.detach(|| self.0.record(epoch))?;
            Ok(PyBytes::new(py, &record))
        }
    }

    pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
        module.add_class::<PySeriesTable>()?;
        module.add_class::<PyDefinitions>()?;
        module.add_class::<PyResolved>()?;
        module.add_class::<PyResolveBounds>()
    }
}
