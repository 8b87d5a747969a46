//! What a log shares with its readers: how far they may read, and where the log begins.
//!
//! # Threads
//! One owner stores, readers load. `commit` is stored with release and loaded with acquire: whoever sees an index sees
//! the entries through it, their pages and the links between these. The beginning is a small seqlock: `sequence` is
//! odd while it changes.

use crossbeam_utils::CachePadded;

use crate::ids::LogIndex;
use crate::sync::pool::Generation;
use crate::sync::{AtomicU64, Ordering, fence};

/// Stands for "the log is empty" in `segment`.
const NO_SEGMENT: u64 = u64::MAX;

#[derive(Debug)]
pub(super) struct Published {
    /// On a line of its own: readers poll it.
    commit: CachePadded<AtomicU64>,
    sequence: AtomicU64,
    first: AtomicU64,
    segment: AtomicU64,
    generation: AtomicU64,
}

/// Where a log begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Anchor {
    /// The first entry, or the one that will be.
    pub(super) first: LogIndex,
    /// The first segment of the page that begins with it; `None` if the log is empty.
    pub(super) segment: Option<(u32, Generation)>,
}

impl Published {
    /// Returns the state of an empty log behind `base`, which counts as committed.
    pub(super) fn new(base: LogIndex) -> Self {
        Self {
            commit: CachePadded::new(AtomicU64::new(base.0)),
            sequence: AtomicU64::new(0),
            first: AtomicU64::new(base.next().0),
            segment: AtomicU64::new(NO_SEGMENT),
            generation: AtomicU64::new(0),
        }
    }

    /// Allows readers to read through `commit`. Owner only.
    pub(super) fn set_commit(&self, commit: LogIndex) {
        // Release: entries, links and pages given back before are visible with the index.
        // Pairs with: Acquire in `commit`.
        self.commit.store(commit.0, Ordering::Release);
    }

    /// Returns how far readers may read.
    pub(super) fn commit(&self) -> LogIndex {
        // Acquire. Pairs with: Release in `set_commit`.
        LogIndex(self.commit.load(Ordering::Acquire))
    }

    /// Says where the log begins. Owner only.
    pub(super) fn set_anchor(&self, anchor: Anchor) {
        let (segment, generation) = match anchor.segment {
            Some((segment, Generation(generation))) => (u64::from(segment), generation),
            None => (NO_SEGMENT, 0),
        };
        // Relaxed: only the owner stores it.
        let sequence = self.sequence.load(Ordering::Relaxed);
        self.sequence.store(sequence + 1, Ordering::Relaxed);
        // Release fence: who sees a field stored below sees the odd sequence. Pairs with: Acquire fence in `anchor`.
        fence(Ordering::Release);
        self.first.store(anchor.first.0, Ordering::Relaxed);
        self.segment.store(segment, Ordering::Relaxed);
        self.generation.store(generation, Ordering::Relaxed);
        // Release: who sees the even sequence sees the fields. Pairs with: the first Acquire in `anchor`.
        self.sequence.store(sequence + 2, Ordering::Release);
    }

    /// Returns where the log begins, or `None` if that is being changed.
    pub(super) fn anchor(&self) -> Option<Anchor> {
        // Acquire. Pairs with: Release in `set_anchor`.
        let before = self.sequence.load(Ordering::Acquire);
        let first = LogIndex(self.first.load(Ordering::Relaxed));
        let segment = self.segment.load(Ordering::Relaxed);
        let generation = Generation(self.generation.load(Ordering::Relaxed));
        // Acquire fence: if a field above is newer than `before`, the sequence below is too.
        // Pairs with: Release fence in `set_anchor`.
        fence(Ordering::Acquire);
        let after = self.sequence.load(Ordering::Relaxed);
        if before != after || !before.is_multiple_of(2) {
            return None;
        }
        Some(Anchor { first, segment: u32::try_from(segment).ok().map(|segment| (segment, generation)) })
    }
}
