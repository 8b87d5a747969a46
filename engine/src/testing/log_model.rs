//! A model of logs that share a pool: operations as plain data, and an oracle that keeps every entry in a `Vec`.
//!
//! [`run`] applies operations to two real logs in one tiny pool and to their oracles, and compares after each. Pools are so
//! small that within a few dozen operations each segment is used again, runs are cut out of what is free, and the pool is
//! full. The same code runs under proptest (`tests/log.rs`) and under the fuzzer (`log_ops`), which hands in bytes: four of
//! them are one [`Op`], and any four are a legal one.
//!
//! Checked: everything that a log answers against the oracle; that a refused append changes nothing; that all memory comes
//! back in the end; that a reader which lags behind gets each published entry once, in order, or is told of the gap.

use std::ops::RangeInclusive;

use crate::entry::{Entries, Entry, EntryHeader, EntryKind, padded_len};
use crate::ids::{EntryId, Epoch, LogIndex, Slot};
use crate::log::{EntryStamp, Log, LogFull, LogReader, Read};
use crate::sync::pool::{Pool, PoolSize};
use crate::time::LogTime;

/// Logs that share the pool.
const LOGS: u8 = 2;

/// Operations beyond these are not run: enough for a pool to be used up many times.
pub const OPS_MAX: usize = 512;

/// One operation on one of the logs. Numbers are taken modulo what is legal at that moment, so every value is legal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Op {
    /// Which log, modulo their number.
    pub log: u8,
    /// What is done.
    pub action: Action,
}

/// What an [`Op`] does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Appends an entry born here; `epoch_step` is added to the last epoch, and the body comes in `parts` parts.
    Append {
        /// Added to the last entry's epoch.
        epoch_step: u8,
        /// Number of parts, less one.
        parts: u8,
        /// Bytes of the body.
        body_len: u16,
    },
    /// Appends an entry that was encoded elsewhere.
    AppendEntry {
        /// Added to the last entry's epoch.
        epoch_step: u8,
        /// Bytes of the body.
        body_len: u16,
    },
    /// Publishes up to this many more entries.
    Publish(u8),
    /// Cuts up to this many of the unpublished entries.
    Cut(u8),
    /// Releases the oldest page if all of it lies at least this far behind what is published.
    ReleaseOldest(u8),
    /// Publishes and releases everything.
    ReleaseAll,
    /// Starts anew, this far behind the last entry or, with `backward`, before it.
    RestartAfter {
        /// How far.
        distance: u8,
        /// In which direction.
        backward: bool,
    },
    /// Starts anew from nothing.
    Clear,
    /// Lets the log's reader read up to this many entries.
    Read(u8),
    /// Replaces the log's reader by one that begins this far behind the first entry.
    NewReader(u8),
    /// Takes the slices of a range.
    Slices {
        /// First entry, from the first one in the log.
        skip: u8,
        /// Number of entries, less one.
        more: u8,
        /// Limit in bytes, in units of 16.
        limit: u8,
    },
}

impl Op {
    /// Returns the operation that four bytes stand for.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 4]) -> Self {
        let [head, a, b, c] = bytes;
        // Most bodies are shorter than a segment, a few are longer than several.
        let body_len = if c < 0xc0 { b as u16 % 160 } else { (c as u16 & 0x0f) << 8 | b as u16 };
        let action = match (head >> 1) % 16 {
            0..=4 => Action::Append { epoch_step: (a >> 6).saturating_sub(1), parts: a % 4, body_len },
            5..=6 => Action::AppendEntry { epoch_step: (a >> 6).saturating_sub(1), body_len },
            7..=8 => Action::Publish(a % 8),
            9 => Action::Cut(a % 16),
            10..=11 => Action::ReleaseOldest(a % 8),
            12 => Action::Read(a % 16),
            13 => Action::Slices { skip: a, more: b, limit: c },
            14 => Action::Read(u8::MAX),
            _ => match a % 16 {
                0 => Action::Clear,
                1..=3 => Action::RestartAfter { distance: b % 8, backward: c % 2 == 1 },
                4..=7 => Action::ReleaseAll,
                _ => Action::NewReader(b),
            },
        };
        Self { log: head % LOGS, action }
    }
}

/// Runs `ops` in a pool that the first two bytes of fuzzer input choose. For the fuzz target.
///
/// # Panics
/// If a log and its oracle disagree.
pub fn run_bytes(data: &[u8]) {
    let Some((&[segments, kind], ops)) = data.split_first_chunk::<2>() else { return };
    run(pool_size(segments, kind), ops.as_chunks::<4>().0.iter().map(|&bytes| Op::from_bytes(bytes)));
}

/// Returns one of the sizes of pools that the model is for: 1 to 8 segments of 128 bytes to 1 KiB.
#[must_use]
pub const fn pool_size(segments: u8, kind: u8) -> PoolSize {
    PoolSize { segments: segments as u32 % 8 + 1, segment_bytes: 128 << (kind % 4) }
}

/// Runs up to [`OPS_MAX`] operations in a pool of this size.
///
/// # Panics
/// If a log and its oracle disagree.
pub fn run(size: PoolSize, ops: impl IntoIterator<Item = Op>) {
    let mut pool = Pool::new(size);
    let mut pairs: Vec<Pair> = (0..LOGS).map(|owner| Pair::new(&pool, u32::from(owner))).collect();
    for op in ops.into_iter().take(OPS_MAX) {
        pairs[usize::from(op.log % LOGS)].perform(&mut pool, op.action);
        for pair in &pairs {
            pair.compare(&pool);
        }
        let owners: Vec<u32> = pool.oldest_owners().take(size.segments as usize + 1).collect();
        assert!(owners.len() <= (size.segments - pool.free_segments()) as usize, "more runs than segments in use");
        for pair in &pairs {
            assert_eq!(owners.contains(&pair.log.owner()), !pair.log.is_empty(), "log {}", pair.log.owner());
        }
    }
    for pair in &mut pairs {
        pair.read(usize::MAX);
        pair.perform(&mut pool, Action::Clear);
    }
    assert_eq!(pool.free_segments(), size.segments, "all memory comes back");
    assert_eq!(pool.oldest_owners().count(), 0);
}

/// One log, its oracle, and a reader of it.
struct Pair {
    log: Log,
    oracle: Oracle,
    reader: LogReader,
    buf: Vec<u8>,
}

/// What a log must hold.
struct Oracle {
    base: EntryId,
    entries: Vec<Stored>,
    published: LogIndex,
}

/// One entry of an oracle.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Stored {
    id: EntryId,
    time: LogTime,
    kind: EntryKind,
    slot: Slot,
    body: Vec<u8>,
}

impl Pair {
    fn new(pool: &Pool, owner: u32) -> Self {
        let log = Log::new(owner);
        let reader = log.reader(pool, LogIndex(1));
        let oracle = Oracle { base: EntryId::START, entries: Vec::new(), published: LogIndex(0) };
        Self { log, oracle, reader, buf: Vec::new() }
    }

    fn perform(&mut self, pool: &mut Pool, action: Action) {
        match action {
            Action::Append { epoch_step, parts, body_len } => {
                let stored = self.oracle.next_entry(epoch_step, body_len);
                let part_len = stored.body.len() / (usize::from(parts) + 1) + 1;
                let body: Vec<&[u8]> = stored.body.chunks(part_len).collect();
                let before = pool.free_segments();
                let result = self.log.append(pool, stored.stamp(), &body).map(|id| assert_eq!(id, stored.id));
                self.record(pool, before, stored, result);
            }
            Action::AppendEntry { epoch_step, body_len } => {
                let stored = self.oracle.next_entry(epoch_step, body_len);
                let bytes = stored.encode();
                let (entry, _) = Entry::parse(&bytes).expect("the model encodes correctly");
                let before = pool.free_segments();
                let result = self.log.append_entry(pool, &entry);
                self.record(pool, before, stored, result);
            }
            Action::Publish(more) => self.publish(usize::from(more)),
            Action::Cut(count) => self.cut(pool, u64::from(count)),
            Action::ReleaseOldest(distance) => self.release_oldest(pool, u64::from(distance)),
            Action::ReleaseAll => {
                self.publish(usize::MAX);
                self.log.release_all(pool);
                self.oracle.restart_after(self.oracle.last());
            }
            Action::RestartAfter { distance, backward } => {
                let last = self.oracle.last();
                let (index, distance) = (last.index.0, u64::from(distance));
                let index = if backward { index.saturating_sub(distance) } else { index + distance };
                let base = EntryId { epoch: last.epoch, index: LogIndex(index) };
                self.log.restart_after(pool, base);
                self.oracle.restart_after(base);
                // A log that goes back names other entries by the same index: no reader is promised anything then.
                self.reader = self.log.reader(pool, base.index.next());
            }
            Action::Clear => {
                self.log.clear(pool);
                self.oracle.restart_after(EntryId::START);
                self.reader = self.log.reader(pool, LogIndex(1));
            }
            Action::Read(count) => self.read(usize::from(count)),
            Action::NewReader(skip) => {
                let next = self.log.first().0 + u64::from(skip) % (self.oracle.entries.len() as u64 + 1);
                self.reader = self.log.reader(pool, LogIndex(next));
            }
            Action::Slices { skip, more, limit } => self.take_slices(pool, skip, more, usize::from(limit) * 16),
        }
    }

    /// Records the outcome of an append.
    fn record(&mut self, pool: &Pool, free_before: u32, stored: Stored, result: Result<(), LogFull>) {
        match result {
            Ok(()) => self.oracle.entries.push(stored),
            Err(full) => {
                let needed = padded_len(stored.body.len()).div_ceil(pool.size().segment_bytes as usize);
                assert!(full.segments_needed as usize >= needed, "{full}");
                assert_eq!((full.segments_free, pool.free_segments()), (free_before, free_before), "{full}");
                assert!(full.segments_needed > 1 || full.segments_free == 0, "{full}");
            }
        }
    }

    fn publish(&mut self, more: usize) {
        let unpublished = self.oracle.unpublished();
        self.oracle.published.0 += more.min(unpublished) as u64;
        self.log.publish(self.oracle.published);
    }

    fn cut(&mut self, pool: &mut Pool, count: u64) {
        let count = count.min(self.oracle.unpublished() as u64);
        let from = LogIndex(self.oracle.last().index.0 + 1 - count);
        self.log.cut(pool, from);
        self.oracle.entries.retain(|stored| stored.id.index < from);
    }

    fn release_oldest(&mut self, pool: &mut Pool, distance: u64) {
        let through = LogIndex(self.oracle.published.0.saturating_sub(distance));
        let could = self.log.can_release_oldest(through);
        let free_before = pool.free_segments() as usize;
        let released = self.log.release_oldest(pool, through);
        assert_eq!(released > 0, could);
        assert_eq!(pool.free_segments() as usize, free_before + released);
        let base = self.log.base();
        assert_eq!(base != self.oracle.base, could, "what is released leaves the log");
        if could {
            assert!(base.index <= through && base.index > self.oracle.base.index);
            let dropped = self.oracle.entries.iter().find(|stored| stored.id == base);
            assert!(dropped.is_some(), "base {base} was an entry");
            self.oracle.base = base;
            self.oracle.entries.retain(|stored| stored.id.index > base.index);
        }
    }

    fn read(&mut self, count: usize) {
        for _ in 0..count {
            let next = self.reader.next_index();
            match self.reader.next(&mut self.buf) {
                Read::Entry(entry) => {
                    assert!(next <= self.oracle.published, "{next} was not published");
                    assert_eq!(Some(&Stored::from(entry)), self.oracle.at(next), "entry {next}");
                }
                Read::Lapped { first } => {
                    assert_eq!(first, self.log.first());
                    assert!(first > next, "lapped at {next}, first {first}");
                }
                Read::UpToDate => {
                    assert!(next > self.oracle.published, "{next} is published");
                    return;
                }
                Read::Busy => panic!("nobody else uses the log"),
            }
        }
    }

    fn take_slices(&self, pool: &Pool, skip: u8, more: u8, limit: usize) {
        let len = self.oracle.entries.len();
        if len == 0 {
            return;
        }
        let first = usize::from(skip) % len;
        let last = first + usize::from(more) % (len - first);
        let expected = self.oracle.within(first..=last, limit);
        let range = expected[0].id.index..=self.oracle.entries[last].id.index;
        let slices = self.log.slices(pool, range, limit);
        let through = slices.last_index();
        let entries =
            slices.flat_map(Entries::new).map(|entry| Stored::from(entry.expect("slices hold whole entries")));
        assert_eq!(entries.collect::<Vec<_>>(), expected);
        assert_eq!(through, expected[expected.len() - 1].id.index);
    }

    /// Compares all that can be asked.
    fn compare(&self, pool: &Pool) {
        let (log, oracle) = (&self.log, &self.oracle);
        log.check(pool);
        assert_eq!((log.base(), log.last_id(), log.published()), (oracle.base, oracle.last(), oracle.published));
        assert_eq!(log.is_empty(), oracle.entries.is_empty());
        assert_eq!(log.len_bytes(), log.bytes_after(pool, log.base().index));
        assert_eq!(log.epoch_at(pool, oracle.base.index), Some(oracle.base.epoch));
        assert!(log.entry(pool, log.base().index).is_none());
        assert!(log.entry(pool, log.last().next()).is_none());
        assert_eq!(log.epoch_at(pool, log.last().next()), None);
        let mut bytes_after = log.len_bytes();
        for stored in &oracle.entries {
            let entry = log.entry(pool, stored.id.index).expect("the entry is in the log");
            assert_eq!(Stored::from(entry), *stored);
            assert_eq!(log.epoch_at(pool, stored.id.index), Some(stored.id.epoch));
            bytes_after -= entry.raw().len();
            assert_eq!(log.bytes_after(pool, stored.id.index), bytes_after);
        }
    }
}

impl Oracle {
    fn last(&self) -> EntryId {
        self.entries.last().map_or(self.base, |stored| stored.id)
    }

    fn unpublished(&self) -> usize {
        self.entries.iter().filter(|stored| stored.id.index > self.published).count()
    }

    fn at(&self, index: LogIndex) -> Option<&Stored> {
        self.entries.iter().find(|stored| stored.id.index == index)
    }

    fn restart_after(&mut self, base: EntryId) {
        self.entries.clear();
        self.base = base;
        self.published = base.index;
    }

    /// Returns the next entry to append; its contents follow from its name, so that a mixture of two is noticed.
    fn next_entry(&self, epoch_step: u8, body_len: u16) -> Stored {
        let last = self.last();
        let id = EntryId { epoch: Epoch(last.epoch.0 + u64::from(epoch_step)), index: last.index.next() };
        let seed = id.index.0.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ id.epoch.0 << 32 ^ u64::from(body_len);
        let body = (0..u64::from(body_len)).map(|at| seed.rotate_left((at % 61) as u32).to_le_bytes()[0]);
        Stored {
            id,
            time: LogTime(seed >> 3),
            kind: if epoch_step > 0 { EntryKind::View } else { EntryKind::Command },
            slot: Slot(u16::try_from(seed % 16_384).expect("below 16384")),
            body: body.collect(),
        }
    }

    /// Returns the entries of `range`, by position, that fit into `limit` bytes, at least one.
    fn within(&self, range: RangeInclusive<usize>, limit: usize) -> Vec<Stored> {
        let mut bytes = 0;
        let fits = self.entries[range].iter().take_while(|stored| {
            let is_first = bytes == 0;
            bytes += padded_len(stored.body.len());
            is_first || bytes <= limit
        });
        fits.cloned().collect()
    }
}

impl Stored {
    fn stamp(&self) -> EntryStamp {
        EntryStamp { epoch: self.id.epoch, time: self.time, kind: self.kind, slot: self.slot }
    }

    /// Returns the entry as another node would send it.
    fn encode(&self) -> Vec<u8> {
        let header = EntryHeader {
            crc32c: 0,
            body_len: u32::try_from(self.body.len()).expect("bodies of the model are short"),
            id: self.id,
            time: self.time,
            kind: self.kind,
            slot: self.slot,
        };
        let mut bytes = header.sealed(&[&self.body]).to_bytes().to_vec();
        bytes.extend_from_slice(&self.body);
        bytes.resize(padded_len(self.body.len()), 0);
        bytes
    }
}

impl From<Entry<'_>> for Stored {
    fn from(entry: Entry<'_>) -> Self {
        assert_eq!(entry.verify(), Ok(()));
        Self { id: entry.id(), time: entry.time(), kind: entry.kind(), slot: entry.slot(), body: entry.body().to_vec() }
    }
}
