//! How an embedded cluster is configured and brought to life.

use std::sync::Arc;
use std::sync::mpsc::channel;
use std::thread;

use nix::errno::Errno;
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;
use thiserror::Error;

use super::Cluster;
use super::connect::Connector;
use super::control::{Inbox, NodeStatus, Worker};
use super::driver::{self, Driver, Peer};
use super::followers::{self, Follower, Followers};
use super::idle::{Bed, PollPolicy};
use super::link::link;
use crate::config::{Config, ConfigError, GroupConfig, Member, Settings};
use crate::engine::{Engine, Input};
use crate::ids::{Epoch, GroupId, Incarnation, NodeId, ReplicaId};
use crate::slots::{SLOT_COUNT, SlotMap};
use crate::time::Instant;

/// The replicas: the first leads, the others share a thread.
const NODES: [NodeId; 3] = [NodeId(1), NodeId(2), NodeId(3)];
/// How many of them must hold a write.
const WRITE_QUORUM: usize = 2;
/// Each replica has one run: it ends with the process.
const INCARNATION: Incarnation = Incarnation(1);

const IN_FLIGHT_MAX: usize = 1 << 20;
const RING_BYTES_MIN: usize = 4 << 10;
const RING_BYTES_MAX: usize = 1 << 30;

/// What is chosen before a [`Cluster`] starts; see [`Cluster::builder`].
#[derive(Clone, Debug)]
pub struct Builder {
    name: String,
    partitions: u32,
    config: Config,
    poll: PollPolicy,
    cpus: Option<[usize; 2]>,
    in_flight_max: usize,
    ring_bytes: usize,
}

/// Why a cluster could not be started.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum BuildError {
    /// A value of the engine's configuration is out of range.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A number of the builder is out of range.
    #[error("{name} is {value}, allowed is {min} to {max}")]
    OutOfRange {
        /// Which.
        name: &'static str,
        /// What it was.
        value: usize,
        /// Smallest allowed value.
        min: usize,
        /// Largest allowed value.
        max: usize,
    },
    /// A thread could not be pinned.
    #[error("cannot pin a thread to CPU {cpu}: {errno}")]
    Pin {
        /// Where.
        cpu: usize,
        /// What the kernel said.
        errno: Errno,
    },
    /// The system gave no thread.
    #[error("cannot start a thread: {errno}")]
    Thread {
        /// What the kernel said.
        errno: Errno,
    },
}

impl Default for Builder {
    fn default() -> Self {
        Self {
            name: String::from("quorate"),
            partitions: 1,
            config: Config { log_bytes: 16 << 20, ..Config::default() },
            poll: PollPolicy::default(),
            cpus: None,
            in_flight_max: 4096,
            ring_bytes: 1 << 20,
        }
    }
}

impl Builder {
    /// Sets what the threads are called; `-lead` and `-follow` are added.
    #[must_use]
    pub fn name(self, name: impl Into<String>) -> Self {
        Self { name: name.into(), ..self }
    }

    /// Sets the number of partitions, and so of groups: 1 to 16384, by default 1. One thread leads them all, so more of
    /// them make nothing faster.
    #[must_use]
    pub fn partitions(self, partitions: u32) -> Self {
        Self { partitions, ..self }
    }

    /// Sets the limits of each replica. Its windows are cut to what the rings between the replicas hold.
    #[must_use]
    pub fn config(self, config: Config) -> Self {
        Self { config, ..self }
    }

    /// Sets what threads do while there is nothing to do.
    #[must_use]
    pub fn poll(self, poll: PollPolicy) -> Self {
        Self { poll, ..self }
    }

    /// Pins the leader's thread to one CPU and the followers' to another. By default they are not pinned.
    #[must_use]
    pub fn pin(self, leader: usize, followers: usize) -> Self {
        Self { cpus: Some([leader, followers]), ..self }
    }

    /// Sets how many requests one handle or pipeline can have under way: 1 to 1,048,576, by default 4,096.
    #[must_use]
    pub fn in_flight_max(self, in_flight_max: usize) -> Self {
        Self { in_flight_max, ..self }
    }

    /// Sets the size of the rings between threads, in bytes: 4 KiB to 1 GiB, rounded up to a power of two, by default
    /// 1 MiB. Small enough for the cache is best; longer records go another way.
    #[must_use]
    pub fn ring_bytes(self, ring_bytes: usize) -> Self {
        Self { ring_bytes, ..self }
    }

    /// Starts the cluster on two threads of its own. When this returns, it serves.
    ///
    /// Cost: touches all memory of logs and rings.
    ///
    /// # Errors
    /// `Config`, `OutOfRange`: a value is refused, with its range. `Pin`, `Thread`: the system refused.
    pub fn build(self) -> Result<Cluster, BuildError> {
        let (settings, map) = self.check()?;
        let bed = Arc::new(Bed::new(self.poll));
        let inbox = Inbox::new(Arc::clone(&bed));
        let connector = self.connector(map, &bed);
        let (started, is_started) = channel();
        let (name, cpu) = (format!("{}-lead", self.name), self.cpus.map(|cpus| cpus[0]));
        let (inbox_inside, connector_inside) = (Arc::clone(&inbox), connector.clone());
        let thread = spawn(name, cpu, move || {
            let driver = self.drive(settings, connector_inside, inbox_inside);
            match driver {
                Ok(driver) => {
                    let followers = Arc::clone(driver.followers());
                    // If nobody waits for it, the cluster is dropped and its inbox says stop.
                    let _ = started.send(Ok(followers));
                    Some(driver.run())
                }
                Err(error) => {
                    let _ = started.send(Err(error));
                    None
                }
            }
        })?;
        let followers = is_started.recv().map_err(|_| BuildError::Thread { errno: Errno::UnknownErrno })??;
        let leader = Worker { inbox, stop: || driver::Ask::Stop, thread: Some(thread) };
        Ok(Cluster::new(leader, followers, connector))
    }

    /// Starts the followers on a thread of their own and returns the leader, to be driven by this one. When this
    /// returns, it serves. The policy of [`Builder::poll`] is that of the followers and of clients; the caller's thread
    /// is pinned nowhere.
    ///
    /// # Errors
    /// As [`Builder::build`].
    pub fn build_driven(self) -> Result<Driver, BuildError> {
        let (settings, map) = self.check()?;
        // Whoever drives looks by itself.
        let bed = Arc::new(Bed::new(PollPolicy::Spin));
        let inbox = Inbox::new(Arc::clone(&bed));
        let connector = self.connector(map, &bed);
        self.drive(settings, connector, inbox)
    }

    fn check(&self) -> Result<(Settings, SlotMap), BuildError> {
        let check = |name, value, min, max| {
            if (min..=max).contains(&value) {
                return Ok(());
            }
            Err(BuildError::OutOfRange { name, value, min, max })
        };
        let partitions = self.partitions as usize;
        check("partitions", partitions, 1, usize::from(SLOT_COUNT))?;
        check("in_flight_max", self.in_flight_max, 1, IN_FLIGHT_MAX)?;
        check("ring_bytes", self.ring_bytes, RING_BYTES_MIN, RING_BYTES_MAX)?;
        let map = SlotMap::new(self.partitions).expect("within the range checked above");
        // What may be in flight must fit into the ring, with as much again for what surrounds it: a message that finds
        // the ring full is lost, and the leader asks again only after `probe_after`.
        let ring_bytes = self.ring_bytes.next_power_of_two();
        let window_bytes = self.config.window_bytes.min(ring_bytes / 2 / partitions).max(256);
        let append_bytes_max = self.config.append_bytes_max.min(ring_bytes / 8).max(256);
        let settings = Config { window_bytes, append_bytes_max, ..self.config.clone() }.build()?;
        Ok((settings, map))
    }

    fn connector(&self, map: SlotMap, leader: &Arc<Bed>) -> Connector {
        Connector {
            map,
            ring_bytes: self.ring_bytes.next_power_of_two(),
            in_flight_max: self.in_flight_max,
            poll: self.poll,
            leader: Arc::clone(leader),
        }
    }

    /// Starts the followers and returns their leader.
    fn drive(
        self,
        settings: Settings,
        connector: Connector,
        inbox: Arc<Inbox<driver::Ask>>,
    ) -> Result<Driver, BuildError> {
        let [me, ..] = NODES;
        let leader = ReplicaId { node: me, incarnation: INCARNATION };
        let (mut peers, mut ends) = (Vec::new(), Vec::new());
        for node in &NODES[1..] {
            let (outlet, follower_inlet) = link(connector.ring_bytes);
            let (follower_outlet, inlet) = link(connector.ring_bytes);
            let replica = ReplicaId { node: *node, incarnation: INCARNATION };
            peers.push(Peer { replica, outlet, inlet, is_busy: false });
            ends.push((replica, follower_inlet, follower_outlet));
        }
        let groups = groups(connector.map);
        let bed = Arc::clone(&connector.leader);
        let followers_bed = Arc::new(Bed::new(self.poll));
        let followers_inbox = Inbox::new(Arc::clone(&followers_bed));
        let (inbox_inside, bed_inside, leader_bed) =
            (Arc::clone(&followers_inbox), Arc::clone(&followers_bed), Arc::clone(&bed));
        let (groups_inside, settings_inside) = (groups.clone(), settings.clone());
        // The engines are made on the threads that use them: their memory is then near.
        let work = move || -> Vec<NodeStatus> {
            let replicas = ends.into_iter().map(|(replica, inlet, outlet)| {
                let mut engine = Engine::new(settings_inside.clone(), replica, groups_inside.clone());
                let _ = engine.handle(Instant(0), Input::PeerConnected(leader));
                Follower { node: replica.node, leader, engine, inlet, outlet, now: Instant(0) }
            });
            let replicas = replicas.collect();
            Followers { replicas, inbox: inbox_inside, bed: bed_inside, leader_bed }.run()
        };
        let thread = spawn(format!("{}-follow", self.name), self.cpus.map(|cpus| cpus[1]), work)?;
        let followers = Worker { inbox: followers_inbox, stop: || followers::Ask::Stop, thread: Some(thread) };
        let engine = Engine::new(settings, leader, groups);
        Ok(Driver::new(driver::Parts { engine, me, peers, followers, followers_bed, inbox, bed, connector }))
    }
}

/// Returns the groups of the cluster, all led by the first node.
fn groups(map: SlotMap) -> Vec<GroupConfig> {
    let group = |group| GroupConfig {
        group,
        slots: map.slots_of(group),
        epoch: Epoch(1),
        loss_gen: 0,
        leader: NODES[0],
        members: NODES.iter().map(|node| Member { node: *node, incarnation: None }).collect(),
        write_quorum: WRITE_QUORUM,
    };
    (0..map.group_count()).map(GroupId).map(group).collect()
}

/// Starts a thread, pinned if `cpu` says where.
fn spawn<R: Send + 'static>(
    name: String,
    cpu: Option<usize>,
    work: impl FnOnce() -> R + Send + 'static,
) -> Result<thread::JoinHandle<R>, BuildError> {
    // A new thread runs where the one that made it may run: so this one goes there first, and back afterwards.
    let before = cpu.map(|cpu| go_to(cpu).map_err(|errno| BuildError::Pin { cpu, errno })).transpose()?;
    let spawned = thread::Builder::new().name(name).spawn(work);
    if let Some(before) = before {
        sched_setaffinity(THIS_THREAD, &before).expect("where this thread was allowed to run it still is");
    }
    spawned.map_err(|error| {
        let errno = error.raw_os_error().map_or(Errno::UnknownErrno, Errno::from_raw);
        BuildError::Thread { errno }
    })
}

/// Pins this thread to `cpu` and returns where it could run before.
fn go_to(cpu: usize) -> Result<CpuSet, Errno> {
    let before = sched_getaffinity(THIS_THREAD)?;
    let mut cpus = CpuSet::new();
    cpus.set(cpu)?;
    sched_setaffinity(THIS_THREAD, &cpus)?;
    Ok(before)
}

/// How the kernel calls the thread that asks.
const THIS_THREAD: Pid = Pid::from_raw(0);
