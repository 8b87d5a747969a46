//! Writes replies, in the protocol version the connection has chosen.
//!
//! One [`Encoder`] is made for a turn's replies to one connection; it knows the version and the place to write to, so
//! no command has to ask which of the two it answers in. What only RESP3 has (maps, sets, booleans, doubles, pushes) becomes
//! what RESP2 clients have always been given for it.
//!
//! An error or a simple string cannot hold a line break: whatever text they are given, the reply stays one line.
//!
//! # Bounds
//! Nothing is buffered here and nothing is allocated; a reply takes as much of the [`ReplyBuffer`] as it is long.
//!
//! # Source
//! The RESP3 specification; for RESP2 equivalents, what Redis 7.2 answers.

use std::fmt;

/// Where replies go: the send buffer of a connection, or a `Vec<u8>`.
pub trait ReplyBuffer {
    /// Appends `bytes`.
    fn extend_from_slice(&mut self, bytes: &[u8]);
}

impl ReplyBuffer for Vec<u8> {
    fn extend_from_slice(&mut self, bytes: &[u8]) {
        Vec::extend_from_slice(self, bytes);
    }
}

/// The version of the protocol that a connection speaks; 2 until it says `HELLO 3`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Protocol {
    /// RESP2.
    #[default]
    V2,
    /// RESP3.
    V3,
}

impl Protocol {
    /// The number that `HELLO` takes and gives.
    #[must_use]
    pub fn number(self) -> i64 {
        match self {
            Self::V2 => 2,
            Self::V3 => 3,
        }
    }
}

/// Writes replies to `out`.
///
/// ```
/// use quorate::resp::{Encoder, Protocol};
///
/// let mut out = Vec::new();
/// let mut encoder = Encoder::new(&mut out, Protocol::V3);
/// encoder.map(1);
/// encoder.bulk(b"proto");
/// encoder.integer(3);
/// assert_eq!(out, b"%1\r\n$5\r\nproto\r\n:3\r\n");
/// ```
pub struct Encoder<'a, B: ?Sized> {
    out: &'a mut B,
    protocol: Protocol,
}

impl<'a, B: ReplyBuffer + ?Sized> Encoder<'a, B> {
    /// Makes an encoder that appends to `out`.
    pub fn new(out: &'a mut B, protocol: Protocol) -> Self {
        Self { out, protocol }
    }

    /// The version this encoder writes.
    #[must_use]
    pub fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// Changes the version from the next reply on, for `HELLO` and `RESET`.
    pub fn set_protocol(&mut self, protocol: Protocol) {
        self.protocol = protocol;
    }

    /// `+OK`.
    pub fn ok(&mut self) {
        self.out.extend_from_slice(b"+OK\r\n");
    }

    /// A simple string. Line breaks in `text` become spaces.
    pub fn simple(&mut self, text: &str) {
        self.out.extend_from_slice(b"+");
        self.line(text.as_bytes());
        self.out.extend_from_slice(b"\r\n");
    }

    /// A simple string in two parts.
    pub fn simple_parts(&mut self, first: &str, second: &str) {
        self.out.extend_from_slice(b"+");
        self.line(first.as_bytes());
        self.line(second.as_bytes());
        self.out.extend_from_slice(b"\r\n");
    }

    /// An error. `text` starts with its upper-case code (`ERR ..`); line breaks become spaces.
    pub fn error(&mut self, text: &str) {
        self.out.extend_from_slice(b"-");
        self.line(text.as_bytes());
        self.out.extend_from_slice(b"\r\n");
    }

    /// An error from its parts, without a `String` between: `encoder.error_args(format_args!("ERR value of {n} bytes"))`.
    pub fn error_args(&mut self, text: fmt::Arguments<'_>) {
        self.out.extend_from_slice(b"-");
        // `Line` itself never fails, and neither does any `Display` of ours: nothing to report.
        let _ = fmt::Write::write_fmt(&mut Line(self), text);
        self.out.extend_from_slice(b"\r\n");
    }

    /// An error whose text may hold a client's own bytes, which need not be UTF-8.
    pub fn error_bytes(&mut self, parts: &[&[u8]]) {
        self.out.extend_from_slice(b"-");
        for part in parts {
            self.line(part);
        }
        self.out.extend_from_slice(b"\r\n");
    }

    /// An integer.
    pub fn integer(&mut self, value: i64) {
        self.header(b':', value);
    }

    /// A tally or length as an integer; what does not fit is given as the largest.
    pub fn count(&mut self, value: u64) {
        self.integer(i64::try_from(value).unwrap_or(i64::MAX));
    }

    /// A bulk string.
    pub fn bulk(&mut self, value: &[u8]) {
        self.length(b'$', value.len());
        self.out.extend_from_slice(value);
        self.out.extend_from_slice(b"\r\n");
    }

    /// A bulk string of text.
    pub fn text(&mut self, value: &str) {
        self.bulk(value.as_bytes());
    }

    /// A bulk string that holds the decimal number.
    pub fn bulk_integer(&mut self, value: i64) {
        let mut digits = [0; HEADER_BYTES_MAX];
        let start = write_digits(&mut digits, value);
        self.bulk(&digits[start..]);
    }

    /// Null in place of a string.
    pub fn null(&mut self) {
        self.out.extend_from_slice(match self.protocol {
            Protocol::V2 => b"$-1\r\n",
            Protocol::V3 => b"_\r\n",
        });
    }

    /// Null in place of an array.
    pub fn null_array(&mut self) {
        self.out.extend_from_slice(match self.protocol {
            Protocol::V2 => b"*-1\r\n",
            Protocol::V3 => b"_\r\n",
        });
    }

    /// The head of an array; `len` replies follow.
    pub fn array(&mut self, len: usize) {
        self.length(b'*', len);
    }

    /// The head of a map; `len` pairs of replies follow. RESP2: an array of twice the length.
    pub fn map(&mut self, len: usize) {
        match self.protocol {
            Protocol::V2 => self.length(b'*', len * 2),
            Protocol::V3 => self.length(b'%', len),
        }
    }

    /// The head of a set; `len` replies follow. RESP2: an array.
    pub fn set(&mut self, len: usize) {
        match self.protocol {
            Protocol::V2 => self.length(b'*', len),
            Protocol::V3 => self.length(b'~', len),
        }
    }

    /// The head of a push, which answers no request; `len` replies follow. RESP2: an array.
    pub fn push(&mut self, len: usize) {
        match self.protocol {
            Protocol::V2 => self.length(b'*', len),
            Protocol::V3 => self.length(b'>', len),
        }
    }

    /// The head of an attribute, `len` pairs that go before a reply. RESP2 has none: returns `false`, nothing is written
    /// and the pairs must not follow.
    #[must_use = "the pairs follow only if the head was written"]
    pub fn attribute(&mut self, len: usize) -> bool {
        match self.protocol {
            Protocol::V2 => false,
            Protocol::V3 => {
                self.length(b'|', len);
                true
            }
        }
    }

    /// A boolean. RESP2: 1 or 0.
    pub fn boolean(&mut self, value: bool) {
        match self.protocol {
            Protocol::V2 => self.integer(i64::from(value)),
            Protocol::V3 => self.out.extend_from_slice(if value { b"#t\r\n" } else { b"#f\r\n" }),
        }
    }

    /// A double. RESP2: a bulk string. Written so that it reads back as the same number.
    pub fn double(&mut self, value: f64) {
        let mut text = ShortText::new();
        text.write_double(value);
        match self.protocol {
            Protocol::V2 => self.bulk(text.as_bytes()),
            Protocol::V3 => {
                self.out.extend_from_slice(b",");
                self.out.extend_from_slice(text.as_bytes());
                self.out.extend_from_slice(b"\r\n");
            }
        }
    }

    /// Text to be shown as it is, such as INFO. RESP2: a bulk string.
    pub fn verbatim(&mut self, value: &str) {
        match self.protocol {
            Protocol::V2 => self.bulk(value.as_bytes()),
            Protocol::V3 => {
                self.length(b'=', value.len() + 4);
                self.out.extend_from_slice(b"txt:");
                self.out.extend_from_slice(value.as_bytes());
                self.out.extend_from_slice(b"\r\n");
            }
        }
    }

    /// A reply that was encoded before, for this version.
    pub fn encoded(&mut self, reply: &[u8]) {
        self.out.extend_from_slice(reply);
    }

    fn length(&mut self, kind: u8, len: usize) {
        self.header(kind, i64::try_from(len).expect("a length in memory fits 63 bits"));
    }

    /// Writes `kind`, the number and the end of line in one append.
    fn header(&mut self, kind: u8, value: i64) {
        let mut line = [0; HEADER_BYTES_MAX];
        line[HEADER_BYTES_MAX - 2..].copy_from_slice(b"\r\n");
        let start = write_digits(&mut line[..HEADER_BYTES_MAX - 2], value) - 1;
        line[start] = kind;
        self.out.extend_from_slice(&line[start..]);
    }

    /// Writes text into a line: the bytes that would end it become spaces.
    fn line(&mut self, text: &[u8]) {
        let mut rest = text;
        while let Some(at) = rest.iter().position(|byte| matches!(byte, b'\r' | b'\n')) {
            self.out.extend_from_slice(&rest[..at]);
            self.out.extend_from_slice(b" ");
            rest = &rest[at + 1..];
        }
        self.out.extend_from_slice(rest);
    }
}

impl<B: ?Sized> fmt::Debug for Encoder<'_, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Encoder").field("protocol", &self.protocol).finish_non_exhaustive()
    }
}

/// Lets formatted text pass through [`Encoder::line`].
struct Line<'e, 'a, B: ?Sized>(&'e mut Encoder<'a, B>);

impl<B: ReplyBuffer + ?Sized> fmt::Write for Line<'_, '_, B> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.line(text.as_bytes());
        Ok(())
    }
}

/// Writes a number in decimal so that it ends where `line` ends; returns where it starts. `line` has room for a sign and 19 digits.
fn write_digits(line: &mut [u8], value: i64) -> usize {
    let mut rest = value.unsigned_abs();
    let mut start = line.len();
    loop {
        start -= 1;
        line[start] = DIGITS[(rest % 10) as usize];
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    if value < 0 {
        start -= 1;
        line[start] = b'-';
    }
    start
}

/// A number as text, on the stack.
struct ShortText {
    bytes: [u8; SHORT_TEXT_BYTES],
    len: usize,
}

impl ShortText {
    fn new() -> Self {
        Self { bytes: [0; SHORT_TEXT_BYTES], len: 0 }
    }

    fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    fn write_double(&mut self, value: f64) {
        use fmt::Write as _;
        let magnitude = value.abs();
        let written = if value.is_nan() {
            self.write_str("nan")
        } else if value.is_infinite() {
            self.write_str(if value > 0.0 { "inf" } else { "-inf" })
        } else if magnitude != 0.0 && !(1e-5..1e17).contains(&magnitude) {
            write!(self, "{value:e}")
        } else {
            write!(self, "{value}")
        };
        written.expect("the shortest text of a double between 1e-5 and 1e17, or in exponent form, is below 32 bytes");
    }
}

impl fmt::Write for ShortText {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let end = self.len + text.len();
        self.bytes.get_mut(self.len..end).ok_or(fmt::Error)?.copy_from_slice(text.as_bytes());
        self.len = end;
        Ok(())
    }
}

const DIGITS: &[u8; 10] = b"0123456789";

/// A kind, a sign, 19 digits, CR LF.
const HEADER_BYTES_MAX: usize = 23;

/// 17 significant digits, a sign, a point, and either an exponent or up to five zeros: 25 at most.
const SHORT_TEXT_BYTES: usize = 32;

#[cfg(test)]
mod tests;
