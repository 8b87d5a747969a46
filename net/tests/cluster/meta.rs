//! `CLIENT META`: replies tell where they stand in the log of their group, wherever they were decided.

use super::daemons::{Cluster, Shape, until};
use super::resp::{Reply, Resp};

/// Where a reply stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    group: i64,
    epoch: i64,
    index: i64,
    loss_gen: i64,
}

/// Takes a reply apart.
fn told(reply: Reply) -> (Option<Place>, Reply) {
    match reply {
        Reply::Attributed(pairs, reply) => {
            assert_eq!(pairs.len(), 4, "{pairs:?}");
            let pairs = Reply::Map(pairs);
            let number = |name| pairs.number(name);
            let [group, epoch, index, loss_gen] = ["group", "epoch", "index", "loss_gen"].map(number);
            (Some(Place { group, epoch, index, loss_gen }), *reply)
        }
        reply => (None, reply),
    }
}

fn place_of(resp: &mut Resp, request: &[&str]) -> Place {
    let (place, reply) = told(resp.ask(request));
    place.unwrap_or_else(|| panic!("{request:?} was answered {reply:?} without a place"))
}

/// Connects as a client that wants to know.
fn curious(address: &str) -> Resp {
    let mut resp = Resp::connect(address);
    resp.ask(&["HELLO", "3"]);
    assert_eq!(resp.ask(&["CLIENT", "META", "ON"]), Reply::ok());
    resp
}

#[test]
fn every_door_tells_the_place_of_a_reply_in_order() {
    let cluster = Cluster::start(&Shape::three().cpus(&[2, 2, 2]).partitions(6));
    let mut last = std::collections::BTreeMap::new();
    for id in 1..=3 {
        for cpu in 0..2 {
            let mut resp = curious(&cluster.resp_of_cpu(id, cpu));
            for key in 0..24 {
                let key = format!("key:{key}");
                let wrote = place_of(&mut resp, &["SET", &key, "v"]);
                let before = last.insert(wrote.group, wrote.index).unwrap_or(0);
                assert!(wrote.index > before, "{wrote:?} behind {before}");
                let read = place_of(&mut resp, &["GET", &key]);
                assert!(read.group == wrote.group && read.index >= wrote.index, "{read:?} after {wrote:?}");
            }
        }
    }
    assert_eq!(last.len(), 6, "all groups were asked");

    let mut resp = curious(&cluster.resp(1));
    resp.ask(&["SUBSCRIBE", "news"]);
    // A pipeline that turns it off half way: each reply is as it was when it was asked for.
    let requests: [&[&str]; 8] = [
        &["SET", "key:1", "v"],
        &["PUBLISH", "news", "x"],
        &["HSET", "key:1", "f", "v"],
        &["MGET", "key:1", "key:2", "key:3", "key:4", "key:5", "key:6", "key:7", "key:8"],
        &["MGET", "{key:1}", "{key:1}2"],
        &["PING"],
        &["CLIENT", "META", "OFF"],
        &["GET", "key:1"],
    ];
    requests.iter().for_each(|request| resp.send(request));
    let mut replies = Vec::new();
    let mut pushed = 0;
    while replies.len() < requests.len() {
        match told(resp.receive()) {
            (None, Reply::Push(_)) => pushed += 1,
            reply => replies.push(reply),
        }
    }
    while pushed == 0 {
        assert!(matches!(resp.receive(), Reply::Push(_)), "what was published comes");
        pushed += 1;
    }
    let has_place: Vec<bool> = replies.iter().map(|(place, _)| place.is_some()).collect();
    assert_eq!(has_place, [true, false, true, false, true, false, false, false], "{replies:?}");
    assert!(replies[2].1.is_error("WRONGTYPE"), "an error of the state machine was decided at an entry, too");
    assert_eq!(replies[7].1, Reply::bulk("v"));
}

#[test]
fn the_epoch_grows_when_somebody_takes_over() {
    let mut cluster = Cluster::start(&Shape::three().suspicion("500 ms"));
    let before = place_of(&mut curious(&cluster.resp(2)), &["SET", "k", "v"]);
    cluster.node_mut(1).kill();
    let mut resp = curious(&cluster.resp(2));
    let after = until("somebody has taken over", || told(resp.ask(&["SET", "k", "w"])).0);
    assert!(after.epoch > before.epoch && after.index > before.index, "{after:?} after {before:?}");
    assert_eq!(after.loss_gen, before.loss_gen);
    let read = place_of(&mut resp, &["GET", "k"]);
    assert!(read.epoch == after.epoch && read.index >= after.index, "{read:?}");
}

#[test]
fn the_loss_generation_grows_when_a_loss_is_accepted() {
    let mut cluster = Cluster::start(&Shape::three().suspicion("500 ms"));
    let before = place_of(&mut curious(&cluster.resp(3)), &["SET", "k", "v"]);
    assert_eq!(before.loss_gen, 0);
    cluster.assert_equal(&[1, 2, 3]);
    cluster.node_mut(1).kill();
    cluster.node_mut(2).kill();
    cluster.node_mut(1).start();
    cluster.node_mut(2).start();
    let mut resp = until("node 2 is back", || Resp::try_connect(&cluster.resp(2)));
    until("the loss is accepted", || match resp.ask(&["CORE", "ACCEPTLOSS", "0"]) {
        Reply::Array(_) => Some(()),
        Reply::Error(_) => None,
        other => panic!("{other:?}"),
    });
    for id in 1..=3 {
        let mut resp = curious(&cluster.resp(id));
        let after = until("it is led again", || told(resp.ask(&["GET", "k"])).0);
        assert_eq!(after.loss_gen, 1, "through node {id}");
    }
}
