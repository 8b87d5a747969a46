//! Messages for subscribers at other nodes: at most once, outside the log.

use rkyv::bytecheck::CheckBytes;
use rkyv::{Archive, Portable, Serialize};

use super::header::{push_archived, push_frame};
use super::{About, Kind};

/// Who hears a published message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Archive, Serialize, Portable, CheckBytes)]
#[rkyv(as = Audience)]
#[bytecheck(crate = rkyv::bytecheck)]
#[repr(u8)]
pub enum Audience {
    /// Subscribers of the channel and of patterns that match it.
    Channel,
    /// Subscribers of the shard channel.
    Shard,
}

/// A message published at one node, for the subscribers of another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Publish<'a> {
    /// Who hears it.
    pub audience: Audience,
    /// The channel.
    pub channel: &'a [u8],
    /// What is said.
    pub payload: &'a [u8],
}

/// The archived head of a [`Publish`]; channel and payload are the tail.
#[derive(Clone, Copy, Debug, Archive, Serialize)]
pub(super) struct PublishHead {
    pub(super) channel_len: u32,
    pub(super) payload_len: u32,
    pub(super) audience: Audience,
    pub(super) zero: [u8; 7],
}

impl Publish<'_> {
    /// Appends the frame to `out`.
    ///
    /// # Panics
    /// If channel or payload is longer than 32 bits say; limits are checked long before.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let head = PublishHead {
            channel_len: u32::try_from(self.channel.len()).expect("limits keep channels below 4 GiB"),
            payload_len: u32::try_from(self.payload.len()).expect("limits keep payloads below 4 GiB"),
            audience: self.audience,
            zero: [0; 7],
        };
        push_frame(out, Kind::Publish, About::NOTHING, |out| {
            push_archived(out, &head);
            out.extend_from_slice(self.channel);
            out.extend_from_slice(self.payload);
        });
    }
}
