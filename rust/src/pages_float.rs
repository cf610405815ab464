//! Columns of float64 bits: scaled decimals, XOR blocks, pco; whatever is smallest, bit for bit.
//!
//! `pages` is the caller. Most metrics are decimals of few digits: `n / 10^k` with a whole `n` is
//! stored as a column of `n`, and what is not such a number (NaN payloads, -0.0) as exceptions.

use crate::bits::{self, BLOCK_VALUES};
use crate::error::{CoreError, Result};
use crate::pages::Effort;
use crate::pages_integer::{self, take};
use crate::varint;
use pco::{DeltaSpec, ModeSpec};

pub const DECIMAL: u8 = 16;
pub const XOR: u8 = 17;
pub const PCO_FLOAT: u8 = 18;

/// Powers of ten up to 10^22 are exact doubles, so `n / 10^k` rounds once: as the decimal reads.
const POWERS: [f64; 16] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15,
];
/// 1.5 * 2^52: adding it leaves a double's nearest whole number in its low bits, without a call.
const ROUNDING: f64 = 6_755_399_441_055_744.0;
/// Whole numbers beyond this do not survive the addition of `ROUNDING`.
const WHOLE_MAX: f64 = 2_251_799_813_685_248.0;
const SAMPLED_VALUES: usize = 32;
/// More exceptions than one in this many values, and the column is no column of decimals.
const VALUES_PER_EXCEPTION: usize = 8;

/// The whole number `n` with `n / scale` equal to the value bit for bit.
#[inline]
fn whole(bits: u64, scale: f64) -> Option<i64> {
    let scaled = f64::from_bits(bits) * scale;
    let number = rounded(scaled);
    let fits = scaled.abs() < WHOLE_MAX;
    (fits && divided(number, scale).to_bits() == bits).then_some(number)
}

#[inline]
fn rounded(scaled: f64) -> i64 {
    ((scaled + ROUNDING).to_bits() as i64).wrapping_sub(ROUNDING.to_bits() as i64)
}

#[inline]
fn divided(number: i64, scale: f64) -> f64 {
    (f64::from_bits(number.wrapping_add(ROUNDING.to_bits() as i64) as u64) - ROUNDING) / scale
}

/// The smallest exponent from `exponent` on at which the value is a whole number.
fn exponent_of(bits: u64, exponent: usize) -> Option<usize> {
    (exponent..POWERS.len()).find(|&k| whole(bits, POWERS[k]).is_some())
}

/// The exponent that makes nearly all of a sample of the column whole.
fn sampled_exponent(values: &[u64]) -> Option<usize> {
    let stride = values.len().div_ceil(SAMPLED_VALUES).max(1);
    let (mut exponent, mut seen, mut failed) = (0, 0, 0);
    for &bits in values.iter().step_by(stride) {
        seen += 1;
        match exponent_of(bits, exponent) {
            Some(found) => exponent = found,
            None => failed += 1,
        }
    }
    (failed * VALUES_PER_EXCEPTION <= seen).then_some(exponent)
}

struct Decimals {
    exponent: usize,
    numbers: Vec<i64>,
    exceptions: Vec<(usize, u64)>,
}

/// Fills `numbers` in one walk without a branch; says whether every value is a whole number.
fn all_whole(values: &[u64], exponent: usize, numbers: &mut [i64]) -> bool {
    let scale = POWERS[exponent];
    let mut wrong = 0u64;
    for (number, &bits) in numbers.iter_mut().zip(values) {
        let scaled = f64::from_bits(bits) * scale;
        *number = rounded(scaled);
        let fits = scaled.abs() < WHOLE_MAX;
        wrong |= divided(*number, scale).to_bits() ^ bits | u64::from(!fits);
    }
    wrong == 0
}

/// The column as decimals, where nearly all of it is.
fn decimals(values: &[u64]) -> Option<Decimals> {
    let mut exponent = sampled_exponent(values)?;
    let mut numbers = vec![0; values.len()];
    if all_whole(values, exponent, &mut numbers) {
        return Some(Decimals {
            exponent,
            numbers,
            exceptions: Vec::new(),
        });
    }
    'exponents: loop {
        numbers.clear();
        let mut exceptions = Vec::new();
        let scale = POWERS[exponent];
        let mut previous = 0;
        for (at, &bits) in values.iter().enumerate() {
            if let Some(number) = whole(bits, scale) {
                previous = number;
            } else if let Some(found) = exponent_of(bits, exponent) {
                exponent = found;
                continue 'exponents;
            } else {
                exceptions.push((at, bits));
                if exceptions.len() * VALUES_PER_EXCEPTION > values.len() {
                    return None;
                }
            }
            numbers.push(previous);
        }
        return Some(Decimals {
            exponent,
            numbers,
            exceptions,
        });
    }
}

/// Appends tag and body of the column; `values` holds at least one double's bits.
pub fn encode(values: &[u64], effort: Effort, out: &mut Vec<u8>) {
    let start = out.len();
    let first = values[0];
    if values.iter().all(|&bits| bits == first) {
        // LINEAR of one value has step 0, and so stands for any count of it.
        pages_integer::encode(&[first as i64], effort, out);
        return;
    }
    if let Some(decimals) = decimals(values) {
        put_decimals(out, &decimals, effort);
        // Whole numbers and prices compress; more than six bytes a value means they did not.
        if out.len() - start < values.len() * 6 || values.len() < 16 {
            return;
        }
        pages_integer::keep_smaller(out, start, |out| {
            put_xor(out, values);
            Some(())
        });
    } else {
        put_xor(out, values);
    }
    if effort == Effort::Small {
        pages_integer::keep_smaller(out, start, |out| {
            out.push(PCO_FLOAT);
            let floats: Vec<f64> = values.iter().map(|&bits| f64::from_bits(bits)).collect();
            pages_integer::put_pco(out, &floats, ModeSpec::Auto, DeltaSpec::Auto)
        });
    }
}

fn put_decimals(out: &mut Vec<u8>, decimals: &Decimals, effort: Effort) {
    out.push(DECIMAL);
    out.push(decimals.exponent as u8);
    varint::put(out, decimals.exceptions.len() as u64);
    let (mut before, mut bits_before) = (0, 0);
    for &(at, bits) in &decimals.exceptions {
        varint::put(out, (at - before) as u64);
        // Neighbouring exceptions are mostly the same NaN: the swap makes a repeat one byte.
        varint::put(out, (bits ^ bits_before).swap_bytes());
        (before, bits_before) = (at, bits);
    }
    pages_integer::encode(&decimals.numbers, effort, out);
}

/// Blocks of XORs with the value before: a byte of width, a byte of trailing zeros, packed bits.
fn put_xor(out: &mut Vec<u8>, values: &[u64]) {
    out.push(XOR);
    let mut before = 0u64;
    let mut changes = [0u64; BLOCK_VALUES];
    for block in values.chunks(BLOCK_VALUES) {
        let mut all = 0u64;
        for (change, &bits) in changes.iter_mut().zip(block) {
            *change = bits ^ before;
            before = bits;
            all |= *change;
        }
        let trailing = if all == 0 { 0 } else { all.trailing_zeros() };
        let width = 64 - (all >> trailing).leading_zeros();
        for change in &mut changes[..block.len()] {
            *change >>= trailing;
        }
        out.extend_from_slice(&[width as u8, trailing as u8]);
        bits::pack(out, &changes[..block.len()], width);
    }
}

/// Reads tag and body at `*at` into `out`, which is not empty; `from` as in `pages_integer`.
pub fn decode(bytes: &[u8], at: &mut usize, out: &mut [i64], from: usize) -> Result<()> {
    match bytes.get(*at).copied() {
        Some(DECIMAL) => {
            *at += 1;
            get_decimals(bytes, at, out, from)
        }
        Some(XOR) => {
            *at += 1;
            get_xor(bytes, at, out)
        }
        Some(PCO_FLOAT) => {
            let floats = pages_integer::get_pco::<f64>(&bytes[*at + 1..], out.len())?;
            *at = bytes.len();
            for (slot, float) in out.iter_mut().zip(floats) {
                *slot = float.to_bits() as i64;
            }
            Ok(())
        }
        _ => pages_integer::decode(bytes, at, out, from),
    }
}

fn get_decimals(bytes: &[u8], at: &mut usize, out: &mut [i64], from: usize) -> Result<()> {
    let exponent = take(bytes, at)?;
    let scale = *POWERS.get(exponent as usize).ok_or_else(|| {
        CoreError::Corrupt(format!(
            "cannot read a page: decimal exponent {exponent} is too great"
        ))
    })?;
    let count = varint::get(bytes, at)? as usize;
    if count > out.len() {
        return Err(CoreError::Corrupt(format!(
            "cannot read a page: {count} exceptions for {} values",
            out.len()
        )));
    }
    let mut exceptions = Vec::with_capacity(count);
    let (mut position, mut bits) = (0usize, 0u64);
    for _ in 0..count {
        position = position.saturating_add(varint::get(bytes, at)? as usize);
        bits ^= varint::get(bytes, at)?.swap_bytes();
        exceptions.push((position, bits));
    }
    pages_integer::decode(bytes, at, out, from)?;
    if exponent == 0 {
        // Whole numbers: what a division by one would leave as it is.
        for slot in &mut out[from..] {
            let biased = slot.wrapping_add(ROUNDING.to_bits() as i64);
            *slot = (f64::from_bits(biased as u64) - ROUNDING).to_bits() as i64;
        }
    } else {
        for slot in &mut out[from..] {
            *slot = divided(*slot, scale).to_bits() as i64;
        }
    }
    for (position, bits) in exceptions {
        let slot = out.get_mut(position).ok_or_else(|| {
            CoreError::Corrupt("cannot read a page: an exception lies behind its end".into())
        })?;
        *slot = bits as i64;
    }
    Ok(())
}

fn get_xor(bytes: &[u8], at: &mut usize, out: &mut [i64]) -> Result<()> {
    let mut before = 0i64;
    for block in out.chunks_mut(BLOCK_VALUES) {
        let width = u32::from(take(bytes, at)?);
        let trailing = u32::from(take(bytes, at)?);
        if width > 64 || trailing > 63 || width + trailing > 64 {
            return Err(CoreError::Corrupt(format!(
                "cannot read a page: {width} XOR bits above {trailing} zeros"
            )));
        }
        bits::unpack(bytes, at, width, block)?;
        for slot in block {
            before ^= *slot << trailing;
            *slot = before;
        }
    }
    Ok(())
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use crate::sample::STALE_NAN_BITS;
    use proptest::prelude::*;

    pub fn columns() -> impl Strategy<Value = Vec<u64>> {
        let size = 1usize..600;
        let odd = prop_oneof![
            Just(STALE_NAN_BITS),
            Just((-0.0f64).to_bits()),
            Just(f64::NAN.to_bits()),
            Just(f64::INFINITY.to_bits()),
            Just(f64::NEG_INFINITY.to_bits()),
            Just(f64::MAX.to_bits()),
            Just(f64::MIN_POSITIVE.to_bits()),
            Just(1u64),
            Just(0xfff8_dead_beef_0001u64),
            any::<u64>(),
        ];
        let base = prop_oneof![
            prop::collection::vec(any::<u64>(), size.clone()),
            prop::collection::vec(any::<f64>(), size.clone()).prop_map(as_bits),
            prop::collection::vec(0f64..1.0, size.clone()).prop_map(as_bits),
            (
                any::<i32>(),
                0i32..12,
                prop::collection::vec(-300i64..300, size.clone())
            )
                .prop_map(|(base, exponent, steps)| as_bits(
                    steps
                        .iter()
                        .map(|step| (i64::from(base) + step) as f64 / 10f64.powi(exponent))
                        .collect()
                )),
            (any::<f64>(), size).prop_map(|(value, count)| vec![value.to_bits(); count]),
        ];
        (base, prop::collection::vec((any::<usize>(), odd), 0..12)).prop_map(|(mut values, odd)| {
            for (at, bits) in odd {
                let count = values.len();
                values[at % count] = bits;
            }
            values
        })
    }

    fn as_bits(values: Vec<f64>) -> Vec<u64> {
        values.into_iter().map(f64::to_bits).collect()
    }

    fn round_trip(values: &[u64], effort: Effort) -> Vec<u8> {
        let mut bytes = Vec::new();
        encode(values, effort, &mut bytes);
        let mut out = vec![0i64; values.len()];
        let mut at = 0;
        decode(&bytes, &mut at, &mut out, 0).unwrap();
        let out: Vec<u64> = out.into_iter().map(|bits| bits as u64).collect();
        assert_eq!(out, values);
        assert_eq!(at, bytes.len());
        bytes
    }

    #[test]
    fn each_shape_takes_its_encoding() {
        let decimal: Vec<u64> = (0..500)
            .map(|i| (f64::from(i % 83) / 100.0).to_bits())
            .collect();
        let mut stale = decimal.clone();
        stale[77] = STALE_NAN_BITS;
        let noise: Vec<u64> = (1..500)
            .map(|i| f64::from(i).sqrt().sin().to_bits())
            .collect();
        let constant = vec![STALE_NAN_BITS; 300];
        for (values, tag) in [
            (&decimal, DECIMAL),
            (&stale, DECIMAL),
            (&noise, XOR),
            (&constant, pages_integer::LINEAR),
        ] {
            assert_eq!(round_trip(values, Effort::Fast)[0], tag);
            round_trip(values, Effort::Small);
        }
    }

    #[test]
    fn the_shortest_exponent_is_taken() {
        let values: Vec<u64> = (0..100).map(|i| (f64::from(i) / 10.0).to_bits()).collect();
        assert_eq!(round_trip(&values, Effort::Fast)[1], 1);
    }

    proptest! {
        #[test]
        fn columns_round_trip(values in columns()) {
            round_trip(&values, Effort::Fast);
            round_trip(&values, Effort::Small);
        }

        #[test]
        fn any_bytes_decode_or_fail(tag in 14u8..20, bytes: Vec<u8>, count in 1usize..400) {
            let mut all = vec![tag];
            all.extend(bytes);
            let _ = decode(&all, &mut 0, &mut vec![0; count], 0);
            let _ = decode(&all, &mut 0, &mut vec![0; count], count / 2);
        }
    }
}
