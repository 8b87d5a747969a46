//! Our command table against the published schemas of the public commands.
//!
//! Clients of Redis trust arity, key positions, flags and categories to be what they know, so where we claim a public
//! command, we claim its facts; every difference stands below with its reason. And every public command is either in the
//! table or refused by name with advice: none is merely unknown.
//!
//! The schemas are not ours and are read where they lie: `QUORATE_CASES`, or `shared/cases` beside the repository.

#![cfg(test)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use quorate::resp::table::{self, Argument, ArgumentKind, CommandSpec, Group, NOT_BUILT_FAMILIES, REFUSED};
use serde_json::Value;

/// What differs on purpose: full name, field, why.
const EXCEPTIONS: &[(&str, &str, &str)] = &[
    ("client|kill", "arguments", "no MAXAGE and no PRIMARY, which came after 7.2"),
    ("client|tracking", "arguments", "names are lower case everywhere"),
    ("hscan", "arguments", "NOVALUES came after 7.2"),
];

/// Public commands that are simply unknown, and why.
const UNKNOWN_ON_PURPOSE: &[(&str, &str)] =
    &[("debug", "reserved for tests of ourselves; not advertised and not explained")];

type Schemas = BTreeMap<String, Value>;

/// Reads all schemas, by the full lower-case name of the command. `None`: they are not here, which CI does not accept.
fn schemas() -> Option<Schemas> {
    let root = std::env::var_os("QUORATE_CASES")
        .map_or_else(|| PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/cases")), PathBuf::from);
    let folder = root.join("resp-commands/src/commands");
    let Ok(entries) = std::fs::read_dir(&folder) else {
        assert!(std::env::var_os("CI").is_none(), "no schemas in {}: set QUORATE_CASES", folder.display());
        eprintln!("SKIPPED: no schemas in {}; set QUORATE_CASES to compare the command table", folder.display());
        return None;
    };
    let mut schemas = Schemas::new();
    for path in entries.map(|entry| entry.unwrap().path()).filter(|path| path.extension().is_some_and(|e| e == "json"))
    {
        let text = std::fs::read_to_string(&path).unwrap();
        let file: BTreeMap<String, Value> =
            serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        for (name, schema) in file {
            let full = match schema.get("container").and_then(Value::as_str) {
                Some(container) => format!("{container}|{name}"),
                None => name,
            };
            schemas.insert(full.to_ascii_lowercase(), schema);
        }
    }
    assert!(schemas.len() >= 399, "only {} schemas in {}", schemas.len(), folder.display());
    Some(schemas)
}

fn all_rows() -> impl Iterator<Item = &'static CommandSpec> {
    table::commands().flat_map(|spec| std::iter::once(spec).chain(spec.subcommands))
}

#[test]
fn public_commands_have_their_published_facts() {
    let Some(schemas) = schemas() else { return };
    let mut differences = Vec::new();
    let mut used = BTreeSet::new();
    for spec in all_rows().filter(|spec| spec.group != Group::Quorate) {
        let Some(schema) = schemas.get(spec.name) else {
            differences.push(format!("{}: no such public command", spec.name));
            continue;
        };
        for (field, ours, theirs) in facts(spec, schema) {
            if ours == theirs {
                continue;
            }
            match EXCEPTIONS.iter().position(|(name, known, _)| *name == spec.name && *known == field) {
                Some(index) => _ = used.insert(index),
                None => differences.push(format!("{} {field}:\n  ours   {ours}\n  theirs {theirs}", spec.name)),
            }
        }
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
    for (index, exception) in EXCEPTIONS.iter().enumerate() {
        assert!(used.contains(&index), "this exception is not needed: {exception:?}");
    }
}

#[test]
fn every_public_command_is_built_or_refused_by_name() {
    let Some(schemas) = schemas() else { return };
    let refused: BTreeSet<&str> = REFUSED.iter().flat_map(|family| family.names).copied().collect();
    let mut silent = Vec::new();
    for name in schemas.keys().filter(|name| !name.contains('|')) {
        let is_explained = table::find(name.as_bytes()).is_some() || refused.contains(name.as_str());
        if !is_explained && !UNKNOWN_ON_PURPOSE.iter().any(|(known, _)| known == name) {
            silent.push(name);
        }
    }
    assert!(silent.is_empty(), "unknown without advice: {silent:?}");
    for name in &refused {
        assert!(schemas.contains_key(*name), "{name} is refused and is not a public command");
    }
}

#[test]
fn our_own_names_are_no_public_names() {
    let Some(schemas) = schemas() else { return };
    for spec in table::commands().filter(|spec| spec.group == Group::Quorate) {
        assert!(!schemas.contains_key(spec.name), "{}", spec.name);
    }
    for family in NOT_BUILT_FAMILIES {
        assert!(!schemas.contains_key(*family), "{family}");
    }
}

/// Field, ours, theirs; each as text, so a difference can be read.
fn facts(spec: &CommandSpec, schema: &Value) -> Vec<(&'static str, String, String)> {
    // ACK is ours; what stands beside it is compared.
    let our_arguments: Vec<String> =
        spec.arguments.iter().filter(|argument| argument.token != Some("ACK")).map(our_argument).collect();
    let their_arguments: Vec<String> = items(schema, "arguments").map(their_argument).collect();
    vec![
        ("arity", spec.arity.to_string(), schema["arity"].to_string()),
        ("group", spec.group.name().to_owned(), text(schema, "group")),
        ("since", spec.since.to_owned(), text(schema, "since")),
        ("flags", sorted(spec.flags.names().map(str::to_owned)), sorted(their_flags(schema))),
        ("categories", sorted(spec.categories.names().map(str::to_owned)), sorted(their_categories(schema))),
        ("keys", our_keys(spec), their_keys(schema)),
        (
            "tips",
            sorted(spec.tips.iter().map(|tip| (*tip).to_owned())),
            sorted(items(schema, "command_tips").map(|tip| tip.as_str().unwrap().to_ascii_lowercase())),
        ),
        ("deprecated", spec.deprecated.map_or("", |d| d.since).to_owned(), text(schema, "deprecated_since")),
        ("arguments", our_arguments.join(" "), their_arguments.join(" ")),
    ]
}

fn text(schema: &Value, field: &str) -> String {
    schema.get(field).and_then(Value::as_str).unwrap_or_default().to_owned()
}

fn items<'a>(schema: &'a Value, field: &str) -> impl Iterator<Item = &'a Value> {
    schema.get(field).and_then(Value::as_array).into_iter().flatten()
}

fn sorted(names: impl Iterator<Item = String>) -> String {
    names.collect::<BTreeSet<_>>().into_iter().collect::<Vec<_>>().join(" ")
}

/// Flags as `COMMAND` publishes them; what concerns only Sentinel and loading from disk is left out.
fn their_flags(schema: &Value) -> impl Iterator<Item = String> {
    items(schema, "command_flags")
        .map(|flag| flag.as_str().unwrap())
        .filter(|flag| !matches!(*flag, "SENTINEL" | "NO_ASYNC_LOADING"))
        .map(|flag| match flag {
            "TOUCHES_ARBITRARY_KEYS" => "touches-arbitrary-keys".to_owned(),
            other => other.to_ascii_lowercase(),
        })
}

/// The categories written down, and those that the server derives from the flags.
fn their_categories(schema: &Value) -> impl Iterator<Item = String> {
    let flags: BTreeSet<String> = their_flags(schema).collect();
    let implied = [
        ("write", "write"),
        ("readonly", "read"),
        ("admin", "admin"),
        ("admin", "dangerous"),
        ("pubsub", "pubsub"),
        ("blocking", "blocking"),
        ("fast", "fast"),
    ];
    let slow = (!flags.contains("fast")).then(|| "slow".to_owned());
    items(schema, "acl_categories")
        .map(|category| category.as_str().unwrap().to_ascii_lowercase())
        .chain(implied.into_iter().filter(move |(flag, _)| flags.contains(*flag)).map(|(_, name)| name.to_owned()))
        .chain(slow)
}

fn our_keys(spec: &CommandSpec) -> String {
    spec.keys.map_or(String::new(), |keys| {
        let flags = sorted(keys.flags.names().map(str::to_ascii_lowercase));
        format!("from {} last {} step {} {flags}", keys.first, keys.last, keys.step)
    })
}

fn their_keys(schema: &Value) -> String {
    let specs: Vec<String> = items(schema, "key_specs")
        .map(|keys| {
            let range = &keys["find_keys"]["range"];
            let first = &keys["begin_search"]["index"]["pos"];
            let flags = sorted(items(keys, "flags").map(|flag| flag.as_str().unwrap().to_ascii_lowercase()));
            format!("from {first} last {} step {} {flags}", range["lastkey"], range["step"])
        })
        .collect();
    specs.join("; ")
}

fn our_argument(argument: &Argument) -> String {
    let kind = argument.kind.name();
    let inner: Vec<String> = argument.arguments.iter().map(our_argument).collect();
    let key = match argument.kind {
        ArgumentKind::Key(index) => index.to_string(),
        _ => String::new(),
    };
    shape(
        [argument.name, kind, argument.token.unwrap_or_default(), argument.since.unwrap_or_default(), &key],
        [argument.is_optional, argument.is_multiple, argument.is_multiple_token],
        &inner,
    )
}

fn their_argument(argument: &Value) -> String {
    let is_set = |field: &str| argument.get(field).and_then(Value::as_bool).unwrap_or_default();
    let inner: Vec<String> = items(argument, "arguments").map(their_argument).collect();
    let key = argument.get("key_spec_index").map(Value::to_string).unwrap_or_default();
    shape(
        [
            &text(argument, "name"),
            &text(argument, "type"),
            &text(argument, "token").to_ascii_uppercase(),
            &text(argument, "since"),
            &key,
        ],
        [is_set("optional"), is_set("multiple"), is_set("multiple_token")],
        &inner,
    )
}

fn shape(words: [&str; 5], flags: [bool; 3], inner: &[String]) -> String {
    let flags: String =
        flags.iter().zip(['?', '*', '+']).filter(|(is_set, _)| **is_set).map(|(_, sign)| sign).collect();
    format!("{}{flags}({})", words.join(":"), inner.join(" "))
}
