//! Attribute values as label values: what OpenTelemetry's `AnyValue` reads as in text.
//!
//! As the Collector and Prometheus write them: numbers as ECMAScript does, bytes in base64, lists
//! and maps as JSON with sorted keys.

use crate::error::{CoreError, Result};
use crate::protobuf::{Message, Span, Value, expect_bytes, mistyped};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::Write;

/// How deep lists and maps may stand in each other.
pub const DEPTH_MAX: usize = 16;
/// A text longer than this is no label's.
pub const TEXT_BYTES_MAX: usize = 64 * 1024;

#[derive(Debug, Clone, Copy, PartialEq)]
enum Any {
    Empty,
    Text(Span),
    Bool(bool),
    Int(i64),
    Double(f64),
    List(Span),
    Map(Span),
    Bytes(Span),
}

/// A `KeyValue`: where its key stands, and where its value does.
pub fn key_value(body: &[u8], span: Span) -> Result<(Span, Option<Span>)> {
    let mut message = Message::new(body, span);
    let (mut key, mut value) = ((0, 0), None);
    while let Some((number, field)) = message.next_field()? {
        match number {
            1 => key = expect_bytes(&field, message.at, "an attribute's key")?,
            2 => value = Some(expect_bytes(&field, message.at, "an attribute's value")?),
            _ => {}
        }
    }
    Ok((key, value))
}

pub fn text(body: &[u8], span: Span) -> Result<&str> {
    if (span.1 - span.0) as usize > TEXT_BYTES_MAX {
        return Err(too_long());
    }
    std::str::from_utf8(&body[span.0 as usize..span.1 as usize])
        .map_err(|_| CoreError::Invalid("a text is not valid UTF-8".into()))
}

fn too_long() -> CoreError {
    CoreError::Invalid(format!(
        "an attribute is longer than text_bytes_max {TEXT_BYTES_MAX}"
    ))
}

/// The text of a value; a value that is absent or empty is the empty text.
pub fn value_text(body: &[u8], span: Option<Span>) -> Result<Cow<'_, str>> {
    let Some(span) = span else {
        return Ok(Cow::Borrowed(""));
    };
    Ok(match any(body, span)? {
        Any::Empty => Cow::Borrowed(""),
        Any::Text(span) => Cow::Borrowed(text(body, span)?),
        Any::Bool(value) => Cow::Borrowed(if value { "true" } else { "false" }),
        Any::Int(value) => Cow::Owned(value.to_string()),
        Any::Double(value) if value.is_finite() => Cow::Owned(number(value)),
        Any::Double(value) => Cow::Owned(format!("json: unsupported value: {}", special(value))),
        Any::Bytes(span) => {
            let mut out = String::new();
            base64(body, span, &mut out)?;
            Cow::Owned(out)
        }
        of_several @ (Any::List(_) | Any::Map(_)) => {
            let mut out = String::new();
            // What JSON cannot say, an infinity inside, makes the whole of it empty.
            if !json(body, of_several, 0, &mut out)? {
                out.clear();
            }
            Cow::Owned(out)
        }
    })
}

fn any(body: &[u8], span: Span) -> Result<Any> {
    let mut message = Message::new(body, span);
    let mut found = Any::Empty;
    while let Some((number, field)) = message.next_field()? {
        found = match (number, field) {
            (1, Value::Bytes(span)) => Any::Text(span),
            (2, Value::Varint(value)) => Any::Bool(value != 0),
            (3, Value::Varint(value)) => Any::Int(value as i64),
            (4, Value::Fixed64(bits)) => Any::Double(f64::from_bits(bits)),
            (5, Value::Bytes(span)) => Any::List(span),
            (6, Value::Bytes(span)) => Any::Map(span),
            (7, Value::Bytes(span)) => Any::Bytes(span),
            (1..=7, _) => return Err(mistyped(message.at, "an attribute's value")),
            _ => found,
        };
    }
    Ok(found)
}

/// False where it holds what JSON cannot say.
fn json(body: &[u8], value: Any, depth: usize, out: &mut String) -> Result<bool> {
    if out.len() > TEXT_BYTES_MAX {
        return Err(too_long());
    }
    if depth > DEPTH_MAX {
        return Err(CoreError::Invalid(format!(
            "an attribute's lists and maps stand deeper in each other than depth_max {DEPTH_MAX}"
        )));
    }
    match value {
        Any::Empty => out.push_str("null"),
        Any::Text(span) => quote(text(body, span)?, out),
        Any::Bool(value) => out.push_str(if value { "true" } else { "false" }),
        Any::Int(value) => out.push_str(&value.to_string()),
        Any::Double(value) if value.is_finite() => out.push_str(&number(value)),
        Any::Double(_) => return Ok(false),
        Any::Bytes(span) => {
            out.push('"');
            base64(body, span, out)?;
            out.push('"');
        }
        Any::List(span) => return list(body, span, depth, out),
        Any::Map(span) => return map(body, span, depth, out),
    }
    Ok(true)
}

fn list(body: &[u8], span: Span, depth: usize, out: &mut String) -> Result<bool> {
    let mut message = Message::new(body, span);
    let mut separator = '[';
    let mut is_whole = true;
    while let Some((number, field)) = message.next_field()? {
        if number == 1 {
            let element = expect_bytes(&field, message.at, "a list's element")?;
            out.push(separator);
            separator = ',';
            is_whole &= json(body, any(body, element)?, depth + 1, out)?;
        }
    }
    if separator == '[' {
        out.push('[');
    }
    out.push(']');
    Ok(is_whole)
}

fn map(body: &[u8], span: Span, depth: usize, out: &mut String) -> Result<bool> {
    let mut message = Message::new(body, span);
    let mut pairs = BTreeMap::new();
    while let Some((number, field)) = message.next_field()? {
        if number == 1 {
            let pair = expect_bytes(&field, message.at, "a map's pair")?;
            let (key, value) = key_value(body, pair)?;
            pairs.insert(text(body, key)?, value);
        }
    }
    let mut separator = '{';
    let mut is_whole = true;
    for (key, value) in &pairs {
        out.push(separator);
        separator = ',';
        quote(key, out);
        out.push(':');
        let value = value.map_or(Ok(Any::Empty), |span| any(body, span))?;
        is_whole &= json(body, value, depth + 1, out)?;
    }
    if pairs.is_empty() {
        out.push('{');
    }
    out.push('}');
    Ok(is_whole)
}

/// As Go writes JSON for the web: what could end a script is escaped too.
fn quote(text: &str, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '\0'..='\u{1f}' | '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => {
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            _ => out.push(c),
        }
    }
    out.push('"');
}

/// A finite number as ECMAScript writes it.
fn number(value: f64) -> String {
    let size = value.abs();
    if size == 0.0 || (1e-6..1e21).contains(&size) {
        return format!("{value}");
    }
    let text = format!("{value:e}");
    match text.split_once('e') {
        Some((digits, power)) if !power.starts_with('-') => format!("{digits}e+{power}"),
        _ => text,
    }
}

fn special(value: f64) -> &'static str {
    if value.is_nan() {
        "NaN"
    } else if value > 0.0 {
        "+Inf"
    } else {
        "-Inf"
    }
}

fn base64(body: &[u8], span: Span, out: &mut String) -> Result<()> {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let bytes = &body[span.0 as usize..span.1 as usize];
    if bytes.len() > TEXT_BYTES_MAX {
        return Err(too_long());
    }
    for chunk in bytes.chunks(3) {
        let mut three = [0u8; 4];
        three[1..=chunk.len()].copy_from_slice(chunk);
        let bits = u32::from_be_bytes(three);
        for place in 0..4 {
            let digit = DIGITS[(bits >> (18 - 6 * place) & 63) as usize];
            let is_padding = place > chunk.len();
            out.push(if is_padding { '=' } else { char::from(digit) });
        }
    }
    Ok(())
}
