//! Most nodes of the consistent core have lost their disks, and it is restored from what one of them knows.

use super::consistent_core::{core_info, core_verb};
use super::daemons::{Cluster, Shape, until};
use super::resp::Reply;

/// Five nodes that all hold the one group, three of them the core.
fn five() -> Shape {
    let five = Shape::three().cpus(&[1; 5]).io(&["auto"; 5]).set("cluster", "replicas", 5).core(&[1, 2, 3]);
    five.suspicion("1 s").set_text("limits", "request_timeout", "1 s")
}

/// Waits until a node was registered so many times, over all its starts.
fn wait_for_registration(cluster: &Cluster, node: u16, count: usize) {
    let times = |log: String| log.matches("INFO registered with the consistent core").count();
    until(&format!("node {node} was registered"), || (times(cluster.node(node).log()) >= count).then_some(()));
}

/// Waits until nodes hold the value of `k` that node 1 was told.
fn wait_for_value(cluster: &Cluster, nodes: &[u16], value: &str) {
    for node in nodes {
        let mut resp = cluster.connect(*node);
        until("they hold it", || (resp.ask(&["CACHE.PEEK", "k"]) == Reply::bulk(value)).then_some(()));
    }
}

/// Nodes of the core fail with their disks, which are kept elsewhere, and start again over blank ones.
fn lose(cluster: &mut Cluster, nodes: &[u16]) {
    for node in nodes {
        cluster.node_mut(*node).kill();
        cluster.node(*node).shelve_disk();
    }
    for node in nodes {
        cluster.node_mut(*node).start_with(&[]);
    }
}

fn wait_for_restoration(cluster: &Cluster) {
    for node in [1, 2, 3] {
        until("it votes in the restored core", || {
            let listens = super::resp::Resp::try_connect(&cluster.resp(node)).is_some();
            (listens && core_info(cluster, node).contains("core_part:voting\r\ncore_era:1048577")).then_some(())
        });
    }
}

/// COR-5: what is restored goes on from what is known, and gives nothing out twice.
#[test]
fn cor_5_a_core_whose_majority_is_lost_is_restored_from_the_node_that_is_left() {
    let mut cluster = Cluster::start(&five());
    assert_eq!(cluster.connect(1).ask(&["SET", "k", "1"]), Reply::ok());
    wait_for_value(&cluster, &[4, 5], "1");
    assert_eq!(cluster.connect(1).ask(&["CORE.SET", "owner", "a"]), Reply::Int(1));
    let loss_gen = cluster.loss_gen_of_a_reply(4);

    cluster.node_mut(1).kill();
    cluster.node_mut(1).start_with(&["--restore"]);
    assert_eq!(cluster.node_mut(1).end().code(), Some(1), "the others are a majority");
    assert!(cluster.node(1).log().contains("nothing to restore: most nodes"), "{}", cluster.node(1).log());
    cluster.node_mut(1).start_with(&[]);
    wait_for_registration(&cluster, 1, 2);
    until("another node leads", || (cluster.status(4).groups[0].leader != 1).then_some(()));

    lose(&mut cluster, &[2, 3]);
    until("node 1 says what can be done", || {
        cluster.node(1).log().contains("and this node with --restore").then_some(())
    });
    let refused = cluster.connect(4).ask(&["CORE.SET", "owner", "b"]);
    assert!(refused.is_error("UNKNOWN") || refused.is_error("UNAVAILABLE"), "nobody can decide: {refused:?}");
    cluster.node_mut(1).kill();
    cluster.node_mut(1).start_with(&["--restore"]);
    wait_for_restoration(&cluster);
    [(1, 3), (2, 2), (3, 2)].into_iter().for_each(|(node, count)| wait_for_registration(&cluster, node, count));
    until("it is known that nobody serves", || {
        let refused = cluster.connect(4).ask(&["SET", "k", "2"]);
        assert!(matches!(refused, Reply::Error(_)), "nobody has accepted a loss: {refused:?}");
        ["UNAVAILABLE", "NOQUORUM", "NOTLEADER"].into_iter().any(|code| refused.is_error(code)).then_some(())
    });

    let (code, said) = core_verb(&cluster, &["accept-loss", "--all"], 4);
    assert!(code == 0 && said.contains("its loss generation is 1000000000000"), "{code}: {said}");
    until("it is led again", || (cluster.connect(4).ask(&["GET", "k"]) == Reply::bulk("1")).then_some(()));
    assert_eq!(cluster.connect(1).ask(&["GET", "k"]), Reply::bulk("1"), "nodes 4 and 5 still held it");
    assert!(cluster.loss_gen_of_a_reply(4) > loss_gen);
    assert_eq!(cluster.connect(5).ask(&["SET", "k", "2"]), Reply::ok());
    // What the core kept on the one disk is there, and its next version is none that was told before.
    let stored = cluster.connect(5).ask(&["CORE.SET", "owner", "b", "IF", "1"]);
    assert!(matches!(stored, Reply::Int(version) if version > 1_000_000_000_000), "{stored:?}");

    let leader = cluster.status(4).groups[0].leader;
    cluster.node_mut(leader).kill();
    let other = if leader == 4 { 5 } else { 4 };
    until("another node leads", || (cluster.connect(other).ask(&["SET", "k", "3"]) == Reply::ok()).then_some(()));
    // A disk that was given up is found again.
    let late = if leader == 2 { 3 } else { 2 };
    cluster.node_mut(late).kill();
    cluster.node(late).find_disk();
    cluster.node_mut(late).start_with(&[]);
    assert_eq!(cluster.node_mut(late).end().code(), Some(1));
    let log = cluster.node(late).log();
    assert!(log.contains("another store has taken the place of this one"), "{log}");
}

/// COR-5: it was registered by those who lost their disks, so the one that is left knows nothing of it.
#[test]
fn cor_5_a_process_that_a_restored_core_knows_nothing_of_ends() {
    let mut cluster = Cluster::start(&five());
    cluster.node_mut(1).kill();
    cluster.node_mut(5).kill();
    cluster.node_mut(5).start();
    wait_for_registration(&cluster, 5, 2);
    lose(&mut cluster, &[2, 3]);
    cluster.node_mut(1).start_with(&["--restore"]);
    assert_eq!(cluster.node_mut(5).end().code(), Some(1));
    assert!(
        cluster.node(5).log().contains("this run of the node counts for nothing any more"),
        "{}",
        cluster.node(5).log()
    );
    cluster.node_mut(5).start();
    wait_for_registration(&cluster, 5, 3);
}
