//! Reads a log from another thread, without locks, entry by entry, while its owner appends, cuts and gives memory back.
//!
//! The reader remembers a position: a page (its first segment and that segment's generation) and how far into it it has
//! come. It copies an entry word by word and asks afterwards whether the page is still the one it was. If not, it looks up
//! where the log begins now and either goes on there or reports what it has missed.
//!
//! The races, and what decides each:
//! 1. The page is given back and filled anew during the copy: the generation differs afterwards, the copy is thrown away.
//! 2. The length in a header is already that of a new entry: the generation is checked before the length is used.
//! 3. The page is left through its link while it is given back: the next page's generation is taken first, then this
//!    page's is checked; as pages go oldest first, the next one was then still in use (case 2 of `sync::pool`).
//! 4. The beginning moves while it is looked up: the seqlock notices, the reader tries again.
//! 5. The log starts anew with lower indexes than the reader has seen: after each look-up of the beginning the commit
//!    index is loaded again. The owner gives the old pages back before it stores the new index, and stores the index
//!    before the new beginning; so an old page with a new index is found gone, and a new page comes with a new index.
//! 6. What was never committed is cut and written again: the reader only goes where the commit index allows, and takes
//!    that index with acquire; nothing at or below it changes until the page is given back.
//!
//! # Invariants
//! R1. Entries come in the order of their indexes, without a gap except where `Lapped` reported it.
//! # Bounds
//! One call copies one entry. It tries a bounded number of times, then says [`Read::Busy`].
//! # Threads
//! `Send`; each reader belongs to one thread. It holds the memory of the pool alive.

use std::sync::Arc;

use super::published::Published;
use crate::entry::{Entry, padded_len};
use crate::ids::LogIndex;
use crate::sync::pool::{Generation, PoolReader};

/// How often one call looks the beginning of the log up. Each further time means that the owner has given a page back in
/// between, or stands in the middle of saying where the log begins. A model explores each attempt with each value that may
/// be stale, so it gets few.
const ATTEMPTS_MAX: u32 = if cfg!(loom) { 2 } else { 16 };

/// Reads one log on another thread than its owner's.
#[derive(Debug)]
pub struct LogReader {
    pool: PoolReader,
    published: Arc<Published>,
    /// The entry that comes next.
    next: LogIndex,
    /// Our last look at the commit index.
    commit: LogIndex,
    position: Option<Position>,
}

/// What a reader got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Read<'a> {
    /// The next entry, copied.
    Entry(Entry<'a>),
    /// Nothing more is published.
    UpToDate,
    /// The entries before `first` are gone; reading goes on there.
    Lapped {
        /// The oldest entry that the log still holds, or the one that will come next if it is empty.
        first: LogIndex,
    },
    /// The owner is just giving memory back; nothing is known, try again later.
    Busy,
}

/// A place in a page.
#[derive(Clone, Copy, Debug)]
struct Position {
    segment: u32,
    generation: Generation,
    /// The page's first entry.
    first: LogIndex,
    /// The entry that begins at `offset`.
    index: LogIndex,
    offset: usize,
}

/// How one attempt ended.
enum Attempt {
    Copied,
    UpToDate,
    Lapped { first: LogIndex },
    Moved,
}

impl LogReader {
    pub(super) fn new(pool: PoolReader, published: Arc<Published>, next: LogIndex) -> Self {
        Self { pool, published, next, commit: LogIndex(0), position: None }
    }

    /// Copies the next entry into `buf`, whose contents are replaced, and returns it.
    ///
    /// Cost: O(entry); allocates only to make `buf` longer. One load if nothing is new.
    pub fn next<'b>(&mut self, buf: &'b mut Vec<u8>) -> Read<'b> {
        for _ in 0..ATTEMPTS_MAX {
            match self.attempt(buf) {
                Attempt::Copied => {
                    let (entry, _) = Entry::parse(buf).expect("L2: pages hold whole entries");
                    assert_eq!(entry.id().index, self.next, "R1: entries come in order");
                    self.next = self.next.next();
                    return Read::Entry(entry);
                }
                Attempt::UpToDate => return Read::UpToDate,
                Attempt::Lapped { first } => {
                    self.next = first;
                    return Read::Lapped { first };
                }
                Attempt::Moved => self.position = None,
            }
        }
        Read::Busy
    }

    /// Returns the index of the entry that comes next.
    #[must_use]
    pub const fn next_index(&self) -> LogIndex {
        self.next
    }

    fn attempt(&mut self, buf: &mut Vec<u8>) -> Attempt {
        let mut position = match self.position {
            Some(position) => position,
            None => match self.find_beginning() {
                Ok(position) => position,
                Err(attempt) => return attempt,
            },
        };
        if self.commit < self.next {
            self.commit = self.published.commit();
            if self.commit < self.next {
                return Attempt::UpToDate;
            }
        }
        let copied = self.walk(&mut position).and_then(|()| self.copy(&mut position, buf));
        if copied.is_none() {
            return Attempt::Moved;
        }
        self.position = Some(position);
        Attempt::Copied
    }

    /// Looks up where the log begins.
    fn find_beginning(&mut self) -> Result<Position, Attempt> {
        let Some(anchor) = self.published.anchor() else { return Err(Attempt::Moved) };
        if anchor.first > self.next {
            return Err(Attempt::Lapped { first: anchor.first });
        }
        // Case 5: the index that belongs to this beginning, or a later one.
        self.commit = self.published.commit();
        if self.commit < self.next {
            return Err(Attempt::UpToDate);
        }
        // Without a segment: the log was empty, but entries have been published since.
        let Some((segment, generation)) = anchor.segment else { return Err(Attempt::Moved) };
        Ok(Position { segment, generation, first: anchor.first, index: anchor.first, offset: 0 })
    }

    /// Moves `position` to the next entry: over whole pages by their links, then entry by entry. `None` if a page on the
    /// way was given back. Bounded: pages and entries are passed in the order of their indexes, up to `next`.
    fn walk(&self, position: &mut Position) -> Option<()> {
        while let Some(link) = self.pool.link(position.segment)
            && self.next.0 - position.first.0 >= u64::from(link.count)
        {
            // Case 3: this page is checked after the next one's generation was taken.
            let generation = self.pool.generation(link.next);
            if !self.pool.is_still(position.segment, position.generation) {
                return None;
            }
            let first = LogIndex(position.first.0 + u64::from(link.count));
            *position = Position { segment: link.next, generation, first, index: first, offset: 0 };
        }
        while position.index < self.next {
            position.offset += self.entry_len(position)?;
            position.index = position.index.next();
        }
        Some(())
    }

    /// Copies the entry at `position` and moves behind it. `None` if the page was given back.
    fn copy(&self, position: &mut Position, buf: &mut Vec<u8>) -> Option<()> {
        let len = self.entry_len(position)?;
        buf.resize(len, 0);
        let is_inside = self.pool.load(position.segment, position.offset, buf);
        // Case 1.
        if !self.pool.is_still(position.segment, position.generation) {
            return None;
        }
        assert!(is_inside, "L2: entry {} reaches beyond the pool", position.index);
        position.offset += len;
        position.index = position.index.next();
        Some(())
    }

    /// Returns the length of the entry at `position`. `None` if the page was given back.
    fn entry_len(&self, position: &Position) -> Option<usize> {
        let mut head = [0; 8];
        let is_inside = self.pool.load(position.segment, position.offset, &mut head);
        // Case 2.
        if !self.pool.is_still(position.segment, position.generation) {
            return None;
        }
        assert!(is_inside, "L2: entry {} begins beyond the pool", position.index);
        let [_, _, _, _, body_len @ ..] = head;
        Some(padded_len(u32::from_le_bytes(body_len) as usize))
    }
}
