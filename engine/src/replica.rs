//! One copy of a group: its log, how far it is committed and applied, and the state that came of it.
//!
//! A leader and a follower hold the same thing and differ only in who extends it; a snapshot that is being installed is
//! a second one beside it.
//!
//! # Invariants
//! I1. `applied <= commit <= last`.
//! I2. `commit` never falls. An entry at or below it is never cut.
//!
//! # Source
//! The rules for appends are section 1.4 of the replication protocol: entries are cut only where another stamp stands
//! at the same index.

use core::ops::ControlFlow;

use crate::entry::{Entries, Entry, EntryKind, StoredEntries};
use crate::ids::{EntryId, LogIndex};
use crate::log::{Log, LogFull};
use crate::machine::answer::AnswerSink;
use crate::machine::command::Command;
use crate::machine::kv::{Kv, Moment};
use crate::message::Append;
use crate::replication::comparison::{Note, Notes};
use crate::slots::SlotRange;
use crate::sync::pool::Pool;
use crate::time::LogTime;

/// See the module.
#[derive(Debug, Hash)]
pub(crate) struct Replica {
    pub(crate) log: Log,
    pub(crate) kv: Kv,
    pub(crate) commit: LogIndex,
    pub(crate) applied: EntryId,
    /// Logged time of the last entry applied.
    pub(crate) time: LogTime,
    /// The digests of its state, to be compared with those of others.
    pub(crate) notes: Notes,
}

/// What became of an append.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Extended {
    /// The log equals the sender's up to and with this index.
    Through(LogIndex),
    /// The entry before the first one is not here; the logs may match at or below this index.
    Mismatch(LogIndex),
    /// The entries are not what an honest leader sends; nothing was changed.
    Malformed(&'static str),
}

impl Replica {
    pub(crate) fn new(owner: u32, slots: SlotRange) -> Self {
        Self {
            log: Log::new(owner),
            kv: Kv::new(slots),
            commit: LogIndex(0),
            applied: EntryId::START,
            time: LogTime(0),
            notes: Notes::default(),
        }
    }

    /// Creates the copy that a snapshot behind `base`, an entry of logged time `time`, fills.
    pub(crate) fn behind(owner: u32, slots: SlotRange, base: EntryId, time: LogTime) -> Self {
        Self {
            log: Log::starting_after(owner, base),
            kv: Kv::uncovered(slots),
            commit: base.index,
            applied: base,
            time,
            notes: Notes::default(),
        }
    }

    /// Whether the log is equal, through `prev`, to that of whoever holds `prev` and may lead.
    pub(crate) fn knows(&self, pool: &Pool, prev: EntryId) -> bool {
        // What lies before the base is committed and so equal in the logs of all leaders that may send.
        prev.index < self.log.base().index || self.log.epoch_at(pool, prev.index) == Some(prev.epoch)
    }

    /// Extends the log by what a leader sent, by the rule of conflict.
    ///
    /// # Errors
    /// The log's memory is full: what fitted is in the log, and the caller tries again after making room.
    pub(crate) fn extend(&mut self, pool: &mut Pool, append: &Append<'_>) -> Result<Extended, LogFull> {
        let prev = append.prev;
        let base = self.log.base();
        if !self.knows(pool, prev) {
            let hint = self.log.last().min(prev.index.previous());
            return Ok(Extended::Mismatch(hint));
        }
        if let Some(what) = self.find_fault(pool, append) {
            return Ok(Extended::Malformed(what));
        }
        let mut last = prev.index;
        let mut entries = StoredEntries::new(append.entries);
        let mut fresh = append.entries;
        // Where something lies in the log already, what is the same stays.
        while last < self.log.last()
            && let Some(entry) = entries.next()
        {
            let id = entry.id();
            if id.index > base.index && self.log.epoch_at(pool, id.index) != Some(id.epoch) {
                assert!(id.index > self.commit, "I2: {id} conflicts below commit {}", self.commit);
                self.log.cut(pool, id.index);
                break;
            }
            (last, fresh) = (id.index, entries.rest());
        }
        if !fresh.is_empty() {
            self.log.append_parsed(pool, fresh)?;
            last = self.log.last();
        }
        Ok(Extended::Through(last.max(base.index)))
    }

    /// Returns what only this replica can find wrong with the entries of an append, before any of them is used. That they
    /// are whole, consecutive and hold commands was checked where they entered the node ([`Append::entries`]).
    fn find_fault(&self, pool: &Pool, append: &Append<'_>) -> Option<&'static str> {
        debug_assert!(is_well_formed(append), "entries that nobody has checked: {append:?}");
        let (slots, base) = (self.kv.slots(), self.log.base());
        for entry in StoredEntries::new(append.entries) {
            let id = entry.id();
            if id.index > base.index && id.epoch < base.epoch {
                return Some("the epochs of the entries fall behind the snapshot's");
            }
            if !slots.contains(entry.slot()) {
                return Some("an entry belongs to another group");
            }
            if self.contradicts(pool, id) {
                return Some("an entry contradicts a committed one");
            }
        }
        None
    }

    /// Whether another entry is committed at the index of this one.
    pub(crate) fn contradicts(&self, pool: &Pool, id: EntryId) -> bool {
        id.index <= self.commit && self.log.epoch_at(pool, id.index).is_some_and(|epoch| epoch != id.epoch)
    }

    /// Raises the commit index to `through`, as far as the log goes.
    pub(crate) fn advance_commit(&mut self, through: LogIndex) {
        let through = through.min(self.log.last());
        if through > self.commit {
            self.commit = through;
            self.log.publish(through);
        }
    }

    /// Applies the committed entries through `through` that are not applied yet, in order: `apply` is given each of them
    /// with the state.
    ///
    /// Cost: nothing for each entry beside `apply` and reading its header.
    pub(crate) fn apply_through(&mut self, pool: &Pool, through: LogIndex, mut apply: impl FnMut(&mut Kv, &Entry<'_>)) {
        let (first, through) = (self.applied.index.next(), through.min(self.commit));
        if first > through {
            return;
        }
        for slice in self.log.slices(pool, first..=through, usize::MAX) {
            for entry in StoredEntries::new(slice) {
                debug_assert_eq!(entry.id().index, self.applied.index.next(), "L2: entries follow each other");
                apply(&mut self.kv, &entry);
                (self.applied, self.time) = (entry.id(), entry.time());
                self.notes.note(self.applied.index, self.kv.digest());
            }
        }
    }

    /// Returns what to tell a leader of the state.
    pub(crate) fn state_to_tell(&self) -> Note {
        self.notes.to_tell(self.applied.index, self.log.last())
    }

    /// Takes the state of a copy and keeps the log; what the copy has not applied and this replica knows to be committed is
    /// applied from there. Returns the rest of the copy.
    pub(crate) fn take_state(&mut self, mut copy: Self) -> Self {
        assert!(copy.applied.index >= self.log.base().index, "what follows the state has left the log");
        core::mem::swap(&mut self.kv, &mut copy.kv);
        core::mem::swap(&mut self.notes, &mut copy.notes);
        (self.applied, self.time) = (copy.applied, copy.time);
        self.advance_commit(copy.commit);
        copy
    }

    /// As [`Replica::apply_through`], answering no one.
    pub(crate) fn apply_silently(&mut self, pool: &Pool, through: LogIndex) {
        self.apply_through(pool, through, |kv, entry| apply(kv, entry, &mut AnswerSink::discard()));
    }

    /// Has the entries that are not committed be born anew.
    #[cfg(planted)]
    pub(crate) fn restamp(&mut self, pool: &mut Pool, epoch: crate::ids::Epoch) {
        let mut entries = Vec::new();
        self.visit_uncommitted(pool, |entry| entries.push((entry.header(), entry.body().to_vec())));
        self.log.cut(pool, self.commit.next());
        for (header, body) in entries {
            let stamp = crate::log::EntryStamp { epoch, time: header.time, kind: header.kind, slot: header.slot };
            self.log.append(pool, stamp, &[&body]).expect("they had room before");
        }
    }

    /// Calls `visit` for each entry that is not committed, in order.
    pub(crate) fn visit_uncommitted(&self, pool: &Pool, visit: impl FnMut(&Entry<'_>)) {
        self.visit_from(pool, self.commit.next(), visit);
    }

    /// Calls `visit` for each entry from `first` on, in order.
    pub(crate) fn visit_from(&self, pool: &Pool, first: LogIndex, mut visit: impl FnMut(&Entry<'_>)) {
        let last = self.log.last();
        if first <= last {
            let slices = self.log.slices(pool, first..=last, usize::MAX);
            slices.flat_map(StoredEntries::new).for_each(|entry| visit(&entry));
        }
    }

    /// Calls `visit` for each committed entry from `first` on, in order, until it breaks off; `first` must not lie before the log.
    pub(crate) fn visit_committed(
        &self,
        pool: &Pool,
        first: LogIndex,
        mut visit: impl FnMut(&Entry<'_>) -> ControlFlow<()>,
    ) {
        let last = self.commit.min(self.log.last());
        if first <= last {
            let mut entries = self.log.slices(pool, first..=last, usize::MAX).flat_map(StoredEntries::new);
            while entries.next().is_some_and(|entry| visit(&entry).is_continue()) {}
        }
    }

    /// Checks the invariants that cost time.
    ///
    /// # Panics
    /// If one does not hold.
    pub(crate) fn check(&self) {
        assert!(self.applied.index <= self.commit, "I1: applied {} past commit {}", self.applied, self.commit);
        assert!(self.commit <= self.log.last(), "I1: commit {} past last {}", self.commit, self.log.last());
        assert!(self.log.base().index <= self.applied.index, "unapplied entries were released");
        self.kv.check();
    }
}

/// Applies one entry.
pub(crate) fn apply(kv: &mut Kv, entry: &Entry<'_>, answer: &mut AnswerSink<'_>) {
    match entry.kind() {
        EntryKind::View => {}
        EntryKind::Command => {
            // Checked where it entered the cluster, covered by checksums since: if it does not decode, we are wrong.
            let command = Command::decode(entry.body()).expect("entries hold checked commands");
            kv.apply_in(entry.slot(), Moment { time: entry.time() }, &command, answer);
        }
    }
}

/// Whether the entries of an append are what [`Append::entries`] promises, but for their checksums.
fn is_well_formed(append: &Append<'_>) -> bool {
    let mut previous = append.prev;
    Entries::new(append.entries).all(|entry| {
        let Ok(entry) = entry else { return false };
        let id = entry.id();
        let follows = id.index == previous.index.next() && id.epoch >= previous.epoch;
        previous = id;
        follows && (entry.kind() != EntryKind::Command || Command::check(entry.body()).is_ok())
    })
}
