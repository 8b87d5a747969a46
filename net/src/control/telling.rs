//! Performs what the core here wants done, and tells other nodes what it has decided and what has happened.

use std::collections::BTreeMap;
use std::time::Duration;

use omnipaxos::messages::Message;
use quorate_engine::control::core::{Core, CoreOutput};
use quorate_engine::control::journal::{Journal, Recorded};
use quorate_engine::control::roster::{Roster, Unwelcome};
use quorate_engine::control::state::{Hope, State};
use quorate_engine::ids::{GroupId, NodeId, ReplicaId};
use quorate_engine::time::Instant;

use super::Control;
use super::standing::Part;
use super::visitors::Visitor;
use super::words::{FromCore, ToCore, encode};
use crate::transport::ConnId;

/// Events in one frame.
const EVENTS_PER_FRAME: usize = 128;
/// How long after it has told nodes of events the leader of the core tells them of the next ones: so what is written to the core all
/// the time costs each node by the clock, and a commit takes no longer the more nodes there are.
const LEADER_TELLS_EVERY: Duration = Duration::from_millis(20);
/// As long another node of the core waits, which tells the same for those that do not hear the leader.
const OTHERS_TELL_EVERY: Duration = Duration::from_millis(200);

impl Control {
    /// Performs what the core here wants done.
    pub(super) fn perform(&mut self) {
        let Part::Core(core, _) = &mut self.part else { return };
        let outputs: Vec<CoreOutput> = core.drain_outputs().collect();
        for output in outputs {
            match output {
                CoreOutput::Send { to, era, message } => {
                    match *message {
                        Message::SequencePaxos(_) => self.said.log += 1,
                        Message::BLE(_) => self.said.election += 1,
                    }
                    self.say_to(to, &ToCore::Consensus { era, message });
                }
                CoreOutput::ShowEra { to, era } => self.say_to(to, &ToCore::Era(era)),
                CoreOutput::Replaced => self.end_replaced(),
                CoreOutput::Registered { run, nonce } => {
                    self.say_to_node(run.node, &FromCore::Registered { run, nonce });
                    self.hear_registered(run, nonce);
                }
                CoreOutput::Buried { latest } => {
                    self.say_to_node(latest.node, &FromCore::Current { run: latest });
                    self.hear_current(latest);
                }
                CoreOutput::Operated { to, number, outcome } => {
                    self.say_to_node(to.node, &FromCore::Operated { to, number, outcome: outcome.clone() });
                    self.hear_outcome(to, number, outcome);
                }
                CoreOutput::Unwelcome { node, why } => {
                    self.say_to_node(node, &FromCore::Unwelcome(why));
                    if node == self.facts.node {
                        self.hear_unwelcome(why);
                    }
                }
                CoreOutput::Roster => {
                    let Some(roster) = self.core().and_then(Core::state).map(State::roster).cloned() else { continue };
                    self.say_to_all(&roster_words(&roster));
                    let removed: Vec<NodeId> = roster.removed().iter().copied().collect();
                    self.hear_roster(roster.version(), roster.doors(), &removed);
                }
                CoreOutput::News { group, news } => {
                    let missing = self.core().and_then(Core::state).map_or(Vec::new(), |state| missing(state, group));
                    self.say_to_all(&FromCore::News { group, news: Box::new(news.clone()), missing: missing.clone() });
                    self.hear_news(group, news, missing);
                }
            }
        }
        self.tell_events();
    }

    /// Says something to all nodes that are connected to this one.
    fn say_to_all(&mut self, words: &FromCore) {
        let known = self.visitors.iter().filter(|visitor| visitor.node.is_some());
        let conns: Vec<ConnId> = known.map(|visitor| visitor.conn).collect();
        self.said.news += conns.len() as u64;
        let mut frame = Vec::new();
        encode(words, &mut frame);
        conns.into_iter().for_each(|conn| self.send_frame(conn, &frame));
    }

    /// Copies what has happened, and tells visitors what they were not told yet, if that is due.
    pub(super) fn tell_events(&mut self) {
        let Part::Core(core, _) = &self.part else { return };
        let Some(journal) = core.state().map(State::journal) else { return };
        if journal.next() > self.next_event {
            if let Some(state) = core.state() {
                self.shared.exchange.set_nodes(state.runs().map(|run| (run, !state.down().contains(&run))));
            }
            let events: Vec<Recorded> = journal.from(self.next_event).cloned().collect();
            self.next_event = self.hear_events(&events);
        }
        if self.events_due().is_none_or(|due| self.now < due) {
            return;
        }
        self.told_events_at = self.now;
        let Part::Core(core, _) = &self.part else { return };
        let Some(journal) = core.state().map(State::journal) else { return };
        // Most were told the same before.
        let mut frames: BTreeMap<u64, Vec<u8>> = BTreeMap::new();
        let mut due: Vec<(ConnId, u64)> = Vec::new();
        for Visitor { conn, next_event, .. } in &mut self.visitors {
            let Some(next) = next_event.as_mut().filter(|next| **next < journal.next()) else { continue };
            frames.entry(*next).or_insert_with(|| event_frames(journal, *next));
            due.push((*conn, core::mem::replace(next, journal.next())));
        }
        self.said.events += due.len() as u64;
        due.iter().for_each(|(conn, next)| self.send_frame(*conn, &frames[next]));
    }

    /// Returns when visitors are told of events, if there are some that they were not told.
    pub(super) fn events_due(&self) -> Option<Instant> {
        let core = self.core()?;
        let next = core.state()?.journal().next();
        let pause = if core.is_leader() { LEADER_TELLS_EVERY } else { OTHERS_TELL_EVERY };
        let mut untold = self.visitors.iter().filter_map(|visitor| visitor.next_event);
        untold.any(|untold| untold < next).then_some(self.told_events_at.saturating_add(pause))
    }

    fn end_replaced(&self) -> ! {
        tracing::error!(
            node = self.facts.node.0,
            "another store has taken the place of this one in the consistent core, and what this one says counts for nothing any \
             more: the node stops; to take it back as it is now, empty its node.data_dir and start it without --create"
        );
        std::process::exit(1);
    }

    /// Tells a node that has just connected all there is to know.
    pub(super) fn tell_all(&mut self, conn: ConnId, node: NodeId) {
        let Some(state) = self.core().and_then(Core::state) else { return };
        let roster = state.roster();
        let unwelcome = roster.removed().contains(&node).then_some(FromCore::Unwelcome(Unwelcome::Removed));
        let current = state.latest(node).map(|run| FromCore::Current { run });
        let roster = (roster.version() > 0).then(|| roster_words(roster));
        let news = self.facts.groups().filter_map(|group| state.news(group).map(|news| (group, news)));
        let news = news.map(|(group, news)| {
            let missing = missing(state, group);
            FromCore::News { group, news: Box::new(news), missing }
        });
        let words: Vec<FromCore> = unwelcome.into_iter().chain(current).chain(roster).chain(news).collect();
        self.said.news += words.len() as u64;
        words.iter().for_each(|words| self.send(conn, words));
    }
}

/// Returns what nodes are told of the roster.
fn roster_words(roster: &Roster) -> FromCore {
    let removed = roster.removed().iter().copied().collect();
    FromCore::Roster { version: roster.version(), doors: roster.doors().clone(), removed }
}

/// Returns the members of a group that are gone, if it cannot be led again without them.
fn missing(state: &State, group: GroupId) -> Vec<ReplicaId> {
    match state.hope(group) {
        Hope::Some => Vec::new(),
        Hope::Lost { missing } => missing,
    }
}

/// Returns what tells of all events from this index on.
fn event_frames(journal: &Journal, next: u64) -> Vec<u8> {
    let events: Vec<Recorded> = journal.from(next).cloned().collect();
    let mut frames = Vec::new();
    events.chunks(EVENTS_PER_FRAME).for_each(|page| encode(&FromCore::Events(page.to_vec()), &mut frames));
    frames
}
