//! What the leader of a group does: it appends, counts acknowledgements, commits, answers, and keeps every peer going.
//!
//! # Invariants
//! I1. `applied <= commit <= last`.  I3. Only acknowledgements of voters count.  I5. A read is answered only under a
//! read lease, by a leader whose own epoch is committed (`commit >= view`).  I8. A waiter completes exactly once.
//!
//! # Time and units
//! All times are the leader's monotonic clock. The read lease ends at the W-th newest echoed send time + L(1 − ρ), its
//! own clock counting as its own echo. Logged time is the last stamp, or what the leader's clock has added since it took
//! over, whichever is later.
//!
//! # Source
//! The replication protocol, sections 1.5 and 1.9.

use std::collections::VecDeque;

use crate::config::{EXPIRIES_PER_TURN, GroupConfig, Settings};
use crate::entry::EntryKind;
use crate::ids::{EntryId, Epoch, GroupId, Incarnation, LogIndex, NodeId, ReplicaId, Slot};
use crate::log::{EntryStamp, LogFull};
use crate::machine::answer::AnswerSink;
use crate::machine::command::{Command, Op};
use crate::machine::snapshot::SnapshotCursor;
use crate::message::{Ack, ChunkAck, ChunkProgress, Envelope, Message, Mismatch, Refused, StreamId};
use crate::output::{Ended, Event, Refusal, Stuck};
use crate::planted::{self, rule};
use crate::replica::{Replica, apply};
use crate::replication::founding::{Founding, Verdict, view_quorum};
use crate::replication::progress::{Peer, Progress, SnapshotSend, Tally};
use crate::replication::quorum::nth_largest;
use crate::slots::slot_of;
use crate::time::{Instant, LogTime, nanos};
use crate::waiting::{WaitingList, earlier};

use super::admission::RETRY_AFTER;
use super::change::LiveChange;
use super::divergence::{Dispute, OwnFault};
use super::hearing::Hearing;
use super::{Leading, Shared};

/// Bytes of answers after which the reads that waited together wait for the next turn.
const ANSWER_BYTES_PER_TURN: usize = 1 << 20;

/// The state of a leader beside its replica.
#[derive(Debug, Hash)]
pub(super) struct Leader {
    pub(super) peers: Vec<Peer>,
    pub(super) status: Status,
    pub(super) waiting: WaitingList,
    pub(super) uncommitted: Uncommitted,
    /// A change to another configuration that this leader leads too.
    pub(super) change: Option<LiveChange>,
    /// Replicas that are to be counted when they hold the log.
    pub(super) learners: Vec<ReplicaId>,
    /// When the core is asked again for what it has not answered.
    pub(super) ask_at: Option<Instant>,
    /// Since when there has been something to wait for without a break: acknowledgements, a lease, or enough members.
    waits_since: Option<Instant>,
    /// Whether a write quorum answers.
    pub(super) hearing: Hearing,
    /// Whether members refuse this leader because they have promised a later epoch.
    pub(super) is_refused: bool,
    /// The leader's clock when it took over, and logged time then.
    pub(super) began: Option<(Instant, LogTime)>,
    /// When to begin although the log had no room the last time.
    found_at: Option<Instant>,
    /// The last stamp given.
    stamped: LogTime,
    /// The last entry that ends a key: no key is looked at again before it is applied.
    expiring: LogIndex,
    /// No key is looked at before this: the log had no room.
    expire_from: Instant,
    /// When peers that do not know the commit index yet must be told.
    notice_due: Option<Instant>,
    /// Whether the read lease is to be renewed at the end of the turn.
    pub(super) wants_lease: bool,
    /// How the states of the members compare.
    pub(super) dispute: Dispute,
    /// What it has found out about its own state, until it steps down for it.
    pub(super) own_fault: Option<OwnFault>,
    /// Whether reads that could be answered were left for the next turn, which is to come at once.
    has_ready_reads: bool,
}

/// What was appended and is not committed.
#[derive(Debug, Hash, Default)]
pub(super) struct Uncommitted {
    /// Bytes of the entries.
    pub(super) bytes: usize,
    /// How many bytes are reserved for each of them, in their order.
    reserved: VecDeque<usize>,
}

impl Uncommitted {
    /// Notes an entry of `bytes` in the log that may make the state grow by `growth`.
    pub(super) fn add(&mut self, bytes: usize, growth: usize) {
        self.bytes += bytes;
        self.reserved.push_back(growth);
    }
}

/// An entry to be appended.
pub(super) struct NewEntry<'a> {
    pub(super) kind: EntryKind,
    pub(super) slot: Slot,
    /// In parts.
    pub(super) body: &'a [&'a [u8]],
    /// The most bytes by which applying it can raise the used bytes.
    pub(super) growth: usize,
}

/// How far a leader is.
#[derive(Debug, Hash)]
pub(super) enum Status {
    /// Asking the other members whether they follow an earlier run of this node.
    Founding(Founding),
    /// Its first entry, at this index, is not committed yet; members may have turned to another run of this node meanwhile.
    Proposing { view: LogIndex, founding: Founding },
    /// Its epoch is not active yet. W members must hold its first entry, at this index, and all read leases of earlier
    /// leaders must have run out, or the one that is `awaited`, who led last, must have promised; then it asks for activation.
    /// Nothing is committed or read before.
    Adopted { view: LogIndex, wait_until: Instant, awaited: Option<ReplicaId> },
    /// Its epoch is active. It commits, and reads, when its first entry is committed.
    Serving { view: LogIndex },
}

impl Leader {
    /// Creates the leader of a group whose members find out by themselves which runs count.
    pub(super) fn new(config: &GroupConfig, me: NodeId) -> Self {
        let mut leader = Self::with_status(Status::Founding(Founding::default()));
        let others = config.members.iter().map(|member| member.node).filter(|node| *node != me);
        leader.peers = others.map(Peer::new).collect();
        leader
    }

    /// Creates the leader of a configuration that the core has decided.
    pub(super) fn with_status(status: Status) -> Self {
        Self {
            peers: Vec::new(),
            status,
            waiting: WaitingList::default(),
            uncommitted: Uncommitted::default(),
            change: None,
            learners: Vec::new(),
            ask_at: None,
            waits_since: None,
            hearing: Hearing::Heard,
            is_refused: false,
            began: None,
            found_at: None,
            stamped: LogTime(0),
            expiring: LogIndex(0),
            expire_from: Instant(0),
            notice_due: None,
            wants_lease: false,
            dispute: Dispute::None,
            own_fault: None,
            has_ready_reads: false,
        }
    }

    pub(super) fn on_peer_lost(&mut self, node: NodeId, incarnation: Incarnation) {
        let Some(peer) = self.peers.iter_mut().find(|peer| peer.node == node) else { return };
        if peer.present == Some(incarnation) {
            peer.on_lost();
            if let Some(founding) = self.founding() {
                founding.forget(node);
            }
        }
    }

    /// Entries that were lost are missed by acknowledgements; that the commit index was, nobody would notice.
    pub(super) fn on_peer_ready(&mut self, node: NodeId) {
        if let Some(peer) = self.peers.iter_mut().find(|peer| peer.node == node) {
            peer.told_commit = LogIndex(0);
        }
    }

    /// Refuses all that waits for something else than what was appended.
    pub(super) fn refuse_all(&mut self, shared: &mut Shared, group: GroupId, leader: NodeId) {
        let never = Instant(u64::MAX);
        let refusal = Refusal::NotLeader { group, leader };
        while let Some(read) = self.waiting.take_late_read(never) {
            shared.waiter_count -= 1;
            shared.outputs.reply(read.token, Ended::Refused(refusal));
        }
        while let Some(waiter) = self.waiting.take_acks(never, |_| 0) {
            shared.waiter_count -= 1;
            shared.outputs.reply(waiter.token, Ended::Refused(refusal));
        }
        shared.reserved_bytes -= self.reserved_bytes();
    }

    /// Returns what the members have said, until it serves.
    fn founding(&mut self) -> Option<&mut Founding> {
        match &mut self.status {
            Status::Founding(founding) | Status::Proposing { founding, .. } => Some(founding),
            Status::Adopted { .. } | Status::Serving { .. } => None,
        }
    }

    /// Returns whether it may serve, as far as other runs of this node are concerned.
    pub(super) fn verdict(&self, config: &GroupConfig) -> Verdict {
        let (count, write_quorum) = (config.members.len(), config.write_quorum);
        match &self.status {
            // What it appends waits until it serves.
            Status::Adopted { .. } | Status::Serving { .. } => Verdict::Founded,
            Status::Proposing { founding, .. } => {
                let need = view_quorum(count, write_quorum);
                let waiting = Verdict::Waiting { have: self.reachable(), need };
                founding.refusal(count - 1, need - 1).unwrap_or(waiting)
            }
            Status::Founding(founding) => match founding.verdict(count, write_quorum) {
                // The log has no room for its first entry.
                Verdict::Founded => Verdict::Waiting { have: self.reachable(), need: write_quorum },
                verdict @ (Verdict::Waiting { .. } | Verdict::Refused { .. }) => verdict,
            },
        }
    }

    /// Whether a peer has not been told yet how far the log is committed.
    pub(super) fn owes_notice(&self) -> bool {
        self.notice_due.is_some()
    }

    /// Returns how many bytes are reserved for what is not applied.
    pub(super) fn reserved_bytes(&self) -> usize {
        self.uncommitted.reserved.iter().sum()
    }

    /// Returns since when there has been something to wait for without a break.
    pub(super) fn waits_since(&self) -> Option<Instant> {
        self.waits_since
    }

    /// Returns the end of the read lease; exclusive. It is the lease of the members that are active, and, from asking for
    /// the activation of a change until that is known, also that of the members that would be.
    pub(super) fn lease_end(&self, config: &GroupConfig, settings: &Settings, now: Instant) -> Instant {
        let end = |echo: u64| if echo == 0 { 0 } else { echo.saturating_add(settings.lease_held_ns()) };
        let anybody = planted::is(rule::LEASE_OF_MEMBERS);
        let voters = self.peers.iter().filter(|peer| peer.is_member || anybody);
        let voters = voters.map(|peer| peer.echo_of(if anybody { peer.present } else { peer.voter }).0);
        let active = end(nth_largest(voters.chain([now.0]), config.write_quorum));
        let Some(change) = self.change.as_ref().filter(|change| change.is_asked()) else { return Instant(active) };
        let voters = self.peers.iter().filter(|peer| peer.next_voter.is_some());
        let echoes = voters.map(|peer| peer.echo_of(peer.next_voter).0).chain([now.0]);
        let next = end(nth_largest(echoes, change.config.write_quorum));
        Instant(if planted::is(rule::LEASE_OF_BOTH) { next } else { active.min(next) })
    }

    /// Whether something has been waited for, and that without a lease, for as long as one lasts.
    pub(super) fn is_stuck(&self, config: &GroupConfig, settings: &Settings, now: Instant) -> bool {
        let Some(since) = self.waits_since else { return false };
        since.max(self.lease_end(config, settings, now)).saturating_add(settings.read_lease) < now
    }

    /// Returns why it serves nothing, although it leads.
    pub(super) fn stuck(&self) -> Option<Stuck> {
        matches!(self.dispute, Dispute::Undecided).then_some(Stuck::Undecided)
    }

    /// Whether reads may be answered under a lease.
    pub(super) fn may_read(&self, commit: LogIndex) -> bool {
        if self.stuck().is_some() || self.own_fault.is_some() {
            return false;
        }
        match self.status {
            Status::Serving { view } => commit >= view || planted::is(3),
            Status::Adopted { .. } => planted::is(3),
            Status::Founding(_) | Status::Proposing { .. } => false,
        }
    }

    /// Returns the logged time at `now`.
    pub(super) fn log_time(&self, now: Instant) -> LogTime {
        let time = self.began.map_or(0, |(began, base)| base.0.saturating_add(nanos(now.since(began))));
        self.stamped.max(LogTime(time))
    }

    /// Returns the instant at which logged time reaches `time`.
    fn instant_of(&self, time: LogTime) -> Option<Instant> {
        let (began, base) = self.began?;
        Some(Instant(began.0.saturating_add(time.0.saturating_sub(base.0))))
    }

    /// Has as many peers as there are other nodes in the configurations at work, connected or not.
    pub(super) fn set_peers(
        &mut self,
        config: &GroupConfig,
        learners: &[ReplicaId],
        shared: &Shared,
        last: LogIndex,
        now: Instant,
    ) {
        self.learners = learners.to_vec();
        let change = self.change.as_ref().map(|change| &change.config);
        let members = config.members.iter().chain(change.iter().flat_map(|config| &config.members));
        let nodes = members.map(|member| member.node).chain(learners.iter().map(|learner| learner.node));
        let mut wanted: Vec<NodeId> = nodes.filter(|node| *node != shared.me.node).collect();
        wanted.sort_unstable();
        wanted.dedup();
        self.peers.retain(|peer| wanted.contains(&peer.node));
        for node in wanted {
            if self.peers.iter().all(|peer| peer.node != node) {
                let mut peer = Peer::new(node);
                if let Some(incarnation) = shared.connected(node) {
                    peer.on_connected(incarnation, last, now);
                }
                self.peers.push(peer);
            }
        }
        for peer in &mut self.peers {
            peer.is_member = config.has_node(peer.node);
        }
    }

    pub(super) fn next_alarm(&self, config: &GroupConfig, replica: &Replica, settings: &Settings) -> Option<Instant> {
        if self.has_ready_reads {
            return Some(Instant(0));
        }
        let is_expiring = self.expiring > replica.applied.index || matches!(self.status, Status::Adopted { .. });
        let expiry = replica.kv.next_deadline().filter(|_| !is_expiring).and_then(|at| self.instant_of(at));
        let expiry = expiry.map(|at| at.max(self.expire_from));
        let owed = self.peers.iter().filter(|peer| peer.owes_answer()).map(|peer| peer.heard).min();
        let probe = owed.map(|heard| heard.saturating_add(settings.probe_after));
        let waiting = earlier(self.waiting.next_deadline(), earlier(self.found_at, self.ask_at));
        let waiting = earlier(waiting, self.next_listening(config, replica, settings));
        earlier(earlier(waiting, expiry), earlier(self.notice_due, probe))
    }
}

impl Leading<'_> {
    // ---- peers ----

    pub(super) fn on_peer_connected(&mut self, shared: &mut Shared, now: Instant, replica: ReplicaId) {
        let last = self.replica.log.last();
        let Some(peer) = self.leader.peers.iter_mut().find(|peer| peer.node == replica.node) else { return };
        peer.on_connected(replica.incarnation, last, now);
        self.judge_again(shared);
        let Some(peer) = self.leader.peers.iter_mut().find(|peer| peer.node == replica.node) else { return };
        match &mut self.leader.status {
            Status::Founding(founding) => return founding.forget(replica.node),
            Status::Proposing { founding, view } => {
                founding.forget(replica.node);
                // Until it is known to hold the first entry, it may be any run.
                if peer.voted < *view {
                    peer.count(replica.incarnation);
                }
            }
            Status::Serving { .. } if !self.config.is_assigned() && peer.voter.is_none() => {
                peer.count(replica.incarnation);
            }
            Status::Adopted { .. } | Status::Serving { .. } => {}
        }
        if peer.is_learner_present() {
            shared.outputs.notify(Event::Learner { group: self.config.group, replica });
        }
    }

    /// Handles what a peer answers. Answers from a replica that is not the one at the other end of the connection, and
    /// to messages of another epoch, are dropped.
    pub(super) fn handle_answer(&mut self, shared: &mut Shared, now: Instant, envelope: &Envelope<'_>) {
        let Some(position) = self.leader.peers.iter().position(|peer| peer.replica() == Some(envelope.from)) else {
            return;
        };
        let tally = match &self.leader.change {
            None if envelope.epoch == self.config.epoch => Tally::Current,
            Some(_) if envelope.epoch == self.config.epoch => Tally::Before,
            Some(change) if envelope.epoch == change.config.epoch => Tally::Next,
            Some(_) | None => return,
        };
        match envelope.message {
            // The epoch of the change has asked for itself.
            Message::Mismatch(_) if tally == Tally::Before => {}
            Message::Ack(ack) => self.handle_ack(shared, now, position, tally, ack),
            Message::Mismatch(mismatch) => self.handle_mismatch(shared, now, position, mismatch),
            Message::ChunkAck(ack) => self.handle_chunk_ack(shared, now, position, tally, ack),
            Message::Refused(refused) => self.handle_refused(shared, now, position, refused),
            Message::Diverged(_) if tally == Tally::Before => {}
            Message::Diverged(_) => self.handle_peer_diverged(shared, now, position),
            Message::Append(_)
            | Message::Chunk(_)
            | Message::Seal
            | Message::Sealed(_)
            | Message::Fetch { .. }
            | Message::Fetched(_)
            | Message::Unfetchable => {}
        }
        // What it answers was sent before it was asked, or is no echo.
        self.leader.wants_lease |= self.leader.is_still_asked(&self.leader.peers[position]);
    }

    fn handle_ack(&mut self, shared: &mut Shared, now: Instant, position: usize, tally: Tally, ack: Ack) {
        let last = self.replica.log.last();
        let peer = &mut self.leader.peers[position];
        if ack.matched > last || ack.sent > now {
            let from = peer.replica().expect("found by it");
            let what = "an acknowledgement of what was never sent";
            return shared.outputs.notify(Event::Malformed { group: self.config.group, from, what });
        }
        if ack.stream != StreamId::LIVE {
            peer.heard = now;
            return peer.shrink_window(ack.matched);
        }
        if !self.compare(shared, position, &ack) {
            // It may have been repaired since, and can say so only behind the entries that it lacks.
            if tally != Tally::Before {
                self.leader.peers[position].go_on(ack.matched, now);
            }
            return;
        }
        let peer = &mut self.leader.peers[position];
        let sent = if planted::is(2) { now } else { ack.sent };
        peer.on_ack(tally, ack.matched, sent, now);
        if let (Status::Founding(founding), Some(replica)) = (&mut self.leader.status, peer.replica()) {
            founding.record_accepted(replica);
            // If there is no room, the alarm is set.
            let _ = self.try_found(shared, now);
            return;
        }
        self.advance_commit(shared);
        if self.is_asking(position) {
            self.ask_core(shared, now);
        }
        self.serve_reads(shared, now);
        if self.leader.waiting.has_acks() {
            self.complete_ack_waits(shared, now);
        }
    }

    fn handle_mismatch(&mut self, shared: &mut Shared, now: Instant, position: usize, mismatch: Mismatch) {
        let last = self.replica.log.last();
        let peer = &mut self.leader.peers[position];
        if mismatch.stream != StreamId::LIVE {
            return peer.begin_probe(last.next(), now);
        }
        // An acknowledged prefix never has to be looked for again, but by one that has given up all it held after a loss.
        let known = if mismatch.hint == LogIndex(0) { LogIndex(0) } else { peer.matched };
        let hint = mismatch.hint.max(known).min(last);
        if hint < self.replica.log.base().index {
            self.begin_snapshot(shared, position, now);
        } else {
            peer.begin_probe(hint.next(), now);
        }
    }

    /// Begins to send a peer the state as it is now, because what it needs has left the log.
    pub(super) fn begin_snapshot(&mut self, shared: &mut Shared, peer: usize, now: Instant) {
        let base = self.replica.applied;
        *self.snapshot_count += 1;
        let stream = StreamId(*self.snapshot_count);
        let peer = &mut self.leader.peers[peer];
        if let Some(to) = peer.replica() {
            shared.outputs.notify(Event::SnapshotStarted { group: self.config.group, to });
        }
        peer.clear_window();
        peer.heard = now;
        peer.progress = Progress::Snapshot(SnapshotSend {
            stream,
            base,
            next: base.index.next(),
            cursor: SnapshotCursor::start(),
            sent: 0,
            acked: 0,
            is_complete: false,
        });
    }

    fn handle_chunk_ack(&mut self, shared: &mut Shared, now: Instant, position: usize, tally: Tally, ack: ChunkAck) {
        let last = self.replica.log.last();
        let peer = &mut self.leader.peers[position];
        let Progress::Snapshot(send) = &mut peer.progress else { return };
        if send.stream != ack.stream {
            return;
        }
        peer.heard = now;
        match ack.progress {
            ChunkProgress::Received { sequence } => {
                send.acked = send.acked.max(sequence.saturating_add(1)).min(send.sent)
            }
            ChunkProgress::Installed { matched } if send.is_complete && matched <= last => {
                let next = send.next;
                match tally {
                    Tally::Current | Tally::Next => peer.progress = Progress::Replicate { next },
                    Tally::Before => peer.begin_probe(last.next(), now),
                }
                // Whatever its state was before, it is this one now.
                peer.compared.forget();
                // Not an answer to an append: it echoes nothing.
                peer.on_ack(tally, matched, Instant(0), now);
                let to = peer.replica().expect("it has just answered");
                shared.outputs.notify(Event::SnapshotInstalled { group: self.config.group, to });
                self.advance_commit(shared);
                if self.is_asking(position) {
                    self.ask_core(shared, now);
                }
            }
            ChunkProgress::Installed { .. } | ChunkProgress::Broken => peer.begin_probe(last.next(), now),
        }
    }

    fn handle_refused(&mut self, shared: &mut Shared, now: Instant, position: usize, refused: Refused) {
        if self.config.is_assigned() {
            if refused.promise > self.epoch() {
                if !core::mem::replace(&mut self.leader.is_refused, true) {
                    self.leader.ask_at = None;
                }
                self.ask_core(shared, now);
            }
            return;
        }
        let member = self.leader.peers[position].node;
        let Some(earlier) = refused.leader.filter(|leader| leader.node == self.config.leader && *leader != shared.me)
        else {
            return;
        };
        let before = self.leader.verdict(self.config);
        let Some(founding) = self.leader.founding() else { return };
        founding.record_refused(member, earlier.incarnation);
        if let (Verdict::Waiting { .. }, Verdict::Refused { .. }) = (before, self.leader.verdict(self.config)) {
            shared.outputs.notify(Event::Unavailable { group: self.config.group, missing: earlier });
        }
    }

    /// Begins to lead if enough members accept this run of the node.
    ///
    /// # Errors
    /// The log has no room for the first entry: an alarm tries again, when the caller can make some.
    fn try_found(&mut self, shared: &mut Shared, now: Instant) -> Result<(), LogFull> {
        let Status::Founding(founding) = &mut self.leader.status else { return Ok(()) };
        if founding.verdict(self.config.members.len(), self.config.write_quorum) != Verdict::Founded {
            return Ok(());
        }
        let founding = core::mem::take(founding);
        for peer in &mut self.leader.peers {
            // Members not heard yet acknowledged nothing: whichever incarnation comes first is the voter.
            if let Some(incarnation) = peer.present {
                peer.count(incarnation);
            }
        }
        self.leader.began = Some((now, LogTime(0)));
        match self.append_view(shared, now) {
            Ok(view) => {
                self.leader.status = Status::Proposing { view: view.index, founding };
                shared.outputs.notify(Event::Founded { group: self.config.group });
                self.advance_commit(shared);
            }
            Err(full) => {
                self.leader.began = None;
                self.leader.status = Status::Founding(founding);
                self.leader.found_at = Some(now.saturating_add(RETRY_AFTER));
                return Err(full);
            }
        }
        Ok(())
    }

    // ---- commit ----

    pub(super) fn append(
        &mut self,
        shared: &mut Shared,
        now: Instant,
        entry: &NewEntry<'_>,
    ) -> Result<EntryId, LogFull> {
        let NewEntry { kind, slot, body, growth } = *entry;
        let time = self.leader.log_time(now);
        let stamp = EntryStamp { epoch: self.epoch(), time, kind, slot };
        let id = self.replica.log.append(&mut shared.pool, stamp, body)?;
        self.leader.stamped = time;
        let body_len = body.iter().map(|part| part.len()).sum();
        self.leader.uncommitted.add(crate::entry::padded_len(body_len), growth);
        shared.reserved_bytes += growth;
        Ok(id)
    }

    /// Appends the first entry of an epoch.
    pub(super) fn append_view(&mut self, shared: &mut Shared, now: Instant) -> Result<EntryId, LogFull> {
        let view = NewEntry { kind: EntryKind::View, slot: self.config.slots.first, body: &[], growth: 0 };
        self.append(shared, now, &view)
    }

    /// Returns the epoch of what it appends and sends: that of the change under way, if there is one.
    pub(super) fn epoch(&self) -> Epoch {
        self.leader.change.as_ref().map_or(self.config.epoch, |change| change.config.epoch)
    }

    /// Returns how far `quorum` members of the epoch that is led hold the log.
    pub(super) fn held(&self, quorum: usize) -> LogIndex {
        // What follows the first entry of a change belongs to that epoch.
        let own = self.leader.change.as_ref().map_or(self.replica.log.last(), |change| change.first_view.previous());
        let members = self.leader.peers.iter().filter(|peer| peer.is_member || planted::is(rule::MEMBERS_COUNT));
        LogIndex(nth_largest(members.map(|peer| peer.voted.0).chain([own.0]), quorum))
    }

    /// Commits what W replicas hold, applies it and answers who waited for it.
    pub(super) fn advance_commit(&mut self, shared: &mut Shared) {
        let write_quorum = self.config.write_quorum;
        // Entries of older epochs commit only through this epoch's VIEW, its first entry.
        let (view, quorum) = match self.leader.status {
            Status::Adopted { view, .. } if planted::is(rule::ACTIVE_BEFORE_ACK) => (view, write_quorum),
            Status::Founding(_) | Status::Adopted { .. } => return,
            Status::Proposing { view, .. } => (view, view_quorum(self.config.members.len(), write_quorum)),
            Status::Serving { view } if planted::is(10) => (view, write_quorum.saturating_sub(1).max(1)),
            Status::Serving { view } => (view, write_quorum),
        };
        let (before, held) = (self.replica.commit, self.held(quorum));
        if held <= before || held < view {
            return;
        }
        self.replica.advance_commit(held);
        if let Status::Proposing { .. } = self.leader.status {
            self.leader.status = Status::Serving { view };
        }
        if before < view {
            let (group, epoch) = (self.config.group, self.config.epoch);
            shared.outputs.notify(Event::Serving { group, epoch });
        }
        self.apply(shared);
    }

    pub(super) fn apply(&mut self, shared: &mut Shared) {
        let used_before = self.replica.kv.used_bytes();
        let Leader { waiting, uncommitted, .. } = &mut *self.leader;
        let Shared { pool, outputs, waiter_count, used_bytes, reserved_bytes, .. } = shared;
        self.replica.apply_through(pool, self.replica.commit, |kv, entry| {
            match waiting.take_write(entry.id().index) {
                None => apply(kv, entry, &mut AnswerSink::discard()),
                Some(token) => {
                    *waiter_count -= 1;
                    outputs.done(token, |out| {
                        apply(kv, entry, &mut AnswerSink::into(out));
                        entry.id()
                    });
                }
            }
            uncommitted.bytes -= entry.raw().len();
            *reserved_bytes -= uncommitted.reserved.pop_front().expect("noted when it was appended");
        });
        *used_bytes = (*used_bytes + self.replica.kv.used_bytes()).saturating_sub(used_before);
    }

    /// Answers the reads that may be answered now.
    fn serve_reads(&mut self, shared: &mut Shared, now: Instant) {
        self.leader.has_ready_reads = false;
        if !self.leader.waiting.has_reads() || !self.leader.may_read(self.replica.commit) {
            return;
        }
        if now >= self.leader.lease_end(self.config, &shared.settings, now) && !planted::is(1) {
            return self.ask(shared, now);
        }
        while let Some(read) = self.leader.waiting.take_ready_read(self.replica.applied.index) {
            shared.waiter_count -= 1;
            let command = Command::decode(&read.command).expect("checked when it was parked");
            self.answer_read(shared, now, read.token, &command);
            self.leader.waiting.recycle(read);
            if shared.outputs.answer_bytes() > ANSWER_BYTES_PER_TURN {
                // What they ask for may be far more than there is memory: the host sends or refuses this much first.
                self.leader.has_ready_reads = self.leader.waiting.has_reads();
                return;
            }
        }
    }

    // ---- the end of a turn ----

    pub(super) fn end_turn(&mut self, shared: &mut Shared, now: Instant, position: usize) {
        let _ = self.try_found(shared, now);
        // Acknowledgements have advanced it as they came; without any, the leader's own copy may be enough.
        if self.config.write_quorum == 1 {
            self.advance_commit(shared);
        }
        self.note_echoes(now);
        self.serve_reads(shared, now);
        let wants_lease = core::mem::take(&mut self.leader.wants_lease);
        let mut is_behind = false;
        for peer in 0..self.leader.peers.len() {
            self.send_to(shared, now, position, peer, wants_lease);
            let peer = &self.leader.peers[peer];
            is_behind |= matches!(peer.progress, Progress::Replicate { .. }) && peer.told_commit < self.replica.commit;
        }
        if !is_behind {
            self.leader.notice_due = None;
        } else if self.leader.notice_due.is_none() {
            self.leader.notice_due = Some(now.saturating_add(shared.settings.commit_notice));
        }
        // A leader that reaches too few members refuses what it is asked, and yet is waited for.
        let is_waiting = self.replica.commit < self.replica.log.last()
            || self.leader.waiting.has_reads()
            || self.leader.reachable() < self.config.write_quorum;
        self.leader.waits_since = self.leader.waits_since.or(Some(now)).filter(|_| is_waiting);
    }

    // ---- time ----

    /// Does what time asks for.
    ///
    /// # Errors
    /// The log has no room for the group's first entry or the end of a key: the caller makes room and calls again, or leaves
    /// it for a moment.
    pub(super) fn on_alarm(&mut self, shared: &mut Shared, now: Instant) -> Result<(), LogFull> {
        if self.leader.found_at.take_if(|at| *at <= now).is_some() {
            self.try_found(shared, now)?;
        }
        self.end_late(shared, now);
        self.listen(shared, now);
        if self.leader.ask_at.take_if(|at| *at <= now).is_some() {
            self.ask_core(shared, now);
        }
        if self.leader.notice_due.is_some_and(|due| due <= now) {
            // The end of the turn sends the notice.
            self.leader.notice_due = None;
            self.leader.wants_lease = true;
        }
        let last = self.replica.log.last();
        for peer in &mut self.leader.peers {
            if peer.owes_answer() && peer.heard.saturating_add(shared.settings.probe_after) <= now {
                // An answered prefix stays answered; a snapshot under way is given up and begun again if need be.
                let next = if peer.matched > LogIndex(0) { peer.matched.next() } else { last.next() };
                peer.begin_probe(next, now);
            }
        }
        self.expire_keys(shared, now)
    }

    /// Ends what has waited too long. A write that was appended may still commit: its outcome is unknown.
    fn end_late(&mut self, shared: &mut Shared, now: Instant) {
        while let Some((index, token)) = self.leader.waiting.take_late_write(now) {
            shared.waiter_count -= 1;
            let id = EntryId { epoch: self.replica.log.epoch_at(&shared.pool, index).unwrap_or(self.epoch()), index };
            shared.outputs.reply(token, Ended::Unknown { id });
        }
        self.refuse_reads(shared, now);
        self.complete_ack_waits(shared, now);
    }

    /// Refuses the reads whose deadline is not behind `deadline`.
    pub(super) fn refuse_reads(&mut self, shared: &mut Shared, deadline: Instant) {
        while let Some(read) = self.leader.waiting.take_late_read(deadline) {
            shared.waiter_count -= 1;
            let (have, need) = (self.leader.reachable(), self.config.write_quorum);
            let refusal = Refusal::NoLease { group: self.config.group, have, need };
            shared.outputs.reply(read.token, Ended::Refused(refusal));
            self.leader.waiting.recycle(read);
        }
    }

    /// Appends the end of the keys whose deadline has come in logged time.
    fn expire_keys(&mut self, shared: &mut Shared, now: Instant) -> Result<(), LogFull> {
        let time = self.leader.log_time(now);
        if let Status::Adopted { .. } = self.leader.status {
            return Ok(());
        }
        let is_under_way = self.leader.expiring > self.replica.applied.index;
        if is_under_way || self.replica.kv.next_deadline().is_none_or(|deadline| deadline > time) {
            return Ok(());
        }
        let mut commands = Vec::new();
        self.replica.kv.due(time, EXPIRIES_PER_TURN, |key, deadline| {
            let mut bytes = Vec::new();
            let time = i64::try_from(deadline.0).unwrap_or(i64::MAX);
            Command { time, ..Command::new(Op::Expired, key) }.encode_into(&mut bytes);
            commands.push((slot_of(key), bytes));
        });
        for (slot, bytes) in &commands {
            let entry = NewEntry { kind: EntryKind::Command, slot: *slot, body: &[bytes], growth: 0 };
            let id = self.append(shared, now, &entry).inspect_err(|_| {
                // In case that nobody can make room: look again, but not at once.
                self.leader.expire_from = now.saturating_add(RETRY_AFTER);
            })?;
            self.leader.expiring = id.index;
        }
        Ok(())
    }
}
