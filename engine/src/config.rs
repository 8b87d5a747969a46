//! Every limit and default of the engine in one place: [`Config`] is what a host fills in, [`Settings`] what the rest
//! of the crate accepts.

use core::time::Duration;

use serde::{Deserialize, Serialize};

use crate::ids::{Epoch, GroupId, Incarnation, NodeId, ReplicaId};
use crate::slots::{SlotMap, SlotRange};
use crate::sync::pool::PoolSize;
use crate::time::nanos;

/// Most members a group can have.
pub const MEMBERS_MAX: usize = 15;
/// Longest read lease a node can be configured to grant.
pub const READ_LEASE_MAX: Duration = Duration::from_secs(10);
/// Largest string value a node can be configured to accept, in bytes; the state machine's own limit is the same.
pub const VALUE_BYTES_MAX: usize = crate::machine::strings::STRING_BYTES_MAX;
/// Bound on the relative rate of any two clocks, in parts per million: a lease is that much shorter for its holder.
pub const CLOCK_DRIFT_PPM: u64 = 20_000;
/// Uncommitted bytes of one group may take this part of the log's memory.
pub const UNCOMMITTED_SHARE: usize = 8;
/// What an entry has around its key and value at most: header, head of the command, padding.
pub const ENTRY_OVERHEAD_BYTES: usize = 256;
/// What an answer has around one value at most.
pub const ANSWER_OVERHEAD_BYTES: usize = 16;
/// Deadlines of keys that one group handles in one turn; the rest comes in the next one.
pub const EXPIRIES_PER_TURN: usize = 128;

/// What a host can choose. All durations are on the host's monotonic clock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Memory of the log of one CPU, in bytes: a whole number of segments, at least 16.
    pub log_bytes: usize,
    /// Size of a log segment in bytes: a power of two.
    pub segment_bytes: usize,
    /// Memory for keys and values on this CPU, in bytes. A write is refused if what is there, the most that writes under
    /// way can add and the most that it can add come to more; one that adds nothing never is. What a follower is sent it
    /// applies, whatever its own limit: its leader has decided.
    pub memory_bytes_max: usize,
    /// Longest key, in bytes.
    pub key_bytes_max: usize,
    /// Largest string or field of a hash, in bytes, as written or as it becomes. Numbers that the state machine computes are
    /// at most 327 bytes long and not limited further; how many fields a hash has is limited by memory only.
    pub value_bytes_max: usize,
    /// Longest answer to a read, in bytes: it is built in memory as a whole. Not less than the largest value takes.
    pub answer_bytes_max: usize,
    /// Most requests that wait on this CPU at one time.
    pub waiters_max: usize,
    /// Most bytes of entries in flight to one peer for one group.
    pub window_bytes: usize,
    /// Most bytes of entries in one message.
    pub append_bytes_max: usize,
    /// Wanted size of one chunk of a snapshot.
    pub chunk_bytes: usize,
    /// Most chunks in flight to one peer for one group.
    pub chunks_in_flight: u32,
    /// How long a request waits before its outcome is unknown, from when the leader received it.
    pub request_timeout: Duration,
    /// Length of the read lease, from when the append it rests on was sent.
    pub read_lease: Duration,
    /// How long a leader that waits for a write quorum may hear none before it refuses what it is asked. Not shorter than the
    /// read lease, so that whoever is far away is heard in time.
    pub quorum_silence: Duration,
    /// How long after it rose the commit index is sent by itself, if nothing else carried it.
    pub commit_notice: Duration,
    /// How long a peer may owe an acknowledgement before the leader probes it.
    pub probe_after: Duration,
    /// How long the core, or a replica that is to be sealed, may owe an answer before it is asked again.
    pub ask_again: Duration,
    /// Whether a replica whose state is wrong copies that of its leader. If not, it takes no part until an operator acts.
    pub repair: bool,
    /// How many keys are gone through in one step of the scrub, of all groups together; 0 for no scrub, for a stage whose time
    /// has no end. A kilobyte, and a field of a hash, count like a key. Behind the first hundred steps of a pass it is half as many.
    /// With the defaults a state of 100,000 small keys is gone through within a second, and that takes a hundredth of a CPU.
    pub scrub_keys: usize,
    /// How long after a step of the scrub the next one comes.
    pub scrub_period: Duration,
    /// How long after the scrub began to go through all keys it begins anew at the earliest.
    pub scrub_pass: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            log_bytes: 64 << 20,
            segment_bytes: 64 << 10,
            memory_bytes_max: 4 << 30,
            key_bytes_max: 64 << 10,
            value_bytes_max: 1 << 20,
            answer_bytes_max: 128 << 20,
            waiters_max: 1 << 17,
            window_bytes: 4 << 20,
            append_bytes_max: 256 << 10,
            chunk_bytes: 16 << 10,
            chunks_in_flight: 8,
            request_timeout: Duration::from_secs(5),
            read_lease: Duration::from_millis(100),
            quorum_silence: Duration::from_millis(150),
            commit_notice: Duration::from_micros(500),
            probe_after: Duration::from_millis(200),
            ask_again: Duration::from_millis(20),
            repair: true,
            scrub_keys: 1_100,
            scrub_period: Duration::from_millis(10),
            scrub_pass: Duration::from_millis(500),
        }
    }
}

/// Why a [`Config`] is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// A number is out of its range.
    #[error("{name} is {value}, allowed is {min} to {max}")]
    OutOfRange {
        /// Which field.
        name: &'static str,
        /// What it was.
        value: u64,
        /// Smallest allowed value.
        min: u64,
        /// Largest allowed value.
        max: u64,
    },
    /// The segment size is no power of two.
    #[error("segment_bytes is {value}, which is no power of two")]
    SegmentSize {
        /// What it was.
        value: usize,
    },
}

/// A [`Config`] whose values are known to fit together.
#[derive(Clone, Debug)]
pub struct Settings {
    config: Config,
}

impl core::ops::Deref for Settings {
    type Target = Config;

    fn deref(&self) -> &Config {
        &self.config
    }
}

impl Config {
    /// Checks the values and their relations.
    ///
    /// # Errors
    /// The first value that is out of range, with the range.
    pub fn build(self) -> Result<Settings, ConfigError> {
        let check = |name, value: usize, min: usize, max: usize| {
            if (min..=max).contains(&value) {
                return Ok(());
            }
            Err(ConfigError::OutOfRange { name, value: value as u64, min: min as u64, max: max as u64 })
        };
        if !self.segment_bytes.is_power_of_two() {
            return Err(ConfigError::SegmentSize { value: self.segment_bytes });
        }
        check("segment_bytes", self.segment_bytes, 256, 1 << 20)?;
        check("log_bytes", self.log_bytes, 16 * self.segment_bytes, 1 << 40)?;
        // An entry with the longest key and value must fit into what one group may have uncommitted, or it could never be
        // written.
        let share = self.log_bytes / UNCOMMITTED_SHARE;
        check("key_bytes_max", self.key_bytes_max, 1, (share / 2).min(1 << 20))?;
        let value_max = share.saturating_sub(self.key_bytes_max + ENTRY_OVERHEAD_BYTES).min(VALUE_BYTES_MAX);
        check("value_bytes_max", self.value_bytes_max, 1, value_max)?;
        check("answer_bytes_max", self.answer_bytes_max, self.value_bytes_max + ANSWER_OVERHEAD_BYTES, 1 << 31)?;
        check("waiters_max", self.waiters_max, 1, 1 << 24)?;
        check("window_bytes", self.window_bytes, 256, 1 << 30)?;
        check("append_bytes_max", self.append_bytes_max, 256, 1 << 20)?;
        check("chunk_bytes", self.chunk_bytes, 1, 1 << 20)?;
        check("chunks_in_flight", self.chunks_in_flight as usize, 1, 1024)?;
        let micros = |duration: Duration| usize::try_from(duration.as_micros()).unwrap_or(usize::MAX);
        check("request_timeout in µs", micros(self.request_timeout), 1_000, 3_600_000_000)?;
        check("read_lease in µs", micros(self.read_lease), 1_000, micros(READ_LEASE_MAX))?;
        let lease = micros(self.read_lease);
        check("quorum_silence in µs", micros(self.quorum_silence), lease, 3_600_000_000)?;
        check("commit_notice in µs", micros(self.commit_notice), 0, 1_000_000)?;
        check("probe_after in µs", micros(self.probe_after), 1_000, 60_000_000)?;
        check("ask_again in µs", micros(self.ask_again), 1_000, 60_000_000)?;
        check("scrub_keys", self.scrub_keys, 0, 1 << 20)?;
        check("scrub_period in µs", micros(self.scrub_period), 100, 60_000_000)?;
        check("scrub_pass in µs", micros(self.scrub_pass), 100, 3_600_000_000)?;
        Ok(Settings { config: self })
    }
}

impl Settings {
    /// Returns how long a read lease lasts for its holder, in nanoseconds: shorter than granted by the clock drift.
    pub(crate) fn lease_held_ns(&self) -> u64 {
        let granted = nanos(self.read_lease);
        granted - granted / 1_000_000 * CLOCK_DRIFT_PPM
    }

    /// Returns the size of the log's pool.
    pub(crate) fn pool_size(&self) -> PoolSize {
        PoolSize {
            segment_bytes: u32::try_from(self.segment_bytes).expect("at most 1 MiB"),
            segments: u32::try_from(self.log_bytes / self.segment_bytes).expect("at most 2^32 segments"),
        }
    }

    /// Returns how many bytes of one group may be uncommitted.
    pub(crate) fn uncommitted_bytes_max(&self) -> usize {
        self.log_bytes / UNCOMMITTED_SHARE
    }
}

/// Who holds a group, in one epoch.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "GroupParts")]
pub struct GroupConfig {
    /// Which group.
    pub group: GroupId,
    /// Its slots.
    pub slots: SlotRange,
    /// The epoch of this configuration.
    pub epoch: Epoch,
    /// How often an operator has accepted before it that acknowledged writes of the group are lost.
    pub loss_gen: u64,
    /// The member that leads.
    pub leader: NodeId,
    /// All members, the leader included; ascending.
    pub members: Vec<Member>,
    /// How many replicas, the leader included, must hold an entry before it is committed.
    pub write_quorum: usize,
}

/// One member of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Member {
    /// Which node.
    pub node: NodeId,
    /// Which of its runs. `None` where no core says it: whichever comes first when the group forms.
    pub incarnation: Option<Incarnation>,
}

impl From<ReplicaId> for Member {
    fn from(replica: ReplicaId) -> Self {
        Self { node: replica.node, incarnation: Some(replica.incarnation) }
    }
}

impl Member {
    /// Returns the run that counts, if that is decided.
    #[must_use]
    pub fn replica(self) -> Option<ReplicaId> {
        self.incarnation.map(|incarnation| ReplicaId { node: self.node, incarnation })
    }
}

impl GroupConfig {
    /// Returns the configuration of a group for which the core has not decided on any: it has no member.
    #[must_use]
    pub fn undecided(group: GroupId, slots: SlotRange) -> Self {
        Self { group, slots, epoch: Epoch(0), loss_gen: 0, leader: NodeId(0), members: Vec::new(), write_quorum: 1 }
    }

    /// Whether `node` is a member, in whichever run.
    #[must_use]
    pub fn has_node(&self, node: NodeId) -> bool {
        self.members.iter().any(|member| member.node == node)
    }

    /// Whether this run of a node is a member.
    #[must_use]
    pub fn counts(&self, replica: ReplicaId) -> bool {
        self.members.contains(&Member::from(replica))
    }

    /// Whether the core has decided which runs of the members count.
    #[must_use]
    pub fn is_assigned(&self) -> bool {
        self.members.iter().all(|member| member.incarnation.is_some())
    }

    /// Returns which run of the leader leads, if that is decided.
    #[must_use]
    pub fn leader_replica(&self) -> Option<ReplicaId> {
        self.members.iter().find(|member| member.node == self.leader)?.replica()
    }

    /// Returns which run of `node` is a member, if it is one and that is decided.
    #[must_use]
    pub fn incarnation_of(&self, node: NodeId) -> Option<Incarnation> {
        self.members.iter().find(|member| member.node == node)?.incarnation
    }
}

/// A configuration as it is read, from a wire or a file.
#[derive(Deserialize)]
struct GroupParts {
    group: GroupId,
    slots: SlotRange,
    epoch: Epoch,
    loss_gen: u64,
    leader: NodeId,
    members: Vec<Member>,
    write_quorum: usize,
}

impl TryFrom<GroupParts> for GroupConfig {
    type Error = &'static str;

    fn try_from(parts: GroupParts) -> Result<Self, Self::Error> {
        let GroupParts { group, slots, epoch, loss_gen, leader, members, write_quorum } = parts;
        let is_ascending = members.is_sorted_by(|one, two| one.node < two.node);
        let is_led = members.iter().any(|member| member.node == leader);
        if !is_ascending || !is_led || !(1..=members.len().min(MEMBERS_MAX)).contains(&write_quorum) {
            return Err("members, leader and write quorum make no configuration");
        }
        Ok(Self { group, slots, epoch, loss_gen, leader, members, write_quorum })
    }
}

/// The static map of a cluster: which node leads and holds which group, computed the same by everyone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placement {
    slots: SlotMap,
    nodes: Vec<NodeId>,
    replicas: usize,
    write_quorum: usize,
}

impl Placement {
    /// Creates the map: group g is led by node g mod N (with numbers from 1: node (g mod N) + 1), and held by it and the
    /// `replicas` − 1 nodes that follow it in a circle. `None` if the numbers do not fit together: no node, a node twice,
    /// more replicas than nodes or than [`MEMBERS_MAX`], a write quorum of 0 or above the number of replicas.
    #[must_use]
    pub fn new(slots: SlotMap, mut nodes: Vec<NodeId>, replicas: usize, write_quorum: usize) -> Option<Self> {
        nodes.sort_unstable();
        let is_valid = nodes.windows(2).all(|pair| pair[0] != pair[1])
            && (1..=nodes.len().min(MEMBERS_MAX)).contains(&replicas)
            && (1..=replicas).contains(&write_quorum);
        is_valid.then_some(Self { slots, nodes, replicas, write_quorum })
    }

    /// Returns the map of slots to groups.
    #[must_use]
    pub fn slots(&self) -> SlotMap {
        self.slots
    }

    /// Returns all nodes, ascending.
    #[must_use]
    pub fn nodes(&self) -> &[NodeId] {
        &self.nodes
    }

    /// Returns how many replicas each group has.
    #[must_use]
    pub fn replicas(&self) -> usize {
        self.replicas
    }

    /// Returns how many of them must hold a write.
    #[must_use]
    pub fn write_quorum(&self) -> usize {
        self.write_quorum
    }

    /// Returns the node that leads `group`.
    #[must_use]
    pub fn leader_of(&self, group: GroupId) -> NodeId {
        self.nodes[group.0 as usize % self.nodes.len()]
    }

    /// Returns the configuration of `group` in epoch 1.
    #[must_use]
    pub fn group(&self, group: GroupId) -> GroupConfig {
        let first = group.0 as usize;
        let nodes = (first..first + self.replicas).map(|position| self.nodes[position % self.nodes.len()]);
        let mut members: Vec<Member> = nodes.map(|node| Member { node, incarnation: None }).collect();
        members.sort_unstable_by_key(|member| member.node);
        GroupConfig {
            group,
            slots: self.slots.slots_of(group),
            epoch: Epoch(1),
            loss_gen: 0,
            leader: self.leader_of(group),
            members,
            write_quorum: self.write_quorum,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_valid() {
        assert!(Config::default().build().is_ok());
    }

    #[test]
    fn a_value_that_could_never_be_written_is_refused_with_the_range() {
        let with = |value_bytes_max| Config { value_bytes_max, ..Config::default() }.build();
        // An eighth of 64 MiB, less the longest key and 256 bytes.
        assert!(with(8_322_816).is_ok());
        let error = with(8_322_817).expect_err("an entry must fit its group's share");
        assert_eq!(error.to_string(), "value_bytes_max is 8322817, allowed is 1 to 8322816");
    }

    #[test]
    fn groups_go_round_the_nodes() {
        let nodes = (1..=5).map(NodeId).collect();
        let placement = Placement::new(SlotMap::new(8).expect("in range"), nodes, 3, 2).expect("valid");
        let group = placement.group(GroupId(4));
        assert_eq!(group.leader, NodeId(5));
        assert_eq!(group.members.iter().map(|member| member.node.0).collect::<Vec<_>>(), [1, 2, 5]);
    }
}
