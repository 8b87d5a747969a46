//! The file: TOML to entries of the table of keys, with the place of each.
//!
//! The parser recovers after a syntax error, so that one run shows all of them. A line with a syntax error gives no
//! other error: what the parser made of its rest was never written.

use std::collections::BTreeSet;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue};

use super::error::{ConfigError, KeyHint, Origin, Problem};
use super::keys::{FILE_BYTES_MAX, KEYS, Key, PEERS, PEERS_MAX, SECTIONS};
use super::nearest::nearest;
use super::source::SourceText;
use super::value::{Raw, cut};
use super::{Entries, Entry, PeerEntries};

/// What a file says.
#[derive(Debug, Default)]
pub(super) struct FileLayer {
    pub(super) entries: Entries,
    /// `None` when the file says nothing about peers.
    pub(super) peers: Option<Vec<PeerEntries>>,
    pub(super) errors: Vec<ConfigError>,
    /// Errors beyond [`ERRORS_KEPT_MAX`].
    pub(super) omitted: usize,
    pub(super) source: Option<Arc<SourceText>>,
}

impl FileLayer {
    /// Reads the file at `path`. Every failure is among the errors of the layer.
    pub(super) fn read(path: &Path) -> Self {
        let name = path.display().to_string();
        let whole = |problem| Self {
            errors: vec![ConfigError { origin: Origin::WholeFile(name.as_str().into()), problem }],
            ..Self::default()
        };
        let mut bytes = Vec::new();
        // One byte more than allowed tells a file that is too long from one that just fits.
        let read = std::fs::File::open(path).and_then(|file| file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes));
        if let Err(error) = read {
            return whole(Problem::Unreadable { error: Arc::new(error) });
        }
        if bytes.len() as u64 > FILE_BYTES_MAX {
            return whole(Problem::TooLong);
        }
        match String::from_utf8(bytes) {
            Ok(text) => Self::parse(&name, text),
            Err(error) => {
                let valid = error.utf8_error().valid_up_to();
                let text = String::from_utf8_lossy(&error.as_bytes()[..valid]).into_owned();
                let place = SourceText::new(&name, text).place(valid..valid);
                let errors = vec![ConfigError { origin: Origin::File(place), problem: Problem::NotUtf8 }];
                Self { errors, ..Self::default() }
            }
        }
    }

    /// Reads `text`, which came from `name`.
    pub(super) fn parse(name: &str, text: String) -> Self {
        let source = Arc::new(SourceText::new(name, text));
        let (root, syntax_errors) = DeTable::parse_recoverable(source.text());
        let mut reader = Reader { source: &source, layer: Self::default() };
        reader.read_root(root.get_ref());
        let mut layer = reader.layer;

        let mut broken_lines = BTreeSet::new();
        let mut errors = Vec::new();
        layer.omitted += syntax_errors.len().saturating_sub(ERRORS_KEPT_MAX);
        for error in syntax_errors.into_iter().take(ERRORS_KEPT_MAX) {
            let place = source.place(error.span().unwrap_or(source.text().len()..source.text().len()));
            broken_lines.insert(place.line);
            let problem = Problem::Syntax { message: error.message().to_owned() };
            errors.push(ConfigError { origin: Origin::File(place), problem });
        }
        layer.errors.retain(|error| match &error.origin {
            Origin::File(place) => !broken_lines.contains(&place.line),
            _ => true,
        });
        layer.errors.append(&mut errors);
        layer.source = Some(source);
        layer
    }
}

struct Reader<'s> {
    source: &'s Arc<SourceText>,
    layer: FileLayer,
}

impl Reader<'_> {
    fn read_root(&mut self, root: &DeTable<'_>) {
        for (name, value) in root {
            if self.layer.errors.len() >= ERRORS_KEPT_MAX {
                self.layer.omitted += 1;
                continue;
            }
            let found = name.get_ref().as_ref();
            if found == PEERS {
                self.read_peers(value);
            } else if let Some((section, _)) = SECTIONS.iter().find(|(section, _)| *section == found) {
                match value.get_ref() {
                    DeValue::Table(table) => {
                        let entries = self.read_section(section, table);
                        self.layer.entries.extend(entries);
                    }
                    other => {
                        let expected = "a section: write the keys below a line with its name in brackets";
                        self.refuse(value, Problem::NotASection { section, found: name_of(other), expected });
                    }
                }
            } else {
                self.refuse(name, unknown_at_root(found, value.get_ref()));
            }
        }
    }

    fn read_peers(&mut self, value: &Spanned<DeValue<'_>>) {
        let not_peers = |found| Problem::NotASection {
            section: PEERS,
            found,
            expected: "one [[peers]] for each other node, in double brackets",
        };
        let tables: &DeArray<'_> = match value.get_ref() {
            DeValue::Array(array) => array,
            other => return self.refuse(value, not_peers(name_of(other))),
        };
        if tables.len() > PEERS_MAX {
            return self.refuse(value, Problem::TooManyPeers { count: tables.len() });
        }
        let mut peers = Vec::with_capacity(tables.len());
        for table in tables.iter() {
            match table.get_ref() {
                DeValue::Table(keys) => {
                    let origin = self.origin(table);
                    peers.push(PeerEntries { entries: self.read_section(PEERS, keys), origin });
                }
                other => self.refuse(table, not_peers(name_of(other))),
            }
        }
        self.layer.peers = Some(peers);
    }

    fn read_section(&mut self, section: &'static str, table: &DeTable<'_>) -> Entries {
        let mut entries = Entries::new();
        for (name, value) in table {
            let Some(key) = Key::find(section, name.get_ref()) else {
                if self.layer.errors.len() >= ERRORS_KEPT_MAX {
                    self.layer.omitted += 1;
                    continue;
                }
                self.refuse(name, unknown_key(section, name.get_ref()));
                continue;
            };
            let read = key.read(&raw(value.get_ref())).map_err(|problem| Problem::Value { key, problem });
            if let Err(problem) = &read {
                self.refuse(value, problem.clone());
            }
            entries.insert(key.id, Entry { value: read.ok(), origin: self.origin(value) });
        }
        entries
    }

    fn origin<T>(&self, at: &Spanned<T>) -> Origin {
        Origin::File(self.source.place(at.span()))
    }

    fn refuse<T>(&mut self, at: &Spanned<T>, problem: Problem) {
        let origin = self.origin(at);
        self.layer.errors.push(ConfigError { origin, problem });
    }
}

fn unknown_at_root(found: &str, value: &DeValue<'_>) -> Problem {
    if matches!(value, DeValue::Table(_) | DeValue::Array(_)) {
        let sections = SECTIONS.iter().map(|(section, _)| *section).chain([PEERS]);
        return Problem::UnknownSection { found: shown(found), nearest: nearest(found, sections) };
    }
    let section = KEYS.iter().find(|key| key.name == found).map(|key| key.section);
    Problem::OutsideSection { found: shown(found), section }
}

/// Says what was probably meant: the nearest key of the section, else the nearest of any section, else all of them.
pub(super) fn unknown_key(section: &'static str, found: &str) -> Problem {
    let own = || KEYS.iter().filter(|key| key.section == section).map(|key| key.name);
    let elsewhere = KEYS.iter().find(|key| key.name == found);
    let hint = match (elsewhere, nearest(found, own())) {
        (Some(key), _) => KeyHint::Elsewhere { section: key.section, key: key.name },
        (None, Some(name)) => KeyHint::Nearest(name),
        (None, None) => match nearest(found, KEYS.iter().map(|key| key.name)) {
            Some(name) => {
                let key = KEYS.iter().find(|key| key.name == name).expect("the name comes from the table");
                KeyHint::Elsewhere { section: key.section, key: key.name }
            }
            None => KeyHint::Listed(own().collect()),
        },
    };
    Problem::UnknownKey { section, found: shown(found), hint }
}

fn raw(value: &DeValue<'_>) -> Raw {
    match value {
        DeValue::String(text) => Raw::Text(text.clone().into_owned()),
        DeValue::Integer(integer) => {
            let digits = integer.as_str();
            Raw::Integer(i128::from_str_radix(digits, integer.radix()).ok())
        }
        DeValue::Boolean(flag) => Raw::Boolean(*flag),
        DeValue::Array(array) => Raw::List(array.iter().map(|value| raw(value.get_ref())).collect()),
        DeValue::Float(_) | DeValue::Datetime(_) | DeValue::Table(_) => Raw::Other(name_of(value)),
    }
}

fn name_of(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "a number",
        DeValue::Float(_) => "a number with a fraction",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

/// Errors beyond this many are only counted: finding the place and the nearest key of each takes time, and more than
/// [`super::error::ERRORS_MAX`] are not shown anyway.
const ERRORS_KEPT_MAX: usize = 500;

fn shown(found: &str) -> String {
    cut(found).escape_debug().to_string()
}
