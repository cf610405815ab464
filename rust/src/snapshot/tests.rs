use super::*;
use crate::memory_source::MemorySource;
use crate::sample::Kind;
use crate::series::canonical;
use crate::source::RETENTION_OFFSET;

const ALL: TimeRange = TimeRange {
    min_ns: -1000,
    max_ns: 1000,
};

fn series(name: &str, field: &str, labels: &[(&str, &str)]) -> Vec<u8> {
    canonical(name, field, &mut labels.to_vec()).unwrap()
}

fn floats(samples: &[(i64, f64)]) -> Run {
    Run {
        kind: Kind::Float64,
        times_ns: samples.iter().map(|s| s.0).collect(),
        values: samples.iter().map(|s| s.1.to_bits()).collect(),
        ..Run::new(Kind::Float64)
    }
}

fn source(order: u64, deletes_through: u64, series: &[(&[u8], Vec<Run>)]) -> Arc<dyn Source> {
    let mut source = MemorySource::new(order, deletes_through);
    for (canonical, runs) in series {
        source.add("t", canonical, runs.clone()).unwrap();
    }
    Arc::new(source)
}

fn matchers(triples: &[(&str, &str, &str)]) -> Vec<Matcher> {
    Matcher::parse_all(triples).unwrap()
}

fn delete(offset: u64, label: (&str, &str, &str), min_ns: i64, max_ns: i64) -> Delete {
    let range = TimeRange { min_ns, max_ns };
    Delete {
        offset,
        tenant: "t".into(),
        matchers: matchers(&[label]),
        unless: Vec::new(),
        range,
    }
}

fn samples(snapshot: &Snapshot, triples: &[(&str, &str, &str)]) -> Samples {
    let meter = Meter::unlimited();
    let selection = snapshot
        .select("t", &matchers(triples), ALL, &meter)
        .unwrap();
    selection.samples(0, selection.len(), ALL, &meter).unwrap()
}

#[test]
fn series_of_two_sources_meet_and_the_greater_order_wins() {
    let cpu = series("cpu", "", &[]);
    let snapshot = Snapshot::new(
        vec![
            source(7, 0, &[(&cpu, vec![floats(&[(2, 20.0), (3, 30.0)])])]),
            source(3, 0, &[(&cpu, vec![floats(&[(1, 1.0), (2, 2.0)])])]),
        ],
        vec![],
    );
    let got = samples(&snapshot, &[("__name__", "=", "cpu")]);
    assert_eq!(got.offsets, [0, 3]);
    assert_eq!(got.times_ns, [1, 2, 3]);
    assert_eq!(got.values, [1.0, 20.0, 30.0]);
}

#[test]
fn a_delete_hides_in_older_sources_only() {
    let cpu = series("cpu", "", &[("host", "a")]);
    let snapshot = Snapshot::new(
        vec![
            source(
                3,
                0,
                &[(&cpu, vec![floats(&[(1, 1.0), (2, 2.0), (9, 9.0)])])],
            ),
            source(7, 5, &[(&cpu, vec![floats(&[(2, 20.0)])])]),
        ],
        vec![
            delete(5, ("host", "=", "a"), 0, 4),
            delete(6, ("host", "=", "b"), 0, 99),
        ],
    );
    let got = samples(&snapshot, &[("__name__", "=", "cpu")]);
    assert_eq!((got.times_ns, got.values), (vec![2, 9], vec![20.0, 9.0]));
}

#[test]
fn a_series_that_deletes_emptied_is_not_selected() {
    let (a, b) = (series("a", "", &[]), series("b", "", &[]));
    let runs = vec![floats(&[(1, 1.0)])];
    let snapshot = Snapshot::new(
        vec![source(3, 0, &[(&a, runs.clone()), (&b, runs)])],
        vec![delete(5, ("__name__", "=", "a"), 0, 100)],
    );
    let selection = snapshot.select("t", &[], ALL, &Meter::unlimited()).unwrap();
    assert_eq!(selection.len(), 1);
    assert_eq!(selection.canonical(0).unwrap(), b);
    assert!(selection.canonical(1).is_err());
}

#[test]
fn what_deletes_emptied_has_no_labels_left() {
    let (a, b) = (
        series("a", "", &[("x", "1")]),
        series("b", "", &[("y", "2")]),
    );
    let stored = source(
        3,
        0,
        &[
            (&a, vec![floats(&[(1, 1.0), (5, 1.0)])]),
            (&b, vec![floats(&[(1, 1.0), (90, 1.0)])]),
        ],
    );
    let meter = Meter::unlimited();
    let ask = |deletes: Vec<Delete>| {
        let snapshot = Snapshot::new(vec![stored.clone()], deletes);
        let names = snapshot.label_names("t", &[], ALL, &meter).unwrap();
        let values = snapshot.label_values("t", "__name__", &[], ALL, &meter);
        let selected = snapshot.select("t", &[], ALL, &meter).unwrap().len();
        (names.join(" "), values.unwrap().join(" "), selected)
    };
    let all = ("__name__ x y".to_owned(), "a b".to_owned(), 2);
    let only_b = ("__name__ y".to_owned(), "b".to_owned(), 1);
    let none = (String::new(), String::new(), 0);
    let any = ("nothing", "=", "");
    assert_eq!(ask(vec![]), all);
    assert_eq!(ask(vec![delete(5, any, 1, 4)]), all);
    assert_eq!(ask(vec![delete(5, any, 1, 5)]), only_b);
    let pieces = vec![delete(5, any, 1, 1), delete(6, ("x", "=", "1"), 2, 9)];
    assert_eq!(ask(pieces), only_b);
    assert_eq!(
        ask(vec![delete(3, any, 1, 5), delete(5, any, 200, 300)]),
        only_b
    );
    assert_eq!(ask(vec![delete(5, any, 1, 90)]), none);
    let mut retention = delete(RETENTION_OFFSET, any, i64::MIN, 89);
    retention.matchers.clear();
    assert_eq!(
        ask(vec![retention.clone()]),
        all,
        "cut short, not yet looked at"
    );
    retention.range.max_ns = 90;
    assert_eq!(ask(vec![retention]), none);
}

#[test]
fn series_are_sorted_as_prometheus_sorts_labels() {
    let all = [
        series("b", "", &[("a", "1")]),
        series("a", "", &[("z", "1")]),
        series("a", "", &[]),
        series("a", "", &[("Z", "1")]),
        series("a", "f", &[]),
    ];
    let runs = vec![floats(&[(1, 1.0)])];
    let stored: Vec<_> = all.iter().map(|s| (s.as_slice(), runs.clone())).collect();
    let snapshot = Snapshot::new(vec![source(1, 0, &stored)], vec![]);
    let selection = snapshot.select("t", &[], ALL, &Meter::unlimited()).unwrap();
    let row = |at| {
        selection
            .labels()
            .labels(at)
            .map(|(k, v)| format!("{k}={v}"))
    };
    let seen: Vec<Vec<String>> = (0..5).map(|at| row(at).collect()).collect();
    let expected: Vec<Vec<&str>> = vec![
        vec!["Z=1", "__name__=a"],
        vec!["__name__=a"],
        vec!["__name__=a", "z=1"],
        vec!["__name__=a_f"],
        vec!["__name__=b", "a=1"],
    ];
    assert_eq!(seen, expected);
    assert_eq!(selection.collision(), None);
}

#[test]
fn series_of_one_promql_name_collide() {
    let (one, other) = (series("a", "b", &[]), series("a_b", "", &[]));
    let runs = vec![floats(&[(1, 1.0)])];
    let snapshot = Snapshot::new(
        vec![source(1, 0, &[(&one, runs.clone()), (&other, runs)])],
        vec![],
    );
    let selection = snapshot.select("t", &[], ALL, &Meter::unlimited()).unwrap();
    assert_eq!(selection.collision(), Some(0));
    let mut twins = [0, 1].map(|at| selection.canonical(at).unwrap());
    twins.sort();
    assert_eq!(twins, [one, other]);
    let narrow = matchers(&[("__field__", "=", "b")]);
    let selection = snapshot
        .select("t", &narrow, ALL, &Meter::unlimited())
        .unwrap();
    assert_eq!(selection.collision(), None);
}

#[test]
fn windows_are_the_same_on_one_thread_and_two() {
    let all: Vec<Vec<u8>> = (0..100)
        .map(|at| series("m", "", &[("i", &format!("{at:03}"))]))
        .collect();
    let stored: Vec<_> = all
        .iter()
        .enumerate()
        .map(|(at, s)| {
            (
                s.as_slice(),
                vec![floats(&[(10, at as f64), (20, 2.0 * at as f64)])],
            )
        })
        .collect();
    let snapshot = Snapshot::new(vec![source(1, 0, &stored)], vec![]);
    let meter = Meter::unlimited();
    let selection = snapshot.select("t", &[], ALL, &meter).unwrap();
    let steps = Steps::new(10, 10, 3, 15, 0).unwrap();
    let sum = Function::parse("sum_over_time", &[]).unwrap();
    let alone = selection.window(1, 99, sum, &steps, 1, &meter).unwrap();
    assert_eq!(
        alone,
        selection.window(1, 99, sum, &steps, 2, &meter).unwrap()
    );
    assert_eq!(alone.0[..6], [1.0, 3.0, 2.0, 2.0, 6.0, 4.0]);
    assert!(alone.1.iter().all(|&present| present));
    assert_eq!(meter.samples_read(), 2 * 2 * 99);
}

#[test]
fn limits_and_ranges_are_kept() {
    let cpu = series("cpu", "", &[]);
    let snapshot = Snapshot::new(
        vec![source(1, 0, &[(&cpu, vec![floats(&[(1, 1.0), (2, 2.0)])])])],
        vec![],
    );
    let narrow = Meter::new(1, 1, None);
    let selection = snapshot.select("t", &[], ALL, &narrow).unwrap();
    let sum = Function::parse("sum_over_time", &[]).unwrap();
    let steps = Steps::new(10, 10, 1, 15, 0).unwrap();
    let past = TimeRange {
        min_ns: -5000,
        max_ns: 9,
    };
    for threads in [1, 2] {
        let got = selection.window(0, 1, sum, &steps, threads, &narrow);
        assert!(matches!(
            got,
            Err(CoreError::Limit {
                limit: "query_samples",
                ..
            })
        ));
    }
    assert!(selection.samples(0, 1, past, &Meter::unlimited()).is_err());
    assert!(selection.samples(0, 2, ALL, &Meter::unlimited()).is_err());
    assert!(selection.samples(0, 1, ALL, &narrow).is_err());
    let none = Meter::new(1, 1, None);
    none.add_series(1).unwrap();
    assert!(snapshot.select("t", &[], ALL, &none).is_err());
    assert!(
        snapshot
            .select("other", &[], ALL, &none)
            .unwrap()
            .is_empty()
    );
}

#[test]
fn label_calls_go_by_selector_and_time() {
    let (a, b) = (
        series("a", "f", &[("x", "1")]),
        series("b", "", &[("y", "2")]),
    );
    let snapshot = Snapshot::new(
        vec![source(
            1,
            0,
            &[
                (&a, vec![floats(&[(1, 1.0)])]),
                (&b, vec![floats(&[(50, 1.0)])]),
            ],
        )],
        vec![],
    );
    let meter = Meter::unlimited();
    let early = TimeRange {
        min_ns: 0,
        max_ns: 10,
    };
    let only_b = [matchers(&[("y", "=", "2")])];
    assert_eq!(
        snapshot.label_names("t", &[], ALL, &meter).unwrap(),
        ["__name__", "x", "y"]
    );
    assert_eq!(
        snapshot.label_names("t", &[], early, &meter).unwrap(),
        ["__name__", "x"]
    );
    assert_eq!(
        snapshot.label_names("t", &only_b, ALL, &meter).unwrap(),
        ["__name__", "y"]
    );
    for (label, selectors, expected) in [
        ("__name__", &[][..], vec!["a_f", "b"]),
        ("__measurement__", &[], vec!["a", "b"]),
        ("__field__", &[], vec!["f"]),
        ("y", &[], vec!["2"]),
        ("__name__", &only_b[..], vec!["b"]),
        ("x", &only_b, vec![]),
    ] {
        let got = snapshot
            .label_values("t", label, selectors, ALL, &meter)
            .unwrap();
        assert_eq!(got, expected, "{label}");
    }
}

#[test]
fn texts_are_told_of() {
    let mut text = Run::new(Kind::String);
    text.push_payload(1, b"on");
    let (a, b) = (series("a", "", &[]), series("b", "", &[]));
    let snapshot = Snapshot::new(
        vec![source(
            1,
            0,
            &[(&a, vec![floats(&[(1, 1.0)])]), (&b, vec![text])],
        )],
        vec![],
    );
    let meter = Meter::unlimited();
    let selection = snapshot.select("t", &[], ALL, &meter).unwrap();
    assert_eq!(
        selection.samples(0, 2, ALL, &meter).unwrap().offsets,
        [0, 1, 1]
    );
    assert_eq!(selection.text_series(), [1]);
    let columns = selection.columns(0, 2, ALL, &meter).unwrap();
    assert_eq!(
        columns.iter().map(|c| c.kind).collect::<Vec<_>>(),
        [Kind::Float64, Kind::String]
    );
    assert_eq!(columns[1].heap, b"on");
}
