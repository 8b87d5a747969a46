//! Nodes of one machine that talk through sockets in the file system, which outlive a node that is killed.

use quorate::client::ClientOptions;
use quorate::client::blocking::Client;

use super::daemons::{Cluster, Shape, until};
use super::load::Load;

#[test]
fn nodes_and_clients_meet_at_sockets_in_the_file_system_and_again_after_a_crash() {
    for io in ["auto", "mio"] {
        let mut cluster = Cluster::start(&Shape::three().io(&[io; 3]).cpus(&[2, 2, 1]).unix_sockets());
        let options = |id: u16| {
            let address = format!("unix:{}", cluster.native_socket(id).display());
            ClientOptions { addresses: vec![address], ..cluster.client(id) }
        };
        let load = Load::start(options(1), 0);
        let mut client = Client::connect(options(2)).expect("node 2 listens there");
        client.set(b"k", b"v").expect("a write");
        assert_eq!(client.get(b"k").expect("a read"), Some(b"v".to_vec()));
        load.advance(1_000);

        let left_behind = cluster.native_socket(3);
        cluster.node_mut(3).kill();
        assert!(left_behind.exists(), "nobody was there to remove it");
        load.advance(1_000);
        cluster.node_mut(3).start();
        until("node 3 is met again, as a learner", || (cluster.status(1).groups[0].learners == [3]).then_some(()));
        load.advance(1_000);
        let written = load.stop();
        assert_eq!(written.problems, [""; 0]);
        cluster.assert_equal(&[1, 2, 3]);
        written.assert_held(&cluster, 2);
    }
}
