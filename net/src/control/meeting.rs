//! How the nodes of a new core get to know each other's stores, and how one is found out that has lost its own.
//!
//! A node of the core that starts with an empty disk has forgotten what it has promised; if it voted, a majority could be
//! made of nodes that know nothing of what another majority has agreed on. So every store has a number, drawn when it is
//! created. Before the core of a new cluster agrees on anything, each of its nodes has heard the number of every other
//! one, and has written all of them down: the *founders*, the stores of the first era of the core. Whoever is still waiting
//! when another one has written the founders down, takes them over from it, and must be among them; when a later era is
//! shown, in that one.
//!
//! A node that comes with another number never hears from all others that they agree, so it never votes: two that have
//! lost their disks cannot make a new core of their own, as the third one knows them. Nor does a store count that was made
//! without the word to create a cluster: it can only be named by a later era (see [`Core`](quorate_engine::control::core)).
//!
//! # Invariants
//! If a store takes part, no vote of an earlier store of the same node has counted. For it has heard from each other node
//! after the earlier one was gone. Had that node written its founders down by then, with the earlier number, the later
//! store would be excluded; and until a node has written them down it counts no votes.
//!
//! # Bounds
//! One number a node of the core.

use std::collections::BTreeMap;

use quorate_engine::control::core::Era;
use quorate_engine::ids::NodeId;

/// The numbers of the stores with which the core began.
pub type Founders = BTreeMap<NodeId, u64>;

/// What a node of the core knows of the others before it takes part.
#[derive(Debug)]
pub(crate) struct Meeting {
    own: (NodeId, u64),
    nodes: Vec<NodeId>,
    heard: Founders,
    /// The era in which someone is already.
    era: Option<Box<Era>>,
}

/// What has come of a meeting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Met {
    /// Not all were heard.
    Waiting,
    /// All were, or a later era names this store: this one is to be written down.
    Agreed(Box<Era>),
    /// The core began with another store of this node.
    Excluded,
}

impl Meeting {
    pub(super) fn new(own: (NodeId, u64), nodes: &[NodeId]) -> Self {
        Self { own, nodes: nodes.to_vec(), heard: Founders::from([own]), era: None }
    }

    /// Hears the number of a node that takes part in no core yet, and may found one.
    pub(super) fn hear(&mut self, node: NodeId, number: u64) {
        if self.nodes.contains(&node) && node != self.own.0 {
            self.heard.insert(node, number);
        }
    }

    /// Hears that a node is to be taken into a core that is there: it founds none.
    pub(super) fn forget(&mut self, node: NodeId) {
        if node != self.own.0 {
            self.heard.remove(&node);
        }
    }

    /// Hears in which era a node is.
    pub(super) fn hear_era(&mut self, node: NodeId, era: Box<Era>) {
        if let Some(number) = era.stores.get(&node) {
            self.hear(node, *number);
        }
        if self.era.as_ref().is_none_or(|known| known.number < era.number) {
            self.era = Some(era);
        }
    }

    /// Returns what has come of it so far.
    pub(super) fn outcome(&self) -> Met {
        let (node, number) = self.own;
        match &self.era {
            Some(era) if !era.names(node, number) => Met::Excluded,
            Some(era) if era.number > 1 => Met::Agreed(era.clone()),
            _ if self.heard.len() < self.nodes.len() => Met::Waiting,
            Some(era) => Met::Agreed(era.clone()),
            None => Met::Agreed(Box::new(Era::first(self.heard.clone()))),
        }
    }
}

#[cfg(test)]
mod tests {
    use quorate_engine::control::state::{Birth, State};
    use quorate_engine::slots::SlotMap;

    use super::*;

    const NODES: [NodeId; 3] = [NodeId(1), NodeId(2), NodeId(3)];

    fn founded(numbers: [u64; 3]) -> Box<Era> {
        Box::new(Era::first(NODES.into_iter().zip(numbers).collect()))
    }

    #[test]
    fn all_have_to_be_heard() {
        let mut meeting = Meeting::new((NodeId(1), 11), &NODES);
        for _ in 0..2 {
            meeting.hear(NodeId(2), 22);
        }
        meeting.hear(NodeId(9), 99);
        assert_eq!(meeting.outcome(), Met::Waiting, "twice the same, and a stranger");
        meeting.hear(NodeId(3), 33);
        assert_eq!(meeting.outcome(), Met::Agreed(founded([11, 22, 33])));
        meeting.forget(NodeId(3));
        assert_eq!(meeting.outcome(), Met::Waiting, "it has lost its disk, and founds nothing");
        let alone = Meeting::new((NodeId(1), 11), &NODES[..1]);
        assert_eq!(alone.outcome(), Met::Agreed(Box::new(Era::first(Founders::from([(NodeId(1), 11)])))));
    }

    #[test]
    fn what_another_one_has_written_down_counts() {
        let mut late = Meeting::new((NodeId(3), 33), &NODES);
        late.hear(NodeId(1), 12);
        assert_eq!(late.outcome(), Met::Waiting, "node 1 has lost its disk, and does not know it yet");
        late.hear_era(NodeId(2), founded([11, 22, 33]));
        assert_eq!(late.outcome(), Met::Agreed(founded([11, 22, 33])));
    }

    #[test]
    fn whoever_has_lost_its_disk_is_excluded_by_one_that_remembers() {
        let mut wiped = Meeting::new((NodeId(1), 12), &NODES);
        wiped.hear(NodeId(3), 33);
        assert_eq!(wiped.outcome(), Met::Waiting);
        wiped.hear_era(NodeId(2), founded([11, 22, 33]));
        assert_eq!(wiped.outcome(), Met::Excluded);
    }

    #[test]
    fn two_wiped_nodes_of_three_make_no_core() {
        let mut wiped = Meeting::new((NodeId(1), 12), &NODES);
        wiped.hear(NodeId(2), 23);
        assert_eq!(wiped.outcome(), Met::Waiting);
        wiped.hear_era(NodeId(3), founded([11, 22, 33]));
        assert_eq!(wiped.outcome(), Met::Excluded);
    }

    /// It has agreed with the others, and was gone before it wrote that down.
    #[test]
    fn a_later_era_counts_if_it_names_the_store() {
        let later = |numbers| Box::new(Era { number: 2, start: Some(state()), ..*founded(numbers) });
        let mut late = Meeting::new((NodeId(3), 33), &NODES);
        late.hear_era(NodeId(1), founded([11, 22, 33]));
        late.hear_era(NodeId(1), later([11, 23, 33]));
        assert_eq!(late.outcome(), Met::Agreed(later([11, 23, 33])));
        late.hear_era(NodeId(2), founded([11, 22, 33]));
        assert_eq!(late.outcome(), Met::Agreed(later([11, 23, 33])));
        let mut replaced = Meeting::new((NodeId(2), 22), &NODES);
        replaced.hear_era(NodeId(1), later([11, 23, 33]));
        assert_eq!(replaced.outcome(), Met::Excluded);
    }

    fn state() -> State {
        let slots = SlotMap::new(2).expect("in range");
        State::new(Birth { slots, nodes: NODES.to_vec(), replicas: 3, write_quorum: 2 })
    }
}
