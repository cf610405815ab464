//! Arguments as URLs and forms carry them: `name=value` pairs, percent-encoded.
//!
//! Called once a request; the parser of the standard library takes longer than many an answer.

use std::borrow::Cow;

/// In order, repeats and empty values kept; a pair without `=` has an empty value. What is no
/// escape stays as it is, what is not UTF-8 becomes U+FFFD.
pub fn pairs(text: &str) -> impl Iterator<Item = (Cow<'_, str>, Cow<'_, str>)> {
    let parts = text.split('&').filter(|part| !part.is_empty());
    parts.map(|part| {
        let (name, value) = part.split_once('=').unwrap_or((part, ""));
        (decoded(name), decoded(value))
    })
}

fn decoded(text: &str) -> Cow<'_, str> {
    if !text.contains(['%', '+']) {
        return Cow::Borrowed(text);
    }
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let escaped = match bytes[at..] {
            [b'%', high, low, ..] => digit(high).zip(digit(low)),
            _ => None,
        };
        if let Some((high, low)) = escaped {
            out.push(high << 4 | low);
            at += 3;
        } else {
            out.push(if bytes[at] == b'+' { b' ' } else { bytes[at] });
            at += 1;
        }
    }
    Cow::Owned(match String::from_utf8(out) {
        Ok(text) => text,
        Err(error) => String::from_utf8_lossy(error.as_bytes()).into_owned(),
    })
}

fn digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).map(|digit| digit as u8)
}

#[cfg(feature = "python")]
pub(crate) mod python {
    use pyo3::prelude::*;

    #[pyfunction]
    fn parse_form(text: &str) -> Vec<(std::borrow::Cow<'_, str>, std::borrow::Cow<'_, str>)> {
        super::pairs(text).collect()
    }

    pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
        module.add_function(wrap_pyfunction!(parse_form, module)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_are_read_as_written() {
        let read: Vec<_> = pairs("a=1+2&&b&c=%3D%3d%E2%82%AC&=x&d=%zz%4&a=%ff%").collect();
        let read: Vec<(&str, &str)> = read.iter().map(|(n, v)| (n.as_ref(), v.as_ref())).collect();
        assert_eq!(
            read,
            [
                ("a", "1 2"),
                ("b", ""),
                ("c", "==\u{20ac}"),
                ("", "x"),
                ("d", "%zz%4"),
                ("a", "\u{fffd}%"),
            ]
        );
        assert_eq!(pairs("").count(), 0);
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_read(text in ".{0,60}") {
            let _ = pairs(&text).count();
        }
    }
}
