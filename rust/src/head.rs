//! Recent samples, in memory, until a flush makes them a block.
//!
//! `ingest/apply` appends to the active generation; `store` freezes it, writes a block from the
//! frozen one while both stay readable, and releases it once the block is published.

use crate::error::{CoreError, Result};
use crate::generation::Generation;
use crate::pending::Part;
use crate::record::{Record, RecordKind, corrupt};
use crate::record_control::decode_delete;
use crate::record_samples::{Columns, Samples, decode_samples};
use crate::resolve::Resolved;
use crate::selector::Matcher;
use crate::series_table::{Admitted, Flight, SeriesTable, Table, Tenant};
use crate::source::{Source, TimeRange};
use parking_lot::{Mutex, RwLock};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::sync_channel;

/// Records that a replay resolves before the first of them is appended.
const REPLAY_PARTS_AHEAD: usize = 64;

pub struct Head {
    table: SeriesTable,
    /// Shared by those who append, exclusive while generations change.
    active: RwLock<Arc<Generation>>,
    frozen: Mutex<Vec<Arc<Generation>>>,
    /// One behind the greatest offset that was applied.
    next_offset: AtomicU64,
}

impl Head {
    pub fn new(table: SeriesTable) -> Self {
        Self {
            active: RwLock::new(Arc::new(Generation::new(table.clone()))),
            table,
            frozen: Mutex::default(),
            next_offset: AtomicU64::new(0),
        }
    }

    fn note_offset(&self, offset: u64) {
        self.next_offset
            .fetch_max(offset.saturating_add(1), Relaxed);
    }

    /// Appends what a batch resolved to; `offset` is where its record stands in the log.
    pub fn apply(&self, resolved: &Resolved, offset: u64) -> Result<()> {
        if !Arc::ptr_eq(&resolved.table, &self.table.0) {
            return Err(CoreError::Invalid(
                "cannot apply a batch: another series table resolved it".into(),
            ));
        }
        let active = self.active.read();
        self.note_offset(offset);
        active.append(&resolved.tenant, resolved.part())
    }

    /// Applies a record of the log again: samples, definitions or a delete. Says how many samples
    /// it appended. Metadata is not the head's.
    pub fn replay(&self, record: &[u8], offset: u64) -> Result<u64> {
        let record = Record::parse(record)?;
        match record.kind {
            RecordKind::Samples => self.replay_samples(&record, offset),
            RecordKind::Definitions => {
                self.note_offset(offset);
                self.table.load_record(&record).map(|_| 0)
            }
            RecordKind::Delete => {
                let delete = decode_delete(&record)?;
                let matchers = Matcher::parse_all(&delete.matchers)?;
                self.delete(record.tenant, &matchers, delete.range, offset)
                    .map(|_| 0)
            }
            RecordKind::Metadata | RecordKind::Exemplars | RecordKind::Attributes => {
                Err(CoreError::Invalid(format!(
                    "cannot replay a record of kind {} into the head",
                    record.kind.name()
                )))
            }
        }
    }

    /// Replays records of samples and definitions, the first of which has this offset, up to the
    /// first of another kind; says how many. One thread finds the series, another one appends.
    pub fn replay_run<R: AsRef<[u8]>>(&self, records: &[R], first_offset: u64) -> Result<usize> {
        let active = self.active.read();
        let (sender, receiver) = sync_channel::<Box<Replayed>>(REPLAY_PARTS_AHEAD);
        std::thread::scope(|scope| {
            let appender = scope.spawn(|| {
                let mut parts = receiver.into_iter();
                parts.try_for_each(|part| active.append(&part.tenant, part.part()))
            });
            let mut count = 0;
            let mut outcome = Ok(());
            for (record, offset) in records.iter().zip(first_offset..) {
                match self.prepare(record.as_ref(), offset) {
                    Ok(Prepared::Nothing) => {}
                    Ok(Prepared::Samples(part)) => {
                        // Where nobody receives, the appender has failed: it says why.
                        if sender.send(part).is_err() {
                            break;
                        }
                    }
                    Ok(Prepared::Control) => break,
                    Err(error) => {
                        outcome = Err(error);
                        break;
                    }
                }
                count += 1;
            }
            drop(sender);
            let appended = appender.join().unwrap_or_else(|_| {
                Err(CoreError::Unavailable(
                    "cannot replay the log: a thread failed".into(),
                ))
            });
            outcome.and(appended).map(|()| count)
        })
    }

    fn prepare(&self, record: &[u8], offset: u64) -> Result<Prepared> {
        let prepared = Record::parse(record).and_then(|record| match record.kind {
            RecordKind::Samples => {
                let samples = self.prepare_samples(&record)?;
                Ok(Prepared::Samples(Box::new(samples)))
            }
            RecordKind::Definitions => self.table.load_record(&record).map(|_| Prepared::Nothing),
            _ => Ok(Prepared::Control),
        });
        if matches!(prepared, Ok(Prepared::Samples(_) | Prepared::Nothing)) {
            self.note_offset(offset);
        }
        prepared.map_err(|error| match error {
            CoreError::Corrupt(cause) | CoreError::Invalid(cause) => {
                CoreError::Corrupt(format!("cannot replay record {offset}: {cause}"))
            }
            other => other,
        })
    }

    fn replay_samples(&self, record: &Record<'_>, offset: u64) -> Result<u64> {
        let replayed = self.prepare_samples(record)?;
        let active = self.active.read();
        self.note_offset(offset);
        active.append(&replayed.tenant, replayed.part())?;
        Ok(replayed.columns.values.len() as u64)
    }

    fn prepare_samples(&self, record: &Record<'_>) -> Result<Replayed> {
        let samples = decode_samples(record)?;
        let tenant = self.table.0.tenant(record.tenant)?;
        let flight = self.table.0.begin_flight();
        let by_id = find_series(&self.table.0, &tenant, &samples, flight.number())?;
        let references = match &samples.key_series {
            None => by_id,
            Some(keys) => keys.iter().map(|&at| by_id[at as usize]).collect(),
        };
        let mut start = 0;
        for (&reference, &end) in references.iter().zip(&samples.columns.key_ends) {
            let hot = self.table.0.store.hot(reference);
            for &time_ns in &samples.columns.times_ns[start..end as usize] {
                hot.note_sample(time_ns);
            }
            start = end as usize;
        }
        Ok(Replayed {
            tenant,
            references,
            columns: samples.columns,
            flight: Arc::new(flight),
        })
    }

    /// Takes matching samples out of the active generation; says how many. Frozen ones and blocks
    /// hide theirs on reads, as their `deletes_through` is smaller than `offset`.
    pub fn delete(
        &self,
        tenant: &str,
        matchers: &[Matcher],
        range: TimeRange,
        offset: u64,
    ) -> Result<u64> {
        let active = self.active.read();
        self.note_offset(offset);
        match self.table.0.find_tenant(tenant) {
            Some(tenant) => active.delete(&tenant, matchers, range),
            None => Ok(0),
        }
    }

    /// Closes the active generation, which holds everything before `next_offset`; None where it
    /// has no samples.
    pub fn freeze(&self, next_offset: u64) -> Result<Option<Arc<Generation>>> {
        let mut active = self.active.write();
        let applied = self.next_offset.load(Relaxed);
        if next_offset < applied {
            return Err(CoreError::Invalid(format!(
                "cannot freeze the head at offset {next_offset}: offset {} is already in it",
                applied - 1
            )));
        }
        if active.sample_count() == 0 {
            // Deletes took everything out again: its memory goes, or the head would stay full.
            if active.is_worn() {
                *active = Arc::new(Generation::new(self.table.clone()));
            }
            return Ok(None);
        }
        let mut frozen = self.frozen.lock();
        active.freeze(next_offset.saturating_sub(1))?;
        let fresh = Arc::new(Generation::new(self.table.clone()));
        let closed = std::mem::replace(&mut *active, fresh);
        frozen.push(closed.clone());
        Ok(Some(closed))
    }

    /// Lets a frozen generation go once its block is published; snapshots may keep it longer.
    pub fn release(&self, generation: &Arc<Generation>) -> Result<()> {
        let mut frozen = self.frozen.lock();
        let at = frozen
            .iter()
            .position(|other| Arc::ptr_eq(other, generation))
            .ok_or_else(|| {
                CoreError::Invalid("cannot release a generation: the head has let it go".into())
            })?;
        let released = frozen.remove(at);
        drop(frozen);
        drop(released);
        Ok(())
    }

    fn generations(&self) -> Vec<Arc<Generation>> {
        // Active before frozen, as freezing locks them: no generation is missed or seen twice.
        let active = self.active.read();
        let frozen = self.frozen.lock();
        frozen.iter().cloned().chain([active.clone()]).collect()
    }

    /// Frozen generations from the oldest on, then the active one.
    pub fn sources(&self) -> Vec<Arc<dyn Source>> {
        let sources = self.generations().into_iter();
        sources.map(|one| one as Arc<dyn Source>).collect()
    }

    pub fn memory_bytes(&self) -> usize {
        self.generations()
            .iter()
            .map(|one| one.memory_bytes())
            .sum()
    }

    pub fn sample_count(&self) -> u64 {
        self.generations()
            .iter()
            .map(|one| one.sample_count())
            .sum()
    }

    pub fn time_range(&self) -> Option<TimeRange> {
        let ranges = self.generations();
        ranges
            .iter()
            .filter_map(|one| one.time_range())
            .reduce(|one, other| TimeRange {
                min_ns: one.min_ns.min(other.min_ns),
                max_ns: one.max_ns.max(other.max_ns),
            })
    }
}

/// What a record holds for the head.
enum Prepared {
    Samples(Box<Replayed>),
    Nothing,
    /// A delete or metadata, which the store has a part in.
    Control,
}

/// A record of samples with its series found.
struct Replayed {
    tenant: Arc<Tenant>,
    references: Vec<u32>,
    columns: Columns,
    flight: Arc<Flight>,
}

impl Replayed {
    fn part(&self) -> Part<'_> {
        Part {
            references: &self.references,
            columns: &self.columns,
            flight: &self.flight,
        }
    }
}

/// References of a record's ids, after registering what it defines.
fn find_series(table: &Table, tenant: &Tenant, samples: &Samples, flight: u32) -> Result<Vec<u32>> {
    let _gate = table.gate.read();
    if !samples.definitions.is_empty() {
        let mut state = tenant.state.write();
        for canonical in &samples.definitions {
            if let Admitted::Series(reference) = table.admit(tenant, &mut state, canonical, None)? {
                table.store.hot(reference).board(flight);
            }
        }
    }
    let state = tenant.state.read();
    let found = table.find_all(&state, &samples.ids).map_err(|id| {
        corrupt(&format!(
            "its series {id:032x} of tenant {:?} is defined nowhere before it",
            tenant.name
        ))
    })?;
    for &reference in &found {
        table.store.hot(reference).board(flight);
    }
    Ok(found)
}

#[cfg(test)]
mod tests;

#[cfg(feature = "python")]
// Python hands over owned arguments.
#[allow(clippy::needless_pass_by_value)]
pub(crate) mod python {
    use super::Head;
    use crate::generation::Generation;
    use crate::resolve::Resolved;
    use crate::selector::Matcher;
    use crate::series_table::python::{PyResolved, PySeriesTable};
    use crate::source::python::PySource;
    use crate::source::{Source, TimeRange};
    use pyo3::prelude::*;
    use pyo3::pybacked::PyBackedBytes;
    use std::sync::Arc;

    #[pyclass(name = "Generation", frozen)]
    pub struct PyGeneration(pub Arc<Generation>);

    #[pymethods]
    impl PyGeneration {
        #[getter]
        fn order(&self) -> u64 {
            self.0.order()
        }

        #[getter]
        fn sample_count(&self) -> u64 {
            self.0.sample_count()
        }

        #[getter]
        fn memory_bytes(&self) -> usize {
            self.0.memory_bytes()
        }

        #[getter]
        fn time_range(&self) -> Option<(i64, i64)> {
            self.0
                .time_range()
                .map(|range| (range.min_ns, range.max_ns))
        }

        fn source(&self) -> PySource {
            PySource(self.0.clone())
        }
    }

    #[pyclass(name = "Head", frozen)]
    pub struct PyHead(pub Head);

    #[pymethods]
    impl PyHead {
        #[new]
        fn new(table: &Bound<'_, PySeriesTable>) -> Self {
            Self(Head::new(table.get().0.clone()))
        }

        fn apply(
            &self,
            py: Python<'_>,
            resolved: &Bound<'_, PyResolved>,
            offset: u64,
        ) -> PyResult<()> {
            let resolved: &Resolved = &resolved.get().0;
            Ok(py.detach(|| self.0.apply(resolved, offset))?)
        }

        fn replay(&self, py: Python<'_>, record: &[u8], offset: u64) -> PyResult<u64> {
            Ok(py.detach(|| self.0.replay(record, offset))?)
        }

        fn replay_run(
            &self,
            py: Python<'_>,
            records: Vec<PyBackedBytes>,
            first_offset: u64,
        ) -> PyResult<usize> {
            Ok(py.detach(|| self.0.replay_run(&records, first_offset))?)
        }

        fn delete(
            &self,
            py: Python<'_>,
            tenant: &str,
            matchers: Vec<(String, String, String)>,
            min_ns: i64,
            max_ns: i64,
            offset: u64,
        ) -> PyResult<u64> {
            let range = TimeRange { min_ns, max_ns };
            Ok(py.detach(|| {
                let matchers = Matcher::parse_all(&matchers)?;
                self.0.delete(tenant, &matchers, range, offset)
            })?)
        }

        fn freeze(&self, py: Python<'_>, next_offset: u64) -> PyResult<Option<PyGeneration>> {
            Ok(py.detach(|| self.0.freeze(next_offset))?.map(PyGeneration))
        }

        fn release(&self, py: Python<'_>, generation: &Bound<'_, PyGeneration>) -> PyResult<()> {
            let generation = generation.get().0.clone();
            Ok(py.detach(|| self.0.release(&generation))?)
        }

        fn sources(&self) -> Vec<PySource> {
            self.0.sources().into_iter().map(PySource).collect()
        }

        #[getter]
        fn memory_bytes(&self) -> usize {
            self.0.memory_bytes()
        }

        #[getter]
        fn sample_count(&self) -> u64 {
            self.0.sample_count()
        }

        #[getter]
        fn time_range(&self) -> Option<(i64, i64)> {
            self.0
                .time_range()
                .map(|range| (range.min_ns, range.max_ns))
        }
    }

    pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
        module.add_class::<PyHead>()?;
        module.add_class::<PyGeneration>()
    }
}
