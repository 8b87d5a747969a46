//! Commits of the consistent core: what they take does not depend on how many nodes there are beside it.
//!
//! The daemon has to be beside the harness. Where it is not, this says so and passes, except with `CI` in the environment.

use std::io::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use quorate_perf::clock::OsClock;
use quorate_perf::core_commits::{Side, Trial};
use quorate_perf::machine::Fingerprint;
use quorate_perf::quorum::find_daemon;
use quorate_perf::report::{Report, Style};

const ROUNDS: u32 = 2;
const WRITES: u32 = 100;

/// How long a commit takes is for `quorate-perf core` to say. Here is what it consists of: one entry of the log, and as many
/// messages with twelve nodes as with three.
#[test]
fn cor_2_a_commit_of_the_core_takes_the_same_with_twelve_nodes_as_with_three() -> Result<()> {
    let harness = PathBuf::from(env!("CARGO_BIN_EXE_quorate-perf"));
    let daemon = match find_daemon(&harness, None) {
        Ok(daemon) => daemon,
        Err(error) => {
            assert!(std::env::var_os("CI").is_none(), "this test has to run where CI is set: {error:#}");
            // Not through the macro, whose output is shown for failing tests only.
            let _ = writeln!(std::io::stderr(), "SKIPPED, no commits of the core: {error:#}");
            return Ok(());
        }
    };
    // So long that nobody takes a node for lost because this machine is busy, which would be one entry more.
    let suspicion = Some(Duration::from_secs(30));
    let trial = Trial { nodes: 12, rounds: ROUNDS, writes: WRITES, suspicion, harness, daemon };
    let mut report = Report::begin(Style::Table, None, Fingerprint::take(0, &OsClock::start()))?;
    let comparison = trial.run(&mut report)?;
    assert!(report.finish()?, "every round is valid");

    let writes = u64::from(ROUNDS * WRITES);
    for side in [&comparison.small, &comparison.large] {
        assert_eq!((side.count, side.errors), (writes, 0), "every write was acknowledged: {side:?}");
        assert_eq!(side.entries, writes, "one entry for each write, and nothing else: {side:?}");
        assert!(side.p50_us > 0.0 && side.p50_us <= side.p99_us && side.p99_us <= side.max_us, "{side:?}");
    }
    assert_eq!((comparison.small.nodes, comparison.large.nodes), (3, 12));
    // The leader tells both others of the entry, hears of each that it is written down, and tells both that it is decided; and
    // both others tell the node that has asked.
    let said = |side: &Side| (side.log_messages, side.news_messages);
    assert_eq!(said(&comparison.small), (6 * writes, 2 * writes));
    assert_eq!(said(&comparison.large), said(&comparison.small), "other nodes hear nothing of it");
    // What watchers at other nodes are told of it waits for more of the same: each node of the core tells each other node fifty
    // times a second at most, and once more when it begins to be counted. Slow commits leave room here, and cannot break it.
    for side in [&comparison.small, &comparison.large] {
        let pairs = f64::from(3 * (side.nodes - 1));
        let told_max = pairs * (50.0 * side.seconds + f64::from(ROUNDS));
        assert!(side.event_messages as f64 <= told_max, "at most {told_max} messages about events: {side:?}");
    }
    let ratio = comparison.large_to_small.p99;
    assert!(ratio.min > 0.0 && ratio.min <= ratio.median && ratio.median <= ratio.max, "{ratio:?}");
    Ok(())
}
