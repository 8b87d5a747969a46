//! Who is suspected: nodes that are silent, and leaders that have no quorum.
//!
//! Every node tells every core node once an interval that it lives ([`Heartbeat`]), whatever the number of its groups. The
//! leader of the core suspects a run it has not heard for the suspicion time, if more than half of the core nodes that it does
//! hear say the same: one bad link is no reason. A run that is heard but has not turned one of its CPUs for as long is
//! suspected too, and so is, for one group, a leader that says itself that it has had no quorum, and for all of them one whose clock
//! goes too fast or too slow ([`rates`]).
//!
//! # Time and units
//! The core node's monotonic clock, counted from when a heartbeat was received. A run that was never heard counts from when
//! the detector first knew of it, so that a new leader of the core suspects nobody at once, and every run from when this core node
//! went on after it had stood still.
//!
//! # Bounds
//! One entry a node.

use core::time::Duration;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::control::rates::{self, Rate};
use crate::ids::{GroupId, Incarnation, NodeId, ReplicaId};
use crate::time::Instant;

/// What a node says once an interval.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Heartbeat {
    /// Who says it.
    pub from: ReplicaId,
    /// How often each of its CPUs has turned since it started.
    pub turns: Vec<u64>,
    /// Groups that it leads and for which it has had no quorum for the length of a read lease.
    pub without_quorum: Vec<GroupId>,
    /// Nodes that it has not heard for the suspicion time; said by core nodes.
    pub silent: Vec<NodeId>,
    /// What its monotonic clock shows, in nanoseconds; only how fast it goes means anything to others.
    pub clock_ns: u64,
}

/// See the module.
#[derive(Debug)]
pub struct Detector {
    suspicion: Duration,
    /// The other core nodes.
    witnesses: Vec<NodeId>,
    nodes: BTreeMap<NodeId, Heard>,
}

#[derive(Debug)]
struct Heard {
    incarnation: Incarnation,
    at: Instant,
    /// By CPU: the count, and when it was first seen.
    turns: Vec<(u64, Instant)>,
    without_quorum: Vec<GroupId>,
    silent: Vec<NodeId>,
    rate: Rate,
}

impl Detector {
    /// Creates a detector that knows nobody. `witnesses` are the core nodes but the one it is for.
    #[must_use]
    pub fn new(suspicion: Duration, witnesses: Vec<NodeId>) -> Self {
        Self { suspicion, witnesses, nodes: BTreeMap::new() }
    }

    /// Knows of a run from now on, heard or not. An earlier run of its node is forgotten.
    pub fn expect(&mut self, run: ReplicaId, now: Instant) {
        if self.nodes.get(&run.node).is_none_or(|heard| heard.incarnation < run.incarnation) {
            let ReplicaId { node, incarnation } = run;
            let (turns, without_quorum, silent) = (Vec::new(), Vec::new(), Vec::new());
            let rate = Rate::default();
            self.nodes.insert(node, Heard { incarnation, at: now, turns, without_quorum, silent, rate });
        }
    }

    /// Takes a heartbeat. Those of earlier runs are dropped. Returns whether it says something that changes who is suspected.
    pub fn hear(&mut self, heartbeat: &Heartbeat, now: Instant) -> bool {
        let Heartbeat { from, turns, without_quorum, silent, clock_ns } = heartbeat;
        self.expect(*from, now);
        let heard = self.nodes.get_mut(&from.node).expect("it is expected");
        if heard.incarnation != from.incarnation {
            return false;
        }
        let was_late = now.since(heard.at) > self.suspicion;
        let has_news = was_late || heard.without_quorum != *without_quorum || heard.silent != *silent;
        let before = core::mem::take(&mut heard.turns);
        let seen = |(cpu, count): (usize, &u64)| match before.get(cpu) {
            Some((known, at)) if known == count => (*count, *at),
            Some(_) | None => (*count, now),
        };
        heard.turns = turns.iter().enumerate().map(seen).collect();
        heard.at = now;
        heard.rate.note(Instant(*clock_ns), now);
        heard.without_quorum.clone_from(without_quorum);
        heard.silent.clone_from(silent);
        has_news
    }

    /// Counts anew how long nobody was heard: this core node has stood still itself, and what it has not heard meanwhile says
    /// nothing.
    pub fn stood_still(&mut self, now: Instant) {
        for heard in self.nodes.values_mut() {
            heard.at = now;
            heard.turns.iter_mut().for_each(|(_, at)| *at = now);
        }
    }

    /// Returns the nodes that were not heard for the suspicion time, whatever others say.
    pub fn silent(&self, now: Instant) -> impl Iterator<Item = NodeId> {
        self.nodes.iter().filter(move |(_, heard)| self.is_late(heard.at, now)).map(|(node, _)| *node)
    }

    /// Returns when the next node has not been heard for the suspicion time, of those that had at `looked_at`.
    #[must_use]
    pub fn next_silence(&self, looked_at: Instant) -> Option<Instant> {
        let late_at =
            self.nodes.values().map(|heard| heard.at.saturating_add(self.suspicion + Duration::from_nanos(1)));
        late_at.filter(|at| *at > looked_at).min()
    }

    /// Whether a node was heard within the suspicion time.
    #[must_use]
    pub fn is_heard(&self, node: NodeId, now: Instant) -> bool {
        self.nodes.get(&node).is_some_and(|heard| !self.is_late(heard.at, now))
    }

    /// Whether a run is to be taken for dead, or stuck.
    #[must_use]
    pub fn is_suspected(&self, run: ReplicaId, now: Instant) -> bool {
        let Some(heard) = self.nodes.get(&run.node).filter(|heard| heard.incarnation == run.incarnation) else {
            // Another run of its node has been heard since, or nobody has ever spoken of it.
            return true;
        };
        // Counted between heartbeats: what a silent node does is not known.
        if heard.turns.iter().any(|(_, at)| self.is_late(*at, heard.at)) {
            return true;
        }
        if !self.is_late(heard.at, now) {
            return false;
        }
        let heard = self.witnesses.iter().filter(|node| **node != run.node).filter_map(|node| self.nodes.get(node));
        let heard: Vec<&Heard> = heard.filter(|witness| !self.is_late(witness.at, now)).collect();
        let agreeing = heard.iter().filter(|witness| witness.silent.contains(&run.node)).count();
        // The core node that asks is one of those who say so.
        2 * (agreeing + 1) > heard.len() + 1
    }

    /// Whether a run cannot lead a group: it says itself that it has no quorum, or its clock is `off`.
    #[must_use]
    pub fn is_unable(&self, leader: ReplicaId, group: GroupId, off: &BTreeMap<ReplicaId, i64>) -> bool {
        let heard = self.nodes.get(&leader.node).filter(|heard| heard.incarnation == leader.incarnation);
        heard.is_some_and(|heard| heard.without_quorum.contains(&group)) || off.contains_key(&leader)
    }

    /// Returns the runs whose clocks go too fast or too slow, and by how much, in parts per million of the clock here.
    #[must_use]
    pub fn clocks_off(&self, now: Instant) -> BTreeMap<ReplicaId, i64> {
        let heard = self.nodes.iter().filter(|(_, heard)| !self.is_late(heard.at, now));
        let rates = heard.filter_map(|(node, heard)| {
            let run = ReplicaId { node: *node, incarnation: heard.incarnation };
            Some((run, heard.rate.ppm()?))
        });
        let rates: Vec<_> = rates.collect();
        rates::off(&rates).collect()
    }

    fn is_late(&self, at: Instant, now: Instant) -> bool {
        now.since(at) > self.suspicion
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SUSPICION: Duration = Duration::from_millis(150);

    fn run(node: u16) -> ReplicaId {
        ReplicaId { node: NodeId(node), incarnation: Incarnation(1) }
    }

    fn ms(at: u64) -> Instant {
        Instant(at * 1_000_000)
    }

    fn beat(node: u16, turns: u64, silent: &[u16]) -> Heartbeat {
        let silent = silent.iter().map(|node| NodeId(*node)).collect();
        Heartbeat { from: run(node), turns: vec![turns], without_quorum: Vec::new(), silent, clock_ns: 0 }
    }

    #[test]
    fn a_silent_run_is_suspected_when_most_core_nodes_that_are_heard_say_so() {
        let mut detector = Detector::new(SUSPICION, vec![NodeId(2), NodeId(3)]);
        for node in [2, 3, 4] {
            detector.hear(&beat(node, 0, &[]), ms(0));
        }
        for (at, silent) in [(100, [].as_slice()), (200, &[])] {
            detector.hear(&beat(2, at, silent), ms(at));
            detector.hear(&beat(3, at, silent), ms(at));
        }
        assert!(!detector.is_suspected(run(4), ms(150)), "not longer than the suspicion time");
        assert!(!detector.is_suspected(run(4), ms(210)), "both others hear it: the link to it is bad");
        detector.hear(&beat(2, 250, &[4]), ms(250));
        assert!(detector.is_suspected(run(4), ms(260)), "two of three");
        assert!(!detector.is_suspected(run(3), ms(260)));
        assert!(detector.is_suspected(run(4), ms(390)), "node 3 is not heard either, so two of two");
    }

    #[test]
    fn a_run_is_not_suspected_before_it_had_the_time_to_be_heard() {
        let mut detector = Detector::new(SUSPICION, Vec::new());
        assert!(detector.is_suspected(run(1), ms(0)), "nobody has ever spoken of it");
        detector.expect(run(1), ms(1_000));
        assert!(!detector.is_suspected(run(1), ms(1_150)));
        assert!(detector.is_suspected(run(1), ms(1_151)));
    }

    #[test]
    fn a_run_that_is_heard_and_does_not_turn_is_suspected() {
        let mut detector = Detector::new(SUSPICION, Vec::new());
        for at in [0, 100, 200] {
            detector.hear(&beat(1, 7, &[]), ms(at));
        }
        assert!(detector.is_suspected(run(1), ms(201)));
        detector.hear(&beat(1, 8, &[]), ms(210));
        assert!(!detector.is_suspected(run(1), ms(211)));
    }

    #[test]
    fn who_has_stood_still_suspects_nobody_for_it() {
        let mut detector = Detector::new(SUSPICION, vec![NodeId(2), NodeId(3)]);
        for node in [2, 3, 4] {
            detector.hear(&beat(node, 0, &[2, 3, 4]), ms(0));
        }
        assert!(detector.is_suspected(run(4), ms(5_000)), "two others say so, as far as is known");
        detector.stood_still(ms(5_000));
        assert!(!detector.is_suspected(run(4), ms(5_150)) && detector.silent(ms(5_150)).count() == 0);
        assert!(detector.is_suspected(run(4), ms(5_151)));
    }

    #[test]
    fn what_an_earlier_run_says_counts_for_nothing() {
        let mut detector = Detector::new(SUSPICION, Vec::new());
        let later = ReplicaId { incarnation: Incarnation(2), ..run(1) };
        detector.expect(later, ms(0));
        detector.hear(&Heartbeat { without_quorum: vec![GroupId(0)], ..beat(1, 1, &[]) }, ms(100));
        assert!(detector.is_suspected(later, ms(160)), "it was not heard");
        assert!(detector.is_suspected(run(1), ms(100)), "it is gone");
        assert!(!detector.is_unable(run(1), GroupId(0), &BTreeMap::new()));
    }

    #[test]
    fn silence_and_what_changes_who_is_suspected_are_known_at_once() {
        let mut detector = Detector::new(SUSPICION, vec![NodeId(2)]);
        assert_eq!(detector.next_silence(ms(0)), None, "nobody is known");
        assert!(!detector.hear(&beat(1, 0, &[]), ms(10)));
        assert!(!detector.hear(&beat(2, 0, &[]), ms(20)));
        let first = Instant(ms(160).0 + 1);
        assert_eq!(detector.next_silence(ms(20)), Some(first));
        assert!(detector.silent(ms(160)).next().is_none() && detector.silent(first).eq([NodeId(1)]));
        assert!(detector.hear(&beat(2, 1, &[1]), ms(165)), "it says who is silent");
        assert!(!detector.hear(&beat(2, 2, &[1]), ms(170)), "once more");
        assert_eq!(detector.next_silence(first), Some(Instant(ms(320).0 + 1)), "the other one");
        assert!(detector.hear(&beat(1, 1, &[]), ms(180)), "it is back");
        assert!(detector.hear(&Heartbeat { without_quorum: vec![GroupId(0)], ..beat(1, 2, &[]) }, ms(190)));
    }

    #[test]
    fn a_run_whose_clock_goes_too_fast_leads_nothing() {
        let mut detector = Detector::new(SUSPICION, Vec::new());
        let mut at = 0;
        for _ in 0..400 {
            at += 37;
            for (node, permille) in [(1, 1_000), (2, 1_010), (3, 1_050)] {
                detector.hear(&Heartbeat { clock_ns: ms(at * permille / 1_000).0, ..beat(node, at, &[]) }, ms(at));
            }
        }
        let off = detector.clocks_off(ms(at));
        assert!(off.keys().eq([&run(3)]), "{off:?}");
        assert!(detector.is_unable(run(3), GroupId(0), &off) && !detector.is_unable(run(2), GroupId(0), &off));
        assert_eq!(detector.clocks_off(ms(at + 200)), BTreeMap::new(), "nobody is heard any more");
    }
}
