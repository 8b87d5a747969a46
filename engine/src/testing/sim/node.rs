//! One node of the simulated cluster: what has arrived, and its turns.
//!
//! A turn handles some of what has arrived at the time that the node's clock shows then, and puts what comes of it on its way.

use std::collections::{BTreeMap, VecDeque};

use super::client::{Client, Request};
use super::control::Told;
use super::judge::History;
use super::network::{Links, Parcel};
use super::{End, Event, LossGen, Sim};
use crate::config::{GroupConfig, Placement};
use crate::control::record::Ask;
use crate::engine::{Engine, Input};
use crate::group;
use crate::ids::{GroupId, Incarnation, NodeId, ReplicaId};
use crate::message::Message;
use crate::output::{Event as Notice, Outcome, Output, Outputs, Token};
use crate::slots::slot_of;
use crate::time::Instant;

pub(super) struct Node {
    pub(super) incarnation: Incarnation,
    /// `None`: it is down.
    pub(super) engine: Option<Engine>,
    pub(super) inbox: VecDeque<Inbound>,
    /// When its next turn is, if one is due.
    pub(super) turn_at: Option<u64>,
    pub(super) paused_until: u64,
    heard: BTreeMap<GroupId, Heard>,
}

impl Node {
    pub(super) fn down() -> Self {
        Self {
            incarnation: Incarnation(0),
            engine: None,
            inbox: VecDeque::new(),
            turn_at: None,
            paused_until: 0,
            heard: BTreeMap::new(),
        }
    }
}

/// What a node has heard last of the losses of a group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Heard {
    /// The version of the news.
    version: u64,
    /// The loss generation that is active: it is part of every answer.
    active: LossGen,
    /// The one that may follow. What was appended may be done in that.
    pending: LossGen,
}

pub(super) enum Inbound {
    Message(Parcel),
    Connected(ReplicaId),
    Lost(ReplicaId),
    Busy(ReplicaId),
    Ready(ReplicaId),
    Request(Request),
    News(Told),
}

impl Sim {
    pub(super) fn turn(&mut self, id: NodeId) {
        let clock = self.clock(id);
        let mut rng = self.rng.fork();
        let node = self.nodes.get_mut(&id).expect("a node of the plan");
        if node.turn_at != Some(self.now) {
            return;
        }
        node.turn_at = None;
        let replica = ReplicaId { node: id, incarnation: node.incarnation };
        let Some(engine) = &mut node.engine else { return };
        if node.paused_until > self.now {
            node.turn_at = Some(node.paused_until);
            let at = node.paused_until;
            return self.schedule(at, Event::Turn(id));
        }
        let count = rng.usize(..=node.inbox.len()).max(1).min(node.inbox.len());
        let mut sent = Vec::new();
        let mut performer = Performer {
            links: &mut self.links,
            clients: &self.clients,
            heard: &mut node.heard,
            now: self.now,
            from: replica,
            sent: &mut sent,
        };
        let mut notices = Vec::new();
        for inbound in node.inbox.drain(..count) {
            performer.handle(engine, clock, &self.placement, &inbound, &mut notices);
        }
        if rng.bool() {
            performer.perform(engine.flush(), &mut notices);
        }
        performer.perform(engine.end_turn(clock), &mut notices);
        for notice in &notices {
            if let Notice::Forgotten { group, .. } = notice {
                self.judge.forget(replica, *group);
            }
        }
        let core = self.core.as_ref();
        let is_damaged = self.damaged.is_some_and(|(damaged, _)| damaged == id);
        let history_of = |group, epoch| {
            core.map_or(History::default(), |core| History {
                loss_gen: core.loss_gen(group, epoch),
                stamp: core.has_lost(group).then_some(epoch),
            })
        };
        self.judge.look(replica, engine, history_of, is_damaged);
        let wants_turn = !node.inbox.is_empty() || engine.has_work();
        let wake_at = engine.wake_at();
        self.trace(1, u64::from(id.0) << 32 | count as u64, clock.0);
        for sent in sent {
            self.dispatch(sent);
        }
        for notice in notices {
            self.note_notice(replica, &notice);
        }
        if wants_turn {
            self.want_turn(id, self.now + 1_000);
        } else if let Some(at) = wake_at {
            let at = self.true_time(id, at).max(self.now + 1_000);
            self.want_turn(id, at);
        }
    }

    pub(super) fn dispatch(&mut self, sent: Sent) {
        match sent {
            Sent::Lost => self.note("a message was lost"),
            Sent::Parcel { parcel, arrivals } => {
                if let Message::Fetch { .. } = parcel.envelope().message {
                    self.note("a candidate asked for entries");
                }
                for at in arrivals {
                    self.schedule(at, Event::Arrive(parcel.clone()));
                }
            }
            Sent::Ask { from, group, ask } => self.ask(from, group, ask),
            Sent::Reply { token, end } => {
                let client = client_of(token);
                if let (End::Done(_, _, loss_gen), Some(group)) = (&end, self.clients[client].group_of(token)) {
                    self.judge.answer(group, *loss_gen);
                }
                let at = self.now + self.links.delay();
                self.schedule(at, Event::Reply { client, token, end });
            }
        }
    }

    pub(super) fn arrive(&mut self, parcel: Parcel) {
        let id = parcel.to();
        let receiver = ReplicaId { node: id, incarnation: self.nodes[&id].incarnation };
        if self.links.reaches(&parcel, receiver) {
            self.deliver(id, Inbound::Message(parcel));
        }
    }

    pub(super) fn deliver(&mut self, id: NodeId, inbound: Inbound) {
        let node = self.nodes.get_mut(&id).expect("a node of the plan");
        if node.engine.is_none() {
            return;
        }
        node.inbox.push_back(inbound);
        let at = self.now + self.rng.u64(..5_000);
        self.want_turn(id, at);
    }

    pub(super) fn want_turn(&mut self, id: NodeId, at: u64) {
        let node = self.nodes.get_mut(&id).expect("a node of the plan");
        if node.turn_at.is_none_or(|turn_at| at < turn_at) {
            node.turn_at = Some(at);
            self.schedule(at, Event::Turn(id));
        }
    }

    pub(super) fn restart(&mut self, id: NodeId) {
        let number = self.next_incarnation;
        self.next_incarnation += 1;
        let alone = ReplicaId { node: id, incarnation: Incarnation(number) };
        let me = self.register(id, number).unwrap_or(alone);
        self.trace(3, u64::from(id.0), me.incarnation.0);
        let slots = self.placement.slots();
        let groups = self.groups().map(|group| match &self.core {
            None => self.placement.group(group),
            Some(_) => GroupConfig::undecided(group, slots.slots_of(group)),
        });
        let settings = self.plan.config.clone().build().expect("plans keep within the limits");
        let engine = Engine::new(settings, me, groups.collect());
        self.nodes.insert(id, Node { incarnation: me.incarnation, engine: Some(engine), ..Node::down() });
        for other in self.other_nodes(id) {
            self.schedule_connect(id, other);
        }
        self.want_turn(id, self.now);
    }

    pub(super) fn other_nodes(&self, id: NodeId) -> Vec<NodeId> {
        self.nodes.keys().copied().filter(|other| *other != id).collect()
    }
}

/// What a node's turn has put on its way.
pub(super) enum Sent {
    Lost,
    Parcel { parcel: Parcel, arrivals: Vec<u64> },
    Reply { token: Token, end: End },
    Ask { from: ReplicaId, group: GroupId, ask: Ask },
}

/// Hands inputs to an engine and performs its outputs.
struct Performer<'a> {
    links: &'a mut Links,
    clients: &'a [Client],
    heard: &'a mut BTreeMap<GroupId, Heard>,
    now: u64,
    from: ReplicaId,
    sent: &'a mut Vec<Sent>,
}

impl Performer<'_> {
    fn handle(
        &mut self,
        engine: &mut Engine,
        clock: Instant,
        placement: &Placement,
        inbound: &Inbound,
        notices: &mut Vec<Notice>,
    ) {
        let input = match inbound {
            Inbound::Message(parcel) => Input::Message(parcel.envelope()),
            Inbound::Connected(peer) => Input::PeerConnected(*peer),
            Inbound::Lost(peer) => Input::PeerLost(*peer),
            Inbound::Busy(peer) => {
                self.links.unclog(self.from.node, peer.node);
                Input::PeerBusy(*peer)
            }
            Inbound::Ready(peer) => Input::PeerReady(*peer),
            Inbound::News((group, news)) => {
                let active = news.active.loss_gen;
                let pending = news.pending.as_ref().map_or(active, |change| change.config.loss_gen);
                let heard = self.heard.entry(*group).or_default();
                *heard = (*heard).max(Heard { version: news.version, active, pending });
                Input::News { group: *group, news }
            }
            Inbound::Request(Request { token, key, command, level, after }) => {
                let slot = slot_of(key.as_bytes());
                let group = placement.slots().group_of(slot);
                let (token, level, after) = (*token, *level, *after);
                Input::Request(group::Request { token, group, slot, command, level, after })
            }
        };
        self.perform(engine.handle(clock, input), notices);
    }

    fn perform(&mut self, outputs: Outputs<'_>, notices: &mut Vec<Notice>) {
        for output in outputs {
            match output {
                Output::Send { to, group, epoch, message } => {
                    let sent = self.links.send(self.now, self.from, to, (group, epoch), &message);
                    self.sent.push(sent.map_or(Sent::Lost, |(parcel, arrivals)| Sent::Parcel { parcel, arrivals }));
                }
                Output::Reply { token, outcome } => {
                    let end = match outcome {
                        Outcome::Done { id, answer } => End::Done(id, answer.to_vec(), self.heard(token).active),
                        Outcome::Accepted { id } => End::Accepted(id, self.heard(token).pending),
                        Outcome::Refused(refusal) => End::Refused(refusal),
                        Outcome::Unknown { id } => End::Unknown(id, self.heard(token).pending),
                    };
                    self.sent.push(Sent::Reply { token, end });
                }
                Output::Ask { group, ask } => self.sent.push(Sent::Ask { from: self.from, group, ask }),
                Output::Notify(notice) => notices.push(notice),
            }
        }
    }

    /// Returns what the node has heard of the group that a request is about.
    fn heard(&self, token: Token) -> Heard {
        let group = self.clients[client_of(token)].group_of(token);
        group.and_then(|group| self.heard.get(&group)).copied().unwrap_or_default()
    }
}

/// Returns which client has sent a request.
pub(super) fn client_of(token: Token) -> usize {
    usize::try_from(token.0 >> 32).expect("a small number") - 1
}
