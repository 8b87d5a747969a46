//! What keeps a node from starting, or a cluster from serving, is said at once, with what to do about it.

use std::fs;
use std::net::TcpListener;

use super::daemons::{Cluster, Shape, address, quorate, until};
use super::resp::{Reply, Resp};

/// Runs `quorate start` with a configuration that it does not start with; returns what it says.
fn refused(config: &str) -> String {
    refused_as(config, &["--create"])
}

fn refused_as(config: &str, flags: &[&str]) -> String {
    let folder = std::env::temp_dir().join(format!("quorate-starting-{:x}", quorate::local_cluster::random_number()));
    fs::create_dir(&folder).expect("a folder of our own");
    let (path, data) = (folder.join("node.toml"), folder.join("data").display().to_string());
    fs::write(&path, config).expect("a file of our own");
    let path = path.display().to_string();
    let arguments = [&["--config", &path, "--data-dir", &data][..], flags].concat();
    let said = refused_with(&arguments).replace(&path, "node.toml");
    fs::remove_dir_all(&folder).expect("a folder of our own");
    said
}

fn refused_with(arguments: &[&str]) -> String {
    let mut command = quorate();
    command.arg("start").args(arguments);
    // A node that starts nevertheless is ended by the deadline of whoever waits for this test.
    let ended = command.output().expect("the binary was built for this test");
    assert_eq!(ended.status.code(), Some(1), "it does not start");
    String::from_utf8(ended.stderr).expect("we print UTF-8")
}

const ALONE: &str = "[cluster]\nreplicas = 1\n[node]\nid = 1\n";

/// Takes a port that no client is given by chance, and whose neighbour, the door of a CPU, is free.
fn taken_port() -> TcpListener {
    let listeners = (9_100..9_900).step_by(10).map(|port| (port, TcpListener::bind(("127.0.0.1", port))));
    let free = |port: u16| TcpListener::bind(("127.0.0.1", port + 1)).is_ok();
    listeners.filter(|(port, _)| free(*port)).find_map(|(_, listener)| listener.ok()).expect("a free pair of ports")
}

#[test]
fn a_port_that_is_taken_is_named_with_its_key() {
    for door in ["resp", "native", "peer", "admin"] {
        let listener = taken_port();
        let taken = listener.local_addr().expect("it is bound").to_string();
        let mut doors = String::new();
        for (index, other) in ["resp", "native", "peer", "admin"].into_iter().enumerate() {
            let free = address(9_000 + 10 * u16::try_from(index).expect("one of four"));
            doors.push_str(&format!("{other} = \"{}\"\n", if other == door { &taken } else { &free }));
        }
        let said = refused(&format!("{ALONE}[listen]\n{doors}"));
        assert!(said.contains(&format!("cannot listen at {taken} (listen.{door})")), "{said}");
        assert!(said.contains("is taken by another process; stop that one, or choose another address"), "{said}");
    }
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let said = refused_with(&["--config", "/nonexistent/node.toml"]);
    assert!(said.contains("/nonexistent/node.toml: cannot be read: No such file"), "{said}");
    assert!(said.contains("check the path and who may read it"), "{said}");
    let said = refused_with(&["--config", "/"]);
    assert!(said.contains("/: cannot be read: "), "{said}");
}

#[test]
fn a_door_open_to_the_network_needs_a_password() {
    for door in ["resp", "native", "peer"] {
        let said = refused(&format!("{ALONE}[listen]\n{door} = \"0.0.0.0:9100\"\n"));
        assert!(said.contains("node.toml:6:"), "{said}");
        let advice = "set security.requirepass, listen on 127.0.0.1, or say --insecure if the network is trusted";
        assert!(said.contains(advice), "{said}");
    }
}

#[test]
fn a_door_for_http_open_to_the_network_is_not_guarded_by_a_password() {
    let open = format!("{ALONE}[listen]\nadmin = \"0.0.0.0:9100\"\n");
    for password in ["", "[security]\nrequirepass = \"secret\"\n"] {
        let said = refused(&format!("{open}{password}"));
        assert!(said.contains("node.toml:6:"), "{said}");
        let advice = "whoever reaches it needs no password; listen on 127.0.0.1, or say --insecure";
        assert!(said.contains(advice), "{said}");
    }
}

#[test]
fn settings_that_are_not_built_or_cannot_hold_together_are_named() {
    let said = refused(&format!("{ALONE}durability = \"sync\"\n"));
    assert!(
        said.contains("node.toml:5:14: `node.durability` is \"sync\", which is not built yet; use \"memory\""),
        "{said}"
    );
    let said = refused(&format!("{ALONE}log_memory = \"1 GiB\"\n[limits]\nvalue_max = \"32 MiB\"\n"));
    assert!(said.contains("node.toml:7:13: `limits.value_max` is 32 MiB; allowed is 1 KiB to 14 MiB"), "{said}");
    let said = refused("[cluster]\nreplicas = 3\n[node]\nid = 1\n");
    assert!(said.contains("[[peers]]"), "{said}");
    let said = refused("[cluster]\nreplicas = 1\n");
    assert!(said.contains("node.id"), "{said}");
}

#[test]
fn a_node_without_its_peers_says_what_it_waits_for() {
    let cluster = Cluster::launch(&Shape::three(), &[true, false, false]);
    let mut resp = until("node 1 listens", || Resp::try_connect(&cluster.resp(1)));
    let log = until("it says what it waits for", || {
        let log = cluster.node(1).log();
        log.contains("waiting for the consistent core").then_some(log)
    });
    assert!(
        log.contains(
            "a majority of nodes [1, 2, 3]; a new cluster serves once all its nodes were there; see `quorate status"
        ),
        "{log}"
    );
    for request in [&["SET", "k", "v"][..], &["GET", "k"], &["DBSIZE"]] {
        let reply = resp.ask(request);
        assert!(reply.error().starts_with("UNAVAILABLE node 1 has not been registered"), "{request:?}: {reply:?}");
        assert!(reply.error().contains("see `quorate status`"), "{reply:?}");
    }
    let ended = quorate().args(["status", "--connect", &cluster.resp(1)]).output().expect("the binary was built");
    let said = String::from_utf8_lossy(&ended.stdout);
    assert_eq!(ended.status.code(), Some(4), "{said}");
    assert!(said.contains("not formed yet"), "{said}");
    assert!(said.contains("unreachable"), "{said}");
}

#[test]
fn a_cluster_does_not_begin_with_two_of_three_and_does_with_all() {
    let mut cluster = Cluster::launch(&Shape::three(), &[true, true, false]);
    let mut resp = until("node 1 listens", || Resp::try_connect(&cluster.resp(1)));
    for _ in 0..20 {
        assert!(resp.ask(&["SET", "k", "v"]).is_error("UNAVAILABLE"));
    }
    cluster.node_mut(3).start();
    until("it serves", || (resp.ask(&["SET", "k", "v"]) == Reply::ok()).then_some(()));
    cluster.assert_equal(&[1, 2, 3]);
}

#[test]
fn the_only_node_of_the_core_without_a_store_says_how_a_cluster_is_created() {
    let doors = ["resp", "native", "peer", "admin"].into_iter().zip((9_050..).step_by(10));
    let doors: String = doors.map(|(door, port)| format!("{door} = \"{}\"\n", address(port))).collect();
    let said = refused_as(&format!("{ALONE}[listen]\n{doors}"), &[]);
    assert!(said.contains("holds nothing that the core has agreed on"), "{said}");
    assert!(said.contains("start each node of the core once with --create"), "{said}");
}

#[test]
fn nodes_that_do_not_belong_together_say_why() {
    let one = Cluster::launch(&Shape::three(), &[true, false, false]);
    until("node 1 listens", || Resp::try_connect(&one.resp(1)));
    let said_by = |name: &str, change: &dyn Fn(String) -> String, expected: &str| {
        // Another node 2, told where node 1 is.
        let mut other = Cluster::launch(&Shape::three(), &[false, false, false]);
        let mine = fs::read_to_string(one.folder().join("node-2.toml")).expect("it was written");
        fs::write(other.folder().join("node-2.toml"), change(mine)).expect("a file of our own");
        other.node_mut(2).start();
        until(&format!("{name}: node 1 or 2 says {expected:?}"), || {
            let logs = one.node(1).log() + &other.node(2).log();
            logs.contains(expected).then_some(())
        });
    };
    let elsewhere = |text: String| text.replace("/data-2", "/data-of-another");
    let renamed = |text: String| elsewhere(text).replace(&format!("\"{}\"", one.name()), "\"scores\"");
    said_by("another cluster", &renamed, "belongs to cluster");
    let divided = |text: String| text.replace("partitions = 1", "partitions = 2");
    said_by("other partitions", &divided, "must be the same everywhere: node 1 has 1, 3, 2; node 2 has 2, 3, 2");
}
