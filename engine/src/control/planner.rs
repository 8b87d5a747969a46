//! What the leader of the core does about groups: who takes over, who is counted, what is given up.
//!
//! For each group, by what the state says, who is suspected and what the replicas have asked for:
//!
//! | a change is pending | the active leader is well | then |
//! |---|---|---|
//! | no | yes | a learner is counted, or the epoch renewed, if the leader asks for that; a member that is not to hold the group any more goes once those hold it that are to come, and if that is the leader, another one takes over first |
//! | no | no | a member that is well takes over |
//! | yes, and its leader is well and in time | | wait |
//! | yes, but not in time, or its leader is suspected | yes | the active leader goes on in a new epoch |
//! | yes, but not in time, or its leader is suspected | no | another member takes over |
//! | of a loss that was accepted | | wait: what else is given up is for an operator to say |
//! | no, and the core was restored | | wait for an operator: who leads it and holds it is uncertain |
//!
//! Whoever leads the fewest groups takes over, of those that do not say that they cannot lead it: one whose copy is wrong does
//! ([`Engine::unled`](crate::engine::Engine::unled)), and is chosen only if there is nobody else. The new members are the active ones that are well, as they hold the log; other
//! nodes that shall hold the group copy it as learners, and come in when they do. Only if fewer members are well than the
//! write quorum needs, the runs that are well of those nodes are members at once. If even they are not enough, the members
//! stay as they are, and nothing is written before some come back.
//!
//! # Time and units
//! The core node's monotonic clock. A change is in time for as long as the planner's patience says, counted from when this
//! planner first saw it; twice as long if one before it, from the same active configuration, was late, and so on. A change
//! is never superseded by its like: that would only have it begin anew.

use core::time::Duration;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::config::{GroupConfig, MEMBERS_MAX, Member};
use crate::control::detector::Detector;
use crate::control::record::{Ask, Change, ChangeKind, Record};
use crate::control::state::{Planned, State};
use crate::ids::{Epoch, GroupId, NodeId, ReplicaId};
use crate::replication::quorum::seal_quorum;
use crate::time::Instant;

/// See the module.
#[derive(Debug)]
pub struct Planner {
    /// How long a change may take before it is superseded. Longer than two read leases: the leases of a leader that was never
    /// active are waited for by the next one.
    patience: Duration,
    /// The change of each group that is pending, or was the last time.
    seen: BTreeMap<GroupId, Seen>,
    /// What was asked last for each group, and by whom.
    asked: BTreeMap<GroupId, (ReplicaId, Ask)>,
}

/// A change as this planner has seen it.
#[derive(Clone, Copy, Debug)]
struct Seen {
    /// The configuration it starts from.
    active: Epoch,
    epoch: Epoch,
    at: Instant,
    is_late: bool,
    /// How many before it started from there, and were late.
    late_count: u32,
}

/// How often patience doubles at most.
const DOUBLINGS_MAX: u32 = 4;

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
        let off = detector.clocks_off(now);
        let mut load = Load::of(state);
        let mut plan = Vec::new();
        for record in state.groups() {
            let group = record.active().group;
            let asked = self.asked.remove(&group);
            if record.is_uncertain() && record.pending().is_none() {
                continue;
            }
            let is_unable = |run: ReplicaId| detector.is_unable(run, group, &off);
            let view = View { state, record, is_well: &is_well, is_unable: &is_unable };
            let is_stuck = record.pending().is_some_and(|change| {
                self.is_late(record, change.config.epoch, now) || !change.config.leader_replica().is_some_and(is_well)
            });
            let leader = record.active().leader_replica();
            let leads_well = leader.is_some_and(|leader| is_well(leader) && !is_unable(leader));
            let planned = view.hand_over(asked, &load).or_else(|| match record.pending() {
                Some(Change { kind: ChangeKind::Loss | ChangeKind::Salvage, .. }) => None,
                Some(_) if !is_stuck => None,
                Some(_) if leads_well => view.change_live(view.members(record.active().leader)),
                None if leads_well => {
                    let asked = asked.filter(|(from, _)| leader == Some(*from));
                    asked.and_then(|(_, ask)| view.answer(ask)).or_else(|| view.leave(&load))
                }
                // A leader that was deposed for nothing may be the only one that is well, or the only one that can lead: then it
                // leads again.
                pending => {
                    let late = pending.map(|change| change.config.leader);
                    let is_able = |node| state.current(node).is_some_and(|run| !is_unable(run));
                    let deposed = record.active().leader;
                    view.take_over(|node| node != deposed && Some(node) != late && is_able(node), &load)
                        .or_else(|| view.take_over(|node| node == deposed && Some(node) != late, &load))
                        .or_else(|| view.take_over(|node| Some(node) != late, &load))
                        .or_else(|| view.take_over(|_| true, &load))
                }
            });
            if let Some(planned) = planned.filter(|planned| !view.is_pending(planned)) {
                load.add(planned.leader);
                plan.push(planned);
            }
        }
        plan
    }

    /// Returns what an operator accepts who declares dead whoever is not well of a group that cannot be led without them. The
    /// members that are left go on; if they are fewer than the write quorum, other nodes that shall hold the group come in with
    /// what they have, which may be nothing.
    ///
    /// # Errors
    /// There is no such group, it is not lost, or too few nodes are well to hold a write.
    pub fn accept_loss(state: &State, detector: &Detector, group: GroupId, now: Instant) -> Result<Planned, NotLost> {
        let record = state.group(group).ok_or(NotLost::Unknown { group })?;
        let is_well = |run: ReplicaId| state.is_current(run) && !detector.is_suspected(run, now);
        let off = detector.clocks_off(now);
        let is_unable = |run: ReplicaId| detector.is_unable(run, group, &off);
        let view = View { state, record, is_well: &is_well, is_unable: &is_unable };
        if record.is_uncertain() {
            return view.salvage();
        }
        let active = record.active();
        let mut members = view.well();
        let need = seal_quorum(active.members.len(), active.write_quorum);
        if members.len() >= need || members.iter().any(|member| member.node == active.leader) {
            return Err(NotLost::Led { group });
        }
        let load = Load::of(state);
        let others = view.others();
        let candidates = if members.is_empty() { &others } else { &members };
        let leader = candidates.iter().map(|member| member.node).min_by_key(|node| view.rank(*node, &load));
        if members.len() < view.write_quorum() {
            members.extend(&others);
        }
        let (have, need) = (members.len(), view.write_quorum());
        match leader {
            Some(leader) if have >= need => Ok(view.planned(ChangeKind::Loss, leader, members)),
            Some(_) | None => Err(NotLost::TooFew { group, have, need }),
        }
    }

    /// Whether the change to `epoch`, which is pending, has had its time. It is noted when it is first seen.
    fn is_late(&mut self, record: &Record, epoch: Epoch, now: Instant) -> bool {
        let GroupConfig { group, epoch: active, .. } = *record.active();
        let before = self.seen.get(&group).copied().filter(|seen| seen.active == active);
        let late_count = before.map_or(0, |seen| seen.late_count + u32::from(seen.is_late));
        let first = Seen { active, epoch, at: now, is_late: false, late_count };
        let mut seen = before.filter(|seen| seen.epoch == epoch).unwrap_or(first);
        let patience = self.patience.saturating_mul(1 << seen.late_count.min(DOUBLINGS_MAX));
        seen.is_late = now.since(seen.at) > patience;
        self.seen.insert(group, seen);
        seen.is_late
    }
}

/// Why a loss cannot be accepted.
#[derive(Clone, Debug, PartialEq, Eq, Hash, thiserror::Error, Serialize, Deserialize)]
#[non_exhaustive]
pub enum NotLost {
    /// There is no such group.
    #[error("ERR there is no group {group}; `quorate status` lists them")]
    Unknown {
        /// What was asked for.
        group: GroupId,
    },
    /// It can go on without that.
    #[error("ERR group {group} is not lost: its leader is well, or enough of its members are; nothing was changed")]
    Led {
        /// Which one.
        group: GroupId,
    },
    /// Nothing can be written after it either.
    #[error(
        "UNAVAILABLE group {group} needs {need} nodes that are up to hold a write, and {have} of those that shall hold it are; start \
         more of them first; nothing was changed"
    )]
    TooFew {
        /// Which one.
        group: GroupId,
        /// Nodes that are up.
        have: usize,
        /// The write quorum.
        need: usize,
    },
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
    /// Whether a run says that it does not lead the group though it should, or cannot.
    is_unable: &'a dyn Fn(ReplicaId) -> bool,
}

impl View<'_> {
    /// Whether a node shall hold the group.
    fn is_placed(&self, node: NodeId) -> bool {
        self.state.nodes_of(self.record.active().group).contains(&node)
    }

    /// Returns the active members that are well: they hold the log, and nobody else does for certain.
    fn well(&self) -> Vec<Member> {
        let is_well = |member: &Member| member.replica().is_some_and(self.is_well);
        self.record.active().members.iter().copied().filter(is_well).collect()
    }

    /// Returns the members that the group shall have if `leader`, an active member that is well, leads it.
    fn members(&self, leader: NodeId) -> Vec<Member> {
        let active = self.record.active();
        let is_enough = |members: &[Member]| members.len() >= self.write_quorum();
        let mut members = self.well();
        // Whoever leads is told by the next leader what became of its last writes: it goes afterwards.
        let stays =
            |member: &&Member| self.is_placed(member.node) || (member.node == active.leader && active.leader != leader);
        let staying: Vec<Member> = members.iter().filter(stays).copied().collect();
        // Whoever is to go stays until those are here that are to come.
        if self.others().is_empty() && is_enough(&staying) && staying.iter().any(|member| member.node == leader) {
            return staying;
        }
        if is_enough(&members) {
            return members;
        }
        members.extend(self.others());
        members.truncate(MEMBERS_MAX);
        if is_enough(&members) { members } else { active.members.clone() }
    }

    /// Returns the runs that are well of the nodes that shall hold the group and are no members.
    fn others(&self) -> Vec<Member> {
        let active = self.record.active();
        let runs = self.state.nodes_of(active.group).iter().filter_map(|node| self.state.current(*node));
        runs.filter(|run| (self.is_well)(*run) && !active.counts(*run)).map(Member::from).collect()
    }

    fn write_quorum(&self) -> usize {
        self.state.birth().write_quorum
    }

    /// Whether this is what is pending already.
    fn is_pending(&self, planned: &Planned) -> bool {
        self.record.pending().is_some_and(|Change { config, kind }| {
            *kind == planned.kind
                && (config.leader, config.write_quorum) == (planned.leader, planned.write_quorum)
                && config.members == planned.members
        })
    }

    /// Has a member take over that holds a log its candidate cannot fetch.
    fn hand_over(&self, asked: Option<(ReplicaId, Ask)>, load: &Load) -> Option<Planned> {
        let (from, Ask::HandOver { epoch, to }) = asked? else { return None };
        let Change { config, kind } = self.record.pending()?;
        if config.epoch != epoch || config.leader_replica() != Some(from) {
            return None;
        }
        match kind {
            ChangeKind::Takeover | ChangeKind::Live => self.take_over(|node| node == to, load),
            // With the same members: nobody else is given up.
            ChangeKind::Loss | ChangeKind::Salvage if config.has_node(to) => {
                Some(self.planned(*kind, to, config.members.clone()))
            }
            ChangeKind::Loss | ChangeKind::Salvage => None,
        }
    }

    /// Returns a number that is the smaller the sooner a node shall lead.
    fn rank(&self, node: NodeId, load: &Load) -> (bool, bool, usize, NodeId) {
        let is_unable = self.state.current(node).is_some_and(self.is_unable);
        (is_unable, !self.is_placed(node), load.get(node), node)
    }

    /// Has an active member take over that is well and wanted: one that stays, and of those the one that leads the fewest
    /// groups.
    fn take_over(&self, is_wanted: impl Fn(NodeId) -> bool, load: &Load) -> Option<Planned> {
        let candidates = self.well().into_iter().filter(|member| is_wanted(member.node));
        let leader = candidates.map(|member| member.node).min_by_key(|node| self.rank(*node, load))?;
        Some(self.planned(ChangeKind::Takeover, leader, self.members(leader)))
    }

    /// Has the active leader go on with these members.
    fn change_live(&self, mut members: Vec<Member>) -> Option<Planned> {
        let leader = self.record.active().leader_replica()?;
        if !members.contains(&Member::from(leader)) {
            members.clone_from(&self.record.active().members);
        }
        Some(self.planned(ChangeKind::Live, leader.node, members))
    }

    /// Has members go that are not to hold the group any more: if the leader is among them, another one takes over first;
    /// then those come in that are to hold it and are up; then they go.
    fn leave(&self, load: &Load) -> Option<Planned> {
        let active = self.record.active();
        let stays = |member: &Member| self.is_placed(member.node);
        let (staying, leaving): (Vec<Member>, Vec<Member>) = active.members.iter().copied().partition(stays);
        if leaving.is_empty() {
            return None;
        }
        if !self.is_placed(active.leader) {
            return self.take_over(|node| self.is_placed(node), load);
        }
        let is_whole = self.others().is_empty() && staying.len() >= self.write_quorum();
        if is_whole { self.change_live(staying) } else { None }
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

    /// Returns what an operator accepts after the core was restored: all that are well go on with the best that any of them holds,
    /// as each may hold the group by what is lost; who shall not hold it leaves then. Whoever leads it as far as is known leads on, if it can.
    fn salvage(&self) -> Result<Planned, NotLost> {
        let active = self.record.active();
        let mut members = self.well();
        members.extend(self.others());
        let rest = self.state.runs().filter(|run| (self.is_well)(*run)).map(Member::from);
        let rest: Vec<Member> = rest.filter(|member| !members.contains(member)).collect();
        members.extend(rest);
        members.truncate(MEMBERS_MAX);
        let load = Load::of(self.state);
        let rank = |node: &NodeId| {
            let is_unable = self.state.current(*node).is_some_and(self.is_unable);
            (is_unable, *node != active.leader, self.rank(*node, &load))
        };
        let leader = members.iter().map(|member| member.node).min_by_key(rank);
        let (have, need) = (members.len(), self.write_quorum());
        match leader {
            Some(leader) if have >= need => Ok(self.planned(ChangeKind::Salvage, leader, members)),
            Some(_) | None => Err(NotLost::TooFew { group: active.group, have, need }),
        }
    }

    fn planned(&self, kind: ChangeKind, leader: NodeId, mut members: Vec<Member>) -> Planned {
        members.sort_unstable_by_key(|member| member.node);
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
    use crate::control::detector::Heartbeat;
    use crate::control::state::{Activation, Birth, Command};
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
            Self::with_write_quorum(2)
        }

        fn with_write_quorum(write_quorum: usize) -> Self {
            let nodes = (1..=3).map(NodeId).collect();
            let slots = SlotMap::new(3).expect("in range");
            let state = State::new(Birth { slots, nodes, replicas: 3, write_quorum });
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
            heard.iter().for_each(|node| self.hear(*node, Vec::new()));
            self.plan()
        }

        /// Hears a node.
        fn hear(&mut self, node: u16, without_quorum: Vec<GroupId>) {
            let (from, turns, silent, clock_ns) = (self.run(node), Vec::new(), Vec::new(), self.now.0);
            self.detector.expect(from, self.now);
            self.detector.hear(&Heartbeat { from, turns, without_quorum, silent, clock_ns }, self.now);
        }

        /// Carries out what is planned. Returns the plan for group 0.
        fn plan(&mut self) -> Option<Planned> {
            let plan = self.planner.plan(&self.state, &self.detector, self.now);
            let planned = plan.iter().find(|planned| planned.group == G).cloned();
            self.state.apply(&Command::Change(plan));
            planned
        }

        fn place(&mut self, nodes: &[u16]) {
            let nodes = nodes.iter().copied().map(NodeId).collect();
            self.state.apply(&Command::Place { group: G, nodes });
        }

        /// Counts a learner that holds the log.
        fn promote(&mut self, node: u16, heard: &[u16]) {
            let (epoch, learner) = (self.epoch(), self.run(node));
            let leader = self.state.group(G).and_then(|record| record.active().leader_replica()).expect("assigned");
            self.planner.note(leader, G, Ask::Promote { epoch, learner });
            self.pass(1, heard).expect("a change");
            self.activate();
        }

        fn epoch(&self) -> Epoch {
            self.state.group(G).expect("formed").active().epoch
        }

        /// The leader of the pending change has brought the log over.
        fn activate(&mut self) {
            let pending = self.state.group(G).and_then(Record::pending).expect("a change");
            let (epoch, caller) = (pending.config.epoch, pending.config.leader_replica().expect("assigned"));
            self.state.apply(&Command::Activate(vec![Activation { group: G, epoch, caller }]));
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
        assert_eq!(nodes(&planned.members), [1, 2, 3], "whoever leads hears what becomes of its last writes");
        stage.activate();
        let planned = stage.pass(1, &[1, 2, 3]).expect("then it goes");
        assert_eq!((planned.kind, nodes(&planned.members)), (ChangeKind::Live, vec![2, 3]));
        stage.activate();
        assert_eq!(stage.pass(1, &[1, 2, 3]), None);
    }

    #[test]
    fn those_that_hold_the_log_take_over_and_others_come_in_later() {
        let mut stage = Stage::new();
        (4..=6).for_each(|node| stage.start(node));
        stage.pass(1, &[1, 2, 3, 4, 5, 6]);
        stage.place(&[4, 5, 6]);
        stage.pass(150, &[2, 3, 4, 5, 6]);
        let planned = stage.pass(2, &[2, 3, 4, 5, 6]).expect("a takeover");
        assert_eq!((planned.kind, planned.leader), (ChangeKind::Takeover, NodeId(2)));
        assert_eq!(nodes(&planned.members), [2, 3]);
        stage.activate();
        assert_eq!(stage.pass(1, &[2, 3, 4, 5, 6]), None, "too few that are to hold it do");
        stage.promote(4, &[2, 3, 4, 5, 6]);
        stage.promote(5, &[2, 3, 4, 5, 6]);
        let planned = stage.pass(1, &[2, 3, 4, 5, 6]).expect("somebody leads who stays");
        assert_eq!((planned.kind, planned.leader), (ChangeKind::Takeover, NodeId(4)));
        assert_eq!(nodes(&planned.members), [2, 3, 4, 5], "node 6 is still to come");
        stage.activate();
        stage.promote(6, &[2, 3, 4, 5, 6]);
        let planned = stage.pass(1, &[2, 3, 4, 5, 6]).expect("those go that are not to stay");
        assert_eq!((planned.kind, nodes(&planned.members)), (ChangeKind::Live, vec![4, 5, 6]));
    }

    #[test]
    fn leadership_moves_first_and_members_go_when_the_new_ones_hold_the_log() {
        let mut stage = Stage::new();
        (4..=5).for_each(|node| stage.start(node));
        stage.pass(1, &[1, 2, 3, 4, 5]);
        stage.place(&[3, 4, 5]);
        let planned = stage.pass(1, &[1, 2, 3, 4, 5]).expect("a move");
        assert_eq!((planned.leader, nodes(&planned.members)), (NodeId(3), vec![1, 2, 3]));
        stage.activate();
        for node in [4, 5] {
            assert_eq!(stage.pass(1, &[1, 2, 3, 4, 5]), None, "the new ones are not there yet");
            stage.promote(node, &[1, 2, 3, 4, 5]);
        }
        let planned = stage.pass(1, &[1, 2, 3, 4, 5]).expect("a change");
        assert_eq!((planned.kind, nodes(&planned.members)), (ChangeKind::Live, vec![3, 4, 5]));
    }

    #[test]
    fn where_all_must_hold_a_write_a_new_run_is_a_member_at_once() {
        let mut stage = Stage::with_write_quorum(3);
        stage.pass(1, &[1, 2, 3]);
        stage.pass(150, &[2, 3]);
        let planned = stage.pass(2, &[2, 3]).expect("a takeover");
        assert_eq!(nodes(&planned.members), [1, 2, 3], "two are not enough: they stay as they are");
        stage.start(1);
        assert_eq!(stage.pass(1, &[1, 2, 3]), None, "it is in time");
        for _ in 0..4 {
            stage.pass(100, &[1, 2, 3]);
        }
        let change = stage.state.group(G).and_then(Record::pending).expect("another takeover");
        assert_ne!(change.config.leader, NodeId(1), "it has lost the log");
        assert!(change.config.counts(stage.run(1)), "and gets it from whoever takes over");
    }

    #[test]
    fn a_change_is_not_superseded_by_its_like() {
        let mut stage = Stage::new();
        stage.pass(1, &[1, 2, 3]);
        stage.pass(151, &[3]);
        assert_eq!(stage.state.group(G).and_then(Record::pending).map(|change| change.config.leader), Some(NodeId(3)));
        for _ in 0..20 {
            assert_eq!(stage.pass(100, &[3]), None, "nobody else could take over");
        }
    }

    #[test]
    fn each_change_that_was_late_gives_the_next_one_twice_the_time() {
        let mut stage = Stage::new();
        stage.pass(1, &[1, 2, 3]);
        stage.pass(151, &[2, 3]);
        let mut lasted = Vec::new();
        let mut since = 0;
        while lasted.len() < 4 {
            since += 50;
            if stage.pass(50, &[2, 3]).is_some() {
                lasted.push(since);
                since = 0;
            }
        }
        // Seen with the plan after the one that made it.
        assert_eq!(lasted, [400, 700, 1_300, 2_500]);
    }

    #[test]
    fn what_cannot_be_answered_does_not_keep_members_from_leaving() {
        let mut stage = Stage::new();
        stage.pass(1, &[1, 2, 3]);
        stage.place(&[1, 2]);
        let gone = ReplicaId { incarnation: Incarnation(99), ..stage.run(3) };
        stage.planner.note(stage.run(1), G, Ask::Promote { epoch: Epoch(1), learner: gone });
        let planned = stage.pass(1, &[1, 2, 3]).expect("a change");
        assert_eq!((planned.kind, nodes(&planned.members)), (ChangeKind::Live, vec![1, 2]));
    }

    #[test]
    fn a_log_that_nobody_can_take_over_does_not_keep_others_from_it() {
        let mut stage = Stage::new();
        stage.pass(1, &[1, 2, 3]);
        stage.pass(151, &[2, 3]);
        // Node 2 falls silent, and the last it has said is that node 1 has the best log.
        assert_eq!(stage.pass(150, &[3]), None);
        stage.planner.note(stage.run(2), G, Ask::HandOver { epoch: Epoch(2), to: NodeId(1) });
        let planned = stage.pass(1, &[3]).expect("another takeover");
        assert_eq!((planned.kind, planned.leader), (ChangeKind::Takeover, NodeId(3)));
    }

    #[test]
    fn who_says_that_it_cannot_lead_is_chosen_last() {
        let mut stage = Stage::new();
        stage.pass(1, &[1, 2, 3]);
        stage.hear(2, vec![G]);
        assert_eq!(stage.planner.plan(&stage.state, &stage.detector, stage.now), [], "it does not lead");
        stage.hear(1, vec![G]);
        let plan = stage.planner.plan(&stage.state, &stage.detector, stage.now);
        assert_eq!(plan.iter().map(|planned| planned.leader).collect::<Vec<_>>(), [NodeId(3)]);
    }

    #[test]
    fn where_the_only_other_one_does_not_take_over_the_leader_does_again() {
        let mut stage = Stage::new();
        stage.pass(1, &[1, 2, 3]);
        stage.pass(151, &[2, 3]);
        assert_eq!(stage.state.group(G).and_then(Record::pending).map(|change| change.config.leader), Some(NodeId(2)));
        // Node 3 falls silent, and node 1 is heard again: it was deposed meanwhile.
        for _ in 0..10 {
            stage.now = Instant(stage.now.0 + 100 * 1_000_000);
            stage.hear(1, vec![G]);
            stage.hear(2, Vec::new());
            stage.plan();
        }
        let pending = stage.state.group(G).and_then(Record::pending).expect("a takeover");
        assert_eq!((pending.kind, pending.config.leader), (ChangeKind::Takeover, NodeId(1)));
    }

    /// Seed 202974 of the simulator: the copies of all the others are wrong, and they took turns for ever.
    #[test]
    fn a_leader_that_was_deposed_leads_again_where_all_others_say_that_they_cannot() {
        let mut stage = Stage::new();
        stage.pass(1, &[1, 2, 3]);
        stage.pass(151, &[2, 3]);
        let mut tried = Vec::new();
        for _ in 0..20 {
            stage.now = Instant(stage.now.0 + 100 * 1_000_000);
            (1..=3).for_each(|node| stage.hear(node, vec![G]));
            tried.extend(stage.plan().map(|planned| planned.leader));
        }
        assert_eq!(tried[..2], [NodeId(1), NodeId(2)], "nobody is tried again at once");
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
