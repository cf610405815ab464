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
                CoreError::Exhausted(_) => "Exhausted",
                CoreError::Unavailable(_) | CoreError::Io(_) => "Unavailable",
                CoreError::Corrupt(_) => "Corrupt",
            };
            let message = error.to_string();
            Python::attach(|py| {
                match py
                    .import("orrery.errors")
                    .and_then(|m| m.getattr(class_name))
                {
                    Ok(class) => match class.call1((message,)) {
                        Ok(instance) => PyErr::from_value(instance),
                        Err(failure) => failure,
                    },
                    Err(_) => PyRuntimeError::new_err(message),
                }
            })
        }
    }
}
