//! What a core node must not forget: its promises and its log, in one file, by `redb`.
//!
//! # Durability
//! Whatever OmniPaxos has written is on disk before the call returns: others count on it from then on. Commits are in two
//! phases, so that a file that is damaged later is found to be, instead of going back to the state before the last
//! promise. The decided index alone is not waited for: if it is lost, it is learned again from the others (or, without others,
//! from the log), and nothing that was told rests on it, but on the entries, which most core nodes have on disk. A later write that
//! is waited for takes it along.
//!
//! If a write or a read fails, the process ends, with a line in the log that names the file. A core node that goes on without knowing what
//! it has promised could break what others were told.
//!
//! # Format
//! All values are JSON; 3 is the version of this format.
//!
//! | table | key | value |
//! |---|---|---|
//! | `about` | `format`, `cluster`, `node`, `number` | version of the format; whose file this is; 64 bits drawn when it was created |
//! | `about` | `founding` | whether it may take part in the founding of a core |
//! | `about` | `pledge` | from which store alone the core may be restored with it, if it has heard that; until it is in an era: [`Pledge`] |
//! | `about` | `era` | the era of the core in which it takes part, once there is one: [`Era`] |
//! | `registers` | `promise`, `accepted`, `decided`, `compacted`, `image`, `stop` | those of OmniPaxos, absent if not set |
//! | `log` | index, from 0 | an entry, from the index `compacted` on |
//!
//! # Limits
//! A copy of the file, put back later, looks like the file: its promises are old ones. Nobody can tell from the file alone;
//! the same holds for the one byte of it that says which of the last two commits counts.

use std::fmt;
use std::fs;
use std::io::{self, Read as _};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use omnipaxos::ballot_leader_election::Ballot;
use omnipaxos::storage::{StopSign, Storage, StorageOp, StorageResult};
use quorate_engine::control::core::{Entry, Era, EraStore, Image, Pledge};
use quorate_engine::ids::NodeId;
use redb::{
    Database, Durability, ReadableDatabase as _, ReadableTableMetadata as _, StorageError, Table, TableDefinition,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use thiserror::Error;

use crate::cli::Exit;

/// See the module. Clones are the same store.
#[derive(Clone)]
pub struct Store {
    database: Arc<Database>,
    path: Arc<Path>,
    number: u64,
}

/// What a new store may be used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// To found a core, or, if there is one, to be taken into it.
    Found,
    /// To be taken into a core that is there, in the place of one that was lost.
    Join,
}

/// Whose store it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The name of the cluster.
    pub cluster: String,
    /// The core node.
    pub node: NodeId,
}

/// Why there is no store to work with.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StoreError {
    /// It was to be created, and is there.
    #[error("{path} is there already: this core node has a cluster; start it without --create")]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// The file cannot be read or written.
    #[error("cannot use {path}: {source}; node.data_dir must be a directory that this user may write to")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Another process has it open.
    #[error("{path} is in use by another process: stop that one, or give this node a node.data_dir of its own")]
    Locked {
        /// The file.
        path: PathBuf,
    },
    /// It is that of another cluster.
    #[error("{path} belongs to cluster {found:?} and not to {expected:?}: check cluster.id and node.data_dir")]
    OtherCluster {
        /// The file.
        path: PathBuf,
        /// Whose it is.
        found: String,
        /// Whose it should be.
        expected: String,
    },
    /// It is that of another node.
    #[error(
        "{path} belongs to node {found} and not to {expected}: each node needs a node.data_dir of its own, and never a copy"
    )]
    OtherNode {
        /// The file.
        path: PathBuf,
        /// Whose it is.
        found: NodeId,
        /// Whose it should be.
        expected: NodeId,
    },
    /// It was written by another version of this program.
    #[error("{path} has format {found}, and this version knows {FORMAT} only: start the version that wrote it")]
    OtherFormat {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: u32,
    },
    /// It is truncated, or something else was written over a part of it.
    #[error(
        "{path} is damaged: {source}; this core node no longer knows what it has promised, so no older copy may take \
         its place: keep the other nodes of the core running, repair the disk, move the file away and start the node without \
         --create; it says then how it is taken back"
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where.
        source: Damage,
    },
}

/// What does not hold together in a store.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Damage {
    /// The database itself.
    #[error("{0}")]
    Database(#[from] redb::Error),
    /// A value cannot be read.
    #[error("{what} cannot be read: {source}")]
    Value {
        /// Which one.
        what: String,
        /// What is wrong.
        source: serde_json::Error,
    },
    /// Values contradict each other.
    #[error("{what}")]
    Contradiction {
        /// How.
        what: &'static str,
    },
}

impl Store {
    /// Creates the store of a core node that has none, in a directory that is there.
    ///
    /// # Errors
    /// There is one, or it cannot be written.
    pub fn create(path: &Path, identity: &Identity, usage: Use) -> Result<Self, StoreError> {
        let io = |source| StoreError::Io { path: path.to_owned(), source };
        if fs::exists(path).map_err(io)? {
            return Err(StoreError::Exists { path: path.to_owned() });
        }
        // Made beside and renamed: a crash leaves no store or a whole one.
        let new = path.with_extension("new");
        match fs::remove_file(&new) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(io(error)),
            Ok(()) | Err(_) => {}
        }
        let number = draw().map_err(io)?;
        let database = redb::Builder::new().set_cache_size(CACHE_BYTES).create(&new);
        let database = database.map_err(|error| failed(path, error.into()))?;
        let about = |table: &mut Table<&'static str, &'static [u8]>| -> Result<(), redb::Error> {
            table.insert("format", &*encode(&FORMAT))?;
            table.insert("cluster", &*encode(&identity.cluster))?;
            table.insert("node", &*encode(&identity.node))?;
            table.insert("number", &*encode(&number))?;
            table.insert("founding", &*encode(&(usage == Use::Found)))?;
            Ok(())
        };
        let write = || -> Result<(), redb::Error> {
            let mut transaction = database.begin_write()?;
            transaction.set_two_phase_commit(true);
            about(&mut transaction.open_table(ABOUT)?)?;
            transaction.open_table(REGISTERS)?;
            transaction.open_table(LOG)?;
            Ok(transaction.commit()?)
        };
        write().map_err(|error| failed(path, error))?;
        database.close().map_err(|error| failed(path, error.into()))?;
        fs::rename(&new, path).map_err(io)?;
        let directory = path.parent().filter(|directory| !directory.as_os_str().is_empty()).unwrap_or(Path::new("."));
        fs::File::open(directory).and_then(|directory| directory.sync_all()).map_err(io)?;
        Self::open(path, identity)?.ok_or_else(|| io(io::ErrorKind::NotFound.into()))
    }

    /// Opens the store of a core node; `None` if there is none. All of it is read and checked.
    ///
    /// # Errors
    /// It is that of somebody else, in use, damaged or of a later format.
    pub fn open(path: &Path, identity: &Identity) -> Result<Option<Self>, StoreError> {
        if !fs::exists(path).map_err(|source| StoreError::Io { path: path.to_owned(), source })? {
            return Ok(None);
        }
        // Without the check, redb trusts the file and may panic on one that was damaged.
        let mut builder = redb::Builder::new();
        let database = builder.set_cache_size(CACHE_BYTES).set_check_integrity_on_open(true).open(path);
        let database = database.map_err(|error| failed(path, error.into()))?;
        let mut store = Self { database: Arc::new(database), path: path.into(), number: 0 };
        let damaged = |source| StoreError::Damaged { path: path.to_owned(), source };
        let format: u32 = store.about("format").map_err(damaged)?;
        if format != FORMAT {
            return Err(StoreError::OtherFormat { path: path.to_owned(), found: format });
        }
        let (path, expected) = (path.to_owned(), identity.clone());
        let found =
            Identity { cluster: store.about("cluster").map_err(damaged)?, node: store.about("node").map_err(damaged)? };
        if found.cluster != expected.cluster {
            return Err(StoreError::OtherCluster { path, found: found.cluster, expected: expected.cluster });
        }
        if found.node != expected.node {
            return Err(StoreError::OtherNode { path, found: found.node, expected: expected.node });
        }
        store.number = store.about("number").map_err(damaged)?;
        store.check().map_err(damaged)?;
        Ok(Some(store))
    }

    /// Returns what was drawn when the store was created: a node that comes back with another number has forgotten what
    /// it promised.
    #[must_use]
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Returns the era of the core in which it takes part, if it does in any.
    #[must_use]
    pub fn era(&self) -> Option<Era> {
        self.must(self.value(ABOUT, "era"))
    }

    /// Returns what it may be used for, as long as it is in no era.
    #[must_use]
    pub fn usage(&self) -> Use {
        if self.must(self.about("founding")) { Use::Found } else { Use::Join }
    }

    /// Says what it may be used for.
    pub fn set_usage(&mut self, usage: Use) {
        self.set_about("founding", &(usage == Use::Found));
    }

    /// Returns to which restoration of the core it has pledged itself, if it has.
    #[must_use]
    pub fn pledge(&self) -> Option<Pledge> {
        self.must(self.value(ABOUT, "pledge"))
    }

    /// Pledges itself. On disk when this returns.
    pub fn set_pledge(&mut self, pledge: Pledge) {
        self.set_about("pledge", &pledge);
    }

    fn set_about(&self, key: &'static str, value: &impl Serialize) {
        let write = || -> Result<(), redb::Error> {
            let mut transaction = self.database.begin_write()?;
            transaction.set_two_phase_commit(true);
            transaction.open_table(ABOUT)?.insert(key, &*encode(value))?;
            Ok(transaction.commit()?)
        };
        self.must(write());
    }

    /// Whether all values can be read, and go together.
    fn check(&self) -> Result<(), Damage> {
        self.about::<bool>("founding")?;
        self.value::<Pledge>(ABOUT, "pledge")?;
        let era = self.value::<Era>(ABOUT, "era")?;
        self.register::<Ballot>(PROMISE)?;
        self.register::<Ballot>(ACCEPTED)?;
        self.register::<StopSign>(STOP)?;
        let compacted = self.register::<u64>(COMPACTED)?.unwrap_or_default();
        let decided = self.register::<u64>(DECIDED)?.unwrap_or_default();
        let end = compacted + self.log_len()?;
        let entries = self.entries(compacted..end)?;
        let image: Option<Image> = self.register(IMAGE)?;
        let begins = match (&image, entries.first()) {
            (Some(Image::State(_)), _) => compacted > 0,
            (None, None | Some(Entry::Birth(_))) => compacted == 0,
            (Some(Image::Delta(_)), _) | (None, Some(Entry::Command { .. })) => false,
        };
        // An era that is not the first one begins with an image.
        if era.is_some_and(|era| era.start.is_some()) && image.is_none() {
            Err(Damage::Contradiction { what: "the state with which its era of the core began is missing" })
        } else if !begins {
            Err(Damage::Contradiction { what: "the log does not begin with the birth of the cluster" })
        } else if entries.len() as u64 != end - compacted {
            Err(Damage::Contradiction { what: "the log has gaps" })
        } else if !(compacted..=end).contains(&decided) {
            Err(Damage::Contradiction { what: "more is decided than there is" })
        } else {
            Ok(())
        }
    }

    // ---- reading ----

    fn about<T: DeserializeOwned>(&self, key: &'static str) -> Result<T, Damage> {
        self.value(ABOUT, key)?.ok_or(Damage::Contradiction { what: "it does not say whose it is" })
    }

    fn register<T: DeserializeOwned>(&self, key: &'static str) -> Result<Option<T>, Damage> {
        self.value(REGISTERS, key)
    }

    fn value<T: DeserializeOwned>(&self, table: Values, key: &'static str) -> Result<Option<T>, Damage> {
        let read = || -> Result<Option<Vec<u8>>, redb::Error> {
            let table = self.database.begin_read()?.open_table(table)?;
            Ok(table.get(key)?.map(|value| value.value().to_vec()))
        };
        read()?.map(|bytes| decode(|| format!("{key:?}"), &bytes)).transpose()
    }

    fn log_len(&self) -> Result<u64, Damage> {
        let read = || -> Result<u64, redb::Error> { Ok(self.database.begin_read()?.open_table(LOG)?.len()?) };
        Ok(read()?)
    }

    /// Returns the entries at these indexes; fewer if some are not there.
    fn entries(&self, range: Range<u64>) -> Result<Vec<Entry>, Damage> {
        let read = || -> Result<Vec<(u64, Vec<u8>)>, redb::Error> {
            let table = self.database.begin_read()?.open_table(LOG)?;
            let entries =
                table.range(range)?.map(|entry| entry.map(|(key, value)| (key.value(), value.value().to_vec())));
            Ok(entries.collect::<Result<_, StorageError>>()?)
        };
        read()?.iter().map(|(index, bytes)| decode(|| format!("entry {index}"), bytes)).collect()
    }

    // ---- writing ----

    /// Writes all of it or nothing.
    fn write(&self, durability: Durability, ops: Vec<StorageOp<Entry>>) {
        let write = || -> Result<(), redb::Error> {
            let mut transaction = self.database.begin_write()?;
            transaction.set_durability(durability).map_err(redb::Error::from)?;
            transaction.set_two_phase_commit(true);
            {
                let mut registers = transaction.open_table(REGISTERS)?;
                let mut log = transaction.open_table(LOG)?;
                ops.into_iter().try_for_each(|op| perform(op, &mut registers, &mut log))?;
            }
            Ok(transaction.commit()?)
        };
        self.must(write());
    }

    fn must<T, E: fmt::Display>(&self, result: Result<T, E>) -> T {
        result.unwrap_or_else(|error| self.end_process(&error))
    }

    /// Ends the process with exit code 1 and a line in the log that names the file: what was to be written may be on disk
    /// or not, so nothing may be said or promised any more. When it starts again, the store is checked as a whole.
    fn end_process(&self, error: &dyn fmt::Display) -> ! {
        let path = self.path.display();
        tracing::error!(%path, %error, "cannot use the store of the consistent core: this process ends");
        std::process::exit(i32::from(Exit::Failed.code()))
    }
}

impl EraStore for Store {
    fn begin_era(&mut self, era: &Era) {
        let ops = era.start.as_ref().map_or(Vec::new(), |start| {
            vec![
                StorageOp::SetCompactedIdx(1),
                StorageOp::SetDecidedIndex(1),
                StorageOp::SetSnapshot(Some(Image::State(Box::new(start.clone())))),
            ]
        });
        let write = || -> Result<(), redb::Error> {
            let mut transaction = self.database.begin_write()?;
            transaction.set_two_phase_commit(true);
            {
                let mut registers = transaction.open_table(REGISTERS)?;
                let mut log = transaction.open_table(LOG)?;
                registers.retain(|_, _| false)?;
                log.retain(|_, _| false)?;
                ops.into_iter().try_for_each(|op| perform(op, &mut registers, &mut log))?;
                let mut about = transaction.open_table(ABOUT)?;
                about.insert("era", &*encode(era))?;
                about.remove("pledge")?;
            }
            Ok(transaction.commit()?)
        };
        self.must(write());
    }
}

impl Storage<Entry> for Store {
    fn write_atomically(&mut self, ops: Vec<StorageOp<Entry>>) -> StorageResult<()> {
        self.write(Durability::Immediate, ops);
        Ok(())
    }

    fn append_entry(&mut self, entry: Entry) -> StorageResult<()> {
        self.write_atomically(vec![StorageOp::AppendEntry(entry)])
    }

    fn append_entries(&mut self, entries: Vec<Entry>) -> StorageResult<()> {
        if entries.is_empty() {
            return Ok(());
        }
        self.write_atomically(vec![StorageOp::AppendEntries(entries)])
    }

    fn append_on_prefix(&mut self, from_idx: usize, entries: Vec<Entry>) -> StorageResult<()> {
        self.write_atomically(vec![StorageOp::AppendOnPrefix(from_idx, entries)])
    }

    fn set_promise(&mut self, n_prom: Ballot) -> StorageResult<()> {
        self.write_atomically(vec![StorageOp::SetPromise(n_prom)])
    }

    fn set_decided_idx(&mut self, ld: usize) -> StorageResult<()> {
        self.write(Durability::None, vec![StorageOp::SetDecidedIndex(ld)]);
        Ok(())
    }

    fn get_decided_idx(&self) -> StorageResult<usize> {
        Ok(self.must(self.register(DECIDED)).unwrap_or_default())
    }

    fn set_accepted_round(&mut self, na: Ballot) -> StorageResult<()> {
        self.write_atomically(vec![StorageOp::SetAcceptedRound(na)])
    }

    fn get_accepted_round(&self) -> StorageResult<Option<Ballot>> {
        Ok(self.must(self.register(ACCEPTED)))
    }

    fn get_entries(&self, from: usize, to: usize) -> StorageResult<Vec<Entry>> {
        let entries = if from < to { self.must(self.entries(from as u64..to as u64)) } else { Vec::new() };
        // All of them or none.
        Ok(if entries.len() == to.saturating_sub(from) { entries } else { Vec::new() })
    }

    fn get_log_len(&self) -> StorageResult<usize> {
        Ok(usize::try_from(self.must(self.log_len()))?)
    }

    fn get_suffix(&self, from: usize) -> StorageResult<Vec<Entry>> {
        self.get_entries(from, self.get_compacted_idx()? + self.get_log_len()?)
    }

    fn get_promise(&self) -> StorageResult<Option<Ballot>> {
        Ok(self.must(self.register(PROMISE)))
    }

    fn set_stopsign(&mut self, s: Option<StopSign>) -> StorageResult<()> {
        self.write_atomically(vec![StorageOp::SetStopsign(s)])
    }

    fn get_stopsign(&self) -> StorageResult<Option<StopSign>> {
        Ok(self.must(self.register(STOP)))
    }

    fn trim(&mut self, idx: usize) -> StorageResult<()> {
        self.write_atomically(vec![StorageOp::Trim(idx)])
    }

    fn set_compacted_idx(&mut self, idx: usize) -> StorageResult<()> {
        self.write_atomically(vec![StorageOp::SetCompactedIdx(idx)])
    }

    fn get_compacted_idx(&self) -> StorageResult<usize> {
        Ok(self.must(self.register(COMPACTED)).unwrap_or_default())
    }

    fn set_snapshot(&mut self, snapshot: Option<Image>) -> StorageResult<()> {
        self.write_atomically(vec![StorageOp::SetSnapshot(snapshot)])
    }

    fn get_snapshot(&self) -> StorageResult<Option<Image>> {
        Ok(self.must(self.register(IMAGE)))
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").field("path", &self.path).field("number", &self.number).finish_non_exhaustive()
    }
}

type Values = TableDefinition<'static, &'static str, &'static [u8]>;

fn perform(
    op: StorageOp<Entry>,
    registers: &mut Table<&'static str, &'static [u8]>,
    log: &mut Table<u64, &'static [u8]>,
) -> Result<(), redb::Error> {
    match op {
        StorageOp::AppendEntry(entry) => append(registers, log, vec![entry])?,
        StorageOp::AppendEntries(entries) => append(registers, log, entries)?,
        StorageOp::AppendOnPrefix(first, entries) => {
            log.retain_in(first as u64.., |_, _| false)?;
            append(registers, log, entries)?;
        }
        StorageOp::Trim(end) => log.retain_in(..end as u64, |_, _| false)?,
        StorageOp::SetPromise(ballot) => set(registers, PROMISE, Some(ballot))?,
        StorageOp::SetAcceptedRound(ballot) => set(registers, ACCEPTED, Some(ballot))?,
        StorageOp::SetDecidedIndex(index) => set(registers, DECIDED, Some(index))?,
        StorageOp::SetCompactedIdx(index) => set(registers, COMPACTED, Some(index))?,
        StorageOp::SetSnapshot(image) => set(registers, IMAGE, image)?,
        StorageOp::SetStopsign(stop_sign) => set(registers, STOP, stop_sign)?,
    }
    Ok(())
}

/// Appends behind the last entry, or, if there is none, behind the image.
fn append(
    registers: &Table<&'static str, &'static [u8]>,
    log: &mut Table<u64, &'static [u8]>,
    entries: Vec<Entry>,
) -> Result<(), redb::Error> {
    use redb::ReadableTable as _;

    let last = log.last()?.map(|(index, _)| index.value());
    let next = match last {
        Some(last) => last + 1,
        None => {
            let compacted =
                registers.get(COMPACTED)?.map(|value| decode::<u64>(|| String::from(COMPACTED), value.value()));
            compacted.transpose().map_err(|error| redb::Error::Corrupted(error.to_string()))?.unwrap_or_default()
        }
    };
    for (index, entry) in (next..).zip(entries) {
        log.insert(index, &*encode(&entry))?;
    }
    Ok(())
}

fn set<T: Serialize>(
    registers: &mut Table<&'static str, &'static [u8]>,
    key: &'static str,
    value: Option<T>,
) -> Result<(), redb::Error> {
    match value {
        Some(value) => registers.insert(key, &*encode(&value))?,
        None => registers.remove(key)?,
    };
    Ok(())
}

fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    serde_json::to_vec(value).expect("plain data, and maps by numbers only")
}

fn decode<T: DeserializeOwned>(what: impl FnOnce() -> String, bytes: &[u8]) -> Result<T, Damage> {
    serde_json::from_slice(bytes).map_err(|source| Damage::Value { what: what(), source })
}

/// Names the error of a database that cannot be opened or written.
fn failed(path: &Path, error: redb::Error) -> StoreError {
    let path = path.to_owned();
    match error {
        redb::Error::DatabaseAlreadyOpen | redb::Error::LockProtocolMismatch => StoreError::Locked { path },
        redb::Error::Io(source) if !is_of_content(source.kind()) => StoreError::Io { path, source },
        other => StoreError::Damaged { path, source: Damage::Database(other) },
    }
}

/// Whether redb means with an error that something is wrong with what is in the file.
fn is_of_content(kind: io::ErrorKind) -> bool {
    matches!(kind, io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput)
}

/// Draws a number that no other process draws.
pub(crate) fn draw() -> io::Result<u64> {
    let mut bytes = [0; 8];
    fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(u64::from_le_bytes(bytes))
}

const ABOUT: Values = TableDefinition::new("about");
const REGISTERS: Values = TableDefinition::new("registers");
const LOG: TableDefinition<'static, u64, &'static [u8]> = TableDefinition::new("log");
const PROMISE: &str = "promise";
const ACCEPTED: &str = "accepted";
const DECIDED: &str = "decided";
const COMPACTED: &str = "compacted";
const IMAGE: &str = "image";
const STOP: &str = "stop";
/// The version of what is written.
const FORMAT: u32 = 3;
/// What is kept in memory of the file: the log is short, and read when the process starts.
const CACHE_BYTES: usize = 1 << 20;

#[cfg(test)]
mod tests;
