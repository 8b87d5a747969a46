//! What a node runs with: checked once, trusted afterwards.
//!
//! [`Settings`] is made by [`Config::build`](super::Config::build) only and never changes. Its parts are plain data; a
//! module is given the part it needs.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use quorate_engine::control::roster::Doors;
use quorate_engine::ids::{CpuId, NodeId};

use super::check::{core_nodes, door_key, port_beside, write_quorum};
use super::error::Origin;
use super::keys::{Key, KeyId};
use super::types::{CpuPlan, Door, Durability, Endpoint, Io, Poll, Secret};
use super::value::Value;
use super::{Config, PeerEntries};

/// Everything a node is told, checked.
#[derive(Clone, Debug)]
pub struct Settings {
    cluster: ClusterSettings,
    node: NodeSettings,
    listen: ListenSettings,
    security: SecuritySettings,
    limits: Limits,
    replication: ReplicationSettings,
    peers: Vec<PeerSettings>,
    core: Vec<NodeId>,
    notes: Vec<Note>,
}

/// What is the same on every node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterSettings {
    /// The name; 1 to 64 characters of `A-Z a-z 0-9 . _ -`.
    pub id: String,
    /// Ranges of slots; 1 to 16384.
    pub partitions: u16,
    /// N, copies of each group; at most the number of nodes.
    pub replicas: u8,
    /// W, acknowledgements of a write; 1 to N.
    pub write_quorum: u8,
}

/// What concerns this node alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeSettings {
    /// Its number; 1 and up.
    pub id: NodeId,
    /// How many threads, and where.
    pub cpus: CpuPlan,
    /// Bytes for keys and values.
    pub memory_bytes_max: u64,
    /// Bytes for the log, all CPUs together.
    pub log_bytes: u64,
    /// What an idle thread does.
    pub poll: Poll,
    /// Which transport.
    pub io: Io,
    /// Where a node of the core keeps what was agreed on.
    pub data_dir: PathBuf,
    /// What an acknowledged write survives.
    pub durability: Durability,
}

/// The doors of this node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenSettings {
    /// For Redis clients.
    pub resp: SocketAddr,
    /// For clients of the native protocol.
    pub native: SocketAddr,
    /// For the other nodes.
    pub peer: SocketAddr,
    /// For HTTP.
    pub admin: SocketAddr,
    /// The directory of the Unix sockets, if there are any.
    pub unix: Option<PathBuf>,
    /// Under which address others reach doors that listen on all addresses.
    pub advertise: Option<IpAddr>,
}

/// Who may connect, and what they may do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecuritySettings {
    /// The password of the default user.
    pub requirepass: Option<Secret>,
    /// Whether `DEBUG` commands are served.
    pub has_debug_commands: bool,
}

/// What a client may ask for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of the longest key.
    pub key_bytes_max: usize,
    /// Bytes of the longest value.
    pub value_bytes_max: usize,
    /// Arguments of one RESP command.
    pub arguments_len_max: usize,
    /// Connections of clients.
    pub clients_len_max: usize,
    /// Unanswered requests of one connection.
    pub pipeline_len_max: usize,
    /// Requests that wait on one CPU.
    pub waiters_len_max: usize,
    /// How long a request may wait for its quorum.
    pub request_timeout: Duration,
    /// Bytes queued for one client.
    pub output_bytes_max: usize,
}

/// What holds between the nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplicationSettings {
    /// Bytes sent to one peer and not yet acknowledged, per group.
    pub window_bytes: u64,
    /// L, how long a leader may answer reads after its quorum's last acknowledgement.
    pub read_lease: Duration,
    /// How long a node may be silent before it is suspected.
    pub suspicion: Duration,
    /// Whether a replica whose state is wrong copies that of its leader.
    pub repair: bool,
}

/// Another node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerSettings {
    /// Its number.
    pub id: NodeId,
    /// Its peer door.
    pub peer: Endpoint,
    /// Its RESP door, as clients are told.
    pub resp: Endpoint,
    /// Its native door, as clients are told.
    pub native: Endpoint,
    /// The directory of its Unix sockets; then it is reached through them.
    pub unix: Option<PathBuf>,
}

/// Something that is allowed and that its owner should know.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Note {
    /// W is not a majority: cheap writes, dear takeovers.
    FlexibleQuorum {
        /// W.
        write_quorum: u8,
        /// N.
        replicas: u8,
    },
    /// W is more than a majority: writes stop early.
    StrictQuorum {
        /// W.
        write_quorum: u8,
        /// N.
        replicas: u8,
    },
    /// An even N outlives no more than the odd one below it.
    EvenReplicas {
        /// N.
        replicas: u8,
    },
    /// The peer door is open to the network; a password guards the doors of clients only.
    PeerDoorOpen {
        /// Its address.
        address: SocketAddr,
    },
}

impl Settings {
    /// Takes over a configuration in which [`super::check`] found nothing.
    pub(super) fn from_checked(config: &Config) -> Self {
        let listen = listen(config);
        let peers = config.peers.iter().map(|peer| peer_settings(peer, &listen)).collect();
        let mut settings = Self {
            cluster: cluster(config),
            node: node(config),
            listen,
            security: security(config),
            limits: limits(config),
            replication: ReplicationSettings {
                window_bytes: size(config, KeyId::WindowBytes),
                read_lease: span(config, KeyId::ReadLease),
                suspicion: span(config, KeyId::Suspicion),
                repair: flag(config, KeyId::Repair),
            },
            peers,
            core: core_nodes(config).into_iter().map(|id| NodeId(narrow(id))).collect(),
            notes: Vec::new(),
        };
        settings.notes = notes(&settings);
        settings
    }

    /// Returns what is the same on every node.
    #[must_use]
    pub fn cluster(&self) -> &ClusterSettings {
        &self.cluster
    }

    /// Returns what concerns this node alone.
    #[must_use]
    pub fn node(&self) -> &NodeSettings {
        &self.node
    }

    /// Returns the doors.
    #[must_use]
    pub fn listen(&self) -> &ListenSettings {
        &self.listen
    }

    /// Returns who may connect.
    #[must_use]
    pub fn security(&self) -> &SecuritySettings {
        &self.security
    }

    /// Returns what a client may ask for.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Returns what holds between the nodes.
    #[must_use]
    pub fn replication(&self) -> &ReplicationSettings {
        &self.replication
    }

    /// Returns the other nodes, in the order in which they were listed; no id twice, this node's not among them.
    #[must_use]
    pub fn peers(&self) -> &[PeerSettings] {
        &self.peers
    }

    /// Returns all node ids of the cluster in ascending order, this node's included.
    #[must_use]
    pub fn node_ids(&self) -> Vec<NodeId> {
        let mut ids: Vec<NodeId> = self.peers.iter().map(|peer| peer.id).chain([self.node.id]).collect();
        ids.sort_unstable();
        ids
    }

    /// Returns the nodes that form the consistent core, ascending: 1, 3 or 5.
    #[must_use]
    pub fn core_nodes(&self) -> &[NodeId] {
        &self.core
    }

    /// Whether this node belongs to the consistent core.
    #[must_use]
    pub fn is_core(&self) -> bool {
        self.core.contains(&self.node.id)
    }

    /// Returns what is allowed and should be known; to be printed at start.
    #[must_use]
    pub fn notes(&self) -> &[Note] {
        &self.notes
    }
}

impl ListenSettings {
    /// Returns where others reach this node, as far as it knows itself.
    #[must_use]
    pub fn advertised(&self) -> Option<Doors> {
        let seen = |door: SocketAddr| {
            let ip = Some(door.ip()).filter(|ip| !ip.is_unspecified()).or(self.advertise)?;
            Some(SocketAddr::new(ip, door.port()))
        };
        Some(Doors { resp: seen(self.resp)?, native: seen(self.native)?, peer: seen(self.peer)? })
    }

    /// Returns the address of a door that all CPUs share.
    #[must_use]
    pub fn base(&self, door: Door) -> SocketAddr {
        match door {
            Door::Resp => self.resp,
            Door::Native => self.native,
            Door::Peer => self.peer,
            Door::Admin => self.admin,
        }
    }

    /// Returns the address of a CPU's own door: base port + 1 + CPU.
    ///
    /// # Panics
    /// For a CPU that this node does not have: the check left room for its own CPUs only.
    #[must_use]
    pub fn of_cpu(&self, door: Door, cpu: CpuId) -> SocketAddr {
        assert!(door.is_per_cpu(), "CPUs have no {} door of their own", door.name());
        let base = self.base(door);
        let port = base.port().checked_add(cpu.0).and_then(|port| port.checked_add(1));
        SocketAddr::new(base.ip(), port.expect("the check leaves room for every CPU above the base port"))
    }

    /// Returns the Unix socket of a door: `NAME.sock` for the base, `NAME-CPU.sock` for a CPU's own; `None` without
    /// `listen.unix` and for the admin door.
    #[must_use]
    pub fn unix_socket(&self, door: Door, cpu: Option<CpuId>) -> Option<PathBuf> {
        unix_socket(self.unix.as_ref()?, door, cpu)
    }
}

impl PeerSettings {
    /// Returns the Unix socket of a door of that node, if it is to be reached through one.
    #[must_use]
    pub fn unix_socket(&self, door: Door, cpu: Option<CpuId>) -> Option<PathBuf> {
        unix_socket(self.unix.as_ref()?, door, cpu)
    }

    /// Returns the address of the peer door of one of its CPUs: base port + 1 + CPU; `None` beyond the last port.
    #[must_use]
    pub fn of_cpu(&self, cpu: CpuId) -> Option<Endpoint> {
        let port = self.peer.port().checked_add(cpu.0)?.checked_add(1)?;
        Some(self.peer.with_port(port))
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::FlexibleQuorum { write_quorum, replicas } => write!(
                f,
                "write_quorum {write_quorum} of {replicas}: an acknowledged write is held by {write_quorum}, and \
                 taking over from a lost leader needs {} of {replicas} replicas",
                replicas - write_quorum + 1
            ),
            Self::StrictQuorum { write_quorum, replicas } => write!(
                f,
                "write_quorum {write_quorum} of {replicas}: writes stop when {} of {replicas} replicas cannot be \
                 reached; a majority is {}",
                replicas - write_quorum + 1,
                replicas / 2 + 1
            ),
            Self::EvenReplicas { replicas } => write!(
                f,
                "replicas {replicas}: with a majority as write quorum they outlive as many lost nodes as {}",
                replicas - 1
            ),
            Self::PeerDoorOpen { address } => write!(
                f,
                "listen.peer {address} can be reached from other machines; the password guards clients' doors only, so \
                 keep this port inside a trusted network"
            ),
        }
    }
}

fn unix_socket(dir: &std::path::Path, door: Door, cpu: Option<CpuId>) -> Option<PathBuf> {
    if !door.is_per_cpu() {
        return None;
    }
    Some(match cpu {
        None => dir.join(format!("{}.sock", door.name())),
        Some(cpu) => dir.join(format!("{}-{cpu}.sock", door.name())),
    })
}

fn cluster(config: &Config) -> ClusterSettings {
    let id = match config.value(KeyId::ClusterId) {
        Some((Value::Name(id), _)) => id,
        other => unreachable!("the table says cluster.id is a name: {other:?}"),
    };
    let (write_quorum, _) = write_quorum(config).expect("checked: the quorum was read or follows from the replicas");
    ClusterSettings {
        id,
        partitions: narrow(count(config, KeyId::Partitions)),
        replicas: narrow(count(config, KeyId::Replicas)),
        write_quorum: narrow(write_quorum),
    }
}

fn node(config: &Config) -> NodeSettings {
    let cpus = match config.value(KeyId::Cpus) {
        Some((Value::Cpus(plan), _)) => plan,
        other => unreachable!("the table says node.cpus is a plan: {other:?}"),
    };
    let poll = match word(config, KeyId::Poll) {
        "spin" => Poll::Spin,
        "adaptive" => Poll::Adaptive,
        "park" => Poll::Park,
        other => unreachable!("the table has no such word for node.poll: {other}"),
    };
    let io = match word(config, KeyId::Io) {
        "auto" => Io::Auto,
        "uring" => Io::Uring,
        "mio" => Io::Mio,
        other => unreachable!("the table has no such word for node.io: {other}"),
    };
    let durability = match word(config, KeyId::Durability) {
        "memory" => Durability::Memory,
        other => unreachable!("the table has no such word for node.durability: {other}"),
    };
    let id = NodeId(narrow(count(config, KeyId::NodeId)));
    NodeSettings {
        id,
        cpus,
        memory_bytes_max: size(config, KeyId::MemoryMax),
        log_bytes: size(config, KeyId::LogMemory),
        poll,
        io,
        data_dir: path(config.value(KeyId::DataDir)).unwrap_or_else(|| format!("quorate-{id}").into()),
        durability,
    }
}

fn listen(config: &Config) -> ListenSettings {
    let address = |door: Door| match config.value(door_key(door)) {
        Some((Value::Address(address), _)) => address,
        other => unreachable!("the table says listen.{} is an address: {other:?}", door.name()),
    };
    ListenSettings {
        resp: address(Door::Resp),
        native: address(Door::Native),
        peer: address(Door::Peer),
        admin: address(Door::Admin),
        unix: path(config.value(KeyId::ListenUnix)),
        advertise: match config.value(KeyId::ListenAdvertise) {
            Some((Value::Ip(ip), _)) => Some(ip),
            _ => None,
        },
    }
}

fn security(config: &Config) -> SecuritySettings {
    let requirepass = match config.value(KeyId::Requirepass) {
        Some((Value::Secret(secret), _)) => Some(secret),
        _ => None,
    };
    SecuritySettings { requirepass, has_debug_commands: flag(config, KeyId::DebugCommands) }
}

fn limits(config: &Config) -> Limits {
    Limits {
        key_bytes_max: narrow(size(config, KeyId::KeyMax)),
        value_bytes_max: narrow(size(config, KeyId::ValueMax)),
        arguments_len_max: narrow(count(config, KeyId::ArgumentsMax)),
        clients_len_max: narrow(count(config, KeyId::ClientsMax)),
        pipeline_len_max: narrow(count(config, KeyId::PipelineMax)),
        waiters_len_max: narrow(count(config, KeyId::WaitersMax)),
        request_timeout: span(config, KeyId::RequestTimeout),
        output_bytes_max: narrow(size(config, KeyId::OutputMax)),
    }
}

fn peer_settings(peer: &PeerEntries, own: &ListenSettings) -> PeerSettings {
    let endpoint = |id: KeyId| match peer.value(id) {
        Some((Value::Endpoint(endpoint), _)) => Some(endpoint),
        _ => None,
    };
    let id = match peer.value(KeyId::PeerId) {
        Some((Value::Count(id), _)) => NodeId(narrow(id)),
        other => unreachable!("checked: every peer has an id: {other:?}"),
    };
    let address = endpoint(KeyId::PeerAddress).expect("checked: every peer has an address");
    let beside = |door: SocketAddr| {
        let port = port_beside(address.port(), own.peer, door);
        address.with_port(port.expect("checked: the port that follows exists where none was given"))
    };
    PeerSettings {
        id,
        resp: endpoint(KeyId::PeerResp).unwrap_or_else(|| beside(own.resp)),
        native: endpoint(KeyId::PeerNative).unwrap_or_else(|| beside(own.native)),
        unix: path(peer.value(KeyId::PeerUnix)),
        peer: address,
    }
}

fn notes(settings: &Settings) -> Vec<Note> {
    let ClusterSettings { replicas, write_quorum, .. } = *settings.cluster();
    let majority = replicas / 2 + 1;
    let mut notes = Vec::new();
    if write_quorum < majority {
        notes.push(Note::FlexibleQuorum { write_quorum, replicas });
    } else if write_quorum > majority {
        notes.push(Note::StrictQuorum { write_quorum, replicas });
    } else if replicas.is_multiple_of(2) {
        notes.push(Note::EvenReplicas { replicas });
    }
    let address = settings.listen().peer;
    if !address.ip().is_loopback() {
        notes.push(Note::PeerDoorOpen { address });
    }
    notes
}

fn count(config: &Config, id: KeyId) -> u64 {
    match config.value(id) {
        Some((Value::Count(count), _)) => count,
        other => unreachable!("checked: {} is a count: {other:?}", Key::of(id).full_name()),
    }
}

fn size(config: &Config, id: KeyId) -> u64 {
    match config.value(id) {
        Some((Value::Size(bytes), _)) => bytes,
        other => unreachable!("checked: {} is a size: {other:?}", Key::of(id).full_name()),
    }
}

fn span(config: &Config, id: KeyId) -> Duration {
    match config.value(id) {
        Some((Value::Span(span), _)) => span,
        other => unreachable!("checked: {} is a duration: {other:?}", Key::of(id).full_name()),
    }
}

fn flag(config: &Config, id: KeyId) -> bool {
    match config.value(id) {
        Some((Value::Flag(flag), _)) => flag,
        other => unreachable!("checked: {} is true or false: {other:?}", Key::of(id).full_name()),
    }
}

fn word(config: &Config, id: KeyId) -> &'static str {
    match config.value(id) {
        Some((Value::Word(word), _)) => word,
        other => unreachable!("checked: {} is a word: {other:?}", Key::of(id).full_name()),
    }
}

fn path(value: Option<(Value, Origin)>) -> Option<PathBuf> {
    match value {
        Some((Value::Path(path), _)) => Some(path),
        _ => None,
    }
}

/// Narrows a number that the table's range keeps small.
fn narrow<T: TryFrom<u64>>(number: u64) -> T {
    T::try_from(number).unwrap_or_else(|_| unreachable!("the range of the key fits its type: {number}"))
}
