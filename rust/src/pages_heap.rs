//! Columns of strings and bytes: a dictionary where payloads repeat, else the payloads in a row.
//!
//! `pages` is the caller. Payload bytes are compressed with zstd where that makes them smaller.

use crate::error::{CoreError, Result};
use crate::pages::Effort;
use crate::pages_integer::{self, take};
use crate::sample::payload;
use crate::varint;
use hashbrown::HashMap;

pub const DICTIONARY: u8 = 32;
pub const PLAIN: u8 = 33;

const STORED: u8 = 0;
const ZSTD: u8 = 1;

/// Payload bytes of one page, before compression; one payload may not be longer.
pub const PAGE_HEAP_BYTES_MAX: usize = 64 << 20;

const ZSTD_LEVEL_FAST: i32 = 1;
const ZSTD_LEVEL_SMALL: i32 = 9;

/// Appends tag and body; `values` are spans into `heap` and not empty.
pub fn encode(values: &[u64], heap: &[u8], effort: Effort, out: &mut Vec<u8>) -> Result<()> {
    let mut indexes = Vec::with_capacity(values.len());
    let mut entries: Vec<&[u8]> = Vec::new();
    let mut known: HashMap<&[u8], i64> = HashMap::new();
    for &bits in values {
        let bytes = payload(heap, bits).ok_or_else(|| {
            CoreError::Invalid("cannot write a page: a payload lies outside the heap".into())
        })?;
        indexes.push(*known.entry(bytes).or_insert_with(|| {
            entries.push(bytes);
            entries.len() as i64 - 1
        }));
    }
    if entries.len() == values.len() {
        out.push(PLAIN);
        put_entries(out, &entries, effort)
    } else {
        out.push(DICTIONARY);
        varint::put(out, entries.len() as u64);
        put_entries(out, &entries, effort)?;
        pages_integer::encode(&indexes, effort, out);
        Ok(())
    }
}

/// Lengths (as a byte-counted column), then compression, raw size and the bytes themselves.
fn put_entries(out: &mut Vec<u8>, entries: &[&[u8]], effort: Effort) -> Result<()> {
    let lengths: Vec<i64> = entries.iter().map(|entry| entry.len() as i64).collect();
    let raw = entries.concat();
    if raw.len() > PAGE_HEAP_BYTES_MAX {
        return Err(CoreError::Invalid(format!(
            "cannot write a page: {} bytes of payload are more than {PAGE_HEAP_BYTES_MAX}",
            raw.len()
        )));
    }
    let mut column = Vec::new();
    pages_integer::encode(&lengths, effort, &mut column);
    varint::put_slice(out, &column);
    varint::put(out, raw.len() as u64);
    let level = match effort {
        Effort::Fast => ZSTD_LEVEL_FAST,
        Effort::Small => ZSTD_LEVEL_SMALL,
    };
    match zstd::bulk::compress(&raw, level) {
        Ok(packed) if packed.len() < raw.len() => {
            out.push(ZSTD);
            varint::put_slice(out, &packed);
        }
        _ => {
            out.push(STORED);
            varint::put_slice(out, &raw);
        }
    }
    Ok(())
}

/// Reads tag and body, filling `out` with spans and appending their payloads to `heap`.
pub fn decode(bytes: &[u8], at: &mut usize, out: &mut [i64], heap: &mut Vec<u8>) -> Result<()> {
    match take(bytes, at)? {
        PLAIN => get_entries(bytes, at, out, heap),
        DICTIONARY => {
            let count = varint::get(bytes, at)? as usize;
            if count == 0 || count > out.len() {
                return Err(CoreError::Corrupt(format!(
                    "cannot read a page: a dictionary of {count} entries for {} values",
                    out.len()
                )));
            }
            let mut spans = vec![0i64; count];
            get_entries(bytes, at, &mut spans, heap)?;
            pages_integer::decode(bytes, at, out, 0)?;
            for slot in out.iter_mut() {
                *slot = *usize::try_from(*slot)
                    .ok()
                    .and_then(|index| spans.get(index))
                    .ok_or_else(|| {
                        CoreError::Corrupt(
                            "cannot read a page: an index lies outside its dictionary".into(),
                        )
                    })?;
            }
            Ok(())
        }
        tag => Err(CoreError::Corrupt(format!(
            "cannot read a page: encoding {tag} of payloads is unknown"
        ))),
    }
}

fn get_entries(bytes: &[u8], at: &mut usize, spans: &mut [i64], heap: &mut Vec<u8>) -> Result<()> {
    let column = varint::get_slice(bytes, at)?;
    pages_integer::decode(column, &mut 0, spans, 0)?;
    let raw_bytes = varint::get(bytes, at)? as usize;
    let start = heap.len();
    if raw_bytes > PAGE_HEAP_BYTES_MAX || start + raw_bytes > u32::MAX as usize {
        return Err(CoreError::Corrupt(format!(
            "cannot read a page: {raw_bytes} bytes of payload are more than {PAGE_HEAP_BYTES_MAX}"
        )));
    }
    let compression = take(bytes, at)?;
    let packed = varint::get_slice(bytes, at)?;
    match compression {
        STORED => heap.extend_from_slice(packed),
        ZSTD => {
            let raw = zstd::bulk::decompress(packed, raw_bytes).map_err(|error| {
                CoreError::Corrupt(format!("cannot read a page: its payloads: {error}"))
            })?;
            heap.extend_from_slice(&raw);
        }
        _ => {
            return Err(CoreError::Corrupt(format!(
                "cannot read a page: compression {compression} is unknown"
            )));
        }
    }
    let mismatch =
        || CoreError::Corrupt("cannot read a page: payload lengths do not add up".into());
    let mut offset = start as u64;
    for span in spans.iter_mut() {
        let length = u32::try_from(*span).map_err(|_| mismatch())?;
        *span = (offset << 32 | u64::from(length)) as i64;
        offset += u64::from(length);
        if offset > heap.len() as u64 {
            return Err(mismatch());
        }
    }
    if offset == heap.len() as u64 && heap.len() - start == raw_bytes {
        Ok(())
    } else {
        Err(mismatch())
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use crate::sample::{Kind, Run};
    use proptest::prelude::*;

    pub fn columns() -> impl Strategy<Value = Run> {
        let distinct = prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 1..60);
        let repeated = (
            prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 1..5),
            prop::collection::vec(any::<usize>(), 1..300),
        )
            .prop_map(|(words, picks)| {
                picks
                    .iter()
                    .map(|p| words[p % words.len()].clone())
                    .collect()
            });
        prop_oneof![distinct, repeated].prop_map(|payloads: Vec<Vec<u8>>| {
            let mut run = Run::new(Kind::Bytes);
            for (at, payload) in payloads.iter().enumerate() {
                run.push_payload(at as i64, payload);
            }
            run
        })
    }

    fn round_trip(run: &Run, effort: Effort) {
        let mut bytes = Vec::new();
        encode(&run.values, &run.heap, effort, &mut bytes).unwrap();
        let mut out = vec![0i64; run.len()];
        let (mut at, mut heap) = (0, b"before".to_vec());
        decode(&bytes, &mut at, &mut out, &mut heap).unwrap();
        assert_eq!(at, bytes.len());
        for (index, bits) in out.into_iter().enumerate() {
            assert_eq!(payload(&heap, bits as u64), run.payload(index));
        }
    }

    proptest! {
        #[test]
        fn columns_round_trip(run in columns()) {
            round_trip(&run, Effort::Fast);
            round_trip(&run, Effort::Small);
        }

        #[test]
        fn any_bytes_decode_or_fail(tag in 31u8..35, bytes: Vec<u8>, count in 1usize..100) {
            let mut all = vec![tag];
            all.extend(bytes);
            let _ = decode(&all, &mut 0, &mut vec![0; count], &mut Vec::new());
        }
    }
}
