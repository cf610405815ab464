//! Matchers on name, field and labels.

/// What a matcher looks at. `__name__` is the `PromQL` name (exact or legacy form).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    PromqlName,
    /// `__measurement__`: the series' own name.
    Name,
    /// `__field__`
    Field,
    Label(String),
}

#[derive(Debug, Clone)]
pub enum Test {
    Equal(String),
    NotEqual(String),
    /// Fully anchored; the syntax is RE2's.
    Regex(regex::Regex),
    NotRegex(regex::Regex),
}

/// An absent label equals the empty string.
#[derive(Debug, Clone)]
pub struct Matcher {
    pub target: Target,
    pub test: Test,
}

#[cfg(feature = "python")]
pub(crate) mod python {
    use pyo3::prelude::*;

    pub fn register(_module: &Bound<'_, PyModule>) -> PyResult<()> {
        Ok(())
    }
}
