//! What replicas say to each other, as bytes: one head for each message of [`quorate_engine::message`].
//!
//! Group and message epoch stand in the header; the incarnations of both ends were fixed by the greeting.

use quorate_engine::message::{
    Ack, Append, Chunk, ChunkAck, ChunkProgress, Fetched, Message, Mismatch, Refused, Sealed,
};
use quorate_engine::replication::comparison::{Note, Window};
use quorate_engine::time::nanos;
use rkyv::bytecheck::CheckBytes;
use rkyv::{Archive, Portable, Serialize};

use super::header::{push_archived, push_frame};
use super::{About, Kind};

/// Appends what one replica says to another.
pub fn encode_message(out: &mut Vec<u8>, about: About, message: &Message<'_>) {
    match message {
        Message::Append(append) => encode_append_with(out, about, append, |_| ()),
        Message::Ack(ack) => push_frame(out, Kind::Ack, about, |out| push_archived(out, &AckHead::from(ack))),
        Message::Refused(refused) => {
            push_frame(out, Kind::Refused, about, |out| push_archived(out, &RefusedHead::from(refused)));
        }
        Message::Mismatch(mismatch) => {
            push_frame(out, Kind::Mismatch, about, |out| push_archived(out, &MismatchHead::from(mismatch)));
        }
        Message::Chunk(chunk) => push_frame(out, Kind::Chunk, about, |out| {
            push_archived(out, &ChunkHead::from(chunk));
            out.extend_from_slice(chunk.body);
        }),
        Message::ChunkAck(ack) => {
            push_frame(out, Kind::ChunkAck, about, |out| push_archived(out, &ChunkAckHead::from(ack)));
        }
        Message::Seal => push_frame(out, Kind::Seal, about, |_| ()),
        Message::Sealed(sealed) => {
            push_frame(out, Kind::Sealed, about, |out| push_archived(out, &SealedHead::from(sealed)));
        }
        Message::Fetch { after } => {
            push_frame(out, Kind::Fetch, about, |out| push_archived(out, &FetchHead { after: after.0 }));
        }
        Message::Fetched(fetched) => push_frame(out, Kind::Fetched, about, |out| {
            push_archived(out, &FetchedHead::from(fetched));
            out.extend_from_slice(fetched.entries);
        }),
        Message::Unfetchable => push_frame(out, Kind::Unfetchable, about, |_| ()),
        Message::Diverged(Window { first, last }) => push_frame(out, Kind::Diverged, about, |out| {
            push_archived(out, &DivergedHead { first: first.0, last: last.0 });
        }),
    }
}

/// Appends an `Append` whose entries are those of `append` and behind them what `write_entries` appends: for a log that
/// holds them in several places.
pub fn encode_append_with(
    out: &mut Vec<u8>,
    about: About,
    append: &Append<'_>,
    write_entries: impl FnOnce(&mut Vec<u8>),
) {
    push_frame(out, Kind::Append, about, |out| {
        push_archived(out, &AppendHead::from(append));
        out.extend_from_slice(append.entries);
        write_entries(out);
    });
}

/// Head of an `Append`; the entries are the tail.
#[derive(Clone, Copy, Debug, Archive, Serialize)]
pub(super) struct AppendHead {
    pub(super) stream: u64,
    pub(super) prev_epoch: u64,
    pub(super) prev_index: u64,
    pub(super) commit: u64,
    pub(super) sent: u64,
}

/// Bytes in front of the entries.
pub(super) const APPEND_HEAD_BYTES: usize = size_of::<ArchivedAppendHead>();

impl From<&Append<'_>> for AppendHead {
    fn from(append: &Append<'_>) -> Self {
        Self {
            stream: append.stream.0,
            prev_epoch: append.prev.epoch.0,
            prev_index: append.prev.index.0,
            commit: append.commit.0,
            sent: append.sent.0,
        }
    }
}

/// Head of an `Ack`.
#[derive(Clone, Copy, Debug, Archive, Serialize)]
pub(super) struct AckHead {
    pub(super) stream: u64,
    pub(super) matched: u64,
    pub(super) sent: u64,
    pub(super) applied: u64,
    pub(super) digest: u64,
}

impl From<&Ack> for AckHead {
    fn from(ack: &Ack) -> Self {
        let Note { applied, digest } = ack.state;
        Self { stream: ack.stream.0, matched: ack.matched.0, sent: ack.sent.0, applied: applied.0, digest }
    }
}

/// Head of a `Diverged`.
#[derive(Clone, Copy, Debug, Archive, Serialize)]
pub(super) struct DivergedHead {
    pub(super) first: u64,
    pub(super) last: u64,
}

/// Head of a `Refused`. Node 0: no leader is known.
#[derive(Clone, Copy, Debug, Archive, Serialize)]
pub(super) struct RefusedHead {
    pub(super) promise: u64,
    pub(super) leader_incarnation: u64,
    pub(super) leader_node: u16,
    pub(super) zero: [u8; 6],
}

impl From<&Refused> for RefusedHead {
    fn from(refused: &Refused) -> Self {
        debug_assert!(refused.leader.is_none_or(|leader| leader.node.0 != 0), "nodes count from 1");
        Self {
            promise: refused.promise.0,
            leader_incarnation: refused.leader.map_or(0, |leader| leader.incarnation.0),
            leader_node: refused.leader.map_or(0, |leader| leader.node.0),
            zero: [0; 6],
        }
    }
}

/// Head of a `Mismatch`.
#[derive(Clone, Copy, Debug, Archive, Serialize)]
pub(super) struct MismatchHead {
    pub(super) stream: u64,
    pub(super) hint: u64,
}

impl From<&Mismatch> for MismatchHead {
    fn from(mismatch: &Mismatch) -> Self {
        Self { stream: mismatch.stream.0, hint: mismatch.hint.0 }
    }
}

/// Head of a `Chunk`; the keys and values are the tail.
#[derive(Clone, Copy, Debug, Archive, Serialize)]
pub(super) struct ChunkHead {
    pub(super) stream: u64,
    pub(super) base_epoch: u64,
    pub(super) base_index: u64,
    pub(super) at_epoch: u64,
    pub(super) at_index: u64,
    pub(super) time: u64,
    pub(super) sequence: u32,
    pub(super) is_last: bool,
    pub(super) zero: [u8; 3],
}

impl From<&Chunk<'_>> for ChunkHead {
    fn from(chunk: &Chunk<'_>) -> Self {
        Self {
            stream: chunk.stream.0,
            base_epoch: chunk.base.epoch.0,
            base_index: chunk.base.index.0,
            at_epoch: chunk.at.epoch.0,
            at_index: chunk.at.index.0,
            time: chunk.time.0,
            sequence: chunk.sequence,
            is_last: chunk.is_last,
            zero: [0; 3],
        }
    }
}

/// How a snapshot stands at its receiver.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Archive, Serialize, Portable, CheckBytes)]
#[rkyv(as = ChunkState)]
#[bytecheck(crate = rkyv::bytecheck)]
#[repr(u8)]
pub(super) enum ChunkState {
    Received,
    Installed,
    Broken,
}

/// Head of a `ChunkAck`. `number`: the sequence number received, or the index matched, or 0.
#[derive(Clone, Copy, Debug, Archive, Serialize)]
pub(super) struct ChunkAckHead {
    pub(super) stream: u64,
    pub(super) number: u64,
    pub(super) state: ChunkState,
    pub(super) zero: [u8; 7],
}

impl From<&ChunkAck> for ChunkAckHead {
    fn from(ack: &ChunkAck) -> Self {
        let (state, number) = match ack.progress {
            ChunkProgress::Received { sequence } => (ChunkState::Received, u64::from(sequence)),
            ChunkProgress::Installed { matched } => (ChunkState::Installed, matched.0),
            ChunkProgress::Broken => (ChunkState::Broken, 0),
        };
        Self { stream: ack.stream.0, number, state, zero: [0; 7] }
    }
}

/// Head of a `Sealed`.
#[derive(Clone, Copy, Debug, Archive, Serialize)]
pub(super) struct SealedHead {
    pub(super) tail_epoch: u64,
    pub(super) tail_index: u64,
    pub(super) commit: u64,
    pub(super) grant_left_ns: u64,
}

impl From<&Sealed> for SealedHead {
    fn from(sealed: &Sealed) -> Self {
        Self {
            tail_epoch: sealed.tail.epoch.0,
            tail_index: sealed.tail.index.0,
            commit: sealed.commit.0,
            grant_left_ns: nanos(sealed.grant_left),
        }
    }
}

/// Head of a `Fetch`.
#[derive(Clone, Copy, Debug, Archive, Serialize)]
pub(super) struct FetchHead {
    pub(super) after: u64,
}

/// Head of a `Fetched`; the entries are the tail.
#[derive(Clone, Copy, Debug, Archive, Serialize)]
pub(super) struct FetchedHead {
    pub(super) prev_epoch: u64,
    pub(super) prev_index: u64,
}

impl From<&Fetched<'_>> for FetchedHead {
    fn from(fetched: &Fetched<'_>) -> Self {
        Self { prev_epoch: fetched.prev.epoch.0, prev_index: fetched.prev.index.0 }
    }
}
