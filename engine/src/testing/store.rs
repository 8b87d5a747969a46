//! A store of a core node in memory, which outlives the core node.
//!
//! What a real one writes without waiting for the disk, the decided index, is lost in a crash: see [`MemoryStore::crash`].

use std::cell::RefCell;
use std::rc::Rc;

use omnipaxos::ballot_leader_election::Ballot;
use omnipaxos::storage::{StopSign, Storage, StorageOp, StorageResult};

use crate::control::core::{Entry, Era, EraStore, Image, Pledge};

/// See the module. Clones are the same store.
#[derive(Clone, Debug, Default)]
pub struct MemoryStore(Rc<RefCell<Content>>);

#[derive(Debug, Default)]
struct Content {
    era: Option<Era>,
    pledge: Option<Pledge>,
    promise: Option<Ballot>,
    accepted_round: Option<Ballot>,
    /// From `compacted` on.
    log: Vec<Entry>,
    compacted: usize,
    decided: usize,
    /// What it was when something else was last written.
    decided_on_disk: usize,
    image: Option<Image>,
    stop_sign: Option<StopSign>,
    writes: u64,
}

impl MemoryStore {
    /// Returns the era in which it is.
    #[must_use]
    pub fn era(&self) -> Option<Era> {
        self.0.borrow().era.clone()
    }

    /// Returns to which restoration it has pledged itself, if it has.
    #[must_use]
    pub fn pledge(&self) -> Option<Pledge> {
        self.0.borrow().pledge
    }

    /// Pledges itself, unless it has before.
    pub fn give_pledge(&self, pledge: Pledge) {
        self.0.borrow_mut().pledge.get_or_insert(pledge);
    }

    /// Its core node has failed.
    pub fn crash(&self) {
        let mut content = self.0.borrow_mut();
        content.decided = content.decided_on_disk;
    }

    /// Returns how often something was written that had to be on disk.
    #[must_use]
    pub fn writes(&self) -> u64 {
        self.0.borrow().writes
    }

    /// Returns the log, without what is in the image.
    #[must_use]
    pub fn log(&self) -> Vec<Entry> {
        self.0.borrow().log.clone()
    }

    /// Returns how many entries the log has, those in the image included.
    #[must_use]
    pub fn len(&self) -> usize {
        let content = self.0.borrow();
        content.compacted + content.log.len()
    }

    /// Whether nothing was ever written to the log.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Content {
    fn write(&mut self, op: StorageOp<Entry>) {
        match op {
            StorageOp::AppendEntry(entry) => self.log.push(entry),
            StorageOp::AppendEntries(entries) => self.log.extend(entries),
            StorageOp::AppendOnPrefix(first, entries) => {
                assert!(first >= self.compacted && first - self.compacted <= self.log.len(), "a gap in the log");
                self.log.truncate(first - self.compacted);
                self.log.extend(entries);
            }
            StorageOp::SetPromise(ballot) => self.promise = Some(ballot),
            StorageOp::SetDecidedIndex(index) => self.decided = index,
            StorageOp::SetAcceptedRound(ballot) => self.accepted_round = Some(ballot),
            // Compacted is said next, in the same write; the log begins there from now on.
            StorageOp::Trim(index) => {
                let gone = index.saturating_sub(self.compacted).min(self.log.len());
                self.log.drain(..gone);
            }
            StorageOp::SetCompactedIdx(index) => self.compacted = index,
            StorageOp::SetStopsign(stop_sign) => self.stop_sign = stop_sign,
            StorageOp::SetSnapshot(image) => self.image = image,
        }
    }
}

impl EraStore for MemoryStore {
    fn begin_era(&mut self, era: &Era) {
        let mut content = self.0.borrow_mut();
        let base = usize::from(era.start.is_some());
        *content = Content {
            era: Some(era.clone()),
            compacted: base,
            decided: base,
            decided_on_disk: base,
            image: era.start.clone().map(|state| Image::State(Box::new(state))),
            writes: content.writes + 1,
            ..Content::default()
        };
    }
}

impl Storage<Entry> for MemoryStore {
    fn write_atomically(&mut self, ops: Vec<StorageOp<Entry>>) -> StorageResult<()> {
        let mut content = self.0.borrow_mut();
        ops.into_iter().for_each(|op| content.write(op));
        content.decided_on_disk = content.decided;
        content.writes += 1;
        Ok(())
    }

    fn append_entry(&mut self, entry: Entry) -> StorageResult<()> {
        self.write_atomically(vec![StorageOp::AppendEntry(entry)])
    }

    fn append_entries(&mut self, entries: Vec<Entry>) -> StorageResult<()> {
        self.write_atomically(vec![StorageOp::AppendEntries(entries)])
    }

    fn append_on_prefix(&mut self, from_idx: usize, entries: Vec<Entry>) -> StorageResult<()> {
        self.write_atomically(vec![StorageOp::AppendOnPrefix(from_idx, entries)])
    }

    fn set_promise(&mut self, n_prom: Ballot) -> StorageResult<()> {
        self.write_atomically(vec![StorageOp::SetPromise(n_prom)])
    }

    fn set_decided_idx(&mut self, ld: usize) -> StorageResult<()> {
        self.0.borrow_mut().decided = ld;
        Ok(())
    }

    fn get_decided_idx(&self) -> StorageResult<usize> {
        Ok(self.0.borrow().decided)
    }

    fn set_accepted_round(&mut self, na: Ballot) -> StorageResult<()> {
        self.write_atomically(vec![StorageOp::SetAcceptedRound(na)])
    }

    fn get_accepted_round(&self) -> StorageResult<Option<Ballot>> {
        Ok(self.0.borrow().accepted_round)
    }

    fn get_entries(&self, from: usize, to: usize) -> StorageResult<Vec<Entry>> {
        let content = self.0.borrow();
        let range = from.checked_sub(content.compacted).zip(to.checked_sub(content.compacted));
        let entries = range.and_then(|(start, end)| content.log.get(start..end));
        Ok(entries.unwrap_or_default().to_vec())
    }

    fn get_log_len(&self) -> StorageResult<usize> {
        Ok(self.0.borrow().log.len())
    }

    fn get_suffix(&self, from: usize) -> StorageResult<Vec<Entry>> {
        let end = self.len();
        self.get_entries(from, end)
    }

    fn get_promise(&self) -> StorageResult<Option<Ballot>> {
        Ok(self.0.borrow().promise)
    }

    fn set_stopsign(&mut self, s: Option<StopSign>) -> StorageResult<()> {
        self.write_atomically(vec![StorageOp::SetStopsign(s)])
    }

    fn get_stopsign(&self) -> StorageResult<Option<StopSign>> {
        Ok(self.0.borrow().stop_sign.clone())
    }

    fn trim(&mut self, idx: usize) -> StorageResult<()> {
        self.write_atomically(vec![StorageOp::Trim(idx)])
    }

    fn set_compacted_idx(&mut self, idx: usize) -> StorageResult<()> {
        self.write_atomically(vec![StorageOp::SetCompactedIdx(idx)])
    }

    fn get_compacted_idx(&self) -> StorageResult<usize> {
        Ok(self.0.borrow().compacted)
    }

    fn set_snapshot(&mut self, snapshot: Option<Image>) -> StorageResult<()> {
        self.write_atomically(vec![StorageOp::SetSnapshot(snapshot)])
    }

    fn get_snapshot(&self) -> StorageResult<Option<Image>> {
        Ok(self.0.borrow().image.clone())
    }
}
