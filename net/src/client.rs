//! The native client: commands to a cluster over the native door, with an outcome for each of them.
//!
//! It has two shapes over one engine. [`polling`] never waits: the caller's own loop submits, polls, and gets completions
//! as they come, many at a time and in any order. [`blocking`] submits one command and waits for it.
//!
//! Each command that was submitted ends in exactly one [`Outcome`], and the client never guesses: *done* and *accepted*
//! carry the [`Token`] of the entry, *refused* means that the command never happened and never will, and *unknown* that
//! nobody here can tell, as when the connection was lost after the command had been sent. What certainly was not
//! appended is tried again until its deadline: after an overload, with growing pauses; when a node goes down; and reads
//! whose connection was lost.
//!
//! ```text
//!             submit                 flush                   reply
//!   caller ───────────► queued ────────────────► sent ─────────────────► done, accepted, refused, unknown
//!                         ▲                       │
//!                         └──── backing off ◄─────┘ OVERLOAD, certainly not appended
//! ```
//!
//! # Invariants
//! C1. A ticket completes exactly once. C2. A write is sent again only after a refusal that says it never happened.
//! # Time and units
//! Deadlines count from the first poll after the submission, because nothing is sent before: a submission reads no clock.
//! They are looked at once a millisecond.
//! # Bounds
//! At most `window` commands are outstanding; one more is refused as a value. Sizes are checked before anything is
//! queued. Pauses between attempts are bounded, and end with the deadline.
//! # Threads
//! Single owner; a client is `Send`.

pub mod blocking;
pub mod polling;

mod backoff;
mod connection;
mod door;
mod window;

use std::io;
use std::time::Duration;

use quorate_engine::ids::{Epoch, GroupId, LogIndex, NodeId};
use quorate_engine::machine::answer::Answer;
use quorate_engine::machine::command::{Command, Op, items};
use quorate_engine::time::Instant;
use thiserror::Error;

use crate::wire::{BodyLimits, CLUSTER_BYTES_MAX, DecodeError, Level, PASSWORD_BYTES_MAX, RefusalCode, RejectCode};

pub use backoff::Backoff;

/// Most commands that may be outstanding at one client.
pub const WINDOW_MAX: usize = 1 << 20;

/// How to reach a cluster, and how much to ask of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientOptions {
    /// Native doors, tried in turn: `host:port` or `unix:/path`. Names are resolved once, at the start.
    pub addresses: Vec<String>,
    /// The cluster that must answer; empty: any.
    pub cluster: String,
    /// The password; empty without one.
    pub password: String,
    /// How many commands may be outstanding, 1 to [`WINDOW_MAX`].
    pub window: usize,
    /// Deadline of a command that names none, and the longest there is.
    pub request_timeout: Duration,
    /// How long an attempt to connect may take, greeting included; and how long [`polling::Client::connect`] goes on
    /// trying.
    pub connect_timeout: Duration,
    /// Pauses between attempts.
    pub backoff: Backoff,
    /// Longest key, in bytes. Nodes have a limit of their own; this saves the way to it.
    pub key_bytes_max: usize,
    /// Longest value, in bytes.
    pub value_bytes_max: usize,
    /// Longest frames.
    pub limits: BodyLimits,
}

impl Default for ClientOptions {
    fn default() -> Self {
        Self {
            addresses: vec![String::from("127.0.0.1:7500")],
            cluster: String::new(),
            password: String::new(),
            window: 1024,
            request_timeout: Duration::from_secs(5),
            connect_timeout: Duration::from_secs(2),
            backoff: Backoff::default(),
            key_bytes_max: 64 << 10,
            value_bytes_max: 1 << 20,
            limits: BodyLimits::DEFAULT,
        }
    }
}

impl ClientOptions {
    fn check(&self) -> Result<(), ConnectError> {
        let too_long = |what, given, limit| Err(ConnectError::TooLong { what, given, limit });
        if self.addresses.is_empty() {
            return Err(ConnectError::NoAddress);
        }
        if self.cluster.len() > CLUSTER_BYTES_MAX {
            return too_long("the cluster's name", self.cluster.len(), CLUSTER_BYTES_MAX);
        }
        if self.password.len() > PASSWORD_BYTES_MAX {
            return too_long("the password", self.password.len(), PASSWORD_BYTES_MAX);
        }
        if self.window == 0 || self.window > WINDOW_MAX {
            return Err(ConnectError::Window { window: self.window });
        }
        Ok(())
    }

    /// Checks the lengths in a command.
    fn check_command(&self, command: &Command<'_>) -> Result<(), SubmitError> {
        let too_large = |what, given, limit| Err(SubmitError::TooLarge { what, given, limit });
        if command.key.len() > self.key_bytes_max {
            return too_large("key", command.key.len(), self.key_bytes_max);
        }
        let item_max = if command.op.keys_are_items() && command.op != Op::SetMany {
            ("key", self.key_bytes_max)
        } else {
            ("value", self.value_bytes_max)
        };
        let largest = if is_list(command.op) {
            items(command.value).map(<[u8]>::len).max().unwrap_or(0)
        } else {
            command.value.len()
        };
        if largest > item_max.1 {
            return too_large(item_max.0, largest, item_max.1);
        }
        let request_max = (self.limits.request_bytes_max as usize).saturating_sub(REQUEST_HEAD_BYTES);
        if command.encoded_len() > request_max {
            return too_large("command", command.encoded_len(), request_max);
        }
        Ok(())
    }
}

/// Room left in a request for what stands in front of the command.
const REQUEST_HEAD_BYTES: usize = 64;

/// Whether the value of a command is a list of items, each of which is a value or key by itself.
fn is_list(op: Op) -> bool {
    op.keys_are_items() || matches!(op, Op::HashSet | Op::HashDelete | Op::HashGetMany)
}

/// Names one submitted command. Never used again by the same client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub u64);

/// A command and how it is to be executed.
#[derive(Clone, Copy, Debug)]
pub struct Submission<'a> {
    /// The command.
    pub command: Command<'a>,
    /// What must have happened before it is answered.
    pub level: Level,
    /// How long it may take; cut to [`ClientOptions::request_timeout`].
    pub timeout: Option<Duration>,
    /// A read must see at least this. Tokens of other groups are ignored.
    pub read_after: Option<Token>,
    /// The group, for commands that name no key; otherwise the key decides.
    pub group: Option<GroupId>,
}

impl<'a> Submission<'a> {
    /// A command to be answered when it is committed, within the usual time.
    #[must_use]
    pub const fn new(command: Command<'a>) -> Self {
        Self { command, level: Level::Commit, timeout: None, read_after: None, group: None }
    }
}

/// Where in a group's log something happened: proof of a write, and what a later read must see.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Token {
    /// The group.
    pub group: GroupId,
    /// The epoch at which it was answered.
    pub epoch: Epoch,
    /// The entry.
    pub index: LogIndex,
    /// How often the group has lost data for good.
    pub loss_gen: u64,
}

/// A command that ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Completion<'a> {
    /// Which.
    pub ticket: Ticket,
    /// How.
    pub outcome: Outcome<'a>,
}

/// How a command ended. Borrows from the receive buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome<'a> {
    /// It was executed on what a write quorum holds.
    Done {
        /// Where.
        token: Token,
        /// What the state machine answered; an error of its own, such as a wrong type, is an answer.
        answer: Answer<'a>,
    },
    /// The leader has appended it.
    Accepted {
        /// Where.
        token: Token,
    },
    /// The state of a node, as asked for by [`polling::Client::submit_status`].
    Status {
        /// One JSON object.
        json: &'a str,
    },
    /// It never happened and never will.
    Refused(RefusedBy<'a>),
    /// It may or may not have happened.
    Unknown(UnknownCause),
}

/// A refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RefusedBy<'a> {
    /// Why.
    pub code: RefusalCode,
    /// Two numbers; see the code.
    pub details: [u64; 2],
    /// The same for people.
    pub text: &'a str,
}

/// Why nobody can tell whether a command happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum UnknownCause {
    /// The connection was lost after the command was sent.
    #[error("the connection was lost")]
    ConnectionLost,
    /// No answer came in time.
    #[error("no answer in time")]
    Deadline,
    /// The node says so.
    #[error("the node does not know either: {0:?}")]
    Node(RefusalCode),
}

/// Why a command was not taken. It never happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum SubmitError {
    /// As many commands are outstanding as may be: poll, and submit it again.
    #[error("{window} commands are outstanding, which is the window")]
    Full {
        /// How many may be.
        window: usize,
    },
    /// Longer than it may be.
    #[error("{what} of {given} bytes is longer than the limit of {limit}")]
    TooLarge {
        /// The part.
        what: &'static str,
        /// Its bytes.
        given: usize,
        /// Most there may be.
        limit: usize,
    },
}

/// Why there is no connection.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// The options name no address.
    #[error("no address to connect to")]
    NoAddress,
    /// The options hold something longer than it may be.
    #[error("{what} of {given} bytes is longer than {limit}")]
    TooLong {
        /// The part.
        what: &'static str,
        /// Its bytes.
        given: usize,
        /// Most there may be.
        limit: usize,
    },
    /// The window is not 1 to [`WINDOW_MAX`].
    #[error("a window of {window} is not within 1..={WINDOW_MAX}")]
    Window {
        /// The window.
        window: usize,
    },
    /// The address has no form that we know, or its name no address.
    #[error("{address}: cannot resolve: {source}")]
    Resolve {
        /// As given.
        address: String,
        /// What the system says.
        source: io::Error,
    },
    /// Nobody is there, or the connection broke before it stood.
    #[error("{address}: cannot connect: {source}")]
    Unreachable {
        /// As given.
        address: String,
        /// What the system says.
        source: io::Error,
    },
    /// No greeting came in time.
    #[error("{address}: no answer within {timeout:?}")]
    Silent {
        /// As given.
        address: String,
        /// How long we waited.
        timeout: Duration,
    },
    /// The node refuses us.
    #[error("{address}: refused: {text}")]
    Rejected {
        /// As given.
        address: String,
        /// Why.
        code: RejectCode,
        /// Why, for people.
        text: String,
    },
    /// The node answered for another cluster than the one asked for.
    #[error("{address}: belongs to cluster {found}, not {expected}")]
    WrongCluster {
        /// As given.
        address: String,
        /// The cluster that answers.
        found: String,
        /// The cluster in the options.
        expected: String,
    },
    /// What came is not our protocol, or not our version of it.
    #[error("{address}: {source}")]
    Wire {
        /// As given.
        address: String,
        /// What is wrong with it.
        source: DecodeError,
    },
}

impl ConnectError {
    /// Whether trying again cannot help until someone changes the options or the node.
    #[must_use]
    pub const fn is_permanent(&self) -> bool {
        match self {
            Self::NoAddress | Self::TooLong { .. } | Self::Window { .. } | Self::WrongCluster { .. } => true,
            Self::Rejected { code, .. } => matches!(
                code,
                RejectCode::WrongCluster
                    | RejectCode::WrongVersion
                    | RejectCode::WrongPassword
                    | RejectCode::NoSuchDoor
                    | RejectCode::Malformed
            ),
            Self::Wire { source, .. } => matches!(source, DecodeError::Version { .. } | DecodeError::Magic { .. }),
            Self::Resolve { .. } | Self::Unreachable { .. } | Self::Silent { .. } => false,
        }
    }
}

/// The cluster as the node at the other end describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cluster {
    /// Its name.
    pub name: String,
    /// The node at the other end.
    pub node: NodeId,
    /// How many partitions there are.
    pub partitions: u32,
    /// How many replicas each group has.
    pub replicas: u16,
    /// How many of them make a write quorum.
    pub write_quorum: u16,
    /// The native doors of its nodes.
    pub addresses: Vec<(NodeId, String)>,
}

/// Reads the monotonic clock: the one place where a client does.
fn now() -> Instant {
    crate::clock::now()
}
