//! What a query has used and may use; the switch that stops it.
//!
//! One meter is shared by all kernels of a query, on all threads. `query` makes it from the
//! tenant's limits; kernels add what they read and poll `check` every page and every few thousand steps.

use crate::error::{CoreError, Result};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Loops over samples or steps poll the meter at least this often.
pub const POLL_EVERY: usize = 4096;

#[derive(Debug)]
pub struct Meter {
    samples_max: u64,
    series_max: u64,
    seconds_max: Option<f64>,
    started: Instant,
    samples_read: AtomicU64,
    /// Rows of coarse data: they count as samples, too.
    rows_read: AtomicU64,
    series_read: AtomicU64,
    cancelled: AtomicBool,
    has_company: AtomicBool,
}

impl Meter {
    /// The deadline counts from now. 0 samples or series is no bound, as in a tenant's limits.
    pub fn new(samples_max: u64, series_max: u64, seconds_max: Option<f64>) -> Self {
        let bound = |limit: u64| if limit == 0 { u64::MAX } else { limit };
        Self {
            samples_max: bound(samples_max),
            series_max: bound(series_max),
            seconds_max,
            started: Instant::now(),
            samples_read: AtomicU64::new(0),
            rows_read: AtomicU64::new(0),
            series_read: AtomicU64::new(0),
            cancelled: AtomicBool::new(false),
            has_company: AtomicBool::new(false),
        }
    }

    pub fn unlimited() -> Self {
        Self::new(0, 0, None)
    }

    /// Stops the query at its next poll; may come from any thread.
    pub fn cancel(&self) {
        self.cancelled.store(true, Ordering::Relaxed);
    }

    /// Others ask as well: the query leaves a core to them from here on; may come from any thread.
    pub fn keep_company(&self) {
        self.has_company.store(true, Ordering::Relaxed);
    }

    pub fn has_company(&self) -> bool {
        self.has_company.load(Ordering::Relaxed)
    }

    pub fn samples_read(&self) -> u64 {
        self.samples_read.load(Ordering::Relaxed)
    }

    pub fn series_read(&self) -> u64 {
        self.series_read.load(Ordering::Relaxed)
    }

    pub fn rows_read(&self) -> u64 {
        self.rows_read.load(Ordering::Relaxed)
    }

    pub fn add_rows(&self, count: usize) -> Result<()> {
        self.rows_read.fetch_add(count as u64, Ordering::Relaxed);
        self.add_samples(count)
    }

    pub fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    pub fn add_samples(&self, count: usize) -> Result<()> {
        let read = self.samples_read.fetch_add(count as u64, Ordering::Relaxed) + count as u64;
        within("query_samples", self.samples_max, read)
    }

    pub fn add_series(&self, count: usize) -> Result<()> {
        let read = self.series_read.fetch_add(count as u64, Ordering::Relaxed) + count as u64;
        within("query_series", self.series_max, read)
    }

    /// Work that was given up and begins anew does not count twice. Only for who works alone.
    pub fn forget_since(&self, samples_read: u64, series_read: u64) {
        self.samples_read.store(samples_read, Ordering::Relaxed);
        self.series_read.store(series_read, Ordering::Relaxed);
    }

    /// Whether to go on: not cancelled and in time.
    pub fn check(&self) -> Result<()> {
        if self.cancelled.load(Ordering::Relaxed) {
            return Err(CoreError::Unavailable(
                "cannot finish the query: it was cancelled".into(),
            ));
        }
        let Some(seconds_max) = self.seconds_max else {
            return Ok(());
        };
        let elapsed = self.elapsed().as_secs_f64();
        if elapsed > seconds_max {
            return Err(exceeded("query_seconds", seconds_max, elapsed));
        }
        Ok(())
    }
}

fn within(limit: &'static str, value: u64, current: u64) -> Result<()> {
    if current > value {
        return Err(exceeded(limit, value as f64, current as f64));
    }
    Ok(())
}

fn exceeded(limit: &'static str, value: f64, current: f64) -> CoreError {
    CoreError::Limit {
        message: format!("cannot finish the query: {limit} is {value}, this one reached {current}"),
        limit,
        scope: "query",
        value,
        current,
    }
}

#[cfg(feature = "python")]
pub(crate) mod python {
    use super::Meter;
    use pyo3::prelude::*;
    use std::sync::Arc;

    #[pyclass(name = "Meter", frozen)]
    pub struct PyMeter(pub Arc<Meter>);

    #[pymethods]
    impl PyMeter {
        #[new]
        #[pyo3(signature = (*, samples_max, series_max, deadline_seconds = None))]
        fn new(samples_max: u64, series_max: u64, deadline_seconds: Option<f64>) -> Self {
            Self(Arc::new(Meter::new(
                samples_max,
                series_max,
                deadline_seconds,
            )))
        }

        fn keep_company(&self) {
            self.0.keep_company();
        }

        fn cancel(&self) {
            self.0.cancel();
        }

        fn check(&self) -> PyResult<()> {
            Ok(self.0.check()?)
        }

        fn add_samples(&self, count: usize) -> PyResult<()> {
            Ok(self.0.add_samples(count)?)
        }

        #[getter]
        fn samples_read(&self) -> u64 {
            self.0.samples_read()
        }

        #[getter]
        fn rows_read(&self) -> u64 {
            self.0.rows_read()
        }

        #[getter]
        fn series_read(&self) -> u64 {
            self.0.series_read()
        }

        #[getter]
        fn elapsed_seconds(&self) -> f64 {
            self.0.elapsed().as_secs_f64()
        }
    }

    pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
        module.add_class::<PyMeter>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limit_of(result: Result<()>) -> (&'static str, f64, f64) {
        match result {
            Err(CoreError::Limit {
                limit,
                value,
                current,
                ..
            }) => (limit, value, current),
            other => panic!("no limit was reached: {other:?}"),
        }
    }

    #[test]
    fn limits_are_named_with_value_and_current() {
        let meter = Meter::new(10, 2, Some(-1.0));
        meter.add_samples(10).unwrap();
        assert_eq!(
            limit_of(meter.add_samples(1)),
            ("query_samples", 10.0, 11.0)
        );
        assert_eq!(limit_of(meter.add_series(3)), ("query_series", 2.0, 3.0));
        assert_eq!(limit_of(meter.check()).0, "query_seconds");
        assert_eq!((meter.samples_read(), meter.series_read()), (11, 3));
    }

    #[test]
    fn a_cancelled_query_stops() {
        let meter = Meter::unlimited();
        meter.check().unwrap();
        meter.cancel();
        assert!(matches!(meter.check(), Err(CoreError::Unavailable(_))));
    }
}
