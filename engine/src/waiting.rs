//! The waiting list of one group: requests parked until a counter reaches a position, each completed exactly once.
//!
//! Writes wait for `commit` to reach their index. They are appended in order and complete in order, so they sit in one
//! ring; completing one is popping its front. Reads that may not be answered yet (no read lease, or an earlier write of
//! the same connection is still under way) and requests that wait for a number of followers sit in lists of their own.
//!
//! # Invariants
//! I8. A waiter completes exactly once: whatever completes it also removes it.
//!
//! # Time and units
//! Deadlines are on the leader's monotonic clock, counted from when it received the request. All writes of a group wait
//! equally long, and so do all reads, so their deadlines are in the order in which they came.
//!
//! # Bounds
//! The engine counts the waiters of all its groups and refuses with `OVERLOAD` before one is added here.

use core::hash::{Hash, Hasher};
use std::collections::VecDeque;

use crate::ids::LogIndex;
use crate::output::Token;
use crate::time::Instant;

/// A write that waits for its commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct WriteWaiter {
    pub(crate) index: LogIndex,
    pub(crate) token: Token,
    pub(crate) deadline: Instant,
}

/// A read that waits for the read lease, and for `applied` to reach `after`.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct ReadWaiter {
    pub(crate) after: LogIndex,
    pub(crate) token: Token,
    pub(crate) deadline: Instant,
    pub(crate) command: Vec<u8>,
}

/// A request that waits until `need` followers hold the entry at `index`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct AckWaiter {
    pub(crate) index: LogIndex,
    pub(crate) need: usize,
    pub(crate) token: Token,
    pub(crate) deadline: Instant,
}

/// See the module.
#[derive(Debug, Default)]
pub struct WaitingList {
    writes: VecDeque<WriteWaiter>,
    reads: VecDeque<ReadWaiter>,
    acks: Vec<AckWaiter>,
    /// Buffers of reads that were answered, to be used again.
    spare: Vec<Vec<u8>>,
}

/// Who waits; the spare buffers are nobody's.
impl Hash for WaitingList {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let Self { writes, reads, acks, spare: _ } = self;
        (writes, reads, acks).hash(state);
    }
}

/// Most buffers kept for reuse, and the largest one worth keeping.
const SPARE_MAX: usize = 64;
const SPARE_BYTES_MAX: usize = 4096;

impl WaitingList {
    /// Returns how many wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.writes.len() + self.reads.len() + self.acks.len()
    }

    /// Whether nobody waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Parks a write until `commit` reaches `index`.
    ///
    /// # Panics
    /// If `index` is not behind those that wait.
    pub fn add_write(&mut self, index: LogIndex, token: Token, deadline: Instant) {
        if let Some(last) = self.writes.back() {
            assert!(last.index < index, "I8: {index:?} behind {:?}", last.index);
        }
        self.writes.push_back(WriteWaiter { index, token, deadline });
    }

    /// Takes the waiter of the entry at `index`, if someone waits for it. Entries must be asked for in order.
    pub fn take_write(&mut self, index: LogIndex) -> Option<Token> {
        let front = self.writes.front()?;
        debug_assert!(front.index >= index, "I8: {:?} was never completed", front.index);
        if front.index != index {
            return None;
        }
        self.writes.pop_front().map(|waiter| waiter.token)
    }

    /// Takes the first write whose deadline has come.
    pub fn take_late_write(&mut self, now: Instant) -> Option<(LogIndex, Token)> {
        let waiter = self.writes.pop_front_if(|waiter| waiter.deadline <= now)?;
        Some((waiter.index, waiter.token))
    }

    /// Takes all writes, in order.
    pub(crate) fn take_writes(&mut self) -> VecDeque<WriteWaiter> {
        core::mem::take(&mut self.writes)
    }

    /// Parks a read.
    pub fn add_read(&mut self, after: LogIndex, token: Token, deadline: Instant, command: &[u8]) {
        let mut buffer = self.spare.pop().unwrap_or_default();
        buffer.clear();
        buffer.extend_from_slice(command);
        self.reads.push_back(ReadWaiter { after, token, deadline, command: buffer });
    }

    /// Takes a read that may be answered now that `applied` is reached; for as long as the lease holds.
    pub(crate) fn take_ready_read(&mut self, applied: LogIndex) -> Option<ReadWaiter> {
        let position = self.reads.iter().position(|read| read.after <= applied)?;
        self.reads.remove(position)
    }

    /// Takes a read whose deadline has come.
    pub(crate) fn take_late_read(&mut self, now: Instant) -> Option<ReadWaiter> {
        let position = self.reads.iter().position(|read| read.deadline <= now)?;
        self.reads.remove(position)
    }

    /// Whether a read waits.
    #[must_use]
    pub fn has_reads(&self) -> bool {
        !self.reads.is_empty()
    }

    /// Gives back the buffer of a read that was answered.
    pub(crate) fn recycle(&mut self, read: ReadWaiter) {
        if self.spare.len() < SPARE_MAX && read.command.capacity() <= SPARE_BYTES_MAX {
            self.spare.push(read.command);
        }
    }

    /// Parks a request until `need` followers hold the entry at `index`.
    pub fn add_acks(&mut self, index: LogIndex, need: usize, token: Token, deadline: Instant) {
        self.acks.push(AckWaiter { index, need, token, deadline });
    }

    /// Takes a request that enough followers have answered, or whose deadline has come; `holders` tells how many
    /// followers hold an index.
    pub(crate) fn take_acks(&mut self, now: Instant, holders: impl Fn(LogIndex) -> usize) -> Option<AckWaiter> {
        let position =
            self.acks.iter().position(|waiter| waiter.deadline <= now || holders(waiter.index) >= waiter.need)?;
        Some(self.acks.swap_remove(position))
    }

    /// Whether a request waits for followers.
    #[must_use]
    pub fn has_acks(&self) -> bool {
        !self.acks.is_empty()
    }

    /// Returns the earliest deadline.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Instant> {
        let writes = self.writes.front().map(|waiter| waiter.deadline);
        let reads = self.reads.front().map(|read| read.deadline);
        let acks = self.acks.iter().map(|waiter| waiter.deadline).min();
        earlier(earlier(writes, reads), acks)
    }
}

/// Returns the earlier of two points in time, if there is one.
pub(crate) fn earlier(one: Option<Instant>, other: Option<Instant>) -> Option<Instant> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, None) => one,
        (None, other) => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_completes_once_by_commit_or_by_deadline() {
        let mut list = WaitingList::default();
        for index in [2, 3, 5] {
            list.add_write(LogIndex(index), Token(index), Instant(100 + index));
        }
        assert_eq!(list.take_write(LogIndex(1)), None);
        assert_eq!(list.take_write(LogIndex(2)), Some(Token(2)));
        assert_eq!(list.take_write(LogIndex(2)), None);
        assert_eq!(list.take_late_write(Instant(102)), None);
        assert_eq!(list.take_late_write(Instant(103)), Some((LogIndex(3), Token(3))));
        assert_eq!(list.take_write(LogIndex(3)), None);
        assert_eq!(list.take_write(LogIndex(4)), None);
        assert_eq!(list.take_write(LogIndex(5)), Some(Token(5)));
        assert!(list.is_empty());
    }

    #[test]
    fn reads_wait_for_what_their_connection_wrote() {
        let mut list = WaitingList::default();
        list.add_read(LogIndex(7), Token(1), Instant(50), b"a");
        list.add_read(LogIndex(3), Token(2), Instant(60), b"b");
        assert_eq!(list.next_deadline(), Some(Instant(50)));
        assert_eq!(list.take_ready_read(LogIndex(2)), None);
        let read = list.take_ready_read(LogIndex(6)).expect("the second one");
        assert_eq!((read.token, &read.command[..]), (Token(2), &b"b"[..]));
        list.recycle(read);
        assert_eq!(list.take_late_read(Instant(50)).expect("the first one").token, Token(1));
        assert!(list.is_empty());
    }

    #[test]
    fn a_wait_for_followers_ends_by_number_or_by_deadline() {
        let mut list = WaitingList::default();
        list.add_acks(LogIndex(4), 2, Token(1), Instant(10));
        assert_eq!(list.take_acks(Instant(9), |_| 1), None);
        assert_eq!(list.take_acks(Instant(9), |_| 2).expect("two hold it").token, Token(1));
        list.add_acks(LogIndex(4), 2, Token(2), Instant(10));
        assert_eq!(list.take_acks(Instant(10), |_| 0).expect("late").token, Token(2));
        assert!(!list.has_acks());
    }
}
