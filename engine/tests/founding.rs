//! Two processes that were started as the same node: whatever the others hear first and from whom, at most one of them
//! ever serves.

use quorate_engine::GroupState;
use quorate_engine::config::Config;
use quorate_engine::ids::{GroupId, NodeId};
use quorate_engine::machine::command::{Command, Op};
use quorate_engine::output::{Event, Refusal};
use quorate_engine::testing::cluster::{Cluster, End};

const A: NodeId = NodeId(1);
const B: NodeId = NodeId(2);
const C: NodeId = NodeId(3);
/// Another process that says it is A.
const TWIN: NodeId = NodeId(101);
const G: GroupId = GroupId(0);

fn tiny() -> Config {
    Config {
        log_bytes: 8 << 10,
        segment_bytes: 512,
        value_bytes_max: 256,
        key_bytes_max: 64,
        append_bytes_max: 1 << 10,
        ..Config::default()
    }
}

/// One group, led by A, of which no process has heard another one; and a twin of A.
fn strangers(node_count: u16, write_quorum: usize) -> Cluster {
    let mut cluster = Cluster::start(node_count, 1, usize::from(node_count), write_quorum, tiny());
    (2..=node_count).for_each(|node| cluster.isolate(NodeId(node)));
    cluster.settle();
    cluster.start_twin(A, TWIN);
    cluster
}

/// The places whose process has ever served.
fn served(cluster: &Cluster) -> Vec<NodeId> {
    let serving = cluster.events().iter().filter(|(_, event)| matches!(event, Event::Serving { .. }));
    serving.map(|(place, _)| *place).collect()
}

/// Both processes are accepted by B and C before either has an entry there. The first one comes back to B, while the second
/// one has C: with W = 2 each would have its quorum.
#[test]
fn two_processes_that_both_were_accepted_do_not_both_serve() {
    let mut cluster = strangers(3, 2);
    for process in [A, TWIN] {
        for member in [B, C] {
            cluster.dial(process, member);
            cluster.end_turn(process);
            assert!(cluster.deliver(process, member), "a probe");
            assert!(cluster.deliver(member, process), "B and C accept it");
        }
        let founded = cluster
            .events()
            .iter()
            .filter(|(place, event)| *place == process && matches!(event, Event::Founded { .. }));
        assert_eq!(founded.count(), 1, "{process}");
    }
    // A learns that its connections are gone.
    assert!(cluster.deliver(B, A) && cluster.deliver(C, A));
    cluster.dial(A, B);
    cluster.run_for(1_000);
    cluster.dial(A, C);
    cluster.run_for(1_000);
    let served = served(&cluster);
    assert!(served.len() <= 1, "served by {served:?}");

    // Nobody waits in vain for an answer that cannot come.
    let write = cluster.submit(Command { value: b"1", ..Command::new(Op::Set, b"x") });
    cluster.run_for(10);
    let end = cluster.end(write);
    assert!(matches!(end, Some(End::Refused(Refusal::Unavailable { .. }))), "{end:?}");
    cluster.check();
}

#[test]
fn at_most_one_process_ever_serves_whatever_is_heard_first() {
    let mut begun = 0;
    for seed in 0..SEEDS {
        let mut random = Random(seed);
        let (node_count, write_quorum) = SIZES[random.below(2 * SIZES.len()).saturating_sub(SIZES.len())];
        let mut cluster = strangers(node_count, write_quorum);
        let members: Vec<NodeId> = (2..=node_count).map(NodeId).collect();
        for _ in 0..40 + random.below(200) {
            let (process, member) = ([A, TWIN][random.below(2)], members[random.below(members.len())]);
            match random.below(16) {
                0..=4 => drop(cluster.deliver(process, member)),
                5..=9 => drop(cluster.deliver(member, process)),
                10..=13 => cluster.dial(process, member),
                14 => cluster.run_for(if random.below(8) == 0 { 250 } else { 1 }),
                _ if random.below(20) == 0 => cluster.restart(process),
                _ => cluster.end_turn(process),
            }
            let served = served(&cluster);
            assert!(served.len() <= 1, "seed {seed}, W = {write_quorum} of {node_count}: served by {served:?}");
        }
        cluster.check();
        begun += u64::from(!served(&cluster).is_empty());
    }
    assert!(begun > SEEDS / 8, "in {begun} of {SEEDS} runs somebody serves");
}

/// A run that nobody has an entry of is replaced by the next one: who starts the nodes one after the other may start one of
/// them again.
#[test]
fn a_leader_that_restarts_before_it_has_begun_is_accepted() {
    let mut cluster = Cluster::start(3, 1, 3, 2, tiny());
    cluster.isolate(C);
    cluster.settle();
    cluster.restart(A);
    cluster.settle();
    cluster.heal();
    cluster.settle();
    assert_eq!(cluster.status(A, G).state, GroupState::Serving);
}

const SEEDS: u64 = 1_000;
/// Nodes and write quorum; the first comes as often as all together.
const SIZES: [(u16, usize); 7] = [(3, 2), (3, 3), (4, 2), (4, 3), (5, 2), (5, 3), (5, 4)];

/// Numbers that depend on a seed only (splitmix64).
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        usize::try_from((bits ^ (bits >> 31)) % end as u64).expect("below a usize")
    }
}
