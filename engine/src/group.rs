//! One group on one node: a replica, its role in the group's epoch, and the requests that wait for it.
//!
//! This file routes; what a leader does is in `leader`, what it does with requests in `requests` and `admission`, what it
//! sends in `sending`, what it asks of the core in `change`, what a candidate does in `candidate`, a follower in `follower`, and
//! what becomes of a replica whose state is wrong in `divergence`.

mod admission;
mod candidate;
mod change;
mod divergence;
mod follower;
mod hearing;
mod leader;
mod left;
mod requests;
mod sending;
mod status;

use core::ops::ControlFlow;

use crate::config::{GroupConfig, Settings};
use crate::control::record::{Change, ChangeKind, News};
use crate::engine::LogReadError;
use crate::entry::Entry;
use crate::ids::{Epoch, GroupId, Incarnation, LogIndex, NodeId, ReplicaId, Slot};
use crate::log::LogFull;
use crate::machine::answer::AnswerSink;
use crate::machine::command::Command;
use crate::machine::kv::{Damage, Moment};
use crate::message::{Envelope, Message};
use crate::output::{Event, OutputQueue, Refusal, SmallMessage, Token};
use crate::planted::{self, rule};
use crate::replica::Replica;
use crate::sync::pool::Pool;
use crate::time::Instant;
use crate::waiting::earlier;

use admission::RETRY_AFTER;
use candidate::Candidate;
use divergence::Diverged;
use follower::Follower;
use leader::{Leader, Status};
use left::LeftWrites;

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
    /// Peers that are connected.
    pub(crate) connected: Vec<ReplicaId>,
    /// Peers whose connection takes no more bytes at the moment.
    pub(crate) busy: Vec<NodeId>,
}

impl Shared {
    /// Applies what is committed in a replica, and answers no one.
    pub(crate) fn apply_committed(&mut self, replica: &mut Replica) {
        let used_before = replica.kv.used_bytes();
        replica.apply_silently(&self.pool, replica.commit);
        self.used_bytes = (self.used_bytes + replica.kv.used_bytes()).saturating_sub(used_before);
    }

    /// Returns which run of `node` is connected.
    pub(crate) fn connected(&self, node: NodeId) -> Option<Incarnation> {
        self.connected.iter().find(|peer| peer.node == node).map(|peer| peer.incarnation)
    }

    pub(crate) fn is_connected(&self, peer: ReplicaId) -> bool {
        self.connected.contains(&peer)
    }
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
#[derive(Debug, Hash)]
pub(crate) struct Group {
    config: GroupConfig,
    /// Where it stands among the groups of its CPU; owns the segments of its logs under this number.
    position: usize,
    replica: Replica,
    /// The highest epoch promised.
    promise: Epoch,
    /// When the read leases that this replica has granted, to whichever leader, have run out on its own clock.
    granted_until: Instant,
    /// What the core has said last.
    news: Option<News>,
    /// Whether that asks for something that was not done yet.
    has_news: bool,
    /// When it is looked at again, because the log had no room the last time.
    news_retry_at: Option<Instant>,
    /// The last epoch that this replica has begun to take over, or to lead: it never begins one twice.
    begun: Epoch,
    /// The loss generation of the last active leader whose log this one is known to hold as far as it is committed.
    loss_gen: u64,
    /// How many snapshots this run has begun to send. Each has a number of its own, whatever the epoch: the receiver of half
    /// a snapshot knows it by that and by who sends it, and may hear of nobody else before this run leads again.
    snapshot_count: u64,
    role: Role,
    /// Whether the state of the replica is wrong.
    diverged: Option<Diverged>,
    /// What was applied when it last had a leader's state put in the place of one that was wrong.
    repaired: LogIndex,
    /// What was applied when the last scrub began that found nothing, and when the present one did.
    scrubbed: [LogIndex; 2],
    /// Writes that were appended while it led, and that somebody waits for.
    left: LeftWrites,
    /// Whether it is on the list of groups with something to do at the end of the turn.
    is_dirty: bool,
}

#[derive(Debug, Hash)]
enum Role {
    Leader(Box<Leader>),
    Candidate(Box<Candidate>),
    Follower(Box<Follower>),
}

impl Group {
    pub(crate) fn new(config: GroupConfig, position: usize, me: NodeId) -> Self {
        let owner = u32::try_from(position).expect("far fewer groups than 2^32");
        // Where a core assigns the runs that count, its news say who leads.
        let role = if config.leader == me && !config.is_assigned() {
            Role::Leader(Box::new(Leader::new(&config, me)))
        } else {
            Role::Follower(Box::default())
        };
        let replica = Replica::new(owner, config.slots);
        Self {
            config,
            position,
            replica,
            promise: Epoch(0),
            granted_until: Instant(0),
            news: None,
            has_news: false,
            news_retry_at: None,
            begun: Epoch(0),
            loss_gen: 0,
            snapshot_count: 0,
            role,
            diverged: None,
            repaired: LogIndex(0),
            scrubbed: [LogIndex(0); 2],
            left: LeftWrites::default(),
            is_dirty: false,
        }
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
        self.refuse_if_stuck()?;
        if let Some(mut leading) = self.leading() {
            return leading.submit(shared, now, request);
        }
        match &self.role {
            Role::Leader(_) | Role::Candidate(_) => {
                Err(Refusal::NotLeader { group: self.id(), leader: shared.me.node })
            }
            Role::Follower(follower) => {
                let leader = follower.leader().map_or(self.config.leader, |leader| leader.node);
                Err(Refusal::NotLeader { group: self.id(), leader })
            }
        }
    }

    pub(crate) fn key_count(&self) -> usize {
        self.replica.kv.key_count()
    }

    /// Reads from what this replica has applied, whatever that is worth; not from a state that is known to be wrong.
    pub(crate) fn peek(&self, command: &Command<'_>, answer: &mut AnswerSink<'_>) -> crate::ids::EntryId {
        if self.diverged.is_some() {
            answer
                .error("DIVERGED the state of this replica is wrong, and it copies another one; see `quorate status`");
            return self.replica.applied;
        }
        self.replica.kv.read(Moment { time: self.replica.time }, command, answer);
        self.replica.applied
    }

    pub(crate) fn read_log(
        &self,
        pool: &Pool,
        from: LogIndex,
        visit: impl FnMut(&Entry<'_>) -> ControlFlow<()>,
    ) -> Result<LogIndex, LogReadError> {
        let first = self.replica.log.base().index.next();
        if from < first {
            return Err(LogReadError::Gone { group: self.config.group, from, first });
        }
        self.replica.visit_committed(pool, from, visit);
        Ok(self.replica.commit)
    }

    pub(crate) fn corrupt(&mut self, key: &[u8], damage: Damage) -> bool {
        self.replica.kv.corrupt(key, damage)
    }

    pub(crate) fn on_peer_connected(&mut self, shared: &mut Shared, now: Instant, peer: ReplicaId) {
        if let Some(mut leading) = self.leading() {
            leading.on_peer_connected(shared, now, peer);
        } else if let Role::Candidate(candidate) = &mut self.role {
            // It may be one that has not promised yet.
            candidate.ask_at = now;
        }
    }

    pub(crate) fn on_peer_lost(&mut self, node: NodeId, incarnation: Incarnation) {
        match &mut self.role {
            Role::Leader(leader) => leader.on_peer_lost(node, incarnation),
            // It may have waited for that one.
            Role::Candidate(candidate) => candidate.ask_at = Instant(0),
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
        let Envelope { from, epoch, .. } = *envelope;
        match &envelope.message {
            Message::Append(_) | Message::Chunk(_) => self.handle_from_leader(shared, now, envelope),
            Message::Ack(_) | Message::Refused(_) | Message::Mismatch(_) | Message::ChunkAck(_) => {
                if let Some(mut leading) = self.leading() {
                    leading.handle_answer(shared, now, envelope);
                    self.follow_own_fault(shared);
                }
                Ok(())
            }
            Message::Diverged(window) => self.handle_diverged(shared, now, envelope, *window),
            // Without a core nobody takes over: only a peer with another configuration sends these.
            _ if !self.config.is_assigned() => Ok(()),
            Message::Seal => {
                self.handle_seal(shared, now, from, epoch);
                Ok(())
            }
            Message::Fetch { after } => {
                self.handle_fetch(shared, from, epoch, *after);
                Ok(())
            }
            // Answers to an earlier candidacy of this replica, or to another one of its node.
            Message::Sealed(_) | Message::Fetched(_) | Message::Unfetchable if epoch != self.promise => Ok(()),
            Message::Sealed(sealed) => self.handle_sealed(shared, now, from, *sealed),
            Message::Fetched(fetched) => self.handle_fetched(shared, now, from, fetched),
            Message::Unfetchable => {
                self.handle_unfetchable(shared, from);
                Ok(())
            }
        }
    }

    /// Does what the core has decided.
    ///
    /// # Errors
    /// The log has no room for the first entry of an epoch: the caller makes room and calls again, or leaves it for a moment.
    pub(crate) fn handle_news(&mut self, shared: &mut Shared, now: Instant, news: &News) -> Result<(), LogFull> {
        if self.news.as_ref().is_none_or(|known| known.version < news.version) {
            (self.news, self.has_news) = (Some(news.clone()), true);
        }
        self.follow_news(shared, now)
    }

    /// Does what the last news ask for and was not done yet. If the log has no room for it, an alarm comes back to it.
    fn follow_news(&mut self, shared: &mut Shared, now: Instant) -> Result<(), LogFull> {
        if !self.has_news {
            return Ok(());
        }
        let followed = self.try_follow_news(shared, now);
        self.news_retry_at = followed.is_err().then(|| now.saturating_add(RETRY_AFTER));
        followed
    }

    fn try_follow_news(&mut self, shared: &mut Shared, now: Instant) -> Result<(), LogFull> {
        let Some(news) = self.news.clone() else { return Ok(()) };
        let News { active, pending, .. } = &news;
        let pending_epoch = pending.as_ref().map(|change| change.config.epoch);
        // What follows may be a change of what it leads only now.
        self.begin_first(shared, now, &news)?;
        match &mut self.role {
            Role::Leader(leader) => {
                let mut leading = Leading {
                    config: &mut self.config,
                    replica: &mut self.replica,
                    snapshot_count: &mut self.snapshot_count,
                    leader,
                };
                let is_over = leading.follow_news(shared, now, &news, &mut self.promise)?;
                if is_over {
                    self.step_down(shared, None);
                }
            }
            // A later change has taken its place.
            Role::Candidate(candidate) if pending_epoch != Some(candidate.config().epoch) => {
                self.step_down(shared, None)
            }
            Role::Candidate(_) => {}
            Role::Follower(_) => self.config = active.clone(),
        }
        self.give_up_left(shared);
        if self.leads() && self.config.epoch == active.epoch {
            self.loss_gen = active.loss_gen;
        }
        if let Some(change @ Change { config, kind: ChangeKind::Takeover | ChangeKind::Loss | ChangeKind::Salvage }) =
            pending
            && config.leader_replica() == Some(shared.me)
            && config.epoch > self.promise.max(self.begun)
            && self.diverged.is_none()
        {
            self.begun = config.epoch;
            self.start_takeover(shared, now, change, active);
        }
        self.has_news = false;
        Ok(())
    }

    /// Leads the first configuration of a group, which is active from the beginning.
    fn begin_first(&mut self, shared: &mut Shared, now: Instant, news: &News) -> Result<(), LogFull> {
        let is_mine = news.active.leader_replica() == Some(shared.me) && self.begun < news.active.epoch;
        if self.promise > Epoch(0) || !is_mine || self.replica.log.last() > LogIndex(0) {
            return Ok(());
        }
        let mut leader = Leader::with_status(Status::Serving { view: LogIndex(1) });
        leader.began = Some((now, crate::time::LogTime(0)));
        self.config = news.active.clone();
        let mut leading = Leading {
            config: &mut self.config,
            replica: &mut self.replica,
            snapshot_count: &mut self.snapshot_count,
            leader: &mut leader,
        };
        leading.append_view(shared, now)?;
        leading.set_peers(shared, now, news);
        (self.promise, self.begun) = (news.active.epoch, news.active.epoch);
        self.role = Role::Leader(Box::new(leader));
        shared.outputs.notify(Event::Founded { group: self.config.group });
        Ok(())
    }

    /// Promises an epoch to whoever leads it, or is to: nothing of a lower one is accepted, acknowledged or led any more.
    fn promise_to(&mut self, shared: &mut Shared, epoch: Epoch, leader: ReplicaId) {
        assert!(epoch > self.promise, "epoch {epoch} promised after {}", self.promise);
        self.promise = epoch;
        self.step_down(shared, Some(leader));
        if planted::is(rule::CUT_ON_CONFLICT_ONLY) && leader != shared.me {
            self.replica.log.cut(&mut shared.pool, self.replica.commit.next());
        }
    }

    /// Follows from now on, whatever it was before.
    fn step_down(&mut self, shared: &mut Shared, leader: Option<ReplicaId>) {
        match &mut self.role {
            Role::Leader(deposed) => {
                shared.outputs.notify(Event::Deposed { group: self.config.group, epoch: self.config.epoch });
                self.left.leave(&mut deposed.waiting, &self.replica.log, &shared.pool);
                let known = leader.map_or(self.config.leader, |leader| leader.node);
                deposed.refuse_all(shared, self.config.group, known);
                self.role = Role::Follower(Box::new(Follower::of(leader)));
            }
            Role::Candidate(_) => self.role = Role::Follower(Box::new(Follower::of(leader))),
            Role::Follower(follower) => {
                if follower.leader() != leader {
                    follower.drop_install(shared);
                }
                follower.follow(leader);
            }
        }
        if let Some(news) = &self.news {
            self.config = news.active.clone();
        }
        self.give_up_left(shared);
    }

    /// Waits no longer for what was appended while this replica led, if it may be the last to hear of it: a greater loss
    /// generation is named, or its own state is wrong.
    fn give_up_left(&mut self, shared: &mut Shared) {
        let is_lost = self.news.as_ref().is_some_and(|News { active, pending, .. }| {
            let pending = pending.as_ref().map(|change| &change.config);
            [Some(active), pending].into_iter().flatten().any(|config| config.loss_gen > self.loss_gen)
        });
        if is_lost || self.diverged.is_some() {
            self.left.end_all(shared);
        }
    }

    /// Whether the core has said that this run holds the group, or is to: what others ask for is not promised. One that the
    /// news do not name yet asks again, and is named by then.
    fn is_named(&self, run: ReplicaId) -> bool {
        self.news.as_ref().is_some_and(|news| {
            let pending = news.pending.as_ref().is_some_and(|change| change.config.counts(run));
            pending || news.active.counts(run) || news.learners.contains(&run)
        })
    }

    /// Whether this replica has promised `epoch` to `from`, and does not lead itself.
    fn follows(&self, from: ReplicaId, epoch: Epoch) -> bool {
        epoch == self.promise && matches!(&self.role, Role::Follower(follower) if follower.leader() == Some(from))
    }

    /// Sends what a peer waits for and what depends on nothing else: acknowledgements.
    pub(crate) fn flush(&mut self, shared: &mut Shared) {
        if let Role::Follower(follower) = &mut self.role {
            follower.flush_ack(shared, self.config.group, &self.replica, false);
        }
    }

    /// Does what was put off to the end of the turn: one append for each peer, one acknowledgement, applying.
    pub(crate) fn end_turn(&mut self, shared: &mut Shared, now: Instant) {
        self.is_dirty = false;
        let position = self.position;
        if let Role::Candidate(_) = self.role {
            // Appending its first entry may have found no room. If nobody else is to be asked, it leads at once.
            let _ = self.on_candidate_alarm(shared, now);
        }
        if let Some(mut leading) = self.leading() {
            leading.end_turn(shared, now, position);
            self.follow_own_fault(shared);
        } else if let Role::Follower(_) = self.role {
            self.flush(shared);
            self.apply_committed(shared);
            if let Role::Follower(follower) = &mut self.role {
                follower.flush_ack(shared, self.config.group, &self.replica, true);
            }
        }
    }

    /// Applies what is committed, if it follows: it answers no one, so that can wait until acknowledgements are sent. A
    /// leader has applied it when it was committed, and has answered whoever waited.
    pub(crate) fn apply_committed(&mut self, shared: &mut Shared) {
        if matches!(self.role, Role::Leader(_)) || self.diverged.is_some() {
            return;
        }
        self.left.apply_committed(shared, &mut self.replica);
    }

    /// Does what time asks for: deadlines, expiries, notices, probes.
    ///
    /// # Errors
    /// The log is full: the caller makes room and calls again, or leaves it for a moment.
    pub(crate) fn on_alarm(&mut self, shared: &mut Shared, now: Instant) -> Result<(), LogFull> {
        // Whatever else finds no room: the news may say that it is not needed any more.
        let followed = self.follow_news(shared, now);
        self.left.end_late(shared, now);
        self.tell_diverged(shared, now);
        match self.leading() {
            Some(mut leading) => leading.on_alarm(shared, now)?,
            None => self.on_candidate_alarm(shared, now)?,
        }
        followed
    }

    // ---- queries ----

    /// Returns when time next asks for something.
    pub(crate) fn next_alarm(&self, settings: &Settings) -> Option<Instant> {
        let alarm = match &self.role {
            Role::Leader(leader) => leader.next_alarm(&self.config, &self.replica, settings),
            Role::Candidate(candidate) => Some(candidate.ask_at),
            Role::Follower(_) => self.next_tell(),
        };
        earlier(earlier(alarm, self.left.next_deadline()), self.news_retry_at)
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
            Role::Leader(_) | Role::Candidate(_) => None,
        }
    }

    /// See [`Engine::unled`](crate::engine::Engine::unled).
    pub(crate) fn is_unled(&self, shared: &Shared, now: Instant) -> bool {
        let Some(news) = &self.news else { return false };
        if self.diverged.is_some() {
            return true;
        }
        if news.active.leader_replica() != Some(shared.me) || planted::is(8) {
            return false;
        }
        match &self.role {
            Role::Leader(leader) => leader.is_stuck(&self.config, &shared.settings, now),
            // It takes over what it has led before.
            Role::Candidate(_) => false,
            Role::Follower(_) => true,
        }
    }

    pub(crate) fn leads(&self) -> bool {
        matches!(self.role, Role::Leader(_))
    }

    /// Whether it leads, and a peer has not been told yet how far the log is committed.
    pub(crate) fn owes_notice(&self) -> bool {
        matches!(&self.role, Role::Leader(leader) if leader.owes_notice())
    }

    /// Returns the commit index, the last entry applied and the digest of the state there.
    #[cfg(feature = "testing")]
    pub(crate) fn positions(&self) -> (LogIndex, crate::ids::EntryId, u64) {
        (self.replica.commit, self.replica.applied, self.replica.kv.digest())
    }

    /// Returns the highest epoch promised.
    #[cfg(feature = "testing")]
    pub(crate) fn promise(&self) -> Epoch {
        self.promise
    }

    /// Calls `visit` for each entry in the log, and then for each in that of a snapshot under way.
    #[cfg(feature = "testing")]
    pub(crate) fn visit_entries(&self, pool: &Pool, mut visit: impl FnMut(&crate::entry::Entry<'_>)) {
        for replica in [Some(&self.replica), self.installing()].into_iter().flatten() {
            replica.visit_from(pool, replica.log.first(), &mut visit);
        }
    }

    /// Whether the state fits what is kept of it, and this is known to be so.
    #[cfg(feature = "testing")]
    pub(crate) fn is_sound(&self) -> bool {
        self.diverged.is_none() && self.replica.kv.is_sound()
    }

    /// Returns how many bytes are reserved for what was appended here and is not applied.
    pub(crate) fn reserved_bytes(&self) -> usize {
        match &self.role {
            Role::Leader(leader) => leader.reserved_bytes(),
            Role::Candidate(_) | Role::Follower(_) => 0,
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

    /// Returns the leader at work, if this replica leads.
    #[inline]
    fn leading(&mut self) -> Option<Leading<'_>> {
        let Role::Leader(leader) = &mut self.role else { return None };
        let (config, replica) = (&mut self.config, &mut self.replica);
        Some(Leading { config, replica, snapshot_count: &mut self.snapshot_count, leader })
    }

    fn refuse(&self, shared: &mut Shared, to: ReplicaId, epoch: Epoch) {
        let leader = match &self.role {
            Role::Leader(_) | Role::Candidate(_) => Some(shared.me),
            Role::Follower(follower) => follower.leader(),
        };
        let refused = crate::message::Refused { promise: self.promise, leader };
        shared.outputs.small(to, self.id(), epoch, SmallMessage::Refused(refused));
    }
}

/// A leader at work: its group's configuration and replica beside it.
struct Leading<'a> {
    config: &'a mut GroupConfig,
    replica: &'a mut Replica,
    snapshot_count: &'a mut u64,
    leader: &'a mut Leader,
}
