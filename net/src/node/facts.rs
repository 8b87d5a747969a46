//! What every thread of a node knows and nobody changes: who the node is, and how the cluster was laid out at its birth.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use quorate_engine::config::{Config as EngineConfig, ConfigError as EngineConfigError, Placement};
use quorate_engine::config::{GroupConfig, Settings as EngineSettings};
use quorate_engine::control::state::Birth;
use quorate_engine::ids::{CpuId, GroupId, NodeId};
use quorate_engine::slots::SlotMap;
use quorate_engine::time::Instant;

use crate::config::{Door, Settings};
use crate::transport::Address;
use crate::{resp, wire};

/// See the module.
#[derive(Debug)]
pub struct Facts {
    /// What the node was told.
    pub settings: Settings,
    /// This node.
    pub node: NodeId,
    /// The slots, nodes, replicas and quorum that the cluster begins with.
    pub placement: Placement,
    /// CPUs of this node.
    pub cpu_count: u16,
    /// Digest of the settings that must be equal on all nodes.
    pub fingerprint: u64,
    /// When the node started, on the monotonic clock.
    pub started: Instant,
    /// Limits of the engine of one CPU.
    pub engine: EngineSettings,
    /// Base addresses of the peer doors of the other nodes.
    peer_doors: BTreeMap<NodeId, SocketAddr>,
    /// Addresses of all nodes at their doors for clients.
    pub addresses: BTreeMap<NodeId, NodeAddresses>,
}

/// Where clients reach a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeAddresses {
    /// Host, without a port.
    pub host: String,
    /// Base port of the RESP door.
    pub resp_port: u16,
    /// Base port of the native door.
    pub native_port: u16,
    /// Base port of the peer door.
    pub peer_port: u16,
}

/// Why a node cannot be built from its settings.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FactsError {
    /// The numbers of the cluster do not fit together.
    #[error(
        "replicas {replicas} and write_quorum {write_quorum} do not fit {nodes} nodes: list every other node under [[peers]]"
    )]
    Placement {
        /// Nodes known.
        nodes: usize,
        /// Replicas wanted.
        replicas: u8,
        /// Quorum wanted.
        write_quorum: u8,
    },
    /// A limit does not fit the engine.
    #[error("with {cpus} CPUs: {error}")]
    Engine {
        /// CPUs that share the memory.
        cpus: u16,
        /// What does not fit.
        error: EngineConfigError,
    },
}

impl Facts {
    /// Works out the facts.
    ///
    /// # Errors
    /// If replicas, quorum and nodes do not fit together, or a limit is out of range once the memory is divided among
    /// the CPUs.
    pub fn new(
        settings: Settings,
        started: Instant,
        peer_doors: BTreeMap<NodeId, SocketAddr>,
    ) -> Result<Self, FactsError> {
        let cluster = settings.cluster();
        let nodes = settings.node_ids();
        let slots = SlotMap::new(u32::from(cluster.partitions));
        let (replicas, write_quorum) = (usize::from(cluster.replicas), usize::from(cluster.write_quorum));
        let placement = slots.and_then(|slots| Placement::new(slots, nodes.clone(), replicas, write_quorum));
        let placement = placement.ok_or(FactsError::Placement {
            nodes: nodes.len(),
            replicas: cluster.replicas,
            write_quorum: cluster.write_quorum,
        })?;
        let cpu_count = settings.node().cpus.count();
        let engine = engine_config(&settings, cpu_count)
            .build()
            .map_err(|error| FactsError::Engine { cpus: cpu_count, error })?;
        let node = settings.node().id;
        let fingerprint = fingerprint(&settings);
        let addresses = addresses(&settings);
        Ok(Self { settings, node, placement, cpu_count, fingerprint, started, engine, peer_doors, addresses })
    }

    /// Returns what is fixed when the cluster is created.
    #[must_use]
    pub fn birth(&self) -> Birth {
        Birth {
            slots: self.placement.slots(),
            nodes: self.placement.nodes().to_vec(),
            replicas: self.placement.replicas(),
            write_quorum: self.placement.write_quorum(),
        }
    }

    /// Returns a number that differs, with near certainty, between nodes that would begin a cluster with other nodes.
    #[must_use]
    pub fn founders(&self) -> u32 {
        let nodes: Vec<u8> = self.placement.nodes().iter().flat_map(|node| node.0.to_le_bytes()).collect();
        crc32c::crc32c(&nodes)
    }

    /// Returns how long a change may be under way before the core supersedes it: longer than two read leases, because the
    /// leases of a leader that was never active are waited for by the next one.
    #[must_use]
    pub fn patience(&self) -> Duration {
        let replication = self.settings.replication();
        (2 * replication.suspicion).max(3 * replication.read_lease)
    }

    /// Returns the CPU of a node with `cpu_count` CPUs on which `group` lives.
    #[must_use]
    pub fn cpu_of(group: GroupId, cpu_count: u16) -> CpuId {
        let cpu = group.0 % u32::from(cpu_count.max(1));
        CpuId(u16::try_from(cpu).expect("below a 16-bit number"))
    }

    /// Returns the CPU of this node on which `group` lives, or where requests for it start their way to another node.
    #[must_use]
    pub fn home_of(&self, group: GroupId) -> CpuId {
        Self::cpu_of(group, self.cpu_count)
    }

    /// Returns all groups of the cluster.
    pub fn groups(&self) -> impl Iterator<Item = GroupId> + use<> {
        (0..self.placement.slots().group_count()).map(GroupId)
    }

    /// Returns the groups that live on one CPU of this node if they live on the node at all, which the core decides.
    #[must_use]
    pub fn groups_on(&self, cpu: CpuId) -> Vec<GroupConfig> {
        self.groups()
            .filter(|group| self.home_of(*group) == cpu)
            .map(|group| GroupConfig::undecided(group, self.placement.slots().slots_of(group)))
            .collect()
    }

    /// Whether CPU `ours` of this node and CPU `theirs` of a node with `their_count` CPUs are connected: they have a
    /// group in common, or one of them is the first and the other has no group at all, and could not pass on what is
    /// published there.
    #[must_use]
    pub fn are_connected(&self, ours: CpuId, theirs: CpuId, their_count: u16) -> bool {
        let is_without_group = |cpu: CpuId| u32::from(cpu.0) >= self.placement.slots().group_count();
        if is_without_group(ours) || is_without_group(theirs) {
            return ours == CpuId(0) || theirs == CpuId(0);
        }
        self.groups().any(|group| self.home_of(group) == ours && Self::cpu_of(group, their_count) == theirs)
    }

    /// Returns where to reach one CPU of another node, or its control thread: its Unix socket if both share a folder, else
    /// its port.
    #[must_use]
    pub fn peer_door(&self, node: NodeId, cpu: Option<CpuId>) -> Option<Address> {
        let peer = self.settings.peers().iter().find(|peer| peer.id == node)?;
        if let Some(path) = peer.unix_socket(Door::Peer, cpu) {
            return Some(Address::Unix(path));
        }
        let base = *self.peer_doors.get(&node)?;
        let port = match cpu {
            Some(cpu) => base.port().checked_add(1)?.checked_add(cpu.0)?,
            None => base.port(),
        };
        Some(Address::Tcp(SocketAddr::new(base.ip(), port)))
    }

    /// Returns the limits of RESP requests.
    #[must_use]
    pub fn resp_limits(&self) -> resp::Limits {
        let limits = self.settings.limits();
        let default = resp::Limits::default();
        let bulk_bytes_max = u32::try_from(limits.value_bytes_max.max(limits.key_bytes_max)).unwrap_or(u32::MAX);
        resp::Limits {
            args_max: u32::try_from(limits.arguments_len_max).unwrap_or(u32::MAX),
            bulk_bytes_max,
            ..default
        }
    }

    /// Returns the limits of frames.
    #[must_use]
    pub fn body_limits(&self) -> wire::BodyLimits {
        wire::BodyLimits::DEFAULT
    }
}

/// More than a reply between nodes takes beside its answer.
const REPLY_HEAD_BYTES: usize = 1024;

/// Divides what is set for the node among its CPUs.
fn engine_config(settings: &Settings, cpu_count: u16) -> EngineConfig {
    let limits = settings.limits();
    let default = EngineConfig::default();
    let share = |bytes: u64| usize::try_from(bytes / u64::from(cpu_count)).unwrap_or(usize::MAX);
    // Whole segments.
    let log_bytes = share(settings.node().log_bytes) / default.segment_bytes * default.segment_bytes;
    EngineConfig {
        log_bytes,
        memory_bytes_max: share(settings.node().memory_bytes_max),
        key_bytes_max: limits.key_bytes_max,
        value_bytes_max: limits.value_bytes_max,
        // One that is passed on between nodes has to fit a frame.
        answer_bytes_max: limits
            .output_bytes_max
            .min(wire::BodyLimits::DEFAULT.reply_bytes_max as usize - REPLY_HEAD_BYTES),
        waiters_max: limits.waiters_len_max,
        window_bytes: usize::try_from(settings.replication().window_bytes).unwrap_or(usize::MAX),
        request_timeout: limits.request_timeout,
        read_lease: settings.replication().read_lease,
        // Longer than any lease, and no shorter because leases are: a follower may be busy for some milliseconds.
        quorum_silence: default.quorum_silence.max(settings.replication().read_lease * 3 / 2),
        repair: settings.replication().repair,
        ..default
    }
}

/// Returns a number that differs, with near certainty, between nodes whose shared settings differ. Which nodes there are is not
/// among them: nodes come and go.
fn fingerprint(settings: &Settings) -> u64 {
    let cluster = settings.cluster();
    let mut text = format!("{}|{}|{}|{}", cluster.id, cluster.partitions, cluster.replicas, cluster.write_quorum);
    // Those who wait for leases to run out go by their own setting.
    let replication = settings.replication();
    text.push_str(&format!("|{:?}|{:?}", replication.read_lease, replication.suspicion));
    for node in settings.core_nodes() {
        text.push_str(&format!("|core {node}"));
    }
    let low = u64::from(crc32c::crc32c(text.as_bytes()));
    text.push('!');
    low | u64::from(crc32c::crc32c(text.as_bytes())) << 32
}

fn addresses(settings: &Settings) -> BTreeMap<NodeId, NodeAddresses> {
    let listen = settings.listen();
    let own = NodeAddresses {
        host: listen.resp.ip().to_string(),
        resp_port: listen.resp.port(),
        native_port: listen.native.port(),
        peer_port: listen.peer.port(),
    };
    let others = settings.peers().iter().map(|peer| {
        let addresses = NodeAddresses {
            host: peer.resp.host(),
            resp_port: peer.resp.port(),
            native_port: peer.native.port(),
            peer_port: peer.peer.port(),
        };
        (peer.id, addresses)
    });
    others.chain([(settings.node().id, own)]).collect()
}
