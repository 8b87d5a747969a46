use super::*;

const AUTHENTICATED: Trust = Trust::Authenticated;

fn parser() -> Parser {
    Parser::new(Limits::default())
}

fn parse_whole(bytes: &[u8]) -> (Parsed, Vec<Vec<u8>>) {
    let mut parser = parser();
    let parsed = parser.parse(bytes, AUTHENTICATED);
    let args = match parsed {
        Parsed::Complete { .. } => parser.args(bytes).iter().map(<[u8]>::to_vec).collect(),
        _ => Vec::new(),
    };
    (parsed, args)
}

fn error_of(bytes: &[u8]) -> String {
    match parse_whole(bytes).0 {
        Parsed::Error(error) => error.to_string(),
        other => panic!("{other:?} for {}", bytes.escape_ascii()),
    }
}

#[test]
fn array_of_bulk_strings_is_read_in_place() {
    let bytes = b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$5\r\na\r\nb\0\r\nrest";
    let mut parser = parser();
    assert_eq!(parser.parse(bytes, AUTHENTICATED), Parsed::Complete { consumed: 31 });
    let args = parser.args(bytes);
    assert_eq!(args.iter().collect::<Vec<_>>(), [&b"SET"[..], b"k", b"a\r\nb\0"]);
    assert_eq!(&bytes[args.range(2).unwrap()], b"a\r\nb\0");
    assert_eq!(&args[1], b"k");
    assert_eq!(args.get(3), None);
    assert_eq!(args.skip(1).iter().collect::<Vec<_>>(), [&b"k"[..], b"a\r\nb\0"]);
    assert!(args.skip(9).is_empty());
}

#[test]
fn request_that_arrives_byte_by_byte_equals_the_whole() {
    for request in [
        &b"*2\r\n$3\r\nGET\r\n$10\r\n0123456789\r\n"[..],
        b"*1\r\n$0\r\n\r\n",
        b"*0\r\n",
        b"*-1\r\n",
        b"SET a 'b c'\r\n",
        b"  PING  \n",
        b"\r\n",
    ] {
        let (whole, args) = parse_whole(request);
        assert_eq!(whole, Parsed::Complete { consumed: request.len() }, "{}", request.escape_ascii());
        let mut parser = parser();
        for end in 0..request.len() {
            let parsed = parser.parse(&request[..end], AUTHENTICATED);
            assert!(
                matches!(parsed, Parsed::Incomplete { consumed: 0, wanted } if wanted >= 1 && end + wanted <= request.len()),
                "{parsed:?} at {end}"
            );
        }
        assert_eq!(parser.parse(request, AUTHENTICATED), whole);
        assert_eq!(parser.args(request).iter().map(<[u8]>::to_vec).collect::<Vec<_>>(), args);
        assert!(parser.is_idle());
    }
}

#[test]
fn large_value_states_how_much_is_missing() {
    let mut parser = parser();
    let bytes = b"*2\r\n$4\r\nECHO\r\n$1048576\r\nxx";
    assert_eq!(parser.parse(bytes, AUTHENTICATED), Parsed::Incomplete { consumed: 0, wanted: 1_048_576 });
    assert!(!parser.is_idle());
}

#[test]
fn pipelined_requests_come_out_one_by_one() {
    let bytes = b"*1\r\n$4\r\nPING\r\nPING\r\n\r\n*0\r\n*1\r\n$4\r\nQUIT\r\n";
    let mut parser = parser();
    let mut at = 0;
    let mut names = Vec::new();
    while at < bytes.len() {
        let Parsed::Complete { consumed } = parser.parse(&bytes[at..], AUTHENTICATED) else { panic!("at {at}") };
        names.push(parser.args(&bytes[at..]).first().map(<[u8]>::to_vec));
        at += consumed;
    }
    assert_eq!(names, [Some(b"PING".to_vec()), Some(b"PING".to_vec()), None, None, Some(b"QUIT".to_vec())]);
}

#[test]
fn inline_requests_follow_the_quoting_of_the_prompt() {
    let cases: [(&[u8], &[&[u8]]); 9] = [
        (b"set key value\r\n", &[b"set", b"key", b"value"]),
        (b"\t get\x0bkey \n", &[b"get", b"key"]),
        (b"set k \"a b\\r\\n\\t\\a\\b\\\"\\x41\\xfF\\q\"\r\n", &[b"set", b"k", b"a b\r\n\t\x07\x08\"A\xffq"]),
        (b"set k 'a \\' \\n \"'\r\n", &[b"set", b"k", b"a ' \\n \""]),
        (b"set k \"\" ''\r\n", &[b"set", b"k", b"", b""]),
        (b"set pre\"fix ed\" x\r\n", &[b"set", b"prefix ed", b"x"]),
        (b"set k \"\\x4\"\r\n", &[b"set", b"k", b"x4"]),
        (b"set k \"\\xzz\"\r\n", &[b"set", b"k", b"xzz"]),
        (b"set \xff\x00 z\n", &[b"set", b"\xff\x00", b"z"]),
    ];
    for (line, expected) in cases {
        let (parsed, args) = parse_whole(line);
        assert_eq!(parsed, Parsed::Complete { consumed: line.len() });
        assert_eq!(args, expected, "{}", line.escape_ascii());
    }
}

#[test]
fn unbalanced_quotes_end_the_connection() {
    for line in
        [&b"set \"a\r\n"[..], b"set 'a\r\n", b"set \"a\"b c\r\n", b"set 'a'b\r\n", b"set \"a\\\r\n", b"set 'a\\'\r\n"]
    {
        assert_eq!(error_of(line), "ERR Protocol error: unbalanced quotes in request", "{}", line.escape_ascii());
    }
}

#[test]
fn broken_framing_is_named_as_redis_names_it() {
    for (bytes, text) in [
        (&b"*x\r\n"[..], "invalid multibulk length"),
        (b"*\r\n", "invalid multibulk length"),
        (b"*01\r\n", "invalid multibulk length"),
        (b"*+1\r\n", "invalid multibulk length"),
        (b"*-0\r\n", "invalid multibulk length"),
        (b"*1\rx", "invalid multibulk length"),
        (b"*1\nx", "invalid multibulk length"),
        (b"*99999999999999999999\r\n", "invalid multibulk length"),
        (b"*65537\r\n", "invalid multibulk length: 65537 arguments, at most 65536"),
        (b"*100000\r\n", "invalid multibulk length: 100000 arguments, at most 65536"),
        (b"*1\r\n$-1\r\n", "invalid bulk length"),
        (b"*1\r\n$536870913\r\n", "invalid bulk length"),
        (b"*1\r\n$9999999999999\r\n", "invalid bulk length"),
        (b"*1\r\n$a\r\n", "invalid bulk length"),
        (b"*1\r\n:1\r\n", "expected '$', got ':'"),
        (b"*1\r\n\n", "expected '$', got '\\n'"),
        (b"*1\r\n\xff", "expected '$', got '\\xff'"),
        (b"*1\r\n$2\r\nabcd", "expected CRLF after 2 bytes of bulk string"),
    ] {
        assert_eq!(error_of(bytes), format!("ERR Protocol error: {text}"), "{}", bytes.escape_ascii());
    }
}

#[test]
fn wrong_length_is_refused_before_its_line_is_complete() {
    assert_eq!(error_of(b"*1234567890123456789"), "ERR Protocol error: invalid multibulk length");
    assert_eq!(error_of(b"*\0"), "ERR Protocol error: invalid multibulk length");
}

#[test]
fn before_authentication_the_limits_are_tight() {
    let mut parser = parser();
    let parsed = parser.parse(b"*11\r\n", Trust::Unauthenticated);
    assert_eq!(parsed, Parsed::Error(ProtocolError::UnauthenticatedMultibulk));

    let mut parser = self::parser();
    let parsed = parser.parse(b"*10\r\n$16385\r\n", Trust::Unauthenticated);
    assert_eq!(parsed, Parsed::Error(ProtocolError::UnauthenticatedBulk));

    let mut parser = self::parser();
    let parsed = parser.parse(b"*10\r\n$16384\r\n", Trust::Unauthenticated);
    assert_eq!(parsed, Parsed::Incomplete { consumed: 0, wanted: 16_386 });
    assert_eq!(
        ProtocolError::UnauthenticatedMultibulk.to_string(),
        "ERR Protocol error: unauthenticated multibulk length"
    );
}

#[test]
fn inline_line_without_an_end_is_refused_at_its_limit() {
    let mut parser = parser();
    let line = vec![b'a'; 64 * 1024 + 1];
    assert!(matches!(parser.parse(&line[..64 * 1024], AUTHENTICATED), Parsed::Incomplete { consumed: 0, .. }));
    assert_eq!(parser.parse(&line, AUTHENTICATED), Parsed::Error(ProtocolError::InlineTooLong));

    let mut line = line;
    line.push(b'\n');
    assert_eq!(parse_whole(&line).0, Parsed::Error(ProtocolError::InlineTooLong));
}

#[test]
fn argument_beyond_the_limit_is_thrown_away_and_refused() {
    let limits = Limits { bulk_bytes_max: 8, request_bytes_max: 64, inline_bytes_max: 16, args_max: 8 };
    let refusal = Refusal::ArgumentTooLarge { length: 10, max: 8 };
    let request = b"*3\r\n$3\r\nSET\r\n$10\r\n0123456789\r\n$1\r\nx\r\nPING\r\n";
    let end = request.len() - 6;

    let mut parser = Parser::new(limits);
    assert_eq!(parser.parse(request, AUTHENTICATED), Parsed::Refused { consumed: end, refusal });
    assert_eq!(parser.parse(&request[end..], AUTHENTICATED), Parsed::Complete { consumed: 6 });
    assert_eq!(refusal.to_string(), "ERR argument of 10 bytes is larger than the limit of 8 bytes");

    // In pieces of every size: what is thrown away never has to be kept, and the next request stands where it should.
    for piece in 1..request.len() {
        let mut parser = Parser::new(limits);
        let mut held = Vec::new();
        let mut seen = Vec::new();
        for chunk in request.chunks(piece) {
            held.extend_from_slice(chunk);
            loop {
                let parsed = parser.parse(&held, AUTHENTICATED);
                match parsed {
                    Parsed::Incomplete { consumed, .. } => {
                        held.drain(..consumed);
                        break;
                    }
                    Parsed::Complete { consumed } | Parsed::Refused { consumed, .. } => {
                        seen.push(parsed);
                        held.drain(..consumed);
                    }
                    Parsed::Error(error) => panic!("{error} with pieces of {piece}"),
                }
            }
            assert!(held.len() < 32 + piece, "{} bytes are kept", held.len());
        }
        assert!(matches!(seen[..], [Parsed::Refused { .. }, Parsed::Complete { consumed: 6 }]), "{seen:?}");
    }
}

#[test]
fn request_beyond_the_limit_is_thrown_away_and_refused() {
    let limits = Limits { bulk_bytes_max: 8, request_bytes_max: 40, inline_bytes_max: 16, args_max: 8 };
    let mut request = b"*5\r\n".to_vec();
    for _ in 0..5 {
        request.extend_from_slice(b"$8\r\n01234567\r\n");
    }
    let mut parser = Parser::new(limits);
    assert_eq!(
        parser.parse(&request, AUTHENTICATED),
        Parsed::Refused { consumed: request.len(), refusal: Refusal::RequestTooLarge { max: 40 } }
    );
}

#[test]
fn long_list_of_ranges_is_given_back() {
    let mut request = b"*65536\r\n".to_vec();
    for _ in 0..65_536 {
        request.extend_from_slice(b"$1\r\nx\r\n");
    }
    let mut parser = parser();
    assert_eq!(parser.parse(&request, AUTHENTICATED), Parsed::Complete { consumed: request.len() });
    assert_eq!(parser.args(&request).len(), 65_536);
    assert_eq!(parser.parse(b"PING\r\n", AUTHENTICATED), Parsed::Complete { consumed: 6 });
    assert!(parser.ranges.capacity() <= RANGES_KEPT);
}
