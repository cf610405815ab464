//! A consistent look at the store: select series, then read them, each series decoded once.
//!
//! `query` takes a snapshot of head and blocks when a query begins. Series of all sources meet by
//! their id; their samples by `merge_runs`. What is read at one time is a batch of series, and of
//! those only as many as there are threads.

use crate::error::{CoreError, Result};
use crate::hiding::{HiddenPart, hidden_part, hides_all};
use crate::label_rows::{LabelRows, LabelRowsBuilder};
use crate::merge::{hide, merge_runs};
use crate::meter::Meter;
use crate::numeric::{self, KindColumn, Mixed, append_columns};
use crate::rollup_reading::{Coarse, Level, Reading};
use crate::rollup_window;
use crate::sample::Run;
use crate::selector::Matcher;
use crate::series::{SeriesId, SeriesView};
use crate::source::{Delete, Extent, Floats, Reader, Source, TimeRange, hidden_ranges};
use crate::window::{self, Function, Row, Steps};
use crate::workers;
use hashbrown::HashMap;
use parking_lot::Mutex;
use std::collections::BTreeSet;
use std::sync::Arc;

/// Cells (series x steps) of one call: 512 MiB of values.
pub const CELLS_MAX: usize = 1 << 26;
/// Rows a thread takes at once.
const ROWS_PER_TURN: usize = 8;

pub struct Snapshot {
    /// In rising order: at an equal time a later source wins.
    sources: Arc<Vec<Arc<dyn Source>>>,
    deletes: Arc<Vec<Delete>>,
    coarse: Arc<Coarse>,
}

impl Snapshot {
    pub fn new(sources: Vec<Arc<dyn Source>>, deletes: Vec<Delete>) -> Self {
        Self::with_coarse(sources, deletes, Coarse::default())
    }

    /// Of one tenant, whose coarse data is described; blocks of it stand among the sources.
    pub fn with_coarse(
        mut sources: Vec<Arc<dyn Source>>,
        deletes: Vec<Delete>,
        coarse: Coarse,
    ) -> Self {
        sources.sort_by_key(|source| (source.resolution_ns(), source.order()));
        Self {
            sources: Arc::new(sources),
            deletes: Arc::new(deletes),
            coarse: Arc::new(coarse),
        }
    }

    /// By rising resolution; none where the tenant has no coarse data.
    pub fn levels(&self) -> &[Level] {
        &self.coarse.levels
    }

    /// Before this time some series has no samples any more.
    pub fn raw_from_ns(&self) -> i64 {
        let rules = self.coarse.keep.rules.iter();
        rules.map(|rule| rule.raw_from_ns).max().unwrap_or(i64::MIN)
    }

    /// Series of the tenant that pass every matcher and may have samples in the range, in the order
    /// of their `PromQL` labels.
    pub fn select(
        &self,
        tenant: &str,
        matchers: &[Matcher],
        range: TimeRange,
        meter: &Meter,
    ) -> Result<Selection> {
        self.select_from(tenant, matchers, range, None, meter)
    }

    /// As `select`, with coarse data from `finest_ns` on where that is given; 0 prefers samples, and
    /// uses coarse data only where they are gone.
    pub fn select_from(
        &self,
        tenant: &str,
        matchers: &[Matcher],
        range: TimeRange,
        finest_ns: Option<i64>,
        meter: &Meter,
    ) -> Result<Selection> {
        let few = self.gather(tenant, matchers, range, finest_ns, meter, usize::MAX)?;
        Ok(few.unwrap_or_else(|| Gathered::default().selection(self, tenant, range, None)))
    }

    /// As `select`; none where a source has more than `series_max` of them.
    pub fn select_few(
        &self,
        tenant: &str,
        matchers: &[Matcher],
        range: TimeRange,
        meter: &Meter,
        series_max: usize,
    ) -> Result<Option<Selection>> {
        self.gather(tenant, matchers, range, None, meter, series_max)
    }

    fn gather(
        &self,
        tenant: &str,
        matchers: &[Matcher],
        mut range: TimeRange,
        finest_ns: Option<i64>,
        meter: &Meter,
        series_max: usize,
    ) -> Result<Option<Selection>> {
        let mut gathered = Gathered::default();
        let mut canonical = Vec::new();
        let reading = finest_ns
            .filter(|_| !self.coarse.levels.is_empty())
            .map(|finest_ns| Reading::new(Arc::clone(&self.coarse), finest_ns));
        if let Some(reading) = &reading {
            range.min_ns = range.min_ns.saturating_sub(reading.reach_ns());
        }
        for (place, source) in self.sources_in(range) {
            meter.check()?;
            let is_needed = match (&reading, source.resolution_ns()) {
                (None, resolution_ns) => resolution_ns == 0,
                (Some(reading), 0) => !Selection::is_rolled_up(
                    reading,
                    tenant,
                    &self.sources,
                    &self.deletes,
                    source.as_ref(),
                ),
                (Some(reading), resolution_ns) => resolution_ns >= reading.finest_ns(),
            };
            if !is_needed {
                continue;
            }
            // Also spares reading, or failing to read, what is wholly out of sight.
            if let HiddenPart::All = hidden_part(&self.deletes, source.as_ref(), tenant, range) {
                continue;
            }
            let concerned = self
                .deletes
                .iter()
                .any(|d| d.concerns(source.as_ref(), tenant));
            let mut fresh = Vec::new();
            let found = source.select(tenant, matchers, range)?;
            if found.len() > series_max as u64 {
                return Ok(None);
            }
            for ordinal in found {
                if concerned {
                    canonical.clear();
                    source.canonical(ordinal, &mut canonical)?;
                    let series = SeriesView::parse(&canonical)?;
                    if hides_all(
                        &self.deletes,
                        source.as_ref(),
                        ordinal,
                        tenant,
                        &series,
                        range,
                    )? {
                        continue;
                    }
                }
                let member = Member {
                    source: place as u32,
                    ordinal,
                };
                if gathered.add(source.id(ordinal), member) {
                    meter.add_series(1)?;
                    fresh.push(ordinal);
                }
            }
            source.put_labels(&fresh, &mut gathered.labels)?;
        }
        Ok(Some(gathered.selection(self, tenant, range, reading)))
    }

    /// Sorted names of labels: of every series in range, or of those any of the selectors selects.
    /// Without a selector, labels of a block hold for all of its time range; what retention cuts
    /// off a part of stays until a compaction.
    pub fn label_names(
        &self,
        tenant: &str,
        selectors: &[Vec<Matcher>],
        range: TimeRange,
        meter: &Meter,
    ) -> Result<Vec<String>> {
        let mut names = BTreeSet::new();
        if selectors.is_empty() {
            let mut found = Vec::new();
            for (_, source) in self.sources_in(range) {
                meter.check()?;
                match hidden_part(&self.deletes, source.as_ref(), tenant, range) {
                    HiddenPart::None => source.label_names(tenant, range, &mut found)?,
                    HiddenPart::Some => {
                        self.each_left(source.as_ref(), tenant, range, meter, |series| {
                            let labels = promql_labels(series);
                            for (name, _) in
                                labels.pairs().filter(|(name, _)| !names.contains(*name))
                            {
                                found.push(name.to_owned());
                            }
                        })?;
                    }
                    HiddenPart::All => {}
                }
                names.extend(found.drain(..));
            }
        }
        for matchers in selectors {
            let selection = self.select(tenant, matchers, range, meter)?;
            names.extend(selection.labels.names().map(str::to_owned));
        }
        Ok(names.into_iter().collect())
    }

    /// Sorted values of a label (or of `__name__`, `__measurement__`, `__field__`); else as
    /// `label_names`.
    pub fn label_values(
        &self,
        tenant: &str,
        label: &str,
        selectors: &[Vec<Matcher>],
        range: TimeRange,
        meter: &Meter,
    ) -> Result<Vec<String>> {
        let mut values = BTreeSet::new();
        if selectors.is_empty() {
            let mut found = Vec::new();
            for (_, source) in self.sources_in(range) {
                meter.check()?;
                match hidden_part(&self.deletes, source.as_ref(), tenant, range) {
                    HiddenPart::None => source.label_values(tenant, label, range, &mut found)?,
                    HiddenPart::Some => {
                        self.each_left(source.as_ref(), tenant, range, meter, |series| {
                            let value = value_of(series, label);
                            if !value.is_empty() {
                                found.push(value);
                            }
                        })?;
                    }
                    HiddenPart::All => {}
                }
                values.extend(found.drain(..));
            }
        }
        for matchers in selectors {
            let selection = self.select(tenant, matchers, range, meter)?;
            for at in 0..selection.len() {
                let value = value_of(&SeriesView::parse(&selection.canonical(at)?)?, label);
                if !value.is_empty() {
                    values.insert(value);
                }
            }
        }
        Ok(values.into_iter().collect())
    }

    fn sources_in(&self, range: TimeRange) -> impl Iterator<Item = (usize, &Arc<dyn Source>)> {
        self.sources
            .iter()
            .enumerate()
            .filter(move |(_, source)| source.time_range().is_some_and(|own| own.overlaps(&range)))
    }

    /// Calls `visit` with every series in range of which deletes leave something in this source.
    fn each_left(
        &self,
        source: &dyn Source,
        tenant: &str,
        range: TimeRange,
        meter: &Meter,
        mut visit: impl FnMut(&SeriesView<'_>),
    ) -> Result<()> {
        let mut canonical = Vec::new();
        for ordinal in source.select(tenant, &[], range)? {
            meter.check()?;
            canonical.clear();
            source.canonical(ordinal, &mut canonical)?;
            let series = SeriesView::parse(&canonical)?;
            if !hides_all(&self.deletes, source, ordinal, tenant, &series, range)? {
                visit(&series);
            }
        }
        Ok(())
    }
}

/// What a label call answers for a label of one series; empty where it has none.
pub fn value_of(series: &SeriesView<'_>, label: &str) -> String {
    match label {
        "__name__" => series.promql_name(),
        "__measurement__" => series.name.to_owned(),
        "__field__" => series.field.to_owned(),
        _ => series.label(label).to_owned(),
    }
}

/// The labels `PromQL` shows, sorted, with `__name__` in its place among them.
pub struct PromqlLabels<'a> {
    name: String,
    labels: Vec<(&'a str, &'a str)>,
    name_at: usize,
}

impl PromqlLabels<'_> {
    pub fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        let name = std::iter::once(("__name__", self.name.as_str()));
        let (before, after) = self.labels.split_at(self.name_at);
        before
            .iter()
            .copied()
            .chain(name)
            .chain(after.iter().copied())
    }
}

pub fn promql_labels<'a>(series: &SeriesView<'a>) -> PromqlLabels<'a> {
    PromqlLabels {
        name: series.promql_name(),
        name_at: series.labels.partition_point(|(key, _)| *key < "__name__"),
        labels: series.labels.clone(),
    }
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Member {
    pub source: u32,
    pub ordinal: u32,
}

/// One for each source that was read so far.
pub(crate) type Readers<'a> = Vec<Option<Box<dyn Reader + 'a>>>;

/// Series of several sources as they meet by their ids.
#[derive(Default)]
struct Gathered {
    places: HashMap<SeriesId, u32>,
    /// With the place of its series, in rising order of sources.
    members: Vec<(u32, Member)>,
    labels: LabelRowsBuilder,
}

impl Gathered {
    /// True where no source before had the series.
    fn add(&mut self, id: SeriesId, member: Member) -> bool {
        let new = self.places.len() as u32;
        let place = *self.places.entry(id).or_insert(new);
        self.members.push((place, member));
        place == new
    }

    fn selection(
        self,
        snapshot: &Snapshot,
        tenant: &str,
        range: TimeRange,
        reading: Option<Reading>,
    ) -> Selection {
        let labels = self.labels.finish();
        let order = labels.order();
        let mut place_of = vec![0; order.len()];
        for (place, &old) in order.iter().enumerate() {
            place_of[old] = place;
        }
        let mut ends = vec![0; order.len()];
        for (old, _) in &self.members {
            ends[place_of[*old as usize]] += 1;
        }
        let mut end = 0;
        for count in &mut ends {
            // Where its members begin: filling them in moves it to where they end.
            end += std::mem::replace(count, end);
        }
        let nobody = Member {
            source: 0,
            ordinal: 0,
        };
        let mut members = vec![nobody; self.members.len()];
        for (old, member) in self.members {
            let at = &mut ends[place_of[old as usize]];
            members[*at] = member;
            *at += 1;
        }
        Selection {
            sources: Arc::clone(&snapshot.sources),
            deletes: Arc::clone(&snapshot.deletes),
            tenant: tenant.to_owned(),
            range,
            labels: labels.take(order.into_iter()),
            members,
            ends,
            texts: Mutex::new(BTreeSet::new()),
            histograms: Mutex::new(BTreeSet::new()),
            reading,
        }
    }
}

/// Selected series, read a batch at a time; holds on to the snapshot's sources.
pub struct Selection {
    pub(crate) sources: Arc<Vec<Arc<dyn Source>>>,
    pub(crate) deletes: Arc<Vec<Delete>>,
    pub(crate) tenant: String,
    range: TimeRange,
    /// In rising order.
    labels: LabelRows,
    /// Series `i` owns those before `ends[i]`, in rising order of their sources.
    members: Vec<Member>,
    ends: Vec<usize>,
    /// Series in which a numeric read met strings or bytes.
    texts: Mutex<BTreeSet<usize>>,
    /// Series in which a numeric read met histograms.
    histograms: Mutex<BTreeSet<usize>>,
    /// None: samples alone are read.
    reading: Option<Reading>,
}

/// Samples of a batch as numbers: series `i` owns `offsets[i]..offsets[i + 1]`.
#[derive(Debug, Default, PartialEq)]
pub struct Samples {
    pub offsets: Vec<i64>,
    pub times_ns: Vec<i64>,
    pub values: Vec<f64>,
}

impl Selection {
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// As `PromQL` shows them, in rising order.
    pub fn labels(&self) -> &LabelRows {
        &self.labels
    }

    pub fn into_labels(self) -> LabelRows {
        self.labels
    }

    pub fn canonical(&self, at: usize) -> Result<Vec<u8>> {
        self.batch(at, 1)?;
        let mut canonical = Vec::new();
        if let Some(member) = self.members_of(at).first() {
            self.sources[member.source as usize].canonical(member.ordinal, &mut canonical)?;
        }
        Ok(canonical)
    }

    /// The first of two series that `PromQL` cannot tell apart, where there are any: the other
    /// follows it.
    pub fn collision(&self) -> Option<usize> {
        (1..self.len())
            .find(|&at| self.labels.row(at - 1) == self.labels.row(at))
            .map(|at| at - 1)
    }

    /// The labels of a batch.
    pub fn labels_of(&self, first: usize, count: usize) -> Result<LabelRows> {
        self.batch(first, count)?;
        Ok(self.labels.take(first..first + count))
    }

    /// How coarse data was used so far, where it may be.
    pub fn reading(&self) -> Option<&Reading> {
        self.reading.as_ref()
    }

    pub(crate) fn members_of(&self, at: usize) -> &[Member] {
        let from = at.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.members[from..self.ends[at]]
    }

    /// Series in which numeric reads so far met strings or bytes, which they leave out.
    pub fn text_series(&self) -> Vec<usize> {
        self.texts.lock().iter().copied().collect()
    }

    /// Series in which numeric reads so far met histograms, which they leave out; `mixed` does not.
    pub fn histogram_series(&self) -> Vec<usize> {
        self.histograms.lock().iter().copied().collect()
    }

    /// Whether numeric reads so far left nothing out.
    pub fn held_numbers_alone(&self) -> bool {
        self.texts.lock().is_empty() && self.histograms.lock().is_empty()
    }

    /// One value a step for each series of the batch: rows one after the other.
    pub fn window(
        &self,
        first: usize,
        count: usize,
        function: Function,
        steps: &Steps,
        threads: usize,
        meter: &Meter,
    ) -> Result<(Vec<f64>, Vec<bool>)> {
        let cells = self.batch(first, count)?.saturating_mul(steps.count());
        if cells > CELLS_MAX {
            return Err(CoreError::Invalid(format!(
                "cannot run a window over {count} series and {} steps: more than {CELLS_MAX} cells; \
                 ask for fewer series at a time",
                steps.count()
            )));
        }
        let (mut values, mut present) = (vec![0.0; cells], vec![false; cells]);
        let Some(range) = steps.time_range() else {
            return Ok((values, present));
        };
        self.check_range(range)?;
        let width = steps.count();
        let rows = values
            .chunks_mut(width)
            .zip(present.chunks_mut(width))
            .enumerate();
        let readers = || self.readers();
        share_rows(
            rows,
            threads,
            meter,
            readers,
            |readers, (at, (values, present))| {
                let mut row = Row { values, present };
                match &self.reading {
                    Some(reading) if rollup_window::answers(function) => self.coarse_window(
                        reading,
                        readers,
                        first + at,
                        (function, steps),
                        &mut row,
                        meter,
                    ),
                    _ => self.raw_window(readers, first + at, function, steps, row, meter),
                }
            },
        )?;
        Ok((values, present))
    }

    /// One row of `window`, from samples.
    pub(crate) fn raw_window<'a>(
        &'a self,
        readers: &mut Readers<'a>,
        at: usize,
        function: Function,
        steps: &Steps,
        row: Row<'_>,
        meter: &Meter,
    ) -> Result<()> {
        let Some(range) = steps.time_range() else {
            return Ok(());
        };
        if let Some(floats) = self.read_floats(readers, at, range, meter)? {
            return window::run_plain(function, floats, steps, row, meter);
        }
        let (mut times, mut samples) = self.read_numbers(readers, at, range, meter)?;
        window::run(function, &mut times, &mut samples, steps, row, meter)
    }

    /// The samples of a series that stands in one source alone, where that holds plain floats: they
    /// are the reader's own, valid until it reads on.
    fn read_floats<'a, 'b>(
        &'a self,
        readers: &'b mut [Option<Box<dyn Reader + 'a>>],
        at: usize,
        range: TimeRange,
        meter: &Meter,
    ) -> Result<Option<Floats<'b>>> {
        let &[member] = self.members_of(at) else {
            return Ok(None);
        };
        let source = self.sources[member.source as usize].as_ref();
        let mut deletes = self.deletes.iter();
        if source.resolution_ns() != 0
            || deletes.any(|delete| delete.concerns(source, &self.tenant))
        {
            return Ok(None);
        }
        meter.check()?;
        let reader = readers[member.source as usize].get_or_insert_with(|| source.reader());
        let floats = reader.read_floats(member.ordinal, range)?;
        if let Some(floats) = &floats {
            meter.add_samples(floats.values.len())?;
        }
        Ok(floats)
    }

    /// The samples of a batch as numbers: integers converted, booleans 1 and 0, texts left out.
    pub fn samples(
        &self,
        first: usize,
        count: usize,
        range: TimeRange,
        meter: &Meter,
    ) -> Result<Samples> {
        self.check_range(range)?;
        let mut out = Samples {
            offsets: vec![0],
            ..Samples::default()
        };
        let mut readers = self.readers();
        for at in 0..self.batch(first, count)? {
            let (times, values) = self.read_numbers(&mut readers, first + at, range, meter)?;
            out.times_ns.extend(times);
            out.values.extend(values);
            out.offsets.push(out.times_ns.len() as i64);
        }
        Ok(out)
    }

    /// How many series have samples in the range, and how many samples, texts included.
    pub fn count(&self, range: TimeRange, meter: &Meter) -> Result<(u64, u64)> {
        let mut readers = self.readers();
        let (mut series, mut samples) = (0, 0);
        for at in 0..self.len() {
            let runs = self.read_by(&mut readers, at, range, meter)?;
            let found: usize = runs.iter().map(Run::len).sum();
            series += u64::from(found > 0);
            samples += found as u64;
        }
        Ok((series, samples))
    }

    /// Everything of one series: settled runs, ascending, texts included.
    pub fn read(&self, at: usize, range: TimeRange, meter: &Meter) -> Result<Vec<Run>> {
        self.read_by(&mut self.readers(), at, range, meter)
    }

    /// Where samples of a series lie inside the range, without reading them.
    pub fn extents(&self, at: usize, range: TimeRange) -> Result<Vec<Extent>> {
        self.check_range(range)?;
        self.batch(at, 1)?;
        let mut extents = Vec::new();
        for member in self.members_of(at) {
            let source = self.sources[member.source as usize].as_ref();
            let Some(own) = source.time_range().filter(|own| own.overlaps(&range)) else {
                continue;
            };
            if source.resolution_ns() != 0 {
                continue;
            }
            let inside = TimeRange {
                min_ns: own.min_ns.max(range.min_ns),
                max_ns: own.max_ns.min(range.max_ns),
            };
            let mut reader = source.reader();
            reader.extents(member.ordinal, inside, &mut extents)?;
        }
        Ok(extents)
    }

    fn readers(&self) -> Readers<'_> {
        self.sources.iter().map(|_| None).collect()
    }

    fn read_by<'a>(
        &'a self,
        readers: &mut Readers<'a>,
        at: usize,
        range: TimeRange,
        meter: &Meter,
    ) -> Result<Vec<Run>> {
        self.check_range(range)?;
        self.batch(at, 1)?;
        let mut runs = Vec::new();
        let mut canonical = None;
        for member in self.members_of(at) {
            meter.check()?;
            let place = member.source as usize;
            let source = self.sources[place].as_ref();
            if source.resolution_ns() != 0 {
                continue;
            }
            let old = runs.len();
            let reader = readers[place].get_or_insert_with(|| source.reader());
            reader.read(member.ordinal, range, &mut runs)?;
            meter.add_samples(runs[old..].iter().map(Run::len).sum())?;
            let mut deletes = self.deletes.iter();
            if !deletes.any(|delete| delete.concerns(source, &self.tenant)) {
                continue;
            }
            let canonical = match &canonical {
                Some(known) => known,
                None => canonical.insert(self.canonical(at)?),
            };
            let view = SeriesView::parse(canonical)?;
            let hidden = hidden_ranges(&self.deletes, source, &self.tenant, &view);
            runs[old..].iter_mut().for_each(|run| hide(run, &hidden));
        }
        Ok(merge_runs(runs, &[]))
    }

    /// The numbers and histograms of one series.
    pub fn mixed(&self, at: usize, range: TimeRange, meter: &Meter) -> Result<Mixed> {
        numeric::mixed(self.read(at, range, meter)?)
    }

    /// Every sample of a batch, kind by kind.
    pub fn columns(
        &self,
        first: usize,
        count: usize,
        range: TimeRange,
        meter: &Meter,
    ) -> Result<Vec<KindColumn>> {
        let mut columns = Vec::new();
        let mut readers = self.readers();
        for at in 0..self.batch(first, count)? {
            let runs = self.read_by(&mut readers, first + at, range, meter)?;
            append_columns(&mut columns, at as u32, runs)?;
        }
        Ok(columns)
    }

    pub(crate) fn read_numbers<'a>(
        &'a self,
        readers: &mut Readers<'a>,
        at: usize,
        range: TimeRange,
        meter: &Meter,
    ) -> Result<(Vec<i64>, Vec<f64>)> {
        let numbers = numeric::numbers(self.read_by(readers, at, range, meter)?);
        if numbers.texts_left_out {
            self.texts.lock().insert(at);
        }
        if numbers.histograms_left_out {
            self.histograms.lock().insert(at);
        }
        Ok((numbers.times_ns, numbers.values))
    }

    /// `count`, where so many series stand at `first`.
    fn batch(&self, first: usize, count: usize) -> Result<usize> {
        let end = first.checked_add(count).filter(|&end| end <= self.len());
        end.map(|_| count).ok_or_else(|| {
            CoreError::Invalid(format!(
                "cannot read series {first} and {count} on: {} are selected",
                self.len()
            ))
        })
    }

    /// Sources outside the selected range were not asked: reading there would miss samples.
    fn check_range(&self, range: TimeRange) -> Result<()> {
        if range.min_ns > range.max_ns
            || (self.range.min_ns <= range.min_ns && range.max_ns <= self.range.max_ns)
        {
            return Ok(());
        }
        Err(CoreError::Invalid(format!(
            "cannot read from {} to {} ns: series were selected from {} to {}",
            range.min_ns, range.max_ns, self.range.min_ns, self.range.max_ns
        )))
    }
}

/// Runs `work` for every row, on up to `threads` threads of the core's pool, each with what `start`
/// gives it. The first error stops all of them; one core is left alone once `meter` has company.
fn share_rows<T: Send, S>(
    rows: impl ExactSizeIterator<Item = T> + Send,
    threads: usize,
    meter: &Meter,
    start: impl Fn() -> S + Sync,
    work: impl Fn(&mut S, T) -> Result<()> + Sync,
) -> Result<()> {
    let threads = threads.min(rows.len().div_ceil(ROWS_PER_TURN));
    if threads <= 1 {
        let mut state = start();
        for row in rows {
            work(&mut state, row)?;
        }
        return Ok(());
    }
    let rows = Mutex::new(rows);
    let failure = Mutex::new(None);
    workers::pool()?.scope(|scope| {
        for thread in 0..threads {
            let stays = thread == 0 || thread + 1 < workers::thread_count();
            let (rows, failure, start, work) = (&rows, &failure, &start, &work);
            scope.spawn(move |_| {
                let mut state = start();
                while stays || !meter.has_company() {
                    let turn: Vec<T> = rows.lock().by_ref().take(ROWS_PER_TURN).collect();
                    if turn.is_empty() || failure.lock().is_some() {
                        return;
                    }
                    if let Err(error) = turn.into_iter().try_for_each(|row| work(&mut state, row)) {
                        failure.lock().get_or_insert(error);
                    }
                }
            });
        }
    });
    failure.into_inner().map_or(Ok(()), Err)
}

#[cfg(feature = "python")]
#[allow(clippy::needless_pass_by_value, clippy::too_many_arguments)]
pub(crate) mod python {
    use super::{Selection, Snapshot};
    use crate::error::Result;
    use crate::fused::python::PyFused;
    use crate::fused::{Allowance, Brief, Grid, Run};
    use crate::label_rows::python::PyLabelRows;
    use crate::meter::python::PyMeter;
    use crate::numeric::KindColumn;
    use crate::retention::python::{KeepRow, keep_from_rows};
    use crate::rollup_reading::{Coarse, Level};
    use crate::sample::Kind;
    use crate::selector::Matcher;
    use crate::sides::python::to_arrays;
    use crate::source::TimeRange;
    use crate::source::python::{DeleteRow, PySource, deletes_from_rows};
    use crate::window::python::{Matrix, matrix};
    use crate::window::{Function, Steps};
    use crate::workers;
    use numpy::PyArray1;
    use pyo3::prelude::*;
    use pyo3::types::{PyBytes, PyTuple};
    use std::sync::Arc;
    use std::time::Duration;

    type Triple = (String, String, String);

    #[pyclass(name = "Snapshot", frozen)]
    pub struct PySnapshot(Snapshot);

    #[pyclass(name = "Selection", frozen)]
    pub struct PySelection(pub(crate) Arc<Selection>);

    fn levels_from_rows(rows: Vec<(i64, Vec<(i64, i64)>)>) -> Vec<Level> {
        let range = |(min_ns, max_ns)| TimeRange { min_ns, max_ns };
        rows.into_iter()
            .map(|(resolution_ns, covered)| Level {
                resolution_ns,
                covered: covered.into_iter().map(range).collect(),
            })
            .collect()
    }

    fn parse_selectors(selectors: &[Vec<Triple>]) -> Result<Vec<Vec<Matcher>>> {
        selectors
            .iter()
            .map(|triples| Matcher::parse_all(triples))
            .collect()
    }

    #[pymethods]
    impl PySnapshot {
        #[new]
        #[pyo3(signature = (sources, deletes, *, tenant = None, keep = Vec::new(),
            levels = Vec::new()))]
        fn new(
            py: Python<'_>,
            sources: Vec<Py<PySource>>,
            deletes: Vec<DeleteRow>,
            tenant: Option<String>,
            keep: Vec<KeepRow>,
            levels: Vec<(i64, Vec<(i64, i64)>)>,
        ) -> PyResult<Self> {
            let sources = sources
                .iter()
                .map(|source| Arc::clone(&source.get().0))
                .collect();
            let snapshot: Result<Snapshot> = py.detach(|| {
                let mut deletes = deletes_from_rows(deletes)?;
                let keep = keep_from_rows(keep)?;
                deletes.extend(tenant.iter().flat_map(|tenant| keep.expired(tenant)));
                let levels = levels_from_rows(levels);
                Ok(Snapshot::with_coarse(
                    sources,
                    deletes,
                    Coarse { levels, keep },
                ))
            });
            Ok(Self(snapshot?))
        }

        /// Coarse resolutions there are, rising, in nanoseconds.
        #[getter]
        fn resolutions_ns(&self) -> Vec<i64> {
            let levels = self.0.levels().iter();
            levels.map(|level| level.resolution_ns).collect()
        }

        #[getter]
        fn raw_from_ns(&self) -> i64 {
            self.0.raw_from_ns()
        }

        #[pyo3(signature = (tenant, matchers, min_ns, max_ns, meter, finest_ns = None))]
        fn select(
            &self,
            py: Python<'_>,
            tenant: &str,
            matchers: Vec<Triple>,
            min_ns: i64,
            max_ns: i64,
            meter: &PyMeter,
            finest_ns: Option<i64>,
        ) -> PyResult<PySelection> {
            let selection: Result<Selection> = py.detach(|| {
                let matchers = Matcher::parse_all(&matchers)?;
                let range = TimeRange { min_ns, max_ns };
                self.0
                    .select_from(tenant, &matchers, range, finest_ns, &meter.0)
            });
            Ok(PySelection(Arc::new(selection?)))
        }

        #[pyo3(signature = (fused, tenant, forced, *, start_ns, step_ns, step_count, cells_max,
            meter, series_max = None, brief = None, is_ordered = false))]
        fn compute<'py>(
            &self,
            py: Python<'py>,
            fused: &PyFused,
            tenant: &str,
            forced: Vec<Triple>,
            start_ns: i64,
            step_ns: i64,
            step_count: usize,
            cells_max: usize,
            meter: &PyMeter,
            series_max: Option<usize>,
            brief: Option<(u64, f64)>,
            is_ordered: bool,
        ) -> PyResult<Option<(PyLabelRows, Matrix<'py>)>> {
            let brief = brief.map(|(samples_max, seconds_max)| Brief {
                samples_max,
                time_max: Duration::from_secs_f64(seconds_max),
            });
            let found: Result<_> = py.detach(|| {
                let forced = Matcher::parse_all(&forced)?;
                let grid = Grid {
                    start_ns,
                    step_ns,
                    count: step_count,
                };
                let allowance = Allowance {
                    cells_max,
                    series_max: series_max.unwrap_or(usize::MAX),
                    brief,
                    threads: brief.map_or_else(workers::thread_count, |_| 1),
                };
                let run = Run::new(&self.0, tenant, &forced, grid, allowance, &meter.0);
                run.evaluate(&fused.0, is_ordered)
            });
            let Some(table) = found? else {
                return Ok(None);
            };
            let count = table.labels.len();
            let cells = matrix(py, table.values, table.present, count, step_count)?;
            Ok(Some((table.labels.into(), cells)))
        }

        fn label_names(
            &self,
            py: Python<'_>,
            tenant: &str,
            selectors: Vec<Vec<Triple>>,
            min_ns: i64,
            max_ns: i64,
            meter: &PyMeter,
        ) -> PyResult<Vec<String>> {
            let range = TimeRange { min_ns, max_ns };
            let names: Result<_> = py.detach(|| {
                self.0
                    .label_names(tenant, &parse_selectors(&selectors)?, range, &meter.0)
            });
            Ok(names?)
        }

        fn label_values(
            &self,
            py: Python<'_>,
            tenant: &str,
            label: &str,
            selectors: Vec<Vec<Triple>>,
            min_ns: i64,
            max_ns: i64,
            meter: &PyMeter,
        ) -> PyResult<Vec<String>> {
            let range = TimeRange { min_ns, max_ns };
            let values: Result<_> = py.detach(|| {
                let selectors = parse_selectors(&selectors)?;
                self.0
                    .label_values(tenant, label, &selectors, range, &meter.0)
            });
            Ok(values?)
        }
    }

    type Mixed<'py> = (
        Bound<'py, PyArray1<i64>>,
        Bound<'py, PyArray1<f64>>,
        Vec<Option<Bound<'py, PyBytes>>>,
    );

    type Columns<'py> = (
        Bound<'py, PyArray1<i64>>,
        Bound<'py, PyArray1<i64>>,
        Bound<'py, PyArray1<f64>>,
    );

    #[pymethods]
    impl PySelection {
        fn __len__(&self) -> usize {
            self.0.len()
        }

        fn canonical<'py>(&self, py: Python<'py>, at: usize) -> PyResult<Bound<'py, PyBytes>> {
            Ok(PyBytes::new(py, &self.0.canonical(at)?))
        }

        fn collision(&self, py: Python<'_>) -> Option<usize> {
            py.detach(|| self.0.collision())
        }

        fn text_series(&self) -> Vec<usize> {
            self.0.text_series()
        }

        fn histogram_series(&self) -> Vec<usize> {
            self.0.histogram_series()
        }

        fn mixed<'py>(
            &self,
            py: Python<'py>,
            at: usize,
            min_ns: i64,
            max_ns: i64,
            meter: &PyMeter,
        ) -> PyResult<Mixed<'py>> {
            let range = TimeRange { min_ns, max_ns };
            let mixed = py.detach(|| self.0.mixed(at, range, &meter.0))?;
            let payloads = mixed.payloads.into_iter();
            Ok((
                PyArray1::from_vec(py, mixed.times_ns),
                PyArray1::from_vec(py, mixed.values),
                payloads
                    .map(|payload| payload.map(|bytes| PyBytes::new(py, &bytes)))
                    .collect(),
            ))
        }

        /// Coarse resolutions that gave answers so far, and whether windows were moved for them.
        fn coarse_used(&self) -> (Vec<i64>, bool) {
            self.0.reading().map_or_else(Default::default, |reading| {
                (reading.used_ns(), reading.has_moved())
            })
        }

        fn promql_labels(
            &self,
            py: Python<'_>,
            first: usize,
            count: usize,
        ) -> PyResult<PyLabelRows> {
            let rows = py.detach(|| self.0.labels_of(first, count))?;
            Ok(rows.into())
        }

        #[pyo3(signature = (first, count, *, function, start_ns, step_ns, step_count, range_ns,
            offset_ns, parameters, meter, threads = None))]
        fn window<'py>(
            &self,
            py: Python<'py>,
            first: usize,
            count: usize,
            function: &str,
            start_ns: i64,
            step_ns: i64,
            step_count: usize,
            range_ns: i64,
            offset_ns: i64,
            parameters: Vec<f64>,
            meter: &PyMeter,
            threads: Option<usize>,
        ) -> PyResult<Matrix<'py>> {
            let function = Function::parse(function, &parameters)?;
            let steps = Steps::new(start_ns, step_ns, step_count, range_ns, offset_ns)?;
            let (values, present) = py.detach(|| {
                let threads = threads.unwrap_or_else(workers::thread_count);
                self.0
                    .window(first, count, function, &steps, threads, &meter.0)
            })?;
            matrix(py, values, present, count, step_count)
        }

        fn samples<'py>(
            &self,
            py: Python<'py>,
            first: usize,
            count: usize,
            min_ns: i64,
            max_ns: i64,
            meter: &PyMeter,
        ) -> PyResult<Columns<'py>> {
            let range = TimeRange { min_ns, max_ns };
            let samples = py.detach(|| self.0.samples(first, count, range, &meter.0))?;
            Ok((
                PyArray1::from_vec(py, samples.offsets),
                PyArray1::from_vec(py, samples.times_ns),
                PyArray1::from_vec(py, samples.values),
            ))
        }

        fn count(
            &self,
            py: Python<'_>,
            min_ns: i64,
            max_ns: i64,
            meter: &PyMeter,
        ) -> PyResult<(u64, u64)> {
            let range = TimeRange { min_ns, max_ns };
            Ok(py.detach(|| self.0.count(range, &meter.0))?)
        }

        /// (kind, series, times, values, start times, positions, elevations) of each kind that
        /// occurs; values of strings and bytes are a pair of offsets and bytes, a side column that
        /// no sample has is none.
        fn columns<'py>(
            &self,
            py: Python<'py>,
            first: usize,
            count: usize,
            min_ns: i64,
            max_ns: i64,
            meter: &PyMeter,
        ) -> PyResult<Vec<Bound<'py, PyTuple>>> {
            let range = TimeRange { min_ns, max_ns };
            let columns = py.detach(|| self.0.columns(first, count, range, &meter.0))?;
            columns
                .into_iter()
                .map(|column| column_to_python(py, column))
                .collect()
        }
    }

    fn column_to_python(py: Python<'_>, column: KindColumn) -> PyResult<Bound<'_, PyTuple>> {
        let (starts, positions, elevations) = to_arrays(py, &column.sides);
        let bits = column.values;
        let values = match column.kind {
            Kind::Float64 => {
                let values = bits.into_iter().map(f64::from_bits).collect();
                PyArray1::from_vec(py, values).into_any()
            }
            Kind::Int64 => {
                let values = bits.into_iter().map(|bits| bits as i64).collect();
                PyArray1::from_vec(py, values).into_any()
            }
            Kind::Uint64 => PyArray1::from_vec(py, bits).into_any(),
            Kind::Bool => {
                let values = bits.into_iter().map(|bits| bits != 0).collect();
                PyArray1::from_vec(py, values).into_any()
            }
            Kind::String | Kind::Bytes | Kind::Histogram => {
                let offsets = PyArray1::from_vec(py, column.offsets);
                (offsets, PyBytes::new(py, &column.heap))
                    .into_pyobject(py)?
                    .into_any()
            }
        };
        let kind = match column.kind {
            Kind::Float64 => "float64",
            Kind::Int64 => "int64",
            Kind::Uint64 => "uint64",
            Kind::Bool => "bool",
            Kind::String => "string",
            Kind::Bytes => "bytes",
            Kind::Histogram => "histogram",
        };
        let series = PyArray1::from_vec(py, column.series);
        let times = PyArray1::from_vec(py, column.times_ns);
        (kind, series, times, values, starts, positions, elevations).into_pyobject(py)
    }

    pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
        module.add_class::<PySnapshot>()?;
        module.add_class::<PySelection>()
    }
}

#[cfg(test)]
mod tests;
