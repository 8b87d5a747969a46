//! Daemons on loopback of which the first three form the consistent core, and the rest hold data only.
//!
//! # Bounds
//! At most [`NODES_MAX`] nodes. What they keep lies in memory, so that no disk is measured that others use too.

use std::fmt::Write as _;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::http;
use super::standing::Standing;
use crate::process::{Process, Program, TempFolder, await_ready, free_ports};

/// How many nodes form the core.
pub const CORE_NODES: u16 = 3;
/// Most nodes of a cluster: each is a process with its own threads and memory.
pub const NODES_MAX: u16 = 48;

/// What is started.
#[derive(Clone, Debug)]
pub struct Shape {
    /// How many nodes, those of the core among them.
    pub nodes: u16,
    /// How long a node may be silent, in whole milliseconds; none: as long as the daemon lets it by itself.
    pub suspicion: Option<Duration>,
    /// Path of this program.
    pub harness: PathBuf,
    /// Path of the daemon.
    pub daemon: PathBuf,
}

/// A running cluster. Fields are dropped in order: processes, folder.
#[derive(Debug)]
pub struct Nodes {
    shape: Shape,
    ports: Vec<u16>,
    processes: Vec<Process>,
    folder: TempFolder,
}

impl Nodes {
    /// Starts all nodes.
    ///
    /// # Errors
    /// There are too few nodes or too many, or one cannot be started.
    pub fn start(shape: Shape) -> Result<Self> {
        let count = shape.nodes;
        ensure!((CORE_NODES..=NODES_MAX).contains(&count), "{count} nodes: choose {CORE_NODES} to {NODES_MAX}");
        let ports = free_ports(count * DOORS, PORTS_OF_DOOR, PORTS_OF_DOOR)?;
        let mut nodes = Self { shape, ports, processes: Vec::new(), folder: TempFolder::in_memory()? };
        for id in 1..=count {
            let config = nodes.folder.path().join(format!("node-{id}.toml"));
            fs::write(&config, nodes.config(id)).with_context(|| format!("cannot write {}", config.display()))?;
            let program = Program::new(&nodes.shape.daemon).words("start --create --config").arg(config);
            let name = format!("node-{id}");
            nodes.processes.push(Process::start(&nodes.shape.harness, &name, &program, nodes.folder.path())?);
        }
        Ok(nodes)
    }

    /// Waits until all groups are served, as every node sees it.
    ///
    /// # Errors
    /// A node has ended, or that is not so in time.
    pub fn wait_ready(&mut self) -> Result<()> {
        let doors: Vec<SocketAddr> = (1..=self.shape.nodes).map(|id| self.door(ADMIN, id)).collect();
        await_ready("the cluster", &mut self.processes, || {
            doors.iter().try_for_each(|door| http::get(*door, "/readyz").map(drop))
        })
    }

    /// Waits until all nodes of the core have applied the same entries and follow the same leader; returns how it stands then.
    ///
    /// # Errors
    /// A node has ended, or that is not so in time.
    pub fn wait_settled(&mut self) -> Result<Standing> {
        let doors: Vec<SocketAddr> = (1..=CORE_NODES).map(|id| self.door(ADMIN, id)).collect();
        await_ready("the consistent core", &mut self.processes, || {
            let seen = doors.iter().map(|door| Standing::read(&http::get(*door, "/metrics")?));
            Standing::agreed(&seen.collect::<Result<Vec<_>>>()?)
        })
    }

    /// Returns the RESP door of a node.
    #[must_use]
    pub fn resp(&self, id: u16) -> String {
        self.door(RESP, id).to_string()
    }

    fn door(&self, door: u16, id: u16) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.ports[usize::from(door * self.shape.nodes + id - 1)]).into()
    }

    fn config(&self, id: u16) -> String {
        let is_core = |id: u16| id <= CORE_NODES;
        let mut text = format!("[cluster]\nid = \"{CLUSTER}\"\n[node]\nid = {id}\ncore = {}\n", is_core(id));
        let mut push = |line: String| writeln!(text, "{line}").expect("a string takes all");
        // All of them are there all the time: one that has nothing to do is to take no CPU from those that are measured.
        push("poll = \"park\"\nlog_memory = \"16 MiB\"".to_owned());
        push(format!("data_dir = {:?}", self.folder.path().join(format!("core-{id}"))));
        push("[listen]".to_owned());
        for (name, door) in [("resp", RESP), ("native", NATIVE), ("peer", PEER), ("admin", ADMIN)] {
            push(format!("{name} = \"{}\"", self.door(door, id)));
        }
        if let Some(suspicion) = self.shape.suspicion {
            push(format!("[replication]\nsuspicion = \"{} ms\"", suspicion.as_millis()));
        }
        for other in (1..=self.shape.nodes).filter(|other| *other != id) {
            let (peer, core) = (self.door(PEER, other), is_core(other));
            push(format!("[[peers]]\nid = {other}\npeer = \"{peer}\"\ncore = {core}"));
        }
        text
    }
}

/// Name of the cluster.
const CLUSTER: &str = "core-commits";
const RESP: u16 = 0;
const NATIVE: u16 = 1;
const PEER: u16 = 2;
const ADMIN: u16 = 3;
const DOORS: u16 = 4;
/// A door's base port, and the one of its only CPU.
const PORTS_OF_DOOR: u16 = 2;
