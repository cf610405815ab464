//! Columns of integers by prefix codes: what compaction writes where bit packing is too wide.
//!
//! `pages_integer` is the caller. Residuals (docs/formats/page.md, "coded") fall into bins, each a
//! code of at most 11 bits and a number of plain bits. The column stands in it from its last value
//! back to its first: a reader that wants the end of a page decodes no more than that. Codes lie
//! in four streams side by side, so that one look-up does not wait for the one before.

use crate::error::{CoreError, Result};
use crate::varint;
use std::sync::LazyLock;

const CODE_BITS_MAX: u32 = 11;
const TABLE_ENTRIES: usize = 1 << CODE_BITS_MAX;
/// Bins' places fit a byte.
const BINS_MAX: usize = 256;
/// A load of 64 bits at any bit has so many good ones.
const LOADED_BITS: u32 = 57;
const PLAIN_BITS_MAX: u32 = 56;
const STREAMS: usize = 4;
/// Codes that one load holds, whatever their length.
const CODES_PER_LOAD: usize = (LOADED_BITS / CODE_BITS_MAX) as usize;
const ROUND: usize = STREAMS * CODES_PER_LOAD;
const BATCH: usize = ROUND * 12;

/// About what one bin more costs in the codebook.
const BIN_COST_BITS: f32 = 12.0;
/// A low bound of what else stands before the codes.
const HEAD_BYTES: usize = 12;

static LOG2: LazyLock<Vec<f32>> = LazyLock::new(|| {
    let counts = 0..=crate::pages::PAGE_SAMPLES_MAX as u32;
    counts.map(|count| (count.max(1) as f32).log2()).collect()
});

fn corrupt(cause: &str) -> CoreError {
    CoreError::Corrupt(format!("cannot read a coded page: {cause}"))
}

/// Residuals from `base` to `base + 2^width - 1`, counted from the lowest of the column.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Bin {
    base: u64,
    width: u32,
    count: usize,
    length: u32,
    code: u32,
}

fn bit_length(value: u64) -> u32 {
    64 - value.leading_zeros()
}

/// Bins for the sorted values that cost the least, by halving; gives their cost in bits.
fn split(sorted: &[u64], log2_total: f32, bins: &mut Vec<Bin>) -> f32 {
    let (first, last) = (sorted[0], sorted[sorted.len() - 1]);
    let (count, width) = (sorted.len(), bit_length(first ^ last));
    let bin = Bin {
        base: first >> width.min(63) << width.min(63),
        width,
        count,
        length: 0,
        code: 0,
    };
    let plain_bits = count as f32 * width as f32;
    let whole = count as f32 * (log2_total - LOG2[count]) + plain_bits + BIN_COST_BITS;
    // Halving saves the plain bits at most, and costs a bin.
    if plain_bits <= BIN_COST_BITS {
        bins.push(bin);
        return whole;
    }
    let boundary = last >> (width - 1) << (width - 1);
    let middle = sorted.partition_point(|&value| value < boundary);
    let mark = bins.len();
    let halves =
        split(&sorted[..middle], log2_total, bins) + split(&sorted[middle..], log2_total, bins);
    if halves < whole {
        return halves;
    }
    bins.truncate(mark);
    bins.push(bin);
    whole
}

/// Lengths of the best prefix codes for the bins, none above [`CODE_BITS_MAX`].
fn set_lengths(bins: &mut [Bin]) {
    let mut order: Vec<usize> = (0..bins.len()).collect();
    order.sort_unstable_by_key(|&at| (bins[at].count, at));
    // Leaves ascend, and so do the nodes made of them: the two smallest stand at two fronts.
    let leaves = order.len();
    let mut weights: Vec<usize> = order.iter().map(|&at| bins[at].count).collect();
    let mut parents = vec![0usize; 2 * leaves - 1];
    let (mut leaf, mut node) = (0, leaves);
    while weights.len() < 2 * leaves - 1 {
        let mut weight = 0;
        for _ in 0..2 {
            let takes_leaf =
                leaf < leaves && (node >= weights.len() || weights[leaf] <= weights[node]);
            let front = if takes_leaf { &mut leaf } else { &mut node };
            weight += weights[*front];
            parents[*front] = weights.len();
            *front += 1;
        }
        weights.push(weight);
    }
    let mut depths = vec![0u32; 2 * leaves - 1];
    for at in (0..2 * leaves - 2).rev() {
        depths[at] = depths[parents[at]] + 1;
    }
    let mut of_length = [0usize; CODE_BITS_MAX as usize + 1];
    for &depth in &depths[..leaves] {
        of_length[depth.min(CODE_BITS_MAX) as usize] += 1;
    }
    limit_lengths(&mut of_length);
    let mut rarest_first = order.into_iter();
    for length in (1..=CODE_BITS_MAX).rev() {
        for at in rarest_first.by_ref().take(of_length[length as usize]) {
            bins[at].length = length;
        }
    }
}

/// Makes the numbers of codes of each length fit into one table again.
fn limit_lengths(of_length: &mut [usize; CODE_BITS_MAX as usize + 1]) {
    let longest = CODE_BITS_MAX as usize;
    let mut used: usize = (1..=longest)
        .map(|length| of_length[length] << (longest - length))
        .sum();
    while used > TABLE_ENTRIES {
        // One of the longest becomes the sibling of a shorter one, which grows by a bit.
        of_length[longest] -= 1;
        if let Some(shorter) = (1..longest).rev().find(|&length| of_length[length] > 0) {
            of_length[shorter] -= 1;
            of_length[shorter + 1] += 2;
        }
        used -= 1;
    }
}

/// Codes rise with length, then with the bin's place, and fill the table without a gap.
fn set_codes(bins: &mut [Bin]) {
    let mut next = 0;
    for length in 1..=CODE_BITS_MAX {
        for bin in bins.iter_mut().filter(|bin| bin.length == length) {
            bin.code = next >> (CODE_BITS_MAX - length);
            next += 1 << (CODE_BITS_MAX - length);
        }
    }
}

/// Bits to bytes, highest first; at most 57 at a time.
#[derive(Default)]
struct BitWriter {
    bytes: Vec<u8>,
    word: u64,
    filled: u32,
}

impl BitWriter {
    #[inline]
    fn put(&mut self, value: u64, width: u32) {
        debug_assert!(width <= LOADED_BITS && (width == 64 || value >> width == 0));
        self.word = self.word << width | value;
        self.filled += width;
        // All eight bytes at once, and off again what is not whole: cheaper than byte by byte.
        let aligned = self.word.checked_shl(64 - self.filled).unwrap_or(0);
        let end = self.bytes.len() + self.filled as usize / 8;
        self.bytes.extend_from_slice(&aligned.to_be_bytes());
        self.bytes.truncate(end);
        self.filled %= 8;
    }

    /// The bytes, the last one padded with zeros.
    fn end(&mut self) -> &[u8] {
        if self.filled > 0 {
            self.put(0, 8 - self.filled);
        }
        &self.bytes
    }
}

/// 64 bits from bit `at` on, the first at the top, of which 57 are good; zeros behind the end.
#[inline]
fn load(bytes: &[u8], at: usize) -> u64 {
    let from = at / 8;
    let word = match bytes.get(from..).and_then(<[u8]>::first_chunk::<8>) {
        Some(chunk) => u64::from_be_bytes(*chunk),
        None => load_end(bytes, from),
    };
    word << (at % 8)
}

#[cold]
fn load_end(bytes: &[u8], from: usize) -> u64 {
    let rest = bytes.get(from..).unwrap_or_default();
    let mut chunk = [0; 8];
    chunk[..rest.len()].copy_from_slice(rest);
    u64::from_be_bytes(chunk)
}

/// Reads `width` bits, 57 at most, behind those read before.
#[inline]
fn take_bits(bytes: &[u8], at: &mut usize, width: u32) -> u64 {
    let word = load(bytes, *at);
    *at += width as usize;
    // In two steps, so that no width shifts by all 64.
    word >> 1 >> (63 - width)
}

/// What a column's residuals are to its values; the last value stands first.
fn residuals_from_the_end(values: &[i64], order: usize) -> Vec<i64> {
    let back = values.iter().rev();
    match order {
        0 => back.copied().collect(),
        1 => values
            .windows(2)
            .rev()
            .map(|pair| pair[1].wrapping_sub(pair[0]))
            .collect(),
        _ => values
            .windows(3)
            .rev()
            .map(|three| {
                let (step, before) = (
                    three[2].wrapping_sub(three[1]),
                    three[1].wrapping_sub(three[0]),
                );
                step.wrapping_sub(before)
            })
            .collect(),
    }
}

/// A column ready to be written, and what it weighs.
pub struct Coded {
    order: usize,
    firsts: Vec<i64>,
    low: i64,
    residuals: Vec<u64>,
    bins: Vec<Bin>,
    /// Without the codebook, to the byte or nearly.
    pub bytes: usize,
    /// What no code of this column could fall below, the codebook again left out.
    pub entropy_bytes: usize,
}

/// Bins and codes for the column, where it has a coded form.
pub fn plan(values: &[i64], order: usize) -> Option<Coded> {
    let residuals = residuals_from_the_end(values, order);
    let low = residuals.iter().copied().min()?;
    let residuals: Vec<u64> = residuals
        .iter()
        .map(|residual| residual.wrapping_sub(low) as u64)
        .collect();
    let mut sorted = residuals.clone();
    sorted.sort_unstable();
    let mut bins = Vec::new();
    let cost_bits = split(&sorted, LOG2[sorted.len()], &mut bins);
    let is_wide = bins.iter().any(|bin| bin.width > PLAIN_BITS_MAX);
    if bins.len() < 2 || bins.len() > BINS_MAX || is_wide {
        return None;
    }
    set_lengths(&mut bins);
    set_codes(&mut bins);
    let last = values.len() - 1;
    let firsts = match order {
        0 => vec![],
        1 => vec![values[last]],
        _ => vec![values[last], values[last].wrapping_sub(values[last - 1])],
    };
    let bits: usize = bins
        .iter()
        .map(|bin| bin.count * (bin.length + bin.width) as usize)
        .sum();
    let codebook_bits = bins.len() as f32 * BIN_COST_BITS;
    Some(Coded {
        order,
        firsts,
        low,
        residuals,
        bytes: bits / 8 + (codebook_bits / 8.0) as usize + HEAD_BYTES,
        entropy_bytes: ((cost_bits - codebook_bits) / 8.0) as usize,
        bins,
    })
}

/// Appends the body of the column.
pub fn put(out: &mut Vec<u8>, coded: &Coded) {
    out.push(coded.order as u8);
    for &first in &coded.firsts {
        varint::put(out, varint::zigzag(first));
    }
    varint::put(out, varint::zigzag(coded.low));
    put_codebook(out, &coded.bins);
    let mut streams: [BitWriter; STREAMS] = Default::default();
    let mut plain = BitWriter::default();
    for round in coded.residuals.chunks(STREAMS) {
        for (stream, &residual) in streams.iter_mut().zip(round) {
            let at = coded.bins.partition_point(|bin| bin.base <= residual) - 1;
            let bin = &coded.bins[at];
            stream.put(u64::from(bin.code), bin.length);
            plain.put(residual - bin.base, bin.width);
        }
    }
    for stream in &mut streams {
        varint::put(out, stream.end().len() as u64);
    }
    for stream in &streams {
        out.extend_from_slice(&stream.bytes);
    }
    out.extend_from_slice(plain.end());
}

const LENGTH_BITS: u32 = 4;
/// Of a width, or of the number of bits of a gap less 1.
const WIDTH_BITS: u32 = 6;

fn put_codebook(out: &mut Vec<u8>, bins: &[Bin]) {
    varint::put(out, bins.len() as u64);
    let mut book = BitWriter::default();
    let (mut end, mut width) = (0u64, 0);
    for bin in bins {
        book.put(u64::from(bin.length), LENGTH_BITS);
        if bin.width == width {
            book.put(0, 1);
        } else {
            book.put(1 << WIDTH_BITS | u64::from(bin.width), 1 + WIDTH_BITS);
        }
        if bin.base == end {
            book.put(0, 1);
        } else {
            let gap = bin.base.wrapping_sub(end);
            let size = bit_length(gap);
            book.put(1 << WIDTH_BITS | u64::from(size - 1), 1 + WIDTH_BITS);
            book.put(gap >> 32, size.saturating_sub(32));
            book.put(gap & 0xffff_ffff, size.min(32));
        }
        width = bin.width;
        end = bin.base.wrapping_add(1 << width);
    }
    out.extend_from_slice(book.end());
}

/// What decoding looks up.
struct Codebook {
    /// By the next bits: bin and length of its code.
    table: [(u8, u8); TABLE_ENTRIES],
    bases: [i64; BINS_MAX],
    widths: [u8; BINS_MAX],
    has_plain_bits: bool,
}

fn get_codebook(bytes: &[u8], at: &mut usize, low: i64) -> Result<Codebook> {
    let count = varint::get(bytes, at)? as usize;
    if !(2..=BINS_MAX).contains(&count) {
        return Err(corrupt("the number of its bins cannot be"));
    }
    let mut book = Codebook {
        table: [(0, 0); TABLE_ENTRIES],
        bases: [0; BINS_MAX],
        widths: [0; BINS_MAX],
        has_plain_bits: false,
    };
    let mut lengths = [0u8; BINS_MAX];
    let (mut bit, mut end, mut width) = (*at * 8, 0u64, 0);
    for (bin, length) in lengths[..count].iter_mut().enumerate() {
        *length = take_bits(bytes, &mut bit, LENGTH_BITS) as u8;
        if take_bits(bytes, &mut bit, 1) == 1 {
            width = take_bits(bytes, &mut bit, WIDTH_BITS) as u32;
        }
        if width > PLAIN_BITS_MAX {
            return Err(corrupt("a bin is too wide"));
        }
        let mut base = end;
        if take_bits(bytes, &mut bit, 1) == 1 {
            let size = take_bits(bytes, &mut bit, WIDTH_BITS) as u32 + 1;
            let high = take_bits(bytes, &mut bit, size.saturating_sub(32));
            base = base.wrapping_add(high << 32 | take_bits(bytes, &mut bit, size.min(32)));
        }
        book.bases[bin] = low.wrapping_add(base as i64);
        book.widths[bin] = width as u8;
        book.has_plain_bits |= width > 0;
        end = base.wrapping_add(1 << width);
    }
    *at = bit.div_ceil(8);
    if *at > bytes.len() {
        return Err(corrupt("bytes end inside its codebook"));
    }
    fill_table(&mut book.table, &lengths[..count])?;
    Ok(book)
}

fn fill_table(table: &mut [(u8, u8); TABLE_ENTRIES], lengths: &[u8]) -> Result<()> {
    let mut next = 0;
    for length in 1..=CODE_BITS_MAX {
        let span = 1 << (CODE_BITS_MAX - length);
        for (bin, _) in lengths
            .iter()
            .enumerate()
            .filter(|(_, own)| u32::from(**own) == length)
        {
            let entries = table.get_mut(next..next + span);
            let entries = entries.ok_or_else(|| corrupt("its codes are too many"))?;
            entries.fill((bin as u8, length as u8));
            next += span;
        }
    }
    if next == TABLE_ENTRIES
        && lengths
            .iter()
            .all(|&length| u32::from(length) <= CODE_BITS_MAX)
    {
        Ok(())
    } else {
        Err(corrupt("its codes do not fill their table"))
    }
}

/// Four streams of codes, read side by side.
struct Codes<'a> {
    bytes: &'a [u8],
    /// The next bit of each.
    bits: [usize; STREAMS],
}

impl Codes<'_> {
    /// The bins of the next values.
    fn take(&mut self, table: &[(u8, u8); TABLE_ENTRIES], out: &mut [u8]) {
        let mut rounds = out.chunks_exact_mut(ROUND);
        for round in &mut rounds {
            let mut words = self.bits.map(|bit| load(self.bytes, bit));
            let mut used = [0u32; STREAMS];
            for row in round.chunks_exact_mut(STREAMS) {
                for ((slot, word), used) in row.iter_mut().zip(&mut words).zip(&mut used) {
                    let (bin, length) = table[(*word >> (64 - CODE_BITS_MAX)) as usize];
                    *word <<= length;
                    *used += u32::from(length);
                    *slot = bin;
                }
            }
            for (bit, used) in self.bits.iter_mut().zip(used) {
                *bit += used as usize;
            }
        }
        for (at, slot) in rounds.into_remainder().iter_mut().enumerate() {
            let bit = &mut self.bits[at % STREAMS];
            let (bin, length) = table[(load(self.bytes, *bit) >> (64 - CODE_BITS_MAX)) as usize];
            *bit += length as usize;
            *slot = bin;
        }
    }
}

/// Reads a body at `*at` into `out[from..]`; what lies before is left as it is. Where `from` is 0
/// the end of the body is checked, else it is not looked for.
pub fn get(bytes: &[u8], at: &mut usize, out: &mut [i64], from: usize) -> Result<()> {
    let order = *bytes.get(*at).ok_or_else(|| corrupt("it ends too early"))? as usize;
    *at += 1;
    if order > 2 || order >= out.len() {
        return Err(corrupt("its delta order is unknown"));
    }
    let mut firsts = [0i64; 2];
    for first in &mut firsts[..order] {
        *first = varint::unzigzag(varint::get(bytes, at)?);
    }
    let low = varint::unzigzag(varint::get(bytes, at)?);
    let book = get_codebook(bytes, at, low)?;
    let mut sizes = [0usize; STREAMS];
    for size in &mut sizes {
        *size = varint::get(bytes, at)? as usize;
    }
    let mut bits = [0; STREAMS];
    let mut end = *at;
    for (bit, size) in bits.iter_mut().zip(sizes) {
        *bit = end * 8;
        end = end
            .checked_add(size)
            .filter(|&end| end <= bytes.len())
            .ok_or_else(|| corrupt("bytes end inside its codes"))?;
    }
    let starts = bits;
    let mut codes = Codes { bytes, bits };
    let mut plain = Plain::new(&bytes[end..], book.has_plain_bits);
    let firsts = (order, firsts);
    unwind(&book, &mut codes, &mut plain, firsts, &mut out[from..]);
    if from > 0 {
        *at = bytes.len();
        return Ok(());
    }
    let ends = starts
        .iter()
        .zip(sizes)
        .map(|(start, size)| start / 8 + size);
    if codes
        .bits
        .iter()
        .zip(ends)
        .any(|(bit, end)| bit.div_ceil(8) != end)
    {
        return Err(corrupt("its codes do not end where they should"));
    }
    *at = end + plain.bit.div_ceil(8);
    if *at > bytes.len() {
        return Err(corrupt("it ends too early"));
    }
    Ok(())
}

/// Plain bits, with room behind them for one load: a column may have so few that each of its
/// values would find the end of the page.
struct Plain {
    bytes: Vec<u8>,
    /// The next one.
    bit: usize,
}

impl Plain {
    fn new(rest: &[u8], is_used: bool) -> Self {
        let mut bytes = Vec::new();
        if is_used {
            bytes.reserve_exact(rest.len() + 8);
            bytes.extend_from_slice(rest);
            bytes.resize(rest.len() + 8, 0);
        }
        Self { bytes, bit: 0 }
    }
}

/// Fills `out` from its end.
fn unwind(
    book: &Codebook,
    codes: &mut Codes<'_>,
    plain: &mut Plain,
    (order, [mut value, mut step]): (usize, [i64; 2]),
    out: &mut [i64],
) {
    let mut left = out.len();
    for first in 0..order.min(left) {
        if first == 1 {
            value = value.wrapping_sub(step);
        }
        left -= 1;
        out[left] = value;
    }
    let mut places = [0u8; BATCH];
    while left > 0 {
        let batch = &mut out[left.saturating_sub(BATCH)..left];
        left -= batch.len();
        let places = &mut places[..batch.len()];
        codes.take(&book.table, places);
        let slots = batch.iter_mut().rev().zip(places.iter());
        if book.has_plain_bits {
            for (slot, &place) in slots {
                let width = book.widths[place as usize].into();
                let bits = take_bits(&plain.bytes, &mut plain.bit, width);
                *slot = book.bases[place as usize].wrapping_add(bits as i64);
            }
        } else {
            for (slot, &place) in slots {
                *slot = book.bases[place as usize];
            }
        }
        match order {
            0 => {}
            1 => {
                for slot in batch.iter_mut().rev() {
                    value = value.wrapping_sub(*slot);
                    *slot = value;
                }
            }
            _ => {
                for slot in batch.iter_mut().rev() {
                    step = step.wrapping_sub(*slot);
                    value = value.wrapping_sub(step);
                    *slot = value;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pages_integer::tests::columns;
    use proptest::prelude::*;

    fn round_trip(values: &[i64], order: usize) -> Option<Vec<u8>> {
        let mut bytes = Vec::new();
        put(&mut bytes, &plan(values, order)?);
        let mut out = vec![0; values.len()];
        let mut at = 0;
        get(&bytes, &mut at, &mut out, 0).unwrap();
        assert_eq!((out.as_slice(), at), (values, bytes.len()));
        for from in [1, values.len() / 2, values.len() - 1] {
            let mut out = vec![-1; values.len()];
            get(&bytes, &mut 0, &mut out, from).unwrap();
            assert_eq!(out[from..], values[from..]);
            assert!(out[..from].iter().all(|&value| value == -1));
        }
        Some(bytes)
    }

    #[test]
    fn small_steps_take_little_more_than_their_entropy() {
        let mut value = 0i64;
        let values: Vec<i64> = (0..2048u64)
            .map(|at| {
                // Binomial: 1.25 bits of entropy or so.
                let bits = at.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 62;
                value += i64::from(bits.count_ones()) - 1;
                value
            })
            .collect();
        let bytes = round_trip(&values, 1).unwrap();
        assert!(bytes.len() < 2048 * 3 / 16 + 40, "{}", bytes.len());
    }

    #[test]
    fn a_skewed_column_has_codes_of_bounded_length() {
        let mut values = vec![0i64; 8000];
        for bin in 0..14u32 {
            let count = 1usize << bin.min(12);
            let from = count.min(values.len() - count);
            values[from..from + count].fill(i64::from(bin) * 1_000_003);
        }
        round_trip(&values, 0).unwrap();
    }

    #[test]
    fn one_value_has_no_codes() {
        assert!(plan(&[7; 100], 1).is_none());
    }

    proptest! {
        #[test]
        fn columns_round_trip(values in columns(), order in 0usize..3) {
            if values.len() > order {
                round_trip(&values, order);
            }
        }

        #[test]
        fn any_bytes_decode_or_fail(bytes: Vec<u8>, count in 1usize..400, from in 0usize..400) {
            let _ = get(&bytes, &mut 0, &mut vec![0; count], from.min(count));
        }

        #[test]
        fn damaged_columns_decode_or_fail(
            values in columns(), places in prop::collection::vec((any::<usize>(), any::<u8>()), 1..6)
        ) {
            if let Some(coded) = plan(&values, usize::from(values.len() > 1)) {
                let mut bytes = Vec::new();
                put(&mut bytes, &coded);
                for (at, byte) in places {
                    let count = bytes.len();
                    bytes[at % count] = byte;
                }
                let _ = get(&bytes, &mut 0, &mut vec![0; values.len()], 0);
            }
        }
    }
}
