//! Quantiles of values and of classic histogram buckets; `window` and `aggregate` call it.

use std::cmp::Ordering;

/// Two cumulative counts this close, relatively, are taken as equal.
const COUNT_TOLERANCE: f64 = 1e-12;

/// The quantile of `values`, interpolated between neighbours; NaN sorts below every number.
/// Reorders `values`.
pub fn quantile(q: f64, values: &mut [f64]) -> f64 {
    if values.is_empty() || q.is_nan() {
        return f64::NAN;
    }
    if q < 0.0 {
        return f64::NEG_INFINITY;
    }
    if q > 1.0 {
        return f64::INFINITY;
    }
    let rank = q * (values.len() - 1) as f64;
    let weight = rank - rank.floor();
    let at = (rank.floor() as usize).min(values.len() - 1);
    let (_, &mut lower, above) = values.select_nth_unstable_by(at, nan_first);
    let upper = above.iter().copied().min_by(nan_first).unwrap_or(lower);
    lower * (1.0 - weight) + upper * weight
}

#[allow(clippy::trivially_copy_pass_by_ref)] // as sorting hands them over
fn nan_first(a: &f64, b: &f64) -> Ordering {
    a.partial_cmp(b)
        .unwrap_or_else(|| b.is_nan().cmp(&a.is_nan()))
}

/// What a quantile of buckets comes to, and whether the counts had to be made to rise.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BucketQuantile {
    pub value: f64,
    pub forced_monotonic: bool,
}

impl BucketQuantile {
    fn plain(value: f64) -> Self {
        Self {
            value,
            forced_monotonic: false,
        }
    }
}

/// The quantile of a classic histogram: (upper bound, cumulative count) pairs in any order.
///
/// Inside a bucket values are taken as spread evenly. The lowest bucket begins at 0 unless its
/// bound is 0 or less; a quantile in the highest gives the bound below it. NaN without a `+Inf`
/// bucket, with fewer than two buckets or without observations. Reorders and shortens `buckets`.
pub fn bucket_quantile(q: f64, buckets: &mut Vec<(f64, f64)>) -> BucketQuantile {
    if q.is_nan() || buckets.is_empty() {
        return BucketQuantile::plain(f64::NAN);
    }
    if q < 0.0 {
        return BucketQuantile::plain(f64::NEG_INFINITY);
    }
    if q > 1.0 {
        return BucketQuantile::plain(f64::INFINITY);
    }
    buckets.sort_by(|a, b| a.0.partial_cmp(&b.0).unwrap_or(Ordering::Equal));
    if buckets
        .last()
        .is_none_or(|bucket| bucket.0 != f64::INFINITY)
    {
        return BucketQuantile::plain(f64::NAN);
    }
    coalesce(buckets);
    let forced_monotonic = make_monotonic(buckets);
    BucketQuantile {
        value: inside(q, buckets),
        forced_monotonic,
    }
}

fn inside(q: f64, buckets: &[(f64, f64)]) -> f64 {
    let [.., below_last, (_, observations)] = buckets else {
        return f64::NAN;
    };
    if *observations == 0.0 || observations.is_nan() {
        return f64::NAN;
    }
    let rank = q * observations;
    let bounded = &buckets[..buckets.len() - 1];
    let at = bounded.partition_point(|&(_, count)| count < rank);
    if at == bounded.len() {
        return below_last.0;
    }
    let (end, count) = bounded[at];
    if at == 0 {
        return if end <= 0.0 {
            end
        } else {
            end * (rank / count)
        };
    }
    let (start, before) = bounded[at - 1];
    start + (end - start) * ((rank - before) / (count - before))
}

/// Adds up buckets of one bound.
fn coalesce(buckets: &mut Vec<(f64, f64)>) {
    buckets.dedup_by(|next, kept| {
        let same = next.0 == kept.0;
        if same {
            kept.1 += next.1;
        }
        same
    });
}

/// Cumulative counts never fall: tiny differences either way are rounding, a real fall is evened
/// out and reported.
fn make_monotonic(buckets: &mut [(f64, f64)]) -> bool {
    let mut forced = false;
    let mut highest = buckets[0].1;
    for (_, count) in &mut buckets[1..] {
        if *count == highest {
            continue;
        }
        if almost_equal(highest, *count) {
            *count = highest;
        } else if *count < highest {
            *count = highest;
            forced = true;
        } else {
            highest = *count;
        }
    }
    forced
}

fn almost_equal(a: f64, b: f64) -> bool {
    if a.is_nan() || b.is_nan() {
        return a.is_nan() && b.is_nan();
    }
    let total = a.abs() + b.abs();
    let difference = (a - b).abs();
    if a == 0.0 || b == 0.0 || total < f64::MIN_POSITIVE {
        return difference < COUNT_TOLERANCE * f64::MIN_POSITIVE;
    }
    difference / total.min(f64::MAX) < COUNT_TOLERANCE
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const INF: f64 = f64::INFINITY;

    #[test]
    fn quantiles_of_values() {
        for (q, mut values, expected) in [
            (0.5, vec![3.0, 1.0, 2.0], 2.0),
            (0.5, vec![4.0, 1.0, 2.0, 3.0], 2.5),
            (0.0, vec![4.0, 1.0], 1.0),
            (1.0, vec![4.0, 1.0], 4.0),
            (0.25, vec![0.0, 1.0], 0.25),
            (-0.1, vec![1.0], f64::NEG_INFINITY),
            (1.1, vec![1.0], INF),
            (1.0, vec![f64::NAN, 1.0], 1.0),
        ] {
            assert_eq!(quantile(q, &mut values), expected, "{q}");
        }
        assert!(quantile(0.5, &mut []).is_nan());
        assert!(quantile(f64::NAN, &mut [1.0]).is_nan());
        assert!(quantile(0.0, &mut [f64::NAN, 1.0]).is_nan());
    }

    #[test]
    fn quantiles_of_buckets() {
        for (q, buckets, expected) in [
            (0.5, vec![(1.0, 5.0), (2.0, 10.0), (INF, 10.0)], 1.0),
            (0.75, vec![(1.0, 5.0), (2.0, 10.0), (INF, 10.0)], 1.5),
            (0.25, vec![(1.0, 5.0), (2.0, 10.0), (INF, 10.0)], 0.5),
            (0.9, vec![(INF, 10.0), (1.0, 5.0)], 1.0),
            (0.5, vec![(-1.0, 9.0), (INF, 10.0)], -1.0),
            (0.5, vec![(1.0, 5.0), (1.0, 5.0), (INF, 10.0)], 0.5),
            (0.0, vec![(1.0, 5.0), (INF, 10.0)], 0.0),
            (2.0, vec![(1.0, 5.0), (INF, 10.0)], INF),
            (-1.0, vec![(1.0, 5.0), (INF, 10.0)], f64::NEG_INFINITY),
        ] {
            let got = bucket_quantile(q, &mut buckets.clone());
            assert_eq!(got, BucketQuantile::plain(expected), "{q} {buckets:?}");
        }
        for buckets in [
            vec![],
            vec![(INF, 1.0)],
            vec![(1.0, 1.0), (2.0, 2.0)],
            vec![(1.0, 0.0), (INF, 0.0)],
        ] {
            assert!(
                bucket_quantile(0.5, &mut buckets.clone()).value.is_nan(),
                "{buckets:?}"
            );
        }
    }

    #[test]
    fn falling_counts_are_evened_out_and_told() {
        let mut falling = vec![(1.0, 5.0), (2.0, 4.0), (INF, 10.0)];
        assert!(bucket_quantile(0.4, &mut falling).forced_monotonic);
        assert_eq!(falling[1].1, 5.0);
        let mut rounding = vec![(1.0, 5.0), (2.0, 5.0 - 1e-13), (INF, 10.0)];
        assert!(!bucket_quantile(0.4, &mut rounding).forced_monotonic);
        assert_eq!(rounding[1].1, 5.0);
    }

    proptest! {
        #[test]
        fn a_quantile_is_the_sorted_neighbours_mean(
            values in prop::collection::vec(-1e6f64..1e6, 1..40), q in 0.0f64..=1.0,
        ) {
            let mut sorted = values.clone();
            sorted.sort_by(f64::total_cmp);
            let rank = q * (sorted.len() - 1) as f64;
            let low = rank.floor() as usize;
            let high = (low + 1).min(sorted.len() - 1);
            let weight = rank - rank.floor();
            let expected = sorted[low] * (1.0 - weight) + sorted[high] * weight;
            prop_assert_eq!(quantile(q, &mut values.clone()), expected);
        }

        #[test]
        fn any_buckets_give_an_answer(q: f64, buckets: Vec<(f64, f64)>) {
            bucket_quantile(q, &mut buckets.clone());
        }
    }
}
