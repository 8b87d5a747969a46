//! Properties of the wire format: what goes in comes out, whatever the cuts; what is broken is refused.

use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;
use quorate_engine::config::READ_LEASE_MAX;
use quorate_engine::entry::{EntryError, EntryHeader, EntryKind, padded_len};
use quorate_engine::ids::{EntryId, Epoch, GroupId, Incarnation, LogIndex, NodeId, ReplicaId, Slot};
use quorate_engine::machine::answer::AnswerSink;
use quorate_engine::machine::command::{Command, Flags, Op, push_item};
use quorate_engine::message::{
    Ack, Append, Chunk, ChunkAck, ChunkProgress, Message, Mismatch, Refused, Sealed, StreamId,
};
use quorate_engine::replication::comparison::{Note, Window};
use quorate_engine::slots::slot_of;
use quorate_engine::time::{Instant, LogTime};

use super::header::{COVERED_AT, checksum};
use super::*;

/// A frame as its bytes, with the stage at which it may come.
#[derive(Clone, Debug)]
struct Sample {
    stage: Stage,
    bytes: Vec<u8>,
}

fn sample(stage: Stage, write: impl FnOnce(&mut Vec<u8>)) -> Sample {
    let mut bytes = Vec::new();
    write(&mut bytes);
    Sample { stage, bytes }
}

/// Indexes and epochs as they may come.
fn number() -> impl Strategy<Value = u64> {
    0..=1_u64 << 62
}

/// Entries in order behind `prev`, each of which sets one of `texts` to itself.
fn entries(prev: EntryId, texts: &[Vec<u8>]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut id = EntryId { epoch: Epoch(prev.epoch.0.max(1)), index: prev.index };
    for text in texts {
        id.index = id.index.next();
        push_entry(&mut out, id, slot_of(text), &Command { value: text, ..Command::new(Op::Set, text) });
    }
    out
}

fn push_entry(out: &mut Vec<u8>, id: EntryId, slot: Slot, command: &Command<'_>) {
    let mut body = Vec::new();
    command.encode_into(&mut body);
    let body_len = u32::try_from(body.len()).unwrap();
    let (kind, time) = (EntryKind::Command, LogTime(5));
    let header = EntryHeader { crc32c: 0, body_len, id, time, kind, slot }.sealed(&[&body]);
    let start = out.len();
    out.extend_from_slice(&header.to_bytes());
    out.extend_from_slice(&body);
    out.resize(start + padded_len(body.len()), 0);
}

fn about() -> impl Strategy<Value = About> {
    (any::<u32>(), number()).prop_map(|(group, epoch)| About { group: GroupId(group), epoch: Epoch(epoch) })
}

fn entry_id() -> impl Strategy<Value = EntryId> {
    prop_oneof![
        Just(EntryId::START),
        (1..=1_u64 << 62, 1..=1_u64 << 61)
            .prop_map(|(epoch, index)| EntryId { epoch: Epoch(epoch), index: LogIndex(index) })
    ]
}

fn message_sample() -> impl Strategy<Value = Sample> {
    let numbers = (number(), number(), any::<u64>(), any::<u32>());
    (about(), 0..9_u8, numbers, entry_id(), vec(any::<u8>(), 0..200)).prop_map(
        |(about, which, (a, b, c, d), id, bytes)| {
            let stream = StreamId(a.max(1));
            let leader = (d != 0).then_some(ReplicaId { node: NodeId(7), incarnation: Incarnation(b) });
            let list = entries(id, &[bytes.clone(), Vec::new(), bytes.clone()]);
            let about = About { epoch: about.epoch.max(id.epoch).max(Epoch(1)), ..about };
            let message = match which {
                0 => Message::Append(Append {
                    stream: StreamId(a),
                    prev: id,
                    commit: LogIndex(b),
                    sent: Instant(c),
                    entries: if d % 3 == 0 { &[] } else { &list },
                }),
                1 => {
                    let state = Note { applied: LogIndex(b / 2), digest: c };
                    Message::Ack(Ack { stream: StreamId(a), matched: LogIndex(b), sent: Instant(c), state })
                }
                2 => Message::Refused(Refused { promise: Epoch(a), leader }),
                3 => Message::Mismatch(Mismatch { stream: StreamId(a), hint: LogIndex(b) }),
                4 => {
                    let (is_last, time) = (d % 2 == 0, LogTime(b));
                    Message::Chunk(Chunk { stream, sequence: d, is_last, base: id, at: id, time, body: &bytes })
                }
                5 => Message::ChunkAck(ChunkAck { stream, progress: ChunkProgress::Received { sequence: d } }),
                6 => Message::Diverged(Window { first: LogIndex(b), last: LogIndex(b) }),
                7 => {
                    Message::ChunkAck(ChunkAck { stream, progress: ChunkProgress::Installed { matched: LogIndex(b) } })
                }
                _ => Message::ChunkAck(ChunkAck { stream, progress: ChunkProgress::Broken }),
            };
            sample(Stage::Peer, |out| encode_message(out, about, &message))
        },
    )
}

fn request_sample() -> impl Strategy<Value = Sample> {
    let op = prop::sample::select(vec![Op::Set, Op::Increment, Op::Get, Op::HashGetAll, Op::Scan]);
    let numbers = (any::<u64>(), number(), any::<u32>(), any::<u8>());
    let texts = (vec(any::<u8>(), 0..40), vec(any::<u8>(), 0..200));
    (about(), op, numbers, any::<u8>(), texts).prop_map(
        |(about, op, (number, after, us, hops), flags, (key, value))| {
            let head = RequestHead {
                number,
                level: if us % 2 == 0 { Level::Commit } else { Level::Accepted },
                hops,
                timeout_us: us,
                read_after: LogIndex(after),
            };
            let command = Command { flags: Flags(flags), value: &value, ..Command::new(op, &key) };
            sample(if hops == 0 { Stage::Client } else { Stage::Peer }, |out| head.encode(out, about, &command))
        },
    )
}

fn outcome_sample() -> impl Strategy<Value = Sample> {
    (about(), (any::<u64>(), number(), any::<u64>()), 0..3_u8, vec(any::<u8>(), 0..100), ".{0,80}").prop_map(
        |(about, (number, a, b), which, bytes, text)| {
            let head = ReplyHead { number, level: Level::Commit, index: LogIndex(a), loss_gen: b };
            sample(Stage::Server, |out| match which {
                0 => head.encode_with(out, about, |answer: &mut AnswerSink<'_>| answer.bulk(&bytes)),
                1 => Reply { head: ReplyHead { level: Level::Accepted, ..head }, answer: &[] }.encode(out, about),
                _ => {
                    let (certainty, code) = (Certainty::Unknown, RefusalCode::Timeout);
                    Refusal { number, certainty, code, details: [a, b], text: &text }.encode(out, about);
                }
            })
        },
    )
}

fn connection_sample() -> impl Strategy<Value = Sample> {
    ("[a-zé]{1,20}", vec(any::<u8>(), 0..=PASSWORD_BYTES_MAX), any::<u64>(), 0..6_u8).prop_map(
        |(text, bytes, number, which)| match which {
            0 => sample(Stage::Greeting, |out| Hello::client(&text, &bytes).encode(out)),
            1 => sample(Stage::Answering, |out| {
                Reject { code: RejectCode::Stopping, theirs: number, ours: 0, text: &text }.encode(out);
            }),
            2 => sample(Stage::Peer, |out| {
                Publish { audience: Audience::Channel, channel: text.as_bytes(), payload: &bytes }.encode(out);
            }),
            3 => sample(Stage::Client, |out| StatusRequest { number }.encode(out)),
            4 => sample(Stage::Core, |out| Control { json: &text }.encode(out)),
            _ => sample(Stage::Server, |out| StatusReply { number, json: &text }.encode(out)),
        },
    )
}

fn any_sample() -> impl Strategy<Value = Sample> {
    prop_oneof![message_sample(), request_sample(), outcome_sample(), connection_sample()]
}

fn decoded_again(bytes: &[u8], stage: Stage) -> Result<Vec<u8>, DecodeError> {
    let (frame, taken) = decode(bytes, stage, &BodyLimits::DEFAULT)?;
    assert_eq!(taken, bytes.len());
    let mut again = Vec::new();
    frame.encode(&mut again);
    Ok(again)
}

proptest! {
    #[test]
    fn what_is_encoded_decodes_to_the_same_bytes(sample in any_sample()) {
        prop_assert_eq!(decoded_again(&sample.bytes, sample.stage), Ok(sample.bytes.clone()));
    }

    #[test]
    fn bytes_changed_under_a_right_checksum_are_refused_or_canonical(
        sample in any_sample(),
        changes in vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let mut bytes = sample.bytes;
        for (place, byte) in changes {
            let place = HEADER_BYTES + place.index((bytes.len() - HEADER_BYTES).max(1));
            if let Some(old) = bytes.get_mut(place) {
                *old = byte;
            }
        }
        let kind = Kind::from_number(u16::from_le_bytes([bytes[10], bytes[11]])).unwrap();
        let crc = checksum(kind, &bytes);
        bytes[4..COVERED_AT].copy_from_slice(&crc.to_le_bytes());
        if let Ok(again) = decoded_again(&bytes, sample.stage) {
            prop_assert_eq!(again, bytes);
        }
    }

    #[test]
    fn any_bytes_are_decoded_or_refused(bytes in vec(any::<u8>(), 0..200), with_header in any::<bool>()) {
        let mut frame = [MAGIC.to_le_bytes(), [0; 4]].concat();
        frame.extend(WIRE_VERSION.to_le_bytes());
        frame.extend(&bytes);
        for stage in [Stage::Greeting, Stage::Answering, Stage::Client, Stage::Server, Stage::Peer] {
            let _ = decode(if with_header { &frame } else { &bytes }, stage, &BodyLimits::DEFAULT);
        }
    }

    #[test]
    fn a_stream_gives_the_same_frames_however_it_is_cut(
        samples in vec(prop_oneof![message_sample(), request_sample().prop_map(|mut sample| {
            sample.stage = Stage::Peer;
            sample
        })], 1..8),
        cuts in vec(1..90_usize, 1..40),
        give_up in any::<bool>(),
    ) {
        let stream: Vec<u8> = samples.iter().flat_map(|sample| sample.bytes.clone()).collect();
        let mut reader = FrameReader::new(Stage::Peer, BodyLimits::DEFAULT);
        let mut seen = Vec::new();
        let mut rest = &stream[..];
        for cut in cuts.iter().cycle() {
            let (piece, behind) = rest.split_at((*cut).min(rest.len()));
            rest = behind;
            let mut frames = reader.frames(piece);
            while let Some(frame) = frames.next() {
                frame.unwrap().encode(&mut seen);
                if give_up {
                    break;
                }
            }
            drop(frames);
            if rest.is_empty() && (!give_up || seen.len() == stream.len()) {
                break;
            }
        }
        prop_assert_eq!(reader.remainder_bytes(), 0);
        prop_assert_eq!(seen, stream);
    }
}

#[test]
fn a_frame_that_arrives_whole_is_not_copied() {
    let mut bytes = Vec::new();
    StatusRequest { number: 1 }.encode(&mut bytes);
    let mut reader = FrameReader::new(Stage::Client, BodyLimits::DEFAULT);
    assert!(reader.frames(&bytes).next().unwrap().is_ok());
    assert_eq!(reader.remainder_capacity(), 0);
}

#[test]
fn an_announced_length_takes_no_memory_until_the_bytes_come() {
    let mut bytes = Vec::new();
    RequestHead::default().encode(&mut bytes, About::NOTHING, &Command::new(Op::Get, &[b'k'; 100_000]));
    let mut reader = FrameReader::new(Stage::Client, BodyLimits::DEFAULT);
    assert!(reader.frames(&bytes[..HEADER_BYTES]).next().is_none());
    assert!(reader.remainder_capacity() <= 64, "{} bytes for a header", reader.remainder_capacity());
}

#[test]
fn memory_of_a_large_frame_is_given_back() {
    let mut bytes = Vec::new();
    let value = vec![b'v'; 4 * REMAINDER_KEPT_BYTES];
    RequestHead::default().encode(
        &mut bytes,
        About::NOTHING,
        &Command { value: &value, ..Command::new(Op::Set, b"k") },
    );
    let mut reader = FrameReader::new(Stage::Client, BodyLimits::DEFAULT);
    let count = bytes.chunks(10_000).map(|piece| usize::from(reader.frames(piece).next().is_some())).sum::<usize>();
    assert_eq!(count, 1);
    assert!(reader.remainder_capacity() <= REMAINDER_KEPT_BYTES);
}

#[test]
fn an_oversized_frame_is_refused_by_its_header() {
    let limits = BodyLimits { request_bytes_max: 1_000, ..BodyLimits::DEFAULT };
    let mut bytes = Vec::new();
    RequestHead::default().encode(&mut bytes, About::NOTHING, &Command::new(Op::Get, &[b'k'; 1_000]));
    let mut reader = FrameReader::new(Stage::Client, limits);
    let mut frames = reader.frames(&bytes[..HEADER_BYTES]);
    let error = frames.next().unwrap().unwrap_err();
    assert_eq!(error, DecodeError::TooLong { kind: Kind::Request, length: 1_056, limit: 1_000 });
    assert_eq!(error.to_string(), "a Request frame of 1056 bytes is longer than 1000");
}

#[test]
fn nothing_is_returned_after_an_error() {
    let mut bytes = Vec::new();
    StatusRequest { number: 1 }.encode(&mut bytes);
    let whole = bytes.clone();
    bytes[4] ^= 1;
    bytes.extend(&whole);
    let mut reader = FrameReader::new(Stage::Client, BodyLimits::DEFAULT);
    let mut frames = reader.frames(&bytes);
    assert!(matches!(frames.next(), Some(Err(DecodeError::Checksum { kind: Kind::Status, .. }))));
    assert!(frames.next().is_none());
    drop(frames);
    assert!(reader.frames(&whole).next().is_none());
    assert_eq!(reader.remainder_bytes(), 0);
}

#[test]
fn a_stage_can_change_between_two_frames_of_one_piece() {
    let mut bytes = Vec::new();
    Hello::client("prices", b"").encode(&mut bytes);
    StatusRequest { number: 3 }.encode(&mut bytes);
    let mut reader = FrameReader::new(Stage::Greeting, BodyLimits::DEFAULT);
    let mut frames = reader.frames(&bytes);
    assert!(matches!(frames.next(), Some(Ok(Frame { body: Body::Hello(_), .. }))));
    frames.enter(Stage::Client);
    assert!(matches!(frames.next(), Some(Ok(Frame { body: Body::Status(_), .. }))));
}

#[test]
fn nobody_may_request_an_expiry() {
    let mut bytes = Vec::new();
    RequestHead::default().encode(&mut bytes, About::NOTHING, &Command::new(Op::Expired, b"k"));
    let error = decode(&bytes, Stage::Client, &BodyLimits::DEFAULT).unwrap_err();
    assert_eq!(error, DecodeError::Internal { op: Op::Expired });
}

#[test]
fn texts_are_cut_at_a_character() {
    let text = "é".repeat(400);
    let mut bytes = Vec::new();
    Reject { code: RejectCode::Malformed, theirs: 0, ours: 0, text: &text }.encode(&mut bytes);
    let (frame, _) = decode(&bytes, Stage::Answering, &BodyLimits::DEFAULT).unwrap();
    let Body::Reject(reject) = frame.body else { panic!("a reject") };
    assert_eq!(reject.text.len(), 512);
}

#[test]
fn the_checksum_is_crc32c_over_all_behind_it() {
    let mut bytes = Vec::new();
    StatusRequest { number: 1 }.encode(&mut bytes);
    assert_eq!(bytes[4..8], crc32c::crc32c(&bytes[8..]).to_le_bytes());
}

fn append_sample(about: About, prev: EntryId, list: &[u8]) -> Vec<u8> {
    let append = Append {
        stream: StreamId::LIVE,
        prev,
        commit: LogIndex(0),
        sent: Instant(0),
        entries: &list[..list.len() / 2],
    };
    let mut bytes = Vec::new();
    encode_append_with(&mut bytes, about, &append, |out| out.extend_from_slice(&list[list.len() / 2..]));
    bytes
}

#[test]
fn entries_must_be_whole_and_right_although_the_frame_does_not_sum_them() {
    let about = About { group: GroupId(1), epoch: Epoch(1) };
    let list = entries(EntryId::START, &[b"first".to_vec(), b"second".to_vec()]);
    let bytes = append_sample(about, EntryId::START, &list);
    let (frame, _) = decode(&bytes, Stage::Peer, &BodyLimits::DEFAULT).unwrap();
    let Body::Message(Message::Append(append)) = frame.body else { panic!("an append") };
    assert_eq!(append.entries, list);

    let start = bytes.len() - list.len();
    for bit in start * 8..bytes.len() * 8 {
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        let outcome = decode(&flipped, Stage::Peer, &BodyLimits::DEFAULT);
        assert!(matches!(outcome, Err(DecodeError::Entry(_) | DecodeError::Order { .. })), "bit {bit}: {outcome:?}");
    }
    let cut = append_sample(about, EntryId::START, &list[..list.len() - 16]);
    let outcome = decode(&cut, Stage::Peer, &BodyLimits::DEFAULT);
    assert!(matches!(outcome, Err(DecodeError::Entry(EntryError::Truncated { .. }))), "{outcome:?}");
}

#[test]
fn entries_must_follow_one_another_and_none_is_from_the_future() {
    let id = |epoch, index| EntryId { epoch: Epoch(epoch), index: LogIndex(index) };
    let list = entries(id(3, 9), &[b"tenth".to_vec()]);
    for (prev, epoch, is_right) in [
        (id(3, 9), 3, true),
        (id(2, 9), 8, true),
        (id(3, 8), 3, false),
        (id(3, 1 << 62), 3, false),
        (id(4, 9), 4, false),
        (id(3, 9), 2, false),
        (EntryId::START, 3, false),
    ] {
        let about = About { group: GroupId(1), epoch: Epoch(epoch) };
        let outcome = decode(&append_sample(about, prev, &list), Stage::Peer, &BodyLimits::DEFAULT).map(|_| ());
        let found = id(3, 10);
        let expected = Err(DecodeError::Order { previous: prev, found, epoch: Epoch(epoch) });
        assert_eq!(outcome, if is_right { Ok(()) } else { expected });
    }
}

#[test]
fn a_key_in_another_slot_than_its_entry_is_refused() {
    let about = About { group: GroupId(1), epoch: Epoch(1) };
    let id = EntryId { epoch: Epoch(1), index: LogIndex(1) };
    let slot = slot_of(b"foo");
    let mut two_keys = Vec::new();
    for item in [b"foo", b"bar"] {
        push_item(&mut two_keys, item);
    }
    for (command, slot, is_right) in [
        (Command::new(Op::Set, b"foo"), slot, true),
        (Command::new(Op::Set, b"bar"), slot, false),
        (Command { value: &two_keys, ..Command::new(Op::Delete, b"") }, slot, false),
        (Command::new(Op::Flush, b""), slot, true),
    ] {
        let mut list = Vec::new();
        push_entry(&mut list, id, slot, &command);
        let bytes = append_sample(about, EntryId::START, &list);
        let outcome = decode(&bytes, Stage::Peer, &BodyLimits::DEFAULT).map(|_| ());
        let refusal =
            DecodeError::Field { kind: Kind::Append, field: "the slot of an entry", value: u64::from(slot.0) };
        assert_eq!(outcome, if is_right { Ok(()) } else { Err(refusal) }, "{command:?}");
    }
}

fn decoded(epoch: u64, message: &Message<'_>) -> Result<(), DecodeError> {
    let mut bytes = Vec::new();
    encode_message(&mut bytes, About { group: GroupId(1), epoch: Epoch(epoch) }, message);
    decode(&bytes, Stage::Peer, &BodyLimits::DEFAULT).map(|_| ())
}

#[test]
fn no_entry_is_named_that_was_born_after_what_is_said_about_it() {
    let id = |epoch, index| EntryId { epoch: Epoch(epoch), index: LogIndex(index) };
    let stream = StreamId(1);
    let chunk =
        |base, at| Message::Chunk(Chunk { stream, sequence: 0, is_last: true, base, at, time: LogTime(1), body: &[] });
    let sealed = |tail| Message::Sealed(Sealed { tail, commit: LogIndex(1), grant_left: Duration::ZERO });
    assert_eq!(decoded(7, &chunk(id(6, 9), id(7, 10))), Ok(()));
    assert_eq!(decoded(7, &sealed(id(7, 10))), Ok(()));
    for (kind, message) in [
        (Kind::Chunk, chunk(id(8, 9), id(7, 10))),
        (Kind::Chunk, chunk(id(7, 9), id(8, 10))),
        (Kind::Sealed, sealed(id(8, 10))),
    ] {
        let refusal = DecodeError::Field { kind, field: "the epoch of an entry", value: 8 };
        assert_eq!(decoded(7, &message), Err(refusal), "{message:?}");
    }
    // Nor does the state of a snapshot lie before its base.
    assert!(decoded(7, &chunk(id(7, 9), id(6, 10))).is_err());
}

#[test]
fn a_lease_that_nobody_can_have_granted_is_refused() {
    let sealed = |grant_left| Message::Sealed(Sealed { tail: EntryId::START, commit: LogIndex(0), grant_left });
    assert_eq!(decoded(7, &sealed(READ_LEASE_MAX)), Ok(()));
    let outcome = decoded(7, &sealed(READ_LEASE_MAX + Duration::from_nanos(1)));
    assert!(matches!(outcome, Err(DecodeError::Field { kind: Kind::Sealed, .. })), "{outcome:?}");
}

#[test]
fn numbers_near_their_end_are_refused() {
    let state = Note { applied: LogIndex(1), digest: u64::MAX };
    let ack = Ack { stream: StreamId::LIVE, matched: LogIndex(u64::MAX), sent: Instant(u64::MAX), state };
    let ack = Message::Ack(ack);
    for (about, message) in [
        (About::default(), ack),
        (
            About { epoch: Epoch(u64::MAX), ..About::default() },
            Message::ChunkAck(ChunkAck { stream: StreamId(1), progress: ChunkProgress::Broken }),
        ),
    ] {
        let mut bytes = Vec::new();
        encode_message(&mut bytes, about, &message);
        let outcome = decode(&bytes, Stage::Peer, &BodyLimits::DEFAULT);
        assert!(matches!(outcome, Err(DecodeError::Field { value: u64::MAX, .. })), "{outcome:?}");
    }
}
