//! What has happened in the cluster, in one order that all core nodes agree on: the stream of events.
//!
//! Each event has an index, without gaps but for the one that restoring the core makes, from 1 on. Whoever has read up to an index can go on from there, at any node. An event
//! is recorded with the command that it follows from, so that it is there exactly if that was decided.
//!
//! # Time and units
//! Milliseconds since the Unix epoch, by the wall clock of the core node that proposed the command; for people to read. Nothing is
//! decided by it, and it may jump and fall.
//!
//! # Bounds
//! The latest [`EVENTS_MAX`] events are kept. Whoever wants earlier ones is told which is the first.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use crate::control::state::JUMP;
use crate::ids::{Epoch, GroupId, LogIndex, NodeId, ReplicaId};

/// How many events are kept.
pub const EVENTS_MAX: usize = 4096;

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Journal {
    /// How many events came before those that are kept.
    gone: u64,
    events: VecDeque<Recorded>,
}

/// One event.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Recorded {
    /// Its place in the stream, from 1 on.
    pub index: u64,
    /// When it was proposed; 0 if that is not known.
    pub at_ms: u64,
    /// What happened.
    pub event: Event,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "event")]
pub enum Event {
    /// A process has registered as a new run of its node. An earlier one is gone for good.
    NodeUp {
        /// The run.
        run: ReplicaId,
    },
    /// A run is not heard, or does not turn: the leader of the core and more than half of its nodes that it hears say so.
    NodeDown {
        /// The run.
        run: ReplicaId,
    },
    /// A run that was down is heard again, with its memory.
    NodeBack {
        /// The run.
        run: ReplicaId,
    },
    /// The clock of a run goes too fast or too slow for the leases that rest on it: it leads nothing. With two nodes that can be
    /// compared it may be the other one.
    ClockOff {
        /// The run.
        run: ReplicaId,
        /// By how much, in parts per million of the clock of the core's leader.
        ppm: i64,
    },
    /// It goes right again.
    ClockRight {
        /// The run.
        run: ReplicaId,
    },
    /// Another leader is to take over a group.
    TakeoverBegan {
        /// The group.
        group: GroupId,
        /// The epoch it is to lead in.
        epoch: Epoch,
        /// Who led before.
        from: ReplicaId,
        /// Who is to.
        to: ReplicaId,
        /// Why.
        reason: Reason,
    },
    /// Another run leads a group from now on.
    LeaderChanged {
        /// The group.
        group: GroupId,
        /// The epoch it leads in.
        epoch: Epoch,
        /// Which one.
        leader: ReplicaId,
    },
    /// Who took over says how long each step took, on its own clock.
    TookOver {
        /// The group.
        group: GroupId,
        /// The epoch it leads in.
        epoch: Epoch,
        /// The steps.
        steps: Steps,
    },
    /// A run copies a group, and is not counted.
    ResyncStarted {
        /// The group.
        group: GroupId,
        /// The run.
        replica: ReplicaId,
    },
    /// A run is counted: it holds what the group does.
    ResyncDone {
        /// The group.
        group: GroupId,
        /// The run.
        replica: ReplicaId,
    },
    /// A run is not counted any more.
    MemberLeft {
        /// The group.
        group: GroupId,
        /// The run.
        replica: ReplicaId,
    },
    /// A group cannot be led again without these runs, which are gone.
    Unavailable {
        /// The group.
        group: GroupId,
        /// The runs.
        missing: Vec<ReplicaId>,
    },
    /// An operator has accepted that what these runs held alone is lost; they count for dead.
    LossAccepted {
        /// The group.
        group: GroupId,
        /// Its loss generation, once it is led again.
        loss_gen: u64,
        /// The runs.
        missing: Vec<ReplicaId>,
    },
    /// A replica gave up what it held, as that was lost with an operator's word.
    Forgotten {
        /// The group.
        group: GroupId,
        /// The run.
        replica: ReplicaId,
        /// The last entry that it knew to be committed.
        commit: LogIndex,
    },
    /// The state of a replica became wrong between two entries: it takes no part in quorums and reads.
    ReplicaDiverged {
        /// The group.
        group: GroupId,
        /// The run.
        replica: ReplicaId,
        /// From this entry on it may have been wrong.
        first: LogIndex,
        /// It was by then.
        last: LogIndex,
    },
    /// A replica that had diverged has copied the state of its leader, and counts again.
    ReplicaResynchronised {
        /// The group.
        group: GroupId,
        /// The run.
        replica: ReplicaId,
        /// The entry at which it is whole.
        at: LogIndex,
    },
    /// A replica that has diverged is not repaired by itself: its node refuses to serve the group.
    ManualInterventionRequired {
        /// The group.
        group: GroupId,
        /// The run.
        replica: ReplicaId,
        /// Why, in words.
        why: String,
    },
    /// A node that the cluster did not have has registered.
    NodeJoined {
        /// Which one.
        node: NodeId,
    },
    /// An operator wants a node to hold nothing: it gives up what it leads, and then what it holds.
    DrainBegan {
        /// Which one.
        node: NodeId,
    },
    /// A node that was to hold nothing is no member of any group any more.
    Drained {
        /// Which one.
        node: NodeId,
    },
    /// A node that was to hold nothing is to hold groups again: it has started anew, or an operator wants it.
    DrainEnded {
        /// Which one.
        node: NodeId,
    },
    /// An operator has taken a node out of the cluster.
    NodeRemoved {
        /// Which one.
        node: NodeId,
    },
    /// Another store has taken the place of the one that a core node has lost.
    StoreReplaced {
        /// Which one.
        node: NodeId,
    },
    /// Most nodes of the core had lost their stores: it goes on from what one of them knows.
    CoreRestored {
        /// Which one.
        by: NodeId,
    },
    /// A key of the core was stored.
    Stored {
        /// The key.
        key: String,
        /// Its version.
        version: u64,
    },
}

/// Why somebody else is to lead.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// The leader's run is gone: its node has started anew.
    LeaderGone,
    /// The leader is down.
    LeaderDown,
    /// The leader has no quorum, or the group moves.
    LeaderMoved,
}

/// How long the steps of a takeover took, in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Steps {
    /// From hearing of it until enough others had promised and the log was there.
    pub adopted_us: u64,
    /// From then until enough members held it and all leases had run out.
    pub held_us: u64,
    /// From then until the core had made it so.
    pub activated_us: u64,
}

impl Event {
    /// Whether it is for a node to say that it happened, rather than for the core to decide.
    pub(super) fn is_report(&self) -> bool {
        matches!(
            self,
            Self::TookOver { .. }
                | Self::Forgotten { .. }
                | Self::ReplicaDiverged { .. }
                | Self::ReplicaResynchronised { .. }
                | Self::ManualInterventionRequired { .. }
        )
    }
}

impl Journal {
    /// Returns the index of the first event that is kept, or would be.
    #[must_use]
    pub fn first(&self) -> u64 {
        self.gone + 1
    }

    /// Returns the index that the next event will have.
    #[must_use]
    pub fn next(&self) -> u64 {
        self.first() + self.events.len() as u64
    }

    /// Returns the events from an index on, or from the first that is kept if that is later.
    pub fn from(&self, index: u64) -> impl Iterator<Item = &Recorded> {
        let skipped = index.saturating_sub(self.first());
        self.events.iter().skip(usize::try_from(skipped).unwrap_or(usize::MAX))
    }

    /// Records an event.
    pub(super) fn record(&mut self, at_ms: u64, event: Event) {
        let index = self.next();
        self.push(Recorded { index, at_ms, event });
    }

    /// Takes over an event that was recorded elsewhere, if it is the next one; if events before it are gone there, what is here
    /// is dropped. Returns whether it was new.
    pub fn copy(&mut self, recorded: &Recorded) -> bool {
        if recorded.index < self.next() {
            return false;
        }
        if recorded.index > self.next() {
            *self = Self { gone: recorded.index - 1, events: VecDeque::new() };
        }
        self.push(recorded.clone());
        true
    }

    /// Goes on far ahead, with nothing: there may have been events behind the last one that is known.
    pub(super) fn jump(&mut self) {
        *self = Self { gone: (self.next() - 1).saturating_add(JUMP), events: VecDeque::new() };
    }

    fn push(&mut self, recorded: Recorded) {
        if self.events.len() >= EVENTS_MAX {
            self.events.pop_front();
            self.gone += 1;
        }
        self.events.push_back(recorded);
    }

    /// Whether the indexes of what was read have no gaps.
    pub(super) fn is_sound(&self) -> bool {
        let indexes = self.events.iter().map(|recorded| recorded.index);
        self.events.len() <= EVENTS_MAX && indexes.eq((self.gone..).map(|gone| gone + 1).take(self.events.len()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored(version: u64) -> Event {
        Event::Stored { key: String::from("k"), version }
    }

    #[test]
    fn events_are_numbered_without_gaps_and_the_oldest_go() {
        let mut journal = Journal::default();
        assert_eq!((journal.first(), journal.next()), (1, 1));
        let count = EVENTS_MAX as u64 + 10;
        (1..=count).for_each(|version| journal.record(7, stored(version)));
        assert_eq!((journal.first(), journal.next()), (11, count + 1));
        assert!(journal.from(0).map(|recorded| recorded.index).eq(11..=count));
        assert!(journal.from(count).map(|recorded| recorded.event.clone()).eq([stored(count)]));
        assert_eq!(journal.from(count + 1).count(), 0);
        assert!(journal.is_sound());
    }

    #[test]
    fn a_copy_takes_each_event_once_and_goes_on_behind_a_gap() {
        let mut journal = Journal::default();
        (1..=5).for_each(|version| journal.record(7, stored(version)));
        let mut copy = Journal::default();
        assert!(journal.from(1).all(|recorded| copy.copy(recorded)));
        assert!(!journal.from(1).any(|recorded| copy.copy(recorded)), "from another core node");
        assert_eq!(copy, journal);
        let late = Recorded { index: 9, at_ms: 7, event: stored(9) };
        assert!(copy.copy(&late));
        assert_eq!((copy.first(), copy.next()), (9, 10));
    }

    #[test]
    fn an_event_that_travels_says_its_name() {
        let recorded = Recorded { index: 3, at_ms: 7, event: stored(2) };
        let text = serde_json::to_string(&recorded).expect("plain data");
        assert_eq!(text, r#"{"index":3,"at_ms":7,"event":{"event":"stored","key":"k","version":2}}"#);
        assert_eq!(serde_json::from_str::<Recorded>(&text).expect("as written"), recorded);
    }
}
