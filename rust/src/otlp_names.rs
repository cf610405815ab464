//! Names of metrics and labels as Prometheus 3 makes them of OpenTelemetry's.
//!
//! `otlp_series` calls these once a series, `otlp` once a metric for its metadata. The rules are
//! those of Prometheus 3.5's `translation_strategy` (docs/decisions/0084-otlp-names.md).

use std::borrow::Cow;

/// `translation_strategy` of Prometheus' OTLP receiver.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Translation {
    #[default]
    UnderscoreEscapingWithSuffixes,
    NoUtf8EscapingWithSuffixes,
    NoTranslation,
}

impl Translation {
    pub fn named(name: &str) -> Option<Self> {
        Some(match name {
            "UnderscoreEscapingWithSuffixes" => Self::UnderscoreEscapingWithSuffixes,
            "NoUTF8EscapingWithSuffixes" => Self::NoUtf8EscapingWithSuffixes,
            "NoTranslation" => Self::NoTranslation,
            _ => return None,
        })
    }
}

/// What a name's suffix depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Suffix {
    /// `_total`: a monotonic sum.
    Total,
    /// `_ratio` where the unit is `1`: a gauge.
    Ratio,
    None,
}

const UNITS: [(&str, &str); 25] = [
    ("d", "days"),
    ("h", "hours"),
    ("min", "minutes"),
    ("s", "seconds"),
    ("ms", "milliseconds"),
    ("us", "microseconds"),
    ("ns", "nanoseconds"),
    ("By", "bytes"),
    ("KiBy", "kibibytes"),
    ("MiBy", "mebibytes"),
    ("GiBy", "gibibytes"),
    // As Prometheus spells it.
    ("TiBy", "tibibytes"),
    ("KBy", "kilobytes"),
    ("MBy", "megabytes"),
    ("GBy", "gigabytes"),
    ("TBy", "terabytes"),
    ("m", "meters"),
    ("V", "volts"),
    ("A", "amperes"),
    ("J", "joules"),
    ("W", "watts"),
    ("g", "grams"),
    ("Cel", "celsius"),
    ("Hz", "hertz"),
    ("%", "percent"),
];

const PER_UNITS: [(&str, &str); 7] = [
    ("s", "second"),
    ("m", "minute"),
    ("h", "hour"),
    ("d", "day"),
    ("w", "week"),
    ("mo", "month"),
    ("y", "year"),
];

/// Empty where nothing of the name is left.
pub fn metric_name(name: &str, unit: &str, suffix: Suffix, translation: Translation) -> String {
    match translation {
        Translation::UnderscoreEscapingWithSuffixes => escaped_name(name, unit, suffix),
        Translation::NoUtf8EscapingWithSuffixes => suffixed_name(name, unit, suffix),
        Translation::NoTranslation => name.to_owned(),
    }
}

/// The words of a name, joined by single underscores, and its suffixes unless it has them.
fn escaped_name(name: &str, unit: &str, suffix: Suffix) -> String {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == ':';
    let mut words: Vec<&str> = name
        .split(|c| !is_word(c))
        .filter(|word| !word.is_empty())
        .collect();
    let (main, per) = unit_words(unit);
    let (mut main, mut per) = (escaped_unit(&main), escaped_unit(&per));
    if words.contains(&&*main) {
        main.clear();
    }
    per.truncate(per.trim_end_matches('_').len());
    if per == "per" || words.contains(&&*per) {
        per.clear();
    }
    if !per.is_empty() {
        main.truncate(main.trim_end_matches('_').len());
    }
    words.extend([&*main, &*per].into_iter().filter(|word| !word.is_empty()));
    if let Some(last) = last_word(unit, suffix) {
        words.retain(|word| *word != last);
        words.push(last);
    }
    let joined = words.join("_");
    if joined.starts_with(|c: char| c.is_ascii_digit()) {
        return format!("_{joined}");
    }
    joined
}

/// The name as it stands, and its suffixes even where it has them.
fn suffixed_name(name: &str, unit: &str, suffix: Suffix) -> String {
    let (main, per) = unit_words(unit);
    let mut out = name.to_owned();
    for word in [&*main, &*per, last_word(unit, suffix).unwrap_or("")] {
        if !word.is_empty() {
            out.push('_');
            out.push_str(word);
        }
    }
    out
}

fn last_word(unit: &str, suffix: Suffix) -> Option<&'static str> {
    match suffix {
        Suffix::Total => Some("total"),
        Suffix::Ratio if unit == "1" => Some("ratio"),
        _ => None,
    }
}

/// The unit and what it is per, in words; annotations in braces are none.
fn unit_words(unit: &str) -> (Cow<'_, str>, Cow<'_, str>) {
    let (main, per) = unit.split_once('/').unwrap_or((unit, ""));
    let (main, per) = (main.trim(), per.trim());
    let is_told = |part: &str| !part.is_empty() && !part.contains(['{', '}']);
    let main = match main {
        "1" => "",
        _ if is_told(main) => in_words(&UNITS, main),
        _ => "",
    };
    let per = if is_told(per) {
        Cow::Owned(format!("per_{}", in_words(&PER_UNITS, per)))
    } else {
        Cow::Borrowed("")
    };
    (Cow::Borrowed(main), per)
}

fn in_words<'a>(table: &[(&str, &'static str)], unit: &'a str) -> &'a str {
    let found = table.iter().find(|(symbol, _)| *symbol == unit);
    found.map_or(unit, |(_, words)| words)
}

/// With single underscores for what a name may not hold, and none in front.
fn escaped_unit(unit: &str) -> String {
    let mut out = String::with_capacity(unit.len());
    for c in unit.chars() {
        if c.is_ascii_alphanumeric() || c == ':' {
            out.push(c);
        } else if !out.ends_with('_') {
            out.push('_');
        }
    }
    out.strip_prefix('_').map(str::to_owned).unwrap_or(out)
}

pub fn label_name(name: &str, translation: Translation) -> Cow<'_, str> {
    if translation != Translation::UnderscoreEscapingWithSuffixes {
        return Cow::Borrowed(name);
    }
    let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let escaped: Cow<str> = if name.chars().all(is_plain) {
        Cow::Borrowed(name)
    } else {
        let each = name.chars().map(|c| if is_plain(c) { c } else { '_' });
        Cow::Owned(each.collect())
    };
    if escaped.starts_with(|c: char| c.is_ascii_digit()) {
        Cow::Owned(format!("key_{escaped}"))
    } else if escaped.starts_with('_') && !escaped.starts_with("__") {
        Cow::Owned(format!("key{escaped}"))
    } else {
        escaped
    }
}
