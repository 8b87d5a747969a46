//! Answers `COMMAND` and its subcommands, and the `HELP` of every container, from the command table.
//!
//! Clients are strict about these replies: redis-cli ends itself on a wrong type, some libraries take an entry of `COMMAND` only with
//! at most seven or exactly ten elements. So: entries have ten elements; names, summary, since, group and tips are bulk strings; flags
//! are simple strings in a set; arguments are an array, subcommands of `DOCS` a map.
//!
//! One deviation: key specifications and subcommands are arrays where Redis has sets, because a set of maps or of arrays is more
//! than several decoders can hold (their sets are of hashable things), and every client reads arrays.
//!
//! # Bounds
//! The whole of `COMMAND DOCS` is some 60 KiB, written straight into the send buffer.
//!
//! # Source
//! The reply schemas of the public commands; element order as Redis 7 writes it.

use super::table::{self, Argument, ArgumentKind, Categories, CommandSpec, KeyFlags, KeySpec};
use super::{Args, Encoder, ReplyBuffer, glob};

/// `COMMAND`: an entry for each command.
pub fn write_all<B: ReplyBuffer + ?Sized>(out: &mut Encoder<'_, B>) {
    let commands = table::commands();
    out.array(commands.len());
    commands.for_each(|spec| write_entry(spec, out));
}

/// `COMMAND COUNT`.
pub fn write_count<B: ReplyBuffer + ?Sized>(out: &mut Encoder<'_, B>) {
    out.count(table::commands().len() as u64);
}

/// `COMMAND INFO [name ...]`: the entries asked for, null for a name that is not known; all without a name. `args`: the whole request.
pub fn write_info<B: ReplyBuffer + ?Sized>(args: Args<'_>, out: &mut Encoder<'_, B>) {
    let names = args.skip(2);
    if names.is_empty() {
        return write_all(out);
    }
    out.array(names.len());
    for name in names.iter() {
        match table::find_full(name) {
            Some(spec) => write_entry(spec, out),
            None => out.null(),
        }
    }
}

/// `COMMAND DOCS [name ...]`: a map from name to documentation; names that are not known are left out. `args`: the whole request.
pub fn write_docs<B: ReplyBuffer + ?Sized>(args: Args<'_>, out: &mut Encoder<'_, B>) {
    let names = args.skip(2);
    if names.is_empty() {
        let commands = table::commands();
        out.map(commands.len());
        commands.for_each(|spec| write_documented(spec, out));
    } else {
        out.map(names.iter().filter_map(table::find_full).count());
        names.iter().filter_map(table::find_full).for_each(|spec| write_documented(spec, out));
    }
}

/// `COMMAND LIST [FILTERBY MODULE name | ACLCAT category | PATTERN pattern]`: names, those of subcommands included. `args`: the whole request.
pub fn write_list<B: ReplyBuffer + ?Sized>(args: Args<'_>, out: &mut Encoder<'_, B>) {
    let Some(filter) = Filter::read(args.skip(2)) else {
        return out.error("ERR syntax error");
    };
    let names = || {
        table::commands()
            .flat_map(|spec| std::iter::once(spec).chain(spec.subcommands))
            .filter(|spec| filter.keeps(spec))
    };
    out.array(names().count());
    names().for_each(|spec| out.text(spec.name));
}

/// `COMMAND GETKEYS command [arg ...]`: which of the arguments are keys. `args`: the whole request.
pub fn write_keys<B: ReplyBuffer + ?Sized>(args: Args<'_>, out: &mut Encoder<'_, B>) {
    let request = args.skip(2);
    let spec = match table::resolve(request) {
        Ok(spec) => spec,
        Err(table::Reject::Arity(_)) => return out.error("ERR Invalid number of arguments specified for command"),
        Err(_) => return out.error("ERR Invalid command specified"),
    };
    let has_keys = spec.keys.is_some_and(|keys| !keys.flags.contains(KeyFlags::NOT_KEY));
    if !has_keys {
        return out.error("ERR The command has no key arguments");
    }
    out.array(spec.keys(request).count());
    spec.keys(request).for_each(|(_, key)| out.bulk(key));
}

/// The `HELP` of a command with subcommands: lines of text.
pub fn write_help<B: ReplyBuffer + ?Sized>(container: &CommandSpec, out: &mut Encoder<'_, B>) {
    let name = container.name.to_ascii_uppercase();
    out.array(1 + 2 * container.subcommands.len());
    out.simple(&format!("{name} <subcommand> [<arg> [value] [opt] ...]. Subcommands are:"));
    for spec in container.subcommands {
        let syntax = spec.syntax().to_string();
        out.simple(syntax.trim_start_matches(name.as_str()).trim_start());
        out.simple(&format!("    {}", spec.summary));
    }
}

/// One entry of `COMMAND`: ten elements.
fn write_entry<B: ReplyBuffer + ?Sized>(spec: &CommandSpec, out: &mut Encoder<'_, B>) {
    out.array(10);
    out.text(spec.name);
    out.integer(i64::from(spec.arity));
    out.set(spec.flags.len());
    spec.flags.names().for_each(|name| out.simple(name));
    match spec.keys {
        Some(keys) => {
            out.integer(i64::from(keys.first));
            out.integer(keys.last_published());
            out.integer(i64::from(keys.step));
        }
        None => (0..3).for_each(|_| out.integer(0)),
    }
    out.set(spec.categories.len());
    spec.categories.names().for_each(|name| out.simple_parts("@", name));
    out.set(spec.tips.len());
    spec.tips.iter().for_each(|tip| out.text(tip));
    out.array(usize::from(spec.keys.is_some()));
    if let Some(keys) = spec.keys {
        write_key_spec(keys, out);
    }
    out.array(spec.subcommands.len());
    spec.subcommands.iter().for_each(|child| write_entry(child, out));
}

fn write_key_spec<B: ReplyBuffer + ?Sized>(keys: KeySpec, out: &mut Encoder<'_, B>) {
    out.map(3);
    out.text("flags");
    out.set(keys.flags.len());
    keys.flags.names().for_each(|name| out.simple(name));
    out.text("begin_search");
    out.map(2);
    out.text("type");
    out.text("index");
    out.text("spec");
    out.map(1);
    out.text("index");
    out.integer(i64::from(keys.first));
    out.text("find_keys");
    out.map(2);
    out.text("type");
    out.text("range");
    out.text("spec");
    out.map(3);
    out.text("lastkey");
    out.integer(i64::from(keys.last));
    out.text("keystep");
    out.integer(i64::from(keys.step));
    out.text("limit");
    out.integer(0);
}

/// One pair of `COMMAND DOCS`: the name and what is said about it.
fn write_documented<B: ReplyBuffer + ?Sized>(spec: &CommandSpec, out: &mut Encoder<'_, B>) {
    out.text(spec.name);
    let optional = [!spec.arguments.is_empty(), !spec.subcommands.is_empty()].iter().filter(|&&given| given).count();
    out.map(4 + optional + if spec.deprecated.is_some() { 3 } else { 0 });
    out.text("summary");
    out.text(spec.summary);
    out.text("since");
    out.text(spec.since);
    out.text("group");
    out.text(spec.group.name());
    out.text("complexity");
    out.text(spec.complexity);
    if let Some(deprecated) = spec.deprecated {
        out.text("doc_flags");
        out.set(1);
        out.simple("deprecated");
        out.text("deprecated_since");
        out.text(deprecated.since);
        out.text("replaced_by");
        out.text(deprecated.replaced_by);
    }
    if !spec.arguments.is_empty() {
        out.text("arguments");
        write_arguments(spec.arguments, out);
    }
    if !spec.subcommands.is_empty() {
        out.text("subcommands");
        out.map(spec.subcommands.len());
        spec.subcommands.iter().for_each(|child| write_documented(child, out));
    }
}

fn write_arguments<B: ReplyBuffer + ?Sized>(arguments: &[Argument], out: &mut Encoder<'_, B>) {
    out.array(arguments.len());
    arguments.iter().for_each(|argument| write_argument(argument, out));
}

fn write_argument<B: ReplyBuffer + ?Sized>(argument: &Argument, out: &mut Encoder<'_, B>) {
    let flags = [
        (argument.is_optional, "optional"),
        (argument.is_multiple, "multiple"),
        (argument.is_multiple_token, "multiple_token"),
    ];
    let flags = || flags.iter().filter(|(is_set, _)| *is_set).map(|&(_, name)| name);
    let key_spec = match argument.kind {
        ArgumentKind::Key(index) => Some(index),
        _ => None,
    };
    let is_group = !argument.arguments.is_empty();
    let optional = [
        !is_group,
        key_spec.is_some(),
        argument.token.is_some(),
        argument.since.is_some(),
        flags().next().is_some(),
        is_group,
    ];
    out.map(2 + optional.iter().filter(|&&given| given).count());
    out.text("name");
    out.text(argument.name);
    out.text("type");
    out.text(argument.kind.name());
    if !is_group {
        out.text("display_text");
        out.text(argument.name);
    }
    if let Some(index) = key_spec {
        out.text("key_spec_index");
        out.integer(i64::from(index));
    }
    if let Some(token) = argument.token {
        out.text("token");
        out.text(token);
    }
    if let Some(since) = argument.since {
        out.text("since");
        out.text(since);
    }
    if flags().next().is_some() {
        out.text("flags");
        out.set(flags().count());
        flags().for_each(|name| out.simple(name));
    }
    if is_group {
        out.text("arguments");
        write_arguments(argument.arguments, out);
    }
}

/// Which names `COMMAND LIST` returns.
#[derive(Clone, Copy)]
enum Filter<'a> {
    All,
    /// Nothing: there are no modules, or there is no such category.
    Nothing,
    Category(Categories),
    Pattern(&'a [u8]),
}

impl<'a> Filter<'a> {
    /// `None`: a syntax error.
    fn read(options: Args<'a>) -> Option<Self> {
        if options.is_empty() {
            return Some(Self::All);
        }
        if options.len() != 3 || !options[0].eq_ignore_ascii_case(b"FILTERBY") {
            return None;
        }
        let value = options.get(2)?;
        match options.get(1)?.to_ascii_uppercase().as_slice() {
            b"MODULE" => Some(Self::Nothing),
            b"ACLCAT" => Some(Categories::named(value).map_or(Self::Nothing, Self::Category)),
            b"PATTERN" => Some(Self::Pattern(value)),
            _ => None,
        }
    }

    fn keeps(self, spec: &CommandSpec) -> bool {
        match self {
            Self::All => true,
            Self::Nothing => false,
            Self::Category(category) => spec.categories.contains(category),
            Self::Pattern(pattern) => glob::matches(pattern, spec.name.as_bytes()),
        }
    }
}
