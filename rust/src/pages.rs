//! Page encodings: columns of times and values to bytes and back (docs/formats/page.md).
//!
//! `block_writer` writes pages, `block` reads them. A page is a CRC32C of all that follows, a
//! sample count, and a column: integers (`pages_integer`), floats (`pages_float`) or payloads
//! (`pages_heap`), each in the encoding that came out smallest.

use crate::error::{CoreError, Result};
use crate::sample::{Kind, Run};
use crate::{pages_float, pages_heap, pages_integer, varint};
use std::ops::Range;

/// Samples in one page, at most; a decoder allocates no more than this.
pub const PAGE_SAMPLES_MAX: usize = 8192;

/// How hard to look for a smaller encoding: `Fast` while flushing, `Small` while compacting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effort {
    Fast,
    Small,
}

impl Effort {
    pub fn parse(name: &str) -> Result<Self> {
        match name {
            "fast" => Ok(Self::Fast),
            "small" => Ok(Self::Small),
            _ => Err(CoreError::Invalid(format!(
                "cannot use effort {name:?}: it is neither \"fast\" nor \"small\""
            ))),
        }
    }
}

const CHECKSUM_BYTES: usize = 4;

/// Starts a page at the end of `out`; returns where, for [`finish`].
fn start(count: usize, out: &mut Vec<u8>) -> Result<usize> {
    if count == 0 || count > PAGE_SAMPLES_MAX {
        return Err(CoreError::Invalid(format!(
            "cannot write a page of {count} samples: 1 to {PAGE_SAMPLES_MAX} fit"
        )));
    }
    let at = out.len();
    out.extend_from_slice(&[0; CHECKSUM_BYTES]);
    varint::put(out, count as u64);
    Ok(at)
}

fn finish(at: usize, out: &mut [u8]) {
    let checksum = crc32c::crc32c(&out[at + CHECKSUM_BYTES..]);
    out[at..at + CHECKSUM_BYTES].copy_from_slice(&checksum.to_le_bytes());
}

/// Verifies the checksum; gives the sample count and where the column starts.
fn open(page: &[u8]) -> Result<(usize, usize)> {
    let (stored, body) = page
        .split_first_chunk::<CHECKSUM_BYTES>()
        .ok_or_else(|| CoreError::Corrupt("cannot read a page: it is too short".into()))?;
    if crc32c::crc32c(body) != u32::from_le_bytes(*stored) {
        return Err(CoreError::Corrupt(
            "cannot read a page: its checksum does not fit".into(),
        ));
    }
    let mut at = CHECKSUM_BYTES;
    let count = varint::get(page, &mut at)? as usize;
    if count == 0 || count > PAGE_SAMPLES_MAX {
        return Err(CoreError::Corrupt(format!(
            "cannot read a page: {count} samples, where 1 to {PAGE_SAMPLES_MAX} fit"
        )));
    }
    Ok((count, at))
}

/// Verifies the checksum of a page that is copied unread.
pub fn check(page: &[u8]) -> Result<()> {
    open(page).map(|_| ())
}

/// Appends a page of times.
pub fn encode_times(times_ns: &[i64], effort: Effort, out: &mut Vec<u8>) -> Result<()> {
    let at = start(times_ns.len(), out)?;
    pages_integer::encode(times_ns, effort, out);
    finish(at, out);
    Ok(())
}

/// Appends the times of a page; `page` is exactly its bytes.
pub fn decode_times(page: &[u8], times_ns: &mut Vec<i64>) -> Result<()> {
    let (count, mut at) = open(page)?;
    let from = times_ns.len();
    times_ns.resize(from + count, 0);
    pages_integer::decode(page, &mut at, &mut times_ns[from..], 0)?;
    end(page, at)
}

/// Appends a page of values; `heap` is what the values of strings and bytes point into.
pub fn encode_values(
    kind: Kind,
    values: &[u64],
    heap: &[u8],
    effort: Effort,
    out: &mut Vec<u8>,
) -> Result<()> {
    let at = start(values.len(), out)?;
    match kind {
        Kind::Float64 => pages_float::encode(values, effort, out),
        Kind::Int64 | Kind::Uint64 | Kind::Bool => {
            let integers: Vec<i64> = values.iter().map(|&bits| bits as i64).collect();
            pages_integer::encode(&integers, effort, out);
        }
        Kind::String | Kind::Bytes | Kind::Histogram => {
            pages_heap::encode(values, heap, effort, out)?;
        }
    }
    finish(at, out);
    Ok(())
}

/// Room that one page after the other is decoded into.
#[derive(Default)]
pub struct Scratch(Vec<i64>);

/// Appends the values (and payloads) of a page to `run`, whose kind says how to read it.
pub fn decode_values(page: &[u8], run: &mut Run) -> Result<()> {
    let (count, _) = open(page)?;
    decode_some_values(page, count, 0..count, run, &mut Scratch::default())
}

/// Appends those values of a page of `count` that lie `inside`; it costs less where they are the
/// last ones. All payloads of the page are appended.
pub fn decode_some_values(
    page: &[u8],
    count: usize,
    inside: Range<usize>,
    run: &mut Run,
    scratch: &mut Scratch,
) -> Result<()> {
    let mut at = open_page_of(page, count, &inside, scratch)?;
    let (values, from) = (&mut scratch.0[..], inside.start);
    match run.kind {
        Kind::Float64 => pages_float::decode(page, &mut at, values, from)?,
        Kind::Int64 | Kind::Uint64 => pages_integer::decode(page, &mut at, values, from)?,
        Kind::Bool => {
            pages_integer::decode(page, &mut at, values, from)?;
            if values[from..].iter().any(|&value| value & !1 != 0) {
                return Err(CoreError::Corrupt(
                    "cannot read a page: a bool is neither 0 nor 1".into(),
                ));
            }
        }
        Kind::String | Kind::Bytes | Kind::Histogram => {
            pages_heap::decode(page, &mut at, values, &mut run.heap)?;
        }
    }
    end(page, at)?;
    let values = &values[inside];
    run.values.extend(values.iter().map(|&bits| bits as u64));
    Ok(())
}

/// As `decode_some_values`, of a page of floats.
pub fn decode_floats(
    page: &[u8],
    count: usize,
    inside: Range<usize>,
    out: &mut Vec<f64>,
    scratch: &mut Scratch,
) -> Result<()> {
    let mut at = open_page_of(page, count, &inside, scratch)?;
    pages_float::decode(page, &mut at, &mut scratch.0, inside.start)?;
    end(page, at)?;
    let values = &scratch.0[inside];
    out.extend(values.iter().map(|&bits| f64::from_bits(bits as u64)));
    Ok(())
}

/// Where the column of a page starts that must hold `count` values, with room for them.
fn open_page_of(
    page: &[u8],
    count: usize,
    inside: &Range<usize>,
    scratch: &mut Scratch,
) -> Result<usize> {
    let (found, at) = open(page)?;
    if found != count || inside.start > inside.end || inside.end > count {
        return Err(CoreError::Corrupt(
            "the page has not as many values as times".into(),
        ));
    }
    scratch.0.resize(count, 0);
    Ok(at)
}

fn end(page: &[u8], at: usize) -> Result<()> {
    if at == page.len() {
        Ok(())
    } else {
        Err(CoreError::Corrupt(
            "cannot read a page: bytes behind its end".into(),
        ))
    }
}

#[cfg(feature = "python")]
pub(crate) mod python {
    use super::Effort;
    use crate::error::{CoreError, Result};
    use crate::sample::{Kind, Run};
    use numpy::{IntoPyArray, PyArray1, PyReadonlyArray1};
    use pyo3::prelude::*;
    use pyo3::types::PyBytes;

    fn heapless(kind: u8) -> Result<Kind> {
        let kind = Kind::from_u8(kind).map_err(|_| {
            CoreError::Invalid(format!("cannot write a page: kind {kind} is unknown"))
        })?;
        if kind.uses_heap() {
            return Err(CoreError::Invalid(
                "cannot take a page of payloads here: only numeric kinds have columns".into(),
            ));
        }
        Ok(kind)
    }

    #[pyfunction]
    #[allow(clippy::needless_pass_by_value)] // as pyo3 hands it over
    fn encode_times<'py>(
        py: Python<'py>,
        times_ns: PyReadonlyArray1<'py, i64>,
        effort: &str,
    ) -> PyResult<Bound<'py, PyBytes>> {
        let effort = Effort::parse(effort)?;
        let times = times_ns.as_slice()?.to_vec();
        let page = py.detach(|| {
            let mut out = Vec::new();
            super::encode_times(&times, effort, &mut out).map(|()| out)
        })?;
        Ok(PyBytes::new(py, &page))
    }

    #[pyfunction]
    fn decode_times<'py>(py: Python<'py>, page: &[u8]) -> PyResult<Bound<'py, PyArray1<i64>>> {
        let times = py.detach(|| {
            let mut out = Vec::new();
            super::decode_times(page, &mut out).map(|()| out)
        })?;
        Ok(times.into_pyarray(py))
    }

    #[pyfunction]
    #[allow(clippy::needless_pass_by_value)] // as pyo3 hands it over
    fn encode_values<'py>(
        py: Python<'py>,
        kind: u8,
        values: PyReadonlyArray1<'py, u64>,
        effort: &str,
    ) -> PyResult<Bound<'py, PyBytes>> {
        let (kind, effort) = (heapless(kind)?, Effort::parse(effort)?);
        let values = values.as_slice()?.to_vec();
        let page = py.detach(|| {
            let mut out = Vec::new();
            super::encode_values(kind, &values, &[], effort, &mut out).map(|()| out)
        })?;
        Ok(PyBytes::new(py, &page))
    }

    #[pyfunction]
    fn decode_values<'py>(
        py: Python<'py>,
        kind: u8,
        page: &[u8],
    ) -> PyResult<Bound<'py, PyArray1<u64>>> {
        let kind = heapless(kind)?;
        let run = py.detach(|| {
            let mut run = Run::new(kind);
            super::decode_values(page, &mut run).map(|()| run)
        })?;
        Ok(run.values.into_pyarray(py))
    }

    pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
        module.add("PAGE_SAMPLES_MAX", super::PAGE_SAMPLES_MAX)?;
        module.add_function(wrap_pyfunction!(encode_times, module)?)?;
        module.add_function(wrap_pyfunction!(decode_times, module)?)?;
        module.add_function(wrap_pyfunction!(encode_values, module)?)?;
        module.add_function(wrap_pyfunction!(decode_values, module)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pages_heap::tests as heaps;
    use proptest::prelude::*;

    #[test]
    fn empty_and_overlong_pages_are_refused() {
        let mut out = Vec::new();
        assert!(encode_times(&[], Effort::Fast, &mut out).is_err());
        let long = vec![0; PAGE_SAMPLES_MAX + 1];
        assert!(encode_times(&long, Effort::Fast, &mut out).is_err());
    }

    #[test]
    fn every_flipped_bit_is_found() {
        let times: Vec<i64> = (0..100).map(|i: i64| i * i).collect();
        let mut page = Vec::new();
        encode_times(&times, Effort::Fast, &mut page).unwrap();
        for bit in 0..page.len() * 8 {
            let mut bad = page.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            let found = decode_times(&bad, &mut Vec::new());
            assert!(matches!(found, Err(CoreError::Corrupt(_))), "bit {bit}");
        }
    }

    fn sealed(body: &[u8]) -> Vec<u8> {
        let mut page = crc32c::crc32c(body).to_le_bytes().to_vec();
        page.extend_from_slice(body);
        page
    }

    proptest! {
        #[test]
        fn payloads_round_trip(run in heaps::columns()) {
            let mut page = Vec::new();
            encode_values(run.kind, &run.values, &run.heap, Effort::Fast, &mut page).unwrap();
            let mut back = Run::new(run.kind);
            decode_values(&page, &mut back).unwrap();
            for at in 0..run.len() {
                prop_assert_eq!(back.payload(at), run.payload(at));
            }
        }

        #[test]
        fn any_bytes_with_a_right_checksum_decode_or_fail(
            kind in 1u8..8, count in 0u64..9000, tag in 0u8..40, bytes: Vec<u8>,
        ) {
            let mut body = Vec::new();
            varint::put(&mut body, count);
            body.push(tag);
            body.extend(bytes);
            let page = sealed(&body);
            let _ = decode_times(&page, &mut Vec::new());
            let _ = decode_values(&page, &mut Run::new(Kind::from_u8(kind).unwrap()));
        }

        #[test]
        fn any_bytes_decode_or_fail(bytes: Vec<u8>) {
            let _ = decode_times(&bytes, &mut Vec::new());
        }
    }
}
