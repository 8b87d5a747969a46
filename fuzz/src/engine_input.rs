//! One engine among peers and clients that say whatever the wire lets through.
//!
//! Node 2 of three has three groups: it leads one of them and follows in the others. The bytes are a script of connections,
//! requests, messages, turns and time. Messages are made near to what the engine holds at that moment, so most are
//! plausible and some absurd. They are written as frames and read again: what the decoder refuses never reaches an engine.
//!
//! Checked:
//! 1. The engine takes everything, and its invariants hold after each turn.
//! 2. What it says is well formed: its messages and answers pass the checks of whoever receives them.
//! 3. Each request is answered once, in the end.
//! 4. No commit index falls.

mod hostile;

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use quorate::wire::{About, BodyLimits, Stage, decode, encode_message};
use quorate_engine::config::{Config, Placement};
use quorate_engine::engine::{Engine, Input};
use quorate_engine::entry::Entries;
use quorate_engine::ids::{Epoch, GroupId, Incarnation, LogIndex, NodeId, ReplicaId};
use quorate_engine::machine::answer::Answer;
use quorate_engine::message::{Ack, ChunkAck, ChunkProgress, Message};
use quorate_engine::output::{Outcome, Output, Outputs, Token};
use quorate_engine::replication::comparison::Note;
use quorate_engine::slots::SlotMap;
use quorate_engine::time::Instant;
use quorate_engine::{Level, Request};

use crate::script::Script;

/// Runs all checks.
///
/// # Panics
/// If a check fails.
pub fn check(data: &[u8]) {
    let mut script = Script::new(data);
    let mut host = Host::new();
    while !script.is_at_end() {
        host.step(&mut script);
    }
    host.finish();
}

/// The host of the engine.
struct Host {
    engine: Engine,
    now: Instant,
    /// Which runs of the other nodes are connected.
    connected: [Option<Incarnation>; PEERS.len()],
    runs: u64,
    ledger: Ledger,
}

/// What the engine has been asked, and what it said.
#[derive(Default)]
struct Ledger {
    requests: u64,
    unanswered: BTreeSet<Token>,
    commits: [LogIndex; GROUPS],
    /// The sequence number of the next chunk of a snapshot of each group.
    sequences: [u32; GROUPS],
    /// What honest peers would say to what the engine sent them, oldest first.
    answers: VecDeque<(ReplicaId, About, Message<'static>)>,
    frame: Vec<u8>,
}

impl Host {
    fn new() -> Self {
        let me = ReplicaId { node: ME, incarnation: Incarnation(1) };
        let slots = SlotMap::new(PARTITIONS).expect("a power of two");
        let nodes = vec![PEERS[0], ME, PEERS[1]];
        let placement = Placement::new(slots, nodes, 3, 2).expect("three nodes hold three replicas");
        let groups = (0..GROUPS).map(|group| placement.group(group_id(group))).collect();
        let engine = Engine::new(config().build().expect("small and valid"), me, groups);
        let now = Instant(1_000_000_000);
        let mut host = Self { engine, now, connected: [None; PEERS.len()], runs: 1, ledger: Ledger::default() };
        host.turn();
        host
    }

    fn step(&mut self, script: &mut Script<'_>) {
        match script.byte() % 16 {
            0..=4 => self.say(script),
            5..=7 => self.request(script),
            8..=9 => self.answer_honestly(),
            10..=12 => self.turn(),
            13 => self.change_connection(script),
            14 => {
                let outputs = self.engine.flush();
                self.ledger.perform(outputs);
            }
            _ => {
                let later = script.choose(&[0, 1_000, 500_000, 60_000_000, 200_000_000, 6_000_000_000]);
                // As a host does that has nothing else to do: until the engine wants to be woken.
                let alarm = self.engine.wake_at().filter(|_| later == 0).unwrap_or_default();
                self.now = Instant(self.now.0 + later).max(alarm);
                self.turn();
            }
        }
    }

    fn turn(&mut self) {
        let outputs = self.engine.end_turn(self.now);
        self.ledger.perform(outputs);
        self.engine.check();
        for (status, before) in self.engine.status().iter().zip(&mut self.ledger.commits) {
            assert!(status.commit >= *before, "{} was committed through {before}, now {}", status.group, status.commit);
            assert!(status.applied <= status.commit && status.commit <= status.last, "{status:?}");
            *before = status.commit;
        }
    }

    fn change_connection(&mut self, script: &mut Script<'_>) {
        let peer = script.below(PEERS.len());
        let node = PEERS[peer];
        let input = match (script.byte() % 8, self.connected[peer]) {
            (0..=3, None) => {
                self.runs += u64::from(script.byte() % 2);
                self.connected[peer] = Some(Incarnation(self.runs));
                Input::PeerConnected(ReplicaId { node, incarnation: Incarnation(self.runs) })
            }
            (4, Some(incarnation)) => Input::PeerBusy(ReplicaId { node, incarnation }),
            (5..=6, Some(incarnation)) => Input::PeerReady(ReplicaId { node, incarnation }),
            (7, Some(incarnation)) => {
                self.connected[peer] = None;
                Input::PeerLost(ReplicaId { node, incarnation })
            }
            _ => return,
        };
        self.input(input);
    }

    /// Lets a connected peer say something.
    fn say(&mut self, script: &mut Script<'_>) {
        let peer = script.below(PEERS.len());
        let Some(incarnation) = self.connected[peer] else { return };
        let group = script.below(GROUPS);
        let status = &self.engine.status()[group];
        let scene = hostile::Scene { group, last: status.last, now: self.now, sequence: self.ledger.sequences[group] };
        let about = About { group: group_id(group), epoch: hostile::epoch(script) };
        let from = ReplicaId { node: PEERS[peer], incarnation };
        hostile::with_message(script, &scene, |message| self.deliver(from, about, message));
    }

    /// Lets a peer answer what it was sent, as it should.
    fn answer_honestly(&mut self) {
        let Some((from, about, message)) = self.ledger.answers.pop_front() else { return };
        if self.connected.contains(&Some(from.incarnation)) {
            self.deliver(from, about, &message);
        }
    }

    /// Hands the engine a message, if it comes through the decoder.
    fn deliver(&mut self, from: ReplicaId, about: About, message: &Message<'_>) {
        let mut bytes = Vec::new();
        encode_message(&mut bytes, about, message);
        if let Ok((frame, _)) = decode(&bytes, Stage::Peer, &LIMITS) {
            let envelope = frame.envelope(from).expect("it was encoded as a message");
            self.input(Input::Message(envelope));
        }
    }

    fn request(&mut self, script: &mut Script<'_>) {
        let group = script.below(GROUPS);
        let Some((slot, command)) = hostile::request(script, group) else { return };
        let level = script.choose(&[Level::Commit, Level::Accepted]);
        let after = LogIndex(script.near(self.engine.status()[group].last.0));
        self.ledger.requests += 1;
        let token = Token(self.ledger.requests);
        self.ledger.unanswered.insert(token);
        let request = Request { token, group: group_id(group), slot, command: &command, level, after };
        self.input(Input::Request(request));
    }

    fn input(&mut self, input: Input<'_>) {
        let outputs = self.engine.handle(self.now, input);
        self.ledger.perform(outputs);
    }

    /// Leaves the engine alone until everything it owes is late.
    fn finish(mut self) {
        self.turn();
        self.now.0 += 60_000_000_000;
        self.turn();
        self.turn();
        assert!(!self.engine.has_waiters(), "somebody waits for ever");
        assert_eq!(self.ledger.unanswered, BTreeSet::new(), "requests that nobody answered");
    }
}

impl Ledger {
    fn perform(&mut self, outputs: Outputs<'_>) {
        for output in outputs {
            match output {
                Output::Send { to, group, epoch, message } => self.receive(to, About { group, epoch }, &message),
                Output::Reply { token, outcome } => {
                    assert!(self.unanswered.remove(&token), "{token:?} was answered before: {outcome:?}");
                    if let Outcome::Done { answer, .. } = outcome {
                        assert!(Answer::check(answer), "{}", answer.escape_ascii());
                    }
                }
                // The configuration of this engine is fixed: it has no core to ask.
                Output::Ask { .. } | Output::Notify(_) => {}
            }
        }
    }

    /// Does what a peer does with a message: checks it, and notes the honest answer.
    fn receive(&mut self, peer: ReplicaId, about: About, message: &Message<'_>) {
        self.frame.clear();
        encode_message(&mut self.frame, about, message);
        let read = decode(&self.frame, Stage::Peer, &BodyLimits::DEFAULT);
        assert!(read.is_ok(), "{read:?} for {message:?}");
        let answer = match message {
            Message::Append(append) => {
                let last = Entries::new(append.entries).last().and_then(Result::ok);
                let matched = last.map_or(append.prev.index, |entry| entry.id().index);
                // It applies nothing, and says nothing of its state.
                Message::Ack(Ack { stream: append.stream, matched, sent: append.sent, state: Note::default() })
            }
            Message::Chunk(chunk) => {
                let progress = if chunk.is_last {
                    ChunkProgress::Installed { matched: chunk.at.index }
                } else {
                    ChunkProgress::Received { sequence: chunk.sequence }
                };
                Message::ChunkAck(ChunkAck { stream: chunk.stream, progress })
            }
            Message::ChunkAck(ack) => {
                self.sequences[about.group.0 as usize] = match ack.progress {
                    ChunkProgress::Received { sequence } => sequence + 1,
                    ChunkProgress::Installed { .. } | ChunkProgress::Broken => 0,
                };
                return;
            }
            Message::Ack(_)
            | Message::Refused(_)
            | Message::Mismatch(_)
            | Message::Seal
            | Message::Sealed(_)
            | Message::Fetch { .. }
            | Message::Fetched(_)
            | Message::Unfetchable
            | Message::Diverged(_) => return,
        };
        if self.answers.len() < ANSWERS_MAX {
            self.answers.push_back((peer, about, answer));
        }
    }
}

fn group_id(group: usize) -> GroupId {
    GroupId(u32::try_from(group).expect("there are three"))
}

/// So small that a script fills the log, the memory, the windows and the waiting list.
fn config() -> Config {
    Config {
        log_bytes: 16 * 512,
        segment_bytes: 512,
        memory_bytes_max: 4096,
        key_bytes_max: 64,
        value_bytes_max: 512,
        waiters_max: 4,
        window_bytes: 1024,
        append_bytes_max: 512,
        chunk_bytes: 128,
        chunks_in_flight: 2,
        request_timeout: Duration::from_secs(5),
        ..Config::default()
    }
}

const ME: NodeId = NodeId(2);
const PEERS: [NodeId; 2] = [NodeId(1), NodeId(3)];
const GROUPS: usize = 3;
/// Of which the engine has the first [`GROUPS`]; many, so that they are narrow and quickly checked.
const PARTITIONS: u32 = 64;
/// The epoch of the only configuration there is.
const EPOCH: Epoch = Epoch(1);
const ANSWERS_MAX: usize = 32;
const LIMITS: BodyLimits =
    BodyLimits { request_bytes_max: 16 << 10, reply_bytes_max: 16 << 10, peer_bytes_max: 16 << 10 };
