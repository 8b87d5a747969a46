//! One client's connection: who it is, what it speaks, and every answer that needs no data.
//!
//! [`Session::dispatch`] is called once for each request. It finds the command, refuses what may not run, and either answers at once
//! (greeting, authentication, `CLIENT`, `CONFIG`, `ACL`, `COMMAND`) or hands the command back for the one who owns the data.
//! What it must know about the rest of the server it asks through [`ServerView`], so it runs in a test without a socket.
//!
//! ```text
//! parsed request ─▶ found? ─▶ authenticated? ─▶ allowed while subscribed? ─▶ ours? ─▶ answered
//!                    │no        │no                │no                         └no─▶ Forward
//!                    ▼          ▼                  ▼
//!                  error      NOAUTH             error
//! ```
//!
//! # Invariants
//! I1. Before authentication only commands with the flag `no_auth` do anything.
//! I2. A request gets exactly one reply, or none when the client asked for none (`CLIENT REPLY`).
//!
//! # Bounds
//! Names a client gives to itself are at most 512 bytes each.
//!
//! # Source
//! Texts and order of checks as Redis 7.2 answers them, tried against Redis 7.0.15.

mod acl;
mod client;
mod hello;
mod password;
mod server;
mod view;

pub use password::Password;
pub use view::{
    AclLogEntry, ClientKind, ClientRecord, ConfigError, Pause, RoleReport, ServerView, Settings, Subscriptions,
};

use super::table::{CommandId, CommandSpec, Flags};
use super::{Args, Encoder, Protocol, ReplyBuffer, Trust, docs, table};

/// The state of one connection.
#[derive(Debug)]
pub struct Session {
    record: ClientRecord,
    is_authenticated: bool,
    replies: Replies,
}

/// What is to be done after a request.
#[derive(Clone, Copy, Debug)]
#[must_use]
pub enum Outcome {
    /// It has been answered.
    Answered,
    /// It has been answered, and the connection is as new: its subscriptions end.
    Reset,
    /// The connection is closed once what was written has been sent.
    Close,
    /// It has to be executed by whoever owns the data.
    Forward {
        /// The command; its number of arguments is legal.
        spec: &'static CommandSpec,
        /// Whether the client wants the reply.
        is_reply_wanted: bool,
    },
}

impl Session {
    /// Starts a session for a connection that has just been accepted.
    #[must_use]
    pub fn new(record: ClientRecord, view: &dyn ServerView) -> Self {
        Self { record, is_authenticated: view.password().is_none(), replies: Replies::Wanted }
    }

    /// Handles one request: answers it into `out`, or says who has to. `args` may be empty: such a request is ignored.
    ///
    /// Cost: for a command that is handed on, one lookup in the table; no allocation.
    pub fn dispatch(&mut self, args: Args<'_>, view: &mut dyn ServerView, out: &mut dyn ReplyBuffer) -> Outcome {
        if args.is_empty() {
            return Outcome::Answered;
        }
        let resolved = table::resolve(args);
        let is_reply_wanted = self.take_reply_wish() || turns_replies_on(&resolved, args);
        let mut muted = Muted;
        let buffer: &mut dyn ReplyBuffer = if is_reply_wanted { out } else { &mut muted };
        let mut reply = Encoder::new(buffer, self.record.protocol);
        let spec = match resolved {
            Ok(spec) => spec,
            Err(reject) => {
                reject.write(args, &mut reply);
                return if reject.closes() { Outcome::Close } else { Outcome::Answered };
            }
        };
        self.record.last_command = Some(spec.id);
        if !self.is_authenticated && !spec.flags.contains(Flags::NO_AUTH) {
            reply.error("NOAUTH Authentication required.");
            return Outcome::Answered;
        }
        if self.is_confined_to_subscriptions() && !is_allowed_while_subscribed(spec.id) {
            reply.error_args(format_args!(
                "ERR Can't execute '{}': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed in this context",
                spec.name
            ));
            return Outcome::Answered;
        }
        self.answer(spec, Request { args, view }, &mut reply).unwrap_or(Outcome::Forward { spec, is_reply_wanted })
    }

    /// What is known about the connection.
    #[must_use]
    pub fn record(&self) -> &ClientRecord {
        &self.record
    }

    /// The version of the protocol for the next reply.
    #[must_use]
    pub fn protocol(&self) -> Protocol {
        self.record.protocol
    }

    /// How far the parser may trust the client.
    #[must_use]
    pub fn trust(&self) -> Trust {
        if self.is_authenticated { Trust::Authenticated } else { Trust::Unauthenticated }
    }

    /// Notes how many subscriptions the connection now has.
    pub fn record_subscriptions(&mut self, subscriptions: Subscriptions) {
        self.record.subscriptions = subscriptions;
    }

    /// Notes when the connection last sent something, in microseconds since the Unix epoch.
    pub fn record_activity(&mut self, now_us: u64) {
        self.record.active_at_us = now_us;
    }

    /// Whether RESP2 confines the connection to the commands of subscribers, since it could not tell messages from replies.
    #[must_use]
    pub fn is_confined_to_subscriptions(&self) -> bool {
        self.record.protocol == Protocol::V2 && self.record.subscriptions.any()
    }

    /// Answers what needs no data. `None`: it is not ours.
    fn answer(&mut self, spec: &'static CommandSpec, request: Request<'_>, out: &mut Reply<'_>) -> Option<Outcome> {
        let Request { args, view } = request;
        match spec.id {
            CommandId::Hello => hello::hello(self, args, view, out),
            CommandId::Auth => hello::auth(self, args, view, out),
            CommandId::Reset => {
                hello::reset(self, view, out);
                return Some(Outcome::Reset);
            }
            CommandId::Quit => {
                out.ok();
                return Some(Outcome::Close);
            }
            CommandId::Ping => self.ping(args, out),
            CommandId::Echo => out.bulk(&args[1]),
            CommandId::Select => select(args, out),
            CommandId::Time => server::time(view, out),
            CommandId::Role => server::role(view, out),
            CommandId::ConfigGet => server::config_get(args, view, out),
            CommandId::ConfigSet => server::config_set(args, view, out),
            CommandId::ClientReply => self.change_replies(args, out),
            CommandId::ConfigResetstat => {
                view.reset_statistics();
                out.ok();
            }
            CommandId::Command => docs::write_all(out),
            CommandId::CommandCount => docs::write_count(out),
            CommandId::CommandDocs => docs::write_docs(args, out),
            CommandId::CommandGetkeys => docs::write_keys(args, out),
            CommandId::CommandInfo => docs::write_info(args, out),
            CommandId::CommandList => docs::write_list(args, out),
            _ => return self.answer_family(spec, Request { args, view }, out),
        }
        Some(Outcome::Answered)
    }

    /// Answers the subcommands of the larger families.
    fn answer_family(
        &mut self,
        spec: &'static CommandSpec,
        request: Request<'_>,
        out: &mut Reply<'_>,
    ) -> Option<Outcome> {
        let container = spec.name.split_once('|').map(|(container, _)| container)?;
        if spec.verb() == "help" {
            docs::write_help(table::find(container.as_bytes())?, out);
            return Some(Outcome::Answered);
        }
        match container {
            "client" => client::answer(self, spec.id, request, out),
            "acl" => acl::answer(self, spec.id, request, out).then_some(Outcome::Answered),
            _ => None,
        }
    }

    fn ping(&self, args: Args<'_>, out: &mut Reply<'_>) {
        if args.len() > 2 {
            return out.error("ERR wrong number of arguments for 'ping' command");
        }
        let message = args.get(1);
        if self.is_confined_to_subscriptions() {
            out.array(2);
            out.text("pong");
            out.bulk(message.unwrap_or_default());
        } else {
            match message {
                Some(message) => out.bulk(message),
                None => out.simple("PONG"),
            }
        }
    }

    /// `CLIENT REPLY ON|OFF|SKIP`: only `ON` is answered.
    fn change_replies(&mut self, args: Args<'_>, out: &mut Reply<'_>) {
        match args[2].to_ascii_lowercase().as_slice() {
            b"on" => {
                self.replies = Replies::Wanted;
                out.ok();
            }
            b"off" => self.replies = Replies::Off,
            b"skip" if self.replies == Replies::Wanted => self.replies = Replies::SkipNext,
            b"skip" => {}
            _ => out.error(SYNTAX_ERROR),
        }
    }

    /// Whether the reply to the request at hand is wanted; a skip is used up.
    fn take_reply_wish(&mut self) -> bool {
        match self.replies {
            Replies::Wanted => true,
            Replies::Off => false,
            Replies::SkipNext => {
                self.replies = Replies::Wanted;
                false
            }
        }
    }
}

/// Whether this is `CLIENT REPLY ON`, which is answered even while replies are off.
fn turns_replies_on(resolved: &Result<&'static CommandSpec, table::Reject>, args: Args<'_>) -> bool {
    matches!(resolved, Ok(spec) if spec.id == CommandId::ClientReply) && args[2].eq_ignore_ascii_case(b"on")
}

/// `SELECT index`: there is one database.
fn select(args: Args<'_>, out: &mut Reply<'_>) {
    match parse_integer(&args[1]) {
        None => out.error("ERR value is not an integer or out of range"),
        Some(0) => out.ok(),
        Some(_) => out.error("ERR DB index is out of range"),
    }
}

fn is_allowed_while_subscribed(id: CommandId) -> bool {
    matches!(
        id,
        CommandId::Subscribe
            | CommandId::Unsubscribe
            | CommandId::Psubscribe
            | CommandId::Punsubscribe
            | CommandId::Ssubscribe
            | CommandId::Sunsubscribe
            | CommandId::Ping
            | CommandId::Quit
            | CommandId::Reset
    )
}

/// Reads a decimal integer in its one canonical spelling.
fn parse_integer(text: &[u8]) -> Option<i64> {
    let (digits, is_negative) = match text {
        [b'-', digits @ ..] => (digits, true),
        digits => (digits, false),
    };
    let is_canonical = match digits {
        [] => false,
        [b'0'] => !is_negative,
        [first, rest @ ..] => matches!(first, b'1'..=b'9') && rest.iter().all(u8::is_ascii_digit),
    };
    if is_canonical { std::str::from_utf8(text).ok()?.parse().ok() } else { None }
}

/// A request on its way to the one who answers it.
struct Request<'a> {
    args: Args<'a>,
    view: &'a mut dyn ServerView,
}

/// Where answers are written here.
type Reply<'a> = Encoder<'a, dyn ReplyBuffer + 'a>;

/// Which replies the client wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Replies {
    Wanted,
    SkipNext,
    Off,
}

/// Takes replies that nobody wants.
struct Muted;

impl ReplyBuffer for Muted {
    fn extend_from_slice(&mut self, _bytes: &[u8]) {}
}

const SYNTAX_ERROR: &str = "ERR syntax error";
