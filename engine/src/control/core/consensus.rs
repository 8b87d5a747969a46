//! How core nodes agree on a log: by OmniPaxos, or, if there is one core node only, by writing it down.
//!
//! OmniPaxos wants at least two nodes. With one, what is in the store is decided.
//!
//! # Who is left behind
//! A core node that has promised a later round than the one that the others have agreed to be led in, and has restarted
//! since, is left behind: the leader does not answer requests from a later round, and elections compare what nodes stand
//! for, which is nothing after a restart, not what they have promised. So who hears most others and still follows nobody
//! for 100 ticks begins a round of its own.

use std::collections::BTreeSet;

use omnipaxos::messages::Message;
use omnipaxos::storage::{Snapshot, Storage, StorageOp, StorageResult};
use omnipaxos::util::LogEntry;
use omnipaxos::{ClusterConfig, OmniPaxos, OmniPaxosConfig, ServerConfig};

use super::clipped::Clipped;
use super::entry::{Entry, Image};
use crate::ids::NodeId;

/// See the module.
pub(super) enum Consensus<S: Storage<Entry>> {
    Alone(Alone<S>),
    Paxos(Box<Paxos<S>>),
}

/// A part of the log that is decided.
#[derive(Debug)]
pub(super) enum Decided {
    /// All entries before this index, which counts from 0.
    Image(usize, Image),
    /// The next one.
    Entry(Entry),
}

impl<S: Storage<Entry>> Consensus<S> {
    /// Goes on with what is in the store. `nodes` are all core nodes, `me` among them.
    pub(super) fn new(me: NodeId, nodes: &[NodeId], store: S) -> Self {
        if nodes.len() == 1 {
            return Self::Alone(Alone::new(store));
        }
        let node_count = nodes.len();
        let nodes = nodes.iter().map(|node| u64::from(node.0)).collect();
        let cluster_config = ClusterConfig { configuration_id: 1, nodes, flexible_quorum: None };
        let server_config = ServerConfig {
            pid: u64::from(me.0),
            election_tick_timeout: 1,
            resend_message_tick_timeout: RESEND_ROUNDS,
            batch_size: 1,
            // Nothing waits to be one of many, but looking for it would be a write.
            flush_batch_tick_timeout: u64::MAX,
            ..ServerConfig::default()
        };
        let config = OmniPaxosConfig { cluster_config, server_config };
        let node = config.build(Clipped(store)).expect("at least two nodes, this one among them, and no zero");
        Self::Paxos(Box::new(Paxos { node, node_count, leaderless_rounds: 0, heard: BTreeSet::new() }))
    }

    /// Proposes an entry. Only whoever leads may.
    pub(super) fn propose(&mut self, entry: Entry) {
        match self {
            Self::Alone(alone) => alone.append(entry),
            Self::Paxos(paxos) => paxos.node.append(entry).expect("the core nodes stay the same"),
        }
    }

    /// Takes a message of another core node.
    pub(super) fn handle(&mut self, message: Message<Entry>) {
        if let Self::Paxos(paxos) = self {
            paxos.heard.insert(message.get_sender());
            paxos.node.handle_incoming(message);
        }
    }

    /// A connection to another core node is new: what was on its way may be lost.
    pub(super) fn on_connected(&mut self, node: NodeId) {
        if let Self::Paxos(paxos) = self {
            paxos.node.reconnected(u64::from(node.0));
        }
    }

    /// Ends a round of the election: whoever was not heard in it is looked after in the next two.
    pub(super) fn end_round(&mut self) {
        if let Self::Paxos(paxos) = self {
            paxos.end_round();
        }
    }

    /// Puts an image in the place of the entries that are decided, if they have become many.
    pub(super) fn compact(&mut self) {
        match self {
            Self::Alone(alone) => alone.compact(),
            Self::Paxos(paxos) => {
                if paxos.node.get_decided_idx() - paxos.node.get_compacted_idx() >= COMPACTION_ENTRIES {
                    paxos.node.snapshot(None, true).expect("what is decided can be compacted");
                }
            }
        }
    }

    /// Moves what is to be sent into `messages`.
    pub(super) fn take_messages(&mut self, messages: &mut Vec<Message<Entry>>) {
        if let Self::Paxos(paxos) = self {
            paxos.node.take_outgoing_messages(messages);
        }
    }

    /// Returns what is decided from this index on, which counts from 0; an image first if that part is compacted.
    pub(super) fn decided_from(&self, index: usize) -> Vec<Decided> {
        match self {
            Self::Alone(alone) => alone.decided_from(index),
            Self::Paxos(paxos) => {
                let entries = paxos.node.read_decided_suffix(index).unwrap_or_default();
                entries.into_iter().map(Decided::from).collect()
            }
        }
    }

    /// Returns the number of the round that this core node leads and can propose in.
    pub(super) fn leads(&self) -> Option<u32> {
        let can_propose = match self {
            Self::Alone(_) => true,
            Self::Paxos(paxos) => paxos.leader() == Some(paxos.node.get_pid()),
        };
        can_propose.then(|| self.round())
    }

    /// Returns the number of the last round that this core node has promised to take part in.
    pub(super) fn round(&self) -> u32 {
        match self {
            Self::Alone(_) => 0,
            Self::Paxos(paxos) => paxos.node.get_promise().n,
        }
    }

    /// Returns who leads, as far as this core node, which is `me`, follows or leads.
    pub(super) fn leader(&self, me: NodeId) -> Option<NodeId> {
        match self {
            Self::Alone(_) => Some(me),
            Self::Paxos(paxos) => u16::try_from(paxos.leader()?).ok().map(NodeId),
        }
    }

    /// Whether the log holds nothing at all, decided or not.
    pub(super) fn is_empty(&self) -> bool {
        match self {
            Self::Alone(alone) => alone.decided == 0,
            Self::Paxos(paxos) => paxos.node.get_accepted_idx() == 0,
        }
    }
}

impl From<LogEntry<Entry>> for Decided {
    fn from(entry: LogEntry<Entry>) -> Self {
        match entry {
            LogEntry::Decided(entry) => Self::Entry(entry),
            LogEntry::Snapshotted(part) => Self::Image(part.trimmed_idx, part.snapshot),
            LogEntry::Undecided(_) | LogEntry::Trimmed(_) | LogEntry::StopSign(..) => {
                unreachable!(
                    "only what is decided is read, trimmed is only what is in an image, and no core node changes"
                )
            }
        }
    }
}

/// A core node among others.
pub(super) struct Paxos<S: Storage<Entry>> {
    node: OmniPaxos<Entry, Clipped<S>>,
    node_count: usize,
    /// For so many rounds it has followed nobody, and who was heard meanwhile.
    leaderless_rounds: u64,
    heard: BTreeSet<u64>,
}

impl<S: Storage<Entry>> Paxos<S> {
    /// Returns who leads, if it is followed, or is this core node and can propose.
    fn leader(&self) -> Option<u64> {
        self.node.get_current_leader().filter(|(_, is_followed)| *is_followed).map(|(leader, _)| leader)
    }

    fn end_round(&mut self) {
        self.node.tick();
        self.leaderless_rounds += 1;
        let is_leaderless = self.leader().is_none();
        if is_leaderless && self.leaderless_rounds < LEADERLESS_ROUNDS {
            return;
        }
        if is_leaderless && 2 * (self.heard.len() + 1) > self.node_count {
            self.node.try_become_leader();
        }
        self.leaderless_rounds = 0;
        self.heard.clear();
    }
}

/// A core node that has nobody to agree with.
pub(super) struct Alone<S> {
    store: S,
    /// How many entries there are, and where those that are no part of an image begin.
    decided: usize,
    compacted: usize,
}

impl<S: Storage<Entry>> Alone<S> {
    fn new(store: S) -> Self {
        let compacted = must(store.get_compacted_idx());
        let decided = compacted + must(store.get_log_len());
        Self { store, decided, compacted }
    }

    fn append(&mut self, entry: Entry) {
        self.decided += 1;
        let ops = vec![StorageOp::AppendEntry(entry), StorageOp::SetDecidedIndex(self.decided)];
        must(self.store.write_atomically(ops));
    }

    fn decided_from(&self, index: usize) -> Vec<Decided> {
        let first = index.max(self.compacted);
        let image = (index < self.compacted).then(|| Decided::Image(self.compacted, self.image()));
        let entries = if first < self.decided { must(self.store.get_entries(first, self.decided)) } else { Vec::new() };
        image.into_iter().chain(entries.into_iter().map(Decided::Entry)).collect()
    }

    fn compact(&mut self) {
        if self.decided - self.compacted < COMPACTION_ENTRIES {
            return;
        }
        let added = Image::create(&must(self.store.get_entries(self.compacted, self.decided)));
        let image = match self.compacted {
            0 => added,
            _ => {
                let mut image = self.image();
                image.merge(added);
                image
            }
        };
        self.compacted = self.decided;
        let ops = vec![
            StorageOp::Trim(self.compacted),
            StorageOp::SetCompactedIdx(self.compacted),
            StorageOp::SetSnapshot(Some(image)),
        ];
        must(self.store.write_atomically(ops));
    }

    fn image(&self) -> Image {
        must(self.store.get_snapshot()).expect("what is compacted is in an image")
    }
}

/// OmniPaxos panics as well if its store fails: what was promised must be on disk before anything else happens.
fn must<T>(result: StorageResult<T>) -> T {
    result.unwrap_or_else(|error| panic!("the store of the consistent core: {error}"))
}

/// So many rounds of the election a core node waits for an answer before it asks again.
const RESEND_ROUNDS: u64 = 5;
/// So many rounds a core node waits for one that it can follow.
const LEADERLESS_ROUNDS: u64 = 25;
/// So many decided entries are replaced by an image. What a core node is told that is further behind is an image too.
const COMPACTION_ENTRIES: usize = 1_024;
