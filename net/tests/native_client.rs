//! The native client against a node that is only a script: a thread that speaks the wire format and does what each story
//! needs. Nothing here waits for a time to pass; whoever waits, waits for bytes.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use quorate::client::blocking::{self, RequestError, Value};
use quorate::client::polling::Client;
use quorate::client::{ClientOptions, ConnectError, Outcome, Submission, SubmitError, Ticket, Token, UnknownCause};
use quorate::wire::{
    About, AddressList, Body, BodyLimits, Certainty, FrameReader, Level, Refusal, RefusalCode, Reject, RejectCode,
    ReplyHead, RequestHead, Stage, StatusReply, Welcome, push_address,
};
use quorate_engine::ids::{CpuId, Epoch, GroupId, Incarnation, LogIndex, NodeId, Slot};
use quorate_engine::machine::answer::{Answer, AnswerSink};
use quorate_engine::machine::command::{Command, Op};
use quorate_engine::machine::kv::{Kv, Moment};
use quorate_engine::slots::{SlotMap, SlotRange, slot_of};
use quorate_engine::time::LogTime;

const PARTITIONS: u32 = 64;

/// One connection as the scripted node sees it.
struct Peer<S> {
    stream: S,
    reader: FrameReader,
    input: Vec<u8>,
}

/// What a client asked, with the command's own bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Asked {
    about: About,
    head: RequestHead,
    command: Vec<u8>,
}

impl Asked {
    fn command(&self) -> Command<'_> {
        Command::check(&self.command).expect("checked when it came")
    }
}

impl<S: Read + Write> Peer<S> {
    fn new(stream: S) -> Self {
        Self { stream, reader: FrameReader::new(Stage::Greeting, BodyLimits::DEFAULT), input: Vec::new() }
    }

    /// Takes the greeting; returns cluster and password in it.
    fn greeted(&mut self) -> (String, Vec<u8>) {
        let greeting = self.next(|body, _| match body {
            Body::Hello(hello) => Some((hello.cluster.to_owned(), hello.password.to_vec())),
            _ => None,
        });
        self.reader.enter(Stage::Client);
        greeting.expect("a greeting")
    }

    fn welcome(mut self) -> Self {
        self.greeted();
        let mut addresses = Vec::new();
        push_address(&mut addresses, NodeId(1), "127.0.0.1:7500");
        let welcome = Welcome {
            cluster: "prices",
            node: NodeId(1),
            incarnation: Incarnation(1),
            cpu: CpuId(0),
            cpu_count: 1,
            partitions: PARTITIONS,
            replicas: 3,
            write_quorum: 2,
            fingerprint: 0,
            addresses: AddressList::new(&addresses),
        };
        self.send(|out| welcome.encode(out));
        self
    }

    /// Waits for the next request; `None` when the client has gone.
    fn asked(&mut self) -> Option<Asked> {
        self.next(|body, about| match body {
            Body::Request(request) => Some(Asked { about, head: request.head, command: request.encoded.to_vec() }),
            _ => None,
        })
    }

    fn asked_times(&mut self, count: usize) -> Vec<Asked> {
        (0..count).map(|_| self.asked().expect("a request")).collect()
    }

    /// Waits for the next frame that `take` wants.
    fn next<T>(&mut self, take: impl Fn(&Body<'_>, About) -> Option<T>) -> Option<T> {
        let mut piece = vec![0; 64 << 10];
        loop {
            let input = std::mem::take(&mut self.input);
            let mut frames = self.reader.frames(&input);
            while let Some(frame) = frames.next() {
                let frame = frame.expect("the client sends frames");
                if let Some(taken) = take(&frame.body, frame.about) {
                    return Some(taken);
                }
            }
            drop(frames);
            let count = self.stream.read(&mut piece).unwrap_or(0);
            if count == 0 {
                return None;
            }
            self.input.extend_from_slice(&piece[..count]);
        }
    }

    fn send(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        let mut out = Vec::new();
        write(&mut out);
        self.stream.write_all(&out).expect("the client reads");
    }

    fn done(&mut self, asked: &Asked, index: u64, answer: impl FnOnce(&mut AnswerSink<'_>)) {
        let head =
            ReplyHead { number: asked.head.number, level: asked.head.level, index: LogIndex(index), loss_gen: 2 };
        let about = About { epoch: Epoch(7), ..asked.about };
        self.send(|out| head.encode_with(out, about, answer));
    }

    fn refuse(&mut self, asked: &Asked, certainty: Certainty, code: RefusalCode, details: [u64; 2]) {
        let refusal = Refusal { number: asked.head.number, certainty, code, details, text: "OVERLOAD try later" };
        self.send(|out| refusal.encode(out, asked.about));
    }
}

/// Runs `script` on a thread, given a listener; returns options to reach it.
fn node(script: impl FnOnce(TcpListener) + Send + 'static) -> (ClientOptions, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("it is bound").to_string();
    let options = ClientOptions {
        addresses: vec![address],
        request_timeout: Duration::from_secs(60),
        ..ClientOptions::default()
    };
    (options, thread::spawn(move || script(listener)))
}

fn accept(listener: &TcpListener) -> Peer<TcpStream> {
    Peer::new(listener.accept().expect("a client").0)
}

fn set(key: &[u8]) -> Command<'_> {
    Command { value: b"v", ..Command::new(Op::Set, key) }
}

/// An outcome that owns what a story looks at.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Ended {
    Done(Token, String),
    Accepted(Token),
    Status(String),
    Refused(RefusalCode),
    Unknown(UnknownCause),
}

impl From<Outcome<'_>> for Ended {
    fn from(outcome: Outcome<'_>) -> Self {
        match outcome {
            Outcome::Done { token, answer } => Self::Done(token, format!("{answer:?}")),
            Outcome::Accepted { token } => Self::Accepted(token),
            Outcome::Status { json } => Self::Status(json.to_owned()),
            Outcome::Refused(by) => Self::Refused(by.code),
            Outcome::Unknown(cause) => Self::Unknown(cause),
        }
    }
}

/// Polls until `count` commands have ended.
fn finish(client: &mut Client, count: usize) -> Vec<(Ticket, Ended)> {
    let mut ended = Vec::new();
    while ended.len() < count {
        if client.poll(|completion| ended.push((completion.ticket, completion.outcome.into()))) == 0 {
            client.wait(Duration::from_secs(1));
        }
    }
    ended
}

#[test]
fn many_commands_are_on_their_way_at_once() {
    let (options, server) = node(|listener| {
        let mut peer = accept(&listener).welcome();
        // No answer until all have come: they can only have been pipelined.
        for (index, asked) in (1..).zip(peer.asked_times(200)) {
            assert_eq!(asked.command().value, b"v");
            let slot = slot_of(asked.command().key);
            assert_eq!(asked.about.group, SlotMap::new(PARTITIONS).unwrap().group_of(slot));
            peer.done(&asked, index, |answer| answer.ok());
        }
    });
    let mut client = Client::connect(options).unwrap();
    let keys: Vec<String> = (0..200).map(|number| format!("key:{number}")).collect();
    let tickets: Vec<Ticket> = keys.iter().map(|key| client.submit(&set(key.as_bytes())).unwrap()).collect();
    assert_eq!(client.outstanding(), 200);

    let ended = finish(&mut client, 200);
    assert_eq!(ended.iter().map(|(ticket, _)| *ticket).collect::<Vec<_>>(), tickets);
    for ((index, key), (_, ended)) in (1..).zip(&keys).zip(ended) {
        let group = client.group_of(key.as_bytes()).unwrap();
        let token = Token { group, epoch: Epoch(7), index: LogIndex(index), loss_gen: 2 };
        assert_eq!(ended, Ended::Done(token, format!("{:?}", Answer::Ok)));
    }
    assert_eq!(client.outstanding(), 0);
    server.join().unwrap();
}

#[test]
fn outcomes_find_their_commands_in_any_order() {
    let (options, server) = node(|listener| {
        let mut peer = accept(&listener).welcome();
        let mut asked = peer.asked_times(3);
        asked.reverse();
        for asked in &asked {
            peer.done(asked, 5, |answer| answer.bulk(asked.command().key));
        }
    });
    let mut client = Client::connect(options).unwrap();
    let keys = ["a", "b", "c"];
    let tickets = keys.map(|key| client.submit(&Command::new(Op::Get, key.as_bytes())).unwrap());
    let ended = finish(&mut client, 3);
    for ((ticket, ended), index) in ended.iter().zip([2, 1, 0]) {
        assert_eq!(*ticket, tickets[index]);
        let Ended::Done(_, answer) = ended else { panic!("{ended:?}") };
        assert_eq!(*answer, format!("{:?}", Answer::Bulk(keys[index].as_bytes())));
    }
    server.join().unwrap();
}

#[test]
fn an_overloaded_node_is_asked_again_and_the_caller_sees_one_outcome() {
    let (options, server) = node(|listener| {
        let mut peer = accept(&listener).welcome();
        let first = peer.asked().unwrap();
        peer.refuse(&first, Certainty::Never, RefusalCode::Overload, [50, 0]);
        let second = peer.asked().unwrap();
        peer.refuse(&second, Certainty::Never, RefusalCode::Overload, [50, 0]);
        let third = peer.asked().unwrap();
        assert_eq!((&first.command, first.head.number), (&third.command, third.head.number));
        assert!(third.head.timeout_us <= first.head.timeout_us, "the deadline does not move");
        peer.done(&third, 1, |answer| answer.ok());
    });
    let mut client = Client::connect(options).unwrap();
    let ticket = client.submit(&set(b"k")).unwrap();
    let ended = finish(&mut client, 1);
    assert!(matches!(&ended[..], [(done, Ended::Done(..))] if *done == ticket), "{ended:?}");
    assert_eq!(client.overload_count(), 2);
    server.join().unwrap();
}

#[test]
fn other_refusals_are_passed_on_and_never_tried_again() {
    let (options, server) = node(|listener| {
        let mut peer = accept(&listener).welcome();
        let asked = peer.asked_times(3);
        peer.refuse(&asked[0], Certainty::Never, RefusalCode::NoQuorum, [1, 2]);
        peer.refuse(&asked[1], Certainty::Never, RefusalCode::Unavailable, [2, 0]);
        // Overloaded, but after the append: sending it again could apply it twice.
        peer.refuse(&asked[2], Certainty::Unknown, RefusalCode::Overload, [50, 0]);
        assert_eq!(peer.asked(), None);
    });
    let mut client = Client::connect(options).unwrap();
    for key in [b"a", b"b", b"c"] {
        client.submit(&set(key)).unwrap();
    }
    let ended: Vec<Ended> = finish(&mut client, 3).into_iter().map(|(_, ended)| ended).collect();
    assert_eq!(
        ended,
        [
            Ended::Refused(RefusalCode::NoQuorum),
            Ended::Refused(RefusalCode::Unavailable),
            Ended::Unknown(UnknownCause::Node(RefusalCode::Overload)),
        ]
    );
    drop(client);
    server.join().unwrap();
}

#[test]
fn a_lost_connection_leaves_writes_unknown_and_asks_reads_again() {
    let (options, server) = node(|listener| {
        let mut peer = accept(&listener).welcome();
        let asked = peer.asked_times(2);
        assert_eq!(asked[0].command().op, Op::Set);
        drop(peer);
        let mut peer = accept(&listener).welcome();
        let again = peer.asked().unwrap();
        assert_eq!((again.command().op, again.head.number), (Op::Get, asked[1].head.number));
        peer.done(&again, 9, |answer| answer.nil());
        assert_eq!(peer.asked(), None);
    });
    let mut client = Client::connect(options).unwrap();
    let write = client.submit(&set(b"k")).unwrap();
    let read = client.submit(&Command::new(Op::Get, b"k")).unwrap();
    let ended = finish(&mut client, 2);
    assert_eq!(ended[0], (write, Ended::Unknown(UnknownCause::ConnectionLost)));
    assert!(matches!(&ended[1], (ticket, Ended::Done(..)) if *ticket == read), "{ended:?}");
    assert!(matches!(client.last_error(), Some(ConnectError::Unreachable { .. })));
    drop(client);
    server.join().unwrap();
}

/// A node that does what it is asked first.
fn answer_one(listener: TcpListener) {
    let mut peer = accept(&listener).welcome();
    let asked = peer.asked().expect("the client asks for something");
    peer.done(&asked, 1, |answer| answer.ok());
}

#[test]
fn the_next_address_is_tried_when_one_does_not_answer() {
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (mut options, server) = node(answer_one);
    options.addresses.insert(0, closed.to_string());
    let mut client = Client::connect(options).unwrap();
    client.submit(&set(b"k")).unwrap();
    assert!(matches!(&finish(&mut client, 1)[..], [(_, Ended::Done(..))]));
    server.join().unwrap();
}

#[test]
fn a_node_that_goes_down_is_left_for_the_next_one() {
    let (options, first) = node(|listener| {
        let mut peer = accept(&listener).welcome();
        let asked = peer.asked().unwrap();
        peer.refuse(&asked, Certainty::Never, RefusalCode::Stopping, [0, 0]);
        peer.send(|out| {
            Reject { code: RejectCode::Stopping, theirs: 0, ours: 0, text: "the node is going down" }.encode(out);
        });
    });
    let (others, second) = node(answer_one);
    let addresses = [options.addresses.clone(), others.addresses].concat();
    let mut client = Client::connect(ClientOptions { addresses, ..options }).unwrap();
    client.submit(&set(b"k")).unwrap();
    assert!(matches!(&finish(&mut client, 1)[..], [(_, Ended::Done(..))]));
    assert!(matches!(client.last_error(), Some(ConnectError::Rejected { code: RejectCode::Stopping, .. })));
    first.join().unwrap();
    second.join().unwrap();
}

#[test]
fn a_node_that_says_that_it_goes_down_is_sent_nothing_more() {
    let (options, first) = node(|listener| {
        let mut peer = accept(&listener).welcome();
        let asked = peer.asked().unwrap();
        peer.refuse(&asked, Certainty::Never, RefusalCode::Stopping, [0, 0]);
        // It closes nothing itself.
        assert!(peer.asked().is_none());
    });
    let (others, second) = node(answer_one);
    let addresses = [options.addresses.clone(), others.addresses].concat();
    let mut client = Client::connect(ClientOptions { addresses, ..options }).unwrap();
    client.submit(&set(b"k")).unwrap();
    assert!(matches!(&finish(&mut client, 1)[..], [(_, Ended::Done(..))]));
    first.join().unwrap();
    second.join().unwrap();
}

#[test]
fn a_node_of_another_wire_version_is_named_with_both_numbers() {
    let (options, server) = node(|listener| {
        let mut peer = accept(&listener);
        peer.greeted();
        peer.send(|out| {
            Reject { code: RejectCode::WrongVersion, theirs: 1, ours: 9, text: "from a later release" }.encode(out);
            out[8] = 9;
        });
    });
    let address = options.addresses[0].clone();
    let error = Client::connect(options).unwrap_err();
    assert!(error.is_permanent());
    let expected = format!("{address}: the other end speaks wire version 9, this end 1: run the same release on both");
    assert_eq!(error.to_string(), expected);
    server.join().unwrap();
}

#[test]
fn a_wrong_password_is_said_at_once() {
    let (options, server) = node(|listener| {
        let mut peer = accept(&listener);
        assert_eq!(peer.greeted(), (String::from("prices"), b"guess".to_vec()));
        let text = "wrong password for the native door";
        peer.send(|out| Reject { code: RejectCode::WrongPassword, theirs: 0, ours: 0, text }.encode(out));
    });
    let address = options.addresses[0].clone();
    let options = ClientOptions { cluster: "prices".into(), password: "guess".into(), ..options };
    let error = Client::connect(options).unwrap_err();
    assert_eq!(error.to_string(), format!("{address}: refused: wrong password for the native door"));
    server.join().unwrap();
}

#[test]
fn a_node_of_another_cluster_is_left() {
    let (options, server) = node(|listener| drop(accept(&listener).welcome()));
    let address = options.addresses[0].clone();
    let error = Client::connect(ClientOptions { cluster: "scores".into(), ..options }).unwrap_err();
    assert_eq!(error.to_string(), format!("{address}: belongs to cluster prices, not scores"));
    server.join().unwrap();
}

#[test]
fn another_protocol_at_the_address_is_recognised() {
    let (options, server) = node(|listener| {
        let mut stream = listener.accept().unwrap().0;
        stream.write_all(b"-ERR unknown command\r\n").unwrap();
        let _ = stream.read(&mut [0; 512]);
    });
    let error = Client::connect(options).unwrap_err();
    assert!(error.to_string().contains("not the native protocol"), "{error}");
    server.join().unwrap();
}

#[test]
fn what_is_too_large_is_refused_here_with_the_limit() {
    let mut client = Client::start(ClientOptions::default()).unwrap();
    let key = vec![b'k'; 65_537];
    let error = client.submit(&set(&key)).unwrap_err();
    assert_eq!(error, SubmitError::TooLarge { what: "key", given: 65_537, limit: 65_536 });
    assert_eq!(error.to_string(), "key of 65537 bytes is longer than the limit of 65536");
    let value = vec![b'v'; (1 << 20) + 1];
    let error = client.submit(&Command { value: &value, ..Command::new(Op::Set, b"k") }).unwrap_err();
    assert_eq!(error.to_string(), "value of 1048577 bytes is longer than the limit of 1048576");
    assert_eq!(client.outstanding(), 0);
}

#[test]
fn a_full_window_is_a_value() {
    let mut client = Client::start(ClientOptions { window: 2, ..ClientOptions::default() }).unwrap();
    client.submit(&set(b"a")).unwrap();
    client.submit(&set(b"b")).unwrap();
    assert_eq!(client.submit(&set(b"c")), Err(SubmitError::Full { window: 2 }));
}

#[test]
fn a_silent_node_leaves_writes_unknown_and_reads_refused_at_their_deadline() {
    let (options, server) = node(|listener| {
        let mut peer = accept(&listener).welcome();
        peer.asked_times(2);
        assert_eq!(peer.asked(), None);
    });
    let mut client = Client::connect(options).unwrap();
    let timeout = Some(Duration::from_millis(5));
    let write = client.submit_with(&Submission { timeout, ..Submission::new(set(b"k")) }).unwrap();
    let read = client.submit_with(&Submission { timeout, ..Submission::new(Command::new(Op::Get, b"k")) }).unwrap();
    let mut ended = finish(&mut client, 2);
    ended.sort_by_key(|(ticket, _)| *ticket);
    assert_eq!(ended[0], (write, Ended::Unknown(UnknownCause::Deadline)));
    assert_eq!(ended[1], (read, Ended::Refused(RefusalCode::Timeout)));
    drop(client);
    server.join().unwrap();
}

#[test]
fn without_a_connection_a_command_is_refused_for_certain_at_its_deadline() {
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut client = Client::start(ClientOptions {
        addresses: vec![closed.to_string()],
        request_timeout: Duration::from_millis(5),
        ..ClientOptions::default()
    })
    .unwrap();
    for _ in 0..3 {
        let ticket = client.submit(&set(b"k")).unwrap();
        assert_eq!(finish(&mut client, 1), [(ticket, Ended::Refused(RefusalCode::Timeout))]);
    }
}

#[test]
fn tokens_and_levels_travel_with_the_command() {
    let (options, server) = node(|listener| {
        let mut peer = accept(&listener).welcome();
        let write = peer.asked().unwrap();
        assert_eq!(
            (write.head.level, write.head.read_after, write.about.epoch),
            (Level::Accepted, LogIndex(0), Epoch(0))
        );
        peer.done(&write, 12, |_| ());
        let read = peer.asked().unwrap();
        assert_eq!((read.head.read_after, read.about.epoch), (LogIndex(12), Epoch(7)));
        peer.done(&read, 12, |answer| answer.nil());
        let count = peer.asked().unwrap();
        assert_eq!((count.about.group, count.head.read_after), (GroupId(63), LogIndex(0)));
        peer.done(&count, 12, |answer| answer.int(3));
    });
    let mut client = Client::connect(options).unwrap();
    client.submit_with(&Submission { level: Level::Accepted, ..Submission::new(set(b"k")) }).unwrap();
    let ended = finish(&mut client, 1);
    let [(_, Ended::Accepted(token))] = ended[..] else { panic!("{ended:?}") };
    let read = Submission { read_after: Some(token), ..Submission::new(Command::new(Op::Get, b"k")) };
    client.submit_with(&read).unwrap();
    finish(&mut client, 1);
    let group = Some(GroupId(63));
    client.submit_with(&Submission { group, ..read }).unwrap();
    finish(&mut client, 1);
    server.join().unwrap();
}

/// A node that executes what it is asked, on one copy of the state machine.
fn serve<S: Read + Write>(stream: S) {
    let mut peer = Peer::new(stream).welcome();
    let mut kv = Kv::new(SlotRange { first: Slot(0), last: Slot(16_383) });
    let mut index = 0;
    while let Some(asked) = peer.asked() {
        let command = asked.command();
        let moment = Moment { time: LogTime(index) };
        if command.op.is_write() {
            index += 1;
            peer.done(&asked, index, |answer| kv.apply(moment, &command, answer));
        } else {
            peer.done(&asked, index, |answer| kv.read(moment, &command, answer));
        }
    }
}

fn use_everything(client: &mut blocking::Client) -> Result<(), RequestError> {
    assert_eq!(client.get(b"k")?, None);
    assert_eq!(client.set(b"k", b"1")?.index, LogIndex(1));
    assert_eq!(client.get(b"k")?.as_deref(), Some(&b"1"[..]));
    assert_eq!(client.incr(b"k", 41)?, 42);
    assert!(!client.set_if_absent(b"k", b"2")?);
    assert!(client.set_if_absent(b"k2", b"2")?);
    client.set_for(b"t", b"x", Duration::from_secs(100))?;
    assert!(client.expire(b"t", Duration::from_secs(200))?);
    assert!(!client.expire(b"none", Duration::from_secs(1))?);
    assert_eq!(client.exists(&[b"k", b"k", b"none"])?, 2);
    assert_eq!(client.del(&[b"k2", b"none"])?, 1);

    assert_eq!(client.hset(b"h", &[(b"bid", b"99"), (b"ask", b"101")])?, 2);
    assert_eq!(client.hget(b"h", b"bid")?.as_deref(), Some(&b"99"[..]));
    assert_eq!(client.hget(b"h", b"none")?, None);
    let mut all = client.hgetall(b"h")?;
    all.sort();
    assert_eq!(all, [(b"ask".to_vec(), b"101".to_vec()), (b"bid".to_vec(), b"99".to_vec())]);
    assert_eq!(client.hdel(b"h", &[b"ask"])?, 1);

    let error = client.incr(b"h", 1).expect_err("a hash is no number");
    assert!(matches!(&error, RequestError::Answer { text } if text.starts_with("WRONGTYPE")), "{error:?}");
    let names = client.execute(&Command { value: &packed(b"bid"), ..Command::new(Op::HashGetMany, b"h") })?;
    assert_eq!(names.value, Some(Value::Array(vec![Value::Bulk(b"99".to_vec())])));
    Ok(())
}

fn packed(item: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    quorate_engine::machine::command::push_item(&mut out, item);
    out
}

#[test]
fn the_blocking_client_reads_what_it_wrote() {
    let (options, server) = node(|listener| serve(listener.accept().unwrap().0));
    let mut client = blocking::Client::connect(options).unwrap();
    use_everything(&mut client).unwrap();
    drop(client);
    server.join().unwrap();
}

#[test]
fn the_blocking_client_works_over_a_unix_socket() {
    let path = std::env::temp_dir().join(format!("quorate-native-client-{}", std::process::id()));
    let listener = UnixListener::bind(&path).unwrap();
    let server = thread::spawn(move || {
        let stream: UnixStream = listener.accept().unwrap().0;
        serve(stream);
    });
    let addresses = vec![format!("unix:{}", path.display())];
    let mut client = blocking::Client::connect(ClientOptions { addresses, ..ClientOptions::default() }).unwrap();
    use_everything(&mut client).unwrap();
    let cluster = client.polling().cluster().unwrap();
    assert_eq!((cluster.name.as_str(), cluster.write_quorum), ("prices", 2));
    assert_eq!(cluster.addresses, [(NodeId(1), String::from("127.0.0.1:7500"))]);
    drop(client);
    server.join().unwrap();
    std::fs::remove_file(&path).unwrap();
}

#[test]
fn large_values_arrive_whole_although_the_socket_takes_them_in_pieces() {
    let (options, server) = node(|listener| serve(listener.accept().unwrap().0));
    let mut client = blocking::Client::connect(options).unwrap();
    let value: Vec<u8> = (0..1_u32 << 20).map(|place| place.to_le_bytes()[0]).collect();
    for key in [b"a", b"b"] {
        client.set(key, &value).unwrap();
    }
    assert_eq!(client.get(b"b").unwrap(), Some(value));
    drop(client);
    server.join().unwrap();
}

#[test]
fn a_node_tells_its_state() {
    let (options, server) = node(|listener| {
        let mut peer = accept(&listener).welcome();
        let number = peer.next(|body, _| match body {
            Body::Status(status) => Some(status.number),
            _ => None,
        });
        let reply = StatusReply { number: number.unwrap(), json: r#"{"node":1}"# };
        peer.send(|out| reply.encode(out));
    });
    let mut client = blocking::Client::connect(options).unwrap();
    assert_eq!(client.status().unwrap(), r#"{"node":1}"#);
    server.join().unwrap();
}
