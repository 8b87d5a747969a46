//! How the groups of a CPU are, for the thread that tells it to others.

use quorate_engine::GroupStatus;
use quorate_engine::ids::{GroupId, NodeId, ReplicaId};

use super::Cpu;
use super::directory::Route;

/// What a CPU says of itself.
#[derive(Debug)]
pub(crate) struct Census {
    /// Which run of its node this is, once the core has registered it.
    pub(crate) run: Option<ReplicaId>,
    /// All groups that live on this CPU, if the node holds them.
    pub(crate) groups: Vec<GroupCensus>,
}

/// A group, as one node sees it.
#[derive(Debug)]
pub(crate) struct GroupCensus {
    pub(crate) group: GroupId,
    pub(crate) loss_gen: u64,
    pub(crate) lead: Lead,
    /// Whether this node counts in its quorums.
    pub(crate) is_member: bool,
    /// Whether this node copies it, and does not count.
    pub(crate) is_learner: bool,
    /// The replica here, if there is one.
    pub(crate) held: Option<GroupStatus>,
}

/// Who leads a group, as the core has said last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Lead {
    /// The core has not formed it.
    Unformed,
    /// It cannot be led again without these runs, which are gone.
    Lost(Vec<ReplicaId>),
    /// This node, and whether requests can be passed on to it.
    Node { leader: NodeId, is_reached: bool },
}

impl Cpu {
    /// Returns how the groups of this CPU are. Cost: one pass over them.
    pub(super) fn census(&self) -> Census {
        let front = &self.front;
        let mut held = self.engine.status();
        let home = front.facts.groups().filter(|group| front.facts.home_of(*group) == front.id);
        let groups = home.map(|group| {
            let lead = match front.directory.route(group) {
                Route::Unformed => Lead::Unformed,
                Route::Lost(missing) => Lead::Lost(missing.to_vec()),
                Route::Led(leader) => {
                    let is_reached = leader == front.facts.node || front.way_to(leader, group).is_some();
                    Lead::Node { leader, is_reached }
                }
            };
            let node = front.facts.node;
            let news = front.directory.news(group);
            let is_member = news.is_some_and(|news| news.active.has_node(node));
            let is_learner = news.is_some_and(|news| news.learners.iter().any(|learner| learner.node == node));
            let position = held.iter().position(|status| status.group == group).filter(|_| front.holds(group));
            let held = position.map(|position| held.swap_remove(position));
            GroupCensus { group, loss_gen: front.directory.loss_gen(group), lead, is_member, is_learner, held }
        });
        let groups = groups.collect();
        Census { run: front.run, groups }
    }
}
