//! Send buffers: where encoders write, and who may touch the bytes until the kernel has them.
//!
//! A connection holds a buffer only while something is queued on it. A buffer that has been emptied goes back to a pool
//! and comes out of it first, warm in the cache, so ten thousand idle connections hold none and a busy one does not
//! allocate once it has grown to what its turns need.
//!
//! A transport that copies bytes into the kernel sends them straight from the [`SendBuffer`]. One that lends them to the
//! kernel moves the memory into a [`KernelSend`], and new output goes to another buffer meanwhile.
//!
//! # Bounds
//! [`BufferPool`] keeps at most [`POOL_BYTES_MAX`] of idle capacity and no single buffer above
//! [`POOLED_BUFFER_BYTES_MAX`]. How much may be queued is the outbox's business.
//!
//! # Threads
//! Single owner.

use std::io;

use super::settings::{POOL_BYTES_MAX, POOLED_BUFFER_BYTES_MAX};

/// Queued output of one connection. Append only; what has been sent is gone from it.
#[derive(Debug, Default)]
pub struct SendBuffer {
    /// Bytes before `start` are sent.
    bytes: Vec<u8>,
    start: usize,
}

impl SendBuffer {
    /// Appends `bytes`.
    #[inline]
    pub fn extend_from_slice(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// Appends one byte.
    #[inline]
    pub fn push(&mut self, byte: u8) {
        self.bytes.push(byte);
    }

    /// Makes room for `additional` more bytes, so that several appends allocate at most once.
    #[inline]
    pub fn reserve(&mut self, additional: usize) {
        self.bytes.reserve(additional);
    }

    /// The vector behind the buffer, for encoders that append to one.
    ///
    /// It may begin with bytes that are sent already, and holds what other messages queued. Append, and change only what
    /// was appended since: a length prefix, a checksum. Whoever shortens it below its length at this call corrupts the
    /// stream of this one connection.
    #[inline]
    pub fn as_vec(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// Bytes that are queued here and not sent.
    #[must_use]
    #[inline]
    pub fn len(&self) -> usize {
        self.bytes.len().saturating_sub(self.start)
    }

    /// Whether nothing is queued.
    #[must_use]
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What is to be sent next.
    pub(super) fn unsent(&self) -> &[u8] {
        self.bytes.get(self.start..).unwrap_or_default()
    }

    /// Notes that the kernel took the first `count` unsent bytes.
    pub(super) fn advance(&mut self, count: usize) {
        assert!(count <= self.len(), "the kernel took {count} of {} bytes", self.len());
        self.start += count;
        if self.start == self.bytes.len() {
            self.bytes.clear();
            self.start = 0;
        } else if self.start >= COMPACT_BYTES_MIN && self.start >= self.bytes.len() / 2 {
            // The sent half makes room, so a backlog that never empties does not grow without end. Each byte moves at
            // most once per halving.
            self.bytes.drain(..self.start);
            self.start = 0;
        }
    }

    /// Whether the buffer owns memory.
    pub(super) fn has_memory(&self) -> bool {
        self.bytes.capacity() > 0
    }

    pub(super) fn from_vec(bytes: Vec<u8>) -> Self {
        Self { bytes, start: 0 }
    }

    /// Gives the memory away; with it `start`, the number of bytes at its front that are sent.
    pub(super) fn into_parts(self) -> (Vec<u8>, usize) {
        (self.bytes, self.start)
    }
}

impl io::Write for SendBuffer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Sent bytes below which moving the rest to the front is not worth it.
const COMPACT_BYTES_MIN: usize = 64 << 10;

/// Capacity of a new buffer: some dozens of small replies.
const NEW_BUFFER_BYTES: usize = 4 << 10;

/// Idle buffers, the last one returned first.
#[derive(Debug, Default)]
pub(super) struct BufferPool {
    idle: Vec<Vec<u8>>,
    idle_bytes: usize,
}

impl BufferPool {
    /// Takes an empty buffer, allocating only if none is idle.
    pub(super) fn take(&mut self) -> Vec<u8> {
        match self.idle.pop() {
            Some(buffer) => {
                self.idle_bytes -= buffer.capacity();
                buffer
            }
            None => Vec::with_capacity(NEW_BUFFER_BYTES),
        }
    }

    /// Takes back `buffer`, or frees it if enough is idle.
    pub(super) fn put(&mut self, mut buffer: Vec<u8>) {
        let capacity = buffer.capacity();
        if capacity == 0 || capacity > POOLED_BUFFER_BYTES_MAX || self.idle_bytes + capacity > POOL_BYTES_MAX {
            return;
        }
        buffer.clear();
        self.idle_bytes += capacity;
        self.idle.push(buffer);
    }
}

/// The bytes of one send, and who may touch them.
///
/// ```text
///          load          submit             complete
///   Free ──────► Loaded ────────► Submitted ─────────► Loaded (short: the rest is sent again) or Free
///                                     │ orphan                       complete
///                                     └───────► Orphaned ─────────────────────► Free
/// ```
///
/// While `Submitted` or `Orphaned`, the kernel may read the bytes at any time: they are neither changed nor freed, and the
/// vector that owns them is only moved, which leaves them where they are.
#[cfg(target_os = "linux")]
#[derive(Debug, Default)]
pub(super) enum KernelSend {
    /// There is nothing to send.
    #[default]
    Free,
    /// Ours: these bytes are to be submitted.
    Loaded(Sending),
    /// The kernel's, until its completion.
    Submitted(Sending),
    /// The kernel's until its completion, which nobody waits for: the connection is being closed.
    Orphaned(Sending),
}

/// A whole output and how much of it is sent.
#[cfg(target_os = "linux")]
#[derive(Debug, Default)]
pub(super) struct Sending {
    bytes: Vec<u8>,
    sent: usize,
}

/// What a completion leaves to do.
#[cfg(target_os = "linux")]
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Sent {
    /// The send was short: submit the rest.
    Partly,
    /// All of it is sent, or nobody wants the rest: here is the memory.
    All(Vec<u8>),
}

#[cfg(target_os = "linux")]
impl KernelSend {
    /// Most bytes of one submission; the rest counts as a short send.
    const SEND_BYTES_MAX: usize = 1 << 30;

    pub(super) fn is_free(&self) -> bool {
        matches!(self, Self::Free)
    }

    pub(super) fn is_loaded(&self) -> bool {
        matches!(self, Self::Loaded(_))
    }

    /// Takes the bytes to send; those before `sent` are sent already.
    pub(super) fn load(&mut self, bytes: Vec<u8>, sent: usize) {
        assert!(self.is_free(), "a second send was loaded over {self:?}");
        assert!(sent < bytes.len(), "an empty send was loaded");
        *self = Self::Loaded(Sending { bytes, sent });
    }

    /// Gives the bytes to the kernel: where they are and how many. They stay there until `complete`.
    pub(super) fn submit(&mut self) -> (*const u8, u32) {
        let Self::Loaded(sending) = std::mem::take(self) else { panic!("a send was submitted that is not loaded") };
        let rest = &sending.bytes[sending.sent..];
        let len = u32::try_from(rest.len().min(Self::SEND_BYTES_MAX)).expect("cut to 30 bits");
        let start = rest.as_ptr();
        *self = Self::Submitted(sending);
        (start, len)
    }

    /// Notes that nobody waits for the rest. Returns the memory if the kernel does not have it.
    pub(super) fn orphan(&mut self) -> Option<Vec<u8>> {
        match std::mem::take(self) {
            Self::Free => None,
            Self::Loaded(sending) => Some(sending.bytes),
            Self::Submitted(sending) | Self::Orphaned(sending) => {
                *self = Self::Orphaned(sending);
                None
            }
        }
    }

    /// Takes the bytes back from the kernel, which has sent `count` of them.
    pub(super) fn complete(&mut self, count: usize) -> Sent {
        match std::mem::take(self) {
            Self::Submitted(mut sending) => {
                sending.sent += count;
                assert!(sending.sent <= sending.bytes.len(), "{count} more bytes were sent than submitted");
                if sending.sent == sending.bytes.len() {
                    return Sent::All(sending.bytes);
                }
                *self = Self::Loaded(sending);
                Sent::Partly
            }
            Self::Orphaned(sending) => Sent::All(sending.bytes),
            state @ (Self::Free | Self::Loaded(_)) => panic!("a send completed twice: {state:?}"),
        }
    }

    /// Leaves the bytes to the kernel for ever. Only for a ring that does not give them back.
    pub(super) fn leak(self) {
        match self {
            Self::Submitted(sending) | Self::Orphaned(sending) => std::mem::forget(sending),
            Self::Free | Self::Loaded(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partly_sent_buffer_continues_where_it_stopped() {
        let mut buffer = SendBuffer::default();
        buffer.extend_from_slice(b"abcdef");
        buffer.advance(2);
        buffer.push(b'g');
        assert_eq!((buffer.unsent(), buffer.len()), (&b"cdefg"[..], 5));
        buffer.advance(5);
        assert!(buffer.is_empty());
    }

    #[test]
    fn a_backlog_that_never_empties_does_not_keep_what_was_sent() {
        let mut buffer = SendBuffer::default();
        buffer.extend_from_slice(&[0; 100_000]);
        for _ in 0..1_000 {
            buffer.extend_from_slice(&[0; 50_000]);
            buffer.advance(50_000);
        }
        assert_eq!(buffer.len(), 100_000);
        assert!(buffer.as_vec().capacity() < 1_000_000);
    }

    #[test]
    fn the_pool_returns_the_warmest_buffer_and_stays_bounded() {
        let mut pool = BufferPool::default();
        pool.put(Vec::with_capacity(1_000));
        pool.put(Vec::with_capacity(2_000));
        assert_eq!(pool.take().capacity(), 2_000);
        for _ in 0..100 {
            pool.put(Vec::with_capacity(1 << 20));
        }
        assert!(pool.idle_bytes <= POOL_BYTES_MAX);
        pool.put(Vec::with_capacity(POOLED_BUFFER_BYTES_MAX + 1));
        assert!(pool.idle.iter().all(|buffer| buffer.capacity() <= POOLED_BUFFER_BYTES_MAX));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_short_send_continues_and_its_memory_comes_back_once() {
        let mut send = KernelSend::default();
        send.load(b"xxabcdef".to_vec(), 2);
        let (start, len) = send.submit();
        assert_eq!(len, 6);
        assert_eq!(send.complete(4), Sent::Partly);
        let (rest, len) = send.submit();
        assert_eq!((rest, len), (start.wrapping_add(4), 2));
        assert_eq!(send.complete(2), Sent::All(b"xxabcdef".to_vec()));
        assert!(send.is_free());
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn an_orphaned_send_keeps_its_memory_until_the_kernel_is_done() {
        let mut send = KernelSend::default();
        send.load(b"abc".to_vec(), 0);
        send.submit();
        assert_eq!(send.orphan(), None);
        assert_eq!(send.orphan(), None);
        assert_eq!(send.complete(0), Sent::All(b"abc".to_vec()));

        send.load(b"never submitted".to_vec(), 0);
        assert!(send.orphan().is_some());
        assert!(send.is_free());
    }
}
