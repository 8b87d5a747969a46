//! One connection as the ring sees it: its descriptor, what the kernel holds of it, and what is to be submitted for it.
//!
//! # Invariants
//! S1. `submissions` counts what the kernel has not completed for the last time; the descriptor is closed, and the index
//! given back, only at 0.

use std::fmt;

use socket2::{SockAddr, Socket};

use super::super::buffer::KernelSend;
use super::super::outbox::ConnId;

/// See the module's text.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) id: ConnId,
    pub(super) stage: Stage,
    pub(super) socket: Option<Socket>,
    pub(super) receive: Receive,
    pub(super) send: KernelSend,
    /// Where a connection is being opened to; the kernel may read it until that completes.
    pub(super) target: Option<Box<SockAddr>>,
    /// Submissions that have not completed for the last time (S1).
    pub(super) submissions: u32,
    pub(super) wants: Wants,
    /// It is in the list of slots that want something.
    pub(super) is_listed: bool,
    /// The end of the peer's stream has been read.
    pub(super) is_read_to_end: bool,
    /// Patience with its close has begun.
    pub(super) is_timed: bool,
    /// What came in after reading was paused.
    pub(super) held: Option<Box<Held>>,
}

impl Slot {
    pub(super) fn vacant(id: ConnId) -> Self {
        Self {
            id,
            stage: Stage::Vacant,
            socket: None,
            receive: Receive::Idle,
            send: KernelSend::Free,
            target: None,
            submissions: 0,
            wants: Wants::default(),
            is_listed: false,
            is_read_to_end: false,
            is_timed: false,
            held: None,
        }
    }

    /// Notes that a submission has completed for the last time.
    pub(super) fn record_completion(&mut self) {
        assert!(self.submissions > 0, "S1: a submission of {:?} completed twice", self.id);
        self.submissions -= 1;
    }
}

/// Where a connection stands.
///
/// ```text
///   dial ─► Dialling ─► Open ─► Lingering (ours ended, discards until theirs has) ─► Draining ─► Gone ─► Vacant
///   accepted ────────────┘└────────────────────────────────────────────────────────────▲
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    Vacant,
    Dialling,
    Open,
    /// Our side is ended and `closed` is said or pending; input is discarded until the peer ends its own.
    Lingering,
    /// Ended, but the kernel still holds something.
    Draining,
    /// The kernel holds nothing, but `closed` is still to be said.
    Gone,
}

/// The state of the receive that brings bytes until it is stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Receive {
    /// The kernel has none.
    Idle,
    /// The kernel has one.
    Armed,
    /// The kernel has one and has been asked to end it.
    Stopping,
}

/// What is to be submitted as soon as the queue has room.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Wants {
    pub(super) connect: bool,
    pub(super) receive: bool,
    pub(super) stop_receive: bool,
    pub(super) send: bool,
    pub(super) cancel_all: bool,
}

/// What came in between a pause and the end of the receive.
#[derive(Debug, Default)]
pub(super) struct Held {
    pub(super) bytes: Vec<u8>,
    pub(super) has_ended: bool,
}

/// What a submission is, packed with its index into the 64 bits that come back with the completion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tag {
    pub(super) kind: Kind,
    pub(super) index: u32,
}

/// The kinds of submissions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Kind {
    Receive = 1,
    Send = 2,
    Connect = 3,
    Cancel = 4,
    Accept = 5,
    Wake = 6,
    /// The end of an accept; nobody waits for it.
    Forgotten = 7,
}

impl Tag {
    pub(super) fn to_bits(self) -> u64 {
        (u64::from(self.kind as u8) << 32) | u64::from(self.index)
    }

    /// Unpacks what `to_bits` packed; the kernel hands it back unchanged.
    #[inline]
    pub(super) fn from_bits(bits: u64) -> Self {
        let kind = match bits >> 32 {
            1 => Kind::Receive,
            2 => Kind::Send,
            3 => Kind::Connect,
            4 => Kind::Cancel,
            5 => Kind::Accept,
            6 => Kind::Wake,
            7 => Kind::Forgotten,
            other => panic!("a completion of kind {other}, which was never submitted"),
        };
        let index = u32::try_from(bits & u64::from(u32::MAX)).expect("cut to 32 bits");
        Self { kind, index }
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} of {}", self.kind, self.index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_survives_the_kernel() {
        for kind in [Kind::Receive, Kind::Send, Kind::Connect, Kind::Cancel, Kind::Accept, Kind::Wake, Kind::Forgotten]
        {
            let tag = Tag { kind, index: (1 << 20) - 1 };
            assert_eq!(Tag::from_bits(tag.to_bits()), tag);
        }
    }
}
