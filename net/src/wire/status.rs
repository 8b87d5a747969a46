//! Asking a node about itself.

use rkyv::{Archive, Serialize};

use super::header::{push_archived, push_frame};
use super::{About, Kind};

/// Asks a node for its state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StatusRequest {
    /// Comes back in the answer.
    pub number: u64,
}

/// The archived head of both.
#[derive(Clone, Copy, Debug, Archive, Serialize)]
pub(super) struct StatusHead {
    pub(super) number: u64,
}

impl StatusRequest {
    /// Appends the frame to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        push_frame(out, Kind::Status, About::NOTHING, |out| push_archived(out, &StatusHead { number: self.number }));
    }
}

/// The state of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StatusReply<'a> {
    /// That of the request.
    pub number: u64,
    /// One JSON object.
    pub json: &'a str,
}

impl StatusReply<'_> {
    /// Appends the frame to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        push_frame(out, Kind::StatusReply, About::NOTHING, |out| {
            push_archived(out, &StatusHead { number: self.number });
            out.extend_from_slice(self.json.as_bytes());
        });
    }
}
