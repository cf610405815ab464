//! Bit packing of residuals in blocks of 128, patched where few values need many bits.
//!
//! `pages_integer` is the caller. A block is (docs/formats/page.md): a byte of width (bit 7: patched),
//! the reference as a zigzag varint, the patches, then the packed low bits. A residual decodes to
//! `reference + bits`, wrapping, so every column of 64-bit integers has a block form.

use crate::error::{CoreError, Result};
use crate::varint;

pub const BLOCK_VALUES: usize = 128;

const PATCHED: u8 = 0x80;
/// Packed bytes of a whole block at 64 bits, and room for one load behind the last value.
const SCRATCH_BYTES: usize = BLOCK_VALUES * 8 + 16;

fn bit_length(value: u64) -> u32 {
    64 - value.leading_zeros()
}

fn mask(width: u32) -> u64 {
    if width == 0 {
        0
    } else {
        u64::MAX >> (64 - width)
    }
}

fn packed_bytes(count: usize, width: u32) -> usize {
    (count * width as usize).div_ceil(8)
}

/// How one block will be written.
#[derive(Debug, Clone, Copy)]
struct Plan {
    reference: i64,
    width: u32,
    patch_count: usize,
    cost_bytes: usize,
}

/// The cheapest width for the residuals against one reference; `width_max` bits hold them all.
fn plan_against(residuals: &[i64], reference: i64, width_max: u32) -> Plan {
    let count = residuals.len();
    let mut best = Plan {
        reference,
        width: width_max,
        patch_count: 0,
        cost_bytes: 2 + packed_bytes(count, width_max),
    };
    if width_max <= 2 {
        return best;
    }
    let of_length = count_lengths(residuals, reference);
    let mut patches = 0usize;
    for width in (0..width_max).rev() {
        patches += of_length[width as usize + 1] as usize;
        let patch_bytes = patches * (1 + (width_max - width).div_ceil(7) as usize);
        let cost_bytes = 3 + packed_bytes(count, width) + patch_bytes;
        if cost_bytes < best.cost_bytes {
            best = Plan {
                reference,
                width,
                patch_count: patches,
                cost_bytes,
            };
        }
        if patches > count / 4 {
            break;
        }
    }
    best
}

/// How many residuals have each length in bits. Two tables take turns: neighbours mostly have one
/// length, and a count would wait for the one before it.
fn count_lengths(residuals: &[i64], reference: i64) -> [u8; 65] {
    let (mut even, mut odd) = ([0u8; 65], [0u8; 65]);
    let length = |residual: i64| bit_length(residual.wrapping_sub(reference) as u64) as usize;
    let mut pairs = residuals.chunks_exact(2);
    for pair in &mut pairs {
        even[length(pair[0])] += 1;
        odd[length(pair[1])] += 1;
    }
    for &residual in pairs.remainder() {
        even[length(residual)] += 1;
    }
    for (count, other) in even.iter_mut().zip(odd) {
        *count += other;
    }
    even
}

/// Chooses reference and width. The reference is the smallest residual, or the second smallest
/// where one low outlier (a counter reset) would widen all the others: it wraps and is patched.
fn plan(residuals: &[i64]) -> Plan {
    let (mut low, mut second, mut high) = (i64::MAX, i64::MAX, i64::MIN);
    for &residual in residuals {
        second = second.min(residual.max(low));
        low = low.min(residual);
        high = high.max(residual);
    }
    let best = plan_against(residuals, low, bit_length(high.wrapping_sub(low) as u64));
    let gap = second.wrapping_sub(low) as u64;
    if residuals.len() > 2 && gap > high.wrapping_sub(second) as u64 {
        // The outlier wraps to the greatest of all.
        let all = low.wrapping_sub(second) as u64 | high.wrapping_sub(second) as u64;
        let width_max = bit_length(all);
        let other = plan_against(residuals, second, width_max);
        if other.cost_bytes < best.cost_bytes {
            return other;
        }
    }
    best
}

/// Bytes the block would take, nearly (the reference counts as one byte).
pub fn block_cost_bytes(residuals: &[i64]) -> usize {
    plan(residuals).cost_bytes
}

/// Appends at most [`BLOCK_VALUES`] residuals as one block.
pub fn put_block(out: &mut Vec<u8>, residuals: &[i64]) {
    debug_assert!(!residuals.is_empty() && residuals.len() <= BLOCK_VALUES);
    let plan = plan(residuals);
    let flag = if plan.patch_count > 0 { PATCHED } else { 0 };
    out.push(plan.width as u8 | flag);
    varint::put(out, varint::zigzag(plan.reference));
    if plan.patch_count > 0 {
        put_patches(out, residuals, &plan);
    }
    let low_bits = mask(plan.width);
    let mut values = [0u64; BLOCK_VALUES];
    for (value, &residual) in values.iter_mut().zip(residuals) {
        *value = residual.wrapping_sub(plan.reference) as u64 & low_bits;
    }
    pack(out, &values[..residuals.len()], plan.width);
}

fn put_patches(out: &mut Vec<u8>, residuals: &[i64], plan: &Plan) {
    out.push(plan.patch_count as u8);
    for (at, &residual) in residuals.iter().enumerate() {
        let high = residual.wrapping_sub(plan.reference) as u64 >> plan.width;
        if high != 0 {
            out.push(at as u8);
            varint::put(out, high);
        }
    }
}

/// Reads one block of `out.len()` residuals.
pub fn get_block(bytes: &[u8], at: &mut usize, out: &mut [i64]) -> Result<()> {
    debug_assert!(out.len() <= BLOCK_VALUES);
    let head = *bytes.get(*at).ok_or_else(ends)?;
    *at += 1;
    let width = u32::from(head & !PATCHED);
    if width > 64 {
        return Err(CoreError::Corrupt(format!(
            "cannot read a packed block: width {width} is above 64"
        )));
    }
    let reference = varint::unzigzag(varint::get(bytes, at)?);
    let mut patches = [(0u8, 0u64); BLOCK_VALUES];
    let mut patch_count = 0;
    if head & PATCHED != 0 {
        patch_count = get_patches(bytes, at, width, out.len(), &mut patches)?;
    }
    unpack(bytes, at, width, out)?;
    for &(position, high) in &patches[..patch_count] {
        if let Some(value) = out.get_mut(position as usize) {
            *value |= high as i64;
        }
    }
    if reference != 0 {
        for value in out.iter_mut() {
            *value = value.wrapping_add(reference);
        }
    }
    Ok(())
}

fn get_patches(
    bytes: &[u8],
    at: &mut usize,
    width: u32,
    count: usize,
    patches: &mut [(u8, u64); BLOCK_VALUES],
) -> Result<usize> {
    let patch_count = *bytes.get(*at).ok_or_else(ends)? as usize;
    *at += 1;
    if patch_count > count || width >= 64 {
        return Err(CoreError::Corrupt(format!(
            "cannot read a packed block: {patch_count} patches of width {width} for {count} values"
        )));
    }
    for patch in &mut patches[..patch_count] {
        let position = *bytes.get(*at).ok_or_else(ends)?;
        *at += 1;
        if position as usize >= count {
            return Err(CoreError::Corrupt(format!(
                "cannot read a packed block: patch at {position} of {count} values"
            )));
        }
        *patch = (position, varint::get(bytes, at)? << width);
    }
    Ok(patch_count)
}

fn ends() -> CoreError {
    CoreError::Corrupt("cannot read a packed block: bytes end inside it".into())
}

/// Appends the low `width` bits of every value, lowest bit first; the last byte is padded with 0.
/// At most [`BLOCK_VALUES`] values, each below `1 << width`.
pub fn pack(out: &mut Vec<u8>, values: &[u64], width: u32) {
    if width == 0 {
        return;
    }
    let mut words = [0u64; BLOCK_VALUES + 1];
    let (mut word, mut filled, mut at) = (0u64, 0u32, 0usize);
    for &value in values {
        word |= value << filled;
        let used = filled + width;
        if used >= 64 {
            words[at] = word;
            at += 1;
            // `filled` is 0 only where the width is 64: then nothing is left over.
            word = if filled == 0 {
                0
            } else {
                value >> (64 - filled)
            };
            filled = used - 64;
        } else {
            filled = used;
        }
    }
    words[at] = word;
    let start = out.len();
    let size = packed_bytes(values.len(), width);
    out.reserve(size + 8);
    for word in &words[..size.div_ceil(8)] {
        out.extend_from_slice(&word.to_le_bytes());
    }
    out.truncate(start + size);
}

/// Reads `out.len()` values of `width` bits, at most [`BLOCK_VALUES`].
pub fn unpack(bytes: &[u8], at: &mut usize, width: u32, out: &mut [i64]) -> Result<()> {
    if width == 0 {
        out.fill(0);
        return Ok(());
    }
    let size = packed_bytes(out.len(), width);
    let packed = at
        .checked_add(size)
        .and_then(|end| bytes.get(*at..end))
        .ok_or_else(ends)?;
    *at += size;
    let mut scratch = [0u8; SCRATCH_BYTES];
    scratch[..size].copy_from_slice(packed);
    let low_bits = mask(width);
    if width <= 56 {
        for (index, value) in out.iter_mut().enumerate() {
            let bit = index * width as usize;
            *value = (load(&scratch, bit / 8) >> (bit % 8) & low_bits) as i64;
        }
    } else {
        for (index, value) in out.iter_mut().enumerate() {
            let bit = index * width as usize;
            let shift = (bit % 8) as u32;
            let low = load(&scratch, bit / 8) >> shift;
            let high = u64::from(scratch[bit / 8 + 8])
                .checked_shl(64 - shift)
                .unwrap_or(0);
            *value = ((low | high) & low_bits) as i64;
        }
    }
    Ok(())
}

#[inline]
fn load(scratch: &[u8; SCRATCH_BYTES], byte: usize) -> u64 {
    let mut word = [0u8; 8];
    word.copy_from_slice(&scratch[byte..byte + 8]);
    u64::from_le_bytes(word)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn round_trip(residuals: &[i64]) {
        let mut bytes = Vec::new();
        put_block(&mut bytes, residuals);
        let mut out = vec![0; residuals.len()];
        let mut at = 0;
        get_block(&bytes, &mut at, &mut out).unwrap();
        assert_eq!(out, residuals);
        assert_eq!(at, bytes.len());
    }

    #[test]
    fn every_width_round_trips() {
        for width in 0..=64u32 {
            let high = mask(width) as i64;
            let residuals: Vec<i64> = (0..128)
                .map(|i| if i % 3 == 0 { high } else { 0 })
                .collect();
            round_trip(&residuals);
            round_trip(&residuals[..77]);
        }
    }

    #[test]
    fn a_counter_reset_is_patched() {
        let mut residuals = vec![5i64; 128];
        for (at, value) in residuals.iter_mut().enumerate() {
            *value += (at % 4) as i64;
        }
        residuals[40] = -1_000_000_000;
        let mut bytes = Vec::new();
        put_block(&mut bytes, &residuals);
        assert!(bytes.len() < 60, "{}", bytes.len());
        round_trip(&residuals);
    }

    proptest! {
        #[test]
        fn residuals_round_trip(
            base: i64, shift in 0u32..64,
            values in prop::collection::vec(any::<u64>(), 1..=BLOCK_VALUES),
            outliers in prop::collection::vec((0usize..128, any::<i64>()), 0..4),
        ) {
            let mut residuals: Vec<i64> =
                values.iter().map(|v| base.wrapping_add((v >> shift) as i64)).collect();
            for (at, value) in outliers {
                let count = residuals.len();
                residuals[at % count] = value;
            }
            round_trip(&residuals);
        }

        #[test]
        fn any_bytes_decode_or_fail(bytes: Vec<u8>, count in 1usize..=BLOCK_VALUES) {
            let mut out = vec![0; count];
            let _ = get_block(&bytes, &mut 0, &mut out);
        }
    }
}
