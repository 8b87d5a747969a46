//! Core nodes, the processes of all nodes and the network between them, on one clock and from one seed.
//!
//! A process registers, says that it lives, brings every change that it is to lead over at once, and wants learners counted;
//! if it is to, it stores and reads a key of the core too, one operation after another.
//! Connections between nodes keep the order of what they carry; when one is cut, what is on its way is lost, and both ends
//! are told when there is a new one. What one node says to several takes its time to each of them.
//!
//! No operation on that key misses what was told before it began (`version`).
//!
//! A core node that is wiped starts as a process like the others, over a blank store, until an era names that one. One that is started
//! to restore the core waits until it can, or ends. A process that hears that it counts for nothing ends.
//!
//! After every step: core nodes that have applied equally much of an era agree (`seen`), and nobody is told two things about the same
//! version of a group (`told`), or two names for one process (`named`).

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use quorate_engine::control::core::{
    Core, CoreInput, CoreOutput, CoreSettings, Entry, Era, EraId, EraStore as _, NotRestored, Place, Pledge, Prospect,
    Restoration, Standing, known,
};
use quorate_engine::control::detector::Heartbeat;
use quorate_engine::control::keyspace::KeyspaceError;
use quorate_engine::control::operation::{Decision, Operation, Outcome, Refusal};
use quorate_engine::control::record::{Ask, News};
use quorate_engine::control::state::{Birth, Command, Hope, State};
use quorate_engine::ids::{GroupId, NodeId, ReplicaId};
use quorate_engine::slots::SlotMap;
use quorate_engine::testing::store::MemoryStore;
use quorate_engine::time::Instant;

pub(crate) const MS: u64 = 1_000_000;
pub(crate) const SUSPICION_MS: u64 = 150;
pub(crate) const GROUPS: u32 = 4;
const BEAT_MS: u64 = 37;
const ASK_MS: u64 = 20;
const RETELL_MS: u64 = 100;

/// See the module.
pub(crate) struct Stage {
    pub(crate) now: u64,
    pub(crate) random: Random,
    pub(crate) nodes: BTreeMap<NodeId, Node>,
    core_nodes: Vec<NodeId>,
    birth: Birth,
    /// Connections, by their ends, the smaller one first: which one it is, and whether it is up.
    links: BTreeMap<(NodeId, NodeId), (u64, bool)>,
    /// When the last message from one node to another arrives.
    arrivals: BTreeMap<(NodeId, NodeId), u64>,
    events: BTreeMap<(u64, u64), Event>,
    event_count: u64,
    seen: BTreeMap<(u32, u64, usize), State>,
    told: BTreeMap<(GroupId, u64), News>,
    named: BTreeMap<ReplicaId, u64>,
    rules: Rules,
    store_count: u64,
    /// Whether processes use the key.
    pub(crate) is_operating: bool,
    /// The latest version of the key that anybody was told.
    version: u64,
    pub(crate) operation_count: u64,
}

/// Whether the rules on stores are kept, or which one is taken away to see that it is missed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rules {
    Kept,
    /// A blank store takes part in an era that does not name it.
    BlankStoresVote,
    /// Messages count in every era.
    ErasAreMixed,
    /// A restored core goes on from what is known as if nothing else had been decided.
    NothingJumps,
}

pub(crate) struct Node {
    /// None as well while it is none of the core, as no era names its store.
    pub(crate) core: Option<Core<MemoryStore>>,
    pub(crate) store: MemoryStore,
    /// It restores the core, or waits until it can.
    restoration: Option<Restoration>,
    /// Why it did not, the last time.
    pub(crate) not_restored: Option<NotRestored>,
    /// By which its store is known.
    pub(crate) number: u64,
    /// Its stores before, which were not gone after all.
    pub(crate) shelf: Vec<(MemoryStore, u64)>,
    /// Grows with each start; 0 while it is down.
    nonce: u64,
    pub(crate) run: Option<ReplicaId>,
    pub(crate) news: BTreeMap<GroupId, News>,
    turns: u64,
    /// What it wants of the core, under which number, and the version that was known when it began.
    pub(crate) wish: Option<(u64, Operation, u64)>,
    wish_count: u64,
    /// Its process says nothing, its core node goes on.
    pub(crate) is_mute: bool,
    /// It does nothing at all before then.
    pub(crate) paused_until: u64,
    /// When its core node is to be woken: what was scheduled for later is none of its alarms any more.
    alarm_at: u64,
    /// When they went off.
    pub(crate) alarms: Vec<u64>,
}

enum Event {
    /// The alarm of a core node, for this start of it.
    Alarm(NodeId, u64),
    Beat(NodeId, u64),
    Ask(NodeId, u64),
    /// What a connection carries, and which one that is.
    Carried(NodeId, NodeId, u64, Carried),
}

enum Carried {
    Input(CoreInput),
    News(GroupId, News),
    Registered(ReplicaId, u64),
    Operated(ReplicaId, u64, Outcome),
    Current(ReplicaId),
}

impl Stage {
    /// Starts `node_count` nodes, of which the first `core_count` are core nodes.
    pub(crate) fn start(core_count: u16, node_count: u16, seed: u64) -> Self {
        let mut stage = Self::dark(core_count, node_count, seed);
        (1..=node_count).for_each(|node| stage.boot(NodeId(node)));
        stage
    }

    /// Like [`Self::start`], but nothing runs yet.
    pub(crate) fn dark(core_count: u16, node_count: u16, seed: u64) -> Self {
        let all: Vec<NodeId> = (1..=node_count).map(NodeId).collect();
        let slots = SlotMap::new(GROUPS).expect("in range");
        let (replicas, write_quorum) = (all.len().min(3), all.len().min(3) / 2 + 1);
        let node = |node: &NodeId| {
            let node_state = Node {
                core: None,
                restoration: None,
                not_restored: None,
                store: MemoryStore::default(),
                number: u64::from(node.0),
                shelf: Vec::new(),
                nonce: 0,
                run: None,
                news: BTreeMap::new(),
                turns: 0,
                wish: None,
                wish_count: 0,
                is_mute: false,
                paused_until: 0,
                alarm_at: u64::MAX,
                alarms: Vec::new(),
            };
            (*node, node_state)
        };
        let mut nodes: BTreeMap<NodeId, Node> = all.iter().map(node).collect();
        let core_nodes = all[..usize::from(core_count)].to_vec();
        let first = Era::first(core_nodes.iter().map(|node| (*node, u64::from(node.0))).collect());
        nodes.values_mut().take(core_nodes.len()).for_each(|node| node.store.begin_era(&first));
        Self {
            now: 0,
            random: Random(seed),
            nodes,
            core_nodes,
            birth: Birth { slots, nodes: all, replicas, write_quorum },
            links: BTreeMap::new(),
            arrivals: BTreeMap::new(),
            events: BTreeMap::new(),
            event_count: 0,
            seen: BTreeMap::new(),
            told: BTreeMap::new(),
            named: BTreeMap::new(),
            is_operating: false,
            version: 0,
            operation_count: 0,
            rules: Rules::Kept,
            store_count: u64::from(node_count),
        }
    }

    pub(crate) fn with_rules(mut self, rules: Rules) -> Self {
        self.rules = rules;
        self
    }

    // ---- faults ----

    /// A node starts, a core node with what its store holds.
    pub(crate) fn boot(&mut self, node: NodeId) {
        self.boot_as(node, false);
    }

    /// A core node that has its store starts, and is to restore the core.
    pub(crate) fn boot_to_restore(&mut self, node: NodeId) {
        self.boot_as(node, true);
    }

    fn boot_as(&mut self, node: NodeId, is_restoring: bool) {
        self.event_count += 1;
        let nonce = self.event_count;
        let place = self.place(node);
        (place.nonce, place.run, place.is_mute) = (nonce, None, false);
        (place.wish, place.wish_count) = (None, 0);
        place.news.clear();
        self.schedule(0, Event::Beat(node, nonce));
        self.schedule(0, Event::Ask(node, nonce));
        if let Some(era) = self.nodes[&node].store.era() {
            if is_restoring {
                let own = (node, self.nodes[&node].number);
                let restoration = Restoration::new(own, era, &self.core_nodes);
                let place = self.place(node);
                (place.restoration, place.not_restored) = (Some(restoration), None);
            } else {
                self.take_part(node);
            }
        }
        for other in self.others(node) {
            if self.nodes[&other].nonce != 0 {
                self.connect(node, other);
            }
        }
    }

    /// A core node goes on from its store.
    fn take_part(&mut self, node: NodeId) {
        let now = Instant(self.now);
        let era = self.nodes[&node].store.era().expect("its store is in one");
        let suspicion = Duration::from_millis(SUSPICION_MS);
        let settings = CoreSettings::new(node, era, self.birth.clone(), suspicion);
        let place = self.place(node);
        place.core = Some(Core::new(settings, place.store.clone(), now));
        place.alarm_at = u64::MAX;
        self.after(node);
    }

    /// A node fails, and what its disk held is gone, or so it seems.
    pub(crate) fn wipe(&mut self, node: NodeId) {
        self.crash(node);
        self.store_count += 1;
        let number = self.store_count;
        let era = self.latest_era();
        let is_amnesiac = self.rules == Rules::BlankStoresVote;
        let place = self.place(node);
        let before = core::mem::take(&mut place.store);
        place.shelf.push((before, core::mem::replace(&mut place.number, number)));
        if is_amnesiac {
            place.store.begin_era(&era);
        }
    }

    /// A node fails, and a disk that it had before is there again.
    pub(crate) fn bring_back(&mut self, node: NodeId, shelved: usize) {
        self.crash(node);
        let place = self.place(node);
        let (store, number) = core::mem::take(&mut place.shelf[shelved]);
        place.shelf[shelved] =
            (core::mem::replace(&mut place.store, store), core::mem::replace(&mut place.number, number));
    }

    /// A node fails; its store stays.
    pub(crate) fn crash(&mut self, node: NodeId) {
        let place = self.place(node);
        place.store.crash();
        (place.core, place.restoration, place.nonce, place.run) = (None, None, 0, None);
        self.others(node).into_iter().for_each(|other| self.cut(node, other));
    }

    /// The connection of two nodes ends.
    pub(crate) fn cut(&mut self, one: NodeId, other: NodeId) {
        let link = self.links.entry(ends(one, other)).or_default();
        *link = (link.0 + 1, false);
        for (node, peer) in [(one, other), (other, one)] {
            self.place(node).restoration.iter_mut().for_each(|restoration| restoration.forget(peer));
        }
    }

    /// Two nodes are connected anew, if both are up.
    pub(crate) fn connect(&mut self, one: NodeId, other: NodeId) {
        if self.nodes[&one].nonce == 0 || self.nodes[&other].nonce == 0 {
            return;
        }
        let link = self.links.entry(ends(one, other)).or_default();
        *link = (link.0 + 1, true);
        for (node, peer) in [(one, other), (other, one)] {
            self.place(node).restoration.iter_mut().for_each(|restoration| restoration.forget(peer));
            if self.core_nodes.contains(&peer) {
                self.tell(node, CoreInput::Connected(peer));
                self.show_standing(node, peer);
            }
        }
    }

    /// A core node, or one that may become one, shows another one in which era its store is.
    fn show_standing(&mut self, node: NodeId, to: NodeId) {
        if self.core_nodes.contains(&node) {
            let standing = self.nodes[&node].standing();
            self.carry(node, to, Carried::Input(CoreInput::Standing { from: node, standing }));
        }
    }

    /// A node that is to restore the core does, if it can, or ends.
    fn advance_restoration(&mut self, node: NodeId) {
        let Some(restoration) = &self.nodes[&node].restoration else { return };
        match restoration.prospect() {
            Prospect::Waiting(_) => {}
            Prospect::None(why) => {
                self.crash(node);
                self.place(node).not_restored = Some(why);
            }
            Prospect::Ready(stores) => {
                let known = known(&self.nodes[&node].store).expect("there was a cluster");
                let mut era = restoration.era(stores, &known, self.now / MS);
                if self.rules == Rules::NothingJumps {
                    era.start = Some(known.carried_over());
                }
                self.place(node).restoration = None;
                self.go_over(node, &era);
            }
        }
    }

    /// A store begins an era; from then on its node takes part in the core.
    fn go_over(&mut self, node: NodeId, era: &Era) {
        self.place(node).store.begin_era(era);
        self.take_part(node);
        // Whoever is shown one says in return which one it has.
        for other in self.others(node) {
            self.show_standing(node, other);
            self.show_standing(other, node);
        }
    }

    /// A blank store hears that the core is to be restored from another one.
    fn pledge(&mut self, node: NodeId, pledge: Pledge) {
        self.nodes[&node].store.give_pledge(pledge);
        self.others(node).into_iter().for_each(|other| self.show_standing(node, other));
    }

    pub(crate) fn isolate(&mut self, node: NodeId) {
        self.others(node).into_iter().for_each(|other| self.cut(node, other));
    }

    /// All nodes are up and connected; those that are paused still, in a while.
    pub(crate) fn heal(&mut self) {
        let all: Vec<NodeId> = self.nodes.keys().copied().collect();
        for node in &all {
            let place = self.place(*node);
            place.is_mute = false;
            if place.nonce == 0 {
                self.boot(*node);
            }
        }
        for (one, other) in all.iter().flat_map(|one| all.iter().map(move |other| (*one, *other))) {
            if one < other && !self.links.get(&(one, other)).is_some_and(|link| link.1) {
                self.connect(one, other);
            }
        }
    }

    /// Tells a core node something, at once.
    pub(crate) fn tell(&mut self, node: NodeId, mut input: CoreInput) {
        let now = Instant(self.now);
        let rules = self.rules;
        let place = self.place(node);
        match (&place.core, &mut place.restoration, &mut input) {
            (Some(core), _, CoreInput::Message { era, .. }) if rules == Rules::ErasAreMixed => *era = core.era().id(),
            (None, Some(restoration), CoreInput::Standing { from, standing }) => {
                restoration.hear(*from, *standing);
                self.advance_restoration(node);
            }
            (None, None, CoreInput::Standing { standing, .. }) => {
                if let Some(pledge) = standing.place.wants_pledge(standing.number) {
                    self.pledge(node, pledge);
                }
            }
            (None, None, CoreInput::Era { era, .. }) if era.admits(node, place.number, place.store.pledge()) => {
                let era = era.clone();
                self.go_over(node, &era);
            }
            _ => (),
        }
        if let Some(core) = self.nodes.get_mut(&node).and_then(|node| node.core.as_mut()) {
            core.handle(now, input);
        }
        self.after(node);
    }

    // ---- time ----

    pub(crate) fn run_for(&mut self, ms: u64) {
        let end = self.now + ms * MS;
        while let Some(entry) = self.events.first_entry().filter(|entry| entry.key().0 <= end) {
            let ((at, _), event) = entry.remove_entry();
            self.now = self.now.max(at);
            self.happen(event);
        }
        self.now = end;
    }

    /// Runs until something holds; fails if it takes longer than ten seconds.
    pub(crate) fn run_until(&mut self, what: &str, is_so: impl Fn(&Self) -> bool) {
        for _ in 0..2_000 {
            if is_so(self) {
                return;
            }
            self.run_for(5);
        }
        panic!("never {what}: {:?}", self.cores().collect::<Vec<_>>());
    }

    fn schedule(&mut self, after_ns: u64, event: Event) {
        self.event_count += 1;
        self.events.insert((self.now + after_ns, self.event_count), event);
    }

    fn happen(&mut self, event: Event) {
        let (node, start) = match &event {
            Event::Alarm(node, start) | Event::Beat(node, start) | Event::Ask(node, start) => (*node, Some(*start)),
            Event::Carried(_, node, ..) => (*node, None),
        };
        let place = &self.nodes[&node];
        if place.nonce == 0 || start.is_some_and(|start| start != place.nonce) {
            return;
        }
        if place.paused_until > self.now {
            // In the order in which they come up.
            return self.schedule(place.paused_until - self.now, event);
        }
        match event {
            Event::Alarm(node, _) => {
                let now = Instant(self.now);
                let place = self.place(node);
                if place.alarm_at > now.0 {
                    return;
                }
                place.alarm_at = u64::MAX;
                place.alarms.push(now.0);
                place.core.as_mut().expect("a core node has alarms").on_alarm(now);
                self.after(node);
            }
            Event::Beat(node, start) => {
                self.schedule(BEAT_MS * MS, Event::Beat(node, start));
                self.beat(node);
            }
            Event::Ask(node, start) => {
                self.schedule(ASK_MS * MS, Event::Ask(node, start));
                self.ask(node);
                if (self.now / (ASK_MS * MS)).is_multiple_of(RETELL_MS / ASK_MS) {
                    self.retell(node);
                }
            }
            Event::Carried(from, node, link, carried) => {
                if from != node && self.links[&ends(from, node)] != (link, true) {
                    return;
                }
                match carried {
                    Carried::Input(input) => self.tell(node, input),
                    Carried::News(group, news) => self.hear(node, group, news),
                    Carried::Registered(run, nonce) => {
                        let place = self.place(node);
                        if place.nonce == nonce {
                            place.run = Some(run);
                        }
                    }
                    Carried::Operated(run, number, outcome) => self.hear_outcome(node, run, number, &outcome),
                    Carried::Current(latest) if self.nodes[&node].run.is_some_and(|run| run < latest) => {
                        self.crash(node)
                    }
                    Carried::Current(_) => {}
                }
            }
        }
    }

    // ---- what processes do ----

    fn beat(&mut self, node: NodeId) {
        let now = Instant(self.now);
        let place = self.place(node);
        place.turns += 1;
        let Some(from) = place.run.filter(|_| !place.is_mute) else { return };
        let silent = place.core.as_ref().map(|core| core.silent(now)).unwrap_or_default();
        let (turns, without_quorum) = (vec![place.turns], Vec::new());
        let heartbeat = Heartbeat { from, turns, without_quorum, silent, clock_ns: now.0 };
        self.say(node, &CoreInput::Heartbeat(heartbeat));
    }

    fn ask(&mut self, node: NodeId) {
        let place = &self.nodes[&node];
        let nonce = place.nonce;
        let Some(from) = place.run.filter(|_| !place.is_mute) else {
            if !place.is_mute {
                self.say(node, &CoreInput::Register { node, nonce });
            }
            return;
        };
        let wants = |(group, news): (&GroupId, &News)| {
            let ask = match &news.pending {
                Some(change) if change.config.leader_replica() == Some(from) => {
                    Ask::Activate { epoch: change.config.epoch }
                }
                None if news.active.leader_replica() == Some(from) => {
                    Ask::Promote { epoch: news.active.epoch, learner: *news.learners.first()? }
                }
                Some(_) | None => return None,
            };
            Some(CoreInput::Ask { from, group: *group, ask })
        };
        let asks: Vec<CoreInput> = place.news.iter().filter_map(wants).collect();
        asks.iter().for_each(|ask| self.say(node, ask));
        self.operate(node, from);
    }

    /// Begins an operation on the key, or says again which one is under way.
    fn operate(&mut self, node: NodeId, from: ReplicaId) {
        if self.nodes[&node].wish.is_none() {
            if !self.is_operating {
                return;
            }
            let key = String::from("k");
            let operation = if self.random.below(2) == 0 {
                Operation::Get { key }
            } else {
                let version = (self.random.below(2) == 0).then_some(self.version);
                Operation::Set { key, value: self.now.to_le_bytes().to_vec(), version }
            };
            let version = self.version;
            let place = self.place(node);
            place.wish_count += 1;
            place.wish = Some((place.wish_count, operation, version));
        }
        let Some((number, operation, _)) = self.nodes[&node].wish.clone() else { return };
        self.say(node, &CoreInput::Operate { from, number, operation });
    }

    fn hear_outcome(&mut self, node: NodeId, run: ReplicaId, number: u64, outcome: &Outcome) {
        let place = self.place(node);
        let Some((_, operation, known)) = place.wish.take_if(|wish| place.run == Some(run) && wish.0 == number) else {
            return;
        };
        let found = match (operation, outcome) {
            (Operation::Get { .. }, Outcome::Value(stored)) => stored.as_ref().map_or(0, |stored| stored.version),
            (Operation::Set { .. }, Outcome::Stored { version }) => {
                assert!(*version > known, "version {version} is stored where {known} was known");
                *version
            }
            (Operation::Set { .. }, Outcome::Refused(Refusal::Keyspace(KeyspaceError::Version { found, .. }))) => {
                *found
            }
            (operation, outcome) => panic!("{operation:?} ends as {outcome:?}"),
        };
        assert!(found >= known, "node {node} finds version {found} where {known} was known at {} ms", self.now / MS);
        self.version = self.version.max(found);
        self.operation_count += 1;
    }

    fn hear(&mut self, node: NodeId, group: GroupId, news: News) {
        let known = &mut self.place(node).news;
        if known.get(&group).is_none_or(|known| known.version < news.version) {
            known.insert(group, news);
        }
    }

    /// What a process says goes to all core nodes.
    fn say(&mut self, node: NodeId, input: &CoreInput) {
        for core_node in self.core_nodes.clone() {
            self.carry(node, core_node, Carried::Input(input.clone()));
        }
    }

    /// Who is connected anew is told what there is to know; here, everybody is now and then.
    fn retell(&mut self, node: NodeId) {
        let Some(state) = self.nodes[&node].core.as_ref().and_then(Core::state) else { return };
        let groups = state.groups().map(|record| record.active().group);
        let news: Vec<News> = groups.filter_map(|group| state.news(group)).collect();
        let is_gone = |latest: &ReplicaId| self.nodes[&latest.node].run.is_some_and(|run| run < *latest);
        let latest = self.nodes.keys().filter_map(|other| state.latest(*other));
        let latest: Vec<ReplicaId> = latest.filter(is_gone).collect();
        for news in news {
            self.publish(node, news.active.group, &news);
        }
        latest.into_iter().for_each(|latest| self.carry(node, latest.node, Carried::Current(latest)));
    }

    fn publish(&mut self, node: NodeId, group: GroupId, news: &News) {
        let before = self.told.entry((group, news.version)).or_insert_with(|| news.clone());
        assert_eq!(before, news, "node {node} says something else at {} ms", self.now / MS);
        for other in self.nodes.keys().copied().collect::<Vec<_>>() {
            self.carry(node, other, Carried::News(group, news.clone()));
        }
    }

    // ---- the network ----

    fn others(&self, node: NodeId) -> Vec<NodeId> {
        self.nodes.keys().copied().filter(|other| *other != node).collect()
    }

    fn carry(&mut self, from: NodeId, to: NodeId, carried: Carried) {
        let (link, is_up) = self.links.get(&ends(from, to)).copied().unwrap_or_default();
        if from != to && !is_up {
            return;
        }
        let delay = if from == to { 0 } else { 20_000 + self.random.below(1_000_000) };
        let arrival = self.arrivals.entry((from, to)).or_default();
        *arrival = (*arrival).max(self.now + delay);
        let after = *arrival - self.now;
        self.schedule(after, Event::Carried(from, to, link, carried));
    }

    /// Carries out what a core node wants done, and checks what it has come to.
    /// Has a core node be woken when it wants to, if that is sooner than was known.
    fn set_alarm(&mut self, node: NodeId) {
        let now = self.now;
        let place = self.place(node);
        let Some(core) = &place.core else { return };
        let wake_at = core.wake_at().0.max(now + 1);
        if wake_at < place.alarm_at {
            place.alarm_at = wake_at;
            let start = place.nonce;
            self.schedule(wake_at - now, Event::Alarm(node, start));
        }
    }

    fn after(&mut self, node: NodeId) {
        self.set_alarm(node);
        let Some(core) = self.nodes.get_mut(&node).and_then(|node| node.core.as_mut()) else { return };
        let outputs: Vec<CoreOutput> = core.drain_outputs().collect();
        if let Some(state) = core.state() {
            let EraId { number, restored_from } = core.era().id();
            let place = (number, restored_from, core.applied());
            let before = self.seen.entry(place).or_insert_with(|| state.clone());
            assert_eq!(before, state, "node {node} disagrees at {} ms", self.now / MS);
        }
        for output in outputs {
            match output {
                CoreOutput::Send { to, era, message } => {
                    self.carry(node, to, Carried::Input(CoreInput::Message { from: node, era, message }));
                }
                CoreOutput::ShowEra { to, era } => {
                    self.carry(node, to, Carried::Input(CoreInput::Era { from: node, era }));
                }
                CoreOutput::Replaced => return self.crash(node),
                CoreOutput::News { group, news } => self.publish(node, group, &news),
                CoreOutput::Registered { run, nonce } => {
                    assert_eq!(*self.named.entry(run).or_insert(nonce), nonce, "{run:?} is named twice");
                    self.carry(node, run.node, Carried::Registered(run, nonce));
                }
                CoreOutput::Operated { to, number, outcome } => {
                    self.carry(node, to.node, Carried::Operated(to, number, outcome));
                }
                CoreOutput::Roster => {}
                CoreOutput::Unwelcome { node, why } => panic!("nobody was taken out, and {node} is told: {why}"),
                CoreOutput::Buried { latest } => self.carry(node, latest.node, Carried::Current(latest)),
            }
        }
    }

    // ---- queries ----

    pub(crate) fn place(&mut self, node: NodeId) -> &mut Node {
        self.nodes.get_mut(&node).expect("there is such a node")
    }

    /// The latest era that any store is in, those on shelves aside.
    pub(crate) fn latest_era(&self) -> Era {
        let eras = self.nodes.values().filter_map(|node| node.store.era());
        eras.max_by_key(|era| era.number).expect("some store is in one")
    }

    /// Whether the store of a node can be lost without too few being left in any era that may be the latest. Whether an era
    /// has ended that nobody has gone over from cannot be told, so it cannot either.
    pub(crate) fn can_lose(&self, node: NodeId) -> bool {
        let eras: Vec<Era> = self.nodes.values().filter_map(|node| node.store.era()).collect();
        let is_end = |entry: &Entry| {
            matches!(
                entry,
                Entry::Command { command: Command::Operate { decision: Decision::ReplaceStore { .. }, .. }, .. }
            )
        };
        if self.nodes.values().any(|node| node.store.log().iter().any(is_end)) {
            return false;
        }
        let is_left = |era: &Era, other: &NodeId| {
            let place = &self.nodes[other];
            *other != node && place.store.era().is_some() && era.names(*other, place.number)
        };
        eras.iter()
            .all(|era| 2 * self.core_nodes.iter().filter(|other| is_left(era, other)).count() > self.core_nodes.len())
    }

    pub(crate) fn cores(&self) -> impl Iterator<Item = &Core<MemoryStore>> {
        self.nodes.values().filter_map(|node| node.core.as_ref())
    }

    pub(crate) fn core(&self, node: NodeId) -> &Core<MemoryStore> {
        self.nodes[&node].core.as_ref().expect("a core node that is up")
    }

    /// The core node that leads, if exactly one of these does.
    pub(crate) fn leader_among(&self, nodes: &[NodeId]) -> Option<NodeId> {
        let leads = |node: &&NodeId| self.nodes[node].core.as_ref().is_some_and(Core::is_leader);
        let leaders: Vec<&NodeId> = nodes.iter().filter(leads).collect();
        if let [leader] = leaders[..] { Some(*leader) } else { None }
    }

    pub(crate) fn leader(&self) -> Option<NodeId> {
        self.leader_among(&self.core_nodes)
    }

    /// Whether the core is led, has named all processes that are up, and has nothing left to do for any group: all are held
    /// by as many of them as shall, or lost with too many at once.
    pub(crate) fn is_settled(&self) -> bool {
        let Some(leader) = self.leader() else { return false };
        let Some(state) = self.core(leader).state() else { return false };
        let is_up = |run: ReplicaId| self.nodes[&run.node].run == Some(run) && state.is_current(run);
        let place = |core: &Core<MemoryStore>| (core.era().number, core.applied());
        let is_alike = self.cores().all(|core| place(core) == place(self.core(leader)));
        let replicas = self.birth.replicas;
        is_alike
            && self.nodes.values().all(|node| node.nonce == 0 || node.run.is_some())
            && state.groups().len() == GROUPS as usize
            && state.groups().all(|record| {
                let members = record.active().members.iter().filter_map(|member| member.replica());
                let is_held = members.clone().all(is_up) && members.count() == replicas;
                (record.pending().is_none() && is_held) || state.hope(record.active().group) != Hope::Some
            })
    }

    /// Whether what was told about groups is known to all core nodes: nothing of it is forgotten.
    pub(crate) fn check(&self) {
        for core in self.cores() {
            for (group, version) in self.told.keys() {
                let record = core.state().and_then(|state| state.group(*group)).expect("a group that was told of");
                assert!(record.version() >= *version, "{core:?} has forgotten version {version} of {group:?}");
            }
        }
        let epochs: BTreeSet<(GroupId, u64)> =
            self.told.values().map(|news| (news.active.group, news.active.epoch.0)).collect();
        let leaders = self.told.values().map(|news| (news.active.group, news.active.epoch.0, news.active.leader));
        assert_eq!(leaders.collect::<BTreeSet<_>>().len(), epochs.len(), "an epoch with two leaders");
    }
}

impl Node {
    /// What it shows of its store to core nodes.
    fn standing(&self) -> Standing {
        let place = match (&self.core, &self.restoration, self.store.pledge()) {
            (Some(core), ..) => Place::In(core.era().id()),
            (None, Some(restoration), _) => return restoration.standing(),
            (None, None, Some(pledge)) => Place::Pledged(pledge.to),
            (None, None, None) => Place::Joining,
        };
        Standing { number: self.number, place }
    }
}

fn ends(one: NodeId, other: NodeId) -> (NodeId, NodeId) {
    (one.min(other), one.max(other))
}

/// Numbers that depend on a seed only (splitmix64).
pub(crate) struct Random(pub u64);

impl Random {
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (bits ^ (bits >> 31)) % end
    }

    pub(crate) fn choice(&mut self, nodes: &[NodeId]) -> NodeId {
        let index = self.below(nodes.len() as u64);
        nodes[usize::try_from(index).expect("below a usize")]
    }
}
