//! One path for flush and compaction: any sources over a time window become one block file.
//!
//! `store` calls `write_block` with head generations, blocks or both. One series is read, merged and
//! written at a time; sources are walked side by side in the order of (tenant, name, canonical
//! bytes). Only a source whose own order differs (a head) has its series sorted in memory first.

use crate::block_writer::{BlockOptions, BlockSummary, BlockWriter};
use crate::error::{CoreError, Result};
use crate::merge::{hide, merge_runs};
use crate::sample::Run;
use crate::series::{SeriesId, SeriesView};
use crate::source::{Delete, Source, TimeRange, hidden_ranges};
use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering as Memory};

/// What becomes part of the block.
pub struct BlockRequest<'a> {
    pub sources: &'a [Arc<dyn Source>],
    pub deletes: &'a [Delete],
    pub window: TimeRange,
    /// Retention: samples of a tenant before its time are left out.
    pub keep_from_ns: &'a BTreeMap<String, i64>,
    pub options: BlockOptions,
    pub cancel: &'a AtomicBool,
}

/// Writes the block at `path`, durable but not yet known to anybody; None (and no file) where
/// nothing is left to write.
pub fn write_block(request: &BlockRequest<'_>, path: &Path) -> Result<Option<BlockSummary>> {
    let mut sources: Vec<&Arc<dyn Source>> = request.sources.iter().collect();
    // Rising priority; of equal orders the later argument wins.
    sources.sort_by_key(|source| source.order());
    let tenants: BTreeSet<String> = sources.iter().flat_map(|source| source.tenants()).collect();
    let mut writer = BlockWriter::create(path, request.options)?;
    for tenant in tenants {
        let mut window = request.window;
        if let Some(&keep_from_ns) = request.keep_from_ns.get(&tenant) {
            window.min_ns = window.min_ns.max(keep_from_ns);
        }
        if window.min_ns <= window.max_ns {
            writer.start_tenant(&tenant);
            write_tenant(request, &sources, &tenant, window, &mut writer)?;
        }
    }
    writer.finish()
}

fn write_tenant(
    request: &BlockRequest<'_>,
    sources: &[&Arc<dyn Source>],
    tenant: &str,
    window: TimeRange,
    writer: &mut BlockWriter,
) -> Result<()> {
    let mut walks = Vec::with_capacity(sources.len());
    for source in sources {
        let mut walk = Walk::new(source.as_ref(), tenant, window)?;
        if walk.advance()? {
            walks.push(walk);
        }
    }
    let mut runs = Vec::new();
    while let Some(first) = lowest(&walks) {
        if request.cancel.load(Memory::Relaxed) {
            return Err(CoreError::Unavailable(
                "cannot write a block: cancelled".into(),
            ));
        }
        let canonical = walks[first].canonical.clone();
        let id = walks[first].id();
        let mut at = first;
        while at < walks.len() {
            if walks[at].canonical != canonical {
                at += 1;
                continue;
            }
            walks[at].read(tenant, window, request.deletes, &mut runs)?;
            if walks[at].advance()? {
                at += 1;
            } else {
                walks.remove(at);
            }
        }
        let merged = merge_runs(std::mem::take(&mut runs), &[]);
        if !merged.is_empty() {
            writer.add_series(id, &canonical, &merged)?;
        }
    }
    Ok(())
}

/// The first walk that stands at the lowest series.
fn lowest(walks: &[Walk<'_>]) -> Option<usize> {
    (0..walks.len()).reduce(|best, at| {
        if series_order(&walks[at].canonical, &walks[best].canonical) == Ordering::Less {
            at
        } else {
            best
        }
    })
}

/// By name, then by canonical bytes. Bytes that do not parse sort last; writing them fails.
fn series_order(a: &[u8], b: &[u8]) -> Ordering {
    name_of(a).cmp(name_of(b)).then_with(|| a.cmp(b))
}

fn name_of(canonical: &[u8]) -> &[u8] {
    crate::varint::get_slice(canonical, &mut 0).unwrap_or(&[0xff])
}

/// The series of one tenant in one source, in the order of the block.
struct Walk<'a> {
    source: &'a dyn Source,
    ordinals: Vec<u32>,
    next: usize,
    canonical: Vec<u8>,
}

impl<'a> Walk<'a> {
    fn new(source: &'a dyn Source, tenant: &str, window: TimeRange) -> Result<Self> {
        let selected: Vec<u32> = source.select(tenant, &[], window)?.iter().collect();
        let ordinals = if in_order(source, &selected)? {
            selected
        } else {
            sorted(source, &selected)?
        };
        Ok(Self {
            source,
            ordinals,
            next: 0,
            canonical: Vec::new(),
        })
    }

    /// Steps to the next series; false at the end.
    fn advance(&mut self) -> Result<bool> {
        let Some(&ordinal) = self.ordinals.get(self.next) else {
            return Ok(false);
        };
        self.next += 1;
        self.canonical.clear();
        self.source.canonical(ordinal, &mut self.canonical)?;
        SeriesView::parse(&self.canonical)?;
        Ok(true)
    }

    fn ordinal(&self) -> u32 {
        self.ordinals[self.next - 1]
    }

    fn id(&self) -> SeriesId {
        self.source.id(self.ordinal())
    }

    /// Appends the samples of the series the walk stands at, without those that deletes hide.
    fn read(
        &self,
        tenant: &str,
        window: TimeRange,
        deletes: &[Delete],
        runs: &mut Vec<Run>,
    ) -> Result<()> {
        let from = runs.len();
        self.source.read(self.ordinal(), window, runs)?;
        if !deletes.is_empty() {
            let view = SeriesView::parse(&self.canonical)?;
            let hidden = hidden_ranges(deletes, self.source, tenant, &view);
            for run in &mut runs[from..] {
                hide(run, &hidden);
            }
        }
        Ok(())
    }
}

fn in_order(source: &dyn Source, ordinals: &[u32]) -> Result<bool> {
    let (mut before, mut canonical) = (Vec::new(), Vec::new());
    for (at, &ordinal) in ordinals.iter().enumerate() {
        canonical.clear();
        source.canonical(ordinal, &mut canonical)?;
        if at > 0 && series_order(&before, &canonical) != Ordering::Less {
            return Ok(false);
        }
        std::mem::swap(&mut before, &mut canonical);
    }
    Ok(true)
}

fn sorted(source: &dyn Source, ordinals: &[u32]) -> Result<Vec<u32>> {
    let mut bytes = Vec::new();
    let mut spans = Vec::with_capacity(ordinals.len());
    for &ordinal in ordinals {
        let from = bytes.len();
        source.canonical(ordinal, &mut bytes)?;
        spans.push((from, bytes.len(), ordinal));
    }
    spans.sort_unstable_by(|a, b| series_order(&bytes[a.0..a.1], &bytes[b.0..b.1]));
    Ok(spans.into_iter().map(|(_, _, ordinal)| ordinal).collect())
}

#[cfg(feature = "python")]
pub(crate) mod python {
    use super::BlockRequest;
    use crate::block::python::tenants;
    use crate::block_writer::{BlockOptions, BlockSummary};
    use crate::error::Result;
    use crate::pages::Effort;
    use crate::selector::Matcher;
    use crate::source::python::PySource;
    use crate::source::{Delete, Source, TimeRange};
    use pyo3::prelude::*;
    use pyo3::types::PyDict;
    use std::collections::BTreeMap;
    use std::path::PathBuf;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    /// Stops a `write_block` that another thread runs.
    #[pyclass(name = "Cancellation", frozen)]
    pub struct PyCancellation(Arc<AtomicBool>);

    #[pymethods]
    impl PyCancellation {
        #[new]
        fn new() -> Self {
            Self(Arc::new(AtomicBool::new(false)))
        }

        fn cancel(&self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }

    type DeleteRow = (u64, String, Vec<(String, String, String)>, i64, i64);

    fn parse_deletes(rows: Vec<DeleteRow>) -> Result<Vec<Delete>> {
        rows.into_iter()
            .map(|(offset, tenant, matchers, min_ns, max_ns)| {
                Ok(Delete {
                    offset,
                    tenant,
                    matchers: Matcher::parse_all(&matchers)?,
                    range: TimeRange { min_ns, max_ns },
                })
            })
            .collect()
    }

    #[pyfunction]
    #[pyo3(signature = (sources, deletes, path, *, min_ns, max_ns, keep_from_ns, effort,
        offset_first=0, offset_last=0, cancellation=None))]
    #[allow(clippy::too_many_arguments, clippy::needless_pass_by_value)]
    fn write_block<'py>(
        py: Python<'py>,
        sources: Vec<Bound<'py, PySource>>,
        deletes: Vec<DeleteRow>,
        path: PathBuf,
        min_ns: i64,
        max_ns: i64,
        keep_from_ns: BTreeMap<String, i64>,
        effort: &str,
        offset_first: u64,
        offset_last: u64,
        cancellation: Option<Bound<'py, PyCancellation>>,
    ) -> PyResult<Option<Bound<'py, PyDict>>> {
        let options = BlockOptions {
            effort: Effort::parse(effort)?,
            offset_first,
            offset_last,
        };
        let sources: Vec<Arc<dyn Source>> = sources
            .iter()
            .map(|source| Arc::clone(&source.get().0))
            .collect();
        let cancel = cancellation.map_or_else(Arc::default, |flag| Arc::clone(&flag.get().0));
        let summary = py.detach(|| {
            let deletes = parse_deletes(deletes)?;
            let request = BlockRequest {
                sources: &sources,
                deletes: &deletes,
                window: TimeRange { min_ns, max_ns },
                keep_from_ns: &keep_from_ns,
                options,
                cancel: &cancel,
            };
            super::write_block(&request, &path)
        })?;
        summary.map(|summary| to_dict(py, &summary)).transpose()
    }

    fn to_dict<'py>(py: Python<'py>, summary: &BlockSummary) -> PyResult<Bound<'py, PyDict>> {
        let out = PyDict::new(py);
        out.set_item("sample_count", summary.sample_count)?;
        out.set_item("series_count", summary.series_count)?;
        out.set_item("min_ns", summary.min_ns)?;
        out.set_item("max_ns", summary.max_ns)?;
        out.set_item("file_bytes", summary.file_bytes)?;
        out.set_item("tenants", tenants(py, &summary.tenants)?)?;
        let sections = PyDict::new(py);
        for (name, bytes) in &summary.bytes_by_section {
            sections.set_item(name, bytes)?;
        }
        out.set_item("bytes_by_section", sections)?;
        Ok(out)
    }

    pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
        module.add_class::<PyCancellation>()?;
        module.add_function(wrap_pyfunction!(write_block, module)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::block::{Block, BlockSource};
    use crate::pages::Effort;
    use crate::sample::{Kind, STALE_NAN_BITS};
    use crate::selector::{Matcher, matches_all};
    use crate::series::{canonical, series_id};
    use proptest::prelude::*;
    use roaring::RoaringBitmap;
    use std::path::PathBuf;
    use std::sync::atomic::AtomicU64;

    const EVERYTHING: TimeRange = TimeRange {
        min_ns: i64::MIN,
        max_ns: i64::MAX,
    };

    /// A source that holds plain runs in the order they came.
    #[derive(Debug, Clone, Default)]
    struct Plain {
        order: u64,
        deletes_through: u64,
        series: Vec<(String, Vec<u8>, Vec<Run>)>,
    }

    impl Source for Plain {
        fn order(&self) -> u64 {
            self.order
        }

        fn deletes_through(&self) -> u64 {
            self.deletes_through
        }

        fn tenants(&self) -> Vec<String> {
            let tenants: BTreeSet<String> = self.series.iter().map(|s| s.0.clone()).collect();
            tenants.into_iter().collect()
        }

        fn time_range(&self) -> Option<TimeRange> {
            None
        }

        fn select(
            &self,
            tenant: &str,
            matchers: &[Matcher],
            _: TimeRange,
        ) -> Result<RoaringBitmap> {
            let matching = |(of, canonical, _): &(String, Vec<u8>, Vec<Run>)| {
                of == tenant && matches_all(matchers, &SeriesView::parse(canonical).unwrap())
            };
            let ordinals = 0..self.series.len() as u32;
            Ok(ordinals
                .filter(|&at| matching(&self.series[at as usize]))
                .collect())
        }

        fn id(&self, ordinal: u32) -> SeriesId {
            series_id(&self.series[ordinal as usize].1)
        }

        fn canonical(&self, ordinal: u32, out: &mut Vec<u8>) -> Result<()> {
            out.extend_from_slice(&self.series[ordinal as usize].1);
            Ok(())
        }

        fn read(&self, ordinal: u32, range: TimeRange, out: &mut Vec<Run>) -> Result<()> {
            for run in &self.series[ordinal as usize].2 {
                let mut run = run.clone();
                let outside = [
                    (i64::MIN, range.min_ns.saturating_sub(1)),
                    (range.max_ns.saturating_add(1), i64::MAX),
                ];
                for (min_ns, max_ns) in outside {
                    if min_ns < range.min_ns || max_ns > range.max_ns {
                        crate::merge::hide(&mut run, &[TimeRange { min_ns, max_ns }]);
                    }
                }
                out.push(run);
            }
            Ok(())
        }

        fn label_names(&self, _: &str, _: TimeRange, _: &mut Vec<String>) -> Result<()> {
            Ok(())
        }

        fn label_values(&self, _: &str, _: &str, _: TimeRange, _: &mut Vec<String>) -> Result<()> {
            Ok(())
        }
    }

    /// A directory of the test's own, removed behind it.
    struct Scratch(PathBuf);

    impl Scratch {
        fn new() -> Self {
            static NEXT: AtomicU64 = AtomicU64::new(0);
            let next = NEXT.fetch_add(1, Memory::Relaxed);
            let path = std::env::temp_dir().join(format!("orrery-{}-{next}", std::process::id()));
            std::fs::create_dir_all(&path).unwrap();
            Self(path)
        }

        fn file(&self) -> PathBuf {
            self.0.join("test.block")
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    fn floats(samples: &[(i64, f64)]) -> Run {
        let mut run = Run::new(Kind::Float64);
        run.times_ns = samples.iter().map(|sample| sample.0).collect();
        run.values = samples.iter().map(|sample| sample.1.to_bits()).collect();
        run
    }

    fn series(name: &str, field: &str, labels: &[(&str, &str)]) -> Vec<u8> {
        canonical(name, field, &mut labels.to_vec()).unwrap()
    }

    fn write(
        sources: &[Plain],
        deletes: &[Delete],
        window: TimeRange,
        effort: Effort,
        path: &Path,
    ) -> Option<BlockSummary> {
        let sources: Vec<Arc<dyn Source>> = sources
            .iter()
            .map(|source| Arc::new(source.clone()) as Arc<dyn Source>)
            .collect();
        write_sources(&sources, deletes, window, effort, path)
    }

    fn write_sources(
        sources: &[Arc<dyn Source>],
        deletes: &[Delete],
        window: TimeRange,
        effort: Effort,
        path: &Path,
    ) -> Option<BlockSummary> {
        let request = BlockRequest {
            sources,
            deletes,
            window,
            keep_from_ns: &BTreeMap::from([("kept".to_owned(), 50)]),
            options: BlockOptions {
                effort,
                offset_first: 3,
                offset_last: 9,
            },
            cancel: &AtomicBool::new(false),
        };
        write_block(&request, path).unwrap()
    }

    fn open(path: &Path) -> BlockSource {
        let block = Arc::new(Block::open(path).unwrap());
        block.verify().unwrap();
        BlockSource {
            block,
            order: 9,
            deletes_through: 9,
        }
    }

    /// A sample in a form that tells kinds and payloads apart.
    type Value = (Kind, u64, Vec<u8>);
    type Contents = BTreeMap<(String, Vec<u8>), BTreeMap<i64, Value>>;

    fn put_runs(contents: &mut BTreeMap<i64, Value>, runs: &[Run]) {
        for run in runs {
            for at in 0..run.len() {
                let value = if run.kind.uses_heap() {
                    (run.kind, 0, run.payload(at).unwrap().to_vec())
                } else {
                    (run.kind, run.values[at], Vec::new())
                };
                contents.insert(run.times_ns[at], value);
            }
        }
    }

    fn contents(source: &dyn Source, range: TimeRange) -> Contents {
        let mut out = Contents::new();
        for tenant in source.tenants() {
            for ordinal in source.select(&tenant, &[], range).unwrap() {
                let (mut canonical, mut runs) = (Vec::new(), Vec::new());
                source.canonical(ordinal, &mut canonical).unwrap();
                assert_eq!(source.id(ordinal), series_id(&canonical));
                source.read(ordinal, range, &mut runs).unwrap();
                let mut samples = BTreeMap::new();
                put_runs(&mut samples, &runs);
                if !samples.is_empty() {
                    out.insert((tenant.clone(), canonical), samples);
                }
            }
        }
        out
    }

    /// What the block must hold, said as plainly as it can be.
    fn model(sources: &[Plain], deletes: &[Delete], window: TimeRange) -> Contents {
        let mut sources: Vec<&Plain> = sources.iter().collect();
        sources.sort_by_key(|source| source.order);
        let mut out = Contents::new();
        for source in sources {
            for (tenant, canonical, runs) in &source.series {
                let view = SeriesView::parse(canonical).unwrap();
                let mut samples = BTreeMap::new();
                put_runs(&mut samples, runs);
                samples.retain(|time, _| {
                    let hidden = deletes.iter().any(|delete| {
                        delete.tenant == *tenant
                            && delete.offset > source.deletes_through
                            && (delete.range.min_ns..=delete.range.max_ns).contains(time)
                            && matches_all(&delete.matchers, &view)
                    });
                    let kept = tenant != "kept" || *time >= 50;
                    !hidden && kept && (window.min_ns..=window.max_ns).contains(time)
                });
                out.entry((tenant.clone(), canonical.clone()))
                    .or_default()
                    .extend(samples);
            }
        }
        out.retain(|_, samples| !samples.is_empty());
        out
    }

    #[test]
    fn nothing_left_writes_no_file() {
        let scratch = Scratch::new();
        let source = Plain {
            series: vec![(
                "t".into(),
                series("cpu", "", &[]),
                vec![floats(&[(5, 1.0)])],
            )],
            ..Plain::default()
        };
        let window = TimeRange {
            min_ns: 6,
            max_ns: 10,
        };
        assert!(write(&[source], &[], window, Effort::Fast, &scratch.file()).is_none());
        assert!(!scratch.file().exists());
    }

    #[test]
    fn a_cancelled_write_leaves_no_file() {
        let scratch = Scratch::new();
        let source = Plain {
            series: vec![(
                "t".into(),
                series("cpu", "", &[]),
                vec![floats(&[(5, 1.0)])],
            )],
            ..Plain::default()
        };
        let request = BlockRequest {
            sources: &[Arc::new(source) as Arc<dyn Source>],
            deletes: &[],
            window: EVERYTHING,
            keep_from_ns: &BTreeMap::new(),
            options: BlockOptions {
                effort: Effort::Fast,
                offset_first: 0,
                offset_last: 0,
            },
            cancel: &AtomicBool::new(true),
        };
        let error = write_block(&request, &scratch.file()).unwrap_err();
        assert!(matches!(error, CoreError::Unavailable(_)));
        assert!(!scratch.file().exists());
    }

    #[test]
    fn long_runs_span_pages_and_share_times() {
        let scratch = Scratch::new();
        let samples: Vec<(i64, f64)> = (0..20_000).map(|i| (i * 10, (i % 7) as f64)).collect();
        let source = Plain {
            series: (0..50)
                .map(|host| {
                    let labels = series("cpu", "", &[("host", &format!("h{host}"))]);
                    ("t".into(), labels, vec![floats(&samples)])
                })
                .collect(),
            ..Plain::default()
        };
        let summary = write(
            &[source.clone()],
            &[],
            EVERYTHING,
            Effort::Fast,
            &scratch.file(),
        )
        .unwrap();
        assert_eq!(summary.sample_count, 1_000_000);
        let bytes: BTreeMap<_, _> = summary.bytes_by_section.into_iter().collect();
        assert!(bytes["time_pages"] < 300, "{bytes:?}");
        let block = open(&scratch.file());
        assert_eq!(contents(&block, EVERYTHING), contents(&source, EVERYTHING));
        let range = TimeRange {
            min_ns: 81_000,
            max_ns: 82_005,
        };
        assert_eq!(contents(&block, range), contents(&source, range));
    }

    fn small_block(effort: Effort, path: &Path) -> (Plain, BlockSummary) {
        let mut text = Run::new(Kind::String);
        for time in 0..40 {
            text.push_payload(time, if time % 3 == 0 { b"idle" } else { b"busy" });
        }
        let mut flags = Run::new(Kind::Bool);
        flags.times_ns = vec![1, 2, 9];
        flags.values = vec![1, 0, 1];
        let stale = Run {
            values: vec![STALE_NAN_BITS, 1],
            times_ns: vec![7, 8],
            ..floats(&[])
        };
        let noise: Vec<(i64, f64)> = (1..300)
            .map(|i: i32| (i64::from(i * i), f64::from(i).sin()))
            .collect();
        let walk: Vec<(i64, f64)> = (1..900)
            .map(|i: i32| (i64::from(i) * 7, f64::from(i * i % 101) / 10.0))
            .collect();
        let source = Plain {
            series: vec![
                (
                    "a".into(),
                    series("cpu", "usage", &[("host", "ä"), ("region", "eu")]),
                    vec![floats(&walk)],
                ),
                (
                    "a".into(),
                    series("sys.load-1", "", &[("host", "b")]),
                    vec![floats(&noise)],
                ),
                ("a".into(), series("state", "", &[]), vec![flags, text]),
                (
                    "b".into(),
                    series("cpu", "usage", &[("host", "b")]),
                    vec![stale],
                ),
            ],
            ..Plain::default()
        };
        let summary = write(&[source.clone()], &[], EVERYTHING, effort, path).unwrap();
        (source, summary)
    }

    #[test]
    fn labels_are_listed_and_selected() {
        let scratch = Scratch::new();
        small_block(Effort::Fast, &scratch.file());
        let block = open(&scratch.file());
        let values = |tenant: &str, label: &str| {
            let mut out = Vec::new();
            block
                .label_values(tenant, label, EVERYTHING, &mut out)
                .unwrap();
            out
        };
        assert_eq!(
            values("a", "__name__"),
            ["cpu_usage", "state", "sys.load-1"]
        );
        assert_eq!(
            values("a", "__measurement__"),
            ["cpu", "state", "sys.load-1"]
        );
        assert_eq!(values("a", "__field__"), ["usage"]);
        assert_eq!(values("a", "host"), ["b", "ä"]);
        assert_eq!(values("b", "host"), ["b"]);
        assert_eq!(values("b", "region"), [""; 0]);
        assert_eq!(values("nobody", "host"), [""; 0]);
        let mut names = Vec::new();
        block.label_names("a", EVERYTHING, &mut names).unwrap();
        assert_eq!(names, ["__name__", "host", "region"]);
        let select = |label: &str, operator: &str, value: &str| {
            let matcher = Matcher::parse(label, operator, value).unwrap();
            let range = TimeRange {
                min_ns: 0,
                max_ns: 9,
            };
            block.select("a", &[matcher], range).unwrap().len()
        };
        assert_eq!(select("__name__", "=", "sys.load-1"), 1);
        assert_eq!(select("__name__", "=", "sys_load_1"), 1);
        assert_eq!(select("__name__", "!=", "sys_load_1"), 2);
        assert_eq!(select("host", "=", ""), 1);
        assert_eq!(select("host", "=~", "b|ä"), 2);
        assert_eq!(select("__field__", "=~", "us.*"), 1);
        assert_eq!(select("host", "!~", "b.*"), 2);
        let late = TimeRange {
            min_ns: 1_000_000,
            max_ns: 2_000_000,
        };
        assert!(block.select("a", &[], late).unwrap().is_empty());
    }

    #[test]
    fn any_flipped_bit_is_named_or_harmless() {
        let scratch = Scratch::new();
        for effort in [Effort::Fast, Effort::Small] {
            let _ = std::fs::remove_file(scratch.file());
            small_block(effort, &scratch.file());
            let good = std::fs::read(scratch.file()).unwrap();
            let expected = contents(&open(&scratch.file()), EVERYTHING);
            for at in 0..good.len() {
                let mut bad = good.clone();
                bad[at] ^= 1 << (at % 8);
                let path = scratch.0.join("bad.block");
                std::fs::write(&path, &bad).unwrap();
                let found = Block::open(&path).and_then(|block| block.verify());
                let Err(CoreError::Corrupt(message)) = found else {
                    panic!("byte {at} of {}: {found:?}", good.len());
                };
                assert!(message.contains("bad.block"), "{message}");
                assert!(
                    message.contains("offset") || message.contains("section"),
                    "{message}"
                );
                read_what_can_be_read(&path, &expected);
            }
        }
    }

    /// Reading without `verify` gives what was written or an error, nothing else.
    fn read_what_can_be_read(path: &Path, expected: &Contents) {
        let Ok(block) = Block::open(path) else { return };
        let source = BlockSource {
            block: Arc::new(block),
            order: 1,
            deletes_through: 0,
        };
        for tenant in source.tenants() {
            let Ok(ordinals) = source.select(&tenant, &[], EVERYTHING) else {
                continue;
            };
            for ordinal in ordinals {
                let (mut canonical, mut runs) = (Vec::new(), Vec::new());
                let named = source.canonical(ordinal, &mut canonical);
                let read = source.read(ordinal, EVERYTHING, &mut runs);
                if named.is_ok() && read.is_ok() {
                    let mut samples = BTreeMap::new();
                    put_runs(&mut samples, &runs);
                    assert_eq!(Some(&samples), expected.get(&(tenant.clone(), canonical)));
                }
            }
        }
    }

    #[test]
    fn a_file_cut_short_is_corrupt() {
        let scratch = Scratch::new();
        small_block(Effort::Fast, &scratch.file());
        let good = std::fs::read(scratch.file()).unwrap();
        for length in (0..good.len()).step_by(7) {
            std::fs::write(scratch.file(), &good[..length]).unwrap();
            assert!(matches!(
                Block::open(&scratch.file()),
                Err(CoreError::Corrupt(_))
            ));
        }
    }

    #[test]
    fn version_1_still_reads() {
        let golden =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden/formats/block-1.block");
        if std::env::var_os("ORRERY_WRITE_GOLDEN").is_some() {
            let _ = std::fs::remove_file(&golden);
            small_block(Effort::Small, &golden);
        }
        let scratch = Scratch::new();
        let (source, _) = small_block(Effort::Small, &scratch.file());
        assert_eq!(
            contents(&open(&golden), EVERYTHING),
            contents(&source, EVERYTHING)
        );
    }

    fn any_run() -> impl Strategy<Value = Run> {
        let kinds = prop_oneof![
            Just(Kind::Float64),
            Just(Kind::Float64),
            Just(Kind::Int64),
            Just(Kind::Uint64),
            Just(Kind::Bool),
            Just(Kind::String),
            Just(Kind::Bytes)
        ];
        let samples = prop::collection::btree_map(0i64..120, any::<u64>(), 1..40);
        (kinds, samples, 0u32..64).prop_map(|(kind, samples, shift)| {
            let mut run = Run::new(kind);
            for (time, bits) in samples {
                match kind {
                    Kind::String | Kind::Bytes => {
                        run.push_payload(time, format!("{}", bits >> shift).as_bytes())
                    }
                    _ => {
                        run.times_ns.push(time);
                        run.values.push(if kind == Kind::Bool {
                            bits & 1
                        } else {
                            bits >> shift
                        });
                    }
                }
            }
            run
        })
    }

    fn any_source() -> impl Strategy<Value = Plain> {
        let one = (
            0usize..3,
            0usize..3,
            0usize..2,
            0usize..4,
            prop::collection::vec(any_run(), 1..3),
        );
        let list = prop::collection::vec(one, 1..12);
        (0u64..6, 0u64..6, list).prop_map(|(order, deletes_through, list)| {
            let mut known = BTreeSet::new();
            let mut out = Plain {
                order,
                deletes_through,
                series: Vec::new(),
            };
            for (tenant, name, field, host, runs) in list {
                let tenant = ["a", "b", "kept"][tenant];
                let hosts: &[(&str, &str)] = &[("host", ["", "x", "y", "z"][host])];
                let canonical = series(["zz", "cpu", "a.b"][name], ["", "f"][field], hosts);
                if known.insert((tenant, canonical.clone())) {
                    out.series.push((tenant.into(), canonical, runs));
                }
            }
            out
        })
    }

    fn any_delete() -> impl Strategy<Value = Delete> {
        let matcher = prop_oneof![
            Just(("host", "=", "x")),
            Just(("host", "=", "")),
            Just(("__name__", "=~", "cpu.*")),
            Just(("__name__", "=", "a_b")),
            Just(("__field__", "!=", "f"))
        ];
        (0u64..6, 0usize..3, matcher, 0i64..120, 0i64..60).prop_map(
            |(offset, tenant, m, min_ns, span)| Delete {
                offset,
                tenant: ["a", "b", "kept"][tenant].into(),
                matchers: vec![Matcher::parse(m.0, m.1, m.2).unwrap()],
                range: TimeRange {
                    min_ns,
                    max_ns: min_ns + span,
                },
            },
        )
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(150))]

        #[test]
        fn blocks_hold_what_the_model_says(
            mut sources in prop::collection::vec(any_source(), 1..4),
            deletes in prop::collection::vec(any_delete(), 0..4),
            min_ns in -5i64..60, span in 0i64..130, small: bool,
        ) {
            // Two sources of one order have no winner that the model could know.
            for (at, source) in sources.iter_mut().enumerate() {
                source.order = source.order * 4 + at as u64;
            }
            let scratch = Scratch::new();
            let window = TimeRange { min_ns, max_ns: min_ns + span };
            let effort = if small { Effort::Small } else { Effort::Fast };
            let expected = model(&sources, &deletes, window);
            let summary = write(&sources, &deletes, window, effort, &scratch.file());
            prop_assert_eq!(summary.is_none(), expected.is_empty());
            if let Some(summary) = summary {
                prop_assert_eq!(summary.series_count as usize, expected.len());
                let block = open(&scratch.file());
                prop_assert_eq!(contents(&block, EVERYTHING), expected.clone());
                // A block compacted alone is the same block.
                let again = scratch.0.join("again.block");
                let bytes = std::fs::read(scratch.file()).unwrap();
                write_sources(&[Arc::new(block)], &[], EVERYTHING, effort, &again);
                prop_assert!(bytes == std::fs::read(again).unwrap());
            }
        }
    }
}
