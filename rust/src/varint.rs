//! LEB128 variable-length integers, as used by every byte layout of ours and by protobuf.

use crate::error::{CoreError, Result};

pub fn put(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value as u8) | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// How many bytes `put` takes for a value.
pub fn size(value: u64) -> usize {
    (u64::BITS - (value | 1).leading_zeros()).div_ceil(7) as usize
}

/// Reads one integer at `*at` and moves `*at` behind it.
#[inline]
pub fn get(bytes: &[u8], at: &mut usize) -> Result<u64> {
    let mut value = 0u64;
    let mut shift = 0u32;
    loop {
        let Some(&byte) = bytes.get(*at) else {
            return Err(CoreError::Corrupt(
                "cannot read a varint: bytes end inside it".into(),
            ));
        };
        *at += 1;
        if shift == 63 && byte > 1 {
            return Err(CoreError::Corrupt(
                "cannot read a varint: longer than 64 bits".into(),
            ));
        }
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Ok(value);
        }
        shift += 7;
    }
}

/// Reads a length and that many bytes.
#[inline]
pub fn get_slice<'a>(bytes: &'a [u8], at: &mut usize) -> Result<&'a [u8]> {
    let length = get(bytes, at)? as usize;
    let end = at.checked_add(length).filter(|&end| end <= bytes.len());
    let Some(end) = end else {
        return Err(CoreError::Corrupt(
            "cannot read a slice: bytes end inside it".into(),
        ));
    };
    let slice = &bytes[*at..end];
    *at = end;
    Ok(slice)
}

pub fn put_slice(out: &mut Vec<u8>, slice: &[u8]) {
    put(out, slice.len() as u64);
    out.extend_from_slice(slice);
}

pub fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

pub fn unzigzag(value: u64) -> i64 {
    ((value >> 1) as i64) ^ -((value & 1) as i64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn round_trips(value: u64, signed: i64) {
            let mut bytes = Vec::new();
            put(&mut bytes, value);
            let mut at = 0;
            prop_assert_eq!(get(&bytes, &mut at).unwrap(), value);
            prop_assert_eq!((at, size(value)), (bytes.len(), bytes.len()));
            prop_assert_eq!(unzigzag(zigzag(signed)), signed);
        }

        #[test]
        fn any_bytes_give_a_value_or_an_error(bytes: Vec<u8>) {
            let mut at = 0;
            while at < bytes.len() && get_slice(&bytes, &mut at).is_ok() {}
        }
    }
}
