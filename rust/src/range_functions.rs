//! What one window of samples comes to: `PromQL`'s range functions, a window at a time.
//!
//! `window` finds the windows. Every function takes non-empty columns of one length and gives None
//! where the window has too few samples for it. The arithmetic follows Prometheus 3 step for step,
//! so that answers are equal to the last bit where possible.

use crate::kahan::{Mean, Sum};
use crate::quantile::quantile;

/// Further from the edge than this many average intervals, a series is taken to begin or end inside
/// the window.
const EXTRAPOLATION_REACH: f64 = 1.1;

/// Nanoseconds to seconds, rounded once: whole milliseconds divide exactly as Prometheus' do.
#[inline]
pub fn seconds(duration_ns: i64) -> f64 {
    let milliseconds = duration_ns / 1_000_000;
    if milliseconds * 1_000_000 == duration_ns {
        milliseconds as f64 / 1e3
    } else {
        duration_ns as f64 / 1e9
    }
}

#[derive(Debug, Clone, Copy)]
pub struct Edges {
    /// Exclusive.
    pub start_ns: i64,
    /// Inclusive.
    pub end_ns: i64,
}

/// rate, increase and delta: the rise seen between the first and the last sample (`rise`, resets
/// already added), stretched to the edges of the window as far as the series seems to reach.
#[derive(Debug, Clone, Copy)]
pub struct Extrapolation {
    pub is_counter: bool,
    pub is_rate: bool,
}

impl Extrapolation {
    pub fn apply(self, times: &[i64], first_value: f64, rise: f64, edges: Edges) -> Option<f64> {
        let &[first, .., last] = times else {
            return None;
        };
        self.stretch((first, last), times.len() as u64, first_value, rise, edges)
    }

    /// As `apply`, of `count` samples of which only the first and the last time are known.
    pub fn stretch(
        self,
        (first, last): (i64, i64),
        count: u64,
        first_value: f64,
        rise: f64,
        edges: Edges,
    ) -> Option<f64> {
        if count < 2 {
            return None;
        }
        let sampled = seconds(last - first);
        let interval = sampled / (count - 1) as f64;
        let reach = interval * EXTRAPOLATION_REACH;
        let mut to_start = seconds(first.saturating_sub(edges.start_ns));
        if to_start >= reach {
            to_start = interval / 2.0;
        }
        if self.is_counter && rise > 0.0 && first_value >= 0.0 {
            // A counter is never below zero: where its slope meets zero, the series began.
            let to_zero = sampled * (first_value / rise);
            if to_zero < to_start {
                to_start = to_zero;
            }
        }
        let mut to_end = seconds(edges.end_ns.saturating_sub(last));
        if to_end >= reach {
            to_end = interval / 2.0;
        }
        let mut factor = (sampled + to_start + to_end) / sampled;
        if self.is_rate {
            factor /= seconds(edges.end_ns.saturating_sub(edges.start_ns));
        }
        Some(rise * factor)
    }
}

/// irate and idelta: the difference of the last two samples; after a reset a counter's last value.
pub fn instant_change(times: &[i64], values: &[f64], is_rate: bool) -> Option<f64> {
    let (&[.., time_before, time], &[.., before, value]) = (times, values) else {
        return None;
    };
    if time == time_before {
        return None;
    }
    let change = if is_rate && value < before {
        value
    } else {
        value - before
    };
    Some(if is_rate {
        change / seconds(time - time_before)
    } else {
        change
    })
}

/// (slope, value at `origin_ns`) of the line of least squares. A constant has no slope; infinite
/// constants have neither.
pub fn linear_regression(times: &[i64], values: &[f64], origin_ns: i64) -> Option<(f64, f64)> {
    let &[first, _, ..] = values else {
        return None;
    };
    if values.iter().all(|&value| value == first) {
        let nan = (f64::NAN, f64::NAN);
        return Some(if first.is_infinite() {
            nan
        } else {
            (0.0, first)
        });
    }
    let (mut xs, mut ys, mut products, mut squares) = (
        Sum::default(),
        Sum::default(),
        Sum::default(),
        Sum::default(),
    );
    for (&time, &y) in times.iter().zip(values) {
        let x = seconds(time.saturating_sub(origin_ns));
        xs = xs.plus(x);
        ys = ys.plus(y);
        products = products.plus(x * y);
        squares = squares.plus(x * x);
    }
    let count = values.len() as f64;
    let settled = |sum: Sum| sum.sum + sum.correction;
    let (x, y) = (settled(xs), settled(ys));
    let covariance = settled(products) - x * y / count;
    let variance = settled(squares) - x * x / count;
    let slope = covariance / variance;
    Some((slope, y / count - slope * x / count))
}

/// More values are not summed as whole numbers.
const WHOLE_COUNT_MAX: usize = 1 << 11;
/// Sums of so many such numbers stay below 2^53.
const WHOLE_MAX: f64 = (1u64 << 40) as f64;
/// 1.5 * 2^52: adding it and taking it away leaves a double's nearest whole number.
const ROUNDING: f64 = 6_755_399_441_055_744.0;

/// The sum of small whole numbers, of which nothing is lost in any order: to the last bit what the
/// compensated sum gives, at a third of its cost. None where a value is anything else.
fn whole_sum(values: &[f64]) -> Option<f64> {
    if values.len() > WHOLE_COUNT_MAX {
        return None;
    }
    let fours = values.chunks_exact(4);
    let rest = fours.remainder();
    let (mut sums, mut are_whole) = ([0.0; 4], true);
    let is_whole = |value: f64| (value + ROUNDING) - ROUNDING == value && value.abs() <= WHOLE_MAX;
    for four in fours {
        for (sum, &value) in sums.iter_mut().zip(four) {
            are_whole &= is_whole(value);
            *sum += value;
        }
    }
    are_whole &= rest.iter().all(|&value| is_whole(value));
    are_whole.then(|| sums.iter().sum::<f64>() + rest.iter().sum::<f64>() + 0.0)
}

/// Whole numbers up to here are doubles, all of them.
const WHOLE_TOTAL_MAX: f64 = (1u64 << 53) as f64;

/// The sum of everything before each value, and of all; None where a value is no whole number, or
/// the sums could grow beyond those that doubles hold without loss.
pub fn whole_sums(values: &[f64]) -> Option<Vec<f64>> {
    let (mut sum, mut size, mut are_whole) = (0.0, 0.0, true);
    let mut sums = Vec::with_capacity(values.len() + 1);
    sums.push(sum);
    for &value in values {
        are_whole &= (value + ROUNDING) - ROUNDING == value && value.abs() <= WHOLE_MAX;
        size += value.abs();
        sum += value;
        sums.push(sum);
    }
    (are_whole && size <= WHOLE_TOTAL_MAX).then_some(sums)
}

pub fn sum(values: &[f64]) -> f64 {
    whole_sum(values).unwrap_or_else(|| compensated_sum(values))
}

fn compensated_sum(values: &[f64]) -> f64 {
    values
        .iter()
        .fold(Sum::default(), |sum, &value| sum.plus(value))
        .total()
}

pub fn mean(values: &[f64]) -> Option<f64> {
    match whole_sum(values) {
        Some(sum) if !values.is_empty() => Some(sum / values.len() as f64),
        _ => compensated_mean(values),
    }
}

fn compensated_mean(values: &[f64]) -> Option<f64> {
    let (&first, rest) = values.split_first()?;
    let mut mean = Mean::from(first);
    for &value in rest {
        mean.add(value);
    }
    Some(mean.value())
}

/// The population's variance, by Welford's method with compensated sums.
pub fn variance(values: &[f64]) -> f64 {
    let (mut mean, mut squares) = (Sum::default(), Sum::default());
    let mut count = 0.0;
    for &value in values {
        count += 1.0;
        let delta = value - (mean.sum + mean.correction);
        mean = mean.plus(delta / count);
        squares = squares.plus(delta * (value - (mean.sum + mean.correction)));
    }
    (squares.sum + squares.correction) / count
}

/// `scratch` saves an allocation a window.
pub fn quantile_of(q: f64, values: &[f64], scratch: &mut Vec<f64>) -> f64 {
    scratch.clear();
    scratch.extend_from_slice(values);
    quantile(q, scratch)
}

/// The median of the distances from the median; NaN where any value is.
pub fn median_deviation(values: &[f64], scratch: &mut Vec<f64>) -> f64 {
    if values.iter().any(|value| value.is_nan()) {
        return f64::NAN;
    }
    let median = quantile_of(0.5, values, scratch);
    scratch.clear();
    scratch.extend(values.iter().map(|value| (value - median).abs()));
    quantile(0.5, scratch)
}

/// Holt's double exponential smoothing; both factors lie between 0 and 1.
pub fn smooth(values: &[f64], smoothing: f64, trend_factor: f64) -> Option<f64> {
    let &[first, second, ..] = values else {
        return None;
    };
    let (mut before, mut level, mut trend) = (0.0, first, second - first);
    for (at, &value) in values.iter().enumerate().skip(1) {
        let scaled = smoothing * value;
        if at > 1 {
            let moved = trend_factor * (level - before);
            trend = moved + (1.0 - trend_factor) * trend;
        }
        let carried = (1.0 - smoothing) * (level + trend);
        (before, level) = (level, scaled + carried);
    }
    Some(level)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SECOND: i64 = 1_000_000_000;

    fn at(seconds: &[i64]) -> Vec<i64> {
        seconds.iter().map(|s| s * SECOND).collect()
    }

    fn edges(start: i64, end: i64) -> Edges {
        Edges {
            start_ns: start * SECOND,
            end_ns: end * SECOND,
        }
    }

    proptest! {
        #[test]
        fn whole_numbers_sum_as_the_compensated_do(
            values in prop::collection::vec(
                prop_oneof![
                    8 => (-1_000_000i64..1_000_000).prop_map(|value| value as f64),
                    2 => Just(-0.0),
                    1 => prop_oneof![Just(0.5), Just(1e300), Just(f64::NAN), Just(f64::INFINITY)],
                ],
                0..40,
            )
        ) {
            let bits = |value: f64| value.to_bits();
            prop_assert_eq!(bits(sum(&values)), bits(compensated_sum(&values)));
            prop_assert_eq!(mean(&values).map(bits), compensated_mean(&values).map(bits));
        }
    }

    proptest! {
        #[test]
        fn differences_of_whole_sums_are_the_compensated_sums(
            values in prop::collection::vec(
                prop_oneof![
                    8 => (-1_000_000i64..1_000_000).prop_map(|value| value as f64),
                    2 => Just(-0.0),
                    1 => Just(WHOLE_MAX),
                ],
                1..40,
            ),
            from: prop::sample::Index,
        ) {
            let from = from.index(values.len());
            let sums = whole_sums(&values).unwrap();
            let bits = |value: f64| value.to_bits();
            let window = &values[from..];
            let sum = sums[values.len()] - sums[from];
            prop_assert_eq!(bits(sum), bits(compensated_sum(window)));
            let mean = compensated_mean(window);
            prop_assert_eq!(Some(bits(sum / window.len() as f64)), mean.map(bits));
        }
    }

    #[test]
    fn sums_that_could_lose_something_are_not_taken() {
        assert_eq!(whole_sums(&[1.0, 2.0]), Some(vec![0.0, 1.0, 3.0]));
        assert_eq!(whole_sums(&[1.0, 0.5]), None);
        assert_eq!(whole_sums(&[f64::NAN]), None);
        assert_eq!(whole_sums(&vec![WHOLE_MAX; 9000]), None);
    }

    #[test]
    fn only_small_whole_numbers_are_summed_plainly() {
        assert_eq!(whole_sum(&[1.0, 2.0, 3.0, 4.0, 5.0]), Some(15.0));
        assert_eq!(whole_sum(&[1.0, 0.5]), None);
        assert_eq!(whole_sum(&[2.0 * WHOLE_MAX]), None);
        assert_eq!(whole_sum(&vec![1.0; WHOLE_COUNT_MAX + 1]), None);
        assert!(whole_sum(&[-0.0]).is_some_and(f64::is_sign_positive));
    }

    const INCREASE: Extrapolation = Extrapolation {
        is_counter: true,
        is_rate: false,
    };

    #[test]
    fn seconds_divide_as_milliseconds_do() {
        assert_eq!(seconds(100_000_000), 0.1);
        assert_eq!(seconds(1), 1e-9);
        assert_eq!(seconds(-1_500_000_000), -1.5);
    }

    #[test]
    fn a_series_that_fills_the_window_is_stretched_to_its_edges() {
        // 10 s apart, 5 s to each edge: 40 s seen of 50.
        let times = at(&[5, 15, 25, 35, 45]);
        let got = INCREASE.apply(&times, 1000.0, 40.0, edges(0, 50)).unwrap();
        assert_eq!(got, 50.0);
        let rate = Extrapolation {
            is_counter: true,
            is_rate: true,
        };
        assert_eq!(rate.apply(&times, 1000.0, 40.0, edges(0, 50)).unwrap(), 1.0);
    }

    #[test]
    fn a_series_that_begins_inside_is_stretched_by_half_an_interval() {
        let got = INCREASE
            .apply(&at(&[30, 40]), 1000.0, 10.0, edges(0, 40))
            .unwrap();
        assert_eq!(got, 15.0);
    }

    #[test]
    fn a_counter_is_not_stretched_below_zero() {
        // The slope meets zero 2 s before the first sample, nearer than the edge.
        let times = at(&[8, 18]);
        let got = INCREASE.apply(&times, 2.0, 10.0, edges(0, 18)).unwrap();
        assert_eq!(got, 12.0);
        let delta = Extrapolation {
            is_counter: false,
            is_rate: false,
        };
        assert_eq!(delta.apply(&times, 2.0, 10.0, edges(0, 18)).unwrap(), 18.0);
    }

    #[test]
    fn one_sample_has_no_rate() {
        assert_eq!(INCREASE.apply(&at(&[8]), 2.0, 0.0, edges(0, 18)), None);
        assert_eq!(instant_change(&at(&[8]), &[1.0], true), None);
        assert_eq!(linear_regression(&at(&[8]), &[1.0], 0), None);
        assert_eq!(smooth(&[1.0], 0.5, 0.5), None);
    }

    #[test]
    fn instant_changes() {
        assert_eq!(instant_change(&at(&[0, 10]), &[1.0, 6.0], true), Some(0.5));
        assert_eq!(instant_change(&at(&[0, 10]), &[6.0, 1.0], true), Some(0.1));
        assert_eq!(
            instant_change(&at(&[0, 10]), &[6.0, 1.0], false),
            Some(-5.0)
        );
    }

    #[test]
    fn lines() {
        let (slope, value) = linear_regression(&at(&[0, 10, 20]), &[1.0, 6.0, 11.0], 0).unwrap();
        assert!((slope - 0.5).abs() < 1e-12 && (value - 1.0).abs() < 1e-12);
        assert_eq!(
            linear_regression(&at(&[0, 10]), &[3.0, 3.0], 5),
            Some((0.0, 3.0))
        );
        let infinite = linear_regression(&at(&[0, 10]), &[f64::INFINITY; 2], 0).unwrap();
        assert!(infinite.0.is_nan() && infinite.1.is_nan());
    }

    #[test]
    fn spreads() {
        assert_eq!(variance(&[1.0, 2.0, 3.0, 4.0]), 1.25);
        assert_eq!(variance(&[7.0]), 0.0);
        assert!(variance(&[1.0, f64::INFINITY]).is_nan());
        assert_eq!(
            median_deviation(&[4.0, 6.0, 2.0, 1.0, 999.0, 1.0], &mut Vec::new()),
            2.0
        );
        assert!(median_deviation(&[1.0, 2.0, f64::NAN, 4.0], &mut Vec::new()).is_nan());
    }

    #[test]
    fn smoothing_follows_a_line() {
        assert_eq!(smooth(&[1.0, 2.0, 3.0, 4.0], 0.5, 0.5), Some(4.0));
        assert_eq!(smooth(&[0.0, 10.0], 0.5, 0.5), Some(10.0));
    }
}
