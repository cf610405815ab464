//! Window functions over the samples of a series: the arithmetic of rate and its kin.

#[cfg(feature = "python")]
pub(crate) mod python {
    use pyo3::prelude::*;

    pub fn register(_module: &Bound<'_, PyModule>) -> PyResult<()> {
        Ok(())
    }
}
