//! What the core agrees on, command by command.

use super::*;
use crate::control::operation::{Loss, Refusal};
use crate::control::roster::RosterError;
use crate::slots::SlotMap;

fn birth() -> Birth {
    let nodes = (1..=3).map(NodeId).collect();
    Birth { slots: SlotMap::new(4).expect("in range"), nodes, replicas: 3, write_quorum: 2 }
}

fn register(state: &mut State, node: u16, nonce: u64) -> ReplicaId {
    state.apply(&Command::Register { node: NodeId(node), nonce }).registered.expect("a registration")
}

fn formed() -> State {
    let mut state = State::new(birth());
    for node in 1..=3 {
        register(&mut state, node, 7);
    }
    state
}

#[test]
fn groups_are_formed_when_all_first_nodes_are_there() {
    let mut state = State::new(birth());
    register(&mut state, 1, 7);
    register(&mut state, 3, 7);
    assert_eq!(state.groups().len(), 0);
    let applied = state.apply(&Command::Register { node: NodeId(2), nonce: 7 });
    assert_eq!(applied.changed.len(), 4);
    let leaders: Vec<u16> = state.groups().map(|record| record.active().leader.0).collect();
    assert_eq!(leaders, [1, 2, 3, 1]);
}

#[test]
fn a_repeated_registration_is_the_same_one_and_a_new_start_is_not() {
    let mut state = formed();
    let first = state.current(NodeId(1)).expect("registered");
    assert_eq!(register(&mut state, 1, 7), first);
    let second = register(&mut state, 1, 8);
    assert!(second.incarnation > first.incarnation);
    assert!(!state.is_current(first));
    assert!(state.groups().all(|record| record.learners() == [second]), "C2: it is to copy what it held");
}

#[test]
fn a_change_that_was_decided_on_an_older_version_does_nothing() {
    let mut state = formed();
    let group = GroupId(0);
    let record = state.group(group).expect("formed");
    let planned = Planned {
        group,
        version: record.version(),
        kind: ChangeKind::Takeover,
        leader: NodeId(2),
        members: record.active().members.clone(),
        write_quorum: 2,
    };
    let command = Command::Change(vec![planned]);
    assert_eq!(state.apply(&command).changed, [group]);
    assert_eq!(state.apply(&command).changed, []);
    let caller = state.current(NodeId(2)).expect("registered");
    let stranger = state.current(NodeId(3)).expect("registered");
    state.apply(&Command::Activate(vec![Activation { group, epoch: Epoch(2), caller: stranger }]));
    assert_eq!(state.group(group).expect("formed").active().epoch, Epoch(1), "only its leader may say so");
    state.apply(&Command::Activate(vec![Activation { group, epoch: Epoch(2), caller }]));
    assert_eq!(state.group(group).expect("formed").active().leader, NodeId(2));
}

/// A planned loss of group 0, with these members left and the first of them to lead.
fn loss(state: &State, left: &[u16]) -> Planned {
    let record = state.group(GroupId(0)).expect("formed");
    let members = left.iter().map(|node| Member::from(state.current(NodeId(*node)).expect("registered"))).collect();
    let (version, kind) = (record.version(), ChangeKind::Loss);
    Planned { group: GroupId(0), version, kind, leader: NodeId(left[0]), members, write_quorum: 1 }
}

#[test]
fn whoever_is_given_up_with_a_loss_is_dead_for_every_group() {
    let mut state = formed();
    let runs = [1, 2, 3].map(|node| state.current(NodeId(node)).expect("registered"));
    let losses = vec![loss(&state, &[3])];
    let command = Command::Operate { caller: runs[2], number: 1, decision: Decision::AcceptLoss(losses) };
    let applied = state.apply(&command);
    let Some(Outcome::LossAccepted(accepted)) = &applied.outcome else { panic!("{applied:?}") };
    assert_eq!(accepted[0], Loss { group: GroupId(0), loss_gen: 1, missing: vec![runs[0], runs[1]] });
    assert_eq!(applied.buried.iter().map(|run| run.node.0).collect::<Vec<_>>(), [1, 2]);
    assert_eq!(applied.changed.len(), 4, "each group had them as members");
    assert!(!state.is_current(runs[0]) && state.current(NodeId(1)).is_none());
    assert!(matches!(state.hope(GroupId(1)), Hope::Lost { .. }), "another group has lost as much");
    let back = register(&mut state, 1, 9);
    assert!(back > state.latest(NodeId(2)).map_or(runs[0], |nobody| ReplicaId { node: NodeId(1), ..nobody }));
    assert_eq!(state.apply(&command).outcome, None, "O1: it was done before");
    assert_eq!(state.outcome(runs[2], 1), applied.outcome.as_ref());
}

#[test]
fn a_loss_that_was_decided_on_an_older_version_declares_nobody_dead() {
    let mut state = formed();
    let losses = vec![loss(&state, &[3])];
    let caller = state.current(NodeId(3)).expect("registered");
    let takeover = Planned { kind: ChangeKind::Takeover, ..losses[0].clone() };
    state.apply(&Command::Change(vec![takeover]));
    let decision = Decision::AcceptLoss(losses);
    let applied = state.apply(&Command::Operate { caller, number: 1, decision });
    assert_eq!(applied.outcome, Some(Outcome::Refused(Refusal::Overtaken)));
    assert_eq!((applied.buried, state.runs().count()), (Vec::new(), 3));
}

#[test]
fn an_operation_is_done_once_and_not_for_a_run_that_is_gone() {
    let mut state = formed();
    let caller = state.current(NodeId(2)).expect("registered");
    let set = |number, value: &[u8]| {
        let decision = Decision::Set { key: "k".into(), value: value.to_vec(), version: None };
        Command::Operate { caller, number, decision }
    };
    assert_eq!(state.apply(&set(1, b"a")).outcome, Some(Outcome::Stored { version: 1 }));
    assert_eq!(state.apply(&set(1, b"a")).outcome, None);
    assert_eq!(state.apply(&set(2, b"b")).outcome, Some(Outcome::Stored { version: 2 }));
    assert_eq!(state.apply(&set(1, b"a")).outcome, None, "a late repetition");
    register(&mut state, 2, 8);
    assert_eq!(state.apply(&set(3, b"c")).outcome, None);
    assert_eq!(state.keyspace().get("k").map(|stored| stored.value.as_slice()), Some(b"b".as_slice()));
}

/// Has a node operate, as its number `number`.
fn operate(state: &mut State, number: u64, decision: Decision) -> Applied {
    let caller = state.current(NodeId(1)).expect("registered");
    state.apply(&Command::Operate { caller, number, decision })
}

fn events(state: &State) -> Vec<Event> {
    state.journal().from(1).map(|recorded| recorded.event.clone()).collect()
}

#[test]
fn a_node_that_drains_is_succeeded_by_one_that_has_joined_and_can_be_taken_out() {
    let (three, four) = (NodeId(3), NodeId(4));
    let mut state = formed();
    register(&mut state, 4, 7);
    assert!(events(&state).contains(&Event::NodeJoined { node: four }));
    assert!(state.groups().all(|record| record.learners().is_empty()), "nothing moves for its sake");
    let refused = operate(&mut state, 1, Decision::Remove { node: three }).outcome;
    assert_eq!(refused, Some(Outcome::Refused(RosterError::Holds { node: three, held: 4 }.into())));
    let draining = operate(&mut state, 2, Decision::Drain { node: three, is_wanted: true });
    assert_eq!(draining.outcome, Some(Outcome::Draining(Left { led: 1, held: 4 })));
    assert!((0..4).all(|group| state.nodes_of(GroupId(group)) == [1, 2, 4].map(NodeId)));
    let learner = state.current(four).expect("registered");
    assert!(state.groups().all(|record| record.learners() == [learner]));
    for group in (0..4).map(GroupId) {
        let members = [1, 2, 4].map(|node| Member::from(state.current(NodeId(node)).expect("registered"))).to_vec();
        let (version, kind) = (state.group(group).expect("formed").version(), ChangeKind::Takeover);
        let leader = NodeId(1);
        state.apply(&Command::Change(vec![Planned { group, version, kind, leader, members, write_quorum: 2 }]));
        let epoch = state.group(group).and_then(Record::pending).expect("a change").config.epoch;
        assert!(!events(&state).contains(&Event::Drained { node: three }));
        let caller = state.current(leader).expect("registered");
        state.apply(&Command::Activate(vec![Activation { group, epoch, caller }]));
    }
    assert_eq!(events(&state).last(), Some(&Event::Drained { node: three }));
    let removed = operate(&mut state, 3, Decision::Remove { node: three });
    assert_eq!((removed.outcome, removed.has_roster_changed), (Some(Outcome::Removed { node: three }), true));
    assert_eq!(state.unwelcome(three), Some(Unwelcome::Removed));
    assert_eq!(state.apply(&Command::Register { node: three, nonce: 8 }).registered, None);
    assert_eq!((state.latest(three), state.unwelcome(NodeId(5))), (None, None));
}

#[test]
fn what_is_left_must_hold_a_write_and_a_node_that_starts_anew_is_wanted_again() {
    let mut state = formed();
    let drain = |node, is_wanted| Decision::Drain { node: NodeId(node), is_wanted };
    operate(&mut state, 1, drain(3, true));
    assert_eq!(state.nodes_of(GroupId(0)), [1, 2].map(NodeId), "there is nobody else");
    let (group, have, need) = (GroupId(0), 1, 2);
    let refused = operate(&mut state, 2, drain(2, true)).outcome;
    assert_eq!(refused, Some(Outcome::Refused(RosterError::TooFew { group, have, need }.into())));
    let refused = operate(&mut state, 3, drain(9, true)).outcome;
    assert_eq!(refused, Some(Outcome::Refused(RosterError::NoNode { node: NodeId(9) }.into())));
    register(&mut state, 3, 8);
    assert_eq!(state.nodes_of(GroupId(0)), [1, 2, 3].map(NodeId));
    operate(&mut state, 4, drain(3, true));
    operate(&mut state, 5, drain(3, false));
    assert_eq!(state.nodes_of(GroupId(0)), [1, 2, 3].map(NodeId));
    assert_eq!(state.is_draining(NodeId(3)), Some(false));
}

#[test]
fn a_cluster_has_no_more_nodes_than_it_can_have() {
    let mut state = formed();
    let last = u16::try_from(NODES_MAX).expect("few");
    for node in 4..=last {
        register(&mut state, node, 7);
    }
    assert_eq!(state.unwelcome(NodeId(last + 1)), Some(Unwelcome::Full));
    assert_eq!(state.apply(&Command::Register { node: NodeId(last + 1), nonce: 7 }).registered, None);
    register(&mut state, last, 8);
}

#[test]
fn a_group_is_lost_with_its_leader_and_more_than_others_can_make_up_for() {
    let mut state = formed();
    let group = GroupId(0);
    let followers = [2, 3].map(|node| state.current(NodeId(node)).expect("registered"));
    register(&mut state, 2, 8);
    register(&mut state, 3, 8);
    assert_eq!(state.hope(group), Hope::Some, "its leader lives");
    let leader = state.current(NodeId(1)).expect("registered");
    register(&mut state, 1, 8);
    assert_eq!(state.hope(group), Hope::Lost { missing: vec![leader, followers[0], followers[1]] });
}
