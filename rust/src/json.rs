//! JSON as it stands in a body: a scanner that hands out slices and keeps nothing.
//!
//! For wires whose values are columns: `opentsdb` calls it. Strings are not unescaped while they are
//! read, only checked; numbers are told from words and left to the caller. Besides RFC 8259 the words
//! NaN, INF and Infinity are read, with a sign or without, as Jackson does where it is told to.

use crate::swar::{hits, hits_below};
use std::borrow::Cow;

/// Why the bytes are no JSON of the shape that is wanted, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broken {
    pub at: usize,
    pub cause: Cow<'static, str>,
}

pub type Parsed<T> = Result<T, Broken>;

/// How deep objects and arrays that nobody asked for may be nested.
pub const DEPTH_MAX: usize = 64;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Form {
    /// `null`, or not there at all.
    #[default]
    Null,
    Text,
    Number,
    /// `true`, `false`, `NaN` and the like.
    Word,
}

/// A value that is neither object nor array.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Token {
    pub form: Form,
    /// Of a text without its quotes.
    pub span: (u32, u32),
}

impl Token {
    pub fn of(self, body: &[u8]) -> &[u8] {
        &body[self.span.0 as usize..self.span.1 as usize]
    }

    pub fn is_empty(self) -> bool {
        self.span.0 == self.span.1
    }
}

/// Goes through a body of less than 4 GiB, value by value.
pub struct Scanner<'a> {
    pub body: &'a [u8],
    pub at: usize,
}

impl<'a> Scanner<'a> {
    pub fn new(body: &'a [u8]) -> Self {
        Self { body, at: 0 }
    }

    #[inline]
    pub fn skip_blank(&mut self) {
        while matches!(self.body.get(self.at), Some(b' ' | b'\n' | b'\r' | b'\t')) {
            self.at += 1;
        }
    }

    /// The next byte that is no white space.
    #[inline]
    pub fn peek(&mut self) -> Option<u8> {
        self.skip_blank();
        self.body.get(self.at).copied()
    }

    fn broken<T>(&self, cause: impl Into<Cow<'static, str>>) -> Parsed<T> {
        Err(Broken {
            at: self.at,
            cause: cause.into(),
        })
    }

    #[cold]
    fn unexpected<T>(&self, wanted: &str) -> Parsed<T> {
        match self.body.get(self.at) {
            None => self.broken(format!("the body ends where {wanted} is expected")),
            Some(byte) => self.broken(format!(
                "'{}' stands where {wanted} is expected",
                byte.escape_ascii()
            )),
        }
    }

    /// Steps over the byte that opens an object or an array.
    pub fn open(&mut self, byte: u8, otherwise: &'static str) -> Parsed<()> {
        if self.peek() != Some(byte) {
            return self.broken(otherwise);
        }
        self.at += 1;
        Ok(())
    }

    /// Whether an object or array just opened ends at once; steps over its end where it does.
    pub fn is_empty(&mut self, close: u8) -> bool {
        let is_empty = self.peek() == Some(close);
        self.at += usize::from(is_empty);
        is_empty
    }

    /// Steps over what stands behind a value: a comma, or the end of what holds it.
    #[inline]
    pub fn next_item(&mut self, close: u8) -> Parsed<bool> {
        match self.peek() {
            Some(b',') => {
                self.at += 1;
                Ok(true)
            }
            Some(byte) if byte == close => {
                self.at += 1;
                Ok(false)
            }
            _ => self.unexpected("a comma or the end of an object or array"),
        }
    }

    /// Nothing may follow.
    pub fn end(&mut self) -> Parsed<()> {
        match self.peek() {
            None => Ok(()),
            Some(_) => self.unexpected("the end of the body"),
        }
    }

    /// Reads a name and the colon behind it.
    #[inline]
    pub fn name(&mut self) -> Parsed<&'a [u8]> {
        if self.peek() != Some(b'"') {
            return self.unexpected("a name");
        }
        let (from, to) = self.string()?;
        if self.peek() != Some(b':') {
            return self.unexpected("a colon");
        }
        self.at += 1;
        Ok(&self.body[from..to])
    }

    /// Reads what is neither object nor array; `what` names it where it is one.
    #[inline]
    pub fn scalar(&mut self, what: &str) -> Parsed<Token> {
        let token = |form, (from, to): (usize, usize)| Token {
            form,
            span: (from as u32, to as u32),
        };
        match self.peek() {
            Some(b'"') => Ok(token(Form::Text, self.string()?)),
            Some(b'0'..=b'9' | b'-') => {
                let start = self.at;
                match number_end(self.body, start) {
                    Some(end) => {
                        self.at = end;
                        Ok(token(Form::Number, (start, end)))
                    }
                    None => Ok(token(Form::Word, self.word()?)),
                }
            }
            Some(b'{' | b'[') => self.broken(format!("{what} is an object or an array")),
            Some(b'n') => {
                self.word()?;
                Ok(Token::default())
            }
            _ => Ok(token(Form::Word, self.word()?)),
        }
    }

    /// Reads past a value of any kind.
    pub fn skip(&mut self) -> Parsed<()> {
        let mut closers = [0; DEPTH_MAX];
        let mut depth = 0;
        loop {
            match self.peek() {
                Some(byte @ (b'{' | b'[')) => {
                    if depth == DEPTH_MAX {
                        return self.broken(format!("nested deeper than {DEPTH_MAX}"));
                    }
                    self.at += 1;
                    let close = if byte == b'{' { b'}' } else { b']' };
                    if !self.is_empty(close) {
                        closers[depth] = close;
                        depth += 1;
                        if close == b'}' {
                            self.name()?;
                        }
                        continue;
                    }
                }
                _ => {
                    self.scalar("")?;
                }
            }
            loop {
                if depth == 0 {
                    return Ok(());
                }
                if self.next_item(closers[depth - 1])? {
                    break;
                }
                depth -= 1;
            }
            if closers[depth - 1] == b'}' {
                self.name()?;
            }
        }
    }

    /// Reads the string that begins at hand; gives the place of its first byte and of its end.
    #[inline]
    fn string(&mut self) -> Parsed<(usize, usize)> {
        let start = self.at + 1;
        let mut at = start;
        loop {
            at = special(self.body, at);
            match self.body.get(at) {
                Some(b'"') => {
                    self.at = at + 1;
                    return Ok((start, at));
                }
                Some(b'\\') => {
                    self.at = at;
                    at += self.escape()?;
                }
                Some(_) => {
                    self.at = at;
                    return self.broken("a control character stands in a string");
                }
                None => {
                    self.at = at.min(self.body.len());
                    return self.broken("a string has no end");
                }
            }
        }
    }

    /// How long the escape at hand is.
    #[cold]
    fn escape(&self) -> Parsed<usize> {
        let is_hexadecimal = |digits: &[u8]| digits.iter().all(u8::is_ascii_hexdigit);
        match self.body.get(self.at + 1) {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => Ok(2),
            Some(b'u')
                if self
                    .body
                    .get(self.at + 2..self.at + 6)
                    .is_some_and(is_hexadecimal) =>
            {
                Ok(6)
            }
            _ => self.broken("an escape is none that JSON knows"),
        }
    }

    #[cold]
    fn word(&mut self) -> Parsed<(usize, usize)> {
        const WORDS: [&[u8]; 9] = [
            b"null",
            b"true",
            b"false",
            b"NaN",
            b"Infinity",
            b"-Infinity",
            b"-INF",
            b"INF",
            b"+INF",
        ];
        let rest = &self.body[self.at..];
        let is_end = |length: usize| {
            !rest
                .get(length)
                .is_some_and(|byte| byte.is_ascii_alphanumeric() || *byte == b'.')
        };
        let found = WORDS
            .iter()
            .find(|word| rest.starts_with(word) && is_end(word.len()));
        let Some(word) = found else {
            return self.unexpected("a value");
        };
        let start = self.at;
        self.at += word.len();
        Ok((start, self.at))
    }
}

/// One behind the number at `start`; none where it is no number as JSON writes them.
#[inline]
pub fn number_end(body: &[u8], start: usize) -> Option<usize> {
    let digits_end = |mut at: usize| {
        while matches!(body.get(at), Some(b'0'..=b'9')) {
            at += 1;
        }
        at
    };
    let whole = start + usize::from(body.get(start) == Some(&b'-'));
    let mut at = digits_end(whole);
    if at == whole || (body[whole] == b'0' && at > whole + 1) {
        return None;
    }
    if body.get(at) == Some(&b'.') {
        let fraction = at + 1;
        at = digits_end(fraction);
        if at == fraction {
            return None;
        }
    }
    if matches!(body.get(at), Some(b'e' | b'E')) {
        let sign = usize::from(matches!(body.get(at + 1), Some(b'+' | b'-')));
        let exponent = at + 1 + sign;
        at = digits_end(exponent);
        if at == exponent {
            return None;
        }
    }
    Some(at)
}

/// Bytes below it are control characters.
const SPACE: u8 = 0x20;

/// The first byte from `at` on that ends a string or may not stand in one, eight bytes at a time.
#[inline]
pub fn special(body: &[u8], mut at: usize) -> usize {
    while let Some(chunk) = body.get(at..).and_then(<[u8]>::first_chunk::<8>) {
        let word = u64::from_le_bytes(*chunk);
        let found = hits(word, b'"') | hits(word, b'\\') | hits_below(word, SPACE);
        if found != 0 {
            return at + found.trailing_zeros() as usize / 8;
        }
        at += 8;
    }
    while at < body.len() && !matches!(body[at], b'"' | b'\\' | ..=0x1f) {
        at += 1;
    }
    at
}

/// What a string that [`Scanner`] read stands for; none where it is no UTF-8 or half a surrogate pair.
pub fn unescape(raw: &[u8]) -> Option<Cow<'_, str>> {
    let mut rest = std::str::from_utf8(raw).ok()?;
    if !rest.contains('\\') {
        return Some(Cow::Borrowed(rest));
    }
    let mut out = String::with_capacity(rest.len());
    while let Some(at) = rest.find('\\') {
        out.push_str(&rest[..at]);
        let escape = &rest[at + 1..];
        let (shown, length) = match *escape.as_bytes().first()? {
            b'b' => ('\u{8}', 1),
            b'f' => ('\u{c}', 1),
            b'n' => ('\n', 1),
            b'r' => ('\r', 1),
            b't' => ('\t', 1),
            b'u' => unicode(escape)?,
            other => (char::from(other), 1),
        };
        out.push(shown);
        rest = escape.get(length..)?;
    }
    out.push_str(rest);
    Some(Cow::Owned(out))
}

/// The character of one `uXXXX`, or of two that are a surrogate pair, and how long they are.
fn unicode(escape: &str) -> Option<(char, usize)> {
    let unit = |at: usize| u32::from_str_radix(escape.get(at..at + 4)?, 16).ok();
    let first = unit(1)?;
    if !(0xd800..0xdc00).contains(&first) {
        return Some((char::from_u32(first)?, 5));
    }
    if escape.get(5..7)? != "\\u" {
        return None;
    }
    let second = unit(7)?;
    if !(0xdc00..0xe000).contains(&second) {
        return None;
    }
    let both = 0x1_0000 + ((first - 0xd800) << 10) + (second - 0xdc00);
    Some((char::from_u32(both)?, 11))
}
