//! Messages between the replicas of one process as records of a ring: a few words, then entries or a chunk as they are.
//!
//! There is no checksum: this is memory, not a network, and entries bring their own. There is no version either, since
//! both ends are the same program. Who sends is known from the link.
//!
//! ```text
//!  word 0                words 1 ..                                              bytes
//!  kind | group << 32    epoch, then the fields in the order of their struct     entries or body
//! ```

use super::link::{Full, Outlet};
use crate::ids::{EntryId, Epoch, GroupId, Incarnation, LogIndex, NodeId, ReplicaId};
use crate::message::{Ack, Append, Chunk, ChunkAck, ChunkProgress, Envelope, Message, Mismatch, Refused, StreamId};
use crate::replication::comparison::{Note, Window};
use crate::time::{Instant, LogTime};

const APPEND: u32 = 1;
const ACK: u32 = 2;
const REFUSED: u32 = 3;
const MISMATCH: u32 = 4;
const CHUNK: u32 = 5;
const CHUNK_ACK: u32 = 6;
const DIVERGED: u32 = 7;

/// What a chunk acknowledgement says.
const RECEIVED: u64 = 0;
const INSTALLED: u64 = 1;
const BROKEN: u64 = 2;

/// Sends a message.
#[inline]
pub(super) fn push(outlet: &mut Outlet, group: GroupId, epoch: Epoch, message: &Message<'_>) -> Result<(), Full> {
    let first = |kind: u32| u64::from(kind) | u64::from(group.0) << 32;
    match message {
        Message::Append(append) => {
            let Append { stream, prev, commit, sent, entries } = append;
            let words = [first(APPEND), epoch.0, stream.0, prev.epoch.0, prev.index.0, commit.0, sent.0];
            outlet.push(&[&bytes_of::<7, 56>(words), entries])
        }
        Message::Ack(Ack { stream, matched, sent, state }) => {
            let words = [first(ACK), epoch.0, stream.0, matched.0, sent.0, state.applied.0, state.digest];
            outlet.push(&[&bytes_of::<7, 56>(words)])
        }
        Message::Refused(Refused { promise, leader }) => {
            // Nodes count from 1: 0 stands for none.
            let (node, incarnation) = leader.map_or((0, 0), |leader| (leader.node.0, leader.incarnation.0));
            let words = [first(REFUSED), epoch.0, promise.0, u64::from(node), incarnation];
            outlet.push(&[&bytes_of::<5, 40>(words)])
        }
        Message::Mismatch(Mismatch { stream, hint }) => {
            outlet.push(&[&bytes_of::<4, 32>([first(MISMATCH), epoch.0, stream.0, hint.0])])
        }
        Message::Chunk(chunk) => {
            let Chunk { stream, sequence, is_last, base, at, time, body } = chunk;
            let place = u64::from(*sequence) | u64::from(*is_last) << 32;
            let (base, at) = ([base.epoch.0, base.index.0], [at.epoch.0, at.index.0]);
            let words = [first(CHUNK), epoch.0, stream.0, place, base[0], base[1], at[0], at[1], time.0];
            outlet.push(&[&bytes_of::<9, 72>(words), body])
        }
        Message::ChunkAck(ChunkAck { stream, progress }) => {
            let (kind, number) = match progress {
                ChunkProgress::Received { sequence } => (RECEIVED, u64::from(*sequence)),
                ChunkProgress::Installed { matched } => (INSTALLED, matched.0),
                ChunkProgress::Broken => (BROKEN, 0),
            };
            outlet.push(&[&bytes_of::<5, 40>([first(CHUNK_ACK), epoch.0, stream.0, kind, number])])
        }
        Message::Diverged(Window { first: from, last }) => {
            outlet.push(&[&bytes_of::<4, 32>([first(DIVERGED), epoch.0, from.0, last.0])])
        }
        Message::Seal | Message::Sealed(_) | Message::Fetch { .. } | Message::Fetched(_) | Message::Unfetchable => {
            unreachable!("replicas of one process have one leader as long as it lives")
        }
    }
}

/// Reads a record that [`push`] has written at the other end of a link to `from`; `None` if it is none.
#[inline]
pub(super) fn read(record: &[u8], from: ReplicaId) -> Option<Envelope<'_>> {
    let mut words = Words { rest: record };
    let (kind, group) = halves(words.next()?);
    let epoch = Epoch(words.next()?);
    let message = match kind {
        APPEND => Message::Append(Append {
            stream: StreamId(words.next()?),
            prev: words.entry_id()?,
            commit: LogIndex(words.next()?),
            sent: Instant(words.next()?),
            entries: words.rest,
        }),
        ACK => Message::Ack(Ack {
            stream: StreamId(words.next()?),
            matched: LogIndex(words.next()?),
            sent: Instant(words.next()?),
            state: Note { applied: LogIndex(words.next()?), digest: words.next()? },
        }),
        REFUSED => {
            let promise = Epoch(words.next()?);
            let node = NodeId(u16::try_from(words.next()?).ok()?);
            let incarnation = Incarnation(words.next()?);
            let leader = (node != NodeId(0)).then_some(ReplicaId { node, incarnation });
            Message::Refused(Refused { promise, leader })
        }
        MISMATCH => Message::Mismatch(Mismatch { stream: StreamId(words.next()?), hint: LogIndex(words.next()?) }),
        CHUNK => {
            let stream = StreamId(words.next()?);
            let (sequence, is_last) = halves(words.next()?);
            let (base, at) = (words.entry_id()?, words.entry_id()?);
            let (time, is_last) = (LogTime(words.next()?), is_last != 0);
            Message::Chunk(Chunk { stream, sequence, is_last, base, at, time, body: words.rest })
        }
        CHUNK_ACK => {
            let stream = StreamId(words.next()?);
            let progress = match (words.next()?, words.next()?) {
                (RECEIVED, sequence) => ChunkProgress::Received { sequence: u32::try_from(sequence).ok()? },
                (INSTALLED, matched) => ChunkProgress::Installed { matched: LogIndex(matched) },
                (BROKEN, _) => ChunkProgress::Broken,
                _ => return None,
            };
            Message::ChunkAck(ChunkAck { stream, progress })
        }
        DIVERGED => Message::Diverged(Window { first: LogIndex(words.next()?), last: LogIndex(words.next()?) }),
        _ => return None,
    };
    Some(Envelope { from, group: GroupId(group), epoch, message })
}

/// Returns words as the bytes of a record.
#[inline]
pub(super) fn bytes_of<const WORDS: usize, const BYTES: usize>(words: [u64; WORDS]) -> [u8; BYTES] {
    const { assert!(BYTES == WORDS * 8, "a word has 8 bytes") };
    let mut bytes = [0; BYTES];
    for (place, word) in bytes.as_chunks_mut::<8>().0.iter_mut().zip(words) {
        *place = word.to_le_bytes();
    }
    bytes
}

/// Returns the lower and the upper half of a word.
#[inline]
#[expect(clippy::cast_possible_truncation, reason = "the two halves")]
pub(super) const fn halves(word: u64) -> (u32, u32) {
    (word as u32, (word >> 32) as u32)
}

/// Takes words off the front of a record.
pub(super) struct Words<'a> {
    pub(super) rest: &'a [u8],
}

impl<'a> Words<'a> {
    /// Takes `len` bytes and what pads them to whole words.
    #[inline]
    pub(super) fn padded(&mut self, len: usize) -> Option<&'a [u8]> {
        let (bytes, rest) = self.rest.split_at_checked(len.next_multiple_of(8))?;
        self.rest = rest;
        Some(&bytes[..len])
    }

    #[inline]
    pub(super) fn next(&mut self) -> Option<u64> {
        let (word, rest) = self.rest.split_first_chunk::<8>()?;
        self.rest = rest;
        Some(u64::from_le_bytes(*word))
    }

    #[inline]
    pub(super) fn entry_id(&mut self) -> Option<EntryId> {
        Some(EntryId { epoch: Epoch(self.next()?), index: LogIndex(self.next()?) })
    }
}

#[cfg(test)]
mod tests {
    use super::super::link::link;
    use super::*;

    #[test]
    fn every_message_comes_back_as_it_went_in() {
        let from = ReplicaId { node: NodeId(2), incarnation: Incarnation(9) };
        let (stream, sent) = (StreamId(3), Instant(77));
        let id = |epoch, index| EntryId { epoch: Epoch(epoch), index: LogIndex(index) };
        let append = Append { stream, prev: id(1, 8), commit: LogIndex(7), sent, entries: b"entries" };
        let messages = [
            Message::Append(append),
            Message::Append(Append { entries: &[], ..append }),
            Message::Ack(Ack {
                stream,
                matched: LogIndex(5),
                sent,
                state: Note { applied: LogIndex(4), digest: u64::MAX },
            }),
            Message::Diverged(Window { first: LogIndex(3), last: LogIndex(4) }),
            Message::Refused(Refused { promise: Epoch(4), leader: Some(from) }),
            Message::Refused(Refused { promise: Epoch(4), leader: None }),
            Message::Mismatch(Mismatch { stream, hint: LogIndex(2) }),
            Message::Chunk(Chunk {
                stream,
                sequence: u32::MAX,
                is_last: true,
                base: id(1, 2),
                at: id(3, 4),
                time: LogTime(5),
                body: b"body",
            }),
            Message::ChunkAck(ChunkAck { stream, progress: ChunkProgress::Received { sequence: 6 } }),
            Message::ChunkAck(ChunkAck { stream, progress: ChunkProgress::Installed { matched: LogIndex(6) } }),
            Message::ChunkAck(ChunkAck { stream, progress: ChunkProgress::Broken }),
        ];
        for message in messages {
            let (mut outlet, mut inlet) = link(1024);
            push(&mut outlet, GroupId(u32::MAX), Epoch(6), &message).unwrap();
            let mut cuts = 0;
            inlet.poll(1, |record| {
                let envelope = read(record, from).unwrap();
                assert_eq!(envelope, Envelope { from, group: GroupId(u32::MAX), epoch: Epoch(6), message });
                cuts = (0..8).filter(|len| read(&record[..*len], from).is_none()).count();
            });
            assert_eq!(cuts, 8, "a cut record is none");
        }
    }
}
