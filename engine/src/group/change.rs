//! What a leader has to do with the consistent core: it asks for activation, changes members while it leads, and asks to
//! count learners that have caught up.
//!
//! ```text
//!           VIEW(f) appended            W' of f hold it           the core's news
//!  serving ────────────────▶ Proposed ─────────────────▶ Asked ─┬─▶ serving f
//!     e                          ▲                              └─▶ Superseded: reads go on at e, nothing commits
//!                                └───────────────────────────────────────┘ another change
//! ```
//!
//! # Time and units
//! The leader's monotonic clock. What the core has not answered is asked again after [`Config::ask_again`].
//!
//! # Source
//! The replication protocol, sections 1.5 to 1.7.
//!
//! [`Config::ask_again`]: crate::config::Config::ask_again

use crate::config::GroupConfig;
use crate::control::record::{Ask, Change, ChangeKind, News};
use crate::ids::{Epoch, LogIndex, ReplicaId};
use crate::log::LogFull;
use crate::output::Event;
use crate::planted::{self, rule};
use crate::replication::progress::Progress;
use crate::replication::quorum::nth_largest;
use crate::time::Instant;

use super::leader::Status;
use super::{Leading, Shared};

/// A change of a leader to another configuration that it leads too.
#[derive(Debug, Hash)]
pub(super) struct LiveChange {
    /// What would be active.
    pub(super) config: GroupConfig,
    /// The first entry of its epoch.
    view: LogIndex,
    /// The first entry that was not born in the active epoch: that of this change, or of one that was given up before it.
    pub(super) first_view: LogIndex,
    state: ChangeState,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum ChangeState {
    /// The new members are given the log.
    Proposed,
    /// Enough of them hold it, and the core was asked to activate the change; whether it did is not known.
    Asked,
    /// The core has given it up. What was appended since it began cannot be committed by it.
    Superseded,
}

impl LiveChange {
    /// Whether the change may be active already, for all that is known here.
    pub(super) fn is_asked(&self) -> bool {
        self.state == ChangeState::Asked
    }
}

impl Leading<'_> {
    /// Whether what a peer has just said may be what the core is to be asked about.
    pub(super) fn is_asking(&self, peer: usize) -> bool {
        !matches!(self.leader.status, Status::Serving { .. })
            || self.leader.change.is_some()
            || !self.leader.peers[peer].is_voter_present()
    }

    /// Asks the core for everything that this leader needs of it now, unless it was asked a moment ago, and once more after
    /// a while. Whatever makes another question of it forgets [`Leader::ask_at`](super::leader::Leader::ask_at) first.
    pub(super) fn ask_core(&mut self, shared: &mut Shared, now: Instant) {
        if !self.config.is_assigned() || self.leader.ask_at.is_some_and(|at| at > now) {
            return;
        }
        let mut is_asking = self.ask_to_activate(shared, now);
        if let Status::Serving { .. } = self.leader.status {
            let (group, epoch) = (self.config.group, self.config.epoch);
            let is_superseded =
                self.leader.change.as_ref().is_some_and(|change| change.state == ChangeState::Superseded);
            if is_superseded || self.leader.is_refused {
                shared.outputs.ask(group, Ask::Renew { epoch });
                is_asking = true;
            }
            if self.leader.change.is_none() {
                is_asking |= self.ask_to_promote(shared);
            }
        }
        if is_asking {
            self.leader.ask_at = Some(now.saturating_add(shared.settings.ask_again));
        }
    }

    fn ask_to_activate(&mut self, shared: &mut Shared, now: Instant) -> bool {
        let group = self.config.group;
        if let Status::Adopted { view, wait_until, .. } = self.leader.status {
            if self.held(self.config.write_quorum) < view && !planted::is(13) {
                return false;
            }
            if now < wait_until && !planted::is(rule::WAIT_BEFORE_ACTIVE) {
                self.leader.ask_at = Some(wait_until);
                return false;
            }
            shared.outputs.ask(group, Ask::Activate { epoch: self.config.epoch });
            return true;
        }
        let own = self.replica.log.last();
        let Some(change) = &mut self.leader.change else { return false };
        let members = self.leader.peers.iter().filter(|peer| peer.next_voter.is_some());
        let held = nth_largest(members.map(|peer| peer.next_voted.0).chain([own.0]), change.config.write_quorum);
        if change.state == ChangeState::Superseded || (LogIndex(held) < change.view && !planted::is(13)) {
            return false;
        }
        change.state = ChangeState::Asked;
        shared.outputs.ask(group, Ask::Activate { epoch: change.config.epoch });
        true
    }

    /// Asks to count learners that hold all but the end of the log.
    fn ask_to_promote(&mut self, shared: &mut Shared) -> bool {
        let (group, epoch) = (self.config.group, self.config.epoch);
        let mut is_asking = false;
        for peer in &self.leader.peers {
            let Progress::Replicate { .. } = peer.progress else { continue };
            let is_learner = |replica: &ReplicaId| self.leader.learners.contains(replica);
            // One whose state is wrong, or that has copied one that may be, is not to be counted.
            let is_right = !peer.compared.is_wrong && self.leader.stuck().is_none();
            let Some(learner) = peer.replica().filter(|run| is_learner(run) && is_right) else { continue };
            let behind = self.replica.log.bytes_after(&shared.pool, peer.matched);
            if behind <= shared.settings.window_bytes {
                shared.outputs.ask(group, Ask::Promote { epoch, learner });
                is_asking = true;
            }
        }
        is_asking
    }

    /// Does what the core's news ask of a leader. Returns whether it is over: another one leads the active configuration, or
    /// the change that this one was to lead was given up.
    ///
    /// # Errors
    /// The log has no room for the first entry of a change; nothing was changed.
    pub(super) fn follow_news(
        &mut self,
        shared: &mut Shared,
        now: Instant,
        news: &News,
        promise: &mut Epoch,
    ) -> Result<bool, LogFull> {
        let pending = news.pending.as_ref();
        let is_active = news.active.epoch == self.config.epoch;
        if let Status::Adopted { view, wait_until, .. } = self.leader.status {
            if planted::is(rule::WAIT_BEFORE_ACTIVE) && is_active && now < wait_until {
                return Ok(false);
            }
            if !is_active {
                return Ok(pending.is_none_or(|pending| pending.config.epoch != self.config.epoch));
            }
            self.leader.status = Status::Serving { view };
            self.leader.ask_at = None;
            self.set_peers(shared, now, news);
            self.advance_commit(shared);
        }
        let under_way = self.leader.change.as_ref().map(|change| change.config.epoch);
        if under_way == Some(news.active.epoch) {
            self.enter_change(shared, now, news);
        } else if !is_active && !planted::is(rule::LIVE_FROM_ACTIVE) {
            // Those who took over have not told this replica yet.
            return Ok(news.active.epoch > self.config.epoch);
        }
        let under_way = self.leader.change.as_ref().map(|change| change.config.epoch);
        match pending {
            Some(pending) if Some(pending.config.epoch) == under_way => {}
            Some(Change { config, kind: ChangeKind::Live })
                if config.epoch > *promise && config.leader_replica() == Some(shared.me) =>
            {
                self.begin_change(shared, now, config, news)?;
                *promise = config.epoch;
            }
            Some(_) | None => self.leave_change(shared, now),
        }
        self.set_peers(shared, now, news);
        // A replica that has long had the log may be a learner only now.
        self.ask_core(shared, now);
        Ok(false)
    }

    /// Begins a change that the core has decided, in place of any other.
    ///
    /// # Errors
    /// The log has no room for its first entry; nothing was changed.
    pub(super) fn begin_change(
        &mut self,
        shared: &mut Shared,
        now: Instant,
        config: &GroupConfig,
        news: &News,
    ) -> Result<(), LogFull> {
        let before = self.leader.change.take();
        let view = self.replica.log.last().next();
        let first_view = before.as_ref().map_or(view, |before| before.first_view);
        let change = LiveChange { config: config.clone(), view, first_view, state: ChangeState::Proposed };
        self.leader.change = Some(change);
        if let Err(full) = self.append_view(shared, now) {
            self.leader.change = before;
            return Err(full);
        }
        self.leader.is_refused = false;
        // What they said before does not count for it: some may have followed another leader meanwhile, which had them cut
        // what they had acknowledged.
        for peer in &mut self.leader.peers {
            peer.begin_next(None);
            peer.forget_matched();
        }
        self.set_peers(shared, now, news);
        // Its own copy may be all that is needed.
        self.leader.ask_at = None;
        self.ask_core(shared, now);
        Ok(())
    }

    /// The change under way is active: what it counted counts.
    pub(super) fn enter_change(&mut self, shared: &mut Shared, now: Instant, news: &News) {
        let Some(change) = self.leader.change.take() else { return };
        let (group, epoch) = (self.config.group, change.config.epoch);
        *self.config = change.config;
        self.leader.ask_at = None;
        self.leader.status = Status::Serving { view: change.view };
        for peer in &mut self.leader.peers {
            peer.enter_next();
        }
        self.set_peers(shared, now, news);
        shared.outputs.notify(Event::Serving { group, epoch });
        self.advance_commit(shared);
    }

    /// The core has given up the change under way.
    pub(super) fn leave_change(&mut self, shared: &mut Shared, now: Instant) {
        if let Some(change) = &mut self.leader.change
            && change.state != ChangeState::Superseded
        {
            change.state = ChangeState::Superseded;
            self.leader.ask_at = None;
            self.ask_core(shared, now);
        }
    }

    /// Has peers as the configurations at work say, and their runs counted as they say.
    pub(super) fn set_peers(&mut self, shared: &mut Shared, now: Instant, news: &News) {
        let last = self.replica.log.last();
        self.leader.set_peers(self.config, &news.learners, shared, last, now);
        for peer in &mut self.leader.peers {
            match self.config.incarnation_of(peer.node) {
                Some(incarnation) => peer.count(incarnation),
                None => peer.count_none(),
            }
            let next = self.leader.change.as_ref().and_then(|change| change.config.incarnation_of(peer.node));
            if next != peer.next_voter {
                peer.begin_next(next);
            }
        }
        self.judge_again(shared);
    }
}
