//! Pub/sub reaches subscribers at any node and any CPU, in both versions of the protocol.

use std::time::Duration;

use super::daemons::{Cluster, Shape, until};
use super::resp::{Reply, Resp};

fn message(parts: &[&str]) -> Vec<Reply> {
    parts.iter().map(Reply::bulk).collect()
}

/// Subscribes, and returns what confirmed it.
fn subscribe(resp: &mut Resp, verb: &str, name: &str) -> Reply {
    resp.ask(&[verb, name])
}

fn confirmation(verb: &str, name: &str, count: i64) -> Vec<Reply> {
    vec![Reply::bulk(verb), Reply::bulk(name), Reply::Int(count)]
}

fn hello_3(resp: &mut Resp) {
    assert!(matches!(resp.ask(&["HELLO", "3"]), Reply::Map(_)));
}

#[test]
fn a_message_reaches_subscribers_at_all_nodes_once() {
    let cluster = Cluster::start(&Shape::three());
    let mut plain = cluster.connect(3);
    assert_eq!(subscribe(&mut plain, "SUBSCRIBE", "news"), Reply::Array(confirmation("subscribe", "news", 1)));
    assert_eq!(subscribe(&mut plain, "PSUBSCRIBE", "ne*"), Reply::Array(confirmation("psubscribe", "ne*", 2)));
    let mut pushed = cluster.connect(2);
    hello_3(&mut pushed);
    assert_eq!(subscribe(&mut pushed, "SUBSCRIBE", "news"), Reply::Push(confirmation("subscribe", "news", 1)));
    let mut sharded = cluster.connect(3);
    assert_eq!(subscribe(&mut sharded, "SSUBSCRIBE", "news"), Reply::Array(confirmation("ssubscribe", "news", 1)));

    let mut publisher = cluster.connect(1);
    // Only those at the publisher's own node are counted.
    assert_eq!(publisher.ask(&["PUBLISH", "news", "first"]), Reply::Int(0));
    assert_eq!(publisher.ask(&["PUBLISH", "new", "for the pattern"]), Reply::Int(0));
    assert_eq!(publisher.ask(&["PUBLISH", "other", "for nobody"]), Reply::Int(0));
    assert_eq!(publisher.ask(&["SPUBLISH", "news", "sharded"]), Reply::Int(0));
    assert_eq!(publisher.ask(&["PUBLISH", "news", "last"]), Reply::Int(0));
    let expected: [&[&str]; 5] = [
        &["message", "news", "first"],
        &["pmessage", "ne*", "news", "first"],
        &["pmessage", "ne*", "new", "for the pattern"],
        &["message", "news", "last"],
        &["pmessage", "ne*", "news", "last"],
    ];
    for parts in expected {
        assert_eq!(plain.receive(), Reply::Array(message(parts)));
    }
    assert_eq!(pushed.receive(), Reply::Push(message(&["message", "news", "first"])));
    assert_eq!(pushed.receive(), Reply::Push(message(&["message", "news", "last"])));
    assert_eq!(sharded.receive(), Reply::Array(message(&["smessage", "news", "sharded"])));

    // RESP3 allows everything beside subscriptions; RESP2 does not, and says so.
    assert_eq!(pushed.ask(&["SET", "k", "v"]), Reply::ok());
    assert!(plain.ask(&["GET", "k"]).is_error("ERR"));
    assert_eq!(pushed.ask(&["UNSUBSCRIBE"]), Reply::Push(confirmation("unsubscribe", "news", 0)));
    assert_eq!(publisher.ask(&["PUBLISH", "news", "after"]), Reply::Int(0));
    assert_eq!(plain.receive(), Reply::Array(message(&["message", "news", "after"])));
    assert_eq!(pushed.ask(&["PING"]), Reply::Word("PONG".to_owned()), "and no message in front of it");
    assert!(pushed.is_silent(Duration::from_millis(50)));
}

#[test]
fn a_message_reaches_subscribers_at_all_cpus_however_few_groups_there_are() {
    // With one partition the second CPU of each node has no group, and so nothing to say to other nodes but this.
    let cluster = Cluster::start(&Shape::three().cpus(&[2, 2, 1]));
    let doors = [(1, 0), (1, 1), (2, 0), (2, 1), (3, 0)];
    until("every CPU sees all nodes", || {
        let states = doors.iter().flat_map(|(id, cpu)| {
            let report = Resp::connect(&cluster.resp_of_cpu(*id, *cpu)).try_status().expect("a status");
            report.nodes.into_iter().map(|node| node.state)
        });
        states.into_iter().all(|state| state == "up").then_some(())
    });
    for (from, publisher) in doors.iter().enumerate() {
        let channel = format!("from-{from}");
        let mut listeners: Vec<(Resp, (u16, u16))> = doors
            .iter()
            .map(|(id, cpu)| {
                let mut resp = Resp::connect(&cluster.resp_of_cpu(*id, *cpu));
                subscribe(&mut resp, "SUBSCRIBE", &channel);
                (resp, (*id, *cpu))
            })
            .collect();
        let mut resp = Resp::connect(&cluster.resp_of_cpu(publisher.0, publisher.1));
        let own = doors.iter().filter(|(id, _)| *id == publisher.0).count();
        let count = i64::try_from(own).expect("a few");
        assert_eq!(resp.ask(&["PUBLISH", &channel, "hello"]), Reply::Int(count), "at {publisher:?}");
        for (listener, place) in &mut listeners {
            assert!(!listener.is_silent(Duration::from_secs(10)), "{place:?} does not hear {publisher:?}");
            assert_eq!(listener.receive(), Reply::Array(message(&["message", &channel, "hello"])), "at {place:?}");
        }
    }
}
