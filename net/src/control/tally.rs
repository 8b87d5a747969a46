//! What the stream of events comes to, for those who ask: which nodes are up, and how often somebody took over.
//!
//! A node of the core is told by the core's state; any other adds up what it hears. What it did not hear, because those events
//! are not kept any more, it does not know.

use std::collections::BTreeMap;

use quorate_engine::control::journal::{Event, Reason, Recorded};
use quorate_engine::ids::{Incarnation, NodeId, ReplicaId};

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    nodes: BTreeMap<NodeId, NodeRun>,
    /// Takeovers that have begun, by why: leader gone, down, moved.
    takeovers: [u64; 3],
    /// The index of the event that would be heard next.
    next: u64,
}

/// The run of a node that was registered last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NodeRun {
    pub(crate) incarnation: Incarnation,
    /// Whether it is heard and turns, as far as the core has agreed.
    pub(crate) is_up: bool,
}

impl Tally {
    /// Adds an event that was not added before.
    pub(crate) fn add(&mut self, recorded: &Recorded) {
        if recorded.index != self.next {
            // What happened in between is not known.
            self.nodes.clear();
        }
        self.next = recorded.index + 1;
        match &recorded.event {
            Event::NodeUp { run } | Event::NodeBack { run } => self.see(*run, true),
            Event::NodeDown { run } => self.see(*run, false),
            Event::TakeoverBegan { reason, .. } => self.takeovers[place(*reason)] += 1,
            _ => {}
        }
    }

    fn see(&mut self, run: ReplicaId, is_up: bool) {
        self.nodes.insert(run.node, NodeRun { incarnation: run.incarnation, is_up });
    }

    /// Takes over what the core itself knows.
    pub(crate) fn set_nodes(&mut self, runs: impl Iterator<Item = (ReplicaId, bool)>) {
        self.nodes.clear();
        runs.for_each(|(run, is_up)| self.see(run, is_up));
    }

    pub(crate) fn nodes(&self) -> &BTreeMap<NodeId, NodeRun> {
        &self.nodes
    }

    /// Returns how many takeovers this process has heard of, by why.
    pub(crate) fn takeovers(&self) -> [(&'static str, u64); 3] {
        let [gone, down, moved] = self.takeovers;
        [("leader_gone", gone), ("leader_down", down), ("leader_moved", moved)]
    }
}

fn place(reason: Reason) -> usize {
    match reason {
        Reason::LeaderGone => 0,
        Reason::LeaderDown => 1,
        Reason::LeaderMoved => 2,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(node: u16, incarnation: u64) -> ReplicaId {
        ReplicaId { node: NodeId(node), incarnation: Incarnation(incarnation) }
    }

    #[test]
    fn nodes_are_known_until_an_event_was_missed() {
        let mut tally = Tally::default();
        let mut add = |index, event| tally.add(&Recorded { index, at_ms: 0, event });
        add(1, Event::NodeUp { run: run(1, 4) });
        add(2, Event::NodeUp { run: run(2, 5) });
        add(3, Event::NodeDown { run: run(1, 4) });
        assert_eq!(tally.nodes()[&NodeId(1)], NodeRun { incarnation: Incarnation(4), is_up: false });
        assert!(tally.nodes()[&NodeId(2)].is_up);
        tally.add(&Recorded { index: 4, at_ms: 0, event: Event::NodeBack { run: run(1, 4) } });
        assert!(tally.nodes()[&NodeId(1)].is_up);
        tally.add(&Recorded { index: 9, at_ms: 0, event: Event::NodeUp { run: run(2, 6) } });
        assert_eq!(tally.nodes().len(), 1, "node 1 may have gone down meanwhile");
    }
}
