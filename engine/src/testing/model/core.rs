//! The consistent core of the model: the state that core nodes would agree on, as one register that never fails.

use std::collections::BTreeMap;

use super::bounds::Change;
use super::interned::{Interned, Recorder};
use super::mail::{Mail, Mails};
use super::process::GROUP;
use crate::config::{GroupConfig, Member};
use crate::control::operation::Decision;
use crate::control::record::{ChangeKind, News};
use crate::control::state::{Activation, Birth, Command, Hope, Planned, State};
use crate::ids::{Epoch, NodeId, ReplicaId};
use crate::slots::SlotMap;

/// So many groups make for a small one; the others live nowhere.
const PARTITIONS: u32 = 256;

/// All states that the core was ever in.
#[derive(Debug)]
pub(super) struct Cores(Interned<Core>);

/// One state.
#[derive(Debug)]
pub(super) struct Core {
    state: State,
    /// What it tells everybody.
    pub(super) news: Option<News>,
    steps: BTreeMap<Word, u32>,
}

/// What the core is told to do.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Word {
    /// A process of this node has started, and drew this number.
    Register(NodeId, u64),
    /// Somebody has planned this on a version of the record.
    Change { change: Change, leader: NodeId, version: u64 },
    /// A leader asks for its epoch.
    Activate(ReplicaId, Epoch),
    /// All these nodes shall hold the group.
    Place(Vec<NodeId>),
}

impl Cores {
    pub(super) fn new() -> Self {
        Self(Interned::new())
    }

    /// Returns the state of a new cluster.
    pub(super) fn start(&mut self, nodes: u16, replicas: usize, write_quorum: usize) -> u32 {
        let nodes = (1..=nodes).map(NodeId).collect();
        self.number(State::new(Birth { slots: slots(), nodes, replicas, write_quorum }))
    }

    pub(super) fn get(&self, core: u32) -> &Core {
        self.0.get(core)
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Returns the state after a word, and the news if they are new.
    pub(super) fn step(&mut self, mails: &mut Mails, core: u32, word: &Word) -> (u32, Option<u32>) {
        let before = self.get(core);
        let next = match before.steps.get(word) {
            Some(next) => *next,
            None => {
                let next = before.after(word);
                let next = self.number(next);
                self.0.get_mut(core).steps.insert(word.clone(), next);
                next
            }
        };
        let (before, news) = (&self.get(core).news, &self.get(next).news);
        let news = news.as_ref().filter(|_| before != news).map(|news| mails.number(Mail::News(news.clone())));
        (next, news)
    }

    fn number(&mut self, state: State) -> u32 {
        self.0.number(Recorder::of(&state), || Core { news: state.news(GROUP), state, steps: BTreeMap::new() })
    }
}

impl Core {
    /// Returns the name that a run of a node was given last; nobody has it if the run before was declared dead.
    ///
    /// # Panics
    /// If none registered.
    pub(super) fn current(&self, node: NodeId) -> ReplicaId {
        self.state.latest(node).expect("all nodes have registered")
    }

    /// Returns the active configuration.
    ///
    /// # Panics
    /// If the group is not formed.
    pub(super) fn active(&self) -> &GroupConfig {
        self.state.group(GROUP).expect("the group is formed").active()
    }

    /// Whether the group cannot be led any more, unless that is accepted.
    pub(super) fn is_lost(&self) -> bool {
        self.state.hope(GROUP) != Hope::Some
    }

    /// Whether a loss of the group was accepted, active or not.
    pub(super) fn has_lost(&self) -> bool {
        let record = self.state.group(GROUP).expect("the group is formed");
        let pending = record.pending().is_some_and(|change| change.kind == ChangeKind::Loss);
        pending || record.active().loss_gen > 0
    }

    /// Whether a change to this epoch can become active.
    pub(super) fn is_pending(&self, epoch: Epoch) -> bool {
        let record = self.state.group(GROUP).expect("the group is formed");
        record.pending().is_some_and(|change| change.config.epoch == epoch)
    }

    fn after(&self, word: &Word) -> State {
        let mut state = self.state.clone();
        let command = match word {
            Word::Register(node, nonce) => Command::Register { node: *node, nonce: *nonce },
            Word::Change { change: change @ Change::Loss { .. }, leader, version } => {
                let decision = Decision::AcceptLoss(vec![self.planned(change, *leader, *version)]);
                Command::Operate { caller: self.current(*leader), number: *version, decision }
            }
            Word::Change { change, leader, version } => Command::Change(vec![self.planned(change, *leader, *version)]),
            Word::Activate(caller, epoch) => {
                Command::Activate(vec![Activation { group: GROUP, epoch: *epoch, caller: *caller }])
            }
            Word::Place(nodes) => Command::Place { group: GROUP, nodes: nodes.clone() },
        };
        state.apply(&command);
        // What has happened decides nothing: two ways to the same state are one.
        state.forget_events();
        state
    }

    fn planned(&self, change: &Change, leader: NodeId, version: u64) -> Planned {
        let active = self.active();
        let (kind, nodes) = match change {
            Change::Takeover { members, .. } => (ChangeKind::Takeover, members),
            Change::Live { members } => (ChangeKind::Live, members),
            Change::Loss { members, .. } => (ChangeKind::Loss, members),
        };
        let member = |node: &u16| {
            let node = NodeId(*node);
            // Whoever takes over cannot choose among runs: a new one has nothing.
            let kept = active.incarnation_of(node).filter(|_| kind == ChangeKind::Takeover);
            Member { node, incarnation: kept.or(Some(self.current(node).incarnation)) }
        };
        let members = nodes.iter().map(member).collect();
        Planned { group: GROUP, version, kind, leader, members, write_quorum: active.write_quorum }
    }
}

pub(super) fn slots() -> SlotMap {
    SlotMap::new(PARTITIONS).expect("1 to 16384 partitions")
}
