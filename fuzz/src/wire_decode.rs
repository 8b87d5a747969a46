//! Frames of the native protocol out of any bytes.
//!
//! The first byte chooses the stage of the connection and, by its highest bit, whether checksums stay as they are: mostly
//! they are made right first, so that what lies behind them is reached. The second is the size of the pieces. Checked for
//! all other bytes, as a stream:
//! 1. The frames found, and whether the stream is refused, do not depend on how it was cut into pieces.
//! 2. Each frame is canonical: written again it gives the bytes it was read from.
//! 3. Decoding one frame says the same as reading a stream.

use quorate::wire::{BodyLimits, DecodeError, FrameReader, HEADER_BYTES, MAGIC, Stage, WIRE_VERSION, decode};

/// Runs all checks.
///
/// # Panics
/// If a check fails.
pub fn check(data: &[u8]) {
    let [choice, piece, stream @ ..] = data else { return };
    let mut stream = stream[..stream.len().min(STREAM_BYTES_MAX)].to_vec();
    let stage = STAGES[usize::from(*choice & 0x7F) % STAGES.len()];
    if choice & 0x80 == 0 {
        repair(&mut stream);
    }
    let whole = run(&stream, stage, stream.len().max(1));
    assert_eq!(whole, run(&stream, stage, usize::from(*piece) + 1), "cut into pieces of {}", usize::from(*piece) + 1);
    assert_eq!(whole, run(&stream, stage, 1), "cut into single bytes");

    let mut rest = &stream[..];
    for frame in &whole.frames {
        let (decoded, taken) = decode(rest, stage, &LIMITS).expect("the reader took it");
        let mut again = Vec::new();
        decoded.encode(&mut again);
        assert_eq!(again, rest[..taken], "a frame has two encodings");
        assert_eq!(&again, frame);
        rest = &rest[taken..];
    }
    match decode(rest, stage, &LIMITS) {
        Ok(_) => panic!("the reader left a whole frame behind"),
        Err(DecodeError::Truncated { .. }) => assert!(!whole.is_refused, "refused, and merely not whole"),
        Err(_) => assert!(whole.is_refused, "not refused by the reader"),
    }
}

/// What a reader made of a stream.
#[derive(Debug, PartialEq, Eq)]
struct Outcome {
    /// The frames, written again.
    frames: Vec<Vec<u8>>,
    is_refused: bool,
}

fn run(stream: &[u8], stage: Stage, piece: usize) -> Outcome {
    let mut reader = FrameReader::new(stage, LIMITS);
    let mut outcome = Outcome { frames: Vec::new(), is_refused: false };
    for piece in stream.chunks(piece) {
        let mut frames = reader.frames(piece);
        while let Some(frame) = frames.next() {
            match frame {
                Ok(frame) => {
                    let mut bytes = Vec::new();
                    frame.encode(&mut bytes);
                    outcome.frames.push(bytes);
                }
                Err(_) => outcome.is_refused = true,
            }
        }
        drop(frames);
        assert!(reader.remainder_bytes() <= HEADER_BYTES + LIMIT_BYTES as usize, "the remainder is bounded");
    }
    outcome
}

/// Makes magic, version and checksums of all frames in a stream right, as far as they are whole.
fn repair(mut rest: &mut [u8]) {
    while rest.len() >= HEADER_BYTES {
        rest[..4].copy_from_slice(&MAGIC.to_le_bytes());
        rest[8..10].copy_from_slice(&WIRE_VERSION.to_le_bytes());
        let end = HEADER_BYTES.saturating_add(number(rest, LENGTH_AT));
        if end > rest.len() {
            return;
        }
        let (frame, behind) = rest.split_at_mut(end);
        let is_append = frame[KIND_AT..KIND_AT + 2] == APPEND;
        let entries = if is_append { end.min(HEADER_BYTES + APPEND_HEAD_BYTES) } else { end };
        let crc = crc32c::crc32c(&frame[COVERED_AT..entries]);
        frame[CRC_AT..COVERED_AT].copy_from_slice(&crc.to_le_bytes());
        repair_entries(&mut frame[entries..]);
        rest = behind;
    }
}

fn repair_entries(mut rest: &mut [u8]) {
    while rest.len() >= ENTRY_HEADER_BYTES {
        let body_end = ENTRY_HEADER_BYTES.saturating_add(number(rest, 4));
        let end = body_end.next_multiple_of(ENTRY_ALIGN);
        if end > rest.len() {
            return;
        }
        let crc = crc32c::crc32c(&rest[4..body_end]);
        rest[..4].copy_from_slice(&crc.to_le_bytes());
        rest = &mut rest[end..];
    }
}

fn number(bytes: &[u8], at: usize) -> usize {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]) as usize
}

const STAGES: [Stage; 6] = [Stage::Greeting, Stage::Answering, Stage::Client, Stage::Server, Stage::Peer, Stage::Core];
const STREAM_BYTES_MAX: usize = 64 << 10;
const LIMIT_BYTES: u32 = 16 << 10;
const LIMITS: BodyLimits =
    BodyLimits { request_bytes_max: LIMIT_BYTES, reply_bytes_max: LIMIT_BYTES, peer_bytes_max: LIMIT_BYTES };

/// Parts of the layout that a sender must know; said again here, so that a change of either side is noticed.
const APPEND: [u8; 2] = [16, 0];
const APPEND_HEAD_BYTES: usize = 40;
const CRC_AT: usize = 4;
const COVERED_AT: usize = 8;
const KIND_AT: usize = 10;
const LENGTH_AT: usize = 12;
const ENTRY_HEADER_BYTES: usize = 40;
const ENTRY_ALIGN: usize = 16;
