//! Compensated summation as Prometheus 3 does it, shared by `window` and `aggregate`.

/// A running sum with Neumaier's correction; an infinite sum forgets its correction.
#[derive(Debug, Clone, Copy, Default)]
pub struct Sum {
    pub sum: f64,
    pub correction: f64,
}

impl Sum {
    pub fn from(first: f64) -> Self {
        Self {
            sum: first,
            correction: 0.0,
        }
    }

    #[inline]
    #[must_use]
    pub fn plus(self, value: f64) -> Self {
        let sum = self.sum + value;
        let correction = if sum.is_infinite() {
            0.0
        } else if self.sum.abs() >= value.abs() {
            self.correction + ((self.sum - sum) + value)
        } else {
            self.correction + ((value - sum) + self.sum)
        };
        Self { sum, correction }
    }

    pub fn total(self) -> f64 {
        if self.sum.is_infinite() {
            self.sum
        } else {
            self.sum + self.correction
        }
    }
}

/// A running mean: the sum divided by the count until the sum would overflow, from then on
/// corrected value by value.
#[derive(Debug, Clone, Copy)]
pub struct Mean {
    state: Sum,
    count: f64,
    incremental: bool,
}

impl Mean {
    pub fn from(first: f64) -> Self {
        Self {
            state: Sum::from(first),
            count: 1.0,
            incremental: false,
        }
    }

    #[inline]
    pub fn add(&mut self, value: f64) {
        let before = self.count;
        self.count += 1.0;
        if !self.incremental {
            let next = self.state.plus(value);
            if !next.sum.is_infinite() {
                self.state = next;
                return;
            }
            self.incremental = true;
            self.state.sum /= before;
            self.state.correction /= before;
        }
        let share = before / self.count;
        let scaled = Sum {
            sum: share * self.state.sum,
            correction: share * self.state.correction,
        };
        self.state = scaled.plus(value / self.count);
    }

    pub fn value(&self) -> f64 {
        if self.incremental {
            self.state.sum + self.state.correction
        } else {
            self.state.sum / self.count + self.state.correction / self.count
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sum(values: &[f64]) -> f64 {
        values
            .iter()
            .fold(Sum::default(), |sum, &value| sum.plus(value))
            .total()
    }

    fn mean(values: &[f64]) -> f64 {
        let mut mean = Mean::from(values[0]);
        values[1..].iter().for_each(|&value| mean.add(value));
        mean.value()
    }

    #[test]
    fn sums_keep_what_plain_addition_loses() {
        assert_eq!(sum(&[1e100, 1.0, -1e100]), 1.0);
        assert_eq!(sum(&[0.1; 10]), 1.0);
        assert_eq!(sum(&[f64::INFINITY, 1.0]), f64::INFINITY);
        assert!(sum(&[f64::INFINITY, f64::NEG_INFINITY]).is_nan());
        assert_eq!(sum(&[]), 0.0);
    }

    #[test]
    fn means_survive_an_overflowing_sum() {
        let big = 2f64.powi(1023);
        assert_eq!(mean(&[1.0, 2.0, 6.0]), 3.0);
        assert_eq!(mean(&[big, big, big, big]), big);
        assert_eq!(mean(&[big, -big, big, -big]), 0.0);
        assert_eq!(mean(&[f64::INFINITY, 1.0, 2.0]), f64::INFINITY);
        assert!(mean(&[f64::INFINITY, f64::NEG_INFINITY]).is_nan());
        assert!(mean(&[f64::NAN, 1.0]).is_nan());
    }
}
