//! What operators, and users of the core's own keys, want of the consistent core, and how it ended.
//!
//! ```text
//! a node ── operation, number ──▶ every core node ── the leader decides what it means now ──▶ log ── outcome ──▶ the node
//! ```
//!
//! A node has one operation under way at a time and repeats it until it hears the outcome. The core keeps the last outcome of
//! each run, so that a repetition is answered and not done again.
//!
//! # Invariants
//! O1. An operation with one number of one run is done once at most. O2. What is read was not changed before the read began by
//! anybody who was told so: a read is answered behind an entry that was proposed after it came.

use serde::{Deserialize, Serialize};

use crate::control::core::ReplaceError;
use crate::control::journal::Event;
use crate::control::keyspace::{KeyspaceError, Stored};
use crate::control::planner::NotLost;
use crate::control::roster::{Doors, RosterError};
use crate::control::state::Planned;
use crate::ids::{GroupId, NodeId, ReplicaId};

/// What is wanted.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Operation {
    /// What is gone is lost: groups that cannot be led without it go on without it.
    AcceptLoss(Scope),
    /// A key of the core gets a value.
    Set {
        /// The key.
        key: String,
        /// The value.
        value: Vec<u8>,
        /// The version that it must have, 0 for none; `None`: whichever.
        version: Option<u64>,
    },
    /// The value of a key of the core.
    Get {
        /// The key.
        key: String,
    },
    /// Something has happened at the node, and belongs into the stream of events.
    Report(Vec<Event>),
    /// A core node has lost its store: the one that it has shown instead takes its place.
    ReplaceStore {
        /// Which one.
        node: NodeId,
    },
    /// The node that says so is reached there.
    Announce(Doors),
    /// A node shall hold nothing, or groups again like any other.
    Drain {
        /// Which one.
        node: NodeId,
        /// Whether it shall hold nothing.
        is_wanted: bool,
    },
    /// A node that holds nothing is taken out of the cluster.
    Remove {
        /// Which one.
        node: NodeId,
    },
}

/// Which groups.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Scope {
    /// This one.
    Group(GroupId),
    /// All of which that is true.
    All,
}

/// An operation as it is agreed on: what it meant when the leader of the core proposed it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Decision {
    /// These changes, each for itself, are begun; they are losses.
    AcceptLoss(Vec<Planned>),
    /// See [`Operation::Set`].
    Set {
        /// The key.
        key: String,
        /// The value.
        value: Vec<u8>,
        /// The version that it must have, 0 for none; `None`: whichever.
        version: Option<u64>,
    },
    /// See [`Operation::Report`].
    Report(Vec<Event>),
    /// This store takes the place of the one of a core node. It is the last thing in a log: see [`Era`](crate::control::core::Era).
    ReplaceStore {
        /// Which one.
        node: NodeId,
        /// The number of the store.
        store: u64,
    },
    /// See [`Operation::Announce`].
    Announce(Doors),
    /// See [`Operation::Drain`].
    Drain {
        /// Which one.
        node: NodeId,
        /// Whether it shall hold nothing.
        is_wanted: bool,
    },
    /// See [`Operation::Remove`].
    Remove {
        /// Which one.
        node: NodeId,
    },
}

/// How it ended.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Outcome {
    /// These groups go on without what is missing, once their new leaders are ready.
    LossAccepted(Vec<Loss>),
    /// The value was stored, as this version.
    Stored {
        /// Grows with every value that is stored in the core.
        version: u64,
    },
    /// What is stored.
    Value(Option<Stored>),
    /// The events are recorded.
    Reported,
    /// Another store has taken the place of the one of a core node.
    StoreReplaced {
        /// Which one.
        node: NodeId,
    },
    /// It is known where the node is reached.
    Announced,
    /// A node gives up what it holds, or does not any more. Asked again, this says how far it is.
    Draining(Left),
    /// A node was taken out of the cluster.
    Removed {
        /// Which one.
        node: NodeId,
    },
    /// Nothing was changed.
    Refused(Refusal),
}

/// What a node has to do with groups.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Left {
    /// How many groups it leads.
    pub led: usize,
    /// Of how many it is a member, or will be.
    pub held: usize,
}

/// What one group goes on without.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Loss {
    /// The group.
    pub group: GroupId,
    /// Its loss generation from then on.
    pub loss_gen: u64,
    /// Members that are declared dead: if they still run, they end.
    pub missing: Vec<ReplicaId>,
}

/// Why an operation was refused. The text begins with the code that users see.
#[derive(Clone, Debug, PartialEq, Eq, Hash, thiserror::Error, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Refusal {
    /// There is no loss to accept, or it cannot be yet.
    #[error(transparent)]
    NotLost(#[from] NotLost),
    /// No group of the cluster is lost.
    #[error("ERR no group is lost: each has a leader that is well, or enough members; nothing was changed")]
    NothingLost,
    /// The records have changed meanwhile.
    #[error("CONFLICT the groups have changed while this was decided; look at `quorate status` and try again")]
    Overtaken,
    /// The key cannot be stored so.
    #[error(transparent)]
    Keyspace(#[from] KeyspaceError),
    /// There is no store to replace, or none to take its place.
    #[error(transparent)]
    Replace(#[from] ReplaceError),
    /// The node cannot be spared, or is none.
    #[error(transparent)]
    Roster(#[from] RosterError),
}
