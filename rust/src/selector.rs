//! Matchers on name, field and labels, and the one way they select series from a label index.
//!
//! The live index of the head and the index inside a block implement `LabelIndex`; `select_in`
//! holds the meaning for both. Deletes test single series with `Matcher::matches_series`.

use crate::error::{CoreError, Result};
use crate::re2;
use crate::series::{SeriesView, legacy_name};
use hashbrown::HashSet;
use roaring::RoaringBitmap;
use std::borrow::Cow;

/// A longer pattern is refused before it is parsed.
pub const PATTERN_BYTES_MAX: usize = 1 << 20;
/// A pattern that is nothing but literals becomes a set of at most so many values.
const LITERALS_MAX: usize = 65_536;

/// What a matcher looks at. `__name__` is the `PromQL` name (exact or legacy form).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Target {
    PromqlName,
    /// `__measurement__`: the series' own name.
    Name,
    /// `__field__`
    Field,
    Label(String),
}

impl Target {
    pub fn of(label: &str) -> Self {
        match label {
            "__name__" => Self::PromqlName,
            "__measurement__" => Self::Name,
            "__field__" => Self::Field,
            _ => Self::Label(label.to_owned()),
        }
    }

    pub fn label(&self) -> &str {
        match self {
            Self::PromqlName => "__name__",
            Self::Name => "__measurement__",
            Self::Field => "__field__",
            Self::Label(label) => label,
        }
    }

    /// Every series has a name: there is none to which the empty value would apply.
    fn never_absent(&self) -> bool {
        matches!(self, Self::PromqlName | Self::Name)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Operator {
    Equal,
    NotEqual,
    Regex,
    NotRegex,
}

impl Operator {
    pub fn parse(text: &str) -> Result<Self> {
        Ok(match text {
            "=" => Self::Equal,
            "!=" => Self::NotEqual,
            "=~" => Self::Regex,
            "!~" => Self::NotRegex,
            _ => {
                return Err(CoreError::Invalid(format!(
                    "cannot read matcher operator {text:?}: not one of =, !=, =~, !~"
                )));
            }
        })
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Equal => "=",
            Self::NotEqual => "!=",
            Self::Regex => "=~",
            Self::NotRegex => "!~",
        }
    }
}

/// The positive test of a matcher, in the cheapest form that means the same.
#[derive(Debug, Clone)]
enum Test {
    Equal(String),
    OneOf(HashSet<String>),
    /// Begins with the text and is longer by at least so many characters (0 or 1).
    Prefix(String, usize),
    /// Fully anchored; the prefix is what every match begins with.
    Regex(Box<regex::Regex>, String),
}

impl Test {
    fn regex(label: &str, pattern: &str) -> Result<Self> {
        if pattern.len() > PATTERN_BYTES_MAX {
            return Err(CoreError::Invalid(format!(
                "cannot read the regex of label {label:?}: {} bytes are more than {PATTERN_BYTES_MAX}",
                pattern.len()
            )));
        }
        let refused = |cause: String| {
            CoreError::Invalid(format!(
                "cannot read regex {pattern:?} of label {label:?}: {cause}"
            ))
        };
        let one_of = |mut values: Vec<String>| match values.len() {
            1 => Self::Equal(values.remove(0)),
            _ => Self::OneOf(values.into_iter().collect()),
        };
        if let Some(values) = re2::plain_literals(pattern, LITERALS_MAX) {
            return Ok(one_of(values));
        }
        let parsed = re2::Parsed::new(pattern).map_err(refused)?;
        if let Some(values) = parsed.literals(LITERALS_MAX) {
            return Ok(one_of(values));
        }
        if let Some((prefix, longer_by)) = parsed.prefix_of_anything() {
            return Ok(Self::Prefix(prefix, longer_by));
        }
        let prefix = parsed.prefix();
        let regex = parsed.compile().map_err(refused)?;
        Ok(Self::Regex(Box::new(regex), prefix))
    }

    fn passes(&self, value: &str) -> bool {
        match self {
            Self::Equal(wanted) => wanted == value,
            Self::OneOf(wanted) => wanted.contains(value),
            Self::Prefix(prefix, longer_by) => {
                value.starts_with(prefix.as_str()) && value.len() >= prefix.len() + longer_by
            }
            Self::Regex(regex, prefix) => {
                value.starts_with(prefix.as_str()) && regex.is_match(value)
            }
        }
    }

    /// About how dear it is to find the series that pass; cheap tests go first.
    fn cost(&self) -> usize {
        match self {
            Self::Equal(_) => 0,
            Self::OneOf(values) => values.len(),
            Self::Prefix(..) => LITERALS_MAX,
            Self::Regex(..) => LITERALS_MAX + 1,
        }
    }
}

/// One test on one target. An absent label equals the empty string.
#[derive(Debug, Clone)]
pub struct Matcher {
    pub target: Target,
    pub operator: Operator,
    /// As it was written: with `target` and `operator` all that a log record needs.
    pub value: String,
    test: Test,
}

impl PartialEq for Matcher {
    fn eq(&self, other: &Self) -> bool {
        (&self.target, self.operator, &self.value) == (&other.target, other.operator, &other.value)
    }
}

impl Matcher {
    /// Regexes have RE2's syntax and are fully anchored.
    pub fn parse(label: &str, operator: &str, value: &str) -> Result<Self> {
        if label.is_empty() {
            return Err(CoreError::Invalid(format!(
                "cannot read matcher {operator}{value:?}: its label is empty"
            )));
        }
        let operator = Operator::parse(operator)?;
        let test = match operator {
            Operator::Equal | Operator::NotEqual => Test::Equal(value.to_owned()),
            Operator::Regex | Operator::NotRegex => Test::regex(label, value)?,
        };
        Ok(Self {
            target: Target::of(label),
            operator,
            value: value.to_owned(),
            test,
        })
    }

    /// Parses (label, operator, value) triples, as they cross from Python.
    pub fn parse_all<S: AsRef<str>>(triples: &[(S, S, S)]) -> Result<Vec<Self>> {
        triples
            .iter()
            .map(|(label, operator, value)| {
                Self::parse(label.as_ref(), operator.as_ref(), value.as_ref())
            })
            .collect()
    }

    pub fn is_negative(&self) -> bool {
        matches!(self.operator, Operator::NotEqual | Operator::NotRegex)
    }

    /// Whether the values that pass are written out in the matcher.
    pub fn looks_up(&self) -> bool {
        matches!(self.test, Test::Equal(_) | Test::OneOf(_))
    }

    /// The whole test on one value of the target; an absent label's value is empty.
    pub fn matches(&self, value: &str) -> bool {
        self.test.passes(value) != self.is_negative()
    }

    /// Whether series without the target pass.
    pub fn matches_empty(&self) -> bool {
        self.matches("")
    }

    /// A name in two forms: passes where either form does; `!=` and `!~` fail where either form
    /// is what they exclude.
    pub fn matches_either(&self, exact: &str, legacy: &str) -> bool {
        (self.test.passes(exact) || self.test.passes(legacy)) != self.is_negative()
    }

    pub fn matches_series(&self, series: &SeriesView<'_>) -> bool {
        match &self.target {
            Target::PromqlName => {
                let exact = series.promql_name();
                self.matches_either(&exact, &legacy_name(&exact))
            }
            Target::Name => self.matches(series.name),
            Target::Field => self.matches(series.field),
            Target::Label(label) => self.matches(series.label(label)),
        }
    }
}

/// Whether a series passes every matcher.
pub fn matches_all(matchers: &[Matcher], series: &SeriesView<'_>) -> bool {
    matchers
        .iter()
        .all(|matcher| matcher.matches_series(series))
}

/// Dictionaries and posting lists of one source (or of one tenant inside it).
///
/// Values are never empty. Under `Target::PromqlName` a series stands under its exact name and, where
/// that differs, under its legacy form as well; under every other target under at most one value.
pub trait LabelIndex {
    /// Every series.
    fn all(&self) -> RoaringBitmap;

    /// Series whose target has this value; None where there are none.
    fn postings(&self, target: &Target, value: &str) -> Result<Option<Cow<'_, RoaringBitmap>>>;

    /// Calls `visit` with each value of the target that begins with `prefix`, in any order.
    fn each_value(
        &self,
        target: &Target,
        prefix: &str,
        visit: &mut dyn FnMut(&str, &RoaringBitmap),
    ) -> Result<()>;
}

/// Series of the index that pass every matcher; all of them where there is no matcher.
pub fn select_in<I: LabelIndex + ?Sized>(index: &I, matchers: &[Matcher]) -> Result<RoaringBitmap> {
    let mut order: Vec<&Matcher> = matchers.iter().collect();
    order.sort_by_key(|matcher| (matcher.is_negative(), matcher.test.cost()));
    let mut selected: Option<RoaringBitmap> = None;
    for matcher in order {
        if selected.as_ref().is_some_and(RoaringBitmap::is_empty) {
            break;
        }
        let passing = passing_in(index, matcher)?;
        let before = selected
            .take()
            .map_or_else(|| start(index, &passing), Cow::Owned);
        selected = Some(passing.narrow(before.into_owned()));
    }
    Ok(selected.unwrap_or_else(|| index.all()))
}

/// Series that pass a matcher, said by naming them or by naming the others.
enum Passing<'a> {
    Only(Cow<'a, RoaringBitmap>),
    AllBut(Cow<'a, RoaringBitmap>),
}

impl Passing<'_> {
    fn narrow(self, mut selected: RoaringBitmap) -> RoaringBitmap {
        match self {
            Self::Only(series) => selected &= series.as_ref(),
            Self::AllBut(series) => selected -= series.as_ref(),
        }
        selected
    }

    fn opposite(self) -> Self {
        match self {
            Self::Only(series) => Self::AllBut(series),
            Self::AllBut(series) => Self::Only(series),
        }
    }
}

fn start<'a, I: LabelIndex + ?Sized>(index: &I, passing: &Passing<'a>) -> Cow<'a, RoaringBitmap> {
    match passing {
        Passing::Only(series) => series.clone(),
        Passing::AllBut(_) => Cow::Owned(index.all()),
    }
}

fn passing_in<'a, I: LabelIndex + ?Sized>(index: &'a I, matcher: &Matcher) -> Result<Passing<'a>> {
    let positive = if matcher.test.passes("") && !matcher.target.never_absent() {
        Passing::AllBut(Cow::Owned(failing(index, matcher)?))
    } else {
        Passing::Only(named(index, matcher)?)
    };
    Ok(if matcher.is_negative() {
        positive.opposite()
    } else {
        positive
    })
}

/// Series with a value that passes the positive test.
fn named<'a, I: LabelIndex + ?Sized>(
    index: &'a I,
    matcher: &Matcher,
) -> Result<Cow<'a, RoaringBitmap>> {
    let target = &matcher.target;
    match &matcher.test {
        Test::Equal(value) => Ok(index.postings(target, value)?.unwrap_or_default()),
        Test::OneOf(values) => {
            let mut found = RoaringBitmap::new();
            for value in values {
                if let Some(series) = index.postings(target, value)? {
                    found |= series.as_ref();
                }
            }
            Ok(Cow::Owned(found))
        }
        Test::Prefix(prefix, _) if prefix.is_empty() && target.never_absent() => {
            Ok(Cow::Owned(index.all()))
        }
        Test::Prefix(prefix, _) | Test::Regex(_, prefix) => {
            let mut found = RoaringBitmap::new();
            index.each_value(target, prefix, &mut |value, series| {
                if matcher.test.passes(value) {
                    found |= series;
                }
            })?;
            Ok(Cow::Owned(found))
        }
    }
}

/// Series with a value that does not pass the positive test.
fn failing<I: LabelIndex + ?Sized>(index: &I, matcher: &Matcher) -> Result<RoaringBitmap> {
    let mut found = RoaringBitmap::new();
    if matches!(&matcher.test, Test::Prefix(prefix, 0) if prefix.is_empty()) {
        return Ok(found);
    }
    index.each_value(&matcher.target, "", &mut |value, series| {
        if !matcher.test.passes(value) {
            found |= series;
        }
    })?;
    Ok(found)
}

#[cfg(feature = "python")]
#[allow(clippy::needless_pass_by_value, clippy::too_many_arguments)]
pub(crate) mod python {
    use super::Matcher;
    use pyo3::prelude::*;

    #[pyfunction]
    fn check_matchers(py: Python<'_>, matchers: Vec<(String, String, String)>) -> PyResult<()> {
        py.detach(|| Matcher::parse_all(&matchers))?;
        Ok(())
    }

    #[pyfunction]
    fn matcher_passes(
        py: Python<'_>,
        matcher: (String, String, String),
        values: Vec<String>,
    ) -> PyResult<Vec<bool>> {
        let passes = py.detach(|| {
            let matcher = Matcher::parse(&matcher.0, &matcher.1, &matcher.2)?;
            crate::error::Result::Ok(values.iter().map(|value| matcher.matches(value)).collect())
        })?;
        Ok(passes)
    }

    pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
        module.add_function(wrap_pyfunction!(check_matchers, module)?)?;
        module.add_function(wrap_pyfunction!(matcher_passes, module)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::series::canonical;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    /// A label index as plain as can be.
    struct PlainIndex {
        count: u32,
        values: BTreeMap<(String, String), RoaringBitmap>,
    }

    impl PlainIndex {
        fn new(series: &[Vec<u8>]) -> Self {
            let mut index = Self {
                count: series.len() as u32,
                values: BTreeMap::new(),
            };
            for (ordinal, bytes) in series.iter().enumerate() {
                let view = SeriesView::parse(bytes).unwrap();
                let name = view.promql_name();
                index.add("__name__", &legacy_name(&name), ordinal);
                index.add("__name__", &name, ordinal);
                index.add("__measurement__", view.name, ordinal);
                if !view.field.is_empty() {
                    index.add("__field__", view.field, ordinal);
                }
                for (label, value) in view.labels {
                    index.add(label, value, ordinal);
                }
            }
            index
        }

        fn add(&mut self, label: &str, value: &str, ordinal: usize) {
            let key = (label.to_owned(), value.to_owned());
            self.values.entry(key).or_default().insert(ordinal as u32);
        }
    }

    impl LabelIndex for PlainIndex {
        fn all(&self) -> RoaringBitmap {
            (0..self.count).collect()
        }

        fn postings(&self, target: &Target, value: &str) -> Result<Option<Cow<'_, RoaringBitmap>>> {
            let key = (target.label().to_owned(), value.to_owned());
            Ok(self.values.get(&key).map(Cow::Borrowed))
        }

        fn each_value(
            &self,
            target: &Target,
            prefix: &str,
            visit: &mut dyn FnMut(&str, &RoaringBitmap),
        ) -> Result<()> {
            for ((label, value), series) in &self.values {
                if label == target.label() && value.starts_with(prefix) {
                    visit(value, series);
                }
            }
            Ok(())
        }
    }

    fn matcher(label: &str, operator: &str, value: &str) -> Matcher {
        Matcher::parse(label, operator, value).unwrap()
    }

    #[test]
    fn single_values() {
        for (operator, pattern, value, expected) in [
            ("=", "a", "a", true),
            ("=", "a", "ab", false),
            ("=", "", "", true),
            ("!=", "", "a", true),
            ("=~", "a|b", "b", true),
            ("=~", "a|b", "ab", false),
            ("=~", "a.*", "a", true),
            ("=~", "a.+", "a", false),
            ("=~", ".*", "", true),
            ("=~", ".+", "", false),
            ("!~", "a.+", "a\nb", false),
            ("!~", "a|", "", false),
            ("=~", "(?i)abc.", "ABCd", true),
        ] {
            let got = matcher("x", operator, pattern).matches(value);
            assert_eq!(got, expected, "{operator} {pattern:?} on {value:?}");
        }
    }

    #[test]
    fn a_bad_regex_is_named() {
        let error = Matcher::parse("x", "=~", "a(").unwrap_err().to_string();
        assert!(
            error.contains("\"a(\"") && error.contains("\"x\""),
            "{error}"
        );
        assert!(Matcher::parse("x", "=~", "((a{999}){999}){9}").is_err());
        assert!(Matcher::parse("x", "==", "a").is_err());
        assert!(Matcher::parse("", "=", "a").is_err());
        assert!(Matcher::parse("x", "=~", &"a".repeat(PATTERN_BYTES_MAX + 1)).is_err());
    }

    #[test]
    fn a_name_answers_in_both_forms() {
        let series = [
            canonical("sys.cpu", "user", &mut vec![]).unwrap(),
            canonical("sys_cpu", "user", &mut vec![]).unwrap(),
            canonical("mem", "", &mut vec![]).unwrap(),
        ];
        let index = PlainIndex::new(&series);
        for (operator, value, expected) in [
            ("=", "sys.cpu_user", vec![0]),
            ("=", "sys_cpu_user", vec![0, 1]),
            ("!=", "sys.cpu_user", vec![1, 2]),
            ("!=", "sys_cpu_user", vec![2]),
            ("=~", "sys_.*", vec![0, 1]),
            ("!~", "sys\\..*", vec![1, 2]),
            ("!=", "", vec![0, 1, 2]),
            ("=", "", vec![]),
            ("=~", ".*", vec![0, 1, 2]),
            ("!~", ".*", vec![]),
        ] {
            let got = select_in(&index, &[matcher("__name__", operator, value)]).unwrap();
            assert_eq!(
                got.iter().collect::<Vec<_>>(),
                expected,
                "{operator} {value}"
            );
        }
    }

    proptest! {
        #[test]
        fn an_index_selects_what_single_tests_pass(
            series in prop::collection::vec(("(a.b|a_b|c)", "(|f|g.h)", "(|x|y)", "(|x|xy|yx)"), 1..12),
            matchers in prop::collection::vec((
                prop::sample::select(vec!["__name__", "__measurement__", "__field__", "l", "m", "n"]),
                prop::sample::select(vec!["=", "!=", "=~", "!~"]),
                prop::sample::select(vec![
                    "", "x", "xy", "x|y", "x.*", "x.+", ".*", ".+", "|x", "[^y]*", "a_b", "a.b",
                    "a_b_f", "a.b_f", "a.*", "f", "g_h", "c_g.h", "c|c_f",
                ]),
            ), 0..4),
        ) {
            let bytes: Vec<Vec<u8>> = series.iter()
                .map(|(name, field, l, m)| canonical(name, field, &mut vec![("l", l), ("m", m)]).unwrap())
                .collect();
            let matchers = Matcher::parse_all(&matchers).unwrap();
            let got: Vec<u32> = select_in(&PlainIndex::new(&bytes), &matchers).unwrap().iter().collect();
            let expected: Vec<u32> = (0..bytes.len() as u32)
                .filter(|&at| matches_all(&matchers, &SeriesView::parse(&bytes[at as usize]).unwrap()))
                .collect();
            prop_assert_eq!(got, expected);
        }
    }
}
