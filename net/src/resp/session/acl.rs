//! `ACL` and its subcommands, for the one user there is.

use super::hello::DEFAULT_USER;
use super::{AclLogEntry, Password, Reply, Request, ServerView, Session, parse_integer};
use crate::resp::Args;
use crate::resp::table::{self, Categories, CommandId};

/// Answers one subcommand. `false`: it is not one of these.
pub(super) fn answer(_session: &mut Session, id: CommandId, request: Request<'_>, out: &mut Reply<'_>) -> bool {
    let Request { args, view } = request;
    match id {
        CommandId::AclWhoami => out.bulk(DEFAULT_USER),
        CommandId::AclCat => categories(args, out),
        CommandId::AclList => {
            out.array(1);
            out.text(&described(view.password()));
        }
        CommandId::AclGetuser => user(args, view, out),
        CommandId::AclSetuser => set_user(args, view, out),
        CommandId::AclLog => log(args, view, out),
        _ => return false,
    }
    true
}

/// `ACL CAT [category]`.
fn categories(args: Args<'_>, out: &mut Reply<'_>) {
    if args.len() > 3 {
        return out.error("ERR wrong number of arguments for 'acl|cat' command");
    }
    let Some(name) = args.get(2) else {
        out.array(Categories::all_names().len());
        return Categories::all_names().for_each(|name| out.text(name));
    };
    let Some(category) = Categories::named(name) else {
        return out.error_bytes(&[b"ERR Unknown category '", name, b"'"]);
    };
    let members = || {
        table::commands()
            .flat_map(|spec| std::iter::once(spec).chain(spec.subcommands))
            .filter(|spec| spec.categories.contains(category))
    };
    out.array(members().count());
    members().for_each(|spec| out.text(spec.name));
}

/// The user in the words that would make it.
fn described(password: Option<Password>) -> String {
    match password {
        None => "user default on nopass sanitize-payload ~* &* +@all".to_owned(),
        Some(password) => format!("user default on sanitize-payload #{} ~* &* +@all", password.to_hex()),
    }
}

/// `ACL GETUSER username`.
fn user(args: Args<'_>, view: &dyn ServerView, out: &mut Reply<'_>) {
    if &args[2] != DEFAULT_USER {
        return out.null();
    }
    let password = view.password();
    out.map(6);
    out.text("flags");
    out.set(if password.is_none() { 3 } else { 2 });
    out.text("on");
    if password.is_none() {
        out.text("nopass");
    }
    out.text("sanitize-payload");
    out.text("passwords");
    out.array(usize::from(password.is_some()));
    if let Some(password) = password {
        out.text(&password.to_hex());
    }
    for (field, rule) in [("commands", "+@all"), ("keys", "~*"), ("channels", "&*")] {
        out.text(field);
        out.text(rule);
    }
    out.text("selectors");
    out.array(0);
}

/// `ACL SETUSER username [rule ...]`: the password of the default user can change; rules that say what is the case anyway are
/// accepted, all others refused. Nothing changes unless all rules are right.
fn set_user(args: Args<'_>, view: &mut dyn ServerView, out: &mut Reply<'_>) {
    if &args[2] != DEFAULT_USER {
        return out.error("ERR only the user 'default' exists so far");
    }
    let mut password = view.password();
    for rule in args.skip(3).iter() {
        match change_for(rule) {
            Some(Change::Nothing) => {}
            Some(Change::Password(new)) => password = Some(new),
            Some(Change::NoPassword) => password = None,
            None => {
                let shown = &rule[..rule.len().min(RULE_BYTES_SHOWN)];
                return out.error_bytes(&[
                    b"ERR Error in ACL SETUSER modifier '",
                    shown,
                    b"': Syntax error, or not supported: so far only the password of the default user can change",
                ]);
            }
        }
    }
    view.set_password(password);
    out.ok();
}

enum Change {
    Nothing,
    Password(Password),
    NoPassword,
}

fn change_for(rule: &[u8]) -> Option<Change> {
    match rule {
        [b'>', text @ ..] => Some(Change::Password(Password::new(text))),
        [b'#', hex @ ..] => Password::from_hex(hex).map(Change::Password),
        b"nopass" => Some(Change::NoPassword),
        b"on" | b"~*" | b"allkeys" | b"&*" | b"allchannels" | b"+@all" | b"allcommands" | b"sanitize-payload" => {
            Some(Change::Nothing)
        }
        _ => None,
    }
}

/// `ACL LOG [count | RESET]`.
fn log(args: Args<'_>, view: &mut dyn ServerView, out: &mut Reply<'_>) {
    let count = match args.get(2) {
        _ if args.len() > 3 => return out.error("ERR wrong number of arguments for 'acl|log' command"),
        None => LOG_ENTRIES_SHOWN,
        Some(word) if word.eq_ignore_ascii_case(b"RESET") => {
            view.forget_denials();
            return out.ok();
        }
        Some(number) => match parse_integer(number) {
            Some(count) => usize::try_from(count).unwrap_or(0),
            None => return out.error("ERR value is not an integer or out of range"),
        },
    };
    let now_us = view.now_us();
    let entries = view.denials(count);
    out.array(entries.len());
    entries.iter().for_each(|entry| write_entry(entry, now_us, out));
}

fn write_entry(entry: &AclLogEntry, now_us: u64, out: &mut Reply<'_>) {
    let age_ms = now_us.saturating_sub(entry.at_us) / 1000;
    out.map(7);
    for (field, text) in
        [("reason", entry.reason), ("context", "toplevel"), ("object", entry.object), ("username", &entry.username)]
    {
        out.text(field);
        out.text(text);
    }
    out.text("age-seconds");
    // Milliseconds since a refusal are far below 2^53, where doubles are exact.
    out.double(u32::try_from(age_ms).map_or(f64::INFINITY, f64::from) / 1000.0);
    out.text("client-info");
    out.text(&entry.client);
    out.text("timestamp-created");
    out.count(entry.at_us / 1000);
}

/// Entries of `ACL LOG` without a count.
const LOG_ENTRIES_SHOWN: usize = 10;

/// Bytes of a wrong rule that are shown.
const RULE_BYTES_SHOWN: usize = 128;
