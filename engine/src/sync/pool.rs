//! The memory of all logs of one CPU: equal segments in one prefaulted block, handed out in runs.
//!
//! A log takes a segment when it needs one and gives it back when its entries are no longer wanted, so thousands of
//! groups share what one would need at its peak. An entry that is larger than a segment takes a *run* of neighbouring
//! ones. Free segments are bits; the search begins where the last one ended. As the oldest runs are given back first,
//! what is free tends to lie in one piece, ahead of the search.
//!
//! The pool remembers in which order its runs were handed out, and to whom, so that under pressure the engine can ask who
//! holds the oldest memory. It knows nothing of what is inside the segments, with one exception: what a reader on another
//! thread needs to follow a log from one run to the next lies beside the segments, in atomics.
//!
//! Why such a reader never takes new bytes for old ones, by cases:
//! 1. The run is given back and filled anew while the reader copies: `Pool::free` first raises the generation of the
//!    run's first segment, then fences, then others may store there. A copy that holds any new word has, after its own
//!    fence, a new generation before it.
//! 2. The reader follows a link to a run that has been given back: runs of one log are given back oldest first, so the run
//!    with the link was given back before; the reader takes the generation of the next run first and checks that of the
//!    run with the link afterwards (`log::reader` does it in this order).
//! 3. A segment is the first of a run, then inside another run, then first again: each end of a life as a first segment
//!    raises the generation, so no two such lives share one.
//!
//! # Invariants
//! P1. A segment is free or in exactly one run. P2. Only the owner of the pool stores to it, and needs `&mut Pool` to.
//! # Bounds
//! The number of segments is fixed. If no run of the wanted length is free, the answer is `None`.
//! # Threads
//! One owner; `PoolReader`s on any thread. `generation` is stored with release and followed by a release fence; readers
//! load it with acquire, after an acquire fence if they check a copy.

use std::iter;
use std::sync::Arc;

use super::words::{WORD_BYTES, Words};
use super::{AtomicU64, Ordering, WordWriter, fence};

mod free;

use free::FreeSegments;

/// Size of a segment in production, in bytes: large enough to make handing out rare, small enough that thousands of
/// groups can hold one each.
pub const SEGMENT_BYTES: u32 = 64 * 1024;

/// Smallest segment, in bytes; only tests want one.
pub const SEGMENT_BYTES_MIN: u32 = 64;

/// How much memory a pool has and how it is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolSize {
    /// Number of segments, at least 1.
    pub segments: u32,
    /// Bytes of a segment: a multiple of 64, at least [`SEGMENT_BYTES_MIN`].
    pub segment_bytes: u32,
}

impl PoolSize {
    /// Returns the pool of [`SEGMENT_BYTES`] segments that `log_memory` bytes allow; at least one segment.
    #[must_use]
    pub fn of_bytes(log_memory: u64) -> Self {
        let segments = (log_memory / u64::from(SEGMENT_BYTES)).max(1);
        Self { segments: u32::try_from(segments).unwrap_or(u32::MAX - 1), segment_bytes: SEGMENT_BYTES }
    }
}

/// All segments of one CPU. Belongs to one thread; the logs of that thread borrow it for each operation.
#[derive(Debug)]
pub struct Pool {
    memory: Arc<Memory>,
    size: PoolSize,
    free: FreeSegments,
    /// One per segment; only those of the first segment of a run in use mean something.
    runs: Box<[RunState]>,
    /// First segments of the run handed out longest ago and most recently, or `NONE`.
    oldest: u32,
    newest: u32,
}

/// Marks "no segment" in lists of segments.
const NONE: u32 = u32::MAX;

#[derive(Clone, Copy, Debug)]
struct RunState {
    owner: u32,
    /// Neighbours in the order of handing out, or `NONE`.
    older: u32,
    newer: u32,
}

/// Neighbouring segments that belong to one log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Run {
    /// The first segment.
    pub(crate) head: u32,
    /// How many there are.
    pub(crate) segments: u32,
}

/// Where a log goes on behind a run that takes no more entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Link {
    /// First segment of the next run.
    pub(crate) next: u32,
    /// Entries in the run that is left.
    pub(crate) count: u32,
}

/// Counts the lives of a segment as the first of a run. Never the same for two of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Generation(pub(crate) u64);

impl Pool {
    /// Returns a pool with all its memory provided by the kernel. Allocates once, here.
    ///
    /// # Panics
    /// If `size` is not as [`PoolSize`] says.
    #[must_use]
    pub fn new(size: PoolSize) -> Self {
        assert!(size.segments >= 1, "a pool without segments");
        assert!(size.segments < NONE, "{} segments are more than a pool can count", size.segments);
        assert!(size.segment_bytes >= SEGMENT_BYTES_MIN, "segments of {} bytes are too small", size.segment_bytes);
        assert!(size.segment_bytes.is_multiple_of(64), "segments of {} bytes are not whole lines", size.segment_bytes);
        let segment_words = size.segment_bytes as usize / WORD_BYTES;
        let count = size.segments as usize;
        let memory = Memory {
            words: Words::new(count * segment_words),
            shared: iter::repeat_with(SharedState::default).take(count).collect(),
            segment_words,
        };
        Self {
            memory: Arc::new(memory),
            size,
            free: FreeSegments::new(size.segments),
            runs: vec![RunState { owner: 0, older: NONE, newer: NONE }; count].into_boxed_slice(),
            oldest: NONE,
            newest: NONE,
        }
    }

    /// Returns how the pool is cut.
    #[must_use]
    pub const fn size(&self) -> PoolSize {
        self.size
    }

    /// Returns how many segments are free, in one piece or not.
    #[must_use]
    pub const fn free_segments(&self) -> u32 {
        self.free.count()
    }

    /// Returns who holds memory, oldest memory first: the owner of each run, in the order of handing out. An owner
    /// comes once for each of its runs.
    ///
    /// ```
    /// # use quorate_engine::{log::Log, ids::LogIndex, sync::pool::{Pool, PoolSize}};
    /// # let mut pool = Pool::new(PoolSize { segments: 2, segment_bytes: 256 });
    /// # let mut logs = vec![Log::new(0)];
    /// let victim = pool.oldest_owners().find(|&owner| logs[owner as usize].can_release_oldest(LogIndex(7)));
    /// if let Some(owner) = victim {
    ///     logs[owner as usize].release_oldest(&mut pool, LogIndex(7));
    /// }
    /// ```
    pub fn oldest_owners(&self) -> impl Iterator<Item = u32> {
        let state = |head: u32| (head != NONE).then(|| self.runs[head as usize]);
        iter::successors(state(self.oldest), move |run| state(run.newer)).map(|run| run.owner)
    }

    /// Returns a handle with which another thread can read what logs have published.
    pub(crate) fn reader(&self) -> PoolReader {
        PoolReader { memory: Arc::clone(&self.memory) }
    }

    /// Hands out `segments` neighbouring segments to `owner`, or `None` if there is no such run.
    ///
    /// Cost: O(1) for one segment in practice, O(segments / 64) at worst; no allocation.
    pub(crate) fn allocate(&mut self, owner: u32, segments: u32) -> Option<Run> {
        let head = self.free.take(segments)?;
        // Relaxed: nobody follows the link of a run before its log publishes an entry in it.
        self.memory.shared[head as usize].link.store(0, Ordering::Relaxed);
        self.runs[head as usize] = RunState { owner, older: self.newest, newer: NONE };
        match self.newest {
            NONE => self.oldest = head,
            newest => self.runs[newest as usize].newer = head,
        }
        self.newest = head;
        Some(Run { head, segments })
    }

    /// Takes a run back. Readers notice from here on.
    pub(crate) fn free(&mut self, run: Run) {
        let generation = &self.memory.shared[run.head as usize].generation;
        // Relaxed: only the owner stores it.
        let next = generation.load(Ordering::Relaxed) + 1;
        // Release: a reader that finds the run gone also finds what its log published about that before.
        // Pairs with: Acquire in `PoolReader::is_still`.
        generation.store(next, Ordering::Release);
        // Release fence: whoever sees a word stored from here on sees the new generation too (case 1).
        // Pairs with: Acquire fence in `PoolReader::is_still`.
        fence(Ordering::Release);
        self.free.give_back(run);
        let state = self.runs[run.head as usize];
        match state.older {
            NONE => self.oldest = state.newer,
            older => self.runs[older as usize].newer = state.newer,
        }
        match state.newer {
            NONE => self.newest = state.older,
            newer => self.runs[newer as usize].older = state.older,
        }
    }

    /// Says where the log goes on behind `run`, or that `run` is its last one.
    pub(crate) fn set_link(&mut self, run: Run, link: Option<Link>) {
        // Relaxed: a reader follows it only for an entry that was published afterwards (`Log::publish`).
        self.memory.shared[run.head as usize].link.store(Link::encode(link), Ordering::Relaxed);
    }

    /// Returns the generation of `run`.
    pub(crate) fn generation(&self, run: Run) -> Generation {
        // Relaxed: only the owner stores it.
        Generation(self.memory.shared[run.head as usize].generation.load(Ordering::Relaxed))
    }

    /// Returns the bytes of `run`.
    pub(crate) const fn run_bytes(&self, run: Run) -> usize {
        run.segments as usize * self.size.segment_bytes as usize
    }

    /// Returns a word of `run`, counted from its beginning.
    #[inline]
    pub(crate) fn word(&self, run: Run, index: usize) -> u64 {
        debug_assert!(index < self.run_bytes(run) / WORD_BYTES);
        // Relaxed: only the owner stores.
        u64::from_le(self.memory.words.word(self.memory.start(run.head) + index).load(Ordering::Relaxed))
    }

    /// Stores a word of `run`, counted from its beginning.
    #[inline]
    pub(crate) fn set_word(&mut self, run: Run, index: usize, value: u64) {
        debug_assert!(index < self.run_bytes(run) / WORD_BYTES);
        // Relaxed: published with the log's commit index.
        self.memory.words.store(self.memory.start(run.head) + index, value.to_le(), Ordering::Relaxed);
    }

    /// Returns a writer for `len` bytes of `run` from `offset` on; both multiples of 8.
    #[inline]
    pub(crate) fn writer(&mut self, run: Run, offset: usize, len: usize) -> WordWriter<'_> {
        debug_assert!(offset + len <= self.run_bytes(run));
        self.memory.words.writer(self.memory.start(run.head) + offset / WORD_BYTES, len / WORD_BYTES)
    }

    /// Returns `len` bytes of `run` from `offset` on, a multiple of 8. For the owner, in place.
    #[inline]
    pub(crate) fn bytes(&self, run: Run, offset: usize, len: usize) -> &[u8] {
        assert!(offset + len <= self.run_bytes(run), "{len} bytes at {offset} are outside {run:?}");
        let start = self.memory.start(run.head) + offset / WORD_BYTES;
        #[cfg(loom)]
        return self.memory.words.bytes(start, len);
        #[cfg(not(loom))]
        // SAFETY: 1: all stores to the words of a pool need `&mut Pool` (`set_word`, `writer`; P2), which the slice's
        // borrow of `self` excludes; `PoolReader` only loads. 2: those stores were made through `&mut Pool` before, so
        // they happened before this call even if the pool has moved between threads since.
        unsafe {
            self.memory.words.bytes(start, len)
        }
    }
}

impl Link {
    /// 0 means "no link"; a link never has a count of 0, since a run is left only when something is in it.
    fn encode(link: Option<Self>) -> u64 {
        link.map_or(0, |link| {
            assert!(link.count > 0, "a run without entries is left for {}", link.next);
            u64::from(link.count) << 32 | u64::from(link.next)
        })
    }

    #[expect(clippy::cast_possible_truncation, reason = "the two halves")]
    const fn decode(word: u64) -> Option<Self> {
        if word == 0 { None } else { Some(Self { next: word as u32, count: (word >> 32) as u32 }) }
    }
}

/// Reads a pool from another thread. What it copies may be a mixture of old and new; [`PoolReader::is_still`] tells.
#[derive(Clone, Debug)]
pub(crate) struct PoolReader {
    memory: Arc<Memory>,
}

impl PoolReader {
    /// Returns the generation of a segment.
    pub(crate) fn generation(&self, segment: u32) -> Generation {
        // Acquire: whoever learns of a new life of the segment also learns what ended the old one.
        // Pairs with: Release in `Pool::free`.
        Generation(self.memory.shared[segment as usize].generation.load(Ordering::Acquire))
    }

    /// Returns whether the run that begins at `segment` has not been given back since `generation` was taken. What was
    /// copied or looked up before this call is then sound.
    pub(crate) fn is_still(&self, segment: u32, generation: Generation) -> bool {
        // Acquire fence: if a word copied before was stored after the run was given back, the load below sees the new
        // generation (case 1). Pairs with: Release fence in `Pool::free`.
        fence(Ordering::Acquire);
        self.generation(segment) == generation
    }

    /// Returns where the log goes on behind the run that begins at `segment`.
    pub(crate) fn link(&self, segment: u32) -> Option<Link> {
        // Relaxed: the caller has acquired a commit index that was published after the link (`Log::publish`).
        Link::decode(self.memory.shared[segment as usize].link.load(Ordering::Relaxed))
    }

    /// Copies bytes from `offset` on, counted from the beginning of `segment`; offset and length multiples of 8. Returns
    /// `false` if they are not all inside the pool, which a mixture of old and new may ask for.
    #[must_use]
    pub(crate) fn load(&self, segment: u32, offset: usize, bytes: &mut [u8]) -> bool {
        let start = self.memory.start(segment) + offset / WORD_BYTES;
        let fits = start + bytes.len() / WORD_BYTES <= self.memory.words.len();
        if fits {
            self.memory.words.load(start, bytes);
        }
        fits
    }
}

/// What the owner and the readers share.
#[derive(Debug)]
struct Memory {
    words: Words,
    /// One per segment; only those of the first segment of a run mean something.
    shared: Box<[SharedState]>,
    segment_words: usize,
}

impl Memory {
    /// Returns the first word of `segment`.
    #[inline]
    fn start(&self, segment: u32) -> usize {
        segment as usize * self.segment_words
    }
}

#[derive(Debug, Default)]
struct SharedState {
    generation: AtomicU64,
    /// See [`Link::encode`].
    link: AtomicU64,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool(segments: u32) -> Pool {
        Pool::new(PoolSize { segments, segment_bytes: 64 })
    }

    #[test]
    fn all_segments_are_handed_out_and_no_more() {
        let mut pool = pool(3);
        let runs: Vec<_> = (0..3).map(|owner| pool.allocate(owner, 1).unwrap()).collect();
        assert_eq!(pool.allocate(9, 1), None);
        assert_eq!(pool.free_segments(), 0);
        pool.free(runs[1]);
        assert_eq!(pool.allocate(9, 2), None);
        assert_eq!(pool.allocate(9, 1), Some(runs[1]));
    }

    #[test]
    fn owners_come_in_the_order_of_handing_out() {
        let mut pool = pool(4);
        let first = pool.allocate(7, 1).unwrap();
        let second = pool.allocate(5, 1).unwrap();
        let third = pool.allocate(7, 1).unwrap();
        assert_eq!(pool.oldest_owners().collect::<Vec<_>>(), [7, 5, 7]);
        pool.free(second);
        assert_eq!(pool.oldest_owners().collect::<Vec<_>>(), [7, 7]);
        pool.free(first);
        pool.allocate(3, 2).unwrap();
        assert_eq!(pool.oldest_owners().collect::<Vec<_>>(), [7, 3]);
        pool.free(third);
        assert_eq!(pool.oldest_owners().collect::<Vec<_>>(), [3]);
    }

    #[test]
    fn each_life_has_its_own_generation() {
        let mut pool = pool(1);
        let reader = pool.reader();
        let first = pool.allocate(1, 1).unwrap();
        let generation = pool.generation(first);
        assert!(reader.is_still(first.head, generation));
        pool.free(first);
        assert!(!reader.is_still(first.head, generation));
        let second = pool.allocate(1, 1).unwrap();
        assert_ne!(pool.generation(second), generation);
    }

    #[test]
    fn runs_keep_what_is_written() {
        let mut pool = pool(4);
        let one = pool.allocate(1, 1).unwrap();
        let two = pool.allocate(1, 2).unwrap();
        pool.writer(one, 0, 64).bytes(&[1; 64]);
        pool.writer(two, 0, 128).bytes(&[2; 128]);
        pool.set_word(two, 15, 0x0102_0304_0506_0708);
        assert_eq!(pool.bytes(one, 0, 64), [1; 64]);
        assert_eq!(pool.bytes(two, 56, 60), [2; 60]);
        assert_eq!(pool.word(two, 15), 0x0102_0304_0506_0708);
        let mut copy = [0; 16];
        assert!(pool.reader().load(two.head, 112, &mut copy));
        assert_eq!(copy, [2, 2, 2, 2, 2, 2, 2, 2, 8, 7, 6, 5, 4, 3, 2, 1]);
        assert!(!pool.reader().load(3, 56, &mut copy), "beyond the end of the pool");
    }

    #[test]
    fn link_keeps_both_halves() {
        let link = Link { next: 0, count: u32::MAX };
        assert_eq!(Link::decode(Link::encode(Some(link))), Some(link));
        assert_eq!(Link::decode(Link::encode(None)), None);
    }
}
