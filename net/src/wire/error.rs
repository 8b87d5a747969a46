//! Why bytes are not a frame.

use quorate_engine::entry::EntryError;
use quorate_engine::ids::{EntryId, Epoch};
use quorate_engine::machine::command::{CommandError, Op};
use thiserror::Error;

use super::header::MAGIC;
use super::{Kind, Stage};

/// Why bytes are not a frame that may come here. The connection has lost its place in the stream and must be closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// Whoever sends this speaks something else.
    #[error("not the native protocol: a frame begins with {MAGIC:#010x}, this with {found:#010x}")]
    Magic {
        /// The first four bytes, as far as they have come.
        found: u32,
    },
    /// A node or client of another release.
    #[error("the other end speaks wire version {theirs}, this end {ours}: run the same release on both")]
    Version {
        /// What the other end speaks.
        theirs: u16,
        /// What this end speaks.
        ours: u16,
    },
    /// No kind has this number.
    #[error("unknown kind of frame: {number}")]
    Kind {
        /// The number.
        number: u16,
    },
    /// The kind exists, but not here and now.
    #[error("a {kind:?} frame cannot come at stage {stage:?}")]
    Unexpected {
        /// The kind.
        kind: Kind,
        /// Where the connection stands.
        stage: Stage,
    },
    /// The header announces more than the kind may have.
    #[error("a {kind:?} frame of {length} bytes is longer than {limit}")]
    TooLong {
        /// The kind.
        kind: Kind,
        /// Bytes of the body, as announced.
        length: u32,
        /// Most there may be.
        limit: u32,
    },
    /// The body does not hold its head and what that announces, exactly.
    #[error("a {kind:?} frame should have {said} bytes and has {length}")]
    Length {
        /// The kind.
        kind: Kind,
        /// Bytes there should be: the head alone, if not even that is whole.
        said: u64,
        /// Bytes of the body.
        length: usize,
    },
    /// The bytes given end before the frame does.
    #[error("the frame needs {needed} bytes, {have} are there")]
    Truncated {
        /// Bytes of the frame, or of its header.
        needed: usize,
        /// Bytes given.
        have: usize,
    },
    /// The frame is not what was sent.
    #[error("a {kind:?} frame with checksum {stored:#010x} has {computed:#010x}")]
    Checksum {
        /// The kind it says it is.
        kind: Kind,
        /// What the header says.
        stored: u32,
        /// What the bytes give.
        computed: u32,
    },
    /// The head holds a value that its type does not have.
    #[error("the head of a {kind:?} frame is malformed")]
    Head {
        /// The kind.
        kind: Kind,
    },
    /// A field holds a number that cannot be.
    #[error("{field} of a {kind:?} frame cannot be {value}")]
    Field {
        /// The kind.
        kind: Kind,
        /// The field.
        field: &'static str,
        /// What it holds.
        value: u64,
    },
    /// What is reserved is not zero.
    #[error("a reserved field of a {kind:?} frame is not zero")]
    NotZero {
        /// The kind.
        kind: Kind,
    },
    /// A text is not UTF-8.
    #[error("{field} of a {kind:?} frame is not UTF-8")]
    Text {
        /// The kind.
        kind: Kind,
        /// The field.
        field: &'static str,
    },
    /// The tail of an `Append` is not whole entries.
    #[error(transparent)]
    Entry(#[from] EntryError),
    /// The entries of an `Append` do not follow one another.
    #[error("entry {found} cannot follow {previous} in an append of epoch {epoch}")]
    Order {
        /// The entry before.
        previous: EntryId,
        /// The entry that stands there.
        found: EntryId,
        /// The epoch of the leader that sends.
        epoch: Epoch,
    },
    /// The tail of a request is not a command.
    #[error(transparent)]
    Command(#[from] CommandError),
    /// A command that leaders append themselves and nobody may send.
    #[error("nobody may request {op:?}")]
    Internal {
        /// Its operation.
        op: Op,
    },
    /// The tail of a reply is not an answer.
    #[error("the answer in a {kind:?} frame is malformed")]
    Answer {
        /// The kind.
        kind: Kind,
    },
}
