use super::*;
use crate::batch::{Batch, Key, Row, Wire};
use crate::error::CoreError;
use crate::record_samples::decode_samples;
use crate::resolve::{PolicyLabels, ResolveBounds, Resolved};
use crate::sample::Kind;
use crate::series;

/// Time, kind, bits or payload.
pub type TestSample = (i64, Kind, Vec<u8>);
/// One key of a test's batch: canonical bytes and samples.
pub type TestKey = (Vec<u8>, Vec<TestSample>);

#[allow(clippy::unnecessary_wraps)] // as `Batch::canonicalise` has it
fn canonicalise(
    batch: &Batch,
    key: usize,
    _defaults: &[(String, String)],
    _forced: &[(String, String)],
) -> Result<Vec<u8>> {
    let (from, until) = batch.keys[key].span;
    Ok(batch.body[from as usize..until as usize].to_vec())
}

/// A batch whose raw keys are canonical bytes.
pub fn batch(keys: &[TestKey]) -> Batch {
    let mut batch = Batch {
        wire: Wire::Columns,
        canonicalise,
        body: Vec::new(),
        keys: Vec::new(),
        rows: Vec::new(),
        times_ns: Vec::new(),
        values: Vec::new(),
        kinds: Vec::new(),
        sides: crate::sides::Sides::default(),
        symbols: Vec::new(),
        origins: None,
        metadata: Vec::new(),
        attributes: Vec::new(),
        rejected: Vec::new(),
        refused_count: 0,
    };
    for (line, (canonical, samples)) in keys.iter().enumerate() {
        let from = batch.body.len() as u32;
        batch.body.extend_from_slice(canonical);
        let span = (from, batch.body.len() as u32);
        for (time_ns, kind, value) in samples {
            let bits = if kind.uses_heap() {
                let offset = batch.body.len() as u64;
                batch.body.extend_from_slice(value);
                offset << 32 | value.len() as u64
            } else {
                let mut bits = [0; 8];
                bits[..value.len()].copy_from_slice(value);
                u64::from_le_bytes(bits)
            };
            batch.times_ns.push(*time_ns);
            batch.kinds.push(*kind);
            batch.values.push(bits);
        }
        batch.keys.push(Key {
            hash: xxhash_rust::xxh3::xxh3_128(canonical),
            span,
            field: (0, 0),
            line: line as u32 + 1,
            sample_end: batch.values.len() as u32,
        });
    }
    batch
}

/// The keys, of one sample each, in rows of so many.
fn in_rows(mut batch: Batch, sizes: &[usize]) -> Batch {
    let mut end = 0;
    for size in sizes {
        let hashes = batch.keys[end..end + size].iter().map(|key| key.hash);
        end += size;
        batch.rows.push(Row {
            hash: hashes.fold(1, |all, hash| all.wrapping_mul(3).wrapping_add(hash)),
            key_end: end as u32,
        });
    }
    assert_eq!(end, batch.keys.len());
    batch
}

pub const BOUNDS: ResolveBounds = ResolveBounds {
    time_min_ns: i64::MIN,
    time_max_ns: i64::MAX,
    active_series_max: u64::MAX,
    new_series_allowed: true,
    label_count_max: 30,
    label_bytes_max: 100,
};

pub fn canonical(name: &str, labels: &[(&str, &str)]) -> Vec<u8> {
    series::canonical(name, "", &mut labels.to_vec()).unwrap()
}

/// A batch of one sample at `time_ns` for each series.
pub fn at(time_ns: i64, series: &[Vec<u8>]) -> Batch {
    let sample = vec![(time_ns, Kind::Int64, vec![1])];
    let keys: Vec<TestKey> = series
        .iter()
        .map(|one| (one.clone(), sample.clone()))
        .collect();
    batch(&keys)
}

pub fn resolve(table: &SeriesTable, tenant: &str, batch: &Batch) -> Resolved {
    resolve_within(table, tenant, batch, &BOUNDS)
}

fn resolve_within(
    table: &SeriesTable,
    tenant: &str,
    batch: &Batch,
    bounds: &ResolveBounds,
) -> Resolved {
    table
        .resolve(tenant, batch, &PolicyLabels::default(), bounds)
        .unwrap()
}

fn numbered(count: usize) -> Vec<Vec<u8>> {
    (0..count)
        .map(|n| canonical("cpu", &[("host", &format!("h{n}"))]))
        .collect()
}

fn definitions_in(record: &[u8]) -> usize {
    decode_samples(&Record::parse(record).unwrap())
        .unwrap()
        .definitions
        .len()
}

#[test]
fn a_batch_whose_side_columns_are_too_short_is_refused() {
    let table = SeriesTable::default();
    let mut batch = at(1, &numbered(3));
    batch.sides.push(0, [1, 2, 3]);
    let refused = table.resolve("a", &batch, &PolicyLabels::default(), &BOUNDS);
    let error = refused.err().unwrap().to_string();
    assert!(error.contains("not as long as its samples"), "{error}");
}

#[test]
fn a_known_series_keeps_its_reference() {
    let table = SeriesTable::default();
    let series = numbered(3);
    let first = resolve(&table, "a", &at(1, &series));
    let again = resolve(&table, "a", &at(2, &series));
    assert_eq!(first.references, again.references);
    assert_eq!((first.new_series_count, again.new_series_count), (3, 0));
    assert_eq!(table.active_series("a"), 3);
    let other = resolve(&table, "b", &at(1, &series));
    assert!(!other.references.contains(&first.references[0]));
    assert_eq!((table.series_count(), table.active_series("c")), (6, 0));
}

#[test]
fn a_repeated_key_stands_once_in_the_record() {
    let table = SeriesTable::default();
    let series = canonical("up", &[]);
    for _ in 0..2 {
        let resolved = resolve(&table, "a", &at(1, &[series.clone(), series.clone()]));
        let record = resolved.record(1).unwrap();
        let samples = decode_samples(&Record::parse(&record).unwrap()).unwrap();
        assert_eq!(samples.ids, vec![series_id(&series)]);
        assert_eq!(samples.key_series, Some(vec![0, 0]));
    }
}

#[test]
fn definitions_are_written_once_an_epoch() {
    let table = SeriesTable::default();
    let resolved = resolve(&table, "a", &at(1, &numbered(2)));
    let counts = |epochs: &[u64]| -> Vec<usize> {
        let count = |&epoch| definitions_in(&resolved.record(epoch).unwrap());
        epochs.iter().map(count).collect()
    };
    assert_eq!(counts(&[1, 1, 2, 2]), [2, 0, 2, 0]);
    table.forget_definitions();
    assert_eq!(counts(&[2, 2]), [2, 0]);
}

#[test]
fn limits_refuse_series_and_keep_the_others() {
    let table = SeriesTable::default();
    let long = "x".repeat(101);
    let wide: Vec<(String, String)> = (0..31).map(|n| (format!("l{n}"), "v".into())).collect();
    let wide: Vec<(&str, &str)> = wide.iter().map(|(k, v)| (&**k, &**v)).collect();
    let cases = [
        (canonical("up", &wide), "31 labels are more than 30"),
        (
            canonical("up", &[("a", &long)]),
            "101 bytes of a name or value",
        ),
        (canonical(&long, &[]), "101 bytes of a name or value"),
    ];
    for (series, reason) in cases {
        let batch = at(1, &[canonical("good", &[]), series]);
        let resolved = resolve(&table, "a", &batch);
        assert_eq!(resolved.sample_count(), 1);
        assert_eq!(
            (
                resolved.series_rejected_count,
                resolved.samples_rejected_count
            ),
            (1, 1)
        );
        assert_eq!(resolved.rejected[0].line, 2);
        assert!(
            resolved.rejected[0].reason.contains(reason),
            "{:?}",
            resolved.rejected
        );
    }
}

#[test]
fn active_series_are_limited() {
    let table = SeriesTable::default();
    let bounds = ResolveBounds {
        active_series_max: 3,
        ..BOUNDS
    };
    let first = resolve_within(&table, "a", &at(1, &numbered(2)), &bounds);
    assert_eq!((first.sample_count(), first.new_series_count), (2, 2));
    let second = resolve_within(&table, "a", &at(1, &numbered(4)), &bounds);
    assert_eq!(
        second.rejected[0].reason,
        "active series limit of 3 reached (active_series)"
    );
    assert_eq!((second.rejected[0].line, second.sample_count()), (4, 3));
    let other = resolve_within(&table, "b", &at(1, &numbered(2)), &bounds);
    assert_eq!(other.sample_count(), 2);
}

#[test]
fn a_batch_with_a_new_series_is_refused_whole_where_none_is_allowed() {
    let table = SeriesTable::default();
    let bounds = ResolveBounds {
        new_series_allowed: false,
        ..BOUNDS
    };
    let known = at(1, &numbered(2));
    resolve(&table, "a", &known);
    let more = at(2, &numbered(3));
    let refused = table.resolve("a", &more, &PolicyLabels::default(), &bounds);
    assert!(matches!(refused, Err(CoreError::Exhausted(_))));
    assert_eq!(table.active_series("a"), 2);
    let kept = resolve_within(&table, "a", &known, &bounds);
    assert_eq!((kept.sample_count(), kept.new_series_count), (2, 0));
}

#[test]
fn samples_outside_the_bounds_of_time_are_dropped_alone() {
    let table = SeriesTable::default();
    let bounds = ResolveBounds {
        time_min_ns: 10,
        time_max_ns: 20,
        ..BOUNDS
    };
    let samples = |times: &[i64]| {
        let sample = |&time_ns: &i64| (time_ns, Kind::Int64, vec![time_ns as u8]);
        times.iter().map(sample).collect::<Vec<_>>()
    };
    let keys = [
        (canonical("a", &[]), samples(&[9, 10, 20])),
        (canonical("b", &[]), samples(&[15, 21, 22])),
        (canonical("c", &[]), samples(&[1])),
    ];
    let resolved = resolve_within(&table, "t", &batch(&keys), &bounds);
    assert_eq!(resolved.columns.times_ns, [10, 20, 15]);
    assert_eq!(resolved.columns.values, [10, 20, 15]);
    assert_eq!(resolved.columns.key_ends, [2, 3]);
    assert_eq!(resolved.samples_rejected_count, 4);
    let reasons: Vec<(u32, bool)> = resolved
        .rejected
        .iter()
        .map(|one| (one.line, one.reason.contains("too old")))
        .collect();
    assert_eq!(reasons, [(1, true), (2, false), (3, true)]);
    assert_eq!(
        table.series_count(),
        2,
        "a series without samples is not registered"
    );
}

#[test]
fn refusals_are_listed_up_to_a_limit_and_counted_beyond() {
    let table = SeriesTable::default();
    let bounds = ResolveBounds {
        active_series_max: 0,
        ..BOUNDS
    };
    let resolved = resolve_within(&table, "a", &at(1, &numbered(1500)), &bounds);
    assert_eq!(
        resolved.rejected.len(),
        crate::resolve::REJECTIONS_LISTED_MAX
    );
    assert_eq!(resolved.series_rejected_count, 1500);
}

#[test]
fn idle_series_leave_and_references_come_back() {
    let table = SeriesTable::default();
    let series = numbered(5000);
    drop(resolve(&table, "a", &at(1, &series)));
    drop(resolve(&table, "a", &at(100, &series[..10])));
    let full = table.memory_bytes();
    assert_eq!(table.sweep(50), 4990);
    assert_eq!((table.series_count(), table.active_series("a")), (10, 10));
    assert!(table.memory_bytes() < full);
    assert_eq!(table.select("a", &[]).unwrap().len(), 10);
    drop(resolve(&table, "a", &at(200, &series)));
    assert_eq!(table.0.store.extent(), 5000, "references were reused");
    assert_eq!(table.select("a", &[]).unwrap().len(), 5000);
}

/// What each reference of a resolved batch stands for.
fn canonicals(resolved: &Resolved) -> Vec<Vec<u8>> {
    let canonical = |&reference: &u32| {
        let mut bytes = Vec::new();
        resolved.table.canonical(reference, &mut bytes).unwrap();
        bytes
    };
    resolved.references.iter().map(canonical).collect()
}

#[test]
fn rows_lead_to_the_series_of_their_keys() {
    let table = SeriesTable::default();
    let series = numbered(8);
    let backwards: Vec<Vec<u8>> = series.iter().rev().cloned().collect();
    let mixed: Vec<Vec<u8>> = [1, 0, 3, 5, 2, 7, 6, 4].map(|at| series[at].clone()).into();
    for time_ns in 1..4 {
        for (given, sizes) in [
            (&series, &[3, 1, 4][..]),
            (&backwards, &[8]),
            (&mixed, &[2, 2, 4]),
            (&series, &[8]),
        ] {
            let resolved = resolve(&table, "a", &in_rows(at(time_ns, given), sizes));
            assert_eq!(&canonicals(&resolved), given);
            assert_eq!(resolved.columns.key_ends, [1, 2, 3, 4, 5, 6, 7, 8]);
            assert_eq!(resolved.columns.times_ns, [time_ns; 8]);
        }
    }
    assert_eq!(table.series_count(), 8);
}

#[test]
fn rows_do_not_lead_to_series_that_took_up_references() {
    let table = SeriesTable::default();
    let series = numbered(6);
    for time_ns in 1..3 {
        resolve(&table, "a", &in_rows(at(time_ns, &series), &[3, 3]));
    }
    // The second row's last series goes on alone; the others leave, and others come.
    resolve(&table, "a", &at(100, &series[5..]));
    assert_eq!(table.sweep(50), 5);
    table.sweep(50);
    let others: Vec<Vec<u8>> = (0..5)
        .map(|n| series::canonical("other", "", &mut vec![("n", &n.to_string())]).unwrap())
        .collect();
    let taken = resolve(&table, "a", &in_rows(at(101, &others), &[2, 3]));
    assert_eq!(canonicals(&taken), others);
    let again = resolve(&table, "a", &in_rows(at(102, &series), &[3, 3]));
    assert_eq!(canonicals(&again), series);
    assert_eq!((again.new_series_count, table.series_count()), (5, 11));
}

#[test]
fn rows_keep_what_is_in_time_alone() {
    let table = SeriesTable::default();
    let series = numbered(4);
    resolve(&table, "a", &in_rows(at(1, &series), &[4]));
    let mut late = at(1, &series);
    late.times_ns[2] = 99;
    let bounds = ResolveBounds {
        time_max_ns: 50,
        ..BOUNDS
    };
    let labels = PolicyLabels::default();
    let resolved = table
        .resolve("a", &in_rows(late, &[4]), &labels, &bounds)
        .unwrap();
    assert_eq!(canonicals(&resolved), [&series[..2], &series[3..]].concat());
    assert_eq!(resolved.samples_rejected_count, 1);
    let samples = decode_samples(&Record::parse(&resolved.record(1).unwrap()).unwrap()).unwrap();
    assert_eq!(samples.ids.len(), 3);
}

#[test]
fn a_batch_on_its_way_keeps_its_series() {
    let table = SeriesTable::default();
    let held = resolve(&table, "a", &at(1, &numbered(3)));
    assert_eq!(table.sweep(50), 0);
    drop(held);
    assert_eq!(table.sweep(50), 3);
    assert_eq!(table.series_count(), 0);
}

#[test]
fn a_reference_that_a_selection_may_hold_is_not_given_away() {
    let table = SeriesTable::default();
    drop(resolve(&table, "a", &at(1, &numbered(3))));
    let reader = table.0.begin_flight();
    let selected = table.select("a", &[]).unwrap();
    assert_eq!(table.sweep(50), 3);
    drop(resolve(&table, "b", &at(100, &numbered(3))));
    for reference in &selected {
        assert!(!table.0.store.hot(reference).has(LIVE), "{reference}");
    }
    drop(reader);
    assert_eq!(table.sweep(50), 0);
    drop(resolve(&table, "c", &at(100, &numbered(3))));
    assert_eq!(table.0.store.extent(), 6, "now they were reused");
}

#[test]
fn checkpoints_bring_the_series_back() {
    let table = SeriesTable::default();
    drop(resolve(&table, "a", &at(7, &numbered(9000))));
    let mut cursor = table.definitions(0);
    let first = cursor.next_part().unwrap();
    assert!(cursor.next_part().unwrap().is_empty());
    drop(resolve(&table, "b", &at(8, &numbered(2))));
    drop(resolve(&table, "a", &at(9, &numbered(9001))));
    let second = table.definitions(cursor.until()).next_part().unwrap();
    let again = SeriesTable::default();
    assert_eq!(again.load_definitions(&first).unwrap(), 9000);
    assert_eq!(again.load_definitions(&second).unwrap(), 3);
    assert_eq!(
        (again.active_series("a"), again.active_series("b")),
        (9001, 2)
    );
    let resolved = resolve(&again, "a", &at(9, &numbered(9001)));
    assert_eq!(resolved.new_series_count, 0);
    drop(resolved);
    assert!(again.load_definitions(&first[..first.len() - 1]).is_err());
    assert_eq!(again.sweep(9), 2, "last sample times come back as well");
}

#[test]
fn raw_spellings_of_a_series_are_remembered_up_to_a_limit() {
    let table = SeriesTable::default();
    let series = canonical("up", &[]);
    for spelling in 0..20u32 {
        let mut batch = at(1, std::slice::from_ref(&series));
        batch.keys[0].hash = u128::from(spelling) << 64 | 7;
        assert_eq!(resolve(&table, "a", &batch).sample_count(), 1);
    }
    let count: usize = table.0.lookup.iter().map(|shard| shard.read().len()).sum();
    assert_eq!(count, RAW_KEYS_PER_SERIES_MAX as usize);
    assert_eq!(table.active_series("a"), 1);
}

#[test]
fn an_idle_tenant_costs_little() {
    let table = SeriesTable::default();
    let before = table.memory_bytes();
    for tenant in 0..1000 {
        drop(resolve(
            &table,
            &format!("tenant-{tenant}"),
            &at(1, &numbered(1)),
        ));
    }
    table.sweep(i64::MAX);
    let each = (table.memory_bytes() - before) / 1000;
    assert!(
        each <= 1024 + 512,
        "{each} bytes, chunks of series included"
    );
    assert!(size_of::<Tenant>() <= 700, "{}", size_of::<Tenant>());
}

#[test]
fn threads_agree_on_references() {
    let table = SeriesTable::default();
    let series = numbered(2000);
    let found: Vec<Vec<u32>> = std::thread::scope(|scope| {
        let resolve_all = || resolve(&table, "a", &at(1, &series)).references.clone();
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(resolve_all)).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect()
    });
    assert!(found.iter().all(|references| *references == found[0]));
    assert_eq!(table.series_count(), 2000);
}

#[test]
fn tenants_whose_series_left_take_next_to_nothing() {
    let table = SeriesTable::default();
    let empty = table.memory_bytes();
    for tenant in 0..1000 {
        resolve(&table, &format!("t{tenant}"), &at(1, &numbered(20)));
    }
    assert!(table.memory_bytes() - empty > 1000 * 20 * 40);
    assert_eq!(table.sweep(2), 20_000);
    // A number of four bytes stays for each series there was, for whoever comes next.
    let left = table.memory_bytes() - empty;
    assert!(left < 1000 * 300, "{left} bytes");
    resolve(&table, "t7", &at(3, &numbered(2)));
    assert_eq!(table.active_series("t7"), 2);
}
