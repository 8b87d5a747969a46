//! A block of prefaulted memory made of 64-bit atomic words, and its two views: words for everyone, bytes for whoever is
//! alone with them.
//!
//! Bytes lie in the words in memory order, so a byte view is the memory itself and nothing is converted. Stores that
//! others may see go through [`WordWriter`], which joins the parts of a message into whole words; who is alone with some
//! words fills them as bytes.
//!
//! Under loom there is no memory behind the words, so the byte view is a copy that is never freed; a model run makes
//! few of them. As loom never lets a load see a later store, it cannot show that bytes change under a byte view; so who
//! looks at a word as bytes and who fills it is tracked beside it, and the two must be ordered by something.
//!
//! # Threads
//! Words may be loaded and stored by any thread. All accesses here are relaxed: the modules above decide which store
//! publishes what, and pair it.

use std::fmt;

use super::{AtomicU64, Ordering};

/// Bytes of a word.
pub(super) const WORD_BYTES: usize = 8;

/// Words of a cache line; the block begins at a line.
const LINE_WORDS: usize = 8;

/// Bytes of the smallest page: one store to each of them makes the kernel provide the memory.
#[cfg(not(loom))]
const PAGE_BYTES: usize = 4096;

/// A block of words that never moves and never changes its size.
pub(super) struct Words {
    lines: Box<[Line]>,
    /// One per word: who looks at it as bytes, who fills it.
    #[cfg(loom)]
    tracks: Box<[loom::cell::UnsafeCell<()>]>,
}

#[derive(Default)]
#[repr(C, align(64))]
struct Line([AtomicU64; LINE_WORDS]);

impl Words {
    /// Returns `len` words of zero, rounded up to whole cache lines, all of them backed by memory.
    pub(super) fn new(len: usize) -> Self {
        let lines = (0..len.div_ceil(LINE_WORDS)).map(|_| Line::default()).collect();
        let words = Self {
            lines,
            #[cfg(loom)]
            tracks: (0..len).map(|_| loom::cell::UnsafeCell::new(())).collect(),
        };
        words.prefault();
        words
    }

    /// Stores to each page, because an allocator may hand out zeros that the kernel has not provided yet.
    #[cfg(not(loom))]
    fn prefault(&self) {
        for line in self.lines.iter().step_by(PAGE_BYTES / size_of::<Line>()) {
            // Relaxed: no other thread has seen this memory.
            line.0[0].store(0, Ordering::Relaxed);
        }
    }

    #[cfg(loom)]
    fn prefault(&self) {}

    /// Returns how many words there are.
    pub(super) fn len(&self) -> usize {
        self.lines.len() * LINE_WORDS
    }

    /// Returns word `index`, counted from 0.
    #[inline]
    pub(super) fn word(&self, index: usize) -> &AtomicU64 {
        &self.lines[index / LINE_WORDS].0[index % LINE_WORDS]
    }

    /// Stores to word `index`, counted from 0.
    #[inline]
    pub(super) fn store(&self, index: usize, value: u64, order: Ordering) {
        #[cfg(loom)]
        self.tracks[index].with_mut(|_| ());
        self.word(index).store(value, order);
    }

    /// Returns a writer that fills exactly the `len` words from `start` on.
    ///
    /// # Panics
    /// If they are not all inside the block.
    #[inline]
    pub(super) fn writer(&self, start: usize, len: usize) -> WordWriter<'_> {
        #[cfg(loom)]
        self.tracks[start..start + len].iter().for_each(|track| track.with_mut(|_| ()));
        WordWriter { words: self.range(start, len), joined: 0, joined_bytes: 0 }
    }

    /// Copies the words from `start` on into `bytes`, whose length must be a multiple of 8. Others may store at the same
    /// time: the copy is then a mixture, and the caller must find that out.
    ///
    /// # Panics
    /// If they are not all inside the block.
    #[inline]
    pub(super) fn load(&self, start: usize, bytes: &mut [u8]) {
        debug_assert_eq!(bytes.len() % WORD_BYTES, 0);
        let words = self.range(start, bytes.len() / WORD_BYTES);
        for (place, word) in bytes.chunks_exact_mut(WORD_BYTES).zip(words.iter()) {
            // Relaxed: whoever copies concurrently fences and checks afterwards.
            place.copy_from_slice(&word.load(Ordering::Relaxed).to_ne_bytes());
        }
    }
}

#[cfg(not(loom))]
impl Words {
    #[inline]
    fn as_slice(&self) -> &[AtomicU64] {
        let lines: &[Line] = &self.lines;
        // SAFETY: `from_raw_parts` asks for `len` initialised, consecutive, aligned words that nobody mutates except
        // through their own interior. `Line` is `repr(C)` with exactly `LINE_WORDS` words and no padding (asserted
        // below), so `n` lines are `n * LINE_WORDS` consecutive words of one allocation, borrowed for as long as `self`.
        unsafe { std::slice::from_raw_parts(lines.as_ptr().cast::<AtomicU64>(), lines.len() * LINE_WORDS) }
    }

    #[inline]
    fn range(&self, start: usize, len: usize) -> &[AtomicU64] {
        &self.as_slice()[start..start + len]
    }

    /// Returns `len` bytes, beginning with word `start`.
    ///
    /// # Panics
    /// If they are not all inside the block.
    ///
    /// # Safety
    /// 1. While the slice lives, no thread stores to a word that it touches.
    /// 2. Each store to these words happened before this call (by this thread, or published by it to this thread).
    #[inline]
    pub(super) unsafe fn bytes(&self, start: usize, len: usize) -> &[u8] {
        let words = self.range(start, len.div_ceil(WORD_BYTES));
        // SAFETY: `from_raw_parts` asks for `len` initialised bytes inside one allocation that nobody mutates while the
        // slice lives. `words` covers them; the contract above keeps stores out; loads by others, which are atomic, do
        // not conflict with reading.
        unsafe { std::slice::from_raw_parts(words.as_ptr().cast::<u8>(), len) }
    }

    /// Copies `parts`, one behind the other, to the `len` words from `start` on; their first `last_bytes` bytes are
    /// stored last. What the last word has beyond them is left as it is.
    ///
    /// Cost: as moving the bytes; a [`WordWriter`], whose stores others may see, takes several times that.
    ///
    /// # Panics
    /// If the words are not all inside the block, or the parts are longer than they.
    ///
    /// # Safety
    /// 1. Until this thread publishes the words, no other thread loads from them or stores to them.
    /// 2. No byte view of them is alive.
    #[inline]
    pub(super) unsafe fn fill(&self, start: usize, len: usize, parts: &[&[u8]], last_bytes: usize) {
        let words = self.range(start, len);
        let bytes = parts.iter().map(|part| part.len()).sum::<usize>();
        assert!(bytes <= len * WORD_BYTES, "{bytes} bytes for {len} words");
        let begin = words.as_ptr().cast::<u8>().cast_mut();
        let split = last_bytes.min(bytes);
        for range in [split..bytes, 0..split] {
            let mut at = 0;
            for part in parts {
                let from = range.start.clamp(at, at + part.len());
                let piece = &part[from - at..range.end.clamp(from, at + part.len()) - at];
                at += part.len();
                // SAFETY: `add` asks for the result to be inside the same allocation or at its end: `from` is at most
                // `bytes`, and so many bytes are inside `words` (asserted above).
                let place = unsafe { begin.add(from) };
                // SAFETY: `copy_nonoverlapping` asks for `piece.len()` bytes to read at one side and to write at the other
                // that do not overlap, and for no race. From `from` on there is room for the piece, since it ends at or
                // before `bytes`, in words that are cells and so may be written through a shared reference. No view of
                // them is alive (2), so `piece` is not one; nobody else touches them (1).
                unsafe { std::ptr::copy_nonoverlapping(piece.as_ptr(), place, piece.len()) };
            }
        }
    }
}

#[cfg(not(loom))]
const _: () =
    assert!(size_of::<Line>() == LINE_WORDS * size_of::<AtomicU64>(), "`as_slice` relies on lines without gaps");

#[cfg(loom)]
impl Words {
    fn range(&self, start: usize, len: usize) -> Vec<&AtomicU64> {
        (start..start + len).map(|index| self.word(index)).collect()
    }

    /// As the real one, word by word: those that the first `last_bytes` bytes are in are stored last. The one in which these
    /// end is stored once, not twice, and what the last word has beyond the parts becomes zero.
    pub(super) fn fill(&self, start: usize, len: usize, parts: &[&[u8]], last_bytes: usize) {
        let bytes = parts.concat();
        assert!(bytes.len() <= len * WORD_BYTES, "{} bytes for {len} words", bytes.len());
        let split = last_bytes.min(bytes.len()).next_multiple_of(WORD_BYTES).min(bytes.len());
        for (at, piece) in [(split.div_ceil(WORD_BYTES), &bytes[split..]), (0, &bytes[..split])] {
            let mut writer = self.writer(start + at, piece.len().div_ceil(WORD_BYTES));
            writer.bytes(piece);
            writer.finish();
        }
    }

    /// As the real one, but a copy that lives for ever.
    pub(super) fn bytes(&self, start: usize, len: usize) -> &[u8] {
        let end = start + len.div_ceil(WORD_BYTES);
        self.tracks[start..end].iter().for_each(|track| track.with(|_| ()));
        let mut copy = vec![0; len.next_multiple_of(WORD_BYTES)];
        self.load(start, &mut copy);
        &Box::leak(copy.into_boxed_slice())[..len]
    }
}

impl fmt::Debug for Words {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Words").field("len", &self.len()).finish_non_exhaustive()
    }
}

/// Fills a range of words with bytes that come in parts of any length.
///
/// All stores are relaxed; what is written becomes visible by what the caller publishes afterwards.
#[derive(Debug)]
pub(crate) struct WordWriter<'a> {
    /// What is still to be filled.
    #[cfg(not(loom))]
    words: &'a [AtomicU64],
    #[cfg(loom)]
    words: Vec<&'a AtomicU64>,
    /// Bytes that do not make a whole word yet, the first in the lowest place; the unused places are zero.
    joined: u64,
    /// How many of them, 0 to 7.
    joined_bytes: u32,
}

impl WordWriter<'_> {
    /// Appends a whole word. Only between whole words.
    ///
    /// # Panics
    /// If the range is full.
    #[inline]
    pub(crate) fn word(&mut self, value: u64) {
        debug_assert_eq!(self.joined_bytes, 0);
        self.store(value);
    }

    /// Appends `bytes`.
    ///
    /// # Panics
    /// If the range is full.
    #[inline]
    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        let (chunks, rest) = bytes.as_chunks::<WORD_BYTES>();
        if self.joined_bytes == 0 {
            self.store_all(chunks);
            self.joined = up_to_seven(bytes, rest);
            self.joined_bytes = short_len(rest);
            return;
        }
        let shift = self.joined_bytes * 8;
        self.store_all_shifted(chunks, shift);
        let value = up_to_seven(bytes, rest);
        let joined_bytes = self.joined_bytes + short_len(rest);
        if joined_bytes < 8 {
            self.joined |= value << shift;
            self.joined_bytes = joined_bytes;
        } else {
            self.store(self.joined | value << shift);
            self.joined = value >> (64 - shift);
            self.joined_bytes = joined_bytes - 8;
        }
    }

    /// Fills the rest of the range with zeros.
    #[inline]
    pub(crate) fn finish(mut self) {
        if self.joined_bytes > 0 {
            self.store(self.joined);
        }
        for word in self.words.iter() {
            word.store(0, Ordering::Relaxed);
        }
    }
}

#[cfg(not(loom))]
impl WordWriter<'_> {
    #[inline]
    fn store(&mut self, value: u64) {
        let (first, rest) = self.words.split_first().expect("the caller reserved enough words");
        first.store(value.to_le(), Ordering::Relaxed);
        self.words = rest;
    }

    #[inline]
    fn store_all(&mut self, chunks: &[[u8; WORD_BYTES]]) {
        let (words, rest) = self.words.split_at(chunks.len());
        // Line by line: the compiler does not unroll loops over atomics by itself.
        let (lines, last_words) = words.as_chunks::<LINE_WORDS>();
        let (line_chunks, last_chunks) = chunks.as_chunks::<LINE_WORDS>();
        for (line, chunks) in lines.iter().zip(line_chunks) {
            for (word, chunk) in line.iter().zip(chunks) {
                word.store(u64::from_ne_bytes(*chunk), Ordering::Relaxed);
            }
        }
        for (word, chunk) in last_words.iter().zip(last_chunks) {
            word.store(u64::from_ne_bytes(*chunk), Ordering::Relaxed);
        }
        self.words = rest;
    }

    /// Stores `chunks` behind the bytes in `joined`, which are `shift` bits; as many stay in `joined`.
    #[inline]
    fn store_all_shifted(&mut self, chunks: &[[u8; WORD_BYTES]], shift: u32) {
        let (words, rest) = self.words.split_at(chunks.len());
        let mut joined = self.joined;
        for (word, chunk) in words.iter().zip(chunks) {
            let value = u64::from_le_bytes(*chunk);
            word.store((joined | value << shift).to_le(), Ordering::Relaxed);
            joined = value >> (64 - shift);
        }
        self.joined = joined;
        self.words = rest;
    }
}

#[cfg(loom)]
impl WordWriter<'_> {
    fn store(&mut self, value: u64) {
        self.words.remove(0).store(value.to_le(), Ordering::Relaxed);
    }

    fn store_all(&mut self, chunks: &[[u8; WORD_BYTES]]) {
        for chunk in chunks {
            self.store(u64::from_le_bytes(*chunk));
        }
    }

    fn store_all_shifted(&mut self, chunks: &[[u8; WORD_BYTES]], shift: u32) {
        for chunk in chunks {
            let value = u64::from_le_bytes(*chunk);
            self.store(self.joined | value << shift);
            self.joined = value >> (64 - shift);
        }
    }
}

/// Returns `rest`, the last 0 to 7 bytes of `all`, as the low bytes of a word.
#[inline]
fn up_to_seven(all: &[u8], rest: &[u8]) -> u64 {
    if rest.is_empty() {
        return 0;
    }
    if let Some(last) = all.last_chunk::<WORD_BYTES>() {
        return u64::from_le_bytes(*last) >> (64 - short_len(rest) * 8);
    }
    rest.iter().rev().fold(0, |word, &byte| word << 8 | u64::from(byte))
}

/// Returns the length of a slice of at most 7 bytes.
#[inline]
#[expect(clippy::cast_possible_truncation, reason = "at most 7")]
fn short_len(rest: &[u8]) -> u32 {
    debug_assert!(rest.len() < WORD_BYTES);
    rest.len() as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_any_length_are_joined_without_gaps() {
        let source: Vec<u8> = (1..=120).collect();
        for first in 0..=24 {
            for second in 0..=24 {
                let words = Words::new(24);
                let mut writer = words.writer(2, 15);
                writer.bytes(&source[..first]);
                writer.bytes(&source[first..first + second]);
                writer.bytes(&source[first + second..90]);
                writer.finish();

                let mut copy = vec![0xff; 15 * WORD_BYTES];
                words.load(2, &mut copy);
                assert_eq!(copy[..90], source[..90], "parts of {first} and {second} bytes");
                assert_eq!(copy[90..], [0; 30], "the rest of the range is zero");
                // SAFETY: 1, 2: this thread alone stores to `words`, and does not while the slice lives.
                assert_eq!(unsafe { words.bytes(2, 90) }, &source[..90]);
            }
        }
    }

    #[test]
    fn filled_words_hold_the_parts() {
        let parts: [&[u8]; 4] = [b"one ", b"", b"and", b" two"];
        for last_bytes in 0..20 {
            let words = Words::new(8);
            // SAFETY: 1, 2: this thread alone has the words, and no view of them.
            unsafe { words.fill(2, 2, &parts, last_bytes) };
            // SAFETY: 1, 2: nobody stores to the words any more.
            assert_eq!(unsafe { words.bytes(2, 11) }, b"one and two");
        }
    }

    #[test]
    #[should_panic(expected = "17 bytes for 2 words")]
    fn more_parts_than_words_are_refused() {
        // SAFETY: 1, 2: nobody else has the words.
        unsafe { Words::new(8).fill(0, 2, &[&[1; 9], &[2; 8]], 0) };
    }

    #[test]
    fn words_and_bytes_mix() {
        let words = Words::new(8);
        let mut writer = words.writer(0, 3);
        writer.word(0x0807_0605_0403_0201);
        writer.bytes(b"abc");
        writer.finish();
        let mut copy = [0xff; 24];
        words.load(0, &mut copy);
        assert_eq!(&copy, b"\x01\x02\x03\x04\x05\x06\x07\x08abc\0\0\0\0\0\0\0\0\0\0\0\0\0");
    }

    #[test]
    #[should_panic(expected = "reserved enough")]
    fn more_than_the_range_is_refused() {
        let words = Words::new(8);
        let mut writer = words.writer(0, 1);
        writer.word(1);
        writer.word(2);
    }
}
