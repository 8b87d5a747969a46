//! What is fixed when a cluster is created.

use serde::{Deserialize, Serialize};

use crate::config::MEMBERS_MAX;
use crate::ids::NodeId;
use crate::slots::SlotMap;

/// What is fixed when the cluster is created.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "BirthParts")]
pub struct Birth {
    /// How slots are divided among groups.
    pub slots: SlotMap,
    /// The nodes that hold the groups in the beginning, ascending.
    pub nodes: Vec<NodeId>,
    /// How many of them hold each group.
    pub replicas: usize,
    /// How many must hold a write.
    pub write_quorum: usize,
}

impl Birth {
    /// Whether the numbers fit together: see [`Placement::new`](crate::config::Placement::new).
    pub(super) fn is_valid(&self) -> bool {
        self.nodes.is_sorted_by(|one, two| one < two)
            && (1..=self.nodes.len().min(MEMBERS_MAX)).contains(&self.replicas)
            && (1..=self.replicas).contains(&self.write_quorum)
    }
}

/// A birth as it is read, from a wire or a file.
#[derive(Deserialize)]
struct BirthParts {
    slots: SlotMap,
    nodes: Vec<NodeId>,
    replicas: usize,
    write_quorum: usize,
}

impl TryFrom<BirthParts> for Birth {
    type Error = &'static str;

    fn try_from(parts: BirthParts) -> Result<Self, Self::Error> {
        let BirthParts { slots, nodes, replicas, write_quorum } = parts;
        let birth = Self { slots, nodes, replicas, write_quorum };
        if birth.is_valid() { Ok(birth) } else { Err("nodes, replicas and write quorum do not fit together") }
    }
}
