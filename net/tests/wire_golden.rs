//! The bytes of wire version 1, for ever: one committed file for each case, compared in both directions.
//!
//! A file begins with a comment that says what it is; then come the bytes in hexadecimal: the header in its fields, the
//! body in lines of 16. A release that must change one of these files speaks another wire version. To add a case, add
//! it to `cases` and run once with `QUORATE_GOLDEN=write`, which writes missing files and never changes one.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use quorate::wire::{
    About, AddressList, Audience, Body, BodyLimits, Certainty, Control, DecodeError, Frame, HEADER_BYTES, Hello, Kind,
    Level, Publish, Refusal, RefusalCode, Reject, RejectCode, Reply, ReplyHead, Request, RequestHead, Role, Stage,
    StatusReply, StatusRequest, Welcome, decode, push_address,
};
use quorate_engine::entry::{EntryHeader, EntryKind, padded_len};
use quorate_engine::ids::{CpuId, EntryId, Epoch, GroupId, Incarnation, LogIndex, NodeId, ReplicaId, Slot};
use quorate_engine::machine::answer::AnswerSink;
use quorate_engine::machine::command::{Command, Flags, Op};
use quorate_engine::message::{
    Ack, Append, Chunk, ChunkAck, ChunkProgress, Fetched, Message, Mismatch, Refused, Sealed, StreamId,
};
use quorate_engine::replication::comparison::{Note, Window};
use quorate_engine::slots::slot_of;
use quorate_engine::time::{Instant, LogTime};

/// Where the kind stands in the header.
const KIND_AT: usize = 10;
/// Where the checksum stands in the header.
const CRC_AT: usize = 4;
/// Where the bytes begin that it covers.
const COVERED_AT: usize = 8;
/// Where the entries of an `Append` begin: they have checksums of their own.
const APPEND_ENTRIES_AT: usize = HEADER_BYTES + 40;

/// One frame that is fixed for ever.
struct Case {
    /// The name of its file.
    name: &'static str,
    /// What it is, in one line.
    story: &'static str,
    stage: Stage,
    frame: Frame<'static>,
}

const ACK: Ack = Ack {
    stream: StreamId::LIVE,
    matched: LogIndex(41),
    sent: Instant(1_000_000_007),
    state: Note { applied: LogIndex(40), digest: 0x0123_4567_89ab_cdef },
};

const ABOUT: About = About { group: GroupId(5), epoch: Epoch(7) };

fn entry_id(epoch: u64, index: u64) -> EntryId {
    EntryId { epoch: Epoch(epoch), index: LogIndex(index) }
}

/// Bytes that live as long as the test process: a handful of cases.
fn kept(write: impl FnOnce(&mut Vec<u8>)) -> &'static [u8] {
    let mut bytes = Vec::new();
    write(&mut bytes);
    bytes.leak()
}

fn set_price() -> Vec<u8> {
    let mut command = Vec::new();
    Command { value: b"100.25", ..Command::new(Op::Set, b"px:ACME") }.encode_into(&mut command);
    command
}

fn push_entry(out: &mut Vec<u8>, id: EntryId, kind: EntryKind, slot: Slot, body: &[u8]) {
    let body_len = u32::try_from(body.len()).expect("a short body");
    let header = EntryHeader { crc32c: 0, body_len, id, time: LogTime(9), kind, slot }.sealed(&[body]);
    let start = out.len();
    out.extend_from_slice(&header.to_bytes());
    out.extend_from_slice(body);
    out.resize(start + padded_len(body.len()), 0);
}

fn greetings() -> Vec<Case> {
    let addresses = kept(|out| {
        push_address(out, NodeId(1), "127.0.0.1:7500");
        push_address(out, NodeId(2), "unix:/run/quorate/2");
    });
    let hello = Hello {
        cluster: "prices",
        role: Role::Peer,
        node: NodeId(2),
        incarnation: Incarnation(0x1122_3344_5566_7788),
        cpu: CpuId(1),
        cpu_count: 4,
        partitions: 64,
        replicas: 3,
        write_quorum: 2,
        fingerprint: 0xAABB_CCDD_EEFF_0011,
        password: b"",
    };
    let welcome = Welcome {
        cluster: "prices",
        node: NodeId(1),
        incarnation: Incarnation(9),
        cpu: CpuId(0),
        cpu_count: 4,
        partitions: 64,
        replicas: 3,
        write_quorum: 2,
        fingerprint: 0xAABB_CCDD_EEFF_0011,
        addresses: AddressList::new(addresses),
    };
    let reject = Reject {
        code: RejectCode::WrongSettings,
        theirs: 64,
        ours: 128,
        text: "the cluster has 128 partitions, not 64",
    };
    let case = |name, story, stage, body| Case { name, story, stage, frame: Frame { about: About::NOTHING, body } };
    vec![
        case("hello_peer", "a node greets another", Stage::Greeting, Body::Hello(hello)),
        case(
            "hello_client",
            "a client greets a node, with a password",
            Stage::Greeting,
            Body::Hello(Hello::client("prices", b"s3cret")),
        ),
        case("welcome", "a node accepts a client and lists two doors", Stage::Answering, Body::Welcome(welcome)),
        case("reject", "a node refuses a node with other settings", Stage::Answering, Body::Reject(reject)),
    ]
}

fn messages() -> Vec<Case> {
    let case = |name, story, message| Case {
        name,
        story,
        stage: Stage::Peer,
        frame: Frame { about: ABOUT, body: Body::Message(message) },
    };
    let stream = StreamId(3);
    let append = Append {
        stream: StreamId::LIVE,
        prev: entry_id(6, 41),
        commit: LogIndex(40),
        sent: Instant(1_000_000_007),
        entries: b"",
    };
    let entries = kept(|out| {
        push_entry(out, entry_id(7, 42), EntryKind::View, slot_of(b"px:ACME"), b"");
        push_entry(out, entry_id(7, 43), EntryKind::Command, slot_of(b"px:ACME"), &set_price());
    });
    let full = Append { entries, ..append };
    let leader = ReplicaId { node: NodeId(3), incarnation: Incarnation(12) };
    let chunk = Chunk {
        stream,
        sequence: 2,
        is_last: true,
        base: entry_id(6, 30),
        at: entry_id(7, 42),
        time: LogTime(3_000_000_000),
        body: b"\x01\0\0\0kvalue",
    };
    vec![
        case("append", "two entries behind 41: the leader's first of its epoch, and a command", Message::Append(full)),
        case("append_empty", "a leader renews its lease", Message::Append(append)),
        case(
            "ack",
            "a replica shares the prefix through 41, and tells the digest of its state at 40",
            Message::Ack(ACK),
        ),
        case(
            "refused",
            "a replica follows node 3 at epoch 8",
            Message::Refused(Refused { promise: Epoch(8), leader: Some(leader) }),
        ),
        case(
            "refused_unknown",
            "a replica has promised epoch 8 to a leader it does not know",
            Message::Refused(Refused { promise: Epoch(8), leader: None }),
        ),
        case(
            "mismatch",
            "a replica lacks the previous entry and asks for 17",
            Message::Mismatch(Mismatch { stream: StreamId::LIVE, hint: LogIndex(17) }),
        ),
        case("chunk", "the last part of a snapshot", Message::Chunk(chunk)),
        case(
            "chunk_ack_received",
            "a snapshot has come as far as chunk 1",
            Message::ChunkAck(ChunkAck { stream, progress: ChunkProgress::Received { sequence: 1 } }),
        ),
        case(
            "chunk_ack_installed",
            "a snapshot is installed and the log matches through 42",
            Message::ChunkAck(ChunkAck { stream, progress: ChunkProgress::Installed { matched: LogIndex(42) } }),
        ),
        case(
            "chunk_ack_broken",
            "a snapshot must start anew",
            Message::ChunkAck(ChunkAck { stream, progress: ChunkProgress::Broken }),
        ),
    ]
}

fn takeover_messages() -> Vec<Case> {
    let case = |name, story, message| Case {
        name,
        story,
        stage: Stage::Peer,
        frame: Frame { about: ABOUT, body: Body::Message(message) },
    };
    let entries = kept(|out| push_entry(out, entry_id(6, 42), EntryKind::Command, slot_of(b"px:ACME"), &set_price()));
    vec![
        case("seal", "a candidate asks for the promise of its epoch", Message::Seal),
        case(
            "sealed",
            "a replica has promised, holds the log through 43 and has granted a lease for 90 ms more",
            Message::Sealed(Sealed {
                tail: entry_id(6, 43),
                commit: LogIndex(41),
                grant_left: Duration::from_millis(90),
            }),
        ),
        case("fetch", "a candidate asks for what follows 41", Message::Fetch { after: LogIndex(41) }),
        case("fetched", "an entry of the best log", Message::Fetched(Fetched { prev: entry_id(6, 41), entries })),
        case("unfetchable", "what the candidate asks for has left the log", Message::Unfetchable),
        case(
            "diverged",
            "a leader tells a replica that its state became wrong between 17 and 41",
            Message::Diverged(Window { first: LogIndex(17), last: LogIndex(41) }),
        ),
    ]
}

fn requests() -> Vec<Case> {
    let command = Command { flags: Flags::TTL, time: 1_500_000, value: b"100.25", ..Command::new(Op::Set, b"px:ACME") };
    let encoded = kept(|out| command.encode_into(out));
    let head = RequestHead { number: 77, level: Level::Commit, hops: 1, timeout_us: 250_000, read_after: LogIndex(39) };
    let answer = kept(|out| {
        let mut sink = AnswerSink::into(out);
        sink.array(2);
        sink.int(-3);
        sink.bulk(b"old");
    });
    let done = ReplyHead { number: 77, level: Level::Commit, index: LogIndex(42), loss_gen: 1 };
    let accepted = ReplyHead { level: Level::Accepted, ..done };
    let overload = Refusal {
        number: 77,
        certainty: Certainty::Never,
        code: RefusalCode::Overload,
        details: [150, 0],
        text: "OVERLOAD 150",
    };
    let lost = Refusal {
        number: 78,
        certainty: Certainty::Unknown,
        code: RefusalCode::LeaderLost,
        details: [0, 0],
        text: "UNKNOWN outcome not known; ask REQUEST.STATUS",
    };
    let case = |name, story, stage, body| Case { name, story, stage, frame: Frame { about: ABOUT, body } };
    vec![
        case(
            "request",
            "SET px:ACME 100.25 UX 1500, passed on once",
            Stage::Peer,
            Body::Request(Request { head, command, encoded }),
        ),
        case("reply_commit", "done, with an answer", Stage::Server, Body::Reply(Reply { head: done, answer })),
        case(
            "reply_accepted",
            "appended by the leader",
            Stage::Server,
            Body::Reply(Reply { head: accepted, answer: &[] }),
        ),
        case("refusal_overload", "certainly not appended", Stage::Server, Body::Refusal(overload)),
        case("refusal_unknown", "may have happened", Stage::Server, Body::Refusal(lost)),
    ]
}

fn others() -> Vec<Case> {
    let publish = Publish { audience: Audience::Shard, channel: b"ticks", payload: b"\x00\xFF" };
    let status = StatusRequest { number: 4 };
    let reply = StatusReply { number: 4, json: r#"{"cluster":"prices"}"# };
    let case = |name, story, stage, body| Case { name, story, stage, frame: Frame { about: About::NOTHING, body } };
    vec![
        case("publish", "a message for subscribers of a shard channel", Stage::Peer, Body::Publish(publish)),
        case("status", "asks a node for its state", Stage::Client, Body::Status(status)),
        case("control", "a node and the consistent core", Stage::Core, Body::Control(Control { json: r#"{"n":1}"# })),
        case("status_reply", "the state of a node", Stage::Server, Body::StatusReply(reply)),
    ]
}

fn cases() -> Vec<Case> {
    [greetings(), messages(), takeover_messages(), requests(), others()].into_iter().flatten().collect()
}

fn encoded(frame: &Frame<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    frame.encode(&mut bytes);
    bytes
}

fn golden_path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden/v1").join(format!("{name}.hex"))
}

fn to_hex(story: &str, bytes: &[u8]) -> String {
    let mut text = format!("# {story}\n");
    let fields = [("magic", 4), ("crc32c", 4), ("version", 2), ("kind", 2), ("length", 4), ("group", 4)];
    let mut rest = bytes;
    for (field, len) in fields.into_iter().chain([("reserved", 4), ("epoch", 8)]) {
        let (bytes, behind) = rest.split_at(len);
        writeln!(text, "{} # {field}", hex_line(bytes)).expect("writing to a string");
        rest = behind;
    }
    for line in rest.chunks(16) {
        writeln!(text, "{}", hex_line(line)).expect("writing to a string");
    }
    text
}

fn hex_line(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(" ")
}

fn from_hex(text: &str) -> Vec<u8> {
    let lines = text.lines().map(|line| line.split('#').next().unwrap_or_default());
    lines
        .flat_map(str::split_whitespace)
        .map(|byte| u8::from_str_radix(byte, 16).expect("two hexadecimal digits"))
        .collect()
}

/// Makes the checksum right again after a change elsewhere, so that the checks behind it are reached.
fn fix_checksum(frame: &mut [u8]) {
    let is_append = frame[KIND_AT..KIND_AT + 2] == (Kind::Append as u16).to_le_bytes();
    let covered = if is_append { frame.len().min(APPEND_ENTRIES_AT) } else { frame.len() };
    let crc = crc32c::crc32c(&frame[COVERED_AT..covered]);
    frame[CRC_AT..COVERED_AT].copy_from_slice(&crc.to_le_bytes());
}

#[test]
fn bytes_of_version_1_are_what_they_were() {
    let may_write = std::env::var_os("QUORATE_GOLDEN").is_some_and(|value| value == "write");
    for case in cases() {
        let path = golden_path(case.name);
        let bytes = encoded(&case.frame);
        if may_write && !path.exists() {
            std::fs::write(&path, to_hex(case.story, &bytes)).unwrap();
        }
        let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        assert_eq!(to_hex(case.story, &bytes), text, "encoding of {} has changed", case.name);

        let golden = from_hex(&text);
        let (frame, taken) = decode(&golden, case.stage, &BodyLimits::DEFAULT).unwrap();
        assert_eq!((frame, taken), (case.frame, golden.len()), "decoding of {} has changed", case.name);
    }
}

#[test]
fn every_kind_and_every_file_has_a_case() {
    let cases = cases();
    for kind in Kind::ALL {
        assert!(cases.iter().any(|case| case.frame.kind() == kind), "no golden bytes of {kind:?}");
        assert_eq!(Kind::from_number(kind as u16), Some(kind));
    }
    for file in std::fs::read_dir(golden_path("x").parent().unwrap()).unwrap() {
        let path = file.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap();
        assert!(cases.iter().any(|case| case.name == name), "{} belongs to no case", path.display());
    }
}

#[test]
fn a_cut_frame_is_only_ever_incomplete() {
    for case in cases() {
        let bytes = encoded(&case.frame);
        for len in 0..bytes.len() {
            let outcome = decode(&bytes[..len], case.stage, &BodyLimits::DEFAULT);
            assert!(
                matches!(outcome, Err(DecodeError::Truncated { needed, have }) if have == len && needed > len),
                "{} cut at {len}: {outcome:?}",
                case.name
            );
        }
    }
}

#[test]
fn a_frame_with_any_bit_flipped_is_refused() {
    for case in cases() {
        let mut bytes = encoded(&case.frame);
        for bit in 0..bytes.len() * 8 {
            bytes[bit / 8] ^= 1 << (bit % 8);
            let outcome = decode(&bytes, case.stage, &BodyLimits::DEFAULT);
            assert!(outcome.is_err(), "{} with bit {bit} flipped: {outcome:?}", case.name);
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
    }
}

#[test]
fn a_flipped_bit_under_a_right_checksum_is_refused_or_is_another_frame() {
    for case in cases() {
        let original = encoded(&case.frame);
        for bit in 0..original.len() * 8 {
            let mut bytes = original.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            fix_checksum(&mut bytes);
            if let Ok((frame, taken)) = decode(&bytes, case.stage, &BodyLimits::DEFAULT) {
                assert_eq!(encoded(&frame), bytes[..taken], "{} with bit {bit} flipped has two encodings", case.name);
            }
        }
    }
}

#[test]
fn a_frame_at_the_wrong_stage_is_refused_by_its_header() {
    let stages = [Stage::Greeting, Stage::Answering, Stage::Client, Stage::Server, Stage::Peer];
    for case in cases() {
        let bytes = encoded(&case.frame);
        let kind = case.frame.kind();
        assert!(case.stage.allows(kind), "{} at {:?}", case.name, case.stage);
        for stage in stages.into_iter().filter(|stage| !stage.allows(kind)) {
            let outcome = decode(&bytes[..HEADER_BYTES], stage, &BodyLimits::DEFAULT);
            assert_eq!(outcome, Err(DecodeError::Unexpected { kind, stage }), "{}", case.name);
        }
    }
}

#[test]
fn another_wire_version_is_refused_with_both_numbers() {
    let mut bytes = encoded(&cases()[0].frame);
    bytes[8] = 9;
    let error = decode(&bytes[..10], Stage::Greeting, &BodyLimits::DEFAULT).unwrap_err();
    assert_eq!(error, DecodeError::Version { theirs: 9, ours: 1 });
    assert_eq!(error.to_string(), "the other end speaks wire version 9, this end 1: run the same release on both");
}

#[test]
fn another_protocol_is_recognised_by_its_first_byte() {
    for text in ["*", "GET / HTTP/1.1\r\n", "PING\r\n", "\x16\x03\x01"] {
        let error = decode(text.as_bytes(), Stage::Greeting, &BodyLimits::DEFAULT).unwrap_err();
        assert!(matches!(error, DecodeError::Magic { .. }), "{text:?}: {error:?}");
    }
}
