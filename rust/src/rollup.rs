//! Coarse data: what all samples of one series inside one bucket of time come to.
//!
//! A bucket of resolution r ends at a multiple of r and holds the samples in `(end - r, end]`: what
//! a `PromQL` window sees is then a whole number of buckets wherever its bounds are multiples of r.
//! `rollup_writer` makes rows when blocks are rolled up, `rollup_reading` for what is not yet rolled
//! up, and `rollup_window` computes with them (docs/decisions/0055).

use crate::range_functions;
use crate::sample::STALE_NAN_BITS;

/// One bucket of one series. Staleness markers count for nothing but `is_stale`; where `count` is 0
/// there were only such, and the numbers mean nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Row {
    pub end_ns: i64,
    pub count: u64,
    pub min: f64,
    pub max: f64,
    pub sum: f64,
    pub first: f64,
    pub last: f64,
    /// What a counter lost by resets: the sum of the values right before each. The increase inside
    /// the bucket is `last - first + lost`.
    pub lost: f64,
    pub resets: u64,
    pub first_ns: i64,
    pub last_ns: i64,
    /// The newest sample of all is a staleness marker.
    pub is_stale: bool,
}

/// The end of the bucket that holds a time; None where it lies outside of 64 bits.
pub fn bucket_end(time_ns: i64, resolution_ns: i64) -> Option<i64> {
    match time_ns.rem_euclid(resolution_ns) {
        0 => Some(time_ns),
        behind => time_ns.checked_add(resolution_ns - behind),
    }
}

/// The end of the last bucket that ends at or before a time.
pub fn bucket_floor(time_ns: i64, resolution_ns: i64) -> i64 {
    time_ns.saturating_sub(time_ns.rem_euclid(resolution_ns))
}

/// Appends a row for every bucket that has samples; times ascend. Samples whose bucket would end
/// outside of 64 bits are left out.
pub fn roll(times_ns: &[i64], values: &[f64], resolution_ns: i64, out: &mut Vec<Row>) {
    let mut from = 0;
    let mut kept = Vec::new();
    while from < times_ns.len() {
        let Some(end_ns) = bucket_end(times_ns[from], resolution_ns) else {
            return;
        };
        let to = from + times_ns[from..].partition_point(|&time| time <= end_ns);
        out.push(bucket(
            end_ns,
            &times_ns[from..to],
            &values[from..to],
            &mut kept,
        ));
        from = to;
    }
}

fn is_stale(value: f64) -> bool {
    value.to_bits() == STALE_NAN_BITS
}

/// The row of one bucket's samples; `kept` saves an allocation a bucket.
fn bucket(end_ns: i64, times_ns: &[i64], values: &[f64], kept: &mut Vec<f64>) -> Row {
    let mut row = Row {
        end_ns,
        is_stale: values.last().is_some_and(|&value| is_stale(value)),
        ..Row::default()
    };
    kept.clear();
    for (&time_ns, &value) in times_ns.iter().zip(values) {
        if is_stale(value) {
            continue;
        }
        if kept.is_empty() {
            (row.first, row.first_ns) = (value, time_ns);
            (row.min, row.max) = (value, value);
        } else if value < row.last {
            row.lost += row.last;
            row.resets += 1;
        }
        // As in Prometheus any number goes before NaN.
        if value < row.min || row.min.is_nan() {
            row.min = value;
        }
        if value > row.max || row.max.is_nan() {
            row.max = value;
        }
        (row.last, row.last_ns) = (value, time_ns);
        kept.push(value);
    }
    row.count = kept.len() as u64;
    row.sum = range_functions::sum(kept);
    row
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rolled(samples: &[(i64, f64)], resolution_ns: i64) -> Vec<Row> {
        let times: Vec<i64> = samples.iter().map(|sample| sample.0).collect();
        let values: Vec<f64> = samples.iter().map(|sample| sample.1).collect();
        let mut rows = Vec::new();
        roll(&times, &values, resolution_ns, &mut rows);
        rows
    }

    #[test]
    fn a_bucket_holds_what_lies_behind_its_start_up_to_its_end() {
        let rows = rolled(
            &[
                (-10, 0.0),
                (-9, 0.0),
                (0, 1.0),
                (1, 2.0),
                (10, 3.0),
                (11, 4.0),
            ],
            10,
        );
        let ends: Vec<_> = rows.iter().map(|row| (row.end_ns, row.count)).collect();
        assert_eq!(ends, [(-10, 1), (0, 2), (10, 2), (20, 1)]);
    }

    #[test]
    fn resets_are_counted_and_what_was_lost_is_kept() {
        let rows = rolled(
            &[(1, 5.0), (2, 8.0), (3, 2.0), (4, 3.0), (5, 1.0), (6, 4.0)],
            10,
        );
        let row = rows[0];
        assert_eq!((row.lost, row.resets), (11.0, 2));
        // 3 up, a reset, 2 up, 1 up, a reset, 1 up, 3 up.
        assert_eq!(row.last - row.first + row.lost, 10.0);
        assert_eq!((row.min, row.max, row.sum, row.count), (1.0, 8.0, 23.0, 6));
        assert_eq!((row.first_ns, row.last_ns), (1, 6));
    }

    #[test]
    fn staleness_markers_only_mark() {
        let stale = f64::from_bits(STALE_NAN_BITS);
        let rows = rolled(&[(1, stale), (2, 3.0), (3, stale), (11, stale)], 10);
        assert_eq!(
            (rows[0].count, rows[0].sum, rows[0].is_stale),
            (1, 3.0, true)
        );
        assert_eq!((rows[0].first_ns, rows[0].last_ns), (2, 2));
        assert_eq!((rows[1].count, rows[1].is_stale), (0, true));
        assert!(!rolled(&[(1, stale), (2, 3.0)], 10)[0].is_stale);
    }

    #[test]
    fn a_number_goes_before_nan() {
        let rows = rolled(&[(1, f64::NAN), (2, 3.0), (3, f64::NAN), (4, 1.0)], 10);
        assert_eq!((rows[0].min, rows[0].max), (1.0, 3.0));
        assert!(rows[0].sum.is_nan());
        assert!(rolled(&[(1, f64::NAN)], 10)[0].min.is_nan());
    }

    #[test]
    fn what_has_no_end_in_64_bits_is_left_out() {
        assert_eq!(bucket_end(i64::MAX, 1000), None);
        assert_eq!(bucket_floor(i64::MIN, 1000), i64::MIN);
        assert_eq!(rolled(&[(5, 1.0), (i64::MAX, 1.0)], 1000).len(), 1);
    }
}
