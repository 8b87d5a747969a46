//! Ends: at each point of a connection's life, by either side, politely or not; `closed` is said once, with the reason,
//! and the index comes back when the kernel holds nothing of it.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpStream};

use quorate::transport::{Address, Close, CloseReason, ConnId, TransportSettings, Wait};
use socket2::{Domain, SockRef, Socket, Type};

use crate::on_both_transports;
use crate::party::{AtEnd, Manner, Pair, Party, Way, pattern, tiny};

on_both_transports!(
    closing_now_at_any_step_is_heard_once_by_both,
    closing_after_flush_at_any_step_loses_nothing_that_was_queued,
    closing_before_the_first_turn_never_connects,
    closing_before_the_connection_stands_gives_it_up,
    closing_while_reading_is_paused_is_heard,
    closing_after_the_peer_ended_during_a_pause,
    closing_with_a_send_that_does_not_end,
    closing_twice_is_closing_once,
    the_last_words_arrive_although_input_is_unread,
    a_peer_that_takes_nothing_is_given_up_on,
    a_peer_that_never_ends_is_given_up_on,
    half_closed_peers_get_their_answers,
    whoever_stays_after_the_end_may_still_speak,
    a_reset_is_a_broken_connection,
    nobody_there_is_unreachable,
    names_are_never_used_again,
    one_connection_too_many_is_closed_at_once,
    after_stop_listening_nobody_gets_in_and_nobody_is_thrown_out,
    dropping_a_transport_in_mid_transfer_closes_its_connections,
);

/// Steps after which the stories below have all happened.
const STEPS: usize = 24;

fn closing_now_at_any_step_is_heard_once_by_both(way: Way) {
    for step in 0..STEPS {
        let mut pair = Pair::new(way, &tiny(), Manner::Echo);
        let conn = pair.client.app.connect(&pair.address.clone());
        pair.client.app.outbox.send(conn, &pattern(1, 20_000)).unwrap();
        pair.alternate(step);
        pair.client.app.outbox.close(conn, Close::Now);
        pair.run_until("closed by the client", |pair| pair.client.closed(conn).is_some());
        assert_eq!(pair.client.closed(conn), Some(CloseReason::Asked), "after {step} turns");
        pair.finish();
    }
}

fn closing_after_flush_at_any_step_loses_nothing_that_was_queued(way: Way) {
    for step in 0..STEPS {
        let mut pair = Pair::new(way, &tiny(), Manner::Keep);
        let conn = pair.client.app.connect(&pair.address.clone());
        let sent = pattern(2, 5_000);
        pair.client.app.outbox.send(conn, &sent).unwrap();
        pair.alternate(step);
        pair.client.app.outbox.close(conn, Close::AfterFlush);
        pair.run_until("closed at both ends", |pair| {
            pair.client.closed(conn).is_some()
                && pair.server.app.accepted.first().is_some_and(|&conn| pair.server.closed(conn).is_some())
        });
        let accepted = pair.server.app.accepted[0];
        assert!(pair.server.story(accepted).received == sent, "after {step} turns something was lost");
        assert_eq!(pair.server.closed(accepted), Some(CloseReason::Ended), "after {step} turns");
        pair.finish();
    }
}

fn closing_before_the_first_turn_never_connects(way: Way) {
    let mut pair = Pair::new(way, &tiny(), Manner::Keep);
    let conn = pair.client.app.connect(&pair.address.clone());
    pair.client.app.outbox.close(conn, Close::Now);
    pair.run_until("closed", |pair| pair.client.closed(conn).is_some());
    assert!(!pair.client.story(conn).is_connected);
    assert_eq!(pair.client.closed(conn), Some(CloseReason::Asked));
    pair.finish();
}

/// A listener whose queue is full lets the next ones wait.
fn closing_before_the_connection_stands_gives_it_up(way: Way) {
    let full = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    full.bind(&std::net::SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    full.listen(0).unwrap();
    let address = Address::Tcp(full.local_addr().unwrap().as_socket().unwrap());
    let mut party = Party::new(way, &tiny(), Manner::Keep);
    let first: Vec<_> = (0..4).map(|_| party.app.connect(&address)).collect();
    for _ in 0..200 {
        party.turn(Wait::No);
    }
    let waiting: Vec<_> = first.into_iter().filter(|&conn| !party.story(conn).is_connected).collect();
    assert!(waiting.len() >= 2, "the queue took everybody");
    for &conn in &waiting {
        party.app.outbox.send(conn, b"never sent").unwrap();
        party.app.outbox.close(conn, Close::Now);
    }
    party.run_until("given up", |party| waiting.iter().all(|&conn| party.closed(conn).is_some()));
    assert!(waiting.iter().all(|&conn| party.closed(conn) == Some(CloseReason::Asked)));
    party.finish();
}

fn closing_after_the_peer_ended_during_a_pause(way: Way) {
    let mut pair = Pair::new(way, &tiny(), Manner::Keep);
    let (client, server) = pair.connect();
    pair.server.app.pause(server);
    pair.client.app.outbox.send(client, b"unheard").unwrap();
    pair.client.app.outbox.close(client, Close::AfterFlush);
    pair.run_a_while();
    pair.server.app.outbox.send(server, b"last word").unwrap();
    pair.server.app.outbox.close(server, Close::AfterFlush);
    pair.run_until("both closed", |pair| pair.server.closed(server).is_some() && pair.client.closed(client).is_some());
    assert_eq!(pair.server.story(server).received_bytes, 0);
    pair.finish();
}

fn closing_while_reading_is_paused_is_heard(way: Way) {
    for how in [Close::Now, Close::AfterFlush] {
        let mut pair = Pair::new(way, &tiny(), Manner::Keep);
        let (client, server) = pair.connect();
        pair.server.app.pause(server);
        pair.client.app.outbox.send(client, &pattern(3, 10_000)).unwrap();
        pair.run_a_while();
        pair.server.app.outbox.close(server, how);
        pair.run_until("closed by the server", |pair| pair.server.closed(server).is_some());
        assert_eq!(pair.server.closed(server), Some(CloseReason::Asked));
        pair.finish();
    }
}

fn closing_with_a_send_that_does_not_end(way: Way) {
    let mut pair = Pair::new(way, &tiny(), Manner::Keep);
    let (client, server) = pair.connect();
    pair.server.app.pause(server);
    pair.client.app.outbox.send(client, &pattern(4, 1_000_000)).unwrap();
    pair.run_a_while();
    assert!(pair.client.app.outbox.queued_bytes(client) > 0, "the sockets took everything");
    pair.client.app.outbox.close(client, Close::Now);
    pair.run_until("closed", |pair| pair.client.closed(client).is_some());
    pair.server.app.resume(server);
    pair.run_until("the server heard it", |pair| pair.server.closed(server).is_some());
    pair.finish();
}

fn closing_twice_is_closing_once(way: Way) {
    let mut pair = Pair::new(way, &tiny(), Manner::Keep);
    let (client, server) = pair.connect();
    pair.client.app.outbox.close(client, Close::AfterFlush);
    pair.client.app.outbox.close(client, Close::Now);
    pair.server.app.outbox.close(server, Close::AfterFlush);
    pair.client.turn(Wait::No);
    pair.client.app.outbox.close(client, Close::Now);
    pair.run_until("both closed", |pair| pair.client.closed(client).is_some() && pair.server.closed(server).is_some());
    pair.finish();
}

/// A server that refuses a request and closes must not reset the connection: the client would lose the refusal.
fn the_last_words_arrive_although_input_is_unread(way: Way) {
    let mut server = Party::new(way, &tiny(), Manner::Count);
    let mut raw = Raw::connect(&mut server);
    let conn = server.app.accepted[0];
    server.app.pause(conn);
    raw.stream.set_nonblocking(true).unwrap();
    // More than the server has read or will ever want.
    let unread = raw.stream.write(&pattern(5, 200_000)).unwrap();
    assert!(unread > 10_000);
    server.app.outbox.send(conn, b"-ERR too long\r\n").unwrap();
    server.app.outbox.close(conn, Close::AfterFlush);
    assert_eq!(raw.read_to_end(&mut server), b"-ERR too long\r\n");
    drop(raw);
    server.finish();
}

fn a_peer_that_takes_nothing_is_given_up_on(way: Way) {
    let mut server = Party::new(way, &tiny(), Manner::Keep);
    let raw = Raw::connect(&mut server);
    let conn = server.app.accepted[0];
    server.app.outbox.send(conn, &pattern(6, 20_000_000)).unwrap();
    server.app.outbox.close(conn, Close::AfterFlush);
    server.run_until("patience ends", |server| server.closed(conn).is_some());
    assert_eq!(server.closed(conn), Some(CloseReason::Asked));
    server.finish();
    drop(raw);
}

fn a_peer_that_never_ends_is_given_up_on(way: Way) {
    let mut server = Party::new(way, &tiny(), Manner::Keep);
    let mut raw = Raw::connect(&mut server);
    let conn = server.app.accepted[0];
    server.app.outbox.send(conn, b"goodbye").unwrap();
    server.app.outbox.close(conn, Close::AfterFlush);
    assert_eq!(raw.read_to_end(&mut server), b"goodbye");
    server.run_until("closed is said", |server| server.closed(conn).is_some());
    // The place comes back although the peer keeps its side open, and goes on sending.
    server.run_until("patience ends", |server| {
        // It may fail: then the server has given up on it.
        let _ = raw.stream.write(b"still here");
        server.app.outbox.connection_count() == 0
    });
    server.finish();
}

fn half_closed_peers_get_their_answers(way: Way) {
    let mut server = Party::new(way, &tiny(), Manner::Echo);
    let mut raw = Raw::connect(&mut server);
    let sent = pattern(7, 3_000);
    raw.stream.write_all(&sent).unwrap();
    raw.stream.shutdown(Shutdown::Write).unwrap();
    assert!(raw.read_to_end(&mut server) == sent, "the answers were cut off");
    let conn = server.app.accepted[0];
    server.run_until("closed", |server| server.closed(conn).is_some());
    assert_eq!((server.story(conn).ended, server.closed(conn)), (1, Some(CloseReason::Ended)));
    server.finish();
}

fn whoever_stays_after_the_end_may_still_speak(way: Way) {
    let mut server = Party::new(way, &tiny(), Manner::Keep);
    server.app.at_end = AtEnd::Stay;
    let mut raw = Raw::connect(&mut server);
    let conn = server.app.accepted[0];
    raw.stream.shutdown(Shutdown::Write).unwrap();
    server.run_until("the end was heard", |server| server.story(conn).ended == 1);
    for _ in 0..20 {
        server.turn(Wait::No);
    }
    assert_eq!(server.closed(conn), None);
    server.app.outbox.send(conn, b"late answer").unwrap();
    server.turn(Wait::No);
    server.app.outbox.close(conn, Close::AfterFlush);
    assert_eq!(raw.read_to_end(&mut server), b"late answer");
    server.finish();
}

fn a_reset_is_a_broken_connection(way: Way) {
    let mut server = Party::new(way, &tiny(), Manner::Keep);
    let raw = Raw::connect(&mut server);
    let conn = server.app.accepted[0];
    SockRef::from(&raw.stream).set_linger(Some(std::time::Duration::ZERO)).unwrap();
    drop(raw);
    server.run_until("the reset was heard", |server| server.closed(conn).is_some());
    assert_eq!(server.closed(conn), Some(CloseReason::Broken { errno: libc::ECONNRESET }));
    server.finish();
}

fn nobody_there_is_unreachable(way: Way) {
    let mut party = Party::new(way, &tiny(), Manner::Keep);
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = Address::Tcp(free.local_addr().unwrap());
    drop(free);
    let over_tcp = party.app.connect(&address);
    let over_unix = party.app.connect(&Address::Unix("/nonexistent/quorate".into()));
    let too_long = party.app.connect(&Address::Unix("x".repeat(500).into()));
    party.run_until("all closed", |party| {
        [over_tcp, over_unix, too_long].iter().all(|&conn| party.closed(conn).is_some())
    });
    assert_eq!(party.closed(over_tcp), Some(CloseReason::Unreachable { errno: libc::ECONNREFUSED }));
    assert_eq!(party.closed(over_unix), Some(CloseReason::Unreachable { errno: libc::ENOENT }));
    assert!(matches!(party.closed(too_long), Some(CloseReason::Unreachable { .. })));
    party.finish();
}

fn names_are_never_used_again(way: Way) {
    let mut pair = Pair::new(way, &tiny(), Manner::Echo);
    let mut stale: Vec<ConnId> = Vec::new();
    for _ in 0..30 {
        let (client, server) = pair.connect();
        for &old in &stale {
            assert_ne!(old, client);
            pair.client.app.outbox.close(old, Close::Now);
            assert!(pair.client.app.outbox.send(old, b"to nobody").is_err());
        }
        pair.client.app.outbox.send(client, b"hello").unwrap();
        pair.run_until("echo", |pair| pair.client.story(client).received == b"hello");
        pair.client.app.outbox.close(client, Close::AfterFlush);
        pair.run_until("closed", |pair| pair.client.closed(client).is_some() && pair.server.closed(server).is_some());
        stale.push(client);
    }
    assert!(stale.iter().all(|conn| conn.index() < 3), "places are not used again: {stale:?}");
    pair.finish();
}

fn one_connection_too_many_is_closed_at_once(way: Way) {
    let settings = TransportSettings { connections_max: 2, ..tiny() };
    let mut server = Party::new(way, &settings, Manner::Echo);
    let address = server.listen_tcp();
    let Address::Tcp(address) = address else { panic!("{address} is not TCP") };
    let first = TcpStream::connect(address).unwrap();
    let second = TcpStream::connect(address).unwrap();
    server.run_until("two are in", |server| server.app.accepted.len() == 2);
    let mut third = Raw { stream: TcpStream::connect(address).unwrap() };
    assert_eq!(third.read_to_end(&mut server), b"");
    drop((first, second));
    server.run_until("both are gone", |server| server.app.outbox.connection_count() == 0);
    let fourth = TcpStream::connect(address).unwrap();
    server.run_until("there is room again", |server| server.app.accepted.len() == 3);
    drop(fourth);
    server.finish();
}

fn after_stop_listening_nobody_gets_in_and_nobody_is_thrown_out(way: Way) {
    let mut pair = Pair::new(way, &tiny(), Manner::Echo);
    let (client, _) = pair.connect();
    pair.server.transport.stop_listening(quorate::transport::ListenerId(0));
    pair.run_a_while();
    assert_eq!(pair.server.transport.local_address(quorate::transport::ListenerId(0)), None);
    let late = pair.client.app.connect(&pair.address.clone());
    pair.client.app.outbox.send(client, b"still here").unwrap();
    pair.run_until("refused, and echoed", |pair| {
        pair.client.closed(late).is_some() && pair.client.story(client).received == b"still here"
    });
    assert_eq!(pair.client.closed(late), Some(CloseReason::Unreachable { errno: libc::ECONNREFUSED }));
    pair.finish();
}

fn dropping_a_transport_in_mid_transfer_closes_its_connections(way: Way) {
    let mut pair = Pair::new(way, &tiny(), Manner::Keep);
    let mut conns = Vec::new();
    for seed in 0..10 {
        let (client, server) = pair.connect();
        pair.server.app.outbox.send(server, &pattern(seed, 100_000)).unwrap();
        pair.client.app.outbox.send(client, &pattern(seed, 100_000)).unwrap();
        conns.push(client);
    }
    pair.alternate(5);
    drop(pair.server);
    pair.client.run_until("the client heard it", |client| conns.iter().all(|&conn| client.closed(conn).is_some()));
    pair.client.finish();
}

/// A peer without a transport.
struct Raw {
    stream: TcpStream,
}

impl Raw {
    /// Connects to a new listener of `server`, which has accepted when this returns.
    fn connect(server: &mut Party) -> Self {
        let Address::Tcp(address) = server.listen_tcp() else { panic!("not TCP") };
        let before = server.app.accepted.len();
        let stream = TcpStream::connect(address).unwrap();
        server.run_until("accept", |server| server.app.accepted.len() > before);
        Self { stream }
    }

    /// Reads until the server ends its stream.
    fn read_to_end(&mut self, server: &mut Party) -> Vec<u8> {
        self.stream.set_nonblocking(true).unwrap();
        let mut bytes = Vec::new();
        server.run_until("the end of the stream", |_| {
            let mut some = [0; 4096];
            loop {
                match self.stream.read(&mut some) {
                    Ok(0) => return true,
                    Ok(count) => bytes.extend_from_slice(&some[..count]),
                    Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return false,
                    Err(error) => panic!("the server's last words were lost: {error}"),
                }
            }
        });
        bytes
    }
}
