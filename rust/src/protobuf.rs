//! A walk over protobuf messages without generated code, as remote write and OTLP need it.

use crate::error::{CoreError, Result};
use crate::key_hash::KeyHasher;
use crate::varint;

/// Positions in a body.
pub type Span = (u32, u32);

/// One field of a protobuf message; spans are positions in the body.
pub enum Value {
    Varint(u64),
    Fixed64(u64),
    Fixed32,
    Bytes(Span),
}

/// Walks the fields of the message between two positions of a body.
pub struct Message<'a> {
    /// Ends where the message ends.
    pub body: &'a [u8],
    /// Where the next field starts.
    pub at: usize,
}

impl<'a> Message<'a> {
    /// `span` must lie inside `body`.
    #[inline]
    pub fn new(body: &'a [u8], span: Span) -> Self {
        Self {
            body: &body[..span.1 as usize],
            at: span.0 as usize,
        }
    }

    #[inline]
    pub fn next_field(&mut self) -> Result<Option<(u64, Value)>> {
        // Short strings and messages, which most fields are.
        if let Some(&[tag @ 8..0x80, length @ ..0x80]) = self.body.get(self.at..self.at + 2)
            && tag & 7 == 2
            && self.at + 2 + usize::from(length) <= self.body.len()
        {
            let from = self.at + 2;
            self.at = from + usize::from(length);
            let span = (from as u32, self.at as u32);
            return Ok(Some((u64::from(tag >> 3), Value::Bytes(span))));
        }
        // Messages of up to 16 KiB, which most series are.
        if let Some(&[tag @ 8..0x80, low @ 0x80..=0xff, high @ 1..0x80]) =
            self.body.get(self.at..self.at + 3)
            && tag & 7 == 2
        {
            let from = self.at + 3;
            let to = from + (usize::from(low & 0x7f) | usize::from(high) << 7);
            if to <= self.body.len() {
                self.at = to;
                return Ok(Some((
                    u64::from(tag >> 3),
                    Value::Bytes((from as u32, to as u32)),
                )));
            }
        }
        self.next_of_any()
    }

    fn next_of_any(&mut self) -> Result<Option<(u64, Value)>> {
        if self.at >= self.body.len() {
            return Ok(None);
        }
        let start = self.at;
        let tag = self.varint()?;
        let value = match tag & 7 {
            0 => Value::Varint(self.varint()?),
            1 => Value::Fixed64(u64::from_le_bytes(self.fixed()?)),
            2 => Value::Bytes(self.bytes()?),
            5 => {
                self.fixed::<4>()?;
                Value::Fixed32
            }
            wire_type => {
                return Err(broken(start, &format!("wire type {wire_type} is unknown")));
            }
        };
        if tag >> 3 == 0 {
            return Err(broken(start, "field number 0"));
        }
        Ok(Some((tag >> 3, value)))
    }

    #[inline]
    pub fn varint(&mut self) -> Result<u64> {
        let start = self.at;
        if let Some(&byte) = self.body.get(start)
            && byte < 0x80
        {
            self.at += 1;
            return Ok(u64::from(byte));
        }
        varint::get(self.body, &mut self.at).map_err(|_| broken(start, "not a varint"))
    }

    #[inline]
    fn bytes(&mut self) -> Result<Span> {
        let start = self.at;
        let length = self.varint()?;
        let from = self.at;
        if length > (self.body.len() - from) as u64 {
            return Err(broken(start, "the message ends inside a field"));
        }
        self.at = from + length as usize;
        Ok((from as u32, self.at as u32))
    }

    #[inline]
    fn fixed<const N: usize>(&mut self) -> Result<[u8; N]> {
        let Some(bytes) = self.body[self.at..].first_chunk::<N>() else {
            return Err(broken(self.at, "the message ends inside a number"));
        };
        self.at += N;
        Ok(*bytes)
    }
}

/// Where the fields of one number stand in a message, as far as they are looked at together.
#[derive(Debug, Clone, Copy, Default)]
pub struct Stretch {
    /// From the first of them to the end of the last; empty where there is none.
    pub span: Span,
    /// Other fields stand between them.
    pub is_scattered: bool,
}

impl Stretch {
    /// `next` spans one more of the fields, tag included.
    #[inline]
    pub fn extend(&mut self, next: Span) {
        if self.span == (0, 0) {
            self.span = next;
            return;
        }
        self.is_scattered |= self.span.1 != next.0;
        self.span.1 = next.1;
    }

    /// The hash of the fields, `number` being theirs, as they stand one after the other.
    #[inline]
    pub fn hash(
        self,
        body: &[u8],
        number: u64,
        hasher: &KeyHasher,
        gathered: &mut Vec<u8>,
    ) -> Result<u128> {
        if !self.is_scattered {
            return Ok(hasher.hash(&body[self.span.0 as usize..self.span.1 as usize]));
        }
        gathered.clear();
        let mut message = Message::new(body, self.span);
        loop {
            let from = message.at;
            match message.next_field()? {
                None => return Ok(hasher.hash(gathered)),
                Some((found, _)) if found == number => {
                    gathered.extend_from_slice(&body[from..message.at]);
                }
                Some(_) => {}
            }
        }
    }
}

#[cold]
pub fn broken(at: usize, cause: &str) -> CoreError {
    CoreError::Invalid(format!(
        "cannot decode a protobuf body at byte {at}: {cause}"
    ))
}

#[cold]
pub fn mistyped(at: usize, what: &str) -> CoreError {
    broken(at, &format!("{what} has the wrong wire type"))
}

pub fn expect_bytes(value: &Value, at: usize, what: &str) -> Result<Span> {
    match value {
        Value::Bytes(span) => Ok(*span),
        _ => Err(mistyped(at, what)),
    }
}

pub fn expect_varint(value: &Value, at: usize, what: &str) -> Result<u64> {
    match value {
        Value::Varint(number) => Ok(*number),
        _ => Err(mistyped(at, what)),
    }
}
