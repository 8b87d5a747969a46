//! What the consistent core knows of one group: which configuration is active, and which one shall follow.
//!
//! ```text
//!              takeover, live, loss                  activate(f), f still pending
//!   active e ─────────────────────▶ active e, pending f ──────────────────────▶ active f
//!                                        │   ▲
//!                                        └───┘ superseded by a later change g > f
//! ```
//!
//! A change by itself changes nothing at the replicas: its leader has to bring the log over first, and asks for
//! activation when W of the new members hold it. While a change is pending the active configuration cannot change except
//! by that, so what must be sealed (the *target*) is the active configuration for as long as the change can succeed.
//!
//! After the core was restored from what one of its nodes knows, another configuration than the one that is known may be active:
//! then only a salvage is begun, until one is active.
//!
//! # Invariants
//! R1. An epoch is given to one change only, and epochs only grow. R2. A live change starts from the configuration that is
//! active, and its leader leads that one too. R3. The loss generation grows by one with each loss that becomes active, by
//! [`JUMP`] with a salvage, and by nothing else.
//!
//! # Source
//! The replication protocol, sections 1.1 and 1.8 (Vertical Paxos II, Lamport, Malkhi and Zhou 2009, section 4, with activation).

use serde::{Deserialize, Serialize};

use crate::config::{GroupConfig, MEMBERS_MAX, Member};
use crate::control::state::JUMP;
use crate::ids::{Epoch, GroupId, NodeId, ReplicaId};
use crate::planted::{self, rule};
use crate::slots::SlotRange;

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Record {
    active: GroupConfig,
    pending: Option<Change>,
    /// The epoch of the next change.
    next: Epoch,
    /// Whether another configuration may be active, as the core that would know is lost.
    is_uncertain: bool,
    /// Replicas that shall copy the log without being counted, until their leader asks to count them.
    learners: Vec<ReplicaId>,
    version: u64,
}

/// A configuration that may become active, and what has to be done for it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Change {
    /// What would be active.
    pub config: GroupConfig,
    /// How its leader comes by the log.
    pub kind: ChangeKind,
}

/// How the leader of a change comes by a log that holds everything committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ChangeKind {
    /// It seals members of the active configuration and adopts the best of their logs.
    Takeover,
    /// It leads the active configuration: its own log is the one.
    Live,
    /// Too many members are gone for good. It seals those of the active configuration that are members of this one too, all
    /// of them, and adopts the best of what they hold; what nobody of them holds is lost, as an operator has accepted.
    Loss,
    /// The core was restored, so who holds the group is uncertain. It seals all of its members, which are all that may, and adopts
    /// the best of what they hold; what nobody of them holds is lost, as an operator has accepted.
    Salvage,
}

/// What the core tells the nodes about a group. Of two, the one with the greater version counts.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct News {
    /// Grows with every change of the record.
    pub version: u64,
    /// The configuration that is active.
    pub active: GroupConfig,
    /// The one that may follow.
    pub pending: Option<Change>,
    /// Replicas that copy the log without being counted.
    pub learners: Vec<ReplicaId>,
}

/// What the leader of a group, or who is to become it, asks of the core. It asks again until [`News`] answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Ask {
    /// Enough members hold the log: activate the change to this epoch.
    Activate {
        /// The epoch of the change.
        epoch: Epoch,
    },
    /// A learner has caught up: count it, instead of any other run of its node.
    Promote {
        /// The epoch that is active and led by whoever asks.
        epoch: Epoch,
        /// Which one.
        learner: ReplicaId,
    },
    /// Members have promised a later epoch, so a new one is needed to go on: with the same members.
    Renew {
        /// The epoch that is active and led by whoever asks.
        epoch: Epoch,
    },
    /// The log cannot be fetched from whoever holds the best one: let that one take over.
    HandOver {
        /// The epoch of the change.
        epoch: Epoch,
        /// Who holds it.
        to: NodeId,
    },
}

/// Why a change was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ChangeError {
    /// Another configuration is active by now.
    #[error("epoch {asked} is not active: {active} is")]
    NotActive {
        /// What the change was to start from.
        asked: Epoch,
        /// What is active.
        active: Epoch,
    },
    /// Someone who does not lead the active configuration asks for a live change.
    #[error("{caller:?} does not lead the active configuration")]
    NotLeader {
        /// Who asked.
        caller: ReplicaId,
    },
    /// The core was restored: what is active is uncertain, and only an operator can say what is not lost.
    #[error("the core was restored, and what is active is uncertain: only a loss can be accepted")]
    Uncertain,
    /// The core knows what is active.
    #[error("what is active is certain: there is nothing to salvage")]
    Certain,
    /// The new leader is none of the new members, there are more than [`MEMBERS_MAX`], or the write quorum does not fit their
    /// number.
    #[error("{members} members, a write quorum of {write_quorum} and leader {leader} make no configuration")]
    Invalid {
        /// How many members.
        members: usize,
        /// The write quorum.
        write_quorum: usize,
        /// Who was to lead.
        leader: NodeId,
    },
}

impl Record {
    /// Creates the record of a group whose first configuration is active from the beginning: nothing was written before.
    #[must_use]
    pub fn new(first: GroupConfig) -> Self {
        let next = Epoch(first.epoch.0 + 1);
        Self { active: first, pending: None, next, is_uncertain: false, learners: Vec::new(), version: 1 }
    }

    /// Returns what the nodes are told.
    #[must_use]
    pub fn news(&self) -> News {
        News {
            version: self.version,
            active: self.active.clone(),
            pending: self.pending.clone(),
            learners: self.learners.clone(),
        }
    }

    /// Returns the version of the record: it grows with every change.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.version
    }

    /// Returns the active configuration.
    #[must_use]
    pub fn active(&self) -> &GroupConfig {
        &self.active
    }

    /// Whether another configuration may be active, as the core was restored since.
    #[must_use]
    pub fn is_uncertain(&self) -> bool {
        self.is_uncertain
    }

    /// Returns the change that is under way.
    #[must_use]
    pub fn pending(&self) -> Option<&Change> {
        self.pending.as_ref()
    }

    /// Returns the learners.
    #[must_use]
    pub fn learners(&self) -> &[ReplicaId] {
        &self.learners
    }

    /// Says which replicas shall copy the log.
    pub fn set_learners(&mut self, learners: Vec<ReplicaId>) {
        if self.learners != learners {
            self.learners = learners;
            self.version += 1;
        }
    }

    /// Has `leader` take over with these members. Always allowed: it supersedes any other change.
    ///
    /// # Errors
    /// The numbers make no configuration.
    pub fn take_over(
        &mut self,
        leader: NodeId,
        members: Vec<Member>,
        write_quorum: usize,
    ) -> Result<Epoch, ChangeError> {
        self.begin(ChangeKind::Takeover, leader, members, write_quorum)
    }

    /// Has `leader` go on with what these members hold, though that may not be all. Always allowed: it supersedes any other
    /// change. The members of the active configuration that are not named must be dead, for ever.
    ///
    /// # Errors
    /// The numbers make no configuration.
    pub fn accept_loss(
        &mut self,
        leader: NodeId,
        members: Vec<Member>,
        write_quorum: usize,
    ) -> Result<Epoch, ChangeError> {
        self.begin(ChangeKind::Loss, leader, members, write_quorum)
    }

    /// Has `leader` go on with what these members hold, after the core was restored; it supersedes any other salvage. Nobody else
    /// may go on.
    ///
    /// # Errors
    /// What is active is certain, or the numbers make no configuration.
    pub fn salvage(&mut self, leader: NodeId, members: Vec<Member>, write_quorum: usize) -> Result<Epoch, ChangeError> {
        self.begin(ChangeKind::Salvage, leader, members, write_quorum)
    }

    /// Has the leader of the active epoch `epoch` change members.
    ///
    /// # Errors
    /// Another epoch is active, `caller` does not lead it, or the numbers make no configuration.
    pub fn change_live(
        &mut self,
        epoch: Epoch,
        caller: ReplicaId,
        members: Vec<Member>,
        write_quorum: usize,
    ) -> Result<Epoch, ChangeError> {
        if planted::is(rule::LIVE_FROM_ACTIVE) {
            return self.begin(ChangeKind::Live, caller.node, members, write_quorum);
        }
        if self.active.epoch != epoch {
            return Err(ChangeError::NotActive { asked: epoch, active: self.active.epoch });
        }
        if self.active.leader_replica() != Some(caller) {
            return Err(ChangeError::NotLeader { caller });
        }
        self.begin(ChangeKind::Live, caller.node, members, write_quorum)
    }

    /// Activates the change to `epoch`; returns whether that epoch is active now. If not, a later change has superseded it.
    pub fn activate(&mut self, epoch: Epoch) -> bool {
        if let Some(change) = self.pending.take_if(|change| change.config.epoch == epoch) {
            (self.active, self.is_uncertain) = (change.config, false);
            self.learners.retain(|learner| !self.active.counts(*learner));
            self.version += 1;
        }
        self.active.epoch == epoch
    }

    /// The core is restored: what it may have decided beyond this is lost, but for what it has led to.
    pub(super) fn restore(&mut self) {
        (self.pending, self.is_uncertain) = (None, true);
        self.next = Epoch(self.next.0.saturating_add(JUMP));
        self.version = self.version.saturating_add(JUMP);
    }

    /// Notes that a member was declared dead: the nodes are told what there is to know.
    pub(super) fn note_dead(&mut self) {
        self.version += 1;
    }

    /// Whether the parts of a record that was read fit together: it is that of the group, and R1 and R3 hold.
    pub(super) fn is_sound(&self, group: GroupId, slots: SlotRange) -> bool {
        let is_of_group = |config: &GroupConfig| (config.group, config.slots) == (group, slots);
        let follows = |change: &Change| {
            let epoch = change.config.epoch;
            let is_later = self.active.epoch < epoch && epoch < self.next;
            let is_of_kind =
                self.allows(change.kind).is_ok() && change.config.loss_gen == self.loss_gen_after(change.kind);
            is_of_group(&change.config) && is_later && is_of_kind
        };
        is_of_group(&self.active) && self.active.epoch < self.next && self.pending.as_ref().is_none_or(follows)
    }

    /// Whether a change of this kind can begin now.
    fn allows(&self, kind: ChangeKind) -> Result<(), ChangeError> {
        match (self.is_uncertain, kind) {
            (true, ChangeKind::Salvage) => Ok(()),
            (true, ChangeKind::Takeover | ChangeKind::Live | ChangeKind::Loss) => Err(ChangeError::Uncertain),
            (false, ChangeKind::Salvage) => Err(ChangeError::Certain),
            (false, ChangeKind::Takeover | ChangeKind::Live | ChangeKind::Loss) => Ok(()),
        }
    }

    /// Returns the loss generation once a change of this kind is active.
    fn loss_gen_after(&self, kind: ChangeKind) -> u64 {
        let losses = match kind {
            ChangeKind::Takeover | ChangeKind::Live => 0,
            ChangeKind::Loss => 1,
            ChangeKind::Salvage => JUMP,
        };
        self.active.loss_gen.saturating_add(losses)
    }

    fn begin(
        &mut self,
        kind: ChangeKind,
        leader: NodeId,
        mut members: Vec<Member>,
        write_quorum: usize,
    ) -> Result<Epoch, ChangeError> {
        self.allows(kind)?;
        members.sort_unstable_by_key(|member| member.node);
        let is_led = members.iter().any(|member| member.node == leader);
        let is_unique = members.windows(2).all(|pair| pair[0].node != pair[1].node);
        let is_countable = members.len() <= MEMBERS_MAX && (1..=members.len()).contains(&write_quorum);
        if !is_led || !is_unique || !is_countable {
            return Err(ChangeError::Invalid { members: members.len(), write_quorum, leader });
        }
        let epoch = match &self.pending {
            Some(pending) if planted::is(7) => pending.config.epoch,
            Some(_) | None => self.next,
        };
        assert!(epoch > self.active.epoch, "R1: {epoch} follows {}", self.active.epoch);
        self.next = self.next.max(Epoch(epoch.0 + 1));
        let (GroupConfig { group, slots, .. }, loss_gen) = (&self.active, self.loss_gen_after(kind));
        let (group, slots) = (*group, *slots);
        let config = GroupConfig { group, slots, epoch, loss_gen, leader, members, write_quorum };
        self.pending = Some(Change { config, kind });
        self.version += 1;
        Ok(epoch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::Incarnation;
    use crate::slots::SlotMap;

    fn member(node: u16) -> Member {
        Member { node: NodeId(node), incarnation: Some(Incarnation(1)) }
    }

    fn replica(node: u16) -> ReplicaId {
        ReplicaId { node: NodeId(node), incarnation: Incarnation(1) }
    }

    fn record() -> Record {
        Record::new(GroupConfig {
            group: GroupId(0),
            slots: SlotMap::new(1).expect("in range").slots_of(GroupId(0)),
            epoch: Epoch(1),
            loss_gen: 0,
            leader: NodeId(1),
            members: vec![member(1), member(2), member(3)],
            write_quorum: 2,
        })
    }

    #[test]
    fn a_change_is_active_when_its_leader_says_so_and_nobody_came_between() {
        let mut record = record();
        let members = record.active().members.clone();
        let first = record.take_over(NodeId(2), members.clone(), 2).expect("valid");
        assert_eq!(record.active().epoch, Epoch(1));
        let second = record.take_over(NodeId(3), members, 2).expect("valid");
        assert!(second > first);
        assert!(!record.activate(first), "superseded");
        assert!(record.activate(second));
        assert!(record.activate(second), "said twice");
        assert_eq!((record.active().leader, record.pending()), (NodeId(3), None));
    }

    #[test]
    fn a_live_change_is_for_the_leader_of_the_active_epoch_alone() {
        let mut record = record();
        let members = vec![member(1), member(2), member(4)];
        let error = record.change_live(Epoch(1), replica(2), members.clone(), 2).expect_err("it does not lead");
        assert_eq!(error, ChangeError::NotLeader { caller: replica(2) });
        let later_run = ReplicaId { incarnation: Incarnation(2), ..replica(1) };
        assert!(record.change_live(Epoch(1), later_run, members.clone(), 2).is_err(), "another run of its node");
        let taken = record.take_over(NodeId(2), record.active().members.clone(), 2).expect("valid");
        assert!(record.activate(taken));
        let error = record.change_live(Epoch(1), replica(1), members, 2).expect_err("it was deposed");
        assert_eq!(error, ChangeError::NotActive { asked: Epoch(1), active: taken });
    }

    #[test]
    fn a_loss_counts_once_it_is_active_and_only_then() {
        let mut record = record();
        let members = vec![member(2)];
        let superseded = record.accept_loss(NodeId(2), members.clone(), 1).expect("valid");
        let second = record.accept_loss(NodeId(2), members, 1).expect("valid");
        assert!(!record.activate(superseded));
        assert_eq!((record.active().loss_gen, record.pending().map(|change| change.config.loss_gen)), (0, Some(1)));
        assert!(record.activate(second));
        let later = record.take_over(NodeId(2), vec![member(2)], 1).expect("valid");
        assert!(record.activate(later));
        assert_eq!(record.active().loss_gen, 1);
    }

    #[test]
    fn learners_end_when_they_are_counted() {
        let mut record = record();
        let before = record.news().version;
        record.set_learners(vec![replica(4)]);
        assert!(record.news().version > before);
        let members = vec![member(1), member(2), member(4)];
        let epoch = record.change_live(Epoch(1), replica(1), members, 2).expect("valid");
        assert_eq!(record.learners(), [replica(4)]);
        assert!(record.activate(epoch));
        assert!(record.learners().is_empty());
    }

    #[test]
    fn what_is_no_configuration_is_refused() {
        let mut record = record();
        let error = record.take_over(NodeId(4), vec![member(1), member(2)], 2).expect_err("4 is no member");
        assert_eq!(error.to_string(), "2 members, a write quorum of 2 and leader 4 make no configuration");
        assert!(record.take_over(NodeId(1), vec![member(1), member(1)], 1).is_err());
        assert!(record.take_over(NodeId(1), vec![member(1), member(2)], 3).is_err());
        let crowd = |count| (1..=count).map(member).collect::<Vec<_>>();
        assert!(record.take_over(NodeId(1), crowd(16), 8).is_err(), "more members than replicas can count");
        assert_eq!(record.pending(), None);
        assert!(record.take_over(NodeId(1), crowd(15), 8).is_ok());
    }
}
