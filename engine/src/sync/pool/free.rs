//! Which segments of a pool are free, as bits, and the search for neighbouring ones.
//!
//! The search begins behind what was handed out last and goes once around. Runs do not go around the end.

use super::Run;

const BITS: u32 = u64::BITS;

#[derive(Debug)]
pub(super) struct FreeSegments {
    /// A bit per segment, set if it is free; bits beyond the last segment are not.
    words: Box<[u64]>,
    segments: u32,
    count: u32,
    /// Where the next search begins.
    next: u32,
}

impl FreeSegments {
    pub(super) fn new(segments: u32) -> Self {
        let mut words = vec![u64::MAX; segments.div_ceil(BITS) as usize].into_boxed_slice();
        let used_bits = segments % BITS;
        if used_bits > 0 {
            *words.last_mut().expect("a pool has segments") = (1 << used_bits) - 1;
        }
        Self { words, segments, count: segments, next: 0 }
    }

    pub(super) const fn count(&self) -> u32 {
        self.count
    }

    /// Takes `len` neighbouring segments and returns the first of them.
    pub(super) fn take(&mut self, len: u32) -> Option<u32> {
        assert!(len > 0, "a run has segments");
        if len > self.count {
            return None;
        }
        let first = self.find(self.next, self.segments, len).or_else(|| {
            // What begins before `next` may reach beyond it.
            self.find(0, self.segments.min(self.next.saturating_add(len)), len)
        })?;
        for segment in first..first + len {
            self.words[(segment / BITS) as usize] &= !(1 << (segment % BITS));
        }
        self.count -= len;
        self.next = (first + len) % self.segments;
        Some(first)
    }

    pub(super) fn give_back(&mut self, run: Run) {
        for segment in run.head..run.head + run.segments {
            assert!(!self.is_free(segment), "P1: segment {segment} is given back twice");
            self.words[(segment / BITS) as usize] |= 1 << (segment % BITS);
        }
        self.count += run.segments;
    }

    /// Returns the first of `len` free segments that lie within `start..end`.
    fn find(&self, start: u32, end: u32, len: u32) -> Option<u32> {
        let mut first = self.first_where(start, end, |word| word);
        while first.checked_add(len).is_some_and(|run_end| run_end <= end) {
            let used = self.first_where(first, first + len, |word| !word);
            if used == first + len {
                return Some(first);
            }
            first = self.first_where(used, end, |word| word);
        }
        None
    }

    /// Returns the first segment of `start..end` whose bit is set after `change`, or `end`.
    fn first_where(&self, start: u32, end: u32, change: impl Fn(u64) -> u64) -> u32 {
        let mut from = start;
        while from < end {
            let word = change(self.words[(from / BITS) as usize]) >> (from % BITS);
            if word != 0 {
                return (from + word.trailing_zeros()).min(end);
            }
            from = (from / BITS + 1) * BITS;
        }
        end
    }

    fn is_free(&self, segment: u32) -> bool {
        self.words[(segment / BITS) as usize] >> (segment % BITS) & 1 == 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(head: u32, segments: u32) -> Run {
        Run { head, segments }
    }

    #[test]
    fn search_goes_around() {
        let mut free = FreeSegments::new(4);
        assert_eq!([free.take(1), free.take(1), free.take(1)], [Some(0), Some(1), Some(2)]);
        free.give_back(run(0, 1));
        assert_eq!(free.take(1), Some(3), "what was given back last is taken last");
        assert_eq!(free.take(1), Some(0));
        assert_eq!(free.take(1), None);
    }

    #[test]
    fn run_crosses_words_of_the_map() {
        let mut free = FreeSegments::new(200);
        assert_eq!(free.take(60), Some(0));
        assert_eq!(free.take(100), Some(60));
        assert_eq!(free.take(41), None);
        assert_eq!(free.take(40), Some(160));
        assert_eq!(free.count(), 0);
        free.give_back(run(60, 100));
        assert_eq!(free.take(101), None);
        assert_eq!(free.take(100), Some(60));
    }

    #[test]
    fn run_that_begins_before_the_search_is_found() {
        let mut free = FreeSegments::new(8);
        assert_eq!(free.take(5), Some(0));
        assert_eq!(free.take(3), Some(5));
        free.give_back(run(0, 5));
        free.give_back(run(5, 3));
        assert_eq!(free.take(2), Some(0));
        assert_eq!(free.take(5), Some(2));
        free.give_back(run(2, 5));
        assert_eq!(free.take(6), Some(2), "begins before where the last one ended, ends after it");
    }

    #[test]
    fn holes_that_are_too_small_are_passed_over() {
        let mut free = FreeSegments::new(10);
        for segment in 0..10 {
            assert_eq!(free.take(1), Some(segment));
        }
        for segment in [1, 3, 4, 6, 7, 8] {
            free.give_back(run(segment, 1));
        }
        assert_eq!(free.take(3), Some(6));
        assert_eq!(free.take(2), Some(3));
        assert_eq!(free.take(2), None, "one segment is left");
    }

    #[test]
    #[should_panic(expected = "P1")]
    fn giving_back_twice_is_a_broken_invariant() {
        let mut free = FreeSegments::new(2);
        free.take(1);
        free.give_back(run(0, 1));
        free.give_back(run(0, 1));
    }
}
