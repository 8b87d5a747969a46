//! Several CPUs a node, as many as the next node or not, and different transports: every slot can be reached through
//! every door, and one connection sees its own requests in their order, wherever they are executed.

use std::collections::HashSet;

use quorate::client::blocking::Client;
use quorate::transport::{IoChoice, TransportSettings};
use quorate_engine::slots::{SLOT_COUNT, slot_of};

use super::daemons::{Cluster, Shape};
use super::resp::{Reply, Resp};

#[test]
fn two_cpus_each_serve_every_slot_through_every_door() {
    let cpus = [2, 2, 2];
    serve_every_slot(&Cluster::start(&Shape::three().cpus(&cpus).partitions(16)), &cpus);
}

#[test]
fn nodes_with_one_and_two_cpus_serve_every_slot_through_every_door() {
    let cpus = [1, 2, 2];
    serve_every_slot(&Cluster::start(&Shape::three().io(&["mio"; 3]).cpus(&cpus).partitions(16)), &cpus);
}

#[test]
fn nodes_with_different_transports_replicate_each_other() {
    if let Err(refusal) = quorate::transport::open(IoChoice::Uring, &TransportSettings::default()) {
        assert!(std::env::var_os("CI").is_none(), "io_uring must be tested under CI: {refusal}");
        eprintln!("SKIPPED, io_uring is not mixed with mio: {refusal}");
        return;
    }
    let cluster = Cluster::start(&Shape::three().io(&["mio", "uring", "mio"]).partitions(16));
    let drivers: Vec<Option<String>> = (1..=3).map(|id| cluster.status(id).io_driver).collect();
    assert_eq!(drivers, ["mio", "io_uring", "mio"].map(|name| Some(name.to_owned())));
    serve_every_slot(&cluster, &[1, 1, 1]);
}

fn serve_every_slot(cluster: &Cluster, cpus: &[u16]) {
    for id in 1..=3 {
        let report = cluster.status(id);
        let leaders: Vec<u16> = report.groups.iter().map(|group| group.leader).collect();
        assert_eq!(leaders, (0..16).map(|group| group % 3 + 1).collect::<Vec<u16>>(), "as node {id} has it");
    }
    let names = a_name_in_each_slot();
    let value = |number: usize| format!("value of {number}");
    let values: Vec<String> = (0..names.len()).map(value).collect();
    // A third of the slots is written through each node.
    for id in 1..=3 {
        let mine = names.iter().zip(&values).skip(usize::from(id) - 1).step_by(3);
        let replies = cluster.connect(id).pipeline(mine.map(|(name, value)| vec!["SET", name, value]));
        assert!(replies.iter().all(|reply| *reply == Reply::ok()), "through node {id}: {:?}", first_bad(&replies));
    }
    let doors = (1..=3).map(|id| cluster.resp(id));
    let of_cpus = (1..=3).zip(cpus).flat_map(|(id, count)| (0..*count).map(move |cpu| cluster.resp_of_cpu(id, cpu)));
    for door in doors.chain(of_cpus) {
        let replies = Resp::connect(&door).pipeline(names.iter().map(|name| vec!["GET", name]));
        for ((name, value), reply) in names.iter().zip(&values).zip(&replies) {
            assert_eq!(*reply, Reply::bulk(value), "{name} in slot {} through {door}", slot_of(name.as_bytes()).0);
        }
    }
    for id in 1..=3 {
        use_many_keys(cluster, id, &names);
        order_is_kept(cluster, id);
        native_client_reaches_all(cluster, id, &names);
    }
    cluster.assert_equal(&[1, 2, 3]);
    assert_eq!(cluster.connect(2).ask(&["FLUSHALL"]), Reply::ok());
    for id in 1..=3 {
        assert_eq!(cluster.connect(id).ask(&["DBSIZE"]), Reply::Int(0), "after FLUSHALL, through node {id}");
    }
}

/// Commands about keys of many groups, and those that need one.
fn use_many_keys(cluster: &Cluster, id: u16, names: &[String]) {
    let mut resp = cluster.connect(id);
    assert_eq!(resp.ask(&["DBSIZE"]), Reply::Int(i64::from(SLOT_COUNT)), "through node {id}");
    let mut seen = HashSet::new();
    let mut cursor = "0".to_owned();
    loop {
        let Reply::Array(page) = resp.ask(&["SCAN", &cursor, "COUNT", "1000"]) else { panic!("SCAN gives a page") };
        let [Reply::Bulk(next), Reply::Array(keys)] = &page[..] else { panic!("a cursor and keys: {page:?}") };
        seen.extend(keys.iter().cloned().map(|key| if let Reply::Bulk(key) = key { key } else { Vec::new() }));
        cursor = String::from_utf8_lossy(next).into_owned();
        if cursor == "0" {
            break;
        }
    }
    assert!(names.iter().all(|name| seen.contains(name.as_bytes())), "SCAN through node {id} misses keys");

    let many: Vec<&str> = names.iter().step_by(97).map(String::as_str).collect();
    let Reply::Array(values) = resp.ask(&[&["MGET"], &many[..]].concat()) else { panic!("MGET gives an array") };
    let expected = (0..names.len()).step_by(97).map(|number| Reply::bulk(format!("value of {number}")));
    assert_eq!(values, expected.collect::<Vec<_>>(), "MGET through node {id}");
    let count = i64::try_from(many.len()).expect("a few");
    assert_eq!(resp.ask(&[&["EXISTS"], &many[..]].concat()), Reply::Int(count));

    assert!(resp.ask(&["MSET", "a", "1", "b", "2"]).is_error("CROSSSLOT"));
    assert_eq!(resp.ask(&["EXISTS", "a", "b"]), Reply::Int(0), "nothing of it happened");
    for tag in names.iter().step_by(1_000) {
        let (one, two) = (format!("{{{tag}}}:one"), format!("{{{tag}}}:two"));
        assert_eq!(resp.ask(&["MSET", &one, "1", &two, "2"]), Reply::ok());
        assert_eq!(resp.ask(&["MGET", &one, &two]), Reply::Array(vec![Reply::bulk("1"), Reply::bulk("2")]));
        assert_eq!(resp.ask(&["DEL", &one, &two, "nothing"]), Reply::Int(2));
    }
}

/// One connection, requests to all groups mixed, no waiting for replies.
fn order_is_kept(cluster: &Cluster, id: u16) {
    let mut resp = cluster.connect(id);
    let name = |number: usize| format!("order:{}", number % 37);
    let requests: Vec<[String; 3]> =
        (0..2_000).map(|number| [name(number), number.to_string(), format!("count:{}", number % 41)]).collect();
    let replies = resp.pipeline(requests.iter().flat_map(|[key, value, counter]| {
        [vec!["SET", key, value], vec!["GET", key], vec!["INCR", counter], vec!["GET", counter]]
    }));
    for (number, replies) in replies.chunks(4).enumerate() {
        let count = number / 41 + 1;
        let expected = [
            Reply::ok(),
            Reply::bulk(number.to_string()),
            Reply::Int(i64::try_from(count).expect("small")),
            Reply::bulk(count.to_string()),
        ];
        assert_eq!(replies, expected, "request {number} through node {id}");
    }
    let used: Vec<String> = (0..37)
        .map(|number| format!("order:{number}"))
        .chain((0..41).map(|number| format!("count:{number}")))
        .collect();
    let used: Vec<&str> = used.iter().map(String::as_str).collect();
    assert_eq!(resp.ask(&[&["DEL"], &used[..]].concat()), Reply::Int(78));
}

fn native_client_reaches_all(cluster: &Cluster, id: u16, names: &[String]) {
    let mut client = Client::connect(cluster.client(id)).expect("the node is up");
    for (number, name) in names.iter().enumerate().step_by(331) {
        let value = format!("value of {number}");
        assert_eq!(client.get(name.as_bytes()).expect("a read"), Some(value.clone().into_bytes()), "{name}");
        client.set(name.as_bytes(), value.as_bytes()).expect("a write");
    }
}

/// Returns a name for each slot, in the order of the slots.
fn a_name_in_each_slot() -> Vec<String> {
    let count = usize::from(SLOT_COUNT);
    let mut names = vec![None; count];
    let mut missing = count;
    for number in 0_u64.. {
        let name = format!("k{number}");
        let place = &mut names[usize::from(slot_of(name.as_bytes()).0)];
        if place.is_none() {
            *place = Some(name);
            missing -= 1;
        }
        if missing == 0 {
            break;
        }
    }
    names.into_iter().flatten().collect()
}

fn first_bad(replies: &[Reply]) -> Option<&Reply> {
    replies.iter().find(|reply| **reply != Reply::ok())
}
