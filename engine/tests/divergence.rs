//! Stories of replicas whose state is wrong: a byte has flipped, or a machine has not done what the others did.

use quorate_engine::config::Config;
use quorate_engine::ids::{GroupId, LogIndex, NodeId};
use quorate_engine::machine::command::{Command, Op};
use quorate_engine::machine::kv::Damage;
use quorate_engine::message::Message;
use quorate_engine::output::{Event, Refusal, Stuck};
use quorate_engine::replication::comparison::Window;
use quorate_engine::testing::cluster::{Cluster, End};
use quorate_engine::{GroupState, Standing};

const A: NodeId = NodeId(1);
const B: NodeId = NodeId(2);
const C: NodeId = NodeId(3);
/// With one partition, its first leader is A.
const G: GroupId = GroupId(0);

fn config() -> Config {
    Config {
        log_bytes: 64 << 10,
        segment_bytes: 1 << 10,
        value_bytes_max: 1 << 10,
        key_bytes_max: 256,
        ..Config::default()
    }
}

fn unrepaired() -> Config {
    Config { repair: false, ..config() }
}

/// A group of so many members with a write quorum of two, some keys, and nothing under way.
fn with_keys(members: u16, config: Config) -> Cluster {
    let mut cluster = Cluster::start_with_core(members, 1, usize::from(members), 2, config);
    cluster.settle();
    for number in 0..20 {
        write(&mut cluster, format!("key{number}").as_bytes(), b"value");
    }
    cluster.run_for(10);
    cluster
}

#[track_caller]
fn write(cluster: &mut Cluster, key: &[u8], value: &[u8]) {
    let token = cluster.set(key, value);
    cluster.settle();
    cluster.assert_done(token);
}

#[track_caller]
fn damage(cluster: &mut Cluster, node: NodeId, key: &[u8], damage: Damage) {
    assert!(cluster.engine_mut(node).corrupt(G, key, damage));
    assert_ne!(cluster.peek(node, key), b"value");
}

/// Returns the nodes on which a replica was found to be wrong, and those on which it was repaired.
fn told(cluster: &Cluster) -> (Vec<NodeId>, Vec<NodeId>) {
    let on = |is_it: fn(&Event) -> bool| cluster.events().iter().filter(move |(_, event)| is_it(event));
    let diverged = on(|event| matches!(event, Event::Diverged { .. }));
    let repaired = on(|event| matches!(event, Event::Resynchronised { .. }));
    (diverged.map(|(node, _)| *node).collect(), repaired.map(|(node, _)| *node).collect())
}

fn stuck(cluster: &Cluster) -> Vec<(NodeId, Stuck)> {
    let stuck = |(node, event): &(NodeId, Event)| match event {
        Event::ManualInterventionRequired { why, .. } => Some((*node, *why)),
        _ => None,
    };
    cluster.events().iter().filter_map(stuck).collect()
}

#[test]
fn a_byte_that_flips_on_a_follower_is_found_and_repaired_though_nobody_writes() {
    let mut cluster = with_keys(3, config());
    damage(&mut cluster, B, b"key7", Damage::Byte);
    cluster.run_for(1_000);
    assert_eq!(told(&cluster), (vec![B], vec![B]));
    assert_eq!(cluster.peek(B, b"key7"), b"value");
    assert_eq!(stuck(&cluster), []);
    write(&mut cluster, b"key7", b"another");
    cluster.run_for(10);
    cluster.check();
}

#[test]
fn the_event_names_the_window_since_the_last_scrub_that_found_nothing() {
    let mut cluster = with_keys(3, config());
    cluster.run_for(2_000);
    write(&mut cluster, b"key0", b"value");
    cluster.run_for(1);
    damage(&mut cluster, B, b"key7", Damage::Byte);
    cluster.run_for(1_000);
    let window = Window { first: LogIndex(21), last: LogIndex(22) };
    assert!(cluster.events().contains(&(B, Event::Diverged { group: G, window })), "{:?}", cluster.events());
}

#[test]
fn a_follower_that_did_something_else_is_found_with_the_next_acknowledgement() {
    let mut cluster = with_keys(3, config());
    damage(&mut cluster, B, b"key7", Damage::Value);
    write(&mut cluster, b"key1", b"value");
    cluster.run_for(2);
    assert_eq!(told(&cluster), (vec![B], vec![B]));
    let window = Window { first: LogIndex(21), last: LogIndex(22) };
    assert!(cluster.events().contains(&(B, Event::Diverged { group: G, window })), "{:?}", cluster.events());
    assert_eq!(cluster.peek(B, b"key7"), b"value");
    cluster.check();
}

/// Seed 201786 of the simulator, whose messages overtake each other.
#[test]
fn what_was_said_of_a_state_that_is_replaced_is_not_said_of_the_one_in_its_place() {
    for (from, to) in [(A, B), (B, A)] {
        let mut cluster = with_keys(3, config());
        damage(&mut cluster, B, b"key7", Damage::Value);
        cluster.set(b"key1", b"value");
        let mut is_kept = false;
        for _ in 0..100 {
            for node in [A, B, C] {
                cluster.end_turn(node);
            }
            for link in [(A, B), (B, A), (A, C), (C, A)] {
                is_kept = is_kept || cluster.keep(from, to, |message| matches!(message, Message::Diverged(_)));
                cluster.deliver(link.0, link.1);
            }
            cluster.tick(1);
        }
        assert!(is_kept);
        cluster.run_for(10);
        assert_eq!(told(&cluster), (vec![B], vec![B]));
        cluster.repeat_kept(from, to);
        cluster.run_for(100);
        assert_eq!(told(&cluster), (vec![B], vec![B]), "from {from}");
        write(&mut cluster, b"key1", b"value");
        cluster.run_for(2);
        assert!(matches!(cluster.status(B, G).state, GroupState::Following { leader: Some(_) }));
        cluster.check();
    }
}

/// Seeds 514182 and 516994 of the simulator.
#[test]
fn a_leader_that_has_not_heard_of_a_repair_goes_on_until_it_can_compare_again() {
    let mut cluster = with_keys(3, config());
    damage(&mut cluster, B, b"key7", Damage::Value);
    cluster.set(b"key1", b"value");
    while told(&cluster).1.is_empty() {
        for node in [A, B, C] {
            cluster.end_turn(node);
        }
        for (from, to) in [(B, A), (A, C), (C, A), (A, B)] {
            cluster.deliver(from, to);
        }
        cluster.tick(1);
    }
    // What B answers is lost, its leader gives that snapshot up, and is far ahead when it hears of B again.
    let step = |cluster: &mut Cluster| {
        for node in [A, B, C] {
            cluster.end_turn(node);
        }
        cluster.drop_messages(A, B);
        cluster.drop_messages(B, A);
        cluster.deliver(A, C);
        cluster.deliver(C, A);
        cluster.tick(1);
    };
    for number in 0..70 {
        let token = cluster.set(b"key2", format!("{number}").as_bytes());
        while cluster.end(token).is_none() {
            step(&mut cluster);
        }
    }
    for _ in 0..300 {
        step(&mut cluster);
    }
    assert!(cluster.status(B, G).last.0 + 64 < cluster.status(A, G).last.0);
    cluster.run_for(500);
    assert_eq!(told(&cluster), (vec![B], vec![B]));
    assert_eq!(cluster.status(B, G).applied, cluster.status(A, G).last);
    assert_eq!(cluster.status(A, G).members[1].standing, Standing::Voter);
    cluster.check();
}

#[test]
fn in_the_middle_of_a_stream_states_are_compared_as_well() {
    let mut cluster = with_keys(3, config());
    damage(&mut cluster, C, b"key7", Damage::Value);
    for round in 0..100 {
        // Always more on its way than is acknowledged.
        for number in 0..4 {
            cluster.set(format!("other{number}").as_bytes(), format!("{round}").as_bytes());
        }
        for node in [A, B, C] {
            cluster.end_turn(node);
            for other in [A, B, C] {
                cluster.deliver(node, other);
            }
        }
    }
    assert_eq!(told(&cluster).0, [C]);
    cluster.run_for(10);
    assert_eq!(cluster.peek(C, b"key7"), b"value");
    cluster.check();
}

/// The last write, and word that it is committed, come to the replica that is wrong in one turn: what it acknowledges at once
/// says nothing of the state behind that write.
#[test]
fn a_follower_that_hears_of_an_entry_and_of_its_commit_in_one_turn_is_found_though_nobody_writes_again() {
    let mut cluster = with_keys(3, config());
    damage(&mut cluster, C, b"key7", Damage::Value);
    cluster.set(b"key1", b"value");
    for _ in 0..20 {
        for node in [A, B] {
            cluster.end_turn(node);
            while cluster.deliver(A, B) || cluster.deliver(B, A) {}
        }
        cluster.tick(1);
    }
    assert_eq!(cluster.status(A, G).commit, LogIndex(22), "B has acknowledged it");
    cluster.deliver_at_once(A, C);
    assert_eq!(cluster.status(C, G).applied, LogIndex(22));
    while cluster.deliver(C, A) {}
    cluster.end_turn(A);
    cluster.run_for(2);
    assert_eq!(told(&cluster), (vec![C], vec![C]));
    cluster.check();
}

#[test]
fn a_leader_whose_bytes_flip_leads_no_more_and_copies_the_state_of_who_does() {
    let mut cluster = with_keys(3, config());
    let before = cluster.status(A, G).last;
    damage(&mut cluster, A, b"key7", Damage::Byte);
    cluster.run_for(1_000);
    assert_eq!(told(&cluster), (vec![A], vec![]), "nobody has taken over yet");
    assert_eq!(cluster.status(A, G).state, GroupState::Diverged { why: None });
    assert_eq!(cluster.unled(A), [G]);
    let refused = cluster.get(b"key7");
    cluster.settle();
    assert!(matches!(cluster.end(refused), Some(End::Refused(_))), "{:?}", cluster.end(refused));
    cluster.take_over(G, B);
    cluster.run_for(500);
    assert_eq!(told(&cluster), (vec![A], vec![A]));
    assert_eq!(cluster.peek(A, b"key7"), b"value");
    assert_eq!(cluster.status(B, G).state, GroupState::Serving);
    assert!(cluster.status(A, G).last > before, "it follows");
    // It counts again: without C, it is one of two.
    cluster.isolate(C);
    write(&mut cluster, b"key1", b"1");
    cluster.check();
}

#[test]
fn a_leader_that_all_others_contradict_is_the_one_that_is_wrong() {
    let mut cluster = with_keys(3, config());
    damage(&mut cluster, A, b"key7", Damage::Value);
    let token = cluster.set(b"key1", b"1");
    cluster.run_for(2);
    assert!(cluster.end(token).is_some());
    assert_eq!(told(&cluster), (vec![A], vec![]));
    cluster.take_over(G, C);
    cluster.run_for(500);
    assert_eq!(told(&cluster), (vec![A], vec![A]));
    assert_eq!(cluster.peek(A, b"key7"), b"value");
    assert_eq!(cluster.peek(A, b"key1"), cluster.peek(C, b"key1"));
    cluster.check();
}

#[test]
fn who_is_wrong_does_not_count() {
    let mut cluster = with_keys(3, unrepaired());
    damage(&mut cluster, B, b"key7", Damage::Byte);
    cluster.run_for(1_000);
    assert_eq!((told(&cluster), stuck(&cluster)), ((vec![B], vec![]), vec![(B, Stuck::RepairIsOff)]));
    write(&mut cluster, b"key1", b"A and C hold it");
    cluster.isolate(C);
    let token = cluster.set(b"key2", b"A alone does");
    cluster.run_for(100);
    assert_eq!(cluster.end(token), None, "B has not acknowledged it");
    let peeked = cluster.peek(B, b"key7");
    assert!(peeked.is_empty(), "nor is it read");
    let refused = cluster.submit_to(B, Command::new(Op::Get, b"key7"));
    let expected = Refusal::Diverged { group: G, why: Stuck::RepairIsOff };
    assert_eq!(cluster.end(refused), Some(&End::Refused(expected)));
    cluster.heal();
    cluster.run_for(1_000);
    cluster.assert_done(token);
    // The operator restarts it.
    cluster.restart(B);
    cluster.run_for(1_000);
    assert_eq!(cluster.peek(B, b"key7"), b"value");
    cluster.check();
}

#[test]
fn who_is_wrong_still_gives_a_candidate_what_it_has_acknowledged() {
    let mut cluster = with_keys(3, config());
    cluster.isolate(C);
    write(&mut cluster, b"key1", b"held by A and B alone");
    damage(&mut cluster, B, b"key7", Damage::Byte);
    cluster.crash(A);
    cluster.run_for(1_000);
    assert_eq!(told(&cluster), (vec![B], vec![]), "there is nobody to copy from");
    cluster.take_over(G, B);
    cluster.run_for(100);
    assert_eq!(cluster.status(B, G).state, GroupState::Diverged { why: None }, "it does not take over");
    cluster.heal();
    cluster.take_over(G, C);
    cluster.run_for(500);
    assert_eq!(cluster.status(C, G).state, GroupState::Serving, "B holds its first entry, and is right again");
    assert_eq!(told(&cluster), (vec![B], vec![B]));
    assert_eq!(cluster.peek(C, b"key1"), b"held by A and B alone");
    cluster.check();
}

#[test]
fn two_that_differ_serve_nothing_until_an_operator_has_said_who_is_right() {
    let mut cluster = with_keys(2, config());
    damage(&mut cluster, B, b"key7", Damage::Value);
    write(&mut cluster, b"key1", b"1");
    cluster.run_for(5);
    assert_eq!((told(&cluster), stuck(&cluster)), ((vec![], vec![]), vec![(A, Stuck::Undecided)]));
    assert_eq!(cluster.status(A, G).state, GroupState::Diverged { why: Some(Stuck::Undecided) });
    let refused = [cluster.get(b"key7"), cluster.set(b"key7", b"x")];
    cluster.run_for(5);
    let expected = End::Refused(Refusal::Diverged { group: G, why: Stuck::Undecided });
    assert!(refused.into_iter().all(|token| cluster.end(token) == Some(&expected)));
    // He takes B to be wrong.
    cluster.restart(B);
    cluster.run_for(1_000);
    write(&mut cluster, b"key2", b"2");
    cluster.run_for(5);
    assert_eq!(cluster.peek(B, b"key7"), b"value");
    assert_eq!(cluster.status(A, G).members.iter().filter(|member| member.standing == Standing::Voter).count(), 1);
    cluster.check();
}

#[test]
fn a_third_one_that_is_back_says_who_is_right() {
    let mut cluster = with_keys(3, config());
    cluster.isolate(C);
    damage(&mut cluster, B, b"key7", Damage::Value);
    write(&mut cluster, b"key1", b"1");
    cluster.run_for(5);
    assert_eq!((told(&cluster), stuck(&cluster)), ((vec![], vec![]), vec![]), "it may be either of them");
    cluster.heal();
    cluster.run_for(300);
    assert_eq!(told(&cluster), (vec![B], vec![B]));
    cluster.check();
}

#[test]
fn damage_is_given_to_nobody_with_a_snapshot() {
    let never = Config { scrub_keys: 0, ..config() };
    let mut cluster = with_keys(3, never);
    damage(&mut cluster, A, b"key7", Damage::Byte);
    cluster.crash(C);
    for number in 0..2_000 {
        write(&mut cluster, b"key1", format!("{number}").as_bytes());
    }
    cluster.restart(C);
    cluster.run_for(100);
    assert_eq!(told(&cluster).0, [A], "what C needs has left the log");
    assert!(cluster.peek(C, b"key7").is_empty());
    cluster.take_over(G, B);
    cluster.run_for(1_000);
    assert_eq!((cluster.peek(C, b"key7"), cluster.peek(A, b"key7")), (b"value".to_vec(), b"value".to_vec()));
    cluster.check();
}

#[test]
fn without_a_core_a_follower_is_repaired_and_a_leader_is_not() {
    let mut cluster = Cluster::start(3, 1, 3, 2, config());
    cluster.settle();
    for number in 0..20 {
        write(&mut cluster, format!("key{number}").as_bytes(), b"value");
    }
    cluster.run_for(10);
    damage(&mut cluster, B, b"key7", Damage::Byte);
    cluster.run_for(1_000);
    assert_eq!(told(&cluster), (vec![B], vec![B]));
    cluster.check();
    damage(&mut cluster, A, b"key7", Damage::Byte);
    cluster.run_for(1_000);
    assert_eq!(stuck(&cluster), [(A, Stuck::NobodyElse)]);
    let refused = cluster.get(b"key7");
    let expected = End::Refused(Refusal::Diverged { group: G, why: Stuck::NobodyElse });
    assert_eq!(cluster.end(refused), Some(&expected));
}

#[test]
fn what_is_written_again_before_it_is_seen_is_right() {
    let mut cluster = with_keys(3, config());
    damage(&mut cluster, B, b"key7", Damage::Byte);
    write(&mut cluster, b"key7", b"another");
    cluster.run_for(1_000);
    assert_eq!(told(&cluster), (vec![], vec![]));
    cluster.check();
}
