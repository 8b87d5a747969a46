//! HTTP/2 as far as a gRPC client with small messages needs it: one connection, a stream for each request.
//!
//! The header table is switched off with the first SETTINGS, so that header blocks carry no state: requests use one fixed
//! block, and of a response only `grpc-status` is looked for. Windows for receiving are opened wide; windows for sending
//! are kept, and a request that does not fit waits.
//!
//! # Bounds
//! Streams number up to 2³⁰ on one connection, then sending is refused. A frame is at most 16 KiB, as agreed by default.
//!
//! # Source
//! RFC 9113 (frames, flow control), RFC 7541 (header fields), the gRPC over HTTP/2 description.

use anyhow::{Context, Result};

use crate::connection::{Address, Connection};
use crate::load::DriverError;

/// A client connection.
pub(crate) struct Http2 {
    connection: Connection,
    /// The header block of every request.
    headers: Vec<u8>,
    /// The length of the last frame handed out, not yet consumed.
    handed_out: usize,
    next_stream: u64,
    /// Bytes that may be sent on the whole connection; falls below 0 never.
    send_window: u64,
    /// Bytes that may be sent on a new stream.
    stream_window: u64,
    streams_max: u64,
    streams_open: u64,
    /// Bytes received since the window was opened last.
    received_bytes: u64,
}

/// What came for a stream; streams are numbered from 0 in the order of their requests.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Event<'a> {
    /// A part of the body.
    Data { bytes: &'a [u8] },
    /// The response is complete. No status: the stream was reset or broke the protocol of gRPC.
    End { stream: u64, grpc_status: Option<u8> },
}

impl Http2 {
    /// Connects and queues preface and settings. Every request calls the method at `path`.
    pub(crate) fn connect(address: &Address, path: &str) -> Result<Self> {
        let mut connection = Connection::connect(address).with_context(|| format!("cannot connect to {address}"))?;
        connection.queue(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
        let mut settings = Vec::new();
        for (id, value) in [(SETTING_TABLE_SIZE, 0_u32), (SETTING_PUSH, 0), (SETTING_STREAM_WINDOW, WINDOW_MAX)] {
            settings.extend_from_slice(&id.to_be_bytes());
            settings.extend_from_slice(&value.to_be_bytes());
        }
        queue_frame(&mut connection, Head { kind: SETTINGS, flags: 0, stream: 0 }, &settings);
        open_window(&mut connection);
        Ok(Self {
            connection,
            headers: header_block(path),
            handed_out: 0,
            next_stream: 0,
            send_window: WINDOW_DEFAULT,
            stream_window: WINDOW_DEFAULT,
            streams_max: u64::from(u32::MAX),
            streams_open: 0,
            received_bytes: 0,
        })
    }

    /// Queues a gRPC request with one message and returns the number of its stream; none if a window is full.
    pub(crate) fn try_request(&mut self, message: &[u8]) -> Result<Option<u64>, DriverError> {
        let len = message.len() as u64;
        if len > self.send_window || self.streams_open >= self.streams_max || !self.connection.has_room() {
            return Ok(None);
        }
        let stream = u32::try_from(self.next_stream * 2 + 1).ok().filter(|stream| *stream <= WINDOW_MAX);
        let (Some(stream), true) = (stream, len <= self.stream_window) else {
            return Err(DriverError::Malformed { protocol: PROTOCOL, what: "request beyond the stream's limits" });
        };
        queue_frame(&mut self.connection, Head { kind: HEADERS, flags: END_HEADERS, stream }, &self.headers);
        let mut parts = message.chunks(FRAME_BYTES_MAX).peekable();
        while let Some(part) = parts.next() {
            let flags = if parts.peek().is_none() { END_STREAM } else { 0 };
            queue_frame(&mut self.connection, Head { kind: DATA, flags, stream }, part);
        }
        self.send_window -= len;
        self.streams_open += 1;
        self.next_stream += 1;
        Ok(Some(self.next_stream - 1))
    }

    /// Writes what is queued and reads what is there.
    pub(crate) fn poll(&mut self) -> Result<(), DriverError> {
        self.connection.flush()?;
        self.connection.fill()?;
        Ok(())
    }

    /// Returns the next event that was received; what concerns the connection itself is dealt with here.
    pub(crate) fn next_event(&mut self) -> Result<Option<Event<'_>>, DriverError> {
        loop {
            self.connection.consume(std::mem::take(&mut self.handed_out));
            let Some((head, len)) = parse_head(self.connection.received())? else { return Ok(None) };
            let whole = HEAD_BYTES + len;
            if self.connection.received().len() < whole {
                return Ok(None);
            }
            self.handed_out = whole;
            if let Some(found) = self.on_frame(head, len)? {
                // The bytes of the frame stay in the inbox until the next call.
                return Ok(Some(match found {
                    Found::Data { start, end } => Event::Data { bytes: &self.connection.received()[start..end] },
                    Found::End { stream, grpc_status } => Event::End { stream, grpc_status },
                }));
            }
        }
    }

    fn on_frame(&mut self, head: Head, len: usize) -> Result<Option<Found>, DriverError> {
        let payload = &self.connection.received()[HEAD_BYTES..HEAD_BYTES + len];
        match head.kind {
            DATA => {
                self.received_bytes += len as u64;
                if self.received_bytes > u64::from(WINDOW_STEP) / 2 {
                    self.received_bytes = 0;
                    open_window(&mut self.connection);
                }
                Ok(Some(Found::Data { start: HEAD_BYTES, end: HEAD_BYTES + len }))
            }
            HEADERS if head.flags & END_STREAM != 0 => {
                if head.flags & END_HEADERS == 0 || head.flags & (PADDED | PRIORITY) != 0 {
                    return Err(DriverError::Malformed { protocol: PROTOCOL, what: "header block in parts" });
                }
                let grpc_status = grpc_status(payload)?;
                self.end(head.stream, grpc_status).map(Some)
            }
            RST_STREAM => self.end(head.stream, None).map(Some),
            SETTINGS => {
                if head.flags & ACK == 0 {
                    let settings = payload.to_vec();
                    self.on_settings(&settings);
                }
                Ok(None)
            }
            PING if head.flags & ACK == 0 => {
                let opaque = payload.to_vec();
                queue_frame(&mut self.connection, Head { kind: PING, flags: ACK, stream: 0 }, &opaque);
                Ok(None)
            }
            WINDOW_UPDATE if head.stream == 0 => {
                let step = payload.first_chunk().map_or(0, |bytes| u32::from_be_bytes(*bytes) & WINDOW_MAX);
                self.send_window += u64::from(step);
                Ok(None)
            }
            GO_AWAY => Err(DriverError::Closed),
            // Response headers before the body, windows of single streams, and kinds we do not know.
            _ => Ok(None),
        }
    }

    fn on_settings(&mut self, payload: &[u8]) {
        for setting in payload.chunks_exact(6) {
            let id = u16::from_be_bytes([setting[0], setting[1]]);
            let value = u32::from_be_bytes([setting[2], setting[3], setting[4], setting[5]]);
            match id {
                SETTING_STREAM_WINDOW => self.stream_window = u64::from(value),
                SETTING_STREAMS_MAX => self.streams_max = u64::from(value),
                _ => {}
            }
        }
        queue_frame(&mut self.connection, Head { kind: SETTINGS, flags: ACK, stream: 0 }, &[]);
    }

    fn end(&mut self, stream: u32, grpc_status: Option<u8>) -> Result<Found, DriverError> {
        let number = u64::from(stream / 2);
        if stream.is_multiple_of(2) || number >= self.next_stream || self.streams_open == 0 {
            return Err(DriverError::Malformed { protocol: PROTOCOL, what: "end of a stream that is not open" });
        }
        self.streams_open -= 1;
        Ok(Found::End { stream: number, grpc_status })
    }
}

/// An event whose bytes are named by their place in the inbox.
enum Found {
    Data { start: usize, end: usize },
    End { stream: u64, grpc_status: Option<u8> },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Head {
    kind: u8,
    flags: u8,
    stream: u32,
}

fn parse_head(bytes: &[u8]) -> Result<Option<(Head, usize)>, DriverError> {
    let Some(&[a, b, c, kind, flags, d, e, f, g]) = bytes.first_chunk::<HEAD_BYTES>() else { return Ok(None) };
    let len = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
    if len > FRAME_BYTES_MAX {
        return Err(DriverError::Malformed { protocol: PROTOCOL, what: "frame longer than agreed" });
    }
    let stream = u32::from_be_bytes([d, e, f, g]) & WINDOW_MAX;
    Ok(Some((Head { kind, flags, stream }, len)))
}

fn queue_frame(connection: &mut Connection, head: Head, payload: &[u8]) {
    let len = u32::try_from(payload.len()).expect("frames are at most FRAME_BYTES_MAX").to_be_bytes();
    let stream = head.stream.to_be_bytes();
    connection.queue(&[len[1], len[2], len[3], head.kind, head.flags, stream[0], stream[1], stream[2], stream[3]]);
    connection.queue(payload);
}

fn open_window(connection: &mut Connection) {
    queue_frame(connection, Head { kind: WINDOW_UPDATE, flags: 0, stream: 0 }, &WINDOW_STEP.to_be_bytes());
}

/// The fields of a gRPC request: static ones by index, the rest as literals that are not indexed.
fn header_block(path: &str) -> Vec<u8> {
    // :method POST, :scheme http
    let mut block = vec![0x83, 0x86];
    for (name, value) in [(&[0x04_u8][..], path), (&[0x01], "localhost"), (&[0x0F, 0x10], "application/grpc")] {
        block.extend_from_slice(name);
        push_text(&mut block, value);
    }
    block.push(0x00);
    push_text(&mut block, "te");
    push_text(&mut block, "trailers");
    block
}

fn push_text(block: &mut Vec<u8>, text: &str) {
    block.push(u8::try_from(text.len()).ok().filter(|len| *len < 0x7F).expect("the texts above are short"));
    block.extend_from_slice(text.as_bytes());
}

/// Returns the value of `grpc-status` in a header block without state, if it is there.
fn grpc_status(mut block: &[u8]) -> Result<Option<u8>, DriverError> {
    const MALFORMED: DriverError = DriverError::Malformed { protocol: PROTOCOL, what: "header block" };
    while let Some(first) = block.first().copied() {
        if first & 0x80 != 0 {
            // Indexed: only the static table is there.
            take_number(&mut block, 7).filter(|index| (1..=61).contains(index)).ok_or(MALFORMED)?;
            continue;
        }
        if first & 0xE0 == 0x20 {
            // The table's new size, which can only be 0.
            take_number(&mut block, 5).filter(|size| *size == 0).ok_or(MALFORMED)?;
            continue;
        }
        let prefix = if first & 0x40 != 0 { 6 } else { 4 };
        let index = take_number(&mut block, prefix).ok_or(MALFORMED)?;
        let named = if index == 0 { take_text(&mut block).ok_or(MALFORMED)? } else { (false, &[][..]) };
        let value = take_text(&mut block).ok_or(MALFORMED)?;
        if named == (false, &b"grpc-status"[..]) || named == (true, &GRPC_STATUS_HUFFMAN[..]) {
            return Ok(match value {
                (false, digits) => std::str::from_utf8(digits).ok().and_then(|digits| digits.parse().ok()),
                // 0 is five zero bits, padded with ones; no other status is read in this form.
                (true, coded) => (coded == [0x07]).then_some(0),
            });
        }
    }
    Ok(None)
}

/// An integer with a prefix of `bits` in its first byte.  Source: RFC 7541, 5.1.
fn take_number(block: &mut &[u8], bits: u32) -> Option<usize> {
    let limit = (1_usize << bits) - 1;
    let mut value = usize::from(*block.split_off_first()?) & limit;
    if value < limit {
        return Some(value);
    }
    for shift in [0, 7, 14] {
        let byte = *block.split_off_first()?;
        value += usize::from(byte & 0x7F) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

/// A string, and whether it is Huffman coded.
fn take_text<'a>(block: &mut &'a [u8]) -> Option<(bool, &'a [u8])> {
    let huffman = block.first()? & 0x80 != 0;
    let len = take_number(block, 7)?;
    Some((huffman, block.split_off(..len)?))
}

const PROTOCOL: &str = "HTTP/2";
const HEAD_BYTES: usize = 9;
const FRAME_BYTES_MAX: usize = 16 << 10;
/// Largest window and largest stream number.
const WINDOW_MAX: u32 = 0x7FFF_FFFF;
const WINDOW_DEFAULT: u64 = 65_535;
/// By how much the window for receiving is opened each time; opened again when half of it is used.
const WINDOW_STEP: u32 = 1 << 29;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GO_AWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;

const ACK: u8 = 0x1;
const END_STREAM: u8 = 0x1;
const END_HEADERS: u8 = 0x4;
const PADDED: u8 = 0x8;
const PRIORITY: u8 = 0x20;

const SETTING_TABLE_SIZE: u16 = 1;
const SETTING_PUSH: u16 = 2;
const SETTING_STREAMS_MAX: u16 = 3;
const SETTING_STREAM_WINDOW: u16 = 4;

/// `grpc-status` in the Huffman code of RFC 7541, appendix B: g 100110, r 101100, p 101011, c 00100, - 010110,
/// s 01000, t 01001, a 00011, t, u 101101, s; then ones up to the byte's end.
const GRPC_STATUS_HUFFMAN: [u8; 8] = pack(&[
    (0b10_0110, 6),
    (0b10_1100, 6),
    (0b10_1011, 6),
    (0b0_0100, 5),
    (0b01_0110, 6),
    (0b0_1000, 5),
    (0b0_1001, 5),
    (0b0_0011, 5),
    (0b0_1001, 5),
    (0b10_1101, 6),
    (0b0_1000, 5),
]);

/// Packs codes from the highest bit on and fills the rest of the last byte with ones.
const fn pack(codes: &[(u64, u32)]) -> [u8; 8] {
    let mut word = 0_u64;
    let mut used = 0;
    let mut index = 0;
    while index < codes.len() {
        let (code, bits) = codes[index];
        word = word << bits | code;
        used += bits;
        index += 1;
    }
    assert!(used > 56 && used <= 64, "the packed text takes eight bytes");
    let padding = 64 - used;
    (word << padding | ((1 << padding) - 1)).to_be_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_is_found_in_plain_and_coded_trailers() {
        let mut plain = vec![0x20, 0x88, 0x00];
        push_text(&mut plain, "grpc-status");
        push_text(&mut plain, "14");
        assert_eq!(grpc_status(&plain).unwrap(), Some(14));

        let mut coded = vec![0x40, 0x80 | 8];
        coded.extend_from_slice(&GRPC_STATUS_HUFFMAN);
        coded.extend_from_slice(&[1, b'0']);
        assert_eq!(grpc_status(&coded).unwrap(), Some(0));

        assert_eq!(grpc_status(&header_block("/x")).unwrap(), None);
    }

    #[test]
    fn truncated_or_indexed_header_block_is_malformed() {
        let block = header_block("/some/path");
        for len in 3..block.len() {
            // A cut between two fields reads as a shorter block.
            assert!(matches!(grpc_status(&block[..len]), Ok(None) | Err(DriverError::Malformed { .. })));
        }
        // The first entry of a dynamic table that was never agreed on.
        assert!(grpc_status(&[0xBE]).is_err());
        assert!(grpc_status(&[0x00, 0x05, b'a']).is_err());
        assert!(grpc_status(&[0xFF, 0xFF, 0xFF, 0xFF, 0xFF]).is_err());
    }

    #[test]
    fn numbers_take_as_many_bytes_as_they_need() {
        // The examples of RFC 7541, appendix C.1.
        assert_eq!(take_number(&mut &[0b0000_1010][..], 5), Some(10));
        assert_eq!(take_number(&mut &[0b0001_1111, 0b1001_1010, 0b0000_1010][..], 5), Some(1337));
        assert_eq!(take_number(&mut &[0b0001_1111, 0x80][..], 5), None);
    }

    #[test]
    fn frame_heads_read_back() {
        let bytes = [0, 1, 2, HEADERS, END_HEADERS, 0x80, 0, 0, 5];
        let head = Head { kind: HEADERS, flags: END_HEADERS, stream: 5 };
        assert_eq!(parse_head(&bytes).unwrap(), Some((head, 258)));
        assert_eq!(parse_head(&bytes[..8]).unwrap(), None);
        assert!(parse_head(&[1, 0, 0, 0, 0, 0, 0, 0, 0]).is_err());
    }
}
