//! Bounded decompression of request bodies: gzip, deflate, snappy, zstd.
//!
//! Called by the wires' write paths before they decode. The bound holds before anything is
//! allocated where the format tells the size, and while streaming where it does not.

use crate::error::{CoreError, Result};
use crate::snappy;
use flate2::bufread::{DeflateDecoder, MultiGzDecoder, ZlibDecoder};
use std::io::Read;

/// RFC 9659: a window of a zstd content coding has at most 8 MiB.
const ZSTD_WINDOW_LOG_MAX: u32 = 23;
/// A snappy copy of 64 bytes takes three: no honest header claims more than this.
const SNAPPY_RATIO_MAX: usize = 22;

/// Takes `encoding` (an HTTP content coding) off `body`; the result has at most `size_bytes_max`.
pub fn decompress(encoding: &str, body: &[u8], size_bytes_max: usize) -> Result<Vec<u8>> {
    match encoding {
        "" | "identity" => plain(body, size_bytes_max),
        "gzip" | "x-gzip" => stream("gzip", MultiGzDecoder::new(body), body, size_bytes_max),
        "deflate" if has_zlib_header(body) => {
            stream("deflate", ZlibDecoder::new(body), body, size_bytes_max)
        }
        // Some clients send the bare stream under the same name.
        "deflate" => stream("deflate", DeflateDecoder::new(body), body, size_bytes_max),
        "snappy" => snappy(body, size_bytes_max),
        "zstd" => zstd(body, size_bytes_max),
        _ => Err(CoreError::Invalid(format!(
            "cannot decompress a body: encoding {encoding:?} is none of identity, gzip, deflate, \
             snappy, zstd"
        ))),
    }
}

fn plain(body: &[u8], size_bytes_max: usize) -> Result<Vec<u8>> {
    if body.len() > size_bytes_max {
        return Err(too_large("identity", body, size_bytes_max));
    }
    Ok(body.to_vec())
}

fn snappy(body: &[u8], size_bytes_max: usize) -> Result<Vec<u8>> {
    let (size, _) = snappy::header(body).map_err(|error| broken("snappy", body, &error))?;
    if size > size_bytes_max {
        return Err(too_large("snappy", body, size_bytes_max));
    }
    if size > body.len().saturating_mul(SNAPPY_RATIO_MAX) {
        return Err(broken(
            "snappy",
            body,
            &format!("the header claims {size} bytes, more than the body can hold"),
        ));
    }
    snappy::decompress(body).map_err(|error| broken("snappy", body, &error))
}

fn zstd(body: &[u8], size_bytes_max: usize) -> Result<Vec<u8>> {
    let mut decoder = ::zstd::stream::read::Decoder::with_buffer(body)
        .map_err(|error| broken("zstd", body, &error))?;
    decoder
        .window_log_max(ZSTD_WINDOW_LOG_MAX)
        .map_err(|error| broken("zstd", body, &error))?;
    stream("zstd", decoder, body, size_bytes_max)
}

fn stream(
    encoding: &str,
    decoder: impl Read,
    body: &[u8],
    size_bytes_max: usize,
) -> Result<Vec<u8>> {
    let mut out = Vec::with_capacity(size_bytes_max.min(body.len().saturating_mul(4)));
    decoder
        .take(size_bytes_max as u64 + 1)
        .read_to_end(&mut out)
        .map_err(|error| broken(encoding, body, &error))?;
    if out.len() > size_bytes_max {
        return Err(too_large(encoding, body, size_bytes_max));
    }
    Ok(out)
}

/// RFC 1950: the method is 8 and the first two bytes are a multiple of 31.
fn has_zlib_header(body: &[u8]) -> bool {
    matches!(body, [method, flags, ..] if method & 0x0f == 8
        && (u32::from(*method) << 8 | u32::from(*flags)) % 31 == 0)
}

fn too_large(encoding: &str, body: &[u8], size_bytes_max: usize) -> CoreError {
    CoreError::Exhausted(format!(
        "cannot decompress {encoding} body of {} bytes: it holds more than size_bytes_max \
         {size_bytes_max}",
        body.len()
    ))
}

fn broken(encoding: &str, body: &[u8], cause: &dyn std::fmt::Display) -> CoreError {
    CoreError::Invalid(format!(
        "cannot decompress {encoding} body of {} bytes: {cause}",
        body.len()
    ))
}

#[cfg(feature = "python")]
pub(crate) mod python {
    use pyo3::prelude::*;
    use pyo3::types::PyBytes;

    #[pyfunction]
    #[pyo3(signature = (encoding, body, *, size_bytes_max))]
    fn decompress<'py>(
        py: Python<'py>,
        encoding: &str,
        body: &[u8],
        size_bytes_max: usize,
    ) -> PyResult<Bound<'py, PyBytes>> {
        let plain = py.detach(|| super::decompress(encoding, body, size_bytes_max))?;
        Ok(PyBytes::new(py, &plain))
    }

    pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
        module.add_function(wrap_pyfunction!(decompress, module)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::Compression;
    use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};
    use proptest::prelude::*;
    use std::io::Write;

    const ENCODINGS: [&str; 6] = ["identity", "gzip", "zlib", "deflate", "snappy", "zstd"];

    fn compress(encoding: &str, plain: &[u8]) -> Vec<u8> {
        match encoding {
            "gzip" => {
                let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
                encoder.write_all(plain).unwrap();
                encoder.finish().unwrap()
            }
            "zlib" => {
                let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
                encoder.write_all(plain).unwrap();
                encoder.finish().unwrap()
            }
            "deflate" => {
                let mut encoder = DeflateEncoder::new(Vec::new(), Compression::fast());
                encoder.write_all(plain).unwrap();
                encoder.finish().unwrap()
            }
            "snappy" => snap::raw::Encoder::new().compress_vec(plain).unwrap(),
            "zstd" => ::zstd::encode_all(plain, 1).unwrap(),
            _ => plain.to_vec(),
        }
    }

    fn name(encoding: &str) -> &str {
        if encoding == "zlib" {
            "deflate"
        } else {
            encoding
        }
    }

    #[test]
    fn what_was_compressed_comes_back() {
        let plain = b"cpu,host=a usage=1 1\n".repeat(500);
        for encoding in ENCODINGS {
            let body = compress(encoding, &plain);
            assert_eq!(
                decompress(name(encoding), &body, plain.len()).unwrap(),
                plain,
                "{encoding}"
            );
        }
    }

    #[test]
    fn two_gzip_members_are_one_body() {
        let body = [compress("gzip", b"ab"), compress("gzip", b"cd")].concat();
        assert_eq!(decompress("gzip", &body, 9).unwrap(), b"abcd");
    }

    #[test]
    fn a_bomb_names_the_limit() {
        let plain = vec![0u8; 1 << 20];
        for encoding in ENCODINGS {
            let body = compress(encoding, &plain);
            let error = decompress(name(encoding), &body, (1 << 20) - 1).unwrap_err();
            assert!(matches!(error, CoreError::Exhausted(_)), "{encoding}");
            assert!(error.to_string().contains("size_bytes_max 1048575"));
        }
    }

    #[test]
    fn a_lying_snappy_header_allocates_nothing() {
        let body = [0x80, 0x80, 0x80, 0x20, 0];
        let error = decompress("snappy", &body, 1 << 30).unwrap_err();
        assert!(error.to_string().contains("more than the body can hold"));
    }

    #[test]
    fn a_cut_body_is_invalid() {
        let plain: Vec<u8> = (0..9_999u32).flat_map(u32::to_le_bytes).collect();
        for encoding in &ENCODINGS[1..] {
            let body = compress(encoding, &plain);
            let error = decompress(name(encoding), &body[..body.len() / 2], 1 << 20).unwrap_err();
            assert!(
                matches!(error, CoreError::Invalid(_)),
                "{encoding}: {error}"
            );
        }
    }

    #[test]
    fn an_unknown_encoding_is_named() {
        let error = decompress("br", b"", 1).unwrap_err();
        assert!(error.to_string().contains("\"br\""));
    }

    proptest! {
        #[test]
        fn any_bytes_give_bytes_or_an_error(bytes: Vec<u8>, at in 1usize..6) {
            if let Ok(plain) = decompress(name(ENCODINGS[at]), &bytes, 4096) {
                prop_assert!(plain.len() <= 4096);
            }
        }

        #[test]
        fn a_flipped_byte_gives_bytes_or_an_error(at in 1usize..6, position: usize, flip: u8) {
            let mut body = compress(ENCODINGS[at], &b"cpu,host=a usage=1 1\n".repeat(9));
            let position = position % body.len();
            body[position] ^= flip;
            let _ = decompress(name(ENCODINGS[at]), &body, 4096);
        }
    }
}
