//! Sections of a block file: bytes with a CRC32C for every 4 KiB, verified when first touched.
//!
//! `block_writer` puts sections, `block` and `index` read them. Looking one series up verifies the few
//! units it touches and nothing else, so that opening a block reads its footer only.

use crate::error::{CoreError, Result};
use std::sync::atomic::{AtomicU64, Ordering};

/// Bytes under one checksum.
pub const UNIT_BYTES: usize = 4096;

/// What a section holds. The numbers are persisted; those with bit 15 may be skipped by readers
/// that do not know them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u16)]
pub enum SectionKind {
    Times = 1,
    TimesOffsets = 2,
    Symbols = 3,
    SymbolEnds = 4,
    Ids = 5,
    Series = 6,
    SeriesOffsets = 7,
    Chunks = 8,
    ChunksOffsets = 9,
    Labels = 10,
    LabelValues = 11,
    Postings = 12,
    Tenants = 13,
}

/// An empty section whose presence says that every page was written small. Older readers skip it.
pub const SECTION_SETTLED: u16 = 1 << 15;

pub const SECTION_KINDS: [SectionKind; 13] = [
    SectionKind::Times,
    SectionKind::TimesOffsets,
    SectionKind::Symbols,
    SectionKind::SymbolEnds,
    SectionKind::Ids,
    SectionKind::Series,
    SectionKind::SeriesOffsets,
    SectionKind::Chunks,
    SectionKind::ChunksOffsets,
    SectionKind::Labels,
    SectionKind::LabelValues,
    SectionKind::Postings,
    SectionKind::Tenants,
];

impl SectionKind {
    pub fn name(self) -> &'static str {
        match self {
            Self::Times => "times",
            Self::TimesOffsets => "times_offsets",
            Self::Symbols => "symbols",
            Self::SymbolEnds => "symbol_ends",
            Self::Ids => "ids",
            Self::Series => "series",
            Self::SeriesOffsets => "series_offsets",
            Self::Chunks => "chunks",
            Self::ChunksOffsets => "chunks_offsets",
            Self::Labels => "labels",
            Self::LabelValues => "label_values",
            Self::Postings => "postings",
            Self::Tenants => "tenants",
        }
    }
}

/// A section as the footer lists it: payload, then one CRC32C a unit of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SectionEntry {
    pub kind: u16,
    pub offset: u64,
    /// Of the payload, without the checksums behind it.
    pub length: u64,
    /// Of the bytes of the checksums.
    pub checksum: u32,
}

pub fn unit_count(length: usize) -> usize {
    length.div_ceil(UNIT_BYTES)
}

/// The checksums that follow a payload.
pub fn unit_checksums(payload: &[u8]) -> Vec<u8> {
    payload
        .chunks(UNIT_BYTES)
        .flat_map(|unit| crc32c::crc32c(unit).to_le_bytes())
        .collect()
}

/// A mapped section: where it lies in the file, and which of its units were found good.
#[derive(Debug)]
pub struct Section {
    kind: SectionKind,
    entry: SectionEntry,
    verified: Vec<AtomicU64>,
}

impl Section {
    /// Refuses an entry that does not lie inside the file.
    pub fn new(kind: SectionKind, entry: SectionEntry, file_bytes: usize) -> Result<Self> {
        let units = entry.length.div_ceil(UNIT_BYTES as u64);
        let end = units
            .checked_mul(4)
            .and_then(|sums| sums.checked_add(entry.length))
            .and_then(|size| size.checked_add(entry.offset));
        if end.is_none_or(|end| end > file_bytes as u64) {
            return Err(CoreError::Corrupt(format!(
                "section {} at offset {} ends behind the file",
                kind.name(),
                entry.offset
            )));
        }
        let words = (units as usize).div_ceil(64);
        let verified = (0..words).map(|_| AtomicU64::new(0)).collect();
        Ok(Self {
            kind,
            entry,
            verified,
        })
    }

    pub fn len(&self) -> usize {
        self.entry.length as usize
    }

    pub fn is_empty(&self) -> bool {
        self.entry.length == 0
    }

    /// Bytes it takes in the file, checksums included.
    pub fn file_bytes(&self) -> usize {
        self.len() + 4 * unit_count(self.len())
    }

    fn fault(&self, at: usize, cause: &str) -> CoreError {
        CoreError::Corrupt(format!(
            "section {} at offset {}: {cause}",
            self.kind.name(),
            self.entry.offset as usize + at
        ))
    }

    /// `length` bytes at `from`, verified.
    pub fn slice<'a>(&self, file: &'a [u8], from: usize, length: usize) -> Result<&'a [u8]> {
        let end = from
            .checked_add(length)
            .filter(|&end| end <= self.len())
            .ok_or_else(|| self.fault(from.min(self.len()), "a reference leads behind its end"))?;
        if length > 0 {
            for unit in from / UNIT_BYTES..=(end - 1) / UNIT_BYTES {
                self.verify_unit(file, unit)?;
            }
        }
        let base = self.entry.offset as usize;
        Ok(&file[base + from..base + end])
    }

    /// All of it, verified.
    pub fn all<'a>(&self, file: &'a [u8]) -> Result<&'a [u8]> {
        self.slice(file, 0, self.len())
    }

    pub fn u32_at(&self, file: &[u8], index: usize) -> Result<u32> {
        let bytes = self.slice(file, index.saturating_mul(4), 4)?;
        let mut word = [0; 4];
        word.copy_from_slice(bytes);
        Ok(u32::from_le_bytes(word))
    }

    pub fn u64_at(&self, file: &[u8], index: usize) -> Result<u64> {
        let bytes = self.slice(file, index.saturating_mul(8), 8)?;
        let mut word = [0; 8];
        word.copy_from_slice(bytes);
        Ok(u64::from_le_bytes(word))
    }

    #[inline]
    fn verify_unit(&self, file: &[u8], unit: usize) -> Result<()> {
        let flag = 1u64 << (unit % 64);
        // Both sides only ever find the same bytes good, so no ordering is needed.
        if self.verified[unit / 64].load(Ordering::Relaxed) & flag != 0 {
            return Ok(());
        }
        self.check_unit(file, unit)?;
        self.verified[unit / 64].fetch_or(flag, Ordering::Relaxed);
        Ok(())
    }

    fn check_unit(&self, file: &[u8], unit: usize) -> Result<()> {
        let base = self.entry.offset as usize;
        let from = unit * UNIT_BYTES;
        let to = (from + UNIT_BYTES).min(self.len());
        let sums = base + self.len() + unit * 4;
        let found = crc32c::crc32c(&file[base + from..base + to]).to_le_bytes();
        if found == file[sums..sums + 4] {
            Ok(())
        } else {
            Err(self.fault(from, "the checksum does not fit"))
        }
    }

    /// Checks every unit again, and the checksums themselves against the footer.
    pub fn verify(&self, file: &[u8]) -> Result<()> {
        let sums = self.entry.offset as usize + self.len();
        let size = unit_count(self.len()) * 4;
        if crc32c::crc32c(&file[sums..sums + size]) != self.entry.checksum {
            return Err(self.fault(self.len(), "the checksum of its checksums does not fit"));
        }
        (0..unit_count(self.len())).try_for_each(|unit| self.check_unit(file, unit))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(payload: &[u8]) -> (Vec<u8>, SectionEntry) {
        let sums = unit_checksums(payload);
        let mut file = b"before".to_vec();
        file.extend_from_slice(payload);
        file.extend_from_slice(&sums);
        let entry = SectionEntry {
            kind: 1,
            offset: 6,
            length: payload.len() as u64,
            checksum: crc32c::crc32c(&sums),
        };
        (file, entry)
    }

    #[test]
    fn only_touched_units_are_verified() {
        let payload: Vec<u8> = (0..10_000u32).map(|i| i as u8).collect();
        let (mut file, entry) = written(&payload);
        file[6 + 9_000] ^= 1;
        let section = Section::new(SectionKind::Times, entry, file.len()).unwrap();
        assert_eq!(section.slice(&file, 10, 20).unwrap(), &payload[10..30]);
        let error = section.slice(&file, 4_000, 6_000).unwrap_err().to_string();
        assert_eq!(
            error,
            "section times at offset 8198: the checksum does not fit"
        );
        assert!(section.verify(&file).is_err());
    }

    #[test]
    fn a_slice_beyond_the_end_is_corrupt() {
        let (file, entry) = written(b"abc");
        let section = Section::new(SectionKind::Ids, entry, file.len()).unwrap();
        assert!(section.slice(&file, 2, 2).is_err());
        assert!(section.u64_at(&file, usize::MAX).is_err());
        assert!(Section::new(SectionKind::Ids, entry, file.len() - 1).is_err());
    }
}
