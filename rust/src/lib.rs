//! The compiled core of Orrery: registration only; each idea has a file of its own.

pub mod batch;
pub mod error;
pub mod sample;
pub mod selector;
pub mod series;
pub mod source;
pub mod varint;

#[cfg(feature = "python")]
mod python {
    use pyo3::prelude::*;

    #[pymodule]
    fn _core(module: &Bound<'_, PyModule>) -> PyResult<()> {
        let _ = module;
        Ok(())
    }
}
