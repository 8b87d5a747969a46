//! How the nodes of a new core get to know each other's stores, and how one is found out that has lost its own.
//!
//! A node of the core that starts with an empty disk has forgotten what it has promised; if it voted, a majority could be
//! made of nodes that know nothing of what another majority has agreed on. So every store has a number, drawn when it is
//! created. Before the core of a new cluster agrees on anything, each of its nodes has heard the number of every other
//! one, and has written all of them down: the *founders*. From then on a vote counts only from a node with its founder's
//! number. Whoever is still waiting when another one has written the founders down, takes them over from it, and must be
//! among them.
//!
//! A node that comes with another number never hears from all others that they agree, so it never votes: two that have
//! lost their disks cannot make a new core of their own, as the third one knows them.
//!
//! # Invariants
//! If a store takes part, no vote of an earlier store of the same node has counted. For it has heard from each other node
//! after the earlier one was gone. Had that node written its founders down by then, with the earlier number, the later
//! store would be excluded; and until a node has written them down it counts no votes.
//!
//! # Bounds
//! One number a node of the core.

use std::collections::BTreeMap;

use quorate_engine::ids::NodeId;

/// The numbers of the stores with which the core began.
pub type Founders = BTreeMap<NodeId, u64>;

/// What a node of the core knows of the others before it takes part.
#[derive(Debug)]
pub(super) struct Meeting {
    own: (NodeId, u64),
    nodes: Vec<NodeId>,
    heard: Founders,
    /// As someone has written them down.
    founders: Option<Founders>,
}

/// What has come of a meeting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Met {
    /// Not all were heard.
    Waiting,
    /// All were: these are to be written down.
    Agreed(Founders),
    /// The core began with another store of this node.
    Excluded,
}

impl Meeting {
    pub(super) fn new(own: (NodeId, u64), nodes: &[NodeId]) -> Self {
        Self { own, nodes: nodes.to_vec(), heard: Founders::from([own]), founders: None }
    }

    /// Hears a node's number, and the founders if it has written them down.
    pub(super) fn hear(&mut self, node: NodeId, number: u64, founders: Option<Founders>) {
        if self.nodes.contains(&node) && node != self.own.0 {
            self.heard.insert(node, number);
            self.founders = self.founders.take().or(founders);
        }
    }

    /// Returns what has come of it so far.
    pub(super) fn outcome(&self) -> Met {
        let (node, number) = self.own;
        match &self.founders {
            Some(founders) if founders.get(&node) != Some(&number) => Met::Excluded,
            _ if self.heard.len() < self.nodes.len() => Met::Waiting,
            Some(founders) => Met::Agreed(founders.clone()),
            None => Met::Agreed(self.heard.clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NODES: [NodeId; 3] = [NodeId(1), NodeId(2), NodeId(3)];

    fn founders(numbers: [u64; 3]) -> Founders {
        NODES.into_iter().zip(numbers).collect()
    }

    #[test]
    fn all_have_to_be_heard() {
        let mut meeting = Meeting::new((NodeId(1), 11), &NODES);
        for _ in 0..2 {
            meeting.hear(NodeId(2), 22, None);
        }
        meeting.hear(NodeId(9), 99, None);
        assert_eq!(meeting.outcome(), Met::Waiting, "twice the same, and a stranger");
        meeting.hear(NodeId(3), 33, None);
        assert_eq!(meeting.outcome(), Met::Agreed(founders([11, 22, 33])));
        let alone = Meeting::new((NodeId(1), 11), &NODES[..1]);
        assert_eq!(alone.outcome(), Met::Agreed(Founders::from([(NodeId(1), 11)])));
    }

    #[test]
    fn what_another_one_has_written_down_counts() {
        let mut late = Meeting::new((NodeId(3), 33), &NODES);
        late.hear(NodeId(1), 12, None);
        assert_eq!(late.outcome(), Met::Waiting, "node 1 has lost its disk, and does not know it yet");
        late.hear(NodeId(2), 22, Some(founders([11, 22, 33])));
        assert_eq!(late.outcome(), Met::Agreed(founders([11, 22, 33])));
    }

    #[test]
    fn whoever_has_lost_its_disk_is_excluded_by_one_that_remembers() {
        let mut wiped = Meeting::new((NodeId(1), 12), &NODES);
        wiped.hear(NodeId(3), 33, None);
        assert_eq!(wiped.outcome(), Met::Waiting);
        wiped.hear(NodeId(2), 22, Some(founders([11, 22, 33])));
        assert_eq!(wiped.outcome(), Met::Excluded);
    }

    #[test]
    fn two_wiped_nodes_of_three_make_no_core() {
        let mut wiped = Meeting::new((NodeId(1), 12), &NODES);
        wiped.hear(NodeId(2), 23, None);
        assert_eq!(wiped.outcome(), Met::Waiting);
        wiped.hear(NodeId(3), 33, Some(founders([11, 22, 33])));
        assert_eq!(wiped.outcome(), Met::Excluded);
    }
}
