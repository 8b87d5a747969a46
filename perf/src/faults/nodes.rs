//! Daemons on machines of their own: started, killed, paused, continued, started again, asked.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use quorate::cli::status::ask::Asker;
use quorate::cli::status::ask_node;
use quorate::cli::status::report::Report;

use super::network::{Cut, Network, address_of};
use crate::process::{Process, Program, TempFolder};

/// How long a process may take to stand still.
const STOP_MAX: Duration = Duration::from_secs(10);

/// What is started.
#[derive(Clone, Debug)]
pub struct Shape {
    /// How many nodes: 3 or 5.
    pub nodes: u16,
    /// Partitions; none: as many as a node makes by itself.
    pub partitions: Option<u32>,
    /// How long a request may wait, in whole milliseconds; none: as long as the daemon has it wait by itself.
    pub request_timeout: Option<Duration>,
    /// How long a node may be silent, in whole milliseconds; none: as long as the daemon lets it by itself.
    pub suspicion: Option<Duration>,
    /// Path of this program.
    pub harness: PathBuf,
    /// Path of the daemon.
    pub daemon: PathBuf,
}

/// A running cluster. Fields are dropped in order: processes, network, folder.
#[derive(Debug)]
pub struct Nodes {
    shape: Shape,
    nodes: Vec<Node>,
    /// What they are connected by.
    pub network: Network,
    folder: TempFolder,
}

/// One of its nodes.
#[derive(Debug)]
struct Node {
    process: Option<Process>,
    is_paused: bool,
    /// How often it was started.
    runs: u32,
}

impl Nodes {
    /// Makes the network, starts all nodes in it, and waits until every group serves with all its members. The calling thread
    /// is in that network afterwards.
    ///
    /// # Errors
    /// No network can be made, a node does not start, or not all of it serves in time.
    pub fn start(shape: Shape) -> Result<Self> {
        ensure!(shape.nodes == 3 || shape.nodes == 5, "{} nodes: choose 3 or 5", shape.nodes);
        let network = Network::enter(shape.nodes)?;
        let folder = TempFolder::new()?;
        let nodes = (1..=shape.nodes).map(|_| Node { process: None, is_paused: false, runs: 0 }).collect();
        let mut cluster = Self { shape, nodes, network, folder };
        for id in cluster.ids() {
            fs::write(cluster.config_path(id), cluster.config(id)).context("cannot write a configuration")?;
            cluster.start_node(id)?;
        }
        cluster.wait_settled()?;
        Ok(cluster)
    }

    /// Returns the numbers of all nodes.
    #[must_use]
    pub fn ids(&self) -> Vec<u16> {
        (1..=self.shape.nodes).collect()
    }

    /// Returns how many replicas must hold a write: a majority.
    #[must_use]
    pub fn write_quorum(&self) -> u16 {
        self.shape.nodes / 2 + 1
    }

    /// Returns the RESP door of a node.
    #[must_use]
    pub fn resp(id: u16) -> String {
        format!("{}:{RESP}", address_of(id))
    }

    /// Returns the native door of a node.
    #[must_use]
    pub fn native(id: u16) -> String {
        format!("{}:{NATIVE}", address_of(id))
    }

    /// Starts a node that does not run.
    ///
    /// # Errors
    /// The process cannot be started.
    pub fn start_node(&mut self, id: u16) -> Result<()> {
        let config = self.config_path(id);
        let node = &mut self.nodes[usize::from(id - 1)];
        assert!(node.process.is_none(), "node {id} runs");
        node.runs += 1;
        // Afterwards it has what the consistent core has written down.
        let verb = if node.runs == 1 { "start --create --insecure --config" } else { "start --insecure --config" };
        let program = self.network.inside(id, Program::new(&self.shape.daemon).words(verb).arg(config));
        let name = format!("node-{id}-run-{}", node.runs);
        node.process = Some(Process::start(&self.shape.harness, &name, &program, self.folder.path())?);
        Ok(())
    }

    /// Ends a node as a crash would, memory and all.
    pub fn kill(&mut self, id: u16) {
        let node = &mut self.nodes[usize::from(id - 1)];
        node.is_paused = false;
        // Dropping it kills it and waits for its end.
        node.process = None;
    }

    /// Has a node stand still.
    ///
    /// # Errors
    /// It does not run, or does not stop.
    pub fn pause(&mut self, id: u16) -> Result<()> {
        self.signal(id, Signal::SIGSTOP)?;
        self.nodes[usize::from(id - 1)].is_paused = true;
        // A signal is sent, not obeyed, when that returns.
        let deadline = Instant::now() + STOP_MAX;
        while !self.stands_still(id)? {
            ensure!(Instant::now() < deadline, "node {id} does not stop");
            thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    /// Lets a node go on, if it was paused.
    ///
    /// # Errors
    /// It does not run.
    pub fn resume(&mut self, id: u16) -> Result<()> {
        if std::mem::take(&mut self.nodes[usize::from(id - 1)].is_paused) {
            self.signal(id, Signal::SIGCONT)?;
        }
        Ok(())
    }

    /// Whether a node was started and neither killed nor paused.
    #[must_use]
    pub fn is_well(&self, id: u16) -> bool {
        let node = &self.nodes[usize::from(id - 1)];
        node.process.is_some() && !node.is_paused
    }

    /// Whether a node was started and not killed.
    #[must_use]
    pub fn is_running(&self, id: u16) -> bool {
        self.nodes[usize::from(id - 1)].process.is_some()
    }

    /// Heals the network, lets all nodes go on, and starts those that were killed.
    ///
    /// # Errors
    /// One of them cannot be started, or has ended by itself.
    pub fn heal(&mut self) -> Result<()> {
        self.network.cut(BTreeSet::new())?;
        for id in self.ids() {
            self.network.lose(id, 0)?;
            self.resume(id)?;
            if self.is_running(id) {
                continue;
            }
            self.start_node(id)?;
        }
        Ok(())
    }

    /// Cuts these directions, and heals all others.
    ///
    /// # Errors
    /// The rules cannot be changed.
    pub fn cut(&mut self, cuts: BTreeSet<Cut>) -> Result<()> {
        self.network.cut(cuts)
    }

    /// Waits until every node serves what it leads and follows in the rest, and every group has all its members; returns what
    /// the nodes say then.
    ///
    /// # Errors
    /// A node has ended by itself, or that is not so in time.
    pub fn wait_settled(&mut self) -> Result<Vec<Report>> {
        self.wait("all groups serve with all their members", |reports| {
            let members: Vec<u16> = reports.iter().map(|report| report.node).collect();
            let is_whole = |report: &Report| {
                let mut groups = report.groups.iter();
                !report.groups.is_empty()
                    && report.is_settled()
                    && groups.all(|group| group.members == members && group.catching_up.is_empty())
            };
            reports.iter().all(is_whole)
        })
    }

    /// Waits until all replicas have executed the same entries; returns what the nodes say then.
    ///
    /// # Errors
    /// As [`Nodes::wait_settled`].
    pub fn wait_even(&mut self) -> Result<Vec<Report>> {
        self.wait("all replicas have executed the same entries", |reports| {
            let first = &reports[0];
            reports.iter().all(|report| {
                report.groups.len() == first.groups.len()
                    && report
                        .groups
                        .iter()
                        .zip(&first.groups)
                        .all(|(group, first)| group.digest_index == first.digest_index && group.applied == group.commit)
            })
        })
    }

    fn wait(&mut self, what: &str, is_so: impl Fn(&[Report]) -> bool) -> Result<Vec<Report>> {
        let deadline = Instant::now() + SETTLED_WITHIN;
        loop {
            for node in &mut self.nodes {
                if let Some(process) = &mut node.process {
                    process.ensure_running()?;
                }
            }
            let reports: Vec<Result<Report>> = self.ids().into_iter().map(Self::status).collect();
            let told = |reports: &[Result<Report>]| -> Vec<String> { reports.iter().map(describe).collect() };
            if reports.iter().all(Result::is_ok) {
                let reports: Vec<Report> = reports.into_iter().flatten().collect();
                if is_so(&reports) {
                    return Ok(reports);
                }
                ensure!(
                    Instant::now() < deadline,
                    "not in {SETTLED_WITHIN:?}: {what}; {:?}",
                    told(&reports.into_iter().map(Ok).collect::<Vec<_>>())
                );
            } else if Instant::now() >= deadline {
                bail!("not in {SETTLED_WITHIN:?}: {what}; {:?}", told(&reports));
            }
            thread::sleep(LOOK_INTERVAL);
        }
    }

    /// Asks a node for its state.
    ///
    /// # Errors
    /// It does not answer.
    pub fn status(id: u16) -> Result<Report> {
        let mut asker = Asker::connect(&Self::resp(id), None, STATUS_TIMEOUT)?;
        Ok(ask_node(&mut asker)?)
    }

    /// Keeps the logs of all runs of all nodes in `folder`.
    ///
    /// # Errors
    /// They cannot be copied.
    pub fn keep_logs(&self, folder: &Path) -> Result<()> {
        for entry in fs::read_dir(self.folder.path())? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "log") {
                let name = path.file_name().expect("it has an extension");
                fs::copy(&path, folder.join(name)).with_context(|| format!("cannot copy {}", path.display()))?;
            }
        }
        Ok(())
    }

    /// Returns where a node keeps its part of the consistent core.
    #[must_use]
    pub fn core_folder(&self, id: u16) -> PathBuf {
        self.folder.path().join(format!("core-{id}"))
    }

    fn signal(&self, id: u16, signal: Signal) -> Result<()> {
        kill(Pid::from_raw(self.pid(id)?), signal).with_context(|| format!("cannot signal node {id}"))
    }

    fn pid(&self, id: u16) -> Result<i32> {
        let process = self.nodes[usize::from(id - 1)].process.as_ref().context("the node does not run")?;
        Ok(i32::try_from(process.pid()).expect("the system numbers processes in 31 bits"))
    }

    /// Whether no thread of a node runs.
    fn stands_still(&self, id: u16) -> Result<bool> {
        for thread in fs::read_dir(format!("/proc/{}/task", self.pid(id)?))? {
            let stat = fs::read_to_string(thread?.path().join("stat"))?;
            let state = stat.rsplit(')').next().and_then(|rest| rest.trim_start().chars().next());
            if state != Some('T') {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn config_path(&self, id: u16) -> PathBuf {
        self.folder.path().join(format!("node-{id}.toml"))
    }

    fn config(&self, id: u16) -> String {
        let address = address_of(id);
        let mut text = format!("[cluster]\nid = \"{CLUSTER}\"\nreplicas = {}\n", self.shape.nodes);
        let mut push = |line: String| writeln!(text, "{line}").expect("a string takes all");
        push(format!("write_quorum = {}", self.write_quorum()));
        if let Some(partitions) = self.shape.partitions {
            push(format!("partitions = {partitions}"));
        }
        push(format!("[node]\nid = {id}\ncpus = 1"));
        push(format!("data_dir = {:?}", self.core_folder(id)));
        push("[listen]".to_owned());
        for (door, port) in [("resp", RESP), ("native", NATIVE), ("peer", PEER), ("admin", ADMIN)] {
            push(format!("{door} = \"{address}:{port}\""));
        }
        if let Some(timeout) = self.shape.request_timeout {
            push(format!("[limits]\nrequest_timeout = \"{} ms\"", timeout.as_millis()));
        }
        if let Some(suspicion) = self.shape.suspicion {
            push(format!("[replication]\nsuspicion = \"{} ms\"", suspicion.as_millis()));
        }
        for other in self.ids().into_iter().filter(|other| *other != id) {
            push(format!("[[peers]]\nid = {other}\npeer = \"{}:{PEER}\"", address_of(other)));
        }
        text
    }
}

fn describe(report: &Result<Report>) -> String {
    match report {
        Ok(report) => {
            let nodes: Vec<String> = report.nodes.iter().map(|node| format!("{} {}", node.id, node.state)).collect();
            let odd = report.groups.iter().filter(|group| !report.is_settled() || !group.catching_up.is_empty());
            let odd: Vec<String> = odd
                .take(3)
                .map(|group| {
                    let (number, epoch, leader) = (group.group, group.epoch, group.leader);
                    let (learners, lost) = (&group.learners, &group.lost);
                    format!("group {number} epoch {epoch} led by {leader} {}, learners {learners:?}, lost {lost:?}, at {}/{}", group.state, group.applied, group.commit)
                })
                .collect();
            format!("node {}: sees {nodes:?}, {odd:?}", report.node)
        }
        Err(error) => format!("{error:#}"),
    }
}

/// Name of the cluster.
pub const CLUSTER: &str = "faults";
/// The doors of every node: each has an address of its own.
const RESP: u16 = 7400;
const NATIVE: u16 = 7500;
/// The door for other nodes' control threads; that of the first CPU is the one after it.
pub const PEER: u16 = 7600;
const ADMIN: u16 = 7700;
/// How long a healed cluster may take until all of it works; for a machine that has a lot else to do.
const SETTLED_WITHIN: Duration = Duration::from_secs(60);
const LOOK_INTERVAL: Duration = Duration::from_millis(20);
const STATUS_TIMEOUT: Duration = Duration::from_secs(1);
