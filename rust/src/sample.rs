//! What a sample is made of: kinds, and a run of samples on its way between two parts.

use crate::error::{CoreError, Result};
use crate::sides::Sides;

/// The kind of a value. Belongs to a page or a run, never to a series' identity.
/// The numbers are persisted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Kind {
    Float64 = 1,
    Int64 = 2,
    Uint64 = 3,
    Bool = 4,
    String = 5,
    Bytes = 6,
    /// Reserved in every format; nothing writes it yet.
    Histogram = 7,
}

impl Kind {
    pub fn from_u8(number: u8) -> Result<Self> {
        Ok(match number {
            1 => Self::Float64,
            2 => Self::Int64,
            3 => Self::Uint64,
            4 => Self::Bool,
            5 => Self::String,
            6 => Self::Bytes,
            7 => Self::Histogram,
            _ => {
                return Err(CoreError::Corrupt(format!(
                    "cannot read a sample: kind {number} is unknown"
                )));
            }
        })
    }

    /// Strings, bytes (and histograms) keep their payload in a heap beside the value column.
    pub fn uses_heap(self) -> bool {
        matches!(self, Self::String | Self::Bytes | Self::Histogram)
    }
}

/// Prometheus' staleness marker; kept bit for bit everywhere.
pub const STALE_NAN_BITS: u64 = 0x7ff0_0000_0000_0002;

/// Samples of one series and one kind, ascending in time, one per instant.
///
/// `values` holds bits: of an f64, i64 or u64; 0 or 1 for a bool; `offset << 32 | length` into
/// `heap` for strings and bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    pub kind: Kind,
    pub times_ns: Vec<i64>,
    pub values: Vec<u64>,
    pub heap: Vec<u8>,
    pub sides: Sides,
}

impl Run {
    pub fn new(kind: Kind) -> Self {
        Self {
            kind,
            times_ns: Vec::new(),
            values: Vec::new(),
            heap: Vec::new(),
            sides: Sides::default(),
        }
    }

    pub fn len(&self) -> usize {
        self.times_ns.len()
    }

    pub fn is_empty(&self) -> bool {
        self.times_ns.is_empty()
    }

    /// Payload of sample `at` where the kind uses the heap.
    pub fn payload(&self, at: usize) -> Option<&[u8]> {
        payload(&self.heap, self.values[at])
    }

    pub fn push_payload(&mut self, time_ns: i64, payload: &[u8]) {
        let bits = ((self.heap.len() as u64) << 32) | payload.len() as u64;
        self.heap.extend_from_slice(payload);
        self.times_ns.push(time_ns);
        self.values.push(bits);
    }
}

pub fn payload(heap: &[u8], bits: u64) -> Option<&[u8]> {
    let from = (bits >> 32) as usize;
    heap.get(from..from.checked_add((bits & 0xffff_ffff) as usize)?)
}
