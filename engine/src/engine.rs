//! All groups of one CPU behind one door: inputs go in with the time at which they were received, outputs come out.
//!
//! The host drives it like this:
//!
//! ```text
//! for output in engine.handle(now, input) { perform(output) }   // for each input received in this turn
//! for output in engine.flush() { perform(output) }              // may be left out: acknowledgements leave earlier
//! for output in engine.end_turn(now) { perform(output) }        // one append for each peer, one acknowledgement
//! sleep until an input comes, or engine.wake_at()
//! ```
//!
//! Same state, same input, same `now`: same outputs. The engine routes and owns no rules; those are in
//! [`crate::replication`] and in the groups.
//!
//! # Time and units
//! `now` is the host's monotonic clock, read after the input was received. It must not run backwards.
//!
//! # Bounds
//! Waiters, bytes of values and the log are limited for all groups together ([`crate::config::Config`]); full is a
//! refusal. When the log is full, the oldest applied segment of any group goes.

use core::cmp::Reverse;
#[cfg(feature = "testing")]
use core::hash::{Hash, Hasher};
use core::ops::ControlFlow;
use std::collections::BinaryHeap;

use crate::config::{GroupConfig, Settings};
use crate::control::record::News;
use crate::entry::Entry;
use crate::group::{Group, GroupStatus, Request, Shared, Submitted};
#[cfg(feature = "testing")]
use crate::ids::Epoch;
use crate::ids::{EntryId, GroupId, Incarnation, LogIndex, ReplicaId};
use crate::log::LogFull;
use crate::machine::answer::AnswerSink;
use crate::machine::command::Command;
use crate::machine::kv::Damage;
use crate::machine::scrub::Scrubbed;
use crate::message::Envelope;
use crate::output::{Bottleneck, Ended, OutputQueue, Outputs, Refusal};
use crate::sync::pool::Pool;
use crate::time::Instant;
use crate::waiting::earlier;

/// When a request that found the log full may be tried again.
const LOG_RETRY_AFTER: core::time::Duration = core::time::Duration::from_millis(1);

/// What comes in.
#[derive(Clone, Copy, Debug)]
pub enum Input<'a> {
    /// A request of a client.
    Request(Request<'a>),
    /// A message of another replica. The host has checked that it comes over a connection of `envelope.from`.
    Message(Envelope<'a>),
    /// There is a connection to a replica. Before another incarnation of the same node connects, the first is lost.
    PeerConnected(ReplicaId),
    /// That connection is gone.
    PeerLost(ReplicaId),
    /// The connection to a replica takes no more bytes for now: nothing is sent to it until it is ready. What was sent in
    /// the same turn may be lost.
    PeerBusy(ReplicaId),
    /// It takes bytes again.
    PeerReady(ReplicaId),
    /// What the consistent core says about a group.
    News {
        /// The group.
        group: GroupId,
        /// What it says; older news than the last are dropped.
        news: &'a News,
    },
}

/// Why entries of a log cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LogReadError {
    /// There is no replica of the group.
    #[error("this node holds no replica of group {group}")]
    NotHere {
        /// The group.
        group: GroupId,
    },
    /// They have left the log, or came here with a snapshot.
    #[error("entry {from} of group {group} is not kept here any more: the first one is {first}")]
    Gone {
        /// The group.
        group: GroupId,
        /// The first that was asked for.
        from: LogIndex,
        /// The first there is, or would be.
        first: LogIndex,
    },
}

/// See the module.
#[derive(Debug)]
pub struct Engine {
    shared: Shared,
    groups: Vec<Group>,
    /// Position in `groups` by group number; `None` for groups that live elsewhere.
    positions: Vec<Option<usize>>,
    dirty: Vec<usize>,
    /// When a group wants to be looked at. A group can be here more than once; `alarms` has its earliest.
    queue: BinaryHeap<Reverse<(Instant, usize)>>,
    alarms: Vec<Option<Instant>>,
    scrub: Scrub,
}

/// When and where keys are gone through next, to find bytes that nobody wrote.
#[derive(Debug, Default)]
struct Scrub {
    /// When the next step is due; `None` while there is no key.
    at: Option<Instant>,
    /// The group.
    position: usize,
    /// What the next step may take; less than 0 if the last ones took more than they might.
    budget: i64,
    pass_began: Instant,
    /// How many steps this pass has taken.
    steps: u32,
}

/// After so many steps of a pass the next ones go through half as many keys: a state that takes longer is in no cache, and each key
/// of it takes about twice the time.
const QUICK_STEPS: u32 = 100;

impl Engine {
    /// Creates the engine of one CPU with the groups that live on it.
    ///
    /// Cost: touches all the memory of the log, so that nothing is faulted in later.
    ///
    /// # Panics
    /// If a group is listed twice.
    #[must_use]
    pub fn new(settings: Settings, me: ReplicaId, groups: Vec<GroupConfig>) -> Self {
        let size = settings.pool_size();
        let shared = Shared {
            pool: Pool::new(size),
            settings,
            me,
            outputs: OutputQueue::default(),
            waiter_count: 0,
            used_bytes: 0,
            reserved_bytes: 0,
            connected: Vec::new(),
            busy: Vec::new(),
        };
        let position_count = groups.iter().map(|group| group.group.0 as usize + 1).max().unwrap_or(0);
        let mut positions = vec![None; position_count];
        for (position, group) in groups.iter().enumerate() {
            let place = &mut positions[group.group.0 as usize];
            assert!(place.is_none(), "{:?} is listed twice", group.group);
            *place = Some(position);
        }
        let groups: Vec<Group> =
            groups.into_iter().enumerate().map(|(position, group)| Group::new(group, position, me.node)).collect();
        let mut engine = Self {
            shared,
            positions,
            dirty: Vec::with_capacity(groups.len()),
            queue: BinaryHeap::with_capacity(2 * groups.len()),
            alarms: vec![None; groups.len()],
            groups,
            scrub: Scrub::default(),
        };
        for position in 0..engine.groups.len() {
            engine.mark_dirty(position);
        }
        engine
    }

    // ---- inputs ----

    /// Says which run of its node this is, once the core has registered it. Until then the engine is created with incarnation
    /// 0, holds only groups that are undecided ([`GroupConfig::undecided`]), and must be given no message and no news.
    ///
    /// # Panics
    /// If it was said before, or for another node.
    pub fn register(&mut self, run: ReplicaId) {
        let me = self.shared.me;
        assert!(me.node == run.node && me.incarnation == Incarnation(0), "{me:?} cannot become {run:?}");
        self.shared.me = run;
    }

    /// Handles one input; performs nothing.
    ///
    /// # Panics
    /// If the command of a request was not checked, or an invariant of the engine does not hold.
    pub fn handle(&mut self, now: Instant, input: Input<'_>) -> Outputs<'_> {
        self.shared.outputs.recycle();
        match input {
            Input::Request(request) => self.handle_request(now, &request),
            Input::Message(envelope) => self.handle_message(now, &envelope),
            Input::PeerConnected(peer) => {
                self.shared.busy.retain(|node| *node != peer.node);
                self.shared.connected.retain(|known| known.node != peer.node);
                self.shared.connected.push(peer);
                for position in 0..self.groups.len() {
                    self.groups[position].on_peer_connected(&mut self.shared, now, peer);
                    self.mark_dirty(position);
                }
            }
            Input::PeerLost(peer) => {
                self.shared.busy.retain(|node| *node != peer.node);
                self.shared.connected.retain(|known| *known != peer);
                for position in 0..self.groups.len() {
                    self.groups[position].on_peer_lost(peer.node, peer.incarnation);
                    self.mark_dirty(position);
                }
            }
            Input::PeerBusy(peer) => {
                if !self.shared.busy.contains(&peer.node) {
                    self.shared.busy.push(peer.node);
                }
            }
            Input::PeerReady(peer) => {
                self.shared.busy.retain(|node| *node != peer.node);
                for position in 0..self.groups.len() {
                    self.groups[position].on_peer_ready(peer.node);
                    self.mark_dirty(position);
                }
            }
            Input::News { group, news } => self.handle_news(now, group, news),
        }
        Outputs::new(&mut self.shared.outputs, &self.groups, &self.shared.pool)
    }

    /// Sends what peers wait for, before anything else is done at the end of the turn: acknowledgements. A host that
    /// performs these before it calls [`Engine::end_turn`] makes commits faster; one that does not call this loses nothing.
    pub fn flush(&mut self) -> Outputs<'_> {
        self.shared.outputs.recycle();
        for &position in &self.dirty {
            self.groups[position].flush(&mut self.shared);
        }
        Outputs::new(&mut self.shared.outputs, &self.groups, &self.shared.pool)
    }

    /// Ends a turn: what all its inputs have in common is sent now. Also does what the time asks for.
    pub fn end_turn(&mut self, now: Instant) -> Outputs<'_> {
        self.shared.outputs.recycle();
        while let Some(&Reverse((at, position))) = self.queue.peek() {
            if at > now {
                break;
            }
            self.queue.pop();
            if self.alarms[position] == Some(at) {
                self.alarms[position] = None;
                while self.groups[position].on_alarm(&mut self.shared, now).is_err() && self.release_oldest() {}
                self.mark_dirty(position);
            }
        }
        self.scrub(now);
        while let Some(position) = self.dirty.pop() {
            self.groups[position].end_turn(&mut self.shared, now);
            self.set_alarm(position);
        }
        Outputs::new(&mut self.shared.outputs, &self.groups, &self.shared.pool)
    }

    // ---- queries ----

    /// Returns when [`Engine::end_turn`] must be called next, if no input comes.
    #[must_use]
    pub fn wake_at(&self) -> Option<Instant> {
        earlier(self.alarm_at(), self.scrub.at)
    }

    /// Returns when something is due that more may follow from soon. The scrub is not: a host that stays awake for a while after
    /// it has had work to do need not do so for that.
    #[must_use]
    pub fn alarm_at(&self) -> Option<Instant> {
        self.queue.peek().map(|&Reverse((at, _))| at)
    }

    /// Whether a turn has something to end.
    #[must_use]
    pub fn has_work(&self) -> bool {
        !self.dirty.is_empty()
    }

    /// Whether any request still waits for its end.
    #[must_use]
    pub fn has_waiters(&self) -> bool {
        self.shared.waiter_count > 0
    }

    /// Whether a group that is led here has peers that were not told yet how far it is committed; they will be, within
    /// the time of a notice.
    #[must_use]
    pub fn owes_notices(&self) -> bool {
        self.groups.iter().any(Group::owes_notice)
    }

    /// Returns the groups that the core believes to be led from here, and that are not: their leader was deposed, or has had
    /// no quorum for the length of a read lease though something waits for it: requests, or members it cannot reach. And those
    /// that cannot be led from here, whoever does, as the state of their replica is wrong.
    pub fn unled(&self, now: Instant) -> impl Iterator<Item = GroupId> {
        self.groups.iter().filter(move |group| group.is_unled(&self.shared, now)).map(Group::id)
    }

    /// Whether a request to `group` would be taken here: this replica leads it, or is about to.
    #[must_use]
    pub fn leads(&self, group: GroupId) -> bool {
        self.position(group).is_some_and(|position| self.groups[position].leads())
    }

    /// Whether a node that has this replica of a group may serve the group.
    ///
    /// # Errors
    /// [`Refusal::Diverged`]: its state is wrong, or may be, and nobody repairs it.
    pub fn check_sound(&self, group: GroupId) -> Result<(), Refusal> {
        self.position(group).map_or(Ok(()), |position| self.groups[position].refuse_if_stuck())
    }

    /// Whether `group` lives here.
    #[must_use]
    pub fn has_group(&self, group: GroupId) -> bool {
        self.position(group).is_some()
    }

    /// Returns all groups as they are now.
    #[must_use]
    pub fn status(&self) -> Vec<GroupStatus> {
        self.groups.iter().map(|group| group.status(&self.shared)).collect()
    }

    /// Calls `visit` for each group with its commit index, the last entry applied and the digest of the state there.
    #[cfg(feature = "testing")]
    pub(crate) fn visit_positions(&self, mut visit: impl FnMut(GroupId, LogIndex, EntryId, u64)) {
        for group in &self.groups {
            let (commit, applied, digest) = group.positions();
            visit(group.id(), commit, applied, digest);
        }
    }

    /// Feeds `hasher` everything that decides what this engine does next: two engines that feed it the same do the same
    /// with the same inputs, as long as neither lacks memory for its log.
    ///
    /// # Panics
    /// If outputs were not taken.
    #[cfg(feature = "testing")]
    pub(crate) fn fingerprint(&self, hasher: &mut impl Hasher) {
        // The scrub decides when damage is found, and nothing where there is none.
        let Self { shared, groups, positions: _, dirty, queue, alarms, scrub: _ } = self;
        let Shared { settings: _, me, pool, outputs, waiter_count, used_bytes, reserved_bytes, connected, busy } =
            shared;
        assert!(outputs.is_empty(), "outputs are taken before the next input");
        (me, waiter_count, used_bytes, reserved_bytes, connected, busy, dirty, alarms).hash(hasher);
        queue.clone().into_sorted_vec().hash(hasher);
        for group in groups {
            group.hash(hasher);
            group.visit_entries(pool, |entry| entry.raw().hash(hasher));
        }
    }

    /// Returns the highest epoch that was promised in a group.
    #[cfg(feature = "testing")]
    pub(crate) fn promise(&self, group: GroupId) -> Epoch {
        self.position(group).map_or(Epoch(0), |position| self.groups[position].promise())
    }

    /// Calls `visit` for each entry in the logs of a group.
    #[cfg(feature = "testing")]
    pub(crate) fn visit_entries(&self, group: GroupId, visit: impl FnMut(&Entry<'_>)) {
        if let Some(position) = self.position(group) {
            self.groups[position].visit_entries(&self.shared.pool, visit);
        }
    }

    /// Returns bytes of keys and values in use, with overhead.
    #[must_use]
    pub fn used_bytes(&self) -> usize {
        self.shared.used_bytes
    }

    /// Returns how many keys there are.
    #[must_use]
    pub fn key_count(&self) -> usize {
        self.groups.iter().map(Group::key_count).sum()
    }

    /// Executes a read on what this replica has applied, leader or not: the answer may be old. Returns the last entry
    /// applied, or `None` if the group lives elsewhere.
    pub fn peek(&self, group: GroupId, command: &Command<'_>, answer: &mut AnswerSink<'_>) -> Option<EntryId> {
        self.position(group).map(|position| self.groups[position].peek(command, answer))
    }

    /// Calls `visit` for the committed entries of a group from `from` on, in order, as they lie in the log here, until it has
    /// seen enough. Returns the commit index.
    ///
    /// Cost: O(log entries of a page) to find the first, then nothing beside `visit`.
    ///
    /// # Errors
    /// The group lives elsewhere; or entries from `from` on are not kept any more: begin with the first that is, or with the
    /// state of a replica.
    pub fn read_log(
        &self,
        group: GroupId,
        from: LogIndex,
        visit: impl FnMut(&Entry<'_>) -> ControlFlow<()>,
    ) -> Result<LogIndex, LogReadError> {
        let position = self.position(group).ok_or(LogReadError::NotHere { group })?;
        self.groups[position].read_log(&self.shared.pool, from, visit)
    }

    /// Changes the state of one replica behind the log's back, to show that this is noticed. Returns whether there was
    /// something to change.
    pub fn corrupt(&mut self, group: GroupId, key: &[u8], damage: Damage) -> bool {
        self.position(group).is_some_and(|position| self.groups[position].corrupt(key, damage))
    }

    /// Whether the state of a group fits what is kept of it, and this is known to be so.
    #[cfg(feature = "testing")]
    pub(crate) fn is_sound(&self, group: GroupId) -> bool {
        self.position(group).is_none_or(|position| self.groups[position].is_sound())
    }

    /// Checks the invariants that cost time.
    ///
    /// # Panics
    /// If one does not hold.
    pub fn check(&self) {
        self.groups.iter().for_each(Group::check);
        let waiting: usize = self.groups.iter().map(|group| group.status(&self.shared).waiter_count).sum();
        assert_eq!(waiting, self.shared.waiter_count, "I8: every waiter is counted once");
        let reserved: usize = self.groups.iter().map(Group::reserved_bytes).sum();
        assert_eq!(reserved, self.shared.reserved_bytes, "what is reserved is given back once");
    }

    // ---- private ----

    fn position(&self, group: GroupId) -> Option<usize> {
        *self.positions.get(group.0 as usize)?
    }

    fn handle_request(&mut self, now: Instant, request: &Request<'_>) {
        let Some(position) = self.position(request.group) else {
            let refusal = Refusal::NotHere { group: request.group };
            return self.shared.outputs.reply(request.token, Ended::Refused(refusal));
        };
        loop {
            match self.groups[position].submit(&mut self.shared, now, request) {
                Ok(Submitted::Taken) => return self.mark_dirty(position),
                Ok(Submitted::LogFull) if self.release_oldest() => {}
                Ok(Submitted::LogFull) => {
                    let refusal = Refusal::Overload { what: Bottleneck::Log, retry_after: LOG_RETRY_AFTER };
                    return self.shared.outputs.reply(request.token, Ended::Refused(refusal));
                }
                Err(refusal) => return self.shared.outputs.reply(request.token, Ended::Refused(refusal)),
            }
        }
    }

    fn handle_message(&mut self, now: Instant, envelope: &Envelope<'_>) {
        let Some(position) = self.position(envelope.group) else { return };
        self.mark_dirty(position);
        loop {
            match self.groups[position].handle_message(&mut self.shared, now, envelope) {
                Ok(()) => return,
                Err(LogFull { .. }) if self.release_oldest() => {}
                // What did not fit is not acknowledged; the leader sends it again.
                Err(LogFull { .. }) => return,
            }
        }
    }

    fn handle_news(&mut self, now: Instant, group: GroupId, news: &News) {
        let Some(position) = self.position(group) else { return };
        self.mark_dirty(position);
        // If there is no room and none can be made, an alarm comes back to it.
        while self.groups[position].handle_news(&mut self.shared, now, news).is_err() && self.release_oldest() {}
    }

    /// Makes room in the log: the oldest segment whose entries are all applied goes. Returns whether there was one.
    fn release_oldest(&mut self) -> bool {
        if self.release_applied() {
            return true;
        }
        // What is committed can be applied now, rather than at the end of the turn.
        for &position in &self.dirty {
            self.groups[position].apply_committed(&mut self.shared);
        }
        self.release_applied()
    }

    /// Goes through some keys if that is due.
    fn scrub(&mut self, now: Instant) {
        let Shared { settings, used_bytes, .. } = &self.shared;
        let (period, pass) = (settings.scrub_period, settings.scrub_pass);
        if *used_bytes == 0 || settings.scrub_keys == 0 {
            self.scrub.at = None;
            return;
        }
        let Some(at) = self.scrub.at else {
            self.scrub.at = Some(now.saturating_add(period));
            return;
        };
        if now < at {
            return;
        }
        let is_quick = self.scrub.steps < QUICK_STEPS;
        let keys = if is_quick { settings.scrub_keys } else { settings.scrub_keys.div_ceil(2) };
        let keys = i64::try_from(keys).expect("at most 2^20");
        self.scrub.steps += 1;
        self.scrub.budget = (self.scrub.budget + keys).min(keys);
        // From when it was due, so that steps which come late do not make a pass longer.
        self.scrub.at = Some(at.saturating_add(period).max(now));
        while self.scrub.budget > 0 {
            let position = self.scrub.position;
            match self.groups[position].scrub(&mut self.shared, &mut self.scrub.budget) {
                Scrubbed::Partly => return,
                Scrubbed::Whole => {}
                Scrubbed::Damaged => self.mark_dirty(position),
            }
            self.scrub.position = (position + 1) % self.groups.len();
            if self.scrub.position == 0 {
                self.scrub.pass_began = self.scrub.pass_began.saturating_add(pass).max(now.saturating_add(period));
                self.scrub.at = Some(self.scrub.pass_began);
                self.scrub.steps = 0;
                return;
            }
        }
    }

    fn release_applied(&mut self) -> bool {
        let owner = self.shared.pool.oldest_owners().find(|&owner| self.groups[owner as usize].can_release());
        let Some(owner) = owner else { return false };
        self.groups[owner as usize].release_oldest(&mut self.shared.pool);
        true
    }

    fn mark_dirty(&mut self, position: usize) {
        if self.groups[position].mark_dirty() {
            self.dirty.push(position);
        }
    }

    /// Sees to it that the group is looked at when it wants to be. An alarm that is set stays, even if it turns out to
    /// be too early: setting a new one with every write would cost more than looking once too often.
    fn set_alarm(&mut self, position: usize) {
        let Some(at) = self.groups[position].next_alarm(&self.shared.settings) else { return };
        if self.alarms[position].is_none_or(|set| at < set) {
            self.alarms[position] = Some(at);
            self.queue.push(Reverse((at, position)));
        }
    }
}
