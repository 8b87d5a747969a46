//! Sessions without sockets: every answer that needs no data, in the words that clients know.
#![cfg(test)]

mod resp_support;
#[path = "handshakes/transcript.rs"]
mod transcript;

use quorate::resp::session::{ClientRecord, Pause};
use quorate::resp::{CommandId, Encoder, Limits, Outcome, Parsed, Parser, Protocol, Session, Trust};
use resp_support::allocations::{Counting, allocations_of};
use resp_support::{Connection, FakeServer};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn connected() -> Connection {
    Connection::new(FakeServer::new())
}

fn locked() -> Connection {
    Connection::new(FakeServer::with_password("secret"))
}

/// Says each line and expects each reply.
fn expect(connection: &mut Connection, exchanges: &[(&str, &str)]) {
    for (line, reply) in exchanges {
        assert_eq!(connection.say(line), *reply, "{line}");
    }
}

const WRONG_PASSWORD: &str = "-WRONGPASS invalid username-password pair or user is disabled.|";

#[test]
fn hello_answers_a_map_in_the_version_it_chose() {
    let mut connection = connected();
    let fields = |proto: u8| {
        format!(
            "$6|server|$5|redis|$7|version|$5|7.2.0|$5|proto|:{proto}|$2|id|:9|$4|mode|$10|standalone|$4|role|$6|master|\
             $7|modules|*0|"
        )
    };
    assert_eq!(connection.say("HELLO"), format!("*14|{}", fields(2)));
    assert_eq!(connection.say("HELLO 3"), format!("%7|{}", fields(3)));
    assert_eq!(connection.session.protocol(), Protocol::V3);
    assert_eq!(connection.say("HELLO"), format!("%7|{}", fields(3)));
    assert_eq!(connection.say("HELLO 2 SETNAME probe"), format!("*14|{}", fields(2)));
    assert_eq!(connection.say("CLIENT GETNAME"), "$5|probe|");
}

#[test]
fn broken_greetings_change_nothing() {
    let mut connection = connected();
    expect(
        &mut connection,
        &[
            ("HELLO x", "-ERR Protocol version is not an integer or out of range|"),
            ("HELLO 4", "-NOPROTO unsupported protocol version|"),
            ("HELLO 1", "-NOPROTO unsupported protocol version|"),
            ("HELLO 3 AUTH x", "-ERR Syntax error in HELLO option 'AUTH'|"),
            ("HELLO 3 SETNAME", "-ERR Syntax error in HELLO option 'SETNAME'|"),
            ("HELLO 3 FOO", "-ERR Syntax error in HELLO option 'FOO'|"),
            ("HELLO 3 SETNAME \"a b\"", "-ERR Client names cannot contain spaces, newlines or special characters.|"),
            ("HELLO 3 SETNAME ok AUTH nobody x", WRONG_PASSWORD),
            ("CLIENT GETNAME", "$-1|"),
        ],
    );
    assert_eq!(connection.session.protocol(), Protocol::V2);
}

#[test]
fn nothing_is_done_before_the_password() {
    let mut connection = locked();
    assert_eq!(connection.session.trust(), Trust::Unauthenticated);
    expect(
        &mut connection,
        &[
            ("PING", "-NOAUTH Authentication required.|"),
            ("GET k", "-NOAUTH Authentication required.|"),
            ("COMMAND DOCS", "-NOAUTH Authentication required.|"),
            ("CLIENT REPLY ON", "-NOAUTH Authentication required.|"),
            ("nosuch", "-ERR unknown command 'nosuch', with args beginning with: |"),
            ("AUTH wrong", WRONG_PASSWORD),
            ("AUTH default wrong", WRONG_PASSWORD),
            ("AUTH nobody secret", WRONG_PASSWORD),
            ("AUTH a b c", "-ERR syntax error|"),
        ],
    );
    assert!(
        connection.say("HELLO 3").starts_with("-NOAUTH HELLO must be called with the client already authenticated")
    );
    assert_eq!(connection.session.protocol(), Protocol::V2);
    expect(&mut connection, &[("AUTH secret", "+OK|"), ("PING", "+PONG|")]);
    assert_eq!(connection.session.trust(), Trust::Authenticated);
}

#[test]
fn every_command_but_four_is_closed_before_the_password() {
    for id in CommandId::ALL {
        let spec = id.spec();
        if matches!(id, CommandId::Hello | CommandId::Auth | CommandId::Quit | CommandId::Reset) {
            continue;
        }
        let count = usize::from(spec.arity.unsigned_abs());
        let mut words: Vec<&str> = spec.name.split('|').collect();
        words.resize(count.max(words.len()), "1");
        let mut connection = locked();
        let reply = connection.say(&words.join(" "));
        let is_bare_container = !spec.subcommands.is_empty() && spec.arity != -1;
        if !is_bare_container {
            assert_eq!(reply, "-NOAUTH Authentication required.|", "{}", spec.name);
        }
        assert_eq!(connection.server.closed, [0; 0]);
    }
}

#[test]
fn greeting_can_carry_the_password() {
    let mut connection = locked();
    assert_eq!(connection.say("HELLO 3 AUTH default wrong"), WRONG_PASSWORD);
    assert!(connection.say("HELLO 3 AUTH default secret SETNAME me").starts_with("%7|"));
    assert_eq!(connection.say("CLIENT GETNAME"), "$2|me|");
}

#[test]
fn reset_makes_the_connection_new() {
    let mut connection = locked();
    connection.say("HELLO 3 AUTH default secret SETNAME me");
    connection.say("CLIENT REPLY OFF");
    assert!(matches!(connection.outcome("RESET"), Outcome::Reset));
    assert_eq!(connection.session.protocol(), Protocol::V2);
    expect(&mut connection, &[("PING", "-NOAUTH Authentication required.|"), ("AUTH secret", "+OK|")]);
    assert_eq!(connection.say("CLIENT GETNAME"), "$-1|");
    assert_eq!(connection.say("RESET"), "+RESET|");
}

#[test]
fn password_without_one_set_is_explained() {
    expect(
        &mut connected(),
        &[
            (
                "AUTH x",
                "-ERR AUTH <password> called without any password configured for the default user. Are you sure your \
                 configuration is correct?|",
            ),
            ("AUTH default anything", "+OK|"),
            ("AUTH nobody x", WRONG_PASSWORD),
        ],
    );
}

#[test]
fn small_questions_are_answered() {
    let mut connection = connected();
    expect(
        &mut connection,
        &[
            ("PING", "+PONG|"),
            ("PING hi", "$2|hi|"),
            ("PING a b", "-ERR wrong number of arguments for 'ping' command|"),
            ("ECHO hi", "$2|hi|"),
            ("SELECT 0", "+OK|"),
            ("SELECT 1", "-ERR DB index is out of range|"),
            ("SELECT a", "-ERR value is not an integer or out of range|"),
            ("SELECT +0", "-ERR value is not an integer or out of range|"),
            ("TIME", "*2|$10|1700000042|$6|123456|"),
            ("ROLE", "*3|$6|master|:7|*1|*3|$9|127.0.0.1|$4|7420|$1|6|"),
            ("CLIENT ID", ":9|"),
            ("", ""),
        ],
    );
    assert!(matches!(connection.outcome("QUIT"), Outcome::Close));
    assert!(matches!(connection.outcome("POST / HTTP/1.1"), Outcome::Close));
    assert_eq!(connection.say("POST / HTTP/1.1"), "");
}

#[test]
fn what_needs_data_is_handed_on() {
    let mut connection = connected();
    for (line, id) in [
        ("GET k", CommandId::Get),
        ("INFO", CommandId::Info),
        ("DBSIZE", CommandId::Dbsize),
        ("SUBSCRIBE c", CommandId::Subscribe),
        ("CLUSTER SLOTS", CommandId::ClusterSlots),
        ("LOG STATUS", CommandId::LogStatus),
        ("WAIT 1 0", CommandId::Wait),
    ] {
        match connection.outcome(line) {
            Outcome::Forward { spec, is_reply_wanted: true } => assert_eq!(spec.id, id),
            other => panic!("{line}: {other:?}"),
        }
    }
}

#[test]
fn subscriber_of_the_second_version_is_confined() {
    let mut connection = connected();
    connection.subscribe();
    let refused = "-ERR Can't execute 'get': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed in \
                   this context|";
    expect(&mut connection, &[("GET k", refused), ("PING", "*2|$4|pong|$0||"), ("PING hi", "*2|$4|pong|$2|hi|")]);
    assert!(matches!(connection.outcome("UNSUBSCRIBE"), Outcome::Forward { .. }));

    let mut connection = connected();
    connection.say("HELLO 3");
    connection.subscribe();
    assert_eq!(connection.say("PING"), "+PONG|");
    assert!(matches!(connection.outcome("GET k"), Outcome::Forward { .. }));
}

#[test]
fn replies_can_be_turned_off() {
    let mut connection = connected();
    expect(
        &mut connection,
        &[
            ("CLIENT REPLY OFF", ""),
            ("PING", ""),
            ("nosuch", ""),
            ("CLIENT REPLY SKIP", ""),
            ("CLIENT REPLY ON", "+OK|"),
            ("CLIENT REPLY SKIP", ""),
            ("PING 1", ""),
            ("PING 2", "$1|2|"),
            ("CLIENT REPLY x", "-ERR syntax error|"),
        ],
    );
    connection.say("CLIENT REPLY SKIP");
    assert!(matches!(connection.outcome("GET k"), Outcome::Forward { is_reply_wanted: false, .. }));
    assert!(matches!(connection.outcome("GET k"), Outcome::Forward { is_reply_wanted: true, .. }));
}

#[test]
fn clients_describe_themselves() {
    let mut connection = connected();
    let characters = "cannot contain spaces, newlines or special characters.|";
    expect(
        &mut connection,
        &[
            ("CLIENT SETNAME worker-1", "+OK|"),
            ("CLIENT SETINFO LIB-NAME redis-py", "+OK|"),
            ("CLIENT SETINFO lib-ver 8.0.0", "+OK|"),
            ("CLIENT SETINFO COLOUR red", "-ERR Unrecognized option 'COLOUR'|"),
            ("CLIENT SETINFO LIB-NAME \"a b\"", &format!("-ERR lib-name {characters}")),
            ("CLIENT SETNAME \"a\\nb\"", &format!("-ERR Client names {characters}")),
            ("CLIENT SETNAME \"\\xff\"", &format!("-ERR Client names {characters}")),
        ],
    );
    let too_long = "n".repeat(513);
    assert_eq!(
        connection.say(&format!("CLIENT SETNAME {too_long}")),
        "-ERR Client names cannot be longer than 512 bytes.|"
    );
    let line = "id=9 addr=127.0.0.1:40009 laddr=127.0.0.1:7400 fd=-1 name=worker-1 age=3 idle=3 flags=N db=0 sub=0 psub=0 \
                ssub=0 multi=-1 qbuf=0 qbuf-free=0 argv-mem=0 multi-mem=0 rbs=0 rbp=0 obl=0 oll=0 omem=0 tot-mem=0 \
                events=r cmd=client|info user=default redir=-1 resp=2 lib-name=redis-py lib-ver=8.0.0";
    assert_eq!(connection.say("CLIENT INFO"), format!("${}|{line}\n|", line.len() + 1));
    connection.say("HELLO 3");
    assert!(connection.say("CLIENT INFO").starts_with(&format!("={}|txt:id=9 ", line.len() + 5)));
    assert_eq!(connection.say("CLIENT SETNAME \"\""), "+OK|");
    assert_eq!(connection.say("CLIENT GETNAME"), "_|");
}

#[test]
fn clients_are_listed_and_filtered() {
    let mut connection = connected();
    connection.say("CLIENT SETNAME me");
    let ids = |reply: String| -> Vec<String> {
        reply.split("id=").skip(1).map(|line| line.split(' ').next().unwrap().to_owned()).collect()
    };
    assert_eq!(ids(connection.say("CLIENT LIST")), ["1", "2", "9"]);
    assert_eq!(ids(connection.say("CLIENT LIST TYPE pubsub")), ["2"]);
    assert_eq!(ids(connection.say("CLIENT LIST TYPE replica")), [""; 0]);
    assert_eq!(ids(connection.say("CLIENT LIST ID 9 1 77")), ["1", "9"]);
    expect(
        &mut connection,
        &[
            ("CLIENT LIST TYPE zz", "-ERR Unknown client type 'zz'|"),
            ("CLIENT LIST ID x", "-ERR Invalid client ID|"),
            ("CLIENT LIST ID 0", "-ERR Invalid client ID|"),
            ("CLIENT LIST ID", "-ERR syntax error|"),
            ("CLIENT LIST FOO", "-ERR syntax error|"),
        ],
    );
}

#[test]
fn clients_are_closed_by_filter() {
    let mut connection = connected();
    expect(
        &mut connection,
        &[
            ("CLIENT KILL 1.1.1.1:1", "-ERR No such client|"),
            ("CLIENT KILL 127.0.0.1:40001", "+OK|"),
            ("CLIENT KILL TYPE pubsub", ":1|"),
            ("CLIENT KILL ID 77", ":0|"),
            ("CLIENT KILL ID 9", ":0|"),
            ("CLIENT KILL USER default LADDR 127.0.0.1:7400 TYPE normal", ":1|"),
            ("CLIENT KILL ID x", "-ERR client-id should be greater than 0|"),
            ("CLIENT KILL ID 0", "-ERR client-id should be greater than 0|"),
            ("CLIENT KILL TYPE zz", "-ERR Unknown client type 'zz'|"),
            ("CLIENT KILL USER zz", "-ERR No such user 'zz'|"),
            ("CLIENT KILL ID 1 TYPE", "-ERR syntax error|"),
            ("CLIENT KILL SKIPME x", "-ERR syntax error|"),
        ],
    );
    assert_eq!(connection.server.closed, [1, 2, 1]);
    assert!(matches!(connection.outcome("CLIENT KILL ID 9 SKIPME no"), Outcome::Close));
    assert_eq!(connection.say("CLIENT KILL 127.0.0.1:40009"), "+OK|");
}

#[test]
fn tracking_is_refused_by_name_and_off_is_fine() {
    let mut connection = connected();
    assert!(connection.say("CLIENT TRACKING ON OPTIN").starts_with("-ERR CLIENT TRACKING ON is not built yet"));
    expect(
        &mut connection,
        &[
            ("CLIENT TRACKING OFF", "+OK|"),
            ("CLIENT TRACKING zz", "-ERR syntax error|"),
            ("CLIENT TRACKINGINFO", "*6|$5|flags|*1|$3|off|$8|redirect|:-1|$8|prefixes|*0|"),
            ("CLIENT NO-EVICT on", "+OK|"),
            ("CLIENT NO-TOUCH OFF", "+OK|"),
            ("CLIENT NO-EVICT x", "-ERR syntax error|"),
            ("CLIENT MAINT_NOTIFICATIONS ON", "-ERR unknown subcommand 'MAINT_NOTIFICATIONS'. Try CLIENT HELP.|"),
        ],
    );
    assert!(connection.say("CLIENT CACHING YES").starts_with("-ERR CLIENT CACHING can be called only"));
}

#[test]
fn replies_tell_their_places_in_the_third_version_only() {
    let mut connection = connected();
    let refused = "-ERR replies have attributes in RESP3 only: say HELLO 3 first|";
    expect(&mut connection, &[("CLIENT META ON", refused), ("CLIENT META OFF", "+OK|")]);
    connection.say("HELLO 3");
    expect(&mut connection, &[("CLIENT META x", "-ERR syntax error|"), ("client meta on", "+OK|")]);
    assert!(connection.session.record().has_meta);
    assert!(connection.say("CLIENT INFO").contains(" meta=on"));
    connection.say("HELLO 3");
    assert!(connection.session.record().has_meta, "nothing has changed");
    connection.say("HELLO 2");
    connection.say("HELLO 3");
    assert!(!connection.session.record().has_meta, "RESP2 took it away");
    connection.say("CLIENT META ON");
    connection.say("RESET");
    assert!(!connection.session.record().has_meta);
    assert!(!connection.say("CLIENT INFO").contains("meta="));
}

#[test]
fn pauses_are_passed_on() {
    let mut connection = connected();
    expect(
        &mut connection,
        &[
            ("CLIENT PAUSE x", "-ERR timeout is not an integer or out of range|"),
            ("CLIENT PAUSE -1", "-ERR timeout is negative|"),
            ("CLIENT PAUSE 1 foo", "-ERR CLIENT PAUSE mode must be WRITE or ALL|"),
            ("CLIENT PAUSE 1 WRITE ALL", "-ERR syntax error|"),
            ("CLIENT PAUSE 1500 write", "+OK|"),
        ],
    );
    let until_us = connection.server.now_us + 1_500_000;
    assert_eq!(connection.server.paused, Some(Pause { until_us, is_writes_only: true }));
    assert_eq!(connection.say("CLIENT UNPAUSE"), "+OK|");
    assert_eq!(connection.server.paused, None);
}

#[test]
fn settings_are_read_and_changed() {
    let mut connection = connected();
    expect(
        &mut connection,
        &[
            ("CONFIG GET save appendonly", "*4|$4|save|$0||$10|appendonly|$2|no|"),
            ("CONFIG GET nosuch", "*0|"),
            ("CONFIG GET MAX*", "*2|$9|maxmemory|$1|0|"),
            ("CONFIG SET MaxMemory 1gb appendonly yes", "+OK|"),
            ("CONFIG GET maxmemory", "*2|$9|maxmemory|$3|1gb|"),
            ("CONFIG SET save 1 nosuch 2", "-ERR Unknown option or number of arguments for CONFIG SET - 'nosuch'|"),
            ("CONFIG GET save", "*2|$4|save|$0||"),
            ("CONFIG SET save", "-ERR wrong number of arguments for 'config|set' command|"),
            ("CONFIG SET save 1 maxmemory", "-ERR wrong number of arguments for 'config|set' command|"),
            (
                "CONFIG SET save 1 SAVE 2",
                "-ERR CONFIG SET failed (possibly related to argument 'save') - duplicate parameter|",
            ),
            ("CONFIG RESETSTAT", "+OK|"),
        ],
    );
    assert_eq!(connection.server.resets, 1);
    connection.say("HELLO 3");
    assert_eq!(connection.say("CONFIG GET save"), "%1|$4|save|$0||");
}

#[test]
fn default_user_is_described_and_its_password_changed() {
    let mut connection = connected();
    let digest = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    let rest = "$8|commands|$5|+@all|$4|keys|$2|~*|$8|channels|$2|&*|$9|selectors|*0|";
    expect(
        &mut connection,
        &[
            ("ACL WHOAMI", "$7|default|"),
            ("ACL LIST", "*1|$51|user default on nopass sanitize-payload ~* &* +@all|"),
            (
                "ACL GETUSER default",
                &format!("*12|$5|flags|*3|$2|on|$6|nopass|$16|sanitize-payload|$9|passwords|*0|{rest}"),
            ),
            ("ACL GETUSER nobody", "$-1|"),
            ("ACL SETUSER default on >abc ~* &* +@all", "+OK|"),
            (
                "ACL GETUSER default",
                &format!("*12|$5|flags|*2|$2|on|$16|sanitize-payload|$9|passwords|*1|$64|{digest}|{rest}"),
            ),
            ("AUTH abc", "+OK|"),
            ("ACL SETUSER default nopass", "+OK|"),
            (&format!("ACL SETUSER default #{digest}"), "+OK|"),
            ("AUTH abc", "+OK|"),
            ("ACL SETUSER other on", "-ERR only the user 'default' exists so far|"),
        ],
    );
    assert!(connection.say("ACL SETUSER default >x -@all").starts_with("-ERR Error in ACL SETUSER modifier '-@all'"));
    assert_eq!(connection.say("AUTH abc"), "+OK|", "a refused change changes nothing");
}

#[test]
fn categories_come_from_the_table() {
    let mut connection = connected();
    assert!(connection.say("ACL CAT").contains("|$7|quorate|"));
    assert!(connection.say("ACL CAT quorate").contains("|$10|cache.peek|"));
    assert_eq!(connection.say("ACL CAT nosuch"), "-ERR Unknown category 'nosuch'|");
}

#[test]
fn refused_logins_are_on_record() {
    let mut connection = locked();
    connection.say("AUTH nobody x");
    connection.say("HELLO 3 AUTH default x");
    connection.say("AUTH secret");
    connection.server.now_us += 1_500_000;
    let log = connection.say("ACL LOG");
    assert!(
        log.starts_with("*2|*14|$6|reason|$4|auth|$7|context|$8|toplevel|$6|object|$5|HELLO|$8|username|$7|default|")
    );
    assert!(log.contains("|$11|age-seconds|$3|1.5|"), "{log}");
    assert!(log.contains("|$8|username|$6|nobody|"), "{log}");
    assert!(connection.say("ACL LOG 1").starts_with("*1|"));
    expect(
        &mut connection,
        &[
            ("ACL LOG x", "-ERR value is not an integer or out of range|"),
            ("ACL LOG RESET", "+OK|"),
            ("ACL LOG", "*0|"),
        ],
    );
}

#[test]
fn every_container_explains_itself() {
    let mut connection = connected();
    for container in ["CLIENT", "CONFIG", "ACL", "COMMAND", "CLUSTER", "PUBSUB", "LOG", "NODE"] {
        let help = connection.say(&format!("{container} HELP"));
        assert!(help.contains(&format!("|+{container} <subcommand> ")), "{container}: {help}");
        assert!(
            connection.say(&format!("{container} nosuch")).starts_with("-ERR unknown subcommand 'nosuch'. Try "),
            "{container}"
        );
    }
}

#[test]
fn clients_are_greeted_as_their_sources_expect() {
    let transcripts = transcript::read_all();
    assert!(transcripts.len() >= 9, "{} transcripts", transcripts.len());
    for transcript in transcripts {
        let server = transcript.password.as_deref().map_or_else(FakeServer::new, FakeServer::with_password);
        let mut connection = Connection::new(server);
        for exchange in &transcript.exchanges {
            let (reply, outcome) = connection.exchange(&exchange.request);
            if matches!(outcome, Outcome::Forward { .. }) {
                // What needs data is for a test with a whole node to play.
                assert_eq!(exchange.reply_count(), 1);
                continue;
            }
            assert!(
                exchange.is_met_by(&reply),
                "{}:\n> {}\n< {}\nexpected {}",
                transcript.name,
                exchange.request.escape_ascii(),
                reply.escape_ascii(),
                exchange.reply
            );
        }
    }
}

#[test]
fn request_that_is_handed_on_allocates_nothing() {
    let mut server = FakeServer::new();
    let record = ClientRecord::new(9, "127.0.0.1:40009".to_owned(), "127.0.0.1:7400".to_owned(), server.now_us);
    let mut session = Session::new(record, &server);
    let mut parser = Parser::new(Limits::default());
    let mut out = Vec::with_capacity(4096);
    let requests = b"*3\r\n$3\r\nSET\r\n$3\r\nkey\r\n$5\r\nvalue\r\n*2\r\n$3\r\nGET\r\n$3\r\nkey\r\nINCR n\r\n*1\r\n$4\r\nPING\r\n";
    let mut turn = || {
        let mut rest = &requests[..];
        out.clear();
        while let Parsed::Complete { consumed } = parser.parse(rest, session.trust()) {
            let args = parser.args(rest);
            if let Outcome::Forward { spec, .. } = session.dispatch(args, &mut server, &mut out) {
                assert_eq!(spec.keys(args).count(), 1);
                let mut reply = Encoder::new(&mut out, session.protocol());
                reply.ok();
                reply.bulk(b"value");
                reply.integer(1_234_567);
            }
            rest = &rest[consumed..];
        }
        assert!(rest.is_empty());
    };
    turn();
    assert_eq!(allocations_of(|| (0..1000).for_each(|_| turn())), 0);
    assert!(allocations_of(|| drop(vec![0_u8; 10])) > 0, "the tally counts");
}
