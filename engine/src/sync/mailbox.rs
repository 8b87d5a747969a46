//! A bounded ring of byte records from one thread to another.
//!
//! Each record begins with a word that says how long it is. The producer stores that word last, with release, so the
//! consumer looks at exactly the line where the next record will appear: no separate tail index travels between the two.
//!
//! ```text
//!            head (consumer)                tail (producer)
//!             v                              v
//!  ... free | len | bytes.. | len | bytes.. | 0 | free ...            len: PRESENT | bytes of the record
//!                                                                     or PADDING: go on at the beginning
//! ```
//!
//! A length word lies wherever a record ends, so bytes of an older lap could be taken for one. The producer therefore
//! zeroes the word behind a record before it publishes the record (M2); the consumer reaches that word only through the
//! record, and writes nothing into the ring. A record that does not fit before the end of the ring goes to the beginning;
//! the word it leaves behind says PADDING, is stored last, and so publishes both.
//!
//! Whoever polls a line takes it from whoever fills it. So in rings of [`LINES_FROM`] bytes and more each record begins
//! at a cache line, and the rest of the line with its length is stored last, directly before the length: a short record
//! changes hands with a single line, which nobody else looks at, and once.
//!
//! Why the two never touch the same bytes, by cases:
//! 1. The consumer reads a record while the producer fills the ring: the producer stores only into bytes that the
//!    consumer has released by moving `head`, and the slices that the consumer hands out borrow it, so `head` cannot move
//!    while one is alive.
//! 2. The consumer polls the length word while the producer stores it: both are atomic, and the word is zero before.
//! 3. The producer wraps into a record that is still being read: as 1; `head` counts all laps, so full and empty differ.
//!
//! # Invariants
//! M1. `head <= tail <= head + capacity`, both counted in bytes over all laps, multiples of 8, or of a line.
//! M2. The word at `tail` is zero and belongs to the producer: a record takes its own bytes and one word more.
//! # Bounds
//! A record has at most a quarter of the ring, its length word included, so that a padding and a record always fit into
//! an empty ring. A full ring is an error that changes nothing.
//! # Threads
//! [`Producer`] and [`Consumer`] are `Send` and belong to one thread each. The length word (release by the producer,
//! acquire by the consumer) and `head` (release by the consumer, acquire by the producer) pair.

use std::sync::Arc;

use crossbeam_utils::CachePadded;
use thiserror::Error;

use super::words::{WORD_BYTES, Words};
use super::{AtomicU64, Ordering, fence};

/// Smallest ring, in bytes.
pub const CAPACITY_MIN: usize = 64;

/// Rings of this many bytes and more begin each record at a cache line; smaller ones have no room to waste.
pub const LINES_FROM: usize = 4096;

const LINE_BYTES: usize = 64;

/// A record is there. The low 32 bits are its length.
const PRESENT: u64 = 1 << 63;
/// The next record is at the beginning of the ring.
const PADDING: u64 = 1 << 62;

/// Returns the two ends of a ring of `capacity_bytes`.
///
/// The memory is provided by the kernel before this returns. Nothing is allocated afterwards.
///
/// ```
/// let (mut producer, mut consumer) = quorate_engine::sync::mailbox::channel(1024);
/// producer.try_push(&[b"head", b" and body"]).unwrap();
/// assert_eq!(consumer.peek(), Some(&b"head and body"[..]));
/// consumer.advance();
/// assert!(consumer.is_empty());
/// ```
///
/// # Panics
/// If `capacity_bytes` is not a power of two between [`CAPACITY_MIN`] and 4 GiB.
#[must_use]
pub fn channel(capacity_bytes: usize) -> (Producer, Consumer) {
    assert!(capacity_bytes.is_power_of_two(), "a ring of {capacity_bytes} bytes is not a power of two");
    assert!(capacity_bytes >= CAPACITY_MIN, "a ring of {capacity_bytes} bytes is below {CAPACITY_MIN}");
    assert!(capacity_bytes <= 1 << 32, "a ring of {capacity_bytes} bytes is above 4 GiB");
    let ring = Arc::new(Ring {
        words: Words::new(capacity_bytes / WORD_BYTES),
        capacity: capacity_bytes,
        align: if capacity_bytes < LINES_FROM { WORD_BYTES } else { LINE_BYTES },
        head: CachePadded::new(AtomicU64::new(0)),
    });
    (Producer { ring: Arc::clone(&ring), tail: 0, head_seen: 0 }, Consumer { ring, head: 0, pending: 0 })
}

#[derive(Debug)]
struct Ring {
    words: Words,
    /// In bytes, a power of two.
    capacity: usize,
    /// Records begin at multiples of this many bytes.
    align: usize,
    /// Bytes that the consumer has released, over all laps.
    head: CachePadded<AtomicU64>,
}

impl Ring {
    /// Returns where in the ring, in bytes, `position` lies.
    #[inline]
    fn offset(&self, position: u64) -> usize {
        to_usize(position) & (self.capacity - 1)
    }

    /// Returns the bytes that a record of `len` bytes takes, its length word included.
    #[inline]
    fn record_bytes(&self, len: usize) -> usize {
        // A power of two.
        (WORD_BYTES + len + self.align - 1) & !(self.align - 1)
    }

    #[inline]
    fn load_word(&self, position: u64, order: Ordering) -> u64 {
        self.words.word(self.offset(position) / WORD_BYTES).load(order)
    }

    #[inline]
    fn store_word(&self, position: u64, value: u64, order: Ordering) {
        self.words.store(self.offset(position) / WORD_BYTES, value, order);
    }
}

/// The sending end of a mailbox.
#[derive(Debug)]
pub struct Producer {
    ring: Arc<Ring>,
    /// Where the next record begins.
    tail: u64,
    /// Our last look at the consumer's `head`; never beyond it.
    head_seen: u64,
}

impl Producer {
    /// Puts the concatenation of `parts` into the ring as one record.
    ///
    /// Cost: O(bytes), no allocation; touches the consumer's index only when the ring looks full.
    ///
    /// # Errors
    /// `Full`: try again after the consumer has caught up. `TooLong`: no record of this length ever fits; see
    /// [`Producer::record_bytes_max`]. Nothing was changed in both cases.
    pub fn try_push(&mut self, parts: &[&[u8]]) -> Result<(), PushError> {
        let len = parts.iter().map(|part| part.len()).sum::<usize>();
        if len > self.record_bytes_max() {
            return Err(PushError::TooLong { len, max: self.record_bytes_max() });
        }
        let size = self.ring.record_bytes(len);
        let offset = self.ring.offset(self.tail);
        let to_end = self.ring.capacity - offset;
        let padding = if size <= to_end { 0 } else { to_end };
        self.reserve(padding + size + WORD_BYTES)?;

        let start = self.tail + padding as u64;
        let word_index = self.ring.offset(start) / WORD_BYTES;
        // Relaxed: M2; published by the release below.
        self.ring.store_word(start + size as u64, 0, Ordering::Relaxed);
        let last_bytes = self.ring.align - WORD_BYTES;
        #[cfg(loom)]
        self.ring.words.fill(word_index + 1, size / WORD_BYTES - 1, parts, last_bytes);
        #[cfg(not(loom))]
        // SAFETY: 1: `reserve` found these words free, outside of `head..tail`; the consumer loads the word at its `head`
        // and, through it, records before `tail`, so it comes here only after the release store below. 2: slices of
        // records borrow the consumer, whose `head` cannot pass them while they live; free words are in none.
        unsafe {
            self.ring.words.fill(word_index + 1, size / WORD_BYTES - 1, parts, last_bytes);
        }

        // Release: the record, and the zero behind it, are visible before its length.
        // Pairs with: Acquire in `Consumer::peek`.
        if padding == 0 {
            self.ring.store_word(start, PRESENT | len as u64, Ordering::Release);
        } else {
            // Relaxed: the consumer gets here only through the padding, which is published next.
            self.ring.store_word(start, PRESENT | len as u64, Ordering::Relaxed);
            self.ring.store_word(self.tail, PADDING, Ordering::Release);
        }
        self.tail = start + size as u64;
        Ok(())
    }

    /// Returns the length of the longest record this ring takes, in bytes.
    #[must_use]
    pub fn record_bytes_max(&self) -> usize {
        self.ring.capacity / 4 - WORD_BYTES
    }

    /// Returns whether the consumer has released everything that was pushed.
    #[must_use]
    pub fn is_drained(&mut self) -> bool {
        self.look_at_head();
        self.head_seen == self.tail
    }

    /// Returns whether the consumer is gone: nobody will read what is pushed.
    #[must_use]
    pub fn is_abandoned(&self) -> bool {
        is_alone(&self.ring)
    }

    /// Makes sure that `needed` bytes behind `tail` are free.
    #[inline]
    fn reserve(&mut self, needed: usize) -> Result<(), PushError> {
        if self.free_bytes() < needed {
            self.look_at_head();
            if self.free_bytes() < needed {
                return Err(PushError::Full { needed, free: self.free_bytes() });
            }
        }
        Ok(())
    }

    #[inline]
    fn look_at_head(&mut self) {
        // Acquire: the consumer has finished with the bytes below `head` before we store there.
        // Pairs with: Release in `Consumer::release`.
        self.head_seen = self.ring.head.load(Ordering::Acquire);
        debug_assert!(self.head_seen <= self.tail, "M1: head {} past tail {}", self.head_seen, self.tail);
    }

    #[inline]
    fn free_bytes(&self) -> usize {
        self.ring.capacity - to_usize(self.tail - self.head_seen)
    }
}

/// The receiving end of a mailbox.
#[derive(Debug)]
pub struct Consumer {
    ring: Arc<Ring>,
    /// Where the next record begins, or the padding before it.
    head: u64,
    /// Bytes of the record that was last peeked at; 0 if none.
    pending: usize,
}

impl Consumer {
    /// Returns the oldest record, if there is one. It stays until [`Consumer::advance`].
    ///
    /// Cost: one load of a line that changes only when a record arrives.
    #[must_use]
    #[inline]
    pub fn peek(&mut self) -> Option<&[u8]> {
        let mut word = self.length_word();
        if word == PADDING {
            self.head += (self.ring.capacity - self.ring.offset(self.head)) as u64;
            word = self.length_word();
            debug_assert!(word & PRESENT != 0, "padding is published after the record that follows it");
        }
        if word == 0 {
            return None;
        }
        let len = to_usize(word & u64::from(u32::MAX));
        self.pending = self.ring.record_bytes(len);
        let start = self.ring.offset(self.head) / WORD_BYTES + 1;
        #[cfg(loom)]
        return Some(self.ring.words.bytes(start, len));
        #[cfg(not(loom))]
        // SAFETY: 1: the producer stores only to bytes outside `head..tail` of its own count, where its `head` is at most
        // the one published by `release`; that needs `&mut self`, which the slice holds. 2: the acquire load of the
        // length word (of the padding's, for a record at the beginning) saw the release store that followed the
        // record's bytes.
        Some(unsafe { self.ring.words.bytes(start, len) })
    }

    /// Gives the record that was last peeked at back to the producer. Does nothing if none was.
    #[inline]
    pub fn advance(&mut self) {
        if self.pending > 0 {
            self.step();
            self.release();
        }
    }

    /// Hands up to `records_max` records to `handle`, oldest first, and returns how many. Their room is given back in
    /// one step at the end.
    ///
    /// Cost: one store to the shared index for the whole batch.
    pub fn poll(&mut self, records_max: usize, mut handle: impl FnMut(&[u8])) -> usize {
        let mut records = 0;
        while records < records_max {
            let Some(record) = self.peek() else { break };
            handle(record);
            self.step();
            records += 1;
        }
        if records > 0 {
            self.release();
        }
        records
    }

    /// Returns whether there is no record at the moment.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.length_word() == 0
    }

    /// Returns whether the producer is gone. What it had pushed before is visible after this returns `true`.
    #[must_use]
    pub fn is_abandoned(&self) -> bool {
        is_alone(&self.ring)
    }

    /// Passes over the record that was last peeked at.
    #[inline]
    fn step(&mut self) {
        self.head += self.pending as u64;
        self.pending = 0;
    }

    #[inline]
    fn release(&self) {
        // Release: our reads of the records are over before the producer may store there.
        // Pairs with: Acquire in `Producer::look_at_head`.
        self.ring.head.store(self.head, Ordering::Release);
    }

    #[inline]
    fn length_word(&self) -> u64 {
        // Acquire: with the length come the record's bytes and the zero behind them.
        // Pairs with: Release in `Producer::try_push`.
        self.ring.load_word(self.head, Ordering::Acquire)
    }
}

/// Why a record was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum PushError {
    /// The consumer has not made room yet.
    #[error("mailbox is full: {needed} bytes needed, {free} free")]
    Full {
        /// Bytes the record needs at this place, with what surrounds it.
        needed: usize,
        /// Bytes free.
        free: usize,
    },
    /// No record of this length ever fits.
    #[error("record of {len} bytes is longer than {max}")]
    TooLong {
        /// Bytes of the record.
        len: usize,
        /// Bytes of the longest that fits.
        max: usize,
    },
}

/// Returns whether the other end was dropped.
fn is_alone(ring: &Arc<Ring>) -> bool {
    let is_alone = Arc::strong_count(ring) == 1;
    if is_alone {
        // Acquire fence: the count is read relaxed; dropping the other `Arc` lowered it with release, so with this all
        // that end did before is visible.
        fence(Ordering::Acquire);
    }
    is_alone
}

/// Converts without loss: this module is for 64-bit targets only (asserted in `sync`).
#[inline]
#[expect(clippy::cast_possible_truncation, reason = "usize has 64 bits")]
const fn to_usize(value: u64) -> usize {
    value as usize
}

#[cfg(test)]
mod tests;
