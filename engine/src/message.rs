//! What replicas of one group say to each other, as plain values without an encoding.
//!
//! A message travels with the group it is about and the *message epoch* (that of the leader that sends, or of the leader
//! that is answered; not the birth epoch of an entry). The incarnations of both ends are those of its connection: the host
//! sends nothing that is meant for one run of a node to another one, and says which run a message comes from.
//!
//! # Source
//! The messages of the replication protocol, sections 1.3 to 1.6. `Chunk` and `ChunkAck` carry a snapshot in the same
//! ordered stream: a [`StreamId`] other than [`StreamId::LIVE`] marks appends that belong to a snapshot under way, so
//! that they are never taken for the log that counts.

use core::time::Duration;

use crate::ids::{EntryId, Epoch, GroupId, LogIndex, ReplicaId};
use crate::replication::comparison::{Note, Window};
use crate::time::{Instant, LogTime};

/// Which log of the receiver an append extends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct StreamId(pub u64);

impl StreamId {
    /// The replica's own log.
    pub const LIVE: Self = Self(0);
}

/// One message and its envelope.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Envelope<'a> {
    /// Who sends; the host has checked that this is the other end of the connection.
    pub from: ReplicaId,
    /// Which group it is about.
    pub group: GroupId,
    /// The epoch of the leader that sends or is answered.
    pub epoch: Epoch,
    /// What is said.
    pub message: Message<'a>,
}

/// What one replica says to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Message<'a> {
    /// Leader to replica: entries that follow `prev`, and how far the log is committed.
    Append(Append<'a>),
    /// Replica to leader: the prefix it shares with the leader's log.
    Ack(Ack),
    /// Replica to leader: the append was of an epoch below the one promised, or of a leader that is not the one this
    /// replica knows at that epoch.
    Refused(Refused),
    /// Replica to leader: `prev` of the append is not in the log.
    Mismatch(Mismatch),
    /// Leader to replica: a part of a snapshot.
    Chunk(Chunk<'a>),
    /// Replica to leader: the snapshot is installed up to and with chunk `sequence`.
    ChunkAck(ChunkAck),
    /// Candidate to replica: promise this epoch, and say what you hold.
    Seal,
    /// Replica to candidate: it has promised, and accepts nothing of lower epochs any more.
    Sealed(Sealed),
    /// Candidate to replica: send me your entries behind this one.
    Fetch {
        /// An entry that both are known to hold.
        after: LogIndex,
    },
    /// Replica to candidate: entries of its log.
    Fetched(Fetched<'a>),
    /// Replica to candidate: those entries have left the log.
    Unfetchable,
    /// Replica to leader or candidate: its state is wrong, so that it needs a snapshot and cannot give what has left its log.
    /// Leader to replica: more than half of the members have another state than the receiver, between these indexes.
    Diverged(Window),
}

/// What a replica holds that has promised a candidate's epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Sealed {
    /// Its last entry.
    pub tail: EntryId,
    /// How far it knows the log to be committed.
    pub commit: LogIndex,
    /// How long the read leases that it has granted may run on, counted from when it answered.
    pub grant_left: Duration,
}

/// Entries of a log whose owner has promised the epoch of whoever fetches them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Fetched<'a> {
    /// The entry before the first one sent.
    pub prev: EntryId,
    /// As [`Append::entries`], and checked in the same way.
    pub entries: &'a [u8],
}

/// Entries in order, without a gap, directly behind `prev`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Append<'a> {
    /// Which log of the receiver this extends.
    pub stream: StreamId,
    /// The entry before the first one sent; [`EntryId::START`] at the beginning of the log.
    pub prev: EntryId,
    /// The sender's commit index.
    pub commit: LogIndex,
    /// The sender's clock when it sent; the answer echoes it.
    pub sent: Instant,
    /// Whole entries as they lie in the log, header and padding included. May be empty. Whoever hands them to an engine
    /// has checked them where they entered the node: they follow `prev` without a gap, their epochs do not fall, their
    /// checksums are right, and the commands in them pass [`Command::check`](crate::machine::command::Command::check).
    pub entries: &'a [u8],
}

/// The answer to an [`Append`] that was accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Ack {
    /// The log that was extended.
    pub stream: StreamId,
    /// End of the prefix known to be equal to the leader's log, inclusive; never the replica's own last index.
    pub matched: LogIndex,
    /// `sent` of the append that is answered.
    pub sent: Instant,
    /// The state of the replica at an entry it has applied, to be compared with that of the leader.
    pub state: Note,
}

/// The answer to an [`Append`] from a leader that this replica does not follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Refused {
    /// The highest epoch promised.
    pub promise: Epoch,
    /// The leader this replica follows at that epoch, as far as it knows one.
    pub leader: Option<ReplicaId>,
}

/// The answer to an [`Append`] whose `prev` is not in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Mismatch {
    /// The log that was to be extended.
    pub stream: StreamId,
    /// A position at or below which the logs may match; the leader probes there.
    pub hint: LogIndex,
}

/// A part of a snapshot: the state of some keys right after entry `at` was applied.
///
/// Chunks come in the order of `sequence` from 0, keys in ascending (slot, key) order. The first chunk starts a new log
/// behind `base`. The receiver applies an entry only to keys that earlier chunks cover; earlier entries of a key are
/// inside its chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Chunk<'a> {
    /// The snapshot this belongs to; appends with the same stream go with it.
    pub stream: StreamId,
    /// Position in the snapshot, from 0.
    pub sequence: u32,
    /// Whether this is the last one: after it every key of the group is covered.
    pub is_last: bool,
    /// The entry behind which the snapshot's log starts; the same in all chunks.
    pub base: EntryId,
    /// The entry right after which the state in `body` was taken; `at.index >= base.index`.
    pub at: EntryId,
    /// Logged time of that entry: in the first chunk that of `base`, which the receiver does not have.
    pub time: LogTime,
    /// Encoded keys and values; the state machine's own format.
    pub body: &'a [u8],
}

/// How far a snapshot has come at the receiver.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ChunkAck {
    /// The snapshot.
    pub stream: StreamId,
    /// Whether it is still under way, finished, or to be started anew.
    pub progress: ChunkProgress,
}

/// State of a snapshot at its receiver.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ChunkProgress {
    /// Chunks through this one are installed.
    Received {
        /// The last chunk installed.
        sequence: u32,
    },
    /// All are installed; the new log has replaced the old one and ends, as far as it is known to match, at `matched`.
    Installed {
        /// End of the matching prefix, inclusive.
        matched: LogIndex,
    },
    /// Something was missing or out of order: nothing was installed, the old log still stands.
    Broken,
}
