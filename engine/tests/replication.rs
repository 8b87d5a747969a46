//! Stories of one or a few groups in steady state: commit, stragglers, restarts without memory, snapshots, leases.

use core::ops::ControlFlow;

use quorate_engine::config::Config;
use quorate_engine::engine::{Input, LogReadError};
use quorate_engine::ids::{GroupId, LogIndex, NodeId, Slot};
use quorate_engine::machine::answer::Answer;
use quorate_engine::machine::command::{Command, Flags, Op, push_item};
use quorate_engine::machine::kv::Damage;
use quorate_engine::message::Message;
use quorate_engine::output::{Event, Refusal, Token};
use quorate_engine::slots::slot_of;
use quorate_engine::testing::cluster::{Cluster, End};
use quorate_engine::time::Instant;
use quorate_engine::{GroupState, Level, Request, Standing};

const A: NodeId = NodeId(1);
const B: NodeId = NodeId(2);
const C: NodeId = NodeId(3);
/// With one partition, its leader is A.
const G: GroupId = GroupId(0);

/// A small log, so that every wrap and every snapshot happens.
fn tiny() -> Config {
    Config {
        log_bytes: 32 << 10,
        segment_bytes: 1 << 10,
        value_bytes_max: 1 << 10,
        key_bytes_max: 256,
        window_bytes: 4 << 10,
        append_bytes_max: 2 << 10,
        chunk_bytes: 300,
        ..Config::default()
    }
}

fn three() -> Cluster {
    let mut cluster = Cluster::start(3, 1, 3, 2, tiny());
    cluster.settle();
    cluster
}

#[test]
fn a_write_is_answered_once_two_of_three_hold_it() {
    let mut cluster = three();
    let write = cluster.set(b"x", b"1");
    cluster.end_turn(A);
    assert_eq!(cluster.end(write), None);
    assert!(cluster.deliver(A, B));
    assert_eq!(cluster.end(write), None);
    assert!(cluster.deliver(B, A));
    cluster.assert_done(write);

    cluster.settle();
    cluster.run_for(2);
    for node in [A, B, C] {
        assert_eq!(cluster.peek(node, b"x"), b"1");
    }
    cluster.check();
}

#[test]
fn nothing_is_applied_above_commit() {
    let mut cluster = three();
    cluster.run_for(2);
    cluster.set(b"x", b"1");
    cluster.end_turn(A);
    cluster.deliver(A, B);
    // B holds the entry and does not know yet that it is committed.
    assert_eq!(cluster.status(B, G).last, LogIndex(2));
    assert_eq!(cluster.status(B, G).applied, LogIndex(1));
    assert_eq!(cluster.peek(B, b"x"), b"");
    cluster.check();
}

#[test]
fn what_is_committed_is_told_again_once_a_full_connection_has_room() {
    let mut cluster = three();
    let write = cluster.set(b"x", b"1");
    cluster.settle();
    cluster.assert_done(write);
    cluster.pause(B);
    cluster.run_for(2);
    cluster.drop_messages(A, B);
    cluster.set_busy(A, B, true);
    cluster.resume(B);
    cluster.run_for(5);
    assert_eq!((cluster.peek(B, b"x"), cluster.peek(C, b"x")), (b"".to_vec(), b"1".to_vec()), "the notice was lost");
    cluster.set_busy(A, B, false);
    cluster.run_for(5);
    assert_eq!(cluster.peek(B, b"x"), b"1");
}

/// Has C miss so much that it needs a snapshot, and the first chunk of that on its way. The value of `x` is 1999.
fn begin_a_snapshot(cluster: &mut Cluster) {
    cluster.isolate(C);
    for number in 0..2000 {
        cluster.set(b"x", number.to_string().as_bytes());
        cluster.settle();
    }
    cluster.heal();
    let is_sent = (0..100).any(|_| {
        cluster.end_turn(A);
        let is_sent = cluster.keep(A, C, |message| matches!(message, Message::Chunk(_)));
        if !is_sent {
            cluster.deliver(A, C);
            cluster.deliver(C, A);
        }
        is_sent
    });
    assert!(is_sent, "the log no longer holds what C missed");
}

#[test]
fn a_snapshot_that_comes_twice_takes_back_nothing_that_was_acknowledged() {
    let mut cluster = three();
    begin_a_snapshot(&mut cluster);
    cluster.settle();
    let write = cluster.set(b"x", b"last");
    cluster.end_turn(A);
    assert!(cluster.deliver(A, C) && cluster.deliver(C, A));
    cluster.assert_done(write);
    let last = cluster.status(C, G).last;
    cluster.repeat_kept(A, C);
    assert!(cluster.deliver(A, C));
    assert_eq!(cluster.status(C, G).last, last, "it is one of the two that hold it");
    cluster.run_for(300);
    assert_eq!(cluster.peek(C, b"x"), b"last");
    cluster.check();
}

#[test]
fn a_snapshot_whose_beginning_is_lost_begins_again_although_nobody_writes() {
    let mut cluster = three();
    begin_a_snapshot(&mut cluster);
    cluster.drop_messages(A, C);
    cluster.run_for(1000);
    assert_eq!(cluster.peek(C, b"x"), b"1999");
}

#[test]
fn a_group_begins_although_the_log_is_full_of_what_another_has_applied() {
    let mut cluster = Cluster::start(3, 2, 3, 2, tiny());
    // The second group waits for one more node to accept its leader, B.
    let step = |cluster: &mut Cluster| {
        [(A, B), (B, A), (A, C), (C, A), (B, C)].map(|(from, to)| cluster.deliver(from, to)).contains(&true)
    };
    while step(&mut cluster) {}
    let second = GroupId(1);
    assert!(matches!(cluster.status(B, second).state, GroupState::Waiting { .. }));
    let key = (0..).map(|number: u32| number.to_string()).find(|key| slot_of(key.as_bytes()) < Slot(8192)).unwrap();
    for _ in 0..2000 {
        let write = cluster.set(key.as_bytes(), &[b'v'; 900]);
        cluster.end_turn(A);
        while step(&mut cluster) {}
        cluster.assert_done(write);
    }
    cluster.settle();
    cluster.run_for(10);
    assert_eq!(cluster.status(B, second).state, GroupState::Serving);
    cluster.check();
}

#[test]
fn accepted_is_answered_at_once_and_promises_nothing() {
    let mut cluster = three();
    let command = Command { value: b"1", ..Command::new(Op::Set, b"x") };
    let write = cluster.submit_at(command, Level::Accepted, LogIndex(0));
    assert!(matches!(cluster.end(write), Some(End::Accepted(_))));
}

#[test]
fn a_group_begins_only_when_both_others_have_accepted_its_leader() {
    let mut cluster = Cluster::start(3, 1, 3, 2, tiny());
    cluster.isolate(C);
    cluster.settle();
    let early = cluster.set(b"x", b"1");
    let refusal = Refusal::NoQuorum { group: G, have: 2, need: 3 };
    assert_eq!(cluster.end(early), Some(&End::Refused(refusal)));
    cluster.heal();
    cluster.settle();
    assert_eq!(cluster.status(A, G).state, GroupState::Serving);
}

#[test]
fn a_follower_that_is_lost_costs_nothing() {
    for victim in [B, C] {
        let mut cluster = three();
        let mut writes: Vec<Token> = (0..10).map(|n| cluster.set(format!("k{n}").as_bytes(), b"v")).collect();
        cluster.crash(victim);
        writes.extend((10..20).map(|n| cluster.set(format!("k{n}").as_bytes(), b"v")));
        cluster.settle();
        for write in writes {
            cluster.assert_done(write);
        }
        cluster.check();
    }
}

#[test]
fn without_a_quorum_a_write_is_refused_and_one_under_way_ends_as_unknown() {
    let mut cluster = three();
    let under_way = cluster.set(b"x", b"1");
    cluster.crash(B);
    cluster.crash(C);
    let late = cluster.set(b"x", b"2");
    assert_eq!(cluster.end(late), Some(&End::Refused(Refusal::NoQuorum { group: G, have: 1, need: 2 })));
    cluster.run_for(4_999);
    assert_eq!(cluster.end(under_way), None);
    cluster.run_for(2);
    assert!(matches!(cluster.end(under_way), Some(End::Unknown(_))));
    cluster.check();
}

#[test]
fn a_follower_without_its_memory_comes_back_as_a_learner_that_does_not_count() {
    let mut cluster = three();
    let before = cluster.set(b"x", b"1");
    cluster.settle();
    cluster.assert_done(before);
    cluster.restart(B);
    cluster.settle();
    cluster.run_for(2);
    assert_eq!(cluster.peek(B, b"x"), b"1");
    let members = cluster.status(A, G).members;
    let learner = members.iter().find(|member| member.node == B).expect("a member");
    assert_eq!(learner.standing, Standing::Learner);

    // Only the learner is left: its acknowledgement commits nothing.
    cluster.crash(C);
    let write = cluster.set(b"x", b"2");
    assert_eq!(cluster.end(write), Some(&End::Refused(Refusal::NoQuorum { group: G, have: 1, need: 2 })));
    cluster.check();
}

#[test]
fn a_learner_does_not_commit_what_a_paused_voter_has_not() {
    let mut cluster = three();
    cluster.restart(B);
    cluster.settle();
    cluster.pause(C);
    let write = cluster.set(b"x", b"1");
    cluster.settle();
    assert_eq!(cluster.end(write), None);
    cluster.resume(C);
    cluster.settle();
    cluster.assert_done(write);
}

#[test]
fn a_leader_without_its_memory_never_serves_an_empty_store() {
    let mut cluster = three();
    let write = cluster.set(b"x", b"1");
    cluster.end_turn(A);
    // Only B has it when A dies.
    cluster.deliver(A, B);
    cluster.deliver(B, A);
    cluster.assert_done(write);
    cluster.restart(A);
    cluster.run_for(1_000);
    for token in [cluster.get(b"x"), cluster.set(b"x", b"2")] {
        let end = cluster.end(token);
        assert!(matches!(end, Some(End::Refused(Refusal::Unavailable { .. }))), "{end:?}");
    }
    assert!(cluster.events().iter().any(|(node, event)| *node == A && matches!(event, Event::Unavailable { .. })));
    cluster.check();
}

#[test]
fn a_straggler_never_holds_up_the_leader_and_gets_a_snapshot_when_it_is_back() {
    let mut cluster = three();
    cluster.pause(C);
    for n in 0..2_000 {
        let write = cluster.set(format!("k{}", n % 50).as_bytes(), format!("value {n}").as_bytes());
        cluster.settle();
        cluster.assert_done(write);
        if n % 100 == 0 {
            cluster.run_for(10);
        }
    }
    cluster.resume(C);
    // Writes go on while the snapshot is under way.
    for n in 0..200 {
        let write = cluster.set(format!("k{}", n % 60).as_bytes(), b"late");
        for (from, to) in [(A, B), (B, A), (A, C), (C, A)] {
            cluster.end_turn(A);
            cluster.deliver(from, to);
        }
        cluster.assert_done(write);
    }
    cluster.run_for(1_000);
    assert!(cluster.events().iter().any(|(_, event)| matches!(event, Event::SnapshotInstalled { .. })));
    let (leader, straggler) = (cluster.status(A, G), cluster.status(C, G));
    assert_eq!(straggler.applied, leader.applied);
    assert_eq!(straggler.digest, leader.digest);
    cluster.check();
}

#[test]
fn after_a_lost_connection_the_matching_point_is_found_again() {
    let mut cluster = three();
    for round in 0..5 {
        cluster.isolate(C);
        let writes: Vec<Token> = (0..7).map(|n| cluster.set(format!("r{round}k{n}").as_bytes(), b"v")).collect();
        cluster.settle();
        for write in writes {
            cluster.assert_done(write);
        }
        cluster.heal();
        cluster.run_for(3);
        assert_eq!(cluster.status(C, G).applied, cluster.status(A, G).applied);
    }
    cluster.check();
}

#[test]
fn a_read_needs_a_lease_and_gets_one_on_demand() {
    let mut cluster = three();
    cluster.set(b"x", b"1");
    cluster.settle();
    let fresh = cluster.get(b"x");
    assert_eq!(cluster.answer(fresh), Answer::Bulk(b"1"));

    // Nobody touched the group: the lease is gone, the read asks for one and waits a round trip.
    cluster.run_for(500);
    let read = cluster.get(b"x");
    assert_eq!(cluster.end(read), None);
    cluster.settle();
    assert_eq!(cluster.answer(read), Answer::Bulk(b"1"));

    // Nobody answers: the read is refused, it does not guess.
    cluster.run_for(500);
    cluster.pause(B);
    cluster.pause(C);
    let read = cluster.get(b"x");
    cluster.run_for(5_001);
    assert!(matches!(cluster.end(read), Some(End::Refused(Refusal::NoLease { .. }))));
    cluster.check();
}

#[test]
fn a_read_behind_a_write_of_its_connection_sees_it() {
    let mut cluster = three();
    cluster.set(b"x", b"1");
    cluster.settle();
    cluster.set(b"x", b"2");
    let read = cluster.submit_at(Command::new(Op::Get, b"x"), Level::Commit, LogIndex(3));
    assert_eq!(cluster.end(read), None);
    cluster.settle();
    assert_eq!(cluster.answer(read), Answer::Bulk(b"2"));
}

#[test]
fn waiting_for_replicas_tells_the_truth() {
    let mut cluster = three();
    cluster.pause(C);
    cluster.set(b"x", b"1");
    cluster.settle();
    let timeout = 50_000_000_u64.to_le_bytes();
    let wait = |number| Command { number, time: 2, value: &timeout, ..Command::new(Op::WaitAcks, b"x") };
    let one = cluster.submit(wait(1));
    assert_eq!(cluster.answer(one), Answer::Int(1));
    let two = cluster.submit(wait(2));
    cluster.run_for(49);
    assert_eq!(cluster.end(two), None);
    cluster.run_for(2);
    assert_eq!(cluster.answer(two), Answer::Int(1));
}

#[test]
fn keys_end_at_their_logged_time_on_all_replicas_alike() {
    let mut cluster = three();
    let ttl = 20_000_000;
    cluster.submit(Command { flags: Flags::TTL, time: ttl, value: b"v", ..Command::new(Op::Set, b"brief") });
    cluster.settle();
    cluster.run_for(19);
    assert_eq!(cluster.peek(A, b"brief"), b"v");
    cluster.run_for(3);
    for node in [A, B, C] {
        assert_eq!(cluster.peek(node, b"brief"), b"");
    }
    cluster.check();
}

#[test]
fn full_is_an_answer_and_whoever_tries_again_gets_through() {
    let mut cluster = three();
    cluster.pause(B);
    cluster.pause(C);
    let value = [b'v'; 700];
    let mut refused = 0;
    for n in 0..20 {
        let write = cluster.set(format!("k{n}").as_bytes(), &value);
        cluster.end_turn(A);
        refused += usize::from(matches!(cluster.end(write), Some(End::Refused(Refusal::Overload { .. }))));
    }
    // An eighth of the log may be uncommitted: 4 KiB.
    assert!((14..=16).contains(&refused), "{refused} of 20");
    cluster.resume(B);
    cluster.resume(C);
    cluster.run_for(500);
    let write = cluster.set(b"again", &value);
    cluster.settle();
    cluster.assert_done(write);
    cluster.check();
}

/// Three nodes lead sixteen groups each; each could fill its own log with what the others have not seen yet, and then find
/// no room for what the others have.
#[test]
fn leaders_leave_each_other_room_in_the_log() {
    let mut cluster = Cluster::start(3, 48, 3, 2, Config { log_bytes: 128 << 10, ..tiny() });
    cluster.settle();
    let value = [b'v'; 700];
    let writes: Vec<Token> = (0..1_000).map(|n| cluster.set(format!("k{n}").as_bytes(), &value)).collect();
    cluster.run_for(2_000);
    let is_refused = |write: &&Token| matches!(cluster.end(**write), Some(End::Refused(Refusal::Overload { .. })));
    let refused = writes.iter().filter(is_refused).count();
    assert!(refused > 400, "{refused} of 1,000 refused: the logs were never full");
    for n in 0..24 {
        let write = cluster.set(format!("again{n}").as_bytes(), &value);
        cluster.run_for(50);
        cluster.assert_done(write);
    }
    cluster.check();
}

#[test]
fn keys_expire_although_the_log_is_full_and_nobody_writes() {
    let mut cluster = three();
    for n in 0..800 {
        let key = format!("k{n}");
        let write =
            Command { flags: Flags::TTL, time: 1_000_000_000, value: b"v", ..Command::new(Op::Set, key.as_bytes()) };
        cluster.submit(write);
        cluster.settle();
    }
    cluster.run_for(5_000);
    let count = cluster.submit(Command::new(Op::Count, b""));
    cluster.settle();
    assert_eq!(cluster.answer(count), Answer::Int(0));
    cluster.check();
}

#[test]
fn an_entry_of_another_group_is_not_appended() {
    let mut cluster = Cluster::start(3, 3, 3, 2, tiny());
    cluster.settle();
    let mut flush = Vec::new();
    Command::new(Op::Flush, b"").encode_into(&mut flush);
    // Slot 0 belongs to group 0.
    let request = Request {
        token: Token(u64::MAX),
        group: GroupId(1),
        slot: Slot(0),
        command: &flush,
        level: Level::Commit,
        after: LogIndex(0),
    };
    let outputs: Vec<_> = cluster
        .engine_mut(B)
        .handle(Instant(u64::MAX / 2), Input::Request(request))
        .map(|output| format!("{output:?}"))
        .collect();
    assert!(outputs.len() == 1 && outputs[0].contains("NotHere"), "{outputs:?}");
}

#[test]
fn memory_has_a_limit_that_deletes_pass() {
    let config = Config { memory_bytes_max: 2_000, ..tiny() };
    let mut cluster = Cluster::start(3, 1, 3, 2, config);
    cluster.settle();
    let mut writes = Vec::new();
    for n in 0..10 {
        writes.push(cluster.set(format!("k{n}").as_bytes(), &[b'v'; 300]));
        cluster.settle();
    }
    cluster.assert_done(writes[0]);
    assert!(matches!(cluster.end(writes[9]), Some(End::Refused(Refusal::OutOfMemory { .. }))));
    let mut keys = Vec::new();
    push_item(&mut keys, b"k0");
    let delete = cluster.submit(Command { value: &keys, ..Command::new(Op::Delete, b"") });
    cluster.settle();
    assert_eq!(cluster.answer(delete), Answer::Int(1));
    let write = cluster.set(b"k0", &[b'v'; 300]);
    cluster.settle();
    cluster.assert_done(write);
}

#[test]
fn limits_are_refused_with_the_limit_in_the_text() {
    let mut cluster = three();
    let too_large = cluster.set(b"k", &[0; 1025]);
    let Some(End::Refused(refusal)) = cluster.end(too_large) else { panic!("refused") };
    assert_eq!(refusal.to_string(), "ERR value of 1025 bytes is larger than the limit of 1024 (limits.value_max)");
    let too_long = cluster.set(&[b'k'; 257], b"v");
    let Some(End::Refused(refusal)) = cluster.end(too_long) else { panic!("refused") };
    assert_eq!(refusal.to_string(), "ERR key of 257 bytes is longer than the limit of 256 (limits.key_max)");
}

#[test]
fn a_corrupted_replica_is_told_by_its_digest() {
    let mut cluster = three();
    cluster.set(b"x", b"1");
    cluster.run_for(3);
    assert!(cluster.engine_mut(B).corrupt(G, b"x", Damage::Value));
    let (leader, corrupted) = (cluster.status(A, G), cluster.status(B, G));
    assert_eq!(leader.applied, corrupted.applied);
    assert_ne!(leader.digest, corrupted.digest);
}

#[test]
fn a_single_replica_commits_by_itself() {
    let mut cluster = Cluster::start(1, 4, 1, 1, tiny());
    cluster.settle();
    let write = cluster.set(b"x", b"1");
    cluster.settle();
    cluster.assert_done(write);
    let read = cluster.get(b"x");
    assert_eq!(cluster.answer(read), Answer::Bulk(b"1"));
}

#[test]
fn five_replicas_lose_two_and_go_on() {
    let mut cluster = Cluster::start(5, 1, 5, 3, tiny());
    cluster.settle();
    cluster.crash(NodeId(2));
    cluster.crash(NodeId(5));
    let write = cluster.set(b"x", b"1");
    cluster.settle();
    cluster.assert_done(write);
    cluster.crash(NodeId(3));
    let write = cluster.set(b"x", b"2");
    assert_eq!(cluster.end(write), Some(&End::Refused(Refusal::NoQuorum { group: G, have: 2, need: 3 })));
}

#[test]
fn many_groups_have_their_leaders_on_all_nodes() {
    let mut cluster = Cluster::start(3, 64, 3, 2, Config::default());
    cluster.settle();
    let writes: Vec<Token> = (0..500).map(|n| cluster.set(format!("key:{n}").as_bytes(), b"v")).collect();
    cluster.settle();
    cluster.run_for(2);
    for write in writes {
        cluster.assert_done(write);
    }
    for node in [A, B, C] {
        assert_eq!(cluster.peek(node, b"key:77"), b"v");
    }
    cluster.check();
}

/// Returns the indexes of the entries that are read from the log of a replica.
fn read(cluster: &Cluster, node: NodeId, from: u64) -> Result<Vec<u64>, LogReadError> {
    let mut indexes = Vec::new();
    let commit = cluster.engine(node).read_log(G, LogIndex(from), |entry| {
        indexes.push(entry.id().index.0);
        ControlFlow::Continue(())
    })?;
    assert_eq!(commit, cluster.status(node, G).commit);
    Ok(indexes)
}

#[test]
fn committed_entries_are_read_and_those_that_are_gone_are_named() {
    let mut cluster = three();
    let write = cluster.set(b"x", b"1");
    cluster.end_turn(A);
    assert_eq!(read(&cluster, A, 1), Ok(vec![1]), "the write is not committed");
    cluster.settle();
    cluster.assert_done(write);
    assert_eq!(read(&cluster, A, 1), Ok(vec![1, 2]));
    assert_eq!(read(&cluster, A, 2), Ok(vec![2]));
    assert_eq!(read(&cluster, A, 9), Ok(vec![]));
    let mut seen = 0;
    let read_one = cluster.engine(A).read_log(G, LogIndex(1), |_| {
        seen += 1;
        ControlFlow::Break(())
    });
    assert_eq!((seen, read_one), (1, Ok(LogIndex(2))), "enough is enough");

    for _ in 0..200 {
        cluster.set(b"x", &[b'v'; 500]);
        cluster.settle();
    }
    let Err(LogReadError::Gone { first, .. }) = read(&cluster, A, 1) else { panic!("32 KiB do not hold 100 KB") };
    assert!(read(&cluster, A, first.0 - 1).is_err());
    let kept = read(&cluster, A, first.0).expect("it is the first that is kept");
    assert!(kept.iter().copied().eq(first.0..=202));
    assert_eq!(cluster.status(A, G).first, first);
    let elsewhere = cluster.engine(A).read_log(GroupId(7), LogIndex(1), |_| ControlFlow::Continue(()));
    assert_eq!(elsewhere, Err(LogReadError::NotHere { group: GroupId(7) }));
    cluster.check();
}
