//! What the engine of a CPU says has happened: lines in the log, steps of takeovers, and what belongs into the stream of events.

use quorate_engine::control::journal::{Event as Happened, Steps};
use quorate_engine::ids::{GroupId, ReplicaId};
use quorate_engine::output::Event;
use quorate_engine::time::Instant;

use crate::clock;

use super::front::Front;

/// When this node took over a group, step by step, on its monotonic clock.
#[derive(Clone, Copy, Debug)]
pub(super) struct Takeover {
    /// The core's word was heard.
    began_at: Instant,
    /// Enough others had promised, and the log was here.
    adopted_at: Option<Instant>,
    /// Enough members held it, no lease ran, and the core was asked to make it so.
    pub(super) asked_at: Option<Instant>,
}

impl Takeover {
    /// Logs that it has ended now; returns how long its steps took.
    fn end(self, cpu: u16, group: GroupId, epoch: quorate_engine::ids::Epoch) -> Steps {
        let now = clock::now();
        let adopted_at = self.adopted_at.unwrap_or(now);
        let asked_at = self.asked_at.unwrap_or(now);
        let ms = |from: Instant, to: Instant| format!("{:.1}", to.since(from).as_secs_f64() * 1e3);
        let us = |from: Instant, to: Instant| u64::try_from(to.since(from).as_micros()).unwrap_or(u64::MAX);
        tracing::info!(
            cpu,
            group = group.0,
            epoch = epoch.0,
            adopted_ms = ms(self.began_at, adopted_at),
            held_ms = ms(adopted_at, asked_at),
            activated_ms = ms(asked_at, now),
            all_ms = ms(self.began_at, now),
            "this node has taken over the group"
        );
        Steps {
            adopted_us: us(self.began_at, adopted_at),
            held_us: us(adopted_at, asked_at),
            activated_us: us(asked_at, now),
        }
    }
}

impl Front {
    pub(super) fn note_event(&mut self, event: &Event) {
        let cpu = self.id.0;
        match event {
            Event::Founded { group } => tracing::debug!(cpu, group = group.0, "group founded"),
            Event::TakingOver { group, .. } => {
                let takeover = Takeover { began_at: clock::now(), adopted_at: None, asked_at: None };
                self.takeovers.insert(*group, takeover);
            }
            Event::Adopted { group, .. } => self.on_takeover(*group, |takeover, now| takeover.adopted_at = Some(now)),
            Event::Serving { group, epoch } => match self.takeovers.remove(group) {
                Some(takeover) => {
                    let steps = takeover.end(cpu, *group, *epoch);
                    self.shared.exchange.report(Happened::TookOver { group: *group, epoch: *epoch, steps });
                }
                None => tracing::debug!(cpu, group = group.0, epoch = epoch.0, "group serves"),
            },
            Event::Deposed { group, epoch } => {
                self.takeovers.remove(group);
                tracing::info!(cpu, group = group.0, epoch = epoch.0, "this node leads the group no more");
            }
            Event::Unavailable { group, missing } => tracing::error!(
                cpu,
                group = group.0,
                "group unavailable: others follow another run of this node, {missing:?}; it restarted without its memory, or \
                 another process runs with its node.id"
            ),
            Event::Learner { group, replica } => tracing::warn!(
                cpu,
                group = group.0,
                node = replica.node.0,
                "node came back without its memory: it copies the log and does not count"
            ),
            Event::SnapshotStarted { group, to } => {
                tracing::info!(cpu, group = group.0, node = to.node.0, "replica is far behind: sending a snapshot");
            }
            Event::SnapshotInstalled { group, to } => {
                tracing::info!(cpu, group = group.0, node = to.node.0, "replica has installed its snapshot");
            }
            Event::Malformed { group, from, what } => {
                tracing::warn!(cpu, group = group.0, node = from.node.0, what, "a node broke the protocol");
            }
            _ => self.note_lost_state(event),
        }
    }

    /// Notes what happens to a replica whose state is lost or wrong; the stream of events tells it too.
    fn note_lost_state(&self, event: &Event) {
        let cpu = self.id.0;
        match event {
            Event::Forgotten { group, commit } => {
                tracing::warn!(
                    cpu,
                    group = group.0,
                    commit = commit.0,
                    "this replica has given up what it held: an operator has accepted that it is lost, and the leader has not got it"
                );
                let (group, commit) = (*group, *commit);
                self.report(|replica| Happened::Forgotten { group, replica, commit });
            }
            Event::Diverged { group, window } => {
                tracing::error!(
                    cpu,
                    group = group.0,
                    first = window.first.0,
                    last = window.last.0,
                    "replica_diverged: the state of this replica became wrong between these entries; it takes no part in \
                     quorums and reads until it has copied another one"
                );
                let (group, first, last) = (*group, window.first, window.last);
                self.report(|replica| Happened::ReplicaDiverged { group, replica, first, last });
            }
            Event::Resynchronised { group, at } => {
                tracing::warn!(
                    cpu,
                    group = group.0,
                    at = at.0,
                    "replica_resynchronised: the replica has copied the state of its leader, and counts again"
                );
                let (group, at) = (*group, *at);
                self.report(|replica| Happened::ReplicaResynchronised { group, replica, at });
            }
            Event::ManualInterventionRequired { group, why } => {
                tracing::error!(cpu, group = group.0, %why, "manual_intervention_required: this node does not serve the group");
                let (group, why) = (*group, why.to_string());
                self.report(|replica| Happened::ManualInterventionRequired { group, replica, why });
            }
            _ => tracing::info!(cpu, ?event, "event"),
        }
    }

    /// Has the core record something that happened to a replica of this run.
    fn report(&self, event: impl FnOnce(ReplicaId) -> Happened) {
        if let Some(run) = self.run {
            self.shared.exchange.report(event(run));
        }
    }

    /// Notes that a takeover under way has come so far, the first time.
    pub(super) fn on_takeover(&mut self, group: GroupId, note: impl FnOnce(&mut Takeover, Instant)) {
        if let Some(takeover) = self.takeovers.get_mut(&group) {
            note(takeover, clock::now());
        }
    }
}
