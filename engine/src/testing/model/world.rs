//! One state of the whole, and what can happen next.

use super::bounds::{Bounds, Change, Links, Order};
use super::core::{Cores, Word};
use super::interned::Interned;
use super::judge;
use super::mail::{Mail, Mails};
use super::process::{Act, Line, Processes};
use crate::control::record::{Ask, News};
use crate::ids::{Epoch, LogIndex, NodeId, ReplicaId};

/// One state of the whole. Everything large in it is a number that the model knows.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct World {
    /// The clock of each node, in ticks.
    pub(super) clocks: Vec<u64>,
    /// The process of each node.
    pub(super) processes: Vec<u32>,
    pub(super) core: u32,
    /// What was sent and may come.
    pub(super) mail: Vec<u32>,
    /// The last entry that the answer to any request has shown.
    pub(super) seen: LogIndex,
    /// The entries that any process has known to be committed.
    pub(super) committed: u32,
    /// The loss generation that is active, and its first epoch; what was seen and committed before does not count.
    pub(super) generation: (u64, Epoch),
    used: Used,
    pub(super) fault: Option<Fault>,
}

/// How much has happened of what there are bounds for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
struct Used {
    writes: u8,
    renewals: u8,
    epochs: u8,
    restarts: u8,
}

/// What must never be.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Fault {
    /// Something committed is not in the log of whoever leads the active configuration, or other entries were committed in
    /// its place.
    Lost,
    /// Two logs differ before an entry that both hold, or two states after the same entries.
    Forked,
    /// A write was acknowledged by an entry that is another one's.
    Misattributed,
    /// An answer to a read misses what others were shown before it began.
    Stale,
    /// The commit index of a process fell, and that is not because it has given up what was lost.
    Uncommitted,
    /// Somebody has answered in an older loss generation after others have in the one that is active.
    Outlived,
    /// A process has stopped because an invariant of its own does not hold, or says that another one breaks the protocol.
    Stopped(String),
}

/// One thing that can happen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// A letter comes.
    Deliver {
        /// Its number.
        mail: u32,
    },
    /// News reach a node.
    Tell {
        /// Which node.
        node: u16,
        /// Their number.
        mail: u32,
    },
    /// What a process asks reaches the core.
    Ask {
        /// The number of the question.
        mail: u32,
    },
    /// A process looks at the clock.
    Wake {
        /// On this node.
        node: u16,
        /// It shows this.
        tick: u64,
    },
    /// The clock goes on, everywhere.
    Tick,
    /// A client writes.
    Write {
        /// To this node.
        node: u16,
    },
    /// A client reads, and the leader cannot answer at once, or renews its lease.
    Read {
        /// On this node.
        node: u16,
    },
    /// The core decides on a change that was planned on a version of the record.
    Change {
        /// Which one.
        change: Change,
        /// Its leader.
        leader: NodeId,
        /// The version.
        version: u64,
    },
    /// A process ends, and another one starts in its place.
    Restart {
        /// On this node.
        node: u16,
    },
    /// A process learns that it faces another run of a node.
    Meet {
        /// The process.
        node: u16,
        /// The run.
        peer: ReplicaId,
    },
}

/// All states of all parts that were ever met.
#[derive(Debug)]
pub(super) struct Tables {
    pub(super) processes: Processes,
    pub(super) mails: Mails,
    pub(super) cores: Cores,
    pub(super) chains: Interned<Vec<Line>>,
    /// Whether there is a clock.
    pub(super) is_timed: bool,
    pub(super) links: Links,
}

impl Tables {
    /// Returns the first state: the first leader has its first entry committed, and everybody knows.
    pub(super) fn start(&mut self, bounds: &Bounds) -> World {
        let nodes: Vec<NodeId> = (1..=bounds.nodes).map(NodeId).collect();
        let mut world = World {
            clocks: vec![0; nodes.len()],
            processes: Vec::new(),
            core: self.cores.start(bounds.nodes, usize::from(bounds.members), bounds.write_quorum),
            mail: Vec::new(),
            seen: LogIndex(0),
            committed: judge::chain(&mut self.chains, Vec::new()),
            generation: (0, Epoch(0)),
            used: Used::default(),
            fault: None,
        };
        for node in &nodes {
            self.say(&mut world, &Word::Register(*node, u64::MAX));
        }
        let holders = nodes.iter().copied().filter(|node| !bounds.idle.contains(&node.0)).collect();
        self.say(&mut world, &Word::Place(holders));
        let runs: Vec<ReplicaId> = nodes.iter().map(|node| self.cores.get(world.core).current(*node)).collect();
        world.processes = runs.iter().map(|run| self.processes.start(*run)).collect();
        for (node, run) in (1..).zip(&runs) {
            for peer in runs.iter().filter(|peer| *peer != run) {
                self.act(&mut world, node, Act::Connect(*peer));
            }
        }
        self.settle(&mut world, bounds);
        world.clocks.fill(first_tick(bounds) / 2);
        // A read that is parked renews the commit index of the others as well as the lease.
        self.act(&mut world, 1, Act::Get(LogIndex(0)));
        self.settle(&mut world, bounds);
        world.clocks.fill(first_tick(bounds));
        let is_news = |mail: &u32| matches!(self.mails.get(*mail), Mail::News(_));
        world.mail = world.mail.iter().copied().filter(is_news).max().into_iter().collect();
        world
    }

    /// Delivers everything once, until nothing is left.
    fn settle(&mut self, world: &mut World, bounds: &Bounds) {
        let mut came = Vec::new();
        loop {
            let actions = self.actions(world, bounds);
            let is_mail = |action: &&Action| matches!(action, Action::Deliver { .. } | Action::Tell { .. });
            let Some(action) = actions.iter().find(|action| is_mail(action) && !came.contains(*action)) else { return };
            *world = self.next(world, action);
            came.push(action.clone());
        }
    }

    /// Returns everything that can happen and changes something.
    pub(super) fn actions(&mut self, world: &World, bounds: &Bounds) -> Vec<Action> {
        let mut actions = Vec::new();
        if world.fault.is_some() {
            return actions;
        }
        for &mail in &world.mail {
            self.mail_actions(world, mail, &mut actions);
        }
        if world.clocks[0] < first_tick(bounds) + bounds.ticks {
            actions.push(Action::Tick);
        }
        for node in 1..=bounds.nodes {
            self.node_actions(world, bounds, node, &mut actions);
        }
        let used = world.used.epochs;
        match bounds.order {
            Order::Given => {
                self.changes(world, bounds, bounds.changes.iter().skip(usize::from(used)).take(1), &mut actions)
            }
            Order::Any(max) if used < max => self.changes(world, bounds, bounds.changes.iter(), &mut actions),
            Order::Any(_) => {}
        }
        actions
    }

    fn mail_actions(&mut self, world: &World, mail: u32, actions: &mut Vec<Action>) {
        match self.mails.get(mail) {
            Mail::Letter { from, to, .. } => {
                let (node, from, to) = (to.node.0, *from, *to);
                let process = self.processes.get(world.process(node));
                let is_open = process.me == to && process.connected.contains(&from);
                if is_open && self.matters(world, node, Act::Read(mail)) {
                    actions.push(Action::Deliver { mail });
                }
            }
            Mail::News(_) => {
                for node in 1..=world.node_count() {
                    if self.matters(world, node, Act::Read(mail)) {
                        actions.push(Action::Tell { node, mail });
                    }
                }
            }
            Mail::Ask { from, ask: Ask::Activate { epoch } } => {
                let word = Word::Activate(*from, *epoch);
                if self.cores.step(&mut self.mails, world.core, &word).0 != world.core {
                    actions.push(Action::Ask { mail });
                }
            }
            // The core decides on changes by itself, whether it is asked or not.
            Mail::Ask { .. } => {}
        }
    }

    fn node_actions(&mut self, world: &World, bounds: &Bounds, node: u16, actions: &mut Vec<Action>) {
        let state = world.process(node);
        // Where no clock is watched, each goes on by itself.
        let ahead = if bounds.ticks == 0 { u64::from(bounds.lease_ticks) } else { 0 };
        if let Some(tick) = self.processes.due(state, world.clock(node), ahead)
            && self.would_matter(world, node, Act::Wake, tick)
        {
            actions.push(Action::Wake { node, tick });
        }
        if world.used.writes < bounds.writes && self.matters(world, node, Act::Write(world.used.writes + 1)) {
            actions.push(Action::Write { node });
        }
        if world.used.renewals < bounds.renewals && self.matters(world, node, Act::Get(world.seen)) {
            actions.push(Action::Read { node });
        }
        let process = self.processes.get(state);
        for peer in &process.connected {
            let current = self.processes.get(world.process(peer.node.0)).me;
            if current != *peer {
                actions.push(Action::Meet { node, peer: current });
            }
        }
        if world.used.restarts < bounds.restarts_max && bounds.restarts.contains(&node) {
            actions.push(Action::Restart { node });
        }
    }

    fn changes<'a>(
        &mut self,
        world: &World,
        bounds: &Bounds,
        changes: impl Iterator<Item = &'a Change> + Clone,
        actions: &mut Vec<Action>,
    ) {
        let is_lost = bounds.has_liar || self.cores.get(world.core).is_lost();
        // Whoever plans may know any version that there ever was.
        for &mail in &world.mail {
            let Mail::News(News { version, active, .. }) = self.mails.get(mail) else { continue };
            let (version, active) = (*version, active.leader);
            for change in changes.clone() {
                let leader = match change {
                    Change::Takeover { leader, .. } => NodeId(*leader),
                    Change::Loss { .. } if !is_lost => continue,
                    Change::Loss { leader, .. } => NodeId(*leader),
                    Change::Live { members } if members.contains(&active.0) => active,
                    Change::Live { .. } => continue,
                };
                let word = Word::Change { change: change.clone(), leader, version };
                if self.cores.step(&mut self.mails, world.core, &word).0 != world.core {
                    actions.push(Action::Change { change: change.clone(), leader, version });
                }
            }
        }
    }

    /// Returns the state after an action.
    pub(super) fn next(&mut self, world: &World, action: &Action) -> World {
        let mut next = world.clone();
        match action {
            Action::Deliver { mail } => {
                let Mail::Letter { to, .. } = self.mails.get(*mail) else { unreachable!("a letter is delivered") };
                let node = to.node.0;
                self.receive(&mut next, *mail);
                self.act(&mut next, node, Act::Read(*mail));
            }
            Action::Tell { node, mail } => self.act(&mut next, *node, Act::Read(*mail)),
            Action::Ask { mail } => {
                if let Mail::Ask { from, ask: Ask::Activate { epoch } } = self.mails.get(*mail) {
                    let word = Word::Activate(*from, *epoch);
                    self.say(&mut next, &word);
                }
            }
            Action::Wake { node, tick } => {
                next.clocks[usize::from(*node) - 1] = *tick;
                self.act(&mut next, *node, Act::Wake);
            }
            Action::Tick => next.clocks.iter_mut().for_each(|clock| *clock += 1),
            Action::Write { node } => {
                next.used.writes += 1;
                let number = next.used.writes;
                self.act(&mut next, *node, Act::Write(number));
            }
            Action::Read { node } => {
                next.used.renewals += 1;
                self.act(&mut next, *node, Act::Get(world.seen));
            }
            Action::Change { change, leader, version } => {
                next.used.epochs += 1;
                let word = Word::Change { change: change.clone(), leader: *leader, version: *version };
                self.say(&mut next, &word);
            }
            Action::Restart { node } => self.restart(&mut next, NodeId(*node)),
            Action::Meet { node, peer } => {
                let process = self.processes.get(next.process(*node));
                let before = process.connected.iter().copied().find(|known| known.node == peer.node);
                if let Some(before) = before {
                    self.act(&mut next, *node, Act::Lose(before));
                }
                self.act(&mut next, *node, Act::Connect(*peer));
            }
        }
        if next.fault.is_none() {
            judge::look(self, &mut next);
        }
        self.forget(&mut next);
        next
    }

    fn restart(&mut self, world: &mut World, node: NodeId) {
        world.used.restarts += 1;
        self.say(world, &Word::Register(node, u64::from(world.used.restarts)));
        let run = self.cores.get(world.core).current(node);
        world.processes[usize::from(node.0) - 1] = self.processes.start(run);
        for other in (1..=world.node_count()).map(NodeId).filter(|other| *other != node) {
            let peer = self.cores.get(world.core).current(other);
            self.act(world, node.0, Act::Connect(peer));
        }
    }

    /// Has the core hear a word.
    fn say(&mut self, world: &mut World, word: &Word) {
        let (core, news) = self.cores.step(&mut self.mails, world.core, word);
        world.core = core;
        news.into_iter().for_each(|news| self.send(world, news));
    }

    /// Has the process of a node do something.
    fn act(&mut self, world: &mut World, node: u16, act: Act) {
        if world.fault.is_some() {
            return;
        }
        let before = world.process(node);
        let mut step = self.processes.step(&mut self.mails, before, act, world.clock(node)).clone();
        if let Some(fault) = step.fault.take() {
            world.fault = Some(Fault::Stopped(fault));
            return;
        }
        world.processes[usize::from(node) - 1] = step.next;
        for mail in &step.sent {
            if self.is_heard(*mail) {
                self.send(world, *mail);
            }
        }
        judge::judge(self, world, node, before, &step);
    }
}

impl World {
    /// Returns what must never be and is, if anything.
    #[must_use]
    pub fn fault(&self) -> Option<&Fault> {
        self.fault.as_ref()
    }

    pub(super) fn process(&self, node: u16) -> u32 {
        self.processes[usize::from(node) - 1]
    }

    pub(super) fn clock(&self, node: u16) -> u64 {
        self.clocks[usize::from(node) - 1]
    }

    pub(super) fn node_count(&self) -> u16 {
        u16::try_from(self.processes.len()).expect("a few nodes")
    }
}

/// Returns the tick at which a model begins. The leases that the first entry gave run from tick 0, or have run out: they were
/// renewed once, when they had, so that everybody knows that it is committed.
fn first_tick(bounds: &Bounds) -> u64 {
    if bounds.leased { 0 } else { 2 * u64::from(bounds.lease_ticks) }
}
