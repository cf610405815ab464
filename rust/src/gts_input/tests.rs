use super::*;
use crate::sample::payload;
use crate::series::SeriesView;
use proptest::prelude::*;

const NOW_NS: i64 = 1_700_000_000_123_456_789;
const NOW_US: i64 = NOW_NS / 1000;

fn decoded(body: &str) -> Batch {
    decode(body.as_bytes().to_vec(), 1000, NOW_NS).unwrap()
}

fn shown(batch: &Batch, sample: usize) -> String {
    let bits = batch.values[sample];
    let text = || String::from_utf8_lossy(payload(&batch.body, bits).unwrap()).into_owned();
    match batch.kinds[sample] {
        Kind::Float64 => format!("{:?}", f64::from_bits(bits)),
        Kind::Int64 => format!("{}", bits as i64),
        Kind::Bool => (if bits == 1 { "T" } else { "F" }).to_owned(),
        Kind::String => format!("{:?}", text()),
        _ => format!("bytes {:?}", payload(&batch.body, bits).unwrap()),
    }
}

/// Series and value of every sample, with its time in microseconds.
fn dump(body: &str) -> Vec<String> {
    let batch = decoded(body);
    assert_eq!(batch.rejected, [], "{body}");
    let mut out = Vec::new();
    for key in 0..batch.keys.len() {
        let bytes = batch.canonical(key, &[], &[]).unwrap();
        let view = SeriesView::parse(&bytes).unwrap();
        let labels: Vec<String> = view
            .labels
            .iter()
            .map(|(k, v)| format!("{k}={v}"))
            .collect();
        for sample in batch.sample_start(key)..batch.keys[key].sample_end as usize {
            let time = batch.times_ns[sample];
            assert_eq!(time % 1000, 0);
            out.push(format!(
                "{} {}{{{}}} {}",
                time / 1000,
                view.name,
                labels.join(","),
                shown(&batch, sample)
            ));
        }
    }
    out
}

fn refused(body: &str) -> Vec<(u32, String)> {
    let batch = decoded(body);
    batch
        .rejected
        .into_iter()
        .map(|one| (one.line, one.reason))
        .collect()
}

#[test]
fn values_of_every_kind() {
    for (value, expected) in [
        ("42", "42"),
        ("+42", "42"),
        ("-9223372036854775808", "-9223372036854775808"),
        ("9223372036854775807", "9223372036854775807"),
        ("1.50", "1.5"),
        ("-0.0", "-0.0"),
        (".5", "0.5"),
        ("1.", "1.0"),
        ("+1.25", "1.25"),
        ("1e3", "1000.0"),
        ("-1.5E-3", "-0.0015"),
        ("0.1234567890123456789012", "0.12345678901234568"),
        ("123456789012345678.5", "1.2345678901234568e17"),
        ("1.5d", "1.5"),
        ("NaN", "NaN"),
        ("Infinity", "inf"),
        ("-Infinity", "-inf"),
        ("T", "T"),
        ("t", "T"),
        ("TRUE", "T"),
        ("F", "F"),
        ("false", "F"),
        ("'plain text'", "\"plain text\""),
        ("'it's {here} = there'", "\"it's {here} = there\""),
        ("'100%25 %C3%A9+'", "\"100% é+\""),
        ("''", "\"\""),
        ("\"double\"", "\"double\""),
        ("b64:-_8", "bytes [251, 255]"),
        ("hex:00fF", "bytes [0, 255]"),
    ] {
        let found = dump(&format!("1// c{{}} {value}"));
        assert_eq!(found, [format!("1 c{{}} {expected}")], "{value}");
    }
}

#[test]
fn times_and_what_they_are_relative_to() {
    for (time, expected) in [
        ("", NOW_US),
        ("T+5", NOW_US + 5),
        ("T-5", NOW_US - 5),
        ("T5", NOW_US + 5),
        ("-5", -5),
        ("0", 0),
    ] {
        let found = dump(&format!("{time}// c{{}} 1"));
        assert_eq!(found, [format!("{expected} c{{}} 1")], "{time}");
    }
}

#[test]
fn series_and_their_continuations() {
    let body = "# a comment\n\n  1// a%20b{k=v%3D,l=} 1 \r\n=2// 2\n3// 'no class goes on'\n\
                4//   c{ x = 1 ,, y=2 }   F\n5// c{ x = 1 ,, y=2 } T\n=6// 'a{b}/c'";
    assert_eq!(
        dump(body),
        [
            "1 a b{k=v=} 1",
            "2 a b{k=v=} 2",
            "3 a b{k=v=} \"no class goes on\"",
            "4 c{ x = 1 ,, y=2 } F"
                .replace("{ x = 1 ,, y=2 }", "{x = 1,y=2}")
                .as_str(),
            "5 c{x = 1,y=2} T",
            "6 c{x = 1,y=2} \"a{b}/c\"",
        ]
    );
    assert_eq!(decoded(body).keys.len(), 2);
}

#[test]
fn attributes_are_beside_the_series() {
    let batch = decoded("1// c{a=1}{unit=%C2%B0C,z=2} 1\n=2// 2\n3// c{a=1}{} 3\n4// d{} 4");
    let found: Vec<_> = batch
        .attributes
        .iter()
        .map(|one| (one.key, one.pairs.len()))
        .collect();
    assert_eq!(found, [(0, 2), (0, 0)]);
    assert_eq!(batch.attributes[0].pairs[0], ("unit".into(), "°C".into()));
    assert_eq!(batch.keys.len(), 2);
}

#[test]
fn places_are_side_columns() {
    let batch = decoded("1// c{} 1\n=2/0:-180/12 2\n=3//-7 3\n=4/5/ 4\n=5// 5");
    assert_eq!(batch.rejected, []);
    assert!(batch.sides.fit(5));
    let places: Vec<i64> = (0..5).map(|at| batch.sides.at(at)[1]).collect();
    assert_eq!(places, [NO_SIDE[1], i64::MIN, NO_SIDE[1], 5, NO_SIDE[1]]);
    let heights: Vec<i64> = (0..5).map(|at| batch.sides.at(at)[2]).collect();
    assert_eq!(heights, [i64::MIN, 12, -7, i64::MIN, i64::MIN]);
    assert!(decoded("1// c{} 1\n=2// 2").sides.is_empty());
}

#[test]
fn what_is_wrong_is_named() {
    for (line, cause) in [
        ("1", "Missing timestamp separator."),
        ("1/", "Missing location/elevation separator."),
        ("1//", "Missing value."),
        ("1// c{}", "Missing value."),
        ("1// c{} ", "Missing value."),
        ("1// c{a=1 5", "Missing '}' after the labels."),
        ("1// c{}{a=1 5", "Missing attributes."),
        ("1// c{}{a} 5", "'a' is not of the form name=value"),
        ("1// c{}{a=1,a=2} 5", "an attribute is given twice"),
        (
            "1// c{a=1}{a=2} 5",
            "attribute \"a\" has the name of a label",
        ),
        (
            "1// c{}{.app=x} 5",
            "attribute \".app\" has the name of a label",
        ),
        ("x// c{} 5", "Invalid timestamp."),
        ("Tx// c{} 5", "Invalid timestamp."),
        (
            "9223372036854775807// c{} 5",
            "Timestamp 9223372036854775807 out of range.",
        ),
        ("99999999999999999999// c{} 5", "Invalid timestamp."),
        ("1/91:2.3/ c{} 5", "Invalid location."),
        ("1/48.1/ c{} 5", "Invalid location."),
        ("1/48.1:x/ c{} 5", "Invalid location."),
        ("1//1.5 c{} 5", "Invalid elevation."),
        ("1// c{} [1 2 3]", "multi-values ([...]) are not supported"),
        ("1// c{} HH:1:2", "location values (HH:) are not supported"),
        (
            "1// c{} Q:1:0:0:0",
            "quaternion values (Q:) are not supported",
        ),
        (
            "1// c{} :x:1",
            "values of custom encoders are not supported",
        ),
        (
            "1// c{} 9223372036854775808",
            "Unable to parse value '9223372036854775808'",
        ),
        ("1// c{} inf", "Unable to parse value 'inf'"),
        ("1// c{} 0x1p3", "Unable to parse value '0x1p3'"),
        ("1// c{} 'open", "Unable to parse value ''open'"),
        ("1// c{} '", "Unable to parse value '''"),
        (
            "1// c{} '%zz'",
            "a '%' is not followed by two hexadecimal digits",
        ),
        ("1// c{} '%ff'", "it is not valid UTF-8"),
        ("1// c{} b64:*", "it is not base64"),
        ("1// c{} hex:0", "an odd number of hexadecimal digits"),
        ("=1// 5", "Invalid continuation."),
        ("1// 5", "Invalid continuation."),
    ] {
        let expected = format!("Parse error at '{}' ({cause})", line.trim());
        assert_eq!(refused(line), [(1, expected)], "{line}");
    }
}

#[test]
fn names_are_judged_when_the_series_is_named() {
    for (line, cause) in [
        ("1// {} 5", "cannot name a series: the name is empty"),
        ("1// c{a} 5", "'a' is not of the form name=value"),
        ("1// c{a=b=c} 5", "'a=b=c' has more than one '='"),
        ("1// c{a~b} 5", "'a~b' is not of the form name=value"),
        ("1// c{a=1,a=2} 5", "label \"a\" is given twice"),
        (
            "1// c{__name__=x} 5",
            "label \"__name__\" is reserved, clients may not send it",
        ),
        (
            "1// c%{} 5",
            "a '%' is not followed by two hexadecimal digits",
        ),
    ] {
        let body = format!("0// other{{}} 1\n{line}\n=2// 6");
        let batch = decoded(&body);
        assert_eq!(batch.rejected, []);
        let error = batch.canonical(1, &[], &[]).unwrap_err().to_string();
        assert_eq!(error, format!("Parse error at '{line}' ({cause})"));
        assert_eq!(batch.keys[1].line, 2);
    }
}

#[test]
fn what_continues_a_refused_line_is_refused() {
    let found = refused("1// a{} 1\n2// b{} x\n=3// 3\n4// 4\n5// a{} 5\n=6// x\n=7// 7");
    let lines: Vec<u32> = found.iter().map(|(line, _)| *line).collect();
    assert_eq!(lines, [2, 3, 4, 6]);
    assert_eq!(
        found[1].1,
        "Parse error at '=3// 3' (it continues line 2, which was refused)"
    );
    assert_eq!(
        found[2].1,
        "Parse error at '4// 4' (it continues line 2, which was refused)"
    );
}

#[test]
fn lines_of_metadata() {
    let batch =
        decode_meta(b"# c\n\na{b=1}{c=2,d=}\n e{}{} \nbad\na{}\na{}{} x\na{c=1}{c=2}".to_vec())
            .unwrap();
    let pairs: Vec<_> = batch
        .attributes
        .iter()
        .map(|one| one.pairs.clone())
        .collect();
    assert_eq!(
        pairs,
        [
            vec![
                ("c".to_owned(), "2".to_owned()),
                ("d".to_owned(), String::new())
            ],
            vec![]
        ]
    );
    let lines: Vec<u32> = batch.rejected.iter().map(|one| one.line).collect();
    assert_eq!(lines, [5, 6, 7, 8]);
    assert_eq!(
        batch.rejected[0].reason,
        "Invalid metadata bad (it has no labels)"
    );
    assert_eq!(batch.keys[1].line, 4);
}

proptest! {
    #[test]
    fn any_bytes_are_decoded_or_refused(body: Vec<u8>) {
        let batch = decode(body.clone(), 1, 0).unwrap();
        for key in 0..batch.keys.len() {
            let _ = batch.canonical(key, &[], &[]);
        }
        let meta = decode_meta(body).unwrap();
        for key in 0..meta.keys.len() {
            let _ = meta.canonical(key, &[], &[]);
        }
    }

    #[test]
    fn likely_bytes_are_decoded_or_refused(body in "([T=]?[0-9+]{0,3}//? ?[a-c%2]{0,2}(\\{[a=,%]{0,4}\\}){0,2} ?['a-f0-9.:b6h]{0,6}\n){0,6}") {
        let batch = decode(body.into_bytes(), 1, 0).unwrap();
        prop_assert_eq!(batch.times_ns.len(), batch.values.len());
        for key in 0..batch.keys.len() {
            prop_assert!(batch.sample_start(key) < batch.keys[key].sample_end as usize);
            let _ = batch.canonical(key, &[], &[]);
        }
    }

    #[test]
    fn doubles_are_what_rust_reads(value: f64) {
        prop_assume!(value.is_finite());
        let text = format!("{value:?}");
        let (kind, bits) = number(text.as_bytes()).unwrap();
        prop_assert_eq!(kind, Kind::Float64);
        prop_assert_eq!(f64::from_bits(bits).to_bits(), value.to_bits());
    }

    #[test]
    fn longs_are_what_rust_reads(value: i64) {
        prop_assert_eq!(number(value.to_string().as_bytes()).unwrap(), (Kind::Int64, value as u64));
    }
}
