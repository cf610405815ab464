use super::*;
use crate::series::SeriesView;

const BOTH: &str = r#"[
 {"metric": "sys.cpu", "timestamp": 1700000000, "value": 18, "tags": {"host": "a", "dc": "lga"}},
 {"tags":{"host":"b"},"value":"1.5","timestamp":1700000000123,"metric":"sys.load","more":[{"x":[]}]}
]"#;

fn decoded(body: &str) -> Batch {
    decode(body.as_bytes().to_vec()).unwrap()
}

fn point(part: &str, replacement: &str) -> String {
    let whole = r#"{"metric":"m","timestamp":1,"value":2,"tags":{"a":"b"}}"#;
    assert!(whole.contains(part), "{part}");
    whole.replace(part, replacement)
}

fn named(batch: &Batch, key: usize) -> String {
    let bytes = batch.canonical(key, &[], &[]).unwrap();
    let view = SeriesView::parse(&bytes).unwrap();
    format!("{} {:?}", view.name, view.labels)
}

#[test]
fn data_points_become_columns() {
    let batch = decoded(BOTH);
    assert_eq!(
        batch.times_ns,
        [1_700_000_000_000_000_000, 1_700_000_000_123_000_000]
    );
    assert_eq!(batch.kinds, [Kind::Int64, Kind::Float64]);
    assert_eq!(batch.values, [18, 1.5f64.to_bits()]);
    assert_eq!(
        named(&batch, 0),
        r#"sys.cpu [("dc", "lga"), ("host", "a")]"#
    );
    assert_eq!(named(&batch, 1), r#"sys.load [("host", "b")]"#);
    let lines: Vec<u32> = batch.keys.iter().map(|key| key.line).collect();
    assert_eq!(lines, [1, 2]);
    assert!(batch.rejected.is_empty());
}

#[test]
fn equal_keys_hash_alike_and_others_do_not() {
    let body = r#"[{"metric":"m","timestamp":1,"value":1,"tags":{"a":"b"}},
        {"metric":"m","timestamp":2,"value":1,"tags":{"a":"b"}},
        {"metric":"n","timestamp":2,"value":1,"tags":{"a":"b"}},
        {"metric":"m","timestamp":2,"value":1,"tags":{"a":"c"}},
        {"timestamp":3,"tags":{"a":"b"},"value":1,"metric":"m"}]"#;
    let hashes: Vec<u128> = decoded(body).keys.iter().map(|key| key.hash).collect();
    assert_eq!(hashes[0], hashes[1]);
    assert_eq!(hashes[0], hashes[4]);
    assert_ne!(hashes[0], hashes[2]);
    assert_ne!(hashes[0], hashes[3]);
    assert_ne!(hashes[2], hashes[3]);
}

#[test]
fn bad_data_points_are_refused_in_the_words_of_the_original() {
    for (part, replacement, reason) in [
        (r#""metric":"m","#, "", "Metric name was empty"),
        (r#""m""#, r#""""#, "Metric name was empty"),
        (r#""m""#, "null", "Metric name was empty"),
        (r#""timestamp":1,"#, "", "Invalid timestamp"),
        (":1", ":0", "Invalid timestamp"),
        (":1", ":-5", "Invalid timestamp"),
        (":1", r#":"soon""#, "Invalid timestamp"),
        (":1", ":true", "Invalid timestamp"),
        (
            ":1",
            ":99999999999999",
            "bad timestamp=99999999999999 when trying to add value=2 to metric=m",
        ),
        (r#""value":2,"#, "", "Empty value"),
        (":2", ":null", "Empty value"),
        (":2", r#":"""#, "Empty value"),
        (":2", r#":"two""#, "Unable to parse value to a number"),
        (":2", ":true", "Unable to parse value to a number"),
        (":2", ":NaN", "Unable to parse value to a number"),
        (":2", ":-Infinity", "Unable to parse value to a number"),
        (
            ":2",
            ":9223372036854775808",
            "Unable to parse value to a number",
        ),
        (
            ":2",
            ":-1e999",
            "value is NaN or Infinite: -Infinity for metric=m timestamp=1",
        ),
        (r#","tags":{"a":"b"}"#, "", "Missing tags"),
        (r#"{"a":"b"}"#, "{}", "Missing tags"),
        (r#"{"a":"b"}"#, "null", "Missing tags"),
    ] {
        let batch = decoded(&format!(
            "[{},{}]",
            point("1", "1"),
            point(part, replacement)
        ));
        assert_eq!(batch.times_ns.len(), 1, "{replacement}");
        assert_eq!(batch.rejected.len(), 1, "{replacement}");
        assert_eq!(batch.rejected[0].line, 2);
        assert_eq!(batch.rejected[0].reason, reason);
    }
}

#[test]
fn bad_tags_are_refused_when_they_are_named() {
    for (tags, reason) in [
        (
            r#"{"a":""}"#,
            "Invalid tag value with key [a]: empty string",
        ),
        (r#"{"a":null}"#, "Invalid tag value with key [a]: null"),
        (
            r#"{"":"b"}"#,
            "Invalid tag name with value [b]: empty string",
        ),
        (r#"{"__name__":"b"}"#, "label \"__name__\" is reserved"),
        (
            r#"{"a":"\ud800"}"#,
            "Invalid tag value (\"\\ud800\"): not valid",
        ),
    ] {
        let batch = decoded(&point(r#"{"a":"b"}"#, tags));
        let error = batch.canonical(0, &[], &[]).unwrap_err().to_string();
        assert!(error.starts_with(reason), "{error}");
    }
}

#[test]
fn names_are_unescaped_and_the_last_of_two_counts() {
    let tags =
        r#"{"a":"x", "\u0062" : "\"\\\/\b\f\n\r\t\u00e9\ud83d\ude00 \u2028","a":1, "c":true}"#;
    let batch = decoded(&point(r#"{"a":"b"}"#, tags).replace(r#""m""#, r#""m\u002e\u006d""#));
    assert_eq!(
        named(&batch, 0),
        "m.m [(\"a\", \"1\"), (\"b\", \"\\\"\\\\/\\u{8}\\u{c}\\n\\r\\té😀 \\u{2028}\"), (\"c\", \"true\")]"
    );
}

#[test]
fn what_is_no_json_is_refused_whole() {
    let deep = format!("{}1{}", "[".repeat(65), "]".repeat(65));
    for (body, reason) in [
        ("", "Missing request content"),
        (" \n", "Missing request content"),
        ("42", "The JSON must start as an object or an array"),
        ("[]", "No datapoints found in content"),
        (
            "[1]",
            "a data point is no object at byte 1, in data point 1",
        ),
        ("{", "the body ends where a name is expected at byte 1"),
        ("{]", "']' stands where a name is expected"),
        (
            &point("m", "m\u{1}"),
            "a control character stands in a string",
        ),
        (&point("m", "\\x"), "an escape is none that JSON knows"),
        (&point("m", "\\u12g4"), "an escape is none that JSON knows"),
        (&point(":2", ":02"), "'0' stands where a value is expected"),
        (&point(":2", ":2."), "'2' stands where a value is expected"),
        (&point(":2", ":nul"), "'n' stands where a value is expected"),
        (
            &point(":2", ":truex"),
            "'t' stands where a value is expected",
        ),
        (&point(":2", ":[2]"), "value is an object or an array"),
        (&point(r#"{"a":"b"}"#, r#"["a"]"#), "tags are no object"),
        (
            &point(r#"{"a":"b"}"#, r#"{"a":{}}"#),
            "a tag's value is an object or an array",
        ),
        (
            &point(":2", &format!(r#":2,"x":{deep}"#)),
            "nested deeper than 64",
        ),
        (&point("}}", "}"), "the body ends where a comma or"),
        (&point("}}", "}}{}"), "'{' stands where the end of the body"),
        (
            &format!("[{},]", point("1", "1")),
            "a data point is no object",
        ),
        (
            &format!("[{}", point("1", "1")),
            "the body ends where a comma",
        ),
        (
            &format!("{},{}", point("1", "1"), point("1", "1")),
            "',' stands where",
        ),
    ] {
        let error = decode(body.as_bytes().to_vec()).unwrap_err().to_string();
        assert!(error.contains(reason), "{body}: {error}");
    }
}

#[test]
fn data_points_are_echoed_by_position() {
    let body = r#"[{"metric":"a\n","timestamp":"x","value":1.50,"tags":{"k": 1},"more":2},
        {}, {"metric":"b","timestamp":7,"value":"NaN","tags":{}}]"#;
    assert_eq!(
        echo(body.as_bytes(), &[1, 2, 2, 3, 9]).unwrap(),
        [
            r#"{"metric":"a\n","timestamp":"x","value":"1.50","tags":{"k": 1}}"#,
            r#"{"timestamp":0}"#,
            r#"{"timestamp":0}"#,
            r#"{"metric":"b","timestamp":7,"value":"NaN","tags":{}}"#,
        ]
    );
}

proptest::proptest! {
    #[test]
    fn any_bytes_are_answered(body: Vec<u8>) {
        let _ = decode(body);
    }

    #[test]
    fn any_pieces_are_answered(pieces in proptest::collection::vec(0usize..14, 0..40)) {
        const PIECES: [&str; 14] = [
            "[", "{", "]", "}", ",", ":", "\"metric\"", "\"tags\"", "\"a\"", "\"value\"", "1",
            "\"timestamp\"", "null", "\\",
        ];
        let body: String = pieces.iter().map(|piece| PIECES[*piece]).collect();
        if let Ok(batch) = decode(body.into_bytes()) {
            for key in 0..batch.keys.len() {
                let _ = batch.canonical(key, &[], &[]);
            }
        }
    }
}
