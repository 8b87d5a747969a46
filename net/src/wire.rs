//! The native wire format: what lies between two nodes, and between a node and a native client, as bytes.
//!
//! A *frame* is a header of 32 bytes and a body; a body is one archived head of fixed size, which the kind in the
//! header names, and behind it a tail of raw bytes: entries, a command, an answer, a text. There are no pointers in a
//! frame and no alignment, so frames are read where they lie in the receive buffer and written straight behind whatever
//! the send buffer holds already.
//!
//! ```text
//!  0       4        8         10     12       16      20         24      32
//!  ┌───────┬────────┬─────────┬──────┬────────┬───────┬──────────┬───────┬──────────────┬──────────┐
//!  │ magic │ crc32c │ version │ kind │ length │ group │ reserved │ epoch │ head of kind │ tail ... │
//!  └───────┴────────┴─────────┴──────┴────────┴───────┴──────────┴───────┴──────────────┴──────────┘
//!                    └─────────────────── covered by the checksum ───────────────────────────────────┘
//!                                                                      └──── `length` bytes ─────┘
//! ```
//!
//! The checksum covers all that follows it, except the entries of an `Append`, which bring their own.
//!
//! The first frame of each end is a [`Hello`] or, in answer, a [`Welcome`] or [`Reject`]. They fix the cluster, the wire
//! version and (node, incarnation, CPU) of both ends, so that no later frame has to name them. A node of another wire
//! version is refused with both numbers; for that, magic and version stay where they are in every version to come.
//!
//! Bytes are hostile until [`Frames::next`] or [`decode`] has returned them as a [`Frame`]. Every check is made there,
//! once, and nothing behind it looks at lengths again. A frame has exactly one encoding: what is reserved must be zero.
//!
//! # Bounds
//! [`BodyLimits`] for kinds that carry what users store, say or are told, constants for the others; a longer frame is
//! refused by its header, before its body has arrived. Which kinds a connection may send at all depends on its [`Stage`]:
//! before it has said who it is, nothing but a `Hello` of at most 1 KiB is read.
//!
//! # Source
//! CRC-32C: RFC 3720, appendix B.4.

mod control;
mod decode;
mod error;
mod frames;
mod header;
mod hello;
mod peer;
mod publish;
mod request;
mod status;
#[cfg(test)]
mod tests;

use quorate_engine::ids::{Epoch, GroupId, ReplicaId};
use quorate_engine::message::{Envelope, Message};

pub use control::Control;
pub use decode::decode;
pub use error::DecodeError;
pub use frames::{FrameReader, Frames, REMAINDER_KEPT_BYTES};
pub use header::{HEADER_BYTES, MAGIC, WIRE_VERSION};
pub use hello::{
    ADDRESS_BYTES_MAX, AddressList, CLUSTER_BYTES_MAX, Hello, NODES_MAX, PASSWORD_BYTES_MAX, Reject, RejectCode, Role,
    Welcome, push_address,
};
pub use peer::{encode_append_with, encode_message};
pub use publish::{Audience, Publish};
pub use request::{
    Certainty, Level, Refusal, RefusalCode, Reply, ReplyHead, Request, RequestHead, encode_request_bytes,
};
pub use status::{StatusReply, StatusRequest};

/// What a frame carries. The numbers are part of the wire format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u16)]
pub enum Kind {
    /// The first frame of whoever connects.
    Hello = 1,
    /// The answer to it: the connection stands.
    Welcome = 2,
    /// The connection is refused, or about to be closed, and why.
    Reject = 3,
    /// Leader to replica: entries.
    Append = 16,
    /// Replica to leader: the prefix it shares.
    Ack = 17,
    /// Replica to leader: another leader is followed.
    Refused = 18,
    /// Replica to leader: a gap or a conflict.
    Mismatch = 19,
    /// Leader to replica: part of a snapshot.
    Chunk = 20,
    /// Replica to leader: how far the snapshot has come.
    ChunkAck = 21,
    /// Candidate to replica: promise an epoch.
    Seal = 22,
    /// Replica to candidate: what it holds.
    Sealed = 23,
    /// Candidate to replica: send entries.
    Fetch = 24,
    /// Replica to candidate: entries.
    Fetched = 25,
    /// Replica to candidate: those entries have left the log.
    Unfetchable = 26,
    /// Between a leader and a replica: the replica's state is wrong.
    Diverged = 27,
    /// A command of a client, from the client or passed on by a node.
    Request = 32,
    /// The request was done, or accepted.
    Reply = 33,
    /// The request was refused, or its outcome is not known.
    Refusal = 34,
    /// A message for the subscribers at another node.
    Publish = 48,
    /// Asks a node about itself.
    Status = 64,
    /// What it says.
    StatusReply = 65,
    /// Between a node and a node of the consistent core.
    Control = 80,
}

impl Kind {
    /// All kinds, in the order of their numbers.
    pub const ALL: [Self; 22] = [
        Self::Hello,
        Self::Welcome,
        Self::Reject,
        Self::Append,
        Self::Ack,
        Self::Refused,
        Self::Mismatch,
        Self::Chunk,
        Self::ChunkAck,
        Self::Seal,
        Self::Sealed,
        Self::Fetch,
        Self::Fetched,
        Self::Unfetchable,
        Self::Diverged,
        Self::Request,
        Self::Reply,
        Self::Refusal,
        Self::Publish,
        Self::Status,
        Self::StatusReply,
        Self::Control,
    ];

    /// Returns the kind with this number.
    #[must_use]
    pub const fn from_number(number: u16) -> Option<Self> {
        Some(match number {
            1 => Self::Hello,
            2 => Self::Welcome,
            3 => Self::Reject,
            16 => Self::Append,
            17 => Self::Ack,
            18 => Self::Refused,
            19 => Self::Mismatch,
            20 => Self::Chunk,
            21 => Self::ChunkAck,
            22 => Self::Seal,
            23 => Self::Sealed,
            24 => Self::Fetch,
            25 => Self::Fetched,
            26 => Self::Unfetchable,
            27 => Self::Diverged,
            32 => Self::Request,
            33 => Self::Reply,
            34 => Self::Refusal,
            48 => Self::Publish,
            64 => Self::Status,
            65 => Self::StatusReply,
            80 => Self::Control,
            _ => return None,
        })
    }

    /// Whether frames of this kind are about a group; the others have group and epoch 0.
    #[must_use]
    pub const fn is_about_group(self) -> bool {
        match self {
            Self::Append
            | Self::Ack
            | Self::Refused
            | Self::Mismatch
            | Self::Chunk
            | Self::ChunkAck
            | Self::Seal
            | Self::Sealed
            | Self::Fetch
            | Self::Fetched
            | Self::Unfetchable
            | Self::Diverged
            | Self::Request
            | Self::Reply
            | Self::Refusal => true,
            Self::Hello
            | Self::Welcome
            | Self::Reject
            | Self::Publish
            | Self::Status
            | Self::StatusReply
            | Self::Control => false,
        }
    }
}

/// Which group a frame is about, and at which epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct About {
    /// The group.
    pub group: GroupId,
    /// Between replicas: the message epoch. Of a request: the epoch of its `read_after`, 0 without one. Of a reply: the
    /// epoch at which it was answered.
    pub epoch: Epoch,
}

impl About {
    /// What frames say that are about no group.
    pub const NOTHING: Self = Self { group: GroupId(0), epoch: Epoch(0) };
}

/// One frame, checked. Borrows from the bytes it was read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// The group and epoch in its header.
    pub about: About,
    /// What it carries.
    pub body: Body<'a>,
}

/// What a frame carries, decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body<'a> {
    /// The first frame of whoever connects.
    Hello(Hello<'a>),
    /// The connection stands.
    Welcome(Welcome<'a>),
    /// The connection is refused.
    Reject(Reject<'a>),
    /// One replica to another.
    Message(Message<'a>),
    /// A command.
    Request(Request<'a>),
    /// Its outcome: done or accepted.
    Reply(Reply<'a>),
    /// Its outcome: refused or unknown.
    Refusal(Refusal<'a>),
    /// For subscribers.
    Publish(Publish<'a>),
    /// Asks for the state of a node.
    Status(StatusRequest),
    /// The state of a node.
    StatusReply(StatusReply<'a>),
    /// Between a node and a node of the consistent core.
    Control(Control<'a>),
}

impl<'a> Frame<'a> {
    /// Returns the kind.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        match self.body {
            Body::Hello(_) => Kind::Hello,
            Body::Welcome(_) => Kind::Welcome,
            Body::Reject(_) => Kind::Reject,
            Body::Message(Message::Append(_)) => Kind::Append,
            Body::Message(Message::Ack(_)) => Kind::Ack,
            Body::Message(Message::Refused(_)) => Kind::Refused,
            Body::Message(Message::Mismatch(_)) => Kind::Mismatch,
            Body::Message(Message::Chunk(_)) => Kind::Chunk,
            Body::Message(Message::ChunkAck(_)) => Kind::ChunkAck,
            Body::Message(Message::Seal) => Kind::Seal,
            Body::Message(Message::Sealed(_)) => Kind::Sealed,
            Body::Message(Message::Fetch { .. }) => Kind::Fetch,
            Body::Message(Message::Fetched(_)) => Kind::Fetched,
            Body::Message(Message::Unfetchable) => Kind::Unfetchable,
            Body::Message(Message::Diverged(_)) => Kind::Diverged,
            Body::Request(_) => Kind::Request,
            Body::Reply(_) => Kind::Reply,
            Body::Refusal(_) => Kind::Refusal,
            Body::Publish(_) => Kind::Publish,
            Body::Status(_) => Kind::Status,
            Body::StatusReply(_) => Kind::StatusReply,
            Body::Control(_) => Kind::Control,
        }
    }

    /// Returns the message of a replica in its envelope, given which replica the connection belongs to. `None` if it is
    /// none.
    #[must_use]
    pub fn envelope(&self, from: ReplicaId) -> Option<Envelope<'a>> {
        let Body::Message(message) = self.body else { return None };
        Some(Envelope { from, group: self.about.group, epoch: self.about.epoch, message })
    }

    /// Appends the frame to `out`: the very bytes it was decoded from.
    ///
    /// Cost: one copy of the tail, one pass for the checksum, no allocation but the growth of `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match &self.body {
            Body::Hello(hello) => hello.encode(out),
            Body::Welcome(welcome) => welcome.encode(out),
            Body::Reject(reject) => reject.encode(out),
            Body::Message(message) => encode_message(out, self.about, message),
            Body::Request(request) => encode_request_bytes(out, self.about, &request.head, request.encoded),
            Body::Reply(reply) => reply.encode(out, self.about),
            Body::Refusal(refusal) => refusal.encode(out, self.about),
            Body::Publish(publish) => publish.encode(out),
            Body::Status(status) => status.encode(out),
            Body::StatusReply(reply) => reply.encode(out),
            Body::Control(control) => control.encode(out),
        }
    }
}

/// What the other end of a connection may send, by who it is and how far the greeting has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// It has connected to us and not said who it is: `Hello`.
    Greeting,
    /// We have connected to it and wait for its answer: `Welcome` or `Reject`.
    Answering,
    /// It is a client: `Request` and `Status`.
    Client,
    /// It is a node, and we are its client: `Reply`, `Refusal`, `StatusReply` and `Reject`.
    Server,
    /// One end is a node of the consistent core, and the other one any node: `Control` and `Reject`.
    Core,
    /// Both ends are nodes: what replicas say, requests passed on and their outcomes, `Publish` and `Reject`.
    Peer,
}

impl Stage {
    /// Whether a frame of this kind may come.
    #[must_use]
    pub const fn allows(self, kind: Kind) -> bool {
        match self {
            Self::Greeting => matches!(kind, Kind::Hello),
            Self::Answering => matches!(kind, Kind::Welcome | Kind::Reject),
            Self::Client => matches!(kind, Kind::Request | Kind::Status),
            Self::Server => matches!(kind, Kind::Reply | Kind::Refusal | Kind::StatusReply | Kind::Reject),
            Self::Core => matches!(kind, Kind::Control | Kind::Reject),
            Self::Peer => matches!(
                kind,
                Kind::Append
                    | Kind::Ack
                    | Kind::Refused
                    | Kind::Mismatch
                    | Kind::Chunk
                    | Kind::ChunkAck
                    | Kind::Seal
                    | Kind::Sealed
                    | Kind::Fetch
                    | Kind::Fetched
                    | Kind::Unfetchable
                    | Kind::Diverged
                    | Kind::Request
                    | Kind::Reply
                    | Kind::Refusal
                    | Kind::Publish
                    | Kind::Reject
            ),
        }
    }
}

/// Longest bodies a reader takes, in bytes, where a constant would not do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BodyLimits {
    /// `Request` and `Publish`.
    pub request_bytes_max: u32,
    /// `Reply`, `Refusal` and `StatusReply`.
    pub reply_bytes_max: u32,
    /// `Append`, `Chunk` and `Fetched`: the peers of one cluster agree on larger things than a client may send.
    pub peer_bytes_max: u32,
}

impl BodyLimits {
    /// What a reader takes unless it is told otherwise.
    pub const DEFAULT: Self = Self {
        // The largest entry of a log has a body of just under 16 MiB.
        request_bytes_max: 16 << 20,
        // All fields of a large hash.
        reply_bytes_max: 256 << 20,
        // A snapshot chunk holds at least one whole key.
        peer_bytes_max: 256 << 20,
    };

    /// Returns the longest body of a kind.
    #[must_use]
    pub const fn of(&self, kind: Kind) -> u32 {
        match kind {
            Kind::Request | Kind::Publish => self.request_bytes_max,
            Kind::Reply | Kind::Refusal | Kind::StatusReply => self.reply_bytes_max,
            Kind::Append | Kind::Chunk | Kind::Fetched => self.peer_bytes_max,
            Kind::Control => control::CONTROL_BYTES_MAX,
            Kind::Hello => hello::HELLO_BYTES_MAX,
            Kind::Welcome => hello::WELCOME_BYTES_MAX,
            Kind::Reject => hello::REJECT_BYTES_MAX,
            Kind::Ack
            | Kind::Refused
            | Kind::Mismatch
            | Kind::ChunkAck
            | Kind::Seal
            | Kind::Sealed
            | Kind::Fetch
            | Kind::Unfetchable
            | Kind::Diverged
            | Kind::Status => SMALL_BYTES_MAX,
        }
    }
}

impl Default for BodyLimits {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// Bound of kinds without a tail; their exact length is checked with their head.
const SMALL_BYTES_MAX: u32 = 64;
