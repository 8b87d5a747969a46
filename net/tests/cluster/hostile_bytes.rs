//! Bytes that nobody should send, to a node that is at work: a clear error, the connection closed where its place in the
//! stream is lost, memory bounded, and a client beside it that notices nothing.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};

use quorate::wire::{
    About, Body, BodyLimits, Control, HEADER_BYTES, Hello, RequestHead, Role, Stage, StatusRequest, decode,
    encode_message,
};
use quorate_engine::entry::BODY_BYTES_MAX;
use quorate_engine::ids::{CpuId, EntryId, Epoch, GroupId, Incarnation, LogIndex, NodeId};
use quorate_engine::machine::command::{Command, Op, push_item};
use quorate_engine::message::{Ack, Append, Message, StreamId};
use quorate_engine::replication::comparison::Note;
use quorate_engine::time::Instant;

use super::daemons::{Cluster, DEADLINE, Shape, until};
use super::large_replies::ask_for_many;
use super::resp::{Reply, Resp, push_request};

/// A client at work: writes and reads back, again and again, until it is told that it is over.
struct Bystander {
    rounds: Arc<AtomicU64>,
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Bystander {
    fn start(cluster: &Cluster) -> Self {
        let (rounds, is_over) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let (counter, flag, mut resp) = (Arc::clone(&rounds), Arc::clone(&is_over), cluster.connect(1));
        let thread = thread::spawn(move || {
            while !flag.load(Ordering::Relaxed) {
                let value = counter.load(Ordering::Relaxed).to_string();
                assert_eq!(resp.ask(&["SET", "bystander", &value]), Reply::ok());
                assert_eq!(resp.ask(&["GET", "bystander"]), Reply::bulk(&value));
                counter.fetch_add(1, Ordering::Relaxed);
            }
        });
        Self { rounds, is_over, thread: Some(thread) }
    }

    /// Waits until it has got something done from now on.
    fn advance(&self) {
        let target = self.rounds.load(Ordering::Relaxed) + 10;
        until("the bystander gets something done", || {
            let is_running = self.thread.as_ref().is_some_and(|thread| !thread.is_finished());
            assert!(is_running, "the bystander was disturbed");
            (self.rounds.load(Ordering::Relaxed) >= target).then_some(())
        });
    }

    /// Ends it; what went wrong with it goes wrong here.
    fn stop(mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        self.thread.take().expect("it is stopped once").join().expect("nothing disturbs it");
    }
}

impl Drop for Bystander {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
    }
}

/// Runs a story against node 1 while a bystander is at work, and looks at what memory it took at most.
fn beside_a_bystander(cluster: &Cluster, growth_bytes_max: u64, story: impl FnOnce()) {
    let before = cluster.node(1).memory_bytes("VmHWM");
    let bystander = Bystander::start(cluster);
    bystander.advance();
    story();
    bystander.advance();
    bystander.stop();
    let growth = cluster.node(1).memory_bytes("VmHWM") - before;
    assert!(growth <= growth_bytes_max, "the node grew by {growth} bytes");
    cluster.assert_equal(&[1, 2, 3]);
}

/// What becomes of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Closed,
    Open,
}

#[test]
fn resp_errors_are_answered_and_only_lost_connections_closed() {
    TRANSPORTS.into_iter().for_each(send_resp_errors);
}

fn send_resp_errors(io: &'static str) {
    let cluster = Cluster::start(&Shape::three().io(&[io; 3]));
    let inline = [&b"SET k "[..], &vec![b'x'; 1 << 20], b"\r\n"].concat();
    let mut many = b"*100000\r\n".to_vec();
    (0..100_000).for_each(|_| many.extend_from_slice(b"$1\r\nx\r\n"));
    let cases: [(&[u8], &str, Fate); 15] = [
        (b"*abc\r\n", "ERR Protocol error: invalid multibulk length", Fate::Closed),
        (
            b"*1000000000\r\n",
            "ERR Protocol error: invalid multibulk length: 1000000000 arguments, at most 65536",
            Fate::Closed,
        ),
        (&many, "ERR Protocol error: invalid multibulk length: 100000 arguments, at most 65536", Fate::Closed),
        (b"*99999999999999999999999\r\n", "ERR Protocol error: invalid multibulk length", Fate::Closed),
        (b"*1\r\n$-1\r\n", "ERR Protocol error: invalid bulk length", Fate::Closed),
        (b"*1\r\n$600000000\r\n", "ERR Protocol error: invalid bulk length", Fate::Closed),
        (b"*1\r\n$99999999999999999999\r\n", "ERR Protocol error: invalid bulk length", Fate::Closed),
        (b"*2\r\n$3\r\nGET\r\n:5\r\n", "ERR Protocol error: expected '$', got ':'", Fate::Closed),
        (b"*1\r\n$4\r\nPINGxx", "ERR Protocol error: expected CRLF after 4 bytes of bulk string", Fate::Closed),
        (&inline, "ERR Protocol error: too big inline request", Fate::Closed),
        (b"SET k \"abc\r\n", "ERR Protocol error: unbalanced quotes in request", Fate::Closed),
        (
            b"\x16\x03\x01\x02\x00\x01\r\n",
            "ERR unknown command '\u{16}\u{3}\u{1}\u{2}\0\u{1}', with args beginning with:",
            Fate::Open,
        ),
        (b"NOSUCH a b\r\n", "ERR unknown command 'NOSUCH', with args beginning with: 'a' 'b' ", Fate::Open),
        (b"*0\r\nGET\r\n", "ERR wrong number of arguments for 'get' command", Fate::Open),
        (b"*2\r\n$3\r\nSET\r\n$1\r\nk\r\n", "ERR wrong number of arguments for 'set' command", Fate::Open),
    ];
    beside_a_bystander(&cluster, 32 << 20, || {
        for (bytes, expected, fate) in cases {
            let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(40)]).into_owned();
            let mut resp = cluster.connect(1);
            // The node may have closed it before everything was sent.
            let _ = resp.try_send_bytes(bytes);
            assert_eq!(resp.receive(), Reply::Error(expected.trim_end().to_owned()), "after {shown:?}");
            match fate {
                Fate::Closed => assert!(resp.is_closed(), "after {shown:?}"),
                Fate::Open => assert_eq!(resp.ask(&["PING"]), Reply::Word("PONG".to_owned()), "after {shown:?}"),
            }
        }
        // A browser that was made to send a request: what stands in its body is not executed.
        let mut resp = cluster.connect(1);
        resp.send_bytes(b"POST / HTTP/1.1\r\nHost: quorate\r\n\r\nSET bystander evil\r\n");
        assert!(resp.is_closed());
    });
}

#[test]
fn large_requests_are_refused_without_being_kept() {
    TRANSPORTS.into_iter().for_each(send_large_requests);
}

fn send_large_requests(io: &'static str) {
    let cluster = Cluster::start(&Shape::three().io(&[io; 3]));
    beside_a_bystander(&cluster, 16 << 20, || {
        // 128 MiB in one argument: it is thrown away as it comes, and the connection goes on.
        let mut resp = cluster.connect(1);
        let (count, piece) = (128, vec![b'x'; 1 << 20]);
        resp.send_bytes(format!("*3\r\n$3\r\nSET\r\n$1\r\nk\r\n${}\r\n", count * piece.len()).as_bytes());
        (0..count).for_each(|_| resp.send_bytes(&piece));
        resp.send_bytes(b"\r\n");
        let expected = "ERR argument of 134217728 bytes is larger than the limit of 1048576 bytes";
        assert_eq!(resp.receive(), Reply::Error(expected.to_owned()));
        assert_eq!(resp.ask(&["EXISTS", "k"]), Reply::Int(0));

        // Two hundred connections that begin a request and do not end it.
        let idle: Vec<Resp> = (0..200).map(|_| cluster.connect(1)).collect();
        let idle = idle.into_iter().map(|mut resp| {
            resp.send_bytes(b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$1000000\r\n");
            resp.send_bytes(&piece[..20 << 10]);
            resp
        });
        let idle: Vec<Resp> = idle.collect();
        assert_eq!(resp.ask(&["PING"]), Reply::Word("PONG".to_owned()));
        drop(idle);
    });
}

#[test]
fn as_many_arguments_as_there_may_be_are_executed() {
    let cluster = Cluster::start(&Shape::three());
    // Each of them is an entry of the log, and a part of the reply.
    beside_a_bystander(&cluster, 128 << 20, || {
        let mut resp = cluster.connect(1);
        let names: Vec<String> = (0..65_534).map(|number| format!("n{number}")).collect();
        let request: Vec<&str> = ["DEL"].into_iter().chain(names.iter().map(String::as_str)).collect();
        assert_eq!(resp.ask(&request), Reply::Int(0));
    });
}

#[test]
fn a_client_that_does_not_read_costs_no_more_than_its_limit() {
    TRANSPORTS.into_iter().for_each(do_not_read);
}

fn do_not_read(io: &'static str) {
    let cluster = Cluster::start(&Shape::three().io(&[io; 3]).set_text("limits", "output_max", "4 MiB"));
    let large = "x".repeat(1 << 20);
    assert_eq!(cluster.connect(1).ask(&["SET", "large", &large]), Reply::ok());
    beside_a_bystander(&cluster, 96 << 20, || {
        // Replies of 200 MiB are asked for, and none is read.
        let (mut resp, mut other) = (cluster.connect(1), cluster.connect(1));
        let mut requests = Vec::new();
        (0..200).for_each(|_| push_request(&mut requests, &["GET", "large"]));
        resp.send_bytes(&requests);
        (0..100).for_each(|_| assert_eq!(other.ask(&["PING"]), Reply::Word("PONG".to_owned())));
        // Once it reads, it gets them, or is told to come again.
        for number in 0..200 {
            let reply = resp.receive();
            assert!(reply == Reply::bulk(&large) || reply.is_error("OVERLOAD"), "reply {number}");
        }
        ask_for_many(&mut resp, "large", &large);

        // A subscriber cannot be asked to wait: it is closed.
        let mut subscriber = cluster.connect(1);
        subscriber.ask(&["SUBSCRIBE", "flood"]);
        for _ in 0..200 {
            assert!(matches!(other.ask(&["PUBLISH", "flood", &large]), Reply::Int(_)));
        }
        until("nobody listens any more", || (other.ask(&["PUBLISH", "flood", "x"]) == Reply::Int(0)).then_some(()));
    });
}

/// Sends bytes to a door that speaks the native protocol, and returns the text of the refusal that is the last that is
/// heard of it; empty if there is none. Panics if the connection stays open.
fn refusal(address: &str, stage: Stage, pieces: &[&[u8]], after: Option<Shutdown>) -> String {
    let mut stream = TcpStream::connect(address).expect("the node listens");
    stream.set_read_timeout(Some(DEADLINE)).expect("not zero");
    for piece in pieces {
        // It may have been closed after the first of them.
        let _ = stream.write_all(piece);
    }
    if let Some(how) = after {
        stream.shutdown(how).expect("it is connected");
    }
    let mut bytes = Vec::new();
    match stream.read_to_end(&mut bytes) {
        Ok(_) => {}
        Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset, "it is not closed: {error}"),
    }
    let mut text = String::new();
    let mut rest = &bytes[..];
    let mut stage = stage;
    while !rest.is_empty() {
        let limits = BodyLimits::DEFAULT;
        // At the door of a control thread other frames follow the welcome.
        let decoded = decode(rest, stage, &limits).or_else(|_| decode(rest, Stage::Core, &limits));
        let (frame, length) = decoded.expect("a node sends whole frames");
        match frame.body {
            Body::Reject(reject) => reject.text.clone_into(&mut text),
            Body::Welcome(_) => stage = Stage::Peer,
            _ => {}
        }
        rest = &rest[length..];
    }
    text
}

fn encoded(encode: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode(&mut bytes);
    bytes
}

fn with(mut bytes: Vec<u8>, at: usize, change: &[u8]) -> Vec<u8> {
    bytes[at..at + change.len()].copy_from_slice(change);
    bytes
}

fn request(command: &Command<'_>) -> Vec<u8> {
    let about = About { group: GroupId(0), epoch: Epoch(0) };
    encoded(|out| RequestHead { number: 1, ..RequestHead::default() }.encode(out, about, command))
}

#[test]
fn frames_that_cannot_be_are_refused_at_the_native_door() {
    TRANSPORTS.into_iter().for_each(send_frames_to_the_native_door);
}

fn send_frames_to_the_native_door(io: &'static str) {
    let cluster = Cluster::start(&Shape::three().io(&[io; 3]));
    let hello = encoded(|out| Hello::client("", b"").encode(out));
    let set = request(&Command { value: b"evil", ..Command::new(Op::Set, b"bystander") });
    let status = encoded(|out| StatusRequest { number: 1 }.encode(out));
    let last = hello.len() - 1;
    let damaged_set = with(set.clone(), set.len() - 1, b"?");
    let many = u32::MAX.to_le_bytes();
    // What is sent, and what is said to it.
    let cases: [(&[&[u8]], &str); 14] = [
        (&[b"GET / HTTP/1.1\r\n\r\n"], "not the native protocol: a frame begins with 0x545251a7"),
        (&[b"*1\r\n$4\r\nPING\r\n"], "not the native protocol"),
        (&[&with(hello.clone(), VERSION_AT, &[9, 0])], "the other end speaks wire version 9, this end 1"),
        (&[&with(hello.clone(), CRC_AT, b"abcd")], "a Hello frame with checksum"),
        (&[&with(hello.clone(), last, b"?")], "a Hello frame with checksum"),
        (&[&with(hello.clone(), KIND_AT, &[200, 0])], "unknown kind of frame: 200"),
        (&[&with(hello.clone(), LENGTH_AT, &many)], "a Hello frame of 4294967295 bytes is longer than 1024"),
        (&[&set], "a Request frame cannot come at stage Greeting"),
        (&[&hello, &hello], "a Hello frame cannot come at stage Client"),
        (&[&hello, &damaged_set], "a Request frame with checksum"),
        (
            &[&hello, &with(set.clone(), LENGTH_AT, &many)],
            "a Request frame of 4294967295 bytes is longer than 16777216",
        ),
        (&[&hello, &with(status.clone(), LENGTH_AT, &[65])], "a Status frame of 65 bytes is longer than 64"),
        (&[&hello, &encoded(|out| push_append(out, 1))], "a Append frame cannot come at stage Client"),
        (&[&hello, b"\r\n\r\n"], "not the native protocol"),
    ];
    beside_a_bystander(&cluster, 32 << 20, || {
        for (pieces, expected) in cases {
            let text = refusal(&cluster.native(1), Stage::Answering, pieces, None);
            assert!(text.contains(expected), "{text:?} is not {expected:?}");
        }
        // One that is cut off says nothing wrong, and has nothing done.
        for cut in [1, HEADER_BYTES - 1, HEADER_BYTES, set.len() - 1] {
            let pieces = [&hello[..], &set[..cut]];
            assert_eq!(refusal(&cluster.native(1), Stage::Answering, &pieces, Some(Shutdown::Write)), "");
        }
        let peer = encoded(|out| peer_hello(&cluster, 2, 7).encode(out));
        let text = refusal(&cluster.native(1), Stage::Answering, &[&peer], None);
        assert!(text.starts_with("nodes connect to port "), "{text}");
    });
}

fn push_append(out: &mut Vec<u8>, epoch: u64) {
    let append = Append {
        stream: StreamId::LIVE,
        prev: EntryId { epoch: Epoch(0), index: LogIndex(0) },
        commit: LogIndex(0),
        sent: Instant(1),
        entries: &[],
    };
    encode_message(out, About { group: GroupId(0), epoch: Epoch(epoch) }, &Message::Append(append));
}

/// The greeting of a node, with everything right unless `fingerprint` is not.
fn peer_hello(cluster: &Cluster, node: u16, fingerprint: u64) -> Hello<'_> {
    Hello {
        cluster: cluster.name(),
        role: Role::Peer,
        node: NodeId(node),
        incarnation: Incarnation(99),
        cpu: CpuId(0),
        cpu_count: 1,
        partitions: 1,
        replicas: 3,
        write_quorum: 2,
        fingerprint,
        password: b"",
    }
}

/// Greets a node as a client, sends it more, and reads what it says until there is something in it.
fn converse<T>(cluster: &Cluster, more: &[u8], mut find: impl FnMut(&Body<'_>) -> Option<T>) -> T {
    let mut stream = TcpStream::connect(cluster.native(1)).expect("the node listens");
    stream.set_read_timeout(Some(DEADLINE)).expect("not zero");
    stream.write_all(&encoded(|out| Hello::client("", b"").encode(out))).expect("it reads");
    stream.write_all(more).expect("it reads");
    let mut bytes = Vec::new();
    let mut stage = Stage::Answering;
    loop {
        let mut piece = [0; 4096];
        let count = stream.read(&mut piece).expect("it answers");
        assert!(count > 0, "it closes");
        bytes.extend_from_slice(&piece[..count]);
        while let Ok((frame, length)) = decode(&bytes, stage, &BodyLimits::DEFAULT) {
            if let Some(found) = find(&frame.body) {
                return found;
            }
            stage = Stage::Server;
            bytes.drain(..length);
        }
    }
}

/// Asks a node for the digest of its settings, as any client may.
fn fingerprint(cluster: &Cluster) -> u64 {
    converse(cluster, b"", |body| if let Body::Welcome(welcome) = body { Some(welcome.fingerprint) } else { None })
}

#[test]
fn a_command_that_fits_a_frame_and_no_entry_is_refused() {
    // So much log that an eighth of it would be more than an entry can be.
    let cluster = Cluster::start(&Shape::one().set_text("node", "log_memory", "144 MiB"));
    let largest = vec![b'x'; 1 << 20];
    let mut items = Vec::new();
    for number in 0..16 {
        push_item(&mut items, format!("{{t}}{number}").as_bytes());
        let len = largest.len().min((16 << 20) - 80 - items.len());
        push_item(&mut items, &largest[..len]);
    }
    let command = Command { value: &items, ..Command::new(Op::SetMany, b"") };
    let len = command.encoded_len();
    assert!((BODY_BYTES_MAX + 1..(16 << 20) - 24).contains(&len), "{len} bytes");
    let text = converse(&cluster, &request(&command), |body| match body {
        Body::Refusal(refusal) => Some(refusal.text.to_owned()),
        Body::Reply(_) => Some("done".to_owned()),
        _ => None,
    });
    let expected = format!("ERR command of {len} bytes is larger than the limit of {BODY_BYTES_MAX} for one entry");
    assert!(text.starts_with(&expected), "{text}");
    assert_eq!(cluster.connect(1).ask(&["EXISTS", "{t}0"]), Reply::Int(0));
}

#[test]
fn frames_that_cannot_be_are_refused_at_the_peer_door() {
    TRANSPORTS.into_iter().for_each(send_frames_to_the_peer_door);
}

fn send_frames_to_the_peer_door(io: &'static str) {
    // Node 4 belongs to the cluster, holds nothing and is gone: whoever says to be it is let in.
    let four = Shape::three().cpus(&[1; 4]).io(&[io; 4]).set("cluster", "replicas", 3);
    let mut cluster = Cluster::start(&four);
    cluster.node_mut(4).kill();
    let cluster = cluster;
    let right = fingerprint(&cluster);
    let greet = |node: u16, fingerprint: u64| encoded(|out| peer_hello(&cluster, node, fingerprint).encode(out));
    let other = encoded(|out| Hello { cluster: "other", ..peer_hello(&cluster, 4, right) }.encode(out));
    let client = encoded(|out| Hello::client("", b"").encode(out));
    let hello = greet(4, right);
    let append = encoded(|out| push_append(out, 1));
    let long = u32::to_le_bytes((256 << 20) + 1);
    let set = request(&Command { value: b"evil", ..Command::new(Op::Set, b"bystander") });
    let cases: [(&[&[u8]], &str); 11] = [
        (&[b"SSH-2.0-x\r\n"], "not the native protocol"),
        (&[&client], "clients connect to port "),
        (&[&other], "this node belongs to cluster"),
        (&[&greet(1, right)], "this is node 1 itself: two nodes have the same node.id"),
        (&[&greet(77, right)], "node 77 does not belong to the cluster, as far as node 1 knows"),
        (&[&greet(4, right ^ 1)], "cluster.partitions, replicas, write_quorum, which nodes are the core"),
        (&[&hello, &hello], "a Hello frame cannot come at stage Peer"),
        (&[&hello, &with(append.clone(), CRC_AT, b"abcd")], "a Append frame with checksum"),
        (
            &[&hello, &with(append.clone(), LENGTH_AT, &long)],
            "a Append frame of 268435457 bytes is longer than 268435456",
        ),
        (&[&hello, &with(append.clone(), VERSION_AT, &[2])], "wire version 2"),
        (&[&hello, &with(set.clone(), set.len() - 1, b"?")], "a Request frame with checksum"),
    ];
    beside_a_bystander(&cluster, 32 << 20, || {
        for (pieces, expected) in cases {
            let text = refusal(&cluster.peer_of_cpu(1, 0), Stage::Answering, pieces, None);
            assert!(text.contains(expected), "{text:?} is not {expected:?}");
        }
        // Whole frames that a member may send and this one may not: they change nothing.
        let state = Note { applied: LogIndex(1), digest: 1 };
        let ack = Ack { stream: StreamId::LIVE, matched: LogIndex(1 << 40), sent: Instant(1 << 60), state };
        let mut forged = encoded(|out| push_append(out, 1));
        push_append(&mut forged, 1 << 40);
        encode_message(&mut forged, About { group: GroupId(0), epoch: Epoch(1) }, &Message::Ack(ack));
        encode_message(&mut forged, About { group: GroupId(500), epoch: Epoch(1) }, &Message::Ack(ack));
        for id in [1, 2] {
            refusal(&cluster.peer_of_cpu(id, 0), Stage::Answering, &[&hello, &forged], Some(Shutdown::Write));
        }
    });
    let groups = [1, 2, 3].map(|id| cluster.status(id).groups[0].clone());
    assert!(groups.iter().all(|group| group.epoch == 1 && group.commit < 1 << 40), "{groups:?}");
}

/// The door of the control thread, which speaks the same frames and takes others.
#[test]
fn what_the_consistent_core_cannot_mean_is_refused_at_its_door() {
    let four = Shape::three().cpus(&[1; 4]).io(&["auto"; 4]).set("cluster", "replicas", 3);
    let mut cluster = Cluster::start(&four);
    cluster.node_mut(4).kill();
    let cluster = cluster;
    let right = fingerprint(&cluster);
    let greet = |node: u16, fingerprint: u64| {
        encoded(|out| Hello { role: Role::Control, ..peer_hello(&cluster, node, fingerprint) }.encode(out))
    };
    let control = |json: &str| encoded(|out| Control { json }.encode(out));
    let peer = encoded(|out| peer_hello(&cluster, 4, right).encode(out));
    let (hello, deep) = (greet(4, right), "[".repeat(100_000));
    let misunderstood = "a control frame that this version does not understand";
    let cases: [(&[&[u8]], &str); 10] = [
        (&[b"GET / HTTP/1.1\r\n"], "not the native protocol"),
        (&[&peer], "CPUs of nodes connect to port "),
        (&[&greet(1, right)], "this is node 1 itself: two nodes have the same node.id"),
        (&[&greet(4, right ^ 1)], "which nodes are the core"),
        (&[&hello, &hello], "a Hello frame cannot come at stage Core"),
        (&[&hello, &control("")], misunderstood),
        (&[&hello, &control(&deep)], misunderstood),
        (&[&hello, &control(r#"{"Register":{"nonce":-1}}"#)], misunderstood),
        (&[&hello, &control(r#"{"Era":{"number":2,"stores":{},"start":null,"restored_from":[]}}"#)], misunderstood),
        (&[&hello, &with(control("{}"), CRC_AT, b"abcd")], "a Control frame with checksum"),
    ];
    beside_a_bystander(&cluster, 32 << 20, || {
        for (pieces, expected) in cases {
            let text = refusal(&cluster.control(1), Stage::Answering, pieces, None);
            assert!(text.contains(expected), "{text:?} is not {expected:?}");
        }
        // What a node may say, and this one says of others: it changes nothing.
        let run = r#"{"node":1,"incarnation":1}"#;
        let stranger = r#"{"node":4,"incarnation":99}"#;
        for words in [
            format!(
                r#"{{"Heartbeat":{{"from":{run},"turns":[],"without_quorum":[0],"silent":[1,2,3],"clock_ns":18446744073709551615}}}}"#
            ),
            format!(
                r#"{{"Heartbeat":{{"from":{stranger},"turns":[],"without_quorum":[0],"silent":[1,2,3],"clock_ns":18446744073709551615}}}}"#
            ),
            format!(r#"{{"Ask":{{"from":{run},"group":0,"ask":{{"Renew":{{"epoch":1}}}}}}}}"#),
            format!(r#"{{"Ask":{{"from":{stranger},"group":0,"ask":{{"Renew":{{"epoch":1}}}}}}}}"#),
            format!(r#"{{"Ask":{{"from":{stranger},"group":77,"ask":{{"Activate":{{"epoch":9}}}}}}}}"#),
            r#"{"Store":{"number":7,"place":"Joining"}}"#.to_owned(),
            r#"{"Store":{"number":7,"place":{"Restoring":{"number":9,"restored_from":0}}}}"#.to_owned(),
            r#"{"Era":{"number":1,"stores":{"4":7},"start":null,"restored_from":[]}}"#.to_owned(),
        ] {
            for id in [1, 2, 3] {
                let text =
                    refusal(&cluster.control(id), Stage::Answering, &[&hello, &control(&words)], Some(Shutdown::Write));
                assert_eq!(text, "", "{words}");
            }
        }
    });
    let groups = [1, 2, 3].map(|id| cluster.status(id).groups[0].clone());
    assert!(groups.iter().all(|group| group.epoch == 1 && group.leader == 1), "{groups:?}");
}

/// `auto` is io_uring where the kernel grants it.
const TRANSPORTS: [&str; 2] = ["auto", "mio"];

const CRC_AT: usize = 4;
const VERSION_AT: usize = 8;
const KIND_AT: usize = 10;
const LENGTH_AT: usize = 12;
