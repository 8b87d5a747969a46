//! A store as OmniPaxos 0.2.4 needs it: it never hands out entries that are not decided where only decided ones are wanted.
//!
//! A core node that is behind is sent what was decided since as a change of its image. To that it first makes an image of
//! what it holds decided itself, but up to the new decided index, of which it knows already, not up to its own
//! (`InternalStorage::sync_log` sets the index, then calls `create_decided_snapshot`). Behind its own it may hold entries of a leader that
//! was deposed, which were never decided, and they would end up in its image; or it holds too few, and the image would be empty. All
//! that is ever read with [`Storage::get_entries`] is meant to be decided, so what is not is left out here.

use omnipaxos::ballot_leader_election::Ballot;
use omnipaxos::storage::{StopSign, Storage, StorageOp, StorageResult};

use super::entry::{Entry, Image};

/// See the module.
pub(super) struct Clipped<S>(pub(super) S);

impl<S: Storage<Entry>> Storage<Entry> for Clipped<S> {
    fn get_entries(&self, from: usize, to: usize) -> StorageResult<Vec<Entry>> {
        let to = to.min(self.0.get_decided_idx()?);
        if from < to { self.0.get_entries(from, to) } else { Ok(Vec::new()) }
    }

    // ---- the rest is as it is ----

    fn write_atomically(&mut self, ops: Vec<StorageOp<Entry>>) -> StorageResult<()> {
        self.0.write_atomically(ops)
    }

    fn append_entry(&mut self, entry: Entry) -> StorageResult<()> {
        self.0.append_entry(entry)
    }

    fn append_entries(&mut self, entries: Vec<Entry>) -> StorageResult<()> {
        self.0.append_entries(entries)
    }

    fn append_on_prefix(&mut self, from_idx: usize, entries: Vec<Entry>) -> StorageResult<()> {
        self.0.append_on_prefix(from_idx, entries)
    }

    fn set_promise(&mut self, n_prom: Ballot) -> StorageResult<()> {
        self.0.set_promise(n_prom)
    }

    fn set_decided_idx(&mut self, ld: usize) -> StorageResult<()> {
        self.0.set_decided_idx(ld)
    }

    fn get_decided_idx(&self) -> StorageResult<usize> {
        self.0.get_decided_idx()
    }

    fn set_accepted_round(&mut self, na: Ballot) -> StorageResult<()> {
        self.0.set_accepted_round(na)
    }

    fn get_accepted_round(&self) -> StorageResult<Option<Ballot>> {
        self.0.get_accepted_round()
    }

    fn get_log_len(&self) -> StorageResult<usize> {
        self.0.get_log_len()
    }

    fn get_suffix(&self, from: usize) -> StorageResult<Vec<Entry>> {
        self.0.get_suffix(from)
    }

    fn get_promise(&self) -> StorageResult<Option<Ballot>> {
        self.0.get_promise()
    }

    fn set_stopsign(&mut self, s: Option<StopSign>) -> StorageResult<()> {
        self.0.set_stopsign(s)
    }

    fn get_stopsign(&self) -> StorageResult<Option<StopSign>> {
        self.0.get_stopsign()
    }

    fn trim(&mut self, idx: usize) -> StorageResult<()> {
        self.0.trim(idx)
    }

    fn set_compacted_idx(&mut self, idx: usize) -> StorageResult<()> {
        self.0.set_compacted_idx(idx)
    }

    fn get_compacted_idx(&self) -> StorageResult<usize> {
        self.0.get_compacted_idx()
    }

    fn set_snapshot(&mut self, snapshot: Option<Image>) -> StorageResult<()> {
        self.0.set_snapshot(snapshot)
    }

    fn get_snapshot(&self) -> StorageResult<Option<Image>> {
        self.0.get_snapshot()
    }
}
