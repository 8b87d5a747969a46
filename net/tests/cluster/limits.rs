//! What is full or too large says so, with the number; and whoever tries again gets through once there is room.

use std::time::{Duration, Instant};

use quorate::client::polling::Client;
use quorate::client::{ClientOptions, Outcome};
use quorate_engine::machine::command::{Command, Op};

use super::daemons::{Cluster, DEADLINE, Shape, until};
use super::resp::{Reply, Resp};

/// Small, and patient: what is under way while the followers stand still is confirmed when they go on.
fn small() -> Shape {
    let shape = Shape::three().set_text("node", "log_memory", "4 MiB").set_text("limits", "key_max", "1 KiB");
    shape.set_text("limits", "value_max", "64 KiB").set_text("limits", "request_timeout", "60 s")
}

#[test]
fn a_full_waiting_list_says_overload_and_the_native_client_gets_through() {
    let cluster = Cluster::start(&small().set("limits", "waiters_max", 64));
    cluster.node(2).pause();
    cluster.node(3).pause();
    let mut resp = cluster.connect(1);
    // Of a hundred writes 64 wait, and the others are told to come again. Replies come in the order of requests, so those
    // cannot be read yet.
    for number in 0..100 {
        resp.send(&["SET", &format!("r{number}"), "1"]);
    }
    fill_and_get_through(&cluster, b"1");
    let replies: Vec<Reply> = (0..100).map(|_| resp.receive()).collect();
    for (number, reply) in replies.iter().enumerate() {
        let expected =
            if number < 64 { "" } else { "OVERLOAD 500 retry after so many microseconds: the waiting list is full" };
        match reply {
            Reply::Error(text) => assert_eq!(text, expected, "write {number}"),
            reply => assert!(number < 64 && *reply == Reply::ok(), "write {number}: {reply:?}"),
        }
        let held = Reply::Int(i64::from(number < 64));
        assert_eq!(resp.ask(&["EXISTS", &format!("r{number}")]), held, "what was refused did not happen");
    }
    cluster.assert_equal(&[1, 2, 3]);
}

#[test]
fn a_log_full_of_what_nobody_confirms_says_overload_and_the_native_client_gets_through() {
    // An eighth of 4 MiB is what a group may have uncommitted: eight of these values.
    let cluster = Cluster::start(&small());
    cluster.node(2).pause();
    cluster.node(3).pause();
    fill_and_get_through(&cluster, &[b'x'; 60 << 10]);
    cluster.assert_equal(&[1, 2, 3]);
}

/// Writes more than there is room for while nobody confirms, sees that the client is told so, and lets the followers go
/// on: every write is done in the end.
fn fill_and_get_through(cluster: &Cluster, value: &[u8]) {
    let mut client = Client::connect(ClientOptions { window: WRITES, ..cluster.client(1) }).expect("the node is up");
    for number in 0..WRITES {
        let key = format!("n{number}");
        client.submit(&Command { value, ..Command::new(Op::Set, key.as_bytes()) }).expect("the window is as large");
    }
    let mut done = 0;
    let mut poll = |client: &mut Client| {
        client.poll(|completion| match completion.outcome {
            Outcome::Done { .. } => done += 1,
            other => panic!("{other:?}"),
        });
        done
    };
    let deadline = Instant::now() + DEADLINE;
    while client.overload_count() < 10 {
        assert!(Instant::now() < deadline, "nobody says OVERLOAD");
        assert_eq!(poll(&mut client), 0, "nobody confirms, and it is acknowledged");
        client.wait(Duration::from_millis(10));
    }
    cluster.node(2).resume();
    cluster.node(3).resume();
    while poll(&mut client) < WRITES {
        assert!(Instant::now() < deadline, "{} of {WRITES} writes get through", poll(&mut client));
        client.wait(Duration::from_millis(10));
    }
}

#[test]
fn full_memory_says_oom_until_something_is_deleted() {
    let cluster = Cluster::start(&small().set_text("node", "memory_max", "1 MiB"));
    let mut resp = cluster.connect(1);
    let value = "x".repeat(10_000);
    let mut count = 0;
    let refusal = until("memory is full", || match resp.ask(&["SET", &format!("k{count}"), &value]) {
        Reply::Word(_) => {
            count += 1;
            assert!(count * value.len() <= 1 << 20, "{count} values are more than there may be");
            None
        }
        reply => Some(reply),
    });
    assert!(count * value.len() > 1 << 19, "it is said after {count} values");
    assert!(refusal.is_error("OOM"), "{refusal:?}");
    assert!(
        refusal.error().contains("of 1048576 bytes in use on this CPU; delete keys or raise memory_max"),
        "{refusal:?}"
    );
    assert_eq!(resp.ask(&["GET", "k0"]), Reply::bulk(&value), "reads are served");
    assert_eq!(resp.ask(&["EXISTS", &format!("k{count}")]), Reply::Int(0), "what was refused did not happen");
    for request in [&["APPEND", "k0", &value][..], &["HSET", "h", "f", &value], &["MSET", "a", &value]] {
        assert!(resp.ask(request).is_error("OOM"), "{request:?}");
    }
    // The same through another node, and for a client that tries again after making room.
    let mut other = cluster.connect(2);
    assert!(other.ask(&["SET", "more", &value]).is_error("OOM"));
    assert_eq!(other.ask(&["DEL", "k0", "k1"]), Reply::Int(2));
    assert_eq!(other.ask(&["SET", "more", &value]), Reply::ok());
    cluster.assert_equal(&[1, 2, 3]);
}

#[test]
fn keys_and_values_over_their_limit_are_refused_with_the_limit() {
    let cluster = Cluster::start(&small());
    let (key, value) = ("k".repeat(1_025), "v".repeat(65_537));
    let long_key = Reply::Error("ERR key of 1025 bytes is longer than the limit of 1024 (limits.key_max)".to_owned());
    let large = "is larger than the limit of 65536";
    for id in [1, 2] {
        let mut resp = cluster.connect(id);
        for request in
            [&["SET", &key, "v"][..], &["GET", &key], &["INCR", &key], &["HSET", &key, "f", "v"], &["DEL", &key]]
        {
            assert_eq!(resp.ask(request), long_key, "{} through node {id}", request[0]);
        }
        for request in
            [&["SET", "k", &value][..], &["HSET", "h", "f", &value], &["MSET", "k", &value], &["GETSET", "k", &value]]
        {
            let reply = resp.ask(request);
            assert!(reply.error().contains(large), "{} through node {id}: {reply:?}", request[0]);
        }
        // Those that become too large by growing.
        let half = "v".repeat(40_000);
        assert_eq!(resp.ask(&["SET", "half", &half]), Reply::ok());
        for request in [&["APPEND", "half", &half][..], &["SETRANGE", "half", "65530", "0123456789"]] {
            let reply = resp.ask(request);
            assert!(reply.error().contains(large), "{} through node {id}: {reply:?}", request[0]);
        }
        assert_eq!(resp.ask(&["STRLEN", "half"]), Reply::Int(40_000), "it is as it was");
        let (longest_key, largest_value) = (&key[1..], &value[1..]);
        assert_eq!(resp.ask(&["SET", longest_key, largest_value]), Reply::ok(), "at the limit it fits");
        assert_eq!(resp.ask(&["GET", longest_key]), Reply::bulk(largest_value));
    }
}

#[test]
fn values_of_the_usual_limit_reach_all_replicas() {
    let cluster = Cluster::start(&Shape::three().cpus(&[1, 2, 1]).partitions(3));
    let value = "v".repeat(1 << 20);
    for id in [1, 2, 3] {
        let mut resp = cluster.connect(id);
        let names: Vec<String> = (0..20).map(|number| format!("{id}:{number}")).collect();
        let replies = resp.pipeline(names.iter().map(|name| vec!["SET", name, &value]));
        for reply in replies {
            // A megabyte is an eighth of what may be uncommitted.
            assert!(reply == Reply::ok() || reply.is_error("OVERLOAD"), "{reply:?}");
        }
        for name in &names {
            until("it gets through", || (resp.ask(&["SET", name, &value]) == Reply::ok()).then_some(()));
            assert_eq!(resp.ask(&["GET", name]), Reply::bulk(&value));
        }
    }
    cluster.assert_equal(&[1, 2, 3]);
}

#[test]
fn a_command_that_no_log_could_hold_is_refused_for_good() {
    // Ten values are more than a group may have uncommitted: waiting would never help.
    let cluster = Cluster::start(&small());
    let value = "v".repeat(60_000);
    let names: Vec<String> = (0..10).map(|number| format!("{{t}}{number}")).collect();
    let request: Vec<&str> =
        ["MSET"].into_iter().chain(names.iter().flat_map(|name| [name.as_str(), &value])).collect();
    for id in [1, 2] {
        let reply = cluster.connect(id).ask(&request);
        assert!(reply.is_error("ERR"), "through node {id}: {reply:?}");
        assert!(reply.error().contains("limit"), "{reply:?}");
    }
    assert_eq!(cluster.connect(1).ask(&request[..9]), Reply::ok(), "four of them fit");
}

#[test]
fn one_client_too_many_is_told_so() {
    let cluster = Cluster::start(&Shape::one().set("limits", "clients_max", 5));
    let mut clients: Vec<Resp> = until("four clients are connected beside the one that looks", || {
        let clients: Vec<Resp> = (0..5).map(|_| cluster.connect(1)).collect();
        let connected = clients.into_iter().filter_map(|mut resp| {
            let _ = resp.try_send_bytes(b"PING\r\n");
            (resp.try_receive() == Ok(Reply::Word("PONG".to_owned()))).then_some(resp)
        });
        let connected: Vec<Resp> = connected.collect();
        (connected.len() == 5).then_some(connected)
    });
    let mut refused = cluster.connect(1);
    assert_eq!(refused.receive(), Reply::Error("ERR max number of clients reached".to_owned()));
    assert!(refused.is_closed());
    assert_eq!(clients[0].ask(&["SET", "k", "v"]), Reply::ok());
    clients.pop();
    until("there is room again", || {
        let mut resp = cluster.connect(1);
        let _ = resp.try_send_bytes(b"PING\r\n");
        (resp.try_receive() == Ok(Reply::Word("PONG".to_owned()))).then_some(())
    });
}

const WRITES: usize = 300;
