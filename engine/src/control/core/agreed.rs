//! How a core node follows what is agreed on, and tells the nodes (K1).

use super::consensus::Decided;
use super::leading::Proposal;
use super::{Core, CoreOutput, Entry, EraStore, Image, Role};
use crate::control::operation::Outcome;
use crate::control::roster::Unwelcome;
use crate::control::state::{Command, State};
use crate::ids::{GroupId, NodeId};
use crate::time::Instant;

impl<S: EraStore> Core<S> {
    /// Goes on after something has happened: with what is decided by it, and what is to be sent.
    pub(super) fn advance(&mut self, now: Instant) {
        self.apply_decided(now);
        self.advance_role(now);
        // Alone, what is proposed is decided.
        self.apply_decided(now);
        if matches!(self.role, Role::Replaced) {
            return;
        }
        self.consensus.compact();
        let mut messages = Vec::new();
        self.consensus.take_messages(&mut messages);
        for message in messages {
            // A number out of a message that was not that of a core node: to be sent to nobody.
            let to = u16::try_from(message.get_receiver()).map(NodeId).ok().filter(|to| self.is_peer(*to));
            if let Some(to) = to {
                self.outputs.push_back(CoreOutput::Send { to, era: self.era.id(), message: Box::new(message) });
            }
        }
    }

    fn apply_decided(&mut self, now: Instant) {
        if matches!(self.role, Role::Replaced) {
            return;
        }
        for part in self.consensus.decided_from(self.applied) {
            match part {
                Decided::Entry(entry) => self.apply(&entry, now),
                Decided::Image(applied, image) => self.install(applied, image, now),
            }
        }
        if let Some(next) = self.state.as_ref().and_then(|state| self.era.next(state)) {
            self.begin_era(next);
            self.apply_decided(now);
        }
    }

    fn apply(&mut self, entry: &Entry, now: Instant) {
        let applied = entry.apply(&mut self.state);
        self.applied += 1;
        self.wants_look = true;
        let mut told = applied.changed;
        let decided: Vec<Proposal> = match entry {
            Entry::Command { command: Command::Register { node, nonce }, .. } => {
                if let Some(run) = applied.registered {
                    self.detector.expect(run, now);
                    self.outputs.push_back(CoreOutput::Registered { run, nonce: *nonce });
                }
                vec![Proposal::Registration(*node, *nonce)]
            }
            Entry::Command { command: Command::Activate(activations), .. } => {
                // What has not changed may not have been heard.
                let unchanged = activations.iter().map(|activation| activation.group);
                let unchanged: Vec<GroupId> = unchanged.filter(|group| !told.contains(group)).collect();
                told.extend(unchanged);
                vec![Proposal::Activations]
            }
            Entry::Command { command: Command::Change(changes), .. } => {
                changes.iter().map(|planned| Proposal::Change(planned.group, planned.version)).collect()
            }
            Entry::Command { command: Command::Operate { caller, number, .. }, .. } => {
                if let Some(Outcome::Removed { node }) = applied.outcome {
                    self.outputs.push_back(CoreOutput::Unwelcome { node, why: Unwelcome::Removed });
                }
                if let Some(outcome) = applied.outcome {
                    self.outputs.push_back(CoreOutput::Operated { to: *caller, number: *number, outcome });
                }
                vec![Proposal::Operation(*caller, *number)]
            }
            Entry::Command { command: Command::Barrier { by, round }, .. } => {
                self.end_barrier(now, *by, *round);
                Vec::new()
            }
            Entry::Command { command: Command::Observe { .. }, .. } => vec![Proposal::Observation],
            Entry::Command { command: Command::Place { .. }, .. } | Entry::Birth(_) => Vec::new(),
        };
        if applied.has_roster_changed {
            self.outputs.push_back(CoreOutput::Roster);
        }
        self.outputs.extend(applied.buried.into_iter().map(|latest| CoreOutput::Buried { latest }));
        if let Role::Leader(leadership) = &mut self.role {
            leadership.proposed.retain(|proposal| !decided.contains(proposal));
        }
        self.tell(told);
        self.begin_activations(now);
    }

    /// Goes on from an image: this core node is far behind, or has just started.
    fn install(&mut self, applied: usize, image: Image, now: Instant) {
        let Image::State(state) = image else { panic!("K3: the log begins with the birth, not with {image:?}") };
        let before = self.state.replace(*state);
        self.applied = applied;
        let state = self.state.as_ref().expect("it was put there");
        state.runs().for_each(|run| self.detector.expect(run, now));
        let version = |state: &State, group| state.group(group).map(|record| record.version());
        let groups = state.groups().map(|record| record.active().group);
        let is_changed =
            |group: &GroupId| before.as_ref().and_then(|before| version(before, *group)) != version(state, *group);
        let changed = groups.filter(is_changed).collect();
        let is_roster_new = before.as_ref().is_none_or(|before| before.roster() != state.roster());
        if is_roster_new {
            self.outputs.push_back(CoreOutput::Roster);
        }
        self.tell(changed);
    }

    fn tell(&mut self, groups: Vec<GroupId>) {
        let Some(state) = &self.state else { return };
        let news = groups.into_iter().filter_map(|group| Some((group, state.news(group)?)));
        self.outputs.extend(news.map(|(group, news)| CoreOutput::News { group, news }));
    }
}
