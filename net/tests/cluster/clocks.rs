//! Clocks that jump or go wrong. The library `libfaketime` shows a process another time than the machine has; where it is not
//! installed, these stories are skipped, loudly.

use std::fs;
use std::path::{Path, PathBuf};

use super::daemons::{Cluster, Shape, until};
use super::load::Load;
use super::resp::Reply;

/// Returns the library that shows processes another time.
fn library() -> Option<PathBuf> {
    let libraries = fs::read_dir("/usr/lib").into_iter().flatten().filter_map(Result::ok);
    let found = libraries.map(|folder| folder.path().join("faketime/libfaketime.so.1")).find(|path| path.exists());
    if found.is_none() {
        eprintln!("SKIPPED: libfaketime is not installed; `bash .ci/run packages` installs it");
    }
    found
}

/// Has a node see another wall clock or rate from its next start on, as `what` says and whatever is written there later.
fn disguise(cluster: &mut Cluster, node: u16, library: &Path, what: &str, is_wall_only: bool) -> PathBuf {
    let file = cluster.folder().join(format!("time-{node}"));
    fs::write(&file, what).expect("a file of our own");
    let mut environment = vec![
        ("LD_PRELOAD", library.display().to_string()),
        ("FAKETIME_TIMESTAMP_FILE", file.display().to_string()),
        ("FAKETIME_NO_CACHE", String::from("1")),
    ];
    if is_wall_only {
        environment.push(("FAKETIME_DONT_FAKE_MONOTONIC", String::from("1")));
    }
    cluster.node_mut(node).environment = environment;
    file
}

/// Returns the seconds that a node's wall clock shows.
fn wall_clock(cluster: &Cluster, node: u16) -> i64 {
    let Reply::Array(time) = cluster.connect(node).ask(&["TIME"]) else { panic!("TIME is a list") };
    let Reply::Bulk(seconds) = &time[0] else { panic!("{time:?} are no texts") };
    std::str::from_utf8(seconds).expect("digits").parse().expect("a number")
}

#[test]
fn a_wall_clock_that_jumps_by_an_hour_changes_nothing() {
    let Some(library) = library() else { return };
    let mut cluster = Cluster::start(&Shape::three().suspicion("1 s"));
    cluster.node_mut(2).kill();
    let file = disguise(&mut cluster, 2, &library, "+0", true);
    cluster.node_mut(2).start();
    cluster.wait_for_member(1, 2);
    let load = Load::start(cluster.client(2), 0);
    for (jump, sign) in [("+1h", 1), ("-1h", -1), ("+0", 0)] {
        load.advance(500);
        fs::write(&file, jump).expect("a file of our own");
        until("the jump is seen", || {
            let ahead = wall_clock(&cluster, 2) - wall_clock(&cluster, 1);
            ((ahead - sign * 3_600).abs() < 60).then_some(())
        });
        load.advance(500);
    }
    let written = load.stop();
    assert_eq!(written.problems, [""; 0], "nothing depends on it");
    let group = cluster.status(1).groups[0].clone();
    assert_eq!((group.leader, &*group.members), (1, &[1, 2, 3][..]));
    cluster.assert_equal(&[1, 2, 3]);
}

#[test]
fn a_node_whose_clock_goes_too_fast_says_so_and_leads_no_more() {
    let Some(library) = library() else { return };
    let mut cluster = Cluster::start(&Shape::three().partitions(6).suspicion("1 s"));
    cluster.node_mut(2).kill();
    disguise(&mut cluster, 2, &library, "+0 x1.2", false);
    cluster.node_mut(2).start();
    until("it says so", || {
        cluster.node(2).log().contains("the clock of this node goes too fast or too slow").then_some(())
    });
    until("it leads nothing", || {
        let led = |group: &&quorate::cli::status::report::GroupEntry| group.leader == 2;
        (cluster.try_status(1)?.groups.iter().filter(led).count() == 0).then_some(())
    });
    // It is a member like any other, and the others go on leading.
    let mut resp = cluster.connect(2);
    (0..20).for_each(|key| assert_eq!(resp.ask(&["SET", &format!("k{key}"), "v"]), Reply::ok()));
    cluster.assert_equal(&[1, 2, 3]);
}
