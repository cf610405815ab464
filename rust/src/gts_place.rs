//! Warp 10's locations: latitude and longitude in one number of 64 bits (an `HHCode`), 32 each,
//! bit by bit in turn. `gts_input` makes them, `gts_output` shows them.

const UNITS: f64 = 4_294_967_296.0;
const LATITUDE_UNIT: f64 = 180.0 / UNITS;
const LONGITUDE_UNIT: f64 = 360.0 / UNITS;

/// None where it is not on Earth.
pub fn position(latitude: f64, longitude: f64) -> Option<i64> {
    if !(-90.0..=90.0).contains(&latitude) || !(-180.0..=180.0).contains(&longitude) {
        return None;
    }
    // The outermost cell takes in its edge.
    let cell = |units: f64| units.floor().min(UNITS - 1.0) as u64;
    let (north, east) = (
        cell((latitude + 90.0) / LATITUDE_UNIT),
        cell((longitude + 180.0) / LONGITUDE_UNIT),
    );
    Some((spread(north) << 1 | spread(east)) as i64)
}

/// Latitude and longitude of the corner of its cell.
pub fn coordinates(position: i64) -> (f64, f64) {
    let bits = position as u64;
    (
        gathered(bits >> 1) as f64 * LATITUDE_UNIT - 90.0,
        gathered(bits) as f64 * LONGITUDE_UNIT - 180.0,
    )
}

/// Puts a zero before each of the low 32 bits.
fn spread(word: u64) -> u64 {
    let mut bits = word & 0xffff_ffff;
    for (shift, mask) in [
        (16, 0x0000_ffff_0000_ffff),
        (8, 0x00ff_00ff_00ff_00ff),
        (4, 0x0f0f_0f0f_0f0f_0f0f),
        (2, 0x3333_3333_3333_3333),
        (1, 0x5555_5555_5555_5555),
    ] {
        bits = (bits | bits << shift) & mask;
    }
    bits
}

/// Takes every second bit.
fn gathered(word: u64) -> u64 {
    let mut bits = word & 0x5555_5555_5555_5555;
    for (shift, mask) in [
        (1, 0x3333_3333_3333_3333),
        (2, 0x0f0f_0f0f_0f0f_0f0f),
        (4, 0x00ff_00ff_00ff_00ff),
        (8, 0x0000_ffff_0000_ffff),
        (16, 0x0000_0000_ffff_ffff),
    ] {
        bits = (bits | bits >> shift) & mask;
    }
    bits
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn corners_and_what_lies_beyond() {
        assert_eq!(position(-90.0, -180.0), Some(0));
        assert_eq!(position(90.0, 180.0), Some(-1));
        assert_eq!(position(0.0, -180.0), Some(i64::MIN));
        assert_eq!(position(-90.0, 0.0), Some(1 << 62));
        for (latitude, longitude) in [(91.0, 0.0), (0.0, 181.0), (f64::NAN, 0.0)] {
            assert_eq!(position(latitude, longitude), None);
        }
    }

    proptest! {
        #[test]
        fn a_place_comes_back_within_its_cell(latitude in -90.0..90.0, longitude in -180.0..180.0) {
            let (north, east) = coordinates(position(latitude, longitude).unwrap());
            prop_assert!((0.0..=2.0 * LATITUDE_UNIT).contains(&(latitude - north)));
            prop_assert!((0.0..=2.0 * LONGITUDE_UNIT).contains(&(longitude - east)));
        }
    }
}
