//! Blocks against a plain model: kinds, tenants, overlaps, deletes, damage, the golden file.

use super::*;
use crate::block::{Block, BlockSource};
use crate::pages::Effort;
use crate::sample::{Kind, STALE_NAN_BITS};
use crate::selector::{Matcher, matches_all};
use crate::series::{canonical, series_id};
use crate::sides::{NO_SIDE, Side};
use crate::source::{PlainReader, Reader};
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

    fn tenants(&self) -> Result<Vec<String>> {
        let tenants: BTreeSet<String> = self.series.iter().map(|s| s.0.clone()).collect();
        Ok(tenants.into_iter().collect())
    }

    fn time_range(&self) -> Option<TimeRange> {
        let runs = || self.series.iter().flat_map(|(_, _, runs)| runs);
        let times = || runs().flat_map(|run| run.times_ns.iter().copied());
        Some(TimeRange {
            min_ns: times().min()?,
            max_ns: times().max()?,
        })
    }

    fn select(&self, tenant: &str, matchers: &[Matcher], _: TimeRange) -> Result<RoaringBitmap> {
        let matching = |(of, canonical, _): &(String, Vec<u8>, Vec<Run>)| {
            of == tenant && matches_all(matchers, &SeriesView::parse(canonical).unwrap())
        };
        let ordinals = 0..self.series.len() as u32;
        Ok(ordinals
            .filter(|&at| matching(&self.series[at as usize]))
            .collect())
    }

    fn in_block_order(&self, _: &str, series: &RoaringBitmap) -> Result<Vec<u32>> {
        let mut ordinals: Vec<u32> = series.iter().collect();
        let canonical = |&ordinal: &u32| &self.series[ordinal as usize].1[..];
        ordinals.sort_by(|one, other| series_order(canonical(one), canonical(other)));
        Ok(ordinals)
    }

    fn id(&self, ordinal: u32) -> SeriesId {
        series_id(&self.series[ordinal as usize].1)
    }

    fn reader(&self) -> Box<dyn Reader + '_> {
        Box::new(PlainReader(self))
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
    write_cut(sources, deletes, window, (effort, CUTS), path)
}

fn write_cut(
    sources: &[Arc<dyn Source>],
    deletes: &[Delete],
    window: TimeRange,
    (effort, cuts): (Effort, Cuts),
    path: &Path,
) -> Option<BlockSummary> {
    let request = BlockRequest {
        sources,
        deletes,
        window,
        keep: &BTreeMap::from([("kept".to_owned(), Keep::all_from(50))]),
        options: BlockOptions {
            effort,
            resolution_ns: 0,
            offset_first: 3,
            offset_last: 9,
        },
        cancel: &AtomicBool::new(false),
    };
    write_cut_block(&request, cuts, path).unwrap()
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
type Value = (Kind, u64, Vec<u8>, Side);
type Contents = BTreeMap<(String, Vec<u8>), BTreeMap<i64, Value>>;

fn put_runs(contents: &mut BTreeMap<i64, Value>, runs: &[Run]) {
    for run in runs {
        for at in 0..run.len() {
            let side = run.sides.at(at);
            let value = if run.kind.uses_heap() {
                (run.kind, 0, run.payload(at).unwrap().to_vec(), side)
            } else {
                (run.kind, run.values[at], Vec::new(), side)
            };
            contents.insert(run.times_ns[at], value);
        }
    }
}

fn contents(source: &dyn Source, range: TimeRange) -> Contents {
    let mut out = Contents::new();
    for tenant in source.tenants().unwrap() {
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
        keep: &BTreeMap::new(),
        options: BlockOptions {
            effort: Effort::Fast,
            resolution_ns: 0,
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
        std::slice::from_ref(&source),
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

/// Pages of the first series of a block, as they lie in the file.
fn pages_of(source: &BlockSource) -> Vec<Vec<u8>> {
    let (mut reader, mut extents) = (source.reader(), Vec::new());
    reader.extents(0, EVERYTHING, &mut extents).unwrap();
    let pages = extents.iter().filter_map(|extent| extent.page);
    pages
        .map(|page| reader.page(page.offset, page.length).unwrap().to_vec())
        .collect()
}

fn noise(from: i64, count: i64) -> Plain {
    let samples: Vec<(i64, f64)> = (from..from + count)
        .map(|i| (i * 10, (i * 7919 % 1009) as f64))
        .collect();
    let hosts = ["a", "b"].map(|host| series("cpu", "", &[("host", host)]));
    let of = |labels| ("t".to_owned(), labels, vec![floats(&samples)]);
    Plain {
        series: hosts.map(of).into(),
        ..Plain::default()
    }
}

#[test]
fn pages_that_nothing_touches_are_copied() {
    let scratch = Scratch::new();
    let plain = [noise(0, 5000), noise(5000, 3000), noise(7990, 4000)];
    let blocks: Vec<Arc<dyn Source>> = (0..3u64)
        .map(|at| {
            let path = scratch.0.join(format!("{at}.block"));
            let source = std::slice::from_ref(&plain[at as usize]);
            write(source, &[], EVERYTHING, Effort::Small, &path).unwrap();
            let order = at;
            Arc::new(BlockSource {
                order,
                ..open(&path)
            }) as Arc<dyn Source>
        })
        .collect();
    let inputs: Vec<Vec<u8>> = (0..3)
        .flat_map(|at| pages_of(&open(&scratch.0.join(format!("{at}.block")))))
        .collect();
    assert_eq!(inputs.len(), 3 + 2 + 2);
    write_sources(&blocks, &[], EVERYTHING, Effort::Small, &scratch.file()).unwrap();
    let merged = open(&scratch.file());
    assert_eq!(
        contents(&merged, EVERYTHING),
        model(&plain, &[], EVERYTHING)
    );
    // The last page of the second block and the first of the third share ten times.
    let copied = pages_of(&merged);
    assert_eq!(copied[..4], inputs[..4]);
    assert_eq!(copied.last(), inputs.last());
    assert!(!copied.contains(&inputs[4]) && !copied.contains(&inputs[5]));
    let bytes: BTreeMap<_, _> = merged.block.bytes_by_section().into_iter().collect();
    assert!(bytes["times"] < 100, "{bytes:?}");

    let delete = Delete {
        offset: 20,
        tenant: "t".into(),
        matchers: vec![],
        unless: Vec::new(),
        range: TimeRange {
            min_ns: 20_000,
            max_ns: 20_009,
        },
    };
    let again = scratch.0.join("again.block");
    let deletes = std::slice::from_ref(&delete);
    let merged: Vec<Arc<dyn Source>> = vec![Arc::new(merged)];
    write_sources(&merged, deletes, EVERYTHING, Effort::Small, &again).unwrap();
    let left = open(&again);
    assert_eq!(
        contents(&left, EVERYTHING),
        model(&plain, deletes, EVERYTHING)
    );
    let rewritten = pages_of(&left);
    assert_eq!((&rewritten[0], &rewritten[2..]), (&copied[0], &copied[2..]));
    assert!(rewritten[1] != copied[1]);
}

#[test]
fn what_hardly_changes_takes_few_pages() {
    let scratch = Scratch::new();
    let level = |i: i64| if i < 7000 { 64.0 } else { 128.0 };
    let halves = [0..6000, 6000..12_000].map(|half| Plain {
        series: vec![(
            "t".into(),
            series("limit", "", &[]),
            vec![floats(
                &half.map(|i| (i * 10, level(i))).collect::<Vec<_>>(),
            )],
        )],
        ..Plain::default()
    });
    let blocks: Vec<Arc<dyn Source>> = halves
        .iter()
        .enumerate()
        .map(|(at, half)| {
            let path = scratch.0.join(format!("{at}.block"));
            let source = std::slice::from_ref(half);
            write(source, &[], EVERYTHING, Effort::Small, &path).unwrap();
            assert_eq!(pages_of(&open(&path)).len(), 1);
            Arc::new(open(&path)) as Arc<dyn Source>
        })
        .collect();
    write_sources(&blocks, &[], EVERYTHING, Effort::Small, &scratch.file()).unwrap();
    let merged = open(&scratch.file());
    assert_eq!(pages_of(&merged).len(), 2);
    assert_eq!(
        contents(&merged, EVERYTHING),
        model(&halves, &[], EVERYTHING)
    );
}

#[test]
fn pages_that_were_written_fast_are_not_copied() {
    let scratch = Scratch::new();
    let plain = noise(0, 5000);
    let sources = std::slice::from_ref(&plain);
    write(sources, &[], EVERYTHING, Effort::Fast, &scratch.file()).unwrap();
    assert!(!open(&scratch.file()).block.is_settled());
    assert!(pages_of(&open(&scratch.file())).is_empty());
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
    let summary = write(std::slice::from_ref(&source), &[], EVERYTHING, effort, path).unwrap();
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
        for at in (effort as usize..good.len()).step_by(3) {
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
    for tenant in source.tenants().unwrap() {
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

/// A block of samples with side columns: of one page, of some pages, of some samples.
fn sided_block(path: &Path) -> Plain {
    let mut walk = floats(&[]);
    for at in 0..5000i64 {
        let side = match at {
            0..3000 if at % 7 != 0 => [at / 100, (1 << 62) + at * at, at % 50 - 9],
            4000.. => [at / 100, NO_SIDE[1], NO_SIDE[2]],
            _ => NO_SIDE,
        };
        walk.sides.push(walk.len(), side);
        walk.times_ns.push(at * 10);
        walk.values.push((at as f64).to_bits());
    }
    let mut text = Run::new(Kind::String);
    text.sides.push(0, [i64::MAX, -1, 8_848_860]);
    text.push_payload(7, b"here");
    let of = |labels, run| ("a".to_owned(), labels, vec![run]);
    let source = Plain {
        series: vec![
            of(series("cpu", "", &[]), floats(&[(1, 1.0)])),
            of(series("taxi", "", &[("id", "7")]), walk),
            of(series("taxi", "", &[("id", "8")]), text),
        ],
        ..Plain::default()
    };
    let sources = std::slice::from_ref(&source);
    write(sources, &[], EVERYTHING, Effort::Small, path).unwrap();
    source
}

#[test]
fn side_columns_of_version_1_still_read() {
    let golden =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden/formats/block-1-sides.block");
    if std::env::var_os("ORRERY_WRITE_GOLDEN").is_some() {
        let _ = std::fs::remove_file(&golden);
        sided_block(&golden);
    }
    let scratch = Scratch::new();
    let source = sided_block(&scratch.file());
    let block = open(&golden);
    assert_eq!(contents(&block, EVERYTHING), contents(&source, EVERYTHING));
    // Pages without any have no pages of them: 3 value pages, 2 of the first two, 1 of the third.
    let (mut reader, mut extents) = (block.reader(), Vec::new());
    reader.extents(1, EVERYTHING, &mut extents).unwrap();
    let sides = extents.iter().filter_map(|extent| extent.page);
    let counts: Vec<usize> = sides
        .map(|page| page.sides.iter().flatten().count())
        .collect();
    assert_eq!(counts, [3, 3, 1]);
}

#[test]
fn pages_are_copied_with_their_side_columns() {
    let scratch = Scratch::new();
    let path = scratch.0.join("first.block");
    sided_block(&path);
    let again = [Arc::new(open(&path)) as Arc<dyn Source>];
    write_sources(&again, &[], EVERYTHING, Effort::Small, &scratch.file()).unwrap();
    assert!(std::fs::read(path).unwrap() == std::fs::read(scratch.file()).unwrap());
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
    // Some runs have side columns, in some of their samples.
    (kinds, samples, 0u32..64, 0u64..8).prop_map(|(kind, samples, shift, sided)| {
        let mut run = Run::new(kind);
        for (time, bits) in samples {
            if bits & sided & 4 != 0 {
                let low = (bits >> 3) as i64;
                let side = [low, NO_SIDE[1], low % 4 - 2];
                run.sides
                    .push(run.len(), if sided == 4 { side } else { [low; 3] });
            } else {
                run.sides.push(run.len(), NO_SIDE);
            }
            match kind {
                Kind::String | Kind::Bytes => {
                    run.push_payload(time, format!("{}", bits >> shift).as_bytes());
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
            unless: Vec::new(),
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

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn merged_blocks_hold_what_the_model_says(
        mut sources in prop::collection::vec(any_source(), 1..4),
        deletes in prop::collection::vec(any_delete(), 0..4),
        min_ns in -5i64..60, span in 0i64..130,
        slice_samples_max in 1usize..60, copied_samples_min in 0usize..20,
    ) {
        let scratch = Scratch::new();
        let mut blocks: Vec<Arc<dyn Source>> = Vec::new();
        for (at, source) in sources.iter_mut().enumerate() {
            source.order = source.order * 4 + at as u64;
            let path = scratch.0.join(format!("{at}.block"));
            let one = std::slice::from_ref(source);
            if write(one, &[], EVERYTHING, Effort::Small, &path).is_some() {
                let (order, deletes_through) = (source.order, source.deletes_through);
                blocks.push(Arc::new(BlockSource { order, deletes_through, ..open(&path) }));
            }
        }
        let window = TimeRange { min_ns, max_ns: min_ns + span };
        let expected = model(&sources, &deletes, window);
        let cuts = Cuts { slice_samples_max, copied_samples_min, copied_bytes_min: 0 };
        let summary = write_cut(&blocks, &deletes, window, (Effort::Small, cuts), &scratch.file());
        prop_assert_eq!(summary.is_none(), expected.is_empty());
        if summary.is_some() {
            prop_assert_eq!(contents(&open(&scratch.file()), EVERYTHING), expected);
        }
    }
}
