//! What a group looks like from outside, for `status`, `INFO` and tests.

use crate::ids::{Epoch, GroupId, Incarnation, LogIndex, NodeId, ReplicaId};
use crate::output::Stuck;
use crate::replication::founding::Verdict;
use crate::replication::progress::Progress;
use crate::slots::SlotRange;

use super::{Group, Role, Shared};

/// One group as this node sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupStatus {
    /// Which group.
    pub group: GroupId,
    /// Its slots.
    pub slots: SlotRange,
    /// Its epoch.
    pub epoch: Epoch,
    /// The node that leads it.
    pub leader: NodeId,
    /// Whether it works.
    pub state: GroupState,
    /// Its members, as the leader sees them; a follower knows no more of the others than who they are.
    pub members: Vec<MemberStatus>,
    /// First index that the log here still has, or would have.
    pub first: LogIndex,
    /// Last index in the log.
    pub last: LogIndex,
    /// Commit index.
    pub commit: LogIndex,
    /// Applied index.
    pub applied: LogIndex,
    /// Digest of the state at `applied`; comparable between nodes at an equal index.
    pub digest: u64,
    /// Keys held.
    pub key_count: usize,
    /// Bytes of keys and values, with overhead.
    pub used_bytes: usize,
    /// Requests that wait.
    pub waiter_count: usize,
}

/// Whether a group works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GroupState {
    /// This node leads it and serves.
    Serving,
    /// This node leads it and has not heard enough members yet.
    Waiting {
        /// Members heard, this one included.
        have: usize,
        /// How many it needs.
        need: usize,
    },
    /// This node would lead it, but restarted without its memory.
    Unavailable {
        /// The run that would have to come back.
        missing: ReplicaId,
        /// How many replicas still follow that run.
        witnesses: usize,
    },
    /// The core has not said yet who holds it.
    Undecided,
    /// This node has been told to lead it, and does not yet: it collects the log, or its epoch is not active.
    TakingOver,
    /// This node follows.
    Following {
        /// The leader it is bound to, once it has heard one.
        leader: Option<ReplicaId>,
    },
    /// This node follows, and is installing a snapshot.
    Installing,
    /// The state of this replica is wrong, or may be: it takes no part in quorums and reads.
    Diverged {
        /// Why nobody repairs it; `None`: it copies that of its leader.
        why: Option<Stuck>,
    },
}

/// One member of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemberStatus {
    /// Which node.
    pub node: NodeId,
    /// Its run that is connected, or else the one that counts.
    pub incarnation: Option<Incarnation>,
    /// What it is to the group.
    pub standing: Standing,
    /// Largest index it is known to hold.
    pub matched: LogIndex,
}

/// What a member is to its group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It leads.
    Leader,
    /// It counts in quorums.
    Voter,
    /// It counts in quorums and is being sent what it missed.
    CatchingUp,
    /// It copies the log and does not count: it came back without its memory.
    Learner,
    /// It cannot be reached.
    Lost,
    /// It has not been heard from yet.
    Unknown,
}

impl Group {
    pub(crate) fn status(&self, shared: &Shared) -> GroupStatus {
        GroupStatus {
            group: self.config.group,
            slots: self.config.slots,
            epoch: self.config.epoch,
            leader: self.config.leader,
            state: self.state(),
            members: self.members(shared),
            first: self.replica.log.base().index.next(),
            last: self.replica.log.last(),
            commit: self.replica.commit,
            applied: self.replica.applied.index,
            digest: self.replica.kv.digest(),
            key_count: self.replica.kv.key_count(),
            used_bytes: self.replica.kv.used_bytes(),
            waiter_count: match &self.role {
                Role::Leader(leader) => leader.waiting.len(),
                Role::Candidate(_) | Role::Follower(_) => self.left.len(),
            },
        }
    }

    fn state(&self) -> GroupState {
        if self.diverged.is_some() || self.stuck().is_some() {
            return GroupState::Diverged { why: self.stuck() };
        }
        let leader = match &self.role {
            Role::Leader(leader) => leader,
            Role::Candidate(_) => return GroupState::TakingOver,
            Role::Follower(_) if self.config.members.is_empty() => return GroupState::Undecided,
            Role::Follower(follower) if follower.installing().is_some() => return GroupState::Installing,
            Role::Follower(follower) => return GroupState::Following { leader: follower.leader() },
        };
        let (have, need) = (leader.reachable(), self.config.write_quorum);
        match leader.verdict(&self.config) {
            Verdict::Founded if !leader.may_read(self.replica.commit) => GroupState::TakingOver,
            Verdict::Founded if have >= need => GroupState::Serving,
            Verdict::Founded => GroupState::Waiting { have, need },
            Verdict::Waiting { have, need } => GroupState::Waiting { have, need },
            Verdict::Refused { earlier, witnesses } => {
                let missing = ReplicaId { node: self.config.leader, incarnation: earlier };
                GroupState::Unavailable { missing, witnesses }
            }
        }
    }

    fn members(&self, shared: &Shared) -> Vec<MemberStatus> {
        let last = self.replica.log.last();
        let me = shared.me;
        let member = |node, incarnation, standing, matched| MemberStatus { node, incarnation, standing, matched };
        match &self.role {
            Role::Leader(leader) => {
                let own = member(me.node, Some(me.incarnation), Standing::Leader, last);
                let peers = leader.peers.iter().map(|peer| {
                    let standing = match &peer.progress {
                        Progress::Lost if peer.voter.is_none() => Standing::Unknown,
                        Progress::Lost => Standing::Lost,
                        _ if peer.is_learner_present() || !peer.is_member => Standing::Learner,
                        Progress::Probe { .. } | Progress::Snapshot(_) => Standing::CatchingUp,
                        Progress::Replicate { .. } => Standing::Voter,
                    };
                    member(peer.node, peer.present.or(peer.voter), standing, peer.matched)
                });
                let mut members: Vec<MemberStatus> = peers.chain([own]).collect();
                members.sort_by_key(|member| member.node);
                members
            }
            // It knows who the others are, and nothing else of them.
            Role::Candidate(_) | Role::Follower(_) => {
                let leader = match &self.role {
                    Role::Follower(follower) => follower.leader().map(|leader| leader.incarnation),
                    Role::Leader(_) | Role::Candidate(_) => None,
                };
                let standing = |node| match node {
                    _ if node == me.node => member(node, Some(me.incarnation), Standing::Unknown, last),
                    _ if node == self.config.leader => member(node, leader, Standing::Leader, self.replica.commit),
                    _ => member(node, None, Standing::Unknown, LogIndex(0)),
                };
                self.config.members.iter().map(|member| standing(member.node)).collect()
            }
        }
    }
}
