//! Python's pickles, as far as they are lists, tuples, texts and numbers; `graphite` reads them.
//!
//! A pickle is a program. Of its instructions only those are known that make plain values, in
//! protocols 0 to 5; nothing here can import, call or build anything, and whatever could is an
//! error that names it. There is no recursion. Every instruction makes one value at most, and the
//! memo has no more places than the pickle has bytes, so that memory is bounded by its size.

use crate::batch::quoted;
use crate::decimal::double;
use memchr::memchr;

/// What a pickle was refused for.
pub type Parsed<T> = std::result::Result<T, String>;

pub const PROTOCOL_MAX: u8 = 5;

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Value {
    None,
    Bool(bool),
    /// An integer beyond 64 bits is the nearest double.
    Integer(i64),
    Double(f64),
    /// Where it stands: see [`Machine::text`].
    Text(Text),
    /// Items of a tuple: a range of the arena.
    Tuple(u32, u32),
    /// The number of a list.
    List(u32),
    /// Only on the stack.
    Mark,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Text {
    /// Of the pickle itself, or of what was unescaped.
    pub is_plain: bool,
    pub start: u32,
    pub end: u32,
}

/// Runs one pickle after another; its memory is used again.
#[derive(Debug, Default)]
pub struct Machine {
    stack: Vec<Value>,
    memo: Vec<Option<Value>>,
    memo_count: usize,
    arena: Vec<Value>,
    lists: Vec<Vec<Value>>,
    list_count: usize,
    unescaped: Vec<u8>,
}

impl Machine {
    /// The value that `pickle` makes; what it refers to stays until the next call.
    pub fn run(&mut self, pickle: &[u8]) -> Parsed<Value> {
        self.clear();
        let mut reader = Reader { pickle, at: 0 };
        loop {
            let operation = reader.byte()?;
            if operation == b'.' {
                return self.pop();
            }
            self.step(operation, &mut reader)?;
        }
    }

    /// The items of a list or tuple.
    pub fn items(&self, value: Value) -> Option<&[Value]> {
        match value {
            Value::Tuple(from, to) => self.arena.get(from as usize..to as usize),
            Value::List(number) => self.lists.get(number as usize).map(Vec::as_slice),
            _ => None,
        }
    }

    /// The bytes of a text of `pickle`, the one that was run last.
    pub fn text<'a>(&'a self, pickle: &'a [u8], text: Text) -> &'a [u8] {
        let source = if text.is_plain {
            pickle
        } else {
            &self.unescaped[..]
        };
        source
            .get(text.start as usize..text.end as usize)
            .unwrap_or_default()
    }

    /// What texts that are not plain point into.
    pub fn unescaped(&self) -> &[u8] {
        &self.unescaped
    }

    fn clear(&mut self) {
        self.stack.clear();
        self.memo.clear();
        self.memo_count = 0;
        self.arena.clear();
        self.lists[..self.list_count]
            .iter_mut()
            .for_each(Vec::clear);
        self.list_count = 0;
        self.unescaped.clear();
    }

    #[inline]
    fn step(&mut self, operation: u8, reader: &mut Reader) -> Parsed<()> {
        match operation {
            b'(' => self.stack.push(Value::Mark),
            b'N' => self.stack.push(Value::None),
            0x88 | 0x89 => self.stack.push(Value::Bool(operation == 0x88)),
            b'I' | b'L' | b'J' | b'K' | b'M' | 0x8a | 0x8b => {
                let value = integer(operation, reader)?;
                self.stack.push(value);
            }
            b'G' => {
                let value = f64::from_be_bytes(reader.array()?);
                self.stack.push(Value::Double(value));
            }
            b'F' => {
                let value = double(reader.line()?).ok_or("a float is no number")?;
                self.stack.push(Value::Double(value));
            }
            b'S' | b'V' | b'T' | b'U' | b'X' | b'B' | b'C' | 0x8c | 0x8d | 0x8e => {
                let text = self.read_text(operation, reader)?;
                self.stack.push(Value::Text(text));
            }
            b')' | b't' | 0x85..=0x87 => self.tuple(operation)?,
            b']' | b'l' => self.list(operation)?,
            b'a' | b'e' => self.append(operation)?,
            b'p' | b'q' | b'r' | 0x94 => self.put(operation, reader)?,
            b'g' | b'h' | b'j' => self.get(operation, reader)?,
            0x80 => {
                let protocol = reader.byte()?;
                if protocol > PROTOCOL_MAX {
                    return Err(format!("protocol {protocol} is not known"));
                }
            }
            0x95 => {
                // How long the frame is, which only matters to who reads from a file.
                reader.take(8)?;
            }
            other => return Err(refused(other)),
        }
        Ok(())
    }

    fn pop(&mut self) -> Parsed<Value> {
        match self.stack.pop() {
            Some(Value::Mark) | None => Err("a value is missing".into()),
            Some(value) => Ok(value),
        }
    }

    /// The place behind the last mark.
    fn marked(&self) -> Parsed<usize> {
        let found = self.stack.iter().rposition(|value| *value == Value::Mark);
        found
            .map(|mark| mark + 1)
            .ok_or_else(|| "a mark is missing".into())
    }

    fn tuple(&mut self, operation: u8) -> Parsed<()> {
        let from = match operation {
            b')' => self.stack.len(),
            b't' => self.marked()?,
            _ => self
                .stack
                .len()
                .checked_sub(usize::from(operation - 0x84))
                .ok_or("a value is missing")?,
        };
        if self.stack[from..].contains(&Value::Mark) {
            return Err("a value is missing".into());
        }
        let start = self.arena.len() as u32;
        self.arena.extend_from_slice(&self.stack[from..]);
        self.stack.truncate(from - usize::from(operation == b't'));
        self.stack
            .push(Value::Tuple(start, self.arena.len() as u32));
        Ok(())
    }

    fn list(&mut self, operation: u8) -> Parsed<()> {
        let from = if operation == b'l' {
            self.marked()?
        } else {
            self.stack.len()
        };
        if self.list_count == self.lists.len() {
            self.lists.push(Vec::new());
        }
        self.lists[self.list_count].extend_from_slice(&self.stack[from..]);
        self.stack.truncate(from - usize::from(operation == b'l'));
        self.stack.push(Value::List(self.list_count as u32));
        self.list_count += 1;
        Ok(())
    }

    fn append(&mut self, operation: u8) -> Parsed<()> {
        let from = match operation {
            b'e' => self.marked()?,
            _ => self.stack.len().saturating_sub(1),
        };
        let below = from.checked_sub(1 + usize::from(operation == b'e'));
        let Some(Value::List(number)) = below.and_then(|at| self.stack.get(at)) else {
            return Err("only a list is added to".into());
        };
        if self.stack[from..].contains(&Value::Mark) {
            return Err("a value is missing".into());
        }
        self.lists[*number as usize].extend_from_slice(&self.stack[from..]);
        self.stack.truncate(from - usize::from(operation == b'e'));
        Ok(())
    }

    fn put(&mut self, operation: u8, reader: &mut Reader) -> Parsed<()> {
        let place = match operation {
            b'p' => reader.decimal()?,
            b'q' => usize::from(reader.byte()?),
            b'r' => u32::from_le_bytes(reader.array()?) as usize,
            _ => self.memo_count,
        };
        let Some(&value) = self.stack.last().filter(|value| **value != Value::Mark) else {
            return Err("a value is missing".into());
        };
        if place > reader.pickle.len() {
            return Err(format!("memo has no place {place}"));
        }
        if place >= self.memo.len() {
            self.memo.resize(place + 1, None);
        }
        self.memo_count += usize::from(self.memo[place].is_none());
        self.memo[place] = Some(value);
        Ok(())
    }

    fn get(&mut self, operation: u8, reader: &mut Reader) -> Parsed<()> {
        let place = match operation {
            b'g' => reader.decimal()?,
            b'h' => usize::from(reader.byte()?),
            _ => u32::from_le_bytes(reader.array()?) as usize,
        };
        let value = self.memo.get(place).copied().flatten();
        self.stack
            .push(value.ok_or_else(|| format!("memo has nothing at {place}"))?);
        Ok(())
    }

    fn read_text(&mut self, operation: u8, reader: &mut Reader) -> Parsed<Text> {
        let length = match operation {
            b'S' => return self.quoted_text(reader.line()?),
            b'V' => return self.escaped_text(reader.line()?),
            b'U' | b'C' | 0x8c => usize::from(reader.byte()?),
            b'T' | b'X' | b'B' => u32::from_le_bytes(reader.array()?) as usize,
            _ => usize::try_from(u64::from_le_bytes(reader.array()?)).unwrap_or(usize::MAX),
        };
        let start = reader.at;
        reader.take(length)?;
        Ok(Text {
            is_plain: true,
            start: start as u32,
            end: reader.at as u32,
        })
    }

    fn unescape(&mut self, write: impl FnOnce(&mut Vec<u8>) -> Parsed<()>) -> Parsed<Text> {
        let start = self.unescaped.len() as u32;
        write(&mut self.unescaped)?;
        Ok(Text {
            is_plain: false,
            start,
            end: self.unescaped.len() as u32,
        })
    }

    /// Protocol 0: as Python shows a string.
    fn quoted_text(&mut self, line: &[u8]) -> Parsed<Text> {
        let ([b'\'', inner @ .., b'\''] | [b'"', inner @ .., b'"']) = line else {
            return Err("a string has no quotes".into());
        };
        self.unescape(|out| {
            let mut rest = inner;
            while let Some((&byte, after)) = rest.split_first() {
                rest = if byte == b'\\' {
                    unescape_one(after, out)?
                } else {
                    out.push(byte);
                    after
                };
            }
            Ok(())
        })
    }

    /// Protocol 0: Latin-1, with `\u` and `\U` for what is not.
    fn escaped_text(&mut self, line: &[u8]) -> Parsed<Text> {
        self.unescape(|out| {
            let mut rest = line;
            while let Some((&byte, after)) = rest.split_first() {
                let digits = match after.first() {
                    Some(b'u') if byte == b'\\' => 4,
                    Some(b'U') if byte == b'\\' => 8,
                    _ => 0,
                };
                let (code, after) = if digits == 0 {
                    (u32::from(byte), after)
                } else {
                    (hexadecimal(after.get(1..=digits))?, &after[1 + digits..])
                };
                let character = char::from_u32(code).ok_or("a text has a lone surrogate")?;
                out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
                rest = after;
            }
            Ok(())
        })
    }
}

/// Of what stands behind a backslash, the one byte it means; gives what is left.
fn unescape_one<'a>(after: &'a [u8], out: &mut Vec<u8>) -> Parsed<&'a [u8]> {
    let (&kind, rest) = after.split_first().ok_or("a string ends in a backslash")?;
    match kind {
        b'\\' | b'\'' | b'"' => out.push(kind),
        b'n' => out.push(b'\n'),
        b'r' => out.push(b'\r'),
        b't' => out.push(b'\t'),
        b'x' => {
            out.push(hexadecimal(rest.get(..2))? as u8);
            return Ok(&rest[2..]);
        }
        _ => return Err("a string has an escape that Python does not write".into()),
    }
    Ok(rest)
}

fn hexadecimal(digits: Option<&[u8]>) -> Parsed<u32> {
    let text = digits.and_then(|digits| std::str::from_utf8(digits).ok());
    text.filter(|text| text.bytes().all(|byte| byte.is_ascii_hexdigit()))
        .and_then(|text| u32::from_str_radix(text, 16).ok())
        .ok_or_else(|| "a text has a broken escape".into())
}

fn integer(operation: u8, reader: &mut Reader) -> Parsed<Value> {
    Ok(match operation {
        b'J' => Value::Integer(i64::from(i32::from_le_bytes(reader.array()?))),
        b'K' => Value::Integer(i64::from(reader.byte()?)),
        b'M' => Value::Integer(i64::from(u16::from_le_bytes(reader.array()?))),
        b'I' => match reader.line()? {
            b"00" => Value::Bool(false),
            b"01" => Value::Bool(true),
            digits => written_integer(digits)?,
        },
        b'L' => {
            let line = reader.line()?;
            written_integer(line.strip_suffix(b"L").unwrap_or(line))?
        }
        0x8a => {
            let length = usize::from(reader.byte()?);
            long(reader.take(length)?)
        }
        _ => {
            let length = u32::from_le_bytes(reader.array()?);
            long(reader.take(length as usize)?)
        }
    })
}

fn written_integer(digits: &[u8]) -> Parsed<Value> {
    let bare = digits.strip_prefix(b"-").unwrap_or(digits);
    if bare.is_empty() || !bare.iter().all(u8::is_ascii_digit) {
        return Err("an integer is no number".into());
    }
    let text = std::str::from_utf8(digits).unwrap_or_default();
    match text.parse() {
        Ok(value) => Ok(Value::Integer(value)),
        Err(_) => double(digits)
            .map(Value::Double)
            .ok_or_else(|| "an integer is no number".into()),
    }
}

/// Two's complement, the lowest byte first.
fn long(bytes: &[u8]) -> Value {
    let is_negative = bytes.last().is_some_and(|byte| byte & 0x80 != 0);
    let fill = if is_negative { 0xff } else { 0 };
    if bytes.len() <= 8 {
        let mut word = [fill; 8];
        word[..bytes.len()].copy_from_slice(bytes);
        return Value::Integer(i64::from_le_bytes(word));
    }
    let byte = |sum: f64, &byte: &u8| sum * 256.0 + f64::from(byte ^ fill);
    let magnitude = bytes.iter().rev().fold(0.0, byte);
    Value::Double(if is_negative { -magnitude } else { magnitude })
}

fn refused(operation: u8) -> String {
    let name = match operation {
        b'c' | b'i' | 0x93 => "imports a name",
        b'R' | 0x81 | 0x92 | b'o' => "calls something",
        b'b' => "sets an object's state",
        b'P' | b'Q' => "refers to a persistent object",
        0x82..=0x84 => "uses an extension",
        b'}' | b'd' | b's' | b'u' => "makes a dictionary",
        0x8f..=0x91 => "makes a set",
        0x96..=0x98 => "uses a buffer",
        b'0' | b'1' | b'2' => "handles its stack as no list of datapoints does",
        _ => return format!("instruction {operation:#04x} is not known"),
    };
    format!("it {name}, which is not allowed")
}

struct Reader<'a> {
    pickle: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    #[inline]
    fn byte(&mut self) -> Parsed<u8> {
        let byte = self.pickle.get(self.at).copied();
        self.at += 1;
        byte.ok_or_else(cut_off)
    }

    #[inline]
    fn take(&mut self, count: usize) -> Parsed<&'a [u8]> {
        let end = self.at.saturating_add(count);
        let taken = self.pickle.get(self.at..end).ok_or_else(cut_off)?;
        self.at = end;
        Ok(taken)
    }

    #[inline]
    fn array<const COUNT: usize>(&mut self) -> Parsed<[u8; COUNT]> {
        let mut array = [0; COUNT];
        array.copy_from_slice(self.take(COUNT)?);
        Ok(array)
    }

    fn line(&mut self) -> Parsed<&'a [u8]> {
        let rest = self.pickle.get(self.at..).unwrap_or_default();
        let length = memchr(b'\n', rest).ok_or_else(cut_off)?;
        self.at += length + 1;
        Ok(&rest[..length])
    }

    fn decimal(&mut self) -> Parsed<usize> {
        let line = self.line()?;
        let text = std::str::from_utf8(line).unwrap_or_default();
        text.parse()
            .map_err(|_| format!("{:?} is no place of the memo", quoted(line)))
    }
}

fn cut_off() -> String {
    "it is cut off".into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn run(pickle: &[u8]) -> Parsed<Value> {
        Machine::default().run(pickle)
    }

    #[test]
    fn values() {
        for (pickle, value) in [
            (&b"N."[..], Value::None),
            (b"I01\n.", Value::Bool(true)),
            (b"\x80\x02\x89.", Value::Bool(false)),
            (b"I-5\n.", Value::Integer(-5)),
            (b"L12345678901L\n.", Value::Integer(12_345_678_901)),
            (
                b"L18446744073709551616L\n.",
                Value::Double(18_446_744_073_709_551_616.0),
            ),
            (b"J\xff\xff\xff\xff.", Value::Integer(-1)),
            (b"K\xff.", Value::Integer(255)),
            (b"M\x00\x01.", Value::Integer(256)),
            (b"\x8a\x00.", Value::Integer(0)),
            (b"\x8a\x01\xff.", Value::Integer(-1)),
            (
                b"\x8a\x05\x00\xe4\x0b\x54\x02.",
                Value::Integer(10_000_000_000),
            ),
            (
                b"\x8a\x09\x00\x00\x00\x00\x00\x00\x00\x00\x01.",
                Value::Double(18_446_744_073_709_551_616.0),
            ),
            (b"F1.5\n.", Value::Double(1.5)),
            (b"G\x3f\xf8\x00\x00\x00\x00\x00\x00.", Value::Double(1.5)),
        ] {
            assert_eq!(run(pickle), Ok(value), "{pickle:?}");
        }
    }

    #[test]
    fn texts() {
        let mut machine = Machine::default();
        for (pickle, expected) in [
            (&b"S'a.b'\n."[..], "a.b"),
            (b"S\"it's\"\n.", "it's"),
            (b"S'\\\\ \\' \\xc3\\xa9'\n.", "\\ ' \u{e9}"),
            (
                b"Va\\u00e9\\U0001f600\xe9\\n\n.",
                "a\u{e9}\u{1f600}\u{e9}\\n",
            ),
            (b"U\x01a.", "a"),
            (b"T\x01\x00\x00\x00a.", "a"),
            (b"X\x01\x00\x00\x00a.", "a"),
            (b"C\x01a.", "a"),
            (b"\x8c\x01a.", "a"),
            (b"\x8d\x01\x00\x00\x00\x00\x00\x00\x00a.", "a"),
        ] {
            let Ok(Value::Text(text)) = machine.run(pickle) else {
                panic!("{pickle:?}");
            };
            assert_eq!(machine.text(pickle, text), expected.as_bytes());
        }
    }

    #[test]
    fn lists_tuples_and_the_memo() {
        let mut machine = Machine::default();
        for pickle in [
            &b"(lp0\n(I1\nI2\ntp1\nag1\na."[..],
            b"]q\x00(K\x01K\x02\x86q\x01h\x01e.",
            b"\x80\x04\x95\0\0\0\0\0\0\0\0]\x94(K\x01K\x02\x86\x94h\x01e.",
            b"((I1\nI2\ntp1\ng1\nl.",
            b"(K\x01K\x02\x86r\x05\0\0\0j\x05\0\0\0t.",
        ] {
            let value = machine.run(pickle).unwrap();
            let items = machine.items(value).unwrap();
            assert_eq!(items.len(), 2, "{pickle:?}");
            for item in items {
                let pair = machine.items(*item).unwrap();
                assert_eq!(pair, [Value::Integer(1), Value::Integer(2)]);
            }
        }
    }

    #[test]
    fn what_could_do_something_is_refused_by_name() {
        for (pickle, cause) in [
            (&b"cos\nsystem\n(S'true'\ntR."[..], "it imports a name"),
            (b"(S'true'\nios\nsystem\n.", "it imports a name"),
            (b"\x8c\x02os\x8c\x06system\x93.", "it imports a name"),
            (b"NR.", "it calls something"),
            (b"}.", "it makes a dictionary"),
            (b"N2.", "it handles its stack"),
            (b"\x82\x01.", "it uses an extension"),
            (b"Pid\n.", "it refers to a persistent object"),
            (b"\xff.", "instruction 0xff is not known"),
            (b"\x80\x06N.", "protocol 6 is not known"),
        ] {
            let refusal = run(pickle).unwrap_err();
            assert!(refusal.starts_with(cause), "{pickle:?}: {refusal}");
        }
    }

    #[test]
    fn broken_ones_are_errors() {
        for pickle in [
            &b""[..],
            b".",
            b"N",
            b"(.",
            b"t.",
            b"(\x85.",
            b"\x86.",
            b"Na.",
            b"NNa.",
            b"(e.",
            b"]((e.",
            b"N(Ne.",
            b"q\x00.",
            b"h\x00.",
            b"Nr\xff\xff\xff\xff.",
            b"gx\n.",
            b"Np99999999999999999999\n.",
            b"T\xff\xff\xff\xff.",
            b"\x8d\xff\xff\xff\xff\xff\xff\xff\xff.",
            b"Sabc\n.",
            b"S'\n.",
            b"S'\\x4'\n.",
            b"V\\ud800\n.",
            b"V\\u12\n.",
            b"Fx\n.",
            b"Ix\n.",
            b"I\n.",
        ] {
            assert!(run(pickle).is_err(), "{pickle:?}");
        }
    }

    #[test]
    fn a_list_may_hold_itself() {
        let mut machine = Machine::default();
        let value = machine.run(b"]q\x00h\x00a.").unwrap();
        assert_eq!(machine.items(value), Some(&[value][..]));
    }

    #[test]
    fn memory_is_bounded_by_the_size() {
        let mut bomb = b"]q\x00".to_vec();
        bomb.extend_from_slice(&b"h\x00".repeat(500_000));
        bomb.push(b'.');
        let mut machine = Machine::default();
        machine.run(&bomb).unwrap();
        assert!(machine.stack.capacity() * size_of::<Value>() < 40 * bomb.len());
        assert!(machine.run(b"Nr\xff\xff\xff\x00.").is_err());
    }

    proptest! {
        #[test]
        fn any_bytes_are_fine(pickle: Vec<u8>) {
            let _ = run(&pickle);
        }

        #[test]
        fn any_instructions_are_fine(
            pickle in proptest::collection::vec(
                proptest::sample::select(&b"(N\x88I1\nK\x01]le a)t\x85\x86\x87q\x00h\x00\x94."[..]),
                0..60,
            ),
        ) {
            let mut machine = Machine::default();
            if let Ok(value) = machine.run(&pickle) {
                let _ = machine.items(value).map(<[Value]>::len);
            }
        }
    }
}
