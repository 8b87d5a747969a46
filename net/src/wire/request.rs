//! Requests and their outcomes: from a client to a node, and from the node it reached to the one that can answer.
//!
//! A request ends in exactly one frame: a [`Reply`] (done, or accepted by the leader), or a [`Refusal`], which says
//! whether the request certainly never happened or whether nobody knows. Outcomes of one connection come in any order;
//! `number` tells them apart.
//!
//! # Time and units
//! `timeout_us` counts from the arrival at the first node, which subtracts what has passed when it passes the request on.

use quorate_engine::ids::LogIndex;
use quorate_engine::machine::answer::AnswerSink;
use quorate_engine::machine::command::Command;
use rkyv::bytecheck::CheckBytes;
use rkyv::{Archive, Portable, Serialize};

use super::header::{push_archived, push_frame};
use super::hello::cut;
use super::{About, Kind};

/// Longest text of a [`Refusal`], in bytes.
pub(super) const REFUSAL_TEXT_BYTES_MAX: usize = 1024;

/// What must have happened before a request is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default, Archive, Serialize, Portable, CheckBytes)]
#[rkyv(as = Level)]
#[bytecheck(crate = rkyv::bytecheck)]
#[repr(u8)]
pub enum Level {
    /// The leader has appended it. It may still be lost with the leader.
    Accepted,
    /// A write quorum holds it and it has been applied.
    #[default]
    Commit,
}

/// How a command is to be executed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct RequestHead {
    /// Comes back in the outcome. Chosen by whoever sends the frame, unique among what it has outstanding here.
    pub number: u64,
    /// What must have happened before it is answered.
    pub level: Level,
    /// How many nodes have passed it on.
    pub hops: u8,
    /// How long it may take, in microseconds; 0: as long as the node allows.
    pub timeout_us: u32,
    /// A read must see at least this entry of the group; its epoch stands in the header. 0: the latest committed state
    /// is enough.
    pub read_after: LogIndex,
}

/// A command and how it is to be executed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request<'a> {
    /// How.
    pub head: RequestHead,
    /// The command, checked.
    pub command: Command<'a>,
    /// Its bytes: what goes into the log.
    pub encoded: &'a [u8],
}

/// The archived head of a [`Request`]; the command is the tail.
#[derive(Clone, Copy, Debug, Archive, Serialize)]
pub(super) struct RequestWire {
    pub(super) number: u64,
    pub(super) read_after: u64,
    pub(super) timeout_us: u32,
    pub(super) level: Level,
    pub(super) hops: u8,
    pub(super) zero: [u8; 2],
}

impl From<&RequestHead> for RequestWire {
    fn from(head: &RequestHead) -> Self {
        Self {
            number: head.number,
            read_after: head.read_after.0,
            timeout_us: head.timeout_us,
            level: head.level,
            hops: head.hops,
            zero: [0; 2],
        }
    }
}

impl RequestHead {
    /// Appends a request for `command` to `out`.
    pub fn encode(&self, out: &mut Vec<u8>, about: About, command: &Command<'_>) {
        push_frame(out, Kind::Request, about, |out| {
            push_archived(out, &RequestWire::from(self));
            command.encode_into(out);
        });
    }
}

/// Appends a request for a command that is encoded already, as when it is passed on.
pub fn encode_request_bytes(out: &mut Vec<u8>, about: About, head: &RequestHead, command: &[u8]) {
    push_frame(out, Kind::Request, about, |out| {
        push_archived(out, &RequestWire::from(head));
        out.extend_from_slice(command);
    });
}

/// The outcome of a request that happened. Its header names group and epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reply<'a> {
    /// Which request, how far it came, and where.
    pub head: ReplyHead,
    /// With [`Level::Commit`] the answer of the state machine, to be read with
    /// [`Answer::read`](quorate_engine::machine::answer::Answer::read); with [`Level::Accepted`] empty.
    pub answer: &'a [u8],
}

/// Which request was answered, and with which token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct ReplyHead {
    /// That of the request.
    pub number: u64,
    /// How far it came.
    pub level: Level,
    /// Of a write: its entry. Of a read: the last entry it saw.
    pub index: LogIndex,
    /// How often the group has lost data for good; a token of another number proves nothing.
    pub loss_gen: u64,
}

/// The archived head of a [`Reply`]; the answer is the tail.
#[derive(Clone, Copy, Debug, Archive, Serialize)]
pub(super) struct ReplyWire {
    pub(super) number: u64,
    pub(super) index: u64,
    pub(super) loss_gen: u64,
    pub(super) level: Level,
    pub(super) zero: [u8; 7],
}

impl From<&ReplyHead> for ReplyWire {
    fn from(head: &ReplyHead) -> Self {
        Self { number: head.number, index: head.index.0, loss_gen: head.loss_gen, level: head.level, zero: [0; 7] }
    }
}

impl ReplyHead {
    /// Appends a reply whose answer is written by `write_answer` straight into `out`. With [`Level::Accepted`] it must
    /// write nothing.
    pub fn encode_with(&self, out: &mut Vec<u8>, about: About, write_answer: impl FnOnce(&mut AnswerSink<'_>)) {
        push_frame(out, Kind::Reply, about, |out| {
            push_archived(out, &ReplyWire::from(self));
            write_answer(&mut AnswerSink::into(out));
        });
    }
}

impl Reply<'_> {
    /// Appends the frame to `out`.
    pub fn encode(&self, out: &mut Vec<u8>, about: About) {
        debug_assert!(self.head.level == Level::Commit || self.answer.is_empty(), "nothing was executed yet");
        push_frame(out, Kind::Reply, about, |out| {
            push_archived(out, &ReplyWire::from(&self.head));
            out.extend_from_slice(self.answer);
        });
    }
}

/// Whether a request that was not answered may have happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Archive, Serialize, Portable, CheckBytes)]
#[rkyv(as = Certainty)]
#[bytecheck(crate = rkyv::bytecheck)]
#[repr(u8)]
pub enum Certainty {
    /// It never happened and never will: it was not appended.
    Never,
    /// Nobody knows yet: it was appended, or may have been.
    Unknown,
}

/// Why a request was not answered. In brackets: what the two numbers of the [`Refusal`] say; 0 where nothing is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Archive, Serialize, Portable, CheckBytes)]
#[rkyv(as = RefusalCode)]
#[bytecheck(crate = rkyv::bytecheck)]
#[repr(u8)]
pub enum RefusalCode {
    /// A queue, window or log is full; try again (after so many microseconds).
    Overload,
    /// Too few replicas answer (how many do, how many it takes).
    NoQuorum,
    /// Another node leads the group (which; 0: not known).
    NotLeader,
    /// The group cannot be served until someone decides about it (how many replicas are missing).
    Unavailable,
    /// The memory for values is full (bytes used, bytes there may be).
    OutOfMemory,
    /// Key, value or command is too long (bytes given, bytes there may be).
    TooLarge,
    /// The keys belong to different slots.
    CrossSlot,
    /// The time allowed has passed (microseconds allowed).
    Timeout,
    /// The leader was lost while the request was under way.
    LeaderLost,
    /// The request was passed on more often than it may be (how often).
    TooManyHops,
    /// This release does not do that.
    NotBuilt,
    /// The node is going down.
    Stopping,
}

/// The outcome of a request that was refused or whose fate is not known. Its header names group and epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal<'a> {
    /// That of the request.
    pub number: u64,
    /// Whether it may have happened.
    pub certainty: Certainty,
    /// Why.
    pub code: RefusalCode,
    /// Two numbers; see the code.
    pub details: [u64; 2],
    /// The same for people, beginning with an upper-case code. What is longer than 1 KiB is cut.
    pub text: &'a str,
}

/// The archived head of a [`Refusal`]; the text is the tail.
#[derive(Clone, Copy, Debug, Archive, Serialize)]
pub(super) struct RefusalWire {
    pub(super) number: u64,
    pub(super) details: [u64; 2],
    pub(super) text_len: u16,
    pub(super) code: RefusalCode,
    pub(super) certainty: Certainty,
    pub(super) zero: [u8; 4],
}

impl Refusal<'_> {
    /// Appends the frame to `out`.
    pub fn encode(&self, out: &mut Vec<u8>, about: About) {
        let text = cut(self.text, REFUSAL_TEXT_BYTES_MAX);
        let head = RefusalWire {
            number: self.number,
            details: self.details,
            text_len: u16::try_from(text.len()).expect("cut to 1 KiB"),
            code: self.code,
            certainty: self.certainty,
            zero: [0; 4],
        };
        push_frame(out, Kind::Refusal, about, |out| {
            push_archived(out, &head);
            out.extend_from_slice(text.as_bytes());
        });
    }
}
