use super::*;
use crate::sample::STALE_NAN_BITS;
use crate::series::SeriesView;
use crate::varint;
use proptest::prelude::*;

fn varint_field(out: &mut Vec<u8>, number: u64, value: u64) {
    varint::put(out, number << 3);
    varint::put(out, value);
}

fn bytes_field(out: &mut Vec<u8>, number: u64, bytes: &[u8]) {
    varint::put(out, number << 3 | 2);
    varint::put_slice(out, bytes);
}

fn sample(bits: u64, time_ms: i64) -> Vec<u8> {
    let mut out = vec![1 << 3 | 1];
    out.extend_from_slice(&bits.to_le_bytes());
    varint_field(&mut out, 2, time_ms as u64);
    out
}

fn label(name: &str, value: &str) -> Vec<u8> {
    let mut out = Vec::new();
    bytes_field(&mut out, 1, name.as_bytes());
    bytes_field(&mut out, 2, value.as_bytes());
    out
}

/// A 1.0 series.
fn series(labels: &[(&str, &str)], samples: &[(u64, i64)]) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, value) in labels {
        bytes_field(&mut out, 1, &label(name, value));
    }
    for (bits, time_ms) in samples {
        bytes_field(&mut out, 2, &sample(*bits, *time_ms));
    }
    out
}

fn request(series: &[Vec<u8>]) -> Vec<u8> {
    let mut out = Vec::new();
    for one in series {
        bytes_field(&mut out, 1, one);
    }
    out
}

/// A 2.0 series with packed references.
fn series_2(refs: &[u64], samples: &[(u64, i64)], metadata: &[u8]) -> Vec<u8> {
    let mut packed = Vec::new();
    for reference in refs {
        varint::put(&mut packed, *reference);
    }
    let mut out = Vec::new();
    bytes_field(&mut out, 1, &packed);
    for (bits, time_ms) in samples {
        bytes_field(&mut out, 2, &sample(*bits, *time_ms));
    }
    if !metadata.is_empty() {
        bytes_field(&mut out, 5, metadata);
    }
    out
}

fn request_2(symbols: &[&str], series: &[Vec<u8>]) -> Vec<u8> {
    let mut out = Vec::new();
    for symbol in symbols {
        bytes_field(&mut out, 4, symbol.as_bytes());
    }
    for one in series {
        bytes_field(&mut out, 5, one);
    }
    out
}

fn dump(batch: &Batch) -> Vec<String> {
    let mut out = Vec::new();
    for key in 0..batch.keys.len() {
        let bytes = batch.canonical(key, &[], &[]).unwrap();
        let view = SeriesView::parse(&bytes).unwrap();
        let end = batch.keys[key].sample_end as usize;
        for at in batch.sample_start(key)..end {
            let value = f64::from_bits(batch.values[at]);
            out.push(format!(
                "{} {:?} {value} {}",
                view.name, view.labels, batch.times_ns[at]
            ));
        }
    }
    out
}

const ONE: u64 = 0x3ff0_0000_0000_0000;
const TWO: u64 = 0x4000_0000_0000_0000;

#[test]
fn version_1_series_come_out() {
    let body = request(&[
        series(&[("__name__", "up"), ("job", "a")], &[(ONE, 5), (TWO, -6)]),
        series(&[("job", "b"), ("__name__", "up"), ("e", "")], &[(0, 0)]),
        series(&[("__name__", "no_samples")], &[]),
    ]);
    let batch = decode_1(body).unwrap();
    let expected = [
        "up [(\"job\", \"a\")] 1 5000000",
        "up [(\"job\", \"a\")] 2 -6000000",
        "up [(\"job\", \"b\")] 0 0",
    ];
    assert_eq!(dump(&batch), expected);
    assert_eq!(batch.rejected, vec![]);
    assert_eq!(batch.keys.len(), 2);
    assert_eq!(batch.kinds, vec![Kind::Float64; 3]);
}

#[test]
fn staleness_markers_keep_their_bits() {
    let body = request(&[series(&[("__name__", "up")], &[(STALE_NAN_BITS, 1)])]);
    assert_eq!(decode_1(body).unwrap().values, [STALE_NAN_BITS]);
}

#[test]
fn a_short_varint_is_read_as_any_other() {
    for bits in 0..=64 {
        let number = 1u64.checked_shl(bits).map_or(u64::MAX, |one| one - 1);
        for behind in [&[][..], &[0xff; 9], &[0; 9]] {
            let mut bytes = Vec::new();
            varint::put(&mut bytes, number);
            let size = bytes.len();
            bytes.extend_from_slice(behind);
            let expected = (size <= VARINT_BYTES_SHORT_MAX).then_some((number, size));
            assert_eq!(short_varint(&bytes), expected, "{bits} bits");
        }
    }
    assert_eq!(short_varint(&[0x80; 3]), None);
    assert_eq!(short_varint(&[]), None);
}

#[test]
fn a_sample_that_reaches_out_of_its_series_is_broken() {
    let whole = series(&[("__name__", "up")], &[(1, 1_700_000_000_000)]);
    let mut body = request(std::slice::from_ref(&whole));
    body[1] -= 1;
    let error = decode_1(body).unwrap_err().to_string();
    assert!(error.contains("cannot decode a protobuf body"), "{error}");
}

#[test]
fn scattered_labels_hash_like_those_in_one_piece() {
    let labels = [("__name__", "up"), ("job", "a")];
    let mut scattered = Vec::new();
    bytes_field(&mut scattered, 1, &label("__name__", "up"));
    bytes_field(&mut scattered, 2, &sample(ONE, 1));
    bytes_field(&mut scattered, 1, &label("job", "a"));
    let batch = decode_1(request(&[series(&labels, &[(TWO, 2)]), scattered])).unwrap();
    assert_eq!(batch.keys[0].hash, batch.keys[1].hash);
    assert_eq!(
        batch.canonical(0, &[], &[]).unwrap(),
        batch.canonical(1, &[], &[]).unwrap()
    );
}

#[test]
fn labels_that_cannot_be_name_the_series() {
    for (labels, cause) in [
        (
            &[("a", "b")][..],
            "1 of the request \"\": it has no label __name__",
        ),
        (
            &[("__name__", ""), ("a", "b")],
            "1 of the request \"\": it has no label __name__",
        ),
        (
            &[("__name__", "x"), ("a", "b"), ("a", "c")],
            "1 of the request \"x\": label \"a\" is given twice",
        ),
        (
            &[("__name__", "x"), ("__name__", "y")],
            "1 of the request \"x\": label \"__name__\" is given twice",
        ),
        (
            &[("__name__", "x"), ("", "b")],
            "1 of the request \"x\": a label's name is empty",
        ),
        (
            &[("__name__", "x"), ("__rp__", "b")],
            "1 of the request \"x\": label \"__rp__\" is reserved, clients may not send it",
        ),
    ] {
        let batch = decode_1(request(&[series(labels, &[(ONE, 1)])])).unwrap();
        let error = batch.canonical(0, &[], &[]).unwrap_err();
        assert_eq!(error.to_string(), format!("cannot store series {cause}"));
    }
}

#[test]
fn what_is_not_kept_is_counted_and_named() {
    let mut with_all = series(&[("__name__", "x")], &[(ONE, 1)]);
    bytes_field(&mut with_all, 3, b"");
    bytes_field(&mut with_all, 4, b"");
    bytes_field(&mut with_all, 4, b"");
    let plain = series(&[("__name__", "y")], &[(ONE, 1)]);
    let batch = decode_1(request(&[plain, with_all.clone()])).unwrap();
    let reasons: Vec<&str> = batch.rejected.iter().map(|one| &*one.reason).collect();
    let expected =
        ["cannot store 1 exemplars (the first in series 2 of the request): not supported yet"];
    assert_eq!(reasons, expected);
    // Empty messages are empty histograms.
    assert_eq!(batch.times_ns.len(), 4);
}

#[test]
fn histograms_stand_behind_the_body() {
    let mut both = series(&[("__name__", "x")], &[(ONE, 1)]);
    let mut histogram = Vec::new();
    varint_field(&mut histogram, 1, 3);
    varint_field(&mut histogram, 6, 3);
    varint_field(&mut histogram, 15, 2);
    bytes_field(&mut both, 4, &histogram);
    let plain = series(&[("__name__", "y")], &[(TWO, 1)]);
    let batch = decode_1(request(&[both, plain])).unwrap();
    assert_eq!(batch.kinds, [Kind::Float64, Kind::Histogram, Kind::Float64]);
    assert_eq!(batch.times_ns, [1_000_000, 2_000_000, 1_000_000]);
    let payload = crate::sample::payload(&batch.body, batch.values[1]).unwrap();
    let read = histogram::decode(payload).unwrap();
    assert_eq!((read.count(), read.zero_count()), (3.0, 3.0));
    check_shape(&batch);
}

#[test]
fn a_histogram_that_is_not_valid_is_refused_alone() {
    let mut one = series(&[("__name__", "x")], &[(ONE, 1)]);
    let mut histogram = Vec::new();
    varint_field(&mut histogram, 1, 3);
    bytes_field(&mut one, 4, &histogram);
    let batch = decode_1(request(&[one])).unwrap();
    assert_eq!(batch.kinds, [Kind::Float64]);
    assert_eq!(
        batch.rejected[0].reason,
        "cannot store a histogram of series 1 of the request: the histogram is not valid: its \
         buckets hold 0 observations, its count is 3"
    );
}

#[test]
fn a_time_that_does_not_fit_is_refused_alone() {
    let one = series(&[("__name__", "x")], &[(ONE, 9_223_372_036_855), (ONE, 1)]);
    let batch = decode_1(request(&[one])).unwrap();
    assert_eq!(batch.times_ns, [1_000_000]);
    assert!(
        batch.rejected[0]
            .reason
            .contains("timestamp 9223372036855 ms does not fit")
    );
}

#[test]
fn metadata_of_version_1_is_kept() {
    let mut row = Vec::new();
    varint_field(&mut row, 1, 3);
    for (number, text) in [(2, "http_seconds"), (4, "How long."), (5, "seconds")] {
        bytes_field(&mut row, number, text.as_bytes());
    }
    let mut body = Vec::new();
    bytes_field(&mut body, 3, &row);
    let row = MetadataRow {
        name: "http_seconds".into(),
        kind: "histogram".into(),
        help: "How long.".into(),
        unit: "seconds".into(),
    };
    assert_eq!(decode_1(body).unwrap().metadata, vec![row]);
}

#[test]
fn version_2_resolves_symbols_whatever_their_order() {
    let first = request_2(
        &["", "__name__", "up", "job", "a"],
        &[series_2(&[1, 2, 3, 4], &[(ONE, 5)], b"")],
    );
    let second = request_2(
        &["", "a", "job", "up", "__name__"],
        &[series_2(&[4, 3, 2, 1], &[(ONE, 5)], b"")],
    );
    let (first, second) = (decode_2(first).unwrap(), decode_2(second).unwrap());
    assert_eq!(dump(&first), ["up [(\"job\", \"a\")] 1 5000000"]);
    assert_eq!(dump(&first), dump(&second));
    assert_eq!(first.keys[0].hash, second.keys[0].hash);
}

#[test]
fn references_need_not_be_packed() {
    let mut one = Vec::new();
    for reference in [1, 2] {
        varint_field(&mut one, 1, reference);
    }
    bytes_field(&mut one, 2, &sample(ONE, 1));
    let packed = series_2(&[1, 2], &[(ONE, 1)], b"");
    let batch = decode_2(request_2(&["", "__name__", "up"], &[one, packed])).unwrap();
    assert_eq!(batch.keys[0].hash, batch.keys[1].hash);
}

#[test]
fn bad_references_refuse_the_series_alone() {
    let symbols = ["", "__name__", "up"];
    let body = request_2(
        &symbols,
        &[
            series_2(&[1, 9], &[(ONE, 1)], b""),
            series_2(&[1, 2, 1], &[(ONE, 1)], b""),
            series_2(&[1, 2], &[(ONE, 1)], b""),
        ],
    );
    let batch = decode_2(body).unwrap();
    let reasons: Vec<&str> = batch.rejected.iter().map(|one| &*one.reason).collect();
    let expected = [
        "cannot store series 1 of the request: label reference 9 is outside its 3 symbols",
        "cannot store series 2 of the request: it has an odd number of label references",
    ];
    assert_eq!(reasons, expected);
    assert_eq!(batch.times_ns, [1_000_000]);
    assert_eq!(batch.keys[0].sample_end, 1);
}

#[test]
fn metadata_of_version_2_is_kept_once_a_family() {
    let symbols = [
        "", "__name__", "h_bucket", "h_count", "Help.", "le", "1", "2",
    ];
    let mut metadata = Vec::new();
    varint_field(&mut metadata, 1, 3);
    varint_field(&mut metadata, 3, 4);
    let body = request_2(
        &symbols,
        &[
            series_2(&[1, 2, 5, 6], &[(ONE, 1)], &metadata),
            series_2(&[1, 2, 5, 7], &[(ONE, 1)], &metadata),
            series_2(&[1, 3], &[], &metadata),
        ],
    );
    let row = MetadataRow {
        name: "h".into(),
        kind: "histogram".into(),
        help: "Help.".into(),
        unit: String::new(),
    };
    assert_eq!(decode_2(body).unwrap().metadata, vec![row]);
}

#[test]
fn the_other_version_is_named() {
    let error = decode_1(request_2(&[""], &[])).unwrap_err().to_string();
    assert!(
        error.contains("io.prometheus.write.v2.Request, not"),
        "{error}"
    );
    let error = decode_2(request(&[vec![]])).unwrap_err().to_string();
    assert!(error.contains("prometheus.WriteRequest, not"), "{error}");
}

#[test]
fn broken_protobuf_names_the_place() {
    for (body, cause) in [
        (
            &[0x0a, 0x05, 0x00][..],
            "at byte 1: the message ends inside a field",
        ),
        (&[0x0f], "at byte 0: wire type 7 is unknown"),
        (&[0x0a, 0xff], "at byte 1: not a varint"),
        (&[0x00, 0x00], "at byte 0: field number 0"),
        (
            &[0x08, 0x00],
            "at byte 2: timeseries has the wrong wire type",
        ),
    ] {
        let error = decode_1(body.to_vec()).unwrap_err().to_string();
        assert_eq!(error, format!("cannot decode a protobuf body {cause}"));
    }
}

fn check_shape(batch: &Batch) {
    assert_eq!(batch.times_ns.len(), batch.values.len());
    assert_eq!(batch.times_ns.len(), batch.kinds.len());
    let end = batch.keys.last().map_or(0, |key| key.sample_end as usize);
    assert_eq!(end, batch.times_ns.len());
    for key in 0..batch.keys.len() {
        let _ = batch.canonical(key, &[], &[]);
    }
}

proptest! {
    #[test]
    fn any_bytes_give_a_batch_or_an_error(body: Vec<u8>) {
        for decode in [decode_1, decode_2] {
            if let Ok(batch) = decode(body.clone()) {
                check_shape(&batch);
            }
        }
    }

    #[test]
    fn flipped_bytes_give_a_batch_or_an_error(position: usize, flip: u8, cut: usize) {
        let mut metadata = Vec::new();
        varint_field(&mut metadata, 3, 2);
        let bodies = [
            request(&[series(&[("__name__", "up"), ("job", "a")], &[(ONE, 5), (TWO, 6)])]),
            request_2(&["", "__name__", "up"], &[series_2(&[1, 2], &[(ONE, 5)], &metadata)]),
        ];
        for mut body in bodies {
            let length = body.len();
            body[position % length] ^= flip;
            body.truncate(length - cut % 3);
            for decode in [decode_1, decode_2] {
                if let Ok(batch) = decode(body.clone()) {
                    check_shape(&batch);
                }
            }
        }
    }
}
