//! What the control thread and the CPUs of a node leave for each other.
//!
//! The core's news go to every CPU: each has to know who leads what. What engines ask of the core, and which groups of
//! theirs have no quorum, goes the other way.
//!
//! # Bounds
//! One entry a group, and each way the last one counts: news by their version, asks because an engine asks again for what
//! it still wants. `WANTED_MAX` operations for the core wait; one more is refused. So many events wait to be reported as are
//! kept; one more is dropped, which the log says.
//!
//! # Threads
//! Any. A CPU looks at one flag in each turn; the locks are taken when there is something, and held for a few moves.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use crossbeam::utils::CachePadded;
use parking_lot::{Mutex, MutexGuard};
use quorate_engine::control::journal::{EVENTS_MAX, Event, Journal, Recorded};
use quorate_engine::control::operation::{Operation, Outcome};
use quorate_engine::control::record::{Ask, News};
use quorate_engine::control::state::REPORTS_MAX;
use quorate_engine::ids::{CpuId, GroupId, NodeId, ReplicaId};
use tokio::sync::oneshot;

use super::tally::{NodeRun, Tally};
use crate::cpu::{Bell, Census, Key};
use crate::node::members::Members;
use crate::transport::Waker;

/// See the module.
#[derive(Debug)]
pub(crate) struct Exchange {
    cpus: Vec<CachePadded<Desk>>,
    asks: Mutex<BTreeMap<GroupId, Ask>>,
    /// What is wanted of the core, in the order in which it came.
    wanted: Mutex<VecDeque<Wanted>>,
    /// What has happened in the cluster, as far as it is known here.
    journal: Mutex<Journal>,
    /// What that comes to.
    tally: Mutex<Tally>,
    /// What has happened at this node and the core has not been told yet.
    reports: Mutex<Vec<Event>>,
    /// Wakes the control thread, once it runs.
    pub(crate) waker: OnceLock<Waker>,
    /// What this node has to do with the core, for those who ask.
    core: Mutex<CoreView>,
    /// Set when the control thread is to end.
    is_over: AtomicBool,
}

/// What a node has to do with the consistent core.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum CorePart {
    /// It belongs to those that listen.
    #[default]
    None,
    /// It waits for the other nodes of a core that has agreed on nothing yet.
    Meeting,
    /// It has lost what it had promised, and waits to be taken back.
    Joining,
    /// Most others have lost what they had promised: it waits until it can restore the core.
    Restoring,
    /// It votes, in this era.
    Voting(u32),
}

impl CorePart {
    /// Returns the word for it.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Meeting => "meeting",
            Self::Joining => "joining",
            Self::Restoring => "restoring",
            Self::Voting(_) => "voting",
        }
    }
}

/// What a node sees of the consistent core.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct CoreView {
    pub(crate) part: CorePart,
    /// Which of its nodes leads it, as far as this one knows.
    pub(crate) leader: Option<NodeId>,
    /// What it takes part in, if it votes.
    pub(crate) log: Option<CoreLog>,
    /// What it has said as a node of the core.
    pub(crate) said: Said,
}

/// How far a node of the consistent core is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CoreLog {
    /// The last round of the consensus that it has promised to take part in.
    pub(crate) round: u32,
    /// How many entries of the log of this era it has applied.
    pub(crate) applied: u64,
    /// Whether it hears more than half of the nodes of the core, itself included: without them nothing changes any more of what
    /// it knows.
    pub(crate) hears_majority: bool,
}

/// How many messages this process has said as a node of the consistent core.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Said {
    /// To other nodes of the core, about what is in the log.
    pub(crate) log: u64,
    /// To other nodes of the core, about who leads it: by the clock.
    pub(crate) election: u64,
    /// To nodes, about what was decided.
    pub(crate) news: u64,
    /// To nodes, about what has happened: many events at once, by the clock.
    pub(crate) events: u64,
}

/// What belongs to one CPU.
#[derive(Debug)]
struct Desk {
    has_mail: AtomicBool,
    mail: Mutex<Mail>,
    /// Groups that are led here and have no quorum.
    unled: Mutex<Vec<GroupId>>,
    bell: Arc<Bell>,
}

/// What a CPU is told.
#[derive(Debug, Default)]
pub(crate) struct Mail {
    /// Which run of the node this is.
    pub(crate) run: Option<ReplicaId>,
    /// Who belongs to the cluster, if that has changed.
    pub(crate) members: Option<Arc<Members>>,
    /// What was said last of groups.
    pub(crate) groups: BTreeMap<GroupId, GroupNews>,
    /// How operations of this CPU have ended.
    pub(crate) outcomes: Vec<(Key, Outcome)>,
    /// Whether there are new events.
    pub(crate) has_events: bool,
    /// Who wants to know how its groups are.
    pub(crate) census: Option<oneshot::Sender<Census>>,
}

/// What is wanted of the core.
#[derive(Debug)]
pub(crate) struct Wanted {
    /// For which CPU, and by what that knows the request; `None`: for the control thread itself.
    pub(crate) by: Option<(CpuId, Key)>,
    pub(crate) operation: Operation,
}

/// What the core says of a group.
#[derive(Clone, Debug)]
pub(crate) struct GroupNews {
    pub(crate) news: Arc<News>,
    /// Members that are gone, if the group cannot be led again without them.
    pub(crate) missing: Arc<[ReplicaId]>,
}

/// The bit of a CPU's doorbell that the control thread rings: above those of all CPUs.
const CONTROL_BIT: u32 = 62;
/// Most operations that wait for their turn.
const WANTED_MAX: usize = 256;

impl Exchange {
    pub(crate) fn new(bells: &[Arc<Bell>]) -> Self {
        let desk = |bell: &Arc<Bell>| {
            CachePadded::new(Desk {
                has_mail: AtomicBool::new(false),
                mail: Mutex::default(),
                unled: Mutex::default(),
                bell: Arc::clone(bell),
            })
        };
        Self {
            cpus: bells.iter().map(desk).collect(),
            asks: Mutex::default(),
            wanted: Mutex::default(),
            journal: Mutex::default(),
            tally: Mutex::default(),
            reports: Mutex::default(),
            waker: OnceLock::new(),
            core: Mutex::default(),
            is_over: AtomicBool::new(false),
        }
    }

    // ---- the control thread ----

    /// Tells all CPUs which run of the node this is.
    pub(crate) fn post_run(&self, run: ReplicaId) {
        self.post(|mail| mail.run = Some(run));
    }

    /// Tells all CPUs who belongs to the cluster.
    pub(crate) fn post_members(&self, members: &Arc<Members>) {
        self.post(|mail| mail.members = Some(Arc::clone(members)));
    }

    /// Tells all CPUs what the core says about a group. The caller sees to it that news only get newer.
    pub(crate) fn post_news(&self, group: GroupId, news: &GroupNews) {
        self.post(|mail| drop(mail.groups.insert(group, news.clone())));
    }

    fn post(&self, put: impl Fn(&mut Mail)) {
        for desk in &self.cpus {
            put(&mut desk.mail.lock());
            // Release: whoever sees the flag finds the mail; the lock would do as well.
            desk.has_mail.store(true, Ordering::Release);
        }
        self.wake_cpus();
    }

    /// Has every CPU turn once, one that sleeps included.
    pub(crate) fn wake_cpus(&self) {
        for desk in &self.cpus {
            if desk.bell.doorbell.ring(CONTROL_BIT) {
                desk.bell.wake();
            }
        }
    }

    pub(crate) fn take_asks(&self) -> BTreeMap<GroupId, Ask> {
        core::mem::take(&mut *self.asks.lock())
    }

    /// Takes the operation whose turn it is.
    pub(crate) fn take_wanted(&self) -> Option<Wanted> {
        self.wanted.lock().pop_front()
    }

    /// Copies events that the core has recorded; returns the index that the next one will have.
    pub(crate) fn record<'a>(&self, events: impl Iterator<Item = &'a Recorded>) -> u64 {
        let mut journal = self.journal.lock();
        let before = journal.next();
        let mut tally = self.tally.lock();
        for recorded in events {
            if journal.copy(recorded) {
                tally.add(recorded);
            }
        }
        drop(tally);
        let next = journal.next();
        drop(journal);
        if next > before {
            self.post(|mail| mail.has_events = true);
        }
        next
    }

    /// Takes what is to be reported.
    pub(crate) fn take_reports(&self) -> Vec<Event> {
        let mut reports = self.reports.lock();
        let count = reports.len().min(REPORTS_MAX);
        reports.drain(..count).collect()
    }

    /// Tells a CPU how an operation of it has ended.
    pub(crate) fn post_outcome(&self, cpu: CpuId, key: Key, outcome: Outcome) {
        let desk = self.desk(cpu);
        desk.mail.lock().outcomes.push((key, outcome));
        desk.has_mail.store(true, Ordering::Release);
        self.wake_cpus();
    }

    /// Returns the groups of all CPUs that are led here and have no quorum.
    pub(crate) fn unled(&self) -> Vec<GroupId> {
        self.cpus.iter().flat_map(|desk| desk.unled.lock().clone()).collect()
    }

    /// Says what this node sees of the core.
    pub(crate) fn set_core(&self, core: CoreView) {
        *self.core.lock() = core;
    }

    /// Says which runs there are, and whether they are up, on a node that knows what the core has decided.
    pub(crate) fn set_nodes(&self, runs: impl Iterator<Item = (ReplicaId, bool)>) {
        self.tally.lock().set_nodes(runs);
    }

    /// Whether the control thread is to end.
    pub(crate) fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Acquire)
    }

    // ---- others ----

    /// Returns what this node sees of the core.
    pub(crate) fn core(&self) -> CoreView {
        *self.core.lock()
    }

    /// Returns the nodes whose state is known here, as the core has said last.
    pub(crate) fn nodes(&self) -> BTreeMap<NodeId, NodeRun> {
        self.tally.lock().nodes().clone()
    }

    /// Returns how many takeovers were heard of here, by why.
    pub(crate) fn takeovers(&self) -> [(&'static str, u64); 3] {
        self.tally.lock().takeovers()
    }

    /// Asks a CPU how its groups are. Whoever asked before, and has no answer yet, gets none.
    pub(crate) fn ask_census(&self, cpu: CpuId) -> oneshot::Receiver<Census> {
        let (asked, answer) = oneshot::channel();
        let desk = self.desk(cpu);
        desk.mail.lock().census = Some(asked);
        // Release: as where news are posted.
        desk.has_mail.store(true, Ordering::Release);
        self.wake_cpus();
        answer
    }

    /// Has the control thread end.
    pub(crate) fn end(&self) {
        self.is_over.store(true, Ordering::Release);
        self.wake_control();
    }

    fn wake_control(&self) {
        if let Some(waker) = self.waker.get() {
            waker.wake();
        }
    }

    /// Whether there is mail for a CPU. Cost: one load.
    pub(crate) fn has_mail(&self, cpu: CpuId) -> bool {
        self.desk(cpu).has_mail.load(Ordering::Acquire)
    }

    /// Takes the mail of a CPU.
    pub(crate) fn take_mail(&self, cpu: CpuId) -> Mail {
        let desk = self.desk(cpu);
        // Before the mail is taken: what comes after it is found the next time.
        desk.has_mail.store(false, Ordering::Release);
        core::mem::take(&mut *desk.mail.lock())
    }

    /// Passes on what an engine asks of the core.
    pub(crate) fn ask(&self, group: GroupId, ask: Ask) {
        self.asks.lock().insert(group, ask);
        self.wake_control();
    }

    /// Returns what has happened in the cluster, as far as it is known here.
    pub(crate) fn journal(&self) -> MutexGuard<'_, Journal> {
        self.journal.lock()
    }

    /// Has something that happened here recorded by the core.
    pub(crate) fn report(&self, event: Event) {
        let mut reports = self.reports.lock();
        if reports.len() >= EVENTS_MAX {
            tracing::warn!(?event, "too many events wait to be reported; dropped");
            return;
        }
        reports.push(event);
        drop(reports);
        self.wake_control();
    }

    /// Has the core do something for a request of a CPU; returns whether there was room for it.
    pub(crate) fn want(&self, cpu: CpuId, key: Key, operation: Operation) -> bool {
        let mut wanted = self.wanted.lock();
        if wanted.len() >= WANTED_MAX {
            return false;
        }
        wanted.push_back(Wanted { by: Some((cpu, key)), operation });
        drop(wanted);
        self.wake_control();
        true
    }

    /// Says which groups of a CPU are led here and have no quorum; it goes out with the next heartbeat.
    pub(crate) fn set_unled(&self, cpu: CpuId, groups: Vec<GroupId>) {
        *self.desk(cpu).unled.lock() = groups;
    }

    fn desk(&self, cpu: CpuId) -> &Desk {
        &self.cpus[usize::from(cpu.0)]
    }
}
