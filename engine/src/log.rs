//! The replicated log of one group: a chain of pages of entries, written by one thread, readable by others without locks.
//!
//! Memory comes from the CPU's [`Pool`] in runs of segments; each run is one slotted page, so an entry is found by its
//! index without searching inside the page. New entries go behind the last one; old pages are given back whole; a suffix
//! that was never committed can be cut. What a log no longer holds it knows only as its *base*: the entry directly before
//! the first one.
//!
//! ```text
//!  base |  first ...          | ...                 | ...  commit ... last
//!       [ page: run of segments ] -> [ page ] -> [ page: takes appends ]
//! ```
//!
//! Operations of the owner take the pool as an argument, because all logs of a CPU share it. Other threads read through a
//! [`LogReader`], which sees entries up to what [`Log::publish`] allowed; see there for the races.
//!
//! # Invariants
//! L1. Pages are not empty and follow each other without a gap: `base.index` plus all their entries is `last.index`.
//! L2. What lies in a page is whole entries with consecutive indexes and epochs that never fall.
//! L3. `base.index <= published <= last.index`; what was published is never cut, and only that is released.
//! # Time and units
//! `first`, `last`, `through` and ranges are inclusive; `from` of a cut is the first entry that goes.
//! # Bounds
//! The pool. An append that finds no segments changes nothing and says [`LogFull`].
//! # Threads
//! One owner. What readers on other threads see is described in [`reader`].

use core::hash::{Hash, Hasher};
use std::collections::VecDeque;
use std::ops::RangeInclusive;
use std::sync::Arc;

use thiserror::Error;

use crate::entry::{
    BODY_BYTES_MAX, ENTRY_ALIGN, Entry, EntryHeader, EntryKind, HEADER_BYTES, StoredEntries, checksum, padded_len,
};
use crate::ids::{EntryId, Epoch, LogIndex, Slot};
use crate::sync::pool::{Link, Pool, Run};
use crate::time::LogTime;

mod page;
mod published;
pub mod reader;
mod slices;

pub use reader::{LogReader, Read};
pub use slices::Slices;

use page::Page;
use published::{Anchor, Published};

/// Pages that a chain has room for before it has to grow; a group that keeps more grows once.
const PAGES_RESERVED: usize = 8;

/// Entries of one group, from `first` to `last`. Dropping it leaves its memory with the pool; [`Log::clear`] gives it back.
///
/// ```
/// use quorate_engine::{entry::EntryKind, ids::{Epoch, LogIndex, Slot}, time::LogTime};
/// use quorate_engine::{log::{EntryStamp, Log}, sync::pool::{Pool, PoolSize}};
///
/// let mut pool = Pool::new(PoolSize { segments: 4, segment_bytes: 1024 });
/// let mut log = Log::new(0);
/// let stamp = EntryStamp { epoch: Epoch(1), time: LogTime(0), kind: EntryKind::Command, slot: Slot(12182) };
/// let id = log.append(&mut pool, stamp, &[b"SET ", b"foo bar"])?;
/// assert_eq!(id.index, LogIndex(1));
/// assert_eq!(log.entry(&pool, LogIndex(1)).unwrap().body(), b"SET foo bar");
/// # Ok::<(), quorate_engine::log::LogFull>(())
/// ```
#[derive(Debug)]
pub struct Log {
    owner: u32,
    base: EntryId,
    last: EntryId,
    published_last: LogIndex,
    bytes: usize,
    pages: VecDeque<Page>,
    published: Arc<Published>,
}

/// What the leader gives an entry besides its body and its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EntryStamp {
    /// The epoch it is born in.
    pub epoch: Epoch,
    /// The group's clock.
    pub time: LogTime,
    /// What it is for.
    pub kind: EntryKind,
    /// The slot it concerns.
    pub slot: Slot,
}

impl Log {
    /// Returns the empty log of a new group. `owner` is what the pool names it by.
    #[must_use]
    pub fn new(owner: u32) -> Self {
        Self::starting_after(owner, EntryId::START)
    }

    /// Returns an empty log whose first entry will follow `base`. It holds no memory of a pool until then.
    ///
    /// Cost: allocates what readers share and room for a few pages.
    #[must_use]
    pub fn starting_after(owner: u32, base: EntryId) -> Self {
        Self {
            owner,
            base,
            last: base,
            published_last: base.index,
            bytes: 0,
            pages: VecDeque::with_capacity(PAGES_RESERVED),
            published: Arc::new(Published::new(base.index)),
        }
    }

    /// Appends an entry whose body is the concatenation of `body`, and returns its name.
    ///
    /// Cost: O(body), no allocation unless the chain of pages is longer than ever before.
    ///
    /// # Errors
    /// [`LogFull`]: the pool has no room; nothing was changed. Release something, here or in another log, or refuse.
    ///
    /// # Panics
    /// If the epoch is below the last entry's (L2), or the body longer than [`BODY_BYTES_MAX`].
    pub fn append(&mut self, pool: &mut Pool, stamp: EntryStamp, body: &[&[u8]]) -> Result<EntryId, LogFull> {
        let body_len = body.iter().map(|part| part.len()).sum::<usize>();
        assert!(body_len <= BODY_BYTES_MAX, "a body of {body_len} bytes is above {BODY_BYTES_MAX}");
        let id = EntryId { epoch: stamp.epoch, index: self.last.index.next() };
        let len = padded_len(body_len);
        let (run, offset) = self.place(pool, id, len)?;
        let header = EntryHeader {
            crc32c: 0,
            body_len: u32::try_from(body_len).expect("BODY_BYTES_MAX fits 32 bits"),
            id,
            time: stamp.time,
            kind: stamp.kind,
            slot: stamp.slot,
        };
        let mut writer = pool.writer(run, offset, len);
        for word in header.to_words() {
            writer.word(word);
        }
        for part in body {
            writer.bytes(part);
        }
        writer.finish();
        // Summed where it lies: one pass over neighbouring bytes, in whatever parts they came.
        let crc32c = checksum(pool.bytes(run, offset, HEADER_BYTES + body_len));
        let [first_word, ..] = EntryHeader { crc32c, ..header }.to_words();
        pool.set_word(run, offset / size_of::<u64>(), first_word);
        Ok(id)
    }

    /// Appends an entry that was born elsewhere, byte for byte. The caller has verified it.
    ///
    /// Cost: as [`Log::append`], without the checksum.
    ///
    /// # Errors
    /// [`LogFull`]: as [`Log::append`].
    ///
    /// # Panics
    /// If it does not follow the last entry: its index is not the next one, or its epoch is lower (L2).
    pub fn append_entry(&mut self, pool: &mut Pool, entry: &Entry<'_>) -> Result<(), LogFull> {
        self.append_parsed(pool, entry.raw())
    }

    /// Appends whole entries that were born elsewhere, byte for byte: `bytes` were parsed and verified.
    ///
    /// Cost: as moving the bytes, and a little for each entry.
    ///
    /// # Errors
    /// [`LogFull`]: the pool has no room for all of them. What comes before the one that does not fit was appended.
    ///
    /// # Panics
    /// If they do not follow the last entry and each other (L2).
    pub(crate) fn append_parsed(&mut self, pool: &mut Pool, bytes: &[u8]) -> Result<(), LogFull> {
        let mut rest = bytes;
        while !rest.is_empty() {
            self.make_room(pool, Entry::stored(rest).raw().len())?;
            let page = self.pages.back_mut().expect("a page with room was found or added");
            let (run, offset) = (page.run(), page.used_bytes());
            let mut len = 0;
            for entry in StoredEntries::new(rest) {
                let entry_len = entry.raw().len();
                if !page.has_room(pool, entry_len) {
                    break;
                }
                let (id, last) = (entry.id(), self.last);
                assert!(id.index == last.index.next(), "L1: entry {id} where {} is next", last.index.next());
                assert!(id.epoch >= last.epoch, "L2: entry {id} behind {last}");
                page.add(pool, entry_len);
                self.last = id;
                len += entry_len;
            }
            self.bytes += len;
            let mut writer = pool.writer(run, offset, len);
            writer.bytes(&rest[..len]);
            writer.finish();
            rest = &rest[len..];
        }
        Ok(())
    }

    /// Removes `from` and all that follows it. Does nothing if the log ends before.
    ///
    /// Cost: O(pages removed).
    ///
    /// # Panics
    /// If `from` was published as committed (L3).
    pub fn cut(&mut self, pool: &mut Pool, from: LogIndex) {
        assert!(from > self.published_last, "L3: cut from {from}, published through {}", self.published_last);
        if from > self.last.index {
            return;
        }
        let last = from.previous();
        let epoch = self.epoch_at(pool, last).expect("the entry before a cut is in the log or its base");
        while let Some(page) = self.pages.pop_back_if(|page| page.first() >= from) {
            self.bytes -= page.used_bytes();
            pool.free(page.run());
        }
        match self.pages.back_mut() {
            Some(page) => {
                let before = page.used_bytes();
                page.truncate(pool, last);
                self.bytes -= before - page.used_bytes();
                pool.set_link(page.run(), None);
            }
            None => self.published.set_anchor(Anchor { first: from, segment: None }),
        }
        self.last = EntryId { epoch, index: last };
    }

    /// Gives the oldest page back if all its entries are at or below `through` and it is not the last page. The entry
    /// before the new first one becomes the base. Returns how many segments the pool got; 0 if nothing could be given.
    ///
    /// Cost: O(1).
    ///
    /// # Panics
    /// If the page holds entries that were not published as committed (L3).
    pub fn release_oldest(&mut self, pool: &mut Pool, through: LogIndex) -> usize {
        if !self.can_release_oldest(through) {
            return 0;
        }
        let page = self.pages.pop_front().expect("a page can be released");
        let last = page.last();
        assert!(last <= self.published_last, "L3: release through {last}, published {}", self.published_last);
        self.base = EntryId { epoch: page.epoch_at(pool, last), index: last };
        self.bytes -= page.used_bytes();
        // The new beginning first: a reader that finds the page gone must find out where to go on.
        self.publish_anchor(pool);
        pool.free(page.run());
        page.run().segments as usize
    }

    /// Gives all memory back; the last entry becomes the base. For a group that is idle, everything of which is applied.
    ///
    /// # Panics
    /// If something in the log was not published as committed (L3).
    pub fn release_all(&mut self, pool: &mut Pool) {
        assert!(
            self.published_last == self.last.index,
            "L3: release of all through {}, published {}",
            self.last,
            self.published_last
        );
        self.restart_after(pool, self.last);
    }

    /// Removes everything: the log is as new, and its next entry is the first of all.
    pub fn clear(&mut self, pool: &mut Pool) {
        self.restart_after(pool, EntryId::START);
    }

    /// Removes everything; the next entry will follow `base`, which counts as published.
    pub fn restart_after(&mut self, pool: &mut Pool, base: EntryId) {
        // Oldest first, see case 2 in `sync::pool`. Then the index, then the beginning: a reader that knows the new
        // beginning knows the new index, and one that knows the new index finds the old pages gone.
        for page in self.pages.drain(..) {
            pool.free(page.run());
        }
        self.bytes = 0;
        self.base = base;
        self.last = base;
        self.published_last = base.index;
        self.published.set_commit(base.index);
        self.published.set_anchor(Anchor { first: base.index.next(), segment: None });
    }

    /// Allows readers on other threads to read through `commit`.
    ///
    /// Cost: one store, if it changed.
    ///
    /// # Panics
    /// If `commit` lies beyond the log or falls (L3).
    pub fn publish(&mut self, commit: LogIndex) {
        assert!(commit <= self.last.index, "L3: publish {commit} of a log through {}", self.last);
        assert!(commit >= self.published_last, "L3: publish {commit} after {}", self.published_last);
        if commit > self.published_last {
            self.published_last = commit;
            self.published.set_commit(commit);
        }
    }

    /// Returns a reader for another thread, beginning at `next`.
    #[must_use]
    pub fn reader(&self, pool: &Pool, next: LogIndex) -> LogReader {
        LogReader::new(pool.reader(), Arc::clone(&self.published), next)
    }

    /// Returns the name under which the pool knows the log.
    #[must_use]
    pub const fn owner(&self) -> u32 {
        self.owner
    }

    /// Returns the entry directly before the first one. It is not in the log.
    #[must_use]
    pub const fn base(&self) -> EntryId {
        self.base
    }

    /// Returns the index of the first entry; one beyond the last if the log is empty.
    #[must_use]
    pub const fn first(&self) -> LogIndex {
        self.base.index.next()
    }

    /// Returns the index of the last entry; that of the base if the log is empty.
    #[must_use]
    pub const fn last(&self) -> LogIndex {
        self.last.index
    }

    /// Returns the name of the last entry; the base if the log is empty.
    #[must_use]
    pub const fn last_id(&self) -> EntryId {
        self.last
    }

    /// Returns how far other threads may read.
    #[must_use]
    pub const fn published(&self) -> LogIndex {
        self.published_last
    }

    /// Returns whether the log holds no entry, and no memory.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.pages.is_empty()
    }

    /// Returns the bytes of all entries, headers and padding included.
    #[must_use]
    pub const fn len_bytes(&self) -> usize {
        self.bytes
    }

    /// Returns the bytes of all entries behind `index`.
    ///
    /// Cost: O(pages behind it).
    #[must_use]
    pub fn bytes_after(&self, pool: &Pool, index: LogIndex) -> usize {
        let mut bytes = 0;
        for page in self.pages.iter().rev() {
            if page.last() <= index {
                break;
            }
            bytes += page.used_bytes() - page.offset(pool, index.next().max(page.first()));
        }
        bytes
    }

    /// Returns whether [`Log::release_oldest`] would give something back.
    #[must_use]
    pub fn can_release_oldest(&self, through: LogIndex) -> bool {
        self.pages.len() > 1 && self.pages[0].last() <= through
    }

    /// Returns the entry at `index`, in place.
    ///
    /// Cost: O(1) in the last page, O(log pages) before it; no allocation.
    #[must_use]
    pub fn entry<'a>(&self, pool: &'a Pool, index: LogIndex) -> Option<Entry<'a>> {
        let page = &self.pages[self.page_of(index)?];
        let entry = Entry::stored(page.bytes_from(pool, index));
        debug_assert_eq!(entry.id().index, index, "L2: another entry lies at this index");
        Some(entry)
    }

    /// Returns the epoch in which the entry at `index` was born; also for the base.
    ///
    /// Cost: as [`Log::entry`].
    #[must_use]
    pub fn epoch_at(&self, pool: &Pool, index: LogIndex) -> Option<Epoch> {
        if index == self.last.index {
            return Some(self.last.epoch);
        }
        if index == self.base.index {
            return Some(self.base.epoch);
        }
        Some(self.pages[self.page_of(index)?].epoch_at(pool, index))
    }

    /// Returns the bytes of whole entries of `range`, one slice per page, as many entries as fit into `max_bytes` but at
    /// least one. [`Slices::last_index`] says which is the last of them.
    ///
    /// Cost: O(log entries per page + pages), no allocation.
    ///
    /// # Panics
    /// If the range is empty or not all of it is in the log.
    #[must_use]
    pub fn slices<'a>(&'a self, pool: &'a Pool, range: RangeInclusive<LogIndex>, max_bytes: usize) -> Slices<'a> {
        let (first, last) = range.into_inner();
        assert!(first <= last, "slices of nothing, {first} through {last}");
        assert!(last <= self.last.index, "slices through {last} of a log through {}", self.last);
        let page = self.page_of(first).expect("the range begins inside the log");
        Slices::new(pool, self.pages.range(page..), first..=last, max_bytes)
    }

    /// Returns the last of the entries `first ..= last` that lie in the page of `first` and together take at most
    /// `max_bytes`, at least `first`; and how many bytes these are.
    ///
    /// Cost: O(1) if they are the last ones of their page and fit, O(log entries per page) else.
    ///
    /// # Panics
    /// If the range is empty or not all of it is in the log.
    #[must_use]
    pub(crate) fn piece(&self, pool: &Pool, range: RangeInclusive<LogIndex>, max_bytes: usize) -> (LogIndex, usize) {
        let (first, last) = range.into_inner();
        assert!(first <= last, "a piece of nothing, {first} through {last}");
        assert!(last <= self.last.index, "a piece through {last} of a log through {}", self.last);
        let page = &self.pages[self.page_of(first).expect("the range begins inside the log")];
        let through = page.last_within(pool, first, max_bytes).max(first).min(last);
        (through, page.offset(pool, through.next()) - page.offset(pool, first))
    }

    /// Returns the bytes of the entries `first ..= last` if they are in the log and in one page.
    ///
    /// Cost: O(1) in the last page.
    #[must_use]
    pub(crate) fn bytes<'a>(&self, pool: &'a Pool, range: RangeInclusive<LogIndex>) -> Option<&'a [u8]> {
        let (first, last) = range.into_inner();
        let page = &self.pages[self.page_of(first)?];
        (first <= last && last <= page.last()).then(|| page.bytes_between(pool, first, last))
    }

    /// Checks the invariants that can be checked from inside. Cost: O(entries).
    ///
    /// # Panics
    /// If one is broken.
    pub fn check(&self, pool: &Pool) {
        let mut previous = self.base;
        let mut bytes = 0;
        for page in &self.pages {
            assert_eq!(page.first(), previous.index.next(), "L1: a gap between pages");
            assert!(page.last() >= page.first(), "L1: a page without entries");
            for index in page.first().0..=page.last().0 {
                let entry = self.entry(pool, LogIndex(index)).expect("L1: the entry is in the log");
                assert_eq!(entry.verify(), Ok(()), "L2");
                assert_eq!(entry.id().index, previous.index.next(), "L2: consecutive");
                assert!(entry.id().epoch >= previous.epoch, "L2: epochs never fall");
                assert_eq!(page.offset(pool, entry.id().index) % ENTRY_ALIGN, 0, "L2: entries are aligned");
                bytes += entry.raw().len();
                previous = entry.id();
            }
        }
        assert_eq!(previous, self.last, "L1: the last entry");
        assert_eq!(bytes, self.bytes, "L1: the bytes of all entries");
        assert!(self.base.index <= self.published_last, "L3: base {} published {}", self.base, self.published_last);
        assert!(self.published_last <= self.last.index, "L3: published {} last {}", self.published_last, self.last);
    }

    /// Makes room for the next entry, `id`, of `len` bytes and counts it in. Returns where its bytes go.
    fn place(&mut self, pool: &mut Pool, id: EntryId, len: usize) -> Result<(Run, usize), LogFull> {
        assert!(id.epoch >= self.last.epoch, "L2: entry {id} behind {}", self.last);
        self.make_room(pool, len)?;
        let page = self.pages.back_mut().expect("a page with room was found or added");
        let offset = page.add(pool, len);
        self.last = id;
        self.bytes += len;
        Ok((page.run(), offset))
    }

    /// Sees to it that an entry of `len` bytes fits into the last page.
    #[inline]
    fn make_room(&mut self, pool: &mut Pool, len: usize) -> Result<(), LogFull> {
        let has_room = self.pages.back().is_some_and(|page| page.has_room(pool, len));
        if has_room { Ok(()) } else { self.add_page(pool, len) }
    }

    /// Adds a page with room for an entry of `len` bytes.
    #[cold]
    fn add_page(&mut self, pool: &mut Pool, len: usize) -> Result<(), LogFull> {
        let segments = Page::segments_for(pool, len);
        let Some(run) = pool.allocate(self.owner, segments) else {
            return Err(LogFull { segments_needed: segments, segments_free: pool.free_segments() });
        };
        if let Some(before) = self.pages.back() {
            pool.set_link(before.run(), Some(Link { next: run.head, count: before.count() }));
        }
        self.pages.push_back(Page::new(run, self.last.index.next()));
        if self.pages.len() == 1 {
            self.publish_anchor(pool);
        }
        Ok(())
    }

    /// Tells readers where the log begins.
    fn publish_anchor(&self, pool: &Pool) {
        let segment = self.pages.front().map(|page| (page.run().head, pool.generation(page.run())));
        self.published.set_anchor(Anchor { first: self.first(), segment });
    }

    /// Returns which page holds `index`.
    fn page_of(&self, index: LogIndex) -> Option<usize> {
        if index <= self.base.index || index > self.last.index {
            return None;
        }
        let last = self.pages.len() - 1;
        if index >= self.pages[last].first() {
            return Some(last);
        }
        Some(self.pages.partition_point(|page| page.first() <= index) - 1)
    }
}

/// Which entries there are, and which of them lie together. What is in them stands in the pool; readers on other threads
/// decide nothing.
impl Hash for Log {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let Self { owner, base, last, published_last, bytes, pages, published: _ } = self;
        (owner, base, last, published_last, bytes, pages).hash(state);
    }
}

/// The pool has no room for the entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("{segments_needed} neighbouring segments needed for the entry, {segments_free} segments free")]
pub struct LogFull {
    /// How many neighbouring segments the entry needs.
    pub segments_needed: u32,
    /// How many are free, neighbouring or not.
    pub segments_free: u32,
}

#[cfg(test)]
mod tests;
