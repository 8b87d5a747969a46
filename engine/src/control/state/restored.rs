//! What the core goes on with after most of its nodes have lost their stores, and one that is left is believed.
//!
//! What that one knows is what was decided up to some point. What the others have decided behind it is known to nobody, but its
//! consequences are about: names that processes bear, epochs that replicas have promised, versions that users have read, losses
//! that were accepted. So nothing is ever given out twice, and nothing is taken for certain:
//!
//! * Every number that the core gives out (names, epochs, versions, indexes of events, loss generations) goes on [`JUMP`] ahead.
//! * A run whose name is greater than the one that is known of its node, and smaller than where names go on, was registered by
//!   the core that is lost. It may have been counted anywhere, so it counts for nothing: it hears so, and ends. A run that is
//!   known goes on, with its memory.
//! * Who holds a group is uncertain: another configuration than the one that is known may be active. Whoever leads it goes on,
//!   as long as it needs nothing of the core; the core neither changes the group nor tells anybody of it, until an operator
//!   accepts that something may be lost. Then every run that is known and well promises the new epoch, whether it is to hold the group
//!   or not, the best of what any of them holds is adopted, and those that hold the group or shall hold it and are not well count
//!   for dead: [`ChangeKind::Salvage`].
//!
//! # Limits
//! Where a node is to hold a group only by what is lost, and is not well when the loss is accepted, or is one of more than
//! [`MEMBERS_MAX`] that are, it does not count for dead: it finds when it hears of the core that another one leads. A node that was
//! taken out only by what is lost can register again.
//!
//! [`MEMBERS_MAX`]: crate::config::MEMBERS_MAX
//! [`ChangeKind::Salvage`]: crate::control::record::ChangeKind::Salvage

use super::{Group, Holder, State};
use crate::control::journal::Event;
use crate::ids::{Incarnation, NodeId, ReplicaId};

/// How far ahead everything goes on: more than a core can decide that decides something each millisecond for thirty years. People
/// can still see what a number was counted from, and a thousand restorations stay below 2^53.
pub const JUMP: u64 = 1_000_000_000_000;

impl State {
    /// Returns what a core goes on with whose other nodes have lost what they had decided. `by`: the node that is left.
    #[must_use]
    pub fn restored(&self, at_ms: u64, by: NodeId) -> Self {
        let mut state = self.carried_over();
        state.horizon = Incarnation(state.last_incarnation.0.saturating_add(JUMP));
        state.last_incarnation = state.horizon;
        for known in state.nodes.values_mut() {
            // The last registrations may have been decided otherwise: whoever repeats one has no name yet, and gets another.
            if let Holder::Process(_) = known.holder {
                known.holder = Holder::Someone;
            }
        }
        state.groups.iter_mut().for_each(|Group { record, .. }| record.restore());
        state.keyspace.jump();
        state.roster.jump();
        state.journal.jump();
        state.journal.record(at_ms, Event::CoreRestored { by });
        state
    }

    /// Returns whether a run was registered by a core that was lost, so that nothing is known of it: then the name that counts
    /// instead of its own. Nobody bears that.
    #[must_use]
    pub fn stranger(&self, run: ReplicaId) -> Option<ReplicaId> {
        let known = self.nodes.get(&run.node).map_or(Incarnation(0), |known| known.incarnation);
        let is_stranger = known < run.incarnation && run.incarnation < self.horizon;
        is_stranger.then_some(ReplicaId { incarnation: self.horizon, ..run })
    }

    /// Whether there is anything to go on with: groups that somebody may hold.
    #[must_use]
    pub fn is_formed(&self) -> bool {
        !self.groups.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use core::time::Duration;

    use super::*;
    use crate::config::Member;
    use crate::control::detector::Detector;
    use crate::control::operation::{Decision, Outcome};
    use crate::control::planner::Planner;
    use crate::control::record::{ChangeError, ChangeKind};
    use crate::control::state::{Activation, Birth, Command, Hope, Planned};
    use crate::ids::{Epoch, GroupId};
    use crate::slots::SlotMap;
    use crate::time::Instant;

    const G: GroupId = GroupId(0);

    fn register(state: &mut State, node: u16, nonce: u64) -> ReplicaId {
        state.apply(&Command::Register { node: NodeId(node), nonce }).registered.expect("a registration")
    }

    /// Four nodes, of which the first three hold the one group there is.
    fn formed() -> State {
        let nodes = (1..=4).map(NodeId).collect();
        let slots = SlotMap::new(1).expect("in range");
        let mut state = State::new(Birth { slots, nodes, replicas: 3, write_quorum: 2 });
        for node in 1..=4 {
            register(&mut state, node, 7);
        }
        state
    }

    fn run(state: &State, node: u16) -> ReplicaId {
        state.current(NodeId(node)).expect("registered")
    }

    fn set(state: &mut State, caller: ReplicaId, number: u64) -> Option<Outcome> {
        let decision = Decision::Set { key: "k".into(), value: vec![1], version: None };
        state.apply(&Command::Operate { caller, number, decision }).outcome
    }

    /// What an operator accepts while these nodes are well.
    fn accepted(state: &State, well: &[u16]) -> Planned {
        let mut detector = Detector::new(Duration::from_millis(150), Vec::new());
        well.iter().for_each(|node| detector.expect(run(state, *node), Instant(0)));
        Planner::accept_loss(state, &detector, G, Instant(0)).expect("enough are well")
    }

    #[test]
    fn what_the_lost_core_gave_out_is_not_given_again() {
        let mut lost = formed();
        let known = lost.clone();
        // Unknown to the one that is left: a key, a new run, and what that was told of its group.
        let caller = run(&lost, 1);
        let Some(Outcome::Stored { version }) = set(&mut lost, caller, 1) else { panic!("it is stored") };
        let stranger = register(&mut lost, 2, 8);
        let news = lost.news(G).expect("formed");

        let mut state = known.restored(9, NodeId(1));
        let Some(Outcome::Stored { version: later }) = set(&mut state, caller, 1) else { panic!("it is stored") };
        assert!(later > version);
        assert!(state.journal().first() > lost.journal().next());
        let recorded = state.journal().from(0).next().map(|recorded| (recorded.at_ms, recorded.event.clone()));
        assert_eq!(recorded, Some((9, Event::CoreRestored { by: NodeId(1) })));

        let told = state.stranger(stranger).expect("nobody knows it");
        assert!(told.node == stranger.node && told.incarnation > stranger.incarnation);
        assert_eq!(state.stranger(caller), None, "it goes on, with its memory");
        let next = register(&mut state, 2, 9);
        assert!(next.incarnation > told.incarnation);
        assert_eq!(state.stranger(next), None);

        let operation = Decision::AcceptLoss(vec![accepted(&state, &[1, 2, 3])]);
        state.apply(&Command::Operate { caller, number: 2, decision: operation });
        let restored = state.news(G).expect("somebody is to lead it");
        assert!(restored.version > news.version);
        let pending = restored.pending.expect("a salvage");
        assert!(pending.config.epoch.0 > JUMP && pending.config.loss_gen == JUMP, "{pending:?}");
    }

    #[test]
    fn a_registration_that_may_have_been_decided_otherwise_is_not_repeated() {
        let known = formed();
        let before = run(&known, 2);
        let mut state = known.restored(0, NodeId(1));
        assert!(state.is_current(before));
        assert_eq!(state.registered(NodeId(2), 7), None);
        assert!(register(&mut state, 2, 7) > before);
    }

    #[test]
    fn nothing_is_done_about_a_group_before_an_operator_says_so() {
        let mut state = formed().restored(0, NodeId(1));
        let record = state.group(G).expect("formed").clone();
        assert!(matches!(state.hope(G), Hope::Lost { missing } if missing.len() == 3));
        assert_eq!(state.news(G), None, "whoever knows something goes on with that");
        let detector = Detector::new(Duration::from_millis(150), Vec::new());
        assert_eq!(Planner::new(Duration::from_secs(1)).plan(&state, &detector, Instant(0)), []);
        let members: Vec<Member> = record.active().members.clone();
        let mut other = record.clone();
        assert_eq!(other.take_over(NodeId(2), members.clone(), 2), Err(ChangeError::Uncertain));
        let leader = run(&state, 1);
        assert_eq!(other.change_live(Epoch(1), leader, members.clone(), 2), Err(ChangeError::Uncertain));
        assert_eq!(other.accept_loss(NodeId(2), members, 2), Err(ChangeError::Uncertain));
        let applied = state.apply(&Command::Activate(vec![Activation { group: G, epoch: Epoch(2), caller: leader }]));
        assert_eq!(applied.changed, []);
    }

    #[test]
    fn all_that_may_hold_a_group_and_are_well_go_on_and_the_others_count_for_dead() {
        let mut known = formed();
        // Node 4 is to hold it in the place of node 3, which is a member still.
        known.apply(&Command::Place { group: G, nodes: [1, 2, 4].map(NodeId).to_vec() });
        let mut state = known.restored(0, NodeId(1));
        let planned = accepted(&state, &[2, 3]);
        assert_eq!((planned.kind, planned.members.len(), planned.leader), (ChangeKind::Salvage, 2, NodeId(2)));
        let (caller, [one, four]) = (run(&state, 2), [1, 4].map(|node| run(&state, node)));
        let decision = Decision::AcceptLoss(vec![planned]);
        let outcome = state.apply(&Command::Operate { caller, number: 1, decision }).outcome;
        let Some(Outcome::LossAccepted(losses)) = outcome else { panic!("{outcome:?}") };
        assert_eq!(losses[0].missing, [one, four]);
        assert!(!state.is_current(one) && !state.is_current(four));
        let epoch = state.group(G).and_then(|record| record.pending()).expect("a salvage").config.epoch;
        state.apply(&Command::Activate(vec![Activation { group: G, epoch, caller }]));
        let record = state.group(G).expect("formed");
        assert!(!record.is_uncertain() && record.active().epoch == epoch);
        assert_eq!(state.hope(G), Hope::Some);
    }

    #[test]
    fn what_is_read_again_is_the_same() {
        let state = formed().restored(3, NodeId(1));
        let text = serde_json::to_string(&state).expect("plain data");
        assert_eq!(serde_json::from_str::<State>(&text).expect("as written"), state);
        let later = text.replacen(r#""horizon":"#, r#""horizon":9"#, 1);
        assert!(serde_json::from_str::<State>(&later).is_err(), "names go on behind the horizon");
    }
}
