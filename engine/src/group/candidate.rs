//! What a candidate does: it seals members of the active configuration, adopts the best of their logs, and leads it.
//!
//! ```text
//!           S of them, or the leader,     the best log        VIEW held by W,
//!           have promised                 is here             leases have run out
//!  Sealing ──────────────────▶ Fetching ─────────────▶ a leader ────────────────▶ asks for activation
//!     ▲                            │ its holder is lost: another S
//!     └────────────────────────────┘
//! ```
//!
//! While leases have to be waited for anyway, the answer of an active leader that is connected is waited for too: what only it holds
//! is adopted then.
//!
//! After a loss that was accepted, all members of the active configuration that are left have to promise, however few they are,
//! and it waits for the length of a lease: nobody says any more what the others had granted. After the core was restored, all
//! members of the new configuration have to: whoever is counted just now is among them, or counts for dead.
//!
//! # Time and units
//! The candidate's monotonic clock. What is not answered is asked again after [`Config::ask_again`]. Read leases that were
//! granted to earlier leaders are waited for from when the answer that named them was received, but for those of an active leader
//! that has promised itself; after a loss, a whole one from when the candidate heard of it.
//!
//! # Source
//! The replication protocol, sections 1.6 and 1.8.
//!
//! [`Config::ask_again`]: crate::config::Config::ask_again

use core::time::Duration;

use crate::config::GroupConfig;
use crate::control::record::{Ask, Change, ChangeKind};
use crate::ids::{EntryId, Epoch, LogIndex, ReplicaId};
use crate::log::LogFull;
use crate::machine::command::Command;
use crate::machine::growth::growth_max;
use crate::message::{Append, Fetched, Sealed, StreamId};
use crate::output::{Event, SmallMessage};
use crate::planted::{self, rule};
use crate::replica::Extended;
use crate::replication::quorum::seal_quorum;
use crate::time::Instant;

use super::leader::{Leader, Status};
use super::{Group, Leading, Role, Shared};

/// The state of a candidate beside its replica.
#[derive(Debug, Hash)]
pub(super) struct Candidate {
    /// What it shall lead.
    config: GroupConfig,
    /// What is active.
    target: GroupConfig,
    /// Whom to seal.
    seals: Seals,
    answers: Vec<Answer>,
    /// Whom it fetches from, and what it has last asked for.
    fetching: Option<(ReplicaId, LogIndex)>,
    pub(super) ask_at: Instant,
    /// Whether the log had no room for the last step.
    wants_room: bool,
}

/// Whose promises are needed.
#[derive(Clone, Debug, Hash)]
enum Seals {
    /// So many members of the target that they meet every write quorum, or its leader.
    Quorum,
    /// Those who are left, all of them. What they have not granted themselves has run out then.
    Left {
        runs: Vec<ReplicaId>,
        granted_until: Instant,
        /// Whether it is not known what was active, nor what was accepted to be lost before.
        is_salvage: bool,
    },
}

/// What one sealed replica holds.
#[derive(Clone, Copy, Debug, Hash)]
struct Answer {
    from: ReplicaId,
    tail: EntryId,
    commit: LogIndex,
    /// When the read leases that it has granted have run out.
    granted_until: Instant,
    /// Whether what it is asked for can be had from it. If its state is wrong, what has left its log cannot.
    is_usable: bool,
}

impl Candidate {
    /// Returns the best log among a set of answers that meets every write quorum, or holds the leader's; `None` while there
    /// is no such set whose best log can be fetched. Never the second best of a set: that one may lack what is committed.
    fn best(&self, is_reachable: impl Fn(ReplicaId) -> bool) -> Option<Answer> {
        let mut answers = self.answers.clone();
        answers.sort_unstable_by(|one, other| other.tail.cmp(&one.tail).then(one.from.node.cmp(&other.from.node)));
        if planted::is(rule::STAMP_BEFORE_LENGTH) {
            answers.sort_by_key(|answer| (core::cmp::Reverse(answer.tail.index), answer.from.node));
        }
        if let Seals::Left { runs, .. } = &self.seals {
            let is_sealed = |run: &ReplicaId| answers.iter().any(|answer| answer.from == *run);
            let best = answers.first().filter(|_| runs.iter().all(is_sealed));
            return best.copied().filter(|best| best.is_usable && is_reachable(best.from));
        }
        let (members, write_quorum) = (self.target.members.len(), self.target.write_quorum);
        let need = if planted::is(rule::SEAL_QUORUM) { write_quorum } else { seal_quorum(members, write_quorum) };
        let leader = self.target.leader_replica();
        let sets = (0..answers.len()).map(|start| &answers[start..]);
        let enough = sets.take_while(|set| set.len() >= need || set.iter().any(|answer| Some(answer.from) == leader));
        enough.map(|set| set[0]).find(|best| best.is_usable && is_reachable(best.from))
    }

    /// Returns how many losses may have been accepted before.
    fn lost_before(&self) -> u64 {
        match self.seals {
            Seals::Left { is_salvage: true, .. } => u64::MAX,
            Seals::Left { .. } | Seals::Quorum => self.target.loss_gen,
        }
    }

    /// Returns when all read leases of earlier leaders have run out, as far as anybody may still read under them. Nobody does once
    /// the active leader has promised itself: no other one can have become active since.
    fn granted_until(&self) -> Instant {
        let latest = self.answers.iter().map(|answer| answer.granted_until).max().unwrap_or(Instant(0));
        match self.seals {
            _ if planted::is(rule::WAIT_FOR_LEASES) => Instant(0),
            Seals::Left { granted_until, .. } => latest.max(granted_until),
            Seals::Quorum => self.answer_of_leader().map_or(latest, |answer| answer.granted_until),
        }
    }

    fn answer_of_leader(&self) -> Option<&Answer> {
        self.answers.iter().find(|answer| Some(answer.from) == self.target.leader_replica())
    }

    /// Returns the active leader, if whoever leads next need not wait any more when it has promised.
    fn awaited(&self) -> Option<ReplicaId> {
        let is_silent = matches!(self.seals, Seals::Quorum) && self.answer_of_leader().is_none();
        self.target.leader_replica().filter(|_| is_silent)
    }

    /// Returns how long the answer of the active leader is waited for, though it is not needed: as long as leases have to be
    /// waited for anyway, and it may come. What only that leader holds is not lost then, and who waits for it hears no "unknown".
    fn waits_for_leader(&self, now: Instant, is_connected: impl Fn(ReplicaId) -> bool) -> Option<Instant> {
        let until = self.granted_until();
        let is_awaited = self.awaited().is_some_and(is_connected) && now < until;
        (is_awaited && !self.answers.is_empty() && !planted::is(rule::WAIT_BEFORE_ACTIVE)).then_some(until)
    }

    /// Returns how far the best log is committed, for all that was answered. After a loss, a member that has not followed anybody
    /// since speaks of another log, unless both end in one epoch: then its own is the beginning of the best one.
    fn commit(&self, best: &Answer) -> LogIndex {
        let is_about_best = |answer: &&Answer| self.lost_before() == 0 || answer.tail.epoch == best.tail.epoch;
        self.answers.iter().filter(is_about_best).map(|answer| answer.commit).max().unwrap_or_default()
    }

    /// Whether what a replica says it holds counts.
    fn counts(&self, replica: ReplicaId) -> bool {
        match &self.seals {
            Seals::Quorum => self.target.counts(replica),
            Seals::Left { runs, .. } => runs.contains(&replica),
        }
    }

    /// Returns whom to seal.
    fn to_seal(&self) -> Vec<ReplicaId> {
        match &self.seals {
            Seals::Quorum => self.target.members.iter().filter_map(|member| member.replica()).collect(),
            Seals::Left { runs, .. } => runs.clone(),
        }
    }

    /// Has the answer of its own replica say what that holds by now: what was fetched is there, whoever it came from.
    fn note_own(&mut self, me: ReplicaId, tail: EntryId) {
        if let Some(own) = self.answers.iter_mut().find(|answer| answer.from == me) {
            own.tail = tail;
        }
    }

    pub(super) fn config(&self) -> &GroupConfig {
        &self.config
    }
}

impl Leading<'_> {
    /// The leader before has promised, though it was not waited for: it reads no more, whoever has granted it a lease.
    fn hear_deposed(&mut self, shared: &mut Shared, now: Instant, from: ReplicaId, sealed: Sealed) {
        let Status::Adopted { wait_until, awaited, .. } = &mut self.leader.status else { return };
        if awaited.take_if(|leader| *leader == from).is_some() {
            *wait_until = (*wait_until).min(now.saturating_add(sealed.grant_left));
            self.leader.ask_at = None;
            self.ask_core(shared, now);
        }
    }
}

impl Group {
    /// Begins to take over.
    pub(super) fn start_takeover(
        &mut self,
        shared: &mut Shared,
        now: Instant,
        Change { config, kind }: &Change,
        target: &GroupConfig,
    ) {
        self.promise_to(shared, config.epoch, shared.me);
        let (group, epoch) = (config.group, config.epoch);
        shared.outputs.notify(Event::TakingOver { group, epoch });
        let target = if planted::is(rule::SEAL_THE_ACTIVE) { config } else { target };
        let seals = match kind {
            ChangeKind::Takeover | ChangeKind::Live => Seals::Quorum,
            ChangeKind::Loss | ChangeKind::Salvage => {
                let is_salvage = *kind == ChangeKind::Salvage;
                let left = config.members.iter().filter_map(|member| member.replica());
                let runs = left.filter(|run| is_salvage || target.counts(*run)).collect();
                Seals::Left { runs, granted_until: now.saturating_add(shared.settings.read_lease), is_salvage }
            }
        };
        let mut candidate = Candidate {
            config: config.clone(),
            target: target.clone(),
            seals,
            answers: Vec::new(),
            fetching: None,
            ask_at: now,
            wants_room: false,
        };
        // Nobody may be left: then it goes on with what it has copied as a learner, unless that was given up before.
        let is_alone = matches!(&candidate.seals, Seals::Left { runs, .. } if runs.is_empty());
        if is_alone && self.loss_gen < target.loss_gen && self.replica.log.last() > LogIndex(0) {
            self.forget(shared);
        }
        if candidate.counts(shared.me) || is_alone {
            candidate.answers.push(Answer {
                from: shared.me,
                tail: self.replica.log.last_id(),
                commit: self.replica.commit,
                granted_until: self.granted_until,
                is_usable: true,
            });
        }
        self.role = Role::Candidate(Box::new(candidate));
    }

    /// Notes what a sealed replica holds.
    ///
    /// # Errors
    /// The log has no room for what follows.
    pub(super) fn handle_sealed(
        &mut self,
        shared: &mut Shared,
        now: Instant,
        from: ReplicaId,
        sealed: Sealed,
    ) -> Result<(), LogFull> {
        if let Role::Leader(_) = &self.role {
            if let Some(mut leading) = self.leading() {
                leading.hear_deposed(shared, now, from, sealed);
            }
            return Ok(());
        }
        let Role::Candidate(candidate) = &mut self.role else { return Ok(()) };
        let is_known = candidate.answers.iter().any(|answer| answer.from == from);
        // Neither learners nor members of a change that was given up count.
        if !is_known && candidate.counts(from) {
            let Sealed { tail, commit, grant_left } = sealed;
            let granted_until = now.saturating_add(grant_left);
            candidate.answers.push(Answer { from, tail, commit, granted_until, is_usable: true });
        } else if !candidate.wants_room {
            return Ok(());
        }
        self.advance_takeover(shared, now)
    }

    /// Takes a piece of the best log.
    ///
    /// # Errors
    /// The log has no room for it.
    pub(super) fn handle_fetched(
        &mut self,
        shared: &mut Shared,
        now: Instant,
        from: ReplicaId,
        fetched: &Fetched<'_>,
    ) -> Result<(), LogFull> {
        let Role::Candidate(candidate) = &mut self.role else { return Ok(()) };
        let Some((holder, after)) = candidate.fetching else { return Ok(()) };
        // What was asked for again comes twice: only the answer to the last question moves it on.
        if holder != from || fetched.prev.index != after {
            return if candidate.wants_room { self.advance_takeover(shared, now) } else { Ok(()) };
        }
        let commit = self.replica.commit;
        let (prev, entries) = (fetched.prev, fetched.entries);
        let append = Append { stream: StreamId::LIVE, prev, commit, sent: Instant(0), entries };
        let extended = self.replica.extend(&mut shared.pool, &append);
        candidate.note_own(shared.me, self.replica.log.last_id());
        let what = match extended? {
            // Whoever has nothing more to give is asked again later.
            Extended::Through(last) if last == after => return Ok(()),
            Extended::Through(last) => {
                candidate.fetching = Some((holder, last));
                return self.advance_takeover(shared, now);
            }
            // What is committed here was lost, and whoever has the best log knows more of that.
            Extended::Mismatch(_) if self.loss_gen < candidate.lost_before() => {
                self.handle_unfetchable(shared, from);
                return Ok(());
            }
            Extended::Mismatch(_) => "entries that do not follow what is committed",
            Extended::Malformed(what) => what,
        };
        shared.outputs.notify(Event::Malformed { group: self.config.group, from, what });
        Ok(())
    }

    /// The best log cannot be fetched: its holder shall take over itself.
    pub(super) fn handle_unfetchable(&mut self, shared: &mut Shared, from: ReplicaId) {
        let Role::Candidate(candidate) = &self.role else { return };
        if candidate.fetching.is_some_and(|(holder, _)| holder == from) {
            let ask = Ask::HandOver { epoch: candidate.config.epoch, to: from.node };
            shared.outputs.ask(self.config.group, ask);
        }
    }

    /// The best log cannot be fetched, and its holder cannot take over: its state is wrong. It is left out with its answer, as
    /// one that has died.
    ///
    /// # Errors
    /// The log has no room for what follows.
    pub(super) fn handle_unusable(
        &mut self,
        shared: &mut Shared,
        now: Instant,
        from: ReplicaId,
        epoch: Epoch,
    ) -> Result<(), LogFull> {
        let Role::Candidate(candidate) = &mut self.role else { return Ok(()) };
        if candidate.fetching.is_none_or(|(holder, _)| holder != from) || epoch != self.promise {
            return Ok(());
        }
        candidate.answers.iter_mut().filter(|answer| answer.from == from).for_each(|answer| answer.is_usable = false);
        candidate.fetching = None;
        self.advance_takeover(shared, now)
    }

    /// Asks again what was not answered.
    ///
    /// # Errors
    /// The log has no room for what follows.
    pub(super) fn on_candidate_alarm(&mut self, shared: &mut Shared, now: Instant) -> Result<(), LogFull> {
        let Role::Candidate(candidate) = &mut self.role else { return Ok(()) };
        if candidate.ask_at > now {
            return if candidate.wants_room { self.advance_takeover(shared, now) } else { Ok(()) };
        }
        candidate.ask_at = now.saturating_add(shared.settings.ask_again);
        let (group, epoch) = (self.config.group, candidate.config.epoch);
        for member in candidate.to_seal() {
            let is_silent = candidate.answers.iter().all(|answer| answer.from != member);
            if is_silent && member != shared.me && shared.is_connected(member) {
                shared.outputs.small(member, group, epoch, SmallMessage::Seal);
            }
        }
        // What is being fetched is asked for again from where it was: the question may be lost, or its holder.
        self.advance_takeover(shared, now)
    }

    /// Goes as far as the answers allow.
    fn advance_takeover(&mut self, shared: &mut Shared, now: Instant) -> Result<(), LogFull> {
        let Role::Candidate(candidate) = &mut self.role else { return Ok(()) };
        candidate.wants_room = false;
        let (me, group, epoch) = (shared.me, self.config.group, candidate.config.epoch);
        if let Some(until) = candidate.waits_for_leader(now, |leader| shared.is_connected(leader)) {
            candidate.ask_at = candidate.ask_at.min(until);
            return Ok(());
        }
        let best = candidate.best(|holder| holder == me || shared.is_connected(holder));
        let Some(best) = best else { return Ok(()) };
        if self.replica.log.last_id() == best.tail {
            return self.adopt(shared, now, &best);
        }
        let after = match candidate.fetching {
            Some((holder, after)) if holder == best.from => after,
            // What is committed is in every log that may be the best, but for what was lost.
            Some(_) | None => self.replica.commit,
        };
        candidate.fetching = Some((best.from, after));
        shared.outputs.small(best.from, group, epoch, SmallMessage::Fetch { after });
        Ok(())
    }

    /// Leads the log as it is here now.
    fn adopt(&mut self, shared: &mut Shared, now: Instant, best: &Answer) -> Result<(), LogFull> {
        let Role::Candidate(candidate) = &mut self.role else { return Ok(()) };
        // These entries may be applied, and nothing is said about them before activation.
        let commit = candidate.commit(best);
        let (config, wait_until, awaited) = (candidate.config.clone(), candidate.granted_until(), candidate.awaited());
        self.replica.advance_commit(commit);
        self.left.apply_committed(shared, &mut self.replica);
        #[cfg(planted)]
        if planted::is(rule::KEEP_STAMPS) {
            self.replica.restamp(&mut shared.pool, config.epoch);
        }
        let view = self.replica.log.last().next();
        let mut leader = Leader::with_status(Status::Adopted { view, wait_until, awaited });
        let time = self.replica.log.entry(&shared.pool, view.previous()).map_or(self.replica.time, |tail| tail.time());
        leader.began = Some((now, time));
        self.replica.visit_uncommitted(&shared.pool, |entry| {
            let growth = Command::decode(entry.body()).map_or(0, |command| growth_max(&command));
            leader.uncommitted.add(entry.raw().len(), growth);
            shared.reserved_bytes += growth;
        });
        let before = core::mem::replace(&mut self.config, config);
        let mut leading = Leading {
            config: &mut self.config,
            replica: &mut self.replica,
            snapshot_count: &mut self.snapshot_count,
            leader: &mut leader,
        };
        if let Err(full) = leading.append_view(shared, now) {
            shared.reserved_bytes -= leader.reserved_bytes();
            self.config = before;
            candidate.wants_room = true;
            return Err(full);
        }
        if let Some(news) = &self.news {
            leading.set_peers(shared, now, news);
        }
        let (group, epoch) = (leading.config.group, leading.config.epoch);
        shared.outputs.notify(Event::Adopted { group, epoch });
        leading.ask_core(shared, now);
        self.left.hand_to(&mut leader.waiting, shared, &self.replica);
        self.role = Role::Leader(Box::new(leader));
        Ok(())
    }

    // ---- whoever is sealed ----

    /// Promises an epoch to its candidate.
    pub(super) fn handle_seal(&mut self, shared: &mut Shared, now: Instant, from: ReplicaId, epoch: Epoch) {
        if planted::is(5) && epoch < self.promise {
            self.promise = Epoch(0);
        }
        if planted::is(16) && self.installing().is_some() {
            let _ = self.finish_install(shared);
        }
        let goes_on = planted::is(rule::SEALED_IS_DEPOSED) && matches!(self.role, Role::Leader(_));
        if epoch > self.promise && self.is_named(from) {
            if goes_on {
                self.promise = epoch;
            } else {
                self.promise_to(shared, epoch, from);
            }
        }
        if !self.follows(from, epoch) && !goes_on {
            return self.refuse(shared, from, epoch);
        }
        let short = if planted::is(rule::WHOLE_GRANT) { shared.settings.read_lease / 2 } else { Duration::ZERO };
        let grant_left = self.granted_until.since(now).saturating_sub(short);
        let sealed = Sealed { tail: self.replica.log.last_id(), commit: self.replica.commit, grant_left };
        shared.outputs.small(from, self.config.group, epoch, SmallMessage::Sealed(sealed));
    }

    /// Gives a candidate entries; only while its epoch is the one promised, so that the log does not change meanwhile.
    pub(super) fn handle_fetch(&mut self, shared: &mut Shared, from: ReplicaId, epoch: Epoch, after: LogIndex) {
        if !self.follows(from, epoch) {
            return self.refuse(shared, from, epoch);
        }
        let (group, log) = (self.config.group, &self.replica.log);
        let Some(stamp) = log.epoch_at(&shared.pool, after) else {
            if self.diverged.is_some() {
                return self.answer_diverged(shared, from);
            }
            return shared.outputs.small(from, group, epoch, SmallMessage::Unfetchable);
        };
        let prev = EntryId { epoch: stamp, index: after };
        let last = match log.last() {
            last if last <= after => after,
            last => log.piece(&shared.pool, after.next()..=last, shared.settings.append_bytes_max).0,
        };
        shared.outputs.fetched(from, self.position, epoch, prev, last);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Member;
    use crate::ids::{GroupId, Incarnation, NodeId};
    use crate::slots::SlotMap;

    fn replica(node: u16) -> ReplicaId {
        ReplicaId { node: NodeId(node), incarnation: Incarnation(1) }
    }

    fn candidate(members: u16, write_quorum: usize, answers: &[(u16, u64, u64)]) -> Candidate {
        let target = GroupConfig {
            group: GroupId(0),
            slots: SlotMap::new(1).expect("in range").slots_of(GroupId(0)),
            epoch: Epoch(1),
            loss_gen: 0,
            leader: NodeId(1),
            members: (1..=members).map(|node| Member::from(replica(node))).collect(),
            write_quorum,
        };
        let answers = answers.iter().map(|&(node, epoch, index)| Answer {
            from: replica(node),
            tail: EntryId { epoch: Epoch(epoch), index: LogIndex(index) },
            commit: LogIndex(0),
            granted_until: Instant(0),
            is_usable: true,
        });
        let config = GroupConfig { epoch: Epoch(9), leader: NodeId(2), ..target.clone() };
        let (seals, answers) = (Seals::Quorum, answers.collect());
        Candidate { config, target, seals, answers, fetching: None, ask_at: Instant(0), wants_room: false }
    }

    fn best(candidate: &Candidate, lost: &[u16]) -> Option<u16> {
        candidate.best(|holder| !lost.contains(&holder.node.0)).map(|answer| answer.from.node.0)
    }

    #[test]
    fn the_later_birth_epoch_wins_over_the_longer_log() {
        assert_eq!(best(&candidate(3, 2, &[(2, 1, 9), (3, 2, 5)]), &[]), Some(3));
        assert_eq!(best(&candidate(3, 2, &[(2, 2, 9), (3, 2, 5)]), &[]), Some(2));
    }

    #[test]
    fn the_answers_must_meet_every_write_quorum_or_hold_the_leaders() {
        assert_eq!(best(&candidate(3, 2, &[(3, 2, 5)]), &[]), None);
        assert_eq!(best(&candidate(3, 2, &[(1, 2, 5)]), &[]), Some(1), "the leader of the target");
        assert_eq!(best(&candidate(4, 2, &[(3, 1, 5), (4, 1, 5)]), &[]), None, "two of four may have missed it");
        assert_eq!(best(&candidate(4, 2, &[(2, 1, 4), (3, 1, 5), (4, 1, 5)]), &[]), Some(3));
    }

    #[test]
    fn after_a_loss_all_who_are_left_must_answer_and_the_best_of_them_is_taken() {
        let left = |runs: &[u16], answers: &[(u16, u64, u64)]| {
            let runs = runs.iter().copied().map(replica).collect();
            let seals = Seals::Left { runs, granted_until: Instant(7), is_salvage: false };
            Candidate { seals, ..candidate(5, 3, answers) }
        };
        assert_eq!(best(&left(&[2, 3], &[(2, 1, 9)]), &[]), None);
        assert_eq!(best(&left(&[2, 3], &[(2, 1, 9), (3, 2, 5)]), &[]), Some(3));
        assert_eq!(best(&left(&[2, 3], &[(2, 1, 9), (3, 2, 5)]), &[3]), None);
        assert_eq!(best(&left(&[], &[(4, 0, 0)]), &[]), Some(4), "what the candidate itself has");
        assert_eq!(left(&[], &[]).granted_until(), Instant(7));
    }

    #[test]
    fn who_can_neither_give_its_log_nor_lead_is_left_out_with_its_answer() {
        let mut three = candidate(3, 2, &[(1, 1, 9), (2, 1, 9), (3, 1, 7)]);
        three.answers[0].is_usable = false;
        assert_eq!(best(&three, &[]), Some(2), "2 and 3 are enough without it");
        let mut two = candidate(3, 2, &[(1, 1, 9), (3, 1, 7)]);
        two.answers[0].is_usable = false;
        assert_eq!(best(&two, &[]), None, "3 alone may lack what is committed");
    }

    #[test]
    fn what_was_committed_before_a_loss_says_nothing_about_another_log() {
        let mut candidate = candidate(3, 2, &[(1, 1, 9), (2, 5, 9), (3, 5, 7)]);
        for (answer, commit) in candidate.answers.iter_mut().zip([8, 4, 6]) {
            answer.commit = LogIndex(commit);
        }
        let best = candidate.best(|_| true).expect("there are enough");
        assert_eq!((best.from, candidate.commit(&best)), (replica(2), LogIndex(8)));
        candidate.target.loss_gen = 1;
        assert_eq!(candidate.commit(&best), LogIndex(6), "the log of 3 is the beginning of that of 2");
        // A loss may have been accepted of which the restored core knows nothing.
        candidate.target.loss_gen = 0;
        let runs = [1, 2, 3].into_iter().map(replica).collect();
        candidate.seals = Seals::Left { runs, granted_until: Instant(7), is_salvage: true };
        assert_eq!(candidate.commit(&best), LogIndex(6));
    }

    #[test]
    fn the_second_best_of_a_set_is_never_taken() {
        let three = candidate(3, 2, &[(2, 1, 7), (3, 1, 9)]);
        assert_eq!(best(&three, &[3]), None, "without 3 there are too few");
        let five = candidate(5, 3, &[(2, 1, 7), (3, 1, 9), (4, 1, 6), (5, 1, 8)]);
        assert_eq!(best(&five, &[3]), Some(5), "2, 4 and 5 are enough without 3");
        assert_eq!(best(&five, &[3, 5]), None);
    }
}
