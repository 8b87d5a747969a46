//! The encoded engine commands of one request.

use quorate_engine::ids::Slot;
use quorate_engine::machine::command::{Command, HEAD_BYTES, push_item};

/// Encoded engine commands of one request, used again from request to request.
///
/// # Bounds
/// What a large request took beyond 1 MiB or 4,096 parts is given back by the next one.
#[derive(Debug, Default)]
pub struct Parts {
    /// All commands, one behind the other.
    bytes: Vec<u8>,
    /// Slot of each command, and where it ends in `bytes`.
    ends: Vec<(Slot, usize)>,
    pattern: Vec<u8>,
    has_writes: bool,
}

/// One engine command, for the keys of one slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part<'a> {
    /// The slot that decides which group it goes to.
    pub slot: Slot,
    /// The encoded command.
    pub command: &'a [u8],
}

impl Parts {
    /// Forgets the request.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.bytes.shrink_to(KEPT_BYTES_MAX);
        self.ends.clear();
        self.ends.shrink_to(KEPT_PARTS_MAX);
        self.pattern.clear();
        self.pattern.shrink_to(KEPT_BYTES_MAX);
        self.has_writes = false;
    }

    /// How many parts there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Returns part `n`, from 0.
    ///
    /// # Panics
    /// If there are not so many.
    #[must_use]
    pub fn get(&self, n: usize) -> Part<'_> {
        let start = n.checked_sub(1).map_or(0, |before| self.ends[before].1);
        let (slot, end) = self.ends[n];
        Part { slot, command: &self.bytes[start..end] }
    }

    /// Iterates over the parts in their order.
    pub fn iter(&self) -> impl Iterator<Item = Part<'_>> {
        (0..self.len()).map(|n| self.get(n))
    }

    /// Whether any part goes through the log. The command table does not know: GETEX writes with some options only.
    #[must_use]
    pub fn has_writes(&self) -> bool {
        self.has_writes
    }

    /// Returns the pattern of `KEYS` and `MATCH`, which the shape applies to the answers; empty if nothing is filtered.
    #[must_use]
    pub fn pattern(&self) -> &[u8] {
        &self.pattern
    }

    pub(super) fn push(&mut self, slot: Slot, command: &Command<'_>) {
        command.encode_into(&mut self.bytes);
        self.has_writes |= command.op.is_write();
        self.ends.push((slot, self.bytes.len()));
    }

    /// Appends a command whose value is `items`, packed where they will lie. The value of `command` does not count.
    pub(super) fn push_list<'a>(&mut self, slot: Slot, command: Command<'_>, items: impl Iterator<Item = &'a [u8]>) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&[0; HEAD_BYTES]);
        let key = start + HEAD_BYTES;
        self.bytes.extend_from_slice(command.key);
        let value = key + command.key.len();
        items.for_each(|item| push_item(&mut self.bytes, item));
        let head = Command { value: &self.bytes[value..], ..command }.head();
        self.bytes[start..key].copy_from_slice(&head);
        self.has_writes |= command.op.is_write();
        self.ends.push((slot, self.bytes.len()));
    }

    #[cfg(test)]
    pub(super) fn capacity_bytes(&self) -> usize {
        self.bytes.capacity() + self.ends.capacity() * size_of::<(Slot, usize)>() + self.pattern.capacity()
    }

    pub(super) fn set_pattern(&mut self, pattern: &[u8]) {
        self.pattern.clear();
        self.pattern.extend_from_slice(pattern);
    }
}

/// Bytes of buffer kept from one request to the next: more than almost any request needs.
const KEPT_BYTES_MAX: usize = 1 << 20;

/// Parts for which there is room from one request to the next.
const KEPT_PARTS_MAX: usize = 4096;
