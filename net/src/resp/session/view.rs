//! What a session asks about the server around it, and what it tells it.

use std::fmt;

use thiserror::Error;

use super::Password;
use crate::resp::Protocol;
use crate::resp::table::CommandId;

/// The server as one session sees it. Nothing here waits: whoever implements it keeps the figures at hand.
pub trait ServerView {
    /// Microseconds since the Unix epoch.
    fn now_us(&self) -> u64;

    /// What this door says it is: `standalone`, or `cluster` at the door of one CPU.
    fn mode(&self) -> &'static str;

    /// The role of this node and what replicates from it.
    fn role(&self) -> RoleReport;

    /// The password of the default user. `None`: anyone may do anything.
    fn password(&self) -> Option<Password>;

    /// Changes the password of the default user; connections that are open keep their rights.
    fn set_password(&mut self, password: Option<Password>);

    /// Calls `visit` for every connection of the node.
    fn visit_clients(&self, visit: &mut dyn FnMut(&ClientRecord));

    /// Notes that the name, the library or the protocol of a connection has changed.
    fn record_client(&mut self, record: &ClientRecord);

    /// Closes every connection that `is_meant`, the asking one excepted; returns how many.
    fn close_clients(&mut self, asking: u64, is_meant: &dyn Fn(&ClientRecord) -> bool) -> usize;

    /// Holds commands back until a time; a pause that is longer or stricter stays.
    fn pause(&mut self, pause: Pause);

    /// Ends a pause.
    fn unpause(&mut self);

    /// Calls `visit` with the name and value of every setting, by the names Redis clients ask for.
    fn visit_settings(&self, visit: &mut dyn FnMut(&str, &str));

    /// Changes settings, all of them or none.
    ///
    /// # Errors
    /// [`ConfigError`], with the first setting that cannot be changed.
    fn change_settings(&mut self, settings: Settings<'_>) -> Result<(), ConfigError>;

    /// Sets the figures of `INFO` back to zero.
    fn reset_statistics(&mut self);

    /// Notes that somebody was refused.
    fn record_denial(&mut self, entry: AclLogEntry);

    /// The latest refusals, newest first, at most `count`.
    fn denials(&self, count: usize) -> Vec<AclLogEntry>;

    /// Forgets all refusals.
    fn forget_denials(&mut self);
}

/// Names and values to be set, in the order given.
pub type Settings<'a> = &'a [(&'a str, &'a [u8])];

/// What is known about one connection: a line of `CLIENT LIST`.
#[derive(Clone, Debug)]
pub struct ClientRecord {
    /// Its number, never used again by this node.
    pub id: u64,
    /// Where it comes from, `address:port` or a path.
    pub address: String,
    /// Where it came to.
    pub local_address: String,
    /// Its file descriptor.
    pub descriptor: i64,
    /// What it calls itself; empty at first.
    pub name: String,
    /// The library it uses, if it said so.
    pub library_name: String,
    /// The version of that library.
    pub library_version: String,
    /// What it speaks.
    pub protocol: Protocol,
    /// Whether its replies tell where they stand in the log: `CLIENT META`, in RESP3 only.
    pub has_meta: bool,
    /// How many subscriptions it has.
    pub subscriptions: Subscriptions,
    /// What it asked for last.
    pub last_command: Option<CommandId>,
    /// When it connected, in microseconds since the Unix epoch.
    pub connected_at_us: u64,
    /// When it last sent something, in microseconds since the Unix epoch.
    pub active_at_us: u64,
}

impl ClientRecord {
    /// Starts a record with what is known when a connection has been accepted.
    #[must_use]
    pub fn new(id: u64, address: String, local_address: String, now_us: u64) -> Self {
        Self {
            id,
            address,
            local_address,
            descriptor: -1,
            name: String::new(),
            library_name: String::new(),
            library_version: String::new(),
            protocol: Protocol::V2,
            has_meta: false,
            subscriptions: Subscriptions::default(),
            last_command: None,
            connected_at_us: now_us,
            active_at_us: now_us,
        }
    }

    /// What kind of client it is, for the filters of `CLIENT LIST` and `CLIENT KILL`.
    #[must_use]
    pub fn kind(&self) -> ClientKind {
        if self.subscriptions.any() { ClientKind::Pubsub } else { ClientKind::Normal }
    }

    /// The line of `CLIENT LIST`, as of `now_us`, without its end.
    #[must_use]
    pub fn line(&self, now_us: u64) -> impl fmt::Display + '_ {
        Line { record: self, now_us }
    }
}

/// How many subscriptions of each sort a connection has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Subscriptions {
    /// By name.
    pub channels: u32,
    /// By pattern.
    pub patterns: u32,
    /// To channels that belong to a slot.
    pub shard_channels: u32,
}

impl Subscriptions {
    /// Whether there is any.
    #[must_use]
    pub fn any(self) -> bool {
        self != Self::default()
    }
}

/// What kind of client a connection is. Nodes do not talk to each other through this door, so there is never a master or a replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientKind {
    /// It asks and is answered.
    Normal,
    /// It has subscriptions.
    Pubsub,
    /// There is none.
    Master,
    /// There is none.
    Replica,
}

impl ClientKind {
    /// Finds a kind by its word, in any case of letters.
    #[must_use]
    pub fn named(word: &[u8]) -> Option<Self> {
        match word.to_ascii_lowercase().as_slice() {
            b"normal" => Some(Self::Normal),
            b"pubsub" => Some(Self::Pubsub),
            b"master" => Some(Self::Master),
            b"replica" | b"slave" => Some(Self::Replica),
            _ => None,
        }
    }
}

struct Line<'a> {
    record: &'a ClientRecord,
    now_us: u64,
}

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let record = self.record;
        let seconds_since = |then_us: u64| self.now_us.saturating_sub(then_us) / 1_000_000;
        write!(f, "id={} addr={} laddr={} ", record.id, record.address, record.local_address)?;
        write!(f, "fd={} name={} ", record.descriptor, record.name)?;
        write!(f, "age={} idle={} ", seconds_since(record.connected_at_us), seconds_since(record.active_at_us))?;
        let subscriptions = record.subscriptions;
        write!(f, "flags={} db=0 sub={} ", if subscriptions.any() { 'P' } else { 'N' }, subscriptions.channels)?;
        write!(f, "psub={} ssub={} multi=-1 ", subscriptions.patterns, subscriptions.shard_channels)?;
        f.write_str("qbuf=0 qbuf-free=0 argv-mem=0 multi-mem=0 rbs=0 rbp=0 obl=0 oll=0 omem=0 tot-mem=0 events=r ")?;
        write!(f, "cmd={} user=default redir=-1 ", record.last_command.map_or("NULL", |id| id.spec().name))?;
        write!(f, "resp={} lib-name={} ", record.protocol.number(), record.library_name)?;
        write!(f, "lib-ver={}", record.library_version)?;
        if record.has_meta { f.write_str(" meta=on") } else { Ok(()) }
    }
}

/// How long commands are held back, and which.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pause {
    /// Until when, in microseconds since the Unix epoch, exclusive.
    pub until_us: u64,
    /// Whether reads go on.
    pub is_writes_only: bool,
}

/// What `ROLE` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RoleReport {
    /// This node leads groups: the largest commit index, and (address, port, index) of each follower.
    Leader {
        /// The position clients compare; the largest commit index of a group led here.
        offset: u64,
        /// Who replicates from here.
        followers: Vec<(String, u16, u64)>,
    },
    /// This node leads nothing: address and port of one that does, whether it is reached, and the index applied here.
    Follower {
        /// A leader's address.
        leader: String,
        /// Its port.
        port: u16,
        /// Whether it is connected.
        is_connected: bool,
        /// The largest applied index.
        offset: u64,
    },
}

impl RoleReport {
    /// The word that `HELLO` and `ROLE` use.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::Leader { .. } => "master",
            Self::Follower { .. } => "slave",
        }
    }
}

/// Why settings were not changed.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConfigError {
    /// There is no such setting.
    #[error("ERR Unknown option or number of arguments for CONFIG SET - '{name}'")]
    Unknown {
        /// As it was given.
        name: String,
    },
    /// It cannot be changed while the node runs.
    #[error("ERR CONFIG SET failed (possibly related to argument '{name}') - can't set immutable config")]
    Immutable {
        /// As it was given.
        name: String,
    },
    /// It is given twice.
    #[error("ERR CONFIG SET failed (possibly related to argument '{name}') - duplicate parameter")]
    Duplicate {
        /// As it was given.
        name: String,
    },
    /// The value is not one.
    #[error("ERR CONFIG SET failed (possibly related to argument '{name}') - {expected}")]
    Value {
        /// As it was given.
        name: String,
        /// What would be a value, with its range.
        expected: String,
    },
}

/// One refusal: an entry of `ACL LOG`.
#[derive(Clone, Debug)]
pub struct AclLogEntry {
    /// What was refused: so far always a login.
    pub reason: &'static str,
    /// The command that was used.
    pub object: &'static str,
    /// The user that was named.
    pub username: String,
    /// When, in microseconds since the Unix epoch.
    pub at_us: u64,
    /// The connection's line at that time.
    pub client: String,
}
