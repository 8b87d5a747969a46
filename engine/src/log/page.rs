//! One page of a log: entries from the front of a run of segments, their offsets from the back.
//!
//! ```text
//! | entry | entry | entry |  free  | offset 2 | offset 1, 0 |      offsets: 32 bits each, two to a word
//! ```
//!
//! An entry never leaves its page, and a page is given back as a whole. Readers on other threads do not use the offsets:
//! they read from the front, one entry after another.

use core::hash::{Hash, Hasher};

use crate::ids::{Epoch, LogIndex};
use crate::sync::pool::{Pool, Run};

/// Bytes of a word.
const WORD_BYTES: usize = 8;

/// The words of an entry are: checksum and length, epoch, ...
const EPOCH_WORD: usize = 1;

#[derive(Clone, Copy, Debug)]
pub(super) struct Page {
    run: Run,
    first: LogIndex,
    count: u32,
    /// Bytes of all entries, a multiple of `ENTRY_ALIGN`.
    used: u32,
}

impl Page {
    /// Returns an empty page on `run` whose first entry will be `first`.
    pub(super) const fn new(run: Run, first: LogIndex) -> Self {
        Self { run, first, count: 0, used: 0 }
    }

    /// Returns how many segments a page needs to hold one entry of `len` bytes.
    pub(super) fn segments_for(pool: &Pool, len: usize) -> u32 {
        let segments = (len + offsets_bytes(1)).div_ceil(pool.size().segment_bytes as usize);
        u32::try_from(segments).expect("an entry is at most 16 MiB")
    }

    pub(super) const fn run(&self) -> Run {
        self.run
    }

    pub(super) const fn first(&self) -> LogIndex {
        self.first
    }

    /// Returns the index of the last entry. The page must not be empty.
    pub(super) fn last(&self) -> LogIndex {
        debug_assert!(self.count > 0);
        LogIndex(self.first.0 + u64::from(self.count) - 1)
    }

    pub(super) const fn count(&self) -> u32 {
        self.count
    }

    pub(super) const fn used_bytes(&self) -> usize {
        self.used as usize
    }

    /// Returns whether an entry of `len` bytes fits behind the last one.
    #[inline]
    pub(super) fn has_room(&self, pool: &Pool, len: usize) -> bool {
        self.used_bytes() + len + offsets_bytes(self.count as usize + 1) <= pool.run_bytes(self.run)
    }

    /// Counts an entry of `len` bytes in and returns at which offset its bytes go. There must be room.
    #[inline]
    pub(super) fn add(&mut self, pool: &mut Pool, len: usize) -> usize {
        debug_assert!(self.has_room(pool, len));
        let offset = self.used;
        let (word, shift) = self.offset_place(pool, self.count);
        // The word's upper half is stale until its own entry comes; the lower half comes first and overwrites both.
        let lower = if shift == 0 { 0 } else { pool.word(self.run, word) & u64::from(u32::MAX) };
        pool.set_word(self.run, word, lower | u64::from(offset) << shift);
        self.count += 1;
        self.used += u32::try_from(len).expect("a page is at most a little over 16 MiB");
        offset as usize
    }

    /// Forgets all entries behind `last`, which stays.
    pub(super) fn truncate(&mut self, pool: &Pool, last: LogIndex) {
        debug_assert!(last >= self.first && last <= self.last());
        self.used = u32::try_from(self.offset(pool, last.next())).expect("it was a u32 before");
        self.count = u32::try_from(last.0 - self.first.0 + 1).expect("it only gets less");
    }

    /// Returns at which offset the entry at `index` begins; for the one behind the last, where it would.
    #[inline]
    pub(super) fn offset(&self, pool: &Pool, index: LogIndex) -> usize {
        let position = self.position(index);
        if position == self.count {
            return self.used_bytes();
        }
        let (word, shift) = self.offset_place(pool, position);
        #[expect(clippy::cast_possible_truncation, reason = "one half of the word")]
        let offset = (pool.word(self.run, word) >> shift) as u32;
        offset as usize
    }

    /// Returns the bytes from the entry at `index` to the end of the last one.
    pub(super) fn bytes_from<'a>(&self, pool: &'a Pool, index: LogIndex) -> &'a [u8] {
        let start = self.offset(pool, index);
        pool.bytes(self.run, start, self.used_bytes() - start)
    }

    /// Returns the bytes of the entries from `first` through `last`.
    pub(super) fn bytes_between<'a>(&self, pool: &'a Pool, first: LogIndex, last: LogIndex) -> &'a [u8] {
        let start = self.offset(pool, first);
        pool.bytes(self.run, start, self.offset(pool, last.next()) - start)
    }

    /// Returns the birth epoch of the entry at `index`.
    pub(super) fn epoch_at(&self, pool: &Pool, index: LogIndex) -> Epoch {
        debug_assert!(index <= self.last());
        Epoch(pool.word(self.run, self.offset(pool, index) / WORD_BYTES + EPOCH_WORD))
    }

    /// Returns the last index through which the entries from `first` on take at most `max_bytes`; the one before `first`
    /// if that one alone takes more.
    pub(super) fn last_within(&self, pool: &Pool, first: LogIndex, max_bytes: usize) -> LogIndex {
        let start = self.offset(pool, first);
        if self.used_bytes() - start <= max_bytes {
            return self.last();
        }
        // Everything before `fits` fits, what ends behind `exceeds` does not.
        let (mut fits, mut exceeds) = (first.0, self.last().0);
        while fits < exceeds {
            let middle = fits + (exceeds - fits) / 2;
            if self.offset(pool, LogIndex(middle + 1)) - start <= max_bytes {
                fits = middle + 1;
            } else {
                exceeds = middle;
            }
        }
        LogIndex(fits - 1)
    }

    /// Returns the place of `index` in the page, from 0.
    fn position(&self, index: LogIndex) -> u32 {
        debug_assert!(index >= self.first);
        let position = u32::try_from(index.0 - self.first.0).expect("a page holds fewer than 2^32 entries");
        debug_assert!(position <= self.count);
        position
    }

    /// Returns the word of the run, and the shift inside it, where the offset of entry `position` lies.
    #[inline]
    fn offset_place(&self, pool: &Pool, position: u32) -> (usize, u32) {
        let words = pool.run_bytes(self.run) / WORD_BYTES;
        (words - 1 - position as usize / 2, position % 2 * 32)
    }
}

/// Which entries lie together; where they do in the pool decides nothing.
impl Hash for Page {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let Self { run: Run { head: _, segments }, first, count, used } = self;
        (segments, first, count, used).hash(state);
    }
}

/// Returns the bytes that the offsets of `count` entries take.
#[inline]
const fn offsets_bytes(count: usize) -> usize {
    count.div_ceil(2) * WORD_BYTES
}
