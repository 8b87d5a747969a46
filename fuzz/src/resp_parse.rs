//! The RESP parser against another implementation, and against itself in other pieces.
//!
//! Checked for any bytes:
//! 1. The requests found do not depend on how the bytes were cut into pieces.
//! 2. What our parser accepts as an array, the `redis-protocol` crate decodes to the same strings and the same length.
//! 3. What we refuse, it refuses too, except where we are stricter on purpose: anything but strings in the array, more than one
//!    spelling of a length, a terminator that is not CR LF, and our limits. All four mean that the frame, written again in the one
//!    canonical way, is not what was sent, or is too large.
//! 4. Before authentication the same requests are found, up to the first that is too large for a stranger.
//! 5. Every accepted request, written as an array, parses to itself; looking it up never panics; its rejection is one line.

use quorate::resp::{Args, Encoder, Limits, Parsed, Parser, Protocol, ReplyBuffer, Trust, table};
use redis_protocol::resp2::{decode::decode, types::OwnedFrame};

/// Runs all checks. The first byte chooses the size of the pieces.
///
/// # Panics
/// If a check fails.
pub fn check(data: &[u8]) {
    let Some((&piece, stream)) = data.split_first() else { return };
    let stream = &stream[..stream.len().min(STREAM_BYTES_MAX)];
    let whole = run(stream, stream.len().max(1), Trust::Authenticated);
    let piece = usize::from(piece) + 1;
    assert_eq!(whole, run(stream, piece, Trust::Authenticated), "cut into pieces of {piece}");
    assert_eq!(whole, run(stream, 1, Trust::Authenticated), "cut into single bytes");

    let strict = run(stream, piece, Trust::Unauthenticated);
    let is_cut_short = strict.len() <= whole.len() && matches!(strict.last(), Some(Event::Error { .. }));
    let same = if is_cut_short { strict.len() - 1 } else { whole.len() };
    assert_eq!(strict[..same], whole[..same], "found before authentication");

    let mut at = 0;
    for event in &whole {
        compare(&stream[at..], event);
        at += event.consumed();
    }
}

/// What the parser said about one request.
#[derive(Debug, PartialEq, Eq)]
enum Event {
    Request { consumed: usize, args: Vec<Vec<u8>> },
    Refused { consumed: usize },
    Error { is_limit: bool },
}

impl Event {
    fn consumed(&self) -> usize {
        match self {
            Self::Request { consumed, .. } | Self::Refused { consumed } => *consumed,
            Self::Error { .. } => 0,
        }
    }
}

/// Feeds the stream in pieces, as a connection does; returns what came out until an error or the end.
fn run(stream: &[u8], piece: usize, trust: Trust) -> Vec<Event> {
    let mut parser = Parser::new(LIMITS);
    let mut events = Vec::new();
    let (mut start, mut dropped) = (0, 0);
    for end in (0..stream.len()).step_by(piece).map(|end| (end + piece).min(stream.len())) {
        loop {
            let bytes = &stream[start..end];
            match parser.parse(bytes, trust) {
                Parsed::Incomplete { consumed, wanted } => {
                    assert!(wanted > 0);
                    start += consumed;
                    dropped += consumed;
                    break;
                }
                Parsed::Complete { consumed } => {
                    let args = parser.args(bytes);
                    check_request(args);
                    let args = args.iter().map(<[u8]>::to_vec).collect();
                    start += consumed;
                    events.push(Event::Request { consumed, args });
                }
                Parsed::Refused { consumed, .. } => {
                    start += consumed;
                    events.push(Event::Refused { consumed: dropped + consumed });
                    dropped = 0;
                }
                Parsed::Error(error) => {
                    let is_limit = error.to_string().contains("at most");
                    events.push(Event::Error { is_limit });
                    return events;
                }
            }
        }
    }
    events
}

/// Check 5.
fn check_request(args: Args<'_>) {
    if args.is_empty() {
        return;
    }
    let encoded = encode(args.iter());
    let mut parser = Parser::new(Limits::default());
    assert_eq!(parser.parse(&encoded, Trust::Authenticated), Parsed::Complete { consumed: encoded.len() });
    assert!(parser.args(&encoded).iter().eq(args.iter()));
    match table::resolve(args) {
        Ok(spec) => spec.keys(args).for_each(|(index, key)| assert_eq!(&args[index], key)),
        Err(reject) => {
            let mut reply = Vec::new();
            reject.write(args, &mut Encoder::new(&mut reply, Protocol::V2));
            let breaks = reply.iter().filter(|byte| matches!(byte, b'\r' | b'\n')).count();
            assert!(reject.closes() || (breaks == 2 && reply.ends_with(b"\r\n")));
        }
    }
}

/// Checks 2 and 3, for a stream that starts where `event` started.
fn compare(stream: &[u8], event: &Event) {
    if stream.first() != Some(&b'*') {
        return;
    }
    let theirs = decode(stream);
    match event {
        Event::Request { args, .. } if args.is_empty() => {}
        Event::Request { consumed, args } => {
            let strings = args.iter().cloned().map(OwnedFrame::BulkString).collect();
            let (frame, length) = theirs.expect("we accept it").expect("for us it is complete");
            assert_eq!((frame, length), (OwnedFrame::Array(strings), *consumed));
        }
        Event::Refused { .. } | Event::Error { is_limit: true } => {}
        Event::Error { is_limit: false } => {
            if let Ok(Some((OwnedFrame::Array(frames), length))) = theirs {
                let strings: Option<Vec<&[u8]>> = frames.iter().map(string_of).collect();
                let is_canonical = strings.is_some_and(|strings| encode(strings.into_iter()) == stream[..length]);
                assert!(!is_canonical, "we refuse {}", stream[..length].escape_ascii());
            }
        }
    }
}

fn string_of(frame: &OwnedFrame) -> Option<&[u8]> {
    match frame {
        OwnedFrame::BulkString(string) => Some(string),
        _ => None,
    }
}

/// Writes an array of strings in the one canonical way.
fn encode<'a>(args: impl ExactSizeIterator<Item = &'a [u8]>) -> Vec<u8> {
    let mut out = Vec::new();
    let mut encoder = Encoder::new(&mut out as &mut dyn ReplyBuffer, Protocol::V2);
    encoder.array(args.len());
    args.for_each(|argument| encoder.bulk(argument));
    out
}

/// Small, so that a fuzzer meets them.
const LIMITS: Limits = Limits { args_max: 16, bulk_bytes_max: 64, request_bytes_max: 256, inline_bytes_max: 128 };

/// The other decoder descends into nested arrays; this keeps it within its stack.
const STREAM_BYTES_MAX: usize = 4096;
