use super::*;
use crate::rollup::roll;
use crate::sample::STALE_NAN_BITS;
use proptest::prelude::*;

const RESOLUTION_NS: i64 = 10;
const FUNCTIONS: [&str; 16] = [
    "instant",
    "timestamp",
    "rate",
    "increase",
    "delta",
    "resets",
    "avg_over_time",
    "min_over_time",
    "max_over_time",
    "sum_over_time",
    "count_over_time",
    "first_over_time",
    "last_over_time",
    "present_over_time",
    "ts_of_first_over_time",
    "ts_of_last_over_time",
];

type Answer = Vec<Option<u64>>;

fn from_samples(function: Function, samples: &[(i64, f64)], steps: &Steps) -> Answer {
    let mut times = samples.iter().map(|sample| sample.0).collect();
    let mut values = samples.iter().map(|sample| sample.1).collect();
    answer(steps, |row| {
        window::run(
            function,
            &mut times,
            &mut values,
            steps,
            row,
            &Meter::unlimited(),
        )
    })
}

fn from_rows(function: Function, samples: &[(i64, f64)], steps: &Steps) -> Answer {
    let times: Vec<i64> = samples.iter().map(|sample| sample.0).collect();
    let values: Vec<f64> = samples.iter().map(|sample| sample.1).collect();
    let mut rows = Vec::new();
    roll(&times, &values, RESOLUTION_NS, &mut rows);
    answer(steps, |row| {
        run(
            function,
            &mut rows,
            steps,
            RESOLUTION_NS,
            row,
            &Meter::unlimited(),
        )
    })
}

fn answer(steps: &Steps, run: impl FnOnce(window::Row<'_>) -> Result<()>) -> Answer {
    let (mut values, mut present) = (vec![0.0; steps.count()], vec![false; steps.count()]);
    run(window::Row {
        values: &mut values,
        present: &mut present,
    })
    .unwrap();
    let bits = |value: f64| {
        if value.is_nan() {
            f64::NAN.to_bits()
        } else {
            value.to_bits()
        }
    };
    let cells = values.into_iter().zip(present);
    cells
        .map(|(value, there)| there.then(|| bits(value)))
        .collect()
}

fn samples() -> impl Strategy<Value = Vec<(i64, f64)>> {
    let value = prop_oneof![
        8 => (0i32..50).prop_map(f64::from),
        1 => Just(f64::NAN),
        1 => Just(f64::from_bits(STALE_NAN_BITS)),
    ];
    prop::collection::btree_map(0i64..400, value, 0..60)
        .prop_map(|samples| samples.into_iter().collect())
}

proptest! {
    /// Windows that are whole buckets are answered to the bit as from the samples.
    #[test]
    fn rows_answer_as_the_samples_do(
        samples in samples(), start in 0i64..20, step in 1i64..6, range in 1i64..12, offset in 0i64..4,
    ) {
        for name in FUNCTIONS {
            let function = Function::parse(name, &[]).unwrap();
            prop_assert!(answers(function));
            let steps = Steps::new(
                start * RESOLUTION_NS, step * RESOLUTION_NS, 20, range * RESOLUTION_NS,
                offset * RESOLUTION_NS,
            ).unwrap();
            let expected = from_samples(function, &samples, &steps);
            prop_assert_eq!(from_rows(function, &samples, &steps), expected, "{}", name);
        }
    }

    /// What looks at the newest sample alone needs a bucket's end at the window's end only.
    #[test]
    fn the_newest_sample_is_found_in_windows_of_any_length(
        samples in samples(), step in 1i64..6, range in 1i64..60,
    ) {
        for name in ["instant", "timestamp", "last_over_time", "ts_of_last_over_time"] {
            let function = Function::parse(name, &[]).unwrap();
            let steps = Steps::new(0, step * RESOLUTION_NS, 30, range, 0).unwrap();
            let expected = from_samples(function, &samples, &steps);
            prop_assert_eq!(from_rows(function, &samples, &steps), expected, "{}", name);
        }
    }

    /// Any other window is answered as the whole buckets before its end are.
    #[test]
    fn other_windows_are_moved_back_to_whole_buckets(
        samples in samples(), at in 0i64..400, range in 10i64..80,
    ) {
        for name in FUNCTIONS {
            let function = Function::parse(name, &[]).unwrap();
            let edges = whole_buckets(
                Edges { start_ns: at - range, end_ns: at }, RESOLUTION_NS, looks_at_newest(function),
            );
            prop_assert!(edges.end_ns <= at);
            let asked = Steps::new(at, 1, 1, range, 0).unwrap();
            let whole = Steps::new(edges.end_ns, 1, 1, edges.end_ns - edges.start_ns, 0).unwrap();
            prop_assert_eq!(
                from_rows(function, &samples, &asked),
                from_samples(function, &samples, &whole),
                "{}", name
            );
        }
    }
}

#[test]
fn a_window_shorter_than_a_bucket_has_no_answer() {
    let samples = [(1, 1.0), (5, 2.0), (9, 3.0), (15, 4.0)];
    let steps = Steps::new(10, 10, 2, 5, 0).unwrap();
    for (name, expected) in [("rate", [None, None]), ("sum_over_time", [None, None])] {
        let function = Function::parse(name, &[]).unwrap();
        assert_eq!(from_rows(function, &samples, &steps), expected);
    }
}

#[test]
fn what_needs_the_samples_is_refused() {
    let steps = Steps::new(0, 10, 1, 10, 0).unwrap();
    let (mut values, mut present) = ([0.0], [false]);
    let row = window::Row {
        values: &mut values,
        present: &mut present,
    };
    let found = run(
        Function::Stddev,
        &mut Vec::new(),
        &steps,
        10,
        row,
        &Meter::unlimited(),
    );
    assert!(matches!(found, Err(CoreError::Invalid(_))));
}
