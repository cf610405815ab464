use super::*;
use crate::sample::payload;
use crate::series::SeriesView;
use proptest::prelude::*;

const NOW_NS: i64 = 1_700_000_000_123_456_789;

fn decoded(body: &str) -> Batch {
    decode(body.as_bytes().to_vec(), 1, NOW_NS).unwrap()
}

fn shown(batch: &Batch, sample: usize) -> String {
    let bits = batch.values[sample];
    match batch.kinds[sample] {
        Kind::Float64 => format!("{:?}", f64::from_bits(bits)),
        Kind::Int64 => format!("{}i", bits as i64),
        Kind::Uint64 => format!("{bits}u"),
        Kind::Bool => format!("{}", bits == 1),
        _ => format!(
            "{:?}",
            String::from_utf8_lossy(payload(&batch.body, bits).unwrap())
        ),
    }
}

/// Series, value and time of every sample, one a line.
fn dump(batch: &Batch) -> Vec<String> {
    (0..batch.keys.len())
        .map(|key| {
            let bytes = batch.canonical(key, &[], &[]).unwrap();
            let view = SeriesView::parse(&bytes).unwrap();
            let labels: Vec<String> = view
                .labels
                .iter()
                .map(|(k, v)| format!("{k}={v}"))
                .collect();
            format!(
                "{}|{}|{} {} {}",
                view.name,
                labels.join(","),
                view.field,
                shown(batch, key),
                batch.times_ns[key]
            )
        })
        .collect()
}

#[test]
fn good_lines() {
    for (body, expected) in [
        ("cpu,host=a value=1 5", &["cpu|host=a| 1.0 5"][..]),
        ("cpu,host=a value=1 5\n", &["cpu|host=a| 1.0 5"]),
        ("cpu,host=a value=1 5\r\n", &["cpu|host=a| 1.0 5"]),
        ("cpu v=1", &["cpu||v 1.0 1700000000123456789"]),
        (
            "cpu v=1\r\n\r\ncpu v=2 7",
            &["cpu||v 1.0 1700000000123456789", "cpu||v 2.0 7"],
        ),
        ("  \t\0cpu v=1 7  \n   \n", &["cpu||v 1.0 7"]),
        ("# a comment with a=\"quote\ncpu v=1 7", &["cpu||v 1.0 7"]),
        ("cpu  v=1  7", &["cpu||v 1.0 7"]),
        (
            "cpu,b=2,a=1 x=1i,y=2u,z=t -9",
            &[
                "cpu|a=1,b=2|x 1i -9",
                "cpu|a=1,b=2|y 2u -9",
                "cpu|a=1,b=2|z true -9",
            ],
        ),
        (
            "c\\,p\\ u\\=x,t\\,a\\ g\\=k=v\\,a\\ l\\=u f\\,i\\ e\\=l=1 1",
            &["c,p u=x|t,a g=k=v,a l=u|f,i e=l 1.0 1"],
        ),
        ("c=pu,a=b v=1 1", &["c=pu|a=b|v 1.0 1"]),
        (
            "cpu,path=C:\\dir\\x v=1 1",
            &["cpu|path=C:\\dir\\x|v 1.0 1"],
        ),
        ("cpu,a=\"q\" \"k\"=1 1", &["cpu|a=\"q\"|\"k\" 1.0 1"]),
        ("cpu s=\"a, b = c\" 1", &["cpu||s \"a, b = c\" 1"]),
        ("cpu s=\"\" 1", &["cpu||s \"\" 1"]),
        (r#"cpu s="q\"q\\b\n" 1"#, &[r#"cpu||s "q\"q\\b\\n" 1"#]),
        (
            "cpu s=\"two\nlines\" 1\ncpu v=2 2",
            &["cpu||s \"two\\nlines\" 1", "cpu||v 2.0 2"],
        ),
        (
            "cpu s=\"a\",t=\"b\"",
            &[
                "cpu||s \"a\" 1700000000123456789",
                "cpu||t \"b\" 1700000000123456789",
            ],
        ),
        (
            "\u{e9}t\u{e9},\u{fc}=\u{f6} \u{df}=1 1",
            &["\u{e9}t\u{e9}|\u{fc}=\u{f6}|\u{df} 1.0 1"],
        ),
        ("cpu,a=x\\\ny v=1 1", &["cpu|a=x\\\ny|v 1.0 1"]),
        ("", &[]),
        ("\n\n\r\n# only\n", &[]),
    ] {
        let batch = decoded(body);
        assert_eq!(batch.rejected, vec![], "{body}");
        assert_eq!(dump(&batch), expected, "{body}");
    }
}

#[test]
fn values() {
    for (text, expected) in [
        ("1", "1.0"),
        ("1.", "1.0"),
        (".5", "0.5"),
        ("-.5", "-0.5"),
        ("-0", "-0.0"),
        ("1e3", "1000.0"),
        ("1E-3", "0.001"),
        ("-1.5e+2", "-150.0"),
        ("1e-400", "0.0"),
        ("0.1", "0.1"),
        ("123456789.123456789", "123456789.12345679"),
        ("9007199254740993", "9007199254740992.0"),
        ("12345678901234567890", "1.2345678901234567e19"),
        ("0.00000000000000000000000000001", "1e-29"),
        ("1.7976931348623157e308", "1.7976931348623157e308"),
        ("1i", "1i"),
        ("-1i", "-1i"),
        ("-0i", "0i"),
        ("007i", "7i"),
        ("9223372036854775807i", "9223372036854775807i"),
        ("-9223372036854775808i", "-9223372036854775808i"),
        ("000000000000000000000001i", "1i"),
        ("0u", "0u"),
        ("18446744073709551615u", "18446744073709551615u"),
        ("t", "true"),
        ("T", "true"),
        ("true", "true"),
        ("True", "true"),
        ("TRUE", "true"),
        ("f", "false"),
        ("F", "false"),
        ("false", "false"),
        ("False", "false"),
        ("FALSE", "false"),
    ] {
        for body in [
            format!("m v={text}"),
            format!("m v={text} 1"),
            format!("m v={text},w=1 1"),
        ] {
            let batch = decoded(&body);
            assert_eq!(batch.rejected, vec![], "{body}");
            assert_eq!(shown(&batch, 0), expected, "{body}");
        }
    }
}

#[test]
fn bad_lines() {
    for (line, cause) in [
        ("cpu", "missing fields"),
        ("cpu,host=a", "missing fields"),
        ("cpu ", "missing fields"),
        ("cpu,host=a  ", "missing fields"),
        (",host=a v=1", "missing measurement"),
        ("cpu, v=1", "missing tag key"),
        ("cpu,=a v=1", "missing tag key"),
        ("cpu,host=a, v=1", "missing tag key"),
        ("cpu,host v=1", "missing tag value"),
        ("cpu,host= v=1", "missing tag value"),
        ("cpu,host=,a=b v=1", "missing tag value"),
        ("cpu,host=a=b v=1", "invalid tag format"),
        ("cpu =1", "missing field key"),
        ("cpu v=1,=2", "missing field key"),
        ("cpu v=", "missing field value"),
        ("cpu v=,w=1", "missing field value"),
        ("cpu v= 1", "missing field value"),
        ("cpu v", "invalid field format"),
        ("cpu v 1", "invalid field format"),
        ("cpu v=1,", "invalid field format"),
        ("cpu v=1,w", "invalid field format"),
        ("cpu v=1,,w=2", "invalid field format"),
        ("cpu v=1, w=2", "invalid field format"),
        ("cpu v=\"a\"b", "invalid field format"),
        ("cpu v=\"a", "unbalanced quotes"),
        ("cpu v=1.1.1", "invalid number"),
        ("cpu v=-", "invalid number"),
        ("cpu v=.", "invalid number"),
        ("cpu v=-i", "invalid number"),
        ("cpu v=1.5i", "invalid number"),
        ("cpu v=1e3i", "invalid number"),
        ("cpu v=1ii", "invalid number"),
        ("cpu v=1iu", "invalid number"),
        ("cpu v=-1u", "invalid number"),
        ("cpu v=1x", "invalid number"),
        ("cpu v=1-2", "invalid number"),
        ("cpu v=NaN", "invalid number"),
        ("cpu v=nan", "invalid number"),
        ("cpu v=-Inf", "invalid number"),
        ("cpu v=1\\", "invalid number"),
        ("cpu v=1e", "invalid float"),
        ("cpu v=1e400", "invalid float"),
        ("cpu v=Inf", "invalid boolean"),
        ("cpu v=tr", "invalid boolean"),
        ("cpu v=tRUE", "invalid boolean"),
        ("cpu v=+1", "invalid boolean"),
        ("cpu v=1i 12a", "bad timestamp"),
        ("cpu v=1 1.5", "bad timestamp"),
        ("cpu v=1 1 x", "point is invalid"),
        (
            "cpu v=1 -",
            "strconv.ParseInt: parsing \"-\": invalid syntax",
        ),
        (
            "cpu v=9223372036854775808i",
            "unable to parse integer 9223372036854775808: strconv.ParseInt: parsing \"9223372036854775808\": value out of range",
        ),
        (
            "cpu v=18446744073709551616u",
            "unable to parse unsigned 18446744073709551616: strconv.ParseUint: parsing \"18446744073709551616\": value out of range",
        ),
        (
            "cpu v=1 9223372036854775808",
            "strconv.ParseInt: parsing \"9223372036854775808\": value out of range",
        ),
        (
            "cpu v=1 9223372036854775807",
            "time outside range -9223372036854775806 - 9223372036854775806",
        ),
        (
            "cpu v=1 -9223372036854775807",
            "time outside range -9223372036854775806 - 9223372036854775806",
        ),
    ] {
        // Unbalanced quotes take the rest of the body along.
        let behind = if cause == "unbalanced quotes" || line.ends_with('\\') {
            ""
        } else {
            "\nnext v=2 2"
        };
        let batch = decoded(&format!("first v=1 1\n{line}{behind}"));
        let expected = Rejection {
            line: 2,
            reason: format!("unable to parse '{line}': {cause}"),
        };
        assert_eq!(batch.rejected, vec![expected], "{line}");
        assert_eq!(
            batch.times_ns.len(),
            if behind.is_empty() { 1 } else { 2 },
            "{line}"
        );
        assert_eq!(batch.kinds.len(), batch.times_ns.len());
    }
}

#[test]
fn what_only_the_series_shows() {
    for (line, cause) in [
        ("cpu,a=1,b=2,a=3 v=1 1", "duplicate tags"),
        (
            "cpu,__db__=x v=1 1",
            "label \"__db__\" is reserved, clients may not send it",
        ),
        (
            "cpu,__name__=x v=1 1",
            "label \"__name__\" is reserved, clients may not send it",
        ),
        (
            "cpu,time=1 v=1 1",
            "invalid tag key: input tag \"time\" on measurement \"cpu\" is invalid",
        ),
        (
            "cpu time=1 1",
            "invalid field name: input field \"time\" on measurement \"cpu\" is invalid",
        ),
    ] {
        let batch = decoded(&format!("{line}\r\ncpu v=1 1"));
        let error = batch.canonical(0, &[], &[]).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("unable to parse '{line}': {cause}")
        );
    }
}

#[test]
fn text_that_is_not_utf8_is_refused() {
    let batch = decode(b"cpu s=\"\xff\" 1\nc\xff v=1 1".to_vec(), 1, 0).unwrap();
    assert!(
        batch.rejected[0]
            .reason
            .ends_with("string field is not valid UTF-8")
    );
    let error = batch.canonical(0, &[], &[]).unwrap_err().to_string();
    assert!(error.ends_with("are not valid UTF-8"), "{error}");
}

#[test]
fn precision_scales_times_and_cuts_now() {
    let batch = decode(b"cpu v=1 -2\ncpu v=1".to_vec(), 1_000_000_000, NOW_NS).unwrap();
    assert_eq!(batch.times_ns, [-2_000_000_000, 1_700_000_000_000_000_000]);
    let batch = decode(b"cpu v=1 9223372037".to_vec(), 1_000_000_000, NOW_NS).unwrap();
    assert!(batch.rejected[0].reason.contains("time outside range"));
}

#[test]
fn lines_are_counted_through_strings() {
    let batch = decoded("a s=\"1\n2\n3\" 1\n\nb v=1 1\nbad\nc v=1 1");
    let lines: Vec<u32> = batch.keys.iter().map(|key| key.line).collect();
    assert_eq!(lines, [1, 5, 7]);
    assert_eq!(batch.rejected[0].line, 6);
}

#[test]
fn equal_raw_keys_hash_alike_and_others_do_not() {
    let batch = decoded("cpu,a=1 x=1,y=2\ncpu,a=1 x=3\ncpu,a=2 x=1\ncpu,a=1,x=1 y=2");
    let hashes: Vec<u128> = batch.keys.iter().map(|key| key.hash).collect();
    assert_eq!(hashes[0], hashes[2]);
    let distinct: std::collections::HashSet<_> = hashes.iter().collect();
    assert_eq!(distinct.len(), 4);
}

#[test]
fn rows_of_one_key_and_the_same_fields_hash_alike() {
    let batch = decoded(
        "cpu,a=1 usage_user=1,usage_idle=2\ncpu,a=1 usage_user=5,usage_idle=6\n\
         cpu,a=2 usage_user=1,usage_idle=2\ncpu,a=1 usage_user=1\n\
         cpu,a=1 usage_user=1,usage_idlf=2\ncpu,a=1 usage_idlf=x,usage_user=1\n\
         cpu,a=1 usage_user=1,usage_idle=2\ncpu,a=1 usage_idle=2,usage_user=1\n\
         cpu,a=1 usage_user=1,usage_idle=2,x=1\ncpu,a=1 usage_user=3,usage_idle=4",
    );
    assert_eq!(batch.rejected.len(), 1);
    let hashes: Vec<u128> = batch.rows.iter().map(|row| row.hash).collect();
    for same in [1, 5, 8] {
        assert_eq!(hashes[0], hashes[same]);
    }
    let distinct: std::collections::HashSet<_> = hashes.iter().collect();
    assert_eq!(distinct.len(), 6);
}

#[test]
fn keys_in_one_go_are_what_the_walk_finds() {
    for key in [
        "cpu",
        "cpu,a=1",
        "cpu,hostname=host_123,region=eu-central-1",
        "c=pu,a=b",
        "=cpu",
        "cpu,a=1,b",
        "cpu,a=b=c",
        "cpu,,a=1",
        "cpu,=1",
        "cpu,a=",
        "c\\ pu,a=1",
        "cpu,a=1\\,2",
        "cpu,a\\=b=1",
        "cpu,a=x\\y",
        ",a=1",
        "\\,a=1",
    ] {
        let line = format!("{key} usage_user=1,usage_system=2 1700000000000000000");
        let body = line.as_bytes();
        let walked = scan_key(body, 0, body.len()).ok();
        let plain = plain_key_end(body, 0, body.len());
        assert!(plain.is_none() || plain == walked, "{key}");
        let is_odd = key.starts_with('=') || key.contains('\\') && key != "cpu,a=x\\y";
        assert_eq!(plain.is_some(), walked.is_some() && !is_odd, "{key}");
    }
}

#[test]
fn a_key_that_is_too_long_is_refused() {
    let long = "x".repeat(KEY_BYTES_MAX + 1);
    let batch = decoded(&format!("{long} v=1\ncpu {long}=1"));
    assert!(
        batch.rejected[0]
            .reason
            .ends_with("max key length exceeded: 65536 > 65535")
    );
    assert!(
        batch.rejected[1]
            .reason
            .ends_with("max key length exceeded: 65543 > 65535")
    );
    assert!(batch.rejected[0].reason.len() < 1000);
}

fn check_shape(batch: &Batch) {
    assert_eq!(batch.keys.len(), batch.times_ns.len());
    assert_eq!(batch.keys.len(), batch.values.len());
    assert_eq!(batch.keys.len(), batch.kinds.len());
    let row_end = batch.rows.last().map_or(0, |row| row.key_end as usize);
    assert_eq!(row_end, batch.keys.len());
    for key in 0..batch.keys.len() {
        assert_eq!(batch.keys[key].sample_end as usize, key + 1);
        let _ = batch.canonical(key, &[], &[]);
        if batch.kinds[key].uses_heap() {
            assert!(payload(&batch.body, batch.values[key]).is_some());
        }
    }
}

proptest! {
    #[test]
    fn any_bytes_give_a_batch(body: Vec<u8>) {
        check_shape(&decode(body, 1, NOW_NS).unwrap());
    }

    #[test]
    fn nearly_lines_give_a_batch(body in "([a,= \\\\\"\r\n#1.eiut-]|v=1|,a=b| 1\n){0,60}") {
        check_shape(&decode(body.into_bytes(), 1, NOW_NS).unwrap());
    }

    #[test]
    fn floats_are_read_as_rust_reads_them(value: f64) {
        prop_assume!(value.is_finite());
        for text in [format!("{value}"), format!("{value:e}"), format!("{value:.3}")] {
            let batch = decoded(&format!("m v={text} 1"));
            prop_assert_eq!(batch.values[0], text.parse::<f64>().unwrap().to_bits());
        }
    }

    #[test]
    fn short_decimals_are_read_exactly(mantissa in 0u64..1_000_000_000_000, decimals in 0usize..12) {
        let digits = format!("{mantissa:012}");
        let text = format!("-{}.{}", &digits[..12 - decimals], &digits[12 - decimals..]);
        let batch = decoded(&format!("m v={text}"));
        prop_assert_eq!(batch.values[0], text.parse::<f64>().unwrap().to_bits());
    }
}
