//! What a wire decodes a request into: columns plus raw keys, never a list of objects.
//!
//! A key stands for one series as the wire wrote it. Samples are stored key by key: key `k` owns
//! samples `keys[k-1].sample_end .. keys[k].sample_end`. A line of ten fields is ten keys of one
//! sample each; a remote-write series with three samples is one key with three.

use crate::error::Result;
use crate::sample::Kind;

/// How the raw keys of a batch become series.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Wire {
    RemoteWrite1 = 1,
    RemoteWrite2 = 2,
    InfluxLine = 3,
    /// Columns handed over in-process (`orrery.open(...).write`).
    Columns = 4,
}

#[derive(Debug, Clone, Copy)]
pub struct Key {
    /// Hash of the raw key, keyed per process: equal raw keys of one wire have equal hashes.
    pub hash: u128,
    /// Where the raw key stands in `body` (its meaning belongs to the wire's decoder).
    pub span: (u32, u32),
    /// A second span, where the wire needs one (the field's name in a line).
    pub field: (u32, u32),
    /// 1-based line of the body, or 1-based position of the series; named in errors.
    pub line: u32,
    /// One behind the last sample of this key.
    pub sample_end: u32,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection {
    pub line: u32,
    pub reason: String,
}

/// Metadata of one metric as a wire sent it (type, help, unit: Prometheus' words).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MetadataRow {
    pub name: String,
    pub kind: String,
    pub help: String,
    pub unit: String,
}

/// Turns one raw key of a batch into canonical series bytes: called once a series, on a miss.
///
/// `defaults` are labels added where the key does not have them; `forced` replace what it has.
/// An error is the reason why this key's samples are refused.
pub type Canonicalise = fn(
    batch: &Batch,
    key: usize,
    defaults: &[(String, String)],
    forced: &[(String, String)],
) -> Result<Vec<u8>>;

#[derive(Debug)]
pub struct Batch {
    pub wire: Wire,
    pub canonicalise: Canonicalise,
    /// What spans and string values point into.
    pub body: Vec<u8>,
    pub keys: Vec<Key>,
    pub times_ns: Vec<i64>,
    /// Bits, as in `sample::Run`; strings and bytes point into `body`.
    pub values: Vec<u64>,
    pub kinds: Vec<Kind>,
    /// Spans of the symbol table (remote write 2.0 only).
    pub symbols: Vec<(u32, u32)>,
    pub metadata: Vec<MetadataRow>,
    /// Lines the decoder itself refused; the rest of the batch is good.
    pub rejected: Vec<Rejection>,
}

impl Batch {
    pub fn sample_start(&self, key: usize) -> usize {
        if key == 0 {
            0
        } else {
            self.keys[key - 1].sample_end as usize
        }
    }
}

#[cfg(feature = "python")]
pub(crate) mod python {
    use pyo3::prelude::*;

    /// A batch on its way from a decoder to the series table; opaque to Python but for its counts.
    #[pyclass(name = "Batch", frozen)]
    pub struct PyBatch(pub super::Batch);

    pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
        module.add_class::<PyBatch>()
    }
}
