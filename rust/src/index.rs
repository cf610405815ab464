//! The label index inside a block: sorted dictionaries and posting lists.

#[cfg(feature = "python")]
pub(crate) mod python {
    use pyo3::prelude::*;

    pub fn register(_module: &Bound<'_, PyModule>) -> PyResult<()> {
        Ok(())
    }
}
