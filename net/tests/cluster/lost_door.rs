//! The node that a client talks to crashes: the client goes on through another, what was under way there is unknown and
//! never said to have failed, and nothing that was acknowledged is lost.

use quorate::client::ClientOptions;

use super::daemons::{Cluster, Shape};
use super::load::Load;

#[test]
fn a_client_goes_on_through_another_node_when_its_own_is_killed() {
    let mut cluster = Cluster::start(&Shape::three());
    let addresses = vec![cluster.native(2), cluster.native(3)];
    let load = Load::start(ClientOptions { addresses, ..cluster.client(2) }, 0);
    load.advance(3_000);
    cluster.node_mut(2).kill();
    load.advance(3_000);
    let written = load.stop();
    // Whatever was sent and not answered when the connection broke: at most a window of it.
    assert!(written.problems.len() <= 64, "{} problems", written.problems.len());
    let is_unknown = |problem: &String| problem == "Unknown(ConnectionLost)";
    assert!(written.problems.iter().all(is_unknown), "{:?}", written.problems);
    written.assert_held(&cluster, 3);
    cluster.assert_equal(&[1, 3]);
}

#[test]
fn writes_on_their_way_to_a_leader_that_is_killed_are_unknown_or_never_happened() {
    let mut cluster = Cluster::start(&Shape::three());
    let options = ClientOptions { request_timeout: std::time::Duration::from_secs(5), ..cluster.client(3) };
    let load = Load::start(options, 0);
    load.advance(3_000);
    cluster.node_mut(1).kill();
    let written = load.stop();
    assert!(!written.problems.is_empty());
    for problem in &written.problems {
        let is_honest = problem == "Unknown(Node(LeaderLost))"
            || problem == "Unknown(Deadline)"
            || problem.contains("UNAVAILABLE missing 1")
            || problem.contains("TIMEOUT not done before its deadline");
        assert!(is_honest, "{problem}");
    }
    // A write quorum is two: the leader and one of these had each that was acknowledged.
    let last = [2, 3].map(|id| cluster.status(id).groups[0].last).into_iter().max().expect("two of them");
    assert!(last >= written.last_index(), "{} was acknowledged, and the others end at {last}", written.last_index());
    for id in [2, 3] {
        let applied = cluster.status(id).groups[0].applied;
        written.assert_applied(&mut cluster.connect(id), applied);
    }
}
