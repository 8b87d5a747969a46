//! What the engine asks its host to do. Plain data: nothing here performs anything.

use core::time::Duration;
use std::collections::VecDeque;

use crate::control::record::Ask;
use crate::group::Group;
use crate::ids::{EntryId, Epoch, GroupId, LogIndex, NodeId, ReplicaId};
use crate::message::{Ack, Append, Chunk, ChunkAck, Fetched, Message, Mismatch, Refused, Sealed, StreamId};
use crate::replication::comparison::Window;
use crate::sync::pool::Pool;
use crate::time::{Instant, LogTime};

/// Names a request of the host; comes back with its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Token(pub u64);

/// One thing to be done by the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output<'a> {
    /// Send a message to a replica. If it cannot be sent, drop it: the protocol repeats what matters.
    Send {
        /// The receiver.
        to: ReplicaId,
        /// The group it is about.
        group: GroupId,
        /// The message epoch.
        epoch: Epoch,
        /// What to say.
        message: Message<'a>,
    },
    /// Answer a request. Each request is answered exactly once.
    Reply {
        /// Which one.
        token: Token,
        /// How it ended.
        outcome: Outcome<'a>,
    },
    /// Ask the consistent core. If it cannot be asked, drop it: it is repeated until the core's news answer it.
    Ask {
        /// The group it is about.
        group: GroupId,
        /// What is asked.
        ask: Ask,
    },
    /// Something worth telling an operator happened.
    Notify(Event),
}

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome<'a> {
    /// It was executed; a write is held by W replicas, a read saw everything acknowledged before it began.
    Done {
        /// The entry of the write, or the last entry the read has seen.
        id: EntryId,
        /// An [answer](crate::machine::answer), in bytes.
        answer: &'a [u8],
    },
    /// The leader has appended it and promises nothing.
    Accepted {
        /// Its entry.
        id: EntryId,
    },
    /// It did not happen and never will.
    Refused(Refusal),
    /// It may or may not have happened, or happen later.
    Unknown {
        /// Its entry.
        id: EntryId,
    },
}

/// Why a request was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// Too few members are connected.
    #[error(
        "NOQUORUM have {have} need {need}: too few replicas of group {group} are reachable from its leader; see `quorate status`"
    )]
    NoQuorum {
        /// The group.
        group: GroupId,
        /// Members the leader can reach, itself included.
        have: usize,
        /// The write quorum.
        need: usize,
    },
    /// The leader has lost its memory: others hold what an earlier run of it wrote.
    #[error("UNAVAILABLE missing {}.{}: node {} restarted without its memory and {witnesses} replicas of group {group} still follow its earlier run; it does not serve an empty store", missing.node, missing.incarnation, missing.node)]
    Unavailable {
        /// The group.
        group: GroupId,
        /// The run that would have to come back.
        missing: ReplicaId,
        /// How many replicas said so.
        witnesses: usize,
    },
    /// This node does not lead the group.
    #[error("NOTLEADER node {leader} leads group {group}")]
    NotLeader {
        /// The group.
        group: GroupId,
        /// Who does.
        leader: NodeId,
    },
    /// The group does not live on this CPU.
    #[error("NOTLEADER group {group} does not live here")]
    NotHere {
        /// The group.
        group: GroupId,
    },
    /// A queue, the log or a window is full.
    #[error("OVERLOAD {} retry after so many microseconds: {what} is full", retry_after.as_micros())]
    Overload {
        /// What is full.
        what: Bottleneck,
        /// When to try again.
        retry_after: Duration,
    },
    /// Memory for keys and values is full.
    #[error(
        "OOM command not allowed when used memory > 'memory_max': {used} of {max} bytes in use on this CPU; delete keys or raise memory_max"
    )]
    OutOfMemory {
        /// Bytes in use or on their way.
        used: usize,
        /// The limit.
        max: usize,
    },
    /// A key is too long.
    #[error("ERR key of {len} bytes is longer than the limit of {max} (limits.key_max)")]
    KeyTooLong {
        /// Its length.
        len: usize,
        /// The limit.
        max: usize,
    },
    /// A value is too large.
    #[error("ERR value of {len} bytes is larger than the limit of {max} (limits.value_max)")]
    ValueTooLarge {
        /// Its length.
        len: usize,
        /// The limit.
        max: usize,
    },
    /// A command, such as one that sets many keys at once, is larger than an entry can be.
    #[error(
        "ERR command of {len} bytes is larger than the limit of {max} for one entry: an eighth of a CPU's log, at most 16 MiB; divide it or raise node.log_memory"
    )]
    CommandTooLarge {
        /// Its length.
        len: usize,
        /// The limit.
        max: usize,
    },
    /// A read waited for its turn in vain.
    #[error("NOQUORUM have {have} need {need}: the leader of group {group} could not confirm its read lease in time")]
    NoLease {
        /// The group.
        group: GroupId,
        /// Members whose grants run.
        have: usize,
        /// The write quorum.
        need: usize,
    },
    /// The state of this replica is wrong, or may be, and nobody repairs it.
    #[error("DIVERGED group {group} is not served here: {why}; see `quorate status`")]
    Diverged {
        /// The group.
        group: GroupId,
        /// Why nobody does.
        why: Stuck,
    },
}

/// Why a state that is wrong is not repaired without an operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum Stuck {
    /// Repair is switched off.
    #[error(
        "the state of this replica differs from what was written, and replication.repair is false; restart this node, which then copies the group from the others"
    )]
    RepairIsOff,
    /// Nobody else can lead, as there is no consistent core.
    #[error(
        "the state of this replica, the only one that can lead, differs from what was written; export what you need from another replica and create the cluster anew"
    )]
    NobodyElse,
    /// Members differ, and too few agree on what is right.
    #[error(
        "its replicas differ, and no state is that of more than half of them; compare them, and restart the node that is wrong, which then copies the group from the other"
    )]
    Undecided,
}

/// What can be full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bottleneck {
    /// The memory of the log.
    Log,
    /// What one group may have uncommitted.
    Uncommitted,
    /// The waiting list.
    Waiters,
}

impl core::fmt::Display for Bottleneck {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::Log => "the log",
            Self::Uncommitted => "the group's share of uncommitted entries",
            Self::Waiters => "the waiting list",
        })
    }
}

/// Something an operator may want to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// Enough members accepted the leader: the group exists from now on.
    Founded {
        /// The group.
        group: GroupId,
    },
    /// The leader serves reads and writes.
    Serving {
        /// The group.
        group: GroupId,
        /// In this epoch.
        epoch: Epoch,
    },
    /// A replica has been told to take over, and begins.
    TakingOver {
        /// The group.
        group: GroupId,
        /// To this epoch.
        epoch: Epoch,
    },
    /// It holds the log that is to be led, and gives it to the members.
    Adopted {
        /// The group.
        group: GroupId,
        /// To lead it in this epoch.
        epoch: Epoch,
    },
    /// A leader has promised a later epoch: it neither answers nor acknowledges any more.
    Deposed {
        /// The group.
        group: GroupId,
        /// The epoch it led.
        epoch: Epoch,
    },
    /// A replica gave up what it held: an operator has accepted that it is lost, and who leads now does not have it.
    Forgotten {
        /// The group.
        group: GroupId,
        /// The last entry it knew to be committed.
        commit: LogIndex,
    },
    /// The leader restarted without memory and may not lead.
    Unavailable {
        /// The group.
        group: GroupId,
        /// The run that would have to come back.
        missing: ReplicaId,
    },
    /// A member came back without its memory: it copies the log and is not counted.
    Learner {
        /// The group.
        group: GroupId,
        /// Who.
        replica: ReplicaId,
    },
    /// A replica fell behind the start of the log and gets a snapshot.
    SnapshotStarted {
        /// The group.
        group: GroupId,
        /// Who.
        to: ReplicaId,
    },
    /// A replica has installed its snapshot.
    SnapshotInstalled {
        /// The group.
        group: GroupId,
        /// Who.
        to: ReplicaId,
    },
    /// The state of this replica is wrong: something that nobody wrote is in it, or more than half of the members have another
    /// one. From now on it takes no part in quorums and reads.
    Diverged {
        /// The group.
        group: GroupId,
        /// Between which indexes it became so.
        window: Window,
    },
    /// A replica whose state was wrong has copied that of its leader, and is as good as any other again.
    Resynchronised {
        /// The group.
        group: GroupId,
        /// The last entry applied.
        at: LogIndex,
    },
    /// A state is wrong, or may be, and nobody repairs it: the group is not served here until an operator acts.
    ManualInterventionRequired {
        /// The group.
        group: GroupId,
        /// Why.
        why: Stuck,
    },
    /// A peer sent something that breaks the protocol; it was dropped.
    Malformed {
        /// The group.
        group: GroupId,
        /// Who.
        from: ReplicaId,
        /// What was wrong.
        what: &'static str,
    },
}

/// Outputs not taken yet, and the bytes that belong to them.
#[derive(Debug, Default)]
pub(crate) struct OutputQueue {
    queue: VecDeque<Queued>,
    /// Answers and chunks; cleared when the queue is empty.
    arena: Vec<u8>,
}

/// A range of the arena.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Span {
    start: usize,
    end: usize,
}

#[derive(Clone, Copy, Debug)]
enum Queued {
    Append { to: ReplicaId, position: usize, epoch: Epoch, stream: StreamId, frame: AppendFrame },
    Chunk { to: ReplicaId, position: usize, epoch: Epoch, head: ChunkHead, body: Span },
    Small { to: ReplicaId, group: GroupId, epoch: Epoch, message: SmallMessage },
    Fetched { to: ReplicaId, position: usize, epoch: Epoch, prev: EntryId, last: LogIndex },
    Ask { group: GroupId, ask: Ask },
    Done { token: Token, id: EntryId, answer: Span },
    Reply { token: Token, ended: Ended },
    Notify(Event),
}

/// An append whose entries are looked up when it is taken.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AppendFrame {
    pub(crate) prev: EntryId,
    pub(crate) commit: LogIndex,
    pub(crate) sent: Instant,
    /// The last entry to send; `prev.index` for none.
    pub(crate) last: LogIndex,
}

/// A chunk without its body.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ChunkHead {
    pub(crate) stream: StreamId,
    pub(crate) sequence: u32,
    pub(crate) is_last: bool,
    pub(crate) base: EntryId,
    pub(crate) at: EntryId,
    pub(crate) time: LogTime,
}

/// A message that borrows nothing.
#[derive(Clone, Copy, Debug)]
pub(crate) enum SmallMessage {
    Ack(Ack),
    Refused(Refused),
    Mismatch(Mismatch),
    ChunkAck(ChunkAck),
    Seal,
    Sealed(Sealed),
    Fetch { after: LogIndex },
    Unfetchable,
    Diverged(Window),
}

/// An end of a request that carries no answer.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Ended {
    Accepted { id: EntryId },
    Refused(Refusal),
    Unknown { id: EntryId },
}

impl OutputQueue {
    /// Whether all outputs were taken.
    #[cfg(feature = "testing")]
    pub(crate) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Returns how many bytes of answers wait to be taken.
    pub(crate) fn answer_bytes(&self) -> usize {
        self.arena.len()
    }

    /// Throws away the bytes of outputs that were taken, once all are.
    pub(crate) fn recycle(&mut self) {
        if self.queue.is_empty() {
            self.arena.clear();
        }
    }

    pub(crate) fn append(
        &mut self,
        to: ReplicaId,
        position: usize,
        epoch: Epoch,
        stream: StreamId,
        frame: AppendFrame,
    ) {
        self.queue.push_back(Queued::Append { to, position, epoch, stream, frame });
    }

    pub(crate) fn small(&mut self, to: ReplicaId, group: GroupId, epoch: Epoch, message: SmallMessage) {
        self.queue.push_back(Queued::Small { to, group, epoch, message });
    }

    /// Sends a candidate the entries behind `prev` through `last`.
    pub(crate) fn fetched(&mut self, to: ReplicaId, position: usize, epoch: Epoch, prev: EntryId, last: LogIndex) {
        self.queue.push_back(Queued::Fetched { to, position, epoch, prev, last });
    }

    pub(crate) fn ask(&mut self, group: GroupId, ask: Ask) {
        self.queue.push_back(Queued::Ask { group, ask });
    }

    pub(crate) fn reply(&mut self, token: Token, ended: Ended) {
        self.queue.push_back(Queued::Reply { token, ended });
    }

    pub(crate) fn notify(&mut self, event: Event) {
        self.queue.push_back(Queued::Notify(event));
    }

    /// Answers a request with what `write` appends to the buffer it is given; `write` returns the entry.
    pub(crate) fn done(&mut self, token: Token, write: impl FnOnce(&mut Vec<u8>) -> EntryId) {
        let start = self.arena.len();
        let id = write(&mut self.arena);
        let answer = Span { start, end: self.arena.len() };
        self.queue.push_back(Queued::Done { token, id, answer });
    }

    /// Queues a chunk whose body `write` appends to the buffer it is given; `write` returns the head.
    ///
    /// # Errors
    /// That of `write`; nothing is queued.
    pub(crate) fn chunk<E>(
        &mut self,
        to: ReplicaId,
        position: usize,
        epoch: Epoch,
        write: impl FnOnce(&mut Vec<u8>) -> Result<ChunkHead, E>,
    ) -> Result<(), E> {
        let start = self.arena.len();
        let head = write(&mut self.arena).inspect_err(|_| self.arena.truncate(start))?;
        let body = Span { start, end: self.arena.len() };
        self.queue.push_back(Queued::Chunk { to, position, epoch, head, body });
        Ok(())
    }
}

/// The outputs of one input, in the order in which they must be performed.
///
/// Borrows the engine, so that no second input can enter while they are taken. Stopping early is safe: what is left
/// stays queued and comes out first next time.
#[must_use = "outputs that are not performed are late"]
#[derive(Debug)]
pub struct Outputs<'a> {
    queue: &'a mut VecDeque<Queued>,
    arena: &'a [u8],
    groups: &'a [Group],
    pool: &'a Pool,
}

impl<'a> Outputs<'a> {
    pub(crate) fn new(outputs: &'a mut OutputQueue, groups: &'a [Group], pool: &'a Pool) -> Self {
        Self { queue: &mut outputs.queue, arena: &outputs.arena, groups, pool }
    }
}

impl<'a> Iterator for Outputs<'a> {
    type Item = Output<'a>;

    fn next(&mut self) -> Option<Output<'a>> {
        loop {
            return Some(match self.queue.pop_front()? {
                Queued::Append { to, position, epoch, stream, frame } => {
                    let group = &self.groups[position];
                    let AppendFrame { prev, commit, sent, last } = frame;
                    let Some(entries) = group.entries(self.pool, prev.index.next(), last) else {
                        // They left the log between the turn and now: the next turn sends what is right.
                        continue;
                    };
                    let message = Message::Append(Append { stream, prev, commit, sent, entries });
                    Output::Send { to, group: group.id(), epoch, message }
                }
                Queued::Chunk { to, position, epoch, head, body } => {
                    let ChunkHead { stream, sequence, is_last, base, at, time } = head;
                    let body = &self.arena[body.start..body.end];
                    let message = Message::Chunk(Chunk { stream, sequence, is_last, base, at, time, body });
                    Output::Send { to, group: self.groups[position].id(), epoch, message }
                }
                Queued::Small { to, group, epoch, message } => {
                    let message = match message {
                        SmallMessage::Ack(ack) => Message::Ack(ack),
                        SmallMessage::Refused(refused) => Message::Refused(refused),
                        SmallMessage::Mismatch(mismatch) => Message::Mismatch(mismatch),
                        SmallMessage::ChunkAck(ack) => Message::ChunkAck(ack),
                        SmallMessage::Seal => Message::Seal,
                        SmallMessage::Sealed(sealed) => Message::Sealed(sealed),
                        SmallMessage::Fetch { after } => Message::Fetch { after },
                        SmallMessage::Unfetchable => Message::Unfetchable,
                        SmallMessage::Diverged(window) => Message::Diverged(window),
                    };
                    Output::Send { to, group, epoch, message }
                }
                Queued::Fetched { to, position, epoch, prev, last } => {
                    let group = &self.groups[position];
                    let Some(entries) = group.entries(self.pool, prev.index.next(), last) else { continue };
                    Output::Send { to, group: group.id(), epoch, message: Message::Fetched(Fetched { prev, entries }) }
                }
                Queued::Ask { group, ask } => Output::Ask { group, ask },
                Queued::Done { token, id, answer } => {
                    let answer = &self.arena[answer.start..answer.end];
                    Output::Reply { token, outcome: Outcome::Done { id, answer } }
                }
                Queued::Reply { token, ended } => {
                    let outcome = match ended {
                        Ended::Accepted { id } => Outcome::Accepted { id },
                        Ended::Refused(refusal) => Outcome::Refused(refusal),
                        Ended::Unknown { id } => Outcome::Unknown { id },
                    };
                    Output::Reply { token, outcome }
                }
                Queued::Notify(event) => Output::Notify(event),
            });
        }
    }
}
