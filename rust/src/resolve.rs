//! A batch on its way into log and head: keys resolved to series, bad samples refused.
//!
//! `ingest/accept` resolves a batch, appends its record to the log, and hands it to the head.

use crate::batch::{Batch, Key, Rejection};
use crate::error::{CoreError, Result};
use crate::pending::Part;
use crate::prefetch::prefetch;
use crate::record_samples::{Columns, Kinds, SamplesView, all, encode_samples};
use crate::row_keys::Run;
use crate::sample::{Kind, payload};
use crate::series::{SeriesId, SeriesView};
use crate::series_store::{DEFINED, Hot, LIVE, SHARD_MASK};
use crate::series_table::{Admission, Admitted, Flight, NO_SERIES, SeriesTable, Table, Tenant};
use crate::sides::Sides;
use hashbrown::HashMap;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

/// Refusals listed one by one; further ones are only counted.
pub const REJECTIONS_LISTED_MAX: usize = 1000;
/// Keys handled under one hold of the gate, so that sweeping and writing take turns.
const STEP: usize = 1024;
/// Rows likewise.
const ROW_STEP: usize = 128;

#[derive(Debug, Clone, Copy)]
pub struct ResolveBounds {
    pub time_min_ns: i64,
    pub time_max_ns: i64,
    pub active_series_max: u64,
    /// Whether the tenant's rate has room for new series; where not, a batch that brings one is
    /// refused whole, before any is registered.
    pub new_series_allowed: bool,
    pub label_count_max: u64,
    /// For names and values alike.
    pub label_bytes_max: u64,
}

/// Labels a tenant's policy adds: `defaults` where the key lacks them, `forced` over what it has.
#[derive(Debug, Clone, Default)]
pub struct PolicyLabels {
    pub defaults: Vec<(String, String)>,
    pub forced: Vec<(String, String)>,
}

/// A batch as series and columns; keeps its series' references valid while it lives.
pub struct Resolved {
    pub(crate) table: Arc<Table>,
    pub(crate) tenant: Arc<Tenant>,
    flight: Arc<Flight>,
    /// Series of each kept key, and its id.
    pub(crate) references: Vec<u32>,
    ids: Vec<SeriesId>,
    /// Where all series were defined: how often definitions had been forgotten by then.
    defined_at: Option<u64>,
    pub(crate) columns: Columns,
    has_repeats: bool,
    pub shards: (u16, u16),
    pub rejected: Vec<Rejection>,
    pub samples_rejected_count: u64,
    pub series_rejected_count: u64,
    /// Lines with a refusal, listed or not; what stands in no line (line 0) is not among them.
    pub lines_rejected_count: u64,
    pub new_series_count: u64,
}

impl Resolved {
    pub fn sample_count(&self) -> usize {
        self.columns.values.len()
    }

    /// Those of its samples that are native histograms.
    pub fn histogram_count(&self) -> usize {
        self.columns
            .kinds
            .count(Kind::Histogram, self.sample_count())
    }

    pub fn tenant(&self) -> &str {
        &self.tenant.name
    }

    /// The time of its earliest sample.
    pub fn time_min_ns(&self) -> Option<i64> {
        self.columns.times_ns.iter().copied().min()
    }

    /// What the head takes.
    pub(crate) fn part(&self) -> Part<'_> {
        Part {
            references: &self.references,
            columns: &self.columns,
            flight: &self.flight,
        }
    }

    /// The log record, with the definitions of series that no record of this epoch has defined
    /// yet; they count as defined from now on, so the caller appends records in the order of
    /// these calls and calls `forget_definitions` where an append fails.
    pub fn record(&self, epoch: u64) -> Result<Vec<u8>> {
        self.table.enter_epoch(epoch);
        let definitions = self.definitions()?;
        let distinct = self.has_repeats.then(|| self.distinct());
        let (ids, key_series) = match &distinct {
            Some((ids, key_series)) => (&ids[..], Some(&key_series[..])),
            None => (&self.ids[..], None),
        };
        let view = SamplesView {
            ids,
            key_series,
            columns: &self.columns,
            definitions: &definitions,
        };
        encode_samples(&self.tenant.name, epoch, self.shards, &view)
    }

    /// Canonical bytes of series that are not defined yet; from now on they are.
    fn definitions(&self) -> Result<Vec<Vec<u8>>> {
        let mut definitions = Vec::new();
        if self.defined_at == Some(self.table.forgotten.load(Relaxed)) {
            return Ok(definitions);
        }
        for &reference in &self.references {
            let hot = self.table.store.hot(reference);
            if !hot.has(DEFINED) && !hot.set(DEFINED) {
                let mut canonical = Vec::new();
                self.table.canonical(reference, &mut canonical)?;
                definitions.push(canonical);
            }
        }
        Ok(definitions)
    }

    fn distinct(&self) -> (Vec<SeriesId>, Vec<u32>) {
        let mut ids = Vec::new();
        let mut places: HashMap<u32, u32> = HashMap::with_capacity(self.references.len());
        let place = |(reference, id): (&u32, &SeriesId)| {
            *places.entry(*reference).or_insert_with(|| {
                ids.push(*id);
                ids.len() as u32 - 1
            })
        };
        let key_series = self.references.iter().zip(&self.ids).map(place).collect();
        (ids, key_series)
    }
}

/// What a call has refused so far.
#[derive(Default)]
struct Refusals {
    listed: Vec<Rejection>,
    samples_count: u64,
    series_count: u64,
    lines_count: u64,
    line_last: u32,
}

impl Refusals {
    /// Refusals come in the order of their lines: those of times, then those of series whose times
    /// are good, so that no line is met by both.
    fn add(&mut self, line: u32, reason: impl FnOnce() -> String) {
        self.lines_count += u64::from(line != self.line_last && line != 0);
        self.line_last = line;
        if self.listed.len() < REJECTIONS_LISTED_MAX {
            let reason = reason();
            self.listed.push(Rejection { line, reason });
        }
    }
}

/// One batch being resolved.
struct Work<'a> {
    table: &'a Table,
    tenant: &'a Tenant,
    batch: &'a Batch,
    labels: &'a PolicyLabels,
    bounds: &'a ResolveBounds,
    scope: u128,
    flight: u32,
    /// For each key its series, or `NO_SERIES` where it is refused or has no sample; and its id.
    references: Vec<u32>,
    ids: Vec<SeriesId>,
    shards: (u16, u16),
    are_defined: bool,
    /// Rows that were not found, by their number.
    new_rows: Vec<usize>,
    /// False for samples outside the bounds of time; empty where all are inside.
    timely: Vec<bool>,
    has_repeats: bool,
    admission: Admission,
    refusals: Refusals,
}

impl SeriesTable {
    /// Resolves a batch's keys, registers new series within the bounds, and copies what is kept.
    pub fn resolve(
        &self,
        tenant: &str,
        batch: &Batch,
        labels: &PolicyLabels,
        bounds: &ResolveBounds,
    ) -> Result<Resolved> {
        let tenant = self.0.tenant(tenant)?;
        let flight = self.0.begin_flight();
        let wire = batch.wire as u8;
        let mut work = Work {
            table: &self.0,
            tenant: &tenant,
            batch,
            labels,
            bounds,
            scope: self
                .0
                .scope(&tenant, wire, &labels.defaults, &labels.forced),
            flight: flight.number(),
            references: Vec::with_capacity(batch.keys.len()),
            ids: Vec::with_capacity(batch.keys.len()),
            shards: (u16::MAX, 0),
            are_defined: true,
            new_rows: Vec::new(),
            timely: Vec::new(),
            has_repeats: false,
            admission: Admission {
                active_series_max: bounds.active_series_max,
                new_series_allowed: bounds.new_series_allowed,
                new_series_count: 0,
            },
            refusals: Refusals::default(),
        };
        work.check_times();
        let forgotten = self.0.forgotten.load(Relaxed);
        let misses = work.look_up();
        for chunk in misses.chunks(STEP) {
            work.register(chunk)?;
        }
        work.remember_rows();
        let columns = work.columns()?;
        work.drop_refused();
        let defined_at = work.are_defined.then_some(forgotten);
        let shards = work.shards();
        let (references, ids) = (work.references, work.ids);
        let (has_repeats, refusals) = (work.has_repeats, work.refusals);
        let new_series_count = work.admission.new_series_count;
        Ok(Resolved {
            table: self.0.clone(),
            tenant,
            flight: Arc::new(flight),
            references,
            ids,
            defined_at,
            columns,
            has_repeats,
            shards,
            rejected: refusals.listed,
            samples_rejected_count: refusals.samples_count,
            series_rejected_count: refusals.series_count,
            lines_rejected_count: refusals.lines_count,
            new_series_count,
        })
    }
}

impl Work<'_> {
    fn check_times(&mut self) {
        let (from, until) = (self.bounds.time_min_ns, self.bounds.time_max_ns);
        let times_ns = &self.batch.times_ns;
        if all(times_ns, |time_ns| (from..=until).contains(time_ns)) {
            return;
        }
        let inside = |time_ns: &i64| (from..=until).contains(time_ns);
        self.timely = times_ns.iter().map(inside).collect();
        let mut start = 0;
        for key in &self.batch.keys {
            let samples = start..key.sample_end as usize;
            start = samples.end;
            let mut late = samples.filter(|&at| !self.timely[at]);
            let Some(first) = late.next().map(|at| times_ns[at]) else {
                continue;
            };
            self.refusals.samples_count += 1 + late.count() as u64;
            self.refusals.add(key.line, || {
                if first < from {
                    format!(
                        "sample at {first} ns is too old: the oldest accepted is {from} ns \
                         (sample_age_seconds)"
                    )
                } else {
                    format!(
                        "sample at {first} ns is too far in the future: the latest accepted is \
                         {until} ns (sample_future_seconds)"
                    )
                }
            });
        }
    }

    fn has_timely(&self, samples: Range<usize>) -> bool {
        if self.timely.is_empty() {
            return !samples.is_empty();
        }
        self.timely[samples].contains(&true)
    }

    /// Takes in that a series has samples here. The time it was last seen at is theirs; samples
    /// from far ahead were refused before.
    #[inline]
    fn note(&mut self, hot: &Hot, samples: Range<usize>) {
        let state = hot.state();
        let shard = (state & SHARD_MASK) as u16;
        self.shards = (shard.min(self.shards.0), shard.max(self.shards.1));
        self.are_defined &= state & DEFINED != 0;
        self.has_repeats |= hot.board(self.flight) == self.flight;
        for sample in samples {
            if self.timely.is_empty() || self.timely[sample] {
                hot.note_sample(self.batch.times_ns[sample]);
            }
        }
    }

    /// Fills `references` for known series; says which keys are not known.
    fn look_up(&mut self) -> Vec<usize> {
        let (batch, table) = (self.batch, self.table);
        let mut misses = Vec::new();
        if !batch.rows.is_empty() {
            self.look_up_rows(&mut misses);
            return misses;
        }
        let mut raw_keys = Vec::with_capacity(STEP.min(batch.keys.len()));
        for keys in batch.keys.chunks(STEP) {
            raw_keys.clear();
            raw_keys.extend(keys.iter().map(|key| key.hash ^ self.scope));
            let _gate = table.gate.read();
            table.look_up(&raw_keys, &mut self.references);
            self.take_known(&mut misses);
        }
        misses
    }

    /// As [`Self::look_up`] of a batch in rows: a row at a time, where that is known.
    fn look_up_rows(&mut self, misses: &mut Vec<usize>) {
        let (batch, table) = (self.batch, self.table);
        let (mut hashes, mut runs, mut raw_keys) = (Vec::new(), Vec::new(), Vec::new());
        let mut number = 0;
        for rows in batch.rows.chunks(ROW_STEP) {
            hashes.clear();
            hashes.extend(rows.iter().map(|row| row.hash ^ self.scope));
            let _gate = table.gate.read();
            runs.clear();
            table.rows.find(&hashes, &mut runs);
            for (row, run) in rows.iter().zip(&runs) {
                let first = self.references.len() as u32;
                if let Some(run) = run {
                    self.references.extend(run.references(row.key_end - first));
                } else {
                    let keys = &batch.keys[first as usize..row.key_end as usize];
                    raw_keys.clear();
                    raw_keys.extend(keys.iter().map(|key| key.hash ^ self.scope));
                    table.look_up(&raw_keys, &mut self.references);
                    self.new_rows.push(number);
                }
                number += 1;
            }
            self.take_known(misses);
        }
    }

    /// Looks closer at the references that were found last: those without an id yet.
    fn take_known(&mut self, misses: &mut Vec<usize>) {
        let (batch, table) = (self.batch, self.table);
        let first = self.ids.len();
        for &reference in &self.references[first..] {
            prefetch(table.store.hot(reference));
        }
        let is_single = !batch.rows.is_empty();
        let mut start = if is_single {
            first
        } else {
            batch.sample_start(first)
        };
        for at in first..self.references.len() {
            let end = if is_single {
                at + 1
            } else {
                batch.keys[at].sample_end as usize
            };
            let samples = start..end;
            start = end;
            let hot = table.store.hot(self.references[at]);
            self.ids.push(hot.id());
            if !self.has_timely(samples.clone()) {
                self.references[at] = NO_SERIES;
            } else if hot.has(LIVE) {
                self.note(hot, samples);
            } else {
                self.references[at] = NO_SERIES;
                misses.push(at);
            }
        }
    }

    /// Keeps rows that were looked up field by field for the next request.
    fn remember_rows(&self) {
        if self.new_rows.is_empty() {
            return;
        }
        let rows = &self.batch.rows;
        let known = self.new_rows.iter().filter_map(|&number| {
            let from = number
                .checked_sub(1)
                .map_or(0, |before| rows[before].key_end);
            let row = rows[number];
            let run = Run::of(&self.references[from as usize..row.key_end as usize])?;
            Some((row.hash ^ self.scope, run))
        });
        let known: Vec<(u128, Run)> = known.collect();
        self.table
            .rows
            .remember(&known, self.table.store.live_count());
    }

    fn register(&mut self, misses: &[usize]) -> Result<()> {
        let canonical: Vec<Result<Vec<u8>>> =
            misses.iter().map(|&at| self.canonicalise(at)).collect();
        let _gate = self.table.gate.read();
        let mut state = self.tenant.state.write();
        for (&at, canonical) in misses.iter().zip(canonical) {
            let key = &self.batch.keys[at];
            let admitted = match canonical {
                Ok(canonical) => {
                    let limits = Some(&mut self.admission);
                    self.table
                        .admit(self.tenant, &mut state, &canonical, limits)?
                }
                Err(CoreError::Invalid(reason)) => Admitted::Refused(reason),
                Err(other) => return Err(other),
            };
            match admitted {
                Admitted::Series(reference) => self.settle(at, key, reference),
                Admitted::Refused(reason) => {
                    self.refusals.series_count += 1;
                    self.refusals.samples_count += self.timely_count(at);
                    self.refusals.add(key.line, || reason);
                }
            }
        }
        Ok(())
    }

    fn settle(&mut self, at: usize, key: &Key, reference: u32) {
        let hot = self.table.store.hot(reference);
        self.references[at] = reference;
        self.ids[at] = hot.id();
        self.note(hot, self.batch.sample_start(at)..key.sample_end as usize);
        self.table.remember(key.hash ^ self.scope, reference);
    }

    fn timely_count(&self, at: usize) -> u64 {
        let samples = self.batch.sample_start(at)..self.batch.keys[at].sample_end as usize;
        if self.timely.is_empty() {
            return samples.len() as u64;
        }
        self.timely[samples]
            .iter()
            .filter(|&&timely| timely)
            .count() as u64
    }

    fn canonicalise(&self, at: usize) -> Result<Vec<u8>> {
        let (defaults, forced) = (&self.labels.defaults, &self.labels.forced);
        let canonical = (self.batch.canonicalise)(self.batch, at, defaults, forced)?;
        let series = SeriesView::parse(&canonical)?;
        check_sizes(&series, self.bounds)?;
        Ok(canonical)
    }

    /// Takes keys without a series out, after `columns` has left out their samples.
    fn drop_refused(&mut self) {
        if self.references.contains(&NO_SERIES) {
            let mut references = self.references.iter();
            self.ids.retain(|_| references.next() != Some(&NO_SERIES));
            self.references.retain(|&reference| reference != NO_SERIES);
        }
    }

    fn shards(&self) -> (u16, u16) {
        if self.references.is_empty() {
            (0, 0)
        } else {
            self.shards
        }
    }

    /// Copies the kept samples; payloads move from the body into a heap of their own.
    fn columns(&self) -> Result<Columns> {
        let batch = self.batch;
        // A record with such columns would be read by nobody.
        if !batch.sides.fit(batch.times_ns.len()) {
            return Err(CoreError::Invalid(
                "cannot store a batch: its side columns are not as long as its samples".into(),
            ));
        }
        let whole = self.timely.is_empty() && !self.references.contains(&NO_SERIES);
        let mut columns = if whole {
            Columns {
                key_ends: self.key_ends(),
                times_ns: batch.times_ns.clone(),
                values: batch.values.clone(),
                kinds: Kinds::of(&batch.kinds),
                heap: Vec::new(),
                sides: batch.sides.clone(),
            }
        } else {
            self.kept_columns()
        };
        if columns.kinds.use_heap() {
            for at in 0..columns.values.len() {
                if columns.kinds.at(at).uses_heap() {
                    let text = payload(&batch.body, columns.values[at]).ok_or_else(|| {
                        CoreError::Invalid(
                            "cannot store a batch: a payload lies outside of it".into(),
                        )
                    })?;
                    columns.values[at] = (columns.heap.len() as u64) << 32 | text.len() as u64;
                    columns.heap.extend_from_slice(text);
                }
            }
        }
        Ok(columns)
    }

    fn key_ends(&self) -> Vec<u32> {
        if self.batch.rows.is_empty() {
            self.batch.keys.iter().map(|key| key.sample_end).collect()
        } else {
            (1..=self.batch.keys.len() as u32).collect()
        }
    }

    fn kept_columns(&self) -> Columns {
        let batch = self.batch;
        let mut kinds = Vec::new();
        let mut columns = Columns {
            key_ends: Vec::new(),
            times_ns: Vec::new(),
            values: Vec::new(),
            kinds: Kinds::Constant(Kind::Float64),
            heap: Vec::new(),
            sides: Sides::default(),
        };
        for (at, &reference) in self.references.iter().enumerate() {
            if reference == NO_SERIES {
                continue;
            }
            for sample in batch.sample_start(at)..batch.keys[at].sample_end as usize {
                if self.timely.is_empty() || self.timely[sample] {
                    let side = batch.sides.at(sample);
                    columns.sides.push(columns.values.len(), side);
                    columns.times_ns.push(batch.times_ns[sample]);
                    columns.values.push(batch.values[sample]);
                    kinds.push(batch.kinds[sample]);
                }
            }
            columns.key_ends.push(columns.values.len() as u32);
        }
        columns.kinds = Kinds::of(&kinds);
        columns
    }
}

fn check_sizes(series: &SeriesView<'_>, bounds: &ResolveBounds) -> Result<()> {
    if series.labels.len() as u64 > bounds.label_count_max {
        return Err(CoreError::Invalid(format!(
            "cannot store series {:?}: {} labels are more than {} (label_count)",
            series.promql_name(),
            series.labels.len(),
            bounds.label_count_max
        )));
    }
    let pairs = series.labels.iter().flat_map(|(name, value)| [name, value]);
    let longest = pairs
        .chain([&series.name, &series.field])
        .max_by_key(|text| text.len());
    if let Some(text) = longest.filter(|text| text.len() as u64 > bounds.label_bytes_max) {
        let start: String = text.chars().take(64).collect();
        return Err(CoreError::Invalid(format!(
            "cannot store a series with {start:?}...: {} bytes of a name or value are more than {} \
             (label_bytes)",
            text.len(),
            bounds.label_bytes_max
        )));
    }
    Ok(())
}
