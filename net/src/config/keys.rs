//! The table of keys: name, type, default, range and reason of everything a node can be told.
//!
//! There is one table and everything reads it: the file, the environment and the flags are checked against it, the
//! nearest-key suggestion searches it, `config print` and `config schema` write it out. A limit that is not in this
//! table is not configurable.
//!
//! # Time and units
//! Sizes are bytes, durations are [`Duration`]; both are written with their unit. All ranges are inclusive.
//!
//! # Bounds
//! Every key has a range, so nothing that is sized from a setting can be asked to grow without end.

use std::time::Duration;

use super::value::Raw;
use super::value::{Value, ValueProblem};

/// Names one key of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "each variant is described by its row of the table, `Key::help`")]
pub enum KeyId {
    ClusterId,
    Partitions,
    Replicas,
    WriteQuorum,
    NodeId,
    Core,
    Cpus,
    MemoryMax,
    LogMemory,
    Poll,
    Io,
    DataDir,
    Durability,
    ListenResp,
    ListenNative,
    ListenPeer,
    ListenAdmin,
    ListenUnix,
    ListenAdvertise,
    Requirepass,
    Insecure,
    DebugCommands,
    KeyMax,
    ValueMax,
    ArgumentsMax,
    ClientsMax,
    PipelineMax,
    WaitersMax,
    RequestTimeout,
    OutputMax,
    WindowBytes,
    ReadLease,
    Suspicion,
    Repair,
    PeerId,
    PeerAddress,
    PeerCore,
    PeerResp,
    PeerNative,
    PeerUnix,
}

/// One row of the table.
#[derive(Debug, PartialEq, Eq)]
pub struct Key {
    /// Which row.
    pub id: KeyId,
    /// The table of the file it stands in; [`PEERS`] is an array of tables.
    pub section: &'static str,
    /// Its name there.
    pub name: &'static str,
    /// What may stand behind the equals sign.
    pub kind: Kind,
    /// What holds when it is not given.
    pub default: Fallback,
    /// What it does, and why its default and range are what they are.
    pub help: &'static str,
}

/// What holds when a key is not given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fallback {
    /// This value, written as in the environment.
    Text(&'static str),
    /// A value that follows from other keys, in words.
    Derived(&'static str),
    /// Nothing; the words say what that means.
    Absent(&'static str),
    /// The node does not start without it; the words say what to write.
    Required(&'static str),
}

/// The type and range of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Letters, digits, `.`, `_` and `-`; at most this many.
    Name {
        /// The most characters.
        len_max: usize,
    },
    /// A password; never shown.
    Secret {
        /// The most bytes.
        bytes_max: usize,
    },
    /// A whole number.
    Count {
        /// The least.
        min: u64,
        /// The most.
        max: u64,
    },
    /// A number of bytes with its unit.
    Size {
        /// The least, in bytes.
        min: u64,
        /// The most, in bytes.
        max: u64,
    },
    /// A duration with its unit.
    Span {
        /// The shortest.
        min: Duration,
        /// The longest.
        max: Duration,
    },
    /// `true` or `false`.
    Flag,
    /// One of a few words.
    Choice {
        /// The words that are accepted.
        words: &'static [&'static str],
        /// Words that will be accepted later, each with the one to use today.
        later: &'static [(&'static str, &'static str)],
    },
    /// `IP:PORT` to listen on.
    Address,
    /// An IP address that can be connected to.
    Ip,
    /// `HOST:PORT` to connect to.
    Endpoint,
    /// A path of the file system, at most this many bytes.
    Path {
        /// The most bytes.
        bytes_max: usize,
    },
    /// How many CPUs, or a list of CPU numbers.
    Cpus {
        /// The most CPUs of one node.
        count_max: usize,
    },
}

impl Key {
    /// Returns the row of `id`.
    #[must_use]
    pub fn of(id: KeyId) -> &'static Self {
        let key = &KEYS[id as usize];
        debug_assert_eq!(key.id, id, "the table is in the order of the ids");
        key
    }

    /// Returns the row of `section.name`, if there is one.
    #[must_use]
    pub fn find(section: &str, name: &str) -> Option<&'static Self> {
        KEYS.iter().find(|key| key.section == section && key.name == name)
    }

    /// Returns `section.name`, as errors and flags spell it.
    #[must_use]
    pub fn full_name(&self) -> String {
        format!("{}.{}", self.section, self.name)
    }

    /// Returns the environment variable that sets it. The peers have one variable together.
    #[must_use]
    pub fn variable(&self) -> String {
        format!("QUORATE_{}__{}", self.section.to_ascii_uppercase(), self.name.to_ascii_uppercase())
    }

    /// Reads a value that was written for this key.
    ///
    /// # Errors
    /// Whatever keeps `raw` from being a value of this key; see [`ValueProblem`].
    pub fn read(&self, raw: &Raw) -> Result<Value, ValueProblem> {
        Value::read(self.kind, raw)
    }

    /// Returns the default as a value, if it is one that can be written down.
    #[must_use]
    pub fn default_value(&self) -> Option<Value> {
        match self.default {
            Fallback::Text(text) => {
                Some(self.read(&Raw::Bare(text.to_owned())).expect("a test reads every default of the table"))
            }
            Fallback::Derived(_) | Fallback::Absent(_) | Fallback::Required(_) => None,
        }
    }
}

/// The sections of the file, in the order in which they are printed.
pub const SECTIONS: &[(&str, &str)] = &[
    ("cluster", "the same on every node"),
    ("node", "this node"),
    ("listen", "its doors; base port + 1 + CPU is that CPU's own door"),
    ("security", "who may connect"),
    ("limits", "what a client may ask for; beyond it the answer is an error that names the limit"),
    ("replication", "between the nodes"),
];

/// The array of tables with the other nodes.
pub const PEERS: &str = "peers";

/// The most CPUs of one node: with a base port of its own each node stays 20 ports from the next on its machine.
pub const CPUS_MAX: usize = 16;

/// The recommended distance between the base ports of two nodes on one machine: a base port and [`CPUS_MAX`] doors.
pub const PORT_DISTANCE: u16 = 20;

/// The most entries under `[[peers]]`. The connections of a node grow with its peers and its CPUs.
pub const PEERS_MAX: usize = 63;

/// The most bytes of a configuration file. A file of all keys and all peers has less than 16 KiB.
pub const FILE_BYTES_MAX: u64 = 1 << 20;

/// The part of a CPU's log memory that the uncommitted entries of one group may take, as a divisor.
pub const LOG_SHARE: u64 = quorate_engine::config::UNCOMMITTED_SHARE as u64;

/// What an entry of the log has around its key and value: its header, padding, and the operands of a command.
pub const ENTRY_OVERHEAD: u64 = quorate_engine::config::ENTRY_OVERHEAD_BYTES as u64;

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
const TIB: u64 = 1 << 40;

/// A Unix socket's address holds 108 bytes; the longest name in the directory is `/native-15.sock` and a zero byte.
const UNIX_DIR_BYTES_MAX: usize = 92;
const PATH_BYTES_MAX: usize = 4095;
const CORE_DEFAULT: &str = "if no node is marked: the 5, 3 or 1 with the smallest numbers";

const fn key(id: KeyId, place: (&'static str, &'static str), kind: Kind, default: Fallback, help: &'static str) -> Key {
    Key { id, section: place.0, name: place.1, kind, default, help }
}

/// Every key, in the order of [`KeyId`].
pub const KEYS: &[Key] = &[
    key(
        KeyId::ClusterId,
        ("cluster", "id"),
        Kind::Name { len_max: 64 },
        Fallback::Text("quorate"),
        "the name of the cluster; a node of another cluster is refused",
    ),
    key(
        KeyId::Partitions,
        ("cluster", "partitions"),
        Kind::Count { min: 1, max: 16_384 },
        Fallback::Text("64"),
        "ranges of slots, fixed when the cluster is created; a partition cannot be smaller than one of 16384 slots",
    ),
    key(
        KeyId::Replicas,
        ("cluster", "replicas"),
        Kind::Count { min: 1, max: 7 },
        Fallback::Text("3"),
        "copies of every group; 3 outlive one lost node, 5 outlive two",
    ),
    key(
        KeyId::WriteQuorum,
        ("cluster", "write_quorum"),
        Kind::Count { min: 1, max: 7 },
        Fallback::Derived("a majority of cluster.replicas"),
        "replicas that hold a write before it is acknowledged; at most cluster.replicas",
    ),
    key(
        KeyId::NodeId,
        ("node", "id"),
        Kind::Count { min: 1, max: 65_535 },
        Fallback::Required("write a number that no other node of the cluster has, like id = 1 under [node]"),
        "the number of this node in the cluster",
    ),
    key(
        KeyId::Core,
        ("node", "core"),
        Kind::Flag,
        Fallback::Derived(CORE_DEFAULT),
        "whether this is one of the 1, 3 or 5 nodes that form the consistent core, which decides who leads and holds what",
    ),
    key(
        KeyId::Cpus,
        ("node", "cpus"),
        Kind::Cpus { count_max: CPUS_MAX },
        Fallback::Text("1"),
        "how many threads serve data (never pins), or a list of CPU numbers (pins one thread to each)",
    ),
    key(
        KeyId::MemoryMax,
        ("node", "memory_max"),
        Kind::Size { min: MIB, max: 16 * TIB },
        Fallback::Text("4 GiB"),
        "memory for keys and values; a write that could take them beyond it, with all that are under way, is answered -OOM, \
         deletes always pass",
    ),
    key(
        KeyId::LogMemory,
        ("node", "log_memory"),
        Kind::Size { min: 4 * MIB, max: TIB },
        Fallback::Text("64 MiB"),
        "memory for the log, taken at start and divided among the CPUs; more of it lets a replica be away for longer \
         before it needs a snapshot",
    ),
    key(
        KeyId::Poll,
        ("node", "poll"),
        Kind::Choice { words: &["spin", "adaptive", "park"], later: &[] },
        Fallback::Text("adaptive"),
        "what an idle thread does: spin is fastest and takes its CPU whole, adaptive spins, yields and then parks, \
         park sleeps at once",
    ),
    key(
        KeyId::Io,
        ("node", "io"),
        Kind::Choice { words: &["auto", "uring", "mio"], later: &[] },
        Fallback::Text("auto"),
        "the transport: auto probes io_uring and falls back to mio; the choice and its reason are printed at start",
    ),
    key(
        KeyId::DataDir,
        ("node", "data_dir"),
        Kind::Path { bytes_max: PATH_BYTES_MAX },
        Fallback::Derived("quorate-ID, with the number of the node, in the folder in which it is started"),
        "where a node of the consistent core keeps what the core has agreed on; no other node writes anything",
    ),
    key(
        KeyId::Durability,
        ("node", "durability"),
        Kind::Choice { words: &["memory"], later: &[("async", "memory"), ("sync", "memory")] },
        Fallback::Text("memory"),
        "memory: an acknowledged write is held by a quorum of running processes",
    ),
    key(
        KeyId::ListenResp,
        ("listen", "resp"),
        Kind::Address,
        Fallback::Text("127.0.0.1:7400"),
        "the door for Redis clients",
    ),
    key(
        KeyId::ListenNative,
        ("listen", "native"),
        Kind::Address,
        Fallback::Text("127.0.0.1:7500"),
        "the door for clients of the native protocol",
    ),
    key(
        KeyId::ListenPeer,
        ("listen", "peer"),
        Kind::Address,
        Fallback::Text("127.0.0.1:7600"),
        "the door for the other nodes",
    ),
    key(
        KeyId::ListenAdmin,
        ("listen", "admin"),
        Kind::Address,
        Fallback::Text("127.0.0.1:7700"),
        "the door for HTTP: /metrics, /healthz, /readyz",
    ),
    key(
        KeyId::ListenUnix,
        ("listen", "unix"),
        Kind::Path { bytes_max: UNIX_DIR_BYTES_MAX },
        Fallback::Absent("no Unix sockets"),
        "a directory for the Unix sockets resp.sock, native.sock and peer.sock, and NAME-CPU.sock for each CPU",
    ),
    key(
        KeyId::ListenAdvertise,
        ("listen", "advertise"),
        Kind::Ip,
        Fallback::Absent("a node with a door on all addresses is reached by those that list it under [[peers]]"),
        "under which address others reach doors that listen on all addresses: the consistent core tells it to nodes that do not list \
         this one under [[peers]]",
    ),
    key(
        KeyId::Requirepass,
        ("security", "requirepass"),
        Kind::Secret { bytes_max: 512 },
        Fallback::Absent("clients connect without a password, from this machine only"),
        "the password of the default user; needed to listen beyond loopback",
    ),
    key(
        KeyId::Insecure,
        ("security", "insecure"),
        Kind::Flag,
        Fallback::Text("false"),
        "allows to listen beyond loopback without a password",
    ),
    key(
        KeyId::DebugCommands,
        ("security", "debug_commands"),
        Kind::Flag,
        Fallback::Text("false"),
        "serves DEBUG commands, which can damage a replica on purpose",
    ),
    key(
        KeyId::KeyMax,
        ("limits", "key_max"),
        Kind::Size { min: 16, max: MIB },
        Fallback::Text("64 KiB"),
        "the longest key",
    ),
    key(
        KeyId::ValueMax,
        ("limits", "value_max"),
        Kind::Size { min: KIB, max: 14 * MIB },
        Fallback::Text("1 MiB"),
        "the longest string or hash field, as written or as APPEND and SETRANGE make it; it travels in one entry of at most \
         16 MiB, with the longest key, and must fit into 1/8 of a CPU's log and into the window",
    ),
    key(
        KeyId::ArgumentsMax,
        ("limits", "arguments_max"),
        Kind::Count { min: 16, max: MIB },
        Fallback::Text("65536"),
        "arguments of one RESP command; their places are kept while it is read",
    ),
    key(
        KeyId::ClientsMax,
        ("limits", "clients_max"),
        Kind::Count { min: 1, max: 1_000_000 },
        Fallback::Text("10000"),
        "connections of clients; one more is told so and closed",
    ),
    key(
        KeyId::PipelineMax,
        ("limits", "pipeline_max"),
        Kind::Count { min: 1, max: 65_536 },
        Fallback::Text("16384"),
        "requests of one connection that may be unanswered; beyond it the node stops reading from that connection",
    ),
    key(
        KeyId::WaitersMax,
        ("limits", "waiters_max"),
        Kind::Count { min: 64, max: 16_777_216 },
        Fallback::Text("65536"),
        "requests that may wait on one CPU; beyond it the answer is -OVERLOAD",
    ),
    key(
        KeyId::RequestTimeout,
        ("limits", "request_timeout"),
        Kind::Span { min: Duration::from_millis(10), max: Duration::from_secs(600) },
        Fallback::Text("5 s"),
        "how long a request may wait for its quorum before it is answered that its outcome is unknown",
    ),
    key(
        KeyId::OutputMax,
        ("limits", "output_max"),
        Kind::Size { min: 64 * KIB, max: 4 * GIB },
        Fallback::Text("32 MiB"),
        "bytes queued for one client that does not read; beyond it a subscriber is closed and others are paused; a single \
         reply that is longer is refused",
    ),
    key(
        KeyId::WindowBytes,
        ("replication", "window_bytes"),
        Kind::Size { min: 64 * KIB, max: GIB },
        Fallback::Text("4 MiB"),
        "bytes sent to one peer and not yet acknowledged, per group; at 25 Gbit/s and 1 ms away 3 MiB fill the line",
    ),
    key(
        KeyId::ReadLease,
        ("replication", "read_lease"),
        Kind::Span { min: Duration::from_millis(10), max: Duration::from_secs(10) },
        Fallback::Text("100 ms"),
        "how long a leader may answer reads after the last acknowledgement of its quorum; a takeover waits for it; the same \
         on every node",
    ),
    key(
        KeyId::Suspicion,
        ("replication", "suspicion"),
        Kind::Span { min: Duration::from_millis(20), max: Duration::from_secs(60) },
        Fallback::Text("150 ms"),
        "how long a node may be silent before others take over what it leads; every node says four times as often that it \
         lives; the same on every node",
    ),
    key(
        KeyId::Repair,
        ("replication", "repair"),
        Kind::Flag,
        Fallback::Text("true"),
        "whether a replica whose state is wrong copies that of its leader; if not, this node does not serve the group until it \
         is restarted",
    ),
    key(
        KeyId::PeerId,
        (PEERS, "id"),
        Kind::Count { min: 1, max: 65_535 },
        Fallback::Required("write the number of that node, like id = 2"),
        "the number of that node",
    ),
    key(
        KeyId::PeerAddress,
        (PEERS, "peer"),
        Kind::Endpoint,
        Fallback::Required("write the address of its peer door, like peer = \"127.0.0.1:7620\""),
        "the address of its peer door, with an IP address or a host name",
    ),
    key(
        KeyId::PeerCore,
        (PEERS, "core"),
        Kind::Flag,
        Fallback::Derived(CORE_DEFAULT),
        "whether that node belongs to the consistent core",
    ),
    key(
        KeyId::PeerResp,
        (PEERS, "resp"),
        Kind::Endpoint,
        Fallback::Derived("as far from its peer port as on this node"),
        "the address of its RESP door that CLUSTER SLOTS tells clients",
    ),
    key(
        KeyId::PeerNative,
        (PEERS, "native"),
        Kind::Endpoint,
        Fallback::Derived("as far from its peer port as on this node"),
        "the address of its native door that clients are told",
    ),
    key(
        KeyId::PeerUnix,
        (PEERS, "unix"),
        Kind::Path { bytes_max: UNIX_DIR_BYTES_MAX },
        Fallback::Absent("the peer is reached over TCP"),
        "the directory of its Unix sockets, when it runs on this machine and is to be reached through them",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_in_the_order_of_the_ids_and_names_are_unique() {
        for (index, key) in KEYS.iter().enumerate() {
            assert_eq!(key.id as usize, index, "{}", key.full_name());
            assert!(key.section == PEERS || SECTIONS.iter().any(|(section, _)| *section == key.section));
            assert!(!key.help.ends_with('.') && !key.help.is_empty());
            assert_eq!(KEYS.iter().filter(|other| other.full_name() == key.full_name()).count(), 1);
        }
        assert_eq!(KEYS.last().map(|key| key.id), Some(KeyId::PeerUnix));
    }

    #[test]
    fn every_default_is_a_value_of_its_key() {
        for key in KEYS {
            if let Fallback::Text(text) = key.default {
                let read = key.read(&Raw::Bare(text.to_owned()));
                assert!(read.is_ok(), "{}: {read:?}", key.full_name());
            }
        }
    }
}
