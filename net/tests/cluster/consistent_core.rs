//! The consistent core: what goes on without it, and what it does about nodes that lost their disks or their names.

use std::fs;

use super::daemons::{Cluster, Shape, until};
use super::load::Load;
use super::resp::Reply;

/// COR-1, with a core of three of which two hold no data.
#[test]
fn cor_1_data_goes_on_without_the_core_and_a_takeover_waits_for_it() {
    let five = Shape::three().cpus(&[1; 5]).io(&["auto"; 5]).set("cluster", "replicas", 3).core(&[3, 4, 5]);
    let mut cluster = Cluster::start(&five.suspicion("1 s").set_text("limits", "request_timeout", "1 s"));
    let load = Load::start(cluster.client(2), 0);
    load.advance(1_000);
    cluster.node_mut(4).kill();
    // Two of three decide: a process that starts again is registered, and counts again.
    cluster.node_mut(3).kill();
    cluster.node_mut(3).start();
    cluster.wait_for_member(1, 3);
    cluster.node_mut(5).kill();
    load.advance(5_000);
    let written = load.stop();
    assert_eq!(written.problems, [""; 0], "no request needs the core");
    let mut resp = cluster.connect(2);
    assert_eq!(resp.ask(&["GET", "load:1"]), cluster.connect(3).ask(&["GET", "load:1"]));

    cluster.node_mut(1).kill();
    let reply = resp.ask(&["SET", "k", "v"]);
    assert!(reply.is_error("UNAVAILABLE") || reply.is_error("UNKNOWN"), "nobody can decide: {reply:?}");
    cluster.node_mut(5).start();
    until("another node leads", || (resp.ask(&["SET", "k", "v"]) == Reply::ok()).then_some(()));
    written.assert_held(&cluster, 3);
    cluster.assert_equal(&[2, 3]);
}

/// COR-5.
#[test]
fn cor_5_a_node_of_the_core_that_lost_its_disk_does_not_vote() {
    let mut cluster = Cluster::start(&Shape::three());
    let mut resp = cluster.connect(1);
    assert_eq!(resp.ask(&["SET", "k", "1"]), Reply::ok());
    cluster.node_mut(2).kill();
    cluster.node(2).lose_disk();
    // It is started as if it were to create the cluster.
    cluster.node_mut(2).start();
    assert_eq!(cluster.node_mut(2).end().code(), Some(1));
    let log = cluster.node(2).log();
    assert!(log.contains("the consistent core began with another store of this node, which is lost"), "{log}");
    assert_eq!(resp.ask(&["SET", "k", "2"]), Reply::ok());
    // The others are a majority: node 3 is registered again, and counts.
    cluster.node_mut(3).kill();
    cluster.node_mut(3).start();
    cluster.wait_for_member(1, 3);
    assert_eq!(resp.ask(&["GET", "k"]), Reply::bulk("2"));
}

/// COR-5: those who lost their disks are a majority, and make no new cluster.
#[test]
fn cor_5_a_majority_of_lost_disks_makes_no_new_core() {
    let mut cluster = Cluster::start(&Shape::three());
    assert_eq!(cluster.connect(1).ask(&["SET", "k", "1"]), Reply::ok());
    for id in [2, 3] {
        cluster.node_mut(id).kill();
        cluster.node(id).lose_disk();
    }
    for id in [2, 3] {
        cluster.node_mut(id).start();
    }
    for id in [2, 3] {
        assert_eq!(cluster.node_mut(id).end().code(), Some(1));
    }
    assert_eq!(cluster.connect(1).ask(&["CACHE.PEEK", "k"]), Reply::bulk("1"));
    let reply = cluster.connect(1).ask(&["SET", "k", "2"]);
    assert!(reply.is_error("NOQUORUM"), "{reply:?}");
}

/// Node 1 runs on, and somebody starts it once more elsewhere: with a copy of its configuration, other doors, and a disk of
/// its own.
#[test]
fn a_second_process_with_the_number_of_a_node_ends_and_costs_nothing() {
    let cluster = Cluster::start(&Shape::three());
    let load = Load::start(cluster.client(2), 0);
    let mut elsewhere = Cluster::launch(&Shape::three(), &[false; 3]);
    let path = elsewhere.folder().join("node-1.toml");
    let mut config = fs::read_to_string(&path).expect("it was written");
    config = config.replace(&format!("\"{}\"", elsewhere.name()), &format!("\"{}\"", cluster.name()));
    for node in [2, 3] {
        config = config.replace(&elsewhere.control(node), &cluster.control(node));
    }
    fs::write(&path, config).expect("a file of our own");
    load.advance(1_000);
    elsewhere.node_mut(1).start();
    assert_eq!(elsewhere.node_mut(1).end().code(), Some(1));
    load.advance(1_000);
    let written = load.stop();
    assert_eq!(written.problems, [""; 0]);
    written.assert_held(&cluster, 3);
    cluster.assert_equal(&[1, 2, 3]);
}
