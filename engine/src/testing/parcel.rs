//! Messages with bytes of their own, for stages on which they wait.

use crate::entry::StoredEntries;
use crate::message::{Append, Chunk, Fetched, Message};

/// A message that borrows nothing.
#[derive(Clone, Debug, Hash)]
pub(super) struct OwnedMessage {
    message: Message<'static>,
    /// Entries, or the body of a chunk.
    bytes: Vec<u8>,
}

impl From<&Message<'_>> for OwnedMessage {
    fn from(message: &Message<'_>) -> Self {
        let (message, bytes): (Message<'static>, &[u8]) = match *message {
            Message::Append(append) => (Message::Append(Append { entries: &[], ..append }), append.entries),
            Message::Chunk(chunk) => (Message::Chunk(Chunk { body: &[], ..chunk }), chunk.body),
            Message::Fetched(fetched) => (Message::Fetched(Fetched { entries: &[], ..fetched }), fetched.entries),
            Message::Ack(ack) => (Message::Ack(ack), &[]),
            Message::Refused(refused) => (Message::Refused(refused), &[]),
            Message::Mismatch(mismatch) => (Message::Mismatch(mismatch), &[]),
            Message::ChunkAck(ack) => (Message::ChunkAck(ack), &[]),
            Message::Seal => (Message::Seal, &[]),
            Message::Sealed(sealed) => (Message::Sealed(sealed), &[]),
            Message::Fetch { after } => (Message::Fetch { after }, &[]),
            Message::Unfetchable => (Message::Unfetchable, &[]),
            Message::Diverged(window) => (Message::Diverged(window), &[]),
        };
        Self { message, bytes: bytes.to_vec() }
    }
}

impl OwnedMessage {
    /// Returns the message as its receiver reads it.
    pub(super) fn get(&self) -> Message<'_> {
        match self.message {
            Message::Append(append) => Message::Append(Append { entries: &self.bytes, ..append }),
            Message::Chunk(chunk) => Message::Chunk(Chunk { body: &self.bytes, ..chunk }),
            Message::Fetched(fetched) => Message::Fetched(Fetched { entries: &self.bytes, ..fetched }),
            message @ (Message::Ack(_)
            | Message::Refused(_)
            | Message::Mismatch(_)
            | Message::ChunkAck(_)
            | Message::Seal
            | Message::Sealed(_)
            | Message::Fetch { .. }
            | Message::Unfetchable
            | Message::Diverged(_)) => message,
        }
    }

    /// Tells what it is, in a line.
    pub(super) fn brief(&self) -> String {
        let ids = |entries| StoredEntries::new(entries).map(|entry| entry.id()).collect::<Vec<_>>();
        let message = self.get();
        if let Message::Append(Append { prev, commit, sent, entries, .. }) = message {
            return format!("append {:?} behind {prev:?}, commit {commit}, sent {sent:?}", ids(entries));
        }
        if let Message::Fetched(Fetched { prev, entries }) = message {
            return format!("fetched {:?} behind {prev:?}", ids(entries));
        }
        format!("{message:?}")
    }
}
