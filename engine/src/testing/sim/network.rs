//! Connections between the nodes: what is on its way, when it arrives, and what becomes of it when a connection ends.
//!
//! A connection has a number. Each end learns that it stands, and later that it is lost, by an event of its own, which may
//! come long after the other end's. A message counts only if its receiver still believes in the connection that it came
//! over.

use std::collections::{BTreeMap, BTreeSet};

use fastrand::Rng;

use super::plan::{MS, Network};
use crate::ids::{Epoch, GroupId, NodeId, ReplicaId};
use crate::message::{Envelope, Message};
use crate::testing::parcel::OwnedMessage;

/// A message on its way.
#[derive(Clone, Debug)]
pub(super) struct Parcel {
    pub(super) from: ReplicaId,
    to: ReplicaId,
    connection: u64,
    group: GroupId,
    epoch: Epoch,
    message: OwnedMessage,
}

impl Parcel {
    /// Returns the message as its receiver reads it.
    pub(super) fn envelope(&self) -> Envelope<'_> {
        Envelope { from: self.from, group: self.group, epoch: self.epoch, message: self.message.get() }
    }

    pub(super) fn to(&self) -> NodeId {
        self.to.node
    }
}

/// All connections.
#[derive(Debug)]
pub(super) struct Links {
    network: Network,
    rng: Rng,
    next_connection: u64,
    /// The connection between two nodes, the lower number first, while it stands.
    standing: BTreeMap<(NodeId, NodeId), u64>,
    /// Which connection and which replica each node believes to have, by itself and the other node.
    views: BTreeMap<(NodeId, NodeId), (u64, ReplicaId)>,
    /// Connections that ended and took what was on its way with them.
    swallowed: BTreeSet<u64>,
    /// Directions that lose everything until then.
    cuts: BTreeMap<(NodeId, NodeId), u64>,
    /// Directions that deliver nothing until then, and then everything.
    stalls: BTreeMap<(NodeId, NodeId), u64>,
    /// Directions that have no room.
    clogs: BTreeSet<(NodeId, NodeId)>,
    /// When the last message of an ordered direction arrives.
    arrivals: BTreeMap<(NodeId, NodeId), u64>,
}

/// Two nodes, the lower number first.
pub(super) fn pair(one: NodeId, two: NodeId) -> (NodeId, NodeId) {
    (one.min(two), one.max(two))
}

impl Links {
    pub(super) fn new(network: Network, rng: Rng) -> Self {
        Self {
            network,
            rng,
            next_connection: 1,
            standing: BTreeMap::new(),
            views: BTreeMap::new(),
            swallowed: BTreeSet::new(),
            cuts: BTreeMap::new(),
            stalls: BTreeMap::new(),
            clogs: BTreeSet::new(),
            arrivals: BTreeMap::new(),
        }
    }

    /// Draws how long something takes on its way.
    pub(super) fn delay(&mut self) -> u64 {
        let most = self.network.delay_ns;
        let is_slow = self.rng.u32(..1000) < self.network.slow_permille;
        self.rng.u64(most / 4..=most) * if is_slow { self.rng.u64(2..100) } else { 1 }
    }

    // ---- connections ----

    /// Whether a connection may be made: none stands, and neither end believes in an old one.
    pub(super) fn is_free(&self, one: NodeId, two: NodeId, now: u64) -> bool {
        let is_cut = |from, to| self.cuts.get(&(from, to)).is_some_and(|until| *until > now);
        !self.standing.contains_key(&pair(one, two))
            && !self.views.contains_key(&(one, two))
            && !self.views.contains_key(&(two, one))
            && !is_cut(one, two)
            && !is_cut(two, one)
    }

    /// Makes a connection; returns its number and when each end learns of it.
    pub(super) fn connect(&mut self, one: NodeId, two: NodeId, now: u64) -> (u64, [u64; 2]) {
        let connection = self.next_connection;
        self.next_connection += 1;
        self.standing.insert(pair(one, two), connection);
        let told = [now + self.delay(), now + self.delay()];
        // Nothing arrives before its receiver knows of the connection.
        self.arrivals.insert((two, one), told[0]);
        self.arrivals.insert((one, two), told[1]);
        (connection, told)
    }

    /// Ends the connection between two nodes; returns when each end learns of it, `None` if there was none.
    pub(super) fn end(&mut self, one: NodeId, two: NodeId, now: u64) -> Option<(u64, [u64; 2])> {
        let connection = self.standing.remove(&pair(one, two))?;
        if self.rng.bool() {
            self.swallowed.insert(connection);
        }
        let mut told = || now + self.delay() + if self.rng.u8(..4) == 0 { self.rng.u64(..300 * MS) } else { 0 };
        Some((connection, [told(), told()]))
    }

    /// A node learns that a connection stands; returns whether it does.
    pub(super) fn learn(&mut self, node: NodeId, peer: ReplicaId, connection: u64) -> bool {
        let stands = self.standing.get(&pair(node, peer.node)) == Some(&connection);
        if stands {
            self.views.insert((node, peer.node), (connection, peer));
        }
        stands
    }

    /// A node learns that a connection is lost; returns the replica at its other end, if the node believed in it.
    pub(super) fn unlearn(&mut self, node: NodeId, peer: NodeId, connection: u64) -> Option<ReplicaId> {
        let (_, replica) = *self.views.get(&(node, peer)).filter(|(number, _)| *number == connection)?;
        self.views.remove(&(node, peer));
        Some(replica)
    }

    /// A node is gone, with all it believed.
    pub(super) fn forget(&mut self, node: NodeId) {
        self.clogs.retain(|(from, _)| *from != node);
        self.views.retain(|(owner, _), _| *owner != node);
    }

    /// Returns to whom a node believes to be connected.
    pub(super) fn peer(&self, node: NodeId, peer: NodeId) -> Option<ReplicaId> {
        self.views.get(&(node, peer)).map(|(_, replica)| *replica)
    }

    /// Returns all pairs whose connection stands.
    pub(super) fn pairs(&self) -> Vec<(NodeId, NodeId)> {
        self.standing.keys().copied().collect()
    }

    /// Loses everything from one node to another until then.
    pub(super) fn cut(&mut self, from: NodeId, to: NodeId, until: u64) {
        self.cuts.insert((from, to), until);
    }

    /// Holds everything from one node to another until then.
    pub(super) fn stall(&mut self, from: NodeId, to: NodeId, until: u64) {
        self.stalls.insert((from, to), until);
    }

    /// Loses everything from one node to another until it is unclogged.
    pub(super) fn clog(&mut self, from: NodeId, to: NodeId) {
        self.clogs.insert((from, to));
    }

    pub(super) fn unclog(&mut self, from: NodeId, to: NodeId) {
        self.clogs.remove(&(from, to));
    }

    /// Makes the network what hosts promise: connections that stand deliver everything, once and in order.
    pub(super) fn heal(&mut self) {
        self.cuts.clear();
        self.stalls.clear();
        let delay_ns = self.network.delay_ns;
        self.network =
            Network { delay_ns, slow_permille: 0, is_ordered: true, loss_permille: 0, duplicate_permille: 0 };
    }

    // ---- messages ----

    /// Puts a message on its way; returns when copies of it arrive.
    pub(super) fn send(
        &mut self,
        now: u64,
        from: ReplicaId,
        to: ReplicaId,
        (group, epoch): (GroupId, Epoch),
        message: &Message<'_>,
    ) -> Option<(Parcel, Vec<u64>)> {
        // The node may not have handled yet that the connection is lost, or another one made.
        let (connection, _) = *self.views.get(&(from.node, to.node)).filter(|(_, believed)| *believed == to)?;
        let is_lost = self.rng.u32(..1000) < self.network.loss_permille;
        let is_cut = self.cuts.get(&(from.node, to.node)).is_some_and(|until| *until > now);
        let stands = self.standing.get(&pair(from.node, to.node)) == Some(&connection);
        if is_lost || is_cut || !stands || self.clogs.contains(&(from.node, to.node)) {
            return None;
        }
        let leaves = self.stalls.get(&(from.node, to.node)).copied().unwrap_or_default().max(now);
        let mut arrivals = vec![leaves + self.delay()];
        if self.network.is_ordered {
            let last = self.arrivals.entry((from.node, to.node)).or_default();
            arrivals[0] = arrivals[0].max(*last + 1);
            *last = arrivals[0];
        } else {
            while arrivals.len() < 4 && self.rng.u32(..1000) < self.network.duplicate_permille {
                arrivals.push(leaves + self.delay());
            }
        }
        Some((Parcel { from, to, connection, group, epoch, message: OwnedMessage::from(message) }, arrivals))
    }

    /// Whether a message that has arrived reaches its receiver.
    pub(super) fn reaches(&self, parcel: &Parcel, receiver: ReplicaId) -> bool {
        let view = self.views.get(&(receiver.node, parcel.from.node));
        let is_believed = view.is_some_and(|(connection, _)| *connection == parcel.connection);
        parcel.to == receiver && is_believed && !self.swallowed.contains(&parcel.connection)
    }
}
