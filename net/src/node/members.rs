//! Which nodes belong to the cluster, as far as this one knows, and where they are reached.
//!
//! In the beginning these are the nodes under `[[peers]]`. The core adds those that have joined since and have said where they are,
//! and takes those away that were taken out. What stands in the configuration goes before what the core says: somebody has
//! written down how that node is reached from here.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use quorate_engine::control::roster::Doors;
use quorate_engine::ids::{CpuId, NodeId};

use super::facts::{Facts, NodeAddresses};
use crate::transport::Address;

/// See the module.
#[derive(Clone, Debug)]
pub(crate) struct Members {
    nodes: BTreeMap<NodeId, NodeAddresses>,
    /// Base addresses of the peer doors of those that the core has told of.
    peer_doors: BTreeMap<NodeId, SocketAddr>,
}

impl Members {
    /// Returns what stands in the configuration.
    pub(crate) fn configured(facts: &Facts) -> Self {
        Self { nodes: facts.addresses.clone(), peer_doors: BTreeMap::new() }
    }

    /// Returns what there is to know once the core has said who belongs to the cluster.
    pub(crate) fn told(facts: &Facts, doors: &BTreeMap<NodeId, Doors>, removed: &[NodeId]) -> Self {
        let mut members = Self::configured(facts);
        for (node, doors) in doors.iter().filter(|(node, _)| !facts.addresses.contains_key(node)) {
            let addresses = NodeAddresses {
                host: doors.resp.ip().to_string(),
                resp_port: doors.resp.port(),
                native_port: doors.native.port(),
                peer_port: doors.peer.port(),
            };
            members.nodes.insert(*node, addresses);
            members.peer_doors.insert(*node, doors.peer);
        }
        members.nodes.retain(|node, _| !removed.contains(node));
        members
    }

    /// Returns the nodes, ascending, this one among them.
    pub(crate) fn nodes(&self) -> impl ExactSizeIterator<Item = (NodeId, &NodeAddresses)> {
        self.nodes.iter().map(|(node, addresses)| (*node, addresses))
    }

    /// Whether a node belongs to the cluster.
    pub(crate) fn contains(&self, node: NodeId) -> bool {
        self.nodes.contains_key(&node)
    }

    /// Returns where clients reach a node.
    pub(crate) fn addresses(&self, node: NodeId) -> Option<&NodeAddresses> {
        self.nodes.get(&node)
    }

    /// Returns where to reach one CPU of another node.
    pub(crate) fn peer_door(&self, facts: &Facts, node: NodeId, cpu: CpuId) -> Option<Address> {
        if let Some(base) = self.peer_doors.get(&node) {
            let port = base.port().checked_add(1)?.checked_add(cpu.0)?;
            return Some(Address::Tcp(SocketAddr::new(base.ip(), port)));
        }
        facts.peer_door(node, Some(cpu)).filter(|_| self.contains(node))
    }
}

#[cfg(test)]
mod tests {
    use quorate_engine::time::Instant;

    use super::*;
    use crate::config::Config;

    #[test]
    fn the_core_adds_nodes_and_takes_them_away_and_the_configuration_goes_first() {
        let text = "[node]\nid = 1\ndata_dir = '/nonexistent'\n[[peers]]\nid = 2\npeer = '127.0.0.1:7620'\n[[peers]]\nid = 3\npeer = '127.0.0.1:7640'\n";
        let settings = Config::from_text("node.toml", text).build().expect("a correct file");
        let peer_doors = [(NodeId(2), "127.0.0.1:7620".parse().expect("an address"))].into();
        let facts = Facts::new(settings, Instant(0), peer_doors).expect("they fit together");
        let door = |ip: [u8; 4], port: u16| SocketAddr::from((ip, port));
        let doors = |ip| Doors { resp: door(ip, 7400), native: door(ip, 7500), peer: door(ip, 7600) };
        let told = [(NodeId(2), doors([10, 0, 0, 2])), (NodeId(4), doors([10, 0, 0, 4]))].into();
        let members = Members::told(&facts, &told, &[NodeId(3)]);
        assert!(members.nodes().map(|(node, _)| node.0).eq([1, 2, 4]));
        let of = |node, cpu| members.peer_door(&facts, NodeId(node), CpuId(cpu));
        assert_eq!(of(4, 1), Some(Address::Tcp(door([10, 0, 0, 4], 7602))));
        assert_eq!(of(2, 0), Some(Address::Tcp(door([127, 0, 0, 1], 7621))));
        assert_eq!(of(3, 0), None);
        assert_eq!(members.addresses(NodeId(4)).map(|at| (at.host.as_str(), at.resp_port)), Some(("10.0.0.4", 7400)));
    }
}
