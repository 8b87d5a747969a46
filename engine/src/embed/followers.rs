//! The thread of the two followers: it takes what the leader sends to each, and answers before it turns to the other.

use std::sync::Arc;

use super::codec;
use super::control::{Inbox, NodeStatus, Query};
use super::idle::Bed;
use super::link::{Inlet, Outlet};
use crate::engine::{Engine, Input};
use crate::ids::{NodeId, ReplicaId};
use crate::message::Message;
use crate::output::{Output, Outputs};
use crate::time::Instant;

/// Records that one replica handles before it answers and the other has its turn.
const RECORDS_PER_TURN: usize = 32;

/// Turns between two looks at the inbox.
const TURNS_PER_LOOK: u32 = 64;

/// What the thread is asked.
#[derive(Debug)]
pub(super) enum Ask {
    Query(Query),
    Stop,
}

impl From<Query> for Ask {
    fn from(query: Query) -> Self {
        Self::Query(query)
    }
}

/// One follower and its two links with the leader.
#[derive(Debug)]
pub(super) struct Follower {
    pub(super) node: NodeId,
    pub(super) leader: ReplicaId,
    pub(super) engine: Engine,
    pub(super) inlet: Inlet,
    pub(super) outlet: Outlet,
    /// The leader's clock when it sent what came last. It is this machine's clock too, and a follower decides nothing
    /// by time, so it does not read one of its own.
    pub(super) now: Instant,
}

impl Follower {
    /// Handles what the leader has sent; returns whether there was anything. The leader gets its answer before what is
    /// committed is applied.
    fn turn(&mut self, leader_bed: &Bed) -> bool {
        let Self { leader, engine, inlet, outlet, now, .. } = self;
        let count = inlet.poll(RECORDS_PER_TURN, |record| {
            let envelope = codec::read(record, *leader).expect("links carry what the codec wrote");
            if let Message::Append(append) = &envelope.message {
                *now = append.sent.max(*now);
            }
            // What comes of it is taken below: it stays queued.
            let _ = engine.handle(*now, Input::Message(envelope));
        });
        if count == 0 && !engine.has_work() {
            return false;
        }
        perform(engine.flush(), outlet);
        leader_bed.wake();
        perform(engine.end_turn(*now), outlet);
        true
    }
}

fn perform(outputs: Outputs<'_>, outlet: &mut Outlet) {
    for output in outputs {
        if let Output::Send { group, epoch, message, .. } = output {
            // If there is no room it is lost: the leader asks again.
            let _ = codec::push(outlet, group, epoch, &message);
        }
    }
}

/// See the module.
#[derive(Debug)]
pub(super) struct Followers {
    pub(super) replicas: Vec<Follower>,
    pub(super) inbox: Arc<Inbox<Ask>>,
    pub(super) bed: Arc<Bed>,
    pub(super) leader_bed: Arc<Bed>,
}

impl Followers {
    /// Works until it is asked to stop, and everything that was sent before is handled.
    pub(super) fn run(mut self) -> Vec<NodeStatus> {
        let (mut turns, mut empty_turns) = (0_u32, 0);
        loop {
            turns = turns.wrapping_add(1);
            let mut has_slept = false;
            if self.turn() {
                empty_turns = 0;
            } else {
                empty_turns += 1;
                let Self { replicas, inbox, bed, .. } = &self;
                let has_work = || !inbox.is_empty() || replicas.iter().any(|replica| !replica.inlet.is_empty());
                has_slept = bed.rest(empty_turns, || None, has_work);
            }
            if (has_slept || turns.is_multiple_of(TURNS_PER_LOOK)) && self.answer_asks() {
                break;
            }
        }
        self.inbox.close();
        while self.turn() {}
        let status = |replica: &Follower| NodeStatus { node: replica.node, groups: replica.engine.status() };
        self.replicas.iter().map(status).collect()
    }

    fn turn(&mut self) -> bool {
        let mut has_worked = false;
        for replica in &mut self.replicas {
            has_worked |= replica.turn(&self.leader_bed);
        }
        has_worked
    }

    /// Answers what was asked; returns whether that was to stop.
    fn answer_asks(&mut self) -> bool {
        while let Some(ask) = self.inbox.take() {
            match ask {
                Ask::Query(query) => query.answer(self.replicas.iter().map(|replica| (replica.node, &replica.engine))),
                Ask::Stop => return true,
            }
        }
        false
    }
}
