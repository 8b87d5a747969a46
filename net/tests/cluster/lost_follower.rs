//! A follower that crashes or stands still: writes go on without an error, nothing acknowledged is lost, and one that
//! goes on catches up, through the log or, when that no longer reaches back, through a snapshot.

use std::fmt::Write as _;
use std::fs;
use std::process::Stdio;

use serde_json::Value;

use super::daemons::{Cluster, Shape, quorate, until};
use super::load::Load;
use super::resp::Reply;

#[test]
fn killing_node_2_during_a_replay_costs_nothing() {
    kill_during_a_replay(2, 3, "auto");
}

#[test]
fn killing_node_3_during_a_replay_costs_nothing() {
    kill_during_a_replay(3, 2, "mio");
}

/// A feed of market ticks, as recorded: each row is stored under its own number and as the latest price.
fn feed() -> String {
    let mut text = "id,bid,ask,time_ns\n".to_owned();
    for row in 0..ROWS {
        let bid = 61_000 + row * 7_919 % 977;
        writeln!(text, "{row},{bid}.25,{bid}.50,{}", row * ROW_NS).expect("a string takes everything");
    }
    text
}

fn kill_during_a_replay(killed: u16, survivor: u16, io: &'static str) {
    let mut cluster = Cluster::start(&Shape::three().io(&[io; 3]));
    assert_eq!(cluster.status(1).groups[0].leader, 1, "node 1 leads group 0");
    let file = cluster.folder().join("ticks.csv");
    let text = feed();
    fs::write(&file, &text).expect("a file of our own");
    let mut replay = quorate();
    replay.arg("replay").arg(&file).args(["--connect", &cluster.native(1), "--json", "--speed", "1x"]);
    replay.args([
        "--key",
        "tick:{id}",
        "--value",
        "{bid}/{ask}",
        "--key",
        "px:BTC",
        "--value",
        "{id}",
        "--time",
        "time_ns:ns",
    ]);
    let mut replay = replay.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it was built for this test");

    until("a quarter of the feed is committed", || (cluster.status(1).groups[0].commit > ROWS / 2).then_some(()));
    cluster.node_mut(killed).kill();
    let is_running = replay.try_wait().expect("it is ours").is_none();
    assert!(is_running, "the replay was over before node {killed} was killed");
    let ended = replay.wait_with_output().expect("it is ours");

    let output = String::from_utf8_lossy(&ended.stdout);
    assert_eq!((ended.status.code(), String::from_utf8_lossy(&ended.stderr).as_ref()), (Some(0), ""), "{output}");
    let summary: Value = output.lines().last().and_then(|line| serde_json::from_str(line).ok()).expect("a summary");
    let count = |name: &str| summary[name].as_u64();
    assert_eq!((count("errors"), count("unknown")), (Some(0), Some(0)), "{summary}");
    assert_eq!((count("rows"), count("rows_acknowledged")), (Some(ROWS), Some(ROWS)), "{summary}");
    assert_eq!(count("acknowledged"), Some(2 * ROWS), "{summary}");
    assert_holds_the_feed(&cluster, 1, &text);
    assert_holds_the_feed(&cluster, survivor, &text);
    cluster.assert_equal(&[1, survivor]);
    assert_eq!(cluster.status(1).groups[0].lost, [killed]);
}

fn assert_holds_the_feed(cluster: &Cluster, node: u16, text: &str) {
    let rows: Vec<Vec<&str>> = text.lines().skip(1).map(|line| line.split(',').collect()).collect();
    let names: Vec<String> = rows.iter().map(|row| format!("tick:{}", row[0])).collect();
    let mut resp = cluster.connect(node);
    let replies = resp.pipeline(names.iter().map(|name| vec!["GET", name]));
    for (row, reply) in rows.iter().zip(&replies) {
        assert_eq!(*reply, Reply::bulk(format!("{}/{}", row[1], row[2])), "row {} through node {node}", row[0]);
    }
    assert_eq!(resp.ask(&["GET", "px:BTC"]), Reply::bulk((ROWS - 1).to_string()), "the latest price is the last row's");
}

#[test]
fn a_paused_follower_delays_nobody_and_catches_up_through_the_log() {
    let cluster = Cluster::start(&Shape::three().io(&["mio"; 3]));
    let load = Load::start(cluster.client(1), 0);
    load.advance(2_000);
    pause_and_resume(&cluster, &load, 20_000);
    let written = load.stop();
    assert_eq!(written.problems, [""; 0]);
    written.assert_held(&cluster, 3);
    cluster.assert_equal(&[1, 2, 3]);
    assert!(!cluster.node(1).log().contains("snapshot"), "the log reached back");
}

#[test]
fn a_follower_paused_for_longer_than_the_log_reaches_back_gets_a_snapshot() {
    let small = Shape::three().set_text("node", "log_memory", "4 MiB").set_text("limits", "key_max", "1 KiB");
    let cluster = Cluster::start(&small.set_text("limits", "value_max", "64 KiB"));
    write_of_every_kind(&cluster);
    let load = Load::start(cluster.client(1), 2_000);
    load.advance(500);
    pause_and_resume(&cluster, &load, 6_000);
    let written = load.stop();
    assert_eq!(written.problems, [""; 0]);
    written.assert_held(&cluster, 3);
    cluster.assert_equal(&[1, 2, 3]);
    assert!(cluster.node(1).log().contains("replica has installed its snapshot"), "{}", cluster.node(1).log());
}

/// What a snapshot has to carry besides plain strings: numbers, hashes, large values, and when keys end.
fn write_of_every_kind(cluster: &Cluster) {
    let mut resp = cluster.connect(1);
    let large = "l".repeat(60_000);
    for number in 0..20 {
        let name = |kind: &str| format!("{kind}{number}");
        assert_eq!(resp.ask(&["INCRBY", &name("number"), "1000000"]), Reply::Int(1_000_000));
        assert_eq!(resp.ask(&["SET", &name("large"), &large]), Reply::ok());
        assert_eq!(resp.ask(&["SET", &name("later"), "v", "EX", "1000"]), Reply::ok());
        assert_eq!(resp.ask(&["SET", &name("soon"), "v", "PX", "100"]), Reply::ok());
        for field in 0..20 {
            assert_eq!(resp.ask(&["HSET", &name("hash"), &format!("f{field}"), &large[..field * 50]]), Reply::Int(1));
        }
    }
}

/// Lets node 2 stand still for so many writes, and then catch up while they go on.
fn pause_and_resume(cluster: &Cluster, load: &Load, writes: u64) {
    cluster.node(2).pause();
    let before = cluster.status(1).groups[0].commit;
    load.advance(writes);
    cluster.node(2).resume();
    until("node 2 has what was committed meanwhile", || {
        (cluster.status(2).groups[0].applied > before + writes).then_some(())
    });
    until("node 1 counts node 2 among those that are up to date", || {
        let group = &cluster.status(1).groups[0];
        (group.lost.is_empty() && group.catching_up.is_empty()).then_some(())
    });
    // It stays one of those that count, in all of this.
    assert!(cluster.status(1).groups[0].learners.is_empty());
}

const ROWS: u64 = 10_000;
/// Apart enough that the feed goes on for a few seconds.
const ROW_NS: u64 = 300_000;
