//! The connections of one CPU to the other nodes.
//!
//! Of two nodes the one with the smaller number dials, so there is one connection between each pair of CPUs that have a
//! group in common. A CPU first dials the door of its own number at the other node; the answer says how many CPUs live
//! there, and so which doors it needs. To the engine a node is connected when all of them stand, and lost when one of
//! them is: a replica that can be reached for some groups only is not worth the special cases.
//!
//! # Time and units
//! Dialling again waits 20 ms, doubling up to 1 s, on this node's monotonic clock, from when the last attempt failed. A
//! connection that did not last a second counts as such an attempt: where two processes run as one node, each connection
//! of the one ends the other's, and they would do so as fast as they can.

use std::time::Duration;

use quorate_engine::ids::{CpuId, GroupId, Incarnation, NodeId, ReplicaId};
use quorate_engine::time::Instant;

use crate::node::facts::Facts;
use crate::node::members::Members;
use crate::transport::ConnId;

const RETRY_FIRST: Duration = Duration::from_millis(20);
const RETRY_MAX: Duration = Duration::from_secs(1);

/// See the module.
#[derive(Debug)]
pub(crate) struct Peers {
    nodes: Vec<PeerNode>,
}

/// One other node.
#[derive(Debug)]
struct PeerNode {
    node: NodeId,
    /// Whether this node dials it.
    is_dialled: bool,
    /// What it said about itself last.
    known: Option<(Incarnation, u16)>,
    links: Vec<PeerLink>,
    dialling: Vec<(CpuId, ConnId)>,
    /// Whether the engine was told that it is connected.
    is_up: bool,
    /// When a connection stood last.
    greeted_at: Instant,
    retry_at: Instant,
    retry_after: Duration,
}

/// A connection that stands.
#[derive(Clone, Copy, Debug)]
struct PeerLink {
    cpu: CpuId,
    conn: ConnId,
}

/// A connection over which both ends have said who they are.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Greeted {
    pub(crate) peer: ReplicaId,
    /// The CPU at the other end.
    pub(crate) cpu: CpuId,
    pub(crate) cpu_count: u16,
    pub(crate) conn: ConnId,
    pub(crate) at: Instant,
}

/// What a change of connections means to the engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// Nothing.
    None,
    /// The node is connected.
    Connected(ReplicaId),
    /// The node is lost.
    Lost(ReplicaId),
    /// One run of the node is lost, and the next one connected.
    Replaced {
        /// The run before.
        lost: ReplicaId,
        /// The run now.
        connected: ReplicaId,
    },
}

impl Peers {
    pub(crate) fn new(facts: &Facts, members: &Members) -> Self {
        let mut peers = Self { nodes: Vec::new() };
        peers.follow(facts, members);
        peers
    }

    /// Has the nodes be those that belong to the cluster. Returns the runs that are lost with those that do not any more, and their
    /// connections.
    pub(crate) fn follow(&mut self, facts: &Facts, members: &Members) -> (Vec<ReplicaId>, Vec<ConnId>) {
        let mut lost = Vec::new();
        let mut over = Vec::new();
        for mut gone in self.nodes.extract_if(.., |peer| !members.contains(peer.node)) {
            lost.extend(gone.mark_down());
            over.extend(gone.links.iter().map(|link| link.conn).chain(gone.dialling.iter().map(|(_, conn)| *conn)));
        }
        for (node, _) in members.nodes().filter(|(node, _)| *node != facts.node) {
            if self.find(node).is_none() {
                self.nodes.push(PeerNode::new(node, facts.node < node));
            }
        }
        self.nodes.sort_unstable_by_key(|peer| peer.node);
        (lost, over)
    }

    /// Returns the doors to dial now, as (node, CPU).
    pub(crate) fn to_dial(&self, facts: &Facts, own: CpuId, now: Instant) -> Vec<(NodeId, CpuId)> {
        let nodes = self.nodes.iter().filter(|node| node.is_dialled && node.retry_at <= now);
        nodes.flat_map(|node| node.missing(facts, own).into_iter().map(|cpu| (node.node, cpu))).collect()
    }

    /// Returns when to look for doors to dial again.
    pub(crate) fn next_dial(&self, facts: &Facts, own: CpuId) -> Option<Instant> {
        let nodes = self.nodes.iter().filter(|node| node.is_dialled && !node.missing(facts, own).is_empty());
        nodes.map(|node| node.retry_at).min()
    }

    pub(crate) fn on_dialling(&mut self, node: NodeId, cpu: CpuId, conn: ConnId) {
        if let Some(node) = self.find(node) {
            node.dialling.push((cpu, conn));
        }
    }

    /// Notes an attempt that failed.
    pub(crate) fn on_failed(&mut self, node: NodeId, conn: ConnId, now: Instant) {
        if let Some(peer) = self.find(node) {
            peer.dialling.retain(|(_, dialled)| *dialled != conn);
        }
        self.on_not_dialled(node, now);
    }

    /// Notes that a node cannot be dialled now.
    pub(crate) fn on_not_dialled(&mut self, node: NodeId, now: Instant) {
        if let Some(node) = self.find(node) {
            node.retry_at = now.saturating_add(node.retry_after);
            node.retry_after = (node.retry_after * 2).min(RETRY_MAX);
            // Perhaps it has other CPUs now.
            node.known = node.known.filter(|_| node.is_up);
        }
    }

    /// Notes a connection that stands, after both ends have said who they are. Returns what it means, and the
    /// connection it takes the place of.
    pub(crate) fn on_greeted(&mut self, facts: &Facts, own: CpuId, greeted: Greeted) -> (Change, Vec<ConnId>) {
        let Greeted { peer, cpu, cpu_count, conn, at } = greeted;
        let Some(node) = self.find(peer.node) else { return (Change::None, vec![conn]) };
        node.dialling.retain(|(_, dialled)| *dialled != conn);
        (node.greeted_at, node.retry_at) = (at, Instant(0));
        let mut replaced = Vec::new();
        let mut lost = None;
        if node.known.is_some_and(|(incarnation, _)| incarnation != peer.incarnation) {
            // Another run: nothing of the last one is of any use.
            lost = node.mark_down();
            replaced.extend(node.links.drain(..).map(|link| link.conn));
        }
        node.known = Some((peer.incarnation, cpu_count));
        replaced.extend(node.links.extract_if(.., |link| link.cpu == cpu).map(|link| link.conn));
        if !replaced.is_empty() && lost.is_none() {
            lost = node.mark_down();
        }
        if facts.are_connected(own, cpu, cpu_count) {
            node.links.push(PeerLink { cpu, conn });
        } else {
            // It was dialled to learn which doors there are.
            replaced.push(conn);
        }
        let is_whole = node.missing(facts, own).is_empty();
        let connected = (is_whole && !node.is_up && !node.links.is_empty()).then(|| {
            node.is_up = true;
            peer
        });
        let change = match (lost, connected) {
            (Some(lost), Some(connected)) => Change::Replaced { lost, connected },
            (None, Some(connected)) => Change::Connected(connected),
            (Some(lost), None) => Change::Lost(lost),
            (None, None) => Change::None,
        };
        (change, replaced)
    }

    /// Notes that a connection is gone.
    pub(crate) fn on_closed(&mut self, node: NodeId, conn: ConnId, now: Instant) -> Change {
        let Some(peer) = self.find(node) else { return Change::None };
        let count = peer.links.len();
        peer.links.retain(|link| link.conn != conn);
        if peer.links.len() == count {
            return Change::None;
        }
        let change = peer.mark_down().map_or(Change::None, Change::Lost);
        if now.since(peer.greeted_at) >= RETRY_MAX {
            (peer.retry_at, peer.retry_after) = (now, RETRY_FIRST);
        } else {
            self.on_not_dialled(node, now);
        }
        change
    }

    /// Returns the connection over which to talk to a node about a group.
    pub(crate) fn conn_for(&self, node: NodeId, group: GroupId) -> Option<ConnId> {
        self.nodes.iter().find(|peer| peer.node == node)?.conn_for(group)
    }

    /// As [`Peers::conn_for`], if it is this run of the node that is connected: what was to be said to one run must not
    /// be taken by the next one for something of its own.
    pub(crate) fn conn_to(&self, peer: ReplicaId, group: GroupId) -> Option<ConnId> {
        let node = self.nodes.iter().find(|known| known.node == peer.node)?;
        node.known.filter(|(incarnation, _)| *incarnation == peer.incarnation)?;
        node.conn_for(group)
    }

    /// Returns one connection to each node.
    pub(crate) fn one_each(&self) -> impl Iterator<Item = ConnId> {
        self.nodes.iter().filter_map(|node| node.links.first().map(|link| link.conn))
    }

    /// Returns the other nodes: number, run, and whether it is connected.
    pub(crate) fn states(&self) -> impl Iterator<Item = (NodeId, Option<Incarnation>, bool)> {
        self.nodes.iter().map(|node| (node.node, node.known.map(|(incarnation, _)| incarnation), node.is_up))
    }

    /// Returns how many CPUs each connected node has.
    pub(crate) fn cpu_counts(&self) -> impl Iterator<Item = (NodeId, u16)> {
        self.nodes.iter().filter(|node| node.is_up).filter_map(|node| node.known.map(|(_, count)| (node.node, count)))
    }

    fn find(&mut self, node: NodeId) -> Option<&mut PeerNode> {
        self.nodes.iter_mut().find(|peer| peer.node == node)
    }
}

impl PeerNode {
    fn new(node: NodeId, is_dialled: bool) -> Self {
        Self {
            node,
            is_dialled,
            known: None,
            links: Vec::new(),
            dialling: Vec::new(),
            is_up: false,
            greeted_at: Instant(0),
            retry_at: Instant(0),
            retry_after: RETRY_FIRST,
        }
    }

    /// Returns the doors that are needed and neither connected nor being dialled.
    fn missing(&self, facts: &Facts, own: CpuId) -> Vec<CpuId> {
        let is_under_way = |cpu: CpuId| {
            self.links.iter().any(|link| link.cpu == cpu) || self.dialling.iter().any(|(dialled, _)| *dialled == cpu)
        };
        match self.known {
            // The door of the same number, and if the node has fewer CPUs, the next time the first.
            None if !self.dialling.is_empty() => Vec::new(),
            None if self.retry_after > RETRY_FIRST && own != CpuId(0) => vec![CpuId(0)],
            None => vec![own],
            Some((_, count)) => (0..count)
                .map(CpuId)
                .filter(|cpu| facts.are_connected(own, *cpu, count) && !is_under_way(*cpu))
                .collect(),
        }
    }

    fn conn_for(&self, group: GroupId) -> Option<ConnId> {
        let (_, cpu_count) = self.known?;
        let cpu = Facts::cpu_of(group, cpu_count);
        self.links.iter().find(|link| link.cpu == cpu).map(|link| link.conn)
    }

    fn mark_down(&mut self) -> Option<ReplicaId> {
        let was_up = core::mem::replace(&mut self.is_up, false);
        let (incarnation, _) = self.known.filter(|_| was_up)?;
        Some(ReplicaId { node: self.node, incarnation })
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use quorate_engine::control::roster::Doors;

    use super::*;
    use crate::config::Config;
    use crate::transport::{Address, Outbox, TransportSettings};

    const CPU: CpuId = CpuId(0);
    const GROUP: GroupId = GroupId(0);

    fn replica(incarnation: u64) -> ReplicaId {
        ReplicaId { node: NodeId(2), incarnation: Incarnation(incarnation) }
    }

    /// Node 1 of three, and names for its connections.
    fn node_1() -> (Facts, Peers, impl FnMut() -> ConnId) {
        let peers = "[[peers]]\nid = 2\npeer = '127.0.0.1:7620'\n[[peers]]\nid = 3\npeer = '127.0.0.1:7640'\n";
        let config = Config::from_text("node.toml", &format!("[node]\nid = 1\ndata_dir = '/nonexistent'\n{peers}"));
        let settings = config.build().expect("a correct file");
        let facts = Facts::new(settings, Instant(0), Default::default()).expect("they fit together");
        let peers = Peers::new(&facts, &Members::configured(&facts));
        let mut outbox = Outbox::new(&TransportSettings::default());
        let address = Address::Tcp("127.0.0.1:1".parse().expect("an address"));
        (facts, peers, move || outbox.connect(address.clone()).expect("there is room"))
    }

    fn greeted(incarnation: u64, conn: ConnId, at: Instant) -> Greeted {
        Greeted { peer: replica(incarnation), cpu: CPU, cpu_count: 1, conn, at }
    }

    #[test]
    fn what_is_meant_for_one_run_is_not_sent_to_another() {
        let (facts, mut peers, mut conn) = node_1();
        let (first, second) = (conn(), conn());
        peers.on_greeted(&facts, CPU, greeted(10, first, Instant(0)));
        assert_eq!(peers.conn_to(replica(10), GROUP), Some(first));
        let change = peers.on_greeted(&facts, CPU, greeted(11, second, Instant(0)));
        assert_eq!(change, (Change::Replaced { lost: replica(10), connected: replica(11) }, vec![first]));
        assert_eq!(peers.conn_to(replica(10), GROUP), None);
        assert_eq!(peers.conn_to(replica(11), GROUP), Some(second));
        assert_eq!(peers.conn_for(NodeId(2), GROUP), Some(second));
    }

    #[test]
    fn a_node_that_was_taken_out_is_lost_and_one_that_has_joined_is_dialled() {
        let (facts, mut peers, mut conn) = node_1();
        let (stands, dialled) = (conn(), conn());
        peers.on_greeted(&facts, CPU, greeted(10, stands, Instant(0)));
        peers.on_dialling(NodeId(3), CPU, dialled);
        let doors = |port| SocketAddr::from(([127, 0, 0, 1], port));
        let joined = Doors { resp: doors(1), native: doors(2), peer: doors(3) };
        let members = Members::told(&facts, &[(NodeId(4), joined)].into(), &[NodeId(2), NodeId(3)]);
        assert_eq!(peers.follow(&facts, &members), (vec![replica(10)], vec![stands, dialled]));
        assert_eq!(peers.to_dial(&facts, CPU, Instant(0)), [(NodeId(4), CPU)]);
        assert_eq!(peers.on_closed(NodeId(2), stands, Instant(0)), Change::None);
        assert_eq!(peers.follow(&facts, &members), (vec![], vec![]));
    }

    #[test]
    fn a_connection_that_does_not_last_is_dialled_again_ever_later() {
        let (facts, mut peers, mut conn) = node_1();
        let mut now = Instant(1_000_000_000);
        let mut wait_after = |lasting: Duration, now: &mut Instant| {
            let conn = conn();
            peers.on_greeted(&facts, CPU, greeted(10, conn, *now));
            *now = now.saturating_add(lasting);
            assert_eq!(peers.on_closed(NodeId(2), conn, *now), Change::Lost(replica(10)));
            let mut waited = Duration::ZERO;
            while !peers.to_dial(&facts, CPU, now.saturating_add(waited)).contains(&(NodeId(2), CPU)) {
                waited += Duration::from_millis(10);
            }
            waited.as_millis()
        };
        let waits: Vec<u128> = (0..7).map(|_| wait_after(Duration::from_micros(100), &mut now)).collect();
        assert_eq!(waits, [20, 40, 80, 160, 320, 640, 1_000]);
        assert_eq!(wait_after(Duration::from_secs(5), &mut now), 0);
        assert_eq!(wait_after(Duration::from_micros(100), &mut now), 20);
    }
}
