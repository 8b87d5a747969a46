//! The consistent core: what goes on without it, and what it does about nodes that lost their disks or their names.

use std::fs;

use super::daemons::{Cluster, Shape, quorate, until};
use super::load::Load;
use super::resp::{Reply, Resp};

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

    let is_old = |cluster: &Cluster| core_verb(cluster, &["status"], 3).1.contains("nothing can be decided");
    until("node 3 says that what it knows may be old", || is_old(&cluster).then_some(()));

    cluster.node_mut(1).kill();
    let reply = resp.ask(&["SET", "k", "v"]);
    assert!(reply.is_error("UNAVAILABLE") || reply.is_error("UNKNOWN"), "nobody can decide: {reply:?}");
    cluster.node_mut(5).start();
    until("node 3 hears another one of the core", || (!is_old(&cluster)).then_some(()));
    until("another node leads", || (resp.ask(&["SET", "k", "v"]) == Reply::ok()).then_some(()));
    written.assert_held(&cluster, 3);
    cluster.assert_equal(&[2, 3]);
}

/// COR-5: it is started as if it were to create the cluster.
#[test]
fn cor_5_a_node_of_the_core_that_lost_its_disk_does_not_create_another_one() {
    let mut cluster = Cluster::start(&Shape::three());
    let mut resp = cluster.connect(1);
    assert_eq!(resp.ask(&["SET", "k", "1"]), Reply::ok());
    cluster.node_mut(2).kill();
    cluster.node(2).lose_disk();
    cluster.node_mut(2).start_with(&["--create"]);
    assert_eq!(cluster.node_mut(2).end().code(), Some(1));
    let log = cluster.node(2).log();
    assert!(log.contains("the consistent core began with another store of this node, which is lost"), "{log}");
    assert_eq!(resp.ask(&["SET", "k", "2"]), Reply::ok());
    // The others are a majority: node 3 is registered again, and counts.
    cluster.node_mut(3).kill();
    cluster.node_mut(3).start();
    cluster.wait_for_member(1, 3);
    assert_eq!(resp.ask(&["GET", "k"]), Reply::bulk("2"));
    // Without that word it works, and waits to be taken back.
    cluster.node_mut(2).start_with(&[]);
    cluster.wait_for_member(1, 2);
    assert_eq!(cluster.connect(2).ask(&["CACHE.PEEK", "k"]), Reply::bulk("2"));
}

/// COR-5: it works like any other node, but its vote is missing.
#[test]
fn cor_5_a_node_of_the_core_that_lost_its_disk_does_not_vote() {
    let mut cluster = Cluster::start(&Shape::three());
    let mut resp = cluster.connect(1);
    assert_eq!(resp.ask(&["SET", "k", "1"]), Reply::ok());
    cluster.node_mut(2).kill();
    cluster.node(2).lose_disk();
    cluster.node_mut(2).start_with(&[]);
    cluster.wait_for_member(1, 2);
    let log = cluster.node(2).log();
    assert!(log.contains("`quorate core replace 2 --connect HOST:PORT` takes it back"), "{log}");
    // Of the core nodes 1 and 3 only one is left, and nothing can be decided.
    cluster.node_mut(1).kill();
    let mut resp = cluster.connect(2);
    let reply = resp.ask(&["SET", "k", "2"]);
    assert!(reply.is_error("UNAVAILABLE") || reply.is_error("UNKNOWN"), "nobody can decide: {reply:?}");
    let status = quorate().args(["status", "--connect", &cluster.resp(2)]).output().expect("the binary was built");
    let said = String::from_utf8_lossy(&status.stdout);
    assert!(said.contains("node 2: does not vote in the consistent core, as it has lost its disk"), "{said}");
    cluster.node_mut(1).start();
    until("another node leads", || (resp.ask(&["SET", "k", "2"]) == Reply::ok()).then_some(()));
}

/// COR-5: and when it has been taken back, it does.
#[test]
fn cor_5_a_node_of_the_core_that_lost_its_disk_is_taken_back() {
    let mut cluster = Cluster::start(&Shape::three().suspicion("1 s"));
    cluster.node_mut(2).kill();
    cluster.node(2).lose_disk();
    let refused = cluster.connect(1).ask(&["CORE", "REPLACE", "2"]);
    assert!(refused.error().starts_with("ERR node 2 has shown no new store"), "{refused:?}");
    cluster.node_mut(2).start_with(&[]);
    cluster.wait_for_member(1, 2);
    assert!(core_info(&cluster, 2).contains("core_part:joining"));
    let load = Load::start(cluster.client(1), 0);
    load.advance(1_000);
    let ended = core_verb(&cluster, &["replace", "2"], 3);
    assert_eq!((ended.0, &*ended.1), (0, "node 2 votes again, with its new store\n"));
    until("it votes", || core_info(&cluster, 2).contains("core_part:voting\r\ncore_era:2").then_some(()));
    load.advance(1_000);
    let written = load.stop();
    assert_eq!(written.problems, [""; 0], "data does not notice");
    // With one other node it is a majority.
    cluster.node_mut(1).kill();
    let mut resp = cluster.connect(2);
    until("another node leads", || (resp.ask(&["SET", "k", "2"]) == Reply::ok()).then_some(()));
    cluster.node_mut(1).start();
    wait_for_all(&cluster);
    // What it has promised since, it keeps.
    cluster.node_mut(2).kill();
    cluster.node_mut(2).start_with(&[]);
    wait_for_all(&cluster);
    assert!(core_info(&cluster, 2).contains("core_part:voting\r\ncore_era:2"));
    written.assert_held(&cluster, 3);
    cluster.assert_equal(&[1, 2, 3]);
}

/// Waits until the one group is led, and all nodes count.
fn wait_for_all(cluster: &Cluster) {
    until("all nodes count", || {
        let reports: Vec<_> = [1, 2, 3].into_iter().filter_map(|id| cluster.try_status(id)).collect();
        let mut groups = reports.iter().filter_map(|report| report.groups.first());
        let is_whole = groups.any(|group| {
            let others = [&group.learners, &group.lost, &group.catching_up];
            group.state == "serving" && group.members.len() == 3 && others.iter().all(|nodes| nodes.is_empty())
        });
        (reports.len() == 3 && is_whole).then_some(())
    });
}

/// What `CORE STATUS` says of each node, in order: its number and its state.
fn states(status: &Reply) -> Vec<(i64, String)> {
    let Some(Reply::Array(nodes)) = status.field("nodes") else { panic!("{status:?}") };
    let state = |node: &Reply| match node.field("state") {
        Some(Reply::Bulk(state)) => String::from_utf8_lossy(state).into_owned(),
        other => panic!("{other:?}"),
    };
    nodes.iter().map(|node| (node.number("node"), state(node))).collect()
}

#[test]
fn every_node_tells_what_it_knows_of_the_core() {
    let four = Shape::three().cpus(&[1; 4]).io(&["auto"; 4]).set("cluster", "replicas", 3).core(&[1, 2, 3]);
    let mut cluster = Cluster::start(&four.suspicion("500 ms").partitions(8));
    let mut voter = cluster.connect(1);
    voter.ask(&["HELLO", "3"]);
    let leader = until("a core node leads, and all nodes are up", || {
        let status = voter.ask(&["CORE", "STATUS"]);
        let is_up = states(&status).iter().all(|(_, state)| state == "up");
        assert_eq!((status.number("era"), status.number("groups"), status.number("loss_gen")), (1, 8, 0));
        assert_eq!(status.field("part"), Some(&Reply::bulk("voting")));
        matches!(status.field("leader"), Some(Reply::Int(1..=3))).then(|| status.number("leader")).filter(|_| is_up)
    });
    let mut listener = cluster.connect(4);
    listener.ask(&["HELLO", "3"]);
    let heard = until("a node that does not vote has heard the same", || {
        let status = listener.ask(&["CORE", "STATUS"]);
        states(&status).iter().all(|(_, state)| state == "up").then_some(status)
    });
    assert_eq!((heard.field("part"), heard.field("era")), (Some(&Reply::bulk("none")), Some(&Reply::Nil)));
    assert_eq!(heard.field("leader"), Some(&Reply::Nil), "it is not told");
    let core: Vec<Reply> = (1..=3).map(Reply::Int).collect();
    assert_eq!(heard.field("core_nodes"), Some(&Reply::Array(core)));
    assert!(voter.ask(&["CORE", "STATUS", "XML"]).is_error("ERR"));

    // One that does not lead the core, so that the others know it soon.
    let victim = if leader == 3 { 2 } else { 3 };
    cluster.node_mut(victim).kill();
    for resp in [&mut voter, &mut listener] {
        until("it is down", || {
            let states = states(&resp.ask(&["CORE", "STATUS"]));
            (states[usize::from(victim) - 1].1 == "down").then_some(())
        });
    }
    let (exit, said) = core_verb(&cluster, &["status"], 4);
    assert_eq!(exit, 0, "{said}");
    assert!(said.starts_with("node 4 does not belong to the consistent core\n"), "{said}");
    assert!(said.lines().any(|line| line.starts_with(&format!("node {victim}.")) && line.ends_with("down")), "{said}");
    let (_, json) = core_verb(&cluster, &["status", "--json"], 1);
    let json: serde_json::Value = serde_json::from_str(&json).expect("one object");
    assert_eq!((&json["part"], &json["era"]), (&"voting".into(), &1.into()));
    assert_eq!(json["nodes"].as_array().map(Vec::len), Some(4));
}

pub(super) fn core_info(cluster: &Cluster, node: u16) -> String {
    match cluster.connect(node).ask(&["INFO", "core"]) {
        Reply::Bulk(text) => String::from_utf8(text).expect("a text"),
        other => panic!("{other:?} is no text"),
    }
}

/// Runs `quorate core` against one node; returns its exit code and what it printed.
pub(super) fn core_verb(cluster: &Cluster, arguments: &[&str], node: u16) -> (i32, String) {
    let ended = quorate().arg("core").args(arguments).args(["--connect", &cluster.resp(node)]).output();
    let ended = ended.expect("the binary was built");
    let said = String::from_utf8_lossy(&ended.stdout).into_owned() + &String::from_utf8_lossy(&ended.stderr);
    (ended.status.code().expect("it ends by itself"), said)
}

/// COR-5: those who lost their disks are a majority, and make no new cluster, whatever they are told.
#[test]
fn cor_5_a_majority_of_lost_disks_makes_no_new_core() {
    let mut cluster = Cluster::start(&Shape::three());
    assert_eq!(cluster.connect(1).ask(&["SET", "k", "1"]), Reply::ok());
    for id in [2, 3] {
        cluster.node_mut(id).kill();
        cluster.node(id).lose_disk();
    }
    for id in [2, 3] {
        cluster.node_mut(id).start_with(&["--create"]);
    }
    for id in [2, 3] {
        assert_eq!(cluster.node_mut(id).end().code(), Some(1));
    }
    for id in [2, 3] {
        cluster.node_mut(id).start_with(&[]);
    }
    assert_eq!(cluster.connect(1).ask(&["CACHE.PEEK", "k"]), Reply::bulk("1"));
    for id in [1, 2, 3] {
        let mut resp = until("the node listens", || Resp::try_connect(&cluster.resp(id)));
        let reply = resp.ask(&["SET", "k", "2"]);
        assert!(reply.is_error("NOQUORUM") || reply.is_error("UNAVAILABLE"), "at node {id}: {reply:?}");
    }
    until("node 1 says what can be done", || {
        cluster.node(1).log().contains("a majority of the nodes of the consistent core has lost its disk").then_some(())
    });
}

/// COR-5: all have lost their disks. Without `--create` nothing begins; with it, that is another cluster.
#[test]
fn cor_5_nodes_that_all_lost_their_disks_agree_on_nothing() {
    let mut cluster = Cluster::start(&Shape::three());
    for id in [1, 2, 3] {
        cluster.node_mut(id).kill();
        cluster.node(id).lose_disk();
        cluster.node_mut(id).start_with(&[]);
    }
    for id in [1, 2, 3] {
        let mut resp = until("the node listens", || Resp::try_connect(&cluster.resp(id)));
        let reply = resp.ask(&["SET", "k", "2"]);
        assert!(reply.is_error("UNAVAILABLE"), "at node {id}: {reply:?}");
    }
}

/// Node 1 runs on, and somebody starts it once more elsewhere: with a copy of its configuration, other doors, and a disk of
/// its own.
fn with_a_second_node_1(cluster: &Cluster) -> Cluster {
    let elsewhere = Cluster::launch(&Shape::three(), &[false; 3]);
    let path = elsewhere.folder().join("node-1.toml");
    let mut config = fs::read_to_string(&path).expect("it was written");
    config = config.replace(&format!("\"{}\"", elsewhere.name()), &format!("\"{}\"", cluster.name()));
    for node in [2, 3] {
        config = config.replace(&elsewhere.control(node), &cluster.control(node));
    }
    fs::write(&path, config).expect("a file of our own");
    elsewhere
}

#[test]
fn a_second_process_with_the_number_of_a_node_ends_and_costs_nothing() {
    let cluster = Cluster::start(&Shape::three());
    let load = Load::start(cluster.client(2), 0);
    let mut elsewhere = with_a_second_node_1(&cluster);
    load.advance(1_000);
    elsewhere.node_mut(1).start_with(&["--create"]);
    assert_eq!(elsewhere.node_mut(1).end().code(), Some(1));
    load.advance(1_000);
    let written = load.stop();
    assert_eq!(written.problems, [""; 0]);
    written.assert_held(&cluster, 3);
    cluster.assert_equal(&[1, 2, 3]);
}

/// As one that has lost its disk: it waits for the end of the first one, which goes on as before.
#[test]
fn a_second_process_that_waits_to_be_taken_back_is_not_heard() {
    let cluster = Cluster::start(&Shape::three());
    let load = Load::start(cluster.client(2), 0);
    let mut elsewhere = with_a_second_node_1(&cluster);
    load.advance(1_000);
    elsewhere.node_mut(1).start_with(&[]);
    until("it hears that there is another one", || {
        elsewhere.node(1).log().contains("hears another process of this node").then_some(())
    });
    load.advance(5_000);
    let written = load.stop();
    assert_eq!(written.problems, [""; 0]);
    assert!(!elsewhere.node(1).log().contains("registered with the consistent core"), "{}", elsewhere.node(1).log());
    written.assert_held(&cluster, 3);
    cluster.assert_equal(&[1, 2, 3]);
}
