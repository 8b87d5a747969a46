//! A cluster on this machine: some nodes as child processes that end with us.
//!
//! For trying things out, for demonstrations and for tests. Each node is this same binary, run as `quorate start` with a
//! configuration file in a temporary folder of the cluster, where its log goes as well; nothing is written anywhere else.
//! Every cluster has a name of its own, so nodes of two of them never take each other for members.
//!
//! The nodes end with us in three ways: [`LocalCluster::stop`] asks them and waits, dropping the cluster kills them, and
//! when this process is killed the kernel kills them too (on Linux; see [`follow_parent`]). For the last the thread that
//! starts the cluster has to live as long as the cluster: the kernel counts the thread as the parent.
//!
//! # Bounds
//! 1 to [`NODES_MAX`] nodes with 1 to [`CPUS_MAX`] CPUs; more would take each other's ports.

mod child;
mod folder;
mod ports;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use quorate_engine::time::Instant;
use thiserror::Error;

use crate::cli::status::ask::{AskError, Asker};
use crate::cli::status::ask_node;
use crate::cli::status::report::Report;
use crate::clock;
use crate::node::Birth;
use child::Child;
use folder::Folder;
use ports::{PortPlan, Taken};

pub use child::{Ended, follow_parent};
pub use folder::random_number;
pub use ports::{BASE_DEFAULT, CPUS_MAX, NODES_MAX, PortBase};

/// What kind of cluster is started.
#[derive(Clone, Debug)]
pub struct LocalOptions {
    /// How many nodes, 1 to [`NODES_MAX`].
    pub nodes: u16,
    /// Threads of each that serve data, 1 to [`CPUS_MAX`].
    pub cpus: u16,
    /// What moves data: `auto`, `uring` or `mio`.
    pub io: String,
    /// The RESP port of the first node; the others follow 20 apart.
    pub port_base: PortBase,
    /// Whether the nodes serve `DEBUG`, which can damage a replica on purpose.
    pub has_debug_commands: bool,
    /// What clients must give first, if anything.
    pub password: Option<String>,
    /// The binary to run; `None`: this one.
    pub binary: Option<PathBuf>,
    /// Ends the start early when it becomes true.
    pub is_interrupted: Arc<AtomicBool>,
}

impl Default for LocalOptions {
    fn default() -> Self {
        Self {
            nodes: 3,
            cpus: 1,
            io: "auto".to_owned(),
            port_base: PortBase::Usual,
            has_debug_commands: false,
            password: None,
            binary: None,
            is_interrupted: Arc::default(),
        }
    }
}

/// Why a cluster did not start.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum LocalError {
    /// The path of this binary is not known.
    #[error(
        "cannot find out which binary this is, to run it once for each node: {error}; start the nodes by hand with `quorate start`"
    )]
    Binary {
        /// What the system said.
        error: io::Error,
    },
    /// The temporary folder cannot be written.
    #[error("cannot write {}: {error}; set TMPDIR to a folder that this user may write to", path.display())]
    Folder {
        /// The folder or a file in it.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// A process cannot be started.
    #[error("cannot run {}: {error}", binary.display())]
    Spawn {
        /// What was to be run.
        binary: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// The ports asked for do not lie between 1 and 65535.
    #[error(
        "--port-base {base} does not do: node {node} would need port {port} for {key}, and ports go from 1 to 65535; choose \
         another, like {BASE_DEFAULT}"
    )]
    PortRange {
        /// The first port.
        base: u16,
        /// Which node.
        node: u16,
        /// Its port.
        port: u32,
        /// The key that sets it.
        key: &'static str,
    },
    /// Somebody listens on a port that was asked for.
    #[error(
        "port {port} ({key} of node {node}) is taken by another process; stop that one, or choose other ports with --port-base"
    )]
    PortTaken {
        /// The port.
        port: u16,
        /// The key that sets it.
        key: &'static str,
        /// Which node.
        node: u16,
    },
    /// No free ports were found.
    #[error("no free ports for {nodes} nodes after {attempts} attempts; choose some with --port-base")]
    NoFreePorts {
        /// How many nodes.
        nodes: u16,
        /// How many times.
        attempts: u32,
    },
    /// A node ended instead of starting.
    #[error("node {node} ended at once ({ended}); its log ends with:\n{log}")]
    Ended {
        /// Which node.
        node: u16,
        /// How.
        ended: Ended,
        /// The end of its log.
        log: String,
    },
    /// The nodes run, and do not serve in time.
    #[error("the nodes are not ready after {waited:?}: {missing}; their logs end with:\n{log}")]
    NotReady {
        /// How long we waited.
        waited: Duration,
        /// What is missing.
        missing: String,
        /// The ends of their logs.
        log: String,
    },
    /// A signal came first.
    #[error("interrupted before the nodes were ready")]
    Interrupted,
}

/// A running cluster.
#[derive(Debug)]
pub struct LocalCluster {
    name: String,
    nodes: Vec<LocalNode>,
    /// How long it took until all groups were served.
    ready_after: Duration,
    /// What moves data, and why.
    io: String,
    /// Behind the nodes, so that it goes after them.
    folder: Folder,
}

/// One of its nodes.
#[derive(Debug)]
pub struct LocalNode {
    id: u16,
    child: Child,
    ports: ports::NodePorts,
    cpus: u16,
    config: PathBuf,
}

impl LocalOptions {
    fn find_binary(&self) -> Result<PathBuf, LocalError> {
        match &self.binary {
            Some(path) => Ok(path.clone()),
            None => std::env::current_exe().map_err(|error| LocalError::Binary { error }),
        }
    }
}

impl LocalCluster {
    /// Starts a cluster and waits until all its groups are served.
    ///
    /// # Errors
    /// See [`LocalError`]; nothing is left running.
    pub fn start(options: &LocalOptions) -> Result<Self, LocalError> {
        let nodes = options.nodes.clamp(1, NODES_MAX);
        let cpus = options.cpus.clamp(1, CPUS_MAX);
        for attempt in 0..PORT_ATTEMPTS_MAX {
            let plan = PortPlan::new(options.port_base, attempt, nodes, cpus)?;
            let is_fixed = matches!(options.port_base, PortBase::Fixed(_));
            match plan.find_taken() {
                None => {}
                Some(taken) if is_fixed => return Err(taken.into()),
                Some(_) => continue,
            }
            match Self::start_at(options, &plan) {
                // Somebody was faster than we: the ports were free when we looked.
                Err(LocalError::PortTaken { .. }) if !is_fixed => {}
                ended => return ended,
            }
        }
        Err(LocalError::NoFreePorts { nodes, attempts: PORT_ATTEMPTS_MAX })
    }

    /// Returns its name, which clients and nodes must know it by.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns its nodes, by number.
    #[must_use]
    pub fn nodes(&self) -> &[LocalNode] {
        &self.nodes
    }

    /// Returns its temporary folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Returns how long it took from the start until all groups were served.
    #[must_use]
    pub fn ready_after(&self) -> Duration {
        self.ready_after
    }

    /// Returns what moves data, and why.
    #[must_use]
    pub fn io(&self) -> &str {
        &self.io
    }

    /// Returns the native doors of all nodes.
    #[must_use]
    pub fn native_addresses(&self) -> Vec<String> {
        self.nodes.iter().map(LocalNode::native_address).collect()
    }

    /// Returns the next node that has ended and was not returned before, and how it ended.
    pub fn try_ended(&mut self) -> Option<(u16, Ended)> {
        self.nodes.iter_mut().find_map(|node| node.child.try_ended().map(|ended| (node.id, ended)))
    }

    /// Whether any node runs.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.nodes.iter().any(|node| node.child.is_running())
    }

    /// Returns the ends of the logs of all nodes.
    #[must_use]
    pub fn log_tails(&self) -> String {
        self.nodes.iter().map(|node| format!("node {}:\n{}", node.id, node.child.log_tail())).collect()
    }

    /// Kills a node: it has no time for anything.
    ///
    /// # Panics
    /// If there is no such node.
    pub fn kill(&mut self, id: u16) {
        self.node_mut(id).child.kill();
    }

    /// Starts a node that was killed, from the same configuration; returns at once.
    ///
    /// # Errors
    /// The process cannot be started.
    ///
    /// # Panics
    /// If there is no such node.
    pub fn start_again(&mut self, id: u16, options: &LocalOptions) -> Result<(), LocalError> {
        let binary = options.find_binary()?;
        let log = self.folder.path().join(format!("node-{id}.log"));
        let node = self.node_mut(id);
        node.child = Child::spawn(&binary, &node.config, log, Birth::Join)?;
        Ok(())
    }

    fn node_mut(&mut self, id: u16) -> &mut LocalNode {
        self.nodes.iter_mut().find(|node| node.id == id).expect("it is one of ours")
    }

    /// Asks all nodes to finish and end, waits for that for a while, and kills those that do not. Returns those that run
    /// nevertheless: somebody has started them again by hand. Their files are kept.
    pub fn stop(mut self) -> Vec<u16> {
        for node in &mut self.nodes {
            node.child.ask_to_end();
        }
        let deadline = clock::now().saturating_add(STOP_TIME_MAX);
        while self.is_running() && clock::now() < deadline {
            while self.try_ended().is_some() {}
            thread::sleep(POLL_INTERVAL);
        }
        self.nodes.iter_mut().filter(|node| node.child.is_running()).for_each(|node| node.child.kill());
        let runs = |node: &&LocalNode| {
            let report =
                Asker::connect(&node.resp_address(), None, ASK_TIMEOUT).and_then(|mut asker| ask_node(&mut asker));
            report.is_ok_and(|report| report.cluster == self.name)
        };
        let left: Vec<u16> = self.nodes.iter().filter(runs).map(LocalNode::id).collect();
        if !left.is_empty() {
            self.folder.keep();
        }
        left
    }

    fn start_at(options: &LocalOptions, plan: &PortPlan) -> Result<Self, LocalError> {
        let started = clock::now();
        let binary = options.find_binary()?;
        let name = format!("local-{:08x}", random_number() & 0xFFFF_FFFF);
        let folder = Folder::create(&name)?;
        let nodes = Vec::with_capacity(plan.nodes().len());
        let mut cluster = Self { name, nodes, ready_after: Duration::ZERO, io: String::new(), folder };
        for (id, ports) in plan.nodes() {
            let config = cluster.folder.path().join(format!("node-{id}.toml"));
            cluster.folder.write(&config, &plan.config(&cluster.name, *id, cluster.folder.path(), options))?;
            let log = cluster.folder.path().join(format!("node-{id}.log"));
            let child = Child::spawn(&binary, &config, log, Birth::Create)?;
            let (id, ports) = (*id, *ports);
            cluster.nodes.push(LocalNode { id, child, ports, cpus: options.cpus, config });
        }
        cluster.wait_until_ready(started, options)?;
        Ok(cluster)
    }

    fn wait_until_ready(&mut self, started: Instant, options: &LocalOptions) -> Result<(), LocalError> {
        let mut askers: Vec<Option<Asker>> = self.nodes.iter().map(|_| None).collect();
        let deadline = started.saturating_add(READY_TIME_MAX);
        loop {
            self.check_children()?;
            if options.is_interrupted.load(Ordering::Relaxed) {
                return Err(LocalError::Interrupted);
            }
            let Some(missing) = self.find_missing(&mut askers, options.password.as_deref()) else {
                self.ready_after = clock::now().since(started);
                return Ok(());
            };
            if clock::now() >= deadline {
                return Err(LocalError::NotReady { waited: READY_TIME_MAX, missing, log: self.log_tails() });
            }
            thread::sleep(POLL_INTERVAL);
        }
    }

    /// Returns an error if a node has ended.
    fn check_children(&mut self) -> Result<(), LocalError> {
        let Some((id, ended)) = self.try_ended() else { return Ok(()) };
        let node = self.nodes.iter().find(|node| node.id == id).expect("it is one of ours");
        let log = node.child.log_tail();
        match node.ports.taken_in(&log, id, node.cpus) {
            Some(taken) => Err(taken.into()),
            None => Err(LocalError::Ended { node: id, ended, log }),
        }
    }

    /// Returns what the first node that is not ready misses.
    fn find_missing(&mut self, askers: &mut [Option<Asker>], password: Option<&str>) -> Option<String> {
        for (node, asker) in self.nodes.iter().zip(askers) {
            let report = match ask_kept(asker, &node.resp_address(), password) {
                Ok(report) => report,
                Err(error) => return Some(format!("node {}: {error}", node.id)),
            };
            if report.cluster != self.name {
                return Some(format!("node {}: cluster {} answers at its port", node.id, report.cluster));
            }
            if !report.is_settled() {
                let group = report.groups.iter().find(|group| !matches!(group.state.as_str(), "serving" | "following"));
                let group = group.map_or(String::new(), |group| format!(", group {} is {}", group.group, group.state));
                return Some(format!("node {} has not met all others{group}", node.id));
            }
            self.io = format!("{} ({})", report.io_driver.unwrap_or_default(), report.io_reason.unwrap_or_default());
        }
        None
    }
}

impl LocalNode {
    /// Returns its number.
    #[must_use]
    pub fn id(&self) -> u16 {
        self.id
    }

    /// Returns the number of its process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.pid()
    }

    /// Returns its RESP door.
    #[must_use]
    pub fn resp_address(&self) -> String {
        ports::local(self.ports.resp)
    }

    /// Returns the RESP door of that of its CPUs that serves group `group`.
    #[must_use]
    pub fn resp_address_of(&self, group: u32) -> String {
        let cpu = u16::try_from(group % u32::from(self.cpus.max(1))).expect("below a 16-bit number");
        ports::local(self.ports.resp + 1 + cpu)
    }

    /// Returns its native door.
    #[must_use]
    pub fn native_address(&self) -> String {
        ports::local(self.ports.native)
    }

    /// Returns its peer door.
    #[must_use]
    pub fn peer_address(&self) -> String {
        ports::local(self.ports.peer)
    }

    /// Returns its door for HTTP.
    #[must_use]
    pub fn admin_address(&self) -> String {
        ports::local(self.ports.admin)
    }

    /// Returns its configuration file.
    #[must_use]
    pub fn config(&self) -> &Path {
        &self.config
    }

    /// Returns the end of its log.
    #[must_use]
    pub fn log_tail(&self) -> String {
        self.child.log_tail()
    }
}

impl From<Taken> for LocalError {
    fn from(taken: Taken) -> Self {
        Self::PortTaken { port: taken.port, key: taken.key, node: taken.node }
    }
}

/// Asks a node over a connection that is kept as long as it works.
fn ask_kept(asker: &mut Option<Asker>, address: &str, password: Option<&str>) -> Result<Report, AskError> {
    let mut kept = match asker.take() {
        Some(kept) => kept,
        None => Asker::connect(address, password, ASK_TIMEOUT)?,
    };
    let report = ask_node(&mut kept)?;
    *asker = Some(kept);
    Ok(report)
}

/// How long nodes may take until they serve. They need some tenths of a second; this is for machines that are busy.
const READY_TIME_MAX: Duration = Duration::from_secs(20);
/// How long nodes may take to finish: beyond the time of a request.
const STOP_TIME_MAX: Duration = Duration::from_secs(7);
const ASK_TIMEOUT: Duration = Duration::from_secs(2);
const POLL_INTERVAL: Duration = Duration::from_millis(5);
const PORT_ATTEMPTS_MAX: u32 = 20;
