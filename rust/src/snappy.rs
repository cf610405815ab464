//! The raw snappy format, off a request's body: <https://github.com/google/snappy/blob/main/format_description.txt>.
//!
//! Called by `decompress`. Bodies of remote write are mostly copies of labels that stood a series
//! before, a few dozen bytes each: they are copied in whole words of `WIDE` bytes, what was too much
//! is cut off again, and nothing is zeroed before it is written.

use std::fmt::{Display, Formatter};

/// The longest copy; also the room that a wide copy may use behind the end.
const WIDE: usize = 64;
/// Most literals are short.
const NARROW: usize = 16;
/// Literals of more bytes say their length in one to four further bytes.
const LITERAL_SHORT_MAX: usize = 60;
/// The length at the start is a varint of 32 bits.
const LENGTH_BYTES_MAX: usize = 5;

/// Why bytes are no snappy stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Broken {
    Length,
    Cut { at: usize },
    Reach { at: usize, offset: usize },
    Excess { at: usize },
    Missing { count: usize },
}

impl Display for Broken {
    fn fmt(&self, out: &mut Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Length => write!(out, "its length is not a varint of 32 bits"),
            Self::Cut { at } => write!(out, "it ends inside the element at byte {at}"),
            Self::Reach { at, offset } => write!(
                out,
                "the copy at byte {at} reaches {offset} bytes back, where nothing stands"
            ),
            Self::Excess { at } => {
                write!(
                    out,
                    "the element at byte {at} is longer than the header says"
                )
            }
            Self::Missing { count } => {
                write!(out, "it holds {count} bytes less than the header says")
            }
        }
    }
}

/// The size that the header claims, and where the elements begin.
pub fn header(body: &[u8]) -> Result<(usize, usize), Broken> {
    let mut size = 0u64;
    for (position, &byte) in body.iter().take(LENGTH_BYTES_MAX).enumerate() {
        size |= u64::from(byte & 0x7f) << (7 * position);
        if byte < 0x80 {
            let fits = u32::try_from(size).map_err(|_| Broken::Length)?;
            return Ok((fits as usize, position + 1));
        }
    }
    Err(Broken::Length)
}

/// Takes the encoding off. The header's size is allocated: whoever calls has bounded it.
pub fn decompress(body: &[u8]) -> Result<Vec<u8>, Broken> {
    let (size, mut at) = header(body)?;
    let mut out = Vec::with_capacity(size + WIDE);
    while let Some(&tag) = body.get(at) {
        let before = out.len();
        // The two low bits say what it is, and 0 is a literal.
        let next = if tag.trailing_zeros() >= 2 {
            literal(body, at, tag, size, &mut out)?
        } else {
            copy(body, at, tag, size, &mut out)?
        };
        debug_assert!(out.len() > before && out.len() <= size);
        at = next;
    }
    if out.len() < size {
        return Err(Broken::Missing {
            count: size - out.len(),
        });
    }
    Ok(out)
}

/// Up to four bytes as a number.
fn number(bytes: &[u8]) -> usize {
    let bytes = bytes.iter().rev();
    bytes.fold(0, |number, &byte| number << 8 | usize::from(byte))
}

/// Takes the literal at `at`; gives the place behind it.
#[inline]
fn literal(
    body: &[u8],
    at: usize,
    tag: u8,
    size: usize,
    out: &mut Vec<u8>,
) -> Result<usize, Broken> {
    let short = usize::from(tag >> 2);
    let (from, length) = if short < LITERAL_SHORT_MAX {
        (at + 1, short + 1)
    } else {
        let count = short + 1 - LITERAL_SHORT_MAX;
        let length = body.get(at + 1..at + 1 + count).map(number);
        (at + 1 + count, length.ok_or(Broken::Cut { at })? + 1)
    };
    let end = out.len() + length;
    if end > size {
        return Err(Broken::Excess { at });
    }
    if length <= NARROW
        && let Some(word) = body.get(from..).and_then(<[u8]>::first_chunk::<NARROW>)
    {
        out.extend_from_slice(word);
        out.truncate(end);
    } else {
        let bytes = body.get(from..from + length).ok_or(Broken::Cut { at })?;
        out.extend_from_slice(bytes);
    }
    Ok(from + length)
}

/// What the tag of a copy says: its length, the high bits of its offset, and which of the bytes
/// behind the tag are the low ones.
#[derive(Clone, Copy)]
struct CopyTag {
    length: u8,
    offset_bytes: u8,
    offset_high: u16,
    offset_mask: u32,
}

const COPY_TAGS: [CopyTag; 256] = {
    let mut tags = [CopyTag {
        length: 0,
        offset_bytes: 0,
        offset_high: 0,
        offset_mask: 0,
    }; 256];
    let mut tag = 0;
    while tag < tags.len() {
        let length = (tag >> 2) as u8 + 1;
        tags[tag] = match tag & 3 {
            1 => CopyTag {
                length: (tag >> 2 & 7) as u8 + 4,
                offset_bytes: 1,
                offset_high: (tag as u16 >> 5) << 8,
                offset_mask: 0xff,
            },
            2 => CopyTag {
                length,
                offset_bytes: 2,
                offset_high: 0,
                offset_mask: 0xffff,
            },
            _ => CopyTag {
                length,
                offset_bytes: 4,
                offset_high: 0,
                offset_mask: u32::MAX,
            },
        };
        tag += 1;
    }
    tags
};

/// Makes the copy at `at`; gives the place behind it.
#[inline]
fn copy(body: &[u8], at: usize, tag: u8, size: usize, out: &mut Vec<u8>) -> Result<usize, Broken> {
    let copy = COPY_TAGS[usize::from(tag)];
    let next = at + 1 + usize::from(copy.offset_bytes);
    let low = match body[at + 1..].first_chunk::<4>() {
        Some(&bytes) => u32::from_le_bytes(bytes) & copy.offset_mask,
        None if next <= body.len() => number(&body[at + 1..next]) as u32,
        None => return Err(Broken::Cut { at }),
    };
    let (length, offset) = (
        usize::from(copy.length),
        usize::from(copy.offset_high) | low as usize,
    );
    let end = out.len() + length;
    if end > size {
        return Err(Broken::Excess { at });
    }
    let Some(start) = out.len().checked_sub(offset).filter(|_| offset > 0) else {
        return Err(Broken::Reach { at, offset });
    };
    if let Some(&word) = out[start..].first_chunk::<WIDE>() {
        out.extend_from_slice(&word);
        out.truncate(end);
    } else {
        repeat(out, start, length);
    }
    Ok(next)
}

/// A copy that reaches into itself repeats what stands before it.
#[cold]
fn repeat(out: &mut Vec<u8>, start: usize, length: usize) {
    for from in start..start + length {
        out.push(out[from]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn compressed(plain: &[u8]) -> Vec<u8> {
        snap::raw::Encoder::new().compress_vec(plain).unwrap()
    }

    #[test]
    fn every_kind_of_element_is_read() {
        let long = [b'x'; 70];
        let mut two = vec![70 + 5 + 64, 60 << 2, 69];
        two.extend_from_slice(&long);
        two.extend_from_slice(&[(1 << 2) | 1, 1]); // 5 bytes, 1 back
        two.extend_from_slice(&[(63 << 2) | 3, 70, 0, 0, 0]); // 64 bytes, 70 back
        // 139 needs two bytes as a varint.
        two.splice(0..1, [0x8b, 0x01]);
        assert_eq!(decompress(&two).unwrap(), [b'x'; 139]);
        let repeated = [9, 2 << 2, b'a', b'b', b'c', (5 << 2) | 2, 3, 0];
        assert_eq!(decompress(&repeated).unwrap(), b"abcabcabc");
    }

    #[test]
    fn what_is_broken_is_named() {
        for (body, broken) in [
            (&[][..], Broken::Length),
            (&[0xff; 6], Broken::Length),
            (&[0xff, 0xff, 0xff, 0xff, 0x7f], Broken::Length),
            (&[3, 2 << 2, b'a'], Broken::Cut { at: 1 }),
            (&[3, 60 << 2], Broken::Cut { at: 1 }),
            (&[9, 0, b'a', 1 << 2 | 1], Broken::Cut { at: 3 }),
            (&[9, 0, b'a', 1, 0], Broken::Reach { at: 3, offset: 0 }),
            (&[9, 0, b'a', 1, 2], Broken::Reach { at: 3, offset: 2 }),
            (&[1, 1 << 2, b'a', b'b'], Broken::Excess { at: 1 }),
            (&[3, 0, b'a', 1, 1], Broken::Excess { at: 3 }),
            (&[3, 0, b'a'], Broken::Missing { count: 2 }),
        ] {
            assert_eq!(decompress(body), Err(broken), "{body:?}");
        }
    }

    proptest! {
        #[test]
        fn it_agrees_with_the_library(
            words in prop::collection::vec((0usize..9, 0u8..4), 0..400),
        ) {
            let plain: Vec<u8> = words
                .into_iter()
                .flat_map(|(length, byte)| vec![byte; length * length])
                .collect();
            prop_assert_eq!(decompress(&compressed(&plain)), Ok(plain));
        }

        #[test]
        fn it_refuses_what_the_library_refuses(
            plain in prop::collection::vec(0u8..3, 0..600),
            flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..3),
        ) {
            let mut body = compressed(&plain);
            for (at, byte) in flips {
                let at = at.index(body.len());
                body[at] = byte;
            }
            prop_assume!(header(&body).is_ok_and(|(size, _)| size < 1 << 20));
            let library = snap::raw::Decoder::new().decompress_vec(&body);
            prop_assert_eq!(decompress(&body).ok(), library.ok());
        }
    }
}
