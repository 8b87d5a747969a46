//! What is said is true, and what is not built says so by name.

use quorate::client::ClientOptions;
use quorate::client::blocking::Client;

use super::daemons::{Cluster, Shape, until};
use super::resp::{Reply, Resp};

#[test]
fn wait_counts_the_followers_that_hold_the_last_write() {
    let mut cluster = Cluster::start(&Shape::three());
    let mut resp = cluster.connect(1);
    assert_eq!(resp.ask(&["SET", "k", "1"]), Reply::ok());
    assert_eq!(resp.ask(&["WAIT", "2", "60000"]), Reply::Int(2));
    assert_eq!(resp.ask(&["WAIT", "0", "1"]), Reply::Int(2), "as many as there are, even if none are asked for");
    cluster.node(3).pause();
    assert_eq!(resp.ask(&["SET", "k", "2"]), Reply::ok(), "a quorum is two");
    assert_eq!(resp.ask(&["WAIT", "1", "60000"]), Reply::Int(1));
    assert_eq!(resp.ask(&["WAIT", "2", "50"]), Reply::Int(1), "node 3 does not have it, and time is up");
    // Through another node it is as true; the write it asks about is the one of its own connection.
    let mut other = cluster.connect(2);
    assert_eq!(other.ask(&["SET", "k", "3"]), Reply::ok());
    assert_eq!(other.ask(&["WAIT", "2", "50"]), Reply::Int(1));
    other.send(&["WAIT", "2", "60000"]);
    cluster.node(3).resume();
    assert_eq!(other.receive(), Reply::Int(2), "it is answered when node 3 has it");
    assert!(resp.ask(&["WAIT", "2", "-1"]).is_error("ERR"));
    assert!(resp.ask(&["WAIT", "two", "0"]).is_error("ERR"));

    cluster.node_mut(3).kill();
    until("node 3 counts no more", || {
        assert_eq!(resp.ask(&["SET", "k", "4"]), Reply::ok());
        (resp.ask(&["WAIT", "1", "60000"]) == Reply::Int(1)).then_some(())
    });
}

#[test]
fn keys_end_on_all_replicas_at_one_place_in_the_log() {
    let cluster = Cluster::start(&Shape::three());
    let mut resp = cluster.connect(2);
    for number in 0..500 {
        assert_eq!(resp.ask(&["SET", &format!("short{number}"), "v", "PX", "200"]), Reply::ok());
    }
    assert_eq!(resp.ask(&["SET", "long", "v", "EX", "1000"]), Reply::ok());
    until("they have ended", || (resp.ask(&["DBSIZE"]) == Reply::Int(1)).then_some(()));
    cluster.assert_equal(&[1, 2, 3]);
    for id in [1, 2, 3] {
        assert_eq!(cluster.connect(id).ask(&["CACHE.PEEK", "short0"]), Reply::Nil, "at node {id}");
        assert_eq!(cluster.connect(id).ask(&["CACHE.PEEK", "long"]), Reply::bulk("v"), "at node {id}");
    }
}

#[test]
fn a_password_is_asked_for_at_every_door_for_clients() {
    let cluster = Cluster::start(&Shape::one().password("sesame"));
    let mut resp = cluster.connect(1);
    let no_auth = Reply::Error("NOAUTH Authentication required.".to_owned());
    for request in [
        &["GET", "k"][..],
        &["SET", "k", "v"],
        &["INFO"],
        &["NODE", "STATUS"],
        &["PUBLISH", "c", "m"],
        &["CONFIG", "GET", "*"],
    ] {
        assert_eq!(resp.ask(request), no_auth, "{request:?}");
    }
    for request in [&["AUTH", "wrong"][..], &["AUTH", "default", "wrong"], &["AUTH", "nobody", "sesame"]] {
        assert!(resp.ask(request).is_error("WRONGPASS"), "{request:?}");
    }
    assert_eq!(resp.ask(&["GET", "k"]), no_auth, "a wrong password opens nothing");
    assert!(resp.ask(&["HELLO", "3"]).is_error("NOAUTH"));
    assert_eq!(resp.ask(&["AUTH", "sesame"]), Reply::ok());
    assert_eq!(resp.ask(&["SET", "k", "v"]), Reply::ok());
    let mut greeted = cluster.connect(1);
    assert!(matches!(greeted.ask(&["HELLO", "3", "AUTH", "default", "sesame"]), Reply::Map(_)));
    assert_eq!(greeted.ask(&["GET", "k"]), Reply::bulk("v"));

    // Before it has logged in, a client may not send much.
    for (bytes, expected) in [
        (&b"*11\r\n"[..], "ERR Protocol error: unauthenticated multibulk length"),
        (b"*2\r\n$4\r\nAUTH\r\n$20000\r\n", "ERR Protocol error: unauthenticated bulk length"),
    ] {
        let mut stranger = cluster.connect(1);
        stranger.send_bytes(bytes);
        assert_eq!(stranger.receive(), Reply::Error(expected.to_owned()));
        assert!(stranger.is_closed());
    }

    let options = |password: &str| ClientOptions { password: password.to_owned(), ..cluster.client(1) };
    for wrong in ["", "wrong"] {
        let refused = Client::connect(options(wrong)).expect_err("the password is wrong");
        assert!(refused.to_string().contains("wrong password: give the one in security.requirepass"), "{refused}");
    }
    let mut native = Client::connect(options("sesame")).expect("the password is right");
    assert_eq!(native.get(b"k").expect("a read"), Some(b"v".to_vec()));
}

#[test]
fn what_is_not_built_is_refused_by_name() {
    let cluster = Cluster::start(&Shape::one());
    let mut resp = cluster.connect(1);
    for (line, expected) in [
        ("SET k v ACK coherent", "ERR ACK coherent is not built yet; use ACK commit"),
        ("SET k v ACK sink", "ERR ACK sink is not built yet; use ACK commit"),
        ("SET k v FENCE 7", "ERR FENCE is not built yet"),
        ("LEASE.GRANT r h PX 100", "ERR LEASE.GRANT is not built yet"),
        ("EVENT.ADD s 1 x", "ERR EVENT.ADD is not built yet"),
        ("JOB LIST", "ERR JOB is not built yet"),
        ("CLIENT TRACKING ON", "ERR CLIENT TRACKING ON is not built yet: nothing is told to caches of clients"),
        ("EVAL x 0", "ERR EVAL is not supported: there are no scripts"),
        ("LPUSH l x", "ERR LPUSH is not supported: there are no lists"),
        ("ZADD z 1 x", "ERR ZADD is not supported: there are no sorted sets"),
        ("MULTI", "ERR MULTI is not supported: transactions are not built yet"),
        ("XADD s * f v", "ERR XADD is not supported: streams are not built yet"),
        ("SELECT 1", "ERR"),
        ("DEBUG CORRUPT k", "ERR unknown command 'DEBUG'"),
    ] {
        let reply = resp.ask(&line.split(' ').collect::<Vec<_>>());
        assert!(reply.error().starts_with(expected), "{line}: {reply:?}");
    }
    assert_eq!(resp.ask(&["EXISTS", "k"]), Reply::Int(0), "and nothing of it was done");
    assert_not_announced(&mut resp);
}

fn assert_not_announced(resp: &mut Resp) {
    let Reply::Array(commands) = resp.ask(&["COMMAND", "LIST"]) else { panic!("COMMAND LIST gives an array") };
    for name in ["lease.grant", "eval", "lpush", "multi", "debug", "event.add"] {
        assert!(!commands.contains(&Reply::bulk(name)), "{name} is announced");
    }
    assert!(commands.contains(&Reply::bulk("cache.peek")));
}
