//! Stories of groups whose leaders are taken over from and whose members change, by the word of a consistent core.

use quorate_engine::config::{Config, GroupConfig, Member};
use quorate_engine::control::record::{Ask, Record};
use quorate_engine::control::state::JUMP;
use quorate_engine::engine::{Engine, Input};
use quorate_engine::ids::{EntryId, Epoch, GroupId, Incarnation, LogIndex, NodeId, ReplicaId};
use quorate_engine::machine::answer::Answer;
use quorate_engine::machine::command::{Command, Flags, Op, push_item};
use quorate_engine::message::{Append, Chunk, Envelope, Message, StreamId};
use quorate_engine::output::{Event, Output, Refusal};
use quorate_engine::slots::SlotMap;
use quorate_engine::testing::cluster::{Cluster, End};
use quorate_engine::time::{Instant, LogTime};
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

fn three() -> Cluster {
    let mut cluster = Cluster::start_with_core(3, 1, 3, 2, config());
    cluster.settle();
    cluster
}

#[track_caller]
fn write(cluster: &mut Cluster, key: &[u8], value: &[u8]) {
    let token = cluster.set(key, value);
    cluster.settle();
    cluster.assert_done(token);
}

fn get(key: &[u8]) -> Command<'_> {
    Command::new(Op::Get, key)
}

#[track_caller]
fn assert_leads(cluster: &Cluster, node: NodeId) {
    assert_eq!(cluster.status(node, G).state, GroupState::Serving);
    assert_eq!((cluster.record(G).active().leader, cluster.record(G).pending()), (node, None));
}

#[test]
fn a_group_begins_with_the_runs_that_the_core_has_registered() {
    let mut cluster = three();
    write(&mut cluster, b"x", b"1");
    assert_leads(&cluster, A);
    let status = cluster.status(A, G);
    assert_eq!((status.epoch, status.last), (Epoch(1), LogIndex(2)), "a VIEW entry and the write");
    cluster.check();
}

/// It had heard nothing before: all earlier news were lost.
#[test]
fn who_hears_of_its_group_and_of_a_change_of_it_at_once_does_both() {
    let run = ReplicaId { node: A, incarnation: Incarnation(1) };
    let slots = SlotMap::new(1).expect("in range").slots_of(G);
    let (members, write_quorum) = (vec![Member::from(run)], 1);
    let first =
        GroupConfig { epoch: Epoch(1), leader: A, members: members.clone(), ..GroupConfig::undecided(G, slots) };
    let mut record = Record::new(first);
    let change = record.change_live(Epoch(1), run, members, write_quorum).expect("it leads");
    let settings = config().build().expect("valid settings");
    let mut engine = Engine::new(settings, run, vec![GroupConfig::undecided(G, slots)]);
    let news = record.news();
    let now = Instant(1_000_000_000);
    let mut asks = Vec::new();
    let mut note = |output: Output<'_>| {
        if let Output::Ask { ask, .. } = output {
            asks.push(ask);
        }
    };
    engine.handle(now, Input::News { group: G, news: &news }).for_each(&mut note);
    engine.end_turn(now).for_each(&mut note);
    assert_eq!(asks, [Ask::Activate { epoch: change }]);
}

#[test]
fn who_does_not_hold_the_group_is_promised_nothing() {
    let mut cluster = three();
    write(&mut cluster, b"x", b"1");
    // An earlier run of C, or one that says it is another.
    let stranger = ReplicaId { node: C, incarnation: Incarnation(99) };
    let far = Epoch(1 << 40);
    for node in [A, B] {
        let append = Append {
            stream: StreamId::LIVE,
            prev: EntryId { epoch: Epoch(0), index: LogIndex(0) },
            commit: LogIndex(0),
            sent: Instant(1),
            entries: &[],
        };
        for message in [Message::Seal, Message::Append(append)] {
            let envelope = Envelope { from: stranger, group: G, epoch: far, message };
            drop(cluster.engine_mut(node).handle(Instant(2_000_000_000), Input::Message(envelope)));
        }
    }
    write(&mut cluster, b"x", b"2");
    assert_leads(&cluster, A);
    cluster.check();
}

#[test]
fn who_is_left_goes_on_with_what_it_holds_once_the_loss_is_accepted() {
    let mut cluster = three();
    write(&mut cluster, b"x", b"1");
    let before = cluster.status(A, G).last;
    cluster.restart(A);
    cluster.restart(B);
    cluster.run_for(500);
    let token = cluster.submit_to(C, get(b"x"));
    cluster.settle();
    assert!(matches!(cluster.end(token), Some(End::Refused(_))), "nobody leads: {:?}", cluster.end(token));
    cluster.accept_loss(G, &[C, A]);
    cluster.run_for(99);
    assert_ne!(cluster.status(C, G).state, GroupState::Serving, "a lease that nobody reports may run");
    cluster.run_for(1);
    assert_leads(&cluster, C);
    assert_eq!(cluster.record(G).active().loss_gen, 1);
    let read = cluster.get(b"x");
    cluster.settle();
    assert_eq!(cluster.answer(read), Answer::Bulk(b"1"));
    assert!(cluster.status(C, G).last > before);
    write(&mut cluster, b"x", b"2");
    cluster.check();
}

#[test]
fn where_nobody_is_left_a_group_begins_anew_in_a_later_epoch() {
    let mut cluster = three();
    write(&mut cluster, b"x", b"1");
    [A, B, C].into_iter().for_each(|node| cluster.restart(node));
    cluster.run_for(500);
    let epoch = cluster.record(G).active().epoch;
    cluster.accept_loss(G, &[B, A, C]);
    cluster.run_for(100);
    assert_leads(&cluster, B);
    assert!(cluster.record(G).active().epoch > epoch, "entries are named anew");
    let read = cluster.get(b"x");
    cluster.settle();
    assert_eq!(cluster.answer(read), Answer::Nil);
    write(&mut cluster, b"x", b"2");
    cluster.check();
}

const D: NodeId = NodeId(4);
const E: NodeId = NodeId(5);

/// Of five, D has missed what A, B, C and E hold: so many writes. E has restarted, copied them as a learner, and is one for
/// good. A, B and C live.
fn one_has_missed_what_a_learner_has(count: u8, config: Config) -> Cluster {
    let mut cluster = Cluster::start_with_core(5, 1, 5, 3, config);
    cluster.settle();
    write(&mut cluster, b"x", b"1");
    cluster.keep_learners();
    cluster.pause(D);
    for number in 0..count {
        write(&mut cluster, b"x", &[number; 500]);
    }
    cluster.restart(E);
    cluster.run_for(20);
    cluster.drop_messages(A, D);
    let (learner, other) = (cluster.status(E, G), cluster.status(D, G));
    assert!(learner.commit > other.last, "{learner:?} {other:?}");
    cluster
}

/// Everything that A, B and C hold is lost.
fn three_are_lost(cluster: &mut Cluster) {
    [A, B, C].into_iter().for_each(|node| cluster.restart(node));
    cluster.resume(D);
    cluster.run_for(100);
}

#[track_caller]
fn assert_gives_up_and_follows(cluster: &mut Cluster, node: NodeId) {
    write(cluster, b"x", b"3");
    cluster.run_for(300);
    assert_eq!(cluster.peek(node, b"x"), b"3");
    let forgotten = |(place, event): &(NodeId, Event)| *place == node && matches!(event, Event::Forgotten { .. });
    assert!(cluster.events().iter().any(forgotten), "{:?}", cluster.events());
    assert_nobody_is_blamed(cluster);
    cluster.check();
}

#[track_caller]
fn assert_nobody_is_blamed(cluster: &Cluster) {
    let blamed = |(_, event): &(NodeId, Event)| matches!(event, Event::Malformed { .. });
    assert!(!cluster.events().iter().any(blamed), "{:?}", cluster.events());
}

#[test]
fn who_has_copied_more_than_whoever_leads_after_a_loss_gives_it_up() {
    let mut cluster = one_has_missed_what_a_learner_has(1, config());
    three_are_lost(&mut cluster);
    cluster.accept_loss(G, &[D, A, E]);
    cluster.run_for(400);
    assert_leads(&cluster, D);
    let read = cluster.get(b"x");
    cluster.settle();
    assert_eq!(cluster.answer(read), Answer::Bulk(b"1"), "the later one is lost, as was accepted");
    assert_gives_up_and_follows(&mut cluster, E);
}

/// The log of E begins behind the end of D's: there is nothing in it that D's could contradict.
#[test]
fn a_snapshot_of_what_is_lost_is_given_up() {
    let mut cluster = one_has_missed_what_a_learner_has(60, Config { log_bytes: 16 << 10, ..config() });
    assert!(cluster.events().iter().any(|(_, event)| matches!(event, Event::SnapshotInstalled { .. })));
    three_are_lost(&mut cluster);
    cluster.accept_loss(G, &[D, A, E]);
    cluster.run_for(400);
    assert_leads(&cluster, D);
    assert_gives_up_and_follows(&mut cluster, E);
}

/// The core knows of epoch 1 only, which A leads; B leads epoch 2, and a loss was accepted before epoch 3.
#[test]
fn after_the_core_is_restored_the_best_is_adopted_whoever_it_knew_to_hold_it() {
    let mut cluster = three();
    write(&mut cluster, b"x", b"1");
    let known = cluster.core().clone();
    cluster.take_over(G, B);
    cluster.settle();
    cluster.run_for(200);
    write(&mut cluster, b"x", b"2");
    cluster.restore_core(&known);
    // Nobody is told anything, so whoever leads goes on.
    let token = cluster.submit_to(B, Command { value: b"3", ..Command::new(Op::Set, b"x") });
    cluster.settle();
    cluster.assert_done(token);
    cluster.accept_loss(G, &[A, B, C]);
    cluster.run_for(300);
    assert_leads(&cluster, A);
    assert_eq!(cluster.record(G).active().loss_gen, JUMP);
    let read = cluster.get(b"x");
    cluster.settle();
    assert_eq!(cluster.answer(read), Answer::Bulk(b"3"));
    write(&mut cluster, b"x", b"4");
    cluster.check();
}

#[test]
fn what_was_committed_before_a_loss_that_a_restored_core_does_not_know_of_is_given_up() {
    let mut cluster = one_has_missed_what_a_learner_has(1, config());
    let known = cluster.core().clone();
    three_are_lost(&mut cluster);
    cluster.keep_news_from(E);
    cluster.accept_loss(G, &[D, A, B]);
    cluster.run_for(400);
    assert_leads(&cluster, D);
    write(&mut cluster, b"x", b"2");
    cluster.restore_core(&known);
    [A, B, C].into_iter().for_each(|node| cluster.restart(node));
    cluster.accept_loss(G, &[E, D, A, B, C]);
    cluster.tell_news(E);
    cluster.run_for(400);
    assert_leads(&cluster, D);
    let read = cluster.get(b"x");
    cluster.settle();
    assert_eq!(cluster.answer(read), Answer::Bulk(b"2"), "the later epoch counts, not the longer log");
    assert_gives_up_and_follows(&mut cluster, E);
}

#[test]
fn who_meets_the_leader_after_a_loss_before_the_core_tells_of_it_waits_for_that() {
    let mut cluster = one_has_missed_what_a_learner_has(1, config());
    three_are_lost(&mut cluster);
    cluster.keep_news_from(E);
    cluster.accept_loss(G, &[D, A, B, E]);
    cluster.run_for(400);
    assert_leads(&cluster, D);
    assert_nobody_is_blamed(&cluster);
    cluster.tell_news(E);
    cluster.run_for(100);
    assert_gives_up_and_follows(&mut cluster, E);
}

/// C holds what D has missed, and is lost too, before the loss that it was to lead is active; E has followed it.
#[test]
fn who_has_followed_a_loss_that_came_to_nothing_gives_up_what_the_next_one_lacks() {
    let mut cluster = one_has_missed_what_a_learner_has(1, config());
    cluster.restart(A);
    cluster.restart(B);
    cluster.resume(D);
    cluster.run_for(100);
    cluster.accept_loss(G, &[C, D, E]);
    let has_adopted = |cluster: &Cluster| {
        let adopted = |(node, event): &(NodeId, Event)| *node == C && matches!(event, Event::Adopted { .. });
        cluster.events().iter().any(adopted)
    };
    while !has_adopted(&cluster) {
        cluster.end_turn(C);
        assert!(cluster.deliver(C, D) | cluster.deliver(D, C), "D promises");
    }
    cluster.pause(D);
    cluster.settle();
    assert!(cluster.record(G).pending().is_some() && cluster.status(E, G).last > cluster.status(D, G).last);
    cluster.drop_messages(C, D);
    cluster.restart(C);
    cluster.resume(D);
    cluster.run_for(10);
    cluster.accept_loss(G, &[D, A, E]);
    cluster.run_for(400);
    assert_leads(&cluster, D);
    assert_gives_up_and_follows(&mut cluster, E);
}

/// E is a member after the loss, and has heard nothing of it when it is to take over.
#[test]
fn a_member_that_still_holds_what_is_lost_has_another_one_take_over() {
    let mut cluster = one_has_missed_what_a_learner_has(1, config());
    three_are_lost(&mut cluster);
    cluster.pause(E);
    cluster.accept_loss(G, &[D, A, B, E]);
    cluster.run_for(200);
    assert_leads(&cluster, D);
    cluster.drop_messages(D, E);
    cluster.restart(D);
    cluster.resume(E);
    cluster.take_over(G, E);
    cluster.run_for(400);
    let leader = cluster.record(G).active().leader;
    assert!([A, B].contains(&leader), "{leader} leads");
    assert_leads(&cluster, leader);
    assert_gives_up_and_follows(&mut cluster, E);
}

#[test]
fn whoever_takes_over_has_everything_that_was_acknowledged() {
    let mut cluster = three();
    // C has missed it all, and is the one to take over.
    cluster.pause(C);
    for number in 0..50_u8 {
        write(&mut cluster, &[b'k', number], &[number]);
    }
    cluster.resume(C);
    cluster.drop_messages(A, C);
    cluster.crash(A);
    cluster.take_over(G, C);
    cluster.run_for(150);
    assert_leads(&cluster, C);
    for number in 0..50_u8 {
        let read = cluster.get(&[b'k', number]);
        cluster.settle();
        assert_eq!(cluster.answer(read), Answer::Bulk(&[number]));
    }
    cluster.check();
}

#[test]
fn the_best_log_is_fetched_however_small_the_pieces_are() {
    // Every piece takes its time, and longer than until what is not answered is asked again.
    let config = Config { append_bytes_max: 256, ask_again: core::time::Duration::from_millis(1), ..config() };
    let mut cluster = Cluster::start_with_core(3, 1, 3, 2, config);
    cluster.settle();
    cluster.pause(C);
    for number in 0..40_u8 {
        write(&mut cluster, &[b'k', number], &[number; 100]);
    }
    cluster.resume(C);
    cluster.drop_messages(A, C);
    cluster.crash(A);
    cluster.take_over(G, C);
    let mut steps = 0;
    while cluster.status(C, G).last < LogIndex(41) {
        // The alarm comes first, and then the answers.
        cluster.tick(2);
        cluster.end_turn(C);
        while cluster.deliver(C, B) {}
        while cluster.deliver(B, C) {}
        steps += 1;
        assert!(steps < 100, "it never has the log: {:?}", cluster.status(C, G));
    }
    cluster.run_for(150);
    assert_leads(&cluster, C);
    cluster.check();
}

#[test]
fn a_sealed_leader_neither_answers_nor_acknowledges_any_more() {
    let mut cluster = three();
    write(&mut cluster, b"x", b"old");
    cluster.take_over(G, B);
    // B asks A, and nothing else happens.
    cluster.end_turn(B);
    assert!(cluster.deliver(B, A));
    let (late_write, late_read) = (
        cluster.submit_to(A, Command { value: b"new", ..Command::new(Op::Set, b"x") }),
        cluster.submit_to(A, get(b"x")),
    );
    for late in [late_write, late_read] {
        assert_eq!(cluster.end(late), Some(&End::Refused(Refusal::NotLeader { group: G, leader: B })));
    }
    assert!(cluster.events().contains(&(A, Event::Deposed { group: G, epoch: Epoch(1) })));
    cluster.run_for(150);
    assert_leads(&cluster, B);
    cluster.check();
}

#[test]
fn nobody_serves_before_the_leases_of_the_leader_before_have_run_out() {
    let mut cluster = three();
    write(&mut cluster, b"x", b"1");
    // A does not know that it is over, and may read until its lease ends.
    cluster.isolate(A);
    cluster.take_over(G, B);
    let mut both = 0;
    for _ in 0..300 {
        cluster.run_for(1);
        let (at_a, at_b) = (cluster.submit_to(A, get(b"x")), cluster.submit_to(B, get(b"x")));
        let is_answered = |token| matches!(cluster.end(token), Some(End::Done(..)));
        both += usize::from(is_answered(at_a) && is_answered(at_b));
    }
    assert_eq!(both, 0, "two leaders answered at the same time");
    assert_leads(&cluster, B);
    cluster.check();
}

/// The leader before has promised, so it reads no more, whatever it was granted.
#[test]
fn who_takes_over_from_a_leader_that_is_well_waits_for_no_lease() {
    for first in [A, C] {
        let mut cluster = three();
        write(&mut cluster, b"k", b"1");
        cluster.take_over(G, B);
        // The answer of the other member is enough to adopt its log; that of the leader may come before or behind it.
        cluster.end_turn(B);
        assert!(cluster.deliver(B, first) && cluster.deliver(first, B));
        cluster.settle();
        assert_leads(&cluster, B);
        let read = cluster.submit_to(B, get(b"k"));
        cluster.settle();
        assert_eq!(cluster.answer(read), Answer::Bulk(b"1"));
    }
}

#[test]
fn a_follower_without_its_memory_is_counted_again_when_it_has_the_log() {
    let mut cluster = three();
    write(&mut cluster, b"x", b"1");
    cluster.restart(C);
    cluster.settle();
    write(&mut cluster, b"y", b"2");
    cluster.run_for(50);
    let members = cluster.status(A, G).members;
    assert!(members.iter().all(|member| matches!(member.standing, Standing::Leader | Standing::Voter)), "{members:?}");
    assert!(cluster.status(A, G).epoch > Epoch(1));
    // It is one of those that can keep the group going.
    cluster.crash(B);
    write(&mut cluster, b"z", b"3");
    cluster.check();
}

/// SMR-6 (i): all followers may go, one after the other or at once, as long as the leader lives.
#[test]
fn both_followers_lose_their_memory_and_nothing_is_lost() {
    let mut cluster = three();
    for number in 0..20_u8 {
        write(&mut cluster, &[b'k', number], &[number]);
    }
    cluster.crash(B);
    cluster.crash(C);
    let refused = cluster.set(b"x", b"1");
    assert!(matches!(cluster.end(refused), Some(End::Refused(Refusal::NoQuorum { have: 1, need: 2, .. }))));
    cluster.restart(B);
    cluster.restart(C);
    cluster.run_for(200);
    write(&mut cluster, b"x", b"2");
    cluster.crash(A);
    cluster.take_over(G, C);
    cluster.run_for(200);
    assert_leads(&cluster, C);
    for number in 0..20_u8 {
        assert_eq!(cluster.peek(C, &[b'k', number]), [number]);
    }
    cluster.check();
}

/// SMR-6 (iii): a follower forgets what it has acknowledged, and must not help to elect somebody who never saw it.
#[test]
fn who_has_lost_its_memory_does_not_seal() {
    let mut cluster = three();
    cluster.pause(C);
    write(&mut cluster, b"x", b"only A and B have it");
    cluster.isolate(A);
    cluster.restart(B);
    cluster.resume(C);
    cluster.take_over(G, C);
    cluster.run_for(500);
    assert_eq!(cluster.status(C, G).state, GroupState::TakingOver, "B is another run and A is away: it waits");
    cluster.heal();
    cluster.run_for(300);
    assert_leads(&cluster, C);
    assert_eq!(cluster.peek(C, b"x"), b"only A and B have it");
    cluster.check();
}

#[test]
fn members_go_from_three_to_four_and_back_while_writes_go_on() {
    let mut cluster = Cluster::start_with_core(4, 1, 3, 2, config());
    cluster.settle();
    write(&mut cluster, b"x", b"1");
    let fourth = NodeId(4);
    let under_way = cluster.set(b"y", b"2");
    cluster.change_members(G, &[A, B, C, fourth]);
    cluster.run_for(50);
    cluster.assert_done(under_way);
    assert_eq!(cluster.record(G).active().members.len(), 4);
    assert_eq!(cluster.peek(fourth, b"y"), b"2");
    cluster.change_members(G, &[A, B, fourth]);
    cluster.run_for(50);
    assert_eq!(cluster.record(G).active().members.len(), 3);
    cluster.crash(B);
    write(&mut cluster, b"z", b"3");
    cluster.check();
}

#[test]
fn a_change_that_another_one_supersedes_acknowledges_nothing() {
    let mut cluster = three();
    write(&mut cluster, b"x", b"1");
    cluster.take_over(G, B);
    cluster.end_turn(B);
    cluster.take_over(G, C);
    cluster.run_for(200);
    assert_leads(&cluster, C);
    assert_eq!(
        cluster.status(B, G).state,
        GroupState::Following { leader: cluster.record(G).active().leader_replica() }
    );
    let served = cluster.events().iter().filter(|(_, event)| matches!(event, Event::Serving { .. }));
    let epochs: Vec<(NodeId, u64)> = served
        .filter_map(|(node, event)| match event {
            Event::Serving { epoch, .. } => Some((*node, epoch.0)),
            _ => None,
        })
        .collect();
    assert_eq!(epochs, [(A, 1), (C, 3)], "nobody ever served in epoch 2");
    cluster.check();
}

/// A deletion of many keys is one entry.
fn delete(cluster: &mut Cluster, keys: &[Vec<u8>]) -> quorate_engine::output::Token {
    let mut list = Vec::new();
    keys.iter().for_each(|key| push_item(&mut list, key));
    cluster.submit(Command { value: &list, ..Command::new(Op::Delete, b"") })
}

/// What a leader had begun to send is half received when it is deposed. It leads again before whoever receives it has heard
/// of anybody else, and begins anew: nothing of the one may be taken for a part of the other.
#[test]
fn a_snapshot_is_never_continued_by_one_of_a_later_epoch_of_the_same_leader() {
    let config = Config { chunk_bytes: 4 << 10, chunks_in_flight: 2, ..config() };
    let mut cluster = Cluster::start_with_core(3, 1, 3, 2, config);
    cluster.settle();
    cluster.pause(C);
    let keys: Vec<Vec<u8>> = (0..120_u8).map(|number| vec![b'k', number]).collect();
    for key in &keys {
        write(&mut cluster, key, &[b'v'; 900]);
    }
    cluster.drop_messages(A, C);
    cluster.resume(C);
    // A asks where C is, and begins to send the state.
    cluster.tick(200);
    cluster.end_turn(A);
    while cluster.status(C, G).state != GroupState::Installing {
        assert!(cluster.deliver(A, C) | cluster.deliver(C, A), "no snapshot begins");
    }
    cluster.drop_messages(C, A);
    cluster.drop_messages(A, C);
    // The first chunk would hold more keys now than it did.
    let deleted = delete(&mut cluster, &keys[..100]);
    cluster.end_turn(A);
    assert!(cluster.deliver(A, C), "the entry goes with the snapshot");
    cluster.drop_messages(A, C);
    cluster.drop_messages(C, A);
    while cluster.deliver(A, B) || cluster.deliver(B, A) {}
    cluster.assert_done(deleted);
    // A is deposed, and takes over again at once.
    cluster.take_over(G, B);
    cluster.end_turn(B);
    assert!(cluster.deliver(B, A));
    cluster.drop_messages(B, C);
    cluster.drop_messages(A, C);
    cluster.take_over(G, A);
    while !cluster.keep(A, C, |message| matches!(message, Message::Chunk(_))) {
        cluster.end_turn(A);
        assert!(cluster.deliver(A, C) | cluster.deliver(C, A), "no chunk comes");
    }
    // Its first chunk is lost on the way, the others are not.
    cluster.drop_messages(A, C);
    cluster.run_for(500);
    assert_leads(&cluster, A);
    cluster.check();
    for key in &keys[100..] {
        assert_eq!(cluster.peek(C, key), [b'v'; 900], "{key:?}");
    }
}

#[test]
fn a_snapshot_brings_the_logged_time_with_it() {
    let mut cluster = three();
    cluster.run_for(5_000);
    let brief = Command { flags: Flags::TTL, time: 1_000_000_000, value: b"v", ..Command::new(Op::Set, b"brief") };
    cluster.submit(brief);
    cluster.settle();
    cluster.pause(C);
    for number in 0..120_u8 {
        write(&mut cluster, &[b'k', number], &[b'v'; 900]);
    }
    // No entry follows the snapshot, so nothing else says what time it is.
    cluster.drop_messages(A, C);
    cluster.resume(C);
    cluster.run_for(500);
    assert!(cluster.events().contains(&(A, Event::SnapshotInstalled { group: G, to: replica(&cluster, C) })));
    cluster.crash(A);
    cluster.take_over(G, C);
    cluster.run_for(200);
    assert_leads(&cluster, C);
    assert_eq!(cluster.peek(C, b"brief"), b"v", "it has a little left");
    cluster.run_for(1_000);
    assert_eq!(cluster.peek(C, b"brief"), b"", "its second is over");
    cluster.check();
}

fn replica(cluster: &Cluster, node: NodeId) -> ReplicaId {
    let active = cluster.record(G).active();
    ReplicaId { node, incarnation: active.incarnation_of(node).expect("a member") }
}

/// What follows the end of a snapshot may be held by no other replica any more.
#[test]
fn a_snapshot_that_ends_inside_the_log_leaves_what_follows() {
    let mut cluster = Cluster::start_with_core(3, 1, 3, 3, config());
    cluster.settle();
    cluster.pause(B);
    for _ in 0..3 {
        cluster.set(b"x", b"not committed without B");
    }
    cluster.settle();
    assert_eq!(cluster.status(C, G).last, LogIndex(4));
    let at = EntryId { epoch: Epoch(1), index: LogIndex(2) };
    let (stream, time) = (StreamId(1), LogTime(1));
    let chunk = Chunk { stream, sequence: 0, is_last: true, base: at, at, time, body: &[] };
    let from = replica(&cluster, B);
    let envelope = Envelope { from, group: G, epoch: Epoch(2), message: Message::Chunk(chunk) };
    cluster.engine_mut(C).handle(Instant(2_000_000_000), Input::Message(envelope)).for_each(drop);
    let status = cluster.status(C, G);
    assert_eq!((status.last, status.commit), (LogIndex(4), LogIndex(2)));
}

#[test]
fn a_leader_that_was_idle_and_has_something_to_do_again_has_not_lost_its_quorum() {
    let mut cluster = three();
    write(&mut cluster, b"x", b"1");
    cluster.run_for(1_000);
    cluster.set(b"x", b"2");
    cluster.end_turn(A);
    assert_eq!(cluster.unled(A), [], "it has only just begun to wait");
    cluster.tick(50);
    cluster.settle();
    assert_eq!(cluster.unled(A), []);
    cluster.check();
}

#[test]
fn a_leader_that_reaches_too_few_members_says_so_though_it_refuses_everything() {
    let mut cluster = three();
    write(&mut cluster, b"x", b"1");
    cluster.isolate(A);
    cluster.run_for(150);
    assert_eq!(cluster.unled(A), [], "its lease has only just run out");
    cluster.run_for(150);
    assert_eq!(cluster.unled(A), [G]);
    cluster.heal();
    cluster.run_for(10);
    assert_eq!(cluster.unled(A), []);
    cluster.check();
}

/// B acknowledges an entry, and the answer is long on its way. Meanwhile C takes over, which needs nobody else, and has B
/// cut the entry. Then the core turns to A again.
#[test]
fn what_was_acknowledged_before_a_change_is_not_what_is_held_after_it() {
    let mut cluster = Cluster::start_with_core(3, 1, 3, 3, config());
    cluster.settle();
    cluster.pause(C);
    cluster.set(b"x", b"1");
    cluster.end_turn(A);
    assert!(cluster.deliver(A, B));
    cluster.drop_messages(A, C);
    cluster.resume(C);
    cluster.take_over(G, C);
    cluster.end_turn(C);
    cluster.end_turn(C);
    while cluster.deliver(C, B) | cluster.deliver(B, C) {}
    assert_eq!(cluster.status(B, G).last, LogIndex(2));
    cluster.drop_messages(C, A);
    cluster.drop_messages(B, C);
    cluster.change_members(G, &[A, B, C]);
    cluster.run_for(100);
    assert_leads(&cluster, A);
    assert_eq!(cluster.status(A, G).epoch, Epoch(3));
    write(&mut cluster, b"y", b"2");
    cluster.check();
}

#[test]
fn a_change_for_which_the_leader_alone_is_enough_needs_no_answer_of_anybody() {
    let mut cluster = Cluster::start_with_core(2, 1, 2, 1, config());
    cluster.settle();
    cluster.crash(B);
    cluster.change_members(G, &[A]);
    cluster.settle();
    assert_leads(&cluster, A);
    assert_eq!(cluster.record(G).active().members.len(), 1);
    write(&mut cluster, b"x", b"1");
    cluster.check();
}

#[test]
fn the_core_is_asked_again_after_a_while_and_not_with_every_answer() {
    let mut cluster = three();
    cluster.restart(C);
    for _ in 0..10 {
        cluster.set(b"x", b"1");
        cluster.end_turn(A);
        while [(A, B), (B, A), (A, C), (C, A)].into_iter().any(|(from, to)| cluster.deliver(from, to)) {}
    }
    let (epoch, learner) = (Epoch(1), cluster.record(G).learners()[0]);
    assert_eq!(cluster.asks(), [(A, Ask::Promote { epoch, learner })]);
    cluster.tick(20);
    cluster.end_turn(A);
    assert_eq!(cluster.asks().len(), 2);
    cluster.check();
}

#[test]
fn nobody_asks_to_count_a_run_that_is_not_to_hold_the_group() {
    let mut cluster = three();
    cluster.restart(C);
    cluster.place(G, &[A, B]);
    for _ in 0..10 {
        cluster.set(b"x", b"1");
        cluster.end_turn(A);
        while [(A, B), (B, A), (A, C), (C, A)].into_iter().any(|(from, to)| cluster.deliver(from, to)) {}
    }
    assert_eq!(cluster.asks(), []);
    // Now it is, and it has the log already.
    cluster.place(G, &[A, B, C]);
    let (epoch, learner) = (Epoch(1), cluster.record(G).learners()[0]);
    assert_eq!(cluster.asks(), [(A, Ask::Promote { epoch, learner })]);
    cluster.check();
}

/// The best log is lost when half of it has come over: what the candidate holds then is better than what anybody else has.
#[test]
fn a_candidate_knows_how_much_it_has_fetched() {
    let [d, e] = [4, 5].map(NodeId);
    let config = Config { append_bytes_max: 256, ..config() };
    let mut cluster = Cluster::start_with_core(5, 1, 5, 3, config);
    cluster.settle();
    cluster.pause(C);
    for number in 0..10_u8 {
        write(&mut cluster, &[b'k', number], &[number; 100]);
    }
    cluster.pause(d);
    cluster.pause(e);
    for number in 10..30_u8 {
        cluster.set(&[b'k', number], &[number; 100]);
    }
    cluster.settle();
    for node in [C, d, e] {
        cluster.drop_messages(A, node);
        cluster.resume(node);
    }
    cluster.crash(A);
    cluster.take_over(G, C);
    while cluster.status(C, G).last < LogIndex(20) {
        cluster.tick(20);
        cluster.end_turn(C);
        while cluster.deliver(C, B) {}
        while cluster.deliver(C, d) {}
        while cluster.deliver(d, C) {}
        assert!(cluster.deliver(B, C), "it has no more of the log: {:?}", cluster.status(C, G));
    }
    cluster.crash(B);
    cluster.run_for(300);
    assert_leads(&cluster, C);
    cluster.check();
}

#[test]
fn news_that_find_the_log_full_are_looked_at_again() {
    let config = Config { log_bytes: 16 << 10, value_bytes_max: 256, ..config() };
    // Each group keeps a segment at least, and there are not enough of them.
    let cluster = Cluster::start_with_core(1, 17, 1, 1, config);
    let waiting = cluster.engine(A).status().iter().filter(|group| group.last == LogIndex(0)).count();
    assert_eq!(waiting, 1);
    assert!(cluster.engine(A).wake_at().is_some());
}
