//! What nodes and the consistent core say to each other, as JSON in control frames.
//!
//! Every node has a connection to every node of the core, dialled by itself; what it has to say goes out over it, and the
//! answers come back on it. Between two nodes of the core there are two, one from each side. All of it may be lost with
//! a connection: registrations, asks and heartbeats are repeated, and whoever connects is told all there is to know.

use std::collections::BTreeMap;

use omnipaxos::messages::Message;
use quorate_engine::control::core::{Entry, Era, EraId, Standing};
use quorate_engine::control::detector::Heartbeat;
use quorate_engine::control::journal::Recorded;
use quorate_engine::control::operation::{Operation, Outcome};
use quorate_engine::control::record::{Ask, News};
use quorate_engine::control::roster::{Doors, Unwelcome};
use quorate_engine::ids::{GroupId, NodeId, ReplicaId};
use serde::{Deserialize, Serialize};

use crate::wire::Control;

/// From a node to one of the core.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum ToCore {
    /// A process of the node that greeted has started.
    Register {
        /// Drawn at its start.
        nonce: u64,
    },
    /// It lives.
    Heartbeat(Heartbeat),
    /// A replica of it asks for a decision about its group.
    Ask {
        /// The replica.
        from: ReplicaId,
        /// The group.
        group: GroupId,
        /// What it asks for.
        ask: Ask,
    },
    /// It wants to be told what has happened.
    Events {
        /// From this index on.
        next: u64,
    },
    /// It wants something of the core.
    Operate {
        /// Which run of it.
        from: ReplicaId,
        /// Its number.
        number: u64,
        /// What it wants.
        operation: Operation,
    },
    /// From one node of the core to another, first of all: which store it has.
    Store(Standing),
    /// From one node of the core to another: in which era it is.
    Era(Box<Era>),
    /// From one node of the core to another.
    Consensus {
        /// In which era it was sent.
        era: EraId,
        /// What it says.
        message: Box<Message<Entry>>,
    },
}

/// From a node of the core to any node.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum FromCore {
    /// To one that has shown its own: which store the node that answers has.
    Store(Standing),
    /// To one that has shown that it is in an earlier era, or in none: in which one the node that answers is.
    Era(Box<Era>),
    /// To one whose store the core does not know: another process of its node is heard. The connection ends.
    Occupied,
    /// A process of the node that greeted has been registered.
    Registered {
        /// As this run.
        run: ReplicaId,
        /// What that process has drawn at its start.
        nonce: u64,
    },
    /// Which run of the node that greeted counts.
    Current {
        /// The run.
        run: ReplicaId,
    },
    /// What has happened, in its order.
    Events(Vec<Recorded>),
    /// Something that the node wanted has ended.
    Operated {
        /// For which run of it.
        to: ReplicaId,
        /// Its number.
        number: u64,
        /// How it ended.
        outcome: Outcome,
    },
    /// The node that greeted is not to be registered, or not to stay.
    Unwelcome(Unwelcome),
    /// Who belongs to the cluster.
    Roster {
        /// Grows with each change.
        version: u64,
        /// Where nodes are reached that have said so.
        doors: BTreeMap<NodeId, Doors>,
        /// Nodes that were taken out.
        removed: Vec<NodeId>,
    },
    /// What is known about a group.
    News {
        /// The group.
        group: GroupId,
        /// What is known.
        news: Box<News>,
        /// Members that are gone, if the group cannot be led again without them.
        missing: Vec<ReplicaId>,
    },
}

/// Appends a frame to `out`.
pub(super) fn encode(words: &impl Serialize, out: &mut Vec<u8>) {
    let json = serde_json::to_string(words).expect("numbers, texts and lists have a form in JSON");
    Control { json: &json }.encode(out);
}
