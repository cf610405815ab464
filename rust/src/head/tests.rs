use super::*;
use crate::sample::{Kind, Run};
use crate::series_table::tests::{TestKey, TestSample, at, batch, canonical, resolve};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

const ALWAYS: TimeRange = TimeRange {
    min_ns: i64::MIN,
    max_ns: i64::MAX,
};

/// Time to (kind, bits or payload).
type Samples = BTreeMap<i64, (u8, Vec<u8>)>;
type Model = BTreeMap<Vec<u8>, Samples>;

fn matcher(label: &str, operator: &str, value: &str) -> Matcher {
    Matcher::parse(label, operator, value).unwrap()
}

fn merge(runs: &[Run]) -> Samples {
    let mut merged = Samples::new();
    for run in runs {
        assert!(run.times_ns.windows(2).all(|pair| pair[0] < pair[1]));
        for at in 0..run.len() {
            let value = if run.kind.uses_heap() {
                run.payload(at).unwrap().to_vec()
            } else {
                run.values[at].to_le_bytes().to_vec()
            };
            merged.insert(run.times_ns[at], (run.kind as u8, value));
        }
    }
    merged
}

fn read_all(source: &dyn Source, tenant: &str, range: TimeRange) -> Model {
    let mut model = Model::new();
    for ordinal in &source.select(tenant, &[], range).unwrap() {
        let (mut name, mut runs) = (Vec::new(), Vec::new());
        source.canonical(ordinal, &mut name).unwrap();
        assert_eq!(source.id(ordinal), crate::series::series_id(&name));
        source.read(ordinal, range, &mut runs).unwrap();
        let samples = merge(&runs);
        if !samples.is_empty() {
            model.insert(name, samples);
        }
    }
    model
}

fn series(number: u8) -> Vec<u8> {
    let (host, parity) = (format!("h{number}"), (number % 2).to_string());
    canonical("cpu.load", &[("host", &host), ("parity", &parity)])
}

#[derive(Debug, Clone)]
enum Step {
    Write(Vec<(u8, Vec<TestSample>)>),
    Delete(u8, i64, i64),
    Freeze,
}

fn a_sample() -> impl Strategy<Value = TestSample> {
    let kind = prop::sample::select(vec![
        Kind::Float64,
        Kind::Float64,
        Kind::Int64,
        Kind::String,
        Kind::Bytes,
    ]);
    (-10i64..40, kind, prop::collection::vec(any::<u8>(), 8))
}

fn a_step() -> impl Strategy<Value = Step> {
    let key = (0u8..6, prop::collection::vec(a_sample(), 0..40));
    prop_oneof![
        6 => prop::collection::vec(key, 1..6).prop_map(Step::Write),
        1 => (0u8..2, -10i64..40, -10i64..40).prop_map(|(p, from, until)| Step::Delete(p, from, until)),
        1 => Just(Step::Freeze),
    ]
}

fn write(model: &mut Model, keys: &[TestKey]) {
    for (name, samples) in keys {
        for (time_ns, kind, value) in samples {
            let samples = model.entry(name.clone()).or_default();
            samples.insert(*time_ns, (*kind as u8, value.clone()));
        }
    }
}

fn delete(model: &mut Model, parity: u8, range: TimeRange) {
    for number in (0..6).filter(|number| number % 2 == parity) {
        if let Some(samples) = model.get_mut(&series(number)) {
            samples.retain(|time_ns, _| *time_ns < range.min_ns || *time_ns > range.max_ns);
        }
    }
    model.retain(|_, samples| !samples.is_empty());
}

/// Holds a head, one that replays its records, and the model of each generation.
struct Twins {
    table: SeriesTable,
    heads: [Head; 2],
    generations: Vec<Model>,
    offset: u64,
}

impl Twins {
    fn new() -> Self {
        let table = SeriesTable::default();
        Self {
            heads: [Head::new(table.clone()), Head::new(SeriesTable::default())],
            table,
            generations: vec![Model::new()],
            offset: 0,
        }
    }

    fn step(&mut self, step: &Step) {
        let model = self.generations.last_mut().unwrap();
        match step {
            Step::Write(keys) => {
                let keys: Vec<TestKey> = keys
                    .iter()
                    .map(|(number, samples)| (series(*number), samples.clone()))
                    .collect();
                let resolved = resolve(&self.table, "t", &batch(&keys));
                let record = resolved.record(1).unwrap();
                self.heads[0].apply(&resolved, self.offset).unwrap();
                self.heads[1].replay(&record, self.offset).unwrap();
                write(model, &keys);
            }
            Step::Delete(parity, from, until) => {
                let range = TimeRange {
                    min_ns: *from,
                    max_ns: *until,
                };
                let matchers = [matcher("parity", "=", &parity.to_string())];
                for head in &self.heads {
                    head.delete("t", &matchers, range, self.offset).unwrap();
                }
                delete(model, *parity, range);
            }
            Step::Freeze => {
                let is_empty = model.is_empty();
                for head in &self.heads {
                    let frozen = head.freeze(self.offset).unwrap();
                    assert_eq!(frozen.is_none(), is_empty);
                }
                if !is_empty {
                    self.generations.push(Model::new());
                }
            }
        }
        self.offset += 1;
    }

    fn check(&self, range: TimeRange) {
        for head in &self.heads {
            let sources = head.sources();
            assert_eq!(sources.len(), self.generations.len());
            for (source, model) in sources.iter().zip(&self.generations) {
                let mut expected = model.clone();
                for samples in expected.values_mut() {
                    samples.retain(|time_ns, _| (range.min_ns..=range.max_ns).contains(time_ns));
                }
                expected.retain(|_, samples| !samples.is_empty());
                assert_eq!(read_all(&**source, "t", range), expected);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn a_head_is_a_map_of_samples(steps in prop::collection::vec(a_step(), 1..20), from in -10i64..40) {
        let mut twins = Twins::new();
        for step in &steps {
            twins.step(step);
        }
        twins.check(ALWAYS);
        twins.check(TimeRange { min_ns: from, max_ns: from + 10 });
    }

    #[test]
    fn any_bytes_replay_or_fail(bytes: Vec<u8>) {
        prop_assert!(Head::new(SeriesTable::default()).replay(&bytes, 0).is_err());
    }
}

fn one_series(table: &SeriesTable, head: &Head, name: &str, times: std::ops::Range<i64>) {
    let samples = times
        .map(|time_ns| (time_ns, Kind::Int64, vec![1]))
        .collect();
    let resolved = resolve(table, "t", &batch(&[(canonical(name, &[]), samples)]));
    head.apply(&resolved, 1).unwrap();
}

#[test]
fn a_snapshot_keeps_its_samples_over_a_freeze_and_a_release() {
    let table = SeriesTable::default();
    let head = Head::new(table.clone());
    one_series(&table, &head, "up", 0..1000);
    let before = head.sources();
    assert_eq!(before[0].order(), u64::MAX);
    let frozen = head.freeze(5).unwrap().unwrap();
    assert_eq!((frozen.order(), frozen.deletes_through()), (4, 4));
    one_series(&table, &head, "up", 1000..1001);
    head.release(&frozen).unwrap();
    assert!(head.release(&frozen).is_err());
    drop(frozen);
    assert_eq!(table.sweep(i64::MAX), 0, "both are held");
    let samples = read_all(&*before[0], "t", ALWAYS);
    assert_eq!(samples[&canonical("up", &[])].len(), 1000);
    assert_eq!(head.sample_count(), 1);
    assert_eq!(head.time_range().unwrap().min_ns, 1000);
    drop(before);
    drop(head);
    assert_eq!(table.sweep(i64::MAX), 1);
}

#[test]
fn series_with_old_samples_count_until_the_head_lets_go() {
    let table = SeriesTable::default();
    let head = Head::new(table.clone());
    one_series(&table, &head, "up", 0..1);
    assert_eq!((table.sweep(i64::MAX), table.active_series("t")), (0, 1));
    let frozen = head.freeze(2).unwrap().unwrap();
    head.release(&frozen).unwrap();
    drop(frozen);
    assert_eq!((table.sweep(i64::MAX), table.active_series("t")), (1, 0));
    one_series(&table, &head, "up", 1..2);
    let samples = read_all(&*head.sources()[0], "t", ALWAYS);
    assert_eq!(samples[&canonical("up", &[])].len(), 1);
}

#[test]
fn an_empty_or_early_freeze() {
    let table = SeriesTable::default();
    let head = Head::new(table.clone());
    assert!(head.freeze(0).unwrap().is_none());
    one_series(&table, &head, "up", 0..1);
    let error = head.freeze(1).err().unwrap().to_string();
    assert!(error.contains("offset 1 is already in it"), "{error}");
}

#[test]
fn an_undefined_series_is_named() {
    let table = SeriesTable::default();
    let resolved = resolve(&table, "t", &at(1, &[canonical("up", &[])]));
    resolved.record(1).unwrap();
    let without_definition = resolved.record(1).unwrap();
    let error = Head::new(SeriesTable::default())
        .replay(&without_definition, 0)
        .unwrap_err();
    let id = crate::series::series_id(&canonical("up", &[]));
    assert!(matches!(error, CoreError::Corrupt(_)));
    assert!(error.to_string().contains(&format!("{id:032x}")), "{error}");
}

#[test]
fn labels_follow_tenant_and_range() {
    let table = SeriesTable::default();
    let head = Head::new(table.clone());
    let write = |tenant: &str, time_ns, series: Vec<u8>| {
        head.apply(&resolve(&table, tenant, &at(time_ns, &[series])), 0)
            .unwrap();
    };
    write("t", 1, canonical("sys.cpu", &[("host", "a")]));
    write("t", 100, canonical("mem", &[("host", "b"), ("zone", "z")]));
    write("u", 1, canonical("other", &[("secret", "s")]));
    let source = head.sources().remove(0);
    let early = TimeRange {
        min_ns: 0,
        max_ns: 10,
    };
    let names = |range| {
        let mut out = Vec::new();
        source.label_names("t", range, &mut out).unwrap();
        out.into_iter().collect::<BTreeSet<String>>()
    };
    let values = |label, range| {
        let mut out = Vec::new();
        source.label_values("t", label, range, &mut out).unwrap();
        out.into_iter().collect::<BTreeSet<String>>()
    };
    let set = |texts: &[&str]| {
        texts
            .iter()
            .map(ToString::to_string)
            .collect::<BTreeSet<_>>()
    };
    assert_eq!(source.tenants().unwrap(), ["t", "u"]);
    assert_eq!(names(early), set(&["__name__", "host"]));
    assert_eq!(names(ALWAYS), set(&["__name__", "host", "zone"]));
    assert_eq!(values("__name__", ALWAYS), set(&["sys.cpu", "mem"]));
    assert_eq!(values("host", early), set(&["a"]));
    assert_eq!(values("__measurement__", early), set(&["sys.cpu"]));
    assert_eq!(values("secret", ALWAYS), set(&[]));
    let select = |matchers: &[Matcher]| source.select("t", matchers, ALWAYS).unwrap().len();
    assert_eq!(select(&[matcher("__name__", "=", "sys_cpu")]), 1);
    assert_eq!(select(&[matcher("__name__", "=~", "sys.+")]), 1);
    assert_eq!(select(&[matcher("zone", "=", "")]), 1);
    assert_eq!(select(&[matcher("host", "!=", "a")]), 1);
    assert_eq!(source.select("nobody", &[], ALWAYS).unwrap().len(), 0);
}

#[test]
fn readers_writers_flushes_and_sweeps_at_once() {
    let table = SeriesTable::default();
    let head = Head::new(table.clone());
    let rounds = 200;
    std::thread::scope(|scope| {
        for writer in 0..3 {
            let (table, head) = (&table, &head);
            scope.spawn(move || {
                for round in 0..rounds {
                    let names: Vec<Vec<u8>> = (0..50)
                        .map(|n| canonical(&format!("m{writer}_{}", (n + round) % 97), &[]))
                        .collect();
                    let resolved = resolve(table, "t", &at(round, &names));
                    head.apply(&resolved, 0).unwrap();
                }
            });
        }
        scope.spawn(|| {
            for round in 0..rounds {
                table.sweep(round);
                for source in head.sources() {
                    read_all(&*source, "t", ALWAYS);
                }
                if round % 10 == 0 {
                    if let Some(frozen) = head.freeze(1).unwrap() {
                        head.release(&frozen).unwrap();
                    }
                }
            }
        });
    });
    head.freeze(1).unwrap();
    drop(head);
    table.sweep(i64::MAX);
    assert_eq!((table.series_count(), table.active_series("t")), (0, 0));
}

#[test]
fn a_series_without_samples_is_not_selected_over_all_of_time() {
    let table = SeriesTable::default();
    let head = Head::new(table.clone());
    one_series(&table, &head, "gone", 0..3);
    one_series(&table, &head, "here", 0..3);
    let gone = [matcher("__name__", "=", "gone")];
    assert_eq!(head.delete("t", &gone, ALWAYS, 2).unwrap(), 3);
    let source = head.sources().remove(0);
    let known = table.select("t", &[]).unwrap().len();
    assert_eq!(
        (known, source.select("t", &[], ALWAYS).unwrap().len()),
        (2, 1)
    );
    let mut values = Vec::new();
    let target = "__name__";
    source
        .label_values("t", target, ALWAYS, &mut values)
        .unwrap();
    assert_eq!(values, ["here"]);
    let edge = i64::MAX..i64::MAX;
    one_series(&table, &head, "edge", edge.start - 1..edge.end);
    assert_eq!(source.select("t", &[], ALWAYS).unwrap().len(), 2);
}

#[test]
fn a_head_that_deletes_emptied_gives_its_memory_back() {
    let table = SeriesTable::default();
    let head = Head::new(table.clone());
    let empty_bytes = head.memory_bytes();
    one_series(&table, &head, "up", 0..100_000);
    let before = head.sources().remove(0);
    assert_eq!(head.delete("t", &[], ALWAYS, 2).unwrap(), 100_000);
    assert!(head.memory_bytes() > empty_bytes);
    assert!(head.freeze(3).unwrap().is_none());
    assert_eq!(head.memory_bytes(), empty_bytes);
    assert!(read_all(&*before, "t", ALWAYS).is_empty());
    drop(before);
    assert_eq!(table.sweep(i64::MAX), 1);
    one_series(&table, &head, "up", 0..2);
    assert_eq!(head.sample_count(), 2);
}
