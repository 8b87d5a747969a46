//! Whether a leader that serves still hears a write quorum.
//!
//! A connection that stands says little: a peer that is paused or cut off keeps it for a long time. What counts is what comes
//! back. A leader that waits for acknowledgements asks its members once nothing that it sent lately was echoed by a write
//! quorum, one that waits for its lease at once. Without an answer it takes them for unreachable: it refuses what comes, before it is
//! appended, and goes on asking. What was appended before stays, and may commit when they are heard again.
//!
//! ```text
//!          no echo for a third           no echo since, for two thirds
//!   Heard ─────────────────────▶ Asked ────────────────────────────────▶ Silent ──┐ asks again
//!    ▲  ▲                         │  ▲ the alarm came late: this node      │ ▲      │ and again
//!    │  └─────── echo ────────────┘  └ stood still itself                  │ └──────┘
//!    └──────────────────────────────── echo ───────────────────────────────┘
//! ```
//!
//! A connection that is full says nothing: it may be full of large answers, with a member that is well at the other end. So
//! members behind one have eight times as long.
//!
//! # Time and units
//! The leader's monotonic clock. The thirds are those of [`quorum_silence`](crate::config::Config::quorum_silence). An
//! echo counts by when the append it answers was sent.

use crate::config::{GroupConfig, Settings};
use crate::replica::Replica;
use crate::replication::progress::Peer;
use crate::replication::quorum::nth_largest;
use crate::time::Instant;

use super::leader::Leader;
use super::{Leading, Shared};

/// What a leader knows of its write quorum.
#[derive(Clone, Copy, Debug, Default, Hash, PartialEq, Eq)]
pub(super) enum Hearing {
    /// There is nothing to wait for, or what was waited for has come until now.
    #[default]
    Heard,
    /// An echo of what is sent from `at` on is waited for, until `until`.
    Asked { at: Instant, until: Instant },
    /// None has come. It is asked again at `again`.
    Silent { at: Instant, again: Instant },
}

impl Hearing {
    /// Returns since when it asks.
    fn asked(self) -> Option<Instant> {
        match self {
            Self::Heard => None,
            Self::Asked { at, .. } | Self::Silent { at, .. } => Some(at),
        }
    }
}

impl Leader {
    /// Returns the send time, on its own clock, of the latest append that a write quorum has echoed; 0 if there is none.
    pub(super) fn confirmed(&self, config: &GroupConfig, now: Instant) -> Instant {
        let members = self.peers.iter().filter(|peer| peer.is_member);
        Instant(nth_largest(members.map(|peer| peer.echo_of(peer.voter).0).chain([now.0]), config.write_quorum))
    }

    /// Returns how many voters can be reached, the leader included: those that are connected, or, once it hears no write
    /// quorum, those that have echoed something since.
    pub(super) fn reachable(&self) -> usize {
        let is_heard = |peer: &&Peer| match self.hearing {
            Hearing::Heard | Hearing::Asked { .. } => true,
            Hearing::Silent { at, .. } => peer.echo_of(peer.voter) >= at,
        };
        1 + self.peers.iter().filter(|peer| peer.is_voter_present()).filter(is_heard).count()
    }

    /// Returns when it next has to listen.
    pub(super) fn next_listening(
        &self,
        config: &GroupConfig,
        replica: &Replica,
        settings: &Settings,
    ) -> Option<Instant> {
        let third = settings.quorum_silence / 3;
        match self.hearing {
            // Before it serves, it waits for more than acknowledgements.
            Hearing::Heard if !self.may_read(replica.commit) => None,
            Hearing::Heard => {
                let since = self.waits_since()?;
                // Its own clock is one of those counted, so any instant does that is not before the others.
                Some(since.max(self.confirmed(config, Instant(u64::MAX))).saturating_add(third))
            }
            Hearing::Asked { until: next, .. } | Hearing::Silent { again: next, .. } => Some(next),
        }
    }

    /// Whether a peer owes nothing more, and yet has echoed nothing of what was sent since the members were asked.
    pub(super) fn is_still_asked(&self, peer: &Peer) -> bool {
        let echo = peer.echo_of(peer.voter);
        peer.is_member && !peer.owes_answer() && self.hearing.asked().is_some_and(|at| echo < at)
    }
}

impl Leading<'_> {
    /// Notes that a write quorum is heard, if it is.
    pub(super) fn note_echoes(&mut self, now: Instant) {
        let Some(at) = self.leader.hearing.asked() else { return };
        if self.leader.confirmed(self.config, now) >= at {
            self.leader.hearing = Hearing::Heard;
        }
    }

    /// Asks the members for an echo, unless they are asked already: what is answered with a question would never end.
    pub(super) fn ask(&mut self, shared: &Shared, now: Instant) {
        if self.leader.hearing == Hearing::Heard {
            let patience = shared.settings.quorum_silence * 2 / 3;
            self.leader.hearing = Hearing::Asked { at: now, until: now.saturating_add(patience) };
            self.leader.wants_lease = true;
        }
    }

    /// Asks the members, or finds that they do not answer, if it is time to.
    pub(super) fn listen(&mut self, shared: &mut Shared, now: Instant) {
        self.note_echoes(now);
        let due = self.leader.next_listening(self.config, self.replica, &shared.settings);
        let Some(due) = due.filter(|due| *due <= now) else { return };
        let silence = shared.settings.quorum_silence;
        match self.leader.hearing {
            Hearing::Heard => return self.ask(shared, now),
            Hearing::Asked { .. } if now > due.saturating_add(silence / 6) => {
                // Answers may have come while this node stood still, and not be read yet.
                self.leader.hearing = Hearing::Heard;
                return self.ask(shared, now);
            }
            Hearing::Asked { at, .. } if self.may_be_behind(shared, at) && now < at.saturating_add(8 * silence) => {
                self.leader.hearing = Hearing::Asked { at, until: now.saturating_add(silence / 3) };
            }
            Hearing::Asked { at, .. } | Hearing::Silent { at, .. } => {
                let again = now.saturating_add(shared.settings.probe_after);
                self.leader.hearing = Hearing::Silent { at, again };
                self.refuse_reads(shared, Instant(u64::MAX));
            }
        }
        self.leader.wants_lease = true;
    }

    /// Whether a write quorum may be there, and its answers, or the question, be behind what fills the connections.
    fn may_be_behind(&self, shared: &Shared, at: Instant) -> bool {
        let members = self.leader.peers.iter().filter(|peer| peer.is_member && peer.is_voter_present());
        let may_be = members.filter(|peer| peer.echo_of(peer.voter) >= at || shared.busy.contains(&peer.node));
        1 + may_be.count() >= self.config.write_quorum
    }
}
