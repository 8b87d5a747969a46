//! The names of things: one newtype per kind, so that two of them cannot be exchanged by mistake.
//!
//! # Time and units
//! `LogIndex` counts from 1; 0 means "before the log". All ranges of indexes are inclusive.

use core::fmt;

use serde::{Deserialize, Serialize};

macro_rules! id {
    ($(#[$meta:meta])* $name:ident($inner:ty)) => {
        $(#[$meta])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
        pub struct $name(pub $inner);

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.0)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }
    };
}

id! {
    /// One daemon process with an address; 1 and up. Its memory is named by an [`Incarnation`].
    NodeId(u16)
}
id! {
    /// One run of a node. A restart without its memory is a new incarnation; never reused.
    Incarnation(u64)
}
id! {
    /// One thread of a node and all it owns, from 0.
    CpuId(u16)
}
id! {
    /// A range of slots inside one partition with one log, from 0.
    GroupId(u32)
}
id! {
    /// A fixed contiguous range of slots, for ever; from 0.
    PartitionId(u32)
}
id! {
    /// `CRC16(key or its tag) mod 16384`, for ever.
    Slot(u16)
}
id! {
    /// Leadership and membership generation of a group. 0 means "none yet".
    Epoch(u64)
}
id! {
    /// Position in a group's log. The first entry is 1; 0 means before the log.
    LogIndex(u64)
}

impl LogIndex {
    /// Returns the position after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }

    /// Returns the position before this one; the one before 0 is 0.
    #[must_use]
    pub const fn previous(self) -> Self {
        Self(self.0.saturating_sub(1))
    }
}

/// Names one entry for ever: the epoch it was born in and its position.
///
/// The order is (epoch, index), which is the order in which a takeover compares the tails of logs
/// (`tail` of the protocol: a later birth epoch wins, then the longer log).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct EntryId {
    /// The epoch the entry was born in, never changed.
    pub epoch: Epoch,
    /// Its position.
    pub index: LogIndex,
}

impl EntryId {
    /// The position before the first entry of any log.
    pub const START: Self = Self { epoch: Epoch(0), index: LogIndex(0) };
}

impl fmt::Debug for EntryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.epoch, self.index)
    }
}

impl fmt::Display for EntryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.epoch, self.index)
    }
}

/// One run of one node: who sends a message, and whose acknowledgement may count.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ReplicaId {
    /// The node.
    pub node: NodeId,
    /// Which of its runs.
    pub incarnation: Incarnation,
}

impl fmt::Debug for ReplicaId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.node, self.incarnation)
    }
}
