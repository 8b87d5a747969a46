//! Turns received bytes into the arguments of one request, where they lie.
//!
//! The caller keeps the unconsumed bytes of a connection in one slice that starts at the current request. [`Parser::parse`]
//! is called whenever more bytes have arrived; it remembers how far it came, so a large value that arrives in a thousand
//! pieces is looked at once. Arguments are pairs of offsets into the caller's bytes, kept in a list that is used again
//! for every request: nothing is copied and, once the list has grown to its working size, nothing is allocated. Only an inline
//! request with quotes is copied, since unquoting changes its bytes.
//!
//! ```text
//!          '*'              n > 0          '$'  length ok             last one
//! Start ────────▶ Count ───────────▶ Header ─────────────▶ Body ─────────────────▶ complete
//!   │ other                             ▲  │ too large        │ not the last
//!   ▼                                   └──┼──────────────────┘
//! Inline ──▶ complete                      ▼
//!                                       Discard: bytes are dropped as they arrive; one refusal at the end
//! ```
//!
//! A request larger than the limits is thrown away while it arrives and then refused, so one oversized value costs its
//! sender one error and no memory here; a request that breaks the framing ends the connection, because
//! where the next one would start is not known.
//!
//! # Invariants
//! I1. While not discarding, every recorded range ends at or before `position`, and `position` is within the bytes of the last call.
//! I2. `position` never exceeds `request_bytes_max` plus one header, so offsets fit 32 bits.
//!
//! # Bounds
//! [`Limits`]: arguments, bytes of one argument, bytes of one request, bytes of an inline line. Before authentication the
//! first two are 10 and 16 KiB. A list grown past 4,096 arguments is given back when the next request starts.
//!
//! # Source
//! The RESP specification, and Redis 7's `networking.c` for the texts and for what is tolerated. Stricter here: the two bytes after a
//! length or a payload must be CR LF, and a length has at most 18 digits, so a stream out of step is noticed at once.

mod args;
mod error;
mod inline;

pub use args::Args;
pub use error::{ProtocolError, Refusal};

/// Parses the requests of one connection, one after the other.
///
/// ```
/// use quorate::resp::{Limits, Parsed, Parser, Trust};
///
/// let mut parser = Parser::new(Limits::default());
/// let bytes = b"*2\r\n$3\r\nGET\r\n$3\r\nkey\r\nPING\r\n";
/// assert_eq!(parser.parse(bytes, Trust::Authenticated), Parsed::Complete { consumed: 22 });
/// assert_eq!(parser.args(bytes).first(), Some(&b"GET"[..]));
///
/// let rest = &bytes[22..];
/// assert_eq!(parser.parse(rest, Trust::Authenticated), Parsed::Complete { consumed: 6 });
/// assert_eq!(parser.args(rest).iter().collect::<Vec<_>>(), [b"PING"]);
/// ```
#[derive(Debug)]
pub struct Parser {
    limits: Limits,
    stage: Stage,
    /// Start of the token being read, an offset into the caller's bytes.
    position: usize,
    /// Arguments that are still to come.
    remaining: u32,
    /// Why the request being thrown away is refused.
    refusal: Option<Refusal>,
    ranges: Vec<(u32, u32)>,
    /// Arguments of a quoted inline request, unquoted, one after the other.
    unquoted: Vec<u8>,
    source: Source,
}

impl Parser {
    /// Makes a parser with the given limits.
    ///
    /// # Panics
    /// If a limit is zero, or offsets could exceed 32 bits (I2).
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        assert!(limits.args_max > 0 && limits.bulk_bytes_max > 0, "limits of zero: {limits:?}");
        assert!(limits.request_bytes_max <= REQUEST_BYTES_CEILING, "I2: {limits:?}");
        assert!(limits.bulk_bytes_max <= limits.request_bytes_max, "an argument larger than a request: {limits:?}");
        assert!(limits.inline_bytes_max <= limits.request_bytes_max, "a line larger than a request: {limits:?}");
        Self {
            limits,
            stage: Stage::Start,
            position: 0,
            remaining: 0,
            refusal: None,
            ranges: Vec::new(),
            unquoted: Vec::new(),
            source: Source::Received,
        }
    }

    /// Continues with the current request.
    ///
    /// `bytes` is everything received and not yet consumed: it starts where the current request starts and, while the answer is
    /// [`Parsed::Incomplete`], is the slice of the last call less what that call consumed, plus what arrived since.
    ///
    /// Cost: O(bytes not seen before), no allocation once the list of ranges has its working size.
    pub fn parse(&mut self, bytes: &[u8], trust: Trust) -> Parsed {
        if matches!(self.stage, Stage::Start) {
            let Some(&first) = bytes.first() else {
                return Parsed::Incomplete { consumed: 0, wanted: 1 };
            };
            self.begin();
            self.stage = if first == b'*' { Stage::Count } else { Stage::Inline { scanned: 0 } };
        }
        match self.stage {
            Stage::Inline { scanned } => self.parse_inline(bytes, scanned),
            _ => match self.parse_bulks(bytes, trust) {
                Ok(parsed) => parsed,
                Err(error) => Parsed::Error(error),
            },
        }
    }

    /// Returns the arguments of the request that [`Parser::parse`] has just completed. `bytes`: the slice given to that call.
    #[must_use]
    pub fn args<'a>(&'a self, bytes: &'a [u8]) -> Args<'a> {
        let bytes = match self.source {
            Source::Received => bytes,
            Source::Unquoted => &self.unquoted,
        };
        Args::new(bytes, &self.ranges)
    }

    /// Whether no request is half read, so the connection may be closed or handed over without losing one.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        matches!(self.stage, Stage::Start)
    }

    fn begin(&mut self) {
        self.ranges.clear();
        if self.ranges.capacity() > RANGES_KEPT {
            self.ranges.shrink_to(RANGES_KEPT);
        }
        self.unquoted.clear();
        self.source = Source::Received;
        self.refusal = None;
        self.position = 0;
    }

    fn complete(&mut self, consumed: usize) -> Parsed {
        self.stage = Stage::Start;
        match self.refusal {
            None => Parsed::Complete { consumed },
            Some(refusal) => Parsed::Refused { consumed, refusal },
        }
    }

    /// Reads the count and then argument after argument, for as long as there are bytes.
    fn parse_bulks(&mut self, bytes: &[u8], trust: Trust) -> Result<Parsed, ProtocolError> {
        loop {
            if matches!(self.stage, Stage::Header) && self.refusal.is_none() {
                self.read_short_arguments(bytes);
                if self.remaining == 0 {
                    return Ok(self.complete(self.position));
                }
            }
            match self.stage {
                Stage::Count => {
                    let Some((count, next)) = read_length(bytes, self.position + 1) else {
                        return Ok(self.starve(0, 1));
                    };
                    self.remaining = self.checked_count(count, trust)?;
                    self.position = next;
                    if self.remaining == 0 {
                        return Ok(self.complete(next));
                    }
                    self.stage = Stage::Header;
                }
                Stage::Header => {
                    match bytes.get(self.position) {
                        None => return Ok(self.starve(0, HEADER_BYTES_MIN)),
                        Some(b'$') => {}
                        Some(&got) => return Err(ProtocolError::ExpectedBulk { got }),
                    }
                    let Some((length, next)) = read_length(bytes, self.position + 1) else {
                        return Ok(self.starve(0, 1));
                    };
                    let length = self.checked_length(length, trust)?;
                    self.position = next;
                    self.stage = self.stage_for(length);
                }
                Stage::Body { length } => {
                    let start = self.position;
                    let end = start + length as usize;
                    let Some(terminator) = bytes.get(end..end + 2) else {
                        return Ok(self.starve(0, end + 2 - bytes.len()));
                    };
                    if terminator != b"\r\n" {
                        return Err(ProtocolError::UnterminatedBulk { length });
                    }
                    self.ranges.push((offset(start), offset(end)));
                    self.position = end + 2;
                    if let Some(consumed) = self.argument_done() {
                        return Ok(self.complete(consumed));
                    }
                }
                Stage::Discard { left } => {
                    let here = bytes.len().saturating_sub(self.position);
                    let dropped = usize::try_from(left).unwrap_or(usize::MAX).min(here);
                    self.position += dropped;
                    let left = left - dropped as u64;
                    self.stage = Stage::Discard { left };
                    if left > 0 {
                        let wanted = usize::try_from(left).unwrap_or(usize::MAX).min(DISCARD_BYTES_WANTED);
                        return Ok(self.starve(self.position, wanted));
                    }
                    if let Some(consumed) = self.argument_done() {
                        return Ok(self.complete(consumed));
                    }
                }
                Stage::Start | Stage::Inline { .. } => unreachable!("these stages never reach the loop over bulks"),
            }
        }
    }

    /// Reads arguments that are whole, well formed and below 1,000 bytes, which almost all are; stops before the first that is not, for
    /// the careful path to judge.
    fn read_short_arguments(&mut self, bytes: &[u8]) {
        let length_max = self.limits.bulk_bytes_max as usize;
        let end_max = self.limits.request_bytes_max as usize;
        while self.remaining > 0 {
            let Some((length, start)) = read_short_length(bytes, self.position) else { return };
            let end = start + length;
            if length > length_max || end > end_max || bytes.get(end..end + 2) != Some(b"\r\n") {
                return;
            }
            self.ranges.push((offset(start), offset(end)));
            self.position = end + 2;
            self.remaining -= 1;
        }
    }

    /// Answers that bytes are missing. While discarding, everything before `position` is consumed at once.
    fn starve(&mut self, consumed: usize, wanted: usize) -> Parsed {
        let consumed = if self.refusal.is_some() { self.position } else { consumed };
        self.position -= consumed;
        Parsed::Incomplete { consumed, wanted }
    }

    /// Counts one argument as read. `Some(consumed)` after the last one.
    fn argument_done(&mut self) -> Option<usize> {
        self.remaining -= 1;
        self.stage = Stage::Header;
        (self.remaining == 0).then_some(self.position)
    }

    fn checked_count(&self, count: Length, trust: Trust) -> Result<u32, ProtocolError> {
        let Length::Value(count) = count else {
            return Err(ProtocolError::MultibulkLength);
        };
        if trust == Trust::Unauthenticated && count > i64::from(UNAUTHENTICATED_ARGS_MAX) {
            return Err(ProtocolError::UnauthenticatedMultibulk);
        }
        match u32::try_from(count.max(0)) {
            Ok(count) if count <= self.limits.args_max => Ok(count),
            _ => Err(ProtocolError::TooManyArguments { count, max: self.limits.args_max }),
        }
    }

    fn checked_length(&self, length: Length, trust: Trust) -> Result<u32, ProtocolError> {
        let Length::Value(length) = length else {
            return Err(ProtocolError::BulkLength);
        };
        if trust == Trust::Unauthenticated && length > i64::from(UNAUTHENTICATED_BULK_BYTES_MAX) {
            return Err(ProtocolError::UnauthenticatedBulk);
        }
        match u32::try_from(length) {
            Ok(length) if length <= DISCARD_BYTES_MAX.max(self.limits.bulk_bytes_max) => Ok(length),
            _ => Err(ProtocolError::BulkLength),
        }
    }

    /// Decides whether the argument that starts at `position` is kept, and starts throwing the request away if it is too large.
    fn stage_for(&mut self, length: u32) -> Stage {
        if self.refusal.is_none() {
            if length > self.limits.bulk_bytes_max {
                self.refuse(Refusal::ArgumentTooLarge { length, max: self.limits.bulk_bytes_max });
            } else if self.position as u64 + u64::from(length) > u64::from(self.limits.request_bytes_max) {
                self.refuse(Refusal::RequestTooLarge { max: self.limits.request_bytes_max });
            }
        }
        if self.refusal.is_some() { Stage::Discard { left: u64::from(length) + 2 } } else { Stage::Body { length } }
    }

    fn refuse(&mut self, refusal: Refusal) {
        self.refusal = Some(refusal);
        self.ranges.clear();
    }

    /// Looks for the end of the line, then splits it.
    fn parse_inline(&mut self, bytes: &[u8], scanned: usize) -> Parsed {
        let max = self.limits.inline_bytes_max as usize;
        let Some(newline) = bytes[scanned..].iter().position(|&byte| byte == b'\n').map(|at| at + scanned) else {
            if bytes.len() > max {
                return Parsed::Error(ProtocolError::InlineTooLong);
            }
            self.stage = Stage::Inline { scanned: bytes.len() };
            return Parsed::Incomplete { consumed: 0, wanted: 1 };
        };
        if newline > max {
            return Parsed::Error(ProtocolError::InlineTooLong);
        }
        let line = &bytes[..newline];
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let split = if line.iter().any(|byte| matches!(byte, b'"' | b'\'')) {
            self.source = Source::Unquoted;
            inline::split_quoted(line, &mut self.unquoted, &mut self.ranges)
        } else {
            inline::split_plain(line, &mut self.ranges);
            Ok(())
        };
        match split {
            Ok(()) => self.complete(newline + 1),
            Err(error) => Parsed::Error(error),
        }
    }
}

/// What [`Parser::parse`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parsed {
    /// One request is complete and stands in [`Parser::args`]; it ends at `consumed`. It may have no arguments (an empty
    /// line, `*0`): such a request is ignored without a reply.
    Complete {
        /// Bytes of this request, from the start of the slice.
        consumed: usize,
    },
    /// The request goes on. The first `consumed` bytes are not needed again.
    Incomplete {
        /// Zero, except while an oversized request is thrown away.
        consumed: usize,
        /// At least this many further bytes are needed before anything can be decided: a hint for sizing a buffer.
        wanted: usize,
    },
    /// One request was larger than the limits; it has been thrown away and the connection goes on. Its reply is `refusal`.
    Refused {
        /// Bytes to drop.
        consumed: usize,
        /// What to answer.
        refusal: Refusal,
    },
    /// The stream is out of step: the caller answers with the error and closes. The parser must not be used again.
    Error(ProtocolError),
}

/// Whether the connection has passed authentication; without it the limits are tight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trust {
    /// Authenticated, or no password is set.
    Authenticated,
    /// A password is set and has not been given.
    Unauthenticated,
}

/// Largest sizes of what one client may send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Arguments of one request, its name included.
    pub args_max: u32,
    /// Bytes of one argument. Larger ones, up to 512 MiB, are thrown away and refused.
    pub bulk_bytes_max: u32,
    /// Bytes of one request with its framing, at most 1 GiB.
    pub request_bytes_max: u32,
    /// Bytes of one inline request.
    pub inline_bytes_max: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            args_max: 65_536,
            bulk_bytes_max: 1024 * 1024,
            request_bytes_max: 16 * 1024 * 1024,
            inline_bytes_max: 64 * 1024,
        }
    }
}

/// Where the parser stands inside the current request.
#[derive(Clone, Copy, Debug)]
enum Stage {
    /// Between requests.
    Start,
    /// In a line without framing; no newline before `scanned`.
    Inline { scanned: usize },
    /// At `*`.
    Count,
    /// At `$` of the next argument.
    Header,
    /// At the first byte of an argument.
    Body { length: u32 },
    /// In the bytes of an argument of a refused request; `left` counts its CR LF too.
    Discard { left: u64 },
}

/// What the ranges point into.
#[derive(Clone, Copy, Debug)]
enum Source {
    Received,
    Unquoted,
}

/// A length line that is complete, or certainly wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Length {
    Value(i64),
    Malformed,
}

/// Reads a header of one to three digits in canonical form; returns the length and where the argument starts.
#[inline]
fn read_short_length(bytes: &[u8], at: usize) -> Option<(usize, usize)> {
    let digit = |byte: u8| usize::from(byte - b'0');
    match *bytes.get(at..)? {
        [b'$', a @ b'0'..=b'9', b'\r', b'\n', ..] => Some((digit(a), at + 4)),
        [b'$', a @ b'1'..=b'9', b @ b'0'..=b'9', b'\r', b'\n', ..] => Some((digit(a) * 10 + digit(b), at + 5)),
        [b'$', a @ b'1'..=b'9', b @ b'0'..=b'9', c @ b'0'..=b'9', b'\r', b'\n', ..] => {
            Some((digit(a) * 100 + digit(b) * 10 + digit(c), at + 6))
        }
        _ => None,
    }
}

/// Reads a decimal number that ends with CR LF, starting at `start`. `None`: not enough bytes to tell.
///
/// As Redis does, refuses a plus sign, leading zeros and an empty number, so each number has one spelling.
fn read_length(bytes: &[u8], start: usize) -> Option<(Length, usize)> {
    let mut at = start;
    let negative = *bytes.get(at)? == b'-';
    if negative {
        at += 1;
    }
    let digits = at;
    let mut value: i64 = 0;
    loop {
        match *bytes.get(at)? {
            digit @ b'0'..=b'9' if at - digits < DIGITS_MAX => value = value * 10 + i64::from(digit - b'0'),
            b'\r' => break,
            _ => return Some((Length::Malformed, at)),
        }
        at += 1;
    }
    let is_canonical = match bytes[digits..at] {
        [] => false,
        [b'0'] => !negative,
        [first, ..] => first != b'0',
    };
    if *bytes.get(at + 1)? != b'\n' || !is_canonical {
        return Some((Length::Malformed, at));
    }
    Some((Length::Value(if negative { -value } else { value }), at + 2))
}

fn offset(position: usize) -> u32 {
    u32::try_from(position).expect("I2: a request is shorter than 4 GiB")
}

/// Before authentication: enough for `HELLO 3 AUTH user password SETNAME name`.
const UNAUTHENTICATED_ARGS_MAX: u32 = 10;

/// Before authentication: longer than any password.
const UNAUTHENTICATED_BULK_BYTES_MAX: u32 = 16 * 1024;

/// Largest argument that is thrown away rather than ending the connection; Redis' own largest.
const DISCARD_BYTES_MAX: u32 = 512 * 1024 * 1024;

/// Largest `request_bytes_max`: with one more header it stays below 32 bits.
const REQUEST_BYTES_CEILING: u32 = 1 << 30;

/// How much a buffer should hold while bytes are thrown away.
const DISCARD_BYTES_WANTED: usize = 64 * 1024;

/// Ranges kept between requests, 32 KiB.
const RANGES_KEPT: usize = 4096;

/// Digits of a length: every `i64` with this many is exact, so the accumulation cannot overflow.
const DIGITS_MAX: usize = 18;

/// The shortest argument, `$0`, and two ends of line.
const HEADER_BYTES_MIN: usize = 6;

#[cfg(test)]
mod tests;
