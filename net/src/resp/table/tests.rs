use super::*;
use crate::resp::{Limits, Parsed, Parser, Protocol, Trust};

fn with_args<T>(line: &str, check: impl FnOnce(Args<'_>) -> T) -> T {
    let line = format!("{line}\r\n");
    let mut parser = Parser::new(Limits::default());
    let parsed = parser.parse(line.as_bytes(), Trust::Authenticated);
    assert!(matches!(parsed, Parsed::Complete { .. }), "{parsed:?} for {line}");
    check(parser.args(line.as_bytes()))
}

fn resolved(line: &str) -> CommandId {
    with_args(line, |args| resolve(args).map(|spec| spec.id)).unwrap()
}

fn rejection(line: &str) -> String {
    with_args(line, |args| {
        let mut out = Vec::new();
        resolve(args).unwrap_err().write(args, &mut Encoder::new(&mut out, Protocol::V2));
        String::from_utf8(out).unwrap()
    })
}

#[test]
fn every_name_finds_its_own_row_in_any_case() {
    for spec in commands() {
        assert_eq!(find(spec.name.as_bytes()).unwrap().id, spec.id);
        assert_eq!(find(spec.name.to_ascii_uppercase().as_bytes()).unwrap().id, spec.id);
        for child in spec.subcommands {
            assert_eq!(find_full(child.name.to_ascii_uppercase().as_bytes()).unwrap().id, child.id);
            assert!(child.name.starts_with(&format!("{}|", spec.name)));
        }
    }
    assert_eq!(resolved("sEt a b"), CommandId::Set);
    assert_eq!(resolved("client Id"), CommandId::ClientId);
    assert_eq!(resolved("COMMAND"), CommandId::Command);
    assert_eq!(resolved("command docs get"), CommandId::CommandDocs);
    for id in CommandId::ALL {
        assert_eq!(id.spec().id, *id);
    }
}

#[test]
fn names_that_only_look_alike_are_not_found() {
    for name in [&b""[..], b"g", b"gett", b"\x07et", b"CACHE\x0ePEEK", b"client|id", b"SETN\0"] {
        assert!(find(name).is_none(), "{}", name.escape_ascii());
    }
}

#[test]
fn probes_are_short() {
    let longest = commands()
        .map(|spec| {
            let mut at = slot_of(spec.name.as_bytes()).unwrap();
            let mut probes = 1;
            while TOP[usize::from(INDEX[at])].id != spec.id {
                at = (at + 1) % INDEX_LEN;
                probes += 1;
            }
            probes
        })
        .max()
        .unwrap();
    assert!(longest <= 4, "{longest} comparisons for one name");
    assert_eq!(slot_of(b"get"), slot_of(b"GET"));
}

#[test]
fn rejections_have_the_texts_clients_know() {
    assert_eq!(rejection("foo"), "-ERR unknown command 'foo', with args beginning with: \r\n");
    assert_eq!(
        rejection("foo 1 \"a\\r\\nb\" \"\\xff\""),
        "-ERR unknown command 'foo', with args beginning with: '1' 'a  b' '\u{fffd}' \r\n"
    );
    assert_eq!(rejection("get"), "-ERR wrong number of arguments for 'get' command\r\n");
    assert_eq!(rejection("client"), "-ERR wrong number of arguments for 'client' command\r\n");
    assert_eq!(rejection("client id x"), "-ERR wrong number of arguments for 'client|id' command\r\n");
    assert_eq!(
        rejection("client maint_notifications on"),
        "-ERR unknown subcommand 'maint_notifications'. Try CLIENT HELP.\r\n"
    );
}

#[test]
fn long_arguments_of_an_unknown_command_are_cut() {
    let long = "x".repeat(300);
    let text = rejection(&format!("{long} {long} {long}"));
    let name = "x".repeat(128);
    assert_eq!(text, format!("-ERR unknown command '{name}', with args beginning with: '{name}' \r\n"));
    assert!(rejection(&"y ".repeat(1000)).len() < 400);
}

#[test]
fn what_is_refused_says_what_to_do_instead() {
    assert!(rejection("lpush a b").starts_with("-ERR LPUSH is not supported: there are no lists; use a hash"));
    assert_eq!(rejection("lease.grant r h"), "-ERR LEASE.GRANT is not built yet\r\n");
    assert_eq!(rejection("job list"), "-ERR JOB is not built yet\r\n");
    for family in REFUSED {
        for name in family.names {
            assert!(find(name.as_bytes()).is_none(), "{name} is both built and refused");
            assert_eq!(*name, name.to_ascii_lowercase());
        }
    }
}

#[test]
fn http_requests_close_the_connection() {
    for line in ["POST / HTTP/1.1", "Host: localhost"] {
        assert!(with_args(line, |args| resolve(args).unwrap_err()).closes());
        assert_eq!(rejection(line), "");
    }
}

#[test]
fn keys_of_a_request_are_found() {
    let keys = |line: &str| {
        with_args(line, |args| {
            resolve(args)
                .unwrap()
                .keys(args)
                .map(|(_, key)| String::from_utf8(key.to_vec()).unwrap())
                .collect::<Vec<_>>()
        })
    };
    assert_eq!(keys("get a"), ["a"]);
    assert_eq!(keys("set a b NX"), ["a"]);
    assert_eq!(keys("mget a b c"), ["a", "b", "c"]);
    assert_eq!(keys("mset a 1 b 2"), ["a", "b"]);
    assert_eq!(keys("mset a 1 b"), ["a", "b"]);
    assert_eq!(keys("ping x"), [""; 0]);
    assert_eq!(keys("sunsubscribe"), [""; 0]);
    assert_eq!(keys("del a b ack accepted"), ["a", "b"]);
    assert_eq!(keys("del a ACK sink"), ["a"]);
    assert_eq!(keys("del ack commit"), ["ack", "commit"]);
    assert_eq!(keys("del a ack b"), ["a", "ack", "b"]);
}

#[test]
fn rows_are_complete() {
    for spec in CommandId::ALL.iter().map(|id| id.spec()) {
        assert!(!spec.summary.is_empty() && spec.summary.ends_with('.'), "{}", spec.name);
        assert!(!spec.since.is_empty() && !spec.complexity.is_empty(), "{}", spec.name);
        assert!(spec.arity != 0, "{}", spec.name);
        assert_eq!(spec.name, spec.name.to_ascii_lowercase());
        let is_fast = spec.flags.contains(Flags::FAST);
        assert_eq!(spec.categories.contains(Categories::FAST), is_fast, "{}", spec.name);
        assert_eq!(spec.categories.contains(Categories::SLOW), !is_fast, "{}", spec.name);
        if let Some(keys) = spec.keys {
            assert!(keys.first > 0 && keys.step > 0, "{}", spec.name);
        }
    }
}

#[test]
fn syntax_is_shown_as_help_shows_it() {
    let syntax = |id: CommandId| id.spec().syntax().to_string();
    assert_eq!(syntax(CommandId::Get), "GET key");
    assert_eq!(
        syntax(CommandId::Set),
        "SET key value [NX | XX] [GET] [EX seconds | PX milliseconds | EXAT unix-time-seconds | \
         PXAT unix-time-milliseconds | KEEPTTL] [ACK <ACCEPTED | COMMIT>]"
    );
    assert_eq!(syntax(CommandId::Mset), "MSET key value [key value ...]");
    assert_eq!(
        syntax(CommandId::ClientTracking).split(" [BCAST]").next().unwrap(),
        "CLIENT TRACKING <ON | OFF> [REDIRECT client-id] [PREFIX prefix [PREFIX prefix ...]]"
    );
    assert_eq!(syntax(CommandId::Info), "INFO [section [section ...]]");
}
