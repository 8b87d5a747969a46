//! What this run of the node says to the core by itself, and what it hears of itself: its name, that it lives, what its
//! engines ask, what there is to know about groups.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use quorate_engine::control::core::CoreInput;
use quorate_engine::control::detector::Heartbeat;
use quorate_engine::control::journal::{Event, Recorded};
use quorate_engine::control::record::News;
use quorate_engine::control::roster::{Doors, Unwelcome};
use quorate_engine::ids::{GroupId, NodeId, ReplicaId};

use super::Control;
use super::exchange::GroupNews;
use super::standing::Part;
use super::words::ToCore;
use crate::clock;
use crate::node::members::Members;

/// How long a registration may stay unanswered before it is said again.
pub(super) const REGISTER_EVERY: Duration = Duration::from_millis(100);

impl Control {
    /// Whether this run is to be registered. One that may have lost its disk first finds out whether it is who it says.
    pub(super) fn is_registering(&self) -> bool {
        self.run.is_none() && !matches!(self.part, Part::Meeting(..))
    }

    /// Says that the node lives.
    pub(super) fn beat(&mut self) {
        let Some(from) = self.run else { return };
        let turns = self.shared.all_counters().map(|counters| counters.turns.load(Ordering::Relaxed)).collect();
        let without_quorum = self.shared.exchange.unled();
        let silent = self.core().map_or(Vec::new(), |core| core.silent(self.now));
        self.said_silent.clone_from(&silent);
        let heartbeat = Heartbeat { from, turns, without_quorum, silent, clock_ns: clock::now().0 };
        // One that sleeps because there is nothing to do has turned before the next heartbeat, if it can.
        self.shared.exchange.wake_cpus();
        self.say_to_core(&ToCore::Heartbeat(heartbeat.clone()));
        self.input(CoreInput::Heartbeat(heartbeat));
    }

    pub(super) fn pass_on_asks(&mut self) {
        let Some(from) = self.run else { return };
        for (group, ask) in self.shared.exchange.take_asks() {
            self.say_to_core(&ToCore::Ask { from, group, ask });
            self.input(CoreInput::Ask { from, group, ask });
        }
    }

    pub(super) fn hear_registered(&mut self, run: ReplicaId, nonce: u64) {
        if run.node == self.facts.node && nonce == self.nonce && self.run.is_none() {
            tracing::info!(node = run.node.0, incarnation = run.incarnation.0, "registered with the consistent core");
            self.run = Some(run);
            self.shared.exchange.post_run(run);
            self.beat_at = self.now;
        }
        self.hear_current(run);
    }

    /// Ends this process if another one has taken its place: whatever it said would be dropped.
    pub(super) fn hear_current(&self, current: ReplicaId) {
        let Some(own) = self.run else { return };
        if current.node == own.node && current.incarnation > own.incarnation {
            tracing::error!(
                node = own.node.0,
                own = own.incarnation.0,
                other = current.incarnation.0,
                "this run of the node counts for nothing any more, and stops: another process has been registered as this node \
                 (each needs a node.id of its own), an operator has declared this one dead with `core accept-loss`, or the \
                 consistent core was restored by a node that knew nothing of it; started again, it is a new one"
            );
            std::process::exit(1);
        }
    }

    /// Leaves a node of the core alone for a while that hears another process of this node. It closes the connection.
    pub(super) fn hear_occupied(&mut self, by: NodeId) {
        let suspicion = self.facts.settings.replication().suspicion;
        let Some(link) = self.links.iter_mut().find(|link| link.node == by) else { return };
        link.retry_at = self.now.saturating_add(2 * suspicion);
        if !core::mem::replace(&mut link.is_occupied_said, true) {
            tracing::warn!(
                node = self.facts.node.0,
                by = by.0,
                "the consistent core hears another process of this node, and this one has an empty node.data_dir: it waits until \
                 the other one has ended"
            );
        }
    }

    /// Ends this process if its node does not belong to the cluster.
    pub(super) fn hear_unwelcome(&self, why: Unwelcome) -> ! {
        tracing::error!(node = self.facts.node.0, "{why}; the process stops");
        std::process::exit(1);
    }

    /// Copies what the core has recorded, and says what concerns this run alone. Returns the index that the next event will have.
    pub(super) fn hear_events(&self, events: &[Recorded]) -> u64 {
        let known = self.shared.exchange.journal().next();
        for recorded in events.iter().filter(|recorded| recorded.index >= known) {
            match &recorded.event {
                Event::ClockOff { run, ppm } if self.run == Some(*run) => tracing::error!(
                    node = run.node.0,
                    ppm,
                    "the clock of this node goes too fast or too slow beside those of the others: leases cannot rest on it, so the \
                     node leads nothing until it goes right; look at the time source of this machine"
                ),
                Event::ClockRight { run } if self.run == Some(*run) => {
                    tracing::info!(node = run.node.0, "the clock of this node goes right again: it may lead");
                }
                _ => {}
            }
        }
        self.shared.exchange.record(events.iter())
    }

    pub(super) fn hear_roster(&mut self, version: u64, doors: &BTreeMap<NodeId, Doors>, removed: &[NodeId]) {
        if version > self.roster_version {
            self.roster_version = version;
            self.members = Arc::new(Members::told(&self.facts, doors, removed));
            self.shared.exchange.post_members(&self.members);
        }
    }

    pub(super) fn hear_news(&mut self, group: GroupId, news: News, missing: Vec<ReplicaId>) {
        let Some(known) = self.versions.get_mut(group.0 as usize) else { return };
        if *known < news.version {
            *known = news.version;
            let news = GroupNews { news: Arc::new(news), missing: missing.into() };
            self.shared.exchange.post_news(group, &news);
        }
    }
}
