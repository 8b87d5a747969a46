//! Goes through a state a few keys at a time, in (slot, key) order, and computes the digest of each key, and in the end that of
//! the state, anew from its bytes.
//!
//! The digest that is kept changes with what is written. It says nothing about bytes that nobody writes, and that memory has
//! changed by itself; the scrub sees those. What it finds is certain: whatever others hold, this replica is not what it was
//! written to be.
//!
//! Writes go on between two steps. One to a key that the scrub has passed changes the sum so far as it changes the kept digest;
//! one to any other key is seen when the scrub comes there.
//!
//! # Bounds
//! A step takes as many keys as its budget says, counted in `cost_of`. A key is never divided: one large hash can take more
//! than the budget, which is then owed by the steps that follow.

use core::hint::black_box;
use core::ops::Bound;

use super::key::Key;
use super::kv::{Item, Kv, Value, digest_of_name};
use crate::ids::Slot;

/// Bytes that take about as long to go through as finding the key they belong to.
const BYTES_PER_UNIT: usize = 1 << 10;

/// So many keys are fetched from memory at once: they come all at one time then, and computing the digest of one does not wait for
/// that of the one before.
const FETCHED_AT_ONCE: usize = 16;

/// Where the scrub is.
#[derive(Debug, Default)]
pub(super) struct ScrubCursor {
    /// The slot, counted from the first one of the group.
    position: usize,
    /// The last key of it that was passed.
    after: Option<Key>,
    /// What all keys through that one add to the digest.
    sum: u64,
}

impl ScrubCursor {
    /// What a key adds to the digest has changed.
    #[inline]
    pub(super) fn on_change(&mut self, position: usize, key: &[u8], change: u64) {
        let is_in_slot = position == self.position;
        if is_in_slot && self.after.as_ref().is_some_and(|after| key <= after.as_bytes()) {
            self.sum = self.sum.wrapping_add(change);
        }
        // Whether a key's slot was passed is anybody's guess, so nothing branches on it.
        self.sum = self.sum.wrapping_add(change & u64::from(position < self.position).wrapping_neg());
    }
}

/// How far a step of the scrub has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scrubbed {
    /// The budget is spent, or owed; nothing was found so far.
    Partly,
    /// All keys were gone through, and are what they were written to be. The next step begins anew.
    Whole,
    /// Something is not what it was written to be.
    Damaged,
}

impl Kv {
    /// Goes on scrubbing until `budget`, counted in keys, is spent; what the last key took beyond it is left as a debt.
    pub fn scrub(&mut self, budget: &mut i64) -> Scrubbed {
        let (first, digest) = (self.slots().first, self.digest());
        let (tables, cursor, deadlines) = self.scrubbed();
        let start = cursor.position;
        let from = cursor.after.clone().map_or(Bound::Unbounded, Bound::Excluded);
        let rest_of_slot = tables.get(start).map(|table| table.range::<Key, _>((from, Bound::Unbounded)));
        let rest_of_slot = rest_of_slot.into_iter().flatten().map(|(key, item)| (start, key, item));
        let other_slots = tables.iter().enumerate().skip(start + 1);
        let other_slots =
            other_slots.flat_map(|(position, table)| table.iter().map(move |(key, item)| (position, key, item)));
        let mut entries = rest_of_slot.chain(other_slots);
        let mut last = None;
        loop {
            let batch = fetch(&mut entries);
            if batch[0].is_none() {
                break;
            }
            for (position, key, item) in batch.into_iter().flatten() {
                if *budget <= 0 {
                    if let Some((position, key)) = last {
                        (cursor.position, cursor.after) = (position, Some(Key::clone(key)));
                    }
                    return Scrubbed::Partly;
                }
                *budget -= cost_of(item);
                let name = match item.deadline {
                    None => 0,
                    Some(deadline) => {
                        let slot = Slot(first.0 + u16::try_from(position).expect("a slot of the group"));
                        match deadlines.get(&(deadline, slot, key.clone())) {
                            None => return Scrubbed::Damaged,
                            Some(name) => digest_of_name(key.as_bytes(), *name),
                        }
                    }
                };
                let Some(digest) = item.checked_digest(key.as_bytes()) else { return Scrubbed::Damaged };
                cursor.sum = cursor.sum.wrapping_add(digest).wrapping_add(name);
                last = Some((position, key));
            }
        }
        let ScrubCursor { sum, .. } = core::mem::take(cursor);
        if sum == digest { Scrubbed::Whole } else { Scrubbed::Damaged }
    }
}

/// A key, with the position of its slot.
type Entry<'a> = (usize, &'a Key, &'a Item);

/// Takes the next keys, and reads where the value of each begins.
fn fetch<'a>(entries: &mut impl Iterator<Item = Entry<'a>>) -> [Option<Entry<'a>>; FETCHED_AT_ONCE] {
    let mut batch = [None; FETCHED_AT_ONCE];
    let mut first_bytes = 0;
    for (place, entry) in batch.iter_mut().zip(entries) {
        if let Value::Text(text) = &entry.2.value {
            first_bytes ^= text.first().copied().unwrap_or_default();
        }
        *place = Some(entry);
    }
    black_box(first_bytes);
    batch
}

/// Returns how much of a budget a key takes.
fn cost_of(item: &Item) -> i64 {
    let (fields, bytes) = match &item.value {
        Value::Text(text) => (0, text.len()),
        Value::Integer(_) => (0, 0),
        Value::Hash(fields) => (fields.len(), fields.len_bytes()),
    };
    i64::try_from(1 + fields + bytes / BYTES_PER_UNIT).unwrap_or(i64::MAX)
}
