//! What a seed stands for: the size of the cluster, its limits, its clients, and which faults it suffers.
//!
//! Each class of faults is absent in about a third of the seeds, so that the others are seen alone.

use core::time::Duration;

use fastrand::Rng;

use crate::config::{CLOCK_DRIFT_PPM, Config};
use crate::slots::SLOT_COUNT;

/// A millisecond, in nanoseconds.
pub(super) const MS: u64 = 1_000_000;

/// Everything that is decided before a run begins.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) nodes: u16,
    /// Nodes that the cluster does not begin with.
    pub(super) joiners: u16,
    pub(super) write_quorum: usize,
    pub(super) partitions: u32,
    pub(super) clients: usize,
    pub(super) keys: u32,
    pub(super) config: Config,
    pub(super) network: Network,
    pub(super) faults: Faults,
    /// By node, how much faster its clock runs than true time, in parts per million; and what it shows at the beginning.
    pub(super) clocks: Vec<(i64, u64)>,
    /// How long faults go on, in nanoseconds of true time.
    pub(super) chaos_ns: u64,
    /// How long a change may take before the core has another one supersede it, in nanoseconds of true time.
    pub(super) patience_ns: u64,
    /// How long a node must be silent before the core has another one take over, in nanoseconds of true time.
    pub(super) suspicion_ns: u64,
    /// Whether learners are counted during the chaos when they have caught up.
    pub(super) is_promoting: bool,
    /// How many members the groups have in the beginning, if a core decides.
    pub(super) replicas: usize,
    /// Mean time between two looks of an operator at the cluster, in nanoseconds of true time.
    pub(super) operator_ns: u64,
}

/// How messages travel.
#[derive(Clone, Copy, Debug)]
pub(super) struct Network {
    pub(super) delay_ns: u64,
    /// Of 1000 messages, so many take up to a hundred times as long.
    pub(super) slow_permille: u32,
    /// Whether messages of one connection arrive in their order, and none is lost while it stands. If not, they are lost
    /// and come twice, which no real connection does to us.
    pub(super) is_ordered: bool,
    pub(super) loss_permille: u32,
    pub(super) duplicate_permille: u32,
}

/// Mean time between faults of each class, in nanoseconds; `None` for never.
#[derive(Clone, Copy, Debug)]
pub(super) struct Faults {
    /// A connection ends, and comes back later.
    pub(super) breaks: Option<u64>,
    /// One direction between two nodes loses everything for a while.
    pub(super) cuts: Option<u64>,
    /// A node stands still.
    pub(super) pauses: Option<u64>,
    /// A node loses its memory.
    pub(super) crashes: Option<u64>,
    /// A connection takes no more bytes for a while.
    pub(super) clogs: Option<u64>,
    /// Nodes do not hear others.
    pub(super) splits: Option<u64>,
    /// A leader is deposed though nothing is wrong with it.
    pub(super) deposals: Option<u64>,
    /// Members of a group change.
    pub(super) changes: Option<u64>,
    /// A node is to hold nothing, or groups again.
    pub(super) drains: Option<u64>,
    /// The core cannot be reached.
    pub(super) outages: Option<u64>,
    /// A byte of a state flips.
    pub(super) flips: Option<u64>,
    /// So many nodes lose their memory at once that groups cannot go on.
    pub(super) losses: Option<u64>,
}

impl Plan {
    pub(super) fn of(seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        let nodes = if rng.u8(..3) == 0 { 5 } else { 3 };
        let write_quorum = if rng.u8(..8) == 0 { nodes } else { nodes / 2 + 1 };
        let chaos_ns = rng.u64(200..3_000) * MS;
        let mut plan = Self {
            nodes,
            joiners: 0,
            write_quorum: usize::from(write_quorum),
            partitions: rng.u32(1..=4).min(u32::from(SLOT_COUNT)),
            clients: rng.usize(1..=8),
            // Few, so that clients get in each other's way; many, so that a snapshot takes long.
            keys: if rng.u8(..4) == 0 { rng.u32(20..=60) } else { rng.u32(1..=6) },
            config: config(&mut rng),
            network: Network::of(&mut rng),
            faults: Faults::of(&mut rng, chaos_ns),
            clocks: (0..nodes).map(|_| clock(&mut rng)).collect(),
            chaos_ns,
            patience_ns: rng.u64(50..300) * MS,
            suspicion_ns: rng.u64(5..200) * MS,
            is_promoting: rng.u8(..4) > 0,
            replicas: usize::from(nodes),
            operator_ns: 0,
        };
        plan.replicas = rng.usize(plan.write_quorum..=plan.replicas);
        // Leases of a leader that was superseded before it was active are waited for by the next one.
        plan.patience_ns += 2 * crate::time::nanos(plan.config.read_lease);
        plan.config.ask_again = Duration::from_millis(rng.u64(1..50));
        plan.faults.add_changes(&mut rng);
        plan.operator_ns = rng.u64(50..500) * MS;
        // Numbers of their own, so that the seeds without are the ones they were before.
        plan.add_flips(&mut Rng::with_seed(seed ^ 0xf11b_f11b));
        plan.add_joiners(&mut Rng::with_seed(seed ^ 0x1012_1012));
        plan
    }
}

impl Plan {
    /// Has bytes flip in a third of the seeds, and the scrub go on.
    fn add_flips(&mut self, rng: &mut Rng) {
        if rng.u8(..3) == 0 {
            self.faults.flips = Some(50 * MS + rng.u64(..100 * MS));
            self.config.scrub_keys = 1 << rng.u8(..8);
            self.config.scrub_period = Duration::from_micros(rng.u64(500..20_000));
            self.config.scrub_pass = Duration::from_millis(rng.u64(1..100));
        }
    }
}

impl Plan {
    /// Has nodes join in a third of the seeds, and nodes drain in a third.
    fn add_joiners(&mut self, rng: &mut Rng) {
        if rng.u8(..3) == 0 {
            self.joiners = rng.u16(1..=2);
            self.clocks.extend((0..self.joiners).map(|_| clock(rng)));
        }
        self.faults.drains = (rng.u8(..3) == 0).then(|| rng.u64(100..800) * MS);
    }
}

/// Draws a clock. Two of them differ by less than the bound on relative rates.
fn clock(rng: &mut Rng) -> (i64, u64) {
    let half = i64::try_from(CLOCK_DRIFT_PPM).expect("a small constant") * 4 / 10;
    (rng.i64(-half..=half), rng.u64(1..1 << 40))
}

/// Draws limits so small that every ring wraps and every queue fills.
fn config(rng: &mut Rng) -> Config {
    let segment_bytes = 512 << rng.u8(..3);
    let read_lease = Duration::from_millis(rng.u64(10..200));
    Config {
        log_bytes: segment_bytes * rng.usize(16..=64),
        segment_bytes,
        memory_bytes_max: 1 << rng.u8(9..24),
        key_bytes_max: 64,
        value_bytes_max: 512,
        answer_bytes_max: 1 << 20,
        waiters_max: 1 << rng.u8(1..10),
        window_bytes: 256 << rng.u8(..8),
        append_bytes_max: 256 << rng.u8(..6),
        chunk_bytes: 1 << rng.u8(3..10),
        chunks_in_flight: rng.u32(1..=4),
        request_timeout: Duration::from_millis(rng.u64(20..500)),
        read_lease,
        quorum_silence: read_lease * 3 / 2,
        commit_notice: Duration::from_micros(rng.u64(..2_000)),
        probe_after: Duration::from_millis(rng.u64(5..100)),
        ask_again: Duration::from_millis(20),
        // Only where something is to be found: see `Faults::add_flips`.
        scrub_keys: 0,
        ..Config::default()
    }
}

impl Network {
    fn of(rng: &mut Rng) -> Self {
        let is_ordered = rng.bool();
        let (is_lossy, is_doubling) = (!is_ordered && rng.u8(..3) > 0, !is_ordered && rng.u8(..3) > 0);
        Self {
            delay_ns: 1_000 << rng.u8(..12),
            slow_permille: if rng.u8(..3) == 0 { 0 } else { rng.u32(1..100) },
            is_ordered,
            loss_permille: if is_lossy { rng.u32(1..300) } else { 0 },
            duplicate_permille: if is_doubling { rng.u32(1..500) } else { 0 },
        }
    }
}

impl Faults {
    fn of(rng: &mut Rng, chaos_ns: u64) -> Self {
        let mut period = |mean: u64| (rng.u8(..3) > 0).then(|| mean / 2 + rng.u64(..mean));
        Self {
            breaks: period(100 * MS),
            cuts: period(150 * MS),
            pauses: period(200 * MS),
            crashes: period(chaos_ns),
            clogs: period(100 * MS),
            splits: None,
            deposals: None,
            changes: None,
            drains: None,
            outages: None,
            flips: None,
            losses: None,
        }
    }

    fn add_changes(&mut self, rng: &mut Rng) {
        let mut period = |mean: u64| (rng.u8(..3) > 0).then(|| mean / 2 + rng.u64(..mean));
        self.deposals = period(200 * MS);
        self.changes = period(300 * MS);
        self.outages = period(500 * MS);
        self.splits = period(300 * MS);
        // Rare, so that most seeds show that nothing is lost without an operator's word.
        self.losses = (rng.u8(..4) == 0).then(|| rng.u64(200..2_000) * MS);
    }
}
