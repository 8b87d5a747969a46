//! The consistent core as a whole: core nodes that agree over a network that loses connections, and go on from their stores.

mod replaced;
mod restored;
mod stage;

use omnipaxos::ballot_leader_election::Ballot;
use omnipaxos::messages::Message;
use omnipaxos::messages::ballot_leader_election::{BLEMessage, HeartbeatMsg, HeartbeatRequest};
use omnipaxos::messages::sequence_paxos::{Compaction, PaxosMessage, PaxosMsg, Prepare};
use quorate_engine::control::core::{CoreInput, CoreOutput, Entry, EraId};
use quorate_engine::control::journal::{Event, Reason};
use quorate_engine::control::state::{Command, Hope, State};
use quorate_engine::ids::{GroupId, NodeId};
use quorate_engine::time::Instant;

use stage::{MS, Stage};

const A: NodeId = NodeId(1);
const B: NodeId = NodeId(2);
const C: NodeId = NodeId(3);
const D: NodeId = NodeId(4);

fn settled(core_count: u16, node_count: u16) -> Stage {
    let mut stage = Stage::start(core_count, node_count, 7);
    stage.run_until("settled", Stage::is_settled);
    // Core nodes that start at one time may elect twice.
    stage.run_for(500);
    assert!(stage.is_settled());
    stage
}

fn state(stage: &Stage, node: NodeId) -> &State {
    stage.core(node).state().expect("there is a cluster")
}

fn registrations(stage: &mut Stage, at: NodeId, nonces: core::ops::Range<u64>) {
    for nonce in nonces {
        stage.tell(at, CoreInput::Register { node: NodeId(99), nonce });
        stage.run_for(3);
    }
}

// ---- registration and groups ----

#[test]
fn groups_are_formed_when_all_first_nodes_have_registered() {
    let mut stage = Stage::dark(3, 4, 1);
    [A, B, C].into_iter().for_each(|node| stage.boot(node));
    stage.run_until("named", |stage| [A, B, C].iter().all(|node| stage.nodes[node].run.is_some()));
    stage.run_for(500);
    assert_eq!(state(&stage, A).groups().len(), 0, "node 4 is still to come");
    stage.boot(D);
    stage.run_until("settled", Stage::is_settled);
    stage.check();
}

#[test]
fn a_repeated_registration_is_the_same_run_and_nothing_is_logged_for_it() {
    let mut stage = settled(3, 3);
    let leader = stage.leader().expect("settled");
    stage.tell(leader, CoreInput::Register { node: NodeId(99), nonce: 5 });
    stage.tell(leader, CoreInput::Register { node: NodeId(99), nonce: 5 });
    stage.run_for(50);
    let (run, length) = (state(&stage, leader).current(NodeId(99)), stage.core(leader).applied());
    stage.tell(leader, CoreInput::Register { node: NodeId(99), nonce: 5 });
    stage.run_for(50);
    assert!(run.is_some());
    assert_eq!((state(&stage, leader).current(NodeId(99)), stage.core(leader).applied()), (run, length));
    assert_eq!(stage.nodes[&leader].store.len(), length, "and nothing waits to be decided");
}

#[test]
fn whoever_does_not_lead_drops_what_nodes_want() {
    let mut stage = settled(3, 3);
    let follower = [A, B, C].into_iter().find(|node| Some(*node) != stage.leader()).expect("two of three");
    let before = stage.nodes[&follower].store.len();
    stage.tell(follower, CoreInput::Register { node: NodeId(99), nonce: 5 });
    stage.run_for(500);
    assert_eq!(stage.nodes[&follower].store.len(), before);
}

// ---- silence ----

#[test]
fn in_steady_state_nothing_is_logged() {
    for core_count in [1, 3, 5] {
        let mut stage = settled(core_count, 5);
        let leader = stage.leader().expect("settled");
        let before: Vec<(usize, u64)> =
            stage.nodes.values().map(|node| (node.store.len(), node.store.writes())).collect();
        stage.run_for(30_000);
        let after: Vec<(usize, u64)> =
            stage.nodes.values().map(|node| (node.store.len(), node.store.writes())).collect();
        assert_eq!(before, after, "{core_count} core nodes");
        assert_eq!(stage.leader(), Some(leader));
    }
}

#[test]
fn in_steady_state_core_nodes_wake_once_a_round_and_all_at_one_time() {
    const MS: u64 = 1_000_000;
    for core_count in [3, 5] {
        let mut stage = settled(core_count, 5);
        stage.run_for(1_000);
        stage.nodes.values_mut().for_each(|node| node.alarms.clear());
        stage.run_for(4_000);
        let first = stage.nodes[&A].alarms.clone();
        for (id, node) in stage.nodes.iter().take(usize::from(core_count)) {
            assert!((95..=101).contains(&node.alarms.len()), "node {id}: {} rounds in 4 s", node.alarms.len());
            let alone = node.alarms.iter().filter(|at| first.iter().all(|other| at.abs_diff(*other) > 10 * MS)).count();
            assert!(alone <= 1, "node {id}: {alone} rounds end alone");
        }
    }
}

#[test]
fn another_node_takes_over_what_a_silent_one_has_led() {
    let mut stage = settled(3, 4);
    assert_eq!(state(&stage, A).group(GroupId(3)).expect("formed").active().leader, D);
    stage.place(D).is_mute = true;
    stage.run_until("taken over", |stage| {
        state(stage, A).group(GroupId(3)).is_some_and(|record| record.active().leader != D)
    });
    stage.run_for(500);
    assert!(state(&stage, A).groups().all(|record| record.active().leader != D && record.pending().is_none()));
    stage.check();
}

/// SMR-8: what happened is told in the order of cause and effect, without gaps, the same at every core node.
#[test]
fn what_happens_is_recorded_in_the_order_of_cause_and_effect() {
    let mut stage = settled(3, 3);
    let [first, others @ ..] = [A, B, C].map(|node| state(&stage, node).journal().clone());
    assert!(others.iter().all(|other| *other == first));
    let gone = stage.nodes[&C].run.expect("registered");
    stage.crash(C);
    stage.run_until("taken over", |stage| {
        let record = state(stage, A).group(GroupId(2)).expect("formed");
        record.active().leader != C && record.pending().is_none()
    });
    stage.boot(C);
    stage.run_until("settled", Stage::is_settled);
    let run = stage.nodes[&C].run.expect("registered");
    let journal = state(&stage, A).journal();
    let since: Vec<&Event> = journal.from(first.next()).map(|recorded| &recorded.event).collect();
    let at = |what: &dyn Fn(&Event) -> bool| {
        since.iter().position(|event| what(event)).unwrap_or_else(|| panic!("it is not told: {since:#?}"))
    };
    let group = GroupId(2);
    let order = [
        at(&|event| *event == Event::NodeDown { run: gone }),
        at(
            &|event| matches!(event, Event::TakeoverBegan { group: told, from, reason: Reason::LeaderDown, .. } if (*told, *from) == (group, gone)),
        ),
        at(&|event| matches!(event, Event::LeaderChanged { group: told, .. } if *told == group)),
        at(&|event| *event == Event::MemberLeft { group, replica: gone }),
        at(&|event| *event == Event::NodeUp { run }),
        at(&|event| *event == Event::ResyncStarted { group, replica: run }),
        at(&|event| *event == Event::ResyncDone { group, replica: run }),
    ];
    assert!(order.is_sorted(), "{order:?} of {since:#?}");
    assert!(journal.from(1).map(|recorded| recorded.index).eq(1..journal.next()));
}

#[test]
fn groups_of_the_node_that_led_the_core_are_taken_over_by_its_successor() {
    let mut stage = settled(3, 3);
    let leader = stage.leader().expect("settled");
    let others: Vec<NodeId> = [A, B, C].into_iter().filter(|node| *node != leader).collect();
    let begin = stage.now;
    stage.crash(leader);
    stage.run_until("taken over", |stage| {
        let all_led = |state: &State| state.groups().all(|record| record.active().leader != leader);
        others.iter().all(|node| all_led(state(stage, *node)))
    });
    let took_ms = (stage.now - begin) / MS;
    assert!(took_ms < 500, "{took_ms} ms, though all core nodes heard the heartbeats");
    stage.boot(leader);
    stage.run_until("settled", Stage::is_settled);
    stage.check();
}

// ---- leaders of the core ----

#[test]
fn a_leader_that_is_cut_off_decides_nothing_and_another_one_goes_on() {
    let mut stage = settled(3, 4);
    let leader = stage.leader().expect("settled");
    let others: Vec<NodeId> = [A, B, C].into_iter().filter(|node| *node != leader).collect();
    stage.isolate(leader);
    stage.tell(leader, CoreInput::Register { node: NodeId(98), nonce: 1 });
    stage.run_until("another one leads", |stage| stage.leader_among(&others).is_some());
    let successor = stage.leader_among(&others).expect("as waited for");
    stage.tell(successor, CoreInput::Register { node: NodeId(99), nonce: 1 });
    stage.run_for(200);
    assert!(state(&stage, successor).current(NodeId(99)).is_some());
    assert_eq!(state(&stage, leader).current(NodeId(98)), None, "nobody else has heard of it");
    stage.heal();
    stage.run_until("settled", Stage::is_settled);
    assert_eq!(state(&stage, leader).current(NodeId(98)), None);
    assert!(state(&stage, leader).current(NodeId(99)).is_some());
    stage.check();
}

/// It has heard nobody for a while, but that is no reason to depose anybody.
#[test]
fn who_was_cut_off_and_leads_afterwards_deposes_nobody() {
    let mut stage = settled(3, 3);
    let before: Vec<u64> = state(&stage, A).groups().map(|record| record.active().epoch.0).collect();
    for _ in 0..20 {
        // All three core nodes, but not their processes' groups: the links heal before anybody is suspected by two.
        for (one, other) in [(A, B), (B, C), (A, C)] {
            stage.cut(one, other);
        }
        stage.run_for(120);
        stage.heal();
        stage.run_for(600);
    }
    let after: Vec<u64> = state(&stage, A).groups().map(|record| record.active().epoch.0).collect();
    assert_eq!(before, after);
}

#[test]
fn one_core_node_is_enough_for_itself_and_goes_on_from_its_store() {
    let mut stage = settled(1, 3);
    let before = state(&stage, A).clone();
    stage.crash(A);
    stage.run_for(1_000);
    stage.boot(A);
    assert_eq!(*state(&stage, A), before, "at once");
    stage.run_until("settled", Stage::is_settled);
    stage.check();
}

// ---- the log ----

#[test]
fn a_long_log_is_replaced_by_an_image_and_who_is_far_behind_gets_that() {
    let mut stage = settled(3, 3);
    let leader = stage.leader().expect("settled");
    let far = [A, B, C].into_iter().find(|node| *node != leader).expect("two of three");
    stage.isolate(far);
    registrations(&mut stage, leader, 0..1_500);
    let length = stage.core(leader).applied();
    assert!(length > 1_500, "{length}");
    assert!(stage.core(far).applied() < 100);
    stage.heal();
    stage.run_until("settled", Stage::is_settled);
    // All of them start again from what they have on disk.
    [A, B, C].into_iter().for_each(|node| stage.crash(node));
    [A, B, C].into_iter().for_each(|node| stage.boot(node));
    stage.run_until("settled", Stage::is_settled);
    assert!(stage.core(far).applied() >= length);
    stage.check();
}

#[test]
fn one_core_node_alone_compacts_its_log_too() {
    let mut stage = settled(1, 3);
    registrations(&mut stage, A, 0..2_500);
    let (length, before) = (stage.core(A).applied(), state(&stage, A).clone());
    assert!(length > 2_500);
    stage.crash(A);
    stage.boot(A);
    assert_eq!((stage.core(A).applied(), state(&stage, A)), (length, &before));
}

// ---- strangers ----

#[test]
fn what_strangers_say_is_dropped() {
    for core_count in [1, 3] {
        let mut stage = settled(core_count, 5);
        let heartbeat = |from, to| {
            let msg = HeartbeatMsg::Request(HeartbeatRequest { round: 1 });
            Message::BLE(BLEMessage { from, to, msg })
        };
        let ballot = Ballot::with(1, 1_000, 0, 70_000);
        let prepare = Prepare { n: ballot, decided_idx: 0, n_accepted: ballot, accepted_idx: 0 };
        let paxos = |from, msg| Message::SequencePaxos(PaxosMessage { from, to: 1, msg });
        let entry = Entry::Command { at_ms: 0, command: Command::Register { node: D, nonce: 1 } };
        for (from, message) in [
            (NodeId(9), heartbeat(9, 1)),
            (NodeId(0), heartbeat(0, 1)),
            (D, paxos(4, PaxosMsg::Prepare(prepare))),
            (B, paxos(70_000, PaxosMsg::Prepare(prepare))),
            (B, heartbeat(3, 1)),
            (B, heartbeat(2, 3)),
            (A, heartbeat(1, 1)),
            (B, paxos(2, PaxosMsg::ProposalForward(vec![entry.clone()]))),
            (B, paxos(2, PaxosMsg::Compaction(Compaction::Trim(1)))),
        ] {
            let now = Instant(stage.now);
            let core = stage.place(A).core.as_mut().expect("a core node");
            core.handle(now, CoreInput::Message { from, era: FIRST_ERA, message: Box::new(message.clone()) });
            core.handle(now, CoreInput::Connected(NodeId(9)));
            assert_eq!(core.drain_outputs().count(), 0, "{message:?}");
        }
        stage.run_for(200);
        assert!(stage.is_settled());
    }
}

/// A number inside a message may be that of no node at all.
#[test]
fn an_answer_to_nobody_is_not_sent() {
    let mut stage = settled(3, 3);
    let low = Ballot::with(1, 0, 0, 70_000);
    let decide = omnipaxos::messages::sequence_paxos::Decide { n: low, seq_num: Default::default(), decided_idx: 0 };
    let message = Message::SequencePaxos(PaxosMessage { from: 2, to: 1, msg: PaxosMsg::Decide(decide) });
    let now = Instant(stage.now);
    let core = stage.place(A).core.as_mut().expect("a core node");
    core.handle(now, CoreInput::Message { from: B, era: FIRST_ERA, message: Box::new(message) });
    let sends = core.drain_outputs().filter(|output| matches!(output, CoreOutput::Send { .. }));
    assert_eq!(sends.count(), 0);
}

// ---- chaos ----

/// Crashes, cuts and pauses for two seconds; then everything is well again, and stays so.
#[test]
fn core_nodes_agree_whatever_fails_and_forget_nothing_they_have_told() {
    let (mut takeovers, mut lost, mut operations) = (0, 0, 0);
    for seed in 0..SEEDS {
        let (core_count, node_count) = [(3, 3), (3, 5), (5, 5), (1, 3)][usize::try_from(seed % 4).expect("below 4")];
        let mut stage = Stage::start(core_count, node_count, seed);
        stage.is_operating = stage.random.below(2) == 0;
        let nodes: Vec<NodeId> = (1..=node_count).map(NodeId).collect();
        if stage.random.below(2) == 0 {
            stage.run_until("settled", Stage::is_settled);
        }
        for _ in 0..60 {
            fail_somewhere(&mut stage, &nodes);
            let pause = 1 + stage.random.below(100);
            stage.run_for(pause);
        }
        stage.heal();
        stage.run_for(1_000);
        stage.is_operating = false;
        let is_quiet = |stage: &Stage| stage.is_settled() && stage.nodes.values().all(|node| node.wish.is_none());
        stage.run_until(&format!("settled with seed {seed}"), is_quiet);
        operations += stage.operation_count;
        stage.check();
        let state = state(&stage, A);
        lost += state.groups().filter(|record| state.hope(record.active().group) != Hope::Some).count();
        takeovers += state.groups().filter(|record| record.active().epoch.0 > 1).count();
        let before = stage.core(A).applied();
        stage.run_for(2_000);
        assert_eq!(stage.core(A).applied(), before, "seed {seed}");
    }
    assert!(takeovers > 800 && lost < 100, "{takeovers} groups have changed, {lost} are lost");
    assert!(operations > 10_000, "{operations} operations have ended");
}

fn fail_somewhere(stage: &mut Stage, nodes: &[NodeId]) {
    let (node, other) = (stage.random.choice(nodes), stage.random.choice(nodes));
    let is_up = |stage: &Stage, node: NodeId| stage.nodes[&node].core.is_some() || stage.nodes[&node].run.is_some();
    match stage.random.below(40) {
        0 if is_up(stage, node) => stage.crash(node),
        0..=3 if !is_up(stage, node) => stage.boot(node),
        1 => {
            stage.crash(node);
            stage.boot(node);
        }
        4..=11 if node != other => stage.cut(node, other),
        12..=19 if node != other => stage.connect(node, other),
        20..=23 => stage.isolate(node),
        24..=27 => stage.heal(),
        _ => {
            let pause_ms = stage.random.below(400);
            let until = stage.now + pause_ms * MS;
            let place = stage.place(node);
            // What has waited longer still comes first.
            place.paused_until = place.paused_until.max(until);
        }
    }
}

const SEEDS: u64 = 300;
const FIRST_ERA: EraId = EraId { number: 1, restored_from: 0 };
