//! The leader's loop, one turn at a time: for a host with a loop of its own, and inside the thread of a [`Cluster`].
//!
//! ```text
//! submit: append
//! turn: is there anything? read the clock
//!       acknowledgements of the followers    ──▶ commit, apply, answer
//!       requests of each port                ──▶ append
//!       end of the turn                      ──▶ one append to each follower, completions, wake who sleeps
//! ```
//!
//! [`Cluster`]: super::Cluster
//!
//! # Time and units
//! The clock is read once per turn, at the first submission or after something was found to do. What comes in while the turn is under way is still
//! handled in it, up to a bound, with that time. Elsewhere this would let a leader that was paused in between answer a
//! read under a lease that has run out; here nobody can take over, because the replicas live and pause together.
//!
//! # Bounds
//! A turn takes at most [`BATCHES_PER_TURN`] batches of requests of each port and [`ANSWERS_PER_TURN`] messages of each follower.

use core::time::Duration;
use std::sync::Arc;
use std::time;

use super::clock;
use super::codec;
use super::connect::{Connector, connect};
use super::control::{Inbox, NodeStatus, Query, Worker};
use super::followers;
use super::handle::Handle;
use super::idle::Bed;
use super::link::{Inlet, Outlet};
use super::pipeline::{Answered, Completion, Pipeline, RequestError, SubmitError, time_left};
use super::port::{Incoming, Port, Taken, read_requests};
use crate::engine::{Engine, Input};
use crate::group::{GroupState, Level, Request};
use crate::ids::{NodeId, ReplicaId};
use crate::machine::command::Command;
use crate::output::{Outcome, Output, Token};
use crate::slots::slot_of;
use crate::time::Instant;

/// Batches of requests of one port that a turn takes.
const BATCHES_PER_TURN: usize = 2;
/// Messages of one follower that a turn takes.
const ANSWERS_PER_TURN: usize = 256;
/// Turns between two looks at what rarely changes: the inbox, clients that are gone.
const TURNS_PER_LOOK: u32 = 64;
/// Empty turns between two looks at the clock.
const TURNS_PER_CLOCK: u32 = 16;
/// How long a cluster that stops waits for its followers to apply everything.
const STOP_PATIENCE: Duration = Duration::from_secs(5);

/// What the leader's thread is asked.
#[derive(Debug)]
pub(super) enum Ask {
    Attach(Box<Port>),
    Query(Query),
    Stop,
}

impl From<Query> for Ask {
    fn from(query: Query) -> Self {
        Self::Query(query)
    }
}

/// The leader of an embedded cluster, driven by the host's own thread.
///
/// The followers have their thread as always. The host calls [`Driver::turn`] in its loop. What it submits with
/// [`Driver::submit`] is in the leader's log when that returns, without a hop between threads; other threads submit
/// through a [`Driver::pipeline`] or a [`Driver::handle`].
///
/// ```
/// # use quorate_engine::embed::Cluster;
/// # use quorate_engine::machine::command::{Command, Op};
/// let mut driver = Cluster::builder().build_driven()?;
/// driver.submit(7, Command { value: b"100.25", ..Command::new(Op::Set, b"px:ACME") })?;
/// let mut is_done = false;
/// while !is_done {
///     if !driver.turn(|completion| is_done = completion.tag == 7 && completion.result.is_ok()) {
///         std::thread::yield_now();
///     }
/// }
/// assert!(driver.stop().digests_agree());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Driver {
    engine: Engine,
    me: NodeId,
    peers: Vec<Peer>,
    /// Position in it is the number of the port in tokens.
    ports: Vec<Option<Port>>,
    host: Host,
    followers: Worker<followers::Ask, Vec<NodeStatus>>,
    followers_bed: Arc<Bed>,
    inbox: Arc<Inbox<Ask>>,
    bed: Arc<Bed>,
    connector: Connector,
    turns: u32,
    empty_turns: u32,
    is_stopping: bool,
}

/// What the driving thread has submitted itself.
#[derive(Debug, Default)]
struct Host {
    /// Requests that were not completed.
    taken: Taken,
    /// The clock at the first submission since the last turn.
    now: Option<Instant>,
    /// The command that is being submitted, encoded.
    command: Vec<u8>,
}

/// What a [`Driver`] is made of.
#[derive(Debug)]
pub(super) struct Parts {
    pub(super) engine: Engine,
    pub(super) me: NodeId,
    pub(super) peers: Vec<Peer>,
    pub(super) followers: Worker<followers::Ask, Vec<NodeStatus>>,
    pub(super) followers_bed: Arc<Bed>,
    pub(super) inbox: Arc<Inbox<Ask>>,
    pub(super) bed: Arc<Bed>,
    pub(super) connector: Connector,
}

/// One follower as the leader reaches it.
#[derive(Debug)]
pub(super) struct Peer {
    pub(super) replica: ReplicaId,
    pub(super) outlet: Outlet,
    pub(super) inlet: Inlet,
    /// Its link was found full and has not been drained since.
    pub(super) is_busy: bool,
}

/// What is left of a cluster that has stopped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stopped {
    /// The replicas as they were in the end, the leader first.
    pub nodes: Vec<NodeStatus>,
}

impl Stopped {
    /// Whether all replicas had applied the same entries and had come to the same state.
    #[must_use]
    pub fn digests_agree(&self) -> bool {
        let Some((leader, followers)) = self.nodes.split_first() else { return false };
        let is_equal = |follower: &NodeStatus| {
            let pairs = leader.groups.iter().zip(&follower.groups);
            pairs.fold(leader.groups.len() == follower.groups.len(), |is_equal, (one, two)| {
                is_equal && (one.group, one.applied, one.digest) == (two.group, two.applied, two.digest)
            })
        };
        followers.iter().all(is_equal)
    }
}

impl Driver {
    pub(super) fn new(parts: Parts) -> Self {
        let Parts { engine, me, peers, followers, followers_bed, inbox, bed, connector } = parts;
        let mut driver = Self {
            engine,
            me,
            peers,
            ports: Vec::new(),
            host: Host::default(),
            followers,
            followers_bed,
            inbox,
            bed,
            connector,
            turns: 0,
            empty_turns: 0,
            is_stopping: false,
        };
        let now = clock::now();
        for peer in &driver.peers {
            // What comes of it is taken at the end of the first turn.
            let _ = driver.engine.handle(now, Input::PeerConnected(peer.replica));
        }
        // Founding takes one message there and back for each group; the followers are running already.
        while !driver.is_serving() {
            if !driver.turn(|_| {}) {
                std::thread::yield_now();
            }
        }
        driver
    }

    // ---- the host's side ----

    /// Submits a command: a write is appended at once, and leaves for the followers with the next [`Driver::turn`]. Its
    /// completion is handed to a later turn, and carries `tag`, which need not be unique.
    ///
    /// Commands submitted here to one group are executed in their order; a read sees the writes before it.
    ///
    /// Cost: copies the command twice, and reads the clock if it is the first since the last turn. No allocation in the
    /// long run.
    ///
    /// # Errors
    /// `Busy`: as many requests are under way as may be ([`Builder::in_flight_max`](super::Builder::in_flight_max)); turn,
    /// then try again. `Malformed`: such a command can never be executed. In both cases nothing was submitted.
    #[inline]
    pub fn submit(&mut self, tag: u32, command: Command<'_>) -> Result<(), SubmitError> {
        let Self { engine, host, connector, .. } = self;
        if host.taken.all as usize >= connector.in_flight_max {
            return Err(SubmitError::Busy);
        }
        command.validate().map_err(SubmitError::Malformed)?;
        host.command.clear();
        command.encode_into(&mut host.command);
        let slot = slot_of(command.routing_key());
        let is_write = command.op.is_write();
        let request = Request {
            token: token(HOST, is_write, tag),
            group: connector.map.group_of(slot),
            slot,
            command: &host.command,
            level: Level::Commit,
            after: host.taken.read_after(is_write),
        };
        host.taken.add(is_write);
        let now = *host.now.get_or_insert_with(clock::now);
        // What comes of it is taken at the end of the turn; it stays queued until then.
        let _ = engine.handle(now, Input::Request(request));
        Ok(())
    }

    /// Does what there is to do, and hands every completion of what was submitted here to `complete`; returns whether
    /// there was anything to do that more may follow from. Never waits.
    ///
    /// Cost: nothing found, a load for each port and follower; else one clock read for the whole turn.
    pub fn turn(&mut self, complete: impl FnMut(Completion<'_>)) -> bool {
        self.turns = self.turns.wrapping_add(1);
        if self.turns.is_multiple_of(TURNS_PER_LOOK) {
            self.look_around();
        }
        let has_input = self.host.now.is_some() || self.has_input();
        if !has_input {
            self.empty_turns = self.empty_turns.wrapping_add(1);
            if !self.empty_turns.is_multiple_of(TURNS_PER_CLOCK) && !self.engine.has_work() {
                return false;
            }
        }
        let now = self.host.now.take().unwrap_or_else(clock::now);
        let is_due = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        let has_work = has_input || self.engine.has_work() || is_due(self.engine.alarm_at());
        if !has_work && !is_due(self.engine.wake_at()) {
            return false;
        }
        self.take_answers(now);
        self.take_requests(now);
        self.end_turn(now, complete);
        has_work
    }

    /// Returns how many requests that were submitted here are not completed.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.host.taken.all as usize
    }

    /// Returns a pipeline, for another thread.
    #[must_use]
    pub fn pipeline(&mut self) -> Pipeline {
        let (port, pipeline) = connect(&self.connector);
        self.attach(port);
        pipeline
    }

    /// Returns a handle, for another thread.
    #[must_use]
    pub fn handle(&mut self) -> Handle {
        let (port, handle) = self.connector.desk();
        self.attach(port);
        handle
    }

    /// Returns the replicas as they are, the leader first.
    ///
    /// Cost: allocates, and waits for the followers' thread.
    #[must_use]
    pub fn status(&self) -> Vec<NodeStatus> {
        let mut nodes = vec![NodeStatus { node: self.me, groups: self.engine.status() }];
        nodes.extend(self.followers.inbox.ask_status().recv().unwrap_or_default());
        nodes
    }

    /// Ends all requests that were taken, lets the followers apply everything, and ends their thread. What was submitted
    /// and not taken ends as [`RequestError::Stopped`]. Completions of [`Driver::submit`] are not told any more: turn until
    /// there are none, if they matter.
    #[must_use = "it says whether the replicas agree"]
    pub fn stop(mut self) -> Stopped {
        self.inbox.close();
        self.is_stopping = false;
        let now = self.host.now.take().unwrap_or_else(clock::now);
        self.take_requests(now);
        self.end_turn(now, |_| {});
        // From here on requests stay where they are; those taken end by answer or by deadline.
        self.is_stopping = true;
        while self.engine.has_waiters() || self.engine.has_work() {
            self.turn_or_yield();
        }
        self.ports.drain(..).flatten().for_each(Port::close);
        self.await_followers();
        let mut nodes = vec![NodeStatus { node: self.me, groups: self.engine.status() }];
        nodes.extend(self.followers.stop().unwrap_or_default());
        Stopped { nodes }
    }

    // ---- the thread of a cluster ----

    /// Returns where the followers' thread is asked.
    pub(super) fn followers(&self) -> &Arc<Inbox<followers::Ask>> {
        &self.followers.inbox
    }

    /// Drives until it is asked to stop.
    pub(super) fn run(mut self) -> Stopped {
        let mut empty_turns = 0;
        while !self.is_stopping {
            if self.turn(|_| {}) {
                empty_turns = 0;
                continue;
            }
            empty_turns += 1;
            if self.rest(empty_turns) {
                self.look_around();
            }
        }
        self.stop()
    }

    fn rest(&self, empty_turns: u32) -> bool {
        let timeout = || {
            let now = clock::now();
            self.engine.wake_at().map(|at| at.since(now))
        };
        let has_work = || {
            let is_owing = |port: &Port| port.is_owing() || port.requests.is_abandoned();
            self.has_input() || !self.inbox.is_empty() || self.ports.iter().flatten().any(is_owing)
        };
        self.bed.rest(empty_turns, timeout, has_work)
    }

    // ---- turns ----

    #[inline]
    fn has_input(&self) -> bool {
        self.peers.iter().any(|peer| !peer.inlet.is_empty())
            || (!self.is_stopping && self.ports.iter().flatten().any(Port::has_request))
    }

    fn take_answers(&mut self, now: Instant) {
        let Self { engine, peers, .. } = self;
        for peer in peers {
            let Peer { replica, inlet, outlet, is_busy } = peer;
            inlet.poll(ANSWERS_PER_TURN, |record| {
                let envelope = codec::read(record, *replica).expect("links carry what the codec wrote");
                // Here and below: what comes of an input is taken at the end of the turn; it stays queued until then.
                let _ = engine.handle(now, Input::Message(envelope));
            });
            if *is_busy && outlet.is_drained() {
                *is_busy = false;
                let _ = engine.handle(now, Input::PeerReady(*replica));
            }
        }
    }

    fn take_requests(&mut self, now: Instant) {
        if self.is_stopping {
            return;
        }
        let Self { engine, ports, .. } = self;
        for (number, port) in ports.iter_mut().enumerate() {
            let Some(port) = port.as_mut().filter(|port| port.is_served()) else { continue };
            let Port { requests, taken, .. } = port;
            let mut handle = |incoming: Incoming<'_>| {
                let after = taken.read_after(incoming.is_write);
                taken.add(incoming.is_write);
                let request = Request {
                    token: token(number, incoming.is_write, incoming.tag),
                    group: incoming.group,
                    slot: incoming.slot,
                    command: incoming.command,
                    level: Level::Commit,
                    after,
                };
                let _ = engine.handle(now, Input::Request(request));
            };
            requests.poll(BATCHES_PER_TURN, |record| read_requests(record, &mut handle));
        }
    }

    #[inline]
    fn end_turn(&mut self, now: Instant, mut complete: impl FnMut(Completion<'_>)) {
        let Self { engine, peers, ports, host, followers_bed, .. } = self;
        let mut has_sent = false;
        let mut has_lost = false;
        for output in engine.end_turn(now) {
            match output {
                Output::Send { to, group, epoch, message } => {
                    let Some(peer) = peers.iter_mut().find(|peer| peer.replica == to) else { continue };
                    let is_lost = codec::push(&mut peer.outlet, group, epoch, &message).is_err();
                    peer.is_busy |= is_lost;
                    has_lost |= is_lost;
                    has_sent = true;
                }
                Output::Reply { token, outcome } => {
                    let (number, is_write, tag) = parts_of(token);
                    if number == HOST {
                        host.taken.remove(is_write);
                        complete(Completion { tag, result: result_of(&outcome) });
                        continue;
                    }
                    let port = ports[number].as_mut().expect("a port stays until its requests are completed");
                    port.complete(tag, is_write, &outcome);
                }
                // An operator of one process learns from `status` what he may want to know, and there is no core in it.
                Output::Notify(_) | Output::Ask { .. } => {}
            }
        }
        if has_sent {
            followers_bed.wake();
        }
        if has_lost {
            for peer in peers.iter().filter(|peer| peer.is_busy) {
                let _ = engine.handle(now, Input::PeerBusy(peer.replica));
            }
        }
        ports.iter_mut().flatten().for_each(Port::end_turn);
    }

    // ---- rarely ----

    /// Looks at what rarely changes.
    #[cold]
    fn look_around(&mut self) {
        while let Some(ask) = self.inbox.take() {
            match ask {
                Ask::Attach(port) => self.attach(*port),
                Ask::Query(query) => query.answer(core::iter::once((self.me, &self.engine))),
                Ask::Stop => self.is_stopping = true,
            }
        }
        for place in &mut self.ports {
            if let Some(port) = place {
                port.end_turn();
                if port.is_over() {
                    *place = None;
                }
            }
        }
    }

    fn attach(&mut self, port: Port) {
        match self.ports.iter().position(Option::is_none) {
            Some(free) => self.ports[free] = Some(port),
            None => self.ports.push(Some(port)),
        }
    }

    fn is_serving(&self) -> bool {
        self.engine.status().iter().all(|group| group.state == GroupState::Serving)
    }

    fn turn_or_yield(&mut self) {
        if !self.turn(|_| {}) {
            std::thread::yield_now();
        }
    }

    /// Turns until the followers have applied everything, or patience ends.
    #[expect(clippy::disallowed_methods, reason = "only how long a stop may take is measured by it")]
    fn await_followers(&mut self) {
        let deadline = time::Instant::now() + STOP_PATIENCE;
        let applied = |groups: &NodeStatus| groups.groups.iter().map(|group| group.applied).collect::<Vec<_>>();
        while time_left(deadline).is_some() {
            let nodes = self.status();
            if nodes.len() <= self.peers.len() || nodes.iter().all(|node| applied(node) == applied(&nodes[0])) {
                return;
            }
            for _ in 0..TURNS_PER_LOOK {
                self.turn_or_yield();
            }
        }
    }
}

const TAG_BITS: u32 = 32;
/// Stands for the number of a port in tokens of what the driving thread has submitted.
const HOST: usize = (1 << (u64::BITS - TAG_BITS - 1)) - 1;

/// Returns the token of a request: the number of its port, whether it is a write, its tag.
#[inline]
fn token(port: usize, is_write: bool, tag: u32) -> Token {
    Token((port as u64) << (TAG_BITS + 1) | u64::from(is_write) << TAG_BITS | u64::from(tag))
}

#[inline]
#[expect(clippy::cast_possible_truncation, reason = "the parts that `token` put together")]
const fn parts_of(token: Token) -> (usize, bool, u32) {
    ((token.0 >> (TAG_BITS + 1)) as usize, token.0 >> TAG_BITS & 1 != 0, token.0 as u32)
}

#[inline]
fn result_of<'a>(outcome: &Outcome<'a>) -> Result<Answered<'a>, RequestError> {
    match *outcome {
        Outcome::Done { id, answer } => Ok(Answered { id, bytes: answer }),
        Outcome::Accepted { id } => Ok(Answered { id, bytes: &[] }),
        Outcome::Unknown { id } => Err(RequestError::Unknown { id }),
        Outcome::Refused(refusal) => Err(RequestError::Refused(refusal)),
    }
}
