//! Greeting and authentication: `HELLO`, `AUTH`, `RESET`.

use super::client::{self, NameError};
use super::view::AclLogEntry;
use super::{Reply, SYNTAX_ERROR, ServerView, Session, parse_integer};
use crate::resp::{Args, Protocol};

/// `HELLO [protover [AUTH username password] [SETNAME clientname]]`. Nothing changes unless all of it is right.
pub(super) fn hello(session: &mut Session, args: Args<'_>, view: &mut dyn ServerView, out: &mut Reply<'_>) {
    let greeting = match Greeting::read(args) {
        Ok(greeting) => greeting,
        Err(GreetingError::Version) => {
            return out.error("ERR Protocol version is not an integer or out of range");
        }
        Err(GreetingError::Unsupported) => return out.error("NOPROTO unsupported protocol version"),
        Err(GreetingError::Option { index }) => {
            return out.error_bytes(&[b"ERR Syntax error in HELLO option '", &args[index], b"'"]);
        }
        Err(GreetingError::Name(error)) => return error.write("Client names", out),
    };
    if let Some((username, password)) = greeting.credentials
        && !authenticate(session, "HELLO", (username, password), view)
    {
        return out.error(WRONG_PASSWORD);
    }
    if !session.is_authenticated {
        return out.error(
            "NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO <proto> AUTH <user> \
             <pass> option can be used to authenticate the client and select the RESP protocol version at the same time",
        );
    }
    if let Some(name) = greeting.name {
        session.record.name = name;
    }
    if let Some(protocol) = greeting.protocol {
        session.record.protocol = protocol;
        // RESP2 has no attributes.
        session.record.has_meta &= protocol == Protocol::V3;
        out.set_protocol(protocol);
    }
    view.record_client(&session.record);
    write_greeting(session, view, out);
}

/// `AUTH [username] password`.
pub(super) fn auth(session: &mut Session, args: Args<'_>, view: &mut dyn ServerView, out: &mut Reply<'_>) {
    let (username, password) = match args.len() {
        2 => (DEFAULT_USER, &args[1]),
        3 => (&args[1], &args[2]),
        _ => return out.error(SYNTAX_ERROR),
    };
    if args.len() == 2 && view.password().is_none() {
        return out.error(
            "ERR AUTH <password> called without any password configured for the default user. Are you sure your \
             configuration is correct?",
        );
    }
    if authenticate(session, "AUTH", (username, password), view) {
        out.ok();
    } else {
        out.error(WRONG_PASSWORD);
    }
}

/// `RESET`: the state of a connection that has just been accepted. Its subscriptions are ended by the caller.
pub(super) fn reset(session: &mut Session, view: &mut dyn ServerView, out: &mut Reply<'_>) {
    session.is_authenticated = view.password().is_none();
    session.replies = super::Replies::Wanted;
    session.record.name.clear();
    session.record.protocol = Protocol::V2;
    session.record.has_meta = false;
    session.record.subscriptions = super::Subscriptions::default();
    view.record_client(&session.record);
    out.set_protocol(Protocol::V2);
    out.simple("RESET");
}

/// Checks user and password, and notes who was refused. There is one user, `default`, who without a password may come with any.
fn authenticate(
    session: &mut Session,
    command: &'static str,
    (username, password): (&[u8], &[u8]),
    view: &mut dyn ServerView,
) -> bool {
    let is_right = username == DEFAULT_USER && view.password().is_none_or(|known| known.is(password));
    if is_right {
        session.is_authenticated = true;
    } else {
        let now_us = view.now_us();
        view.record_denial(AclLogEntry {
            reason: "auth",
            object: command,
            username: String::from_utf8_lossy(&username[..username.len().min(USERNAME_BYTES_KEPT)]).into_owned(),
            at_us: now_us,
            client: session.record.line(now_us).to_string(),
        });
    }
    is_right
}

fn write_greeting(session: &Session, view: &dyn ServerView, out: &mut Reply<'_>) {
    out.map(7);
    out.text("server");
    out.text("redis");
    out.text("version");
    out.text(REDIS_VERSION);
    out.text("proto");
    out.integer(session.record.protocol.number());
    out.text("id");
    out.count(session.record.id);
    out.text("mode");
    out.text(view.mode());
    out.text("role");
    out.text(view.role().word());
    out.text("modules");
    out.array(0);
}

/// What a greeting asks for.
struct Greeting<'a> {
    protocol: Option<Protocol>,
    credentials: Option<(&'a [u8], &'a [u8])>,
    name: Option<String>,
}

/// What is wrong with a greeting.
enum GreetingError {
    Version,
    Unsupported,
    Option { index: usize },
    Name(NameError),
}

impl<'a> Greeting<'a> {
    fn read(args: Args<'a>) -> Result<Self, GreetingError> {
        let protocol = match args.get(1) {
            None => None,
            Some(version) => match parse_integer(version).ok_or(GreetingError::Version)? {
                2 => Some(Protocol::V2),
                3 => Some(Protocol::V3),
                _ => return Err(GreetingError::Unsupported),
            },
        };
        let mut greeting = Self { protocol, credentials: None, name: None };
        let mut index = 2;
        while let Some(option) = args.get(index) {
            let broken = GreetingError::Option { index };
            if option.eq_ignore_ascii_case(b"AUTH") {
                let (Some(username), Some(password)) = (args.get(index + 1), args.get(index + 2)) else {
                    return Err(broken);
                };
                greeting.credentials = Some((username, password));
                index += 3;
            } else if option.eq_ignore_ascii_case(b"SETNAME") {
                let name = args.get(index + 1).ok_or(broken)?;
                greeting.name = Some(client::checked_name(name).map_err(GreetingError::Name)?);
                index += 2;
            } else {
                return Err(broken);
            }
        }
        Ok(greeting)
    }
}

/// The only user there is.
pub(super) const DEFAULT_USER: &[u8] = b"default";

/// The version of Redis whose behaviour clients may expect.
const REDIS_VERSION: &str = "7.2.0";

const WRONG_PASSWORD: &str = "WRONGPASS invalid username-password pair or user is disabled.";

/// Bytes of a refused username that are kept.
const USERNAME_BYTES_KEPT: usize = 128;
