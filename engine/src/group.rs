//! One group on one node: a replica, its role in the group's epoch, and the requests that wait for it.
//!
//! This file routes; what a leader does is in `leader`, what it refuses in `admission`, what it sends in `sending`, what a
//! follower does in `follower`.

mod admission;
mod follower;
mod leader;
mod sending;
mod status;

use crate::config::{GroupConfig, Settings};
use crate::ids::{Epoch, GroupId, Incarnation, LogIndex, NodeId, ReplicaId, Slot};
use crate::log::LogFull;
use crate::machine::answer::AnswerSink;
use crate::machine::command::Command;
use crate::machine::kv::Moment;
use crate::message::{Envelope, Message};
use crate::output::{OutputQueue, Refusal, Token};
use crate::replica::Replica;
use crate::sync::pool::Pool;
use crate::time::Instant;

use follower::Follower;
use leader::Leader;

pub use status::{GroupState, GroupStatus, MemberStatus, Standing};

/// What all groups of one CPU share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) settings: Settings,
    pub(crate) me: ReplicaId,
    pub(crate) pool: Pool,
    pub(crate) outputs: OutputQueue,
    /// Waiters of all groups.
    pub(crate) waiter_count: usize,
    /// Bytes of keys and values of all groups.
    pub(crate) used_bytes: usize,
    /// The most bytes by which what groups led here have appended and not applied can raise `used_bytes`.
    pub(crate) reserved_bytes: usize,
    /// Peers whose connection takes no more bytes at the moment.
    pub(crate) busy: Vec<NodeId>,
}

/// How much of an acknowledgement a request waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// The leader has appended it.
    Accepted,
    /// W replicas hold it, and it was executed.
    Commit,
}

/// A request to one group.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// Comes back with the answer.
    pub token: Token,
    /// The group it is for; it must live on this engine.
    pub group: GroupId,
    /// The slot of its keys; for commands without keys, any slot of the group.
    pub slot: Slot,
    /// The command, checked by [`Command::check`] where it entered the node.
    pub command: &'a [u8],
    /// What to wait for.
    pub level: Level,
    /// The read must see this entry: the last write of the same connection. 0 for none.
    pub after: LogIndex,
}

/// Whether the log had room.
pub(crate) enum Submitted {
    /// The request is on its way, or was answered.
    Taken,
    /// Nothing happened: the log needs room first.
    LogFull,
}

/// One group.
#[derive(Debug)]
pub(crate) struct Group {
    config: GroupConfig,
    /// Where it stands among the groups of its CPU; owns the segments of its logs under this number.
    position: usize,
    replica: Replica,
    /// The highest epoch promised.
    promise: Epoch,
    role: Role,
    /// Whether it is on the list of groups with something to do at the end of the turn.
    is_dirty: bool,
}

#[derive(Debug)]
enum Role {
    Leader(Box<Leader>),
    Follower(Box<Follower>),
}

impl Group {
    pub(crate) fn new(config: GroupConfig, position: usize, me: NodeId) -> Self {
        let owner = u32::try_from(position).expect("far fewer groups than 2^32");
        let role = if config.leader == me {
            Role::Leader(Box::new(Leader::new(&config, me)))
        } else {
            Role::Follower(Box::default())
        };
        let replica = Replica::new(owner, config.slots);
        Self { config, position, replica, promise: Epoch(0), role, is_dirty: false }
    }

    pub(crate) fn id(&self) -> GroupId {
        self.config.group
    }

    // ---- inputs ----

    pub(crate) fn submit(
        &mut self,
        shared: &mut Shared,
        now: Instant,
        request: &Request<'_>,
    ) -> Result<Submitted, Refusal> {
        match &mut self.role {
            Role::Leader(leader) => {
                let mut leading = Leading { config: &self.config, replica: &mut self.replica, leader };
                leading.submit(shared, now, request)
            }
            Role::Follower(_) => Err(Refusal::NotLeader { group: self.id(), leader: self.config.leader }),
        }
    }

    pub(crate) fn key_count(&self) -> usize {
        self.replica.kv.key_count()
    }

    /// Reads from what this replica has applied, whatever that is worth.
    pub(crate) fn peek(&self, command: &Command<'_>, answer: &mut AnswerSink<'_>) -> crate::ids::EntryId {
        self.replica.kv.read(Moment { time: self.replica.time }, command, answer);
        self.replica.applied
    }

    pub(crate) fn corrupt(&mut self, key: &[u8]) -> bool {
        self.replica.kv.corrupt(key)
    }

    pub(crate) fn on_peer_connected(&mut self, shared: &mut Shared, now: Instant, peer: ReplicaId) {
        if let Role::Leader(leader) = &mut self.role {
            let mut leading = Leading { config: &self.config, replica: &mut self.replica, leader };
            leading.on_peer_connected(shared, now, peer);
        }
    }

    pub(crate) fn on_peer_lost(&mut self, node: NodeId, incarnation: Incarnation) {
        match &mut self.role {
            Role::Leader(leader) => leader.on_peer_lost(node, incarnation),
            Role::Follower(follower) => follower.on_peer_lost(ReplicaId { node, incarnation }),
        }
    }

    /// The connection to a node takes bytes again. What was sent last may have found no room.
    pub(crate) fn on_peer_ready(&mut self, node: NodeId) {
        if let Role::Leader(leader) = &mut self.role {
            leader.on_peer_ready(node);
        }
    }

    /// Handles a message about this group.
    ///
    /// # Errors
    /// The log is full: the caller makes room and tries again, or drops the message.
    pub(crate) fn handle_message(
        &mut self,
        shared: &mut Shared,
        now: Instant,
        envelope: &Envelope<'_>,
    ) -> Result<(), LogFull> {
        match (&mut self.role, &envelope.message) {
            (
                Role::Leader(leader),
                Message::Ack(_) | Message::Refused(_) | Message::Mismatch(_) | Message::ChunkAck(_),
            ) => {
                let mut leading = Leading { config: &self.config, replica: &mut self.replica, leader };
                leading.handle_answer(shared, now, envelope);
                Ok(())
            }
            (Role::Follower(_), Message::Append(_) | Message::Chunk(_)) => self.handle_from_leader(shared, envelope),
            // Answers to a leader this node is not, and appends from a leader of a group that this node leads: with a
            // static configuration only a peer with another configuration sends these.
            (Role::Leader(_), Message::Append(_) | Message::Chunk(_)) => {
                self.refuse(shared, envelope);
                Ok(())
            }
            (
                Role::Follower(_),
                Message::Ack(_) | Message::Refused(_) | Message::Mismatch(_) | Message::ChunkAck(_),
            ) => Ok(()),
        }
    }

    /// Sends what a peer waits for and what depends on nothing else: acknowledgements.
    pub(crate) fn flush(&mut self, shared: &mut Shared) {
        if let Role::Follower(follower) = &mut self.role {
            follower.flush_ack(shared, self.config.group, self.promise);
        }
    }

    /// Does what was put off to the end of the turn: one append for each peer, one acknowledgement, applying.
    pub(crate) fn end_turn(&mut self, shared: &mut Shared, now: Instant) {
        self.is_dirty = false;
        match &mut self.role {
            Role::Leader(leader) => {
                let mut leading = Leading { config: &self.config, replica: &mut self.replica, leader };
                leading.end_turn(shared, now, self.position);
            }
            Role::Follower(_) => {
                self.flush(shared);
                self.apply_committed(shared);
            }
        }
    }

    /// Applies what is committed, if it follows: it answers no one, so that can wait until acknowledgements are sent. A
    /// leader has applied it when it was committed, and has answered whoever waited.
    pub(crate) fn apply_committed(&mut self, shared: &mut Shared) {
        if let Role::Leader(_) = self.role {
            return;
        }
        let used_before = self.replica.kv.used_bytes();
        self.replica.apply_silently(&shared.pool, self.replica.commit);
        shared.used_bytes = (shared.used_bytes + self.replica.kv.used_bytes()).saturating_sub(used_before);
    }

    /// Does what time asks for: deadlines, expiries, notices, probes.
    ///
    /// # Errors
    /// The log is full: the caller makes room and calls again, or leaves it for a moment.
    pub(crate) fn on_alarm(&mut self, shared: &mut Shared, now: Instant) -> Result<(), LogFull> {
        match &mut self.role {
            Role::Leader(leader) => {
                let mut leading = Leading { config: &self.config, replica: &mut self.replica, leader };
                leading.on_alarm(shared, now)
            }
            Role::Follower(_) => Ok(()),
        }
    }

    // ---- queries ----

    /// Returns when time next asks for something.
    pub(crate) fn next_alarm(&self, settings: &Settings) -> Option<Instant> {
        match &self.role {
            Role::Leader(leader) => leader.next_alarm(&self.replica, settings),
            Role::Follower(_) => None,
        }
    }

    /// Returns the bytes of the entries `first ..= last`, which must lie side by side; empty if `last < first`.
    pub(crate) fn entries<'a>(&'a self, pool: &'a Pool, first: LogIndex, last: LogIndex) -> Option<&'a [u8]> {
        if last < first {
            return Some(&[]);
        }
        self.replica.log.bytes(pool, first..=last)
    }

    /// Marks the group as having something to do at the end of the turn; returns whether it was unmarked.
    pub(crate) fn mark_dirty(&mut self) -> bool {
        !core::mem::replace(&mut self.is_dirty, true)
    }

    /// Whether its oldest segment can go.
    pub(crate) fn can_release(&self) -> bool {
        self.replica.log.can_release_oldest(self.replica.applied.index)
            || self.installing().is_some_and(|copy| copy.log.can_release_oldest(copy.applied.index))
    }

    /// Gives up its oldest segment.
    pub(crate) fn release_oldest(&mut self, pool: &mut Pool) {
        if self.replica.log.release_oldest(pool, self.replica.applied.index) > 0 {
            return;
        }
        if let Role::Follower(follower) = &mut self.role {
            follower.release_oldest(pool);
        }
    }

    fn installing(&self) -> Option<&Replica> {
        match &self.role {
            Role::Follower(follower) => follower.installing(),
            Role::Leader(_) => None,
        }
    }

    /// Whether it leads, and a peer has not been told yet how far the log is committed.
    pub(crate) fn owes_notice(&self) -> bool {
        matches!(&self.role, Role::Leader(leader) if leader.owes_notice())
    }

    /// Returns the commit index, the index applied and the digest of the state there.
    #[cfg(feature = "testing")]
    pub(crate) fn positions(&self) -> (LogIndex, LogIndex, u64) {
        (self.replica.commit, self.replica.applied.index, self.replica.kv.digest())
    }

    /// Returns how many bytes are reserved for what was appended here and is not applied.
    pub(crate) fn reserved_bytes(&self) -> usize {
        match &self.role {
            Role::Leader(leader) => leader.reserved_bytes(),
            Role::Follower(_) => 0,
        }
    }

    /// Checks the invariants that cost time.
    ///
    /// # Panics
    /// If one does not hold.
    pub(crate) fn check(&self) {
        self.replica.check();
        if let Role::Leader(_) = self.role {
            let (applied, commit) = (self.replica.applied.index, self.replica.commit);
            assert_eq!(applied, commit, "I8: a leader that has not applied what is committed has not answered it");
        }
        if let Some(copy) = self.installing() {
            copy.check();
        }
    }

    fn refuse(&self, shared: &mut Shared, envelope: &Envelope<'_>) {
        let leader = match &self.role {
            Role::Leader(_) => Some(shared.me),
            Role::Follower(follower) => follower.leader(),
        };
        let refused = crate::message::Refused { promise: self.promise, leader };
        let message = crate::output::SmallMessage::Refused(refused);
        shared.outputs.small(envelope.from, self.id(), envelope.epoch, message);
    }
}

/// A leader at work: its group's configuration and replica beside it.
struct Leading<'a> {
    config: &'a GroupConfig,
    replica: &'a mut Replica,
    leader: &'a mut Leader,
}
