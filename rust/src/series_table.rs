//! Raw keys to series: the lookup every written sample passes, and the live label index.

#[cfg(feature = "python")]
pub(crate) mod python {
    use pyo3::prelude::*;

    pub fn register(_module: &Bound<'_, PyModule>) -> PyResult<()> {
        Ok(())
    }
}
