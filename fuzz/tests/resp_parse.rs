//! The checks of the fuzz target `resp_parse`, in every test run: what it once found, and generated streams.

use proptest::prelude::*;
use quorate_fuzz::resp_parse::check;

#[test]
fn what_was_found_once_stays_fixed() {
    quorate_fuzz::replay("resp_parse", 8, check);
}

/// One request, mostly well formed, with a chance of every kind of damage.
fn request() -> impl Strategy<Value = Vec<u8>> {
    let argument = prop_oneof![
        4 => prop::collection::vec(any::<u8>(), 0..20),
        1 => prop::collection::vec(any::<u8>(), 60..70),
        2 => prop::sample::select(vec![&b"GET"[..], b"set", b"CLIENT", b"id", b"mset", b"DEL", b"ACK", b"commit", b"lpush", b"\r\n"])
            .prop_map(<[u8]>::to_vec),
    ];
    let array = prop::collection::vec(argument, 0..18).prop_map(|args| {
        let mut out = format!("*{}\r\n", args.len()).into_bytes();
        for argument in args {
            out.extend_from_slice(format!("${}\r\n", argument.len()).as_bytes());
            out.extend_from_slice(&argument);
            out.extend_from_slice(b"\r\n");
        }
        out
    });
    let inline = "[a-z\"' \\\\x41\t]{0,40}\r?\n".prop_map(String::into_bytes);
    let damaged = (array.clone(), any::<prop::sample::Index>(), prop::sample::select(b"\r\n*$:-0129a\0\xff".to_vec()))
        .prop_map(|(mut bytes, at, byte)| {
            let at = at.index(bytes.len());
            bytes[at] = byte;
            bytes
        });
    let cut = (array.clone(), any::<prop::sample::Index>()).prop_map(|(mut bytes, at)| {
        bytes.truncate(at.index(bytes.len()));
        bytes
    });
    prop_oneof![6 => array, 3 => inline, 3 => damaged, 1 => cut]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn generated_streams_are_read_as_another_decoder_reads_them(
        piece in any::<u8>(),
        requests in prop::collection::vec(request(), 1..6),
    ) {
        let mut data = vec![piece];
        requests.iter().for_each(|request| data.extend_from_slice(request));
        check(&data);
    }

    #[test]
    fn any_bytes_are_answered(data in prop::collection::vec(any::<u8>(), 0..300)) {
        check(&data);
    }
}
