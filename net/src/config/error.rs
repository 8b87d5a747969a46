//! What can be wrong with a configuration, where, and what to do about it.
//!
//! All errors are collected before anything is reported, so that one run of `config check` shows them all. Each says
//! where it was written (file, line and column; variable; flag), what was found, what is allowed and what was probably
//! meant.
//!
//! # Bounds
//! At most [`ERRORS_MAX`] errors are kept; how many more there were is counted. Text from outside is cut and escaped
//! before it is repeated.

use std::fmt;
use std::io;
use std::sync::Arc;

use thiserror::Error;

use super::keys::{CPUS_MAX, FILE_BYTES_MAX, Key, LOG_SHARE, PEERS_MAX, PORT_DISTANCE};
use super::source::{Place, SourceText};
use super::types::Door;
use super::units::format_size;
use super::value::{ValueProblem, did_you_mean};

/// Where a value or an error comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Nobody said anything.
    Default,
    /// A place in the file.
    File(Place),
    /// The file as a whole.
    WholeFile(Arc<str>),
    /// An environment variable.
    Environment(String),
    /// A flag of the command line, with its dashes.
    Flag(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(place) => write!(f, "{place}"),
            Self::WholeFile(name) => f.write_str(name),
            Self::Environment(variable) => write!(f, "environment {variable}"),
            Self::Flag(flag) => write!(f, "flag {flag}"),
        }
    }
}

/// One thing that is wrong, and where.
#[derive(Clone, Debug)]
pub struct ConfigError {
    /// Where it was written.
    pub origin: Origin,
    /// What is wrong.
    pub problem: Problem,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.origin {
            Origin::Default => write!(f, "{}", self.problem),
            Origin::Environment(variable) => write!(f, "{variable}: {}", self.problem),
            Origin::Flag(flag) => write!(f, "{flag}: {}", self.problem),
            Origin::File(_) | Origin::WholeFile(_) => write!(f, "{}: {}", self.origin, self.problem),
        }
    }
}

impl std::error::Error for ConfigError {}

/// What is wrong. The text follows the place.
#[derive(Clone, Debug, Error)]
#[non_exhaustive]
pub enum Problem {
    /// The operating system would not give us the file.
    #[error("cannot be read: {error}; check the path and who may read it")]
    Unreadable {
        /// What it said.
        error: Arc<io::Error>,
    },
    /// The file is no configuration file.
    #[error("is longer than {}; a configuration file is a few KiB", format_size(FILE_BYTES_MAX))]
    TooLong,
    /// The file is not text.
    #[error("is not UTF-8 text from here on")]
    NotUtf8,
    /// The file is not TOML.
    #[error("syntax: {message}")]
    Syntax {
        /// What the parser expected, in its own words.
        message: String,
    },
    /// `[nodes]` and the like.
    #[error("unknown section [{found}]{}", hint_for_section(.nearest.as_deref()))]
    UnknownSection {
        /// What was written, escaped and cut.
        found: String,
        /// The section that was probably meant.
        nearest: Option<&'static str>,
    },
    /// A key without a section that would be known inside one.
    #[error("`{found}` stands outside of every section{}", hint_for_outside(*.section))]
    OutsideSection {
        /// What was written, escaped and cut.
        found: String,
        /// The section that has such a key.
        section: Option<&'static str>,
    },
    /// A key that no row of the table has.
    #[error("unknown key `{found}` in [{section}]; {hint}")]
    UnknownKey {
        /// Where it stands.
        section: &'static str,
        /// What was written, escaped and cut.
        found: String,
        /// What was probably meant.
        hint: KeyHint,
    },
    /// An environment variable or `--set` that names no key.
    #[error("names no setting{}", did_you_mean(.nearest.as_deref()))]
    UnknownName {
        /// The one that was probably meant.
        nearest: Option<String>,
    },
    /// `node = 1` where `[node]` belongs.
    #[error("`{section}` is {found}; expected {expected}")]
    NotASection {
        /// The section.
        section: &'static str,
        /// What it is instead.
        found: &'static str,
        /// What should be there.
        expected: &'static str,
    },
    /// A value that does not fit its key.
    #[error("`{}` {problem}", .key.full_name())]
    Value {
        /// The key.
        key: &'static Key,
        /// Why not.
        problem: ValueProblem,
    },
    /// A value that is not even text.
    #[error("is not UTF-8 text")]
    NotUnicode,
    /// `--set` without an equals sign.
    #[error("is {found:?}; expected SECTION.KEY=VALUE, like node.cpus=2")]
    NotAnAssignment {
        /// What was written, cut.
        found: String,
    },
    /// A peer of the environment or a flag that is not `ID@HOST:PORT`.
    #[error("is {found:?}; expected ID@HOST:PORT, like 2@127.0.0.1:7620")]
    NotAPeer {
        /// What was written, cut.
        found: String,
    },
    /// More peers than a node connects to.
    #[error("{count} peers; allowed is 0 to {PEERS_MAX}")]
    TooManyPeers {
        /// How many.
        count: usize,
    },
    /// A key without a default was not given.
    #[error("`{}` is missing; {what_to_write}", .key.full_name())]
    Missing {
        /// The key.
        key: &'static Key,
        /// What to do.
        what_to_write: &'static str,
    },
    /// Two settings that do not go together.
    #[error(transparent)]
    Conflict(#[from] Conflict),
}

/// Settings that are each in range and cannot hold together.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Conflict {
    /// More acknowledgements asked for than there are copies.
    #[error(
        "`cluster.write_quorum` is {write_quorum} and `cluster.replicas` is {replicas}; allowed is 1 to {replicas}"
    )]
    QuorumAboveReplicas {
        /// W.
        write_quorum: u64,
        /// N.
        replicas: u64,
    },
    /// More copies asked for than there are nodes.
    #[error(
        "`cluster.replicas` is {replicas}, but this node and its {peers} peers are {}; add [[peers]] until there are \
         {replicas} nodes, or set replicas to {}",
        .peers + 1, .peers + 1
    )]
    PeersMissing {
        /// N.
        replicas: u64,
        /// How many `[[peers]]` there are.
        peers: u64,
    },
    /// A core of a size that no core has.
    #[error(
        "{count} nodes are marked as the consistent core (node.core, core under [[peers]]); mark 1, 3 or 5 of them, on every \
         node the same"
    )]
    CoreSize {
        /// How many are marked.
        count: usize,
    },
    /// A node that is its own peer.
    #[error("peer {id} has the id of this node; list only the other nodes under [[peers]]")]
    PeerIsSelf {
        /// The id.
        id: u64,
    },
    /// Two peers with one id.
    #[error("peer {id} is already listed at {first}; give every node an id of its own")]
    PeerTwice {
        /// The id.
        id: u64,
        /// Where it was first.
        first: Origin,
    },
    /// Two peers with one address.
    #[error("peer {id} has the address {address} of peer {other}; give every node an address of its own")]
    PeerAddressTwice {
        /// The second peer.
        id: u64,
        /// The first peer.
        other: u64,
        /// The address of both.
        address: String,
    },
    /// A peer on a port of this node.
    #[error(
        "peer {id} is at {address}, but ports {first} to {last} there are this node's own {} door; keep the nodes of \
         one machine {PORT_DISTANCE} ports apart",
        .door.name()
    )]
    PeerOnOwnPort {
        /// The peer.
        id: u64,
        /// Its address.
        address: String,
        /// Which door of this node.
        door: Door,
        /// Its first port.
        first: u16,
        /// Its last port, inclusive.
        last: u16,
    },
    /// A door of a peer that cannot lie where it would follow from this node's doors.
    #[error(
        "peer {id} is at {address}, and no port lies as far from it as `listen.{0}` from `listen.peer`; write its {0} \
         address under [[peers]]",
        .door.name()
    )]
    PeerDoorUnknown {
        /// The peer.
        id: u64,
        /// The door.
        door: Door,
        /// The address of its peer door.
        address: String,
    },
    /// Two doors that want one port.
    #[error(
        "`listen.{}` takes ports {} to {} and `listen.{}` ports {} to {}; with cpus = {cpus} keep base ports at least {} \
         apart (base + 1 + CPU is that CPU's own door)",
        .second.0.name(), .second.1, .second.2, .first.0.name(), .first.1, .first.2, .cpus + 1
    )]
    DoorsOverlap {
        /// The earlier door with its first and last port, inclusive.
        first: (Door, u16, u16),
        /// The later door with its first and last port, inclusive.
        second: (Door, u16, u16),
        /// CPUs of this node.
        cpus: u16,
    },
    /// No room above the base port for the doors of the CPUs.
    #[error(
        "`listen.{}` has port {port}; with cpus = {cpus} allowed is 1 to {} (base + 1 + CPU is that CPU's own door)",
        .door.name(), u16::MAX - .cpus
    )]
    PortTooHigh {
        /// The door.
        door: Door,
        /// Its base port.
        port: u16,
        /// CPUs of this node, at most [`CPUS_MAX`].
        cpus: u16,
    },
    /// Open to the network without a password.
    #[error(
        "`listen.{}` = {address} can be reached from other machines; set security.requirepass, listen on 127.0.0.1, or \
         say --insecure if the network is trusted",
        .door.name()
    )]
    Unprotected {
        /// The door.
        door: Door,
        /// Its address.
        address: String,
    },
    /// HTTP is open to the network, where nobody is asked for a password.
    #[error(
        "`listen.admin` = {address} can be reached from other machines, and whoever reaches it needs no password; listen \
         on 127.0.0.1, or say --insecure if the network is trusted"
    )]
    AdminUnprotected {
        /// Its address.
        address: String,
    },
    /// A value that no group could ever log.
    #[error(
        "an entry with the longest key and value takes {}, but a group may hold {} of uncommitted entries (1/{LOG_SHARE} \
         of a CPU's part of the log, with cpus = {cpus}); raise node.log_memory to {} or lower limits.value_max",
        format_size(*.entry_bytes), format_size(*.share_bytes), format_size(*.log_memory_min)
    )]
    EntryBeyondLog {
        /// The longest key and value with their overhead.
        entry_bytes: u64,
        /// What one group may hold.
        share_bytes: u64,
        /// CPUs of this node.
        cpus: u16,
        /// What the log would need to be.
        log_memory_min: u64,
    },
    /// A value that could never be sent.
    #[error(
        "an entry with the longest key and value takes {}, but {key} is {}; raise it to {} or lower limits.value_max",
        format_size(*.entry_bytes), format_size(*.room_bytes), format_size(*.room_bytes_min)
    )]
    EntryBeyondRoom {
        /// The key that is too small.
        key: &'static str,
        /// The longest key and value with their overhead.
        entry_bytes: u64,
        /// What the key says.
        room_bytes: u64,
        /// What it would need to say.
        room_bytes_min: u64,
    },
}

/// What was probably meant by an unknown key.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum KeyHint {
    /// A key of the same section.
    #[error("did you mean `{0}`?")]
    Nearest(&'static str),
    /// The same or nearly the same key of another section.
    #[error("did you mean `{key}` in [{section}]?")]
    Elsewhere {
        /// That section.
        section: &'static str,
        /// That key.
        key: &'static str,
    },
    /// Nothing is near: all keys of the section.
    #[error("its keys are {}", .0.join(", "))]
    Listed(Vec<&'static str>),
}

/// All that is wrong with a configuration, in the order of the file; what is not in the file comes last.
#[derive(Clone, Debug)]
pub struct ConfigErrors {
    errors: Vec<ConfigError>,
    omitted: usize,
    source: Option<Arc<SourceText>>,
}

impl ConfigErrors {
    /// Sorts and bounds `errors`, which must not be empty. `more` errors were counted and not kept.
    pub(super) fn new(mut errors: Vec<ConfigError>, more: usize, source: Option<Arc<SourceText>>) -> Self {
        assert!(!errors.is_empty(), "a configuration without errors is not refused");
        errors.sort_by_key(|error| match &error.origin {
            Origin::WholeFile(_) => (0, 0, 0),
            Origin::File(place) => (1, place.line, place.column),
            Origin::Environment(_) => (2, 0, 0),
            Origin::Flag(_) => (3, 0, 0),
            Origin::Default => (4, 0, 0),
        });
        let omitted = more + errors.len().saturating_sub(ERRORS_MAX);
        errors.truncate(ERRORS_MAX);
        Self { errors, omitted, source }
    }

    /// Returns the errors; at least one.
    #[must_use]
    pub fn errors(&self) -> &[ConfigError] {
        &self.errors
    }

    /// Returns how many errors there are, those left out included.
    #[must_use]
    pub fn count(&self) -> usize {
        self.errors.len() + self.omitted
    }

    /// Whether only flags of the command line are wrong: then it is the call that has to be mended, no file.
    #[must_use]
    pub fn is_usage(&self) -> bool {
        self.errors.iter().all(|error| matches!(error.origin, Origin::Flag(_)))
    }

    /// Returns the line an error is about with a mark below it, if it is in the file and holds no password.
    #[must_use]
    pub fn excerpt(&self, error: &ConfigError) -> Option<String> {
        match (&error.origin, &self.source) {
            (Origin::File(place), Some(source)) => source.excerpt(place),
            _ => None,
        }
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, error) in self.errors.iter().enumerate() {
            write!(f, "{}{error}", if index == 0 { "" } else { "\n" })?;
        }
        if self.omitted > 0 {
            write!(f, "\nand {} more", self.omitted)?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}

/// The most errors that are reported: beyond a screenful nobody reads on.
pub const ERRORS_MAX: usize = 50;

const _: () = assert!(CPUS_MAX < PORT_DISTANCE as usize, "a node and its CPUs' doors fit between two base ports");

fn hint_for_section(nearest: Option<&str>) -> String {
    match nearest {
        Some(section) => format!("; did you mean [{section}]?"),
        None => format!("; sections are {} and [[peers]]", section_names()),
    }
}

fn hint_for_outside(section: Option<&str>) -> String {
    match section {
        Some(section) => format!("; write it below [{section}]"),
        None => format!("; sections are {} and [[peers]]", section_names()),
    }
}

fn section_names() -> String {
    let names: Vec<String> = super::keys::SECTIONS.iter().map(|(section, _)| format!("[{section}]")).collect();
    names.join(", ")
}
