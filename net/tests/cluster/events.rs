//! The stream of events, and the keys that the consistent core keeps.

use super::daemons::{Cluster, Shape, until};
use super::resp::{Reply, Resp};

/// Three nodes that notice soon when one of them is gone.
fn quick() -> Cluster {
    Cluster::start(&Shape::three().core(&[1, 2, 3]).suspicion("300 ms"))
}

/// Returns index and name of the events from an index on, as `CORE EVENTS` lists them.
fn events(resp: &mut Resp, from: i64) -> Vec<(i64, String)> {
    let listed = resp.ask(&["CORE", "EVENTS", "FROM", &from.to_string(), "COUNT", "4096"]);
    let Reply::Array(items) = listed else { panic!("{listed:?}") };
    items.iter().map(named).collect()
}

/// Returns index and name of an event, which is a map or names and values in turn.
fn named(event: &Reply) -> (i64, String) {
    let pairs: Vec<(&Reply, &Reply)> = match event {
        Reply::Map(pairs) => pairs.iter().map(|(name, value)| (name, value)).collect(),
        Reply::Array(items) => items.chunks_exact(2).map(|pair| (&pair[0], &pair[1])).collect(),
        other => panic!("{other:?}"),
    };
    let value = |wanted: &str| {
        let found = pairs.iter().find(|(name, _)| **name == Reply::bulk(wanted));
        found.unwrap_or_else(|| panic!("{event:?} has no {wanted}")).1
    };
    let (Reply::Int(index), Reply::Bulk(name)) = (value("index"), value("event")) else { panic!("{event:?}") };
    (*index, String::from_utf8_lossy(name).into_owned())
}

#[test]
fn what_happens_to_a_leader_is_told_in_order_by_every_node_and_pushed_to_who_wants_it() {
    let mut cluster = quick();
    cluster.wait_for_member(1, 3);
    let mut watching = cluster.connect(3);
    watching.ask(&["HELLO", "3"]);
    assert_eq!(watching.ask(&["CORE", "EVENTS", "FROM", "1", "PUSH"]), Reply::ok());
    let before = events(&mut cluster.connect(2), 1).last().map_or(0, |(index, _)| *index);
    cluster.node_mut(1).kill();
    let mut resp = cluster.connect(2);
    until("another node leads", || (resp.ask(&["SET", "k", "v"]) == Reply::ok()).then_some(()));
    cluster.node_mut(1).start();
    let leader =
        until("node 2 knows who leads", || Some(cluster.status(2).groups[0].leader).filter(|leader| *leader != 1));
    cluster.wait_for_member(leader, 1);
    let wanted = ["node_down", "takeover_began", "leader_changed", "node_up", "resync_started", "resync_done"];
    let told = until("all of it is told", || {
        let told = events(&mut resp, before + 1);
        told.iter().any(|(_, name)| name == "took_over").then_some(())?;
        told.iter().any(|(_, name)| name == "resync_done").then_some(told)
    });
    let at = |wanted: &str| {
        let found = told.iter().find(|(_, name)| name == wanted);
        found.unwrap_or_else(|| panic!("{wanted} is not told: {told:?}")).0
    };
    let order: Vec<i64> = wanted.iter().map(|name| at(name)).collect();
    assert!(order.is_sorted(), "{order:?}: {told:?}");
    let all = events(&mut resp, 1);
    assert!(all.iter().map(|(index, _)| *index).eq(1..=all.len() as i64), "without gaps: {all:?}");
    // Another node tells the same, and has pushed it, each event once.
    let other = until("node 3 knows as much", || {
        let other = events(&mut cluster.connect(3), 1);
        (other.len() >= all.len()).then_some(other)
    });
    assert_eq!(other[..all.len()], all);
    for event in &all {
        let Reply::Push(items) = watching.receive() else { panic!("no push") };
        assert_eq!((&items[0], named(&items[1])), (&Reply::bulk("core-event"), event.clone()));
    }
}

#[test]
fn the_core_keeps_keys_for_who_compares_versions() {
    let mut cluster = quick();
    let (mut one, mut two) = (cluster.connect(1), cluster.connect(2));
    let mut watching = cluster.connect(3);
    watching.ask(&["HELLO", "3"]);
    assert_eq!(watching.ask(&["CORE.WATCH", "owner/"]), Reply::ok());
    assert_eq!(one.ask(&["CORE.GET", "owner/7"]), Reply::Nil);
    assert_eq!(one.ask(&["CORE.SET", "owner/7", "a", "IF", "0"]), Reply::Int(1));
    assert_eq!(
        two.ask(&["CORE.SET", "owner/7", "b", "IF", "0"]).error(),
        "CONFLICT the key has version 1, not 0; read it again and decide anew"
    );
    assert_eq!(two.ask(&["CORE.SET", "other", "x"]), Reply::Int(2));
    assert_eq!(two.ask(&["CORE.SET", "owner/7", "b", "IF", "1"]), Reply::Int(3));
    let stored = |value: &str, version: i64| {
        Reply::Array(vec![Reply::bulk("value"), Reply::bulk(value), Reply::bulk("version"), Reply::Int(version)])
    };
    assert_eq!(one.ask(&["CORE.GET", "owner/7"]), stored("b", 3));
    for version in [1, 3] {
        let Reply::Push(items) = watching.receive() else { panic!("no push") };
        assert_eq!(items[..3], [Reply::bulk("core-watch"), Reply::bulk("owner/7"), Reply::Int(version)]);
    }
    // It is on disk: nobody's memory is needed for it.
    for id in [1, 2, 3] {
        cluster.node_mut(id).kill();
    }
    for id in [1, 2, 3] {
        cluster.node_mut(id).start();
    }
    let mut one = until("node 1 listens", || Resp::try_connect(&cluster.resp(1)));
    until("the core answers", || (one.ask(&["CORE.GET", "owner/7"]) == stored("b", 3)).then_some(()));
    assert!(one.ask(&["CORE.SET", "", "x"]).is_error("ERR"));
    assert!(one.ask(&["CORE.SET", "k", "x", "IF", "y"]).is_error("ERR"));
}
