//! The bytes of a range of entries, page by page, for sending.

use std::collections::vec_deque;
use std::iter::FusedIterator;
use std::ops::RangeInclusive;

use super::page::Page;
use crate::ids::LogIndex;
use crate::sync::pool::Pool;

/// Yields the bytes of whole entries in order, one slice per page of the log.
#[derive(Clone, Debug)]
pub struct Slices<'a> {
    pool: &'a Pool,
    pages: vec_deque::Iter<'a, Page>,
    next: LogIndex,
    last: LogIndex,
}

impl<'a> Slices<'a> {
    /// `pages` begin with the one that holds the first of `range`.
    pub(super) fn new(
        pool: &'a Pool,
        pages: vec_deque::Iter<'a, Page>,
        range: RangeInclusive<LogIndex>,
        max_bytes: usize,
    ) -> Self {
        let (first, last) = range.into_inner();
        let mut slices = Self { pool, pages, next: first, last };
        slices.last = slices.last_within(max_bytes);
        slices
    }

    /// Returns the last entry that is included.
    #[must_use]
    pub const fn last_index(&self) -> LogIndex {
        self.last
    }

    /// Returns the last entry yielded so far; the one before the first if none was.
    #[must_use]
    pub const fn yielded_through(&self) -> LogIndex {
        self.next.previous()
    }

    fn last_within(&self, max_bytes: usize) -> LogIndex {
        let mut next = self.next;
        let mut left = max_bytes;
        for page in self.pages.clone() {
            let fits = page.last_within(self.pool, next, left);
            if fits >= self.last || fits < page.last() {
                // At least one, however long it is.
                return fits.max(self.next).min(self.last);
            }
            left -= page.used_bytes() - page.offset(self.pool, next);
            next = fits.next();
        }
        self.last
    }
}

impl<'a> Iterator for Slices<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        if self.next > self.last {
            return None;
        }
        let page = self.pages.next().expect("L1: pages reach through the last entry");
        let through = page.last().min(self.last);
        let bytes = page.bytes_between(self.pool, self.next, through);
        self.next = through.next();
        Some(bytes)
    }
}

impl FusedIterator for Slices<'_> {}
