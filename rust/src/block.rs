//! Blocks: immutable files of pages with their own series table, index and footer.

#[cfg(feature = "python")]
pub(crate) mod python {
    use pyo3::prelude::*;

    pub fn register(_module: &Bound<'_, PyModule>) -> PyResult<()> {
        Ok(())
    }
}
