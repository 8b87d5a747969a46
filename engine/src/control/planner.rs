//! What the leader of the core does about groups: who takes over, who is counted, what is given up.
//!
//! For each group, by what the state says, who is suspected and what the replicas have asked for:
//!
//! | a change is pending | the active leader is well | then |
//! |---|---|---|
//! | no | yes | a learner is counted, or the epoch renewed, if the leader asks for that; a member that is not to hold the group any more goes, and if that is the leader, another one takes over |
//! | no | no | a member that is well takes over |
//! | yes, and its leader is well and in time | | wait |
//! | yes, but not in time, or its leader is suspected | yes | the active leader goes on in a new epoch |
//! | yes, but not in time, or its leader is suspected | no | another member takes over |
//!
//! Whoever leads the fewest groups takes over. The new members are the runs that are well of all nodes that shall hold the
//! group, those that know nothing yet included: they count when they hold the log. If there are fewer of those than the write
//! quorum needs, the members stay as they are, and nothing is written before some come back.
//!
//! # Time and units
//! The core node's monotonic clock. A change is in time for as long as the planner's patience says, counted from when this
//! planner first saw it.

use core::time::Duration;
use std::collections::BTreeMap;

use crate::config::Member;
use crate::control::detector::Detector;
use crate::control::record::{Ask, ChangeKind, Record};
use crate::control::state::{Planned, State};
use crate::ids::{Epoch, GroupId, NodeId, ReplicaId};
use crate::time::Instant;

/// See the module.
#[derive(Debug)]
pub struct Planner {
    /// How long a change may take before it is superseded. Longer than two read leases: the leases of a leader that was never
    /// active are waited for by the next one.
    patience: Duration,
    /// When each change that is pending was first seen.
    seen: BTreeMap<GroupId, (Epoch, Instant)>,
    /// What was asked last for each group, and by whom.
    asked: BTreeMap<GroupId, (ReplicaId, Ask)>,
}

impl Planner {
    /// Creates a planner that has seen nothing.
    #[must_use]
    pub fn new(patience: Duration) -> Self {
        Self { patience, seen: BTreeMap::new(), asked: BTreeMap::new() }
    }

    /// Notes what a replica asks; it is looked at with the next plan. Activation is no matter of planning.
    pub fn note(&mut self, from: ReplicaId, group: GroupId, ask: Ask) {
        self.asked.insert(group, (from, ask));
    }

    /// Returns what shall change, by what is known now.
    ///
    /// Cost: O(groups × members).
    pub fn plan(&mut self, state: &State, detector: &Detector, now: Instant) -> Vec<Planned> {
        let is_well = |run: ReplicaId| state.is_current(run) && !detector.is_suspected(run, now);
        let mut load = Load::of(state);
        let mut plan = Vec::new();
        for record in state.groups() {
            let group = record.active().group;
            let asked = self.asked.remove(&group);
            let view = View { state, record, is_well: &is_well };
            let is_stuck = match record.pending() {
                None => false,
                Some(change) => {
                    let epoch = change.config.epoch;
                    let (seen, since) = *self.seen.entry(group).or_insert((epoch, now));
                    if seen != epoch {
                        self.seen.insert(group, (epoch, now));
                    }
                    let is_late = seen == epoch && now.since(since) > self.patience;
                    is_late || !change.config.leader_replica().is_some_and(is_well)
                }
            };
            let leader = record.active().leader_replica();
            let leads_well = leader.is_some_and(|leader| is_well(leader) && !detector.is_without_quorum(leader, group));
            let planned = match (record.pending(), asked) {
                (Some(pending), Some((from, Ask::HandOver { epoch, to })))
                    if pending.config.epoch == epoch && pending.config.leader_replica() == Some(from) =>
                {
                    view.take_over(|node| node == to, &load)
                }
                (Some(_), _) if !is_stuck => None,
                (Some(_), _) if leads_well => view.change_live(view.members()),
                (None, Some((from, ask))) if leads_well && leader == Some(from) => view.answer(ask),
                (None, _) if leads_well => view.leave(&load),
                // A leader that was deposed for nothing may be the only one that is well: then it leads again.
                (Some(_) | None, _) => view
                    .take_over(|node| node != record.active().leader, &load)
                    .or_else(|| view.take_over(|_| true, &load)),
            };
            if let Some(planned) = planned {
                load.add(planned.leader);
                plan.push(planned);
            }
        }
        plan
    }
}

/// How many groups each node leads, or is to lead.
struct Load(BTreeMap<NodeId, usize>);

impl Load {
    fn of(state: &State) -> Self {
        let mut load = Self(BTreeMap::new());
        for record in state.groups() {
            load.add(record.pending().map_or(record.active().leader, |change| change.config.leader));
        }
        load
    }

    fn add(&mut self, node: NodeId) {
        *self.0.entry(node).or_default() += 1;
    }

    fn get(&self, node: NodeId) -> usize {
        self.0.get(&node).copied().unwrap_or_default()
    }
}

/// One group, and what is known of its nodes.
struct View<'a> {
    state: &'a State,
    record: &'a Record,
    is_well: &'a dyn Fn(ReplicaId) -> bool,
}

impl View<'_> {
    /// Returns the members that the group shall have: the runs that are well of its nodes, if they are enough.
    fn members(&self) -> Vec<Member> {
        let active = self.record.active();
        let nodes = self.state.nodes_of(active.group);
        let runs = nodes.iter().filter_map(|node| self.state.current(*node));
        let well: Vec<Member> = runs.filter(|run| (self.is_well)(*run)).map(Member::from).collect();
        if well.len() >= self.write_quorum() {
            return well;
        }
        active.members.clone()
    }

    fn write_quorum(&self) -> usize {
        self.state.birth().write_quorum
    }

    /// Has a member take over that is well and wanted; the one that leads the fewest groups.
    fn take_over(&self, is_wanted: impl Fn(NodeId) -> bool, load: &Load) -> Option<Planned> {
        let members = self.members();
        let active = self.record.active();
        let runs = active.members.iter().filter_map(|member| member.replica());
        let candidates = runs.filter(|run| is_wanted(run.node) && (self.is_well)(*run));
        let candidates = candidates.filter(|run| members.contains(&Member::from(*run)));
        let leader = candidates.map(|run| run.node).min_by_key(|node| (load.get(*node), *node))?;
        Some(self.planned(ChangeKind::Takeover, leader, members))
    }

    /// Has the active leader go on with these members.
    fn change_live(&self, mut members: Vec<Member>) -> Option<Planned> {
        let leader = self.record.active().leader_replica()?;
        if !members.contains(&Member::from(leader)) {
            members.clone_from(&self.record.active().members);
        }
        Some(self.planned(ChangeKind::Live, leader.node, members))
    }

    /// Has a member go that is not to hold the group any more; if that is the leader, another one takes over first.
    fn leave(&self, load: &Load) -> Option<Planned> {
        let active = self.record.active();
        let nodes = self.state.nodes_of(active.group);
        let is_wanted = |node: NodeId| nodes.contains(&node);
        if !is_wanted(active.leader) {
            return self.take_over(is_wanted, load);
        }
        let stays = |member: &Member| is_wanted(member.node);
        let (staying, leaving): (Vec<Member>, Vec<Member>) = active.members.iter().copied().partition(stays);
        (!leaving.is_empty() && staying.len() >= self.write_quorum()).then(|| self.change_live(staying)).flatten()
    }

    /// Does what the leader asks for.
    fn answer(&self, ask: Ask) -> Option<Planned> {
        let active = self.record.active();
        match ask {
            Ask::Renew { epoch } if epoch == active.epoch => self.change_live(active.members.clone()),
            Ask::Promote { epoch, learner } if epoch == active.epoch && self.record.learners().contains(&learner) => {
                let others = active.members.iter().copied().filter(|member| member.node != learner.node);
                self.change_live(others.chain([Member::from(learner)]).collect())
            }
            Ask::Renew { .. } | Ask::Promote { .. } | Ask::Activate { .. } | Ask::HandOver { .. } => None,
        }
    }

    fn planned(&self, kind: ChangeKind, leader: NodeId, members: Vec<Member>) -> Planned {
        let write_quorum = self.write_quorum().min(members.len());
        Planned {
            group: self.record.active().group,
            version: self.record.version(),
            kind,
            leader,
            members,
            write_quorum,
        }
    }
}
