//! What a core node hears, and what it wants done.

use omnipaxos::messages::Message;

use super::{Entry, Era, EraId, Standing};
use crate::control::detector::Heartbeat;
use crate::control::operation::{Operation, Outcome};
use crate::control::record::{Ask, News};
use crate::control::roster::Unwelcome;
use crate::ids::{GroupId, NodeId, ReplicaId};

/// What happens to a core node.
#[derive(Clone, Debug)]
pub enum CoreInput {
    /// Another core node says something.
    Message {
        /// From which one the message really came.
        from: NodeId,
        /// In which era it was sent.
        era: EraId,
        /// What it says.
        message: Box<Message<Entry>>,
    },
    /// A process has started and wants to be given a name.
    Register {
        /// Its node.
        node: NodeId,
        /// Drawn at its start, and the same in each repetition.
        nonce: u64,
    },
    /// A replica asks for something.
    Ask {
        /// Who asks.
        from: ReplicaId,
        /// For which group.
        group: GroupId,
        /// What for.
        ask: Ask,
    },
    /// A node lives.
    Heartbeat(Heartbeat),
    /// A node wants something, for itself or somebody else.
    Operate {
        /// Its run.
        from: ReplicaId,
        /// Its number; each node has one under way at a time, and says it again until it hears how it ended.
        number: u64,
        /// What it wants.
        operation: Operation,
    },
    /// A connection to another core node is new.
    Connected(NodeId),
    /// The process of another core node shows its store, first of all over a connection that is new.
    Standing {
        /// Which one.
        from: NodeId,
        /// What there is to say of it.
        standing: Standing,
    },
    /// Another core node shows the era in which it is.
    Era {
        /// Which one.
        from: NodeId,
        /// The era.
        era: Box<Era>,
    },
}

/// What a core node wants done.
#[derive(Clone, Debug)]
pub enum CoreOutput {
    /// A message for another core node.
    Send {
        /// Which one.
        to: NodeId,
        /// In which era it is sent.
        era: EraId,
        /// What to send.
        message: Box<Message<Entry>>,
    },
    /// To be shown to another core node: the era in which this one is.
    ShowEra {
        /// Which one.
        to: NodeId,
        /// The era.
        era: Box<Era>,
    },
    /// Another store has taken the place of this one, so nothing that it says to the core counts: this node is to end.
    Replaced,
    /// A process has its name. To be told to its node, if that is connected to this core node.
    Registered {
        /// The name.
        run: ReplicaId,
        /// What it has drawn.
        nonce: u64,
    },
    /// What was the current run of a node is gone, or says that it lives and is not known, and nobody has this later name. To be
    /// told to its node.
    Buried {
        /// The name.
        latest: ReplicaId,
    },
    /// An operation has ended. To be told to its node.
    Operated {
        /// Whose it was.
        to: ReplicaId,
        /// Its number.
        number: u64,
        /// How it ended.
        outcome: Outcome,
    },
    /// A node is not to be registered, or to stay. To be told to it.
    Unwelcome {
        /// Which one.
        node: NodeId,
        /// Why.
        why: Unwelcome,
    },
    /// Who belongs to the cluster, or where, has changed. To be told to all nodes that are connected to this core node.
    Roster,
    /// To be told to all nodes that are connected to this core node.
    News {
        /// About which group.
        group: GroupId,
        /// What there is to know.
        news: News,
    },
}
