//! Bytes: all of them, in order, once.

use quorate::transport::{Address, TransportSettings};

use crate::on_both_transports;
use crate::party::{Manner, Pair, Party, Way, below, pattern, tiny};

on_both_transports!(
    what_is_sent_comes_back,
    what_is_sent_comes_back_through_tiny_queues,
    what_is_sent_comes_back_over_a_unix_socket,
    many_connections_share_four_receive_buffers,
    five_hundred_connections,
);

fn what_is_sent_comes_back(way: Way) {
    echo_random_sizes(Pair::new(way, &TransportSettings::default(), Manner::Echo), 2_000_000);
}

fn what_is_sent_comes_back_through_tiny_queues(way: Way) {
    echo_random_sizes(Pair::new(way, &tiny(), Manner::Echo), 100_000);
}

fn what_is_sent_comes_back_over_a_unix_socket(way: Way) {
    let path = std::env::temp_dir().join(format!("quorate-conformance-{}-{way:?}", std::process::id()));
    let client = Party::new(way, &tiny(), Manner::Keep);
    let mut server = Party::new(way, &tiny(), Manner::Echo);
    let address = server.listen(&Address::Unix(path.clone()));
    echo_random_sizes(Pair { client, server, address }, 100_000);
    assert!(!path.exists(), "the socket file stayed behind");
}

fn echo_random_sizes(mut pair: Pair, total: usize) {
    let (conn, _) = pair.connect();
    let sent = pattern(7, total);
    let mut random = 42;
    let mut next = 0;
    while next < sent.len() {
        let size = (1 + below(&mut random, 5_000)).min(sent.len() - next);
        pair.client.app.outbox.send(conn, &sent[next..next + size]).unwrap();
        next += size;
        pair.client.turn(quorate::transport::Wait::No);
        pair.server.turn(quorate::transport::Wait::No);
    }
    pair.run_until("the whole echo", |pair| pair.client.story(conn).received_bytes >= sent.len() as u64);
    assert!(pair.client.story(conn).received == sent, "other bytes came back than were sent");
    pair.finish();
}

fn many_connections_share_four_receive_buffers(way: Way) {
    echo_on_many(Pair::new(way, &tiny(), Manner::Echo), 50, 3_000);
}

fn five_hundred_connections(way: Way) {
    let settings = TransportSettings { submission_entries: 8, completion_entries: 8, ..TransportSettings::default() };
    echo_on_many(Pair::new(way, &settings, Manner::Echo), 500, 2_000);
}

fn echo_on_many(mut pair: Pair, connections: usize, each: usize) {
    let address = pair.address.clone();
    let conns: Vec<_> = (0..connections).map(|_| pair.client.app.connect(&address)).collect();
    for (&conn, seed) in conns.iter().zip(1..) {
        // Before the connection stands: it leaves as soon as it does.
        pair.client.app.outbox.send(conn, &pattern(seed, each)).unwrap();
    }
    pair.run_until("all echoes", |pair| {
        conns.iter().all(|&conn| pair.client.story(conn).received_bytes >= each as u64)
    });
    for (&conn, seed) in conns.iter().zip(1..) {
        assert!(pair.client.story(conn).received == pattern(seed, each), "{conn:?} got bytes of another connection");
    }
    assert_eq!(pair.server.app.accepted.len(), connections);
    pair.finish();
}
