//! Columns of 64-bit integers to bytes and back: times, integer values, scaled decimals, indexes.
//!
//! `pages`, `pages_float` and `pages_heap` are the callers. Every form starts with its encoding's
//! tag; all arithmetic wraps, so that unsigned columns and raw float bits pass through unharmed.

use crate::bits::{self, BLOCK_VALUES};
use crate::error::{CoreError, Result};
use crate::pages::Effort;
use crate::pages_coded;
use crate::varint;
use pco::data_types::Number;
use pco::wrapped::{FileCompressor, FileDecompressor};
use pco::{ChunkConfig, DeltaSpec, ModeSpec, PagingSpec};

pub const LINEAR: u8 = 1;
pub const RUNS: u8 = 2;
pub const PACKED: u8 = 3;
pub const PCO: u8 = 4;
pub const SCALED: u8 = 5;
pub const CODED: u8 = 6;

const ORDER_MAX: usize = 2;
const SAMPLED_FOR_DIVISOR: usize = 16;
/// A smaller common divisor saves a bit a value at most, not worth its arithmetic.
const DIVISOR_MIN: u64 = 3;
/// Blocks looked at to choose the order of deltas.
const SAMPLED_BLOCKS_MAX: usize = 2;
/// In shorter columns two blocks planned in full cost more than all the rest.
const PLANNED_VALUES_MIN: usize = 512;
/// Values of each of two stretches that a quick choice looks at.
const GUESSED_VALUES: usize = 48;
/// Up to about this many bytes runs are written and measured, whatever the estimates say.
const RUNS_TRIED_BYTES: usize = 64;
/// Below this many bytes a column is not worth a codebook.
const PACKED_FLOOR_BYTES: usize = 48;
const PCO_LEVEL: usize = 8;
/// What pco spends beside the entropy: its header, and its bins' weights.
const PCO_HEAD_BYTES: usize = 40;

/// Appends tag and body; returns nothing, as every column has a form. `values` is not empty.
pub fn encode(values: &[i64], effort: Effort, out: &mut Vec<u8>) {
    let first = values[0];
    let step = values.get(1).map_or(0, |second| second.wrapping_sub(first));
    if values
        .windows(2)
        .all(|pair| pair[1].wrapping_sub(pair[0]) == step)
    {
        out.push(LINEAR);
        varint::put(out, varint::zigzag(first));
        varint::put(out, varint::zigzag(step));
        return;
    }
    match common_divisor(values) {
        Some(divisor) => {
            out.push(SCALED);
            varint::put(out, varint::zigzag(first));
            varint::put(out, divisor as u64);
            let quotients: Vec<i64> = values
                .iter()
                .map(|value| value.wrapping_sub(first) / divisor)
                .collect();
            encode_bent(&quotients, effort, out);
        }
        None => encode_bent(values, effort, out),
    }
}

/// The greatest number that divides all differences to the first value, where it is worth a
/// division: times in whole milliseconds, sizes in whole pages.
fn common_divisor(values: &[i64]) -> Option<i64> {
    let difference = |value: &i64| value.wrapping_sub(values[0]).unsigned_abs();
    let stride = values.len().div_ceil(SAMPLED_FOR_DIVISOR).max(1);
    let sample = values.iter().step_by(stride).map(difference);
    let sampled = sample.fold(0, |divisor, value| {
        if divisor == 1 {
            1
        } else {
            greatest_divisor(value, divisor)
        }
    });
    let mut divisor = sampled;
    for value in values.iter().map(difference) {
        if divisor < DIVISOR_MIN {
            return None;
        }
        if value % divisor != 0 {
            divisor = greatest_divisor(value, divisor);
        }
    }
    i64::try_from(divisor)
        .ok()
        .filter(|&divisor| divisor >= DIVISOR_MIN as i64)
}

fn greatest_divisor(mut a: u64, mut b: u64) -> u64 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

/// A column that is not linear and has no common divisor.
fn encode_bent(values: &[i64], effort: Effort, out: &mut Vec<u8>) {
    let (order, packed_bytes) = if effort == Effort::Fast || values.len() < PLANNED_VALUES_MIN {
        guess_order(values)
    } else {
        choose_order(values)
    };
    let (run_order, runs_bytes) = choose_runs(values);
    let start = out.len();
    if runs_bytes < packed_bytes.max(RUNS_TRIED_BYTES) {
        put_runs(out, values, run_order);
        keep_smaller(out, start, |out| {
            put_packed(out, values, order);
            Some(())
        });
    } else {
        put_packed(out, values, order);
    }
    if effort == Effort::Small && out.len() - start > PACKED_FLOOR_BYTES {
        encode_smaller(values, order, start, out);
    }
}

/// Keeps a slower form than the one that stands at `start..` where it is smaller by more than it
/// costs to read: prefix codes take 1.5 times as long as packed bits, pco three times.
fn encode_smaller(values: &[i64], order: usize, start: usize, out: &mut Vec<u8>) {
    let mut best = out.len() - start;
    let coded = pages_coded::plan(values, order);
    let entropy_bytes = coded.as_ref().map(|coded| coded.entropy_bytes);
    if let Some(coded) = coded.filter(|coded| is_worth(coded.bytes, best, CODED_GAIN)) {
        keep_smaller(out, start, |out| {
            out.push(CODED);
            pages_coded::put(out, &coded);
            Some(())
        });
        best = out.len() - start;
    }
    if entropy_bytes.is_none_or(|bytes| is_worth(bytes + PCO_HEAD_BYTES, best, PCO_GAIN)) {
        keep_smaller(out, start, |out| {
            let from = out.len();
            put_pco_integers(out, values, order)?;
            is_worth(out.len() - from, best, PCO_GAIN).then_some(())
        });
    }
}

/// One part in so many must be saved.
const CODED_GAIN: usize = 32;
const PCO_GAIN: usize = 16;

fn is_worth(bytes: usize, best: usize, gain: usize) -> bool {
    bytes + best / gain < best
}

/// Integers by pco, in the narrowest type their range allows: its tables hold whole numbers of it.
fn put_pco_integers(out: &mut Vec<u8>, values: &[i64], order: usize) -> Option<()> {
    let low = values.iter().copied().min()?;
    let high = values.iter().copied().max()?;
    let delta = if order == 0 {
        DeltaSpec::NoOp
    } else {
        DeltaSpec::TryConsecutive(order)
    };
    let above = |value: &i64| value.wrapping_sub(low) as u64;
    out.push(PCO);
    let width = match high.wrapping_sub(low) as u64 {
        0..0x1_0000 => 2u8,
        0x1_0000..0x1_0000_0000 => 4,
        _ => 8,
    };
    out.push(width);
    varint::put(out, varint::zigzag(low));
    match width {
        2 => {
            let narrow: Vec<u16> = values.iter().map(|value| above(value) as u16).collect();
            put_pco(out, &narrow, ModeSpec::Classic, delta)
        }
        4 => {
            let narrow: Vec<u32> = values.iter().map(|value| above(value) as u32).collect();
            put_pco(out, &narrow, ModeSpec::Classic, delta)
        }
        _ => {
            let wide: Vec<u64> = values.iter().map(above).collect();
            put_pco(out, &wide, ModeSpec::Classic, delta)
        }
    }
}

fn get_pco_integers(bytes: &[u8], at: &mut usize, out: &mut [i64]) -> Result<()> {
    fn widen<T: Number + Default + Into<u64>>(
        bytes: &[u8],
        low: i64,
        out: &mut [i64],
    ) -> Result<()> {
        let narrow = get_pco::<T>(bytes, out.len())?;
        for (slot, value) in out.iter_mut().zip(narrow) {
            *slot = low.wrapping_add(value.into() as i64);
        }
        Ok(())
    }
    let width = take(bytes, at)?;
    let low = varint::unzigzag(varint::get(bytes, at)?);
    let rest = &bytes[*at..];
    *at = bytes.len();
    match width {
        2 => widen::<u16>(rest, low, out),
        4 => widen::<u32>(rest, low, out),
        8 => widen::<u64>(rest, low, out),
        _ => Err(CoreError::Corrupt(format!(
            "cannot read a page: pco integers of {width} bytes are unknown"
        ))),
    }
}

/// Lets `write` append another form of what stands at `start..`, and keeps the smaller one.
pub fn keep_smaller(
    out: &mut Vec<u8>,
    start: usize,
    write: impl FnOnce(&mut Vec<u8>) -> Option<()>,
) {
    let middle = out.len();
    let written = write(out).is_some();
    if written && out.len() - middle < middle - start {
        out.drain(start..middle);
    } else {
        out.truncate(middle);
    }
}

/// Residuals of order 0, 1 or 2 at `from..to`; what lies before the column counts as the firsts.
fn residuals(values: &[i64], order: usize, from: usize, to: usize, out: &mut [i64; BLOCK_VALUES]) {
    match order {
        0 => out[..to - from].copy_from_slice(&values[from..to]),
        1 => {
            for (out, pair) in out.iter_mut().zip(values[from - 1..to].windows(2)) {
                *out = pair[1].wrapping_sub(pair[0]);
            }
        }
        _ => {
            for (out, three) in out.iter_mut().zip(values[from - 2..to].windows(3)) {
                *out = three[2]
                    .wrapping_sub(three[1])
                    .wrapping_sub(three[1].wrapping_sub(three[0]));
            }
        }
    }
}

/// The order whose residuals pack smallest on a sample, and about how many bytes it will take.
fn choose_order(values: &[i64]) -> (usize, usize) {
    let body = values.len().saturating_sub(ORDER_MAX);
    if body == 0 {
        return (0, usize::MAX);
    }
    let blocks = body.div_ceil(BLOCK_VALUES);
    let sampled = blocks.min(SAMPLED_BLOCKS_MAX);
    let mut scratch = [0i64; BLOCK_VALUES];
    let mut best = (0, usize::MAX);
    for order in 0..=ORDER_MAX {
        let (mut cost, mut seen) = (0, 0);
        for sample in 0..sampled {
            let from = ORDER_MAX + (blocks / sampled * sample) * BLOCK_VALUES;
            let to = (from + BLOCK_VALUES).min(values.len());
            residuals(values, order, from, to, &mut scratch);
            cost += bits::block_cost_bytes(&scratch[..to - from]);
            seen += to - from;
        }
        let estimate = cost * values.len() / seen + 2 + 4 * order;
        if estimate < best.1 {
            best = (order, estimate);
        }
    }
    best
}

/// As [`choose_order`], from the bits that a few stretches of residuals have, for a tenth of its
/// time: blocks are planned only once, when they are written.
fn guess_order(values: &[i64]) -> (usize, usize) {
    let body = values.len().saturating_sub(ORDER_MAX);
    if body == 0 {
        return (0, usize::MAX);
    }
    let size = body.min(GUESSED_VALUES);
    let stretches = if body > 2 * size { 2 } else { 1 };
    let (mut bits, mut seen) = ([0u64; ORDER_MAX + 1], 0);
    for stretch in 0..stretches {
        let from = ORDER_MAX + body / stretches * stretch;
        let low = values[from..from + size].iter().copied().min().unwrap_or(0);
        let (mut value, mut step) = (
            values[from - 1],
            values[from - 1].wrapping_sub(values[from - 2]),
        );
        for &next in &values[from..from + size] {
            let next_step = next.wrapping_sub(value);
            bits[0] += u64::from(bit_length(next.wrapping_sub(low) as u64));
            bits[1] += u64::from(bit_length(varint::zigzag(next_step)));
            bits[2] += u64::from(bit_length(varint::zigzag(next_step.wrapping_sub(step))));
            (value, step) = (next, next_step);
        }
        seen += size as u64;
    }
    let order = (0..=ORDER_MAX)
        .min_by_key(|&order| bits[order])
        .unwrap_or(0);
    // A block is as wide as nearly the longest of its residuals, a bit or two above their mean.
    let bits_each = bits[order] as f64 / seen as f64 + 1.5;
    let bytes = bits_each * values.len() as f64 / 8.0;
    (order, bytes as usize + 2 + 4 * order)
}

fn bit_length(value: u64) -> u32 {
    64 - value.leading_zeros()
}

/// The better of runs of equal values and runs of equal steps, and about how many bytes it takes.
fn choose_runs(values: &[i64]) -> (usize, usize) {
    let (mut changes, mut bends) = (0u64, 0u64);
    let (mut value, mut step) = (values[0], 0i64);
    // Both are counted in one walk without a branch. Before the second value no step is known.
    for &next in &values[1..] {
        let next_step = next.wrapping_sub(value);
        changes += u64::from(next_step != 0);
        bends += u64::from(next_step != step);
        (value, step) = (next, next_step);
    }
    bends -= u64::from(values.get(1).is_some_and(|&second| second != values[0]));
    if changes <= bends {
        (0, 4 + changes as usize * 4)
    } else {
        (1, 8 + bends as usize * 5)
    }
}

fn put_runs(out: &mut Vec<u8>, values: &[i64], order: usize) {
    out.push(RUNS);
    out.push(order as u8);
    let mut body = Vec::new();
    let (mut count, mut length, mut current, mut previous) = (0u64, 0u64, 0i64, 0i64);
    let mut close = |current: i64, length: u64| {
        varint::put(&mut body, varint::zigzag(current.wrapping_sub(previous)));
        varint::put(&mut body, length);
        previous = current;
        count += 1;
    };
    let mut before = 0i64;
    for &value in values {
        let residual = if order == 0 {
            value
        } else {
            value.wrapping_sub(before)
        };
        before = value;
        if length > 0 && residual == current {
            length += 1;
        } else {
            if length > 0 {
                close(current, length);
            }
            (current, length) = (residual, 1);
        }
    }
    close(current, length);
    varint::put(out, count);
    out.extend_from_slice(&body);
}

fn put_packed(out: &mut Vec<u8>, values: &[i64], order: usize) {
    out.push(PACKED);
    out.push(order as u8);
    for &first in &values[..order] {
        varint::put(out, varint::zigzag(first));
    }
    let mut scratch = [0i64; BLOCK_VALUES];
    let mut from = order;
    while from < values.len() {
        let to = (from + BLOCK_VALUES).min(values.len());
        residuals(values, order, from, to, &mut scratch);
        bits::put_block(out, &scratch[..to - from]);
        from = to;
    }
}

/// Appends a wrapped pco file of one chunk and one page; None where pco declines.
pub fn put_pco<T: Number>(
    out: &mut Vec<u8>,
    values: &[T],
    mode: ModeSpec,
    delta: DeltaSpec,
) -> Option<()> {
    let config = ChunkConfig::default()
        .with_compression_level(PCO_LEVEL)
        .with_mode_spec(mode)
        .with_delta_spec(delta)
        .with_paging_spec(PagingSpec::Exact(vec![values.len()]))
        .with_enable_8_bit(false);
    let file = FileCompressor::default();
    file.write_header(&mut *out).ok()?;
    let mut chunk = file.chunk_compressor(values, &config).ok()?;
    chunk.write_meta(&mut *out).ok()?;
    chunk.write_page(0, &mut *out).ok()?;
    Some(())
}

/// Reads a wrapped pco file of one chunk and one page that fills the rest of `bytes`.
pub fn get_pco<T: Number + Default>(bytes: &[u8], count: usize) -> Result<Vec<T>> {
    let failed = |cause: String| CoreError::Corrupt(format!("cannot read a pco page: {cause}"));
    // A page's checksum has been verified before; should bytes that pass it still break an
    // invariant inside pco, the reader of this page gets an error and nobody else notices.
    std::panic::catch_unwind(|| {
        let mut values = vec![T::default(); count];
        let (file, rest) = FileDecompressor::new(bytes)?;
        let (mut chunk, rest) = file.chunk_decompressor::<T, _>(rest)?;
        let mut page = chunk.page_decompressor(rest, count)?;
        let progress = page.read(&mut values)?;
        Ok((values, progress.n_processed))
    })
    .map_err(|_| failed("its bytes make no sense".into()))?
    .map_err(|error: pco::errors::PcoError| failed(error.to_string()))
    .and_then(|(values, read)| {
        if read == count {
            Ok(values)
        } else {
            Err(failed(format!("it holds {read} of {count} values")))
        }
    })
}

/// Reads tag and body at `*at`, filling `out`, which is not empty. What lies before `out[from]` is
/// not asked for, and may be left as it is; where `from` is 0 the end of the body is checked.
pub fn decode(bytes: &[u8], at: &mut usize, out: &mut [i64], from: usize) -> Result<()> {
    let tag = take(bytes, at)?;
    match tag {
        LINEAR => {
            let first = varint::unzigzag(varint::get(bytes, at)?);
            let step = varint::unzigzag(varint::get(bytes, at)?);
            for (index, value) in out.iter_mut().enumerate() {
                *value = first.wrapping_add(step.wrapping_mul(index as i64));
            }
            Ok(())
        }
        RUNS => get_runs(bytes, at, out),
        PACKED => get_packed(bytes, at, out),
        SCALED => {
            let first = varint::unzigzag(varint::get(bytes, at)?);
            let divisor = varint::get(bytes, at)? as i64;
            if bytes.get(*at) == Some(&SCALED) {
                return Err(CoreError::Corrupt(
                    "cannot read a page: it is scaled twice".into(),
                ));
            }
            decode(bytes, at, out, from)?;
            for value in &mut out[from..] {
                *value = first.wrapping_add(value.wrapping_mul(divisor));
            }
            Ok(())
        }
        CODED => pages_coded::get(bytes, at, out, from),
        PCO => get_pco_integers(bytes, at, out),
        _ => Err(CoreError::Corrupt(format!(
            "cannot read a page: encoding {tag} of integers is unknown"
        ))),
    }
}

pub fn take(bytes: &[u8], at: &mut usize) -> Result<u8> {
    let byte = bytes
        .get(*at)
        .copied()
        .ok_or_else(|| CoreError::Corrupt("cannot read a page: bytes end inside it".into()))?;
    *at += 1;
    Ok(byte)
}

fn get_runs(bytes: &[u8], at: &mut usize, out: &mut [i64]) -> Result<()> {
    let order = take(bytes, at)?;
    let count = varint::get(bytes, at)?;
    let (mut filled, mut residual, mut value) = (0usize, 0i64, 0i64);
    for _ in 0..count {
        residual = residual.wrapping_add(varint::unzigzag(varint::get(bytes, at)?));
        let length = varint::get(bytes, at)? as usize;
        let run = filled
            .checked_add(length)
            .and_then(|end| out.get_mut(filled..end))
            .filter(|run| !run.is_empty())
            .ok_or_else(|| CoreError::Corrupt("cannot read a page: a run is too long".into()))?;
        filled += length;
        match order {
            0 => run.fill(residual),
            1 => {
                for slot in run {
                    value = value.wrapping_add(residual);
                    *slot = value;
                }
            }
            _ => return Err(unknown_order(order)),
        }
    }
    if filled == out.len() {
        Ok(())
    } else {
        Err(CoreError::Corrupt(format!(
            "cannot read a page: its runs hold {filled} of {} values",
            out.len()
        )))
    }
}

fn unknown_order(order: u8) -> CoreError {
    CoreError::Corrupt(format!(
        "cannot read a page: delta order {order} is unknown"
    ))
}

fn get_packed(bytes: &[u8], at: &mut usize, out: &mut [i64]) -> Result<()> {
    let order = take(bytes, at)?;
    if order as usize > ORDER_MAX || order as usize > out.len() {
        return Err(unknown_order(order));
    }
    let (firsts, rest) = out.split_at_mut(order as usize);
    for first in firsts.iter_mut() {
        *first = varint::unzigzag(varint::get(bytes, at)?);
    }
    let mut value = firsts.last().copied().unwrap_or(0);
    let mut step = if firsts.len() == 2 {
        value.wrapping_sub(firsts[0])
    } else {
        0
    };
    for block in rest.chunks_mut(BLOCK_VALUES) {
        bits::get_block(bytes, at, block)?;
        match order {
            0 => {}
            1 => {
                for slot in block {
                    value = value.wrapping_add(*slot);
                    *slot = value;
                }
            }
            _ => {
                for slot in block {
                    step = step.wrapping_add(*slot);
                    value = value.wrapping_add(step);
                    *slot = value;
                }
            }
        }
    }
    Ok(())
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use proptest::prelude::*;

    pub fn columns() -> impl Strategy<Value = Vec<i64>> {
        let size = 1usize..700;
        prop_oneof![
            prop::collection::vec(any::<i64>(), size.clone()),
            (any::<i64>(), any::<i64>(), size.clone()).prop_map(|(first, step, count)| {
                (0..count)
                    .map(|i| first.wrapping_add(step.wrapping_mul(i as i64)))
                    .collect()
            }),
            (any::<i64>(), prop::collection::vec(-3i64..4, size.clone()))
                .prop_map(|(first, steps)| walk(first, &steps)),
            (
                any::<i64>(),
                prop::collection::vec(9_999_000i64..10_001_000, size.clone())
            )
                .prop_map(|(first, steps)| walk(first, &steps)),
            (
                any::<i64>(),
                any::<i64>(),
                prop::collection::vec(-9i64..9, size.clone())
            )
                .prop_map(|(first, scale, steps)| {
                    steps
                        .iter()
                        .map(|step| first.wrapping_add(step.wrapping_mul(scale)))
                        .collect()
                }),
            prop::collection::vec((any::<i64>(), 1usize..200), 1..6).prop_map(|runs| {
                runs.iter()
                    .flat_map(|&(value, count)| vec![value; count])
                    .collect()
            }),
        ]
    }

    fn walk(first: i64, steps: &[i64]) -> Vec<i64> {
        let mut value = first;
        steps
            .iter()
            .map(|step| {
                value = value.wrapping_add(*step);
                value
            })
            .collect()
    }

    fn round_trip(values: &[i64], effort: Effort) -> Vec<u8> {
        let mut bytes = Vec::new();
        encode(values, effort, &mut bytes);
        let mut out = vec![0; values.len()];
        let mut at = 0;
        decode(&bytes, &mut at, &mut out, 0).unwrap();
        assert_eq!(out, values);
        assert_eq!(at, bytes.len());
        bytes
    }

    #[test]
    fn each_shape_takes_its_encoding() {
        let regular: Vec<i64> = (0..720)
            .map(|i| 1_700_000_000_000_000_000 + i * 10)
            .collect();
        let levels: Vec<i64> = (0..720).map(|i| [3, 1_000, 7, 55_555][i / 200]).collect();
        let walk: Vec<i64> = (0..720).map(|i: i64| i * i % 97).collect();
        let sizes: Vec<i64> = walk.iter().map(|pages| 77 + pages * 4096).collect();
        for (values, tag) in [
            (&regular, LINEAR),
            (&levels, RUNS),
            (&walk, PACKED),
            (&sizes, SCALED),
        ] {
            assert_eq!(round_trip(values, Effort::Fast)[0], tag);
            round_trip(values, Effort::Small);
        }
    }

    proptest! {
        #[test]
        fn columns_round_trip(values in columns()) {
            round_trip(&values, Effort::Fast);
            round_trip(&values, Effort::Small);
        }

        #[test]
        fn any_bytes_decode_or_fail(tag in 0u8..8, bytes: Vec<u8>, count in 1usize..400) {
            let mut all = vec![tag];
            all.extend(bytes);
            let _ = decode(&all, &mut 0, &mut vec![0; count], 0);
            let _ = decode(&all, &mut 0, &mut vec![0; count], count / 2);
        }
    }
}
