//! What a follower does: it takes appends from the one leader it knows, acknowledges the prefix it shares with it, and
//! installs snapshots beside its own log.
//!
//! # Invariants
//! I3. Nothing is acknowledged to a leader other than the one this replica is bound to.
//!
//! # After a loss
//! Who leads after a loss that an operator has accepted may not have what is committed here. Then a replica gives up all that it
//! holds and copies the new log from its beginning. It does so only where the core has named a greater loss generation than that
//! of its own log, and where the two contradict each other, or cannot be compared because the beginning of its own has been
//! released; against any other leader a committed entry stands. As long as the core has not told it of an epoch, it says nothing
//! to a leader of that which contradicts it. The generation of its log is that of the leader's only once that is active: an
//! operator may accept another loss instead.
//!
//! # Source
//! The replication protocol, sections 1.4 and 1.8; which incarnation of a leader is accepted: `replication::founding`.

use crate::control::record::News;
use crate::entry::StoredEntries;
use crate::ids::{Epoch, GroupId, LogIndex, NodeId, ReplicaId};
use crate::log::LogFull;
use crate::message::{Ack, Append, Chunk, ChunkAck, ChunkProgress, Envelope, Message, Mismatch, StreamId};
use crate::output::{Event, SmallMessage};
use crate::planted::{self, rule};
use crate::replica::{Extended, Replica};
use crate::replication::comparison::Notes;
use crate::sync::pool::Pool;
use crate::time::Instant;

use super::{Group, Role, Shared};

/// The state of a follower beside its replica.
#[derive(Debug, Hash, Default)]
pub(super) struct Follower {
    /// The leader it takes entries from, at the epoch promised.
    leader: Option<ReplicaId>,
    /// End of the prefix known to be equal to that leader's log.
    matched: LogIndex,
    /// What is to be acknowledged at the end of the turn.
    ack: Option<OwedAck>,
    install: Install,
}

/// An acknowledgement that is not sent yet.
#[derive(Clone, Copy, Debug, Hash)]
struct OwedAck {
    to: ReplicaId,
    epoch: Epoch,
    stream: StreamId,
    matched: LogIndex,
    sent: Instant,
    /// Whether entries came: somebody may wait for them to be held. If not, it is sent when what was committed is applied, so
    /// that it tells the state at the last entry.
    is_urgent: bool,
}

/// Snapshots.
#[derive(Debug, Hash, Default)]
enum Install {
    /// None under way.
    #[default]
    None,
    /// One is being installed.
    UnderWay(Box<Copy>),
    /// This one replaced the log; appends that still carry its stream extend the log.
    Finished(StreamId),
}

/// A snapshot under way: the copy that will replace the replica once it is whole.
#[derive(Debug, Hash)]
struct Copy {
    stream: StreamId,
    next_sequence: u32,
    /// Whether all chunks are here. It replaces the replica once entries behind them have made it hold what that must not lose.
    is_complete: bool,
    replica: Replica,
}

impl Follower {
    /// Creates the follower of a leader, if there is one.
    pub(super) fn of(leader: Option<ReplicaId>) -> Self {
        Self { leader, ..Self::default() }
    }

    /// Follows a leader, or nobody: nothing is known of what it holds, and nothing is owed to the one before.
    pub(super) fn follow(&mut self, leader: Option<ReplicaId>) {
        (self.leader, self.matched, self.ack) = (leader, LogIndex(0), None);
    }

    /// Gives up what was installed for a leader that is not followed any more.
    pub(super) fn drop_install(&mut self, shared: &mut Shared) {
        if let Install::UnderWay(mut copy) = core::mem::take(&mut self.install) {
            shared.used_bytes = shared.used_bytes.saturating_sub(copy.replica.kv.used_bytes());
            copy.replica.log.clear(&mut shared.pool);
        }
    }

    pub(super) fn leader(&self) -> Option<ReplicaId> {
        self.leader
    }

    pub(super) fn installing(&self) -> Option<&Replica> {
        match &self.install {
            Install::UnderWay(copy) => Some(&copy.replica),
            Install::None | Install::Finished(_) => None,
        }
    }

    pub(super) fn release_oldest(&mut self, pool: &mut Pool) {
        if let Install::UnderWay(copy) = &mut self.install {
            copy.replica.log.release_oldest(pool, copy.replica.applied.index);
        }
    }

    pub(super) fn on_peer_lost(&mut self, peer: ReplicaId) {
        if self.ack.is_some_and(|ack| ack.to == peer) {
            self.ack = None;
        }
    }

    /// Sends what is owed: only what is urgent, or all of it.
    pub(super) fn flush_ack(&mut self, shared: &mut Shared, group: GroupId, replica: &Replica, is_all: bool) {
        if let Some(owed) = self.ack.take_if(|ack| ack.is_urgent || is_all) {
            let OwedAck { to, epoch, stream, matched, sent, is_urgent: _ } = owed;
            // Behind what it shares with the leader lies another log, after a loss that it has not heard of.
            let state = Some(replica.state_to_tell()).filter(|note| note.applied <= matched).unwrap_or_default();
            let ack = Ack { stream, matched, sent, state };
            shared.outputs.small(to, group, epoch, SmallMessage::Ack(ack));
            // Nothing else may come that it would tell the state at the last entry with.
            let is_to_tell = !is_all && replica.applied.index < replica.commit && replica.commit == replica.log.last();
            self.ack = is_to_tell.then_some(OwedAck { is_urgent: false, ..owed });
        }
    }

    /// Nothing is acknowledged of what was received.
    pub(super) fn owe_nothing(&mut self) {
        self.ack = None;
    }

    /// Whether `from` may lead this replica; if it is a new run of the leader, and nothing binds to the old one, it may.
    fn accepts(&mut self, from: ReplicaId, leader: NodeId, has_entries: bool) -> bool {
        if from.node != leader {
            return false;
        }
        match self.leader {
            Some(known) if known == from => true,
            Some(_) if has_entries => false,
            Some(_) | None => {
                self.leader = Some(from);
                self.matched = LogIndex(0);
                true
            }
        }
    }
}

impl Group {
    /// Handles an append or a chunk.
    ///
    /// # Errors
    /// The log is full.
    pub(super) fn handle_from_leader(
        &mut self,
        shared: &mut Shared,
        now: Instant,
        envelope: &Envelope<'_>,
    ) -> Result<(), LogFull> {
        let Envelope { from, epoch, .. } = *envelope;
        let is_accepted = if self.config.is_assigned() {
            if epoch > self.promise && self.is_named(from) {
                self.promise_to(shared, epoch, from);
            }
            self.follows(from, epoch) || (planted::is(20) && matches!(self.role, Role::Follower(_)))
        } else {
            let has_entries = self.replica.log.last() > LogIndex(0);
            let leader = self.config.leader;
            let is_accepted = match &mut self.role {
                Role::Follower(follower) => epoch >= self.promise && follower.accepts(from, leader, has_entries),
                Role::Leader(_) | Role::Candidate(_) => false,
            };
            if is_accepted && epoch > self.promise {
                self.promise = epoch;
            }
            is_accepted
        };
        if !is_accepted {
            self.refuse(shared, from, epoch);
            return Ok(());
        }
        self.granted_until = self.granted_until.max(now.saturating_add(shared.settings.read_lease));
        match &envelope.message {
            Message::Append(append) => self.handle_append(shared, (from, epoch), append),
            Message::Chunk(chunk) => {
                self.handle_chunk(shared, envelope.from, chunk);
                Ok(())
            }
            Message::Ack(_)
            | Message::Refused(_)
            | Message::Mismatch(_)
            | Message::ChunkAck(_)
            | Message::Seal
            | Message::Sealed(_)
            | Message::Fetch { .. }
            | Message::Fetched(_)
            | Message::Unfetchable
            | Message::Diverged(_) => Ok(()),
        }
    }

    fn handle_append(
        &mut self,
        shared: &mut Shared,
        (from, epoch): (ReplicaId, Epoch),
        append: &Append<'_>,
    ) -> Result<(), LogFull> {
        let loss_gen = self.loss_gen_of(epoch);
        let is_later = loss_gen.is_none_or(|loss_gen| loss_gen > self.loss_gen);
        if is_later && append.stream == StreamId::LIVE && self.contradicts(shared, append) {
            if loss_gen.is_some() {
                self.forget(shared);
                let mismatch = SmallMessage::Mismatch(Mismatch { stream: StreamId::LIVE, hint: LogIndex(0) });
                shared.outputs.small(from, self.config.group, self.promise, mismatch);
            }
            return Ok(());
        }
        let active_gen = if is_later { self.active_gen(epoch) } else { None };
        let Role::Follower(follower) = &self.role else { return Ok(()) };
        let stream = match &follower.install {
            Install::Finished(stream) if *stream == append.stream => StreamId::LIVE,
            Install::None | Install::Finished(_) | Install::UnderWay(_) => append.stream,
        };
        if self.diverged.is_some() && stream == StreamId::LIVE {
            if self.stuck().is_none() {
                self.answer_diverged(shared, from);
            }
            return Ok(());
        }
        let Role::Follower(follower) = &mut self.role else { return Ok(()) };
        let replica = match &mut follower.install {
            _ if stream == StreamId::LIVE => &mut self.replica,
            Install::UnderWay(copy) if copy.stream == stream => &mut copy.replica,
            // A snapshot this replica knows nothing of: it was given up.
            Install::None | Install::Finished(_) | Install::UnderWay(_) => {
                let ack = ChunkAck { stream, progress: ChunkProgress::Broken };
                shared.outputs.small(from, self.config.group, self.promise, SmallMessage::ChunkAck(ack));
                return Ok(());
            }
        };
        if stream == StreamId::LIVE && replica.knows(&shared.pool, append.prev) {
            // Before the entries, which may find no room: what is committed can then be applied and make some.
            follower.matched = follower.matched.max(append.prev.index);
            replica.advance_commit(append.commit.min(follower.matched));
        }
        match replica.extend(&mut shared.pool, append)? {
            Extended::Through(last) => {
                let matched = if stream == StreamId::LIVE {
                    follower.matched = follower.matched.max(last);
                    follower.matched
                } else {
                    last
                };
                replica.advance_commit(append.commit.min(matched));
                if stream == StreamId::LIVE && matched >= replica.commit {
                    self.loss_gen = active_gen.unwrap_or(self.loss_gen);
                }
                // What is live is applied at the end of the turn, so that a host can send the acknowledgement first.
                if stream != StreamId::LIVE {
                    shared.apply_committed(replica);
                }
                let matched = if planted::is(rule::ACK_WHAT_MATCHES) { replica.log.last() } else { matched };
                // One acknowledgement for all appends of a turn: they come in order, so the last one says it all.
                let before = follower.ack.filter(|ack| (ack.to, ack.epoch, ack.stream) == (from, epoch, stream));
                let is_urgent = !append.entries.is_empty() || before.is_some_and(|ack| ack.is_urgent);
                let sent = append.sent;
                follower.ack = Some(OwedAck { to: from, epoch, stream, matched, sent, is_urgent });
                self.go_on_installing(shared, from, stream);
            }
            Extended::Mismatch(hint) => {
                let mismatch = SmallMessage::Mismatch(Mismatch { stream, hint });
                shared.outputs.small(from, self.config.group, self.promise, mismatch);
            }
            Extended::Malformed(what) => {
                shared.outputs.notify(Event::Malformed { group: self.config.group, from, what });
            }
        }
        Ok(())
    }

    /// Returns the loss generation of an epoch, if the core has told of it last.
    fn loss_gen_of(&self, epoch: Epoch) -> Option<u64> {
        // Without a core nothing is ever given up.
        let Some(News { active, pending, .. }) = &self.news else { return Some(self.loss_gen) };
        let pending = pending.as_ref().map(|change| &change.config);
        let config = [Some(active), pending].into_iter().flatten().find(|config| config.epoch == epoch)?;
        Some(config.loss_gen)
    }

    /// As [`Group::loss_gen_of`], if no other loss can be accepted instead.
    fn active_gen(&self, epoch: Epoch) -> Option<u64> {
        let active = self.news.as_ref().map_or(self.loss_gen, |news| news.active.loss_gen);
        self.loss_gen_of(epoch).filter(|loss_gen| *loss_gen <= active)
    }

    /// Whether a log that entries come from lacks what is committed here, for all that can be seen.
    fn contradicts(&self, shared: &Shared, append: &Append<'_>) -> bool {
        let Role::Follower(follower) = &self.role else { return false };
        let base = self.replica.log.base().index;
        // What lies before the base is not there to be compared.
        let is_hidden = append.prev.index < base && follower.matched < base;
        let mut entries = StoredEntries::new(append.entries);
        is_hidden
            || (self.replica.knows(&shared.pool, append.prev)
                && entries.any(|entry| self.replica.contradicts(&shared.pool, entry.id())))
    }

    /// Gives up everything that this replica holds, but not what it has promised.
    pub(super) fn forget(&mut self, shared: &mut Shared) {
        let owner = u32::try_from(self.position).expect("checked when the group was made");
        let mut old = core::mem::replace(&mut self.replica, Replica::new(owner, self.config.slots));
        shared.used_bytes = shared.used_bytes.saturating_sub(old.kv.used_bytes());
        old.log.clear(&mut shared.pool);
        (self.repaired, self.scrubbed) = (LogIndex(0), [LogIndex(0); 2]);
        shared.outputs.notify(Event::Forgotten { group: self.config.group, commit: old.commit });
        if let Role::Follower(follower) = &mut self.role {
            follower.drop_install(shared);
            follower.follow(follower.leader);
        }
    }

    fn handle_chunk(&mut self, shared: &mut Shared, from: ReplicaId, chunk: &Chunk<'_>) {
        let progress = self.install_chunk(shared, chunk);
        if progress == ChunkProgress::Broken {
            self.follower_mut().drop_install(shared);
        }
        let ack = SmallMessage::ChunkAck(ChunkAck { stream: chunk.stream, progress });
        shared.outputs.small(from, self.config.group, self.promise, ack);
    }

    fn install_chunk(&mut self, shared: &mut Shared, chunk: &Chunk<'_>) -> ChunkProgress {
        let continues = planted::is(17) && self.installing().is_some();
        if chunk.sequence == 0 && chunk.stream != StreamId::LIVE && !continues {
            self.follower_mut().drop_install(shared);
            let owner = u32::try_from(self.position).expect("checked when the group was made");
            let replica = Replica::behind(owner, self.config.slots, chunk.base, chunk.time);
            let copy = Copy { stream: chunk.stream, next_sequence: 0, is_complete: false, replica };
            self.follower_mut().install = Install::UnderWay(Box::new(copy));
        }
        let Install::UnderWay(copy) = &mut self.follower_mut().install else { return ChunkProgress::Broken };
        let replica = &mut copy.replica;
        let has_entry = replica.log.epoch_at(&shared.pool, chunk.at.index) == Some(chunk.at.epoch);
        let is_next = (copy.stream == chunk.stream && copy.next_sequence == chunk.sequence) || planted::is(17);
        if !is_next || !has_entry || replica.applied.index > chunk.at.index {
            return ChunkProgress::Broken;
        }
        let used_before = replica.kv.used_bytes();
        replica.advance_commit(chunk.at.index);
        replica.apply_silently(&shared.pool, chunk.at.index);
        let installed = replica.kv.install(chunk.body, chunk.is_last);
        shared.used_bytes = (shared.used_bytes + replica.kv.used_bytes()).saturating_sub(used_before);
        if installed.is_err() {
            return ChunkProgress::Broken;
        }
        copy.next_sequence += 1;
        if chunk.is_last {
            // What was noted before was not the state of all keys.
            replica.notes = Notes::default();
            replica.notes.note(replica.applied.index, replica.kv.digest());
            copy.is_complete = true;
            return self.finish_install(shared);
        }
        ChunkProgress::Received { sequence: chunk.sequence }
    }

    /// Goes on with a copy that lacks nothing but entries, if some have come with its stream.
    fn go_on_installing(&mut self, shared: &mut Shared, from: ReplicaId, stream: StreamId) {
        let Role::Follower(follower) = &self.role else { return };
        let Install::UnderWay(copy) = &follower.install else { return };
        if !copy.is_complete {
            return;
        }
        let (is_live, stream) = (stream == StreamId::LIVE, copy.stream);
        // If they have not, the leader has given up that copy, or they were overtaken by it.
        let progress = if is_live { ChunkProgress::Broken } else { self.finish_install(shared) };
        match progress {
            ChunkProgress::Received { .. } => return,
            ChunkProgress::Broken => self.follower_mut().drop_install(shared),
            ChunkProgress::Installed { .. } => {}
        }
        let ack = SmallMessage::ChunkAck(ChunkAck { stream, progress });
        shared.outputs.small(from, self.config.group, self.promise, ack);
    }

    /// Replaces the replica by the copy, at once, unless it holds all that the copy does.
    pub(super) fn finish_install(&mut self, shared: &mut Shared) -> ChunkProgress {
        let is_later = self.loss_gen_of(self.promise).is_some_and(|loss_gen| loss_gen > self.loss_gen);
        let active_gen = self.active_gen(self.promise);
        let Role::Follower(follower) = &mut self.role else { return ChunkProgress::Broken };
        let Install::UnderWay(mut copy) = core::mem::take(&mut follower.install) else { return ChunkProgress::Broken };
        let end = copy.replica.log.last_id();
        // A leader whose epoch is not active yet may know less to be committed than this replica does, and learns no more before
        // that acknowledges, which it does not while its state is wrong. What both logs hold is committed in both.
        let commit = self.replica.commit;
        let shared_commit = commit.min(end.index);
        let stamp = self.replica.log.epoch_at(&shared.pool, shared_commit);
        if stamp.is_some() && copy.replica.log.epoch_at(&shared.pool, shared_commit) == stamp {
            copy.replica.advance_commit(shared_commit);
            shared.apply_committed(&mut copy.replica);
        }
        let holds_end = self.replica.log.epoch_at(&shared.pool, end.index) == Some(end.epoch);
        if holds_end && self.replica.log.last() > end.index {
            // The log has everything that the snapshot stands for. What follows may have been acknowledged to an earlier
            // leader, and be needed by a later one.
            let Copy { stream, replica: mut rest, .. } = *copy;
            if self.diverged.is_some() && rest.applied.index >= self.replica.log.base().index {
                rest = self.replica.take_state(rest);
                self.on_repaired(shared);
            } else {
                self.replica.advance_commit(rest.commit);
            }
            shared.used_bytes = shared.used_bytes.saturating_sub(rest.kv.used_bytes());
            rest.log.clear(&mut shared.pool);
            let follower = self.follower_mut();
            follower.install = Install::Finished(stream);
            follower.matched = follower.matched.max(end.index);
            return ChunkProgress::Installed { matched: follower.matched };
        }
        let takes_back = copy.replica.commit < self.replica.commit;
        let may_take_back = is_later && follower.matched < self.replica.commit;
        let needed = if may_take_back { follower.matched } else { follower.matched.max(commit) };
        if copy.replica.log.last() < needed {
            // What this replica has committed, or acknowledged, is still on its way; or it is not, as overtaken messages belong
            // to an earlier copy.
            let sequence = copy.next_sequence.saturating_sub(1);
            follower.install = Install::UnderWay(copy);
            return ChunkProgress::Received { sequence };
        }
        if takes_back && !may_take_back {
            follower.install = Install::UnderWay(copy);
            return ChunkProgress::Broken;
        }
        let Copy { stream, replica, .. } = *copy;
        let mut old = core::mem::replace(&mut self.replica, replica);
        shared.used_bytes = shared.used_bytes.saturating_sub(old.kv.used_bytes());
        old.log.clear(&mut shared.pool);
        follower.install = Install::Finished(stream);
        follower.matched = self.replica.log.last();
        follower.ack = None;
        self.loss_gen = active_gen.unwrap_or(self.loss_gen);
        let matched = follower.matched;
        if takes_back {
            shared.outputs.notify(Event::Forgotten { group: self.config.group, commit: old.commit });
        }
        self.on_repaired(shared);
        ChunkProgress::Installed { matched }
    }

    fn follower_mut(&mut self) -> &mut Follower {
        match &mut self.role {
            Role::Follower(follower) => follower,
            Role::Leader(_) | Role::Candidate(_) => unreachable!("whoever takes a chunk follows who sent it"),
        }
    }
}
