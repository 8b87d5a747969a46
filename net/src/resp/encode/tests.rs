use super::*;

fn encoded(protocol: Protocol, write: impl Fn(&mut Encoder<'_, Vec<u8>>)) -> String {
    let mut out = Vec::new();
    write(&mut Encoder::new(&mut out, protocol));
    String::from_utf8(out).unwrap().replace("\r\n", "|")
}

fn both(write: impl Fn(&mut Encoder<'_, Vec<u8>>)) -> (String, String) {
    (encoded(Protocol::V2, &write), encoded(Protocol::V3, &write))
}

fn pair(v2: &str, v3: &str) -> (String, String) {
    (v2.to_owned(), v3.to_owned())
}

#[test]
fn what_both_versions_share_is_the_same() {
    assert_eq!(both(|e| e.ok()), pair("+OK|", "+OK|"));
    assert_eq!(both(|e| e.integer(i64::MIN)), pair(":-9223372036854775808|", ":-9223372036854775808|"));
    assert_eq!(both(|e| e.count(u64::MAX)), pair(":9223372036854775807|", ":9223372036854775807|"));
    assert_eq!(both(|e| e.bulk(b"")), pair("$0||", "$0||"));
    assert_eq!(both(|e| e.bulk_integer(-12)), pair("$3|-12|", "$3|-12|"));
    assert_eq!(both(|e| e.array(2)), pair("*2|", "*2|"));
    assert_eq!(both(|e| e.simple("PONG")), pair("+PONG|", "+PONG|"));
}

#[test]
fn types_of_the_third_version_have_a_form_in_the_second() {
    assert_eq!(both(|e| e.null()), pair("$-1|", "_|"));
    assert_eq!(both(|e| e.null_array()), pair("*-1|", "_|"));
    assert_eq!(both(|e| e.map(3)), pair("*6|", "%3|"));
    assert_eq!(both(|e| e.set(3)), pair("*3|", "~3|"));
    assert_eq!(both(|e| e.push(3)), pair("*3|", ">3|"));
    assert_eq!(both(|e| e.boolean(true)), pair(":1|", "#t|"));
    assert_eq!(both(|e| e.boolean(false)), pair(":0|", "#f|"));
    assert_eq!(both(|e| e.verbatim("a\r\nb")), pair("$4|a|b|", "=8|txt:a|b|"));
    assert_eq!(both(|e| _ = e.attribute(1)), pair("", "|1|"));
}

#[test]
fn doubles_read_back_as_the_same_number() {
    for value in [0.0, -0.0, 1.5, 0.1, 1e-5, 123_456_789.123, 1e17, 1e300, 5e-324, f64::MAX, f64::MIN, -1.1e-200] {
        let text = encoded(Protocol::V3, |e| e.double(value));
        let read: f64 = text.trim_start_matches(',').trim_end_matches('|').parse().unwrap();
        assert_eq!(read.to_bits(), value.to_bits(), "{text}");
        assert!(text.len() < 30, "{text}");
    }
    assert_eq!(both(|e| e.double(10.5)), pair("$4|10.5|", ",10.5|"));
    assert_eq!(both(|e| e.double(f64::NEG_INFINITY)), pair("$4|-inf|", ",-inf|"));
    assert_eq!(both(|e| e.double(f64::NAN)), pair("$3|nan|", ",nan|"));
}

#[test]
fn no_text_can_end_an_error_early() {
    assert_eq!(both(|e| e.error("ERR a\r\n+OK\r\n")).0, "-ERR a  +OK  |");
    assert_eq!(both(|e| e.simple("a\nb\r")).0, "+a b |");
    assert_eq!(both(|e| e.error_args(format_args!("ERR {} of {}", "a\nb", 7))).0, "-ERR a b of 7|");
    assert_eq!(both(|e| e.error_bytes(&[b"ERR '", b"\r\n", b"'"])).0, "-ERR '  '|");
}
