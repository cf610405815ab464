//! Frames of a log segment: how records lie in a file (`docs/formats/log_segment.md`).
//!
//! A frame is `crc32c u32, length u32, offset u64, synced u32`, then the payload; little-endian.
//! The checksum covers everything behind itself. `synced` is the position up to which the segment
//! was known to be durable when the frame was written: it tells a torn tail (bytes that no
//! acknowledgement ever stood on) from damage to bytes that were once durable. A frame without
//! payload is a seal: it holds no record and only raises `synced`; its offset is the next record's.

pub const FRAME_HEADER_BYTES: usize = 20;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame {
    /// Where the payload stands in the segment.
    pub start: usize,
    pub end: usize,
    pub offset: u64,
    pub synced: u32,
}

/// What stands before `payload` in its frame.
pub fn frame_header(offset: u64, synced: u32, payload: &[u8]) -> [u8; FRAME_HEADER_BYTES] {
    let mut header = [0; FRAME_HEADER_BYTES];
    header[4..8].copy_from_slice(&(payload.len() as u32).to_le_bytes());
    header[8..16].copy_from_slice(&offset.to_le_bytes());
    header[16..20].copy_from_slice(&synced.to_le_bytes());
    let checksum = crc32c::crc32c_append(crc32c::crc32c(&header[4..]), payload);
    header[..4].copy_from_slice(&checksum.to_le_bytes());
    header
}

fn u32_at(data: &[u8], at: usize) -> Option<u32> {
    let bytes = data.get(at..at.checked_add(4)?)?;
    Some(u32::from_le_bytes(bytes.try_into().ok()?))
}

fn u64_at(data: &[u8], at: usize) -> Option<u64> {
    let bytes = data.get(at..at.checked_add(8)?)?;
    Some(u64::from_le_bytes(bytes.try_into().ok()?))
}

/// The frame at `at`, or None where no whole frame with a good checksum stands there.
pub fn frame_at(data: &[u8], at: usize) -> Option<Frame> {
    let checksum = u32_at(data, at)?;
    let length = u32_at(data, at.checked_add(4)?)? as usize;
    let start = at.checked_add(FRAME_HEADER_BYTES)?;
    let end = start.checked_add(length)?;
    let covered = data.get(at + 4..end)?;
    let frame = Frame {
        start,
        end,
        offset: u64_at(data, at + 8)?,
        synced: u32_at(data, at + 16)?,
    };
    // What cannot be is looked at before what is dear to check: the search below asks everywhere.
    if frame.synced as usize > at || crc32c::crc32c(covered) != checksum {
        return None;
    }
    Some(frame)
}

/// Frames from `at` on with offsets counting up from `offset`; where they stop; the next offset.
pub fn scan_frames(data: &[u8], mut at: usize, mut offset: u64) -> (Vec<Frame>, usize, u64) {
    let mut frames = Vec::new();
    while let Some(frame) = frame_at(data, at) {
        if frame.offset != offset {
            break;
        }
        if frame.end > frame.start {
            offset += 1;
            frames.push(frame);
        }
        at = frame.end;
    }
    (frames, at, offset)
}

/// The first frame behind `at` (exclusive) that says the bytes at `at` had been durable.
///
/// Offsets must lie in what the bytes between can hold; that keeps chance matches out.
pub fn find_witness(data: &[u8], at: usize, offset: u64) -> Option<usize> {
    let last = data.len().checked_sub(FRAME_HEADER_BYTES)?;
    let offset_max = offset.saturating_add((data.len() - at.min(data.len())) as u64);
    (at.saturating_add(1)..=last).find(|&position| {
        let plausible = u64_at(data, position + 8)
            .is_some_and(|found| found >= offset && found <= offset_max)
            && u32_at(data, position + 16).is_some_and(|synced| synced as usize > at);
        plausible && frame_at(data, position).is_some()
    })
}

#[cfg(feature = "python")]
pub(crate) mod python {
    use super::FRAME_HEADER_BYTES;
    use pyo3::exceptions::PyValueError;
    use pyo3::prelude::*;
    use pyo3::pybacked::PyBackedBytes;
    use pyo3::types::PyBytes;

    #[pyfunction]
    #[pyo3(signature = (records, *, offset, synced))]
    #[allow(clippy::needless_pass_by_value)] // as pyo3 hands it over
    fn frame_headers(
        py: Python<'_>,
        records: Vec<PyBackedBytes>,
        offset: u64,
        synced: u32,
    ) -> PyResult<Vec<Bound<'_, PyBytes>>> {
        if records
            .iter()
            .any(|record| record.len() > u32::MAX as usize)
        {
            return Err(PyValueError::new_err("a record is longer than 4 GiB"));
        }
        let headers: Vec<[u8; FRAME_HEADER_BYTES]> = py.detach(|| {
            let numbered = records.iter().zip(offset..);
            numbered
                .map(|(record, at)| super::frame_header(at, synced, record))
                .collect()
        });
        Ok(headers.iter().map(|one| PyBytes::new(py, one)).collect())
    }

    #[pyfunction]
    #[pyo3(signature = (data, *, position, offset))]
    fn scan_frames(
        py: Python<'_>,
        data: &[u8],
        position: usize,
        offset: u64,
    ) -> (Vec<(usize, usize)>, usize, u64) {
        py.detach(|| {
            let (frames, end, next) = super::scan_frames(data, position, offset);
            let spans = frames.iter().map(|f| (f.start, f.end)).collect();
            (spans, end, next)
        })
    }

    #[pyfunction]
    #[pyo3(signature = (data, *, position, offset))]
    fn find_witness(py: Python<'_>, data: &[u8], position: usize, offset: u64) -> Option<usize> {
        py.detach(|| super::find_witness(data, position, offset))
    }

    pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
        module.add_function(wrap_pyfunction!(frame_headers, module)?)?;
        module.add_function(wrap_pyfunction!(scan_frames, module)?)?;
        module.add_function(wrap_pyfunction!(find_witness, module)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn segment(records: &[&[u8]]) -> Vec<u8> {
        let mut out = Vec::new();
        for (at, record) in records.iter().enumerate() {
            let synced = out.len() as u32;
            out.extend_from_slice(&frame_header(7 + at as u64, synced, record));
            out.extend_from_slice(record);
        }
        out
    }

    #[test]
    fn frames_come_back() {
        let data = segment(&[b"one", b"two", b""]);
        let (frames, end, next) = scan_frames(&data, 0, 7);
        assert_eq!((frames.len(), end, next), (2, data.len(), 9));
        assert_eq!(&data[frames[1].start..frames[1].end], b"two");
    }

    #[test]
    fn a_flip_in_durable_bytes_has_a_witness() {
        let whole = segment(&[b"one", b"two", b"three"]);
        let second = 23;
        for bit in 0..second * 8 {
            let mut data = whole.clone();
            data[bit / 8] ^= 1 << (bit % 8);
            let (_, end, next) = scan_frames(&data, 0, 7);
            assert_eq!((end, next), (0, 7));
            assert_eq!(find_witness(&data, end, next), Some(second));
        }
    }

    #[test]
    fn a_cut_has_no_witness() {
        let whole = segment(&[b"one", b"two"]);
        for length in 23..whole.len() {
            let (_, end, next) = scan_frames(&whole[..length], 0, 7);
            assert_eq!((end, next), (23, 8));
            assert_eq!(find_witness(&whole[..length], end, next), None);
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_scanned(data: Vec<u8>, at in 0usize..64, offset: u64) {
            let _ = scan_frames(&data, at, offset);
            let _ = find_witness(&data, at, offset);
        }
    }
}
