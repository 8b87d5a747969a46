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
                    let seen = self.seen.entry(group).or_insert((epoch, now));
                    if seen.0 != epoch {
                        *seen = (epoch, now);
                    }
                    let is_late = now.since(seen.1) > self.patience;
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::state::{Birth, Command};
    use crate::ids::Incarnation;
    use crate::slots::SlotMap;

    const SUSPICION: Duration = Duration::from_millis(150);
    const PATIENCE: Duration = Duration::from_millis(300);
    const G: GroupId = GroupId(0);

    /// The core of a cluster of three nodes and as many groups, led by one each.
    struct Stage {
        state: State,
        detector: Detector,
        planner: Planner,
        now: Instant,
    }

    impl Stage {
        fn new() -> Self {
            let nodes = (1..=3).map(NodeId).collect();
            let slots = SlotMap::new(3).expect("in range");
            let state = State::new(Birth { slots, nodes, replicas: 3, write_quorum: 2 });
            let (detector, planner) = (Detector::new(SUSPICION, Vec::new()), Planner::new(PATIENCE));
            let mut stage = Self { state, detector, planner, now: Instant(0) };
            (1..=3).for_each(|node| stage.start(node));
            stage
        }

        /// A run of a node starts.
        fn start(&mut self, node: u16) {
            let nonce = self.now.0 + 1;
            let applied = self.state.apply(&Command::Register { node: NodeId(node), nonce });
            self.detector.expect(applied.registered.expect("a registration"), self.now);
        }

        fn run(&self, node: u16) -> ReplicaId {
            self.state.current(NodeId(node)).expect("registered")
        }

        /// Lets time pass while these nodes are heard, and carries out what is planned. Returns the plan for group 0.
        fn pass(&mut self, ms: u64, heard: &[u16]) -> Option<Planned> {
            self.now = Instant(self.now.0 + ms * 1_000_000);
            for node in heard {
                self.detector.expect(self.run(*node), self.now);
                let from = self.run(*node);
                let (turns, without_quorum, silent) = (Vec::new(), Vec::new(), Vec::new());
                let heartbeat = crate::control::detector::Heartbeat { from, turns, without_quorum, silent };
                self.detector.hear(&heartbeat, self.now);
            }
            let plan = self.planner.plan(&self.state, &self.detector, self.now);
            let planned = plan.iter().find(|planned| planned.group == G).cloned();
            self.state.apply(&Command::Change(plan));
            planned
        }

        fn epoch(&self) -> Epoch {
            self.state.group(G).expect("formed").active().epoch
        }

        /// The leader of the pending change has brought the log over.
        fn activate(&mut self) {
            let pending = self.state.group(G).and_then(Record::pending).expect("a change");
            let (epoch, caller) = (pending.config.epoch, pending.config.leader_replica().expect("assigned"));
            self.state.apply(&Command::Activate { group: G, epoch, caller });
            assert_eq!(self.epoch(), epoch);
        }
    }

    fn nodes(members: &[Member]) -> Vec<u16> {
        members.iter().map(|member| member.node.0).collect()
    }

    #[test]
    fn while_all_is_well_nothing_is_planned() {
        let mut stage = Stage::new();
        for _ in 0..10 {
            assert_eq!(stage.pass(100, &[1, 2, 3]), None);
        }
    }

    #[test]
    fn another_member_takes_over_what_a_silent_node_has_led() {
        let mut stage = Stage::new();
        assert_eq!(stage.pass(150, &[2, 3]), None, "not yet longer than the suspicion time");
        let planned = stage.pass(1, &[2, 3]).expect("a takeover");
        assert_eq!((planned.kind, planned.leader), (ChangeKind::Takeover, NodeId(2)));
        assert_eq!(nodes(&planned.members), [2, 3], "those that are well are enough");
        assert_eq!(stage.pass(100, &[2, 3]), None, "it is in time");
    }

    #[test]
    fn a_change_whose_leader_falls_silent_is_superseded_at_once() {
        let mut stage = Stage::new();
        stage.pass(151, &[2, 3]);
        assert_eq!(stage.pass(150, &[3]), None);
        let planned = stage.pass(1, &[3]).expect("another takeover");
        assert_eq!((planned.kind, planned.leader), (ChangeKind::Takeover, NodeId(3)));
        assert_eq!(nodes(&planned.members), [1, 2, 3], "too few are well: they stay as they are");
    }

    #[test]
    fn a_change_that_takes_too_long_is_superseded_by_the_leader_if_that_is_well_again() {
        let mut stage = Stage::new();
        stage.pass(151, &[2, 3]);
        // It is first seen with the next plan.
        for _ in 0..4 {
            assert_eq!(stage.pass(100, &[1, 2, 3]), None);
        }
        let planned = stage.pass(1, &[1, 2, 3]).expect("more than 300 ms have passed since");
        assert_eq!((planned.kind, planned.leader), (ChangeKind::Live, NodeId(1)));
    }

    #[test]
    fn a_new_run_is_counted_when_the_leader_says_that_it_holds_the_log() {
        let mut stage = Stage::new();
        stage.pass(1, &[1, 2, 3]);
        stage.start(3);
        assert_eq!(stage.pass(10, &[1, 2, 3]), None, "nobody has asked");
        let (leader, learner) = (stage.run(1), stage.run(3));
        stage.planner.note(stage.run(2), G, Ask::Promote { epoch: Epoch(1), learner });
        assert_eq!(stage.pass(10, &[1, 2, 3]), None, "who asks does not lead");
        let gone = ReplicaId { incarnation: Incarnation(3), ..learner };
        stage.planner.note(leader, G, Ask::Promote { epoch: Epoch(1), learner: gone });
        assert_eq!(stage.pass(10, &[1, 2, 3]), None, "that run is gone");
        stage.planner.note(leader, G, Ask::Promote { epoch: Epoch(1), learner });
        let planned = stage.pass(10, &[1, 2, 3]).expect("a change");
        assert_eq!(planned.kind, ChangeKind::Live);
        assert!(planned.members.contains(&Member::from(learner)) && planned.members.len() == 3);
        stage.activate();
        assert!(stage.state.group(G).expect("formed").learners().is_empty());
    }

    #[test]
    fn whoever_holds_a_log_that_cannot_be_fetched_takes_over_itself() {
        let mut stage = Stage::new();
        stage.pass(151, &[2, 3]);
        let epoch = Epoch(2);
        stage.planner.note(stage.run(2), G, Ask::HandOver { epoch, to: NodeId(3) });
        let planned = stage.pass(10, &[2, 3]).expect("another takeover");
        assert_eq!((planned.kind, planned.leader), (ChangeKind::Takeover, NodeId(3)));
    }

    #[test]
    fn a_group_that_is_placed_elsewhere_is_led_there_before_its_leader_goes() {
        let mut stage = Stage::new();
        stage.pass(1, &[1, 2, 3]);
        stage.state.apply(&Command::Place { group: G, nodes: vec![NodeId(2), NodeId(3)] });
        let planned = stage.pass(1, &[1, 2, 3]).expect("a move");
        assert_eq!((planned.kind, planned.leader), (ChangeKind::Takeover, NodeId(2)));
        assert_eq!(nodes(&planned.members), [2, 3]);
        stage.activate();
        assert_eq!(stage.pass(1, &[1, 2, 3]), None);
    }

    #[test]
    fn groups_of_a_dead_node_are_divided_among_the_others() {
        let nodes: Vec<NodeId> = (1..=3).map(NodeId).collect();
        let slots = SlotMap::new(12).expect("in range");
        let mut stage = Stage::new();
        stage.state = State::new(Birth { slots, nodes, replicas: 3, write_quorum: 2 });
        (1..=3).for_each(|node| stage.start(node));
        stage.pass(151, &[2, 3]);
        let led = |node| {
            let pending = stage.state.groups().filter_map(Record::pending);
            pending.filter(|change| change.config.leader == NodeId(node)).count()
        };
        assert_eq!((led(2), led(3)), (2, 2), "of the four that node 1 has led");
    }
}
