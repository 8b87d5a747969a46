//! What a node is told: four layers in, one checked value out.
//!
//! Defaults, then the file, then the environment (`QUORATE_SECTION__KEY`), then flags: each layer overrides the ones
//! before it, and every value remembers where it came from. [`Config`] holds what was said; [`Config::build`] checks it
//! whole and returns [`Settings`], and nothing else in this crate accepts anything but [`Settings`].
//!
//! ```text
//! keys (the table) ──▶ default ─┐
//! node.toml ── file ──▶ Raw ────┤ value::read   ┌─▶ Settings (checked) ──▶ the node
//! environment ────────▶ Raw ────┤ ──▶ Config ───┤
//! flags ──────────────▶ Raw ────┘    + origins  └─▶ ConfigErrors (all of them)
//! ```
//!
//! # Invariants
//! I1. A [`Settings`] exists only if nothing was wrong in any layer, overridden values included.
//! I2. Whatever the file, the environment or a flag contains, loading returns; what is wrong is a value.
//!
//! # Bounds
//! The file has at most [`keys::FILE_BYTES_MAX`] bytes, the peers are at most [`keys::PEERS_MAX`], and every key has
//! its range in [`keys::KEYS`].

pub mod error;
pub mod keys;
pub mod print;
pub mod settings;
pub mod source;
pub mod types;
pub mod units;
pub mod value;

mod check;
mod file;
mod nearest;

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::sync::Arc;

pub use error::{ConfigError, ConfigErrors, Conflict, Origin, Problem};
pub use keys::{Key, KeyId};
pub use nearest::nearest;
pub use settings::{Note, Settings};
pub use types::{CpuPlan, Door, Durability, Endpoint, Io, Poll, Secret};

use file::FileLayer;
use keys::{KEYS, PEERS_MAX};
use source::SourceText;
use value::{Raw, Value, cut};

/// What was said about a node, not yet checked as a whole.
///
/// ```
/// use quorate::config::Config;
///
/// let config = Config::from_text("node.toml", "[cluster]\nreplicas = 1\n[node]\nid = 1\ncpus = 2\n");
/// let settings = config.build().expect("a correct file");
/// assert_eq!(settings.node().cpus.count(), 2);
///
/// let errors = Config::from_text("node.toml", "[node]\nid = 1\nlog_memry = '64 MiB'\n").build().expect_err("a typo");
/// assert!(errors.to_string().starts_with(
///     "node.toml:3:1: unknown key `log_memry` in [node]; did you mean `log_memory`?"
/// ));
/// ```
#[derive(Debug, Default)]
pub struct Config {
    entries: Entries,
    peers: Vec<PeerEntries>,
    errors: Vec<ConfigError>,
    /// Errors of the file that were only counted.
    omitted: usize,
    source: Option<Arc<SourceText>>,
}

/// Where the layers above the defaults come from.
#[derive(Debug, Default)]
pub struct Sources<'a> {
    /// The file, if there is one.
    pub file: Option<&'a Path>,
    /// Names and values of the environment, like `std::env::vars_os()`.
    pub environment: Vec<(OsString, OsString)>,
    /// Flags of the command line, in order; of two for one key the later one counts.
    pub flags: Vec<Flag>,
}

/// One flag of the command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flag {
    /// Its name with the dashes, as it is shown in errors.
    pub name: String,
    /// What it sets.
    pub target: FlagTarget,
    /// What was written behind it.
    pub text: String,
}

/// What a flag sets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlagTarget {
    /// One key.
    Key(KeyId),
    /// The key that the text names: `SECTION.KEY=VALUE`.
    Named,
    /// One of the peers: `ID@HOST:PORT`. All such flags together replace the peers of the other layers.
    Peer,
}

type Entries = BTreeMap<KeyId, Entry>;

/// What was said about one key last.
#[derive(Clone, Debug)]
struct Entry {
    /// `None` when it was wrong; the error is among the errors.
    value: Option<Value>,
    origin: Origin,
}

/// One of `[[peers]]`.
#[derive(Clone, Debug)]
struct PeerEntries {
    entries: Entries,
    origin: Origin,
}

impl Config {
    /// Reads all layers. What is wrong in them comes out of [`Config::build`].
    #[must_use]
    pub fn load(sources: &Sources<'_>) -> Self {
        let mut config = match sources.file {
            Some(path) => Self::from_layer(FileLayer::read(path)),
            None => Self::default(),
        };
        config.apply_environment(&sources.environment);
        config.apply_flags(&sources.flags);
        config
    }

    /// Reads a file that is already in memory. `name` is how errors call it.
    #[must_use]
    pub fn from_text(name: &str, text: &str) -> Self {
        Self::from_layer(FileLayer::parse(name, text.to_owned()))
    }

    /// Checks everything and returns what the node runs with.
    ///
    /// # Errors
    /// [`ConfigErrors`] with all that is wrong in any layer, and with all values that do not go together.
    pub fn build(&self) -> Result<Settings, ConfigErrors> {
        let mut errors = self.errors.clone();
        errors.extend(check::check(self));
        if errors.is_empty() {
            assert_eq!(self.omitted, 0, "I1: errors are only counted when others are kept");
            return Ok(Settings::from_checked(self));
        }
        Err(ConfigErrors::new(errors, self.omitted, self.source.clone()))
    }

    /// Returns the value of `id` and where it came from. `None` if it was wrong, or has no default and was not given.
    #[must_use]
    pub fn value(&self, id: KeyId) -> Option<(Value, Origin)> {
        lookup(&self.entries, id)
    }

    /// Returns where `id` was said, or [`Origin::Default`].
    #[must_use]
    pub fn origin(&self, id: KeyId) -> Origin {
        self.entries.get(&id).map_or(Origin::Default, |entry| entry.origin.clone())
    }

    fn from_layer(layer: FileLayer) -> Self {
        let FileLayer { entries, peers, errors, omitted, source } = layer;
        Self { entries, peers: peers.unwrap_or_default(), errors, omitted, source }
    }

    fn apply_environment(&mut self, environment: &[(OsString, OsString)]) {
        let mut ours: Vec<_> =
            environment.iter().filter_map(|(name, value)| Some((setting_variable(name)?, value))).collect();
        // The environment has no order; errors should.
        ours.sort();
        for (name, value) in ours {
            let origin = Origin::Environment(name.to_owned());
            let Some(text) = value.to_str() else {
                self.refuse(origin, Problem::NotUnicode);
                continue;
            };
            if name == PEERS_VARIABLE {
                let peers = text.split(',').map(str::trim).filter(|peer| !peer.is_empty());
                self.replace_peers(peers.map(|peer| (origin.clone(), peer)).collect());
                continue;
            }
            let settable = || KEYS.iter().filter(|key| key.section != keys::PEERS);
            match settable().find(|key| key.variable() == name) {
                Some(key) => self.set(key, origin, text),
                None => {
                    let variables: Vec<String> = settable().map(Key::variable).collect();
                    let nearest = nearest(name, variables.iter().map(String::as_str)).map(str::to_owned);
                    self.refuse(origin, Problem::UnknownName { nearest });
                }
            }
        }
    }

    fn apply_flags(&mut self, flags: &[Flag]) {
        let mut peers = Vec::new();
        for flag in flags {
            let origin = Origin::Flag(flag.name.clone());
            match flag.target {
                FlagTarget::Key(id) => self.set(Key::of(id), origin, &flag.text),
                FlagTarget::Peer => peers.push((origin, flag.text.as_str())),
                FlagTarget::Named => self.set_named(origin, &flag.text),
            }
        }
        if !peers.is_empty() {
            self.replace_peers(peers);
        }
    }

    /// Sets `SECTION.KEY=VALUE`.
    fn set_named(&mut self, origin: Origin, assignment: &str) {
        let parts =
            assignment.split_once('=').and_then(|(name, text)| Some((name.trim().split_once('.')?, text.trim())));
        let Some(((section, name), text)) = parts else {
            return self.refuse(origin, Problem::NotAnAssignment { found: cut(assignment) });
        };
        match Key::find(section, name).filter(|key| key.section != keys::PEERS) {
            Some(key) => self.set(key, origin, text),
            None => {
                let names: Vec<String> = KEYS.iter().map(Key::full_name).collect();
                let found = format!("{section}.{name}");
                let nearest = nearest(&found, names.iter().map(String::as_str)).map(str::to_owned);
                self.refuse(origin, Problem::UnknownName { nearest });
            }
        }
    }

    fn set(&mut self, key: &'static Key, origin: Origin, text: &str) {
        let read = key.read(&Raw::Bare(text.to_owned()));
        if let Err(problem) = &read {
            self.refuse(origin.clone(), Problem::Value { key, problem: problem.clone() });
        }
        self.entries.insert(key.id, Entry { value: read.ok(), origin });
    }

    fn replace_peers(&mut self, peers: Vec<(Origin, &str)>) {
        self.peers.clear();
        if peers.len() > PEERS_MAX {
            let origin = peers[0].0.clone();
            return self.refuse(origin, Problem::TooManyPeers { count: peers.len() });
        }
        for (origin, text) in peers {
            let Some((id, address)) = text.split_once('@') else {
                self.refuse(origin, Problem::NotAPeer { found: cut(text) });
                continue;
            };
            let mut entries = Entries::new();
            for (id, text) in [(KeyId::PeerId, id), (KeyId::PeerAddress, address)] {
                let key = Key::of(id);
                let read = key.read(&Raw::Bare(text.to_owned())).map_err(|problem| Problem::Value { key, problem });
                if let Err(problem) = &read {
                    self.refuse(origin.clone(), problem.clone());
                }
                entries.insert(key.id, Entry { value: read.ok(), origin: origin.clone() });
            }
            self.peers.push(PeerEntries { entries, origin });
        }
    }

    fn refuse(&mut self, origin: Origin, problem: Problem) {
        self.errors.push(ConfigError { origin, problem });
    }
}

impl PeerEntries {
    fn value(&self, id: KeyId) -> Option<(Value, Origin)> {
        lookup(&self.entries, id)
    }
}

/// Returns what was said, else the default.
fn lookup(entries: &Entries, id: KeyId) -> Option<(Value, Origin)> {
    match entries.get(&id) {
        Some(entry) => Some((entry.value.clone()?, entry.origin.clone())),
        None => Some((Key::of(id).default_value()?, Origin::Default)),
    }
}

/// Returns the name of a variable that sets something. Others that start with our prefix belong to tools and tests.
fn setting_variable(name: &OsStr) -> Option<&str> {
    let name = name.to_str()?;
    let rest = name.strip_prefix("QUORATE_")?;
    (rest.contains("__") || name == PEERS_VARIABLE).then_some(name)
}

/// The variable that lists all peers: `2@127.0.0.1:7620,3@127.0.0.1:7640`.
pub const PEERS_VARIABLE: &str = "QUORATE_PEERS";
