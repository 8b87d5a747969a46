//! Requests at the RESP door of one small node: each gets one whole reply, in the version that the connection speaks.
//!
//! The bytes choose commands out of the table and arguments near to what each takes. A session answers what needs no data;
//! the rest is planned, executed by an engine that is its own quorum, and rendered.
//!
//! Checked:
//! 1. The `redis-protocol` crate decodes each reply, in the version of the connection, as one frame that ends where the reply
//!    ends.
//! 2. What a session answers and what is rendered never says that we broke an answer of our own.
//! 3. Nothing is written only where nothing is wanted.

use quorate::resp::plan::{Context, Parts, Plan, plan};
use quorate::resp::render::write_many;
use quorate::resp::session::{
    AclLogEntry, ClientRecord, ConfigError, Password, Pause, RoleReport, ServerView, Settings,
};
use quorate::resp::table::{Argument, ArgumentKind, CommandId, CommandSpec};
use quorate::resp::{Encoder, Limits, Outcome, Parsed, Parser, Protocol, Session, Trust};
use quorate_engine::config::{Config, Placement};
use quorate_engine::engine::{Engine, Input};
use quorate_engine::ids::{GroupId, Incarnation, LogIndex, NodeId, ReplicaId, Slot};
use quorate_engine::machine::answer::Answer;
use quorate_engine::machine::command::resolve_absolute;
use quorate_engine::output::{Outcome as EngineOutcome, Output, Token};
use quorate_engine::slots::{SlotMap, slot_of};
use quorate_engine::time::Instant;
use quorate_engine::{Level, Request};

use crate::script::Script;

/// Runs all checks.
///
/// # Panics
/// If a check fails.
pub fn check(data: &[u8]) {
    let mut script = Script::new(data);
    let mut node = Node::new(script.byte());
    while !script.is_at_end() && node.reply_bytes < REPLY_BYTES_MAX {
        let args = request(&mut script);
        node.now.0 += u64::from(script.byte()) * 10_000_000;
        node.run(&args);
    }
    node.engine.check();
}

/// A node with one connection.
struct Node {
    engine: Engine,
    map: SlotMap,
    /// The groups that this node has; the keys of the others are refused.
    groups: [GroupId; 2],
    now: Instant,
    session: Session,
    server: Server,
    parts: Parts,
    requests: u64,
    reply_bytes: usize,
}

impl Node {
    fn new(choice: u8) -> Self {
        let me = ReplicaId { node: NodeId(1), incarnation: Incarnation(1) };
        let map = SlotMap::new(PARTITIONS).expect("a power of two");
        let placement = Placement::new(map, vec![me.node], 1, 1).expect("one node holds one replica");
        let groups = [b"a", b"b"].map(|key| map.group_of(slot_of(key)));
        let configs = groups.map(|group| placement.group(group)).into();
        let settings =
            Config { log_bytes: 16 << 12, segment_bytes: 1 << 12, value_bytes_max: 4096, ..Config::default() };
        let settings = Config { key_bytes_max: 256, memory_bytes_max: 1 << 20, ..settings };
        let engine = Engine::new(settings.build().expect("small and valid"), me, configs);
        let server = Server { now_us: WALL_START_NS / 1000, password: (choice & 2 != 0).then(|| Password::new(b"a")) };
        let record = ClientRecord::new(9, "127.0.0.1:40009".to_owned(), "127.0.0.1:7400".to_owned(), server.now_us);
        let session = Session::new(record, &server);
        let now = Instant(1_000_000_000);
        let mut node =
            Self { engine, map, groups, now, session, server, parts: Parts::default(), requests: 0, reply_bytes: 0 };
        node.turn(&mut |_, _| {});
        if choice & 1 != 0 {
            node.run(&[b"HELLO", b"3"]);
        }
        node
    }

    /// Sends one request and checks the reply.
    fn run(&mut self, args: &[&[u8]]) {
        let mut bytes = Vec::new();
        let mut encoder = Encoder::new(&mut bytes, Protocol::V2);
        encoder.array(args.len());
        args.iter().for_each(|argument| encoder.bulk(argument));
        let mut parser = Parser::new(Limits::default());
        assert_eq!(parser.parse(&bytes, Trust::Authenticated), Parsed::Complete { consumed: bytes.len() });
        let args = parser.args(&bytes);

        self.server.now_us = self.wall_now_ns() / 1000;
        let mut reply = Vec::new();
        let outcome = self.session.dispatch(args, &mut self.server, &mut reply);
        // The reply to HELLO is in the version that it has chosen.
        let protocol = self.session.protocol();
        let is_answered = match outcome {
            Outcome::Answered | Outcome::Reset | Outcome::Close => !reply.is_empty(),
            Outcome::Forward { spec, is_reply_wanted } => {
                assert!(reply.is_empty(), "answered and forwarded: {}", reply.escape_ascii());
                self.forward(spec, args, &mut Encoder::new(&mut reply, protocol)) && is_reply_wanted
            }
        };
        if is_answered {
            check_reply(&reply, protocol);
        }
        self.reply_bytes += reply.len();
    }

    /// Executes a data command; returns whether it is one.
    fn forward(
        &mut self,
        spec: &'static CommandSpec,
        args: quorate::resp::Args<'_>,
        out: &mut Encoder<'_, Vec<u8>>,
    ) -> bool {
        let context = Context { map: self.map, wall_now_ns: self.wall_now_ns(), random: self.requests };
        let mut parts = std::mem::take(&mut self.parts);
        match plan(spec, args, &context, &mut parts) {
            Ok(Plan::Elsewhere) => {
                self.parts = parts;
                return false;
            }
            Ok(plan) => match self.execute(plan, &parts) {
                Ok((shape, answers, count)) => {
                    if answers.is_empty() {
                        out.simple("ACCEPTED");
                    } else {
                        write_many(shape, &answers, count, parts.pattern(), self.wall_now_ns(), out);
                    }
                }
                Err(text) => out.error(&text),
            },
            Err(error) => out.error(&error.to_string()),
        }
        self.parts = parts;
        true
    }

    /// Has all parts executed; returns their answers, or the first refusal.
    fn execute(&mut self, plan: Plan, parts: &Parts) -> Result<(quorate::resp::render::Shape, Vec<u8>, usize), String> {
        let mut answers = Vec::new();
        match plan {
            Plan::Parts { shape, level } => {
                for part in parts.iter() {
                    self.ask(self.map.group_of(part.slot), part.slot, part.command, level, &mut answers)?;
                }
                Ok((shape, answers, parts.len()))
            }
            Plan::EveryGroup { shape, level } => {
                for group in self.groups {
                    self.ask(group, self.map.slots_of(group).first, parts.get(0).command, level, &mut answers)?;
                }
                Ok((shape, answers, self.groups.len()))
            }
            Plan::AnyGroup { shape } => {
                for group in self.groups {
                    answers.clear();
                    let slot = self.map.slots_of(group).first;
                    self.ask(group, slot, parts.get(0).command, Level::Commit, &mut answers)?;
                    if !matches!(Answer::read(&answers), Some((Answer::Nil, _))) {
                        break;
                    }
                }
                Ok((shape, answers, 1))
            }
            Plan::Elsewhere => unreachable!("handled before"),
        }
    }

    /// Has the engine execute one command; appends the answer, which stays empty if the command was merely accepted.
    fn ask(
        &mut self,
        group: GroupId,
        slot: Slot,
        command: &[u8],
        level: Level,
        answers: &mut Vec<u8>,
    ) -> Result<(), String> {
        let mut command = command.to_vec();
        resolve_absolute(&mut command, i64::try_from(self.wall_now_ns()).expect("long before the year 2262"));
        self.requests += 1;
        let (token, after) = (Token(self.requests), LogIndex(0));
        let request = Request { token, group, slot, command: &command, level, after };
        let mut ended = None;
        let mut note = |of: Token, outcome: EngineOutcome<'_>| {
            assert_eq!(of, token);
            assert!(ended.is_none(), "answered twice");
            ended = Some(match outcome {
                EngineOutcome::Done { answer, .. } => {
                    assert!(Answer::check(answer), "{}", answer.escape_ascii());
                    answers.extend_from_slice(answer);
                    Ok(())
                }
                EngineOutcome::Accepted { .. } => Ok(()),
                EngineOutcome::Refused(refusal) => Err(refusal.to_string()),
                EngineOutcome::Unknown { id } => panic!("{id} is held by everyone there is"),
            });
        };
        for output in self.engine.handle(self.now, Input::Request(request)) {
            if let Output::Reply { token, outcome } = output {
                note(token, outcome);
            }
        }
        self.turn(&mut note);
        ended.expect("one replica is a quorum")
    }

    fn turn(&mut self, note: &mut dyn FnMut(Token, EngineOutcome<'_>)) {
        for _ in 0..2 {
            for output in self.engine.end_turn(self.now) {
                if let Output::Reply { token, outcome } = output {
                    note(token, outcome);
                }
            }
        }
    }

    fn wall_now_ns(&self) -> u64 {
        WALL_START_NS + self.now.0
    }
}

/// Checks 1 and 2.
fn check_reply(reply: &[u8], protocol: Protocol) {
    assert!(!reply.starts_with(b"-ERR internal"), "{}", reply.escape_ascii());
    if reply.starts_with(b"-") && str::from_utf8(reply).is_err() {
        // An error repeats the words of the request as they are, as Redis' do; the other decoder takes only text.
        let breaks = reply.iter().filter(|byte| matches!(byte, b'\r' | b'\n')).count();
        assert!(breaks == 2 && reply.ends_with(b"\r\n"), "{}", reply.escape_ascii());
        return;
    }
    let length = match protocol {
        Protocol::V2 => redis_protocol::resp2::decode::decode(reply).map(|frame| frame.map(|(_, length)| length)),
        Protocol::V3 => {
            redis_protocol::resp3::decode::complete::decode(reply).map(|frame| frame.map(|(_, length)| length))
        }
    };
    match length {
        Ok(length) => assert_eq!(length, Some(reply.len()), "{}", reply.escape_ascii()),
        Err(error) => panic!("{error}: {}", reply.escape_ascii()),
    }
}

/// Returns a command and arguments, mostly those that it takes.
fn request<'a>(script: &mut Script<'a>) -> Vec<&'a [u8]> {
    let spec = CommandId::ALL[script.below(CommandId::COUNT)].spec();
    let mut args: Vec<&[u8]> = spec.name.split('|').map(str::as_bytes).collect();
    for argument in spec.arguments {
        push_argument(script, argument, &mut args);
    }
    // Some more, or one less.
    match script.byte() {
        0..=199 => {}
        200..=219 => {
            args.pop();
        }
        _ => (0..script.below(4)).for_each(|_| args.push(any_word(script))),
    }
    if args.is_empty() {
        args.push(b"PING");
    }
    args
}

fn push_argument<'a>(script: &mut Script<'a>, argument: &Argument, args: &mut Vec<&'a [u8]>) {
    if argument.is_optional && script.byte().is_multiple_of(2) {
        return;
    }
    let times = if argument.is_multiple { 1 + script.below(3) } else { 1 };
    for time in 0..times {
        if let Some(token) = argument.token.filter(|_| time == 0 || argument.is_multiple_token) {
            args.push(token.as_bytes());
        }
        match argument.kind {
            ArgumentKind::PureToken => {}
            ArgumentKind::OneOf => {
                let choice = script.below(argument.arguments.len());
                push_argument(script, &argument.arguments[choice], args);
            }
            ArgumentKind::Block => argument.arguments.iter().for_each(|part| push_argument(script, part, args)),
            ArgumentKind::Key(_) => args.push(script.choose(KEYS)),
            ArgumentKind::Integer | ArgumentKind::Double | ArgumentKind::UnixTime => args.push(number(script)),
            ArgumentKind::Pattern => args.push(script.choose(PATTERNS)),
            ArgumentKind::String => args.push(any_word(script)),
        }
    }
}

fn number<'a>(script: &mut Script<'a>) -> &'a [u8] {
    match script.byte() {
        0..=223 => script.choose(NUMBERS),
        _ => any_word(script),
    }
}

fn any_word<'a>(script: &mut Script<'a>) -> &'a [u8] {
    match script.byte() {
        0..=79 => script.choose(KEYS),
        80..=127 => script.choose(NUMBERS),
        128..=159 => script.choose(PATTERNS),
        160..=191 => script.choose(WORDS),
        byte => {
            let len = usize::from(byte) - 192;
            script.bytes(len)
        }
    }
}

/// A server that knows nothing but the time and its password.
struct Server {
    now_us: u64,
    password: Option<Password>,
}

impl ServerView for Server {
    fn now_us(&self) -> u64 {
        self.now_us
    }
    fn mode(&self) -> &'static str {
        "standalone"
    }
    fn role(&self) -> RoleReport {
        RoleReport::Leader { offset: 7, followers: vec![("127.0.0.1".to_owned(), 7420, 6)] }
    }
    fn password(&self) -> Option<Password> {
        self.password
    }
    fn set_password(&mut self, password: Option<Password>) {
        self.password = password;
    }
    fn visit_clients(&self, visit: &mut dyn FnMut(&ClientRecord)) {
        visit(&ClientRecord::new(1, "127.0.0.1:40001".to_owned(), "127.0.0.1:7400".to_owned(), self.now_us));
    }
    fn record_client(&mut self, _: &ClientRecord) {}
    fn close_clients(&mut self, _: u64, is_meant: &dyn Fn(&ClientRecord) -> bool) -> usize {
        let mut count = 0;
        self.visit_clients(&mut |client| count += usize::from(is_meant(client)));
        count
    }
    fn pause(&mut self, _: Pause) {}
    fn unpause(&mut self) {}
    fn visit_settings(&self, visit: &mut dyn FnMut(&str, &str)) {
        visit("save", "");
        visit("maxmemory", "0");
    }
    fn change_settings(&mut self, settings: Settings<'_>) -> Result<(), ConfigError> {
        let name = settings.first().map_or("", |(name, _)| *name).to_owned();
        Err(ConfigError::Value { name, expected: "nothing is good enough".to_owned() })
    }
    fn reset_statistics(&mut self) {}
    fn record_denial(&mut self, _: AclLogEntry) {}
    fn denials(&self, count: usize) -> Vec<AclLogEntry> {
        let entry = AclLogEntry {
            reason: "auth",
            object: "AUTH",
            username: "\r\n".to_owned(),
            at_us: self.now_us,
            client: String::new(),
        };
        vec![entry; count.min(2)]
    }
    fn forget_denials(&mut self) {}
}

/// Many, so that a group is narrow and quickly made.
const PARTITIONS: u32 = 64;
/// A run ends when its replies are longer: one `COMMAND DOCS` is.
const REPLY_BYTES_MAX: usize = 64 << 10;
const WALL_START_NS: u64 = 1_700_000_000_000_000_000;

const KEYS: &[&[u8]] = &[b"a", b"b", b"c", b"{a}1", b"{a}2", b"h", b"", b"\r\n"];
const NUMBERS: &[&[u8]] = &[
    b"0",
    b"1",
    b"-1",
    b"2",
    b"10",
    b"100",
    b"1.5",
    b"-0.25",
    b"1e300",
    b"9223372036854775807",
    b"-9223372036854775808",
    b"1700000001",
    b"1700000001000",
    b"4096",
    b"01",
    b"nan",
];
const PATTERNS: &[&[u8]] = &[b"*", b"a*", b"?", b"[a-c]", b"\\a", b"[^h", b"**a*"];
const WORDS: &[&[u8]] = &[
    &[b'x'; 300],
    &[b'y'; 5000],
    b"default",
    b"on",
    b"off",
    b"skip",
    b"string",
    b"hash",
    b"accepted",
    b"commit",
    b"get",
    b"set",
    b"client",
    b"no",
    b"ACK",
    b"AUTH",
    b"SETNAME",
    b"3",
    b"2",
    b"+PING\r\n",
];
