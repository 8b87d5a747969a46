//! A replica whose state is wrong: it is found, counts for nothing until it has copied another one, and is not served where
//! nobody may repair it.

use quorate::client::ClientOptions;

use super::daemons::{Cluster, Shape, until};
use super::load::Load;
use super::resp::Reply;

/// Nodes that can be damaged.
fn fragile() -> Shape {
    Shape::three().set("security", "debug_commands", true)
}

/// A leader says with its node's heartbeats that it leads no more, four times in the time for which a node may be silent. A
/// busy machine may have another one lead at once.
fn suspicious() -> Shape {
    fragile().suspicion("500 ms")
}

fn leader(cluster: &Cluster) -> u16 {
    cluster.status(3).groups[0].leader
}

/// Writes keys that nobody writes again.
fn write_keys(cluster: &Cluster) {
    let names: Vec<String> = (0..KEYS).map(|number| format!("key{number}")).collect();
    let replies = cluster.connect(1).pipeline(names.iter().map(|name| vec!["SET", name, "value"]));
    assert!(replies.iter().all(|reply| *reply == Reply::ok()));
}

/// Damages the state of one node.
fn damage(cluster: &Cluster, node: u16, how: &str, key: &str) {
    let held = || cluster.connect(node).ask(&["CACHE.PEEK", key]);
    until("the key has come to the node", || (held() == Reply::bulk("value")).then_some(()));
    assert_eq!(cluster.connect(node).ask(&["DEBUG", how, key]), Reply::ok());
}

/// Waits for a line of a node's log that begins an event with this name, and returns it.
fn event(cluster: &Cluster, node: u16, name: &str) -> String {
    until(&format!("node {node} says {name}"), || {
        cluster.node(node).log().lines().find(|line| line.contains(name)).map(str::to_owned)
    })
}

fn assert_silent(cluster: &Cluster, nodes: &[u16], name: &str) {
    for node in nodes {
        let log = cluster.node(*node).log();
        assert!(!log.contains(name), "node {node} says {name}: {log}");
    }
}

/// SMR-5.
#[test]
fn smr_5_a_byte_that_nobody_writes_is_found_on_a_follower_and_repaired() {
    let cluster = Cluster::start(&fragile());
    write_keys(&cluster);
    damage(&cluster, 2, "FLIP", "key77");
    let line = event(&cluster, 2, "replica_diverged");
    assert!(line.contains("group=0") && line.contains("first=") && line.contains("last="), "{line}");
    event(&cluster, 2, "replica_resynchronised");
    let peek = || cluster.connect(2).ask(&["CACHE.PEEK", "key77"]);
    assert_eq!(peek(), Reply::bulk("value"));
    cluster.wait_for_member(1, 2);
    cluster.assert_equal(&[1, 2, 3]);
    assert_silent(&cluster, &[1, 3], "replica_diverged");
    assert_silent(&cluster, &[1, 2, 3], "manual_intervention_required");
}

/// SMR-5.
#[test]
fn smr_5_a_leader_whose_memory_fails_is_succeeded_and_nothing_acknowledged_is_lost() {
    let cluster = Cluster::start(&suspicious());
    write_keys(&cluster);
    let damaged = leader(&cluster);
    let load = Load::start(ClientOptions { addresses: vec![cluster.native(2)], ..cluster.client(2) }, 0);
    load.advance(1_000);
    damage(&cluster, damaged, "FLIP", "key77");
    event(&cluster, damaged, "replica_diverged");
    event(&cluster, damaged, "replica_resynchronised");
    load.advance(1_000);
    let written = load.stop();
    for problem in &written.problems {
        assert!(problem.starts_with("Unknown("), "{problem}");
    }
    let successor = leader(&cluster);
    assert_ne!(successor, damaged, "it led a state that was wrong");
    cluster.wait_for_member(successor, damaged);
    for node in [1, 2, 3] {
        written.assert_held(&cluster, node);
        assert_eq!(cluster.connect(node).ask(&["CACHE.PEEK", "key77"]), Reply::bulk("value"));
    }
    cluster.assert_equal(&[1, 2, 3]);
}

/// SMR-5.
#[test]
fn smr_5_a_replica_that_did_something_else_is_found_when_the_next_write_is_acknowledged() {
    let cluster = Cluster::start(&fragile());
    write_keys(&cluster);
    damage(&cluster, 3, "CORRUPT", "key77");
    assert_eq!(cluster.connect(1).ask(&["SET", "another", "1"]), Reply::ok());
    event(&cluster, 3, "replica_diverged");
    event(&cluster, 3, "replica_resynchronised");
    assert_eq!(cluster.connect(3).ask(&["CACHE.PEEK", "key77"]), Reply::bulk("value"));
    cluster.wait_for_member(1, 3);
    cluster.assert_equal(&[1, 2, 3]);
    assert_silent(&cluster, &[1, 2], "replica_diverged");
}

/// SMR-5.
#[test]
fn smr_5_without_repair_a_node_does_not_serve_the_group_until_it_is_restarted() {
    for is_led in [true, false] {
        let mut cluster = Cluster::start(&suspicious().set("replication", "repair", false));
        write_keys(&cluster);
        let leads = leader(&cluster);
        let damaged = if is_led { leads } else { leads % 3 + 1 };
        let sound = damaged % 3 + 1;
        damage(&cluster, damaged, "FLIP", "key77");
        event(&cluster, damaged, "replica_diverged");
        event(&cluster, damaged, "manual_intervention_required");
        for request in [&["GET", "key77"][..], &["SET", "key77", "x"], &["GET", "key1"], &["CACHE.PEEK", "key77"]] {
            let reply = cluster.connect(damaged).ask(request);
            assert!(matches!(&reply, Reply::Error(text) if text.starts_with("DIVERGED ")), "{request:?}: {reply:?}");
        }
        let Reply::Error(text) = cluster.connect(damaged).ask(&["GET", "key1"]) else { panic!("refused above") };
        assert!(text.contains("group 0") && text.contains("restart this node"), "{text}");
        // The others go on.
        let mut resp = cluster.connect(sound);
        assert_eq!(resp.ask(&["GET", "key77"]), Reply::bulk("value"));
        assert_eq!(resp.ask(&["SET", "key1", "meanwhile"]), Reply::ok());
        assert_silent(&cluster, &[damaged], "replica_resynchronised");
        cluster.node_mut(damaged).kill();
        cluster.node_mut(damaged).start();
        let successor = cluster.status(sound).groups[0].leader;
        cluster.wait_for_member(successor, damaged);
        let mut resp = cluster.connect(damaged);
        assert_eq!(resp.ask(&["GET", "key77"]), Reply::bulk("value"));
        assert_eq!(resp.ask(&["GET", "key1"]), Reply::bulk("meanwhile"));
        cluster.assert_equal(&[1, 2, 3]);
    }
}

#[test]
fn nothing_is_damaged_where_that_is_not_allowed() {
    let cluster = Cluster::start(&Shape::one());
    let mut resp = cluster.connect(1);
    assert_eq!(resp.ask(&["SET", "k", "value"]), Reply::ok());
    for how in ["FLIP", "CORRUPT"] {
        assert!(matches!(resp.ask(&["DEBUG", how, "k"]), Reply::Error(_)));
    }
    assert_eq!(resp.ask(&["GET", "k"]), Reply::bulk("value"));
}

const KEYS: usize = 5_000;
