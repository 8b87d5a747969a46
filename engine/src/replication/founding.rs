//! Whether a leader of a static configuration may begin.
//!
//! Until a consistent core assigns epochs, the leader of epoch 1 is fixed by arithmetic, and a process that restarted
//! without its memory is not told so by anybody. It must find out by itself, or it would serve an empty store while
//! others hold what its earlier run acknowledged. So a leader is *founded* before it does anything: it probes the other
//! members with empty appends, and each accepts one incarnation of the leader only.
//!
//! 1. A member that has no entry of epoch 1 accepts whichever incarnation probed last.
//! 2. A member that has taken an entry is bound to the incarnation it came from, for good.
//! 3. The leader begins when S = N − W + 1 other members have accepted it (all others, where there are fewer).
//! 4. It serves when its first entry is held by so many: by S others, and by W members like any entry.
//!
//! Any W − 1 followers that acknowledged a write of an earlier run meet those S, and the one they share is bound by 2. So
//! a run that follows an acknowledged write is never founded.
//!
//! That a member accepts is no promise, by 1: two processes that were started as the same node can both be accepted by all,
//! one after the other, and each then find some members first with its entry. Rule 4 decides between them. Each would need
//! S others that are bound to it and W − 1 that hold its entry, and any S others meet any W − 1 in a member, which is bound
//! to one of the two. It may be that neither serves; then both say so.
//!
//! With W = 1 nothing but the leader's own memory holds a write; there is no one to ask, and a restart loses it.
//!
//! # Source
//! The takeover rule of the replication protocol, section 1.6, applied to the step from no epoch to epoch 1.

use crate::ids::{Incarnation, NodeId, ReplicaId};

use super::quorum::seal_quorum;

/// What the other members have said to the probes.
#[derive(Debug, Hash, Default)]
pub(crate) struct Founding {
    accepted: Vec<ReplicaId>,
    /// Members that are bound to another run of the leader, and which one.
    refused: Vec<(NodeId, Incarnation)>,
}

/// How far it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// More members must answer.
    Waiting {
        /// Members that accepted, the leader included.
        have: usize,
        /// How many must.
        need: usize,
    },
    /// The leader may begin.
    Founded,
    /// So many members refuse that it never will, unless they restart too.
    Refused {
        /// The run they are bound to.
        earlier: Incarnation,
        /// How many said so.
        witnesses: usize,
    },
}

impl Founding {
    /// Notes that `member` accepts this incarnation of the leader.
    pub(crate) fn record_accepted(&mut self, member: ReplicaId) {
        self.forget(member.node);
        self.accepted.push(member);
    }

    /// Notes that `member` is bound to an earlier run.
    pub(crate) fn record_refused(&mut self, member: NodeId, earlier: Incarnation) {
        self.forget(member);
        self.refused.push((member, earlier));
    }

    /// Forgets what a member said: its connection is lost, and with it perhaps its memory.
    pub(crate) fn forget(&mut self, member: NodeId) {
        self.accepted.retain(|replica| replica.node != member);
        self.refused.retain(|(node, _)| *node != member);
    }

    /// Decides, for a group of `member_count` members (the leader included) with the given write quorum.
    pub(crate) fn verdict(&self, member_count: usize, write_quorum: usize) -> Verdict {
        let (others, need) = (member_count - 1, acceptors_needed(member_count, write_quorum));
        if self.accepted.len() >= need {
            return Verdict::Founded;
        }
        let waiting = Verdict::Waiting { have: self.accepted.len() + 1, need: need + 1 };
        self.refusal(others, need).unwrap_or(waiting)
    }

    /// Decides whether so many of `others` members refuse that `need` of them never follow.
    pub(crate) fn refusal(&self, others: usize, need: usize) -> Option<Verdict> {
        let (_, earlier) = *self.refused.first()?;
        let witnesses = self.refused.len();
        (others - witnesses < need).then_some(Verdict::Refused { earlier, witnesses })
    }
}

/// Returns how many other members must accept a leader before it begins.
fn acceptors_needed(member_count: usize, write_quorum: usize) -> usize {
    seal_quorum(member_count, write_quorum).min(member_count - 1)
}

/// Returns how many members, the leader included, must hold its first entry before it serves.
pub(crate) fn view_quorum(member_count: usize, write_quorum: usize) -> usize {
    write_quorum.max(acceptors_needed(member_count, write_quorum) + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn replica(node: u16) -> ReplicaId {
        ReplicaId { node: NodeId(node), incarnation: Incarnation(1) }
    }

    #[test]
    fn three_members_need_both_others() {
        let mut founding = Founding::default();
        assert_eq!(founding.verdict(3, 2), Verdict::Waiting { have: 1, need: 3 });
        founding.record_accepted(replica(2));
        founding.record_accepted(replica(2));
        assert_eq!(founding.verdict(3, 2), Verdict::Waiting { have: 2, need: 3 });
        founding.record_accepted(replica(3));
        assert_eq!(founding.verdict(3, 2), Verdict::Founded);
    }

    #[test]
    fn one_bound_member_of_three_is_enough_to_refuse() {
        let mut founding = Founding::default();
        founding.record_accepted(replica(2));
        founding.record_refused(NodeId(3), Incarnation(77));
        assert_eq!(founding.verdict(3, 2), Verdict::Refused { earlier: Incarnation(77), witnesses: 1 });
        founding.forget(NodeId(3));
        assert_eq!(founding.verdict(3, 2), Verdict::Waiting { have: 2, need: 3 });
    }

    #[test]
    fn five_members_can_miss_one() {
        let mut founding = Founding::default();
        for node in 2..=4 {
            founding.record_accepted(replica(node));
        }
        assert_eq!(founding.verdict(5, 3), Verdict::Founded);
    }

    #[test]
    fn no_two_runs_find_enough_members_for_their_first_entry() {
        for (member_count, write_quorum) in (2..=15_usize).flat_map(|n| (2..=n).map(move |w| (n, w))) {
            let others = view_quorum(member_count, write_quorum) - 1;
            assert!(2 * others > member_count - 1, "{write_quorum} of {member_count}");
        }
    }

    #[test]
    fn a_single_member_is_founded_at_once() {
        assert_eq!(Founding::default().verdict(1, 1), Verdict::Founded);
    }
}
