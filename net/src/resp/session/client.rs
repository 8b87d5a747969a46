//! `CLIENT` and its subcommands.

use thiserror::Error;

use super::view::{ClientKind, Pause};
use super::{Outcome, Reply, Request, SYNTAX_ERROR, ServerView, Session, parse_integer};
use crate::resp::table::CommandId;
use crate::resp::{Args, Protocol};

/// Answers one subcommand. `None`: it is not one of these.
pub(super) fn answer(
    session: &mut Session,
    id: CommandId,
    request: Request<'_>,
    out: &mut Reply<'_>,
) -> Option<Outcome> {
    let Request { args, view } = request;
    match id {
        CommandId::ClientId => out.count(session.record.id),
        CommandId::ClientGetname if session.record.name.is_empty() => out.null(),
        CommandId::ClientGetname => out.text(&session.record.name),
        CommandId::ClientSetname => set_name(session, args, view, out),
        CommandId::ClientSetinfo => set_info(session, args, view, out),
        CommandId::ClientInfo => out.verbatim(&format!("{}\n", session.record.line(view.now_us()))),
        CommandId::ClientList => list(args, view, out),
        CommandId::ClientKill => return Some(kill(session, args, view, out)),
        CommandId::ClientMeta => meta(session, args, view, out),
        CommandId::ClientNoEvict | CommandId::ClientNoTouch => switch(args, out),
        CommandId::ClientTracking => tracking(args, out),
        CommandId::ClientTrackinginfo => tracking_info(out),
        CommandId::ClientCaching => out.error(
            "ERR CLIENT CACHING can be called only when the client is in tracking mode with OPTIN or OPTOUT mode enabled",
        ),
        CommandId::ClientPause => pause(args, view, out),
        CommandId::ClientUnpause => {
            view.unpause();
            out.ok();
        }
        _ => return None,
    }
    Some(Outcome::Answered)
}

/// Checks a name that a client gives to itself; an empty one takes the name away.
pub(super) fn checked_name(name: &[u8]) -> Result<String, NameError> {
    if name.len() > NAME_BYTES_MAX {
        return Err(NameError::TooLong);
    }
    if !name.iter().all(u8::is_ascii_graphic) {
        return Err(NameError::Characters);
    }
    String::from_utf8(name.to_vec()).map_err(|_| NameError::Characters)
}

/// What is wrong with such a name.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub(super) enum NameError {
    #[error("cannot contain spaces, newlines or special characters.")]
    Characters,
    #[error("cannot be longer than {NAME_BYTES_MAX} bytes.")]
    TooLong,
}

impl NameError {
    /// Writes the error; `what` is the subject of the sentence.
    pub(super) fn write(self, what: &str, out: &mut Reply<'_>) {
        out.error_args(format_args!("ERR {what} {self}"));
    }
}

fn set_name(session: &mut Session, args: Args<'_>, view: &mut dyn ServerView, out: &mut Reply<'_>) {
    match checked_name(&args[2]) {
        Ok(name) => {
            session.record.name = name;
            view.record_client(&session.record);
            out.ok();
        }
        Err(error) => error.write("Client names", out),
    }
}

/// `CLIENT SETINFO LIB-NAME name | LIB-VER version`.
fn set_info(session: &mut Session, args: Args<'_>, view: &mut dyn ServerView, out: &mut Reply<'_>) {
    let attribute = args[2].to_ascii_lowercase();
    let field = match attribute.as_slice() {
        b"lib-name" => &mut session.record.library_name,
        b"lib-ver" => &mut session.record.library_version,
        _ => return out.error_bytes(&[b"ERR Unrecognized option '", &args[2], b"'"]),
    };
    match checked_name(&args[3]) {
        Ok(value) => {
            *field = value;
            view.record_client(&session.record);
            out.ok();
        }
        Err(error) => error.write(&String::from_utf8_lossy(&attribute), out),
    }
}

/// `CLIENT LIST [TYPE type] [ID id ...]`.
fn list(args: Args<'_>, view: &dyn ServerView, out: &mut Reply<'_>) {
    let (mut kind, mut ids) = (None, None);
    match args.get(2).map(<[u8]>::to_ascii_lowercase).as_deref() {
        None => {}
        Some(b"type") if args.len() == 4 => match ClientKind::named(&args[3]) {
            Some(known) => kind = Some(known),
            None => return unknown_kind(&args[3], out),
        },
        Some(b"id") if args.len() > 3 => {
            let wanted: Option<Vec<u64>> = args.skip(3).iter().map(client_id).collect();
            match wanted {
                Some(wanted) => ids = Some(wanted),
                None => return out.error("ERR Invalid client ID"),
            }
        }
        Some(_) => return out.error(SYNTAX_ERROR),
    }
    let now_us = view.now_us();
    let mut text = String::new();
    view.visit_clients(&mut |record| {
        let is_wanted =
            kind.is_none_or(|kind| record.kind() == kind) && ids.as_ref().is_none_or(|ids| ids.contains(&record.id));
        if is_wanted {
            text.push_str(&format!("{}\n", record.line(now_us)));
        }
    });
    out.verbatim(&text);
}

/// `CLIENT KILL address` answers OK; `CLIENT KILL filter value ...` answers how many.
fn kill(session: &Session, args: Args<'_>, view: &mut dyn ServerView, out: &mut Reply<'_>) -> Outcome {
    let is_old_form = args.len() == 3;
    let filter = if is_old_form {
        KillFilter { address: Some(&args[2]), is_me_spared: false, ..KillFilter::default() }
    } else {
        match KillFilter::read(args) {
            Ok(filter) => filter,
            Err(error) => {
                error.write(out);
                return Outcome::Answered;
            }
        }
    };
    let is_me_meant = !filter.is_me_spared && filter.matches(&session.record);
    let count = view.close_clients(session.record.id, &|record| filter.matches(record)) + usize::from(is_me_meant);
    match (is_old_form, count) {
        (true, 0) => out.error("ERR No such client"),
        (true, _) => out.ok(),
        (false, _) => out.count(count as u64),
    }
    if is_me_meant { Outcome::Close } else { Outcome::Answered }
}

/// Which connections are meant.
struct KillFilter<'a> {
    id: Option<u64>,
    kind: Option<ClientKind>,
    address: Option<&'a [u8]>,
    local_address: Option<&'a [u8]>,
    is_me_spared: bool,
}

impl Default for KillFilter<'_> {
    fn default() -> Self {
        Self { id: None, kind: None, address: None, local_address: None, is_me_spared: true }
    }
}

impl<'a> KillFilter<'a> {
    fn read(args: Args<'a>) -> Result<Self, KillError<'a>> {
        let mut filter = Self::default();
        let mut index = 2;
        while let Some(word) = args.get(index) {
            let value = args.get(index + 1).ok_or(KillError::Syntax)?;
            match word.to_ascii_lowercase().as_slice() {
                b"id" => filter.id = Some(client_id(value).ok_or(KillError::Id)?),
                b"type" => filter.kind = Some(ClientKind::named(value).ok_or(KillError::Kind(value))?),
                b"addr" => filter.address = Some(value),
                b"laddr" => filter.local_address = Some(value),
                b"user" if value == super::hello::DEFAULT_USER => {}
                b"user" => return Err(KillError::User(value)),
                b"skipme" if value.eq_ignore_ascii_case(b"yes") => filter.is_me_spared = true,
                b"skipme" if value.eq_ignore_ascii_case(b"no") => filter.is_me_spared = false,
                _ => return Err(KillError::Syntax),
            }
            index += 2;
        }
        Ok(filter)
    }

    fn matches(&self, record: &super::ClientRecord) -> bool {
        self.id.is_none_or(|id| record.id == id)
            && self.kind.is_none_or(|kind| record.kind() == kind)
            && self.address.is_none_or(|address| record.address.as_bytes() == address)
            && self.local_address.is_none_or(|address| record.local_address.as_bytes() == address)
    }
}

/// What is wrong with such a filter.
enum KillError<'a> {
    Syntax,
    Id,
    Kind(&'a [u8]),
    User(&'a [u8]),
}

impl KillError<'_> {
    fn write(self, out: &mut Reply<'_>) {
        match self {
            Self::Syntax => out.error(SYNTAX_ERROR),
            Self::Id => out.error("ERR client-id should be greater than 0"),
            Self::Kind(word) => unknown_kind(word, out),
            Self::User(name) => out.error_bytes(&[b"ERR No such user '", name, b"'"]),
        }
    }
}

fn unknown_kind(word: &[u8], out: &mut Reply<'_>) {
    out.error_bytes(&[b"ERR Unknown client type '", word, b"'"]);
}

fn client_id(text: &[u8]) -> Option<u64> {
    parse_integer(text).and_then(|id| u64::try_from(id).ok()).filter(|&id| id > 0)
}

/// `CLIENT META ON|OFF`: whether replies tell where they stand in the log.
fn meta(session: &mut Session, args: Args<'_>, view: &mut dyn ServerView, out: &mut Reply<'_>) {
    let is_wanted = match args[2].to_ascii_lowercase().as_slice() {
        b"on" if session.protocol() == Protocol::V2 => {
            return out.error("ERR replies have attributes in RESP3 only: say HELLO 3 first");
        }
        b"on" => true,
        b"off" => false,
        _ => return out.error(SYNTAX_ERROR),
    };
    session.record.has_meta = is_wanted;
    view.record_client(&session.record);
    out.ok();
}

/// `ON` or `OFF`, for what changes nothing here.
fn switch(args: Args<'_>, out: &mut Reply<'_>) {
    if args[2].eq_ignore_ascii_case(b"on") || args[2].eq_ignore_ascii_case(b"off") {
        out.ok();
    } else {
        out.error(SYNTAX_ERROR);
    }
}

/// `CLIENT TRACKING ON|OFF ...`: off already is the case; on is refused by name, and clients go on without a cache.
fn tracking(args: Args<'_>, out: &mut Reply<'_>) {
    match args[2].to_ascii_lowercase().as_slice() {
        b"off" => out.ok(),
        b"on" => out.error("ERR CLIENT TRACKING ON is not built yet: nothing is told to caches of clients"),
        _ => out.error(SYNTAX_ERROR),
    }
}

fn tracking_info(out: &mut Reply<'_>) {
    out.map(3);
    out.text("flags");
    out.set(1);
    out.text("off");
    out.text("redirect");
    out.integer(-1);
    out.text("prefixes");
    out.array(0);
}

/// `CLIENT PAUSE timeout [WRITE|ALL]`.
fn pause(args: Args<'_>, view: &mut dyn ServerView, out: &mut Reply<'_>) {
    let is_writes_only = match args.get(3) {
        _ if args.len() > 4 => return out.error(SYNTAX_ERROR),
        None => false,
        Some(mode) if mode.eq_ignore_ascii_case(b"ALL") => false,
        Some(mode) if mode.eq_ignore_ascii_case(b"WRITE") => true,
        Some(_) => return out.error("ERR CLIENT PAUSE mode must be WRITE or ALL"),
    };
    let Some(timeout_ms) = parse_integer(&args[2]) else {
        return out.error("ERR timeout is not an integer or out of range");
    };
    let Ok(timeout_ms) = u64::try_from(timeout_ms) else {
        return out.error("ERR timeout is negative");
    };
    let until_us = view.now_us().saturating_add(timeout_ms.saturating_mul(1000));
    view.pause(Pause { until_us, is_writes_only });
    out.ok();
}

/// Longer than any name seen in the field.
const NAME_BYTES_MAX: usize = 512;
