//! Processes of the model: real engines, run step by step.
//!
//! An engine does the same whenever it is in the same state and handles the same input at the same time. So a process in
//! some state is known by the inputs that led there: whoever needs its engine runs these again. Two engines that feed the
//! same bytes to [`Engine::fingerprint`] are in the same state, and each step from a state is made once.

use core::time::Duration;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use rapidhash::v3::rapidhash_v3;

use super::interned::{Interned, Recorder};
use super::mail::{Mail, Mails};
use crate::config::{Config, GroupConfig, Settings};
use crate::engine::{Engine, Input};
use crate::entry::{Entry, EntryKind};
use crate::group::{GroupState, Level, Request};
use crate::ids::{EntryId, Epoch, GroupId, LogIndex, ReplicaId, Slot};
use crate::machine::command::{Command, Op};
use crate::message::{Envelope, Message};
use crate::output::{Event, Outcome, Output, Outputs, Token};
use crate::replication::comparison::Note;
use crate::slots::SlotRange;
use crate::time::Instant;

/// The group of the model.
pub(super) const GROUP: GroupId = GroupId(0);
/// Length of one tick of the clock.
pub(super) const TICK: Duration = Duration::from_millis(100);
/// The clock at tick 0.
const START: Instant = Instant(1_000_000_000);
/// Tokens from here on are reads, and say how far the last one had seen that ended before.
const READS: u64 = 1 << 32;
/// A write is so long that no two of them go into one message.
const VALUE_BYTES: usize = 200;

/// All states that processes were ever in.
#[derive(Debug)]
pub(super) struct Processes {
    settings: Settings,
    slots: SlotRange,
    /// A key of the group, and its slot.
    key: (Vec<u8>, Slot),
    states: Interned<Process>,
    /// Steps of engines made, those that were run again included.
    pub(super) steps: u64,
}

/// One state.
#[derive(Debug)]
pub(super) struct Process {
    pub(super) me: ReplicaId,
    /// The state before and what was done, but for a process that has just started.
    before: Option<(u32, Act, u64)>,
    pub(super) view: View,
    /// Peers that it is connected to.
    pub(super) connected: Vec<ReplicaId>,
    steps: BTreeMap<(Act, u64), Step>,
}

/// What a process does: it handles one input and ends its turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Act {
    /// A letter has come.
    Read(u32),
    /// Time has passed.
    Wake,
    /// A client writes; each write has a number.
    Write(u8),
    /// A client reads, after others have seen this much.
    Get(LogIndex),
    Connect(ReplicaId),
    Lose(ReplicaId),
}

/// What came of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Step {
    pub(super) next: u32,
    pub(super) sent: Vec<u32>,
    /// Requests that were executed.
    pub(super) done: Vec<Done>,
    /// Whether it has given up what was lost.
    pub(super) has_forgotten: bool,
    /// Why it must not happen.
    pub(super) fault: Option<String>,
}

/// A request that was executed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Done {
    /// This write, by this entry.
    Write(u8, EntryId),
    /// A read that began when so much had been seen, and has seen so much.
    Get { before: LogIndex, seen: LogIndex },
}

/// What is looked at from outside.
#[derive(Clone, Debug)]
pub(super) struct View {
    pub(super) log: Vec<Line>,
    pub(super) commit: LogIndex,
    pub(super) applied: LogIndex,
    pub(super) digest: u64,
    pub(super) epoch: Epoch,
    pub(super) promise: Epoch,
    /// Whether it leads, or is about to.
    pub(super) leads: bool,
    wake_at: Option<Instant>,
}

/// One entry of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Line {
    pub(super) id: EntryId,
    /// The number of the write; 0 for a VIEW.
    pub(super) write: u8,
    /// Stands for all entries through this one.
    pub(super) through: u64,
}

impl Processes {
    pub(super) fn new(lease_ticks: u32, slots: SlotRange) -> Self {
        let config = Config {
            log_bytes: 64 << 8,
            segment_bytes: 1 << 8,
            key_bytes_max: 16,
            value_bytes_max: 1 << 10,
            append_bytes_max: 1 << 8,
            read_lease: TICK * lease_ticks,
            quorum_silence: Duration::from_secs(3_600),
            // Nothing is lost, so nothing has to be repeated.
            commit_notice: Duration::from_secs(1),
            probe_after: Duration::from_secs(60),
            ask_again: Duration::from_secs(60),
            request_timeout: Duration::from_secs(60),
            scrub_keys: 0,
            ..Config::default()
        };
        let keys = (0..).map(|number| format!("k{number}").into_bytes());
        let mut keys = keys.map(|key| (crate::slots::slot_of(&key), key));
        let (slot, key) = keys.find(|(slot, _)| slots.contains(*slot)).expect("every slot has a key");
        let settings = config.build().expect("valid settings");
        Self { settings, slots, key: (key, slot), states: Interned::new(), steps: 0 }
    }

    pub(super) fn get(&self, state: u32) -> &Process {
        self.states.get(state)
    }

    pub(super) fn len(&self) -> usize {
        self.states.len()
    }

    /// Returns the state of a process that starts, without memory and connected to nobody.
    pub(super) fn start(&mut self, me: ReplicaId) -> u32 {
        let engine = self.engine(me);
        self.number(&engine, me, None, Vec::new())
    }

    /// Returns what comes of an act of a process in this state at this tick.
    pub(super) fn step(&mut self, mails: &mut Mails, state: u32, act: Act, tick: u64) -> &Step {
        if !self.states.get(state).steps.contains_key(&(act, tick)) {
            let step = self.make_step(mails, state, act, tick);
            self.states.get_mut(state).steps.insert((act, tick), step);
        }
        &self.states.get(state).steps[&(act, tick)]
    }

    /// Returns the tick at which time asks something of it, if that is no more than `ahead` ticks after `tick`.
    pub(super) fn due(&self, state: u32, tick: u64, ahead: u64) -> Option<u64> {
        let wake_at = self.get(state).view.wake_at?;
        (tick..=tick + ahead).find(|tick| wake_at <= at_tick(*tick))
    }

    fn make_step(&mut self, mails: &mut Mails, state: u32, act: Act, tick: u64) -> Step {
        let me = self.get(state).me;
        let mut engine = self.again(mails, state);
        let mut step = Step { next: state, ..Step::default() };
        let run = catch_unwind(AssertUnwindSafe(|| {
            self.act(&mut engine, me, mails, act, tick, &mut step);
            // A rule that was taken away may leave things behind that are none of its consequences.
            if !cfg!(planted) {
                engine.check();
            }
        }));
        if let Err(panic) = run {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
            step.fault = Some(text.unwrap_or_else(|| "it stopped".to_owned()));
            return step;
        }
        let known = self.len();
        step.next = self.number_after(&engine, state, act, tick);
        if (step.next as usize) < known {
            self.compare(mails, engine, step.next, tick);
        }
        step
    }

    fn number_after(&mut self, engine: &Engine, state: u32, act: Act, tick: u64) -> u32 {
        let Process { me, connected, .. } = self.get(state);
        let (me, mut connected) = (*me, connected.clone());
        match act {
            Act::Connect(peer) => {
                connected.retain(|known| known.node != peer.node);
                connected.push(peer);
            }
            Act::Lose(peer) => connected.retain(|known| *known != peer),
            Act::Read(_) | Act::Wake | Act::Write(_) | Act::Get(_) => {}
        }
        self.number(engine, me, Some((state, act, tick)), connected)
    }

    /// Has an engine that came by another way to a state that is known do what was done there before.
    ///
    /// # Panics
    /// If something else comes of it: then states are taken for the same that are not.
    fn compare(&mut self, mails: &mut Mails, mut engine: Engine, state: u32, tick: u64) {
        let process = self.get(state);
        let mut steps = process.steps.iter().filter(|((_, at), step)| *at >= tick && step.fault.is_none());
        let Some((&(act, tick), before)) = steps.next_back() else { return };
        let (me, before) = (process.me, before.clone());
        let mut step = Step::default();
        self.act(&mut engine, me, mails, act, tick, &mut step);
        step.next = self.number_after(&engine, state, act, tick);
        assert_eq!(step, before, "what decides this is not in the fingerprint: {act:?} in state {state}");
    }

    fn engine(&self, me: ReplicaId) -> Engine {
        Engine::new(self.settings.clone(), me, vec![GroupConfig::undecided(GROUP, self.slots)])
    }

    /// Returns an engine in this state.
    fn again(&mut self, mails: &mut Mails, state: u32) -> Engine {
        let mut acts = Vec::new();
        let mut at = state;
        while let Some((before, act, tick)) = self.get(at).before {
            acts.push((act, tick));
            at = before;
        }
        let me = self.get(state).me;
        let mut engine = self.engine(me);
        for (act, tick) in acts.into_iter().rev() {
            self.act(&mut engine, me, mails, act, tick, &mut Step::default());
        }
        engine
    }

    fn act(&mut self, engine: &mut Engine, me: ReplicaId, mails: &mut Mails, act: Act, tick: u64, step: &mut Step) {
        self.steps += 1;
        let now = at_tick(tick);
        match act {
            Act::Read(mail) => {
                let mail = mails.get(mail).clone();
                match &mail {
                    Mail::Letter { from, epoch, message, .. } => {
                        let envelope = Envelope { from: *from, group: GROUP, epoch: *epoch, message: message.get() };
                        take(me, mails, engine.handle(now, Input::Message(envelope)), step);
                    }
                    Mail::News(news) => {
                        take(me, mails, engine.handle(now, Input::News { group: GROUP, news }), step);
                    }
                    Mail::Ask { .. } => unreachable!("the core reads what it is asked"),
                }
            }
            Act::Wake => {}
            Act::Write(number) => {
                let value = [number; VALUE_BYTES];
                let command = Command { value: &value, ..Command::new(Op::Set, &self.key.0) };
                let token = Token(u64::from(number));
                take(me, mails, engine.handle(now, Input::Request(self.request(token, &encoded(command)))), step);
            }
            Act::Get(before) => {
                let command = encoded(Command::new(Op::Get, &self.key.0));
                let request = self.request(Token(READS + before.0), &command);
                take(me, mails, engine.handle(now, Input::Request(request)), step);
            }
            Act::Connect(peer) => take(me, mails, engine.handle(now, Input::PeerConnected(peer)), step),
            Act::Lose(peer) => take(me, mails, engine.handle(now, Input::PeerLost(peer)), step),
        }
        take(me, mails, engine.end_turn(now), step);
    }

    fn request<'a>(&self, token: Token, command: &'a [u8]) -> Request<'a> {
        Request { token, group: GROUP, slot: self.key.1, command, level: Level::Commit, after: LogIndex(0) }
    }

    fn number(
        &mut self,
        engine: &Engine,
        me: ReplicaId,
        before: Option<(u32, Act, u64)>,
        connected: Vec<ReplicaId>,
    ) -> u32 {
        let mut key = Recorder::default();
        engine.fingerprint(&mut key);
        self.states.number(key, || Process { me, before, view: View::of(engine), connected, steps: BTreeMap::new() })
    }
}

impl View {
    fn of(engine: &Engine) -> Self {
        let status = engine.status().into_iter().next().expect("the group lives here");
        let mut log: Vec<Line> = Vec::new();
        engine.visit_entries(GROUP, |entry| {
            let mut bytes = log.last().map_or(0, |line| line.through).to_le_bytes().to_vec();
            bytes.extend_from_slice(entry.raw());
            log.push(Line { id: entry.id(), write: write_of(entry), through: rapidhash_v3(&bytes) });
        });
        Self {
            log,
            commit: status.commit,
            applied: status.applied,
            digest: status.digest,
            epoch: status.epoch,
            promise: engine.promise(GROUP),
            leads: !matches!(status.state, GroupState::Following { .. } | GroupState::Installing),
            wake_at: engine.wake_at(),
        }
    }

    /// Whether it is the candidate of an epoch, and has not adopted a log yet.
    pub(super) fn seals(&self, epoch: Epoch) -> bool {
        self.leads && self.promise == epoch && self.epoch != epoch
    }

    /// Whether it leads this epoch, or a change to it.
    pub(super) fn leads_at(&self, epoch: Epoch) -> bool {
        self.leads && (self.epoch == epoch || self.promise == epoch)
    }

    /// Returns the entry at `index`, if it is in the log.
    pub(super) fn line(&self, index: LogIndex) -> Option<&Line> {
        let first = self.log.first()?.id.index;
        self.log.get(usize::try_from(index.0.checked_sub(first.0)?).expect("a short log"))
    }
}

fn at_tick(tick: u64) -> Instant {
    Instant(START.0 + tick * crate::time::nanos(TICK))
}

fn encoded(command: Command<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    command.encode_into(&mut bytes);
    bytes
}

fn write_of(entry: &Entry<'_>) -> u8 {
    match entry.kind() {
        EntryKind::View => 0,
        EntryKind::Command => {
            let command = Command::decode(entry.body()).expect("entries hold checked commands");
            command.value.first().copied().unwrap_or_default()
        }
    }
}

/// Takes what comes out of a process.
fn take(me: ReplicaId, mails: &mut Mails, outputs: Outputs<'_>, step: &mut Step) {
    for output in outputs {
        match output {
            Output::Send { to, epoch, mut message, .. } => {
                if let Message::Ack(ack) = &mut message {
                    // What it says of the state is compared by the judge: letters that differ in nothing else are one.
                    ack.state = Note::default();
                }
                step.sent.push(mails.number(Mail::Letter { from: me, to, epoch, message: (&message).into() }));
            }
            Output::Ask { ask, .. } => step.sent.push(mails.number(Mail::Ask { from: me, ask })),
            Output::Reply { token: Token(token), outcome: Outcome::Done { id, .. } } => {
                step.done.push(match token.checked_sub(READS) {
                    Some(before) => Done::Get { before: LogIndex(before), seen: id.index },
                    None => Done::Write(u8::try_from(token).expect("the number of a write"), id),
                });
            }
            Output::Reply { .. } => {}
            // Whoever finds what others have done wrong drops it; what is lost or wrong by then is looked for.
            Output::Notify(Event::Malformed { from, what, .. }) if !cfg!(planted) => {
                step.fault = Some(format!("{from:?} has sent {what}"));
            }
            Output::Notify(Event::Forgotten { .. }) => step.has_forgotten = true,
            Output::Notify(_) => {}
        }
    }
}
