//! CRC32C, the checksum of every file that Python writes itself (manifest, checkpoints).

/// Continues `seed`, the checksum of the bytes before `data`; 0 begins.
pub fn crc32c(seed: u32, data: &[u8]) -> u32 {
    crc32c::crc32c_append(seed, data)
}

#[cfg(feature = "python")]
pub(crate) mod python {
    use pyo3::prelude::*;

    #[pyfunction]
    #[pyo3(signature = (data, *, seed = 0))]
    fn crc32c(py: Python<'_>, data: &[u8], seed: u32) -> u32 {
        py.detach(|| super::crc32c(seed, data))
    }

    pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
        module.add_function(wrap_pyfunction!(self::crc32c, module)?)
    }
}

#[cfg(test)]
mod tests {
    use super::crc32c;

    #[test]
    fn the_check_value_of_the_standard_holds() {
        assert_eq!(crc32c(0, b"123456789"), 0xe306_9283);
        assert_eq!(crc32c(crc32c(0, b"1234"), b"56789"), 0xe306_9283);
    }
}
