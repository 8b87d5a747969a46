//! Writes a configuration and the table of keys, for people and for programs.
//!
//! What `to_toml` writes is a file that says the same again, except for the password, which is never written.

use std::fmt::Write as _;

use serde_json::{Map, Value as Json, json};

use super::check::write_quorum;
use super::error::Origin;
use super::keys::{Fallback, KEYS, Key, KeyId, Kind, PEERS, PEERS_MAX, SECTIONS};
use super::units::{format_size, format_span};
use super::value::Value;
use super::{Config, Entries, lookup};

/// Whether each value is written with the place it comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origins {
    /// Values only.
    Hidden,
    /// `# node.toml:3:6` behind each value.
    Shown,
}

/// Writes every key with its value in the form of the file. Keys without a value are comments that say what that means.
#[must_use]
pub fn to_toml(config: &Config, origins: Origins) -> String {
    let mut out = String::new();
    for (section, help) in SECTIONS {
        let lines = lines(config, &config.entries, section);
        write_section(&mut out, &format!("[{section}]"), help, &lines, origins);
    }
    for peer in &config.peers {
        let lines = lines(config, &peer.entries, PEERS);
        write_section(&mut out, &format!("[[{PEERS}]]"), "another node", &lines, origins);
    }
    out
}

/// Writes every key with its value as JSON: sizes in bytes, durations in nanoseconds, `null` for no value. With origins
/// each value is an object `{value, origin}`.
#[must_use]
pub fn to_json(config: &Config, origins: Origins) -> Json {
    let mut root = Map::new();
    for (section, _) in SECTIONS {
        root.insert((*section).to_owned(), section_json(config, &config.entries, section, origins));
    }
    let peers = config.peers.iter().map(|peer| section_json(config, &peer.entries, PEERS, origins)).collect();
    root.insert(PEERS.to_owned(), Json::Array(peers));
    Json::Object(root)
}

/// Writes the table of keys for people: name, default, what it takes, what it does.
#[must_use]
pub fn reference() -> String {
    let mut out = String::new();
    for key in KEYS {
        let name = if key.section == PEERS { format!("[[{PEERS}]] {}", key.name) } else { key.full_name() };
        let default = match key.default {
            Fallback::Text(_) => key.default_value().map_or_else(String::new, |value| value.to_toml()),
            Fallback::Derived(words) | Fallback::Absent(words) => words.to_owned(),
            Fallback::Required(_) => "none, it must be given".to_owned(),
        };
        writeln!(out, "{name}\n    {}\n    takes    {}\n    default  {default}", key.help, key.kind.expected())
            .expect("writing to a string does not fail");
    }
    out
}

/// Returns the JSON Schema (draft 2020-12) of the file, for editors.
#[must_use]
pub fn json_schema() -> Json {
    let object = |section: &str| {
        let rows = || KEYS.iter().filter(move |key| key.section == section);
        let properties: Map<String, Json> = rows().map(|key| (key.name.to_owned(), key_schema(key))).collect();
        let required: Vec<&str> =
            rows().filter(|key| matches!(key.default, Fallback::Required(_))).map(|key| key.name).collect();
        json!({"type": "object", "properties": properties, "required": required, "additionalProperties": false})
    };
    let mut properties: Map<String, Json> =
        SECTIONS.iter().map(|(section, _)| ((*section).to_owned(), object(section))).collect();
    properties.insert(PEERS.to_owned(), json!({"type": "array", "maxItems": PEERS_MAX, "items": object(PEERS)}));
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "quorate node configuration",
        "type": "object",
        "properties": properties,
        "additionalProperties": false,
    })
}

/// One line of a section: the text before the origin, and the origin.
struct Line {
    text: String,
    origin: String,
}

fn lines(config: &Config, entries: &Entries, section: &str) -> Vec<Line> {
    let rows = KEYS.iter().filter(|key| key.section == section);
    rows.map(|key| match effective(config, entries, key) {
        Some((Value::Secret(_), origin)) => {
            Line { text: format!("# {} is set and not shown", key.name), origin: origin.to_string() }
        }
        Some((value, origin)) => {
            Line { text: format!("{} = {}", key.name, value.to_toml()), origin: origin_text(key, &origin) }
        }
        None => Line { text: format!("# {} is {}", key.name, without_value(key)), origin: String::new() },
    })
    .collect()
}

fn write_section(out: &mut String, title: &str, help: &str, lines: &[Line], origins: Origins) {
    if !out.is_empty() {
        out.push('\n');
    }
    writeln!(out, "{title}  # {help}").expect("writing to a string does not fail");
    let with_origin = lines.iter().filter(|line| !line.origin.is_empty());
    let width = with_origin.map(|line| line.text.chars().count()).max().unwrap_or(0).min(COLUMN_MAX);
    for line in lines {
        match origins {
            Origins::Shown if !line.origin.is_empty() => writeln!(out, "{:width$}  # {}", line.text, line.origin),
            Origins::Shown | Origins::Hidden => writeln!(out, "{}", line.text),
        }
        .expect("writing to a string does not fail");
    }
}

fn section_json(config: &Config, entries: &Entries, section: &str, origins: Origins) -> Json {
    let mut object = Map::new();
    for key in KEYS.iter().filter(|key| key.section == section) {
        let (value, origin) = match effective(config, entries, key) {
            Some((value, origin)) => (value.to_json(), origin_text(key, &origin)),
            None => (Json::Null, without_value(key)),
        };
        let json = match origins {
            Origins::Hidden => value,
            Origins::Shown => json!({"value": value, "origin": origin}),
        };
        object.insert(key.name.to_owned(), json);
    }
    Json::Object(object)
}

/// Returns what holds for a key, a derived value included.
fn effective(config: &Config, entries: &Entries, key: &Key) -> Option<(Value, Origin)> {
    match lookup(entries, key.id) {
        None if key.id == KeyId::WriteQuorum => {
            write_quorum(config).map(|(count, origin)| (Value::Count(count), origin))
        }
        found => found,
    }
}

fn origin_text(key: &Key, origin: &Origin) -> String {
    match (origin, key.default) {
        (Origin::Default, Fallback::Derived(words)) => format!("default: {words}"),
        _ => origin.to_string(),
    }
}

fn without_value(key: &Key) -> String {
    match key.default {
        Fallback::Derived(words) | Fallback::Absent(words) => format!("not set: {words}"),
        Fallback::Required(words) => format!("missing: {words}"),
        Fallback::Text(_) => "refused".to_owned(),
    }
}

fn key_schema(key: &Key) -> Json {
    let mut schema = match key.kind {
        Kind::Name { len_max } => json!({"type": "string", "pattern": format!("^[A-Za-z0-9._-]{{1,{len_max}}}$")}),
        Kind::Secret { bytes_max } | Kind::Path { bytes_max } => {
            json!({"type": "string", "minLength": 1, "maxLength": bytes_max})
        }
        Kind::Count { min, max } => json!({"type": "integer", "minimum": min, "maximum": max}),
        Kind::Size { min, max } => json!({"anyOf": [
            {"type": "integer", "minimum": min, "maximum": max},
            {"type": "string", "pattern": "^[0-9]+ ?([kKMGT]i?)?B?$"},
        ], "$comment": format!("{} to {}", format_size(min), format_size(max))}),
        Kind::Span { min, max } => json!({
            "type": "string",
            "pattern": "^[0-9]+ ?(ns|us|µs|ms|s|min|h)$",
            "$comment": format!("{} to {}", format_span(min), format_span(max)),
        }),
        Kind::Flag => json!({"type": "boolean"}),
        Kind::Choice { words, .. } => json!({"enum": words}),
        Kind::Ip => json!({"type": "string"}),
        Kind::Address | Kind::Endpoint => json!({"type": "string", "pattern": ":[0-9]{1,5}$"}),
        Kind::Cpus { count_max } => json!({"anyOf": [
            {"type": "integer", "minimum": 1, "maximum": count_max},
            {"type": "array", "items": {"type": "integer", "minimum": 0}, "minItems": 1, "maxItems": count_max,
             "uniqueItems": true},
        ]}),
    };
    if let Some(object) = schema.as_object_mut() {
        object.insert("description".to_owned(), key.help.into());
        if let Some(value) = key.default_value() {
            let default = match value {
                Value::Size(_) | Value::Span(_) => value.to_toml().trim_matches('"').into(),
                other => other.to_json(),
            };
            object.insert("default".to_owned(), default);
        }
    }
    schema
}

/// Origins stand in one column unless a value is longer than this.
const COLUMN_MAX: usize = 40;
