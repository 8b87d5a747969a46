//! Replies of megabytes, more of them than fit any buffer: whoever asks for them faster than it reads is told to come
//! again, and not cut off, and neither are the nodes that pass them on.

use std::thread;
use std::time::Duration;

use quorate_engine::slots::{SlotMap, slot_of};

use super::daemons::{Cluster, Shape, until};
use super::resp::{Reply, Resp, push_request};

#[test]
fn large_replies_arrive_through_every_node() {
    for io in ["auto", "mio"] {
        let cluster = Cluster::start(&Shape::three().io(&[io; 3]));
        let large = "x".repeat(1 << 20);
        assert_eq!(cluster.connect(1).ask(&["SET", "large", &large]), Reply::ok());
        for id in [1, 2, 3] {
            ask_for_many(&mut cluster.connect(id), "large", &large);
        }
        assert_no_connection_was_lost(&cluster);
        cluster.assert_equal(&[1, 2, 3]);
    }
}

#[test]
fn reads_that_waited_together_are_not_all_answered_in_one_turn() {
    // With a lease this short it has run out whenever nobody has asked for a moment, and all reads wait for the next one.
    let cluster = Cluster::start(&Shape::three().set_text("replication", "read_lease", "10 ms"));
    let large = "x".repeat(1 << 20);
    let mut resp = cluster.connect(1);
    assert_eq!(resp.ask(&["SET", "large", &large]), Reply::ok());
    let before = cluster.node(1).memory_bytes("VmHWM");
    for _ in 0..3 {
        assert!(resp.is_silent(Duration::from_millis(100)));
        let mut requests = Vec::new();
        (0..300).for_each(|_| push_request(&mut requests, &["GET", "large"]));
        resp.send_bytes(&requests);
        for _ in 0..300 {
            let reply = resp.receive();
            assert!(reply == Reply::bulk(&large) || reply.is_error("OVERLOAD"), "{}", shown(&reply));
        }
    }
    let growth = cluster.node(1).memory_bytes("VmHWM") - before;
    assert!(growth < 128 << 20, "300 MiB were asked for, and the node grew by {growth} bytes");
}

#[test]
fn nodes_that_owe_each_other_large_replies_do_not_wait_for_each_other() {
    for io in ["auto", "mio"] {
        let cluster = Cluster::start(&Shape::three().io(&[io; 3]).partitions(3));
        let large = "x".repeat(1 << 20);
        // A key for each leader; each is read through all the other nodes at once.
        let names = [1, 2, 3].map(name_led_by);
        for name in &names {
            assert_eq!(cluster.connect(1).ask(&["SET", name, &large]), Reply::ok());
        }
        thread::scope(|scope| {
            for (leader, name) in (1..=3).zip(&names) {
                for id in (1..=3).filter(|id| *id != leader) {
                    let (mut resp, large) = (cluster.connect(id), &large);
                    scope.spawn(move || ask_for_many(&mut resp, name, large));
                }
            }
        });
        assert_no_connection_was_lost(&cluster);
        cluster.assert_equal(&[1, 2, 3]);
    }
}

/// A request of a few kilobytes can ask for more than there is memory: the same keys over and over, in one slot and in many,
/// through the CPU that has them and through another one, at the leader and elsewhere.
#[test]
fn a_reply_that_is_too_long_is_an_error_and_is_never_held_in_memory() {
    for cpus in [[1, 1, 1], [2, 2, 2]] {
        let cluster = Cluster::start(&Shape::three().cpus(&cpus).partitions(4));
        let large = "x".repeat(1 << 20);
        let mut resp = cluster.connect(1);
        let names: Vec<String> = (0..6).map(|number| format!("large{number}")).collect();
        for name in &names {
            assert_eq!(resp.ask(&["SET", name, &large]), Reply::ok());
            assert_eq!(resp.ask(&["HSET", &format!("{{{name}}}h"), "f", &large]), Reply::Int(1));
        }
        let before: Vec<u64> = (1..=3).map(|id| cluster.node(id).memory_bytes("VmHWM")).collect();
        let mixed: Vec<&str> =
            ["MGET"].into_iter().chain(names.iter().map(String::as_str).cycle().take(3_000)).collect();
        let same: Vec<&str> = ["MGET"].into_iter().chain([&*names[0]; 3_000]).collect();
        let fields: Vec<&str> = ["HMGET", "{large0}h"].into_iter().chain(["f"; 3_000]).collect();
        for id in [1, 2, 3] {
            let mut resp = cluster.connect(id);
            for request in [&mixed, &same, &fields] {
                let reply = resp.ask(request);
                let says_what_to_do = reply.is_error("ERR") || reply.is_error("OVERLOAD");
                assert!(says_what_to_do && reply.error().contains("ask for "), "{}", shown(&reply));
                // What there is room for is answered, over the same connection.
                until("ten of them at once", || match resp.ask(&request[..12]) {
                    Reply::Array(values) => {
                        assert!(values.iter().all(|value| *value == Reply::bulk(&large)));
                        Some(())
                    }
                    reply => {
                        assert!(reply.is_error("OVERLOAD"), "{}", shown(&reply));
                        None
                    }
                });
            }
        }
        for (id, before) in (1..).zip(before) {
            let growth = cluster.node(id).memory_bytes("VmHWM") - before;
            assert!(growth < 512 << 20, "3,000 MiB were asked for, and node {id} grew by {growth} bytes");
        }
        assert_no_connection_was_lost(&cluster);
    }
}

/// Asks for 80 MiB at once, and reads it only then; what there was no room for is asked for again.
pub(crate) fn ask_for_many(resp: &mut Resp, name: &str, large: &str) {
    let mut missing = 80;
    until("all of them have come", || {
        let mut requests = Vec::new();
        (0..missing).for_each(|_| push_request(&mut requests, &["GET", name]));
        resp.send_bytes(&requests);
        let come = (0..missing).filter(|_| {
            let reply = resp.receive();
            let is_whole = reply == Reply::bulk(large);
            assert!(is_whole || reply.is_error("OVERLOAD"), "{}", shown(&reply));
            is_whole
        });
        let come = come.count();
        assert!(come > 0, "not one of {missing} finds room");
        missing -= come;
        (missing == 0).then_some(())
    });
}

fn shown(reply: &Reply) -> String {
    let text = format!("{reply:?}");
    text.chars().take(200).collect()
}

fn assert_no_connection_was_lost(cluster: &Cluster) {
    for id in [1, 2, 3] {
        let log = cluster.node(id).log();
        assert!(!log.contains("connection to node lost"), "node {id}: {log}");
    }
}

fn name_led_by(node: u32) -> String {
    let map = SlotMap::new(3).expect("in range");
    let leader = |name: &String| map.group_of(slot_of(name.as_bytes())).0 % 3 + 1;
    (0..).map(|number| format!("large{number}")).find(|name| leader(name) == node).expect("one of a few")
}
