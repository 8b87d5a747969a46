//! The key-value module: strings, counters and hashes with expiry, kept by slot.
//!
//! Every slot has its own sorted table. That is what lets a group be split, a snapshot be taken one slot at a time while
//! writes go on, and a scan be resumed from a cursor that means the same on every replica. Each key adds one number to
//! the digest of the state; the sum does not depend on the order of the keys, so it is kept up to date with every write.
//! `scrub` computes it anew, a few keys at a time.
//!
//! # Invariants
//! I1. `digest` is the wrapping sum of `Item::digest` over all keys, and of what the names of their deadlines add;
//! `key_count` and `used_bytes` are sums likewise.
//! I2. A key is in `deadlines` iff its item has a deadline, with that deadline.
//! I3. No key has an empty hash.
//!
//! # Time and units
//! Deadlines are logged time. Nothing here expires by itself: the leader appends [`Op::Expired`]. The *name* of a deadline is
//! what it is in Unix time by the clock of whoever set it, in nanoseconds; it is told to whoever asks, and never compared.
//!
//! # Bounds
//! Memory is limited by the leader before it appends; applying never refuses for lack of it. The length of a string is
//! limited by the command that makes it longer and by what all builds share, never by a configuration.

use core::hash::{Hash, Hasher};
use std::collections::BTreeMap;

use rapidhash::v3::{RapidSecrets, rapidhash_v3_seeded};

use super::answer::AnswerSink;
use super::command::{Command, Flags, Op, items};
use super::hash::{self, Fields};
use super::key::Key;
use super::scrub::ScrubCursor;
use super::snapshot::Coverage;
use super::strings;
use crate::ids::Slot;
use crate::slots::{SlotRange, slot_of};
use crate::time::LogTime;

/// Bytes counted for each key beside the bytes of key and value: the item and its share of the table.
pub const KEY_OVERHEAD_BYTES: usize = 96;
/// Bytes counted for each hash field beside the bytes of field and value.
pub const FIELD_OVERHEAD_BYTES: usize = 56;

/// The seeds of the digest. Part of the format: replicas of different builds must agree.
const DIGEST_SECRETS: RapidSecrets = RapidSecrets::seed_cpp(0x5175_6f72_6174_6531);

/// Deadlines no further apart are the same: half of the unit they are named in.
const SAME_DEADLINE_NS: u64 = 500_000;

/// Deadlines of keys in their order, with their names; 0 for none.
pub(super) type Deadlines = BTreeMap<(LogTime, Slot, Key), i64>;

/// All keys of one group.
#[derive(Debug)]
pub struct Kv {
    slots: SlotRange,
    /// By slot. Nothing stands here that changes with every write: they are many, and each lies in memory of its own.
    tables: Vec<BTreeMap<Key, Item>>,
    deadlines: Deadlines,
    coverage: Coverage,
    digest: u64,
    key_count: usize,
    used_bytes: usize,
    scrub: ScrubCursor,
}

/// What is kept under one key.
#[derive(Debug)]
pub(crate) struct Item {
    pub(crate) value: Value,
    pub(crate) deadline: Option<LogTime>,
    /// What this key adds to the digest of the group, and the hash of the key alone, which is part of that.
    digest: u64,
    key_digest: u64,
    /// What this key adds to the used bytes.
    bytes: usize,
}

/// A value of one of the types there are.
#[derive(Debug)]
pub(crate) enum Value {
    /// Bytes.
    Text(Vec<u8>),
    /// A string that an increment made: the same thing as its decimal text.
    Integer(i64),
    /// Fields and values.
    Hash(Fields),
}

impl Value {
    pub(crate) fn type_name(&self) -> &'static str {
        match self {
            Self::Text(_) | Self::Integer(_) => "string",
            Self::Hash(_) => "hash",
        }
    }

    fn len_bytes(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Integer(number) => strings::with_decimal(*number, <[u8]>::len),
            Self::Hash(fields) => fields.len_bytes(),
        }
    }
}

/// How a test damages a state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Damage {
    /// A byte flips, and nothing that is kept about it: what memory does that fails.
    Byte,
    /// A value is another one, and all that is kept about it fits: what a machine does that is not the same everywhere.
    Value,
}

/// Where a command is applied: everything about the moment that is not in the command itself.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// Logged time of the entry.
    pub time: LogTime,
}

impl Kv {
    /// Creates the empty state of a group with `slots`.
    #[must_use]
    pub fn new(slots: SlotRange) -> Self {
        Self {
            slots,
            tables: (0..slots.len()).map(|_| BTreeMap::new()).collect(),
            deadlines: BTreeMap::new(),
            coverage: Coverage::All,
            digest: 0,
            key_count: 0,
            used_bytes: 0,
            scrub: ScrubCursor::default(),
        }
    }

    /// Creates the state of a group that is about to be filled from a snapshot: it covers no key yet.
    #[must_use]
    pub fn uncovered(slots: SlotRange) -> Self {
        Self { coverage: Coverage::Through(None), ..Self::new(slots) }
    }

    /// Returns the digest of the state: equal states have equal digests, on every build and machine.
    #[must_use]
    pub fn digest(&self) -> u64 {
        self.digest
    }

    /// Returns how many keys there are.
    #[must_use]
    pub fn key_count(&self) -> usize {
        self.key_count
    }

    /// Returns the bytes counted against the limit on memory.
    #[must_use]
    pub fn used_bytes(&self) -> usize {
        self.used_bytes
    }

    /// Returns the earliest deadline of any key.
    #[must_use]
    pub fn next_deadline(&self) -> Option<LogTime> {
        self.deadlines.first_key_value().map(|(&(deadline, ..), _)| deadline)
    }

    /// Calls `expire` for up to `max` keys whose deadline is at or before `time`, earliest first.
    pub fn due(&self, time: LogTime, max: usize, mut expire: impl FnMut(&[u8], LogTime)) {
        for (deadline, _, key) in self.deadlines.keys().take(max).take_while(|(deadline, ..)| *deadline <= time) {
            expire(key.as_bytes(), *deadline);
        }
    }

    /// Applies a committed write.
    pub fn apply(&mut self, moment: Moment, command: &Command<'_>, answer: &mut AnswerSink<'_>) {
        self.apply_in(slot_of(command.routing_key()), moment, command, answer);
    }

    /// Applies a committed write whose keys are in `slot`.
    pub(crate) fn apply_in(&mut self, slot: Slot, moment: Moment, command: &Command<'_>, answer: &mut AnswerSink<'_>) {
        match command.op {
            Op::Set => strings::set(self, slot, moment, command, answer),
            Op::SetMany => strings::set_many(self, command, answer),
            Op::SetRange => strings::set_range(self, command, answer),
            Op::Append => strings::append(self, command, answer),
            Op::Increment => strings::increment(self, command, answer),
            Op::IncrementFloat => strings::increment_float(self, command, answer),
            Op::GetDelete => strings::get_delete(self, command, answer),
            Op::GetExpire => strings::get_expire(self, moment, command, answer),
            Op::Delete => self.delete_many(command, answer),
            Op::Expire => self.expire(moment, command, answer),
            Op::Persist => self.persist(command, answer),
            Op::HashSet => hash::set(self, command, answer),
            Op::HashDelete => hash::delete(self, command, answer),
            Op::HashIncrement => hash::increment(self, command, answer),
            Op::HashIncrementFloat => hash::increment_float(self, command, answer),
            Op::Flush => self.flush(answer),
            Op::Expired => self.expired(command, answer),
            Op::Get
            | Op::GetMany
            | Op::Exists
            | Op::Length
            | Op::GetRange
            | Op::TimeToLive
            | Op::Type
            | Op::HashGet
            | Op::HashGetMany
            | Op::HashGetAll
            | Op::HashFields
            | Op::HashValues
            | Op::HashLength
            | Op::HashExists
            | Op::HashFieldLength
            | Op::HashScan
            | Op::Scan
            | Op::Keys
            | Op::Count
            | Op::RandomKey
            | Op::WaitAcks
            | Op::ExpireTime => {
                // A checked write is the only thing the leader appends; an entry that is none changes nothing, on all
                // replicas alike.
                answer.error("ERR a read does not belong in the log");
            }
        }
    }

    /// Answers a read from the applied state.
    pub fn read(&self, moment: Moment, command: &Command<'_>, answer: &mut AnswerSink<'_>) {
        match command.op {
            Op::Get => strings::get(self, command, answer),
            Op::GetMany => strings::get_many(self, command, answer),
            Op::Exists => answer.count(items(command.value).filter(|key| self.item(key).is_some()).count()),
            Op::Length => strings::length(self, command, answer),
            Op::GetRange => strings::get_range(self, command, answer),
            Op::TimeToLive => answer.int(self.time_to_live(moment, command.key)),
            Op::ExpireTime => self.expire_time(moment, command.key, answer),
            Op::Type => answer.word(self.item(command.key).map_or("none", |item| item.value.type_name())),
            Op::HashGet
            | Op::HashGetMany
            | Op::HashGetAll
            | Op::HashFields
            | Op::HashValues
            | Op::HashLength
            | Op::HashExists
            | Op::HashFieldLength
            | Op::HashScan => hash::read(self, command, answer),
            Op::Scan => self.scan(command, answer),
            Op::Keys => self.keys(answer),
            Op::Count => answer.count(self.key_count),
            Op::RandomKey => self.random_key(command.number, answer),
            Op::Set
            | Op::SetMany
            | Op::SetRange
            | Op::Append
            | Op::Increment
            | Op::IncrementFloat
            | Op::GetDelete
            | Op::GetExpire
            | Op::Delete
            | Op::Expire
            | Op::Persist
            | Op::HashSet
            | Op::HashDelete
            | Op::HashIncrement
            | Op::HashIncrementFloat
            | Op::Flush
            | Op::Expired
            | Op::WaitAcks => {
                answer.error("ERR not a read");
            }
        }
    }

    /// Changes one byte of the string at `key` behind the log's back, so that a test can show that this is noticed. Returns
    /// whether there was such a string.
    pub fn corrupt(&mut self, key: &[u8], damage: Damage) -> bool {
        let Some(Item { value: Value::Text(text), .. }) = self.item_mut(key) else { return false };
        let Some(byte) = text.first_mut() else { return false };
        *byte ^= 1;
        match damage {
            Damage::Byte => {}
            Damage::Value => self.settle(key),
        }
        true
    }

    /// Whether each key is what it was written to be.
    #[cfg(feature = "testing")]
    pub(crate) fn is_sound(&self) -> bool {
        self.tables.iter().flatten().all(|(key, item)| item.checked_digest(key.as_bytes()).is_some())
    }

    /// Recomputes what is kept incrementally and compares (I1, I2, I3).
    ///
    /// # Panics
    /// If something does not hold.
    pub fn check(&self) {
        let mut sums = (0_u64, 0_usize, 0_usize, 0_usize);
        for (slot, table) in self.slots_and_tables() {
            for (key, item) in table {
                assert_eq!(slot_of(key.as_bytes()), slot, "I1: {key:?} lies in the table of another slot");
                let key_digest = rapidhash_v3_seeded(key.as_bytes(), &DIGEST_SECRETS);
                assert_eq!((item.key_digest, item.digest), (key_digest, digest_of(item)), "I1: digest of {key:?}");
                sums.0 = sums.0.wrapping_add(item.digest);
                sums.1 += 1;
                sums.2 += item.bytes;
                if let Some(deadline) = item.deadline {
                    sums.3 += 1;
                    let name = self.deadlines.get(&(deadline, slot, key.clone()));
                    let name = *name.unwrap_or_else(|| panic!("I2: {key:?}"));
                    sums.0 = sums.0.wrapping_add(digest_of_name(key.as_bytes(), name));
                }
                if let Value::Hash(fields) = &item.value {
                    assert!(fields.len() > 0, "I3: {key:?}");
                }
            }
        }
        assert_eq!(sums, (self.digest, self.key_count, self.used_bytes, self.deadlines.len()), "I1, I2");
    }

    // ---- what the families of commands are made of ----

    pub(crate) fn slots(&self) -> SlotRange {
        self.slots
    }

    pub(crate) fn coverage_mut(&mut self) -> &mut Coverage {
        &mut self.coverage
    }

    pub(crate) fn coverage(&self) -> &Coverage {
        &self.coverage
    }

    pub(crate) fn table(&self, slot: Slot) -> &BTreeMap<Key, Item> {
        &self.tables[self.position(slot)]
    }

    /// Returns the tables of all slots, in their order, and where the scrub is.
    pub(super) fn scrubbed(&mut self) -> (&[BTreeMap<Key, Item>], &mut ScrubCursor, &Deadlines) {
        (&self.tables, &mut self.scrub, &self.deadlines)
    }

    fn slots_and_tables(&self) -> impl Iterator<Item = (Slot, &BTreeMap<Key, Item>)> {
        (self.slots.first.0..).map(Slot).zip(&self.tables)
    }

    fn position(&self, slot: Slot) -> usize {
        assert!(self.slots.contains(slot), "{slot:?} is outside of {:?}", self.slots);
        usize::from(slot.0 - self.slots.first.0)
    }

    pub(crate) fn item(&self, key: &[u8]) -> Option<&Item> {
        self.tables[self.position(slot_of(key))].get(key)
    }

    /// Returns the item of `key` to be changed; [`Kv::settle`] must follow.
    pub(crate) fn item_mut(&mut self, key: &[u8]) -> Option<&mut Item> {
        let position = self.position(slot_of(key));
        self.tables[position].get_mut(key)
    }

    /// Notes that what a key adds to the digest is another number by `change`, wrapping.
    fn add_to_digest(&mut self, position: usize, key: &[u8], change: u64) {
        self.digest = self.digest.wrapping_add(change);
        self.scrub.on_change(position, key, change);
    }

    /// Whether a write to `key` is to be applied: not while a snapshot is being installed that has not reached it.
    pub(crate) fn covers(&self, key: &[u8]) -> bool {
        match &self.coverage {
            Coverage::All => true,
            coverage @ Coverage::Through(_) => coverage.includes(slot_of(key), key),
        }
    }

    /// Sets `key` to a text, in place where there is one, with this deadline or none.
    pub(crate) fn put_text(&mut self, key: &[u8], text: &[u8], deadline: Option<LogTime>) {
        self.put_text_in(slot_of(key), key, text, deadline);
    }

    /// As [`Kv::put_text`], for a key that is known to be in `slot`.
    pub(crate) fn put_text_in(&mut self, slot: Slot, key: &[u8], text: &[u8], deadline: Option<LogTime>) {
        debug_assert_eq!(slot, slot_of(key), "the leader's host computed another slot");
        if !self.covers(key) {
            return;
        }
        let position = self.position(slot);
        if let Some(item) = self.tables[position].get_mut(key) {
            if let Value::Text(old) = &mut item.value {
                old.clear();
                old.extend_from_slice(text);
            } else {
                item.value = Value::Text(text.to_vec());
            }
            let before = core::mem::replace(&mut item.deadline, deadline);
            let (digest, bytes) = (digest_of(item), KEY_OVERHEAD_BYTES + key.len() + item.value.len_bytes());
            let change = digest.wrapping_sub(item.digest);
            self.used_bytes = self.used_bytes - item.bytes + bytes;
            (item.digest, item.bytes) = (digest, bytes);
            self.add_to_digest(position, key, change);
            if before != deadline {
                self.move_deadline(slot, key, before, deadline);
            }
        } else {
            self.insert(key, Value::Text(text.to_vec()), deadline);
        }
    }

    /// Inserts a key that is not there.
    pub(crate) fn insert(&mut self, key: &[u8], value: Value, deadline: Option<LogTime>) {
        if !self.covers(key) {
            return;
        }
        let slot = slot_of(key);
        let position = self.position(slot);
        let key_digest = rapidhash_v3_seeded(key, &DIGEST_SECRETS);
        let mut item = Item { value, deadline, digest: 0, key_digest, bytes: 0 };
        item.digest = digest_of(&item);
        item.bytes = KEY_OVERHEAD_BYTES + key.len() + item.value.len_bytes();
        self.add_to_digest(position, key, item.digest);
        self.used_bytes += item.bytes;
        self.key_count += 1;
        self.move_deadline(slot, key, None, deadline);
        let before = self.tables[position].insert(Key::new(key), item);
        assert!(before.is_none(), "I1: {} was there already", key.escape_ascii());
    }

    /// Removes `key`; returns its value.
    pub(crate) fn remove(&mut self, key: &[u8]) -> Option<Value> {
        let slot = slot_of(key);
        let position = self.position(slot);
        let item = self.tables[position].remove(key)?;
        self.add_to_digest(position, key, item.digest.wrapping_neg());
        self.used_bytes -= item.bytes;
        self.key_count -= 1;
        self.move_deadline(slot, key, item.deadline, None);
        Some(item.value)
    }

    /// Brings digest and tallies up to date after the value of `key` was changed in place.
    pub(crate) fn settle(&mut self, key: &[u8]) {
        let position = self.position(slot_of(key));
        let Some(item) = self.tables[position].get_mut(key) else { return };
        let (digest, bytes) = (digest_of(item), KEY_OVERHEAD_BYTES + key.len() + item.value.len_bytes());
        let change = digest.wrapping_sub(item.digest);
        self.used_bytes = self.used_bytes - item.bytes + bytes;
        (item.digest, item.bytes) = (digest, bytes);
        self.add_to_digest(position, key, change);
    }

    /// Sets or clears the deadline of a key that is there.
    pub(crate) fn put_deadline(&mut self, key: &[u8], deadline: Option<LogTime>) {
        let slot = slot_of(key);
        let Some(item) = self.item_mut(key) else { return };
        let before = core::mem::replace(&mut item.deadline, deadline);
        self.move_deadline(slot, key, before, deadline);
        self.settle(key);
    }

    fn move_deadline(&mut self, slot: Slot, key: &[u8], before: Option<LogTime>, after: Option<LogTime>) {
        if before == after {
            return;
        }
        if let Some(before) = before {
            let name = self.deadlines.remove(&(before, slot, Key::new(key))).unwrap_or(0);
            self.add_to_digest(self.position(slot), key, digest_of_name(key, name).wrapping_neg());
        }
        if let Some(after) = after {
            self.deadlines.insert((after, slot, Key::new(key)), 0);
        }
    }

    /// Gives the deadline of `key`, if it has one, another name.
    pub(crate) fn name_deadline(&mut self, slot: Slot, key: &[u8], name: i64) {
        let Some(deadline) = self.table(slot).get(key).and_then(|item| item.deadline) else { return };
        let kept = self.deadlines.get_mut(&(deadline, slot, Key::new(key))).expect("I2: it has a deadline");
        let before = core::mem::replace(kept, name);
        let change = digest_of_name(key, name).wrapping_sub(digest_of_name(key, before));
        self.add_to_digest(self.position(slot), key, change);
    }

    /// Returns the name of a deadline of `key`; 0 if it has none.
    pub(crate) fn deadline_name(&self, slot: Slot, key: &[u8], deadline: LogTime) -> i64 {
        self.deadlines.get(&(deadline, slot, Key::new(key))).copied().unwrap_or(0)
    }

    // ---- commands that work on keys of any type ----

    fn delete_many(&mut self, command: &Command<'_>, answer: &mut AnswerSink<'_>) {
        let deleted = items(command.value).filter(|key| self.remove(key).is_some()).count();
        answer.count(deleted);
    }

    fn flush(&mut self, answer: &mut AnswerSink<'_>) {
        for table in &mut self.tables {
            table.clear();
        }
        self.deadlines.clear();
        self.scrub = ScrubCursor::default();
        (self.digest, self.key_count, self.used_bytes) = (0, 0, 0);
        answer.ok();
    }

    fn expired(&mut self, command: &Command<'_>, answer: &mut AnswerSink<'_>) {
        let deadline = deadline_from(command.time);
        let is_due = self.item(command.key).is_some_and(|item| item.deadline.is_some_and(|at| at <= deadline));
        if is_due {
            self.remove(command.key);
        }
        answer.int(i64::from(is_due));
    }

    fn expire(&mut self, moment: Moment, command: &Command<'_>, answer: &mut AnswerSink<'_>) {
        let Some(item) = self.item(command.key) else { return answer.int(0) };
        let deadline = deadline_after(moment, command.time);
        let is_wanted = match item.deadline {
            None => !command.flags.has(Flags::IF_PRESENT) && !command.flags.has(Flags::IF_LATER),
            Some(before) => {
                !command.flags.has(Flags::IF_ABSENT)
                    && (!command.flags.has(Flags::IF_LATER) || is_later(deadline, before))
                    && (!command.flags.has(Flags::IF_EARLIER) || is_later(before, deadline))
            }
        };
        if is_wanted {
            self.put_or_end(moment, command, deadline);
        }
        answer.int(i64::from(is_wanted));
    }

    /// Sets the deadline of the key of a command, with the name it gives, or ends the key if that has come already.
    pub(crate) fn put_or_end(&mut self, moment: Moment, command: &Command<'_>, deadline: LogTime) {
        if deadline <= moment.time {
            self.remove(command.key);
        } else {
            self.put_deadline(command.key, Some(deadline));
            self.name_deadline(slot_of(command.key), command.key, command.number);
        }
    }

    fn persist(&mut self, command: &Command<'_>, answer: &mut AnswerSink<'_>) {
        let had_deadline = self.item(command.key).is_some_and(|item| item.deadline.is_some());
        if had_deadline {
            self.put_deadline(command.key, None);
        }
        answer.int(i64::from(had_deadline));
    }

    fn time_to_live(&self, moment: Moment, key: &[u8]) -> i64 {
        match self.item(key).map(|item| item.deadline) {
            None => -2,
            Some(None) => -1,
            Some(Some(deadline)) => i64::try_from(deadline.0.saturating_sub(moment.time.0)).unwrap_or(i64::MAX),
        }
    }

    fn expire_time(&self, moment: Moment, key: &[u8], answer: &mut AnswerSink<'_>) {
        let remaining = self.time_to_live(moment, key);
        let Some(deadline) = self.item(key).and_then(|item| item.deadline) else { return answer.int(remaining) };
        answer.array(2);
        answer.int(remaining);
        answer.int(self.deadline_name(slot_of(key), key, deadline));
    }

    /// Answers the slot and the cursor to go on from, and some keys; slot 0 behind the last slot of the group, where the
    /// caller goes on with the next group. Walks as many slots as it takes to find the number of keys wanted.
    ///
    /// Within a slot keys are walked in the order of a hash, so that a key that is there all the time is returned
    /// whatever is inserted or deleted meanwhile. Cost: one pass over each slot it looks at; a step returns at least
    /// 1/64 of a large slot.
    fn scan(&self, command: &Command<'_>, answer: &mut AnswerSink<'_>) {
        let first = Slot(u16::try_from(command.time & 0xFFFF).expect("masked to 16 bits"));
        if !self.slots.contains(first) {
            return answer.error("ERR invalid cursor");
        }
        let wanted = usize::try_from(command.time >> 16).unwrap_or(1).max(1);
        let is_wanted = |item: &Item| command.value.is_empty() || item.value.type_name().as_bytes() == command.value;
        let mut found = Vec::new();
        let (mut slot, mut cursor, mut seen) = (first, command.number, 0);
        let next = loop {
            let table = self.table(slot);
            let page = scan_page(table.keys().map(Key::as_bytes), table.len(), cursor, wanted - seen);
            seen += page.names.len();
            found.extend(
                page.names.iter().map(|(_, name)| *name).filter(|name| table.get(*name).is_some_and(is_wanted)),
            );
            if page.next != 0 {
                break (slot, page.next);
            }
            if slot == self.slots.last {
                break (Slot(0), 0);
            }
            (slot, cursor) = (Slot(slot.0 + 1), 0);
            if seen >= wanted {
                break (slot, 0);
            }
        };
        answer.array(3);
        answer.int(i64::from(next.0.0));
        answer.int(next.1);
        answer.array(found.len());
        found.iter().for_each(|key| answer.bulk(key));
    }

    fn keys(&self, answer: &mut AnswerSink<'_>) {
        answer.array(self.key_count);
        self.tables.iter().flat_map(BTreeMap::keys).for_each(|key| answer.bulk(key.as_bytes()));
    }

    fn random_key(&self, number: i64, answer: &mut AnswerSink<'_>) {
        let number = usize::try_from(number.unsigned_abs()).unwrap_or(0);
        let Some(position) = number.checked_rem(self.key_count) else { return answer.nil() };
        let mut skipped = 0;
        for table in &self.tables {
            let count = table.len();
            if position < skipped + count {
                let key = table.keys().nth(position - skipped).expect("the table has more keys than that");
                return answer.bulk(key.as_bytes());
            }
            skipped += count;
        }
    }
}

/// The digest stands for all keys, as it does between replicas.
impl Hash for Kv {
    fn hash<H: Hasher>(&self, state: &mut H) {
        // Where the scrub is decides when damage is found, and nothing where there is none.
        let Self { slots, tables: _, deadlines, coverage, digest, key_count, used_bytes, scrub: _ } = self;
        (slots, deadlines, coverage, digest, key_count, used_bytes).hash(state);
    }
}

/// Some names of a table, in the order of their hash.
pub(crate) struct Page<'a> {
    /// Where the next page starts; 0 if this was the last one.
    pub(crate) next: i64,
    /// Hash and name.
    pub(crate) names: Vec<(i64, &'a [u8])>,
}

/// Returns the names whose hash is at or behind `cursor`, at least `wanted` of them if there are so many. Names with
/// the same hash always come together.
pub(crate) fn scan_page<'a>(names: impl Iterator<Item = &'a [u8]>, len: usize, cursor: i64, wanted: usize) -> Page<'a> {
    const HASH_BITS: u32 = 48;
    let hash = |name: &[u8]| {
        let bits = rapidhash_v3_seeded(name, &DIGEST_SECRETS) >> (u64::BITS - HASH_BITS);
        // Never 0: that cursor begins a scan and ends it.
        i64::try_from(bits).expect("48 bits").max(1)
    };
    let mut names: Vec<(i64, &[u8])> = names.map(|name| (hash(name), name)).filter(|(at, _)| *at >= cursor).collect();
    names.sort_unstable();
    let wanted = wanted.max(len / 64).max(1);
    let next = names.get(wanted).map_or(0, |&(at, _)| at);
    if next != 0 {
        // Those with the hash of the next page's first name belong to that page, unless that would empty this one.
        let first_of_next = names.partition_point(|&(at, _)| at < next);
        if first_of_next > 0 {
            names.truncate(first_of_next);
            return Page { next, names };
        }
        let end = names.partition_point(|&(at, _)| at <= next);
        let next = names.get(end).map_or(0, |&(at, _)| at);
        names.truncate(end);
        return Page { next, names };
    }
    Page { next: 0, names }
}

/// Returns the deadline `ttl` nanoseconds after the moment; a negative one has passed.
pub(crate) fn deadline_after(moment: Moment, ttl: i64) -> LogTime {
    match u64::try_from(ttl) {
        Ok(ttl) => LogTime(moment.time.0.saturating_add(ttl)),
        Err(_) => LogTime(0),
    }
}

/// Whether one deadline is later than another, rather than the same said twice.
///
/// Clients name deadlines in milliseconds of Unix time. Each becomes logged time by a reading of two clocks, so that one
/// that is named twice may come out some microseconds apart.
fn is_later(deadline: LogTime, other: LogTime) -> bool {
    deadline.0 > other.0.saturating_add(SAME_DEADLINE_NS)
}

fn deadline_from(time: i64) -> LogTime {
    LogTime(u64::try_from(time).unwrap_or(0))
}

impl Item {
    /// Returns what this key adds to the digest, if that is what every byte of it says.
    pub(super) fn checked_digest(&self, key: &[u8]) -> Option<u64> {
        let key_digest = rapidhash_v3_seeded(key, &DIGEST_SECRETS);
        let computed = digest_of_parts(key_digest, &self.value, Fields::compute_digest, self.deadline);
        (computed == self.digest).then_some(computed)
    }
}

/// Returns what one key adds to the digest: a hash of key, type, value and deadline. The integer form of a string
/// counts as its text, so that it does not matter how a value came about.
fn digest_of(item: &Item) -> u64 {
    digest_of_parts(item.key_digest, &item.value, Fields::digest, item.deadline)
}

fn digest_of_parts(
    key_digest: u64,
    value: &Value,
    digest_of_fields: impl Fn(&Fields) -> u64,
    deadline: Option<LogTime>,
) -> u64 {
    let content = match value {
        Value::Text(text) => rapidhash_v3_seeded(text, &DIGEST_SECRETS),
        Value::Integer(number) => strings::with_decimal(*number, |text| rapidhash_v3_seeded(text, &DIGEST_SECRETS)),
        Value::Hash(fields) => !digest_of_fields(fields),
    };
    mix(mix(key_digest, content), deadline.map_or(0, |deadline| deadline.0))
}

/// Returns what the name of a key's deadline adds to the digest of the group: nothing if there is none.
pub(super) fn digest_of_name(key: &[u8], name: i64) -> u64 {
    if name == 0 {
        return 0;
    }
    let mut words = [0; 16];
    words[..8].copy_from_slice(&rapidhash_v3_seeded(key, &DIGEST_SECRETS).to_le_bytes());
    words[8..].copy_from_slice(&name.to_le_bytes());
    rapidhash_v3_seeded(&words, &DIGEST_SECRETS)
}

/// Returns what one field of a hash adds to the digest of the hash.
pub(crate) fn digest_of_field(field: &[u8], value: &[u8]) -> u64 {
    mix(rapidhash_v3_seeded(field, &DIGEST_SECRETS), rapidhash_v3_seeded(value, &DIGEST_SECRETS))
}

/// Returns a digest of two, in this order: the halves of a 128-bit product, as rapidhash combines its lanes. The odd
/// constants keep digests that are 0 from hiding the other one, and tell first from second.
fn mix(first: u64, second: u64) -> u64 {
    let product = u128::from(first ^ 0x9e37_79b9_7f4a_7c15) * u128::from(second ^ 0xd1b5_4a32_d192_ed03);
    #[expect(clippy::cast_possible_truncation, reason = "the two halves")]
    let (low, high) = (product as u64, (product >> 64) as u64);
    low ^ high
}

#[cfg(test)]
mod tests;
