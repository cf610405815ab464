//! RE2's regex syntax, as Prometheus takes it, on the regex crate, which differs in details.
//!
//! `\d`, `\w`, `\s` and `\b` are ASCII, `.` takes a newline too, `\Q..\E` quotes, a `[` inside a
//! class is a letter, and set operations and the flags x, u and R do not exist. `selector` calls it.

use regex_syntax::hir::{Class, Hir, HirKind};
use std::fmt::Write;

const COMPILED_BYTES_MAX: usize = 4 << 20;
const REPETITION_MAX: u32 = 1000;
/// A class inside a literal is spelled out where it has at most so many members.
const CLASS_MEMBERS_MAX: usize = 16;

/// A pattern that is sound, and what can be told of it without running it.
pub struct Parsed {
    anchored: String,
    hir: Hir,
}

impl Parsed {
    /// The error is the cause alone: the caller names the pattern.
    pub fn new(pattern: &str) -> Result<Self, String> {
        let inner = translate(pattern)?;
        // The inner pattern must be sound by itself: `a)|(b` must not lean on the anchors' group.
        let hir = parse(&format!("(?s){inner}"))?;
        Ok(Self {
            anchored: format!("^(?s:{inner})$"),
            hir,
        })
    }

    pub fn compile(&self) -> Result<regex::Regex, String> {
        regex::RegexBuilder::new(&self.anchored)
            .octal(true)
            .size_limit(COMPILED_BYTES_MAX)
            .build()
            .map_err(|error| match error {
                regex::Error::CompiledTooBig(_) => {
                    format!("compiled it takes more than {COMPILED_BYTES_MAX} bytes")
                }
                other => last_line(&other.to_string()),
            })
    }

    /// Every value that matches, where they are at most `count_max`.
    pub fn literals(&self, count_max: usize) -> Option<Vec<String>> {
        let mut values = spell_out(&self.hir, count_max)?;
        values.sort_unstable();
        values.dedup();
        Some(values)
    }

    /// What every match begins with.
    pub fn prefix(&self) -> String {
        split_prefix(&self.hir).0
    }

    /// `(p, 0)` for `p.*` and `(p, 1)` for `p.+`.
    pub fn prefix_of_anything(&self) -> Option<(String, usize)> {
        let (prefix, rest) = split_prefix(&self.hir);
        let [HirKind::Repetition(repetition)] = rest.as_slice() else {
            return None;
        };
        let anything = matches!(repetition.sub.kind(), HirKind::Class(Class::Unicode(class))
        if *class == regex_syntax::hir::ClassUnicode::new([
            regex_syntax::hir::ClassUnicodeRange::new('\0', char::MAX)
        ]));
        (anything && repetition.min <= 1 && repetition.max.is_none())
            .then_some((prefix, repetition.min as usize))
    }
}

/// As [`Parsed::literals`], told without parsing, of patterns that are nothing but texts between bars:
/// most that dashboards send. None says nothing.
pub fn plain_literals(pattern: &str, count_max: usize) -> Option<Vec<String>> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-/:,;=@%~ |".contains(&byte);
    if !pattern.bytes().all(is_plain) {
        return None;
    }
    let mut values: Vec<String> = pattern.split('|').map(str::to_owned).collect();
    if values.len() > count_max {
        return None;
    }
    values.sort_unstable();
    values.dedup();
    Some(values)
}

fn parse(pattern: &str) -> Result<Hir, String> {
    regex_syntax::ParserBuilder::new()
        .octal(true)
        .build()
        .parse(pattern)
        .map_err(|error| last_line(&error.to_string()))
}

/// The crate's messages draw the pattern over several lines; the cause is in the last.
fn last_line(message: &str) -> String {
    let line = message.lines().last().unwrap_or(message);
    line.strip_prefix("error: ").unwrap_or(line).to_owned()
}

fn uncaptured(hir: &Hir) -> &Hir {
    match hir.kind() {
        HirKind::Capture(capture) => uncaptured(&capture.sub),
        _ => hir,
    }
}

fn split_prefix(hir: &Hir) -> (String, Vec<&HirKind>) {
    let hir = uncaptured(hir);
    let parts: Vec<&HirKind> = match hir.kind() {
        HirKind::Concat(parts) => parts.iter().map(|part| uncaptured(part).kind()).collect(),
        kind => vec![kind],
    };
    if let Some(HirKind::Literal(literal)) = parts.first()
        && let Ok(text) = std::str::from_utf8(&literal.0)
    {
        return (text.to_owned(), parts[1..].to_vec());
    }
    (String::new(), parts)
}

fn spell_out(hir: &Hir, count_max: usize) -> Option<Vec<String>> {
    match hir.kind() {
        HirKind::Empty => Some(vec![String::new()]),
        HirKind::Literal(literal) => Some(vec![String::from_utf8(literal.0.to_vec()).ok()?]),
        HirKind::Capture(capture) => spell_out(&capture.sub, count_max),
        HirKind::Class(Class::Unicode(class)) => {
            let members = class
                .iter()
                .map(regex_syntax::hir::ClassUnicodeRange::len)
                .sum::<usize>();
            let ranges = || class.iter().flat_map(|range| range.start()..=range.end());
            (1..=CLASS_MEMBERS_MAX.min(count_max))
                .contains(&members)
                .then(|| ranges().map(String::from).collect())
        }
        HirKind::Alternation(parts) => {
            let mut all = Vec::new();
            for part in parts {
                all.extend(spell_out(part, count_max.checked_sub(all.len())?)?);
            }
            (all.len() <= count_max).then_some(all)
        }
        HirKind::Concat(parts) => {
            let mut all = vec![String::new()];
            for part in parts {
                let next = spell_out(part, count_max / all.len())?;
                if next.len() > 1 || all.len() > 1 {
                    all = all
                        .iter()
                        .flat_map(|a| next.iter().map(move |b| a.clone() + b))
                        .collect();
                } else {
                    all[0] += &next[0];
                }
            }
            Some(all)
        }
        _ => None,
    }
}

/// The same pattern in the syntax of the regex crate.
fn translate(pattern: &str) -> Result<String, String> {
    let mut translation = Translation {
        text: pattern.chars().collect(),
        at: 0,
        out: String::with_capacity(pattern.len() + 16),
    };
    while let Some(c) = translation.next() {
        match c {
            '\\' => translation.escape(false)?,
            '[' => translation.class()?,
            '{' => translation.repetition()?,
            '(' => translation.group()?,
            c => translation.out.push(c),
        }
    }
    Ok(translation.out)
}

struct Translation {
    text: Vec<char>,
    at: usize,
    out: String,
}

impl Translation {
    fn next(&mut self) -> Option<char> {
        let c = self.peek(0)?;
        self.at += 1;
        Some(c)
    }

    fn peek(&self, ahead: usize) -> Option<char> {
        self.text.get(self.at + ahead).copied()
    }

    fn literal(&mut self, c: char) {
        if c.is_ascii() && !c.is_ascii_alphanumeric() {
            // Writing into a String cannot fail.
            let _ = write!(self.out, "\\x{{{:x}}}", c as u32);
        } else {
            self.out.push(c);
        }
    }

    /// Stands behind a backslash.
    fn escape(&mut self, in_class: bool) -> Result<(), String> {
        let Some(c) = self.next() else {
            return Err("it ends in a backslash".into());
        };
        let ascii = match c {
            'd' => Some(("0-9", false)),
            'D' => Some(("0-9", true)),
            'w' => Some(("0-9A-Za-z_", false)),
            'W' => Some(("0-9A-Za-z_", true)),
            's' => Some((r"\t\n\x0c\r ", false)),
            'S' => Some((r"\t\n\x0c\r ", true)),
            _ => None,
        };
        match (c, ascii) {
            (_, Some((members, negated))) => {
                self.out.push_str(if negated { "[^" } else { "[" });
                self.out.push_str(members);
                self.out.push(']');
            }
            ('Q', _) if !in_class => self.quoted(),
            ('b', _) if !in_class => self.out.push_str(r"(?-u:\b)"),
            ('B', _) if !in_class => self.out.push_str(r"(?-u:\B)"),
            ('p' | 'P' | 'x' | '0'..='7' | 'a' | 'f' | 't' | 'n' | 'r' | 'v', _) => {
                self.out.push('\\');
                self.out.push(c);
                if matches!(c, 'p' | 'P' | 'x') {
                    self.braced();
                }
            }
            ('A' | 'z', _) if !in_class => {
                self.out.push('\\');
                self.out.push(c);
            }
            (c, _) if c.is_ascii() && !c.is_ascii_alphanumeric() => self.literal(c),
            (c, _) => return Err(format!("RE2 has no escape \\{c}")),
        }
        Ok(())
    }

    /// `\Q...\E`; without `\E` it reaches to the end.
    fn quoted(&mut self) {
        while let Some(c) = self.next() {
            if c == '\\' && self.peek(0) == Some('E') {
                self.at += 1;
                return;
            }
            self.literal(c);
        }
    }

    /// The braces of `\x{..}` and `\p{..}` are no repetition.
    fn braced(&mut self) {
        if self.peek(0) != Some('{') {
            return;
        }
        while let Some(c) = self.next() {
            self.out.push(c);
            if c == '}' {
                return;
            }
        }
    }

    /// Stands behind `[`. A `]` that comes first is a letter, and so is every `[` but of `[:name:]`.
    fn class(&mut self) -> Result<(), String> {
        self.out.push('[');
        if self.peek(0) == Some('^') {
            self.at += 1;
            self.out.push('^');
        }
        if self.peek(0) == Some(']') {
            self.at += 1;
            self.literal(']');
        }
        while let Some(c) = self.next() {
            match c {
                ']' => {
                    self.out.push(']');
                    return Ok(());
                }
                '\\' => self.escape(true)?,
                '[' if self.peek(0) == Some(':') && self.posix() => {}
                '[' | '&' | '~' | '^' => self.literal(c),
                '-' if self.peek(0) == Some('-') => self.literal(c),
                c => self.out.push(c),
            }
        }
        Err("a [ is not closed".into())
    }

    fn posix(&mut self) -> bool {
        let rest = &self.text[self.at..];
        let Some(length) = rest.windows(2).position(|pair| pair == [':', ']']) else {
            return false;
        };
        let name = &rest[1.min(length)..length];
        if !name.iter().all(|&c| c.is_ascii_lowercase() || c == '^') {
            return false;
        }
        self.out.push('[');
        self.out.extend(&rest[..length + 2]);
        self.at += length + 2;
        true
    }

    /// Stands behind `{`: a repetition where it reads `n`, `n,` or `n,m`, else a letter.
    fn repetition(&mut self) -> Result<(), String> {
        let rest: String = self.text[self.at..]
            .iter()
            .take_while(|&&c| c != '}')
            .collect();
        let closed = self.text.get(self.at + rest.chars().count()) == Some(&'}');
        let (low, high) = rest.split_once(',').unwrap_or((&rest, ""));
        let digits = |text: &str| text.chars().all(|c| c.is_ascii_digit());
        if !closed || low.is_empty() || !digits(low) || !digits(high) {
            self.literal('{');
            return Ok(());
        }
        for bound in [low, high] {
            if !bound.is_empty() && !bound.parse::<u32>().is_ok_and(|n| n <= REPETITION_MAX) {
                return Err(format!("a repetition of more than {REPETITION_MAX}"));
            }
        }
        self.at += rest.len() + 1;
        self.out.push('{');
        self.out.push_str(&rest);
        self.out.push('}');
        Ok(())
    }

    /// Stands behind `(`: RE2's flags are i, m, s and U.
    fn group(&mut self) -> Result<(), String> {
        self.out.push('(');
        if self.peek(0) != Some('?') {
            return Ok(());
        }
        self.at += 1;
        self.out.push('?');
        while let Some(c) = self.peek(0) {
            match c {
                'i' | 'm' | 's' | 'U' | '-' => {}
                ':' | ')' | 'P' | '<' => return Ok(()),
                c => return Err(format!("RE2 has no group (?{c}")),
            }
            self.at += 1;
            self.out.push(c);
        }
        Err("a ( is not closed".into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn matches(pattern: &str, value: &str) -> bool {
        Parsed::new(pattern)
            .unwrap()
            .compile()
            .unwrap()
            .is_match(value)
    }

    proptest! {
        #[test]
        fn plain_patterns_are_what_the_parser_says(pattern in "[abB0_/:,;=@%~ |-]{0,8}") {
            let plain = plain_literals(&pattern, 100).unwrap();
            let parsed = Parsed::new(&pattern).unwrap().literals(100);
            prop_assert_eq!(Some(&plain), parsed.as_ref());
            for value in ["", "a", "ab", "b", "B", "0", "-", " "] {
                prop_assert_eq!(plain.iter().any(|one| one == value), matches(&pattern, value));
            }
        }
    }

    #[test]
    fn others_are_left_to_the_parser() {
        for pattern in [
            "a.", "(a)", "a*", "\\d", "[a]", "a{2}", "^a", "a$", "\u{e9}", "a+", "a?",
        ] {
            assert_eq!(plain_literals(pattern, 100), None, "{pattern}");
        }
        assert_eq!(plain_literals("a|b|c", 2), None);
    }

    #[test]
    fn classes_and_escapes_are_those_of_re2() {
        for (pattern, value, expected) in [
            (r"\d+", "12", true),
            (r"\d", "\u{0663}", false),
            (r"\w", "\u{e9}", false),
            (r"[\w-]+", "a-b", true),
            (r"[\D]", "\u{e9}", true),
            (r"\s", "\u{a0}", false),
            (r"a.b", "a\nb", true),
            (r"(?-s)a.b", "a\nb", false),
            (r"\Qa.b\E+", "a.bb", true),
            (r"\Qa.b", "a.b", true),
            (r"[[]", "[", true),
            (r"[]a]", "]", true),
            (r"[^]a]", "]", false),
            (r"[a&&b]", "&", true),
            (r"[[:alpha:]]+", "ab", true),
            (r"[[:^alpha:]]", "1", true),
            (r"a{2}", "aa", true),
            (r"a{,2}", "a{,2}", true),
            (r"a{", "a{", true),
            (r"\<a\>", "<a>", true),
            (r"\x{41}\x42\103", "ABC", true),
            (r"\pL\p{Greek}", "a\u{3b1}", true),
            (r"(?i)HeLLo", "hello", true),
            (r".*\bfoo\b.*", "a foo b", true),
            (r"a|b", "ab", false),
            (r"(?P<n>a)|(?<m>b)", "b", true),
        ] {
            assert_eq!(matches(pattern, value), expected, "{pattern} on {value:?}");
        }
    }

    #[test]
    fn what_re2_has_not_is_refused() {
        for pattern in [
            "a)|(b", "(?x)a", "(?=a)", "(?u:a)", "[a", "(", "a{1001}", "\\", r"\y", "*", r"\1a(",
        ] {
            assert!(Parsed::new(pattern).is_err(), "{pattern}");
        }
    }

    #[test]
    fn literals_are_spelled_out() {
        let literals = |pattern: &str| Parsed::new(pattern).unwrap().literals(100);
        let of = |values: &[&str]| Some(values.iter().map(|v| (*v).to_owned()).collect::<Vec<_>>());
        assert_eq!(literals("abc"), of(&["abc"]));
        assert_eq!(literals("a|(b|cd)e|a"), of(&["a", "be", "cde"]));
        assert_eq!(literals("foo|foobar|"), of(&["", "foo", "foobar"]));
        assert_eq!(literals("host_[12]"), of(&["host_1", "host_2"]));
        assert_eq!(literals(r"a\.b"), of(&["a.b"]));
        assert_eq!(literals("a+"), None);
        assert_eq!(literals("^a"), None);
        assert_eq!(literals("[0-9][0-9][0-9]"), None);
    }

    #[test]
    fn prefixes_are_found() {
        let prefix = |pattern: &str| Parsed::new(pattern).unwrap().prefix();
        assert_eq!(prefix("abc[0-9]+"), "abc");
        assert_eq!(prefix("(abc).*x"), "abc");
        assert_eq!(prefix("a+"), "");
        assert_eq!(prefix("(?i)abc.*"), "");
        let anything = |pattern: &str| Parsed::new(pattern).unwrap().prefix_of_anything();
        assert_eq!(anything("ab.*"), Some(("ab".into(), 0)));
        assert_eq!(anything("(ab)(.+)"), Some(("ab".into(), 1)));
        assert_eq!(anything(".*"), Some((String::new(), 0)));
        assert_eq!(anything("(?-s)ab.*"), None);
        assert_eq!(anything("ab.*c"), None);
        assert_eq!(anything("ab.{2,}"), None);
    }

    proptest! {
        #[test]
        fn any_pattern_parses_or_fails(pattern in r"[\[\]\(\)\\{}a-cdwsQExp0-9?^&|*+.:,-]{0,24}") {
            if let Ok(parsed) = Parsed::new(&pattern) {
                let _ = parsed.compile();
            }
        }

        #[test]
        fn short_cuts_mean_what_the_regex_means(
            pattern in r"[abc]{0,2}(\(a\|b\)|\.\*|\.\+|\[ab\]|\|)?[ab]{0,2}",
            value in "[abc]{0,5}",
        ) {
            let parsed = Parsed::new(&pattern).unwrap();
            let expected = parsed.compile().unwrap().is_match(&value);
            prop_assert!(!expected || value.starts_with(&parsed.prefix()));
            if let Some(literals) = parsed.literals(1000) {
                prop_assert_eq!(literals.contains(&value), expected);
            }
            if let Some((prefix, longer_by)) = parsed.prefix_of_anything() {
                let passes = value.starts_with(&prefix) && value.len() >= prefix.len() + longer_by;
                prop_assert_eq!(passes, expected);
            }
        }
    }
}
