//! A core node: agrees with the others on what nodes and groups there are, and, while it leads them, decides what changes.
//!
//! ```text
//! nodes ── register, ask, heartbeat ──▶ every core node ── proposes, if it leads ──▶ log ── decided ──▶ every core node
//!   ▲                                                                                                       │
//!   └────────────────────────────── registered, news ◀── apply ─────────────────────────────────────────────┘
//! ```
//!
//! What nodes say goes to all core nodes; the one that leads proposes, the others drop it: whoever gets no answer says it again.
//! So nothing is forwarded, and nobody waits for a core node that has failed. All of them tell what has been decided to
//! whomever they are connected to. All hear the heartbeats too, so that a new leader of the core knows at once who is silent.
//!
//! A core node is known by its store. One that has lost it is replaced by another one, in the next `era` of the core ([`Era`]).
//! If most have lost theirs, the core can be restored from what one node knows ([`Restoration`]).
//!
//! # Invariants
//! K1. Only what is decided is told. K2. The leader does not propose a thing again that lies undecided in its log; a new
//! leader knows nothing of that and may, which is harmless: runs are told apart by their nonces, changes by the version
//! they start from, activations by their epochs. Of activations one entry lies undecided at a time, with all that waited
//! for the one before it. K3. The first entry of the log is the birth, proposed by whoever leads an
//! empty log. K4. In steady state nothing is proposed.
//!
//! # Time and units
//! The host's monotonic clock. Elections go in rounds; after a pause at most one of them is caught up on. A round is ended together
//! with that of another core node if it would soon end anyway, and the leader looks after groups when a round ends, a node falls
//! silent, or something has changed: while nothing does, core nodes wake as rarely as that allows.
//!
//! # Bounds
//! The log is replaced by an image every 1,024 entries. What lies undecided in it is bounded by what nodes register and
//! groups want meanwhile: one thing once (K2).
//!
//! # What it expects of its host
//! Messages between two core nodes come in the order in which they were sent. If some may be lost, those behind them do
//! not come either, until both sides have been told that they are connected anew; nothing of an older connection comes
//! after that. Core nodes that are connected show each other in which era their stores are, anew when that changes. A core
//! node that has lost its store is none until an era names its new one: what it promised is forgotten. Its own node's
//! heartbeats are passed to it like all others. Who connects anew is told what there is to know, from [`Core::state`].

mod agreed;
mod clipped;
mod consensus;
mod entry;
mod era;
mod leading;
mod requests;
mod restoration;
mod standing;
mod words;

use core::fmt;
use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

use self::consensus::Consensus;
pub use self::entry::{Entry, Image};
pub use self::era::{Era, EraId, EraStore, Pledge, ReplaceError};
use self::leading::Leadership;
pub use self::restoration::{NotRestored, Place, Prospect, Restoration, Standing, known};
pub use self::words::{CoreInput, CoreOutput};
use crate::control::detector::Detector;
use crate::control::state::{Birth, Command, State};
use crate::ids::NodeId;
use crate::time::{Instant, nanos};

/// So often a leader looks at most after groups in a round.
const LOOKS_PER_ROUND: u32 = 4;

/// See the module.
pub struct Core<S: EraStore> {
    settings: CoreSettings,
    store: S,
    era: Era,
    /// Stores that core nodes have shown last and that the era does not name.
    strangers: BTreeMap<NodeId, u64>,
    consensus: Consensus<S>,
    /// What the first `applied` entries of the log of this era have led to.
    state: Option<State>,
    applied: usize,
    detector: Detector,
    role: Role,
    /// When a round of the election ends.
    next_round: Instant,
    /// When it looked last at who is silent and, if it leads, at what is to be done.
    looked_at: Instant,
    /// Whether something has changed since.
    wants_look: bool,
    wall: WallClock,
    outputs: VecDeque<CoreOutput>,
}

/// What a core node is told when it starts.
#[derive(Clone, Debug)]
pub struct CoreSettings {
    /// Its node; 1 and up.
    pub me: NodeId,
    /// The core nodes: 1, 3 or 5, this one among them, each once.
    pub nodes: Vec<NodeId>,
    /// The era in which its store is.
    pub era: Era,
    /// What it makes of the cluster if it is the first to lead: the same at all core nodes.
    pub birth: Birth,
    /// How long a node is silent before it is suspected.
    pub suspicion: Duration,
    /// How long a change may take before it is superseded: see [`Planner`](crate::control::planner::Planner).
    pub patience: Duration,
    /// How long a round of an election lasts: another core node leads two or three rounds after one has failed.
    pub round: Duration,
}

/// What the wall clock shows, as far as the host has said; nothing is decided by it.
#[derive(Clone, Copy, Debug)]
struct WallClock {
    /// How far it is ahead of the host's monotonic clock.
    ahead_ms: i64,
}

impl WallClock {
    /// Says when a command is proposed.
    fn stamp(self, now: Instant, command: Command) -> Entry {
        let now_ms = i64::try_from(now.0 / 1_000_000).unwrap_or(i64::MAX);
        Entry::Command { at_ms: u64::try_from(now_ms.saturating_add(self.ahead_ms)).unwrap_or(0), command }
    }
}

/// What a core node is among the others.
enum Role {
    Follower,
    Leader(Box<Leadership>),
    /// None any more: another store has taken the place of its own.
    Replaced,
}

impl CoreSettings {
    /// Returns the settings of a core node with the usual times: a change has twice the suspicion time, and a round of an
    /// election four fifteenths of it.
    #[must_use]
    pub fn new(me: NodeId, era: Era, birth: Birth, suspicion: Duration) -> Self {
        let nodes = era.stores.keys().copied().collect();
        Self { me, nodes, era, birth, suspicion, patience: 2 * suspicion, round: suspicion * 4 / 15 }
    }
}

impl<S: EraStore> Core<S> {
    /// Goes on with what is in the store.
    ///
    /// # Panics
    /// If the core nodes are not 1, 3 or 5 with this one among them, the era has no store for one of them, a round is of no
    /// length, or the store fails.
    #[must_use]
    pub fn new(settings: CoreSettings, store: S, now: Instant) -> Self {
        let CoreSettings { me, nodes, suspicion, round, .. } = &settings;
        assert!([1, 3, 5].contains(&nodes.len()) && nodes.contains(me), "{me} of core nodes {nodes:?}");
        assert!(BTreeSet::from_iter(nodes).len() == nodes.len() && nodes.iter().all(|node| node.0 > 0), "{nodes:?}");
        assert!(nanos(*round) > 0, "a round of no length");
        assert!(
            nodes.iter().all(|node| settings.era.stores.contains_key(node)),
            "{:?} of {nodes:?}",
            settings.era.stores
        );
        let others = nodes.iter().copied().filter(|node| node != me).collect();
        let mut core = Self {
            consensus: Consensus::new(*me, nodes, store.clone()),
            store,
            era: settings.era.clone(),
            strangers: BTreeMap::new(),
            detector: Detector::new(*suspicion, others),
            next_round: now.saturating_add(*round),
            looked_at: now,
            wants_look: false,
            wall: WallClock { ahead_ms: 0 },
            settings,
            state: None,
            applied: 0,
            role: Role::Follower,
            outputs: VecDeque::new(),
        };
        core.advance(now);
        core
    }

    // ---- inputs ----

    /// Takes an input that was received at `now`.
    pub fn handle(&mut self, now: Instant, input: CoreInput) {
        if matches!(self.role, Role::Replaced) {
            return;
        }
        match input {
            CoreInput::Message { from, era, message } if era == self.era.id() && self.is_acceptable(from, &message) => {
                self.consensus.handle(*message);
                self.end_round_with_others(now);
            }
            CoreInput::Message { .. } => return,
            CoreInput::Standing { from, standing } => self.handle_standing(from, standing),
            CoreInput::Era { from, era } => self.handle_era(from, *era),
            CoreInput::Connected(node) if self.is_peer(node) => self.consensus.on_connected(node),
            CoreInput::Connected(_) => return,
            CoreInput::Register { node, nonce } => self.handle_registration(now, node, nonce),
            CoreInput::Ask { from, group, ask } => self.handle_ask(now, from, group, ask),
            CoreInput::Operate { from, number, operation } => self.handle_operation(now, from, number, operation),
            // A run that is not known here yet says it again.
            CoreInput::Heartbeat(heartbeat) => {
                let Some(state) = &self.state else { return };
                if state.is_current(heartbeat.from) {
                    self.wants_look |= self.detector.hear(&heartbeat, now);
                }
                let latest = state.stranger(heartbeat.from);
                self.outputs.extend(latest.map(|latest| CoreOutput::Buried { latest }));
                return;
            }
        }
        self.advance(now);
    }

    /// Says what the wall clock shows, in milliseconds since the Unix epoch; events carry it.
    pub fn set_wall_clock(&mut self, now: Instant, wall_ms: u64) {
        let now_ms = i64::try_from(now.0 / 1_000_000).unwrap_or(i64::MAX);
        self.wall.ahead_ms = i64::try_from(wall_ms).unwrap_or(i64::MAX).saturating_sub(now_ms);
    }

    /// Does what is due: see [`Self::wake_at`].
    pub fn on_alarm(&mut self, now: Instant) {
        if now < self.wake_at() {
            return;
        }
        if self.has_stood_still(now) {
            self.detector.stood_still(now);
        }
        if now >= self.next_round {
            let round = nanos(self.settings.round);
            let passed = 1 + (now.0 - self.next_round.0) / round;
            self.next_round = Instant(self.next_round.0.saturating_add(passed.saturating_mul(round)));
            // Nobody was heard during a pause: the rounds that would have ended in it say nothing.
            self.consensus.end_round();
        }
        self.advance(now);
        (self.looked_at, self.wants_look) = (now, false);
        self.look_after_groups(now);
        self.advance(now);
    }

    // ---- outputs ----

    /// Returns when [`Self::on_alarm`] is due.
    #[must_use]
    pub fn wake_at(&self) -> Instant {
        let look_at = match self.role {
            Role::Leader(_) if self.wants_look => self.looked_at.saturating_add(self.settings.round / LOOKS_PER_ROUND),
            Role::Leader(_) | Role::Follower => self.next_round,
            Role::Replaced => return Instant(u64::MAX),
        };
        let silent_at = self.detector.next_silence(self.looked_at).unwrap_or(self.next_round);
        look_at.min(silent_at).min(self.next_round)
    }

    /// Returns when this core node next says something to the others because it is time.
    #[must_use]
    pub fn next_round(&self) -> Instant {
        self.next_round
    }

    /// Takes what is to be done, in this order.
    pub fn drain_outputs(&mut self) -> impl Iterator<Item = CoreOutput> {
        self.outputs.drain(..)
    }

    // ---- queries ----

    /// Returns what has been agreed on, once there is a cluster.
    #[must_use]
    pub fn state(&self) -> Option<&State> {
        self.state.as_ref()
    }

    /// Returns the era in which its store is.
    #[must_use]
    pub fn era(&self) -> &Era {
        &self.era
    }

    /// Returns how many entries of the log of this era the state holds.
    #[must_use]
    pub fn applied(&self) -> usize {
        self.applied
    }

    /// Whether this core node leads the others.
    #[must_use]
    pub fn is_leader(&self) -> bool {
        matches!(self.role, Role::Leader(_))
    }

    /// Returns which core node leads, as far as this one knows.
    #[must_use]
    pub fn leader(&self) -> Option<NodeId> {
        self.consensus.leader(self.settings.me)
    }

    /// Returns the last round of the consensus that this core node has promised to take part in: it grows with every election
    /// of an era.
    #[must_use]
    pub fn round(&self) -> u32 {
        self.consensus.round()
    }

    /// Whether the run of a node that was registered last was heard here within the suspicion time.
    #[must_use]
    pub fn is_heard(&self, node: NodeId, now: Instant) -> bool {
        self.detector.is_heard(node, now)
    }

    /// Returns the nodes that were not heard here for the suspicion time: what the heartbeats of this core node's own node
    /// say.
    #[must_use]
    pub fn silent(&self, now: Instant) -> Vec<NodeId> {
        if self.has_stood_still(now) { Vec::new() } else { self.detector.silent(now).collect() }
    }

    /// Ends a round of the election with that of another core node, if it would soon end anyway: all of them wake at once then,
    /// and not each for the others.
    fn end_round_with_others(&mut self, now: Instant) {
        if self.next_round.since(now) < self.settings.round / LOOKS_PER_ROUND {
            self.next_round = self.next_round.min(now);
        }
    }

    /// Whether what is due is so late that this core node cannot have heard what others said meanwhile.
    fn has_stood_still(&self, now: Instant) -> bool {
        now.since(self.next_round) > self.settings.suspicion / 2
    }
}

impl<S: EraStore> fmt::Debug for Core<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { settings, applied, era, .. } = self;
        let (me, leader) = (settings.me, self.leader());
        f.debug_struct("Core")
            .field("me", &me)
            .field("leader", &leader)
            .field("era", &era.number)
            .field("applied", applied)
            .finish_non_exhaustive()
    }
}
