use super::*;
use crate::series::SeriesView;
use proptest::prelude::*;

const NOW_NS: i64 = 1_700_000_000_123_456_789;
const TOKEN: &str = "orr_0123456789abcdefghijABCDEFGHIJ0123456789abc";

fn lines(text: &str) -> Decoded {
    decode_lines(text.as_bytes().to_vec(), NOW_NS, 2).unwrap()
}

/// Name, tags, time and value of every point, or why it cannot be named.
fn points(batch: &Batch) -> Vec<String> {
    let point = |key: usize| {
        let (time_ns, value) = (batch.times_ns[key], f64::from_bits(batch.values[key]));
        match batch.canonical(key, &[], &[]) {
            Ok(bytes) => {
                let view = SeriesView::parse(&bytes).unwrap();
                let labels = view.labels.iter();
                let labels: Vec<_> = labels.map(|(tag, at)| format!(";{tag}={at}")).collect();
                let labels = labels.concat();
                format!("{}{labels} {value} {time_ns}", view.name)
            }
            Err(error) => error.to_string(),
        }
    };
    (0..batch.keys.len()).map(point).collect()
}

fn reasons(decoded: &Decoded) -> Vec<String> {
    let rejected = decoded.batch.rejected.iter();
    rejected
        .map(|one| format!("{}: {}", one.line, one.reason))
        .collect()
}

#[test]
fn good_lines() {
    for (line, expected) in [
        ("a.b.c 1.5 1700000000", "a.b.c 1.5 1700000000000000000"),
        ("  a \t 1   2 \r", "a 1 2000000000"),
        ("a -1e3 1.25", "a -1000 1250000000"),
        ("a inf 0", "a inf 0"),
        ("a 1 -1", "a 1 1700000000123456789"),
        ("a 1 -1.9", "a 1 1700000000123456789"),
        ("a 1 -2", "a 1 -2000000000"),
        ("a;y=2;x=1 1 1", "a;x=1;y=2 1 1000000000"),
        ("a;x=b=c 1 1", "a;x=b=c 1 1000000000"),
        (
            "a{x=\"1\",y=\"q\\\"\\\\,\"} 1 1",
            "a;x=1;y=q\"\\, 1 1000000000",
        ),
        ("é.ü;ö=ß 1 1", "é.ü;ö=ß 1 1000000000"),
        ("..a..b. 1 1", "..a..b. 1 1000000000"),
        ("orr_short 1 1", "orr_short 1 1000000000"),
        ("a{b 1 1", "a{b 1 1000000000"),
    ] {
        let decoded = lines(line);
        assert_eq!(reasons(&decoded), Vec::<String>::new(), "{line}");
        assert_eq!(points(&decoded.batch), [expected], "{line}");
    }
}

#[test]
fn lines_that_are_none() {
    for (line, cause) in [
        ("a", "it has no value"),
        ("a 1", "it has no time"),
        ("a 1 2 3", "it has more than name, value and time"),
        ("a one 1", "its value is no number"),
        ("a 1_0 1", "its value is no number"),
        ("a 1 N", "its time is no number of seconds that fits"),
        ("a 1 nan", "its time is no number of seconds that fits"),
        (
            "a 1 9999999999999",
            "its time is no number of seconds that fits",
        ),
    ] {
        let decoded = lines(&format!("ok 1 1\n\n{line}\r\nok 2 2\n"));
        assert_eq!(
            reasons(&decoded),
            [format!("3: cannot read line '{line}': {cause}")]
        );
        assert_eq!(decoded.batch.keys.len(), 2);
    }
}

#[test]
fn names_that_are_none() {
    for (name, cause) in [
        (";a=1", "cannot name a series: the name is empty"),
        ("a;", "\"\" is no tag with a value"),
        ("a;b", "\"b\" is no tag with a value"),
        ("a;=1", "tag \"\" is empty or has no value"),
        ("a;b=", "tag \"b\" is empty or has no value"),
        ("a;b!=1", "tag \"b!\" holds one of ;!^="),
        ("a;b=~c", "tag \"b\" has a value that starts with ~"),
        ("a;b=1;b=2", "label \"b\" is given twice"),
        (
            "a;name=b",
            "tag \"name\" is what Graphite calls the name itself",
        ),
        (
            "a;__db__=x",
            "label \"__db__\" is reserved, clients may not send it",
        ),
        (
            "a{b=\"1\"c=\"2\"}",
            "its braces hold no tags with quoted values",
        ),
        ("a{b=\"1;2\"}", "tag \"b\" has a value with a semicolon"),
        ("a{b=1,c=\"}", "its braces hold no tags with quoted values"),
    ] {
        let decoded = lines(&format!("{name} 1 1"));
        assert_eq!(
            points(&decoded.batch),
            [format!("cannot use name '{name}': {cause}")]
        );
    }
    let decoded = decode_lines(b"a\xff 1 1".to_vec(), NOW_NS, 0).unwrap();
    assert!(points(&decoded.batch)[0].ends_with("it is not valid UTF-8"));
}

#[test]
fn nan_is_no_value() {
    let decoded = lines("a nan 1\nb NaN 1\nc 1 1\n");
    assert_eq!((decoded.nan_count, decoded.batch.keys.len()), (2, 1));
}

#[test]
fn each_token_has_a_batch() {
    let text = format!("{TOKEN}@.a;x=1 1 1\nb 2 2\norr_x@.c 3 3\n{TOKEN}@.d 4 4\norr_y@.e 5 5\n");
    let decoded = lines(&text);
    assert_eq!(points(&decoded.batch), ["b 2 2000000000"]);
    let [(first, one), (second, other)] = &decoded.of_tokens[..] else {
        panic!("{}", decoded.of_tokens.len());
    };
    assert_eq!((&first[..], &second[..]), (TOKEN.as_bytes(), &b"orr_x"[..]));
    assert_eq!(points(one), ["a;x=1 1 1000000000", "d 4 4000000000"]);
    assert_eq!(points(other), ["c 3 3000000000"]);
    assert_eq!(
        reasons(&decoded),
        ["5: cannot read line 'orr_y@.e 5 5': more than 2 tokens come at once"]
    );
}

#[test]
fn a_name_hashes_alike_with_a_token_and_without() {
    let decoded = lines(&format!("a;x=1 1 1\n{TOKEN}@.a;x=1 1 1"));
    let with = decoded.of_tokens[0].1.keys[0].hash;
    assert_eq!(decoded.batch.keys[0].hash, with);
}

#[test]
fn a_token_is_never_shown() {
    for line in [
        format!("{TOKEN}@.a one 1"),
        format!("{TOKEN}@. 1 1"),
        format!("{TOKEN}.a 1 1"),
        format!("auth {TOKEN}"),
        format!("x {TOKEN} {TOKEN}"),
        format!("{}@.a one 1", &TOKEN[..20]),
        format!("a;b={TOKEN}; 1 1"),
    ] {
        let decoded = lines(&line);
        let mut told = reasons(&decoded);
        told.extend(points(&decoded.batch));
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(told[0].contains("orr_..."), "{told:?}");
        assert!(!told[0].contains(&TOKEN[4..12]), "{told:?}");
    }
}

#[test]
fn no_token_where_none_may_be() {
    let decoded = decode_lines(b"orr_x@.a 1 1".to_vec(), NOW_NS, 0).unwrap();
    assert!(reasons(&decoded)[0].ends_with("a token may not stand before a name here"));
}

fn framed(pickles: &[&[u8]]) -> Vec<u8> {
    let mut out = Vec::new();
    for pickle in pickles {
        out.extend_from_slice(&(pickle.len() as u32).to_be_bytes());
        out.extend_from_slice(pickle);
    }
    out
}

fn pickles(pickles: &[&[u8]]) -> Decoded {
    decode_pickles(framed(pickles), NOW_NS, 2).unwrap()
}

#[test]
fn good_pickles() {
    let decoded = pickles(&[
        b"](X\x01\x00\x00\x00aK\x01K\x02\x86\x86X\x05\x00\x00\x00b;x=1J\xff\xff\xff\xffG\x3f\xf8\0\0\0\0\0\0\x86\x86e.",
        b"(lp0\n(S'c\\xc3\\xa9'\n(F1.5\nI7\ntta.",
        b"((U\x01d(U\x011U\x02.5lll.",
        b"].",
    ]);
    assert_eq!(
        points(&decoded.batch),
        [
            "a 2 1000000000".to_owned(),
            format!("b;x=1 1.5 {NOW_NS}"),
            "cé 7 1500000000".to_owned(),
            "d 0.5 1000000000".to_owned(),
        ]
    );
    let lines: Vec<u32> = decoded.batch.keys.iter().map(|key| key.line).collect();
    assert_eq!((lines, reasons(&decoded).len()), (vec![1, 2, 3, 4], 0));
}

#[test]
fn bad_datapoints_leave_the_good_ones() {
    let decoded = pickles(&[
        b"](X\x01\x00\x00\x00aK\x01\x88\x86\x86Nh\x00e.",
        b"](X\x01\x00\x00\x00bK\x01N\x86\x86NX\x01\x00\x00\x00cNK\x01\x86\x86X\x01\x00\x00\x00dK\x01\x86X\x01\x00\x00\x00eK\x01K\x01\x86\x86e.",
        b"K\x01.",
        b"cos\nsystem\n.",
    ]);
    assert_eq!(points(&decoded.batch), ["e 1 1000000000"]);
    assert_eq!(
        reasons(&decoded),
        [
            "1: cannot read a pickle: memo has nothing at 0",
            "2: cannot read datapoint 'b': its value is no number",
            "3: cannot read datapoint '?': it is no name with a pair behind it",
            "4: cannot read datapoint 'c': its time is no number of seconds that fits",
            "5: cannot read datapoint 'd': it is no pair of time and value",
            "7: cannot read a pickle: it is no list of datapoints",
            "8: cannot read a pickle: it imports a name, which is not allowed",
        ]
    );
    let booleans = pickles(&[b"](X\x01\x00\x00\x00aK\x01\x89\x86\x86e."]);
    assert_eq!(
        reasons(&booleans),
        ["1: cannot read datapoint 'a': its value is a boolean"]
    );
}

#[test]
fn tokens_in_pickles() {
    let name = format!("{TOKEN}@.a");
    let mut pickle = b"](U".to_vec();
    pickle.push(name.len() as u8);
    pickle.extend_from_slice(name.as_bytes());
    pickle.extend_from_slice(b"K\x01K\x02\x86\x86S'orr_x@.b\\n'\nK\x01K\x02\x86\x86e.");
    let decoded = pickles(&[&pickle]);
    assert_eq!(points(&decoded.of_tokens[0].1), ["a 2 1000000000"]);
    assert_eq!(points(&decoded.of_tokens[1].1), ["b\n 2 1000000000"]);
}

#[test]
fn a_pickle_that_is_cut_off_refuses_all() {
    for body in [&b"\0\0"[..], b"\0\0\0\x05].", b"\xff\xff\xff\xff"] {
        assert!(decode_pickles(body.to_vec(), NOW_NS, 0).is_err());
    }
}

#[test]
fn a_long_name_is_not_referred_to_without_end() {
    let mut pickle = b"](X\x00\xff\x00\x00".to_vec();
    pickle.extend(std::iter::repeat_n(b'a', 0xff00));
    pickle.extend_from_slice(b"K\x01K\x02\x86\x86q\x00");
    pickle.extend(b"h\x00".repeat(400_000));
    pickle.extend_from_slice(b"e.");
    assert!(decode_pickles(framed(&[&pickle]), NOW_NS, 0).is_err());
    pickle.truncate(pickle.len() - 2 * 399_001);
    pickle.extend_from_slice(b"e.");
    let decoded = pickles(&[&pickle]);
    assert_eq!(decoded.batch.keys.len(), NAMES_FACTOR_MAX + 1);
    let reason = &reasons(&decoded)[0];
    assert!(reason.ends_with("names add up to more than 64 times their pickle"));
}

proptest! {
    #[test]
    fn any_bytes_are_fine(body: Vec<u8>) {
        if let Ok(decoded) = decode_lines(body.clone(), NOW_NS, 2) {
            points(&decoded.batch);
        }
        if let Ok(decoded) = decode_pickles(framed(&[&body]), NOW_NS, 2) {
            points(&decoded.batch);
        }
        let _ = decode_pickles(body, NOW_NS, 2);
    }

    #[test]
    fn any_text_is_fine(text in "[a;={}\", \n1.@r_-]{0,80}") {
        let decoded = lines(&text);
        for (_, batch) in &decoded.of_tokens {
            points(batch);
        }
        points(&decoded.batch);
    }
}
