//! A source whose bytes cannot be read: it answers every question that it might have had a part
//! in with an error that says so, never with nothing.
//!
//! `store` puts one into its snapshots for every block in quarantine that cannot be opened.

use crate::error::{CoreError, Result};
use crate::sample::Run;
use crate::selector::Matcher;
use crate::series::SeriesId;
use crate::source::{PlainReader, Reader, Source, TimeRange};
use roaring::RoaringBitmap;

pub struct LostSource {
    /// Whole, as whoever asks will read it.
    pub message: String,
    pub range: TimeRange,
    /// Those who may have samples in it; None where nobody knows.
    pub tenants: Option<Vec<String>>,
    pub order: u64,
    pub deletes_through: u64,
}

impl LostSource {
    fn error(&self) -> CoreError {
        CoreError::Corrupt(self.message.clone())
    }

    fn check(&self, tenant: &str, range: TimeRange) -> Result<()> {
        let concerns = |tenants: &Vec<String>| tenants.iter().any(|one| one == tenant);
        if self.range.overlaps(&range) && self.tenants.as_ref().is_none_or(concerns) {
            return Err(self.error());
        }
        Ok(())
    }
}

impl Source for LostSource {
    fn order(&self) -> u64 {
        self.order
    }

    fn deletes_through(&self) -> u64 {
        self.deletes_through
    }

    fn tenants(&self) -> Result<Vec<String>> {
        Ok(self.tenants.clone().unwrap_or_default())
    }

    fn time_range(&self) -> Option<TimeRange> {
        Some(self.range)
    }

    fn select(
        &self,
        tenant: &str,
        _matchers: &[Matcher],
        range: TimeRange,
    ) -> Result<RoaringBitmap> {
        self.check(tenant, range).map(|()| RoaringBitmap::new())
    }

    fn in_block_order(&self, _tenant: &str, _series: &RoaringBitmap) -> Result<Vec<u32>> {
        Err(self.error())
    }

    fn id(&self, _ordinal: u32) -> SeriesId {
        SeriesId::default()
    }

    fn canonical(&self, _ordinal: u32, _out: &mut Vec<u8>) -> Result<()> {
        Err(self.error())
    }

    fn reader(&self) -> Box<dyn Reader + '_> {
        Box::new(PlainReader(self))
    }

    fn read(&self, _ordinal: u32, _range: TimeRange, _out: &mut Vec<Run>) -> Result<()> {
        Err(self.error())
    }

    fn label_names(&self, tenant: &str, range: TimeRange, _out: &mut Vec<String>) -> Result<()> {
        self.check(tenant, range)
    }

    fn label_values(
        &self,
        tenant: &str,
        _label: &str,
        range: TimeRange,
        _out: &mut Vec<String>,
    ) -> Result<()> {
        self.check(tenant, range)
    }
}

#[cfg(feature = "python")]
pub(crate) mod python {
    use super::LostSource;
    use crate::source::TimeRange;
    use crate::source::python::PySource;
    use pyo3::prelude::*;
    use std::sync::Arc;

    #[pyfunction]
    #[pyo3(signature = (message, *, min_ns, max_ns, tenants, order, deletes_through))]
    fn lost_source(
        message: String,
        min_ns: i64,
        max_ns: i64,
        tenants: Option<Vec<String>>,
        order: u64,
        deletes_through: u64,
    ) -> PySource {
        PySource(Arc::new(LostSource {
            message,
            range: TimeRange { min_ns, max_ns },
            tenants,
            order,
            deletes_through,
        }))
    }

    pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
        module.add_function(wrap_pyfunction!(lost_source, module)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::meter::Meter;
    use crate::snapshot::Snapshot;
    use crate::source::{Delete, RETENTION_OFFSET};
    use std::sync::Arc;

    fn snapshot(tenants: Option<&[&str]>, deletes: Vec<Delete>) -> Snapshot {
        let lost = LostSource {
            message: "cannot read block 7: it is in quarantine".into(),
            range: range(100, 200),
            tenants: tenants.map(|all| all.iter().map(|&one| one.to_owned()).collect()),
            order: 7,
            deletes_through: 7,
        };
        Snapshot::new(vec![Arc::new(lost)], deletes)
    }

    fn range(min_ns: i64, max_ns: i64) -> TimeRange {
        TimeRange { min_ns, max_ns }
    }

    fn fails(snapshot: &Snapshot, tenant: &str, seen: TimeRange) -> bool {
        let meter = Meter::unlimited();
        let selected = snapshot.select(tenant, &[], seen, &meter);
        let names = snapshot.label_names(tenant, &[], seen, &meter);
        let values = snapshot.label_values(tenant, "host", &[], seen, &meter);
        assert_eq!(selected.is_err(), names.is_err());
        assert_eq!(selected.is_err(), values.is_err());
        names.is_err()
    }

    #[test]
    fn what_it_may_have_had_a_part_in_is_an_error() {
        let lost = snapshot(None, Vec::new());
        assert!(fails(&lost, "acme", range(0, 100)));
        assert!(fails(&lost, "zeta", range(150, 300)));
        assert!(!fails(&lost, "acme", range(0, 99)));
        assert!(!fails(&lost, "acme", range(201, 300)));
    }

    #[test]
    fn tenants_that_are_known_to_be_elsewhere_are_answered() {
        let lost = snapshot(Some(&["acme"]), Vec::new());
        assert!(fails(&lost, "acme", range(0, 300)));
        assert!(!fails(&lost, "zeta", range(0, 300)));
    }

    #[test]
    fn what_retention_has_ended_is_not_missed() {
        let expired = Delete {
            offset: RETENTION_OFFSET,
            tenant: "acme".into(),
            matchers: Vec::new(),
            unless: Vec::new(),
            range: range(i64::MIN, 200),
        };
        let lost = snapshot(None, vec![expired]);
        assert!(!fails(&lost, "acme", range(0, 300)));
        assert!(fails(&lost, "zeta", range(0, 300)));
    }
}
