//! Five nodes, a write quorum of three: two followers may be lost, whichever they are.

use super::daemons::{Cluster, Shape, until};
use super::load::Load;

#[test]
fn two_of_five_nodes_can_be_lost_while_writes_go_on() {
    let mut cluster = Cluster::start(&Shape::three().cpus(&[1; 5]).io(&["auto", "mio", "auto", "mio", "auto"]));
    assert_eq!(cluster.status(1).groups[0].leader, 1, "node 1 leads the one group there is");
    let load = Load::start(cluster.client(1), 100);
    load.advance(1_000);
    for lost in [&[5][..], &[2, 5]] {
        cluster.node_mut(lost[0]).kill();
        load.advance(2_000);
        until("the leader names those it has lost", || (cluster.status(1).groups[0].lost == lost).then_some(()));
    }
    let written = load.stop();
    assert_eq!(written.problems, [""; 0]);
    for survivor in [1, 3, 4] {
        written.assert_held(&cluster, survivor);
    }
    cluster.assert_equal(&[1, 3, 4]);
}
