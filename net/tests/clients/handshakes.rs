//! What go-redis and Lettuce send when they connect, played over a socket of a real node, at every node.

#[path = "../handshakes/transcript.rs"]
mod transcript;

use crate::raw::Raw;
use crate::servers::{cluster, cluster_with_password, ports};
use transcript::Transcript;

fn play(transcript: &Transcript, port: u16) {
    let mut connection = Raw::connect(port);
    for exchange in &transcript.exchanges {
        connection.send(&exchange.request);
        let reply: Vec<u8> = (0..exchange.reply_count()).flat_map(|_| connection.reply()).collect();
        assert!(
            exchange.is_met_by(&reply),
            "{}:\n> {}\n< {}\nexpected {}",
            transcript.name,
            exchange.request.escape_ascii(),
            reply.escape_ascii(),
            exchange.reply
        );
    }
    assert!(connection.is_drained(), "{}: more came than was asked for", transcript.name);
}

/// Each transcript needs the password it names, and all of one kind share their nodes.
fn play_all(is_meant: impl Fn(&Transcript) -> bool, ports: &[u16]) -> usize {
    let meant: Vec<Transcript> = transcript::read_all().into_iter().filter(is_meant).collect();
    for transcript in &meant {
        ports.iter().for_each(|port| play(transcript, *port));
    }
    meant.len()
}

#[test]
fn nodes_without_a_password_greet_clients_as_they_expect() {
    let cluster = cluster();
    assert!(play_all(|transcript| transcript.password.is_none(), &ports(&cluster)) >= 5);
}

#[test]
fn nodes_with_a_password_greet_clients_as_they_expect() {
    let cluster = cluster_with_password("secret");
    let is_meant = |transcript: &Transcript| transcript.password.as_deref() == Some("secret");
    assert!(play_all(is_meant, &ports(&cluster)) >= 4);
}

/// What a client without the password gets, whatever it begins with.
#[test]
fn nodes_with_a_password_refuse_clients_that_have_none() {
    let cluster = cluster_with_password("secret");
    for transcript in transcript::read_all().iter().filter(|transcript| transcript.password.is_none()) {
        let mut connection = Raw::connect(ports(&cluster)[0]);
        let first = &transcript.exchanges[0];
        connection.send(&first.request);
        let reply = connection.reply();
        assert!(reply.starts_with(b"-NOAUTH "), "{}: {}", transcript.name, reply.escape_ascii());
    }
}
