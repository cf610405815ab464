//! What can go wrong in the core, in the kinds the rest of Orrery acts on.
//!
//! The kind says what the caller does next: `Invalid` fix the request, `Exhausted` slow down,
//! `Unavailable` try again, `Corrupt` call us. Messages read `cannot <verb> <object>: <cause>`.

#[derive(Debug, thiserror::Error)]
pub enum CoreError {
    #[error("{0}")]
    Invalid(String),
    #[error("{0}")]
    Exhausted(String),
    /// `Exhausted` with the facts of the limit that was reached.
    #[error("{message}")]
    Limit {
        message: String,
        limit: &'static str,
        scope: &'static str,
        value: f64,
        current: f64,
    },
    #[error("{0}")]
    Unavailable(String),
    #[error("{0}")]
    Corrupt(String),
    #[error("cannot reach a file: {0}")]
    Io(#[from] std::io::Error),
}

pub type Result<T> = std::result::Result<T, CoreError>;

#[cfg(feature = "python")]
mod python {
    use super::CoreError;
    use pyo3::exceptions::PyRuntimeError;
    use pyo3::prelude::*;

    /// The one conversion to Python: each kind becomes the class of that name in `orrery.errors`.
    impl From<CoreError> for PyErr {
        fn from(error: CoreError) -> PyErr {
            let class_name = match &error {
                CoreError::Invalid(_) => "Invalid",
                CoreError::Exhausted(_) | CoreError::Limit { .. } => "Exhausted",
                CoreError::Unavailable(_) | CoreError::Io(_) => "Unavailable",
                CoreError::Corrupt(_) => "Corrupt",
            };
            let message = error.to_string();
            Python::attach(|py| {
                let Ok(errors) = py.import("orrery.errors") else {
                    return PyRuntimeError::new_err(message);
                };
                let instance = errors.getattr(class_name).and_then(|class| match &error {
                    CoreError::Limit {
                        limit,
                        scope,
                        value,
                        current,
                        ..
                    } => {
                        let facts = (*limit, *scope, *value, *current);
                        let excess = errors.getattr("Excess")?.call1(facts)?;
                        class.call1((message, excess))
                    }
                    _ => class.call1((message,)),
                });
                instance.map_or_else(|failure| failure, PyErr::from_value)
            })
        }
    }
}
