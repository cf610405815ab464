//! Page encodings: columns of times and values to bytes and back (docs/formats/page.md).

#[cfg(feature = "python")]
pub(crate) mod python {
    use pyo3::prelude::*;

    pub fn register(_module: &Bound<'_, PyModule>) -> PyResult<()> {
        Ok(())
    }
}
