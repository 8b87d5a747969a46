//! What the leader knows of one other member, and what it sends it next.
//!
//! ```text
//!            connected              ack                    behind the start of the log
//!   Lost ───────────────▶ Probe ──────────▶ Replicate ───────────────▶ Snapshot
//!    ▲                    ▲  │ mismatch: lower │                          │ installed
//!    │ connection lost    │  ▼                 │ no ack for `probe_after` ▼
//!    └─────────(any)      └──────────◀─────────┴────────────────────── Replicate
//! ```
//!
//! A peer that does not answer fills its window and is sent nothing more; after `probe_after` it is down to one empty
//! append at a time. It never holds up the leader: what it misses leaves the log, and it gets a snapshot when it is back.
//!
//! # Time and units
//! Times are on the leader's clock.

use std::collections::VecDeque;

use crate::ids::{Incarnation, LogIndex, NodeId, ReplicaId};
use crate::machine::snapshot::SnapshotCursor;
use crate::message::StreamId;
use crate::planted::{self, rule};
use crate::replication::comparison::Compared;
use crate::time::Instant;

/// One other member of a group, as its leader sees it.
#[derive(Debug, Hash)]
pub(crate) struct Peer {
    pub(crate) node: NodeId,
    /// Whether a run of it is a member of the epoch that is led. If not, it is a learner, or a member of a change under way.
    pub(crate) is_member: bool,
    /// The incarnation that counts in quorums, once it is fixed. Another one of the same node is a learner.
    pub(crate) voter: Option<Incarnation>,
    /// The incarnation at the other end of the connection.
    pub(crate) present: Option<Incarnation>,
    /// Largest index the voter has acknowledged in this epoch. Stays when the voter is gone.
    pub(crate) voted: LogIndex,
    /// As `voter` and `voted`, in the epoch of a change that is under way.
    pub(crate) next_voter: Option<Incarnation>,
    pub(crate) next_voted: LogIndex,
    /// Largest index the present incarnation has acknowledged, since the last change began.
    pub(crate) matched: LogIndex,
    /// Latest send time that an incarnation has echoed, in any epoch of this leader, and which one.
    echo: Instant,
    echoed_by: Option<Incarnation>,
    /// The commit index it was told last.
    pub(crate) told_commit: LogIndex,
    /// When it last answered, or was first owed an answer.
    pub(crate) heard: Instant,
    pub(crate) progress: Progress,
    /// Its state, beside the leader's.
    pub(crate) compared: Compared,
    window: VecDeque<(LogIndex, usize)>,
    window_bytes: usize,
}

/// For which epoch an acknowledgement counts: the one it was sent in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tally {
    /// The one that is led.
    Current,
    /// The one that is led, while a change is under way. It counts, but says nothing about what is held by now: the peer may
    /// have followed another leader since, which had it cut what it acknowledges here.
    Before,
    /// The one of the change under way.
    Next,
}

/// What a peer is sent next.
#[derive(Debug, Hash)]
pub(crate) enum Progress {
    /// There is no connection.
    Lost,
    /// The matching point is unknown: at most one append, without entries, in flight.
    Probe {
        /// The append says what lies before this index.
        next: LogIndex,
        /// Whether it is in flight.
        is_sent: bool,
    },
    /// The matching point is known: appends are pipelined up to the window.
    Replicate {
        /// First entry not yet sent.
        next: LogIndex,
    },
    /// It is behind the start of the log.
    Snapshot(SnapshotSend),
}

/// A snapshot on its way.
#[derive(Debug, Hash)]
pub(crate) struct SnapshotSend {
    pub(crate) stream: StreamId,
    pub(crate) base: crate::ids::EntryId,
    /// First entry behind the snapshot's base not yet sent.
    pub(crate) next: LogIndex,
    pub(crate) cursor: SnapshotCursor,
    /// Chunks sent and chunks acknowledged.
    pub(crate) sent: u32,
    pub(crate) acked: u32,
    pub(crate) is_complete: bool,
}

impl Peer {
    pub(crate) fn new(node: NodeId) -> Self {
        Self {
            node,
            is_member: true,
            voter: None,
            present: None,
            voted: LogIndex(0),
            next_voter: None,
            next_voted: LogIndex(0),
            matched: LogIndex(0),
            echo: Instant(0),
            echoed_by: None,
            told_commit: LogIndex(0),
            heard: Instant(0),
            progress: Progress::Lost,
            compared: Compared::default(),
            window: VecDeque::with_capacity(64),
            window_bytes: 0,
        }
    }

    /// Returns the replica at the other end of the connection.
    pub(crate) fn replica(&self) -> Option<ReplicaId> {
        self.present.map(|incarnation| ReplicaId { node: self.node, incarnation })
    }

    /// Whether the replica at the other end of the connection counts in quorums.
    pub(crate) fn is_voter_present(&self) -> bool {
        self.present.is_some() && self.present == self.voter
    }

    /// Whether the replica at the other end of the connection copies the log without being counted, and another run of its
    /// node is a voter.
    pub(crate) fn is_learner_present(&self) -> bool {
        self.present.is_some() && self.voter.is_some() && self.present != self.voter
    }

    /// Notes a new connection: nothing is known of what the other end holds.
    pub(crate) fn on_connected(&mut self, incarnation: Incarnation, last: LogIndex, now: Instant) {
        if self.present != Some(incarnation) {
            self.matched = LogIndex(0);
        }
        self.present = Some(incarnation);
        self.compared.begin(incarnation);
        self.begin_probe(last.next(), now);
    }

    /// Has this incarnation count in quorums, and nothing that another one has said.
    pub(crate) fn count(&mut self, incarnation: Incarnation) {
        if self.voter != Some(incarnation) {
            (self.voter, self.voted) = (Some(incarnation), LogIndex(0));
        }
    }

    /// Has no incarnation count in quorums.
    pub(crate) fn count_none(&mut self) {
        (self.voter, self.voted) = (None, LogIndex(0));
    }

    pub(crate) fn on_lost(&mut self) {
        self.present = None;
        self.progress = Progress::Lost;
        self.clear_window();
    }

    pub(crate) fn begin_probe(&mut self, next: LogIndex, now: Instant) {
        self.progress = Progress::Probe { next, is_sent: false };
        self.told_commit = LogIndex(0);
        self.heard = now;
        self.clear_window();
    }

    /// Begins the count for a change: which incarnation will be a voter, if any.
    pub(crate) fn begin_next(&mut self, voter: Option<Incarnation>) {
        (self.next_voter, self.next_voted) = (voter, LogIndex(0));
    }

    /// A change begins: nothing is known any more of what it holds, and a probe whose answer would say so is sent again.
    pub(crate) fn forget_matched(&mut self) {
        self.matched = LogIndex(0);
        if let Progress::Probe { is_sent, .. } = &mut self.progress {
            *is_sent = false;
        }
    }

    /// The change is active: what counted for it counts.
    pub(crate) fn enter_next(&mut self) {
        (self.voter, self.voted) = (self.next_voter, self.next_voted);
        self.begin_next(None);
    }

    /// Returns the latest send time that `voter` has echoed.
    pub(crate) fn echo_of(&self, voter: Option<Incarnation>) -> Instant {
        if voter.is_some() && voter == self.echoed_by { self.echo } else { Instant(0) }
    }

    /// Notes an acknowledgement of the live log, given in the epoch that `tally` names.
    pub(crate) fn on_ack(&mut self, tally: Tally, matched: LogIndex, sent: Instant, now: Instant) {
        self.heard = now;
        if self.present != self.echoed_by {
            (self.echo, self.echoed_by) = (Instant(0), self.present);
        }
        self.echo = self.echo.max(sent);
        // I3: nothing counts that a replica outside the configuration has said.
        match tally {
            Tally::Current | Tally::Before
                if self.is_voter_present() || planted::is(14) || planted::is(rule::MEMBERS_COUNT) =>
            {
                self.voted = self.voted.max(matched);
            }
            Tally::Next if self.present.is_some() && self.present == self.next_voter => {
                self.next_voted = self.next_voted.max(matched);
            }
            Tally::Current | Tally::Before | Tally::Next => {}
        }
        if tally == Tally::Before {
            return self.shrink_window(matched);
        }
        self.matched = self.matched.max(matched);
        self.go_on(matched, now);
    }

    /// Is sent what lies behind what it has acknowledged.
    pub(crate) fn go_on(&mut self, matched: LogIndex, now: Instant) {
        self.heard = now;
        self.shrink_window(matched);
        match &mut self.progress {
            Progress::Probe { .. } => self.progress = Progress::Replicate { next: matched.next() },
            Progress::Replicate { next } => *next = (*next).max(matched.next()),
            Progress::Snapshot(_) | Progress::Lost => {}
        }
    }

    /// Notes entries sent, to be acknowledged up to `last`.
    pub(crate) fn on_sent(&mut self, last: LogIndex, bytes: usize, now: Instant) {
        if self.window.is_empty() {
            self.heard = now;
        }
        self.window.push_back((last, bytes));
        self.window_bytes += bytes;
    }

    pub(crate) fn shrink_window(&mut self, matched: LogIndex) {
        while let Some((_, bytes)) = self.window.pop_front_if(|(last, _)| *last <= matched) {
            self.window_bytes -= bytes;
        }
    }

    pub(crate) fn clear_window(&mut self) {
        self.window.clear();
        self.window_bytes = 0;
    }

    /// Returns how many more bytes may be sent before an acknowledgement.
    pub(crate) fn window_left(&self, window_bytes: usize) -> usize {
        window_bytes.saturating_sub(self.window_bytes)
    }

    /// Whether it owes an answer.
    pub(crate) fn owes_answer(&self) -> bool {
        match &self.progress {
            Progress::Lost => false,
            Progress::Probe { is_sent, .. } => *is_sent,
            Progress::Replicate { .. } => !self.window.is_empty(),
            Progress::Snapshot(_) => true,
        }
    }
}
