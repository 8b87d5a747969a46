//! Nodes that join a running cluster, give up what they hold, and are taken out of it.

use std::fs;

use nix::sys::signal::Signal;

use super::daemons::{Cluster, Shape, quorate, until};
use super::load::Load;
use super::resp::Reply;

/// Three nodes that form the core and one that comes later, of which the others know nothing.
fn three_and_one() -> Shape {
    Shape::three().partitions(6).core(&[1, 2, 3]).joiners(1)
}

/// Runs a verb against one node; returns its exit code and what it printed, errors included.
fn verb(cluster: &Cluster, arguments: &[&str], node: u16) -> (i32, String) {
    let ended =
        quorate().args(arguments).args(["--connect", &cluster.resp(node)]).output().expect("the binary was built");
    let text = [ended.stdout, ended.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    (ended.status.code().expect("it was not killed"), text)
}

/// Waits until a node is a member of so many groups, as it says itself.
fn wait_for_groups(cluster: &Cluster, node: u16, count: usize) {
    until(&format!("node {node} is a member of {count} groups"), || {
        let report = cluster.try_status(node)?;
        let held = report.groups.iter().filter(|group| group.members.contains(&node));
        (held.filter(|group| ["serving", "following"].contains(&&*group.state)).count() == count).then_some(())
    });
}

#[test]
fn a_node_that_has_joined_takes_the_place_of_one_that_drains() {
    let mut cluster = Cluster::start(&three_and_one());
    cluster.node_mut(4).start_with(&[]);
    until("it is registered, and known to all", || {
        let knows = |node: u16| {
            let report = cluster.try_status(node)?;
            report.nodes.iter().any(|known| known.id == 4 && known.state == "up").then_some(())
        };
        (1..=4).all(|node| knows(node).is_some()).then_some(())
    });
    let load = Load::start(cluster.client(4), 100);
    load.advance(2_000);
    let (code, text) = verb(&cluster, &["drain", "3", "--wait"], 4);
    assert_eq!((code, text.contains("node 3 holds nothing")), (0, true), "{text}");
    load.advance(2_000);
    wait_for_groups(&cluster, 4, 6);
    let led: Vec<u16> = cluster.status(4).groups.iter().map(|group| group.leader).collect();
    assert!(!led.contains(&3), "{led:?}");
    cluster.node(3).signal(Signal::SIGTERM);
    assert_eq!(cluster.node_mut(3).end().code(), Some(0));
    load.advance(2_000);
    let written = load.stop();
    assert!(written.problems.is_empty(), "nobody noticed: {:?}", written.problems);
    written.assert_held(&cluster, 1);
    cluster.assert_equal(&[1, 2, 4]);
    let (code, text) = verb(&cluster, &["core", "remove", "3"], 1);
    assert_eq!(code, 1, "{text}");
    assert!(text.contains("node 3 belongs to the consistent core, whose nodes stay the same"), "{text}");
    // Started anew, it is a node like any other, and every group has its three replicas without it.
    cluster.node_mut(3).start();
    until("it is up", || cluster.try_status(3).filter(|report| report.nodes.len() == 4));
    wait_for_groups(&cluster, 3, 0);
}

#[test]
fn a_node_that_is_taken_out_ends_and_its_number_is_not_given_again() {
    let mut cluster = Cluster::start(&three_and_one());
    cluster.node_mut(4).start_with(&[]);
    until("it is registered", || cluster.status(1).nodes.iter().any(|node| node.id == 4).then_some(()));
    verb(&cluster, &["drain", "3", "--wait"], 1);
    wait_for_groups(&cluster, 4, 6);
    let (code, text) = verb(&cluster, &["core", "remove", "4"], 1);
    assert_eq!(code, 1, "{text}");
    assert!(text.contains("node 4 holds 6 groups: `quorate drain 4 --wait` first"), "{text}");
    let (code, text) = verb(&cluster, &["drain", "4", "--wait"], 1);
    assert_eq!(code, 0, "two are enough to hold a write: {text}");
    let (code, text) = verb(&cluster, &["drain", "2"], 1);
    assert_eq!(code, 4, "{text}");
    assert!(text.contains("would be left with too few nodes"), "{text}");
    let (code, text) = verb(&cluster, &["core", "remove", "4"], 1);
    assert_eq!((code, &*text), (0, "node 4 does not belong to the cluster any more\n"));
    assert_eq!(cluster.node_mut(4).end().code(), Some(1));
    let said = cluster.node(4).log();
    assert!(said.contains("this node was taken out of the cluster, and its number is not given again"), "{said}");
    until("it is forgotten", || cluster.status(1).nodes.iter().all(|node| node.id != 4).then_some(()));
    cluster.node_mut(4).start_with(&[]);
    assert_eq!(cluster.node_mut(4).end().code(), Some(1), "its number is gone");
    // Whoever changes their mind has the node hold groups again.
    let (code, text) = verb(&cluster, &["drain", "3", "--cancel"], 2);
    assert_eq!(code, 0, "{text}");
    wait_for_groups(&cluster, 3, 6);
    assert_eq!(cluster.connect(3).ask(&["SET", "k", "v"]), Reply::ok());
    let Reply::Array(events) = cluster.connect(2).ask(&["CORE", "EVENTS", "COUNT", "4000", "JSON"]) else {
        panic!("events are a list")
    };
    let text = |event: &Reply| match event {
        Reply::Bulk(text) => String::from_utf8_lossy(text).into_owned(),
        other => panic!("{other:?} is no text"),
    };
    let events: String = events.iter().map(text).collect();
    for event in ["node_joined", "drain_began", "drained", "drain_ended", "node_removed"] {
        assert!(events.contains(event), "{event} in {events}");
    }
    cluster.assert_equal(&[1, 2, 3]);
}

#[test]
fn nodes_that_would_begin_a_cluster_with_others_found_none() {
    let shape = Shape::three().core(&[1, 2, 3]);
    let mut cluster = Cluster::launch(&shape, &[true, true, false]);
    let config = cluster.folder().join("node-3.toml");
    let listed = fs::read_to_string(&config).expect("a file of our own")
        + "[[peers]]\nid = 9\npeer = \"127.0.0.1:20000\"\ncore = false\n";
    fs::write(&config, listed).expect("a file of our own");
    cluster.node_mut(3).start();
    until("they say so", || {
        let says = |node: u16| cluster.node(node).log().contains("would create the cluster with other nodes");
        (says(1) && says(3)).then_some(())
    });
    assert!(cluster.connect(1).ask(&["SET", "k", "v"]).is_error("UNAVAILABLE"));
}
