//! Back-pressure, pauses and parks: a slow reader holds up its own connection and nothing else, what is queued is
//! bounded, and a parked transport wakes for bytes, for its waker and for its time.

use quorate::clock;
use quorate::transport::{Refused, TransportSettings, Wait};
use quorate_engine::time::Instant;

use crate::on_both_transports;
use crate::party::{Manner, Pair, Party, Way, pattern, tiny};

on_both_transports!(
    a_slow_reader_fills_its_buffer_and_drains_once,
    a_slow_reader_does_not_hold_up_others,
    a_paused_connection_brings_nothing_and_then_everything,
    pausing_at_every_delivery_keeps_the_order,
    resuming_among_fetched_bytes_keeps_the_order,
    an_end_during_a_pause_is_heard_after_it,
    many_messages_leave_in_one_send,
    answers_leave_in_the_turn_that_brought_the_request,
    a_wake_from_another_thread_ends_a_park,
    a_wake_before_the_park_is_not_lost,
    a_park_ends_for_bytes,
    a_park_ends_at_its_time_and_not_before,
    an_empty_turn_is_empty,
);

fn a_slow_reader_fills_its_buffer_and_drains_once(way: Way) {
    let settings = TransportSettings { send_bytes_max: 50_000, ..tiny() };
    let mut pair = Pair::new(way, &settings, Manner::Keep);
    let (client, server) = pair.connect();
    pair.server.app.pause(server);
    let mut sent = Vec::new();
    let refusal = loop {
        let message = pattern(sent.len() as u64 + 1, 1_000);
        match pair.client.app.outbox.send(client, &message) {
            Ok(()) => sent.extend_from_slice(&message),
            Err(refusal) => break refusal,
        }
        pair.client.turn(Wait::No);
        pair.server.turn(Wait::No);
    };
    assert!(matches!(refusal, Refused::Full { queued: 50_000..51_000, limit: 50_000 }), "{refusal:?}");
    pair.run_a_while();
    assert_eq!(pair.client.story(client).drained, 0);
    assert!(pair.client.app.outbox.queued_bytes(client) > 2_000);

    pair.server.app.resume(server);
    pair.run_until("drained", |pair| pair.client.story(client).drained > 0);
    assert!(pair.client.app.outbox.queued_bytes(client) <= 500);
    pair.run_until("all arrived", |pair| pair.server.story(server).received.len() >= sent.len());
    pair.run_a_while();
    assert!(pair.server.story(server).received == sent, "bytes were lost or exchanged");
    assert_eq!(pair.client.story(client).drained, 1);
    assert_eq!(pair.client.app.outbox.queued_bytes(client), 0);
    pair.finish();
}

fn a_slow_reader_does_not_hold_up_others(way: Way) {
    let mut pair = Pair::new(way, &tiny(), Manner::Echo);
    let (slow, _) = pair.connect();
    pair.client.app.pause(slow);
    pair.client.app.outbox.send(slow, &pattern(1, 100_000)).unwrap();
    pair.run_a_while();
    let (fast, _) = pair.connect();
    let sent = pattern(2, 20_000);
    pair.client.app.outbox.send(fast, &sent).unwrap();
    pair.run_until("the fast echo", |pair| pair.client.story(fast).received.len() >= sent.len());
    assert!(pair.client.story(fast).received == sent);
    assert_eq!(pair.client.story(slow).received_bytes, 0);
    pair.client.app.resume(slow);
    pair.run_until("the slow echo", |pair| pair.client.story(slow).received.len() >= 100_000);
    assert!(pair.client.story(slow).received == pattern(1, 100_000));
    pair.finish();
}

fn a_paused_connection_brings_nothing_and_then_everything(way: Way) {
    let mut pair = Pair::new(way, &tiny(), Manner::Keep);
    let (client, server) = pair.connect();
    let sent = pattern(3, 1_500);
    pair.client.app.outbox.send(client, &sent[..500]).unwrap();
    pair.run_until("the first part", |pair| pair.server.story(server).received.len() >= 500);
    // Pauses at once and, in one turn, pauses and resumes: the handler itself checks that nothing comes in between.
    pair.server.app.pause(server);
    pair.client.app.outbox.send(client, &sent[500..1_000]).unwrap();
    pair.run_a_while();
    assert_eq!(pair.server.story(server).received.len(), 500);
    pair.server.app.resume(server);
    pair.server.app.pause(server);
    pair.run_a_while();
    assert_eq!(pair.server.story(server).received.len(), 500);
    pair.server.app.resume(server);
    pair.client.app.outbox.send(client, &sent[1_000..]).unwrap();
    pair.run_until("the rest", |pair| pair.server.story(server).received.len() >= sent.len());
    assert!(pair.server.story(server).received == sent);
    pair.finish();
}

fn pausing_at_every_delivery_keeps_the_order(way: Way) {
    let mut pair = Pair::new(way, &tiny(), Manner::Keep);
    let (client, server) = pair.connect();
    let sent = pattern(4, 20_000);
    pair.client.app.outbox.send(client, &sent).unwrap();
    pair.server.app.pausing = Some(server);
    let mut turns = 0;
    pair.run_until("all arrived", |pair| {
        turns += 1;
        // Sometimes before the pause has taken effect, sometimes long after.
        if turns % 3 == 0 || turns % 7 == 0 {
            pair.server.app.resume(server);
        }
        pair.server.story(server).received.len() >= sent.len()
    });
    assert!(pair.server.story(server).received == sent);
    assert!(pair.server.story(server).deliveries > 3);
    pair.finish();
}

/// Bytes of a connection that was paused are held, another connection's bytes resume it, and the next ones of the first
/// are fetched already: the held ones come first.
fn resuming_among_fetched_bytes_keeps_the_order(way: Way) {
    // More completions for each connection than the kernel makes in one go, so that those of both alternate.
    let settings = TransportSettings { receive_buffers: 512, receive_buffer_bytes: 64, ..TransportSettings::default() };
    let mut pair = Pair::new(way, &settings, Manner::Keep);
    let (paused, at_paused) = pair.connect();
    let (other, at_other) = pair.connect();
    pair.run_a_while();
    pair.server.app.pausing = Some(at_paused);
    pair.server.app.resuming = Some((at_other, at_paused));
    let sent = pattern(6, 6_000);
    pair.client.app.outbox.send(paused, &sent).unwrap();
    pair.client.app.outbox.send(other, &sent).unwrap();
    pair.run_until("all arrived", |pair| {
        let is_all = pair.server.story(at_other).received.len() >= sent.len();
        if is_all && pair.server.story(at_paused).is_paused {
            pair.server.app.resume(at_paused);
        }
        is_all && pair.server.story(at_paused).received.len() >= sent.len()
    });
    assert!(pair.server.story(at_paused).received == sent);
    assert!(pair.server.story(at_other).received == sent);
    pair.finish();
}

fn an_end_during_a_pause_is_heard_after_it(way: Way) {
    let mut pair = Pair::new(way, &tiny(), Manner::Keep);
    let (client, server) = pair.connect();
    pair.server.app.pause(server);
    // Both before the pause takes effect in the kernel and after.
    pair.client.app.outbox.send(client, &pattern(5, 300)).unwrap();
    pair.client.app.outbox.close(client, quorate::transport::Close::AfterFlush);
    pair.run_a_while();
    assert_eq!((pair.server.story(server).ended, pair.server.closed(server)), (0, None));
    pair.server.app.resume(server);
    pair.run_until("closed", |pair| pair.server.closed(server).is_some());
    assert_eq!(pair.server.story(server).ended, 1);
    assert!(pair.server.story(server).received == pattern(5, 300));
    pair.finish();
}

fn many_messages_leave_in_one_send(way: Way) {
    let mut pair = Pair::new(way, &TransportSettings::default(), Manner::Keep);
    let (client, server) = pair.connect();
    pair.run_a_while();
    for _ in 0..100 {
        pair.client.app.outbox.send(client, b"0123456789").unwrap();
    }
    let stats = pair.client.turn(Wait::No);
    assert_eq!(stats.bytes_sent, 1_000);
    pair.run_until("arrived", |pair| pair.server.story(server).received.len() == 1_000);
    assert_eq!(pair.server.story(server).deliveries, 1);
    pair.finish();
}

fn answers_leave_in_the_turn_that_brought_the_request(way: Way) {
    let mut pair = Pair::new(way, &TransportSettings::default(), Manner::Echo);
    let (client, server) = pair.connect();
    pair.client.app.outbox.send(client, b"ping").unwrap();
    pair.client.turn(Wait::No);
    while pair.server.story(server).received_bytes == 0 {
        let stats = pair.server.short_turn();
        assert_eq!(stats.bytes, stats.bytes_sent, "the answer waited for another turn");
    }
    pair.finish();
}

fn a_wake_from_another_thread_ends_a_park(way: Way) {
    let mut party = Party::new(way, &tiny(), Manner::Keep);
    for _ in 0..20 {
        let waker = party.transport.waker();
        let thread = std::thread::spawn(move || waker.wake());
        let stats = party.turn(Wait::Until(None));
        assert!(stats.events > 0);
        thread.join().unwrap();
        // It may have come in two pieces, before and after the look; nothing is left of it then.
        party.short_turn();
    }
}

fn a_wake_before_the_park_is_not_lost(way: Way) {
    let mut party = Party::new(way, &tiny(), Manner::Keep);
    for calls in 1..10 {
        let waker = party.transport.waker();
        for _ in 0..calls {
            waker.wake();
        }
        assert!(party.turn(Wait::Until(None)).events > 0);
    }
    assert_eq!(party.short_turn().events, 0, "a wake was heard twice");
}

fn a_park_ends_for_bytes(way: Way) {
    let mut pair = Pair::new(way, &TransportSettings::default(), Manner::Keep);
    let (client, server) = pair.connect();
    for round in 1..20 {
        // Every other time the bytes are there before the park.
        pair.client.app.outbox.send(client, b"x").unwrap();
        pair.client.turn(Wait::No);
        while pair.server.story(server).received_bytes < round {
            pair.server.turn(Wait::Until(None));
        }
    }
    pair.finish();
}

fn a_park_ends_at_its_time_and_not_before(way: Way) {
    let mut party = Party::new(way, &tiny(), Manner::Keep);
    party.listen_tcp();
    party.turn(Wait::No);
    for micros in [0, 1, 300, 1_500] {
        let until = Instant(clock::now().0 + micros * 1_000);
        let stats = party.turn(Wait::Until(Some(until)));
        assert_eq!(stats.events, 0);
        assert!(clock::now() >= until, "woke {:?} early", until.since(clock::now()));
    }
}

fn an_empty_turn_is_empty(way: Way) {
    let mut pair = Pair::new(way, &TransportSettings::default(), Manner::Keep);
    pair.connect();
    pair.run_a_while();
    for _ in 0..100 {
        let stats = pair.server.turn(Wait::No);
        assert_eq!((stats.events, stats.bytes, stats.bytes_sent), (0, 0, 0));
        assert!(stats.syscalls <= if way == Way::Uring { 0 } else { 2 }, "{stats:?}");
    }
    pair.finish();
}
