//! Most core nodes have lost their stores, and the core is restored from what one of them knows.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use quorate_engine::control::core::{Core, CoreInput, NotRestored};
use quorate_engine::control::operation::{Operation, Scope};
use quorate_engine::control::state::{Hope, JUMP};
use quorate_engine::ids::{Incarnation, NodeId};

use super::replaced::{decides, quietly, replace};
use super::stage::{Rules, Stage};
use super::{A, B, C, D, fail_somewhere, settled, state};

const E: NodeId = NodeId(5);

/// An operator accepts, at one node, what is lost of all groups.
fn accept_loss_at(stage: &mut Stage, at: NodeId) {
    if let Some(from) = stage.nodes[&at].run {
        let number = stage.now;
        stage.tell(at, CoreInput::Operate { from, number, operation: Operation::AcceptLoss(Scope::All) });
    }
}

/// Whether all groups are led, as far as a core node knows.
fn is_whole(stage: &Stage, node: NodeId) -> bool {
    let Some(state) = stage.nodes[&node].core.as_ref().and_then(Core::state) else { return false };
    state.groups().all(|record| record.pending().is_none() && state.hope(record.active().group) == Hope::Some)
}

/// These nodes fail with their stores, and start again over blank ones.
fn lose(stage: &mut Stage, nodes: &[NodeId]) {
    nodes.iter().for_each(|node| stage.wipe(*node));
    stage.run_for(200);
    nodes.iter().for_each(|node| stage.boot(*node));
    stage.run_for(500);
}

fn restore(stage: &mut Stage, node: NodeId) {
    stage.crash(node);
    stage.boot_to_restore(node);
}

/// A cluster of five nodes with A, B and C as the core, of which B and C have lost their stores and run again.
fn with_b_and_c_lost() -> Stage {
    let mut stage = settled(3, 5);
    lose(&mut stage, &[B, C]);
    assert!(!decides(&mut stage, 1));
    stage
}

#[test]
fn a_core_is_restored_from_the_node_that_has_its_store_and_goes_on() {
    let mut stage = with_b_and_c_lost();
    restore(&mut stage, A);
    stage.run_until("restored", |stage| stage.cores().count() == 3 && stage.leader().is_some());
    stage.run_until("registered", |stage| stage.nodes.values().all(|node| node.run.is_some()));
    assert!(decides(&mut stage, 2));
    assert_eq!(stage.latest_era().restored_from, [1]);
    // Those that ran all the time have their names, and the others new ones, far ahead.
    let name = |node: NodeId| stage.nodes[&node].run.map(|run| run.incarnation);
    assert!([D, E].iter().all(|node| name(*node) < Some(Incarnation(JUMP))));
    assert!([A, B, C].iter().all(|node| name(*node) > Some(Incarnation(JUMP))));
    assert!(state(&stage, B).groups().all(|record| record.is_uncertain() && record.pending().is_none()));
    let leader = stage.leader().expect("it is led");
    accept_loss_at(&mut stage, leader);
    stage.run_until("whole", |stage| is_whole(stage, A) && stage.is_settled());
    assert!(state(&stage, A).groups().all(|record| record.active().loss_gen == JUMP));
    // It is a core like any other: one may fail, or lose its store.
    lose(&mut stage, &[A]);
    replace(&mut stage, A);
    stage.run_until("taken back", |stage| stage.is_settled() && stage.cores().count() == 3);
    stage.check();
}

#[test]
fn nothing_is_restored_while_a_majority_is_there() {
    let mut stage = settled(3, 3);
    lose(&mut stage, &[C]);
    restore(&mut stage, A);
    stage.run_until("refused", |stage| stage.nodes[&A].not_restored.is_some());
    assert_eq!(stage.nodes[&A].not_restored, Some(NotRestored::Present));
    stage.boot(A);
    replace(&mut stage, C);
    stage.run_until("settled", Stage::is_settled);
    assert_eq!(stage.latest_era().restored_from, [0; 0]);
    stage.check();
}

#[test]
fn all_core_nodes_have_to_be_there() {
    let mut stage = with_b_and_c_lost();
    stage.crash(C);
    restore(&mut stage, A);
    stage.run_for(3_000);
    assert_eq!((stage.cores().count(), stage.nodes[&A].not_restored.clone()), (0, None));
    stage.boot(C);
    stage.run_until("restored", |stage| stage.cores().count() == 3 && stage.leader().is_some());
    stage.check();
}

#[test]
fn a_lost_store_that_comes_back_is_told_so() {
    let mut stage = with_b_and_c_lost();
    restore(&mut stage, A);
    stage.run_until("restored", |stage| stage.cores().count() == 3 && stage.is_settled());
    // Both at once: they are a majority of an era that is over.
    for node in [B, C] {
        stage.bring_back(node, 0);
        stage.boot(node);
    }
    stage.run_for(1_000);
    assert_eq!(stage.cores().count(), 1, "they have ended");
    for node in [B, C] {
        stage.bring_back(node, 0);
        stage.boot(node);
    }
    stage.run_until("settled", |stage| stage.cores().count() == 3 && stage.is_settled());
    stage.check();
}

/// Of five, two are left, and both are told to restore.
#[test]
fn two_that_restore_at_one_time_give_up_and_one_after_another_does_not_make_a_second_core() {
    let mut stage = settled(5, 5);
    lose(&mut stage, &[C, D, E]);
    for node in [A, B] {
        restore(&mut stage, node);
    }
    stage.run_until("given up", |stage| [A, B].iter().any(|node| stage.nodes[node].not_restored.is_some()));
    stage.run_for(200);
    let begun: Vec<NodeId> = [A, B].into_iter().filter(|node| stage.nodes[node].not_restored.is_none()).collect();
    assert!(begun.len() < 2 && stage.cores().count() == 0, "whoever goes on misses the other one");
    for node in [A, B] {
        if !begun.contains(&node) {
            stage.boot(node);
        }
    }
    // Blank stores may have heard either of them first: they wait for that one.
    let pledged = |stage: &Stage, node: NodeId| stage.nodes[&node].store.pledge().map(|pledge| pledge.to);
    let first = if pledged(&stage, C) == Some(2) { B } else { A };
    restore(&mut stage, first);
    stage.run_for(1_000);
    if let Some(why) = stage.nodes[&first].not_restored.clone() {
        // They heard different ones: those that wait for the other one start anew.
        assert!(matches!(why, NotRestored::PledgedElsewhere { .. }), "{why}");
        for node in [C, D, E] {
            if pledged(&stage, node) != Some(u64::from(first.0)) {
                lose(&mut stage, &[node]);
            }
        }
        restore(&mut stage, first);
    }
    stage.run_until("restored", |stage| stage.cores().count() == 5 && stage.leader().is_some());
    let second = if first == A { B } else { A };
    restore(&mut stage, second);
    stage.run_until("refused", |stage| stage.nodes[&second].not_restored.is_some());
    assert_eq!(stage.nodes[&second].not_restored, Some(NotRestored::Present), "its store is in the restored era");
    stage.check();
}

// ---- chaos ----

/// One run: what one core node knows is behind what the others decide; most lose their stores; nodes that are left are told to
/// restore, again and again, while everything fails and lost stores come back; then all is well.
fn chaos(seed: u64, rules: Rules) {
    let (core_count, node_count) = [(3, 3), (5, 5), (3, 5)][usize::try_from(seed % 3).expect("below 3")];
    let mut stage = Stage::start(core_count, node_count, seed).with_rules(rules);
    let nodes: Vec<NodeId> = (1..=node_count).map(NodeId).collect();
    stage.run_until("settled", Stage::is_settled);
    let lost_count = core_count / 2 + 1 + u16::try_from(stage.random.below(u64::from(core_count / 2))).expect("small");
    let mut core_nodes: Vec<NodeId> = nodes[..usize::from(core_count)].to_vec();
    let turn = stage.random.below(u64::from(core_count));
    core_nodes.rotate_left(usize::try_from(turn).expect("below five"));
    let (lost, left) = core_nodes.split_at(usize::from(lost_count));

    // Those who are left miss the last of it.
    for _ in 0..stage.random.below(20) {
        left.iter().for_each(|node| stage.isolate(*node));
        let node = stage.random.choice(&nodes);
        stage.crash(node);
        stage.boot(node);
        let pause = stage.random.below(400);
        stage.run_for(pause);
    }
    lost.iter().for_each(|node| stage.wipe(*node));
    stage.heal();

    for _ in 0..60 {
        let at = stage.random.choice(&core_nodes);
        match stage.random.below(10) {
            0 | 1 => {
                let node = stage.random.choice(left);
                restore(&mut stage, node);
            }
            2 => accept_loss_at(&mut stage, at),
            // One of the lost stores is there for a while.
            3 => {
                let node = stage.random.choice(lost);
                stage.bring_back(node, 0);
                stage.boot(node);
                let pause = stage.random.below(300);
                stage.run_for(pause);
                stage.bring_back(node, 0);
                stage.boot(node);
            }
            4 => {
                let node = stage.random.choice(&core_nodes);
                replace_anywhere(&mut stage, node);
            }
            5 => stage.heal(),
            _ => fail_somewhere(&mut stage, &nodes),
        }
        let pause = 1 + stage.random.below(120);
        stage.run_for(pause);
    }
    settle(&mut stage, &core_nodes, seed);
    stage.check();
}

/// Tells whoever leads that the store of a node is lost.
fn replace_anywhere(stage: &mut Stage, node: NodeId) {
    if stage.leader().is_some() {
        replace(stage, node);
    }
}

/// All is well, and an operator does what is to be done until every core node votes and every group is led.
fn settle(stage: &mut Stage, core_nodes: &[NodeId], seed: u64) {
    for _ in 0..60 {
        stage.heal();
        stage.run_for(500);
        let era = stage.latest_era();
        let is_out = |node: &NodeId| !era.names(*node, stage.nodes[node].number) || stage.nodes[node].core.is_none();
        let out: Vec<NodeId> = core_nodes.iter().copied().filter(is_out).collect();
        let is_there = |node: &&NodeId| era.names(**node, stage.nodes[*node].number);
        let is_lost = 2 * core_nodes.iter().filter(is_there).count() <= core_nodes.len();
        if is_lost {
            // A lost store that was there for a while may have led to a later era.
            let number = |node: &NodeId| stage.nodes[node].store.era().map(|era| era.number);
            let best = core_nodes.iter().copied().max_by_key(number).expect("there are some");
            // Those who wait for another one start anew.
            let own = stage.nodes[&best].number;
            for node in core_nodes {
                if stage.nodes[node].store.pledge().is_some_and(|pledge| pledge.to != own) {
                    stage.wipe(*node);
                    stage.boot(*node);
                }
            }
            restore(stage, best);
        } else if let Some(node) = out.first() {
            if stage.nodes[node].store.era().is_some() {
                stage.wipe(*node);
                stage.boot(*node);
                stage.run_for(300);
            }
            replace_anywhere(stage, *node);
        } else if stage.leader().is_some_and(|leader| !is_whole(stage, leader)) {
            let leader = stage.leader().expect("it leads");
            accept_loss_at(stage, leader);
        } else if stage.is_settled() {
            return;
        }
    }
    panic!("never settled with seed {seed}: {:?}", stage.cores().collect::<Vec<_>>());
}

#[test]
fn no_name_and_no_epoch_is_given_twice_whatever_was_decided_that_nobody_knows() {
    (0..SEEDS).for_each(|seed| chaos(seed, Rules::Kept));
}

#[test]
fn numbers_that_do_not_jump_are_found_to_be_given_twice() {
    let ended = |seed| catch_unwind(AssertUnwindSafe(|| chaos(seed, Rules::NothingJumps)));
    let text = |problem: Box<dyn Any + Send>| problem.downcast_ref::<String>().cloned().unwrap_or_default();
    let is_twice = |text: String| text.contains("is named twice") || text.contains("says something else");
    let mut problems = (0..SEEDS).filter_map(|seed| ended(seed).err().map(text));
    assert!(quietly(|| problems.any(is_twice)));
}

const SEEDS: u64 = 300;
