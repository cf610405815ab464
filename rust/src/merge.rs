//! Runs of one series from many sources to one sample an instant: the later write wins.
//!
//! Queries (`snapshot`) and compaction settle duplicates and deletes here, and nowhere else.

use crate::sample::Run;
use crate::source::TimeRange;

/// Merges runs given in rising priority: at an equal time the sample of the later run stays.
///
/// Inside each run times ascend without repeats. The answer's runs ascend and do not overlap, none
/// is empty, and a new one begins only where the kind changes. Samples in `hidden` are left out
/// before anything is settled. Runs that do not overlap are joined without a merge.
pub fn merge_runs(mut runs: Vec<Run>, hidden: &[TimeRange]) -> Vec<Run> {
    for run in &mut runs {
        hide(run, hidden);
    }
    runs.retain(|run| !run.is_empty());
    if runs.len() <= 1 {
        return runs;
    }
    let mut out = Vec::with_capacity(runs.len());
    for cluster in clusters(runs) {
        if cluster.len() == 1 {
            for run in cluster {
                join(&mut out, run);
            }
        } else {
            settle(&cluster, &mut out);
        }
    }
    out
}

/// Takes samples inside any of `hidden` out of a run. The heap keeps their payloads: positions in
/// it must not move.
pub fn hide(run: &mut Run, hidden: &[TimeRange]) {
    let (Some(&first), Some(&last)) = (run.times_ns.first(), run.times_ns.last()) else {
        return;
    };
    let whole = TimeRange {
        min_ns: first,
        max_ns: last,
    };
    for range in hidden.iter().filter(|range| range.overlaps(&whole)) {
        let from = run.times_ns.partition_point(|&time| time < range.min_ns);
        let to = run.times_ns.partition_point(|&time| time <= range.max_ns);
        if from < to {
            run.times_ns.drain(from..to);
            run.values.drain(from..to);
            run.sides.drain(from..to);
        }
    }
}

/// Groups of runs whose time spans overlap, ascending; inside a group the priority keeps its order.
fn clusters(runs: Vec<Run>) -> Vec<Vec<Run>> {
    let span = |run: &Run| (run.times_ns[0], run.times_ns[run.len() - 1]);
    let mut order: Vec<(usize, Run)> = runs.into_iter().enumerate().collect();
    order.sort_by_key(|(_, run)| span(run).0);
    let mut groups: Vec<(i64, Vec<(usize, Run)>)> = Vec::new();
    for (priority, run) in order {
        let (first, last) = span(&run);
        match groups.last_mut() {
            Some((end, group)) if first <= *end => {
                *end = last.max(*end);
                group.push((priority, run));
            }
            _ => groups.push((last, vec![(priority, run)])),
        }
    }
    groups
        .into_iter()
        .map(|(_, mut group)| {
            group.sort_by_key(|(priority, _)| *priority);
            group.into_iter().map(|(_, run)| run).collect()
        })
        .collect()
}

/// Appends a run that lies behind all of `out`.
fn join(out: &mut Vec<Run>, run: Run) {
    match out.last_mut() {
        Some(last) if last.kind == run.kind && heap_fits(last, &run) => append(last, &run),
        _ => out.push(run),
    }
}

/// Offsets into a heap have 32 bits.
fn heap_fits(left: &Run, right: &Run) -> bool {
    u32::try_from(left.heap.len() + right.heap.len()).is_ok()
}

fn append(left: &mut Run, right: &Run) {
    left.sides.append(left.len(), &right.sides, 0..right.len());
    left.times_ns.extend_from_slice(&right.times_ns);
    if left.kind.uses_heap() {
        let shift = (left.heap.len() as u64) << 32;
        left.heap.extend_from_slice(&right.heap);
        left.values
            .extend(right.values.iter().map(|bits| bits + shift));
    } else {
        left.values.extend_from_slice(&right.values);
    }
}

/// Merges runs that overlap. A stable sort of concatenated runs is a merge: it takes the runs as
/// they stand, and equal times keep the order of priority.
fn settle(cluster: &[Run], out: &mut Vec<Run>) {
    let count = cluster.iter().map(Run::len).sum();
    let mut order: Vec<(i64, u32, u32)> = Vec::with_capacity(count);
    for (which, run) in cluster.iter().enumerate() {
        let places = run.times_ns.iter().enumerate();
        order.extend(places.map(|(at, &time)| (time, which as u32, at as u32)));
    }
    order.sort_by_key(|&(time, _, _)| time);
    let mut touched = cluster.iter().chain(out.last());
    let has_sides = touched.any(|run| !run.sides.is_empty());
    for (place, &(time, which, at)) in order.iter().enumerate() {
        if order.get(place + 1).is_some_and(|next| next.0 == time) {
            continue;
        }
        let run = &cluster[which as usize];
        push(out, run, at as usize, count - place);
        if let Some(last) = out.last_mut().filter(|_| has_sides) {
            let before = last.len() - 1;
            last.sides.push(before, run.sides.at(at as usize));
        }
    }
}

fn push(out: &mut Vec<Run>, from: &Run, at: usize, expected_count: usize) {
    let payload = if from.kind.uses_heap() {
        from.payload(at)
    } else {
        None
    };
    let room = u32::MAX as usize - payload.map_or(0, <[u8]>::len);
    if !out
        .last()
        .is_some_and(|run| run.kind == from.kind && run.heap.len() <= room)
    {
        let mut run = Run::new(from.kind);
        run.times_ns.reserve(expected_count);
        run.values.reserve(expected_count);
        out.push(run);
    }
    let Some(run) = out.last_mut() else { return };
    if from.kind.uses_heap() {
        run.push_payload(from.times_ns[at], payload.unwrap_or_default());
    } else {
        run.times_ns.push(from.times_ns[at]);
        run.values.push(from.values[at]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::Kind;
    use crate::sides::Side;
    use crate::sides::tests::side;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn floats(samples: &[(i64, u64)]) -> Run {
        Run {
            kind: Kind::Float64,
            times_ns: samples.iter().map(|s| s.0).collect(),
            values: samples.iter().map(|s| s.1).collect(),
            ..Run::new(Kind::Float64)
        }
    }

    fn strings(samples: &[(i64, &str)]) -> Run {
        let mut run = Run::new(Kind::String);
        for (time, text) in samples {
            run.push_payload(*time, text.as_bytes());
        }
        run
    }

    fn range(min_ns: i64, max_ns: i64) -> TimeRange {
        TimeRange { min_ns, max_ns }
    }

    #[test]
    fn the_later_run_wins_at_an_equal_time() {
        let runs = vec![
            floats(&[(1, 10), (2, 20), (5, 50)]),
            floats(&[(2, 21), (3, 31)]),
        ];
        assert_eq!(
            merge_runs(runs, &[]),
            vec![floats(&[(1, 10), (2, 21), (3, 31), (5, 50)])]
        );
    }

    #[test]
    fn disjoint_runs_join_in_order_of_time() {
        let runs = vec![floats(&[(5, 50)]), floats(&[(1, 10), (2, 20)])];
        assert_eq!(
            merge_runs(runs, &[]),
            vec![floats(&[(1, 10), (2, 20), (5, 50)])]
        );
    }

    #[test]
    fn a_change_of_kind_begins_a_run() {
        let runs = vec![
            floats(&[(1, 10), (3, 30)]),
            strings(&[(2, "two"), (3, "three")]),
        ];
        let expected = vec![floats(&[(1, 10)]), strings(&[(2, "two"), (3, "three")])];
        assert_eq!(merge_runs(runs, &[]), expected);
    }

    #[test]
    fn joined_strings_keep_their_payloads() {
        let merged = merge_runs(
            vec![strings(&[(1, "a"), (2, "bc")]), strings(&[(3, "def")])],
            &[],
        );
        assert_eq!(merged.len(), 1);
        assert_eq!(merged[0].payload(1), Some(&b"bc"[..]));
        assert_eq!(merged[0].payload(2), Some(&b"def"[..]));
    }

    #[test]
    fn hidden_ranges_are_inclusive_and_come_first() {
        let runs = vec![floats(&[(1, 10), (2, 20), (3, 30), (4, 40)])];
        assert_eq!(
            merge_runs(runs, &[range(2, 3)]),
            vec![floats(&[(1, 10), (4, 40)])]
        );
        assert_eq!(merge_runs(vec![floats(&[(1, 10)])], &[range(0, 9)]), vec![]);
    }

    proptest! {
        #[test]
        fn equals_a_map_written_in_order(
            runs in prop::collection::vec(
                (any::<bool>(), prop::collection::btree_map(0i64..60, (any::<u8>(), side()), 0..20)), 0..6),
            hidden in prop::collection::vec((0i64..60, 0i64..10), 0..3),
        ) {
            let hidden: Vec<_> = hidden.iter().map(|&(from, length)| range(from, from + length)).collect();
            let mut expected: BTreeMap<i64, (Kind, String, Side)> = BTreeMap::new();
            let mut given = Vec::new();
            for (text, samples) in &runs {
                let kind = if *text { Kind::String } else { Kind::Int64 };
                let mut run = Run::new(kind);
                for (&time, &(value, side)) in samples {
                    run.sides.push(run.len(), side);
                    if *text {
                        run.push_payload(time, value.to_string().as_bytes());
                    } else {
                        run.times_ns.push(time);
                        run.values.push(u64::from(value));
                    }
                    expected.insert(time, (kind, value.to_string(), side));
                }
                given.push(run);
            }
            expected.retain(|&time, _| !hidden.iter().any(|r| r.min_ns <= time && time <= r.max_ns));
            let merged = merge_runs(given, &hidden);
            let mut got = Vec::new();
            for run in &merged {
                prop_assert!(!run.is_empty() && run.sides.fit(run.len()));
                for at in 0..run.len() {
                    let value = run.payload(at).filter(|_| run.kind == Kind::String)
                        .map_or_else(|| run.values[at].to_string(), |p| String::from_utf8(p.to_vec()).unwrap());
                    got.push((run.times_ns[at], (run.kind, value, run.sides.at(at))));
                }
            }
            prop_assert!(merged.windows(2).all(|pair| pair[0].kind != pair[1].kind));
            prop_assert_eq!(got, expected.into_iter().collect::<Vec<_>>());
        }
    }
}
