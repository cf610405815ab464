//! Regular expressions over label values: what `PromQL`'s `label_replace` does to each of them.

use crate::error::{CoreError, Result};
use crate::re2::{Parsed, plain_literals};

/// Compared instead of matched; more are rarely written out.
const LITERALS_MAX: usize = 16;

#[derive(Debug)]
enum Test {
    /// What becomes of these refers to no group.
    OneOf(Vec<String>),
    Regex(Box<regex::Regex>),
}

/// A pattern and what its matches become. `$1`, `${1}` and `${name}` stand for groups, as in Go.
#[derive(Debug)]
pub struct Relabel {
    test: Test,
    pub pattern: String,
    pub template: String,
}

impl Relabel {
    pub fn new(pattern: &str, template: String) -> Result<Self> {
        // Compiling a regex, and its first match, cost more than all else of a short question.
        let literals = (!template.contains('$'))
            .then(|| plain_literals(pattern, LITERALS_MAX))
            .flatten();
        let test = match literals {
            Some(values) => Test::OneOf(values),
            None => Test::Regex(Box::new(compile(pattern)?)),
        };
        Ok(Self {
            test,
            pattern: pattern.to_owned(),
            template,
        })
    }

    /// The expansion for each text that the pattern matches from end to end, and none for the others.
    pub fn expand_all<T: AsRef<str>>(&self, texts: &[T]) -> Vec<Option<String>> {
        let expand = |text: &str| match &self.test {
            Test::OneOf(values) => values
                .iter()
                .any(|value| value == text)
                .then(|| self.template.clone()),
            Test::Regex(regex) => regex.captures(text).map(|captures| {
                let mut out = String::new();
                captures.expand(&self.template, &mut out);
                out
            }),
        };
        texts.iter().map(|text| expand(text.as_ref())).collect()
    }
}

/// [`Relabel::expand_all`] for a pattern that is used once.
pub fn expand_matches(
    pattern: &str,
    template: &str,
    texts: &[String],
) -> Result<Vec<Option<String>>> {
    Ok(Relabel::new(pattern, template.to_owned())?.expand_all(texts))
}

/// Whether `pattern` matches the empty text.
pub fn matches_empty(pattern: &str) -> Result<bool> {
    Ok(compile(pattern)?.is_match(""))
}

fn compile(pattern: &str) -> Result<regex::Regex> {
    Parsed::new(pattern)
        .and_then(|parsed| parsed.compile())
        .map_err(|cause| CoreError::Invalid(format!("cannot compile regex {pattern:?}: {cause}")))
}

#[cfg(feature = "python")]
pub(crate) mod python {
    use pyo3::prelude::*;

    #[pyfunction]
    #[pyo3(signature = (pattern, template, texts))]
    #[allow(clippy::needless_pass_by_value)]
    fn expand_matches(
        py: Python<'_>,
        pattern: &str,
        template: &str,
        texts: Vec<String>,
    ) -> PyResult<Vec<Option<String>>> {
        Ok(py.detach(|| super::expand_matches(pattern, template, &texts))?)
    }

    #[pyfunction]
    fn matches_empty(py: Python<'_>, pattern: &str) -> PyResult<bool> {
        Ok(py.detach(|| super::matches_empty(pattern))?)
    }

    pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
        module.add_function(wrap_pyfunction!(expand_matches, module)?)?;
        module.add_function(wrap_pyfunction!(matches_empty, module)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expand(pattern: &str, template: &str, text: &str) -> Option<String> {
        expand_matches(pattern, template, &[text.to_owned()]).unwrap()[0].clone()
    }

    #[test]
    fn groups_are_expanded_where_the_whole_text_matches() {
        assert_eq!(expand("(.*)-(.*)", "$2.${1}", "a-b"), Some("b.a".into()));
        assert_eq!(expand("(?P<x>a+)", "<$x>", "aa"), Some("<aa>".into()));
        assert_eq!(expand("a", "$$1", "a"), Some("$1".into()));
        assert_eq!(expand("a", "x", "ab"), None);
        assert_eq!(expand("", "x", ""), Some("x".into()));
        assert_eq!(expand("(.*)", "$1", "a\nb"), Some("a\nb".into()));
        assert_eq!(expand("a|ab", "x", "ab"), Some("x".into()));
    }

    #[test]
    fn unsound_patterns_are_refused() {
        for pattern in ["(", "a)|(b", "[", "(?<!a)b"] {
            assert!(matches_empty(pattern).is_err(), "{pattern}");
        }
        assert!(matches_empty("a*").unwrap());
        assert!(!matches_empty("a+").unwrap());
    }

    proptest::proptest! {
        #[test]
        fn texts_are_compared_as_a_regex_would_match_them(
            pattern in "[ab|_-]{0,6}", template in "[xy]{0,3}", text in "[ab_-]{0,3}",
        ) {
            let matched = compile(&pattern).unwrap().is_match(&text);
            let expanded = expand(&pattern, &template, &text);
            proptest::prop_assert_eq!(expanded, matched.then_some(template));
        }

        #[test]
        fn any_pattern_is_answered(pattern in ".{0,20}", template in ".{0,20}", text in ".{0,20}") {
            let _ = expand_matches(&pattern, &template, &[text]);
        }
    }
}
