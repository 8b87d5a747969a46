//! Who belongs to a cluster beside the nodes that it began with: where nodes are reached, which of them are to give up what they
//! hold, and which were taken out of it.
//!
//! A node belongs to the cluster once a process of it has registered, and until an operator takes it out. Its number is not
//! given again: whatever an old process or disk of it may still say must never be taken for the words of another machine.
//!
//! # Which nodes hold a group
//! Each group is to be held by as many nodes as there are replicas. Those that hold it go on; in the place of one that leaves comes,
//! of those that are up and stay, the one that holds the fewest groups, and of two the one with the smaller number. If there is
//! none, the group has fewer replicas until another node comes. Nothing moves because a node has come: that is for
//! whoever balances.
//!
//! # Bounds
//! [`NODES_MAX`] nodes; a process of one more is not registered.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::control::state::JUMP;
use crate::ids::{GroupId, NodeId};

/// Most nodes of a cluster.
pub const NODES_MAX: usize = 128;

/// Where a node is reached: the base address of each of its doors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Doors {
    /// For RESP clients.
    pub resp: SocketAddr,
    /// For native clients.
    pub native: SocketAddr,
    /// For other nodes.
    pub peer: SocketAddr,
}

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Roster {
    /// Grows with each change that nodes are told of.
    version: u64,
    /// Of nodes that have said so.
    doors: BTreeMap<NodeId, Doors>,
    /// Nodes that shall hold nothing.
    draining: BTreeSet<NodeId>,
    /// Nodes that were taken out.
    removed: BTreeSet<NodeId>,
}

/// Why a node is not registered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Unwelcome {
    /// It was taken out of the cluster.
    #[error(
        "this node was taken out of the cluster, and its number is not given again: start it with another node.id and an empty \
         node.data_dir"
    )]
    Removed,
    /// There are as many as there can be.
    #[error(
        "the cluster has {NODES_MAX} nodes already: take one out first (`quorate drain`, then `quorate core remove`)"
    )]
    Full,
}

/// Why nothing was changed about a node.
#[derive(Clone, Debug, PartialEq, Eq, Hash, thiserror::Error, Serialize, Deserialize)]
#[non_exhaustive]
pub enum RosterError {
    /// It does not belong to the cluster.
    #[error("ERR node {node} does not belong to the cluster; `quorate status` lists its nodes")]
    NoNode {
        /// Which one.
        node: NodeId,
    },
    /// Without it nothing could be written.
    #[error(
        "NOQUORUM {have}/{need} group {group} would be left with too few nodes that are up to hold a write: have another node join \
         first; nothing was changed"
    )]
    TooFew {
        /// A group.
        group: GroupId,
        /// Nodes that would hold it.
        have: usize,
        /// The write quorum.
        need: usize,
    },
    /// It is to hold something.
    #[error("ERR node {node} holds {held} groups: `quorate drain {node} --wait` first; nothing was changed")]
    Holds {
        /// Which one.
        node: NodeId,
        /// How many groups.
        held: usize,
    },
    /// It belongs to the consistent core.
    #[error(
        "ERR node {node} belongs to the consistent core, whose nodes stay the same: another machine can take its place with the \
         same number and `quorate core replace {node}`; nothing was changed"
    )]
    CoreNode {
        /// Which one.
        node: NodeId,
    },
}

impl Roster {
    /// Returns a number that grows with each change that nodes are told of.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.version
    }

    /// Returns where nodes are reached that have said so.
    #[must_use]
    pub fn doors(&self) -> &BTreeMap<NodeId, Doors> {
        &self.doors
    }

    /// Returns the nodes that shall hold nothing.
    #[must_use]
    pub fn draining(&self) -> &BTreeSet<NodeId> {
        &self.draining
    }

    /// Returns the nodes that were taken out.
    #[must_use]
    pub fn removed(&self) -> &BTreeSet<NodeId> {
        &self.removed
    }

    /// Notes where a node is reached.
    pub(super) fn announce(&mut self, node: NodeId, doors: Doors) {
        if self.doors.insert(node, doors) != Some(doors) {
            self.version += 1;
        }
    }

    /// Has a node hold nothing, or groups again like any other; returns whether that is new.
    pub(super) fn set_draining(&mut self, node: NodeId, is_draining: bool) -> bool {
        if is_draining { self.draining.insert(node) } else { self.draining.remove(&node) }
    }

    /// Goes on far ahead: nodes may have been told of changes behind the last one that is known.
    pub(super) fn jump(&mut self) {
        self.version = self.version.saturating_add(JUMP);
    }

    /// Takes a node out.
    pub(super) fn remove(&mut self, node: NodeId) {
        self.doors.remove(&node);
        self.draining.remove(&node);
        self.removed.insert(node);
        self.version += 1;
    }
}

/// Returns which nodes shall hold each group: see the module. `held`: by which nodes each is held now, ascending; `able`: nodes that
/// are up.
///
/// Cost: O(groups × replicas × nodes).
pub(super) fn place(
    held: &[&[NodeId]],
    leaving: &BTreeSet<NodeId>,
    able: &BTreeSet<NodeId>,
    replicas: usize,
) -> Vec<Vec<NodeId>> {
    let stays = |nodes: &&[NodeId]| nodes.iter().copied().filter(|node| !leaving.contains(node)).collect();
    let mut placed: Vec<Vec<NodeId>> = held.iter().map(stays).collect();
    let mut load: BTreeMap<NodeId, usize> = BTreeMap::new();
    placed.iter().flatten().for_each(|node| *load.entry(*node).or_default() += 1);
    for nodes in &mut placed {
        while nodes.len() < replicas {
            let others = able.iter().filter(|node| !leaving.contains(node) && !nodes.contains(node));
            let least = others.min_by_key(|node| (load.get(*node).copied().unwrap_or_default(), **node));
            let Some(node) = least.copied() else { break };
            *load.entry(node).or_default() += 1;
            nodes.push(node);
        }
        nodes.sort_unstable();
    }
    placed
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ids(numbers: &[u16]) -> Vec<NodeId> {
        numbers.iter().copied().map(NodeId).collect()
    }

    fn set(numbers: &[u16]) -> BTreeSet<NodeId> {
        numbers.iter().copied().map(NodeId).collect()
    }

    #[test]
    fn whoever_holds_the_fewest_groups_comes_in_the_place_of_one_that_leaves() {
        let held = [ids(&[1, 2, 3]), ids(&[1, 2, 3]), ids(&[1, 3, 4])];
        let held: Vec<&[NodeId]> = held.iter().map(Vec::as_slice).collect();
        let placed = place(&held, &set(&[3]), &set(&[1, 2, 3, 4, 5]), 3);
        assert_eq!(placed, [ids(&[1, 2, 5]), ids(&[1, 2, 4]), ids(&[1, 4, 5])]);
    }

    #[test]
    fn a_group_that_nobody_can_join_has_fewer_replicas_until_somebody_comes() {
        let held = [ids(&[1, 2, 3])];
        let held: Vec<&[NodeId]> = held.iter().map(Vec::as_slice).collect();
        let placed = place(&held, &set(&[3]), &set(&[1, 2, 3]), 3);
        assert_eq!(placed, [ids(&[1, 2])]);
        let held: Vec<&[NodeId]> = placed.iter().map(Vec::as_slice).collect();
        assert_eq!(place(&held, &set(&[3]), &set(&[1, 2, 3, 4]), 3), [ids(&[1, 2, 4])]);
    }

    proptest! {
        #[test]
        fn nobody_moves_without_need_and_what_comes_is_spread_evenly(
            groups in 1_u16..40, nodes in 3_u16..8, leaving in 1_u16..8, spare in 1_u16..4,
        ) {
            let held: Vec<Vec<NodeId>> = (0..groups)
                .map(|group| {
                    let mut nodes: Vec<NodeId> = (0..3).map(|place| NodeId(1 + (group + place) % nodes)).collect();
                    nodes.sort_unstable();
                    nodes
                })
                .collect();
            let held: Vec<&[NodeId]> = held.iter().map(Vec::as_slice).collect();
            let leaving = set(&[leaving]);
            let able: BTreeSet<NodeId> = (1..=nodes + spare).map(NodeId).collect();
            let placed = place(&held, &leaving, &able, 3);
            for (before, after) in held.iter().zip(&placed) {
                let staying = before.iter().filter(|node| !leaving.contains(node));
                prop_assert!(staying.clone().all(|node| after.contains(node)));
                prop_assert!(after.len() == 3 && after.is_sorted_by(|one, two| one < two));
                prop_assert!(!after.iter().any(|node| leaving.contains(node)));
            }
            // New nodes began with nothing, so none of them has got more than one group more than another one.
            let count = |node: u16| placed.iter().filter(|nodes| nodes.contains(&NodeId(node))).count();
            let counts: Vec<usize> =
                (nodes + 1..=nodes + spare).filter(|node| !leaving.contains(&NodeId(*node))).map(count).collect();
            if let (Some(least), Some(most)) = (counts.iter().min(), counts.iter().max()) {
                prop_assert!(most - least <= 1, "{counts:?}");
            }
        }
    }
}
