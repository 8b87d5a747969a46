//! What a handler wants its transport to do: bytes to send, connections to open, to pause, to close.
//!
//! The handler owns the outbox and fills it at any time, also from inside a callback; the transport empties it at the
//! flushes of a turn. So a hundred replies to one connection leave in one write, and a handler never waits for the
//! kernel. Both transports share this code, and with it the rules for connection names.
//!
//! ```text
//!            connect(), accepted                 close()              `closed` said          kernel done
//!   Vacant ────────────────────────► Live ──────────────► Closing ────────────────► Retired ─────────────► Vacant
//!                                      └──────────────── the peer went away ───────────▲                generation + 1
//! ```
//!
//! # Invariants
//! O1. An index is named again only when the kernel holds nothing of its former connection.
//! O2. A connection that needs something from the transport is in `touched` exactly once.
//! O3. `total` is the sum of `counted` over all entries, and `counted` what was queued at the last look.
//!
//! # Bounds
//! `connections_max` connections. A buffer takes a message while less than `send_bytes_max` is queued, so it holds at
//! most that and one message; a connection with a backlog is also refused while all backlogs together exceed
//! `send_total_bytes_max`. Each refusal is a value.
//!
//! # Threads
//! Single owner.

use std::fmt;

use thiserror::Error;

use super::address::Address;
use super::buffer::{BufferPool, SendBuffer};
use super::settings::TransportSettings;

/// Names one connection of one transport. A name is never used again, so a stale one is harmless.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnId {
    index: u32,
    generation: u32,
}

impl ConnId {
    /// The connection's place in a table of `connections_max` rows. Places are used again; compare whole names.
    #[must_use]
    pub const fn index(self) -> usize {
        self.index as usize
    }

    /// Both parts in one number, for logs and for `CLIENT ID`. Never 0.
    #[must_use]
    pub const fn to_u64(self) -> u64 {
        ((self.generation as u64) << 32) | self.index as u64
    }
}

impl fmt::Debug for ConnId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "conn{}.{}", self.index, self.generation)
    }
}

/// How to end a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Close {
    /// Send what is queued, say that nothing follows, and let the peer read it; at most for
    /// [`CLOSE_GRACE`](super::settings::CLOSE_GRACE).
    AfterFlush,
    /// Forget what is queued.
    Now,
}

/// Why nothing can be queued.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Refused {
    /// The connection is closed or being closed.
    #[error("the connection is gone")]
    Gone,
    /// The peer does not take what is queued already.
    #[error("{queued} bytes are queued, the limit is {limit}")]
    Full {
        /// Bytes queued on this connection, or on all if their sum is what exceeds the limit.
        queued: usize,
        /// `send_bytes_max` or `send_total_bytes_max`.
        limit: usize,
    },
    /// There are `connections_max` connections.
    #[error("{limit} connections are open, which is the limit")]
    TooManyConnections {
        /// `connections_max`.
        limit: u32,
    },
}

/// Send buffers and requests of all connections of one transport. See the module's text.
#[derive(Debug)]
pub struct Outbox {
    entries: Vec<Entry>,
    vacant: Vec<u32>,
    /// Indexes that need a look at the next flush (O2).
    touched: Vec<u32>,
    pool: BufferPool,
    limits: Limits,
    /// Bytes queued on all connections (O3).
    total: usize,
}

impl Outbox {
    /// Makes an empty outbox with the limits of `settings`; the transport must have been opened with the same.
    #[must_use]
    pub fn new(settings: &TransportSettings) -> Self {
        Self {
            entries: Vec::new(),
            vacant: Vec::new(),
            touched: Vec::new(),
            pool: BufferPool::default(),
            limits: Limits {
                connections: settings.connections_max,
                high: settings.send_high_bytes,
                low: settings.send_low_bytes,
                each: settings.send_bytes_max,
                all: settings.send_total_bytes_max,
            },
            total: 0,
        }
    }

    /// Returns the buffer of `conn` to append one message to, and has it sent at the next flush.
    ///
    /// # Errors
    /// `Gone` for a connection that is closed or closing, `Full` if its backlog is at a limit: then keep the message
    /// until [`drained`](super::Handler::drained), answer `-OVERLOAD`, or close.
    #[inline]
    pub fn buffer(&mut self, conn: ConnId) -> Result<&mut SendBuffer, Refused> {
        let entry = self.entries.get_mut(conn.index()).ok_or(Refused::Gone)?;
        if entry.generation != conn.generation || entry.phase != Phase::Live {
            return Err(Refused::Gone);
        }
        let queued = entry.queued();
        if queued >= self.limits.each {
            return Err(Refused::Full { queued, limit: self.limits.each });
        }
        if entry.counted > 0 && self.total >= self.limits.all {
            return Err(Refused::Full { queued: self.total, limit: self.limits.all });
        }
        if !entry.touched {
            entry.touched = true;
            self.touched.push(conn.index);
        }
        if !entry.output.has_memory() {
            entry.output = SendBuffer::from_vec(self.pool.take());
        }
        Ok(&mut entry.output)
    }

    /// Appends `bytes` as one message.
    ///
    /// # Errors
    /// As [`buffer`](Self::buffer).
    #[inline]
    pub fn send(&mut self, conn: ConnId, bytes: &[u8]) -> Result<(), Refused> {
        self.buffer(conn)?.extend_from_slice(bytes);
        Ok(())
    }

    /// Opens a connection to `address`. The name is good at once: what is queued leaves when the connection stands.
    /// Later comes [`connected`](super::Handler::connected), or [`closed`](super::Handler::closed) with the reason.
    ///
    /// # Errors
    /// `TooManyConnections`.
    pub fn connect(&mut self, address: Address) -> Result<ConnId, Refused> {
        let conn = self.open().ok_or(Refused::TooManyConnections { limit: self.limits.connections })?;
        self.entries[conn.index()].dial = Some(address);
        self.touch(conn.index);
        Ok(conn)
    }

    /// Ends a connection. It accepts no more output and brings no more bytes; `closed` follows, once. A second call can
    /// only turn `AfterFlush` into `Now`. Does nothing for a connection that is gone.
    pub fn close(&mut self, conn: ConnId, how: Close) {
        let Some(entry) = self.named(conn) else { return };
        match (entry.phase, how) {
            (Phase::Live, _) | (Phase::Closing(Close::AfterFlush), Close::Now) => {
                entry.phase = Phase::Closing(how);
                self.touch(conn.index);
            }
            _ => {}
        }
    }

    /// Stops bringing bytes of `conn` until [`resume_reading`](Self::resume_reading). No `received` follows this call.
    /// The peer is held up by its own socket. While reading is paused, the peer's end goes unnoticed too.
    pub fn pause_reading(&mut self, conn: ConnId) {
        self.set_reading(conn, Reading::Paused);
    }

    /// Brings the bytes of `conn` again, those first that had come in before the pause took effect.
    pub fn resume_reading(&mut self, conn: ConnId) {
        self.set_reading(conn, Reading::On);
    }

    /// Returns how many bytes are queued on all connections that have a backlog.
    #[must_use]
    pub fn queued_bytes_total(&self) -> usize {
        self.total
    }

    /// Bytes that were queued on `conn` and that the kernel has not taken; 0 if it is gone.
    #[must_use]
    pub fn queued_bytes(&self, conn: ConnId) -> usize {
        match self.entries.get(conn.index()) {
            Some(entry) if entry.generation == conn.generation => entry.queued(),
            _ => 0,
        }
    }

    /// Whether `conn` accepts output.
    #[must_use]
    pub fn is_open(&self, conn: ConnId) -> bool {
        self.phase(conn) == Some(Phase::Live)
    }

    /// Connections that are not fully gone, those that are being closed included.
    #[must_use]
    pub fn connection_count(&self) -> usize {
        self.entries.len() - self.vacant.len()
    }

    /// Whether the next flush has nothing to do.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.touched.is_empty()
    }

    fn set_reading(&mut self, conn: ConnId, reading: Reading) {
        let Some(entry) = self.named(conn) else { return };
        if entry.reading != reading {
            entry.reading = reading;
            self.touch(conn.index);
        }
    }

    fn named(&mut self, conn: ConnId) -> Option<&mut Entry> {
        let entry = self.entries.get_mut(conn.index())?;
        let is_named = entry.generation == conn.generation && matches!(entry.phase, Phase::Live | Phase::Closing(_));
        is_named.then_some(entry)
    }

    fn touch(&mut self, index: u32) {
        let entry = &mut self.entries[index as usize];
        if !entry.touched {
            entry.touched = true;
            self.touched.push(index);
        }
    }
}

/// What only transports may do.
impl Outbox {
    /// Names a new connection; `None` if there are too many.
    pub(super) fn open(&mut self) -> Option<ConnId> {
        let index = match self.vacant.pop() {
            Some(index) => index,
            None => {
                let index = u32::try_from(self.entries.len()).ok().filter(|&index| index < self.limits.connections)?;
                self.entries.push(Entry::vacant());
                index
            }
        };
        let entry = &mut self.entries[index as usize];
        assert!(entry.phase == Phase::Vacant, "O1: index {index} named in {:?}", entry.phase);
        entry.phase = Phase::Live;
        entry.reading = Reading::On;
        Some(ConnId { index, generation: entry.generation })
    }

    /// Moves the indexes that need a look into `into`, which must be empty, in the order in which they came up.
    pub(super) fn take_touched(&mut self, into: &mut Vec<u32>) {
        debug_assert!(into.is_empty());
        std::mem::swap(&mut self.touched, into);
        for &index in &*into {
            self.entries[index as usize].touched = false;
        }
    }

    /// The connection named now by `index`.
    pub(super) fn conn(&self, index: u32) -> ConnId {
        ConnId { index, generation: self.entries[index as usize].generation }
    }

    /// The state of `conn`; `None` for a stale name.
    pub(super) fn phase(&self, conn: ConnId) -> Option<Phase> {
        let entry = self.entries.get(conn.index())?;
        (entry.generation == conn.generation).then_some(entry.phase)
    }

    /// Whether bytes of the connection at `index` may be delivered.
    pub(super) fn reading(&self, index: u32) -> Delivery {
        let entry = &self.entries[index as usize];
        match (entry.phase, entry.reading) {
            (Phase::Live, Reading::On) => Delivery::Deliver,
            (Phase::Live, Reading::Paused) => Delivery::Hold,
            _ => Delivery::Discard,
        }
    }

    /// The address a new connection is to be opened to, once.
    pub(super) fn take_dial(&mut self, index: u32) -> Option<Address> {
        self.entries[index as usize].dial.take()
    }

    /// The output queued at `index` and not yet handed to the kernel.
    pub(super) fn output(&self, index: u32) -> &[u8] {
        self.entries[index as usize].output.unsent()
    }

    /// Notes that the kernel copied `count` bytes of [`output`](Self::output).
    pub(super) fn advance_output(&mut self, index: u32, count: usize) {
        let entry = &mut self.entries[index as usize];
        entry.output.advance(count);
        if entry.output.is_empty() {
            let (memory, _) = std::mem::take(&mut entry.output).into_parts();
            self.pool.put(memory);
        }
    }

    /// Takes the whole output at `index`, and where in it the unsent part begins, to hand it to the kernel. It stays
    /// counted as queued until [`record_sent`](Self::record_sent).
    #[cfg(target_os = "linux")]
    pub(super) fn lend_output(&mut self, index: u32) -> (Vec<u8>, usize) {
        let entry = &mut self.entries[index as usize];
        entry.lent += entry.output.len();
        std::mem::take(&mut entry.output).into_parts()
    }

    /// Notes that `count` lent bytes are sent.
    #[cfg(target_os = "linux")]
    pub(super) fn record_sent(&mut self, index: u32, count: usize) {
        let entry = &mut self.entries[index as usize];
        assert!(count <= entry.lent, "{count} bytes sent of {} lent", entry.lent);
        // The handler may have seen more than the high mark since the last flush, and wait to hear of the fall.
        entry.was_high |= entry.queued() > self.limits.high;
        entry.lent -= count;
    }

    /// Takes back the memory of a lent output.
    #[cfg(target_os = "linux")]
    pub(super) fn recycle(&mut self, memory: Vec<u8>) {
        self.pool.put(memory);
    }

    /// Notes how much is queued at `index` before a flush sends any of it.
    pub(super) fn note_high(&mut self, index: u32) {
        let entry = &mut self.entries[index as usize];
        entry.was_high |= entry.queued() > self.limits.high;
    }

    /// Counts what is queued at `index` now, after a send. Returns whether the handler is to be told that it fell.
    pub(super) fn note_queued(&mut self, index: u32) -> bool {
        let entry = &mut self.entries[index as usize];
        let queued = entry.queued();
        self.total = self.total - entry.counted + queued;
        entry.counted = queued;
        let is_drained = entry.was_high && queued <= self.limits.low;
        if is_drained {
            entry.was_high = false;
        }
        is_drained && entry.phase == Phase::Live
    }

    /// Makes the name of `conn` stale: the handler is about to hear `closed`. Returns false if it has heard it.
    pub(super) fn retire(&mut self, conn: ConnId) -> bool {
        let Some(entry) = self.named(conn) else { return false };
        entry.phase = Phase::Retired;
        entry.dial = None;
        entry.was_high = false;
        let (memory, _) = std::mem::take(&mut entry.output).into_parts();
        self.pool.put(memory);
        true
    }

    /// Gives the index back: the kernel holds nothing of it any more (O1).
    pub(super) fn release(&mut self, index: u32) {
        let entry = &mut self.entries[index as usize];
        assert!(entry.phase == Phase::Retired, "O1: index {index} released in {:?}", entry.phase);
        self.total -= entry.counted;
        *entry =
            Entry { generation: entry.generation.wrapping_add(1).max(1), touched: entry.touched, ..Entry::vacant() };
        self.vacant.push(index);
    }
}

/// Where a connection stands between its name's birth and its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// No connection has this index.
    Vacant,
    /// Takes output and brings bytes.
    Live,
    /// The handler has asked for its end.
    Closing(Close),
    /// The handler has heard its end; the kernel may still hold something.
    Retired,
}

/// What becomes of bytes that have come in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Delivery {
    /// The handler gets them.
    Deliver,
    /// The handler gets them when it reads again.
    Hold,
    /// Nobody wants them.
    Discard,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reading {
    On,
    Paused,
}

#[derive(Debug)]
struct Entry {
    generation: u32,
    phase: Phase,
    reading: Reading,
    touched: bool,
    /// A flush began with more than the high-water mark.
    was_high: bool,
    output: SendBuffer,
    /// Bytes handed to the transport and not yet sent.
    lent: usize,
    /// What this entry adds to the total (O3).
    counted: usize,
    dial: Option<Address>,
}

impl Entry {
    fn vacant() -> Self {
        Self {
            generation: 1,
            phase: Phase::Vacant,
            reading: Reading::On,
            touched: false,
            was_high: false,
            output: SendBuffer::default(),
            lent: 0,
            counted: 0,
            dial: None,
        }
    }

    fn queued(&self) -> usize {
        self.output.len() + self.lent
    }
}

#[derive(Debug)]
struct Limits {
    connections: u32,
    high: usize,
    low: usize,
    each: usize,
    all: usize,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outbox(connections_max: u32) -> Outbox {
        Outbox::new(&TransportSettings {
            connections_max,
            send_bytes_max: 100,
            send_high_bytes: 50,
            send_low_bytes: 10,
            send_total_bytes_max: 150,
            ..TransportSettings::default()
        })
    }

    fn touched(outbox: &mut Outbox) -> Vec<u32> {
        let mut list = Vec::new();
        outbox.take_touched(&mut list);
        list
    }

    #[test]
    fn a_stale_name_is_harmless() {
        let mut outbox = outbox(1);
        let first = outbox.open().unwrap();
        assert!(outbox.retire(first));
        outbox.release(0);
        let second = outbox.open().unwrap();
        assert_eq!(first.index(), second.index());
        assert_eq!(outbox.send(first, b"x"), Err(Refused::Gone));
        outbox.close(first, Close::Now);
        assert!(outbox.is_open(second));
        assert!(!outbox.retire(first), "closed would be heard twice");
    }

    #[test]
    fn many_messages_touch_a_connection_once() {
        let mut outbox = outbox(4);
        let a = outbox.open().unwrap();
        let b = outbox.open().unwrap();
        for conn in [b, a, b, a] {
            outbox.send(conn, b"x").unwrap();
        }
        assert_eq!(touched(&mut outbox), [1, 0]);
        assert_eq!(outbox.output(0), b"xx");
        assert!(outbox.is_idle());
    }

    #[test]
    fn a_full_buffer_refuses_the_next_message_with_numbers() {
        let mut outbox = outbox(1);
        let conn = outbox.open().unwrap();
        outbox.send(conn, &[0; 120]).unwrap();
        assert_eq!(outbox.send(conn, b"x"), Err(Refused::Full { queued: 120, limit: 100 }));
        outbox.advance_output(0, 21);
        outbox.send(conn, b"x").unwrap();
    }

    #[test]
    fn all_backlogs_together_are_bounded_but_an_idle_connection_still_answers() {
        let mut outbox = outbox(3);
        let conns = [outbox.open().unwrap(), outbox.open().unwrap(), outbox.open().unwrap()];
        for (index, conn) in (0u32..2).zip(conns) {
            outbox.send(conn, &[0; 80]).unwrap();
            outbox.note_queued(index);
        }
        assert_eq!(outbox.send(conns[0], b"x"), Err(Refused::Full { queued: 160, limit: 150 }));
        outbox.send(conns[2], b"x").unwrap();
        outbox.retire(conns[1]);
        outbox.release(1);
        outbox.send(conns[0], b"x").unwrap();
    }

    #[test]
    fn drained_is_said_once_after_the_fall_from_high_to_low() {
        let mut outbox = outbox(1);
        let conn = outbox.open().unwrap();
        outbox.send(conn, &[0; 60]).unwrap();
        outbox.note_high(0);
        outbox.advance_output(0, 30);
        assert!(!outbox.note_queued(0));
        outbox.advance_output(0, 20);
        assert!(outbox.note_queued(0));
        outbox.advance_output(0, 10);
        assert!(!outbox.note_queued(0));
    }

    /// 30 bytes are with the kernel; 25 more are queued, the handler sees 55 and waits; the 30 are sent before the flush.
    #[cfg(target_os = "linux")]
    #[test]
    fn drained_is_said_after_a_fall_that_began_between_flushes() {
        let mut outbox = outbox(1);
        let conn = outbox.open().unwrap();
        outbox.send(conn, &[0; 30]).unwrap();
        outbox.note_high(0);
        outbox.lend_output(0);
        assert!(!outbox.note_queued(0));
        outbox.send(conn, &[0; 25]).unwrap();
        assert_eq!(outbox.queued_bytes(conn), 55);
        outbox.record_sent(0, 30);
        outbox.note_high(0);
        outbox.advance_output(0, 25);
        assert!(outbox.note_queued(0));
    }

    #[test]
    fn closing_refuses_output_and_only_hardens() {
        let mut outbox = outbox(1);
        let conn = outbox.open().unwrap();
        outbox.close(conn, Close::AfterFlush);
        assert_eq!(outbox.send(conn, b"x"), Err(Refused::Gone));
        outbox.close(conn, Close::Now);
        outbox.close(conn, Close::AfterFlush);
        assert_eq!(outbox.phase(conn), Some(Phase::Closing(Close::Now)));
        assert_eq!(touched(&mut outbox), [0]);
    }

    #[test]
    fn too_many_connections_is_a_value() {
        let mut outbox = outbox(1);
        outbox.open().unwrap();
        let address = Address::Unix("/nowhere".into());
        assert_eq!(outbox.connect(address), Err(Refused::TooManyConnections { limit: 1 }));
    }
}
