//! What becomes of a replica whose state is wrong: it takes no part in anything that a state is needed for until it has copied
//! another one.
//!
//! A state is wrong if the scrub finds a byte that nobody wrote ([`crate::machine::scrub`]), or if more than half of the
//! members have another one ([`crate::replication::comparison`]). From that moment the replica
//!
//! * acknowledges nothing, so that no commit and no lease rests on it,
//! * leads nothing: a leader steps down, a candidate gives up, and it begins no takeover. It says so with its node's
//!   heartbeats, and the core has another member take over,
//! * applies nothing, answers no read, and sends nobody a snapshot,
//! * tells its leader, which sends it a snapshot as to one that is far behind, and stops counting what it said.
//!
//! When the snapshot is whole the replica has the leader's state, acknowledges again, and is as good as any other. What is said
//! later of a state through that entry was said of the one before, and counts for nothing.
//!
//! # Why it stays a member, and keeps its log
//! What is wrong is the state. The log is not: entries carry checksums from where they entered the cluster. A replica that
//! dropped its log, even as a learner, would be the restart without memory that keeps its name; all that protocol 1.10 rests on
//! is that whoever has acknowledged an entry holds it when it is sealed. So it promises and is sealed as ever, says what its log
//! ends with, and gives a candidate the entries that it has: every set of S answers still meets every W that acknowledged. Only
//! what has left its log cannot be had from it any more, as its state was the only other place. A candidate that asks for that
//! is told so ([`Message::Diverged`](crate::message::Message::Diverged), not `Unfetchable`: the holder cannot lead either) and
//! looks for another set of S answers without this one, exactly as if its holder had died (1.6, step 2: never the second best
//! of the same set). The members need not change for any of this, so that a group whose third member is down is repaired as
//! well, and nothing depends on the core but who leads.
//!
//! The snapshot is installed by rule 1.4 (c). If the log has more than the snapshot it stays, and only the state is replaced:
//! what follows may be acknowledged and needed.
//!
//! # When nobody can repair it
//! Repair may be switched off; there may be nobody to lead instead (a group without a core); or too few members agree on what
//! is right ([`Stuck`]). Then the replica refuses what it is asked with words for the user until an operator acts: he restarts
//! the node that he takes to be wrong, which comes back as a new run, without memory, and copies the group from the other.
//!
//! # Time and units
//! The replica's monotonic clock. It tells its leader again after [`Config::ask_again`](crate::config::Config::ask_again).

use crate::ids::{LogIndex, ReplicaId};
use crate::log::LogFull;
use crate::machine::scrub::Scrubbed;
use crate::message::{Ack, Envelope};
use crate::output::{Event, Refusal, SmallMessage, Stuck};
use crate::planted;
use crate::replication::comparison::{Right, Votes, Window};
use crate::replication::progress::Progress;
use crate::time::Instant;

use super::{Group, Leading, Role, Shared};

/// A replica whose state is wrong.
#[derive(Debug, Hash)]
pub(super) struct Diverged {
    /// Why nobody repairs it.
    stuck: Option<Stuck>,
    /// When its leader is told, or told again.
    tell_at: Instant,
}

/// What a leader has found out about its own state.
#[derive(Clone, Copy, Debug, Hash)]
pub(super) enum OwnFault {
    /// More than half of the members have another one.
    Outvoted(Window),
    /// Its bytes are not what was written.
    Damaged,
}

/// How the states of the members compare, as their leader knows.
#[derive(Clone, Copy, Debug, Hash, Default)]
pub(super) enum Dispute {
    /// Nobody is known to differ.
    #[default]
    None,
    /// Somebody differs, and it depends on others who is wrong.
    Open,
    /// Somebody differs, and nobody can say who is right.
    Undecided,
}

impl Group {
    /// Goes on looking for bytes that nobody wrote.
    pub(crate) fn scrub(&mut self, shared: &mut Shared, budget: &mut i64) -> Scrubbed {
        if self.diverged.is_some() {
            return Scrubbed::Whole;
        }
        let scrubbed = self.replica.kv.scrub(budget);
        match scrubbed {
            Scrubbed::Partly => {}
            Scrubbed::Whole => self.scrubbed = [self.scrubbed[1], self.replica.applied.index],
            Scrubbed::Damaged => self.on_damaged(shared),
        }
        scrubbed
    }

    /// Its bytes are not what was written.
    fn on_damaged(&mut self, shared: &mut Shared) {
        // The last pass that found nothing began there.
        let first = self.scrubbed[0];
        self.on_diverged(shared, Window { first, last: self.replica.applied.index });
    }

    /// This replica is wrong.
    fn on_diverged(&mut self, shared: &mut Shared, window: Window) {
        if self.diverged.is_some() || planted::is(99) {
            return;
        }
        let group = self.config.group;
        shared.outputs.notify(Event::Diverged { group, window });
        let stuck = match &self.role {
            _ if !shared.settings.repair => Some(Stuck::RepairIsOff),
            Role::Leader(_) if !self.config.is_assigned() => Some(Stuck::NobodyElse),
            Role::Leader(_) | Role::Candidate(_) | Role::Follower(_) => None,
        };
        if let Some(why) = stuck {
            shared.outputs.notify(Event::ManualInterventionRequired { group, why });
        }
        self.diverged = Some(Diverged { stuck, tell_at: Instant(0) });
        match &mut self.role {
            Role::Leader(_) | Role::Candidate(_) => self.step_down(shared, None),
            Role::Follower(follower) => {
                follower.owe_nothing();
                self.give_up_left(shared);
            }
        }
    }

    /// It has the state of its leader.
    pub(super) fn on_repaired(&mut self, shared: &mut Shared) {
        if self.diverged.take().is_some() {
            let (group, at) = (self.config.group, self.replica.applied.index);
            (self.repaired, self.scrubbed) = (at, [at; 2]);
            shared.outputs.notify(Event::Resynchronised { group, at });
        }
    }

    /// Does what a leader has found out about itself.
    pub(super) fn follow_own_fault(&mut self, shared: &mut Shared) {
        let Role::Leader(leader) = &mut self.role else { return };
        match leader.own_fault.take() {
            None => {}
            Some(OwnFault::Outvoted(window)) => self.on_diverged(shared, window),
            Some(OwnFault::Damaged) => self.on_damaged(shared),
        }
    }

    /// Somebody says that a state is wrong: a leader that of this replica, or a replica its own.
    ///
    /// # Errors
    /// The log has no room for what a candidate does then.
    pub(super) fn handle_diverged(
        &mut self,
        shared: &mut Shared,
        now: Instant,
        envelope: &Envelope<'_>,
        window: Window,
    ) -> Result<(), LogFull> {
        match &self.role {
            Role::Leader(_) => {
                if let Some(mut leading) = self.leading() {
                    leading.handle_answer(shared, now, envelope);
                }
                Ok(())
            }
            Role::Candidate(_) => self.handle_unusable(shared, now, envelope.from, envelope.epoch),
            Role::Follower(follower) => {
                // What comes late is about the state before.
                let is_new = window.last > self.repaired;
                if is_new && envelope.epoch == self.promise && follower.leader() == Some(envelope.from) {
                    self.on_diverged(shared, window);
                }
                Ok(())
            }
        }
    }

    /// Tells the leader, if there is one, that this replica needs a snapshot. A candidate is not told: it may have use for the
    /// log.
    pub(super) fn tell_diverged(&mut self, shared: &mut Shared, now: Instant) {
        let is_active = !self.config.is_assigned() || self.config.epoch == self.promise;
        let Some(diverged) = self.diverged.as_mut().filter(|diverged| diverged.stuck.is_none()) else { return };
        if diverged.tell_at > now {
            return;
        }
        diverged.tell_at = now.saturating_add(shared.settings.ask_again);
        let Role::Follower(follower) = &self.role else { return };
        if let Some(leader) = follower.leader().filter(|_| is_active && follower.installing().is_none()) {
            self.answer_diverged(shared, leader);
        }
    }

    /// Answers that this replica is wrong.
    pub(super) fn answer_diverged(&self, shared: &mut Shared, to: ReplicaId) {
        let window = Window { first: LogIndex(0), last: LogIndex(0) };
        shared.outputs.small(to, self.config.group, self.promise, SmallMessage::Diverged(window));
    }

    /// Returns why nobody repairs this replica, if it is wrong and nobody does.
    pub(super) fn stuck(&self) -> Option<Stuck> {
        match (&self.diverged, &self.role) {
            (Some(diverged), _) => diverged.stuck,
            (None, Role::Leader(leader)) => leader.stuck(),
            (None, Role::Candidate(_) | Role::Follower(_)) => None,
        }
    }

    /// Returns the refusal of a group that nobody repairs.
    pub(crate) fn refuse_if_stuck(&self) -> Result<(), Refusal> {
        let group = self.config.group;
        self.stuck().map_or(Ok(()), |why| Err(Refusal::Diverged { group, why }))
    }

    /// Returns when the leader is to be told.
    pub(super) fn next_tell(&self) -> Option<Instant> {
        let Role::Follower(follower) = &self.role else { return None };
        let diverged = self.diverged.as_ref().filter(|diverged| diverged.stuck.is_none())?;
        follower.installing().is_none().then_some(diverged.tell_at)
    }
}

impl Leading<'_> {
    /// Compares what a peer says of its state with what was noted here. Returns whether what it says else may count.
    pub(super) fn compare(&mut self, shared: &mut Shared, position: usize, ack: &Ack) -> bool {
        let told = ack.state;
        if self.leader.peers[position].compared.is_wrong {
            // It has not heard it, or this was on its way.
            self.tell_peer(shared, position);
        }
        if let Some(own) = self.replica.notes.at(told.applied) {
            let change = told.digest.wrapping_sub(own);
            self.leader.peers[position].compared.note(told.applied, change);
            if change != 0 || !matches!(self.leader.dispute, Dispute::None) {
                self.judge_states(shared);
            }
        }
        if let Dispute::Open = self.leader.dispute
            && told.applied < self.replica.applied.index
            && self.replica.applied.index == self.replica.log.last()
        {
            // It did not know yet how far the log is committed. Once it does, and has applied that, it tells the last index.
            self.leader.wants_lease = true;
        }
        !self.leader.peers[position].compared.is_wrong && self.leader.own_fault.is_none()
    }

    /// Finds out who is wrong.
    fn judge_states(&mut self, shared: &mut Shared) {
        let peers = &self.leader.peers;
        let differing = peers.iter().map(|peer| peer.compared).filter(|known| known.differs() && !known.is_wrong);
        let Some(since) = differing.map(|known| known.at()).min() else {
            self.leader.dispute = Dispute::None;
            return;
        };
        let mut votes = Votes::of(self.config.members.len());
        for peer in peers.iter().filter(|peer| peer.is_member && !peer.compared.is_wrong) {
            if peer.is_voter_present() && peer.compared.at() >= since {
                votes.add(peer.compared.change);
            } else if self.config.is_assigned() || peer.present.is_some() {
                // One that does not come back is replaced by the core, where there is one.
                votes.add_later();
            }
        }
        match votes.right() {
            Right::By(0) => {
                self.leader.dispute = Dispute::None;
                for position in 0..self.leader.peers.len() {
                    let compared = &mut self.leader.peers[position].compared;
                    if compared.differs() && !core::mem::replace(&mut compared.is_wrong, true) {
                        self.tell_peer(shared, position);
                    }
                }
            }
            Right::By(change) => {
                let of_right = peers.iter().map(|peer| peer.compared).filter(|known| known.change == change);
                let window = of_right.map(|known| known.window()).min().expect("more than half have it");
                self.leader.own_fault = Some(OwnFault::Outvoted(window));
            }
            Right::Open => {
                if let Dispute::None = self.leader.dispute {
                    // Who is not written to says nothing by itself.
                    self.leader.wants_lease = true;
                }
                self.leader.dispute = Dispute::Open;
            }
            Right::Nobody => {
                if !matches!(self.leader.dispute, Dispute::Undecided) {
                    let (group, why) = (self.config.group, Stuck::Undecided);
                    shared.outputs.notify(Event::ManualInterventionRequired { group, why });
                }
                self.leader.dispute = Dispute::Undecided;
            }
        }
    }

    /// Finds out anew who is wrong, as somebody has come or gone.
    pub(super) fn judge_again(&mut self, shared: &mut Shared) {
        if !matches!(self.leader.dispute, Dispute::None) {
            self.judge_states(shared);
        }
    }

    /// Tells a peer that it is wrong.
    fn tell_peer(&self, shared: &mut Shared, position: usize) {
        let peer = &self.leader.peers[position];
        if let Some(to) = peer.replica() {
            let message = SmallMessage::Diverged(peer.compared.window());
            shared.outputs.small(to, self.config.group, self.epoch(), message);
        }
    }

    /// A peer says that it is wrong: it gets a snapshot.
    pub(super) fn handle_peer_diverged(&mut self, shared: &mut Shared, now: Instant, position: usize) {
        let peer = &mut self.leader.peers[position];
        peer.compared.is_wrong = true;
        // While one is on its way this is no answer to it: if there is none for long enough, it is given up.
        if !matches!(peer.progress, Progress::Snapshot(_)) && shared.settings.repair {
            peer.heard = now;
            self.begin_snapshot(shared, position, now);
        }
        self.judge_again(shared);
    }
}
